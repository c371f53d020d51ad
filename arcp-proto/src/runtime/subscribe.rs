//! `job.subscribe` and `job.unsubscribe`, and who follows what (protocol §3.6).

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::error::{Limit, WireError};
use crate::feature::Feature;
use crate::id::JobKey;
use crate::runtime::event::Access;
use crate::runtime::inbound::Request;
use crate::runtime::job::LiveFollower;
use crate::runtime::log::Position;
use crate::runtime::requests::{Reply, SubscribedReply};
use crate::runtime::session::{Follow, Following};
use crate::runtime::store::{Place, Record};
use crate::runtime::{Effect, JobHandle, RuntimeEndpoint, SessionHandle};
use crate::wire::Envelope;
use crate::wire::delivery::Line;
use crate::wire::job::{Subscribe, Unsubscribe};
use crate::wire::peer::Rejected;

impl RuntimeEndpoint {
    pub(super) fn receive_subscribe(&mut self, request: &Request, envelope: &Envelope<'_>) {
        if !self.sessions.get(request.session).is_some_and(|session| session.features.has(Feature::Subscribe))
        {
            return self.refuse_feature(request, Rejected::Subscribe, Feature::Subscribe);
        }
        if self.is_repeated(request, "job.subscribe", None) {
            return;
        }
        let subscribe = match Subscribe::read(&envelope.payload) {
            Ok(subscribe) => subscribe,
            Err(fault) => {
                return self.refuse_job(
                    request,
                    Rejected::Subscribe,
                    request.job_id.as_deref(),
                    fault.into(),
                );
            }
        };
        let (key, text) = match self.named_job(request, subscribe.job_id.as_ref()) {
            Ok(named) => named,
            Err(error) => {
                return self.refuse_job(request, Rejected::Subscribe, request.job_id.as_deref(), error);
            }
        };
        let handle = match self.job_for(request, key, Access::Subscribe) {
            Ok(handle) => handle,
            Err(error) => return self.refuse_job(request, Rejected::Subscribe, Some(&text), error),
        };
        if let Err(error) = self.has_room_for_follower(request, handle) {
            return self.refuse_job(request, Rejected::Subscribe, Some(&text), error);
        }
        self.subscribe(request, handle, &subscribe);
    }

    fn subscribe(&mut self, request: &Request, handle: JobHandle, subscribe: &Subscribe) {
        let Some(job) = self.jobs.get(handle) else { return };
        let (key, last) = (job.key, job.last_pos());
        let is_own = self.is_own(request.session, handle);
        // Another principal's numbering is its own business (D-65).
        let number = if is_own { job.last_origin } else { last };
        let (floor, ended, accepted) = (job.retention.floor(), job.state.is_final(), job.accepted);
        let seam = SubscribedReply {
            job: handle,
            status: job.state.as_str(),
            budget: self.budget_json(handle),
            subscribed_from: number,
            replayed: false,
            history_from: subscribe.history.then_some(number),
        };
        let Some(session) = self.sessions.get_mut(request.session) else { return };
        if session.follows.contains_key(&handle) {
            let position = self.log.position();
            return self.answer(request, None, position.max(accepted), Reply::Subscribed(Box::new(seam)));
        }
        let from = match (subscribe.history, subscribe.from_pos, subscribe.from_event_seq) {
            (false, ..) => None,
            (true, Some(pos), _) => (pos < last).then_some(Place::Position(pos.max(floor))),
            (true, None, Some(seq)) if is_own => (seq < number).then_some(Place::Origin(seq)),
            (true, None, Some(pos)) => (pos < last).then_some(Place::Position(pos.max(floor))),
            (true, None, None) => (floor < last).then_some(Place::Position(floor)),
        };
        match from {
            Some(from) => {
                let request_id = Arc::clone(&request.id);
                let opening = Following::Opening { request_id, from, seam: Box::new(seam), seam_pos: last };
                self.follow_from(handle, request.session, opening, true);
                self.read_on(request.session);
            }
            None if ended => {
                let position = self.log.position();
                self.answer(request, None, position, Reply::Subscribed(Box::new(seam)));
            }
            None => {
                let position = self.begin_live(handle, request.session, key, last);
                self.answer(request, None, position, Reply::Subscribed(Box::new(seam)));
            }
        }
    }

