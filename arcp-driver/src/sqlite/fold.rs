//! What commands do to the tables. State rows are kept by the core's fold, in a cache of those in use.

mod cache;
mod forget;

use std::collections::{BTreeSet, HashMap};

use arcp_proto::id::{JobKey, SessionKey};
use arcp_proto::runtime::rows::{JobRow, SessionRow};
use arcp_proto::runtime::store::{
    Cost, CredentialRecord, EventRecord, JobRecord, Record, SessionRecord, Trim,
};
use arcp_proto::wire::event::LoggedEvent;
use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::codec::{encode_credential, encode_event};
use super::error::{Damage, Fault};
use super::pages::{event_name, signed, unsigned};
use super::{rows, sums};
use cache::{CachedJob, CachedSession, Links, Run};

/// Numbers that a run of deliveries holds at most, and bytes: what has to be read again to check the first of a page.
const RUN_NUMBERS: u64 = 64;
const RUN_BYTES: u64 = 64 * 1_024;

/// Carries out what changes the tables, inside a transaction that somebody else begins and ends.
pub(super) struct Fold<'c> {
    connection: &'c Connection,
    insert_event: Statement<'c>,
    insert_run: Statement<'c>,
    sessions: HashMap<SessionKey, CachedSession>,
    jobs: HashMap<JobKey, CachedJob>,
    /// Sessions and jobs whose rows are not written yet.
    dirty_sessions: Vec<SessionKey>,
    dirty_jobs: Vec<JobKey>,
    links: Links,
    /// Jobs whose logs hold events that only sessions still need; some may not any more.
    lingering: HashMap<i64, JobKey>,
    /// Jobs that have been found not to linger, if the transaction succeeds.
    settled: Vec<i64>,
    buffer: Vec<u8>,
    /// Transactions so far.
    generation: u64,
    /// Bytes given to the tables in this transaction.
    bytes: usize,
}

/// The event a number is given to.
#[derive(Clone, Copy)]
struct Target {
    job: JobKey,
    id: i64,
    position: u64,
    crc: u32,
}

impl<'c> Fold<'c> {
    /// Reads every state row once, which also shows whether they are whole.
    pub(super) fn new(connection: &'c Connection) -> Result<Self, Fault> {
        let mut fold = Self {
            connection,
            insert_event: connection.prepare(
                "INSERT INTO events (job, position, origin, crc, data) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            insert_run: connection.prepare(
                "INSERT INTO deliveries \
                 (session, last_seq, count, job, first_position, chain_before, chain_after, notice) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            sessions: HashMap::new(),
            jobs: HashMap::new(),
            dirty_sessions: Vec::new(),
            dirty_jobs: Vec::new(),
            links: Links::default(),
            lingering: HashMap::new(),
            settled: Vec::new(),
            buffer: Vec::new(),
            generation: 0,
            bytes: 0,
        };
        let mut known = BTreeSet::new();
        rows::sessions(connection, |session| {
            known.insert(session?.row.record.key);
            Ok(())
        })?;
        rows::jobs(connection, |job| {
            let job = job?;
            let floor = job.row.as_ref().map_or(u64::MAX, |row| row.positions.floor());
            if floor > 0 {
                fold.lingering.insert(job.id, job.key);
            }
            if let Some(row) = &job.row {
                for session in named(row).filter(|session| known.contains(session)) {
                    fold.links.add(session, job.key);
                }
            }
            Ok(())
        })?;
        rows::credentials(connection, |credential| credential.map(drop))?;
        fold.links.commit();
        Ok(fold)
    }

    /// Bytes given to the tables in this transaction.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in the records of an append.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), Fault> {
        for record in records {
            self.apply(record)?;
        }
        Ok(())
    }

