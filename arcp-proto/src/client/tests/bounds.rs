//! How much is kept of what may never be asked for.

use alloc::string::String;
use std::format;

use super::peer::{JOB, World, job};
use crate::client::jobs::{HeldEvent, Jobs};
use crate::client::{ClientEvent, Subscription};
use crate::config::ClientConfig;
use crate::feature::Features;

/// A job's name; they rise.
fn name(number: u64) -> String {
    format!("job_{number:04}")
}

fn others() -> World {
    let mut config = ClientConfig::new("tk");
    config.other_jobs = true;
    let mut world = World::with(config, Features::SUPPORTED);
    world.connect();
    world.told();
    world
}

#[test]
fn so_many_jobs_that_nobody_asked_for_are_followed() {
    let mut world = others();
    for number in 1..=1_024 {
        world.log(&name(number), number, 1);
    }
    assert_eq!(world.told().len(), 1_024);
    world.log(&name(1_025), 1_025, 1);
    assert_eq!((world.told().len(), world.client.ignored_frames()), (0, 1));
    // One that is asked for is none of them any more.
    world.client.subscribe(world.now, &job(&name(1)), Subscription::Live).unwrap();
    for (number, told) in [(1_026, 1), (1_027, 0)] {
        world.log(&name(number), number, 1);
        assert_eq!(world.told().len(), told, "{number}");
    }
}

#[test]
fn so_many_children_are_handed_on() {
    let mut world = World::core().with_tree();
    for number in 1..=4_096 {
        world.child(&name(number), JOB);
    }
    assert_eq!(world.told().len(), 4_096);
    world.child(&name(4_097), JOB);
    assert_eq!((world.told().len(), world.client.ignored_frames()), (0, 1));
    world.log(&name(4_097), 1, 1);
    assert_eq!((world.told().len(), world.client.ignored_frames()), (0, 2));
}

#[test]
fn so_many_named_children_are_waited_for() {
    // The runtime cannot be asked for them.
    let mut world = World::stranger().with_tree();
    for number in 1..=1_025 {
        world.delegate(JOB, number, number, &name(number));
    }
    world.told();
    world.log(&name(1_025), 1_026, 1);
    assert_eq!((world.told().len(), world.client.ignored_frames()), (0, 1));
    world.log(&name(1_024), 1_027, 1);
    assert_eq!(world.told(), ["child job_1024", "event job_1024 1027 log"]);
}

#[test]
fn so_many_unwanted_children_are_known() {
    let mut world = World::core().with_job();
    for number in 1..=1_025 {
        world.child(&name(number), JOB);
    }
    world.submit_with("k-2");
    assert_eq!(world.client.ignored_frames(), 1_025);
    world.log(&name(1_024), 1, 1);
    assert_eq!(world.client.ignored_frames(), 1_026);
    world.log(&name(1_025), 2, 1);
    assert_eq!(world.client.ignored_frames(), 1_026, "it waits for an acceptance");
}

#[test]
fn what_waits_for_an_acceptance_does_not_keep_it_from_being_read() {
    for (events, bytes) in [(1, u64::MAX), (u64::MAX, 1)] {
        let mut config = ClientConfig::new("tk");
        (config.untaken_events, config.untaken_bytes) = (events, bytes);
        let mut world = World::with(config, Features::SUPPORTED);
        world.connect();
        world.submit();
        world.log(JOB, 1, 1);
        assert!(world.client.may_read(), "{events} {bytes}");
        world.accept(JOB);
        assert!(!world.client.may_read(), "{events} {bytes}");
    }
}

/// Whether there is room for an event, which then waits.
fn waits(jobs: &mut Jobs, id: &str, bytes: usize) -> bool {
    let is_room = jobs.hold(&job(id), bytes).is_some();
    jobs.keep(&job(id), bytes, HeldEvent { pos: None, event: ClientEvent::Disconnected });
    is_room
}

#[test]
fn four_mebibytes_wait_for_acceptances() {
    const MOST: usize = 4 << 20;
    let mut jobs = Jobs::default();
    for bytes in [MOST - 200, 50, 50] {
        assert!(waits(&mut jobs, "job_A", bytes));
    }
    assert!(jobs.hold(&job("job_B"), 101).is_none());
    for bytes in [60, 40] {
        assert!(waits(&mut jobs, "job_B", bytes));
    }
    assert_eq!(jobs.held(), (5, MOST as u64));
    assert!(jobs.hold(&job("job_C"), 1).is_none());
    let (events, is_cut) = jobs.release(&job("job_B"));
    assert_eq!((events.len(), is_cut, jobs.held()), (2, false, (3, MOST as u64 - 100)));
    jobs.release(&job("job_A"));
    assert_eq!(jobs.held(), (0, 0));
    assert!(waits(&mut jobs, "job_C", MOST));
}

#[test]
fn the_numbers_of_so_many_jobs_are_remembered_first_of_those_that_go_on() {
    let mut jobs = Jobs::default();
    jobs.attach(&job("job_live"));
    assert!(waits(&mut jobs, "job_held", 1));
    let others = (1..=1_022).map(name);
    for id in ["job_live".into(), "job_held".into()].into_iter().chain(others) {
        assert!(jobs.is_new_number(&id, 7));
    }
    assert!(!jobs.is_new_number(&name(1), 7));
    assert!(jobs.is_new_number(&name(1_023), 7));
    assert!(jobs.is_new_number(&name(1), 7), "it made room");
    assert!(!jobs.is_new_number("job_live", 7) && !jobs.is_new_number("job_held", 7));

    let mut jobs = Jobs::default();
    for number in 1..=1_024 {
        jobs.attach(&job(&name(number)));
        assert!(jobs.is_new_number(&name(number), 7));
    }
    for _ in 0..2 {
        assert!(jobs.is_new_number("job_live", 7), "there is no room for it");
    }
}
