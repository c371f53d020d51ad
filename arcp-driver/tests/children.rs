//! Delegated jobs that are followed with the job that was submitted.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arcp_driver::{
    AgentError, Children, Client, ClientConfig, EventBody, Job, JobContext, JobError, JobId, Runtime,
    RuntimeBuilder, SessionEvent,
};
use common::World;

/// What a job says before it ends, and what it delegates in between.
type Plan = (u64, Vec<(u64, u64)>);

/// Says so much, with a child after each step.
async fn family(job: JobContext, (own, children): Plan) -> Result<u64, AgentError> {
    let mut running = Vec::new();
    for (own, grandchildren) in children {
        let plan: Plan = (own, (0..grandchildren).map(|_| (own, 0)).collect());
        running.push(job.delegate("family").input(&plan).lease("agent.delegate", ["family"]).await?);
    }
    for number in 1..=own {
        job.progress(number).of(own).await?;
    }
    for child in running {
        child.result::<u64>().await?;
    }
    Ok(own)
}

fn builder() -> RuntimeBuilder {
    Runtime::builder().agent("family", family)
}

async fn submit(client: &Client, plan: Plan) -> (Job, Children) {
    let submit = client.submit("family").input(&plan).lease("agent.delegate", ["family"]).children();
    let mut job = submit.await.unwrap();
    let children = job.children();
    (job, children)
}

/// The positions of a job's events, which must be all there are, and its result.
async fn positions(job: &mut Job) -> (u64, Result<u64, JobError>) {
    let mut last = 0;
    while let Some(event) = job.next().await {
        let event = event.unwrap();
        if let Some(position) = event.position() {
            assert_eq!(position, last + 1, "{}", job.id());
            last = position;
        }
    }
    (last, job.result().await)
}

/// Reads all children to their ends: the parent of each, its events and its result.
async fn read_all(mut children: Children) -> BTreeMap<JobId, (JobId, u64, u64)> {
    let mut read = BTreeMap::new();
    while let Some(mut child) = children.next().await {
        let parent = child.accepted().parent_job_id.clone().unwrap();
        let (events, result) = positions(&mut child).await;
        read.insert(child.id().clone(), (parent, events, result.unwrap()));
    }
    read
}

#[test]
fn every_event_of_every_child_comes_from_the_first_one() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(builder());
    world.run(async move {
        let (mut job, children) = submit(&client, (3, vec![(5, 2), (0, 0), (7, 1)])).await;
        let id = job.id().clone();
        let (events, result) = positions(&mut job).await;
        assert_eq!((events, result.unwrap()), (6, 3), "three children and three steps");
        let read = read_all(children).await;
        let mut own: Vec<_> =
            read.values().filter(|(parent, ..)| *parent == id).map(|(_, events, _)| *events).collect();
        own.sort_unstable();
        assert_eq!(own, [0, 7, 8], "with what each of them delegates");
        let mut theirs: Vec<_> = read
            .values()
            .filter(|(parent, ..)| *parent != id)
            .map(|(_, events, result)| (*events, *result))
            .collect();
        theirs.sort_unstable();
        assert_eq!(theirs, [(5, 5), (5, 5), (7, 7)]);
        assert!(read.values().all(|(parent, ..)| *parent == id || read.contains_key(parent)));
    });
}

#[test]
fn a_cut_link_loses_and_doubles_nothing_of_children() {
    let world = World::new();
    let (_runtime, client, switchboard) = world.pair(builder());
    let mut events = client.events();
    let heard = world.run({
        let world = world.clone();
        async move {
            let (mut job, mut children) = submit(&client, (3_000, vec![(3_000, 1), (3_000, 0)])).await;
            let ended = Arc::new(AtomicUsize::new(0));
            // All are read at once, so that each cut finds all of them on their way.
            let readers = world.clone();
            let counter = ended.clone();
            world.spawn(async move {
                while let Some(mut child) = children.next().await {
                    let (ended, switchboard) = (counter.clone(), switchboard.clone());
                    readers.spawn(async move {
                        let mut last = 0;
                        while let Some(event) = child.next().await {
                            let Some(position) = event.unwrap().position() else { continue };
                            assert_eq!(position, last + 1);
                            last = position;
                            if position % 500 == 0 {
                                switchboard.cut();
                            }
                        }
                        assert_eq!(child.result::<u64>().await.unwrap(), 3_000);
                        ended.fetch_add(1, Ordering::SeqCst);
                    });
                }
                counter.fetch_add(100, Ordering::SeqCst);
            });
            let (last, result) = positions(&mut job).await;
            assert_eq!((last, result.unwrap()), (3_002, 3_000));
            world.settle().await;
            assert_eq!(ended.load(Ordering::SeqCst), 103);
            client.close().await;
            let mut resumed = 0;
            while let Some(event) = events.next().await {
                if let SessionEvent::Connected(connected) = event {
                    resumed += usize::from(connected.resumed);
                }
            }
            resumed
        }
    });
    assert!(heard >= 4, "{heard}");
}

