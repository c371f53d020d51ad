//! Reading state rows, each checked against its checksum.

use arcp_proto::id::{CredentialKey, JobKey, SessionKey, Ulid};
use arcp_proto::runtime::rows::{JobRow, Row, SessionRow};
use arcp_proto::runtime::store::{CredentialRecord, RowKey};
use rusqlite::{Connection, OptionalExtension, Params, Row as Columns, params};

use super::codec::{decode_credential, decode_job, decode_session};
use super::error::{Damage, Fault};
use super::sums;

macro_rules! sessions {
    ($rest:literal) => {
        concat!("SELECT key, id, chain, crc, row FROM sessions ", $rest)
    };
}
macro_rules! jobs {
    ($rest:literal) => {
        concat!(
            "SELECT key, id, jobs.crc, record, job_states.crc, state ",
            "FROM jobs LEFT JOIN job_states ON job_states.job = jobs.id ",
            $rest
        )
    };
}
macro_rules! credentials {
    ($rest:literal) => {
        concat!("SELECT key, crc, record FROM credentials ", $rest)
    };
}

/// A session as it is stored.
pub(super) struct StoredSession {
    pub(super) id: i64,
    /// Behind the newest number.
    pub(super) chain: u32,
    pub(super) row: SessionRow,
}

/// A job as it is stored.
pub(super) struct StoredJob {
    pub(super) id: i64,
    pub(super) key: JobKey,
    /// `None` once it is forgotten, while sessions still have events of it.
    pub(super) row: Option<Box<JobRow>>,
}

pub(super) fn session(connection: &Connection, key: SessionKey) -> Result<Option<StoredSession>, Fault> {
    let mut statement = connection.prepare_cached(sessions!("WHERE key = ?1"))?;
    let found = statement.query_row([sums::id(key.ulid())], |columns| Ok(read_session(columns)));
    found.optional()?.transpose()
}

pub(super) fn job(connection: &Connection, key: JobKey) -> Result<Option<StoredJob>, Fault> {
    let mut statement = connection.prepare_cached(jobs!("WHERE key = ?1"))?;
    let found = statement.query_row([sums::id(key.ulid())], |columns| Ok(read_job(columns)));
    found.optional()?.transpose()
}

/// State rows behind `after`, in row order.
pub(super) fn page(connection: &Connection, after: Option<RowKey>, limit: usize) -> Result<Vec<Row>, Fault> {
    let (sessions, jobs, credentials) = match after {
        None => (Some(None), Some(None), None),
        Some(RowKey::Session(key)) => (Some(Some(key.ulid())), Some(None), None),
        Some(RowKey::Job(key)) => (None, Some(Some(key.ulid())), None),
        Some(RowKey::Credential(key)) => (None, None, Some(key.ulid())),
    };
    let mut page = Vec::new();
    if let Some(after) = sessions {
        let rows = sessions!("WHERE ?1 IS NULL OR key > ?1 ORDER BY key LIMIT ?2");
        let behind = params![after.map(sums::id), room(&page, limit)];
        each(connection, rows, behind, |columns| {
            page.push(Row::Session(read_session(columns)?.row));
            Ok(())
        })?;
    }
    if let Some(after) = jobs {
        let rows = jobs!("WHERE (?1 IS NULL OR key > ?1) AND record IS NOT NULL ORDER BY key LIMIT ?2");
        let behind = params![after.map(sums::id), room(&page, limit)];
        each(connection, rows, behind, |columns| {
            page.extend(read_job(columns)?.row.map(Row::Job));
            Ok(())
        })?;
    }
    let rows = credentials!("WHERE ?1 IS NULL OR key > ?1 ORDER BY key LIMIT ?2");
    let behind = params![credentials.map(sums::id), room(&page, limit)];
    each(connection, rows, behind, |columns| {
        page.push(Row::Credential(read_credential(columns)?));
        Ok(())
    })?;
    Ok(page)
}

/// Every session.
pub(super) fn sessions(
    connection: &Connection,
    mut see: impl FnMut(Result<StoredSession, Fault>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    each(connection, sessions!("ORDER BY key"), (), |columns| see(read_session(columns)))
}

/// Every job, the forgotten ones too.
pub(super) fn jobs(
    connection: &Connection,
    mut see: impl FnMut(Result<StoredJob, Fault>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    each(connection, jobs!("ORDER BY key"), (), |columns| see(read_job(columns)))
}

/// Every credential.
pub(super) fn credentials(
    connection: &Connection,
    mut see: impl FnMut(Result<CredentialRecord, Fault>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    each(connection, credentials!("ORDER BY key"), (), |columns| see(read_credential(columns)))
}

fn room(page: &[Row], limit: usize) -> i64 {
    i64::try_from(limit.saturating_sub(page.len())).unwrap_or(i64::MAX)
}

fn each(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    mut see: impl FnMut(&Columns<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    while let Some(columns) = rows.next()? {
        see(columns)?;
    }
    Ok(())
}

fn key(columns: &Columns<'_>) -> Result<Ulid, Fault> {
    Ok(Ulid::from_bits(u128::from_be_bytes(columns.get(0)?)))
}

fn read_session(columns: &Columns<'_>) -> Result<StoredSession, Fault> {
    let key = SessionKey::from_ulid(key(columns)?);
    let (chain, crc): (u32, u32) = (columns.get(2)?, columns.get(3)?);
    let bytes = columns.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
    if sums::session(key, chain, bytes) != crc {
        return Err(Damage::checksum(key).into());
    }
    let row = decode_session(key, bytes).map_err(|malformed| Damage::malformed(key, malformed))?;
    Ok(StoredSession { id: columns.get(1)?, chain, row })
}

fn read_job(columns: &Columns<'_>) -> Result<StoredJob, Fault> {
    let key = JobKey::from_ulid(key(columns)?);
    let id = columns.get(1)?;
    let part = |crc, blob| -> Result<Option<(&[u8], bool)>, rusqlite::Error> {
        let bytes = columns.get_ref(blob)?.as_blob_or_null()?;
        let crc: Option<u32> = columns.get(crc)?;
        Ok(bytes.map(|bytes| (bytes, crc == Some(sums::row(key.ulid(), bytes)))))
    };
    let row = match (part(2, 3)?, part(4, 5)?) {
        (None, None) => None,
        (Some((record, true)), Some((state, true))) => {
            let row = decode_job(key, record, state);
            Some(Box::new(row.map_err(|malformed| Damage::malformed(key, malformed))?))
        }
        (Some(_), Some(_)) => return Err(Damage::checksum(key).into()),
        (Some(_), None) | (None, Some(_)) => {
            return Err(Damage::new(key, "one of the two parts of its row is missing").into());
        }
    };
    Ok(StoredJob { id, key, row })
}

fn read_credential(columns: &Columns<'_>) -> Result<CredentialRecord, Fault> {
    let key = CredentialKey::from_ulid(key(columns)?);
    let bytes = columns.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
    if columns.get::<_, u32>(1)? != sums::row(key.ulid(), bytes) {
        return Err(Damage::checksum(key).into());
    }
    Ok(decode_credential(key, bytes).map_err(|malformed| Damage::malformed(key, malformed))?)
}
