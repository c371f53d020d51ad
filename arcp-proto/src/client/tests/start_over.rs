//! What another session is asked, and what follows, beside the jobs that were submitted.

use std::format;

use serde_json::json;

use super::children::CHILD;
use super::peer::{JOB, World, job};
use super::resume::{fall_back, log, say};
use crate::client::Subscription;

const FOLLOWED: &str = "job_S";

/// A session that follows a job, whose subscription was answered.
fn following(mut world: World, start: Subscription) -> World {
    world.connect();
    world.client.subscribe(world.now, &job(FOLLOWED), start).unwrap();
    world.drain();
    let asked = world.next("job.subscribe");
    let answer = json!({"request_id": asked["id"], "current_status": "running"});
    world.say_of(FOLLOWED, "job.subscribed", None, answer);
    world
}

#[test]
fn children_that_were_only_named_are_asked_for_where_they_can_be() {
    let mut world = World::core().with_tree();
    world.delegate(JOB, 1, 1, CHILD);
    fall_back(&mut world);
    world.next("job.submit");
    assert_eq!(world.next("job.subscribe")["payload"], json!({"job_id": CHILD, "history": true}));
    world.nothing_sent();

    let mut world = World::stranger().with_tree();
    world.delegate(JOB, 1, 1, CHILD);
    fall_back(&mut world);
    world.next("job.submit");
    world.nothing_sent();
}

#[test]
fn a_child_is_asked_for_from_its_first_event_though_it_was_subscribed_to_as_well() {
    let live = json!({"job_id": CHILD, "history": true, "from_event_seq": 84});
    for (mut world, expected) in [
        (World::core().with_tree(), json!({"job_id": CHILD, "history": true})),
        // Of a stranger, which knows no positions, all that came would come again.
        (World::stranger().with_tree(), live),
    ] {
        world.child(CHILD, JOB);
        world.client.subscribe(world.now, &job(CHILD), Subscription::Live).unwrap();
        world.drain();
        let asked = world.next("job.subscribe");
        let answer = json!({"request_id": asked["id"], "current_status": "running", "subscribed_from": 84});
        world.say_of(CHILD, "job.subscribed", None, answer);
        fall_back(&mut world);
        world.next("job.submit");
        assert_eq!(world.next("job.subscribe")["payload"], expected);
    }
}

#[test]
fn strangers_are_asked_for_no_position() {
    let mut world = following(World::stranger(), Subscription::History);
    world.log(FOLLOWED, 1, 9);
    fall_back(&mut world);
    let asked = world.next("job.subscribe");
    assert_eq!(asked["payload"], json!({"job_id": FOLLOWED, "history": true}));
}

#[test]
fn the_end_of_a_followed_job_is_told_though_nothing_of_it_is_to_be_had() {
    let mut world = following(World::core(), Subscription::Live);
    fall_back(&mut world);
    let asked = world.next("job.subscribe");
    world.told();
    let answer = json!({"request_id": asked["id"], "current_status": "success", "replayed": false});
    say(&mut world, "job.subscribed", FOLLOWED, None, answer);
    assert_eq!(world.told(), [format!("ended {FOLLOWED} - success")]);
}

#[test]
fn of_a_job_that_is_followed_from_now_on_nothing_is_missing() {
    let mut world = following(World::core(), Subscription::Live);
    fall_back(&mut world);
    world.told();
    log(&mut world, FOLLOWED, 1, 9);
    assert_eq!(world.told(), [format!("event {FOLLOWED} 1 log")]);
}
