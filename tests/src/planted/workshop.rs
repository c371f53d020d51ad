//! A copy of the core and of what judges it, small enough to be built again for every bug.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::table::{Build, Catcher};

/// What is copied.
const SOURCES: [&str; 8] = [
    "arcp-proto/Cargo.toml",
    "arcp-proto/src",
    "arcp-proto/benches",
    "arcp-proto/examples",
    "tests/src",
    "tests/vectors",
    "tests/corpus",
    "Cargo.lock",
];
/// The one program of the copy. Drivers and what they need are no part of it.
const HUNTER: &str = r#"[package]
name = "hunter"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
arbitrary = "1.4"
arcp-proto.workspace = true
bytes.workspace = true
serde = { workspace = true, features = ["derive", "std"] }
serde_json = { workspace = true, features = ["std"] }
sha2.workspace = true
url = "2.5"
"#;
const MAIN: &str = r#"//! The world, its oracle and the fuzz bodies, taken as source.

#[path = "../../tests/src/fuzz/mod.rs"]
pub mod fuzz;
#[path = "../../tests/src/planted/hunt.rs"]
pub mod hunt;
#[path = "../../tests/src/oracle/mod.rs"]
pub mod oracle;
#[path = "../../tests/src/random.rs"]
pub mod random;
#[path = "../../tests/src/sim/mod.rs"]
pub mod sim;

fn main() -> std::process::ExitCode {
    hunt::main()
}
"#;
/// Quick to build again after a change of one function, and quick enough to run. Optimising across units, which `lto = false`
/// still does within each crate, would take most of the time.
const PROFILE: &str = "
[profile.release]
opt-level = 1
debug = false
lto = \"off\"
incremental = true
codegen-units = 256

