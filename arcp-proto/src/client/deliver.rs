//! Replies and events on their way to the application (protocol §3.2 to §3.6, §4.2).

use alloc::boxed::Box;
use alloc::string::{String, ToString};

use smallvec::smallvec;

use crate::client::ClientEndpoint;
use crate::client::children::Said;
use crate::client::jobs::{Job, Submitted};
use crate::client::output::{ClientEvent, RequestError, RequestId};
use crate::client::requests::{Ask, Kind, Subscription};
use crate::error::ErrorCode;
use crate::feature::Feature;
use crate::id::JobId;
use crate::time::Now;
use crate::wire::Envelope;
use crate::wire::event::EventPayload;
use crate::wire::job::{Accepted, Cancelled, Ended, FinalStatus, Subscribed};
use crate::wire::session::ErrorPayload;

/// What a numbered frame brings.
pub(super) enum News {
    Event(Option<EventPayload>),
    End(Box<Ended>),
}

impl News {
    pub(super) fn pos(&self) -> Option<u64> {
        match self {
            Self::Event(event) => event.as_ref()?.pos,
            Self::End(ended) => ended.pos,
        }
    }

    pub(super) fn into_event(self, job: JobId, seq: Option<u64>) -> ClientEvent {
        match self {
            Self::Event(event) => ClientEvent::JobEvent { job, seq, event },
            Self::End(ended) => ClientEvent::JobEnded { job, seq, ended },
        }
    }
}

impl ClientEndpoint {
    /// `job.event`. Whether its number was handed on is returned, here and below.
    pub(super) fn on_event(
        &mut self,
        now: Now,
        envelope: &Envelope<'_>,
        is_numbered: bool,
        bytes: usize,
    ) -> bool {
        let event = EventPayload::read(&envelope.payload).ok();
        self.deliver(now, envelope, is_numbered, bytes, News::Event(event))
    }

    /// `job.result`, or a `job.error` that rejects nothing.
    pub(super) fn on_result(
        &mut self,
        now: Now,
        envelope: &Envelope<'_>,
        is_numbered: bool,
        bytes: usize,
    ) -> bool {
        let news = match Ended::read(&envelope.payload, &envelope.message_type) {
            Ok(ended) => News::End(Box::new(ended)),
            Err(_) => News::Event(None),
        };
        self.deliver(now, envelope, is_numbered, bytes, news)
    }

    fn deliver(
        &mut self,
        now: Now,
        envelope: &Envelope<'_>,
        is_numbered: bool,
        bytes: usize,
        news: News,
    ) -> bool {
        let in_payload = || envelope.payload.id("job_id").ok().flatten();
        let Some(named) = envelope.job_id.clone().or_else(in_payload) else {
            self.ignored += 1;
            return false;
        };
        let ends = matches!(news, News::End(_));
        let pos = news.pos();
        if self.jobs.find(&named).is_none() {
            let Some(id) = JobId::new(&named) else { return false };
            if self.begin_named(now, &id) {
                // Its parent's event was all there is to begin with.
            } else if self.jobs.has_ended(&named) && !self.requests.has_submit() {
                // A subscribe that was sent more than once brings the whole job as often.
                self.ignored += 1;
                return false;
            } else if !self.hands_on_others {
                return self.hold(id, is_numbered, bytes, news);
            } else if self.jobs.adopt(&id).is_none() {
                self.ignored += 1;
                return false;
            }
        }
        let sees_all = self.sees_all();
        let Some(job) = self.jobs.find_mut(&named) else { return false };
        let jump = job.jump(pos, sees_all).filter(|_| !job.abandoned);
        // An end is handed on whatever position it claims: without it the application would wait for ever.
        let is_new = job.abandoned || job.is_new(pos) || ends;
        let is_wanted = is_new && !job.abandoned;
        let (id, index) = (job.id.clone(), job.index);
        let said = match &news {
            News::Event(Some(event)) if is_new => Some(self.trees.read(event)),
            News::End(_) => Some(Said::Nothing),
            News::Event(_) => None,
        };
        if !is_wanted {
            if ends {
                self.job_ended(&id, None);
            }
            self.note_children(now, &id, said);
            return false;
        }
        if let Some((from, to)) = jump {
            self.event(ClientEvent::JobGap { job: id.clone(), from, to });
        }
        let seq = Some(self.numbers.hand_on(index, bytes, is_numbered));
        if let News::End(ended) = &news {
            self.job_ended(&id, Some(ended.status));
        }
        self.event(news.into_event(id.clone(), seq));
        self.note_children(now, &id, said);
        is_numbered
    }

