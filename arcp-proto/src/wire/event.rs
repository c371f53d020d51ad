//! Job events: the ten kinds, what agents emit, what a log keeps, what a client reads (protocol §4).

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use crate::error::WireError;
use crate::id::{CredentialKey, ResultKey};
use crate::time::UnixTime;
use crate::wire::RawJson;
use crate::wire::job::FinalStatus;

/// The kind of an event.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A log line.
    Log,
    /// What the agent thinks.
    Thought,
    /// A tool is called.
    ToolCall,
    /// A tool returned.
    ToolResult,
    /// The job's phase.
    Status,
    /// A number.
    Metric,
    /// Something stored elsewhere.
    ArtifactRef,
    /// A child job.
    Delegate,
    /// How far the job is.
    Progress,
    /// A piece of a streamed result.
    ResultChunk,
    /// `x-vendor.<vendor>.<name>`, or any kind we do not know (which we read, and never send).
    Other(Arc<str>),
}

impl EventKind {
    /// The string on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Log => "log",
            Self::Thought => "thought",
            Self::ToolCall => "tool_call",
            Self::ToolResult => "tool_result",
            Self::Status => "status",
            Self::Metric => "metric",
            Self::ArtifactRef => "artifact_ref",
            Self::Delegate => "delegate",
            Self::Progress => "progress",
            Self::ResultChunk => "result_chunk",
            Self::Other(text) => text,
        }
    }

    /// The kind with this string.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "log" => Self::Log,
            "thought" => Self::Thought,
            "tool_call" => Self::ToolCall,
            "tool_result" => Self::ToolResult,
            "status" => Self::Status,
            "metric" => Self::Metric,
            "artifact_ref" => Self::ArtifactRef,
            "delegate" => Self::Delegate,
            "progress" => Self::Progress,
            "result_chunk" => Self::ResultChunk,
            other => Self::Other(other.into()),
        }
    }

    /// Whether this is a vendor kind an agent may emit: `x-vendor.` and at least two segments of `[a-z0-9_-]+`.
    #[must_use]
    pub fn is_vendor(&self) -> bool {
        let Self::Other(text) = self else { return false };
        text.strip_prefix("x-vendor.").is_some_and(|rest| {
            let mut segments = 0;
            rest.split('.').all(|segment| {
                segments += 1;
                !segment.is_empty()
                    && segment.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
            }) && segments >= 2
                && text.len() <= 128
        })
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the `data` of a chunk is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkEncoding {
    /// Text, each chunk cut at a code point.
    Utf8,
    /// Standard alphabet, padded, each chunk decodes alone.
    Base64,
}

impl ChunkEncoding {
    /// The string on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Base64 => "base64",
        }
    }

    /// The encoding with this string.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "utf8" => Some(Self::Utf8),
            "base64" => Some(Self::Base64),
            _ => None,
        }
    }
}

/// What a job's log holds at one position, and what a notice to one session holds.
///
/// Rendering is pure: the same event for the same session gives the same bytes each time it is sent (protocol §4.1).
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedEvent {
    /// When it was produced.
    pub ts: UnixTime,
    /// The job's own position from 1; `None` for a notice to one session.
    pub pos: Option<u64>,
    /// What was produced.
    pub content: Content,
}

/// What was produced.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A `job.event` with a body of any kind but `result_chunk`.
    Event {
        /// Its kind.
        kind: EventKind,
        /// A JSON object.
        body: RawJson,
    },
    /// A `job.event` of kind `result_chunk`.
    Chunk {
        /// The result it belongs to.
        result: ResultKey,
        /// 0, 1, 2, …
        chunk_seq: u64,
        /// How the data is spelled.
        encoding: ChunkEncoding,
        /// The data as JSON string, quotes included.
        data: RawJson,
        /// Bytes after decoding.
        decoded_bytes: u64,
        /// Whether more follow.
        more: bool,
    },
    /// The `status` that says that the job has another credential, without its value (D-18).
    Rotated {
        /// The new one.
        credential: CredentialKey,
    },
    /// `job.result` or `job.error`.
    End(Terminal),
}

/// The end of a job, as the runtime keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Terminal {
    /// `success` with a result, or what `error` says.
    pub outcome: Outcome,
    /// A line for people.
    pub summary: Option<String>,
}

/// How a job ended, with its value or error.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A value in the `job.result` itself.
    Inline(RawJson),
    /// A value in the chunks before it.
    Streamed {
        /// The result's id.
        result: ResultKey,
        /// Decoded bytes (D-47).
        size: u64,
    },
    /// No value; the status follows from the code.
    Failed(WireError),
}

impl Terminal {
    /// The status that goes with the outcome.
    #[must_use]
    pub const fn status(&self) -> FinalStatus {
        match &self.outcome {
            Outcome::Inline(_) | Outcome::Streamed { .. } => FinalStatus::Success,
            Outcome::Failed(error) => FinalStatus::of(error.code),
        }
    }
}

/// A `job.event` as a client reads it.
#[derive(Clone, PartialEq)]
pub struct EventPayload {
    /// Its kind.
    pub kind: EventKind,
    /// When it was produced, if said.
    pub ts: Option<UnixTime>,
    /// The job's own position, if said.
    pub pos: Option<u64>,
    /// The body as sent; `{}` if absent or null.
    pub body: RawJson,
}

/// Level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Finest.
    Trace,
    /// For developers.
    Debug,
    /// Normal.
    Info,
    /// Odd.
    Warn,
    /// Wrong.
    Error,
}

impl LogLevel {
    /// The string on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// An event an agent wants to emit: kind and body checked, encoded once.
#[derive(Debug, Clone, PartialEq)]
pub struct Emission {
    pub(crate) kind: EventKind,
    pub(crate) body: RawJson,
}

/// A piece of a streamed result an agent wants to emit.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkEmission {
    pub(crate) encoding: ChunkEncoding,
    /// The data as JSON string, quotes included.
    pub(crate) data: RawJson,
    pub(crate) decoded_bytes: u64,
    pub(crate) more: bool,
}

/// A job that an agent asks for (protocol §6).
#[derive(Debug, Clone, PartialEq)]
pub struct Delegation {
    /// Comes back in the answer; chosen by the agent.
    pub token: u64,
    /// `name` or `name@version`.
    pub agent: String,
    /// Its input.
    pub input: RawJson,
    /// What it may do: an object as in `job.submit`. What is left out of the parent's restrictions is inherited.
    pub lease_request: Option<RawJson>,
    /// Until when: an object as in `job.submit`.
    pub lease_constraints: Option<RawJson>,
    /// Its run-time limit in seconds, 1 to 31 536 000.
    pub max_runtime_sec: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_kind_shows_as_its_text() {
        for text in ["log", "result_chunk", "x-vendor.acme.beat"] {
            let kind = EventKind::parse(text);
            assert_eq!((format!("{kind}"), format!("{kind:?}")), (text.into(), text.into()));
        }
    }
}
