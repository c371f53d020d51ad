//! Credentials: what is recorded of them against what the upstream has (CRD-1 to CRD-4).

use arcp_proto::id::CredentialKey;
use arcp_proto::runtime::store::{CredentialRecord, Record};
use arcp_proto::runtime::{CredentialState, IssueRequest, Issued, IssuedCredential, Revocation, Revoked};
use arcp_proto::wire::credential::Credential as Held;
use arcp_proto::wire::event::Content;

use super::Oracle;
use super::lease::Terms;

/// What the upstream has of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Upstream {
    #[default]
    Nothing,
    Live,
    Gone,
}

/// What the runtime was told came of asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Made,
    Failed,
}

/// One credential.
#[derive(Debug)]
pub(super) struct Credential {
    key: u128,
    /// Of its job.
    job: u128,
    /// As the runtime goes by it, and as its store has it.
    given: CredentialState,
    stored: Option<CredentialState>,
    /// The append that brought the newest stored state, and the one that said that it was issued.
    append: u64,
    pub(super) issued: u64,
    /// The process that holds its value.
    incarnation: u64,
    told: Option<Told>,
    /// As the upstream made it.
    made: Option<IssuedCredential>,
    upstream: Upstream,
    given_up: bool,
}

impl Credential {
    /// The secret itself.
    pub(super) fn value(&self) -> Option<&str> {
        self.made.as_ref().map(|made| made.value.expose())
    }

    pub(super) fn is_of(&self, job: u128) -> bool {
        self.job == job
    }
}

impl Oracle {
    pub(super) fn credential(&self, key: u128) -> Option<usize> {
        self.credentials.iter().rposition(|credential| credential.key == key)
    }

    /// The provisioner is asked for a credential.
    pub fn issue_asked(&mut self, request: &IssueRequest) {
        let Some(credential) = self.credential(request.credential.ulid().bits()) else {
            self.fail("CRD-2", format_args!("a credential is asked for that is not in the ledger"));
            return;
        };
        let state = &self.credentials[credential];
        if state.stored != Some(CredentialState::Intent) || !self.is_committed(state.append) {
            self.fail("CRD-2", format_args!("a credential is asked for before that is committed"));
        } else if state.job != request.job.ulid().bits() {
            self.fail("CRD-2", format_args!("a credential is asked for another job than is in the ledger"));
        }
    }

    /// The upstream has made a credential.
    pub fn upstream_issued(&mut self, key: CredentialKey, made: &IssuedCredential) {
        let Some(credential) = self.credential(key.ulid().bits()) else { return };
        let state = &mut self.credentials[credential];
        state.upstream = Upstream::Live;
        state.made = Some(made.clone());
        if state.given.is_final() || state.stored.is_none_or(CredentialState::is_final) {
            self.fail("CRD-2", format_args!("a credential is made that nothing is left to be done about"));
        }
    }

    /// The upstream does not take a credential any more.
    pub fn upstream_revoked(&mut self, key: CredentialKey) {
        if let Some(credential) = self.credential(key.ulid().bits()) {
            let state = &mut self.credentials[credential].upstream;
            if *state == Upstream::Live {
                *state = Upstream::Gone;
            }
        }
    }

    /// The runtime is told what came of asking for a credential.
    pub fn issue_answered(&mut self, key: CredentialKey, issued: &Issued) {
        if let Some(credential) = self.credential(key.ulid().bits()) {
            self.credentials[credential].told = Some(match issued {
                Issued::Nothing => Told::Nothing,
                Issued::Credential(_) => Told::Made,
                Issued::Failed => Told::Failed,
            });
        }
    }

    /// The provisioner is asked to revoke a credential.
    pub fn revocation_asked(&mut self, revocation: &Revocation) {
        let Some(credential) = self.credential(revocation.credential.ulid().bits()) else {
            self.fail("CRD-1", format_args!("a credential is revoked that is not in the ledger"));
            return;
        };
        let state = &self.credentials[credential];
        if state.stored != Some(CredentialState::RevokePending) || !self.is_committed(state.append) {
            self.fail("CRD-1", format_args!("a credential is revoked before that is committed"));
        } else if state.job != revocation.job.ulid().bits() {
            self.fail("CRD-1", format_args!("a credential is revoked as that of another job"));
        }
    }

    /// The runtime is told what came of revoking a credential.
    pub fn revocation_answered(&mut self, key: CredentialKey, revoked: Revoked) {
        if let Some(credential) = self.credential(key.ulid().bits()) {
            self.credentials[credential].given_up |= revoked == Revoked::GiveUp;
        }
    }

    /// An agent is given a credential.
    pub fn agent_holds(&mut self, job: arcp_proto::id::JobKey, held: &Held) {
        let credential = self.credential(super::read::ulid(&held.id));
        let Some(credential) = credential.map(|index| &self.credentials[index]) else {
            self.fail("CRD-3", format_args!("an agent is given a credential that is not in the ledger"));
            return;
        };
        if !credential.is_of(job.ulid().bits()) || credential.value() != Some(held.value.expose()) {
            self.fail("CRD-3", format_args!("an agent is given what was not made for its job"));
        } else if credential.issued == 0 || !self.is_committed(credential.issued) {
            self.fail("SEQ-6", format_args!("an agent is given a credential that is not committed"));
        }
    }

