//! What may be forgotten, and who is told that it lags (ACK-1, ACK-2, ACK-4).

use arcp_proto::wire::event::LoggedEvent;

use super::Oracle;

const ACK: u16 = 1 << 1;

impl Oracle {
    pub(super) fn ack_read(&mut self, link: usize, number: u64) {
        let Some(session) = self.connections[link].session else { return };
        let state = &mut self.sessions[session];
        if state.link == Some(link) && number <= state.log.len() as u64 {
            state.acked = state.acked.max(number);
        }
    }

    /// The store forgets what a session was delivered up to a number.
    pub(super) fn judge_eviction(&mut self, session: usize, to: u64) {
        let state = &mut self.sessions[session];
        let max = state.log.len() as u64;
        let to = to.min(max);
        // A log that is over its limit loses whole blocks.
        let at_limit = state.given > state.floor + self.config.replay_events;
        state.floor = state.floor.max(to);
        // Without the feature what was sent long ago goes; with it, what is not acknowledged goes only at the limit.
        let is_free = to <= state.acked || state.features & ACK == 0 || at_limit || state.live.is_dead;
        if !is_free && !state.is_tainted {
            let acked = state.acked;
            self.fail(
                "ACK-1",
                format_args!("numbers to {to} of {max} are forgotten, acknowledged are {acked}"),
            );
        }
    }

    /// A session is told that it lags.
    pub(super) fn judge_notice(&mut self, session: usize, _event: &LoggedEvent) {
        let state = &self.sessions[session];
        // An acknowledgement may have come since the notice was made.
        let lag = state.log.len() as u64 - state.acked.min(state.log.len() as u64);
        if lag == 0 && self.config.lag > 2 && !state.is_tainted {
            self.fail("ACK-4", format_args!("a session is told of a lag of {lag}"));
        }
    }
}
