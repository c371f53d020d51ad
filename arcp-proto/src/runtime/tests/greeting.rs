//! From the hello to the welcome, and what both sides may use from then on (protocol §2.1 to §2.3).

use core::time::Duration;
use std::string::ToString;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, hello, hello_with, seqs, types};
use crate::feature::{Feature, Features};
use crate::id::SessionKey;
use crate::runtime::RuntimeEvent;
use crate::runtime::store::Command;
use crate::secret::TokenHash;

#[test]
fn the_welcome_is_the_published_superset() {
    let mut world = World::new();
    let (_, welcome) = world.session(ALL);
    let payload = &welcome["payload"];
    for (object, flat) in [("name", "runtime_name"), ("version", "runtime_version")] {
        assert_eq!(payload["runtime"][object], payload[flat]);
        assert!(payload[flat].as_str().is_some_and(|text| !text.is_empty()), "{flat}");
    }
    assert_eq!(payload["session_id"], welcome["session_id"]);
    assert_eq!(payload["accepted_at"], "2026-08-14T09:30:00.000Z");
    assert_eq!((&payload["request_id"], &payload["reply_to"]), (&json!("m-hello"), &json!("m-hello")));
    assert_eq!(
        (&payload["resume_window_sec"], &payload["heartbeat_interval_sec"]),
        (&json!(600), &json!(30))
    );
    let token = payload["resume_token"].as_str().unwrap();
    assert!(token.len() == 46 && token.starts_with("rt_"), "{token}");
    assert_eq!(payload["capabilities"]["encodings"], json!(["json"]));
    assert_eq!(
        payload["capabilities"]["agents"],
        json!([
            {"name": "a", "versions": []},
            {"name": "mailer", "versions": []},
            {"name": "refactor", "versions": ["1.0.0", "2.0.0"], "default": "2.0.0"},
        ])
    );
}

#[test]
fn a_welcome_shows_what_was_negotiated_and_nothing_else() {
    let reversed: Vec<&str> = Feature::ALL.iter().rev().map(|feature| feature.as_str()).collect();
    // Of credentials only a runtime that can issue them speaks (D-52).
    let ours: Vec<&str> = ALL.without(Feature::ProvisionedCredentials).iter().map(Feature::as_str).collect();
    for (offered, expected) in [
        (json!(["x-other", "progress", "ack", "progress"]), json!(["ack", "progress"])),
        (json!([]), json!([])),
        (json!(reversed), json!(ours)),
    ] {
        let mut world = World::new();
        let a = world.open();
        let mut payload = hello("good", Features::NONE);
        payload["capabilities"]["features"] = offered;
        world.send(a, "m", "session.hello", payload);
        let welcome = world.one(a);
        assert_eq!(welcome["payload"]["capabilities"]["features"], expected);
        let beats = expected.as_array().unwrap().contains(&json!("heartbeat"));
        assert_eq!(welcome["payload"].get("heartbeat_interval_sec").is_some(), beats);
        if !beats {
            world.wait(Duration::from_secs(3_600));
            assert!(world.take(a).is_empty() && !world.closed.contains_key(&a), "no heartbeats at all");
        }
    }
}

#[test]
fn a_second_hello_disturbs_nothing() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    for kind in ["session.hello", "session.resume"] {
        let refused = world.ask(a, "m2", kind, hello("good", ALL));
        assert_eq!(code(&refused), "INVALID_REQUEST");
        assert_eq!(refused["payload"]["message"], "this connection has a session already");
    }
    world.submit(a, "m3");
}

