//! Nothing leaves before its commit, whatever the store does (protocol §1.6, SEQ-6).

use core::time::Duration;
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::json;

use super::harness::{ALL, World, code, config, hello, limit, pair, seqs, types};
use crate::feature::Feature;
use crate::runtime::store::{Command, JobPage, Record, StoreDone, StoreId};
use crate::runtime::{ConnectionId, RuntimeEvent};

/// A session whose store stops answering.
fn late() -> (World, ConnectionId) {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    world.instant_store = false;
    (world, a)
}

fn is_append(command: &Command) -> bool {
    matches!(command, Command::Append(_))
}

#[test]
fn a_welcome_waits_for_its_session() {
    let mut world = World::new();
    world.instant_store = false;
    let a = world.open();
    world.send(a, "m-hello", "session.hello", hello("good", ALL));
    assert!(world.take(a).is_empty());
    assert!(!world.runtime.may_read(a), "no second frame before the answer");
    assert!(world.store_one());
    assert_eq!(types(&world.take(a)), ["session.welcome"]);
}

#[test]
fn a_welcome_that_never_commits_gives_up_after_ten_seconds() {
    let mut world = World::new();
    world.instant_store = false;
    let a = world.open();
    world.send(a, "m-hello", "session.hello", hello("good", ALL));
    world.wait(Duration::from_secs(10));
    let error = world.one(a);
    assert_eq!(code(&error), "INTERNAL_ERROR");
    assert!(world.closed.contains_key(&a));
    world.store_all();
    assert!(world.take(a).is_empty(), "a late commit greets nobody");
}

#[test]
fn an_acceptance_and_the_agent_wait_for_the_job() {
    let (mut world, a) = late();
    world.send(a, "m1", "job.submit", json!({"agent": "a"}));
    assert!(world.take(a).is_empty());
    assert!(world.started.is_empty());
    world.store_all();
    assert_eq!(types(&world.take(a)), ["job.accepted"]);
    assert_eq!(world.started.len(), 1);
}

#[test]
fn a_refused_submit_waits_only_for_the_replies_before_it() {
    let (mut world, a) = late();
    world.send(a, "m1", "job.submit", json!({"agent": "nobody"}));
    assert_eq!(code(&world.one(a)), "AGENT_NOT_AVAILABLE");
    world.send(a, "m2", "job.submit", json!({"agent": "a"}));
    world.send(a, "m3", "job.submit", json!({"agent": "nobody"}));
    assert!(world.take(a).is_empty(), "D-75");
    world.store_all();
    let replies = world.take(a);
    let order: Vec<_> = replies.iter().map(|reply| reply["payload"]["request_id"].clone()).collect();
    assert_eq!(order, ["m2", "m3"]);
}

#[test]
fn a_cancel_and_its_terminal_wait() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.instant_store = false;
    world.send(a, "m2", "job.cancel", json!({"job_id": id}));
    assert!(world.take(a).is_empty());
    world.finish(job, "1");
    assert!(world.take(a).is_empty());
    world.store_all();
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.cancelled", "job.error"]);
    assert_eq!(frames[1]["payload"]["final_status"], "cancelled", "promised by job.cancelled");
}

#[test]
fn a_subscribe_with_and_without_history_waits() {
    for history in [false, true] {
        let (mut world, _, b, job, id) = pair();
        world.logs(job, 2);
        world.instant_store = false;
        world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": history}));
        while !world.commands.is_empty() {
            assert!(world.take(b).is_empty(), "history {history}");
            world.store_one();
        }
        let frames = world.take(b);
        assert_eq!(frames[0]["type"], "job.subscribed");
        assert_eq!(seqs(&frames).len(), if history { 2 } else { 0 });
    }
}

