//! TLS for both sides, over any futures-io byte stream (protocol §10.1, T-10).
//!
//! TLS 1.3, with `ring` for the cryptography, given explicitly: nothing here reads or sets what a process has one of. There
//! is no way to accept a certificate that does not verify. Other versions and cryptography come with a configuration of
//! one's own: [`ClientTls::from_config`], [`ServerTls::from_config`].

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_io::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::stream::ByteStream;
use crate::url::{Endpoint, Host};

/// What a TLS server is asked for: the protocol that an upgrade to WebSocket begins in.
const HTTP: &[u8] = b"http/1.1";

/// Why a certificate, a key or a configuration cannot be used. Never shows any of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text is no PEM of what it should be.
    #[error("{what}: {error}")]
    Pem {
        /// The certificates or the key.
        what: &'static str,
        /// What is wrong with it.
        error: PemFault,
    },
    /// The pieces do not fit together, or are not accepted.
    #[error("TLS: {0}")]
    Config(#[from] rustls::Error),
}

/// What is wrong with a PEM text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    /// Nothing of the kind is in it.
    #[error("there is none in the text")]
    Missing,
    /// It is not written as PEM is.
    #[error("the text is no PEM")]
    Malformed,
}

impl PemFault {
    const fn of(error: &pem::Error) -> Self {
        match error {
            pem::Error::NoItemsFound => Self::Missing,
            _ => Self::Malformed,
        }
    }
}

fn certificates(what: &'static str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match all {
        Ok(all) if all.is_empty() => Err(TlsError::Pem { what, error: PemFault::Missing }),
        Ok(all) => Ok(all),
        Err(error) => Err(TlsError::Pem { what, error: PemFault::of(&error) }),
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How a client verifies the runtimes it connects to with `wss://`.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    /// By the certificates and rules of the operating system.
    ///
    /// # Errors
    /// [`TlsError::Config`] where the operating system has none.
    pub fn platform() -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        Ok(Self::of(builder.with_platform_verifier()?.with_no_client_auth()))
    }

    /// By these authorities and no others: one or more certificates as PEM.
    ///
    /// # Errors
    /// [`TlsError`] if the text has no certificate, or one that no authority can have.
    pub fn with_authorities(certificates_pem: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("the certificates of authorities", certificates_pem)? {
            roots.add(certificate)?;
        }
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        Ok(Self::of(builder.with_root_certificates(roots).with_no_client_auth()))
    }

    /// By a configuration of one's own.
    #[must_use]
    pub const fn from_config(config: Arc<ClientConfig>) -> Self {
        Self(config)
    }

    fn of(mut config: ClientConfig) -> Self {
        config.alpn_protocols = Vec::from([HTTP.to_vec()]);
        Self(Arc::new(config))
    }

    /// Encrypts a stream that leads to `endpoint`, whose certificate must be for its host.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if the certificate does not verify, with what is wrong with it; whatever the stream
    /// says.
    pub async fn connect<S>(&self, endpoint: &Endpoint, stream: S) -> io::Result<ByteStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match endpoint.host() {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, "no certificate can be for this host")
            })?,
        };
        let stream = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await?;
        Ok(ByteStream::Tls(Box::new(TlsStream::Client(stream))))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

/// What a runtime shows to those that connect with `wss://`.
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl ServerTls {
    /// A certificate with those between it and its authority, and its private key, both as PEM.
    ///
    /// # Errors
    /// [`TlsError`] if either is missing or malformed, or they do not belong together.
    pub fn from_pem(certificates_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates("the certificate", certificates_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| TlsError::Pem { what: "the private key", error: PemFault::of(&error) })?;
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = Vec::from([HTTP.to_vec()]);
        Ok(Self(Arc::new(config)))
    }

    /// A configuration of one's own.
    #[must_use]
    pub const fn from_config(config: Arc<ServerConfig>) -> Self {
        Self(config)
    }

    /// Encrypts an accepted stream. There is no time limit here; put one around it (protocol §9).
    ///
    /// # Errors
    /// Whatever the stream or the handshake says.
    pub async fn accept<S>(&self, stream: S) -> io::Result<ByteStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(Arc::clone(&self.0)).accept(stream).await?;
        Ok(ByteStream::Tls(Box::new(TlsStream::Server(stream))))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}