    /// Follows a job from its next event on.
    fn begin_live(&mut self, handle: JobHandle, session: SessionHandle, key: JobKey, after: u64) -> Position {
        self.follow_from(handle, session, Following::Live, true);
        let session_key = self.sessions.get(session).map(|session| session.key);
        match session_key {
            Some(session) => self.log.append(Record::Follow { session, job: key, after }, 64),
            None => self.log.position(),
        }
    }

    /// Answers a subscribe whose first page of history has come; the pages are numbered behind the answer.
    pub(super) fn history_opens(
        &mut self,
        session: SessionHandle,
        handle: JobHandle,
        request_id: Arc<str>,
        seam: Box<SubscribedReply>,
        after: u64,
    ) {
        let Some(key) = self.jobs.get(handle).map(|job| job.key) else { return };
        let Some(state) = self.sessions.get_mut(session) else { return };
        let (session_key, Some(connection)) = (state.key, state.attached) else { return };
        if let Some(follow) = state.follows.get_mut(&handle) {
            follow.state = Following::CatchingUp { through: after };
        }
        let position = self.log.append(Record::Follow { session: session_key, job: key, after }, 64);
        let request = Request { connection, session, id: request_id, job_id: None, trace_id: None };
        self.answer(&request, None, position, Reply::Subscribed(seam));
        self.run_after(position, Effect::Read(session));
    }

    pub(super) fn receive_unsubscribe(&mut self, request: &Request, envelope: &Envelope<'_>) {
        if !self.sessions.get(request.session).is_some_and(|session| session.features.has(Feature::Subscribe))
        {
            return self.refuse_feature(request, Rejected::Frame, Feature::Subscribe);
        }
        let named = Unsubscribe::read(&envelope.payload)
            .map_err(WireError::from)
            .and_then(|unsubscribe| self.named_job(request, unsubscribe.job_id.as_ref()));
        let key = match named {
            Ok((key, _)) => key,
            Err(error) => return self.refuse(request, Rejected::Frame, error),
        };
        let Some(handle) = key.and_then(|key| self.job_keys.get(&key).copied()) else { return };
        let Some(session) = self.sessions.get(request.session) else { return };
        let Some(follow) = session.follows.get(&handle).filter(|follow| follow.subscription) else { return };
        if let Some(key) = key {
            let session_key = session.key;
            if let Following::Opening { request_id, seam, .. } = &follow.state {
                // The subscribe is still owed its answer.
                let subscribe = Request { id: Arc::clone(request_id), ..request.clone() };
                let seam = seam.clone();
                self.answer(&subscribe, None, self.log.position(), Reply::Subscribed(seam));
            }
            self.end_follow(request.session, handle);
            self.log.append(Record::Unfollow { session: session_key, job: key }, 64);
        }
    }

    fn has_room_for_follower(&mut self, request: &Request, handle: JobHandle) -> Result<(), WireError> {
        if self.log.is_full() {
            return Err(WireError::limit(Limit::Storage, "the storage is full"));
        }
        let Some(session) = self.sessions.get(request.session) else { return Ok(()) };
        if session.follows.contains_key(&handle) {
            return Ok(());
        }
        let principal = session.principal;
        if self.principals.at(principal).subscriptions >= self.config.limits.subscriptions {
            return Err(WireError::limit(Limit::Subscriptions, "too many subscriptions of one principal"));
        }
        // The owner follows too and does not count as a subscriber.
        let subscribers = self.jobs.get(handle).map_or(0, |job| {
            let live = job.live.iter().map(|live| live.session);
            let all = live.chain(job.catching.iter().copied());
            all.filter(|session| job.owner != Some(*session)).count()
        });
        if subscribers >= self.config.limits.subscribers {
            return Err(WireError::limit(Limit::Subscribers, "too many subscribers of one job"));
        }
        if self.held_bytes(principal) > self.config.limits.buffered_bytes {
            return Err(WireError::limit(Limit::Buffered, "too much waits to be acknowledged"));
        }
        Ok(())
    }

