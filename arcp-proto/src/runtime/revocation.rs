//! Credentials that must go: with their job, with a rotation, or because nothing came of what they were for (D-52, D-53).
//!
//! A revocation is asked for once it is stored that it must be, and again, ever more rarely, until the upstream says that
//! the credential is gone or its own end has passed.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::id::CredentialKey;
use crate::runtime::ledger::{CredentialEdge, CredentialState};
use crate::runtime::output::Output;
use crate::runtime::provisioner::{Revocation, Revoked};
use crate::runtime::store::{CredentialRecord, Record, Trim};
use crate::runtime::{Effect, JobHandle, JobState, RevocationId, RuntimeEndpoint, RuntimeEvent, Timer};
use crate::time::Now;
use crate::transition::Step;

impl RuntimeEndpoint {
    /// Takes a credential along an edge and records it; `false` if it has no such edge.
    pub(super) fn move_credential(&mut self, key: CredentialKey, edge: CredentialEdge) -> bool {
        let Some(entry) = self.ledger.find_mut(key) else { return false };
        let Step::To(state) = entry.record.state.on(edge) else { return false };
        entry.record.state = state;
        let record = entry.record.clone();
        if state != CredentialState::Issued {
            self.ledger.drop_value(key);
        }
        self.log.append(Record::Credential(record), 160);
        true
    }

    /// A credential must go; the upstream is told once that is stored.
    pub(super) fn revoke(&mut self, key: CredentialKey) {
        if self.move_credential(key, CredentialEdge::Revoke) {
            self.run_after_all(Effect::Revoke(key));
        }
    }

    /// The credentials of a job that ends, and those of its children, which it takes with it (CRD-4). Recorded before the
    /// terminal, so that both are in one append.
    pub(super) fn revoke_with_job(&mut self, handle: JobHandle) {
        let Some(job) = self.jobs.get_mut(handle) else { return };
        job.credential = None;
        let keys = job.credential_keys.clone();
        let children: Vec<_> = job.children.iter().copied().collect();
        for key in keys {
            self.revoke(key);
        }
        for child in children {
            self.revoke_with_job(child);
        }
    }

    /// It is stored that a credential must go.
    pub(super) fn begin_revocation(&mut self, key: CredentialKey) {
        if self.ledger.find(key).is_some_and(|entry| entry.due.is_none()) {
            self.revoke_now(key);
        }
    }

    /// Tells the upstream.
    pub(super) fn revoke_now(&mut self, key: CredentialKey) {
        // What a runtime without a provisioner cannot revoke waits in the ledger for one that can.
        if !self.provisions() {
            return;
        }
        let id = RevocationId(self.question());
        let (now, patience) = (self.now, self.config.limits.decision_timeout);
        let Some(entry) = self.ledger.find_mut(key) else { return };
        if entry.record.state != CredentialState::RevokePending {
            return;
        }
        if !entry.asked && entry.record.expires.is_some_and(|expires| expires <= now.unix) {
            return self.finish_credential(key, CredentialEdge::Finish);
        }
        let before = entry.begin_attempt(id);
        let due = now.mono.after(entry.retry_after.max(patience));
        entry.due = Some(due);
        let CredentialRecord { job, endpoint, .. } = entry.record.clone();
        if let Some(before) = before {
            self.ledger.revocations.remove(&before);
        }
        self.ledger.revocations.insert(id, key);
        self.timers.arm(due, Timer::Revoke(key));
        let revocation = Revocation { credential: key, job, endpoint };
        self.outputs.push_back(Output::RevokeCredential { id, revocation: Box::new(revocation) });
    }

    /// The answer to [`Output::RevokeCredential`]. One to a revocation that was repeated meanwhile is ignored.
    pub fn handle_revoked(&mut self, now: Now, id: RevocationId, revoked: Revoked) {
        if !self.enter(now) {
            return;
        }
        let Some(key) = self.ledger.revocations.remove(&id) else { return };
        let mono = self.now.mono;
        let Some(entry) = self.ledger.find_mut(key) else { return };
        entry.attempt = None;
        match revoked {
            Revoked::Done if !entry.asked => self.finish_credential(key, CredentialEdge::Finish),
            Revoked::GiveUp if !entry.asked => self.finish_credential(key, CredentialEdge::GiveUp),
            // While it may still be issued, no revocation is the last.
            Revoked::Done | Revoked::GiveUp | Revoked::Retry => {
                let due = mono.after(entry.retry_after);
                entry.due = Some(due);
                self.timers.arm(due, Timer::Revoke(key));
            }
        }
    }

