//! Reading, paging and forgetting.

use super::*;

/// A session with ten events of a job, origins 2, 4, …, 20.
fn ten_events() -> Tables {
    let mut records = Vec::from([opened(1), opened(2), accepted(1, 1)]);
    records.extend((1..=10).map(|pos| produced(1, pos, 2 * pos, log_line(pos), &[(1, pos)])));
    tables(&records)
}

#[test]
fn reads_begin_behind_their_place_and_respect_the_limit() {
    let mut tables = ten_events();
    let seqs = |tables: &mut Tables, after, limit| -> Vec<u64> {
        read_session(tables, 1, after, limit).iter().map(|found| found.seq).collect()
    };
    assert_eq!(seqs(&mut tables, 0, 3), [1, 2, 3]);
    assert_eq!(seqs(&mut tables, 8, 100), [9, 10]);
    assert_eq!(seqs(&mut tables, 10, 100), [0; 0]);
    assert_eq!(seqs(&mut tables, u64::MAX, 100), [0; 0]);
    assert_eq!(seqs(&mut tables, 0, 0), [0; 0]);
    assert_eq!(numbers(&mut tables, 9, 0), []);
    assert_eq!(positions(&mut tables, 1, Place::Position(8)), [9, 10]);
    assert_eq!(positions(&mut tables, 1, Place::Position(u64::MAX)), [0; 0]);
    for (origin, first) in [(0, 1), (1, 1), (2, 2), (3, 2), (19, 10)] {
        assert_eq!(positions(&mut tables, 1, Place::Origin(origin))[0], first, "behind {origin}");
    }
    assert_eq!(positions(&mut tables, 1, Place::Origin(20)), [0; 0]);
    assert_eq!(positions(&mut tables, 9, Place::Origin(0)), [0; 0]);
    let page = read_job(&mut tables, 1, Place::Origin(4), 2);
    assert_eq!(page.iter().map(|found| found.origin).collect::<Vec<_>>(), [6, 8]);
}

#[test]
fn a_page_says_which_origin_number_it_follows() {
    let mut tables = ten_events();
    for (place, before) in [
        (Place::Position(0), 0),
        (Place::Position(1), 2),
        (Place::Origin(7), 6),
        (Place::Origin(20), 20),
        (Place::Position(u64::MAX), 20),
    ] {
        assert_eq!(origin_before(&mut tables, 1, place), before, "{place:?}");
    }
    trim(&mut tables, Trim::Job { job: job_key(1), to: 6 });
    assert_eq!(origin_before(&mut tables, 1, Place::Position(0)), 12);
    assert_eq!(origin_before(&mut tables, 1, Place::Origin(13)), 12);
    assert_eq!(origin_before(&mut tables, 1, Place::Origin(14)), 14);
    trim(&mut tables, Trim::Job { job: job_key(1), to: 10 });
    assert_eq!(origin_before(&mut tables, 1, Place::Position(0)), 20);
    assert_eq!(origin_before(&mut tables, 9, Place::Position(0)), 0);
}

