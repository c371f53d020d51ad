//! Jobs as a stream of pages.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::time::Duration;

use arcp_driver::{
    AgentError, ApiMisuse, Client, ClientConfig, ClientError, JobContext, RequestError, Runtime,
    RuntimeBuilder,
};
use arcp_proto::feature::{Feature, Features};
use common::World;
use serde_json::Value;

async fn echo(_: JobContext, input: Value) -> Result<Value, AgentError> {
    Ok(input)
}

async fn wait(job: JobContext, _: Value) -> Result<(), AgentError> {
    job.stopping().await;
    Ok(())
}

fn builder() -> RuntimeBuilder {
    Runtime::builder().agent("echo@1.0.0", echo).agent("wait", wait)
}

/// Runs this many jobs to their end; their ids, newest first.
async fn echoes(client: &Client, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let mut job = client.submit("echo").input(&number).await.unwrap();
        assert_eq!(job.result::<usize>().await.unwrap(), number);
        ids.insert(0, job.id().as_str().to_owned());
    }
    ids
}

fn ids(jobs: &[arcp_driver::JobEntry]) -> Vec<&str> {
    jobs.iter().map(|job| job.job_id.as_str()).collect()
}

#[test]
fn pages_are_fetched_as_they_are_read() {
    let world = World::new();
    let (_runtime, client, switchboard) = world.pair(builder());
    world.run(async move {
        assert!(client.jobs().next().await.is_none());
        let finished = echoes(&client, 7).await;
        let running = client.submit("wait").await.unwrap();
        let all = client.jobs().page_size(3).all().await.unwrap();
        assert_eq!(ids(&all)[0], running.id().as_str());
        assert_eq!(ids(&all)[1..], finished);

        // A page that was on its way when the link was cut is asked for again.
        let mut jobs = client.jobs().page_size(2);
        let mut seen = Vec::new();
        while let Some(job) = jobs.next().await {
            seen.push(job.unwrap());
            switchboard.cut();
        }
        assert_eq!(ids(&seen), ids(&all));
        assert!(jobs.next().await.is_none());
        running.cancel().await.unwrap();
    });
}

#[test]
fn filters_choose() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(builder());
    let clock = world.clone();
    world.run(async move {
        let early = echoes(&client, 2).await;
        clock.sleep(Duration::from_secs(10)).await;
        let between = clock.now().unix;
        clock.sleep(Duration::from_secs(10)).await;
        let running = client.submit("wait").await.unwrap();
        let running = running.id().as_str();
        let jobs = || client.jobs();
        for (jobs, expected) in [
            (jobs().status("running"), vec![running]),
            (jobs().status("success"), vec![&*early[0], &*early[1]]),
            (jobs().status("success").status("running"), vec![running, &*early[0], &*early[1]]),
            (jobs().agent("wait"), vec![running]),
            (jobs().agent("echo@1.0.0"), vec![&*early[0], &*early[1]]),
            (jobs().agent("echo@2.0.0"), vec![]),
            (jobs().created_after(between), vec![running]),
            (jobs().created_before(between).page_size(1), vec![&*early[0], &*early[1]]),
        ] {
            let what = format!("{jobs:?}");
            assert_eq!(ids(&jobs.all().await.unwrap()), expected, "{what}");
        }
        // Another choice begins anew.
        let mut jobs = jobs().page_size(1);
        assert_eq!(jobs.next().await.unwrap().unwrap().job_id.as_str(), running);
        assert_eq!(ids(&jobs.status("running").all().await.unwrap()), [running]);
    });
}

#[test]
fn every_client_of_a_principal_sees_its_jobs_and_no_other_does() {
    let world = World::new();
    let (_runtime, alice, switchboard) = world.pair(builder().bearer("other", "bob"));
    let again = world.client(switchboard.clone());
    let bob = world.client_with(switchboard, ClientConfig::new("other"));
    world.run(async move {
        let finished = echoes(&alice, 3).await;
        assert_eq!(ids(&again.jobs().all().await.unwrap()), finished);
        assert!(bob.jobs().all().await.unwrap().is_empty());
    });
}

#[test]
fn an_error_ends_the_list() {
    let world = World::new();
    let (_runtime, client, switchboard) = world.pair(builder());
    let mut config = ClientConfig::new("token");
    config.features = Features::SUPPORTED.without(Feature::ListJobs);
    let without = world.client_with(switchboard, config);
    world.run(async move {
        let mut jobs = without.jobs();
        let refused = jobs.next().await;
        assert!(
            matches!(refused, Some(Err(ClientError::Request(RequestError::Unsupported("list_jobs"))))),
            "{refused:?}"
        );
        assert!(jobs.next().await.is_none());

        let refused = client.jobs().page_size(0).all().await;
        assert!(matches!(refused, Err(ClientError::Misuse(ApiMisuse::OutOfRange(_)))), "{refused:?}");

        echoes(&client, 2).await;
        let mut jobs = client.jobs().page_size(1);
        jobs.next().await.unwrap().unwrap();
        client.close().await;
        assert!(matches!(jobs.next().await, Some(Err(_))));
        assert!(jobs.next().await.is_none());
    });
}
