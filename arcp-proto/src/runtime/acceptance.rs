//! A job comes into being: its record, its place in the books, its first follower (protocol §3.1, §6).

use alloc::sync::Arc;
use core::time::Duration;

use crate::error::{Limit, WireError};
use crate::id::CredentialKey;
use crate::runtime::credential::Provision;
use crate::runtime::job::{Job, JobState, Standing};
use crate::runtime::log::Position;
use crate::runtime::principal::{KeyEntry, PrincipalHandle};
use crate::runtime::session::{Follow, Following};
use crate::runtime::store::{JobRecord, Record};
use crate::runtime::{JobHandle, RuntimeEndpoint, RuntimeEvent, SessionHandle, Timer};

impl RuntimeEndpoint {
    /// Enters the job of this record, with the credential that was issued for it. Its owner follows it from its start; a child takes no running slot (D-104).
    pub(super) fn enter_job(
        &mut self,
        record: JobRecord,
        principal: PrincipalHandle,
        (owner, parent): (Option<SessionHandle>, Option<JobHandle>),
        provision: Option<(CredentialKey, Provision)>,
    ) -> (JobHandle, Position) {
        if let Some((credential, provision)) = &provision {
            self.record_provision(*credential, provision);
        }
        let mut job = Job::new(&record, principal, owner, self.now);
        let (key, trace_id, starts) = (record.key, record.trace_id, record.started);
        let (digest, idempotency_key) = (record.digest, record.idempotency_key.clone());
        let max_runtime = record.max_runtime_sec.map(Duration::from_secs);
        let bytes = 512 + record.input.len() as u64;
        let position = self.log.append(Record::Job(record), bytes);
        job.accepted = position;
        job.parent = parent;
        job.credential_keys.extend(provision.as_ref().map(|(credential, _)| *credential));
        let handle = self.jobs.insert(job);
        self.job_keys.insert(key, handle);
        if let Some((_, Provision::Held { held, .. })) = provision {
            self.hold_credential(handle, held);
        }
        if let Some(job) = self.jobs.get_mut(handle) {
            let state = if starts { JobState::Running } else { JobState::Pending };
            self.log.stands(handle, &mut job.mark, Standing { state, last_origin: 0, last_pos: 0 });
        }
        if let Some(parent) = parent.and_then(|parent| self.jobs.get_mut(parent)) {
            parent.children.insert(handle);
        }
        if let Some(owner) = owner
            && let Some(session) = self.sessions.get_mut(owner)
        {
            let line = session.line(key, trace_id);
            let follow = Follow { line: Arc::clone(&line), state: Following::Live, subscription: false };
            session.follows.insert(handle, follow);
            session.owned.insert(handle);
            session.await_confirmation(handle, None);
            self.follow_live(handle, owner, line);
        }
        let holder = self.principals.at(principal);
        holder.unfinished_jobs += 1;
        holder.jobs.insert(key, handle);
        if let Some(idempotency_key) = idempotency_key {
            holder.keys.insert(idempotency_key, KeyEntry { digest, job: handle });
        }
        if parent.is_none() {
            if starts {
                holder.running_jobs += 1;
            } else {
                holder.queued.push_back(handle);
            }
        }
        let name = Arc::clone(&holder.name);
        if let Some(most) = max_runtime {
            self.timers.arm(self.now.mono.after(most), Timer::MaxRuntime(handle));
        }
        self.watch_lease(handle);
        self.event(RuntimeEvent::JobAccepted { job: key, principal: name });
        if let Some(owner) = owner {
            self.hold_new_job(handle, owner);
        }
        (handle, position)
    }

    /// Whether the principal may have one more job.
    pub(super) fn has_room_for_job(
        &mut self,
        principal: PrincipalHandle,
        with_key: bool,
    ) -> Result<(), WireError> {
        if self.log.is_full() {
            return Err(WireError::limit(Limit::Storage, "the storage is full"));
        }
        let limits = &self.config.limits;
        let holder = self.principals.at(principal);
        // Those that are being decided on count, so that no more is asked of those who decide than there may be jobs.
        if holder.unfinished_jobs + holder.undecided >= limits.jobs {
            return Err(WireError::limit(Limit::Jobs, "too many unfinished jobs"));
        }
        if with_key && holder.keys.len() >= limits.idempotency_keys {
            return Err(WireError::limit(Limit::IdempotencyKeys, "too many idempotency keys are remembered"));
        }
        if self.held_bytes(principal) > self.config.limits.buffered_bytes {
            return Err(WireError::limit(Limit::Buffered, "too much waits to be acknowledged"));
        }
        Ok(())
    }
}
