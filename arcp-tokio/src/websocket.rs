//! WebSocket connections over TCP (protocol §10.1). What they do and guarantee is said at
//! [`arcp_driver::websocket::WebSocketTransport`].

use std::{future::Future, net::SocketAddr, pin::Pin};

use arcp_driver::{
    connect::{open_first, secure},
    listen::ListenOptions,
    stream::ByteStream,
    upgrade::UpgradePolicy,
    url::{Endpoint, Host},
    websocket::{self, CLOSE_WAIT},
};
use tokio::net::{TcpStream, lookup_host};

pub use arcp_driver::websocket::{AcceptError, ConnectError, ConnectOptions, WebSocketLimits};

use crate::compat::Compat;

/// A WebSocket over a tokio stream.
pub type WebSocketTransport<S = TcpStream> = websocket::WebSocketTransport<ByteStream<Compat<S>>>;

/// Answers the upgrade request on an accepted connection, behind the TLS handshake if `options` has a certificate.
/// `TCP_NODELAY` is switched on. There is no time limit here; put one around it (protocol §9).
///
/// # Errors
/// [`AcceptError`]; a refusal was sent to the peer already.
pub async fn accept(
    stream: TcpStream,
    policy: &UpgradePolicy,
    options: &ListenOptions,
) -> Result<WebSocketTransport, AcceptError> {
    stream.set_nodelay(true)?;
    let stream = options.secure(Compat::new(stream)).await?;
    websocket::accept(stream, policy, &options.limits, close_timer).await
}

/// Connects to `url`: `ws://host[:port][/path]`, or `wss://` for TLS, by default port 7777 and path `/arcp`.
/// `TCP_NODELAY` is switched on.
/// There is no time limit here; put one around it.
///
/// # Errors
/// [`ConnectError`]; [`PlaintextBeyondLoopback`](arcp_driver::url::EndpointError::PlaintextBeyondLoopback) also when
/// `localhost` resolves to another machine.
pub async fn connect(url: &str, options: &ConnectOptions) -> Result<WebSocketTransport, ConnectError> {
    let endpoint: Endpoint = url.parse()?;
    endpoint.check(options.allow_plaintext_beyond_loopback)?;
    let stream = open(&endpoint, options).await?;
    stream.set_nodelay(true)?;
    let stream = secure(Compat::new(stream), &endpoint, options).await?;
    websocket::connect(stream, &endpoint, &options.limits, close_timer).await
}

async fn open(endpoint: &Endpoint, options: &ConnectOptions) -> Result<TcpStream, ConnectError> {
    let addresses: Vec<SocketAddr> = match endpoint.host() {
        Host::Name(name) => lookup_host((name.as_str(), endpoint.port())).await?.collect(),
        Host::Address(address) => vec![(*address, endpoint.port()).into()],
    };
    open_first(endpoint, addresses, options, TcpStream::connect).await
}

fn close_timer() -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(tokio::time::sleep(CLOSE_WAIT))
}
