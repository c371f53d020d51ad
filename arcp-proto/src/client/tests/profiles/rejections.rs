//! How runtimes refuse requests, and what is no refusal (protocol §3.8).

use std::format;

use serde_json::{Value, json};

use super::super::peer::{JOB, SESSION, World, job};
use super::{FRESH, OTHER, SECOND, vector, with, with_job};
use crate::client::Subscription;
use crate::wire::peer::PeerProfile;

/// A `job.error` of this code, as TypeScript writes it: with a number.
fn rejects(world: &mut World, job: &str, seq: u64, code: &str) {
    let payload = json!({"final_status": "error", "code": code, "message": "m", "retryable": false});
    world.say_of(job, "job.error", Some(seq), payload);
}

#[test]
fn a_rejection_on_a_fresh_id_answers_the_submit() {
    let mut world = with(PeerProfile::TypeScript);
    world.submit();
    rejects(&mut world, FRESH, 1, "AGENT_NOT_AVAILABLE");
    assert_eq!(world.told(), ["rejected 0 AGENT_NOT_AVAILABLE"]);
    // Its number counted.
    world.submit_with("k-2");
    world.sent.clear();
    rejects(&mut world, FRESH, 2, "INVALID_REQUEST");
    assert_eq!(world.told(), ["rejected 1 INVALID_REQUEST"]);
}

#[test]
fn a_rejection_on_a_live_id_ends_no_job() {
    let mut world = with_job(PeerProfile::TypeScript);
    world.submit_with("k-1");
    rejects(&mut world, JOB, 1, "DUPLICATE_KEY");
    assert_eq!(world.told(), ["rejected 1 DUPLICATE_KEY"]);
    let mut seq = 1;
    for code in ["JOB_NOT_FOUND", "PERMISSION_DENIED"] {
        for id in [JOB, OTHER] {
            seq += 1;
            let request = if id == JOB {
                world.client.cancel(world.now, &job(JOB), None).unwrap()
            } else {
                world.client.subscribe(world.now, &job(OTHER), Subscription::Live).unwrap()
            };
            world.drain();
            rejects(&mut world, id, seq, code);
            assert_eq!(world.told(), [format!("rejected {} {code}", request.0)]);
        }
    }
    rejects(&mut world, FRESH, seq + 1, "JOB_NOT_FOUND");
    assert!(world.told().is_empty(), "nobody asked about that");
    world.end(JOB, seq + 2, 1);
    assert_eq!(world.told(), [format!("ended {JOB} {} success", seq + 2)]);
}

#[test]
fn with_nothing_pending_that_it_could_answer_a_job_error_is_an_end() {
    for code in ["DUPLICATE_KEY", "JOB_NOT_FOUND", "PERMISSION_DENIED", "INTERNAL_ERROR"] {
        let mut world = with_job(PeerProfile::TypeScript);
        rejects(&mut world, JOB, 1, code);
        assert_eq!(world.told(), [format!("ended {JOB} 1 error")], "{code}");
    }
    // A cancel may cross with a failure that has nothing to do with it.
    let mut world = with_job(PeerProfile::TypeScript);
    world.client.cancel(world.now, &job(JOB), None).unwrap();
    world.drain();
    rejects(&mut world, JOB, 1, "INTERNAL_ERROR");
    assert_eq!(world.told().last(), Some(&format!("ended {JOB} 1 error")));
}

#[test]
fn a_submit_is_answered_on_an_id_nobody_has_heard_of_and_on_no_live_one() {
    for code in ["JOB_NOT_FOUND", "PERMISSION_DENIED", "INTERNAL_ERROR"] {
        let mut world = with_job(PeerProfile::TypeScript);
        world.submit_with("k-2");
        rejects(&mut world, FRESH, 1, code);
        assert_eq!(world.told(), [format!("rejected 1 {code}")]);

        let mut world = with_job(PeerProfile::TypeScript);
        world.submit_with("k-2");
        rejects(&mut world, JOB, 1, code);
        assert_eq!(world.told(), [format!("ended {JOB} 1 error")], "{code}");
    }
}

#[test]
fn an_acceptance_answers_the_submit_whose_trace_it_bears() {
    let mut world = with(PeerProfile::Ruby);
    world.submit_with("k-1");
    world.submit_with("k-2");
    let second = world.sent.pop_back().expect("both are on their way");
    world.feed(&json!({
        "arcp": "1.1", "id": "m", "type": "job.accepted", "session_id": SESSION, "job_id": OTHER,
        "trace_id": second["trace_id"], "payload": {"job_id": OTHER},
    }));
    assert_eq!(world.told(), [format!("accepted 1 {OTHER}")]);
}

