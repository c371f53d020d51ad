//! Numbers, positions, acknowledgements, abandoned jobs.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use std::format;

use serde_json::{Value, json};

use super::peer::{JOB, World, job};
use crate::client::{ClientState, Subscription};
use crate::config::ClientConfig;
use crate::feature::{Feature, Features};

const MS: Duration = Duration::from_millis(1);
const OTHER: &str = "job_OTHER";

#[test]
fn events_are_handed_on_in_order_and_repeats_are_not() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.log(JOB, 2, 2);
    world.log(JOB, 1, 1);
    world.log(JOB, 2, 2);
    world.end(JOB, 3, 3);
    let expected =
        [format!("event {JOB} 1 log"), format!("event {JOB} 2 log"), format!("ended {JOB} 3 success")];
    assert_eq!(world.told(), expected);
    assert_eq!(world.client.ignored_frames(), 2);
}

#[test]
fn a_gap_is_resumed_once_then_reported_once() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.log(JOB, 4, 4);
    assert_eq!(world.told(), [format!("event {JOB} 1 log"), "disconnected".into()]);
    let hello = world.reopen_after_close();
    assert_eq!(hello["payload"]["last_event_seq"], 1);
    world.welcome(&hello, super::peer::SESSION);
    world.told();
    world.log(JOB, 4, 4);
    world.log(JOB, 5, 5);
    assert_eq!(
        world.told(),
        ["gap 2..=3".into(), format!("event {JOB} 4 log"), format!("event {JOB} 5 log")]
    );
    assert_eq!(world.client.state(), ClientState::Connected);

    // Another gap is another resume.
    world.log(JOB, 7, 7);
    assert_eq!(world.told(), ["disconnected"]);
    world.reopen_after_close();
}

#[test]
fn a_gap_that_the_resume_fills_is_not_reported() {
    let mut world = World::core().with_job();
    world.log(JOB, 2, 2);
    let hello = world.reopen_after_close();
    world.welcome(&hello, super::peer::SESSION);
    world.told();
    world.log(JOB, 1, 1);
    world.log(JOB, 2, 2);
    assert_eq!(world.told(), [format!("event {JOB} 1 log"), format!("event {JOB} 2 log")]);
}

#[test]
fn a_lost_malformed_frame_shows_as_a_gap() {
    let mut world = World::core().with_job();
    world.feed_text("{\"arcp\":\"1.1\",\"id\":");
    assert_eq!(world.client.state(), ClientState::Connected);
    world.log(JOB, 2, 2);
    assert_eq!(world.told(), ["disconnected"]);
}

#[test]
fn a_position_is_handed_on_once_per_attachment() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.log(JOB, 2, 2);
    world.told();
    // The whole history again under new numbers, as after a change of session.
    world.log(JOB, 3, 1);
    world.log(JOB, 4, 2);
    world.log(JOB, 5, 3);
    assert_eq!(world.told(), [format!("event {JOB} 5 log")]);
    // What was not handed on does not hold the acknowledgement up.
    for seq in [1, 2, 5] {
        world.taken(seq);
    }
    world.pass(MS * 250);
    assert_eq!(world.sent.pop_back().unwrap()["payload"]["last_processed_seq"], 5);

    // A new attachment begins anew.
    world.client.abandon(world.now, &job(JOB));
    world.client.subscribe(world.now, &job(JOB), Subscription::History).unwrap();
    world.log(JOB, 6, 1);
    assert_eq!(world.told(), [format!("event {JOB} 6 log")]);
}

#[test]
fn an_abandoned_job_is_dropped_and_counts_as_taken() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.submit_with("k-2");
    world.accept(OTHER);
    world.log(OTHER, 2, 1);
    world.told();
    world.client.abandon(world.now, &job(JOB));
    world.drain();
    assert_eq!(world.next("session.ack")["payload"]["last_processed_seq"], 1);
    world.log(JOB, 3, 2);
    world.end(JOB, 4, 3);
    assert!(world.told().is_empty());
    world.taken(2);
    world.pass(MS * 250);
    assert_eq!(world.next("session.ack")["payload"]["last_processed_seq"], 4);
    world.nothing_sent();
}

