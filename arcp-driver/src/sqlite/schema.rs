//! The tables, their version, and how connections to them are set up.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::Durability;
use super::error::{Fault, OpenError};

/// The version from which SQLite's write-ahead log is sound when it begins anew.
const OLDEST_SQLITE: i32 = 3_051_003;
/// `ARCP`, by which a file says whose it is.
const APPLICATION: i64 = 0x4152_4350;

/// What brings a file from each version of the schema to the next. A step that was released never changes.
const STEPS: [&str; 1] = [include_str!("schema/1.sql")];

/// The newest version.
#[expect(clippy::cast_possible_wrap, reason = "a handful")]
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// The connection that writes. Makes or migrates the tables.
pub(super) fn open_writer(
    path: &Path,
    durability: Durability,
    max_bytes: Option<u64>,
) -> Result<Connection, OpenError> {
    check_sqlite()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> Result<(Connection, i64), Fault> {
        let connection = Connection::open_with_flags(path, flags)?;
        let found = identity(&connection)?;
        Ok((connection, found))
    };
    let (connection, found) = open().map_err(|fault| OpenError::reading(path, fault))?;
    check_version(path, &connection, found)?;
    let mode = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
    let mode = mode.map_err(|error| OpenError::reading(path, error.into()))?;
    if mode != "wal" {
        let why = "SQLite can keep no write-ahead log on this file system".into();
        return Err(OpenError::Sqlite { path: path.to_owned(), why });
    }
    set_up(&connection, durability, max_bytes)
        .and_then(|()| migrate(&connection, &STEPS))
        .map_err(|fault| OpenError::reading(path, fault))?;
    Ok(connection)
}

/// A connection that only reads, also while another process writes.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    check_sqlite()?;
    let open = || -> Result<(Connection, i64), Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(32);
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF")?;
        let found = identity(&connection)?;
        Ok((connection, found))
    };
    let (connection, found) = open().map_err(|fault| OpenError::reading(path, fault))?;
    check_version(path, &connection, found)?;
    if found < VERSION {
        return Err(OpenError::not_a_store(path, "nothing was ever written to it"));
    }
    Ok(connection)
}

fn check_sqlite() -> Result<(), OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::OldSqlite { found: rusqlite::version() });
    }
    Ok(())
}

/// The version of the schema.
fn identity(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn check_version(path: &Path, connection: &Connection, found: i64) -> Result<(), OpenError> {
    let read = || -> Result<(i64, i64), Fault> {
        let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
        Ok((application, tables))
    };
    let (application, tables) = read().map_err(|fault| OpenError::reading(path, fault))?;
    if application != APPLICATION && (tables > 0 || found != 0) {
        return Err(OpenError::not_a_store(path, "it is the database of another program"));
    }
    if found > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    Ok(())
}

fn set_up(connection: &Connection, durability: Durability, max_bytes: Option<u64>) -> Result<(), Fault> {
    connection.set_prepared_statement_cache_capacity(64);
    // One process owns the file, so nobody is waited for.
    connection.busy_timeout(std::time::Duration::ZERO)?;
    connection.execute_batch(
        "PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA temp_store = MEMORY;
         PRAGMA secure_delete = ON;
         PRAGMA cache_size = -16384;",
    )?;
    connection.pragma_update(None, "synchronous", durability.pragma())?;
    if let Some(bytes) = max_bytes {
        let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))?.into();
        let pages = i64::try_from(bytes / page).unwrap_or(i64::MAX).clamp(1, i64::from(u32::MAX - 1));
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(())
}

/// Takes the steps that the file has not taken yet, each whole or not at all.
fn migrate(connection: &Connection, steps: &[&str]) -> Result<(), Fault> {
    let found = usize::try_from(identity(connection)?).unwrap_or(0);
    for (version, step) in (1..).zip(steps).skip(found) {
        let done = connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {step}; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {version}; COMMIT"
        ));
        if let Err(error) = done {
            // What is left of the transaction; the file is as before.
            let _ = connection.execute_batch("ROLLBACK");
            return Err(error.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(connection: &Connection) -> Vec<String> {
        let mut statement = connection.prepare("SELECT name FROM sqlite_schema ORDER BY name").unwrap();
        statement.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn migrations_go_forward_step_by_step() {
        let connection = Connection::open_in_memory().unwrap();
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x); INSERT INTO b SELECT * FROM a", "nonsense"];
        migrate(&connection, &steps[..1]).unwrap();
        connection.execute_batch("INSERT INTO a VALUES (7)").unwrap();
        migrate(&connection, &steps[..2]).unwrap();
        assert_eq!(identity(&connection).unwrap(), 2);
        let moved: i64 = connection.query_row("SELECT x FROM b", (), |row| row.get(0)).unwrap();
        assert_eq!(moved, 7);
        migrate(&connection, &steps).unwrap_err();
        assert_eq!(identity(&connection).unwrap(), 2);
        migrate(&connection, &["", "", "CREATE TABLE c (x); CREATE TABLE c (x)"]).unwrap_err();
        assert_eq!((identity(&connection).unwrap(), tables(&connection)), (2, vec!["a".into(), "b".into()]));
    }

    #[test]
    fn the_linked_sqlite_is_new_enough() {
        check_sqlite().unwrap();
    }
}
