//! How often something may happen.

use core::time::Duration;

use crate::time::Instant;

/// A token bucket in millionths of a token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    tokens: u64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn full(burst: u32, now: Instant) -> Self {
        Self { tokens: u64::from(burst) * 1_000_000, filled: now }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, per_second: u32, burst: u32, now: Instant) -> bool {
        self.tokens = self.level(per_second, burst, now);
        self.filled = now;
        let granted = self.tokens >= 1_000_000;
        if granted {
            self.tokens -= 1_000_000;
        }
        granted
    }

    pub(crate) fn is_full(&self, per_second: u32, burst: u32, now: Instant) -> bool {
        self.level(per_second, burst, now) >= u64::from(burst) * 1_000_000
    }

    fn level(&self, per_second: u32, burst: u32, now: Instant) -> u64 {
        let micros = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        self.tokens
            .saturating_add(micros.saturating_mul(u64::from(per_second)))
            .min(u64::from(burst) * 1_000_000)
    }
}

/// Counts what happens within a fixed span, for limits per second or minute.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rate {
    since: Instant,
    count: u32,
}

impl Rate {
    /// Counts one more and tells how many that makes within `span`.
    pub(crate) fn count(&mut self, span: Duration, now: Instant) -> u32 {
        *self = Self { since: self.since, count: self.counted(span, now) };
        if self.count == 0 {
            self.since = now;
        }
        self.count = self.count.saturating_add(1);
        self.count
    }

    /// How many were counted within `span`.
    pub(crate) fn counted(&self, span: Duration, now: Instant) -> u32 {
        if now.since(self.since) >= span { 0 } else { self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::full(2, at(0));
        let mut take = |millis| bucket.take(10, 2, at(millis));
        assert_eq!([take(0), take(0), take(0)], [true, true, false]);
        assert_eq!([take(99), take(100), take(100)], [false, true, false]);
        assert_eq!(
            [take(9_000), take(9_000), take(9_000)],
            [true, true, false],
            "and never more than its burst"
        );
        assert!(!bucket.is_full(10, 2, at(9_199)) && bucket.is_full(10, 2, at(9_200)));
    }

    #[test]
    fn a_rate_starts_over_after_its_span() {
        let mut rate = Rate::default();
        let second = Duration::from_secs(1);
        assert_eq!(rate.counted(second, at(5_000)), 0);
        assert_eq!(rate.count(second, at(5_000)), 1);
        assert_eq!(rate.count(second, at(5_999)), 2);
        assert_eq!((rate.counted(second, at(5_999)), rate.counted(second, at(6_000))), (2, 0));
        assert_eq!(rate.count(second, at(6_000)), 1);
    }
}
