//! The rows of `CONFORMANCE.md`, and what may be wrong with them.

use std::collections::BTreeSet;

use super::sources::Tests;

/// Decisions are numbered from 1 to this.
pub(crate) const DECISIONS: u32 = 111;

/// The sections of the protocol's reference that have rules; each has a row.
pub(crate) const SECTIONS: [&str; 50] = [
    "§0.2", "§1.1", "§1.2", "§1.3", "§1.4", "§1.5", "§1.6", "§2.1", "§2.2", "§2.3", "§2.4", "§2.5", "§2.6",
    "§2.7", "§2.8", "§2.9", "§3.1", "§3.2", "§3.3", "§3.4", "§3.5", "§3.6", "§3.7", "§3.8", "§4.1", "§4.2",
    "§4.3", "§4.4", "§5.1", "§5.2", "§5.3", "§5.4", "§5.5", "§5.6", "§5.7", "§5.8", "§5.9", "§6", "§7", "§8",
    "§9", "§10.1", "§10.2", "§10.3", "§11", "§12.1", "§12.2", "§12.3", "§12.4", "§12.5",
];

/// What rows may name.
pub(crate) struct Known {
    pub(crate) tests: Tests,
    pub(crate) vectors: BTreeSet<String>,
}

/// Everything that is wrong with the table in `text`.
pub(crate) fn faults(text: &str, known: &Known) -> Vec<String> {
    let mut check = Check { known, rules: BTreeSet::new(), decisions: BTreeSet::new(), faults: Vec::new() };
    let (built, not_built) = text.split_once("\n## Not built").unwrap_or((text, ""));
    for row in rows(built) {
        check.row(row, 5);
    }
    let mut count = 0;
    for row in rows(not_built) {
        count += 1;
        check.row(row, 4);
    }
    match not_built.lines().find_map(|line| line.strip_prefix("Rows: ")) {
        Some(said) if said != count.to_string() => {
            check.faults.push(format!("the list of what is not built says {said} rows and has {count}"));
        }
        Some(_) => {}
        None => check.faults.push("the list of what is not built does not say how many rows it has".into()),
    }
    for number in (1..=DECISIONS).filter(|number| !check.decisions.contains(number)) {
        check.faults.push(format!("D-{number} is nowhere"));
    }
    for section in SECTIONS {
        if !check.rules.iter().any(|(at, _)| at == section) {
            check.faults.push(format!("nothing about {section}"));
        }
    }
    check.faults
}

/// The rows of all tables in `text`, without those that begin a table.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("| at |") && !line.starts_with("|---"))
}

struct Check<'a> {
    known: &'a Known,
    rules: BTreeSet<(String, String)>,
    decisions: BTreeSet<u32>,
    faults: Vec<String>,
}

impl Check<'_> {
    fn fault(&mut self, row: &str, what: impl std::fmt::Display) {
        self.faults.push(format!("{what}: {row}"));
    }

    fn row(&mut self, row: &str, width: usize) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        if cells.len() != width {
            return self.fault(row, format_args!("a row has {width} cells"));
        }
        if cells.iter().any(|cell| cell.is_empty()) {
            return self.fault(row, "an empty cell");
        }
        let (at, decisions, rule, level) = (cells[0], cells[1], cells[2], cells[3]);
        if !SECTIONS.contains(&at) {
            self.fault(row, format_args!("no section {at}"));
        }
        for decision in decisions.split(", ").filter(|decision| *decision != "–") {
            let number = decision.strip_prefix("D-").and_then(|number| number.parse().ok());
            match number.filter(|number| (1..=DECISIONS).contains(number)) {
                Some(number) => drop(self.decisions.insert(number)),
                None => self.fault(row, format_args!("no decision {decision}")),
            }
        }
        if !["MUST", "SHOULD"].contains(&level) {
            self.fault(row, "the level is MUST or SHOULD");
        }
        if rule.to_lowercase().contains("partial") {
            self.fault(row, "no row is partial");
        }
        if !self.rules.insert((at.to_owned(), rule.to_owned())) {
            self.fault(row, "the same rule twice");
        }
        if let Some(tests) = cells.get(4) {
            self.tests(row, tests);
        }
    }

    /// Judges tests like `` `a::b`, `c::d` (a-vector, another) ``.
    fn tests(&mut self, row: &str, cell: &str) {
        let mut named = BTreeSet::new();
        // Between backticks are names, and behind each name what is said of it.
        let mut parts = cell.split('`').skip(1);
        while let (Some(name), Some(said)) = (parts.next(), parts.next()) {
            if !named.insert(name) {
                self.fault(row, format_args!("`{name}` twice"));
            }
            let said = said.trim().trim_end_matches(',').trim_matches(['(', ')']);
            let said: Vec<&str> = said.split(", ").filter(|word| !word.is_empty()).collect();
            let says_ignored = said.contains(&"ignored");
            match self.known.tests.is_ignored(name) {
                None => self.fault(row, format_args!("no test `{name}`")),
                Some(true) if !says_ignored => self.fault(row, format_args!("`{name}` is ignored")),
                Some(false) if says_ignored => self.fault(row, format_args!("`{name}` is not ignored")),
                Some(_) => {}
            }
            for vector in said.into_iter().filter(|word| *word != "ignored") {
                if !self.known.vectors.contains(vector) {
                    self.fault(row, format_args!("no vector {vector}"));
                }
            }
        }
        if named.is_empty() {
            self.fault(row, "the row names no test");
        }
    }
}
