//! The oracle: knows the protocol, not our code.
//!
//! It is shown everything that happens in a world: each frame as bytes at both ends, each record as it is given to the store,
//! stored and answered, each decision of a lease, each event an application was told. From that alone it keeps its own account
//! of sessions, jobs, streams, tokens and budgets, and judges every step by the properties of the reference (SEQ, SES, JOB,
//! IDEM, CAN, LEA, BUD, VIS, ACK, CHK, CRD, WIR), whose ids its verdicts carry. It reads frames with a reader of its own and calls
//! nothing of what it judges; of the core it uses the types of records.

mod account;
mod ack;
mod application;
mod budget;
mod credentials;
mod frames;
mod jobs;
mod lease;
mod log;
mod read;
mod records;
mod refusals;
mod requests;
mod secrets;
mod sessions;
mod streams;

use std::fmt;

use arcp_proto::config::RuntimeConfig;
use arcp_proto::feature::Feature;
use arcp_proto::runtime::store::StoreId;
use arcp_proto::runtime::{RuntimeEvent, StopReason};
use arcp_proto::time::Now;

pub use read::describe;

use account::{Append, Chunks, Connection, End, Entry, Happened, Hello, Job, Kind, Session, Stream, Tokens};
use application::Application;
use credentials::Credential;
use requests::Request;

/// A promise that was broken.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The property's id; `LIVE` for a world that does not come to rest.
    pub property: &'static str,
    /// What was seen.
    pub what: String,
    /// At which step of the run.
    pub step: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at step {}: {}", self.property, self.step, self.what)
    }
}

/// What the oracle remembers of a frame that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    what: Noted,
    value: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    /// Changed on the way: nothing is known of it.
    Meddled,
    /// Nothing follows from its arrival but that somebody is there.
    Other,
    Hello,
    Ack,
    Ping,
    Request,
    /// A numbered frame.
    Event,
    Accepted,
}

impl Note {
    /// A frame that was changed on the way.
    pub const MEDDLED: Self = Self { what: Noted::Meddled, value: 0 };
    const OTHER: Self = Self { what: Noted::Other, value: 0 };

    /// Whether the frame is numbered.
    #[must_use]
    pub fn is_event(self) -> bool {
        self.what == Noted::Event
    }
}

/// Judges one run.
#[derive(Debug)]
pub struct Oracle {
    step: u64,
    now: Now,
    verdict: Option<Violation>,
    config: Facts,
    sessions: Vec<Session>,
    jobs: Vec<Job>,
    connections: Vec<Connection>,
    requests: Vec<Request>,
    credentials: Vec<Credential>,
    appends: Vec<Append>,
    /// Appends up to this one are stored and answered, and all before them.
    committed: usize,
    refused: Vec<StoreId>,
    /// Reads of what sessions were given, that are not answered.
    reads: Vec<(StoreId, usize)>,
    /// Principals and keys of submits that were refused for a job that is not known.
    taken_keys: Vec<(String, String)>,
    /// Jobs whose agents were held in this turn.
    held: Vec<usize>,
    /// The store has failed this process.
    has_failed: bool,
    /// The store had no room at some time, so that what was given came later than it was decided.
    was_full: bool,
    /// Who sees what of others, and saw before, change by change.
    sights: Vec<u32>,
    applications: Vec<Application>,
    /// The words of "no such job", by kind of request.
    hidden: [u64; 2],
    is_meddled: bool,
    /// The runtime's wall clock was set, so that what is kept for a time may be forgotten at once.
    wall_jumped: bool,
    /// Sessions that died early, and the append that says so, unless something of a job of theirs is let go of before that is
    /// committed.
    early_deaths: Vec<(usize, u64)>,
    incarnation: u64,
    opened: u64,
    resumed: u64,
    /// Frames with the value of a credential.
    values_shown: u64,
    /// The latest time that the runtime's wall clock has shown, in Unix milliseconds.
    latest: i64,
}

