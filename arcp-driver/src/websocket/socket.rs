//! A futures-io stream as the blocking-style stream that the WebSocket engine reads and writes.

use std::{
    io::{self, Read, Write},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures_io::{AsyncRead, AsyncWrite};

use super::fragments::FragmentCount;

/// The byte stream below the engine. `Pending` becomes `WouldBlock`, with the waker of the last poll registered:
/// one waker is enough because both halves of a transport are polled by the same task.
#[derive(Debug)]
pub(super) struct Socket<S> {
    stream: S,
    waker: Waker,
    fragments: FragmentCount,
}

/// What a read reports when a message has too many fragments.
#[derive(Debug, thiserror::Error)]
#[error("too many fragments in one message")]
pub(super) struct TooManyFragments;

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) fn new(stream: S, fragments: FragmentCount) -> Self {
        Self { stream, waker: Waker::noop().clone(), fragments }
    }

    /// Makes this poll's waker the one to wake.
    pub(super) fn register(&mut self, cx: &Context<'_>) {
        self.waker.clone_from(cx.waker());
    }

    /// How many bytes of a message that is not whole have been read.
    pub(super) const fn unfinished(&self) -> u64 {
        self.fragments.unfinished()
    }

    /// Reads past the engine and throws away; returns the number of bytes, 0 at the end.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = [0; 4096];
        Pin::new(&mut self.stream).poll_read(cx, &mut scratch)
    }

    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

fn ready<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<S: AsyncRead + Unpin> Read for Socket<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.fragments.exceeded() {
            return Err(io::Error::other(TooManyFragments));
        }
        let mut cx = Context::from_waker(&self.waker);
        let read = ready(Pin::new(&mut self.stream).poll_read(&mut cx, buf))?;
        // What came before the surplus fragment still counts, so the error waits for the next read.
        match self.fragments.observe(&buf[..read]) {
            0 if read > 0 => Err(io::Error::other(TooManyFragments)),
            kept => Ok(kept),
        }
    }
}

impl<S: AsyncWrite + Unpin> Write for Socket<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut cx = Context::from_waker(&self.waker);
        ready(Pin::new(&mut self.stream).poll_write(&mut cx, buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut cx = Context::from_waker(&self.waker);
        ready(Pin::new(&mut self.stream).poll_flush(&mut cx))
    }
}
