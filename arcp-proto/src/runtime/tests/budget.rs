//! Budgets of jobs: charges, what is left, exhaustion (protocol §5.6).

use serde_json::{Value, json};
use std::string::{String, ToString};
use std::vec::Vec;

use super::harness::{ALL, World, code, config};
use crate::error::ApiMisuse;
use crate::feature::Feature;
use crate::id::JobKey;
use crate::runtime::store::{Command, Record};
use crate::runtime::{AgentInput, ConnectionId, JobHandle, JobState};
use crate::wire::RawJson;
use crate::wire::event::Emission;
use crate::wire::number::NumberText;

fn with_budget(budget: Value) -> (World, ConnectionId, JobHandle, Value) {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let lease = json!({"tool.call": ["x"], "cost.budget": budget});
    let (job, accepted) = world.submit_with(a, "m1", json!({"agent": "a", "lease_request": lease}));
    (world, a, job, accepted)
}

/// The bodies of the metrics among `frames`, as `name value unit`.
pub(super) fn metrics(frames: &[Value]) -> Vec<String> {
    let bodies = frames.iter().map(|frame| &frame["payload"]).filter(|payload| payload["kind"] == "metric");
    bodies
        .map(|payload| {
            let body = &payload["body"];
            std::format!(
                "{} {} {}",
                body["name"].as_str().unwrap(),
                body["value"],
                body["unit"].as_str().unwrap_or("-")
            )
        })
        .collect()
}

#[test]
fn a_charge_is_followed_by_what_is_left() {
    let (mut world, a, job, _) = with_budget(json!(["USD:1.00"]));
    world.metric(job, "cost.search", "0.42", "USD");
    world.metric(job, "cost.fetch", "0.7", "USD");
    assert_eq!(world.may(job, "tool.call", "x"), Err("BUDGET_EXHAUSTED"), "BUD-2");
    assert_eq!(
        metrics(&world.take(a)),
        [
            "cost.search 0.42 USD",
            "cost.budget.remaining 0.58 USD",
            "cost.fetch 0.7 USD",
            "cost.budget.remaining -0.12 USD"
        ]
    );
    world.finish(job, "1");
    assert_eq!(world.runtime.job_state(job), Some(JobState::Success), "the agent decides what to do without");
}

#[test]
fn only_costs_in_a_budgeted_currency_charge() {
    let (mut world, a, job, _) = with_budget(json!(["USD:1.00", "EUR:1.00"]));
    for (name, value, unit) in [
        ("cost.x", "5", "GBP"),
        ("latency", "5", "USD"),
        ("costs", "5", "USD"),
        ("cost.x", "5", "usd"),
        ("cost.x", "0", "USD"),
    ] {
        world.metric(job, name, value, unit);
    }
    let no_unit = Emission::metric("cost.x", &NumberText::parse("5").unwrap(), None, &[]).unwrap();
    world.runtime.handle_agent(world.now, job, AgentInput::Emit(no_unit)).unwrap();
    world.settle();
    let no_metric = RawJson::parse(json!({"name": "cost.x", "value": 5, "unit": "USD"}).to_string()).unwrap();
    let no_metric = Emission::vendor("x-vendor.acme.bill", &no_metric).unwrap();
    world.runtime.handle_agent(world.now, job, AgentInput::Emit(no_metric)).unwrap();
    world.settle();
    assert_eq!(metrics(&world.take(a)).len(), 6, "BUD-7: emitted, nothing charged, nothing to tell");
    assert!(world.may(job, "tool.call", "x").is_ok());
    let reserved = Emission::metric("cost.budget.spent", &NumberText::parse("1").unwrap(), Some("USD"), &[]);
    assert!(matches!(reserved, Err(ApiMisuse::Reserved(_))), "BUD-4");
}

#[test]
fn values_that_are_no_charge_change_nothing() {
    let (mut world, a, job, _) = with_budget(json!(["USD:1.00"]));
    assert!(
        Emission::metric("cost.x", &NumberText::parse("-0.1").unwrap(), Some("USD"), &[]).is_err(),
        "BUD-3"
    );
    let huge = Emission::metric("cost.x", &NumberText::parse("1e18").unwrap(), Some("USD"), &[]).unwrap();
    let refused = world.runtime.handle_agent(world.now, job, AgentInput::Emit(huge));
    assert!(matches!(refused, Err(ApiMisuse::OutOfRange(_))), "{refused:?}");
    world.settle();
    assert!(world.take(a).is_empty(), "nothing is emitted");
    assert!(world.may(job, "tool.call", "x").is_ok());
}

#[test]
fn an_amount_of_nothing_is_exhausted_already() {
    let (mut world, _, job, accepted) = with_budget(json!(["USD:0"]));
    assert_eq!(accepted["payload"]["budget"], json!({"USD": 0}));
    assert_eq!(world.may(job, "tool.call", "x"), Err("BUDGET_EXHAUSTED"), "D-34");
    assert_eq!(world.may(job, "tool.call", "y"), Err("PERMISSION_DENIED"), "D-80: the pattern comes first");
}

