//! Delegated jobs that come with the job they were delegated for.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use std::format;

use serde_json::{Value, json};

use super::peer::{JOB, SESSION, World, job};
use crate::client::{ClientEvent, RequestId, Submission, Subscription};
use crate::config::ClientConfig;
use crate::feature::{Feature, Features};
use crate::wire::RawJson;

pub(super) const CHILD: &str = "job_C1";
pub(super) const GRANDCHILD: &str = "job_C2";
const NEXT_SESSION: &str = "sess_01KZZSPQHVT4QJ3M8Y6D0R5W2Y";

impl World {
    pub(super) fn submit_with_children(&mut self) -> RequestId {
        let submission = Submission::new("a", RawJson::empty_object()).idempotency_key("k-1").children();
        let request = self.client.submit(self.now, submission).unwrap();
        self.drain();
        request
    }

    /// A session with one accepted job whose children are wanted.
    pub(super) fn with_tree(mut self) -> Self {
        self.connect();
        self.submit_with_children();
        self.accept(JOB);
        self.told();
        self
    }

    pub(super) fn child(&mut self, child: &str, parent: &str) {
        let accepted =
            json!({"job_id": child, "parent_job_id": parent, "delegate_id": "dlg_1", "agent": "c@1"});
        self.say_of(child, "job.accepted", None, accepted);
    }

    pub(super) fn delegate(&mut self, parent: &str, seq: u64, pos: u64, child: &str) {
        let body = json!({"delegate_id": format!("dlg_{child}"), "child_job_id": child, "agent": "c"});
        self.say_of(parent, "job.event", Some(seq), json!({"kind": "delegate", "pos": pos, "body": body}));
    }

    pub(super) fn refuse_delegation(&mut self, parent: &str, seq: u64, pos: u64, child: &str) {
        let error = json!({"code": "PERMISSION_DENIED", "message": "m", "retryable": false});
        let body = json!({"call_id": format!("dlg_{child}"), "error": error});
        self.say_of(parent, "job.event", Some(seq), json!({"kind": "tool_result", "pos": pos, "body": body}));
    }

    /// What is told of the child: the agent, and what it says.
    pub(super) fn child_told(&self, child: &str) -> Option<(String, RequestId)> {
        self.events.iter().find_map(|event| match event {
            ClientEvent::ChildAccepted { job, submit: Some(submit), accepted } if job.as_str() == child => {
                assert!(accepted.parent_job_id.is_some());
                Some((accepted.agent.clone().unwrap_or_default(), *submit))
            }
            _ => None,
        })
    }
}

#[test]
fn a_tree_is_told_from_the_first_event_to_its_last_end() {
    let mut world = World::core();
    world.connect();
    let request = world.submit_with_children();
    world.accept(JOB);
    world.told();
    world.child(CHILD, JOB);
    assert_eq!(world.child_told(CHILD), Some(("c@1".into(), request)));
    world.delegate(JOB, 1, 1, CHILD);
    world.log(CHILD, 2, 1);
    world.child(GRANDCHILD, CHILD);
    world.delegate(CHILD, 3, 2, GRANDCHILD);
    world.log(GRANDCHILD, 4, 1);
    world.end(JOB, 5, 2);
    world.end(CHILD, 6, 3);
    let expected = [
        format!("child {CHILD}"),
        format!("event {JOB} 1 delegate"),
        format!("event {CHILD} 2 log"),
        format!("child {GRANDCHILD}"),
        format!("event {CHILD} 3 delegate"),
        format!("event {GRANDCHILD} 4 log"),
        format!("ended {JOB} 5 success"),
        format!("ended {CHILD} 6 success"),
    ];
    assert_eq!(world.told(), expected);
    world.end(GRANDCHILD, 7, 2);
    assert_eq!(
        world.told(),
        [format!("ended {GRANDCHILD} 7 success"), format!("no more children {}", request.0)]
    );
    world.nothing_sent();
    // They are to be taken like any event.
    for seq in 1..=6 {
        world.taken(seq);
    }
    assert_eq!(world.client.resume_state().unwrap().last_event_seq, 6);
}

