//! Connecting a client: to a URL, or to a child process.

use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use arcp_driver::lines::CLIENT_LINE_LIMIT;
use arcp_driver::websocket::{ConnectError, ConnectOptions};
use arcp_driver::{Client, ClientError, Connector, NoEntropy};
use arcp_proto::config::ClientConfig;
use arcp_proto::wire::peer::TransportKind;

use crate::timer::TokioTimer;
use crate::websocket::{self, WebSocketTransport};

/// How long one attempt to open a connection may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientStartError {
    /// The URL cannot be connected to, now or ever.
    #[error(transparent)]
    Endpoint(#[from] arcp_driver::url::EndpointError),
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

/// Opens WebSocket connections to one URL.
#[derive(Debug, Clone)]
pub struct WebSocketConnector {
    url: String,
    options: ConnectOptions,
}

impl WebSocketConnector {
    /// A connector for `ws://host[:port][/path]`; port 7777 and path `/arcp` unless said otherwise.
    ///
    /// # Errors
    /// [`EndpointError`](arcp_driver::url::EndpointError) if the URL cannot be connected to whatever the network does.
    pub fn new(url: impl Into<String>, options: ConnectOptions) -> Result<Self, arcp_driver::url::EndpointError> {
        let url = url.into();
        url.parse::<arcp_driver::url::Endpoint>()?.check(options.allow_plaintext_beyond_loopback)?;
        Ok(Self { url, options })
    }
}

impl Connector for WebSocketConnector {
    type Transport = WebSocketTransport;
    type Error = ConnectError;
    type Connecting = Pin<Box<dyn Future<Output = Result<WebSocketTransport, ConnectError>> + Send>>;

    fn kind(&self) -> TransportKind {
        TransportKind::WebSocket
    }

    fn connect(&mut self) -> Self::Connecting {
        let Self { url, options } = self.clone();
        Box::pin(async move {
            let attempt = websocket::connect(&url, &options);
            tokio::time::timeout(ATTEMPT_TIMEOUT, attempt).await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the connection could not be opened in time").into())
            })
        })
    }
}

/// Starts connecting to `ws://host[:port][/path]`. Give it a token, then await it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = arcp_tokio::connect("ws://127.0.0.1:7777/arcp").token("demo").await?;
/// let mut job = client.submit("echo").input(&"hello").await?;
/// let answer: String = job.result().await?;
/// # Ok(())
/// # }
/// ```
pub fn connect(url: impl Into<String>) -> Connect {
    Connect { url: url.into(), options: ConnectOptions::default(), config: ClientConfig::new("") }
}

/// A client that is being configured. Awaiting it connects, and resolves once the session is open.
#[derive(Debug)]
#[must_use = "a connect does nothing unless awaited"]
pub struct Connect {
    url: String,
    options: ConnectOptions,
    config: ClientConfig,
}

impl Connect {
    /// The bearer token.
    pub fn token(mut self, token: impl Into<arcp_proto::secret::Secret>) -> Self {
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

    /// Changes any other setting.
    pub fn config(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        change(&mut self.config);
        self
    }
}

impl IntoFuture for Connect {
    type Output = Result<Client, ClientStartError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let connector = WebSocketConnector::new(self.url, self.options)?;
            let client = spawn_client(connector, self.config)?;
            client.connected().await?;
            Ok(client)
        })
    }
}

/// Starts a client's driver on tokio. The client connects by itself; see [`Client::connected`].
///
/// # Errors
/// [`NoEntropy`] where the operating system gives no random numbers.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn_client<C>(connector: C, config: ClientConfig) -> Result<Client, NoEntropy>
where
    C: Connector + 'static,
{
    let (client, driver) = Client::with(connector, config, TokioTimer::new())?;
    tokio::spawn(driver);
    Ok(client)
}

/// Starts a child process that serves a runtime on its standard streams, and connects to it (protocol §10.2). The child
/// ends with the client.
///
/// # Errors
/// [`ClientStartError`] if the child cannot be started or the session not be opened.
#[cfg(unix)]
pub async fn connect_child(
    command: tokio::process::Command,
    config: ClientConfig,
) -> Result<Client, ClientStartError> {
    let (transport, child) = crate::stdio::spawn(command, CLIENT_LINE_LIMIT).map_err(ClientStartError::Spawn)?;
    let connector = ChildConnector { transport: Some(transport), _child: child };
    let client = spawn_client(connector, config)?;
    client.connected().await?;
    Ok(client)
}

/// Hands out the one transport to a child. A child that is gone cannot be connected to again.
#[cfg(unix)]
#[derive(Debug)]
struct ChildConnector {
    transport: Option<crate::stdio::ChildTransport>,
    _child: crate::stdio::ChildGuard,
}

#[cfg(unix)]
impl Connector for ChildConnector {
    type Transport = crate::stdio::ChildTransport;
    type Error = io::Error;
    type Connecting = std::future::Ready<io::Result<crate::stdio::ChildTransport>>;

    fn kind(&self) -> TransportKind {
        TransportKind::Lines
    }

    fn connect(&mut self) -> Self::Connecting {
        std::future::ready(self.transport.take().ok_or_else(|| {
            io::Error::new(io::ErrorKind::BrokenPipe, "the child runtime is gone")
        }))
    }
}
