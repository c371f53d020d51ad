//! One session: its stream, its tokens, what it follows (protocol §2, §4.1).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::{Limits, MAX_SEQ};
use crate::feature::{Feature, Features};
use crate::id::{JobKey, SessionKey};
use crate::replay::{Retention, RetentionLimit};
use crate::runtime::log::Mark;
use crate::runtime::principal::PrincipalHandle;
use crate::runtime::requests::{RequestMemory, SubscribedReply};
use crate::runtime::store::{Cost, Place, SessionRecord, StoreId};
use crate::runtime::window::SendWindow;
use crate::runtime::{ConnectionId, JobHandle};
use crate::secret::TokenHash;
use crate::time::{Instant, UnixTime};
use crate::trace::TraceId;
use crate::wire::delivery::Line;
use crate::wire::event::{Content, EventKind, LoggedEvent};
use crate::wire::peer::{PeerProfile, TransportKind};

/// Acceptances that may be unconfirmed at once; older ones are taken as arrived.
const MOST_UNCONFIRMED: usize = 1_000;

/// How a session follows a job.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) line: Arc<Line>,
    pub(crate) state: Following,
    /// Whether it counts as a subscription of its principal; the session's own jobs do not.
    pub(crate) subscription: bool,
}

/// Where a follower stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Following {
    /// History was asked for and its first page has not come; the subscribe is not answered yet.
    Opening {
        request_id: Arc<str>,
        from: Place,
        /// The seam as it was when the subscribe came, and its position.
        seam: Box<SubscribedReply>,
        seam_pos: u64,
    },
    /// Reads history; positions up to this one are numbered.
    CatchingUp { through: u64 },
    /// Numbered as it happens.
    Live,
}

/// The page a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) id: StoreId,
    pub(crate) epoch: u64,
    pub(crate) what: ReadingWhat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadingWhat {
    /// What the send window no longer holds.
    Window,
    /// A job's history.
    History(JobHandle),
}

/// What a new number means for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Strain {
    /// More is unacknowledged than the client should let happen.
    pub(crate) lags: bool,
    /// A limit of retention is passed.
    pub(crate) over: bool,
    /// Whether its jobs are to be held may have changed.
    pub(crate) pressure: bool,
}

impl Strain {
    pub(crate) const fn any(self) -> bool {
        self.lags || self.over || self.pressure
    }
}

/// Which of its own jobs a session holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    None,
    /// Those that stream chunks.
    Chunks,
    All,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) principal: PrincipalHandle,
    pub(crate) principal_name: Arc<str>,
    pub(crate) features: Features,
    pub(crate) profile: PeerProfile,
    pub(crate) transport: TransportKind,
    pub(crate) epoch: u64,
    pub(crate) current: TokenHash,
    pub(crate) confirmed: bool,
    pub(crate) previous: Option<TokenHash>,
    pub(crate) dead_since: Option<UnixTime>,
    pub(crate) attached: Option<ConnectionId>,
    pub(crate) detached_at: Instant,
    /// When it last sent anything but heartbeats.
    pub(crate) active_at: Instant,
    pub(crate) window: SendWindow,
    pub(crate) retention: Retention,
    pub(crate) acked: u64,
    /// The highest number ever handed to a transport; what an acknowledgement may name.
    pub(crate) sent: u64,
    unsent_cost: Cost,
    pub(crate) mark: Mark,
    pub(crate) follows: BTreeMap<JobHandle, Follow>,
    /// Lines of jobs of which something is retained, for what is read back; ended ones with their last number.
    pub(crate) lines: BTreeMap<JobKey, Arc<Line>>,
    ended_lines: VecDeque<(u64, JobKey)>,
    pub(crate) owned: BTreeSet<JobHandle>,
    /// Jobs whose `job.accepted` the client may not have, in order, each with its first number in this stream.
    pub(crate) unconfirmed: Vec<(JobHandle, Option<u64>)>,
    pub(crate) requests: RequestMemory,
    pub(crate) reading: Option<Reading>,
    /// How many pages of history in a row brought nothing.
    pub(crate) fruitless_pages: u8,
    /// Followers that read history, in the order in which they get pages.
    pub(crate) catching: VecDeque<JobHandle>,
    pub(crate) pressure: Pressure,
    pub(crate) lag_told: bool,
    /// Without acknowledgements: what had been sent when, to let it go after the resume window.
    pub(crate) sent_marks: VecDeque<(Instant, u64)>,
}

