//! Lost connections, resumes, and what follows when a session cannot be continued.

use alloc::vec::Vec;
use core::time::Duration;
use std::format;
use std::string::ToString;

use serde_json::{Value, json};

use super::peer::{JOB, SESSION, World, job};
use crate::client::{ClientEvent, ClientState, ListQuery, ResumeState, Subscription};
use crate::config::ClientConfig;
use crate::feature::Features;
use crate::id::SessionId;
use crate::secret::Secret;

const SECOND: Duration = Duration::from_secs(1);
pub(super) const NEXT_SESSION: &str = "sess_01KZZSPQHVT4QJ3M8Y6D0R5W2Y";

pub(super) fn refuse(world: &mut World, code: &str) {
    world.feed(&json!({
        "arcp": "1.1", "id": "msg_r", "type": "session.error", "session_id": SESSION,
        "payload": {"code": code, "message": "m", "retryable": false},
    }));
}

/// A frame of the session that took the first one's place.
pub(super) fn say(world: &mut World, message_type: &str, job: &str, seq: Option<u64>, payload: Value) {
    world.feed(&json!({
        "arcp": "1.1", "id": "msg_r", "type": message_type, "session_id": NEXT_SESSION,
        "job_id": job, "event_seq": seq, "payload": payload,
    }));
}

pub(super) fn log(world: &mut World, job: &str, seq: u64, pos: u64) {
    say(world, "job.event", job, Some(seq), json!({"kind": "log", "pos": pos, "body": {}}));
}

/// The connection is lost, the session refused, another one open.
pub(super) fn fall_back(world: &mut World) {
    world.reopen();
    refuse(world, "RESUME_WINDOW_EXPIRED");
    let hello = world.open();
    assert!(hello["payload"]["resume"].is_null(), "{hello}");
    world.told();
    world.welcome(&hello, NEXT_SESSION);
}

#[test]
fn the_first_hello_is_the_published_superset() {
    let mut world = World::core();
    let hello = world.open();
    assert!(hello["session_id"].as_str().unwrap().starts_with("sess_"));
    let payload = &hello["payload"];
    assert_eq!(payload["client"]["name"], payload["client_name"]);
    assert_eq!(payload["auth"], json!({"scheme": "bearer", "token": "tk"}));
    assert_eq!(payload["capabilities"]["encodings"], json!(["json"]));
    assert!(["resume", "resume_token", "last_event_seq"].iter().all(|name| payload[name].is_null()));
    world.welcome(&hello, SESSION);
    assert_eq!(world.told(), [format!("connected {SESSION} resumed=false")]);
    assert_eq!(world.client.session_id().map(SessionId::as_str), Some(SESSION));
    assert_eq!(world.remembered.len(), 1);
}

#[test]
fn a_resume_says_everything_in_every_spelling() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    let hello = world.reopen();
    assert_eq!(hello["session_id"], SESSION);
    let payload = &hello["payload"];
    let block = json!({"session_id": SESSION, "resume_token": "rt_1", "token": "rt_1", "last_event_seq": 1});
    assert_eq!(payload["resume"], block);
    assert_eq!((&payload["resume_token"], &payload["last_event_seq"]), (&json!("rt_1"), &json!(1)));
    world.told();
    world.welcome(&hello, SESSION);
    assert_eq!(world.told(), [format!("connected {SESSION} resumed=true")]);
    assert_eq!(world.reopen()["payload"]["resume_token"], "rt_2");
}

#[test]
fn a_lost_welcome_costs_nothing() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    for _ in 0..5 {
        let hello = world.reopen();
        assert_eq!(hello["payload"]["resume"]["resume_token"], "rt_1");
        assert_eq!(hello["payload"]["resume"]["last_event_seq"], 1);
    }
}

