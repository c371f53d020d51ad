//! Properties of deciding, over random leases and targets: LEA-3, LEA-4, LEA-5, LEA-7, LEA-9.

use super::*;
use crate::wire::testing::Random;
use alloc::vec::Vec;

const CAPABILITIES: [&str; 5] = ["fs.read", "net.fetch", "tool.call", "agent.delegate", "model.use"];

fn joined(random: &mut Random, most: usize, pieces: &[&'static str]) -> String {
    (0..=random.below(most)).map(|_| random.pick(pieces)).collect()
}

fn pattern(random: &mut Random, capability: &str) -> String {
    match capability {
        "fs.read" => alloc::format!("/{}", joined(random, 5, &["a", "b", "/", "*", "**", "/**/", "ab"])),
        "net.fetch" => {
            let host = joined(random, 2, &["a", "b", ".", "*", "**.", "localhost", "127.0.0.1"]);
            let port = random.pick(&["", "", ":*", ":80", ":8080"]);
            let path = joined(random, 4, &["/", "a", "*", "/**", "%61"]);
            let query = random.pick(&["", "", "?*", "?a=*", "?"]);
            alloc::format!("http://{host}{port}/{path}{query}")
        }
        "agent.delegate" => joined(random, 3, &["a", "b", "*", "@", "1", ".*"]),
        _ => joined(random, 5, &["a", "b", "/", "*", "**", "/**", "a*"]),
    }
}

fn target(random: &mut Random, capability: &str) -> String {
    match capability {
        "fs.read" => alloc::format!("/{}", joined(random, 6, &["a", "b", "/", "ab", ".", "%2e"])),
        "net.fetch" => {
            let host = joined(random, 2, &["a", "B", ".", "localhost", "127.0.0.1"]);
            let port = random.pick(&["", "", ":80", ":8080", ":080"]);
            let path = joined(random, 4, &["/", "a", "b", "%61", "%2a", ".."]);
            let query = random.pick(&["", "", "?a=1", "?", "#a", "?a=%31"]);
            alloc::format!("{}{host}{port}/{path}{query}", random.pick(&["http://", "HTTP://"]))
        }
        "agent.delegate" => joined(random, 3, &["a", "b", "@", "1", ".2"]),
        _ => joined(random, 5, &["a", "b", "/", "ab"]),
    }
}

/// `text` with its wildcards replaced, each by one of `many` or of `one`.
fn filled(random: &mut Random, text: &str, many: &[&'static str], one: &[&'static str]) -> String {
    let mut out = String::new();
    for (index, part) in text.split("**").enumerate() {
        if index > 0 {
            out += random.pick(many);
        }
        for (index, literal) in part.split('*').enumerate() {
            if index > 0 {
                out += random.pick(one);
            }
            out += literal;
        }
    }
    out
}

/// A target near one of the patterns of `lease`, or any.
fn near(random: &mut Random, lease: &Lease, capability: &str) -> String {
    let patterns = lease.patterns(&Capability::parse(capability).unwrap()).unwrap_or_default();
    if patterns.is_empty() || random.below(4) == 0 {
        return target(random, capability);
    }
    let text = patterns[random.below(patterns.len())].as_str().to_string();
    filled(random, &text, &["a", "a/b", "b", ".a", ""], &["a", "ab", "8080", "b"])
}

/// A lease of whatever comes; if there is a parent, mostly of patterns made from its own.
fn random_lease(random: &mut Random, parent: Option<&Lease>) -> Lease {
    let mut members = Vec::new();
    for name in CAPABILITIES {
        let capability = Capability::parse(name).unwrap();
        let held = parent.and_then(|parent| parent.patterns(&capability)).unwrap_or_default();
        if random.below(2) == 0 || (parent.is_some() && held.is_empty() && random.below(8) > 0) {
            continue;
        }
        let patterns = (0..random.below(4)).map(|_| {
            if held.is_empty() || random.below(16) == 0 {
                return pattern(random, name);
            }
            let text = held[random.below(held.len())].as_str().to_string();
            filled(random, &text, &["**", "*", "a", "a/**", "**/b", "*/a"], &["*", "*", "a", "a*", "*b*"])
        });
        let patterns: Vec<_> = patterns
            .filter(|text| Pattern::parse(&capability, text).is_ok())
            .map(|text| alloc::format!("\"{text}\""))
            .collect();
        members.push(alloc::format!("\"{name}\":[{}]", patterns.join(",")));
    }
    if random.below(3) == 0 {
        members.push(alloc::format!("\"cost.budget\":[\"USD:{}\"]", random.below(5)));
    }
    let expiry = random.pick(&["", "", "\"2026-09-01T00:00:00Z\"", "\"2027-01-01T00:00:00Z\""]);
    let constraints =
        if expiry.is_empty() { "{}".into() } else { alloc::format!("{{\"expires_at\":{expiry}}}") };
    parse(&alloc::format!("{{{}}}", members.join(",")), &constraints).unwrap()
}

fn granted(lease: &Lease) -> impl Fn(&Currency) -> Option<Amount> + '_ {
    |currency| lease.budgeted(currency).map(|budgeted| budgeted.amount)
}

