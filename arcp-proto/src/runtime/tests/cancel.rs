//! Cancel, time limits and the end of jobs (protocol §3.4, §3.5).

use core::time::Duration;
use std::string::String;
use std::vec::Vec;

use serde_json::json;

use super::harness::{ALL, World, code, config, seqs, types};
use crate::error::{ApiMisuse, ErrorCode};
use crate::feature::Feature;
use crate::runtime::{AgentEnd, AgentFailure, AgentInput, JobState};

const SECOND: Duration = Duration::from_secs(1);

/// A runtime in which nobody is silent for too long.
fn world() -> (World, crate::runtime::ConnectionId) {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    (world, a)
}

#[test]
fn an_agent_that_returns_after_a_cancel_does_not_succeed() {
    let (mut world, a) = world();
    let (job, id) = world.submit(a, "m1");
    let cancelled = world.ask(a, "m2", "job.cancel", json!({"job_id": id, "reason": "enough"}));
    assert_eq!(cancelled["payload"]["reason"], "enough");
    assert!(cancelled["payload"]["current_status"].is_null() && cancelled["event_seq"].is_null());
    world.logs(job, 1);
    world.finish(job, "42");
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.event", "job.error"], "its events count until then (D-110)");
    let end = &frames[1]["payload"];
    assert_eq!((&end["code"], &end["final_status"]), (&json!("CANCELLED"), &json!("cancelled")), "JOB-5");
    assert_eq!(end["message"], "enough");
    assert_eq!(world.runtime.job_state(job), Some(JobState::Cancelled));
}

#[test]
fn an_agent_that_does_not_return_is_ended_after_the_grace() {
    let (mut world, a) = world();
    let (job, id) = world.submit(a, "m1");
    world.ask(a, "m2", "job.cancel", json!({"job_id": id}));
    world.wait(30 * SECOND - Duration::from_millis(1));
    assert!(world.take(a).is_empty());
    world.wait(Duration::from_millis(1));
    assert_eq!(code(&world.one(a)), "CANCELLED", "CAN-2");
    assert_eq!(world.told.last(), Some(&std::format!("kill {job:?}")));
    let late = AgentInput::Finish(AgentEnd::Value { value: crate::wire::RawJson::null(), summary: None });
    assert_eq!(world.runtime.handle_agent(world.now, job, late), Err(ApiMisuse::JobEnded), "JOB-3");
    world.settle();
    assert!(world.take(a).is_empty());
}

#[test]
fn a_terminal_that_was_first_stands() {
    let (mut world, a) = world();
    let (job, id) = world.submit(a, "m1");
    world.finish(job, "1");
    assert_eq!(seqs(&world.take(a)), [1]);
    for n in 0..3 {
        let answer = world.ask(a, &std::format!("c{n}"), "job.cancel", json!({"job_id": id}));
        assert_eq!(answer["type"], "job.cancelled");
        assert_eq!(answer["payload"]["current_status"], "success", "D-72");
    }
    world.wait(60 * SECOND);
    assert!(world.take(a).is_empty(), "CAN-3: no event, no number");
}

#[test]
fn a_cancel_and_a_result_in_one_turn_have_one_end_the_first_one() {
    for cancel_first in [true, false] {
        let (mut world, a) = world();
        let (job, id) = world.submit(a, "m1");
        world.instant_store = false;
        if cancel_first {
            world.send(a, "m2", "job.cancel", json!({"job_id": id}));
        }
        world.finish(job, "1");
        if !cancel_first {
            world.send(a, "m2", "job.cancel", json!({"job_id": id}));
        }
        world.store_all();
        world.wait(60 * SECOND);
        world.store_all();
        let frames = world.take(a);
        let ends: Vec<_> = frames.iter().filter(|frame| !frame["event_seq"].is_null()).collect();
        assert_eq!(ends.len(), 1, "JOB-2");
        assert_eq!(ends[0]["type"] == "job.error", cancel_first);
        let answer = frames.iter().find(|frame| frame["type"] == "job.cancelled").unwrap();
        assert_eq!(answer["payload"]["current_status"] == "success", !cancel_first);
    }
}