impl Session {
    pub(crate) fn new(
        record: &SessionRecord,
        principal: PrincipalHandle,
        retention: Retention,
        now: Instant,
    ) -> Self {
        let last = retention.last();
        Self {
            key: record.key,
            principal,
            principal_name: Arc::clone(&record.principal),
            features: record.features,
            profile: record.profile,
            transport: record.transport,
            epoch: record.epoch,
            current: record.current,
            confirmed: record.confirmed,
            previous: record.previous,
            dead_since: record.dead_since,
            attached: None,
            detached_at: now,
            active_at: now,
            window: SendWindow::new(last),
            acked: retention.floor(),
            sent: last,
            unsent_cost: Cost::default(),
            retention,
            mark: Mark::default(),
            follows: BTreeMap::new(),
            lines: BTreeMap::new(),
            ended_lines: VecDeque::new(),
            owned: BTreeSet::new(),
            unconfirmed: Vec::new(),
            requests: RequestMemory::default(),
            reading: None,
            fruitless_pages: 0,
            catching: VecDeque::new(),
            pressure: Pressure::None,
            lag_told: false,
            sent_marks: VecDeque::new(),
        }
    }

    pub(crate) fn record(&self) -> SessionRecord {
        SessionRecord {
            key: self.key,
            principal: Arc::clone(&self.principal_name),
            features: self.features,
            profile: self.profile,
            transport: self.transport,
            epoch: self.epoch,
            current: self.current,
            confirmed: self.confirmed,
            previous: self.previous,
            dead_since: self.dead_since,
        }
    }

    /// The line of a job in this stream.
    pub(crate) fn line(&mut self, job: JobKey, trace: TraceId) -> Arc<Line> {
        let limit = self.profile.frame_limit(self.transport);
        let (key, shape) = (self.key, self.profile.end_shape());
        Arc::clone(
            self.lines.entry(job).or_insert_with(|| Arc::new(Line::new(key, trace, job, shape, limit))),
        )
    }

    /// The session follows the job no longer; its line stays while numbers that carry it are retained.
    pub(crate) fn line_ended(&mut self, job: JobKey) {
        self.ended_lines.push_back((self.last(), job));
    }

    /// Whether the session negotiated what the event needs (D-71).
    pub(crate) const fn takes(&self, content: &Content) -> bool {
        match content {
            Content::Event { kind: EventKind::Progress, .. } => self.features.has(Feature::Progress),
            Content::Chunk { .. } => self.features.has(Feature::ResultChunk),
            Content::Rotated { .. } => self.features.has(Feature::ProvisionedCredentials),
            Content::Event { .. } | Content::End(_) => true,
        }
    }

    /// The highest number given out.
    pub(crate) const fn last(&self) -> u64 {
        self.retention.last()
    }

    /// Whether one more number can be given out (D-55).
    pub(crate) const fn has_numbers(&self) -> bool {
        self.retention.last() < MAX_SEQ
    }

    /// Gives the event the next number and keeps it for sending if it fits into memory.
    pub(crate) fn number(
        &mut self,
        line: &Arc<Line>,
        event: &Arc<LoggedEvent>,
        cost: Cost,
        limits: &Limits,
    ) -> (u64, Strain) {
        let seq = self.last() + 1;
        self.retention.push(seq, cost);
        self.unsent_cost.add(cost);
        self.window.push(
            seq,
            Arc::clone(line),
            Arc::clone(event),
            cost,
            (limits.window_events, limits.window_bytes),
        );
        let strain = Strain {
            lags: self.features.has(Feature::Ack) && !self.lag_told && seq - self.acked > limits.lag,
            over: self.retention.is_over(&Self::retention_limit(limits)),
            pressure: self.pressure != Pressure::All && self.pressure_at(limits, 8) != self.pressure,
        };
        (seq, strain)
    }

    /// The client may not have the job's acceptance, unless it shows that it has the number `first`.
    pub(crate) fn await_confirmation(&mut self, job: JobHandle, first: Option<u64>) {
        if !self.profile.resends_accepted() {
            return;
        }
        if self.unconfirmed.len() >= MOST_UNCONFIRMED {
            self.unconfirmed.remove(0);
        }
        self.unconfirmed.push((job, first));
    }

    /// Notes the first number of a job in this stream, by which its acceptance is confirmed.
    pub(crate) fn first_number(&mut self, job: JobHandle, seq: u64) {
        if let Some((_, first)) = self.unconfirmed.iter_mut().find(|(known, _)| *known == job) {
            first.get_or_insert(seq);
        }
    }

