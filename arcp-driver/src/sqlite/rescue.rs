//! Copying what is whole from a damaged file.
//!
//! A session comes along if everything it can be given again is whole: a hole would be a silent one. A job comes along with
//! the newest part of its log, back to the newest damage, unless its end is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use arcp_proto::id::{JobKey, SessionKey};
use arcp_proto::runtime::rows::JobRow;
use arcp_proto::runtime::store::CredentialRecord;
use rusqlite::{Connection, params};

use super::codec::{encode_credential, encode_job_record, encode_job_state, encode_session};
use super::error::{Damage, Fault, OpenError};
use super::lock::{Lock, check_private, create_private};
use super::pages::{self, signed, unsigned};
use super::rows::{StoredJob, StoredSession};
use super::{Durability, check, rows, schema, sums};

/// Copies what is whole to a new file. Gives what is left behind, and why.
///
/// # Errors
/// [`OpenError`] if the damaged file cannot be read at all, a runtime works on it, or the new one is there already.
pub fn rescue(from: impl AsRef<Path>, into: impl AsRef<Path>) -> Result<Vec<Damage>, OpenError> {
    let (from, into) = (from.as_ref(), into.as_ref());
    check_private(from)?;
    let _from_lock = Lock::acquire(from)?;
    let damaged = schema::open_reader(from)?;
    let whole = Whole::of(&damaged);
    if into.exists() {
        return Err(OpenError::io(into, io::ErrorKind::AlreadyExists.into()));
    }
    let _into_lock = Lock::acquire(into)?;
    create_private(into)?;
    let fresh = schema::open_writer(into, Durability::Full, None)?;
    let written = fresh.execute_batch("BEGIN IMMEDIATE").map_err(Fault::from).and_then(|()| {
        whole.write(&damaged, &fresh)?;
        fresh.execute_batch("COMMIT")?;
        fresh.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
        Ok(())
    });
    written.map_err(|fault| OpenError::reading(into, fault))?;
    Ok(whole.left_behind)
}

/// What is whole of a file.
#[derive(Default)]
struct Whole {
    sessions: BTreeMap<SessionKey, StoredSession>,
    jobs: BTreeMap<JobKey, (i64, Box<JobRow>)>,
    /// Jobs of which only sessions still have events.
    forgotten: BTreeMap<i64, JobKey>,
    credentials: Vec<CredentialRecord>,
    left_behind: Vec<Damage>,
}

impl Whole {
    fn of(damaged: &Connection) -> Self {
        let mut whole = Self::default();
        let all = rows::sessions(damaged, |session| {
            match session.and_then(|session| check::stream(damaged, &session).map(|_| session)) {
                Ok(session) => drop(whole.sessions.insert(session.row.record.key, session)),
                Err(fault) => whole.leave("a session", fault),
            }
            Ok(())
        });
        whole.rest("sessions", all);
        let all = rows::jobs(damaged, |job| {
            match job.and_then(|job| whole.job(damaged, job)) {
                Ok(()) => {}
                Err(fault) => whole.leave("a job", fault),
            }
            Ok(())
        });
        whole.rest("jobs", all);
        let all = rows::credentials(damaged, |credential| {
            match credential {
                Ok(credential) => whole.credentials.push(credential),
                Err(fault) => whole.leave("a credential", fault),
            }
            Ok(())
        });
        whole.rest("credentials", all);
        whole.part();
        whole
    }

    fn leave(&mut self, part: &str, fault: Fault) {
        self.left_behind.push(match fault {
            Fault::Damage(damage) => damage,
            fault @ Fault::Sqlite(_) => Damage::new(part, fault),
        });
    }

    fn rest(&mut self, part: &str, read: Result<(), Fault>) {
        if let Err(fault) = read {
            self.leave(&format!("the rest of the {part}"), fault);
        }
    }

    /// Takes a job with the newest part of its log.
    fn job(&mut self, damaged: &Connection, job: StoredJob) -> Result<(), Fault> {
        let StoredJob { id, key, row } = job;
        let Some(mut row) = row else {
            self.forgotten.insert(id, key);
            return Ok(());
        };
        let (floor, last) = (row.positions.floor(), row.positions.last());
        let (whole_from, before) = newest_part(damaged, id, key, floor, last)?;
        if whole_from > floor {
            if row.end.is_some_and(|end| end.position <= whole_from) {
                return Err(Damage::new(key, "how it ended is lost").into());
            }
            self.left_behind.push(Damage::new(key, format!("its log up to {whole_from}")));
            row.trim(whole_from, before.unwrap_or(row.last_origin));
        }
        self.jobs.insert(key, (id, row));
        Ok(())
    }

    /// Parts sessions from what they can no longer be given, and jobs from sessions that are left behind.
    fn part(&mut self) {
        for (key, (_, row)) in &self.jobs {
            let floor = row.positions.floor();
            for follower in row.followers.iter().filter(|follower| follower.through < floor) {
                if self.sessions.remove(&follower.session).is_some() {
                    let what = format!("it follows {key}, whose next events are lost");
                    self.left_behind.push(Damage::new(follower.session, what));
                }
            }
        }
        for (_, row) in self.jobs.values_mut() {
            let named: BTreeSet<SessionKey> =
                row.followers.iter().map(|follower| follower.session).chain(row.owner).collect();
            for session in named.into_iter().filter(|session| !self.sessions.contains_key(session)) {
                row.forget_session(session);
            }
        }
    }

