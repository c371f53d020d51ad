//! The endpoint's task: from the start to the end.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arcp_proto::runtime::store::StoreId;
use arcp_proto::runtime::{Recovery, RecoveryError, RuntimeEndpoint, Step};

use super::turn::{Halt, Loop, Parts};
use super::{End, Signal};
use crate::queue::Inbox;
use crate::timer::Timer;

/// The task in which all sessions and jobs of a runtime live: a future that ends after
/// [`RuntimeHandle::shut_down`](super::RuntimeHandle::shut_down), or when no handle, connection or job is left.
///
/// It first reads back what the store knows; connections wait for that. Then each turn of its loop carries out what the core
/// asks for, fills the queues of connections that have room, takes in answers of the store, then what agents and connections
/// have to say: a bounded batch of each, so that none of them keeps another waiting for more than a turn.
///
/// Dropping it cuts every connection and drops every agent.
#[must_use = "a runtime runs only while its endpoint is polled"]
pub struct Endpoint<T> {
    state: State<T>,
    inbox: Arc<Inbox<Signal>>,
    end: Arc<End>,
}

enum State<T> {
    Recovering(Box<Recovering<T>>),
    Running(Box<Loop<T>>),
    Ended,
}

struct Recovering<T> {
    recovery: Recovery,
    /// The command the store works on.
    asked: Option<StoreId>,
    parts: Parts<T>,
}

// Nothing in it is pinned in place.
impl<T> Unpin for Endpoint<T> {}

/// Why a runtime ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The store failed, so nothing may leave this runtime any more. All connections are cut; a new process continues from
    /// what the store holds.
    #[error("the store failed; nothing may leave this runtime any more")]
    Halted,
    /// What the store holds cannot be read back.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
}

impl<T: Timer> Endpoint<T> {
    pub(super) fn new(recovery: Recovery, parts: Parts<T>, end: Arc<End>) -> Self {
        let inbox = parts.inbox.clone();
        Self { state: State::Recovering(Box::new(Recovering { recovery, asked: None, parts })), inbox, end }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Recovering(mut recovering) => match recovering.poll(cx)? {
                    Poll::Ready(core) => {
                        self.state = State::Running(Box::new(Loop::new(core, recovering.parts)))
                    }
                    Poll::Pending => {
                        self.state = State::Recovering(recovering);
                        return Poll::Pending;
                    }
                },
                State::Running(mut running) => match running.poll(cx) {
                    Poll::Ready(result) => return Poll::Ready(result.map_err(|Halt| EndpointError::Halted)),
                    Poll::Pending => {
                        self.state = State::Running(running);
                        return Poll::Pending;
                    }
                },
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<T: Timer> Recovering<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<RuntimeEndpoint>, RecoveryError>> {
        loop {
            match self.recovery.step() {
                Step::Ready(core) => return Poll::Ready(Ok(core)),
                Step::NeedsStore { id, command } => {
                    let at_once = if self.asked == Some(id) {
                        None
                    } else {
                        self.asked = Some(id);
                        self.parts.store.submit(id, command)
                    };
                    let (id, done) = match at_once {
                        Some(done) => (id, done),
                        None => ready!(self.parts.store.poll_done(cx)),
                    };
                    self.recovery.handle_store(id, done)?;
                }
            }
        }
    }
}

impl<T: Timer> Future for Endpoint<T> {
    type Output = Result<(), EndpointError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.poll_end(cx));
        self.inbox.close();
        self.end.reach();
        Poll::Ready(result)
    }
}

impl<T> Drop for Endpoint<T> {
    fn drop(&mut self) {
        // Whatever was not accepted yet is dropped with the inbox, and so are those who wait for the end let go.
        self.inbox.close();
        self.end.reach();
    }
}

impl<T> fmt::Debug for Endpoint<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            State::Recovering(_) => "Endpoint(recovering)",
            State::Running(_) => "Endpoint(running)",
            State::Ended => "Endpoint(ended)",
        })
    }
}
