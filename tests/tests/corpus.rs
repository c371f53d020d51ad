//! Every fuzz target over what is known and over a little that is not, without a fuzzer.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use arcp_tests::fuzz::{Body, Exploration, TARGETS};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Runs a target; an input that breaks a promise is shown, so that it can be kept.
fn run(target: &str, body: Body, name: &str, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
        let file = std::env::temp_dir().join(format!("arcp-fuzz-{target}-{}", std::process::id()));
        fs::write(&file, input).unwrap();
        eprintln!("{target}, {name}: the input is in {}", file.display());
        resume_unwind(panic);
    }
}

/// The seeds and the committed inputs, then mutations of them.
fn explore(target: &str, mutations: usize) {
    let mut inputs = Exploration::of(target, &corpus()).unwrap();
    for _ in 0..inputs.known() + mutations {
        let (name, input) = inputs.next_input();
        run(target, inputs.body, &name, &input);
    }
}

macro_rules! targets {
    ($($target:ident: $mutations:expr,)*) => {
        $(
            #[test]
            fn $target() {
                explore(stringify!($target), $mutations);
            }
        )*

        #[test]
        fn every_target_is_explored() {
            let explored = [$(stringify!($target)),*];
            assert_eq!(TARGETS.map(|(name, _)| name), explored);
        }
    };
}

targets! {
    envelope: 40_000,
    lines: 60_000,
    scan_value: 20_000,
    rfc3339: 60_000,
    agent_ref: 60_000,
    lease_match: 20_000,
    lease_subset: 6_000,
    lease_path: 40_000,
    lease_url: 40_000,
    amount: 20_000,
    lease: 20_000,
    payloads: 60_000,
    digest: 15_000,
    runtime_frames: 2_000,
    client_frames: 8_000,
    two_peers: 1_000,
    recovery: 2_000,
    world: 300,
}

/// Writes the seeds where a fuzzer looks for them: `cargo test -p arcp-tests --test corpus -- --ignored`.
#[test]
#[ignore = "writes files for a fuzzer"]
fn write_seeds() {
    for (target, _) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        let mut inputs = Exploration::of(target, &corpus()).unwrap();
        for _ in 0..inputs.known() {
            let (name, input) = inputs.next_input();
            fs::write(folder.join(name), input).unwrap();
        }
    }
}
