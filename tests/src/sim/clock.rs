//! Clocks that are wrong: each party's own, against a true time that nobody sees.

use arcp_proto::time::{Instant, Now, UnixTime};

/// A clock with an offset, a rate that is not one, and a wall clock that can jump.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    mono: u64,
    unix: i64,
    /// Parts in a million by which it runs fast.
    ppm: i64,
}

/// 2026-08-14T09:30:00Z.
const BEGINNING: i64 = 1_786_699_800_000;

impl Clock {
    /// A clock that starts `mono` µs into its own time, whose wall clock is wrong by `skew` ms, and that is fast by `ppm`.
    pub(super) const fn new(mono: u64, skew: i64, ppm: i64) -> Self {
        Self { mono, unix: BEGINNING + skew, ppm }
    }

    /// What it shows at a true time in µs.
    pub(super) fn now(&self, at: u64) -> Now {
        let run = self.run(at);
        let unix = self.unix + i64::try_from(run / 1_000).unwrap_or(i64::MAX / 2);
        Now { mono: Instant::from_micros(self.mono + run), unix: UnixTime::from_millis(unix) }
    }

    /// The first true time at which it shows this, or later.
    pub(super) fn when(&self, mono: Instant) -> u64 {
        let Some(run) = mono.as_micros().checked_sub(self.mono) else { return 0 };
        // Most clocks are right, and are asked at every step.
        if self.ppm == 0 {
            return run;
        }
        let rate = i128::from(1_000_000 + self.ppm);
        let at = (i128::from(run) * 1_000_000 + rate - 1) / rate;
        let mut at = u64::try_from(at).unwrap_or(u64::MAX / 4);
        while self.run(at) < run {
            at += 1;
        }
        at
    }

    /// The first true time at which its wall clock shows this, if nobody sets it.
    pub(super) fn when_unix(&self, unix: UnixTime) -> u64 {
        let run =
            u64::try_from(unix.as_millis().saturating_sub(self.unix)).unwrap_or(0).saturating_mul(1_000);
        self.when(Instant::from_micros(self.mono.saturating_add(run)))
    }

    /// Somebody sets the wall clock.
    pub(super) const fn jump(&mut self, millis: i64) {
        self.unix += millis;
    }

    /// Another process reads another monotonic clock: it begins anew.
    pub(super) const fn restart(&mut self, mono: u64) {
        self.mono = mono;
    }

    fn run(&self, at: u64) -> u64 {
        if self.ppm == 0 {
            return at;
        }
        let run = i128::from(at) * i128::from(1_000_000 + self.ppm) / 1_000_000;
        u64::try_from(run).unwrap_or(u64::MAX / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_can_be_asked_when_it_will_show_a_time() {
        for ppm in [-50_000, -3, 0, 7, 50_000] {
            let clock = Clock::new(1_000, 0, ppm);
            for at in [0, 1, 999, 1_000_000, 86_400_000_000] {
                let shown = clock.now(at).mono;
                let first = clock.when(shown);
                assert!(first <= at && clock.now(first).mono >= shown, "{ppm} {at}");
            }
        }
    }
}
