//! Acceptances and other replies that a lost connection may take with it (protocol §2.4, D-66).

use serde_json::{Value, json};

use super::harness::{ALL, World, hello_with, token, types};
use crate::feature::Feature;

#[test]
fn unconfirmed_acceptances_are_sent_again_before_the_replay_and_only_to_our_own() {
    for core in [true, false] {
        let features = if core { ALL } else { ALL.without(Feature::Core) };
        let mut world = World::new();
        let (a, welcome) = world.session(features);
        let (job, id) = world.submit(a, "m1");
        world.logs(job, 2);
        let original: Value = serde_json::from_str(&world.texts[&a][1]).unwrap();
        world.cut(a);
        let (b, frames) = world.resume(&welcome, 0, features);
        if !core {
            assert_eq!(types(&frames), ["session.welcome", "job.event", "job.event"], "D-66");
            continue;
        }
        assert_eq!(types(&frames), ["session.welcome", "job.accepted", "job.event", "job.event"], "JOB-4");
        assert_eq!(frames[1]["job_id"], id.as_str());
        assert_eq!(frames[1]["payload"], original["payload"], "with the original request's id");
        assert_ne!(frames[1]["id"], original["id"], "and an id of its own");
        // Presenting a number at or above the first one confirms, and so does an acknowledgement.
        world.cut(b);
        let (c, frames) = world.resume(&frames[0].clone(), 1, features);
        assert_eq!(types(&frames), ["session.welcome", "job.event"]);
        world.cut(c);
    }
}

#[test]
fn an_acknowledgement_confirms_the_acceptances_up_to_it() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    for id in ["m1", "m2"] {
        let (job, _) = world.submit_after(a, id);
        world.logs(job, 1);
    }
    world.send(a, "m3", "session.ack", json!({"last_processed_seq": 1}));
    world.cut(a);
    let (_, frames) = world.resume(&welcome, 1, ALL);
    assert_eq!(types(&frames), ["session.welcome", "job.accepted", "job.event"]);
    assert_eq!(frames[1]["payload"]["request_id"], "m2");
}

/// A client can know the id from a list or from another session, and still lack the answer to its own submit.
#[test]
fn a_request_that_names_the_job_confirms_nothing() {
    for kind in ["job.cancel", "job.subscribe"] {
        let mut world = World::new();
        let (a, welcome) = world.session(ALL);
        let (job, id) = world.submit(a, "m1");
        world.logs(job, 1);
        world.send(a, "m2", kind, json!({"job_id": id}));
        world.cut(a);
        let (_, frames) = world.resume(&welcome, 0, ALL);
        assert_eq!(types(&frames)[..3], ["session.welcome", "job.accepted", "job.event"], "{kind}: JOB-4");
        assert_eq!(frames[1]["payload"]["request_id"], "m1");
    }
}

#[test]
fn a_key_that_is_presented_again_confirms_nothing() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    world.instant_store = false;
    for id in ["m1", "m2"] {
        world.send(a, id, "job.submit", json!({"agent": "a", "idempotency_key": "k"}));
    }
    world.cut(a);
    world.instant_store = true;
    world.store_all();
    let job = world.started[0].job;
    world.logs(job, 1);
    let (_, frames) = world.resume(&welcome, 0, ALL);
    assert_eq!(types(&frames), ["session.welcome", "job.accepted", "job.event"], "JOB-4");
}

#[test]
fn more_acceptances_than_the_queue_holds_do_not_lock_the_client_out() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    for n in 0..400 {
        world.send(a, &std::format!("m{n}"), "job.submit", json!({"agent": "a"}));
    }
    world.cut(a);
    let b = world.open();
    world.stalled.push(b);
    let payload = hello_with(json!({"resume": {"resume_token": token(&welcome), "last_event_seq": 0}}));
    world.send(b, "h", "session.hello", payload);
    world.stalled.clear();
    world.settle();
    let frames = world.take(b);
    assert_eq!(frames.len(), 401);
    assert!(!world.closed.contains_key(&b));
}

#[test]
fn the_reply_to_a_submit_follows_the_session() {
    for core in [true, false] {
        let features = if core { ALL } else { ALL.without(Feature::Core) };
        let mut world = World::new();
        let (a, welcome) = world.session(features);
        world.instant_store = false;
        world.send(a, "m1", "job.submit", json!({"agent": "a"}));
        let held = world.commands.pop_front().unwrap();
        world.cut(a);
        let (b, _) = world.resume(&welcome, 0, features);
        let done = world.store.execute(held.1);
        world.answer_store(held.0, done);
        world.store_all();
        let frames = world.take(b);
        let expected: &[&str] =
            if core { &["session.welcome", "job.accepted"] } else { &["session.welcome"] };
        assert_eq!(types(&frames), expected, "D-66: core {core}");
        if core {
            assert_eq!(frames[1]["payload"]["request_id"], "m1");
        }
    }
}

#[test]
fn replies_to_other_requests_die_with_their_connection() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    let (_, id) = world.submit(a, "m1");
    world.instant_store = false;
    world.send(a, "m2", "job.cancel", json!({"job_id": id}));
    world.cut(a);
    let (b, _) = world.resume(&welcome, 0, ALL);
    world.store_all();
    assert_eq!(types(&world.take(b)), ["session.welcome", "job.accepted"], "and no job.cancelled");
}
