//! Credentials for jobs: asked for, checked, shown, rotated (protocol §5.9).
//!
//! ```text
//!   granted ─→ intent stored ─→ (IssueCredential) ─→ checked ─→ one commit: issued, and what waited for it
//!                                    │                  └─ wrong, failed, late: nothing is accepted, and it is revoked
//!                                    └─ 10 s
//! ```

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::agent::AgentRef;
use crate::error::{ApiMisuse, ErrorCode, WireError};
use crate::feature::{Feature, Features};
use crate::id::{CredentialKey, JobKey};
use crate::lease::{Amount, Currency, Lease, check_endpoint};
use crate::runtime::agent::JobNews;
use crate::runtime::job::Job;
use crate::runtime::ledger::{CredentialEdge, CredentialState, Held, Issue, Purpose};
use crate::runtime::output::Output;
use crate::runtime::provisioner::{IssueRequest, Issued, IssuedCredential};
use crate::runtime::store::{CredentialRecord, Record};
use crate::runtime::{
    ConnectionId, Effect, IssueId, JobHandle, RuntimeEndpoint, RuntimeEvent, SessionHandle, Timer,
};
use crate::secret::Secret;
use crate::time::{Now, UnixTime};
use crate::wire::credential::{Credential, CredentialConstraints, CredentialScheme, rotation_with_value};
use crate::wire::delivery::Frame;
use crate::wire::event::{Content, EventKind, LoggedEvent};
use crate::wire::{RawJson, object_text};

const VALUE_BYTES: usize = 8_192;
const ENDPOINT_BYTES: usize = 2_048;
const PROFILE_BYTES: usize = 128;

/// What came of asking for a credential.
#[derive(Debug)]
pub(super) enum Provision {
    /// It exists, and may be used.
    Held { held: Held, expires: Option<UnixTime> },
    /// None is needed.
    Nothing,
    /// There is none to be used.
    Failed,
}

impl RuntimeEndpoint {
    /// Whether jobs are given credentials: somebody makes them, and their ledger outlives the process (D-52).
    pub(super) const fn provisions(&self) -> bool {
        self.config.provisions && self.config.durable
    }

    /// What is offered to a client over this connection.
    pub(super) fn offered_on(&self, connection: ConnectionId) -> Features {
        let is_private = self.connections.get(connection).is_some_and(|connection| connection.is_private);
        if self.provisions() && is_private {
            self.config.features
        } else {
            self.config.features.without(Feature::ProvisionedCredentials)
        }
    }

    /// Asks for a credential once it is in the ledger that this was to be done (CRD-2).
    pub(super) fn ask_for_credential(
        &mut self,
        job: JobKey,
        about: (Arc<str>, AgentRef, Arc<Lease>),
        budget: Vec<(Currency, Amount)>,
        purpose: Purpose,
    ) -> IssueId {
        let credential = CredentialKey::from_ulid(self.ids.ulid(self.now.unix, &mut self.entropy));
        let id = IssueId(self.question());
        let (principal, agent, lease) = about;
        let record = CredentialRecord {
            key: credential,
            job,
            endpoint: None,
            state: CredentialState::Intent,
            expires: None,
        };
        self.ledger.enter(record.clone());
        let issue = Issue { credential, job, lease: Arc::clone(&lease), budget: budget.clone(), purpose };
        self.ledger.issues.insert(id, issue);
        self.timers.arm(self.now.mono.after(self.config.limits.decision_timeout), Timer::Issue(id));
        let position = self.log.append(Record::Credential(record), 160);
        let request = IssueRequest { credential, job, principal, agent, lease, budget };
        self.run_after(position, Effect::Issue(id, Box::new(request)));
        id
    }

    /// The intent is stored: the provisioner may be asked, unless nobody waits any more.
    pub(super) fn issue(&mut self, id: IssueId, request: Box<IssueRequest>) {
        if self.ledger.issues.get(&id).is_none_or(|issue| matches!(issue.purpose, Purpose::Nobody)) {
            self.ledger.issues.remove(&id);
            return;
        }
        if let Some(entry) = self.ledger.find_mut(request.credential) {
            entry.asked = true;
        }
        self.outputs.push_back(Output::IssueCredential { id, request });
    }

