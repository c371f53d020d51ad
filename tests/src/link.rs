//! A world without IO: one runtime, some clients, the links between them, and time that passes when nothing else can
//! happen.
//!
//! A link delivers in order after its latency. It can break at any frame: what was on the way is lost, or what the client
//! wrote arrives late; the runtime notices at once, later, or never, and goes on writing into the void until the link is
//! full. The same calls give the same run, to the byte.

mod agents;
mod cable;
mod client;
mod script;
mod store;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arcp_proto::agent::AgentRef;
use arcp_proto::client::{
    ClientEndpoint, ClientEvent, ListQuery, Output as ClientOutput, RequestId, Submission, Subscription,
};
use arcp_proto::config::{ClientConfig, RuntimeConfig};
use arcp_proto::id::JobId;
use arcp_proto::runtime::{
    ConnectionId, Credentials, Issued, IssuedCredential, LeaseDecision, Output, Revoked, RuntimeEndpoint,
    RuntimeEvent, Verdict,
};
use arcp_proto::time::{Instant, Now, UnixTime};
use arcp_proto::wire::RawJson;
use arcp_proto::wire::peer::TransportKind;
use bytes::Bytes;

use crate::random::Random;
use crate::trace::{Direction, Trace};
use agents::Agents;
use cable::{Item, Link};
use store::SlowStore;

pub use cable::{Break, Cut, Moment, Notice};
pub use client::{Application, Peer, Story};
pub use script::{Script, Step};

/// Virtual time a run may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(7_200);

/// One runtime, its clients, and everything between them.
pub struct World {
    /// The time.
    pub now: Now,
    /// The runtime.
    pub runtime: RuntimeEndpoint,
    /// The clients, in the order in which they were added.
    pub peers: Vec<Peer>,
    /// Everything that went over a link.
    pub trace: Trace,
    /// What the runtime reported.
    pub events: Vec<RuntimeEvent>,
    /// From a frame's writing to its arrival.
    pub latency: Duration,
    /// Where the first client's links break, one after the other.
    pub cuts: VecDeque<Cut>,
    agents: Agents,
    store: SlowStore,
    links: Vec<Link>,
    /// Connections with frames that were not pulled yet.
    ready: Vec<ConnectionId>,
    /// Links that will exist, and when.
    dialing: Vec<(Instant, usize)>,
    written: [u64; 2],
    delivered: [u64; 2],
}

impl World {
    /// A runtime with the default configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// A runtime with another configuration. Tokens are the principals' names; `nobody` is refused.
    #[must_use]
    pub fn with(change: impl FnOnce(&mut RuntimeConfig)) -> Self {
        let mut config = RuntimeConfig::default();
        for agent in agents::NAMES {
            config.agents.add(&AgentRef::parse(agent).expect("a name"));
        }
        change(&mut config);
        let now = Now {
            mono: Instant::from_micros(1_000_000),
            unix: UnixTime::parse_rfc3339("2026-08-14T09:30:00Z").expect("a time"),
        };
        Self {
            now,
            runtime: RuntimeEndpoint::new(config, Box::new(Random::new(1)), now),
            peers: Vec::new(),
            trace: Trace::default(),
            events: Vec::new(),
            latency: Duration::from_millis(2),
            cuts: VecDeque::new(),
            agents: Agents::default(),
            store: SlowStore::instant(),
            links: Vec::new(),
            ready: Vec::new(),
            dialing: Vec::new(),
            written: [0; 2],
            delivered: [0; 2],
        }
    }

    /// The store answers each command after a random time up to this, so answers come in any order.
    pub fn slow_store(&mut self, up_to: Duration, seed: u64) {
        self.store = SlowStore::slow(up_to, seed);
    }

    /// What the agent of this name does from here on; see `a`, `b` and `c` in the inventory.
    pub fn agent(&mut self, name: &str, script: Script) {
        self.agents.set(name, script);
    }

    /// A client of the principal `alice`.
    pub fn client(&mut self) -> usize {
        self.client_with(|_| ())
    }

