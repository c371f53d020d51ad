//! What differs from peer to peer, chosen once for a session (protocol §12).
//!
//! This module alone knows whom we talk to. Whoever reads or writes frames asks it for one of its small enums.

mod recognise;
mod towards_client;
mod towards_runtime;

pub use towards_client::{EndShape, Rejected, Rejection, ResultKeys, StoppedTerminal};
pub use towards_runtime::{CloseStyle, SeqCheck};

/// Bytes a frame may take where nothing smaller is known (protocol §9).
const FRAME: usize = 1024 * 1024;
/// Bytes a frame may take towards readers that are known, or feared, to stop there (protocol §10.2, §12.3).
const SHORT_FRAME: usize = 64 * 1024;

/// What carries the frames of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportKind {
    /// One frame in each WebSocket text message (protocol §10.1).
    WebSocket,
    /// One frame on each line, over stdio (protocol §10.2).
    Lines,
    /// A queue of encoded frames inside one process (protocol §10.3).
    Memory,
}

/// Whom a session talks to, as far as that changes what we write or read.
///
/// Belongs to the session and is stored with it, because a replayed frame must be the same bytes (D-106). It never
/// decides who may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PeerProfile {
    /// An endpoint of ours (D-63).
    Core,
    /// Any other: the specification, with the superset members.
    Unknown,
    /// The Python SDK 1.1.3, and whatever cannot be told from it.
    Python113,
    /// The Python SDK after 1.1.3.
    PythonNewer,
    /// The TypeScript SDK 0.2.0.
    TypeScript,
    /// The Go SDK 1.1.0.
    Go,
    /// The Java SDK 1.0.0.
    Java,
    /// The Ruby SDK 1.0.0.
    Ruby,
}

impl PeerProfile {
    /// Every profile, in the order of the protocol's tables.
    pub const ALL: [Self; 8] = [
        Self::Core,
        Self::Unknown,
        Self::Python113,
        Self::PythonNewer,
        Self::TypeScript,
        Self::Go,
        Self::Java,
        Self::Ruby,
    ];

    /// The number a store keeps for it, which never changes.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Core => 1,
            Self::Python113 => 2,
            Self::PythonNewer => 3,
            Self::TypeScript => 4,
            Self::Go => 5,
            Self::Java => 6,
            Self::Ruby => 7,
        }
    }

    /// The profile a store kept; a number this version does not know is [`PeerProfile::Unknown`].
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Core,
            2 => Self::Python113,
            3 => Self::PythonNewer,
            4 => Self::TypeScript,
            5 => Self::Go,
            6 => Self::Java,
            7 => Self::Ruby,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod table {
    //! How tests write a row of the protocol's tables.

    use alloc::vec::Vec;
    use core::fmt::Debug;

    use super::PeerProfile;

    /// What each profile has, in the order of the columns.
    #[track_caller]
    pub(super) fn row<T: PartialEq + Debug>(of: impl Fn(PeerProfile) -> T, expected: [T; 8]) {
        assert_eq!(PeerProfile::ALL.map(of), expected);
    }

    /// Which profiles have it.
    #[track_caller]
    pub(super) fn only(expected: &[PeerProfile], has: impl Fn(PeerProfile) -> bool) {
        let found: Vec<_> = PeerProfile::ALL.into_iter().filter(|profile| has(*profile)).collect();
        assert_eq!(found, expected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_survive_a_store() {
        let codes = PeerProfile::ALL.map(PeerProfile::code);
        assert_eq!(codes, [1, 0, 2, 3, 4, 5, 6, 7], "numbers in stores never change");
        assert_eq!(codes.map(PeerProfile::from_code), PeerProfile::ALL);
        for code in 8..=u8::MAX {
            assert_eq!(PeerProfile::from_code(code), PeerProfile::Unknown);
        }
    }
}
