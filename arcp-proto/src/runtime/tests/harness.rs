//! A runtime with a clock that jumps, a store that answers when told to, and clients that are text.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

pub(super) use super::frames::{code, hello, hello_with, limit, positions, seqs, token, types};

use crate::agent::AgentRef;
use crate::config::RuntimeConfig;
use crate::entropy::Entropy;
use crate::error::WireError;
use crate::feature::Features;
use crate::lease::{Canonical, Capability, Operation};
use crate::runtime::rows::Tables;
use crate::runtime::store::{Command, Record, StoreDone, StoreId};
use crate::runtime::{
    AgentEnd, AgentInput, Child, ConnectionId, Credentials, DecisionId, IssueId, IssueRequest, JobHandle,
    JobNews, LeaseQuestion, Output, Recovery, Revocation, RevocationId, RuntimeEndpoint, RuntimeEvent,
    StartJob, Step, Verdict,
};
use crate::time::{Instant, Now, UnixTime};
use crate::wire::RawJson;
use crate::wire::event::{Delegation, Emission, LogLevel};
use crate::wire::number::NumberText;
use crate::wire::peer::TransportKind;

/// A counter for public bytes, another for secret ones.
pub(super) struct Counter(u64, u64);

impl Counter {
    pub(super) fn new() -> Box<Self> {
        Self::seeded(1)
    }

    /// Counters of another process: a restart must not mint the same secrets again.
    pub(super) fn seeded(seed: u64) -> Box<Self> {
        Box::new(Self(seed, seed << 40))
    }
}

impl Entropy for Counter {
    fn fill_public(&mut self, bytes: &mut [u8]) {
        fill(&mut self.0, bytes);
    }

    fn fill_secret(&mut self, bytes: &mut [u8]) {
        fill(&mut self.1, bytes);
    }
}

fn fill(state: &mut u64, bytes: &mut [u8]) {
    for byte in bytes {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *byte = (*state & 0xff) as u8;
    }
}

/// Two sessions, and a job of the first.
pub(super) fn pair() -> (World, ConnectionId, ConnectionId, JobHandle, String) {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    (world, a, b, job, id)
}

pub(super) struct World {
    pub(super) runtime: RuntimeEndpoint,
    pub(super) now: Now,
    pub(super) store: Tables,
    /// Whether commands are carried out at once.
    pub(super) instant_store: bool,
    pub(super) commands: VecDeque<(StoreId, Command)>,
    pub(super) received: BTreeMap<ConnectionId, Vec<Value>>,
    /// The same frames as text, never taken away.
    pub(super) texts: BTreeMap<ConnectionId, Vec<String>>,
    pub(super) closed: BTreeMap<ConnectionId, u16>,
    /// Connections whose frames are not pulled.
    pub(super) stalled: Vec<ConnectionId>,
    pub(super) started: Vec<StartJob>,
    pub(super) told: Vec<String>,
    /// Leases to decide on.
    pub(super) questions: Vec<(DecisionId, LeaseQuestion)>,
    /// Credentials to make.
    pub(super) issues: Vec<(IssueId, IssueRequest)>,
    /// Credentials to revoke.
    pub(super) revocations: Vec<(RevocationId, Revocation)>,
    /// What agents were told.
    pub(super) news: Vec<(JobHandle, JobNews)>,
    pub(super) events: Vec<RuntimeEvent>,
    pub(super) halted: bool,
    /// Every append and trim the store carried out, in order, and when.
    pub(super) journal: Vec<(Now, Command)>,
    /// Every frame, with how long the journal was when it was received.
    pub(super) sightings: Vec<Sighting>,
    ready: Vec<ConnectionId>,
    restarts: u64,
}

/// A frame as its receiver saw it.
pub(super) struct Sighting {
    /// Entries of the journal at that moment.
    pub(super) after: usize,
    pub(super) connection: ConnectionId,
    pub(super) text: String,
}

pub(super) fn config() -> RuntimeConfig {
    let mut config = RuntimeConfig::default();
    for agent in ["a", "mailer", "refactor@1.0.0", "refactor@2.0.0"] {
        config.agents.add(&AgentRef::parse(agent).unwrap());
    }
    config
}

pub(super) const ALL: Features = Features::SUPPORTED;

impl World {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    pub(super) fn with(config: RuntimeConfig) -> Self {
        let now = Now {
            mono: Instant::from_micros(1_000_000),
            unix: UnixTime::parse_rfc3339("2026-08-14T09:30:00Z").unwrap(),
        };
        Self::around(RuntimeEndpoint::new(config, Counter::new(), now), now, Tables::default())
    }

