//! Who a peer is, from what it says first (protocol §12.1, §12.2).
//!
//! The names peers give themselves are never looked at: anyone may write anything there.

use alloc::borrow::Cow;

use super::PeerProfile;
use crate::feature::{Feature, Features};
use crate::id::Ulid;
use crate::wire::frame::Envelope;
use crate::wire::read::{Fields, elements_of, string_of};

/// What the newer Python SDK offers unless told otherwise.
const NEWER_PYTHON: Features = Features::NONE
    .with(Feature::Heartbeat)
    .with(Feature::Ack)
    .with(Feature::ListJobs)
    .with(Feature::Subscribe)
    .with(Feature::LeaseExpiresAt)
    .with(Feature::CostBudget)
    .with(Feature::ModelUse)
    .with(Feature::Progress)
    .with(Feature::ResultChunk)
    .with(Feature::AgentVersions);

impl PeerProfile {
    /// The client that sent this first frame, a `session.hello`; of the rules of protocol §12.1 the first that fits.
    #[must_use]
    pub fn of_hello(hello: &Envelope<'_>) -> Self {
        let payload = &hello.payload;
        let capabilities = payload.advisory_object("capabilities").unwrap_or_default();
        let id = IdForm::of(&hello.id);
        let has_client = payload.advisory_object("client").is_some();
        let is_anonymous_envelope = hello.session_id.is_none();
        if offers(&capabilities, Feature::Core) {
            Self::Core
        } else if payload.present("client_name").is_some() && !has_client {
            Self::Ruby
        } else if id == IdForm::Uuid7 && has_client && is_anonymous_envelope {
            Self::Go
        } else if id == IdForm::Ulid && is_empty_array(capabilities.present("agents")) {
            if is_newer_python(&capabilities) { Self::PythonNewer } else { Self::Python113 }
        } else if id == IdForm::Ulid
            && capabilities.present("agents").is_none()
            && is_sorted_or_absent(&capabilities)
        {
            Self::Java
        } else if id == IdForm::MessageUlid
            && has_client
            && is_anonymous_envelope
            && !hello.has_timestamp
            // A client of version 1.0 names none.
            && capabilities.present("features").is_some()
        {
            Self::TypeScript
        } else {
            Self::Unknown
        }
    }

    /// The runtime that sent this `session.welcome` (protocol §12.2).
    #[must_use]
    pub fn of_welcome(welcome: &Envelope<'_>) -> Self {
        let payload = &welcome.payload;
        let capabilities = payload.advisory_object("capabilities").unwrap_or_default();
        if offers(&capabilities, Feature::Core) {
            return Self::Core;
        }
        let token = payload.advisory_string("resume_token").unwrap_or_default();
        let has_runtime = payload.advisory_object("runtime").is_some();
        let names_session = payload.present("session_id").is_some();
        match (IdForm::of(&welcome.id), TokenForm::of(&token)) {
            (IdForm::Uuid7, TokenForm::Base64Url)
                if !has_runtime && payload.present("runtime_name").is_some() =>
            {
                Self::Ruby
            }
            (IdForm::Uuid7, TokenForm::Ulid) if has_runtime && !names_session => Self::Go,
            (IdForm::Ulid, TokenForm::PrefixedUlid) if has_runtime && names_session => {
                if is_older_python(&capabilities) { Self::Python113 } else { Self::PythonNewer }
            }
            (IdForm::Ulid, TokenForm::Uuid4) if has_runtime && is_sorted_or_absent(&capabilities) => {
                Self::Java
            }
            (IdForm::MessageUlid, TokenForm::PrefixedHex) if has_runtime && !names_session => {
                Self::TypeScript
            }
            _ => Self::Unknown,
        }
    }

