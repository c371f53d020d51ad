//! State rows: what records amount to, for each session, each job and each credential.
//!
//! A row holds state, never events. [`SessionRow::apply`] and [`JobRow::apply`] are the one fold of records into rows:
//! the endpoint recovers from rows made by it, and every store keeps its rows by it. [`Tables`] does so in memory, with
//! the events.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::ErrorCode;
use crate::id::{JobKey, ResultKey, SessionKey};
use crate::lease::Counters;
use crate::replay::Retention;
use crate::runtime::agent::StopReason;
use crate::runtime::store::{Cost, CredentialRecord, EventRecord, JobRecord, Record, RowKey, SessionRecord};
use crate::time::UnixTime;
use crate::wire::RawJson;
use crate::wire::event::{ChunkEncoding, Content, LoggedEvent, Outcome};
use crate::wire::job::FinalStatus;

mod tables;
#[cfg(test)]
mod tests;

pub use tables::Tables;

/// One row of state.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A session, alive or remembered.
    Session(SessionRow),
    /// A job, finished or not.
    Job(Box<JobRow>),
    /// A provisioned credential: its newest record.
    Credential(CredentialRecord),
}

impl Row {
    /// The row's place in the order of rows.
    #[must_use]
    pub fn key(&self) -> RowKey {
        match self {
            Self::Session(row) => RowKey::Session(row.record.key),
            Self::Job(row) => RowKey::Job(row.record.key),
            Self::Credential(record) => RowKey::Credential(record.key),
        }
    }
}

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRow {
    /// Its newest record.
    pub record: SessionRecord,
    /// Its numbers: the newest one given, and those that can be delivered again.
    pub numbers: Retention,
}

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// How it was accepted. `started` is set once the job has started; `input` is `null` from then on, of a job that may be
    /// run again from its end on.
    pub record: JobRecord,
    /// The session that owns it; `None` once that is dead.
    pub owner: Option<SessionKey>,
    /// The positions of its log: the newest one, and those kept for history.
    pub positions: Retention,
    /// Origin number of the newest event; 0 before the first.
    pub last_origin: u64,
    /// Origin number of the event at the log's floor, which is the newest one forgotten; 0 if none is.
    pub floor_origin: u64,
    /// The sessions that are still to be given events of it, oldest first.
    pub followers: Vec<FollowerRow>,
    /// What is left of its own budget.
    pub counters: Counters,
    /// Why and since when it is being stopped, unless it has ended.
    pub stopping: Option<(StopReason, UnixTime)>,
    /// The result it streams, from the first chunk on.
    pub chunks: Option<ChunkRow>,
    /// What its agent wants to know should it be run again, until its end.
    pub checkpoint: Option<CheckpointRow>,
    /// How often it was run again since it was started, or since its last checkpoint.
    pub restarts: u32,
    /// How it ended.
    pub end: Option<EndRow>,
}

/// A session's place in a job it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerRow {
    /// The session.
    pub session: SessionKey,
    /// It has been given every position up to this one that is of a kind it negotiated. Positions above this one that
    /// it was not given, though there are newer ones, are of other kinds or still to come.
    pub through: u64,
    /// The number of the first event this attachment was given; `None` before it.
    pub first_seq: Option<u64>,
}

/// How far a streamed result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRow {
    /// Its id.
    pub result: ResultKey,
    /// The `chunk_seq` of the next chunk.
    pub next_seq: u64,
    /// The encoding all its chunks share.
    pub encoding: ChunkEncoding,
    /// Bytes so far, after decoding.
    pub decoded_bytes: u64,
    /// Whether the last chunk was there.
    pub is_complete: bool,
}

/// What an agent kept of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointRow {
    /// Its state.
    pub state: RawJson,
    /// The position of the newest event before it; 0 before the first.
    pub position: u64,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndRow {
    /// Its final status.
    pub status: FinalStatus,
    /// The error's code, unless the status is success.
    pub code: Option<ErrorCode>,
    /// When.
    pub at: UnixTime,
    /// The position of the terminal, the last one of the log.
    pub position: u64,
}

impl Record {
    /// The job whose row the record changes, if it changes one; for a session's death see [`JobRow::concerns`].
    #[must_use]
    pub const fn job(&self) -> Option<JobKey> {
        match self {
            Self::Session(_) | Self::Notice { .. } | Self::Credential(_) => None,
            Self::Job(record) => Some(record.key),
            Self::Event(record) => Some(record.job),
            Self::Counters { job, .. }
            | Self::Started { job }
            | Self::Checkpoint { job, .. }
            | Self::Deliver { job, .. }
            | Self::Follow { job, .. }
            | Self::Unfollow { job, .. }
            | Self::Owner { job, .. }
            | Self::Stopping { job, .. } => Some(*job),
        }
    }

