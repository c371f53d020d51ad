//! Resume, takeover, detachment and death of sessions (protocol §2.4, §2.6).

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::close::CloseCode;
use crate::error::{Details, ErrorCode, Limit, WireError};
use crate::id::SessionKey;
use crate::runtime::connection::{Greeting, Phase};
use crate::runtime::principal::PrincipalHandle;
use crate::runtime::requests::Reply;
use crate::runtime::session::{Following, Session};
use crate::runtime::store::{Command, Record, Trim};
use crate::runtime::{ConnectionId, JobHandle, RuntimeEndpoint, RuntimeEvent, SessionHandle, Timer};
use crate::secret::Secret;
use crate::wire::session::ResumeRequest;

impl RuntimeEndpoint {
    /// Steps 2 to 7 of protocol §2.4; the bearer is proven.
    pub(super) fn resume(
        &mut self,
        connection: ConnectionId,
        mut greeting: Greeting,
        principal: PrincipalHandle,
    ) {
        let Some(request) = greeting.hello.resume.take() else { return };
        let request_id = Arc::clone(&greeting.request_id);
        let offered = greeting.hello.features;
        match self.judge_resume(&request, offered, principal) {
            Ok((session, last)) => self.take_over(connection, session, &request, last, request_id),
            Err(error) => {
                if error.code == ErrorCode::Unauthenticated {
                    self.token_failed(connection, Some(principal));
                }
                self.restore_greeting(connection, greeting);
                self.refuse_hello(connection, &error);
            }
        }
    }

    fn judge_resume(
        &self,
        request: &ResumeRequest,
        offered: Option<crate::feature::Features>,
        principal: PrincipalHandle,
    ) -> Result<(SessionHandle, u64), WireError> {
        // One answer for an unknown token, another session and another principal: it must not tell them apart (D-7).
        let refused = || {
            WireError::new(ErrorCode::Unauthenticated, "the session cannot be resumed")
                .with(Details::Reason("resume".into()))
        };
        let hash = request.token.hash();
        let handle = *self.tokens.get(&hash).ok_or_else(refused)?;
        let session = self.sessions.get(handle).ok_or_else(refused)?;
        let is_current = session.current.matches(&hash);
        let is_previous =
            !session.confirmed && session.previous.is_some_and(|previous| previous.matches(&hash));
        let named = request.session_id.as_deref();
        let names_it = named.is_none_or(|named| SessionKey::parse(named) == Some(session.key));
        if !(is_current || is_previous) || !names_it || session.principal != principal {
            return Err(refused());
        }
        if session.dead_since.is_some() {
            return Err(WireError::new(ErrorCode::ResumeWindowExpired, "the session is no longer kept"));
        }
        if !offered.unwrap_or(session.features).intersection(self.config.features).contains(session.features)
        {
            return Err(WireError::invalid("a resume must offer every feature the session negotiated"));
        }
        let last = request.last_event_seq.unwrap_or(session.acked);
        if last > session.last() {
            return Err(WireError::invalid("`last_event_seq` is above the highest event number"));
        }
        if last < session.retention.floor() {
            let message = alloc::format!("the events after {last} are no longer kept");
            return Err(WireError::new(ErrorCode::ResumeWindowExpired, message));
        }
        Ok((handle, last))
    }

    fn take_over(
        &mut self,
        connection: ConnectionId,
        handle: SessionHandle,
        request: &ResumeRequest,
        last: u64,
        request_id: Arc<str>,
    ) {
        if let Some(older) = self.sessions.get(handle).and_then(|session| session.attached) {
            let error = WireError::new(ErrorCode::Unauthenticated, "another connection resumed this session")
                .with(Details::Reason("taken_over".into()));
            if let Some(state) = self.connections.get_mut(older) {
                // Whatever waits for the old connection belongs to the new one or to nobody.
                state.control.clear();
            }
            self.fail(older, &error, CloseCode::Policy);
        }
        let token = Secret::resume_token(&mut self.entropy);
        let Some(session) = self.sessions.get_mut(handle) else { return };
        let presented = request.token.hash();
        if session.current.matches(&presented) {
            if let Some(older) = session.previous.take() {
                self.tokens.remove(&older);
            }
        } else {
            self.tokens.remove(&session.current);
        }
        session.previous = Some(presented);
        session.current = token.hash();
        session.confirmed = false;
        session.epoch += 1;
        session.reading = None;
        session.rewind(last);
        session.unconfirmed.retain(|(_, first)| first.is_none_or(|first| first > last));
        self.tokens.insert(session.current, handle);
        self.commit_session(connection, handle, token, request_id, true);
    }

