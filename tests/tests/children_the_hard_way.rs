//! A connection is cut at every frame while jobs delegate to each other: of every child the application is handed every
//! event, once and in order, behind the word that there is this child.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use arcp_proto::client::{ClientEvent, Submission};
use arcp_proto::id::JobId;
use arcp_proto::lease::LeaseRequest;
use arcp_proto::wire::RawJson;
use arcp_tests::link::{Break, Cut, Moment, Script, World};
use arcp_tests::trace::Direction;

/// What becomes of the session when its link is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Resume,
    /// It is gone before the client is back.
    Another,
}

/// A parent with two children and a refusal, of which one child has children in turn.
fn world(after: After) -> World {
    let mut world = World::with(|config| {
        if after == After::Another {
            config.resume_window = Duration::from_secs(1);
        }
    });
    // Slow enough that some have ended by the time the client is back and others have not.
    let pace = Duration::from_millis(if after == After::Another { 200 } else { 1 });
    let lease = r#"{"agent.delegate":["c"]}"#;
    let parent = Script::new()
        .pace(pace)
        .logs(3)
        .delegate("b", lease)
        .delegate("b", r#"{"tool.call":["**"]}"#)
        .logs(3)
        .delegate("c", "{}")
        .awaits_child()
        .awaits_child()
        .log("done");
    world.agent("a", parent.returns("1"));
    let child = Script::new().pace(pace).logs(4).delegate("c", "{}").logs(4).delegate("c", "{}");
    world.agent("b", child.awaits_child().awaits_child().logs(2).returns("2"));
    world.agent("c", Script::new().pace(pace * 2).logs(7).returns("3"));
    world.client_with(|config| {
        config.ack_interval = Duration::from_millis(5);
        if after == After::Another {
            (config.backoff_min, config.backoff_max) = (Duration::from_secs(6), Duration::from_secs(6));
        }
    });
    let lease = LeaseRequest::default().grant("agent.delegate", ["b", "c"]);
    let submission = Submission::new("a", RawJson::empty_object()).idempotency_key("the key").lease(lease);
    world.submit_with(0, submission.children());
    world
}

/// The children by their parents, as they were told.
fn children(world: &World) -> Vec<(JobId, JobId)> {
    let told = world.application(0).told.iter();
    told.filter_map(|event| match event {
        ClientEvent::ChildAccepted { job, submit: Some(_), accepted } => {
            Some((job.clone(), accepted.parent_job_id.clone().unwrap()))
        }
        _ => None,
    })
    .collect()
}

/// What is wrong with what the application was told, if anything.
fn fault(world: &World) -> Option<String> {
    let application = world.application(0);
    let own = world.first_job(0);
    let children = children(world);
    let mut sizes = BTreeMap::new();
    for (child, parent) in children.iter().cloned().chain([(own.clone(), own.clone())]) {
        let story = application.story(&child);
        let last = u64::try_from(story.positions.len()).unwrap();
        if story.ends != 1 || story.positions != (1..=last).collect::<Vec<_>>() {
            return Some(format!("{child} of {parent}: {} ends, {:?}", story.ends, story.positions));
        }
        *sizes.entry((parent == own, last)).or_insert(0) += 1;
        let is_of = |event: &&ClientEvent| match event {
            ClientEvent::ChildAccepted { job, .. }
            | ClientEvent::Accepted { job, .. }
            | ClientEvent::JobEvent { job, .. }
            | ClientEvent::JobEnded { job, .. } => *job == child,
            _ => false,
        };
        let first = application.told.iter().find(is_of);
        if !matches!(first, Some(ClientEvent::ChildAccepted { .. } | ClientEvent::Accepted { .. })) {
            return Some(format!("{child} begins with {first:?}"));
        }
    }
    // The parent with three delegations, a refusal, seven lines and its end; its children; theirs.
    let expected = BTreeMap::from([((true, 12), 1), ((true, 13), 1), ((true, 8), 1), ((false, 8), 2)]);
    if sizes != expected {
        return Some(format!("jobs by depth and events: {sizes:?}"));
    }
    let ended = application.told.iter().filter(|event| matches!(event, ClientEvent::ChildrenEnded { .. }));
    let is_of_session =
        |event: &&ClientEvent| matches!(event, ClientEvent::Connected(_) | ClientEvent::Disconnected);
    let last = application.told.iter().rfind(|event| !is_of_session(event));
    if ended.count() != 1 || !matches!(last, Some(ClientEvent::ChildrenEnded { .. })) {
        return Some(format!("the end of all: {last:?}"));
    }
    let gap = application.told.iter().find(|event| matches!(event, ClientEvent::JobGap { .. }));
    gap.map(|gap| format!("{gap:?}")).or_else(|| application.complaints().into_iter().next())
}

fn run(after: After, cut: Option<Cut>) -> World {
    let mut world = world(after);
    world.cuts.extend(cut);
    world.run_until("the end of all children", |world| {
        world.application(0).told.iter().any(|event| matches!(event, ClientEvent::ChildrenEnded { .. }))
    });
    // Whatever might come behind it.
    world.run_for(Duration::from_secs(1));
    if let Some(fault) = fault(&world) {
        panic!("{fault}\nwith {cut:?}, then {after:?}\n{}", world.trace.lines());
    }
    world
}

fn cut_everywhere(after: After, how: Break) {
    let calm = run(after, None);
    let mut sessions = 0;
    for direction in [Direction::Up, Direction::Down] {
        for frame in 1..=calm.written(direction) {
            for moment in [Moment::Written, Moment::Before, Moment::After] {
                let world = run(after, Some(Cut { direction, frame, moment, how }));
                let (connects, resumes) = world.application(0).connects();
                sessions += connects - resumes - 1;
            }
        }
    }
    assert_eq!(sessions > 100, after == After::Another, "{sessions} sessions could not be continued");
}

#[test]
fn cut_at_every_frame_and_resumed() {
    cut_everywhere(After::Resume, Break::CLEAN);
}

#[test]
fn cut_unnoticed_at_every_frame_and_resumed() {
    cut_everywhere(After::Resume, Break::HALF_OPEN);
}

#[test]
fn cut_at_every_frame_and_begun_again() {
    cut_everywhere(After::Another, Break::CLEAN);
}
