//! What each record does to the rows.

use super::*;

#[test]
fn a_job_is_owned_and_followed_from_its_start() {
    let tables = tables(&[opened(1), accepted(1, 1)]);
    let row = job(&tables, 1);
    assert_eq!(row.owner, Some(session_key(1)));
    assert_eq!(places(row), [(session_key(1), 0, None)]);
    assert_eq!((row.positions.last(), row.last_origin, row.floor_origin), (0, 0, 0));
    assert_eq!((row.record.started, row.record.input.as_str()), (false, "{\"n\":1}"));
}

#[test]
fn a_start_drops_the_input() {
    let tables = tables(&[opened(1), accepted(1, 1), Record::Started { job: job_key(1) }]);
    let row = job(&tables, 1);
    assert_eq!((row.record.started, row.record.input.as_str()), (true, "null"));
    let Record::Job(mut at_once) = accepted(2, 1) else { unreachable!() };
    at_once.started = true;
    assert!(JobRow::new(at_once).record.input.is_null());
}

#[test]
fn an_event_moves_exactly_those_it_is_delivered_to() {
    let tables = tables(&[
        opened(1),
        opened(2),
        opened(3),
        accepted(1, 1),
        follows(2, 1, 0),
        follows(3, 1, 0),
        produced(1, 1, 1, log_line(1), &[(1, 1), (2, 1), (3, 1)]),
        // Not the order of the followers, and one of them did not negotiate the kind.
        produced(1, 2, 5, log_line(2), &[(3, 2), (1, 2)]),
    ]);
    let row = job(&tables, 1);
    assert_eq!(
        places(row),
        [(session_key(1), 2, Some(1)), (session_key(2), 1, Some(1)), (session_key(3), 2, Some(1))]
    );
    assert_eq!((row.positions.last(), row.last_origin, row.positions.total()), (2, 5, bytes(200)));
    assert_eq!(session(&tables, 1).numbers.last(), 2);
    assert_eq!(session(&tables, 2).numbers.last(), 1);
    assert_eq!(session(&tables, 3).numbers.total(), bytes(200));
}

#[test]
fn a_terminal_ends_the_follow_of_those_it_reaches() {
    let mut records = Vec::from([
        opened(1),
        opened(2),
        accepted(1, 1),
        produced(1, 1, 1, log_line(1), &[(1, 1)]),
        follows(2, 1, 0),
        Record::Stopping { job: job_key(1), reason: StopReason::TimedOut(1), at: at(9) },
        produced(1, 2, 2, failed(), &[(1, 2)]),
    ]);
    let row = tables(&records);
    let row = job(&row, 1);
    assert_eq!(places(row), [(session_key(2), 0, None)]);
    let end =
        EndRow { status: FinalStatus::TimedOut, code: Some(ErrorCode::Timeout), at: at(10), position: 2 };
    assert_eq!((row.end, row.owner, &row.stopping), (Some(end), Some(session_key(1)), &None));
    records.push(delivered(2, 1, 1, &[1], 1));
    assert_eq!(places(job(&tables(&records), 1)), [(session_key(2), 1, Some(1))]);
    records.push(delivered(2, 1, 2, &[2], 2));
    assert_eq!(places(job(&tables(&records), 1)), []);
    // Nothing is left to follow.
    records.push(follows(1, 1, 2));
    records.push(Record::Stopping { job: job_key(1), reason: StopReason::TimedOut(1), at: at(9) });
    let after = tables(&records);
    assert_eq!((places(job(&after, 1)), &job(&after, 1).stopping), (Vec::new(), &None));
    let row = tables(&[opened(1), accepted(1, 1), produced(1, 1, 1, succeeded(), &[(1, 1)])]);
    let end = EndRow { status: FinalStatus::Success, code: None, at: at(10), position: 1 };
    assert_eq!(job(&row, 1).end, Some(end));
}

#[test]
fn a_page_without_events_still_moves_its_follower() {
    let mut tables = tables(&[
        opened(1),
        opened(2),
        accepted(1, 1),
        produced(1, 1, 1, log_line(1), &[(1, 1)]),
        produced(1, 2, 2, log_line(2), &[(1, 2)]),
        produced(1, 3, 3, log_line(3), &[(1, 3)]),
        follows(2, 1, 0),
        delivered(2, 1, 1, &[], 1),
    ]);
    assert_eq!(places(job(&tables, 1))[1], (session_key(2), 1, None));
    assert_eq!(session(&tables, 2).numbers.last(), 0);
    tables.apply(&delivered(2, 1, 1, &[3], 3));
    assert_eq!(places(job(&tables, 1))[1], (session_key(2), 3, Some(1)));
    assert_eq!(numbers(&mut tables, 2, 0), [(1, Some(3))]);
    assert_eq!(session(&tables, 2).numbers.total(), bytes(100));
    tables.apply(&produced(1, 4, 4, log_line(4), &[(1, 4)]));
    tables.apply(&delivered(2, 1, 2, &[4], 4));
    assert_eq!(places(job(&tables, 1))[1], (session_key(2), 4, Some(1)));
}

