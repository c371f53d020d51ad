//! Whether a file holds what was written: every row, every event, every stream.

use std::collections::BTreeMap;

use arcp_proto::id::JobKey;
use rusqlite::{Connection, params};

use super::error::{Damage, Fault};
use super::pages::{self, event_name, signed, unsigned};
use super::rows::StoredSession;
use super::{codec, rows, sums};

/// Findings after which no more are looked for.
const MOST: usize = 1_000;

/// What is in a store, and what of it is damaged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Sessions, dead ones included.
    pub sessions: u64,
    /// Jobs.
    pub jobs: u64,
    /// Credentials in the ledger.
    pub credentials: u64,
    /// Events in logs and notices to single sessions.
    pub events: u64,
    /// Numbers that can be delivered again.
    pub deliveries: u64,
    /// What is damaged, at most a thousand findings.
    pub damage: Vec<Damage>,
}

impl Report {
    fn note(&mut self, found: Result<(), Fault>) -> Result<(), Fault> {
        match found {
            Err(Fault::Damage(damage)) if self.damage.len() < MOST => self.damage.push(damage),
            Err(Fault::Sqlite(error)) => return Err(error.into()),
            _ => {}
        }
        Ok(())
    }
}

/// Reads everything.
pub(super) fn check(connection: &Connection) -> Result<Report, Fault> {
    let mut report = Report::default();
    connection.execute_batch("BEGIN")?;
    let checked = file(connection, &mut report)
        .and_then(|()| jobs(connection, &mut report))
        .and_then(|()| sessions(connection, &mut report))
        .and_then(|()| {
            rows::credentials(connection, |credential| {
                report.credentials += 1;
                report.note(credential.map(drop))
            })
        });
    connection.execute_batch("COMMIT")?;
    match checked {
        Ok(()) => Ok(report),
        // Pages of the file that SQLite cannot read. What was found before says more than this does.
        Err(Fault::Sqlite(error)) if !report.damage.is_empty() => {
            report.damage.push(Damage::new("the file", error));
            Ok(report)
        }
        Err(fault) => Err(fault),
    }
}

/// What SQLite itself finds.
fn file(connection: &Connection, report: &mut Report) -> Result<(), Fault> {
    let mut statement = connection.prepare("PRAGMA integrity_check(100)")?;
    let mut findings = statement.query(())?;
    while let Some(finding) = findings.next()? {
        let words: String = finding.get(0)?;
        if words != "ok" {
            report.damage.push(Damage::new("the file", words));
        }
    }
    Ok(())
}

fn jobs(connection: &Connection, report: &mut Report) -> Result<(), Fault> {
    let mut known = BTreeMap::new();
    rows::jobs(connection, |job| match job {
        Ok(job) => {
            known.insert(job.id, job.key);
            let Some(row) = &job.row else { return Ok(()) };
            report.jobs += 1;
            let range = (row.positions.floor(), row.positions.last());
            let found = log(connection, job.id, job.key, range, row.last_origin);
            report.note(found)
        }
        Err(fault) => report.note(Err(fault)),
    })?;
    let mut statement =
        connection.prepare("SELECT job, position, origin, crc, data FROM events ORDER BY job, position")?;
    let mut events = statement.query(())?;
    while let Some(event) = events.next()? {
        report.events += 1;
        let (job, position, origin): (i64, i64, i64) = (event.get(0)?, event.get(1)?, event.get(2)?);
        let Some(key) = known.get(&job).copied() else {
            // Said already of the job, if that is there at all.
            continue;
        };
        let data = event.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
        let found = sound(key, unsigned(position), unsigned(origin), event.get(3)?, data);
        report.note(found)?;
    }
    Ok(())
}

/// Whether an event is what was written.
pub(super) fn sound(job: JobKey, position: u64, origin: u64, crc: u32, data: &[u8]) -> Result<(), Fault> {
    if sums::event(job, position, origin, data) != crc {
        return Err(Damage::checksum(event_name(job, position)).into());
    }
    match codec::decode_event(data, Some(position)) {
        Ok(_) => Ok(()),
        Err(malformed) => Err(Damage::malformed(event_name(job, position), malformed).into()),
    }
}

/// Whether a log has all its positions, and origin numbers that rise up to the newest one.
fn log(
    connection: &Connection,
    id: i64,
    key: JobKey,
    (floor, last): (u64, u64),
    last_origin: u64,
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT position, origin FROM events WHERE job = ?1 AND position > ?2 ORDER BY position",
    )?;
    let mut events = statement.query(params![id, signed(floor)])?;
    let (mut position, mut origin) = (floor, 0);
    while let Some(event) = events.next()? {
        let next = unsigned(event.get(0)?);
        if next != position + 1 {
            return Err(Damage::new(event_name(key, position + 1), "it is missing").into());
        }
        let rises: i64 = event.get(1)?;
        if unsigned(rises) <= origin {
            return Err(Damage::new(event_name(key, next), "its origin number does not rise").into());
        }
        (position, origin) = (next, unsigned(rises));
    }
    if position != last {
        return Err(Damage::new(event_name(key, position + 1), "it is missing").into());
    }
    if last > floor && origin != last_origin {
        return Err(Damage::new(key, "its newest origin number is not that of its newest event").into());
    }
    Ok(())
}

fn sessions(connection: &Connection, report: &mut Report) -> Result<(), Fault> {
    rows::sessions(connection, |session| {
        report.sessions += 1;
        let session = match session {
            Ok(session) => session,
            Err(fault) => return report.note(Err(fault)),
        };
        report.deliveries += session.row.numbers.len();
        let found = stream(connection, &session).map(|notices| report.events += notices);
        report.note(found)
    })
}

/// Whether a session can be given again all that its row promises. Gives how many of these events are in no log.
pub(super) fn stream(connection: &Connection, session: &StoredSession) -> Result<u64, Fault> {
    let (key, numbers) = (session.row.record.key, &session.row.numbers);
    let (mut reached, mut notices) = (numbers.floor(), 0);
    let chain = pages::stream(connection, session.id, key, reached + 1, |seq, _, event| {
        if seq > numbers.floor() {
            reached = seq;
            event.decode()?;
            notices += u64::from(event.is_notice());
        }
        Ok(true)
    })?;
    if reached == numbers.last() && (numbers.is_empty() || chain == Some(session.chain)) {
        return Ok(notices);
    }
    Err(Damage::new(key, format!("its stream ends at {reached}, not at {}", numbers.last())).into())
}
