//! What an agent holds of its job.

mod delegate;
mod events;
mod operation;
mod quantity;
mod stream;
mod trace;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arcp_proto::agent::AgentRef;
use arcp_proto::error::ApiMisuse;
use arcp_proto::id::{JobKey, SessionKey};
use arcp_proto::lease::{Amount, Currency, Lease, parse_budget};
use arcp_proto::runtime::{AgentInput, MAX_CHECKPOINT_BYTES, Restart, StartJob, StopReason};
use arcp_proto::trace::TraceId;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::credential::Credential;
use arcp_proto::wire::emission::ToolError;
use arcp_proto::wire::event::{ChunkEmission, Emission, LogLevel};
use futures_channel::oneshot;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::queue::{Send, Sender};
use crate::runtime::{Alarm, Control, Said};

pub use delegate::{ChildJob, ChildOutput, Delegate, DelegationError};
pub use events::{Artifact, Log, Metric, Progress, Status};
pub use operation::{Hop, OperationError};
pub use quantity::Quantity;
pub use stream::{BytesStream, TextStream};

/// An agent's hold on its job: says what happens, and hears when to stop.
///
/// Cheap to clone, and usable from every task the agent starts. Everything said goes through one queue per job, in order;
/// each call checks what it is given at once and waits only while that queue is full, which it is when the submitter does
/// not keep up (protocol §2.6). After the job has ended every call fails with [`ApiMisuse::JobEnded`].
///
/// ```
/// # use arcp_driver::{AgentError, JobContext};
/// async fn count(job: JobContext, to: u64) -> Result<u64, AgentError> {
///     job.info("starting").await?;
///     for number in 1..=to {
///         if job.is_stopping() {
///             break;
///         }
///         job.progress(number).of(to).units("numbers").await?;
///     }
///     Ok(to)
/// }
/// ```
#[derive(Clone)]
pub struct JobContext {
    job: Arc<Inner>,
}

struct Inner {
    key: JobKey,
    agent: AgentRef,
    trace_id: TraceId,
    principal: Arc<str>,
    session: Option<SessionKey>,
    lease: Arc<Lease>,
    parent: Option<JobKey>,
    frame_limit: usize,
    restart: Option<Box<Restart>>,
    calls: AtomicU64,
    spans: AtomicU64,
    queue: Sender<Said>,
    control: Arc<Control>,
    alarm: Alarm,
}

impl JobContext {
    /// What the agent is given, and its input.
    pub(crate) fn new(
        start: StartJob,
        queue: Sender<Said>,
        control: Arc<Control>,
        alarm: Alarm,
    ) -> (Self, RawJson) {
        let StartJob {
            credentials,
            job: _,
            key,
            agent,
            input,
            trace_id,
            principal,
            session,
            lease,
            parent,
            frame_limit,
            restart,
        } = start;
        control.give(credentials);
        // Every call is told in an event, so there were no more of them.
        let calls = restart.as_ref().map_or(0, |restart| restart.position);
        let job = Inner {
            key,
            agent,
            trace_id,
            principal,
            session,
            lease,
            parent,
            frame_limit,
            restart,
            calls: AtomicU64::new(calls),
            spans: AtomicU64::new(0),
            queue,
            control,
            alarm,
        };
        (Self { job: Arc::new(job) }, input)
    }

    /// The job's id; `Display` writes the text on the wire.
    #[must_use]
    pub fn job_id(&self) -> JobKey {
        self.job.key
    }