    /// Enters a follower on both sides.
    pub(super) fn follow_from(
        &mut self,
        handle: JobHandle,
        session: SessionHandle,
        state: Following,
        subscription: bool,
    ) {
        let Some(job) = self.jobs.get_mut(handle) else { return };
        let Some(follower) = self.sessions.get_mut(session) else { return };
        let line = follower.line(job.key, job.trace_id);
        let is_live = state == Following::Live;
        follower.follows.insert(handle, Follow { line: Arc::clone(&line), state, subscription });
        let principal = follower.principal;
        if is_live {
            self.follow_live(handle, session, line);
        } else {
            follower.catching.push_back(handle);
            job.catching.push(session);
            self.catching_sessions.insert(session);
        }
        if subscription {
            self.principals.at(principal).subscriptions += 1;
        }
    }

    /// Numbers the job's next events in this session.
    pub(super) fn follow_live(&mut self, handle: JobHandle, session: SessionHandle, line: Arc<Line>) {
        if let Some(job) = self.jobs.get_mut(handle) {
            job.live.push(LiveFollower { session, line, numbered: false });
        }
    }

    /// A follower has numbered everything there is: from here on it gets each event as it happens.
    pub(super) fn goes_live(&mut self, handle: JobHandle, session: SessionHandle) {
        let Some(follower) = self.sessions.get_mut(session) else { return };
        follower.catching.retain(|job| *job != handle);
        let Some(follow) = follower.follows.get_mut(&handle) else { return };
        follow.state = Following::Live;
        let line = Arc::clone(&follow.line);
        self.stops_catching(handle, session);
        self.follow_live(handle, session, line);
        self.hold(handle, super::job::Hold::History, false);
    }

    fn stops_catching(&mut self, handle: JobHandle, session: SessionHandle) {
        if let Some(job) = self.jobs.get_mut(handle) {
            job.catching.retain(|other| *other != session);
            if job.catching.is_empty() {
                job.tail.clear();
            }
        }
        if self.sessions.get(session).is_none_or(|session| session.catching.is_empty()) {
            self.catching_sessions.remove(&session);
        }
    }

    /// Takes a follower out on both sides.
    pub(super) fn end_follow(&mut self, session: SessionHandle, handle: JobHandle) {
        let Some(follower) = self.sessions.get_mut(session) else { return };
        let Some(follow) = follower.follows.remove(&handle) else { return };
        follower.line_ended(follow.line.job());
        follower.catching.retain(|job| *job != handle);
        let principal = follower.principal;
        if follow.subscription {
            let principal = self.principals.at(principal);
            principal.subscriptions = principal.subscriptions.saturating_sub(1);
        }
        if let Some(job) = self.jobs.get_mut(handle) {
            job.live.retain(|live| live.session != session);
        }
        self.stops_catching(handle, session);
    }

    /// A follower became the owner; it no longer counts as a subscriber.
    pub(super) fn becomes_own(&mut self, handle: JobHandle, session: SessionHandle) {
        let Some(follower) = self.sessions.get_mut(session) else { return };
        let principal = follower.principal;
        if let Some(follow) = follower.follows.get_mut(&handle)
            && core::mem::replace(&mut follow.subscription, false)
        {
            let principal = self.principals.at(principal);
            principal.subscriptions = principal.subscriptions.saturating_sub(1);
        }
    }
}
