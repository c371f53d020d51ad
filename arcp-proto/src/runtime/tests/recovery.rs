//! A busy run, cut after every append the store was given (SEQ-7, JOB-8, IDEM-1, SES-2).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, hello, positions, seqs, types};
use crate::config::RuntimeConfig;
use crate::feature::{Feature, Features};
use crate::id::{JobKey, SessionKey};
use crate::runtime::rows::Tables;
use crate::runtime::store::{Command, Record};
use crate::runtime::{AgentInput, StopReason};
use crate::secret::TokenHash;
use crate::wire::event::ChunkEmission;

/// Nobody is silent for too long in here.
const FEATURES: Features = ALL.without(Feature::Heartbeat);

fn small() -> RuntimeConfig {
    let mut config = config();
    config.limits.running_jobs = 2;
    config
}

fn submit(key: &str, input: u64) -> Value {
    json!({"agent": "a", "input": input, "idempotency_key": key})
}

fn chunk(world: &mut World, index: usize, text: &str) {
    let (job, now) = (world.started[index].job, world.now);
    let emission = ChunkEmission::utf8(text, true).unwrap();
    world.runtime.handle_agent(now, job, AgentInput::Chunk(emission)).unwrap();
    world.settle();
}

/// Several sessions, jobs in every state, history, resumes, retries, cancels, chunks, a queue and a death.
fn busy_run() -> World {
    let mut world = World::with(small());
    let (a, welcome) = world.session(FEATURES);
    let (b, _) = world.session(FEATURES.without(Feature::Core));
    let (c, _) = world.session_of("other", FEATURES);
    let (d, _) = world.session(FEATURES.without(Feature::Ack).without(Feature::ResultChunk));
    let mut jobs = Vec::new();
    for (n, key) in ["k0", "k1", "k2"].into_iter().enumerate() {
        jobs.push(world.ask(a, &std::format!("a{n}"), "job.submit", submit(key, n as u64))["job_id"].clone());
    }
    let mut timed = submit("k3", 3);
    timed["max_runtime_sec"] = 5.into();
    jobs.push(world.ask(a, "a3", "job.submit", timed)["job_id"].clone());
    world.ask(c, "c0", "job.submit", submit("k0", 9));
    let (first, second, others) = (world.started[0].job, world.started[1].job, world.started[2].job);
    world.logs(first, 5);
    world.send(b, "b0", "job.subscribe", json!({"job_id": jobs[0], "history": true}));
    world.logs(others, 2);
    for text in ["one", "two", "three"] {
        chunk(&mut world, 1, text);
    }
    world.send(a, "a4", "session.ack", json!({"last_processed_seq": 3}));
    world.cut(a);
    world.logs(first, 2);
    let (lost, _) = world.resume(&welcome, 5, FEATURES);
    world.cut(lost);
    let (a, _) = world.resume(&welcome, 4, FEATURES);
    world.send(a, "a5", "session.ping", json!({"nonce": "n"}));
    world.send(a, "a6", "job.cancel", json!({"job_id": jobs[2], "reason": "not needed"}));
    world.send(a, "a7", "job.cancel", json!({"job_id": jobs[1], "reason": "enough"}));
    world.logs(second, 2);
    world.finish(second, "null");
    world.send(b, "b1", "job.unsubscribe", json!({"job_id": jobs[0]}));
    world.send(d, "d0", "job.subscribe", json!({"job_id": jobs[0], "history": true}));
    world.logs(first, 3);
    world.send(b, "b2", "job.submit", submit("k0", 0));
    world.logs(first, 2);
    world.wait(Duration::from_secs(6));
    world.logs(first, 1);
    world.wait(Duration::from_secs(30));
    world.cut(c);
    world.wait(Duration::from_secs(601));
    world.logs(others, 2);
    let (c, _) = world.session_of("other", FEATURES);
    world.send(c, "c1", "job.submit", submit("k0", 9));
    world.finish(others, "9");
    world.finish(first, "{\"done\":true}");
    world.send(b, "b3", "job.submit", submit("k1", 1));
    world.submit_after(d, "d1");
    world
}

