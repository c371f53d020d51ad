//! Leases of jobs: what is granted, what an operation may do, the end (protocol §5.1, §5.4, §5.5).

use core::time::Duration;
use std::string::ToString;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, types};
use crate::error::ErrorCode;
use crate::feature::Feature;
use crate::id::JobKey;
use crate::runtime::rows::JobRow;
use crate::runtime::{JobState, RuntimeEvent, StopReason};
use crate::time::{Now, UnixTime};

const SECOND: Duration = Duration::from_secs(1);
const END: &str = "2026-08-14T09:31:00.000Z";

fn world() -> (World, crate::runtime::ConnectionId) {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    (world, a)
}

fn row(world: &World, accepted: &Value) -> JobRow {
    world.store.job(JobKey::parse(accepted["job_id"].as_str().unwrap()).unwrap()).unwrap().clone()
}

#[test]
fn what_is_asked_for_is_granted_shown_and_stored() {
    let (mut world, a) = world();
    let lease = json!({"tool.call": ["search.*"], "cost.budget": ["USD:1.00", "credits:3"]});
    let (_, accepted) = world.submit_with(
        a,
        "m1",
        json!({"agent": "a", "lease_request": lease, "lease_constraints": {"expires_at": "2026-08-14T09:31:00Z"}}),
    );
    let payload = &accepted["payload"];
    assert_eq!(payload["lease"], lease, "patterns keep their spelling");
    assert_eq!(payload["lease_constraints"], json!({"expires_at": END}));
    assert_eq!(payload["budget"].to_string(), r#"{"USD":1,"credits":3}"#, "exact numbers");
    assert_eq!(world.started[0].lease.to_json().decode::<Value>().unwrap(), lease);
    assert_eq!(*row(&world, &accepted).record.lease, *world.started[0].lease, "LEA-2");
    let listed = world.ask(a, "m2", "session.list_jobs", json!({}));
    let entry = &listed["payload"]["jobs"][0];
    assert_eq!((&entry["lease"], &entry["lease_constraints"]["expires_at"]), (&lease, &json!(END)));
    let (b, _) = world.session(ALL);
    let subscribed = world.ask(b, "m3", "job.subscribe", json!({"job_id": accepted["job_id"]}));
    assert_eq!(subscribed["payload"]["lease"], lease);
    assert_eq!(subscribed["payload"]["lease_constraints"], payload["lease_constraints"]);
    assert_eq!(subscribed["payload"]["budget"], payload["budget"]);
}

#[test]
fn a_job_without_a_lease_may_do_nothing() {
    let (mut world, a) = world();
    let (job, accepted) = world.submit_with(a, "m1", json!({"agent": "a"}));
    assert_eq!(accepted["payload"]["lease"], json!({}));
    assert!(accepted["payload"]["budget"].is_null() && accepted["payload"]["lease_constraints"].is_null());
    for (capability, target) in [
        ("fs.read", "/a"),
        ("fs.write", "/a"),
        ("net.fetch", "https://a.example/"),
        ("tool.call", "x"),
        ("agent.delegate", "a"),
        ("model.use", "m"),
        ("x-vendor.acme.gpu", "x"),
    ] {
        assert_eq!(world.may(job, capability, target), Err("PERMISSION_DENIED"), "LEA-8: {capability}");
    }
}

#[test]
fn features_that_are_not_negotiated_are_refused_by_name() {
    for (feature, request, constraints) in [
        (Feature::CostBudget, json!({"cost.budget": ["USD:1"]}), json!({})),
        (Feature::ModelUse, json!({"model.use": ["m"]}), json!({})),
        (Feature::LeaseExpiresAt, json!({}), json!({"expires_at": END})),
    ] {
        let mut world = World::new();
        let (a, _) = world.session(ALL.without(feature));
        let submit = json!({"agent": "nobody", "lease_request": request, "lease_constraints": constraints});
        let refused = world.ask(a, "m1", "job.submit", submit);
        assert_eq!(code(&refused), "INVALID_REQUEST", "D-42");
        assert_eq!(refused["payload"]["details"]["feature"], feature.as_str());
    }
}

#[test]
fn a_lease_that_is_not_understood_is_refused_and_leaves_no_trace() {
    let (mut world, a) = world();
    for (n, members) in [
        json!({"lease_request": {"fs.exec": ["/x"]}}),
        json!({"lease_request": {"fs.read": null}}),
        json!({"lease_request": {"cost.budget": []}}),
        json!({"lease_request": {"fs.read": ["relative"]}}),
        json!({"lease_constraints": {"max_tokens": 3}}),
        json!({"lease_constraints": {"expires_at": "2026-08-14T09:29:00Z"}}),
        json!({"lease_constraints": {"expires_at": "2026-08-14T09:31:00+00:00"}}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut submit = json!({"agent": "a", "idempotency_key": "k"});
        for (name, value) in members.as_object().unwrap() {
            submit[name] = value.clone();
        }
        let refused = world.ask(a, &std::format!("m{n}"), "job.submit", submit);
        assert_eq!(code(&refused), "INVALID_REQUEST", "{refused}");
    }
    assert_eq!(world.stored_jobs(), 0);
    assert_eq!(world.runtime.population().unfinished_jobs, 0);
    let (_, accepted) = world.submit_with(a, "m9", json!({"agent": "a", "idempotency_key": "k"}));
    assert_eq!(accepted["payload"]["lease"], json!({}), "the key was not burnt");
}

#[test]
fn a_key_answers_before_its_lease_is_judged_again() {
    let (mut world, a) = world();
    let submit = json!({"agent": "a", "idempotency_key": "k", "lease_constraints": {"expires_at": END}});
    let (_, first) = world.submit_with(a, "m1", submit.clone());
    world.wait(61 * SECOND);
    world.take(a);
    let again = world.ask(a, "m2", "job.submit", submit.clone());
    assert_eq!(again["job_id"], first["job_id"], "the end has passed, the key has not");
    let wider = json!({"agent": "a", "idempotency_key": "k", "lease_request": {"fs.read": ["/**"]},
        "lease_constraints": {"expires_at": END}});
    assert_eq!(code(&world.ask(a, "m3", "job.submit", wider)), "DUPLICATE_KEY", "IDEM-3");
    assert_eq!(row(&world, &first).record.lease.to_json().as_str(), "{}");
}

#[test]
fn an_operation_is_judged_by_its_canonical_target() {
    let (mut world, a) = world();
    let lease = json!({"fs.read": ["/data/**"], "net.fetch": ["https://api.example.com/v1/*"]});
    let (job, _) = world.submit_with(a, "m1", json!({"agent": "a", "lease_request": lease}));
    assert_eq!(world.may(job, "fs.read", "/data/a/"), Ok("/data/a".to_string()), "D-93");
    assert_eq!(
        world.may(job, "net.fetch", "HTTPS://API.example.com:443/v1/x?token=s"),
        Ok("https://api.example.com/v1/x?token=s".to_string())
    );
    assert_eq!(world.may(job, "fs.read", "/data/../etc"), Err("PERMISSION_DENIED"), "LEA-5");
    assert_eq!(world.may(job, "fs.write", "/data/a"), Err("PERMISSION_DENIED"), "nothing is implied");
    let judged: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            RuntimeEvent::Operation { target, denied, .. } => Some((target.as_str(), *denied)),
            _ => None,
        })
        .collect();
    let denied = Some(ErrorCode::PermissionDenied);
    assert_eq!(
        judged,
        [
            ("/data/a", None),
            ("https://api.example.com/v1/x", None),
            ("/data/../etc", denied),
            ("/data/a", denied)
        ],
        "every decision is reported, no query of a URL is"
    );
    assert!(world.take(a).is_empty(), "a bare authorisation emits nothing");
    world.may(job, "tool.call", &"x".repeat(300)).unwrap_err();
    let Some(RuntimeEvent::Operation { target, .. }) = world.events.last() else { unreachable!() };
    assert_eq!(target.len(), 256, "what is reported is cut");
}

