//! How requests and acknowledgements go to the wire (protocol §2.6, §3).

use alloc::string::String;
use alloc::sync::Arc;

use crate::client::ClientEndpoint;
use crate::client::outgoing::About;
use crate::client::output::{ClientEvent, Output, RequestError, RequestId};
use crate::client::requests::{Ask, Subscription};
use crate::client::session::Phase;
use crate::feature::Feature;
use crate::id::JobId;
use crate::lease::{by_name, needed_features};
use crate::time::Now;
use crate::wire::job::{Cancel, Submit, Subscribe, Unsubscribe};
use crate::wire::peer::PeerProfile;
use crate::wire::session::Ack;

/// The submit as this runtime reads it; `None` if it asks for something that cannot be said there (protocol §12.4).
fn spoken(submit: Arc<Submit>, profile: PeerProfile, drops_parts: bool) -> Option<Arc<Submit>> {
    let asks = submit.lease_request.is_some() || submit.lease_constraints.is_some();
    if !asks || !profile.grants_by_name() {
        return Some(submit);
    }
    let lease_request = by_name::request_of_lease(submit.lease_request.as_ref(), drops_parts).ok()?;
    Some(Arc::new(Submit { lease_request: Some(lease_request), ..(*submit).clone() }))
}

impl ClientEndpoint {
    /// Sends what waits, as far as it may leave.
    pub(super) fn send_waiting(&mut self, now: Now) {
        if !self.is_connected() {
            return;
        }
        let most = self.profile().max_submits();
        while let Some(request) = self.requests.next_submit(most) {
            self.send(now, request);
        }
        for request in self.requests.waiting() {
            // Only who has submitted a job in this session may cancel it.
            let comes_too_early = match self.requests.get(request) {
                Some(Ask::Cancel { job, .. }) => {
                    self.jobs.find(job.as_str()).is_some_and(|job| job.resubmitting)
                }
                _ => false,
            };
            if !comes_too_early {
                self.send(now, request);
            }
        }
    }

    fn send(&mut self, now: Now, request: RequestId) {
        let Some(ask) = self.requests.get(request).cloned() else { return };
        let (Phase::Active(active), Some(session)) = (&self.phase, &self.session) else { return };
        let (session_id, limit) = (session.id.as_str(), session.profile.request_limit(active.transport));
        let (wait, (envelope, frame)) = match ask {
            Ask::Submit { submit, trace, .. } => {
                let needed =
                    needed_features(submit.lease_request.as_ref(), submit.lease_constraints.as_ref());
                if let Some(missing) = needed.iter().find(|feature| !session.features.has(*feature)) {
                    return self.reject(now, request, RequestError::Unsupported(missing.as_str()));
                }
                if !session.profile.can_name(&submit.agent) {
                    return self.reject(now, request, RequestError::Unsupported("this agent's name"));
                }
                let Some(submit) = spoken(submit, session.profile, self.config.coarse_leases) else {
                    return self.reject(now, request, RequestError::Unsupported("patterns in a lease"));
                };
                let text = trace.to_text();
                // Hex digits are ASCII, so this cannot fail.
                let about = About { trace: core::str::from_utf8(&text).ok(), job: None };
                let frame =
                    self.mint.frame(now, "job.submit", session_id, about, |members| submit.write(members));
                (self.submit_timeout(), frame)
            }
            Ask::Cancel { job, reason } => {
                let trace = self.trace_of(&job);
                let about = About { trace: trace.as_deref(), job: Some(job.as_str()) };
                let cancel = Cancel { job_id: Some(job.clone()), reason };
                let frame =
                    self.mint.frame(now, "job.cancel", session_id, about, |members| cancel.write(members));
                (self.config.cancel_timeout, frame)
            }
            Ask::Subscribe { job, start, .. } => {
                if !session.features.has(Feature::Subscribe) {
                    return self.reject(now, request, RequestError::Unsupported(Feature::Subscribe.as_str()));
                }
                let trace = self.trace_of(&job);
                let about = About { trace: trace.as_deref(), job: Some(job.as_str()) };
                let subscribe = Subscribe {
                    job_id: Some(job.clone()),
                    history: start != Subscription::Live,
                    from_event_seq: match start {
                        Subscription::HistoryFromSeq(number) => Some(number),
                        _ => None,
                    },
                    from_pos: match start {
                        Subscription::HistoryFromPos(pos) => Some(pos),
                        _ => None,
                    },
                };
                let frame = self
                    .mint
                    .frame(now, "job.subscribe", session_id, about, |members| subscribe.write(members));
                (self.config.request_timeout, frame)
            }
            Ask::List(list) => {
                if !session.features.has(Feature::ListJobs) {
                    return self.reject(now, request, RequestError::Unsupported(Feature::ListJobs.as_str()));
                }
                let frame =
                    self.mint.frame(now, "session.list_jobs", session_id, About::default(), |members| {
                        list.write(members);
                    });
                (self.config.request_timeout, frame)
            }
        };
        if frame.len() > limit {
            return self.reject(now, request, RequestError::TooLarge { bytes: frame.len(), limit });
        }
        self.requests.sent(request, &envelope, now.mono.after(wait));
        self.outgoing.push(frame);
    }

