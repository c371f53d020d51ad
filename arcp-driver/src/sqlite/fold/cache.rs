//! Rows in use, runs of deliveries that still grow, and what of it a transaction has not written yet.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use arcp_proto::id::{JobKey, SessionKey};
use arcp_proto::runtime::rows::{JobRow, SessionRow};
use rusqlite::{Connection, params};

use super::super::codec::{encode_job_record, encode_job_state, encode_session};
use super::super::error::Fault;
use super::super::{rows, sums};
use super::{Fold, RUN_BYTES, RUN_NUMBERS, Target};

/// Rows above which those not used lately are given up.
const ROWS: usize = 16_384;
/// Transactions for which a row is kept that is not used.
const LATELY: u64 = 256;

pub(super) struct CachedSession {
    pub(super) id: i64,
    pub(super) row: SessionRow,
    /// Behind the newest number.
    pub(super) chain: u32,
    /// The newest deliveries, as far as they are not in the table.
    pub(super) run: Option<Run>,
    is_dirty: bool,
    used: u64,
}

impl CachedSession {
    /// Whether it was clean before.
    pub(super) const fn mark_dirty(&mut self) -> bool {
        !std::mem::replace(&mut self.is_dirty, true)
    }
}

pub(super) struct CachedJob {
    pub(super) id: i64,
    /// `None` if nobody remembers the job.
    pub(super) row: Option<Box<JobRow>>,
    is_dirty: bool,
    record_is_dirty: bool,
    used: u64,
}

impl CachedJob {
    pub(super) const fn new(id: i64, row: Option<Box<JobRow>>, used: u64) -> Self {
        Self { id, row, is_dirty: false, record_is_dirty: false, used }
    }
}

/// Neighbouring numbers of a session that stand for neighbouring positions of one job.
pub(super) struct Run {
    pub(super) job: i64,
    pub(super) first_seq: u64,
    pub(super) first_position: u64,
    pub(super) count: u64,
    pub(super) chain_before: u32,
    pub(super) bytes: u64,
}

impl Run {
    pub(super) fn takes(&self, seq: u64, target: &Target, bytes: u64) -> bool {
        self.job == target.id
            && self.first_seq + self.count == seq
            && self.first_position + self.count == target.position
            && self.count < RUN_NUMBERS
            && self.bytes.saturating_add(bytes) <= RUN_BYTES
    }
}

/// Which jobs' rows name a session, so that its death touches no others.
#[derive(Default)]
pub(super) struct Links {
    jobs: HashMap<SessionKey, BTreeSet<JobKey>>,
    /// What to do should the transaction fail, the newest last.
    undo: Vec<(SessionKey, JobKey, bool)>,
}

impl Links {
    pub(super) fn add(&mut self, session: SessionKey, job: JobKey) {
        if self.jobs.entry(session).or_default().insert(job) {
            self.undo.push((session, job, false));
        }
    }

    pub(super) fn remove(&mut self, session: SessionKey, job: JobKey) {
        if let Entry::Occupied(mut jobs) = self.jobs.entry(session)
            && jobs.get_mut().remove(&job)
        {
            self.undo.push((session, job, true));
            if jobs.get().is_empty() {
                jobs.remove();
            }
        }
    }

    pub(super) fn remove_all(&mut self, session: SessionKey) -> BTreeSet<JobKey> {
        let jobs = self.jobs.remove(&session).unwrap_or_default();
        self.undo.extend(jobs.iter().map(|job| (session, *job, true)));
        jobs
    }

    pub(super) fn commit(&mut self) {
        self.undo.clear();
    }

    fn roll_back(&mut self) {
        for (session, job, was_there) in std::mem::take(&mut self.undo).into_iter().rev() {
            if was_there {
                self.jobs.entry(session).or_default().insert(job);
            } else if let Some(jobs) = self.jobs.get_mut(&session) {
                jobs.remove(&job);
            }
        }
    }
}

