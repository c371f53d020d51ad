use super::*;
use crate::error::{Details, WireError};
use crate::id::{ResultKey, Ulid};
use crate::time::UnixTime;
use crate::wire::RawJson;
use crate::wire::event::{ChunkEncoding, Content, EventKind, Outcome, Terminal};
use crate::wire::peer::PeerProfile;
use alloc::format;
use alloc::string::ToString;
use serde_json::Value;

const TRACE: &str = "7c9f1e2a5b3d4806a1f2c3d4e5f60718";

const BOTH: EndShape = PeerProfile::Unknown.end_shape();

fn line(shape: EndShape, frame_limit: usize) -> Line {
    let session = SessionKey::parse("sess_01KZZSPQFWRQJ5E577ZYXMHSQ1").expect("a session");
    let job = JobKey::parse("job_01KZZSPSCGTYZ5S2V2CG4ASNXD").expect("a job");
    Line::new(session, TraceId::parse(TRACE).expect("a trace"), job, shape, frame_limit)
}

fn event(content: Content) -> LoggedEvent {
    LoggedEvent { ts: UnixTime::from_millis(1_786_699_800_120), pos: Some(3), content }
}

fn end(outcome: Outcome, summary: Option<&str>) -> LoggedEvent {
    event(Content::End(Terminal { outcome, summary: summary.map(ToString::to_string) }))
}

fn status(body: &str) -> LoggedEvent {
    event(Content::Event { kind: EventKind::Status, body: RawJson::try_from(body).expect("JSON") })
}

/// The frame, whose length must be the announced one.
#[track_caller]
fn encoded(line: &Line, event: &LoggedEvent) -> String {
    let mut text = String::new();
    line.encode_into(7, event, &mut text);
    assert_eq!(text.len(), line.encoded_len(7, event));
    let frame = Frame::Numbered { line: line.clone().into(), seq: 7, event: event.clone().into() };
    assert_eq!(frame.encoded_len(), text.len());
    assert_eq!(frame.encode(), text);
    text
}

fn payload(line: &Line, event: &LoggedEvent) -> Value {
    let frame: Value = serde_json::from_str(&encoded(line, event)).expect("JSON");
    frame["payload"].clone()
}

#[test]
fn the_head_has_its_published_order() {
    let text = encoded(&line(EndShape::PLAIN, 1_000), &status("{\"phase\":\"x\"}"));
    assert_eq!(
        text,
        format!(
            "{{\"arcp\":\"1.1\",\"id\":\"msg_01KZZSPQFWRQJ5E00000000007\",\"type\":\"job.event\",\
             \"session_id\":\"sess_01KZZSPQFWRQJ5E577ZYXMHSQ1\",\"trace_id\":\"{TRACE}\",\
             \"job_id\":\"job_01KZZSPSCGTYZ5S2V2CG4ASNXD\",\"event_seq\":7,\"payload\":{{\"kind\":\"status\",\
             \"ts\":\"2026-08-14T09:30:00.120Z\",\"pos\":3,\"body\":{{\"phase\":\"x\"}}}}}}"
        )
    );
}

#[test]
fn ids_are_those_of_the_session_and_the_number() {
    let mut random = crate::wire::testing::Random::new(5);
    for _ in 0..2_000 {
        let session = Ulid::from_bits(u128::from(random.next()) << 64 | u128::from(random.next()));
        let seq = random.next() >> 11 >> random.below(53);
        let trace = TraceId::parse(TRACE).expect("a trace");
        let job = JobKey::from_ulid(session);
        let line = Line::new(SessionKey::from_ulid(session), trace, job, EndShape::PLAIN, 1_000);
        let mut text = String::new();
        line.encode_into(seq, &status("{}"), &mut text);
        assert!(text.starts_with(&format!("{BEFORE_ID}{}\"", session.numbered(seq))), "{seq}: {text}");
    }
}

#[test]
fn a_notice_has_no_position() {
    let notice = LoggedEvent { pos: None, ..status("{}") };
    let payload = payload(&line(EndShape::PLAIN, 1_000), &notice);
    assert_eq!(payload.get("pos"), None);
    assert_eq!(payload["body"], Value::Object(serde_json::Map::new()));
}

#[test]
fn values_are_shown_under_the_names_the_peer_reads() {
    let inline = end(Outcome::Inline(RawJson::try_from("[1]").expect("JSON")), Some("a \"b\""));
    let one = payload(&line(EndShape::PLAIN, 1_000), &inline);
    assert_eq!((one["result"].to_string(), one.get("output")), ("[1]".to_string(), None));
    let both = payload(&line(BOTH, 1_000), &inline);
    assert_eq!((both["result"].to_string(), both["output"].to_string()), ("[1]".into(), "[1]".into()));
    assert_eq!(both["summary"], "a \"b\"");
    let streamed = Outcome::Streamed { result: ResultKey::from_ulid(Ulid::from_bits(0)), size: 9 };
    let streamed = payload(&line(BOTH, 1_000), &end(streamed, None));
    assert_eq!((streamed["result_size"].as_u64(), streamed.get("output")), (Some(9), None));
}

