//! Jobs that an agent has done by other agents (protocol §6).

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arcp_proto::agent::AgentRef;
use arcp_proto::error::{ApiMisuse, ErrorCode, WireError};
use arcp_proto::id::JobKey;
use arcp_proto::lease::{Lease, LeaseRequest};
use arcp_proto::runtime::{Child, ChildEnd, JobHandle};
use arcp_proto::time::UnixTime;
use arcp_proto::wire::RawJson;
use futures_channel::oneshot;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{JobContext, encode};
use crate::queue::Sender;
use crate::runtime::{Asked, Said, Undelegated};

/// A delegation that is being put together; made by [`JobContext::delegate`]. Awaited, it gives the [`ChildJob`].
#[must_use = "nothing is delegated unless this is awaited"]
pub struct Delegate<'a> {
    job: &'a JobContext,
    agent: String,
    input: Result<RawJson, ApiMisuse>,
    lease: LeaseRequest,
    max_runtime: Option<Duration>,
}

/// Why a delegated job brought nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DelegationError {
    /// The runtime refused it: the lease does not grant the agent, or not what was asked for it; there is no such agent;
    /// the budget is used up; a limit is reached. The refusal is on the job's stream, and the job goes on.
    #[error("the delegation was refused: {}: {}", .0.code, .0.message)]
    Refused(WireError),
    /// The child ended without a result.
    #[error("the delegated job failed: {}: {}", .0.code, .0.message)]
    Failed(WireError),
    /// The child's result does not fit the type that was asked for.
    #[error("the delegated job's result does not fit: {0}")]
    Unfit(String),
    /// The delegation could not be put together, or the job has ended.
    #[error(transparent)]
    Misuse(#[from] ApiMisuse),
}

impl DelegationError {
    /// The code that says it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(error) | Self::Failed(error) => error.code,
            Self::Unfit(_) | Self::Misuse(_) => ErrorCode::InternalError,
        }
    }
}

impl<'a> Delegate<'a> {
    pub(super) fn new(job: &'a JobContext, agent: String) -> Self {
        Self { job, agent, input: Ok(RawJson::null()), lease: LeaseRequest::default(), max_runtime: None }
    }

    /// Its input; `null` without one.
    pub fn input<T: Serialize + ?Sized>(mut self, input: &T) -> Self {
        self.input = encode("input", input);
        self
    }

    /// Grants it `patterns` of a namespace, which must lie within what the job has itself.
    pub fn lease<P: Into<String>>(
        mut self,
        namespace: impl Into<String>,
        patterns: impl IntoIterator<Item = P>,
    ) -> Self {
        self.lease = self.lease.grant(namespace, patterns);
        self
    }

    /// Sets aside an amount for it, as `USD:0.10`. What it does not spend comes back at its end. Currencies that are not
    /// named stay shared with the job.
    pub fn budget(mut self, amount: impl Into<String>) -> Self {
        self.lease = self.lease.budget(amount);
        self
    }

    /// Ends its lease at this time, which is not after the end of the job's own.
    pub fn expires_at(mut self, time: UnixTime) -> Self {
        self.lease = self.lease.expires_at(time);
        self
    }

    /// Ends its lease this long from now.
    pub fn expires_in(mut self, span: Duration) -> Self {
        self.lease = self.lease.expires_in(span);
        self
    }

    /// How long it may run, in whole seconds: 1 s to 365 days.
    pub const fn max_runtime(mut self, span: Duration) -> Self {
        self.max_runtime = Some(span);
        self
    }
}

impl<'a> IntoFuture for Delegate<'a> {
    type Output = Result<ChildJob, DelegationError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { job, agent, input, lease, max_runtime } = self;
        Box::pin(async move {
            let asked = Asked {
                agent,
                input: input?,
                lease,
                max_runtime_sec: max_runtime.map(|span| span.as_secs()),
            };
            let (answer, answered) = oneshot::channel();
            let queue = &job.job.queue;
            if queue.send(Said::Delegate { asked: Box::new(asked), answer }).await.is_err() {
                return Err(ApiMisuse::JobEnded.into());
            }
            match answered.await {
                Ok(Ok((child, end))) => Ok(ChildJob::new(child, end, queue.clone())),
                Ok(Err(Undelegated::Refused(error))) => Err(DelegationError::Refused(error)),
                Ok(Err(Undelegated::Misuse(misuse))) => Err(misuse.into()),
                Err(oneshot::Canceled) => Err(ApiMisuse::JobEnded.into()),
            }
        })
    }
}

/// A job that an agent delegated. Dropping it does not end the job, which goes on as long as its parent does.
#[must_use = "a delegated job runs whether its result is awaited or not"]
#[derive(Debug)]
pub struct ChildJob {
    handle: JobHandle,
    key: JobKey,
    agent: AgentRef,
    lease: Arc<Lease>,
    end: oneshot::Receiver<ChildEnd>,
    queue: Queue,
}

/// The parent's queue.
struct Queue(Sender<Said>);

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

/// What a delegated job returned.
#[derive(Debug, Clone, PartialEq)]
pub enum ChildOutput {
    /// A value.
    Value(RawJson),
    /// Streamed text.
    Text(String),
    /// Streamed bytes.
    Bytes(Vec<u8>),
}

impl ChildJob {
    fn new(child: Child, end: oneshot::Receiver<ChildEnd>, queue: Sender<Said>) -> Self {
        let Child { job, key, agent, lease } = child;
        Self { handle: job, key, agent, lease, end, queue: Queue(queue) }
    }

    /// Its id; `Display` writes the text on the wire.
    #[must_use]
    pub const fn id(&self) -> JobKey {
        self.key
    }

    /// The agent as it was resolved, with its version.
    #[must_use]
    pub const fn agent(&self) -> &AgentRef {
        &self.agent
    }

    /// What it may do: what was asked for it, with the restrictions it inherited.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Has it cancelled; its end is still to be awaited.
    ///
    /// # Errors
    /// [`ApiMisuse::JobEnded`] if the parent has ended.
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<(), ApiMisuse> {
        let said = Said::CancelChild { child: self.handle, reason: reason.into() };
        self.queue.0.send(said).await.map_err(|_| ApiMisuse::JobEnded)
    }

    /// Awaits its end and gives what it returned, of whatever form.
    ///
    /// # Errors
    /// [`DelegationError::Failed`] if it ended without a result.
    pub async fn output(self) -> Result<ChildOutput, DelegationError> {
        match self.end.await {
            Ok(ChildEnd::Value(value)) => Ok(ChildOutput::Value(value)),
            Ok(ChildEnd::Text(text)) => Ok(ChildOutput::Text(text)),
            Ok(ChildEnd::Bytes(bytes)) => Ok(ChildOutput::Bytes(bytes)),
            Ok(ChildEnd::Failed(error)) => Err(DelegationError::Failed(error)),
            Err(oneshot::Canceled) => Err(ApiMisuse::JobEnded.into()),
        }
    }

    /// Awaits its end and gives its result; streamed text is a string.
    ///
    /// # Errors
    /// [`DelegationError::Failed`] if it ended without a result, [`DelegationError::Unfit`] if the result is no `T`.
    pub async fn result<T: DeserializeOwned>(self) -> Result<T, DelegationError> {
        let value = match self.output().await? {
            ChildOutput::Value(value) => value,
            ChildOutput::Text(text) => encode("result", &text)?,
            ChildOutput::Bytes(_) => {
                return Err(DelegationError::Unfit("it is streamed as bytes, which `output` gives".into()));
            }
        };
        value.decode().map_err(|error| DelegationError::Unfit(error.to_string()))
    }
}