    pub(super) fn send_unsubscribe(&mut self, now: Now, job: &JobId) {
        let Some(session) = self.session.as_ref().filter(|session| session.features.has(Feature::Subscribe))
        else {
            return;
        };
        let unsubscribe = Unsubscribe { job_id: Some(job.clone()) };
        let about = About { trace: None, job: Some(job.as_str()) };
        let (_, frame) = self.mint.frame(now, "job.unsubscribe", session.id.as_str(), about, |members| {
            unsubscribe.write(members);
        });
        self.outgoing.push(frame);
    }

    /// The time for an answer is up.
    pub(super) fn expire(&mut self, now: Now, request: RequestId) {
        match self.requests.get(request) {
            Some(Ask::Submit { .. } | Ask::Subscribe { again: true, .. }) => {
                self.requests.again(request);
                self.send_waiting(now);
            }
            Some(Ask::Subscribe { job, .. }) => {
                // Should the answer come late, nobody follows the job any more.
                let job = job.clone();
                self.reject(now, request, RequestError::TimedOut);
                if self.jobs.find(job.as_str()).is_none() {
                    self.send_unsubscribe(now, &job);
                }
            }
            _ => self.reject(now, request, RequestError::TimedOut),
        }
    }

    /// Acknowledges what was taken, or notes when that may happen.
    pub(super) fn pace_ack(&mut self, now: Now) {
        self.ack_due = None;
        if !self.is_connected() || !self.has_ack() {
            return;
        }
        let due = self.last_ack.map_or(now.mono, |last| last.after(self.config.ack_interval));
        if due <= now.mono || self.is_core() && self.numbers.is_ack_urgent() {
            let frame = self.ack_frame(now);
            self.outgoing.set_ack(frame);
            self.last_ack = Some(now.mono);
        } else {
            self.ack_due = Some(due);
        }
    }

    /// Whether there is something to acknowledge, and the runtime is to hear it.
    pub(super) fn has_ack(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.features.has(Feature::Ack))
            && self.numbers.has_ack()
    }

    pub(super) fn ack_frame(&mut self, now: Now) -> String {
        let ack = Ack { last_processed_seq: self.numbers.acknowledge() };
        let session_id = self.session.as_ref().map_or("", |session| session.id.as_str());
        let (_, frame) =
            self.mint.frame(now, "session.ack", session_id, About::default(), |members| ack.write(members));
        frame
    }

    pub(super) fn event(&mut self, event: ClientEvent) {
        self.outputs.push_back(Output::Event(event));
    }
}
