//! The worked example of `docs/simulation.md`, as it stands there.

use std::error::Error;
use std::time::Duration;

use arcp_driver::testing::{Simulation, World, for_seeds};
use arcp_driver::{AgentError, ApiMisuse, Client, Job, JobContext, Runtime, RuntimeBuilder};
use serde_json::json;

/// Looks up prices, a second and a cent each, and has another agent say what they mean.
async fn shop(job: JobContext, goods: Vec<String>) -> Result<String, AgentError> {
    let mut prices = Vec::new();
    for (good, number) in goods.iter().zip(1..) {
        let args = json!({ "good": good });
        prices.push(job.tool("prices.look_up", &args, || look_up(&job, good)).await?);
        job.cost("cost.prices", "USD:0.01").await?;
        job.progress(number).of(goods.len() as u64).await?;
    }
    Ok(job.delegate("advise").input(&prices).budget("USD:0.50").await?.result().await?)
}

async fn look_up(job: &JobContext, good: &str) -> Result<usize, ApiMisuse> {
    job.sleep(Duration::from_secs(1)).await?;
    Ok(good.len())
}

async fn advise(job: JobContext, prices: Vec<usize>) -> Result<String, AgentError> {
    job.cost("cost.model", "USD:0.20").await?;
    job.sleep(Duration::from_secs(5)).await?;
    Ok(format!("{} in all", prices.iter().sum::<usize>()))
}

fn agents(_: &World) -> RuntimeBuilder {
    Runtime::builder().bearer("alice's token", "alice").agent("advise", advise).agent("shop", shop)
}

async fn submit(client: &Client) -> Result<Job, Box<dyn Error>> {
    let job = client
        .submit("shop")
        .key("shopping of today")
        .input(&["tea", "rice", "salt"])
        .lease("tool.call", ["prices.*"])
        .lease("agent.delegate", ["advise"])
        .budget("USD:1.00")
        .await?;
    Ok(job)
}

#[test]
fn a_cable_may_be_pulled_behind_any_event() {
    for events in 0..25 {
        let outcome = Simulation::seeded(events).runtime(agents).run(async |world| {
            let client = world.connect("alice's token");
            let mut job = submit(&client).await?;
            world.link(&client).cut_after_events(events);
            let mut position = 0;
            while let Some(event) = job.next().await {
                position += 1;
                assert_eq!(event?.position(), Some(position)); // nothing is missing, nothing comes twice
            }
            assert_eq!(job.result::<String>().await?, "11 in all");
            Ok(())
        });
        outcome.unwrap();
    }
}

#[test]
fn nobody_shops_twice() {
    for_seeds(0..50, |simulation| {
        let outcome = simulation.runtime(agents).store_delay(Duration::ZERO..Duration::from_millis(20)).run(
            async |world| {
                let client = world.connect("alice's token");
                world.link(&client).cut_every(4..15);
                let mut job = submit(&client).await?;
                world.sleep(Duration::from_millis(world.draw(0..9_000))).await;
                world.crash_runtime();
                world.sleep(Duration::from_secs(world.draw(0..30))).await;
                world.restart_runtime();
                let _ = job.result::<String>().await; // done before the crash, or interrupted by it
                Ok(submit(&client).await?.id() == job.id())
            },
        );
        let runs = outcome.trace().arrived("job.accepted").filter(|frame| frame.payload()["agent"] == "shop");
        let mut jobs: Vec<_> = runs.filter_map(|frame| frame.job_id()).collect();
        jobs.dedup();
        assert_eq!(jobs.len(), 1);
        assert!(outcome.unwrap(), "the key of a job that was accepted names it after a crash, too");
    });
}

#[test]
fn a_lease_ends_by_the_clock_of_the_runtime() {
    let outcome = Simulation::seeded(1).runtime(agents).run(async |world| {
        let client = world.connect("alice's token");
        let mut job = client
            .submit("shop")
            .input(&["tea", "rice"])
            .lease("tool.call", ["prices.*"])
            .expires_in(Duration::from_secs(3_600))
            .await?;
        world.sleep(Duration::from_millis(500)).await;
        world.runtime_clock().forward(Duration::from_secs(2 * 3_600));
        let error = job.result::<String>().await.unwrap_err();
        assert!(error.to_string().contains("LEASE_EXPIRED"), "{error}");
        Ok(())
    });
    assert!(outcome.elapsed() < Duration::from_secs(2));
    outcome.unwrap();
}

#[test]
fn the_guide_shows_this_file() {
    const GUIDE: &str = include_str!("../../docs/simulation.md");
    let shown = GUIDE.split("```rust,ignore\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut pieces = 0;
    for piece in shown {
        assert!(
            include_str!("virtual_time.rs").contains(piece),
            "the guide shows another version of:\n{piece}"
        );
        pieces += 1;
    }
    assert_eq!(pieces, 4);
}
