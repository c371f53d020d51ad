//! The demo agents. Small, but each does what a real one does: read a typed input, report, hear when to stop.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arcp_driver::{
    AgentError, ApiMisuse, Denial, ErrorCode, JobContext, OperationError, RuntimeBuilder, TextStream,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until, timeout};

/// Hears of every job that begins and ends.
pub(crate) type Observer = Arc<dyn Fn(&JobContext, Stage<'_>) + Send + Sync>;

/// Where a job is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage<'a> {
    Started,
    Succeeded,
    Failed(&'a AgentError),
    /// The runtime stopped it, or went away.
    Stopped,
}

/// Adds all demo agents.
pub(crate) fn add(builder: RuntimeBuilder, observer: &Observer) -> RuntimeBuilder {
    let with = Observed(observer);
    let builder = with.add(builder, "echo@1.0.0", echo);
    let builder = with.add(builder, "count@1.0.0", count);
    let builder = with.add(builder, "report@1.0.0", report_whole);
    let builder = with.add(builder, "report@2.0.0", report);
    let builder = with.add(builder, "sleep@1.0.0", sleep);
    let builder = with.add(builder, "tools@1.0.0", tools);
    with.add(builder, "fail@1.0.0", fail)
}

struct Observed<'a>(&'a Observer);

impl Observed<'_> {
    fn add<In, Out, Fut>(
        &self,
        builder: RuntimeBuilder,
        name: &str,
        agent: impl Fn(JobContext, In) -> Fut + Copy + Send + Sync + 'static,
    ) -> RuntimeBuilder
    where
        In: DeserializeOwned,
        Out: Serialize + 'static,
        Fut: Future<Output = Result<Out, AgentError>> + Send + 'static,
    {
        let observer = Arc::clone(self.0);
        builder.agent(name, move |job: JobContext, input| {
            observed(job.clone(), agent(job, input), observer.clone())
        })
    }
}

/// Runs an agent and tells the observer, also if it is dropped on the way.
async fn observed<Out>(
    job: JobContext,
    agent: impl Future<Output = Result<Out, AgentError>>,
    observer: Observer,
) -> Result<Out, AgentError> {
    struct Watch(JobContext, Observer, bool);
    impl Drop for Watch {
        fn drop(&mut self) {
            if !self.2 {
                (self.1)(&self.0, Stage::Stopped);
            }
        }
    }
    observer(&job, Stage::Started);
    let mut watch = Watch(job, observer, false);
    let result = agent.await;
    watch.2 = true;
    let stage = match &result {
        _ if watch.0.is_stopping() => Stage::Stopped,
        Ok(_) => Stage::Succeeded,
        Err(error) => Stage::Failed(error),
    };
    (watch.1)(&watch.0, stage);
    result
}

/// Takes the text of the JSON and not its meaning, so that no number changes on the way.
async fn echo(_job: JobContext, input: Box<RawValue>) -> Result<Box<RawValue>, AgentError> {
    Ok(input)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    to: u64,
    #[serde(default)]
    delay_ms: u64,
}

async fn count(job: JobContext, Count { to, delay_ms }: Count) -> Result<u64, AgentError> {
    limit("to", to, 1_000_000)?;
    let pace = pace(delay_ms)?;
    for number in 1..=to {
        pause(&job, pace).await?;
        job.progress(number).of(to).units("numbers").await?;
    }
    Ok(to)
}

/// How long a [`report`] is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Length {
    sections: u64,
    delay_ms: u64,
}

impl Default for Length {
    fn default() -> Self {
        Self { sections: 8, delay_ms: 0 }
    }
}

impl Length {
    fn of(length: Option<Self>) -> Result<(u64, Duration), AgentError> {
        let Self { sections, delay_ms } = length.unwrap_or_default();
        if sections == 0 {
            return Err(AgentError::invalid("`sections` must be at least 1"));
        }
        limit("sections", sections, 10_000)?;
        Ok((sections, pace(delay_ms)?))
    }
}

/// Streams its text, section by section.
async fn report(job: JobContext, length: Option<Length>) -> Result<(), AgentError> {
    let mut text = Text::Streamed(job.stream_text());
    write_report(&job, length, &mut text).await?;
    match text {
        Text::Streamed(stream) => Ok(stream.finish().await?),
        Text::Whole(_) => Ok(()),
    }
}

/// The first version: the whole text in one result.
async fn report_whole(job: JobContext, length: Option<Length>) -> Result<String, AgentError> {
    let mut text = Text::Whole(String::new());
    write_report(&job, length, &mut text).await?;
    match text {
        Text::Whole(text) => Ok(text),
        Text::Streamed(_) => Ok(String::new()),
    }
}

/// Where a report goes.
enum Text {
    Streamed(TextStream),
    Whole(String),
}

impl Text {
    async fn write(&mut self, section: &str) -> Result<(), ApiMisuse> {
        match self {
            Self::Streamed(stream) => stream.write(section).await,
            Self::Whole(text) => {
                text.push_str(section);
                Ok(())
            }
        }
    }
}

