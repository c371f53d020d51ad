//! The seam to an executor's clock.

use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use arcp_proto::time::{Instant, Now, UnixTime};

/// What differs from executor to executor: what time it is, and waking up later.
///
/// Each driver future owns one. It reads the clock once per turn and asks to be woken only before it suspends, so an
/// implementation may be as simple as an executor's own sleep future that is set anew when the deadline has moved.
pub trait Timer: Send {
    /// Both clocks. The monotonic one must not go backwards.
    fn now(&self) -> Now;

    /// Ready once [`Timer::now`] has reached `deadline`; else the task of `cx` is woken then, or earlier. Only the
    /// deadline of the last call counts.
    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()>;
}

impl<T: Timer + ?Sized> Timer for Box<T> {
    fn now(&self) -> Now {
        (**self).now()
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        (**self).poll_until(cx, deadline)
    }
}

/// The operating system's clocks as the core counts them: half of a [`Timer`], for all that lack only the other half.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    epoch: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic epoch is this moment.
    #[must_use]
    pub fn new() -> Self {
        Self { epoch: std::time::Instant::now() }
    }

    /// Both clocks. A wall clock before 1970 reads as 1970.
    #[must_use]
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono: Instant::ZERO.after(self.epoch.elapsed()),
            unix: UnixTime::from_millis(i64::try_from(unix.as_millis()).unwrap_or(i64::MAX)),
        }
    }

    /// The moment of the standard library's clock that `instant` stands for; `None` if it cannot be represented.
    #[must_use]
    pub fn std_instant(&self, instant: Instant) -> Option<std::time::Instant> {
        self.epoch.checked_add(instant.since(Instant::ZERO))
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn instants_map_to_the_standard_clock_and_back() {
        let clock = SystemClock::new();
        let before = clock.now();
        let later = clock.std_instant(before.mono.after(Duration::from_secs(5))).unwrap();
        assert!(later > std::time::Instant::now());
        assert!(clock.now().mono >= before.mono);
        assert!(before.unix > UnixTime::parse_rfc3339("2020-01-01T00:00:00Z").unwrap());
    }
}