    /// The connection can carry nothing more; its session, if it had one, waits for a resume.
    pub(super) fn detach_connection(&mut self, connection: ConnectionId) {
        let Some(state) = self.connections.get_mut(connection) else { return };
        if state.is_before_welcome() {
            self.before_welcome = self.before_welcome.saturating_sub(1);
        }
        let session = state.session();
        if let Phase::Authenticating(greeting) = &state.phase {
            self.questions.remove(&greeting.id);
        }
        state.phase = Phase::Closing;
        let Some(handle) = session else { return };
        let Some(session) = self.sessions.get_mut(handle) else { return };
        if session.attached != Some(connection) {
            return;
        }
        session.attached = None;
        session.detached_at = self.now.mono;
        let key = session.key;
        self.timers.arm(self.now.mono.after(self.config.resume_window), Timer::ResumeWindow(handle));
        self.drop_unanswered(handle);
        self.event(RuntimeEvent::SessionDetached { session: key });
        self.weigh(handle);
    }

    /// Subscribes whose history has not been opened die with their connection.
    fn drop_unanswered(&mut self, handle: SessionHandle) {
        let Some(session) = self.sessions.get_mut(handle) else { return };
        let opening: Vec<_> = session
            .follows
            .iter()
            .filter_map(|(job, follow)| match &follow.state {
                Following::Opening { request_id, .. } => Some((*job, Arc::clone(request_id))),
                Following::CatchingUp { .. } | Following::Live => None,
            })
            .collect();
        for (job, request_id) in opening {
            if let Some(session) = self.sessions.get_mut(handle) {
                session.requests.forget(&request_id);
            }
            self.end_follow(handle, job);
        }
    }

    pub(super) fn check_resume_window(&mut self, handle: SessionHandle) {
        let Some(session) = self.sessions.get(handle) else { return };
        if session.attached.is_some() || session.dead_since.is_some() {
            return;
        }
        let due = session.detached_at.after(self.config.resume_window);
        if due > self.now.mono {
            self.timers.arm(due, Timer::ResumeWindow(handle));
        } else {
            self.end_session(handle);
        }
    }

