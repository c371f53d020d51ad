//! The check of a WebSocket upgrade, made before anything is answered (protocol §10.1).
//!
//! WebSockets are outside the same-origin policy: any web page may open one to a local runtime. What tells such
//! a page from a native client is the `Host` it was made to use and the `Origin` its browser adds, so both are
//! checked first.

use std::net::Ipv6Addr;

/// The path of the endpoint unless configured otherwise.
pub const DEFAULT_PATH: &str = "/arcp";

/// The subprotocol that is confirmed when a client offers it (D-92).
pub const SUBPROTOCOL: &str = "arcp.v1";

/// Which upgrade requests a runtime answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradePolicy {
    hosts: Vec<String>,
    origins: Vec<String>,
    path: String,
    port: u16,
}

/// An upgrade request that may be answered with 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Whether the client offered the subprotocol `arcp.v1`, which the answer then confirms.
    pub subprotocol: bool,
    /// The client's `Sec-WebSocket-Key`: base64 of 16 bytes.
    pub key: String,
}

/// An upgrade request that must not be answered with 101.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("upgrade refused with HTTP status {status}: {reason}")]
pub struct Refused {
    /// The HTTP status of the answer.
    pub status: u16,
    /// The sentence for its body; never the peer's text.
    pub reason: &'static str,
}

const fn refused<T>(status: u16, reason: &'static str) -> Result<T, Refused> {
    Err(Refused { status, reason })
}

impl UpgradePolicy {
    /// The default policy of a runtime listening on `port`: hosts `localhost`, `127.0.0.1` and `[::1]`, no
    /// `Origin` at all, path `/arcp`.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self {
            hosts: ["localhost", "127.0.0.1", "[::1]"].map(String::from).to_vec(),
            origins: Vec::new(),
            path: DEFAULT_PATH.to_owned(),
            port,
        }
    }

    /// Also allows `host` in the `Host` header: a name or an address without a port. An IPv6 address may stand
    /// with or without brackets. Names are compared without regard to ASCII case, never by suffix.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Also allows requests that carry this `Origin`, such as `https://app.example`. Without a listed origin
    /// every request with an `Origin` header is refused.
    #[must_use]
    pub fn with_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Replaces the path, which is compared as a whole, query included.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The port that the `Host` header must name.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Judges a request by its method, its target as written and its headers in order, repeated ones included.
    ///
    /// # Errors
    /// [`Refused`] with the status to answer: 400 for a missing or repeated `Host` and for a malformed
    /// upgrade, 421 for a host or port that is not ours, 403 for an `Origin` that is not listed, 404 for any
    /// other target, 405 for a method other than GET, 426 when no WebSocket of version 13 was asked for. The
    /// first in this order decides.
    pub fn check<'h>(
        &self,
        method: &str,
        target: &str,
        headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<Accepted, Refused> {
        let seen = Seen::collect(headers);
        match seen.host {
            Field::Once(host) if self.allows_host(host) => {}
            Field::Once(_) => return refused(421, "this host name and port are not served here"),
            Field::Missing => return refused(400, "a Host header is required"),
            Field::Repeated => return refused(400, "more than one Host header"),
        }
        match seen.origin {
            Field::Missing => {}
            Field::Once(origin) if self.allows_origin(origin) => {}
            Field::Once(_) | Field::Repeated => return refused(403, "this Origin is not allowed"),
        }
        if target != self.path {
            return refused(404, "no such path");
        }
        if method != "GET" {
            return refused(405, "a WebSocket upgrade is a GET request");
        }
        if !seen.connection_upgrade || !seen.upgrade_websocket {
            return refused(426, "only WebSocket upgrades are served here");
        }
        if seen.version != Field::Once(b"13") {
            return refused(426, "only WebSocket version 13 is served here");
        }
        match seen.key {
            Field::Once(key) => match std::str::from_utf8(key) {
                Ok(text) if is_key(key) => {
                    Ok(Accepted { subprotocol: seen.subprotocol, key: text.to_owned() })
                }
                _ => refused(400, "Sec-WebSocket-Key must be 16 bytes in base64"),
            },
            Field::Missing | Field::Repeated => refused(400, "exactly one Sec-WebSocket-Key is required"),
        }
    }

    fn allows_host(&self, value: &[u8]) -> bool {
        let Some((host, port)) = std::str::from_utf8(value).ok().and_then(split_host) else { return false };
        // A client leaves out the port that its scheme implies.
        port.unwrap_or(80) == self.port && self.hosts.iter().any(|allowed| same_host(allowed, host))
    }

    fn allows_origin(&self, value: &[u8]) -> bool {
        self.origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(value))
    }
}

/// The value of a header that may occur once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field<'h> {
    Missing,
    Once(&'h [u8]),
    Repeated,
}

impl<'h> Field<'h> {
    fn add(&mut self, value: &'h [u8]) {
        *self = match self {
            Self::Missing => Self::Once(value.trim_ascii()),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        };
    }
}

