//! The demo agents. Small, but each does what a real one does: read a typed input, report, hear when to stop.

mod bytes;
mod permitted;
mod plain;
mod report;
mod research;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arcp_driver::{AgentError, JobContext, RuntimeBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

pub(crate) use report::report_text;

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
    let builder = with.add(builder, "echo@1.0.0", plain::echo);
    let builder = with.add(builder, "count@1.0.0", plain::count);
    let builder = with.add(builder, "report@1.0.0", report::whole);
    let builder = with.add(builder, "report@2.0.0", report::streamed);
    let builder = with.add(builder, "bytes@1.0.0", bytes::bytes);
    let builder = with.add(builder, "tools@1.0.0", permitted::tools);
    let builder = with.add(builder, "check@1.0.0", permitted::check);
    let builder = with.add(builder, "research@1.0.0", research::research);
    let builder = with.add(builder, "summarise@1.0.0", research::summarise);
    let builder = with.add(builder, "sleep@1.0.0", plain::sleep);
    with.add(builder, "fail@1.0.0", plain::fail).restartable("count@1.0.0")
}

/// What each agent does, takes and needs, for `--help`.
pub(crate) const HELP: &str = "\
Agents, and what they do with their input:
  echo       JSON: returns it
  count      {\"to\": N}: reports progress from 1 to N, returns N; goes on where it
             was after the process was killed, with --db
  report     {\"sections\": N}: writes a text with logs, progress and metrics;
             report@2.0.0 streams it in chunks, report@1.0.0 returns it whole
  bytes      {\"bytes\": N, \"piece\": M}: streams N bytes in base64 chunks of M
  tools      {\"calls\": [TOOL, ...], \"cost\": AMOUNT}: calls tools at a cost;
             uses tool.call and a budget
  check      {CAPABILITY: [TARGET, ...]}: returns what the lease says to each
  research   {\"topics\": [TEXT, ...]}: searches, pays, has summarise do a part;
             needs tool.call=search.* and agent.delegate=summarise, uses a budget
  summarise  TEXT: returns its beginning, for USD 0.03
  sleep      {\"seconds\": S}: sleeps; a cancel wakes it
  fail       {\"message\": TEXT, \"code\": CODE}: fails
With \"delay_ms\": D count, report, bytes and research pause between their steps.

Ctrl-C or SIGTERM says goodbye to every client and ends; a second one ends at once.";

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
