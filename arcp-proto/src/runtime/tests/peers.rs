//! What each known client gets where it differs (protocol §12.3).

mod leases;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::time::Duration;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, seqs, types};
use crate::runtime::{ConnectionId, RuntimeEvent};
use crate::wire::peer::{PeerProfile, TransportKind};

const TRACE: &str = "7c9f1e2a5b3d4806a1f2c3d4e5f60718";
/// The hellos of all profiles, in the order of the protocol's columns.
const HELLOS: [(&str, PeerProfile); 8] = [
    ("hello-fresh", PeerProfile::Core),
    ("hello-auth-only", PeerProfile::Unknown),
    ("hello-python113", PeerProfile::Python113),
    ("hello-python-newer", PeerProfile::PythonNewer),
    ("hello-typescript", PeerProfile::TypeScript),
    ("hello-go", PeerProfile::Go),
    ("hello-java-resume-flat", PeerProfile::Java),
    ("hello-ruby", PeerProfile::Ruby),
];

/// The published hello of this name, as a fresh one that our principal sends.
fn hello(name: &str) -> Value {
    let vectors = include_str!("../../../../tests/vectors/envelopes.jsonl");
    let vector = vectors
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("each line is a vector"))
        .find(|vector| vector["name"] == name)
        .unwrap_or_else(|| panic!("no {name}"));
    let mut frame = vector["envelope"].clone();
    frame["payload"]["auth"] = json!({"scheme": "bearer", "token": "good"});
    let payload = frame["payload"].as_object_mut().expect("an object");
    for member in ["resume", "resume_token", "last_event_seq"] {
        payload.remove(member);
    }
    if name == "hello-auth-only" {
        payload.insert(
            "capabilities".to_string(),
            json!({"features": ["list_jobs", "subscribe", "cost.budget"]}),
        );
    }
    frame
}

/// A session of this profile, its welcome taken.
fn session(world: &mut World, profile: PeerProfile) -> ConnectionId {
    let (name, _) = HELLOS.into_iter().find(|(_, of)| *of == profile).expect("every profile has a hello");
    let connection = world.open();
    world.send_text(connection, &hello(name).to_string());
    let welcome = world.one(connection);
    assert_eq!(welcome["type"], "session.welcome", "{name}: {welcome}");
    connection
}

fn submit(id: &str, agent: &str) -> String {
    let payload = json!({"agent": agent, "input": 1});
    json!({"arcp": "1.1", "id": id, "type": "job.submit", "trace_id": TRACE, "payload": payload}).to_string()
}

/// A frame without what is the same in all of them, and with names for what is minted.
fn in_short(frame: &Value, job: &str, request: &str) -> String {
    let mut frame = frame.clone();
    let session = frame["session_id"].as_str().expect("on every frame").to_string();
    let mut head = String::new();
    let id = frame["id"].as_str().expect("on every frame");
    let _ = write!(head, "{}", frame["type"].as_str().expect("on every frame"));
    if id == request {
        head.push_str(" id=request");
    }
    for member in ["trace_id", "job_id", "event_seq"] {
        if !frame[member].is_null() {
            let _ = write!(head, " {member}={}", frame[member]);
        }
    }
    let payload = frame["payload"].take();
    format!("{head} {payload}").replace(job, "JOB").replace(&session, "SESSION").replace(TRACE, "TRACE")
}

