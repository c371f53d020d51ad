//! What a stream, a log and a principal keep, and what they give up (protocol §2.6, §9).

use core::time::Duration;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, limit, positions, seqs, types};
use crate::config::Limits;
use crate::feature::Feature;
use crate::id::JobKey;
use crate::runtime::store::{Command, Trim};
use crate::runtime::{AgentInput, ConnectionId, JobHandle};
use crate::wire::event::{ChunkEmission, Emission};

fn limited(change: impl FnOnce(&mut Limits)) -> World {
    let mut config = config();
    change(&mut config.limits);
    World::with(config)
}

fn chunk(world: &mut World, job: JobHandle, bytes: usize) {
    let emission = ChunkEmission::utf8(&"x".repeat(bytes), true).unwrap();
    world.runtime.handle_agent(world.now, job, AgentInput::Chunk(emission)).unwrap();
    world.settle();
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
    let welcome = newest_welcome(&mut world);
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

fn newest_welcome(world: &mut World) -> Value {
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
fn a_session_that_was_sent_what_is_let_go_can_be_resumed() {
    for sent in [256, 299] {
        let mut world = limited(|limits| limits.replay_events = 300);
        let (a, welcome) = world.session(ALL);
        let (job, _) = world.submit(a, "m1");
        world.logs(job, sent);
        world.cut(a);
        world.logs(job, 301 - sent);
        let (_, frames) = world.resume(&welcome, sent as u64, ALL);
        assert_eq!(seqs(&frames), (sent as u64 + 1..=301).collect::<Vec<_>>());
    }
}

#[test]
fn who_reads_and_acknowledges_nothing_stays_connected() {
    let mut world = limited(|limits| limits.replay_events = 300);
    let (a, _) = world.session(ALL.without(Feature::Ack));
    let (job, _) = world.submit(a, "m1");
    for part in 0..10 {
        world.logs(job, 100);
        let read = part * 100;
        assert_eq!(positions(&world.take(a)), (read + 1..=read + 100).collect::<Vec<_>>());
    }
    assert!(!world.closed.contains_key(&a));
}

#[test]
fn the_terminal_of_a_job_outlasts_the_smallest_log() {
    let mut world = limited(|limits| limits.log_bytes = 1);
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.logs(job, 3);
    world.finish(job, "1");
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    assert_eq!(types(&world.take(b)), ["job.subscribed", "job.result"]);
}

#[test]
fn bytes_and_chunk_bytes_are_limited_apart() {
    for chunks in [false, true] {
        let mut world =
            limited(|limits| (limits.replay_bytes, limits.replay_chunk_bytes) = (200_000, 400_000));
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

#[test]
fn the_terminal_of_a_job_outlasts_any_shortage() {
    let mut world = limited(|limits| limits.buffered_bytes = 50_000);
    let (a, _) = world.session(ALL);
    let (old, id) = world.submit(a, "m1");
    world.log(old, "x");
    world.finish(old, "1");
    world.ack_all(a, "m2");
    let (job, _) = world.submit_after(a, "m3");
    for _ in 0..8 {
        world.log(job, &"x".repeat(10_000));
    }
    world.settle();
    world.ack_all(a, "m4");
    let (b, _) = world.session(ALL);
    world.send(b, "m5", "job.subscribe", json!({"job_id": id, "history": true}));
    let frames = world.take(b);
    assert_eq!(positions(&frames), [2], "all of its history is gone but how it ended");
    assert!(frames.iter().any(|frame| frame["type"] == "job.result"));
}

fn progress(world: &mut World, job: JobHandle, count: u64) {
    for n in 1..=count {
        let report = Emission::progress_count(n, None, None, None).unwrap();
        world.runtime.handle_agent(world.now, job, AgentInput::Emit(report)).unwrap();
    }
    world.settle();
}

#[test]
fn a_start_goes_on_behind_what_a_log_let_go_of() {
    let mut config = config();
    config.limits.log_events = 300;
    let features = ALL.without(Feature::Progress);
    let mut world = World::with(config.clone());
    let (a, welcome) = world.session(features);
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 1);
    // Nothing for this session, and more than the log keeps.
    progress(&mut world, job, 400);
    assert_eq!(seqs(&world.take(a)), [1]);
    let mut world = world.restart(config);
    let (_, frames) = world.resume(&welcome, 1, features);
    assert_eq!(types(&frames), ["session.welcome", "job.error"], "SEQ-2");
    assert_eq!((seqs(&frames), positions(&frames)), (Vec::from([2]), Vec::from([402])));
}

/// Whether the store is given the word to forget a job, and has not carried it out.
fn forgets(world: &World) -> bool {
    world.commands.iter().any(|(_, given)| matches!(given, Command::Trim(Trim::WholeJob(_))))
}

#[test]
fn a_job_is_not_forgotten_before_what_was_numbered_of_it_is_stored() {
    let features = ALL.without(Feature::Heartbeat);
    for is_full in [false, true] {
        let mut config = config();
        config.retention = Duration::from_secs(10);
        let mut world = World::with(config);
        let (a, _) = world.session(features);
        let (b, _) = world.session(features);
        let (job, id) = world.submit(a, "m1");
        world.logs(job, 3);
        world.finish(job, "1");
        world.wait(Duration::from_secs(9));
        world.instant_store = false;
        world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
        // The token is confirmed and the page is read; what it brings is not stored.
        world.store_one();
        world.store_one();
        for _ in 0..3 {
            if is_full {
                world.refuse_all();
            }
            world.wait(Duration::from_secs(1));
            assert!(!forgets(&world));
        }
        world.store_all();
        world.instant_store = true;
        let frames = world.take(b);
        assert_eq!(
            (frames[0]["type"].as_str(), positions(&frames)),
            (Some("job.subscribed"), (1..=4).collect())
        );
        world.wait(Duration::from_secs(2));
        assert!(world.store.job(JobKey::parse(&id).unwrap()).is_none());
    }
}

#[test]
fn a_job_is_not_forgotten_while_the_store_has_no_room() {
    let features = ALL.without(Feature::Heartbeat);
    let mut config = config();
    config.retention = Duration::from_secs(10);
    let mut world = World::with(config);
    let (a, _) = world.session(features);
    let (job, id) = world.submit(a, "m1");
    let (other, _) = world.submit(a, "m2");
    world.finish(job, "1");
    world.wait(Duration::from_secs(9));
    world.instant_store = false;
    world.logs(other, 1);
    for _ in 0..3 {
        world.refuse_all();
        world.wait(Duration::from_secs(1));
        assert!(!forgets(&world) && world.store.job(JobKey::parse(&id).unwrap()).is_some());
    }
    world.store_all();
    world.instant_store = true;
    world.wait(Duration::from_secs(2));
    assert!(world.store.job(JobKey::parse(&id).unwrap()).is_none());
}

#[test]
fn a_log_lets_go_of_nothing_before_what_came_before_that_is_stored() {
    let mut world = limited(|limits| limits.log_events = 300);
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 299);
    world.instant_store = false;
    world.logs(job, 2);
    let trims =
        |world: &World| world.commands.iter().filter(|(_, given)| matches!(given, Command::Trim(_))).count();
    assert_eq!(trims(&world), 0);
    world.refuse_all();
    assert_eq!(trims(&world), 0, "what has no room is not overtaken");
    world.wait(Duration::from_secs(1));
    world.store_one();
    assert_eq!(trims(&world), 1);
}

/// Of what it reads nothing is for it at first, so nothing that is sent reminds the runtime of it.
#[test]
fn a_reader_goes_on_when_there_is_room_again() {
    let mut world = World::new();
    let quiet = ALL.without(Feature::Heartbeat);
    let (a, _) = world.session(quiet);
    let (b, _) = world.session(quiet.without(Feature::ResultChunk));
    let (job, id) = world.submit(a, "m1");
    for _ in 0..60 {
        chunk(&mut world, job, 1);
    }
    world.instant_store = false;
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    while world.take(b).is_empty() {
        assert!(world.store_one(), "it follows, and reads its first page");
    }
    world.logs(job, 1);
    assert!(world.refuse_all() > 0);
    assert!(world.commands.is_empty(), "nothing is read while there is no room");
    world.wait(Duration::from_secs(1));
    world.store_all();
    assert_eq!(positions(&world.take(b)), [61]);
}
