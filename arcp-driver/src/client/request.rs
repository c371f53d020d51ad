//! What the application asks of its session.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use arcp_proto::client::{ListQuery, RequestId, Submission, Subscription};
use arcp_proto::error::ApiMisuse;
use arcp_proto::id::JobId;
use arcp_proto::lease::LeaseRequest;
use arcp_proto::time::UnixTime;
use arcp_proto::trace::TraceId;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::job::Cancelled;
use arcp_proto::wire::list::Jobs;
use futures_channel::oneshot;
use serde::Serialize;

use super::follow::{FollowerId, Taken};
use super::{Client, ClientError, Link};
use crate::job::{Job, Watch};

/// What handles tell the driver.
pub(crate) enum Command {
    Submit(Box<Submission>, Reply<Job>),
    Subscribe(JobId, Subscription, Reply<Watch>),
    Cancel(JobId, Option<String>, Reply<Cancelled>),
    List(Box<ListQuery>, Reply<Box<Jobs>>),
    /// The application has these events.
    Taken(Taken),
    /// The application wants no more of a job.
    Drop(JobId, FollowerId),
    /// The application wants no more children of this submit.
    DropChildren(RequestId),
    ReconnectNow,
    Close,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, ClientError>>;

/// A request on its way.
#[must_use = "futures do nothing unless polled"]
pub struct Pending<T> {
    state: State<T>,
    link: Link,
}

enum State<T> {
    Refused(Option<ClientError>),
    Waiting(oneshot::Receiver<Result<T, ClientError>>),
}

// The value is never pinned.
impl<T> Unpin for Pending<T> {}

impl<T> Pending<T> {
    pub(crate) fn refused(link: &Link, error: ClientError) -> Self {
        Self { state: State::Refused(Some(error)), link: link.clone() }
    }

    pub(crate) fn ask(link: &Link, command: impl FnOnce(Reply<T>) -> Command) -> Self {
        let (reply, answer) = oneshot::channel();
        // A driver that is gone drops the command, and the reply with it.
        let _ = link.commands.force(command(reply));
        Self { state: State::Waiting(answer), link: link.clone() }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match &mut this.state {
            State::Refused(error) => Poll::Ready(Err(error.take().unwrap_or_else(|| this.link.why_closed()))),
            State::Waiting(answer) => match Pin::new(answer).poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(result)) => Poll::Ready(result),
                Poll::Ready(Err(oneshot::Canceled)) => Poll::Ready(Err(this.link.why_closed())),
            },
        }
    }
}

/// A job to submit; made by [`Client::submit`] and sent when awaited.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(client: arcp_driver::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let job = client
///     .submit("research")
///     .input(&"the price of tea")
///     .lease("tool.call", ["search.*"])
///     .lease("agent.delegate", ["summarise"])
///     .budget("USD:1.00")
///     .expires_in(Duration::from_secs(600))
///     .await?;
/// println!("may call {:?}", job.lease().patterns("tool.call"));
/// # Ok(())
/// # }
/// ```
///
/// To a runtime that knows no budgets, models or ends of leases a submit that asks for one is not sent: it fails with
/// [`RequestError::Unsupported`](crate::RequestError::Unsupported).
#[must_use = "nothing is submitted unless this is awaited"]
pub struct Submit<'a> {
    client: &'a Client,
    submission: Submission,
    fault: Option<ApiMisuse>,
}

impl<'a> Submit<'a> {
    pub(super) fn new(client: &'a Client, agent: String) -> Self {
        Self { client, submission: Submission::new(agent, RawJson::empty_object()), fault: None }
    }

    /// The input; `{}` unless given, which an agent that takes `()` or an `Option` reads as nothing.
    pub fn input<T: Serialize + ?Sized>(mut self, input: &T) -> Self {
        match RawJson::encode(input) {
            Ok(input) => self.submission.input = input,
            Err(error) => {
                let fault = || ApiMisuse::OutOfRange(format!("`input` cannot be sent: {error}").into());
                self.fault.get_or_insert_with(fault);
            }
        }
        self
    }

    /// The input as JSON text.
    pub fn input_raw(mut self, input: RawJson) -> Self {
        self.submission.input = input;
        self
    }