#[test]
fn errors_that_may_pass_keep_the_session() {
    let mut world = World::core().with_job();
    for _ in 0..3 {
        world.reopen();
        world.told();
        refuse(&mut world, "INTERNAL_ERROR");
        assert_eq!(world.told(), ["error INTERNAL_ERROR"]);
        assert_eq!(world.client.state(), ClientState::Waiting);
    }
    let hello = world.reopen_after_close();
    assert_eq!(hello["payload"]["resume"]["resume_token"], "rt_1");
}

#[test]
fn nothing_is_sent_before_the_token_is_kept_then_requests_then_acknowledgements() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.taken(1);
    world.submit_with("k-2");
    let lost = world.sent.pop_back().unwrap();
    let hello = world.reopen();
    world.remembers = false;
    world.client.cancel(world.now, &job(JOB), None).unwrap();
    world.welcome(&hello, SESSION);
    world.say("session.ping", json!({"nonce": "n"}));
    world.log(JOB, 2, 2);
    world.taken(2);
    world.nothing_sent();
    assert_eq!(world.remembered.last().unwrap().resume_token.expose(), "rt_2");
    world.client.handle_remembered(world.now);
    world.drain();
    world.next("session.pong");
    let again = world.next("job.submit");
    assert_eq!((&again["payload"], &again["trace_id"]), (&lost["payload"], &lost["trace_id"]));
    assert_ne!(again["id"], lost["id"]);
    world.next("job.cancel");
    world.next("session.ack");
    world.nothing_sent();

    // The acceptance that was lost on the way comes again, under the id of the lost submit.
    world.told();
    world.say_of("job_2", "job.accepted", None, json!({"job_id": "job_2", "request_id": lost["id"]}));
    world.say_of("job_2", "job.accepted", None, json!({"job_id": "job_2", "request_id": again["id"]}));
    assert_eq!(world.told(), ["accepted 1 job_2"]);
}

#[test]
fn an_answer_about_an_earlier_token_opens_nothing() {
    let mut world = World::core();
    world.remembers = false;
    world.submit();
    world.connect();
    let hello = world.reopen();
    world.welcome(&hello, SESSION);
    world.client.handle_remembered(world.now);
    world.drain();
    world.nothing_sent();
    world.client.handle_remembered(world.now);
    world.drain();
    world.next("job.submit");
}

#[test]
fn time_does_not_run_for_requests_without_a_connection() {
    let mut world = World::core().with_job();
    world.submit_with("k-2");
    world.client.list_jobs(world.now, ListQuery::default()).unwrap();
    world.client.handle_closed(world.now);
    world.told();
    world.drain();
    world.told();
    world.pass(SECOND * 30);
    assert_eq!(world.client.state(), ClientState::Connecting);
    world.pass(SECOND * 300);
    assert!(world.told().is_empty());
    world.sent.clear();
    world.connect();
    world.next("job.submit");
    world.next("session.list_jobs");
    world.told();
    world.pass(SECOND * 9);
    assert!(world.told().is_empty());
    world.pass(SECOND);
    assert_eq!(world.told(), ["rejected 2 TimedOut"]);
}

#[test]
fn what_is_asked_early_is_sent_after_the_welcome() {
    let mut world = World::core();
    world.submit();
    world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
    world.drain();
    world.nothing_sent();
    world.connect();
    world.next("job.submit");
    world.next("job.subscribe");
    world.nothing_sent();
}

