//! Limits of streams: what is kept, held and given up when events come faster than they go (protocol §2.6, ACK).

use std::string::String;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, limit, positions, seqs};
use crate::config::Limits;
use crate::feature::Feature;
use crate::runtime::store::Command;
use crate::runtime::{AgentInput, JobHandle};
use crate::wire::event::ChunkEmission;

fn limited(change: impl FnOnce(&mut Limits)) -> World {
    let mut config = config();
    change(&mut config.limits);
    World::with(config)
}

/// Events and bytes in memory for the session that is the oldest.
fn window(world: &World) -> (usize, u64) {
    world.runtime.sessions.iter().next().map(|(_, session)| session.window.held()).unwrap()
}

fn chunk(world: &mut World, job: JobHandle, bytes: usize) {
    let emission = ChunkEmission::utf8(&"x".repeat(bytes), true).unwrap();
    world.runtime.handle_agent(world.now, job, AgentInput::Chunk(emission)).unwrap();
    world.settle();
}

fn holds(world: &mut World) -> Vec<String> {
    let all = core::mem::take(&mut world.told);
    all.into_iter().filter(|told| told.starts_with("hold") || told.starts_with("release")).collect()
}

#[test]
fn a_client_that_stops_reading_costs_its_window_and_nothing_more() {
    let mut world = limited(|limits| (limits.window_events, limits.window_bytes) = (16, 4_096));
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let (b, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    world.stalled.push(a);
    for _ in 0..20 {
        world.logs(job, 20);
        let (events, bytes) = window(&world);
        assert!(events <= 16 && bytes <= 4_096, "ACK-3: {events} events, {bytes} bytes");
    }
    assert_eq!(seqs(&world.take(b)).len(), 400, "nobody else waits (VIS-6)");
    world.stalled.clear();
    world.settle();
    assert_eq!(seqs(&world.take(a)), (1..=400).collect::<Vec<_>>(), "the rest is read back");
}

#[test]
fn what_is_acknowledged_takes_no_memory() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    for round in 0..3 {
        let (job, _) = world.submit_after(a, &std::format!("m{round}"));
        world.logs(job, 10);
        assert_eq!(window(&world).0, 10);
        world.finish(job, "1");
        world.take(a);
        world.ack_all(a, &std::format!("k{round}"));
        assert_eq!(window(&world), (0, 0));
        let session = world.runtime.sessions.iter().next().map(|(_, session)| session).unwrap();
        assert!(session.lines.is_empty());
    }
}

#[test]
fn large_events_fill_the_window_by_bytes() {
    let mut world = limited(|limits| limits.window_bytes = 10_000);
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.stalled.push(a);
    for _ in 0..10 {
        world.log(job, &"x".repeat(3_000));
    }
    world.settle();
    let (events, bytes) = window(&world);
    assert!(events == 3 && bytes <= 10_000, "{events} {bytes}");
    world.stalled.clear();
    world.settle();
    assert_eq!(seqs(&world.take(a)), (1..=10).collect::<Vec<_>>());
}

#[test]
fn an_owner_holds_its_jobs_from_eight_tenths_of_its_window_to_four() {
    let mut world = limited(|limits| limits.window_events = 10);
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.stalled.push(a);
    world.logs(job, 7);
    assert!(holds(&mut world).is_empty());
    world.logs(job, 1);
    assert_eq!(holds(&mut world), [std::format!("hold {job:?}")]);
    let mut left = 8;
    while holds(&mut world).is_empty() {
        assert!(left > 3, "not released at {left} of 10");
        world.runtime.poll_frame(a).unwrap();
        world.settle();
        left -= 1;
    }
    assert_eq!(left, 3, "below four tenths");
}

#[test]
fn a_subscriber_holds_nobody_and_is_given_up_at_the_limit() {
    let mut world = limited(|limits| (limits.window_events, limits.replay_events) = (8, 300));
    let (a, _) = world.session(ALL.without(Feature::Core));
    let (b, welcome) = world.session(ALL.without(Feature::Core));
    let (job, id) = world.submit(a, "m1");
    world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    world.stalled.push(b);
    for n in 1..=300 {
        world.logs(job, 1);
        let last = world.take(a).last().map(|frame| frame["event_seq"].clone()).unwrap();
        assert_eq!(last, n);
        world.send(a, "ack", "session.ack", json!({"last_processed_seq": n}));
    }
    assert!(holds(&mut world).is_empty());
    assert!(!world.closed.contains_key(&b));
    world.logs(job, 1);
    assert!(world.closed.contains_key(&b), "D-10");
    let frames = world.take(b);
    assert_eq!(limit(frames.last().unwrap()), "unsent");
    assert_eq!(seqs(&world.take(a)), [301]);
    // What had not been sent is still there for a resume.
    let (_, frames) = world.resume(&welcome, 0, ALL.without(Feature::Core));
    assert_eq!(seqs(&frames), (1..=301).collect::<Vec<_>>());
}

