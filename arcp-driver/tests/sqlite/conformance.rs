//! The store against [`Tables`], answer by answer, over random histories.

use std::collections::BTreeSet;

use arcp_proto::runtime::rows::Tables;
use arcp_proto::runtime::store::{Command, RowKey, StoreDone};

use super::histories::History;
use super::place::{Asked, Place, quick};

/// Bytes from a seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes());
    }
    bytes
}

fn assert_same(found: &StoreDone, expected: &StoreDone, what: &Command) {
    assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{what:?}");
    match (found, expected) {
        (StoreDone::Session(found), StoreDone::Session(expected)) => assert_eq!(found, expected),
        (StoreDone::Rows(found), StoreDone::Rows(expected)) => assert_eq!(found, expected),
        (StoreDone::Job(found), StoreDone::Job(expected)) => assert_eq!(found.events, expected.events),
        _ => {}
    }
}

fn compare(store: &mut Asked, history: &mut History<'_>) {
    let questions = history.questions();
    for question in &questions {
        store.give(question.clone());
    }
    let mut answers: Vec<_> = questions.iter().map(|_| store.answer()).collect();
    answers.sort_by_key(|(id, _)| *id);
    for (question, (_, found)) in questions.iter().zip(&answers) {
        assert_same(found, &history.tables.execute(question.clone()), question);
    }
}

#[test]
fn every_answer_is_that_of_the_tables() {
    let mut kinds = BTreeSet::new();
    for seed in 0..12 {
        let place = Place::new();
        let mut store = Asked::open(&place.file("a.db"));
        let bytes = noise(seed, 30_000);
        let mut history = History::new(&bytes);
        let mut step = 0;
        while !history.is_over() {
            let (command, expected) = history.step();
            assert_same(&store.ask(command.clone()), &expected, &command);
            step += 1;
            if step % 40 == 0 {
                compare(&mut store, &mut history);
            }
            if history.below(60) == 0 {
                drop(store);
                store = Asked::open(&place.file("a.db"));
            }
        }
        compare(&mut store, &mut history);
        kinds.append(&mut history.kinds);
    }
    let all = [
        "checkpoint",
        "counters",
        "credential",
        "death",
        "empty page",
        "end",
        "follow",
        "forgotten credential",
        "forgotten job",
        "forgotten session",
        "notice",
        "owner",
        "page",
        "resume",
        "started",
        "stopping",
        "trimmed job",
        "trimmed session",
        "unfollow",
    ];
    assert_eq!(kinds, BTreeSet::from(all));
}

#[test]
fn what_is_gathered_into_one_transaction_is_the_same() {
    for seed in 100..106 {
        let place = Place::new();
        let options = quick().group_records([1, 7, 4_096][usize::try_from(seed % 3).unwrap()]);
        let mut store = Asked::around(options.open(place.file("a.db")).unwrap());
        let bytes = noise(seed, 20_000);
        let mut history = History::new(&bytes);
        while !history.is_over() {
            let mut asked = Vec::new();
            for _ in 0..30 {
                let (command, expected) = history.step();
                asked.push((store.give(command.clone()), command, expected));
                for question in history.questions().into_iter().take(3) {
                    let expected = history.tables.execute(question.clone());
                    asked.push((store.give(question.clone()), question, expected));
                }
            }
            let mut answers: Vec<_> = asked.iter().map(|_| store.answer()).collect();
            answers.sort_by_key(|(id, _)| *id);
            for ((id, command, expected), (answered, found)) in asked.iter().zip(&answers) {
                assert_eq!(id, answered);
                assert_same(found, expected, command);
            }
        }
        compare(&mut store, &mut history);
    }
}

#[test]
fn every_prefix_can_be_opened_again() {
    let place = Place::new();
    let bytes = noise(7, 6_000);
    let mut history = History::new(&bytes);
    while !history.is_over() {
        let mut store = Asked::open(&place.file("a.db"));
        let (command, expected) = history.step();
        assert_same(&store.ask(command.clone()), &expected, &command);
        drop(store);
        compare(&mut Asked::open(&place.file("a.db")), &mut history);
    }
}

#[test]
fn every_answered_prefix_survives_the_end_of_the_process() {
    let place = Place::new();
    let bytes = noise(8, 8_000);
    let mut history = History::new(&bytes);
    let mut store = Asked::open(&place.file("a.db"));
    while !history.is_over() {
        let (command, expected) = history.step();
        assert_same(&store.ask(command.clone()), &expected, &command);
        // What another process would find had this one been killed here.
        for end in ["", "-wal"] {
            std::fs::copy(place.file(&format!("a.db{end}")), place.file(&format!("b.db{end}"))).unwrap();
        }
        compare(&mut Asked::open(&place.file("b.db")), &mut history);
    }
}

#[test]
fn rows_are_read_in_pages() {
    let place = Place::new();
    let mut store = Asked::open(&place.file("a.db"));
    let bytes = noise(9, 10_000);
    let mut history = History::new(&bytes);
    while !history.is_over() {
        let (command, _) = history.step();
        store.ask(command);
    }
    let read = |mut load: Box<dyn FnMut(Command) -> StoreDone>, limit| {
        let (mut after, mut all) = (None::<RowKey>, Vec::new());
        loop {
            let StoreDone::Rows(page) = load(Command::Load { after, limit }) else { panic!("rows are read") };
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { return all };
            after = Some(last.key());
            all.extend(page);
        }
    };
    let mut tables: Tables = history.tables.clone();
    let expected = read(Box::new(move |command| tables.execute(command)), 3);
    assert!(expected.len() > 10, "{}", expected.len());
    let found = read(Box::new(move |command| store.ask(command)), 3);
    assert_eq!(found, expected);
}
