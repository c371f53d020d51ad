//! What differs from peer to peer, chosen once for a session (protocol §12).

use crate::feature::{Feature, Features};

/// Bytes a frame may take where nothing smaller is known (protocol §9).
const FRAME: usize = 1024 * 1024;
/// Bytes a line may take towards peers whose line reader is known to stop there (protocol §10.2).
const SHORT_LINE: usize = 64 * 1024;

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

/// Under which names a `job.result` shows its inline value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResultKeys {
    /// As `result`.
    Result,
    /// As `result` and, again, as `output`.
    Both,
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
    /// Any other.
    Unknown,
}

impl PeerProfile {
    /// The profile of a peer that offers, or announces, these features (protocol §12.1, first rule).
    #[must_use]
    pub const fn recognise(features: Features) -> Self {
        if features.has(Feature::Core) { Self::Core } else { Self::Unknown }
    }

    /// The number a store keeps for it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Core => 1,
        }
    }

    /// The profile a store kept; a number this version does not know is [`PeerProfile::Unknown`].
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Core,
            _ => Self::Unknown,
        }
    }

    /// Under which names it finds the value of a `job.result`.
    #[must_use]
    pub const fn result_keys(self) -> ResultKeys {
        match self {
            Self::Core => ResultKeys::Result,
            Self::Unknown => ResultKeys::Both,
        }
    }

    /// Bytes a frame towards it may take.
    #[must_use]
    pub const fn frame_limit(self, transport: TransportKind) -> usize {
        match (self, transport) {
            (Self::Unknown, TransportKind::Lines) => SHORT_LINE,
            _ => FRAME,
        }
    }

    /// Whether unconfirmed `job.accepted` frames are sent to it again on a resume (D-66).
    #[must_use]
    pub const fn resends_accepted(self) -> bool {
        matches!(self, Self::Core)
    }

    /// Whether a pong of its WebSocket, to a ping written right behind the welcome, confirms the new resume token
    /// (D-96). Our own endpoints store the token before they answer anything, so for them only a frame counts.
    #[must_use]
    pub const fn needs_proof(self) -> bool {
        !matches!(self, Self::Core)
    }

    /// Whether events it has not acknowledged hold the agent, as unsent ones do (D-98).
    #[must_use]
    pub const fn holds_on_unacknowledged(self) -> bool {
        matches!(self, Self::Core)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_vendor_feature_makes_a_peer_ours() {
        let all_but_ours: Features =
            Feature::ALL.iter().copied().filter(|feature| *feature != Feature::Core).collect();
        assert_eq!(PeerProfile::recognise(all_but_ours), PeerProfile::Unknown);
        assert_eq!(PeerProfile::recognise(Features::NONE.with(Feature::Core)), PeerProfile::Core);
    }

    #[test]
    fn profiles_survive_a_store() {
        for profile in [PeerProfile::Core, PeerProfile::Unknown] {
            assert_eq!(PeerProfile::from_code(profile.code()), profile);
        }
        assert_eq!(PeerProfile::from_code(255), PeerProfile::Unknown);
    }

    #[test]
    fn only_lines_to_strangers_are_short() {
        use TransportKind::{Lines, Memory, WebSocket};
        for transport in [WebSocket, Lines, Memory] {
            assert_eq!(PeerProfile::Core.frame_limit(transport), 1_048_576);
        }
        assert_eq!(PeerProfile::Unknown.frame_limit(Lines), 65_536);
        assert_eq!(PeerProfile::Unknown.frame_limit(WebSocket), 1_048_576);
        assert_eq!(PeerProfile::Unknown.frame_limit(Memory), 1_048_576);
    }
}