async fn write_report(job: &JobContext, length: Option<Length>, text: &mut Text) -> Result<(), AgentError> {
    let (sections, pace) = Length::of(length)?;
    job.status("writing").message("a short report on how this works").await?;
    let mut words = 0;
    for number in 1..=sections {
        let section = section(number);
        let written = section.split_whitespace().count();
        words += written;
        pause(job, pace).await?;
        job.info(&format!("section {number}: {}", title(number))).await?;
        pause(job, pace).await?;
        text.write(&section).await?;
        if number.is_multiple_of(3) {
            pause(job, pace).await?;
            let number = number.to_string();
            job.metric("section.words", written).unit("words").dimension("section", &number).await?;
        }
        pause(job, pace).await?;
        job.progress(number).of(sections).units("sections").await?;
    }
    job.metric("report.words", words).unit("words").await?;
    Ok(())
}

/// The text of a report, as the agent streams it.
pub(crate) fn report_text(sections: u64) -> String {
    (1..=sections).map(section).collect()
}

const SECTIONS: [(&str, &str); 8] = [
    ("Envelopes", "Every message is one JSON object: what it is, whose session, and a payload."),
    ("Sessions", "A client says hello with its token and gets a welcome: features, agents, a resume token."),
    ("Jobs", "A job is submitted with a key, so asking twice never runs it twice."),
    ("Events", "Logs, progress, metrics, tool calls: all go down one stream, in the order they happened."),
    ("Numbers", "Each frame of a stream has the next number, so whoever listens knows what is missing."),
    ("Resuming", "When the connection breaks, the client says which number it saw last and hears the rest."),
    ("Results", "A large result comes in pieces, is put together at the other end, and checked."),
    ("Ends", "Every job ends exactly once: with success, an error, a cancel or a timeout."),
];

fn entry(number: u64) -> (&'static str, &'static str) {
    let count = u64::try_from(SECTIONS.len()).unwrap_or(u64::MAX);
    let index = number.saturating_sub(1) % count;
    SECTIONS[usize::try_from(index).unwrap_or(0)]
}

fn title(number: u64) -> &'static str {
    entry(number).0
}

fn section(number: u64) -> String {
    let (title, text) = entry(number);
    format!("{number}. {title}\n{text}\n\n")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sleep {
    seconds: f64,
}

/// Sleeps, says each second how long, and wakes up at once when it is told to stop.
async fn sleep(job: JobContext, Sleep { seconds }: Sleep) -> Result<f64, AgentError> {
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
#[serde(deny_unknown_fields)]
struct Tools {
    calls: Vec<String>,
    /// Of each call, as `USD:0.10`.
    cost: Option<String>,
}

/// Calls tools that do nothing, goes on where the lease forbids one, and returns how many calls were permitted.
async fn tools(job: JobContext, Tools { calls, cost }: Tools) -> Result<u64, AgentError> {
    limit("calls", u64::try_from(calls.len()).unwrap_or(u64::MAX), 1_000)?;
    let mut permitted = 0;
    for tool in &calls {
        match job.tool(tool, &BTreeMap::<(), ()>::new(), async || Ok::<_, Infallible>("done")).await {
            Ok(_) => permitted += 1,
            Err(OperationError::Denied(Denial::Stopped)) => return Err(stopped()),
            Err(OperationError::Denied(_)) => continue,
            Err(error) => return Err(error.into()),
        }
        if let Some(cost) = &cost {
            job.cost("cost.tool", cost).await?;
        }
    }
    Ok(permitted)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fail {
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

async fn fail(_job: JobContext, failure: Option<Fail>) -> Result<(), AgentError> {
    let Fail { message, code } = failure.unwrap_or_default();
    let code = FAILURES.into_iter().find(|known| known.as_str() == code).ok_or_else(|| {
        let known: Vec<_> = FAILURES.iter().map(|code| code.as_str()).collect();
        AgentError::invalid(format!("`code` must be one of {}", known.join(", ")))
    })?;
    Err(AgentError::new(message).code(code))
}

fn limit(name: &str, value: u64, most: u64) -> Result<(), AgentError> {
    if value <= most { Ok(()) } else { Err(AgentError::invalid(format!("`{name}` must be at most {most}"))) }
}

fn pace(delay_ms: u64) -> Result<Duration, AgentError> {
    limit("delay_ms", delay_ms, 60_000)?;
    Ok(Duration::from_millis(delay_ms))
}

/// Waits as long as asked for, or until told to stop.
async fn pause(job: &JobContext, pace: Duration) -> Result<(), AgentError> {
    if job.is_stopping() {
        return Err(stopped());
    }
    if pace.is_zero() {
        // An agent that never waits would keep its thread from other jobs.
        tokio::task::yield_now().await;
        return Ok(());
    }
    match timeout(pace, job.stopping()).await {
        Ok(_) => Err(stopped()),
        Err(_) => Ok(()),
    }
}

fn stopped() -> AgentError {
    AgentError::new("stopped as asked")
}
