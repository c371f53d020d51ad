//! Patterns of `agent.delegate`: name and version, matched separately (protocol §5.3, D-57).

use super::pattern::{MAX_PATTERN_BYTES, Run, Wildcards};
use super::text::{self, Refusal};
use crate::agent::AgentRef;

/// A compiled pattern of agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentPattern {
    name: Run,
    /// `None` is every version, and agents without versions.
    version: Option<Run>,
}

impl AgentPattern {
    /// Reads `name` or `name@version`, each with `*`.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        text::check(text, MAX_PATTERN_BYTES, "a pattern has at most 512 bytes")?;
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let name_byte = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'*');
        if name.is_empty() || name.starts_with(['.', '_', '-']) || !name.bytes().all(name_byte) {
            return Err(Refusal::new(
                "an agent's name is a-z 0-9 . _ - beginning with a letter or digit, and `*`",
            ));
        }
        let version_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'_' | b'-' | b'*');
        if version.is_some_and(|version| version.is_empty() || !version.bytes().all(version_byte)) {
            return Err(Refusal::new("an agent's version is a-z A-Z 0-9 . + _ -, and `*`"));
        }
        let mut wildcards = Wildcards::default();
        // A part is one segment, so that `**` says there what `*` says.
        let mut part = |text| Run::segment(if text == "**" { "*" } else { text }, &mut wildcards);
        Ok(Self {
            name: part(name)?,
            version: version.map(part).transpose()?.filter(|version| !version.is_star()),
        })
    }

    /// Whether it stands for `agent`.
    pub(super) fn matches(&self, agent: &AgentRef) -> bool {
        self.name.matches(agent.name(), &mut ())
            && self
                .version
                .as_ref()
                .is_none_or(|version| agent.version().is_some_and(|named| version.matches(named, &mut ())))
    }

    /// Whether it stands for every agent `child` stands for.
    pub(super) fn covers(&self, child: &Self) -> bool {
        self.name.covers(&child.name)
            && self
                .version
                .as_ref()
                .is_none_or(|version| child.version.as_ref().is_some_and(|narrower| version.covers(narrower)))
    }
}

/// The agent a target names.
pub(super) fn target(text: &str) -> Result<AgentRef, Refusal> {
    AgentRef::parse(text).map_err(|_| {
        Refusal::new(
            "an agent is `name` or `name@version`: a name is 1..=128 bytes of a-z 0-9 . _ - beginning with a letter \
             or digit, a version 1..=64 bytes of a-z A-Z 0-9 . + _ -",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERNS: [&str; 12] =
        ["a", "a@*", "a@**", "a@1", "a@1.*", "a@*1", "*", "**", "*@1", "*a*", "ab*@1.*", "ab@1.0"];
    const AGENTS: [&str; 9] = ["a", "a@1", "a@1.0", "a@2.1", "ab", "ab@1", "ab@1.0", "b@1", "ba"];

    #[test]
    fn absent_versions_cover_every_version() {
        let matches =
            |pattern, agent| AgentPattern::parse(pattern).unwrap().matches(&AgentRef::parse(agent).unwrap());
        for pattern in ["a", "a@*", "a@**"] {
            assert!(
                matches(pattern, "a") && matches(pattern, "a@2.1") && !matches(pattern, "ab"),
                "{pattern}"
            );
        }
        assert!(!matches("a@1.*", "a") && matches("a@1.*", "a@1.0") && !matches("a@1.*", "a@1"));
        assert!(matches("**", "ba") && matches("*", "a@1"));
    }

    #[test]
    fn covering_means_what_matching_means() {
        for parent in PATTERNS.map(|text| AgentPattern::parse(text).unwrap()) {
            assert!(parent.covers(&parent));
            for child in PATTERNS.map(|text| AgentPattern::parse(text).unwrap()) {
                if parent.covers(&child) {
                    for agent in AGENTS.map(|text| AgentRef::parse(text).unwrap()) {
                        assert!(
                            !child.matches(&agent) || parent.matches(&agent),
                            "{parent:?} {child:?} {agent}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn grammar() {
        for text in ["", "@1", "a@", "a@1@2", "Mailer", "-a", "a/b", "a**", "a@1**", "a b", "é", "a@1/2"] {
            assert!(AgentPattern::parse(text).is_err(), "{text}");
        }
    }
}
