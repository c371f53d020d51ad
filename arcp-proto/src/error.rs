//! The three kinds of failure: a peer's fault, our caller's misuse, and what goes to the wire.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use crate::wire::RawJson;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $retryable:literal;)*) => {
        /// The closed set of fifteen codes (protocol §8). No other leaves an endpoint of ours.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// All fifteen, in the order of the specification.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The string on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The code with this string; `None` for one outside the set.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Whether trying again unchanged can succeed. Fixed by the code (D-9).
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self {
                    $(Self::$name => $retryable,)*
                }
            }
        }
    };
}

error_codes! {
    /// The lease or the policy refuses.
    PermissionDenied = "PERMISSION_DENIED", false;
    /// A child asks for more than its parent holds.
    LeaseSubsetViolation = "LEASE_SUBSET_VIOLATION", false;
    /// No such job, or none the principal may see.
    JobNotFound = "JOB_NOT_FOUND", false;
    /// An idempotency key came back with other parameters.
    DuplicateKey = "DUPLICATE_KEY", false;
    /// No such agent, or none the principal may use.
    AgentNotAvailable = "AGENT_NOT_AVAILABLE", false;
    /// The agent exists, its version does not.
    AgentVersionNotAvailable = "AGENT_VERSION_NOT_AVAILABLE", false;
    /// The job was cancelled.
    Cancelled = "CANCELLED", false;
    /// The job ran longer than `max_runtime_sec`.
    Timeout = "TIMEOUT", false;
    /// The token is proven, but the history or the session is gone.
    ResumeWindowExpired = "RESUME_WINDOW_EXPIRED", false;
    /// Nothing was heard for two intervals.
    HeartbeatLost = "HEARTBEAT_LOST", true;
    /// The lease has ended.
    LeaseExpired = "LEASE_EXPIRED", false;
    /// A budget counter is at or below zero.
    BudgetExhausted = "BUDGET_EXHAUSTED", false;
    /// The request is malformed, out of range or not negotiated.
    InvalidRequest = "INVALID_REQUEST", false;
    /// The bearer, a resume or the session itself is not accepted.
    Unauthenticated = "UNAUTHENTICATED", false;
    /// A fault or a limit of the runtime; `details.limit` names the limit.
    InternalError = "INTERNAL_ERROR", true;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names of the limits in `details.limit` (protocol §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Sessions of one principal.
    Sessions,
    /// Unfinished jobs of one principal.
    Jobs,
    /// Subscriptions of one principal.
    Subscriptions,
    /// Subscribers of one job.
    Subscribers,
    /// Retained bytes of one principal.
    Buffered,
    /// Idempotency keys of one principal.
    IdempotencyKeys,
    /// Hellos of one principal in a second.
    Hellos,
    /// Connections that wait for authentication.
    Connections,
    /// The size of one frame.
    Frame,
    /// What waits to be written to one connection.
    Unsent,
    /// A follower was too slow for the history it asked for.
    History,
    /// The last sequence number was used up.
    EventSeq,
    /// The size of one result chunk.
    Chunk,
    /// The size of one streamed result.
    ResultBytes,
    /// How deep jobs may delegate.
    Depth,
    /// Unfinished children of one job.
    Children,
    /// The storage is full.
    Storage,
}

impl Limit {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Sessions,
        Self::Jobs,
        Self::Subscriptions,
        Self::Subscribers,
        Self::Buffered,
        Self::IdempotencyKeys,
        Self::Hellos,
        Self::Connections,
        Self::Frame,
        Self::Unsent,
        Self::History,
        Self::EventSeq,
        Self::Chunk,
        Self::ResultBytes,
        Self::Depth,
        Self::Children,
        Self::Storage,
    ];

    /// The limit with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|limit| limit.as_str() == name)
    }

    /// The string on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Jobs => "jobs",
            Self::Subscriptions => "subscriptions",
            Self::Subscribers => "subscribers",
            Self::Buffered => "buffered",
            Self::IdempotencyKeys => "idempotency_keys",
            Self::Hellos => "hellos",
            Self::Connections => "connections",
            Self::Frame => "frame",
            Self::Unsent => "unsent",
            Self::History => "history",
            Self::EventSeq => "event_seq",
            Self::Chunk => "chunk",
            Self::ResultBytes => "result_bytes",
            Self::Depth => "depth",
            Self::Children => "children",
            Self::Storage => "storage",
        }
    }
}

