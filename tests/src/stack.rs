//! Both drivers behind one face, so that a scenario is written once.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use arcp_driver::connect::{ATTEMPT_TIMEOUT, Connect, Opening, attempt_timed_out};
use arcp_driver::listen::{ListenOptions, ServeError};
use arcp_driver::transport::Transport;
use arcp_driver::url::Endpoint;
use arcp_driver::websocket::{self, CLOSE_WAIT, ConnectError, WebSocketLimits};
use arcp_driver::{Client, ClientConfig, Connector, Runtime, RuntimeHandle, TransportKind};
use arcp_tokio::compat::Compat;

/// How long a scenario may take before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A driver.
#[expect(async_fn_in_trait, reason = "scenarios await on the thread they run on")]
pub trait Stack: 'static {
    /// A runtime that is being served.
    type Serving;

    /// Runs a scenario; fails if it takes too long.
    fn run<T>(scenario: impl Future<Output = T>) -> T;

    /// Serves a runtime on this address.
    async fn serve_with(
        runtime: Runtime,
        address: SocketAddr,
        options: ListenOptions,
    ) -> Result<(Self::Serving, SocketAddr), ServeError>;

    /// Ends it.
    async fn shut_down(serving: Self::Serving);

    /// Starts a runtime without a listener.
    fn start(runtime: Runtime) -> RuntimeHandle;

    /// A client of a URL.
    fn connect(url: String) -> Connect;

    /// Opens WebSockets to the runtime on `server` through a relay: what is asked for is the runtime's own URL.
    fn cable(server: SocketAddr, relay: SocketAddr) -> impl Connector + 'static;

    /// A client of anything else.
    fn spawn_client(connector: impl Connector + 'static, config: ClientConfig) -> Client;

    /// Runs a future.
    fn spawn(future: impl Future<Output = ()> + Send + 'static);

    /// Serves a runtime on this address as everybody would.
    async fn serve_on(
        runtime: Runtime,
        address: SocketAddr,
    ) -> Result<(Self::Serving, SocketAddr), ServeError> {
        Self::serve_with(runtime, address, ListenOptions::default()).await
    }

    /// Serves a runtime on a free port.
    async fn serve(runtime: Runtime) -> (Self::Serving, SocketAddr) {
        Self::serve_on(runtime, SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port")
    }
}

/// Opens WebSockets through a relay.
struct Cable<T> {
    endpoint: Endpoint,
    relay: SocketAddr,
    open: fn(Endpoint, SocketAddr) -> Opening<T, ConnectError>,
}

impl<T: Transport + 'static> Connector for Cable<T> {
    type Transport = T;
    type Error = ConnectError;
    type Connecting = Opening<T, ConnectError>;

    fn kind(&self) -> TransportKind {
        TransportKind::WebSocket
    }

    fn connect(&mut self) -> Self::Connecting {
        (self.open)(self.endpoint.clone(), self.relay)
    }
}

/// `arcp-tokio`.
pub struct Tokio;

impl Stack for Tokio {
    type Serving = arcp_tokio::Serving;

    fn run<T>(scenario: impl Future<Output = T>) -> T {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, scenario).await.expect("took too long") })
    }

    async fn serve_with(
        runtime: Runtime,
        address: SocketAddr,
        options: ListenOptions,
    ) -> Result<(Self::Serving, SocketAddr), ServeError> {
        let server = arcp_tokio::Server::bind_with(address, options).await?;
        let address = server.local_addr();
        Ok((server.start(runtime), address))
    }

    async fn shut_down(serving: Self::Serving) {
        serving.shut_down().await;
    }

    fn start(runtime: Runtime) -> RuntimeHandle {
        arcp_tokio::start(runtime)
    }

    fn connect(url: String) -> Connect {
        arcp_tokio::connect(url)
    }

    fn cable(server: SocketAddr, relay: SocketAddr) -> impl Connector + 'static {
        let open = |endpoint: Endpoint, relay: SocketAddr| -> Opening<_, ConnectError> {
            Box::pin(async move {
                let attempt = async {
                    let stream = tokio::net::TcpStream::connect(relay).await?;
                    stream.set_nodelay(true)?;
                    let limits = WebSocketLimits::client();
                    let timer = || -> Pin<Box<dyn Future<Output = ()> + Send>> {
                        Box::pin(tokio::time::sleep(CLOSE_WAIT))
                    };
                    websocket::connect(Compat::new(stream), &endpoint, &limits, timer).await
                };
                tokio::time::timeout(ATTEMPT_TIMEOUT, attempt)
                    .await
                    .unwrap_or_else(|_| Err(attempt_timed_out()))
            })
        };
        Cable { endpoint: url(server).parse().unwrap(), relay, open }
    }

    fn spawn_client(connector: impl Connector + 'static, config: ClientConfig) -> Client {
        arcp_tokio::spawn_client(connector, config).unwrap()
    }

    fn spawn(future: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(future));
    }
}