    /// The job's trace (protocol §7).
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.job.trace_id
    }

    /// Who submitted the job.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.job.principal
    }

    /// The agent as it was resolved, with its version.
    #[must_use]
    pub fn agent(&self) -> &AgentRef {
        &self.job.agent
    }

    /// What the job may do, until when, and for how much (protocol §5). What is left of a budget is not in it.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.job.lease
    }

    /// The credentials that were issued for this job, for the calls it makes under its lease (protocol §5.9). Present each to
    /// its endpoint and to nobody else. They may be rotated: ask for them when they are needed instead of keeping them.
    /// Empty if the runtime has no provisioner, or that made none.
    #[must_use]
    pub fn credentials(&self) -> Vec<Arc<Credential>> {
        self.job.control.credentials()
    }

    /// The job that delegated this one, if one did.
    #[must_use]
    pub fn parent(&self) -> Option<JobKey> {
        self.job.parent
    }

    /// What there is already if the job is run again after its process ended; `None` at its first start. See
    /// [`RuntimeBuilder::restartable`](crate::RuntimeBuilder::restartable).
    #[must_use]
    pub fn restart(&self) -> Option<&Restart> {
        self.job.restart.as_deref()
    }

    /// What was given to [`JobContext::checkpoint`] last, if the job is run again.
    ///
    /// # Errors
    /// What was kept is no `T`.
    pub fn last_checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        let checkpoint = self.restart().and_then(|restart| restart.checkpoint.as_ref());
        checkpoint.map(|checkpoint| checkpoint.state.decode()).transpose()
    }

    /// Whether the job is being stopped: it was cancelled, or its time is up. The agent has the runtime's grace to return
    /// (30 s unless configured); after it, it is dropped at its next `await`.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.job.control.is_stopping()
    }

    /// Resolves when the job is being stopped, with the reason.
    pub fn stopping(&self) -> Stopping<'_> {
        Stopping { control: &self.job.control }
    }

    /// Waits for this much time to pass, by the clock of whatever runs the runtime, so that an agent needs to know no executor;
    /// in the simulations of the feature `testing` that is virtual time. A job that is being stopped does not end it early:
    /// an agent that waits long waits for [`JobContext::stopping`], too.
    ///
    /// # Errors
    /// [`ApiMisuse::JobEnded`] if the runtime is gone.
    pub async fn sleep(&self, span: Duration) -> Result<(), ApiMisuse> {
        self.job.alarm.set(span).await.map_err(|_| ApiMisuse::JobEnded)
    }

    /// Emits an event.
    pub fn emit(&self, emission: Emission) -> Emit<'_> {
        let bytes = emission.encoded_len();
        self.send(bytes, AgentInput::Emit(emission))
    }

    /// Says how far the job is: a count, or any number from 0.
    pub fn progress(&self, current: impl Into<Quantity>) -> Progress<'_> {
        Progress::new(self, current.into())
    }

    /// Writes a log line. `message` must not be empty.
    pub fn log<'a>(&'a self, level: LogLevel, message: &'a str) -> Log<'a> {
        Log::new(self, level, message)
    }

    /// Writes a log line of the finest level.
    pub fn trace<'a>(&'a self, message: &'a str) -> Log<'a> {
        self.log(LogLevel::Trace, message)
    }

    /// Writes a log line for developers.
    pub fn debug<'a>(&'a self, message: &'a str) -> Log<'a> {
        self.log(LogLevel::Debug, message)
    }

    /// Writes a normal log line.
    pub fn info<'a>(&'a self, message: &'a str) -> Log<'a> {
        self.log(LogLevel::Info, message)
    }

    /// Writes a log line about something odd.
    pub fn warn<'a>(&'a self, message: &'a str) -> Log<'a> {
        self.log(LogLevel::Warn, message)
    }

    /// Writes a log line about something wrong.
    pub fn error<'a>(&'a self, message: &'a str) -> Log<'a> {
        self.log(LogLevel::Error, message)
    }

    /// Says what the agent thinks. `text` must not be empty.
    pub fn thought(&self, text: &str) -> Emit<'_> {
        self.emit_checked(Emission::thought(text))
    }

    /// Says that a tool is called. `args` must serialize to a JSON object; `call_id` is the agent's own and comes back in
    /// the result.
    pub fn tool_call<T: Serialize + ?Sized>(&self, call_id: &str, tool: &str, args: &T) -> Emit<'_> {
        self.emit_checked(encode("args", args).and_then(|args| Emission::tool_call(tool, &args, call_id)))
    }

    /// Says what a tool returned.
    pub fn tool_result<T: Serialize + ?Sized>(&self, call_id: &str, result: &T) -> Emit<'_> {
        self.emit_checked(
            encode("result", result).and_then(|result| Emission::tool_result(call_id, Ok(&result))),
        )
    }

    /// Says that a tool failed. The job goes on.
    pub fn tool_error(&self, call_id: &str, error: &ToolError) -> Emit<'_> {
        self.emit_checked(Emission::tool_result(call_id, Err(error)))
    }

    /// Names the phase the job is in. The phases `back_pressure` and `credential_rotated` are the runtime's (D-73).
    pub fn status<'a>(&'a self, phase: &'a str) -> Status<'a> {
        Status::new(self, phase)
    }

    /// Reports a number. Names that begin with `cost.budget.` are the runtime's (D-73).
    pub fn metric<'a>(&'a self, name: &'a str, value: impl Into<Quantity>) -> Metric<'a> {
        Metric::new(self, name, value.into())
    }

    /// Reports a cost: a metric whose name begins with `cost.`, with an amount as `USD:0.01`. It is charged to the budget
    /// of its currency, if the job has one (protocol §5.6).
    pub fn cost(&self, name: &str, amount: &str) -> Emit<'_> {
        self.emit_checked(cost(name, amount))
    }

    /// What is left of each currency that limits the job, those it shares with its parent included; empty without a
    /// budget. Every cost that was reported before has been charged.
    ///
    /// # Errors
    /// [`ApiMisuse::JobEnded`].
    pub async fn remaining(&self) -> Result<Vec<(Currency, Amount)>, ApiMisuse> {
        let (answer, answered) = oneshot::channel();
        self.job.queue.send(Said::Remaining(answer)).await.map_err(|_| ApiMisuse::JobEnded)?;
        answered.await.map_err(|_| ApiMisuse::JobEnded)
    }

    /// Has another agent do a part: a child job under a lease that lies within this job's (protocol §6).
    ///
    /// ```
    /// # use arcp_driver::{AgentError, JobContext};
    /// async fn digest(job: JobContext, page: String) -> Result<String, AgentError> {
    ///     let child = job.delegate("summarise@1.0.0").input(&page).budget("USD:0.10").await?;
    ///     Ok(child.result().await?)
    /// }
    /// ```
    pub fn delegate(&self, agent: impl Into<String>) -> Delegate<'_> {
        Delegate::new(self, agent.into())
    }

    /// Names something the agent has stored elsewhere.
    pub fn artifact<'a>(&'a self, uri: &'a str, content_type: &'a str) -> Artifact<'a> {
        Artifact::new(self, uri, content_type)
    }

    /// Emits an event of a vendor's kind, `x-vendor.<vendor>.<name>`. `body` must serialize to a JSON object.
    pub fn vendor<T: Serialize + ?Sized>(&self, kind: &str, body: &T) -> Emit<'_> {
        self.emit_checked(encode("body", body).and_then(|body| Emission::vendor(kind, &body)))
    }

    /// Keeps a state of the agent's own, at most 256 KiB of JSON: should the process end and the job be run again, it is there,
    /// and the one before is not. It is stored together with what was said before it, or after that; nothing waits for it.
    /// What is said after it will have been said as well ([`Restart::position`] tells how much that is). Without a
    /// [durable](crate::Store::is_durable) store, or of agents that are never run again, it is for nothing.
    ///
    /// ```
    /// # use arcp_driver::{AgentError, JobContext};
    /// async fn count(job: JobContext, to: u64) -> Result<u64, AgentError> {
    ///     let done: u64 = job.last_checkpoint()?.unwrap_or(0);
    ///     for number in done + 1..=to {
    ///         job.progress(number).of(to).await?;
    ///         job.checkpoint(&number).await?;
    ///     }
    ///     Ok(to)
    /// }
    /// ```
    pub fn checkpoint<T: Serialize + ?Sized>(&self, state: &T) -> Emit<'_> {
        match encode("state", state) {
            Ok(state) if state.len() <= MAX_CHECKPOINT_BYTES => {
                Emit(State::Waiting(self.job.queue.send(Said::Input(AgentInput::Checkpoint(state)))))
            }
            Ok(state) => {
                let (bytes, limit) = (state.len(), MAX_CHECKPOINT_BYTES);
                Emit(State::Refused(Some(ApiMisuse::TooLarge { bytes, limit })))
            }
            Err(misuse) => Emit(State::Refused(Some(misuse))),
        }
    }

    /// Streams the result as text. The agent then returns `()` (protocol §4.4).
    pub fn stream_text(&self) -> TextStream {
        TextStream::new(self.clone())
    }

    /// Streams the result as bytes. The agent then returns `()` (protocol §4.4).
    pub fn stream_bytes(&self) -> BytesStream {
        BytesStream::new(self.clone())
    }

    fn emit_checked(&self, emission: Result<Emission, ApiMisuse>) -> Emit<'_> {
        match emission {
            Ok(emission) => self.emit(emission),
            Err(misuse) => Emit(State::Refused(Some(misuse))),
        }
    }

    fn emit_chunk(&self, chunk: Result<ChunkEmission, ApiMisuse>) -> Emit<'_> {
        match chunk {
            Ok(chunk) => self.send(chunk.encoded_len(), AgentInput::Chunk(chunk)),
            Err(misuse) => Emit(State::Refused(Some(misuse))),
        }
    }

    fn send(&self, bytes: usize, input: AgentInput) -> Emit<'_> {
        let limit = self.job.frame_limit;
        if bytes > limit {
            return Emit(State::Refused(Some(ApiMisuse::TooLarge { bytes, limit })));
        }
        Emit(State::Waiting(self.job.queue.send(Said::Input(input))))
    }
}

