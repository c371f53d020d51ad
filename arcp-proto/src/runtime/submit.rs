//! `job.submit`: checked, granted, provisioned, committed (protocol §3.1).
//!
//! ```text
//!   submit ─→ shape, features ─→ key ─→ agent ─→ lease ─→ (Decide) ─→ limits ─→ (IssueCredential) ─→ commit ─→ job.accepted
//!                                 │                          └──────────────┬──────┘
//!                                 └─→ repeat                                └─ its key is in flight: the same key waits
//!                                                                              for the outcome
//! ```
//!
//! Before the commit nothing of a submit exists but its place here, so a refusal leaves no trace but that of a credential
//! that must be revoked.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::agent::AgentRef;
use crate::error::{ApiMisuse, ErrorCode, WireError};
use crate::id::{CredentialKey, JobKey};
use crate::lease::{Lease, by_name, check_features};
use crate::runtime::credential::Provision;
use crate::runtime::inbound::Request;
use crate::runtime::ledger::Purpose;
use crate::runtime::output::{DecisionId, LeaseDecision, LeaseQuestion, Output};
use crate::runtime::principal::PrincipalHandle;
use crate::runtime::requests::Reply;
use crate::runtime::store::JobRecord;
use crate::runtime::{Effect, RuntimeEndpoint, RuntimeEvent, SessionHandle, Timer, idempotency};
use crate::time::Now;
use crate::trace::TraceId;
use crate::wire::Envelope;
use crate::wire::job::Submit;

/// A submit whose own members are in order.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) request: Request,
    pub(super) slot: u64,
    submit: Submit,
    agent: AgentRef,
    pub(super) digest: [u8; 32],
}

/// A submit whose lease is being decided on, or whose credential is being made.
#[derive(Debug)]
pub(super) struct Submission {
    asking: Asking,
    principal: PrincipalHandle,
    agent: AgentRef,
    lease: Lease,
    /// Submits with the same key, which wait for the outcome.
    waiting: Vec<Asking>,
    /// Repetitions of one of these requests under its own id, each with the place of its reply.
    repeated: Vec<(Request, u64)>,
}

impl RuntimeEndpoint {
    pub(super) fn receive_submit(&mut self, request: &Request, envelope: &Envelope<'_>) {
        let Some(connection) = self.connections.get_mut(request.connection) else { return };
        let slot = connection.replies.reserve();
        if self.is_repeated(request, "job.submit", Some(slot)) {
            return;
        }
        match self.check_submit(request, slot, envelope) {
            Ok(asking) => self.consider(asking),
            Err(error) => self.refuse_in_order(request, slot, error, request.job_id.clone()),
        }
    }

    /// Shape, features, and everything that does not depend on what exists.
    fn check_submit(
        &self,
        request: &Request,
        slot: u64,
        envelope: &Envelope<'_>,
    ) -> Result<Asking, WireError> {
        let session = self.sessions.get(request.session);
        let submit = if session.is_some_and(|session| session.profile.asks_by_name()) {
            by_name::read_submit(&envelope.payload)?
        } else {
            Submit::read(&envelope.payload)?
        };
        let agent = AgentRef::parse(&submit.agent).map_err(|error| WireError::invalid(error.to_string()))?;
        let (lease, constraints) = (submit.lease_request.as_ref(), submit.lease_constraints.as_ref());
        if let Some(session) = session {
            check_features(lease, constraints, session.features)?;
        }
        let digest =
            idempotency::digest(&submit.agent, &submit.input, lease, constraints, submit.max_runtime_sec);
        Ok(Asking { request: request.clone(), slot, submit, agent, digest })
    }

    /// The key, the agent, the lease; then asks what of it to grant, or grants it.
    fn consider(&mut self, asking: Asking) {
        let Some(session) = self.sessions.get(asking.request.session) else { return };
        let (principal, features) = (session.principal, session.features);
        let principal_name = Arc::clone(&session.principal_name);
        if let Some(key) = &asking.submit.idempotency_key {
            let holder = self.principals.at(principal);
            if let Some(entry) = holder.keys.get(key).copied() {
                return self.repeat(&asking, entry);
            }
            let in_flight = holder.in_flight.get(key).copied();
            if let Some(first) = in_flight.and_then(|id| self.submissions.get_mut(&id)) {
                first.waiting.push(asking);
                return;
            }
        }
        let agent = match self.resolve_agent(&principal_name, &asking.agent) {
            Ok(agent) => agent,
            Err(error) => return self.refuse_in_order(&asking.request, asking.slot, error, None),
        };
        let submit = &asking.submit;
        let lease = Lease::parse(
            submit.lease_request.as_ref(),
            submit.lease_constraints.as_ref(),
            features,
            self.now.unix,
        );
        let lease = match lease {
            Ok(lease) => lease,
            Err(error) => return self.refuse_in_order(&asking.request, asking.slot, error, None),
        };
        let (waiting, repeated) = (Vec::new(), Vec::new());
        let submission = Submission { asking, principal, agent, lease, waiting, repeated };
        if self.config.decides_leases {
            self.ask_for_decision(submission);
        } else {
            let lease = submission.lease.clone();
            self.grant(submission, lease);
        }
    }

