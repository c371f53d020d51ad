//! What waits to be written to the connection.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;

use crate::entropy::Entropy;
use crate::id::IdSource;
use crate::time::{Now, UnixTime};
use crate::wire::{Head, ObjectWriter, encode_into, push_object};

/// Pings and pongs that may wait; a peer whose pings pile up gets no more pongs.
const MAX_URGENT: usize = 16;

/// Frames by urgency. Nothing leaves while the gate is shut.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    is_open: bool,
    /// The driver was told that frames wait, and has not pulled them all.
    is_announced: bool,
    urgent: VecDeque<String>,
    frames: VecDeque<String>,
    /// At most one acknowledgement waits: a later one says all that an earlier one did.
    ack: Option<String>,
    /// Something was added since the last look.
    has_spoken: bool,
}

impl Outgoing {
    /// A new connection.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) const fn open(&mut self) {
        self.is_open = true;
    }

    pub(super) const fn shut(&mut self) {
        self.is_open = false;
    }

    pub(super) fn push(&mut self, frame: String) {
        self.has_spoken = true;
        self.frames.push_back(frame);
    }

    /// A ping or pong.
    pub(super) fn push_urgent(&mut self, frame: String) {
        if self.urgent.len() < MAX_URGENT {
            self.has_spoken = true;
            self.urgent.push_back(frame);
        }
    }

    pub(super) fn set_ack(&mut self, frame: String) {
        self.has_spoken = true;
        self.ack = Some(frame);
    }

    /// The acknowledgement that waits, which then waits no more.
    pub(super) const fn take_ack(&mut self) -> Option<String> {
        self.ack.take()
    }

    /// Whether something was added since the last call.
    pub(super) const fn take_spoken(&mut self) -> bool {
        core::mem::replace(&mut self.has_spoken, false)
    }

    /// Whether the driver is to be told that frames wait; says so once until it has pulled them all.
    pub(super) fn announce(&mut self) -> bool {
        let waits = !(self.urgent.is_empty() && self.frames.is_empty() && self.ack.is_none());
        let tell = self.is_open && waits && !self.is_announced;
        self.is_announced |= tell;
        tell
    }

    pub(super) fn poll(&mut self) -> Option<String> {
        let frame = if self.is_open {
            self.urgent.pop_front().or_else(|| self.frames.pop_front()).or_else(|| self.ack.take())
        } else {
            None
        };
        if frame.is_none() {
            self.is_announced = false;
        }
        frame
    }
}

/// Makes ids and frames.
pub(super) struct Mint {
    ids: IdSource,
    pub(super) entropy: Box<dyn Entropy + Send>,
}

/// What an envelope concerns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About<'a> {
    pub(super) trace: Option<&'a str>,
    pub(super) job: Option<&'a str>,
}

impl Mint {
    pub(super) fn new(entropy: Box<dyn Entropy + Send>) -> Self {
        Self { ids: IdSource::default(), entropy }
    }

    /// A fresh id with this prefix.
    pub(super) fn id(&mut self, prefix: &str, now: UnixTime) -> String {
        self.ids.text(prefix, now, &mut self.entropy)
    }

    /// A frame, and the id of its envelope.
    pub(super) fn frame(
        &mut self,
        now: Now,
        message_type: &str,
        session_id: &str,
        about: About<'_>,
        members: impl FnOnce(&mut ObjectWriter<'_>),
    ) -> (String, String) {
        let id = self.id("msg_", now.unix);
        let mut payload = String::new();
        push_object(&mut payload, members);
        let mut frame = String::new();
        let head = Head {
            id: &id,
            message_type,
            session_id,
            trace_id: about.trace,
            job_id: about.job,
            event_seq: None,
        };
        encode_into(&mut frame, &head, &payload);
        (id, frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_frames_wait_is_said_once_until_all_are_pulled() {
        let mut outgoing = Outgoing::default();
        outgoing.push("a".into());
        assert!(!outgoing.announce(), "nothing may leave");
        assert_eq!(outgoing.poll(), None);
        outgoing.open();
        assert!(outgoing.announce());
        assert!(!outgoing.announce());
        assert_eq!(outgoing.poll().as_deref(), Some("a"));
        outgoing.push("b".into());
        assert!(!outgoing.announce(), "they are being pulled");
        assert_eq!(outgoing.poll().as_deref(), Some("b"));
        assert_eq!(outgoing.poll(), None);
        assert!(!outgoing.announce(), "nothing waits");
        outgoing.push_urgent("c".into());
        assert!(outgoing.announce());
    }

    #[test]
    fn so_many_pongs_wait_and_no_more() {
        let mut outgoing = Outgoing::default();
        outgoing.open();
        for _ in 0..=MAX_URGENT {
            outgoing.push_urgent("pong".into());
        }
        outgoing.push("frame".into());
        let mut frames = core::iter::from_fn(|| outgoing.poll());
        assert_eq!(frames.by_ref().take_while(|frame| frame == "pong").count(), MAX_URGENT);
        assert_eq!(frames.next(), None);
    }
}
