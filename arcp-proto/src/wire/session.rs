//! Payloads of `session.*` messages (protocol §2).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::agent::Versions;
use crate::error::ErrorCode;
use crate::feature::Features;
use crate::id::{JobId, SessionId};
use crate::secret::Secret;
use crate::time::UnixTime;
use crate::wire::RawJson;
use crate::wire::error::WireFault;
use crate::wire::hello::{display, read_features, write_features};
use crate::wire::members::{NO_REASON, NUMBERS, advisory_text, advisory_time, any, job_id, tolerant_string};
use crate::wire::read::{FieldError, Fields, elements_of, string_of};
use crate::wire::write::ObjectWriter;

/// What a `session.hello` or `session.resume` says (protocol §2.1, §2.4).
#[derive(Debug, Clone)]
pub struct Hello {
    /// Display name, at most 256 bytes, never identity.
    pub client_name: Option<String>,
    /// Display version, at most 256 bytes.
    pub client_version: Option<String>,
    /// The credentials.
    pub auth: Auth,
    /// The offered features we know; `None` for a `session.resume` without `capabilities`, which offers what the
    /// session has (D-107).
    pub features: Option<Features>,
    /// What the hello asks to continue.
    pub resume: Option<ResumeRequest>,
}

/// Credentials as presented.
#[derive(Debug, Clone)]
pub enum Auth {
    /// A bearer token of 1 to 8 192 bytes.
    Bearer(Secret),
    /// The scheme `anonymous`.
    Anonymous,
    /// No auth object, no token, another scheme, a token out of range: refused in any case. Says which, in our words.
    Unusable(&'static str),
}

/// A request to continue a session, all accepted spellings brought together.
#[derive(Debug, Clone)]
pub struct ResumeRequest {
    /// The session, if named.
    pub session_id: Option<String>,
    /// The token, 1 to 256 bytes.
    pub token: Secret,
    /// The last number the client has; `None` means the last one it acknowledged (D-69). `-1` was read as 0.
    pub last_event_seq: Option<u64>,
}

/// `session.welcome` (protocol §2.2).
#[derive(Debug, Clone)]
pub struct Welcome {
    /// Display name of the runtime.
    pub runtime_name: Option<String>,
    /// Display version of the runtime.
    pub runtime_version: Option<String>,
    /// The session's id from the payload.
    pub session_id: Option<SessionId>,
    /// When the session was accepted or resumed.
    pub accepted_at: Option<UnixTime>,
    /// The token for the next resume; a session without one cannot be resumed.
    pub resume_token: Option<Secret>,
    /// Seconds for which a detached session lives, at least 1 when present.
    pub resume_window_sec: Option<u64>,
    /// Seconds; `None` where absent, null or 0.
    pub heartbeat_interval_sec: Option<u64>,
    /// The features the runtime announces.
    pub features: Features,
    /// The agents by name.
    pub agents: Vec<(String, Versions)>,
    /// The hello this answers.
    pub request_id: Option<String>,
}

/// `session.error`, and any other error a client reads (protocol §2.9).
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorPayload {
    /// The code as spelled by the peer.
    pub code: String,
    /// Its words; may be empty.
    pub message: String,
    /// As sent; missing: by the code.
    pub retryable: Option<bool>,
    /// Any JSON, if present and not null.
    pub details: Option<RawJson>,
    /// The request this answers.
    pub request_id: Option<String>,
    /// The same by its other name.
    pub reply_to: Option<String>,
    /// The job concerned.
    pub job_id: Option<JobId>,
}

/// The code and the peer's words, as they came: escape them before a terminal sees them.
impl fmt::Display for ErrorPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// `session.ping`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// 1 to 128 bytes, echoed in the pong.
    pub nonce: String,
    /// When it was sent; advisory.
    pub sent_at: Option<UnixTime>,
}

/// `session.pong`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pong {
    /// The nonce of the ping, if it can be read.
    pub ping_nonce: Option<String>,
    /// When the ping arrived; advisory.
    pub received_at: Option<UnixTime>,
}

/// `session.ack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// This number and all below were handed to the application; 0 to 2⁵³−1.
    pub last_processed_seq: u64,
}

/// `session.close`, `session.closed` and `session.bye`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Goodbye {
    /// For display, at most 1 024 bytes.
    pub reason: Option<String>,
}

/// Longest token of a foreign runtime that we keep, in bytes.
const TOKEN_BYTES: usize = 8_192;

