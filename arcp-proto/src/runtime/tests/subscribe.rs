//! Subscriptions: who gets which events of a job, from where on, under which numbers (protocol §3.6).

use std::string::ToString;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, pair, positions, seqs, types};
use crate::id::SessionKey;
use crate::runtime::{Access, Decision, RuntimeEvent};

#[test]
fn a_live_subscription_begins_at_the_seam() {
    let (mut world, a, b, job, id) = pair();
    world.logs(job, 3);
    let subscribed = world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    let payload = &subscribed["payload"];
    assert_eq!(subscribed["type"], "job.subscribed");
    assert!(subscribed["event_seq"].is_null(), "SEQ-5");
    assert_eq!((&payload["request_id"], &payload["reply_to"]), (&json!("m2"), &json!("m2")), "D-20");
    assert_eq!(payload["current_status"], "running");
    assert_eq!((&payload["subscribed_from"], &payload["replayed"]), (&json!(3), &json!(false)));
    assert!(payload["history_from"].is_null(), "only where history was asked for");
    assert_eq!(payload["lease"], json!({}));
    world.logs(job, 2);
    let frames = world.take(b);
    assert_eq!(
        (seqs(&frames), positions(&frames)),
        (std::vec![1, 2], std::vec![4, 5]),
        "its own numbers (D-11)"
    );
    assert_eq!(seqs(&world.take(a)), [1, 2, 3, 4, 5]);
}

#[test]
fn origin_numbers_are_the_owners_and_delivery_is_renumbered() {
    let (mut world, a, b, job, id) = pair();
    let (noise, _) = world.submit(a, "m0");
    // Origin numbers of `job`: 2, 4, 6, 8, 10.
    for _ in 0..5 {
        world.logs(noise, 1);
        world.logs(job, 1);
    }
    let from = |world: &mut World, request: &str, start: Value| {
        let mut payload = json!({"job_id": id, "history": true});
        for (name, value) in start.as_object().unwrap() {
            payload[name] = value.clone();
        }
        world.send(b, request, "job.subscribe", payload);
        let frames = world.take(b);
        world.send(b, "u", "job.unsubscribe", json!({"job_id": id}));
        let payload = &frames[0]["payload"];
        assert_eq!(payload["subscribed_from"], 10);
        assert_eq!(payload["replayed"], !seqs(&frames).is_empty());
        (payload["history_from"].as_u64().unwrap(), positions(&frames))
    };
    assert_eq!(from(&mut world, "s1", json!({})), (0, std::vec![1, 2, 3, 4, 5]), "D-12");
    assert_eq!(from(&mut world, "s2", json!({"from_event_seq": 4})), (4, std::vec![3, 4, 5]), "exclusive");
    assert_eq!(from(&mut world, "s3", json!({"from_event_seq": 5})), (4, std::vec![3, 4, 5]));
    assert_eq!(from(&mut world, "s4", json!({"from_event_seq": 10})), (10, std::vec![]));
    assert_eq!(from(&mut world, "s5", json!({"from_event_seq": 999})), (10, std::vec![]), "beyond the seam");
    assert_eq!(from(&mut world, "s6", json!({"from_pos": 3})), (6, std::vec![4, 5]));
    assert_eq!(
        from(&mut world, "s7", json!({"from_pos": 3, "from_event_seq": 0})),
        (6, std::vec![4, 5]),
        "wins"
    );
    assert_eq!(from(&mut world, "s8", json!({"from_pos": 77})), (10, std::vec![]));
}

#[test]
fn a_start_without_history_means_nothing() {
    for start in ["from_event_seq", "from_pos"] {
        let (mut world, _, b, job, id) = pair();
        world.logs(job, 3);
        let mut payload = json!({"job_id": id});
        payload[start] = 0.into();
        let subscribed = world.ask(b, "m2", "job.subscribe", payload);
        assert_eq!(subscribed["payload"]["replayed"], false, "D-12: {start}");
    }
}

