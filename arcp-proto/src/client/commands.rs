//! What the application asks for (protocol §2.8, §3.1, §3.5, §3.6).

use alloc::string::String;
use alloc::sync::Arc;

use crate::client::ClientEndpoint;
use crate::client::jobs::Subscribed;
use crate::client::missing::Owed;
use crate::client::output::{ClosedReason, Output, RequestId};
use crate::client::requests::{Ask, Submission, Subscription};
use crate::client::session::{Next, Phase};
use crate::close::CloseCode;
use crate::error::ApiMisuse;
use crate::id::JobId;
use crate::time::Now;
use crate::trace::TraceId;
use crate::wire::job::Submit;
use crate::wire::{object_text, truncated};

/// What every frame may take at most (protocol §9), and what of it is not payload.
const MAX_FRAME_BYTES: usize = 1 << 20;
const HEAD_BYTES: usize = 512;
const MAX_REASON_BYTES: usize = 1_024;

impl ClientEndpoint {
    /// Submits a job. Answered by [`ClientEvent::Accepted`](crate::client::ClientEvent::Accepted) or [`ClientEvent::Rejected`](crate::client::ClientEvent::Rejected); until then it is sent again
    /// after every loss and time-out, always with the same key, so that it runs once (protocol §3.3).
    ///
    /// # Errors
    /// A member is out of range, the lease is none that any runtime takes, the submit is larger than a frame, or the
    /// session is closed.
    pub fn submit(&mut self, now: Now, submission: Submission) -> Result<RequestId, ApiMisuse> {
        self.refuse_after_end()?;
        submission.check()?;
        let (lease_request, lease_constraints) =
            submission.lease.to_json(now.unix).map_err(|error| ApiMisuse::OutOfRange(error.message))?;
        let submit = Submit {
            agent: submission.agent,
            input: submission.input,
            lease_request,
            lease_constraints,
            idempotency_key: Some(match submission.idempotency_key {
                Some(key) => key,
                None => self.mint.id("idk_", now.unix),
            }),
            max_runtime_sec: submission.max_runtime_sec,
        };
        let bytes = HEAD_BYTES.saturating_add(object_text(|members| submit.write(members)).len());
        if bytes > MAX_FRAME_BYTES {
            return Err(ApiMisuse::TooLarge { bytes, limit: MAX_FRAME_BYTES });
        }
        let trace = submission.trace_id.unwrap_or_else(|| TraceId::mint(&mut self.mint.entropy));
        let request = self.requests.add(Ask::Submit { submit: Arc::new(submit), trace, again: None });
        if submission.children {
            self.trees.ask(request);
        }
        self.send_waiting(now);
        self.settle(now);
        Ok(request)
    }

    /// Asks for a job to be stopped. Answered by [`ClientEvent::CancelAcknowledged`](crate::client::ClientEvent::CancelAcknowledged) or [`ClientEvent::Rejected`](crate::client::ClientEvent::Rejected); the
    /// job's end comes on its own (protocol §3.5).
    ///
    /// # Errors
    /// The session is closed.
    pub fn cancel(&mut self, now: Now, job: &JobId, reason: Option<String>) -> Result<RequestId, ApiMisuse> {
        self.refuse_after_end()?;
        let reason = reason.map(|reason| truncated(&reason, MAX_REASON_BYTES).into());
        let request = self.requests.add(Ask::Cancel { job: job.clone(), reason });
        self.send_waiting(now);
        self.settle(now);
        Ok(request)
    }

