//! Both drivers behind one face, so that a scenario is written once.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use arcp_driver::connect::Connect;
use arcp_driver::listen::ServeError;
use arcp_driver::{Client, ClientConfig, Connector, Runtime, RuntimeHandle};

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
    async fn serve_on(runtime: Runtime, address: SocketAddr) -> Result<(Self::Serving, SocketAddr), ServeError>;

    /// Ends it.
    async fn shut_down(serving: Self::Serving);

    /// Starts a runtime without a listener.
    fn start(runtime: Runtime) -> RuntimeHandle;

    /// A client of a URL.
    fn connect(url: String) -> Connect;

    /// A client of anything else.
    fn spawn_client(connector: impl Connector + 'static, config: ClientConfig) -> Client;

    /// Runs a future.
    fn spawn(future: impl Future<Output = ()> + Send + 'static);

    /// Serves a runtime on a free port.
    async fn serve(runtime: Runtime) -> (Self::Serving, SocketAddr) {
        Self::serve_on(runtime, SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port")
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

    async fn serve_on(runtime: Runtime, address: SocketAddr) -> Result<(Self::Serving, SocketAddr), ServeError> {
        let server = arcp_tokio::Server::bind(address).await?;
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

    async fn serve_on(runtime: Runtime, address: SocketAddr) -> Result<(Self::Serving, SocketAddr), ServeError> {
        let server = arcp_async_std::Server::bind(address).await?;
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
