//! Events, results and failures of a job.

use std::sync::Arc;

use arcp_proto::chunk::{Assembled, ResultFault};
use arcp_proto::client::ClosedReason;
use arcp_proto::time::UnixTime;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::body::{EventBody, Unreadable};
use arcp_proto::wire::event::{ChunkEncoding, EventKind, EventPayload};
use arcp_proto::wire::job::FinalStatus;
use arcp_proto::wire::session::ErrorPayload;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::de::value::{SeqDeserializer, StrDeserializer};

/// An event of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobEvent(EventPayload);

impl JobEvent {
    pub(super) const fn new(payload: EventPayload) -> Self {
        Self(payload)
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> &EventKind {
        &self.0.kind
    }

    /// When the runtime says it was produced.
    #[must_use]
    pub const fn time(&self) -> Option<UnixTime> {
        self.0.ts
    }

    /// Its position in the job, from 1, if the runtime counts them. A subscription can begin behind it.
    #[must_use]
    pub const fn position(&self) -> Option<u64> {
        self.0.pos
    }

    /// What it says, read by its kind.
    ///
    /// # Errors
    /// The body is not what an event of this kind must be.
    pub fn body(&self) -> Result<EventBody, Unreadable> {
        EventBody::read(&self.0.kind, &self.0.body)
    }

    /// What it says, as JSON text.
    #[must_use]
    pub const fn raw(&self) -> &RawJson {
        &self.0.body
    }
}

/// The result of a job, in the form in which it came.
#[derive(Debug, Clone, PartialEq)]
pub enum JobOutput {
    /// One JSON value.
    Value(RawJson),
    /// Streamed text.
    Text(Arc<str>),
    /// Streamed bytes.
    Bytes(Bytes),
}

impl JobOutput {
    /// Reads it as a `T`: text as a string, bytes as a list of numbers.
    ///
    /// # Errors
    /// [`JobError::Decode`] if it is none.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        match self {
            Self::Value(value) => value.decode(),
            Self::Text(text) => T::deserialize(StrDeserializer::new(text)),
            Self::Bytes(bytes) => T::deserialize(SeqDeserializer::new(bytes.iter().copied())),
        }
        .map_err(|error: serde_json::Error| JobError::Decode(Arc::new(error)))
    }
}

impl From<Assembled> for JobOutput {
    fn from(assembled: Assembled) -> Self {
        match assembled.encoding {
            // Pieces that were text each are text together.
            ChunkEncoding::Utf8 => Self::Text(String::from_utf8_lossy(&assembled.bytes).into()),
            ChunkEncoding::Base64 => Self::Bytes(assembled.bytes.into()),
        }
    }
}

/// What can be wrong with a job, or with what we know of it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// It did not succeed.
    #[error("the job ended with status `{}`{}", status.as_str(), error.as_ref().map_or(String::new(), |error| format!(": {error}")))]
    Failed {
        /// How it ended.
        status: FinalStatus,
        /// Why.
        error: Option<Box<ErrorPayload>>,
    },
    /// An event cannot be read.
    #[error("an event of the job cannot be read")]
    Unreadable,
    /// Numbers of the session are missing and will not come; events of this job may be among them (protocol §4.2).
    #[error("the events with the numbers {from} to {to} of the session are lost, perhaps some of this job")]
    Lost {
        /// The first missing number.
        from: u64,
        /// The last missing number.
        to: u64,
    },
    /// Events of this job are missing that were asked for: the runtime's history no longer reaches back to where a
    /// subscription was to begin, or to the last event before a session was lost. A subscription within a session that
    /// hears of the job already gets nothing of its past, and is told so.
    #[error("the events at the positions {from} to {to} of the job are lost")]
    Missing {
        /// The first missing position; of a subscription that began behind an origin number, the lowest that it can be.
        from: u64,
        /// The last missing position.
        to: u64,
    },
    /// The streamed result cannot be used.
    #[error("the result cannot be used: {0}")]
    Result(#[from] ResultFault),
    /// The result was streamed and is no JSON value.
    #[error("the result was streamed, and is no JSON value")]
    Streamed,
    /// The result is not what was asked for.
    #[error("the result is not of the type asked for: {0}")]
    Decode(Arc<serde_json::Error>),
    /// The job had ended before it was subscribed to without history.
    #[error("the job had ended before with status `{}`, and its history was not asked for", .0.as_str())]
    WasOver(FinalStatus),
    /// The session was over before the job.
    #[error("the session is over: {0}")]
    Closed(Arc<ClosedReason>),
    /// The client's driver was dropped before the job ended.
    #[error("the client's driver was dropped")]
    DriverDropped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_in_whatever_form_they_came() {
        assert_eq!(
            JobOutput::Value(RawJson::try_from("[1,2]").unwrap()).decode::<Vec<u8>>().unwrap(),
            [1, 2]
        );
        assert_eq!(JobOutput::Text("long".into()).decode::<String>().unwrap(), "long");
        assert_eq!(JobOutput::Bytes(Bytes::from_static(b"\0\xff")).decode::<Vec<u8>>().unwrap(), [0, 255]);
        assert!(matches!(JobOutput::Text("long".into()).decode::<u8>(), Err(JobError::Decode(_))));
    }

    #[test]
    fn a_failure_says_how_and_why() {
        let error = ErrorPayload {
            code: "CANCELLED".into(),
            message: "enough".into(),
            retryable: None,
            details: None,
            request_id: None,
            reply_to: None,
            job_id: None,
        };
        assert_eq!(ErrorPayload { message: String::new(), ..error.clone() }.to_string(), "CANCELLED");
        let failed = JobError::Failed { status: FinalStatus::Cancelled, error: Some(Box::new(error)) };
        assert_eq!(failed.to_string(), "the job ended with status `cancelled`: CANCELLED: enough");
        let failed = JobError::Failed { status: FinalStatus::TimedOut, error: None };
        assert_eq!(failed.to_string(), "the job ended with status `timed_out`");
        let closed = JobError::Closed(Arc::new(ClosedReason::TakenOver));
        assert_eq!(
            closed.to_string(),
            "the session is over: another connection has taken the session over",
            "in words, not in Rust"
        );
    }
}
