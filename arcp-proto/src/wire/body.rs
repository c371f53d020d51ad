//! Events as a client reads them: every accepted spelling brought together (protocol §4.3).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::error::ErrorCode;
use crate::id::JobId;
use crate::secret::Secret;
use crate::wire::RawJson;
use crate::wire::error::WireFault;
use crate::wire::event::{ChunkEncoding, EventKind, EventPayload, LogLevel};
use crate::wire::members::{
    NUMBERS, advisory_time, any, job_id, opaque, raw, raw_object, tolerant_number, tolerant_string,
};
use crate::wire::number::NumberText;
use crate::wire::read::{FieldError, Fields, Lexeme, lexeme_of, string_of};
use crate::wire::session::write_time;
use crate::wire::write::{ObjectWriter, object_text};

/// An event that is not what its kind must be. It has consumed its number all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event cannot be read: {0}")]
pub struct Unreadable(#[from] WireFault);

impl From<FieldError> for Unreadable {
    fn from(error: FieldError) -> Self {
        Self(error.into())
    }
}

impl EventPayload {
    /// Reads the payload of a `job.event`, not yet its body.
    ///
    /// # Errors
    /// `kind` is no id.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        Ok(Self {
            kind: EventKind::parse(&fields.required_id("kind")?),
            ts: advisory_time(fields, "ts"),
            pos: tolerant_number(fields, "pos"),
            body: any(fields, "body").unwrap_or_else(RawJson::empty_object),
        })
    }

    /// Writes the members.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        out.str("kind", self.kind.as_str());
        write_time(out, "ts", self.ts);
        out.optional_u64("pos", self.pos).raw("body", self.body.as_str());
    }

    /// Whether it says that a credential was rotated (protocol §5.9): its body may hold a secret.
    #[must_use]
    pub fn is_rotation(&self) -> bool {
        self.kind == EventKind::Status
            && self.body.as_str().starts_with('{')
            && Fields::of(self.body.as_str()).advisory_string("phase").as_deref() == Some(ROTATION)
    }
}

impl fmt::Debug for EventPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("EventPayload");
        out.field("kind", &self.kind).field("ts", &self.ts).field("pos", &self.pos);
        // The body of a rotation holds the new secret.
        if self.is_rotation() { out.field("body", &"…") } else { out.field("body", &self.body) }.finish()
    }
}

pub(super) const ROTATION: &str = "credential_rotated";

/// The body of an event.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventBody {
    /// A log line.
    Log {
        /// Its level; one we do not know was read as [`LogLevel::Info`].
        level: LogLevel,
        /// The line; may be empty.
        message: String,
        /// More about it, as sent.
        attributes: Option<RawJson>,
    },
    /// What the agent thinks.
    Thought {
        /// The thought; may be empty.
        text: String,
    },
    /// A tool is called.
    ToolCall {
        /// The tool's name; may be empty.
        tool: String,
        /// Any JSON.
        args: RawJson,
        /// Ties call and result together.
        call_id: Option<String>,
    },
    /// A tool returned.
    ToolResult {
        /// Ties call and result together.
        call_id: Option<String>,
        /// What it returned, `null` for nothing, or why it failed.
        result: Result<RawJson, ToolFailure>,
    },
    /// The job's phase.
    Status {
        /// The phase; may be empty.
        phase: String,
        /// For people.
        message: Option<String>,
        /// Any JSON; members that stood beside `phase` are brought together in an object.
        details: Option<RawJson>,
    },
    /// A credential was replaced (protocol §5.9).
    CredentialRotated {
        /// Which one.
        id: Option<String>,
        /// Its new value, where this client may have it.
        value: Option<Secret>,
    },
    /// A number.
    Metric {
        /// What it measures; may be empty.
        name: String,
        /// The number.
        value: NumberText,
        /// Its unit; of a cost, the currency.
        unit: Option<String>,
        /// By name; values that are no strings as their JSON text.
        dimensions: Vec<(String, String)>,
    },
    /// Something stored elsewhere.
    ArtifactRef {
        /// Where.
        uri: Option<String>,
        /// Its id, where the runtime gives one.
        artifact_id: Option<String>,
        /// What it is.
        content_type: Option<String>,
        /// How large it is.
        byte_size: Option<u64>,
        /// Its hash, 64 hex digits.
        sha256: Option<String>,
    },
    /// A child job.
    Delegate {
        /// The delegation.
        delegate_id: Option<String>,
        /// The child, if named.
        child_job_id: Option<JobId>,
        /// The agent as asked for; may be empty.
        agent: String,
        /// The child's input.
        input: Option<RawJson>,
        /// The lease asked for, or the one given, an object.
        lease: Option<RawJson>,
        /// Its constraints, an object.
        lease_constraints: Option<RawJson>,
    },
    /// How far the job is.
    Progress {
        /// At least 0, and possibly above `total`.
        current: NumberText,
        /// The end, if known.
        total: Option<NumberText>,
        /// What is counted.
        units: Option<String>,
        /// For people.
        message: Option<String>,
    },
    /// A piece of a streamed result.
    ResultChunk(ResultChunk),
    /// A body that was too large for this connection (D-99).
    Omitted {
        /// Its size.
        bytes: u64,
    },
    /// The body of a vendor's or unknown kind, as sent.
    Other(RawJson),
}

