//! Jobs that agents ask for (protocol §6).

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use crate::agent::AgentRef;
use crate::error::{ApiMisuse, Limit, WireError};
use crate::feature::Features;
use crate::id::{CredentialKey, DelegationKey, JobKey};
use crate::lease::{Capability, Lease, Operation};
use crate::runtime::agent::{Child, ChildEnd, JobNews, StopReason};
use crate::runtime::credential::Provision;
use crate::runtime::ledger::Purpose;
use crate::runtime::output::Output;
use crate::runtime::store::{JobRecord, ParentRecord};
use crate::runtime::{Effect, JobHandle, RuntimeEndpoint};
use crate::wire::emission::ToolError;
use crate::wire::event::{Content, Delegation, Emission, Outcome};

/// The longest run-time limit, in seconds (protocol §9).
const MAX_RUNTIME: core::ops::RangeInclusive<u64> = 1..=31_536_000;

/// A delegation that may be accepted.
#[derive(Debug)]
struct Checked {
    agent: AgentRef,
    lease: Arc<Lease>,
    depth: u8,
}

/// A delegation that waits for the child's credential.
#[derive(Debug)]
pub(super) struct Delegating {
    parent: JobHandle,
    child: JobKey,
    delegate: DelegationKey,
    delegation: Delegation,
    announcement: Emission,
    checked: Checked,
}

impl RuntimeEndpoint {
    /// Accepts or refuses a delegation; either way its `delegate` event is on the parent's stream.
    pub(super) fn delegate(&mut self, parent: JobHandle, delegation: Delegation) -> Result<(), ApiMisuse> {
        let job = self.jobs.get(parent).ok_or(ApiMisuse::UnknownHandle)?;
        if !job.agent_runs {
            return Err(ApiMisuse::JobEnded);
        }
        if delegation.max_runtime_sec.is_some_and(|seconds| !MAX_RUNTIME.contains(&seconds)) {
            return Err(ApiMisuse::OutOfRange("`max_runtime_sec` must be 1 to 31536000".into()));
        }
        let child = JobKey::from_ulid(self.ids.ulid(self.now.unix, &mut self.entropy));
        let delegate = DelegationKey::from_ulid(self.ids.ulid(self.now.unix, &mut self.entropy));
        let announcement = Emission::delegate(&delegate.to_string(), &child.to_string(), &delegation)?;
        let (bytes, limit) = (announcement.encoded_len(), job.frame_limit);
        if bytes > limit {
            return Err(ApiMisuse::TooLarge { bytes, limit });
        }
        match self.check_delegation(parent, &delegation) {
            Ok(checked) => {
                let delegating = Delegating { parent, child, delegate, delegation, announcement, checked };
                if self.provisions() {
                    self.provision_child(delegating);
                } else {
                    self.accept_child(delegating, None);
                }
            }
            Err(error) => self.refuse_delegation(parent, delegate, delegation.token, error, announcement),
        }
        Ok(())
    }

    fn check_delegation(&mut self, parent: JobHandle, delegation: &Delegation) -> Result<Checked, WireError> {
        let agent =
            AgentRef::parse(&delegation.agent).map_err(|error| WireError::invalid(error.to_string()))?;
        let principal = self.jobs.get(parent).map(|job| Arc::clone(&job.principal_name)).unwrap_or_default();
        let agent = self.resolve_agent(&principal, &agent)?;
        let operation = Operation { capability: Capability::AgentDelegate, target: agent.as_str() };
        self.judge_operation(parent, &operation)?;
        let asked = Lease::parse(
            delegation.lease_request.as_ref(),
            delegation.lease_constraints.as_ref(),
            Features::EVERY,
            self.now.unix,
        )?;
        let Some(job) = self.jobs.get(parent) else { return Err(WireError::invalid("the job is gone")) };
        let depth = job.depth().saturating_add(1);
        let (principal, children) = (job.principal, job.children.len() + job.expected_children);
        let remaining = |currency: &crate::lease::Currency| self.remaining_of(parent, currency);
        let lease = asked.inherit(&job.lease, remaining, self.config.lease_policy)?;
        if depth > self.config.limits.delegation_depth {
            return Err(WireError::limit(Limit::Depth, "jobs delegate too deep"));
        }
        if children >= self.config.limits.children {
            return Err(WireError::limit(Limit::Children, "the job has too many unfinished children"));
        }
        self.has_room_for_job(principal, false)?;
        Ok(Checked { agent, lease: Arc::new(lease), depth })
    }

    fn provision_child(&mut self, delegating: Delegating) {
        let Some(job) = self.jobs.get_mut(delegating.parent) else { return };
        job.expected_children += 1;
        let Checked { agent, lease, .. } = &delegating.checked;
        let about = (Arc::clone(&job.principal_name), agent.clone(), Arc::clone(lease));
        let budget =
            lease.budget().iter().map(|limited| (limited.currency.clone(), limited.amount)).collect();
        let child = delegating.child;
        self.ask_for_credential(child, about, budget, Purpose::Delegation(Box::new(delegating)));
    }