#[test]
fn a_hello_that_is_refused_leaves_nothing_behind() {
    let mut world = World::new();
    for (members, expected) in [
        (json!({"auth": {"token": "wrong"}}), "UNAUTHENTICATED"),
        (json!({"auth": Value::Null}), "UNAUTHENTICATED"),
        (json!({"capabilities": "x"}), "INVALID_REQUEST"),
        (json!({"resume_token": "rt_unknown"}), "UNAUTHENTICATED"),
    ] {
        let a = world.open();
        world.send(a, "m", "session.hello", hello_with(members));
        assert_eq!(code(&world.one(a)), expected);
    }
    let a = world.open();
    world.send(a, "m", "session.hello", hello("silent", ALL));
    world.cut(a);
    assert!(world.journal.is_empty(), "nothing is stored");
    assert_eq!((world.runtime.population().sessions, world.runtime.population().connections), (0, 0));
    let told = |event: &RuntimeEvent| matches!(event, RuntimeEvent::SessionAttached { .. });
    assert!(!world.events.iter().any(told), "nothing is published");
    world.session(ALL);
    assert!(world.events.iter().any(told) && matches!(world.journal[..], [(_, Command::Append(_))]));
}

#[test]
fn the_longest_token_is_taken() {
    let mut world = World::new();
    let a = world.open();
    world.send(a, "m", "session.hello", hello(&"x".repeat(8_192), ALL));
    let error = world.one(a);
    assert_eq!(code(&error), "UNAUTHENTICATED");
    assert!(
        error["payload"]["message"].as_str().unwrap().contains("not accepted"),
        "the verifier judged it: {error}"
    );
    let b = world.open();
    world.send(b, "m", "session.hello", hello(&"x".repeat(8_193), ALL));
    let error = world.one(b);
    assert_eq!(code(&error), "UNAUTHENTICATED");
    assert!(!error["payload"]["message"].as_str().unwrap().contains("not accepted"), "{error}");
}

#[test]
fn versions_may_be_named_without_the_feature() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::AgentVersions));
    let accepted = world.ask(a, "m1", "job.submit", json!({"agent": "refactor@1.0.0"}));
    assert_eq!(accepted["payload"]["agent"], "refactor@1.0.0");
}

#[test]
fn a_ping_is_answered_and_an_acknowledgement_ignored_without_their_features() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL.without(Feature::Heartbeat).without(Feature::Ack));
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 3);
    world.take(a);
    assert_eq!(world.ask(a, "m2", "session.ping", json!({"nonce": "n"}))["type"], "session.pong", "D-70");
    for seq in [json!(2), json!(999), json!("x")] {
        world.send(a, "m3", "session.ack", json!({"last_processed_seq": seq}));
    }
    assert!(world.take(a).is_empty(), "D-70");
    world.cut(a);
    let (_, frames) = world.resume(&welcome, 0, ALL.without(Feature::Heartbeat).without(Feature::Ack));
    assert_eq!(seqs(&frames), [1, 2, 3], "it freed nothing");
}

#[test]
fn a_pong_overtakes_waiting_events() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.stalled.push(a);
    world.logs(job, 5);
    world.send(a, "m2", "session.ping", json!({"nonce": "n"}));
    world.stalled.clear();
    world.settle();
    let frames = world.take(a);
    assert_eq!(types(&frames)[0], "session.pong");
    assert_eq!(seqs(&frames), [1, 2, 3, 4, 5]);
}

#[test]
fn a_transport_proof_is_no_sign_of_life() {
    let features = ALL.without(Feature::Core);
    let mut world = World::new();
    let (a, _) = world.session(features);
    for _ in 0..5 {
        world.wait(Duration::from_secs(11));
        world.runtime.handle_proof(world.now, a);
        world.settle();
    }
    assert!(!world.closed.contains_key(&a));
    world.wait(Duration::from_secs(5));
    let frames = world.take(a);
    assert_eq!(code(frames.last().unwrap()), "HEARTBEAT_LOST");
    assert_eq!(frames.last().unwrap()["payload"]["message"], "nothing received for 60 s");
}