#[test]
fn repeats_are_harmless_and_tell_the_agent_once() {
    let (mut world, a) = world();
    let (_, id) = world.submit(a, "m1");
    for n in 0..3 {
        let answer = world.ask(
            a,
            &std::format!("c{n}"),
            "job.cancel",
            json!({"job_id": id, "reason": std::format!("{n}")}),
        );
        assert_eq!(answer["type"], "job.cancelled");
    }
    assert_eq!(world.told.iter().filter(|told| told.starts_with("cancel")).count(), 1);
    world.wait(30 * SECOND);
    assert_eq!(world.one(a)["payload"]["message"], "0", "the first reason stays");
}

#[test]
fn the_job_may_be_named_in_either_place() {
    let (mut world, a) = world();
    let (_, id) = world.submit(a, "m1");
    let send = |world: &mut World, envelope: Option<&str>, payload: Option<&str>| {
        let mut frame = json!({"arcp": "1.1", "id": std::format!("{envelope:?}{payload:?}").replace('"', ""), "type": "job.cancel", "payload": {}});
        if let Some(job) = envelope {
            frame["job_id"] = job.into();
        }
        if let Some(job) = payload {
            frame["payload"]["job_id"] = job.into();
        }
        world.send_text(a, &serde_json::to_string(&frame).unwrap());
        let answer = world.one(a);
        String::from(if answer["type"] == "session.error" { code(&answer) } else { "ok" })
    };
    assert_eq!(send(&mut world, Some(&id), None), "ok", "D-50");
    assert_eq!(send(&mut world, None, Some(&id)), "ok");
    assert_eq!(send(&mut world, Some(&id), Some(&id)), "ok");
    assert_eq!(send(&mut world, Some(&id), Some("job_x")), "INVALID_REQUEST");
    assert_eq!(send(&mut world, None, None), "INVALID_REQUEST");
    assert_eq!(send(&mut world, Some("job_x"), None), "JOB_NOT_FOUND");
}

#[test]
fn only_the_owner_cancels_and_subscribing_gives_no_right() {
    let (mut world, a) = world();
    let (b, _) = world.session(ALL.without(Feature::Heartbeat));
    let (c, _) = world.session_of("other", ALL.without(Feature::Heartbeat));
    let (job, id) = world.submit(a, "m1");
    world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    assert_eq!(code(&world.ask(b, "m3", "job.cancel", json!({"job_id": id}))), "PERMISSION_DENIED", "CAN-1");
    assert_eq!(code(&world.ask(c, "m4", "job.cancel", json!({"job_id": id}))), "JOB_NOT_FOUND", "D-16");
    world.wait(60 * SECOND);
    assert_eq!(world.runtime.job_state(job), Some(JobState::Running));
}

#[test]
fn a_job_whose_owner_died_is_cancelled_by_any_session_of_its_principal() {
    for finished in [false, true] {
        let (mut world, a) = world();
        let (job, id) = world.submit(a, "m1");
        if finished {
            world.finish(job, "1");
        }
        let (b, _) = world.session(ALL.without(Feature::Heartbeat));
        world.cut(a);
        let early = world.ask(b, "m2", "job.cancel", json!({"job_id": id}));
        assert_eq!(code(&early), "PERMISSION_DENIED", "a detached owner is an owner");
        world.wait(600 * SECOND);
        let answer = world.ask(b, "m3", "job.cancel", json!({"job_id": id}));
        assert_eq!(answer["type"], "job.cancelled", "D-21, finished {finished}: {answer}");
        assert_eq!(answer["payload"]["current_status"].is_null(), !finished);
    }
}

#[test]
fn a_time_limit_counts_from_acceptance_and_gives_the_grace() {
    let (mut world, a) = world();
    world.send(a, "m1", "job.submit", json!({"agent": "a", "max_runtime_sec": 5}));
    world.take(a);
    let job = world.started[0].job;
    world.wait(5 * SECOND - Duration::from_millis(1));
    assert!(!world.told.iter().any(|told| told.starts_with("cancel")));
    world.wait(Duration::from_millis(1));
    assert!(world.told.iter().any(|told| told.contains("TimedOut(5)")));
    world.logs(job, 1);
    world.finish(job, "1");
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.event", "job.error"]);
    assert_eq!(frames[1]["payload"]["final_status"], "timed_out");
    assert_eq!(code(&frames[1]), "TIMEOUT", "JOB-5");
}

