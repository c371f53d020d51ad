//! A connection's own task, and what the endpoint holds of it.
//!
//! The task frames, encodes and flushes; the endpoint's task never touches a socket. Two queues join them. What waits in
//! each is bounded by bytes.

use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arcp_proto::CloseCode;
use arcp_proto::runtime::ConnectionId;
use arcp_proto::wire::delivery::Frame;
use arcp_proto::wire::event::Content;
use arcp_proto::wire::peer::TransportKind;

use super::{Signal, Source};
use crate::queue::{Inbox, Receiver, Sender, bounded};
use crate::transport::{Incoming, Outgoing, Transport};

/// Bytes that wait on either side, and the frames moved at a time.
const QUEUED_BYTES: usize = 128 * 1024;
pub(super) const BATCH: usize = 256;
/// Batches in each direction before other tasks get their turn.
const TURNS: usize = 4;
/// What a frame costs beside its text, so that many empty ones count, too.
const FRAME_COST: usize = 256;

/// What the endpoint gives to a connection's task.
pub(super) enum ToPeer {
    Frame(Frame),
    Probe,
    Close(CloseCode),
}

/// The endpoint's half of a connection that was just accepted.
pub(crate) struct Accepted {
    pub(super) kind: TransportKind,
    pub(super) address: Option<IpAddr>,
    /// Nobody in between can read it.
    pub(super) secured: bool,
    pub(super) inbound: Receiver<Incoming>,
    pub(super) outbound: Sender<ToPeer>,
}

/// A connection as the endpoint knows it.
pub(super) struct Connection {
    pub(super) inbound: Receiver<Incoming>,
    pub(super) received: VecDeque<Incoming>,
    pub(super) outbound: Sender<ToPeer>,
    /// Note in the endpoint's inbox that frames, or the end, have come in.
    pub(super) readable: Waker,
    /// Notes there that there is room for frames again.
    pub(super) writable: Waker,
    /// The core has frames for it, and it stands in the endpoint's list of connections to fill or waits for room.
    pub(super) flushing: bool,
    /// The core does not take its frames at the moment.
    pub(super) held: bool,
    /// To be closed behind the last frame.
    pub(super) closing: Option<CloseCode>,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, accepted: Accepted, inbox: &Arc<Inbox<Signal>>) -> Self {
        Self {
            inbound: accepted.inbound,
            received: VecDeque::new(),
            outbound: accepted.outbound,
            readable: inbox.waker(Source::Readable(id)),
            writable: inbox.waker(Source::Writable(id)),
            flushing: false,
            held: false,
            closing: None,
        }
    }
}

/// What a frame weighs in the queue to its connection: about its bytes, told without encoding it.
pub(super) fn weight(frame: &Frame) -> usize {
    let bytes = match frame {
        Frame::Text(text) => text.len(),
        Frame::Numbered { event, .. } => match &event.content {
            Content::Event { body, .. } => body.len(),
            Content::Chunk { data, .. } => data.len(),
            // Few in a job's life; what they weigh beyond this does not add up.
            Content::Rotated { .. } | Content::End(_) => FRAME_COST,
        },
    };
    bytes + FRAME_COST
}

/// Both halves of a connection's queues, and the task between them and `transport`.
pub(super) fn connection<T: Transport>(
    transport: T,
    kind: TransportKind,
    address: Option<IpAddr>,
    secured: bool,
) -> (Accepted, ConnectionTask<T>) {
    let (to_endpoint, inbound) = bounded(QUEUED_BYTES);
    let (outbound, from_endpoint) = bounded(QUEUED_BYTES);
    let task = ConnectionTask {
        transport,
        to_endpoint: Some(to_endpoint),
        from_endpoint,
        incoming: VecDeque::new(),
        outgoing: VecDeque::new(),
        unflushed: false,
        closing: false,
    };
    (Accepted { kind, address, secured, inbound, outbound }, task)
}