/// What the oracle knows of the deployment.
#[derive(Debug)]
struct Facts {
    features: u16,
    /// Agents whose jobs are run again.
    restartable: Vec<String>,
    provisions: bool,
    heartbeat: u64,
    window: u64,
    grace: u64,
    replay_events: u64,
    lag: u64,
    control_queue: u64,
    welcome_timeout: u64,
}

impl Oracle {
    /// An oracle for a deployment, those of its agents whose jobs are run again, and its clients, given by their principals.
    #[must_use]
    pub fn new(config: &RuntimeConfig, restartable: &[&str], clients: &[usize]) -> Self {
        let micros = |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self {
            step: 0,
            now: Now::default(),
            verdict: None,
            config: Facts {
                // Credentials are offered only by who has a provisioner.
                features: if config.provisions {
                    config.features.bits()
                } else {
                    config.features.without(Feature::ProvisionedCredentials).bits()
                },
                restartable: restartable.iter().map(|agent| (*agent).to_owned()).collect(),
                provisions: config.provisions,
                heartbeat: micros(config.heartbeat_interval),
                window: micros(config.resume_window),
                grace: micros(config.cancel_grace),
                replay_events: config.limits.replay_events,
                lag: config.limits.lag,
                control_queue: config.limits.control_queue as u64,
                welcome_timeout: micros(config.limits.welcome_timeout),
            },
            sessions: Vec::new(),
            jobs: Vec::new(),
            connections: Vec::new(),
            requests: Vec::new(),
            credentials: Vec::new(),
            values_shown: 0,
            latest: i64::MIN,
            appends: Vec::new(),
            committed: 0,
            refused: Vec::new(),
            reads: Vec::new(),
            taken_keys: Vec::new(),
            held: Vec::new(),
            has_failed: false,
            was_full: false,
            sights: vec![0],
            applications: clients.iter().map(|_| Application::default()).collect(),
            hidden: [0; 2],
            is_meddled: false,
            wall_jumped: false,
            early_deaths: Vec::new(),
            incarnation: 1,
            opened: 0,
            resumed: 0,
        }
    }

    /// The world is at this step, and the runtime's clocks show this.
    pub fn step(&mut self, step: u64, now: Now) {
        self.judge_early_deaths();
        self.step = step;
        self.now = now;
        let shown = now.unix.as_millis();
        if shown > self.latest {
            self.latest = shown;
        }
    }

    /// The runtime's wall clock is set.
    pub const fn wall_jumps(&mut self) {
        self.wall_jumped = true;
    }

    /// What was broken, if anything.
    #[must_use]
    pub const fn verdict(&self) -> Option<&Violation> {
        self.verdict.as_ref()
    }

    /// What was broken, if anything.
    #[must_use]
    pub fn into_verdict(self) -> Option<Violation> {
        self.verdict
    }

    /// Notes a broken promise; the first one counts.
    pub fn fail(&mut self, property: &'static str, what: fmt::Arguments<'_>) {
        if self.verdict.is_none() {
            self.verdict = Some(Violation { property, what: what.to_string(), step: self.step });
        }
    }

    /// Who sees what of others from here on: two bits for each principal.
    pub fn sees(&mut self, bits: u32) {
        self.sights.push(bits);
    }

    /// Somebody meddles with the frames of a connection.
    pub fn meddled(&mut self, link: usize) {
        self.is_meddled = true;
        self.connections[link].is_tainted = true;
        if let Some(session) = self.connections[link].session {
            self.sessions[session].is_tainted = true;
        }
    }

    /// The process of the runtime is gone; what the store has is what there is.
    pub fn crashed(&mut self) {
        self.refused.clear();
        self.reads.clear();
        self.early_deaths.clear();
        self.has_failed = false;
        self.appends.retain(|append| append.stored);
        for append in &mut self.appends {
            append.answered = true;
        }
        // Numbers of appends are those of the stored ones, which nothing was lost of before.
        self.committed = self.appends.len();
        self.incarnation += 1;
        for session in &mut self.sessions {
            session.link = None;
            session.given = session.log.len() as u64;
            session.acked_by_frame = session.floor;
            session.lag_told = false;
            match session.stored {
                Some(stored) => session.live = stored,
                None => session.live.is_dead = true,
            }
        }
        for job in &mut self.jobs {
            job.counters.clone_from(&job.stored_counters);
            job.live_end = job.end.is_some() || !job.is_stored;
            job.live_stopping.clone_from(&job.stopping);
            // A wall clock that was set back may have hidden from the next process what this one saw by its own.
            job.is_expired = matches!(job.stopping, Some(StopReason::LeaseExpired(_)));
            job.is_forgotten |= !job.is_stored;
        }
        for connection in &mut self.connections {
            connection.closed = true;
        }
        self.credentials_lost();
        for request in &mut self.requests {
            request.is_over = true;
        }
    }