/// `arcp-async-std`.
pub struct AsyncStd;

impl Stack for AsyncStd {
    type Serving = arcp_async_std::Serving;

    fn run<T>(scenario: impl Future<Output = T>) -> T {
        async_std::task::block_on(async {
            async_std::future::timeout(PATIENCE, scenario).await.expect("took too long")
        })
    }

    async fn serve_with(
        runtime: Runtime,
        address: SocketAddr,
        options: ListenOptions,
    ) -> Result<(Self::Serving, SocketAddr), ServeError> {
        let server = arcp_async_std::Server::bind_with(address, options).await?;
        let address = server.local_addr();
        Ok((server.start(runtime), address))
    }

    async fn shut_down(serving: Self::Serving) {
        serving.shut_down().await;
    }

    fn start(runtime: Runtime) -> RuntimeHandle {
        arcp_async_std::start(runtime)
    }

    fn connect(url: String) -> Connect {
        arcp_async_std::connect(url)
    }

    fn cable(server: SocketAddr, relay: SocketAddr) -> impl Connector + 'static {
        let open = |endpoint: Endpoint, relay: SocketAddr| -> Opening<_, ConnectError> {
            Box::pin(async move {
                let attempt = async {
                    let stream = async_std::net::TcpStream::connect(relay).await?;
                    stream.set_nodelay(true)?;
                    let limits = WebSocketLimits::client();
                    let timer = || -> Pin<Box<dyn Future<Output = ()> + Send>> {
                        Box::pin(async_std::task::sleep(CLOSE_WAIT))
                    };
                    websocket::connect(stream, &endpoint, &limits, timer).await
                };
                let attempt = async_std::future::timeout(ATTEMPT_TIMEOUT, attempt);
                attempt.await.unwrap_or_else(|_| Err(attempt_timed_out()))
            })
        };
        Cable { endpoint: url(server).parse().unwrap(), relay, open }
    }

    fn spawn_client(connector: impl Connector + 'static, config: ClientConfig) -> Client {
        arcp_async_std::spawn_client(connector, config).unwrap()
    }

    fn spawn(future: impl Future<Output = ()> + Send + 'static) {
        drop(async_std::task::spawn(future));
    }
}

/// The URL of a listener.
#[must_use]
pub fn url(address: SocketAddr) -> String {
    format!("ws://{address}/arcp")
}

/// Makes a test for each driver of each scenario, an `async fn name<S: Stack>()`.
#[macro_export]
macro_rules! over_both_drivers {
    ($($scenario:ident),* $(,)?) => {
        mod tokio_driver {
            $(#[test]
            fn $scenario() {
                <$crate::stack::Tokio as $crate::stack::Stack>::run(super::$scenario::<$crate::stack::Tokio>());
            })*
        }

        mod async_std_driver {
            $(#[test]
            fn $scenario() {
                <$crate::stack::AsyncStd as $crate::stack::Stack>::run(super::$scenario::<$crate::stack::AsyncStd>());
            })*
        }
    };
}
