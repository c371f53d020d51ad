//! `job.submit` and its idempotent repetition (protocol §3.1, §3.3).

use alloc::string::ToString;
use alloc::sync::Arc;
use core::time::Duration;

use crate::agent::{AgentRef, Unresolved};
use crate::error::{Details, ErrorCode, Limit, WireError};
use crate::id::JobKey;
use crate::lease::by_name;
use crate::runtime::inbound::Request;
use crate::runtime::job::{Job, JobState, NewJob, Standing};
use crate::runtime::principal::KeyEntry;
use crate::runtime::requests::Reply;
use crate::runtime::session::{Follow, Following};
use crate::runtime::store::{JobRecord, Record};
use crate::runtime::{Effect, JobHandle, RuntimeEndpoint, RuntimeEvent, Timer, idempotency};
use crate::trace::TraceId;
use crate::wire::Envelope;
use crate::wire::job::Submit;

/// A submit whose own members are in order.
struct Checked {
    submit: Submit,
    agent: AgentRef,
    digest: [u8; 32],
}

impl RuntimeEndpoint {
    pub(super) fn receive_submit(&mut self, request: &Request, envelope: &Envelope<'_>) {
        let Some(connection) = self.connections.get_mut(request.connection) else { return };
        let slot = connection.replies.reserve();
        if self.is_repeated(request, "job.submit", Some(slot)) {
            return;
        }
        match self.check_submit(request, envelope) {
            Ok(checked) => self.accept(request, slot, checked),
            Err(error) => self.refuse_in_order(request, slot, error, request.job_id.clone()),
        }
    }

    /// Shape, features, and everything that does not depend on what exists.
    fn check_submit(&self, request: &Request, envelope: &Envelope<'_>) -> Result<Checked, WireError> {
        let asks_by_name =
            self.sessions.get(request.session).is_some_and(|session| session.profile.asks_by_name());
        let submit = if asks_by_name {
            by_name::read_submit(&envelope.payload)?
        } else {
            Submit::read(&envelope.payload)?
        };
        if submit.lease_request.is_some() {
            return Err(WireError::invalid(
                "this runtime grants no leases: `lease_request` must be absent or {}",
            ));
        }
        if submit.lease_constraints.is_some() {
            return Err(WireError::invalid(
                "this runtime grants no leases: `lease_constraints` must be absent or {}",
            ));
        }
        let agent = AgentRef::parse(&submit.agent).map_err(|error| WireError::invalid(error.to_string()))?;
        let digest = idempotency::digest(&submit.agent, &submit.input, None, None, submit.max_runtime_sec);
        debug_assert!(self.sessions.contains(request.session), "requests come from live sessions");
        Ok(Checked { submit, agent, digest })
    }

    fn accept(&mut self, request: &Request, slot: u64, checked: Checked) {
        let Some(session) = self.sessions.get(request.session) else { return };
        let principal = session.principal;
        if let Some(key) = &checked.submit.idempotency_key
            && let Some(entry) = self.principals.at(principal).keys.get(key).copied()
        {
            return self.repeat(request, slot, entry, &checked);
        }
        let agent = match self.resolve_agent(&session.principal_name, &checked.agent) {
            Ok(agent) => agent,
            Err(unresolved) => {
                let code = match unresolved {
                    Unresolved::Name => ErrorCode::AgentNotAvailable,
                    Unresolved::Version => ErrorCode::AgentVersionNotAvailable,
                };
                return self.refuse_in_order(
                    request,
                    slot,
                    WireError::new(code, unresolved.to_string()),
                    None,
                );
            }
        };
        if let Err(error) = self.has_room_for_job(principal, checked.submit.idempotency_key.is_some()) {
            return self.refuse_in_order(request, slot, error, None);
        }
        self.create_job(request, slot, checked, agent);
    }

