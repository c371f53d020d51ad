//! What the driver needs from a connection: text frames in, text frames out.

use std::fmt;

use arcp_proto::CloseCode;
use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;

/// What a transport delivers. Its `Debug` shows no text, which may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub enum Incoming {
    /// One envelope as JSON text, not yet validated (not even as UTF-8).
    Frame(Bytes),
    /// A line that was longer than the limit and has been discarded; the connection goes on (protocol §1.4).
    Oversized,
    /// The peer answered the last [`Outgoing::Probe`] (D-96).
    Proof,
    /// So many bytes have arrived of a frame that is not complete; 0 if what had begun was none after all. Yielded by
    /// transports that are asked to, when a frame begins and does not end at once, and now and then as it grows: a runtime
    /// ends connections whose frames do not go on.
    Partial(u64),
}

/// How much a frame grows before that is told again.
const PARTIAL_STEP: u64 = 4 << 10;

/// What was told of a frame that is not complete, if anything is to be told.
#[derive(Debug, Default)]
pub(crate) struct PartialFrame {
    wanted: bool,
    told: u64,
}

impl PartialFrame {
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// What is to be told if so many bytes are there and no more are to be had at the moment.
    pub(crate) fn news(&mut self, bytes: u64) -> Option<Incoming> {
        let begins_or_ends = (bytes == 0) != (self.told == 0);
        if !self.wanted || !begins_or_ends && bytes < self.told.saturating_add(PARTIAL_STEP) {
            return None;
        }
        self.told = bytes;
        Some(Incoming::Partial(bytes))
    }

    /// The frame is whole.
    pub(crate) fn complete(&mut self) {
        self.told = 0;
    }
}

/// What a transport is given to deliver. Its `Debug` shows no text, which may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// One envelope as JSON text.
    Frame(String),
    /// Ask the other end's transport for a sign of life, answered by [`Incoming::Proof`]. A transport that
    /// has no such means drops it.
    Probe,
    /// Announce the close that follows with this code. A transport without close codes drops it.
    Close(CloseCode),
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(frame) => write!(f, "Frame({} bytes)", frame.len()),
            Self::Oversized => f.write_str("Oversized"),
            Self::Proof => f.write_str("Proof"),
            Self::Partial(bytes) => write!(f, "Partial({bytes})"),
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(text) => write!(f, "Frame({} bytes)", text.len()),
            Self::Probe => f.write_str("Probe"),
            Self::Close(code) => write!(f, "Close({code:?})"),
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The operating system reported a fault.
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The peer sent a message over the limit, in bytes.
    #[error("the peer sent a message larger than {limit} bytes")]
    TooLarge {
        /// The limit that was passed.
        limit: usize,
    },
    /// The peer broke the rules of the transport itself; the text is ours.
    #[error("the peer broke the transport's rules: {0}")]
    Protocol(String),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// A connection that carries one envelope per message, in order, in both directions.
///
/// The contract: `poll_next` yields frames until the peer closes (`None`) or the connection fails (`Err`, then
/// nothing more); frames given to the sink arrive in order; `poll_flush` returns when everything given so far was
/// handed to the operating system; `poll_close` sends what is buffered and closes. Both halves are polled by the
/// same task. Messages over the configured limit never allocate more than that limit.
///
/// Implemented for everything that is such a `Stream` and `Sink`.
pub trait Transport:
    Stream<Item = Result<Incoming, TransportError>> + Sink<Outgoing, Error = TransportError> + Send + Unpin
{
}

impl<T> Transport for T where
    T: Stream<Item = Result<Incoming, TransportError>>
        + Sink<Outgoing, Error = TransportError>
        + Send
        + Unpin
{
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_frames_are_told_at_their_beginning_and_in_steps() {
        let mut partial = PartialFrame::default();
        assert_eq!(partial.news(1), None, "nobody asked");
        partial.want();
        let mut told = |bytes| match partial.news(bytes) {
            None => None,
            Some(Incoming::Partial(bytes)) => Some(bytes),
            Some(other) => panic!("{other:?}"),
        };
        assert_eq!(told(0), None);
        assert_eq!(told(1), Some(1));
        assert_eq!(told(4_096), None);
        assert_eq!(told(4_097), Some(4_097));
        assert_eq!(told(4_098), None);
        assert_eq!(told(0), Some(0), "what had begun was a blank line");
        assert_eq!(told(0), None);
        assert_eq!(told(9), Some(9));
        partial.complete();
        assert_eq!(partial.news(0), None, "a frame that is whole speaks for itself");
        assert_eq!(partial.news(2), Some(Incoming::Partial(2)));
    }
}
