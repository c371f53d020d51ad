//! The WebSocket transport over any futures-io byte stream (protocol §10.1).
//!
//! An executor crate brings the connected stream and a timer; everything else is here: both handshakes, the limits,
//! the close codes and the orderly end.

mod fragments;
mod handshake;
mod limits;
mod socket;

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use arcp_proto::CloseCode;
use bytes::Bytes;
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use futures_sink::Sink;
use tungstenite::{
    Error as WsError, Message, Utf8Bytes, WebSocket,
    error::ProtocolError,
    protocol::{CloseFrame, Role},
};

use self::{
    fragments::FragmentCount,
    socket::{Socket, TooManyFragments},
};
use crate::transport::{Incoming, Outgoing, PartialFrame, TransportError};

pub use self::{
    handshake::{AcceptError, ConnectError, accept, connect},
    limits::{ConnectOptions, WebSocketLimits},
};

/// Ten bytes of header and four of mask are the most a WebSocket frame adds to its payload.
const FRAME_OVERHEAD: usize = 14;

/// Pings and other messages without content that are read before other work gets its turn.
const CONTROL_BURST: usize = 32;

/// What is read and thrown away at most while waiting for the peer to close.
const MAX_DISCARDED: usize = 4 << 20;

/// How long to wait for the peer's side of the close handshake.
pub const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Starts the executor's timer for [`CLOSE_WAIT`].
pub type CloseTimer = fn() -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// One WebSocket connection as a [`Transport`](crate::transport::Transport).
///
/// * Frames are text messages. Their text is valid UTF-8, since anything else ended the connection with 1007; what
///   it says is not looked at.
/// * A message over the limit ends the connection with 1009, a binary one with 1003, a breach of RFC 6455 with 1002.
///   The close frame is sent, the stream yields the error and then nothing more.
/// * Pings are answered while the stream is polled. [`Outgoing::Probe`] sends one with an unforgeable payload;
///   its pong is [`Incoming::Proof`], once.
/// * The sink gathers frames and writes when it holds [`WebSocketLimits::write_buffer`] or is flushed.
/// * `poll_close` sends what is buffered and a close frame (1000 unless [`Outgoing::Close`] or a fault chose
///   another code), waits for the peer's for as long as the timer runs, then ends the stream below. Only that wait
///   is bounded: whoever polls bounds the writing itself.
///
/// Both halves must be polled by the same task: the waker of the last poll is the one that is woken.
pub struct WebSocketTransport<S> {
    socket: WebSocket<Socket<S>>,
    /// The limit from the first sent frame on.
    limit: usize,
    /// No frame was sent yet.
    opening: bool,
    close_timer: CloseTimer,
    /// The payload of the ping whose pong is awaited.
    probe: Option<[u8; 8]>,
    /// The last write did not go through; flush before accepting more.
    blocked: bool,
    /// A message that found the write buffer full.
    held: Option<Message>,
    reading: Reading,
    partial: PartialFrame,
    closing: Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The peer closed, or the stream below ended.
    Ended,
    /// The peer broke the framing: what follows can only be thrown away.
    Broken,
}

enum Closing {
    Open,
    Flushing,
    /// Our close frame is out; the peer's is not in.
    Waiting {
        timer: Pin<Box<dyn Future<Output = ()> + Send>>,
        discarded: usize,
    },
    Shutting,
    /// After a fault: reads what the peer still sends, because closing over unread bytes would reset the connection
    /// and could take our close frame with it.
    Draining {
        timer: Pin<Box<dyn Future<Output = ()> + Send>>,
        discarded: usize,
    },
    Done,
}