#[test]
fn a_child_that_has_ended_is_not_told_again_when_its_acceptance_is_repeated() {
    for is_named in [true, false] {
        let mut world = World::core().with_tree();
        world.child(CHILD, JOB);
        if is_named {
            world.delegate(JOB, 1, 1, CHILD);
        }
        world.end(CHILD, 1 + u64::from(is_named), 1);
        world.told();
        world.child(CHILD, JOB);
        assert_eq!(world.told(), [""; 0]);
        world.end(JOB, 2 + u64::from(is_named), 2);
        assert!(world.told().last().unwrap().starts_with("no more children"));
        world.nothing_sent();
    }
}

#[test]
fn a_child_without_an_acceptance_begins_with_what_comes_of_it() {
    for mut world in [World::stranger().with_tree(), World::core().with_tree()] {
        world.delegate(JOB, 1, 1, CHILD);
        assert_eq!(world.told(), [format!("event {JOB} 1 delegate")], "it may still be refused");
        world.log(CHILD, 2, 1);
        assert_eq!(world.child_told(CHILD).unwrap().0, "c", "as the parent asked for it");
        assert_eq!(world.told(), [format!("child {CHILD}"), format!("event {CHILD} 2 log")]);
        // An acceptance that comes late says nothing new.
        world.child(CHILD, JOB);
        assert!(world.told().is_empty());
        world.nothing_sent();
    }
}

#[test]
fn events_before_acceptance_and_name_wait_for_either() {
    for is_accepted in [true, false] {
        let mut world = World::core().with_tree();
        world.log(CHILD, 1, 1);
        world.log(CHILD, 2, 2);
        assert!(world.told().is_empty());
        // Nobody may ever claim them, so they hold nothing up.
        assert_eq!(world.client.resume_state().unwrap().last_event_seq, 2);
        let mut expected = Vec::new();
        if is_accepted {
            world.child(CHILD, JOB);
        } else {
            world.delegate(JOB, 3, 1, CHILD);
            expected.push(format!("event {JOB} 3 delegate"));
        }
        expected.extend([
            format!("child {CHILD}"),
            format!("event {CHILD} 1 log"),
            format!("event {CHILD} 2 log"),
        ]);
        assert_eq!(world.told(), expected);
    }
}

#[test]
fn what_no_room_was_left_to_hold_is_told_as_missing() {
    let mut world = World::core().with_tree();
    let long = json!({"level": "info", "message": "x".repeat(1 << 20)});
    for seq in 1..=5 {
        let event = json!({"kind": "log", "pos": seq, "body": long});
        world.say_of(CHILD, "job.event", Some(seq), event);
    }
    world.child(CHILD, JOB);
    world.log(CHILD, 6, 6);
    let told = world.told();
    assert_eq!(told[..4].len(), 4);
    assert_eq!(
        told[4..],
        [format!("gap {CHILD} 4..=5"), format!("event {CHILD} 6 log")],
        "three of a mebibyte are kept: {told:?}"
    );
}

#[test]
fn a_refused_child_is_never_told() {
    let mut world = World::core().with_tree();
    world.delegate(JOB, 1, 1, CHILD);
    world.refuse_delegation(JOB, 2, 2, CHILD);
    world.log(JOB, 3, 3);
    world.end(JOB, 4, 4);
    let expected = [
        format!("event {JOB} 1 delegate"),
        format!("event {JOB} 2 tool_result"),
        format!("event {JOB} 3 log"),
        format!("ended {JOB} 4 success"),
        "no more children 0".into(),
    ];
    assert_eq!(world.told(), expected);
    world.nothing_sent();
}

