//! Subscriptions to jobs that this session hears already, or heard.

use std::format;

use super::peer::{JOB, World, job};
use crate::client::Subscription;
use crate::config::ClientConfig;
use crate::feature::Features;

/// The job is followed though nobody asked for it.
fn with_other() -> World {
    let mut config = ClientConfig::new("tk");
    config.other_jobs = true;
    let mut world = World::with(config, Features::SUPPORTED);
    world.connect();
    world.log(JOB, 1, 1);
    world.log(JOB, 2, 2);
    world.told();
    world
}

fn subscribe(world: &mut World, start: Subscription) {
    world.client.subscribe(world.now, &job(JOB), start).unwrap();
    world.drain();
}

#[test]
fn what_the_first_subscription_asked_for_stays_owed() {
    let mut world = World::core();
    world.connect();
    world.told();
    subscribe(&mut world, Subscription::HistoryFromPos(10));
    subscribe(&mut world, Subscription::Live);
    world.log(JOB, 1, 31);
    assert_eq!(world.told(), [format!("gap {JOB} 11..=30"), format!("event {JOB} 1 log")]);
}

#[test]
fn a_job_that_was_dropped_or_not_asked_for_owes_what_is_asked_for_now() {
    let mut dropped = World::core().with_job();
    dropped.client.abandon(dropped.now, &job(JOB));
    for mut world in [dropped, with_other()] {
        let seq = world.client.numbers.last() + 1;
        subscribe(&mut world, Subscription::HistoryFromPos(10));
        world.log(JOB, seq, 31);
        assert_eq!(world.told(), [format!("gap {JOB} 11..=30"), format!("event {JOB} {seq} log")]);
    }
}

#[test]
fn a_repeat_does_not_settle_what_is_owed() {
    let mut world = with_other();
    subscribe(&mut world, Subscription::History);
    world.log(JOB, 3, 2);
    assert_eq!(world.told(), [""; 0]);
    world.log(JOB, 4, 31);
    assert_eq!(world.told(), [format!("gap {JOB} 3..=30"), format!("event {JOB} 4 log")]);
}

#[test]
fn a_submitted_job_outlives_its_subscription() {
    let mut world = World::core().with_job();
    subscribe(&mut world, Subscription::Live);
    world.next("job.subscribe");
    world.client.unsubscribe(world.now, &job(JOB));
    world.drain();
    world.nothing_sent();
    world.log(JOB, 1, 1);
    assert_eq!(world.told(), [format!("event {JOB} 1 log")]);
}
