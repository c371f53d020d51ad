//! Payloads of `job.*` messages other than events (protocol §3).

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::ErrorCode;
use crate::id::JobId;
use crate::time::UnixTime;
use crate::wire::RawJson;
use crate::wire::credential::{Credential, read_credentials, write_credentials};
use crate::wire::error::WireFault;
use crate::wire::members::{
    NO_REASON, NUMBERS, advisory_text, advisory_time, job_id, opaque, raw_object, tolerant_string,
};
use crate::wire::read::{FieldError, Fields, boolean_of, u64_of};
use crate::wire::session::{ErrorPayload, write_time};
use crate::wire::text::has_control;
use crate::wire::write::ObjectWriter;

/// `job.submit` (protocol §3.1).
#[derive(Debug, Clone, PartialEq)]
pub struct Submit {
    /// `name` or `name@version`, not yet judged.
    pub agent: String,
    /// Any JSON; absent was read as `null`.
    pub input: RawJson,
    /// An object, if present, not null and not empty.
    pub lease_request: Option<RawJson>,
    /// An object, if present, not null and not empty (members that are null do not count).
    pub lease_constraints: Option<RawJson>,
    /// 1 to 256 bytes without control characters.
    pub idempotency_key: Option<String>,
    /// 1 to 31 536 000 seconds.
    pub max_runtime_sec: Option<u64>,
}

/// `job.accepted` (protocol §3.2).
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The job; `None` if only the envelope names it.
    pub job_id: Option<JobId>,
    /// The resolved agent.
    pub agent: Option<String>,
    /// The effective lease; an object.
    pub lease: Option<RawJson>,
    /// Its constraints; an object.
    pub lease_constraints: Option<RawJson>,
    /// Initial counters by currency; an object.
    pub budget: Option<RawJson>,
    /// The credentials issued for it, of schemes we know.
    pub credentials: Vec<Credential>,
    /// When the job was accepted.
    pub accepted_at: Option<UnixTime>,
    /// The job's trace.
    pub trace_id: Option<String>,
    /// The submit this answers; absent on the acceptance of a child.
    pub request_id: Option<String>,
    /// The same by its other name.
    pub reply_to: Option<String>,
    /// The parent, for a child.
    pub parent_job_id: Option<JobId>,
    /// The delegation, for a child.
    pub delegate_id: Option<String>,
}

/// `job.cancel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// The job if the payload names it.
    pub job_id: Option<JobId>,
    /// For display, at most 1 024 bytes.
    pub reason: Option<String>,
}

/// `job.cancelled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// The job if the payload names it.
    pub job_id: Option<JobId>,
    /// The reason given with the cancel.
    pub reason: Option<String>,
    /// How the job had ended, if it had (D-72).
    pub current_status: Option<String>,
    /// The cancel this answers.
    pub request_id: Option<String>,
    /// The same by its other name.
    pub reply_to: Option<String>,
}

/// `job.subscribe` (protocol §3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The job if the payload names it.
    pub job_id: Option<JobId>,
    /// Whether old events are wanted.
    pub history: bool,
    /// Origin number after which history starts.
    pub from_event_seq: Option<u64>,
    /// Position after which history starts; wins over `from_event_seq`.
    pub from_pos: Option<u64>,
}

/// `job.subscribed` (protocol §3.6).
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribed {
    /// The subscribe this answers.
    pub request_id: Option<String>,
    /// The same by its other name.
    pub reply_to: Option<String>,
    /// The job if the payload names it.
    pub job_id: Option<JobId>,
    /// The state at the seam, as spelled by the peer.
    pub current_status: Option<String>,
    /// The resolved agent.
    pub agent: Option<String>,
    /// The effective lease; an object.
    pub lease: Option<RawJson>,
    /// Its constraints; an object.
    pub lease_constraints: Option<RawJson>,
    /// Counters at the seam; an object.
    pub budget: Option<RawJson>,
    /// Its current credentials, of schemes we know, for the principal that submitted it (D-17).
    pub credentials: Vec<Credential>,
    /// The parent, for a child.
    pub parent_job_id: Option<JobId>,
    /// The job's trace.
    pub trace_id: Option<String>,
    /// Origin number of the seam.
    pub subscribed_from: Option<u64>,
    /// Whether old frames follow; a count was read as "more than none".
    pub replayed: bool,
    /// Origin number just before the first replayed frame, when history was asked (D-86).
    pub history_from: Option<u64>,
}

/// `job.unsubscribe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The job if the payload names it.
    pub job_id: Option<JobId>,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FinalStatus {
    /// The agent returned a value.
    Success,
    /// The agent failed, or the runtime did.
    Error,
    /// A cancel was honoured.
    Cancelled,
    /// `max_runtime_sec` was reached.
    TimedOut,
}

impl FinalStatus {
    /// The string on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }

    /// The status with this string; `None` for another.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "success" => Some(Self::Success),
            "error" => Some(Self::Error),
            "cancelled" => Some(Self::Cancelled),
            "timed_out" => Some(Self::TimedOut),
            _ => None,
        }
    }

    /// The status that belongs to a code on `job.error` (protocol §3.4).
    #[must_use]
    pub const fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Cancelled => Self::Cancelled,
            ErrorCode::Timeout => Self::TimedOut,
            _ => Self::Error,
        }
    }
}

