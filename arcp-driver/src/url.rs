//! The address of a runtime as a user writes it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::upgrade::{DEFAULT_PATH, parse_port};

/// The port of the endpoint unless configured otherwise.
pub const DEFAULT_PORT: u16 = 7777;

/// A WebSocket endpoint: `ws://host[:port][/path]`, with port 7777 and path `/arcp` when left out.
///
/// ```
/// use arcp_driver::url::Endpoint;
///
/// let endpoint: Endpoint = "ws://localhost".parse()?;
/// assert_eq!(endpoint.to_string(), "ws://localhost:7777/arcp");
/// # Ok::<(), arcp_driver::url::EndpointError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    host: Host,
    port: u16,
    path: String,
}

/// The host of an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name to be resolved.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Why a text is not an [`Endpoint`], or why it may not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not a `ws://` or `wss://` URL.
    #[error("the URL must start with ws:// or wss://")]
    Scheme,
    /// The host is empty or has characters that no name or address has.
    #[error("the URL needs a host name, an IPv4 address or an IPv6 address in brackets")]
    Host,
    /// User name or password in the URL.
    #[error("a URL must not carry a user name or password")]
    UserInfo,
    /// Not a port.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// The path has characters that do not belong in a request line.
    #[error("the path must be printable ASCII without spaces and without a fragment (#)")]
    Path,
    /// A `wss://` URL, in a build without the feature `tls`.
    #[error("wss:// needs the feature `tls`, without which this was built; ws:// goes to this machine only")]
    Tls,
    /// Plain `ws://` to another machine.
    #[error("ws:// is allowed to this machine only, since it carries the bearer token in plain text")]
    PlaintextBeyondLoopback,
}

impl Endpoint {
    /// The host.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port, 1 to 65535.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path with its query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of the `Host` header: host and port.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether it is connected to with TLS.
    #[must_use]
    pub const fn is_secured(&self) -> bool {
        self.tls
    }

    /// Whether this endpoint may be connected to at all (protocol §10.1): plain `ws://` only when its host is
    /// `localhost` or a loopback address, or when `plaintext_beyond_loopback` overrides that.
    ///
    /// # Errors
    /// [`EndpointError::Tls`] for `wss://` without the feature `tls`, [`EndpointError::PlaintextBeyondLoopback`] for the
    /// rest.
    pub fn check(&self, plaintext_beyond_loopback: bool) -> Result<(), EndpointError> {
        if self.tls {
            return if cfg!(feature = "tls") { Ok(()) } else { Err(EndpointError::Tls) };
        }
        let loopback = match &self.host {
            Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
            Host::Address(address) => is_loopback(*address),
        };
        if loopback || plaintext_beyond_loopback {
            Ok(())
        } else {
            Err(EndpointError::PlaintextBeyondLoopback)
        }
    }
}

/// Whether an address is on this machine; a name like `localhost` counts by what it resolved to.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = text.split_once("://").ok_or(EndpointError::Scheme)?;
        let tls = match scheme {
            _ if scheme.eq_ignore_ascii_case("ws") => false,
            _ if scheme.eq_ignore_ascii_case("wss") => true,
            _ => return Err(EndpointError::Scheme),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let path = match path.as_bytes().first() {
            None => DEFAULT_PATH,
            Some(b'/') if path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') => path,
            Some(_) => return Err(EndpointError::Path),
        };
        let (host, port) = parse_authority(authority)?;
        Ok(Self { tls, host, port, path: path.to_owned() })
    }
}

fn parse_authority(authority: &str) -> Result<(Host, u16), EndpointError> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(literal) => {
            let (address, rest) = literal.split_once(']').ok_or(EndpointError::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_| EndpointError::Host)?;
            (Host::Address(address.into()), rest)
        }
        None => {
            let (name, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            if name.is_empty() || !name.bytes().all(allowed) {
                return Err(EndpointError::Host);
            }
            let address = name.parse::<Ipv4Addr>();
            (
                address.map_or_else(|_| Host::Name(name.to_owned()), |address| Host::Address(address.into())),
                rest,
            )
        }
    };
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, parse_port(port).ok_or(EndpointError::Port)?)),
        None if rest.is_empty() => Ok((host, DEFAULT_PORT)),
        None => Err(EndpointError::Host),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        let table = [
            ("ws://host", "ws://host:7777/arcp"),
            ("WS://Host", "ws://Host:7777/arcp"),
            ("ws://host:80", "ws://host:80/arcp"),
            ("ws://host/", "ws://host:7777/"),
            ("ws://host:1/x/y?z=%20", "ws://host:1/x/y?z=%20"),
            ("ws://127.0.0.1", "ws://127.0.0.1:7777/arcp"),
            ("ws://[::1]", "ws://[::1]:7777/arcp"),
            ("ws://[0::1]:65535/arcp", "ws://[::1]:65535/arcp"),
            ("wss://host", "wss://host:7777/arcp"),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn refuses() {
        use EndpointError as E;
        let table = [
            ("", E::Scheme),
            ("localhost:7777", E::Scheme),
            ("http://localhost", E::Scheme),
            ("ws:/localhost", E::Scheme),
            ("ws://", E::Host),
            ("ws:///arcp", E::Host),
            ("ws://:7777", E::Host),
            ("ws://ho st", E::Host),
            ("ws://h\u{f6}st", E::Host),
            ("ws://host%41", E::Host),
            ("ws://[::1", E::Host),
            ("ws://[::1]x", E::Host),
            ("ws://[::1%lo]", E::Host),
            ("ws://[localhost]", E::Host),
            ("ws://user@host", E::UserInfo),
            ("ws://user:secret@host:1/", E::UserInfo),
            ("ws://host:", E::Port),
            ("ws://host:0", E::Port),
            ("ws://host:07", E::Port),
            ("ws://host:+7", E::Port),
            ("ws://host:65536", E::Port),
            ("ws://host:7777:1", E::Port),
            ("ws://::1", E::Host),
            ("ws://host/a b", E::Path),
            ("ws://host/a\r\nX: y", E::Path),
            ("ws://host/#x", E::Path),
            ("ws://host#x", E::Path),
            ("ws://host?x", E::Path),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Endpoint>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn plaintext_stays_on_this_machine() {
        let check = |text: &str, allow| text.parse::<Endpoint>().unwrap().check(allow);
        for local in
            ["ws://localhost", "ws://LOCALHOST", "ws://127.0.0.2", "ws://[::1]", "ws://[::ffff:127.0.0.1]"]
        {
            assert_eq!(check(local, false), Ok(()), "{local}");
        }
        for remote in
            ["ws://example.com", "ws://10.0.0.1", "ws://[fe80::1]", "ws://0.0.0.0", "ws://localhost.evil"]
        {
            assert_eq!(check(remote, false), Err(EndpointError::PlaintextBeyondLoopback), "{remote}");
            assert_eq!(check(remote, true), Ok(()), "{remote}");
        }
        let secured = if cfg!(feature = "tls") { Ok(()) } else { Err(EndpointError::Tls) };
        for anywhere in ["wss://localhost", "wss://example.com"] {
            assert_eq!(check(anywhere, false), secured, "{anywhere}");
        }
    }
}
