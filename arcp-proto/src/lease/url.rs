//! Targets and patterns of `net.fetch` (protocol §5.3, D-41): scheme, host, port, path and query are told apart first
//! and judged separately.
//!
//! The parser is strict: what RFC 3986 does not allow in a path or a query must come percent-encoded, so that one
//! resource has one spelling here.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use super::host::{Host, HostPattern};
use super::pattern::{Glob, MAX_PATTERN_BYTES, MAX_TARGET_BYTES, Run, Wildcards};
use super::text::{self, Refusal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A URL in its one spelling; `Display` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    scheme: Scheme,
    host: Host,
    port: u16,
    path: Box<str>,
    query: Option<Box<str>>,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        text::check(text, MAX_TARGET_BYTES, TARGET_TOO_LONG)?;
        let parts = Parts::split(text)?;
        Ok(Self {
            scheme: parts.scheme,
            host: Host::parse(&parts.host, parts.bracketed)?,
            port: match parts.port {
                None => parts.scheme.default_port(),
                Some(number) => port(number)?,
            },
            path: path(parts.path)?.into(),
            query: parts.query.map(query).transpose()?.map(Into::into),
        })
    }
}

/// Whether secrets may be sent to this URL: https, or http that stays on this machine.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_endpoint(text: &str) -> Result<(), Refusal> {
    let url = Url::parse(text)?;
    if url.scheme == Scheme::Https || url.host.is_loopback() {
        Ok(())
    } else {
        Err(Refusal::new("only `https://`, or `http://` of this machine, may be sent secrets"))
    }
}

const TARGET_TOO_LONG: &str = "a target has at most 4096 bytes";

/// The one spelling of the URL `text` that is matched and fetched: scheme and host in lower case, no default port, a
/// path, unreserved characters decoded, other `%XX` in upper case, no fragment.
///
/// # Errors
/// What is wrong with it.
pub fn canonical_url(text: &str) -> Result<String, Refusal> {
    Url::parse(text).and_then(|url| written(&url))
}

/// The text of a URL, which an added path can make longer than what was asked for.
pub(super) fn written(url: &Url) -> Result<String, Refusal> {
    let text = alloc::format!("{url}");
    if text.len() > MAX_TARGET_BYTES { Err(Refusal::new(TARGET_TOO_LONG)) } else { Ok(text) }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// A compiled URL pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UrlPattern {
    scheme: Scheme,
    host: HostPattern,
    /// `None` is any port.
    port: Option<u16>,
    path: Glob,
    /// `None` is any query or none.
    query: Option<Run>,
}

impl UrlPattern {
    /// Reads `scheme://host[:port][path][?query]`.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        text::check(text, MAX_PATTERN_BYTES, "a pattern has at most 512 bytes")?;
        let parts = Parts::split(text)?;
        if parts.has_fragment {
            return Err(Refusal::new("a URL pattern has no fragment"));
        }
        let mut wildcards = Wildcards::default();
        Ok(Self {
            scheme: parts.scheme,
            host: HostPattern::parse(&parts.host, parts.bracketed, &mut wildcards)?,
            port: match parts.port {
                None => Some(parts.scheme.default_port()),
                Some("*") => {
                    wildcards.take(1)?;
                    None
                }
                Some(number) => Some(port(number)?),
            },
            path: Glob::compile(path_segments(&path(parts.path)?), &mut wildcards)?,
            query: match parts.query {
                None => None,
                Some(text) => Some(Run::unstructured(&query(text)?, &mut wildcards)?),
            },
        })
    }

    /// Whether it stands for `url`.
    pub(super) fn matches(&self, url: &Url) -> bool {
        self.scheme == url.scheme
            && self.host.matches(&url.host)
            && self.port.is_none_or(|port| port == url.port)
            && self.path.matches(path_segments(&url.path), &mut ())
            && self.query.as_ref().is_none_or(|query| {
                query.is_star() || query.matches(url.query.as_deref().unwrap_or_default(), &mut ())
            })
    }

    /// Whether it stands for every URL `child` stands for, as far as that can be proved.
    pub(super) fn covers(&self, child: &Self) -> bool {
        self.scheme == child.scheme
            && self.host.covers(&child.host)
            && self.port.is_none_or(|port| child.port == Some(port))
            && self.path.covers(&child.path)
            && self.query.as_ref().is_none_or(|query| {
                query.is_star() || child.query.as_ref().is_some_and(|narrower| query.covers(narrower))
            })
    }

    /// Whether it names one host, whatever else it leaves open.
    pub(super) fn names_one_host(&self) -> bool {
        self.host.is_literal()
    }
}