    /// A client with another configuration. It connects as soon as the world runs.
    pub fn client_with(&mut self, change: impl FnOnce(&mut ClientConfig)) -> usize {
        let mut config = ClientConfig::new("alice");
        change(&mut config);
        let seed = 100 + self.peers.len() as u64;
        let endpoint = ClientEndpoint::new(config, Box::new(Random::new(seed)), self.now);
        let application = Application::new();
        self.peers.push(Peer { endpoint, application, reads: true, asleep: false, link: None, links: 0 });
        self.peers.len() - 1
    }

    /// Submits to an agent with a key.
    pub fn submit(&mut self, peer: usize, agent: &str, key: &str, input: &str) -> RequestId {
        let input = RawJson::try_from(input).expect("JSON");
        self.submit_with(peer, Submission::new(agent, input).idempotency_key(key))
    }

    /// Submits with whatever else is asked for.
    pub fn submit_with(&mut self, peer: usize, submission: Submission) -> RequestId {
        self.peers[peer].endpoint.submit(self.now, submission).expect("a submission within limits")
    }

    /// Asks for a job to be cancelled.
    pub fn cancel(&mut self, peer: usize, job: &JobId, reason: &str) -> RequestId {
        self.peers[peer].endpoint.cancel(self.now, job, Some(reason.to_owned())).expect("an open session")
    }

    /// Follows a job.
    pub fn subscribe(&mut self, peer: usize, job: &JobId, start: Subscription) -> RequestId {
        self.peers[peer].endpoint.subscribe(self.now, job, start).expect("an open session")
    }

    /// Asks for a page of jobs.
    pub fn list(&mut self, peer: usize, query: ListQuery) -> RequestId {
        self.peers[peer].endpoint.list_jobs(self.now, query).expect("a query within limits")
    }

    /// The application of a client.
    #[must_use]
    pub fn application(&self, peer: usize) -> &Application {
        &self.peers[peer].application
    }

    /// The first job a client was told of.
    #[must_use]
    pub fn first_job(&self, peer: usize) -> JobId {
        self.application(peer).jobs().first().expect("an accepted job").clone()
    }

    /// Jobs that agents were started for.
    #[must_use]
    pub const fn started_jobs(&self) -> usize {
        self.agents.started
    }

    /// Frames written so far in a direction.
    #[must_use]
    pub const fn written(&self, direction: Direction) -> u64 {
        self.written[direction as usize]
    }