    fn around(runtime: RuntimeEndpoint, now: Now, store: Tables) -> Self {
        Self {
            runtime,
            now,
            store,
            instant_store: true,
            commands: VecDeque::new(),
            received: BTreeMap::new(),
            texts: BTreeMap::new(),
            closed: BTreeMap::new(),
            stalled: Vec::new(),
            started: Vec::new(),
            told: Vec::new(),
            questions: Vec::new(),
            issues: Vec::new(),
            revocations: Vec::new(),
            news: Vec::new(),
            events: Vec::new(),
            halted: false,
            journal: Vec::new(),
            sightings: Vec::new(),
            ready: Vec::new(),
            restarts: 1,
        }
    }

    /// A new runtime over what the store holds.
    pub(super) fn restart(self, config: RuntimeConfig) -> Self {
        Self::recover(self.store, config, self.now.after(Duration::from_secs(1)), self.restarts + 1)
    }

    /// The runtime that `store` amounts to.
    pub(super) fn recover(mut store: Tables, config: RuntimeConfig, now: Now, seed: u64) -> Self {
        let mut recovery = Recovery::new(config, Counter::seeded(seed), now);
        let runtime = loop {
            match recovery.step() {
                Step::NeedsStore { id, command } => {
                    recovery.handle_store(id, store.execute(command)).unwrap()
                }
                Step::Ready(runtime) => break *runtime,
            }
        };
        let mut world = Self::around(runtime, now, store);
        world.restarts = seed;
        world.settle();
        world
    }

    /// Carries out everything that waits.
    pub(super) fn settle(&mut self) {
        loop {
            let mut idle = true;
            while let Some(output) = self.runtime.poll_output() {
                idle = false;
                self.carry_out(output);
            }
            let ready = core::mem::take(&mut self.ready);
            for connection in ready {
                if self.stalled.contains(&connection) {
                    self.ready.push(connection);
                } else {
                    idle = false;
                    self.pull(connection);
                }
            }
            if idle {
                return;
            }
        }
    }

    pub(super) fn pull(&mut self, connection: ConnectionId) {
        while let Some(frame) = self.runtime.poll_frame(connection) {
            let text = frame.encode();
            let value = serde_json::from_str(&text).expect("frames are JSON");
            self.received.entry(connection).or_default().push(value);
            self.sightings.push(Sighting { after: self.journal.len(), connection, text: text.clone() });
            self.texts.entry(connection).or_default().push(text);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::FramesReady(connection) => self.ready.push(connection),
            Output::Probe(_) => self.told.push("probe".to_string()),
            Output::Close { connection, code } => {
                self.pull(connection);
                self.closed.insert(connection, code.code());
                self.runtime.handle_closed(self.now, connection);
            }
            Output::Authenticate { id, credentials } => {
                let verdict = match credentials {
                    Credentials::Bearer(token) => match token.expose() {
                        "silent" => return,
                        "good" => accept("demo"),
                        "other" => accept("other"),
                        "brief" => Verdict::Accept {
                            principal: Arc::from("demo"),
                            until: Some(self.now.unix.after(Duration::from_secs(60))),
                        },
                        _ => Verdict::Refuse,
                    },
                    Credentials::Anonymous => Verdict::Refuse,
                };
                self.runtime.handle_auth(self.now, id, verdict);
            }
            Output::Store { id, command } => {
                if self.instant_store {
                    let done = self.execute(command);
                    self.runtime.handle_store(self.now, id, done);
                } else {
                    self.commands.push_back((id, command));
                }
            }
            Output::Decide { id, question } => self.questions.push((id, *question)),
            Output::IssueCredential { id, request } => self.issues.push((id, *request)),
            Output::RevokeCredential { id, revocation } => self.revocations.push((id, *revocation)),
            Output::TellJob { job, news } => self.news.push((job, news)),
            Output::StartJob(start) => self.started.push(*start),
            Output::CancelJob { job, reason } => self.told.push(alloc::format!("cancel {job:?} {reason:?}")),
            Output::KillJob(job) => self.told.push(alloc::format!("kill {job:?}")),
            Output::HoldJob(job) => self.told.push(alloc::format!("hold {job:?}")),
            Output::ReleaseJob(job) => self.told.push(alloc::format!("release {job:?}")),
            Output::Halt => self.halted = true,
            Output::Event(event) => self.events.push(event),
        }
    }

    /// Carries out the oldest waiting store command and answers it.
    pub(super) fn store_one(&mut self) -> bool {
        let Some((id, command)) = self.commands.pop_front() else { return false };
        let done = self.execute(command);
        self.answer_store(id, done);
        true
    }

    /// Carries out and answers everything that waits.
    pub(super) fn store_all(&mut self) {
        // What is answered at once would overtake what waits.
        let instant = core::mem::replace(&mut self.instant_store, false);
        while self.store_one() {}
        self.instant_store = instant;
    }