    /// Follows a job of any session. Answered by [`ClientEvent::Subscribed`](crate::client::ClientEvent::Subscribed) or [`ClientEvent::Rejected`](crate::client::ClientEvent::Rejected) (protocol
    /// §3.6). The subscription outlives lost connections and sessions, until the job ends.
    ///
    /// # Errors
    /// The start is out of range, or the session is closed.
    pub fn subscribe(&mut self, now: Now, job: &JobId, start: Subscription) -> Result<RequestId, ApiMisuse> {
        self.refuse_after_end()?;
        start.check()?;
        self.unsubscribes.remove(job);
        let is_followed =
            self.jobs.find(job.as_str()).is_some_and(|entry| !entry.abandoned && !entry.is_other());
        let entry = self.jobs.attach(job);
        if !is_followed {
            entry.owed = Owed::by(start);
        }
        let fresh = Subscribed { start, seam: None, is_confirmed: false };
        entry.subscribed = Some(Subscribed { start, ..entry.subscribed.unwrap_or(fresh) });
        let ask = Ask::Subscribe { job: job.clone(), start, again: false, asks_rest: false };
        let request = self.requests.add(ask);
        self.send_waiting(now);
        self.settle(now);
        Ok(request)
    }

    /// Stops following a job. What was handed on of it counts as taken, and nothing more is handed on. Without effect
    /// on a job that was submitted here, or delegated by one with its children.
    pub fn unsubscribe(&mut self, now: Now, job: &JobId) {
        self.stop_subscription(now, job);
        self.settle(now);
    }

    /// The application dropped its handle of a job: what was handed on of it counts as taken, and nothing more is
    /// handed on. The job itself goes on. With a job whose submit asked for its children, as with
    /// [`abandon_children`](Self::abandon_children), no more of them are told.
    pub fn abandon(&mut self, now: Now, job: &JobId) {
        self.resume_reading(now, |endpoint| endpoint.abandon_job(job));
    }

    /// The application has the event with this number. Across jobs the order is free.
    pub fn taken(&mut self, now: Now, seq: u64) {
        self.resume_reading(now, |endpoint| endpoint.numbers.taken(seq));
    }

    /// Ends the session from this side: acknowledges what was taken, says goodbye, waits a second at most for the
    /// answer, then closes the transport. Jobs go on, and the session can be resumed with [`Self::resume_state`] while
    /// its window lasts (D-46). Without an open session it is over at once.
    pub fn close(&mut self, now: Now, reason: Option<String>) {
        match &self.phase {
            Phase::Active(active) if active.leaving.is_none() => self.leave(now, reason),
            Phase::Active(_) | Phase::Closed => {}
            Phase::Greeting(_) => {
                self.outputs.push_back(Output::Close(CloseCode::Normal));
                self.finish(ClosedReason::Requested);
            }
            Phase::Waiting { .. } | Phase::Connecting | Phase::Closing(_) => {
                self.finish(ClosedReason::Requested);
            }
        }
        self.settle(now);
    }

    /// Ends the back-off: the network is known to be back. Without effect while there is a transport.
    pub fn reconnect_now(&mut self, now: Now) {
        match &mut self.phase {
            Phase::Waiting { .. } => self.connect(),
            Phase::Closing(next) => *next = Next::Now,
            _ => {}
        }
        self.settle(now);
    }

    fn stop_subscription(&mut self, now: Now, job: &JobId) {
        let Some(entry) = self.jobs.find_mut(job.as_str()) else { return };
        if entry.subscribed.take().is_none() || entry.submitted.is_some() || entry.is_child {
            return;
        }
        let index = entry.index;
        self.jobs.remove(job.as_str());
        self.jobs.was_foreign(job);
        self.numbers.abandon(index);
        if self.is_connected() {
            self.send_unsubscribe(now, job);
        } else {
            self.unsubscribes.insert(job.clone());
        }
    }

    fn abandon_job(&mut self, job: &JobId) {
        let entry =
            if self.hands_on_others { self.jobs.adopt(job) } else { self.jobs.find_mut(job.as_str()) };
        if let Some(entry) = entry {
            entry.abandoned = true;
            let (index, tree) = (entry.index, entry.tree.filter(|_| entry.submitted.is_some()));
            self.numbers.abandon(index);
            if let Some(tree) = tree {
                self.close_tree(tree);
            }
        }
    }

    pub(super) fn refuse_after_end(&self) -> Result<(), ApiMisuse> {
        match &self.phase {
            Phase::Closed => Err(ApiMisuse::SessionClosed),
            Phase::Active(active) if active.leaving.is_some() => Err(ApiMisuse::SessionClosed),
            _ => Ok(()),
        }
    }
}
