//! The mutants that nothing can notice, each with the reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::list::Mutant;
use crate::planted::Error;

/// Reasons by mutant, from `tests/mutants.txt`: lines after `#` are a reason, the lines below it the mutants it is for, by file
/// and change without a place.
#[derive(Debug, Default)]
pub struct Explained {
    reasons: BTreeMap<String, String>,
}

impl Explained {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Text`] for a mutant without a reason or one that is there twice.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|error| Error::Io(path.to_owned(), error))?;
        Self::parse(&text).map_err(|error| Error::Text(format!("{}: {error}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (mut reasons, mut reason) = (BTreeMap::new(), String::new());
        let mut is_reason = false;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(words) = line.strip_prefix('#') {
                if !is_reason {
                    reason.clear();
                }
                reason.push_str(words);
            } else if reason.is_empty() {
                return Err(format!("`{line}` has no reason"));
            } else if reasons.insert(line.to_owned(), reason.trim().to_owned()).is_some() {
                return Err(format!("`{line}` is there twice"));
            }
            is_reason = line.starts_with('#');
        }
        Ok(Self { reasons })
    }

    /// Why nothing can notice this one.
    #[must_use]
    pub fn reason(&self, mutant: &Mutant) -> Option<&str> {
        self.reasons.get(&mutant.change()).map(String::as_str)
    }

    /// The explained changes that are none of these mutants' any more.
    #[must_use]
    pub fn without(&self, mutants: &[Mutant]) -> Vec<&str> {
        let changes: Vec<String> = mutants.iter().map(Mutant::change).collect();
        self.reasons.keys().filter(|change| !changes.contains(change)).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_for_the_lines_below_it() {
        let explained =
            Explained::parse("# One\n# reason.\na.rs: x\na.rs: y\n\n# Another.\nb.rs: x\n").unwrap();
        let reasons: Vec<_> = explained.reasons.values().map(String::as_str).collect();
        assert_eq!(reasons, ["One reason.", "One reason.", "Another."]);
        assert!(Explained::parse("a.rs: x").unwrap_err().contains("no reason"));
        assert!(Explained::parse("# r\na\na").unwrap_err().contains("twice"));
    }
}