    fn write(&self, damaged: &Connection, fresh: &Connection) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        for (key, session) in &self.sessions {
            bytes.clear();
            encode_session(&session.row, &mut bytes);
            let crc = sums::session(*key, session.chain, &bytes);
            fresh
                .prepare_cached(
                    "INSERT INTO sessions (id, key, chain, crc, row) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![session.id, sums::id(key.ulid()), session.chain, crc, bytes])?;
        }
        for (key, (id, row)) in &self.jobs {
            bytes.clear();
            encode_job_record(row, &mut bytes);
            fresh
                .prepare_cached("INSERT INTO jobs (id, key, crc, record) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![id, sums::id(key.ulid()), sums::row(key.ulid(), &bytes), bytes])?;
            bytes.clear();
            encode_job_state(row, &mut bytes);
            fresh
                .prepare_cached("INSERT INTO job_states (job, crc, state) VALUES (?1, ?2, ?3)")?
                .execute(params![id, sums::row(key.ulid(), &bytes), bytes])?;
            copy_events(damaged, fresh, *id, row.positions.floor() + 1, row.positions.last())?;
        }
        for credential in &self.credentials {
            bytes.clear();
            encode_credential(credential, &mut bytes);
            let key = credential.key.ulid();
            fresh
                .prepare_cached("INSERT INTO credentials (key, crc, record) VALUES (?1, ?2, ?3)")?
                .execute(params![sums::id(key), sums::row(key, &bytes), bytes])?;
        }
        for session in self.sessions.values() {
            self.copy_stream(damaged, fresh, session)?;
        }
        Ok(())
    }

    /// Copies what a session was delivered, with the events that no log has any more.
    fn copy_stream(
        &self,
        damaged: &Connection,
        fresh: &Connection,
        session: &StoredSession,
    ) -> Result<(), Fault> {
        let mut statement = damaged.prepare_cached(
            "SELECT last_seq, count, job, first_position, chain_before, chain_after, notice FROM deliveries \
             WHERE session = ?1 AND last_seq > ?2",
        )?;
        let mut runs = statement.query(params![session.id, signed(session.row.numbers.floor())])?;
        while let Some(run) = runs.next()? {
            let (last_seq, count, job): (i64, i64, i64) = (run.get(0)?, run.get(1)?, run.get(2)?);
            let first_position: i64 = run.get(3)?;
            let (before, after): (u32, u32) = (run.get(4)?, run.get(5)?);
            let notice: Option<Vec<u8>> = run.get(6)?;
            fresh
                .prepare_cached("INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
                .execute(params![session.id, last_seq, count, job, first_position, before, after, notice])?;
            // A job that is left behind is one that nobody remembers.
            if let Some(key) = pages::job_key(damaged, job)? {
                fresh
                    .prepare_cached("INSERT OR IGNORE INTO jobs (id, key) VALUES (?1, ?2)")?
                    .execute(params![job, sums::id(key.ulid())])?;
            }
            if notice.is_none() {
                let first = unsigned(first_position);
                copy_events(damaged, fresh, job, first, first + unsigned(count) - 1)?;
            }
        }
        Ok(())
    }
}

/// Where the part of a log begins that is whole up to its newest event: behind this position, and the origin number there.
fn newest_part(
    damaged: &Connection,
    id: i64,
    key: JobKey,
    floor: u64,
    last: u64,
) -> Result<(u64, Option<u64>), Fault> {
    let mut statement = damaged.prepare_cached(
        "SELECT position, origin, crc, data FROM events WHERE job = ?1 AND position BETWEEN ?2 AND ?3 \
         ORDER BY position DESC",
    )?;
    let mut events = statement.query(params![id, signed(floor + 1), signed(last)])?;
    let (mut position, mut before) = (last, None);
    while position > floor {
        // A page that cannot be read is the end of what can.
        let Ok(Some(event)) = events.next() else { break };
        let (found, origin): (i64, i64) = (event.get(0)?, event.get(1)?);
        let origin = unsigned(origin);
        let data = event.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        if unsigned(found) != position || check::sound(key, position, origin, event.get(2)?, data).is_err() {
            break;
        }
        position -= 1;
        before = origin.checked_sub(1);
    }
    Ok((position, before))
}

fn copy_events(
    damaged: &Connection,
    fresh: &Connection,
    job: i64,
    first: u64,
    last: u64,
) -> Result<(), Fault> {
    let mut statement = damaged.prepare_cached(
        "SELECT position, origin, crc, data FROM events WHERE job = ?1 AND position BETWEEN ?2 AND ?3",
    )?;
    let mut insert = fresh.prepare_cached(
        "INSERT OR IGNORE INTO events (job, position, origin, crc, data) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut events = statement.query(params![job, signed(first), signed(last)])?;
    while let Some(event) = events.next()? {
        let (position, origin, crc): (i64, i64, u32) = (event.get(0)?, event.get(1)?, event.get(2)?);
        let data = event.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        insert.execute(params![job, position, origin, crc, data])?;
    }
    Ok(())
}