/// `job.result` or `job.error` as a client reads it: every accepted spelling brought together (protocol §3.4).
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The job if the payload names it.
    pub job_id: Option<JobId>,
    /// The job's own position.
    pub pos: Option<u64>,
    /// How it ended. On `job.error` a missing status follows the code; on `job.result` a missing one is success and an
    /// unknown one an error.
    pub status: FinalStatus,
    /// The status as spelled, where we do not know it.
    pub raw_status: Option<String>,
    /// The value, `result` or `output`; `None` on errors and streamed results.
    pub result: Option<RawJson>,
    /// The streamed result's id.
    pub result_id: Option<String>,
    /// Decoded bytes of the streamed result.
    pub result_size: Option<u64>,
    /// A line for people.
    pub summary: Option<String>,
    /// When it ended.
    pub completed_at: Option<UnixTime>,
    /// The error, unless the status is success.
    pub error: Option<ErrorPayload>,
}

/// `name@version` at its longest.
const AGENT_BYTES: usize = 193;
const KEY_BYTES: usize = 256;
/// A year.
const MAX_RUNTIME_SEC: u64 = 31_536_000;

impl Submit {
    /// Reads `job.submit`: the shape only, not yet what the lease says.
    ///
    /// # Errors
    /// A member has the wrong type or is out of range, or `lease_constraints` has a member we do not know (D-78).
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        let lease_request =
            raw_object(fields, "lease_request")?.filter(|lease| !Fields::of(lease.as_str()).is_empty());
        Self::read_beside(fields, lease_request, read_constraints(fields)?)
    }

    /// Reads everything but the lease, which has been read otherwise.
    ///
    /// # Errors
    /// A member has the wrong type or is out of range.
    pub(crate) fn read_beside(
        fields: &Fields<'_>,
        lease_request: Option<RawJson>,
        lease_constraints: Option<RawJson>,
    ) -> Result<Self, WireFault> {
        let key = fields.string("idempotency_key", 1..=KEY_BYTES)?;
        if key.as_deref().is_some_and(has_control) {
            let allowed = "a string of 1..=256 bytes without control characters";
            return Err(FieldError::wrong("idempotency_key", allowed).into());
        }
        Ok(Self {
            agent: fields.required_string("agent", 1..=AGENT_BYTES)?.into(),
            input: opaque(fields, "input").unwrap_or_else(RawJson::null),
            lease_request,
            lease_constraints,
            idempotency_key: key.map(Into::into),
            max_runtime_sec: fields.u64("max_runtime_sec", 1..=MAX_RUNTIME_SEC)?,
        })
    }

    /// Writes the members.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        out.str("agent", &self.agent).raw("input", self.input.as_str());
        write_raw(out, "lease_request", self.lease_request.as_ref());
        write_raw(out, "lease_constraints", self.lease_constraints.as_ref());
        out.optional_str("idempotency_key", self.idempotency_key.as_deref())
            .optional_u64("max_runtime_sec", self.max_runtime_sec);
    }
}

fn read_constraints(fields: &Fields<'_>) -> Result<Option<RawJson>, WireFault> {
    let Some(constraints) = raw_object(fields, "lease_constraints")? else { return Ok(None) };
    let mut any = false;
    for (name, value) in Fields::of(constraints.as_str()).iter() {
        if value != "null" {
            any = true;
            if name != "expires_at" {
                return Err(WireFault::new("`lease_constraints` may have no member but `expires_at`"));
            }
        }
    }
    Ok(any.then_some(constraints))
}

pub(super) fn write_raw(out: &mut ObjectWriter<'_>, name: &str, value: Option<&RawJson>) {
    if let Some(value) = value {
        out.raw(name, value.as_str());
    }
}

pub(super) fn write_job(out: &mut ObjectWriter<'_>, name: &str, job: Option<&JobId>) {
    out.optional_str(name, job.map(JobId::as_str));
}

impl Accepted {
    /// Reads `job.accepted`.
    ///
    /// # Errors
    /// An id is no id, or `lease`, `lease_constraints` or `budget` no object.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        Ok(Self {
            job_id: job_id(fields, "job_id")?,
            agent: tolerant_string(fields, "agent"),
            lease: raw_object(fields, "lease")?,
            lease_constraints: raw_object(fields, "lease_constraints")?,
            budget: raw_object(fields, "budget")?,
            credentials: read_credentials(fields),
            accepted_at: advisory_time(fields, "accepted_at"),
            trace_id: tolerant_string(fields, "trace_id"),
            request_id: tolerant_string(fields, "request_id"),
            reply_to: tolerant_string(fields, "reply_to"),
            parent_job_id: job_id(fields, "parent_job_id")?,
            delegate_id: tolerant_string(fields, "delegate_id"),
        })
    }

    /// Writes the members.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        write_job(out, "job_id", self.job_id.as_ref());
        out.optional_str("agent", self.agent.as_deref());
        write_raw(out, "lease", self.lease.as_ref());
        write_raw(out, "lease_constraints", self.lease_constraints.as_ref());
        write_raw(out, "budget", self.budget.as_ref());
        write_credentials(out, &self.credentials);
        write_time(out, "accepted_at", self.accepted_at);
        out.optional_str("trace_id", self.trace_id.as_deref())
            .optional_str("request_id", self.request_id.as_deref())
            .optional_str("reply_to", self.reply_to.as_deref());
        write_job(out, "parent_job_id", self.parent_job_id.as_ref());
        out.optional_str("delegate_id", self.delegate_id.as_deref());
    }
}

