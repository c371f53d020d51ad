//! Random inputs, judged from outside (SEQ-2, SEQ-3, JOB-2, JOB-3, JOB-4).

use core::time::Duration;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, config, hello};
use super::oracle::Oracle;
use crate::config::RuntimeConfig;
use crate::feature::{Feature, Features};
use crate::runtime::store::{Command, Record, StoreDone};
use crate::runtime::{AgentEnd, AgentInput, ConnectionId};
use crate::wire::RawJson;
use crate::wire::event::{ChunkEmission, Emission, LogLevel};
use crate::wire::testing::Random;

const RUNS: u64 = 2_000;
const STEPS: usize = 60;

/// One client: what it negotiated, its present connection, its newest welcome, what it received without a gap.
struct Peer {
    bearer: &'static str,
    features: Features,
    connection: Option<ConnectionId>,
    welcome: Option<Value>,
    last: u64,
}

fn small() -> RuntimeConfig {
    let mut config = config();
    let limits = &mut config.limits;
    (limits.window_events, limits.window_bytes) = (12, 4_000);
    limits.running_jobs = 2;
    limits.lag = 20;
    limits.hello_burst = 10_000;
    config
}

struct Run {
    world: World,
    random: Random,
    peers: Vec<Peer>,
    oracle: Oracle,
    resumed_from: BTreeMap<ConnectionId, u64>,
    seen: BTreeMap<ConnectionId, usize>,
    jobs: Vec<String>,
    requests: usize,
    /// Entries of the journal that were looked at.
    journal: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let plain = ALL.without(Feature::Core).without(Feature::Progress);
        let peers = [("good", ALL), ("good", plain), ("other", ALL)].map(|(bearer, features)| Peer {
            bearer,
            features,
            connection: None,
            welcome: None,
            last: 0,
        });
        let mut world = World::with(small());
        world.instant_store = random.below(2) == 0;
        Self {
            world,
            random,
            peers: peers.into(),
            oracle: Oracle::default(),
            resumed_from: BTreeMap::new(),
            seen: BTreeMap::new(),
            jobs: Vec::new(),
            requests: 0,
            journal: 0,
        }
    }

    /// Shows the oracle everything that came since the last time.
    fn look(&mut self) {
        let Self { world, oracle, seen, resumed_from, jobs, peers, journal, .. } = self;
        for (_, command) in &world.journal[*journal..] {
            let Command::Append(records) = command else { continue };
            for record in records {
                if let Record::Job(job) = record
                    && let Some(owner) = job.owner
                    && world.store.session(owner).is_some_and(|row| row.record.profile.resends_accepted())
                {
                    oracle.resends.insert((owner.to_string(), job.key.to_string()));
                }
            }
        }
        *journal = world.journal.len();
        for (connection, texts) in &world.texts {
            let from = seen.entry(*connection).or_default();
            for text in &texts[*from..] {
                oracle.see(*connection, text, resumed_from.get(connection).copied().unwrap_or(0));
                let frame: Value = serde_json::from_str(text).unwrap();
                if let Some(peer) = peers.iter_mut().find(|peer| peer.connection == Some(*connection)) {
                    if frame["type"] == "session.welcome" {
                        let same =
                            peer.welcome.as_ref().is_some_and(|old| old["session_id"] == frame["session_id"]);
                        peer.last = if same { peer.last } else { 0 };
                        peer.welcome = Some(frame.clone());
                    }
                    if let Some(seq) = frame["event_seq"].as_u64() {
                        peer.last = peer.last.max(seq);
                    }
                }
                if frame["type"] == "job.accepted" {
                    let id = frame["job_id"].as_str().unwrap().to_string();
                    if !jobs.contains(&id) {
                        jobs.push(id);
                    }
                }
            }
            *from = texts.len();
        }
    }

    fn step(&mut self) {
        let peer = self.random.below(self.peers.len());
        match self.random.below(12) {
            0 => self.connect(peer),
            1 if self.random.below(6) == 0 => self.crash(),
            1 if self.random.below(3) == 0 => {
                if let Some(connection) = self.peers[peer].connection.take() {
                    self.world.cut(connection);
                }
            }
            2..=4 => self.request(peer),
            5..=8 => self.agent(),
            9 => {
                let millis = self.random.pick(&[1, 900, 9_000, 31_000]);
                self.world.wait(Duration::from_millis(millis));
            }
            10 => {
                if let Some(connection) = self.peers[peer].connection {
                    let stalled = &mut self.world.stalled;
                    match stalled.iter().position(|other| *other == connection) {
                        Some(at) => drop(stalled.swap_remove(at)),
                        None => stalled.push(connection),
                    }
                    self.world.settle();
                }
            }
            _ => self.store(),
        }
        self.look();
    }

    /// The process dies: what the store has carried out is all that is left.
    fn crash(&mut self) {
        let now = self.world.now.after(Duration::from_millis(5));
        let store = core::mem::take(&mut self.world.store);
        self.world = World::recover(store, small(), now, self.random.next() | 1);
        self.oracle.next.clear();
        self.oracle.said_goodbye.clear();
        self.seen.clear();
        self.resumed_from.clear();
        self.journal = 0;
        for peer in &mut self.peers {
            peer.connection = None;
        }
    }

    fn store(&mut self) {
        match self.random.below(5) {
            0 => self.world.store_all(),
            // No room: it takes nothing until it is asked again, a second later.
            3 => drop(self.world.refuse_all()),
            1 => {
                // Answers in another order; every command takes effect in its own.
                let mut answers: Vec<(_, StoreDone)> = Vec::new();
                while let Some((id, command)) = self.world.commands.pop_front() {
                    answers.push((id, self.world.execute(command)));
                }
                while !answers.is_empty() {
                    let (id, done) = answers.swap_remove(self.random.below(answers.len()));
                    self.world.answer_store(id, done);
                }
            }
            2 => self.world.instant_store = !self.world.instant_store && self.world.commands.is_empty(),
            _ => drop(self.world.store_one()),
        }
    }

    /// Opens the peer's session, or resumes it, whatever its present connection.
    fn connect(&mut self, peer: usize) {
        let state = &mut self.peers[peer];
        let connection = self.world.open();
        let mut payload = hello(state.bearer, state.features);
        if let Some(welcome) = &state.welcome
            && self.random.below(8) != 0
        {
            payload["resume_token"] = welcome["payload"]["resume_token"].clone();
            payload["last_event_seq"] = state.last.into();
            self.resumed_from.insert(connection, state.last);
        }
        state.connection = Some(connection);
        self.world.send(connection, "h", "session.hello", payload);
    }

    fn request(&mut self, peer: usize) {
        let Some(connection) = self.peers[peer].connection else { return self.connect(peer) };
        if !self.world.runtime.may_read(connection) || self.peers[peer].welcome.is_none() {
            return;
        }
        self.requests += 1;
        // Now and then an id that was used before.
        let id = std::format!(
            "m{}",
            self.requests - self.random.below(2) * self.random.below(3).min(self.requests)
        );
        let job = match self.jobs.len() {
            0 => "job_none".to_string(),
            jobs => self.jobs[self.random.below(jobs)].clone(),
        };
        let (kind, payload) = match self.random.below(9) {
            0..=2 => {
                let mut payload = json!({"agent": self.random.pick(&["a", "a", "a", "nobody"])});
                if self.random.below(2) == 0 {
                    payload["idempotency_key"] = std::format!("k{}", self.random.below(3)).into();
                }
                if self.random.below(4) == 0 {
                    payload["max_runtime_sec"] = 5.into();
                }
                ("job.submit", payload)
            }
            3 => ("job.cancel", json!({"job_id": job})),
            4 => ("job.subscribe", json!({"job_id": job, "history": self.random.below(2) == 0})),
            5 => ("job.unsubscribe", json!({"job_id": job})),
            6 => ("session.ack", json!({"last_processed_seq": self.peers[peer].last})),
            7 => ("session.ping", json!({"nonce": "n"})),
            _ if self.random.below(6) == 0 => ("session.close", json!({"reason": "r"})),
            _ => ("x.unknown", json!({})),
        };
        if matches!(kind, "job.cancel" | "job.subscribe") {
            self.names(peer, &job);
        }
        self.world.send(connection, &id, kind, payload);
    }

    /// A client that names a job knows it, so its acceptance need not come again.
    fn names(&mut self, peer: usize, job: &str) {
        if let Some(welcome) = &self.peers[peer].welcome {
            let session = welcome["session_id"].as_str().unwrap().to_string();
            self.oracle.accepted.insert((session, job.to_string()));
        }
    }

    fn agent(&mut self) {
        let started = self.world.started.len();
        if started == 0 {
            return;
        }
        let job = self.world.started[self.random.below(started)].job;
        let input = match self.random.below(12) {
            0 => {
                let value = if self.random.below(2) == 0 { "null" } else { "{\"n\":1}" };
                AgentInput::Finish(AgentEnd::Value {
                    value: RawJson::try_from(value).unwrap(),
                    summary: None,
                })
            }
            1 => AgentInput::Chunk(ChunkEmission::utf8("piece", self.random.below(4) != 0).unwrap()),
            2 => AgentInput::Emit(Emission::progress_count(1, None, None, None).unwrap()),
            _ => AgentInput::Emit(Emission::log(LogLevel::Info, "line", None).unwrap()),
        };
        for _ in 0..=self.random.below(6) {
            // Refused after the end, which is for the agent to bear.
            let _ = self.world.runtime.handle_agent(self.world.now, job, input.clone());
        }
        self.world.settle();
    }

    /// Stops all mischief; then every session that lives has everything, and every job that runs ends.
    fn finish(mut self) -> BTreeMap<(String, u64), String> {
        // A full store is asked again every second, one refused append after the other.
        self.world.store_all();
        self.world.wait(Duration::from_secs(1));
        self.world.store_all();
        self.world.instant_store = true;
        self.world.stalled.clear();
        self.world.settle();
        self.look();
        for index in 0.. {
            let Some(start) = self.world.started.get(index) else { break };
            let value = RawJson::null();
            let end = AgentInput::Finish(AgentEnd::Value { value, summary: None });
            let _ = self.world.runtime.handle_agent(self.world.now, start.job, end);
            self.world.settle();
        }
        self.look();
        for peer in 0..self.peers.len() {
            self.connect(peer);
            self.look();
            let connection = self.peers[peer].connection.unwrap();
            let texts = &self.world.texts[&connection];
            if !texts[0].contains("session.welcome") {
                continue;
            }
            let session = self.peers[peer].welcome.as_ref().unwrap()["session_id"].as_str().unwrap();
            let key = crate::id::SessionKey::parse(session).unwrap();
            let row = self.world.store.session(key).unwrap();
            assert_eq!(self.peers[peer].last, row.numbers.last(), "SEQ-4, SEQ-7");
        }
        assert_eq!(self.world.runtime.population().unfinished_jobs, 0, "JOB-8");
        self.oracle.content
    }
}

