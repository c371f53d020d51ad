//! What lies between a client and the runtime: the connections it has made, and everything that is on its way.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arcp_proto::time::Instant;
use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;

use super::clock::{NodeClock, Time, VirtualTimer};
use super::random::Random;
use super::trace::{Direction, Fate, Log, Ticket};
use crate::memory::{CLIENT_FRAME, FRAMES, RUNTIME_FRAME};
use crate::queue::{lock, register};
use crate::timer::Timer;
use crate::transport::{Incoming, Outgoing, TransportError};

/// A client's cable: one connection at a time, or more if the runtime has not noticed that one is gone.
pub(super) struct Cable {
    pub(super) name: Arc<str>,
    time: Arc<Time>,
    log: Arc<Log>,
    state: Mutex<State>,
}

pub(super) struct State {
    random: Random,
    made: u32,
    connections: BTreeMap<u32, Connection>,
    pub(super) latency: Range<Duration>,
    pub(super) refuses: bool,
    /// Nothing arrives in this direction, and nothing is lost.
    pub(super) stalled: [bool; 2],
    /// The cable is cut behind so many more.
    pub(super) events_left: Option<u64>,
    pub(super) frames_left: Option<u64>,
    /// And again behind a number of frames drawn from here.
    pub(super) again: Option<Range<u64>>,
    /// Connects that wait for a stall to end.
    dialing: Vec<Waker>,
}

/// One connection.
#[derive(Default)]
struct Connection {
    /// By [`Direction`].
    lanes: [Lane; 2],
    /// Cut: both ends know, and nothing is on its way any more.
    cut: bool,
    /// The runtime does not know that it is cut.
    unnoticed: bool,
}

/// One direction of a connection.
#[derive(Default)]
struct Lane {
    flying: VecDeque<Flying>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The writer has closed it: the end flies behind the last frame.
    closed: bool,
    /// The reader is gone.
    deaf: bool,
    /// Frames written that will never arrive, though nobody told the writer.
    void: usize,
}

struct Flying {
    due: Instant,
    /// `None` is the end.
    frame: Option<(Bytes, Ticket)>,
}

impl Cable {
    pub(super) fn new(
        name: Arc<str>,
        latency: Range<Duration>,
        time: &Arc<Time>,
        log: &Arc<Log>,
        random: Random,
    ) -> Arc<Self> {
        let state = State {
            random,
            made: 0,
            connections: BTreeMap::new(),
            latency,
            refuses: false,
            stalled: [false; 2],
            events_left: None,
            frames_left: None,
            again: None,
            dialing: Vec::new(),
        };
        Arc::new(Self { name, time: time.clone(), log: log.clone(), state: Mutex::new(state) })
    }

    /// Both ends of another connection, the client's first, with its number.
    pub(super) fn connect(self: &Arc<Self>) -> (u32, End, End) {
        let mut state = lock(&self.state);
        state.made += 1;
        let number = state.made;
        state.connections.insert(number, Connection::default());
        drop(state);
        self.log.say(format!("{}#{number} is connected", self.name));
        let end = |writes| End {
            cable: self.clone(),
            number,
            writes,
            timer: NodeClock::new(&self.time).timer(),
            over: false,
        };
        (number, end(Direction::ToRuntime), end(Direction::ToClient))
    }

    /// How many connections there were.
    pub(super) fn made(&self) -> u32 {
        lock(&self.state).made
    }

    pub(super) fn refuses(&self) -> bool {
        lock(&self.state).refuses
    }

    /// One way of one connect, to the microsecond.
    pub(super) fn draw_latency(&self) -> Duration {
        let mut state = lock(&self.state);
        let latency = state.latency.clone();
        state.random.span(&latency)
    }

    /// Whether nothing gets through in some direction; then the waker is noted.
    pub(super) fn poll_stalled(&self, cx: &Context<'_>) -> bool {
        let mut state = lock(&self.state);
        let stalled = state.stalled.contains(&true);
        if stalled {
            state.dialing.push(cx.waker().clone());
        }
        stalled
    }

    /// Changes how the cable behaves, and has everybody look again.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.state);
        let changed = change(&mut state);
        let mut wakers = std::mem::take(&mut state.dialing);
        state.connections.values_mut().for_each(|connection| connection.wake(&mut wakers));
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        changed
    }

    /// Arms the next of the cuts that come again and again.
    pub(super) fn arm(state: &mut State) {
        if let Some(range) = state.again.clone() {
            state.frames_left = Some(state.random.of(&range).max(1));
        }
    }

    /// Cuts every connection: what is on its way is lost, and both ends know.
    pub(super) fn cut(&self, why: &str) {
        let open = self.change(|state| self.cut_all(state));
        if !open.is_empty() {
            self.log.say(format!("{} is cut{why}", self.named(&open)));
        }
    }

    /// Cuts every connection so that the client knows and the runtime does not.
    pub(super) fn cut_unnoticed(&self) {
        let open = self.change(|state| {
            let mut open = Vec::new();
            for (number, connection) in &mut state.connections {
                if !connection.cut && !connection.unnoticed {
                    connection.unnoticed = true;
                    connection.lanes.iter_mut().for_each(|lane| lane.lose(&self.log));
                    open.push(*number);
                }
            }
            open
        });
        if !open.is_empty() {
            self.log.say(format!("{} is cut, and the runtime does not notice", self.named(&open)));
        }
    }

    fn cut_all(&self, state: &mut State) -> Vec<u32> {
        let mut open = Vec::new();
        for (number, connection) in &mut state.connections {
            if !connection.cut {
                connection.cut = true;
                connection.lanes.iter_mut().for_each(|lane| lane.lose(&self.log));
                open.push(*number);
            }
        }
        open
    }

    fn named(&self, numbers: &[u32]) -> String {
        let numbers: Vec<String> = numbers.iter().map(|number| format!("{}#{number}", self.name)).collect();
        numbers.join(", ")
    }
}

impl State {
    /// A frame was taken out at its end. Whether the cable is to be cut behind it.
    fn counts(&mut self, is_event: bool) -> bool {
        let mut used_up = false;
        if is_event && let Some(left) = &mut self.events_left {
            *left = left.saturating_sub(1);
            used_up |= *left == 0;
        }
        if let Some(left) = &mut self.frames_left {
            *left = left.saturating_sub(1);
            used_up |= *left == 0;
        }
        if used_up {
            (self.events_left, self.frames_left) = (None, None);
            Cable::arm(self);
        }
        used_up
    }
}

impl Connection {
    fn wake(&mut self, wakers: &mut Vec<Waker>) {
        for lane in &mut self.lanes {
            wakers.extend(lane.reader.take());
            wakers.extend(lane.writer.take());
        }
    }
}

impl Lane {
    fn lose(&mut self, log: &Log) {
        for flying in self.flying.drain(..) {
            if let Some((_, ticket)) = flying.frame {
                log.settle(ticket, Fate::Lost);
            }
        }
    }
}

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
            let ticket = self.cable.log.frame(&self.cable.name, self.number, self.writes, &text);
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
        let cut = state.counts(ticket.is_event);
        drop(state);
        cable.log.settle(ticket, Fate::Arrived(cable.time.elapsed()));
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
