//! Leases towards a runtime that knows names of capabilities only (protocol §12.4).

use core::time::Duration;

use serde_json::json;

use super::super::peer::SESSION;
use super::{PROFILES, configured, rejected, vector, with};
use crate::client::{ClientEvent, GrantedLease, RequestError, Submission};
use crate::config::ClientConfig;
use crate::lease::LeaseRequest;
use crate::wire::RawJson;
use crate::wire::peer::PeerProfile;

fn asking(lease: LeaseRequest) -> Submission {
    Submission::new("mailer", RawJson::empty_object()).idempotency_key("k-ruby").lease(lease)
}

#[test]
fn whole_namespaces_are_named_to_a_ruby_runtime() {
    let lease = LeaseRequest::default().grant("tool.call", ["**"]).budget("USD:1.00");
    for profile in PROFILES {
        let mut world = with(profile);
        world.client.submit(world.now, asking(lease.clone())).unwrap();
        world.drain();
        let payload = world.next("job.submit")["payload"].clone();
        let published = vector("ruby-runtime-submit")["payload"].clone();
        if profile == PeerProfile::Ruby {
            assert_eq!(payload, published);
        } else {
            let map = json!({"tool.call": ["**"], "cost.budget": ["USD:1.00"]});
            assert_eq!(payload["lease_request"], map, "{profile:?}");
        }
    }
}

#[test]
fn a_part_of_a_namespace_is_asked_of_a_ruby_runtime_only_on_demand() {
    let lease = || LeaseRequest::default().grant("tool.call", ["mail.*"]).grant("fs.read", ["/**"]);
    let mut world = with(PeerProfile::Ruby);
    world.client.submit(world.now, asking(lease())).unwrap();
    world.drain();
    assert_eq!(rejected(&world), Some(&RequestError::Unsupported("patterns in a lease")));
    world.nothing_sent();

    let mut config = ClientConfig::new("tk");
    config.coarse_leases = true;
    let mut world = configured(PeerProfile::Ruby, config);
    world.client.submit(world.now, asking(lease())).unwrap();
    world.drain();
    let asked = world.next("job.submit")["payload"]["lease_request"].clone();
    assert_eq!(asked, json!({"tool.call": ["mail.*"], "fs.read": ["/**"], "capabilities": ["fs.read"]}));
}

#[test]
fn what_a_ruby_runtime_grants_is_shown_as_patterns() {
    let mut world = with(PeerProfile::Ruby);
    world.submit();
    let submit = world.next("job.submit");
    let mut accepted = vector("accepted-ruby-lease");
    accepted["session_id"] = SESSION.into();
    accepted["payload"]["reply_to"] = submit["id"].clone();
    world.feed(&accepted);
    let granted = world.events.iter().find_map(|event| match event {
        ClientEvent::Accepted { accepted, .. } => Some(GrantedLease::from(&**accepted)),
        _ => None,
    });
    assert_eq!(granted.expect("it was accepted").patterns("fs.read"), ["/**"]);
}

#[test]
fn an_end_alone_is_heard_by_a_ruby_runtime() {
    let lease = LeaseRequest::default().expires_in(Duration::from_secs(600));
    let mut world = with(PeerProfile::Ruby);
    world.client.submit(world.now, asking(lease)).unwrap();
    world.drain();
    let payload = world.next("job.submit")["payload"].clone();
    assert_eq!(payload["lease_request"], json!({"capabilities": []}));
    assert_eq!(payload["lease_constraints"], json!({"expires_at": "2026-08-14T09:40:00.000Z"}));
}
