//! Keys and repeated requests: nothing runs twice (protocol §3.3, §1.5).

use core::time::Duration;
use std::collections::BTreeSet;
use std::string::ToString;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, positions, seqs, types};
use crate::feature::Feature;
use crate::runtime::store::{Command, StoreDone};

fn submit(input: Value) -> Value {
    json!({"agent": "a", "input": input, "idempotency_key": "k"})
}

/// The payload of an acceptance without what differs from request to request.
fn essence(accepted: &Value) -> Value {
    let mut payload = accepted["payload"].clone();
    payload["request_id"] = Value::Null;
    payload["reply_to"] = Value::Null;
    payload
}

#[test]
fn the_same_key_in_the_same_session_is_the_same_job_and_changes_nothing() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let first = world.ask(a, "m1", "job.submit", submit(json!(1)));
    let job = world.started[0].job;
    world.logs(job, 2);
    world.take(a);
    world.wait(Duration::from_secs(5));
    let again = world.ask(a, "m2", "job.submit", submit(json!(1.0)));
    assert_eq!(essence(&again), essence(&first), "IDEM-2: original times");
    assert_eq!(again["payload"]["request_id"], "m2");
    assert_ne!(again["id"], first["id"]);
    assert_eq!(world.started.len(), 1);
    world.logs(job, 1);
    assert_eq!(seqs(&world.take(a)), [3], "the live frames go on");
}

#[test]
fn other_parameters_are_a_duplicate_key_and_touch_nothing() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let first = world.ask(a, "m1", "job.submit", submit(json!(1)));
    let job = world.started[0].job;
    let rows = world.store.clone();
    let changed = [
        submit(json!(2)),
        submit(Value::Null),
        json!({"agent": "mailer", "input": 1, "idempotency_key": "k"}),
        json!({"agent": "a", "input": 1, "idempotency_key": "k", "max_runtime_sec": 9}),
    ];
    for (n, payload) in changed.into_iter().enumerate() {
        let refused = world.ask(a, &std::format!("x{n}"), "job.submit", payload.clone());
        assert_eq!(code(&refused), "DUPLICATE_KEY", "{payload}");
        assert_eq!(refused["payload"]["details"]["existing_job_id"], first["job_id"]);
        assert!(refused["payload"]["job_id"].is_null(), "JOB-6: no word on the job itself");
    }
    assert!(rows.job(crate::id::JobKey::parse(first["job_id"].as_str().unwrap()).unwrap()).is_some());
    assert_eq!(world.store.session(key(&world)), rows.session(key(&world)), "IDEM-3");
    world.logs(job, 1);
    assert_eq!(seqs(&world.take(a)), [1]);
    assert!(world.take(b).is_empty());
}

fn key(world: &World) -> crate::id::SessionKey {
    *world.runtime.session_keys.keys().next().unwrap()
}

#[test]
fn keys_of_two_principals_never_meet() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session_of("other", ALL);
    let first = world.ask(a, "m1", "job.submit", submit(json!(1)));
    let second = world.ask(b, "m1", "job.submit", submit(json!(2)));
    assert_eq!(second["type"], "job.accepted", "IDEM-4");
    assert_ne!(first["job_id"], second["job_id"]);
}

#[test]
fn a_refused_submit_burns_no_key() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    for (n, bad) in [
        json!({"agent": "nobody", "idempotency_key": "k"}),
        json!({"agent": "a", "idempotency_key": "k", "max_runtime_sec": 0}),
        json!({"agent": "a", "idempotency_key": "k", "lease_request": {"fs.read": ["x"]}}),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(world.ask(a, &std::format!("m{n}"), "job.submit", bad)["type"], "session.error");
    }
    assert_eq!(world.ask(a, "m9", "job.submit", submit(json!(1)))["type"], "job.accepted", "IDEM-5");
}

#[test]
fn a_duplicate_waits_for_the_first_to_be_accepted() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    world.instant_store = false;
    world.send(a, "m1", "job.submit", submit(json!(1)));
    world.send(b, "m2", "job.submit", submit(json!(1)));
    world.send(a, "m3", "job.submit", submit(json!(1)));
    assert!(world.take(a).is_empty() && world.take(b).is_empty(), "not an error, not an early answer");
    world.store_all();
    let ids: BTreeSet<_> = [a, b]
        .into_iter()
        .flat_map(|connection| world.take(connection))
        .filter(|frame| frame["type"] == "job.accepted")
        .map(|frame| frame["job_id"].to_string())
        .collect();
    assert_eq!((ids.len(), world.started.len()), (1, 1), "IDEM-1");
}

