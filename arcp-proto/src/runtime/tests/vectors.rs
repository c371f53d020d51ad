//! The published hostile inputs for a runtime, each against a fresh endpoint in the published state.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use smallvec::smallvec;

use super::harness::{ALL, World, code, config, hello, seqs, types};
use crate::feature::{Feature, Features};
use crate::id::{JobKey, SessionKey, Ulid};
use crate::runtime::rows::Tables;
use crate::runtime::store::{Command, EventRecord, JobRecord, Record, SessionRecord, Trim};
use crate::runtime::{ConnectionId, JobHandle};
use crate::secret::TokenHash;
use crate::time::{Instant, Now, UnixTime};
use crate::wire::event::{Content, EventKind, LoggedEvent, Outcome, Terminal};
use crate::wire::peer::{PeerProfile, TransportKind};
use crate::wire::{Envelope, RawJson, ScanLimits};

const SESSION: &str = "sess_01KZZSPQHVT4QJ3M8Y6D0R5W2X";
const LIVE_JOB: &str = "job_01KZZSPRE8B7N2V5T9K4C3M6QZ";
const TOKEN: &str = "rt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const HIGHEST: u64 = 50;
const FLOOR: u64 = 10;

struct Line {
    name: String,
    state: String,
    expect: String,
    frames: Vec<Vec<u8>>,
}

fn lines() -> Vec<Line> {
    include_str!("../../../../tests/vectors/hostile.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"))
        .filter(|line| line["at"] == "runtime")
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_string();
            let input = crate::wire::testing::input_of(&line).expect("each line has an input");
            let frames = match line["split"].as_str() {
                None => alloc::vec![input],
                Some(by) => String::from_utf8(input)
                    .expect("split inputs are text")
                    .split(by)
                    .filter(|part| !part.is_empty())
                    .map(|part| part.as_bytes().to_vec())
                    .collect(),
            };
            Line { name: text("name"), state: text("state"), expect: text("expect"), frames }
        })
        .collect()
}

fn time() -> Now {
    Now {
        mono: Instant::from_micros(1_000_000),
        unix: UnixTime::parse_rfc3339("2026-08-14T09:30:00Z").expect("a time"),
    }
}

fn job_record(key: JobKey, started: bool) -> JobRecord {
    JobRecord {
        owner: SessionKey::parse(SESSION),
        accepted_at: time().unix,
        started,
        restartable: false,
        ..super::job_record(key)
    }
}

/// The store behind the `fixture` line: fifty numbers of a finished job, ten of them acknowledged, and a live job,
/// which is queued here because one that runs would not survive the restart.
fn tables(features: Features) -> Tables {
    let session = SessionKey::parse(SESSION).expect("the fixture's");
    let live = JobKey::parse(LIVE_JOB).expect("the fixture's");
    let done = JobKey::from_ulid(Ulid::from_bits(live.ulid().bits() - 1));
    let mut records = alloc::vec![
        Record::Session(SessionRecord {
            key: session,
            principal: Arc::from("demo"),
            features,
            profile: if features.has(Feature::Core) { PeerProfile::Core } else { PeerProfile::Unknown },
            transport: TransportKind::WebSocket,
            epoch: 1,
            current: TokenHash::of(TOKEN),
            confirmed: true,
            previous: None,
            dead_since: None,
        }),
        Record::Job(job_record(done, true)),
    ];
    for n in 1..=HIGHEST {
        let content = if n == HIGHEST {
            Content::End(Terminal { outcome: Outcome::Inline(RawJson::null()), summary: None })
        } else {
            let body = RawJson::from_validated(Bytes::from_static(b"{\"phase\":\"x\"}"));
            Content::Event { kind: EventKind::Status, body }
        };
        let event = Arc::new(LoggedEvent { ts: time().unix, pos: Some(n), content });
        let cost = event.cost();
        let deliveries = smallvec![(session, n)];
        records.push(Record::Event(EventRecord { job: done, origin: n, event, cost, deliveries }));
    }
    records.push(Record::Job(job_record(live, false)));
    let mut tables = Tables::default();
    tables.execute(Command::Append(records));
    tables.execute(Command::Trim(Trim::Session { session, to: FLOOR }));
    tables
}

/// An endpoint in the fixture's state and a second session, of another principal, with a job of its own.
struct Stage {
    world: World,
    innocent: ConnectionId,
    innocent_job: JobHandle,
    /// The connection under test.
    peer: ConnectionId,
}

