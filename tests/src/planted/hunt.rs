//! What looks for a bug, in the program that is built together with it.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fuzz::Exploration;
use crate::sim::seeded;

/// `world N`: the worlds of the seeds from 1 to `N`. `body NAME N FOLDER`: so many runs of a fuzz body, with its corpus.
/// Says on one line which property was broken first, after how many, and what was seen; or that none was.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // A panic is a finding, and told as such.
    let said = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&said);
    std::panic::set_hook(Box::new(move |panic| {
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    let panicked = || said.lock().unwrap_or_else(PoisonError::into_inner).replace('\n', " ");
    let found = match words.as_slice() {
        ["world", most] => number(most).map(|most| world(most, panicked)),
        ["body", name, most, corpus] => {
            number(most).and_then(|most| body(name, most, Path::new(corpus), panicked))
        }
        _ => Err("`world N` or `body NAME N FOLDER`".to_owned()),
    };
    let line = match found {
        Ok(Some((property, after, what))) => format!("caught\t{property}\t{after}\t{what}"),
        Ok(None) => "survived".to_owned(),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// A property, sessions, and words.
type Found = Option<(String, u64, String)>;

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn world(most: u64, panicked: impl Fn() -> String) -> Found {
    for seed in 1..=most {
        match catch_unwind(|| seeded(seed)) {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => {
                let what = failure.violation.what.replace(['\n', '\t'], " ");
                return Some((failure.violation.property.to_owned(), seed, what));
            }
            Err(_) => return Some(("panic".to_owned(), seed, panicked())),
        }
    }
    None
}

fn body(name: &str, most: u64, corpus: &Path, panicked: impl Fn() -> String) -> Result<Found, String> {
    let mut inputs = Exploration::of(name, corpus).map_err(|error| error.to_string())?;
    for run in 1..=most {
        let (input, bytes) = inputs.next_input();
        if catch_unwind(AssertUnwindSafe(|| (inputs.body)(&bytes))).is_err() {
            return Ok(Some(("promise".to_owned(), run, format!("{input}: {}", panicked()))));
        }
    }
    Ok(None)
}
