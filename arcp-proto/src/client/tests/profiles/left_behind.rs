//! Jobs that a runtime leaves behind with a lost connection.

use std::format;
use std::vec::Vec;

use serde_json::{Value, json};

use super::super::peer::{JOB, World, job};
use super::{OTHER, PROFILES, sent, vector, welcome, with, with_job};
use crate::client::Subscription;
use crate::wire::peer::PeerProfile;

const FOLLOWS: [&str; 2] = ["job.unsubscribe", "job.subscribe"];

fn resume(world: &mut World) {
    world.reopen();
    world.feed(&welcome(PeerProfile::Python113));
}

/// Takes the last subscribe that was sent and answers it.
fn subscribed(world: &mut World, status: &str) {
    let subscribe = world.sent.iter().rfind(|frame| frame["type"] == "job.subscribe").expect("a subscribe");
    let (id, named) = (subscribe["id"].clone(), subscribe["job_id"].clone());
    world.sent.clear();
    let payload = json!({"request_id": id, "job_id": named, "current_status": status, "replayed": 0});
    world.say_of(named.as_str().expect("a job"), "job.subscribed", None, payload);
}

/// An event without a position, as such a runtime sends it.
fn event(world: &mut World, job: &str, seq: u64) {
    world.say_of(job, "job.event", Some(seq), json!({"kind": "thought", "body": {"text": "x"}}));
}

#[test]
fn only_where_jobs_are_left_behind_is_a_resume_followed_by_subscriptions() {
    for profile in PROFILES {
        let mut world = with_job(profile);
        world.reopen();
        world.feed(&welcome(profile));
        let frames = sent(&mut world);
        let follows = frames.iter().any(|frame| FOLLOWS.contains(&frame.as_str()));
        assert_eq!(follows, profile == PeerProfile::Python113, "{profile:?}: {frames:?}");
    }
}

#[test]
fn a_job_left_behind_is_followed_in_the_numbers_of_its_subscription() {
    let mut world = with_job(PeerProfile::Python113);
    for number in 1..=5 {
        event(&mut world, JOB, number);
    }
    resume(&mut world);
    world.told();
    // What had been written before the loss comes as ever.
    event(&mut world, JOB, 6);
    assert_eq!(world.told(), [format!("event {JOB} 6 thought")]);
    assert_eq!(world.sent.iter().map(|frame| frame["type"].clone()).collect::<Value>(), json!(FOLLOWS));
    subscribed(&mut world, "running");
    assert_eq!(world.told(), [""; 0], "the application did not ask for it");
    event(&mut world, JOB, 1);
    event(&mut world, JOB, 2);
    assert_eq!(world.told(), [format!("event {JOB} - thought"), format!("event {JOB} - thought")]);
    // The session's own numbers go on.
    world.submit_with("k-2");
    world.accept(OTHER);
    event(&mut world, OTHER, 7);
    assert_eq!(world.told(), [format!("accepted 2 {OTHER}"), format!("event {OTHER} 7 thought")]);

    // What a second resume repeats of the subscription was heard.
    resume(&mut world);
    world.told();
    event(&mut world, JOB, 2);
    event(&mut world, JOB, 3);
    assert_eq!(world.told(), [format!("event {JOB} - thought")]);
    let follows: Vec<_> = world.sent.iter().map(|frame| frame["payload"]["job_id"].clone()).collect();
    assert_eq!(follows, [OTHER, JOB, OTHER, JOB], "{:?}", world.sent);
    let subscribe = world.sent.pop_back().expect("a subscribe");
    let payload = json!({"request_id": subscribe["id"], "job_id": JOB, "current_status": "running"});
    world.say_of(JOB, "job.subscribed", None, payload);
    event(&mut world, JOB, 1);
    let end = json!({"final_status": "cancelled", "completed_at": "2026-08-14T09:41:00Z"});
    world.say_of(JOB, "job.result", Some(2), end);
    assert_eq!(world.told(), [format!("event {JOB} - thought"), format!("ended {JOB} - cancelled")]);
}

#[test]
fn an_end_that_came_in_between_is_asked_for_by_key() {
    let mut world = with_job(PeerProfile::Python113);
    resume(&mut world);
    world.told();
    subscribed(&mut world, "success");
    assert_eq!(world.told(), [""; 0], "the result is still to be had");
    let submit = world.next("job.submit");
    assert_eq!(submit["payload"]["idempotency_key"], "k-1");
    world.say_of(JOB, "job.accepted", None, json!({"job_id": JOB, "request_id": submit["id"]}));
    world.end(JOB, 1, 1);
    assert_eq!(world.told(), [format!("ended {JOB} 1 success")]);
}

#[test]
fn a_followed_job_is_followed_again_or_its_end_told() {
    for (status, told) in [("running", None), ("error", Some(format!("ended {JOB} - error")))] {
        let mut world = with(PeerProfile::Python113);
        world.client.subscribe(world.now, &job(JOB), Subscription::Live).unwrap();
        world.drain();
        subscribed(&mut world, "running");
        event(&mut world, JOB, 1);
        assert_eq!(world.client.ignored_frames(), 0);
        resume(&mut world);
        world.told();
        event(&mut world, JOB, 1);
        assert_eq!(world.told(), [""; 0], "a repeat");
        assert_eq!(world.client.ignored_frames(), 1);
        assert_eq!(world.sent.iter().map(|frame| frame["type"].clone()).collect::<Value>(), json!(FOLLOWS));
        subscribed(&mut world, status);
        assert_eq!(world.told(), Vec::from_iter(told), "{status}");
    }
}

#[test]
fn an_abandoned_job_stays_behind() {
    let mut world = with_job(PeerProfile::Python113);
    world.client.abandon(world.now, &job(JOB));
    resume(&mut world);
    world.nothing_sent();
}

#[test]
fn a_job_that_another_connection_submitted_is_followed() {
    let mut accepted = vector("welcome-python113");
    for (key, id, elsewhere) in [
        ("id", "01KZZSPQXM5HJKN0H6B875THHP", true),
        ("id", "01KZZSPQZM5HJKN0H6B875THHP", false),
        ("session_id", "sess_01KZZSPQHVT4QJ3M8Y6D0R5W2Y", true),
    ] {
        let mut world = with(PeerProfile::Python113);
        world.submit();
        let submit = world.next("job.submit");
        accepted["type"] = "job.accepted".into();
        accepted["id"] = "01KZZSPQZM5HJKN0H6B875THHP".into();
        accepted["session_id"] = submit["session_id"].clone();
        accepted["payload"] = json!({"job_id": JOB, "request_id": submit["id"]});
        accepted[key] = id.into();
        world.feed(&accepted);
        assert_eq!(world.told(), [format!("accepted 0 {JOB}")]);
        assert_eq!(sent(&mut world), if elsewhere { &FOLLOWS[..] } else { &[] }, "{key} {id}");
    }
}