    /// Answers every waiting append with `Full`, carries out everything else, and says how many were refused.
    pub(super) fn refuse_all(&mut self) -> usize {
        let mut refused = 0;
        while let Some((id, command)) = self.commands.pop_front() {
            let done = match command {
                Command::Append(records) => {
                    refused += 1;
                    StoreDone::Full(records)
                }
                other => self.execute(other),
            };
            self.answer_store(id, done);
        }
        refused
    }

    pub(super) fn execute(&mut self, command: Command) -> StoreDone {
        if matches!(command, Command::Append(_) | Command::Trim(_)) {
            self.journal.push((self.now, command.clone()));
        }
        self.store.execute(command)
    }

    pub(super) fn answer_store(&mut self, id: StoreId, done: StoreDone) {
        self.runtime.handle_store(self.now, id, done);
        self.settle();
    }

    pub(super) fn wait(&mut self, span: Duration) {
        let until = self.now.after(span);
        while let Some(at) = self.runtime.poll_timeout().filter(|at| *at <= until.mono) {
            let step = at.since(self.now.mono).max(Duration::from_micros(0));
            self.now = self.now.after(step);
            self.runtime.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
        self.runtime.handle_timeout(self.now);
        self.settle();
    }

    pub(super) fn open(&mut self) -> ConnectionId {
        self.open_over(TransportKind::WebSocket)
    }

    pub(super) fn open_from(&mut self, address: &str) -> ConnectionId {
        let address = address.parse().unwrap();
        let connection = self.runtime.handle_open_from(self.now, TransportKind::WebSocket, address);
        self.settle();
        connection
    }

    pub(super) fn open_over(&mut self, transport: TransportKind) -> ConnectionId {
        let connection = self.runtime.handle_open(self.now, transport);
        self.received.insert(connection, Vec::new());
        self.settle();
        connection
    }

    pub(super) fn send_text(&mut self, connection: ConnectionId, text: &str) {
        assert!(self.runtime.may_read(connection), "frames are given only while they may be read");
        self.send_bytes(connection, text.as_bytes());
    }

    /// Gives a frame whatever `may_read` says.
    pub(super) fn send_bytes(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.runtime.handle_frame(self.now, connection, Bytes::copy_from_slice(bytes));
        self.settle();
    }

    /// Sends a request and gives the only frame that answers it.
    pub(super) fn ask(
        &mut self,
        connection: ConnectionId,
        id: &str,
        message_type: &str,
        payload: Value,
    ) -> Value {
        self.take(connection);
        self.send(connection, id, message_type, payload);
        self.one(connection)
    }

    pub(super) fn send(&mut self, connection: ConnectionId, id: &str, message_type: &str, payload: Value) {
        let frame = json!({"arcp": "1.1", "id": id, "type": message_type, "payload": payload});
        self.send_text(connection, &frame.to_string());
    }

    /// The frames received since the last call.
    pub(super) fn take(&mut self, connection: ConnectionId) -> Vec<Value> {
        core::mem::take(self.received.entry(connection).or_default())
    }

    /// The only frame received since the last call.
    pub(super) fn one(&mut self, connection: ConnectionId) -> Value {
        let frames = self.take(connection);
        assert_eq!(frames.len(), 1, "{frames:#?}");
        frames.into_iter().next().unwrap()
    }

    /// Opens a session and gives its connection and its welcome.
    pub(super) fn session(&mut self, features: Features) -> (ConnectionId, Value) {
        self.session_of("good", features)
    }

    pub(super) fn session_of(&mut self, token: &str, features: Features) -> (ConnectionId, Value) {
        let connection = self.open();
        self.send(connection, "m-hello", "session.hello", hello(token, features));
        let welcome = self.one(connection);
        assert_eq!(welcome["type"], "session.welcome", "{welcome}");
        (connection, welcome)
    }

    /// Continues a session over a new connection; gives it with everything received.
    pub(super) fn resume(
        &mut self,
        welcome: &Value,
        last: u64,
        features: Features,
    ) -> (ConnectionId, Vec<Value>) {
        let connection = self.open();
        let mut payload = hello("good", features);
        payload["resume"] = json!({
            "session_id": welcome["session_id"],
            "resume_token": welcome["payload"]["resume_token"],
            "last_event_seq": last,
        });
        self.send(connection, "m-resume", "session.hello", payload);
        let frames = self.take(connection);
        (connection, frames)
    }

    /// Resumes with this token over a new connection; the last number is left out.
    pub(super) fn resume_with(&mut self, token: &Value, features: Features) -> (ConnectionId, Vec<Value>) {
        let connection = self.open();
        let mut payload = hello("good", features);
        payload["resume"] = json!({"resume_token": token});
        self.send(connection, "m-resume", "session.hello", payload);
        let frames = self.take(connection);
        (connection, frames)
    }

    pub(super) fn cut(&mut self, connection: ConnectionId) {
        self.runtime.handle_closed(self.now, connection);
        self.settle();
    }

    /// Submits to agent `a` and gives the job.
    pub(super) fn submit(&mut self, connection: ConnectionId, id: &str) -> (JobHandle, String) {
        self.send(connection, id, "job.submit", json!({"agent": "a", "input": {"x": 1}}));
        let accepted = self.one(connection);
        assert_eq!(accepted["type"], "job.accepted", "{accepted}");
        let handle = self.started.last().unwrap().job;
        (handle, accepted["job_id"].as_str().unwrap().to_string())
    }

    /// Submits this and gives the job with its acceptance.
    pub(super) fn submit_with(
        &mut self,
        connection: ConnectionId,
        id: &str,
        payload: Value,
    ) -> (JobHandle, Value) {
        let accepted = self.ask(connection, id, "job.submit", payload);
        assert_eq!(accepted["type"], "job.accepted", "{accepted}");
        (self.started.last().unwrap().job, accepted)
    }

    /// How many jobs the store was ever given.
    pub(super) fn stored_jobs(&self) -> usize {
        let appends = self.journal.iter().filter_map(|(_, command)| match command {
            Command::Append(records) => Some(records),
            _ => None,
        });
        appends.flatten().filter(|record| matches!(record, Record::Job(_))).count()
    }

    /// Asks on behalf of a job's agent whether it may do this; gives the canonical target or the code of the denial.
    pub(super) fn may(
        &mut self,
        job: JobHandle,
        capability: &str,
        target: &str,
    ) -> Result<String, &'static str> {
        let operation = Operation { capability: Capability::parse(capability).unwrap(), target };
        let judged = self.runtime.authorize(self.now, job, &operation);
        self.settle();
        judged.map(Canonical::into_string).map_err(|denial| denial.code().as_str())
    }

