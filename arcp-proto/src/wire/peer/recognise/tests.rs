use alloc::string::{String, ToString};

use serde_json::{Value, json};

use super::*;
use crate::wire::ScanLimits;

const ULID: &str = "01KZZSPQWN5FY2CP5TY65J74PV";
const UUID7: &str = "01a07c1f-f76e-7ef4-9ac5-508259d2d75e";

fn judged(frame: &Value, of: impl Fn(&Envelope<'_>) -> PeerProfile) -> PeerProfile {
    let text = frame.to_string();
    of(&Envelope::decode(text.as_bytes(), &ScanLimits::CLIENT).expect("an envelope"))
}

fn message_ulid() -> String {
    "msg_".to_string() + ULID
}

fn hello(id: &str, payload: Value) -> Value {
    json!({"arcp": "1.1", "id": id, "type": "session.hello", "payload": payload})
}

#[track_caller]
fn client(frame: &Value, expected: PeerProfile) {
    assert_eq!(judged(frame, PeerProfile::of_hello), expected, "{frame}");
}

#[test]
fn our_own_feature_decides_before_anything_else() {
    for id in [ULID, UUID7, "m-1"] {
        let features = json!(["ack", "x-vendor.arcp-rs.1"]);
        client(
            &hello(id, json!({"client_name": "x", "capabilities": {"features": features}})),
            PeerProfile::Core,
        );
    }
}

#[test]
fn what_peers_call_themselves_changes_nothing() {
    for name in ["arcp-go-client", "arcp-client-java", "arcp-ruby", "arcp-python", "x"] {
        let payload = json!({"client": {"name": name}, "capabilities": {"features": ["ack"]}});
        client(&hello("m-1", payload.clone()), PeerProfile::Unknown);
        client(&hello(UUID7, payload.clone()), PeerProfile::Go);
        client(&hello(ULID, payload), PeerProfile::Java);
    }
}

#[test]
fn flat_names_alone_are_rubys() {
    client(&hello("m-1", json!({"client_name": "x"})), PeerProfile::Ruby);
    client(&hello(UUID7, json!({"client_name": "x", "client": null})), PeerProfile::Ruby);
    client(&hello("m-1", json!({"client_name": "x", "client": {"name": "x"}})), PeerProfile::Unknown);
    client(&hello("m-1", json!({"client_name": null})), PeerProfile::Unknown);
}

#[test]
fn a_go_client_names_no_session() {
    let mut frame = hello(UUID7, json!({"client": {}}));
    client(&frame, PeerProfile::Go);
    frame["session_id"] = "sess_x".into();
    client(&frame, PeerProfile::Unknown);
    client(&hello(&UUID7.to_uppercase(), json!({"client": {}})), PeerProfile::Unknown);
    client(&hello(&UUID7.replace("-7", "-4"), json!({"client": {}})), PeerProfile::Unknown);
}

#[test]
fn the_two_pythons_differ_by_their_whole_list() {
    let newer = [
        "heartbeat",
        "ack",
        "list_jobs",
        "subscribe",
        "lease_expires_at",
        "cost.budget",
        "model.use",
        "progress",
        "result_chunk",
        "agent_versions",
    ];
    let of = |features: &[&str]| hello(ULID, json!({"capabilities": {"features": features, "agents": []}}));
    client(&of(&newer), PeerProfile::PythonNewer);
    client(&of(&newer[..9]), PeerProfile::Python113);
    client(&of(&[&newer[..], &["teleport"]].concat()), PeerProfile::Python113);
    client(&of(&[]), PeerProfile::Python113);
    client(&hello(ULID, json!({"capabilities": {"agents": []}})), PeerProfile::Python113);
    client(&hello("m-1", json!({"capabilities": {"agents": []}})), PeerProfile::Unknown);
}

#[test]
fn a_java_client_sorts_its_features() {
    let of = |capabilities: Value| hello(ULID, json!({"client": {}, "capabilities": capabilities}));
    client(&of(json!({"features": ["ack", "progress"]})), PeerProfile::Java);
    client(&of(json!({})), PeerProfile::Java);
    client(&of(json!({"agents": null})), PeerProfile::Java);
    client(&of(json!({"features": ["progress", "ack"]})), PeerProfile::Unknown);
    client(&of(json!({"features": ["ack"], "agents": ["a"]})), PeerProfile::Unknown);
    client(&hello(ULID, json!({})), PeerProfile::Java);
}

#[test]
fn a_typescript_client_names_features_and_no_session() {
    let payload = json!({"client": {}, "capabilities": {"features": ["ack"]}});
    let id = message_ulid();
    client(&hello(&id, payload.clone()), PeerProfile::TypeScript);
    for (member, value) in [("session_id", "sess_x"), ("timestamp", "2026-08-14T09:30:57Z")] {
        let mut frame = hello(&id, payload.clone());
        frame[member] = value.into();
        client(&frame, PeerProfile::Unknown);
    }
    client(&hello(&id, json!({"client": {}, "capabilities": {}})), PeerProfile::Unknown);
    client(&hello(&id, json!({"capabilities": {"features": ["ack"]}})), PeerProfile::Unknown);
    client(&hello(&id.to_lowercase(), payload), PeerProfile::Unknown);
}

fn welcome(id: &str, token: &str, payload: &Value) -> PeerProfile {
    let mut payload = payload.clone();
    payload["resume_token"] = token.into();
    let frame =
        json!({"arcp": "1.1", "id": id, "type": "session.welcome", "session_id": "s", "payload": payload});
    judged(&frame, PeerProfile::of_welcome)
}

#[test]
fn a_runtime_shows_itself_by_id_token_and_members() {
    use PeerProfile::{Go, Java, Python113, Ruby, TypeScript, Unknown};
    let id = message_ulid();
    let hex = "rt_".to_string() + &"0f".repeat(32);
    let python = "rtk_".to_string() + ULID;
    let (base64, uuid4) = ("0aB1cD2eF3gH4iJ5kL6mN7oP8qR9s-_u", "5c0f2b6e-1d3a-4e7b-9a51-0c2d3e4f5a6b");
    let object = json!({"runtime": {"name": "q"}});
    let naming = json!({"runtime": {"name": "q"}, "session_id": "s"});
    let flat = json!({"runtime_name": "q"});
    let both = json!({"runtime": {"name": "q"}, "runtime_name": "q"});
    let unsorted = json!({"runtime": {}, "capabilities": {"features": ["progress", "ack"]}});
    for (id, token, payload, expected) in [
        (UUID7, base64, &flat, Ruby),
        (UUID7, ULID, &object, Go),
        (ULID, &python, &naming, Python113),
        (ULID, uuid4, &object, Java),
        (&id, &hex, &object, TypeScript),
        // One thing is otherwise in each of these.
        (UUID7, base64, &object, Unknown),
        (UUID7, base64, &both, Unknown),
        (UUID7, base64, &json!({}), Unknown),
        (UUID7, &base64[1..], &flat, Unknown),
        (UUID7, ULID, &naming, Unknown),
        (ULID, ULID, &object, Unknown),
        (ULID, uuid4, &flat, Unknown),
        (ULID, uuid4, &unsorted, Unknown),
        (ULID, &uuid4.replace("-9a51", "-ca51"), &object, Unknown),
        (ULID, &python, &object, Unknown),
        (&id, uuid4, &object, Unknown),
        (&id, &hex.to_uppercase(), &object, Unknown),
        (&id, &hex, &naming, Unknown),
        ("m-1", "", &object, Unknown),
    ] {
        assert_eq!(welcome(id, token, payload), expected, "{id} {token} {payload}");
    }
}

#[test]
fn where_a_python_runtime_lists_models_tells_its_version() {
    let token = "rtk_".to_string() + ULID;
    for (features, expected) in [
        (json!(["ack", "model.use", "provisioned_credentials"]), PeerProfile::Python113),
        (json!(["ack"]), PeerProfile::Python113),
        (json!(["cost.budget", "model.use", "progress", "result_chunk"]), PeerProfile::PythonNewer),
        (json!(["ack", "model.use"]), PeerProfile::PythonNewer),
    ] {
        let payload = json!({"runtime": {}, "session_id": "s", "capabilities": {"features": features}});
        assert_eq!(welcome(ULID, &token, &payload), expected, "{payload}");
    }
}

#[test]
fn a_refusal_shows_its_runtime_only_by_what_nobody_else_does() {
    let refusal = |id: &str, message_type: &str, payload: Value| {
        let frame = json!({"arcp": "1.1", "id": id, "type": message_type, "payload": payload});
        judged(&frame, PeerProfile::of_refusal)
    };
    let null = json!({"code": "PERMISSION_DENIED", "details": null});
    assert_eq!(refusal(ULID, "session.error", null.clone()), PeerProfile::Python113);
    assert_eq!(refusal("m-1", "session.error", null), PeerProfile::Unknown);
    assert_eq!(refusal(ULID, "session.error", json!({"code": "X"})), PeerProfile::Unknown);
    let correlated = json!({"code": "X", "details": null, "request_id": "m"});
    assert_eq!(refusal(ULID, "session.error", correlated), PeerProfile::Unknown);
    assert_eq!(refusal("m-1", "job.error", json!({})), PeerProfile::Java);
    assert_eq!(refusal("m-1", "job.error", json!({"job_id": "j"})), PeerProfile::Unknown);
}
