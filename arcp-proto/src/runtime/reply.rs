//! Everything a connection is sent that is not numbered, and its end.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::smallvec;

use crate::close::CloseCode;
use crate::error::{ErrorCode, Limit, WireError};
use crate::id::{JobId, JobKey};
use crate::runtime::connection::{Active, Phase};
use crate::runtime::inbound::Request;
use crate::runtime::job::Job;
use crate::runtime::log::Position;
use crate::runtime::refusal::{Frames, Refusal, echo};
use crate::runtime::requests::{Reply, SubscribedReply};
use crate::runtime::{ConnectionId, Effect, JobHandle, Output, RuntimeEndpoint, SessionHandle, Timer};
use crate::trace::TraceId;
use crate::wire::credential::Credential;
use crate::wire::delivery::Frame;
use crate::wire::job::{Accepted, Cancelled, Subscribed};
use crate::wire::peer::{PeerProfile, Rejected};
use crate::wire::{Head, encode, object_text};

/// A reply that waits for a commit.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) connection: ConnectionId,
    pub(super) session: SessionHandle,
    /// Its place among the replies to submits (D-75).
    pub(super) slot: Option<u64>,
    pub(super) request_id: Arc<str>,
    pub(super) reply: Reply,
}

impl RuntimeEndpoint {
    /// Gives a request its reply once `position` is committed, and remembers it for a repetition of the request.
    pub(super) fn answer(&mut self, request: &Request, slot: Option<u64>, position: Position, reply: Reply) {
        if let Some(session) = self.sessions.get_mut(request.session) {
            session.requests.answered(&request.id, position, reply.clone());
        }
        let pending = Pending {
            connection: request.connection,
            session: request.session,
            slot,
            request_id: Arc::clone(&request.id),
            reply,
        };
        self.run_after(position, Effect::Reply(Box::new(pending)));
    }

    pub(super) fn deliver_reply(&mut self, pending: Pending) {
        if let Reply::Accepted(job) = pending.reply
            && let Some(job) = self.jobs.get_mut(job)
        {
            job.acceptance_known = true;
        }
        let Some(session) = self.sessions.get(pending.session) else { return };
        // The answer to a submit follows the session to its new connection; any other dies with the old one (D-66).
        let connection = if session.attached == Some(pending.connection) {
            pending.connection
        } else {
            match session.attached {
                Some(newer) if pending.slot.is_some() && session.profile.resends_accepted() => {
                    match self.connections.get(newer).map(|connection| &connection.phase) {
                        Some(Phase::Active(_)) => newer,
                        // Its welcome will bring it along.
                        _ => return,
                    }
                }
                _ => return,
            }
        };
        let frames = self.render_reply(pending.session, &pending.request_id, &pending.reply);
        let frames = frames.unwrap_or_else(|| {
            let error = WireError::new(ErrorCode::JobNotFound, "the job is no longer remembered");
            let of = pending.reply.refused();
            let refusal = Refusal { error, of, job_id: None, trace: None };
            self.render_refusal(pending.session, Some(&pending.request_id), &refusal)
        });
        match pending.slot {
            Some(slot) if connection == pending.connection => {
                let accepts = match &pending.reply {
                    Reply::Accepted(job) => self.jobs.get(*job).map(|job| job.key),
                    _ => None,
                };
                let Some(state) = self.connections.get_mut(connection) else { return };
                state.replies.fill(slot, accepts, frames);
                while let Some(frames) =
                    self.connections.get_mut(connection).and_then(|state| state.replies.pop())
                {
                    self.push_all(connection, frames);
                }
            }
            _ => self.push_all(connection, frames),
        }
    }

    fn push_all(&mut self, connection: ConnectionId, frames: Frames) {
        for frame in frames {
            self.push_control(connection, frame);
        }
    }

