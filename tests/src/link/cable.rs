//! Links, and the ways they break.

use std::collections::VecDeque;
use std::time::Duration;

use arcp_proto::CloseCode;
use arcp_proto::runtime::ConnectionId;
use arcp_proto::time::Instant;
use bytes::Bytes;

use super::World;
use crate::trace::{Direction, Fate};

/// Frames a link takes before its writer has to wait.
const ROOM: usize = 32;

/// When the runtime finds out that a link is broken. The client does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// At once.
    AtOnce,
    /// Later.
    After(Duration),
    /// Never: it finds out by itself, if at all.
    Never,
}

/// How a link breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// When the runtime finds out.
    pub notice: Notice,
    /// What the client had written arrives all the same, unless the runtime has noticed before.
    pub late: bool,
}

impl Break {
    /// Both ends notice at once; what is on the way is lost.
    pub const CLEAN: Self = Self { notice: Notice::AtOnce, late: false };
    /// The runtime does not notice, and what the client had written arrives all the same.
    pub const HALF_OPEN: Self = Self { notice: Notice::Never, late: true };
}

/// At which moment of a frame's life a link breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Right after it was written.
    Written,
    /// Right before it arrives.
    Before,
    /// Right after it has arrived.
    After,
}

/// A planned break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Which frames are counted.
    pub direction: Direction,
    /// Which of them it is, from 1 over all links.
    pub frame: u64,
    /// At which moment of it.
    pub moment: Moment,
    /// How.
    pub how: Break,
}

/// What lies on a link.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// A frame.
    Frame(Bytes),
    /// The end that the writer has made.
    Closed(CloseCode),
}

/// One connection.
pub(super) struct Link {
    pub(super) peer: usize,
    /// Its place among the client's links.
    pub(super) index: usize,
    /// The runtime's name for it, until it knows the link to be gone.
    pub(super) connection: Option<ConnectionId>,
    /// Whether the client's end is open.
    pub(super) client_end: bool,
    pub(super) runtime_notices: Option<Instant>,
    /// What nobody will ever receive, of what the runtime wrote.
    void: usize,
    pub(super) up: VecDeque<(Instant, Item)>,
    pub(super) down: VecDeque<(Instant, Item)>,
    /// The trace's entries of the frames on the way.
    entries: [VecDeque<usize>; 2],
}

impl Link {
    pub(super) const fn new(peer: usize, index: usize, connection: ConnectionId) -> Self {
        Self {
            peer,
            index,
            connection: Some(connection),
            client_end: true,
            runtime_notices: None,
            void: 0,
            up: VecDeque::new(),
            down: VecDeque::new(),
            entries: [VecDeque::new(), VecDeque::new()],
        }
    }

    /// Whether the runtime can write.
    pub(super) fn has_room(&self) -> bool {
        self.down.len() + self.void < ROOM
    }