/// Why a tool failed, as a client reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolFailure {
    /// The code as spelled by the peer.
    pub code: String,
    /// For people; may be empty.
    pub message: String,
    /// The flag as sent, else that of the code.
    pub retryable: bool,
    /// Any JSON.
    pub details: Option<RawJson>,
}

/// A piece of a streamed result, as a client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultChunk {
    /// The result it belongs to.
    pub result_id: String,
    /// 0, 1, 2, …
    pub chunk_seq: u64,
    /// The data, not yet decoded.
    pub data: String,
    /// How the data is spelled.
    pub encoding: ChunkEncoding,
    /// Whether more follow; a runtime that does not say is taken to have more.
    pub more: bool,
}

impl EventBody {
    /// Reads the body of an event of this kind.
    ///
    /// # Errors
    /// The body of a known kind is no object, or a member has the wrong type or is missing where nothing can stand
    /// for it.
    pub fn read(kind: &EventKind, body: &RawJson) -> Result<Self, Unreadable> {
        if matches!(kind, EventKind::Other(_)) {
            return Ok(Self::Other(body.clone()));
        }
        let text = body.as_str().trim_ascii();
        if !text.starts_with('{') {
            return Err(FieldError::wrong("body", "an object").into());
        }
        let fields = &Fields::of(text);
        if fields.len() == 1
            && let Some(bytes) = tolerant_number(fields, "omitted_bytes")
        {
            return Ok(Self::Omitted { bytes });
        }
        match kind {
            EventKind::Log => Ok(Self::Log {
                level: level(&optional(fields, "level")?.unwrap_or_default()),
                message: optional(fields, "message")?.unwrap_or_default(),
                attributes: any(fields, "attributes").or_else(|| any(fields, "fields")),
            }),
            EventKind::Thought => Ok(Self::Thought { text: optional(fields, "text")?.unwrap_or_default() }),
            EventKind::ToolCall => Ok(Self::ToolCall {
                tool: either(fields, "tool", "name")?.unwrap_or_default(),
                args: opaque(fields, "args")
                    .or_else(|| opaque(fields, "arguments"))
                    .unwrap_or_else(RawJson::empty_object),
                call_id: either(fields, "call_id", "tool_call_id")?,
            }),
            EventKind::ToolResult => Ok(Self::ToolResult {
                call_id: either(fields, "call_id", "tool_call_id")?,
                result: tool_result(fields)?,
            }),
            EventKind::Status => status(fields),
            EventKind::Metric => metric(fields),
            EventKind::ArtifactRef => Ok(Self::ArtifactRef {
                uri: optional(fields, "uri")?,
                artifact_id: optional(fields, "artifact_id")?,
                content_type: either(fields, "content_type", "media_type")?,
                byte_size: match fields.u64("byte_size", NUMBERS)? {
                    None => fields.u64("size_bytes", NUMBERS)?,
                    size => size,
                },
                sha256: optional(fields, "sha256")?,
            }),
            EventKind::Delegate => Ok(Self::Delegate {
                delegate_id: optional(fields, "delegate_id")?,
                child_job_id: job_id(fields, "child_job_id")?,
                agent: optional(fields, "agent")?.unwrap_or_default(),
                input: opaque(fields, "input"),
                lease: match raw_object(fields, "lease_request")? {
                    None => raw_object(fields, "lease")?,
                    lease => lease,
                },
                lease_constraints: raw_object(fields, "lease_constraints")?,
            }),
            EventKind::Progress => progress(fields),
            EventKind::ResultChunk => ResultChunk::read(fields).map(Self::ResultChunk),
            EventKind::Other(_) => Ok(Self::Other(body.clone())),
        }
    }
}

/// A string of any length.
fn optional(fields: &Fields<'_>, name: &'static str) -> Result<Option<String>, FieldError> {
    Ok(fields.string(name, 0..=usize::MAX)?.map(Into::into))
}

/// A string by its first name, else by its second.
fn either(
    fields: &Fields<'_>,
    first: &'static str,
    second: &'static str,
) -> Result<Option<String>, FieldError> {
    match optional(fields, first)? {
        None => optional(fields, second),
        found => Ok(found),
    }
}