#[test]
fn a_link_that_is_cut_again_and_again_loses_no_child() {
    let world = World::new();
    let (_runtime, client, switchboard) = world.pair(builder());
    world.run({
        let world = world.clone();
        async move {
            for _ in 0..20 {
                let (mut job, children) = submit(&client, (1, vec![(1, 1); 10])).await;
                switchboard.cut();
                world.settle().await;
                switchboard.cut();
                let (events, result) = positions(&mut job).await;
                assert_eq!((events, result.unwrap()), (11, 1));
                assert_eq!(read_all(children).await.len(), 20);
            }
        }
    });
}

#[test]
fn another_session_brings_the_children_along() {
    let world = World::new();
    let time = world.clone();
    let builder = Runtime::builder()
        .config(|config| config.resume_window = Duration::from_secs(5))
        .agent("parent", |job: JobContext, (): ()| async move {
            let children = [job.delegate("slow").input(&1).await?, job.delegate("slow").input(&20).await?];
            for child in children {
                child.result::<u64>().await?;
            }
            // Born and gone while nobody is there.
            job.delegate("slow").input(&2).await?.result::<u64>().await?;
            Ok::<_, AgentError>(())
        })
        .agent("slow", move |job: JobContext, steps: u64| {
            let time = time.clone();
            async move {
                for number in 1..=steps {
                    time.sleep(Duration::from_secs(1)).await;
                    job.metric("number", number).await?;
                }
                Ok::<_, AgentError>(steps)
            }
        });
    let (_runtime, client, switchboard) = world.pair(builder);
    let time = world.clone();
    world.run(async move {
        let session = client.connected().await.unwrap().session_id.clone();
        let mut job = client.submit("parent").lease("agent.delegate", ["slow"]).children().await.unwrap();
        let children = job.children();
        time.sleep(Duration::from_millis(500)).await;
        switchboard.set_down(true);
        switchboard.cut();
        time.sleep(Duration::from_secs(40)).await;
        switchboard.set_down(false);
        client.reconnect_now();
        let (events, result) = positions(&mut job).await;
        assert_eq!(events, 3);
        result.unwrap_err();
        assert_ne!(client.session_id(), Some(session));
        let mut results: Vec<_> =
            read_all(children).await.into_values().map(|(_, events, result)| (events, result)).collect();
        results.sort_unstable();
        assert_eq!(results, [(1, 1), (2, 2), (20, 20)]);
    });
}

/// A child that says a hundred lines every millisecond until it is stopped, and counts them.
fn flood(world: &World, said: Arc<AtomicUsize>) -> RuntimeBuilder {
    let world = world.clone();
    builder()
        .agent("parent", |job: JobContext, (): ()| async move {
            let _flood = job.delegate("flood").await?;
            job.delegate("family").input::<Plan>(&(1_000, vec![])).await?.result::<u64>().await?;
            Ok::<_, AgentError>("done")
        })
        .agent("waits", |job: JobContext, (): ()| async move {
            let _flood = job.delegate("flood").await?;
            job.stopping().await;
            Ok::<_, AgentError>(())
        })
        .agent("flood", move |job: JobContext, (): ()| {
            let (said, world) = (said.clone(), world.clone());
            async move {
                while job.info("a line that nobody reads").await.is_ok() {
                    if said.fetch_add(1, Ordering::Relaxed) % 100 == 0 {
                        world.sleep(Duration::from_millis(1)).await;
                    }
                }
                Ok::<_, AgentError>(())
            }
        })
}