impl Welcome {
    /// Reads the payload of a `session.welcome` of any known runtime.
    ///
    /// # Errors
    /// A member that is not for display has the wrong type.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        let runtime = fields.advisory_object("runtime").unwrap_or_default();
        let capabilities = fields.object("capabilities")?.unwrap_or_default();
        let seconds = |name| fields.u64(name, NUMBERS).map(|seconds| seconds.filter(|seconds| *seconds > 0));
        let token = fields.string("resume_token", 0..=TOKEN_BYTES)?;
        Ok(Self {
            runtime_name: display(&runtime, "name").or_else(|| display(fields, "runtime_name")),
            runtime_version: display(&runtime, "version").or_else(|| display(fields, "runtime_version")),
            session_id: fields.id("session_id")?.as_deref().and_then(SessionId::new),
            accepted_at: advisory_time(fields, "accepted_at"),
            resume_token: token.filter(|token| !token.is_empty()).map(Secret::new),
            resume_window_sec: seconds("resume_window_sec")?,
            heartbeat_interval_sec: seconds("heartbeat_interval_sec")?,
            features: read_features(&capabilities, usize::MAX)
                .ok_or_else(|| FieldError::wrong("capabilities.features", "an array of strings"))?,
            agents: read_agents(&capabilities)
                .ok_or_else(|| FieldError::wrong("capabilities.agents", "an array"))?,
            request_id: tolerant_string(fields, "request_id").or_else(|| tolerant_string(fields, "reply_to")),
        })
    }

    /// Writes the members, doubled where peers look for them in different places.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        let (name, version) = (self.runtime_name.as_deref(), self.runtime_version.as_deref());
        if name.is_some() || version.is_some() {
            out.object("runtime", |runtime| {
                runtime.optional_str("name", name).optional_str("version", version);
            });
        }
        out.optional_str("runtime_name", name)
            .optional_str("runtime_version", version)
            .optional_str("session_id", self.session_id.as_ref().map(SessionId::as_str));
        write_time(out, "accepted_at", self.accepted_at);
        out.optional_str("resume_token", self.resume_token.as_ref().map(Secret::expose))
            .optional_u64("resume_window_sec", self.resume_window_sec)
            .optional_u64("heartbeat_interval_sec", self.heartbeat_interval_sec)
            .optional_str("request_id", self.request_id.as_deref())
            .optional_str("reply_to", self.request_id.as_deref())
            .object("capabilities", |capabilities| {
                write_features(capabilities, self.features);
                capabilities.array("agents", |agents| {
                    for (name, versions) in &self.agents {
                        agents.object(|agent| {
                            agent
                                .str("name", name)
                                .strings("versions", versions.versions.iter().map(String::as_str))
                                .optional_str("default", versions.default.as_deref());
                        });
                    }
                });
            });
    }
}

/// Agents as strings, as objects with or without versions, or both mixed. Entries without a name are passed over.
/// `None` if the member is no array.
fn read_agents(capabilities: &Fields<'_>) -> Option<Vec<(String, Versions)>> {
    let Some(agents) = capabilities.present("agents") else { return Some(Vec::new()) };
    let agents = elements_of(agents)?.filter_map(|agent| {
        if let Some(name) = string_of(agent) {
            return Some((name.into(), Versions::default()));
        }
        let agent = agent.starts_with('{').then(|| Fields::of(agent))?;
        let name = agent.advisory_string("name")?;
        let versions = agent.present("versions").and_then(elements_of);
        let versions = versions.into_iter().flatten().filter_map(string_of).map(Into::into).collect();
        Some((name.into(), Versions { versions, default: tolerant_string(&agent, "default") }))
    });
    Some(agents.collect())
}

/// A timestamp, if there is one.
pub(super) fn write_time(out: &mut ObjectWriter<'_>, name: &str, time: Option<UnixTime>) {
    if let Some(time) = time {
        // Digits and punctuation are ASCII, so this cannot fail.
        out.str(name, core::str::from_utf8(&time.to_rfc3339()).unwrap_or_default());
    }
}

