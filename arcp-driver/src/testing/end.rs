//! One end of a simulated connection: the transport that a driver is given.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;

use super::cable::{Cable, Flying};
use super::clock::{NodeClock, VirtualTimer};
use super::trace::{Direction, Fate};
use crate::memory::{CLIENT_FRAME, FRAMES, RUNTIME_FRAME};
use crate::queue::{lock, register};
use crate::timer::Timer;
use crate::transport::{Incoming, Outgoing, TransportError};

/// One end of a connection.
pub(super) struct End {
    cable: Arc<Cable>,
    number: u32,
    /// The direction it writes to.
    writes: Direction,
    timer: VirtualTimer,
    /// Nothing more is read.
    over: bool,
}

impl End {
    /// Both ends of another connection, the client's first, with its number.
    pub(super) fn pair(cable: &Arc<Cable>) -> (u32, Self, Self) {
        let number = cable.open();
        let end = |writes| {
            let timer = NodeClock::new(&cable.time).timer();
            Self { cable: cable.clone(), number, writes, timer, over: false }
        };
        (number, end(Direction::ToRuntime), end(Direction::ToClient))
    }

    fn is_runtime(&self) -> bool {
        self.writes == Direction::ToClient
    }

    fn poll_write(&self, cx: &Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut state = lock(&self.cable.state);
        let is_runtime = self.is_runtime();
        let Some(connection) = state.connections.get_mut(&self.number) else {
            return Poll::Ready(Err(TransportError::Closed));
        };
        let (cut, unnoticed) = (connection.cut, connection.unnoticed);
        let lane = &mut connection.lanes[self.writes as usize];
        if cut || unnoticed && !is_runtime || lane.closed {
            return Poll::Ready(Err(TransportError::Closed));
        }
        if lane.flying.len() + lane.void < FRAMES {
            return Poll::Ready(Ok(()));
        }
        register(&mut lane.writer, cx);
        Poll::Pending
    }

    /// Sends a frame, or the end, on its way.
    fn send(&self, frame: Option<Bytes>) {
        let mut state = lock(&self.cable.state);
        let now = self.cable.time.now();
        let latency = state.latency.clone();
        let due = now.after(state.random.span(&latency));
        let Some(connection) = state.connections.get_mut(&self.number) else { return };
        let (cut, unnoticed) = (connection.cut, connection.unnoticed);
        let lane = &mut connection.lanes[self.writes as usize];
        if lane.closed {
            return;
        }
        lane.closed = frame.is_none();
        let frame = frame.map(|text| {
            let ticket = self.cable.log.frame(&self.cable.name, self.number, self.writes, text.clone());
            (text, ticket)
        });
        if cut || unnoticed || lane.deaf {
            if let Some((_, ticket)) = frame {
                lane.void += usize::from(unnoticed);
                self.cable.log.settle(ticket, Fate::Lost);
            }
            return;
        }
        // In order, however long the one before takes.
        let due = lane.flying.back().map_or(due, |before| due.max(before.due));
        lane.flying.push_back(Flying { due, frame });
        let reader = lane.reader.take();
        drop(state);
        if let Some(waker) = reader {
            waker.wake();
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let cable = self.cable.clone();
        let mut state = lock(&cable.state);
        let reads = self.writes.opposite();
        let stalled = state.stalled[reads as usize];
        let is_runtime = self.is_runtime();
        let Some(connection) = state.connections.get_mut(&self.number) else { return Poll::Ready(None) };
        if connection.cut || connection.unnoticed && !is_runtime {
            return Poll::Ready(None);
        }
        let lane = &mut connection.lanes[reads as usize];
        register(&mut lane.reader, cx);
        let Some(first) = lane.flying.front() else { return Poll::Pending };
        // Whoever ends the stall wakes the reader.
        if stalled || self.timer.poll_until(cx, first.due).is_pending() {
            return Poll::Pending;
        }
        let Some((text, ticket)) = lane.flying.pop_front().and_then(|flying| flying.frame) else {
            return Poll::Ready(None);
        };
        let writer = lane.writer.take();
        let cut = state.counts(reads, &text);
        drop(state);
        cable.log.arrived(ticket);
        if let Some(waker) = writer {
            waker.wake();
        }
        if cut {
            cable.cut(" after the frames it was given");
        }
        Poll::Ready(Some(text))
    }
}

impl Stream for End {
    type Item = Result<Incoming, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = self.poll_read(cx) else { return Poll::Pending };
        let limit = if self.is_runtime() { RUNTIME_FRAME } else { CLIENT_FRAME };
        let read = match frame {
            Some(text) if text.len() <= limit => return Poll::Ready(Some(Ok(Incoming::Frame(text)))),
            Some(_) => Some(Err(TransportError::TooLarge { limit })),
            None => None,
        };
        self.over = true;
        Poll::Ready(read)
    }
}

impl Sink<Outgoing> for End {
    type Error = TransportError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.poll_write(cx)
    }

    fn start_send(self: Pin<&mut Self>, item: Outgoing) -> Result<(), TransportError> {
        match item {
            Outgoing::Frame(text) => self.send(Some(Bytes::from(text))),
            // As in memory: nothing below could answer, and a cable knows no close codes.
            Outgoing::Probe | Outgoing::Close(_) => {}
        }
        Ok(())
    }

    /// What was given is on its way.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.send(None);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.send(None);
        let mut state = lock(&self.cable.state);
        let Some(connection) = state.connections.get_mut(&self.number) else { return };
        let lane = &mut connection.lanes[self.writes.opposite() as usize];
        lane.deaf = true;
        lane.lose(&self.cable.log);
        let writer = lane.writer.take();
        if connection.lanes[self.writes as usize].deaf {
            state.connections.remove(&self.number);
        }
        drop(state);
        if let Some(waker) = writer {
            waker.wake();
        }
    }
}