/// Cuts the newest connection and gives its welcome, which has the session's present token.
#[test]
fn a_detached_owner_holds_only_jobs_that_stream_chunks() {
    let mut world = limited(|limits| limits.replay_chunk_bytes = 100_000);
    let (a, welcome) = world.session(ALL);
    let (quiet, _) = world.submit(a, "m1");
    let (streaming, _) = world.submit(a, "m2");
    world.cut(a);
    holds(&mut world);
    chunk(&mut world, streaming, 79_000);
    assert!(holds(&mut world).is_empty());
    chunk(&mut world, streaming, 2_000);
    assert_eq!(holds(&mut world), [std::format!("hold {streaming:?}")]);
    chunk(&mut world, quiet, 10);
    assert_eq!(holds(&mut world), [std::format!("hold {quiet:?}")], "one that begins to stream is held too");
    let (b, frames) = world.resume(&welcome, 0, ALL);
    let last = *seqs(&frames).last().unwrap();
    world.send(b, "m3", "session.ack", json!({"last_processed_seq": last}));
    assert_eq!(holds(&mut world).len(), 2, "released by the acknowledgement");
}

#[test]
fn between_our_own_endpoints_what_is_unacknowledged_holds_too() {
    for core in [true, false] {
        let features = if core { ALL } else { ALL.without(Feature::Core) };
        let mut world = limited(|limits| limits.replay_events = 100);
        let (a, _) = world.session(features);
        let (job, _) = world.submit(a, "m1");
        world.logs(job, 79);
        assert!(holds(&mut world).is_empty());
        world.logs(job, 1);
        assert_eq!(holds(&mut world).len(), usize::from(core), "D-98, core {core}");
        world.send(a, "m2", "session.ack", json!({"last_processed_seq": 80}));
        assert_eq!(holds(&mut world).len(), usize::from(core));
    }
}

fn notices(frames: &[Value]) -> Vec<&Value> {
    frames.iter().filter(|frame| frame["payload"]["body"]["phase"] == "back_pressure").collect()
}

#[test]
fn a_lagging_session_is_told_once_and_again_after_it_caught_up() {
    let mut world = limited(|limits| limits.lag = 10);
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL.without(Feature::Ack));
    let (job, id) = world.submit(a, "m1");
    world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    world.logs(job, 10);
    assert!(notices(&world.take(a)).is_empty());
    world.logs(job, 20);
    let frames = world.take(a);
    let told = notices(&frames);
    assert_eq!(told.len(), 1, "ACK-4");
    assert_eq!(told[0]["event_seq"], 12);
    assert_eq!(told[0]["payload"]["body"]["details"], json!({"lag": 11, "threshold": 10}));
    assert!(told[0]["payload"]["pos"].is_null(), "not part of the job's log");
    assert_eq!(seqs(&frames), (11..=31).collect::<Vec<_>>(), "numbered like any other");
    assert_eq!(positions(&frames), (11..=30).collect::<Vec<_>>());
    let watched = world.take(b);
    assert!(notices(&watched).is_empty());
    assert_eq!(seqs(&watched), (1..=30).collect::<Vec<_>>());
    // A lag of exactly half does not arm it again, one less does.
    world.send(a, "m3", "session.ack", json!({"last_processed_seq": 26}));
    world.logs(job, 6);
    assert!(notices(&world.take(a)).is_empty());
    world.send(a, "m4", "session.ack", json!({"last_processed_seq": 33}));
    world.logs(job, 7);
    let frames = world.take(a);
    let told = notices(&frames);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["payload"]["body"]["details"], json!({"lag": 11, "threshold": 10}));
}