#[test]
fn every_numbered_frame_waits_for_its_own_commit() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.instant_store = false;
    for n in 1..=4_u64 {
        world.logs(job, 1);
        world.pull(a);
        assert!(world.take(a).is_empty(), "{n}");
        assert!(world.store_one());
        assert_eq!(seqs(&world.take(a)), [n]);
    }
    world.finish(job, "null");
    assert!(world.take(a).is_empty());
    world.store_all();
    assert_eq!(types(&world.take(a)), ["job.result"]);
}

#[test]
fn answers_in_reverse_order_release_nothing_early() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.instant_store = false;
    for _ in 0..5 {
        world.logs(job, 1);
    }
    let mut answers: Vec<(StoreId, StoreDone)> = Vec::new();
    while let Some((id, command)) = world.commands.pop_front() {
        answers.push((id, world.store.execute(command)));
    }
    assert_eq!(answers.len(), 5);
    while let Some((id, done)) = answers.pop() {
        world.pull(a);
        assert!(world.take(a).is_empty(), "{} appends are missing", answers.len() + 1);
        world.answer_store(id, done);
    }
    assert_eq!(seqs(&world.take(a)), [1, 2, 3, 4, 5]);
}

#[test]
fn pongs_errors_and_goodbyes_wait_for_nothing() {
    let (mut world, a) = late();
    world.send(a, "m1", "job.submit", json!({"agent": "a"}));
    world.send(a, "m2", "session.ping", json!({"nonce": "n"}));
    world.send(a, "m3", "job.cancel", json!({"job_id": "nope"}));
    world.send(a, "m4", "x.y", json!({}));
    world.send_text(a, "{");
    assert_eq!(types(&world.take(a)), ["session.pong", "session.error", "session.error", "session.error"]);
    world.send(a, "m5", "session.close", json!({"reason": "done"}));
    assert_eq!(types(&world.take(a)), ["session.closed"]);
    world.store_all();
    assert!(world.take(a).is_empty(), "nothing follows session.closed (SES-9)");
}

#[test]
fn a_reply_without_a_record_of_its_own_comes_by_itself() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    let again = world.ask(a, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    assert_eq!(again["payload"]["replayed"], false, "D-14");
    world.ask(a, "m3", "job.cancel", json!({"job_id": id}));
    assert_eq!(world.ask(a, "m4", "job.cancel", json!({"job_id": id}))["type"], "job.cancelled");
    world.finish(job, "1");
    world.take(a);
    let ended = world.ask(a, "m5", "job.subscribe", json!({"job_id": id}));
    assert_eq!(ended["payload"]["current_status"], "cancelled");
}

#[test]
fn such_a_reply_still_waits_for_what_it_tells_of() {
    let (mut world, _, b, job, id) = pair();
    world.send(b, "m0", "session.ping", json!({"nonce": "n"}));
    world.take(b);
    world.instant_store = false;
    world.finish(job, "1");
    world.send(b, "m2", "job.subscribe", json!({"job_id": id}));
    assert!(world.take(b).is_empty(), "the end it tells of is not stored");
    world.store_all();
    assert_eq!(world.one(b)["payload"]["current_status"], "success");
}

#[test]
fn a_full_store_is_asked_again_every_second_and_loses_nothing() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.told.clear();
    world.instant_store = false;
    world.logs(job, 1);
    assert_eq!(world.refuse_all(), 1);
    assert_eq!(world.told, [std::format!("hold {job:?}")]);
    assert!(world.events.contains(&RuntimeEvent::StoreFull));
    world.logs(job, 1);
    assert!(world.commands.is_empty(), "nothing is tried behind the refused append");
    for second in 1..=3 {
        world.wait(Duration::from_millis(999));
        assert!(world.commands.is_empty(), "{second}");
        world.wait(Duration::from_millis(1));
        assert_eq!(world.refuse_all(), 1, "{second}");
    }
    assert!(world.take(a).iter().all(|frame| frame["event_seq"].is_null()));
    world.wait(Duration::from_secs(1));
    world.store_all();
    assert_eq!(seqs(&world.take(a)), [1, 2]);
    assert_eq!(world.told.last(), Some(&std::format!("release {job:?}")));
    assert!(world.events.contains(&RuntimeEvent::StoreRecovered));
}

