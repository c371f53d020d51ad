//! Who may open which file, and what becomes of one that is not what was written.

use std::path::Path;

use arcp_driver::sqlite::{Archive, OpenError, SqliteStore, compact, rescue};
use arcp_proto::runtime::CredentialState;
use arcp_proto::runtime::store::{Command, EventRecord, Place as Behind, Record, StoreDone, Trim};
use rusqlite::Connection;

use super::place::{Asked, Place, quick};
use super::records::{ALL, accepted, credential, event, job_key, logged, opened, session_key, succeeded};

/// A store with one session and one job of so many events, closed.
fn filled(path: &Path, events: u64) {
    let mut store = Asked::open(path);
    let session = Record::Session(opened(1));
    assert!(matches!(
        store.append([session, Record::Job(accepted(2, Some(session_key(1))))]),
        StoreDone::Appended
    ));
    for position in 1..=events {
        assert!(matches!(store.append([logged(2, position, &[1])]), StoreDone::Appended));
    }
}

fn words(opened: Result<SqliteStore, OpenError>) -> String {
    opened.unwrap_err().to_string()
}

#[test]
fn a_file_is_opened_once_at_a_time() {
    let place = Place::new();
    let path = place.file("a.db");
    let first = quick().open(&path).unwrap();
    assert!(matches!(quick().open(&path), Err(OpenError::InUse { .. })));
    assert!(matches!(compact(&path), Err(OpenError::InUse { .. })));
    Archive::open(&path).unwrap().stats().unwrap();
    drop(first);
    quick().open(&path).unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let path = place.file("a.db");
    let mut store = Asked::open(&path);
    store.append([Record::Session(opened(1))]);
    for file in ["a.db", "a.db-wal", "a.db-shm", "a.db-lock"] {
        let mode = std::fs::metadata(place.file(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    drop(store);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    assert!(words(quick().open(&path)).contains("has the mode 640"));
    assert!(matches!(Archive::open(&path), Err(OpenError::TooOpen { mode: 0o640, .. })));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
    Archive::open(&path).unwrap();
}

#[test]
fn other_files_are_refused() {
    let place = Place::new();
    let path = place.file("other.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(other);
    make_private(&path);
    assert!(words(quick().open(&path)).contains("another program"));

    let path = place.file("text");
    std::fs::write(
        &path,
        "not a database at all, but long enough to be read as the head of one.\n".repeat(99),
    )
    .unwrap();
    make_private(&path);
    assert!(words(quick().open(&path)).contains("is not a store"));

    assert!(matches!(quick().open(place.file("no/such/place")), Err(OpenError::Io { .. })));
    assert!(matches!(quick().open(place.file("")), Err(OpenError::Io { .. } | OpenError::NotAStore { .. })));
    assert!(matches!(Archive::open(place.file("none")), Err(OpenError::Io { .. })));
}

#[test]
fn a_newer_schema_is_refused_and_an_older_file_is_not_read_as_one() {
    let place = Place::new();
    let path = place.file("a.db");
    filled(&path, 1);
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    assert!(matches!(quick().open(&path), Err(OpenError::Newer { found: 99, .. })));
    assert!(matches!(Archive::open(&path), Err(OpenError::Newer { found: 99, .. })));
    assert!(matches!(compact(&path), Err(OpenError::Newer { .. })));

    let path = place.file("empty.db");
    std::fs::write(&path, "").unwrap();
    make_private(&path);
    assert!(matches!(Archive::open(&path), Err(OpenError::NotAStore { .. })));
    quick().open(&path).unwrap();
    assert_eq!(Archive::open(&path).unwrap().stats().unwrap().sessions, 0);
}

#[cfg(unix)]
fn make_private(path: &Path) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn make_private(_: &Path) {}

/// Damages a store of twenty events and says what its check, a resume and a history find.
fn damaged(sql: &str) -> (Vec<String>, bool, bool) {
    let place = Place::new();
    let path = place.file("a.db");
    filled(&path, 20);
    assert_eq!(Archive::open(&path).unwrap().check().unwrap().damage, []);
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let report = Archive::open(&path).unwrap().check().unwrap();
    let mut store = Asked::open(&path);
    let stream = store.ask(Command::ReadSession { session: session_key(1), after: 0, limit: ALL });
    let log = store.ask(Command::ReadJob { job: job_key(2), after: Behind::Position(0), limit: ALL });
    let has_failed = |done| matches!(done, StoreDone::Failed);
    let damage = report.damage.iter().map(ToString::to_string).collect();
    assert_eq!(store.store.health().fault().is_some(), has_failed(stream.clone()) || has_failed(log.clone()));
    (damage, has_failed(stream), has_failed(log))
}

#[test]
fn damaged_events_and_streams_are_found_and_never_served() {
    for (sql, said, stream, log) in [
        (
            "UPDATE events SET data = CAST(data || x'20' AS BLOB) WHERE position = 7",
            "event 7 of job_",
            true,
            true,
        ),
        ("UPDATE events SET origin = 70 WHERE position = 20", "event 20 of job_", true, true),
        ("DELETE FROM events WHERE position = 7", "event 7 of job_", true, true),
        ("DELETE FROM events WHERE position = 20", "event 20 of job_", true, true),
        ("DELETE FROM deliveries WHERE last_seq = 7", "hole before 8", true, false),
        ("DELETE FROM deliveries WHERE last_seq = 20", "ends at 19, not at 20", true, false),
        ("DELETE FROM deliveries", "ends at 0, not at 20", true, false),
        ("UPDATE deliveries SET first_position = 8 WHERE last_seq = 7", "up to 7", true, false),
        (
            "UPDATE deliveries SET chain_after = 1, first_position = 8 WHERE last_seq = 7",
            "up to 7 does not match",
            true,
            false,
        ),
    ] {
        let (damage, stream_failed, log_failed) = damaged(sql);
        assert!(damage.iter().any(|found| found.contains(said)), "{sql}: {damage:?}");
        assert_eq!((stream_failed, log_failed), (stream, log), "{sql}");
    }
}

#[test]
fn damaged_rows_are_refused_at_the_start() {
    for (sql, said) in [
        (
            "UPDATE sessions SET row = CAST(row || x'00' AS BLOB)",
            "sess_00000000000000000000000001: it does not match",
        ),
        ("UPDATE sessions SET chain = chain + 1", "sess_00000000000000000000000001: it does not match"),
        ("UPDATE jobs SET record = x'01'", "job_00000000000000000000000002: it does not match"),
        ("UPDATE job_states SET state = zeroblob(length(state))", "job_00000000000000000000000002: it does"),
        ("DELETE FROM job_states", "one of the two parts"),
    ] {
        let place = Place::new();
        let path = place.file("a.db");
        filled(&path, 3);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let said_of = words(quick().open(&path));
        assert!(said_of.contains(said) && said_of.contains("arcp db rescue"), "{sql}: {said_of}");
        let report = Archive::open(&path).unwrap().check().unwrap();
        assert!(report.damage.iter().any(|found| found.to_string().contains(said)), "{sql}: {report:?}");
        assert!(matches!(compact(&path), Err(OpenError::Damaged { .. })), "{sql}");
    }
}

#[test]
fn flipped_bits_of_the_file_are_never_served() {
    let place = Place::new();
    let path = place.file("a.db");
    filled(&path, 60);
    let whole = std::fs::read(&path).unwrap();
    let expected = {
        let mut store = Asked::open(&path);
        format!("{:?}", store.ask(Command::ReadSession { session: session_key(1), after: 0, limit: ALL }))
    };
    let mut found = 0;
    for at in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).unwrap();
        let Ok(store) = quick().open(&path) else {
            found += 1;
            continue;
        };
        let mut store = Asked::around(store);
        match store.ask(Command::ReadSession { session: session_key(1), after: 0, limit: ALL }) {
            StoreDone::Failed => found += 1,
            done => assert_eq!(format!("{done:?}"), expected, "byte {at}"),
        }
    }
    assert!(found > 50, "{found}");
}

#[test]
fn compacting_gives_room_back_and_changes_nothing() {
    let place = Place::new();
    let path = place.file("a.db");
    filled(&path, 2_000);
    let mut store = Asked::open(&path);
    let session = session_key(1);
    store.ask(Command::Trim(Trim::Session { session, to: 1_900 }));
    store.ask(Command::Trim(Trim::Job { job: job_key(2), to: 1_900 }));
    let rows = store.rows();
    drop(store);
    let before = Archive::open(&path).unwrap().stats().unwrap();
    assert!(before.free > before.bytes / 2, "{before:?}");
    compact(&path).unwrap();
    let after = Archive::open(&path).unwrap().stats().unwrap();
    assert_eq!((after.free, after.events), (0, before.events));
    assert!(after.bytes < before.bytes / 2, "{after:?}");
    assert_eq!(Archive::open(&path).unwrap().check().unwrap().damage, []);
    assert_eq!(Asked::open(&path).rows(), rows);
}

#[test]
fn what_is_whole_is_rescued() {
    let place = Place::new();
    let path = place.file("a.db");
    let mut store = Asked::open(&path);
    for number in [1, 11, 21] {
        let session = Record::Session(opened(number));
        let job = Record::Job(accepted(number + 1, Some(session_key(number))));
        store.append([session, job]);
        for position in 1..=20 {
            store.append([logged(number + 1, position, &[number])]);
        }
        // Acknowledged up to there; the log keeps all.
        let trim = Trim::Session { session: session_key(number), to: 10 };
        store.ask(Command::Trim(trim));
    }
    store.append([Record::Credential(credential(4, CredentialState::Issued))]);
    let rows = store.rows();
    drop(store);

    // Whole: all of it comes along.
    assert_eq!(rescue(&path, place.file("whole.db")).unwrap(), []);
    let mut whole = Asked::open(&place.file("whole.db"));
    assert_eq!(whole.rows(), rows);
    let read = |store: &mut Asked, session| match store.ask(Command::ReadSession {
        session: session_key(session),
        after: 0,
        limit: ALL,
    }) {
        StoreDone::Session(page) => page.iter().map(|delivered| delivered.seq).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let all: Vec<u64> = (11..=20).collect();
    assert_eq!(read(&mut whole, 1), all);

    // An old event of one job, a newer one of another, and the row of a third.
    let damage = "UPDATE events SET crc = 1 WHERE position = 5 AND job = 1;
                  UPDATE events SET crc = 1 WHERE position = 15 AND job = 2;
                  UPDATE jobs SET crc = 1 WHERE id = 3";
    Connection::open(&path).unwrap().execute_batch(damage).unwrap();
    let into = place.file("rescued.db");
    let left: Vec<String> = rescue(&path, &into).unwrap().iter().map(ToString::to_string).collect();
    let said = ["event 15 of", "its log up to 5", "its log up to 15", "does not match its checksum"];
    for (left, said) in left.iter().zip(said) {
        assert!(left.contains(said), "{left}");
    }
    assert_eq!(left.len(), said.len(), "{left:?}");
    assert_eq!(Archive::open(&into).unwrap().check().unwrap().damage, []);
    assert!(matches!(rescue(&path, &into), Err(OpenError::Io { .. })), "nothing is overwritten");

    let mut rescued = Asked::open(&into);
    assert_eq!(read(&mut rescued, 1), all, "a session that has acknowledged what is damaged");
    assert_eq!(read(&mut rescued, 11), Vec::<u64>::new(), "one that has not");
    assert_eq!(read(&mut rescued, 21), all, "one whose job is forgotten");
    for (job, first) in [(2, 6), (12, 16)] {
        let StoreDone::Job(page) =
            rescued.ask(Command::ReadJob { job: job_key(job), after: Behind::Position(0), limit: ALL })
        else {
            panic!("a log")
        };
        let positions: Vec<_> = page.events.iter().filter_map(|logged| logged.event.pos).collect();
        assert_eq!((positions, page.before), ((first..=20).collect::<Vec<_>>(), first - 1));
    }
    let keys: Vec<_> = rescued.rows().iter().map(|row| format!("{:?}", row.key())).collect();
    assert_eq!(keys.len(), 5, "{keys:?}");
    // And it goes on.
    assert!(matches!(rescued.append([logged(2, 21, &[1])]), StoreDone::Appended));
}

#[test]
fn a_job_whose_end_is_lost_is_left_behind() {
    let place = Place::new();
    let path = place.file("a.db");
    let mut store = Asked::open(&path);
    store.append([Record::Session(opened(1)), Record::Job(accepted(2, None))]);
    let end = event(1, succeeded());
    let (origin, cost) = (1, end.cost());
    let end = EventRecord { job: job_key(2), origin, event: end, cost, deliveries: Default::default() };
    store.append([Record::Event(end)]);
    drop(store);
    Connection::open(&path).unwrap().execute_batch("UPDATE events SET crc = 1").unwrap();
    let left = rescue(&path, place.file("b.db")).unwrap();
    assert!(left[0].to_string().contains("how it ended is lost"), "{left:?}");
    assert_eq!(Asked::open(&place.file("b.db")).rows().len(), 1);
}
