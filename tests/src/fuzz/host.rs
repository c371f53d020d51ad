//! A runtime with its driver, its store and its agents, in a time of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use arcp_proto::agent::AgentRef;
use arcp_proto::config::RuntimeConfig;
use arcp_proto::entropy::Entropy;
use arcp_proto::feature::Features;
use arcp_proto::id::CredentialKey;
use arcp_proto::lease::Policy;
use arcp_proto::runtime::rows::Tables;
use arcp_proto::runtime::store::{Command, StoreDone, StoreId};
use arcp_proto::runtime::{
    AgentEnd, AgentInput, ConnectionId, CredentialState, Credentials, JobHandle, Output, Revoked,
    RuntimeEndpoint, StartJob, Verdict,
};
use arcp_proto::time::{Instant, Now, UnixTime};
use arcp_proto::wire::event::{Emission, LogLevel};
use arcp_proto::wire::peer::TransportKind;
use arcp_proto::wire::{Envelope, EventSeq, RawJson, ScanLimits};
use bytes::Bytes;
use serde_json::{Value, json};

use super::agents::Question;
use super::books::{Books, VALUE};

/// Repeatable; public and secret bytes come from streams of their own.
pub(super) struct Counting(pub(super) u64, pub(super) u64);

impl Entropy for Counting {
    fn fill_public(&mut self, bytes: &mut [u8]) {
        fill(&mut self.0, bytes);
    }

    fn fill_secret(&mut self, bytes: &mut [u8]) {
        fill(&mut self.1, bytes);
    }
}

fn fill(state: &mut u64, bytes: &mut [u8]) {
    for byte in bytes {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = state.to_be_bytes()[1];
    }
}

pub(super) fn entropy(seed: u64) -> Box<Counting> {
    Box::new(Counting(seed, seed << 32 | 1))
}

pub(super) fn beginning() -> Now {
    let unix = UnixTime::from_millis(1_786_699_800_000);
    Now { mono: Instant::from_micros(1_000_000), unix }
}

pub(super) fn config() -> RuntimeConfig {
    let mut config = RuntimeConfig::default();
    config.provisions = true;
    config.durable = true;
    for agent in ["a", "mailer", "refactor@1.0.0", "refactor@2.0.0"] {
        config.agents.add(&AgentRef::parse(agent).expect("an agent"));
    }
    config
}

/// A connection as its client sees it.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Frames that were sent to it.
    pub(super) received: Vec<String>,
    /// The number of the last numbered frame.
    pub(super) last: Option<u64>,
    pub(super) is_closed: bool,
}

pub(super) struct Host {
    pub(super) runtime: RuntimeEndpoint,
    pub(super) now: Now,
    pub(super) store: Tables,
    /// Whether store commands wait until they are answered one by one.
    pub(super) is_slow: bool,
    /// Whether the rows the runtime came from were not those of the store. Then appends have no place in it and are
    /// not kept, and it has no page with what it should have.
    pub(super) forgets: bool,
    pub(super) waiting: VecDeque<(StoreId, Command)>,
    pub(super) lines: BTreeMap<ConnectionId, Line>,
    /// A connection whose frames are not pulled.
    pub(super) stalled: Option<ConnectionId>,
    pub(super) started: Vec<StartJob>,
    /// Tokens that are refused; any other is good and names its principal.
    pub(super) refused: Option<&'static str>,
    pub(super) is_halted: bool,
    /// Whether what a deployment is asked waits until it is answered one by one.
    pub(super) hesitates: bool,
    pub(super) questions: VecDeque<Question>,
    pub(super) policy: Policy,
    pub(super) books: Books,
    /// Children by their parents, and whether their end was told.
    pub(super) children: BTreeMap<(JobHandle, JobHandle), bool>,
    /// Credentials whose revocation was refused once.
    revoked: BTreeSet<CredentialKey>,
    ready: Vec<ConnectionId>,
}

impl Host {
    pub(super) fn with(config: RuntimeConfig) -> Self {
        let (now, policy) = (beginning(), config.lease_policy);
        Self::around(RuntimeEndpoint::new(config, entropy(1), now), now, Tables::default(), policy)
    }

