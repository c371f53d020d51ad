//! Leases, budgets and children, as each known client can read them (protocol §12.3, §12.4).

use alloc::format;
use alloc::string::ToString;

use serde_json::{Value, json};

use super::super::harness::{ALL, World, code, types};
use super::{HELLOS, session};
use crate::wire::peer::PeerProfile;

#[test]
fn what_is_granted_is_shown_as_each_can_read_it() {
    for (name, profile) in HELLOS {
        let mut world = World::new();
        let connection = session(&mut world, profile);
        let payload =
            json!({"agent": "a", "lease_request": {"tool.call": ["a.*"], "cost.budget": ["USD:5.00"]}});
        let (_, accepted) = world.submit_with(connection, "r-1", payload);
        let shown = &accepted["payload"];
        let is_python = matches!(profile, PeerProfile::Python113 | PeerProfile::PythonNewer);
        let budget = if is_python { Value::Null } else { json!({"USD": 5}) };
        let map = json!({"tool.call": ["a.*"], "cost.budget": ["USD:5.00"]});
        let lease = if profile == PeerProfile::Ruby { Value::Null } else { map.clone() };
        assert_eq!((&shown["budget"], &shown["lease"]), (&budget, &lease), "{name}");

        let other = session(&mut world, profile);
        let subscribe = json!({"job_id": accepted["job_id"]});
        let subscribed = world.ask(other, "r-1", "job.subscribe", subscribe);
        assert_eq!(subscribed["type"], "job.subscribed", "{name}: {subscribed}");
        assert_eq!(
            (&subscribed["payload"]["budget"], &subscribed["payload"]["lease"]),
            (&budget, &map),
            "{name}"
        );
    }
}

#[test]
fn clients_that_pair_by_order_are_spared_the_acceptance_of_a_child() {
    for (name, profile) in HELLOS {
        let mut world = World::new();
        let connection = session(&mut world, profile);
        let payload = json!({"agent": "refactor", "lease_request": {"agent.delegate": ["a"]}});
        let (job, _) = world.submit_with(connection, "r-1", payload);
        let child = world.delegate(job, json!({})).expect("it may").key.to_string();
        let frames = world.take(connection);
        let shown = matches!(profile, PeerProfile::Core | PeerProfile::Unknown | PeerProfile::Ruby);
        let expected: &[&str] = if shown { &["job.accepted", "job.event"] } else { &["job.event"] };
        assert_eq!(types(&frames), expected, "{name}: D-77");
        let delegate = &frames.last().expect("the event")["payload"]["body"];
        assert_eq!(delegate["child_job_id"], child, "{name}: D-74");
    }
}

/// A lease as the Ruby SDK asks for it.
fn by_name() -> Value {
    json!({
        "capabilities": ["fs.read", "tool.call:inbox_list", "audit"], "cost.budget": ["USD:1.0"],
        "expires_at": "2026-08-14T11:00:00.000Z",
    })
}

#[test]
fn a_lease_by_name_is_a_map_from_then_on() {
    let mut world = World::new();
    let connection = session(&mut world, PeerProfile::Ruby);
    let payload = json!({"agent": "a", "lease_request": by_name(), "idempotency_key": "k"});
    let (_, accepted) = world.submit_with(connection, "r-1", payload.clone());
    assert_eq!(accepted["payload"]["lease_constraints"], json!({"expires_at": "2026-08-14T11:00:00.000Z"}));
    assert_eq!(accepted["payload"]["budget"], json!({"USD": 1}));
    let map = json!({"fs.read": ["/**"], "tool.call": ["inbox_list"], "cost.budget": ["USD:1.0"]});
    let (observer, _) = world.session(ALL);
    let page = world.ask(observer, "m-1", "session.list_jobs", json!({}));
    assert_eq!(page["payload"]["jobs"][0]["lease"], map);
    // The key covers what the shape means, not the shape.
    let same = json!({
        "agent": "a", "lease_request": map, "idempotency_key": "k",
        "lease_constraints": {"expires_at": "2026-08-14T11:00:00.000Z"},
    });
    for (id, payload) in [("r-2", payload), ("r-3", same)] {
        let again = world.ask(connection, id, "job.submit", payload);
        assert_eq!((&again["type"], &again["job_id"]), (&json!("job.accepted"), &accepted["job_id"]));
    }
}

#[test]
fn a_lease_by_name_that_asks_for_too_much_or_for_nonsense_is_refused() {
    let mut world = World::new();
    let connection = session(&mut world, PeerProfile::Ruby);
    let cases = [
        (by_name(), json!({"max_budget": ["USD:0.99"]}), "LEASE_SUBSET_VIOLATION"),
        (by_name(), json!({"max_budget": "USD:1"}), "INVALID_REQUEST"),
        (by_name(), json!({"max_models": 1}), "INVALID_REQUEST"),
        (json!({"capabilities": ["fs.read:relative/**"]}), json!({}), "INVALID_REQUEST"),
        (json!({"capabilities": ["fs.read"], "fs.exec": ["/x"]}), json!({}), "INVALID_REQUEST"),
        (json!({"capabilities": {}}), json!({}), "INVALID_REQUEST"),
        (json!({"expires_at": "2026-08-14T09:29:00.000Z"}), json!({}), "INVALID_REQUEST"),
    ];
    for (number, (lease, constraints, expected)) in cases.into_iter().enumerate() {
        let payload = json!({"agent": "a", "lease_request": lease, "lease_constraints": constraints});
        let error = world.ask(connection, &format!("r-{number}"), "job.submit", payload.clone());
        assert_eq!((error["type"].as_str(), code(&error)), (Some("session.error"), expected), "{payload}");
    }
    assert!(world.started.is_empty());
}

#[test]
fn only_one_profile_asks_by_name() {
    for (name, profile) in HELLOS.into_iter().filter(|(_, profile)| *profile != PeerProfile::Ruby) {
        let mut world = World::new();
        let connection = session(&mut world, profile);
        world.send(connection, "r-1", "job.submit", json!({"agent": "a", "lease_request": by_name()}));
        let refused = world.take(connection);
        assert_eq!(code(&refused[0]), "INVALID_REQUEST", "{name}: D-78");
    }
}
