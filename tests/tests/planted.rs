//! The table of planted bugs fits the sources; `planted` plants them.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use arcp_tests::fuzz::TARGETS;
use arcp_tests::planted::{Bug, Catcher, read_table};

/// Bugs in the list, and those of jobs that are run again behind them.
const LISTED: u16 = 107;

fn table() -> Vec<Bug> {
    read_table(&Path::new(env!("CARGO_MANIFEST_DIR")).join("planted")).unwrap()
}

#[test]
fn every_text_is_in_its_file_exactly_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut errors = Vec::new();
    for build in table().iter().flat_map(|bug| &bug.builds) {
        // Several changes of one file follow each other.
        let mut sources: BTreeMap<&str, String> = BTreeMap::new();
        for edit in &build.edits {
            let source = sources
                .entry(&edit.file)
                .or_insert_with(|| fs::read_to_string(root.join(&edit.file)).unwrap_or_default());
            match edit.apply(source) {
                Ok(changed) => *source = changed,
                Err(error) => errors.push(format!("{}: {error}", build.name)),
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn every_listed_bug_is_there_once() {
    let bugs = table();
    let numbers: Vec<u16> = bugs.iter().map(|bug| bug.number).collect();
    assert_eq!(numbers, (1..=LISTED).collect::<Vec<_>>());
    let slugs: BTreeSet<&str> = bugs.iter().map(|bug| bug.slug.as_str()).collect();
    assert_eq!(slugs.len(), bugs.len());
}

#[test]
fn every_body_that_should_catch_one_exists() {
    for build in table().iter().flat_map(|bug| &bug.builds) {
        if let Catcher::Body(name) = &build.by {
            assert!(TARGETS.iter().any(|(target, _)| target == name), "{}: {name}", build.name);
        }
    }
}
