//! Frames on their ways: what is written to links, what arrives, and who finds out that a link is gone.

use arcp_proto::runtime::ConnectionId;
use arcp_proto::wire::peer::TransportKind;
use bytes::Bytes;

use super::World;
use super::count::Fault;
use super::link::{Link, What};
use crate::oracle::Note;

impl World<'_> {
    /// Puts a client's frame on its way.
    pub(super) fn write_up(&mut self, link: usize, bytes: Bytes, note: Note) {
        self.counts.frames += 1;
        let arrives = self.arrival(link);
        let target = &mut self.links[link];
        if target.connection.is_some() && target.up.push(arrives, What::Frame { bytes, note }) {
            self.meddle(link, true);
        } else {
            self.counts.note(Fault::Lost);
        }
    }

    /// Pulls frames while the link has room, or all.
    pub(super) fn pull(&mut self, index: usize, all: bool) {
        let mut together = None;
        loop {
            let link = &mut self.links[index];
            let Some(connection) = link.connection else { return };
            if !all && !link.has_room() {
                return;
            }
            let Some(frame) = self.runtime.as_mut().and_then(|runtime| runtime.poll_frame(connection)) else {
                link.ready = false;
                return;
            };
            let bytes = Bytes::from(frame.encode());
            let note = self.oracle.runtime_wrote(index, &bytes);
            self.counts.frames += 1;
            self.counts.events += u64::from(note.is_event());
            if let Some(client) = self.links[index].client {
                self.journal.frame(self.at, index, &format_client(client), "←R", &bytes);
            } else {
                self.journal.frame(self.at, index, "X", "←R", &bytes);
            }
            let arrives = match together {
                Some(arrives) => arrives,
                None => self.arrival(index),
            };
            together = self.is_bursty.then_some(arrives);
            let link = &mut self.links[index];
            if link.down.push(arrives, What::Frame { bytes, note }) && link.client_end {
                self.meddle(index, false);
            } else {
                self.counts.note(Fault::Lost);
            }
        }
    }

    /// When what is written to a link at this moment arrives.
    pub(super) fn arrival(&mut self, link: usize) -> u64 {
        let latency = self.links[link].latency;
        self.at + latency / 2 + self.choices.below(latency)
    }

    pub(super) fn link_of(&self, connection: ConnectionId) -> Option<usize> {
        self.live.iter().rev().copied().find(|index| self.links[*index].connection == Some(connection))
    }

    /// A transport opens, or does not.
    pub(super) fn dial(&mut self, index: usize) {
        self.clients[index].dial_at = None;
        let fails = !self.is_calm && self.troubles.cuts && self.choices.one_in(16);
        if fails {
            self.counts.note(Fault::NoDial);
        }
        let now = self.clients[index].clock.now(self.at);
        let opened = if fails { None } else { self.open(Some(index), self.clients[index].transport) };
        let client = &mut self.clients[index];
        let Some(endpoint) = &mut client.endpoint else { return };
        match opened {
            Some(link) => {
                client.link = Some(link);
                endpoint.handle_open(now, client.transport);
            }
            None => endpoint.handle_closed(now),
        }
    }

    /// Opens a link to the runtime, unless it is dead.
    pub(super) fn open(&mut self, client: Option<usize>, kind: TransportKind) -> Option<usize> {
        let now = self.clock.now(self.at);
        let runtime = self.runtime.as_mut()?;
        let connection = runtime.handle_open(now, kind);
        let is_secured = self.config.provisions && kind == TransportKind::WebSocket && self.choices.one_in(2);
        if is_secured {
            runtime.handle_secured(now, connection);
        }
        let is_private = is_secured || kind != TransportKind::WebSocket;
        self.oracle.opened(self.links.len(), client, is_private, now);
        self.links.push(Link::new(client, kind, connection, self.latency, self.room));
        self.live.push(self.links.len() - 1);
        Some(self.links.len() - 1)
    }

    pub(super) fn arrive_up(&mut self, index: usize) {
        let now = self.clock.now(self.at);
        let link = &mut self.links[index];
        let (Some(connection), Some(runtime)) = (link.connection, &mut self.runtime) else { return };
        if !self.is_calm && self.choices.one_in(24) {
            let (length, later) = (self.choices.index(400), 1 + self.choices.below(3_000));
            if let Some(begun) = link.up.read_piece(length, self.at + later) {
                self.counts.note(Fault::Pieces);
                runtime.handle_partial(now, connection, begun);
                return;
            }
        }
        match link.up.queue.pop_front().map(|parcel| parcel.what) {
            Some(What::Frame { bytes, note }) => {
                if let Some(frame) = link.up.read(bytes) {
                    self.oracle.runtime_reads(index, note, now);
                    runtime.handle_frame(now, connection, frame);
                }
            }
            Some(What::Close) => self.tell_runtime(index),
            None => {}
        }
    }

    pub(super) fn arrive_down(&mut self, index: usize) {
        let link = &mut self.links[index];
        let parcel = link.down.queue.pop_front().map(|parcel| parcel.what);
        let Some(client) = link.client else {
            if let Some(What::Close) = parcel {
                link.client_end = false;
            } else if let Some(What::Frame { bytes, .. }) = parcel {
                self.intruder_reads(index, &bytes);
            }
            return;
        };
        let client = &mut self.clients[client];
        let now = client.clock.now(self.at);
        match parcel {
            Some(What::Frame { bytes, note }) => {
                if let (Some(frame), Some(endpoint)) = (link.down.read(bytes), &mut client.endpoint) {
                    self.oracle.client_reads(index, note);
                    endpoint.handle_frame(now, frame);
                }
            }
            Some(What::Close) => self.tell_client(index),
            None => {}
        }
    }

    /// The runtime finds out that a link is gone.
    pub(super) fn tell_runtime(&mut self, index: usize) {
        let now = self.clock.now(self.at);
        let link = &mut self.links[index];
        link.runtime_notices = None;
        link.up.queue.clear();
        if let (Some(connection), Some(runtime)) = (link.connection.take(), &mut self.runtime) {
            self.oracle.closed(index);
            runtime.handle_closed(now, connection);
        }
        if link.client_end && !link.is_broken && link.client_notices.is_none() {
            // Its end of the link is closed by the one that gave it up.
            link.client_notices = Some(self.at + link.latency);
        }
    }

    /// The client finds out that its link is gone.
    pub(super) fn tell_client(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.client_notices = None;
        link.client_end = false;
        link.down.queue.clear();
        let Some(client) = link.client else { return };
        let client = &mut self.clients[client];
        let now = client.clock.now(self.at);
        if client.link == Some(index) {
            client.link = None;
            if let Some(endpoint) = &mut client.endpoint {
                endpoint.handle_closed(now);
            }
        }
        let link = &mut self.links[index];
        if link.connection.is_some() && !link.is_broken && link.runtime_notices.is_none() {
            link.runtime_notices = Some(self.at + link.latency);
        }
    }
}

pub(super) fn format_client(index: usize) -> String {
    format!("C{}", index + 1)
}
