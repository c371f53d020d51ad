//! Events, results and errors in words for people. Everything a peer wrote is escaped here.

use std::collections::BTreeMap;
use std::fmt::Write;

use arcp_driver::{ApiMisuse, EventKind, JobId, RawJson, RequestError};
use arcp_driver::{ClientError, Connected, EventBody, GrantedLease, JobError, JobEvent, JobOutput, LogLevel};
use arcp_proto::wire::body::Unreadable;
use arcp_proto::wire::event::ChunkEncoding;

use crate::denial::Denial;
use crate::text::{count, escape, shortened};
use crate::timeline::Tone;

/// The metric by which a runtime says what is left of a budget (protocol §5.6).
pub(crate) const REMAINING: &str = "cost.budget.remaining";

/// How many characters of a chunk, or of a child's result, are shown.
const PREVIEW: usize = 44;

/// What a line of the timeline says of an event.
pub(crate) struct Described {
    pub(crate) tone: Tone,
    pub(crate) label: String,
    pub(crate) text: String,
}

/// An event in words.
pub(crate) fn event(event: &JobEvent) -> Described {
    body(event.kind(), event.body())
}

/// The body of an event in words.
pub(crate) fn body(kind: &EventKind, body: Result<EventBody, Unreadable>) -> Described {
    let (tone, text) = match &body {
        Ok(body) => words(body),
        Err(why) => (Tone::Bad, why.to_string()),
    };
    let label = match (kind, &body) {
        (_, Ok(EventBody::ToolResult { result: Err(failure), .. })) => {
            if Denial::of(failure).is_some() {
                "denied"
            } else {
                "failed"
            }
        }
        (_, Ok(EventBody::Metric { name, .. })) if name == REMAINING => "budget",
        (EventKind::ResultChunk, _) => "chunk",
        (EventKind::ArtifactRef, _) => "artifact",
        (EventKind::ToolCall, _) => "tool",
        (EventKind::ToolResult, _) => "result",
        (kind, _) => kind.as_str(),
    };
    Described { tone, label: escape(label), text: escape(&text) }
}

fn words(body: &EventBody) -> (Tone, String) {
    match body {
        EventBody::Log { level, message, attributes } => {
            let mut text = format!("{:<5}  {message}", level.as_str());
            append(&mut text, attributes.as_ref().map(RawJson::as_str));
            (log_tone(*level), text)
        }
        EventBody::Thought { text } => (Tone::Dim, text.clone()),
        EventBody::ToolCall { tool, args, .. } => (Tone::Calm, format!("{tool} {}", args.as_str())),
        EventBody::ToolResult { result: Ok(value), .. } => (Tone::Calm, value.as_str().to_owned()),
        EventBody::ToolResult { result: Err(failure), .. } => {
            let denied = Denial::of(failure).map(|denied| denied.words());
            (Tone::Bad, denied.unwrap_or_else(|| format!("{}: {}", failure.code, failure.message)))
        }
        EventBody::Status { phase, message, details } => {
            let mut text = phase.clone();
            append(&mut text, message.as_deref());
            append(&mut text, details.as_ref().map(RawJson::as_str));
            (Tone::Calm, text)
        }
        EventBody::CredentialRotated { id, .. } => {
            (Tone::Calm, format!("credential {} was replaced", id.as_deref().unwrap_or("without id")))
        }
        EventBody::Metric { name, value, unit, .. } if name == REMAINING => {
            let tone = if value.to_f64() > 0.0 { Tone::Odd } else { Tone::Bad };
            (
                tone,
                format!(
                    "{} {} left",
                    value.as_str(),
                    unit.as_deref().unwrap_or("of a currency without a name")
                ),
            )
        }
        EventBody::Metric { name, value, unit, dimensions } => {
            let mut text = format!("{name} = {}", value.as_str());
            if let Some(unit) = unit {
                // Writing to a string cannot fail.
                let _ = write!(text, " {unit}");
            }
            for (name, value) in dimensions {
                let _ = write!(text, "  {name}={value}");
            }
            (Tone::Odd, text)
        }
        EventBody::ArtifactRef { uri, artifact_id, content_type, byte_size, .. } => {
            let mut text = uri.as_deref().or(artifact_id.as_deref()).unwrap_or("without address").to_owned();
            append(&mut text, content_type.as_deref());
            append(&mut text, byte_size.map(|bytes| count(bytes, "byte")).as_deref());
            (Tone::Data, text)
        }
        EventBody::Delegate { agent, child_job_id, lease, .. } => {
            let mut text = agent.clone();
            append(&mut text, child_job_id.as_ref().map(JobId::as_str));
            append(&mut text, lease.as_ref().map(patterns).as_deref());
            (Tone::Calm, text)
        }
        EventBody::Progress { current, total, units, message } => {
            let mut text = current.as_str().to_owned();
            if let Some(total) = total {
                let _ = write!(text, " of {}", total.as_str());
            }
            if let Some(units) = units {
                let _ = write!(text, " {units}");
            }
            append(&mut text, message.as_deref());
            (Tone::Progress, text)
        }
        EventBody::ResultChunk(chunk) => {
            let is_text = chunk.encoding == ChunkEncoding::Utf8;
            let bytes =
                if is_text { chunk.data.len() } else { chunk.data.trim_end_matches('=').len() * 3 / 4 };
            let size = count(u64::try_from(bytes).unwrap_or(u64::MAX), "byte");
            let mut text = format!("{}  {size}", chunk.chunk_seq);
            if is_text && !chunk.data.is_empty() {
                // One look at a chunk, not a copy of it: it may be large.
                let beginning = chunk.data.split_whitespace().take(PREVIEW).collect::<Vec<_>>().join(" ");
                let _ = write!(text, "  “{}”", shortened(&beginning, PREVIEW));
            }
            if !chunk.more {
                text.push_str(", the last");
            }
            (Tone::Data, text)
        }
        EventBody::Omitted { bytes } => {
            (Tone::Dim, format!("{}, too large for this connection", count(*bytes, "byte")))
        }
        EventBody::Other(body) => (Tone::Plain, body.as_str().to_owned()),
        _ => (Tone::Plain, String::new()),
    }
}