    pub(super) fn around(runtime: RuntimeEndpoint, now: Now, store: Tables, policy: Policy) -> Self {
        Self {
            runtime,
            now,
            store,
            is_slow: false,
            forgets: false,
            waiting: VecDeque::new(),
            lines: BTreeMap::new(),
            stalled: None,
            started: Vec::new(),
            refused: None,
            is_halted: false,
            hesitates: false,
            questions: VecDeque::new(),
            policy,
            books: Books::new(policy),
            children: BTreeMap::new(),
            revoked: BTreeSet::new(),
            ready: Vec::new(),
        }
    }

    /// Carries out everything that waits, which comes to an end.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut idle = true;
            if let Some(output) = self.runtime.poll_output() {
                self.carry_out(output);
                continue;
            }
            for connection in std::mem::take(&mut self.ready) {
                if self.stalled == Some(connection) {
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
        panic!("the runtime never comes to rest");
    }

    /// Takes the frames of a connection; each must be an envelope, and numbered ones follow each other (SEQ-2).
    pub(super) fn pull(&mut self, connection: ConnectionId) {
        while let Some(frame) = self.runtime.poll_frame(connection) {
            let length = frame.encoded_len();
            let text = frame.encode();
            assert_eq!(length, text.len(), "{text}");
            let envelope = Envelope::decode(text.as_bytes(), &ScanLimits::CLIENT)
                .unwrap_or_else(|error| panic!("{error}: {text}"));
            let line = self.lines.entry(connection).or_default();
            assert!(!line.is_closed, "a frame after the close: {text}");
            let may_show = ["job.accepted", "job.subscribed", "job.event"];
            assert!(!text.contains(VALUE) || may_show.contains(&&*envelope.message_type), "{text}");
            if let EventSeq::Number(number) = envelope.event_seq {
                assert!(line.last.is_none_or(|last| last + 1 == number), "after {:?}: {text}", line.last);
                line.last = Some(number);
            }
            line.received.push(text);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::FramesReady(connection) => self.ready.push(connection),
            Output::Close { connection, .. } => {
                self.pull(connection);
                self.lines.entry(connection).or_default().is_closed = true;
                self.runtime.handle_closed(self.now, connection);
            }
            Output::Authenticate { id, credentials } => {
                let verdict = match credentials {
                    Credentials::Bearer(token) if self.refused != Some(token.expose()) => {
                        Verdict::Accept { principal: Arc::from(token.expose()), until: None }
                    }
                    Credentials::Bearer(_) | Credentials::Anonymous => Verdict::Refuse,
                };
                self.runtime.handle_auth(self.now, id, verdict);
            }
            Output::Store { id, command } if self.is_slow => self.waiting.push_back((id, command)),
            Output::Store { id, command } => {
                let done = self.execute(command);
                self.runtime.handle_store(self.now, id, done);
            }
            Output::Decide { id, question } => {
                self.questions.push_back(Question::Decide(id, question));
                if !self.hesitates {
                    self.answer(0);
                }
            }
            Output::IssueCredential { id, request } => {
                let state = self.books.credential(request.credential);
                assert!(self.forgets || state == Some(CredentialState::Intent), "{state:?}");
                // Some jobs need none.
                let how = if request.credential.ulid().bits().is_multiple_of(8) { 0 } else { 7 };
                self.questions.push_back(Question::Issue(id, request));
                if !self.hesitates {
                    self.answer(how);
                }
            }
            Output::RevokeCredential { id, revocation } => {
                let state = self.books.credential(revocation.credential);
                assert!(self.forgets || state == Some(CredentialState::RevokePending), "{state:?}");
                let is_tried_again = revocation.credential.ulid().bits().is_multiple_of(2)
                    && self.revoked.insert(revocation.credential);
                let revoked = if is_tried_again { Revoked::Retry } else { Revoked::Done };
                self.runtime.handle_revoked(self.now, id, revoked);
            }
            Output::StartJob(start) => self.started.push(*start),
            Output::Halt => self.is_halted = true,
            Output::TellJob { job, news } => self.told(job, &news),
            Output::Probe(_)
            | Output::CancelJob { .. }
            | Output::KillJob(_)
            | Output::HoldJob(_)
            | Output::ReleaseJob(_)
            | Output::Event(_) => {}
        }
    }

    fn execute(&mut self, command: Command) -> StoreDone {
        match command {
            Command::Append(_) if self.forgets => StoreDone::Appended,
            Command::Trim(_) if self.forgets => StoreDone::Trimmed,
            Command::ReadJob { .. } | Command::ReadSession { .. } if self.forgets => StoreDone::Failed,
            command => {
                if let Command::Append(records) = &command {
                    self.books.take(records);
                }
                self.store.execute(command)
            }
        }
    }

    /// Answers the oldest command that waits for the store.
    pub(super) fn answer_one(&mut self) -> bool {
        let Some((id, command)) = self.waiting.pop_front() else { return false };
        let done = self.execute(command);
        self.runtime.handle_store(self.now, id, done);
        self.settle();
        true
    }

    /// Time passes, timer by timer.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now.mono.after(span);
        while let Some(at) = self.runtime.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.after(at.since(self.now.mono));
            self.runtime.handle_timeout(self.now);
            self.settle();
            let next = self.runtime.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now.mono), "a timer stays due");
        }
        self.now = self.now.after(end.since(self.now.mono));
        self.runtime.handle_timeout(self.now);
        self.settle();
    }

    pub(super) fn open(&mut self) -> ConnectionId {
        let connection = self.runtime.handle_open(self.now, TransportKind::Memory);
        self.lines.insert(connection, Line::default());
        self.settle();
        connection
    }

    /// Gives a frame, if it may be read.
    pub(super) fn send(&mut self, connection: ConnectionId, frame: &[u8]) {
        if self.runtime.may_read(connection) {
            self.runtime.handle_frame(self.now, connection, Bytes::copy_from_slice(frame));
            self.settle();
        }
    }

    pub(super) fn say(&mut self, connection: ConnectionId, message_type: &str, payload: &impl Display) {
        let id = format!("m{}", self.lines.values().map(|line| line.received.len()).sum::<usize>());
        let frame = format!(r#"{{"arcp":"1.1","id":"{id}","type":"{message_type}","payload":{payload}}}"#);
        self.send(connection, frame.as_bytes());
    }

    /// Opens a connection and says hello.
    pub(super) fn greet(&mut self, token: &str, features: Features, resume: Option<Value>) -> ConnectionId {
        let connection = self.open();
        let features: Vec<_> = features.iter().map(|feature| format!(r#""{}""#, feature.as_str())).collect();
        let (features, token) = (features.join(","), json!(token));
        let resume = resume.map_or_else(String::new, |resume| format!(r#","resume":{resume}"#));
        let hello =
            format!(r#"{{"auth":{{"token":{token}}},"capabilities":{{"features":[{features}]}}{resume}}}"#);
        self.say(connection, "session.hello", &hello);
        connection
    }

    /// The newest frame of this type on a connection.
    pub(super) fn newest(&self, connection: ConnectionId, message_type: &str) -> Option<Value> {
        // Few of them have to be read.
        let frames = self.lines.get(&connection)?.received.iter().rev();
        let frames = frames.filter(|text| text.contains(message_type));
        let mut values = frames.filter_map(|text| serde_json::from_str::<Value>(text).ok());
        values.find(|frame| frame["type"] == message_type)
    }

    pub(super) fn log(&mut self, job: JobHandle, text: &str) {
        let emission = Emission::log(LogLevel::Info, text, None).expect("a good event");
        let _ = self.runtime.handle_agent(self.now, job, AgentInput::Emit(emission));
        self.settle();
    }

    pub(super) fn finish(&mut self, job: JobHandle) {
        let end = AgentEnd::Value { value: RawJson::null(), summary: None };
        let _ = self.runtime.handle_agent(self.now, job, AgentInput::Finish(end));
        self.settle();
    }

    /// A new principal can open a session, run a job and see its event and its end.
    pub(super) fn serves(&mut self, principal: &str) {
        let before = self.started.len();
        let connection = self.greet(principal, Features::SUPPORTED, None);
        assert!(self.newest(connection, "session.welcome").is_some(), "{:?}", self.lines.get(&connection));
        self.say(connection, "job.submit", &json!({"agent": "a", "input": 1}));
        assert!(self.newest(connection, "job.accepted").is_some(), "{:?}", self.lines.get(&connection));
        assert_eq!(self.started.len(), before + 1);
        let job = self.started[before].job;
        self.log(job, "x");
        self.finish(job);
        for message_type in ["job.event", "job.result"] {
            assert!(self.newest(connection, message_type).is_some(), "no {message_type}");
        }
    }
}