#[test]
fn a_full_store_takes_no_new_work_and_says_so() {
    let (mut world, a, b, job, id) = pair();
    world.instant_store = false;
    world.logs(job, 1);
    world.refuse_all();
    let refused = world.ask(a, "m2", "job.submit", json!({"agent": "a", "idempotency_key": "k"}));
    assert_eq!((code(&refused), limit(&refused)), ("INTERNAL_ERROR", "storage"));
    let refused = world.ask(b, "m3", "job.subscribe", json!({"job_id": id, "history": true}));
    assert_eq!((code(&refused), limit(&refused)), ("INTERNAL_ERROR", "storage"));
    world.wait(Duration::from_secs(1));
    world.instant_store = true;
    world.store_all();
    world.take(a);
    let accepted = world.ask(a, "m4", "job.submit", json!({"agent": "a", "idempotency_key": "k"}));
    assert_eq!(accepted["type"], "job.accepted", "the refusal burned no key (IDEM-5)");
}

#[test]
fn a_reader_of_history_waits_for_a_full_store_without_spinning() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    world.send(a, "m1", "job.submit", json!({"agent": "a", "idempotency_key": "k"}));
    world.take(a);
    let job = world.started[0].job;
    let (b, _) = world.session(ALL);
    world.send(b, "m0", "session.ping", json!({"nonce": "n"}));
    world.take(b);
    world.instant_store = false;
    world.logs(job, 3);
    world.refuse_all();
    world.send(b, "m2", "job.submit", json!({"agent": "a", "idempotency_key": "k"}));
    world.refuse_all();
    assert!(world.take(b).is_empty());
    world.wait(Duration::from_secs(1));
    world.instant_store = true;
    world.store_all();
    let frames = world.take(b);
    assert_eq!(frames[0]["type"], "job.accepted");
    assert_eq!(seqs(&frames), [1, 2, 3]);
}

#[test]
fn a_failed_store_halts_everything() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.instant_store = false;
    world.logs(job, 3);
    let (id, _) = world.commands.pop_front().unwrap();
    world.send(a, "m2", "session.ping", json!({"nonce": "n"}));
    world.stalled.push(a);
    world.send(a, "m3", "session.ping", json!({"nonce": "n"}));
    world.take(a);
    world.answer_store(id, StoreDone::Failed);
    assert!(world.halted);
    world.stalled.clear();
    world.settle();
    world.pull(a);
    assert!(world.take(a).is_empty(), "nothing leaves after the halt");
    world.send_bytes(a, b"{}");
    let opened = world.open();
    world.wait(Duration::from_secs(3_600));
    assert!(world.runtime.poll_output().is_none() && world.runtime.poll_timeout().is_none());
    assert!(world.runtime.poll_frame(opened).is_none());
    let input = crate::runtime::AgentInput::Finish(crate::runtime::AgentEnd::Value {
        value: crate::wire::RawJson::null(),
        summary: None,
    });
    assert_eq!(world.runtime.handle_agent(world.now, job, input), Ok(()));
    world.settle();
    assert!(world.take(a).is_empty());
}

#[test]
fn what_waited_to_be_carried_out_is_dropped_by_a_halt() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.instant_store = false;
    world.logs(job, 1);
    let (id, _) = world.commands.pop_front().unwrap();
    let cancel = world.runtime.cancel_job(world.now, job, None);
    assert_eq!(cancel, Ok(()));
    world.runtime.handle_store(world.now, id, StoreDone::Failed);
    assert!(matches!(world.runtime.poll_output(), Some(crate::runtime::Output::Halt)));
    assert!(world.runtime.poll_output().is_none(), "not even the agent is told");
}

