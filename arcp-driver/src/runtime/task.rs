//! What the executor runs for an endpoint: agents, and the verifying of credentials.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use arcp_proto::error::ErrorCode;
use arcp_proto::runtime::{AgentEnd, AgentFailure, AgentInput, StartJob, StopReason};
use arcp_proto::wire::credential::Credential;
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_core::Stream;

use super::said::Said;
use super::sleep::Alarm;
use crate::agent::{Agent, Run};
use crate::context::JobContext;
use crate::queue::{Sender, lock, register};

/// One thing to run to its end: an agent at work on a job, a verifier's decision, or one link of a
/// [`Switchboard`](crate::memory::Switchboard).
///
/// Never panics, even if the agent does. Dropping an agent's before its end fails its job with `INTERNAL_ERROR`.
#[must_use = "nothing happens unless a task is run"]
pub struct Task {
    work: Work,
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What a task is for.
pub(crate) enum Work {
    Agent(JobContext),
    Verifier,
    LeasePolicy,
    Provisioner,
    Link,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(job) => write!(f, "agent {} of {}", job.agent(), job.job_id()),
            Self::Verifier => f.write_str("verifier"),
            Self::LeasePolicy => f.write_str("lease policy"),
            Self::Provisioner => f.write_str("provisioner"),
            Self::Link => f.write_str("link"),
        }
    }
}

impl Task {
    pub(crate) fn new(work: Work, task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { work, run: Box::pin(task) }
    }

    /// What it is for.
    #[cfg(feature = "testing")]
    pub(crate) fn name(&self) -> String {
        self.work.to_string()
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.run.as_mut().poll(cx)
    }
}

/// Names what the task is for.
impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({})", self.work)
    }
}

/// The tasks of a runtime, as they come up. Ends with the endpoint.
///
/// Whoever takes them spawns each on its executor, so that a busy agent never holds up the endpoint.
#[must_use = "agents run only if their tasks are run"]
#[derive(Debug)]
pub struct Tasks(UnboundedReceiver<Task>);

/// Their number is bounded by the core: running jobs and unauthenticated connections.
pub(crate) fn tasks() -> (UnboundedSender<Task>, Tasks) {
    let (sender, receiver) = unbounded();
    (sender, Tasks(receiver))
}

impl Tasks {
    /// The next task; `None` once the endpoint has ended.
    pub async fn next(&mut self) -> Option<Task> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Tasks {
    type Item = Task;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Task>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}

/// What the endpoint tells a job's agent.
#[derive(Default)]
pub(crate) struct Control {
    stopping: AtomicBool,
    killed: AtomicBool,
    state: Mutex<ControlState>,
}

#[derive(Default)]
struct ControlState {
    reason: Option<StopReason>,
    /// The job's credentials, until it ends.
    credentials: Vec<Arc<Credential>>,
    waiting: Vec<Waker>,
    task: Option<Waker>,
}

impl Control {
    /// Tells the agent to stop. A later reason replaces an earlier one.
    pub(crate) fn stop(&self, reason: StopReason) {
        let mut state = lock(&self.state);
        state.reason = Some(reason);
        self.stopping.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Has the task drop the agent.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        let mut state = lock(&self.state);
        state.credentials.clear();
        let task = state.task.take();
        drop(state);
        if let Some(waker) = task {
            waker.wake();
        }
    }

    /// Gives the agent these credentials in place of those it has.
    pub(crate) fn give(&self, credentials: Vec<Arc<Credential>>) {
        lock(&self.state).credentials = credentials;
    }

    pub(crate) fn credentials(&self) -> Vec<Arc<Credential>> {
        lock(&self.state).credentials.clone()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn poll_stopping(&self, cx: &Context<'_>) -> Poll<StopReason> {
        let mut state = lock(&self.state);
        if let Some(reason) = &state.reason {
            return Poll::Ready(reason.clone());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn is_killed(&self, cx: &Context<'_>) -> bool {
        // The waker first: a kill in between is then either seen here or wakes the task.
        register(&mut lock(&self.state).task, cx);
        self.killed.load(Ordering::Acquire)
    }
}

/// The task of a job.
pub(crate) fn agent_task(
    agent: Agent,
    start: StartJob,
    queue: Sender<Said>,
    control: Arc<Control>,
    alarm: Alarm,
) -> Task {
    let (job, input) = JobContext::new(start, queue.clone(), control.clone(), alarm);
    let work = Work::Agent(job.clone());
    // Started in its own task, because the function's own beginning may take its time or panic.
    let run: Run = Box::pin(async move { agent.start(job, input).await });
    Task::new(work, AgentTask { run: Some(run), queue, control })
}

struct AgentTask {
    /// `None` once it has ended.
    run: Option<Run>,
    queue: Sender<Said>,
    control: Arc<Control>,
}

impl AgentTask {
    /// Drops the agent and ends the job. An endpoint that is gone, or has killed the job, takes no notice.
    fn end(&mut self, end: AgentEnd) {
        self.drop_agent();
        let _ = self.queue.force(Said::Input(AgentInput::Finish(end)));
    }

    fn drop_agent(&mut self) {
        let run = self.run.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(run))) {
            forget_panic(panic);
        }
    }
}

impl Future for AgentTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.control.is_killed(cx) {
            this.drop_agent();
            return Poll::Ready(());
        }
        let Some(run) = &mut this.run else { return Poll::Ready(()) };
        // The agent is not looked at again after a panic, so no broken invariant of its own can be seen.
        match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(end)) => this.end(end),
            Err(panic) => {
                forget_panic(panic);
                this.end(failure("the agent panicked"));
            }
        }
        Poll::Ready(())
    }
}

impl Drop for AgentTask {
    fn drop(&mut self) {
        if self.run.is_some() {
            self.end(failure("the agent was dropped before it ended"));
        }
    }
}

pub(crate) fn failure(message: &str) -> AgentEnd {
    AgentEnd::Failure(AgentFailure {
        code: ErrorCode::InternalError,
        message: message.to_owned(),
        agent_code: None,
    })
}

/// The outcome of what others wrote, or `otherwise` where there was a panic.
pub(crate) async fn caught<T>(outcome: impl Future<Output = T> + Send, otherwise: fn() -> T) -> T {
    let mut outcome = Box::pin(outcome);
    std::future::poll_fn(move |cx| {
        // Not looked at again after a panic.
        catch_unwind(AssertUnwindSafe(|| outcome.as_mut().poll(cx))).unwrap_or_else(|panic| {
            forget_panic(panic);
            Poll::Ready(otherwise())
        })
    })
    .await
}

/// Drops what was thrown; the panic hook has reported it. Dropping it may panic once more.
pub(crate) fn forget_panic(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}