#[test]
fn what_waits_for_the_older_connection_is_not_sent_behind_its_back() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.stalled.push(a);
    world.send(a, "m2", "session.ping", json!({"nonce": "n"}));
    world.send(a, "m3", "job.cancel", json!({"job_id": id}));
    world.logs(job, 3);
    let (b, frames) = world.resume_with(&welcome["payload"]["resume_token"], ALL);
    // Named by a cancel, the acceptance was confirmed.
    assert_eq!(types(&frames)[0], "session.welcome");
    assert_eq!(seqs(&frames), [1, 2, 3]);
    let last = world.take(a);
    assert_eq!(types(&last), ["session.error"], "neither the pong nor the answer to the cancel");
    assert_eq!(last[0]["payload"]["details"]["reason"], "taken_over");
    world.finish(job, "1");
    assert_eq!(code(&world.one(b)), "CANCELLED");
}

#[test]
fn only_the_hash_of_a_token_is_stored() {
    let mut world = World::new();
    let (a, first) = world.session(ALL);
    let key = SessionKey::parse(first["session_id"].as_str().unwrap()).unwrap();
    world.cut(a);
    let (_, frames) = world.resume(&first, 0, ALL);
    let hashes = [&first, &frames[0]].map(|welcome| {
        let token = welcome["payload"]["resume_token"].as_str().unwrap();
        assert!(!std::format!("{:?}", world.journal).contains(token));
        TokenHash::of(token)
    });
    let record = &world.store.session(key).unwrap().record;
    assert!(record.previous.is_some_and(|previous| previous.matches(&hashes[0])));
    assert!(record.current.matches(&hashes[1]) && !record.current.matches(&hashes[0]));
}

#[test]
fn the_window_of_a_session_starts_with_the_restart() {
    let mut world = World::new();
    let (_, welcome) = world.session(ALL.without(Feature::Heartbeat));
    world.wait(Duration::from_secs(500));
    let mut world = world.restart(config());
    world.wait(Duration::from_secs(599));
    let (_, frames) = world.resume(&welcome, 0, ALL.without(Feature::Heartbeat));
    assert_eq!(frames[0]["type"], "session.welcome");

    let mut world = world.restart(config());
    world.wait(Duration::from_secs(601));
    let (_, frames) = world.resume(&frames[0], 0, ALL.without(Feature::Heartbeat));
    assert_eq!(code(&frames[0]), "RESUME_WINDOW_EXPIRED");
}

#[test]
fn intervals_and_windows_stay_in_their_ranges() {
    for (seconds, interval, window) in [(0, 1, 1), (1, 1, 1), (3_600, 3_600, 3_600), (100_000, 3_600, 86_400)]
    {
        let mut config = config();
        config.heartbeat_interval = Duration::from_secs(seconds);
        config.resume_window = Duration::from_secs(seconds);
        let mut world = World::with(config);
        let (a, welcome) = world.session(ALL);
        assert_eq!(welcome["payload"]["heartbeat_interval_sec"], interval);
        assert_eq!(welcome["payload"]["resume_window_sec"], window);
        world.wait(Duration::from_secs(2 * interval) - Duration::from_millis(1));
        assert!(!world.closed.contains_key(&a));
        world.wait(Duration::from_millis(1));
        assert!(world.closed.contains_key(&a));
        world.wait(Duration::from_secs(window) - Duration::from_millis(1));
        assert_eq!(world.runtime.population().sessions, 1);
        world.wait(Duration::from_millis(1));
        assert_eq!(world.runtime.population().sessions, 0);
    }
}

#[test]
fn a_long_reason_is_cut() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (_, id) = world.submit(a, "m1");
    let reason = "ü".repeat(1_000);
    let cancelled = world.ask(a, "m2", "job.cancel", json!({"job_id": id, "reason": reason}));
    assert_eq!(cancelled["payload"]["reason"].as_str().unwrap().len(), 1_024);
    world.wait(Duration::from_secs(30));
    let end = world.take(a).pop().unwrap();
    assert_eq!(end["payload"]["message"].to_string(), cancelled["payload"]["reason"].to_string());
}
