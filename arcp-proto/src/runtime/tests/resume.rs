//! Resume, takeover, tokens and the death of sessions (protocol §2.4).

use core::time::Duration;
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, hello, hello_with, seqs, token, types};
use crate::feature::{Feature, Features};
use crate::runtime::ConnectionId;

/// A session with ten events, all received, and no connection.
fn detached(features: Features) -> (World, Value) {
    let mut world = World::new();
    let (a, welcome) = world.session(features);
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 10);
    world.cut(a);
    (world, welcome)
}

/// Sends a first frame over a new connection.
fn greet(world: &mut World, message_type: &str, payload: Value) -> (ConnectionId, Vec<Value>) {
    let connection = world.open();
    world.send(connection, "m-hello", message_type, payload);
    let frames = world.take(connection);
    (connection, frames)
}

#[test]
fn all_four_spellings_resume() {
    for spelling in ["A", "B", "C", "D", "D without capabilities", "A+B+C"] {
        let (mut world, welcome) = detached(ALL);
        let (id, token) = (&welcome["session_id"], token(&welcome));
        let block = json!({"session_id": id, "resume_token": token, "last_event_seq": 7});
        let (message_type, payload) = match spelling {
            "A" => ("session.hello", hello_with(json!({"resume": block}))),
            "B" => ("session.hello", hello_with(json!({"resume": {"token": token, "last_event_seq": 7}}))),
            "C" => ("session.hello", hello_with(json!({"resume_token": token, "last_event_seq": 7}))),
            "D" => ("session.resume", hello_with(block)),
            "D without capabilities" => {
                let auth = json!({"token": "good"});
                ("session.resume", json!({"auth": auth, "resume_token": token, "last_event_seq": 7}))
            }
            _ => {
                let mut block = block;
                block["token"] = token.clone();
                (
                    "session.hello",
                    hello_with(json!({"resume": block, "resume_token": token, "last_event_seq": 7})),
                )
            }
        };
        let (_, frames) = greet(&mut world, message_type, payload);
        assert_eq!(frames[0]["type"], "session.welcome", "{spelling}: {}", frames[0]);
        assert_eq!(frames[0]["session_id"], *id, "{spelling}");
        assert_eq!(seqs(&frames), [8, 9, 10], "{spelling}");
    }
}

#[test]
fn spellings_that_disagree_are_refused_and_cost_nothing() {
    let (mut world, welcome) = detached(ALL);
    let token = token(&welcome).clone();
    for members in [
        json!({"resume": {"resume_token": token, "token": "rt_other"}}),
        json!({"resume": {"resume_token": token}, "resume_token": "rt_other"}),
        json!({"resume": {"resume_token": token, "last_event_seq": 7}, "last_event_seq": 8}),
        json!({"resume": {"last_event_seq": 7}}),
    ] {
        let (connection, frames) = greet(&mut world, "session.hello", hello_with(members.clone()));
        assert_eq!(
            (types(&frames), code(&frames[0])),
            (std::vec!["session.error"], "INVALID_REQUEST"),
            "{members}"
        );
        assert!(world.closed.contains_key(&connection));
    }
    let without_auth = json!({"resume_token": token, "last_event_seq": 7});
    assert_eq!(code(&greet(&mut world, "session.resume", without_auth).1[0]), "UNAUTHENTICATED", "D-3");
    assert_eq!(seqs(&world.resume(&welcome, 9, ALL).1), [10]);
}

#[test]
fn a_flat_number_without_a_token_opens_a_fresh_session() {
    let (mut world, welcome) = detached(ALL);
    let (_, frames) = greet(&mut world, "session.hello", hello_with(json!({"last_event_seq": 7})));
    assert_eq!(types(&frames), ["session.welcome"]);
    assert_ne!(frames[0]["session_id"], welcome["session_id"]);
}

