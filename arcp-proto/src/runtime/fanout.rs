//! From a job to its followers: an event gets its position, its numbers and its record (protocol §4.1).

use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::error::Limit;
use crate::runtime::job::{Job, Standing};
use crate::runtime::session::Strain;
use crate::runtime::store::{Command, EventRecord, Record, Trim};
use crate::runtime::{ConnectionId, JobHandle, RuntimeEndpoint, SessionHandle};
use crate::wire::RawJson;
use crate::wire::event::{Content, EventKind, LoggedEvent};
use crate::wire::object_text;

impl RuntimeEndpoint {
    /// Appends to a job's log and numbers the event for every live follower.
    pub(super) fn produce(&mut self, handle: JobHandle, content: Content) {
        let Self { jobs, sessions, log, config, now, .. } = self;
        let Some(job) = jobs.get_mut(handle) else { return };
        let limits = &config.limits;
        let pos = job.last_pos() + 1;
        let event = Arc::new(LoggedEvent { ts: now.unix, pos: Some(pos), content });
        let cost = event.cost();
        let mut deliveries = SmallVec::new();
        let mut owner_seq = None;
        let mut strained: SmallVec<[(SessionHandle, Strain); 2]> = SmallVec::new();
        for follower in &mut job.live {
            let Some(session) = sessions.get_mut(follower.session) else { continue };
            if !session.takes(&event.content) {
                continue;
            }
            if !session.has_numbers() {
                strained.push((follower.session, Strain::default()));
                continue;
            }
            let (seq, strain) = session.number(&follower.line, &event, cost, limits);
            log.numbered(follower.session, &mut session.mark, seq);
            deliveries.push((session.key, seq));
            if job.owner == Some(follower.session) {
                owner_seq = Some(seq);
            }
            if !follower.numbered {
                follower.numbered = true;
                session.first_number(handle, seq);
            }
            if strain.any() {
                strained.push((follower.session, strain));
            }
        }
        // Origin numbers of a job always rise, also while nobody owns it (D-103).
        let origin = owner_seq.map_or(job.last_origin + 1, |seq| seq.max(job.last_origin + 1));
        job.last_origin = origin;
        log.stands(handle, &mut job.mark, Standing { state: job.state, last_origin: origin, last_pos: pos });
        let is_end = matches!(event.content, Content::End(_));
        if is_end {
            // It outlives the history before it.
            job.retention.push_apart(pos, cost);
        } else {
            job.retention.push(pos, cost);
        }
        let catching = !job.catching.is_empty();
        if catching {
            job.tail.push(pos, &event);
        }
        let (key, principal) = (job.key, job.principal);
        let is_over = job.retention.is_over(&Job::retention_limit(limits));
        log.append(
            Record::Event(EventRecord { job: key, origin, event, cost, deliveries }),
            cost.total() + 128,
        );
        let holder = self.principals.at(principal);
        holder.buffered += cost.total();
        let too_much = holder.buffered > self.config.limits.buffered_bytes.max(holder.evict_at);
        for (session, strain) in strained {
            self.relieve(session, strain, handle, is_end);
        }
        if catching {
            self.hold_for_history(handle);
        }
        if is_over {
            self.evict_log(handle);
        }
        if too_much {
            self.evict_histories(principal);
        }
        self.hold_for_store();
    }

    /// Deals with what a new number means for its session.
    pub(super) fn relieve(&mut self, session: SessionHandle, strain: Strain, job: JobHandle, is_end: bool) {
        if !self.sessions.get(session).is_some_and(super::session::Session::has_numbers) {
            return self.kill_session(session, Limit::EventSeq, "the session's numbers are used up");
        }
        if strain.lags && !is_end {
            self.tell_lag(session, job);
        }
        if strain.over {
            self.evict_stream(session);
        }
        if strain.pressure {
            self.weigh(session);
        }
    }

