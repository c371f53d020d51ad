//! Flows as they go over the wire, besides the protocol's own walk-throughs in `spec.rs`.

use std::time::Duration;

use arcp_proto::client::ClientEvent;
use arcp_tests::link::{Break, Script, World};
use insta::assert_snapshot;

const A_WHILE: Duration = Duration::from_millis(400);

/// A job that reports twice and streams a result.
fn report() -> Script {
    Script::new()
        .log("reading")
        .progress(1, 2)
        .progress(2, 2)
        .chunk("The beginning, ", true)
        .chunk("the end.", true)
        .chunk("", false)
        .returns("null")
}

fn ended(count: usize) -> impl Fn(&World) -> bool {
    move |world| world.application(0).ended() == count
}

fn events(count: usize) -> impl Fn(&World) -> bool {
    move |world| world.application(0).events() == count
}

#[test]
fn from_hello_to_a_streamed_result() {
    let mut world = World::new();
    world.agent("a", report());
    world.client();
    world.submit(0, "a", "k", r#"{"page":7}"#);
    world.run_until("the end", ended(1));
    world.run_for(A_WHILE);
    world.close(0, "done");
    world.run_for(A_WHILE);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn cut_and_resume() {
    let mut world = World::new();
    world.agent("a", Script::new().logs(8).returns("8"));
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("the third event", events(3));
    world.cut(0, Break::CLEAN);
    world.run_until("the end", ended(1));
    world.run_for(A_WHILE);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn cancel() {
    let mut world = World::new();
    world.agent("a", Script::new().log("working").idle());
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("the first event", events(1));
    let job = world.first_job(0);
    world.cancel(0, &job, "no longer needed");
    world.run_until("the end", ended(1));
    world.run_for(A_WHILE);
    world.cancel(0, &job, "twice");
    world.run_for(A_WHILE);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn an_agent_that_does_not_heed_a_cancel() {
    let mut world = World::new();
    world.agent("a", Script::new().ignores_stop().log("working").idle());
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("the first event", events(1));
    let job = world.first_job(0);
    world.cancel(0, &job, "stop");
    world.run_until("the end", ended(1));
    world.run_for(A_WHILE);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn graceful_close() {
    let mut world = World::new();
    world.agent("a", Script::new().log("working").pause(Duration::from_secs(5)).returns("1"));
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("the first event", events(1));
    world.close(0, "going home");
    world.run_for(Duration::from_secs(10));
    assert!(matches!(world.application(0).told.last(), Some(ClientEvent::Closed(_))));
    world.note("C2 asks for the job's end");
    world.client();
    world.submit(1, "a", "k", "null");
    world.run_until("the end", |world| world.application(1).ended() == 1);
    world.run_for(A_WHILE);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn the_runtime_shuts_down() {
    let mut world = World::new();
    world.agent("a", Script::new().log("working").idle());
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("the first event", events(1));
    world.run_for(A_WHILE);
    world.shut_down();
    world.run_for(Duration::from_millis(150));
    assert_snapshot!(world.trace.lines());
}

#[test]
fn refused_credentials() {
    let mut world = World::new();
    world.client_with(|config| config.token = "nobody".into());
    world.run_for(Duration::from_secs(5));
    assert!(matches!(world.application(0).told.last(), Some(ClientEvent::Closed(_))));
    assert_snapshot!(world.trace.lines());
}

#[test]
fn too_long() {
    let mut world = World::new();
    world.agent("a", Script::new().log("working").idle());
    world.client();
    let submission = arcp_proto::client::Submission::new("a", arcp_proto::wire::RawJson::null())
        .idempotency_key("k")
        .max_runtime_sec(5);
    world.peers[0].endpoint.submit(world.now, submission).unwrap();
    world.run_until("the end", ended(1));
    world.run_for(A_WHILE);
    assert_snapshot!(world.trace.lines());
}