impl ErrorPayload {
    /// Reads `session.error`, or the error in a terminal. Nothing but `code` and `job_id` can be wrong.
    ///
    /// # Errors
    /// `code` is no string or `job_id` no id.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        let code = fields.string("code", 0..=usize::MAX)?.filter(|code| !code.is_empty());
        Ok(Self {
            code: code.map_or_else(|| ErrorCode::InternalError.as_str().to_string(), Into::into),
            message: advisory_text(fields, "message").unwrap_or_default(),
            retryable: fields.boolean("retryable").ok().flatten(),
            details: any(fields, "details"),
            request_id: tolerant_string(fields, "request_id"),
            reply_to: tolerant_string(fields, "reply_to"),
            job_id: job_id(fields, "job_id")?,
        })
    }

    /// Writes the members. An empty message is replaced by the code, a missing flag by the code's own.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        self.write_error(out);
        out.optional_str("request_id", self.request_id.as_deref())
            .optional_str("reply_to", self.reply_to.as_deref())
            .optional_str("job_id", self.job_id.as_ref().map(JobId::as_str));
    }

    /// `code`, `message`, `retryable` and `details`.
    pub(super) fn write_error(&self, out: &mut ObjectWriter<'_>) {
        out.str("code", &self.code)
            .str("message", if self.message.is_empty() { &self.code } else { &self.message })
            .bool("retryable", self.is_retryable());
        if let Some(details) = &self.details {
            out.raw("details", details.as_str());
        }
    }

    /// The code; an unknown one has the meaning of `INTERNAL_ERROR` (protocol §8).
    #[must_use]
    pub fn known_code(&self) -> ErrorCode {
        ErrorCode::parse(&self.code).unwrap_or(ErrorCode::InternalError)
    }

    /// The flag as sent, else the code's own.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retryable.unwrap_or_else(|| self.known_code().is_retryable())
    }

    /// `details.reason`, if it is there and a string.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.detail("reason")
    }

    /// The string `name` of `details`, if it is there.
    #[must_use]
    pub fn detail(&self, name: &str) -> Option<String> {
        let details = self.details.as_ref()?.as_str();
        tolerant_string(&details.starts_with('{').then(|| Fields::of(details))?, name)
    }
}

impl Ping {
    /// Reads `session.ping`.
    ///
    /// # Errors
    /// `nonce` is no string of 1 to 128 bytes.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        Ok(Self {
            nonce: fields.required_string("nonce", 1..=128)?.into(),
            sent_at: advisory_time(fields, "sent_at"),
        })
    }

    /// Writes the members.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        out.str("nonce", &self.nonce);
        write_time(out, "sent_at", self.sent_at);
    }
}

impl Pong {
    /// Reads `session.pong`, which cannot be wrong: without a usable nonce it is just a frame (protocol §2.5).
    ///
    /// # Errors
    /// None.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        Ok(Self {
            ping_nonce: tolerant_string(fields, "ping_nonce")
                .filter(|nonce| (1..=128).contains(&nonce.len())),
            received_at: advisory_time(fields, "received_at"),
        })
    }

    /// Writes the members.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        out.optional_str("ping_nonce", self.ping_nonce.as_deref());
        write_time(out, "received_at", self.received_at);
    }
}

impl Ack {
    /// Reads `session.ack`.
    ///
    /// # Errors
    /// `last_processed_seq` is no integer of 0 to 2⁵³−1.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        Ok(Self { last_processed_seq: fields.required_u64("last_processed_seq", NUMBERS)? })
    }

    /// Writes the members.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        out.u64("last_processed_seq", self.last_processed_seq);
    }
}

impl Goodbye {
    /// Reads `session.close`, `session.closed` or `session.bye`, which cannot be wrong.
    ///
    /// # Errors
    /// None.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        Ok(Self { reason: advisory_text(fields, "reason") })
    }

    /// Writes the members. A reason is always sent.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        out.str("reason", self.reason.as_deref().unwrap_or(NO_REASON));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::object_text;

    #[test]
    fn either_name_of_a_runtime_is_written() {
        for runtime in [r#"{"name":"n"}"#, r#"{"version":"1"}"#, r#"{"name":"n","version":"1"}"#, "{}"] {
            let text = alloc::format!(r#"{{"runtime":{runtime}}}"#);
            let read = Welcome::read(&Fields::of(&text)).unwrap();
            let written = object_text(|out| read.write(out));
            assert_eq!(Fields::of(&written).present("runtime").unwrap_or("{}"), runtime);
        }
    }

    #[test]
    fn an_error_shows_its_code_and_its_words() {
        let shown = |text| alloc::format!("{}", ErrorPayload::read(&Fields::of(text)).unwrap());
        assert_eq!(shown(r#"{"code":"TIMEOUT","message":"too late"}"#), "TIMEOUT: too late");
        assert_eq!(shown(r#"{"code":"TIMEOUT"}"#), "TIMEOUT");
    }
}