    /// The sessions whose rows the record changes.
    pub fn sessions(&self) -> impl Iterator<Item = SessionKey> {
        let (one, deliveries) = match self {
            Self::Session(record) => (Some(record.key), None),
            Self::Deliver { session, .. } | Self::Notice { session, .. } => (Some(*session), None),
            Self::Event(record) => (None, Some(&record.deliveries)),
            _ => (None, None),
        };
        one.into_iter().chain(deliveries.into_iter().flatten().map(|(session, _)| *session))
    }
}

impl SessionRow {
    /// The row a session begins with.
    #[must_use]
    pub const fn new(record: SessionRecord) -> Self {
        Self { record, numbers: Retention::new(0) }
    }

    /// Whether the session is only remembered. Then it is given no more events, and all it was given is forgotten.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        self.record.dead_since.is_some()
    }

    /// Takes in what `record` says of this session, if anything.
    pub fn apply(&mut self, record: &Record) {
        let key = self.record.key;
        match record {
            Record::Session(record) if record.key == key => self.update(record),
            Record::Event(event) => {
                for (_, seq) in event.deliveries.iter().filter(|(session, _)| *session == key) {
                    self.number(*seq, *seq, event.cost);
                }
            }
            Record::Deliver { session, first_seq, positions, cost, .. } if *session == key => {
                if let Some(last) = last_number(*first_seq, positions) {
                    self.number(*first_seq, last, *cost);
                }
            }
            Record::Notice { session, seq, cost, .. } if *session == key => self.number(*seq, *seq, *cost),
            _ => {}
        }
    }

    /// Forgets what was delivered up to and including number `to`.
    pub fn trim(&mut self, to: u64) {
        self.numbers.release(to);
    }

    fn update(&mut self, record: &SessionRecord) {
        self.record = record.clone();
        if self.is_dead() {
            self.numbers.release(self.numbers.last());
        }
    }

    /// Takes in that the numbers `first` to `last` were given, to what costs so much together: what
    /// [`apply`](Self::apply) does for each delivery, for whoever knows which sessions a record delivers to.
    pub fn number(&mut self, first: u64, last: u64, cost: Cost) {
        if !self.is_dead() {
            debug_assert_eq!(first, self.numbers.last() + 1, "a session's numbers have no gaps");
            self.numbers.extend(last, cost);
        }
    }
}

/// The last number of a page of history that begins at `first_seq`; `None` for a page without events.
fn last_number(first_seq: u64, positions: &[u64]) -> Option<u64> {
    let more = u64::try_from(positions.len()).ok()?.checked_sub(1)?;
    first_seq.checked_add(more)
}

impl JobRow {
    /// The row a job begins with: its owner, if it has one, follows it from its start.
    #[must_use]
    pub fn new(record: JobRecord) -> Self {
        let owner = record.owner;
        let follower = |session| FollowerRow { session, through: 0, first_seq: None };
        let mut row = Self {
            counters: record.lease.counters(),
            record,
            owner,
            positions: Retention::new(0),
            last_origin: 0,
            floor_origin: 0,
            followers: owner.map(follower).into_iter().collect(),
            stopping: None,
            chunks: None,
            checkpoint: None,
            restarts: 0,
            end: None,
        };
        if row.record.started {
            row.drop_input();
        }
        row
    }

    /// Whether the session owns the job or follows it: its death changes this row.
    #[must_use]
    pub fn concerns(&self, session: SessionKey) -> bool {
        self.owner == Some(session) || self.follower(session).is_some()
    }

    /// A session's place in the job, if it follows it.
    #[must_use]
    pub fn follower(&self, session: SessionKey) -> Option<&FollowerRow> {
        self.followers.iter().find(|follower| follower.session == session)
    }

    /// Takes in what `record` says of this job, if anything.
    pub fn apply(&mut self, record: &Record) {
        let key = self.record.key;
        match record {
            Record::Session(record) if record.dead_since.is_some() => self.forget_session(record.key),
            Record::Started { job } if *job == key => self.start(),
            Record::Checkpoint { job, state } if *job == key && self.end.is_none() => {
                let position = self.positions.last();
                self.checkpoint = Some(CheckpointRow { state: state.clone(), position });
                self.restarts = 0;
            }
            Record::Counters { job, counters } if *job == key => {
                for counter in counters {
                    self.counters.set(counter.clone());
                }
            }
            Record::Event(event) if event.job == key => self.event(event),
            Record::Deliver { session, job, first_seq, positions, through, .. } if *job == key => {
                let first_seq = (!positions.is_empty()).then_some(*first_seq);
                self.deliver(*session, first_seq, *through);
            }
            Record::Follow { session, job, after } if *job == key => self.follow(*session, *after),
            Record::Unfollow { session, job } if *job == key => self.unfollow(*session),
            Record::Owner { session, job, after } if *job == key => {
                self.owner = Some(*session);
                if let Some(after) = after.filter(|_| self.follower(*session).is_none()) {
                    self.follow(*session, after);
                }
            }
            Record::Stopping { job, reason, at } if *job == key && self.end.is_none() => {
                self.stopping = Some((reason.clone(), *at));
            }
            _ => {}
        }
    }

