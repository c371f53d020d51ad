//! Frames of an open session (protocol §2.5, §2.9, §3.8, §4.2).

use alloc::boxed::Box;

use crate::client::ClientEndpoint;
use crate::client::outgoing::About;
use crate::client::output::{ClientEvent, ClosedReason, Output, RequestId};
use crate::client::requests::Kind;
use crate::client::session::Phase;
use crate::close::CloseCode;
use crate::error::ErrorCode;
use crate::time::Now;
use crate::trace::TraceId;
use crate::wire::session::{ErrorPayload, Ping, Pong};
use crate::wire::{Envelope, EventSeq};

/// Pings answered in a second (protocol §9).
const PINGS_PER_SECOND: u32 = 10;
const SECOND_MICROS: u64 = 1_000_000;
/// What an error about a job may refuse.
const OF_JOBS: &[Kind] = &[Kind::Submit, Kind::Cancel, Kind::Subscribe];
/// What an error of the session may refuse.
const ANY: &[Kind] = &[Kind::Submit, Kind::Cancel, Kind::Subscribe, Kind::List];

impl ClientEndpoint {
    /// A frame behind the welcome. `bytes` is its size.
    pub(super) fn receive(&mut self, now: Now, envelope: &Envelope<'_>, bytes: usize) {
        let Some(session) = &self.session else { return };
        let is_of_session = envelope.session_id.as_deref().is_none_or(|id| id == session.id.as_str());
        let is_kept = session.profile.keeps_session_of_job() && envelope.message_type.starts_with("job.");
        if !is_of_session && !is_kept {
            self.ignored += 1;
            return;
        }
        let Some(is_numbered) = self.track(now, envelope) else { return };
        let is_handed_on = match envelope.message_type.as_ref() {
            "job.event" => self.on_event(now, envelope, is_numbered, bytes),
            "job.result" => self.on_result(now, envelope, is_numbered, bytes),
            "job.error" => self.on_job_error(now, envelope, is_numbered, bytes),
            other => {
                match other {
                    "job.accepted" => self.on_accepted(now, envelope),
                    "job.cancelled" => self.on_cancelled(envelope),
                    "job.subscribed" => self.on_subscribed(now, envelope),
                    "session.jobs" => self.on_jobs(envelope),
                    "session.ping" => self.answer_ping(now, envelope),
                    "session.pong" => {}
                    "session.error" => self.on_session_error(now, envelope),
                    "session.bye" | "session.closed" => self.lose(now, CloseCode::Normal),
                    _ => self.ignored += 1,
                }
                false
            }
        };
        if is_numbered && !is_handed_on {
            self.numbers.pass(bytes);
        }
    }

    pub(super) fn answer_ping(&mut self, now: Now, envelope: &Envelope<'_>) {
        let Ok(ping) = Ping::read(&envelope.payload) else {
            self.ignored += 1;
            return;
        };
        let (Phase::Active(active), Some(session)) = (&mut self.phase, &self.session) else { return };
        let (second, answered) = &mut active.pings;
        if now.mono.as_micros().saturating_sub(second.as_micros()) >= SECOND_MICROS {
            (*second, *answered) = (now.mono, 0);
        }
        if *answered >= PINGS_PER_SECOND {
            self.ignored += 1;
            return;
        }
        *answered += 1;
        let pong = Pong { ping_nonce: Some(ping.nonce), received_at: Some(now.unix) };
        let (_, frame) =
            self.mint.frame(now, "session.pong", session.id.as_str(), About::default(), |members| {
                pong.write(members);
            });
        self.outgoing.push_urgent(frame);
    }

    pub(super) fn send_ping(&mut self, now: Now) {
        let Some(session) = &self.session else { return };
        let ping = Ping { nonce: self.mint.id("p_", now.unix), sent_at: Some(now.unix) };
        let (_, frame) =
            self.mint.frame(now, "session.ping", session.id.as_str(), About::default(), |members| {
                ping.write(members);
            });
        self.outgoing.push_urgent(frame);
    }

    fn on_session_error(&mut self, now: Now, envelope: &Envelope<'_>) {
        let Ok(error) = ErrorPayload::read(&envelope.payload) else {
            self.ignored += 1;
            return;
        };
        let code = error.known_code();
        if code == ErrorCode::Unauthenticated && error.reason().as_deref() == Some("taken_over") {
            self.outputs.push_back(Output::Close(CloseCode::Normal));
            return self.finish(ClosedReason::TakenOver);
        }
        let job = error.job_id.as_ref().map(|job| job.as_str()).or(envelope.job_id.as_deref());
        let request = self.answered_request(envelope).or_else(|| {
            self.guessed_request(envelope, ANY, &[Kind::Cancel, Kind::Subscribe], job, Some(code))
        });
        if let Some(request) = request {
            self.backoff.progress();
            return self.refuse(now, request, error);
        }
        let is_correlated = error.request_id.is_some() || error.reply_to.is_some();
        let is_fatal =
            !is_correlated && matches!(code, ErrorCode::Unauthenticated | ErrorCode::HeartbeatLost);
        self.event(ClientEvent::RuntimeError(Box::new(error)));
        if is_fatal {
            // Whether the bearer itself has ended is what the next hello finds out.
            self.lose(now, CloseCode::Normal);
        }
    }

