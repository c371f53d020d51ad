//! What may be forgotten, who is told that it lags, and who waits for whom (ACK-1 to ACK-4, CAN-3, VIS-6).

use arcp_proto::id::JobKey;
use arcp_proto::wire::event::{Content, EventKind, LoggedEvent};

use super::Oracle;

const ACK: u16 = 1 << 1;

impl Oracle {
    pub(super) fn ack_read(&mut self, link: usize, number: u64) {
        let Some(session) = self.connections[link].session else { return };
        let state = &mut self.sessions[session];
        if state.link == Some(link) && number <= state.log.len() as u64 {
            state.acked = state.acked.max(number);
            if number > state.acked_by_frame {
                state.acked_by_frame = number;
                state.lag_told &= state.given.saturating_sub(number) >= self.config.lag / 2;
            }
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
            // Somebody else has acknowledged as much.
            let others =
                self.sessions.iter().enumerate().any(|(other, state)| other != session && state.acked == to);
            self.fail(
                if others { "ACK-2" } else { "ACK-1" },
                format_args!("numbers to {to} of {max} are forgotten, acknowledged are {acked}"),
            );
        }
    }

    /// A session is told that it lags: once, and only if it does.
    pub(super) fn notice_given(&mut self, session: u128, job: u128, seq: u64, event: &LoggedEvent) {
        let (Some(session), Some(job)) = (self.session(session), self.job(job)) else { return };
        let tells_lag = match &event.content {
            Content::Event { kind: EventKind::Status, body } => body.as_str().contains("back_pressure"),
            _ => false,
        };
        if !tells_lag {
            let property = if self.jobs[job].live_end { "CAN-3" } else { "ACK-4" };
            self.fail(
                property,
                format_args!("number {seq} tells one session alone of something else than its lag"),
            );
            return;
        }
        let state = &mut self.sessions[session];
        let was_told = std::mem::replace(&mut state.lag_told, true);
        let lag = (seq - 1).saturating_sub(state.acked_by_frame);
        if state.is_tainted || self.was_full {
            return;
        }
        if was_told {
            self.fail("ACK-4", format_args!("a session is told of its lag again"));
        } else if lag <= self.config.lag {
            let property = if state.acked_by_frame > 0 { "ACK-2" } else { "ACK-4" };
            self.fail(property, format_args!("a session is told of a lag of {lag}"));
        }
    }

    /// A ping was read: no event may go out before its pong.
    pub(super) fn ping_read(&mut self, link: usize) {
        if self.connections[link].session.is_some() {
            self.connections[link].pings += 1;
        }
    }

    /// Requests that nobody reads the answers to are not read on for ever.
    pub(super) fn judge_outbox(&mut self, link: usize) {
        let waiting = self.connections[link].unanswered;
        if waiting > self.config.control_queue {
            self.fail("ACK-3", format_args!("{waiting} requests of one connection wait for their answers"));
        }
    }

    /// An agent is held, or is not any more.
    pub fn held(&mut self, job: JobKey, on: bool) {
        let Some(job) = self.job(job.ulid().bits()) else { return };
        self.held.retain(|held| *held != job);
        if on {
            self.held.push(job);
        }
    }

    /// The runtime has done what there was to do. Agents that it holds since then are held for their owner, or for the store.
    pub fn turn_over(&mut self) {
        self.judge_taken_keys();
        for job in std::mem::take(&mut self.held) {
            let Some(owner) = self.jobs[job].owner.and_then(|owner| self.session(owner)) else { continue };
            let state = &self.sessions[owner];
            // One that is sent them again has not: others may have claimed to have them.
            let is_shown_all = state.link.is_some_and(|link| self.connections[link].last == state.given);
            // What a resume says it has, it may have for itself alone; only what is acknowledged has been taken.
            let taken = if state.features & ACK == 0 { state.acked } else { state.acked_by_frame };
            let has_all = is_shown_all && taken == state.given;
            let last = self.jobs[job].events.len() as u64;
            let is_abreast = state.streams.iter().any(|stream| stream.job == job && stream.last == last);
            let store_works = self.committed == self.appends.len() && !self.was_full;
            if has_all && is_abreast && store_works && !state.is_tainted {
                self.fail("VIS-6", format_args!("an agent is held whose owner has everything"));
            }
        }
    }
}
