//! What one pattern of a lease permits.

use arcp_proto::lease::{Capability, Denial, Lease, Policy};

use super::choices::Choices;
use super::lease_text::{capability, decide, holding, lines, target_of};
use super::meaning::{Parts, stands_for};

/// The first byte is the namespace, then a line each: a pattern, a target, and how to make a target of the pattern.
/// What is decided is what the pattern means by the letter, and the same for the target's one spelling (protocol §5.2,
/// §5.3, LEA-3).
pub fn lease_match(data: &[u8]) {
    let (kind, rest) = data.split_first().unwrap_or((&0, data));
    let [pattern, target, choices] = lines(rest);
    let (Ok(pattern), Ok(target)) = (std::str::from_utf8(pattern), std::str::from_utf8(target)) else {
        return;
    };
    let capability = capability(kind & 0x7f);
    let policy = Policy { windows_paths: *kind >= 0x80, unlisted_models: false };
    let Some(lease) = holding(&capability, pattern) else { return };
    judge(&lease, &capability, pattern, target, policy);
    let made = target_of(&mut Choices::new(choices), pattern);
    judge(&lease, &capability, pattern, &made, policy);
}

fn judge(lease: &Lease, capability: &Capability, pattern: &str, target: &str, policy: Policy) {
    let verdict = decide(lease, capability, target, policy);
    let (canonical, permitted) = match &verdict {
        Ok(canonical) => (canonical.as_str(), true),
        Err(Denial::NotGranted { target, patterns, .. }) => {
            assert_eq!(patterns, &[pattern]);
            (target.as_str(), false)
        }
        Err(Denial::NotCanonical { target: shown, .. }) => {
            assert!(target.starts_with(shown.as_str()) && shown.len() <= 4_096);
            return;
        }
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(permitted, stands_for(capability, pattern, canonical), "{pattern:?} for {target:?}");
    assert_eq!(decide(lease, capability, canonical, policy), again(&verdict, canonical), "{target:?}");
    if let Ok(canonical) = verdict {
        let one_host = *capability == Capability::NetFetch && !Parts::of(pattern).host.contains('*');
        assert_eq!(canonical.names_one_host(), one_host, "{pattern:?}");
    }
}

/// The verdict on the target's one spelling, which is its own.
fn again(
    verdict: &Result<arcp_proto::lease::Canonical, Denial>,
    canonical: &str,
) -> Result<arcp_proto::lease::Canonical, Denial> {
    let mut verdict = verdict.clone();
    if let Err(Denial::NotGranted { target, .. }) = &mut verdict {
        canonical.clone_into(target);
    }
    verdict
}
