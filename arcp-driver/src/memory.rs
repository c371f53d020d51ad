//! A transport inside one process (protocol §10.3).
//!
//! Frames cross as the same text as over any other transport, so a test over it exercises the whole codec.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use arcp_proto::wire::peer::TransportKind;
use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;

use crate::client::Connector;
use crate::queue::{Gone, Receiver, Sender, bounded, lock};
use crate::runtime::{RuntimeHandle, Task, Work};
use crate::transport::{Incoming, Outgoing, TransportError};

/// Frames that wait in each direction.
pub(crate) const FRAMES: usize = 64;
pub(crate) const RUNTIME_FRAME: usize = 1 << 20;
pub(crate) const CLIENT_FRAME: usize = 2 << 20;

/// Two connected ends: the first for a client, the second for a runtime.
///
/// Each direction holds 64 frames; a sender waits for room. Like every transport, the client's end takes messages of at
/// most 2 MiB and the runtime's of at most 1 MiB; a longer one ends the connection. Dropping an end closes it: the other
/// still reads what was flushed, then the end.
#[must_use]
pub fn pair() -> (MemoryTransport, MemoryTransport) {
    let (to_runtime, at_runtime) = bounded(FRAMES);
    let (to_client, at_client) = bounded(FRAMES);
    (
        MemoryTransport::new(to_runtime, at_client, CLIENT_FRAME),
        MemoryTransport::new(to_client, at_runtime, RUNTIME_FRAME),
    )
}

/// One end of a connection inside this process.
pub struct MemoryTransport {
    /// `None` once closed.
    sender: Option<Sender<Bytes>>,
    /// What was given to the sink and not flushed.
    unsent: VecDeque<Bytes>,
    /// `None` once ended.
    receiver: Option<Receiver<Bytes>>,
    received: VecDeque<Bytes>,
    limit: usize,
}

impl MemoryTransport {
    fn new(sender: Sender<Bytes>, receiver: Receiver<Bytes>, limit: usize) -> Self {
        Self {
            sender: Some(sender),
            unsent: VecDeque::new(),
            receiver: Some(receiver),
            received: VecDeque::new(),
            limit,
        }
    }