    /// Whether sending has made room for something that waits: held jobs, pages to read.
    pub(crate) fn needs_attention(&self) -> bool {
        self.pressure != Pressure::None
            || (self.reading.is_none()
                && (!self.catching.is_empty() || self.window.missing_behind().is_some()))
    }

    /// Drops everything that only a living session needs.
    pub(crate) fn forget_stream(&mut self) {
        let last = self.last();
        self.window = SendWindow::new(last);
        self.retention = Retention::new(last);
        self.attached = None;
        self.lines = BTreeMap::new();
        self.ended_lines = VecDeque::new();
        self.unconfirmed = Vec::new();
        self.requests = RequestMemory::default();
        self.reading = None;
        self.catching = VecDeque::new();
        self.sent_marks = VecDeque::new();
        self.pressure = Pressure::None;
        self.unsent_cost = Cost::default();
    }

    /// Numbers given out that were not handed to a transport.
    pub(crate) const fn unsent(&self) -> u64 {
        self.retention.last() + 1 - self.window.cursor()
    }

    /// Counts what was handed to the transport.
    pub(crate) fn pulled(&mut self, cost: Cost) {
        self.unsent_cost.subtract(cost);
        if self.unsent() == 0 {
            self.unsent_cost = Cost::default();
        }
        self.sent = self.sent.max(self.window.cursor() - 1);
    }

    /// Sends again from the number behind `last`.
    pub(crate) fn rewind(&mut self, last: u64) {
        self.window.rewind(last);
        self.unsent_cost = self.retention.total_above(last);
    }

    /// Frees what lies at or below `to`, and says whether anything was.
    pub(crate) fn release(&mut self, to: u64) -> bool {
        if to <= self.retention.floor() {
            return false;
        }
        self.retention.release(to);
        self.drop_below_floor();
        true
    }

    /// Frees the oldest until the limits of retention are kept: what was sent, and in a detached session also what was
    /// not. Says whether anything was freed.
    pub(crate) fn evict(&mut self, limits: &Limits) -> bool {
        let up_to = if self.attached.is_some() { self.window.cursor() - 1 } else { self.last() };
        let moved = self.retention.evict(&Self::retention_limit(limits), up_to);
        if moved {
            self.drop_below_floor();
        }
        moved
    }

    fn drop_below_floor(&mut self) {
        let floor = self.retention.floor();
        self.window.release(floor);
        self.acked = self.acked.max(floor);
        if self.unsent() == 0 {
            self.unsent_cost = Cost::default();
        }
        while let Some((_, job)) = self.ended_lines.pop_front_if(|(seq, _)| *seq <= floor) {
            let follows_again = self.follows.values().any(|follow| follow.line.job() == job);
            if !follows_again && !self.ended_lines.iter().any(|(_, other)| *other == job) {
                self.lines.remove(&job);
            }
        }
    }

    /// What the stored part of a stream may take.
    pub(crate) const fn retention_limit(limits: &Limits) -> RetentionLimit {
        RetentionLimit {
            events: limits.replay_events,
            bytes: limits.replay_bytes,
            chunk_bytes: limits.replay_chunk_bytes,
        }
    }

    /// Which of its own jobs the session holds when `tenths` of a limit count as reached (protocol §2.6, D-98).
    pub(crate) fn pressure_at(&self, limits: &Limits, tenths: u64) -> Pressure {
        let reached =
            |value: u64, limit: u64| value > 0 && value.saturating_mul(10) >= limit.saturating_mul(tenths);
        let total = self.retention.total();
        if self.attached.is_some() {
            let unsent = reached(self.unsent(), limits.window_events as u64)
                || reached(self.unsent_cost.total(), limits.window_bytes);
            let unacknowledged = self.profile.holds_on_unacknowledged()
                && self.features.has(Feature::Ack)
                && (reached(self.retention.len(), limits.replay_events)
                    || reached(total.bytes, limits.replay_bytes)
                    || reached(total.chunk_bytes, limits.replay_chunk_bytes));
            if unsent || unacknowledged { Pressure::All } else { Pressure::None }
        } else if reached(total.chunk_bytes, limits.replay_chunk_bytes) {
            Pressure::Chunks
        } else {
            Pressure::None
        }
    }

    /// Whether so much is unsent that a subscriber is given up (D-10).
    pub(crate) fn is_hopeless(&self, limits: &Limits) -> bool {
        self.unsent() >= limits.replay_events
            || self.unsent_cost.bytes >= limits.replay_bytes
            || self.unsent_cost.chunk_bytes >= limits.replay_chunk_bytes
    }
}
