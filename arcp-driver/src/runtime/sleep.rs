//! Agents that wait for time to pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arcp_proto::time::Instant;
use futures_channel::oneshot;

use super::Signal;
use crate::queue::Inbox;

/// Entries that are kept before those are looked for that nobody waits for any more.
const UNSWEPT: usize = 64;

/// Where agents ask to be woken.
pub(crate) struct Alarm(Arc<Inbox<Signal>>);

impl Alarm {
    pub(super) const fn new(inbox: Arc<Inbox<Signal>>) -> Self {
        Self(inbox)
    }

    /// Resolves when this much time has passed, or with an error when the endpoint is gone.
    pub(crate) fn set(&self, span: Duration) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        self.0.post(Signal::Sleep(span, wake));
        woken
    }
}

/// Those who wait, by the time they are to be woken.
#[derive(Default)]
pub(super) struct Sleepers {
    waiting: BTreeMap<(Instant, u64), oneshot::Sender<()>>,
    next: u64,
    /// How many there may be before those are dropped that were given up.
    sweep_at: usize,
}

impl Sleepers {
    pub(super) fn add(&mut self, until: Instant, wake: oneshot::Sender<()>) {
        if self.waiting.len() >= self.sweep_at {
            self.waiting.retain(|_, wake| !wake.is_canceled());
            self.sweep_at = 2 * self.waiting.len() + UNSWEPT;
        }
        self.next += 1;
        self.waiting.insert((until, self.next), wake);
    }

    /// Wakes everybody whose time has come. Says whether there was anybody.
    pub(super) fn wake(&mut self, now: Instant) -> bool {
        let mut woke = false;
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            // One that was given up hears nothing.
            let _ = first.remove().send(());
            woke = true;
        }
        woke
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_wake_in_order_and_those_given_up_do_not_gather() {
        let mut sleepers = Sleepers::default();
        let at = Instant::from_micros;
        let (late, mut hears_late) = oneshot::channel();
        let (early, mut hears_early) = oneshot::channel();
        sleepers.add(at(20), late);
        sleepers.add(at(10), early);
        for _ in 0..10_000 {
            sleepers.add(at(30), oneshot::channel().0);
        }
        assert!(sleepers.waiting.len() < 4 * UNSWEPT, "{}", sleepers.waiting.len());
        assert_eq!(sleepers.deadline(), Some(at(10)));
        assert!(!sleepers.wake(at(9)) && sleepers.wake(at(10)));
        assert_eq!((hears_early.try_recv(), hears_late.try_recv()), (Ok(Some(())), Ok(None)));
        assert!(sleepers.wake(at(20)));
        assert_eq!(hears_late.try_recv(), Ok(Some(())));
    }
}