[profile.release.package.\"*\"]
opt-level = 3
codegen-units = 32

# Built once, and run for thousands of changes.
[profile.test]
opt-level = 1
debug = false
";
/// After so long a program is taken to hang.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why the runner cannot go on; nothing is said about the oracle then.
#[derive(Debug)]
pub enum Error {
    /// A file could not be read or written, or a program not started.
    Io(PathBuf, io::Error),
    /// A text of the table is not where it should be.
    Text(String),
    /// What a build or a program said when it failed.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Text(error) | Self::Failed(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for Error {}

/// A broken property, seen first after so many sessions or runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caught {
    /// Its id; `promise` for a fuzz body's, `panic` and `hang` for what has none.
    pub property: String,
    /// Sessions or runs.
    pub after: u64,
    /// What was seen.
    pub what: String,
}

/// The copy. What becomes of the sources meanwhile is no matter to it.
#[derive(Debug)]
pub struct Workshop {
    folder: PathBuf,
    /// Files that are not as in the sources, and what they were.
    changed: Vec<(PathBuf, String)>,
}

impl Workshop {
    /// Copies the sources of the workspace at `root`, of which only those are written that have changed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(root: &Path, folder: &Path) -> Result<Self, Error> {
        for source in SOURCES {
            mirror(&root.join(source), &folder.join(source))?;
        }
        let path = root.join("Cargo.toml");
        let manifest = fs::read_to_string(&path).map_err(|error| Error::Io(path.clone(), error))?;
        write_new(&folder.join("Cargo.toml"), manifest_of_copy(&manifest).as_bytes())?;
        write_new(&folder.join("hunter/Cargo.toml"), HUNTER.as_bytes())?;
        write_new(&folder.join("hunter/src/main.rs"), MAIN.as_bytes())?;
        Ok(Self { folder: folder.to_owned(), changed: Vec::new() })
    }

    /// Takes out the bug that is in, and plants this one; none leaves the copy as the sources are.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Text`] if a text is not there exactly once.
    pub fn plant(&mut self, build: Option<&Build>) -> Result<(), Error> {
        // A file that was changed twice is taken back twice, its first state last.
        while let Some((path, source)) = self.changed.pop() {
            write_new(&path, source.as_bytes())?;
        }
        for edit in build.into_iter().flat_map(|build| &build.edits) {
            let path = self.folder.join(&edit.file);
            let source = fs::read_to_string(&path).map_err(|error| Error::Io(path.clone(), error))?;
            let changed = edit.apply(&source).map_err(Error::Text)?;
            write_new(&path, changed.as_bytes())?;
            self.changed.push((path, source));
        }
        Ok(())
    }

    /// Writes a file of the copy, which stays so until the copy is opened again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, file: &str, text: &str) -> Result<(), Error> {
        write_new(&self.folder.join(file), text.as_bytes())
    }

    /// Builds the copy.
    ///
    /// # Errors
    /// What the compiler said.
    pub fn build(&self) -> Result<(), Error> {
        let done = self.cargo(&["build", "--release", "--package", "hunter"])?;
        if done.status.success() {
            return Ok(());
        }
        Err(Error::Failed(format!("it does not build:\n{}", String::from_utf8_lossy(&done.stderr))))
    }

    /// Runs cargo in the copy.
    ///
    /// # Errors
    /// It could not be started.
    pub fn cargo(&self, words: &[&str]) -> Result<Output, Error> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(words)
            .args(["--offline", "--quiet", "--target-dir", "target"])
            .current_dir(&self.folder)
            // What a bug leaves unused is no matter here.
            .env("RUSTFLAGS", "--cap-lints=allow");
        command.output().map_err(|error| Error::Io(self.folder.clone(), error))
    }

    /// Where the copy is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lets what was built look for broken promises, in at most so many sessions or runs.
    ///
    /// # Errors
    /// The program could not be run or failed otherwise than by a finding.
    pub fn hunt(&self, by: &Catcher, most: u64) -> Result<Option<Caught>, Error> {
        self.hunt_in(by, most, &[], PATIENCE)
    }

    /// The same in an environment, and with so much patience for a program that says nothing.
    ///
    /// # Errors
    /// As for [`Workshop::hunt`].
    pub fn hunt_in(
        &self,
        by: &Catcher,
        most: u64,
        environment: &[(&str, String)],
        patience: Duration,
    ) -> Result<Option<Caught>, Error> {
        let program = self.folder.join("target/release/hunter");
        let io = |error| Error::Io(program.clone(), error);
        let mut command = Command::new(&program);
        match by {
            Catcher::World => command.args(["world", &most.to_string()]),
            Catcher::Body(name) => {
                command.args(["body", name, &most.to_string()]).arg(self.folder.join("tests/corpus"))
            }
        };
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(io)?;
        if !ends_within(&mut child, patience).map_err(io)? {
            let what = format!("nothing was said in {} s", patience.as_secs());
            return Ok(Some(Caught { property: "hang".to_owned(), after: 0, what }));
        }
        let done = child.wait_with_output().map_err(io)?;
        let said = String::from_utf8_lossy(&done.stdout);
        let parts: Vec<&str> = said.trim_end().splitn(4, '\t').collect();
        match parts.as_slice() {
            ["survived"] if done.status.success() => Ok(None),
            ["caught", property, after, what] => {
                let after = after.parse().map_err(|_| Error::Failed(format!("`{after}` is no number")))?;
                let what = (*what).to_owned();
                Ok(Some(Caught { property: (*property).to_owned(), after, what }))
            }
            // Stack overflows and aborts end a process without a word.
            _ if done.status.code().is_none() => {
                let what = format!("the process ended with {}", done.status);
                Ok(Some(Caught { property: "panic".to_owned(), after: 0, what }))
            }
            _ => {
                let errors = String::from_utf8_lossy(&done.stderr);
                Err(Error::Failed(format!("the hunter ended with {}: {said}{errors}", done.status)))
            }
        }
    }
}

/// Waits for a program to end; one that does not in its time is killed.
///
/// # Errors
/// What the system says.
pub fn ends_within(child: &mut Child, patience: Duration) -> io::Result<bool> {
    let began = Instant::now();
    while child.try_wait()?.is_none() {
        if began.elapsed() > patience {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

/// The workspace's manifest with the copy's members and its profile.
fn manifest_of_copy(manifest: &str) -> String {
    let mut copy = String::new();
    for line in manifest.lines().take_while(|line| !line.starts_with("[profile")) {
        if line.starts_with("members") {
            copy.push_str("members = [\"arcp-proto\", \"hunter\"]\n");
        } else if !line.starts_with("default-members") && !line.starts_with("exclude") {
            copy.push_str(line);
            copy.push('\n');
        }
    }
    copy + PROFILE
}

/// Makes `to` like `from`, a file or a folder.
fn mirror(from: &Path, to: &Path) -> Result<(), Error> {
    let io = |error| Error::Io(from.to_owned(), error);
    if !from.is_dir() {
        return write_new(to, &fs::read(from).map_err(io)?);
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        mirror(&from.join(&name), &to.join(&name))?;
        names.push(name);
    }
    let gone = |name: &OsStr| !names.iter().any(|kept| kept == name);
    for entry in fs::read_dir(to).into_iter().flatten().flatten().filter(|entry| gone(&entry.file_name())) {
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|error| Error::Io(path.clone(), error))?;
    }
    Ok(())
}

/// Writes a file, unless it says that already: what was not written is not built again.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, bytes));
    written.map_err(|error| Error::Io(path.to_owned(), error))
}
