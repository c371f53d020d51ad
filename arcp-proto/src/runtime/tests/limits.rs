//! Limits of connections, sessions and principals: hit once, and stayed just below once (protocol §9).

use core::time::Duration;
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, hello, limit, seqs, types};
use crate::config::{Limits, RuntimeConfig};
use crate::feature::Feature;
use crate::runtime::ConnectionId;

/// A runtime with other limits.
fn limited(change: impl FnOnce(&mut Limits)) -> World {
    World::with(limited_config(change))
}

fn limited_config(change: impl FnOnce(&mut Limits)) -> RuntimeConfig {
    let mut config = config();
    change(&mut config.limits);
    config
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_silent_connection_is_closed_after_five_seconds() {
    let mut world = World::new();
    let a = world.open();
    world.wait(millis(4_999));
    assert!(world.take(a).is_empty() && !world.closed.contains_key(&a));
    world.wait(millis(1));
    assert_eq!(code(&world.one(a)), "INTERNAL_ERROR");
    assert_eq!(world.closed[&a], 1008);
    assert_eq!(world.runtime.population().connections, 0);
}

#[test]
fn a_verifier_that_takes_too_long_is_an_internal_error() {
    let mut world = World::new();
    let a = world.open();
    world.wait(millis(4_000));
    world.send(a, "m1", "session.hello", hello("silent", ALL));
    world.wait(millis(5_999));
    assert!(world.take(a).is_empty(), "the hello came in time");
    world.wait(millis(1));
    assert_eq!(code(&world.one(a)), "INTERNAL_ERROR");
    assert_eq!(world.closed[&a], 1013);
    assert_eq!(world.runtime.population().sessions, 0, "no state before the welcome (SES-6)");
}

#[test]
fn a_connection_that_takes_nothing_for_a_minute_is_closed() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL.without(Feature::Heartbeat));
    let (job, _) = world.submit(a, "m1");
    world.stalled.push(a);
    world.logs(job, 1);
    world.wait(millis(59_999));
    assert!(!world.closed.contains_key(&a));
    world.pull(a);
    assert_eq!(seqs(&world.take(a)), [1], "one frame taken starts the minute again");
    world.logs(job, 1);
    world.wait(millis(59_999));
    assert!(!world.closed.contains_key(&a));
    world.wait(millis(1));
    let error = world.one(a);
    assert_eq!((code(&error), limit(&error)), ("INTERNAL_ERROR", "unsent"));
    assert!(world.closed.contains_key(&a));
    let (_, frames) = world.resume(&welcome, 1, ALL.without(Feature::Heartbeat));
    assert_eq!(seqs(&frames), [2], "D-10: nothing is lost");
}

#[test]
fn an_idle_connection_is_never_stalled() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    world.wait(Duration::from_secs(3_600));
    assert!(!world.closed.contains_key(&a));
}

#[test]
fn a_frame_that_has_begun_must_go_on() {
    let mut world = World::new();
    let features = ALL.without(Feature::Heartbeat);
    let (a, welcome) = world.session(features);
    let partial = |world: &mut World, bytes| world.runtime.handle_partial(world.now, a, bytes);
    partial(&mut world, 1);
    world.wait(millis(20_000));
    partial(&mut world, 1 + 16_384);
    for second in 1..30_u64 {
        world.wait(millis(1_000));
        partial(&mut world, 1 + 16_384 + second);
    }
    world.wait(millis(999));
    assert!(!world.closed.contains_key(&a), "enough had come after 20 s");
    world.wait(millis(1));
    let error = world.one(a);
    assert_eq!((code(&error), limit(&error)), ("INTERNAL_ERROR", "frame"));
    assert_eq!(world.closed[&a], 1008);
    assert_eq!(world.resume(&welcome, 0, features).1[0]["type"], "session.welcome");
}

#[test]
fn a_frame_that_is_whole_or_was_none_is_waited_for_no_longer() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    for ended in 0..3 {
        world.runtime.handle_partial(world.now, a, 5);
        world.wait(millis(29_999));
        match ended {
            0 => world.send(a, "m", "session.ack", json!({"last_processed_seq": 0})),
            1 => world.runtime.handle_oversized(world.now, a),
            _ => world.runtime.handle_partial(world.now, a, 0),
        }
        world.wait(Duration::from_secs(3_600));
        assert!(!world.closed.contains_key(&a), "{ended}");
    }
    world.runtime.handle_partial(world.now, a, 5);
    world.wait(Duration::from_secs(30));
    assert!(world.closed.contains_key(&a), "a frame that begins later counts from there");
}

