use super::*;
use crate::id::{JobKey, ResultKey, SessionKey, Ulid};
use crate::time::UnixTime;
use crate::trace::TraceId;
use crate::wire::delivery::Line;
use crate::wire::event::{Content, LoggedEvent};
use crate::wire::peer::PeerProfile;
use crate::wire::testing::Random;
use crate::wire::vectors::event_body;
use alloc::vec::Vec;

fn json(text: &str) -> RawJson {
    RawJson::try_from(text).expect("JSON")
}

fn number(text: &str) -> NumberText {
    NumberText::parse(text).expect("a number")
}

/// `emission` has the body of the published event `name`.
#[track_caller]
fn is_published(name: &str, emission: Result<Emission, ApiMisuse>) {
    let body: serde_json::Value = emission.expect(name).body.decode().expect("JSON");
    assert_eq!(body, event_body(name), "{name}");
}

#[test]
fn bodies_are_as_published() {
    is_published("event-status", Emission::status("matching", Some(""), None));
    let details = json(r#"{"pass":2}"#);
    is_published("event-status-details", Emission::status("matching", Some("second pass"), Some(&details)));
    is_published("event-log", Emission::log(LogLevel::Info, "loaded 250 rows", None));
    let barcode = "two suppliers share one barcode";
    let attributes = json(r#"{"ean":"4006381333931"}"#);
    is_published("event-log-attributes", Emission::log(LogLevel::Warn, barcode, Some(&attributes)));
    is_published("event-thought", Emission::thought(barcode));
    let args = json(r#"{"q":"EAN 4006381333931"}"#);
    is_published("event-tool-call", Emission::tool_call("search", &args, "c-9"));
    is_published("event-tool-result", Emission::tool_result("c-9", Ok(&json(r#"{"hits":3}"#))));
    let error = ToolError {
        code: ErrorCode::BudgetExhausted,
        message: "USD is used up".to_string(),
        details: Some(json(r#"{"currency":"USD"}"#)),
    };
    is_published("event-tool-budget", Emission::tool_result("c-12", Err(&error)));
    let error =
        ToolError { code: ErrorCode::LeaseExpired, message: "the lease ended".to_string(), details: None };
    is_published("event-tool-lease-expired", Emission::tool_result("c-11", Err(&error)));
    is_published("event-metric-plain", Emission::metric("rows", &250_u64.into(), None, &[]));
    let model = [("model", "tier-small/a")];
    is_published(
        "event-metric-cost",
        Emission::metric("cost.inference", &number("0.0234"), Some("USD"), &model),
    );
    is_published("event-progress", Emission::progress(125.0, Some(250.0), Some("rows"), Some("half way")));
    is_published("event-progress-indeterminate", Emission::progress(-0.0, None, None, None));
    is_published("event-progress-indeterminate", Emission::progress_count(0, None, Some(""), None));
    is_published(
        "event-artifact",
        Emission::artifact_ref(
            "https://blob.example/r/77.csv",
            "text/csv",
            Some(20_480),
            Some(&"AB".repeat(32)),
        ),
    );
    is_published("event-vendor", Emission::vendor("x-vendor.harbor.heatmap", &json(r#"{"cells":[1,4,2]}"#)));
}

#[test]
fn numbers_keep_their_text() {
    let emission = Emission::metric("m", &number("1.50e2"), None, &[]).expect("fine");
    assert_eq!(emission.body.as_str(), r#"{"name":"m","value":1.50e2}"#);
    let emission = Emission::progress_count(9_007_199_254_740_991, None, None, None).expect("fine");
    assert_eq!(emission.body.as_str(), r#"{"current":9007199254740991}"#);
}

#[test]
fn what_belongs_to_the_runtime_is_reserved() {
    let object = RawJson::empty_object();
    let one = NumberText::from(1_u64);
    for (name, emission) in [
        ("back_pressure", Emission::status("back_pressure", None, None)),
        ("credential_rotated", Emission::status("credential_rotated", None, None)),
        ("cost.budget.remaining", Emission::metric("cost.budget.remaining", &one, None, &[])),
        ("delegate", Emission::vendor("delegate", &object)),
        ("log", Emission::vendor("log", &object)),
        ("heatmap", Emission::vendor("heatmap", &object)),
    ] {
        assert_eq!(emission, Err(ApiMisuse::Reserved(name.to_string())));
    }
}

#[test]
fn what_peers_would_not_read_is_refused() {
    let object = RawJson::empty_object();
    let list = json("[]");
    let one = NumberText::from(1_u64);
    let nameless = ToolError { code: ErrorCode::InternalError, message: String::new(), details: None };
    let deep = json(&("{\"a\":".repeat(61) + "1" + &"}".repeat(61)));
    for (word, emission) in [
        ("`message`", Emission::log(LogLevel::Info, "", None)),
        ("`attributes`", Emission::log(LogLevel::Info, "x", Some(&list))),
        ("`text`", Emission::thought("")),
        ("`tool`", Emission::tool_call("", &object, "c")),
        ("`args`", Emission::tool_call("t", &list, "c")),
        ("`call_id`", Emission::tool_call("t", &object, "")),
        ("`call_id`", Emission::tool_result("", Ok(&list))),
        ("`error.message`", Emission::tool_result("c", Err(&nameless))),
        ("`phase`", Emission::status("", None, None)),
        ("`name`", Emission::metric("", &one, None, &[])),
        ("a cost", Emission::metric("cost.x", &number("-0.1"), Some("USD"), &[])),
        ("twice", Emission::metric("m", &one, None, &[("d", "1"), ("d", "2")])),
        ("`uri`", Emission::artifact_ref("", "text/csv", None, None)),
        ("`content_type`", Emission::artifact_ref("u", "", None, None)),
        ("`byte_size`", Emission::artifact_ref("u", "c", Some(1 << 53), None)),
        ("`sha256`", Emission::artifact_ref("u", "c", None, Some("ab"))),
        ("progress", Emission::progress(2.0, Some(1.0), None, None)),
        ("progress", Emission::progress(-1.0, None, None, None)),
        ("progress", Emission::progress(f64::NAN, None, None, None)),
        ("progress", Emission::progress(1.0, Some(f64::INFINITY), None, None)),
        ("progress", Emission::progress_count(2, Some(1), None, None)),
        ("progress", Emission::progress_count(1 << 53, None, None, None)),
        ("progress", Emission::progress_count(1, Some(1 << 53), None, None)),
        ("`kind`", Emission::vendor("x-vendor.acme", &object)),
        ("`kind`", Emission::vendor("x-vendor.acme.X", &object)),
        ("`kind`", Emission::vendor("x-vendor.acme..x", &object)),
        ("`kind`", Emission::vendor(&format!("x-vendor.acme.{}", "x".repeat(115)), &object)),
        ("`body`", Emission::vendor("x-vendor.acme.x", &list)),
        (
            "nested deeper",
            Emission::status(
                "x",
                None,
                Some(&json(&"[".repeat(62).chars().chain("]".repeat(62).chars()).collect::<String>())),
            ),
        ),
    ] {
        let Err(ApiMisuse::OutOfRange(text)) = &emission else { panic!("{word}: {emission:?}") };
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(Emission::status("x", None, Some(&deep)).is_ok());
    assert!(Emission::metric("delta", &number("-0.1"), None, &[]).is_ok());
    assert!(Emission::vendor(&format!("x-vendor.acme.{}", "x".repeat(114)), &object).is_ok());
    let most = (1 << 53) - 1;
    assert!(Emission::artifact_ref("u", "c", Some(most), None).is_ok());
    assert!(Emission::progress_count(most, Some(most), None, None).is_ok());
    assert!(Emission::progress_count(most, None, None, None).is_ok());
}

/// The frame of `content` with all its numbers as long as they can be.
fn longest_frame(content: Content) -> usize {
    let ulid = Ulid::from_bits(u128::MAX >> 1);
    let trace = TraceId::from_bytes([0xff; 16]).expect("not zero");
    let line = Line::new(
        SessionKey::from_ulid(ulid),
        trace,
        JobKey::from_ulid(ulid),
        PeerProfile::Unknown.end_shape(),
        usize::MAX,
    );
    let highest = (1 << 53) - 1;
    line.whole_len(highest, &LoggedEvent { ts: UnixTime::MAX, pos: Some(highest), content })
}

#[test]
fn lengths_are_those_of_the_longest_frame() {
    let emission = Emission::thought("\"é\n").expect("fine");
    let content = Content::Event { kind: emission.kind.clone(), body: emission.body.clone() };
    assert_eq!(emission.encoded_len(), longest_frame(content));
    for chunk in [ChunkEmission::utf8("\"é\n", true), ChunkEmission::base64(b"1234", true)] {
        let chunk = chunk.expect("small");
        let content = Content::Chunk {
            result: ResultKey::from_ulid(Ulid::from_bits(1)),
            chunk_seq: (1 << 53) - 1,
            encoding: chunk.encoding,
            data: chunk.data.clone(),
            decoded_bytes: chunk.decoded_bytes,
            more: false,
        };
        let slack = "base64".len() - chunk.encoding.as_str().len();
        assert_eq!(chunk.encoded_len(), longest_frame(content) + slack);
    }
}

#[test]
fn chunk_data_is_one_json_string() {
    let chunk = ChunkEmission::utf8("a\"\u{1}é", false).expect("small");
    assert_eq!((chunk.data.as_str(), chunk.decoded_bytes, chunk.more), ("\"a\\\"\\u0001é\"", 5, false));
    let chunk = ChunkEmission::base64(b"\x89PNG\r\n\x1a\n", true).expect("small");
    assert_eq!((chunk.data.as_str(), chunk.decoded_bytes), ("\"iVBORw0KGgo=\"", 8));
}

#[test]
fn pieces_always_fit_and_lose_nothing() {
    let mut random = Random::new(11);
    for round in 0..2_000 {
        let text: String = (0..random.below(120))
            .map(|_| random.pick(&['a', 'b', '"', '\\', '\n', '\u{1}', 'é', '☃', '😀', '\u{7f}']))
            .collect();
        let max = random.below(40);
        let pieces: Vec<&str> = split_utf8(&text, max).collect();
        assert_eq!(pieces.concat(), text, "{round}");
        for (index, piece) in pieces.iter().enumerate() {
            assert!(!piece.is_empty() && escaped_len(piece) <= max.max(6), "{round}: {piece:?}");
            if let Some(next) = pieces.get(index + 1).and_then(|next| next.chars().next()) {
                let longer = escaped_len(&format!("{piece}{next}"));
                assert!(longer > max.max(6), "{round}: {piece:?} could be longer");
            }
        }
    }
}

#[test]
fn pieces_have_a_decoded_cap_and_frames_hold_them() {
    let text = "é".repeat(MAX_CHUNK_BYTES);
    let pieces: Vec<&str> = split_utf8(&text, chunk_room(1 << 20)).collect();
    assert_eq!(
        pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(),
        [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES]
    );
    let text = "\u{1}".repeat(100_000);
    for piece in split_utf8(&text, chunk_room(1 << 16)) {
        assert!(ChunkEmission::utf8(piece, true).expect("small").encoded_len() <= 1 << 16);
    }
    assert_eq!(split_utf8("", 10).count(), 0);
}
