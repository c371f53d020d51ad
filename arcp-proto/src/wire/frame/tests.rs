use super::*;
use crate::wire::testing::{Random, hostile_vectors, json};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

fn decode(text: &str) -> Result<Envelope<'_>, DecodeError<'_>> {
    Envelope::decode(text.as_bytes(), &ScanLimits::RUNTIME)
}

fn refusal(text: &str) -> DecodeError<'_> {
    decode(text).expect_err("a refusal")
}

const HEAD: Head<'_> = Head {
    id: "msg_1",
    message_type: "job.event",
    session_id: "sess_1",
    trace_id: Some("0af7651916cd43dd8448eb211c80319c"),
    job_id: Some("job_1"),
    event_seq: Some(42),
};

#[test]
fn members_are_written_in_the_documented_order() {
    assert_eq!(
        encode(&HEAD, r#"{"kind":"log"}"#),
        r#"{"arcp":"1.1","id":"msg_1","type":"job.event","session_id":"sess_1","trace_id":"0af7651916cd43dd8448eb211c80319c","job_id":"job_1","event_seq":42,"payload":{"kind":"log"}}"#
    );
    let bare = Head { trace_id: None, job_id: None, event_seq: None, session_id: "s\"\n", ..HEAD };
    assert_eq!(
        encode(&bare, "{}"),
        r#"{"arcp":"1.1","id":"msg_1","type":"job.event","session_id":"s\"\n","payload":{}}"#
    );
}

#[test]
fn what_is_written_is_read() {
    let frame = encode(&HEAD, r#"{"kind":"log","body":{"x":[1]}}"#);
    let envelope = decode(&frame).expect("our own frame");
    assert_eq!(envelope.id, HEAD.id);
    assert_eq!(envelope.message_type, HEAD.message_type);
    assert_eq!(envelope.session_id.as_deref(), Some(HEAD.session_id));
    assert_eq!(envelope.trace_id.as_deref(), HEAD.trace_id);
    assert_eq!(envelope.job_id.as_deref(), HEAD.job_id);
    assert_eq!(envelope.event_seq, EventSeq::Number(42));
    assert_eq!(envelope.payload_raw, r#"{"kind":"log","body":{"x":[1]}}"#);
    assert_eq!(envelope.payload.opaque("body"), Some(r#"{"x":[1]}"#));
    assert_eq!(envelope.payload, Fields::of(envelope.payload_raw));
    assert!(!envelope.optional);
    assert!(Envelope::decode_own_order(&frame, &ScanLimits::RUNTIME).is_some());
}

/// Frames near our own order: valid ones and ones spoilt in a byte, a member or a value.
fn near_frame(random: &mut Random) -> String {
    let long_id = "i".repeat(random.pick(&[127, 128, 129]));
    let texts = [
        "a",
        "msg_01",
        "é😀",
        "",
        "\u{7f}",
        "a\u{7f}b",
        "q\"",
        "\\",
        "\n",
        "sess_01KZZSPQFWRQJ5E577ZYXMHSQ1",
        &long_id,
    ];
    let mut text = || if random.below(12) == 0 { random.pick(&texts) } else { "plain" };
    let (id, message_type, session_id, trace_id, job_id) = (text(), text(), text(), text(), text());
    let head = Head {
        id,
        message_type,
        session_id,
        trace_id: (random.below(2) == 0).then_some(trace_id),
        job_id: (random.below(2) == 0).then_some(job_id),
        event_seq: (random.below(2) == 0).then(|| {
            random.pick(&[0, 1, 9, MAX_EVENT_SEQ, MAX_EVENT_SEQ + 1, 9_999_999_999_999_999, u64::MAX])
        }),
    };
    let payload = match random.below(4) {
        0 => json(random, 3),
        1 => "{}".to_string(),
        2 => r#"{"payload":{"payload":{}},"kind":"log","body":[1,{"a":null}]}"#.to_string(),
        _ => format!(r#"{{"kind":{},"body":{}}}"#, json(random, 1), json(random, 3)),
    };
    let mut frame = encode(&head, &payload);
    for _ in 0..random.below(3) {
        let replacements = [
            ("\"1.1\"", "\"1.0\""),
            ("\"1.1\"", "\"2\""),
            (",\"type\"", " , \"type\" "),
            ("\"type\"", "\"t\\u0079pe\""),
            ("\"session_id\"", "\"session_ie\""),
            ("\"event_seq\":", "\"event_seq\":-"),
            ("\"event_seq\":", "\"event_seq\":1"),
            ("\"event_seq\":", "\"event_seq\":0"),
            ("\"event_seq\":", "\"event_seq\":null,\"x\":"),
            ("\"payload\":", "\"extensions\":{\"optional\":true},\"payload\":"),
            ("\"payload\":", "\"payload\":{},\"payload\":"),
            ("\"payload\":", "\"payload\": "),
            ("\"payload\":{", "\"p\\u0061yload\":{"),
            ("}}", "},\"after\":1}"),
            ("}}", "} }"),
            ("}}", "}}\n"),
            ("}}", "}}}"),
        ];
        let (from, to) = random.pick(&replacements);
        frame = frame.replacen(from, to, 1);
    }
    if random.below(3) == 0 {
        let at = random.below(frame.len());
        if frame.is_char_boundary(at) && frame.is_char_boundary(at + 1) {
            frame.replace_range(
                at..=at,
                random.pick(&["", "\"", "\\", "{", "}", ",", ":", " ", "0", "x", "\u{1}"]),
            );
        }
    }
    frame
}

#[test]
fn the_short_way_reads_what_the_general_way_reads() {
    let mut random = Random::new(21);
    let narrow =
        ScanLimits { depth: 3, tokens: 24, members: 8, name_bytes: 10, number_bytes: 16, bytes: 500 };
    let (mut short, mut refused) = (0, 0);
    for round in 0..60_000 {
        let frame = near_frame(&mut random);
        for limits in [&ScanLimits::RUNTIME, &narrow] {
            let general = Envelope::decode_any_order(&frame, limits);
            if let Some(envelope) = Envelope::decode_own_order(&frame, limits) {
                short += 1;
                assert_eq!(Ok(&envelope), general.as_ref(), "round {round}: {frame}");
            }
            refused += usize::from(general.is_err());
        }
    }
    assert!(short > 10_000 && refused > 10_000, "{short} read the short way, {refused} refused");
}

#[test]
fn limits_count_the_head_on_both_ways() {
    let payload = format!(r#"{{"a":[{}0]}}"#, "0,".repeat(20));
    let frame = encode(&HEAD, &payload);
    // 16 of the head, the payload, its name and one array of 21 numbers.
    for (tokens, fits) in [(39, false), (40, true)] {
        let limits = ScanLimits { tokens, ..ScanLimits::RUNTIME };
        assert_eq!(Envelope::decode_own_order(&frame, &limits).is_some(), fits, "{tokens}");
        assert_eq!(Envelope::decode_any_order(&frame, &limits).is_ok(), fits, "{tokens}");
    }
}

#[test]
fn the_short_way_is_for_limits_that_hold_any_head() {
    let frame = encode(&HEAD, "{}");
    let limits = ScanLimits { depth: 2, members: 8, name_bytes: 10, number_bytes: 16, ..ScanLimits::RUNTIME };
    let short = |limits: &ScanLimits| Envelope::decode_own_order(&frame, limits).is_some();
    assert!(short(&limits));
    for narrow in [
        ScanLimits { depth: 0, ..limits },
        ScanLimits { members: 7, ..limits },
        ScanLimits { name_bytes: 9, ..limits },
        ScanLimits { number_bytes: 15, ..limits },
    ] {
        assert!(!short(&narrow), "{narrow:?}");
    }
}

#[test]
fn debug_shows_what_an_envelope_is_about() {
    let frame = encode(&HEAD, "{}");
    let shown = format!("{:?}", decode(&frame).expect("our own frame"));
    assert!(shown.contains("job.event") && shown.contains("42"), "{shown}");
}

#[test]
fn refusals_carry_the_id_that_could_be_read() {
    let error = refusal(r#"{"arcp":"2","id":"a","type":"session.ping","session_id":"s"}"#);
    assert_eq!((error.id.as_deref(), error.session_id.as_deref()), (Some("a"), Some("s")));
    assert_eq!(error.to_string(), "`arcp` must be \"1\", \"1.0\" or \"1.1\"");
    let error = refusal(r#"{"arcp":1,"id":"a","type":"session.ping"}"#);
    assert_eq!(error.to_string(), "`arcp` must be \"1\", \"1.0\" or \"1.1\"");
    let error = refusal(r#"{"arcp":null,"id":"a","type":"session.ping"}"#);
    assert_eq!(error.to_string(), "`arcp` is required and must be \"1\", \"1.0\" or \"1.1\"");
    let error = refusal(r#"{"id":"a","type":"x","payload":{"n":01}}"#);
    assert_eq!(error.id.as_deref(), Some("a"));
    assert_eq!(error.to_string(), "the frame is malformed: not JSON at byte 37: expected `,` or `}`");
    assert_eq!(refusal(r#"{"arcp":"1.1","id":7,"type":"x"}"#).id, None);
    assert_eq!(
        refusal(r#"{"arcp":"1.1","type":"x"}"#).reason,
        FieldError::missing("id", "a string of 1..=128 bytes without control characters").into()
    );
    assert_eq!(refusal("[1]").reason, Malformed::NotAnObject.into());
    assert_eq!(refusal(r#"{"id":"a","id":"b"}"#).id.as_deref(), Some("a"));
    assert_eq!(
        refusal(r#"{"arcp":"1.1","id":"a","type":"x","job_id":9}"#).to_string(),
        "`job_id` must be a string of 1..=128 bytes without control characters"
    );
    assert_eq!(
        refusal(r#"{"arcp":"1.1","id":"a","type":"x","payload":[]}"#).to_string(),
        "`payload` must be an object"
    );
}

#[test]
fn event_seq_and_other_optional_members_are_classified() {
    let seq = |raw: &str| {
        let frame = format!(r#"{{"arcp":"1","id":"a","type":"t","event_seq":{raw}}}"#);
        decode(&frame).expect("tolerated").event_seq
    };
    assert_eq!(seq("null"), EventSeq::Absent);
    assert_eq!(seq("1"), EventSeq::Number(1));
    assert_eq!(seq("9007199254740991"), EventSeq::Number(MAX_EVENT_SEQ));
    for unusable in ["0", "-1", "-0", "1.0", "1e3", "\"1\"", "[]", "true", "9007199254740992"] {
        assert_eq!(seq(unusable), EventSeq::Unusable, "{unusable}");
    }
    let frame = r#"{"payload":null,"extensions":{"optional":true},"trace_id":5,"type":"t","id":"\u0061","arcp":"1.0"}"#;
    let envelope = decode(frame).expect("valid");
    assert_eq!(envelope.id, "a");
    assert_eq!((envelope.payload_raw, envelope.payload.len()), ("{}", 0));
    assert!(envelope.optional && envelope.trace_id.is_none() && envelope.event_seq == EventSeq::Absent);
    for not_optional in ["\"true\"", "1", "null", "{}"] {
        let frame =
            format!(r#"{{"arcp":"1","id":"a","type":"t","extensions":{{"optional":{not_optional}}}}}"#);
        assert!(!decode(&frame).expect("valid").optional);
    }
}

/// Vectors of these families that only a reader beyond the envelope can refuse: unknown types, the wrong direction,
/// another session, a missing payload member.
const DECIDED_LATER: [&str; 10] = [
    "head-type-upper",
    "head-type-trailing-space",
    "head-type-unknown-core",
    "head-type-vendor",
    "head-type-wrong-direction-welcome",
    "head-type-wrong-direction-event",
    "head-type-wrong-direction-result",
    "head-type-rfc0001",
    "head-session-id-other",
    "head-payload-null-needs-nonce",
];

#[test]
fn hostile_vectors_are_decided_as_expected() {
    let families =
        ["json-", "utf8-", "depth-", "dup-", "head-", "number-", "tokens", "members", "member-name"];
    let mut seen = Vec::new();
    for vector in hostile_vectors() {
        if vector.at != "runtime" || !families.iter().any(|family| vector.name.starts_with(family)) {
            continue;
        }
        let verdict = Envelope::decode(&vector.input, &ScanLimits::RUNTIME);
        let later =
            DECIDED_LATER.contains(&vector.name.as_str()) || vector.name == "head-optional-not-boolean";
        let accepted = vector.expect.starts_with("accept") || vector.expect.starts_with("ignore") || later;
        assert_eq!(verdict.is_ok(), accepted, "{}: {verdict:?}", vector.name);
        if let Ok(envelope) = verdict {
            assert_eq!(envelope.optional, vector.name == "head-type-vendor-optional", "{}", vector.name);
        }
        seen.push(vector.name);
    }
    assert!(seen.len() > 90, "only {} vectors", seen.len());
    assert!(DECIDED_LATER.iter().all(|name| seen.iter().any(|other| other == name)));
}

#[test]
fn composed_envelopes_are_read() {
    let mut seen = 0;
    for line in include_str!("../../../../tests/vectors/envelopes.jsonl").lines() {
        let line = Fields::of(line);
        let dialect = line.advisory_string("dialect").expect("every line has one");
        if !dialect.starts_with("arcp-1.1") {
            continue;
        }
        let frame = line.present("envelope").expect("every line has one");
        let envelope = Envelope::decode(frame.as_bytes(), &ScanLimits::CLIENT);
        let envelope = envelope.unwrap_or_else(|error| panic!("{error}: {frame}"));
        assert_eq!(Some(envelope.message_type), line.advisory_string("type"));
        assert_eq!(envelope.payload, Fields::of(envelope.payload_raw));
        seen += 1;
    }
    assert!(seen > 100, "only {seen} envelopes");
}
