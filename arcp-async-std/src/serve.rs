//! Serving a runtime: on a WebSocket address, or on the process's own standard streams.

use std::net::SocketAddr;
use std::sync::Arc;

use arcp_driver::lines::RUNTIME_LINE_LIMIT;
use arcp_driver::listen::{ACCEPT_PAUSE, ListenOptions, ServeError};
use arcp_driver::upgrade::UpgradePolicy;
use arcp_driver::{EndpointError, Runtime, RuntimeHandle};
use arcp_proto::wire::peer::TransportKind;
use async_std::net::{TcpListener, TcpStream, ToSocketAddrs};
use async_std::task::{JoinHandle, spawn};

use crate::timer::AsyncStdTimer;
use crate::websocket;

/// A listener that waits for a runtime.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local: SocketAddr,
    policy: Arc<UpgradePolicy>,
    options: ListenOptions,
}

impl Server {
    /// Listens on a loopback address; port 0 takes a free one.
    ///
    /// # Errors
    /// As [`Server::bind_with`].
    pub async fn bind(address: impl ToSocketAddrs) -> Result<Self, ServeError> {
        Self::bind_with(address, ListenOptions::default()).await
    }

    /// Listens on an address; port 0 takes a free one. Beyond this machine that needs a certificate
    /// ([`ListenOptions`]).
    ///
    /// # Errors
    /// [`ServeError::BeyondLoopback`] unless allowed, [`ServeError::Bind`], or the resolver's error.
    pub async fn bind_with(address: impl ToSocketAddrs, options: ListenOptions) -> Result<Self, ServeError> {
        let listener = options.bind_first(address.to_socket_addrs().await?, TcpListener::bind).await?;
        let local = listener.local_addr()?;
        let policy = Arc::new(options.policy(local));
        Ok(Self { listener, local, policy, options })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        self.options.url(self.local)
    }

    /// Starts the runtime and serves it to whoever connects, until the returned value is shut down or dropped.
    #[must_use = "dropping it ends the server"]
    pub fn start(self, runtime: Runtime) -> Serving {
        let (handle, endpoint) = start_joined(runtime);
        let acceptor = spawn(accept_all(self, handle.clone()));
        Serving { handle, endpoint, acceptor: Some(acceptor) }
    }
}

async fn accept_all(server: Server, handle: RuntimeHandle) {
    let Server { listener, policy, options, .. } = server;
    loop {
        let Ok((stream, source)) = listener.accept().await else {
            async_std::task::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Whoever finds the gate full is cut off at once: an answer would cost what the gate is there to save.
        let Some(permit) = options.gate.admit(source.ip()) else { continue };
        let (handle, policy) = (handle.clone(), Arc::clone(&policy));
        let options = options.clone();
        spawn(async move {
            if let Some(transport) = upgrade(stream, &policy, &options).await {
                let transport = permit.guard(transport.report_partial());
                if options.is_secured() {
                    handle.accept_secured(transport, TransportKind::WebSocket, source.ip()).await;
                } else {
                    handle.accept_from(transport, TransportKind::WebSocket, source.ip()).await;
                }
            }
        });
    }
}

async fn upgrade(
    stream: TcpStream,
    policy: &UpgradePolicy,
    options: &ListenOptions,
) -> Option<websocket::WebSocketTransport> {
    let accepting = websocket::accept(stream, policy, options);
    async_std::future::timeout(options.upgrade_timeout, accepting).await.ok()?.ok()
}

/// A runtime that is being served.
#[derive(Debug)]
#[must_use = "dropping it ends the server"]
pub struct Serving {
    handle: RuntimeHandle,
    endpoint: JoinHandle<Result<(), EndpointError>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Serving {
    /// The runtime, for further connections and for its end.
    #[must_use]
    pub const fn handle(&self) -> &RuntimeHandle {
        &self.handle
    }

    /// Accepts nothing more, says goodbye to every client and ends the runtime.
    pub async fn shut_down(mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.cancel().await;
        }
        self.handle.shut_down().await;
    }

    /// Waits until the runtime ends by itself, which it does only if its store fails.
    ///
    /// # Errors
    /// [`EndpointError`] if its store failed.
    pub async fn wait(&mut self) -> Result<(), EndpointError> {
        (&mut self.endpoint).await
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            spawn(acceptor.cancel());
        }
    }
}

/// Starts a runtime on async-std without a listener: for in-memory transports and listeners of one's own.
pub fn start(runtime: Runtime) -> RuntimeHandle {
    start_joined(runtime).0
}

fn start_joined(runtime: Runtime) -> (RuntimeHandle, JoinHandle<Result<(), EndpointError>>) {
    let (handle, endpoint, mut tasks) = runtime.start(AsyncStdTimer::new());
    spawn(async move {
        while let Some(task) = tasks.next().await {
            spawn(task);
        }
    });
    (handle, spawn(endpoint))
}

/// Serves a runtime on a loopback address until its store fails.
///
/// # Errors
/// [`ServeError`]; see [`Server::bind`].
pub async fn serve(runtime: Runtime, address: impl ToSocketAddrs) -> Result<(), ServeError> {
    let mut serving = Server::bind(address).await?.start(runtime);
    Ok(serving.wait().await?)
}

/// Serves a runtime on the process's own standard streams until the input ends, then shuts it down (protocol §10.2).
/// Call it before anything prints: from then on descriptor 1 is standard error for everybody else.
///
/// # Errors
/// [`ServeError::Io`] if the streams cannot be taken over.
#[cfg(unix)]
pub async fn serve_stdio(runtime: Runtime) -> Result<(), ServeError> {
    let transport = crate::stdio::own_stdio(RUNTIME_LINE_LIMIT)?;
    let handle = start(runtime);
    handle.accept(transport.report_partial(), TransportKind::Lines).await;
    handle.shut_down().await;
    Ok(())
}