    /// The session dies: nothing of its stream is kept, its jobs go on without an owner. Its tokens are remembered for
    /// an honest answer (D-68).
    pub(super) fn end_session(&mut self, handle: SessionHandle) {
        let Some(session) = self.sessions.get_mut(handle) else { return };
        if session.dead_since.is_some() {
            return;
        }
        session.dead_since = Some(self.now.unix);
        let (key, principal) = (session.key, session.principal);
        let record = session.record();
        let connection = session.attached;
        for job in session.follows.keys().copied().collect::<Vec<_>>() {
            self.end_follow(handle, job);
        }
        if let Some(session) = self.sessions.get_mut(handle) {
            for job in core::mem::take(&mut session.owned) {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.owner = None;
                }
                self.hold(job, crate::runtime::job::Hold::Owner, false);
                self.hold(job, crate::runtime::job::Hold::History, false);
            }
        }
        if let Some(session) = self.sessions.get_mut(handle) {
            session.forget_stream();
        }
        self.log.append(Record::Session(record), 256);
        if let Some(connection) = connection {
            self.close(connection, CloseCode::Policy);
        }
        self.event(RuntimeEvent::SessionDead { session: key });
        self.timers.arm(self.now.mono.after(self.config.retention), Timer::Tombstone(handle));
        let most = self.config.limits.tombstones;
        let owner = self.principals.at(principal);
        owner.sessions.retain(|session| *session != handle);
        owner.tombstones.push_back(handle);
        let forgotten = if owner.tombstones.len() > most { owner.tombstones.pop_front() } else { None };
        if let Some(forgotten) = forgotten {
            self.forget_session(forgotten);
        }
    }

    /// Ends a session that still has a connection: says which limit it broke, then lets it die.
    pub(super) fn kill_session(&mut self, handle: SessionHandle, limit: Limit, message: &'static str) {
        if let Some(connection) = self.sessions.get(handle).and_then(|session| session.attached) {
            self.fail(connection, &WireError::limit(limit, message), CloseCode::Policy);
        }
        self.end_session(handle);
    }

    pub(super) fn forget_session(&mut self, handle: SessionHandle) {
        let Some(session) = self.sessions.get(handle).filter(|session| session.dead_since.is_some()) else {
            return;
        };
        let (key, principal) = (session.key, session.principal);
        let tokens = [Some(session.current), session.previous];
        for token in tokens.into_iter().flatten() {
            self.tokens.remove(&token);
        }
        self.session_keys.remove(&key);
        self.sessions.remove(handle);
        self.principals.at(principal).tombstones.retain(|session| *session != handle);
        self.forget(Trim::WholeSession(key));
        self.principals.leave(principal, &self.config.limits, self.now.mono);
    }

    /// Whether the principal may have one more session, if need be by letting go of one that owns nothing unfinished: a
    /// detached one, or else a connected one that has been idle for long.
    pub(super) fn has_room_for_session(&mut self, principal: PrincipalHandle) -> bool {
        let sessions = self.principals.at(principal).sessions.clone();
        if sessions.len() < self.config.limits.sessions {
            return true;
        }
        let detached = |session: &Session| session.attached.is_none();
        if let Some(detached) =
            sessions.iter().find(|handle| self.has_no_live_job(**handle).is_some_and(detached))
        {
            self.end_session(*detached);
            return true;
        }
        let idle = sessions.into_iter().filter_map(|handle| {
            let session = self.has_no_live_job(handle)?;
            session.follows.is_empty().then_some((session.active_at, handle))
        });
        let Some((_, handle)) = idle
            .min()
            .filter(|(active_at, _)| active_at.after(self.config.limits.idle_session) <= self.now.mono)
        else {
            return false;
        };
        if let Some(connection) = self.sessions.get(handle).and_then(|session| session.attached) {
            let error = WireError::limit(Limit::Sessions, "the session was idle and gave way to another one");
            self.fail(connection, &error, CloseCode::Policy);
        }
        self.end_session(handle);
        true
    }

    fn has_no_live_job(&self, handle: SessionHandle) -> Option<&Session> {
        let is_live = |job: &JobHandle| self.jobs.get(*job).is_some_and(|job| !job.state.is_final());
        self.sessions.get(handle).filter(|session| !session.owned.iter().any(is_live))
    }

    pub(super) fn arm_letting_go(&mut self, session: SessionHandle) {
        self.timers.arm(self.now.mono.after(self.config.resume_window / 4), Timer::Unacknowledged(session));
    }

    /// Without acknowledgements, what was sent longer ago than the resume window goes.
    pub(super) fn let_go_of_sent(&mut self, handle: SessionHandle) {
        let window = self.config.resume_window;
        let Some(session) = self.sessions.get_mut(handle).filter(|session| session.dead_since.is_none())
        else {
            return;
        };
        let mut let_go = None;
        while let Some((_, seq)) =
            session.sent_marks.pop_front_if(|(at, _)| self.now.mono.since(*at) >= window)
        {
            let_go = Some(seq);
        }
        let sent = session.window.cursor() - 1;
        session.sent_marks.push_back((self.now.mono, sent));
        let key = session.key;
        // A resume may have set the cursor back: what this connection is still to be sent stays.
        let let_go = let_go.map(|to| if session.attached.is_some() { to.min(sent) } else { to });
        if let Some(to) = let_go
            && session.release(to)
        {
            self.command(Command::Trim(Trim::Session { session: key, to }));
            self.weigh(handle);
        }
        self.arm_letting_go(handle);
    }

    /// A request that came before. Gives the same answer again and says so, or says that it is new (D-49).
    pub(super) fn is_repeated(
        &mut self,
        request: &super::inbound::Request,
        message_type: &'static str,
        slot: Option<u64>,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(request.session) else { return true };
        let Some(seen) = session.requests.find(&request.id).cloned() else {
            session.requests.remember(&request.id, message_type, self.config.limits.remembered_requests);
            return false;
        };
        let position = self.log.position();
        let (position, reply) = if seen.message_type == message_type {
            match seen.reply {
                Some(answer) => answer,
                None => {
                    if let Some(slot) = slot {
                        self.await_outcome(request, slot);
                    }
                    return true;
                }
            }
        } else {
            (position, Self::reused_id(request, message_type))
        };
        let is_refusal = matches!(reply, Reply::Refused(_));
        let pending = super::reply::Pending {
            connection: request.connection,
            session: request.session,
            slot,
            request_id: Arc::clone(&request.id),
            reply,
        };
        if is_refusal {
            self.deliver_reply(pending);
        } else {
            self.run_after(position, super::Effect::Reply(alloc::boxed::Box::new(pending)));
        }
        true
    }

    /// The session's id on the wire.
    #[must_use]
    pub fn session_id(&self, session: SessionHandle) -> Option<String> {
        self.sessions.get(session).map(|session| session.key.to_string())
    }
}