/// An error as it goes to a peer: a code, our own words, and details.
///
/// The message never holds peer text or a secret. `retryable` follows from the code.
#[derive(Debug, Clone, PartialEq)]
pub struct WireError {
    /// One of the fifteen codes.
    pub code: ErrorCode,
    /// 1 to 1 024 bytes of our own words.
    pub message: Cow<'static, str>,
    /// What `details` holds.
    pub details: Details,
}

/// The `details` of an error, as far as this crate writes them.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Details {
    /// No `details`.
    #[default]
    None,
    /// `limit`: which limit was hit.
    Limit(Limit),
    /// `reason`.
    Reason(Cow<'static, str>),
    /// `feature`: what was used without being negotiated.
    Feature(Cow<'static, str>),
    /// `type`: the message type that is unknown.
    Type(String),
    /// `dialect`: the other dialect the peer speaks.
    Dialect(Cow<'static, str>),
    /// `existing_job_id`.
    ExistingJob(String),
    /// `agent_code`: the agent's own, finer code (D-87).
    AgentCode(String),
    /// Any JSON object an agent gave.
    Raw(RawJson),
}

impl Details {
    /// The one member they have and its text, if that is what they are; a store keeps them so.
    #[must_use]
    pub fn member(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::None | Self::Raw(_) => None,
            Self::Limit(limit) => Some(("limit", limit.as_str())),
            Self::Reason(reason) => Some(("reason", reason)),
            Self::Feature(feature) => Some(("feature", feature)),
            Self::Type(message_type) => Some(("type", message_type)),
            Self::Dialect(dialect) => Some(("dialect", dialect)),
            Self::ExistingJob(job) => Some(("existing_job_id", job)),
            Self::AgentCode(code) => Some(("agent_code", code)),
        }
    }

    /// The details that [`member`](Self::member) gave; `None` for a name or a limit that this version does not know.
    #[must_use]
    pub fn from_member(name: &str, text: &str) -> Option<Self> {
        Some(match name {
            "limit" => Self::Limit(Limit::parse(text)?),
            "reason" => Self::Reason(Cow::Owned(text.into())),
            "feature" => Self::Feature(Cow::Owned(text.into())),
            "type" => Self::Type(text.into()),
            "dialect" => Self::Dialect(Cow::Owned(text.into())),
            "existing_job_id" => Self::ExistingJob(text.into()),
            "agent_code" => Self::AgentCode(text.into()),
            _ => return None,
        })
    }

    /// Bytes of peer- or agent-given text in it.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Raw(raw) => raw.len(),
            Self::Type(text) | Self::ExistingJob(text) | Self::AgentCode(text) => text.len(),
            Self::None | Self::Limit(_) | Self::Reason(_) | Self::Feature(_) | Self::Dialect(_) => 0,
        }
    }
}

impl WireError {
    /// An error without details. A message over 1 024 bytes is cut at a character.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: cut(message.into(), 1_024), details: Details::None }
    }

    /// The same error with details.
    #[must_use]
    pub fn with(mut self, details: Details) -> Self {
        self.details = details;
        self
    }

    /// `INVALID_REQUEST` with these words.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// `INTERNAL_ERROR` that names a limit.
    #[must_use]
    pub fn limit(limit: Limit, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InternalError, message).with(Details::Limit(limit))
    }
}