#[test]
fn a_session_that_cannot_be_continued_is_replaced_and_its_jobs_go_on() {
    let mut world = World::core().with_job();
    world.submit_with("k-2");
    world.accept("job_2");
    world.log(JOB, 1, 1);
    world.log(JOB, 2, 2);
    world.say_of("job_2", "job.result", Some(3), json!({"pos": 1, "final_status": "success", "result": 1}));
    world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
    world.drain();
    world.log("job_S", 4, 9);
    world.taken(1);
    world.sent.clear();

    world.reopen();
    world.told();
    let connects = world.connects;
    refuse(&mut world, "UNAUTHENTICATED");
    assert_eq!(world.connects, connects + 1, "the fresh hello does not wait");
    let hello = world.open();
    assert!(hello["payload"]["resume"].is_null() && hello["session_id"] != SESSION);
    world.welcome(&hello, NEXT_SESSION);
    assert_eq!(world.told(), [format!("connected {NEXT_SESSION} resumed=false")]);
    let again: Vec<_> = [world.next("job.submit"), world.next("job.subscribe")]
        .iter()
        .map(|frame| frame["payload"].clone())
        .collect();
    assert_eq!(again[0]["idempotency_key"], "k-1");
    assert_eq!(again[1], json!({"job_id": "job_S", "history": true, "from_pos": 9}));
    world.nothing_sent();
}

#[test]
fn repeats_after_a_change_of_session_are_not_told_again() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.log(JOB, 2, 2);
    world.taken(1);
    fall_back(&mut world);
    world.told();
    let submit = world.next("job.submit");
    say(&mut world, "job.accepted", JOB, None, json!({"job_id": JOB, "request_id": submit["id"]}));
    for (seq, pos) in [(1, 1), (2, 2), (3, 3)] {
        log(&mut world, JOB, seq, pos);
    }
    // Numbers go on rising: 1 and 2 were the first session's.
    assert_eq!(world.told(), [format!("event {JOB} 5 log")]);
    world.sent.clear();
    world.taken(5);
    world.pass(SECOND);
    world.nothing_sent();
    world.taken(2);
    assert_eq!(world.next("session.ack")["payload"]["last_processed_seq"], 3);
    let hello = world.reopen();
    assert_eq!(hello["payload"]["resume"]["last_event_seq"], 3);
    assert_eq!(hello["payload"]["resume"]["session_id"], NEXT_SESSION);
}

#[test]
fn a_subscribe_that_was_sent_more_than_once_is_told_once() {
    let mut config = ClientConfig::new("tk");
    config.other_jobs = true;
    let wait = config.request_timeout;
    let mut world = World::with(config, Features::SUPPORTED);
    world.connect();
    world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
    world.drain();
    let asked = world.next("job.subscribe");
    let answer = json!({"job_id": "job_S", "request_id": asked["id"], "current_status": "running"});
    world.say_of("job_S", "job.subscribed", None, answer);
    world.log("job_S", 1, 9);
    fall_back(&mut world);
    world.next("job.subscribe");
    // The answers are late. What the application asks for in vain does not end what goes on.
    world.client.subscribe(world.now, &job("job_S"), Subscription::History).unwrap();
    world.pass(wait);
    world.told();
    let end = json!({"pos": 11, "final_status": "success", "result": 1});
    for seq in [1, 4] {
        log(&mut world, "job_S", seq, 9);
        log(&mut world, "job_S", seq + 1, 10);
        say(&mut world, "job.result", "job_S", Some(seq + 2), end.clone());
    }
    let told = world.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("event job_S") && told[1].starts_with("ended job_S"), "{told:?}");
    world.sent.clear();
    world.pass(wait * 2);
    assert!(world.sent.iter().all(|frame| frame["type"] != "job.subscribe"), "nobody waits for it any more");
}

#[test]
fn a_runtime_that_forgot_the_key_runs_the_job_under_another_id() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.client.cancel(world.now, &job(JOB), None).unwrap();
    fall_back(&mut world);
    world.told();
    let submit = world.next("job.submit");
    // Only the owner may cancel, so the cancel waits for the submit.
    world.nothing_sent();
    say(&mut world, "job.accepted", "job_N", None, json!({"job_id": "job_N", "request_id": submit["id"]}));
    assert_eq!(world.next("job.cancel")["job_id"], "job_N");
    log(&mut world, "job_N", 1, 1);
    assert_eq!(world.told(), ["accepted 0 job_N", "event job_N 2 log"]);
}

