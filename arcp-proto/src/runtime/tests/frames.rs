//! Reading and writing the frames of scripted clients.

use alloc::vec::Vec;

use serde_json::{Value, json};

use crate::feature::{Feature, Features};

pub(super) fn hello(token: &str, features: Features) -> Value {
    let features: Vec<_> = features.iter().map(Feature::as_str).collect();
    json!({
        "client": {"name": "t", "version": "1"},
        "auth": {"scheme": "bearer", "token": token},
        "capabilities": {"encodings": ["json"], "features": features},
    })
}

/// A hello with everything, and these members added.
pub(super) fn hello_with(members: Value) -> Value {
    let mut payload = hello("good", Features::SUPPORTED);
    for (name, value) in members.as_object().unwrap() {
        payload[name] = value.clone();
    }
    payload
}

/// The resume token of a welcome.
pub(super) fn token(welcome: &Value) -> &Value {
    &welcome["payload"]["resume_token"]
}

/// The numbers of the numbered frames among `frames`.
pub(super) fn seqs(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame["event_seq"].as_u64()).collect()
}

/// What `frames` are, in order.
pub(super) fn types(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap_or_default()).collect()
}

/// The positions of the numbered frames among `frames`.
pub(super) fn positions(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame["payload"]["pos"].as_u64()).collect()
}

/// The code of a frame that is an error.
pub(super) fn code(frame: &Value) -> &str {
    frame["payload"]["code"].as_str().unwrap_or_default()
}

/// The limit an error names.
pub(super) fn limit(frame: &Value) -> &str {
    frame["payload"]["details"]["limit"].as_str().unwrap_or_default()
}
