//! Limits of streams: what is kept, held and given up when events come faster than they go (protocol §2.6, ACK).

use core::time::Duration;
use std::string::String;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, limit, positions, seqs, types};
use crate::config::Limits;
use crate::feature::Feature;
use crate::runtime::{AgentInput, ConnectionId, JobHandle};
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

#[test]
fn the_floor_of_a_detached_session_rises_and_is_told_honestly() {
    let mut world = limited(|limits| limits.replay_events = 600);
    let (a, welcome) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 300);
    world.cut(a);
    world.logs(job, 300);
    assert_eq!(seqs(&world.resume(&welcome, 0, ALL).1).len(), 600, "exactly the limit is kept");
    let welcome = restart_stream(&mut world, &welcome);
    world.logs(job, 1);
    let (_, frames) = world.resume(&welcome, 0, ALL);
    assert_eq!(code(&frames[0]), "RESUME_WINDOW_EXPIRED", "SEQ-9");
    assert_eq!(frames.len(), 1, "a refused resume delivers nothing (SEQ-8)");
    // The floor rises by whole blocks of 256.
    let (_, frames) = world.resume(&welcome, 255, ALL);
    assert_eq!(code(&frames[0]), "RESUME_WINDOW_EXPIRED");
    let (_, frames) = world.resume(&welcome, 256, ALL);
    assert_eq!(seqs(&frames), (257..=601).collect::<Vec<_>>(), "L = floor is served");
}

/// Cuts the newest connection of the only session and gives a welcome with its present token.
fn restart_stream(world: &mut World, _: &Value) -> Value {
    let (connection, texts) = world.texts.iter().last().map(|(c, t)| (*c, t.clone())).unwrap();
    world.cut(connection);
    serde_json::from_str(&texts[0]).unwrap()
}

#[test]
fn a_session_that_nothing_can_resume_is_dead_at_once() {
    let mut world = limited(|limits| limits.replay_events = 300);
    let (a, welcome) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.cut(a);
    world.logs(job, 300);
    assert_eq!(world.runtime.population().sessions, 1);
    world.logs(job, 1);
    assert_eq!(world.runtime.population().sessions, 0, "all it could resume from is gone");
    let (_, frames) = world.resume(&welcome, 0, ALL);
    assert_eq!(code(&frames[0]), "RESUME_WINDOW_EXPIRED");
    let (b, _) = world.session(ALL);
    let answer = world.ask(b, "m2", "job.cancel", json!({"job_id": id}));
    assert_eq!(answer["type"], "job.cancelled", "its job is ownerless and goes on (D-21)");
}

#[test]
fn bytes_and_chunk_bytes_are_limited_apart() {
    for chunks in [false, true] {
        let mut world = limited(|limits| (limits.replay_bytes, limits.replay_chunk_bytes) = (200_000, 400_000));
        let (a, welcome) = world.session(ALL.without(Feature::Core));
        let (job, _) = world.submit(a, "m1");
        world.logs(job, 1);
        world.cut(a);
        let most = if chunks { 400_000 } else { 200_000 } / 50_000;
        for _ in 0..most - 1 {
            if chunks { chunk(&mut world, job, 50_000) } else { world.log(job, &"x".repeat(50_000)) }
        }
        world.settle();
        let features = ALL.without(Feature::Core);
        let (b, frames) = world.resume(&welcome, 0, features);
        assert_eq!(frames[0]["type"], "session.welcome", "chunks {chunks}");
        let welcome = frames[0].clone();
        world.cut(b);
        for _ in 0..2 {
            if chunks { chunk(&mut world, job, 50_000) } else { world.log(job, &"x".repeat(50_000)) }
        }
        world.settle();
        let (_, frames) = world.resume(&welcome, 0, features);
        assert_eq!(code(&frames[0]), "RESUME_WINDOW_EXPIRED", "chunks {chunks}");
    }
}

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
    assert_eq!(notices(&world.take(a)).len(), 1);
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
    assert_eq!(code(&world.ask(a, "m5", "session.ack", json!({"last_processed_seq": 11}))), "INVALID_REQUEST");
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
fn without_acknowledgements_what_was_sent_long_ago_goes() {
    let features = ALL.without(Feature::Ack).without(Feature::Heartbeat);
    let mut world = World::new();
    let (a, welcome) = world.session(features);
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 5);
    world.wait(Duration::from_secs(500));
    world.logs(job, 5);
    world.wait(Duration::from_secs(400));
    world.cut(a);
    assert_eq!(code(&world.resume(&welcome, 4, features).1[0]), "RESUME_WINDOW_EXPIRED");
    assert_eq!(seqs(&world.resume(&welcome, 5, features).1), [6, 7, 8, 9, 10]);
}

