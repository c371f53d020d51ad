//! What the driver needs from a connection: text frames in, text frames out.

use arcp_proto::CloseCode;
use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;

/// What a transport delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// One envelope as JSON text, not yet validated (not even as UTF-8).
    Frame(Bytes),
    /// A line that was longer than the limit and has been discarded; the connection goes on (protocol §1.4).
    Oversized,
    /// The peer answered the last [`Outgoing::Probe`] (D-96).
    Proof,
}

/// What a transport is given to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// One envelope as JSON text.
    Frame(String),
    /// Ask the other end's transport for a sign of life, answered by [`Incoming::Proof`]. A transport that
    /// has no such means drops it.
    Probe,
    /// Announce the close that follows with this code. A transport without close codes drops it.
    Close(CloseCode),
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
