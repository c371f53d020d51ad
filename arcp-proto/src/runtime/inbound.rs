//! What a connection receives, and the frames and timers that concern the connection itself.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use bytes::Bytes;

use crate::close::CloseCode;
use crate::error::{Details, ErrorCode, Limit, WireError};
use crate::feature::Feature;
use crate::heartbeat::Beat;
use crate::id::JobKey;
use crate::runtime::connection::{Active, Phase};
use crate::runtime::store::{Command, Trim};
use crate::runtime::{ConnectionId, RuntimeEndpoint, RuntimeEvent, SessionHandle, Timer};
use crate::wire::peer::Rejected;
use crate::wire::session::{Ack, Goodbye, Ping, Pong};
use crate::wire::{DecodeError, Envelope, ScanLimits, object_text};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A message type an active client may send; everything a peer can ask for is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inbound {
    Ping,
    Pong,
    Ack,
    Close,
    Bye,
    ListJobs,
    Submit,
    Cancel,
    Subscribe,
    Unsubscribe,
    Hello,
    Unknown,
}

impl Inbound {
    fn of(message_type: &str) -> Self {
        match message_type {
            "session.ping" => Self::Ping,
            "session.pong" => Self::Pong,
            "session.ack" => Self::Ack,
            "session.close" => Self::Close,
            "session.bye" => Self::Bye,
            "session.list_jobs" => Self::ListJobs,
            "job.submit" => Self::Submit,
            "job.cancel" => Self::Cancel,
            "job.subscribe" => Self::Subscribe,
            "job.unsubscribe" => Self::Unsubscribe,
            "session.hello" | "session.resume" => Self::Hello,
            _ => Self::Unknown,
        }
    }
}

/// A request of an active client, as far as its envelope tells.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) connection: ConnectionId,
    pub(super) session: SessionHandle,
    pub(super) id: Arc<str>,
    pub(super) job_id: Option<String>,
    pub(super) trace_id: Option<String>,
}

impl RuntimeEndpoint {
    pub(super) fn receive(&mut self, connection: ConnectionId, frame: &Bytes) {
        let Some(state) = self.connections.get_mut(connection) else { return };
        state.partial = None;
        match &mut state.phase {
            Phase::AwaitHello => self.receive_hello(connection, frame),
            Phase::Authenticating(_) | Phase::Committing { .. } => {
                let error = WireError::invalid("nothing may be sent between the hello and its answer");
                self.fail(connection, &error, CloseCode::Policy);
            }
            Phase::Active(Active { session, heartbeat, .. }) => {
                let session = *session;
                if let Some(heartbeat) = heartbeat {
                    heartbeat.heard(self.now.mono);
                }
                self.confirm_token(connection);
                self.receive_active(connection, session, frame);
            }
            Phase::Closing => {}
        }
    }

    pub(super) fn receive_oversized(&mut self, connection: ConnectionId) {
        let Some(state) = self.connections.get_mut(connection) else { return };
        state.partial = None;
        let error = WireError::invalid("a frame is larger than this transport takes");
        if state.is_before_welcome() {
            self.fail(connection, &error, CloseCode::TooLarge);
        } else if let Phase::Active(Active { session, heartbeat, .. }) = &mut state.phase {
            let session = *session;
            if let Some(heartbeat) = heartbeat {
                heartbeat.heard(self.now.mono);
            }
            self.malformed(connection, session, None, &error);
        }
    }

