//! The cable between client and runtime: a relay that can be cut, and a connector that leads through it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arcp_driver::connect::{ATTEMPT_TIMEOUT, attempt_timed_out};
use arcp_driver::stream::ByteStream;
use arcp_driver::url::Endpoint;
use arcp_driver::websocket::{self, CLOSE_WAIT, ConnectError, WebSocketLimits};
use arcp_driver::{Connector, TransportKind};
use arcp_tokio::compat::Compat;
use arcp_tokio::websocket::WebSocketTransport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::tap::{Tap, Tapped};

/// A cut as it happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Bytes of the runtime that got through of the last piece.
    pub(super) delivered: usize,
    /// Bytes of that piece.
    pub(super) of: usize,
}

/// Cuts the cable when told to.
#[derive(Debug, Clone, Default)]
pub(super) struct Cutter(Arc<AtomicBool>);

impl Cutter {
    /// The next bytes of the runtime are cut in half, and the connection with them.
    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_due(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// A TCP relay on a loopback port. Dropping it unplugs everything.
pub(super) struct Relay {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// A relay to `target`. Tells of each cut it makes.
    pub(super) async fn start(
        target: SocketAddr,
        cutter: Cutter,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<Cut>)> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (report, cuts) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(runtime) = TcpStream::connect(target).await {
                    tokio::spawn(carry(client, runtime, cutter.clone(), report.clone()));
                }
            }
        });
        Ok((Self { address, task }, cuts))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries bytes both ways until one side ends or the cable is cut. Both sockets are dropped then, whatever is in them.
async fn carry(client: TcpStream, runtime: TcpStream, cutter: Cutter, report: mpsc::UnboundedSender<Cut>) {
    // Like a cable, it keeps nothing back.
    let _ = (client.set_nodelay(true), runtime.set_nodelay(true));
    let (client_out, client_in) = client.into_split();
    let (runtime_out, runtime_in) = runtime.into_split();
    tokio::select! {
        _ = up(client_out, runtime_in) => {}
        cut = down(runtime_out, client_in, &cutter) => {
            if let Ok(Some(cut)) = cut {
                let _ = report.send(cut);
            }
        }
    }
}

async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await.map(|_| ())
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cutter: &Cutter) -> io::Result<Option<Cut>> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let of = from.read(&mut buffer).await?;
        if of == 0 {
            return Ok(None);
        }
        if cutter.is_due() {
            let delivered = of / 2;
            to.write_all(&buffer[..delivered]).await?;
            return Ok(Some(Cut { delivered, of }));
        }
        to.write_all(&buffer[..of]).await?;
    }
}

/// Connects through the relay, to the runtime's own URL, and has the tap listen.
pub(super) struct CableConnector {
    pub(super) endpoint: Endpoint,
    pub(super) relay: SocketAddr,
    pub(super) tap: Arc<Tap>,
}

impl CableConnector {
    pub(super) fn new(endpoint: Endpoint, relay: &Relay, tap: Arc<Tap>) -> Self {
        Self { endpoint, relay: relay.address, tap }
    }
}

impl Connector for CableConnector {
    type Transport = Tapped<WebSocketTransport>;
    type Error = ConnectError;
    type Connecting = Pin<Box<dyn Future<Output = Result<Self::Transport, ConnectError>> + Send>>;

    fn kind(&self) -> TransportKind {
        TransportKind::WebSocket
    }

    fn connect(&mut self) -> Self::Connecting {
        let (endpoint, relay, tap) = (self.endpoint.clone(), self.relay, Arc::clone(&self.tap));
        Box::pin(async move {
            let attempt = async {
                let stream = TcpStream::connect(relay).await?;
                stream.set_nodelay(true)?;
                let limits = WebSocketLimits::client();
                websocket::connect(ByteStream::Plain(Compat::new(stream)), &endpoint, &limits, close_timer)
                    .await
            };
            let transport = tokio::time::timeout(ATTEMPT_TIMEOUT, attempt)
                .await
                .unwrap_or_else(|_| Err(attempt_timed_out()))?;
            Ok(Tapped::new(transport, tap))
        })
    }
}

fn close_timer() -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(tokio::time::sleep(CLOSE_WAIT))
}
