//! Requests and what answers them.

use alloc::vec::Vec;
use core::time::Duration;
use std::format;

use serde_json::{Value, json};

use super::peer::{JOB, World, job};
use crate::client::{ClientEvent, ClientState, Submission, Subscription};
use crate::config::ClientConfig;
use crate::error::ApiMisuse;
use crate::feature::{Feature, Features};
use crate::wire::RawJson;
use crate::wire::peer::TransportKind;

const SECOND: Duration = Duration::from_secs(1);

fn refusal(code: &str, request: &Value) -> Value {
    json!({"code": code, "message": "m", "retryable": false, "request_id": request["id"], "reply_to": request["id"]})
}

#[test]
fn a_submit_says_all_that_was_asked() {
    let mut world = World::core();
    world.connect();
    let input = RawJson::try_from("{\"big\":9007199254740993,\"note\":null}").unwrap();
    world.client.submit(world.now, Submission::new("a@1", input).max_runtime_sec(60)).unwrap();
    world.drain();
    let submit = world.next("job.submit");
    let payload = &submit["payload"];
    assert_eq!((&payload["agent"], &payload["max_runtime_sec"]), (&json!("a@1"), &json!(60)));
    assert_eq!(payload["input"], json!({"big": 9_007_199_254_740_993_u64, "note": null}));
    assert!(payload["idempotency_key"].as_str().unwrap().starts_with("idk_"));
    assert_eq!(submit["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!(submit["session_id"], super::peer::SESSION);
}

#[test]
fn misuse_is_told_at_once() {
    let mut world = World::core();
    let mut refused = |submission: Submission| world.client.submit(world.now, submission).unwrap_err();
    let submission = || Submission::new("a", RawJson::null());
    assert!(matches!(refused(Submission::new("", RawJson::null())), ApiMisuse::OutOfRange(_)));
    assert!(matches!(refused(submission().idempotency_key("")), ApiMisuse::OutOfRange(_)));
    assert!(matches!(refused(submission().idempotency_key("k\n")), ApiMisuse::OutOfRange(_)));
    assert!(matches!(refused(submission().max_runtime_sec(0)), ApiMisuse::OutOfRange(_)));
    assert!(matches!(refused(submission().max_runtime_sec(31_536_001)), ApiMisuse::OutOfRange(_)));
    let large = RawJson::encode(&"x".repeat(1 << 20)).unwrap();
    assert!(matches!(refused(Submission::new("a", large)), ApiMisuse::TooLarge { .. }));
    let start = Subscription::HistoryFromPos(1 << 53);
    assert!(matches!(world.client.subscribe(world.now, &job(JOB), start), Err(ApiMisuse::OutOfRange(_))));
    world.client.close(world.now, None);
    assert_eq!(world.client.submit(world.now, submission()), Err(ApiMisuse::SessionClosed));
}

#[test]
fn our_own_runtime_gets_submits_at_once_others_one_by_one() {
    let mut world = World::core();
    world.connect();
    for key in ["k-1", "k-2", "k-3"] {
        world.submit_with(key);
    }
    assert_eq!(world.sent.len(), 3);

    let mut world = World::stranger();
    world.connect();
    for key in ["k-1", "k-2", "k-3"] {
        world.submit_with(key);
    }
    for (key, id) in [("k-1", "job_1"), ("k-2", "job_2"), ("k-3", "job_3")] {
        assert_eq!(world.sent.len(), 1);
        assert_eq!(world.accept(id)["payload"]["idempotency_key"], key);
    }
    let accepted: Vec<_> = world.told().into_iter().filter(|told| told.starts_with("accepted")).collect();
    assert_eq!(accepted, ["accepted 0 job_1", "accepted 1 job_2", "accepted 2 job_3"]);
}

#[test]
fn an_acceptance_finds_its_submit_by_every_id_a_runtime_may_use() {
    for name in ["envelope", "request_id", "reply_to", "correlation_id", "trace", "nothing"] {
        let mut world = World::stranger();
        world.connect();
        world.submit();
        world.told();
        let submit = world.next("job.submit");
        let mut frame =
            json!({"arcp": "1.1", "id": "msg_r", "type": "job.accepted", "payload": {"job_id": JOB}});
        match name {
            "envelope" => frame["id"] = submit["id"].clone(),
            "trace" => frame["trace_id"] = submit["trace_id"].clone(),
            "nothing" => {}
            member => frame["payload"][member] = submit["id"].clone(),
        }
        world.feed(&frame);
        assert_eq!(world.told(), [format!("accepted 0 {JOB}")], "{name}");
    }
}

#[test]
fn replies_to_other_requests_are_not_taken_for_this_one() {
    let mut world = World::stranger().with_job();
    world.submit_with("k-2");
    // The same acceptance again, a child's, one with the ids of a finished request, one of a job known already.
    world.say_of(JOB, "job.accepted", None, json!({"job_id": JOB}));
    world.say_of("job_C", "job.accepted", None, json!({"job_id": "job_C", "parent_job_id": JOB}));
    world.say_of("job_D", "job.accepted", None, json!({"job_id": "job_D", "request_id": "msg_old"}));
    assert!(world.told().is_empty());
    assert_eq!(world.client.ignored_frames(), 3);
    world.accept("job_2");
    assert_eq!(world.told(), ["accepted 1 job_2"]);
}

#[test]
fn our_own_runtime_is_never_guessed_about() {
    let mut world = World::core().with_job();
    world.submit_with("k-2");
    world.say(
        "session.error",
        json!({"code": "INTERNAL_ERROR", "message": "m", "details": {"limit": "unsent"}}),
    );
    assert_eq!(world.told(), ["error INTERNAL_ERROR"]);
    assert_eq!(world.client.state(), ClientState::Connected);
}

#[test]
fn refusals_in_every_shape() {
    type Shape = fn(&Value) -> Value;
    let shapes: [(&str, Shape); 6] = [
        (
            "base",
            |request| json!({"type": "session.error", "payload": refusal("AGENT_NOT_AVAILABLE", request)}),
        ),
        (
            "uncorrelated",
            |_| json!({"type": "session.error", "payload": {"code": "AGENT_NOT_AVAILABLE", "details": null}}),
        ),
        (
            "echo",
            |request| json!({"id": request["id"], "type": "job.error", "payload": {"code": "AGENT_NOT_AVAILABLE"}}),
        ),
        (
            "fresh id",
            |request| json!({"type": "job.error", "job_id": "job_never", "payload": refusal("AGENT_NOT_AVAILABLE", request)}),
        ),
        ("fresh id by trace", |request| {
            let error = json!({"code": "AGENT_NOT_AVAILABLE", "final_status": "error"});
            json!({"type": "job.error", "job_id": "job_never", "trace_id": request["trace_id"], "payload": error})
        }),
        (
            "reply_to",
            |request| json!({"type": "job.error", "payload": {"code": "AGENT_NOT_AVAILABLE", "reply_to": request["id"]}}),
        ),
    ];
    for (name, shape) in shapes {
        let mut world = World::stranger();
        world.connect();
        world.submit();
        world.told();
        let request = world.next("job.submit");
        let mut frame = shape(&request);
        frame["arcp"] = json!("1.1");
        if frame["id"].is_null() {
            frame["id"] = json!("msg_r");
        }
        world.feed(&frame);
        assert_eq!(world.told(), ["rejected 0 AGENT_NOT_AVAILABLE"], "{name}");
        assert_eq!(world.client.state(), ClientState::Connected, "{name}");
    }
}

#[test]
fn a_job_error_on_a_live_job_ends_it_or_refuses_its_cancel() {
    for (payload, expected) in [
        (json!({"code": "PERMISSION_DENIED"}), "rejected 1 PERMISSION_DENIED".into()),
        (json!({"code": "CANCELLED"}), format!("ended {JOB} - cancelled")),
        (json!({"code": "PERMISSION_DENIED", "final_status": "error"}), format!("ended {JOB} - error")),
    ] {
        let mut world = World::stranger().with_job();
        world.client.cancel(world.now, &job(JOB), None).unwrap();
        world.drain();
        world.say_of(JOB, "job.error", None, payload);
        assert_eq!(world.told().last(), Some(&expected));
    }
    let mut world = World::stranger().with_job();
    world.say_of(JOB, "job.error", None, json!({"code": "PERMISSION_DENIED"}));
    assert_eq!(world.told(), [format!("ended {JOB} - error")]);
}

#[test]
fn cancels_are_acknowledged_refused_or_settled_by_the_end() {
    let mut world = World::core().with_job();
    let cancel = |world: &mut World| {
        world.client.cancel(world.now, &job(JOB), Some("why".into())).unwrap();
        world.drain();
        world.next("job.cancel")
    };
    let frame = cancel(&mut world);
    assert_eq!(
        (&frame["job_id"], &frame["payload"]),
        (&json!(JOB), &json!({"job_id": JOB, "reason": "why"}))
    );
    assert_eq!(frame["trace_id"].as_str().unwrap().len(), 32);
    world.say_of(
        JOB,
        "job.cancelled",
        None,
        json!({"job_id": JOB, "reason": "why", "request_id": frame["id"]}),
    );
    assert_eq!(world.told(), ["cancelled 1 -"]);

    let frame = cancel(&mut world);
    world.say("session.error", refusal("PERMISSION_DENIED", &frame));
    assert_eq!(world.told(), ["rejected 2 PERMISSION_DENIED"]);

    let frame = cancel(&mut world);
    world.end(JOB, 1, 1);
    assert_eq!(world.told(), ["cancelled 3 success".into(), format!("ended {JOB} 1 success")]);
    world.say_of(JOB, "job.cancelled", None, json!({"current_status": "success", "request_id": frame["id"]}));
    assert!(world.told().is_empty());
}

#[test]
fn subscriptions_start_where_they_are_told() {
    for (start, expected) in [
        (Subscription::Live, json!({"job_id": JOB})),
        (Subscription::History, json!({"job_id": JOB, "history": true})),
        (Subscription::HistoryFromSeq(4), json!({"job_id": JOB, "history": true, "from_event_seq": 4})),
        (Subscription::HistoryFromPos(7), json!({"job_id": JOB, "history": true, "from_pos": 7})),
    ] {
        let mut world = World::core();
        world.connect();
        world.client.subscribe(world.now, &job(JOB), start).unwrap();
        world.drain();
        assert_eq!(world.next("job.subscribe")["payload"], expected);
    }
}

#[test]
fn history_may_come_before_the_acknowledgement() {
    let mut world = World::stranger();
    world.connect();
    world.told();
    world.client.subscribe(world.now, &job(JOB), Subscription::History).unwrap();
    world.log(JOB, 1, 1);
    world.say_of(JOB, "job.subscribed", None, json!({"current_status": "running", "replayed": 1}));
    world.end(JOB, 2, 2);
    let expected =
        [format!("event {JOB} 1 log"), format!("subscribed 0 {JOB}"), format!("ended {JOB} 2 success")];
    assert_eq!(world.told(), expected);
}

#[test]
fn a_refused_subscribe_follows_nothing() {
    let mut world = World::core();
    world.connect();
    world.client.subscribe(world.now, &job(JOB), Subscription::Live).unwrap();
    world.drain();
    let frame = world.next("job.subscribe");
    world.told();
    world.say("session.error", refusal("JOB_NOT_FOUND", &frame));
    world.log(JOB, 1, 1);
    assert_eq!(world.told(), ["rejected 0 JOB_NOT_FOUND"]);
}

#[test]
fn what_was_not_negotiated_is_not_asked() {
    let mut world = World::with(ClientConfig::new("tk"), Features::SUPPORTED.without(Feature::Subscribe));
    world.client.subscribe(world.now, &job(JOB), Subscription::Live).unwrap();
    assert!(world.told().is_empty(), "nothing is known before the welcome");
    world.connect();
    assert_eq!(world.told()[1..], ["rejected 0 Unsupported(\"subscribe\")"]);
    world.client.subscribe(world.now, &job(JOB), Subscription::Live).unwrap();
    world.drain();
    assert_eq!(world.told(), ["rejected 1 Unsupported(\"subscribe\")"]);
    world.nothing_sent();
}

#[test]
fn short_lines_of_strangers_are_respected() {
    let submission = || Submission::new("a", RawJson::encode(&"x".repeat(70_000)).unwrap());
    for (mut world, fits) in [(World::stranger(), false), (World::core(), true)] {
        world.transport = TransportKind::Lines;
        world.connect();
        world.told();
        world.client.submit(world.now, submission()).unwrap();
        world.drain();
        assert_eq!(world.sent.len(), usize::from(fits));
        assert_eq!(world.told().is_empty(), fits);
    }
}

#[test]
fn requests_without_an_answer() {
    let mut world = World::core().with_job();
    world.submit_with("k-2");
    let first = world.next("job.submit");
    world.client.cancel(world.now, &job(JOB), None).unwrap();
    world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
    world.drain();
    world.sent.clear();
    world.pass(SECOND * 9);
    assert!(world.told().is_empty());
    world.pass(SECOND);
    assert_eq!(world.told(), ["rejected 3 TimedOut"], "a cancel may take longer");
    assert_eq!(world.next("job.unsubscribe")["job_id"], "job_S");
    world.pass(SECOND * 19);
    world.sent.retain(|frame| frame["type"] != "session.ping");
    world.nothing_sent();
    world.pass(SECOND);
    let second = world.next("job.submit");
    assert_eq!(second["payload"], first["payload"]);
    assert_eq!(second["trace_id"], first["trace_id"]);
    assert_ne!(second["id"], first["id"]);
    // The first one's answer is as good.
    world.say_of("job_2", "job.accepted", None, json!({"job_id": "job_2", "request_id": first["id"]}));
    assert_eq!(world.told(), ["accepted 1 job_2"]);
    world.say_of("job_2", "job.accepted", None, json!({"job_id": "job_2", "request_id": second["id"]}));
    assert!(world.told().is_empty());
}

#[test]
fn whether_anything_follows_a_finished_job_is_said() {
    let over =
        |frame: &Value| json!({"request_id": frame["id"], "current_status": "success", "replayed": false});
    let replayed = |world: &World| {
        let told = world.events.iter().find_map(|event| match event {
            ClientEvent::Subscribed { subscribed, .. } => Some(subscribed.replayed),
            _ => None,
        });
        told.unwrap()
    };
    let mut world = World::core().with_job();
    for id in ["job_S", JOB] {
        world.client.subscribe(world.now, &job(id), Subscription::Live).unwrap();
        world.drain();
        let frame = world.next("job.subscribe");
        world.say_of(id, "job.subscribed", None, over(&frame));
        // The end of a job of this session is still on its way.
        assert_eq!(replayed(&world), id == JOB);
        let told = world.told();
        assert_eq!(told.len(), 1, "the reply says it all: {told:?}");
    }
    world.log("job_S", 1, 1);
    world.end(JOB, 2, 1);
    assert_eq!(world.told(), [format!("ended {JOB} 2 success")]);
}

#[test]
fn a_second_subscribe_that_fails_leaves_the_first() {
    let mut world = World::core();
    world.connect();
    world.told();
    for _ in 0..2 {
        world.client.subscribe(world.now, &job("job_S"), Subscription::Live).unwrap();
        world.drain();
    }
    let first = world.next("job.subscribe");
    world.say_of(
        "job_S",
        "job.subscribed",
        None,
        json!({"request_id": first["id"], "current_status": "running"}),
    );
    world.pass(SECOND * 10);
    world.log("job_S", 1, 1);
    assert_eq!(world.told(), ["subscribed 0 job_S", "rejected 1 TimedOut", "event job_S 1 log"]);
    assert!(world.sent.iter().all(|frame| frame["type"] != "job.unsubscribe"));
}

#[test]
fn only_what_was_sent_can_be_answered() {
    let mut world = World::stranger();
    world.connect();
    world.submit_with("k-1");
    world.submit_with("k-2");
    world.told();
    world.say("session.error", json!({"code": "AGENT_NOT_AVAILABLE", "details": null}));
    assert_eq!(world.told(), ["rejected 0 AGENT_NOT_AVAILABLE"]);
}
