//! Who may see what: one question for lists, subscriptions and cancels, and what follows when its answers change
//! (protocol §2.7, §3.5, §3.6, §3.8).

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::agent::{AgentRef, Unresolved};
use crate::error::{ErrorCode, WireError};
use crate::id::{JobId, JobKey};
use crate::observe::{ObservedJob, Sight, Visibility};
use crate::runtime::arena::Arena;
use crate::runtime::event::{Access, Decision};
use crate::runtime::inbound::Request;
use crate::runtime::job::Job;
use crate::runtime::principal::PrincipalHandle;
use crate::runtime::session::Following;
use crate::runtime::store::Record;
use crate::runtime::{JobHandle, RuntimeEndpoint, RuntimeEvent, SessionHandle};
use crate::time::Now;
use crate::wire::peer::Rejected;

/// What `viewer` sees of a job.
pub(super) fn sight(visibility: &Visibility, viewer: (PrincipalHandle, &str), job: &Job) -> Sight {
    if job.principal == viewer.0 {
        return Sight::Follow;
    }
    let observed = ObservedJob {
        job: job.key,
        submitter: &job.principal_name,
        agent: &job.agent,
        accepted_at: job.accepted_at,
    };
    visibility.job(viewer.1, &observed)
}

/// The parent of a job, as far as `viewer` may know of it.
pub(super) fn visible_parent(
    visibility: &Visibility,
    viewer: (PrincipalHandle, &str),
    (jobs, keys): (&Arena<JobHandle, Job>, &BTreeMap<JobKey, JobHandle>),
    child: &Job,
) -> Option<JobId> {
    let parent = child.parentage?.job;
    let is_visible = child.principal == viewer.0
        || keys
            .get(&parent)
            .and_then(|parent| jobs.get(*parent))
            .is_some_and(|parent| sight(visibility, viewer, parent) > Sight::Nothing);
    if is_visible { JobId::new(&parent.to_string()) } else { None }
}

/// The answer to a request about a job that its principal may not make. There is no difference between "no such job" and
/// "not yours to see" (D-16).
fn refusal(seen: Sight, words: &'static str) -> WireError {
    match seen {
        Sight::Nothing => WireError::new(ErrorCode::JobNotFound, "no such job"),
        Sight::List | Sight::Follow => WireError::new(ErrorCode::PermissionDenied, words),
    }
}

impl RuntimeEndpoint {
    /// The answers of the configured [`ObservePolicy`](crate::observe::ObservePolicy) have changed: subscriptions that are
    /// allowed no longer end here. What was numbered already still arrives (D-15); of what follows, the subscriber gets
    /// nothing, and is not told so: the protocol has no word for it. Each end is told by a [`RuntimeEvent::Access`].
    /// Lists and new requests need no such call, and neither does a recovery.
    pub fn policy_changed(&mut self, now: Now) {
        if self.enter(now) {
            self.judge_follows();
        }
    }

    /// Ends what is followed and may not be any more.
    pub(super) fn judge_follows(&mut self) {
        let Self { sessions, jobs, config, .. } = self;
        let mut ended = Vec::new();
        for (handle, session) in sessions.iter() {
            let viewer = (session.principal, &*session.principal_name);
            for (job, follow) in &session.follows {
                let Some(seen) = jobs.get(*job).map(|job| sight(&config.visibility, viewer, job)) else {
                    continue;
                };
                if seen < Sight::Follow {
                    let asked = match &follow.state {
                        Following::Opening { request_id, .. } => Some(Arc::clone(request_id)),
                        Following::CatchingUp { .. } | Following::Live => None,
                    };
                    ended.push((handle, *job, seen, asked));
                }
            }
        }
        for (handle, job, seen, asked) in ended {
            self.audit(handle, Access::Follow, Some(job), Decision::of(seen, false));
            self.stop_following(handle, job, seen, asked);
        }
    }

    fn stop_following(
        &mut self,
        handle: SessionHandle,
        job: JobHandle,
        seen: Sight,
        asked: Option<Arc<str>>,
    ) {
        let Some(key) = self.jobs.get(job).map(|job| job.key) else { return };
        let Some(session) = self.sessions.get(handle) else { return };
        let (session_key, attached) = (session.key, session.attached);
        if let (Some(id), Some(connection)) = (asked, attached) {
            // The subscribe is still owed its answer.
            let request = Request { connection, session: handle, id, job_id: None, trace_id: None };
            let error = refusal(seen, NOT_FOLLOWED);
            self.refuse_job(&request, Rejected::Subscribe, Some(&key.to_string()), error);
        }
        self.end_follow(handle, job);
        self.log.append(Record::Unfollow { session: session_key, job: key }, 64);
    }