/// Everything a client of this profile gets while it does what is refused, and one job is cancelled and one returns.
fn trace(profile: PeerProfile) -> String {
    let mut world = World::new();
    let connection = session(&mut world, profile);
    let mut out = format!("── {profile:?}\n");
    let mut job = "none yet".to_string();
    let mut fresh = Vec::new();
    let mut tell = |world: &mut World, step: &str, job: &str, request: &str| {
        let _ = writeln!(out, "{step}");
        for frame in world.take(connection) {
            let mut text = in_short(&frame, job, request);
            if let Some(id) = frame["job_id"].as_str().filter(|id| *id != job && *id != "job_none") {
                assert!(!fresh.contains(&id.to_string()), "a fresh id is never used again");
                fresh.push(id.to_string());
                text = text.replace(id, "FRESH");
            }
            let _ = writeln!(out, "    {text}");
        }
    };
    let request = |id: &str, message_type: &str, payload: Value| {
        json!({"arcp": "1.1", "id": id, "type": message_type, "payload": payload}).to_string()
    };
    world.send_text(connection, &submit("r-1", "nobody"));
    tell(&mut world, "submit to nobody", &job, "r-1");
    world.send_text(connection, &request("r-2", "session.list_jobs", json!({"cursor": "x"})));
    tell(&mut world, "list with a bad cursor", &job, "r-2");
    world.send_text(connection, &request("r-3", "job.subscribe", json!({"job_id": "job_none"})));
    tell(&mut world, "subscribe to nothing", &job, "r-3");
    world.send_text(connection, &request("r-4", "job.cancel", json!({"job_id": "job_none"})));
    tell(&mut world, "cancel nothing", &job, "r-4");
    world.send_text(connection, "{\"id\":\"r-5\",\"arcp\":\"2\"}");
    tell(&mut world, "a frame of another version", &job, "r-5");
    world.send_text(connection, "{");
    tell(&mut world, "half a frame", &job, "-");
    world.send_text(connection, &request("r-6", "session.ack", json!({"last_processed_seq": 9})));
    tell(&mut world, "acknowledge what was never sent", &job, "r-6");

    world.send_text(connection, &submit("r-7", "a"));
    let started = world.started.last().expect("a job");
    let handle = started.job;
    job = started.key.to_string();
    tell(&mut world, "submit", &job, "r-7");
    world.send_text(connection, &request("r-8", "job.subscribe", json!({"job_id": "job_none"})));
    tell(&mut world, "subscribe to nothing beside a live job", &job, "r-8");
    world.finish(handle, "{\"n\":1}");
    tell(&mut world, "it returns", &job, "-");
    world.send_text(connection, &submit("r-9", "a"));
    let started = world.started.last().expect("a job");
    let handle = started.job;
    job = started.key.to_string();
    world.take(connection);
    world.send_text(connection, &request("r-10", "job.cancel", json!({"job_id": job, "reason": "enough"})));
    world.finish(handle, "1");
    tell(&mut world, "another is cancelled", &job, "r-10");
    out
}

#[test]
fn every_profile_gets_its_own_frames() {
    let traces: Vec<String> = HELLOS.iter().map(|(_, profile)| trace(*profile)).collect();
    insta::assert_snapshot!(traces.join("\n"));
}

#[test]
fn the_profile_of_a_session_is_stored_with_it() {
    for (name, profile) in HELLOS {
        let mut world = World::new();
        let connection = world.open();
        world.send_text(connection, &hello(name).to_string());
        let welcome = world.one(connection);
        world.send_text(connection, &submit("r-1", "a"));
        let job = world.started.last().expect("a job").job;
        world.finish(job, "1");
        let before = world.texts[&connection].last().expect("the end").clone();
        assert!(before.contains("job.result"), "{name}: {before}");

        // The hello of a resume does not choose again.
        let mut world = world.restart(config());
        let mut again = hello(name);
        again["id"] = "m-again".into();
        again["payload"]["resume"] =
            json!({"token": welcome["payload"]["resume_token"], "last_event_seq": 0});
        let connection = world.open();
        world.send_text(connection, &again.to_string());
        assert_eq!(world.texts[&connection].last(), Some(&before), "{profile:?}: D-106");
    }
}