    /// The frames of a reply; `None` if what it is about is forgotten.
    fn render_reply(&mut self, session: SessionHandle, request_id: &str, reply: &Reply) -> Option<Frames> {
        let ids = Some(request_id.to_string());
        let profile = self.sessions.get(session)?.profile;
        match reply {
            Reply::Accepted(job) => {
                let job = self.jobs.get(*job)?;
                let payload =
                    accepted_payload(job, Some(request_id), profile, self.shown_credentials(session, job));
                let head = (job.key, job.trace_id);
                Some(smallvec![self.frame(session, "job.accepted", Some(head), &payload)])
            }
            Reply::Cancelled { job, reason, ended } => {
                let job = self.jobs.get(*job)?;
                let payload = Cancelled {
                    job_id: JobId::new(&job.key.to_string()),
                    reason: reason.as_deref().map(ToString::to_string),
                    current_status: ended.map(ToString::to_string),
                    request_id: ids.clone(),
                    reply_to: ids,
                };
                let head = (job.key, job.trace_id);
                let payload = object_text(|out| payload.write(out));
                Some(smallvec![self.frame(session, "job.cancelled", Some(head), &payload)])
            }
            Reply::Subscribed(seam) => {
                if let Some(error) = self.forbids_following(session, seam.job) {
                    let job_id = Some(self.jobs.get(seam.job)?.key.to_string());
                    let refusal = Refusal { error, of: Rejected::Subscribe, job_id, trace: None };
                    return Some(self.render_refusal(session, Some(request_id), &refusal));
                }
                let SubscribedReply { job, status, budget, subscribed_from, replayed, history_from } =
                    &**seam;
                let job = self.jobs.get(*job)?;
                let payload = Subscribed {
                    request_id: ids.clone(),
                    reply_to: ids,
                    job_id: JobId::new(&job.key.to_string()),
                    current_status: Some((*status).to_string()),
                    agent: Some(job.agent.to_string()),
                    lease: Some(job.lease.to_json()),
                    lease_constraints: job.lease.constraints_json(),
                    budget: budget.clone(),
                    credentials: self.shown_credentials(session, job),
                    parent_job_id: self.parent_for(session, job),
                    trace_id: Some(job.trace_id.to_string()),
                    subscribed_from: Some(*subscribed_from),
                    replayed: *replayed,
                    history_from: *history_from,
                };
                let head = (job.key, job.trace_id);
                let payload = object_text(|out| profile.subscribed(payload).write(out));
                Some(smallvec![self.frame(session, "job.subscribed", Some(head), &payload)])
            }
            Reply::Refused(refusal) => Some(self.render_refusal(session, Some(request_id), refusal)),
        }
    }

    /// Sends the acceptances that the client may have missed, with fresh ids (D-66).
    pub(super) fn resend_accepted(&mut self, connection: ConnectionId, session: SessionHandle) {
        let Some(state) = self.sessions.get(session) else { return };
        let profile = state.profile;
        if !profile.resends_accepted() {
            return;
        }
        for (job, _) in state.unconfirmed.clone() {
            let Some(job) = self.jobs.get(job).filter(|job| job.acceptance_known) else { continue };
            let payload = accepted_payload(
                job,
                job.request_id.as_deref(),
                profile,
                self.shown_credentials(session, job),
            );
            let head = (job.key, job.trace_id);
            let frame = self.frame(session, "job.accepted", Some(head), &payload);
            self.push_unasked(connection, frame);
        }
    }

    /// Tells a session of a child that it owns, or owned when the child was accepted (protocol §6).
    pub(super) fn child_accepted(&mut self, handle: JobHandle, owner: SessionHandle) {
        if let Some(job) = self.jobs.get_mut(handle) {
            job.acceptance_known = true;
        }
        let (Some(job), Some(session)) = (self.jobs.get(handle), self.sessions.get(owner)) else { return };
        let (profile, Some(connection)) = (session.profile, session.attached) else { return };
        let phase = self.connections.get(connection).map(|state| &state.phase);
        if profile.takes_child_accepted() && matches!(phase, Some(Phase::Active(_))) {
            let credentials = self.shown_credentials(owner, job);
            let (head, payload) =
                ((job.key, job.trace_id), accepted_payload(job, None, profile, credentials));
            let frame = self.frame(owner, "job.accepted", Some(head), &payload);
            self.push_unasked(connection, frame);
        }
    }