#[test]
fn another_session_gets_the_whole_history_and_becomes_the_owner() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let first = world.ask(a, "m1", "job.submit", submit(json!(1)));
    let job = world.started[0].job;
    world.logs(job, 40);
    world.take(a);
    let id = first["job_id"].clone();
    let refused = world.ask(b, "c1", "job.cancel", json!({"job_id": id}));
    assert_eq!(code(&refused), "PERMISSION_DENIED", "CAN-1");
    world.send(b, "m2", "job.submit", submit(json!(1)));
    let frames = world.take(b);
    assert_eq!(essence(&frames[0]), essence(&first));
    assert_eq!(positions(&frames), (1..=40).collect::<Vec<_>>(), "D-83");
    assert_eq!(seqs(&frames), (1..=40).collect::<Vec<_>>());
    let refused = world.ask(a, "c2", "job.cancel", json!({"job_id": id}));
    assert_eq!(code(&refused), "PERMISSION_DENIED", "D-21: the right has moved");
    world.logs(job, 1);
    assert_eq!((seqs(&world.take(a)), seqs(&world.take(b))), (std::vec![41], std::vec![41]), "both go on");
    let cancelled = world.ask(b, "c3", "job.cancel", json!({"job_id": id}));
    assert_eq!(cancelled["type"], "job.cancelled");
    world.finish(job, "1");
    assert_eq!((code(&world.one(a)), code(&world.one(b))), ("CANCELLED", "CANCELLED"), "JOB-2");
}

#[test]
fn a_subscriber_that_resubmits_becomes_the_owner_without_a_second_copy() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let id = world.ask(a, "m1", "job.submit", submit(json!(1)))["job_id"].clone();
    let job = world.started[0].job;
    world.logs(job, 2);
    world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    assert_eq!(world.ask(b, "m3", "job.submit", submit(json!(1)))["type"], "job.accepted");
    world.logs(job, 1);
    assert_eq!(positions(&world.take(b)), [3]);
    world.send(b, "m4", "job.unsubscribe", json!({"job_id": id}));
    world.logs(job, 1);
    assert_eq!(positions(&world.take(b)), [4], "one's own job has no unsubscribe");
}

#[test]
fn origin_numbers_rise_across_a_change_of_owner() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let id = world.ask(a, "m1", "job.submit", submit(json!(1)))["job_id"].clone();
    let job = world.started[0].job;
    let (noise, _) = world.submit(a, "m0");
    world.logs(noise, 20);
    world.logs(job, 2);
    world.send(b, "m2", "job.submit", submit(json!(1)));
    world.logs(job, 2);
    world.take(b);
    let (c, _) = world.session(ALL);
    world.send(c, "m3", "job.subscribe", json!({"job_id": id, "history": true, "from_event_seq": 22}));
    let frames = world.take(c);
    assert_eq!(frames[0]["payload"]["subscribed_from"], 24, "D-103: 21, 22, then never less");
    assert_eq!(positions(&frames), [3, 4], "everything behind a number is one range");
}

#[test]
fn resubmitting_a_finished_job_replays_its_end_each_time() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    world.ask(a, "m1", "job.submit", submit(json!(1)));
    let job = world.started[0].job;
    world.logs(job, 2);
    world.finish(job, "{\"n\":1}");
    world.take(a);
    for (connection, id, first) in [(a, "m2", 4), (b, "m2", 1), (a, "m3", 7)] {
        world.send(connection, id, "job.submit", submit(json!(1)));
        let frames = world.take(connection);
        assert_eq!(types(&frames), ["job.accepted", "job.event", "job.event", "job.result"], "D-25");
        assert_eq!(seqs(&frames), [first, first + 1, first + 2], "newly numbered (D-83)");
        assert_eq!(frames[3]["payload"]["result"], json!({"n": 1}));
    }
    assert_eq!(world.started.len(), 1);
}

#[test]
fn a_running_job_that_one_owns_already_is_not_replayed() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    world.ask(a, "m1", "job.submit", submit(json!(1)));
    let job = world.started[0].job;
    world.logs(job, 2);
    world.cut(a);
    let (b, _) = world.resume(&welcome, 2, ALL);
    let accepted = world.ask(b, "m2", "job.submit", submit(json!(1)));
    assert_eq!(accepted["type"], "job.accepted");
    world.logs(job, 1);
    assert_eq!(seqs(&world.take(b)), [3]);
}

#[test]
fn a_key_is_free_a_day_after_the_end() {
    let mut world = World::new();
    let features = ALL.without(Feature::Heartbeat);
    let (a, _) = world.session(features);
    let first = world.ask(a, "m1", "job.submit", submit(json!(1)))["job_id"].clone();
    let job = world.started[0].job;
    world.wait(Duration::from_secs(2 * 24 * 3_600));
    assert_eq!(
        world.ask(a, "m2", "job.submit", submit(json!(1)))["job_id"],
        first,
        "while it runs it is kept"
    );
    world.finish(job, "1");
    world.wait(Duration::from_secs(24 * 3_600));
    world.take(a);
    assert_ne!(world.ask(a, "m3", "job.submit", submit(json!(2)))["job_id"], first, "D-24");
}

