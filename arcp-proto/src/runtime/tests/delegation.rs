//! Delegation: children, their leases and money, their ends (protocol §6).

use core::time::Duration;
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::{Value, json};

use super::budget::metrics;
use super::harness::{ALL, World, code, config, types};
use crate::error::{ApiMisuse, ErrorCode};
use crate::feature::Feature;
use crate::id::JobKey;
use crate::runtime::store::{Command, Record};
use crate::runtime::{AgentInput, ChildEnd, ConnectionId, JobHandle, JobNews, JobState, StopReason, Timer};
use crate::wire::RawJson;
use crate::wire::event::{ChunkEmission, Delegation};

const SECOND: Duration = Duration::from_secs(1);
const END: &str = "2026-08-14T09:31:00.000Z";

fn parent(lease: Value) -> (World, ConnectionId, JobHandle, String) {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let (job, accepted) = world.submit_with(
        a,
        "m1",
        json!({"agent": "refactor", "lease_request": lease, "lease_constraints": {"expires_at": END}}),
    );
    (world, a, job, accepted["job_id"].as_str().unwrap().to_string())
}

fn rich() -> Value {
    json!({"agent.delegate": ["a", "mailer", "refactor@2.*"], "tool.call": ["search.*"], "model.use": ["fast/*"],
        "cost.budget": ["USD:1.00"]})
}

/// The frames of one job among `frames`.
fn of<'a>(frames: &'a [Value], job: &str) -> Vec<&'a Value> {
    frames.iter().filter(|frame| frame["job_id"] == job).collect()
}

#[test]
fn a_child_is_announced_accepted_and_started() {
    let (mut world, a, job, id) = parent(rich());
    let child =
        world.delegate(job, json!({"tool.call": ["search.web"], "cost.budget": ["USD:0.40"]})).unwrap();
    let frames = world.take(a);
    let (accepted, numbered): (Vec<_>, Vec<_>) =
        frames.iter().partition(|frame| frame["type"] == "job.accepted");
    assert_eq!(accepted.len(), 1);
    let (key, acceptance) = (child.key.to_string(), &accepted[0]["payload"]);
    assert_eq!(accepted[0]["job_id"], key);
    assert_eq!((&acceptance["parent_job_id"], &acceptance["agent"]), (&json!(id), &json!("a")));
    assert!(acceptance["request_id"].is_null() && acceptance["reply_to"].is_null(), "it answers no request");
    let delegate = &numbered[0]["payload"];
    assert_eq!((&numbered[0]["job_id"], &delegate["kind"]), (&json!(id), &json!("delegate")));
    assert_eq!(
        (&delegate["body"]["child_job_id"], &delegate["body"]["delegate_id"]),
        (&json!(key), &acceptance["delegate_id"]),
        "D-74"
    );
    assert_eq!((&delegate["body"]["agent"], &delegate["body"]["input"]), (&json!("a"), &Value::Null));
    assert_eq!(delegate["body"]["lease_request"]["tool.call"], json!(["search.web"]));
    assert_eq!(metrics(&frames), ["cost.budget.remaining 0.6 USD"], "the escrow is told");
    assert_eq!(
        acceptance["lease"],
        json!({"tool.call": ["search.web"], "cost.budget": ["USD:0.40"], "model.use": ["fast/*"]}),
        "LEA-9: what is left out of the restrictions is inherited"
    );
    assert_eq!(acceptance["lease_constraints"], json!({"expires_at": END}), "LEA-7");
    let started = world.started.last().unwrap();
    assert_eq!((started.job, started.parent.map(|parent| parent.to_string())), (child.job, Some(id.clone())));
    assert_eq!(started.trace_id, world.started[0].trace_id, "the trace is inherited");
    let listed = world.ask(a, "m2", "session.list_jobs", json!({}));
    assert_eq!(listed["payload"]["jobs"][0]["parent_job_id"], json!(id));
    world.log(child.job, "hello");
    world.settle();
    assert_eq!(world.one(a)["job_id"], key, "its frames are on the submitter's stream");
}

