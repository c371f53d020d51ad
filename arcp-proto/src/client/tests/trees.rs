//! Which children belong to which job, and which are done with.

use std::format;

use serde_json::json;

use super::children::{CHILD, GRANDCHILD};
use super::peer::{JOB, World, job};
use crate::client::{ClientEvent, RequestId, Submission, Subscription};
use crate::wire::RawJson;

const OTHER: &str = "job_2";

impl World {
    /// Another job whose children are wanted, accepted.
    fn with_other_tree(mut self) -> Self {
        let submission = Submission::new("a", RawJson::empty_object()).idempotency_key("k-2").children();
        self.client.submit(self.now, submission).unwrap();
        self.drain();
        self.accept(OTHER);
        self.told();
        self
    }
}

#[test]
fn every_child_that_has_ended_is_known() {
    let mut world = World::core().with_tree();
    for (seq, child) in [(1, CHILD), (2, GRANDCHILD)] {
        world.child(child, JOB);
        world.end(child, seq, 1);
    }
    world.told();
    for child in [CHILD, GRANDCHILD] {
        world.child(child, JOB);
    }
    assert_eq!(world.told(), [""; 0]);
}

#[test]
fn children_are_given_up_once() {
    let mut world = World::core().with_tree();
    let alone = world.submit_with("k-2");
    world.accept(OTHER);
    world.told();
    world.client.abandon_children(world.now, alone);
    world.drain();
    assert_eq!(world.told(), [""; 0], "it asked for none");
    for told in [1, 0] {
        world.client.abandon_children(world.now, RequestId(0));
        world.drain();
        assert_eq!(world.told().len(), told);
    }
}

#[test]
fn a_tree_that_is_given_up_takes_nothing_of_another_along() {
    // The runtime cannot be asked, so that both stay named.
    let mut world = World::stranger().with_tree().with_other_tree();
    world.delegate(JOB, 1, 1, CHILD);
    world.delegate(OTHER, 2, 1, GRANDCHILD);
    world.client.abandon_children(world.now, RequestId(1));
    world.drain();
    world.told();
    world.log(GRANDCHILD, 3, 1);
    assert_eq!((world.told().len(), world.client.ignored_frames()), (0, 1));
    world.log(CHILD, 4, 1);
    assert_eq!(world.told(), [format!("child {CHILD}"), format!("event {CHILD} 4 log")]);

    let mut world = World::core().with_tree().with_other_tree();
    world.child(CHILD, JOB);
    world.end(CHILD, 1, 1);
    world.client.abandon_children(world.now, RequestId(1));
    world.drain();
    world.told();
    world.child(CHILD, JOB);
    assert_eq!(world.told(), [""; 0], "its end is not forgotten");
}

#[test]
fn a_refusal_is_of_one_child() {
    let mut world = World::stranger().with_tree();
    world.delegate(JOB, 1, 1, CHILD);
    world.delegate(JOB, 2, 2, GRANDCHILD);
    world.refuse_delegation(JOB, 3, 3, CHILD);
    world.told();
    world.log(GRANDCHILD, 4, 1);
    assert_eq!(world.told(), [format!("child {GRANDCHILD}"), format!("event {GRANDCHILD} 4 log")]);
}

#[test]
fn a_named_child_is_asked_for_once() {
    let mut world = World::core().with_tree();
    world.delegate(JOB, 1, 1, CHILD);
    world.log(JOB, 2, 2);
    world.next("job.subscribe");
    world.log(JOB, 3, 3);
    world.nothing_sent();
}

#[test]
fn a_name_that_comes_once_more_behind_the_refusal_is_not_asked_for() {
    let mut world = World::core().with_tree();
    world.delegate(JOB, 1, 1, CHILD);
    world.refuse_delegation(JOB, 2, 2, CHILD);
    world.delegate(JOB, 3, 1, CHILD);
    world.log(JOB, 4, 3);
    world.nothing_sent();
}

#[test]
fn what_a_followed_job_names_may_be_a_job_of_our_own() {
    let mut world = World::core();
    world.connect();
    world.client.subscribe(world.now, &job(JOB), Subscription::Live).unwrap();
    world.delegate(JOB, 1, 1, OTHER);
    world.sent.clear();
    let request = world.submit();
    world.log(OTHER, 2, 1);
    world.told();
    world.accept(OTHER);
    assert_eq!(world.told(), [format!("accepted {} {OTHER}", request.0), format!("event {OTHER} 2 log")]);
}

#[test]
fn an_event_that_waited_names_children_as_well() {
    let mut world = World::core().with_tree();
    world.delegate(CHILD, 1, 1, GRANDCHILD);
    world.child(CHILD, JOB);
    world.log(GRANDCHILD, 2, 1);
    let expected = [
        format!("child {CHILD}"),
        format!("event {CHILD} 1 delegate"),
        format!("child {GRANDCHILD}"),
        format!("event {GRANDCHILD} 2 log"),
    ];
    assert_eq!(world.told(), expected);
}

#[test]
fn what_waits_for_its_name_holds_nothing_up_once_no_submit_can_claim_it() {
    let mut world = World::core().with_tree();
    world.submit_with("k-2");
    world.log(CHILD, 1, 1);
    assert_eq!(
        world.client.resume_state().unwrap().last_event_seq,
        0,
        "it may be of the job that is submitted"
    );
    world.accept(OTHER);
    assert_eq!(world.client.resume_state().unwrap().last_event_seq, 1);
    world.told();
    world.child(CHILD, JOB);
    assert_eq!(world.told(), [format!("child {CHILD}"), format!("event {CHILD} 1 log")]);
}

#[test]
fn a_child_that_was_asked_for_is_told_with_all_that_its_subscription_says() {
    let mut world = World::core().with_tree();
    world.delegate(JOB, 1, 1, CHILD);
    world.end(JOB, 2, 2);
    let asked = world.next("job.subscribe");
    world.told();
    let credential =
        json!({"id": "c1", "scheme": "bearer", "value": "v", "endpoint": "https://gw.example/v1"});
    let told = json!({
        "request_id": asked["id"], "current_status": "running", "agent": "c@1", "replayed": true,
        "lease": {"tool.call": ["search.*"]}, "lease_constraints": {"expires_at": "2026-08-14T09:40:00.000Z"},
        "budget": {"USD": 0.5}, "credentials": [credential], "trace_id": "0af7651916cd43dd8448eb211c80319c",
    });
    world.say_of(CHILD, "job.subscribed", None, told.clone());
    let [ClientEvent::ChildAccepted { accepted, .. }] = &world.events[..] else {
        panic!("{:?}", world.events)
    };
    for (raw, name) in [
        (&accepted.lease, "lease"),
        (&accepted.lease_constraints, "lease_constraints"),
        (&accepted.budget, "budget"),
    ] {
        let raw = raw.as_ref().unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(raw.as_str()).unwrap(), told[name]);
    }
    assert_eq!(accepted.credentials[0].id, "c1");
    assert_eq!(accepted.trace_id.as_deref(), told["trace_id"].as_str());
}
