//! A whole store in memory.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use super::{JobRow, Row, SessionRow, last_number};
use crate::id::{CredentialKey, JobKey, SessionKey};
use crate::runtime::store::{
    Command, Cost, CredentialRecord, Delivered, EventRecord, JobPage, Logged, PageLimit, Place, Record,
    RowKey, StoreDone, Trim,
};
use crate::wire::event::LoggedEvent;

/// Entries below which an empty queue's room is not worth giving back.
const ROOMY: usize = 256;

/// All rows and all events: what a store is to hold, as a pure function of the commands it was given.
///
/// Carries out every [`Command`]; never answers `Full` or `Failed`. A clone is cheap in that it shares the events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables {
    sessions: BTreeMap<SessionKey, Box<Session>>,
    jobs: BTreeMap<JobKey, Box<Job>>,
    credentials: BTreeMap<CredentialKey, CredentialRecord>,
}

#[derive(Debug, Clone, PartialEq)]
struct Session {
    row: SessionRow,
    /// What was delivered, by number; the first one is that above the floor.
    index: VecDeque<(JobKey, Arc<LoggedEvent>)>,
    /// The jobs whose rows name the session, so that its death touches no others.
    jobs: BTreeSet<JobKey>,
}

#[derive(Debug, Clone, PartialEq)]
struct Job {
    row: JobRow,
    /// Origin number and event, by position; the first one is that above the floor.
    log: VecDeque<(u64, Arc<LoggedEvent>)>,
}

impl Session {
    fn number(&mut self, seq: u64, cost: Cost, job: JobKey, event: &Arc<LoggedEvent>) {
        if !self.row.is_dead() {
            self.row.number(seq, seq, cost);
            self.index.push_back((job, Arc::clone(event)));
        }
    }

    fn trim(&mut self, to: u64) {
        let before = self.row.numbers.floor();
        self.row.trim(to);
        remove_first(&mut self.index, self.row.numbers.floor() - before);
    }
}

impl Job {
    fn at(&self, position: u64) -> Option<&(u64, Arc<LoggedEvent>)> {
        let index = position.checked_sub(self.row.positions.floor())?.checked_sub(1)?;
        self.log.get(usize::try_from(index).ok()?)
    }
}

impl Tables {
    /// Carries out a command.
    pub fn execute(&mut self, command: Command) -> StoreDone {
        match command {
            Command::Append(records) => {
                for record in &records {
                    self.apply(record);
                }
                StoreDone::Appended
            }
            Command::ReadSession { session, after, limit } => {
                StoreDone::Session(self.read_session(session, after, limit))
            }
            Command::ReadJob { job, after, limit } => StoreDone::Job(self.read_job(job, after, limit)),
            Command::Load { after, limit } => StoreDone::Rows(self.load(after, limit)),
            Command::Trim(trim) => {
                self.trim(trim);
                StoreDone::Trimmed
            }
        }
    }