#[test]
fn a_notice_takes_a_number_and_no_position() {
    let mut tables = tables(&[opened(1), accepted(1, 1), produced(1, 1, 1, log_line(1), &[(1, 1)])]);
    tables.apply(&Record::Notice {
        session: session_key(1),
        seq: 2,
        job: job_key(1),
        event: Arc::new(LoggedEvent { ts: at(3), pos: None, content: log_line(0) }),
        cost: bytes(40),
    });
    assert_eq!(numbers(&mut tables, 1, 0), [(1, Some(1)), (2, None)]);
    assert_eq!(session(&tables, 1).numbers.total(), bytes(140));
    assert_eq!(job(&tables, 1).positions.last(), 1);
}

#[test]
fn follow_unfollow_and_owner() {
    let mut tables = tables(&[opened(1), opened(2), accepted(1, 1), follows(2, 1, 7)]);
    assert_eq!(places(job(&tables, 1))[1], (session_key(2), 7, None));
    tables.apply(&owns(2, 1, Some(0)));
    assert_eq!(job(&tables, 1).owner, Some(session_key(2)));
    assert_eq!(places(job(&tables, 1))[1], (session_key(2), 7, None), "it follows already");
    tables.apply(&Record::Unfollow { session: session_key(1), job: job_key(1) });
    assert_eq!(places(job(&tables, 1)).len(), 1);
    tables.apply(&owns(1, 1, Some(3)));
    assert_eq!(places(job(&tables, 1))[1], (session_key(1), 3, None));
    tables.apply(&owns(2, 1, None));
    assert_eq!((job(&tables, 1).owner, places(job(&tables, 1)).len()), (Some(session_key(2)), 2));
}

#[test]
fn the_newest_reason_to_stop_is_kept() {
    let mut tables = tables(&[opened(1), accepted(1, 1)]);
    for reason in [StopReason::TimedOut(4), StopReason::Cancelled(Some(String::from("enough")))] {
        tables.apply(&Record::Stopping { job: job_key(1), reason: reason.clone(), at: at(8) });
        assert_eq!(job(&tables, 1).stopping, Some((reason, at(8))));
    }
}

#[test]
fn chunks_leave_what_the_next_one_needs() {
    let mut tables = tables(&[opened(1), accepted(1, 1)]);
    tables.apply(&produced(1, 1, 1, chunk(0, 30, true), &[(1, 1)]));
    let expected = ChunkRow {
        result: ResultKey::from_ulid(Ulid::from_bits(5)),
        next_seq: 1,
        encoding: ChunkEncoding::Base64,
        decoded_bytes: 30,
        is_complete: false,
    };
    assert_eq!(job(&tables, 1).chunks, Some(expected));
    tables.apply(&produced(1, 2, 2, log_line(2), &[(1, 2)]));
    tables.apply(&produced(1, 3, 3, chunk(1, 12, false), &[(1, 3)]));
    let complete = ChunkRow { next_seq: 2, decoded_bytes: 42, is_complete: true, ..expected };
    assert_eq!(job(&tables, 1).chunks, Some(complete));
}

#[test]
fn a_resume_replaces_the_record_and_nothing_else() {
    let mut tables = tables(&[opened(1), accepted(1, 1), produced(1, 1, 1, log_line(1), &[(1, 1)])]);
    let newer = SessionRecord { epoch: 2, confirmed: true, ..session_record(1) };
    tables.apply(&Record::Session(newer.clone()));
    assert_eq!(session(&tables, 1).record, newer);
    assert_eq!(numbers(&mut tables, 1, 0), [(1, Some(1))]);
    assert_eq!(job(&tables, 1).owner, Some(session_key(1)));
}

