//! What numbers mean, runtime by runtime (protocol §4.2).

use std::format;
use std::string::ToString;

use serde_json::{Value, json};

use super::super::peer::{JOB, World, job};
use super::{OTHER, PROFILES, configured, welcome, with, with_job};
use crate::client::{ClientEvent, Subscription};
use crate::config::ClientConfig;
use crate::wire::peer::PeerProfile;

#[test]
fn what_a_gap_leads_to() {
    for profile in PROFILES {
        let mut world = with_job(profile);
        world.log(JOB, 1, 1);
        world.log(JOB, 4, 2);
        let told = world.told();
        let event = |number: u64| format!("event {JOB} {number} log");
        match profile {
            PeerProfile::Go => assert_eq!(told, [event(1), "gap 2..=3".to_string(), event(4)]),
            PeerProfile::Ruby => assert_eq!(told, [1, 4].map(|_| format!("event {JOB} - log"))),
            _ => assert_eq!(told, [event(1), "disconnected".to_string()], "{profile:?}"),
        }
    }
}

#[test]
fn what_a_go_runtime_sends_out_of_turn_is_handed_on() {
    let mut world = with_job(PeerProfile::Go);
    for seq in [1, 3, 1, 2, 2, 3, 4] {
        world.say_of(JOB, "job.event", Some(seq), json!({"kind": "log", "body": {"message": "x"}}));
    }
    let event = |number: &str| format!("event {JOB} {number} log");
    assert_eq!(world.told(), [event("1"), "gap 2..=2".to_string(), event("3"), event("-"), event("4")]);
    assert_eq!(world.reopen()["payload"]["last_event_seq"], 4);
}

#[test]
fn jobs_that_count_on_their_own_lose_and_repeat_nothing() {
    let mut world = with_job(PeerProfile::Ruby);
    let event = |world: &mut World, job: &str, seq: u64| {
        world.say_of(job, "job.event", Some(seq), json!({"kind": "log", "body": {"message": "x"}}));
        world.told()
    };
    let heard = |job: &str| [format!("event {job} - log")];
    for seq in 1..=3 {
        assert_eq!(event(&mut world, JOB, seq), heard(JOB));
    }
    // Another job starts at one, before its acceptance.
    world.submit_with("k-2");
    assert_eq!(event(&mut world, OTHER, 1), [""; 0]);
    world.sent.retain(|frame| frame["type"] == "job.submit");
    world.accept(OTHER);
    assert_eq!(world.told(), [format!("accepted 1 {OTHER}"), format!("event {OTHER} - log")]);
    assert_eq!(world.reopen()["payload"]["last_event_seq"], 0, "it would hide what others have not sent");
    world.feed(&welcome(PeerProfile::Ruby));
    world.told();
    for (job, seq) in [(JOB, 1), (JOB, 2), (OTHER, 1), (JOB, 3)] {
        assert_eq!(event(&mut world, job, seq), [""; 0], "it was here before");
    }
    assert_eq!(event(&mut world, OTHER, 2), heard(OTHER));
    assert_eq!(world.client.ignored_frames(), 4);
    world.say_of(JOB, "job.result", None, json!({"job_id": JOB, "final_status": "success", "result": 1}));
    assert_eq!(world.told(), [format!("ended {JOB} - success")]);
    world.sent.retain(|frame| frame["type"] == "session.ack");
    world.nothing_sent();
}