#[test]
fn history_can_be_joined_at_every_point_of_a_run() {
    const EVENTS: u64 = 40;
    // More than one page, exactly one page, and everything live.
    for joined in 0..=EVENTS {
        for from in [0, 1, joined / 2, joined.saturating_sub(1), joined, joined + 5] {
            let (mut world, _, b, job, id) = pair();
            world.logs(job, usize::try_from(joined).unwrap());
            world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true, "from_pos": from}));
            world.logs(job, usize::try_from(EVENTS - joined).unwrap());
            world.finish(job, "1");
            let frames = world.take(b);
            let at = std::format!("joined at {joined} from {from}");
            assert_eq!(frames[0]["type"], "job.subscribed", "D-13: {at}");
            let first = from.min(joined) + 1;
            assert_eq!(positions(&frames), (first..=EVENTS + 1).collect::<Vec<_>>(), "VIS-5: {at}");
            assert_eq!(seqs(&frames), (1..=EVENTS + 2 - first).collect::<Vec<_>>(), "SEQ-1: {at}");
            assert_eq!(types(&frames).last(), Some(&"job.result"), "{at}");
        }
    }
}

#[test]
fn the_seam_holds_while_the_store_is_slow() {
    // Between any two answers of the store the job produces another event.
    for before in [1, 15, 16, 17, 40] {
        for every in 1..4_usize {
            let (mut world, _, b, job, id) = pair();
            world.logs(job, before);
            world.take(b);
            world.instant_store = false;
            world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
            let mut step = 0;
            while step < 60 {
                step += 1;
                if step % every == 0 {
                    world.logs(job, 1);
                }
                world.store_one();
            }
            world.store_all();
            world.finish(job, "1");
            world.store_all();
            let frames = world.take(b);
            let last = u64::try_from(before + 60 / every + 1).unwrap();
            assert_eq!(frames[0]["type"], "job.subscribed", "{before} {every}");
            assert_eq!(positions(&frames), (1..=last).collect::<Vec<_>>(), "{before} {every}");
            assert_eq!(seqs(&frames), (1..=last).collect::<Vec<_>>(), "{before} {every}");
        }
    }
}

#[test]
fn the_seam_is_where_the_job_was_when_the_subscribe_came() {
    let (mut world, _, b, job, id) = pair();
    world.logs(job, 5);
    world.instant_store = false;
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true, "from_pos": 2}));
    world.send(b, "m3", "job.subscribe", json!({"job_id": id, "history": true}));
    world.logs(job, 3);
    world.finish(job, "1");
    world.store_all();
    let frames = world.take(b);
    assert_eq!(types(&frames)[..2], ["job.subscribed", "job.subscribed"]);
    let answer = |request: &str| {
        frames.iter().map(|frame| &frame["payload"]).find(|payload| payload["request_id"] == request).unwrap()
    };
    let seam = answer("m2");
    assert_eq!((&seam["subscribed_from"], &seam["current_status"]), (&json!(5), &json!("running")));
    assert_eq!((&seam["history_from"], &seam["replayed"]), (&json!(2), &json!(true)));
    assert_eq!(answer("m3")["replayed"], false, "D-14, also while the first is not answered yet");
    assert_eq!(positions(&frames), (3..=9).collect::<Vec<_>>());
}

#[test]
fn an_unsubscribe_that_overtakes_its_subscribe_leaves_it_answered() {
    let (mut world, _, b, job, id) = pair();
    world.logs(job, 5);
    world.instant_store = false;
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    world.send(b, "m3", "job.unsubscribe", json!({"job_id": id}));
    world.store_all();
    world.logs(job, 1);
    world.store_all();
    let frames = world.take(b);
    assert_eq!(types(&frames), ["job.subscribed"]);
    assert_eq!(
        (&frames[0]["payload"]["request_id"], &frames[0]["payload"]["replayed"]),
        (&json!("m2"), &json!(false))
    );
}

#[test]
fn a_reader_far_behind_a_fast_job_gets_everything() {
    let (mut world, _, b, job, id) = pair();
    world.logs(job, 100);
    world.instant_store = false;
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    // More than the tail of a job holds in memory.
    world.logs(job, 1_500);
    world.store_all();
    world.logs(job, 1);
    world.store_all();
    assert_eq!(positions(&world.take(b)), (1..=1_601).collect::<Vec<_>>());
}

