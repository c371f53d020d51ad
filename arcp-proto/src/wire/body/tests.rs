use super::*;
use alloc::format;

fn json(text: &str) -> RawJson {
    RawJson::try_from(text).expect("JSON")
}

fn read(kind: &str, body: &str) -> Result<EventBody, Unreadable> {
    EventBody::read(&EventKind::parse(kind), &json(body))
}

#[test]
fn wrong_types_are_unreadable() {
    for (kind, body, word) in [
        ("log", r#"{"message":1}"#, "`message`"),
        ("log", "[]", "`body`"),
        ("thought", r#"{"text":{}}"#, "`text`"),
        ("tool_call", r#"{"tool":5}"#, "`tool`"),
        ("tool_result", r#"{"call_id":"c","error":7}"#, "`error`"),
        ("metric", r#"{"name":"m"}"#, "`value`"),
        ("metric", r#"{"name":"m","value":"many"}"#, "`value`"),
        ("metric", r#"{"name":"m","value":[1]}"#, "`value`"),
        ("artifact_ref", r#"{"byte_size":-1}"#, "`byte_size`"),
        ("delegate", r#"{"child_job_id":""}"#, "`child_job_id`"),
        ("delegate", r#"{"lease":[]}"#, "`lease`"),
        ("progress", r#"{"total":5}"#, "`current`"),
        ("progress", r#"{"current":-1}"#, "`current`"),
        ("progress", r#"{"current":"1"}"#, "`current`"),
        ("result_chunk", r#"{"chunk_seq":0,"data":""}"#, "`result_id`"),
        ("result_chunk", r#"{"result_id":"r","chunk_seq":-1,"data":""}"#, "`chunk_seq`"),
        ("result_chunk", r#"{"result_id":"r","chunk_seq":0}"#, "`data`"),
        ("result_chunk", r#"{"result_id":"r","chunk_seq":0,"data":"","encoding":"hex"}"#, "`encoding`"),
        ("result_chunk", r#"{"result_id":"r","chunk_seq":0,"data":"","more":1}"#, "`more`"),
    ] {
        let error = read(kind, body).expect_err(body);
        assert!(format!("{error}").contains(word), "{body}: {error}");
    }
}

#[test]
fn levels_in_any_spelling() {
    for (text, level) in [
        ("trace", LogLevel::Trace),
        ("Debug", LogLevel::Debug),
        ("WARNING", LogLevel::Warn),
        ("warn", LogLevel::Warn),
        ("fatal", LogLevel::Error),
        ("notice", LogLevel::Info),
    ] {
        let body = read("log", &format!(r#"{{"level":"{text}","message":"m"}}"#));
        assert!(matches!(body, Ok(EventBody::Log { level: read, .. }) if read == level), "{text}");
    }
}

#[test]
fn an_error_wins_over_a_result() {
    let Ok(EventBody::ToolResult { result: Err(failure), .. }) =
        read("tool_result", r#"{"call_id":"c","result":1,"error":{"code":"X","message":"m","details":[1]}}"#)
    else {
        panic!("a failure")
    };
    assert_eq!((failure.code.as_str(), failure.message.as_str(), failure.retryable), ("X", "m", true));
    assert_eq!(failure.details, Some(json("[1]")));
    let body = read("tool_result", r#"{"call_id":"c","result":null,"output":1,"error":null}"#);
    assert!(matches!(body, Ok(EventBody::ToolResult { result: Ok(result), .. }) if result.is_null()));
    let body = read("tool_result", r#"{"error":"boom"}"#);
    assert!(
        matches!(body, Ok(EventBody::ToolResult { result: Err(f), .. }) if f.message == "boom" && f.retryable)
    );
}

#[test]
fn bodies_left_out_are_seen_as_such() {
    for kind in ["log", "metric", "result_chunk", "status"] {
        let body = read(kind, r#"{"omitted_bytes":70000}"#);
        assert!(matches!(body, Ok(EventBody::Omitted { bytes: 70_000 })), "{kind}: {body:?}");
    }
    let own = read("x-vendor.a.b", r#"{"omitted_bytes":70000}"#);
    assert!(matches!(own, Ok(EventBody::Other(_))));
}

#[test]
fn dimensions_that_are_no_strings_are_shown_as_text() {
    let Ok(EventBody::Metric { dimensions, .. }) = read("metric", r#"{"value":1,"dims":{"a":1,"b":"x"}}"#)
    else {
        panic!("a metric")
    };
    assert_eq!(dimensions, [("a".into(), "1".into()), ("b".into(), "x".into())]);
}

#[test]
fn rotated_secrets_are_never_printed() {
    let secret = r#"{"phase":"credential\u005frotated","details":{"id":"c1","value":"s3cr3t"}}"#;
    let event = EventPayload { kind: EventKind::Status, ts: None, pos: None, body: json(secret) };
    assert!(!format!("{event:?}").contains("s3cr3t"));
    let body = EventBody::read(&event.kind, &event.body).expect("readable");
    assert!(
        matches!(&body, EventBody::CredentialRotated { value: Some(value), .. } if value.matches("s3cr3t"))
    );
    assert!(!format!("{body:?}").contains("s3cr3t"));
    let harmless = EventPayload { body: json(r#"{"phase":"x"}"#), ..event };
    assert!(format!("{harmless:?}").contains("phase"));
}

#[test]
fn only_a_status_of_that_phase_is_a_rotation() {
    let payload = |kind: &str, body: &str| {
        let text = format!("{{\"kind\":\"{kind}\",\"body\":{body}}}");
        EventPayload::read(&Fields::of(&text)).unwrap()
    };
    let rotation = r#"{"phase":"credential_rotated","value":"canary"}"#;
    assert!(payload("status", rotation).is_rotation());
    assert!(!format!("{:?}", payload("status", rotation)).contains("canary"));
    assert!(!payload("metric", rotation).is_rotation());
    assert!(!payload("status", r#"{"phase":"thinking"}"#).is_rotation());
    assert!(!payload("status", r#""credential_rotated""#).is_rotation());
}
