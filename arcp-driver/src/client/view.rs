//! What the application can see of its session.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use arcp_proto::client::{ClosedReason, Connected};
use arcp_proto::feature::Feature;
use arcp_proto::id::SessionId;
use arcp_proto::wire::session::ErrorPayload;
use futures_core::Stream;

use crate::queue::{Receiver, Sender, bounded, lock};

/// Events a listener may leave unheard.
const UNHEARD: usize = 1_024;

/// Where a client's session stands.
#[derive(Debug, Clone)]
pub enum SessionState {
    /// No connection was made yet.
    Connecting,
    /// The session is open.
    Connected(Arc<Connected>),
    /// The connection is lost; another is being made.
    Disconnected,
    /// The session is over.
    Closed(Arc<ClosedReason>),
    /// The client's driver was dropped while the session was open, so nothing moves any more.
    DriverDropped,
}

/// What happens to a client's session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The session is open. [`Connected::resumed`] says whether the streams of all jobs go on where they were cut.
    Connected(Arc<Connected>),
    /// The connection is lost; another is being made.
    Disconnected,
    /// No transport could be opened; another attempt follows. What the connector says about it.
    ConnectFailed(Arc<str>),
    /// Numbers are missing in the session's stream and will not come (protocol §4.2). Jobs of this session are told, too.
    Gap {
        /// The first missing number.
        from: u64,
        /// The last missing number.
        to: u64,
    },
    /// The runtime said that something is wrong, and it is not about any request.
    RuntimeError(Arc<ErrorPayload>),
    /// The listener was too slow: so many events before this one were dropped.
    Missed(u64),
    /// The session is over; nothing follows.
    Closed(Arc<ClosedReason>),
}

/// The events of a client's session from the moment it was asked for; ends with the session.
///
/// At most 1 024 wait for a listener. What comes then is dropped and counted.
#[must_use = "streams do nothing unless polled"]
pub struct SessionEvents {
    queue: Receiver<SessionEvent>,
    taken: VecDeque<SessionEvent>,
}

impl SessionEvents {
    /// The next event; `None` once the session is over.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for SessionEvents {
    type Item = SessionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SessionEvent>> {
        let this = &mut *self;
        if this.taken.is_empty() && this.queue.poll_take(cx, &mut this.taken).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(this.taken.pop_front())
    }
}

impl fmt::Debug for SessionEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionEvents")
    }
}

/// The state, and who wants to know about it. Shared by the driver and all handles.
pub(crate) struct View {
    inner: Mutex<Inner>,
}

struct Inner {
    state: SessionState,
    session: Option<SessionId>,
    /// The runtime is an endpoint of ours.
    is_core: bool,
    waiting: Vec<Waker>,
    listeners: Vec<Listener>,
}

struct Listener {
    queue: Sender<SessionEvent>,
    missed: u64,
}

impl View {
    pub(super) fn new() -> Self {
        let inner = Inner {
            state: SessionState::Connecting,
            session: None,
            is_core: false,
            waiting: Vec::new(),
            listeners: Vec::new(),
        };
        Self { inner: Mutex::new(inner) }
    }

    pub(crate) fn state(&self) -> SessionState {
        lock(&self.inner).state.clone()
    }

    pub(super) fn session_id(&self) -> Option<SessionId> {
        lock(&self.inner).session.clone()
    }

    /// Whether the runtime is an endpoint of ours.
    pub(crate) fn is_core(&self) -> bool {
        lock(&self.inner).is_core
    }

    pub(super) fn listen(&self) -> SessionEvents {
        let (sender, queue) = bounded(UNHEARD);
        let mut inner = lock(&self.inner);
        if !inner.is_over() {
            inner.listeners.push(Listener { queue: sender, missed: 0 });
        }
        SessionEvents { queue, taken: VecDeque::new() }
    }

    /// Ready with what `wanted` makes of the state.
    pub(super) fn poll_until<T>(
        &self,
        cx: &Context<'_>,
        wanted: impl FnOnce(&SessionState) -> Option<T>,
    ) -> Poll<T> {
        let mut inner = lock(&self.inner);
        if let Some(value) = wanted(&inner.state) {
            return Poll::Ready(value);
        }
        if !inner.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Something happened. State and events change together, so nobody sees one without the other.
    pub(super) fn tell(&self, event: SessionEvent) {
        let mut inner = lock(&self.inner);
        let state = match &event {
            SessionEvent::Connected(connected) => {
                inner.session = Some(connected.session_id.clone());
                inner.is_core = connected.features.has(Feature::Core);
                Some(SessionState::Connected(connected.clone()))
            }
            SessionEvent::Disconnected => Some(SessionState::Disconnected),
            SessionEvent::Closed(reason) => Some(SessionState::Closed(reason.clone())),
            SessionEvent::ConnectFailed(_)
            | SessionEvent::Gap { .. }
            | SessionEvent::RuntimeError(_)
            | SessionEvent::Missed(_) => None,
        };
        inner.listeners.retain_mut(|listener| listener.tell(&event));
        if let Some(state) = state {
            inner.set(state);
        }
    }

    /// The driver is gone. Without a word on the session's end it was dropped.
    pub(super) fn leave(&self) {
        let mut inner = lock(&self.inner);
        if !inner.is_over() {
            inner.set(SessionState::DriverDropped);
        }
    }
}

impl Inner {
    fn set(&mut self, state: SessionState) {
        self.state = state;
        // Waking under the lock: a waker only schedules its task, which then waits its turn for the lock.
        self.waiting.drain(..).for_each(Waker::wake);
        if self.is_over() {
            self.listeners.clear();
        }
    }

    const fn is_over(&self) -> bool {
        matches!(self.state, SessionState::Closed(_) | SessionState::DriverDropped)
    }
}

impl Listener {
    /// Whether it still listens.
    fn tell(&mut self, event: &SessionEvent) -> bool {
        match self.queue.poll_room(&Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                self.missed += 1;
                true
            }
            Poll::Ready(Err(_)) => false,
            Poll::Ready(Ok(_)) => {
                let missed = std::mem::take(&mut self.missed);
                if missed > 0 {
                    let _ = self.queue.force(SessionEvent::Missed(missed));
                }
                self.queue.force(event.clone()).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_executor::block_on;

    #[test]
    fn a_slow_listener_is_told_what_it_missed() {
        let view = View::new();
        let mut events = view.listen();
        for number in 0..u64::try_from(UNHEARD).unwrap() + 5 {
            view.tell(SessionEvent::Gap { from: number, to: number });
        }
        for _ in 0..UNHEARD {
            assert!(matches!(block_on(events.next()), Some(SessionEvent::Gap { .. })));
        }
        view.tell(SessionEvent::Closed(Arc::new(ClosedReason::Requested)));
        assert!(matches!(block_on(events.next()), Some(SessionEvent::Missed(5))));
        assert!(matches!(block_on(events.next()), Some(SessionEvent::Closed(_))));
        assert!(block_on(events.next()).is_none());
        assert!(block_on(view.listen().next()).is_none());
    }
}
