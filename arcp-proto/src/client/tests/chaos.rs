//! A small model of a runtime over a network that loses what is in flight: every event exactly once, in order.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use std::format;

use serde_json::{Value, json};

use super::peer::World;
use crate::client::{ClientEvent, ClientState, Subscription};
use crate::config::ClientConfig;
use crate::feature::Features;
use crate::wire::testing::Random;

const EVENTS: u64 = 40;

struct ModelJob {
    id: String,
    /// Positions produced so far; the last is the end.
    produced: u64,
    /// Whether this session follows it, and how far its log is numbered in it.
    follows: bool,
    numbered: u64,
}

/// One session at a time, as the reference describes it, and jobs that outlive it.
#[derive(Default)]
struct Model {
    session: u64,
    epoch: u64,
    /// The current token and, until a frame confirms it, the one before.
    tokens: (String, Option<String>),
    stream: Vec<Value>,
    jobs: BTreeMap<String, ModelJob>,
    acknowledged: u64,
}

impl Model {
    fn session_id(&self) -> String {
        format!("sess_{}", self.session)
    }

    fn frame(&self, message_type: &str, job: Option<&str>, payload: Value) -> Value {
        json!({
            "arcp": "1.1", "id": "msg_m", "type": message_type, "session_id": self.session_id(), "job_id": job,
            "payload": payload,
        })
    }

    /// Numbers what is produced and not yet in the stream.
    fn number(&mut self) -> Vec<Value> {
        let mut fresh = Vec::new();
        let session = self.session_id();
        for job in self.jobs.values_mut().filter(|job| job.follows) {
            while job.numbered < job.produced {
                job.numbered += 1;
                let seq = self.stream.len() + 1;
                let (message_type, payload) = if job.numbered == EVENTS {
                    ("job.result", json!({"pos": job.numbered, "final_status": "success", "result": 1}))
                } else {
                    ("job.event", json!({"kind": "log", "pos": job.numbered, "body": {}}))
                };
                let frame = json!({
                    "arcp": "1.1", "id": "msg_n", "type": message_type, "session_id": session,
                    "job_id": job.id, "event_seq": seq, "payload": payload,
                });
                self.stream.push(frame.clone());
                fresh.push(frame);
            }
        }
        fresh
    }

    fn hear(&mut self, frame: &Value, forgets: bool) -> Vec<Value> {
        let payload = &frame["payload"];
        let reply = |extra: Value| {
            let mut reply = json!({"request_id": frame["id"], "reply_to": frame["id"]});
            for (name, value) in extra.as_object().unwrap() {
                reply[name] = value.clone();
            }
            reply
        };
        if frame["type"] != "session.hello" {
            self.tokens.1 = None;
            assert_eq!(frame["session_id"], json!(self.session_id()), "{frame}");
        }
        match frame["type"].as_str().unwrap() {
            "session.hello" => {
                let resume = &payload["resume"];
                if resume.is_null() {
                    self.session += 1;
                    self.stream.clear();
                    self.acknowledged = 0;
                    self.tokens = (String::new(), None);
                    for job in self.jobs.values_mut() {
                        (job.follows, job.numbered) = (false, 0);
                    }
                } else {
                    let token = resume["resume_token"].as_str().unwrap();
                    let good = token == self.tokens.0 || self.tokens.1.as_deref() == Some(token);
                    if forgets {
                        let error =
                            json!({"code": "RESUME_WINDOW_EXPIRED", "message": "m", "retryable": false});
                        return [self.frame("session.error", None, error)].into();
                    }
                    assert!(good, "{token} is neither of {:?}", self.tokens);
                    assert_eq!(resume["session_id"], json!(self.session_id()));
                    self.tokens.1 = Some(token.to_string());
                }
                self.epoch += 1;
                self.tokens.0 = format!("rt_{}", self.epoch);
                let features: Vec<&str> =
                    Features::SUPPORTED.iter().map(|feature| feature.as_str()).collect();
                let welcome = json!({
                    "session_id": self.session_id(), "resume_token": self.tokens.0, "heartbeat_interval_sec": 30,
                    "capabilities": {"features": features},
                });
                let mut frames = Vec::from([self.frame("session.welcome", None, welcome)]);
                let last = usize::try_from(resume["last_event_seq"].as_u64().unwrap_or(0)).unwrap();
                assert!(last <= self.stream.len(), "a number that never was");
                frames.extend(self.stream[last..].iter().cloned());
                frames
            }
            "job.submit" => {
                let id = format!("job_{}", payload["idempotency_key"].as_str().unwrap());
                let fresh = ModelJob { id: id.clone(), produced: 0, follows: false, numbered: 0 };
                self.jobs.entry(id.clone()).or_insert(fresh).follows = true;
                let accepted =
                    self.frame("job.accepted", Some(&id), reply(json!({"job_id": id, "lease": {}})));
                let mut frames = Vec::from([accepted]);
                frames.extend(self.number());
                frames
            }
            "job.subscribe" => {
                let id = payload["job_id"].as_str().unwrap().to_string();
                let job = self.jobs.get_mut(&id).unwrap();
                let replayed = !job.follows && job.produced > 0;
                if !job.follows {
                    job.follows = true;
                    job.numbered = payload["from_pos"].as_u64().unwrap_or(0);
                }
                let status = if job.produced == EVENTS { "success" } else { "running" };
                let subscribed = reply(json!({"job_id": id, "current_status": status, "replayed": replayed}));
                let mut frames = Vec::from([self.frame("job.subscribed", Some(&id), subscribed)]);
                frames.extend(self.number());
                frames
            }
            "session.ack" => {
                let number = payload["last_processed_seq"].as_u64().unwrap();
                assert!(number <= self.stream.len() as u64, "acknowledged what never was");
                self.acknowledged = self.acknowledged.max(number);
                Vec::new()
            }
            "session.ping" => {
                [self.frame("session.pong", None, json!({"ping_nonce": payload["nonce"]}))].into()
            }
            other => panic!("{other}"),
        }
    }
}

