//! Jobs that are run again after a restart (protocol §3.4).

use core::time::Duration;
use std::string::ToString;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, limit, positions, seqs, types};
use crate::agent::AgentRef;
use crate::config::RuntimeConfig;
use crate::error::ApiMisuse;
use crate::feature::Feature;
use crate::id::JobKey;
use crate::runtime::agent::{Checkpoint, MAX_CHECKPOINT_BYTES, Streamed};
use crate::runtime::rows::{JobRow, Row};
use crate::runtime::store::{Command, StoreDone};
use crate::runtime::{AgentInput, JobHandle, Output, Recovery, Step};
use crate::wire::RawJson;
use crate::wire::event::ChunkEmission;

fn restartable() -> RuntimeConfig {
    let mut config = config();
    config.agents.set_restartable(&AgentRef::parse("a").unwrap()).unwrap();
    config
}

impl World {
    fn keep(&mut self, job: JobHandle, state: &str) {
        let state = RawJson::parse(state.to_string()).unwrap();
        self.runtime.handle_agent(self.now, job, AgentInput::Checkpoint(state)).unwrap();
        self.settle();
    }

    fn piece(&mut self, job: JobHandle, text: &str, more: bool) {
        let chunk = ChunkEmission::utf8(text, more).unwrap();
        self.runtime.handle_agent(self.now, job, AgentInput::Chunk(chunk)).unwrap();
        self.settle();
    }
}

/// A session and a job of it, of an agent that may be run again.
fn running() -> (World, Value, JobHandle, std::string::String) {
    let mut world = World::with(restartable());
    let (a, welcome) = world.session(ALL);
    let (job, id) = world.submit_with(a, "m1", json!({"agent": "a", "input": {"n": 7}}));
    let id = id["job_id"].as_str().unwrap().to_string();
    (world, welcome, job, id)
}

fn row<'a>(world: &'a World, id: &str) -> &'a JobRow {
    world.store.job(JobKey::parse(id).unwrap()).unwrap()
}