#[test]
fn a_child_that_was_neither_accepted_nor_refused_is_asked_for() {
    let mut world = World::core().with_tree();
    world.delegate(JOB, 1, 1, CHILD);
    world.nothing_sent();
    world.end(JOB, 2, 2);
    let asked = world.next("job.subscribe");
    assert_eq!((&asked["payload"]["job_id"], &asked["payload"]["history"]), (&json!(CHILD), &json!(true)));
    assert_eq!(world.told().len(), 2, "the children have not ended");
    let answer = json!({
        "job_id": CHILD, "request_id": asked["id"], "current_status": "success", "agent": "c@1",
        "parent_job_id": JOB, "history_from": 0, "replayed": true,
    });
    world.say_of(CHILD, "job.subscribed", None, answer);
    assert_eq!(world.child_told(CHILD).unwrap().0, "c@1");
    world.log(CHILD, 3, 1);
    world.end(CHILD, 4, 2);
    let expected = [
        format!("child {CHILD}"),
        format!("event {CHILD} 3 log"),
        format!("ended {CHILD} 4 success"),
        "no more children 0".into(),
    ];
    assert_eq!(world.told(), expected);
}

#[test]
fn a_child_that_is_asked_for_and_not_there_never_was() {
    let mut world = World::core().with_tree();
    world.delegate(JOB, 1, 1, CHILD);
    world.end(JOB, 2, 2);
    let asked = world.next("job.subscribe");
    world.told();
    let refusal =
        json!({"request_id": asked["id"], "code": "JOB_NOT_FOUND", "message": "m", "retryable": false});
    world.say("session.error", refusal);
    assert_eq!(world.told(), ["no more children 0"]);
}

#[test]
fn children_that_a_stranger_names_and_does_not_show_hold_nothing_up() {
    let mut world = World::stranger().with_tree();
    world.delegate(JOB, 1, 1, CHILD);
    world.end(JOB, 2, 2);
    world.nothing_sent();
    assert_eq!(world.told()[2..], ["no more children 0"]);
}

#[test]
fn an_abandoned_job_takes_the_children_nobody_was_told_of_along() {
    let mut world = World::core().with_tree();
    world.child(CHILD, JOB);
    world.delegate(JOB, 1, 1, CHILD);
    world.log(CHILD, 2, 1);
    world.told();
    world.client.abandon(world.now, &job(JOB));
    world.drain();
    assert_eq!(world.told(), ["no more children 0"]);
    // The one that was told is a job of its own, as long as the application wants it.
    world.log(CHILD, 3, 2);
    world.child(GRANDCHILD, CHILD);
    world.delegate(CHILD, 4, 3, GRANDCHILD);
    world.log(GRANDCHILD, 5, 1);
    assert_eq!(world.told(), [format!("event {CHILD} 3 log"), format!("event {CHILD} 4 delegate")]);
    world.client.abandon(world.now, &job(CHILD));
    world.log(CHILD, 6, 4);
    assert!(world.told().is_empty());
    assert_eq!(world.client.resume_state().unwrap().last_event_seq, 6, "nothing is held");
}

#[test]
fn children_can_be_given_up_before_and_after_the_acceptance() {
    let mut world = World::core();
    world.connect();
    let request = world.submit_with_children();
    world.client.abandon_children(world.now, request);
    world.accept(JOB);
    world.child(CHILD, JOB);
    world.log(CHILD, 1, 1);
    assert_eq!(world.told()[1..], [format!("accepted 0 {JOB}")]);
    let mut world = World::core().with_tree();
    world.client.abandon_children(world.now, RequestId(0));
    world.drain();
    world.child(CHILD, JOB);
    world.log(CHILD, 1, 1);
    world.log(JOB, 2, 1);
    assert_eq!(world.told(), ["no more children 0".into(), format!("event {JOB} 2 log")]);
}

