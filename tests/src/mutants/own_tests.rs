//! The core's own tests, in the copy: which of them come by a mutant, and which notice it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::trial::{MUTANT, Outcome};
use crate::planted::{Error, Workshop, ends_within};

/// Tests may take so long, and so many times as long as they did without a mutant.
const PATIENCE: (Duration, u32) = (Duration::from_secs(8), 20);
/// The same without one.
const LOOKING: Duration = Duration::from_secs(300);
/// The memory they may have.
const MEMORY_KIB: u64 = 4_000_000;
/// How many tests are run at once: a mutant that is noticed is noticed by the first ones mostly.
const PORTIONS: [usize; 4] = [4, 16, 64, usize::MAX];

#[derive(Debug)]
pub(super) struct OwnTests {
    program: PathBuf,
    folder: PathBuf,
    names: Vec<String>,
    /// How long each takes, once they have been looked at.
    lengths: Vec<Duration>,
    /// The tests that come by a mutant, by its number, those first that come by the fewest.
    passing: BTreeMap<usize, Vec<usize>>,
}

impl OwnTests {
    /// Builds the tests of the copy's core.
    pub(super) fn open(workshop: &Workshop) -> Result<Self, Error> {
        let words = ["test", "--package", "arcp-proto", "--lib", "--no-run", "--message-format=json"];
        let done = workshop.cargo(&words)?;
        let said = String::from_utf8_lossy(&done.stdout);
        let program = said.lines().rev().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(PathBuf::from(line["executable"].as_str()?))
        });
        let program = program.filter(|_| done.status.success());
        let program = program.ok_or_else(|| Error::Failed("the core's tests do not build".to_owned()))?;
        let mut tests = Self {
            program,
            folder: workshop.folder().join("arcp-proto"),
            names: Vec::new(),
            lengths: Vec::new(),
            passing: BTreeMap::new(),
        };
        let (_, listed) = tests.run(&["--list", "--format", "terse"], &[], LOOKING)?;
        tests.names =
            listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
        Ok(tests)
    }

    /// Runs every test by itself to see which mutants it comes by.
    pub(super) fn look(&mut self, mut told: impl FnMut(usize, usize)) -> Result<(), Error> {
        let passed = Passed::in_folder(&self.folder);
        let (mut by_test, mut lengths) = (Vec::new(), Vec::new());
        for (index, name) in self.names.iter().enumerate() {
            let began = Instant::now();
            let (ending, said) = self.run(&["--exact", name], &passed.begin()?, LOOKING)?;
            lengths.push(began.elapsed());
            if ending != Ending::Well {
                return Err(Error::Failed(format!("{name} fails without a mutant:\n{said}")));
            }
            by_test.push(passed.numbers());
            told(index + 1, self.names.len());
        }
        self.lengths = lengths;
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
            let patience =
                PATIENCE.0 + now.iter().map(|test| self.lengths[*test]).sum::<Duration>() * PATIENCE.1;
            let (ending, said) = self.run(&words, &[(MUTANT, number.to_string())], patience)?;
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
    fn run(
        &self,
        words: &[&str],
        environment: &[(&str, String)],
        patience: Duration,
    ) -> Result<(Ending, String), Error> {
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
        let has_ended = ends_within(&mut child, patience).map_err(io)?;
        let said = String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned();
        Ok(match child.wait().map_err(io)? {
            _ if !has_ended => (Ending::Never, said),
            status if status.success() => (Ending::Well, said),
            _ => (Ending::Badly, said),
        })
    }
}

/// The file into which a program that runs with no mutant alive writes which it comes by.
pub(super) struct Passed(PathBuf);

impl Passed {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self(folder.join("passed"))
    }

    /// The environment of such a program; the file is empty.
    pub(super) fn begin(&self) -> Result<[(&'static str, String); 2], Error> {
        fs::write(&self.0, b"").map_err(|error| Error::Io(self.0.clone(), error))?;
        Ok([(MUTANT, "0".to_owned()), ("MUTANT_PASSED", self.0.to_string_lossy().into_owned())])
    }

    /// The mutants it came by.
    pub(super) fn numbers(&self) -> Vec<usize> {
        let bytes = fs::read(&self.0).unwrap_or_default();
        bytes.chunks_exact(2).map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]]))).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Well,
    Badly,
    /// Not within its time.
    Never,
}