/// What the world outside knew when the journal had a certain length.
struct Known {
    /// By session: the frames it saw, by number.
    numbered: BTreeMap<String, BTreeMap<u64, String>>,
    /// By session: its welcomes, oldest first.
    welcomes: BTreeMap<String, Vec<Value>>,
    /// By job: who submitted it, with the key where one was given.
    accepted: BTreeMap<String, Value>,
}

fn known(world: &World, entries: usize) -> Known {
    let mut known = Known { numbered: BTreeMap::new(), welcomes: BTreeMap::new(), accepted: BTreeMap::new() };
    for sighting in world.sightings.iter().filter(|sighting| sighting.after <= entries) {
        let frame: Value = serde_json::from_str(&sighting.text).unwrap();
        let session = frame["session_id"].as_str().unwrap().to_string();
        if let Some(seq) = frame["event_seq"].as_u64() {
            let text = known
                .numbered
                .entry(session)
                .or_default()
                .entry(seq)
                .or_insert_with(|| sighting.text.clone());
            assert_eq!(*text, sighting.text, "SEQ-3");
        } else if frame["type"] == "session.welcome" {
            known.welcomes.entry(session).or_default().push(frame);
        } else if frame["type"] == "job.accepted" {
            known.accepted.insert(frame["job_id"].as_str().unwrap().to_string(), frame);
        }
    }
    known
}

fn tables(world: &World, entries: usize) -> Tables {
    let mut tables = Tables::default();
    for (_, command) in &world.journal[..entries] {
        tables.execute(command.clone());
    }
    tables
}

fn recovered(world: &World, entries: usize) -> World {
    let now = world.journal[..entries].last().map_or(world.now, |(now, _)| *now);
    World::recover(tables(world, entries), small(), now.after(Duration::from_millis(10)), 77)
}

fn records(world: &World, entries: usize) -> impl Iterator<Item = &Record> {
    world.journal[..entries].iter().flat_map(|(_, command)| match command {
        Command::Append(records) => &records[..],
        _ => &[],
    })
}

/// A hello of the principal that owns the session.
fn greeting(tables: &Tables, session: &str, token: &Value, last: u64) -> Option<Value> {
    let row = tables.session(SessionKey::parse(session)?)?;
    let bearer = if &*row.record.principal == "other" { "other" } else { "good" };
    let mut payload = hello(bearer, FEATURES);
    payload["resume"] = json!({"session_id": session, "resume_token": token, "last_event_seq": last});
    Some(payload)
}

fn resume(world: &mut World, payload: Value) -> Vec<Value> {
    let connection = world.open();
    world.send(connection, "m-resume", "session.hello", payload);
    world.take(connection)
}

/// Resumes every session from its floor and gives its frames; checks which tokens are good.
fn check_sessions(run: &World, entries: usize) -> Vec<(String, Vec<Value>)> {
    let (known, tables) = (known(run, entries), tables(run, entries));
    let mut streams = Vec::new();
    for (session, welcomes) in &known.welcomes {
        let at = std::format!("{session} after {entries} entries");
        let row = tables.session(SessionKey::parse(session).unwrap()).expect("a visible session is stored");
        let floor = row.numbers.floor();
        let token = &welcomes.last().unwrap()["payload"]["resume_token"];
        if row.is_dead() {
            let frames = resume(&mut recovered(run, entries), greeting(&tables, session, token, 0).unwrap());
            assert_eq!(code(&frames[0]), "RESUME_WINDOW_EXPIRED", "{at}");
            continue;
        }
        let newest = TokenHash::of(token.as_str().unwrap());
        let is_confirmed = records(run, entries).any(|record| {
            matches!(record, Record::Session(record) if record.current == newest && record.confirmed)
        });
        let presented = presented_for(run, entries, newest);
        for (age, welcome) in welcomes.iter().rev().enumerate().skip(1) {
            let token = &welcome["payload"]["resume_token"];
            let hash = TokenHash::of(token.as_str().unwrap());
            let frames =
                resume(&mut recovered(run, entries), greeting(&tables, session, token, floor).unwrap());
            let is_good = !is_confirmed && presented == Some(hash);
            assert_eq!(frames[0]["type"] == "session.welcome", is_good, "{at}: token {age} ago (SES-2)");
        }
        let mut world = recovered(run, entries);
        let frames = resume(&mut world, greeting(&tables, session, token, floor).unwrap());
        assert_eq!(frames[0]["type"], "session.welcome", "{at}: {}", frames[0]);
        let numbers = seqs(&frames);
        let expected: Vec<u64> = (floor + 1..).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "{at}: SEQ-2, SEQ-7");
        assert!(floor + numbers.len() as u64 >= row.numbers.last(), "{at}: SEQ-4");
        let texts: BTreeMap<u64, &String> = world
            .texts
            .values()
            .flatten()
            .filter_map(|text| {
                let frame: Value = serde_json::from_str(text).unwrap();
                frame["event_seq"].as_u64().map(|seq| (seq, text))
            })
            .collect();
        for (seq, text) in known.numbered.get(session).into_iter().flatten().filter(|(seq, _)| **seq > floor)
        {
            assert_eq!(texts.get(seq), Some(&text), "{at}: SEQ-3");
        }
        streams.push((session.clone(), frames));
    }
    streams
}

