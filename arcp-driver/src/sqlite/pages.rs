//! Reading events: a session's stream and a job's log, checked as they are read.

use std::collections::HashMap;
use std::sync::Arc;

use arcp_proto::id::{JobKey, SessionKey, Ulid};
use arcp_proto::runtime::store::{Delivered, JobPage, Logged, PageLimit, Place};
use arcp_proto::wire::event::LoggedEvent;
use rusqlite::{Connection, OptionalExtension, params};

use super::codec::decode_event;
use super::error::{Damage, Fault};
use super::{rows, sums};

/// What was delivered to a session behind `after`.
pub(super) fn session(
    connection: &Connection,
    key: SessionKey,
    after: u64,
    mut limit: PageLimit,
) -> Result<Vec<Delivered>, Fault> {
    let mut page = Vec::new();
    let Some(session) = rows::session(connection, key)? else { return Ok(page) };
    let numbers = &session.row.numbers;
    let first = after.max(numbers.floor()).saturating_add(1);
    if first > numbers.last() || limit.events == 0 {
        return Ok(page);
    }
    let mut has_room = true;
    let mut end = None;
    stream(connection, session.id, key, first, |seq, job, event| {
        if seq >= first {
            let event = event.decode()?;
            has_room = limit.take(&event);
            page.push(Delivered { seq, job, event: Arc::new(event) });
        }
        Ok(has_room)
    })
    .map(|chain| end = chain)?;
    let reached = page.last().map_or(first - 1, |delivered| delivered.seq);
    if has_room && (reached, end) != (numbers.last(), Some(session.chain)) {
        return Err(
            Damage::new(key, format!("its stream ends at {reached}, not at {}", numbers.last())).into()
        );
    }
    Ok(page)
}

/// An event as it is stored, checked against its checksum.
pub(super) struct Stored<'a> {
    part: &'a dyn std::fmt::Display,
    data: &'a [u8],
    position: Option<u64>,
}

impl Stored<'_> {
    /// Whether it is an event of one session only.
    pub(super) const fn is_notice(&self) -> bool {
        self.position.is_none()
    }

    pub(super) fn decode(&self) -> Result<LoggedEvent, Fault> {
        let event = decode_event(self.data, self.position);
        Ok(event.map_err(|malformed| Damage::malformed(self.part, malformed))?)
    }
}

/// Goes through a session's stream from `first` on, a few numbers earlier so that the chain can be checked, until `see`
/// wants no more. Gives the chain at the end, if it was reached.
pub(super) fn stream(
    connection: &Connection,
    id: i64,
    key: SessionKey,
    first: u64,
    mut see: impl FnMut(u64, JobKey, &Stored<'_>) -> Result<bool, Fault>,
) -> Result<Option<u32>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT last_seq, count, job, first_position, chain_before, chain_after, notice \
         FROM deliveries WHERE session = ?1 AND last_seq >= ?2 ORDER BY last_seq",
    )?;
    let mut events = connection.prepare_cached(
        "SELECT position, origin, crc, data FROM events WHERE job = ?1 AND position BETWEEN ?2 AND ?3 ORDER BY position",
    )?;
    let mut jobs = HashMap::new();
    let mut before: Option<(u64, u32)> = None;
    let mut runs = statement.query(params![id, signed(first)])?;
    while let Some(run) = runs.next()? {
        let (last_seq, count, job): (i64, i64, i64) = (run.get(0)?, run.get(1)?, run.get(2)?);
        let (first_position, mut chain, chain_after): (i64, u32, u32) =
            (run.get(3)?, run.get(4)?, run.get(5)?);
        let hole = || Damage::new(key, format!("its stream has a hole before {last_seq}"));
        let mut seq = unsigned(last_seq - count + 1);
        if !match before {
            Some((before, link)) => seq == before + 1 && chain == link,
            None => seq <= first,
        } {
            return Err(hole().into());
        }
        let job = match jobs.get(&job) {
            Some(known) => (job, *known),
            None => {
                let known = job_key(connection, job)?.ok_or_else(hole)?;
                jobs.insert(job, known);
                (job, known)
            }
        };
        let mut wants_more = true;
        if let Some(notice) = run.get_ref(6)?.as_blob_or_null().map_err(rusqlite::Error::from)? {
            chain = sums::link(chain, seq, job.1, 0, sums::event(job.1, 0, 0, notice));
            if chain == chain_after {
                wants_more = see(seq, job.1, &Stored { part: &key, data: notice, position: None })?;
            }
            seq += 1;
        } else {
            let mut found = events.query(params![job.0, first_position, first_position + count - 1])?;
            while let Some(event) = found.next()? {
                let (position, origin): (i64, i64) = (event.get(0)?, event.get(1)?);
                let (crc, position): (u32, u64) = (event.get(2)?, unsigned(position));
                let data = event.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
                if position != unsigned(first_position) + (seq - unsigned(last_seq - count + 1)) {
                    return Err(hole().into());
                }
                if sums::event(job.1, position, unsigned(origin), data) != crc {
                    return Err(Damage::checksum(event_name(job.1, position)).into());
                }
                chain = sums::link(chain, seq, job.1, position, crc);
                if wants_more {
                    wants_more = see(seq, job.1, &Stored { part: &job.1, data, position: Some(position) })?;
                }
                seq += 1;
            }
        }
        if seq != unsigned(last_seq) + 1 {
            return Err(hole().into());
        }
        if chain != chain_after {
            let what = format!("its stream up to {last_seq} does not match its checksum");
            return Err(Damage::new(key, what).into());
        }
        if !wants_more {
            return Ok(None);
        }
        before = Some((unsigned(last_seq), chain));
    }
    Ok(before.map(|(_, chain)| chain))
}

