//! Leases as an application asks for them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::time::Duration;

use arcp_driver::{
    AgentError, ApiMisuse, ClientConfig, ClientError, JobContext, RequestError, Runtime, RuntimeBuilder,
};
use arcp_proto::feature::{Feature, Features};
use common::World;
use serde_json::Value;

fn builder() -> RuntimeBuilder {
    Runtime::builder().agent("echo", |_: JobContext, input: Value| async move { Ok::<_, AgentError>(input) })
}

#[test]
fn a_job_without_a_lease_may_do_nothing_and_is_not_limited() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(builder());
    world.run(async move {
        let job = client.submit("echo").await.unwrap();
        assert_eq!(job.lease().namespaces().count(), 0);
        assert_eq!(job.lease().budgets().count(), 0);
        assert_eq!(job.lease().expires_at(), None);
        let watch = client.subscribe(job.id()).await.unwrap();
        assert_eq!(watch.lease(), job.lease());
    });
}

#[test]
fn a_session_without_the_feature_refuses_the_submit_here() {
    let world = World::new();
    let (_runtime, _, switchboard) = world.pair(builder());
    let mut config = ClientConfig::new("token");
    config.features = Features::SUPPORTED.without(Feature::CostBudget).without(Feature::LeaseExpiresAt);
    let client = world.client_with(switchboard, config);
    world.run(async move {
        let refused = client.submit("echo").budget("USD:1.00").await.unwrap_err();
        assert!(
            matches!(refused, ClientError::Request(RequestError::Unsupported("cost.budget"))),
            "{refused}"
        );
        let refused = client.submit("echo").expires_in(Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(refused.to_string(), "the runtime does not know `lease_expires_at`");
    });
}

#[test]
fn a_lease_that_none_would_take_is_told_at_once() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(builder());
    world.run(async move {
        let refused = client.submit("echo").lease("fs.read", ["../secret"]).await.unwrap_err();
        assert!(matches!(refused, ClientError::Misuse(ApiMisuse::OutOfRange(_))), "{refused}");
        assert!(refused.to_string().contains("`lease_request.fs.read[0]`"), "{refused}");
    });
}