    /// Only a session that takes every kind sees every position.
    pub(super) fn sees_all(&self) -> bool {
        let takes = |feature| self.session.as_ref().is_some_and(|session| session.features.has(feature));
        takes(Feature::Progress) && takes(Feature::ResultChunk)
    }

    /// Forgets a job that has ended. Runtimes may end a job without a word on the cancel that was asked for.
    pub(super) fn job_ended(&mut self, job: &JobId, status: Option<FinalStatus>) {
        if let Some(Job { tree: Some(tree), is_child, .. }) = self.jobs.end(job) {
            self.trees.left(tree);
            if is_child {
                self.trees.ended(tree, job);
            }
        }
        for request in self.requests.resubscribes_of(job.as_str()) {
            self.requests.close(request);
        }
        for request in self.requests.cancels_of(job.as_str()) {
            self.requests.close(request);
            let cancelled = Box::new(Cancelled {
                job_id: Some(job.clone()),
                reason: None,
                current_status: status.map(|status| status.as_str().to_string()),
                request_id: None,
                reply_to: None,
            });
            self.event(ClientEvent::CancelAcknowledged { request, cancelled });
        }
    }

    pub(super) fn on_accepted(&mut self, now: Now, envelope: &Envelope<'_>) {
        let Ok(mut accepted) = Accepted::read(&envelope.payload) else {
            self.ignored += 1;
            return;
        };
        let in_envelope = || envelope.job_id.as_deref().and_then(JobId::new);
        let Some(job) = accepted.job_id.clone().or_else(in_envelope) else {
            self.ignored += 1;
            return;
        };
        accepted.job_id = Some(job.clone());
        let is_child = accepted.parent_job_id.is_some();
        let is_known = self.jobs.find(job.as_str()).is_some_and(|job| !job.is_other());
        let request = self.answered_request(envelope).or_else(|| {
            let guess = || self.guessed_request(envelope, &[Kind::Submit], &[], None, None);
            if is_child || is_known { None } else { guess() }
        });
        let submit = request.and_then(|request| match self.requests.get(request)? {
            Ask::Submit { submit, trace, again } => {
                let submitted =
                    Submitted { requests: smallvec![request], submit: submit.clone(), trace: *trace };
                Some((request, submitted, again.clone()))
            }
            Ask::Cancel { .. } | Ask::Subscribe { .. } | Ask::List(_) => None,
        });
        match submit {
            Some((request, submitted, again)) => {
                self.backoff.progress();
                self.requests.close(request);
                self.accept(now, job.clone(), submitted, again, Box::new(accepted));
                if self.is_accepted_elsewhere(envelope) {
                    self.follow_again(now, &job);
                }
                self.drop_unclaimed();
                self.send_waiting(now);
            }
            None => self.on_child_accepted(now, job, accepted),
        }
    }

    fn accept(
        &mut self,
        now: Now,
        job: JobId,
        submitted: Submitted,
        again: Option<JobId>,
        accepted: Box<Accepted>,
    ) {
        let trace = accepted.trace_id.clone().unwrap_or_else(|| submitted.trace.to_string());
        let Some(old) = again else {
            let tree = submitted.requests.iter().copied().find(|request| self.trees.answered(*request));
            return self.attach(now, job, (submitted, tree), trace, accepted);
        };
        if old == job {
            if let Some(entry) = self.jobs.find_mut(job.as_str()) {
                entry.resubmitting = false;
                entry.trace = Some(trace);
            }
            return;
        }
        // The runtime had forgotten the key, so the work begins again under another name, if anybody waits for it.
        self.requests.rename(&old, &job);
        let previous = self.jobs.remove(old.as_str()).filter(|entry| !entry.abandoned);
        if let Some(Job { submitted: Some(submitted), tree, .. }) = previous {
            self.attach(now, job, (submitted, tree), trace, accepted);
        }
    }

