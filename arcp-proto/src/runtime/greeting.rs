//! From the first frame to the welcome (protocol §2.1, §2.2).

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::close::CloseCode;
use crate::error::{Details, ErrorCode, Limit, WireError};
use crate::feature::{Feature, Features};
use crate::heartbeat::Heartbeat;
use crate::id::{SessionId, SessionKey};
use crate::replay::Retention;
use crate::runtime::connection::{Active, Greeting, Phase};
use crate::runtime::output::{Credentials, Output, Verdict};
use crate::runtime::principal::PrincipalHandle;
use crate::runtime::session::Session;
use crate::runtime::store::{Record, SessionRecord};
use crate::runtime::{AuthId, ConnectionId, Effect, RuntimeEndpoint, RuntimeEvent, SessionHandle, Timer};
use crate::secret::Secret;
use crate::wire::peer::{PeerProfile, Rejected, Rejection, TransportKind};
use crate::wire::session::{Auth, Hello, Welcome};
use crate::wire::{DecodeError, Envelope, ScanLimits, object_text};

/// A session that is welcome once its record is stored.
#[derive(Debug)]
pub(super) struct Welcoming {
    pub(super) connection: ConnectionId,
    pub(super) session: SessionHandle,
    pub(super) epoch: u64,
    pub(super) token: Secret,
}

impl RuntimeEndpoint {
    pub(super) fn receive_hello(&mut self, connection: ConnectionId, frame: &Bytes) {
        let Some(state) = self.connections.get_mut(connection) else { return };
        if let Some(source) = state.source
            && !self.sources.admit_hello(source, &self.config.limits, self.now.mono)
        {
            let error = WireError::limit(Limit::Hellos, "too many hellos from one address");
            return self.refuse_hello(connection, &error);
        }
        state.bytes_before_welcome = state.bytes_before_welcome.saturating_add(frame.len());
        let most = self.config.limits.bytes_before_welcome;
        if state.bytes_before_welcome > most {
            let error = WireError::invalid(alloc::format!("more than {most} bytes before the welcome"));
            return self.fail(connection, &error, CloseCode::Policy);
        }
        let envelope = match Envelope::decode(frame, &ScanLimits::RUNTIME) {
            Ok(envelope) => envelope,
            Err(DecodeError { reason, .. }) => {
                let error = WireError::invalid(alloc::format!("{reason}"));
                return self.fail(connection, &error, CloseCode::Policy);
            }
        };
        let message_type = &*envelope.message_type;
        if !matches!(message_type, "session.hello" | "session.resume") {
            let mut error = WireError::invalid("expected session.hello");
            if message_type == "session.open" {
                error = error.with(Details::Dialect("rfc-0001".into()));
            }
            return self.fail(connection, &error, CloseCode::Policy);
        }
        let profile = PeerProfile::of_hello(&envelope);
        if profile.rejection(Rejected::Hello) == Rejection::BaseAndEcho
            && let Some(state) = self.connections.get_mut(connection)
        {
            state.echoes_to = Some(Arc::from(&*envelope.id));
        }
        let hello = match Hello::read(&envelope.payload, message_type) {
            Ok(hello) => hello,
            Err(fault) => return self.fail(connection, &fault.into(), CloseCode::Policy),
        };
        let credentials = match &hello.auth {
            Auth::Bearer(token) => Credentials::Bearer(token.clone()),
            Auth::Anonymous => Credentials::Anonymous,
            Auth::Unusable(reason) => {
                let error = WireError::new(ErrorCode::Unauthenticated, *reason);
                return self.refuse_hello(connection, &error);
            }
        };
        let id = AuthId(self.question());
        let greeting = Greeting {
            id,
            request_id: Arc::from(&*envelope.id),
            session_id: envelope.session_id.as_deref().map(str::to_owned),
            profile,
            hello,
            held: None,
        };
        if let Some(state) = self.connections.get_mut(connection) {
            state.phase = Phase::Authenticating(Box::new(greeting));
        }
        self.questions.insert(id, connection);
        self.outputs.push_back(Output::Authenticate { id, credentials });
    }

    /// Carries a verdict out, at once or, where tokens are being guessed, a while later: good or bad alike, so that silence
    /// tells nothing.
    pub(super) fn judge(&mut self, connection: ConnectionId, verdict: Verdict) {
        if !self.is_doubted(connection, &verdict) {
            return self.decide(connection, verdict);
        }
        let at = self.now.mono.after(self.config.limits.failed_token_delay);
        if let Some(Phase::Authenticating(greeting)) =
            self.connections.get_mut(connection).map(|state| &mut state.phase)
        {
            greeting.held = Some(verdict);
            self.timers.arm(at, Timer::HeldVerdict(connection));
        }
    }

    pub(super) fn release_verdict(&mut self, connection: ConnectionId) {
        let Some(state) = self.connections.get_mut(connection) else { return };
        if let Phase::Authenticating(greeting) = &mut state.phase
            && let Some(verdict) = greeting.held.take()
        {
            self.decide(connection, verdict);
        }
    }