/// The I/O task of one connection.
pub(super) struct ConnectionTask<T> {
    transport: T,
    /// `None` once nothing more is read.
    to_endpoint: Option<Sender<Incoming>>,
    from_endpoint: Receiver<ToPeer>,
    incoming: VecDeque<Incoming>,
    outgoing: VecDeque<ToPeer>,
    unflushed: bool,
    closing: bool,
}

/// How far a part of the task came.
enum Step {
    /// It waits for something, and its waker is registered.
    Waits,
    /// It did a batch and may have more to do.
    More,
    /// The connection is to be given up without further ado.
    Over,
}

impl<T: Transport> ConnectionTask<T> {
    fn write(&mut self, cx: &mut Context<'_>) -> Step {
        // An endpoint that drops its half has no patience left, or is gone.
        if self.from_endpoint.poll_abandoned(cx) {
            return Step::Over;
        }
        if self.outgoing.is_empty() && self.from_endpoint.poll_take(cx, &mut self.outgoing).is_pending() {
            return self.flush(cx);
        }
        let mut transport = Pin::new(&mut self.transport);
        for _ in 0..BATCH {
            if self.outgoing.is_empty() {
                break;
            }
            match transport.as_mut().poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Step::Over,
                Poll::Pending => return Step::Waits,
            }
            let item = match self.outgoing.pop_front() {
                Some(ToPeer::Frame(frame)) => Outgoing::Frame(frame.encode()),
                Some(ToPeer::Probe) => Outgoing::Probe,
                Some(ToPeer::Close(code)) => {
                    self.closing = true;
                    Outgoing::Close(code)
                }
                None => break,
            };
            if transport.as_mut().start_send(item).is_err() {
                return Step::Over;
            }
            self.unflushed = true;
            if self.closing {
                return Step::More;
            }
        }
        Step::More
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Step {
        if self.unflushed {
            match Pin::new(&mut self.transport).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => return Step::Over,
                Poll::Pending => {}
            }
        }
        Step::Waits
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Step {
        let Some(to_endpoint) = &self.to_endpoint else { return Step::Waits };
        let room = match to_endpoint.poll_room(cx) {
            Poll::Ready(Ok(room)) => room,
            Poll::Ready(Err(_)) => return Step::Over,
            Poll::Pending => return Step::Waits,
        };
        let mut taken = 0;
        let mut step = Step::More;
        while taken < room && self.incoming.len() < BATCH {
            match Pin::new(&mut self.transport).poll_next(cx) {
                Poll::Ready(Some(Ok(incoming))) => {
                    taken += FRAME_COST;
                    if let Incoming::Frame(frame) = &incoming {
                        taken += frame.len();
                    }
                    self.incoming.push_back(incoming);
                }
                Poll::Ready(Some(Err(_)) | None) => {
                    step = Step::Over;
                    break;
                }
                Poll::Pending => {
                    step = Step::Waits;
                    break;
                }
            }
        }
        if !self.incoming.is_empty() && to_endpoint.send_all(&mut self.incoming, taken).is_err() {
            return Step::Over;
        }
        step
    }

    /// Stops reading, which tells the endpoint that the connection is at its end, and sees the transport closed.
    fn start_closing(&mut self) {
        self.to_endpoint = None;
        self.closing = true;
    }
}

impl<T: Transport> Future for ConnectionTask<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut turns = 0;
        while !this.closing {
            if turns == TURNS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            turns += 1;
            let written = this.write(cx);
            if let Step::Over = written {
                return Poll::Ready(());
            }
            if this.closing {
                break;
            }
            match (written, this.read(cx)) {
                // The peer has closed, or broken the transport's rules: what the transport still has to say about it
                // goes out, as long as the endpoint has patience.
                (_, Step::Over) => this.start_closing(),
                (Step::Waits, Step::Waits) => return Poll::Pending,
                _ => {}
            }
        }
        if this.from_endpoint.poll_abandoned(cx) {
            return Poll::Ready(());
        }
        Pin::new(&mut this.transport).poll_close(cx).map(|_| ())
    }
}
