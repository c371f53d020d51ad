//! Errors on their way to a peer (protocol §2.9, §3.8), and how a payload that cannot be used becomes one.

use alloc::borrow::Cow;
use alloc::string::String;

use crate::error::{Details, ErrorCode, WireError};
use crate::wire::RawJson;
use crate::wire::job::FinalStatus;
use crate::wire::read::FieldError;
use crate::wire::sink::{Count, Sink};

/// A payload that breaks the rules of its type. At a runtime it is answered with `INVALID_REQUEST`; at a client the
/// frame is dropped (protocol §1.3, §1.4).
///
/// The text names the member and what is allowed. It holds nothing of what the peer sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WireFault {
    message: Cow<'static, str>,
}

impl WireFault {
    /// A fault with these words of our own.
    #[must_use]
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into() }
    }

    /// The words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<WireFault> for WireError {
    fn from(fault: WireFault) -> Self {
        Self::new(ErrorCode::InvalidRequest, fault.message)
    }
}

impl From<FieldError> for WireFault {
    fn from(error: FieldError) -> Self {
        Self::new(alloc::format!("{error}"))
    }
}

impl WireError {
    /// Appends the payload of the `session.error` that says this: a JSON object.
    ///
    /// `request_id` is the envelope id of the request it answers, which goes out as `request_id` and `reply_to`
    /// (D-20); without one it announces the close that follows. `job_id` is the job that request named.
    pub fn write_payload(&self, out: &mut String, request_id: Option<&str>, job_id: Option<&str>) {
        let mut count = Count::default();
        self.put_payload(&mut count, request_id, job_id);
        out.reserve(count.0);
        self.put_payload(out, request_id, job_id);
    }

    /// Appends the payload of a `job.error` that refuses the request `request_id`: a JSON object (protocol §3.8).
    pub(crate) fn write_rejection(&self, out: &mut String, request_id: &str) {
        out.push_str("{\"final_status\":\"");
        out.push_str(FinalStatus::of(self.code).as_str());
        out.push_str("\",");
        put_error(out, self);
        put_details(out, &self.details);
        put_request(out, request_id);
        out.push('}');
    }

    fn put_payload(&self, out: &mut impl Sink, request_id: Option<&str>, job_id: Option<&str>) {
        out.raw("{");
        put_error(out, self);
        put_details(out, &self.details);
        if let Some(id) = request_id {
            put_request(out, id);
        }
        if let Some(id) = job_id {
            out.raw(",\"job_id\":\"");
            out.escaped(id);
            out.raw("\"");
        }
        out.raw("}");
    }
}

/// `,"request_id":…,"reply_to":…`.
fn put_request(out: &mut impl Sink, id: &str) {
    out.raw(",\"request_id\":\"");
    out.escaped(id);
    out.raw("\",\"reply_to\":\"");
    out.escaped(id);
    out.raw("\"");
}

/// `code`, `message` and `retryable`, without braces.
pub(super) fn put_error(out: &mut impl Sink, error: &WireError) {
    out.raw("\"code\":\"");
    out.raw(error.code.as_str());
    out.raw("\",\"message\":\"");
    // A message is never empty on the wire; the code says at least what happened.
    out.escaped(if error.message.is_empty() { error.code.as_str() } else { &error.message });
    out.raw("\",\"retryable\":");
    out.raw(if error.code.is_retryable() { "true" } else { "false" });
}

/// `,"details":{…}`, or nothing where there are none.
pub(super) fn put_details(out: &mut impl Sink, details: &Details) {
    if let Details::Raw(raw) = details {
        if !matches!(raw.as_str(), "{}" | "null") {
            out.raw(",\"details\":");
            out.json(raw);
        }
        return;
    }
    let Some((name, text)) = details.member() else { return };
    out.raw(",\"details\":{\"");
    out.raw(name);
    out.raw("\":\"");
    out.escaped(text);
    out.raw("\"}");
}

impl Details {
    /// The object that `details` is; `None` if it is absent.
    #[must_use]
    pub fn to_json(&self) -> Option<RawJson> {
        let mut text = String::new();
        put_details(&mut text, self);
        let object = text.strip_prefix(",\"details\":")?;
        Some(RawJson::from_validated(object.as_bytes().to_vec().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Limit;
    use alloc::string::ToString;

    fn payload(error: &WireError, request_id: Option<&str>, job_id: Option<&str>) -> String {
        let mut out = String::new();
        error.write_payload(&mut out, request_id, job_id);
        out
    }

    #[test]
    fn errors_say_what_they_answer() {
        let error = WireError::limit(Limit::Jobs, "too many unfinished jobs");
        assert_eq!(
            payload(&error, Some("m\"1"), Some("job_1")),
            "{\"code\":\"INTERNAL_ERROR\",\"message\":\"too many unfinished jobs\",\"retryable\":true,\
             \"details\":{\"limit\":\"jobs\"},\"request_id\":\"m\\\"1\",\"reply_to\":\"m\\\"1\",\"job_id\":\"job_1\"}"
        );
        assert_eq!(
            payload(&WireError::new(ErrorCode::HeartbeatLost, ""), None, None),
            "{\"code\":\"HEARTBEAT_LOST\",\"message\":\"HEARTBEAT_LOST\",\"retryable\":true}"
        );
    }

    #[test]
    fn every_kind_of_details_has_its_member() {
        for (details, text) in [
            (Details::None, ""),
            (Details::Reason("resume".into()), r#"{"reason":"resume"}"#),
            (Details::Feature("ack".into()), r#"{"feature":"ack"}"#),
            (Details::Type("a\nb".to_string()), r#"{"type":"a\nb"}"#),
            (Details::Dialect("rfc-0001".into()), r#"{"dialect":"rfc-0001"}"#),
            (Details::ExistingJob("job_1".to_string()), r#"{"existing_job_id":"job_1"}"#),
            (Details::AgentCode("EMPTY".to_string()), r#"{"agent_code":"EMPTY"}"#),
            (Details::Raw(RawJson::empty_object()), ""),
            (Details::Raw(RawJson::parse("{\"a\":1}").expect("JSON")), r#"{"a":1}"#),
        ] {
            let error = WireError::invalid("x").with(details);
            let payload = payload(&error, None, None);
            let found = payload.split_once(",\"details\":").map_or("", |(_, rest)| &rest[..rest.len() - 1]);
            assert_eq!(found, text);
            let object = error.details.to_json();
            assert_eq!(object.as_ref().map_or("", RawJson::as_str), text);
        }
    }

    #[test]
    fn faults_become_invalid_requests() {
        let fault = WireFault::from(FieldError::missing("nonce", "a string"));
        assert_eq!(fault.message(), "`nonce` is required and must be a string");
        let error = WireError::from(fault);
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert_eq!(error.message, "`nonce` is required and must be a string");
    }
}