impl<S> fmt::Debug for WebSocketTransport<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketTransport")
            .field("limit", &self.limit)
            .field("reading", &self.reading)
            .field("blocked", &self.blocked)
            .finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketTransport<S> {
    /// A connection whose handshake is over; `early` are bytes that were read with it.
    fn new(stream: S, role: Role, early: Vec<u8>, limits: &WebSocketLimits, close_timer: CloseTimer) -> Self {
        let mut fragments = FragmentCount::new(limits.fragments);
        let mut early = early;
        early.truncate(fragments.observe(&early));
        let socket = Socket::new(stream, fragments);
        Self {
            socket: WebSocket::from_partially_read(socket, early, role, Some(limits.config())),
            limit: limits.message,
            opening: true,
            close_timer,
            probe: None,
            blocked: false,
            held: None,
            reading: Reading::Open,
            partial: PartialFrame::default(),
            closing: Closing::Open,
        }
    }

    /// Has it yield [`Incoming::Partial`] as well, which a runtime needs to end connections whose frames do not go on.
    #[must_use]
    pub fn report_partial(mut self) -> Self {
        self.partial.want();
        self
    }

    fn write(&mut self, message: Message) -> Result<(), TransportError> {
        match self.socket.write(message) {
            Ok(()) => Ok(()),
            // The message is in the engine's buffer.
            Err(error) if would_block(&error) => {
                self.blocked = true;
                Ok(())
            }
            Err(WsError::WriteBufferFull(message)) => {
                self.blocked = true;
                self.held = Some(*message);
                Ok(())
            }
            Err(error) => Err(write_error(error)),
        }
    }

    /// Writes everything given so far.
    fn poll_drain(&mut self) -> Poll<Result<(), TransportError>> {
        loop {
            match self.socket.flush() {
                Ok(()) => {}
                Err(error) if would_block(&error) => {
                    self.blocked = true;
                    return Poll::Pending;
                }
                // The engine reports its end after everything is written.
                Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => {
                    self.held = None;
                }
                Err(error) => return Poll::Ready(Err(write_error(error))),
            }
            self.blocked = false;
            match self.held.take() {
                Some(message) => self.write(message)?,
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    fn close(&mut self, code: CloseCode) -> Result<(), TransportError> {
        if !self.socket.can_write() {
            return Ok(());
        }
        // The engine forgets a close frame that finds its buffer full; there is only one, so it always fits.
        self.socket.set_config(|config| config.max_write_buffer_size = usize::MAX);
        let frame = CloseFrame { code: code.code().into(), reason: Utf8Bytes::from_static("") };
        match self.socket.close(Some(frame)) {
            Ok(()) | Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => Ok(()),
            Err(error) if would_block(&error) => {
                self.blocked = true;
                Ok(())
            }
            Err(error) => Err(write_error(error)),
        }
    }

    /// Ends reading because of a fault and tells the peer, as far as that is possible.
    fn fail(&mut self, error: WsError) -> TransportError {
        let (code, error) = match error {
            WsError::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<TooManyFragments>()) => {
                (CloseCode::TooLarge, TransportError::Protocol("a message in too many fragments".to_owned()))
            }
            WsError::Io(error) => {
                self.reading = Reading::Ended;
                return error.into();
            }
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                self.reading = Reading::Ended;
                return io::Error::new(io::ErrorKind::UnexpectedEof, "ended without a close frame").into();
            }
            WsError::Capacity(_) => {
                let limit = self.socket.get_config().max_message_size.unwrap_or(self.limit);
                (CloseCode::TooLarge, TransportError::TooLarge { limit })
            }
            WsError::Utf8(_) => {
                (CloseCode::InvalidText, TransportError::Protocol("text that is not UTF-8".to_owned()))
            }
            other => (CloseCode::Protocol, TransportError::Protocol(other.to_string())),
        };
        self.refuse(code, error)
    }

    fn refuse(&mut self, code: CloseCode, error: TransportError) -> TransportError {
        self.reading = Reading::Broken;
        // The fault is what matters; that the peer cannot be told either adds nothing.
        drop(self.close(code));
        error
    }

    /// Waits for the peer's close frame or the end of its stream.
    fn poll_peer_close(&mut self, discarded: &mut usize) -> Poll<()> {
        while *discarded < MAX_DISCARDED {
            match self.socket.read() {
                Ok(Message::Close(_)) => break,
                Ok(message) => *discarded += message.len() + FRAME_OVERHEAD,
                Err(error) if would_block(&error) => return Poll::Pending,
                Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>, discarded: &mut usize) -> Poll<()> {
        while *discarded < MAX_DISCARDED {
            match ready!(self.socket.get_mut().poll_discard(cx)) {
                Ok(read) if read > 0 => *discarded += read,
                Ok(_) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocketTransport<S> {
    type Item = Result<Incoming, TransportError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.reading != Reading::Open {
            return Poll::Ready(None);
        }
        this.socket.get_mut().register(cx);
        for _ in 0..CONTROL_BURST {
            let item = match this.socket.read() {
                Ok(Message::Text(text)) => {
                    this.partial.complete();
                    Ok(Incoming::Frame(text.into()))
                }
                Ok(Message::Pong(payload)) => match this.probe {
                    Some(probe) if payload == probe[..] => {
                        this.probe = None;
                        Ok(Incoming::Proof)
                    }
                    _ => continue,
                },
                // The engine sends its pong with the next read.
                Ok(Message::Ping(_) | Message::Frame(_)) => continue,
                Ok(Message::Binary(_)) => {
                    let error = TransportError::Protocol("a binary message; envelopes are text".to_owned());
                    Err(this.refuse(CloseCode::Unsupported, error))
                }
                Ok(Message::Close(_)) => {
                    this.reading = Reading::Ended;
                    // Answers the close at once; what does not go out now is left to `poll_close`.
                    if let Poll::Ready(Err(_)) = this.poll_drain() {
                        this.closing = Closing::Shutting;
                    }
                    return Poll::Ready(None);
                }
                Err(error) if would_block(&error) => {
                    match this.partial.news(this.socket.get_ref().unfinished()) {
                        Some(partial) => Ok(partial),
                        None => return Poll::Pending,
                    }
                }
                Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => {
                    this.reading = Reading::Ended;
                    return Poll::Ready(None);
                }
                Err(error) => Err(this.fail(error)),
            };
            return Poll::Ready(Some(item));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Outgoing> for WebSocketTransport<S> {
    type Error = TransportError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let this = self.get_mut();
        if !this.blocked {
            return Poll::Ready(Ok(()));
        }
        this.socket.get_mut().register(cx);
        this.poll_drain()
    }

    fn start_send(self: Pin<&mut Self>, item: Outgoing) -> Result<(), TransportError> {
        let this = self.get_mut();
        match item {
            Outgoing::Frame(text) => {
                if this.opening {
                    this.opening = false;
                    let limit = Some(this.limit);
                    this.socket.set_config(|config| {
                        config.max_message_size = limit;
                        config.max_frame_size = limit;
                    });
                }
                let needed = text.len() + FRAME_OVERHEAD;
                if needed > this.socket.get_config().max_write_buffer_size {
                    // Could never be written otherwise. The buffer is bounded by the largest frame in any case.
                    this.socket.set_config(|config| config.max_write_buffer_size = needed);
                }
                this.write(Message::Text(text.into()))
            }
            Outgoing::Probe => {
                let mut probe = [0; 8];
                getrandom::fill(&mut probe).map_err(io::Error::from)?;
                this.probe = Some(probe);
                this.write(Message::Ping(Bytes::copy_from_slice(&probe)))
            }
            Outgoing::Close(code) => this.close(code),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let this = self.get_mut();
        this.socket.get_mut().register(cx);
        this.poll_drain()
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let this = self.get_mut();
        this.socket.get_mut().register(cx);
        loop {
            // Taken out, so that a step can use the whole transport; every way on puts a state back.
            this.closing = match std::mem::replace(&mut this.closing, Closing::Done) {
                Closing::Open => {
                    if this.held.is_some() && this.poll_drain()?.is_pending() {
                        this.closing = Closing::Open;
                        return Poll::Pending;
                    }
                    this.close(CloseCode::Normal)?;
                    Closing::Flushing
                }
                Closing::Flushing => {
                    if this.poll_drain()?.is_pending() {
                        this.closing = Closing::Flushing;
                        return Poll::Pending;
                    }
                    match this.reading {
                        Reading::Open => Closing::Waiting { timer: (this.close_timer)(), discarded: 0 },
                        Reading::Ended | Reading::Broken => Closing::Shutting,
                    }
                }
                Closing::Waiting { mut timer, mut discarded } => {
                    if this.poll_peer_close(&mut discarded).is_pending()
                        && timer.as_mut().poll(cx).is_pending()
                    {
                        this.closing = Closing::Waiting { timer, discarded };
                        return Poll::Pending;
                    }
                    this.reading = Reading::Ended;
                    Closing::Shutting
                }
                Closing::Shutting => {
                    // Fails only when the connection is gone already, which is what is wanted.
                    if this.socket.get_mut().poll_close(cx).is_pending() {
                        this.closing = Closing::Shutting;
                        return Poll::Pending;
                    }
                    match this.reading {
                        Reading::Broken => Closing::Draining { timer: (this.close_timer)(), discarded: 0 },
                        Reading::Open | Reading::Ended => Closing::Done,
                    }
                }
                Closing::Draining { mut timer, mut discarded } => {
                    if this.poll_discard(cx, &mut discarded).is_pending()
                        && timer.as_mut().poll(cx).is_pending()
                    {
                        this.closing = Closing::Draining { timer, discarded };
                        return Poll::Pending;
                    }
                    Closing::Done
                }
                Closing::Done => {
                    this.reading = Reading::Ended;
                    return Poll::Ready(Ok(()));
                }
            };
        }
    }
}

fn would_block(error: &WsError) -> bool {
    matches!(error, WsError::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn write_error(error: WsError) -> TransportError {
    match error {
        WsError::Io(error) => error.into(),
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::SendAfterClosing) => TransportError::Closed,
        other => TransportError::Protocol(other.to_string()),
    }
}