    /// The answer to [`Output::IssueCredential`]. One that comes too late is undone.
    ///
    /// # Errors
    /// [`ApiMisuse::OutOfRange`] if the credential is not what one may be; it counts as failed then and is revoked.
    pub fn handle_credentials(&mut self, now: Now, id: IssueId, issued: Issued) -> Result<(), ApiMisuse> {
        if !self.enter(now) {
            return Ok(());
        }
        let Some(issue) = self.ledger.issues.remove(&id) else { return Ok(()) };
        let key = issue.credential;
        if let Some(entry) = self.ledger.find_mut(key) {
            entry.asked = false;
        }
        let (provision, misuse) = match issued {
            Issued::Nothing => (Provision::Nothing, None),
            Issued::Failed => (Provision::Failed, None),
            Issued::Credential(issued) => {
                self.note_issued(key, &issued);
                match self.check_issued(&issue, *issued) {
                    Ok(provision) => (provision, None),
                    Err(misuse) => (Provision::Failed, Some(misuse)),
                }
            }
        };
        self.conclude(issue, provision, misuse.clone());
        misuse.map_or(Ok(()), Err)
    }

    /// Nobody said in time whether there is a credential.
    pub(super) fn issue_is_late(&mut self, id: IssueId) {
        let Some(issue) = self.ledger.issues.get_mut(&id) else { return };
        let purpose = core::mem::replace(&mut issue.purpose, Purpose::Nobody);
        let (credential, job, lease) = (issue.credential, issue.job, Arc::clone(&issue.lease));
        if !matches!(purpose, Purpose::Nobody) {
            self.conclude(
                Issue { credential, job, lease, budget: Vec::new(), purpose },
                Provision::Failed,
                None,
            );
        }
    }

    fn conclude(&mut self, issue: Issue, provision: Provision, misuse: Option<ApiMisuse>) {
        let key = issue.credential;
        if matches!(provision, Provision::Failed) && !matches!(issue.purpose, Purpose::Nobody) {
            self.event(RuntimeEvent::CredentialFailed { credential: key, job: issue.job, misuse });
        }
        match issue.purpose {
            Purpose::Submit { submission, lease } => {
                self.submit_provisioned(submission, issue.job, lease, key, provision);
            }
            Purpose::Delegation(delegating) => self.delegation_provisioned(*delegating, key, provision),
            Purpose::Rotation(job) => self.rotated(job, key, provision),
            Purpose::Nobody => self.undo(key, &provision),
        }
    }

    /// What is known of an issued credential, for its revocation.
    fn note_issued(&mut self, key: CredentialKey, issued: &IssuedCredential) {
        if let Some(entry) = self.ledger.find_mut(key) {
            // An endpoint that is none would only be shown to whoever has to revoke it.
            entry.record.endpoint =
                (issued.endpoint.len() <= ENDPOINT_BYTES).then(|| issued.endpoint.as_str().into());
            entry.record.expires = issued.expires;
        }
    }

    /// What was issued is not used, or nothing was.
    pub(super) fn undo(&mut self, key: CredentialKey, provision: &Provision) {
        if matches!(provision, Provision::Nothing) {
            self.finish_credential(key, CredentialEdge::Finish);
        } else if let Some(entry) = self.ledger.find_mut(key)
            && entry.record.state == CredentialState::RevokePending
        {
            // What the upstream was told before does not count, and neither does what it answers to that.
            entry.wait_anew();
            if let Some(attempt) = entry.attempt.take() {
                self.ledger.revocations.remove(&attempt);
            }
            // That it must go need not be stored yet.
            self.run_after(self.log.position(), Effect::Revoke(key));
        } else {
            self.revoke(key);
        }
    }