fn level(text: &str) -> LogLevel {
    match text.to_ascii_lowercase().as_str() {
        "trace" => LogLevel::Trace,
        "debug" => LogLevel::Debug,
        "warn" | "warning" => LogLevel::Warn,
        "error" | "critical" | "fatal" => LogLevel::Error,
        _ => LogLevel::Info,
    }
}

fn tool_result(fields: &Fields<'_>) -> Result<Result<RawJson, ToolFailure>, Unreadable> {
    let Some(error) = fields.present("error") else {
        let result = opaque(fields, "result").or_else(|| opaque(fields, "output"));
        return Ok(Ok(result.unwrap_or_else(RawJson::null)));
    };
    let internal = || ErrorCode::InternalError.as_str().to_string();
    let (code, message, retryable, details) = if let Some(message) = string_of(error) {
        (internal(), message.into(), None, None)
    } else if error.starts_with('{') {
        let error = Fields::of(error);
        (
            tolerant_string(&error, "code").unwrap_or_else(internal),
            tolerant_string(&error, "message").unwrap_or_default(),
            error.boolean("retryable").ok().flatten(),
            any(&error, "details"),
        )
    } else {
        return Err(FieldError::wrong("error", "an object").into());
    };
    let own = ErrorCode::parse(&code).unwrap_or(ErrorCode::InternalError).is_retryable();
    Ok(Err(ToolFailure { code, message, retryable: retryable.unwrap_or(own), details }))
}

fn status(fields: &Fields<'_>) -> Result<EventBody, Unreadable> {
    let phase = optional(fields, "phase")?.unwrap_or_default();
    let more = any(fields, "details").or_else(|| any(fields, "fields"));
    if phase == ROTATION {
        let inner = more.as_ref().filter(|more| more.as_str().starts_with('{'));
        let inner = inner.map(|more| Fields::of(more.as_str())).unwrap_or_default();
        let find = |name| tolerant_string(fields, name).or_else(|| tolerant_string(&inner, name));
        return Ok(EventBody::CredentialRotated {
            id: find("id").or_else(|| tolerant_string(fields, "message")),
            value: find("value").map(Secret::new),
        });
    }
    Ok(EventBody::Status {
        phase,
        message: optional(fields, "message")?,
        details: more.or_else(|| {
            let extra = |name: &str| !matches!(name, "phase" | "message" | "details" | "fields");
            if !fields.iter().any(|(name, _)| extra(&name)) {
                return None;
            }
            Some(raw(&object_text(|out| {
                for (name, value) in fields.iter().filter(|(name, _)| extra(name)) {
                    out.raw(&name, value);
                }
            })))
        }),
    })
}

fn metric(fields: &Fields<'_>) -> Result<EventBody, Unreadable> {
    let value = match fields.present("value").and_then(lexeme_of) {
        Some(Lexeme::Number(text)) => NumberText::parse(text),
        Some(Lexeme::String(text)) => NumberText::parse(&text),
        None => None,
    };
    let maps = ["dimensions", "dims", "attributes"];
    let map = maps.iter().find_map(|name| fields.advisory_object(name)).unwrap_or_default();
    let text = |value| string_of(value).unwrap_or_else(|| value.into()).into();
    Ok(EventBody::Metric {
        name: optional(fields, "name")?.unwrap_or_default(),
        value: value.ok_or_else(|| FieldError::wrong("value", "a number"))?,
        unit: optional(fields, "unit")?,
        dimensions: map.iter().map(|(name, value)| (name.into(), text(value))).collect(),
    })
}

fn progress(fields: &Fields<'_>) -> Result<EventBody, Unreadable> {
    let number = |name| match fields.present(name).map(NumberText::parse) {
        None => Ok(None),
        Some(Some(number)) if !number.is_negative() => Ok(Some(number)),
        Some(_) => Err(FieldError::wrong(name, "a number of at least 0")),
    };
    Ok(EventBody::Progress {
        current: number("current")?
            .ok_or_else(|| FieldError::missing("current", "a number of at least 0"))?,
        total: number("total")?,
        units: optional(fields, "units")?,
        message: optional(fields, "message")?,
    })
}

impl ResultChunk {
    fn read(fields: &Fields<'_>) -> Result<Self, Unreadable> {
        let encoding = match optional(fields, "encoding")? {
            None => Some(ChunkEncoding::Utf8),
            Some(encoding) => ChunkEncoding::parse(&encoding),
        };
        Ok(Self {
            result_id: fields.required_id("result_id")?.into(),
            chunk_seq: fields.required_u64("chunk_seq", NUMBERS)?,
            data: fields.required_string("data", 0..=usize::MAX)?.into(),
            encoding: encoding.ok_or_else(|| FieldError::wrong("encoding", "\"utf8\" or \"base64\""))?,
            more: fields.boolean("more")?.unwrap_or(true),
        })
    }
}

#[cfg(test)]
mod tests;
