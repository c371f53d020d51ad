//! The envelope of every frame of a client, and what it makes of a welcome (protocol §1, §2.2).

use alloc::collections::BTreeSet;
use core::time::Duration;
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::{Value, json};

use super::peer::{JOB, SESSION, World, job};
use crate::client::{ListQuery, Submission, Subscription};
use crate::close::CloseCode;
use crate::config::ClientConfig;
use crate::feature::{Feature, Features};
use crate::wire::RawJson;
use crate::wire::testing::{is_minted, is_trace_id, stray_null};

const SECOND: Duration = Duration::from_secs(1);

fn check_head(frame: &Value, session: Option<&str>) {
    const MEMBERS: [&str; 7] = ["arcp", "id", "type", "session_id", "trace_id", "job_id", "payload"];
    let members = frame.as_object().unwrap();
    assert!(members.keys().all(|name| MEMBERS.contains(&name.as_str())), "{frame}");
    assert_eq!(frame["arcp"], "1.1", "{frame}");
    assert!(is_minted(&frame["id"], "msg_"), "{frame}");
    match session {
        Some(session) => assert_eq!(frame["session_id"], session, "{frame}"),
        None => assert!(is_minted(&frame["session_id"], "sess_"), "{frame}"),
    }
    assert!(frame["payload"].is_object(), "{frame}");
    assert_eq!(stray_null(frame, ""), None, "{frame}");
    let message_type = frame["type"].as_str().unwrap();
    match message_type {
        "job.submit" => assert!(is_trace_id(&frame["trace_id"]) && frame["job_id"].is_null(), "{frame}"),
        "job.cancel" | "job.subscribe" | "job.unsubscribe" => {
            assert!(frame["job_id"].is_string(), "{frame}");
            assert_eq!(frame["job_id"], frame["payload"]["job_id"], "{frame}");
        }
        _ => assert!(frame["job_id"].is_null(), "{frame}"),
    }
    match message_type {
        "job.cancel" | "session.close" | "session.bye" => {
            assert!(frame["payload"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{frame}");
        }
        "session.ping" => assert!(is_minted(&frame["payload"]["nonce"], "p_"), "{frame}"),
        "job.submit" => assert!(is_minted(&frame["payload"]["idempotency_key"], "idk_"), "{frame}"),
        _ => {}
    }
}

/// Everything a client sends, with no more said than must be.
#[test]
fn every_frame_of_a_client_has_the_documented_head() {
    let mut seen = BTreeSet::new();
    for mut world in [World::core(), World::stranger()] {
        let mut ids = BTreeSet::new();
        let first = world.connect();
        check_head(&first, None);
        assert!(ids.insert(first["id"].to_string()));
        let mut frames = Vec::new();
        world.client.submit(world.now, Submission::new("a", RawJson::null())).unwrap();
        world.drain();
        frames.push(world.accept(JOB));
        world.log(JOB, 1, 1);
        world.taken(1);
        world.client.cancel(world.now, &job(JOB), None).unwrap();
        world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
        world.client.list_jobs(world.now, ListQuery::default()).unwrap();
        world.say("session.ping", json!({"nonce": "n"}));
        world.client.unsubscribe(world.now, &job("job_S"));
        world.pass(SECOND * 25);
        let resumed = world.reopen();
        frames.push(resumed.clone());
        world.welcome(&resumed, SESSION);
        world.client.close(world.now, None);
        world.drain();
        // A frame of the connection before may have been written again.
        world.pass(SECOND);
        frames.extend(world.sent.drain(..));
        for frame in &frames {
            check_head(frame, Some(SESSION));
            assert!(ids.insert(frame["id"].to_string()), "an id twice: {frame}");
            seen.insert(frame["type"].as_str().unwrap().to_string());
        }
    }
    let expected =
        ["job.cancel", "job.submit", "session.ack", "session.bye", "session.close", "session.hello"];
    assert!(expected.iter().all(|message_type| seen.contains(*message_type)), "{seen:?}");
}

#[test]
fn frames_that_ask_nothing_twice_have_the_documented_head() {
    let mut world = World::core().with_job();
    world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
    world.client.list_jobs(world.now, ListQuery::default()).unwrap();
    world.say("session.ping", json!({"nonce": "n"}));
    world.client.unsubscribe(world.now, &job("job_S"));
    world.drain();
    world.pass(SECOND * 40);
    let seen: BTreeSet<String> =
        world.sent.iter().map(|frame| frame["type"].as_str().unwrap().to_string()).collect();
    world.sent.iter().for_each(|frame| check_head(frame, Some(SESSION)));
    let expected = ["job.subscribe", "job.unsubscribe", "session.list_jobs", "session.ping", "session.pong"];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

fn welcome(world: &mut World, members: Value) {
    let mut payload = json!({"runtime": {"name": "q", "version": "1"}, "resume_token": "rt_1"});
    for (name, value) in members.as_object().unwrap() {
        payload[name] = value.clone();
    }
    world.feed(&json!({"arcp": "1.1", "id": "w", "type": "session.welcome", "session_id": SESSION, "payload": payload}));
}

#[test]
fn an_error_of_the_session_answers_a_hello_whatever_it_names_and_one_of_a_job_does_not() {
    for (message_type, told, close) in
        [("session.error", &["closed Refused"][..], CloseCode::Normal), ("job.error", &[], CloseCode::Policy)]
    {
        let mut world = World::core();
        world.open();
        let payload = json!({"code": "INVALID_REQUEST", "job_id": JOB});
        world.feed(&json!({"arcp": "1.1", "id": "m", "type": message_type, "payload": payload}));
        assert_eq!(world.told(), told);
        assert_eq!(world.closes, [close], "{message_type}");
    }
}

#[test]
fn heartbeats_without_an_interval_come_every_thirty_seconds() {
    for interval in [json!({}), json!({"heartbeat_interval_sec": 0}), json!({"heartbeat_interval_sec": null})]
    {
        let mut world = World::core();
        world.open();
        let mut members = interval;
        members["capabilities"] = json!({"features": ["heartbeat"]});
        welcome(&mut world, members);
        world.pass(SECOND * 22);
        world.nothing_sent();
        world.pass(SECOND);
        world.next("session.ping");
    }
}

#[test]
fn features_nobody_offered_are_not_used() {
    let mut config = ClientConfig::new("tk");
    config.features = Features::NONE.with(Feature::Ack);
    let mut world = World::with(config, Features::SUPPORTED);
    world.connect();
    world.told();
    world.client.subscribe(world.now, &job(JOB), Subscription::Live).unwrap();
    world.client.list_jobs(world.now, ListQuery::default()).unwrap();
    world.drain();
    assert_eq!(
        world.told(),
        ["rejected 0 Unsupported(\"subscribe\")", "rejected 1 Unsupported(\"list_jobs\")"],
        "the runtime announces more than was offered"
    );
    world.pass(SECOND * 3_600);
    world.nothing_sent();
}

#[test]
fn a_welcome_may_repeat_the_token() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    for _ in 0..3 {
        let hello = world.reopen();
        assert_eq!(hello["payload"]["resume"]["resume_token"], "rt_1");
        world.told();
        welcome(
            &mut world,
            json!({"capabilities": {"features": Features::SUPPORTED.iter().map(Feature::as_str).collect::<Vec<_>>()}}),
        );
        assert_eq!(world.told(), [std::format!("connected {SESSION} resumed=true")]);
    }
}

#[test]
fn a_cancel_may_take_thirty_seconds_and_the_grace() {
    // Some runtimes do not acknowledge a cancel, and end the job when its agent has had its time.
    let mut world = World::stranger().with_job();
    let cancelled = |world: &mut World| {
        world.client.cancel(world.now, &job(JOB), None).unwrap();
        world.drain();
        for _ in 0..5 {
            world.pass(SECOND * 10 - Duration::from_millis(1));
            world.feed_text("a sign of life");
        }
        assert!(world.told().is_empty());
    };
    cancelled(&mut world);
    world.end(JOB, 1, 2);
    assert_eq!(world.told(), ["cancelled 1 success".to_string(), std::format!("ended {JOB} 1 success")]);

    let mut world = World::stranger().with_job();
    cancelled(&mut world);
    world.pass(SECOND * 11);
    assert_eq!(world.told(), ["rejected 1 TimedOut"]);
}
