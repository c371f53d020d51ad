//! A client, as the README shows it: `cargo run -p arcp-tokio --example ask`, while the example `serve` runs.

use std::error::Error;

use serde_json::json;

/// Submits a job, follows it, and returns what it found.
pub async fn ask(url: &str) -> Result<String, Box<dyn Error>> {
    let client = arcp_tokio::connect(url).token("demo").await?;
    let mut job = client
        .submit("research")
        .input(&json!({ "topic": "tea" }))
        .lease("tool.call", ["search.*"]) // what it may do …
        .lease("agent.delegate", ["summarise"])
        .budget("USD:1.00") // … and for how much
        .await?;
    while let Some(event) = job.next().await {
        println!("{:?}", event?.body()?); // survives a pulled cable
    }
    let answer: String = job.result().await?;
    client.close().await;
    Ok(answer)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", ask("ws://127.0.0.1:7777/arcp").await?);
    Ok(())
}