#[test]
fn everything_of_a_delegation_is_one_append() {
    let (mut world, _, job, id) = parent(rich());
    world.delegate(job, json!({"cost.budget": ["USD:0.40"]})).unwrap();
    let parent = JobKey::parse(&id).unwrap();
    let together = world.journal.iter().any(|(_, command)| {
        let Command::Append(records) = command else { return false };
        let child = records.iter().any(|record| matches!(record, Record::Job(job) if job.parent.is_some()));
        let escrow =
            records.iter().any(|record| matches!(record, Record::Counters { job, .. } if *job == parent));
        let event =
            records.iter().any(|record| matches!(record, Record::Event(event) if event.job == parent));
        child && escrow && event
    });
    assert!(together);
}

#[test]
fn a_refusal_is_a_tool_result_and_the_parent_goes_on() {
    let cases = [
        ("unknown", json!({}), json!({}), "AGENT_NOT_AVAILABLE"),
        ("refactor@9", json!({}), json!({}), "AGENT_VERSION_NOT_AVAILABLE"),
        ("refactor@1.0.0", json!({}), json!({}), "PERMISSION_DENIED"),
        ("No Agent", json!({}), json!({}), "INVALID_REQUEST"),
        ("a", json!({"fs.exec": ["/x"]}), json!({}), "INVALID_REQUEST"),
        ("a", json!({"tool.call": ["**"]}), json!({}), "LEASE_SUBSET_VIOLATION"),
        ("a", json!({"cost.budget": ["USD:1.01"]}), json!({}), "LEASE_SUBSET_VIOLATION"),
        ("a", json!({}), json!({"expires_at": "2026-08-14T09:32:00Z"}), "LEASE_SUBSET_VIOLATION"),
    ];
    let (mut world, a, job, id) = parent(rich());
    for (agent, lease, constraints, expected) in cases {
        let error = world.delegate_to(job, agent, lease, constraints).unwrap_err();
        assert_eq!(error.code.as_str(), expected, "{agent}");
        let frames = world.take(a);
        assert_eq!(types(&frames), ["job.event", "job.event"], "never a session-level error");
        let (delegate, result) = (&frames[0]["payload"], &frames[1]["payload"]);
        assert_eq!((&delegate["kind"], &result["kind"]), (&json!("delegate"), &json!("tool_result")));
        assert_eq!(result["body"]["call_id"], delegate["body"]["delegate_id"], "D-56");
        assert_eq!(result["body"]["error"]["code"], expected);
        assert_eq!(result["body"]["error"]["retryable"], false);
        assert_eq!(frames[0]["job_id"], json!(id));
    }
    assert_eq!(world.started.len(), 1);
    assert_eq!(world.runtime.population().unfinished_jobs, 1);
    world.metric(job, "cost.x", "1", "USD");
    assert_eq!(world.delegate(job, json!({})).unwrap_err().code, ErrorCode::BudgetExhausted);
    world.wait(60 * SECOND);
    assert_eq!(world.delegate(job, json!({})).unwrap_err().code, ErrorCode::LeaseExpired);
    world.take(a);
    world.finish(job, "1");
    assert_eq!(code(&world.one(a)), "LEASE_EXPIRED");
}

#[test]
fn two_children_cannot_spend_the_same_money() {
    let (mut world, _, job, _) = parent(rich());
    let first = world.delegate(job, json!({"cost.budget": ["USD:1"]})).unwrap();
    assert_eq!(
        world.delegate(job, json!({"cost.budget": ["USD:0.01"]})).unwrap_err().code,
        ErrorCode::BudgetExhausted,
        "BUD-5: all of it is set aside, so nothing more may be done"
    );
    world.metric(first.job, "cost.x", "0.3", "USD");
    world.finish(first.job, "1");
    let second = world.delegate(job, json!({"cost.budget": ["USD:0.7"]})).unwrap();
    assert_eq!(second.lease.budget()[0].amount.to_string(), "0.7");
}