/// The headers that matter.
struct Seen<'h> {
    host: Field<'h>,
    origin: Field<'h>,
    version: Field<'h>,
    key: Field<'h>,
    connection_upgrade: bool,
    upgrade_websocket: bool,
    subprotocol: bool,
}

impl<'h> Seen<'h> {
    fn collect(headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Self {
        let mut seen = Self {
            host: Field::Missing,
            origin: Field::Missing,
            version: Field::Missing,
            key: Field::Missing,
            connection_upgrade: false,
            upgrade_websocket: false,
            subprotocol: false,
        };
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("host") {
                seen.host.add(value);
            } else if name.eq_ignore_ascii_case("origin") {
                seen.origin.add(value);
            } else if name.eq_ignore_ascii_case("sec-websocket-version") {
                seen.version.add(value);
            } else if name.eq_ignore_ascii_case("sec-websocket-key") {
                seen.key.add(value);
            } else if name.eq_ignore_ascii_case("connection") {
                seen.connection_upgrade |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
            } else if name.eq_ignore_ascii_case("upgrade") {
                seen.upgrade_websocket |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"websocket"));
            } else if name.eq_ignore_ascii_case("sec-websocket-protocol") {
                seen.subprotocol |= tokens(value).any(|token| token == SUBPROTOCOL.as_bytes());
            }
        }
        seen
    }
}

/// The members of a comma-separated header.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`; `None` when it is none of these.
fn split_host(value: &str) -> Option<(&str, Option<u16>)> {
    let end =
        if value.starts_with('[') { value.find(']')? + 1 } else { value.find(':').unwrap_or(value.len()) };
    let (host, rest) = value.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(parse_port(port)?))),
        None if rest.is_empty() => Some((host, None)),
        None => None,
    }
}

/// A port from 1 to 65535 in plain decimal digits, without leading zeros.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn same_host(allowed: &str, host: &str) -> bool {
    match (ipv6(allowed), host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))) {
        (Some(allowed), Some(literal)) => literal.parse() == Ok(allowed),
        (None, None) => !host.is_empty() && allowed.eq_ignore_ascii_case(host),
        _ => false,
    }
}