    pub(super) fn revocation_is_due(&mut self, key: CredentialKey) {
        let due = self.ledger.find(key).and_then(|entry| entry.due);
        if due.is_some_and(|due| due <= self.now.mono) {
            self.revoke_now(key);
        }
    }

    /// Nothing remains to be done about a credential. Its row stays as long as its job is remembered.
    pub(super) fn finish_credential(&mut self, key: CredentialKey, edge: CredentialEdge) {
        let was_live =
            self.ledger.find(key).is_some_and(|entry| entry.record.state != CredentialState::Intent);
        if !self.move_credential(key, edge) {
            return;
        }
        let Some(entry) = self.ledger.find_mut(key) else { return };
        entry.due = None;
        let attempt = entry.attempt.take();
        let (job, state) = (entry.record.job, entry.record.state);
        if let Some(attempt) = attempt {
            self.ledger.revocations.remove(&attempt);
        }
        if state == CredentialState::GaveUp {
            self.event(RuntimeEvent::CredentialGivenUp { credential: key, job });
        } else if was_live {
            self.event(RuntimeEvent::CredentialRevoked { credential: key, job });
        }
        if !self.job_keys.contains_key(&job) {
            self.forget_credential(key);
        }
    }

    /// Takes back what the ledger says after a restart, which no value has survived. A job that has not started, or
    /// is to be run again, is to have another credential first.
    pub(super) fn recover_credentials(&mut self, records: Vec<CredentialRecord>) {
        let mut left = BTreeSet::new();
        for record in records {
            let (key, state, was_issued) = (record.key, record.state, record.endpoint.is_some());
            let job = self.job_keys.get(&record.job).copied();
            self.ledger.enter(record);
            match job.and_then(|job| Some((job, self.jobs.get_mut(job)?))) {
                Some((handle, job)) => {
                    job.credential_keys.push(key);
                    // Also if it was revoked at an earlier restart, which was interrupted in its turn.
                    let is_to_run = job.state == JobState::Pending || job.restart.is_some();
                    if was_issued && is_to_run && job.stopping.is_none() {
                        job.lost_credential = true;
                        left.insert(handle);
                    }
                }
                None if state.is_final() => self.forget_credential(key),
                None => {}
            }
        }
        if self.provisions() {
            for handle in left {
                self.renew_credential(handle);
            }
        }
    }

    /// After a restart everything goes that is not known to be gone, but for what is being asked for anew.
    pub(super) fn sweep_credentials(&mut self) {
        if !self.provisions() {
            return;
        }
        let new: BTreeSet<_> = self.ledger.issues.values().map(|issue| issue.credential).collect();
        for key in self.ledger.open() {
            match self.ledger.find(key).map(|entry| entry.record.state) {
                Some(CredentialState::RevokePending) => self.run_after_all(Effect::Revoke(key)),
                Some(_) if !new.contains(&key) => self.revoke(key),
                _ => {}
            }
        }
    }

    /// The credentials that are not known to be gone, those among them that nobody could revoke.
    pub fn live_credentials(&self) -> impl Iterator<Item = &CredentialRecord> {
        self.ledger.records().filter(|record| record.state != CredentialState::Revoked)
    }

    /// The job of these credentials is forgotten, and so are they once they are gone.
    pub(super) fn forget_credentials(&mut self, keys: &[CredentialKey]) {
        for key in keys {
            if self.ledger.find(*key).is_some_and(|entry| entry.record.state.is_final()) {
                self.forget_credential(*key);
            }
        }
    }

    fn forget_credential(&mut self, key: CredentialKey) {
        self.ledger.remove(key);
        self.forget(Trim::Credential(key));
    }
}