    /// Queues an acceptance that answers no request of this connection: there are as many as jobs at most, and they
    /// take no room from replies.
    fn push_unasked(&mut self, connection: ConnectionId, frame: String) {
        if let Some(state) = self.connections.get_mut(connection) {
            state.resent += 1;
        }
        self.push_control(connection, frame);
    }

    /// Sends a frame of the session that concerns no job.
    pub(super) fn send_to_session(
        &mut self,
        connection: ConnectionId,
        session: SessionHandle,
        message_type: &str,
        payload: &str,
    ) {
        let frame = self.frame(session, message_type, None, payload);
        self.push_control(connection, frame);
    }

    pub(super) fn error_frame(
        &mut self,
        session: SessionHandle,
        payload: &str,
        job_id: Option<&str>,
    ) -> String {
        let id = self.ids.text("msg_", self.now.unix, &mut self.entropy);
        let session_id =
            self.sessions.get(session).map(|session| session.key.to_string()).unwrap_or_default();
        let head = Head {
            id: &id,
            message_type: "session.error",
            session_id: &session_id,
            trace_id: None,
            job_id,
            event_seq: None,
        };
        encode(&head, payload)
    }

    /// A frame of a session with a fresh id.
    pub(super) fn frame(
        &mut self,
        session: SessionHandle,
        message_type: &str,
        job: Option<(JobKey, TraceId)>,
        payload: &str,
    ) -> String {
        let id = self.ids.text("msg_", self.now.unix, &mut self.entropy);
        let session_id =
            self.sessions.get(session).map(|session| session.key.to_string()).unwrap_or_default();
        let job = job.map(|(key, trace)| (key.to_string(), trace.to_string()));
        let head = Head {
            id: &id,
            message_type,
            session_id: &session_id,
            trace_id: job.as_ref().map(|(_, trace)| trace.as_str()),
            job_id: job.as_ref().map(|(key, _)| key.as_str()),
            event_seq: None,
        };
        encode(&head, payload)
    }

    /// Queues a frame ahead of events.
    pub(super) fn push_control(&mut self, connection: ConnectionId, frame: String) {
        let Some(state) = self.connections.get_mut(connection) else { return };
        if matches!(state.phase, Phase::Closing) {
            return;
        }
        if state.control.len() >= self.config.limits.control_queue + state.resent {
            let error = WireError::limit(Limit::Unsent, "too many replies wait for this connection");
            return self.fail(connection, &error, CloseCode::Policy);
        }
        state.control.push_back(frame);
        self.announce(connection);
    }

    /// Tells the driver, once, that frames wait.
    pub(super) fn announce(&mut self, connection: ConnectionId) {
        let Some(state) = self.connections.get_mut(connection) else { return };
        if state.announced || matches!(state.phase, Phase::Closing) {
            return;
        }
        state.announced = true;
        state.moved = self.now.mono;
        if !state.stall_armed {
            state.stall_armed = true;
            self.timers
                .arm(self.now.mono.after(self.config.limits.write_stall), Timer::WriteStall(connection));
        }
        self.outputs.push_back(Output::FramesReady(connection));
    }

