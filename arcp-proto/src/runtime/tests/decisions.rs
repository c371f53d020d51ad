//! What of a lease is granted, decided outside (protocol §3.1, §3.3).

use core::time::Duration;
use std::vec::Vec;

use serde_json::{Value, json};

use super::budget::metrics;
use super::harness::{ALL, World, code, config, types};
use crate::error::ApiMisuse;
use crate::feature::Feature;
use crate::lease::{Amount, Capability, Currency, Lease};
use crate::runtime::{ConnectionId, DecisionId, LeaseDecision};

const SECOND: Duration = Duration::from_secs(1);

fn world() -> (World, ConnectionId, Value) {
    let mut deciding = config();
    deciding.decides_leases = true;
    let mut world = World::with(deciding);
    let (a, welcome) = world.session(ALL.without(Feature::Heartbeat));
    (world, a, welcome)
}

fn submit() -> Value {
    json!({"agent": "refactor", "idempotency_key": "k",
        "lease_request": {"tool.call": ["search.*", "mail"], "cost.budget": ["USD:5.00"]}})
}

/// Decides with what `change` makes of the lease asked for.
fn grant(
    world: &mut World,
    id: DecisionId,
    lease: &Lease,
    change: impl FnOnce(&mut Lease),
) -> Option<ApiMisuse> {
    let mut lease = lease.clone();
    change(&mut lease);
    let misuse = world.runtime.handle_decision(world.now, id, LeaseDecision::Grant(lease)).err();
    world.settle();
    misuse
}

fn only_question(world: &mut World) -> (DecisionId, Lease) {
    assert_eq!(world.questions.len(), 1);
    let (id, request) = world.questions.remove(0);
    assert_eq!((&*request.principal, request.agent.as_str()), ("demo", "refactor@2.0.0"));
    (id, request.lease)
}

#[test]
fn the_effective_lease_is_what_was_granted() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", submit());
    assert!(world.take(a).is_empty() && world.stored_jobs() == 0, "nothing exists before the answer");
    let (id, lease) = only_question(&mut world);
    let misuse = grant(&mut world, id, &lease, |lease| {
        lease.retain(|capability, pattern| *capability != Capability::ToolCall || pattern.as_str() != "mail");
        lease.limit_budget(&Currency::parse("USD").unwrap(), Amount::parse("2").unwrap());
    });
    assert_eq!(misuse, None);
    let accepted = world.one(a);
    assert_eq!(accepted["payload"]["lease"], json!({"tool.call": ["search.*"], "cost.budget": ["USD:2"]}));
    assert_eq!(accepted["payload"]["budget"], json!({"USD": 2}));
    let job = world.started[0].job;
    assert!(world.may(job, "tool.call", "search.web").is_ok());
    assert_eq!(world.may(job, "tool.call", "mail"), Err("PERMISSION_DENIED"));
    assert_eq!(
        world.runtime.handle_decision(world.now, id, LeaseDecision::Refuse),
        Ok(()),
        "a second answer is ignored"
    );
}

#[test]
fn nothing_wider_is_granted() {
    for change in [
        (|lease: &mut Lease| lease.replace(&Capability::FsRead, ["/**"]).unwrap()) as fn(&mut Lease),
        |lease| lease.replace(&Capability::ToolCall, ["**"]).unwrap(),
        |lease| *lease = Lease::default(),
    ] {
        let (mut world, a, _) = world();
        world.send(a, "m1", "job.submit", submit());
        let (id, lease) = only_question(&mut world);
        assert!(matches!(grant(&mut world, id, &lease, change), Some(ApiMisuse::OutOfRange(_))), "LEA-2");
        assert_eq!(code(&world.one(a)), "INTERNAL_ERROR");
        assert!(world.stored_jobs() == 0);
    }
}

#[test]
fn a_refusal_burns_no_key() {
    let (mut world, a, _) = world();
    for n in 0..2 {
        world.send(a, &std::format!("m{n}"), "job.submit", submit());
        let (id, lease) = only_question(&mut world);
        if n == 0 {
            world.runtime.handle_decision(world.now, id, LeaseDecision::Refuse).unwrap();
            world.settle();
        } else {
            grant(&mut world, id, &lease, |lease| lease.retain(|_, _| false));
        }
        assert_eq!(code(&world.one(a)), "PERMISSION_DENIED");
    }
    world.send(a, "m9", "job.submit", submit());
    let (id, lease) = only_question(&mut world);
    grant(&mut world, id, &lease, |_| {});
    assert_eq!(world.one(a)["type"], "job.accepted");
}

#[test]
fn a_late_decision_is_no_decision() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", submit());
    let (id, lease) = only_question(&mut world);
    world.wait(10 * SECOND - Duration::from_millis(1));
    assert!(world.take(a).is_empty());
    world.wait(Duration::from_millis(1));
    assert_eq!(code(&world.one(a)), "INTERNAL_ERROR");
    assert_eq!(grant(&mut world, id, &lease, |_| {}), None);
    assert!(world.take(a).is_empty() && world.stored_jobs() == 0);
}