#[test]
fn every_last_number_is_judged_by_what_is_kept() {
    let cases: [(Value, Result<u64, &str>); 8] = [
        (json!(10), Ok(11)),
        (json!(4), Ok(5)),
        (Value::Null, Ok(5)),
        (json!(3), Err("RESUME_WINDOW_EXPIRED")),
        (json!(0), Err("RESUME_WINDOW_EXPIRED")),
        (json!(-1), Err("RESUME_WINDOW_EXPIRED")),
        (json!(11), Err("INVALID_REQUEST")),
        (json!(-2), Err("INVALID_REQUEST")),
    ];
    for (last, expected) in cases {
        let mut world = World::new();
        let (a, welcome) = world.session(ALL);
        let (job, _) = world.submit(a, "m1");
        world.logs(job, 10);
        world.send(a, "m2", "session.ack", json!({"last_processed_seq": 4}));
        world.cut(a);
        let payload =
            hello_with(json!({"resume": {"resume_token": token(&welcome), "last_event_seq": last}}));
        let (_, frames) = greet(&mut world, "session.hello", payload);
        match expected {
            Ok(first) => assert_eq!(seqs(&frames), (first..=10).collect::<Vec<_>>(), "SEQ-9, D-69: {last}"),
            Err(expected) => {
                assert_eq!(
                    (types(&frames), code(&frames[0])),
                    (std::vec!["session.error"], expected),
                    "{last}"
                );
                assert_eq!(
                    seqs(&world.resume(&welcome, 10, ALL).1),
                    [] as [u64; 0],
                    "the token is still good"
                );
            }
        }
    }
}