    /// Takes in one record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Event(record) => return self.apply_event(record),
            Record::Session(session) => {
                let table = self.sessions.entry(session.key).or_insert_with(|| {
                    let row = SessionRow::new(session.clone());
                    Box::new(Session { row, index: VecDeque::new(), jobs: BTreeSet::new() })
                });
                table.row.apply(record);
                if table.row.is_dead() {
                    table.index = VecDeque::new();
                    let jobs = core::mem::take(&mut table.jobs);
                    self.forget_session(session.key, &jobs);
                }
                return;
            }
            Record::Job(job) => {
                self.jobs
                    .entry(job.key)
                    .or_insert_with(|| Box::new(Job { row: JobRow::new(job.clone()), log: VecDeque::new() }));
            }
            Record::Deliver { session, job, first_seq, positions, cost, .. } => {
                self.number_page(*session, *job, *first_seq, positions, *cost);
            }
            Record::Credential(record) => {
                self.credentials.insert(record.key, record.clone());
            }
            Record::Notice { session, seq, job, event, cost } => {
                if let Some(table) = self.sessions.get_mut(session) {
                    table.number(*seq, *cost, *job, event);
                }
            }
            _ => {}
        }
        let Some(job) = record.job().and_then(|job| self.jobs.get_mut(&job)) else { return };
        let owner_before = job.row.owner;
        job.row.apply(record);
        let named = match record {
            Record::Deliver { session, .. }
            | Record::Follow { session, .. }
            | Record::Unfollow { session, .. }
            | Record::Owner { session, .. } => Some(*session),
            _ => None,
        };
        for session in [owner_before, job.row.owner, named].into_iter().flatten() {
            link(&mut self.sessions, &job.row, session);
        }
    }

    /// The row of a session.
    #[must_use]
    pub fn session(&self, key: SessionKey) -> Option<&SessionRow> {
        self.sessions.get(&key).map(|table| &table.row)
    }

    /// The row of a job.
    #[must_use]
    pub fn job(&self, key: JobKey) -> Option<&JobRow> {
        self.jobs.get(&key).map(|table| &table.row)
    }

    /// The row of a credential.
    #[must_use]
    pub fn credential(&self, key: CredentialKey) -> Option<&CredentialRecord> {
        self.credentials.get(&key)
    }

    fn apply_event(&mut self, record: &EventRecord) {
        for (session, seq) in &record.deliveries {
            if let Some(table) = self.sessions.get_mut(session) {
                table.number(*seq, record.cost, record.job, &record.event);
            }
        }
        let Some(job) = self.jobs.get_mut(&record.job) else { return };
        job.row.event(record);
        job.log.push_back((record.origin, Arc::clone(&record.event)));
        if job.row.end.is_some() {
            for (session, _) in &record.deliveries {
                link(&mut self.sessions, &job.row, *session);
            }
        }
    }

    fn number_page(
        &mut self,
        session: SessionKey,
        job: JobKey,
        first_seq: u64,
        positions: &[u64],
        cost: Cost,
    ) {
        let Some(table) = self.sessions.get_mut(&session).filter(|table| !table.row.is_dead()) else {
            return;
        };
        let Some(last) = last_number(first_seq, positions) else { return };
        table.row.number(first_seq, last, cost);
        let log = self.jobs.get(&job);
        for (seq, position) in (first_seq..).zip(positions) {
            match log.and_then(|log| log.at(*position)) {
                Some((_, event)) => table.index.push_back((job, Arc::clone(event))),
                None => {
                    debug_assert!(false, "position {position} of {job} was forgotten before its delivery");
                    // What cannot be read back must not be promised: the floor rises above it.
                    table.index.clear();
                    table.row.trim(seq);
                }
            }
        }
    }

    fn read_session(&self, session: SessionKey, after: u64, limit: PageLimit) -> Vec<Delivered> {
        let Some(table) = self.sessions.get(&session) else { return Vec::new() };
        let floor = table.row.numbers.floor();
        let skipped = usize::try_from(after.saturating_sub(floor)).unwrap_or(usize::MAX);
        let first = after.max(floor).saturating_add(1);
        // The numbers come second: a range that is asked for one more than it has would overflow.
        let found = table.index.range(skipped.min(table.index.len())..).zip(first..);
        let found = found.map(|((job, event), seq)| Delivered { seq, job: *job, event: Arc::clone(event) });
        limit.page(found, |delivered| &delivered.event)
    }

    fn read_job(&self, job: JobKey, after: Place, limit: PageLimit) -> JobPage {
        let Some(table) = self.jobs.get(&job) else { return JobPage::default() };
        let skipped = match after {
            Place::Position(position) => {
                usize::try_from(position.saturating_sub(table.row.positions.floor())).unwrap_or(usize::MAX)
            }
            Place::Origin(number) => table.log.partition_point(|(origin, _)| *origin <= number),
        };
        let skipped = skipped.min(table.log.len());
        let found = table.log.range(skipped..);
        let found = found.map(|(origin, event)| Logged { origin: *origin, event: Arc::clone(event) });
        let events = limit.page(found, |logged| &logged.event);
        let before = match skipped.checked_sub(1).and_then(|index| table.log.get(index)) {
            _ if events.is_empty() => table.row.last_origin,
            Some((origin, _)) => *origin,
            None => table.row.floor_origin,
        };
        JobPage { events, before }
    }

    fn load(&self, after: Option<RowKey>, limit: usize) -> Vec<Row> {
        let (sessions, jobs, credentials) = match after {
            None => (Some(Bound::Unbounded), Some(Bound::Unbounded), Bound::Unbounded),
            Some(RowKey::Session(key)) => {
                (Some(Bound::Excluded(key)), Some(Bound::Unbounded), Bound::Unbounded)
            }
            Some(RowKey::Job(key)) => (None, Some(Bound::Excluded(key)), Bound::Unbounded),
            Some(RowKey::Credential(key)) => (None, None, Bound::Excluded(key)),
        };
        let sessions = sessions.map(|from| self.sessions.range((from, Bound::Unbounded)));
        let sessions = sessions.into_iter().flatten().map(|(_, table)| Row::Session(table.row.clone()));
        let jobs = jobs.map(|from| self.jobs.range((from, Bound::Unbounded)));
        let jobs = jobs.into_iter().flatten().map(|(_, table)| Row::Job(Box::new(table.row.clone())));
        let credentials = self.credentials.range((credentials, Bound::Unbounded));
        let credentials = credentials.map(|(_, record)| Row::Credential(record.clone()));
        sessions.chain(jobs).chain(credentials).take(limit).collect()
    }

    fn trim(&mut self, trim: Trim) {
        match trim {
            Trim::Session { session, to } => {
                if let Some(table) = self.sessions.get_mut(&session) {
                    table.trim(to);
                }
            }
            Trim::Job { job, to } => {
                let Some(table) = self.jobs.get_mut(&job) else { return };
                let target = table.row.trim_target(to);
                if let Some((origin, _)) = table.at(target) {
                    let origin = *origin;
                    let count = target - table.row.positions.floor();
                    table.row.trim(target, origin);
                    remove_first(&mut table.log, count);
                }
            }
            Trim::WholeSession(session) => {
                if let Some(table) = self.sessions.remove(&session) {
                    self.forget_session(session, &table.jobs);
                }
            }
            Trim::Credential(credential) => drop(self.credentials.remove(&credential)),
            Trim::WholeJob(job) => {
                let Some(table) = self.jobs.remove(&job) else { return };
                let followers = table.row.followers.iter().map(|follower| follower.session);
                for session in followers.chain(table.row.owner) {
                    if let Some(session) = self.sessions.get_mut(&session) {
                        session.jobs.remove(&job);
                    }
                }
            }
        }
    }

    fn forget_session(&mut self, session: SessionKey, jobs: &BTreeSet<JobKey>) {
        for job in jobs {
            if let Some(job) = self.jobs.get_mut(job) {
                job.row.forget_session(session);
            }
        }
    }
}

/// Notes whether a job's row names the session.
fn link(sessions: &mut BTreeMap<SessionKey, Box<Session>>, row: &JobRow, session: SessionKey) {
    let Some(table) = sessions.get_mut(&session) else { return };
    if row.concerns(session) {
        table.jobs.insert(row.record.key);
    } else {
        table.jobs.remove(&row.record.key);
    }
}

fn remove_first<T>(entries: &mut VecDeque<T>, count: u64) {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(entries.len());
    entries.drain(..count);
    // Room for a burst that is over would otherwise stay with an idle session for its life.
    if entries.capacity() > ROOMY && entries.len() < entries.capacity() / 4 {
        entries.shrink_to(entries.capacity() / 2);
    }
}
