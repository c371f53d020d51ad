//! Jobs: why they stop and how they end (JOB-2, JOB-5, JOB-10, SES-10, CAN-1, CAN-2).

use arcp_proto::id::JobKey;
use arcp_proto::runtime::{Restart, StartJob, StopReason};

use super::Oracle;

/// How often a job is run again that keeps nothing meanwhile.
const MOST_RESTARTS: u32 = 3;

impl Oracle {
    /// An agent is started.
    pub fn started(&mut self, start: &StartJob) {
        for credential in &start.credentials {
            self.agent_holds(start.key, credential);
        }
        if self.config.provisions {
            self.logged(start);
        }
        let Some(job) = self.job(start.key.ulid().bits()) else {
            self.fail("JOB-1", format_args!("an agent is started for a job that is not there"));
            return;
        };
        let state = &self.jobs[job];
        if !state.started || !self.is_committed(state.append) || !self.is_committed(state.started_append) {
            self.fail("SEQ-6", format_args!("an agent is started before its job is committed"));
        } else if state.live_end {
            self.fail("JOB-1", format_args!("an agent is started for a job that has ended"));
        }
        match &start.restart {
            Some(restart) => self.judge_restart(job, restart),
            None if self.jobs[job].has_begun => {
                self.fail("JOB-10", format_args!("an agent that has begun is started as if it had not"));
            }
            None => {}
        }
        self.jobs[job].has_begun = true;
    }

    /// A job goes on in another process: behind all that is stored of it, and its agent with what it kept last.
    fn judge_restart(&mut self, job: usize, restart: &Restart) {
        let may_go_on = self.may_be_run_again(job);
        let state = &mut self.jobs[job];
        let kept = restart.checkpoint.as_ref().map(|kept| (kept.state.clone(), kept.position));
        let streamed =
            restart.streamed.map(|streamed| (streamed.chunks, streamed.bytes, streamed.is_complete));
        let stored = state.chunks.map(|chunks| (chunks.next, chunks.bytes, chunks.complete));
        let broken = if !may_go_on {
            Some("a job is run again that must not be".to_owned())
        } else if kept != state.checkpoint {
            Some(format!("an agent is given {kept:?} of its own where {:?} is stored", state.checkpoint))
        } else if restart.position != state.found {
            Some(format!("a job goes on behind {} events of {}", restart.position, state.found))
        } else if streamed != stored {
            Some(format!("a result goes on behind {streamed:?} where {stored:?} is stored"))
        } else {
            None
        };
        // What was said since then is said again.
        state.last_marker = kept.and_then(|(kept, _)| kept.as_str().parse().ok()).unwrap_or(0);
        state.emitted = state.last_marker;
        state.incarnation = self.incarnation;
        state.agent_returned = None;
        if let Some(broken) = broken {
            self.fail("JOB-10", format_args!("{broken}"));
        }
    }

    /// Its agent can be run again, nobody waits for it, and it was not tried too often.
    fn may_be_run_again(&self, job: usize) -> bool {
        let state = &self.jobs[job];
        self.config.restartable.contains(&state.agent)
            && state.parent.is_none()
            && state.restarts <= MOST_RESTARTS
    }

    /// A job ends because its process did.
    pub(super) fn judge_interrupted(&mut self, job: usize) {
        let state = &self.jobs[job];
        if state.stopping.is_none() && state.restarts < MOST_RESTARTS && self.may_be_run_again(job) {
            self.fail("JOB-10", format_args!("a job ends with its process that can be run again"));
        }
    }

    /// An agent has said something, and was not refused.
    pub fn emitted(&mut self, job: JobKey, marker: u64) {
        let Some(job) = self.job(job.ulid().bits()) else { return };
        self.jobs[job].emitted = marker;
        if self.jobs[job].live_end {
            self.fail("JOB-3", format_args!("something is taken from an agent whose job has ended"));
        }
    }

    /// An agent returns, with a value or without.
    pub fn agent_ended(&mut self, job: JobKey, has_value: bool) {
        if let Some(job) = self.job(job.ulid().bits()) {
            self.jobs[job].agent_returned = Some(has_value);
        }
    }

    /// The runtime stops at once: its store has failed, or it has no reason.
    pub fn halts(&mut self) {
        if !self.has_failed {
            self.fail("WIR-4", format_args!("a runtime stops whose store works"));
        }
    }

    /// A job is being stopped: somebody asked, or its time is over.
    pub(super) fn judge_stop(&mut self, job: usize, reason: &StopReason) {
        let state = &self.jobs[job];
        match reason {
            StopReason::LeaseExpired(_) if !state.is_expired && !self.wall_jumped && !self.was_full => {
                self.fail("LEA-1", format_args!("a job is stopped for the end of a lease that goes on"));
            }
            StopReason::Cancelled(_)
                if !state.cancel_asked && !self.is_meddled && !self.has_asking_parent(job) =>
            {
                self.fail("SES-10", format_args!("a job is cancelled that nobody asked to cancel"));
            }
            StopReason::ParentEnded => {
                let parent = state.parent.map(|parent| &self.jobs[parent]);
                if parent.is_none_or(|parent| !parent.live_end && parent.live_stopping.is_none()) {
                    self.fail("SES-10", format_args!("a child is stopped while its parent goes on"));
                }
            }
            _ => {}
        }
    }

    fn has_asking_parent(&self, job: usize) -> bool {
        self.jobs[job].parent.is_some_and(|parent| self.jobs[parent].cancel_asked)
    }

    /// A job has ended: its status and code belong together, and to what led to it.
    pub(super) fn judge_end(&mut self, job: usize) {
        let state = &self.jobs[job];
        let Some(end) = state.end.clone() else { return };
        if matches!(
            end.code,
            Some("DUPLICATE_KEY" | "JOB_NOT_FOUND" | "RESUME_WINDOW_EXPIRED" | "UNAUTHENTICATED")
        ) {
            self.fail("JOB-6", format_args!("a job ends with {:?}, which refuses a request", end.code));
            return;
        }
        let is_sound = match end.code {
            None => end.status == "success",
            Some("CANCELLED") => end.status == "cancelled",
            Some("TIMEOUT") => end.status == "timed_out",
            Some(_) => end.status == "error",
        };
        if !is_sound {
            self.fail("JOB-5", format_args!("a job ends {} with {:?}", end.status, end.code));
            return;
        }
        let due = match &state.stopping {
            Some(StopReason::Cancelled(_) | StopReason::ParentEnded) => Some("CANCELLED"),
            Some(StopReason::TimedOut(_)) => Some("TIMEOUT"),
            Some(StopReason::LeaseExpired(_)) => Some("LEASE_EXPIRED"),
            None => None,
        };
        match due {
            Some(code) if end.code != Some(code) => {
                let property = if code == "CANCELLED" { "CAN-2" } else { "JOB-5" };
                self.fail(
                    property,
                    format_args!("a job that was stopped with {code} ends with {:?}", end.code),
                );
            }
            Some(_) => self.judge_grace(job),
            None => {
                let returned = state.agent_returned;
                if end.status == "success" && returned != Some(true) {
                    self.fail("JOB-1", format_args!("a job succeeds whose agent did not"));
                }
            }
        }
    }

    fn judge_grace(&mut self, job: usize) {
        let Some(began) = self.jobs[job].stop_began else { return };
        let late = self.now.mono.as_micros().saturating_sub(began);
        // What the store takes is not the agent's time; only a grace that never ends is told from it here.
        if late > self.config.grace + 60_000_000 && self.refused.is_empty() {
            self.fail("CAN-2", format_args!("a stopped job ends after {late} µs"));
        }
    }
}