#[test]
fn an_abandoned_child_is_dropped_and_its_own_children_are_not() {
    let mut world = World::core().with_tree();
    world.child(CHILD, JOB);
    world.told();
    world.client.abandon(world.now, &job(CHILD));
    world.log(CHILD, 1, 1);
    world.delegate(CHILD, 2, 2, GRANDCHILD);
    world.log(GRANDCHILD, 3, 1);
    assert_eq!(world.told(), [format!("child {GRANDCHILD}"), format!("event {GRANDCHILD} 3 log")]);
    assert_eq!(world.client.resume_state().unwrap().last_event_seq, 2);
}

#[test]
fn children_of_other_jobs_stay_dropped() {
    let mut world = World::core().with_tree();
    world.submit_with("k-2");
    world.accept("job_2");
    world.told();
    // Its child's acceptance is lost; that it is named is enough to know that it is nobody's.
    world.delegate("job_2", 1, 1, CHILD);
    world.log(CHILD, 2, 1);
    world.end(CHILD, 3, 2);
    assert_eq!(world.told(), ["event job_2 1 delegate"]);
    assert_eq!(world.client.ignored_frames(), 2);
}

#[test]
fn the_children_of_a_job_submitted_twice_come_with_the_first() {
    let mut world = World::core().with_tree();
    let second = world.submit_with_children();
    world.accept(JOB);
    assert_eq!(
        world.told(),
        [format!("accepted {} {JOB}", second.0), format!("no more children {}", second.0)]
    );
    world.child(CHILD, JOB);
    assert_eq!(world.child_told(CHILD).unwrap().1, RequestId(0));
}

#[test]
fn a_resume_goes_on_where_the_tree_was_cut() {
    let mut world = World::core().with_tree();
    world.child(CHILD, JOB);
    world.delegate(JOB, 1, 1, CHILD);
    world.log(CHILD, 2, 1);
    world.told();
    let hello = world.reopen();
    world.welcome(&hello, SESSION);
    world.told();
    world.nothing_sent();
    world.log(CHILD, 2, 1);
    world.log(CHILD, 3, 2);
    world.end(CHILD, 4, 3);
    assert_eq!(world.told(), [format!("event {CHILD} 3 log"), format!("ended {CHILD} 4 success")]);
}

/// A frame of the session that took the first one's place.
fn say(world: &mut World, message_type: &str, job: &str, seq: Option<u64>, payload: Value) {
    world.feed(&json!({
        "arcp": "1.1", "id": "msg_r", "type": message_type, "session_id": NEXT_SESSION,
        "job_id": job, "event_seq": seq, "payload": payload,
    }));
}

#[test]
fn another_session_is_asked_for_the_children_that_are_not_brought() {
    let mut world = World::core().with_tree();
    for (seq, child) in [(1, CHILD), (2, GRANDCHILD)] {
        world.child(child, JOB);
        world.delegate(JOB, seq, seq, child);
    }
    world.log(CHILD, 3, 1);
    world.log(GRANDCHILD, 4, 1);
    world.told();
    world.reopen();
    world.feed(&json!({
        "arcp": "1.1", "id": "msg_r", "type": "session.error", "session_id": SESSION,
        "payload": {"code": "RESUME_WINDOW_EXPIRED", "message": "m", "retryable": false},
    }));
    let hello = world.open();
    world.told();
    world.welcome(&hello, NEXT_SESSION);
    let submit = world.next("job.submit");
    let mut asked: Vec<Value> = [world.next("job.subscribe"), world.next("job.subscribe")].into();
    asked.sort_by_key(|frame| frame["payload"]["job_id"].as_str().map(String::from));
    for (frame, child) in asked.iter().zip([CHILD, GRANDCHILD]) {
        assert_eq!((&frame["payload"]["job_id"], &frame["payload"]["from_pos"]), (&json!(child), &json!(1)));
    }
    world.told();
    // The one that still runs comes with its parent, its whole history and the end that came before the subscription was
    // answered; the other one only because it was asked for.
    say(&mut world, "job.accepted", JOB, None, json!({"job_id": JOB, "request_id": submit["id"]}));
    say(&mut world, "job.accepted", CHILD, None, json!({"job_id": CHILD, "parent_job_id": JOB}));
    for (frame, replayed) in asked.iter().zip([false, true]) {
        let child = frame["payload"]["job_id"].as_str().unwrap();
        let answer = json!({"request_id": frame["id"], "current_status": "success", "replayed": replayed});
        say(&mut world, "job.subscribed", child, None, answer);
    }
    let log = json!({"kind": "log", "pos": 1, "body": {}});
    let end = |pos: u64| json!({"pos": pos, "final_status": "success", "result": 1});
    say(&mut world, "job.event", CHILD, Some(1), log);
    say(&mut world, "job.result", CHILD, Some(2), end(2));
    say(&mut world, "job.result", GRANDCHILD, Some(3), end(2));
    // A child of the time between the sessions, which had ended before this one.
    let body = json!({"delegate_id": "dlg_3", "child_job_id": "job_C3", "agent": "c"});
    say(&mut world, "job.event", JOB, Some(4), json!({"kind": "delegate", "pos": 3, "body": body}));
    say(&mut world, "job.result", JOB, Some(5), end(4));
    assert_eq!(world.next("job.subscribe")["payload"]["job_id"], "job_C3");
    let expected = [
        format!("ended {CHILD} 6 success"),
        format!("ended {GRANDCHILD} 7 success"),
        format!("event {JOB} 8 delegate"),
        format!("ended {JOB} 9 success"),
    ];
    assert_eq!(world.told(), expected);
}

