//! Holding agents, and what a principal's histories may take (protocol §2.6, §9).

use alloc::vec::Vec;

use crate::runtime::job::Hold;
use crate::runtime::principal::PrincipalHandle;
use crate::runtime::session::Pressure;
use crate::runtime::{JobHandle, Output, RuntimeEndpoint, SessionHandle};

/// Bytes by which a principal's logs grow before a fruitless eviction is tried again.
const EVICTION_STEP: u64 = 64 * 1_024;

impl RuntimeEndpoint {
    /// Judges again which of its own jobs a session holds: from eight tenths of a limit, down to half of that.
    pub(super) fn weigh(&mut self, handle: SessionHandle) {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(handle) else { return };
        let (enters, stays) = (session.pressure_at(limits, 8), session.pressure_at(limits, 4));
        let before = session.pressure;
        let after = before.min(stays).max(enters);
        session.pressure = after;
        if before == after {
            return;
        }
        for job in session.owned.iter().copied().collect::<Vec<_>>() {
            self.hold_for_owner(job, after);
        }
    }

    fn hold_for_owner(&mut self, job: JobHandle, pressure: Pressure) {
        let Some(state) = self.jobs.get(job) else { return };
        let on = match pressure {
            Pressure::None => false,
            Pressure::Chunks => state.streams_chunks,
            Pressure::All => true,
        };
        self.hold(job, Hold::Owner, on);
    }

    /// A job that is new to a session begins under the session's pressure.
    pub(super) fn hold_new_job(&mut self, job: JobHandle, session: SessionHandle) {
        let pressure = self.sessions.get(session).map_or(Pressure::None, |session| session.pressure);
        self.hold_for_owner(job, pressure);
        self.hold(job, Hold::Store, self.store_holds);
    }

    /// Holds or releases a job for one reason; the driver hears of it when the first comes or the last goes.
    pub(super) fn hold(&mut self, handle: JobHandle, reason: Hold, on: bool) {
        let Some(job) = self.jobs.get_mut(handle) else { return };
        if job.hold(reason, on) && job.agent_runs {
            self.outputs.push_back(if job.is_held() {
                Output::HoldJob(handle)
            } else {
                Output::ReleaseJob(handle)
            });
        }
    }

    /// Holds every job while the store is full or far behind.
    pub(super) fn hold_for_store(&mut self) {
        let most = self.config.limits.pending_bytes;
        let pending = self.log.pending_bytes();
        let on = self.log.is_full() || if self.store_holds { pending > most / 2 } else { pending > most };
        if on == self.store_holds {
            return;
        }
        self.store_holds = on;
        if !on && self.was_full {
            self.was_full = false;
            self.event(super::RuntimeEvent::StoreRecovered);
        }
        self.was_full |= self.log.is_full();
        for job in self.jobs.handles() {
            self.hold(job, Hold::Store, on);
        }
    }

    /// Bytes that the sessions of a principal keep the store from forgetting.
    pub(super) fn held_bytes(&mut self, principal: PrincipalHandle) -> u64 {
        let Self { principals, sessions, .. } = self;
        principals
            .at(principal)
            .sessions
            .iter()
            .filter_map(|session| sessions.get(*session))
            .map(|session| session.retention.total().total())
            .sum()
    }

    /// A principal's logs are over their limit: the histories of finished jobs go first, oldest first, then those of
    /// running ones. Terminals stay, and what sessions still hold is not touched.
    pub(super) fn evict_histories(&mut self, principal: PrincipalHandle) {
        let holder = self.principals.at(principal);
        let mut candidates: Vec<JobHandle> = holder.finished.iter().copied().collect();
        candidates.extend(
            self.jobs
                .iter()
                .filter(|(_, job)| job.principal == principal && !job.state.is_final())
                .map(|(handle, _)| handle),
        );
        for handle in candidates {
            let excess =
                self.principals.at(principal).buffered.saturating_sub(self.config.limits.buffered_bytes);
            if excess == 0 {
                break;
            }
            let Some(job) = self.jobs.get_mut(handle) else { continue };
            let before = job.retention.total().total();
            let up_to = job.last_pos() - u64::from(job.state.is_final());
            if job.retention.evict_bytes(excess, up_to) {
                self.log_evicted(handle, before);
            }
        }
        // What is left cannot go. Looking again at every event would cost more than it finds.
        let limit = self.config.limits.buffered_bytes;
        let holder = self.principals.at(principal);
        holder.evict_at = if holder.buffered > limit { holder.buffered + EVICTION_STEP } else { 0 };
    }
}