#[test]
fn a_frame_whose_rest_is_not_read_is_not_late() {
    let mut world = limited(|limits| limits.control_queue = 2);
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    world.stalled.push(a);
    world.send(a, "m1", "job.cancel", json!({"job_id": "x"}));
    assert!(!world.runtime.may_read(a));
    world.runtime.handle_partial(world.now, a, 5);
    world.wait(millis(59_999));
    assert!(!world.closed.contains_key(&a));
    world.stalled.clear();
    world.settle();
    assert!(world.runtime.may_read(a));
    world.wait(millis(30_000));
    assert!(!world.closed.contains_key(&a), "it has its time from when it was read again");
    world.wait(millis(1));
    assert!(world.closed.contains_key(&a));
}

#[test]
fn sixty_four_kib_may_come_before_the_welcome() {
    for (over, closes) in [(0, false), (1, true)] {
        let mut world = World::new();
        let a = world.open();
        let mut payload = hello("good", ALL);
        payload["padding"] = "".into();
        let frame = |payload: &Value| {
            json!({"arcp": "1.1", "id": "m", "type": "session.hello", "payload": payload}).to_string()
        };
        let padding = 65_536 - frame(&payload).len() + over;
        payload["padding"] = "x".repeat(padding).into();
        world.send_text(a, &frame(&payload));
        let answer = world.one(a);
        assert_eq!(answer["type"] == "session.error", closes, "{answer}");
        assert_eq!(world.closed.contains_key(&a), closes);
    }
}

/// What is answered to one request with a member of this many bytes.
fn answer_to(message_type: &str, member: &str, bytes: usize) -> Value {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let mut payload = json!({"agent": "a", "nonce": "n"});
    payload[member] = "x".repeat(bytes).into();
    world.ask(a, "m", message_type, payload)
}

#[test]
fn texts_have_their_longest() {
    for (message_type, member, longest, good) in [
        ("job.submit", "idempotency_key", 256, "job.accepted"),
        ("job.submit", "agent", 128, "AGENT_NOT_AVAILABLE"),
        ("session.ping", "nonce", 128, "session.pong"),
        ("job.cancel", "job_id", 128, "JOB_NOT_FOUND"),
        ("job.subscribe", "job_id", 128, "JOB_NOT_FOUND"),
    ] {
        let answer = answer_to(message_type, member, longest);
        assert!(answer["type"] == good || code(&answer) == good, "{member}: {answer}");
        let refused = answer_to(message_type, member, longest + 1);
        assert_eq!(code(&refused), "INVALID_REQUEST", "{member}: {refused}");
    }
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    for (bytes, good) in [(128, true), (129, false)] {
        let answer = world.ask(a, &"i".repeat(bytes), "session.ping", json!({"nonce": "n"}));
        assert_eq!(answer["type"] == "session.pong", good, "an id of {bytes} bytes");
        let answer = world.ask(a, "m", &"t".repeat(bytes), json!({}));
        let is_named = answer["payload"]["details"]["type"].is_string();
        assert_eq!(is_named, good, "a type of {bytes} bytes is unknown, or none: {answer}");
    }
    for (seconds, good) in [(31_536_000_u64, true), (31_536_001, false), (0, false)] {
        let submit = json!({"agent": "a", "max_runtime_sec": seconds});
        let answer = world.ask(a, &std::format!("r{seconds}"), "job.submit", submit);
        assert_eq!(answer["type"] == "job.accepted", good, "{answer}");
    }
}

#[test]
fn tokens_have_their_longest() {
    for (bytes, is_judged) in [(8_192, true), (8_193, false)] {
        let mut world = World::new();
        let a = world.open();
        world.send(a, "m", "session.hello", hello(&"x".repeat(bytes), ALL));
        let refused = world.one(a);
        assert_eq!(code(&refused), "UNAUTHENTICATED");
        assert_eq!(
            refused["payload"]["message"] == "the bearer token was not accepted",
            is_judged,
            "{refused}"
        );
    }
    for (bytes, refusal) in [(256, "UNAUTHENTICATED"), (257, "INVALID_REQUEST")] {
        let mut world = World::new();
        let (_, frames) = world.resume_with(&"x".repeat(bytes).into(), ALL);
        assert_eq!(code(&frames[0]), refusal);
    }
}

