//! WebSocket connections over TCP (protocol §10.1). What they do and guarantee is said at
//! [`arcp_driver::websocket::WebSocketTransport`].

use std::{
    future::Future,
    io,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use arcp_driver::{
    connect::{open_first, secure},
    listen::ListenOptions,
    stream::ByteStream,
    upgrade::UpgradePolicy,
    url::{Endpoint, Host},
    websocket::{self, CLOSE_WAIT},
};
use async_std::net::{TcpStream, ToSocketAddrs};
use futures_io::{AsyncRead, AsyncWrite};

pub use arcp_driver::websocket::{AcceptError, ConnectError, ConnectOptions, WebSocketLimits};

/// A WebSocket over an async-std stream.
pub type WebSocketTransport<S = Connection> = websocket::WebSocketTransport<ByteStream<S>>;

/// A TCP stream whose closing ends our direction at once, which async-std's own leaves to the drop.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(Shutdown::Write))
    }
}

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
    let stream = options.secure(Connection(stream)).await?;
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
    let stream = secure(Connection(stream), &endpoint, options).await?;
    websocket::connect(stream, &endpoint, &options.limits, close_timer).await
}

async fn open(endpoint: &Endpoint, options: &ConnectOptions) -> Result<TcpStream, ConnectError> {
    let addresses: Vec<SocketAddr> = match endpoint.host() {
        Host::Name(name) => (name.as_str(), endpoint.port()).to_socket_addrs().await?.collect(),
        Host::Address(address) => vec![(*address, endpoint.port()).into()],
    };
    open_first(endpoint, addresses, options, TcpStream::connect).await
}

fn close_timer() -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async_std::task::sleep(CLOSE_WAIT))
}
