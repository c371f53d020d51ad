//! A submit comes again with its key: the same job, or a contradiction (protocol §3.3).

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::error::{Details, ErrorCode, WireError};
use crate::runtime::log::Position;
use crate::runtime::principal::KeyEntry;
use crate::runtime::requests::Reply;
use crate::runtime::session::Following;
use crate::runtime::store::Record;
use crate::runtime::submit::Asking;
use crate::runtime::{Effect, JobHandle, RuntimeEndpoint, SessionHandle};

impl RuntimeEndpoint {
    pub(super) fn repeat(&mut self, asking: &Asking, entry: KeyEntry) {
        let Some(job) = self.jobs.get(entry.job) else { return };
        let (request, slot) = (&asking.request, asking.slot);
        if entry.digest != asking.digest {
            let error = WireError::new(ErrorCode::DuplicateKey, "this key was used with other parameters")
                .with(Details::ExistingJob(job.key.to_string()));
            return self.refuse_in_order(request, slot, error, None);
        }
        let (accepted, is_owner) = (job.accepted, job.owner == Some(request.session));
        // A key does not name the job: until the answer arrives its acceptance stays unconfirmed.
        let is_followed = self.follows(request.session, entry.job);
        let position = if is_followed && is_owner {
            accepted
        } else {
            self.change_owner(entry.job, request.session, is_followed)
        };
        self.answer(request, Some(slot), position, Reply::Accepted(entry.job));
        if !is_followed {
            self.run_after(position, Effect::Read(request.session));
        }
        self.bring_children(entry.job, request.session);
    }

    /// The unfinished children of a job go with it to its owner, each behind its `job.accepted` (D-102).
    fn bring_children(&mut self, job: JobHandle, session: SessionHandle) {
        let children: Vec<_> =
            self.jobs.get(job).map(|job| job.children.iter().copied().collect()).unwrap_or_default();
        for child in children {
            let owner = self.jobs.get(child).and_then(|child| child.owner);
            if owner != Some(session) {
                let is_followed = self.follows(session, child);
                let position = self.change_owner(child, session, is_followed);
                self.run_after(position, Effect::ChildAccepted(child, session));
                if !is_followed {
                    self.run_after(position, Effect::Read(session));
                }
            }
            self.bring_children(child, session);
        }
    }

    fn follows(&self, session: SessionHandle, job: JobHandle) -> bool {
        self.sessions.get(session).is_some_and(|session| session.follows.contains_key(&job))
    }

    /// Makes the session the owner of the job (D-21); one that does not follow it gets its whole retained history
    /// (D-83). The owner before it goes on as a follower.
    fn change_owner(&mut self, job: JobHandle, session: SessionHandle, follows: bool) -> Position {
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
}
