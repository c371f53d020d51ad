use super::harness::{ALL, World, config, seqs};
use core::time::Duration;
use std::vec::Vec;

#[test]
fn a_resume_sends_what_was_missed_and_rotates_the_token() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 5);
    world.cut(a);
    world.logs(job, 5);
    let (b, frames) = world.resume(&welcome, 3, ALL);
    assert_eq!(frames[0]["type"], "session.welcome");
    assert_eq!(frames[0]["session_id"], welcome["session_id"]);
    assert_ne!(frames[0]["payload"]["resume_token"], welcome["payload"]["resume_token"]);
    assert_eq!(seqs(&frames), (4..=10).collect::<Vec<_>>());
    world.logs(job, 1);
    assert_eq!(seqs(&world.take(b)), [11]);
}

#[test]
fn a_restart_keeps_sessions_and_ends_what_was_running() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 3);
    let mut world = world.restart(config());
    let (_, frames) = world.resume(&welcome, 1, ALL);
    assert_eq!(frames[0]["type"], "session.welcome", "{frames:#?}");
    assert_eq!(seqs(&frames), [2, 3, 4]);
    let end = frames.last().unwrap();
    assert_eq!(end["payload"]["code"], "INTERNAL_ERROR");
    assert_eq!(end["payload"]["details"]["reason"], "runtime_restarted");
}

#[test]
fn silence_loses_the_heartbeat_and_nothing_else() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.wait(Duration::from_secs(60));
    let types: Vec<_> = world
        .take(a)
        .into_iter()
        .map(|frame| frame["type"].as_str().map(std::string::String::from).unwrap())
        .collect();
    assert_eq!(types, ["session.ping", "session.ping", "session.error"]);
    assert!(world.closed.contains_key(&a));
    world.logs(job, 1);
    let (_, frames) = world.resume(&welcome, 0, ALL);
    assert_eq!(seqs(&frames), [1]);
}