    /// Reports a metric of a job.
    pub(super) fn metric(&mut self, job: JobHandle, name: &str, value: &str, unit: &str) {
        let value = NumberText::parse(value).unwrap();
        let emission = Emission::metric(name, &value, Some(unit), &[]).unwrap();
        self.runtime.handle_agent(self.now, job, AgentInput::Emit(emission)).unwrap();
        self.settle();
    }

    /// Delegates to agent `a` with this lease; gives what the agent is told.
    pub(super) fn delegate(&mut self, job: JobHandle, lease: Value) -> Result<Child, WireError> {
        self.delegate_to(job, "a", lease, Value::Null)
    }

    pub(super) fn delegate_to(
        &mut self,
        job: JobHandle,
        agent: &str,
        lease: Value,
        constraints: Value,
    ) -> Result<Child, WireError> {
        let raw = |value: Value| (!value.is_null()).then(|| RawJson::parse(value.to_string()).unwrap());
        let delegation = Delegation {
            token: 7,
            agent: agent.to_string(),
            input: RawJson::null(),
            lease_request: raw(lease),
            lease_constraints: raw(constraints),
            max_runtime_sec: None,
        };
        self.runtime.handle_agent(self.now, job, AgentInput::Delegate(Box::new(delegation))).unwrap();
        self.settle();
        match self.news.pop() {
            Some((to, JobNews::Delegated { token: 7, answer })) if to == job => answer,
            other => panic!("the agent hears of its delegation: {other:?}"),
        }
    }

    /// Submits after whatever else the connection still had to get.
    pub(super) fn submit_after(&mut self, connection: ConnectionId, id: &str) -> (JobHandle, String) {
        self.take(connection);
        self.submit(connection, id)
    }

    /// Acknowledges everything the connection was ever sent.
    pub(super) fn ack_all(&mut self, connection: ConnectionId, id: &str) {
        self.take(connection);
        let numbers = self.texts[&connection].iter().filter_map(|text| {
            serde_json::from_str::<Value>(text).ok().and_then(|frame| frame["event_seq"].as_u64())
        });
        if let Some(last) = numbers.max() {
            self.send(connection, id, "session.ack", json!({"last_processed_seq": last}));
        }
    }

    pub(super) fn log(&mut self, job: JobHandle, text: &str) {
        let emission = Emission::log(LogLevel::Info, text, None).unwrap();
        self.runtime.handle_agent(self.now, job, AgentInput::Emit(emission)).unwrap();
    }

    pub(super) fn logs(&mut self, job: JobHandle, count: usize) {
        for n in 0..count {
            self.log(job, &n.to_string());
        }
        self.settle();
    }

    pub(super) fn finish(&mut self, job: JobHandle, value: &str) {
        let end = AgentEnd::Value { value: RawJson::try_from(value).unwrap(), summary: None };
        self.runtime.handle_agent(self.now, job, AgentInput::Finish(end)).unwrap();
        self.settle();
    }
}

fn accept(name: &str) -> Verdict {
    Verdict::Accept { principal: Arc::from(name), until: None }
}