    /// Names the job, 1 to 256 bytes: submitting it again with the same parameters, from anywhere, finds this job and does
    /// not start another. A random key unless given.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.submission = self.submission.idempotency_key(key);
        self
    }

    /// Ends the job if it takes longer: 1 second to 365 days, counted from acceptance, rounded up to whole seconds.
    pub fn max_runtime(mut self, limit: Duration) -> Self {
        let seconds = limit.as_secs().saturating_add(u64::from(limit.subsec_nanos() > 0));
        self.submission = self.submission.max_runtime_sec(seconds);
        self
    }

    /// Makes the job part of a trace (protocol §7).
    pub fn trace_id(mut self, trace: TraceId) -> Self {
        self.submission = self.submission.trace_id(trace);
        self
    }

    /// Asks to be allowed what these patterns cover: of `fs.read`, `fs.write`, `net.fetch`, `tool.call`,
    /// `agent.delegate`, `model.use` or `x-vendor.<vendor>.<name>`. Several calls add up; what no call names the job may
    /// not do. The runtime may grant less: see [`Job::lease`].
    pub fn lease<P: Into<String>>(
        self,
        namespace: impl Into<String>,
        patterns: impl IntoIterator<Item = P>,
    ) -> Self {
        self.change_lease(|lease| lease.grant(namespace, patterns))
    }

    /// Asks for a lease that was put together elsewhere, in the place of all that was asked for before.
    pub fn lease_request(self, lease: LeaseRequest) -> Self {
        self.change_lease(|_| lease)
    }

    /// Limits what the job may spend in one currency, as `USD:1.00`. Several calls limit several currencies.
    pub fn budget(self, amount: impl Into<String>) -> Self {
        self.change_lease(|lease| lease.budget(amount))
    }

    /// Ends the lease, and the job with it, at this time of the runtime's clock.
    pub fn expires_at(self, time: UnixTime) -> Self {
        self.change_lease(|lease| lease.expires_at(time))
    }

    /// Ends the lease, and the job with it, this long from now by the clock of this client. With a [`key`](Self::key),
    /// submitting again asks for another time, which is another submit: give that one [`expires_at`](Self::expires_at).
    pub fn expires_in(self, span: Duration) -> Self {
        self.change_lease(|lease| lease.expires_in(span))
    }

    /// Asks for the jobs that this one delegates, and those that they delegate, too: see [`Job::children`].
    pub const fn children(mut self) -> Self {
        self.submission.children = true;
        self
    }

    fn change_lease(mut self, change: impl FnOnce(LeaseRequest) -> LeaseRequest) -> Self {
        self.submission.lease = change(self.submission.lease);
        self
    }
}

impl IntoFuture for Submit<'_> {
    type Output = Result<Job, ClientError>;
    type IntoFuture = Pending<Job>;

    fn into_future(self) -> Pending<Job> {
        let link = &self.client.link;
        match self.fault {
            Some(fault) => Pending::refused(link, fault.into()),
            None => Pending::ask(link, |reply| Command::Submit(Box::new(self.submission), reply)),
        }
    }
}

/// A job to follow; made by [`Client::watch`] and asked for when awaited. Begins with the next event unless told
/// otherwise.
#[must_use = "nothing is followed unless this is awaited"]
pub struct Subscribe<'a> {
    client: &'a Client,
    job: JobId,
    start: Subscription,
}

impl<'a> Subscribe<'a> {
    pub(super) const fn new(client: &'a Client, job: JobId) -> Self {
        Self { client, job, start: Subscription::Live }
    }

    /// Begins with the oldest event the runtime still has.
    pub const fn history(mut self) -> Self {
        self.start = Subscription::History;
        self
    }

    /// Begins behind this position of the job, an event's `pos` (`from_pos` on the wire).
    pub const fn after(mut self, position: u64) -> Self {
        self.start = Subscription::HistoryFromPos(position);
        self
    }

    /// Begins behind this origin number, as a list of jobs names it (`from_event_seq` on the wire).
    pub const fn after_origin(mut self, number: u64) -> Self {
        self.start = Subscription::HistoryFromSeq(number);
        self
    }
}

impl IntoFuture for Subscribe<'_> {
    type Output = Result<Watch, ClientError>;
    type IntoFuture = Pending<Watch>;

    fn into_future(self) -> Pending<Watch> {
        Pending::ask(&self.client.link, |reply| Command::Subscribe(self.job, self.start, reply))
    }
}

/// A cancel; made by [`Job::cancel`] or [`Client::cancel`] and sent when awaited.
#[must_use = "nothing is cancelled unless this is awaited"]
pub struct Cancel<'a> {
    link: &'a Link,
    job: JobId,
    reason: Option<String>,
}

impl<'a> Cancel<'a> {
    pub(crate) const fn new(link: &'a Link, job: JobId) -> Self {
        Self { link, job, reason: None }
    }

    /// Why, for people and for the agent; cut at 1 024 bytes.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

impl IntoFuture for Cancel<'_> {
    type Output = Result<Cancelled, ClientError>;
    type IntoFuture = Pending<Cancelled>;

    fn into_future(self) -> Pending<Cancelled> {
        Pending::ask(self.link, |reply| Command::Cancel(self.job, self.reason, reply))
    }
}
