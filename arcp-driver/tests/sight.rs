//! Who sees what of a runtime, as its builder is told and as its clients notice.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arcp_driver::{
    Access, AgentError, Client, ClientConfig, ClientError, Decision, JobContext, RequestError, Runtime,
    RuntimeBuilder, RuntimeEvent, Sight,
};
use common::World;
use serde_json::Value;

async fn echo(_: JobContext, input: Value) -> Result<Value, AgentError> {
    Ok(input)
}

async fn count(job: JobContext, to: u64) -> Result<u64, AgentError> {
    for number in 1..=to {
        job.info(&number.to_string()).await?;
    }
    job.stopping().await;
    Ok(to)
}

fn builder() -> RuntimeBuilder {
    Runtime::builder()
        .bearer("auditor's", "auditor")
        .bearer("bob's", "bob")
        .agent("echo@1.0.0", echo)
        .agent("echo@2.0.0", echo)
        .agent("count", count)
}

fn refusal(error: ClientError) -> String {
    match error {
        ClientError::Request(RequestError::Refused(error)) => error.code,
        other => panic!("{other}"),
    }
}

#[test]
fn an_auditor_lists_and_follows_what_others_may_not_know_of() {
    let world = World::new();
    let rule = |viewer: &str, job: &arcp_driver::ObservedJob<'_>| match viewer {
        "auditor" if job.agent.name() == "count" => Sight::Follow,
        "auditor" => Sight::List,
        _ => Sight::Nothing,
    };
    let (_runtime, alice, switchboard) = world.pair(builder().observe(rule));
    let auditor = world.client_with(switchboard.clone(), ClientConfig::new("auditor's"));
    let bob = world.client_with(switchboard, ClientConfig::new("bob's"));
    world.run(async move {
        let mut echoed = alice.submit("echo").input("secret").await.unwrap();
        let _: String = echoed.result().await.unwrap();
        let mut counting = alice.submit("count").input(&3).await.unwrap();
        for _ in 0..3 {
            counting.next().await.unwrap().unwrap();
        }

        let seen = auditor.jobs().all().await.unwrap();
        let ids: Vec<_> = seen.iter().map(|job| &job.job_id).collect();
        assert_eq!(ids, [counting.id(), echoed.id()]);
        let mut watch = auditor.watch(counting.id()).history().await.unwrap();
        for position in 1..=3 {
            assert_eq!(watch.next().await.unwrap().unwrap().position(), Some(position));
        }
        let again = auditor.watch(counting.id()).after(2).await.unwrap();
        assert_eq!(again.id(), counting.id());
        assert_eq!(refusal(auditor.watch(echoed.id()).await.unwrap_err()), "PERMISSION_DENIED");
        assert_eq!(refusal(auditor.cancel(counting.id()).await.unwrap_err()), "PERMISSION_DENIED");

        assert!(bob.jobs().all().await.unwrap().is_empty());
        for job in [counting.id(), echoed.id()] {
            assert_eq!(refusal(bob.watch(job).await.unwrap_err()), "JOB_NOT_FOUND");
            assert_eq!(refusal(bob.cancel(job).await.unwrap_err()), "JOB_NOT_FOUND");
        }
        counting.cancel().await.unwrap();
        assert!(watch.output().await.is_err(), "the end is for observers too");
    });
}

#[test]
fn a_rule_that_changes_its_mind_ends_what_it_allowed() {
    let world = World::new();
    let allowed = Arc::new(AtomicBool::new(true));
    let answer = allowed.clone();
    let ended = Arc::new(Mutex::new(Vec::new()));
    let log = ended.clone();
    let builder = builder()
        .observe(move |_, _| if answer.load(Ordering::Relaxed) { Sight::Follow } else { Sight::Nothing })
        .observer(move |event| {
            if let RuntimeEvent::Access { access: Access::Follow, principal, decision, .. } = event {
                log.lock().unwrap().push((principal.to_string(), *decision));
            }
        });
    let (runtime, alice, switchboard) = world.pair(builder);
    let bob = world.client_with(switchboard, ClientConfig::new("bob's"));
    let clock = world.clone();
    world.run(async move {
        let mut job = alice.submit("count").input(&2).await.unwrap();
        let mut watch = bob.watch(job.id()).history().await.unwrap();
        for _ in 0..2 {
            watch.next().await.unwrap().unwrap();
        }
        allowed.store(false, Ordering::Relaxed);
        runtime.policy_changed();
        clock.settle().await;
        assert_eq!(*ended.lock().unwrap(), [("bob".to_string(), Decision::Hidden)]);
        assert_eq!(refusal(bob.watch(job.id()).await.unwrap_err()), "JOB_NOT_FOUND");
        job.cancel().await.unwrap();
        assert!(job.output().await.is_err());
    });
}

async fn names(client: &Client) -> Vec<String> {
    client.agents().await.unwrap().iter().map(|(name, _)| name.clone()).collect()
}

#[test]
fn agents_are_offered_to_whom_they_are_meant_for() {
    let world = World::new();
    let builder = builder().offer(|principal, agent| agent != "count" || principal == "alice");
    let (_runtime, alice, switchboard) = world.pair(builder);
    let bob = world.client_with(switchboard, ClientConfig::new("bob's"));
    world.run(async move {
        assert_eq!(names(&alice).await, ["count", "echo"]);
        assert_eq!(names(&bob).await, ["echo"]);
        let echo = &alice.agents().await.unwrap()[1].1;
        assert_eq!(
            (&echo.versions[..], echo.default.as_deref()),
            (&["1.0.0".into(), "2.0.0".into()][..], Some("2.0.0"))
        );
        assert_eq!(refusal(bob.submit("count").input(&1).await.unwrap_err()), "AGENT_NOT_AVAILABLE");
        assert!(bob.submit("echo").await.is_ok());
        // An offer says nothing about whose jobs are seen.
        assert_eq!(alice.jobs().all().await.unwrap().len(), 0);
        alice.close().await;
        assert!(matches!(alice.agents().await, Err(ClientError::Closed(_))));
    });
}

#[test]
fn a_rule_that_panics_has_said_no() {
    let world = World::new();
    let builder = builder()
        .observe(|_, _| panic!("the rule is broken"))
        .offer(|_, agent| if agent == "count" { panic!("the rule is broken") } else { true });
    let (_runtime, alice, switchboard) = world.pair(builder);
    let bob = world.client_with(switchboard, ClientConfig::new("bob's"));
    world.run(async move {
        assert_eq!(names(&alice).await, ["echo"]);
        let job = alice.submit("echo").await.unwrap();
        assert!(bob.jobs().all().await.unwrap().is_empty());
        assert_eq!(refusal(bob.watch(job.id()).await.unwrap_err()), "JOB_NOT_FOUND");
        assert_eq!(refusal(alice.submit("count").input(&1).await.unwrap_err()), "AGENT_NOT_AVAILABLE");
    });
}
