//! What a WebSocket listener is told, whatever executor it runs on.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};

use crate::EndpointError;
use crate::gate::Gate;
use crate::stream::ByteStream;
use crate::upgrade::UpgradePolicy;
use crate::url::is_loopback;
use crate::websocket::WebSocketLimits;

/// How long to wait before accepting again when the system has no more descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why serving did not begin, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is not one of this machine's loopback addresses, and traffic would be readable on the way.
    #[error("{0} is not a loopback address, and without TLS a runtime listens on loopback only")]
    BeyondLoopback(SocketAddr),
    /// The address does not exist or is taken.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The operating system reported a fault.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The runtime ended by itself.
    #[error(transparent)]
    Runtime(#[from] EndpointError),
}

/// Options of a listener. The defaults serve clients on this machine and nobody else.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    hosts: Vec<String>,
    origins: Vec<String>,
    allow_plaintext_beyond_loopback: bool,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::ServerTls>,
    /// How long a connection may take for its upgrade request. Default 5 s.
    pub upgrade_timeout: Duration,
    /// Sizes of each connection.
    pub limits: WebSocketLimits,
    /// How many connections may wait for authentication, in all and from one address.
    pub gate: Gate,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            origins: Vec::new(),
            allow_plaintext_beyond_loopback: false,
            #[cfg(feature = "tls")]
            tls: None,
            upgrade_timeout: Duration::from_secs(5),
            limits: WebSocketLimits::runtime(),
            gate: Gate::default(),
        }
    }
}

impl ListenOptions {
    /// Accepts this name in `Host`, besides the loopback names.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Accepts browsers that come from this origin; none is accepted unless named (T-1).
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Whether an address that others can reach may be listened on without TLS. Everything on the wire, bearer tokens
    /// included, is then readable on the way.
    #[must_use]
    pub const fn allow_plaintext_beyond_loopback(mut self, allow: bool) -> Self {
        self.allow_plaintext_beyond_loopback = allow;
        self
    }

    /// Serves with TLS: clients come with `wss://`, and addresses that others can reach may be listened on. Name the hosts
    /// they come for with [`host`](Self::host).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: crate::tls::ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Whether what is accepted is encrypted.
    #[must_use]
    pub const fn is_secured(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Encrypts an accepted stream if the listener has TLS. There is no time limit here; put one around it (protocol §9).
    ///
    /// # Errors
    /// Whatever the stream or the handshake says.
    pub async fn secure<S>(&self, stream: S) -> io::Result<ByteStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.accept(stream).await;
        }
        Ok(ByteStream::Plain(stream))
    }

    /// Listens on the first of these addresses that can be had.
    ///
    /// # Errors
    /// [`ServeError::BeyondLoopback`] at the first address that may not be listened on, [`ServeError::Bind`] for the last
    /// one if none can be had, [`io::ErrorKind::NotFound`] if there is none.
    pub async fn bind_first<L, F>(
        &self,
        addresses: impl IntoIterator<Item = SocketAddr>,
        bind: fn(SocketAddr) -> F,
    ) -> Result<L, ServeError>
    where
        F: Future<Output = io::Result<L>>,
    {
        let mut refusal =
            ServeError::Io(io::Error::new(io::ErrorKind::NotFound, "the name to listen on has no address"));
        for address in addresses {
            self.check(address)?;
            match bind(address).await {
                Ok(listener) => return Ok(listener),
                Err(error) => refusal = ServeError::Bind { address, error },
            }
        }
        Err(refusal)
    }

    fn check(&self, address: SocketAddr) -> Result<(), ServeError> {
        if self.is_secured() || self.allow_plaintext_beyond_loopback || is_loopback(address.ip()) {
            Ok(())
        } else {
            Err(ServeError::BeyondLoopback(address))
        }
    }

    /// The URL for clients of a listener on `local`.
    #[must_use]
    pub fn url(&self, local: SocketAddr) -> String {
        let scheme = if self.is_secured() { "wss" } else { "ws" };
        format!("{scheme}://{local}/arcp")
    }

    /// The upgrade policy of a listener on `local`.
    #[must_use]
    pub fn policy(&self, local: SocketAddr) -> UpgradePolicy {
        let mut policy = UpgradePolicy::new(local.port());
        if !is_loopback(local.ip()) && !local.ip().is_unspecified() {
            policy = policy.with_host(match local {
                SocketAddr::V4(address) => address.ip().to_string(),
                SocketAddr::V6(address) => format!("[{}]", address.ip()),
            });
        }
        let policy = self.hosts.iter().fold(policy, |policy, host| policy.with_host(host.clone()));
        self.origins.iter().fold(policy, |policy, origin| policy.with_origin(origin.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_executor::block_on;
    use std::future::{Ready, ready};

    #[test]
    fn only_loopback_unless_said_otherwise() {
        let options = ListenOptions::default();
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            assert!(options.check(address.parse().unwrap()).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1", "[2001:db8::1]:1"] {
            let refused = options.check(address.parse().unwrap()).unwrap_err();
            assert!(matches!(refused, ServeError::BeyondLoopback(_)), "{address}");
            let options = options.clone().allow_plaintext_beyond_loopback(true);
            assert!(options.check(address.parse().unwrap()).is_ok(), "{address}");
        }
    }

    /// Port 1 is free and nothing else.
    fn bind(address: SocketAddr) -> Ready<io::Result<SocketAddr>> {
        ready(if address.port() == 1 { Ok(address) } else { Err(io::ErrorKind::AddrInUse.into()) })
    }

    fn first(addresses: &[&str]) -> Result<SocketAddr, ServeError> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        block_on(ListenOptions::default().bind_first(addresses, bind))
    }

    #[test]
    fn the_first_free_address_is_taken_and_none_beyond_loopback_is_tried() {
        assert_eq!(first(&["127.0.0.1:2", "[::1]:1"]).unwrap(), "[::1]:1".parse().unwrap());
        assert!(matches!(first(&["192.0.2.1:1", "127.0.0.1:1"]), Err(ServeError::BeyondLoopback(_))));
        let taken = first(&["127.0.0.1:2", "[::1]:3"]).unwrap_err();
        assert!(matches!(taken, ServeError::Bind { address, .. } if address.port() == 3), "{taken}");
        let none = first(&[]).unwrap_err();
        assert!(matches!(&none, ServeError::Io(error) if error.kind() == io::ErrorKind::NotFound), "{none}");
    }
}