    fn is_doubted(&self, connection: ConnectionId, verdict: &Verdict) -> bool {
        let (limits, now) = (&self.config.limits, self.now.mono);
        let Some(state) = self.connections.get(connection) else { return false };
        let Phase::Authenticating(greeting) = &state.phase else { return false };
        let resumes_as = match verdict {
            Verdict::Accept { principal, .. } if greeting.hello.resume.is_some() => Some(principal),
            Verdict::Accept { .. } | Verdict::Refuse => None,
        };
        state.source.is_some_and(|source| self.sources.is_doubted(source, limits, now))
            || resumes_as.is_some_and(|principal| self.principals.is_doubted(principal, limits, now))
    }

    /// A bearer or resume token was wrong.
    pub(super) fn token_failed(&mut self, connection: ConnectionId, principal: Option<PrincipalHandle>) {
        if let Some(source) = self.connections.get(connection).and_then(|state| state.source) {
            self.sources.token_failed(source, &self.config.limits, self.now.mono);
        }
        if let Some(principal) = principal {
            self.principals.at(principal).failed.count(self.now.mono);
        }
    }

    fn decide(&mut self, connection: ConnectionId, verdict: Verdict) {
        let Verdict::Accept { principal, until } = verdict else {
            self.token_failed(connection, None);
            let error = WireError::new(ErrorCode::Unauthenticated, "the bearer token was not accepted");
            return self.refuse_hello(connection, &error);
        };
        if until.is_some_and(|until| until <= self.now.unix) {
            self.token_failed(connection, None);
            let error = WireError::new(ErrorCode::Unauthenticated, "the bearer token has expired");
            return self.refuse_hello(connection, &error);
        }
        let handle = self.principals.enter(&principal, &self.config.limits, self.now.mono);
        if !self.principals.at(handle).admit_hello(&self.config.limits, self.now.mono) {
            let error = WireError::limit(Limit::Hellos, "too many hellos of one principal");
            return self.refuse_hello(connection, &error);
        }
        let Some(state) = self.connections.get_mut(connection) else { return };
        state.credentials_end = until;
        let Phase::Authenticating(greeting) = core::mem::replace(&mut state.phase, Phase::AwaitHello) else {
            return;
        };
        if let Some(until) = until {
            let at = self.now.mono.after(until.since(self.now.unix));
            self.timers.arm(at, Timer::CredentialsEnd(connection));
        }
        match greeting.hello.resume {
            Some(_) => self.resume(connection, *greeting, handle),
            None => self.open_session(connection, *greeting, handle),
        }
    }

    fn open_session(&mut self, connection: ConnectionId, greeting: Greeting, principal: PrincipalHandle) {
        if !self.has_room_for_session(principal) {
            self.restore_greeting(connection, greeting);
            let error = WireError::limit(Limit::Sessions, "too many sessions of one principal");
            return self.refuse_hello(connection, &error);
        }
        let offered = greeting.hello.features.unwrap_or(Features::NONE);
        let transport = self
            .connections
            .get(connection)
            .map_or(TransportKind::WebSocket, |connection| connection.transport);
        let key = SessionKey::from_ulid(self.ids.session(self.now.unix, &mut self.entropy));
        let token = Secret::resume_token(&mut self.entropy);
        let record = SessionRecord {
            key,
            principal: Arc::clone(&self.principals.at(principal).name),
            features: offered.intersection(self.offered_on(connection)),
            profile: greeting.profile,
            transport,
            epoch: 1,
            current: token.hash(),
            confirmed: false,
            previous: None,
            dead_since: None,
        };
        let session =
            self.sessions.insert(Session::new(&record, principal, Retention::new(0), self.now.mono));
        self.session_keys.insert(key, session);
        self.tokens.insert(record.current, session);
        self.principals.at(principal).sessions.push(session);
        if !record.features.has(Feature::Ack) {
            self.arm_letting_go(session);
        }
        self.commit_session(connection, session, token, greeting.request_id, false);
    }

