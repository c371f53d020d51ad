use super::harness::{ALL, World, pair, seqs};
use crate::feature::Feature;
use serde_json::json;
use std::vec::Vec;

#[test]
fn a_job_goes_the_whole_way() {
    let mut world = World::new();
    let (c, welcome) = world.session(ALL);
    let (job, id) = world.submit(c, "m1");
    world.log(job, "hello");
    world.settle();
    let event = world.one(c);
    assert_eq!(event["event_seq"], 1);
    assert_eq!(event["payload"]["pos"], 1);
    assert_eq!(event["payload"]["body"]["message"], "hello");
    assert_eq!(event["session_id"], welcome["session_id"]);
    assert_eq!(event["job_id"], id.as_str());
    world.finish(job, "{\"n\":1}");
    let result = world.one(c);
    assert_eq!(result["type"], "job.result");
    assert_eq!(result["payload"]["result"], json!({"n": 1}));
    assert_eq!(result["event_seq"], 2);
}

#[test]
fn history_and_live_meet_without_a_seam() {
    let (mut world, _, b, job, id) = pair();
    world.logs(job, 600);
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true}));
    world.logs(job, 10);
    world.finish(job, "null");
    let frames = world.take(b);
    assert_eq!(frames[0]["type"], "job.subscribed");
    assert_eq!(frames[0]["payload"]["history_from"], 0);
    assert_eq!(frames[0]["payload"]["subscribed_from"], 600);
    let positions: Vec<_> =
        frames[1..].iter().map(|frame| frame["payload"]["pos"].as_u64().unwrap()).collect();
    assert_eq!(positions, (1..=611).collect::<Vec<_>>());
    assert_eq!(seqs(&frames), positions);
}

#[test]
fn a_subscriber_that_did_not_negotiate_a_kind_does_not_get_it() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL.without(Feature::Progress));
    let (job, id) = world.submit(a, "m1");
    world.send(b, "m2", "job.subscribe", json!({"job_id": id}));
    world.take(b);
    let progress = crate::wire::event::Emission::progress_count(1, Some(2), None, None).unwrap();
    world.runtime.handle_agent(world.now, job, crate::runtime::AgentInput::Emit(progress)).unwrap();
    world.logs(job, 1);
    assert_eq!(seqs(&world.take(a)), [1, 2]);
    let frames = world.take(b);
    assert_eq!(seqs(&frames), [1]);
    assert_eq!(frames[0]["payload"]["pos"], 2);
}
