//! Agent names, versions and the inventory (protocol §3.7).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

const MAX_NAME_BYTES: usize = 128;
const MAX_VERSION_BYTES: usize = 64;

/// `name` or `name@version`, as submitted or as resolved.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentRef {
    text: String,
    /// Where `@` stands.
    at: Option<usize>,
}

/// Why a text names no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an agent is `name` or `name@version`: a name is 1..=128 bytes of a-z 0-9 . _ - beginning with a letter or digit, \
     a version 1..=64 bytes of a-z A-Z 0-9 . + _ -"
)]
pub struct InvalidAgent;

impl AgentRef {
    /// Reads `name` or `name@version`, split at the first `@`.
    ///
    /// # Errors
    /// [`InvalidAgent`] if the text breaks the grammar of protocol §3.7.
    pub fn parse(text: &str) -> Result<Self, InvalidAgent> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let name_ok = (1..=MAX_NAME_BYTES).contains(&name.len())
            && !name.starts_with(['.', '_', '-'])
            && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        let version_ok = version.is_none_or(|version| {
            (1..=MAX_VERSION_BYTES).contains(&version.len())
                && version
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'_' | b'-'))
        });
        if name_ok && version_ok {
            Ok(Self { text: text.to_string(), at: version.map(|_| name.len()) })
        } else {
            Err(InvalidAgent)
        }
    }

    /// The name without the version.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[..self.at.unwrap_or(self.text.len())]
    }

    /// The version, if one is named.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.at.map(|at| &self.text[at + 1..])
    }

    /// The text on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for AgentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for AgentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The agents of a runtime, by name, with their versions in the order of registration.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    agents: BTreeMap<String, Versions>,
    restartable: BTreeSet<String>,
}

/// The versions of one agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    /// In the order of registration; empty for an agent without versions.
    pub versions: Vec<String>,
    /// What a bare name means; set whenever there is a version.
    pub default: Option<String>,
}

/// Why a submitted agent cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// No agent has this name, or the principal may not use it.
    #[error("no agent of this name is available")]
    Name,
    /// The agent exists, but not in this version.
    #[error("the agent has no such version")]
    Version,
}

impl Inventory {
    /// Adds an agent or one more version of it. The version added last becomes the default.
    pub fn add(&mut self, agent: &AgentRef) {
        let entry = self.agents.entry(agent.name().to_string()).or_default();
        if let Some(version) = agent.version() {
            if !entry.versions.iter().any(|known| known == version) {
                entry.versions.push(version.to_string());
            }
            entry.default = Some(version.to_string());
        }
    }

    /// Makes `version` what a bare `name` means.
    ///
    /// # Errors
    /// [`Unresolved`] if there is no such agent or version.
    pub fn set_default(&mut self, agent: &AgentRef) -> Result<(), Unresolved> {
        let entry = self.agents.get_mut(agent.name()).ok_or(Unresolved::Name)?;
        let version = agent.version().ok_or(Unresolved::Version)?;
        if !entry.versions.iter().any(|known| known == version) {
            return Err(Unresolved::Version);
        }
        entry.default = Some(version.to_string());
        Ok(())
    }

    /// Jobs of this agent, which was added, may be run again after the process that ran them has ended. A bare name means the
    /// agent without a version.
    ///
    /// # Errors
    /// [`Unresolved`] if there is no such agent.
    pub fn set_restartable(&mut self, agent: &AgentRef) -> Result<(), Unresolved> {
        let entry = self.agents.get(agent.name()).ok_or(Unresolved::Name)?;
        if agent.version().is_some_and(|version| !entry.versions.iter().any(|known| known == version)) {
            return Err(Unresolved::Version);
        }
        self.restartable.insert(agent.as_str().to_string());
        Ok(())
    }

    /// Whether jobs of this resolved agent may be run again.
    #[must_use]
    pub fn is_restartable(&self, agent: &AgentRef) -> bool {
        self.restartable.contains(agent.as_str())
    }