#[test]
fn what_a_child_did_not_spend_comes_back_once() {
    let (mut world, a, job, id) = parent(rich());
    let child = world.delegate(job, json!({"cost.budget": ["USD:0.40"]})).unwrap();
    world.metric(child.job, "cost.x", "0.5", "USD");
    assert_eq!(
        world.may(child.job, "tool.call", "search.web"),
        Err("PERMISSION_DENIED"),
        "not granted to it"
    );
    world.take(a);
    world.finish(child.job, "\"done\"");
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.result", "job.event"], "the refund is told behind the child's terminal");
    assert_eq!(
        (&frames[1]["job_id"], metrics(&frames)),
        (&json!(id), Vec::from(["cost.budget.remaining 0.5 USD".to_string()]))
    );
    let end = JobNews::ChildEnded {
        child: child.job,
        end: ChildEnd::Value(RawJson::try_from("\"done\"").unwrap()),
    };
    assert_eq!(world.news.pop(), Some((job, end)));
    let world = world.restart(config());
    let row = world.store.job(JobKey::parse(&id).unwrap()).unwrap();
    assert_eq!(row.counters.find("USD").unwrap().remaining.to_string(), "0.5", "and not again at a restart");
}

#[test]
fn a_currency_the_child_does_not_name_is_shared() {
    let (mut world, a, job, id) = parent(rich());
    world.metric(job, "cost.x", "0.25", "USD");
    let child = world.delegate(job, json!({"tool.call": ["search.web"]})).unwrap();
    assert_eq!(child.lease.to_json().as_str().matches("USD:0.75").count(), 1, "it is shown what is left");
    world.take(a);
    world.metric(child.job, "cost.x", "0.5", "USD");
    let frames = world.take(a);
    assert_eq!(metrics(&frames), ["cost.x 0.5 USD", "cost.budget.remaining 0.25 USD"]);
    assert_eq!(of(&frames, &id).len(), 0, "it is told on the job that charged");
    world.metric(job, "cost.x", "0.25", "USD");
    assert_eq!(
        world.may(child.job, "tool.call", "search.web"),
        Err("BUDGET_EXHAUSTED"),
        "one counter for both"
    );
    world.finish(child.job, "1");
    let row = world.store.job(JobKey::parse(&id).unwrap()).unwrap();
    assert_eq!(row.counters.find("USD").unwrap().remaining.to_string(), "0", "nothing to give back");
}

#[test]
fn a_currency_the_parent_does_not_budget_only_restricts() {
    let (mut world, _, job, id) = parent(rich());
    let child =
        world.delegate(job, json!({"cost.budget": ["EUR:0.5"], "tool.call": ["search.web"]})).unwrap();
    world.metric(child.job, "cost.x", "0.5", "EUR");
    assert_eq!(world.may(child.job, "tool.call", "search.web"), Err("BUDGET_EXHAUSTED"), "D-111");
    world.finish(child.job, "1");
    let row = world.store.job(JobKey::parse(&id).unwrap()).unwrap();
    assert_eq!(row.counters.as_slice().len(), 1);
    assert_eq!(row.counters.find("USD").unwrap().remaining.to_string(), "1");
}

#[test]
fn a_parents_end_ends_its_children() {
    for cancel in [true, false] {
        let (mut world, a, job, id) = parent(rich());
        let child =
            world.delegate(job, json!({"agent.delegate": ["a"], "cost.budget": ["USD:0.4"]})).unwrap();
        let grandchild = world.delegate(child.job, json!({"cost.budget": ["USD:0.3"]})).unwrap();
        world.take(a);
        if cancel {
            world.send(a, "m2", "job.cancel", json!({"job_id": id}));
            assert!(
                world
                    .told
                    .iter()
                    .any(|told| *told == std::format!("cancel {:?} ParentEnded", grandchild.job))
            );
        }
        world.finish(job, "1");
        let stopping = world.store.job(grandchild.key).unwrap().stopping.clone();
        assert!(matches!(stopping, Some((StopReason::ParentEnded, _))), "D-51");
        assert_eq!(world.may(grandchild.job, "tool.call", "x"), Err("CANCELLED"));
        world.metric(grandchild.job, "cost.x", "0.1", "USD");
        world.finish(child.job, "1");
        world.finish(grandchild.job, "1");
        let frames = world.take(a);
        let ends: Vec<_> = frames.iter().filter(|frame| frame["type"] == "job.error").map(code).collect();
        assert_eq!(ends, ["CANCELLED"].repeat(if cancel { 3 } else { 2 }));
        let left = |key| world.store.job(key).unwrap().counters.find("USD").unwrap().remaining.to_string();
        assert_eq!(left(JobKey::parse(&id).unwrap()), "0.6", "a job that has ended gets nothing back");
        assert_eq!((left(child.key), left(grandchild.key)), ("0.1".to_string(), "0.2".to_string()));
    }
}