#[test]
fn minus_one_means_nothing_yet() {
    let (mut world, welcome) = detached(ALL);
    let (_, frames) = greet(
        &mut world,
        "session.hello",
        hello_with(json!({"resume_token": token(&welcome), "last_event_seq": -1})),
    );
    assert_eq!(seqs(&frames), (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_frame_confirms_the_new_token_and_voids_the_old_one() {
    let (mut world, first) = detached(ALL);
    let (b, frames) = world.resume(&first, 10, ALL);
    let second = frames[0].clone();
    world.send(b, "m2", "session.ping", json!({"nonce": "n"}));
    world.take(b);
    let (_, frames) = world.resume(&first, 10, ALL);
    assert_eq!(code(&frames[0]), "UNAUTHENTICATED", "SES-1");
    assert_eq!(frames[0]["payload"]["details"]["reason"], "resume");
    world.send(b, "m3", "session.ping", json!({"nonce": "n"}));
    assert_eq!(types(&world.take(b)), ["session.pong"], "the connection felt nothing");
    assert_eq!(world.resume(&second, 10, ALL).1[0]["type"], "session.welcome");
}

#[test]
fn each_resume_raises_the_stored_epoch_and_leaves_two_hashes_at_most() {
    let (mut world, first) = detached(ALL);
    let key = crate::id::SessionKey::parse(first["session_id"].as_str().unwrap()).unwrap();
    let mut welcome = first;
    for epoch in 2..6 {
        let (b, frames) = world.resume(&welcome, 10, ALL);
        welcome = frames[0].clone();
        let record = &world.store.session(key).unwrap().record;
        assert_eq!(
            (record.epoch, record.confirmed, record.previous.is_some()),
            (epoch, false, true),
            "SES-4"
        );
        assert_eq!(world.runtime.tokens.len(), 2);
        world.send(b, "p", "session.ping", json!({"nonce": "n"}));
        let record = &world.store.session(key).unwrap().record;
        assert_eq!((record.confirmed, record.previous), (true, None));
        assert_eq!(world.runtime.tokens.len(), 1, "what cannot be presented is not kept");
        world.cut(b);
    }
}

#[test]
fn any_number_of_welcomes_may_be_lost() {
    let (mut world, first) = detached(ALL);
    let mut lost = Vec::new();
    for _ in 0..4 {
        let (b, frames) = world.resume(&first, 10, ALL);
        assert_eq!(frames[0]["type"], "session.welcome", "D-5");
        lost.push(frames[0].clone());
        world.cut(b);
    }
    assert_eq!(world.runtime.tokens.len(), 2, "the void ones are not kept");
    // Each of them voided the one before; the newest and the old one are good.
    for welcome in &lost[..3] {
        assert_eq!(code(&world.resume(welcome, 10, ALL).1[0]), "UNAUTHENTICATED", "SES-2");
    }
    let (b, frames) = world.resume(&lost[3], 10, ALL);
    assert_eq!(frames[0]["type"], "session.welcome");
    world.cut(b);
    assert_eq!(code(&world.resume(&first, 10, ALL).1[0]), "UNAUTHENTICATED", "its successor was presented");
    assert_eq!(world.resume(&lost[3], 10, ALL).1[0]["type"], "session.welcome");
}

#[test]
fn both_slots_survive_a_restart() {
    for presented in [0, 1] {
        let (mut world, first) = detached(ALL);
        let (_, frames) = world.resume(&first, 10, ALL);
        let welcomes = [first, frames[0].clone()];
        let mut world = world.restart(super::harness::config());
        let (_, frames) = world.resume(&welcomes[presented], 10, ALL);
        assert_eq!(frames[0]["type"], "session.welcome", "{presented}");
    }
}

#[test]
fn a_transport_proof_confirms_for_strangers_who_alone_are_probed() {
    let features = ALL.without(Feature::Core);
    let (mut world, first) = detached(features);
    world.told.clear();
    let (b, _) = world.resume(&first, 10, features);
    assert!(world.told.contains(&"probe".to_string()), "D-96");
    world.runtime.handle_proof(world.now, b);
    world.settle();
    assert_eq!(code(&world.resume(&first, 10, features).1[0]), "UNAUTHENTICATED");

    let (mut world, first) = detached(ALL);
    world.told.clear();
    world.resume(&first, 10, ALL);
    assert!(!world.told.contains(&"probe".to_string()), "our own persist the token before they answer");
}

#[test]
fn a_takeover_fences_the_older_connection() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.logs(job, 3);
    world.take(a);
    world.stalled.push(a);
    world.logs(job, 2);
    let (b, frames) = world.resume(&welcome, 3, ALL);
    assert_eq!(types(&frames)[0], "session.welcome");
    assert_eq!(seqs(&frames), [4, 5], "D-6");
    let last = world.take(a);
    assert_eq!(types(&last), ["session.error"], "SES-9: nothing but the reason");
    assert_eq!(code(&last[0]), "UNAUTHENTICATED");
    assert_eq!(last[0]["payload"]["details"]["reason"], "taken_over", "D-67");
    assert!(world.closed.contains_key(&a));
    // What is still on its way from the old connection counts for nothing (SES-4).
    for (id_of, kind, payload) in [
        ("x1", "job.cancel", json!({"job_id": id})),
        ("x2", "job.submit", json!({"agent": "a"})),
        ("x3", "session.close", json!({})),
    ] {
        let frame = json!({"arcp": "1.1", "id": id_of, "type": kind, "payload": payload}).to_string();
        world.send_bytes(a, frame.as_bytes());
    }
    assert_eq!(world.started.len(), 1);
    world.logs(job, 1);
    assert_eq!(seqs(&world.take(b)), [6]);
    assert!(world.take(a).is_empty());
}

#[test]
fn frames_that_arrive_between_takeover_and_close_are_ignored() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    let (_, id) = world.submit(a, "m1");
    let b = world.open();
    let mut payload = hello("good", ALL);
    payload["resume_token"] = token(&welcome).clone();
    let frame = json!({"arcp": "1.1", "id": "h", "type": "session.hello", "payload": payload}).to_string();
    world.runtime.handle_frame(world.now, b, frame.into_bytes().into());
    // The verdict comes, the driver has not yet carried out the close of the older connection.
    while let Some(output) = world.runtime.poll_output() {
        if let crate::runtime::Output::Authenticate { id, .. } = output {
            let verdict = crate::runtime::Verdict::Accept { principal: "demo".into(), until: None };
            world.runtime.handle_auth(world.now, id, verdict);
            break;
        }
    }
    let cancel =
        json!({"arcp": "1.1", "id": "x", "type": "job.cancel", "payload": {"job_id": id}}).to_string();
    assert!(!world.runtime.may_read(a));
    world.runtime.handle_frame(world.now, a, cancel.into_bytes().into());
    world.settle();
    assert!(!world.told.iter().any(|told| told.starts_with("cancel")));
    assert_eq!(types(&world.take(b)), ["session.welcome", "job.accepted"]);
}

#[test]
fn a_resume_must_offer_what_the_session_negotiated() {
    let (mut world, welcome) = detached(ALL.without(Feature::Progress));
    for feature in [Feature::Ack, Feature::Subscribe, Feature::Core, Feature::ResultChunk] {
        let (_, frames) = world.resume(&welcome, 10, ALL.without(feature));
        assert_eq!(code(&frames[0]), "INVALID_REQUEST", "D-44: {feature:?}");
    }
    let (_, frames) = world.resume(&welcome, 10, ALL);
    let features = frames[0]["payload"]["capabilities"]["features"].as_array().unwrap();
    assert!(!features.contains(&json!("progress")), "the negotiated set never changes");
}

#[test]
fn unknown_token_foreign_session_and_foreign_principal_look_the_same() {
    let (mut world, welcome) = detached(ALL);
    let mut answers = Vec::new();
    let resume = |token: Value, session: Value| json!({"session_id": session, "resume_token": token});
    let own = token(&welcome).clone();
    let (_, other) = world.session_of("other", ALL);
    for (bearer, block) in [
        ("good", resume("rt_unknown".into(), welcome["session_id"].clone())),
        ("good", resume(own.clone(), other["session_id"].clone())),
        ("good", resume(own.clone(), "nonsense".into())),
        ("other", resume(own.clone(), welcome["session_id"].clone())),
        ("other", resume(own, Value::Null)),
    ] {
        let mut payload = hello(bearer, ALL);
        payload["resume"] = block;
        let connection = world.open();
        let frame = json!({"arcp": "1.1", "id": "m", "session_id": "sess_echo", "type": "session.hello", "payload": payload});
        world.send_text(connection, &frame.to_string());
        let mut frame = world.one(connection);
        assert_eq!(world.closed[&connection], 1008);
        frame["id"] = Value::Null;
        answers.push(frame.to_string());
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "VIS-2, D-7: {answers:#?}");
    assert_eq!(seqs(&world.resume(&welcome, 9, ALL).1), [10], "nothing was consumed");
}

#[test]
fn the_bearer_comes_before_the_token() {
    let (mut world, welcome) = detached(ALL);
    let mut payload = hello("wrong", ALL);
    payload["resume_token"] = token(&welcome).clone();
    let (_, frames) = greet(&mut world, "session.hello", payload);
    assert_eq!(code(&frames[0]), "UNAUTHENTICATED");
    assert!(frames[0]["payload"]["details"].is_null(), "no word about the resume");
}

#[test]
fn a_session_dies_with_its_window_and_is_remembered_for_a_day() {
    let (mut world, welcome) = detached(ALL);
    world.wait(Duration::from_secs(599));
    let (b, frames) = world.resume(&welcome, 10, ALL);
    assert_eq!(frames[0]["type"], "session.welcome");
    let welcome = frames[0].clone();
    world.cut(b);
    world.wait(Duration::from_secs(600));
    assert_eq!(world.runtime.population().sessions, 0);
    assert_eq!(world.runtime.population().unfinished_jobs, 1, "jobs outlive sessions (SES-10)");
    let (_, frames) = world.resume(&welcome, 10, ALL);
    assert_eq!(code(&frames[0]), "RESUME_WINDOW_EXPIRED");
    let mut payload = hello("other", ALL);
    payload["resume_token"] = token(&welcome).clone();
    let (_, frames) = greet(&mut world, "session.hello", payload);
    assert_eq!(code(&frames[0]), "UNAUTHENTICATED", "the honest answer is for whoever proves the token");
    let mut world = world.restart(super::harness::config());
    assert_eq!(code(&world.resume(&welcome, 10, ALL).1[0]), "RESUME_WINDOW_EXPIRED");
    world.wait(Duration::from_secs(24 * 3_600));
    assert_eq!(code(&world.resume(&welcome, 10, ALL).1[0]), "UNAUTHENTICATED");
}

#[test]
fn an_abandoned_fresh_session_goes_after_the_window() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    world.cut(a);
    world.wait(Duration::from_secs(600));
    assert_eq!(world.runtime.population().sessions, 0);
}

