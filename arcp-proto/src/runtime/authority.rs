//! What a job may do, judged when it is about to do it, and the end of its lease (protocol §5.4, §5.5).

use alloc::string::{String, ToString};
use core::time::Duration;

use crate::error::{ErrorCode, WireError};
use crate::lease::{Canonical, Capability, Circumstances, Denial, Operation};
use crate::runtime::agent::StopReason;
use crate::runtime::{JobHandle, RuntimeEndpoint, RuntimeEvent, Timer};
use crate::time::Now;
use crate::wire::truncated;

/// How often a lease's end is compared with the wall clock, which may go on while the monotonic clock stands still.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);
/// Bytes of a target that are worth logging.
const LOGGED_TARGET: usize = 256;

impl RuntimeEndpoint {
    /// Judges an operation of a job's agent at this instant, before it is dispatched (protocol §5.4). What must be
    /// opened, called or fetched then is the canonical target that comes back, not the agent's spelling (D-93).
    ///
    /// Nothing is emitted: whoever asks says on the job's stream what it does with the answer.
    ///
    /// # Errors
    /// The first reason against it, in the order of D-80. [`Denial::Stopped`] also for a handle that names nothing.
    pub fn authorize(
        &mut self,
        now: Now,
        job: JobHandle,
        operation: &Operation<'_>,
    ) -> Result<Canonical, Denial> {
        if !self.enter(now) {
            return Err(Denial::Stopped);
        }
        let judged = self.judge_operation(job, operation);
        if let Err(denial) = &judged {
            self.heed(job, &WireError::from(denial));
        }
        judged
    }

    /// Judges an operation and reports the decision.
    pub(super) fn judge_operation(
        &mut self,
        job: JobHandle,
        operation: &Operation<'_>,
    ) -> Result<Canonical, Denial> {
        let judged = self.permits(job, operation);
        if let Some(state) = self.jobs.get(job) {
            let target = judged.as_ref().map_or(operation.target, Canonical::as_str);
            let event = RuntimeEvent::Operation {
                job: state.key,
                capability: operation.capability.clone(),
                target: loggable(&operation.capability, target),
                denied: judged.as_ref().err().map(Denial::code),
            };
            self.event(event);
        }
        judged
    }

    /// What the denial of an operation means for its job.
    pub(super) fn heed(&mut self, job: JobHandle, denial: &WireError) {
        match denial.code {
            ErrorCode::LeaseExpired => self.lease_may_have_ended(job),
            ErrorCode::BudgetExhausted if self.config.fatal_budget => self.fail_job(job, denial.clone()),
            _ => {}
        }
    }

    fn permits(&self, handle: JobHandle, operation: &Operation<'_>) -> Result<Canonical, Denial> {
        let Some(job) = self.jobs.get(handle).filter(|job| job.agent_runs) else {
            return Err(Denial::Stopped);
        };
        let exhausted = self.exhausted(handle);
        let circumstances = Circumstances {
            running: matches!(job.stopping, None | Some(StopReason::LeaseExpired(_))),
            expiry: job.expiry.as_ref(),
            now: self.now,
            exhausted: exhausted.as_ref(),
        };
        job.lease.authorize(operation, &circumstances, self.config.lease_policy)
    }

    /// A lease that has ended stops its job (D-39).
    pub(super) fn lease_may_have_ended(&mut self, handle: JobHandle) {
        let Some(job) = self.jobs.get_mut(handle).filter(|job| !job.state.is_final()) else { return };
        let Some(expiry) = &mut job.expiry else { return };
        if !expiry.observe(self.now) {
            return;
        }
        let (key, at) = (job.key, expiry.at());
        if job.stopping.is_none() {
            self.event(RuntimeEvent::LeaseExpired { job: key });
            self.stop(handle, StopReason::LeaseExpired(at));
        }
    }

    /// The time to look at a lease has come: one that has not ended is looked at again.
    pub(super) fn look_at_lease(&mut self, handle: JobHandle) {
        self.lease_may_have_ended(handle);
        let unfinished = self.jobs.get(handle).filter(|job| !job.state.is_final());
        let expiry = unfinished.and_then(|job| job.expiry.as_ref());
        if expiry.is_some_and(|expiry| !expiry.has_ended(self.now)) {
            self.watch_lease(handle);
        }
    }

    /// Looks at the end of a job's lease when it comes.
    pub(super) fn watch_lease(&mut self, handle: JobHandle) {
        if let Some(expiry) = self.jobs.get(handle).and_then(|job| job.expiry.as_ref()) {
            let by_wall = self.now.mono.after(expiry.at().since(self.now.unix));
            let at = expiry.deadline().min(by_wall).min(self.now.mono.after(LOOK_AT_CLOCK));
            self.timers.arm(at, Timer::LeaseEnd(handle));
        }
    }
}

/// A target for logs. What a query holds may be a secret.
fn loggable(capability: &Capability, target: &str) -> String {
    let shown = match capability {
        Capability::NetFetch => target.split(['?', '#']).next().unwrap_or_default(),
        _ => target,
    };
    truncated(shown, LOGGED_TARGET).to_string()
}