#[test]
fn a_child_within_its_parent_may_do_nothing_more() {
    let mut random = Random::new(47);
    let (mut within, mut beyond, mut permitted) = (0, 0, 0);
    for _ in 0..6_000 {
        let parent = random_lease(&mut random, None);
        let child = random_lease(&mut random, Some(&parent));
        assert_eq!(parent.subset_of(&parent, granted(&parent), Policy::default()), Ok(()), "reflexive");
        let proved = child.subset_of(&parent, granted(&parent), Policy::default()).is_ok();
        let effective = child.inherit(&parent, granted(&parent), Policy::default());
        assert_eq!(proved, effective.is_ok());
        let Ok(effective) = effective else {
            beyond += 1;
            continue;
        };
        within += 1;
        assert_eq!(effective.subset_of(&parent, granted(&parent), Policy::default()), Ok(()));
        if let Some(end) = parent.expires_at() {
            assert!(effective.expires_at().is_some_and(|child| child <= end));
        }
        for budgeted in parent.budget() {
            assert!(effective.budgeted(&budgeted.currency).is_some());
        }
        for _ in 0..10 {
            let capability = random.pick(&CAPABILITIES);
            let target = near(&mut random, &effective, capability);
            if decide(&effective, capability, &target).is_ok() {
                permitted += 1;
                assert!(
                    decide(&parent, capability, &target).is_ok(),
                    "{child:?} {parent:?} {capability} {target}"
                );
            }
        }
    }
    assert!(within > 1_500 && beyond > 800 && permitted > 3_000, "{within} {beyond} {permitted}");
}

#[test]
fn being_within_is_transitive() {
    let mut random = Random::new(48);
    let mut chains = 0;
    for _ in 0..8_000 {
        let a = random_lease(&mut random, None);
        // Through what the middle one really gets, which includes what it inherits.
        let Ok(b) = random_lease(&mut random, Some(&a)).inherit(&a, granted(&a), Policy::default()) else {
            continue;
        };
        let c = random_lease(&mut random, Some(&b));
        let within = |parent: &Lease| c.subset_of(parent, granted(parent), Policy::default()).is_ok();
        if within(&b) {
            chains += 1;
            assert!(within(&a), "{c:?} {b:?} {a:?}");
        }
    }
    assert!(chains > 800, "{chains}");
}

#[test]
fn the_verdict_on_a_target_is_that_on_its_canonical_form() {
    let mut random = Random::new(49);
    let (mut allowed, mut denied) = (0, 0);
    for _ in 0..6_000 {
        let lease = random_lease(&mut random, None);
        for capability in CAPABILITIES {
            let target = near(&mut random, &lease, capability);
            match decide(&lease, capability, &target) {
                Ok(canonical) => {
                    allowed += 1;
                    assert_eq!(
                        decide(&lease, capability, canonical.as_str()).as_ref(),
                        Ok(&canonical),
                        "{target}"
                    );
                }
                Err(Denial::NotGranted { target: canonical, patterns, .. }) => {
                    denied += 1;
                    let again = decide(&lease, capability, &canonical);
                    assert!(
                        matches!(&again, Err(Denial::NotGranted { target, .. }) if *target == canonical),
                        "{target} {patterns:?} {again:?}"
                    );
                }
                Err(other) => assert!(matches!(other, Denial::NotCanonical { .. })),
            }
        }
    }
    assert!(allowed > 1_500 && denied > 5_000, "{allowed} {denied}");
}
