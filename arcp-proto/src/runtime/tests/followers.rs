//! Followers that take less than the owner, or come too late for it (protocol §3.6, §4.3).

use core::time::Duration;
use std::vec::Vec;

use serde_json::json;

use super::harness::{ALL, World, code, config, pair, positions, seqs};
use crate::feature::Feature;
use crate::runtime::AgentInput;
use crate::wire::event::{Emission, LogLevel};
use crate::wire::peer::TransportKind;

#[test]
fn kinds_that_were_not_negotiated_take_no_number() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL.without(Feature::Progress));
    let (job, id) = world.submit(a, "m1");
    for n in 0..20 {
        let progress = Emission::progress_count(n, None, None, None).unwrap();
        world.runtime.handle_agent(world.now, job, AgentInput::Emit(progress)).unwrap();
    }
    world.logs(job, 2);
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    let frames = world.take(b);
    assert_eq!((seqs(&frames), positions(&frames)), (std::vec![1, 2], std::vec![21, 22]), "D-71, in history");
    let progress = Emission::progress_count(20, None, None, None).unwrap();
    world.runtime.handle_agent(world.now, job, AgentInput::Emit(progress)).unwrap();
    world.finish(job, "1");
    assert_eq!(seqs(&world.take(b)), [3], "and live");
    assert_eq!(seqs(&world.take(a)).len(), 24);
}

#[test]
fn a_frame_too_large_for_a_follower_arrives_without_its_large_member() {
    let (mut world, a, _, job, id) = pair();
    let b = world.open_over(TransportKind::Lines);
    world.send(b, "h", "session.hello", super::harness::hello("good", ALL.without(Feature::Core)));
    world.take(b);
    world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    let large = Emission::log(LogLevel::Info, &"x".repeat(70_000), None).unwrap();
    world.runtime.handle_agent(world.now, job, AgentInput::Emit(large)).unwrap();
    world.logs(job, 1);
    let whole = world.take(a);
    assert_eq!(whole[0]["payload"]["body"]["message"].as_str().unwrap().len(), 70_000);
    let frames = world.take(b);
    assert_eq!(seqs(&frames), [1, 2], "D-99: no number is missing");
    assert!(frames[0]["payload"]["body"]["omitted_bytes"].as_u64().unwrap() > 70_000);
    assert!(world.texts[&b].iter().all(|text| text.len() <= 65_536));
}

#[test]
fn an_event_too_large_for_the_owner_is_the_agents_error() {
    let mut world = World::new();
    let a = world.open_over(TransportKind::Lines);
    world.send(a, "h", "session.hello", super::harness::hello("good", ALL.without(Feature::Core)));
    world.take(a);
    let (job, _) = world.submit(a, "m1");
    assert_eq!(world.started[0].frame_limit, 65_536);
    let large = Emission::log(LogLevel::Info, &"x".repeat(70_000), None).unwrap();
    let refused = world.runtime.handle_agent(world.now, job, AgentInput::Emit(large));
    let Err(crate::error::ApiMisuse::TooLarge { bytes, limit: 65_536 }) = refused else {
        panic!("{refused:?}")
    };
    let fitting = Emission::log(LogLevel::Info, &"x".repeat(70_000 - (bytes - 65_536)), None).unwrap();
    assert_eq!(
        world.runtime.handle_agent(world.now, job, AgentInput::Emit(fitting)),
        Ok(()),
        "exactly the limit"
    );
    world.logs(job, 1);
    assert_eq!(seqs(&world.take(a)), [1, 2], "nothing of it was sent, the job goes on (§4.3)");
}

#[test]
fn a_log_that_forgets_its_beginning_while_a_page_is_on_its_way_says_so() {
    let mut config = config();
    config.limits.log_events = 300;
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.logs(job, 300);
    world.instant_store = false;
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    world.logs(job, 10);
    world.store_all();
    world.finish(job, "1");
    world.store_all();
    let frames = world.take(b);
    assert_eq!(frames[0]["payload"]["history_from"], 256, "D-86");
    assert_eq!(positions(&frames), (257..=311).collect::<Vec<_>>());
}

#[test]
fn a_follower_that_loses_its_place_loses_its_session() {
    let mut config = config();
    (config.limits.log_events, config.limits.window_events) = (300, 32);
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    let (b, welcome) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.logs(job, 250);
    world.stalled.push(b);
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    world.logs(job, 400);
    let frames = world.take(b);
    let error = frames.last().unwrap();
    assert_eq!((code(error), super::harness::limit(error)), ("INTERNAL_ERROR", "history"), "D-101");
    assert!(world.closed.contains_key(&b));
    assert_eq!(code(&world.resume(&welcome, 0, ALL).1[0]), "RESUME_WINDOW_EXPIRED");
    world.wait(Duration::from_millis(1));
    assert_eq!(seqs(&world.take(a)).last(), Some(&650), "nobody else noticed");
}

#[test]
fn without_the_feature_neither_message_is_taken() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Subscribe));
    let (_, id) = world.submit(a, "m1");
    for kind in ["job.subscribe", "job.unsubscribe"] {
        let refused = world.ask(a, kind, kind, json!({"job_id": id}));
        assert_eq!(code(&refused), "INVALID_REQUEST");
        assert_eq!(refused["payload"]["details"]["feature"], "subscribe");
    }
}