#[test]
fn each_lease_is_watched_by_one_timer() {
    let (mut world, a, job, id) = parent(rich());
    let child = world.delegate(job, json!({"tool.call": ["search.web"]})).unwrap();
    world.send(a, "m2", "job.cancel", json!({"job_id": id}));
    assert_eq!(world.may(child.job, "tool.call", "search.web"), Err("CANCELLED"));
    let mut watched: Vec<_> =
        world.runtime.timers.iter().filter(|timer| matches!(timer, Timer::LeaseEnd(_))).collect();
    watched.sort_unstable();
    assert_eq!(watched, [Timer::LeaseEnd(job), Timer::LeaseEnd(child.job)]);
}

#[test]
fn a_grandchild_that_outlives_its_parent_gives_back_to_the_next_one_up() {
    let (mut world, _, job, id) = parent(rich());
    let child = world.delegate(job, json!({"agent.delegate": ["a"], "cost.budget": ["USD:0.4"]})).unwrap();
    let grandchild = world.delegate(child.job, json!({"cost.budget": ["USD:0.3"]})).unwrap();
    world.finish(child.job, "1");
    world.metric(grandchild.job, "cost.x", "0.1", "USD");
    world.finish(grandchild.job, "1");
    let row = world.store.job(JobKey::parse(&id).unwrap()).unwrap();
    assert_eq!(row.counters.find("USD").unwrap().remaining.to_string(), "0.9", "BUD-5: only 0.1 was spent");
}

#[test]
fn a_childs_failure_does_not_end_its_parent() {
    let (mut world, a, job, _) = parent(rich());
    let child = world.delegate(job, json!({})).unwrap();
    world.take(a);
    let cancelled = world.ask(a, "m2", "job.cancel", json!({"job_id": child.key.to_string()}));
    assert_eq!(cancelled["type"], "job.cancelled", "the owner may cancel a child");
    world.finish(child.job, "1");
    assert_eq!(code(&world.one(a)), "CANCELLED");
    assert!(matches!(
        world.news.pop(),
        Some((_, JobNews::ChildEnded { end: ChildEnd::Failed(error), .. })) if error.code == ErrorCode::Cancelled
    ));
    assert_eq!(world.runtime.job_state(job), Some(JobState::Running));
}

#[test]
fn a_childs_streamed_result_reaches_the_agent_whole() {
    let (mut world, a, job, _) = parent(rich());
    let child = world.delegate(job, json!({})).unwrap();
    for (text, more) in [("The beginning, ", true), ("the end.", false)] {
        let chunk = ChunkEmission::utf8(text, more).unwrap();
        world.runtime.handle_agent(world.now, child.job, AgentInput::Chunk(chunk)).unwrap();
    }
    world.finish(child.job, "null");
    let end = ChildEnd::Text("The beginning, the end.".to_string());
    assert_eq!(world.news.pop(), Some((job, JobNews::ChildEnded { child: child.job, end })));
    let kinds: Vec<_> = world.take(a).iter().map(|frame| frame["payload"]["kind"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "result_chunk").count(), 2);
}