#[test]
fn every_submit_of_a_forgotten_job_is_told_its_other_id() {
    let mut world = World::core().with_job();
    world.submit();
    world.accept(JOB);
    assert_eq!(world.told(), [format!("accepted 1 {JOB}")]);
    fall_back(&mut world);
    world.told();
    let submit = world.next("job.submit");
    world.nothing_sent();
    say(&mut world, "job.accepted", "job_N", None, json!({"job_id": "job_N", "request_id": submit["id"]}));
    assert_eq!(world.told(), ["accepted 0 job_N", "accepted 1 job_N"]);
}

#[test]
fn a_job_the_new_session_refuses_has_ended_unless_it_may_be_asked_again() {
    let mut world = World::core().with_job();
    fall_back(&mut world);
    world.told();
    let refusal =
        |submit: &Value, code: &str| json!({"code": code, "message": "m", "request_id": submit["id"]});
    let submit = world.next("job.submit");
    world.feed(&json!({"arcp": "1.1", "id": "m", "type": "session.error", "payload": refusal(&submit, "INTERNAL_ERROR")}));
    assert!(world.told().is_empty());
    world.pass(SECOND * 30);
    world.sent.retain(|frame| frame["type"] != "session.ping");
    let submit = world.next("job.submit");
    world.feed(&json!({"arcp": "1.1", "id": "m", "type": "session.error", "payload": refusal(&submit, "AGENT_NOT_AVAILABLE")}));
    let [ClientEvent::JobEnded { ended, .. }] = &world.events[..] else { panic!("{:?}", world.events) };
    assert_eq!(ended.error.as_ref().unwrap().code, "AGENT_NOT_AVAILABLE");
    assert_eq!(world.told(), [format!("ended {JOB} - error")]);
}

#[test]
fn abandoned_jobs_are_not_submitted_again() {
    let mut world = World::core().with_job();
    world.client.abandon(world.now, &job(JOB));
    fall_back(&mut world);
    world.nothing_sent();
}

#[test]
fn a_live_subscription_continues_behind_its_seam() {
    let mut world = World::core();
    world.connect();
    world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
    world.drain();
    let subscribe = world.next("job.subscribe");
    let seam = json!({"request_id": subscribe["id"], "current_status": "running", "subscribed_from": 84, "replayed": false});
    world.say_of("job_S", "job.subscribed", None, seam);
    fall_back(&mut world);
    let payload = json!({"job_id": "job_S", "history": true, "from_event_seq": 84});
    assert_eq!(world.next("job.subscribe")["payload"], payload);
}

#[test]
fn a_subscribe_without_an_answer_is_not_doubled() {
    let mut world = World::core();
    world.connect();
    world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
    fall_back(&mut world);
    assert_eq!(world.next("job.subscribe")["payload"], json!({"job_id": "job_S"}));
    world.nothing_sent();
    // It follows what has been seen since.
    log(&mut world, "job_S", 1, 4);
    world.client.handle_closed(world.now);
    world.reopen_after_close();
    refuse(&mut world, "RESUME_WINDOW_EXPIRED");
    world.connect();
    assert_eq!(
        world.next("job.subscribe")["payload"],
        json!({"job_id": "job_S", "history": true, "from_pos": 4})
    );
    world.nothing_sent();
}

#[test]
fn subscriptions_ended_without_a_connection_end_on_the_wire() {
    let mut world = World::core();
    world.connect();
    world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
    world.drain();
    let subscribe = world.next("job.subscribe");
    world.say_of(
        "job_S",
        "job.subscribed",
        None,
        json!({"request_id": subscribe["id"], "current_status": "running"}),
    );
    let hello = world.reopen();
    world.client.unsubscribe(world.now, &job("job_S"));
    world.welcome(&hello, SESSION);
    assert_eq!(world.next("job.unsubscribe")["job_id"], "job_S");

    world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
    world.drain();
    world.client.handle_closed(world.now);
    world.client.unsubscribe(world.now, &job("job_S"));
    world.drain();
    fall_back_after_close(&mut world);
    world.sent.retain(|frame| frame["type"] != "job.subscribe");
    world.nothing_sent();
}

