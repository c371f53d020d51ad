//! Payloads of numbered frames, rendered from a job's log (protocol §3.4, §4.3, §4.4).
//!
//! Rendering is pure: the same event for the same follower gives the same bytes each time it is sent.

use alloc::string::String;

use crate::error::WireError;
use crate::id::{CredentialKey, JobKey};
use crate::wire::RawJson;
use crate::wire::error::put_details;
use crate::wire::event::{Content, EventKind, LoggedEvent, Outcome, Terminal};
use crate::wire::job::FinalStatus;
use crate::wire::peer::{EndShape, ResultKeys, StoppedTerminal};
use crate::wire::sink::{Count, Sink};

/// Bytes the payload of `event` takes if nothing of it is left out.
#[must_use]
pub(crate) fn payload_len(event: &LoggedEvent, job: JobKey, shape: EndShape) -> usize {
    len(event, job, shape, Fit::Whole)
}

/// Appends the payload of `event`, a JSON object. Where it takes more than `limit` bytes the large member (`body`,
/// `result`, `details`) is replaced by `{"omitted_bytes":N}` (D-99), and a `summary` that is still too much is left
/// out.
pub(crate) fn render_within(
    out: &mut String,
    event: &LoggedEvent,
    job: JobKey,
    shape: EndShape,
    limit: usize,
) {
    // Nearly every event fits by far, which needs no counting.
    let fit = if rough_len(event) <= limit { Fit::Whole } else { Fit::within(event, job, shape, limit).0 };
    put_payload(out, event, job, shape, fit);
}

/// At least the bytes [`payload_len`] counts, and seldom many more, at once.
pub(crate) fn rough_len(event: &LoggedEvent) -> usize {
    /// More than all members but the large one take.
    const AROUND: usize = 256;
    match &event.content {
        // A kind of ours has no character to escape, and six bytes spell any other.
        Content::Event { kind, body } => AROUND + kind.as_str().len() * 6 + body.len(),
        Content::Rotated { .. } => AROUND,
        Content::Chunk { data, .. } => AROUND + data.len(),
        Content::End(_) => usize::MAX,
    }
}

/// Bytes [`render_within`] appends.
#[must_use]
pub(crate) fn payload_len_within(event: &LoggedEvent, job: JobKey, shape: EndShape, limit: usize) -> usize {
    Fit::within(event, job, shape, limit).1
}

/// The `type` of the frame that carries `event`.
#[must_use]
pub(crate) const fn message_type(event: &LoggedEvent, shape: EndShape) -> &'static str {
    match &event.content {
        Content::Event { .. } | Content::Rotated { .. } | Content::Chunk { .. } => "job.event",
        Content::End(terminal) => match (&terminal.outcome, terminal.status(), shape.stopped) {
            (
                Outcome::Failed(_),
                FinalStatus::Cancelled | FinalStatus::TimedOut,
                StoppedTerminal::JobResult,
            ) => "job.result",
            (Outcome::Failed(_), ..) => "job.error",
            (Outcome::Inline(_) | Outcome::Streamed { .. }, ..) => "job.result",
        },
    }
}

/// How much of an event is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// All of it.
    Whole,
    /// The large member as a count of its bytes.
    Omitted,
    /// As before, and no summary.
    Bare,
}

impl Fit {
    /// The most that fits `limit`, and what it takes.
    fn within(event: &LoggedEvent, job: JobKey, shape: EndShape, limit: usize) -> (Self, usize) {
        for fit in [Self::Whole, Self::Omitted] {
            let length = len(event, job, shape, fit);
            if length <= limit {
                return (fit, length);
            }
        }
        (Self::Bare, len(event, job, shape, Self::Bare))
    }
}

fn len(event: &LoggedEvent, job: JobKey, shape: EndShape, fit: Fit) -> usize {
    let mut count = Count::default();
    put_payload(&mut count, event, job, shape, fit);
    count.0
}

#[inline]
fn put_payload(out: &mut impl Sink, event: &LoggedEvent, job: JobKey, shape: EndShape, fit: Fit) {
    match &event.content {
        Content::Event { kind, body } => {
            out.raw("{\"kind\":\"");
            match kind {
                EventKind::Other(text) => out.escaped(text),
                known => out.raw(known.as_str()),
            }
            put_origin(out, event);
            put_value(out, body, fit);
            out.raw("}");
        }
        Content::Rotated { credential } => {
            out.raw("{\"kind\":\"status");
            put_origin(out, event);
            put_rotation(out, *credential, fit);
            out.raw("}");
        }
        Content::Chunk { .. } => {
            out.raw("{\"kind\":\"result_chunk");
            put_origin(out, event);
            match fit {
                Fit::Whole => put_chunk(out, &event.content),
                Fit::Omitted | Fit::Bare => {
                    let mut count = Count::default();
                    put_chunk(&mut count, &event.content);
                    put_omission(out, count.0);
                }
            }
            out.raw("}");
        }
        Content::End(terminal) => put_terminal(out, event, terminal, job, shape, fit),
    }
}

