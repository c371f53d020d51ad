//! Looking into a store from outside, also while a runtime works on it.

use std::path::{Path, PathBuf};

use arcp_proto::id::{JobKey, SessionKey};
use arcp_proto::runtime::rows::{JobRow, Row, SessionRow};
use arcp_proto::runtime::store::{Delivered, JobPage, PageLimit, Place, RowKey};
use rusqlite::Connection;

use super::check::{self, Report};
use super::error::{Fault, OpenError};
use super::lock::{Lock, check_private};
use super::{pages, rows, schema};

/// A store's file, to look into. It is never written, and not locked: a runtime may work on it.
#[derive(Debug)]
pub struct Archive {
    connection: Connection,
    path: PathBuf,
}

/// How large a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of the database, what lies free in it included.
    pub bytes: u64,
    /// Bytes of it that lie free, to be used again.
    pub free: u64,
    /// Bytes of the write-ahead log beside it.
    pub log: u64,
    /// Sessions, dead ones included.
    pub sessions: u64,
    /// Jobs.
    pub jobs: u64,
    /// Credentials in the ledger.
    pub credentials: u64,
    /// Events in logs.
    pub events: u64,
    /// Bytes of these events as they are stored, without what the tables around them take.
    pub event_bytes: u64,
    /// Numbers that can be delivered again; a few more than that, of which some were acknowledged.
    pub deliveries: u64,
    /// Rows in which they are kept.
    pub runs: u64,
    /// The version of the schema.
    pub schema: u64,
}

impl Archive {
    /// Opens a store's file.
    ///
    /// # Errors
    /// [`OpenError`]. Damage inside is found when it is read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        check_private(path)?;
        Ok(Self { connection: schema::open_reader(path)?, path: path.to_owned() })
    }

    /// State rows behind `after`, at most so many, in row order.
    ///
    /// # Errors
    /// [`OpenError`] if they are damaged or cannot be read.
    pub fn rows(&self, after: Option<RowKey>, limit: usize) -> Result<Vec<Row>, OpenError> {
        self.look(|connection| rows::page(connection, after, limit))
    }

    /// The row of a session.
    ///
    /// # Errors
    /// [`OpenError`] if it is damaged or cannot be read.
    pub fn session_row(&self, session: SessionKey) -> Result<Option<SessionRow>, OpenError> {
        self.look(|connection| Ok(rows::session(connection, session)?.map(|stored| stored.row)))
    }

    /// The row of a job.
    ///
    /// # Errors
    /// [`OpenError`] if it is damaged or cannot be read.
    pub fn job_row(&self, job: JobKey) -> Result<Option<Box<JobRow>>, OpenError> {
        self.look(|connection| Ok(rows::job(connection, job)?.and_then(|stored| stored.row)))
    }

    /// What can be delivered again to a session behind number `after`.
    ///
    /// # Errors
    /// [`OpenError`] if it is damaged or cannot be read.
    pub fn session(
        &self,
        session: SessionKey,
        after: u64,
        limit: PageLimit,
    ) -> Result<Vec<Delivered>, OpenError> {
        self.look(|connection| pages::session(connection, session, after, limit))
    }

    /// A piece of a job's log.
    ///
    /// # Errors
    /// [`OpenError`] if it is damaged or cannot be read.
    pub fn job(&self, job: JobKey, after: Place, limit: PageLimit) -> Result<JobPage, OpenError> {
        self.look(|connection| pages::job(connection, job, after, limit))
    }

    /// Counts what is in it.
    ///
    /// # Errors
    /// [`OpenError`] if it cannot be read.
    pub fn stats(&self) -> Result<Stats, OpenError> {
        self.look(|connection| {
            let pragma =
                |name| connection.pragma_query_value(None, name, |row| row.get(0)).map(pages::unsigned);
            let count = |sql| connection.query_row(sql, (), |row| row.get(0)).map(pages::unsigned);
            let page = pragma("page_size")?;
            let mut log = self.path.as_os_str().to_owned();
            log.push("-wal");
            Ok(Stats {
                bytes: pragma("page_count")? * page,
                free: pragma("freelist_count")? * page,
                log: std::fs::metadata(log).map_or(0, |log| log.len()),
                sessions: count("SELECT count(*) FROM sessions")?,
                jobs: count("SELECT count(*) FROM job_states")?,
                credentials: count("SELECT count(*) FROM credentials")?,
                events: count("SELECT count(*) FROM events")?,
                event_bytes: count("SELECT coalesce(sum(length(data)), 0) FROM events")?,
                deliveries: count("SELECT coalesce(sum(count), 0) FROM deliveries")?,
                runs: count("SELECT count(*) FROM deliveries")?,
                schema: pragma("user_version")?,
            })
        })
    }

    /// Reads everything and says what of it is damaged.
    ///
    /// # Errors
    /// [`OpenError`] if the file cannot be read at all.
    pub fn check(&self) -> Result<Report, OpenError> {
        check::check(&self.connection).map_err(|fault| OpenError::reading(&self.path, fault))
    }

    /// All of it from one moment.
    fn look<T>(&self, look: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, OpenError> {
        let look = || {
            self.connection.execute_batch("BEGIN")?;
            let seen = look(&self.connection);
            self.connection.execute_batch("COMMIT")?;
            seen
        };
        look().map_err(|fault| OpenError::reading(&self.path, fault))
    }
}

/// Writes the file anew without the room that lies free in it. No runtime may work on it meanwhile.
///
/// # Errors
/// [`OpenError`]; the file is then as before.
pub fn compact(path: impl AsRef<Path>) -> Result<(), OpenError> {
    let path = path.as_ref();
    check_private(path)?;
    let lock = Lock::acquire(path)?;
    let connection = schema::open_writer(path, super::Durability::Full, None)?;
    // Damage would be copied as if it were whole.
    let report = check::check(&connection).map_err(|fault| OpenError::reading(path, fault))?;
    if let Some(damage) = report.damage.into_iter().next() {
        return Err(OpenError::Damaged { path: path.to_owned(), damage });
    }
    let done = connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
    drop(connection);
    drop(lock);
    done.map_err(|error| OpenError::reading(path, error.into()))
}