impl Stage {
    fn new(state: &str) -> Self {
        let negotiated = if state == "active" {
            // "all of the spec": everything offered but what marks our own endpoints.
            ALL.without(Feature::Core)
        } else {
            Features::NONE.with(Feature::Heartbeat).with(Feature::Ack)
        };
        let mut world = World::recover(tables(negotiated), config(), time(), 1);
        assert_eq!(world.started.len(), 1, "the live job lives");
        let (innocent, _) = world.session_of("other", ALL);
        let (innocent_job, _) = world.submit(innocent, "m-innocent");
        let peer = world.open();
        if state == "active" {
            let mut payload = hello("good", negotiated);
            payload["resume_token"] = TOKEN.into();
            payload["last_event_seq"] = HIGHEST.into();
            world.send(peer, "m-fixture", "session.hello", payload);
            let welcome = world.one(peer);
            assert_eq!(
                (&welcome["type"], &welcome["session_id"]),
                (&"session.welcome".into(), &SESSION.into())
            );
        }
        Self { world, innocent, innocent_job, peer }
    }

    /// Gives one frame and says what came back.
    fn give(&mut self, frame: &[u8]) -> Vec<Value> {
        self.world.send_bytes(self.peer, frame);
        self.world.take(self.peer)
    }

    fn is_closed(&self) -> bool {
        self.world.closed.contains_key(&self.peer)
    }

    /// No frame of one peer is felt by another (WIR-4, VIS-6).
    fn check_isolation(&mut self, name: &str) {
        self.world.log(self.innocent_job, "next");
        self.world.settle();
        assert_eq!(seqs(&self.world.take(self.innocent)), [1], "{name}: the innocent session");
        assert!(!self.world.halted, "{name}");
    }
}

/// What an accepted frame of this type is answered with.
fn answer_to(frame: &[u8]) -> Option<&'static str> {
    let envelope = Envelope::decode(frame, &ScanLimits::RUNTIME).expect("accepted frames are envelopes");
    match &*envelope.message_type {
        "session.ping" => Some("session.pong"),
        "job.submit" => Some("job.accepted"),
        "job.cancel" => Some("job.cancelled"),
        "job.subscribe" => Some("job.subscribed"),
        "session.list_jobs" => Some("session.jobs"),
        _ => None,
    }
}

fn judge_active(line: &Line, verdict: &str) {
    let mut stage = Stage::new("active");
    let mut replies: Vec<Vec<Value>> = Vec::new();
    for frame in &line.frames {
        replies.push(stage.give(frame));
    }
    let name = &line.name;
    let accepted = |index: usize| {
        let expected: Vec<&str> = answer_to(&line.frames[index]).into_iter().collect();
        assert_eq!(types(&replies[index]), expected, "{name}");
    };
    let rejected = |index: usize, expected: &str| {
        assert_eq!(types(&replies[index]), ["session.error"], "{name}");
        let error = &replies[index][0];
        assert_eq!(code(error), expected, "{name}");
        assert!(error["payload"]["retryable"].is_boolean(), "{name}: WIR-5");
        assert_eq!(error["session_id"], SESSION, "{name}");
        assert!(error["event_seq"].is_null(), "{name}: SEQ-5");
        if let Ok(envelope) = serde_json::from_slice::<Value>(&line.frames[index])
            && envelope["id"].as_str().is_some_and(crate::id::is_valid_id)
            && !error["payload"]["request_id"].is_null()
        {
            assert_eq!(error["payload"]["request_id"], envelope["id"], "{name}");
        }
    };
    match verdict {
        "close after the 33rd" => {
            assert!(replies[..32].iter().all(|frames| types(frames) == ["session.error"]), "{name}");
            assert_eq!(stage.world.closed.get(&stage.peer), Some(&1008), "{name}: D-85");
            return stage.check_isolation(name);
        }
        "ignore" => assert!(replies.iter().all(Vec::is_empty), "{name}: {replies:?}"),
        // A flood is judged by its number of answers alone.
        "accept" if name == "ping-flood" => {}
        "accept" => (0..line.frames.len()).for_each(accepted),
        _ => {
            let codes: Vec<&str> = verdict.split(" then ").collect();
            assert_eq!(codes.len(), line.frames.len(), "{name}: {verdict}");
            for (index, part) in codes.into_iter().enumerate() {
                match part.strip_prefix("reject with ") {
                    Some(code) => rejected(index, code),
                    None => accepted(index),
                }
            }
        }
    }
    check_condition(line, &stage, &replies);
    if !line.frames.iter().any(|frame| frame.windows(13).any(|part| part == b"\"session.bye\"")) {
        assert!(!stage.is_closed(), "{name}: the connection stays");
        assert_eq!(
            types(&stage.give(PING)),
            ["session.pong"].repeat(usize::from(name != "ping-flood")),
            "{name}"
        );
    }
    stage.check_isolation(name);
}

const PING: &[u8] = br#"{"arcp":"1.1","id":"m-alive","type":"session.ping","payload":{"nonce":"alive"}}"#;