impl Cancel {
    /// Reads `job.cancel`.
    ///
    /// # Errors
    /// `job_id` is no id.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        Ok(Self { job_id: job_id(fields, "job_id")?, reason: advisory_text(fields, "reason") })
    }

    /// Writes the members. A reason is always sent.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        write_job(out, "job_id", self.job_id.as_ref());
        out.str("reason", self.reason.as_deref().unwrap_or(NO_REASON));
    }
}

impl Cancelled {
    /// Reads `job.cancelled`.
    ///
    /// # Errors
    /// `job_id` is no id.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        Ok(Self {
            job_id: job_id(fields, "job_id")?,
            reason: advisory_text(fields, "reason"),
            current_status: tolerant_string(fields, "current_status"),
            request_id: tolerant_string(fields, "request_id"),
            reply_to: tolerant_string(fields, "reply_to"),
        })
    }

    /// Writes the members. A reason is always sent.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        write_job(out, "job_id", self.job_id.as_ref());
        out.str("reason", self.reason.as_deref().unwrap_or(NO_REASON))
            .optional_str("current_status", self.current_status.as_deref())
            .optional_str("request_id", self.request_id.as_deref())
            .optional_str("reply_to", self.reply_to.as_deref());
    }
}

impl Subscribe {
    /// Reads `job.subscribe`.
    ///
    /// # Errors
    /// `job_id` is no id, `history` no boolean, or a start no integer of 0 to 2⁵³−1.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        Ok(Self {
            job_id: job_id(fields, "job_id")?,
            history: fields.boolean("history")?.unwrap_or(false),
            from_event_seq: fields.u64("from_event_seq", NUMBERS)?,
            from_pos: fields.u64("from_pos", NUMBERS)?,
        })
    }

    /// Writes the members.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        write_job(out, "job_id", self.job_id.as_ref());
        if self.history {
            out.bool("history", true);
        }
        out.optional_u64("from_event_seq", self.from_event_seq).optional_u64("from_pos", self.from_pos);
    }
}

impl Subscribed {
    /// Reads `job.subscribed`.
    ///
    /// # Errors
    /// An id is no id, `lease`, `lease_constraints` or `budget` no object, a number no number, or `replayed` neither a
    /// boolean nor a count.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        let replayed = match fields.present("replayed") {
            None => false,
            Some(replayed) => boolean_of(replayed)
                .or_else(|| u64_of(replayed).map(|count| count > 0))
                .ok_or_else(|| FieldError::wrong("replayed", "a boolean or a count"))?,
        };
        Ok(Self {
            request_id: tolerant_string(fields, "request_id"),
            reply_to: tolerant_string(fields, "reply_to"),
            job_id: job_id(fields, "job_id")?,
            current_status: tolerant_string(fields, "current_status"),
            agent: tolerant_string(fields, "agent"),
            lease: raw_object(fields, "lease")?,
            lease_constraints: raw_object(fields, "lease_constraints")?,
            budget: raw_object(fields, "budget")?,
            credentials: read_credentials(fields),
            parent_job_id: job_id(fields, "parent_job_id")?,
            trace_id: tolerant_string(fields, "trace_id"),
            subscribed_from: fields.u64("subscribed_from", NUMBERS)?,
            replayed,
            history_from: fields.u64("history_from", NUMBERS)?,
        })
    }

    /// Writes the members.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        out.optional_str("request_id", self.request_id.as_deref())
            .optional_str("reply_to", self.reply_to.as_deref());
        write_job(out, "job_id", self.job_id.as_ref());
        out.optional_str("current_status", self.current_status.as_deref())
            .optional_str("agent", self.agent.as_deref());
        write_raw(out, "lease", self.lease.as_ref());
        write_raw(out, "lease_constraints", self.lease_constraints.as_ref());
        write_raw(out, "budget", self.budget.as_ref());
        write_credentials(out, &self.credentials);
        write_job(out, "parent_job_id", self.parent_job_id.as_ref());
        out.optional_str("trace_id", self.trace_id.as_deref())
            .optional_u64("subscribed_from", self.subscribed_from)
            .bool("replayed", self.replayed)
            .optional_u64("history_from", self.history_from);
    }
}

impl Unsubscribe {
    /// Reads `job.unsubscribe`.
    ///
    /// # Errors
    /// `job_id` is no id.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        Ok(Self { job_id: job_id(fields, "job_id")? })
    }

    /// Writes the members.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        write_job(out, "job_id", self.job_id.as_ref());
    }
}
