//! The envelope of every frame, and what a peer may write into its own (protocol §1).

use core::time::Duration;
use std::collections::BTreeSet;
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, hello, types};
use crate::runtime::{AgentInput, ConnectionId};
use crate::wire::event::ChunkEmission;
use crate::wire::testing::{is_minted, is_trace_id, stray_null};

fn check_head(frame: &Value, session: &Value) {
    const MEMBERS: [&str; 8] =
        ["arcp", "id", "type", "session_id", "trace_id", "job_id", "event_seq", "payload"];
    let members = frame.as_object().unwrap();
    assert!(members.keys().all(|name| MEMBERS.contains(&name.as_str())), "{frame}");
    assert_eq!((&frame["arcp"], &frame["session_id"]), (&json!("1.1"), session), "{frame}");
    assert!(is_minted(&frame["id"], "msg_"), "{frame}");
    assert!(frame["payload"].is_object(), "{frame}");
    let message_type = frame["type"].as_str().unwrap();
    let is_numbered = matches!(message_type, "job.event" | "job.result" | "job.error");
    assert_eq!(frame["event_seq"].is_u64(), is_numbered, "{frame}");
    if message_type.starts_with("job.") {
        assert!(is_minted(&frame["job_id"], "job_"), "{frame}");
        assert!(is_trace_id(&frame["trace_id"]), "{frame}");
    }
    assert_eq!(stray_null(frame, ""), None, "{frame}");
}

/// Everything a runtime sends, once.
fn busy() -> (World, ConnectionId, ConnectionId) {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.logs(job, 1);
    world
        .runtime
        .handle_agent(world.now, job, AgentInput::Chunk(ChunkEmission::utf8("x", false).unwrap()))
        .unwrap();
    world.finish(job, "null");
    let (_, other) = world.submit_after(a, "m2");
    world.send(b, "m1", "job.subscribe", json!({"job_id": id, "history": true}));
    world.send(b, "m2", "session.list_jobs", json!({}));
    world.send(b, "m3", "job.cancel", json!({"job_id": other}));
    world.send(a, "m3", "job.cancel", json!({"job_id": other}));
    world.send(a, "m4", "session.ping", json!({"nonce": "n"}));
    world.send_text(a, "{");
    // The grace of the cancel passes, and so does the time to a ping.
    for n in 0..4 {
        world.wait(Duration::from_secs(10));
        for connection in [a, b] {
            world.send(connection, &std::format!("p{n}"), "session.pong", json!({}));
        }
    }
    world.send(b, "m5", "session.close", json!({}));
    world.runtime.shut_down(world.now);
    world.runtime.shut_down(world.now);
    world.settle();
    (world, a, b)
}

