//! Leases as an application asks for them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::time::Duration;

use arcp_driver::{
    AgentError, Amount, ApiMisuse, ClientConfig, ClientError, JobContext, RequestError, Runtime,
    RuntimeBuilder,
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

#[test]
fn what_was_granted_is_what_was_asked_for_unless_the_runtime_says_less() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(builder());
    let clock = world.clone();
    world.run(async move {
        let now = clock.now().unix;
        let ask = || {
            let submit = client.submit("echo").key("k").lease("tool.call", ["search.*"]);
            submit
                .lease("tool.call", ["mail"])
                .lease("model.use", ["fast/*"])
                .budget("USD:1.50")
                .budget("EUR:2")
        };
        let job = ask().expires_at(now.after(Duration::from_secs(60))).await.unwrap();
        let lease = job.lease();
        assert_eq!(lease.patterns("tool.call"), ["search.*", "mail"]);
        assert_eq!(lease.patterns("model.use"), ["fast/*"]);
        assert!(lease.patterns("fs.read").is_empty());
        assert_eq!((lease.budget("USD"), lease.budget("EUR")), (Amount::parse("1.5"), Amount::parse("2")));
        assert_eq!(lease.budget("GBP"), None);
        assert_eq!(lease.expires_at(), Some(now.after(Duration::from_secs(60))));

        // The same again is the same job, counted from now it is another submit.
        let again = ask().expires_at(now.after(Duration::from_secs(60))).await.unwrap();
        assert_eq!((again.id(), again.lease()), (job.id(), job.lease()));
        clock.sleep(Duration::from_secs(1)).await;
        let refused = ask().expires_in(Duration::from_secs(60)).await.unwrap_err();
        assert!(refused.to_string().contains("DUPLICATE_KEY"), "{refused}");

        let watch = client.watch(job.id()).await.unwrap();
        assert_eq!(watch.lease().patterns("tool.call"), lease.patterns("tool.call"));
        assert_eq!(watch.lease().expires_at(), lease.expires_at());
    });
}

#[test]
fn an_end_that_has_passed_is_refused_by_the_runtime() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(builder());
    let clock = world.clone();
    world.run(async move {
        let past = clock.now().unix;
        clock.sleep(Duration::from_secs(10)).await;
        let refused = client.submit("echo").expires_at(past).await.unwrap_err();
        let ClientError::Request(RequestError::Refused(error)) = refused else { panic!("{refused}") };
        assert_eq!(error.code, "INVALID_REQUEST");
        assert!(error.message.contains("in the future"), "{error}");
    });
}
