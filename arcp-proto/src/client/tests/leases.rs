//! What a submit asks to be allowed, and what is granted.

use core::time::Duration;

use serde_json::json;

use super::peer::{JOB, World};
use crate::client::{ClientEvent, GrantedLease, Submission};
use crate::config::ClientConfig;
use crate::error::ApiMisuse;
use crate::feature::{Feature, Features};
use crate::lease::{Amount, LeaseRequest};
use crate::time::UnixTime;
use crate::wire::RawJson;

const EVERYTHING: Features = Features::SUPPORTED;

fn world(features: Features) -> World {
    World::with(ClientConfig::new("tk"), features)
}

fn asking(lease: LeaseRequest) -> Submission {
    Submission::new("a", RawJson::null()).lease(lease)
}

#[test]
fn leases_are_offered() {
    let hello = world(EVERYTHING).open();
    let features = hello["payload"]["capabilities"]["features"].as_array().unwrap().clone();
    for feature in ["lease_expires_at", "cost.budget", "model.use"] {
        assert!(features.contains(&json!(feature)), "{feature}");
    }
}

#[test]
fn a_submit_without_a_lease_has_no_member_of_one() {
    let mut world = world(EVERYTHING);
    world.connect();
    world.submit();
    let submit = world.next("job.submit");
    assert!(submit["payload"].get("lease_request").is_none(), "{submit}");
    assert!(submit["payload"].get("lease_constraints").is_none(), "{submit}");
}

#[test]
fn an_end_is_counted_from_the_call_and_stays_when_the_submit_is_repeated() {
    let mut world = world(EVERYTHING);
    let lease = LeaseRequest::default()
        .grant("tool.call", ["search.*"])
        .grant("model.use", ["tier-fast/*"])
        .budget("USD:1.00")
        .expires_in(Duration::from_secs(600));
    world.client.submit(world.now, asking(lease)).unwrap();
    world.pass(Duration::from_secs(60));
    world.connect();
    let first = world.next("job.submit")["payload"].clone();
    assert_eq!(
        first["lease_request"],
        json!({"tool.call": ["search.*"], "model.use": ["tier-fast/*"], "cost.budget": ["USD:1.00"]})
    );
    assert_eq!(first["lease_constraints"], json!({"expires_at": "2026-08-14T09:40:00.000Z"}));
    world.pass(Duration::from_secs(30));
    world.sent.retain(|frame| frame["type"] == "job.submit");
    assert_eq!(world.next("job.submit")["payload"], first);
}

#[test]
fn a_restriction_the_runtime_does_not_know_is_not_sent() {
    let ask = LeaseRequest::default;
    for (feature, lease) in [
        (Feature::CostBudget, ask().budget("USD:1")),
        (Feature::ModelUse, ask().grant("model.use", ["*"])),
        (Feature::LeaseExpiresAt, ask().expires_at(UnixTime::MAX)),
    ] {
        let mut world = world(EVERYTHING.without(feature));
        world.client.submit(world.now, asking(lease.grant("tool.call", ["*"]))).unwrap();
        assert!(world.told().is_empty(), "nothing is known before the welcome");
        world.connect();
        assert_eq!(world.told()[1..], [std::format!("rejected 0 Unsupported(\"{}\")", feature.as_str())]);
        world.nothing_sent();
    }
}

#[test]
fn patterns_alone_need_no_feature() {
    let mut world = world(EVERYTHING.without(Feature::CostBudget).without(Feature::ModelUse));
    world.connect();
    world.client.submit(world.now, asking(LeaseRequest::default().grant("tool.call", ["*"]))).unwrap();
    world.drain();
    assert_eq!(world.next("job.submit")["payload"]["lease_request"], json!({"tool.call": ["*"]}));
}

#[test]
fn a_lease_that_none_would_take_is_misuse() {
    let mut world = world(EVERYTHING);
    let refused = world.client.submit(world.now, asking(LeaseRequest::default().budget("a dollar")));
    let Err(ApiMisuse::OutOfRange(said)) = refused else { panic!("{refused:?}") };
    assert!(said.contains("cost.budget[0]"), "{said}");
    world.connect();
    world.nothing_sent();
}

#[test]
fn what_is_granted_is_read() {
    let mut world = world(EVERYTHING);
    world.connect();
    world.submit();
    let submit = world.next("job.submit");
    let payload = json!({
        "job_id": JOB, "request_id": submit["id"], "lease": {"tool.call": ["search.web"]}, "budget": {"USD": "USD:0.50"},
        "lease_constraints": {"expires_at": "2026-08-14T11:40:00+02:00"},
    });
    world.say_of(JOB, "job.accepted", None, payload);
    let granted = world.events.iter().find_map(|event| match event {
        ClientEvent::Accepted { accepted, .. } => Some(GrantedLease::from(&**accepted)),
        _ => None,
    });
    let granted = granted.unwrap();
    assert_eq!(granted.patterns("tool.call"), ["search.web"]);
    assert_eq!(granted.budget("USD"), Amount::parse("0.5"));
    assert_eq!(granted.expires_at(), UnixTime::parse_rfc3339("2026-08-14T09:40:00Z"));
}