#[test]
fn rows_are_paged_in_order() {
    let mut tables = tables(&[opened(2), opened(1), accepted(4, 1), accepted(3, 1), opened(3)]);
    let intent = credential(9, CredentialState::Intent);
    let issued = credential(8, CredentialState::Issued);
    for record in [intent.clone(), issued.clone()] {
        tables.apply(&Record::Credential(record));
    }
    for limit in 1..=8 {
        let mut keys = Vec::new();
        loop {
            match tables.execute(Command::Load { after: keys.last().copied(), limit }) {
                StoreDone::Rows(page) if page.is_empty() => break,
                StoreDone::Rows(page) => {
                    assert!(page.len() <= limit);
                    keys.extend(page.iter().map(Row::key));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            keys,
            [
                RowKey::Session(session_key(1)),
                RowKey::Session(session_key(2)),
                RowKey::Session(session_key(3)),
                RowKey::Job(job_key(3)),
                RowKey::Job(job_key(4)),
                RowKey::Credential(issued.key),
                RowKey::Credential(intent.key),
            ]
        );
    }
}

#[test]
fn a_session_is_trimmed_to_the_number() {
    let mut tables = ten_events();
    trim(&mut tables, Trim::Session { session: session_key(1), to: 4 });
    assert_eq!(numbers(&mut tables, 1, 0)[0], (5, Some(5)));
    assert_eq!(numbers(&mut tables, 1, 6)[0], (7, Some(7)));
    trim(&mut tables, Trim::Session { session: session_key(1), to: 2 });
    assert_eq!(session(&tables, 1).numbers.floor(), 4);
    trim(&mut tables, Trim::Session { session: session_key(1), to: 10 });
    assert_eq!(numbers(&mut tables, 1, 0), []);
    assert_eq!(positions(&mut tables, 1, Place::Position(0)).len(), 10);
    tables.apply(&produced(1, 11, 30, log_line(11), &[(1, 11)]));
    assert_eq!(numbers(&mut tables, 1, 0), [(11, Some(11))]);
}

#[test]
fn a_credential_is_its_newest_record_until_it_is_forgotten() {
    let mut tables = Tables::default();
    for state in [CredentialState::Intent, CredentialState::Issued, CredentialState::RevokePending] {
        let record = credential(1, state);
        tables.apply(&Record::Credential(record.clone()));
        assert_eq!(tables.credential(record.key), Some(&record));
    }
    let key = credential(1, CredentialState::Intent).key;
    trim(&mut tables, Trim::WholeJob(job_key(1)));
    assert!(tables.credential(key).is_some(), "what must still be revoked outlives its job");
    trim(&mut tables, Trim::Credential(key));
    assert_eq!(tables, Tables::default());
}

#[test]
fn what_a_log_forgets_stays_with_those_it_was_delivered_to() {
    let mut tables = ten_events();
    trim(&mut tables, Trim::Job { job: job_key(1), to: 6 });
    assert_eq!(positions(&mut tables, 1, Place::Position(0)), [7, 8, 9, 10]);
    assert_eq!(positions(&mut tables, 1, Place::Position(8)), [9, 10]);
    assert_eq!(positions(&mut tables, 1, Place::Origin(15)), [8, 9, 10]);
    assert_eq!((job(&tables, 1).positions.floor(), job(&tables, 1).floor_origin), (6, 12));
    assert_eq!(numbers(&mut tables, 1, 0).len(), 10);
    trim(&mut tables, Trim::Job { job: job_key(1), to: 3 });
    assert_eq!((job(&tables, 1).positions.floor(), job(&tables, 1).floor_origin), (6, 12));
    trim(&mut tables, Trim::Job { job: job_key(1), to: 99 });
    assert_eq!((job(&tables, 1).positions.floor(), job(&tables, 1).floor_origin), (10, 20));
    trim(&mut tables, Trim::WholeJob(job_key(1)));
    assert_eq!(tables.job(job_key(1)), None);
    assert_eq!(numbers(&mut tables, 1, 0).len(), 10);
    tables.apply(&died(1));
    assert_eq!(numbers(&mut tables, 1, 0), []);
}

#[test]
fn the_terminal_is_never_forgotten() {
    let mut tables = ten_events();
    tables.apply(&produced(1, 11, 30, succeeded(), &[(1, 11)]));
    trim(&mut tables, Trim::Job { job: job_key(1), to: 11 });
    assert_eq!(positions(&mut tables, 1, Place::Position(0)), [11]);
    assert_eq!(positions(&mut tables, 1, Place::Origin(0)), [11]);
    assert_eq!((job(&tables, 1).positions.floor(), job(&tables, 1).floor_origin), (10, 20));
    tables.apply(&follows(2, 1, 0));
    tables.apply(&delivered(2, 1, 1, &[11], 11));
    assert_eq!(numbers(&mut tables, 2, 0), [(1, Some(11))]);
}

#[test]
fn a_whole_session_leaves_no_trace() {
    let mut tables = ten_events();
    tables.apply(&follows(2, 1, 0));
    trim(&mut tables, Trim::WholeSession(session_key(1)));
    assert_eq!(tables.session(session_key(1)), None);
    assert_eq!(numbers(&mut tables, 1, 0), []);
    assert_eq!(job(&tables, 1).owner, None);
    assert_eq!(places(job(&tables, 1)), [(session_key(2), 0, None)]);
}

#[test]
fn an_append_changes_a_copy_only_where_it_is_made() {
    let mut tables = ten_events();
    let before = tables.clone();
    tables.apply(&produced(1, 11, 30, log_line(11), &[(1, 11)]));
    assert_ne!(tables, before);
    assert_eq!(before.session(session_key(1)).expect("there").numbers.last(), 10);
}