#[test]
fn a_repeated_request_id_gets_its_answer_again_and_does_nothing() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (_, id) = world.submit(a, "m1");
    let requests = [
        ("m1", "job.submit", json!({"agent": "a", "input": {"x": 1}})),
        ("m2", "job.submit", json!({"agent": "nobody"})),
        ("m3", "job.subscribe", json!({"job_id": id})),
        ("m4", "job.subscribe", json!({"job_id": "nope"})),
        ("m5", "job.subscribe", json!({"job_id": 5})),
        ("m6", "job.cancel", json!({"job_id": "nope"})),
        ("m7", "job.cancel", json!({})),
        ("m8", "job.cancel", json!({"job_id": id, "reason": "r"})),
    ];
    for (request, kind, payload) in requests {
        let first = world.ask(a, request, kind, payload.clone());
        let again = world.ask(a, request, kind, payload);
        let strip = |mut frame: Value| {
            frame["id"] = Value::Null;
            frame
        };
        assert_eq!(strip(again), strip(first), "D-49: {request} {kind}");
    }
    assert_eq!(world.started.len(), 1);
    assert_eq!(world.told.iter().filter(|told| told.starts_with("cancel")).count(), 1);
    let other = world.ask(a, "m1", "job.cancel", json!({"job_id": id}));
    assert_eq!(code(&other), "INVALID_REQUEST", "the same id, another type");
    assert_eq!(
        world.ask(a, "m1", "job.submit", json!({"agent": "a"}))["type"],
        "job.accepted",
        "still remembered"
    );
}

#[test]
fn a_request_that_is_no_request_does_not_change_what_is_remembered() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    world.submit(a, "m1");
    world.ask(a, "m1", "session.ping", json!({}));
    world.ask(a, "m1", "session.ack", json!({"last_processed_seq": "x"}));
    assert_eq!(world.ask(a, "m1", "job.submit", json!({"agent": "a"}))["type"], "job.accepted");
}

#[test]
fn a_repeated_submit_survives_its_job_and_blocks_nobody() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let (job, _) = world.submit(a, "m1");
    world.finish(job, "1");
    world.wait(Duration::from_secs(24 * 3_600));
    world.take(a);
    assert_eq!(code(&world.ask(a, "m1", "job.submit", json!({"agent": "a"}))), "JOB_NOT_FOUND");
    assert_eq!(world.ask(a, "m2", "job.submit", json!({"agent": "a"}))["type"], "job.accepted", "D-75");
}

#[test]
fn replies_to_submits_keep_their_order_whatever_each_waits_for() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    world.instant_store = false;
    let mut expected = Vec::new();
    for n in 0..12 {
        let id = std::format!("m{n}");
        let payload = match n % 4 {
            0 => submit(json!(n)),
            1 => json!({"agent": "nobody"}),
            2 => json!({"agent": "a"}),
            _ => json!({"agent": 5}),
        };
        world.send(a, &id, "job.submit", payload);
        expected.push(id);
    }
    let mut answers: Vec<_> = world
        .commands
        .drain(..)
        .filter(|(_, command)| matches!(command, Command::Append(_)))
        .map(|(id, _)| id)
        .collect();
    while let Some(id) = answers.pop() {
        world.answer_store(id, StoreDone::Appended);
    }
    let order: Vec<_> = world
        .take(a)
        .iter()
        .map(|reply| reply["payload"]["request_id"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(order, expected, "D-75");
}

#[test]
fn keys_survive_a_restart() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let first = world.ask(a, "m1", "job.submit", submit(json!(1)));
    let mut world = world.restart(config());
    let (b, _) = world.session(ALL);
    world.send(b, "m2", "job.submit", submit(json!(1)));
    let frames = world.take(b);
    assert_eq!(essence(&frames[0]), essence(&first));
    assert_eq!(code(&frames[1]), "INTERNAL_ERROR", "its end follows");
    assert_eq!(code(&world.ask(b, "m3", "job.submit", submit(json!(2)))), "DUPLICATE_KEY");
}

#[test]
fn the_end_of_an_owner_before_takes_no_job_from_the_owner_now() {
    let mut brief = config();
    brief.resume_window = Duration::from_secs(1);
    let mut world = World::with(brief);
    let quiet = ALL.without(Feature::Heartbeat);
    let (a, _) = world.session(quiet);
    let submit = json!({"agent": "a", "idempotency_key": "k"});
    let (_, accepted) = world.submit_with(a, "m1", submit.clone());
    let (b, _) = world.session(quiet);
    assert_eq!(world.ask(b, "m2", "job.submit", submit)["job_id"], accepted["job_id"]);
    world.cut(a);
    world.wait(Duration::from_secs(2));
    let cancel = json!({"job_id": accepted["job_id"]});
    let (c, _) = world.session(quiet);
    assert_eq!(code(&world.ask(c, "m3", "job.cancel", cancel.clone())), "PERMISSION_DENIED", "D-21");
    assert_eq!(world.ask(b, "m4", "job.cancel", cancel)["type"], "job.cancelled");
}
