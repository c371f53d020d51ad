//! A runtime: agents, who may use them, and where their events are kept.

mod agents;
mod builder;
mod connection;
mod endpoint;
mod jobs;
mod leases;
mod observer;
mod policy;
mod provisioner;
mod said;
mod sleep;
mod task;
mod turn;
mod verifier;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arcp_proto::error::ApiMisuse;
use arcp_proto::id::JobKey;
use arcp_proto::runtime::{
    AuthId, ConnectionId, DecisionId, IssueId, Issued, JobHandle, LeaseDecision, RevocationId, Revoked,
    Verdict,
};
use arcp_proto::wire::peer::TransportKind;

use futures_channel::oneshot;

use crate::queue::{Inbox, lock};
use crate::transport::Transport;

pub use builder::{BuildError, Runtime, RuntimeBuilder};
pub use endpoint::{Endpoint, EndpointError};
pub use leases::LeasePolicy;
pub use provisioner::Provisioner;
pub use task::{Task, Tasks};
pub use verifier::Verifier;

pub(crate) use said::{Asked, Said, Undelegated};
pub(crate) use sleep::Alarm;
pub(crate) use task::{Control, Work};

/// What the endpoint's inbox holds.
enum Signal {
    /// Something lies in a queue, or its other end is gone.
    Source(Source),
    /// A transport was accepted.
    Accepted(Box<connection::Accepted>),
    /// A verifier has decided.
    Verdict(AuthId, Verdict),
    /// A policy has decided on a lease.
    Decision(DecisionId, LeaseDecision),
    /// A provisioner has answered.
    Issued(IssueId, Issued),
    /// The same for a revocation.
    Revoked(RevocationId, Revoked),
    /// Somebody wants another credential for a job.
    Rotate(JobKey, oneshot::Sender<Result<(), ApiMisuse>>),
    /// An agent wants to be woken after this long.
    Sleep(Duration, oneshot::Sender<()>),
    /// The rules of who sees what give other answers.
    PolicyChanged,
    /// Somebody asked for the end.
    ShutDown,
    /// No handle is left: nothing more is accepted.
    Alone,
}

/// What signals that it has something for the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Readable(ConnectionId),
    Writable(ConnectionId),
    Job(JobHandle),
}

impl From<Source> for Signal {
    fn from(source: Source) -> Self {
        Self::Source(source)
    }
}

/// A started runtime, held by whoever accepts connections for it. Cheap to clone.
///
/// When the last one is dropped the endpoint goes on serving its connections and jobs, and ends with them.
#[derive(Clone)]
pub struct RuntimeHandle {
    hold: Arc<Hold>,
}

struct Hold {
    inbox: Arc<Inbox<Signal>>,
    end: Arc<End>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.inbox.post(Signal::Alone);
    }
}

/// Whether the endpoint has ended, and who waits for it.
#[derive(Default)]
struct End {
    state: Mutex<(bool, Vec<Waker>)>,
}

impl End {
    fn reach(&self) {
        let mut state = lock(&self.state);
        state.0 = true;
        let waiting = std::mem::take(&mut state.1);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.0 {
            return Poll::Ready(());
        }
        if !state.1.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.1.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl RuntimeHandle {
    fn new(inbox: Arc<Inbox<Signal>>, end: Arc<End>) -> Self {
        Self { hold: Arc::new(Hold { inbox, end }) }
    }

    /// Serves a connection from a network address, for which limits of their own hold; see
    /// [`Limits`](arcp_proto::config::Limits). Otherwise as [`RuntimeHandle::accept`].
    pub fn accept_from<T: Transport + 'static>(
        &self,
        transport: T,
        kind: TransportKind,
        address: IpAddr,
    ) -> impl Future<Output = ()> + Send + use<T> {
        self.serve(transport, kind, Some(address), false)
    }

    /// The same for a connection that nobody in between can read, because it is encrypted. Only over such connections, those
    /// from this machine and those without an address are clients given credentials (protocol §2.3).
    pub fn accept_secured<T: Transport + 'static>(
        &self,
        transport: T,
        kind: TransportKind,
        address: IpAddr,
    ) -> impl Future<Output = ()> + Send + use<T> {
        self.serve(transport, kind, Some(address), true)
    }

    /// Serves a connection. The future is its I/O task: it reads, writes, encodes and flushes until either side closes,
    /// and must be run. Dropping it cuts the connection; the session can be resumed.
    pub fn accept<T: Transport + 'static>(
        &self,
        transport: T,
        kind: TransportKind,
    ) -> impl Future<Output = ()> + Send + use<T> {
        self.serve(transport, kind, None, false)
    }

    fn serve<T: Transport>(
        &self,
        transport: T,
        kind: TransportKind,
        address: Option<IpAddr>,
        secured: bool,
    ) -> connection::ConnectionTask<T> {
        let (accepted, task) = connection::connection(transport, kind, address, secured);
        self.hold.inbox.post(Signal::Accepted(Box::new(accepted)));
        task
    }

    /// The rules of [`RuntimeBuilder::observe`] give other answers than before: subscriptions that they allow no longer end.
    /// Lists and new requests follow the rules anyway.
    pub fn policy_changed(&self) {
        self.hold.inbox.post(Signal::PolicyChanged);
    }

    /// Has the credential of a job replaced by a new one: its agent and its submitter are told once that is there, and the
    /// old one is revoked. Await it to hear whether it is being done; the observer is told what came of it.
    ///
    /// # Errors
    /// [`ApiMisuse::UnknownHandle`] if there is no such job, [`ApiMisuse::JobEnded`] if it has ended, and what is missing
    /// where jobs are given no credentials.
    pub fn rotate(&self, job: JobKey) -> impl Future<Output = Result<(), ApiMisuse>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        self.hold.inbox.post(Signal::Rotate(job, answer));
        // An endpoint that is gone has no jobs.
        async move { answered.await.unwrap_or(Err(ApiMisuse::UnknownHandle)) }
    }

    /// Says goodbye to every client, closes their connections and ends the endpoint. Jobs that still run are dropped, and
    /// their agents with them: a durable store knows them, and what becomes of them is decided when it is opened again.
    pub fn shut_down(&self) -> ShutDown {
        self.hold.inbox.post(Signal::ShutDown);
        ShutDown { end: self.hold.end.clone() }
    }
}

impl fmt::Debug for RuntimeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuntimeHandle")
    }
}

/// The end of a runtime that [`RuntimeHandle::shut_down`] asked for. It comes whether this is awaited or not.
#[must_use = "shutting down takes a moment; await it"]
pub struct ShutDown {
    end: Arc<End>,
}

impl Future for ShutDown {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.end.poll(cx)
    }
}
