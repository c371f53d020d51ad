//! The core's own tests, in the copy: which of them come by a mutant, and which notice it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::trial::{MUTANT, Outcome};
use crate::planted::Error;

/// The longest that tests may take, and the memory they may have, in KiB.
const PATIENCE: Duration = Duration::from_secs(60);
const MEMORY_KIB: u64 = 4_000_000;
/// How many tests are run at once: a mutant that is noticed is noticed by the first ones mostly.
const PORTIONS: [usize; 4] = [4, 16, 64, usize::MAX];

#[derive(Debug)]
pub(super) struct Tests {
    program: PathBuf,
    folder: PathBuf,
    names: Vec<String>,
    /// The tests that come by a mutant, by its number, those first that come by the fewest.
    passing: BTreeMap<usize, Vec<usize>>,
}

impl Tests {
    /// Builds the tests of the copy's core.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let (is_built, said) = cargo(folder, &["test", "--package", "arcp-proto", "--lib", "--no-run"])?;
        let program = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let program = program.filter_map(|line| Some(PathBuf::from(line["executable"].as_str()?))).last();
        let program = program.filter(|_| is_built);
        let program = program.ok_or_else(|| Error::Failed("the core's tests do not build".to_owned()))?;
        let mut tests =
            Self { program, folder: folder.join("arcp-proto"), names: Vec::new(), passing: BTreeMap::new() };
        let (_, listed) = tests.run(&["--list", "--format", "terse"], &[])?;
        tests.names =
            listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
        Ok(tests)
    }

    /// Runs every test by itself to see which mutants it comes by.
    pub(super) fn look(&mut self, mut told: impl FnMut(usize, usize)) -> Result<(), Error> {
        let passed = self.folder.join("passed");
        let mut by_test = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            if passed.exists() {
                fs::remove_file(&passed).map_err(|error| Error::Io(passed.clone(), error))?;
            }
            let to = ("MUTANT_PASSED", passed.to_string_lossy().into_owned());
            let (ending, said) = self.run(&["--exact", name], &[(MUTANT, "0".to_owned()), to])?;
            if ending != Ending::Well {
                return Err(Error::Failed(format!("{name} fails without a mutant:\n{said}")));
            }
            let numbers = fs::read(&passed).unwrap_or_default();
            let numbers =
                numbers.chunks_exact(2).map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]])));
            by_test.push(numbers.collect::<Vec<_>>());
            told(index + 1, self.names.len());
        }
        let mut order: Vec<usize> = (0..by_test.len()).collect();
        order.sort_by_key(|test| by_test[*test].len());
        for test in order {
            for number in &by_test[test] {
                self.passing.entry(*number).or_default().push(test);
            }
        }
        Ok(())
    }

    /// Runs the tests that come by a mutant, until one fails.
    pub(super) fn judge(&self, number: usize) -> Result<Outcome, Error> {
        let Some(passing) = self.passing.get(&number) else { return Ok(Outcome::Unreached) };
        let mut left = passing.as_slice();
        for portion in PORTIONS {
            let (now, later) = left.split_at(portion.min(left.len()));
            left = later;
            if now.is_empty() {
                break;
            }
            let mut words = vec!["--exact"];
            words.extend(now.iter().map(|test| self.names[*test].as_str()));
            let (ending, said) = self.run(&words, &[(MUTANT, number.to_string())])?;
            let failed =
                said.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
            match ending {
                Ending::Well => {}
                Ending::Badly => {
                    return Ok(Outcome::Caught(failed.unwrap_or("the process ended").to_owned()));
                }
                Ending::Never => return Ok(Outcome::Hung(self.names[now[0]].clone())),
            }
        }
        Ok(Outcome::Survived(passing.len()))
    }

    /// Runs the tests' program on one thread; how it ended and what it said.
    fn run(&self, words: &[&str], environment: &[(&str, String)]) -> Result<(Ending, String), Error> {
        let io = |error| Error::Io(self.program.clone(), error);
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"")])
            .arg(&self.program)
            .arg("--test-threads=1")
            .args(words)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            // A snapshot that differs is a failure and nothing more.
            .env("INSTA_UPDATE", "no")
            .env("RUST_BACKTRACE", "0")
            .current_dir(&self.folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io)?;
        // It says more than a pipe holds.
        let mut pipe = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut said = Vec::new();
            if let Some(pipe) = &mut pipe {
                let _ = std::io::Read::read_to_end(pipe, &mut said);
            }
            said
        });
        let began = Instant::now();
        let status = loop {
            match child.try_wait().map_err(io)? {
                Some(status) => break Some(status),
                None if began.elapsed() > PATIENCE => {
                    child.kill().map_err(io)?;
                    child.wait().map_err(io)?;
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let said = String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned();
        Ok(match status {
            None => (Ending::Never, said),
            Some(status) if status.success() => (Ending::Well, said),
            Some(_) => (Ending::Badly, said),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Well,
    Badly,
    /// Not within its time.
    Never,
}

/// Runs cargo in the copy; whether it did what it should, and what it said in JSON.
pub(super) fn cargo(folder: &Path, words: &[&str]) -> Result<(bool, String), Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args(words)
        .args(["--offline", "--quiet", "--message-format=json"])
        .arg("--target-dir")
        .arg(folder.join("target"))
        .current_dir(folder)
        // What a mutant leaves unused is no matter here.
        .env("RUSTFLAGS", "--cap-lints=allow")
        // Built once, and run very often.
        .env("CARGO_PROFILE_TEST_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_TEST_DEBUG", "none")
        .output()
        .map_err(|error| Error::Io(folder.to_owned(), error))?;
    Ok((done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned()))
}