/// A piece of a job's log.
pub(super) fn job(
    connection: &Connection,
    key: JobKey,
    after: Place,
    mut limit: PageLimit,
) -> Result<JobPage, Fault> {
    let Some(rows::StoredJob { id, row: Some(row), .. }) = rows::job(connection, key)? else {
        return Ok(JobPage::default());
    };
    let (floor, last) = (row.positions.floor(), row.positions.last());
    let behind = match after {
        Place::Position(position) => position.clamp(floor, last),
        Place::Origin(number) => behind_origin(connection, id, key, (floor, last), number)?,
    };
    let mut page = JobPage { events: Vec::new(), before: row.last_origin };
    if behind == last || limit.events == 0 {
        return Ok(page);
    }
    page.before = if behind == floor { row.floor_origin } else { origin(connection, id, key, behind)? };
    let mut statement = connection.prepare_cached(
        "SELECT position, origin, crc, data FROM events WHERE job = ?1 AND position > ?2 ORDER BY position",
    )?;
    let mut events = statement.query(params![id, signed(behind)])?;
    for expected in behind + 1..=last {
        let missing = || Damage::new(event_name(key, expected), "it is missing");
        let event = events.next()?.ok_or_else(missing)?;
        let (position, origin): (i64, i64) = (event.get(0)?, event.get(1)?);
        if unsigned(position) != expected {
            return Err(missing().into());
        }
        let data = event.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        if sums::event(key, expected, unsigned(origin), data) != event.get::<_, u32>(2)? {
            return Err(Damage::checksum(event_name(key, expected)).into());
        }
        let event = decode_event(data, Some(expected))
            .map_err(|malformed| Damage::malformed(event_name(key, expected), malformed))?;
        let has_room = limit.take(&event);
        page.events.push(Logged { origin: unsigned(origin), event: Arc::new(event) });
        if !has_room {
            break;
        }
    }
    Ok(page)
}

/// The last position whose origin number is not above `number`: they rise with the positions.
fn behind_origin(
    connection: &Connection,
    id: i64,
    key: JobKey,
    (mut low, mut high): (u64, u64),
    number: u64,
) -> Result<u64, Fault> {
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if origin(connection, id, key, middle)? <= number {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}

/// The origin number of the event at a position.
pub(super) fn origin(connection: &Connection, id: i64, key: JobKey, position: u64) -> Result<u64, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT origin FROM events WHERE job = ?1 AND position = ?2")?;
    let found = statement.query_row(params![id, signed(position)], |row| row.get(0)).optional()?;
    let missing = || Damage::new(event_name(key, position), "it is missing");
    Ok(unsigned(found.ok_or_else(missing)?))
}

pub(super) fn job_key(connection: &Connection, id: i64) -> Result<Option<JobKey>, Fault> {
    let mut statement = connection.prepare_cached("SELECT key FROM jobs WHERE id = ?1")?;
    let found: Option<[u8; 16]> = statement.query_row([id], |row| row.get(0)).optional()?;
    Ok(found.map(|key| JobKey::from_ulid(Ulid::from_bits(u128::from_be_bytes(key)))))
}

pub(super) fn event_name(job: JobKey, position: u64) -> String {
    format!("event {position} of {job}")
}

/// A number as SQLite has them; those of the protocol end at 2⁵³.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that was never negative when it was written.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
