//! Forgetting: a session's deliveries, a job's log, and the events that nobody needs any more.

use std::collections::BTreeSet;

use arcp_proto::id::{JobKey, SessionKey};
use rusqlite::params;

use super::super::error::Fault;
use super::super::pages::{self, signed, unsigned};
use super::super::sums;
use super::{Fold, named};

impl Fold<'_> {
    pub(super) fn trim_session(&mut self, key: SessionKey, to: u64) -> Result<(), Fault> {
        let found = Self::cached(&mut self.sessions, self.connection, self.generation, key)?;
        let Some(session) = found else { return Ok(()) };
        let before = session.row.numbers.floor();
        session.row.trim(to);
        let (id, floor) = (session.id, session.row.numbers.floor());
        if floor == before {
            return Ok(());
        }
        if session.mark_dirty() {
            self.dirty_sessions.push(key);
        }
        self.flush_run(key)?;
        self.give_up(id, floor)
    }

    /// The session is dead: it has no deliveries, and no job names it.
    pub(super) fn session_died(&mut self, key: SessionKey) -> Result<(), Fault> {
        for job in self.links.remove_all(key) {
            if let Some(row) = self.change_job(job)? {
                row.forget_session(key);
            }
        }
        let found = Self::cached(&mut self.sessions, self.connection, self.generation, key)?;
        let Some(id) = found.map(|session| session.id) else { return Ok(()) };
        self.flush_run(key)?;
        self.give_up(id, u64::MAX)
    }

    pub(super) fn forget_session(&mut self, key: SessionKey) -> Result<(), Fault> {
        self.session_died(key)?;
        self.sessions.remove(&key);
        let mut statement = self.connection.prepare_cached("DELETE FROM sessions WHERE key = ?1")?;
        statement.execute([sums::id(key.ulid())])?;
        Ok(())
    }

    /// Gives up a session's deliveries up to and including number `to`, with the events only they kept.
    fn give_up(&mut self, session: i64, to: u64) -> Result<(), Fault> {
        let mut jobs = BTreeSet::new();
        {
            let mut statement = self.connection.prepare_cached(
                "DELETE FROM deliveries WHERE session = ?1 AND last_seq <= ?2 RETURNING job",
            )?;
            let mut given_up = statement.query(params![session, signed(to)])?;
            while let Some(run) = given_up.next()? {
                jobs.insert(run.get::<_, i64>(0)?);
            }
        }
        let lingering: Vec<_> =
            jobs.into_iter().filter_map(|id| Some((id, *self.lingering.get(&id)?))).collect();
        for (id, key) in lingering {
            self.sweep(id, key)?;
        }
        Ok(())
    }

    pub(super) fn trim_job(&mut self, key: JobKey, to: u64) -> Result<(), Fault> {
        let id = match self.job_row(key)? {
            Some(row) if row.trim_target(to) > row.positions.floor() => self.job_id(key)?,
            _ => return Ok(()),
        };
        let Some(row) = self.change_job(key)? else { return Ok(()) };
        let target = row.trim_target(to);
        let origin = pages::origin(self.connection, id, key, target)?;
        if let Some(row) = self.change_job(key)? {
            row.trim(target, origin);
        }
        self.lingering.insert(id, key);
        self.sweep(id, key)
    }

    pub(super) fn forget_job(&mut self, key: JobKey) -> Result<(), Fault> {
        let Some(row) = self.job_row(key)? else { return Ok(()) };
        let sessions: Vec<_> = named(row).collect();
        for session in sessions {
            self.links.remove(session, key);
        }
        let id = self.job_id(key)?;
        if let Some(job) = self.jobs.get_mut(&key) {
            job.row = None;
        }
        self.connection
            .prepare_cached("UPDATE jobs SET crc = NULL, record = NULL WHERE id = ?1")?
            .execute([id])?;
        self.connection.prepare_cached("DELETE FROM job_states WHERE job = ?1")?.execute([id])?;
        self.lingering.insert(id, key);
        self.sweep(id, key)
    }

    /// Deletes the events of a job that its log has given up and no session can be given again. A job that nobody remembers
    /// goes with its last event.
    fn sweep(&mut self, id: i64, key: JobKey) -> Result<(), Fault> {
        self.flush_runs()?;
        let floor = self.job_row(key)?.map(|row| row.positions.floor());
        let up_to = floor.unwrap_or(u64::MAX);
        let mut swept = 0;
        let mut is_needed = false;
        {
            let mut runs = self.connection.prepare_cached(
                "SELECT first_position, count FROM deliveries WHERE job = ?1 AND first_position <= ?2 \
                 ORDER BY first_position",
            )?;
            let mut delete = self
                .connection
                .prepare_cached("DELETE FROM events WHERE job = ?1 AND position BETWEEN ?2 AND ?3")?;
            let mut runs = runs.query(params![id, signed(up_to)])?;
            while let Some(run) = runs.next()? {
                let (first, count): (i64, i64) = (run.get(0)?, run.get(1)?);
                // A notice is no event of the log, and keeps only the job's name.
                is_needed |= floor.is_none() || first > 0;
                if first > 0 {
                    delete.execute(params![id, signed(swept + 1), first - 1])?;
                    swept = swept.max(unsigned(first + count - 1));
                }
            }
            if swept < up_to {
                delete.execute(params![id, signed(swept + 1), signed(up_to)])?;
            }
        }
        if is_needed {
            self.settled.retain(|settled| *settled != id);
        } else {
            self.settled.push(id);
            if floor.is_none() {
                self.jobs.remove(&key);
                self.connection.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([id])?;
            }
        }
        Ok(())
    }
}