/// `ts` and `pos`, up to the value of `body`.
#[inline]
fn put_origin(out: &mut impl Sink, event: &LoggedEvent) {
    out.raw("\",\"ts\":\"");
    out.time(event.ts);
    if let Some(pos) = event.pos {
        out.raw("\",\"pos\":");
        out.integer(pos);
        out.raw(",\"body\":");
    } else {
        out.raw("\",\"body\":");
    }
}

#[inline]
fn put_value(out: &mut impl Sink, value: &RawJson, fit: Fit) {
    match fit {
        Fit::Whole => out.json(value),
        Fit::Omitted | Fit::Bare => put_omission(out, value.len()),
    }
}

fn put_omission(out: &mut impl Sink, bytes: usize) {
    out.raw("{\"omitted_bytes\":");
    out.integer(u64::try_from(bytes).unwrap_or(u64::MAX));
    out.raw("}");
}

/// The body of a rotation, without the new value.
fn put_rotation(out: &mut impl Sink, credential: CredentialKey, fit: Fit) {
    match fit {
        Fit::Whole => {
            out.raw("{\"phase\":\"credential_rotated\",\"id\":\"cred_");
            out.ulid(credential.ulid());
            out.raw("\",\"details\":{\"id\":\"cred_");
            out.ulid(credential.ulid());
            out.raw("\"}}");
        }
        Fit::Omitted | Fit::Bare => {
            let mut count = Count::default();
            put_rotation(&mut count, credential, Fit::Whole);
            put_omission(out, count.0);
        }
    }
}

/// The body of a chunk.
fn put_chunk(out: &mut impl Sink, content: &Content) {
    let Content::Chunk { result, chunk_seq, encoding, data, more, .. } = content else { return };
    out.raw("{\"result_id\":\"res_");
    out.ulid(result.ulid());
    out.raw("\",\"chunk_seq\":");
    out.integer(*chunk_seq);
    out.raw(",\"data\":");
    out.json(data);
    out.raw(",\"encoding\":\"");
    out.raw(encoding.as_str());
    out.raw(if *more { "\",\"more\":true}" } else { "\",\"more\":false}" });
}

fn put_terminal(
    out: &mut impl Sink,
    event: &LoggedEvent,
    terminal: &Terminal,
    job: JobKey,
    shape: EndShape,
    fit: Fit,
) {
    out.raw("{\"job_id\":\"job_");
    out.ulid(job.ulid());
    if let Some(pos) = event.pos {
        out.raw("\",\"pos\":");
        out.integer(pos);
        out.raw(",\"final_status\":\"");
    } else {
        out.raw("\",\"final_status\":\"");
    }
    out.raw(terminal.status().as_str());
    match &terminal.outcome {
        Outcome::Inline(value) => {
            out.raw("\",\"result\":");
            put_value(out, value, fit);
            if shape.result_keys == ResultKeys::Both {
                out.raw(",\"output\":");
                put_value(out, value, fit);
            }
        }
        Outcome::Streamed { result, size } => {
            out.raw("\",\"result_id\":\"res_");
            out.ulid(result.ulid());
            out.raw("\",\"result_size\":");
            out.integer(*size);
        }
        Outcome::Failed(error) => {
            out.raw("\",");
            put_failure(out, error, fit);
        }
    }
    if let (Some(summary), Outcome::Inline(_) | Outcome::Streamed { .. }) =
        (&terminal.summary, &terminal.outcome)
        && fit != Fit::Bare
    {
        out.raw(",\"summary\":\"");
        out.escaped(summary);
        out.raw("\"");
    }
    out.raw(",\"completed_at\":\"");
    out.time(event.ts);
    out.raw("\"}");
}

/// `code`, `message`, `retryable` and `details`.
fn put_failure(out: &mut impl Sink, error: &WireError, fit: Fit) {
    crate::wire::error::put_error(out, error);
    match fit {
        Fit::Whole => put_details(out, &error.details),
        Fit::Omitted | Fit::Bare => {
            let mut count = Count::default();
            put_details(&mut count, &error.details);
            if let Some(bytes) = count.0.checked_sub(",\"details\":".len()) {
                out.raw(",\"details\":");
                put_omission(out, bytes);
            }
        }
    }
}