#[test]
fn a_finished_job_shows_its_end_only_with_history() {
    let (mut world, _, b, job, id) = pair();
    world.logs(job, 2);
    world.finish(job, "1");
    let subscribed = world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    assert_eq!(subscribed["payload"]["current_status"], "success");
    assert_eq!(subscribed["payload"]["subscribed_from"], 3);
    world.send(b, "m3", "job.subscribe", json!({"job_id": id, "history": true}));
    let frames = world.take(b);
    assert_eq!(types(&frames), ["job.subscribed", "job.event", "job.event", "job.result"]);
    world.send(b, "m4", "job.subscribe", json!({"job_id": id, "history": true, "from_pos": 2}));
    let frames = world.take(b);
    assert_eq!(types(&frames), ["job.subscribed", "job.result"], "a terminal ended the subscription before");
    assert_eq!(seqs(&frames), [4]);
}

#[test]
fn what_is_followed_already_is_acknowledged_and_not_doubled() {
    let (mut world, a, b, job, id) = pair();
    world.logs(job, 2);
    world.take(a);
    let own = world.ask(a, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    assert_eq!((own["payload"]["replayed"] == false, seqs(&[own]).len()), (true, 0), "D-14");
    world.send(b, "m3", "job.subscribe", json!({"job_id": id, "history": true}));
    world.take(b);
    let again = world.ask(b, "m4", "job.subscribe", json!({"job_id": id, "history": true}));
    assert_eq!(again["payload"]["replayed"], false);
    world.logs(job, 1);
    assert_eq!((seqs(&world.take(a)), seqs(&world.take(b))), (std::vec![3], std::vec![3]));
}

#[test]
fn an_unsubscribe_ends_a_subscription_and_nothing_else() {
    let (mut world, a, b, job, id) = pair();
    world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    world.logs(job, 1);
    world.send(b, "m3", "job.unsubscribe", json!({"job_id": id}));
    world.send(a, "m4", "job.unsubscribe", json!({"job_id": id}));
    world.logs(job, 1);
    assert_eq!(seqs(&world.take(b)), [1], "D-15: no reply");
    assert_eq!(seqs(&world.take(a)), [1, 2], "one's own job has no unsubscribe");
    world.send(b, "m5", "job.subscribe", json!({"job_id": id, "history": true}));
    let frames = world.take(b);
    assert_eq!((seqs(&frames), positions(&frames)), (std::vec![2, 3], std::vec![1, 2]), "a new attachment");
}

#[test]
fn an_unsubscribe_in_the_middle_of_history_stops_it() {
    let (mut world, _, b, job, id) = pair();
    world.logs(job, 40);
    world.instant_store = false;
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    // The confirmed token, then the first page.
    world.store_one();
    world.store_one();
    world.send(b, "m3", "job.unsubscribe", json!({"job_id": id}));
    world.store_all();
    let frames = world.take(b);
    assert_eq!(types(&frames)[0], "job.subscribed");
    assert_eq!(positions(&frames), (1..=16).collect::<Vec<_>>(), "what was numbered still arrives");
}

#[test]
fn subscriptions_survive_a_resume_and_a_restart() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, welcome) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    world.cut(b);
    world.logs(job, 2);
    let (b, frames) = world.resume(&welcome, 0, ALL);
    assert_eq!(seqs(&frames), [1, 2]);
    world.logs(job, 1);
    assert_eq!(seqs(&world.take(b)), [3]);
    let mut world = world.restart(config());
    let (_, frames) = world.resume(&frames[0], 3, ALL);
    assert_eq!(
        types(&frames),
        ["session.welcome", "job.error"],
        "the interrupted job ends for its watcher too"
    );
}

#[test]
fn a_history_that_was_not_finished_goes_on_after_a_resume() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, welcome) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.logs(job, 40);
    world.instant_store = false;
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    world.store_one();
    world.store_one();
    world.cut(b);
    world.logs(job, 1);
    world.instant_store = true;
    world.store_all();
    let (_, frames) = world.resume(&welcome, 0, ALL);
    assert_eq!(positions(&frames), (1..=41).collect::<Vec<_>>(), "VIS-5");
}