#[test]
fn a_client_that_knows_its_answers_by_their_id_gets_the_refusal_of_its_hello_so_too() {
    let mut world = World::new();
    for (spoil, expected) in [
        (json!({"auth": {"scheme": "bearer", "token": "bad"}}), "UNAUTHENTICATED"),
        (json!({"auth": null}), "UNAUTHENTICATED"),
        (json!({"last_event_seq": 3, "resume_token": "rt_x"}), "UNAUTHENTICATED"),
        (json!({"capabilities": {"features": "all"}}), "INVALID_REQUEST"),
    ] {
        let mut frame = hello("hello-java-resume-flat");
        for (name, value) in spoil.as_object().expect("members") {
            frame["payload"][name] = value.clone();
        }
        let connection = world.open();
        world.send_text(connection, &frame.to_string());
        let frames = world.take(connection);
        assert_eq!(types(&frames), ["session.error", "job.error"], "{frames:#?}");
        assert_eq!((code(&frames[0]), code(&frames[1])), (expected, expected));
        assert!(frames[0]["payload"]["request_id"].is_null(), "it announces the close");
        assert_eq!(frames[1]["id"], frame["id"]);
        assert_eq!(frames[1]["payload"]["request_id"], frame["id"]);
        assert_eq!(frames[1]["session_id"], frames[0]["session_id"]);
        assert!(frames[1]["job_id"].is_null() && frames[1]["event_seq"].is_null(), "D-76");
        assert!(world.closed.contains_key(&connection));
    }
}

#[test]
fn what_ends_an_open_session_answers_no_hello() {
    let mut world = World::new();
    let connection = session(&mut world, PeerProfile::Java);
    world.wait(Duration::from_secs(120));
    let frames = world.take(connection);
    let last = frames.last().expect("it was silent");
    assert_eq!((last["type"].as_str(), code(last)), (Some("session.error"), "HEARTBEAT_LOST"));
}

#[test]
fn other_clients_get_one_refusal_of_their_hello() {
    for (name, _) in HELLOS.into_iter().filter(|(_, profile)| *profile != PeerProfile::Java) {
        let mut world = World::new();
        let mut frame = hello(name);
        frame["payload"]["auth"]["token"] = "bad".into();
        let connection = world.open();
        world.send_text(connection, &frame.to_string());
        assert_eq!(types(&world.take(connection)), ["session.error"], "{name}");
    }
}

/// The refusals a TypeScript client is spared, and why.
fn spared(world: &World) -> Vec<String> {
    let silent = |event: &RuntimeEvent| match event {
        RuntimeEvent::RefusedSilently { code, .. } => Some(code.to_string()),
        _ => None,
    };
    world.events.iter().filter_map(silent).collect()
}

#[test]
fn an_error_that_would_fail_other_work_is_logged_instead() {
    let mut world = World::new();
    let connection = session(&mut world, PeerProfile::TypeScript);
    let subscribe = json!({"job_id": "job_none"});
    world.send(connection, "r-1", "job.subscribe", subscribe.clone());
    assert_eq!(types(&world.take(connection)), ["session.error"], "nothing else could be meant");

    // A submit whose acceptance is not stored yet.
    world.instant_store = false;
    world.send_text(connection, &submit("r-2", "a"));
    world.send(connection, "r-3", "job.subscribe", subscribe.clone());
    assert!(world.take(connection).is_empty());
    world.store_all();
    assert_eq!(types(&world.take(connection)), ["job.accepted"]);
    world.instant_store = true;

    // A live job, then the answer to a cancel of it that is not stored yet.
    world.send(connection, "r-4", "session.list_jobs", json!({"limit": 0}));
    assert!(world.take(connection).is_empty());
    let started = world.started.last().expect("a job");
    let (job, id) = (started.job, started.key.to_string());
    world.finish(job, "1");
    world.take(connection);
    world.instant_store = false;
    world.send(connection, "r-5", "job.subscribe", json!({"job_id": id, "history": true}));
    world.send(connection, "r-6", "job.cancel", json!({"job_id": "job_none"}));
    assert!(world.take(connection).is_empty(), "a subscribe is open");
    world.store_all();
    world.instant_store = true;
    world.settle();
    assert_eq!(types(&world.take(connection)), ["job.subscribed", "job.result"]);

    world.send(connection, "r-7", "job.subscribe", subscribe.clone());
    assert_eq!(types(&world.take(connection)), ["session.error"]);

    // A job whose end is not sent, and one that another session took over.
    let (job, _) = world.submit(connection, "r-8");
    world.stalled.push(connection);
    world.finish(job, "1");
    world.send(connection, "r-9", "job.subscribe", subscribe.clone());
    world.stalled.clear();
    world.settle();
    assert_eq!(types(&world.take(connection)), ["job.result"]);
    let keyed = json!({"agent": "a", "idempotency_key": "k"});
    world.send(connection, "r-10", "job.submit", keyed.clone());
    let (other, _) = world.session(ALL);
    world.send(other, "m-1", "job.submit", keyed);
    world.take(connection);
    world.send(connection, "r-11", "job.subscribe", subscribe.clone());
    assert!(world.take(connection).is_empty());
    let job = world.started.last().expect("a job").job;
    world.finish(job, "1");
    world.take(connection);

    // The same request again is judged by what is open then.
    let (_, id) = world.submit(connection, "r-12");
    world.send(connection, "r-7", "job.subscribe", subscribe);
    world.send(connection, "r-13", "job.cancel", json!({"job_id": id, "reason": 1}));
    let frames = world.take(connection);
    assert_eq!(types(&frames), ["job.cancelled"], "an unusable reason counts as absent");
    let codes = ["JOB_NOT_FOUND", "INVALID_REQUEST", "JOB_NOT_FOUND"];
    assert_eq!(spared(&world), [&codes[..], &["JOB_NOT_FOUND"; 3]].concat());
}

