//! Frames that have begun and do not go on (T-2).

use core::time::Duration;

use crate::close::CloseCode;
use crate::error::{Limit, WireError};
use crate::runtime::connection::Phase;
use crate::runtime::{ConnectionId, RuntimeEndpoint, Timer};
use crate::time::Instant;

/// The frame that a connection is in the middle of receiving.
///
/// Within each span of time enough of it must arrive, or its end: a byte now and then is no progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partial {
    /// When the span began.
    since: Instant,
    /// How much of the frame there was then.
    had: u64,
    /// The connection was not read when the span ended, so another was due.
    unread: bool,
}

impl Partial {
    const fn begin(bytes: u64, now: Instant) -> Self {
        Self { since: now, had: bytes, unread: false }
    }

    /// So much of the frame is here; `enough` more than at the beginning of the span begins another.
    fn grow(&mut self, bytes: u64, enough: u64, now: Instant) {
        if bytes.saturating_sub(self.had) >= enough {
            *self = Self::begin(bytes, now);
        }
    }

    fn due(&self, span: Duration) -> Instant {
        self.since.after(span)
    }
}

impl RuntimeEndpoint {
    pub(super) fn receive_partial(&mut self, connection: ConnectionId, bytes: u64) {
        let Some(state) = self.connections.get_mut(connection) else { return };
        match &mut state.partial {
            _ if bytes == 0 => state.partial = None,
            Some(partial) => partial.grow(bytes, self.config.limits.partial_frame_bytes, self.now.mono),
            None => {
                let partial = Partial::begin(bytes, self.now.mono);
                state.partial = Some(partial);
                if !state.partial_armed {
                    state.partial_armed = true;
                    let due = partial.due(self.config.limits.partial_frame);
                    self.timers.arm(due, Timer::PartialFrame(connection));
                }
            }
        }
    }

    /// Ends a connection whose frame has not gone on, unless its rest waits for us.
    pub(super) fn check_partial(&mut self, connection: ConnectionId) {
        let may_read = self.may_read(connection);
        let Some(state) = self.connections.get_mut(connection) else { return };
        state.partial_armed = false;
        let Some(partial) = &mut state.partial else { return };
        if matches!(state.phase, Phase::Closing) {
            return;
        }
        if !may_read || partial.unread {
            partial.since = self.now.mono;
            partial.unread = !may_read;
        }
        let due = partial.due(self.config.limits.partial_frame);
        if due > self.now.mono {
            state.partial_armed = true;
            self.timers.arm(due, Timer::PartialFrame(connection));
        } else {
            let error = WireError::limit(Limit::Frame, "a frame was begun and did not go on");
            self.fail(connection, &error, CloseCode::Policy);
        }
    }
}