    fn receive_active(&mut self, connection: ConnectionId, session: SessionHandle, frame: &Bytes) {
        let envelope = match Envelope::decode(frame, &ScanLimits::RUNTIME) {
            Ok(envelope) => envelope,
            Err(DecodeError { id, reason, .. }) => {
                let error = WireError::invalid(alloc::format!("{reason}"));
                self.malformed(connection, session, id.as_deref(), &error);
                return;
            }
        };
        let Some(state) = self.sessions.get(session) else { return };
        if let Some(named) = &envelope.session_id
            && crate::id::SessionKey::parse(named) != Some(state.key)
        {
            let error = WireError::invalid("`session_id` must be absent or the id of this session");
            self.malformed(connection, session, Some(&envelope.id), &error);
            return;
        }
        let request = Request {
            connection,
            session,
            id: Arc::from(&*envelope.id),
            job_id: envelope.job_id.as_deref().map(str::to_owned),
            trace_id: envelope.trace_id.as_deref().map(str::to_owned),
        };
        let inbound = Inbound::of(&envelope.message_type);
        if !matches!(inbound, Inbound::Ping | Inbound::Pong)
            && let Some(session) = self.sessions.get_mut(session)
        {
            session.active_at = self.now.mono;
        }
        match inbound {
            Inbound::Ping => self.receive_ping(&request, &envelope),
            Inbound::Pong => {}
            Inbound::Ack => self.receive_ack(&request, &envelope),
            Inbound::Close => self.receive_close(&request, &envelope),
            Inbound::Bye => self.receive_bye(connection),
            Inbound::ListJobs => self.receive_list_jobs(&request, &envelope),
            Inbound::Submit => self.receive_submit(&request, &envelope),
            Inbound::Cancel => self.receive_cancel(&request, &envelope),
            Inbound::Subscribe => self.receive_subscribe(&request, &envelope),
            Inbound::Unsubscribe => self.receive_unsubscribe(&request, &envelope),
            Inbound::Hello => {
                let error = WireError::invalid("this connection has a session already");
                self.refuse(&request, Rejected::Frame, error);
            }
            Inbound::Unknown if envelope.optional => {}
            Inbound::Unknown => {
                let details = Details::Type(envelope.message_type.into_owned());
                let error = WireError::invalid("unknown message type").with(details);
                self.refuse(&request, Rejected::Frame, error);
            }
        }
    }

    /// Answers a frame that cannot be read; too many of them end the connection (D-85).
    pub(super) fn malformed(
        &mut self,
        connection: ConnectionId,
        session: SessionHandle,
        request_id: Option<&str>,
        error: &WireError,
    ) {
        self.event(RuntimeEvent::Malformed { connection });
        let Some(state) = self.connections.get_mut(connection) else { return };
        if state.malformed.count(MINUTE, self.now.mono) > self.config.limits.malformed_per_minute {
            let error = WireError::invalid("too many malformed frames");
            self.fail(connection, &error, CloseCode::Policy);
            return;
        }
        self.refuse_frame(connection, session, request_id, error.clone());
    }

    fn receive_ping(&mut self, request: &Request, envelope: &Envelope<'_>) {
        let ping = match Ping::read(&envelope.payload) {
            Ok(ping) => ping,
            Err(fault) => return self.refuse(request, Rejected::Frame, fault.into()),
        };
        let Some(state) = self.connections.get_mut(request.connection) else { return };
        if state.pings.count(SECOND, self.now.mono) > self.config.limits.pings_per_second {
            return;
        }
        let pong = Pong { ping_nonce: Some(ping.nonce), received_at: Some(self.now.unix) };
        let payload = object_text(|out| pong.write(out));
        self.send_to_session(request.connection, request.session, "session.pong", &payload);
    }

    fn receive_ack(&mut self, request: &Request, envelope: &Envelope<'_>) {
        let Some(session) = self.sessions.get_mut(request.session) else { return };
        if !session.features.has(Feature::Ack) {
            return;
        }
        let seq = match Ack::read(&envelope.payload) {
            Ok(ack) => ack.last_processed_seq,
            Err(fault) => return self.refuse(request, Rejected::Frame, fault.into()),
        };
        if seq > session.sent {
            let error = WireError::invalid("ack above the highest event number");
            return self.refuse(request, Rejected::Frame, error);
        }
        if seq <= session.acked {
            return;
        }
        session.acked = seq;
        if session.last() - seq < self.config.limits.lag / 2 {
            session.lag_told = false;
        }
        let freed = session.release(seq);
        session.unconfirmed.retain(|(_, first)| first.is_none_or(|first| first > seq));
        let key = session.key;
        if freed {
            self.command(Command::Trim(Trim::Session { session: key, to: seq }));
        }
        self.weigh(request.session);
        self.read_on(request.session);
    }