    pub(super) fn pull(&mut self, connection: ConnectionId) -> Option<Frame> {
        let state = self.connections.get_mut(connection)?;
        state.moved = self.now.mono;
        if let Some(text) = state.control.pop_front() {
            if let Phase::Active(Active { heartbeat: Some(heartbeat), .. }) = &mut state.phase {
                heartbeat.spoke(self.now.mono);
            }
            return Some(Frame::Text(text));
        }
        if let Phase::Active(active) = &mut state.phase {
            let handle = active.session;
            let session = self.sessions.get_mut(handle)?;
            // Its acceptance tells of them when its turn comes.
            let waits = state.replies.len() > 0
                && session.window.next_job().is_some_and(|job| state.replies.hold_back(job));
            if let Some((frame, cost)) = if waits { None } else { session.window.pull() } {
                if let Some(heartbeat) = &mut active.heartbeat {
                    heartbeat.spoke(self.now.mono);
                }
                session.pulled(cost);
                if session.needs_attention() {
                    self.weigh(handle);
                    self.read_on(handle);
                }
                return Some(self.with_value(handle, frame));
            }
        }
        state.announced = false;
        None
    }

    /// Says why, then closes; the session, if there is one, stays resumable.
    pub(super) fn fail(&mut self, connection: ConnectionId, error: &WireError, code: CloseCode) {
        let Some(state) = self.connections.get_mut(connection) else { return };
        if matches!(state.phase, Phase::Closing) {
            return;
        }
        // The last word may go out even where the queue is full.
        state.control.truncate(self.config.limits.control_queue + state.resent);
        let mut payload = String::new();
        error.write_payload(&mut payload, None, None);
        let echoes_to = state.echoes_to.take();
        let session = state.session().and_then(|session| self.sessions.get(session));
        let session_id = match session {
            Some(session) => session.key.to_string(),
            None => {
                let echoed = match &state.phase {
                    Phase::Authenticating(greeting) => greeting.session_id.clone(),
                    _ => None,
                };
                echoed.unwrap_or_else(|| self.ids.text("sess_", self.now.unix, &mut self.entropy))
            }
        };
        let frame = self.closing_frame(&session_id, &payload);
        if let Some(state) = self.connections.get_mut(connection) {
            state.control.push_back(frame);
            if let Some(hello) = echoes_to {
                state.control.push_back(echo(&session_id, &hello, error));
            }
        }
        self.close(connection, code);
    }

    pub(super) fn closing_frame(&mut self, session_id: &str, payload: &str) -> String {
        let id = self.ids.text("msg_", self.now.unix, &mut self.entropy);
        let head = Head {
            id: &id,
            message_type: "session.error",
            session_id,
            trace_id: None,
            job_id: None,
            event_seq: None,
        };
        encode(&head, payload)
    }

    /// Closes behind what is queued; nothing more is read or numbered for this connection.
    pub(super) fn close(&mut self, connection: ConnectionId, code: CloseCode) {
        if self.connections.get(connection).is_none_or(|state| matches!(state.phase, Phase::Closing)) {
            return;
        }
        self.detach_connection(connection);
        if let Some(state) = self.connections.get_mut(connection) {
            state.phase = Phase::Closing;
        }
        self.outputs.push_back(Output::Close { connection, code });
    }
}

/// The payload of `job.accepted`, the same whenever it is sent but for the request it answers and the credentials, which
/// are the current ones (D-19).
fn accepted_payload(
    job: &Job,
    request_id: Option<&str>,
    profile: PeerProfile,
    credentials: Vec<Credential>,
) -> String {
    let accepted = Accepted {
        job_id: JobId::new(&job.key.to_string()),
        agent: Some(job.agent.to_string()),
        lease: Some(job.lease.to_json()),
        lease_constraints: job.lease.constraints_json(),
        budget: job.lease.budget_json(),
        accepted_at: Some(job.accepted_at),
        trace_id: Some(job.trace_id.to_string()),
        request_id: request_id.map(ToString::to_string),
        reply_to: request_id.map(ToString::to_string),
        credentials,
        parent_job_id: parent_id(job),
        delegate_id: job.parentage.map(|parentage| parentage.delegation.to_string()),
    };
    object_text(|out| profile.accepted(accepted).write(out))
}

fn parent_id(job: &Job) -> Option<JobId> {
    job.parentage.and_then(|parentage| JobId::new(&parentage.job.to_string()))
}