fn check_condition(line: &Line, stage: &Stage, replies: &[Vec<Value>]) {
    let Some((_, condition)) = line.expect.split_once("; ") else { return };
    let name = &line.name;
    let jobs = || -> Vec<&Value> { replies.iter().flatten().map(|reply| &reply["job_id"]).collect() };
    match condition {
        // What drivers do before the core sees the frame.
        "WebSocket drivers close 1007 first" | "WebSocket drivers close 1009 first" => {}
        "replayed is false, no event twice" => {
            assert_eq!(replies[0][0]["payload"]["replayed"], false, "{name}");
            assert!(seqs(&replies[0]).is_empty(), "{name}");
        }
        "one job, the same reply twice" | "one job, two replies" => {
            assert_eq!(jobs()[0], jobs()[1], "{name}");
            assert_eq!(stage.world.started.len(), 3, "{name}: the live job, the innocent one and one more");
        }
        "at most 10 pongs in that second" => {
            let pongs: usize = replies.iter().map(Vec::len).sum();
            assert_eq!(pongs, 10, "{name}");
        }
        "details.reason is resume" => {
            assert_eq!(replies[0][0]["payload"]["details"]["reason"], "resume", "{name}");
        }
        other => panic!("{name}: unknown condition {other}"),
    }
}

fn judge_hello(line: &Line, verdict: &str) {
    let mut stage = Stage::new("await_hello");
    let name = &line.name;
    if verdict == "close after 5 s" {
        stage.world.wait(Duration::from_millis(4_999));
        assert!(!stage.is_closed(), "{name}");
        stage.world.wait(Duration::from_millis(1));
        assert!(stage.is_closed(), "{name}");
        stage.world.take(stage.innocent);
        return stage.check_isolation(name);
    }
    assert_eq!(line.frames.len(), 1, "{name}");
    let replies = stage.give(&line.frames[0]);
    match verdict.strip_prefix("reject with ").and_then(|rest| rest.strip_suffix(" then close")) {
        Some(expected) => {
            assert_eq!(types(&replies), ["session.error"], "{name}");
            assert_eq!(code(&replies[0]), expected, "{name}");
            assert!(replies[0]["payload"]["request_id"].is_null(), "{name}: it announces the close");
            assert!(replies[0]["session_id"].is_string(), "{name}");
            assert!(stage.is_closed(), "{name}");
            check_untouched(&mut stage, name);
        }
        None => {
            assert_eq!(verdict, "accept", "{name}");
            check_welcome(line, &replies);
        }
    }
    check_condition(line, &stage, &[replies]);
    stage.check_isolation(name);
}

/// A failed resume consumes no token and delivers nothing (D-7, SEQ-8).
fn check_untouched(stage: &mut Stage, name: &str) {
    let next = stage.world.open();
    let mut payload = hello("good", Features::NONE.with(Feature::Heartbeat).with(Feature::Ack));
    payload["resume_token"] = TOKEN.into();
    stage.world.send(next, "m-again", "session.hello", payload);
    let frames = stage.world.take(next);
    assert_eq!(frames[0]["type"], "session.welcome", "{name}: {}", frames[0]);
    assert_eq!(seqs(&frames), (FLOOR + 1..=HIGHEST).collect::<Vec<_>>(), "{name}");
}

fn check_welcome(line: &Line, replies: &[Value]) {
    let name = &line.name;
    let payload = &serde_json::from_slice::<Value>(&line.frames[0]).expect("JSON")["payload"];
    let welcome = &replies[0];
    assert_eq!(welcome["type"], "session.welcome", "{name}");
    assert_ne!(welcome["payload"]["resume_token"], TOKEN, "{name}: tokens rotate");
    let block = &payload["resume"];
    let resumes = block.is_object() || payload["resume_token"].is_string();
    assert_eq!(welcome["session_id"] == SESSION, resumes, "{name}");
    let last = [&block["last_event_seq"], &payload["last_event_seq"]].into_iter().find_map(Value::as_u64);
    let expected: Vec<u64> =
        if resumes { (last.unwrap_or(FLOOR) + 1..=HIGHEST).collect() } else { Vec::new() };
    assert_eq!(seqs(replies), expected, "{name}: SEQ-2");
}

#[test]
fn every_hostile_input_is_answered_as_published() {
    let lines = lines();
    assert!(lines.len() > 200, "the vectors are there");
    for line in &lines {
        let verdict = line.expect.split("; ").next().unwrap_or_default();
        match line.state.as_str() {
            "active" => judge_active(line, verdict),
            "await_hello" => judge_hello(line, verdict),
            other => panic!("{}: unknown state {other}", line.name),
        }
    }
}