fn ipv6(allowed: &str) -> Option<Ipv6Addr> {
    allowed.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_key(key: &[u8]) -> bool {
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE: [(&str, &[u8]); 4] = [
        ("Upgrade", b"websocket"),
        ("Connection", b"keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn check(policy: &UpgradePolicy, method: &str, target: &str, own: &[(&str, &[u8])]) -> u16 {
        match policy.check(method, target, own.iter().chain(&UPGRADE).copied()) {
            Ok(_) => 101,
            Err(refused) => refused.status,
        }
    }

    #[test]
    fn hosts() {
        let policy = UpgradePolicy::new(7777).with_host("runtime.example").with_host("fe80::2");
        let table: &[(&str, u16)] = &[
            ("localhost:7777", 101),
            ("LocalHost:7777", 101),
            ("127.0.0.1:7777", 101),
            ("[::1]:7777", 101),
            ("[0:0:0:0:0:0:0:1]:7777", 101),
            ("[0000::0001]:7777", 101),
            ("runtime.example:7777", 101),
            ("RUNTIME.example:7777", 101),
            ("[fe80::2]:7777", 101),
            ("[FE80::2]:7777", 101),
            (" localhost:7777 ", 101),
            ("", 421),
            (":7777", 421),
            ("localhost", 421),
            ("localhost:", 421),
            ("localhost:80", 421),
            ("localhost:07777", 421),
            ("localhost:+7777", 421),
            ("localhost:73313", 421),
            ("localhost:7777:7777", 421),
            ("localhost:7777@evil.example", 421),
            ("user@localhost:7777", 421),
            ("localhost.:7777", 421),
            ("localhost.evil.example:7777", 421),
            ("evil.localhost:7777", 421),
            ("evil.example:7777", 421),
            ("xruntime.example:7777", 421),
            ("localhost:7777/", 421),
            ("localhost:7777, localhost:7777", 421),
            ("127.1:7777", 421),
            ("2130706433:7777", 421),
            ("127.0.0.01:7777", 421),
            ("0.0.0.0:7777", 421),
            ("::1:7777", 421),
            ("::1", 421),
            ("[::1]", 421),
            ("[::1", 421),
            ("[::1]x:7777", 421),
            ("[::1%25lo]:7777", 421),
            ("[::2]:7777", 421),
            ("[::ffff:127.0.0.1]:7777", 421),
            ("[localhost]:7777", 421),
            ("[]:7777", 421),
            ("localhost\u{e9}:7777", 421),
        ];
        for (host, expected) in table {
            let status = check(&policy, "GET", "/arcp", &[("host", host.as_bytes())]);
            assert_eq!(status, *expected, "Host: {host}");
        }
        assert_eq!(check(&policy, "GET", "/arcp", &[("Host", b"localhost\xff:7777")]), 421);
        assert_eq!(check(&policy, "GET", "/arcp", &[]), 400);
        let twice: &[(&str, &[u8])] = &[("Host", b"localhost:7777"), ("hOST", b"localhost:7777")];
        assert_eq!(check(&policy, "GET", "/arcp", twice), 400);
        let port_80 = UpgradePolicy::new(80);
        assert_eq!(check(&port_80, "GET", "/arcp", &[("Host", b"localhost")]), 101);
        assert_eq!(check(&port_80, "GET", "/arcp", &[("Host", b"[::1]")]), 101);
        assert_eq!(check(&port_80, "GET", "/arcp", &[("Host", b"localhost:80")]), 101);
    }

    #[test]
    fn origins() {
        let closed = UpgradePolicy::new(7777);
        let open = UpgradePolicy::new(7777).with_origin("https://app.example");
        let table: &[(&[u8], u16, u16)] = &[
            (b"https://app.example", 403, 101),
            (b"HTTPS://app.EXAMPLE", 403, 101),
            (b"https://app.example.", 403, 403),
            (b"https://app.example:443", 403, 403),
            (b"https://app.example/", 403, 403),
            (b"https://xapp.example", 403, 403),
            (b"http://app.example", 403, 403),
            (b"http://localhost:7777", 403, 403),
            (b"null", 403, 403),
            (b"", 403, 403),
            (b"\xff", 403, 403),
        ];
        for (origin, without, with) in table {
            let headers: &[(&str, &[u8])] = &[("Host", b"localhost:7777"), ("Origin", origin)];
            assert_eq!(check(&closed, "GET", "/arcp", headers), *without, "{origin:?}");
            assert_eq!(check(&open, "GET", "/arcp", headers), *with, "{origin:?}");
        }
        let origin: (&str, &[u8]) = ("Origin", b"https://app.example");
        assert_eq!(check(&open, "GET", "/arcp", &[("Host", b"localhost:7777"), origin, origin]), 403);
    }

    #[test]
    fn targets_and_methods() {
        let host: &[(&str, &[u8])] = &[("Host", b"localhost:7777")];
        let policy = UpgradePolicy::new(7777);
        for target in ["/", "/arcp/", "/ARCP", "/arcp/../arcp", "//arcp", "/%61rcp", "/arcp?token=x", "", "*"]
        {
            assert_eq!(check(&policy, "GET", target, host), 404, "{target}");
        }
        assert_eq!(check(&policy, "GET", "http://localhost:7777/arcp", host), 404);
        assert_eq!(check(&policy.clone().with_path("/v1"), "GET", "/v1", host), 101);
        for method in ["POST", "HEAD", "CONNECT", "get", ""] {
            assert_eq!(check(&policy, method, "/arcp", host), 405, "{method}");
        }
    }

    #[test]
    fn upgrade_headers() {
        let policy = UpgradePolicy::new(7777);
        let run = |name: &str, value: Option<&'static [u8]>| {
            let host: (&str, &[u8]) = ("Host", b"localhost:7777");
            let others = UPGRADE.iter().copied().filter(|(other, _)| *other != name);
            let changed = value.map(|value| (name, value));
            let headers: Vec<_> = std::iter::once(host).chain(others).chain(changed).collect();
            policy
                .check("GET", "/arcp", headers.iter().copied())
                .map_or_else(|refused| refused.status, |_| 101)
        };
        assert_eq!(run("Upgrade", None), 426);
        assert_eq!(run("Upgrade", Some(b"h2c")), 426);
        assert_eq!(run("Upgrade", Some(b"WebSocket")), 101);
        assert_eq!(run("Connection", None), 426);
        assert_eq!(run("Connection", Some(b"keep-alive")), 426);
        assert_eq!(run("Sec-WebSocket-Version", None), 426);
        assert_eq!(run("Sec-WebSocket-Version", Some(b"8")), 426);
        assert_eq!(run("Sec-WebSocket-Key", None), 400);
        assert_eq!(run("Sec-WebSocket-Key", Some(b"short")), 400);
        assert_eq!(run("Sec-WebSocket-Key", Some(b"dGhlIHNhbXBsZSBub25jZQAA")), 400);
        assert_eq!(run("Sec-WebSocket-Key", Some(b"dGhlIHNhbXBs\xff\xffBub25jZQ==")), 400);
    }

    #[test]
    fn subprotocol() {
        let policy = UpgradePolicy::new(7777);
        let table: &[(&[u8], bool)] = &[
            (b"arcp.v1", true),
            (b"other, arcp.v1", true),
            (b"arcp.v2", false),
            (b"ARCP.V1", false),
            (b"arcp.v1.x", false),
        ];
        for (offer, confirmed) in table {
            let own: [(&str, &[u8]); 2] = [("Host", b"localhost:7777"), ("Sec-WebSocket-Protocol", offer)];
            let accepted = policy.check("GET", "/arcp", own.iter().chain(&UPGRADE).copied()).unwrap();
            assert_eq!(accepted.subprotocol, *confirmed, "{offer:?}");
        }
    }
}