#[test]
fn what_fits_exactly_is_whole() {
    let event = status("{\"phase\":\"x\"}");
    let whole = line(EndShape::PLAIN, usize::MAX).whole_len(7, &event);
    assert_eq!(payload(&line(EndShape::PLAIN, whole), &event)["body"]["phase"], "x");
    // One byte less, and the body gives way to a count that happens to be longer.
    let omitted = payload(&line(EndShape::PLAIN, whole - 1), &event);
    assert_eq!(omitted["body"]["omitted_bytes"], 13);
}

#[test]
fn large_members_are_omitted_by_name() {
    let large = format!("\"{}\"", "x".repeat(5_000));
    let raw = || RawJson::try_from(large.as_str()).expect("JSON");
    let line = line(BOTH, 600);
    let omitted = |value: &Value| value["omitted_bytes"].as_u64();

    let inline = payload(&line, &end(Outcome::Inline(raw()), Some("kept")));
    assert_eq!((omitted(&inline["result"]), omitted(&inline["output"])), (Some(5_002), Some(5_002)));
    assert_eq!((&inline["summary"], &inline["final_status"]), (&"kept".into(), &"success".into()));

    let error = WireError::invalid("m").with(Details::AgentCode("y".repeat(5_000)));
    let failed = payload(&line, &end(Outcome::Failed(error), Some("never sent")));
    assert_eq!(omitted(&failed["details"]), Some(5_000 + "{\"agent_code\":\"\"}".len() as u64));
    assert_eq!((&failed["code"], failed.get("summary")), (&"INVALID_REQUEST".into(), None));

    let chunk = payload(
        &line,
        &event(Content::Chunk {
            result: ResultKey::from_ulid(Ulid::from_bits(1)),
            chunk_seq: 2,
            encoding: ChunkEncoding::Utf8,
            data: raw(),
            decoded_bytes: 5_000,
            more: true,
        }),
    );
    assert_eq!(chunk["kind"], "result_chunk");
    assert!(omitted(&chunk["body"]).is_some_and(|bytes| bytes > 5_002));

    let talkative = payload(&line, &end(Outcome::Inline(RawJson::null()), Some(&"z".repeat(5_000))));
    assert_eq!(talkative.get("summary"), None);
    assert_eq!(omitted(&talkative["result"]), Some(4));
}

#[test]
fn failed_jobs_name_their_status() {
    use crate::error::ErrorCode;
    let line = line(EndShape::PLAIN, 1_000);
    for (code, status) in [
        (ErrorCode::Cancelled, "cancelled"),
        (ErrorCode::Timeout, "timed_out"),
        (ErrorCode::BudgetExhausted, "error"),
    ] {
        let event = end(Outcome::Failed(WireError::new(code, "m")), None);
        assert!(encoded(&line, &event).contains("\"type\":\"job.error\""));
        assert_eq!(payload(&line, &event)["final_status"], status);
    }
}

#[test]
fn complete_frames_pass_through() {
    let frame = Frame::Text("{}".to_string());
    assert_eq!(frame.encoded_len(), 2);
    let mut out = "x".to_string();
    frame.encode_into(&mut out);
    assert_eq!((out.as_str(), frame.encode().as_str()), ("x{}", "{}"));
}

#[test]
fn debug_of_a_frame_shows_no_text() {
    assert_eq!(format!("{:?}", Frame::Text("canary".to_string())), "Text(6 bytes)");
    let line = line(BOTH, 65_536).into();
    let numbered = Frame::Numbered { line, seq: 7, event: status(r#"{"phase":"x"}"#).into() };
    assert!(format!("{numbered:?}").contains("seq: 7"));
}

#[test]
fn a_quick_guess_is_never_too_short() {
    let job = JobKey::from_ulid(Ulid::from_bits(u128::MAX));
    let result = ResultKey::from_ulid(Ulid::from_bits(u128::MAX));
    let credential = crate::id::CredentialKey::from_ulid(Ulid::from_bits(u128::MAX));
    let text = |bytes: usize| RawJson::try_from(format!("\"{}\"", "x".repeat(bytes)).as_str()).expect("JSON");
    let kinds = [EventKind::Status, EventKind::ResultChunk, EventKind::parse(&"\u{1}".repeat(1_000))];
    for bytes in [0, 1, 10, 1_000, 100_000] {
        let events = kinds.iter().map(|kind| Content::Event { kind: kind.clone(), body: text(bytes) });
        let chunk = Content::Chunk {
            result,
            chunk_seq: u64::MAX,
            encoding: ChunkEncoding::Base64,
            data: text(bytes),
            decoded_bytes: bytes as u64,
            more: false,
        };
        for content in events.chain([chunk, Content::Rotated { credential }]) {
            let event = LoggedEvent { ts: UnixTime::MAX, pos: Some(u64::MAX), content };
            let (guess, counted) = (render::rough_len(&event), render::payload_len(&event, job, BOTH));
            assert!(guess >= counted, "{guess} for {counted}: {:?}", event.content);
        }
    }
}
