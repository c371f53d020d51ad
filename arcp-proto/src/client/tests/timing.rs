//! Heartbeats, deadlines, goodbyes.

use alloc::string::String;
use core::time::Duration;
use std::format;

use serde_json::json;

use super::peer::{JOB, SESSION, World, job};
use crate::client::{ClientState, Timer};
use crate::close::CloseCode;
use crate::config::ClientConfig;
use crate::feature::{Feature, Features};
use crate::wire::peer::TransportKind;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[test]
fn silence_is_broken_and_noticed() {
    let mut world = World::core();
    world.connect();
    world.pass(MS * 22_499);
    world.nothing_sent();
    world.pass(MS);
    let ping = world.next("session.ping");
    assert!(ping["payload"]["nonce"].as_str().unwrap().starts_with("p_"));
    assert_eq!(ping["payload"]["sent_at"], "2026-08-14T09:30:22.500Z");
    world.say("session.pong", json!({"ping_nonce": ping["payload"]["nonce"]}));
    world.pass(MS * 59_999);
    assert_eq!(world.client.state(), ClientState::Connected);
    world.told();
    world.pass(MS);
    assert_eq!(world.told(), ["disconnected"]);
    assert_eq!(world.client.state(), ClientState::Waiting);
}

#[test]
fn what_is_sent_puts_the_ping_off_and_what_comes_does_not() {
    let mut world = World::core();
    world.connect();
    world.pass(SECOND * 20);
    world.say("session.pong", json!({}));
    world.pass(MS * 2_499);
    world.nothing_sent();
    world.pass(MS);
    world.next("session.ping");
    world.pass(SECOND * 20);
    world.say("session.pong", json!({}));
    world.submit();
    world.next("job.submit");
    world.pass(MS * 22_499);
    world.nothing_sent();
    world.pass(MS);
    world.next("session.ping");
}

#[test]
fn what_is_taken_is_no_sign_of_life() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.pass(SECOND * 59);
    world.taken(1);
    world.pass(SECOND);
    assert_eq!(world.client.state(), ClientState::Waiting);
}

#[test]
fn any_frame_is_a_sign_of_life() {
    let mut world = World::core();
    world.connect();
    for _ in 0..10 {
        world.pass(SECOND * 59);
        world.feed_text("not even JSON");
    }
    assert_eq!(world.client.state(), ClientState::Connected);
}

#[test]
fn pings_are_answered_ahead_of_everything_ten_in_a_second() {
    let mut world = World::core();
    world.remembers = false;
    world.connect();
    world.submit();
    for _ in 0..12 {
        world.say("session.ping", json!({"nonce": "n"}));
    }
    world.nothing_sent();
    world.client.handle_remembered(world.now);
    world.drain();
    for _ in 0..10 {
        assert_eq!(world.next("session.pong")["payload"]["ping_nonce"], "n");
    }
    world.next("job.submit");
    world.nothing_sent();
    assert_eq!(world.client.ignored_frames(), 2);
    world.pass(SECOND);
    world.say("session.ping", json!({"nonce": "m"}));
    world.next("session.pong");
}

#[test]
fn pings_are_answered_even_without_the_feature() {
    let mut world = World::with(ClientConfig::new("tk"), Features::NONE);
    world.connect();
    assert_eq!(world.client.next_timer(), None);
    world.say("session.ping", json!({"nonce": "n"}));
    world.next("session.pong");
}

#[test]
fn no_welcome_is_a_failed_attempt() {
    let mut world = World::core();
    world.open();
    assert_eq!(world.client.next_timer().map(|(_, timer)| timer), Some(Timer::Welcome));
    world.pass(SECOND * 10 - MS);
    assert!(world.closes.is_empty());
    world.pass(MS);
    assert_eq!(world.closes, [CloseCode::Normal]);
    assert!(world.told().is_empty());
    world.pass(SECOND);
    assert_eq!(world.connects, 2);
}

#[test]
fn attempts_are_spaced_wider_and_wider_until_there_is_progress() {
    let mut world = World::core();
    let mut bound = 200;
    for _ in 0..10 {
        world.client.handle_closed(world.now);
        let at = world.client.poll_timeout().unwrap();
        assert!(at.since(world.now.mono) <= MS * bound, "{:?} over {bound}", at.since(world.now.mono));
        let connects = world.connects;
        world.pass(MS * bound);
        assert_eq!(world.connects, connects + 1);
        bound = (bound * 2).min(30_000);
    }
    // A welcome alone is no progress.
    world.connect();
    assert!(world.client.backoff_of_next_loss() > 5_000);
    world.submit();
    assert!(world.client.backoff_of_next_loss() > 5_000);
    world.accept(JOB);
    assert!(world.client.backoff_of_next_loss() <= 200);
}

#[test]
fn attempts_can_be_counted_and_hurried() {
    let mut config = ClientConfig::new("tk");
    config.max_attempts = Some(2);
    let mut world = World::with(config, Features::SUPPORTED);
    world.client.handle_closed(world.now);
    world.client.reconnect_now(world.now);
    world.drain();
    assert_eq!(world.connects, 2);
    let request = world.submit();
    world.client.handle_closed(world.now);
    world.drain();
    assert_eq!(world.told(), [format!("rejected {} SessionClosed", request.0), "closed GaveUp".into()]);
}

