//! The client's transport: opening, writing, reading, closing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use arcp_proto::CloseCode;
use arcp_proto::client::ClientEndpoint;
use arcp_proto::time::{Instant, Now};

use super::connector::Connector;
use crate::transport::{Incoming, Outgoing, Transport};

/// Frames read or written in a turn.
const BATCH: usize = 256;
/// How long a transport may take to write what it was left with and to close.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// The transport, if there is one.
pub(super) enum Line<C: Connector> {
    Down,
    Connecting(Pin<Box<C::Connecting>>),
    Up(C::Transport),
    Closing {
        transport: C::Transport,
        /// `None` once it was given to the transport.
        code: Option<CloseCode>,
        until: Instant,
    },
}

/// What a turn of the line came to.
pub(super) enum Progress<E> {
    /// It waits, and its waker is registered.
    Waits,
    /// It did something, and may have more to do.
    Worked,
    /// It was opened.
    Opened,
    /// It could not be opened.
    Failed(E),
    /// It is gone.
    Lost,
}

impl<C: Connector> Line<C> {
    /// Whether nothing is left that was ever open. An attempt to open one does not count.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self, Self::Down | Self::Connecting(_))
    }

    /// Stops all but writing what is left, and that not for ever.
    pub(super) fn close(&mut self, now: Now, code: CloseCode) {
        *self = match std::mem::replace(self, Self::Down) {
            Self::Up(transport) => {
                Self::Closing { transport, code: Some(code), until: now.mono.after(CLOSE_TIME) }
            }
            other => other,
        };
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Closing { until, .. } => Some(*until),
            Self::Down | Self::Connecting(_) | Self::Up(_) => None,
        }
    }

    /// One turn. Tells the core what came in; the caller tells it about the line itself.
    pub(super) fn turn(
        &mut self,
        cx: &mut Context<'_>,
        now: Now,
        core: &mut ClientEndpoint,
        unflushed: &mut bool,
    ) -> Progress<C::Error> {
        match self {
            Self::Down => Progress::Waits,
            Self::Connecting(attempt) => match attempt.as_mut().poll(cx) {
                Poll::Pending => Progress::Waits,
                Poll::Ready(Ok(transport)) => {
                    *self = Self::Up(transport);
                    *unflushed = false;
                    Progress::Opened
                }
                Poll::Ready(Err(error)) => {
                    *self = Self::Down;
                    Progress::Failed(error)
                }
            },
            Self::Up(transport) => {
                let progress = match (write(transport, cx, core, unflushed), read(transport, cx, now, core)) {
                    (Progress::Lost, _) | (_, Progress::Lost) => Progress::Lost,
                    (Progress::Waits, read) => read,
                    (written, _) => written,
                };
                if matches!(progress, Progress::Lost) {
                    *self = Self::Down;
                }
                progress
            }
            Self::Closing { transport, code, until } => {
                let progress = if *until <= now.mono {
                    Progress::Lost
                } else {
                    finish(transport, code, cx, core, unflushed)
                };
                if matches!(progress, Progress::Lost) {
                    *self = Self::Down;
                }
                progress
            }
        }
    }
}

/// Writes a batch, and flushes once there is no more.
fn write<T: Transport, E>(
    transport: &mut T,
    cx: &mut Context<'_>,
    core: &mut ClientEndpoint,
    unflushed: &mut bool,
) -> Progress<E> {
    let mut transport = Pin::new(transport);
    for _ in 0..BATCH {
        match transport.as_mut().poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Progress::Lost,
            Poll::Pending => return Progress::Waits,
        }
        let Some(frame) = core.poll_frame() else {
            if *unflushed {
                match transport.poll_flush(cx) {
                    Poll::Ready(Ok(())) => *unflushed = false,
                    Poll::Ready(Err(_)) => return Progress::Lost,
                    Poll::Pending => {}
                }
            }
            return Progress::Waits;
        };
        *unflushed = true;
        if transport.as_mut().start_send(Outgoing::Frame(frame)).is_err() {
            return Progress::Lost;
        }
    }
    Progress::Worked
}

/// Reads a batch, as far as the core wants to.
fn read<T: Transport, E>(
    transport: &mut T,
    cx: &mut Context<'_>,
    now: Now,
    core: &mut ClientEndpoint,
) -> Progress<E> {
    let mut transport = Pin::new(transport);
    let mut progress = Progress::Waits;
    for _ in 0..BATCH {
        if !core.may_read() {
            break;
        }
        match transport.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(Incoming::Frame(frame)))) => core.handle_frame(now, frame),
            Poll::Ready(Some(Ok(Incoming::Oversized))) => core.handle_oversized(now),
            // A client asks for no proof, and a runtime that says nothing more is found out by its heartbeats.
            Poll::Ready(Some(Ok(Incoming::Proof | Incoming::Partial(_)))) => {}
            Poll::Ready(Some(Err(_)) | None) => return Progress::Lost,
            Poll::Pending => break,
        }
        progress = Progress::Worked;
    }
    progress
}

/// Writes all that is left, then the code, then closes.
fn finish<T: Transport, E>(
    transport: &mut T,
    code: &mut Option<CloseCode>,
    cx: &mut Context<'_>,
    core: &mut ClientEndpoint,
    unflushed: &mut bool,
) -> Progress<E> {
    if let Some(close) = *code {
        match write::<T, E>(transport, cx, core, unflushed) {
            Progress::Waits => {}
            progress => return progress,
        }
        let mut transport = Pin::new(&mut *transport);
        match transport.as_mut().poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Progress::Lost,
            Poll::Pending => return Progress::Waits,
        }
        *code = None;
        if transport.start_send(Outgoing::Close(close)).is_err() {
            return Progress::Lost;
        }
    }
    match Pin::new(transport).poll_close(cx) {
        Poll::Ready(_) => Progress::Lost,
        Poll::Pending => Progress::Waits,
    }
}
