//! When a lease ends (protocol §5.5).

use crate::time::{Instant, Now, UnixTime};

/// The end of one lease, judged on both clocks: whichever says first that it has come is right, for ever (D-37).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    at: UnixTime,
    deadline: Instant,
    ended: bool,
}

impl Expiry {
    /// A lease accepted, or recovered, at `now` that ends at `at`.
    #[must_use]
    pub fn new(at: UnixTime, now: Now) -> Self {
        let mut expiry = Self { at, deadline: now.mono.after(at.since(now.unix)), ended: false };
        expiry.observe(now);
        expiry
    }

    /// A lease that is known to have ended.
    #[must_use]
    pub const fn ended(at: UnixTime) -> Self {
        Self { at, deadline: Instant::ZERO, ended: true }
    }

    /// The time the lease names.
    #[must_use]
    pub const fn at(&self) -> UnixTime {
        self.at
    }

    /// When the monotonic clock says that the lease has ended.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the lease has ended by `now`.
    #[must_use]
    pub fn has_ended(&self, now: Now) -> bool {
        self.ended || now.mono >= self.deadline || now.unix >= self.at
    }

    /// Whether the lease has ended by `now`; if so, it stays ended whatever the clocks do.
    pub fn observe(&mut self, now: Now) -> bool {
        self.ended = self.has_ended(now);
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn start() -> Now {
        Now { mono: Instant::from_micros(7), unix: UnixTime::from_millis(1_786_699_800_000) }
    }

    #[test]
    fn the_instant_itself_is_too_late() {
        let expiry = Expiry::new(start().unix.after(HOUR), start());
        let before = start().after(HOUR - Duration::from_millis(1));
        assert!(!expiry.has_ended(before) && expiry.has_ended(start().after(HOUR)));
    }

    #[test]
    fn either_clock_ends_it_for_ever() {
        let at = start().unix.after(HOUR);
        let mut expiry = Expiry::new(at, start());
        let stepped_back = Now { unix: start().unix, ..start().after(HOUR) };
        assert!(expiry.has_ended(stepped_back), "the wall clock went back, the monotonic one did not");
        let stepped_on = Now { mono: start().mono, unix: at };
        assert!(!expiry.has_ended(start()));
        assert!(expiry.observe(stepped_on));
        assert!(expiry.has_ended(start()), "once ended, ended");
        assert!(Expiry::ended(at).has_ended(start()));
    }

    #[test]
    fn far_and_past_ends() {
        let far = Expiry::new(UnixTime::MAX, start());
        assert!(!far.has_ended(start().after(HOUR * 24 * 3_650)));
        assert!(far.deadline() > start().after(HOUR * 24 * 3_650).mono);
        assert!(Expiry::new(start().unix, start()).has_ended(start()));
        assert!(Expiry::new(UnixTime::MIN, start()).has_ended(start()));
    }
}
