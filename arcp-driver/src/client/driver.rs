//! The client's task: the loop around the core, and its transport.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arcp_proto::client::{ClientEndpoint, ClientEvent, ClosedReason, Output, RequestError, RequestId};
use arcp_proto::config::ClientConfig;
use arcp_proto::entropy::Entropy;
use arcp_proto::id::JobId;
use arcp_proto::time::{Instant, Now};
use arcp_proto::wire::job::{Accepted, Cancelled, FinalStatus, Subscribed};

use super::connector::Connector;
use super::follow::{Jobs, News, Taken, Unfollowed};
use super::line::{Line, Progress};
use super::request::{Command, Reply};
use super::view::{SessionEvent, View};
use super::{ClientError, Link};
use crate::job::{Follow, Job, Watch};
use crate::queue::{Receiver, Sender};
use crate::timer::Timer;

/// Turns before other tasks of the executor get theirs.
const TURNS: usize = 16;

/// A client's work: a future that owns the session and its transport, and ends when the session is over, with the reason.
///
/// It connects, reads, writes, resumes after a loss, and puts events into the queues of jobs; it never waits for the
/// application. Dropping it ends everything at once.
#[must_use = "a client does nothing unless its driver is polled"]
pub struct Driver<C: Connector, T> {
    core: ClientEndpoint,
    timer: T,
    connector: C,
    line: Line<C>,
    commands: Receiver<Command>,
    asked: VecDeque<Command>,
    /// Some handle exists; without one there is nobody to work for.
    wanted: bool,
    view: Arc<View>,
    /// For the jobs that are made here. Weak, so that they do not keep the session open by themselves.
    back: WeakLink,
    submits: HashMap<RequestId, Reply<Job>>,
    subscribes: HashMap<RequestId, Reply<Watch>>,
    cancels: HashMap<RequestId, Reply<Cancelled>>,
    jobs: Jobs,
    over: Option<Arc<ClosedReason>>,
}