#[test]
fn a_hurried_attempt_follows_at_once_on_a_transport_that_is_being_closed() {
    let mut world = World::core().with_job();
    world.client.handle_oversized(world.now);
    assert_eq!(world.client.state(), ClientState::Reconnecting);
    world.client.reconnect_now(world.now);
    world.drain();
    assert_eq!((world.client.state(), world.connects), (ClientState::Connecting, 2));
}

#[test]
fn a_graceful_close_acknowledges_says_goodbye_and_waits_for_the_answer() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.log(JOB, 2, 2);
    world.taken(1);
    world.next("session.ack");
    world.taken(2);
    world.told();
    let request = world.client.cancel(world.now, &job(JOB), None).unwrap();
    world.client.close(world.now, Some("operator quit".into()));
    world.drain();
    world.next("job.cancel");
    assert_eq!(world.next("session.ack")["payload"]["last_processed_seq"], 2);
    assert_eq!(world.next("session.close")["payload"], json!({"reason": "operator quit"}));
    assert!(world.closes.is_empty());
    assert!(
        world
            .client
            .submit(world.now, crate::client::Submission::new("a", crate::wire::RawJson::null()))
            .is_err()
    );
    world.log(JOB, 3, 3);
    assert!(world.told().is_empty());
    world.say("session.closed", json!({"reason": "operator quit"}));
    assert_eq!(world.closes, [CloseCode::Normal]);
    assert_eq!(world.told(), [format!("rejected {} SessionClosed", request.0), "closed Requested".into()]);
    world.nothing_sent();
    assert_eq!(world.client.poll_timeout(), None);
    let state = world.client.resume_state().unwrap();
    assert_eq!((state.session_id.as_str(), state.last_event_seq), (SESSION, 2));
}

#[test]
fn a_goodbye_without_an_answer() {
    for (mut world, last_words) in [(World::core(), None), (World::stranger(), Some("session.bye"))] {
        for answer in ["silence", "error"] {
            world.connect();
            world.client.close(world.now, None);
            world.drain();
            world.next("session.close");
            match answer {
                "silence" => {
                    world.pass(SECOND - MS);
                    assert!(world.closes.is_empty());
                    world.pass(MS);
                }
                _ => world.say("session.error", json!({"code": "INVALID_REQUEST", "message": "m"})),
            }
            if let Some(last_words) = last_words {
                world.next(last_words);
            }
            world.nothing_sent();
            assert_eq!(world.closes, [CloseCode::Normal], "{answer}");
            assert_eq!(world.client.state(), ClientState::Closed);
            world = match last_words {
                None => World::core(),
                Some(_) => World::stranger(),
            };
        }
    }
}

#[test]
fn without_a_session_a_close_is_done_at_once() {
    let mut world = World::core();
    let request = world.submit();
    world.client.close(world.now, None);
    world.drain();
    assert_eq!(world.told(), [format!("rejected {} SessionClosed", request.0), "closed Requested".into()]);
    world.client.handle_open(world.now, TransportKind::Memory);
    world.drain();
    assert_eq!(world.closes, [CloseCode::Normal]);
    world.nothing_sent();

    let mut world = World::core();
    world.open();
    world.client.close(world.now, None);
    world.drain();
    assert_eq!((world.closes.len(), world.told()), (1, alloc::vec![String::from("closed Requested")]));
}

#[test]
fn oversized_frames_are_malformed_lines_or_the_end_of_the_transport() {
    let mut world = World::core();
    world.transport = TransportKind::Lines;
    world.connect();
    world.client.handle_oversized(world.now);
    world.drain();
    assert_eq!((world.client.state(), world.client.ignored_frames()), (ClientState::Connected, 1));

    for transport in [TransportKind::WebSocket, TransportKind::Memory] {
        let mut world = World::core();
        world.transport = transport;
        world.connect();
        world.client.handle_oversized(world.now);
        world.drain();
        assert_eq!(world.closes, [CloseCode::TooLarge]);
    }
    let mut world = World::core();
    world.transport = TransportKind::Lines;
    world.open();
    world.client.handle_oversized(world.now);
    world.drain();
    assert_eq!(world.closes, [CloseCode::TooLarge]);
}

#[test]
fn inputs_that_do_not_fit_do_nothing() {
    let mut world = World::stranger().with_job();
    world.features = world.features.without(Feature::Heartbeat);
    let before = format!("{:?}", world.client);
    assert!(before.contains("Connected") && before.contains(SESSION), "{before}");
    world.client.handle_timeout(world.now);
    world.client.handle_remembered(world.now);
    world.client.handle_open(world.now, TransportKind::Memory);
    world.client.reconnect_now(world.now);
    world.client.taken(world.now, 77);
    world.client.abandon(world.now, &job("job_X"));
    world.client.unsubscribe(world.now, &job("job_X"));
    world.drain();
    assert_eq!(format!("{:?}", world.client), before);
    assert!(world.told().is_empty());
    world.nothing_sent();
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let run = || {
        let mut world = World::core().with_job();
        world.log(JOB, 1, 1);
        world.taken(1);
        world.reopen();
        world.pass(SECOND * 200);
        format!("{:?} {:?}", world.sent, world.client)
    };
    assert_eq!(run(), run());
}