    fn attach(
        &mut self,
        now: Now,
        job: JobId,
        (submitted, tree): (Submitted, Option<RequestId>),
        trace: String,
        accepted: Box<Accepted>,
    ) {
        let requests = submitted.requests.clone();
        let entry = self.jobs.attach(&job);
        entry.trace = Some(trace);
        let before = entry.submitted.replace(submitted);
        if let (Some(before), Some(submitted)) = (before, &mut entry.submitted) {
            submitted.requests.insert_many(0, before.requests);
        }
        entry.tree = entry.tree.or(tree);
        if let Some(tree) = tree {
            // The children of a job that was submitted with the same key before come with that submit.
            self.trees.left(tree);
        }
        for request in requests {
            self.event(ClientEvent::Accepted { request, job: job.clone(), accepted: accepted.clone() });
        }
        self.release(now, &job);
    }

    pub(super) fn on_cancelled(&mut self, envelope: &Envelope<'_>) {
        let Ok(cancelled) = Cancelled::read(&envelope.payload) else {
            self.ignored += 1;
            return;
        };
        let job = cancelled.job_id.as_ref().map(JobId::as_str).or(envelope.job_id.as_deref());
        let request = self
            .answered_request(envelope)
            .or_else(|| self.guessed_request(envelope, &[Kind::Cancel], &[Kind::Cancel], job, None))
            .filter(|request| matches!(self.requests.get(*request), Some(Ask::Cancel { .. })));
        let Some(request) = request else {
            self.ignored += 1;
            return;
        };
        self.backoff.progress();
        self.requests.close(request);
        self.event(ClientEvent::CancelAcknowledged { request, cancelled: Box::new(cancelled) });
    }

    pub(super) fn on_subscribed(&mut self, now: Now, envelope: &Envelope<'_>) {
        let Ok(mut subscribed) = Subscribed::read(&envelope.payload) else {
            self.ignored += 1;
            return;
        };
        let named = subscribed.job_id.as_ref().map(JobId::as_str).or(envelope.job_id.as_deref());
        let request = self
            .answered_request(envelope)
            .or_else(|| self.guessed_request(envelope, &[Kind::Subscribe], &[Kind::Subscribe], named, None));
        let asked = request.and_then(|request| match self.requests.get(request)? {
            Ask::Subscribe { job, start, again, asks_rest } => {
                Some((request, job.clone(), *start, *again, *asks_rest))
            }
            Ask::Submit { .. } | Ask::Cancel { .. } | Ask::List(_) => None,
        });
        let Some((request, job, start, again, asks_rest)) = asked else {
            self.ignored += 1;
            return;
        };
        self.backoff.progress();
        subscribed.job_id = Some(job.clone());
        let ended = subscribed.current_status.as_deref().and_then(FinalStatus::parse);
        if again {
            self.begin_subscribed(now, &job, &subscribed);
        }
        let mut end_follows = asks_rest;
        let mut pos = None;
        if let Some(entry) = self.jobs.find_mut(job.as_str()) {
            pos = Some(entry.pos);
            if entry.subscribed.is_some_and(|entry| !entry.is_confirmed) {
                entry.history_begins(start, subscribed.history_from);
            }
            entry.trace = entry.trace.take().or_else(|| subscribed.trace_id.clone());
            end_follows |= entry.submitted.is_some();
            if let Some(entry) = &mut entry.subscribed {
                end_follows |= entry.is_confirmed;
                entry.is_confirmed = true;
                entry.seam = entry.seam.or(subscribed.subscribed_from);
            }
        }
        self.found_left_behind(now, &job, ended.is_some());
        if let (Some(status), false, Some(pos)) = (ended, subscribed.replayed, pos) {
            // A reply may overtake the end of a job that was followed already.
            if !end_follows && self.is_core() && self.requests.was_repeated(request) {
                // So it may if an earlier copy of the request took effect. Asking for the rest makes it certain.
                self.requests.ask_rest(request, Subscription::HistoryFromPos(pos));
                return self.send_waiting(now);
            }
            subscribed.replayed = end_follows;
            if !end_follows {
                self.over_already(now, &job, status, again);
            }
        }
        self.requests.close(request);
        if !again {
            let subscribed = Box::new(subscribed);
            self.event(ClientEvent::Subscribed { request, job, subscribed });
        }
    }