#[test]
fn a_job_that_waits_for_its_place_times_out_there() {
    let mut config = config();
    config.limits.running_jobs = 1;
    let mut world = World::with(config);
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    world.submit(a, "m1");
    world.send(a, "m2", "job.submit", json!({"agent": "a", "max_runtime_sec": 5}));
    world.take(a);
    world.wait(5 * SECOND);
    assert_eq!(world.one(a)["payload"]["final_status"], "timed_out", "D-27, D-28");
    assert_eq!(world.started.len(), 1);
}

#[test]
fn a_cancel_replaces_a_time_limit_and_not_the_other_way_round() {
    for cancel_first in [true, false] {
        let (mut world, a) = world();
        world.send(a, "m1", "job.submit", json!({"agent": "a", "max_runtime_sec": 5}));
        let id = world.one(a)["job_id"].clone();
        let cancel = |world: &mut World| world.ask(a, "m2", "job.cancel", json!({"job_id": id}));
        if cancel_first {
            cancel(&mut world);
            world.wait(6 * SECOND);
        } else {
            world.wait(6 * SECOND);
            cancel(&mut world);
        }
        world.wait(60 * SECOND);
        assert_eq!(code(&world.one(a)), "CANCELLED", "cancel first: {cancel_first}");
    }
}

#[test]
fn a_stop_survives_a_crash() {
    for (kind, expected) in [("cancel", "CANCELLED"), ("time", "TIMEOUT")] {
        let mut world = World::new();
        let (a, welcome) = world.session(ALL.without(Feature::Heartbeat));
        world.send(a, "m1", "job.submit", json!({"agent": "a", "max_runtime_sec": 5}));
        let id = world.one(a)["job_id"].clone();
        if kind == "cancel" {
            world.ask(a, "m2", "job.cancel", json!({"job_id": id}));
        } else {
            world.wait(6 * SECOND);
        }
        let mut world = world.restart(config());
        let (_, frames) = world.resume(&welcome, 0, ALL.without(Feature::Heartbeat));
        assert_eq!(code(frames.last().unwrap()), expected, "D-110");
    }
}

#[test]
fn the_operator_cancels_without_a_reply_to_anybody() {
    let (mut world, a) = world();
    let (job, _) = world.submit(a, "m1");
    world.runtime.cancel_job(world.now, job, Some("maintenance".into())).unwrap();
    world.settle();
    assert!(world.take(a).is_empty());
    world.finish(job, "1");
    assert_eq!(world.one(a)["payload"]["message"], "maintenance");
    assert_eq!(world.runtime.cancel_job(world.now, job, None), Err(ApiMisuse::JobEnded));
}

#[test]
fn agents_end_jobs_with_some_codes_only() {
    for (given, sent) in [
        (ErrorCode::PermissionDenied, "PERMISSION_DENIED"),
        (ErrorCode::BudgetExhausted, "BUDGET_EXHAUSTED"),
        (ErrorCode::InvalidRequest, "INVALID_REQUEST"),
        (ErrorCode::Cancelled, "INTERNAL_ERROR"),
        (ErrorCode::Timeout, "INTERNAL_ERROR"),
        (ErrorCode::HeartbeatLost, "INTERNAL_ERROR"),
        (ErrorCode::JobNotFound, "INTERNAL_ERROR"),
    ] {
        let (mut world, a) = world();
        let (job, id) = world.submit(a, "m1");
        let failure = AgentFailure { code: given, message: "broke".into(), agent_code: Some("E17".into()) };
        let end = AgentInput::Finish(AgentEnd::Failure(failure));
        world.runtime.handle_agent(world.now, job, end).unwrap();
        world.settle();
        let error = world.one(a);
        assert_eq!((code(&error), &error["job_id"]), (sent, &json!(id)), "D-87");
        assert_eq!(error["payload"]["final_status"], "error");
        assert_eq!(error["payload"]["details"]["agent_code"], "E17");
        assert_eq!(error["payload"]["retryable"], sent == "INTERNAL_ERROR");
    }
}

#[test]
fn losing_or_closing_a_connection_touches_no_job() {
    for how in ["cut", "session.close", "session.bye"] {
        let (mut world, a) = world();
        let (job, _) = world.submit(a, "m1");
        if how == "cut" {
            world.cut(a);
        } else {
            world.send(a, "m2", how, json!({"reason": "r"}));
        }
        world.wait(3_600 * SECOND);
        assert_eq!(world.runtime.job_state(job), Some(JobState::Running), "SES-10: {how}");
        world.logs(job, 1);
        world.finish(job, "1");
    }
}
