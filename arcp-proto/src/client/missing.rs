//! Events that were asked for and will not come (protocol §3.6, D-86).

use crate::client::jobs::Job;
use crate::client::requests::Subscription;

/// What is to come of a job next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Owed {
    /// The event behind this position.
    after: Option<u64>,
    /// The runtime has said that as many origin numbers are gone, which are no fewer than the events.
    gone: u64,
}

impl Owed {
    /// What a subscription that starts there has asked for.
    pub(super) const fn by(start: Subscription) -> Self {
        let after = match start {
            Subscription::History => Some(0),
            Subscription::HistoryFromPos(pos) => Some(pos),
            Subscription::HistoryFromSeq(_) | Subscription::Live => None,
        };
        Self { after, gone: 0 }
    }
}

impl Job {
    /// Everything behind this position is to come.
    pub(super) const fn owe_after(&mut self, pos: u64) {
        self.owed = Owed { after: Some(pos), gone: 0 };
    }

    /// History begins behind this origin number, which may be above the one that was asked for.
    pub(super) fn history_begins(&mut self, start: Subscription, before: Option<u64>) {
        let asked = match start {
            Subscription::History => 0,
            Subscription::HistoryFromSeq(number) => number,
            Subscription::HistoryFromPos(_) | Subscription::Live => return,
        };
        self.owed.gone = before.unwrap_or(0).saturating_sub(asked);
    }

    /// The positions that are missing before an event at this one. Only a session that takes every kind `sees_all`
    /// positions; what the runtime has said to be gone is gone for every session.
    pub(super) fn jump(&mut self, pos: Option<u64>, sees_all: bool) -> Option<(u64, u64)> {
        let pos = pos.filter(|pos| *pos > self.pos)?;
        self.reattached = false;
        if self.owed.after.is_some_and(|after| pos <= after) {
            return None;
        }
        let Owed { after, gone } = core::mem::take(&mut self.owed);
        let next = match after.filter(|_| sees_all) {
            Some(after) => after.max(self.pos) + 1,
            None => (self.pos + 1).max(pos.saturating_sub(gone)),
        };
        (next < pos).then(|| (next, pos - 1))
    }
}
