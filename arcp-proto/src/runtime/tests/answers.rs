//! What submits are answered with, and in which order they are judged (protocol §3.1, §3.2, §3.4, §7).

use core::time::Duration;
use std::string::ToString;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, types};
use crate::agent::{AgentRef, Inventory};
use crate::error::ErrorCode;
use crate::runtime::{AgentEnd, AgentFailure, AgentInput};
use crate::wire::testing::is_trace_id;

const TRACE: &str = "7c9f1e2a5b3d4806a1f2c3d4e5f60718";

#[test]
fn an_acceptance_says_everything() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let accepted = world.ask(a, "m1", "job.submit", json!({"agent": "refactor", "input": {}}));
    assert_eq!((&accepted["type"], accepted["event_seq"].is_null()), (&json!("job.accepted"), true));
    assert_eq!(
        accepted["payload"],
        json!({
            "job_id": accepted["job_id"], "agent": "refactor@2.0.0", "lease": {},
            "accepted_at": "2026-08-14T09:30:00.000Z", "trace_id": accepted["trace_id"],
            "request_id": "m1", "reply_to": "m1",
        })
    );
    let plain = world.ask(a, "m2", "job.submit", json!({"agent": "mailer"}));
    assert_eq!(plain["payload"]["agent"], "mailer", "bare where there are no versions");
}

#[test]
fn a_key_answers_although_its_agent_has_gone() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let submit = json!({"agent": "mailer", "idempotency_key": "k"});
    let first = world.ask(a, "m1", "job.submit", submit.clone());
    let mut without = config();
    without.agents = Inventory::default();
    without.agents.add(&AgentRef::parse("a").unwrap());
    let mut world = world.restart(without);
    let (b, _) = world.session(ALL);
    world.send(b, "m2", "job.submit", submit);
    assert_eq!(world.take(b)[0]["job_id"], first["job_id"]);
    let refused = world.ask(b, "m3", "job.submit", json!({"agent": "mailer", "idempotency_key": "k2"}));
    assert_eq!(code(&refused), "AGENT_NOT_AVAILABLE");
}

#[test]
fn the_shape_of_a_submit_comes_before_its_key() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    world.ask(a, "m1", "job.submit", json!({"agent": "a", "idempotency_key": "k"}));
    for wrong in [
        json!({"agent": "a", "idempotency_key": "k", "max_runtime_sec": 0}),
        json!({"agent": "A!", "idempotency_key": "k"}),
        json!({"idempotency_key": "k"}),
    ] {
        let refused = world.ask(a, "m2", "job.submit", wrong.clone());
        assert_eq!(code(&refused), "INVALID_REQUEST", "and not DUPLICATE_KEY: {wrong}");
    }
}

#[test]
fn a_job_keeps_the_trace_of_its_submit() {
    for (given, expected) in [
        (json!(TRACE), Some(TRACE)),
        (json!(TRACE.to_uppercase()), Some(TRACE)),
        (json!(std::format!("00-{TRACE}-a1b2c3d4e5f60718-01")), Some(TRACE)),
        (json!("0".repeat(32)), None),
        (json!(7), None),
        (Value::Null, None),
    ] {
        let mut world = World::new();
        let (a, welcome) = world.session(ALL);
        let payload = json!({"agent": "a", "idempotency_key": "k"});
        let frame =
            json!({"arcp": "1.1", "id": "m1", "type": "job.submit", "trace_id": given, "payload": payload});
        world.send_text(a, &frame.to_string());
        let job = world.started[0].job;
        world.logs(job, 1);
        world.ask(a, "m2", "job.subscribe", json!({"job_id": world.started[0].key.to_string()}));
        // A repeat brings a trace of its own, which changes nothing.
        world.ask(a, "m3", "job.submit", payload.clone());
        let mut world = world.restart(config());
        let (b, _) = world.resume(&welcome, 0, ALL);
        world.send(b, "m4", "session.list_jobs", json!({}));
        let frames: Vec<Value> =
            world.texts.values().flatten().map(|text| serde_json::from_str(text).unwrap()).collect();
        let traces: Vec<&Value> = frames
            .iter()
            .filter(|frame| frame["type"].as_str().unwrap().starts_with("job."))
            .map(|frame| &frame["trace_id"])
            .collect();
        assert!(traces.len() > 1, "the acceptance again, the events, the end: {}", traces.len());
        assert!(
            is_trace_id(traces[0]) && traces.iter().all(|trace| *trace == traces[0]),
            "{given}: {traces:?}"
        );
        if let Some(expected) = expected {
            assert_eq!(traces[0], expected, "{given}");
        }
        let page = frames.last().unwrap();
        assert_eq!(page["payload"]["jobs"][0]["trace_id"], *traces[0]);
    }
}

#[test]
fn agents_may_name_seven_codes() {
    let seven = [
        ErrorCode::PermissionDenied,
        ErrorCode::BudgetExhausted,
        ErrorCode::LeaseExpired,
        ErrorCode::LeaseSubsetViolation,
        ErrorCode::InvalidRequest,
        ErrorCode::AgentNotAvailable,
        ErrorCode::AgentVersionNotAvailable,
    ];
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    for (n, given) in ErrorCode::ALL.iter().enumerate() {
        let (job, _) = world.submit(a, &std::format!("m{n}"));
        let failure = AgentFailure { code: *given, message: "broke".into(), agent_code: None };
        world.runtime.handle_agent(world.now, job, AgentInput::Finish(AgentEnd::Failure(failure))).unwrap();
        world.settle();
        let end = world.one(a);
        let expected = if seven.contains(given) { given.as_str() } else { "INTERNAL_ERROR" };
        assert_eq!(
            (code(&end), &end["payload"]["final_status"]),
            (expected, &json!("error")),
            "D-87: {given}"
        );
        assert!(end["payload"].get("details").is_none(), "{end}");
    }
}

#[test]
fn a_held_job_is_still_stopped() {
    let mut small = config();
    small.limits.window_events = 10;
    for (how, expected) in [("cancel", "CANCELLED"), ("time", "TIMEOUT")] {
        let mut world = World::with(small.clone());
        let (a, _) = world.session(ALL.without(crate::feature::Feature::Heartbeat));
        world.send(a, "m1", "job.submit", json!({"agent": "a", "max_runtime_sec": 5}));
        let id = world.one(a)["job_id"].clone();
        let job = world.started[0].job;
        world.stalled.push(a);
        world.logs(job, 8);
        assert!(world.told.iter().any(|told| told.starts_with("hold")), "{:?}", world.told);
        if how == "cancel" {
            world.send(a, "m2", "job.cancel", json!({"job_id": id}));
        } else {
            world.wait(Duration::from_secs(5));
        }
        assert!(
            world.told.iter().any(|told| told.starts_with("cancel")),
            "the agent is told: {:?}",
            world.told
        );
        // It has never seen that and never returns.
        world.wait(Duration::from_secs(30));
        world.stalled.clear();
        world.settle();
        let frames = world.take(a);
        assert_eq!((types(&frames).last(), code(frames.last().unwrap())), (Some(&"job.error"), expected));
    }
}