    /// What a submitted reference means: `name@version` where the agent has versions, the bare name where not.
    ///
    /// # Errors
    /// [`Unresolved`] if there is no such agent or version.
    pub fn resolve(&self, agent: &AgentRef) -> Result<AgentRef, Unresolved> {
        let entry = self.agents.get(agent.name()).ok_or(Unresolved::Name)?;
        let version = match agent.version() {
            Some(version) => {
                if !entry.versions.iter().any(|known| known == version) {
                    return Err(Unresolved::Version);
                }
                version
            }
            None => match &entry.default {
                Some(version) => version,
                None => return Ok(agent.clone()),
            },
        };
        let at = agent.name().len();
        let mut text = String::with_capacity(at + 1 + version.len());
        text.push_str(agent.name());
        text.push('@');
        text.push_str(version);
        Ok(AgentRef { text, at: Some(at) })
    }

    /// The agents by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Versions)> {
        self.agents.iter().map(|(name, versions)| (name.as_str(), versions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(text: &str) -> AgentRef {
        AgentRef::parse(text).unwrap()
    }

    #[test]
    fn grammar() {
        let long_name = "a".repeat(128);
        let long_version = std::format!("a@{}", "1".repeat(64));
        for text in ["mailer", "7zip", "a@1.0.0+b7", "a@.1", "a.b-c_d@X", &long_name, &long_version] {
            assert_eq!(agent(text).as_str(), text);
            assert_eq!(std::format!("{:?}", agent(text)), std::format!("{text:?}"));
        }
        let name_129 = "a".repeat(129);
        let version_65 = std::format!("a@{}", "1".repeat(65));
        for text in [
            "",
            "Mailer",
            "-a",
            ".a",
            "_a",
            "a@",
            "@1",
            "a@1@2",
            "a/b",
            "a b",
            "a*",
            "аgent",
            "a\n",
            "a@*",
            &name_129,
            &version_65,
        ] {
            assert_eq!(AgentRef::parse(text), Err(InvalidAgent), "{text}");
        }
    }

    #[test]
    fn bare_names_mean_the_default() {
        let mut inventory = Inventory::default();
        inventory.add(&agent("refactor@1.0.0"));
        inventory.add(&agent("refactor@2.0.0"));
        inventory.add(&agent("mailer"));
        assert_eq!(inventory.resolve(&agent("refactor")), Ok(agent("refactor@2.0.0")));
        assert_eq!(inventory.resolve(&agent("refactor@1.0.0")), Ok(agent("refactor@1.0.0")));
        assert_eq!(inventory.resolve(&agent("refactor@3.0.0")), Err(Unresolved::Version));
        assert_eq!(inventory.resolve(&agent("mailer")), Ok(agent("mailer")));
        assert_eq!(inventory.resolve(&agent("mailer@1")), Err(Unresolved::Version));
        assert_eq!(inventory.resolve(&agent("nobody")), Err(Unresolved::Name));
        inventory.set_default(&agent("refactor@1.0.0")).unwrap();
        assert_eq!(inventory.resolve(&agent("refactor")), Ok(agent("refactor@1.0.0")));
        assert_eq!(inventory.set_default(&agent("refactor@9")), Err(Unresolved::Version));
    }

    #[test]
    fn what_may_be_run_again_is_said_of_each_version() {
        let mut inventory = Inventory::default();
        for text in ["refactor@1.0.0", "refactor@2.0.0", "mailer"] {
            inventory.add(&agent(text));
        }
        inventory.set_restartable(&agent("refactor@2.0.0")).unwrap();
        inventory.set_restartable(&agent("mailer")).unwrap();
        assert_eq!(inventory.set_restartable(&agent("refactor@3.0.0")), Err(Unresolved::Version));
        assert_eq!(inventory.set_restartable(&agent("nobody")), Err(Unresolved::Name));
        let may = |text| inventory.is_restartable(&agent(text));
        assert_eq!(
            ["refactor@1.0.0", "refactor@2.0.0", "refactor", "mailer"].map(may),
            [false, true, false, true]
        );
    }
}
