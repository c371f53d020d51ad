//! Negotiated features (protocol §2.3).

use core::fmt;

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $bit:expr;)*) => {
        /// One negotiable feature.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Feature {
            $($(#[$doc])* $name = $bit,)*
        }

        impl Feature {
            /// Every feature, in the order in which we write them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The string on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The feature with this string; `None` for one we do not know.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

features! {
    /// `session.ping`, `session.pong`, `heartbeat_interval_sec`.
    Heartbeat = "heartbeat", 0;
    /// `session.ack` and the back-pressure status.
    Ack = "ack", 1;
    /// `session.list_jobs`.
    ListJobs = "list_jobs", 2;
    /// `job.subscribe`, `job.unsubscribe`.
    Subscribe = "subscribe", 3;
    /// `lease_constraints.expires_at`.
    LeaseExpiresAt = "lease_expires_at", 4;
    /// The lease namespace `cost.budget` and the metric `cost.budget.remaining`.
    CostBudget = "cost.budget", 5;
    /// The lease namespace `model.use`.
    ModelUse = "model.use", 6;
    /// Credentials in `job.accepted`, and their rotation.
    ProvisionedCredentials = "provisioned_credentials", 7;
    /// Events of kind `progress`.
    Progress = "progress", 8;
    /// Events of kind `result_chunk`.
    ResultChunk = "result_chunk", 9;
    /// Versions in the inventory and `name@version`.
    AgentVersions = "agent_versions", 10;
    /// Marks our own endpoints (D-63).
    Core = "x-vendor.arcp-rs.1", 11;
}

/// A set of features.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u16);

impl Features {
    /// No feature: a peer of protocol version 1.0.
    pub const NONE: Self = Self(0);

    /// Every feature there is.
    pub const EVERY: Self = {
        let mut features = Self::NONE;
        let mut index = 0;
        while index < Feature::ALL.len() {
            features = features.with(Feature::ALL[index]);
            index += 1;
        }
        features
    };

    /// What this crate implements and an endpoint offers unless told otherwise.
    pub const SUPPORTED: Self = Self::EVERY;

    /// The set with `feature` added.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u16)
    }

    /// The set with `feature` removed.
    #[must_use]
    pub const fn without(self, feature: Feature) -> Self {
        Self(self.0 & !(1 << feature as u16))
    }

    /// Whether `feature` is in the set.
    #[must_use]
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u16 != 0
    }

    /// What both sets have.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every feature of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The features, in the order in which we write them.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.iter().copied().filter(move |feature| self.has(*feature))
    }

    /// The bits a store keeps.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set a store kept; bits of features unknown to this version are dropped.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        Feature::ALL.iter().filter(|feature| bits & 1 << **feature as u16 != 0).copied().collect()
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        features.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Feature::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn every_feature_has_its_own_string_and_bit() {
        let mut all = Features::NONE;
        for feature in Feature::ALL {
            assert!(!all.has(*feature), "{feature:?} shares a bit");
            assert_eq!(Feature::parse(feature.as_str()), Some(*feature));
            all = all.with(*feature);
        }
        assert_eq!(Features::from_bits(u16::MAX), all);
        assert_eq!(Feature::parse("teleport"), None);
    }

    #[test]
    fn a_store_keeps_a_set_as_bits() {
        let two = Features::NONE.with(Feature::ALL[0]).with(Feature::ALL[2]);
        assert_eq!(two.bits(), 0b101);
        assert_eq!(Features::from_bits(0b101), two);
        assert_eq!(Features::from_bits(0), Features::NONE);
        let last = Feature::ALL.len() - 1;
        assert_eq!(Features::from_bits(u16::MAX).iter().last(), Some(Feature::ALL[last]));
        assert_eq!(
            format!("{two:?}"),
            format!("{{{:?}, {:?}}}", Feature::ALL[0].as_str(), Feature::ALL[2].as_str())
        );
    }

    #[test]
    fn set_operations() {
        let small = Features::NONE.with(Feature::Ack);
        let large = small.with(Feature::Progress);
        assert!(large.contains(small));
        assert!(!small.contains(large));
        assert_eq!(large.intersection(small), small);
        assert_eq!(large.without(Feature::Progress), small);
    }
}