/// What the application has had of each job.
#[derive(Default)]
struct Application {
    had: BTreeMap<String, Vec<u64>>,
    ended: BTreeMap<String, u32>,
    untaken: Vec<u64>,
}

impl Application {
    fn hear(&mut self, world: &mut World) {
        for event in core::mem::take(&mut world.events) {
            match event {
                ClientEvent::JobEvent { job, seq, event } => {
                    self.had.entry(job.to_string()).or_default().push(event.unwrap().pos.unwrap());
                    self.untaken.extend(seq);
                }
                ClientEvent::JobEnded { job, seq, ended } => {
                    self.had.entry(job.to_string()).or_default().push(ended.pos.unwrap());
                    *self.ended.entry(job.to_string()).or_default() += 1;
                    self.untaken.extend(seq);
                }
                ClientEvent::Gap { .. } | ClientEvent::Rejected { .. } | ClientEvent::Closed(_) => {
                    panic!("{event:?}")
                }
                _ => {}
            }
        }
    }
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let mut model = Model::default();
    let theirs = ModelJob { id: "job_theirs".into(), produced: 3, follows: false, numbered: 0 };
    model.jobs.insert(theirs.id.clone(), theirs);
    let mut world = World::with(ClientConfig::new("tk"), Features::SUPPORTED);
    let mut application = Application::default();
    let mut to_client: VecDeque<Value> = VecDeque::new();
    let mut dropped = BTreeSet::new();
    let mut submitted = 0;
    world.client.subscribe(world.now, &super::peer::job("job_theirs"), Subscription::History).unwrap();
    for step in 0..4_000 {
        let is_calm = step > 2_500;
        // The driver's part.
        world.drain();
        application.hear(&mut world);
        if matches!(world.client.state(), ClientState::Waiting | ClientState::Connecting) {
            to_client.clear();
            world.sent.clear();
            world.pass(Duration::from_secs(30));
            let hello = world.open();
            to_client.extend(model.hear(&hello, !is_calm && random.below(4) == 0));
        }
        while let Some(frame) = world.sent.pop_front() {
            for answer in model.hear(&frame, false) {
                // Replies may overtake events, never each other.
                let last_reply = to_client.iter().rposition(|waiting| waiting["event_seq"].is_null());
                let at = if answer["event_seq"].is_null() && random.below(2) == 0 {
                    last_reply.map_or(0, |at| at + 1)
                } else {
                    to_client.len()
                };
                to_client.insert(at, answer);
            }
        }
        match random.below(if is_calm { 8 } else { 10 }) {
            0..=3 => {
                if let Some(frame) = to_client.pop_front() {
                    world.feed(&frame);
                }
            }
            4 => {
                let alive: Vec<String> = model
                    .jobs
                    .values()
                    .filter(|job| job.produced < EVENTS)
                    .map(|job| job.id.clone())
                    .collect();
                if !alive.is_empty() {
                    model.jobs.get_mut(&alive[random.below(alive.len())]).unwrap().produced += 1;
                    let fresh = model.number();
                    if world.client.state() == ClientState::Connected || !to_client.is_empty() {
                        to_client.extend(fresh);
                    }
                }
            }
            5 => {
                if !application.untaken.is_empty() {
                    let at = random.below(application.untaken.len());
                    let seq = application.untaken.swap_remove(at);
                    world.taken(seq);
                }
            }
            6 => {
                if submitted < 4 {
                    world.submit_with(&format!("{submitted}"));
                    submitted += 1;
                }
            }
            7 => world.pass(Duration::from_millis(random.next() % 500)),
            // The network loses what is in flight, either way.
            8 => {
                if random.below(8) == 0 && !matches!(world.client.state(), ClientState::Waiting) {
                    to_client.clear();
                    world.sent.clear();
                    world.client.handle_closed(world.now);
                }
            }
            // A numbered frame gets lost on its own, if one behind it shows that; but no frame twice, which would be
            // reported as a gap.
            _ => {
                if random.below(10) == 0
                    && to_client.iter().skip(1).any(|frame| frame["event_seq"].is_u64())
                    && let Some(seq) = to_client.front().and_then(|frame| frame["event_seq"].as_u64())
                    && dropped.insert((model.session, seq))
                {
                    to_client.pop_front();
                }
            }
        }
    }
    for seq in core::mem::take(&mut application.untaken) {
        world.taken(seq);
    }
    world.pass(Duration::from_secs(1));
    while let Some(frame) = world.sent.pop_front() {
        model.hear(&frame, false);
    }
    let every: Vec<u64> = (1..=EVENTS).collect();
    assert_eq!(model.jobs.len(), 5, "seed {seed}");
    for job in model.jobs.keys() {
        assert_eq!(application.had.get(job), Some(&every), "seed {seed}, {job}");
        assert_eq!(application.ended.get(job), Some(&1), "seed {seed}, {job}");
    }
    assert_eq!(model.acknowledged, model.stream.len() as u64, "seed {seed}");
}

#[test]
fn every_event_arrives_exactly_once_in_order() {
    for seed in 0..40 {
        run(seed);
    }
}