#[test]
fn followed_jobs_of_a_python_runtime_have_numbers_of_another_stream() {
    for profile in [PeerProfile::Python113, PeerProfile::PythonNewer] {
        let mut world = with_job(profile);
        world.log(JOB, 1, 1);
        world.client.subscribe(world.now, &job(OTHER), Subscription::History).unwrap();
        world.drain();
        let subscribe = world.sent.pop_back().expect("a subscribe");
        // History before the answer.
        world.log(OTHER, 1, 1);
        world.log(OTHER, 40, 2);
        let payload = json!({"request_id": subscribe["id"], "job_id": OTHER, "replayed": 2, "current_status": "running"});
        world.say_of(OTHER, "job.subscribed", None, payload);
        world.log(OTHER, 41, 3);
        world.log(JOB, 2, 2);
        assert_eq!(
            world.told(),
            [
                format!("event {JOB} 1 log"),
                format!("event {OTHER} - log"),
                format!("event {OTHER} - log"),
                format!("subscribed 1 {OTHER}"),
                format!("event {OTHER} - log"),
                format!("event {JOB} 2 log"),
            ],
            "{profile:?}"
        );
        // What was under way when the subscription ended is no gap either.
        world.client.unsubscribe(world.now, &job(OTHER));
        world.log(OTHER, 42, 4);
        world.log(JOB, 3, 3);
        assert_eq!(world.told(), [format!("event {JOB} 3 log")], "{profile:?}");
        world.log(JOB, 5, 5);
        assert_eq!(world.told(), ["disconnected"], "{profile:?}: its own jobs are tracked");
    }
}

#[test]
fn a_terminal_kept_from_the_session_before_ends_its_job() {
    for number in [1, 900] {
        let mut world = with_job(PeerProfile::Python113);
        world.log(JOB, 1, 1);
        world.reopen();
        world.feed(&json!({
            "arcp": "1.1", "id": "m", "type": "session.error", "payload": {"code": "INVALID_REQUEST"},
        }));
        world.open();
        world.feed(&welcome(PeerProfile::Python113));
        world.told();
        let submit = world.sent.pop_back().expect("it is submitted again");
        world.say_of(JOB, "job.accepted", None, json!({"job_id": JOB, "request_id": submit["id"]}));
        let payload = json!({"final_status": "success", "result": 1, "completed_at": "2026-08-14T09:41:00Z"});
        world.say_of(JOB, "job.result", Some(number), payload);
        let seq = if number == 1 { "2" } else { "-" };
        assert_eq!(world.told(), [format!("ended {JOB} {seq} success")]);
    }
}

#[test]
fn frames_kept_from_another_session_answer_a_submit_made_again() {
    for (profile, takes_them, number) in [
        (PeerProfile::Python113, true, 1),
        (PeerProfile::PythonNewer, true, 900),
        (PeerProfile::Unknown, false, 1),
    ] {
        let mut world = with(profile);
        world.submit();
        let submit = world.sent.pop_back().expect("a submit");
        let mut kept = |message_type: &str, seq: Option<u64>, payload: Value| {
            let mut frame = json!({
                "arcp": "1.1", "id": "m", "type": message_type, "session_id": "sess_01KZZSPQHVT4QJ3M8Y6D0R5W2Y",
                "job_id": JOB, "payload": payload,
            });
            if let Some(seq) = seq {
                frame["event_seq"] = seq.into();
            }
            world.feed(&frame);
        };
        kept("job.accepted", None, json!({"job_id": JOB, "request_id": submit["id"]}));
        kept("job.result", Some(number), json!({"final_status": "success", "result": 1}));
        kept("session.bye", None, json!({"reason": "of another session"}));
        let told = world.told();
        if takes_them {
            let seq = if number == 1 { "1" } else { "-" };
            assert_eq!(told, [format!("accepted 0 {JOB}"), format!("ended {JOB} {seq} success")]);
            world.submit_with("k-2");
            world.sent.retain(|frame| frame["type"] == "job.submit");
            world.accept(OTHER);
            // The next number is of this stream, any other is not.
            let next = if number == 1 { 2 } else { 1 };
            world.log(OTHER, next, 1);
            assert_eq!(world.told()[1..], [format!("event {OTHER} {next} log")]);
        } else {
            assert_eq!(told, [""; 0]);
        }
    }
}