    fn create_job(&mut self, request: &Request, slot: u64, checked: Checked, agent: AgentRef) {
        let Some(session) = self.sessions.get_mut(request.session) else { return };
        let Checked { submit, digest, .. } = checked;
        let key = JobKey::from_ulid(self.ids.ulid(self.now.unix, &mut self.entropy));
        let trace_id = match request.trace_id.as_deref().and_then(TraceId::parse) {
            Some(trace) => trace,
            None => TraceId::mint(&mut self.entropy),
        };
        let principal = session.principal;
        let owner = self.principals.at(principal);
        let starts = owner.running_jobs < self.config.limits.running_jobs && owner.queued.is_empty();
        let mut job = Job::new(NewJob {
            key,
            principal,
            principal_name: Arc::clone(&session.principal_name),
            owner: Some(request.session),
            request_id: Arc::clone(&request.id),
            idempotency_key: submit.idempotency_key.clone(),
            agent: agent.clone(),
            trace_id,
            input: Some(submit.input.clone()),
            accepted_at: self.now.unix,
            max_runtime_sec: submit.max_runtime_sec,
        });
        let record = JobRecord {
            key,
            principal: Arc::clone(&session.principal_name),
            owner: session.key,
            request_id: Arc::clone(&request.id),
            idempotency_key: submit.idempotency_key.clone(),
            digest,
            agent,
            trace_id,
            input: submit.input,
            accepted_at: self.now.unix,
            max_runtime_sec: submit.max_runtime_sec,
            started: starts,
        };
        let bytes = 512 + record.input.len() as u64;
        let position = self.log.append(Record::Job(record), bytes);
        job.accepted = position;
        let handle = self.jobs.insert(job);
        self.job_keys.insert(key, handle);
        if let Some(job) = self.jobs.get_mut(handle) {
            let state = if starts { JobState::Running } else { JobState::Pending };
            self.log.stands(handle, &mut job.mark, Standing { state, last_origin: 0, last_pos: 0 });
        }
        let line = session.line(key, trace_id);
        session
            .follows
            .insert(handle, Follow { line: Arc::clone(&line), state: Following::Live, subscription: false });
        session.owned.insert(handle);
        session.await_confirmation(handle, None);
        self.follow_live(handle, request.session, line);
        let owner = self.principals.at(principal);
        owner.unfinished_jobs += 1;
        owner.jobs.insert(key, handle);
        if let Some(idempotency_key) = submit.idempotency_key {
            owner.keys.insert(idempotency_key, KeyEntry { digest, job: handle });
        }
        if starts {
            owner.running_jobs += 1;
        } else {
            owner.queued.push_back(handle);
        }
        let name = Arc::clone(&owner.name);
        if let Some(seconds) = submit.max_runtime_sec {
            self.timers.arm(self.now.mono.after(Duration::from_secs(seconds)), Timer::MaxRuntime(handle));
        }
        self.event(RuntimeEvent::JobAccepted { job: key, principal: name });
        self.hold_new_job(handle, request.session);
        self.answer(request, Some(slot), position, Reply::Accepted(handle));
        if starts {
            self.run_after(position, Effect::Start(handle));
        }
    }

    /// The same key again: the same job, or a contradiction.
    fn repeat(&mut self, request: &Request, slot: u64, entry: KeyEntry, checked: &Checked) {
        let Some(job) = self.jobs.get(entry.job) else { return };
        if entry.digest != checked.digest {
            let error = WireError::new(ErrorCode::DuplicateKey, "this key was used with other parameters")
                .with(Details::ExistingJob(job.key.to_string()));
            return self.refuse_in_order(request, slot, error, None);
        }
        let (accepted, is_owner) = (job.accepted, job.owner == Some(request.session));
        // A key does not name the job: until the answer arrives its acceptance stays unconfirmed.
        let is_followed =
            self.sessions.get(request.session).is_some_and(|s| s.follows.contains_key(&entry.job));
        let position = if is_followed && is_owner {
            accepted
        } else {
            self.change_owner(entry.job, request.session, is_followed)
        };
        self.answer(request, Some(slot), position, Reply::Accepted(entry.job));
        if !is_followed {
            self.run_after(position, Effect::Read(request.session));
        }
    }

    /// Makes the session the owner of the job (D-21); one that does not follow it gets its whole retained history
    /// (D-83). The owner before it goes on as a follower.
    fn change_owner(
        &mut self,
        job: JobHandle,
        session: crate::runtime::SessionHandle,
        follows: bool,
    ) -> crate::runtime::log::Position {
        let Some(state) = self.jobs.get_mut(job) else { return self.log.position() };
        let before = state.owner.replace(session);
        let (key, floor, unfinished) = (state.key, state.retention.floor(), !state.state.is_final());
        if let Some(before) = before
            && before != session
            && let Some(before) = self.sessions.get_mut(before)
        {
            before.owned.remove(&job);
        }
        if !follows {
            self.follow_from(job, session, Following::CatchingUp { through: floor }, false);
        }
        let Some(owner) = self.sessions.get_mut(session) else { return self.log.position() };
        if unfinished {
            owner.owned.insert(job);
        }
        let owner_key = owner.key;
        if follows {
            self.becomes_own(job, session);
        }
        self.hold_new_job(job, session);
        let after = (!follows).then_some(floor);
        self.log.append(Record::Owner { session: owner_key, job: key, after }, 64)
    }

    fn has_room_for_job(
        &mut self,
        principal: crate::runtime::principal::PrincipalHandle,
        with_key: bool,
    ) -> Result<(), WireError> {
        if self.log.is_full() {
            return Err(WireError::limit(Limit::Storage, "the storage is full"));
        }
        let limits = &self.config.limits;
        let owner = self.principals.at(principal);
        if owner.unfinished_jobs >= limits.jobs {
            return Err(WireError::limit(Limit::Jobs, "too many unfinished jobs"));
        }
        if with_key && owner.keys.len() >= limits.idempotency_keys {
            return Err(WireError::limit(Limit::IdempotencyKeys, "too many idempotency keys are remembered"));
        }
        if self.held_bytes(principal) > self.config.limits.buffered_bytes {
            return Err(WireError::limit(Limit::Buffered, "too much waits to be acknowledged"));
        }
        Ok(())
    }
}