    /// A job that had ended and of which nothing is replayed says nothing more.
    fn over_already(&mut self, now: Now, job: &JobId, status: FinalStatus, was_told: bool) {
        let is_wanted = was_told && self.jobs.find(job.as_str()).is_some_and(|job| !job.abandoned);
        self.job_ended(job, Some(status));
        if is_wanted {
            self.event(ended_unseen(now, job, status, None));
        }
    }

    /// The runtime refused a request.
    pub(super) fn refuse(&mut self, now: Now, request: RequestId, error: ErrorPayload) {
        let Some(ask) = self.requests.get(request) else { return };
        let is_repeat =
            matches!(ask, Ask::Submit { again: Some(_), .. } | Ask::Subscribe { again: true, .. });
        let meets_its_copy = self.profile().refuses_copies_in_progress()
            && error.known_code() == ErrorCode::InternalError
            && self.requests.may_be_in_progress(request);
        if is_repeat && error.is_retryable() || meets_its_copy {
            // The job is not lost because the runtime has no room for it at this moment, or accepts it just now.
            self.requests.later(request, now.mono.after(self.submit_timeout()));
        } else {
            self.reject(now, request, RequestError::Refused(Box::new(error)));
        }
        self.send_waiting(now);
    }

    /// A request ends without what it asked for.
    pub(super) fn reject(&mut self, now: Now, request: RequestId, error: RequestError) {
        self.trees.answered(request);
        match self.requests.close(request) {
            None => {}
            Some(Ask::Submit { again: Some(job), .. } | Ask::Subscribe { job, again: true, .. }) => {
                self.give_up_job(now, &job, error);
            }
            Some(Ask::Subscribe { job, again: false, .. }) => {
                let is_asked_again = !self.requests.resubscribes_of(job.as_str()).is_empty();
                let is_followed = |job: &Job| {
                    job.submitted.is_some()
                        || job.subscribed.is_some_and(|subscribed| subscribed.is_confirmed)
                        || is_asked_again
                };
                if self.jobs.find(job.as_str()).is_some_and(|job| !is_followed(job)) {
                    self.jobs.remove(job.as_str());
                }
                self.event(ClientEvent::Rejected { request, error });
            }
            Some(Ask::Submit { again: None, .. } | Ask::Cancel { .. } | Ask::List(_)) => {
                self.event(ClientEvent::Rejected { request, error });
            }
        }
        self.drop_unclaimed();
    }

    /// The job cannot be followed into the new session; its end will not be known.
    fn give_up_job(&mut self, now: Now, job: &JobId, error: RequestError) {
        if self.forget_named(job) {
            return;
        }
        let error = match error {
            RequestError::Refused(error) => *error,
            _ => ErrorPayload {
                code: ErrorCode::InternalError.as_str().to_string(),
                message: "the runtime cannot continue this job in a new session".to_string(),
                retryable: None,
                details: None,
                request_id: None,
                reply_to: None,
                job_id: Some(job.clone()),
            },
        };
        let is_wanted = self.jobs.find(job.as_str()).is_some_and(|job| !job.abandoned);
        self.job_ended(job, Some(FinalStatus::Error));
        if is_wanted {
            self.event(ended_unseen(now, job, FinalStatus::Error, Some(error)));
        }
    }

    /// The trace of a job, for what we say of it.
    pub(super) fn trace_of(&self, job: &JobId) -> Option<String> {
        self.jobs.find(job.as_str())?.trace.clone()
    }
}

/// The end of a job whose own words are not to be had.
fn ended_unseen(now: Now, job: &JobId, status: FinalStatus, error: Option<ErrorPayload>) -> ClientEvent {
    let ended = Box::new(Ended {
        job_id: Some(job.clone()),
        pos: None,
        status,
        raw_status: None,
        result: None,
        result_id: None,
        result_size: None,
        summary: None,
        completed_at: Some(now.unix),
        error,
    });
    ClientEvent::JobEnded { job: job.clone(), seq: None, ended }
}