    /// Another process begins with what the store has.
    pub fn recovered(&mut self, now: Now) {
        self.now = now;
        for session in self.sessions.iter_mut().filter(|session| !session.live.is_dead) {
            session.detached_at = Some(now.mono.as_micros());
        }
        for job in self.jobs.iter_mut().filter(|job| !job.live_end) {
            job.found = job.events.len() as u64;
            job.deadline = job.lease.deadline(now);
            job.stop_began = None;
        }
    }

    /// Something the runtime reports; its words are judged by what they may not contain.
    pub fn event(&mut self, event: &RuntimeEvent) {
        if self.config.provisions {
            self.logged(event);
        }
        if let RuntimeEvent::SessionAttached { resumed, .. } = event {
            if *resumed {
                self.resumed += 1;
            } else {
                self.opened += 1;
            }
        }
    }

    /// Adds what was counted here.
    pub fn tally(&self, counts: &mut crate::sim::Counts) {
        counts.opened += self.opened;
        counts.resumed += self.resumed;
        self.tally_credentials(counts);
        counts.jobs += self.jobs.iter().filter(|job| job.is_stored).count() as u64;
    }

    /// How many jobs there have been.
    #[must_use]
    pub const fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// The id of one of them.
    #[must_use]
    pub fn job_id(&self, index: usize) -> String {
        let key = arcp_proto::id::JobKey::from_ulid(arcp_proto::id::Ulid::from_bits(self.jobs[index].key));
        key.to_string()
    }

    /// Token, session and number that somebody has overheard.
    #[must_use]
    pub fn overheard(&self, which: u64) -> Option<(String, String, u64)> {
        if self.sessions.is_empty() {
            return None;
        }
        let session = &self.sessions[usize::try_from(which).unwrap_or(0) % self.sessions.len()];
        let key = arcp_proto::id::SessionKey::from_ulid(arcp_proto::id::Ulid::from_bits(session.key));
        session.welcomed.then(|| (session.token_text.clone(), key.to_string(), session.acked))
    }

    /// The last number of a session.
    #[must_use]
    pub fn last_number(&self, session: &str) -> Option<u64> {
        let session = self.session(read::ulid(session))?;
        Some(self.sessions[session].log.len() as u64)
    }

    fn session(&self, key: u128) -> Option<usize> {
        self.sessions.iter().rposition(|session| session.key == key)
    }

    fn job(&self, key: u128) -> Option<usize> {
        self.jobs.iter().rposition(|job| job.key == key)
    }

    /// What a principal sees of a job: 0 nothing, 1 that it is there, 2 everything.
    fn sight(&self, bits: u32, principal: &str, job: usize) -> u32 {
        if self.jobs[job].principal == principal {
            return 2;
        }
        match crate::sim::PRINCIPALS.iter().position(|name| *name == principal) {
            Some(index) => (bits >> (2 * index) & 3).min(2),
            None => 0,
        }
    }

    /// The least and the most that a principal has seen of a job since one of the changes of who sees what.
    fn sights_since(&self, since: usize, principal: &str, job: usize) -> (u32, u32) {
        let seen = self.sights[since..].iter().map(|bits| self.sight(*bits, principal, job));
        seen.fold((2, 0), |(least, most), sight| (least.min(sight), most.max(sight)))
    }

    /// Who sees what at this moment, as one of the changes that there have been.
    const fn policy(&self) -> usize {
        self.sights.len() - 1
    }

    fn is_committed(&self, append: u64) -> bool {
        append > 0 && append <= self.committed as u64
    }
}
