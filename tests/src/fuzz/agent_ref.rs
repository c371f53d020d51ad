//! Agent names.

use arcp_proto::agent::{AgentRef, Inventory, Unresolved};

/// Reads the bytes as the name of an agent. The grammar is that of protocol §3.7, whole and no more, and what was
/// registered is found under its own name and nothing else.
pub fn agent_ref(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = AgentRef::parse(text);
    assert_eq!(parsed.is_ok(), is_agent(data), "{text:?}");
    let Ok(agent) = parsed else { return };
    assert_eq!(agent.as_str(), text);
    let put_together = match agent.version() {
        Some(version) => format!("{}@{version}", agent.name()),
        None => agent.name().to_owned(),
    };
    assert_eq!(put_together, text);
    let bare = AgentRef::parse(agent.name()).expect("the name alone names an agent");
    let mut inventory = Inventory::default();
    assert_eq!(inventory.resolve(&agent), Err(Unresolved::Name));
    inventory.add(&agent);
    assert_eq!(inventory.resolve(&agent).as_ref(), Ok(&agent));
    assert_eq!(inventory.resolve(&bare).as_ref(), Ok(&agent), "the only version is the default");
    inventory.add(&agent);
    assert_eq!(inventory.iter().map(|(_, versions)| versions.versions.len()).sum::<usize>(), {
        usize::from(agent.version().is_some())
    });
    if agent.version() != Some("0") {
        let other = AgentRef::parse(&format!("{}@0", agent.name())).expect("a version");
        assert_eq!(inventory.resolve(&other), Err(Unresolved::Version));
    }
}

fn is_agent(text: &[u8]) -> bool {
    let mut parts = text.splitn(2, |byte| *byte == b'@');
    let name = parts.next().unwrap_or_default();
    let small = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=128).contains(&name.len())
        && name.first().is_some_and(small)
        && name.iter().all(|byte| small(byte) || b"._-".contains(byte))
        && parts.next().is_none_or(|version| {
            (1..=64).contains(&version.len())
                && version.iter().all(|byte| byte.is_ascii_alphanumeric() || b".+_-".contains(byte))
        })
}
