//! Frames that are dropped, and counted.

use serde_json::{Value, json};

use super::children::CHILD;
use super::peer::{JOB, SESSION, World, job};
use crate::client::{ClientState, Subscription};

fn frame(message_type: &str, job: Value, payload: &Value) -> Value {
    json!({"arcp": "1.1", "id": "msg_r", "type": message_type, "session_id": SESSION, "job_id": job, "payload": payload})
}

#[test]
fn what_cannot_be_read_or_answers_nothing_is_counted() {
    for (message_type, job, payload) in [
        ("job.event", Value::Null, json!({"kind": "log", "body": {}})),
        ("job.accepted", json!(JOB), json!({"job_id": 7})),
        ("job.accepted", Value::Null, json!({})),
        ("job.cancelled", json!(JOB), json!({"job_id": 7})),
        ("job.cancelled", json!(JOB), json!({})),
        ("job.subscribed", json!(JOB), json!({"job_id": 7})),
        ("job.subscribed", json!(JOB), json!({})),
        ("session.jobs", Value::Null, json!({})),
        ("session.error", Value::Null, json!({"code": 7})),
        ("session.ping", Value::Null, json!({})),
        ("session.unheard_of", Value::Null, json!({})),
    ] {
        let mut world = World::stranger().with_job();
        world.feed(&frame(message_type, job, &payload));
        assert_eq!(world.client.ignored_frames(), 1, "{message_type} {payload}");
        assert_eq!(world.told(), [""; 0], "{message_type} {payload}");
        world.nothing_sent();
        assert_eq!(world.client.state(), ClientState::Connected);
    }
}

#[test]
fn frames_of_another_session_are_counted_and_pongs_are_not() {
    let mut world = World::core().with_job();
    let mut stray = frame("job.event", json!(JOB), &json!({"kind": "log", "pos": 1, "body": {}}));
    stray["session_id"] = json!("sess_01KZZSPQHVT4QJ3M8Y6D0R5W2Y");
    world.feed(&stray);
    assert_eq!((world.client.ignored_frames(), world.told().len()), (1, 0));
    world.say("session.pong", json!({}));
    assert_eq!(world.client.ignored_frames(), 1);
}

#[test]
fn what_nobody_can_ever_claim_is_not_held() {
    // No submit is open, and no children are wanted.
    let mut world = World::core().with_job();
    world.log(CHILD, 1, 1);
    assert_eq!(world.client.ignored_frames(), 1);
    // They are wanted, but this job was followed until now.
    let mut world = World::core().with_tree();
    world.client.subscribe(world.now, &job(CHILD), Subscription::Live).unwrap();
    world.client.unsubscribe(world.now, &job(CHILD));
    world.log(CHILD, 1, 1);
    assert_eq!(world.client.ignored_frames(), 1);
}
