//! When to try again, and what a refused hello means (protocol §2.4, §9).

use alloc::boxed::Box;
use core::time::Duration;

use crate::client::output::ClosedReason;
use crate::config::ClientConfig;
use crate::entropy::Entropy;
use crate::error::ErrorCode;
use crate::wire::session::ErrorPayload;

/// Counts what was tried in vain. Only progress starts it over: a numbered frame or a reply, never a connect.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
    delays: u32,
}

impl Backoff {
    /// A transport is asked for.
    pub(super) const fn attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// The last attempt reached the peer and was only too early.
    pub(super) const fn uncount(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
    }

    /// The peer did something useful.
    pub(super) const fn progress(&mut self) {
        self.attempts = 0;
        self.delays = 0;
    }

    /// How long to wait before the next attempt: anything up to a bound that doubles. `None` when the attempts are
    /// used up.
    pub(super) fn delay(&mut self, config: &ClientConfig, entropy: &mut dyn Entropy) -> Option<Duration> {
        if config.max_attempts.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        let bound = u64::try_from(self.bound(config).as_micros()).unwrap_or(u64::MAX);
        self.delays = self.delays.saturating_add(1);
        let mut random = [0; 8];
        entropy.fill_public(&mut random);
        Some(Duration::from_micros(u64::from_be_bytes(random) % bound.saturating_add(1).max(1)))
    }

    /// The longest wait that may come next.
    pub(super) fn bound(&self, config: &ClientConfig) -> Duration {
        let doublings = 1_u32.checked_shl(self.delays).unwrap_or(u32::MAX);
        config.backoff_min.saturating_mul(doublings).min(config.backoff_max)
    }
}

/// What follows from an error that answers a hello.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Keep everything and try the same again.
    Retry,
    /// The session cannot be continued: one hello without a resume.
    StartOver,
    /// The session is over.
    Stop(ClosedReason),
}

impl Refusal {
    /// The tables of protocol §2.4, "C's side". A code we do not know counts as `INTERNAL_ERROR`.
    pub(super) fn of(error: &ErrorPayload, resuming: bool) -> Self {
        match (error.known_code(), resuming) {
            (ErrorCode::InternalError, _) | (ErrorCode::HeartbeatLost, false) => Self::Retry,
            (_, true) => Self::StartOver,
            (ErrorCode::Unauthenticated, false) => {
                Self::Stop(ClosedReason::Unauthenticated(Box::new(error.clone())))
            }
            (_, false) => Self::Stop(ClosedReason::Refused(Box::new(error.clone()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Fields;

    /// Draws the largest number there is.
    struct Most;

    impl Entropy for Most {
        fn fill_public(&mut self, bytes: &mut [u8]) {
            bytes.fill(0xff);
        }

        fn fill_secret(&mut self, _: &mut [u8]) {
            unreachable!("waiting is no secret")
        }
    }

    #[test]
    fn the_bound_doubles_to_its_maximum_and_falls_back_after_progress() {
        let mut config = ClientConfig::new("t");
        let mut backoff = Backoff::default();
        let bound = |delay: Duration, at_most: u64| {
            assert!(delay <= Duration::from_millis(at_most), "{delay:?} over {at_most} ms");
        };
        for at_most in [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000] {
            bound(backoff.delay(&config, &mut Most).unwrap(), at_most);
        }
        for _ in 0..100 {
            bound(backoff.delay(&config, &mut Most).unwrap(), 30_000);
        }
        backoff.progress();
        bound(backoff.delay(&config, &mut Most).unwrap(), 200);

        config.max_attempts = Some(2);
        backoff.attempt();
        assert!(backoff.delay(&config, &mut Most).is_some());
        backoff.attempt();
        assert!(backoff.delay(&config, &mut Most).is_none());
        backoff.progress();
        assert!(backoff.delay(&config, &mut Most).is_some());
    }

    #[test]
    fn waits_are_spread_over_the_whole_bound() {
        struct Counter(u64);
        impl Entropy for Counter {
            fn fill_public(&mut self, bytes: &mut [u8]) {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                bytes.copy_from_slice(&self.0.to_be_bytes());
            }

            fn fill_secret(&mut self, _: &mut [u8]) {}
        }
        let config = ClientConfig::new("t");
        let mut entropy = Counter(0);
        let mut quarters = [0; 4];
        for _ in 0..400 {
            let delay = Backoff::default().delay(&config, &mut entropy).unwrap();
            quarters[usize::try_from(delay.as_millis() * 4 / 201).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|&count| count > 50), "{quarters:?}");
    }

    #[test]
    fn answers_to_a_hello() {
        let error = |code: &str| {
            let text = std::format!("{{\"code\":\"{code}\"}}");
            ErrorPayload::read(&Fields::of(&text)).unwrap()
        };
        for (code, resuming, fresh) in [
            ("INTERNAL_ERROR", "retry", "retry"),
            ("RATE_LIMITED", "retry", "retry"),
            ("HEARTBEAT_LOST", "start over", "retry"),
            ("RESUME_WINDOW_EXPIRED", "start over", "refused"),
            ("UNAUTHENTICATED", "start over", "unauthenticated"),
            ("INVALID_REQUEST", "start over", "refused"),
            ("PERMISSION_DENIED", "start over", "refused"),
        ] {
            for (resumes, expected) in [(true, resuming), (false, fresh)] {
                let verdict = match Refusal::of(&error(code), resumes) {
                    Refusal::Retry => "retry",
                    Refusal::StartOver => "start over",
                    Refusal::Stop(ClosedReason::Unauthenticated(_)) => "unauthenticated",
                    Refusal::Stop(_) => "refused",
                };
                assert_eq!(verdict, expected, "{code}, resuming: {resumes}");
            }
        }
    }
}