/// The token with which the newest one was got, as the records tell.
fn presented_for(run: &World, entries: usize, newest: TokenHash) -> Option<TokenHash> {
    records(run, entries).find_map(|record| match record {
        Record::Session(record) if record.current == newest => record.previous,
        _ => None,
    })
}

/// How a job that had not ended must end now.
fn expected_end(run: &World, entries: usize, job: JobKey) -> &'static str {
    let mut end = "INTERNAL_ERROR";
    for record in records(run, entries) {
        if let Record::Stopping { job: stopped, reason, .. } = record
            && *stopped == job
        {
            end = match reason {
                StopReason::Cancelled(_) => "CANCELLED",
                StopReason::TimedOut(_) => "TIMEOUT",
                StopReason::LeaseExpired(_) => "LEASE_EXPIRED",
                StopReason::ParentEnded => "CANCELLED",
            };
        }
    }
    end
}

/// Every accepted job has exactly one end in its owner's stream, unless it is still to run (JOB-2, JOB-8).
fn check_jobs(run: &World, entries: usize, streams: &[(String, Vec<Value>)]) {
    let (known, tables) = (known(run, entries), tables(run, entries));
    let mut world = recovered(run, entries);
    let restarted: BTreeSet<JobKey> = world.started.iter().map(|start| start.key).collect();
    for id in known.accepted.keys() {
        let at = std::format!("{id} after {entries} entries");
        let key = JobKey::parse(id).unwrap();
        let row = tables.job(key).expect("a visible job is stored");
        let handle = world.runtime.job(key).expect("a stored job is known");
        let state = world.runtime.job_state(handle).unwrap();
        let was_queued = row.end.is_none() && !row.record.started && row.stopping.is_none();
        if was_queued {
            assert!(!state.is_final() || restarted.contains(&key), "{at}: a queued job is not lost");
        } else {
            assert!(state.is_final() && !restarted.contains(&key), "{at}: no agent runs twice");
        }
        let Some(owner) = row.owner.map(|owner| owner.to_string()) else { continue };
        let Some((_, frames)) = streams.iter().find(|(session, _)| *session == owner) else { continue };
        let ends: Vec<&Value> = frames
            .iter()
            .filter(|frame| frame["job_id"] == id.as_str())
            .filter(|frame| matches!(frame["type"].as_str(), Some("job.result" | "job.error")))
            .collect();
        if row.end.is_none() && !was_queued {
            assert_eq!(ends.len(), 1, "{at}");
            assert_eq!(code(ends[0]), expected_end(run, entries, key), "{at}: the first reason stays");
        }
        if let Some(last) =
            frames.iter().rfind(|frame| frame["job_id"] == id.as_str() && frame["event_seq"].is_u64())
            && !ends.is_empty()
        {
            assert_eq!(last, *ends.last().unwrap(), "{at}: JOB-3");
        }
    }
    // What was queued runs, one after the other, to an end of its own.
    let mut next = 0;
    while let Some(job) = world.started.get(next).map(|start| start.job) {
        world.finish(job, "1");
        next += 1;
    }
    assert_eq!(world.runtime.population().unfinished_jobs, 0, "after {entries} entries");
}

