//! A client that is being configured, and connectors, whatever executor they run on.

use std::fmt;
use std::future::{Future, IntoFuture, Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use arcp_proto::config::ClientConfig;
use arcp_proto::secret::Secret;
use arcp_proto::wire::peer::TransportKind;
use futures_io::{AsyncRead, AsyncWrite};

use crate::stream::ByteStream;
use crate::transport::Transport;
use crate::url::{Endpoint, EndpointError, is_loopback};
use crate::websocket::{ConnectError, ConnectOptions};
use crate::{Client, ClientError, Connector, NoEntropy};

/// How long one attempt to open a connection may take.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The error of an attempt that took longer than [`ATTEMPT_TIMEOUT`].
#[must_use]
pub fn attempt_timed_out() -> ConnectError {
    ConnectError::Io(io::Error::new(io::ErrorKind::TimedOut, "the connection could not be opened in time"))
}

/// Opens a stream to the first of the endpoint's addresses that takes it. Without TLS, those beyond this machine are
/// passed over unless `options` allows them, whatever name the host goes by.
///
/// # Errors
/// What became of the last address: [`EndpointError::PlaintextBeyondLoopback`] if it was passed over, else what the system
/// said. [`io::ErrorKind::NotFound`] if there is none.
pub async fn open_first<S, F>(
    endpoint: &Endpoint,
    addresses: impl IntoIterator<Item = SocketAddr>,
    options: &ConnectOptions,
    open: fn(SocketAddr) -> F,
) -> Result<S, ConnectError>
where
    F: Future<Output = io::Result<S>>,
{
    let mut refusal =
        ConnectError::Io(io::Error::new(io::ErrorKind::NotFound, "the host name has no address"));
    for address in addresses {
        let is_readable = !endpoint.is_secured() && !is_loopback(address.ip());
        if is_readable && !options.allow_plaintext_beyond_loopback {
            refusal = EndpointError::PlaintextBeyondLoopback.into();
            continue;
        }
        match open(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => refusal = error.into(),
        }
    }
    Err(refusal)
}

/// Encrypts a stream to the endpoint if its URL says so.
///
/// # Errors
/// [`EndpointError::Tls`] without the feature `tls`; [`ConnectError::Io`] if the runtime's certificate does not verify or
/// the stream fails.
pub async fn secure<S>(
    stream: S,
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<ByteStream<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    endpoint.check(options.allow_plaintext_beyond_loopback)?;
    #[cfg(feature = "tls")]
    if endpoint.is_secured() {
        let tls = match &options.tls {
            Some(tls) => tls.clone(),
            None => crate::tls::ClientTls::platform().map_err(io::Error::other)?,
        };
        return Ok(tls.connect(endpoint, stream).await?);
    }
    Ok(ByteStream::Plain(stream))
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientStartError {
    /// The URL cannot be connected to, whatever the network does.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The session could not be opened.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The operating system gives no random numbers.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The child process could not be started.
    #[error("cannot start the runtime: {0}")]
    Spawn(#[source] io::Error),
}

/// A boxed future, as connecting needs it.
pub type Opening<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// What an executor does with a configured [`Connect`].
pub type Start = fn(String, ConnectOptions, ClientConfig) -> Opening<Client, ClientStartError>;

/// A client that is being configured. Awaiting it connects, and resolves once the session is open.
#[must_use = "a connect does nothing unless awaited"]
pub struct Connect {
    url: String,
    options: ConnectOptions,
    config: ClientConfig,
    start: Start,
}

impl Connect {
    /// A client of the runtime at `url`, without a token, for the executor behind `start`.
    pub fn new(url: impl Into<String>, start: Start) -> Self {
        Self { url: url.into(), options: ConnectOptions::default(), config: ClientConfig::new(""), start }
    }

    /// The bearer token.
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.config.token = token.into();
        self
    }

    /// The name the client shows.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Whether the connection may leave this machine without TLS. Everything on the wire, the token included, is then
    /// readable on the way.
    pub const fn allow_plaintext_beyond_loopback(mut self, allow: bool) -> Self {
        self.options.allow_plaintext_beyond_loopback = allow;
        self
    }

    /// How a runtime behind `wss://` is verified; as the operating system does unless this says otherwise.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::tls::ClientTls) -> Self {
        self.options.tls = Some(tls);
        self
    }

    /// Changes any other setting.
    pub fn config(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        change(&mut self.config);
        self
    }
}

impl IntoFuture for Connect {
    type Output = Result<Client, ClientStartError>;
    type IntoFuture = Opening<Client, ClientStartError>;

    fn into_future(self) -> Self::IntoFuture {
        (self.start)(self.url, self.options, self.config)
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("url", &self.url)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Opens WebSocket connections of kind `T` to one URL.
#[derive(Clone)]
pub struct WebSocketConnector<T> {
    url: String,
    options: ConnectOptions,
    open: fn(String, ConnectOptions) -> Opening<T, ConnectError>,
}

impl<T> WebSocketConnector<T> {
    /// A connector for `ws://host[:port][/path]`, port 7777 and path `/arcp` unless said otherwise, that opens with
    /// `open`.
    ///
    /// # Errors
    /// [`EndpointError`] if the URL cannot be connected to, whatever the network does.
    pub fn with(
        url: impl Into<String>,
        options: ConnectOptions,
        open: fn(String, ConnectOptions) -> Opening<T, ConnectError>,
    ) -> Result<Self, EndpointError> {
        let url = url.into();
        url.parse::<Endpoint>()?.check(options.allow_plaintext_beyond_loopback)?;
        Ok(Self { url, options, open })
    }
}

impl<T: Transport + 'static> Connector for WebSocketConnector<T> {
    type Transport = T;
    type Error = ConnectError;
    type Connecting = Opening<T, ConnectError>;

    fn kind(&self) -> TransportKind {
        TransportKind::WebSocket
    }

    fn connect(&mut self) -> Self::Connecting {
        (self.open)(self.url.clone(), self.options.clone())
    }
}

impl<T> fmt::Debug for WebSocketConnector<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketConnector").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Hands out the one transport to a child process. A child that is gone cannot be connected to again.
#[derive(Debug)]
pub struct ChildConnector<T, G> {
    transport: Option<T>,
    /// What ends the child when the client is over.
    _guard: G,
}

impl<T, G> ChildConnector<T, G> {
    /// A connector to the child that `transport` leads to and `guard` ends.
    #[must_use]
    pub const fn new(transport: T, guard: G) -> Self {
        Self { transport: Some(transport), _guard: guard }
    }
}

impl<T: Transport + 'static, G: Send> Connector for ChildConnector<T, G> {
    type Transport = T;
    type Error = io::Error;
    type Connecting = Ready<io::Result<T>>;

    fn kind(&self) -> TransportKind {
        TransportKind::Lines
    }

    fn connect(&mut self) -> Self::Connecting {
        ready(
            self.transport
                .take()
                .ok_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "the child runtime is gone")),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_executor::block_on;

    /// Takes port 1 and nothing else.
    fn open(address: SocketAddr) -> Ready<io::Result<SocketAddr>> {
        ready(if address.port() == 1 { Ok(address) } else { Err(io::ErrorKind::ConnectionRefused.into()) })
    }

    fn first(addresses: &[&str], allow: bool) -> Result<SocketAddr, ConnectError> {
        let options = ConnectOptions { allow_plaintext_beyond_loopback: allow, ..ConnectOptions::default() };
        first_of("ws://runtime.example", addresses, &options)
    }

    fn first_of(url: &str, addresses: &[&str], options: &ConnectOptions) -> Result<SocketAddr, ConnectError> {
        let endpoint = url.parse().unwrap();
        block_on(open_first(&endpoint, addresses.iter().map(|text| text.parse().unwrap()), options, open))
    }

    #[test]
    fn what_is_encrypted_may_leave_this_machine() {
        let opened = first_of("wss://runtime.example", &["192.0.2.1:1"], &ConnectOptions::default());
        assert_eq!(opened.unwrap(), "192.0.2.1:1".parse().unwrap());
    }

    #[test]
    fn addresses_beyond_loopback_are_passed_over_unless_allowed() {
        let addresses = ["192.0.2.1:1", "[2001:db8::1]:1", "127.0.0.1:1"];
        assert_eq!(first(&addresses, false).unwrap(), "127.0.0.1:1".parse().unwrap());
        assert_eq!(first(&addresses, true).unwrap(), "192.0.2.1:1".parse().unwrap());
        assert!(matches!(
            first(&addresses[..2], false),
            Err(ConnectError::Endpoint(EndpointError::PlaintextBeyondLoopback))
        ));
    }

    #[test]
    fn the_next_address_is_tried_and_the_last_refusal_is_reported() {
        assert_eq!(first(&["127.0.0.1:2", "[::1]:1"], false).unwrap(), "[::1]:1".parse().unwrap());
        let refused = |addresses| match first(addresses, false) {
            Err(ConnectError::Io(error)) => error.kind(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&["192.0.2.1:1", "127.0.0.1:2"]), io::ErrorKind::ConnectionRefused);
        assert_eq!(refused(&[]), io::ErrorKind::NotFound);
    }
}
