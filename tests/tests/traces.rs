//! The main flows as they go over the wire, in the style of the protocol's walk-throughs.

use std::time::Duration;

use arcp_proto::client::{ClientEvent, Subscription};
use arcp_tests::link::{Break, Cut, Moment, Script, World};
use arcp_tests::trace::Direction;
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
fn lost_welcome() {
    let mut world = World::new();
    world.agent("a", Script::new().logs(6).idle());
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("the third event", events(3));
    world.cut(0, Break::CLEAN);
    let frame = world.written(Direction::Down) + 1;
    world.cuts.push_back(Cut {
        direction: Direction::Down,
        frame,
        moment: Moment::Written,
        how: Break::CLEAN,
    });
    world.run_until("all events", events(6));
    world.run_for(A_WHILE);
    assert!(world.cuts.is_empty());
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
fn idempotent_retry() {
    let mut world = World::new();
    world.agent("a", Script::new().logs(2).pause(Duration::from_millis(50)).log("line 3").returns("3"));
    world.client();
    world.submit(0, "a", "k", "[1]");
    world.cuts.push_back(Cut {
        direction: Direction::Down,
        frame: 2,
        moment: Moment::Written,
        how: Break::CLEAN,
    });
    world.run_until("two events", events(2));
    world.note("C2 submits the same: the job becomes its own");
    world.client();
    world.submit(1, "a", "k", "[1]");
    world.run_until("both ends", |world| world.application(0).ended() + world.application(1).ended() == 2);
    world.run_for(A_WHILE);
    assert_eq!(world.started_jobs(), 1);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn duplicate_key() {
    let mut world = World::new();
    world.agent("a", Script::new().idle());
    world.client();
    world.submit(0, "a", "k", r#"{"x":1,"y":2}"#);
    world.run_for(A_WHILE);
    world.note("the same, spelled otherwise");
    world.submit(0, "a", "k", r#"{ "y": 2.0, "x": 1 }"#);
    world.run_for(A_WHILE);
    world.note("something else");
    world.submit(0, "a", "k", r#"{"x":1,"y":3}"#);
    world.run_for(A_WHILE);
    assert_eq!(world.started_jobs(), 1);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn rejected_submits() {
    let mut world = World::new();
    world.client();
    for agent in ["nobody-knows", "c@3.0.0", "c@1.0.0", "c"] {
        world.submit(0, agent, agent, "null");
        world.run_for(A_WHILE);
    }
    assert_snapshot!(world.trace.lines());
}

#[test]
fn history_for_a_second_session() {
    let mut world = World::new();
    let script = Script::new().logs(5).pause(Duration::from_millis(100)).progress(1, 1).returns("true");
    world.agent("a", script);
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("five events", events(5));
    let job = world.first_job(0);
    world.client();
    world.subscribe(1, &job, Subscription::History);
    world.run_until("the history", |world| world.application(1).events() == 5);
    world.cancel(1, &job, "not mine");
    world.run_until("both ends", |world| world.application(0).ended() + world.application(1).ended() == 2);
    world.run_for(A_WHILE);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn half_open_takeover() {
    let mut world = World::new();
    world.agent("a", Script::new().logs(10).idle());
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("three events", events(3));
    world.cut(0, Break::HALF_OPEN);
    world.run_until("all events", events(10));
    world.run_for(A_WHILE);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn heartbeats_and_their_loss() {
    let mut world = World::new();
    world.agent("a", Script::new().pause(Duration::from_secs(70)).log("still there").idle());
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_for(Duration::from_secs(30));
    world.note("C falls asleep");
    world.peers[0].asleep = true;
    world.run_for(Duration::from_secs(62));
    world.note("C wakes up");
    world.peers[0].asleep = false;
    world.run_until("the event", events(1));
    world.run_for(A_WHILE);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn lag_and_back_pressure() {
    let mut world = World::new();
    world.agent("a", Script::new().logs(1_020).idle());
    world.client();
    world.peers[0].application.takes = false;
    world.submit(0, "a", "k", "null");
    world.run_until("all events", events(1_021));
    world.run_for(A_WHILE);
    world.note("the application takes 900 events");
    world.take(0, 900);
    world.run_for(A_WHILE);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn a_client_that_stops_reading() {
    let mut world = World::with(|config| config.limits.write_stall = Duration::from_secs(20));
    world.agent("a", Script::new().logs(150).returns("150"));
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("two events", events(2));
    world.note("C hangs, its socket fills up");
    world.peers[0].asleep = true;
    let stalled = |world: &World| world.trace.frames().any(|(_, text, _)| text.contains("session.error"));
    world.run_until("the runtime's patience is over", stalled);
    world.run_for(A_WHILE);
    world.note("C goes on");
    world.peers[0].asleep = false;
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
