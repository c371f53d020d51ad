//! Links that delay, stall, break inside a frame, lose what was on the way, and stay half open.

use std::collections::VecDeque;

use arcp_proto::runtime::ConnectionId;
use arcp_proto::wire::peer::TransportKind;
use arcp_proto::wire::{Line, LineSplitter};
use bytes::Bytes;

use crate::oracle::Note;

const LONGEST_LINE: usize = 2 << 20;

/// What lies on a link.
pub(super) struct Parcel {
    pub(super) at: u64,
    pub(super) what: What,
}

pub(super) enum What {
    /// A frame, and what the oracle noted of it when it was written.
    Frame { bytes: Bytes, note: Note },
    /// The writer closed.
    Close,
}

/// One direction of a link.
pub(super) struct Pipe {
    pub(super) queue: VecDeque<Parcel>,
    /// Nothing arrives before.
    pub(super) stalled_until: u64,
    /// What is written from here on gets nowhere.
    pub(super) is_cut: bool,
    /// Frames that got nowhere, and fill the writer's buffer.
    void: usize,
    last: u64,
    /// For byte streams, which may deliver any piece of a frame.
    splitter: Option<LineSplitter>,
}

impl Pipe {
    fn new(kind: TransportKind) -> Self {
        let splitter = (kind == TransportKind::Lines).then(|| LineSplitter::new(LONGEST_LINE));
        Self { queue: VecDeque::new(), stalled_until: 0, is_cut: false, void: 0, last: 0, splitter }
    }

    /// Puts something on its way, behind what is there; says whether there is a way.
    pub(super) fn push(&mut self, at: u64, what: What) -> bool {
        if self.is_cut {
            self.void += 1;
            return false;
        }
        self.last = self.last.max(at);
        self.queue.push_back(Parcel { at: self.last, what });
        true
    }

    /// When the next parcel arrives.
    pub(super) fn next(&self) -> Option<u64> {
        self.queue.front().map(|parcel| parcel.at.max(self.stalled_until))
    }

    /// A whole frame as the receiver reads it: through the splitter on a byte stream.
    pub(super) fn read(&mut self, bytes: Bytes) -> Option<Bytes> {
        let Some(splitter) = &mut self.splitter else { return Some(bytes) };
        splitter.push(&bytes);
        splitter.push(b"\n");
        match splitter.next_line() {
            Some(Line::Frame(frame)) => Some(frame),
            Some(Line::TooLong) | None => None,
        }
    }

    /// The first bytes of the frame in front arrive, and the rest at `rest_at`; says how much of it has arrived.
    pub(super) fn read_piece(&mut self, length: usize, rest_at: u64) -> Option<u64> {
        let splitter = self.splitter.as_mut()?;
        let front = self.queue.front_mut()?;
        let What::Frame { bytes, .. } = &mut front.what else { return None };
        let piece = bytes.split_to(length.min(bytes.len()));
        splitter.push(&piece);
        front.at = rest_at;
        self.last = self.last.max(rest_at);
        Some(splitter.unfinished())
    }
}

/// One connection.
pub(super) struct Link {
    /// Whose it is; `None` for an intruder's.
    pub(super) client: Option<usize>,
    /// The runtime's name for it, until it knows the link to be gone.
    pub(super) connection: Option<ConnectionId>,
    /// Whether the client's end is open.
    pub(super) client_end: bool,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    pub(super) runtime_notices: Option<u64>,
    pub(super) client_notices: Option<u64>,
    pub(super) latency: u64,
    pub(super) room: usize,
    /// The runtime has frames for it.
    pub(super) ready: bool,
    /// Broken: what one end does about it, the other does not hear of.
    pub(super) is_broken: bool,
}

impl Link {
    pub(super) fn new(
        client: Option<usize>,
        kind: TransportKind,
        connection: ConnectionId,
        latency: u64,
        room: usize,
    ) -> Self {
        Self {
            client,
            connection: Some(connection),
            client_end: true,
            up: Pipe::new(kind),
            down: Pipe::new(kind),
            runtime_notices: None,
            client_notices: None,
            latency,
            room,
            ready: false,
            is_broken: false,
        }
    }

    /// Whether the runtime can write.
    pub(super) fn has_room(&self) -> bool {
        self.down.queue.len() + self.down.void < self.room
    }

    /// Nothing can happen on it any more.
    pub(super) fn is_gone(&self) -> bool {
        self.connection.is_none() && !self.client_end
    }
}
