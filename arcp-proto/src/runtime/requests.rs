//! Requests of one session that may come twice, and replies that must keep their order.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

use crate::id::JobKey;
use crate::runtime::JobHandle;
use crate::runtime::log::Position;
use crate::runtime::refusal::{Frames, Refusal};
use crate::wire::RawJson;
use crate::wire::event::LoggedEvent;
use crate::wire::peer::Rejected;

/// What a reply says; rendered when it is sent, as often as it is sent.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// `job.accepted`.
    Accepted(JobHandle),
    /// `job.cancelled`, with the words of the cancel.
    Cancelled {
        job: JobHandle,
        reason: Option<Arc<str>>,
        /// How the job had ended when the cancel came.
        ended: Option<&'static str>,
    },
    /// `job.subscribed`.
    Subscribed(Box<SubscribedReply>),
    /// A refusal, in the shape the client understands.
    Refused(Box<Refusal>),
}

impl Reply {
    /// What would be refused if this could not be said.
    pub(crate) const fn refused(&self) -> Rejected {
        match self {
            Self::Accepted(_) => Rejected::Submit,
            Self::Cancelled { .. } => Rejected::Cancel,
            Self::Subscribed(_) => Rejected::Subscribe,
            Self::Refused(refusal) => refusal.of,
        }
    }
}

/// The seam as `job.subscribed` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubscribedReply {
    pub(crate) job: JobHandle,
    pub(crate) status: &'static str,
    /// What is left of the budget.
    pub(crate) budget: Option<RawJson>,
    pub(crate) subscribed_from: u64,
    pub(crate) replayed: bool,
    pub(crate) history_from: Option<u64>,
}

/// A request seen before.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Its message type.
    pub(crate) message_type: &'static str,
    /// Its reply and what the reply waits for; `None` while it is being worked on.
    pub(crate) reply: Option<(Position, Reply)>,
}

/// The newest requests of a session by envelope id (D-49).
#[derive(Debug, Default)]
pub(crate) struct RequestMemory {
    seen: BTreeMap<Arc<str>, Seen>,
    order: VecDeque<Arc<str>>,
}

impl RequestMemory {
    pub(crate) fn find(&self, id: &str) -> Option<&Seen> {
        self.seen.get(id)
    }

    /// Remembers a request, forgetting the oldest beyond `most`.
    pub(crate) fn remember(&mut self, id: &Arc<str>, message_type: &'static str, most: usize) {
        if most == 0 {
            return;
        }
        while self.order.len() >= most {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
        self.order.push_back(Arc::clone(id));
        self.seen.insert(Arc::clone(id), Seen { message_type, reply: None });
    }

    /// Notes what a remembered request is answered with.
    pub(crate) fn answered(&mut self, id: &str, position: Position, reply: Reply) {
        if let Some(seen) = self.seen.get_mut(id) {
            seen.reply = Some((position, reply));
        }
    }

    /// Whether a request other than `id` has no answer, or one for which `is_open` holds.
    pub(crate) fn any_open(&self, id: &str, is_open: impl Fn(Position) -> bool) -> bool {
        // A list is answered at once and its answer not kept.
        let awaits_answer = |seen: &Seen| match &seen.reply {
            Some((position, _)) => is_open(*position),
            None => seen.message_type != "session.list_jobs",
        };
        self.seen.iter().any(|(known, seen)| &**known != id && awaits_answer(seen))
    }

    /// Forgets a request whose answer died with its connection, so that the same id may be tried again.
    pub(crate) fn forget(&mut self, id: &str) {
        if self.seen.remove(id).is_some() {
            self.order.retain(|known| &**known != id);
        }
    }
}

/// Replies to submits in the order in which the submits came (D-75).
#[derive(Debug, Default)]
pub(crate) struct OrderedReplies {
    first: u64,
    slots: VecDeque<Option<Slot>>,
}

/// A reply whose turn has not come.
#[derive(Debug)]
struct Slot {
    /// The job it accepts.
    accepts: Option<JobKey>,
    frames: Frames,
}

impl OrderedReplies {
    /// Keeps a place for the reply to the submit that came last.
    pub(crate) fn reserve(&mut self) -> u64 {
        self.slots.push_back(None);
        self.first + self.slots.len() as u64 - 1
    }

    /// Fills a place, with the acceptance of a job if it is one.
    pub(crate) fn fill(&mut self, slot: u64, accepts: Option<JobKey>, frames: Frames) {
        let index = slot.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(place) = index.and_then(|index| self.slots.get_mut(index)) {
            *place = Some(Slot { accepts, frames });
        }
    }

    /// Whether the acceptance of this job waits for its turn. Events of the job must not overtake it.
    pub(crate) fn hold_back(&self, job: JobKey) -> bool {
        self.slots.iter().flatten().any(|slot| slot.accepts == Some(job))
    }

    /// The next reply whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Frames> {
        let slot = self.slots.front_mut()?.take()?;
        self.slots.pop_front();
        self.first += 1;
        Some(slot.frames)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

/// The newest events of a job while somebody reads its history, so that the reader can join what is live without
/// waiting for their commit.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    events: VecDeque<Arc<LoggedEvent>>,
    first: u64,
}

const TAIL_EVENTS: usize = 1_024;

impl Tail {
    pub(crate) fn push(&mut self, pos: u64, event: &Arc<LoggedEvent>) {
        if self.events.is_empty() {
            self.first = pos;
        }
        if self.events.len() == TAIL_EVENTS {
            self.events.pop_front();
            self.first += 1;
        }
        self.events.push_back(Arc::clone(event));
    }

    pub(crate) fn clear(&mut self) {
        self.events = VecDeque::new();
    }

    /// The events behind `through`, if all of them are here.
    pub(crate) fn behind(&self, through: u64) -> Option<impl Iterator<Item = &Arc<LoggedEvent>>> {
        let skip = usize::try_from((through + 1).checked_sub(self.first)?).ok()?;
        (!self.events.is_empty() && skip <= self.events.len()).then(|| self.events.iter().skip(skip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ulid;
    use std::string::ToString;

    #[test]
    fn the_oldest_request_is_forgotten_first() {
        let mut memory = RequestMemory::default();
        for id in ["a", "b", "c"] {
            memory.remember(&Arc::from(id), "job.submit", 2);
        }
        assert!(memory.find("a").is_none());
        assert!(memory.find("b").is_some() && memory.find("c").is_some());
        memory.forget("b");
        memory.remember(&Arc::from("d"), "job.submit", 2);
        assert!(memory.find("c").is_some() && memory.find("d").is_some());
    }

    #[test]
    fn replies_leave_in_the_order_of_their_requests() {
        let mut replies = OrderedReplies::default();
        let first = replies.reserve();
        let second = replies.reserve();
        let frames = |text: &str| Frames::from_iter([text.to_string()]);
        let job = JobKey::from_ulid(Ulid::from_bits(1));
        replies.fill(second, Some(job), frames("b"));
        assert_eq!(replies.pop(), None);
        assert!(replies.hold_back(job) && !replies.hold_back(JobKey::from_ulid(Ulid::from_bits(2))));
        replies.fill(first, None, frames("a"));
        assert_eq!(replies.pop(), Some(frames("a")));
        assert_eq!(replies.pop(), Some(frames("b")));
        assert!(!replies.hold_back(job));
        assert_eq!(replies.pop(), None);
        assert_eq!(replies.len(), 0);
    }
}