/// The same key is the same job, whose whole retained history follows, its end last (IDEM-1, D-83).
fn check_keys(run: &World, entries: usize) {
    let known = known(run, entries);
    for record in records(run, entries) {
        let Record::Job(record) = record else { continue };
        let id = record.key.to_string();
        let (Some(key), Some(accepted)) = (&record.idempotency_key, known.accepted.get(&id)) else {
            continue;
        };
        let mut world = recovered(run, entries);
        let bearer = if &*record.principal == "other" { "other" } else { "good" };
        let (connection, _) = world.session_of(bearer, FEATURES);
        let mut payload = submit(key, record.input.as_str().parse().unwrap());
        if let Some(seconds) = record.max_runtime_sec {
            payload["max_runtime_sec"] = seconds.into();
        }
        world.send(connection, "m-again", "job.submit", payload);
        let mut next = 0;
        while let Some(job) = world.started.get(next).map(|start| start.job) {
            world.finish(job, "1");
            next += 1;
        }
        let frames = world.take(connection);
        assert_eq!(frames[0]["type"], "job.accepted", "{id} after {entries}: {}", frames[0]);
        let (mut first, mut again) = (accepted["payload"].clone(), frames[0]["payload"].clone());
        for payload in [&mut first, &mut again] {
            payload["request_id"] = Value::Null;
            payload["reply_to"] = Value::Null;
        }
        assert_eq!(again, first, "{id} after {entries}: IDEM-2");
        let positions = positions(&frames);
        let expected: Vec<u64> = (1..).take(positions.len()).collect();
        assert_eq!(positions, expected, "{id} after {entries}: VIS-4");
        let kinds = types(&frames);
        let ends = kinds.iter().filter(|kind| matches!(**kind, "job.result" | "job.error")).count();
        assert_eq!(ends, 1, "{id} after {entries}");
        assert!(kinds.last().is_some_and(|kind| *kind != "job.event"), "{id} after {entries}");
    }
}

#[test]
fn every_prefix_of_a_busy_run_is_a_runtime_that_goes_on() {
    let run = busy_run();
    assert!(run.journal.len() > 40, "{} entries", run.journal.len());
    for entries in 1..=run.journal.len() {
        let streams = check_sessions(&run, entries);
        check_jobs(&run, entries, &streams);
        check_keys(&run, entries);
    }
}

#[test]
fn the_busy_run_reaches_what_it_is_meant_to_reach() {
    let run = busy_run();
    let all = run.journal.len();
    let any = |wanted: fn(&Record) -> bool| records(&run, all).any(wanted);
    assert!(any(|r| matches!(r, Record::Deliver { .. })));
    assert!(any(|r| matches!(r, Record::Unfollow { .. })));
    assert!(any(|r| matches!(r, Record::Owner { after: Some(_), .. })));
    assert!(any(|r| matches!(r, Record::Started { .. })));
    assert!(any(|r| matches!(r, Record::Stopping { reason: StopReason::TimedOut(5), .. })));
    assert!(any(|r| matches!(r, Record::Session(session) if session.dead_since.is_some())));
    assert!(run.journal.iter().any(|(_, command)| matches!(command, Command::Trim(_))));
    let connections: BTreeSet<_> = run.sightings.iter().map(|sighting| sighting.connection).collect();
    assert!(connections.len() >= 7);
}

#[test]
fn a_restart_during_a_restart_changes_nothing() {
    let run = busy_run();
    for entries in (1..=run.journal.len()).step_by(7) {
        let first = recovered(&run, entries);
        let once = first.store.clone();
        let again = World::recover(first.store, small(), first.now.after(Duration::from_millis(1)), 78);
        // Jobs that the first recovery started have lost their agents; everything else is as it was.
        if first.started.is_empty() {
            assert_eq!(again.store, once, "after {entries} entries");
        }
    }
}