    /// Runs until this holds.
    pub fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = self.now.mono.after(PATIENCE);
        while !done(self) {
            self.settle(&done);
            if done(self) {
                return;
            }
            let next = self.next_moment().filter(|at| *at <= until);
            let Some(next) = next else { panic!("stuck before: {what}\n{}", self.trace.tail(40)) };
            self.advance(next);
        }
    }

    /// Runs for this long.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now.mono.after(span);
        self.settle(|_| false);
        while let Some(next) = self.next_moment().filter(|at| *at <= until) {
            self.advance(next);
            self.settle(|_| false);
        }
        self.advance(until);
    }

    /// Breaks the link of a client.
    pub fn cut(&mut self, peer: usize, how: Break) {
        if let Some(link) = self.peers[peer].link {
            self.break_link(link, how);
        }
    }

    /// The application takes what it was handed up to this number, which the client acknowledges at once.
    pub fn take(&mut self, peer: usize, up_to: u64) {
        let taken = self.peers[peer].application.told.iter().filter_map(|event| match event {
            ClientEvent::JobEvent { seq, .. } | ClientEvent::JobEnded { seq, .. } => *seq,
            _ => None,
        });
        let taken: Vec<u64> = taken.filter(|seq| *seq <= up_to).collect();
        // The lowest last, so that the first acknowledgement is about all of them.
        for seq in taken.into_iter().rev() {
            self.peers[peer].endpoint.taken(self.now, seq);
        }
    }

    /// A client says goodbye.
    pub fn close(&mut self, peer: usize, reason: &str) {
        self.peers[peer].endpoint.close(self.now, Some(reason.to_owned()));
    }

    /// The runtime says goodbye to everybody.
    pub fn shut_down(&mut self) {
        self.runtime.shut_down(self.now);
    }

    /// Writes a line about what happens into the trace.
    pub fn note(&mut self, text: &str) {
        self.trace.note(self.now.mono, text.to_owned());
    }

    fn advance(&mut self, to: Instant) {
        let step = to.since(self.now.mono);
        self.now = self.now.after(step);
    }

    /// When something happens next, if nothing is done until then.
    fn next_moment(&self) -> Option<Instant> {
        let awake = self.peers.iter().filter(|peer| !peer.asleep);
        let peers = awake.filter_map(|peer| peer.endpoint.poll_timeout());
        let links = self.links.iter().flat_map(|link| {
            let up = link.up.front().map(|(at, _)| *at);
            let down = link.down.front().map(|(at, _)| *at);
            [up, down, link.runtime_notices]
        });
        let dialing = self.dialing.iter().map(|(at, _)| *at);
        [self.runtime.poll_timeout(), self.agents.next(), self.store.next()]
            .into_iter()
            .chain(links)
            .flatten()
            .chain(peers)
            .chain(dialing)
            // What is due and cannot be done waits for something else.
            .filter(|at| *at > self.now.mono)
            .min()
    }

    /// Does everything that can be done at this moment.
    fn settle(&mut self, done: impl Fn(&Self) -> bool) {
        loop {
            let mut idle = !self.carry_out();
            if done(self) {
                return;
            }
            // What arrives is dealt with to the end before time is looked at.
            if self.deliver() {
                continue;
            }
            if self.runtime.poll_timeout().is_some_and(|at| at <= self.now.mono) {
                self.runtime.handle_timeout(self.now);
                idle = false;
            }
            for index in 0..self.peers.len() {
                let Peer { endpoint, asleep, .. } = &mut self.peers[index];
                if !*asleep && endpoint.poll_timeout().is_some_and(|at| at <= self.now.mono) {
                    endpoint.handle_timeout(self.now);
                    idle = false;
                }
            }
            if let Some((id, answer)) = self.store.poll(self.now.mono) {
                self.runtime.handle_store(self.now, id, answer);
                idle = false;
            }
            idle &= !self.agents.act(&mut self.runtime, self.now);
            if idle {
                return;
            }
        }
    }

    /// Carries out what the endpoints ask for; says whether there was anything.
    fn carry_out(&mut self) -> bool {
        let mut any = false;
        loop {
            let mut idle = true;
            while let Some(output) = self.runtime.poll_output() {
                idle = false;
                self.obey_runtime(output);
            }
            for index in 0..self.peers.len() {
                while let Some(output) = self.peers[index].endpoint.poll_output() {
                    idle = false;
                    self.obey_client(index, output);
                }
            }
            let ready = std::mem::take(&mut self.ready);
            for connection in ready {
                if !self.pull(connection, false) {
                    self.ready.push(connection);
                }
            }
            if idle {
                return any;
            }
            any = true;
        }
    }

    fn obey_runtime(&mut self, output: Output) {
        match output {
            Output::FramesReady(connection) => self.ready.push(connection),
            Output::Probe(connection) => {
                if let Some(link) = self.link_of(connection)
                    && self.links[link].client_end
                {
                    self.runtime.handle_proof(self.now, connection);
                }
            }
            Output::Close { connection, code } => {
                self.pull(connection, true);
                self.ready.retain(|ready| *ready != connection);
                if let Some(link) = self.link_of(connection) {
                    self.write(link, Direction::Down, Item::Closed(code));
                    self.links[link].connection = None;
                    self.links[link].runtime_notices = None;
                }
                self.runtime.handle_closed(self.now, connection);
            }
            Output::Authenticate { id, credentials } => {
                let verdict = match credentials {
                    Credentials::Bearer(token) if !token.matches("nobody") => {
                        Verdict::Accept { principal: Arc::from(token.expose()), until: None }
                    }
                    _ => Verdict::Refuse,
                };
                self.runtime.handle_auth(self.now, id, verdict);
            }
            Output::Store { id, command } => {
                if let Some(answer) = self.store.submit(self.now.mono, id, command) {
                    self.runtime.handle_store(self.now, id, answer);
                }
            }
            Output::Decide { id, question } => {
                let grant = LeaseDecision::Grant(question.lease);
                self.runtime.handle_decision(self.now, id, grant).expect("what is asked for may be granted");
            }
            Output::IssueCredential { id, request } => {
                let mut issued = IssuedCredential::bearer(
                    format!("value-of-{}", request.credential),
                    "https://gateway.example/v1",
                );
                let amounts = request.budget.iter().map(|(currency, left)| format!("{currency}:{left}"));
                issued.constraints.cost_budget.extend(amounts);
                let issued = Issued::Credential(Box::new(issued));
                self.runtime.handle_credentials(self.now, id, issued).expect("the credential is a good one");
            }
            Output::RevokeCredential { id, .. } => {
                self.runtime.handle_revoked(self.now, id, Revoked::Done);
            }
            Output::TellJob { job, news } => self.agents.tell(job, &news, self.now.mono),
            Output::StartJob(start) => self.agents.start(*start, self.now.mono),
            Output::CancelJob { job, .. } => self.agents.stop(job, self.now.mono),
            Output::KillJob(job) => self.agents.kill(job),
            Output::HoldJob(job) => self.agents.hold(job, true),
            Output::ReleaseJob(job) => self.agents.hold(job, false),
            Output::Halt => panic!("the runtime halted\n{}", self.trace.tail(40)),
            Output::Event(event) => self.events.push(event),
        }
    }

    fn obey_client(&mut self, index: usize, output: ClientOutput) {
        match output {
            ClientOutput::Connect => self.dialing.push((self.now.mono.after(self.latency), index)),
            ClientOutput::FramesReady => self.pull_client(index),
            ClientOutput::Close(code) => {
                self.pull_client(index);
                if let Some(link) = self.peers[index].link.take() {
                    self.write(link, Direction::Up, Item::Closed(code));
                    self.links[link].client_end = false;
                    self.lose(link, Direction::Down);
                }
                self.peers[index].endpoint.handle_closed(self.now);
            }
            ClientOutput::Remember(_) => self.peers[index].endpoint.handle_remembered(self.now),
            ClientOutput::Event(event) => self.hand_on(index, event),
        }
    }

    fn hand_on(&mut self, index: usize, event: ClientEvent) {
        let peer = &mut self.peers[index];
        if peer.application.takes
            && let ClientEvent::JobEvent { seq: Some(seq), .. } | ClientEvent::JobEnded { seq: Some(seq), .. } =
                &event
        {
            let seq = *seq;
            peer.application.tell(event);
            peer.endpoint.taken(self.now, seq);
            return;
        }
        peer.application.tell(event);
    }

    fn pull_client(&mut self, index: usize) {
        while let Some(text) = self.peers[index].endpoint.poll_frame() {
            if let Some(link) = self.peers[index].link {
                self.write(link, Direction::Up, Item::Frame(Bytes::from(text)));
            }
        }
    }

    /// Pulls frames while the link has room; says whether nothing is left.
    fn pull(&mut self, connection: ConnectionId, all: bool) -> bool {
        loop {
            let Some(link) = self.link_of(connection) else { return true };
            if !all && !self.links[link].has_room() {
                return false;
            }
            let Some(frame) = self.runtime.poll_frame(connection) else { return true };
            self.write(link, Direction::Down, Item::Frame(Bytes::from(frame.encode())));
        }
    }

    fn link_of(&self, connection: ConnectionId) -> Option<usize> {
        self.links.iter().rposition(|link| link.connection == Some(connection))
    }

    /// Opens the links that are due.
    fn dial(&mut self) -> bool {
        let due: Vec<usize> =
            self.dialing.iter().filter(|(at, _)| *at <= self.now.mono).map(|(_, index)| *index).collect();
        self.dialing.retain(|(at, _)| *at > self.now.mono);
        for index in &due {
            let connection = self.runtime.handle_open(self.now, TransportKind::Memory);
            let peer = &mut self.peers[*index];
            self.links.push(Link::new(*index, peer.links, connection));
            peer.links += 1;
            peer.link = Some(self.links.len() - 1);
            peer.endpoint.handle_open(self.now, TransportKind::Memory);
        }
        !due.is_empty()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