    fn check_issued(&self, issue: &Issue, issued: IssuedCredential) -> Result<Provision, ApiMisuse> {
        let refused = |text: &'static str| ApiMisuse::OutOfRange(text.into());
        let IssuedCredential { value, endpoint, profile, constraints, expires } = issued;
        let text = value.expose();
        if !(1..=VALUE_BYTES).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused("a credential's value must be 1 to 8192 bytes of visible ASCII"));
        }
        if !self.ledger.is_fresh(&value.hash()) {
            return Err(refused("a credential's value must not be that of another job"));
        }
        if endpoint.len() > ENDPOINT_BYTES {
            return Err(refused("a credential's endpoint must have at most 2048 bytes"));
        }
        check_endpoint(&endpoint)
            .map_err(|refusal| ApiMisuse::OutOfRange(format!("a credential's endpoint: {refusal}").into()))?;
        let is_name =
            |text: &str| (1..=PROFILE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        if !profile.as_deref().is_none_or(is_name) {
            return Err(refused("a credential's profile must be 1 to 128 bytes without control characters"));
        }
        self.check_constraints(issue, &constraints)?;
        let credential = Credential {
            id: issue.credential.to_string(),
            scheme: CredentialScheme::Bearer,
            value,
            endpoint,
            profile,
            constraints,
        };
        let held = Held { key: issue.credential, credential: Arc::new(credential) };
        Ok(Provision::Held { held, expires })
    }

    /// What the upstream enforces lies within the lease (CRD-3).
    fn check_constraints(&self, issue: &Issue, constraints: &CredentialConstraints) -> Result<(), ApiMisuse> {
        let told = object_text(|out| {
            CredentialConstraints { expires_at: None, ..constraints.clone() }.write(out);
        });
        let told = RawJson::from_validated(told.into_bytes().into());
        let wrong = |error: WireError| {
            ApiMisuse::OutOfRange(format!("a credential's constraints: {}", error.message).into())
        };
        let told = Lease::restore(&told, constraints.expires_at, |_| false).map_err(wrong)?;
        let left = |currency: &Currency| {
            issue.budget.iter().find(|(known, _)| known == currency).map(|(_, amount)| *amount)
        };
        told.subset_of(&issue.lease, left, self.config.lease_policy).map_err(|violation| {
            ApiMisuse::OutOfRange(
                format!(
                    "a credential's constraints must lie within the job's lease, {} `{}` does not",
                    violation.capability, violation.pattern
                )
                .into(),
            )
        })
    }

    /// Enters what was issued into the ledger; the records of what it is for belong into the same append.
    pub(super) fn record_provision(&mut self, key: CredentialKey, provision: &Provision) {
        match provision {
            Provision::Held { held, expires } => {
                let endpoint: Arc<str> = held.credential.endpoint.as_str().into();
                if let Some(entry) = self.ledger.find_mut(key) {
                    entry.record.endpoint = Some(endpoint);
                    entry.record.expires = *expires;
                }
                self.move_credential(key, CredentialEdge::Issue);
                self.ledger.hold_value(key, held.credential.value.hash());
            }
            Provision::Nothing => {
                self.move_credential(key, CredentialEdge::Finish);
            }
            Provision::Failed => {}
        }
    }

    /// Gives a job what was recorded for it.
    pub(super) fn hold_credential(&mut self, handle: JobHandle, held: Held) {
        let Some(job) = self.jobs.get_mut(handle) else { return };
        let (credential, key) = (held.key, job.key);
        job.credential = Some(held);
        self.event(RuntimeEvent::CredentialIssued { credential, job: key });
    }

    /// Has the credential of a job replaced by a new one, without a word to the old one's holders before the new one is
    /// there. The agent and the submitter are told; the old one is revoked. Nothing happens if that is under way already.
    ///
    /// # Errors
    /// [`ApiMisuse::UnknownHandle`] if there is no such job, [`ApiMisuse::JobEnded`] if it has ended,
    /// [`ApiMisuse::OutOfRange`] if this runtime gives jobs no credentials.
    pub fn rotate_credential(&mut self, now: Now, job: JobHandle) -> Result<(), ApiMisuse> {
        if !self.enter(now) {
            return Ok(());
        }
        let state = self.jobs.get(job).ok_or(ApiMisuse::UnknownHandle)?.state;
        if state.is_final() {
            return Err(ApiMisuse::JobEnded);
        }
        if !self.provisions() {
            let why = "there are no credentials to rotate without a provisioner and a durable store";
            return Err(ApiMisuse::OutOfRange(why.into()));
        }
        self.renew_credential(job);
        Ok(())
    }

    pub(super) fn renew_credential(&mut self, handle: JobHandle) {
        let Some(job) = self.jobs.get_mut(handle) else { return };
        if core::mem::replace(&mut job.renews_credential, true) {
            return;
        }
        let about = (Arc::clone(&job.principal_name), job.agent.clone(), Arc::clone(&job.lease));
        let key = job.key;
        let budget = self.budget_remaining(handle);
        self.ask_for_credential(key, about, budget, Purpose::Rotation(handle));
    }

    /// One commit: the new credential, the end of the old one, and the event that says so.
    fn rotated(&mut self, handle: JobHandle, key: CredentialKey, provision: Provision) {
        let Some(job) = self.jobs.get_mut(handle) else { return self.undo(key, &provision) };
        job.renews_credential = false;
        let before = job.credential_keys.clone();
        // Whatever comes of it, its row is remembered as long as the job.
        job.credential_keys.push(key);
        if job.state.is_final() || job.stopping.is_some() {
            return self.undo(key, &provision);
        }
        match &provision {
            Provision::Failed => {
                self.revoke(key);
                self.settle_lost_credential(handle, true);
            }
            Provision::Nothing => {
                self.finish_credential(key, CredentialEdge::Finish);
                self.settle_lost_credential(handle, false);
            }
            Provision::Held { held, .. } => {
                let held = Box::new(held.clone());
                self.record_provision(key, &provision);
                for old in before {
                    self.revoke(old);
                }
                self.produce(handle, Content::Rotated { credential: key });
                self.run_after_all(Effect::Rotated(handle, held));
                self.settle_lost_credential(handle, false);
            }
        }
    }

    /// The rotation is stored: from here on everybody is given the new credential, unless it has gone in its turn.
    pub(super) fn show_rotated(&mut self, handle: JobHandle, held: Held) {
        let state = self.ledger.find(held.key).map(|entry| entry.record.state);
        if state != Some(CredentialState::Issued) {
            return;
        }
        let credential = Arc::clone(&held.credential);
        self.hold_credential(handle, held);
        self.tell(handle, JobNews::CredentialRotated { credential });
    }

    /// A job that waited for a credential in place of one that a restart lost may start, or fails.
    fn settle_lost_credential(&mut self, handle: JobHandle, failed: bool) {
        let Some(job) = self.jobs.get_mut(handle) else { return };
        if !core::mem::take(&mut job.lost_credential) {
            return;
        }
        let (principal, is_restart) = (job.principal, job.restart.is_some());
        if failed {
            self.fail_job(handle, Self::no_credential());
        } else if is_restart {
            self.run_again(handle);
        } else {
            self.start_queued(principal);
        }
    }

    pub(super) fn no_credential() -> WireError {
        WireError::new(ErrorCode::InternalError, "no credential could be issued for the job")
    }

    /// The credentials of a job as this session may see them over its connection (D-17).
    pub(super) fn shown_credentials(&self, session: SessionHandle, job: &Job) -> Vec<Credential> {
        let held = job.credential.as_ref();
        let held = held.filter(|held| self.may_have_value(session, job, &held.credential));
        held.map(|held| Credential::clone(&held.credential)).into_iter().collect()
    }

    fn may_have_value(&self, session: SessionHandle, job: &Job, credential: &Credential) -> bool {
        let Some(session) = self.sessions.get(session) else { return false };
        let connection = session.attached.and_then(|connection| self.connections.get(connection));
        session.principal == job.principal
            && session.features.has(Feature::ProvisionedCredentials)
            && session.profile.takes_credential(credential.scheme.as_str())
            && connection.is_some_and(|connection| connection.is_private)
    }

    /// Puts the new value into a rotation that leaves for somebody who may have it, while it is the current one (D-18).
    pub(super) fn with_value(&self, session: SessionHandle, frame: Frame) -> Frame {
        let Frame::Numbered { line, seq, event } = &frame else { return frame };
        let Content::Rotated { credential } = event.content else { return frame };
        let job = self.job_keys.get(&line.job()).and_then(|job| self.jobs.get(*job));
        let Some((job, held)) = job.and_then(|job| Some((job, job.credential.as_ref()?))) else {
            return frame;
        };
        if held.key != credential || !self.may_have_value(session, job, &held.credential) {
            return frame;
        }
        let value: &Secret = &held.credential.value;
        let content =
            Content::Event { kind: EventKind::Status, body: rotation_with_value(credential, value) };
        let event = Arc::new(LoggedEvent { ts: event.ts, pos: event.pos, content });
        // As text, so that nobody keeps it with the events.
        Frame::Text(Frame::Numbered { line: Arc::clone(line), seq: *seq, event }.encode())
    }
}