#[test]
fn acknowledgements_keep_their_distance_and_say_only_what_is_new() {
    let mut world = World::core().with_job();
    for seq in 1..=6 {
        world.log(JOB, seq, seq);
    }
    world.taken(1);
    assert_eq!(world.next("session.ack")["payload"]["last_processed_seq"], 1);
    world.taken(2);
    world.taken(4);
    world.pass(MS * 249);
    world.nothing_sent();
    world.pass(MS);
    assert_eq!(world.next("session.ack")["payload"]["last_processed_seq"], 2);
    world.pass(MS * 1_000);
    world.nothing_sent();
    world.taken(3);
    assert_eq!(world.next("session.ack")["payload"]["last_processed_seq"], 4);
    world.taken(3);
    world.pass(MS * 1_000);
    world.nothing_sent();
}

#[test]
fn our_own_runtime_hears_every_thousand_events() {
    let many = |mut world: World| {
        for seq in 1..=2_500 {
            world.log(JOB, seq, seq);
            world.taken(seq);
        }
        world
            .sent
            .iter()
            .map(|frame| frame["payload"]["last_processed_seq"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(many(World::core().with_job()), [1, 1_001, 2_001]);
    assert_eq!(many(World::stranger().with_job()), [1]);
}

#[test]
fn our_own_runtime_hears_every_mebibyte() {
    let mut world = World::core().with_job();
    for seq in 1..=5 {
        let body = json!({"text": "x".repeat(400_000)});
        world.say_of(JOB, "job.event", Some(seq), json!({"kind": "thought", "pos": seq, "body": body}));
        world.taken(seq);
    }
    let acks: Vec<_> =
        world.sent.iter().map(|frame| frame["payload"]["last_processed_seq"].clone()).collect();
    assert_eq!(acks, [1, 4]);
}

#[test]
fn nothing_is_acknowledged_unless_negotiated() {
    let mut world = World::with(ClientConfig::new("tk"), Features::NONE).with_job();
    world.log(JOB, 1, 1);
    world.taken(1);
    world.pass(MS * 1_000);
    world.nothing_sent();
}

#[test]
fn reading_rests_while_the_application_does_and_silence_does_not_count() {
    let mut config = ClientConfig::new("tk");
    config.untaken_events = 3;
    let mut world = World::with(config, Features::SUPPORTED).with_job();
    for seq in 1..=3 {
        assert!(world.client.may_read());
        world.log(JOB, seq, seq);
    }
    assert!(!world.client.may_read());
    world.pass(Duration::from_secs(200));
    assert_eq!(world.client.state(), ClientState::Connected);
    assert!(world.sent.iter().all(|frame| frame["type"] == "session.ping"), "{:?}", world.sent);
    world.taken(2);
    assert!(world.client.may_read());
    world.pass(Duration::from_secs(59));
    assert_eq!(world.client.state(), ClientState::Connected);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.client.state(), ClientState::Waiting);
}

#[test]
fn reading_rests_by_bytes_as_well() {
    let mut config = ClientConfig::new("tk");
    config.untaken_bytes = 300;
    let mut world = World::with(config, Features::SUPPORTED).with_job();
    world.log(JOB, 1, 1);
    assert!(world.client.may_read());
    world.log(JOB, 2, 2);
    assert!(!world.client.may_read());
    world.client.abandon(world.now, &job(JOB));
    assert!(world.client.may_read());
}

#[test]
fn events_before_the_acceptance_wait_for_it() {
    for world in [World::stranger(), World::core()] {
        held_until_accepted(world);
    }
}

fn held_until_accepted(mut world: World) {
    world.connect();
    let request = world.submit();
    world.told();
    world.log(JOB, 1, 1);
    world.say_of(OTHER, "job.event", Some(2), json!({"kind": "log", "body": {}}));
    world.end(JOB, 3, 2);
    assert!(world.told().is_empty());
    world.accept(JOB);
    let expected = [
        format!("accepted {} {JOB}", request.0),
        format!("event {JOB} 1 log"),
        format!("ended {JOB} 3 success"),
    ];
    assert_eq!(world.told(), expected);
    // Nobody claimed the other job's event, and behind its end a job says nothing more.
    assert_eq!(world.client.ignored_frames(), 1);
    world.log(JOB, 4, 3);
    assert_eq!(world.told(), [""; 0]);
    assert_eq!(world.client.ignored_frames(), 2);
    world.taken(1);
    world.taken(3);
    world.pass(MS * 250);
    assert_eq!(world.sent.pop_back().unwrap()["payload"]["last_processed_seq"], 4);
}

#[test]
fn children_are_handed_on_only_if_wanted() {
    let child = json!({"job_id": OTHER, "parent_job_id": JOB, "delegate_id": "dlg_1", "lease": {}});
    let mut world = World::core().with_job();
    // A submit on its way does not make the child's events wait for it.
    world.submit_with("k-2");
    world.say_of(OTHER, "job.accepted", None, child.clone());
    world.log(OTHER, 1, 1);
    assert!(world.told().is_empty());
    assert_eq!(world.client.resume_state().unwrap().last_event_seq, 1);

    let mut config = ClientConfig::new("tk");
    config.other_jobs = true;
    let mut world = World::with(config, Features::SUPPORTED).with_job();
    world.say_of(OTHER, "job.accepted", None, child);
    world.log(OTHER, 1, 1);
    world.end(OTHER, 2, 2);
    let expected =
        [format!("child {OTHER}"), format!("event {OTHER} 1 log"), format!("ended {OTHER} 2 success")];
    assert_eq!(world.told(), expected);
    assert_eq!(world.client.resume_state().unwrap().last_event_seq, 0);
}

#[test]
fn the_names_of_so_many_ended_jobs_are_kept() {
    let mut config = ClientConfig::new("tk");
    config.other_jobs = true;
    let mut world = World::with(config, Features::SUPPORTED);
    world.connect();
    let name = |number: u64| format!("job_{number:04}");
    for number in 1..=1_025 {
        world.end(&name(number), number, 1);
    }
    assert_eq!(world.told().iter().filter(|told| told.starts_with("ended")).count(), 1_025);
    world.end(&name(2), 1_026, 1);
    assert_eq!(world.told(), [""; 0], "it comes once more");
    assert_eq!(world.client.ignored_frames(), 1);
    world.end(&name(1), 1_027, 1);
    assert_eq!(world.told(), [format!("ended {} 1027 success", name(1))], "the oldest is not known any more");
}

/// What is told of a job whose subscription from `start` is answered like this, and whose next event is at `pos`.
fn first_of(features: Features, start: Subscription, answer: Value, pos: u64) -> Vec<String> {
    let mut world = World::with(ClientConfig::new("tk"), features);
    world.connect();
    world.client.subscribe(world.now, &job(JOB), start).unwrap();
    world.drain();
    let asked = world.next("job.subscribe");
    let mut payload = json!({"job_id": JOB, "request_id": asked["id"], "current_status": "running"});
    payload.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
    world.say_of(JOB, "job.subscribed", None, payload);
    world.told();
    world.log(JOB, 1, pos);
    world.log(JOB, 2, pos + 1);
    let mut told = world.told();
    assert_eq!(told.split_off(told.len() - 2), [format!("event {JOB} 1 log"), format!("event {JOB} 2 log")]);
    told
}

#[test]
fn history_that_does_not_reach_back_is_told_on_the_first_subscription() {
    use Subscription::{History, HistoryFromPos, HistoryFromSeq, Live};
    let few = Features::SUPPORTED.without(Feature::Progress);
    let missing = |from: u64, to: u64| Vec::from([format!("gap {JOB} {from}..={to}")]);
    let told = |start, answer, pos| first_of(Features::SUPPORTED, start, answer, pos);
    assert_eq!(told(History, json!({"history_from": 0, "replayed": true}), 1), [""; 0]);
    assert_eq!(told(History, json!({"history_from": 40, "replayed": true}), 31), missing(1, 30));
    assert_eq!(told(HistoryFromPos(10), json!({"history_from": 40, "replayed": true}), 31), missing(11, 30));
    assert_eq!(told(HistoryFromPos(30), json!({"history_from": 40, "replayed": true}), 31), [""; 0]);
    assert_eq!(told(HistoryFromPos(50), json!({"history_from": 40, "replayed": false}), 31), [""; 0]);
    // How many origin numbers are gone is known, not how many of them were this job's.
    assert_eq!(told(HistoryFromSeq(36), json!({"history_from": 40, "replayed": true}), 31), missing(27, 30));
    assert_eq!(told(HistoryFromSeq(2), json!({"history_from": 40, "replayed": true}), 31), missing(1, 30));
    assert_eq!(told(HistoryFromSeq(40), json!({"history_from": 40, "replayed": true}), 31), [""; 0]);
    assert_eq!(told(Live, json!({"subscribed_from": 40, "replayed": false}), 31), [""; 0]);
    // Positions that are skipped because of what was not negotiated are not missing.
    assert_eq!(first_of(few, History, json!({"history_from": 0, "replayed": true}), 3), [""; 0]);
    assert_eq!(first_of(few, History, json!({"history_from": 40, "replayed": true}), 31), missing(1, 30));
}

#[test]
fn the_past_of_a_job_that_this_session_hears_already_is_missing() {
    let child = json!({"job_id": OTHER, "parent_job_id": JOB, "delegate_id": "dlg_1", "lease": {}});
    let mut world = World::core().with_job();
    world.say_of(OTHER, "job.accepted", None, child);
    world.log(OTHER, 1, 1);
    world.log(OTHER, 2, 2);
    world.client.subscribe(world.now, &job(OTHER), Subscription::History).unwrap();
    world.drain();
    let asked = world.sent.pop_back().unwrap();
    world.say_of(
        OTHER,
        "job.subscribed",
        None,
        json!({"request_id": asked["id"], "current_status": "running", "history_from": 2, "replayed": false}),
    );
    assert_eq!(world.told(), [format!("subscribed 1 {OTHER}")]);
    world.log(OTHER, 3, 3);
    assert_eq!(world.told(), [format!("gap {OTHER} 1..=2"), format!("event {OTHER} 3 log")]);
    // A second subscription changes nothing for the first.
    world.client.subscribe(world.now, &job(OTHER), Subscription::History).unwrap();
    world.log(OTHER, 4, 4);
    assert_eq!(world.told(), [format!("event {OTHER} 4 log")]);
}

#[test]
fn an_ended_subscription_takes_its_events_along() {
    let mut world = World::core();
    world.connect();
    world.client.subscribe(world.now, &job(JOB), Subscription::Live).unwrap();
    world.log(JOB, 1, 1);
    world.sent.clear();
    world.told();
    world.client.unsubscribe(world.now, &job(JOB));
    world.drain();
    let unsubscribe = world.next("job.unsubscribe");
    assert_eq!((&unsubscribe["job_id"], &unsubscribe["payload"]["job_id"]), (&json!(JOB), &json!(JOB)));
    assert_eq!(world.next("session.ack")["payload"]["last_processed_seq"], 1);
    world.log(JOB, 2, 2);
    assert!(world.told().is_empty());
}

#[test]
fn a_submitted_job_cannot_be_unsubscribed() {
    let mut world = World::core().with_job();
    world.client.unsubscribe(world.now, &job(JOB));
    world.drain();
    world.nothing_sent();
    world.log(JOB, 1, 1);
    assert_eq!(world.told(), [format!("event {JOB} 1 log")]);
}