#[test]
fn a_job_that_begins_again_keeps_its_tree() {
    let mut world = World::core().with_tree();
    world.reopen();
    world.feed(&json!({
        "arcp": "1.1", "id": "msg_r", "type": "session.error", "session_id": SESSION,
        "payload": {"code": "RESUME_WINDOW_EXPIRED", "message": "m", "retryable": false},
    }));
    let hello = world.open();
    world.welcome(&hello, NEXT_SESSION);
    let submit = world.next("job.submit");
    world.told();
    say(&mut world, "job.accepted", "job_2", None, json!({"job_id": "job_2", "request_id": submit["id"]}));
    say(&mut world, "job.accepted", CHILD, None, json!({"job_id": CHILD, "parent_job_id": "job_2"}));
    assert_eq!(world.told(), ["accepted 0 job_2".into(), format!("child {CHILD}")]);
}

#[test]
fn a_child_counts_against_what_may_wait_and_is_given_back_when_abandoned() {
    let mut config = ClientConfig::new("tk");
    config.untaken_events = 3;
    let mut world = World::with(config, Features::SUPPORTED).with_tree();
    world.child(CHILD, JOB);
    for seq in 1..=3 {
        assert!(world.client.may_read());
        world.log(CHILD, seq, seq);
    }
    assert!(!world.client.may_read());
    world.client.abandon(world.now, &job(CHILD));
    assert!(world.client.may_read());
}

#[test]
fn a_child_may_be_subscribed_to_as_well_and_hears_once() {
    let mut world = World::core().with_tree();
    world.child(CHILD, JOB);
    world.log(CHILD, 1, 1);
    world.client.subscribe(world.now, &job(CHILD), Subscription::Live).unwrap();
    world.drain();
    world.next("job.subscribe");
    world.client.unsubscribe(world.now, &job(CHILD));
    world.drain();
    world.told();
    world.log(CHILD, 2, 2);
    assert_eq!(world.told(), [format!("event {CHILD} 2 log")], "it is not only a subscription");
    world.nothing_sent();
}

#[test]
fn without_subscriptions_nothing_is_asked_for() {
    let few = Features::SUPPORTED.without(Feature::Subscribe);
    let mut world = World::with(ClientConfig::new("tk"), few).with_tree();
    world.delegate(JOB, 1, 1, CHILD);
    world.log(JOB, 2, 2);
    world.pass(Duration::from_secs(1));
    world.nothing_sent();
    world.end(JOB, 3, 3);
    assert_eq!(world.told().last().unwrap(), "no more children 0");
}