#[test]
fn the_newest_unauthenticated_connection_is_refused() {
    let mut world = limited(|limits| limits.unauthenticated = 2);
    let (a, b) = (world.open(), world.open());
    let c = world.open();
    let refused = world.one(c);
    assert_eq!((code(&refused), limit(&refused)), ("INTERNAL_ERROR", "connections"));
    assert!(world.closed.contains_key(&c) && !world.closed.contains_key(&b));
    world.send(a, "m1", "session.hello", hello("good", ALL));
    world.take(a);
    let d = world.open();
    assert!(world.take(d).is_empty(), "a welcome makes room");
    world.cut(b);
    let e = world.open();
    assert!(world.take(e).is_empty(), "and so does a close");
    let f = world.open();
    assert_eq!(world.take(f).len(), 1);
}

#[test]
fn thirty_two_malformed_frames_a_minute_are_borne() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    for _ in 0..32 {
        world.send_text(a, "{");
    }
    assert_eq!(types(&world.take(a)), ["session.error"; 32]);
    world.wait(Duration::from_secs(60));
    for _ in 0..32 {
        world.send_text(a, "{");
    }
    assert!(!world.closed.contains_key(&a));
    world.runtime.handle_oversized(world.now, a);
    world.settle();
    assert_eq!(world.closed[&a], 1008, "D-85; an oversized frame counts");
}

#[test]
fn ten_pings_a_second_are_answered() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    for expected in [10, 10] {
        for n in 0..30 {
            world.send(a, &std::format!("m{n}"), "session.ping", json!({"nonce": "n"}));
        }
        assert_eq!(world.take(a).len(), expected);
        world.wait(Duration::from_secs(1));
    }
    assert!(!world.closed.contains_key(&a));
}

