//! The process's own standard streams and child processes as transports (protocol §10.2).

mod blocking;
mod child;

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

pub use self::{
    blocking::{BlockingReader, BlockingWriter},
    child::{ChildGuard, spawn_pipes},
};
use crate::lines::LinesTransport;

/// Descriptors below this one are the standard streams.
const FIRST_PRIVATE: i32 = 3;

static OWNED: AtomicBool = AtomicBool::new(false);

/// Takes over the process's standard input and output as a transport, once. Call it first in `main`, before anything
/// prints or starts a process.
///
/// From then on envelopes travel on private descriptors that child processes do not inherit: descriptor 1 points at
/// standard error, so whatever an agent, a library or a panic prints ends up there, and descriptor 0 at `/dev/null`,
/// so nobody reads our input away.
///
/// Input and output are served by one plain thread each, blocked in the system call. That works for pipes, files and
/// terminals alike and changes no flags of descriptions that other processes share, as non-blocking mode would.
/// These threads never keep the process from exiting. Once the sink is flushed or closed, everything is written.
///
/// `limit` is the longest line accepted, without its end, in bytes
/// ([`RUNTIME_LINE_LIMIT`](crate::lines::RUNTIME_LINE_LIMIT)).
///
/// # Errors
/// `AlreadyExists` on a second call; else the operating system's.
pub fn own_stdio(limit: usize) -> io::Result<LinesTransport<BlockingReader, BlockingWriter>> {
    if OWNED.swap(true, Ordering::SeqCst) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the standard streams are taken already"));
    }
    let input = rustix::io::fcntl_dupfd_cloexec(io::stdin(), FIRST_PRIVATE)?;
    let output = rustix::io::fcntl_dupfd_cloexec(io::stdout(), FIRST_PRIVATE)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    // What was printed before without a line end would otherwise wait for the next one.
    io::stdout().flush()?;
    over_threads(input, output, limit)
}

/// Starts a child runtime and returns the transport to it. See [`spawn_pipes`]; this one serves the pipes by threads
/// and so needs no executor.
///
/// `limit` is the longest line accepted, without its end, in bytes
/// ([`CLIENT_LINE_LIMIT`](crate::lines::CLIENT_LINE_LIMIT)).
///
/// # Errors
/// The operating system's.
pub fn spawn(
    command: &mut Command,
    limit: usize,
) -> io::Result<(LinesTransport<BlockingReader, BlockingWriter>, ChildGuard)> {
    let (stdin, stdout, guard) = spawn_pipes(command)?;
    Ok((over_threads(stdout.into(), stdin.into(), limit)?, guard))
}

fn over_threads(
    input: OwnedFd,
    output: OwnedFd,
    limit: usize,
) -> io::Result<LinesTransport<BlockingReader, BlockingWriter>> {
    let reader = BlockingReader::new(File::from(input))?;
    let writer = BlockingWriter::new(File::from(output))?;
    Ok(LinesTransport::new(reader, writer, limit))
}