    /// The provisioner has answered for a child. Meanwhile its parent may have lost what permitted the delegation.
    pub(super) fn delegation_provisioned(
        &mut self,
        delegating: Delegating,
        credential: CredentialKey,
        provision: Provision,
    ) {
        let parent = delegating.parent;
        if let Some(job) = self.jobs.get_mut(parent) {
            job.expected_children = job.expected_children.saturating_sub(1);
        }
        if !self.jobs.get(parent).is_some_and(|job| job.agent_runs) {
            return self.undo(credential, &provision);
        }
        let refusal = match provision {
            Provision::Failed => Some(Self::no_credential()),
            Provision::Held { .. } | Provision::Nothing => {
                self.check_delegation(parent, &delegating.delegation).err()
            }
        };
        match refusal {
            Some(error) => {
                self.undo(credential, &provision);
                let Delegating { delegate, delegation, announcement, .. } = delegating;
                self.refuse_delegation(parent, delegate, delegation.token, error, announcement);
            }
            None => self.accept_child(delegating, Some((credential, provision))),
        }
    }

    /// One commit: the child, what is set aside for it, and the `delegate` event.
    fn accept_child(&mut self, delegating: Delegating, provision: Option<(CredentialKey, Provision)>) {
        let Delegating { parent, child: key, delegate, delegation, announcement, checked } = delegating;
        let Some(job) = self.jobs.get(parent) else { return };
        let Checked { agent, lease, depth } = checked;
        let owner = job
            .owner
            .filter(|owner| self.sessions.get(*owner).is_some_and(|session| session.dead_since.is_none()));
        let record = JobRecord {
            key,
            principal: Arc::clone(&job.principal_name),
            owner: owner.and_then(|owner| self.sessions.get(owner)).map(|session| session.key),
            request_id: None,
            idempotency_key: None,
            digest: [0; 32],
            agent: agent.clone(),
            trace_id: job.trace_id,
            input: delegation.input,
            accepted_at: self.now.unix,
            max_runtime_sec: delegation.max_runtime_sec,
            lease: Arc::clone(&lease),
            parent: Some(ParentRecord { job: job.key, delegation: delegate, depth }),
            started: true,
            // Its parent's agent, which waits for it, goes with the process.
            restartable: false,
        };
        let (handle, position) = self.enter_job(record, job.principal, (owner, Some(parent)), provision);
        let due = self.set_aside(parent, &lease);
        self.produce(parent, Content::Event { kind: announcement.kind, body: announcement.body });
        self.tell_remaining(parent, due);
        if let Some(owner) = owner {
            self.run_after(position, Effect::ChildAccepted(handle, owner));
        }
        let child = Child { job: handle, key, agent, lease };
        let news = JobNews::Delegated { token: delegation.token, answer: Ok(child) };
        self.run_after(position, Effect::Tell(parent, Box::new(news)));
        self.run_after(position, Effect::Start(handle));
    }

    fn refuse_delegation(
        &mut self,
        parent: JobHandle,
        delegate: DelegationKey,
        token: u64,
        error: WireError,
        announcement: Emission,
    ) {
        self.produce(parent, Content::Event { kind: announcement.kind, body: announcement.body });
        let refusal = ToolError::from(&error);
        if let Ok(result) = Emission::tool_result(&delegate.to_string(), Err(&refusal)) {
            self.produce(parent, Content::Event { kind: result.kind, body: result.body });
        }
        self.tell(parent, JobNews::Delegated { token, answer: Err(error.clone()) });
        self.heed(parent, &error);
    }

    /// Tells an agent something, if it still runs.
    pub(super) fn tell(&mut self, job: JobHandle, news: JobNews) {
        if self.jobs.get(job).is_some_and(|job| job.agent_runs) {
            self.outputs.push_back(Output::TellJob { job, news });
        }
    }

    /// A job is over or is being stopped: so are its children (D-51).
    pub(super) fn stop_children(&mut self, parent: JobHandle) {
        let children: alloc::vec::Vec<_> =
            self.jobs.get(parent).map(|job| job.children.iter().copied().collect()).unwrap_or_default();
        for child in children {
            // One whose own lease has ended ends for that reason.
            self.lease_may_have_ended(child);
            self.stop(child, StopReason::ParentEnded);
        }
    }

    /// Takes an ended child out of its parent's books.
    pub(super) fn leave_parent(&mut self, child: JobHandle) {
        let parent = self.jobs.get(child).and_then(|job| job.parent);
        if let Some(parent) = parent.and_then(|parent| self.jobs.get_mut(parent)) {
            parent.children.remove(&child);
        }
    }

    /// How a job ended, for the agent that delegated it.
    pub(super) fn end_for_parent(&mut self, child: JobHandle, outcome: &Outcome) -> ChildEnd {
        let streamed = self.jobs.get_mut(child).and_then(|job| job.for_parent.take());
        match (outcome, streamed) {
            (Outcome::Failed(error), _) => ChildEnd::Failed(error.clone()),
            (_, Some(streamed)) => streamed.into_end(),
            (Outcome::Inline(value), None) => ChildEnd::Value(value.clone()),
            (Outcome::Streamed { .. }, None) => ChildEnd::Text(String::new()),
        }
    }
}