#[test]
fn a_client_that_asks_faster_than_it_reads_is_not_read_and_then_closed() {
    let mut world = limited(|limits| limits.control_queue = 8);
    let (a, welcome) = world.session(ALL);
    world.stalled.push(a);
    let mut given = 0;
    while world.runtime.may_read(a) {
        given += 1;
        world.send(a, &std::format!("m{given}"), "job.cancel", json!({"job_id": "x"}));
    }
    assert_eq!(given, 4, "half of the queue");
    for n in 0..4 {
        let frame = json!({"arcp": "1.1", "id": std::format!("n{n}"), "type": "x", "payload": {}});
        world.send_bytes(a, frame.to_string().as_bytes());
    }
    assert!(!world.closed.contains_key(&a), "the queue is exactly full");
    world.send_bytes(a, br#"{"arcp":"1.1","id":"o","type":"x","payload":{}}"#);
    assert!(world.closed.contains_key(&a));
    let frames = world.take(a);
    assert_eq!(frames.len(), 9, "what was queued, and why");
    assert_eq!(limit(frames.last().unwrap()), "unsent");
    assert_eq!(world.resume(&welcome, 0, ALL).1[0]["type"], "session.welcome");
}

#[test]
fn the_oldest_remembered_request_is_forgotten() {
    let mut world = limited(|limits| limits.remembered_requests = 2);
    let (a, _) = world.session(ALL);
    let (_, first) = world.submit(a, "m1");
    world.submit(a, "m2");
    let same = world.ask(a, "m1", "job.submit", json!({"agent": "a"}));
    assert_eq!(same["job_id"], first.as_str(), "D-49");
    world.submit(a, "m3");
    world.send(a, "m1", "job.submit", json!({"agent": "a"}));
    assert_ne!(world.one(a)["job_id"], first.as_str(), "forgotten, so it is new");
}

#[test]
fn hellos_of_one_principal_are_limited_in_rate() {
    let mut world = limited(|limits| (limits.hello_burst, limits.hellos_per_second) = (3, 2));
    let try_one = |world: &mut World, token: &str| {
        let a = world.open();
        world.send(a, "m", "session.hello", hello(token, ALL));
        let answer = world.one(a);
        (code(&answer) == "INTERNAL_ERROR").then(|| String::from(limit(&answer)))
    };
    for _ in 0..3 {
        assert_eq!(try_one(&mut world, "good"), None);
    }
    assert_eq!(try_one(&mut world, "good").as_deref(), Some("hellos"));
    assert_eq!(try_one(&mut world, "other"), None, "another principal is not concerned");
    world.wait(millis(499));
    assert!(try_one(&mut world, "good").is_some());
    world.wait(millis(1));
    assert_eq!(try_one(&mut world, "good"), None);
    assert!(try_one(&mut world, "good").is_some());
}

#[test]
fn hellos_from_one_address_are_limited_in_rate_before_anybody_is_asked() {
    let mut world = limited(|limits| (limits.address_hello_burst, limits.address_hellos_per_second) = (3, 2));
    let try_one = |world: &mut World, address: &str, token: &str| {
        let a = world.open_from(address);
        world.send(a, "m", "session.hello", hello(token, ALL));
        let answer = world.one(a);
        let refused = limit(&answer) == "hellos";
        assert!(!refused || (code(&answer) == "INTERNAL_ERROR" && world.closed[&a] == 1013));
        refused
    };
    for token in ["good", "other", "wrong"] {
        assert!(!try_one(&mut world, "2001:db8::1", token));
    }
    assert!(try_one(&mut world, "2001:db8::2", "good"), "one network, one owner");
    assert!(!try_one(&mut world, "2001:db8:0:1::1", "good"), "another address is not concerned");
    world.wait(millis(499));
    assert!(try_one(&mut world, "2001:db8::1", "good"));
    world.wait(millis(1));
    assert!(!try_one(&mut world, "2001:db8::1", "good"));
    for _ in 0..10 {
        world.session_of("good", ALL);
    }
}

/// Says hello with this token, and how long the answer took.
fn greet(world: &mut World, connection: ConnectionId, hello: Value) -> (Value, Duration) {
    world.send(connection, "m", "session.hello", hello);
    let asked = world.now.mono;
    loop {
        match world.take(connection).pop() {
            Some(answer) => return (answer, world.now.mono.since(asked)),
            None => world.wait(millis(100)),
        }
    }
}

#[test]
fn where_tokens_are_guessed_every_answer_takes_its_time() {
    let mut world = World::new();
    let from = |world: &mut World, address: &str, token: &str| {
        let connection = world.open_from(address);
        let (answer, taken) = greet(world, connection, hello(token, ALL));
        (answer["type"] == "session.welcome", taken)
    };
    let (at_once, later) = (Duration::ZERO, Duration::from_secs(2));
    for _ in 0..9 {
        assert_eq!(from(&mut world, "192.0.2.1", "guessed"), (false, at_once));
    }
    assert_eq!(from(&mut world, "192.0.2.1", "good"), (true, at_once), "nine are borne");
    assert_eq!(from(&mut world, "192.0.2.1", "guessed"), (false, at_once));
    assert_eq!(from(&mut world, "192.0.2.1", "guessed"), (false, later));
    assert_eq!(from(&mut world, "192.0.2.1", "good"), (true, later), "silence must tell nothing");
    assert_eq!(from(&mut world, "192.0.2.2", "good"), (true, at_once), "another address is not concerned");
    world.wait(Duration::from_secs(60));
    assert_eq!(from(&mut world, "192.0.2.1", "good"), (true, at_once));
}

#[test]
fn whoever_guesses_resume_tokens_waits_whatever_the_address() {
    let mut world = World::new();
    let (_, welcome) = world.session(ALL);
    let resume = |world: &mut World, token: &str, resume_token: &Value| {
        let mut payload = hello(token, ALL);
        payload["resume"] = json!({"resume_token": resume_token});
        let connection = world.open();
        let (answer, taken) = greet(world, connection, payload);
        (String::from(code(&answer)), taken)
    };
    let refused = |taken| (String::from("UNAUTHENTICATED"), taken);
    let (at_once, later) = (Duration::ZERO, Duration::from_secs(2));
    for _ in 0..10 {
        assert_eq!(resume(&mut world, "good", &json!("rt_guessed")), refused(at_once));
    }
    assert_eq!(resume(&mut world, "good", &json!("rt_guessed")), refused(later));
    let own = &welcome["payload"]["resume_token"];
    assert_eq!(resume(&mut world, "other", own), refused(at_once), "another principal is not concerned");
    assert_eq!(world.session(ALL).1["type"], "session.welcome", "nor is a session of its own");
    assert_eq!(resume(&mut world, "good", own), (String::new(), later), "nothing was consumed");
}

#[test]
fn a_verdict_that_is_kept_back_is_forgotten_with_its_connection() {
    let mut world = limited(|limits| limits.failed_tokens_per_minute = 0);
    let a = world.open_from("192.0.2.1");
    world.send(a, "m", "session.hello", hello("good", ALL));
    world.cut(a);
    world.wait(Duration::from_secs(60));
    assert_eq!(world.runtime.population().sessions, 0);
}

#[test]
fn a_principal_has_so_many_sessions_of_which_an_idle_detached_one_gives_way() {
    let mut world = limited(|limits| limits.sessions = 2);
    let (a, _) = world.session(ALL);
    world.submit(a, "m1");
    let (b, second) = world.session(ALL);
    let refused = |world: &mut World| {
        let c = world.open();
        world.send(c, "m", "session.hello", hello("good", ALL));
        let answer = world.one(c);
        (limit(&answer) == "sessions").then(|| assert!(world.closed.contains_key(&c))).is_some()
    };
    assert!(refused(&mut world));
    world.cut(a);
    assert!(refused(&mut world), "a detached session that owns a running job stays");
    world.cut(b);
    assert!(!refused(&mut world), "one that owns nothing gives way");
    let (_, frames) = world.resume(&second, 0, ALL);
    assert_eq!(code(&frames[0]), "RESUME_WINDOW_EXPIRED");
}

#[test]
fn a_session_that_only_beats_gives_way_after_an_hour() {
    let mut world = limited(|limits| limits.sessions = 3);
    let features = ALL.without(Feature::Heartbeat);
    let (working, _) = world.session(features);
    world.submit(working, "m1");
    let (idle, welcome) = world.session(features);
    world.wait(millis(1));
    let (talking, _) = world.session(features);
    let refused = |world: &mut World| {
        let newest = world.open();
        world.send(newest, "m", "session.hello", hello("good", features));
        let frames = world.take(newest);
        (limit(frames.last().unwrap()) == "sessions")
            .then(|| assert!(world.closed.contains_key(&newest)))
            .is_some()
    };
    world.wait(Duration::from_secs(3_599) + millis(998));
    world.send(idle, "p", "session.ping", json!({"nonce": "n"}));
    world.send(talking, "a", "session.ack", json!({"last_processed_seq": 0}));
    assert!(refused(&mut world));
    world.take(idle);
    world.wait(millis(1));
    assert!(!refused(&mut world), "heartbeats are nothing");
    let told = world.one(idle);
    assert_eq!((code(&told), limit(&told)), ("INTERNAL_ERROR", "sessions"));
    assert!(world.closed.contains_key(&idle) && !world.closed.contains_key(&working));
    assert!(refused(&mut world), "the others have something to do, or said something");
    let answer = world.resume(&welcome, 0, features).1;
    assert_eq!(code(&answer[0]), "RESUME_WINDOW_EXPIRED");
}

#[test]
fn a_principal_has_so_many_unfinished_jobs() {
    let mut world = limited(|limits| limits.jobs = 2);
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.submit(a, "m2");
    let refused = world.ask(a, "m3", "job.submit", json!({"agent": "a", "idempotency_key": "k"}));
    assert_eq!((code(&refused), limit(&refused)), ("INTERNAL_ERROR", "jobs"));
    assert_eq!(refused["payload"]["retryable"], true, "D-9");
    let unknown = world.ask(a, "m4", "job.submit", json!({"agent": "nobody"}));
    assert_eq!(code(&unknown), "AGENT_NOT_AVAILABLE", "limits are judged after the agent (§3.1)");
    world.finish(job, "1");
    world.take(a);
    let accepted = world.ask(a, "m5", "job.submit", json!({"agent": "a", "idempotency_key": "k"}));
    assert_eq!(accepted["type"], "job.accepted");
}

#[test]
fn jobs_beyond_the_running_ones_wait_in_order() {
    let mut world = limited(|limits| limits.running_jobs = 2);
    let (a, _) = world.session(ALL);
    let mut ids = Vec::new();
    for n in 0..5 {
        world.send(a, &std::format!("m{n}"), "job.submit", json!({"agent": "a", "input": n}));
        ids.push(world.one(a)["job_id"].clone());
    }
    let started = |world: &World| -> Vec<String> {
        world.started.iter().map(|start| String::from(start.input.as_str())).collect()
    };
    assert_eq!(started(&world), ["0", "1"]);
    world.send(a, "c", "job.cancel", json!({"job_id": ids[2]}));
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.cancelled", "job.error"], "one that has not started ends at once");
    assert_eq!(started(&world), ["0", "1"], "and frees no place");
    let second = world.started[1].job;
    world.finish(second, "1");
    assert_eq!(started(&world), ["0", "1", "3"]);
    let first = world.started[0].job;
    world.finish(first, "1");
    assert_eq!(started(&world), ["0", "1", "3", "4"]);
}

#[test]
fn a_principal_has_so_many_idempotency_keys() {
    let mut world = limited(|limits| limits.idempotency_keys = 1);
    let (a, _) = world.session(ALL);
    let submit = |key: &str| json!({"agent": "a", "idempotency_key": key});
    assert_eq!(world.ask(a, "m1", "job.submit", submit("k1"))["type"], "job.accepted");
    let refused = world.ask(a, "m2", "job.submit", submit("k2"));
    assert_eq!(limit(&refused), "idempotency_keys");
    assert_eq!(
        world.ask(a, "m3", "job.submit", submit("k1"))["type"],
        "job.accepted",
        "a known key is no new one"
    );
    assert_eq!(world.ask(a, "m4", "job.submit", json!({"agent": "a"}))["type"], "job.accepted");
    let job = world.started[0].job;
    world.finish(job, "1");
    world.wait(Duration::from_secs(24 * 3_600 - 1));
    let (b, _) = world.session(ALL);
    assert_eq!(limit(&world.ask(b, "m5", "job.submit", submit("k2"))), "idempotency_keys");
    world.wait(Duration::from_secs(1));
    assert_eq!(world.ask(b, "m6", "job.submit", submit("k2"))["type"], "job.accepted", "D-24");
}

#[test]
fn a_principal_has_so_many_subscriptions_and_a_job_so_many_subscribers() {
    let mut world = limited(|limits| (limits.subscriptions, limits.subscribers) = (3, 2));
    let (a, _) = world.session(ALL);
    let (_, first) = world.submit(a, "m1");
    let (_, second) = world.submit(a, "m2");
    let watchers: Vec<ConnectionId> = (0..3).map(|_| world.session(ALL).0).collect();
    let subscribe = |world: &mut World, watcher: usize, job: &str| {
        let answer = world.ask(
            watchers[watcher],
            &std::format!("s{watcher}{job}"),
            "job.subscribe",
            json!({"job_id": job}),
        );
        String::from(limit(&answer))
    };
    assert_eq!(subscribe(&mut world, 0, &first), "");
    assert_eq!(subscribe(&mut world, 1, &first), "");
    assert_eq!(subscribe(&mut world, 2, &first), "subscribers");
    assert_eq!(subscribe(&mut world, 0, &second), "");
    assert_eq!(subscribe(&mut world, 1, &second), "subscriptions");
    world.send(watchers[0], "u", "job.unsubscribe", json!({"job_id": first}));
    assert_eq!(
        world.ask(watchers[2], "t1", "job.subscribe", json!({"job_id": first}))["type"],
        "job.subscribed"
    );
    assert_eq!(
        world.ask(watchers[2], "t2", "job.subscribe", json!({"job_id": first}))["type"],
        "job.subscribed",
        "D-14"
    );
}

#[test]
fn a_job_nobody_owns_has_no_more_subscribers_than_any_other() {
    let mut world = limited(|limits| limits.subscribers = 1);
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let (_, job) = world.submit(a, "m1");
    world.cut(a);
    world.wait(Duration::from_secs(600));
    let (b, _) = world.session(ALL);
    let (c, _) = world.session(ALL);
    assert_eq!(world.ask(b, "m2", "job.subscribe", json!({"job_id": job}))["type"], "job.subscribed");
    assert_eq!(limit(&world.ask(c, "m3", "job.subscribe", json!({"job_id": job}))), "subscribers");
}

#[test]
fn so_many_dead_sessions_are_remembered() {
    let mut world = limited(|limits| limits.tombstones = 1);
    let (a, first) = world.session(ALL);
    let (b, second) = world.session(ALL);
    world.cut(a);
    world.wait(millis(1));
    world.cut(b);
    world.wait(Duration::from_secs(600));
    let answer = |world: &mut World, welcome: &Value| String::from(code(&world.resume(welcome, 0, ALL).1[0]));
    assert_eq!(answer(&mut world, &first), "UNAUTHENTICATED", "the oldest is forgotten");
    assert_eq!(answer(&mut world, &second), "RESUME_WINDOW_EXPIRED");
    world.wait(Duration::from_secs(24 * 3_600));
    assert_eq!(answer(&mut world, &second), "UNAUTHENTICATED", "D-68: after a day");
}
