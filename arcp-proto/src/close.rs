//! Why a connection is closed, as WebSocket spells it.

/// The close code that goes with [`Output::Close`](crate::runtime::Output::Close) (protocol §10.1). The
/// `session.error` before it is what counts for the peer; codes are for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// 1000: a graceful goodbye.
    Normal,
    /// 1001: the runtime shuts down.
    GoingAway,
    /// 1002: the transport's own rules were broken.
    Protocol,
    /// 1003: a binary message.
    Unsupported,
    /// 1007: text that is not UTF-8.
    InvalidText,
    /// 1008: a rule of ARCP was broken (malformed budget, no hello, auth refused).
    Policy,
    /// 1009: a message over the limit.
    TooLarge,
    /// 1011: our own fault.
    Fault,
    /// 1013: too many connections.
    TryAgainLater,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::InvalidText => 1007,
            Self::Policy => 1008,
            Self::TooLarge => 1009,
            Self::Fault => 1011,
            Self::TryAgainLater => 1013,
        }
    }
}
