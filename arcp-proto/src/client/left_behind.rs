//! Jobs that a runtime leaves behind with a lost connection (protocol §12.3).
//!
//! Such a runtime lets a job speak to the connection it was submitted or subscribed on. A session that resumes hears what
//! was written before the loss and nothing more, not even the end. Subscribing brings back what the job says from then
//! on, in numbers of the subscription; submitting it again by its key brings an end that came in between. The events in
//! between are lost.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::client::ClientEndpoint;
use crate::client::jobs::Job;
use crate::client::requests::{Ask, Subscription};
use crate::feature::Feature;
use crate::id::JobId;
use crate::time::Now;
use crate::wire::Envelope;

impl ClientEndpoint {
    /// The session was resumed.
    pub(super) fn follow_left_behind(&mut self, now: Now) {
        if !self.leaves_jobs_behind() {
            return;
        }
        let is_followed = |job: &&Job| !job.abandoned && !job.is_other();
        let jobs: Vec<JobId> = self.jobs.iter().filter(is_followed).map(|job| job.id.clone()).collect();
        for job in jobs {
            self.follow_again(now, &job);
        }
    }

    /// Whether this `job.accepted` was made on another connection, so that the job does not speak to this one.
    pub(super) fn is_accepted_elsewhere(&self, accepted: &Envelope<'_>) -> bool {
        let Some(session) = self.session.as_ref().filter(|_| self.leaves_jobs_behind()) else { return false };
        // Ids are ULIDs of one clock. What is older than the welcome belongs to a connection before this one.
        accepted.session_id.as_deref().is_some_and(|id| id != session.id.as_str())
            || *accepted.id < *session.welcome_id
    }

    /// Subscribes to a job for good or until the next loss; the application is not told.
    pub(super) fn follow_again(&mut self, now: Now, id: &JobId) {
        let Some(job) = self.jobs.find_mut(id.as_str()) else { return };
        job.is_lost = true;
        if let Some(subscribed) = &mut job.subscribed {
            subscribed.is_confirmed = false;
        }
        let of_job = |ask: &Ask| matches!(ask, Ask::Subscribe { job, .. } if job == id);
        if self.requests.iter().any(|(_, ask)| of_job(ask)) {
            job.heard = 0;
        } else {
            let start = Subscription::Live;
            self.requests.add(Ask::Subscribe { job: id.clone(), start, again: true, asks_rest: false });
        }
        // A subscription of the lost connection would be taken for the new one.
        self.send_unsubscribe(now, id);
    }

    /// A subscription was answered. What had been left behind speaks to it from here on, or `has_ended`.
    pub(super) fn found_left_behind(&mut self, now: Now, id: &JobId, has_ended: bool) {
        let Some(job) = self.jobs.find_mut(id.as_str()) else { return };
        if !core::mem::take(&mut job.is_lost) {
            return;
        }
        job.heard = 0;
        job.is_behind = !has_ended;
        if let Some(submitted) = job.submitted.as_ref().filter(|_| has_ended && !job.resubmitting) {
            let (submit, trace) = (Arc::clone(&submitted.submit), submitted.trace);
            job.resubmitting = true;
            self.requests.add(Ask::Submit { submit, trace, again: Some(id.clone()) });
            self.send_waiting(now);
        }
    }

    fn leaves_jobs_behind(&self) -> bool {
        self.session.as_ref().is_some_and(|session| {
            session.profile.leaves_jobs_behind() && session.features.has(Feature::Subscribe)
        })
    }
}