#[test]
fn history_that_crosses_the_threshold_tells_too() {
    let mut world = limited(|limits| limits.lag = 10);
    let (a, _) = world.session(ALL.without(Feature::Ack));
    let (b, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.logs(job, 40);
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    let frames = world.take(b);
    assert_eq!(notices(&frames).len(), 1);
    assert_eq!(positions(&frames), (1..=40).collect::<Vec<_>>());
    assert_eq!(seqs(&frames), (1..=41).collect::<Vec<_>>());
}

#[test]
fn a_terminal_is_never_followed_by_a_notice() {
    let mut world = limited(|limits| limits.lag = 3);
    let (a, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    let (next, other) = world.submit(a, "m2");
    world.logs(job, 3);
    world.finish(job, "1");
    let frames = world.take(a);
    assert!(notices(&frames).is_empty() && frames.last().unwrap()["job_id"] == id.as_str(), "JOB-3");
    world.logs(next, 1);
    let frames = world.take(a);
    assert_eq!(notices(&frames)[0]["job_id"], other.as_str(), "on the next live job's event");
}

#[test]
fn acknowledgements_only_go_forward_and_free_only_their_own_session() {
    let mut world = World::new();
    let (a, first) = world.session(ALL);
    let (b, second) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    world.logs(job, 10);
    world.take(a);
    world.send(a, "m3", "session.ack", json!({"last_processed_seq": 8}));
    world.send(a, "m4", "session.ack", json!({"last_processed_seq": 5}));
    assert!(world.take(a).is_empty());
    assert_eq!(
        code(&world.ask(a, "m5", "session.ack", json!({"last_processed_seq": 11}))),
        "INVALID_REQUEST"
    );
    world.cut(a);
    world.cut(b);
    assert_eq!(code(&world.resume(&first, 7, ALL).1[0]), "RESUME_WINDOW_EXPIRED", "ACK-2");
    assert_eq!(seqs(&world.resume(&first, 8, ALL).1), [9, 10]);
    assert_eq!(seqs(&world.resume(&second, 0, ALL).1).len(), 10);
}

#[test]
fn an_acknowledgement_may_not_name_what_was_never_sent() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let (job, _) = world.submit(a, "m1");
    world.stalled.push(a);
    world.logs(job, 5);
    world.runtime.poll_frame(a).unwrap();
    world.send(a, "m2", "session.ack", json!({"last_processed_seq": 2}));
    world.stalled.clear();
    world.settle();
    let frames = world.take(a);
    assert_eq!(code(&frames[0]), "INVALID_REQUEST");
    assert_eq!(seqs(&frames), [2, 3, 4, 5]);
}

#[test]
fn a_job_waits_for_its_owner_to_read_what_the_log_is_about_to_give_up() {
    type Fill = (fn(&mut Limits), fn(&mut World, JobHandle));
    let fills: [Fill; 3] = [
        (|limits| limits.log_events = 100, |world, job| world.logs(job, 10)),
        (|limits| limits.log_bytes = 100_000, |world, job| world.log(job, &"x".repeat(10_000))),
        (|limits| limits.log_chunk_bytes = 100_000, |world, job| chunk(world, job, 10_000)),
    ];
    for (limit, fill) in fills {
        let mut world = limited(limit);
        let quiet = ALL.without(Feature::Heartbeat).without(Feature::Core);
        let submit = json!({"agent": "a", "idempotency_key": "k"});
        let (a, _) = world.session(quiet);
        let (job, _) = world.submit_with(a, "m1", submit.clone());
        let (b, _) = world.session(quiet);
        for _ in 0..6 {
            fill(&mut world, job);
        }
        world.settle();
        world.instant_store = false;
        world.send(b, "m2", "job.submit", submit);
        assert!(world.store_one(), "it is the owner now");
        assert!(
            matches!(world.commands.back(), Some((_, Command::ReadJob { .. }))),
            "and asks for the history"
        );
        fill(&mut world, job);
        world.settle();
        assert!(holds(&mut world).is_empty(), "below eight tenths");
        fill(&mut world, job);
        world.settle();
        assert_eq!(holds(&mut world), [std::format!("hold {job:?}")]);
        world.instant_store = true;
        world.store_all();
        assert_eq!(holds(&mut world), [std::format!("release {job:?}")], "it has read all");
        assert_eq!(world.take(b)[0]["type"], "job.accepted");
    }
}

#[test]
fn a_job_waits_for_no_subscriber_to_read_the_history() {
    let mut world = limited(|limits| limits.log_events = 100);
    let quiet = ALL.without(Feature::Heartbeat).without(Feature::Core);
    let (a, _) = world.session(quiet);
    let (job, id) = world.submit(a, "m1");
    let (b, _) = world.session(quiet);
    world.logs(job, 60);
    world.instant_store = false;
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    assert!(world.store_one());
    assert!(matches!(world.commands.back(), Some((_, Command::ReadJob { .. }))));
    world.logs(job, 39);
    assert!(holds(&mut world).is_empty());
}

#[test]
fn jobs_are_held_while_the_store_is_far_behind() {
    let mut world = limited(|limits| limits.pending_bytes = 10_000);
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.instant_store = false;
    holds(&mut world);
    for _ in 0..9 {
        world.log(job, &"x".repeat(800));
        world.settle();
    }
    assert!(holds(&mut world).is_empty());
    world.log(job, &"x".repeat(1_000));
    world.settle();
    assert_eq!(holds(&mut world), [std::format!("hold {job:?}")]);
    for _ in 0..6 {
        assert!(holds(&mut world).is_empty());
        world.store_one();
    }
    assert_eq!(holds(&mut world), [std::format!("release {job:?}")], "below half");
    world.store_all();
    assert_eq!(seqs(&world.take(a)).len(), 10);
}

#[test]
fn a_job_is_held_by_the_owner_it_has_now() {
    let mut world = limited(|limits| limits.window_events = 10);
    let (a, _) = world.session(ALL);
    let submit = json!({"agent": "a", "idempotency_key": "k"});
    let (job, _) = world.submit_with(a, "m1", submit.clone());
    let (b, _) = world.session(ALL);
    let (other, _) = world.submit(b, "m2");
    world.stalled.push(b);
    world.logs(other, 8);
    assert_eq!(holds(&mut world), [std::format!("hold {other:?}")]);
    world.send(b, "m3", "job.submit", submit);
    assert_eq!(holds(&mut world), [std::format!("hold {job:?}")]);
}
