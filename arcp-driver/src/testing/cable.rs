//! What lies between a client and the runtime: the connections it has made, and everything that is on its way.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use arcp_proto::time::Instant;
use bytes::Bytes;

use super::clock::Time;
use super::log::{Log, Ticket};
use super::random::Random;
use super::trace::{Direction, Fate};
use crate::queue::lock;

/// A client's cable: one connection at a time, or more if the runtime has not noticed that one is gone.
pub(super) struct Cable {
    pub(super) name: Arc<str>,
    pub(super) time: Arc<Time>,
    pub(super) log: Arc<Log>,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) random: Random,
    made: u32,
    pub(super) connections: BTreeMap<u32, Connection>,
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
pub(super) struct Connection {
    /// By [`Direction`].
    pub(super) lanes: [Lane; 2],
    /// Cut: both ends know, and nothing is on its way any more.
    pub(super) cut: bool,
    /// The runtime does not know that it is cut.
    pub(super) unnoticed: bool,
}

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) flying: VecDeque<Flying>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// The writer has closed it: the end flies behind the last frame.
    pub(super) closed: bool,
    /// The reader is gone.
    pub(super) deaf: bool,
    /// Frames written that will never arrive, though nobody told the writer.
    pub(super) void: usize,
}

pub(super) struct Flying {
    pub(super) due: Instant,
    /// `None` is the end.
    pub(super) frame: Option<(Bytes, Ticket)>,
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

    /// The number of another connection.
    pub(super) fn open(&self) -> u32 {
        let mut state = lock(&self.state);
        state.made += 1;
        let number = state.made;
        state.connections.insert(number, Connection::default());
        drop(state);
        self.log.say(format!("{}#{number} is connected", self.name));
        number
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
    pub(super) fn counts(&mut self, direction: Direction, text: &[u8]) -> bool {
        let mut used_up = false;
        if let Some(left) = &mut self.events_left
            && direction == Direction::ToClient
            && is_event(text)
        {
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

/// Whether a frame has an `event_seq`.
fn is_event(text: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Head {
        event_seq: Option<u64>,
    }
    serde_json::from_slice(text).is_ok_and(|head: Head| head.event_seq.is_some())
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
    pub(super) fn lose(&mut self, log: &Log) {
        for flying in self.flying.drain(..) {
            if let Some((_, ticket)) = flying.frame {
                log.settle(ticket, Fate::Lost);
            }
        }
    }
}