    fn apply(&mut self, record: &Record) -> Result<(), Fault> {
        match record {
            Record::Event(event) => return self.event(record, event),
            Record::Session(session) => return self.session_record(record, session),
            Record::Credential(credential) => return self.credential(credential),
            Record::Job(job) => self.job_record(job)?,
            Record::Deliver { session, job, first_seq, positions, cost, .. } => {
                self.page(*session, *job, *first_seq, positions, *cost)?;
            }
            Record::Notice { session, seq, job, event, cost } => {
                return self.notice(*session, *seq, *job, event, *cost);
            }
            Record::Started { .. }
            | Record::Checkpoint { .. }
            | Record::Counters { .. }
            | Record::Follow { .. }
            | Record::Unfollow { .. }
            | Record::Owner { .. }
            | Record::Stopping { .. } => {}
        }
        let Some(key) = record.job() else { return Ok(()) };
        let Some(row) = self.change_job(key)? else { return Ok(()) };
        let owner_before = row.owner;
        row.apply(record);
        let owner = row.owner;
        if let Record::Checkpoint { state, .. } = record {
            self.bytes += state.len();
        }
        if matches!(record, Record::Started { .. } | Record::Checkpoint { .. }) {
            self.record_changed(key);
        }
        let other = match record {
            Record::Deliver { session, .. }
            | Record::Follow { session, .. }
            | Record::Unfollow { session, .. }
            | Record::Owner { session, .. } => Some(*session),
            _ => None,
        };
        for session in [owner_before, owner, other].into_iter().flatten() {
            self.link(key, session)?;
        }
        Ok(())
    }

    fn event(&mut self, record: &Record, event: &EventRecord) -> Result<(), Fault> {
        let Some(position) = event.event.pos else {
            return Err(Damage::new(event.job, "it was given an event without a position").into());
        };
        let id = self.job_id(event.job)?;
        self.buffer.clear();
        encode_event(&event.event, &mut self.buffer);
        self.bytes += self.buffer.len();
        let crc = sums::event(event.job, position, event.origin, &self.buffer);
        self.insert_event.execute(params![
            id,
            signed(position),
            signed(event.origin),
            crc,
            self.buffer.as_slice()
        ])?;
        let target = Target { job: event.job, id, position, crc };
        let bytes = self.buffer.len() as u64;
        for (session, seq) in &event.deliveries {
            self.number(*session, *seq, target, bytes, Some(event.cost), None)?;
        }
        let Some(row) = self.change_job(event.job)? else {
            // Nobody remembers the job, so only the deliveries keep the event.
            self.lingering.insert(id, event.job);
            return Ok(());
        };
        let had_input = !row.record.input.is_null() || row.checkpoint.is_some();
        row.apply(record);
        if row.end.is_some() {
            if had_input {
                self.record_changed(event.job);
            }
            for (session, _) in &event.deliveries {
                self.link(event.job, *session)?;
            }
        }
        Ok(())
    }

    /// Gives an event its number in a session, unless that is dead or forgotten. Its row counts the cost, if it is not
    /// counted already.
    fn number(
        &mut self,
        key: SessionKey,
        seq: u64,
        target: Target,
        bytes: u64,
        cost: Option<Cost>,
        notice: Option<&[u8]>,
    ) -> Result<(), Fault> {
        let Some(session) = Self::living(&mut self.sessions, self.connection, self.generation, key)? else {
            return Ok(());
        };
        if let Some(cost) = cost {
            session.row.number(seq, seq, cost);
        }
        if session.mark_dirty() {
            self.dirty_sessions.push(key);
        }
        let chain_before = session.chain;
        session.chain = sums::link(chain_before, seq, target.job, target.position, target.crc);
        if let Some(run) = &mut session.run
            && notice.is_none()
            && run.takes(seq, &target, bytes)
        {
            run.count += 1;
            run.bytes += bytes;
            return Ok(());
        }
        if let Some(run) = session.run.take() {
            Self::insert_run(&mut self.insert_run, session.id, &run, chain_before, None)?;
        }
        let first_position = target.position;
        let run = Run { job: target.id, first_seq: seq, first_position, count: 1, chain_before, bytes };
        self.bytes += 24;
        match notice {
            Some(notice) => {
                Self::insert_run(&mut self.insert_run, session.id, &run, session.chain, Some(notice))?;
            }
            None => session.run = Some(run),
        }
        Ok(())
    }

    fn insert_run(
        statement: &mut Statement<'_>,
        session: i64,
        run: &Run,
        chain_after: u32,
        notice: Option<&[u8]>,
    ) -> Result<(), Fault> {
        statement.execute(params![
            session,
            signed(run.first_seq + run.count - 1),
            signed(run.count),
            run.job,
            signed(run.first_position),
            run.chain_before,
            chain_after,
            notice
        ])?;
        Ok(())
    }