#[test]
fn credentials_that_end_in_mid_session_close_the_connection_and_nothing_else() {
    let mut world = World::new();
    let (a, welcome) = world.session_of("brief", ALL);
    let (job, _) = world.submit(a, "m1");
    for _ in 0..3 {
        world.wait(Duration::from_millis(19_999));
        world.send(a, "p", "session.ping", json!({"nonce": "n"}));
    }
    assert!(!world.closed.contains_key(&a));
    world.take(a);
    world.wait(Duration::from_millis(3));
    let error = world.one(a);
    assert_eq!((code(&error), error["payload"]["details"].is_null()), ("UNAUTHENTICATED", true));
    assert!(world.closed.contains_key(&a));
    world.logs(job, 1);
    assert_eq!(seqs(&world.resume(&welcome, 0, ALL).1), [1], "the same principal with a new bearer");
}

#[test]
fn what_is_resumed_is_the_same_bytes() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 5);
    world.finish(job, "{\"n\":1.0}");
    let numbered = |texts: &[String]| -> Vec<String> {
        texts.iter().filter(|text| text.contains("event_seq")).cloned().collect()
    };
    let original = numbered(&world.texts[&a]);
    world.cut(a);
    let (b, frames) = world.resume(&welcome, 0, ALL);
    assert_eq!(numbered(&world.texts[&b]), original, "SEQ-3");
    let mut world = world.restart(super::harness::config());
    let (c, _) = world.resume(&frames[0], 0, ALL);
    assert_eq!(numbered(&world.texts[&c]), original, "SEQ-3, across a restart");
}

