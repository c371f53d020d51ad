//! `job.cancel`, and stopping a job for whatever reason (protocol §3.5, D-110).

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::time::Duration;

use crate::error::{ErrorCode, WireError};
use crate::runtime::agent::StopReason;
use crate::runtime::event::Access;
use crate::runtime::inbound::Request;
use crate::runtime::output::Output;
use crate::runtime::requests::Reply;
use crate::runtime::store::Record;
use crate::runtime::{JobHandle, RuntimeEndpoint, Timer};
use crate::wire::Envelope;
use crate::wire::event::{Outcome, Terminal};
use crate::wire::job::Cancel;
use crate::wire::peer::Rejected;

impl RuntimeEndpoint {
    pub(super) fn receive_cancel(&mut self, request: &Request, envelope: &Envelope<'_>) {
        if self.is_repeated(request, "job.cancel", None) {
            return;
        }
        let cancel = match Cancel::read(&envelope.payload) {
            Ok(cancel) => cancel,
            Err(fault) => {
                return self.refuse_job(request, Rejected::Cancel, request.job_id.as_deref(), fault.into());
            }
        };
        let (key, text) = match self.named_job(request, cancel.job_id.as_ref()) {
            Ok(named) => named,
            Err(error) => {
                return self.refuse_job(request, Rejected::Cancel, request.job_id.as_deref(), error);
            }
        };
        let handle = match self.job_for(request, key, Access::Cancel) {
            Ok(handle) => handle,
            Err(error) => return self.refuse_job(request, Rejected::Cancel, Some(&text), error),
        };
        let Some(job) = self.jobs.get(handle) else { return };
        let ended = job.state.is_final().then(|| job.state.as_str());
        let reason: Option<Arc<str>> = cancel.reason.as_deref().map(Arc::from);
        if ended.is_none() {
            self.stop(handle, StopReason::Cancelled(cancel.reason));
        }
        // What it tells of must be stored: that the job is being stopped, or how it had ended.
        let position = self.log.position();
        self.answer(request, None, position, Reply::Cancelled { job: handle, reason, ended });
    }

    /// Records why the job must end, tells its agent, and ends it at once if no agent runs. The first reason stays, only
    /// a cancel replaces another.
    pub(super) fn stop(&mut self, handle: JobHandle, reason: StopReason) {
        let Some(job) = self.jobs.get_mut(handle) else { return };
        if job.state.is_final() {
            return;
        }
        let is_first = job.stopping.is_none();
        let was_cancelled = matches!(job.stopping, Some(StopReason::Cancelled(_)));
        let replaces = !was_cancelled && matches!(reason, StopReason::Cancelled(_));
        if !is_first && !replaces {
            return;
        }
        job.stopping = Some(reason.clone());
        let (key, runs) = (job.key, job.agent_runs);
        self.log.append(Record::Stopping { job: key, reason: reason.clone(), at: self.now.unix }, 128);
        if !runs {
            self.end_stopped(handle);
        } else if is_first {
            self.arm_grace(handle, self.config.cancel_grace);
            self.outputs.push_back(Output::CancelJob { job: handle, reason });
            self.stop_children(handle);
        }
    }

    pub(super) fn arm_grace(&mut self, handle: JobHandle, grace: Duration) {
        let ends = self.now.mono.after(grace);
        if let Some(job) = self.jobs.get_mut(handle) {
            job.grace_ends = Some(ends);
        }
        self.timers.arm(ends, Timer::CancelGrace(handle));
    }

    pub(super) fn grace_is_over(&mut self, handle: JobHandle) {
        let due = self.jobs.get(handle).is_some_and(|job| {
            !job.state.is_final() && job.grace_ends.is_some_and(|ends| ends <= self.now.mono)
        });
        if due {
            self.end_stopped(handle);
        }
    }

    pub(super) fn run_time_is_over(&mut self, handle: JobHandle) {
        if let Some(seconds) = self.jobs.get(handle).and_then(|job| job.max_runtime_sec) {
            self.stop(handle, StopReason::TimedOut(seconds));
        }
    }

    /// Ends a stopped job with the terminal its reason decides.
    pub(super) fn end_stopped(&mut self, handle: JobHandle) {
        let Some(reason) = self.jobs.get(handle).and_then(|job| job.stopping.clone()) else { return };
        self.end_job(handle, terminal_of(&reason));
    }
}

/// The terminal that goes with a reason.
pub(super) fn terminal_of(reason: &StopReason) -> Terminal {
    let error = match reason {
        StopReason::Cancelled(words) => {
            let words = words.as_ref().filter(|words| !words.is_empty());
            let message = words.map_or_else(|| String::from("the job was cancelled"), ToString::to_string);
            WireError::new(ErrorCode::Cancelled, message)
        }
        StopReason::TimedOut(seconds) => {
            WireError::new(ErrorCode::Timeout, alloc::format!("ran longer than {seconds} s"))
        }
        StopReason::LeaseExpired(at) => {
            WireError::new(ErrorCode::LeaseExpired, alloc::format!("the lease ended at {at}"))
        }
        StopReason::ParentEnded => {
            WireError::new(ErrorCode::Cancelled, "the job that delegated it has ended or is being stopped")
        }
    };
    Terminal { outcome: Outcome::Failed(error), summary: None }
}
