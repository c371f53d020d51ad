//! Patterns and targets of leases as text.

use arcp_proto::feature::Features;
use arcp_proto::lease::{
    Canonical, Capability, Circumstances, Denial, Lease, Operation, Pattern, Policy, VendorName,
};
use arcp_proto::time::UnixTime;
use arcp_proto::wire::RawJson;
use serde_json::json;

use super::choices::Choices;
use super::host::beginning;

/// One capability of every kind, and two kinds twice.
pub(super) fn capability(choice: u8) -> Capability {
    let vendor = VendorName::parse("x-vendor.acme.gpu").expect("a vendor's namespace");
    let every = [
        Capability::FsRead,
        Capability::NetFetch,
        Capability::ToolCall,
        Capability::AgentDelegate,
        Capability::FsWrite,
        Capability::ModelUse,
        Capability::Vendor(vendor),
    ];
    every[usize::from(choice) % every.len()].clone()
}

/// The lease that holds one pattern; none if that is none.
pub(super) fn holding(capability: &Capability, pattern: &str) -> Option<Lease> {
    let request = json!({ capability.as_str(): [pattern] }).to_string();
    let request = RawJson::parse(request).expect("what is written can be read");
    let lease = Lease::parse(Some(&request), None, Features::EVERY, UnixTime::MIN);
    assert_eq!(lease.is_ok(), Pattern::parse(capability, pattern).is_ok(), "{pattern:?}: {lease:?}");
    lease.ok()
}

/// The verdict on one operation of a running job with money left.
pub(super) fn decide(
    lease: &Lease,
    capability: &Capability,
    target: &str,
    policy: Policy,
) -> Result<Canonical, Denial> {
    let circumstances = Circumstances { running: true, expiry: None, now: beginning(), exhausted: None };
    lease.authorize(&Operation { capability: capability.clone(), target }, &circumstances, policy)
}

/// A text of a pattern of whatever comes.
pub(super) fn pattern(choices: &mut Choices<'_>, capability: &Capability) -> String {
    let mut joined = |most: usize, pieces: &[&'static str]| {
        (0..=choices.below(most)).map(|_| choices.pick(pieces)).collect::<String>()
    };
    match capability {
        Capability::FsRead | Capability::FsWrite => {
            format!("/{}", joined(5, &["a", "b", "/", "*", "/**", "/**/", "ab", "."]))
        }
        Capability::NetFetch => {
            let scheme = joined(0, &["http", "https"]);
            let host = joined(2, &["a", "b", ".", "*", "**.", "localhost", "127.0.0.1", "[::1]"]);
            let port = joined(0, &["", "", ":*", ":80", ":8080"]);
            let path = joined(4, &["/", "a", "*", "/**", "%61", "%2a", ""]);
            let query = joined(0, &["", "", "?*", "?a=*", "?", "?**b"]);
            format!("{scheme}://{host}{port}/{path}{query}")
        }
        Capability::AgentDelegate => joined(3, &["a", "b", "*", "@", "1", ".*", "a@"]),
        Capability::ToolCall | Capability::ModelUse | Capability::Vendor(_) => {
            joined(5, &["a", "b", "/", "*", "**", "/**", "a*", "."])
        }
    }
}

/// `text` with its wildcards replaced: `**` by one of `many`, `*` by one of `one`.
pub(super) fn filled(choices: &mut Choices<'_>, text: &str, many: &[&str], one: &[&str]) -> String {
    let mut out = String::new();
    for (index, part) in text.split("**").enumerate() {
        if index > 0 {
            out += choices.pick(many);
        }
        for (index, literal) in part.split('*').enumerate() {
            if index > 0 {
                out += choices.pick(one);
            }
            out += literal;
        }
    }
    // What stands for no segment takes a separator with it.
    for (twice, once) in [("//", "/"), ("..", ".")] {
        if choices.below(2) == 0 {
            let begin = out.find("://").map_or(0, |colon| colon + 3);
            let rest = out[begin..].replace(twice, once);
            out.truncate(begin);
            out += &rest;
        }
    }
    out
}

/// A target that `pattern` may stand for.
pub(super) fn target_of(choices: &mut Choices<'_>, pattern: &str) -> String {
    let many = ["a", "", "a/b", "b", "a.b", "b/x/a", "localhost"];
    filled(choices, pattern, &many, &["a", "", "ab", "b", "8080", ".a", "x"])
}

/// A pattern that may lie within `pattern`.
pub(super) fn narrower(choices: &mut Choices<'_>, pattern: &str) -> String {
    let many = ["**", "*", "a", "", "a/**", "**/b", "*/a", "b.*"];
    filled(choices, pattern, &many, &["*", "a", "", "a*", "*b*", "80", "localhost"])
}

/// The lines of an input, of which the last is all the rest.
pub(super) fn lines<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |byte| *byte == b'\n');
    [(); N].map(|()| parts.next().unwrap_or_default())
}