    fn on_job_error(&mut self, now: Now, envelope: &Envelope<'_>, is_numbered: bool, bytes: usize) -> bool {
        let Ok(error) = ErrorPayload::read(&envelope.payload) else {
            return self.on_result(now, envelope, is_numbered, bytes);
        };
        let refused = self.answered_request(envelope).or_else(|| {
            // A number makes it part of a stream, which no rejection of most runtimes is (D-76).
            let may_reject = envelope.event_seq == EventSeq::Absent || self.profile().rejects_like_an_end();
            if may_reject { self.rejected_by_job_error(envelope, &error) } else { None }
        });
        match refused {
            Some(request) => {
                self.backoff.progress();
                self.refuse(now, request, error);
                false
            }
            None => self.on_result(now, envelope, is_numbered, bytes),
        }
    }

    /// The request that a `job.error` without correlation rejects, if it does not end its job.
    fn rejected_by_job_error(&self, envelope: &Envelope<'_>, error: &ErrorPayload) -> Option<RequestId> {
        let code = error.known_code();
        let job = error.job_id.as_ref().map(|job| job.as_str()).or(envelope.job_id.as_deref());
        let is_live = job.is_some_and(|job| self.jobs.find(job).is_some() || self.jobs.is_held(job));
        let of_job = &[Kind::Cancel, Kind::Subscribe];
        if self.profile().rejects_like_an_end() {
            let by_job = job.and_then(|job| self.requests.by_job(job, of_job));
            return match code {
                ErrorCode::JobNotFound | ErrorCode::PermissionDenied if by_job.is_some() => by_job,
                ErrorCode::DuplicateKey => self.requests.only_one(&[Kind::Submit]),
                // An id that nobody has heard of was made up for the rejection.
                _ if !is_live => self.requests.only_one(&[Kind::Submit]),
                _ => None,
            };
        }
        if !is_live {
            return self.guessed_request(envelope, OF_JOBS, of_job, job, Some(code));
        }
        let ends = envelope.payload.present("final_status").is_some()
            || matches!(code, ErrorCode::Cancelled | ErrorCode::Timeout);
        if ends { None } else { self.guessed_request(envelope, &[], of_job, job, Some(code)) }
    }

    /// The request an envelope answers by naming its id.
    pub(super) fn answered_request(&self, envelope: &Envelope<'_>) -> Option<RequestId> {
        self.requests.by_envelope(&envelope.id).or_else(|| {
            ["request_id", "reply_to", "correlation_id"]
                .into_iter()
                .filter_map(|name| envelope.payload.advisory_string(name))
                .find_map(|id| self.requests.by_envelope(&id))
        })
    }

    /// The request an envelope without usable ids most likely answers: one of `by_job` that names the job, else the
    /// only one of `kinds`.
    pub(super) fn guessed_request(
        &self,
        envelope: &Envelope<'_>,
        kinds: &[Kind],
        by_job: &[Kind],
        job: Option<&str>,
        code: Option<ErrorCode>,
    ) -> Option<RequestId> {
        // What names nothing answers nothing where everything else is named.
        if self.profile().names_what_it_answers() {
            return None;
        }
        if let Some(found) = job.and_then(|job| self.requests.by_job(job, by_job)) {
            return Some(found);
        }
        // Ids that match nothing belong to a request that has its answer already.
        let is_correlated =
            ["request_id", "reply_to"].iter().any(|name| envelope.payload.present(name).is_some());
        if is_correlated || kinds.is_empty() {
            return None;
        }
        let trace = envelope.trace_id.as_deref().and_then(TraceId::parse);
        if kinds.contains(&Kind::Submit)
            && let Some(found) = trace.and_then(|trace| self.requests.by_trace(trace))
        {
            return Some(found);
        }
        let ends_the_session = matches!(
            code,
            Some(ErrorCode::Unauthenticated | ErrorCode::HeartbeatLost | ErrorCode::ResumeWindowExpired)
        );
        if ends_the_session { None } else { self.requests.only_one(kinds) }
    }
}