    fn receive_close(&mut self, request: &Request, envelope: &Envelope<'_>) {
        let reason = Goodbye::read(&envelope.payload).map(|goodbye| goodbye.reason).unwrap_or_default();
        let closed = object_text(|out| Goodbye { reason }.write(out));
        // Nothing else may follow the goodbye, and what was queued before it may leave.
        self.send_to_session(request.connection, request.session, "session.closed", &closed);
        self.close(request.connection, CloseCode::Normal);
    }

    fn receive_bye(&mut self, connection: ConnectionId) {
        if let Some(state) = self.connections.get_mut(connection) {
            state.control.clear();
        }
        self.close(connection, CloseCode::Normal);
    }

    pub(super) fn say_bye(&mut self, connection: ConnectionId) {
        let Some(state) = self.connections.get(connection) else { return };
        if let Phase::Active(Active { session, .. }) = state.phase {
            let goodbye = Goodbye { reason: Some("runtime_shutdown".to_owned()) };
            let payload = object_text(|out| goodbye.write(out));
            self.send_to_session(connection, session, "session.bye", &payload);
        }
        self.close(connection, CloseCode::GoingAway);
    }

    /// The job a request names in its envelope, its payload, or both (D-50).
    pub(super) fn named_job(
        &self,
        request: &Request,
        in_payload: Option<&crate::id::JobId>,
    ) -> Result<(Option<JobKey>, String), WireError> {
        let text = match (&request.job_id, in_payload) {
            (Some(outer), Some(inner)) if outer != inner.as_str() => {
                return Err(WireError::invalid(
                    "`job_id` of the envelope and of the payload must be the same",
                ));
            }
            (Some(outer), _) => outer.clone(),
            (None, Some(inner)) => inner.as_str().to_owned(),
            (None, None) => {
                return Err(WireError::invalid(
                    "`job_id` is missing: name the job in the envelope or the payload",
                ));
            }
        };
        Ok((JobKey::parse(&text), text))
    }

    pub(super) fn beat(&mut self, connection: ConnectionId) {
        let now = self.now.mono;
        let Some(state) = self.connections.get_mut(connection) else { return };
        let Phase::Active(Active { session, heartbeat: Some(heartbeat), .. }) = &mut state.phase else {
            return;
        };
        let session = *session;
        match heartbeat.check(now) {
            Beat::Idle => {}
            Beat::Ping => {
                // Counted as spoken although a stalled socket may not take it, so that one ping waits, not many.
                heartbeat.spoke(now);
                let nonce = self.ids.text("p_", self.now.unix, &mut self.entropy);
                let ping = Ping { nonce, sent_at: Some(self.now.unix) };
                let payload = object_text(|out| ping.write(out));
                self.send_to_session(connection, session, "session.ping", &payload);
            }
            Beat::Lost => {
                let seconds = self.config.heartbeat_interval.as_secs() * 2;
                let error = WireError::new(
                    ErrorCode::HeartbeatLost,
                    alloc::format!("nothing received for {seconds} s"),
                );
                return self.fail(connection, &error, CloseCode::Policy);
            }
        }
        if let Some(state) = self.connections.get(connection)
            && let Phase::Active(Active { heartbeat: Some(heartbeat), .. }) = &state.phase
        {
            self.timers.arm(heartbeat.deadline(), Timer::Heartbeat(connection));
        }
    }

    /// Ends a connection that has taken nothing for a minute although something waits (D-10).
    pub(super) fn check_stall(&mut self, connection: ConnectionId) {
        let Some(state) = self.connections.get_mut(connection) else { return };
        state.stall_armed = false;
        if !state.announced || matches!(state.phase, Phase::Closing) {
            return;
        }
        let due = state.moved.after(self.config.limits.write_stall);
        if due > self.now.mono {
            state.stall_armed = true;
            self.timers.arm(due, Timer::WriteStall(connection));
        } else {
            let error = WireError::limit(Limit::Unsent, "the connection did not keep up");
            self.fail(connection, &error, CloseCode::Policy);
        }
    }
}