    /// Keeps a submit while something is decided outside; its key is in flight.
    fn put_aside(&mut self, submission: Submission) -> DecisionId {
        let id = DecisionId(self.question());
        if let Some(key) = submission.asking.submit.idempotency_key.clone() {
            self.principals.at(submission.principal).in_flight.insert(key, id);
        }
        self.principals.at(submission.principal).undecided += 1;
        self.submissions.insert(id, submission);
        id
    }

    fn ask_for_decision(&mut self, submission: Submission) {
        let name = &self.principals.at(submission.principal).name;
        let question = LeaseQuestion {
            principal: Arc::clone(name),
            agent: submission.agent.clone(),
            lease: submission.lease.clone(),
        };
        let id = self.put_aside(submission);
        self.timers.arm(self.now.mono.after(self.config.limits.decision_timeout), Timer::Decision(id));
        self.outputs.push_back(Output::Decide { id, question: Box::new(question) });
    }

    /// The answer to [`Output::Decide`]. One that comes too late is ignored.
    ///
    /// # Errors
    /// [`ApiMisuse::OutOfRange`] if more is granted than was asked for, or a restriction is missing; the submit is
    /// refused with `INTERNAL_ERROR` then.
    pub fn handle_decision(
        &mut self,
        now: Now,
        id: DecisionId,
        decision: LeaseDecision,
    ) -> Result<(), ApiMisuse> {
        if !self.enter(now) {
            return Ok(());
        }
        let Some(submission) = self.take_submission(id) else { return Ok(()) };
        let denied =
            || WireError::new(ErrorCode::PermissionDenied, "nothing of the lease asked for is granted");
        match decision {
            LeaseDecision::Refuse => self.refuse_submission(submission, denied()),
            LeaseDecision::Grant(lease)
                if !lease.may_stand_for(&submission.lease, self.config.lease_policy) =>
            {
                let principal = Arc::clone(&self.principals.at(submission.principal).name);
                self.event(RuntimeEvent::LeaseTooWide { principal });
                let error = WireError::new(ErrorCode::InternalError, "the lease could not be granted");
                self.refuse_submission(submission, error);
                return Err(ApiMisuse::OutOfRange(
                    "a granted lease must lie within what was asked for and keep its restrictions".into(),
                ));
            }
            LeaseDecision::Grant(lease) if lease.permits_nothing() && !submission.lease.permits_nothing() => {
                self.refuse_submission(submission, denied());
            }
            LeaseDecision::Grant(lease) => self.grant(submission, lease),
        }
        Ok(())
    }

    /// Nobody decided in time.
    pub(super) fn decision_is_late(&mut self, id: DecisionId) {
        if let Some(submission) = self.take_submission(id) {
            let error = WireError::new(ErrorCode::InternalError, "deciding on the lease took too long");
            self.refuse_submission(submission, error);
        }
    }

    fn take_submission(&mut self, id: DecisionId) -> Option<Submission> {
        let submission = self.submissions.remove(&id)?;
        let holder = self.principals.at(submission.principal);
        holder.undecided -= 1;
        if let Some(key) = &submission.asking.submit.idempotency_key {
            holder.in_flight.remove(key);
        }
        if self.living_session(submission.asking.request.session).is_some() {
            return Some(submission);
        }
        // Nobody is left who could hear of it: the same key begins anew.
        self.settle(submission.waiting, submission.repeated);
        self.principals.leave(submission.principal, &self.config.limits, self.now.mono);
        None
    }