/// The segments of a canonical path: none of `/`, an empty last one after a trailing slash.
fn path_segments(path: &str) -> impl Iterator<Item = &str> {
    let body = path.strip_prefix('/').unwrap_or(path);
    body.split('/').take(if body.is_empty() { 0 } else { usize::MAX })
}

/// What a URL or a URL pattern consists of.
struct Parts<'a> {
    scheme: Scheme,
    /// In lower case, without brackets.
    host: String,
    bracketed: bool,
    port: Option<&'a str>,
    /// Empty, or begins with `/`.
    path: &'a str,
    query: Option<&'a str>,
    has_fragment: bool,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, Refusal> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(Refusal::new(
                "a URL is ASCII without white space, control characters and `\\`; hosts of other scripts come as xn--, \
                 other characters percent-encoded",
            ));
        }
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        let scheme = [Scheme::Http, Scheme::Https]
            .into_iter()
            .find(|known| scheme.eq_ignore_ascii_case(known.as_str()))
            .ok_or(Refusal::new("a URL begins with `http://` or `https://`"))?;
        let rest = rest.strip_prefix("//").ok_or(Refusal::new("a URL has `//` after its scheme"))?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (rest, has_fragment) = match rest.split_once('#') {
            Some((rest, _)) => (rest, true),
            None => (rest, false),
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        if authority.contains('@') {
            return Err(Refusal::new("user information is not allowed in a URL"));
        }
        let (host, port, bracketed) = match authority.strip_prefix('[') {
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port), false),
                None => (authority, None, false),
            },
            Some(inside) => {
                let (host, after) =
                    inside.split_once(']').ok_or(Refusal::new("an IPv6 address ends with `]`"))?;
                let port = match after.strip_prefix(':') {
                    None if after.is_empty() => None,
                    None => return Err(Refusal::new("only a port may follow an IPv6 address")),
                    port => port,
                };
                (host, port, true)
            }
        };
        Ok(Self { scheme, host: host.to_ascii_lowercase(), bracketed, port, path, query, has_fragment })
    }
}

fn port(text: &str) -> Result<u16, Refusal> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| plain)
        .ok_or(Refusal::new("a port is a number of 1..=65535 without leading zeros"))
}

/// The one spelling of a path; of a pattern's path likewise, as `*` may stand in a path.
fn path(text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Ok("/".into());
    }
    let canonical = decoded(
        text,
        |byte| byte == b'/' || is_path_byte(byte),
        // What would be a separator or a dot after decoding, and what invites decoding twice.
        |byte| !matches!(byte, 0 | b'.' | b'/' | b'\\' | b'%'),
    )?;
    let last = path_segments(&canonical).count().saturating_sub(1);
    let odd = |(index, segment): (usize, &str)| {
        matches!(segment, "." | "..") || (segment.is_empty() && index != last)
    };
    if path_segments(&canonical).enumerate().any(odd) {
        return Err(Refusal::new("empty, `.` and `..` segments are not allowed in a URL"));
    }
    Ok(canonical)
}

fn query(text: &str) -> Result<String, Refusal> {
    decoded(text, |byte| matches!(byte, b'/' | b'?') || is_path_byte(byte), |_| true)
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986, `pchar` without `%`.
const fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

/// `text` with unreserved characters decoded and the digits of other `%XX` in upper case.
fn decoded(
    text: &str,
    plain: impl Fn(u8) -> bool,
    encodable: impl Fn(u8) -> bool,
) -> Result<String, Refusal> {
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !plain(byte) {
                return Err(Refusal::new("characters outside RFC 3986 must be percent-encoded in a URL"));
            }
            out.push(char::from(byte));
            continue;
        }
        let digits = (bytes.next().and_then(hex), bytes.next().and_then(hex));
        let (Some(high), Some(low)) = digits else {
            return Err(Refusal::new("`%` in a URL is followed by two hex digits"));
        };
        let value = high << 4 | low;
        if !encodable(value) {
            return Err(Refusal::new(
                "`%2e`, `%2f`, `%5c`, `%00` and `%25` are not allowed in the path of a URL",
            ));
        }
        if is_unreserved(value) {
            out.push(char::from(value));
        } else {
            out.push('%');
            out.extend([high, low].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])));
        }
    }
    Ok(out)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
