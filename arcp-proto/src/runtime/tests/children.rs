//! Who hears what of a delegated job (protocol §6).

use std::string::ToString;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, hello, types};
use crate::feature::Feature;
use crate::time::UnixTime;
use crate::wire::testing::{is_minted, is_trace_id};

fn parent() -> Value {
    json!({"agent": "a", "lease_request": {"agent.delegate": ["a"], "cost.budget": ["USD:1"]}})
}

#[test]
fn ids_of_delegations_are_minted() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, accepted) = world.submit_with(a, "m1", parent());
    for (lease, granted) in [(json!({}), true), (json!({"fs.read": ["/x"]}), false)] {
        assert_eq!(world.delegate(job, lease).is_ok(), granted);
        let frames = world.take(a);
        let delegate = frames.iter().find(|frame| frame["payload"]["kind"] == "delegate").unwrap();
        let body = &delegate["payload"]["body"];
        assert!(
            is_minted(&body["delegate_id"], "dlg_") && is_minted(&body["child_job_id"], "job_"),
            "{body}"
        );
        assert_ne!(body["child_job_id"], accepted["job_id"]);
        for frame in &frames {
            assert!(is_minted(&frame["id"], "msg_") && is_trace_id(&frame["trace_id"]), "{frame}");
        }
        let names = |frame: &Value| frame["job_id"] == body["child_job_id"];
        assert_eq!(frames.iter().any(names), granted, "what was refused never becomes a job");
    }
}

#[test]
fn a_watcher_of_the_parent_does_not_get_the_child() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let (job, accepted) = world.submit_with(a, "m1", parent());
    world.ask(b, "m2", "job.subscribe", json!({"job_id": accepted["job_id"]}));
    let child = world.delegate(job, json!({})).unwrap();
    world.logs(child.job, 1);
    let frames = world.take(b);
    assert_eq!(types(&frames), ["job.event"], "neither an acceptance nor what the child says");
    let body = &frames[0]["payload"]["body"];
    assert_eq!(
        (&frames[0]["payload"]["kind"], &body["child_job_id"]),
        (&json!("delegate"), &json!(child.key.to_string()))
    );
    assert_eq!(types(&world.take(a)), ["job.accepted", "job.event", "job.event"]);
    world.send(b, "m3", "job.subscribe", json!({"job_id": child.key.to_string(), "history": true}));
    assert_eq!(
        types(&world.take(b)),
        ["job.subscribed", "job.event"],
        "D-51: that is a subscription of its own"
    );
    world.logs(child.job, 1);
    assert_eq!(world.one(b)["job_id"], child.key.to_string());
}

#[test]
fn a_client_that_pairs_by_order_reads_of_the_child_in_the_event_alone() {
    // How one known client begins: the id, and an envelope that names no session.
    let go = "01a07c1f-f76e-7ef4-9ac5-508259d2d75e";
    for (id, told) in [("m-unknown", true), (go, false)] {
        let mut world = World::new();
        let a = world.open();
        world.send(a, id, "session.hello", hello("good", ALL.without(Feature::Core)));
        world.take(a);
        let (job, _) = world.submit_with(a, "m1", parent());
        let child = world.delegate(job, json!({})).unwrap();
        world.logs(child.job, 1);
        let frames = world.take(a);
        assert_eq!(types(&frames).contains(&"job.accepted"), told, "D-77: {id}");
        let events: Vec<&Value> = frames.iter().filter(|frame| frame["type"] == "job.event").collect();
        assert_eq!(events[0]["payload"]["body"]["child_job_id"], child.key.to_string());
        assert_eq!(events[1]["job_id"], child.key.to_string(), "its frames come all the same");
    }
}

#[test]
fn a_child_whose_own_lease_has_ended_ends_for_that_reason() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let (job, _) = world.submit_with(a, "m1", parent());
    let end = json!({"expires_at": "2026-08-14T09:31:00Z"});
    let child = world.delegate_to(job, "a", json!({}), end).unwrap();
    world.take(a);
    // Nobody has looked at the clock since it leapt.
    world.now.unix = UnixTime::parse_rfc3339("2026-08-14T09:32:00Z").unwrap();
    world.finish(job, "1");
    world.finish(child.job, "1");
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.result", "job.error"]);
    assert_eq!(code(&frames[1]), "LEASE_EXPIRED");
}

#[test]
fn a_taken_over_job_brings_the_children_of_its_children() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let mut submit = parent();
    submit["idempotency_key"] = json!("k");
    let (job, accepted) = world.submit_with(a, "m1", submit.clone());
    let child = world.delegate(job, json!({"agent.delegate": ["a"]})).unwrap();
    let grandchild = world.delegate(child.job, json!({})).unwrap();
    world.settle();
    let (b, _) = world.session(ALL);
    world.send(b, "m2", "job.submit", submit);
    let frames = world.take(b);
    let jobs: Vec<_> =
        frames.iter().filter(|frame| frame["type"] == "job.accepted").map(|frame| &frame["job_id"]).collect();
    let (child, grandchild) = (json!(child.key.to_string()), json!(grandchild.key.to_string()));
    assert_eq!(jobs, [&accepted["job_id"], &child, &grandchild], "D-102");
    assert_eq!(world.ask(b, "m3", "job.cancel", json!({"job_id": grandchild}))["type"], "job.cancelled");
}
