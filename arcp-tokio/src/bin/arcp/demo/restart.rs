//! The last part of the demo: the runtime stops in the middle of a job, and another goes on with its file.

use serde_json::json;

use super::scenes::{PACE_MS, in_order, submit};
use super::stage::Stage;
use crate::describe;
use crate::failure::Failure;
use crate::timeline::Tone;

const TO: u64 = 10;
/// Numbers that are there when the runtime stops.
const BEFORE: usize = 4;

/// A job that outlives its runtime.
pub(super) async fn count(stage: &mut Stage) -> Result<(), Failure> {
    stage.heading("5  A count, and a runtime that stops and starts again on its file")?;
    let (runs, resumes) = (stage.runs("count@1.0.0"), stage.findings.resumes);
    let mut job = submit(stage, "count", &json!({ "to": TO, "delay_ms": PACE_MS }), None).await?;
    let mut events = Vec::new();
    while let Some(event) = stage.next(&mut job).await? {
        events.push(event);
        if events.len() == BEFORE {
            stage.restart().await?;
        }
    }
    let output = job.output().await.and_then(|output| output.decode::<u64>());
    let value = output.map_err(|error| Failure::error(describe::job_error(&error)))?;
    let is_whole = in_order(&events) && u64::try_from(events.len()) == Ok(TO) && value == TO;
    stage.findings.expect("every number of a count that outlived its runtime, once and in order", is_whole);
    stage.findings.expect("an agent that was started again", stage.runs("count@1.0.0") == runs + 2);
    stage.findings.expect("a resume on the second runtime", stage.findings.resumes > resumes);
    let text =
        if is_whole { "the same job on another runtime, no number lost or doubled" } else { "NOT whole" };
    Ok(stage.timeline.line(None, Tone::Good, "success", &format!("{value}: {text}"))?)
}