/// Cuts `text` to at most `max` bytes, at a character.
pub(crate) fn cut(text: Cow<'static, str>, max: usize) -> Cow<'static, str> {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

/// A call that our own caller should not have made. Never caused by anything a peer sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// The handle names nothing that exists.
    #[error("the handle names nothing that exists")]
    UnknownHandle,
    /// The session is closed and takes no further commands.
    #[error("the session is closed")]
    SessionClosed,
    /// The job has ended; nothing more can be said about it.
    #[error("the job has ended")]
    JobEnded,
    /// A value is out of its range; the text says which and what is allowed.
    #[error("{0}")]
    OutOfRange(Cow<'static, str>),
    /// Kinds, phases and metrics reserved to the runtime (D-73).
    #[error("`{0}` is reserved to the runtime")]
    Reserved(String),
    /// An event does not fit into a frame, in bytes.
    #[error("the event takes {bytes} bytes, a frame of this session holds {limit}")]
    TooLarge {
        /// What the frame would take.
        bytes: usize,
        /// What it may take.
        limit: usize,
    },
    /// A streamed result breaks the rules of protocol §4.4.
    #[error("{0}")]
    Chunk(Cow<'static, str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_closed_and_its_flags_are_the_published_ones() {
        assert_eq!(ErrorCode::ALL.len(), 15);
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(*code));
            let retryable = matches!(code, ErrorCode::HeartbeatLost | ErrorCode::InternalError);
            assert_eq!(code.is_retryable(), retryable, "{code}");
        }
        assert_eq!(ErrorCode::parse("RATE_LIMITED"), None);
    }

    #[test]
    fn messages_are_cut_at_a_character() {
        let error = WireError::invalid("ü".repeat(600));
        assert_eq!(error.message.len(), 1_024);
        let error = WireError::invalid(std::format!("x{}", "ü".repeat(600)));
        assert_eq!(error.message.len(), 1_023);
    }

    #[test]
    fn every_limit_has_its_published_name() {
        use Limit::{
            Buffered, Children, Chunk, Connections, Depth, EventSeq, Frame, Hellos, History, IdempotencyKeys,
            Jobs, ResultBytes, Sessions, Storage, Subscribers, Subscriptions, Unsent,
        };
        for (limit, name) in [
            (Sessions, "sessions"),
            (Jobs, "jobs"),
            (Subscriptions, "subscriptions"),
            (Subscribers, "subscribers"),
            (Buffered, "buffered"),
            (IdempotencyKeys, "idempotency_keys"),
            (Hellos, "hellos"),
            (Connections, "connections"),
            (Frame, "frame"),
            (Unsent, "unsent"),
            (History, "history"),
            (EventSeq, "event_seq"),
            (Chunk, "chunk"),
            (ResultBytes, "result_bytes"),
            (Depth, "depth"),
            (Children, "children"),
            (Storage, "storage"),
        ] {
            assert_eq!(limit.as_str(), name);
            assert_eq!(Limit::parse(name), Some(limit));
        }
        assert_eq!(Limit::ALL.len(), 17);
        assert_eq!(Limit::parse("patience"), None);
    }

    #[test]
    fn details_with_one_member_come_back_from_it() {
        for details in [
            Details::Limit(Limit::ResultBytes),
            Details::Reason("runtime_restarted".into()),
            Details::Feature("ack".into()),
            Details::Type("job.dance".into()),
            Details::Dialect("rfc-0001".into()),
            Details::ExistingJob("job_1".into()),
            Details::AgentCode("EMPTY".into()),
        ] {
            let (name, text) = details.member().unwrap();
            assert_eq!(Details::from_member(name, text), Some(details));
        }
        assert_eq!(Details::None.member(), None);
        assert_eq!(Details::Type("job.dance".into()).weight(), 9);
        assert_eq!(Details::Raw(RawJson::empty_object()).weight(), 2);
        assert_eq!(Details::Limit(Limit::Jobs).weight(), 0);
        assert_eq!(Details::Raw(RawJson::empty_object()).member(), None);
        assert_eq!(Details::from_member("colour", "blue"), None);
    }
}