#[test]
fn a_job_that_is_stopped_or_over_may_do_nothing() {
    let (mut world, a) = world();
    let submit = json!({"agent": "a", "lease_request": {"tool.call": ["x"]}});
    let (job, accepted) = world.submit_with(a, "m1", submit.clone());
    assert!(world.may(job, "tool.call", "x").is_ok());
    world.ask(a, "m2", "job.cancel", json!({"job_id": accepted["job_id"]}));
    assert_eq!(world.may(job, "tool.call", "x"), Err("CANCELLED"), "D-110");
    let (job, _) = world.submit_with(a, "m3", submit);
    world.finish(job, "1");
    assert_eq!(world.may(job, "tool.call", "x"), Err("CANCELLED"), "JOB-3");
}

#[test]
fn a_lease_ends_at_its_instant_and_ends_its_job() {
    let (mut world, a) = world();
    let submit = json!({"agent": "a", "lease_request": {"tool.call": ["x"]},
        "lease_constraints": {"expires_at": END}});
    let (job, accepted) = world.submit_with(a, "m1", submit);
    world.wait(60 * SECOND - Duration::from_millis(1));
    assert!(world.may(job, "tool.call", "x").is_ok());
    world.wait(Duration::from_millis(1));
    assert_eq!(
        world.may(job, "tool.call", "x"),
        Err("LEASE_EXPIRED"),
        "LEA-1: the instant itself is too late"
    );
    assert!(world.events.iter().any(|event| matches!(event, RuntimeEvent::LeaseExpired { .. })));
    assert!(
        world.told.iter().any(|told| told.contains("LeaseExpired")),
        "the agent is told: {:?}",
        world.told
    );
    assert!(matches!(row(&world, &accepted).stopping, Some((StopReason::LeaseExpired(_), _))));
    world.logs(job, 1);
    world.finish(job, "42");
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.event", "job.error"], "its events count until its end");
    let end = &frames[1]["payload"];
    assert_eq!((code(&frames[1]), &end["final_status"]), ("LEASE_EXPIRED", &json!("error")), "D-39");
    assert_eq!(end["retryable"], false);
    assert_eq!(world.runtime.job_state(job), Some(JobState::Error));
}

