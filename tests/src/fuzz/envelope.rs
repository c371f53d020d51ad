//! The envelope: two readers that must agree, and a writer that must be understood.

use arcp_proto::wire::{Envelope, EventSeq, Head, ScanLimits, encode};
use serde_json::Value;

/// Decodes the bytes. What is accepted is JSON with the same meaning to an independent reader, is accepted by clients
/// too, does not depend on the order of members, and survives being written and read again.
pub fn envelope(data: &[u8]) {
    let decoded = Envelope::decode(data, &ScanLimits::RUNTIME);
    spelled_otherwise(data);
    let Ok(envelope) = decoded else { return };
    assert_eq!(Envelope::decode(data, &ScanLimits::CLIENT).as_ref(), Ok(&envelope), "a client accepts more");
    as_others_read(data, &envelope);
    let head = Head {
        id: &envelope.id,
        message_type: &envelope.message_type,
        session_id: envelope.session_id.as_deref().unwrap_or("sess_1"),
        trace_id: envelope.trace_id.as_deref(),
        job_id: envelope.job_id.as_deref(),
        event_seq: match envelope.event_seq {
            EventSeq::Number(number) => Some(number),
            EventSeq::Absent | EventSeq::Unusable => None,
        },
    };
    let written = encode(&head, envelope.payload_raw);
    // A writer names the session and spells escapes in full, which a frame at the limit may have no room for.
    let again = Envelope::decode(written.as_bytes(), &ScanLimits::CLIENT).expect("what is written is read");
    assert_eq!((&again.id, &again.message_type), (&envelope.id, &envelope.message_type));
    assert_eq!((&again.trace_id, &again.job_id), (&envelope.trace_id, &envelope.job_id));
    assert_eq!(again.session_id.as_deref(), Some(head.session_id));
    assert_eq!(again.payload_raw, envelope.payload_raw);
    assert_eq!(again.payload, envelope.payload);
    assert_eq!((again.optional, head.event_seq.is_some()), (false, again.event_seq != EventSeq::Absent));
}

/// White space before a frame means nothing, but takes the shortcut for frames in our own order away.
fn spelled_otherwise(data: &[u8]) {
    if data.len() >= ScanLimits::RUNTIME.bytes {
        return;
    }
    let spaced = [b" ", data].concat();
    match (Envelope::decode(data, &ScanLimits::RUNTIME), Envelope::decode(&spaced, &ScanLimits::RUNTIME)) {
        (Ok(shortcut), Ok(general)) => assert_eq!(shortcut, general),
        (Err(error), Err(spaced)) => {
            assert_eq!((error.id, error.session_id), (spaced.id, spaced.session_id));
        }
        (decoded, spaced) => panic!("{decoded:?}, but with a space before it {spaced:?}"),
    }
}

fn as_others_read(data: &[u8], envelope: &Envelope<'_>) {
    let value: Value = match serde_json::from_slice(data) {
        Ok(value) => value,
        // A number that no double is near is a number to us.
        Err(error) => return assert!(error.to_string().contains("number out of range"), "{error}"),
    };
    let text = |name: &str| value[name].as_str();
    assert_eq!(text("id"), Some(envelope.id.as_ref()));
    assert_eq!(text("type"), Some(envelope.message_type.as_ref()));
    assert_eq!(text("session_id"), envelope.session_id.as_deref());
    assert_eq!(text("job_id"), envelope.job_id.as_deref());
    assert_eq!(text("trace_id"), envelope.trace_id.as_deref());
    assert_eq!(envelope.optional, value["extensions"]["optional"] == true);
    match envelope.event_seq {
        EventSeq::Number(number) => assert_eq!(value["event_seq"].as_u64(), Some(number)),
        EventSeq::Absent => assert!(value["event_seq"].is_null()),
        EventSeq::Unusable => assert!(!value["event_seq"].is_null()),
    }
    let payload = value["payload"].as_object();
    assert_eq!(envelope.payload.len(), payload.map_or(0, serde_json::Map::len));
    for (name, raw) in envelope.payload.iter() {
        let read: Value = serde_json::from_str(raw).expect("a member's value is JSON");
        assert_eq!(payload.and_then(|payload| payload.get(name.as_ref())), Some(&read));
    }
}
