//! How a refusal reaches its client: in the shape that client understands (protocol §3.8, §12.3).

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::error::WireError;
use crate::feature::Feature;
use crate::id::JobKey;
use crate::runtime::inbound::Request;
use crate::runtime::log::Position;
use crate::runtime::reply::Pending;
use crate::runtime::requests::Reply;
use crate::runtime::session::Follow;
use crate::runtime::{ConnectionId, RuntimeEndpoint, RuntimeEvent, SessionHandle};
use crate::trace::TraceId;
use crate::wire::peer::{Rejected, Rejection};
use crate::wire::{Head, encode};

/// What one reply takes on the wire: mostly one frame, for some clients two or none.
pub(crate) type Frames = SmallVec<[String; 1]>;

/// A refusal; rendered when it is sent, as often as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) error: WireError,
    /// What is refused.
    pub(crate) of: Rejected,
    /// The job that the request named.
    pub(crate) job_id: Option<String>,
    /// The trace that the request named.
    pub(crate) trace: Option<TraceId>,
}

impl Refusal {
    fn new(request: &Request, of: Rejected, error: WireError, job_id: Option<String>) -> Self {
        let trace = request.trace_id.as_deref().and_then(TraceId::parse);
        Self { error, of, job_id, trace }
    }
}

/// What a request of this type is when it is refused.
fn rejected(message_type: &str) -> Rejected {
    match message_type {
        "job.submit" => Rejected::Submit,
        "job.cancel" => Rejected::Cancel,
        "job.subscribe" => Rejected::Subscribe,
        "session.list_jobs" => Rejected::List,
        _ => Rejected::Frame,
    }
}

impl RuntimeEndpoint {
    /// Refuses at once, and remembers nothing of it.
    pub(super) fn refuse(&mut self, request: &Request, of: Rejected, error: WireError) {
        let refusal = Refusal::new(request, of, error, request.job_id.clone());
        self.send_refusal(request.connection, request.session, Some(&request.id), &refusal);
    }

    /// Refuses what needs a feature that the session has not negotiated.
    pub(super) fn refuse_feature(&mut self, request: &Request, of: Rejected, feature: Feature) {
        let error = WireError::invalid(alloc::format!("{} was not negotiated", feature.as_str()))
            .with(crate::error::Details::Feature(feature.as_str().into()));
        self.refuse(request, of, error);
    }

    /// Refuses a cancel or subscribe, and remembers that for a repetition of it.
    pub(super) fn refuse_job(
        &mut self,
        request: &Request,
        of: Rejected,
        job_id: Option<&str>,
        error: WireError,
    ) {
        let refusal = Refusal::new(request, of, error, job_id.map(ToString::to_string));
        self.send_refusal(request.connection, request.session, Some(&request.id), &refusal);
        if let Some(session) = self.sessions.get_mut(request.session) {
            let reply = Reply::Refused(Box::new(refusal));
            session.requests.answered(&request.id, Position::default(), reply);
        }
    }

    /// Refuses a submit in the order of submits, and remembers that for a repetition of it.
    pub(super) fn refuse_in_order(
        &mut self,
        request: &Request,
        slot: u64,
        error: WireError,
        job_id: Option<String>,
    ) {
        let reply = Reply::Refused(Box::new(Refusal::new(request, Rejected::Submit, error, job_id)));
        if let Some(session) = self.sessions.get_mut(request.session) {
            session.requests.answered(&request.id, Position::default(), reply.clone());
        }
        self.deliver_reply(Pending {
            connection: request.connection,
            session: request.session,
            slot: Some(slot),
            request_id: Arc::clone(&request.id),
            reply,
        });
    }

    /// What a request is answered with whose id was that of a request of another type (D-49).
    pub(super) fn reused_id(request: &Request, message_type: &str) -> Reply {
        let error = WireError::invalid("this envelope id was used by a request of another type");
        let job_id = request.job_id.clone();
        Reply::Refused(Box::new(Refusal::new(request, rejected(message_type), error, job_id)))
    }

