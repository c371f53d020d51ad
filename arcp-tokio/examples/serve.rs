//! A runtime with three agents, as the README shows it: `cargo run -p arcp-tokio --example serve`, then the example `ask`.

use arcp_driver::{AgentError, BuildError, JobContext, Runtime};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Serialize, Deserialize)]
struct Ask {
    topic: String,
}

async fn research(job: JobContext, ask: Ask) -> Result<String, AgentError> {
    job.progress(1).of(2).units("steps").await?;
    let page: String = job.tool("search.web", &ask, || search(&ask)).await?; // lease check → tool_call → tool_result
    job.cost("cost.search", "USD:0.01").await?;
    job.progress(2).of(2).units("steps").await?;
    Ok(job.delegate("summarise@1.0.0").input(&page).budget("USD:0.10").await?.result().await?)
}

async fn search(ask: &Ask) -> std::io::Result<String> {
    Ok(format!("All there is to know about {}. And more.", ask.topic))
}

async fn summarise(job: JobContext, page: String) -> Result<String, AgentError> {
    job.cost("cost.model", "USD:0.02").await?;
    Ok(page.split_inclusive('.').take(1).collect())
}

/// Alice's agents.
pub fn runtime() -> Result<Runtime, BuildError> {
    Runtime::builder()
        .bearer("demo", "alice")
        .agent("echo@1.0.0", |_job: JobContext, input: Value| async move { Ok(input) })
        .agent("summarise@1.0.0", summarise) // any async fn(JobContext, In) -> Result<Out, AgentError>
        .agent("research@1.0.0", research)
        .build()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    arcp_tokio::serve(runtime()?, "127.0.0.1:7777").await?;
    Ok(())
}
