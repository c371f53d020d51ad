//! Heartbeats, one machine for both endpoints (protocol §2.5).

use core::time::Duration;

use crate::time::Instant;

/// What silence means at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing yet.
    Idle,
    /// Nothing was sent for three quarters of the interval: send a ping (D-84).
    Ping,
    /// Nothing was heard for two intervals (D-45).
    Lost,
}

/// Both directions of one connection. Any frame is a sign of life; only the monotonic clock counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat {
    interval: Duration,
    heard: Instant,
    spoke: Instant,
}

impl Heartbeat {
    /// Starts both silences, at the welcome.
    pub(crate) const fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, heard: now, spoke: now }
    }

    /// A frame came in.
    pub(crate) const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A frame went out.
    pub(crate) const fn spoke(&mut self, now: Instant) {
        self.spoke = now;
    }

    /// When [`Heartbeat::check`] has something to say at the earliest.
    pub(crate) fn deadline(&self) -> Instant {
        self.ping_at().min(self.lost_at())
    }

    /// What silence means at `now`.
    pub(crate) fn check(&self, now: Instant) -> Beat {
        if now >= self.lost_at() {
            Beat::Lost
        } else if now >= self.ping_at() {
            Beat::Ping
        } else {
            Beat::Idle
        }
    }

    fn ping_at(&self) -> Instant {
        self.spoke.after(self.interval * 3 / 4)
    }

    fn lost_at(&self) -> Instant {
        self.heard.after(self.interval * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_before_the_interval_and_gives_up_after_two() {
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        let mut beat = Heartbeat::new(Duration::from_secs(40), at(0));
        assert_eq!(beat.check(at(29)), Beat::Idle);
        assert_eq!(beat.deadline(), at(30));
        assert_eq!(beat.check(at(30)), Beat::Ping);
        beat.spoke(at(30));
        assert_eq!(beat.deadline(), at(60));
        beat.heard(at(10));
        beat.spoke(at(60));
        assert_eq!(beat.deadline(), at(90));
        assert_eq!(beat.check(at(89)), Beat::Idle);
        assert_eq!(beat.check(at(90)), Beat::Lost);
    }
}