    fn page(
        &mut self,
        session: SessionKey,
        job: JobKey,
        first_seq: u64,
        positions: &[u64],
        cost: Cost,
    ) -> Result<(), Fault> {
        let found = Self::living(&mut self.sessions, self.connection, self.generation, session)?;
        let (Some(found), Some(more)) = (found, (positions.len() as u64).checked_sub(1)) else {
            return Ok(());
        };
        // One step of the row, whose blocks depend on the steps.
        found.row.number(first_seq, first_seq + more, cost);
        let id = self.job_id(job)?;
        let floor = self.job_row(job)?.map_or(u64::MAX, |row| row.positions.floor());
        for (seq, position) in (first_seq..).zip(positions) {
            let found = if *position > floor { self.event_sum(id, *position)? } else { None };
            let Some((crc, bytes)) = found else {
                // What cannot be read back must not be promised.
                let what = "it was forgotten before it was delivered";
                return Err(Damage::new(event_name(job, *position), what).into());
            };
            let target = Target { job, id, position: *position, crc };
            self.number(session, seq, target, bytes, None, None)?;
        }
        Ok(())
    }

    /// The checksum of an event, and its length.
    fn event_sum(&self, job: i64, position: u64) -> Result<Option<(u32, u64)>, Fault> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT crc, length(data) FROM events WHERE job = ?1 AND position = ?2")?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, unsigned(row.get(1)?)));
        Ok(statement.query_row(params![job, signed(position)], read).optional()?)
    }

    fn notice(
        &mut self,
        session: SessionKey,
        seq: u64,
        job: JobKey,
        event: &LoggedEvent,
        cost: Cost,
    ) -> Result<(), Fault> {
        let id = self.job_id(job)?;
        let mut data = std::mem::take(&mut self.buffer);
        data.clear();
        encode_event(event, &mut data);
        self.bytes += data.len();
        let target = Target { job, id, position: 0, crc: sums::event(job, 0, 0, &data) };
        let numbered = self.number(session, seq, target, data.len() as u64, Some(cost), Some(&data));
        self.buffer = data;
        numbered
    }

    fn session_record(&mut self, record: &Record, session: &SessionRecord) -> Result<(), Fault> {
        let key = session.key;
        match Self::cached(&mut self.sessions, self.connection, self.generation, key)? {
            Some(known) => {
                known.row.apply(record);
                if known.mark_dirty() {
                    self.dirty_sessions.push(key);
                }
            }
            None => {
                let mut row = SessionRow::new(session.clone());
                row.apply(record);
                self.insert_session(row)?;
            }
        }
        if session.dead_since.is_some() {
            self.session_died(key)?;
        }
        Ok(())
    }

    fn job_record(&mut self, record: &JobRecord) -> Result<(), Fault> {
        let id = self.job_id(record.key)?;
        let job = self.jobs.entry(record.key).or_insert_with(|| CachedJob::new(id, None, 0));
        if job.row.is_none() {
            job.row = Some(Box::new(JobRow::new(record.clone())));
            self.bytes += record.input.len() + 256;
            self.record_changed(record.key);
        }
        Ok(())
    }

    fn credential(&mut self, record: &CredentialRecord) -> Result<(), Fault> {
        self.buffer.clear();
        encode_credential(record, &mut self.buffer);
        self.bytes += self.buffer.len();
        let key = record.key.ulid();
        let mut statement = self
            .connection
            .prepare_cached("INSERT OR REPLACE INTO credentials (key, crc, record) VALUES (?1, ?2, ?3)")?;
        statement.execute(params![sums::id(key), sums::row(key, &self.buffer), self.buffer.as_slice()])?;
        Ok(())
    }

    /// Forgets what is named.
    pub(super) fn trim(&mut self, trim: Trim) -> Result<(), Fault> {
        match trim {
            Trim::Session { session, to } => self.trim_session(session, to),
            Trim::Job { job, to } => self.trim_job(job, to),
            Trim::WholeSession(session) => self.forget_session(session),
            Trim::WholeJob(job) => self.forget_job(job),
            Trim::Credential(credential) => {
                let mut statement =
                    self.connection.prepare_cached("DELETE FROM credentials WHERE key = ?1")?;
                statement.execute([sums::id(credential.ulid())])?;
                Ok(())
            }
        }
    }
}

/// The sessions a job's row names.
fn named(row: &JobRow) -> impl Iterator<Item = SessionKey> {
    row.followers.iter().map(|follower| follower.session).chain(row.owner)
}
