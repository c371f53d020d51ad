//! The first three parts of the demo, and what each must show.

use arcp_driver::{EventKind, FinalStatus, Job, JobError, JobEvent, JobOutput};
use serde_json::json;

use super::stage::Stage;
use crate::agents::report_text;
use crate::describe;
use crate::failure::Failure;
use crate::text::count;
use crate::timeline::Tone;

/// Length and pace of the report: long enough for a human to follow.
const SECTIONS: u64 = 8;
pub(super) const PACE_MS: u64 = 75;

/// A long job whose connection is cut in the middle.
pub(super) async fn report(stage: &mut Stage) -> Result<(), Failure> {
    stage.heading("1  A report, streamed; the connection breaks on the way")?;
    let input = json!({ "sections": SECTIONS, "delay_ms": PACE_MS });
    let mut job = submit(stage, "report", &input, None).await?;
    let (events, output) = stage.follow(&mut job).await?;

    let kinds = [EventKind::Progress, EventKind::Log, EventKind::Metric, EventKind::ResultChunk];
    for kind in kinds {
        let seen = events.iter().any(|event| *event.kind() == kind);
        stage.findings.expect(format!("events of kind {kind}"), seen);
    }
    stage.findings.expect("every event of the report, once and in order", in_order(&events));
    let resumed = stage.findings.resumes > 0;
    stage.findings.expect("a resume before the report was done", resumed);
    match output {
        Ok(JobOutput::Text(text)) => {
            let whole = *text == *report_text(SECTIONS);
            stage.findings.expect("the report's text as the agent wrote it", whole);
            let size = count(u64::try_from(text.len()).unwrap_or(u64::MAX), "byte");
            let verdict = if whole { "exactly what the agent wrote" } else { "NOT what the agent wrote" };
            stage.timeline.line(
                None,
                Tone::Good,
                "success",
                &format!("{size} of text put together: {verdict}"),
            )?;
            Ok(())
        }
        Ok(_) => Err(Failure::error("the report came in one piece")),
        Err(error) => Err(Failure::error(describe::job_error(&error))),
    }
}

/// A job that is cancelled.
pub(super) async fn cancel(stage: &mut Stage) -> Result<(), Failure> {
    stage.heading("2  A sleeper, cancelled")?;
    let mut job = submit(stage, "sleep", &json!({ "seconds": 3_600 }), None).await?;
    let sleeping = stage.next(&mut job).await?.is_some();
    stage.findings.expect("a sleeper at work", sleeping);
    let cancelled = job
        .cancel()
        .reason("the demo has seen enough")
        .await
        .map_err(|error| Failure::error(describe::client_error(&error)))?;
    let honoured = cancelled.current_status.is_none();
    stage.findings.expect("an honoured cancel", honoured);
    stage.timeline.line(None, Tone::Odd, "cancel", "asked for and acknowledged")?;

    let (_, output) = stage.follow(&mut job).await?;
    let status = match &output {
        Err(JobError::Failed { status, .. }) => *status,
        _ => FinalStatus::Success,
    };
    stage.findings.expect("a job that ends as cancelled", status == FinalStatus::Cancelled);
    Ok(stage.timeline.line(None, Tone::Odd, status.as_str(), "the sleeper woke up and left")?)
}

/// A job that is submitted twice and runs once.
pub(super) async fn retry(stage: &mut Stage) -> Result<(), Failure> {
    stage.heading("3  A count, submitted twice with one key")?;
    let input = json!({ "to": 5, "delay_ms": PACE_MS });
    let key = "demo-count";
    let (first, value) = counted(stage, &input, key).await?;
    stage.timeline.line(None, Tone::Plain, "client", "asks again, as if the answer had been lost")?;
    let (second, again) = counted(stage, &input, key).await?;

    let runs = stage.runs("count@1.0.0");
    stage.findings.expect("the same job for the same key", first == second);
    stage.findings.expect("the same result for the same key", value == again && value == 5);
    stage.findings.expect("an agent that ran once for two submits", runs == 1);
    let text = if first == second { "the same job, the same result" } else { "NOT the same job" };
    let text =
        format!("{text}; the agent ran {}", if runs == 1 { "once".into() } else { count(runs, "time") });
    Ok(stage.timeline.line(None, Tone::Good, "success", &text)?)
}

async fn counted(stage: &mut Stage, input: &serde_json::Value, key: &str) -> Result<(String, u64), Failure> {
    let mut job = submit(stage, "count", input, Some(key)).await?;
    let (events, output) = stage.follow(&mut job).await?;
    stage
        .findings
        .expect("every event of the count, once and in order", in_order(&events) && events.len() == 5);
    let value = output.and_then(|output| output.decode::<u64>());
    let value = value.map_err(|error| Failure::error(describe::job_error(&error)))?;
    stage.timeline.line(None, Tone::Good, "result", &value.to_string())?;
    Ok((job.id().as_str().to_owned(), value))
}

pub(super) async fn submit(
    stage: &Stage,
    agent: &str,
    input: &serde_json::Value,
    key: Option<&str>,
) -> Result<Job, Failure> {
    let mut submit = stage.client.submit(agent).input(input);
    if let Some(key) = key {
        submit = submit.key(key);
    }
    let job = submit.await.map_err(|error| Failure::error(describe::client_error(&error)))?;
    stage.accepted(&job)?;
    Ok(job)
}

/// Whether these are the first events of a job, each once.
pub(super) fn in_order(events: &[JobEvent]) -> bool {
    events.iter().map(JobEvent::position).eq((1..).map(Some).take(events.len()))
}