#[test]
fn refused_submits_keep_their_place() {
    for profile in [PeerProfile::TypeScript, PeerProfile::Java] {
        let mut world = World::new();
        let connection = session(&mut world, profile);
        world.instant_store = false;
        world.send_text(connection, &submit("r-1", "a"));
        world.send_text(connection, &submit("r-2", "nobody"));
        assert!(world.take(connection).is_empty(), "D-75");
        world.store_all();
        let frames = world.take(connection);
        let expected: &[&str] = match profile {
            PeerProfile::Java => &["job.accepted", "session.error", "job.error"],
            _ => &["job.accepted", "job.error"],
        };
        assert_eq!(types(&frames), expected);
        assert!(seqs(&frames).is_empty(), "D-76");
    }
}

#[test]
fn a_repeated_submit_is_refused_in_the_same_shape() {
    let mut world = World::new();
    let connection = session(&mut world, PeerProfile::TypeScript);
    let mut jobs = Vec::new();
    for _ in 0..2 {
        world.send_text(connection, &submit("r-1", "nobody"));
        let error = world.one(connection);
        assert_eq!((error["type"].as_str(), code(&error)), (Some("job.error"), "AGENT_NOT_AVAILABLE"));
        assert_eq!(error["trace_id"], TRACE);
        jobs.push(error["job_id"].clone());
    }
    assert_ne!(jobs[0], jobs[1], "the id is used nowhere else");
}

#[test]
fn lines_are_short_towards_readers_that_stop_there() {
    for (name, profile) in HELLOS {
        let mut world = World::new();
        let connection = world.open_over(TransportKind::Lines);
        world.send_text(connection, &hello(name).to_string());
        world.take(connection);
        world.send_text(connection, &submit("r-1", "a"));
        let limit = world.started.last().expect("a job").frame_limit;
        assert_eq!(limit, profile.frame_limit(TransportKind::Lines), "{name}");
    }
}

#[test]
fn the_older_dialect_is_refused_by_name() {
    let vectors = include_str!("../../../../tests/vectors/envelopes.jsonl");
    let mut judged = 0;
    for line in vectors.lines() {
        let vector: Value = serde_json::from_str(line).expect("each line is a vector");
        let is_older = vector["dialect"].as_str().is_some_and(|dialect| dialect.starts_with("rfc0001"));
        if !is_older || vector["direction"] == "r2c" {
            continue;
        }
        let name = &vector["name"];
        let mut world = World::new();
        let connection = world.open();
        world.send_bytes(connection, vector["envelope"].to_string().as_bytes());
        let error = world.one(connection);
        assert_eq!(error["type"], "session.error", "{name}");
        assert!(world.closed.contains_key(&connection), "{name}: D-94");
        if vector["type"] == "session.open" {
            assert_eq!(
                (code(&error), &error["payload"]["details"]),
                ("INVALID_REQUEST", &json!({"dialect": "rfc-0001"}))
            );
            judged += 1;
        }
    }
    assert_eq!(judged, 2);
}
