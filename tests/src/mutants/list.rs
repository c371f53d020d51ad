//! The list of mutants, as `cargo mutants` makes it.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::planted::Error;

/// One small change of the core.
#[derive(Debug, Clone, Deserialize)]
pub struct Mutant {
    /// The file, from the root of the workspace.
    pub file: String,
    /// What kind of change, in the words of `cargo mutants`.
    pub(super) genre: Genre,
    /// File, line, column and what is done there.
    pub name: String,
    pub(super) replacement: String,
    pub(super) span: Span,
}

impl Mutant {
    /// File and change without the place, which moves with everything above it.
    #[must_use]
    pub fn change(&self) -> String {
        let what = self.name.splitn(4, ':').nth(3).unwrap_or_default();
        format!("{}:{what}", self.file)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Span {
    pub(super) start: Place,
}

/// A line and a column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Place {
    line: usize,
    column: usize,
}

impl Place {
    /// How many bytes of `source` are in front of it.
    pub(super) fn offset(self, source: &str) -> usize {
        let mut lines = source.split_inclusive('\n');
        let before: usize = lines.by_ref().take(self.line.saturating_sub(1)).map(str::len).sum();
        let line = lines.next().unwrap_or_default();
        before + line.chars().take(self.column.saturating_sub(1)).map(char::len_utf8).sum::<usize>()
    }
}

/// All mutants of the core of the workspace at `root`, in the order of their files and lines.
///
/// # Errors
/// `cargo mutants` is not installed, failed, or said something else than it does today.
pub fn list(root: &Path) -> Result<Vec<Mutant>, Error> {
    let done = Command::new("cargo")
        .args(["mutants", "--list", "--json", "--package", "arcp-proto"])
        .current_dir(root)
        .output()
        .map_err(|error| Error::Io("cargo".into(), error))?;
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stderr);
        return Err(Error::Failed(format!("`cargo mutants --list` failed; is it installed? {words}")));
    }
    serde_json::from_slice(&done.stdout)
        .map_err(|error| Error::Failed(format!("the list of `cargo mutants` could not be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_no_place() {
        let mutant = serde_json::json!({
            "file": "a/b.rs", "genre": "FnValue", "name": "a/b.rs:12:3: replace A::b with ()", "replacement": "()",
            "span": { "start": { "line": 12, "column": 3 } },
        });
        let mutant: Mutant = serde_json::from_value(mutant).unwrap();
        assert_eq!(mutant.change(), "a/b.rs: replace A::b with ()");
    }

    #[test]
    fn a_place_counts_characters_and_lines_from_one() {
        let source = "ab\nä=c\n";
        assert_eq!(Place { line: 1, column: 1 }.offset(source), 0);
        assert_eq!(Place { line: 2, column: 2 }.offset(source), 5);
        assert_eq!(Place { line: 3, column: 1 }.offset(source), source.len());
    }
}
