//! One JSON object per line, for programs.

use std::io::{self, Write};

use arcp_driver::{
    Cancelled, Connected, ErrorPayload, EventBody, EventKind, Job, JobEntry, JobError, JobEvent, JobId,
    JobOutput, RawJson, Subscribed, UnixTime, Versions,
};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Writes a line and sees that it goes out.
fn say(object: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, object)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// As [`say`], with the type first.
pub(crate) fn say_as(name: &str, members: Value) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'a str,
        #[serde(flatten)]
        members: Value,
    }
    say(&Line { r#type: name, members })
}

/// A peer's JSON as it was sent, so that no number changes, and without line ends, which are only white space in it.
fn raw(json: &RawJson) -> io::Result<Box<RawValue>> {
    Ok(RawValue::from_string(json.as_str().replace(['\n', '\r'], " "))?)
}

/// The body of an event. What is printed is often kept, so the value of a new credential is left out.
fn body(kind: &EventKind, body: &RawJson) -> io::Result<Box<RawValue>> {
    match EventBody::read(kind, body) {
        Ok(EventBody::CredentialRotated { id, .. }) => {
            let shown = json!({ "phase": "credential_rotated", "id": id });
            Ok(serde_json::value::to_raw_value(&shown)?)
        }
        _ => raw(body),
    }
}

fn time(time: Option<UnixTime>) -> Option<String> {
    time.map(|time| String::from_utf8_lossy(&time.to_rfc3339()).into_owned())
}

/// The session stands.
pub(crate) fn connected(connected: &Connected) -> io::Result<()> {
    say_as(
        "connected",
        json!({
            "session_id": connected.session_id.as_str(),
            "resumed": connected.resumed,
            "runtime": { "name": connected.runtime_name, "version": connected.runtime_version },
        }),
    )
}

/// The connection is lost.
pub(crate) fn disconnected() -> io::Result<()> {
    say_as("disconnected", json!({}))
}

/// An attempt to connect failed.
pub(crate) fn connect_failed(why: &str) -> io::Result<()> {
    say_as("connect_failed", json!({ "message": why }))
}

/// Something the user should know.
pub(crate) fn notice(message: &str) -> io::Result<()> {
    say_as("notice", json!({ "message": message }))
}

/// The job is accepted.
pub(crate) fn accepted(job: &Job) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'a str,
        job_id: &'a str,
        agent: Option<&'a str>,
        accepted_at: Option<String>,
        trace_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent_job_id: Option<&'a str>,
        lease: Option<Box<RawValue>>,
        lease_constraints: Option<Box<RawValue>>,
        budget: Option<Box<RawValue>>,
    }
    let accepted = job.accepted();
    say(&Line {
        r#type: "accepted",
        job_id: job.id().as_str(),
        agent: accepted.agent.as_deref(),
        accepted_at: time(accepted.accepted_at),
        trace_id: accepted.trace_id.as_deref(),
        parent_job_id: accepted.parent_job_id.as_ref().map(JobId::as_str),
        lease: accepted.lease.as_ref().map(raw).transpose()?,
        lease_constraints: accepted.lease_constraints.as_ref().map(raw).transpose()?,
        budget: accepted.budget.as_ref().map(raw).transpose()?,
    })
}

/// The job is followed.
pub(crate) fn subscribed(job: &JobId, subscribed: &Subscribed) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'a str,
        job_id: &'a str,
        agent: Option<&'a str>,
        status: Option<&'a str>,
        trace_id: Option<&'a str>,
        parent_job_id: Option<&'a str>,
        lease: Option<Box<RawValue>>,
        lease_constraints: Option<Box<RawValue>>,
        budget: Option<Box<RawValue>>,
    }
    say(&Line {
        r#type: "subscribed",
        job_id: job.as_str(),
        agent: subscribed.agent.as_deref(),
        status: subscribed.current_status.as_deref(),
        trace_id: subscribed.trace_id.as_deref(),
        parent_job_id: subscribed.parent_job_id.as_ref().map(JobId::as_str),
        lease: subscribed.lease.as_ref().map(raw).transpose()?,
        lease_constraints: subscribed.lease_constraints.as_ref().map(raw).transpose()?,
        budget: subscribed.budget.as_ref().map(raw).transpose()?,
    })
}

/// An agent on offer.
pub(crate) fn agent(name: &str, versions: &Versions) -> io::Result<()> {
    say_as("agent", json!({ "name": name, "versions": versions.versions, "default": versions.default }))
}

/// The runtime has heard that the job is to be cancelled.
pub(crate) fn cancelled(job: &JobId, cancelled: &Cancelled) -> io::Result<()> {
    say_as(
        "cancelled",
        json!({
            "job_id": job.as_str(),
            "ended_before": cancelled.current_status,
        }),
    )
}

