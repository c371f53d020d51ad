//! Certificates and keys from files.

use std::fmt;
use std::fs;
use std::path::Path;

use arcp_driver::tls::{ClientTls, ServerTls};

use crate::failure::Failure;

/// Trust in the authorities of this file, and in no others.
pub(crate) fn authorities(path: &Path) -> Result<ClientTls, Failure> {
    let text = read("--tls-ca", path)?;
    ClientTls::with_authorities(&text).map_err(|error| fault("--tls-ca", path, &error))
}

/// What a server shows.
pub(crate) fn identity(certificate: &Path, key: &Path) -> Result<ServerTls, Failure> {
    let (chain, secret) = (read("--tls-cert", certificate)?, read("--tls-key", key)?);
    ServerTls::from_pem(&chain, &secret).map_err(|error| fault("--tls-cert", certificate, &error))
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| fault(option, path, &error))
}

fn fault(option: &str, path: &Path, error: &dyn fmt::Display) -> Failure {
    Failure::usage(format!("{option} {}: {error}", path.display()))
}
