//! One envelope per line over any futures-io byte streams (protocol §10.2).

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use arcp_proto::wire::{Line, LineSplitter};
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use futures_sink::Sink;

use crate::transport::{Incoming, Outgoing, PartialFrame, TransportError};

/// The longest line accepted by a runtime, without its end, in bytes.
pub const RUNTIME_LINE_LIMIT: usize = 1 << 20;

/// The longest line accepted by a client, without its end, in bytes.
pub const CLIENT_LINE_LIMIT: usize = 2 << 20;

/// How much is read at once.
const READ_BUFFER: usize = 16 << 10;

/// With this much unsent the sink is not ready.
const MAX_UNSENT: usize = 64 << 10;

/// A pair of byte streams as a [`Transport`](crate::transport::Transport).
///
/// Lines end with LF or CRLF; blank lines are skipped; a line over the limit is discarded and reported as
/// [`Incoming::Oversized`]. Input that ends inside a line drops the rest of it and ends the stream. There are
/// no probes and no close codes: [`Outgoing::Probe`] and [`Outgoing::Close`] are dropped. `poll_close` writes what is
/// buffered, closes the writer and drops it, since for a pipe only that ends the peer's input.
pub struct LinesTransport<R, W> {
    reader: R,
    /// `None` once closed.
    writer: Option<W>,
    splitter: LineSplitter,
    partial: PartialFrame,
    input: Box<[u8]>,
    input_ended: bool,
    output: Vec<u8>,
    /// How much of `output` is written.
    written: usize,
}

impl<R, W> fmt::Debug for LinesTransport<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinesTransport")
            .field("input_ended", &self.input_ended)
            .field("unsent", &self.unsent())
            .finish_non_exhaustive()
    }
}

impl<R, W> LinesTransport<R, W> {
    /// Reads lines of up to `limit` bytes, without their end, from `reader` and writes to `writer`.
    #[must_use]
    pub fn new(reader: R, writer: W, limit: usize) -> Self {
        Self {
            reader,
            writer: Some(writer),
            splitter: LineSplitter::new(limit),
            partial: PartialFrame::default(),
            input: vec![0; READ_BUFFER].into_boxed_slice(),
            input_ended: false,
            output: Vec::new(),
            written: 0,
        }
    }

    /// Has it yield [`Incoming::Partial`] as well, which a runtime needs to end connections whose frames do not go on.
    #[must_use]
    pub fn report_partial(mut self) -> Self {
        self.partial.want();
        self
    }

    fn unsent(&self) -> usize {
        self.output.len() - self.written
    }
}

impl<R, W: AsyncWrite + Unpin> LinesTransport<R, W> {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent() > 0 {
            let Some(writer) = &mut self.writer else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            match ready!(Pin::new(writer).poll_write(cx, &self.output[self.written..])) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.written = 0;
        if self.output.capacity() > MAX_UNSENT {
            self.output = Vec::new();
        } else {
            self.output.clear();
        }
        Poll::Ready(Ok(()))
    }
}

impl<R: AsyncRead + Unpin, W: Unpin> Stream for LinesTransport<R, W> {
    type Item = Result<Incoming, TransportError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this.splitter.next_line() {
                Some(line) => {
                    this.partial.complete();
                    return Poll::Ready(Some(Ok(match line {
                        Line::Frame(frame) => Incoming::Frame(frame),
                        Line::TooLong => Incoming::Oversized,
                    })));
                }
                None if this.input_ended => return Poll::Ready(None),
                None => {}
            }
            match Pin::new(&mut this.reader).poll_read(cx, &mut this.input) {
                Poll::Pending => {
                    return match this.partial.news(this.splitter.unfinished()) {
                        Some(partial) => Poll::Ready(Some(Ok(partial))),
                        None => Poll::Pending,
                    };
                }
                Poll::Ready(Ok(0)) => {
                    this.splitter.finish();
                    this.input_ended = true;
                }
                Poll::Ready(Ok(read)) => this.splitter.push(&this.input[..read]),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => {
                    this.input_ended = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> Sink<Outgoing> for LinesTransport<R, W> {
    type Error = TransportError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let this = self.get_mut();
        if this.unsent() < MAX_UNSENT {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Ok(ready!(this.poll_write_out(cx))?))
    }

    fn start_send(self: Pin<&mut Self>, item: Outgoing) -> Result<(), TransportError> {
        let this = self.get_mut();
        if this.writer.is_none() {
            return Err(TransportError::Closed);
        }
        if let Outgoing::Frame(text) = item {
            let start = this.output.len();
            this.output.extend_from_slice(text.as_bytes());
            // An agent's own JSON is passed on as written and may span lines. Outside of strings a line feed is white
            // space, and inside of them none can stand.
            for byte in &mut this.output[start..] {
                if *byte == b'\n' {
                    *byte = b' ';
                }
            }
            this.output.push(b'\n');
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        match &mut this.writer {
            Some(writer) => Poll::Ready(Ok(ready!(Pin::new(writer).poll_flush(cx))?)),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let this = self.get_mut();
        let written = ready!(this.poll_write_out(cx));
        let closed = match &mut this.writer {
            Some(writer) => ready!(Pin::new(writer).poll_close(cx)),
            None => Ok(()),
        };
        this.writer = None;
        written?;
        closed?;
        Poll::Ready(Ok(()))
    }
}
