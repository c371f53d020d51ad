//! What patterns of leases mean, by the letter of protocol §5.2 and §5.3: recursion that tries everything.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use arcp_proto::lease::Capability;

/// Whether `pattern` stands for `target`, which is in its one spelling. Both are good texts of their kind.
pub(super) fn stands_for(capability: &Capability, pattern: &str, target: &str) -> bool {
    match capability {
        Capability::FsRead | Capability::FsWrite => segments(&file_segments(pattern), &path_segments(target)),
        Capability::NetFetch => url(&Parts::of(pattern), &Parts::of(target)),
        Capability::AgentDelegate => agent(pattern, target),
        Capability::ToolCall | Capability::ModelUse | Capability::Vendor(_) => {
            segments(&split(pattern, '/'), &split(target, '/'))
        }
    }
}

/// Whether a text is a segment's, where `*` alone is at least one character.
fn segment(pattern: &str, text: &str) -> bool {
    if pattern == "*" { !text.is_empty() } else { run(pattern, text) }
}

/// Whether a text is a run's, where `*` is any number of characters.
fn run(pattern: &str, text: &str) -> bool {
    let is_star = |byte: &u8| *byte == b'*';
    let is_same = |one: &u8, other: &u8| one == other;
    absorbs(pattern.as_bytes(), text.as_bytes(), &is_star, &is_same, &mut BTreeSet::new())
}

fn segments(pattern: &[&str], target: &[&str]) -> bool {
    let is_many = |text: &&str| *text == "**";
    absorbs(pattern, target, &is_many, &|one, other| segment(one, other), &mut BTreeSet::new())
}

/// Whether the elements of `pattern`, one after the other, stand for those of `text`; `failed` keeps what was tried in
/// vain, by the lengths that were left.
fn absorbs<P, T>(
    pattern: &[P],
    text: &[T],
    is_many: &impl Fn(&P) -> bool,
    is_one: &impl Fn(&P, &T) -> bool,
    failed: &mut BTreeSet<(usize, usize)>,
) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
    if failed.contains(&(pattern.len(), text.len())) {
        return false;
    }
    let next = text.split_first();
    let found = if is_many(first) {
        absorbs(rest, text, is_many, is_one, failed)
            || next.is_some_and(|(_, more)| absorbs(pattern, more, is_many, is_one, failed))
    } else {
        next.is_some_and(|(next, more)| is_one(first, next) && absorbs(rest, more, is_many, is_one, failed))
    };
    if !found {
        failed.insert((pattern.len(), text.len()));
    }
    found
}

pub(super) fn split(text: &str, separator: char) -> Vec<&str> {
    text.split(separator).collect()
}

/// The segments of a URL's path; the root has none.
pub(super) fn path_segments(text: &str) -> Vec<&str> {
    match text.strip_prefix('/') {
        Some("") | None => Vec::new(),
        Some(body) => split(body, '/'),
    }
}

/// The segments of a file's path or of a pattern of some, in which one `/` at the end says nothing.
pub(super) fn file_segments(text: &str) -> Vec<&str> {
    path_segments(if text == "/" { text } else { text.strip_suffix('/').unwrap_or(text) })
}

fn agent(pattern: &str, target: &str) -> bool {
    let part = |pattern: &str, text: &str| segment(if pattern == "**" { "*" } else { pattern }, text);
    let (name, version) = target.split_once('@').map_or((target, None), |(name, at)| (name, Some(at)));
    match pattern.split_once('@') {
        None | Some((_, "*" | "**")) => part(pattern.split('@').next().unwrap_or_default(), name),
        Some((pattern, at)) => part(pattern, name) && version.is_some_and(|version| part(at, version)),
    }
}

/// What a URL, or a pattern of some, consists of.
pub(super) struct Parts {
    pub(super) scheme: String,
    /// In lower case, with the brackets of an address.
    pub(super) host: String,
    /// A number, `*`, or the scheme's own.
    pub(super) port: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
}

impl Parts {
    /// The parts of a good text.
    pub(super) fn of(text: &str) -> Self {
        let (text, _) = text.split_once('#').unwrap_or((text, ""));
        let (rest, query) = text.split_once('?').map_or((text, None), |(rest, query)| (rest, Some(query)));
        let (scheme, rest) = rest.split_once("://").unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let scheme = scheme.to_ascii_lowercase();
        let own = if scheme == "http" { "80" } else { "443" };
        let after = authority.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match authority[after..].rfind(':') {
            Some(colon) => (&authority[..after + colon], &authority[after + colon + 1..]),
            None => (authority, own),
        };
        Self {
            host: host.to_ascii_lowercase(),
            port: port.to_owned(),
            path: if path.is_empty() { "/".to_owned() } else { decoded(path) },
            query: query.map(decoded),
            scheme,
        }
    }

    /// Whether the host is an address: the text of one, which no wildcard stands for.
    fn is_address(&self) -> bool {
        self.host.starts_with('[') || self.host.parse::<Ipv4Addr>().is_ok()
    }

    fn is_local(&self) -> bool {
        self.host.rsplit('.').next() == Some("localhost")
    }
}

fn url(pattern: &Parts, target: &Parts) -> bool {
    let host = if target.is_address() {
        pattern.host == target.host
    } else {
        (pattern.is_local() || !target.is_local())
            && segments(&split(&pattern.host, '.'), &split(&target.host, '.'))
    };
    let query = target.query.as_deref().unwrap_or_default();
    host && pattern.scheme == target.scheme
        && (pattern.port == "*" || pattern.port == target.port)
        && segments(&path_segments(&pattern.path), &path_segments(&target.path))
        && pattern.query.as_ref().is_none_or(|pattern| run(pattern, query))
}

/// `text` with unreserved characters decoded and other `%XX` in upper case.
pub(super) fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let value = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let value = value.unwrap_or_else(|| panic!("{text}"));
        if value.is_ascii_alphanumeric() || b"-._~".contains(&value) {
            out.push(char::from(value));
        } else {
            out += &format!("%{value:02X}");
        }
        out += &part[2..];
    }
    out
}