    /// Stores the session as it is and welcomes the connection once that is done.
    pub(super) fn commit_session(
        &mut self,
        connection: ConnectionId,
        session: SessionHandle,
        token: Secret,
        request_id: Arc<str>,
        resumed: bool,
    ) {
        let Some(state) = self.sessions.get_mut(session) else { return };
        state.attached = Some(connection);
        state.active_at = self.now.mono;
        let epoch = state.epoch;
        let record = state.record();
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.phase = Phase::Committing { session, request_id, resumed };
        }
        let position = self.log.append(Record::Session(record), 256);
        self.run_after(position, Effect::Welcome(Box::new(Welcoming { connection, session, epoch, token })));
    }

    pub(super) fn welcome(&mut self, welcoming: Welcoming) {
        let Welcoming { connection, session, epoch, token } = welcoming;
        let Some(state) = self.sessions.get(session).filter(|state| {
            state.epoch == epoch && state.attached == Some(connection) && state.dead_since.is_none()
        }) else {
            return;
        };
        let Some(greeted) = self.connections.get(connection) else { return };
        let Phase::Committing { request_id, resumed, .. } = &greeted.phase else { return };
        let (request_id, resumed, is_private) = (Arc::clone(request_id), *resumed, greeted.is_private);
        let (features, profile, key) = (state.features, state.profile, state.key);
        let beats = features.has(Feature::Heartbeat);
        let welcome = Welcome {
            runtime_name: Some(self.config.name.clone()),
            runtime_version: Some(self.config.version.clone()),
            session_id: SessionId::new(&key.to_string()),
            accepted_at: Some(self.now.unix),
            resume_token: Some(token),
            resume_window_sec: Some(self.config.resume_window.as_secs()),
            heartbeat_interval_sec: beats.then_some(self.config.heartbeat_interval.as_secs()),
            // What the session has negotiated stays; over this connection there are no values to be had (protocol §2.3).
            features: if is_private { features } else { features.without(Feature::ProvisionedCredentials) },
            agents: self
                .config
                .agents
                .iter()
                .filter(|(name, _)| self.config.visibility.agent(&state.principal_name, name))
                .map(|(name, versions)| (name.to_owned(), versions.clone()))
                .collect::<Vec<_>>(),
            request_id: Some(request_id.to_string()),
        };
        let principal = Arc::clone(&state.principal_name);
        let payload = object_text(|out| welcome.write(out));
        self.send_to_session(connection, session, "session.welcome", &payload);
        self.before_welcome = self.before_welcome.saturating_sub(1);
        let heartbeat = beats.then(|| Heartbeat::new(self.config.heartbeat_interval, self.now.mono));
        if let Some(heartbeat) = &heartbeat {
            self.timers.arm(heartbeat.deadline(), Timer::Heartbeat(connection));
        }
        let Some(state) = self.connections.get_mut(connection) else { return };
        state.echoes_to = None;
        state.phase = Phase::Active(Active { session, heartbeat, confirmed: false });
        if profile.needs_proof() && state.transport == TransportKind::WebSocket {
            self.outputs.push_back(Output::Probe(connection));
        }
        self.event(RuntimeEvent::SessionAttached { session: key, principal, resumed });
        self.resend_accepted(connection, session);
        self.weigh(session);
        self.read_on(session);
        if self.sessions.get(session).is_some_and(|session| session.window.can_pull()) {
            self.announce(connection);
        }
    }

    /// Any frame behind the welcome, or a proof, shows that the new token arrived: the old one is void from here on.
    pub(super) fn confirm_token(&mut self, connection: ConnectionId) {
        let Some(Phase::Active(active)) = self.connections.get_mut(connection).map(|state| &mut state.phase)
        else {
            return;
        };
        if active.confirmed {
            return;
        }
        active.confirmed = true;
        let Some(session) = self.sessions.get_mut(active.session) else { return };
        if session.confirmed {
            return;
        }
        session.confirmed = true;
        if let Some(previous) = session.previous.take() {
            self.tokens.remove(&previous);
        }
        let record = session.record();
        self.log.append(Record::Session(record), 256);
    }

    pub(super) fn refuse_hello(&mut self, connection: ConnectionId, error: &WireError) {
        self.event(RuntimeEvent::HelloRefused { code: error.code });
        let code = match error.code {
            ErrorCode::InternalError => CloseCode::TryAgainLater,
            _ => CloseCode::Policy,
        };
        self.fail(connection, error, code);
    }

    /// Puts a greeting back so that an error can echo what it named.
    pub(super) fn restore_greeting(&mut self, connection: ConnectionId, greeting: Greeting) {
        if let Some(state) = self.connections.get_mut(connection) {
            state.phase = Phase::Authenticating(Box::new(greeting));
        }
    }

    pub(super) fn hello_is_late(&mut self, connection: ConnectionId) {
        if self.connections.get(connection).is_some_and(|state| matches!(state.phase, Phase::AwaitHello)) {
            // Slowness is nothing a client would have to change, so the code says that trying again may help.
            let error = WireError::new(ErrorCode::InternalError, "no session.hello came in time");
            self.fail(connection, &error, CloseCode::Policy);
        }
    }

    pub(super) fn welcome_is_late(&mut self, connection: ConnectionId) {
        if self.connections.get(connection).is_some_and(|state| state.is_before_welcome()) {
            let error = WireError::new(ErrorCode::InternalError, "the hello could not be judged in time");
            self.refuse_hello(connection, &error);
        }
    }

    pub(super) fn check_credentials(&mut self, connection: ConnectionId) {
        let Some(until) = self.connections.get(connection).and_then(|state| state.credentials_end) else {
            return;
        };
        if until <= self.now.unix {
            let error = WireError::new(ErrorCode::Unauthenticated, "the bearer token has expired");
            self.fail(connection, &error, CloseCode::Policy);
        } else {
            let at = self.now.mono.after(until.since(self.now.unix));
            self.timers.arm(at, Timer::CredentialsEnd(connection));
        }
    }
}