#[test]
fn children_that_nobody_takes_hold_neither_a_result_nor_the_session() {
    let world = World::new();
    let runtime = world.runtime(flood(&world, Arc::default()));
    let client = world.client_with(world.switchboard(&runtime), {
        let mut config = ClientConfig::new("token");
        config.untaken_events = 200;
        config
    });
    let time = world.clone();
    world.run(async move {
        let submit = || client.submit("parent").lease("agent.delegate", ["flood", "family"]).children();
        // They go while the result is waited for,
        let mut job = submit().await.unwrap();
        time.sleep(Duration::from_secs(1)).await;
        assert_eq!(job.result::<String>().await.unwrap(), "done");
        assert!(job.children().next().await.is_none());
        // with the handle of the job,
        let job = submit().await.unwrap();
        time.sleep(Duration::from_secs(1)).await;
        drop(job);
        assert_eq!(
            client.submit("parent").await.unwrap_or_else(|error| panic!("{error}")).id().as_str().len(),
            30
        );
        // with their own stream, and one by one.
        let mut job = submit().await.unwrap();
        let mut children = job.children();
        let mut first = children.next().await.unwrap();
        first.next().await.unwrap().unwrap();
        time.sleep(Duration::from_secs(1)).await;
        drop(children);
        drop(first);
        assert_eq!(job.result::<String>().await.unwrap(), "done");
        drop(runtime);
    });
}

#[test]
fn a_child_that_is_not_read_holds_its_agent() {
    let world = World::new();
    let said = Arc::new(AtomicUsize::new(0));
    let runtime = world.runtime(flood(&world, said.clone()));
    let client = world.client_with(world.switchboard(&runtime), {
        let mut config = ClientConfig::new("token");
        config.untaken_events = 500;
        config
    });
    let time = world.clone();
    world.run(async move {
        let submit = client.submit("waits").lease("agent.delegate", ["flood"]).children();
        let mut job = submit.await.unwrap();
        let mut children = job.children();
        time.sleep(Duration::from_secs(10)).await;
        let before = said.load(Ordering::Relaxed);
        time.sleep(Duration::from_secs(10)).await;
        assert_eq!(said.load(Ordering::Relaxed), before, "the agent waits");
        let mut child = children.next().await.unwrap();
        for position in 1..=u64::try_from(before).unwrap() {
            // The runtime's words about this session have none.
            let read = loop {
                if let Some(read) = child.next().await.unwrap().unwrap().position() {
                    break read;
                }
            };
            assert_eq!(read, position);
        }
        time.sleep(Duration::from_secs(1)).await;
        assert!(said.load(Ordering::Relaxed) > before, "and goes on");
        drop(runtime);
    });
}

#[test]
fn children_have_leases_and_can_be_cancelled_and_end_with_their_parent() {
    let world = World::new();
    let waits = |job: JobContext, (): ()| async move {
        job.stopping().await;
        Ok::<_, AgentError>(())
    };
    let builder =
        Runtime::builder().agent("waits", waits).agent("parent", |job: JobContext, (): ()| async move {
            let first = job.delegate("waits").lease("tool.call", ["search.web"]).await?;
            let _second = job.delegate("waits").await?;
            let _ = first.result::<()>().await;
            Ok::<_, AgentError>(())
        });
    let (_runtime, client, _) = world.pair(builder);
    world.run(async move {
        let submit = client
            .submit("parent")
            .lease("agent.delegate", ["waits"])
            .lease("tool.call", ["search.*"])
            .children();
        let mut job = submit.await.unwrap();
        let mut children = job.children();
        let (mut first, mut second) = (children.next().await.unwrap(), children.next().await.unwrap());
        assert_eq!(first.lease().patterns("tool.call"), ["search.web"]);
        assert_eq!(first.accepted().agent.as_deref(), Some("waits"));
        first.cancel().await.unwrap();
        for child in [&mut first, &mut second] {
            assert!(matches!(child.result::<()>().await, Err(JobError::Failed { .. })));
        }
        job.result::<()>().await.unwrap();
        assert!(children.next().await.is_none());
    });
}

#[test]
fn without_the_option_there_are_none() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(builder());
    world.run(async move {
        let plan: Plan = (1, vec![(3, 1)]);
        let mut job = client.submit("family").input(&plan).lease("agent.delegate", ["family"]).await.unwrap();
        assert!(job.children().next().await.is_none());
        let mut delegated = 0;
        while let Some(event) = job.next().await {
            delegated += usize::from(matches!(event.unwrap().body().unwrap(), EventBody::Delegate { .. }));
        }
        assert_eq!(delegated, 1);
        client.close().await;
    });
}

#[test]
fn children_end_with_their_session() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(flood(&world, Arc::default()));
    world.run(async move {
        let submit = client.submit("parent").lease("agent.delegate", ["flood", "family"]).children();
        let mut job = submit.await.unwrap();
        let mut children = job.children();
        let mut child = children.next().await.unwrap();
        client.close().await;
        while children.next().await.is_some() {}
        while let Some(event) = child.next().await {
            if let Err(error) = event {
                assert!(matches!(error, JobError::Closed(_)));
            }
        }
    });
    world.run_until_stalled();
}