#[test]
fn ten_charges_of_a_tenth_use_up_one() {
    let (mut world, _, job, _) = with_budget(json!(["USD:1.00"]));
    for _ in 0..9 {
        world.metric(job, "cost.x", "0.10", "USD");
    }
    assert!(world.may(job, "tool.call", "x").is_ok());
    world.metric(job, "cost.x", "0.1", "USD");
    assert_eq!(world.may(job, "tool.call", "x"), Err("BUDGET_EXHAUSTED"), "BUD-1");
}

#[test]
fn the_counter_is_stored_before_the_charge_in_the_same_append() {
    let (mut world, _, job, accepted) = with_budget(json!(["USD:1.00"]));
    world.metric(job, "cost.x", "0.0004", "USD");
    world.metric(job, "cost.x", "0.25", "USD");
    let key = JobKey::parse(accepted["job_id"].as_str().unwrap()).unwrap();
    let left = world.store.job(key).unwrap().counters.find("USD").unwrap().remaining;
    assert_eq!(left.to_string(), "0.7496");
    let mut charges = 0;
    for (_, command) in &world.journal {
        let Command::Append(records) = command else { continue };
        for (index, record) in records.iter().enumerate() {
            if matches!(record, Record::Counters { .. }) {
                assert!(matches!(records[index + 1], Record::Event(_)), "BUD-6: never one without the other");
                charges += 1;
            }
        }
    }
    assert_eq!(charges, 2);
}

#[test]
fn a_subscriber_is_shown_what_is_left_at_the_seam() {
    let (mut world, _, job, accepted) = with_budget(json!(["USD:1.00", "EUR:2"]));
    world.metric(job, "cost.x", "0.25", "USD");
    let (b, _) = world.session(ALL);
    let subscribed = world.ask(b, "m1", "job.subscribe", json!({"job_id": accepted["job_id"]}));
    assert_eq!(subscribed["payload"]["budget"].to_string(), r#"{"EUR":2,"USD":0.75}"#);
    let again = world.ask(b, "m2", "job.subscribe", json!({"job_id": accepted["job_id"]}));
    assert_eq!(again["payload"]["budget"], subscribed["payload"]["budget"]);
}

#[test]
fn replay_and_restart_charge_nothing_again() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL.without(Feature::Heartbeat));
    let lease = json!({"tool.call": ["x"], "cost.budget": ["USD:1.00"]});
    let (job, accepted) = world.submit_with(a, "m1", json!({"agent": "a", "lease_request": lease}));
    world.metric(job, "cost.x", "0.6", "USD");
    world.cut(a);
    world.resume(&welcome, 0, ALL.without(Feature::Heartbeat));
    assert!(world.may(job, "tool.call", "x").is_ok(), "BUD-6");
    let key = JobKey::parse(accepted["job_id"].as_str().unwrap()).unwrap();
    let world = world.restart(config());
    let row = world.store.job(key).unwrap();
    assert_eq!(row.counters.find("USD").unwrap().remaining.to_string(), "0.4");
}

#[test]
fn exhaustion_may_be_fatal() {
    let mut strict = config();
    strict.fatal_budget = true;
    let mut world = World::with(strict);
    let (a, _) = world.session(ALL);
    let lease = json!({"tool.call": ["x"], "cost.budget": ["USD:1"]});
    let (job, _) = world.submit_with(a, "m1", json!({"agent": "a", "lease_request": lease}));
    world.metric(job, "cost.x", "1", "USD");
    assert_eq!(world.runtime.job_state(job), Some(JobState::Running), "spending is not yet an operation");
    assert_eq!(world.may(job, "tool.call", "x"), Err("BUDGET_EXHAUSTED"));
    let end = world.take(a).pop().unwrap();
    assert_eq!((code(&end), &end["payload"]["final_status"]), ("BUDGET_EXHAUSTED", &json!("error")));
    assert_eq!(end["payload"]["details"], json!({"currency": "USD"}));
}

#[test]
fn a_subscriber_sees_the_owners_stream_as_it_is() {
    let (mut world, _, job, accepted) = with_budget(json!(["USD:1.00"]));
    let (b, _) = world.session(ALL.without(Feature::CostBudget).without(Feature::Heartbeat));
    // It did not negotiate budgets.
    let subscribed = world.ask(b, "m1", "job.subscribe", json!({"job_id": accepted["job_id"]}));
    assert_eq!(subscribed["type"], "job.subscribed");
    world.metric(job, "cost.x", "0.5", "USD");
    assert_eq!(world.take(b).len(), 2, "a subscriber sees what the owner's stream has");
}