#[test]
fn an_agent_that_ignores_the_end_is_ended_after_the_grace() {
    let (mut world, a) = world();
    let (job, _) =
        world.submit_with(a, "m1", json!({"agent": "a", "lease_constraints": {"expires_at": END}}));
    world.wait(60 * SECOND);
    assert!(world.take(a).is_empty(), "no operation is asked for, and it is stopped all the same");
    world.wait(30 * SECOND);
    assert_eq!(code(&world.one(a)), "LEASE_EXPIRED");
    assert_eq!(world.told.last(), Some(&std::format!("kill {job:?}")));
}

#[test]
fn only_a_cancel_replaces_the_reason() {
    let (mut world, a) = world();
    let (job, accepted) = world.submit_with(
        a,
        "m1",
        json!({"agent": "a", "lease_request": {"tool.call": ["x"]},
            "lease_constraints": {"expires_at": END}, "max_runtime_sec": 70}),
    );
    world.wait(75 * SECOND);
    assert_eq!(world.may(job, "tool.call", "x"), Err("LEASE_EXPIRED"), "TIMEOUT does not replace it");
    world.ask(a, "m2", "job.cancel", json!({"job_id": accepted["job_id"]}));
    assert_eq!(world.may(job, "tool.call", "x"), Err("CANCELLED"));
    world.finish(job, "1");
    assert_eq!(code(&world.one(a)), "CANCELLED", "D-110");
}

#[test]
fn a_queued_job_ends_with_its_lease() {
    let mut limits = config();
    limits.limits.running_jobs = 1;
    let mut world = World::with(limits);
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    world.submit(a, "m1");
    let queued =
        world.ask(a, "m2", "job.submit", json!({"agent": "a", "lease_constraints": {"expires_at": END}}));
    world.wait(60 * SECOND);
    let end = world.one(a);
    assert_eq!((code(&end), &end["job_id"]), ("LEASE_EXPIRED", &queued["job_id"]), "D-27");
    assert_eq!(world.started.len(), 1);
}