    /// The runtime that answered a hello with this error instead of a welcome (protocol §12.2).
    #[must_use]
    pub fn of_refusal(refusal: &Envelope<'_>) -> Self {
        let payload = &refusal.payload;
        let names_job = refusal.job_id.is_some() || payload.present("job_id").is_some();
        let is_correlated =
            ["request_id", "reply_to"].into_iter().any(|name| payload.present(name).is_some());
        match &*refusal.message_type {
            "session.error"
                if !is_correlated
                    && payload.opaque("details") == Some("null")
                    && IdForm::of(&refusal.id) == IdForm::Ulid =>
            {
                // Which one cannot be seen; the older one is spoken to more carefully.
                Self::Python113
            }
            "job.error" if !names_job => Self::Java,
            _ => Self::Unknown,
        }
    }
}

/// How an envelope's id is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdForm {
    Ulid,
    /// `msg_` and a ULID.
    MessageUlid,
    /// Lower-case.
    Uuid7,
    Other,
}

impl IdForm {
    fn of(id: &str) -> Self {
        if is_ulid(id) {
            Self::Ulid
        } else if id.strip_prefix("msg_").is_some_and(is_ulid) {
            Self::MessageUlid
        } else if is_uuid(id, b'7') {
            Self::Uuid7
        } else {
            Self::Other
        }
    }
}

/// How a resume token is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenForm {
    /// 32 characters of base64url.
    Base64Url,
    Ulid,
    /// `rtk_` and a ULID.
    PrefixedUlid,
    /// Version 4, lower-case.
    Uuid4,
    /// `rt_` and 64 lower-case hex digits.
    PrefixedHex,
    Other,
}

impl TokenForm {
    fn of(token: &str) -> Self {
        let is_base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if is_ulid(token) {
            Self::Ulid
        } else if token.strip_prefix("rtk_").is_some_and(is_ulid) {
            Self::PrefixedUlid
        } else if is_uuid(token, b'4') {
            Self::Uuid4
        } else if token
            .strip_prefix("rt_")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_lower_hex))
        {
            Self::PrefixedHex
        } else if token.len() == 32 && token.bytes().all(is_base64url) {
            Self::Base64Url
        } else {
            Self::Other
        }
    }
}

fn is_ulid(text: &str) -> bool {
    Ulid::parse(text).is_some()
}

/// Whether `text` is a lower-case UUID of this version (a digit), variant 10.
fn is_uuid(text: &str, version: u8) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            14 => b == version,
            19 => matches!(b, b'8' | b'9' | b'a' | b'b'),
            _ => is_lower_hex(b),
        })
}

const fn is_lower_hex(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'a'..=b'f')
}

fn is_empty_array(value: Option<&str>) -> bool {
    value.and_then(elements_of).is_some_and(|mut elements| elements.next().is_none())
}

/// The strings among the features, in the order of the text.
fn features<'a>(capabilities: &Fields<'a>) -> impl Iterator<Item = Cow<'a, str>> {
    capabilities.present("features").and_then(elements_of).into_iter().flatten().filter_map(string_of)
}

fn offers(capabilities: &Fields<'_>, feature: Feature) -> bool {
    features(capabilities).any(|name| name == feature.as_str())
}

fn is_sorted_or_absent(capabilities: &Fields<'_>) -> bool {
    features(capabilities).is_sorted()
}

/// Whether these are exactly the features of the newer Python SDK. A list the caller chose says nothing, so that the
/// older one, which is spoken to more carefully, is taken for the speaker.
fn is_newer_python(capabilities: &Fields<'_>) -> bool {
    let mut known = Features::NONE;
    for name in features(capabilities) {
        match Feature::parse(&name) {
            Some(feature) => known = known.with(feature),
            None => return false,
        }
    }
    known == NEWER_PYTHON
}

/// Whether a Python runtime is version 1.1.3, which lists `model.use` last but one or not at all.
fn is_older_python(capabilities: &Fields<'_>) -> bool {
    let behind = features(capabilities).skip_while(|name| name != Feature::ModelUse.as_str()).count();
    matches!(behind, 0 | 2)
}

#[cfg(test)]
mod tests;