#[test]
fn a_history_that_was_not_finished_goes_on_after_a_restart() {
    for answers in 0..8 {
        let mut world = World::new();
        let (a, _) = world.session(ALL);
        let (b, welcome) = world.session(ALL);
        let (job, id) = world.submit(a, "m1");
        world.logs(job, 40);
        world.instant_store = false;
        world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
        for _ in 0..answers {
            world.store_one();
        }
        let is_answered = types(&world.take(b)).contains(&"job.subscribed");
        let mut world = world.restart(config());
        let (_, frames) = world.resume(&welcome, 0, ALL);
        let all: Vec<u64> = if is_answered { (1..=41).collect() } else { positions(&frames) };
        assert_eq!(positions(&frames), all, "VIS-5, VIS-4: after {answers} answers");
        assert!(all.is_empty() || all == (1..=41).collect::<Vec<_>>());
    }
}

#[test]
fn a_subscribe_not_answered_yet_dies_with_its_connection() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, welcome) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.logs(job, 3);
    world.instant_store = false;
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    world.cut(b);
    world.instant_store = true;
    world.store_all();
    let (b, frames) = world.resume(&welcome, 0, ALL);
    assert_eq!(types(&frames), ["session.welcome"]);
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    assert_eq!(positions(&world.take(b)), [1, 2, 3], "the same id may be tried again");
}

#[test]
fn what_one_may_not_see_looks_like_what_does_not_exist() {
    let (mut world, _, _, _, id) = pair();
    let (c, _) = world.session_of("other", ALL);
    let missing = "job_01KZZSPRE8B7N2V5T9K4C3M6QZ";
    let mut answers = Vec::new();
    for (kind, named) in [
        ("job.subscribe", id.as_str()),
        ("job.subscribe", missing),
        ("job.cancel", &id),
        ("job.cancel", missing),
    ] {
        let answer = world.ask(c, &std::format!("m-{kind}-{named}"), kind, json!({"job_id": named}));
        assert_eq!(answer["job_id"], named);
        let text = answer.to_string().replace(named, "J");
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        answer["id"] = Value::Null;
        answer["payload"]["request_id"] = Value::Null;
        answer["payload"]["reply_to"] = Value::Null;
        assert_eq!(code(&answer), "JOB_NOT_FOUND", "D-16");
        answers.push(answer);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "VIS-2: {answers:#?}");
}

#[test]
fn every_subscribe_leaves_an_audit_entry() {
    let (mut world, _, b, _, id) = pair();
    let (c, _) = world.session_of("other", ALL);
    world.events.clear();
    world.ask(b, "m2", "job.subscribe", json!({"job_id": id}));
    world.ask(c, "m3", "job.subscribe", json!({"job_id": id}));
    world.ask(c, "m4", "job.subscribe", json!({"job_id": "nonsense"}));
    let audit: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            RuntimeEvent::Access { principal, access: Access::Subscribe, job, submitter, decision } => {
                Some((
                    principal.to_string(),
                    job.is_some(),
                    submitter.as_ref().map(ToString::to_string),
                    *decision,
                ))
            }
            _ => None,
        })
        .collect();
    let demo = Some("demo".to_string());
    assert_eq!(
        audit,
        [
            ("demo".into(), true, demo.clone(), Decision::Allowed),
            ("other".into(), true, demo, Decision::Hidden),
            ("other".into(), false, None, Decision::Hidden)
        ]
    );
}

#[test]
fn history_fills_a_row_in_blocks_as_small_as_live_events_do() {
    let (mut world, a, _, job, id) = pair();
    for _ in 0..40 {
        world.log(job, &"x".repeat(10_000));
    }
    world.take(a);
    let (c, welcome) = world.session(ALL);
    world.send(c, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    let frames = world.take(c);
    assert_eq!(positions(&frames), (1..=40).collect::<Vec<_>>());
    let key = SessionKey::parse(welcome["session_id"].as_str().unwrap()).unwrap();
    let numbers = &world.store.session(key).unwrap().numbers;
    assert_eq!((numbers.len(), numbers.last()), (40, 40));
    let blocks: Vec<_> = numbers.blocks().map(|block| block.cost.total()).collect();
    assert!(blocks.iter().all(|bytes| *bytes <= 64 << 10), "{blocks:?}");
    // Nothing is lost between the records of one page.
    let mut world = world.restart(config());
    let (_, again) = world.resume(&welcome, 0, ALL);
    assert_eq!(positions(&again)[..40], positions(&frames));
}