#[test]
fn every_frame_of_a_runtime_has_the_documented_head() {
    let (world, a, b) = busy();
    let mut seen = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for connection in [a, b] {
        let frames: Vec<Value> =
            world.texts[&connection].iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let session = frames[0]["session_id"].clone();
        assert!(is_minted(&session, "sess_"), "{session}");
        for frame in &frames {
            check_head(frame, &session);
            assert!(ids.insert(frame["id"].to_string()), "an id twice: {frame}");
            seen.insert(frame["type"].as_str().unwrap().to_string());
            match frame["type"].as_str().unwrap() {
                "session.ping" => assert!(is_minted(&frame["payload"]["nonce"], "p_"), "{frame}"),
                "job.result" => assert!(is_minted(&frame["payload"]["result_id"], "res_"), "{frame}"),
                _ => {}
            }
        }
    }
    let expected = [
        "job.accepted",
        "job.cancelled",
        "job.error",
        "job.event",
        "job.result",
        "job.subscribed",
        "session.bye",
        "session.closed",
        "session.error",
        "session.jobs",
        "session.ping",
        "session.pong",
        "session.welcome",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn an_error_before_the_session_echoes_its_id_or_mints_one() {
    for (named, payload) in [
        (Some("sess_proposed"), hello("wrong", ALL)),
        (None, hello("wrong", ALL)),
        // What is malformed names nothing that could be relied on.
        (None, json!([])),
    ] {
        let mut world = World::new();
        let a = world.open();
        let mut frame = json!({"arcp": "1.1", "id": "m", "type": "session.hello", "payload": payload});
        if let Some(named) = named {
            frame["session_id"] = named.into();
        }
        world.send_text(a, &frame.to_string());
        let error = world.one(a);
        assert_eq!(error["type"], "session.error");
        match named {
            Some(named) => assert_eq!(error["session_id"], named),
            None => assert!(is_minted(&error["session_id"], "sess_"), "{error}"),
        }
    }
}

#[test]
fn the_envelope_of_a_hello_names_no_session() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    world.cut(a);
    let mut payload = hello("good", ALL);
    for named in [&json!("sess_of_somebody_else"), &welcome["session_id"]] {
        let b = world.open();
        let frame = json!({"arcp": "1.1", "id": "m", "type": "session.hello", "session_id": named, "payload": payload});
        world.send_text(b, &frame.to_string());
        let fresh = world.one(b);
        assert_eq!(fresh["type"], "session.welcome", "{fresh}");
        assert_ne!(fresh["session_id"], welcome["session_id"], "only a token resumes");
    }
    payload["resume"] = json!({"resume_token": welcome["payload"]["resume_token"]});
    let c = world.open();
    let frame = json!({"arcp": "1.1", "id": "m", "type": "session.hello", "session_id": "sess_other", "payload": payload});
    world.send_text(c, &frame.to_string());
    assert_eq!(world.one(c)["session_id"], welcome["session_id"], "the token names the session");
}

#[test]
fn names_and_ids_are_compared_byte_by_byte() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    let (_, id) = world.submit(a, "m1");
    let answer = world.ask(a, "m2", "job.cancel", json!({"job_id": id.to_lowercase()}));
    assert_eq!(code(&answer), "JOB_NOT_FOUND");
    let answer = world.ask(a, "m3", "job.cancel", json!({"JOB_ID": id}));
    assert_eq!(code(&answer), "INVALID_REQUEST", "another member is not this one");
    let session = welcome["session_id"].as_str().unwrap().to_lowercase();
    let frame = json!({"arcp": "1.1", "id": "m4", "type": "session.ping", "session_id": session, "payload": {"nonce": "n"}});
    world.send_text(a, &frame.to_string());
    assert_eq!(code(&world.one(a)), "INVALID_REQUEST");
    let frame =
        json!({"ARCP": "1.1", "arcp": "9", "id": "m5", "type": "session.ping", "payload": {"nonce": "n"}});
    world.send_text(a, &frame.to_string());
    assert_eq!(code(&world.one(a)), "INVALID_REQUEST");
}

#[test]
fn what_a_client_calls_its_job_is_ignored() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let frame = json!({
        "arcp": "1.1", "id": "m1", "type": "job.submit", "job_id": "job_mine",
        "payload": {"agent": "a", "job_id": "job_mine", "parent_job_id": "job_mine", "delegate_id": "dlg_mine"},
    });
    world.send_text(a, &frame.to_string());
    let accepted = world.one(a);
    assert!(is_minted(&accepted["job_id"], "job_"), "{accepted}");
    assert!(accepted["payload"]["parent_job_id"].is_null() && accepted["payload"]["delegate_id"].is_null());
}

#[test]
fn opaque_values_come_back_as_they_were_spelled() {
    const INPUT: &str = r#"{"a":9007199254740993,"b":-0,"c":1.50e+2,"d":null,"e":[1E40,0.10]}"#;
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let frame = std::format!(
        r#"{{"arcp":"1.1","id":"m1","type":"job.submit","payload":{{"agent":"a","input":{INPUT}}}}}"#
    );
    world.send_text(a, &frame);
    assert_eq!(world.started[0].input.as_str(), INPUT);
    let job = world.started[0].job;
    world.finish(job, INPUT);
    let text = world.texts[&a].last().unwrap();
    assert!(text.contains(&std::format!("\"result\":{INPUT}")), "{text}");
}

