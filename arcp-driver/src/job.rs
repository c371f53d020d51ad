//! A job as the application sees it: a stream of events with a result at its end.

mod children;
mod event;
mod follow;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use arcp_proto::client::GrantedLease;
use arcp_proto::id::JobId;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::credential::Credential;
use arcp_proto::wire::job::{Accepted, Subscribed};
use futures_core::Stream;
use serde::de::DeserializeOwned;

use crate::client::{Cancel, Feed, Link};

pub use children::Children;
pub use event::{JobError, JobEvent, JobOutput};
pub(crate) use follow::Follow;

/// A job that was submitted, or that one with its [children](Job::children) delegated.
///
/// It is a stream of the job's events, which come once and in order whatever happens to the connection. They wait for the
/// application as long as it needs: when too many do, nothing more is read from the session, and in the end the agent
/// waits.
///
/// Dropping it cancels nothing: the job goes on, and its events are not asked for any more.
pub struct Job {
    follow: Follow,
    accepted: Box<Accepted>,
    lease: GrantedLease,
    /// Unless they were taken, or not asked for.
    children: Option<Children>,
}

impl Job {
    pub(crate) fn new(follow: Follow, accepted: Box<Accepted>, children: Option<Children>) -> Self {
        let lease = GrantedLease::from(&*accepted);
        Self { follow, accepted, lease, children }
    }

    /// The jobs that are delegated for this one, at any depth, if its submit [asked for them](crate::Submit::children);
    /// otherwise, and when they were taken before, none. The children of a child come with those of the job that was
    /// submitted.
    ///
    /// They wait for the application as the events of a job do, so they have to be read beside them. Those that nobody
    /// took by then go with the job when it is dropped, and when its result is waited for.
    ///
    /// ```no_run
    /// # async fn example(client: arcp_driver::Client, spawn: impl Fn(arcp_driver::Job))
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let mut job = client.submit("research").lease("agent.delegate", ["**"]).children().await?;
    /// let mut children = job.children();
    /// while let Some(child) = children.next().await {
    ///     println!("{} was delegated by {:?}", child.id(), child.accepted().parent_job_id);
    ///     spawn(child);
    /// }
    /// println!("{}", job.result_raw().await?.as_str());
    /// # Ok(())
    /// # }
    /// ```
    pub fn children(&mut self) -> Children {
        self.children.take().unwrap_or_default()
    }

    /// The job's id. It changes in one case: when the runtime has forgotten both session and job and had to begin it
    /// again, with all its events.
    #[must_use]
    pub const fn id(&self) -> &JobId {
        self.follow.id()
    }

    /// What the runtime said when it accepted the job, but for its [credentials](Job::credentials).
    #[must_use]
    pub const fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// What the job may do, for how much, and until when: the effective lease, which can be less than was asked for.
    #[must_use]
    pub const fn lease(&self) -> &GrantedLease {
        &self.lease
    }

    /// The credentials the runtime has issued for the job and told this client, with rotations taken in as they arrive
    /// (protocol §5.9). Present each to its endpoint and to nobody else. Empty once the job has ended, over a connection
    /// that others could read, and where the runtime issues none.
    #[must_use]
    pub fn credentials(&self) -> Vec<Credential> {
        self.follow.credentials()
    }

    /// The next event; `None` once the job, or the session, is over.
    ///
    /// # Errors
    /// [`JobError::Unreadable`] for an event that cannot be read, [`JobError::Lost`] and [`JobError::Missing`] where events
    /// are missing; the stream goes on behind them. [`JobError::Closed`] when the session is over.
    pub async fn next(&mut self) -> Option<Result<JobEvent, JobError>> {
        std::future::poll_fn(|cx| self.follow.poll_next(cx)).await
    }

    /// Waits for the job's end and returns its result; events that come before, and [children](Job::children) that nobody
    /// took, are passed over.
    ///
    /// A result streamed as text is a string, one streamed as bytes a list of numbers, as `Vec<u8>` takes it.
    ///
    /// # Errors
    /// [`JobError::Failed`] if the job did not succeed; [`JobError::Decode`] if the result is no `T`.
    pub async fn result<T: DeserializeOwned>(&mut self) -> Result<T, JobError> {
        self.output().await?.decode()
    }

