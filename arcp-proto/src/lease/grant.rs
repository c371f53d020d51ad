//! What a lease can grant, and one pattern of it.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt;

use super::delegate::{self, AgentPattern};
use super::name;
use super::path;
use super::pattern::Glob;
use super::text::Refusal;
use super::url::{self, Url, UrlPattern};
use crate::agent::AgentRef;

const VENDOR_PREFIX: &str = "x-vendor.";
/// Longest vendor namespace; they are spelled like event kinds, which are as long as an id at most.
const MAX_VENDOR_BYTES: usize = 128;

/// A namespace of operations. None implies another (protocol §5.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// `fs.read`.
    FsRead,
    /// `fs.write`.
    FsWrite,
    /// `net.fetch`.
    NetFetch,
    /// `tool.call`.
    ToolCall,
    /// `agent.delegate`.
    AgentDelegate,
    /// `model.use`.
    ModelUse,
    /// `x-vendor.<vendor>.<name>`.
    Vendor(VendorName),
}

/// The name of a vendor's namespace, prefix included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VendorName(Box<str>);

impl VendorName {
    /// Reads `x-vendor.<vendor>.<name>`: segments of `a-z 0-9 _ -`, at least two after the prefix. `None` for anything
    /// else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let segment = |segment: &str| {
            !segment.is_empty()
                && segment.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        };
        let rest = text.strip_prefix(VENDOR_PREFIX)?;
        (text.len() <= MAX_VENDOR_BYTES && rest.contains('.') && rest.split('.').all(segment))
            .then(|| Self(text.into()))
    }

    /// The name, prefix included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Capability {
    /// The namespace of this name. `None` for one we do not know, and for `cost.budget`, which has no patterns.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "fs.read" => Self::FsRead,
            "fs.write" => Self::FsWrite,
            "net.fetch" => Self::NetFetch,
            "tool.call" => Self::ToolCall,
            "agent.delegate" => Self::AgentDelegate,
            "model.use" => Self::ModelUse,
            _ => Self::Vendor(VendorName::parse(name)?),
        })
    }

    /// The name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::FsRead => "fs.read",
            Self::FsWrite => "fs.write",
            Self::NetFetch => "net.fetch",
            Self::ToolCall => "tool.call",
            Self::AgentDelegate => "agent.delegate",
            Self::ModelUse => "model.use",
            Self::Vendor(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A target that has been read, in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Path(String),
    Url(Url),
    Name(String),
    Agent(AgentRef),
}

impl Target {
    pub(super) fn parse(capability: &Capability, text: &str, windows_paths: bool) -> Result<Self, Refusal> {
        match capability {
            Capability::FsRead | Capability::FsWrite => {
                path::canonical_path(text, windows_paths).map(Self::Path)
            }
            Capability::NetFetch => Url::parse(text).map(Self::Url),
            Capability::ToolCall | Capability::ModelUse | Capability::Vendor(_) => {
                name::canonical_name(text).map(Self::Name)
            }
            Capability::AgentDelegate => delegate::target(text).map(Self::Agent),
        }
    }

    pub(super) fn written(&self) -> Result<String, Refusal> {
        match self {
            Self::Path(text) | Self::Name(text) => Ok(text.clone()),
            Self::Url(url) => url::written(url),
            Self::Agent(agent) => Ok(agent.as_str().to_string()),
        }
    }
}

/// One pattern of a lease, compiled; it keeps its spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Path(Glob),
    Url(UrlPattern),
    Name(Glob),
    Agent(AgentPattern),
}

impl Pattern {
    /// Compiles a pattern by the rules of its namespace (protocol §5.2, §5.3).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(capability: &Capability, text: &str) -> Result<Self, Refusal> {
        let form = match capability {
            Capability::FsRead | Capability::FsWrite => Form::Path(path::pattern(text)?),
            Capability::NetFetch => Form::Url(UrlPattern::parse(text)?),
            Capability::ToolCall | Capability::ModelUse | Capability::Vendor(_) => {
                Form::Name(name::pattern(text)?)
            }
            Capability::AgentDelegate => Form::Agent(AgentPattern::parse(text)?),
        };
        Ok(Self { text: text.into(), form })
    }

    /// The pattern as it was submitted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether every target `child` stands for is provably one this pattern stands for (protocol §5.7). Patterns of
    /// different kinds of targets never cover each other.
    #[must_use]
    pub fn covers(&self, child: &Self) -> bool {
        match (&self.form, &child.form) {
            (Form::Path(parent), Form::Path(child)) | (Form::Name(parent), Form::Name(child)) => {
                parent.covers(child)
            }
            (Form::Url(parent), Form::Url(child)) => parent.covers(child),
            (Form::Agent(parent), Form::Agent(child)) => parent.covers(child),
            _ => false,
        }
    }

    pub(super) fn matches(&self, target: &Target) -> bool {
        match (&self.form, target) {
            (Form::Path(glob), Target::Path(path)) => glob.matches(path::segments_of(path), &mut ()),
            (Form::Name(glob), Target::Name(name)) => glob.matches(name.split('/'), &mut ()),
            (Form::Url(pattern), Target::Url(url)) => pattern.matches(url),
            (Form::Agent(pattern), Target::Agent(agent)) => pattern.matches(agent),
            _ => false,
        }
    }

    /// Whether it is a URL pattern whose host has no wildcard.
    pub(super) fn names_one_host(&self) -> bool {
        matches!(&self.form, Form::Url(pattern) if pattern.names_one_host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_namespaces_have_two_parts() {
        for text in ["x-vendor.acme.gpu", "x-vendor.a_b.c-d.e"] {
            assert_eq!(Capability::parse(text).unwrap().as_str(), text);
        }
        let long = alloc::format!("x-vendor.a.{}", "b".repeat(118));
        for text in
            ["x-vendor.acme", "x-vendor..a", "x-vendor.a.", "x-vendor.A.b", "x-vendor", "vendor.a.b", &long]
        {
            assert_eq!(Capability::parse(text), None, "{text}");
        }
    }

    #[test]
    fn kinds_of_targets_do_not_mix() {
        let path = Pattern::parse(&Capability::FsRead, "/**").unwrap();
        let name = Pattern::parse(&Capability::ToolCall, "**").unwrap();
        assert!(!path.covers(&name) && !name.covers(&path));
        let target = Target::parse(&Capability::ToolCall, "x", false).unwrap();
        assert!(name.matches(&target) && !path.matches(&target));
    }
}
