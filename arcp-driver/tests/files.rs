//! Files below the directories that a lease's paths stand for.
#![cfg(feature = "files")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;

use arcp_driver::files::Roots;
use arcp_proto::feature::Features;
use arcp_proto::lease::{Canonical, Capability, Circumstances, Lease, Operation, Policy};
use arcp_proto::time::Now;
use arcp_proto::wire::RawJson;

/// A fresh directory for one test.
fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("files-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a directory");
    path
}

/// A path that some lease permits.
fn permitted(path: &str) -> Canonical {
    let request = RawJson::try_from(r#"{"fs.read":["/**"]}"#).expect("JSON");
    let now = Now::default();
    let lease = Lease::parse(Some(&request), None, Features::EVERY, now.unix).expect("a lease");
    let operation = Operation { capability: Capability::FsRead, target: path };
    let circumstances = Circumstances { running: true, expiry: None, now, exhausted: None };
    lease.authorize(&operation, &circumstances, Policy::default()).expect("it is permitted")
}

fn read(roots: &Roots, path: &str) -> Result<String, ErrorKind> {
    let mut text = String::new();
    let mut file = roots.open(&permitted(path)).map_err(|error| error.kind())?;
    file.read_to_string(&mut text).map_err(|error| error.kind())?;
    Ok(text)
}

#[test]
fn a_path_is_opened_below_the_directory_it_stands_for() {
    let (data, inner) = (directory("data"), directory("inner"));
    fs::create_dir(data.join("sub")).expect("a directory");
    fs::write(data.join("sub/a"), "outer").expect("a file");
    fs::write(inner.join("a"), "inner").expect("a file");
    let roots = Roots::new().mount("/data", &data).and_then(|roots| roots.mount("/data/in/", &inner));
    let roots = roots.expect("both are there");
    assert_eq!(read(&roots, "/data/sub/a").as_deref(), Ok("outer"));
    assert_eq!(read(&roots, "/data/in/a").as_deref(), Ok("inner"), "the longer path goes first");
    assert_eq!(read(&roots, "/data/none"), Err(ErrorKind::NotFound));
    assert_eq!(read(&roots, "/database"), Err(ErrorKind::NotFound), "a prefix of a name is no directory");
    assert_eq!(read(&roots, "/etc/hostname"), Err(ErrorKind::NotFound));
    roots
        .create(&permitted("/data/sub/new"))
        .and_then(|mut file| file.write_all(b"x"))
        .expect("it is written");
    assert_eq!(fs::read(data.join("sub/new")).expect("it is there"), b"x");
    let everything = Roots::new().mount("/", &data).expect("it is there");
    assert_eq!(read(&everything, "/sub/a").as_deref(), Ok("outer"));
    let top = permitted("/");
    let (listed, rest) = everything.below(&top).expect("the root itself");
    assert_eq!(listed.read_dir(rest).expect("a directory").count(), 1);
}

#[cfg(unix)]
#[test]
fn no_link_leads_out() {
    let (data, outside) = (directory("linked"), directory("outside"));
    fs::write(outside.join("secret"), "no").expect("a file");
    fs::write(data.join("plain"), "yes").expect("a file");
    std::os::unix::fs::symlink(&outside, data.join("out")).expect("a link");
    std::os::unix::fs::symlink("../files-outside/secret", data.join("up")).expect("a link");
    std::os::unix::fs::symlink("plain", data.join("within")).expect("a link");
    let roots = Roots::new().mount("/data", &data).expect("it is there");
    assert_eq!(read(&roots, "/data/within").as_deref(), Ok("yes"), "links inside are followed");
    for path in ["/data/out/secret", "/data/up"] {
        assert_eq!(read(&roots, path), Err(ErrorKind::PermissionDenied), "{path}");
        let written = roots.create(&permitted(path)).map_err(|error| error.kind());
        assert_eq!(written.err(), Some(ErrorKind::PermissionDenied), "{path}");
    }
    assert_eq!(fs::read(outside.join("secret")).expect("it is there"), b"no");
}

#[test]
fn what_cannot_be_mounted_is_named() {
    let data = directory("mounts");
    let refused = |at: &str| Roots::new().mount(at, &data).expect_err("it is refused").to_string();
    assert!(refused("data").contains("`data`"), "{}", refused("data"));
    assert!(refused("/a/../b").starts_with("`/a/../b`: "));
    let twice = Roots::new().mount("/a", &data).and_then(|roots| roots.mount("/a/", &data));
    assert_eq!(twice.expect_err("it is there already").kind(), ErrorKind::AlreadyExists);
    let missing = Roots::new().mount("/a", data.join("none"));
    assert_eq!(missing.expect_err("there is none").kind(), ErrorKind::NotFound);
}