#[test]
fn a_job_forgotten_before_its_events_ends_the_session_instead_of_spinning() {
    let mut config = super::harness::config();
    config.retention = Duration::from_secs(60);
    let mut world = World::with(config.clone());
    let (a, welcome) = world.session(ALL.without(Feature::Heartbeat));
    let (job, _) = world.submit(a, "m1");
    world.finish(job, "1");
    world.wait(Duration::from_secs(61));
    world.cut(a);
    let mut world = world.restart(config);
    let (b, frames) = world.resume(&welcome, 0, ALL.without(Feature::Heartbeat));
    assert_eq!(types(&frames), ["session.welcome", "session.error"]);
    assert_eq!(super::harness::limit(&frames[1]), "history");
    assert!(world.closed.contains_key(&b));
    let (_, frames) = world.resume(&frames[0], 0, ALL.without(Feature::Heartbeat));
    assert_eq!(code(&frames[0]), "RESUME_WINDOW_EXPIRED");
}

#[test]
fn numbers_end_at_two_to_the_53rd() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    let key = crate::id::SessionKey::parse(welcome["session_id"].as_str().unwrap()).unwrap();
    let handle = world.runtime.session_keys[&key];
    let session = world.runtime.sessions.get_mut(handle).unwrap();
    let near = crate::config::MAX_SEQ - 2;
    session.retention = crate::replay::Retention::new(near);
    session.window = crate::runtime::window::SendWindow::new(near);
    (session.acked, session.sent) = (near, near);
    // The rows of the store do not know of the leap, so its answers are made up.
    world.instant_store = false;
    for _ in 0..4 {
        world.logs(job, 1);
        while let Some((id, _)) = world.commands.pop_front() {
            world.answer_store(id, crate::runtime::store::StoreDone::Appended);
        }
    }
    let frames = world.take(a);
    let numbers = seqs(&frames);
    assert!(numbers.iter().all(|number| (near + 1..=crate::config::MAX_SEQ).contains(number)), "{numbers:?}");
    let error = frames.last().unwrap();
    assert_eq!((code(error), super::harness::limit(error)), ("INTERNAL_ERROR", "event_seq"), "SEQ-10");
    assert!(world.closed.contains_key(&a));
    assert_eq!(world.runtime.population().sessions, 0);
    assert_eq!(world.runtime.population().unfinished_jobs, 1);
}