#[test]
fn a_job_goes_on_from_its_last_checkpoint_in_the_same_streams() {
    let (mut world, welcome, job, id) = running();
    world.logs(job, 2);
    world.keep(job, r#"{"done":1}"#);
    world.keep(job, r#"{"done":2}"#);
    world.logs(job, 3);
    let mut world = world.restart(restartable());
    let start = world.started[0].clone();
    assert_eq!((start.key.to_string(), start.input.as_str()), (id.clone(), r#"{"n":7}"#));
    let restart = start.restart.unwrap();
    let state = RawJson::parse(r#"{"done":2}"#).unwrap();
    assert_eq!(restart.checkpoint, Some(Checkpoint { state, position: 2 }));
    assert_eq!((restart.position, restart.streamed), (5, None));
    world.logs(start.job, 2);
    let (b, frames) = world.resume(&welcome, 1, ALL);
    assert_eq!(seqs(&frames[1..]), [2, 3, 4, 5, 6, 7]);
    assert_eq!(positions(&frames), [2, 3, 4, 5, 6, 7]);
    world.finish(start.job, "7");
    let end = world.one(b);
    assert_eq!((end["type"].as_str(), &end["event_seq"]), (Some("job.result"), &json!(8)));
    let row = row(&world, &id);
    assert!(row.checkpoint.is_none() && row.record.input.is_null(), "nothing of it is needed any more");
}

#[test]
fn only_jobs_of_agents_that_may_be_run_again_are() {
    let (world, _, _, id) = running();
    let mut world = world.restart(config());
    assert!(world.started.is_empty(), "this process does not run it again");
    let (b, _) = world.session(ALL);
    world.send(b, "s", "job.subscribe", json!({"job_id": id, "history": true}));
    let frames = world.take(b);
    assert_eq!(code(frames.last().unwrap()), "INTERNAL_ERROR");
    assert_eq!(frames.last().unwrap()["payload"]["retryable"], true);

    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.keep(job, "1");
    assert!(row(&world, &id).checkpoint.is_none(), "nothing is kept of a job that is never run again");
    assert!(row(&world, &id).record.input.is_null());
    assert!(world.restart(restartable()).started.is_empty(), "its input is gone");
}

#[test]
fn a_job_that_was_being_stopped_ends_and_one_that_waited_starts() {
    let mut narrow = restartable();
    narrow.limits.running_jobs = 1;
    let mut world = World::with(narrow.clone());
    let (a, _) = world.session(ALL);
    let (_, first) = world.submit(a, "m1");
    world.ask(a, "m2", "job.submit", json!({"agent": "a", "input": 2}));
    assert_eq!(world.started.len(), 1);
    let mut again = World::recover(world.store.clone(), narrow.clone(), world.now, 7);
    assert_eq!(again.started.len(), 1, "the one that ran, and no other beside it");
    assert_eq!(again.started[0].key.to_string(), first);
    again.finish(again.started[0].job, "1");
    assert_eq!(again.started.len(), 2);
    assert!(again.started[1].restart.is_none(), "its first start");

    world.ask(a, "c", "job.cancel", json!({"job_id": first}));
    let world = world.restart(narrow);
    assert_eq!(world.started.len(), 1);
    assert!(world.started[0].restart.is_none());
}

#[test]
fn a_streamed_result_goes_on() {
    let (mut world, welcome, job, _) = running();
    world.piece(job, "one ", true);
    world.piece(job, "two ", true);
    world.keep(job, "2");
    world.piece(job, "three ", true);
    let mut world = world.restart(restartable());
    let start = world.started[0].clone();
    let streamed = start.restart.unwrap().streamed.unwrap();
    assert_eq!(streamed, Streamed { chunks: 3, bytes: 14, is_complete: false });
    world.piece(start.job, "four", true);
    world.finish(start.job, "null");
    let (_, frames) = world.resume(&welcome, 0, ALL);
    let chunks: Vec<_> = frames
        .iter()
        .filter(|frame| frame["payload"]["kind"] == "result_chunk")
        .map(|f| &f["payload"]["body"])
        .collect();
    let text: std::string::String = chunks.iter().map(|chunk| chunk["data"].as_str().unwrap()).collect();
    assert_eq!(text, "one two three four");
    let numbers: Vec<_> = chunks.iter().map(|chunk| chunk["chunk_seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert!(chunks.iter().all(|chunk| chunk["result_id"] == chunks[0]["result_id"]));
    let end = frames.last().unwrap();
    assert_eq!((end["type"].as_str(), &end["payload"]["result_size"]), (Some("job.result"), &json!(18)));
}

#[test]
fn a_result_that_is_collected_begins_anew() {
    let mut world = World::with(restartable());
    let (a, welcome) = world.session(ALL.without(Feature::ResultChunk));
    let (job, _) = world.submit(a, "m1");
    world.keep(job, "0");
    world.piece(job, "lost ", true);
    world.keep(job, "1");
    let mut world = world.restart(restartable());
    let start = world.started[0].clone();
    assert_eq!(start.restart.unwrap().checkpoint.unwrap().state.as_str(), "0");
    world.piece(start.job, "all of it", true);
    world.finish(start.job, "null");
    let (_, frames) = world.resume(&welcome, 0, ALL.without(Feature::ResultChunk));
    assert_eq!(frames.last().unwrap()["payload"]["result"], "all of it");
}

#[test]
fn a_job_that_ends_its_process_each_time_is_given_up() {
    let (mut world, _, _, id) = running();
    let mut starts = 0;
    for round in 1..=3 {
        world = world.restart(restartable());
        starts += world.started.len();
        assert_eq!(row(&world, &id).restarts, round);
    }
    // Progress: it counts anew.
    let job = world.started[0].job;
    world.keep(job, "1");
    for _ in 1..=3 {
        world = world.restart(restartable());
        starts += world.started.len();
    }
    assert_eq!(starts, 6);
    let world = world.restart(restartable());
    assert!(world.started.is_empty());
    assert_eq!(row(&world, &id).end.unwrap().code.unwrap().as_str(), "INTERNAL_ERROR");
}

#[test]
fn the_agent_waits_for_the_record_of_its_restart() {
    let (world, _, _, id) = running();
    let now = world.now.after(Duration::from_secs(1));
    let mut recovery = Recovery::new(restartable(), super::harness::Counter::seeded(5), now);
    let mut store = world.store.clone();
    let mut runtime = loop {
        match recovery.step() {
            Step::NeedsStore { id, command } => {
                recovery.handle_store(id, store.execute(command)).unwrap();
            }
            Step::Ready(runtime) => break runtime,
        }
    };
    let mut starts = 0;
    let mut pending = None;
    while let Some(output) = runtime.poll_output() {
        match output {
            Output::StartJob(_) => starts += 1,
            Output::Store { id, command } => pending = Some((id, command)),
            _ => {}
        }
    }
    assert_eq!(starts, 0);
    let (command, records) = pending.unwrap();
    let done = store.execute(records);
    assert_eq!(store.job(JobKey::parse(&id).unwrap()).unwrap().restarts, 1);
    runtime.handle_store(now, command, done);
    while let Some(output) = runtime.poll_output() {
        starts += usize::from(matches!(output, Output::StartJob(_)));
    }
    assert_eq!(starts, 1);
}

#[test]
fn children_end_with_the_process_and_give_back_what_they_have() {
    let mut world = World::with(restartable());
    let (a, welcome) = world.session(ALL);
    let lease = json!({"agent": "a", "input": 1, "lease_request":
        {"agent.delegate": ["*"], "cost.budget": ["USD:1.00"]}});
    let (parent, accepted) = world.submit_with(a, "m1", lease);
    let id = accepted["job_id"].as_str().unwrap().to_string();
    let child = world.delegate(parent, json!({"cost.budget": ["USD:0.40"]})).unwrap();
    world.metric(child.job, "cost.x", "0.10", "USD");
    let world = world.restart(restartable());
    assert_eq!(world.started.len(), 1, "the parent only");
    assert_eq!(world.started[0].key.to_string(), id);
    let left = row(&world, &id).counters.find("USD").unwrap().remaining;
    assert_eq!(left, crate::lease::Amount::parse("0.9").unwrap());
    let ended = world.store.job(child.key).unwrap().end.unwrap();
    assert_eq!(ended.code.unwrap().as_str(), "INTERNAL_ERROR");
    let mut world = world;
    let (_, frames) = world.resume(&welcome, 0, ALL);
    assert_eq!(types(&frames).iter().filter(|kind| **kind == "job.error").count(), 1);
}

#[test]
fn what_is_limited_before_a_start_is_limited_behind_it() {
    let limited = || {
        let mut config = restartable();
        (config.limits.jobs, config.limits.running_jobs, config.limits.subscriptions) = (3, 2, 2);
        config
    };
    let mut world = World::with(limited());
    let (a, owner) = world.session(ALL);
    let ids: Vec<_> = ["m1", "m2", "m3"].map(|id| world.submit_after(a, id).1).into();
    let (b, watcher) = world.session(ALL);
    for (index, id) in ids[..2].iter().enumerate() {
        let answer = world.ask(b, &std::format!("s{index}"), "job.subscribe", json!({"job_id": id}));
        assert_eq!(answer["type"], "job.subscribed");
    }
    let mut world = world.restart(limited());
    let (a, _) = world.resume(&owner, 0, ALL);
    let refused = world.ask(a, "m4", "job.submit", json!({"agent": "a"}));
    assert_eq!(limit(&refused), "jobs");
    assert_eq!(world.started.len(), 2, "the third one waits still");
    let (b, _) = world.resume(&watcher, 0, ALL);
    let subscribe = json!({"job_id": ids[2]});
    assert_eq!(limit(&world.ask(b, "s3", "job.subscribe", subscribe.clone())), "subscriptions");
    world.send(b, "u", "job.unsubscribe", json!({"job_id": ids[0]}));
    world.take(b);
    assert_eq!(world.ask(b, "s4", "job.subscribe", subscribe)["type"], "job.subscribed");
    let first = world.started[0].job;
    world.finish(first, "1");
    assert_eq!(world.started.len(), 3);
    let second = world.started[1].job;
    world.finish(second, "1");
    world.take(a);
    for id in ["m5", "m6"] {
        assert_eq!(world.ask(a, id, "job.submit", json!({"agent": "a"}))["type"], "job.accepted", "{id}");
    }
    assert_eq!(world.started.len(), 4, "one place was free");
    assert_eq!(limit(&world.ask(a, "m7", "job.submit", json!({"agent": "a"}))), "jobs");
}

#[test]
fn a_checkpoint_has_a_size_and_an_end() {
    let (mut world, _, job, _) = running();
    let large = RawJson::parse(std::format!("\"{}\"", "x".repeat(MAX_CHECKPOINT_BYTES))).unwrap();
    let refused = world.runtime.handle_agent(world.now, job, AgentInput::Checkpoint(large));
    let bytes = MAX_CHECKPOINT_BYTES + 2;
    assert_eq!(refused, Err(ApiMisuse::TooLarge { bytes, limit: MAX_CHECKPOINT_BYTES }));
    let fitting = RawJson::parse(std::format!("\"{}\"", "x".repeat(MAX_CHECKPOINT_BYTES - 2))).unwrap();
    assert_eq!(world.runtime.handle_agent(world.now, job, AgentInput::Checkpoint(fitting)), Ok(()));
    world.finish(job, "1");
    let late = world.runtime.handle_agent(world.now, job, AgentInput::Checkpoint(RawJson::null()));
    assert_eq!(late, Err(ApiMisuse::JobEnded));
}

#[test]
fn rows_that_no_runtime_can_have_written_are_refused() {
    let (mut world, _, job, _) = running();
    world.piece(job, "one", true);
    world.keep(job, "1");
    let mut rows = match world.store.execute(Command::Load { after: None, limit: usize::MAX }) {
        StoreDone::Rows(rows) => rows,
        other => panic!("{other:?}"),
    };
    let mut is_refused = |change: fn(&mut JobRow)| {
        let before = rows.clone();
        for row in &mut rows {
            if let Row::Job(row) = row {
                change(row);
            }
        }
        let damaged = std::mem::replace(&mut rows, before);
        let mut recovery = Recovery::new(restartable(), super::harness::Counter::seeded(5), world.now);
        let Step::NeedsStore { id, .. } = recovery.step() else { panic!("it reads") };
        recovery.handle_store(id, StoreDone::Rows(damaged)).is_err()
    };
    assert!(!is_refused(|_| {}));
    assert!(is_refused(|row| row.checkpoint.as_mut().unwrap().position = 2));
    assert!(is_refused(|row| row.chunks.as_mut().unwrap().next_seq = u64::MAX));
    assert!(is_refused(|row| row.chunks.as_mut().unwrap().decoded_bytes = u64::MAX));
}