    /// Answers what could not be read, if the client can bear an answer (D-97).
    pub(super) fn refuse_frame(
        &mut self,
        connection: ConnectionId,
        session: SessionHandle,
        request_id: Option<&str>,
        error: WireError,
    ) {
        let refusal = Refusal { error, of: Rejected::Frame, job_id: None, trace: None };
        self.send_refusal(connection, session, request_id, &refusal);
    }

    fn send_refusal(
        &mut self,
        connection: ConnectionId,
        session: SessionHandle,
        request_id: Option<&str>,
        refusal: &Refusal,
    ) {
        for frame in self.render_refusal(session, request_id, refusal) {
            self.push_control(connection, frame);
        }
    }

    /// The frames that say it to this session's client.
    pub(super) fn render_refusal(
        &mut self,
        session: SessionHandle,
        request_id: Option<&str>,
        refusal: &Refusal,
    ) -> Frames {
        let Some(state) = self.sessions.get(session) else { return Frames::new() };
        match (state.profile.rejection(refusal.of), request_id) {
            (Rejection::BaseWhileIdle, request_id) if self.is_idle(session, request_id) => {
                smallvec![self.base_refusal(session, request_id, refusal)]
            }
            (Rejection::Nothing | Rejection::BaseWhileIdle, _) => {
                let silent = RuntimeEvent::RefusedSilently { session: state.key, code: refusal.error.code };
                self.event(silent);
                Frames::new()
            }
            (Rejection::FreshId, Some(request_id)) => {
                let job = JobKey::from_ulid(self.ids.ulid(self.now.unix, &mut self.entropy)).to_string();
                let id = self.ids.text("msg_", self.now.unix, &mut self.entropy);
                let session_id = self.session_id(session).unwrap_or_default();
                let trace = refusal.trace.map(|trace| trace.to_string());
                let head = Head {
                    id: &id,
                    message_type: "job.error",
                    session_id: &session_id,
                    trace_id: trace.as_deref(),
                    job_id: Some(&job),
                    event_seq: None,
                };
                let mut payload = String::new();
                refusal.error.write_rejection(&mut payload, request_id);
                smallvec![encode(&head, &payload)]
            }
            (Rejection::BaseAndEcho, Some(id)) => {
                let session_id = self.session_id(session).unwrap_or_default();
                let echo = echo(&session_id, id, &refusal.error);
                Frames::from_iter([self.base_refusal(session, request_id, refusal), echo])
            }
            (Rejection::Base | Rejection::BaseAndEcho | Rejection::FreshId, _) => {
                smallvec![self.base_refusal(session, request_id, refusal)]
            }
        }
    }

    fn base_refusal(
        &mut self,
        session: SessionHandle,
        request_id: Option<&str>,
        refusal: &Refusal,
    ) -> String {
        let job_id = refusal.job_id.as_deref();
        let mut payload = String::new();
        refusal.error.write_payload(&mut payload, request_id, job_id);
        self.error_frame(session, &payload, job_id)
    }

    /// Whether an error could be taken for nothing but the answer to `request_id`: no job of the session is unfinished as
    /// far as its client knows, no other request of it open.
    fn is_idle(&self, session: SessionHandle, request_id: Option<&str>) -> bool {
        let Some(session) = self.sessions.get(session) else { return true };
        let connection = session.attached.and_then(|connection| self.connections.get(connection));
        let submitted_here = |follow: &Follow| !follow.subscription;
        // An error would overtake the end of a job that is numbered and not sent.
        session.owned.is_empty()
            && !session.follows.values().any(submitted_here)
            && session.unsent() == 0
            && connection.is_none_or(|connection| connection.replies.len() == 0)
            && !session
                .requests
                .any_open(request_id.unwrap_or_default(), |position| !self.log.is_committed(position))
    }
}

/// The `job.error` whose envelope id is the request's, for clients that know their answers by that.
pub(super) fn echo(session_id: &str, request_id: &str, error: &WireError) -> String {
    let head = Head {
        id: request_id,
        message_type: "job.error",
        session_id,
        trace_id: None,
        job_id: None,
        event_seq: None,
    };
    let mut payload = String::new();
    error.write_rejection(&mut payload, request_id);
    encode(&head, &payload)
}
