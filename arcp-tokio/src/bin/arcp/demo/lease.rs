//! The last part of the demo: a job that may do this and not that, has money, and has a part done by another.

use arcp_driver::{Amount, ErrorCode, EventBody, Job};
use serde_json::{Value, json};

use super::scenes::{PACE_MS, in_order};
use super::stage::Stage;
use crate::describe::{self, REMAINING};
use crate::failure::Failure;
use crate::text::count;
use crate::timeline::Tone;

/// Enough for two searches and a summary, to the cent.
const BUDGET: &str = "0.15";

/// A job under a lease, until its budget is used up.
pub(super) async fn research(stage: &mut Stage) -> Result<(), Failure> {
    stage.heading("4  A research under a lease, with a helper, until the money is gone")?;
    let mut job = submit(stage).await?;
    let (events, output) = stage.follow(&mut job).await?;
    stage.findings.expect("every event of the research, once and in order", in_order(&events));
    let told: Vec<EventBody> = events.iter().filter_map(|event| event.body().ok()).collect();

    let refused = |wanted: ErrorCode| {
        let is_it = |body: &&EventBody| match body {
            EventBody::ToolResult { result: Err(failure), .. } => failure.code == wanted.as_str(),
            _ => false,
        };
        u64::try_from(told.iter().filter(is_it).count()).unwrap_or(u64::MAX)
    };
    let (outside, unpaid) = (refused(ErrorCode::PermissionDenied), refused(ErrorCode::BudgetExhausted));
    stage.findings.expect("a call outside the lease, refused", outside == 1);
    stage.findings.expect("something refused for want of money", unpaid == 1);

    let delegations = told.iter().filter(|body| matches!(body, EventBody::Delegate { .. })).count();
    let runs = stage.runs("summarise@1.0.0");
    stage.findings.expect("a delegated job, and a second one refused", delegations == 2 && runs == 1);

    let (own, helpers, left) = (spent(&told), spent(&stage.delegated), left(&told));
    let budget = Amount::parse(BUDGET);
    let sum = own.zip(helpers).and_then(|(own, helpers)| own.checked_add(helpers));
    let accounted = sum.zip(left).and_then(|(sum, left)| sum.checked_add(left));
    stage.findings.expect("a budget used up", left.is_some_and(|left| !left.is_positive()));
    stage.findings.expect("every cent accounted for", accounted.is_some() && accounted == budget);

    let found: Value = output
        .and_then(|output| output.decode())
        .map_err(|error| Failure::error(describe::job_error(&error)))?;
    let summaries: Vec<bool> =
        found.as_array().into_iter().flatten().map(|found| found["summary"].is_string()).collect();
    stage.findings.expect("a research that goes on with what it has", summaries == [true, false]);
    let amount = |amount: Option<Amount>| amount.map_or_else(|| "?".into(), |amount| amount.to_string());
    let text = format!(
        "{} of {BUDGET} USD spent, {} of it by {}; refused: {} outside the lease, {} without money",
        amount(sum),
        amount(helpers),
        count(runs, "helper"),
        count(outside, "call"),
        count(unpaid, "delegation"),
    );
    Ok(stage.timeline.line(None, Tone::Good, "success", &text)?)
}

async fn submit(stage: &Stage) -> Result<Job, Failure> {
    let submit = stage
        .client
        .submit("research")
        .input(&json!({ "topics": ["tea", "coffee", "cocoa"], "delay_ms": PACE_MS }))
        .lease("tool.call", ["search.*"])
        .lease("agent.delegate", ["summarise"])
        .budget(format!("USD:{BUDGET}"));
    let job = submit.await.map_err(|error| Failure::error(describe::client_error(&error)))?;
    stage.accepted(&job)?;
    Ok(job)
}

/// What these events say was paid; `None` if they say it in no way that can be read.
fn spent(told: &[EventBody]) -> Option<Amount> {
    let amounts = told.iter().filter_map(|body| match body {
        EventBody::Metric { name, value, .. } if name.starts_with("cost.") && name != REMAINING => {
            Some(Amount::parse(value.as_str()))
        }
        _ => None,
    });
    amounts.into_iter().try_fold(Amount::ZERO, |sum, amount| sum.checked_add(amount?))
}

/// What is left in the end; `None` if nothing was said of it.
fn left(told: &[EventBody]) -> Option<Amount> {
    told.iter().rev().find_map(|body| match body {
        EventBody::Metric { name, value, .. } if name == REMAINING => {
            let text = value.as_str();
            match text.strip_prefix('-') {
                Some(owed) => Amount::ZERO.checked_sub(Amount::parse(owed)?),
                None => Amount::parse(text),
            }
        }
        _ => None,
    })
}
