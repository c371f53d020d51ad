//! The published vectors against the typed payloads.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Details, WireError};
use crate::id::{CredentialKey, JobKey, ResultKey, SessionKey};
use crate::trace::TraceId;
use crate::wire::body::EventBody;
use crate::wire::delivery::{Frame, Line};
use crate::wire::event::{Content, EventPayload, LoggedEvent, Outcome, Terminal};
use crate::wire::frame::{Envelope, EventSeq, Head, encode};
use crate::wire::job::{
    Accepted, Cancel, Cancelled, Ended, FinalStatus, Submit, Subscribe, Subscribed, Unsubscribe,
};
use crate::wire::list::{Jobs, ListJobs};
use crate::wire::peer::EndShape;
use crate::wire::scan::ScanLimits;
use crate::wire::session::{Ack, ErrorPayload, Goodbye, Hello, Ping, Pong, Welcome};
use crate::wire::write::object_text;
use crate::wire::{RawJson, error::WireFault};

mod accept;
mod hostile;
mod peers;

#[derive(Deserialize)]
pub(super) struct Vector<'a> {
    dialect: &'a str,
    name: &'a str,
    #[serde(borrow)]
    envelope: &'a RawValue,
}

impl<'a> Vector<'a> {
    fn envelope(&self) -> Envelope<'a> {
        Envelope::decode(self.envelope.get().as_bytes(), &ScanLimits::CLIENT)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

pub(super) fn vectors(dialect: &str) -> Vec<Vector<'static>> {
    include_str!("../../../tests/vectors/envelopes.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Vector<'static>>(line).expect("each line is a vector"))
        .filter(|vector| vector.dialect == dialect)
        .collect()
}

/// The body of the event that our own dialect's vector `name` shows.
pub(super) fn event_body(name: &str) -> Value {
    let vectors = vectors("arcp-1.1");
    let vector = vectors.iter().find(|vector| vector.name == name).unwrap_or_else(|| panic!("no {name}"));
    value(vector.envelope.get())["payload"]["body"].clone()
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The payload, read into its struct and written again. `None` for a type we do not know.
fn rewritten(envelope: &Envelope<'_>) -> Option<Result<String, WireFault>> {
    let fields = &envelope.payload;
    macro_rules! again {
        ($read:expr) => {
            $read.map(|payload| object_text(|out| payload.write(out)))
        };
    }
    Some(match envelope.message_type.as_ref() {
        "session.hello" | "session.resume" => again!(Hello::read(fields, &envelope.message_type)),
        "session.welcome" => again!(Welcome::read(fields)),
        "session.error" => again!(ErrorPayload::read(fields)),
        "session.ping" => again!(Ping::read(fields)),
        "session.pong" => again!(Pong::read(fields)),
        "session.ack" => again!(Ack::read(fields)),
        "session.close" | "session.closed" | "session.bye" => again!(Goodbye::read(fields)),
        "session.list_jobs" => again!(ListJobs::read(fields)),
        "session.jobs" => again!(Jobs::read(fields)),
        "job.submit" => again!(Submit::read(fields)),
        "job.accepted" => again!(Accepted::read(fields)),
        "job.cancel" => again!(Cancel::read(fields)),
        "job.cancelled" => again!(Cancelled::read(fields)),
        "job.subscribe" => again!(Subscribe::read(fields)),
        "job.subscribed" => again!(Subscribed::read(fields)),
        "job.unsubscribe" => again!(Unsubscribe::read(fields)),
        "job.event" => again!(EventPayload::read(fields)),
        "job.result" | "job.error" => again!(Ended::read(fields, &envelope.message_type)),
        _ => return None,
    })
}

#[test]
fn what_we_send_is_read_and_written_again() {
    let mut judged = 0;
    for vector in vectors("arcp-1.1") {
        let envelope = vector.envelope();
        let payload = rewritten(&envelope).expect(vector.name).expect(vector.name);
        let head = Head {
            id: &envelope.id,
            message_type: &envelope.message_type,
            session_id: envelope.session_id.as_deref().expect("always sent"),
            trace_id: envelope.trace_id.as_deref(),
            job_id: envelope.job_id.as_deref(),
            event_seq: match envelope.event_seq {
                EventSeq::Number(number) => Some(number),
                _ => None,
            },
        };
        assert_eq!(value(&encode(&head, &payload)), value(vector.envelope.get()), "{}", vector.name);
        judged += 1;
    }
    assert_eq!(judged, 99);
}

/// The event as a log would hold it.
fn logged(envelope: &Envelope<'_>) -> LoggedEvent {
    let fields = &envelope.payload;
    if envelope.message_type == "job.event" {
        let event = EventPayload::read(fields).expect("readable");
        let content = match EventBody::read(&event.kind, &event.body).expect("readable") {
            EventBody::ResultChunk(chunk) => Content::Chunk {
                result: ResultKey::parse(&chunk.result_id).expect("ours"),
                chunk_seq: chunk.chunk_seq,
                encoding: chunk.encoding,
                data: RawJson::encode(&chunk.data).expect("a string"),
                decoded_bytes: 0,
                more: chunk.more,
            },
            EventBody::CredentialRotated { id: Some(id), value: None } => {
                Content::Rotated { credential: CredentialKey::parse(&id).expect("ours") }
            }
            _ => Content::Event { kind: event.kind, body: event.body },
        };
        return LoggedEvent { ts: event.ts.expect("always sent"), pos: event.pos, content };
    }
    let ended = Ended::read(fields, &envelope.message_type).expect("readable");
    let outcome = match (ended.error, ended.result, ended.result_id) {
        (Some(error), _, _) => {
            assert_eq!(FinalStatus::of(error.known_code()), ended.status);
            let details = error.details.clone().map_or(Details::None, Details::Raw);
            Outcome::Failed(WireError::new(error.known_code(), error.message).with(details))
        }
        (None, Some(result), None) => Outcome::Inline(result),
        (None, _, Some(id)) => Outcome::Streamed {
            result: ResultKey::parse(&id).expect("ours"),
            size: ended.result_size.expect("always sent"),
        },
        (None, None, None) => panic!("no outcome"),
    };
    LoggedEvent {
        ts: ended.completed_at.expect("always sent"),
        pos: ended.pos,
        content: Content::End(Terminal { outcome, summary: ended.summary }),
    }
}

#[test]
fn numbered_frames_are_rendered_as_published() {
    let mut judged = 0;
    for vector in vectors("arcp-1.1") {
        let envelope = vector.envelope();
        let EventSeq::Number(seq) = envelope.event_seq else { continue };
        let session = SessionKey::parse(envelope.session_id.as_deref().expect("always sent"));
        let line = Line::new(
            session.expect("ours"),
            envelope.trace_id.as_deref().and_then(TraceId::parse).expect("always sent"),
            envelope.job_id.as_deref().and_then(JobKey::parse).expect("always sent"),
            EndShape::PLAIN,
            1 << 20,
        );
        let frame = Frame::Numbered { line: line.into(), seq, event: logged(&envelope).into() };
        let length = frame.encoded_len();
        let text = frame.encode();
        assert_eq!(text.len(), length, "{}", vector.name);
        assert_eq!(value(&text), value(vector.envelope.get()), "{}", vector.name);
        judged += 1;
    }
    assert_eq!(judged, 39);
}
