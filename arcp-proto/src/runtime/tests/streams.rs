//! What belongs into a session's stream, and what its numbers mean (protocol §2.6, §3.6, §4.1, §4.3).

use core::time::Duration;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, positions, seqs, types};
use crate::feature::Feature;
use crate::id::SessionKey;
use crate::time::UnixTime;

#[test]
fn after_a_restart_everything_may_be_acknowledged() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL.without(Feature::Heartbeat));
    let (job, _) = world.submit(a, "m1");
    world.stalled.push(a);
    world.logs(job, 5);
    // Never handed to the transport, and yet it may have got there: the record of that went with the process.
    let mut world = world.restart(config());
    let (b, _) = world.resume(&welcome, 0, ALL.without(Feature::Heartbeat));
    world.take(b);
    for (seq, refused) in [(7, true), (6, false)] {
        world.send(b, "m2", "session.ack", json!({"last_processed_seq": seq}));
        assert_eq!(world.take(b).len(), usize::from(refused), "{seq} of the five and the end");
    }
}

#[test]
fn events_nobody_owned_have_rising_origin_numbers() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let (noise, _) = world.submit(a, "m0");
    let (job, id) = world.submit(a, "m1");
    world.logs(noise, 10);
    world.logs(job, 2);
    world.cut(a);
    world.wait(Duration::from_secs(600));
    assert_eq!(world.runtime.population().sessions, 0, "the owner is dead");
    world.logs(job, 3);
    let (b, _) = world.session(ALL);
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true, "from_event_seq": 12}));
    let frames = world.take(b);
    assert_eq!(
        frames[0]["payload"]["subscribed_from"], 15,
        "D-103: 11 and 12 were the owner's, then one more each"
    );
    assert_eq!(positions(&frames), [3, 4, 5]);
    world.finish(job, "1");
    let page = world.ask(b, "m3", "session.list_jobs", json!({"filter": {"status": "success"}}));
    assert_eq!(page["payload"]["jobs"][0]["last_event_seq"], 16);
}

#[test]
fn subscriptions_die_with_their_session() {
    let mut world = World::new();
    let mut limited = config();
    limited.limits.subscribers = 1;
    let features = ALL.without(Feature::Heartbeat);
    let mut full = World::with(limited);
    for world in [&mut world, &mut full] {
        let (a, _) = world.session(features);
        let (b, welcome) = world.session(features);
        let (job, id) = world.submit(a, "m1");
        world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
        world.cut(b);
        world.wait(Duration::from_secs(600));
        assert_eq!(code(&world.resume(&welcome, 0, features).1[0]), "RESUME_WINDOW_EXPIRED");
        let (c, _) = world.session(features);
        world.logs(job, 1);
        assert!(world.take(c).is_empty());
        let again = world.ask(c, "m3", "job.subscribe", json!({"job_id": id}));
        assert_eq!(again["type"], "job.subscribed", "its place is free: {again}");
    }
}

#[test]
fn a_session_gets_frames_of_the_jobs_it_follows_alone() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let (first, first_id) = world.submit(a, "m1");
    let (second, _) = world.submit(a, "m2");
    let (third, third_id) = world.submit(b, "m3");
    world.ask(b, "m4", "job.subscribe", json!({"job_id": first_id}));
    for job in [first, second, third, second, first] {
        world.logs(job, 1);
    }
    for job in [second, first, third] {
        world.finish(job, "1");
    }
    let frames = world.take(b);
    let jobs: Vec<&str> = frames.iter().map(|frame| frame["job_id"].as_str().unwrap()).collect();
    let (first, third) = (first_id.as_str(), third_id.as_str());
    assert_eq!(jobs, [first, third, first, first, third]);
    assert_eq!(seqs(&frames), [1, 2, 3, 4, 5], "without holes for what is not its own");
    assert_eq!(types(&world.take(a)).len(), 6);
}