/// The patterns a lease consists of, as `--lease` takes them; the JSON where it is of another shape.
fn patterns(lease: &RawJson) -> String {
    let Ok(lease) = lease.decode::<BTreeMap<String, Vec<String>>>() else { return lease.as_str().to_owned() };
    let namespaces = lease.iter().map(|(name, patterns)| format!("{name}={}", patterns.join(" ")));
    namespaces.collect::<Vec<_>>().join(", ")
}

fn append(text: &mut String, more: Option<&str>) {
    if let Some(more) = more {
        if !text.is_empty() {
            text.push_str("  ");
        }
        text.push_str(more);
    }
}

const fn log_tone(level: LogLevel) -> Tone {
    match level {
        LogLevel::Trace | LogLevel::Debug => Tone::Dim,
        LogLevel::Info => Tone::Plain,
        LogLevel::Warn => Tone::Odd,
        LogLevel::Error => Tone::Bad,
    }
}

/// Whom we are connected to.
pub(crate) fn connected(connected: &Connected) -> String {
    let name = connected.runtime_name.as_deref().unwrap_or("a runtime without a name");
    let version = connected.runtime_version.as_deref().unwrap_or("");
    let runtime = escape(format!("{name} {version}").trim());
    let session = escape(connected.session_id.as_str());
    if connected.resumed {
        format!("resumed {session}")
    } else {
        format!("connected to {runtime}, {session}")
    }
}

/// What a job may do, for how much, and until when; `None` if nothing is said of it.
pub(crate) fn lease(lease: &GrantedLease) -> Option<String> {
    let patterns = lease
        .namespaces()
        .filter(|(name, _)| *name != "cost.budget")
        .map(|(name, patterns)| format!("{name} {}", patterns.join(" ")));
    let budgets = lease.budgets().map(|(currency, amount)| format!("{amount} {currency}"));
    let end = lease.expires_at().map(|time| format!("until {time}"));
    let parts: Vec<String> = patterns.chain(budgets).chain(end).map(|part| escape(&part)).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A result in one line: its beginning.
pub(crate) fn output(output: &JobOutput) -> String {
    let text = match output {
        JobOutput::Value(value) => value.as_str(),
        JobOutput::Text(text) => text,
        JobOutput::Bytes(bytes) => return count(u64::try_from(bytes.len()).unwrap_or(u64::MAX), "byte"),
    };
    escape(&shortened(text, PREVIEW))
}

/// Why a request failed.
pub(crate) fn client_error(error: &ClientError) -> String {
    match error {
        ClientError::Request(RequestError::Refused(refused)) => refused.to_string(),
        ClientError::Misuse(ApiMisuse::TooLarge { bytes, limit }) => {
            format!("the input is too large: the message takes {bytes} bytes, and the runtime reads {limit}")
        }
        ClientError::Closed(reason) => reason.to_string(),
        other => other.to_string(),
    }
}

/// Why a job has no result.
pub(crate) fn job_error(error: &JobError) -> String {
    match error {
        JobError::Failed { status, error: Some(error) } => {
            format!("the job ended as {}: {error}", status.as_str())
        }
        JobError::Closed(reason) => reason.to_string(),
        other => other.to_string(),
    }
}