#[test]
fn what_a_resume_sends_again_is_not_let_go_before_it_is_sent() {
    let features = ALL.without(Feature::Ack).without(Feature::Heartbeat);
    let mut config = config();
    config.limits.write_stall = Duration::from_secs(100_000);
    let mut world = World::with(config);
    let (a, welcome) = world.session(features);
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 5);
    world.wait(Duration::from_secs(300));
    world.cut(a);
    let b = world.open();
    let mut payload = super::harness::hello("good", features);
    payload["resume"] = json!({"resume_token": welcome["payload"]["resume_token"], "last_event_seq": 0});
    world.stalled.push(b);
    world.send(b, "m2", "session.hello", payload);
    world.wait(Duration::from_secs(2_000));
    world.stalled.clear();
    world.settle();
    assert_eq!(seqs(&world.take(b)), [1, 2, 3, 4, 5], "SEQ-2: no gap behind L");
}

#[test]
fn a_log_forgets_its_oldest_and_history_from_says_so() {
    let mut world = limited(|limits| limits.log_events = 300);
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let (c, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.logs(job, 300);
    let all = |world: &mut World, connection: ConnectionId| {
        world.send(connection, "h", "job.subscribe", json!({"job_id": id, "history": true}));
        let frames = world.take(connection);
        (frames[0]["payload"]["history_from"].as_u64().unwrap(), positions(&frames))
    };
    assert_eq!(all(&mut world, b), (0, (1..=300).collect()));
    world.logs(job, 1);
    assert_eq!(all(&mut world, c), (256, (257..=301).collect()), "D-86");
    world.logs(job, 300);
    world.finish(job, "1");
    let (d, _) = world.session(ALL);
    let (from, kept) = all(&mut world, d);
    assert_eq!(kept.last(), Some(&602), "the terminal is never evicted");
    assert_eq!(kept.first(), Some(&(from + 1)));
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
fn a_result_may_have_so_many_bytes() {
    let mut world = limited(|limits| limits.result_bytes = 1_000);
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    chunk(&mut world, job, 600);
    chunk(&mut world, job, 400);
    assert_eq!(types(&world.take(a)), ["job.event", "job.event"]);
    let one_more = AgentInput::Chunk(ChunkEmission::utf8("x", true).unwrap());
    assert!(world.runtime.handle_agent(world.now, job, one_more).is_err());
    world.settle();
    let end = world.one(a);
    assert_eq!((code(&end), limit(&end)), ("INTERNAL_ERROR", "result_bytes"));
}

#[test]
fn histories_make_way_for_new_events_and_what_sessions_hold_does_not() {
    let mut world = limited(|limits| limits.buffered_bytes = 100_000);
    let (a, _) = world.session(ALL);
    let (old, old_id) = world.submit(a, "m1");
    for _ in 0..4 {
        world.log(old, &"x".repeat(10_000));
    }
    world.finish(old, "1");
    let (job, id) = world.submit_after(a, "m2");
    for _ in 0..5 {
        world.log(job, &"x".repeat(10_000));
    }
    world.settle();
    let last = *seqs(&world.take(a)).last().unwrap();
    world.send(a, "m3", "session.ack", json!({"last_processed_seq": last}));
    let (b, _) = world.session(ALL);
    let history = |world: &mut World, request: &str, job: &str| {
        world.send(b, request, "job.subscribe", json!({"job_id": job, "history": true}));
        let positions = positions(&world.take(b));
        (positions[0], *positions.last().unwrap())
    };
    assert_eq!(history(&mut world, "h1", &old_id), (1, 5), "just below the limit");
    world.ack_all(b, "m4");
    for _ in 0..2 {
        world.log(job, &"x".repeat(10_000));
    }
    world.settle();
    let (first, last) = history(&mut world, "h2", &old_id);
    assert!(first > 1 && last == 5, "the finished job's history goes first, its terminal stays");
    assert_eq!(history(&mut world, "h3", &id).0, 1);
    // What a session holds unacknowledged is not touched; over the limit it blocks what is new.
    for _ in 0..9 {
        world.log(job, &"x".repeat(10_000));
    }
    world.settle();
    let refused = world.ask(a, "m5", "job.submit", json!({"agent": "a"}));
    assert_eq!(limit(&refused), "buffered");
    world.ack_all(a, "m6");
    world.ack_all(b, "m7");
    assert_eq!(world.ask(a, "m8", "job.submit", json!({"agent": "a"}))["type"], "job.accepted");
}