    /// The job of this id, if the request's session may do this with it; audited either way.
    pub(super) fn job_for(
        &mut self,
        request: &Request,
        key: Option<JobKey>,
        access: Access,
    ) -> Result<JobHandle, WireError> {
        let handle = key.and_then(|key| self.job_keys.get(&key)).copied();
        let seen = handle.map_or(Sight::Nothing, |handle| self.sight_of(request.session, handle));
        let (is_allowed, words) = match access {
            Access::Cancel => {
                (handle.is_some_and(|job| self.may_cancel(request.session, job)), ONLY_THE_OWNER)
            }
            Access::Subscribe | Access::Follow => (seen == Sight::Follow, NOT_FOLLOWED),
        };
        self.audit(request.session, access, handle, Decision::of(seen, is_allowed));
        handle.filter(|_| is_allowed).ok_or_else(|| refusal(seen, words))
    }

    /// The right to cancel is the owner's. A job whose owner died may be cancelled by any session of its principal (D-21).
    fn may_cancel(&self, session: SessionHandle, job: JobHandle) -> bool {
        self.is_own(session, job)
            && self
                .jobs
                .get(job)
                .is_some_and(|job| self.living_owner(job).is_none_or(|owner| owner == session))
    }

    /// The owner of a job, unless it is dead: a finished job may outlive the session that owned it.
    fn living_owner(&self, job: &Job) -> Option<SessionHandle> {
        job.owner
            .filter(|owner| self.sessions.get(*owner).is_some_and(|session| session.dead_since.is_none()))
    }

    fn sight_of(&self, session: SessionHandle, job: JobHandle) -> Sight {
        let (Some(session), Some(job)) = (self.sessions.get(session), self.jobs.get(job)) else {
            return Sight::Nothing;
        };
        sight(&self.config.visibility, (session.principal, &session.principal_name), job)
    }

    /// The parent of a job, as far as the session's principal may know of it.
    pub(super) fn parent_for(&self, session: SessionHandle, child: &Job) -> Option<JobId> {
        let session = self.sessions.get(session)?;
        let viewer = (session.principal, &*session.principal_name);
        visible_parent(&self.config.visibility, viewer, (&self.jobs, &self.job_keys), child)
    }

    /// Whether the session's principal submitted the job. Others are shown positions where it is shown origin numbers
    /// (D-65), and no credentials (D-17).
    pub(super) fn is_own(&self, session: SessionHandle, job: JobHandle) -> bool {
        match (self.sessions.get(session), self.jobs.get(job)) {
            (Some(session), Some(job)) => session.principal == job.principal,
            _ => false,
        }
    }

    /// Why a subscription that was granted may not be confirmed any more.
    pub(super) fn forbids_following(&self, session: SessionHandle, job: JobHandle) -> Option<WireError> {
        let seen = self.sight_of(session, job);
        (seen < Sight::Follow).then(|| refusal(seen, NOT_FOLLOWED))
    }

    /// What a submitted reference means to this principal: an agent that it may not use does not exist (protocol §3.7).
    ///
    /// # Errors
    /// `AGENT_NOT_AVAILABLE` or `AGENT_VERSION_NOT_AVAILABLE` if there is no such agent or version for it.
    pub(super) fn resolve_agent(&self, principal: &str, agent: &AgentRef) -> Result<AgentRef, WireError> {
        let resolved = if self.config.visibility.agent(principal, agent.name()) {
            self.config.agents.resolve(agent)
        } else {
            Err(Unresolved::Name)
        };
        resolved.map_err(|unresolved| {
            let code = match unresolved {
                Unresolved::Name => ErrorCode::AgentNotAvailable,
                Unresolved::Version => ErrorCode::AgentVersionNotAvailable,
            };
            WireError::new(code, unresolved.to_string())
        })
    }

    fn audit(&mut self, session: SessionHandle, access: Access, job: Option<JobHandle>, decision: Decision) {
        let Some(session) = self.sessions.get(session) else { return };
        let principal = Arc::clone(&session.principal_name);
        let job = job.and_then(|job| self.jobs.get(job));
        let submitter = job.map(|job| Arc::clone(&job.principal_name));
        let job = job.map(|job| job.key);
        self.event(RuntimeEvent::Access { principal, access, job, submitter, decision });
    }
}

const NOT_FOLLOWED: &str = "the job may be listed, not followed";
const ONLY_THE_OWNER: &str = "only the owning session may cancel";

impl Decision {
    const fn of(seen: Sight, is_allowed: bool) -> Self {
        match (is_allowed, seen) {
            (true, _) => Self::Allowed,
            (false, Sight::Nothing) => Self::Hidden,
            (false, Sight::List | Sight::Follow) => Self::Refused,
        }
    }
}
