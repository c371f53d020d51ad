//! What can be wrong with a store's file.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

use super::codec::Malformed;

/// Why a file cannot be opened as a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file system refuses.
    #[error("cannot open the store {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another store, of this process or another one, works on it.
    #[error("the store {path} is in use by another process", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Other users of the machine can read or write it.
    #[error(
        "the store {path} has the mode {mode:03o}, so others can get at it; it must be 600 or stricter (chmod 600)",
        path = path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is something else.
    #[error("{path} is not a store: {why}", path = path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// A later version of this library wrote it.
    #[error(
        "the store {path} has the schema {found}, and this version knows those up to {known}; it needs a newer version",
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema known here.
        known: i64,
    },
    /// This program is linked with a SQLite whose write-ahead log can be damaged.
    #[error("SQLite {found} is too old; the store needs 3.51.3 or later")]
    OldSqlite {
        /// Its version.
        found: &'static str,
    },
    /// It does not hold what was written.
    #[error(
        "the store {path} is damaged: {damage}; `arcp db check` lists all damage, `arcp db rescue` copies what is whole",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is damaged.
        damage: Damage,
    },
    /// SQLite refuses.
    #[error("cannot open the store {path}: {why}", path = path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Its words.
        why: String,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn not_a_store(path: &Path, why: impl Display) -> Self {
        Self::NotAStore { path: path.to_owned(), why: why.to_string() }
    }

    /// What went wrong while the file was opened or read.
    pub(super) fn reading(path: &Path, error: Fault) -> Self {
        let path = path.to_owned();
        match error {
            Fault::Damage(damage) => Self::Damaged { path, damage },
            Fault::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt) => {
                    Self::Damaged { path, damage: Damage::new("the file", sqlite_words(&error)) }
                }
                Some(ErrorCode::NotADatabase) => Self::NotAStore {
                    path,
                    why: "it is no SQLite database, or its first page is damaged".into(),
                },
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse { path },
                _ => Self::Sqlite { path, why: sqlite_words(&error) },
            },
        }
    }
}

/// A part of a store that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {what}")]
pub struct Damage {
    /// Which part: a session, a job, an event, a credential, the file.
    pub part: String,
    /// What is wrong with it.
    pub what: String,
}

impl Damage {
    pub(super) fn new(part: impl Display, what: impl Display) -> Self {
        Self { part: part.to_string(), what: what.to_string() }
    }

    pub(super) fn malformed(part: impl Display, malformed: Malformed) -> Self {
        Self::new(part, malformed)
    }

    pub(super) fn checksum(part: impl Display) -> Self {
        Self::new(part, "it does not match its checksum")
    }
}

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error("{}", sqlite_words(.0))]
    Sqlite(#[from] rusqlite::Error),
}

impl Fault {
    /// Whether there is no room: nothing was written, and it can be tried again.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }
}

/// What SQLite says, with the code that tells which operation of the file system failed. Never a value.
fn sqlite_words(error: &rusqlite::Error) -> String {
    match error.sqlite_error() {
        Some(code) => {
            format!("{} (SQLite code {})", ffi::code_to_str(code.extended_code), code.extended_code)
        }
        None => error.to_string(),
    }
}