    /// Hands over what is unsent, as far as there is room.
    fn poll_hand_over(&mut self, cx: &Context<'_>) -> Poll<Result<(), TransportError>> {
        let Some(sender) = &self.sender else { return Poll::Ready(Err(TransportError::Closed)) };
        while !self.unsent.is_empty() {
            let Poll::Ready(room) = sender.poll_room(cx) else { return Poll::Pending };
            let count = room.map_err(closed)?.min(self.unsent.len());
            if count == self.unsent.len() {
                sender.send_all(&mut self.unsent, count).map_err(closed)?;
            } else {
                let mut first = self.unsent.drain(..count).collect();
                sender.send_all(&mut first, count).map_err(closed)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn closed(Gone: Gone) -> TransportError {
    TransportError::Closed
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport")
            .field("open", &self.sender.is_some())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Stream for MemoryTransport {
    type Item = Result<Incoming, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.received.is_empty() {
            let Some(receiver) = &this.receiver else { return Poll::Ready(None) };
            match receiver.poll_take(cx, &mut this.received) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => this.receiver = None,
                Poll::Pending => return Poll::Pending,
            }
        }
        let Some(frame) = this.received.pop_front() else { return Poll::Ready(None) };
        if frame.len() > this.limit {
            this.receiver = None;
            this.received.clear();
            return Poll::Ready(Some(Err(TransportError::TooLarge { limit: this.limit })));
        }
        Poll::Ready(Some(Ok(Incoming::Frame(frame))))
    }
}

impl Sink<Outgoing> for MemoryTransport {
    type Error = TransportError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if self.sender.is_some() && self.unsent.len() < FRAMES {
            return Poll::Ready(Ok(()));
        }
        self.poll_hand_over(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Outgoing) -> Result<(), TransportError> {
        match item {
            Outgoing::Frame(text) => self.unsent.push_back(Bytes::from(text)),
            // Nothing below could answer, and the queues know no close codes.
            Outgoing::Probe | Outgoing::Close(_) => {}
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.poll_hand_over(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if self.sender.is_none() {
            return Poll::Ready(Ok(()));
        }
        let Poll::Ready(result) = self.poll_hand_over(cx) else { return Poll::Pending };
        self.sender = None;
        Poll::Ready(result)
    }
}

/// Connects clients to a runtime of the same process, and can cut the link.
///
/// Each connect makes a [`pair`] and gives the runtime's end to [`RuntimeHandle::accept`]; the future that comes out must
/// be run by somebody, which is what `spawn` is for.
#[derive(Clone)]
pub struct Switchboard {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: RuntimeHandle,
    spawn: Box<dyn Fn(Task) + Send + Sync>,
    links: Mutex<Links>,
}

struct Links {
    /// Whether connects are refused.
    down: bool,
    /// Ends the I/O task of each link when dropped.
    cutters: Vec<futures_channel::oneshot::Sender<()>>,
}

/// The [`Switchboard`] refuses connects at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link is down")]
pub struct LinkDown;

impl Switchboard {
    /// A switchboard before this runtime. `spawn` runs each connection's I/O task.
    pub fn new(runtime: RuntimeHandle, spawn: impl Fn(Task) + Send + Sync + 'static) -> Self {
        let links = Mutex::new(Links { down: false, cutters: Vec::new() });
        Self { shared: Arc::new(Shared { runtime, spawn: Box::new(spawn), links }) }
    }

    /// Cuts every link: both ends find their connection closed. What the runtime had not read is lost; the client still
    /// reads what had reached its end.
    pub fn cut(&self) {
        let cutters = std::mem::take(&mut lock(&self.shared.links).cutters);
        drop(cutters);
    }

    /// Refuses connects from here on, or takes them again.
    pub fn set_down(&self, down: bool) {
        lock(&self.shared.links).down = down;
    }
}

impl fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Switchboard")
    }
}

impl Connector for Switchboard {
    type Transport = MemoryTransport;
    type Error = LinkDown;
    type Connecting = Ready<Result<MemoryTransport, LinkDown>>;

    fn kind(&self) -> TransportKind {
        TransportKind::Memory
    }

    fn connect(&mut self) -> Self::Connecting {
        let mut links = lock(&self.shared.links);
        if links.down {
            return ready(Err(LinkDown));
        }
        let (client, runtime) = pair();
        let (cutter, cut) = futures_channel::oneshot::channel();
        links.cutters.retain(|cutter| !cutter.is_canceled());
        links.cutters.push(cutter);
        drop(links);
        let task = self.shared.runtime.accept(runtime, TransportKind::Memory);
        (self.shared.spawn)(Task::new(Work::Link, UntilCut { task: Some(Box::pin(task)), cut }));
        ready(Ok(client))
    }
}

/// Runs an I/O task until the link is cut.
struct UntilCut<F> {
    task: Option<Pin<Box<F>>>,
    cut: futures_channel::oneshot::Receiver<()>,
}

impl<F: Future<Output = ()>> Future for UntilCut<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(task) = &mut self.task else { return Poll::Ready(()) };
        if task.as_mut().poll(cx).is_pending() && Pin::new(&mut self.cut).poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.task = None;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn send(end: &mut MemoryTransport, text: &str) -> bool {
        let ready = Pin::new(&mut *end).poll_ready(&mut cx()).is_ready();
        if ready {
            Pin::new(end).start_send(Outgoing::Frame(text.into())).unwrap();
        }
        ready
    }

    fn flush(end: &mut MemoryTransport) -> bool {
        Pin::new(end).poll_flush(&mut cx()).map(Result::unwrap).is_ready()
    }

    fn next(end: &mut MemoryTransport) -> Poll<Option<Result<Incoming, TransportError>>> {
        Pin::new(end).poll_next(&mut cx())
    }

    fn text(end: &mut MemoryTransport) -> String {
        match next(end) {
            Poll::Ready(Some(Ok(Incoming::Frame(bytes)))) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn frames_cross_in_order_once_flushed() {
        let (mut client, mut runtime) = pair();
        assert!(send(&mut client, "a") && send(&mut client, "b"));
        assert!(next(&mut runtime).is_pending());
        assert!(flush(&mut client));
        assert_eq!((text(&mut runtime), text(&mut runtime)), ("a".into(), "b".into()));
        assert!(send(&mut runtime, "c") && flush(&mut runtime));
        assert_eq!(text(&mut client), "c");
    }

    #[test]
    fn a_reader_that_sleeps_stops_the_writer() {
        let (mut client, mut runtime) = pair();
        let mut sent = 0;
        while send(&mut client, &sent.to_string()) {
            sent += 1;
        }
        assert_eq!(sent, 2 * FRAMES, "one queue, and as much in the sink before it");
        assert!(!flush(&mut client));
        for number in 0..sent {
            assert_eq!(text(&mut runtime), number.to_string());
            let _ = flush(&mut client);
        }
        assert!(flush(&mut client));
    }

    #[test]
    fn dropping_an_end_closes_it_behind_what_was_flushed() {
        let (mut client, mut runtime) = pair();
        assert!(send(&mut client, "flushed") && flush(&mut client) && send(&mut client, "lost"));
        drop(client);
        assert_eq!(text(&mut runtime), "flushed");
        assert!(matches!(next(&mut runtime), Poll::Ready(None)));
        assert!(send(&mut runtime, "nobody there"));
        assert!(matches!(
            Pin::new(&mut runtime).poll_flush(&mut cx()),
            Poll::Ready(Err(TransportError::Closed))
        ));
    }

    #[test]
    fn closing_sends_what_is_buffered() {
        let (mut client, mut runtime) = pair();
        assert!(send(&mut client, "last"));
        assert!(Pin::new(&mut client).poll_close(&mut cx()).is_ready());
        assert_eq!(text(&mut runtime), "last");
        assert!(matches!(next(&mut runtime), Poll::Ready(None)));
    }

    #[test]
    fn a_frame_over_the_limit_ends_the_connection() {
        let (mut client, mut runtime) = pair();
        assert!(
            send(&mut client, &"x".repeat(RUNTIME_FRAME + 1)) && send(&mut client, "y") && flush(&mut client)
        );
        assert!(matches!(
            next(&mut runtime),
            Poll::Ready(Some(Err(TransportError::TooLarge { limit: RUNTIME_FRAME })))
        ));
        assert!(matches!(next(&mut runtime), Poll::Ready(None)));
    }
}