impl Fold<'_> {
    /// A session, from the tables if need be.
    pub(super) fn cached<'a>(
        sessions: &'a mut HashMap<SessionKey, CachedSession>,
        connection: &Connection,
        generation: u64,
        key: SessionKey,
    ) -> Result<Option<&'a mut CachedSession>, Fault> {
        let session = match sessions.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let Some(rows::StoredSession { id, chain, row }) = rows::session(connection, key)? else {
                    return Ok(None);
                };
                place.insert(CachedSession { id, row, chain, run: None, is_dirty: false, used: 0 })
            }
        };
        session.used = generation;
        Ok(Some(session))
    }

    /// A session that can be given numbers.
    pub(super) fn living<'a>(
        sessions: &'a mut HashMap<SessionKey, CachedSession>,
        connection: &Connection,
        generation: u64,
        key: SessionKey,
    ) -> Result<Option<&'a mut CachedSession>, Fault> {
        let session = Self::cached(sessions, connection, generation, key)?;
        Ok(session.filter(|session| !session.row.is_dead()))
    }

    pub(super) fn insert_session(&mut self, row: SessionRow) -> Result<(), Fault> {
        let key = row.record.key;
        self.buffer.clear();
        encode_session(&row, &mut self.buffer);
        self.bytes += self.buffer.len();
        let mut statement = self
            .connection
            .prepare_cached("INSERT INTO sessions (key, chain, crc, row) VALUES (?1, ?2, ?3, ?4)")?;
        let crc = sums::session(key, sums::CHAIN_START, &self.buffer);
        let values = params![sums::id(key.ulid()), sums::CHAIN_START, crc, self.buffer.as_slice()];
        let id = statement.insert(values)?;
        let (chain, used) = (sums::CHAIN_START, self.generation);
        let session = CachedSession { id, row, chain, run: None, is_dirty: false, used };
        self.sessions.insert(key, session);
        Ok(())
    }

    fn cached_job(&mut self, key: JobKey) -> Result<Option<&mut CachedJob>, Fault> {
        let job = match self.jobs.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let Some(rows::StoredJob { id, row, .. }) = rows::job(self.connection, key)? else {
                    return Ok(None);
                };
                place.insert(CachedJob::new(id, row, 0))
            }
        };
        job.used = self.generation;
        Ok(Some(job))
    }

    /// A job's row that will be written again, and that nobody must have forgotten.
    pub(super) fn change_job(&mut self, key: JobKey) -> Result<Option<&mut JobRow>, Fault> {
        let Some(job) = self.cached_job(key)? else { return Ok(None) };
        if job.row.is_some() && !std::mem::replace(&mut job.is_dirty, true) {
            self.dirty_jobs.push(key);
        }
        Ok(self.jobs.get_mut(&key).and_then(|job| job.row.as_deref_mut()))
    }

    /// A job's row, to look at.
    pub(super) fn job_row(&mut self, key: JobKey) -> Result<Option<&JobRow>, Fault> {
        Ok(self.cached_job(key)?.and_then(|job| job.row.as_deref()))
    }

    /// The number that stands for a job in the tables; a job that is not there gets one.
    pub(super) fn job_id(&mut self, key: JobKey) -> Result<i64, Fault> {
        if let Some(job) = self.cached_job(key)? {
            return Ok(job.id);
        }
        let mut statement = self.connection.prepare_cached("INSERT INTO jobs (key) VALUES (?1)")?;
        let id = statement.insert([sums::id(key.ulid())])?;
        self.jobs.insert(key, CachedJob::new(id, None, self.generation));
        self.lingering.insert(id, key);
        Ok(id)
    }

    /// Both parts of a job's row will be written again.
    pub(super) fn record_changed(&mut self, key: JobKey) {
        if let Some(job) = self.jobs.get_mut(&key) {
            job.record_is_dirty = true;
            if !std::mem::replace(&mut job.is_dirty, true) {
                self.dirty_jobs.push(key);
            }
        }
    }

    /// Notes whether a job's row names the session.
    pub(super) fn link(&mut self, job: JobKey, session: SessionKey) -> Result<(), Fault> {
        let is_known = Self::cached(&mut self.sessions, self.connection, self.generation, session)?.is_some();
        if !is_known {
            return Ok(());
        }
        match self.job_row(job)?.map(|row| row.concerns(session)) {
            Some(true) => self.links.add(session, job),
            Some(false) => self.links.remove(session, job),
            None => {}
        }
        Ok(())
    }

    /// Writes the run of a session that still grows.
    pub(super) fn flush_run(&mut self, key: SessionKey) -> Result<(), Fault> {
        if let Some(session) = self.sessions.get_mut(&key)
            && let Some(run) = session.run.take()
        {
            Self::insert_run(&mut self.insert_run, session.id, &run, session.chain, None)?;
        }
        Ok(())
    }

    pub(super) fn flush_runs(&mut self) -> Result<(), Fault> {
        for index in 0..self.dirty_sessions.len() {
            self.flush_run(self.dirty_sessions[index])?;
        }
        Ok(())
    }

    /// Writes all that is not in the tables yet; the transaction can be committed.
    pub(in super::super) fn finish(&mut self) -> Result<(), Fault> {
        self.flush_runs()?;
        let mut statement = self
            .connection
            .prepare_cached("UPDATE sessions SET chain = ?2, crc = ?3, row = ?4 WHERE id = ?1")?;
        for key in self.dirty_sessions.drain(..) {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            session.is_dirty = false;
            self.buffer.clear();
            encode_session(&session.row, &mut self.buffer);
            let crc = sums::session(key, session.chain, &self.buffer);
            statement.execute(params![session.id, session.chain, crc, self.buffer.as_slice()])?;
        }
        let mut record =
            self.connection.prepare_cached("UPDATE jobs SET crc = ?2, record = ?3 WHERE id = ?1")?;
        let mut state = self
            .connection
            .prepare_cached("INSERT OR REPLACE INTO job_states (job, crc, state) VALUES (?1, ?2, ?3)")?;
        for key in self.dirty_jobs.drain(..) {
            let Some(job) = self.jobs.get_mut(&key) else { continue };
            job.is_dirty = false;
            let record_is_dirty = std::mem::take(&mut job.record_is_dirty);
            let Some(row) = &job.row else { continue };
            if record_is_dirty {
                self.buffer.clear();
                encode_job_record(row, &mut self.buffer);
                let crc = sums::row(key.ulid(), &self.buffer);
                record.execute(params![job.id, crc, self.buffer.as_slice()])?;
            }
            self.buffer.clear();
            encode_job_state(row, &mut self.buffer);
            let crc = sums::row(key.ulid(), &self.buffer);
            state.execute(params![job.id, crc, self.buffer.as_slice()])?;
        }
        Ok(())
    }

    /// The transaction is committed.
    pub(in super::super) fn committed(&mut self) {
        self.links.commit();
        for job in self.settled.drain(..) {
            self.lingering.remove(&job);
        }
        self.bytes = 0;
        self.generation += 1;
        let oldest = self.generation.saturating_sub(LATELY);
        if self.sessions.len() > ROWS && self.generation.is_multiple_of(LATELY) {
            self.sessions.retain(|_, session| session.used >= oldest);
        }
        if self.jobs.len() > ROWS && self.generation.is_multiple_of(LATELY) {
            self.jobs.retain(|_, job| job.used >= oldest);
        }
    }

    /// The transaction is void: the tables are as before it, and rows are read from them again.
    pub(in super::super) fn rolled_back(&mut self) {
        self.links.roll_back();
        self.sessions.clear();
        self.jobs.clear();
        self.dirty_sessions.clear();
        self.dirty_jobs.clear();
        self.settled.clear();
        self.bytes = 0;
    }
}