#[test]
fn either_clock_ends_a_lease_for_ever() {
    let submit = || {
        let (mut world, a) = world();
        let submit = json!({"agent": "a", "lease_request": {"tool.call": ["x"]},
            "lease_constraints": {"expires_at": END}});
        let (job, _) = world.submit_with(a, "m1", submit);
        (world, a, job)
    };
    // The wall clock stands still: the monotonic one decides.
    let (mut world, _, job) = submit();
    let start = world.now;
    world.now = Now { unix: start.unix, ..start.after(60 * SECOND) };
    assert_eq!(world.may(job, "tool.call", "x"), Err("LEASE_EXPIRED"), "D-37");
    // The wall clock leaps: it decides, within a minute even if nobody asks; and once ended, ended.
    let (mut world, a, job) = submit();
    world.now.unix = UnixTime::parse_rfc3339("2026-08-14T10:00:00Z").unwrap();
    assert_eq!(world.may(job, "tool.call", "x"), Err("LEASE_EXPIRED"));
    world.now.unix = start.unix;
    assert_eq!(world.may(job, "tool.call", "x"), Err("LEASE_EXPIRED"), "LEA-6");
    world.wait(30 * SECOND);
    assert_eq!(code(&world.one(a)), "LEASE_EXPIRED");
    let mut far = World::new();
    let (b, _) = far.session(ALL.without(Feature::Heartbeat));
    let end = json!({"expires_at": "2036-08-14T09:30:00Z"});
    far.submit_with(b, "m1", json!({"agent": "a", "lease_constraints": end}));
    far.now.unix = UnixTime::parse_rfc3339("2036-08-14T09:30:00Z").unwrap();
    far.wait(60 * SECOND);
    assert!(far.told.iter().any(|told| told.contains("LeaseExpired")), "{:?}", far.told);
    // A leap that leaves less than a minute does not make it last for a minute more.
    let mut near = World::new();
    let (b, _) = near.session(ALL.without(Feature::Heartbeat));
    let end = json!({"expires_at": "2026-08-14T09:40:00Z"});
    near.submit_with(b, "m1", json!({"agent": "a", "lease_constraints": end}));
    near.now.unix = UnixTime::parse_rfc3339("2026-08-14T09:38:30Z").unwrap();
    near.wait(60 * SECOND);
    assert!(!near.told.iter().any(|told| told.contains("LeaseExpired")), "{:?}", near.told);
    near.wait(30 * SECOND);
    assert!(near.told.iter().any(|told| told.contains("LeaseExpired")), "{:?}", near.told);
}

#[test]
fn a_lease_of_ten_years_does_not_end_today() {
    let (mut world, a) = world();
    let end = json!({"expires_at": "2036-08-14T09:30:00Z"});
    let submit = json!({"agent": "a", "lease_request": {"tool.call": ["x"]}, "lease_constraints": end});
    let (job, _) = world.submit_with(a, "m1", submit);
    world.wait(Duration::from_secs(40 * 24 * 3_600));
    assert!(world.may(job, "tool.call", "x").is_ok(), "T-17");
}

#[test]
fn a_crash_does_not_change_the_end() {
    let (mut world, a) = world();
    let (_, accepted) =
        world.submit_with(a, "m1", json!({"agent": "a", "lease_constraints": {"expires_at": END}}));
    world.wait(60 * SECOND);
    let world = world.restart(config());
    let end = row(&world, &accepted).end.unwrap();
    assert_eq!(end.code, Some(ErrorCode::LeaseExpired));
}

#[test]
fn the_deployment_may_let_every_model_be_used() {
    let mut open = config();
    open.lease_policy.unlisted_models = true;
    let mut world = World::with(open);
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit_with(a, "m1", json!({"agent": "a"}));
    assert!(world.may(job, "model.use", "any/model").is_ok(), "D-90");
    let listed = json!({"agent": "a", "lease_request": {"model.use": ["tier-fast/*"]}});
    let (job, _) = world.submit_with(a, "m2", listed);
    assert!(world.may(job, "model.use", "tier-fast/m").is_ok());
    assert_eq!(world.may(job, "model.use", "any/model"), Err("PERMISSION_DENIED"));
}