    /// One back-pressure status on the job that crossed the threshold, for the lagging session only.
    fn tell_lag(&mut self, handle: SessionHandle, job: JobHandle) {
        let threshold = self.config.limits.lag;
        let Self { jobs, sessions, log, config, now, .. } = self;
        let (Some(job), Some(session)) = (jobs.get(job), sessions.get_mut(handle)) else { return };
        let lag = session.last() - session.acked;
        let body = object_text(|out| {
            out.str("phase", "back_pressure")
                .str("message", &alloc::format!("{lag} events unacknowledged"))
                .object("details", |details| {
                    details.u64("lag", lag).u64("threshold", threshold);
                });
        });
        let content = Content::Event {
            kind: EventKind::Status,
            body: RawJson::from_validated(body.into_bytes().into()),
        };
        let event = Arc::new(LoggedEvent { ts: now.unix, pos: None, content });
        let cost = event.cost();
        if !session.has_numbers() {
            return;
        }
        session.lag_told = true;
        let line = session.line(job.key, job.trace_id);
        let (seq, _) = session.number(&line, &event, cost, &config.limits);
        log.numbered(handle, &mut session.mark, seq);
        let record = Record::Notice { session: session.key, seq, job: job.key, event, cost };
        log.append(record, cost.total());
    }

    /// The limits of retention are passed: the floor rises over what is allowed to go.
    fn evict_stream(&mut self, handle: SessionHandle) {
        let Self { sessions, config, .. } = self;
        let Some(session) = sessions.get_mut(handle) else { return };
        if session.evict(&config.limits) {
            let (key, to) = (session.key, session.retention.floor());
            // Behind what was never sent no number can be presented any more.
            let lost = session.attached.is_none() && to > session.sent;
            self.command(Command::Trim(Trim::Session { session: key, to }));
            if lost {
                return self.end_session(handle);
            }
        }
        let Some(session) = self.sessions.get(handle) else { return };
        if session.attached.is_some() && session.is_hopeless(&self.config.limits) {
            self.fail_unsent(handle);
        }
    }

    fn fail_unsent(&mut self, handle: SessionHandle) {
        if let Some(connection) = self.sessions.get(handle).and_then(|session| session.attached) {
            let error = crate::error::WireError::limit(Limit::Unsent, "the connection did not keep up");
            self.fail(connection, &error, crate::close::CloseCode::Policy);
        }
    }

    /// A job's log is over its limit: its oldest events go, and with them the followers that still needed them.
    fn evict_log(&mut self, handle: JobHandle) {
        let Self { jobs, config, .. } = self;
        let Some(job) = jobs.get_mut(handle) else { return };
        let keep_end = u64::from(job.state.is_final());
        let before = job.retention.total().total();
        if !job.retention.evict(&Job::retention_limit(&config.limits), job.last_pos() - keep_end) {
            return;
        }
        self.log_evicted(handle, before);
    }

    /// Accounts for what left a job's log, tells the store, and ends the sessions that lost their place (D-101).
    pub(super) fn log_evicted(&mut self, handle: JobHandle, bytes_before: u64) {
        let Some(job) = self.jobs.get(handle) else { return };
        let (key, floor, principal) = (job.key, job.retention.floor(), job.principal);
        let freed = bytes_before.saturating_sub(job.retention.total().total());
        let lost: Vec<_> = job
            .catching
            .iter()
            .copied()
            .filter(|session| {
                self.sessions.get(*session).and_then(|session| session.follows.get(&handle)).is_some_and(|follow| {
                    matches!(follow.state, super::session::Following::CatchingUp { through } if through < floor)
                })
            })
            .collect();
        let buffered = &mut self.principals.at(principal).buffered;
        *buffered = buffered.saturating_sub(freed);
        for session in lost {
            self.kill_session(session, Limit::History, "the history went on without this reader");
        }
        // Behind what is numbered of it, and behind the ends of those that lost their place: a start from what is stored then
        // knows that all others had what is gone, or could not take it.
        self.forget(Trim::Job { job: key, to: floor });
    }

    /// Everything up to `seq` of a session is stored.
    pub(super) fn numbers_committed(&mut self, handle: SessionHandle, seq: u64) {
        let Some(session) = self.sessions.get_mut(handle) else { return };
        session.window.commit(seq);
        if let Some(connection) = session.attached {
            if session.window.can_pull() {
                self.announce_if_active(connection);
            } else if session.window.missing_behind().is_some() {
                self.read_on(handle);
            }
        }
    }

    pub(super) fn announce_if_active(&mut self, connection: ConnectionId) {
        let active = self
            .connections
            .get(connection)
            .is_some_and(|state| matches!(state.phase, super::connection::Phase::Active(_)));
        if active {
            self.announce(connection);
        }
    }
}
