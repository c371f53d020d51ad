//! Hosts of URLs and of URL patterns (protocol §5.3, D-89).

use alloc::boxed::Box;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::pattern::{Glob, Wildcards};
use super::text::Refusal;

const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;
const LOCALHOST: &str = "localhost";

/// The host of a canonical URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// Lower-case labels.
    Name(Box<str>),
}

impl Host {
    /// Reads a host in lower case; an IPv6 address without its brackets if `bracketed`.
    pub(super) fn parse(text: &str, bracketed: bool) -> Result<Self, Refusal> {
        if bracketed {
            return ipv6(text).map(Self::V6);
        }
        check_labels(text, |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))?;
        Ok(match ipv4(text)? {
            Some(address) => Self::V4(address),
            None => Self::Name(text.into()),
        })
    }
}

impl Host {
    /// Whether it is this machine.
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::V4(address) => address.is_loopback(),
            Self::V6(address) => address.is_loopback(),
            Self::Name(name) => is_localhost(name),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The host of a URL pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    /// An address, literally.
    Address(Host),
    Names {
        labels: Glob,
        /// The last label is literally `localhost`, without which nothing there is named.
        localhost: bool,
    },
}

impl HostPattern {
    /// As [`Host::parse`], with `*` in labels and `**` as the first.
    pub(super) fn parse(text: &str, bracketed: bool, wildcards: &mut Wildcards) -> Result<Self, Refusal> {
        if bracketed {
            return ipv6(text).map(|address| Self::Address(Host::V6(address)));
        }
        check_labels(text, |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'*'))?;
        if let Some(address) = ipv4(text)? {
            return Ok(Self::Address(Host::V4(address)));
        }
        if text.split('.').skip(1).any(|label| label == "**") {
            return Err(Refusal::new("`**` may only be the first label of a host"));
        }
        Ok(Self::Names { labels: Glob::compile(text.split('.'), wildcards)?, localhost: is_localhost(text) })
    }

    pub(super) fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Names { labels, localhost }, Host::Name(name)) => {
                (*localhost || !is_localhost(name)) && labels.matches(name.split('.'), &mut ())
            }
            (Self::Address(address), host) => address == host,
            _ => false,
        }
    }

    pub(super) fn covers(&self, child: &Self) -> bool {
        match (self, child) {
            (
                Self::Names { labels, localhost },
                Self::Names { labels: child, localhost: child_localhost },
            ) => (*localhost || !child_localhost) && labels.covers(child),
            (Self::Address(address), Self::Address(child)) => address == child,
            _ => false,
        }
    }

    /// Whether it stands for one host only.
    pub(super) fn is_literal(&self) -> bool {
        match self {
            Self::Address(_) => true,
            Self::Names { labels, .. } => labels.is_literal(),
        }
    }
}

fn last_label(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn is_localhost(name: &str) -> bool {
    last_label(name) == LOCALHOST
}

fn check_labels(text: &str, allowed: impl Fn(u8) -> bool) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(Refusal::new("the host is empty"));
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(Refusal::new("a host has at most 253 bytes"));
    }
    for label in text.split('.') {
        if label.is_empty() {
            return Err(Refusal::new("a host has no empty label and no dot at its end"));
        }
        if label.len() > MAX_LABEL_BYTES {
            return Err(Refusal::new("a label of a host has at most 63 bytes"));
        }
        if !label.bytes().all(&allowed) {
            return Err(Refusal::new(
                "a host is labels of a-z 0-9 - _; names of other scripts must come as xn--",
            ));
        }
    }
    Ok(())
}

/// The address, if the last label says that it is one.
fn ipv4(text: &str) -> Result<Option<Ipv4Addr>, Refusal> {
    let last = last_label(text);
    if !last.starts_with("0x") && !last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    // The standard library's parser takes dotted quads without leading zeros and nothing else.
    match text.parse() {
        Ok(address) => Ok(Some(address)),
        Err(_) => Err(Refusal::new("an IPv4 address is four decimal numbers without leading zeros")),
    }
}