    const fn queue(&mut self, direction: Direction) -> &mut VecDeque<(Instant, Item)> {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

impl World {
    /// Puts something on a link.
    pub(super) fn write(&mut self, index: usize, direction: Direction, item: Item) {
        let at = self.now.mono.after(self.latency);
        let link = &mut self.links[index];
        let (peer, number) = (link.peer, link.index);
        let receiver_is_gone = match direction {
            Direction::Up => link.connection.is_none(),
            Direction::Down => !link.client_end,
        };
        match &item {
            Item::Frame(bytes) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let entry = self.trace.frame(self.now.mono, peer, number, direction, text);
                self.written[direction as usize] += 1;
                if receiver_is_gone {
                    self.trace.fate(entry, Fate::Lost);
                    if direction == Direction::Down {
                        link.void += 1;
                    }
                    return;
                }
                link.entries[direction as usize].push_back(entry);
            }
            Item::Closed(code) => {
                let who = if direction == Direction::Up { "C" } else { "R" };
                self.trace.close(self.now.mono, peer, number, who, code.code());
                if receiver_is_gone {
                    return;
                }
            }
        }
        link.queue(direction).push_back((at, item));
        self.cut_if_planned(index, direction, self.written[direction as usize], Moment::Written);
    }

    /// Delivers what is due and can be received; says whether there was anything.
    pub(super) fn deliver(&mut self) -> bool {
        let mut any = self.dial();
        for index in 0..self.links.len() {
            any |= self.deliver_up(index);
            any |= self.deliver_down(index);
            any |= self.notice(index);
        }
        any
    }

    fn deliver_up(&mut self, index: usize) -> bool {
        let link = &mut self.links[index];
        let Some(connection) = link.connection else { return false };
        let Some((at, item)) = link.up.front() else { return false };
        if *at > self.now.mono || (matches!(item, Item::Frame(_)) && !self.runtime.may_read(connection)) {
            return false;
        }
        if matches!(item, Item::Frame(_)) && self.cut_before(index, Direction::Up) {
            return true;
        }
        match self.pick_up(index, Direction::Up) {
            Some(Item::Frame(frame)) => {
                self.runtime.handle_frame(self.now, connection, frame);
                self.cut_if_planned(index, Direction::Up, self.delivered[0], Moment::After);
            }
            Some(Item::Closed(_)) => self.tell_runtime(index),
            None => {}
        }
        true
    }

    fn deliver_down(&mut self, index: usize) -> bool {
        let link = &self.links[index];
        let peer = link.peer;
        let Some((at, item)) = link.down.front() else { return false };
        if *at > self.now.mono || !self.peers[peer].reads || self.peers[peer].asleep {
            return false;
        }
        if matches!(item, Item::Frame(_)) && !self.peers[peer].endpoint.may_read() {
            return false;
        }
        if matches!(item, Item::Frame(_)) && self.cut_before(index, Direction::Down) {
            return true;
        }
        match self.pick_up(index, Direction::Down) {
            Some(Item::Frame(frame)) => {
                self.peers[peer].endpoint.handle_frame(self.now, frame);
                self.cut_if_planned(index, Direction::Down, self.delivered[1], Moment::After);
            }
            Some(Item::Closed(_)) => {
                self.links[index].client_end = false;
                self.lose(index, Direction::Up);
                if self.peers[peer].link == Some(index) {
                    self.peers[peer].link = None;
                    self.peers[peer].endpoint.handle_closed(self.now);
                }
            }
            None => {}
        }
        // Room again for a writer that waits.
        let connection = self.links[index].connection;
        if let Some(connection) = connection.filter(|connection| self.ready.contains(connection))
            && self.pull(connection, false)
        {
            self.ready.retain(|ready| *ready != connection);
        }
        true
    }

    fn pick_up(&mut self, index: usize, direction: Direction) -> Option<Item> {
        let link = &mut self.links[index];
        let (_, item) = link.queue(direction).pop_front()?;
        if matches!(item, Item::Frame(_)) {
            self.delivered[direction as usize] += 1;
            if let Some(entry) = link.entries[direction as usize].pop_front() {
                let fate = if link.client_end { Fate::Delivered } else { Fate::Late };
                self.trace.fate(entry, fate);
            }
        }
        Some(item)
    }

    fn notice(&mut self, index: usize) -> bool {
        if self.links[index].runtime_notices.is_none_or(|at| at > self.now.mono) {
            return false;
        }
        self.tell_runtime(index);
        true
    }

    /// The runtime learns that the link is gone.
    fn tell_runtime(&mut self, index: usize) {
        self.lose(index, Direction::Up);
        let link = &mut self.links[index];
        link.runtime_notices = None;
        if let Some(connection) = link.connection.take() {
            self.ready.retain(|ready| *ready != connection);
            self.runtime.handle_closed(self.now, connection);
        }
    }

    /// What is on the way in this direction arrives nowhere.
    pub(super) fn lose(&mut self, index: usize, direction: Direction) {
        let link = &mut self.links[index];
        if direction == Direction::Down && link.connection.is_some() {
            link.void += link.down.len();
        }
        link.queue(direction).clear();
        for entry in std::mem::take(&mut link.entries[direction as usize]) {
            self.trace.fate(entry, Fate::Lost);
        }
    }

    pub(super) fn break_link(&mut self, index: usize, how: Break) {
        let link = &mut self.links[index];
        if !link.client_end {
            return;
        }
        let (peer, number) = (link.peer, link.index);
        link.client_end = false;
        self.trace.cut(self.now.mono, peer, number, how);
        self.lose(index, Direction::Down);
        if !how.late {
            self.lose(index, Direction::Up);
        }
        match how.notice {
            Notice::AtOnce => self.tell_runtime(index),
            Notice::After(span) => self.links[index].runtime_notices = Some(self.now.mono.after(span)),
            Notice::Never => {}
        }
        if self.peers[peer].link == Some(index) {
            self.peers[peer].link = None;
            self.peers[peer].endpoint.handle_closed(self.now);
        }
    }

    /// The next frame of this direction would be the one to break before.
    fn cut_before(&mut self, index: usize, direction: Direction) -> bool {
        self.cut_if_planned(index, direction, self.delivered[direction as usize] + 1, Moment::Before)
    }

    fn cut_if_planned(&mut self, index: usize, direction: Direction, frame: u64, moment: Moment) -> bool {
        let Some(cut) = self.cuts.front() else { return false };
        let is_due = cut.direction == direction && cut.frame <= frame && cut.moment == moment;
        if !is_due || self.links[index].peer != 0 || !self.links[index].client_end {
            return false;
        }
        let how = cut.how;
        self.cuts.pop_front();
        self.break_link(index, how);
        true
    }
}