impl JobContext {
    /// An id for a call, not used before in this job.
    fn call_id(&self) -> String {
        format!("call_{}", self.job.calls.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("job_id", &self.job.key)
            .field("agent", &self.job.agent)
            .field("stopping", &self.is_stopping())
            .finish_non_exhaustive()
    }
}

fn cost(name: &str, amount: &str) -> Result<Emission, ApiMisuse> {
    if !name.starts_with("cost.") {
        return Err(ApiMisuse::OutOfRange("the name of a cost must begin with `cost.`".into()));
    }
    let (currency, amount) =
        parse_budget(amount).map_err(|refusal| ApiMisuse::OutOfRange(refusal.to_string().into()))?;
    Emission::metric(name, &amount.to_number(), Some(currency.as_str()), &[])
}

fn encode<T: Serialize + ?Sized>(name: &str, value: &T) -> Result<RawJson, ApiMisuse> {
    RawJson::encode(value)
        .map_err(|error| ApiMisuse::OutOfRange(format!("`{name}` cannot be sent: {error}").into()))
}

/// An event on its way into the job's queue.
///
/// # Errors
/// What was wrong with the event, or [`ApiMisuse::JobEnded`]. Nothing was emitted then, and the job goes on.
#[must_use = "nothing is emitted unless this is awaited"]
pub struct Emit<'a>(State<'a>);

enum State<'a> {
    Refused(Option<ApiMisuse>),
    Waiting(Send<'a, Said>),
}

impl Future for Emit<'_> {
    type Output = Result<(), ApiMisuse>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(misuse) => Poll::Ready(misuse.take().map_or(Ok(()), Err)),
            State::Waiting(send) => {
                Poll::Ready(ready!(Pin::new(send).poll(cx)).map_err(|_| ApiMisuse::JobEnded))
            }
        }
    }
}

/// Future of [`JobContext::stopping`].
#[must_use = "futures do nothing unless polled"]
pub struct Stopping<'a> {
    control: &'a Control,
}

impl Future for Stopping<'_> {
    type Output = StopReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StopReason> {
        self.control.poll_stopping(cx)
    }
}