/// Runs a session into the state where its stream must be read back from the store.
fn behind_the_window() -> (World, serde_json::Value, ConnectionId) {
    let mut config = config();
    config.limits.window_events = 8;
    let mut world = World::with(config);
    let (a, welcome) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.logs(job, 30);
    world.cut(a);
    world.instant_store = false;
    let b = world.open();
    let mut payload = hello("good", ALL);
    payload["resume"] = json!({"resume_token": welcome["payload"]["resume_token"], "last_event_seq": 2});
    world.send(b, "m2", "session.hello", payload);
    assert!(is_append(&world.commands[0].1));
    world.store_one();
    assert_eq!(types(&world.take(b)), ["session.welcome"]);
    (world, welcome, b)
}

#[test]
fn a_read_that_fails_closes_the_connection_and_delivers_nothing() {
    for done in [StoreDone::Failed, StoreDone::Session(Vec::new())] {
        let (mut world, _, b) = behind_the_window();
        let (id, command) = world.commands.pop_front().unwrap();
        assert!(matches!(command, Command::ReadSession { after: 2, .. }), "{command:?}");
        world.answer_store(id, done);
        let frames = world.take(b);
        assert_eq!(types(&frames), ["session.error"], "a failed read is not an empty one (SEQ-8)");
        assert_eq!(code(&frames[0]), "INTERNAL_ERROR");
        assert!(world.closed.contains_key(&b));
        assert!(!world.halted);
    }
}

#[test]
fn a_page_of_an_older_connection_is_ignored() {
    let (mut world, _, b) = behind_the_window();
    let old = world.commands.pop_front().unwrap();
    world.send(b, "m3", "session.ping", json!({"nonce": "n"}));
    world.take(b);
    world.cut(b);
    let token = world.texts[&b][0].clone();
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    let (c, frames) = world.resume_with(&token["payload"]["resume_token"], ALL);
    assert!(frames.is_empty());
    // The confirmed token, then the resume.
    assert!(world.store_one() && world.store_one());
    assert_eq!(types(&world.take(c)), ["session.welcome"]);
    assert!(matches!(world.commands[0].1, Command::ReadSession { after: 0, .. }), "a page of its own is due");
    world.answer_store(old.0, StoreDone::Failed);
    assert!(world.take(c).is_empty() && !world.closed.contains_key(&c), "the older page is nobody's");
    world.store_all();
    assert_eq!(seqs(&world.take(c)), (1..=30).collect::<Vec<_>>());
}

#[test]
fn commands_are_given_in_the_order_of_what_they_are_about() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Core));
    let (job, _) = world.submit(a, "m1");
    world.instant_store = false;
    world.logs(job, 2);
    world.store_all();
    world.take(a);
    world.log(job, "x");
    world.send(a, "m2", "session.ack", json!({"last_processed_seq": 2}));
    let order: Vec<String> = world
        .commands
        .iter()
        .map(|(_, command)| match command {
            Command::Append(records) => match &records[..] {
                [Record::Event(_), ..] => "event".to_string(),
                other => std::format!("{other:?}"),
            },
            Command::Trim(_) => "trim".to_string(),
            other => std::format!("{other:?}"),
        })
        .collect();
    assert_eq!(order, ["event", "trim"], "a trim never overtakes what was appended before it");
}

#[test]
fn a_store_that_lost_what_a_row_promises_ends_the_connection_instead_of_being_asked_for_ever() {
    let (mut world, a, b, job, id) = pair();
    world.logs(job, 5);
    world.instant_store = false;
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    let mut asked = 0;
    while let Some((id, command)) = world.commands.pop_front() {
        let done = match command {
            Command::ReadJob { .. } => {
                asked += 1;
                StoreDone::Job(JobPage::default())
            }
            command => world.store.execute(command),
        };
        world.answer_store(id, done);
        assert!(asked < 100, "the store is asked for ever");
    }
    assert_eq!(world.closed.get(&b), Some(&1011));
    assert!(!world.closed.contains_key(&a));
}