#[test]
fn depth_and_children_are_limited_by_name() {
    let mut small = config();
    small.limits.delegation_depth = 2;
    small.limits.children = 2;
    small.limits.jobs = 4;
    small.limits.running_jobs = 1;
    let mut world = World::with(small);
    let (a, _) = world.session(ALL);
    let lease = json!({"agent.delegate": ["**"]});
    let (job, _) = world.submit_with(a, "m1", json!({"agent": "a", "lease_request": lease}));
    let child = world.delegate(job, lease.clone()).unwrap();
    assert_eq!(world.started.len(), 2, "D-104: a child takes no running slot");
    let grandchild = world.delegate(child.job, lease.clone()).unwrap();
    let limit = |error: crate::error::WireError| error.details.to_json().unwrap().as_str().to_string();
    assert_eq!(limit(world.delegate(grandchild.job, lease.clone()).unwrap_err()), r#"{"limit":"depth"}"#);
    world.delegate(job, lease.clone()).unwrap();
    assert_eq!(limit(world.delegate(job, lease.clone()).unwrap_err()), r#"{"limit":"children"}"#);
    assert_eq!(limit(world.delegate(child.job, lease).unwrap_err()), r#"{"limit":"jobs"}"#);
}

#[test]
fn misuse_emits_nothing() {
    let (mut world, a, job, _) = parent(rich());
    let delegation = |input: String, max_runtime_sec| {
        AgentInput::Delegate(std::boxed::Box::new(Delegation {
            token: 1,
            agent: "a".to_string(),
            input: RawJson::parse(input).unwrap(),
            lease_request: None,
            lease_constraints: None,
            max_runtime_sec,
        }))
    };
    let huge = std::format!("\"{}\"", "x".repeat(1 << 20));
    let refused = world.runtime.handle_agent(world.now, job, delegation(huge, None));
    let Err(ApiMisuse::TooLarge { bytes, limit }) = refused else { panic!("{refused:?}") };
    let longest = (1 << 20) - (bytes - limit);
    let refused = world.runtime.handle_agent(
        world.now,
        job,
        delegation(std::format!("\"{}\"", "x".repeat(longest + 1)), None),
    );
    assert_eq!(refused, Err(ApiMisuse::TooLarge { bytes: limit + 1, limit }));
    let taken = world.runtime.handle_agent(
        world.now,
        job,
        delegation(std::format!("\"{}\"", "x".repeat(longest)), None),
    );
    assert_eq!(taken, Ok(()), "exactly the limit");
    world.settle();
    world.take(a);
    let refused = world.runtime.handle_agent(world.now, job, delegation("1".to_string(), Some(0)));
    assert!(matches!(refused, Err(ApiMisuse::OutOfRange(_))));
    world.finish(job, "1");
    let refused = world.runtime.handle_agent(world.now, job, delegation("1".to_string(), None));
    assert_eq!(refused, Err(ApiMisuse::JobEnded));
    world.settle();
    assert_eq!(types(&world.take(a)), ["job.result"]);
}

#[test]
fn children_go_with_a_job_that_is_taken_over_by_its_key() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let submit = json!({"agent": "a", "idempotency_key": "k", "lease_request": {"agent.delegate": ["a"]}});
    let (job, accepted) = world.submit_with(a, "m1", submit.clone());
    let ended = world.delegate(job, json!({})).unwrap();
    let running = world.delegate(job, json!({})).unwrap();
    world.finish(ended.job, "1");
    world.log(running.job, "before");
    world.settle();
    let (b, _) = world.session(ALL.without(Feature::Heartbeat));
    world.send(b, "m2", "job.submit", submit);
    let frames = world.take(b);
    let accepted_there: Vec<_> =
        frames.iter().filter(|frame| frame["type"] == "job.accepted").map(|frame| &frame["job_id"]).collect();
    assert_eq!(accepted_there, [&accepted["job_id"], &json!(running.key.to_string())], "D-102");
    assert_eq!(of(&frames, &running.key.to_string()).len(), 2, "its acceptance and its history");
    world.take(a);
    world.log(running.job, "after");
    world.settle();
    assert_eq!((world.take(a).len(), world.take(b).len()), (1, 1), "the owner before goes on as a follower");
    let cancel = json!({"job_id": running.key.to_string()});
    assert_eq!(code(&world.ask(a, "m3", "job.cancel", cancel.clone())), "PERMISSION_DENIED");
    assert_eq!(world.ask(b, "m4", "job.cancel", cancel)["type"], "job.cancelled");
}

#[test]
fn a_job_that_nobody_owns_delegates_all_the_same() {
    let mut brief = config();
    brief.resume_window = SECOND;
    let mut world = World::with(brief.clone());
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let lease = json!({"agent.delegate": ["a"]});
    let (job, _) = world.submit_with(a, "m1", json!({"agent": "a", "lease_request": lease}));
    world.cut(a);
    world.wait(2 * SECOND);
    let child = world.delegate(job, json!({})).unwrap();
    world.log(child.job, "on its own");
    world.settle();
    let row = world.store.job(child.key).unwrap();
    assert_eq!((row.owner, row.positions.last()), (None, 1));
    let world = world.restart(brief);
    assert!(world.store.job(child.key).unwrap().end.is_some());
}

#[test]
fn a_restart_ends_children_before_their_parents() {
    let (mut world, _, job, id) = parent(rich());
    let child = world.delegate(job, json!({"cost.budget": ["USD:0.4"], "agent.delegate": ["a"]})).unwrap();
    let grandchild = world.delegate(child.job, json!({"cost.budget": ["USD:0.3"]})).unwrap();
    world.metric(grandchild.job, "cost.x", "0.1", "USD");
    let world = world.restart(config());
    let row = |key| world.store.job(key).unwrap().clone();
    for key in [JobKey::parse(&id).unwrap(), child.key, grandchild.key] {
        assert_eq!(row(key).end.unwrap().code, Some(ErrorCode::InternalError), "JOB-8");
    }
    let left = row(JobKey::parse(&id).unwrap()).counters;
    assert_eq!(left.find("USD").unwrap().remaining.to_string(), "0.9", "what was unspent came back");
}

#[test]
fn a_refusal_that_is_fatal_comes_before_the_end() {
    let mut strict = config();
    strict.fatal_budget = true;
    let mut world = World::with(strict);
    let (a, _) = world.session(ALL);
    let lease = json!({"agent.delegate": ["a"], "cost.budget": ["USD:0"]});
    let (job, _) = world.submit_with(a, "m1", json!({"agent": "a", "lease_request": lease}));
    assert_eq!(world.delegate(job, json!({})).unwrap_err().code, ErrorCode::BudgetExhausted);
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.event", "job.event", "job.error"], "JOB-3: nothing behind the terminal");
    assert_eq!(code(&frames[2]), "BUDGET_EXHAUSTED");
}

#[test]
fn a_child_that_changes_hands_while_it_is_committed_is_announced_to_both() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let (b, _) = world.session(ALL.without(Feature::Heartbeat));
    let submit = json!({"agent": "a", "idempotency_key": "k", "lease_request": {"agent.delegate": ["a"]}});
    let (job, _) = world.submit_with(a, "m1", submit.clone());
    world.instant_store = false;
    let delegation = Delegation {
        token: 7,
        agent: "a".to_string(),
        input: RawJson::null(),
        lease_request: None,
        lease_constraints: None,
        max_runtime_sec: None,
    };
    let asked = AgentInput::Delegate(std::boxed::Box::new(delegation));
    world.runtime.handle_agent(world.now, job, asked).unwrap();
    world.settle();
    world.send(b, "m2", "job.submit", submit);
    world.store_all();
    let child = world.started.last().unwrap().key.to_string();
    world.log(world.started.last().unwrap().job, "hello");
    world.settle();
    world.store_all();
    for connection in [a, b] {
        let frames = world.take(connection);
        let seen = types(&of(&frames, &child).into_iter().cloned().collect::<Vec<_>>()).join(" ");
        assert_eq!(seen, "job.accepted job.event", "JOB-4");
    }
}