fn fall_back_after_close(world: &mut World) {
    world.reopen_after_close();
    refuse(world, "RESUME_WINDOW_EXPIRED");
    let hello = world.open();
    world.welcome(&hello, NEXT_SESSION);
}

#[test]
fn a_bearer_that_is_refused_ends_it() {
    let mut world = World::core();
    world.open();
    refuse(&mut world, "UNAUTHENTICATED");
    assert_eq!(world.told(), ["closed Unauthenticated"]);
    assert_eq!((world.closes.len(), world.client.state()), (1, ClientState::Closed));

    let mut world = World::core().with_job();
    world.reopen();
    refuse(&mut world, "UNAUTHENTICATED");
    world.open();
    world.told();
    refuse(&mut world, "UNAUTHENTICATED");
    assert_eq!(world.told(), ["closed Unauthenticated"]);
    assert_eq!(world.client.poll_timeout(), None);
}

#[test]
fn another_refusal_of_a_fresh_hello_ends_it_too() {
    let mut world = World::core();
    world.open();
    world.feed(
        &json!({"arcp": "1.1", "id": "m", "type": "job.error", "payload": {"code": "INVALID_REQUEST"}}),
    );
    assert_eq!(world.told(), ["closed Refused"]);
}

#[test]
fn what_ends_a_connection_in_mid_session() {
    for (message_type, payload, told) in [
        ("session.bye", json!({"reason": "runtime_shutdown"}), &["disconnected"][..]),
        ("session.closed", json!({}), &["disconnected"]),
        ("session.error", json!({"code": "HEARTBEAT_LOST"}), &["error HEARTBEAT_LOST", "disconnected"]),
        ("session.error", json!({"code": "UNAUTHENTICATED"}), &["error UNAUTHENTICATED", "disconnected"]),
    ] {
        let mut world = World::core().with_job();
        world.say(message_type, payload);
        assert_eq!(world.told(), told);
        let hello = world.reopen_after_close();
        assert_eq!(hello["payload"]["resume"]["session_id"], SESSION);
    }
}

#[test]
fn an_error_that_answers_another_request_ends_no_connection() {
    for code in ["UNAUTHENTICATED", "HEARTBEAT_LOST", "INTERNAL_ERROR"] {
        let mut world = World::core().with_job();
        world.say("session.error", json!({"code": code, "message": "m", "request_id": "msg_long_answered"}));
        assert_eq!(world.told(), [format!("error {code}")]);
        assert_eq!(world.client.state(), ClientState::Connected);
    }
}

#[test]
fn a_taken_over_session_stays_with_its_taker() {
    let mut world = World::core().with_job();
    let request = world.submit_with("k-2");
    let details = json!({"reason": "taken_over"});
    world.say("session.error", json!({"code": "UNAUTHENTICATED", "message": "m", "details": details}));
    assert_eq!(world.told(), [format!("rejected {} SessionClosed", request.0), "closed TakenOver".into()]);
    world.pass(SECOND * 600);
    assert_eq!(world.connects, 1);
}

#[test]
fn a_welcome_into_another_session_starts_over() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    let hello = world.reopen();
    world.told();
    world.welcome(&hello, NEXT_SESSION);
    assert_eq!(world.told(), [format!("connected {NEXT_SESSION} resumed=false")]);
    assert_eq!(world.next("job.submit")["payload"]["idempotency_key"], "k-1");
    log(&mut world, JOB, 1, 2);
    assert_eq!(world.told(), [format!("event {JOB} 2 log")]);
}