/// A job of a list.
pub(crate) fn job(entry: &JobEntry) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'a str,
        job_id: &'a str,
        agent: Option<&'a str>,
        status: Option<&'a str>,
        created_at: Option<String>,
        last_event_seq: Option<u64>,
        trace_id: Option<&'a str>,
        parent_job_id: Option<&'a str>,
        lease: Option<Box<RawValue>>,
        lease_constraints: Option<Box<RawValue>>,
    }
    say(&Line {
        r#type: "job",
        job_id: entry.job_id.as_str(),
        agent: entry.agent.as_deref(),
        status: entry.status.as_deref(),
        created_at: time(entry.created_at),
        last_event_seq: entry.last_event_seq,
        trace_id: entry.trace_id.as_deref(),
        parent_job_id: entry.parent_job_id.as_ref().map(JobId::as_str),
        lease: entry.lease.as_ref().map(raw).transpose()?,
        lease_constraints: entry.lease_constraints.as_ref().map(raw).transpose()?,
    })
}

/// Something happened in the job.
pub(crate) fn event(job: &JobId, event: &JobEvent) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'a str,
        job_id: &'a str,
        kind: &'a str,
        pos: Option<u64>,
        ts: Option<String>,
        body: Box<RawValue>,
    }
    say(&Line {
        r#type: "event",
        job_id: job.as_str(),
        kind: event.kind().as_str(),
        pos: event.position(),
        ts: time(event.time()),
        body: body(event.kind(), event.raw())?,
    })
}

/// The job has a result.
pub(crate) fn result(job: &JobId, output: &JobOutput) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'a str,
        job_id: &'a str,
        final_status: &'a str,
        /// `json`, `text` or `base64`: how to read `result`.
        encoding: &'a str,
        result: Box<RawValue>,
    }
    let (encoding, result) = match output {
        JobOutput::Value(value) => ("json", raw(value)?),
        JobOutput::Text(text) => ("text", serde_json::value::to_raw_value(&**text)?),
        JobOutput::Bytes(bytes) => ("base64", serde_json::value::to_raw_value(&base64(bytes))?),
    };
    say(&Line { r#type: "result", job_id: job.as_str(), final_status: "success", encoding, result })
}

/// The job succeeded, and its result cannot be had here.
pub(crate) fn success(job: &JobId, why: &str) -> io::Result<()> {
    say_as("success", json!({ "job_id": job.as_str(), "final_status": "success", "message": why }))
}

/// The job has no result.
pub(crate) fn failure(job: &JobId, error: &JobError) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'a str,
        job_id: &'a str,
        final_status: Option<&'a str>,
        code: Option<&'a str>,
        message: String,
        retryable: Option<bool>,
        details: Option<Box<RawValue>>,
    }
    let (status, payload): (_, Option<&ErrorPayload>) = match error {
        JobError::Failed { status, error } => (Some(status.as_str()), error.as_deref()),
        _ => (None, None),
    };
    say(&Line {
        r#type: "error",
        job_id: job.as_str(),
        final_status: status,
        code: payload.map(|payload| payload.code.as_str()),
        message: payload.map_or_else(|| crate::describe::job_error(error), |payload| payload.message.clone()),
        retryable: payload.map(ErrorPayload::is_retryable),
        details: payload.and_then(|payload| payload.details.as_ref()).map(raw).transpose()?,
    })
}

/// An event that cannot be had.
pub(crate) fn missing(job: &JobId, error: &JobError) -> io::Result<()> {
    let range = |from: &u64, to: &u64| json!({ "from": from, "to": to });
    let (numbers, positions) = match error {
        JobError::Lost { from, to } => (range(from, to), Value::Null),
        JobError::Missing { from, to } => (Value::Null, range(from, to)),
        _ => (Value::Null, Value::Null),
    };
    say_as(
        "missing",
        json!({
            "job_id": job.as_str(),
            "message": error.to_string(),
            "numbers": numbers,
            "positions": positions,
        }),
    )
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let wide =
            group.iter().fold(0_u32, |wide, byte| wide << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for index in 0..4 {
            let digit = (wide >> (18 - 6 * index)) & 63;
            // Six bits index the alphabet.
            let digit = usize::try_from(digit).map_or(b'=', |digit| ALPHABET[digit]);
            out.push(if index <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in table {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0x00]), "//4A");
    }

    #[test]
    fn the_value_of_a_credential_is_not_printed() {
        let shown = |text: &str| {
            let body = RawJson::parse(text.to_owned()).unwrap();
            super::body(&EventKind::Status, &body).unwrap().get().to_owned()
        };
        let rotated =
            r#"{"phase":"credential_rotated","id":"c1","value":"s","details":{"id":"c1","value":"s"}}"#;
        assert_eq!(shown(rotated), r#"{"id":"c1","phase":"credential_rotated"}"#);
        let other = r#"{"phase":"loading","details":{"value":"s"}}"#;
        assert_eq!(shown(other), other);
    }

    #[test]
    fn a_peers_json_stays_on_its_line_and_keeps_its_digits() {
        let pretty = RawJson::parse("{\r\n \"a\": 1.50000000000000000001\n}".to_owned()).unwrap();
        assert_eq!(raw(&pretty).unwrap().get(), "{   \"a\": 1.50000000000000000001 }");
    }
}
