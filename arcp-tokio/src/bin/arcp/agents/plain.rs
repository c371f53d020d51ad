//! Agents that ask for nothing.

use std::time::Duration;

use arcp_driver::{AgentError, ErrorCode, JobContext};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until};

use super::{limit, pace, pause, stopped};

/// Takes the text of the JSON and not its meaning, so that no number changes on the way.
pub(super) async fn echo(_job: JobContext, input: Box<RawValue>) -> Result<Box<RawValue>, AgentError> {
    Ok(input)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Count {
    to: u64,
    #[serde(default)]
    delay_ms: u64,
}

/// Numbers after which the one reached is kept.
const KEPT: u64 = 16;

/// Goes on where it was if the runtime has to run it again.
pub(super) async fn count(job: JobContext, Count { to, delay_ms }: Count) -> Result<u64, AgentError> {
    limit("to", to, 1_000_000)?;
    let pace = pace(delay_ms)?;
    for number in said(&job)? + 1..=to {
        pause(&job, pace).await?;
        job.progress(number).of(to).units("numbers").await?;
        if number.is_multiple_of(KEPT) {
            job.checkpoint(&number).await?;
        }
    }
    Ok(to)
}

/// The last number that was said before: that of the checkpoint, and one for each event since.
fn said(job: &JobContext) -> Result<u64, AgentError> {
    let Some(restart) = job.restart() else { return Ok(0) };
    let kept = job.last_checkpoint::<u64>()?.unwrap_or(0);
    let position = restart.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position);
    Ok(kept + restart.position.saturating_sub(position))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sleep {
    seconds: f64,
}

/// Sleeps, says each second how long, and wakes up at once when it is told to stop.
pub(super) async fn sleep(job: JobContext, Sleep { seconds }: Sleep) -> Result<f64, AgentError> {
    let span = Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|span| *span <= Duration::from_secs(86_400))
        .ok_or_else(|| AgentError::invalid("`seconds` must be a number from 0 to 86400"))?;
    job.status("sleeping").message("until the time is up or somebody cancels").await?;
    let start = Instant::now();
    for second in 1_u32.. {
        let tick = Duration::from_secs(second.into()).min(span);
        tokio::select! {
            () = sleep_until(start + tick) => {}
            _ = job.stopping() => return Err(stopped()),
        }
        if tick == span {
            break;
        }
        job.progress(second).of(span.as_secs_f64()).units("seconds").await?;
    }
    Ok(seconds)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Fail {
    message: String,
    code: String,
}

impl Default for Fail {
    fn default() -> Self {
        Self { message: "the job was asked to fail".into(), code: ErrorCode::InternalError.as_str().into() }
    }
}

/// The codes an agent may end with (protocol §3.4).
const FAILURES: [ErrorCode; 8] = [
    ErrorCode::InternalError,
    ErrorCode::InvalidRequest,
    ErrorCode::PermissionDenied,
    ErrorCode::BudgetExhausted,
    ErrorCode::LeaseExpired,
    ErrorCode::LeaseSubsetViolation,
    ErrorCode::AgentNotAvailable,
    ErrorCode::AgentVersionNotAvailable,
];

pub(super) async fn fail(_job: JobContext, failure: Option<Fail>) -> Result<(), AgentError> {
    let Fail { message, code } = failure.unwrap_or_default();
    let code = FAILURES.into_iter().find(|known| known.as_str() == code).ok_or_else(|| {
        let known: Vec<_> = FAILURES.iter().map(|code| code.as_str()).collect();
        AgentError::invalid(format!("`code` must be one of {}", known.join(", ")))
    })?;
    Err(AgentError::new(message).code(code))
}