    /// As [`Job::result`], for a result that is one JSON value, which is returned as text.
    ///
    /// # Errors
    /// As for [`Job::result`]; a streamed result is [`JobError::Streamed`].
    pub async fn result_raw(&mut self) -> Result<RawJson, JobError> {
        match self.output().await? {
            JobOutput::Value(value) => Ok(value),
            JobOutput::Text(_) | JobOutput::Bytes(_) => Err(JobError::Streamed),
        }
    }

    /// As [`Job::result`], in the form in which it came.
    ///
    /// # Errors
    /// As for [`Job::result`].
    pub async fn output(&mut self) -> Result<JobOutput, JobError> {
        self.children = None;
        self.follow.output().await
    }

    /// Asks the runtime to cancel the job. Resolves when the runtime has answered; the job's end follows as an event does.
    ///
    /// The answer comes behind events that are on their way already. Where more than a client's limit of them wait unread,
    /// nothing is read, the answer neither: then take the future that `IntoFuture` makes, go on reading, and await it last.
    ///
    /// ```no_run
    /// # async fn example(mut job: arcp_driver::Job) -> Result<(), Box<dyn std::error::Error>> {
    /// job.cancel().reason("no longer needed").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel(&self) -> Cancel<'_> {
        Cancel::new(self.follow.link(), self.id().clone())
    }
}

impl Stream for Job {
    type Item = Result<JobEvent, JobError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.follow.poll_next(cx)
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", self.id()).finish_non_exhaustive()
    }
}

/// A job that was submitted or delegated elsewhere and is followed here. It cannot be cancelled through it. Dropping it ends the
/// subscription.
pub struct Watch {
    follow: Follow,
    subscribed: Box<Subscribed>,
    lease: GrantedLease,
}

impl Watch {
    pub(crate) fn new(link: Link, job: JobId, feed: Feed, subscribed: Box<Subscribed>) -> Self {
        let lease = GrantedLease::from(&*subscribed);
        Self { follow: Follow::new(link, job, feed, true), subscribed, lease }
    }

    /// The job's id.
    #[must_use]
    pub const fn id(&self) -> &JobId {
        self.follow.id()
    }

    /// What the runtime said of the job when it was subscribed to, but for its [credentials](Watch::credentials).
    #[must_use]
    pub const fn subscribed(&self) -> &Subscribed {
        &self.subscribed
    }

    /// What the job may do, until when, and what was left of its budget when it was subscribed to.
    #[must_use]
    pub const fn lease(&self) -> &GrantedLease {
        &self.lease
    }

    /// The credentials of the job, as [`Job::credentials`], if it was submitted by this client's principal.
    #[must_use]
    pub fn credentials(&self) -> Vec<Credential> {
        self.follow.credentials()
    }

    /// The next event, as [`Job::next`].
    ///
    /// # Errors
    /// As for [`Job::next`].
    pub async fn next(&mut self) -> Option<Result<JobEvent, JobError>> {
        std::future::poll_fn(|cx| self.follow.poll_next(cx)).await
    }

    /// The result, as [`Job::result`].
    ///
    /// # Errors
    /// As for [`Job::result`]. A streamed result of which the beginning was not seen is [`JobError::Result`]; a job that
    /// had ended before, and of which nothing is replayed, [`JobError::WasOver`].
    pub async fn result<T: DeserializeOwned>(&mut self) -> Result<T, JobError> {
        self.follow.output().await?.decode()
    }

    /// The result in the form in which it came, as [`Job::output`].
    ///
    /// # Errors
    /// As for [`Watch::result`].
    pub async fn output(&mut self) -> Result<JobOutput, JobError> {
        self.follow.output().await
    }
}

impl Stream for Watch {
    type Item = Result<JobEvent, JobError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.follow.poll_next(cx)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("id", self.id()).finish_non_exhaustive()
    }
}