#[test]
fn a_session_without_a_token_is_not_resumed() {
    let mut world = World::core();
    world.open();
    world.feed(&json!({
        "arcp": "1.1", "id": "w", "type": "session.welcome", "session_id": SESSION,
        "payload": {"capabilities": {"features": ["ack"]}},
    }));
    assert!(world.remembered.is_empty() && world.client.resume_state().is_none());
    world.submit();
    world.accept(JOB);
    world.log(JOB, 2, 2);
    let told = world.told();
    assert_eq!(
        told[2..],
        ["gap 1..=1".to_string(), format!("event {JOB} 2 log")],
        "there is no resume to fill it"
    );
    let hello = world.reopen();
    assert!(hello["payload"]["resume"].is_null());
    assert_ne!(hello["session_id"], SESSION);
    world.welcome(&hello, NEXT_SESSION);
    world.next("job.submit");
}

#[test]
fn a_session_of_an_earlier_process_is_continued() {
    let mut config = ClientConfig::new("tk");
    config.resume = Some(ResumeState {
        session_id: SessionId::new(SESSION).unwrap(),
        resume_token: Secret::new("rt_old"),
        last_event_seq: 41,
    });
    let mut world = World::with(config.clone(), Features::SUPPORTED);
    let hello = world.open();
    assert_eq!(hello["payload"]["resume"]["last_event_seq"], 41);
    world.welcome(&hello, SESSION);
    world.log(JOB, 42, 9);
    assert_eq!(world.told(), [format!("connected {SESSION} resumed=true"), format!("event {JOB} 42 log")]);
    assert_eq!(world.client.resume_state().unwrap().last_event_seq, 41, "42 is not taken");
    world.taken(42);
    assert_eq!(world.client.resume_state().unwrap().last_event_seq, 42);

    let mut world = World::with(config, Features::SUPPORTED);
    world.open();
    refuse(&mut world, "RESUME_WINDOW_EXPIRED");
    let hello = world.open();
    assert!(hello["payload"]["resume"].is_null());
    world.welcome(&hello, NEXT_SESSION);
    assert_eq!(world.told(), [format!("connected {NEXT_SESSION} resumed=false")]);
}

#[test]
fn a_repeated_subscribe_does_not_miss_an_end_that_its_answer_overtakes() {
    let mut world = World::core();
    world.connect();
    world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
    world.drain();
    world.log("job_S", 1, 5);
    let hello = world.reopen();
    world.told();
    world.welcome(&hello, SESSION);
    world.told();
    let over = |request: &Value| json!({"request_id": request["id"], "current_status": "success", "replayed": false});
    let second = world.next("job.subscribe");
    world.say_of("job_S", "job.subscribed", None, over(&second));
    assert!(world.told().is_empty());
    let third = world.next("job.subscribe");
    assert_eq!(third["payload"], json!({"job_id": "job_S", "history": true, "from_pos": 5}));
    world.say_of("job_S", "job.subscribed", None, over(&third));
    world.end("job_S", 2, 6);
    assert_eq!(world.told(), ["subscribed 0 job_S", "ended job_S 2 success"]);
}

#[test]
fn an_acknowledgement_that_may_be_lost_is_given_again() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.taken(1);
    world.next("session.ack");
    let hello = world.reopen();
    world.welcome(&hello, SESSION);
    assert_eq!(world.next("session.ack")["payload"]["last_processed_seq"], 1);
    world.nothing_sent();
}

#[test]
fn history_that_no_longer_reaches_back_is_reported_once() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.log(JOB, 2, 2);
    fall_back(&mut world);
    world.told();
    let submit = world.next("job.submit");
    say(&mut world, "job.accepted", JOB, None, json!({"job_id": JOB, "request_id": submit["id"]}));
    for (seq, pos) in [(1, 2), (2, 6), (3, 7)] {
        log(&mut world, JOB, seq, pos);
    }
    let told = [format!("gap {JOB} 3..=5"), format!("event {JOB} 4 log"), format!("event {JOB} 5 log")];
    assert_eq!(world.told(), told);
}
