//! Hostile input, as far as one payload or one rule can tell.

use super::*;
use crate::agent::AgentRef;
use crate::wire::session::Auth;
use crate::wire::testing::hostile_vectors;

/// Refused only by what an endpoint knows beyond the payload: its state, its policy, the envelope, the lease grammar.
const NEEDS_MORE: [&str; 39] = [
    "head-type-wrong-direction-welcome",
    "head-type-wrong-direction-result",
    "head-session-id-other",
    "hello-over-64-kib",
    "hello-token-wrong",
    "resume-below-floor",
    "resume-zero-below-floor",
    "resume-above-highest",
    "resume-token-wrong",
    "resume-token-prefix",
    "resume-session-other",
    "resume-flat-minus-one",
    "resume-bad-bearer-good-token",
    "resume-fewer-features",
    "resume-message-active",
    "hello-twice",
    "ack-above-highest",
    "ack-max",
    "list-cursor-forged",
    "submit-lease-string-patterns",
    "submit-lease-number-pattern",
    "submit-lease-null-patterns",
    "submit-lease-unknown-namespace",
    "submit-lease-empty-namespace",
    "submit-lease-namespace-case",
    "submit-lease-vendor-one-part",
    "submit-lease-ruby-shape",
    "submit-lease-65-patterns",
    "submit-lease-over-32-kib",
    "submit-budget-empty-list",
    "submit-budget-currency-twice",
    "submit-expires-number",
    "cancel-no-job",
    "cancel-two-jobs",
    "cancel-unknown",
    "subscribe-no-job",
    "subscribe-unknown",
    "subscribe-path-like-job",
    "unsubscribe-no-job",
];

#[test]
fn payloads_are_refused_as_published() {
    let mut judged = 0;
    for vector in hostile_vectors().into_iter().filter(|vector| vector.at == "runtime") {
        let Ok(envelope) = Envelope::decode(&vector.input, &ScanLimits::RUNTIME) else { continue };
        if NEEDS_MORE.contains(&vector.name.as_str()) || vector.name.starts_with("first-frame-") {
            continue;
        }
        let Some(read) = rewritten(&envelope) else { continue };
        let bad_auth = envelope.message_type == "session.hello" || envelope.message_type == "session.resume";
        let bad_auth = bad_auth
            && matches!(
                Hello::read(&envelope.payload, &envelope.message_type),
                Ok(Hello { auth: Auth::Unusable(_) | Auth::Anonymous, .. })
            );
        let verdict = match read {
            Err(_) => "reject with INVALID_REQUEST",
            Ok(_) if bad_auth => "reject with UNAUTHENTICATED",
            Ok(_) => "accept",
        };
        assert!(vector.expect.starts_with(verdict), "{}: {verdict}, not {}", vector.name, vector.expect);
        judged += 1;
    }
    assert_eq!(judged, 178 - NEEDS_MORE.len() - 9);
}

#[test]
fn agent_names() {
    let mut judged = 0;
    for vector in hostile_vectors().into_iter().filter(|vector| vector.at == "agent") {
        let input: Value = serde_json::from_slice(&vector.input).expect("JSON");
        let accepted = AgentRef::parse(input["agent"].as_str().expect("a string")).is_ok();
        assert_eq!(accepted, vector.expect == "accept", "{}", vector.name);
        judged += 1;
    }
    assert_eq!(judged, 22);
}

#[test]
fn trace_ids() {
    let mut judged = 0;
    for vector in hostile_vectors().into_iter().filter(|vector| vector.at == "trace") {
        let input: Value = serde_json::from_slice(&vector.input).expect("JSON");
        let read = input["trace_id"].as_str().and_then(TraceId::parse).map(|id| id.to_string());
        let expected = vector.expect.strip_prefix("accept ").map(ToString::to_string);
        assert!(expected.is_some() || vector.expect == "absent");
        assert_eq!(read, expected, "{}", vector.name);
        judged += 1;
    }
    assert_eq!(judged, 13);
}
