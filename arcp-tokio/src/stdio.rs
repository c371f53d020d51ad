//! The process's own standard streams and child runtimes as transports (protocol §10.2).

use std::io;

use arcp_driver::{lines::LinesTransport, stdio::spawn_pipes};
use tokio::process::{ChildStdin, ChildStdout, Command};

pub use arcp_driver::stdio::{BlockingReader, BlockingWriter, ChildGuard, own_stdio};

use crate::compat::Compat;

/// The transport to a child runtime.
pub type ChildTransport = LinesTransport<Compat<ChildStdout>, Compat<ChildStdin>>;

/// Starts a child runtime and returns the transport to it; the child shares our standard error. Its pipes are ours
/// alone, so they are polled without threads.
///
/// `limit` is the longest line accepted, without its end, in bytes
/// ([`CLIENT_LINE_LIMIT`](arcp_driver::lines::CLIENT_LINE_LIMIT)). The runtime must be entered with I/O enabled.
///
/// # Errors
/// The operating system's.
pub fn spawn(mut command: Command, limit: usize) -> io::Result<(ChildTransport, ChildGuard)> {
    let (stdin, stdout, guard) = spawn_pipes(command.as_std_mut())?;
    let writer = Compat::new(ChildStdin::from_std(stdin)?);
    let reader = Compat::new(ChildStdout::from_std(stdout)?);
    Ok((LinesTransport::new(reader, writer, limit), guard))
}