#[test]
fn elsewhere_a_number_makes_a_job_error_an_end() {
    for profile in [PeerProfile::Unknown, PeerProfile::Go, PeerProfile::PythonNewer] {
        let mut world = with_job(profile);
        world.submit_with("k-2");
        rejects(&mut world, JOB, 1, "DUPLICATE_KEY");
        assert_eq!(world.told(), [format!("ended {JOB} 1 error")], "{profile:?}");
    }
}

#[test]
fn an_error_that_names_nothing_answers_the_only_request() {
    let mut world = with(PeerProfile::Python113);
    world.submit();
    let mut error = vector("error-python-null-details-uncorrelated");
    error["session_id"] = SESSION.into();
    world.feed(&error);
    assert_eq!(world.told(), ["rejected 0 AGENT_NOT_AVAILABLE"]);
}

#[test]
fn an_echo_answers_the_request_whose_id_it_bears() {
    let mut world = with_job(PeerProfile::Java);
    world.client.cancel(world.now, &job(JOB), None).unwrap();
    world.submit_with("k-2");
    let payload =
        json!({"final_status": "error", "code": "JOB_NOT_FOUND", "message": "no job", "retryable": false});
    for (message_type, job) in [("job.cancel", json!(JOB)), ("job.submit", Value::Null)] {
        let request =
            world.sent.iter().find(|frame| frame["type"] == message_type).expect("it was sent").clone();
        world.feed(&json!({
            "arcp": "1.1", "id": request["id"], "type": "job.error", "session_id": SESSION, "job_id": job,
            "payload": payload,
        }));
    }
    assert_eq!(world.told(), ["rejected 1 JOB_NOT_FOUND", "rejected 2 JOB_NOT_FOUND"]);
}

#[test]
fn a_job_error_that_names_its_request_answers_it() {
    let mut world = with_job(PeerProfile::Ruby);
    world.client.cancel(world.now, &job(JOB), None).unwrap();
    world.drain();
    let cancel = world.sent.pop_back().expect("a cancel");
    let payload =
        json!({"job_id": JOB, "final_status": "error", "code": "JOB_NOT_FOUND", "reply_to": cancel["id"]});
    world.say_of(JOB, "job.error", None, payload);
    assert_eq!(world.told(), ["rejected 1 JOB_NOT_FOUND"]);
}

#[test]
fn a_go_runtime_that_still_accepts_the_first_copy_is_asked_again() {
    let fail = |world: &mut World| {
        let mut submits = world.sent.drain(..).filter(|frame| frame["type"] == "job.submit");
        let submit = submits.next_back().expect("a submit");
        drop(submits);
        let payload = json!({"code": "INTERNAL_ERROR", "request_id": submit["id"], "retryable": true});
        world.say("session.error", payload);
    };
    let mut world = with(PeerProfile::Go);
    world.submit();
    world.pass(40 * SECOND);
    fail(&mut world);
    assert!(world.told().is_empty(), "the copy may be accepted yet");
    world.pass(29 * SECOND);
    world.sent.retain(|frame| frame["type"] == "job.submit");
    world.nothing_sent();
    world.pass(SECOND);
    world.sent.retain(|frame| frame["type"] == "job.submit");
    world.accept(JOB);
    assert_eq!(world.told(), [format!("accepted 0 {JOB}")]);

    let mut world = with(PeerProfile::Go);
    world.submit();
    fail(&mut world);
    assert_eq!(world.told(), ["rejected 0 INTERNAL_ERROR"], "there was no other copy");

    let mut world = with(PeerProfile::Unknown);
    world.submit();
    world.pass(30 * SECOND);
    fail(&mut world);
    assert_eq!(
        world.told(),
        ["rejected 0 INTERNAL_ERROR"],
        "others do not refuse a copy for the first one's sake"
    );

    let mut world = with(PeerProfile::Go);
    world.submit();
    for _ in 2..=8 {
        world.pass(30 * SECOND);
        assert!(world.told().is_empty());
        fail(&mut world);
    }
    assert_eq!(world.told(), ["rejected 0 INTERNAL_ERROR"], "not for ever");
}