    /// The value of a credential that some job has at this moment.
    #[must_use]
    pub fn held_value(&self) -> Option<&str> {
        let held = self.credentials.iter().rev().find(|credential| self.is_held(credential));
        held.and_then(Credential::value)
    }

    fn is_held(&self, credential: &Credential) -> bool {
        credential.given == CredentialState::Issued && credential.incarnation == self.incarnation
    }

    /// What an append says of credentials, and what has to stand beside it.
    pub(super) fn credentials_given(&mut self, records: &[Record]) {
        for record in records {
            if let Record::Credential(record) = record {
                self.credential_given(record, records);
            }
        }
        for record in records {
            match record {
                Record::Job(record) if self.config.provisions => {
                    self.judge_provisioned(record.key.ulid().bits());
                }
                Record::Event(record) if matches!(record.event.content, Content::End(_)) => {
                    if let Some(job) = self.job(record.job.ulid().bits()) {
                        self.judge_taken_along(job);
                    }
                }
                _ => {}
            }
        }
    }

    fn credential_given(&mut self, record: &CredentialRecord, records: &[Record]) {
        let key = record.key.ulid().bits();
        let Some(index) = self.credential(key) else {
            if record.state != CredentialState::Intent {
                self.fail("CRD-2", format_args!("a credential is in the ledger as {:?} first", record.state));
            }
            self.credentials.push(Credential {
                key,
                job: record.job.ulid().bits(),
                given: record.state,
                stored: None,
                append: 0,
                issued: 0,
                incarnation: self.incarnation,
                told: None,
                made: None,
                upstream: Upstream::Nothing,
                given_up: false,
            });
            return;
        };
        let state = &self.credentials[index];
        let (before, upstream, told) = (state.given, state.upstream, state.told);
        let is_over = record.expires.is_some_and(|end| end.as_millis() <= self.latest);
        match (before, record.state) {
            (CredentialState::Intent, CredentialState::Issued) => self.judge_issued(index),
            (CredentialState::Issued, CredentialState::RevokePending) => {
                self.judge_revoked(index, records);
            }
            (CredentialState::Intent, CredentialState::RevokePending) => {}
            (CredentialState::Intent | CredentialState::RevokePending, CredentialState::Revoked) => {
                if upstream == Upstream::Live && !is_over {
                    self.fail("CRD-1", format_args!("{} is written off and still good", record.key));
                } else if before == CredentialState::Intent && told != Some(Told::Nothing) {
                    self.fail("CRD-1", format_args!("{} is written off before anybody said so", record.key));
                }
            }
            (CredentialState::RevokePending, CredentialState::GaveUp) if state.given_up => {}
            (before, after) => {
                self.fail("CRD-1", format_args!("{} goes from {before:?} to {after:?}", record.key));
            }
        }
        self.credentials[index].given = record.state;
    }

    /// A credential is going to be used.
    fn judge_issued(&mut self, index: usize) {
        let credential = &self.credentials[index];
        let Some(made) = credential.made.clone().filter(|_| credential.told == Some(Told::Made)) else {
            self.fail("CRD-3", format_args!("a credential is used that was not issued"));
            return;
        };
        let value = made.value.expose();
        let is_sound = !value.is_empty()
            && value.bytes().all(|byte| byte.is_ascii_graphic())
            && made.endpoint.starts_with("https://")
            && !made.profile.as_deref().is_some_and(|profile| profile.contains(char::is_control));
        let is_taken = |other: &&Credential| {
            self.is_held(other) && other.job != credential.job && other.value() == Some(value)
        };
        if !is_sound {
            self.fail("CRD-3", format_args!("a credential is used that is none"));
        } else if self.credentials.iter().any(|other| is_taken(&other)) {
            self.fail("CRD-3", format_args!("two jobs have the same credential"));
        }
        self.credentials[index].incarnation = self.incarnation;
        let Some(job) = self.job(self.credentials[index].job) else {
            self.fail("CRD-3", format_args!("a credential is used for a job that is not accepted"));
            return;
        };
        let constraints = &made.constraints;
        if let Some(what) = self.jobs[job].lease.constrained_beyond(&Terms::constraints(constraints)) {
            self.fail("CRD-3", format_args!("a credential is good for more than its job's lease: {what}"));
        }
    }

    /// A credential is recorded, behind what is recorded before it: one that is going to be used is not of a job that is
    /// over by then.
    pub(super) fn judge_timely(&mut self, record: &CredentialRecord) {
        if record.state != CredentialState::Issued {
            return;
        }
        let Some(job) = self.job(record.job.ulid().bits()) else { return };
        if let Some(over) = self.ended_above(job) {
            let property = if over == job { "CRD-1" } else { "CRD-4" };
            self.fail(property, format_args!("a credential is issued for a job that is over"));
        }
    }

