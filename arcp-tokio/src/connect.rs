//! Connecting a client: to a URL, or to a child process.

use arcp_driver::connect::{ATTEMPT_TIMEOUT, Connect, Opening, attempt_timed_out};
use arcp_driver::websocket::{ConnectError, ConnectOptions};
use arcp_driver::{Client, Connector, NoEntropy};
use arcp_proto::config::ClientConfig;

use crate::timer::TokioTimer;
use crate::websocket::{self, WebSocketTransport};

pub use arcp_driver::connect::ClientStartError;

/// Opens WebSocket connections to one URL on tokio.
pub type WebSocketConnector = arcp_driver::connect::WebSocketConnector<WebSocketTransport>;

/// A connector for `ws://host[:port][/path]` or `wss://…`; port 7777 and path `/arcp` unless said otherwise.
///
/// # Errors
/// [`EndpointError`](arcp_driver::url::EndpointError) if the URL cannot be connected to, whatever the network does.
pub fn connector(
    url: impl Into<String>,
    options: ConnectOptions,
) -> Result<WebSocketConnector, arcp_driver::url::EndpointError> {
    WebSocketConnector::with(url, options, open)
}

fn open(url: String, options: ConnectOptions) -> Opening<WebSocketTransport, ConnectError> {
    Box::pin(async move {
        let attempt = websocket::connect(&url, &options);
        tokio::time::timeout(ATTEMPT_TIMEOUT, attempt).await.unwrap_or_else(|_| Err(attempt_timed_out()))
    })
}

/// Starts connecting to `ws://host[:port][/path]` or, with the feature `tls`, `wss://…`. Give it a token, then await it.
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
    Connect::new(url, |url, options, config| {
        Box::pin(async move {
            let client = spawn_client(connector(url, options)?, config)?;
            client.connected().await?;
            Ok(client)
        })
    })
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
    use arcp_driver::connect::ChildConnector;
    use arcp_driver::lines::CLIENT_LINE_LIMIT;

    let (transport, child) =
        crate::stdio::spawn(command, CLIENT_LINE_LIMIT).map_err(ClientStartError::Spawn)?;
    let client = spawn_client(ChildConnector::new(transport, child), config)?;
    client.connected().await?;
    Ok(client)
}
