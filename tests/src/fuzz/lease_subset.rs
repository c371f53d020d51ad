//! Whether one pattern of a lease lies within another.

use arcp_proto::lease::{Capability, Lease, Pattern, Policy};

use super::choices::Choices;
use super::inclusion::includes;
use super::lease_text::{capability, decide, holding, lines, narrower, target_of};
use super::meaning::{Parts, file_segments, path_segments, split};

/// The first byte is the namespace, then a line each: a pattern, a second one, and how to make more of them. Whatever
/// is proved to lie within a pattern does so in truth, each pattern lies within itself, and what lies within one that
/// lies within a third lies within that (protocol §5.7, LEA-4, LEA-5).
pub fn lease_subset(data: &[u8]) {
    let (kind, rest) = data.split_first().unwrap_or((&0, data));
    let [one, other, choices] = lines(rest);
    let (Ok(one), Ok(other)) = (std::str::from_utf8(one), std::str::from_utf8(other)) else { return };
    let capability = capability(*kind);
    let mut choices = Choices::new(choices);
    let within = narrower(&mut choices, one);
    let deeper = narrower(&mut choices, &within);
    let texts = [one, other, &within, &deeper];
    let leases: Vec<_> = texts
        .into_iter()
        .filter_map(|text| Some((text, holding(&capability, text)?)))
        .map(|(text, lease)| Held { text, lease })
        .collect();
    let proved = |parent: &Held<'_>, child: &Held<'_>| parent.proves(child, &capability);
    for parent in &leases {
        assert!(proved(parent, parent), "{}", parent.text);
        for child in &leases {
            let is_proved = proved(parent, child);
            judge(&capability, parent, child, is_proved, &mut choices);
            for third in leases.iter().filter(|third| is_proved && proved(child, third)) {
                assert!(proved(parent, third), "{}, {}, {}", parent.text, child.text, third.text);
            }
        }
    }
}

struct Held<'a> {
    text: &'a str,
    lease: Lease,
}

impl Held<'_> {
    fn pattern(&self, capability: &Capability) -> Pattern {
        self.lease.patterns(capability).expect("it holds one")[0].clone()
    }

    /// Whether another one is proved to lie within this one, as a pattern and as a lease.
    fn proves(&self, child: &Held<'_>, capability: &Capability) -> bool {
        let proved = self.pattern(capability).covers(&child.pattern(capability));
        let within = child.lease.subset_of(&self.lease, |_| None, Policy::default());
        assert_eq!(within.is_ok(), proved, "{}, {}", self.text, child.text);
        if let Err(violation) = within {
            assert_eq!((violation.capability.as_str(), violation.pattern.as_str()), {
                (capability.as_str(), child.text)
            });
        }
        proved
    }
}

/// What is proved holds; what holds between patterns without `**` is proved.
fn judge(
    capability: &Capability,
    parent: &Held<'_>,
    child: &Held<'_>,
    is_proved: bool,
    choices: &mut Choices<'_>,
) {
    let (one, other) = (parent.text, child.text);
    match holds(capability, one, other) {
        Some(false) => assert!(!is_proved, "{other:?} is not within {one:?}"),
        Some(true) if *capability != Capability::NetFetch && !one.contains("**") && !other.contains("**") => {
            assert!(is_proved, "{other:?} is within {one:?}");
        }
        _ => {}
    }
    if is_proved {
        let target = target_of(choices, other);
        let may = |held: &Held<'_>| decide(&held.lease, capability, &target, Policy::default()).is_ok();
        assert!(!may(child) || may(parent), "{target:?} of {other:?}, which is within {one:?}");
    }
}

/// Whether `child` lies within `parent` in truth, part by part; `None` if that is too much to decide.
fn holds(capability: &Capability, parent: &str, child: &str) -> Option<bool> {
    match capability {
        Capability::FsRead | Capability::FsWrite => {
            includes(&file_segments(parent), &file_segments(child), b'/', false)
        }
        Capability::ToolCall | Capability::ModelUse | Capability::Vendor(_) => {
            includes(&split(parent, '/'), &split(child, '/'), b'/', false)
        }
        // Names and versions are single segments, which the targets made of them show.
        Capability::AgentDelegate => None,
        Capability::NetFetch => {
            let (parent, child) = (Parts::of(parent), Parts::of(child));
            let host = includes(&split(&parent.host, '.'), &split(&child.host, '.'), b'.', false)?;
            let path = includes(&path_segments(&parent.path), &path_segments(&child.path), b'/', true)?;
            let port = parent.port == "*" || parent.port == child.port;
            Some(host && path && port && parent.scheme == child.scheme)
        }
    }
}
