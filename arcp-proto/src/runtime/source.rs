//! Where connections come from, and what one such place may do before anybody knows who it is (T-2, T-7).

use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use crate::config::Limits;
use crate::runtime::rate::{Bucket, Rate};
use crate::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// From so many sources on, those that are of no interest any more are forgotten.
const SWEEP_FROM: usize = 1_024;

/// Where a connection comes from, as far as limits go: an IPv4 address, or the first 64 bits of an IPv6 address, since
/// whoever has one address of such a network has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source that this address belongs to.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
            address => Self(address),
        }
    }
}

/// Tokens that were not accepted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FailedTokens(Rate);

impl FailedTokens {
    pub(crate) fn count(&mut self, now: Instant) {
        self.0.count(MINUTE, now);
    }

    /// Whether there were so many within a minute that answers come slower.
    pub(crate) fn are_too_many(&self, limits: &Limits, now: Instant) -> bool {
        self.0.counted(MINUTE, now) >= limits.failed_tokens_per_minute
    }

    /// Whether there were none that still count.
    pub(crate) fn are_none(&self, now: Instant) -> bool {
        self.0.counted(MINUTE, now) == 0
    }
}

/// What is known of one source.
#[derive(Debug)]
struct Standing {
    hellos: Bucket,
    failed: FailedTokens,
}

/// The sources that were heard of lately.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    known: BTreeMap<Source, Standing>,
    sweep_at: usize,
}

impl Sources {
    /// Whether one more hello is within the rate.
    pub(crate) fn admit_hello(&mut self, source: Source, limits: &Limits, now: Instant) -> bool {
        let standing = self.enter(source, limits, now);
        standing.hellos.take(limits.address_hellos_per_second, limits.address_hello_burst, now)
    }

    /// A token from there was not accepted.
    pub(crate) fn token_failed(&mut self, source: Source, limits: &Limits, now: Instant) {
        self.enter(source, limits, now).failed.count(now);
    }

    /// Whether so many tokens failed that answers come slower.
    pub(crate) fn is_doubted(&self, source: Source, limits: &Limits, now: Instant) -> bool {
        self.known.get(&source).is_some_and(|standing| standing.failed.are_too_many(limits, now))
    }

    fn enter(&mut self, source: Source, limits: &Limits, now: Instant) -> &mut Standing {
        if self.known.len() >= self.sweep_at.max(SWEEP_FROM) && !self.known.contains_key(&source) {
            let (per_second, burst) = (limits.address_hellos_per_second, limits.address_hello_burst);
            self.known.retain(|_, standing| {
                !standing.hellos.is_full(per_second, burst, now) || !standing.failed.are_none(now)
            });
            self.sweep_at = self.known.len() * 2;
        }
        self.known.entry(source).or_insert_with(|| Standing {
            hellos: Bucket::full(limits.address_hello_burst, now),
            failed: FailedTokens::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn addresses_of_one_owner_are_one_source() {
        for (left, right, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::1", "127.0.0.1", false),
        ] {
            assert_eq!(source(left) == source(right), same, "{left} {right}");
        }
    }

    #[test]
    fn only_sources_of_interest_are_remembered() {
        let limits = Limits { address_hellos_per_second: 1, address_hello_burst: 2, ..Limits::default() };
        let number = |number: u32| Source::of(IpAddr::V4(Ipv4Addr::from_bits(number)));
        for (second, remembered) in [(0, 1_025), (1, 2)] {
            let mut sources = Sources::default();
            for n in 0..1_024 {
                assert!(sources.admit_hello(number(n), &limits, at(0)));
            }
            for _ in 0..10 {
                sources.token_failed(number(7), &limits, at(0));
            }
            assert!(sources.admit_hello(number(5_000), &limits, at(second)));
            assert_eq!(sources.known.len(), remembered, "after {second} s");
            assert!(sources.is_doubted(number(7), &limits, at(59)));
            assert!(!sources.is_doubted(number(7), &limits, at(60)));
        }
    }

    #[test]
    fn forgetting_costs_little() {
        let limits = Limits { address_hellos_per_second: 1, address_hello_burst: 2, ..Limits::default() };
        let number = |number: u32| Source::of(IpAddr::V4(Ipv4Addr::from_bits(number)));
        let mut sources = Sources::default();
        for n in 0..1_023 {
            sources.admit_hello(number(n), &limits, at(0));
        }
        // Few enough that nobody looks, though nearly all could be forgotten by now.
        sources.admit_hello(number(1_023), &limits, at(10));
        assert_eq!(sources.known.len(), 1_024);
        for n in 0..1_024 {
            sources.admit_hello(number(n), &limits, at(20));
        }
        // Now somebody looks, in vain, and not again before there are twice as many.
        for (n, remembered) in [(1_024, 1_025), (1_025, 1_026), (1_026, 1_027)] {
            sources.admit_hello(number(n), &limits, at(20 + u64::from(n - 1_024) * 10));
            assert_eq!(sources.known.len(), remembered);
        }
    }
}
