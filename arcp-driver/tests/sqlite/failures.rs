//! No room, and failures to write.

use arcp_driver::Store;
use arcp_proto::runtime::store::{Command, Record, StoreDone, StoreId, Trim};
use rusqlite::Connection;

use super::place::{Asked, Place, quick};
use super::records::{accepted, job_key, logged, opened, session_key};

fn with_a_job(store: &mut Asked) {
    let session = Record::Session(opened(1));
    let job = Record::Job(accepted(2, Some(session_key(1))));
    assert!(matches!(store.append([session, job]), StoreDone::Appended));
}

#[test]
fn a_full_store_takes_the_oldest_refused_append_first_once_there_is_room() {
    let place = Place::new();
    let path = place.file("a.db");
    let mut store = Asked::around(quick().max_bytes(256 * 1_024).open(&path).unwrap());
    with_a_job(&mut store);
    let mut stored = 0;
    let refused = loop {
        let records: Vec<_> = (stored + 1..=stored + 50).map(|position| logged(2, position, &[1])).collect();
        let id = store.give(Command::Append(records));
        match store.answer() {
            (answered, StoreDone::Appended) if answered == id => stored += 50,
            (answered, StoreDone::Full(records)) if answered == id => break (id, records),
            other => panic!("{other:?}"),
        }
        assert!(stored < 100_000, "the limit is respected");
    };
    assert!(store.store.health().is_full());
    assert_eq!(refused.1.len(), 50);
    // A later one, however small, has to wait; so has the refused one itself.
    let later = store.give(Command::Append(vec![logged(2, stored + 51, &[1])]));
    let (answered, StoreDone::Full(later_records)) = store.answer() else { panic!("still full") };
    assert_eq!(answered, later);
    store.give_again(refused.0, Command::Append(refused.1));
    let (answered, StoreDone::Full(records)) = store.answer() else { panic!("still full") };
    assert_eq!((answered, records.len()), (refused.0, 50));
    // What was answered is there, and readable.
    let rows = store.rows();
    assert!(format!("{rows:?}").contains(&format!("last: {stored}")));
    // Room: the session and the log give up most of what they have.
    let session = session_key(1);
    assert!(matches!(store.ask(Command::Trim(Trim::Session { session, to: stored })), StoreDone::Trimmed));
    assert!(matches!(
        store.ask(Command::Trim(Trim::Job { job: job_key(2), to: stored })),
        StoreDone::Trimmed
    ));
    store.give_again(later, Command::Append(later_records));
    let (answered, StoreDone::Full(later_records)) = store.answer() else { panic!("out of turn") };
    assert_eq!(answered, later);
    store.give_again(refused.0, Command::Append(records));
    assert!(matches!(store.answer(), (id, StoreDone::Appended) if id == refused.0));
    assert!(store.store.health().is_full(), "one more was refused");
    store.give_again(later, Command::Append(later_records));
    assert!(matches!(store.answer(), (id, StoreDone::Appended) if id == later));
    assert!(!store.store.health().is_full());
    assert_eq!(store.store.health().fault(), None);
    let rows = store.rows();
    assert!(format!("{rows:?}").contains(&format!("last: {}", stored + 51)));
    drop(store);
    assert_eq!(Asked::open(&path).rows(), rows);
}

#[test]
fn appends_of_one_transaction_are_all_given_back() {
    let place = Place::new();
    let mut store = Asked::around(quick().max_bytes(128 * 1_024).open(place.file("a.db")).unwrap());
    with_a_job(&mut store);
    let mut given = Vec::new();
    for group in 0..40 {
        let first = group * 50 + 1;
        let records: Vec<_> = (first..first + 50).map(|position| logged(2, position, &[1])).collect();
        given.push(store.give(Command::Append(records)));
    }
    let mut refused = Vec::new();
    for id in given {
        let (answered, done) = store.answer();
        assert_eq!(answered, id, "in order");
        match done {
            StoreDone::Appended => assert!(refused.is_empty()),
            StoreDone::Full(records) => refused.push(records),
            other => panic!("{other:?}"),
        }
    }
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|records| records.len() == 50));
}

#[test]
fn after_a_failure_to_write_nothing_is_stored_or_answered_any_more() {
    let place = Place::new();
    let path = place.file("a.db");
    let mut store = Asked::open(&path);
    with_a_job(&mut store);
    let rows = store.rows();
    // Somebody who ignores the lock.
    let intruder = Connection::open(&path).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(store.append([logged(2, 1, &[1])]), StoreDone::Failed));
    intruder.execute_batch("ROLLBACK").unwrap();
    drop(intruder);
    assert!(matches!(store.append([logged(2, 1, &[1])]), StoreDone::Failed), "what failed once has failed");
    assert!(matches!(store.ask(Command::Load { after: None, limit: 9 }), StoreDone::Failed));
    let said = store.store.health().fault().unwrap();
    assert!(said.starts_with("it cannot be written: ") && said.contains("SQLite code 5"), "{said}");
    drop(store);
    assert_eq!(Asked::open(&path).rows(), rows);
}

#[test]
fn what_was_submitted_is_stored_when_the_store_is_dropped() {
    let place = Place::new();
    let path = place.file("a.db");
    let mut store = Asked::open(&path);
    with_a_job(&mut store);
    for position in 1..=500 {
        store.give(Command::Append(vec![logged(2, position, &[1])]));
    }
    drop(store);
    let rows = Asked::open(&path).rows();
    assert!(format!("{rows:?}").contains("last: 500"));
    assert!(!place.file("a.db-wal").exists(), "the file is all there is");
}

#[test]
fn a_store_can_be_moved_and_says_that_it_is_durable() {
    fn moves<T: Send + 'static>(_: &T) {}
    let place = Place::new();
    let mut store = quick().open(place.file("a.db")).unwrap();
    moves(&store);
    assert!(store.is_durable());
    assert!(store.submit(StoreId::new(1), Command::Load { after: None, limit: 1 }).is_none());
}