#[test]
fn death_leaves_a_tombstone_only() {
    let mut tables = tables(&[
        opened(1),
        opened(2),
        accepted(1, 1),
        accepted(2, 2),
        accepted(3, 2),
        follows(1, 2, 0),
        produced(1, 1, 1, log_line(1), &[(1, 1)]),
        died(1),
    ]);
    assert_eq!(numbers(&mut tables, 1, 0), []);
    let row = session(&tables, 1);
    assert!(row.is_dead());
    assert_eq!((row.numbers.floor(), row.numbers.last(), row.numbers.total()), (1, 1, Cost::default()));
    assert_eq!((job(&tables, 1).owner, places(job(&tables, 1)).len()), (None, 0));
    assert_eq!((job(&tables, 2).owner, places(job(&tables, 2)).len()), (Some(session_key(2)), 1));
    assert_eq!(job(&tables, 3).owner, Some(session_key(2)));
    assert_eq!(positions(&mut tables, 1, Place::Position(0)), [1], "the log is the job's");
    tables.apply(&produced(1, 2, 2, log_line(2), &[]));
    assert_eq!(positions(&mut tables, 1, Place::Position(1)), [2]);
}

#[test]
fn nothing_is_left_behind_of_what_is_over() {
    let sessions = [opened(1), opened(2)];
    let with = |records: &[Record]| tables(&[&sessions[..], records].concat());
    let accepted = accepted(1, 1);
    let unfollow = Record::Unfollow { session: session_key(2), job: job_key(1) };
    assert_eq!(
        with(&[accepted.clone(), follows(2, 1, 0), unfollow.clone()]),
        with(core::slice::from_ref(&accepted))
    );
    let there_and_back = [accepted.clone(), owns(2, 1, Some(0)), owns(1, 1, None), unfollow];
    assert_eq!(with(&there_and_back), with(core::slice::from_ref(&accepted)));
    let mut whole = with(&[accepted, follows(2, 1, 0)]);
    trim(&mut whole, Trim::WholeJob(job_key(1)));
    assert_eq!(whole, with(&[]));
}

#[test]
fn what_may_be_run_again_keeps_its_input_and_checkpoint_until_its_end() {
    let Record::Job(mut record) = accepted(1, 1) else { unreachable!() };
    (record.restartable, record.started) = (true, true);
    let state = |text: &'static str| RawJson::parse(text).unwrap();
    let kept = |text| Record::Checkpoint { job: job_key(1), state: state(text) };
    let mut records = Vec::from([
        opened(1),
        Record::Job(record),
        kept("1"),
        produced(1, 1, 1, log_line(1), &[(1, 1)]),
        kept("2"),
        Record::Started { job: job_key(1) },
        Record::Started { job: job_key(1) },
    ]);
    let tables_before = tables(&records);
    let row = job(&tables_before, 1);
    assert_eq!(row.checkpoint, Some(CheckpointRow { state: state("2"), position: 1 }));
    assert_eq!((row.restarts, row.record.input.as_str()), (2, "{\"n\":1}"));
    records.push(kept("3"));
    assert_eq!(job(&tables(&records), 1).restarts, 0);
    records.push(produced(1, 2, 2, succeeded(), &[(1, 2)]));
    records.push(kept("4"));
    let tables_after = tables(&records);
    let row = job(&tables_after, 1);
    assert!(row.checkpoint.is_none() && row.record.input.is_null());
}

#[test]
fn a_row_takes_nothing_from_records_of_others() {
    let store = tables(&[
        opened(1),
        accepted(1, 1),
        Record::Started { job: job_key(1) },
        produced(1, 1, 1, log_line(1), &[(1, 1)]),
    ]);
    let notice = |session| Record::Notice {
        session: session_key(session),
        seq: 2,
        job: job_key(1),
        event: Arc::new(LoggedEvent { ts: at(3), pos: None, content: log_line(0) }),
        cost: bytes(40),
    };
    for of_another_session in [opened(2), died(2), delivered(2, 1, 2, &[1], 1), notice(2)] {
        let mut row = session(&store, 1).clone();
        row.apply(&of_another_session);
        assert_eq!(&row, session(&store, 1), "{of_another_session:?}");
    }
    for of_another_job in [
        opened(1),
        Record::Started { job: job_key(2) },
        Record::Checkpoint { job: job_key(2), state: RawJson::null() },
        produced(2, 1, 1, succeeded(), &[(1, 2)]),
        delivered(1, 2, 2, &[5], 5),
        follows(2, 2, 0),
        owns(2, 2, Some(0)),
        Record::Unfollow { session: session_key(1), job: job_key(2) },
        Record::Stopping { job: job_key(2), reason: StopReason::Cancelled(None), at: at(3) },
    ] {
        let mut row = job(&store, 1).clone();
        row.apply(&of_another_job);
        assert_eq!(&row, job(&store, 1), "{of_another_job:?}");
    }
}