#[test]
fn a_malformed_frame_is_answered_under_the_id_that_could_be_read() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    for (text, id) in [
        (r#"{"arcp":"1.1","id":"m1","type":"job.submit","payload":{"a":1,"a":2}}"#, json!("m1")),
        (r#"{"arcp":"1.1","id":"m2","type":"job.submit","payload":[]}"#, json!("m2")),
        (r#"{"arcp":"7","id":"m3","type":"session.ping","payload":{"nonce":"n"}}"#, json!("m3")),
        (r#"{"arcp":"1.1","type":"session.ping","payload":{"nonce":"n"}}"#, Value::Null),
        ("nothing of the kind", Value::Null),
    ] {
        world.send_text(a, text);
        let error = world.one(a);
        let ids = (&error["payload"]["request_id"], &error["payload"]["reply_to"]);
        assert_eq!((code(&error), ids), ("INVALID_REQUEST", (&id, &id)), "{text}");
        assert!(!world.closed.contains_key(&a));
    }
}

#[test]
fn an_unknown_type_is_named() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    for unknown in ["job.pause", "x-vendor.acme.poke", "session.welcome"] {
        let refused = world.ask(a, unknown, unknown, json!({}));
        assert_eq!(code(&refused), "INVALID_REQUEST");
        assert_eq!(refused["payload"]["details"], json!({"type": unknown}));
        assert_eq!(refused["payload"]["request_id"], unknown);
    }
    let optional = json!({"arcp": "1.1", "id": "m", "type": "job.pause", "payload": {}, "extensions": {"optional": true}});
    world.send_text(a, &optional.to_string());
    assert!(world.take(a).is_empty());
}

#[test]
fn a_repeated_request_waits_for_the_first_ones_answer() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    world.instant_store = false;
    for _ in 0..3 {
        world.send(a, "m1", "job.submit", json!({"agent": "a"}));
    }
    assert!(world.take(a).is_empty());
    world.store_all();
    let answers = world.take(a);
    assert!(answers.iter().all(|answer| answer["job_id"] == answers[0]["job_id"]), "{answers:#?}");
    assert!(types(&answers).iter().all(|message_type| *message_type == "job.accepted"), "{answers:#?}");
    assert_eq!((world.started.len(), answers.len()), (1, 3), "D-49");
}

#[test]
fn goodbyes_are_answered_as_documented() {
    for (goodbye, answer) in [("session.close", &["session.closed"][..]), ("session.bye", &[])] {
        let mut world = World::new();
        let (a, welcome) = world.session(ALL);
        let (job, _) = world.submit(a, "m1");
        world.send(a, "m2", goodbye, json!({"reason": "done"}));
        let frames = world.take(a);
        assert_eq!(types(&frames), answer);
        assert_eq!(world.closed[&a], 1000);
        assert!(frames.iter().all(|frame| frame["payload"]["reason"] == "done"));
        world.logs(job, 1);
        assert!(world.take(a).is_empty(), "nothing follows");
        let (_, frames) = world.resume(&welcome, 0, ALL);
        assert_eq!(types(&frames)[0], "session.welcome", "D-46: the token is good for the window");
        assert_eq!(types(&frames).last(), Some(&"job.event"));
    }
}

#[test]
fn every_refusal_names_its_request() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let missing = "job_01KZZSPRE8B7N2V5T9K4C3M6QZ";
    for (id, kind, payload, expected, job) in [
        ("m1", "job.submit", json!({"agent": "nobody"}), "AGENT_NOT_AVAILABLE", None),
        ("m2", "job.submit", json!({"agent": 5}), "INVALID_REQUEST", None),
        ("m3", "job.cancel", json!({"job_id": missing}), "JOB_NOT_FOUND", Some(missing)),
        ("m4", "job.subscribe", json!({"job_id": missing}), "JOB_NOT_FOUND", Some(missing)),
        ("m5", "session.list_jobs", json!({"limit": 0}), "INVALID_REQUEST", None),
        ("m6", "session.ack", json!({"last_processed_seq": 9}), "INVALID_REQUEST", None),
        ("m7", "session.ping", json!({}), "INVALID_REQUEST", None),
    ] {
        let refused = world.ask(a, id, kind, payload);
        assert_eq!((&refused["type"], code(&refused)), (&json!("session.error"), expected), "D-26: {kind}");
        let payload = &refused["payload"];
        assert_eq!((&payload["request_id"], &payload["reply_to"]), (&json!(id), &json!(id)), "D-20: {kind}");
        assert_eq!(payload["job_id"].as_str(), job, "{kind}");
    }
}

#[test]
fn the_older_dialect_is_named_in_the_refusal() {
    let mut world = World::new();
    let a = world.open();
    world.send(a, "m1", "session.open", json!({}));
    let error = world.one(a);
    assert_eq!(code(&error), "INVALID_REQUEST");
    assert_eq!(error["payload"]["details"], json!({"dialect": "rfc-0001"}), "D-94");
    assert!(world.closed.contains_key(&a));
}