#[test]
fn the_time_of_an_event_is_that_of_its_production() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL.without(Feature::Heartbeat));
    let (job, id) = world.submit(a, "m1");
    world.cut(a);
    world.logs(job, 1);
    world.wait(Duration::from_secs(10));
    world.finish(job, "1");
    world.wait(Duration::from_secs(100));
    let times = |frames: &[Value]| -> Vec<Value> {
        frames
            .iter()
            .filter(|frame| !frame["event_seq"].is_null())
            .map(|frame| {
                let payload = &frame["payload"];
                payload.get("ts").or_else(|| payload.get("completed_at")).unwrap().clone()
            })
            .collect()
    };
    let expected = ["2026-08-14T09:30:00.000Z", "2026-08-14T09:30:10.000Z"];
    let (_, frames) = world.resume(&welcome, 0, ALL.without(Feature::Heartbeat));
    assert_eq!(times(&frames), expected);
    let (b, _) = world.session(ALL);
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    assert_eq!(times(&world.take(b)), expected, "in history too");
}

#[test]
fn a_step_of_the_wall_clock_touches_nothing_but_leases() {
    for step in [3_600 * 24, -3_600 * 24] {
        let mut world = World::new();
        let (a, _) = world.session(ALL);
        let (b, detached) = world.session(ALL);
        world.cut(b);
        world.send(a, "m1", "job.submit", json!({"agent": "a", "max_runtime_sec": 20}));
        world.take(a);
        world.now.unix = UnixTime::from_millis(world.now.unix.as_millis() + step * 1_000);
        world.wait(Duration::from_secs(19));
        assert!(world.take(a).is_empty() && !world.closed.contains_key(&a), "no heartbeat was due");
        assert!(world.told.iter().all(|told| !told.starts_with("cancel")), "{:?}", world.told);
        world.wait(Duration::from_secs(1));
        assert!(
            world.told.iter().any(|told| told.contains("TimedOut(20)")),
            "D-28: it counts from acceptance"
        );
        world.wait(Duration::from_secs(3));
        assert_eq!(types(&world.take(a)), ["session.ping"]);
        assert_eq!(world.resume(&detached, 0, ALL).1[0]["type"], "session.welcome", "its window goes on");
    }
}

#[test]
fn history_is_numbered_while_there_is_room_to_send_it() {
    let mut small = config();
    small.limits.window_events = 64;
    let mut world = World::with(small);
    let (a, _) = world.session(ALL);
    let (b, welcome) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.logs(job, 1_000);
    world.stalled.push(b);
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    let key = SessionKey::parse(welcome["session_id"].as_str().unwrap()).unwrap();
    let numbered = world.store.session(key).unwrap().numbers.last();
    assert!(numbered <= 64, "D-101: {numbered} numbers for a client that reads nothing");
    world.stalled.clear();
    world.settle();
    assert_eq!(positions(&world.take(b)), (1..=1_000).collect::<Vec<_>>());
}

#[test]
fn an_earlier_loss_does_not_shorten_the_window() {
    let features = ALL.without(Feature::Heartbeat);
    let mut world = World::new();
    let (a, welcome) = world.session(features);
    world.cut(a);
    world.wait(Duration::from_secs(590));
    let (b, frames) = world.resume(&welcome, 0, features);
    world.cut(b);
    world.wait(Duration::from_secs(599));
    let (_, frames) = world.resume(&frames[0], 0, features);
    assert_eq!(frames[0]["type"], "session.welcome");
}

#[test]
fn a_cancel_of_a_job_that_has_just_ended_waits_for_its_end() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.instant_store = false;
    world.finish(job, "1");
    world.send(a, "m2", "job.cancel", json!({"job_id": id}));
    assert!(world.take(a).is_empty(), "the end it tells of is not stored");
    world.store_all();
    let frames = world.take(a);
    let answer = frames.iter().find(|frame| frame["type"] == "job.cancelled").unwrap();
    assert_eq!(answer["payload"]["current_status"], "success");
}