    /// A session is dead or forgotten: it follows the job no longer, and owns it no longer.
    pub fn forget_session(&mut self, session: SessionKey) {
        self.unfollow(session);
        if self.owner == Some(session) {
            self.owner = None;
        }
    }

    /// How far the log is forgotten when it is to be up to and including position `to`: never the terminal.
    #[must_use]
    pub fn trim_target(&self, to: u64) -> u64 {
        let last = self.end.map_or_else(|| self.positions.last(), |end| end.position.saturating_sub(1));
        to.min(last).max(self.positions.floor())
    }

    /// Forgets the log up to and including position `target`, which came from [`trim_target`](Self::trim_target).
    /// `origin` is the origin number of the event at that position; it is ignored if that was forgotten before.
    pub fn trim(&mut self, target: u64, origin: u64) {
        if target > self.positions.floor() {
            self.positions.release(target);
            self.floor_origin = origin;
        }
    }

    fn start(&mut self) {
        if core::mem::replace(&mut self.record.started, true) {
            self.restarts = self.restarts.saturating_add(1);
        }
        self.drop_input();
    }

    fn drop_input(&mut self) {
        if !self.record.restartable || self.end.is_some() {
            self.record.input = RawJson::null();
        }
    }

    fn event(&mut self, record: &EventRecord) {
        let position = self.positions.last() + 1;
        debug_assert_eq!(record.event.pos, Some(position), "a job's positions have no gaps");
        debug_assert!(record.origin > self.last_origin, "origin numbers rise");
        match record.event.content {
            // The terminal outlives the history before it.
            Content::End(_) => self.positions.push_apart(position, record.cost),
            Content::Event { .. } | Content::Chunk { .. } | Content::Rotated { .. } => {
                self.positions.push(position, record.cost);
            }
        }
        self.last_origin = record.origin;
        // Deliveries usually come in the order of the followers, so each search begins where the last one ended.
        let mut next = 0;
        for (session, seq) in &record.deliveries {
            let (before, behind) = self.followers.split_at(next.min(self.followers.len()));
            let is_session = |follower: &FollowerRow| follower.session == *session;
            let found = behind.iter().position(is_session).map(|index| before.len() + index);
            let found = found.or_else(|| before.iter().position(is_session));
            if let Some((index, follower)) = found.and_then(|i| Some((i, self.followers.get_mut(i)?))) {
                follower.through = position;
                follower.first_seq.get_or_insert(*seq);
                next = index + 1;
            }
        }
        match &record.event.content {
            Content::Event { .. } | Content::Rotated { .. } => {}
            Content::Chunk { .. } => self.chunk(&record.event),
            Content::End(terminal) => {
                let code = match &terminal.outcome {
                    Outcome::Failed(error) => Some(error.code),
                    Outcome::Inline(_) | Outcome::Streamed { .. } => None,
                };
                self.end = Some(EndRow { status: terminal.status(), code, at: record.event.ts, position });
                self.stopping = None;
                self.checkpoint = None;
                self.drop_input();
                self.followers.retain(|follower| follower.through < position);
            }
        }
    }

    fn chunk(&mut self, event: &Arc<LoggedEvent>) {
        if let Content::Chunk { result, chunk_seq, encoding, decoded_bytes, more, .. } = &event.content {
            let before = self.chunks.map_or(0, |chunks| chunks.decoded_bytes);
            self.chunks = Some(ChunkRow {
                result: *result,
                next_seq: chunk_seq.saturating_add(1),
                encoding: *encoding,
                decoded_bytes: before.saturating_add(*decoded_bytes),
                is_complete: !more,
            });
        }
    }

    fn deliver(&mut self, session: SessionKey, first_seq: Option<u64>, through: u64) {
        let end = self.end.map_or(u64::MAX, |end| end.position);
        let Some(index) = self.followers.iter().position(|follower| follower.session == session) else {
            return;
        };
        let Some(follower) = self.followers.get_mut(index) else { return };
        follower.through = follower.through.max(through);
        follower.first_seq = follower.first_seq.or(first_seq);
        if follower.through >= end {
            self.followers.remove(index);
        }
    }

    fn follow(&mut self, session: SessionKey, after: u64) {
        self.unfollow(session);
        if self.end.is_none_or(|end| after < end.position) {
            self.followers.push(FollowerRow { session, through: after, first_seq: None });
        }
    }

    fn unfollow(&mut self, session: SessionKey) {
        self.followers.retain(|follower| follower.session != session);
    }
}
