//! Tries the changes that `cargo mutants` would make to the core, all from one build, and says which nothing notices.
//!
//! First the core's own tests that come by a change are run with it; then, for those that noticed nothing, simulated sessions,
//! and the fuzz bodies over the corpus. `tests/mutants.txt` says of some why nothing can notice them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arcp_tests::fuzz::TARGETS;
use arcp_tests::mutants::{Explained, Mutant, Outcome, Trial, list};
use arcp_tests::planted::{Catcher, Error};
use arcp_tests::refuse_arguments;

const USAGE: &str = "mutants [--only TEXT]... [--sessions N] [--without-tests] [--jobs J]

  --only TEXT      try the mutants whose names, `file:line:column: what is done`, have this text in them; may be given
                   several times
  --sessions N     sessions within which the world may notice what the core's own tests did not (300); 0 is without
                   the world and the fuzz bodies
  --without-tests  let the world and the fuzz bodies judge alone
  --jobs J         so many at once (2)";
/// Runs of each fuzz body.
const RUNS: u64 = 500;

struct Arguments {
    only: Vec<String>,
    sessions: u64,
    with_tests: bool,
    jobs: usize,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments { only: Vec::new(), sessions: 300, with_tests: true, jobs: 2 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("`{text}` is no number"));
        match word.as_str() {
            "--only" => found.only.push(value()?),
            "--without-tests" => found.with_tests = false,
            "--sessions" => found.sessions = number(value()?)?,
            "--jobs" => {
                found.jobs = usize::try_from(number(value()?)?).map_err(|error| error.to_string())?.max(1)
            }
            _ => return Err(format!("`{word}` is not known")),
        }
    }
    Ok(found)
}

fn main() -> ExitCode {
    let arguments = arguments().unwrap_or_else(|error| refuse_arguments(&error, USAGE));
    match run(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// How many mutants nothing noticed.
fn run(arguments: &Arguments) -> Result<usize, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let began = Instant::now();
    let mutants = list(&root)?;
    let explained = Explained::read(&root.join("tests/mutants.txt"))?;
    for change in explained.without(&mutants) {
        println!("tests/mutants.txt explains what is no mutant any more: {change}");
    }
    let mut trial = Trial::open(&root, &target.join("mutants"), &mutants)?;
    eprintln!("{} mutants, built after {} s", mutants.len(), began.elapsed().as_secs());
    if arguments.with_tests {
        trial.look(|done, all| {
            if done % 100 == 0 || done == all {
                eprintln!("{done} of {all} tests looked at, after {} s", began.elapsed().as_secs());
            }
        })?;
    }
    if arguments.sessions > 0 {
        trial.add_hunter(Catcher::World, arguments.sessions)?;
        for (name, _) in TARGETS.iter().filter(|(name, _)| *name != "world") {
            trial.add_hunter(Catcher::Body((*name).to_owned()), RUNS)?;
        }
        eprintln!("the world and the fuzz bodies looked at, after {} s", began.elapsed().as_secs());
    }
    let is_chosen = |mutant: &Mutant| {
        arguments.only.is_empty() || arguments.only.iter().any(|text| mutant.name.contains(text))
    };
    let chosen: Vec<usize> = (1..=mutants.len()).filter(|number| is_chosen(&mutants[*number - 1])).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let outcomes = side_by_side(&chosen, arguments.jobs, |number| {
        let (outcome, mutant) = (judge(&trial, number)?, &mutants[number - 1]);
        let reason = explained.reason(mutant).filter(|_| kind(&outcome) == UNNOTICED);
        let words =
            reason.map_or_else(|| words(&outcome), |reason| format!("nothing can notice it: {reason}"));
        println!("{}: {words}", mutant.name);
        Ok(if reason.is_some() { "explained" } else { kind(&outcome) })
    })?;
    for kind in outcomes {
        *counts.entry(kind).or_default() += 1;
    }
    println!("{} mutants tried in {} s: {counts:?}", chosen.len(), began.elapsed().as_secs());
    Ok(counts.get(UNNOTICED).copied().unwrap_or_default())
}

const UNNOTICED: &str = "unnoticed";

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Unbuildable(_) => "unbuildable",
        Outcome::Unswitchable => "unswitchable",
        Outcome::Caught(_) => "caught",
        Outcome::Hung(_) => "hung",
        Outcome::Unreached | Outcome::Survived(_) => UNNOTICED,
    }
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Unbuildable(why) => format!("does not build: {why}"),
        Outcome::Unswitchable => "cannot be switched".to_owned(),
        Outcome::Caught(by) => format!("caught by {by}"),
        Outcome::Hung(test) => format!("does not end, in {test} or soon after"),
        Outcome::Unreached => "NOT NOTICED: no test that was run comes by".to_owned(),
        Outcome::Survived(tests) => format!("NOT NOTICED: {tests} tests come by"),
    }
}

fn judge(trial: &Trial, number: usize) -> Result<Outcome, Error> {
    let outcome = trial.judge(number)?;
    match outcome {
        Outcome::Unreached | Outcome::Survived(_) => Ok(trial.hunt(number)?.map_or(outcome, Outcome::Caught)),
        _ => Ok(outcome),
    }
}

/// Does all of it with so many threads; the answers in order.
fn side_by_side<T: Send>(
    numbers: &[usize],
    jobs: usize,
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let answer = work(*number);
                    let mut answers = answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    answers.push((*number, answer));
                }
            });
        }
    });
    let mut answers = answers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
