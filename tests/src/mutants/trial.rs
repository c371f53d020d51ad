//! The copy with all mutants in it: how it is built, and what notices which of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::build::put_in;
use super::list::Mutant;
use super::own_tests::{OwnTests, Passed};
use crate::planted::{Catcher, Error, Workshop};

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It does not compile; the compiler's words.
    Unbuildable(String),
    /// It is where nothing can be switched: in a constant, or in what a constant calls.
    Unswitchable,
    /// A test failed, or ended the process, as one does that takes more memory than it may; one of those that did.
    Caught(String),
    /// A test did not end in its time.
    Hung(String),
    /// No test comes by.
    Unreached,
    /// So many tests came by, and none failed.
    Survived(usize),
}

/// The name of the variable that chooses the mutant.
pub(super) const MUTANT: &str = "MUTANT";

/// The copy, built.
#[derive(Debug)]
pub struct Trial {
    workshop: Workshop,
    tests: OwnTests,
    hunters: Vec<Hunter>,
    /// By number, from 1: why it cannot be tried.
    out: BTreeMap<usize, Outcome>,
}

/// For a world or a fuzz body that says nothing.
const PATIENCE: Duration = Duration::from_secs(90);

/// Who looks further than the core's own tests.
#[derive(Debug)]
struct Hunter {
    by: Catcher,
    most: u64,
    passing: BTreeSet<usize>,
}

impl Trial {
    /// Copies the workspace at `root` to `folder`, puts the mutants in, and takes out those that do not compile until the rest does.
    /// Numbers are places in `mutants`, from 1.
    ///
    /// # Errors
    /// [`Error`], of which the compiler's words are a mistake of this program.
    pub fn open(root: &Path, folder: &Path, mutants: &[Mutant]) -> Result<Self, Error> {
        let workshop = Workshop::open(root, folder)?;
        let out = put_in(&workshop, root, mutants)?;
        workshop.build()?;
        let tests = OwnTests::open(&workshop)?;
        Ok(Self { workshop, tests, hunters: Vec::new(), out })
    }

    /// Runs each of the core's own tests to see which mutants it comes by; `told` hears after every one.
    ///
    /// # Errors
    /// A test fails without a mutant.
    pub fn look(&mut self, told: impl FnMut(usize, usize)) -> Result<(), Error> {
        self.tests.look(told)
    }

    /// Tries a mutant against the core's own tests.
    ///
    /// # Errors
    /// The tests could not be run.
    pub fn judge(&self, number: usize) -> Result<Outcome, Error> {
        match self.out.get(&number) {
            Some(outcome) => Ok(outcome.clone()),
            None => self.tests.judge(number),
        }
    }

    /// Looks which mutants so many simulated sessions or runs of a fuzz body come by; [`Trial::hunt`] has them look for these.
    ///
    /// # Errors
    /// They find something without a mutant.
    pub fn add_hunter(&mut self, by: Catcher, most: u64) -> Result<(), Error> {
        let passed = Passed::in_folder(self.workshop.folder());
        if let Some(found) = self.workshop.hunt_in(&by, most, &passed.begin()?, PATIENCE)? {
            return Err(Error::Failed(format!("{by} finds {} without a mutant", found.property)));
        }
        self.hunters.push(Hunter { by, most, passing: passed.numbers().into_iter().collect() });
        Ok(())
    }

    /// What of the hunters that come by a mutant notices it.
    ///
    /// # Errors
    /// The program could not be run.
    pub fn hunt(&self, number: usize) -> Result<Option<String>, Error> {
        for Hunter { by, most, .. } in self.hunters.iter().filter(|hunter| hunter.passing.contains(&number)) {
            if let Some(caught) =
                self.workshop.hunt_in(by, *most, &[(MUTANT, number.to_string())], PATIENCE)?
            {
                return Ok(Some(format!("{by}: {} after {}", caught.property, caught.after)));
            }
        }
        Ok(None)
    }
}