#[test]
fn replies_keep_the_order_of_their_submits() {
    let (mut world, a, _) = world();
    for (n, agent) in ["a", "nobody", "mailer"].into_iter().enumerate() {
        world.send(a, &std::format!("m{n}"), "job.submit", json!({"agent": agent}));
    }
    assert!(world.take(a).is_empty(), "D-75: the refusal of the second waits for the first");
    let questions = core::mem::take(&mut world.questions);
    for (id, request) in questions.into_iter().rev() {
        grant(&mut world, id, &request.lease, |_| {});
    }
    let frames = world.take(a);
    let answered: Vec<_> = frames.iter().map(|frame| frame["payload"]["request_id"].clone()).collect();
    assert_eq!(answered, [json!("m0"), json!("m1"), json!("m2")]);
    assert_eq!(types(&frames), ["job.accepted", "session.error", "job.accepted"]);
}

#[test]
fn the_same_key_waits_for_the_outcome() {
    for granted in [true, false] {
        let (mut world, a, _) = world();
        let (b, _) = world.session(ALL);
        world.send(a, "m1", "job.submit", submit());
        world.send(b, "m2", "job.submit", submit());
        let mut other = submit();
        other["input"] = json!(1);
        world.send(b, "m3", "job.submit", other);
        let (id, lease) = only_question(&mut world);
        if granted {
            grant(&mut world, id, &lease, |_| {});
            let first = world.one(a);
            let frames = world.take(b);
            assert_eq!(frames[0]["job_id"], first["job_id"], "IDEM-2");
            assert_eq!(code(&frames[1]), "DUPLICATE_KEY");
        } else {
            world.runtime.handle_decision(world.now, id, LeaseDecision::Refuse).unwrap();
            world.settle();
            assert_eq!(code(&world.one(a)), "PERMISSION_DENIED");
            let (id, lease) = only_question(&mut world);
            grant(&mut world, id, &lease, |_| {});
            let frames = world.take(b);
            assert_eq!(frames[0]["type"], "job.accepted", "a refused submit burns no key");
            assert_eq!(code(&frames[1]), "DUPLICATE_KEY");
        }
        assert_eq!(world.started.len(), 1);
    }
}

#[test]
fn the_same_request_twice_is_one_question() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", submit());
    world.send(a, "m1", "job.submit", submit());
    let (id, lease) = only_question(&mut world);
    grant(&mut world, id, &lease, |_| {});
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.accepted", "job.accepted"], "D-49");
    assert_eq!(frames[0]["job_id"], frames[1]["job_id"]);
    world.send(a, "m2", "job.submit", json!({"agent": "nobody"}));
    assert_eq!(code(&world.one(a)), "AGENT_NOT_AVAILABLE", "no place among the replies stays empty");
}

#[test]
fn what_is_decided_after_a_resume_goes_to_the_new_connection() {
    let (mut world, a, welcome) = world();
    world.send(a, "m1", "job.submit", submit());
    world.cut(a);
    let (b, frames) = world.resume(&welcome, 0, ALL.without(Feature::Heartbeat));
    assert_eq!(types(&frames), ["session.welcome"]);
    let (id, lease) = only_question(&mut world);
    grant(&mut world, id, &lease, |_| {});
    let accepted = world.one(b);
    assert_eq!(
        (&accepted["type"], &accepted["payload"]["request_id"]),
        (&json!("job.accepted"), &json!("m1"))
    );
}

#[test]
fn a_session_that_dies_meanwhile_gets_no_job() {
    let mut brief = config();
    brief.decides_leases = true;
    brief.resume_window = SECOND;
    let mut dying = World::with(brief);
    let (c, _) = dying.session(ALL);
    dying.send(c, "m1", "job.submit", submit());
    dying.cut(c);
    dying.wait(2 * SECOND);
    let (id, lease) = only_question(&mut dying);
    assert_eq!(grant(&mut dying, id, &lease, |_| {}), None);
    assert!(dying.stored_jobs() == 0 && dying.started.is_empty());
}

#[test]
fn a_budget_that_was_added_binds_a_session_that_does_not_know_of_budgets() {
    let (mut world, ..) = world();
    let (b, _) = world.session(ALL.without(Feature::Heartbeat).without(Feature::CostBudget));
    world.send(b, "m1", "job.submit", json!({"agent": "refactor", "lease_request": {"tool.call": ["x"]}}));
    let (id, lease) = only_question(&mut world);
    let misuse = grant(&mut world, id, &lease, |lease| {
        lease.limit_budget(&Currency::parse("USD").unwrap(), Amount::parse("2").unwrap());
    });
    assert_eq!(misuse, None);
    let accepted = world.one(b);
    assert_eq!(accepted["payload"]["lease"]["cost.budget"], json!(["USD:2"]), "it is the effective lease");
    let job = world.started[0].job;
    world.metric(job, "cost.x", "2", "USD");
    assert_eq!(metrics(&world.take(b)), ["cost.x 2 USD"], "what is left is not told");
    assert_eq!(world.may(job, "tool.call", "x"), Err("BUDGET_EXHAUSTED"));
}