    /// A job or one above it that has ended, as the runtime goes by it.
    fn ended_above(&self, job: usize) -> Option<usize> {
        let mut above = Some(job);
        while let Some(job) = above {
            if self.jobs[job].live_end {
                return Some(job);
            }
            above = self.jobs[job].parent;
        }
        None
    }

    /// A credential that is in use goes with its job or one above it, for another one, or since its value was lost.
    fn judge_revoked(&mut self, index: usize, records: &[Record]) {
        let credential = &self.credentials[index];
        let is_lost = credential.incarnation != self.incarnation;
        let is_rotated = records.iter().any(|record| {
            matches!(record, Record::Credential(other)
                if other.state == CredentialState::Issued
                    && other.job.ulid().bits() == credential.job
                    && other.key.ulid().bits() != credential.key)
        });
        let is_over = self.job(credential.job).is_none_or(|job| self.ended_above(job).is_some());
        if !is_lost && !is_rotated && !is_over {
            self.fail("CRD-1", format_args!("a credential is revoked while its job needs it"));
        }
    }

    /// A job is accepted: by then it is known whether it has a credential.
    fn judge_provisioned(&mut self, job: u128) {
        let known = self.credentials.iter().rev().find(|credential| credential.job == job);
        let is_settled = known.is_some_and(|credential| {
            matches!(credential.given, CredentialState::Issued | CredentialState::Revoked)
        });
        if !is_settled {
            self.fail("CRD-3", format_args!("a job is accepted before its credential is there"));
        }
    }

    /// A job ends: its credentials, and those of the jobs below it, go in the same append.
    fn judge_taken_along(&mut self, ended: usize) {
        let is_below = |job: usize| {
            let mut above = Some(job);
            while let Some(job) = above {
                if job == ended {
                    return true;
                }
                above = self.jobs[job].parent;
            }
            false
        };
        let left = self.credentials.iter().find(|credential| {
            credential.given == CredentialState::Issued && self.job(credential.job).is_some_and(is_below)
        });
        if let Some(left) = left {
            let property = if left.job == self.jobs[ended].key { "CRD-1" } else { "CRD-4" };
            self.fail(property, format_args!("a job ends, and a credential that should go with it stays"));
        }
    }

    pub(super) fn credential_stored(&mut self, append: u64, record: &CredentialRecord) {
        let Some(index) = self.credential(record.key.ulid().bits()) else { return };
        let credential = &mut self.credentials[index];
        credential.stored = Some(record.state);
        credential.append = append;
        if record.state == CredentialState::Issued {
            credential.issued = append;
        }
    }

    /// The store is told to forget a credential.
    pub(super) fn credential_forgotten(&mut self, key: CredentialKey) {
        let Some(index) = self.credential(key.ulid().bits()) else { return };
        if !self.credentials[index].given.is_final() {
            self.fail("CRD-1", format_args!("{key} is forgotten before it is gone"));
        }
    }

    /// The process is gone: what it had not stored, and what it was told, is not known any more.
    pub(super) fn credentials_lost(&mut self) {
        self.credentials.retain(|credential| credential.stored.is_some());
        for credential in &mut self.credentials {
            if let Some(stored) = credential.stored {
                credential.given = stored;
            }
            credential.told = None;
            credential.given_up = false;
        }
    }

    /// A credential that is still good, though its job is over; and whether a job above it ended first.
    #[must_use]
    pub fn live_credential(&self) -> Option<(&'static str, String)> {
        let left = self.credentials.iter().find(|credential| {
            let expires = credential.made.as_ref().and_then(|made| made.expires);
            let is_over = credential.given == CredentialState::Revoked
                && expires.is_some_and(|end| end.as_millis() <= self.latest);
            let is_open = !credential.given.is_final()
                || credential.upstream == Upstream::Live
                    && credential.given != CredentialState::GaveUp
                    && !is_over;
            is_open && self.job(credential.job).is_none_or(|job| self.ended_above(job).is_some())
        })?;
        let is_child = self.job(left.job).is_some_and(|job| self.jobs[job].parent.is_some());
        let key = CredentialKey::from_ulid(arcp_proto::id::Ulid::from_bits(left.key));
        Some((if is_child { "CRD-4" } else { "CRD-1" }, format!("{key} is {:?} for good", left.given)))
    }

    pub(super) fn tally_credentials(&self, counts: &mut crate::sim::Counts) {
        let used = || self.credentials.iter().filter(|credential| credential.issued > 0);
        let first = |credential: &&Credential| {
            used().find(|other| other.job == credential.job).is_some_and(|first| first.key == credential.key)
        };
        counts.credentials += used().count() as u64;
        counts.rotations += used().filter(|credential| !first(credential)).count() as u64;
        counts.values += self.values_shown;
    }
}