#[test]
fn random_runs_keep_every_promise() {
    let mut frames = 0;
    for seed in 0..RUNS {
        let outcome = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            for _ in 0..STEPS {
                run.step();
            }
            run.finish().len()
        });
        match outcome {
            Ok(count) => frames += count,
            Err(panic) => {
                std::eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(frames > 20_000, "the runs do something: {frames} numbered frames");
}

#[test]
fn the_order_of_polling_changes_only_the_order_of_outputs() {
    for seed in 0..50 {
        // The same inputs; one driver settles after each, the other only at the end of a turn.
        let frames = |eager: bool| {
            let mut random = Random::new(seed);
            let mut world = World::with(small());
            let (a, _) = world.session(ALL);
            let (b, _) = world.session(ALL);
            let (job, id) = world.submit(a, "m1");
            world.send(b, "m2", "job.subscribe", json!({"job_id": id}));
            for _ in 0..30 {
                for _ in 0..random.below(5) {
                    let text = random.below(9).to_string();
                    world.log(job, &text);
                    if eager {
                        world.settle();
                    }
                }
                if !eager {
                    // Frames are pulled before outputs are carried out, and again after.
                    world.pull(b);
                    world.pull(a);
                }
                world.settle();
            }
            [a, b].map(|connection| {
                let texts = world.texts[&connection].iter();
                texts.filter(|text| text.contains("event_seq")).cloned().collect::<Vec<_>>()
            })
        };
        assert_eq!(frames(true), frames(false), "seed {seed}");
    }
}

#[test]
fn an_input_with_nothing_to_do_changes_nothing() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 3);
    world.send(a, "m2", "session.ping", json!({"nonce": "n"}));
    world.take(a);
    let gone = world.open();
    world.cut(gone);
    let (rows, deadline) = (world.store.clone(), world.runtime.poll_timeout());
    let now = world.now;
    world.runtime.handle_timeout(now);
    world.runtime.handle_frame(now, gone, bytes::Bytes::from_static(b"{}"));
    world.runtime.handle_oversized(now, gone);
    world.runtime.handle_partial(now, gone, 1);
    world.runtime.handle_proof(now, gone);
    world.runtime.handle_proof(now, a);
    world.runtime.handle_closed(now, gone);
    let verdict = crate::runtime::Verdict::Refuse;
    world.runtime.handle_auth(now, crate::runtime::AuthId(999), verdict);
    world.runtime.handle_store(now, crate::runtime::store::StoreId(999_999), StoreDone::Appended);
    world.runtime.handle_store(now, crate::runtime::store::StoreId(999_999), StoreDone::Failed);
    assert!(world.runtime.poll_output().is_none());
    assert!(world.runtime.poll_frame(a).is_none() && world.runtime.poll_frame(gone).is_none());
    assert_eq!((world.store == rows, world.runtime.poll_timeout()), (true, deadline));
    assert!(!world.journal.iter().any(|(_, command)| matches!(command, Command::Load { .. })));
}