#[test]
fn a_terminal_kept_from_this_session_ends_its_job_again() {
    let mut world = with_job(PeerProfile::Python113);
    let end = |world: &mut World| {
        world.say_of(JOB, "job.result", Some(1), json!({"final_status": "success", "result": 1}));
        world.told()
    };
    assert_eq!(end(&mut world), [format!("ended {JOB} 1 success")]);
    assert_eq!(end(&mut world), [""; 0], "a repeat");
    world.submit_with("k-1");
    world.sent.retain(|frame| frame["type"] == "job.submit");
    world.accept(JOB);
    world.told();
    assert_eq!(end(&mut world), [format!("ended {JOB} - success")]);
}

#[test]
fn before_a_submit_made_again_is_accepted_a_kept_terminal_is_a_repeat() {
    let mut world = with_job(PeerProfile::Python113);
    for ignored in [0, 1] {
        world.say_of(JOB, "job.result", Some(1), json!({"final_status": "success", "result": 1}));
        assert_eq!(world.client.ignored_frames(), ignored);
        world.submit_with("k-1");
    }
}

#[test]
fn of_its_own_jobs_a_python_runtime_numbers_everything_in_turn() {
    // One that is followed as well stays its own.
    let mut world = with_job(PeerProfile::Python113);
    world.client.subscribe(world.now, &job(JOB), Subscription::Live).unwrap();
    world.log(JOB, 1, 1);
    assert_eq!(world.told(), [format!("event {JOB} 1 log")]);
    // An end behind a gap is no terminal that was kept, in the session in which the job was submitted.
    world.end(JOB, 3, 3);
    assert_eq!(world.told(), ["disconnected"]);
}

#[test]
fn so_many_ended_subscriptions_are_known() {
    let mut world = with_job(PeerProfile::Python113);
    let name = |number: u64| format!("job_{number:04}");
    for number in 1..=1_025 {
        world.client.subscribe(world.now, &job(&name(number)), Subscription::Live).unwrap();
        world.client.unsubscribe(world.now, &job(&name(number)));
    }
    world.log(&name(1_024), 40, 1);
    assert_eq!(world.told(), [""; 0]);
    world.log(&name(1_025), 40, 1);
    assert_eq!(world.told(), ["disconnected"]);
}

#[test]
fn a_ruby_runtime_shows_followers_the_session_of_the_submitter() {
    let mut world = with(PeerProfile::Ruby);
    world.client.subscribe(world.now, &job(OTHER), Subscription::History).unwrap();
    world.drain();
    world.feed(&json!({
        "arcp": "1.1", "id": "m", "type": "job.event", "session_id": "ses_theirs", "job_id": OTHER, "event_seq": 1,
        "payload": {"kind": "log", "body": {"message": "x"}},
    }));
    assert_eq!(world.told(), [format!("event {OTHER} - log")]);
}

#[test]
fn a_numbered_cancelled_counts() {
    for profile in [PeerProfile::Java, PeerProfile::Go] {
        let mut world = with_job(profile);
        world.client.cancel(world.now, &job(JOB), None).unwrap();
        world.drain();
        world.say_of(JOB, "job.cancelled", Some(1), json!({}));
        world.say_of(
            JOB,
            "job.error",
            Some(2),
            json!({"code": "CANCELLED", "final_status": "cancelled", "retryable": false}),
        );
        assert_eq!(
            world.told(),
            ["cancelled 1 -".to_string(), format!("ended {JOB} 2 cancelled")],
            "{profile:?}"
        );
    }
}

#[test]
fn frames_whose_numbers_do_not_count_fill_the_application_too() {
    let mut config = ClientConfig::new("tk");
    config.untaken_events = 2;
    let mut world = configured(PeerProfile::Python113, config);
    world.client.subscribe(world.now, &job(OTHER), Subscription::Live).unwrap();
    world.log(OTHER, 40, 1);
    assert!(world.client.may_read());
    world.log(OTHER, 41, 2);
    assert!(!world.client.may_read());
    let Some(ClientEvent::JobEvent { seq: Some(seq), .. }) = world.events.pop() else { panic!("an event") };
    world.sent.clear();
    world.taken(seq);
    assert!(world.client.may_read());
    world.nothing_sent();
}