fn ipv6(text: &str) -> Result<Ipv6Addr, Refusal> {
    match text.parse::<Ipv6Addr>() {
        Ok(address) if alloc::format!("{address}") == text => Ok(address),
        _ => Err(Refusal::new("an IPv6 address is in the form of RFC 5952, in brackets, without a zone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<Host, Refusal> {
        match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(inside) => Host::parse(inside, true),
            None => Host::parse(text, false),
        }
    }

    fn pattern(text: &str) -> Result<HostPattern, Refusal> {
        match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(inside) => HostPattern::parse(inside, true, &mut Wildcards::default()),
            None => HostPattern::parse(text, false, &mut Wildcards::default()),
        }
    }

    #[test]
    fn names_and_their_labels_have_a_longest() {
        let label = |bytes: usize| "a".repeat(bytes);
        assert!(host(&label(63)).is_ok());
        assert!(host(&label(64)).unwrap_err().as_str().contains("at most 63 bytes"));
        let name = |last: usize| [label(63), label(63), label(63), label(last)].join(".");
        assert_eq!(name(61).len(), 253);
        assert!(host(&name(61)).is_ok());
        assert!(host(&name(62)).unwrap_err().as_str().contains("at most 253 bytes"));
    }

    #[test]
    fn addresses_have_one_spelling() {
        for text in
            ["127.0.0.1", "[::1]", "[::]", "[2001:db8::1]", "[::ffff:127.0.0.1]", "[2001:db8:0:1:1:1:1:1]"]
        {
            let host = host(text).unwrap();
            assert!(!matches!(host, Host::Name(_)));
            assert_eq!(alloc::format!("{host}"), text);
        }
        for text in [
            "127.1",
            "1",
            "0x7f.1",
            "a.0x7f",
            "0x",
            "0177.0.0.1",
            "1.2.3.4.5",
            "256.0.0.1",
            "a.1",
            "127.0.0.1.",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:7f00:1]",
            "[2001:db8::0:1]",
            "[2001:db8::1:1:1:1:1]",
            "[::1%25eth0]",
            "[127.0.0.1]",
            "[]",
            "::1",
        ] {
            assert!(host(text).is_err(), "{text}");
            assert!(pattern(text).is_err(), "{text}");
        }
        assert!(pattern("127.0.*.1").is_err() && pattern("*.1").is_err() && pattern("a.**.b").is_err());
    }

    #[test]
    fn wildcards_name_neither_addresses_nor_localhost() {
        let hosts = [
            "localhost",
            "a.localhost",
            "a.b.localhost",
            "127.0.0.1",
            "[::1]",
            "example.com",
            "a.example.com",
            "host",
        ];
        let named = |text: &str| {
            let pattern = pattern(text).unwrap();
            hosts
                .into_iter()
                .filter(|text| pattern.matches(&host(text).unwrap()))
                .collect::<alloc::vec::Vec<_>>()
        };
        assert_eq!(named("**"), ["example.com", "a.example.com", "host"]);
        assert_eq!(named("*"), ["host"]);
        assert_eq!(named("*host"), ["host"]);
        assert_eq!(named("localhost"), ["localhost"]);
        assert_eq!(named("*.localhost"), ["a.localhost"]);
        assert_eq!(named("**.localhost"), ["localhost", "a.localhost", "a.b.localhost"]);
        assert_eq!(named("127.0.0.1"), ["127.0.0.1"]);
        assert_eq!(named("**.example.com"), ["example.com", "a.example.com"]);
    }

    #[test]
    fn covering_means_what_matching_means() {
        let patterns = [
            "**",
            "*",
            "*host",
            "host",
            "localhost",
            "*.localhost",
            "**.localhost",
            "a.localhost",
            "127.0.0.1",
            "[::1]",
            "*.example.com",
            "**.example.com",
            "a*.example.com",
            "**.com",
            "*.*",
        ];
        let hosts = [
            "localhost",
            "a.localhost",
            "b.a.localhost",
            "127.0.0.1",
            "[::1]",
            "a.example.com",
            "example.com",
            "ab.example.com",
            "x.com",
            "host",
            "myhost",
        ];
        let mut covered = 0;
        for parent in patterns.map(|text| pattern(text).unwrap()) {
            assert!(parent.covers(&parent));
            for child in patterns.map(|text| pattern(text).unwrap()) {
                if parent.covers(&child) {
                    covered += 1;
                    for host in hosts.map(|text| host(text).unwrap()) {
                        assert!(
                            !child.matches(&host) || parent.matches(&host),
                            "{parent:?} {child:?} {host}"
                        );
                    }
                }
            }
        }
        assert!(covered > patterns.len() + 8, "{covered}");
    }
}