    /// The lease is granted: the job is accepted if there is room for it, and once it has its credential.
    fn grant(&mut self, submission: Submission, lease: Lease) {
        let with_key = submission.asking.submit.idempotency_key.is_some();
        if let Err(error) = self.has_room_for_job(submission.principal, with_key) {
            return self.refuse_submission(submission, error);
        }
        let lease = Arc::new(lease);
        let key = JobKey::from_ulid(self.ids.ulid(self.now.unix, &mut self.entropy));
        if !self.provisions() {
            return self.accept(submission, key, lease, None);
        }
        let name = Arc::clone(&self.principals.at(submission.principal).name);
        let about = (name, submission.agent.clone(), Arc::clone(&lease));
        let budget =
            lease.budget().iter().map(|limited| (limited.currency.clone(), limited.amount)).collect();
        let submission = self.put_aside(submission);
        self.ask_for_credential(key, about, budget, Purpose::Submit { submission, lease });
    }

    /// The provisioner has answered for a submit.
    pub(super) fn submit_provisioned(
        &mut self,
        submission: DecisionId,
        key: JobKey,
        lease: Arc<Lease>,
        credential: CredentialKey,
        provision: Provision,
    ) {
        let Some(submission) = self.take_submission(submission) else {
            return self.undo(credential, &provision);
        };
        let with_key = submission.asking.submit.idempotency_key.is_some();
        let refusal = match provision {
            Provision::Failed => Some(Self::no_credential()),
            Provision::Held { .. } | Provision::Nothing => {
                self.has_room_for_job(submission.principal, with_key).err()
            }
        };
        match refusal {
            Some(error) => {
                self.undo(credential, &provision);
                self.refuse_submission(submission, error);
            }
            None => self.accept(submission, key, lease, Some((credential, provision))),
        }
    }

    fn accept(
        &mut self,
        submission: Submission,
        key: JobKey,
        lease: Arc<Lease>,
        provision: Option<(CredentialKey, Provision)>,
    ) {
        let Submission { asking, principal, agent, waiting, repeated, .. } = submission;
        self.create_job(&asking, principal, agent, (key, lease), provision);
        self.settle(waiting, repeated);
    }

    fn refuse_submission(&mut self, submission: Submission, error: WireError) {
        let Submission { asking, waiting, repeated, .. } = submission;
        self.refuse_in_order(&asking.request, asking.slot, error, None);
        self.settle(waiting, repeated);
    }

    /// The outcome of a submit is known: those that waited for it are looked at again.
    fn settle(&mut self, waiting: Vec<Asking>, repeated: Vec<(Request, u64)>) {
        for asking in waiting {
            self.consider(asking);
        }
        for (request, slot) in repeated {
            self.is_repeated(&request, "job.submit", Some(slot));
        }
    }

    /// The repetition of a submit that is still being decided on gets the same reply, once there is one (D-49).
    pub(super) fn await_outcome(&mut self, request: &Request, slot: u64) {
        let is_same =
            |asking: &Asking| asking.request.session == request.session && asking.request.id == request.id;
        let mut submissions = self.submissions.values_mut();
        let first = submissions
            .find(|submission| is_same(&submission.asking) || submission.waiting.iter().any(is_same));
        if let Some(first) = first {
            first.repeated.push((request.clone(), slot));
        }
    }

    fn create_job(
        &mut self,
        asking: &Asking,
        principal: PrincipalHandle,
        agent: AgentRef,
        (key, lease): (JobKey, Arc<Lease>),
        provision: Option<(CredentialKey, Provision)>,
    ) {
        let Asking { request, slot, submit, digest, .. } = asking;
        let Some(owner) = self.living_session(request.session) else { return };
        let trace_id = match request.trace_id.as_deref().and_then(TraceId::parse) {
            Some(trace) => trace,
            None => TraceId::mint(&mut self.entropy),
        };
        let holder = self.principals.at(principal);
        let starts = holder.running_jobs < self.config.limits.running_jobs && holder.queued.is_empty();
        let restartable = self.config.agents.is_restartable(&agent);
        let record = JobRecord {
            key,
            principal: Arc::clone(&holder.name),
            owner: Some(owner),
            request_id: Some(Arc::clone(&request.id)),
            idempotency_key: submit.idempotency_key.clone(),
            digest: *digest,
            agent,
            trace_id,
            input: submit.input.clone(),
            accepted_at: self.now.unix,
            max_runtime_sec: submit.max_runtime_sec,
            lease,
            parent: None,
            started: starts,
            restartable,
        };
        let (handle, position) = self.enter_job(record, principal, (Some(request.session), None), provision);
        self.answer(request, Some(*slot), position, Reply::Accepted(handle));
        if starts {
            self.run_after(position, Effect::Start(handle));
        }
    }

    fn living_session(&self, session: SessionHandle) -> Option<crate::id::SessionKey> {
        self.sessions.get(session).filter(|session| session.dead_since.is_none()).map(|session| session.key)
    }
}
