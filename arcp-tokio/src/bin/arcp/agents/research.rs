//! An agent that works under a lease, pays for what it uses, and has a part done by another.

use std::convert::Infallible;

use arcp_driver::{AgentError, DelegationError, Denial, ErrorCode, JobContext, OperationError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{limit, pace, pause};

/// What a search costs.
const SEARCH: &str = "USD:0.06";
/// What is set aside for a summary.
const FOR_A_SUMMARY: &str = "USD:0.05";
/// What a summary costs.
const SUMMARY: &str = "USD:0.03";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    topics: Vec<String>,
    #[serde(default)]
    delay_ms: u64,
}

/// What was found on a topic.
#[derive(Serialize)]
pub(super) struct Found {
    topic: String,
    /// Without one, there was no money left for it.
    summary: Option<String>,
}

/// Looks topics up and has what it finds summarised. It does without what the lease forbids, and returns what it has once
/// the budget is used up.
pub(super) async fn research(
    job: JobContext,
    Ask { topics, delay_ms }: Ask,
) -> Result<Vec<Found>, AgentError> {
    limit("topics", u64::try_from(topics.len()).unwrap_or(u64::MAX), 100)?;
    let pace = pace(delay_ms)?;
    job.thought("the library is free, so it is asked first").await?;
    let mut library = true;
    let mut all = Vec::new();
    for topic in topics {
        pause(&job, pace).await?;
        let Some(page) = page(&job, &topic, &mut library).await? else { break };
        pause(&job, pace).await?;
        let summary = summary(&job, &page).await?;
        let was_last = summary.is_none();
        all.push(Found { topic, summary });
        if was_last {
            break;
        }
    }
    Ok(all)
}

/// A page of the library, or else of the web; `None` if there is no money left to look for one.
async fn page(job: &JobContext, topic: &str, library: &mut bool) -> Result<Option<String>, AgentError> {
    let found = async || Ok::<_, Infallible>(format!("{topic} is grown, traded, prepared and argued about"));
    if *library {
        match job.tool("library.read", &json!({ "topic": topic }), found).await {
            Err(OperationError::Denied(Denial::NotGranted { .. })) => *library = false,
            read => return affordable(read),
        }
        job.info("the library is closed to this job; searching the web").await?;
    }
    let page = affordable(job.tool("search.web", &json!({ "query": topic }), found).await)?;
    if page.is_some() {
        job.cost("cost.search", SEARCH).await?;
    }
    Ok(page)
}

/// What an operation brought; `None` if there was no money left for it. Any other failure ends the job.
fn affordable<T>(done: Result<T, OperationError>) -> Result<Option<T>, AgentError> {
    match done {
        Ok(value) => Ok(Some(value)),
        Err(OperationError::Denied(Denial::Exhausted { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A summary by another agent, with money of its own; `None` if there is not enough left.
async fn summary(job: &JobContext, page: &str) -> Result<Option<String>, AgentError> {
    match job.delegate("summarise@1.0.0").input(page).budget(FOR_A_SUMMARY).await {
        Ok(child) => Ok(Some(child.result().await?)),
        Err(DelegationError::Refused(error))
            if matches!(error.code, ErrorCode::BudgetExhausted | ErrorCode::LeaseSubsetViolation) =>
        {
            job.warn("no money is left for another summary; this is what there is").await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns the beginning of a text, for money.
pub(super) async fn summarise(job: JobContext, text: String) -> Result<String, AgentError> {
    job.status("reading").await?;
    job.cost("cost.model", SUMMARY).await?;
    let words: Vec<&str> = text.split_whitespace().take(5).collect();
    Ok(words.join(" "))
}
