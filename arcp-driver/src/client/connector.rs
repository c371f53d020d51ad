//! Opening transports.

use std::future::Future;

use arcp_proto::wire::peer::TransportKind;

use crate::transport::Transport;

/// Opens a transport to the runtime each time the client needs one. When that is, and how often it is tried, is not its
/// business.
pub trait Connector: Send {
    /// What it opens.
    type Transport: Transport + 'static;
    /// Why it could not.
    type Error: std::error::Error + Send + Sync + 'static;
    /// The attempt; dropped if the client gives it up.
    type Connecting: Future<Output = Result<Self::Transport, Self::Error>> + Send;

    /// What kind of transport it opens.
    fn kind(&self) -> TransportKind;

    /// Begins an attempt. Bounds its own time.
    fn connect(&mut self) -> Self::Connecting;
}
