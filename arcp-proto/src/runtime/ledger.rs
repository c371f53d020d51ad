//! The ledger of provisioned credentials: which there are, for which jobs, and how far they are (protocol §5.9).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::id::{CredentialKey, JobKey};
use crate::lease::{Amount, Currency, Lease};
use crate::runtime::delegation::Delegating;
use crate::runtime::store::CredentialRecord;
use crate::runtime::{DecisionId, IssueId, JobHandle, RevocationId};
use crate::secret::TokenHash;
use crate::time::Instant;
use crate::transition::lifecycle;
use crate::wire::credential::Credential;

/// The wait before the first repetition of a revocation; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

lifecycle! {
    /// How far a provisioned credential is.
    ///
    /// ```text
    ///   intent → issued → revoke_pending → revoked
    ///     ├─────────────→      │
    ///     └─→ revoked          └─→ gave_up
    /// ```
    pub enum CredentialState {
        /// It is about to be asked for, or has been. Whether it exists is not known.
        Intent = "intent",
        /// It exists.
        Issued = "issued",
        /// It must go; the upstream is told until it says that it is gone.
        RevokePending = "revoke_pending",
        /// Nothing of it is good any more: it was revoked, the upstream's own end has passed, or none was issued.
        Revoked = "revoked",
        /// The upstream will never revoke it; an operator has to see to it.
        GaveUp = "gave_up",
    }
    /// What happens to a credential.
    pub(crate) enum CredentialEdge {
        /// The provisioner issued it.
        Issue: Intent => Issued,
        /// It must go.
        Revoke: Intent | Issued => RevokePending,
        /// It is gone.
        Finish: Intent | RevokePending => Revoked,
        /// It cannot be revoked.
        GiveUp: RevokePending => GaveUp,
    }
}

impl CredentialState {
    /// Whether nothing remains to be done.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Revoked | Self::GaveUp)
    }
}

/// The current credential of a job, while its value is in memory.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) key: CredentialKey,
    pub(crate) credential: Arc<Credential>,
}

/// One credential.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) record: CredentialRecord,
    /// The provisioner has not said yet what became of it; until it has, no revocation is the last.
    pub(crate) asked: bool,
    /// The revocation whose answer counts.
    pub(crate) attempt: Option<RevocationId>,
    /// When it is to be revoked again.
    pub(crate) due: Option<Instant>,
    wait: Duration,
    /// How long to wait if the revocation under way has to be repeated.
    pub(crate) retry_after: Duration,
    /// Of the value, while it is in memory.
    value: Option<TokenHash>,
}

impl Entry {
    /// Settles how long to wait before the next repetition, longer each time.
    pub(crate) fn begin_attempt(&mut self, id: RevocationId) -> Option<RevocationId> {
        self.retry_after = self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.attempt.replace(id)
    }

    /// Begins as for the first time: there is news.
    pub(crate) const fn wait_anew(&mut self) {
        self.wait = FIRST_WAIT;
        self.due = None;
    }
}

/// What a credential is asked for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A submit that is accepted with it.
    Submit { submission: DecisionId, lease: Arc<Lease> },
    /// A delegation that is accepted with it.
    Delegation(Box<Delegating>),
    /// A job that has one, or had one before a restart.
    Rotation(JobHandle),
    /// Nobody waits for it any more; should it be issued it is revoked.
    Nobody,
}

/// A question to the provisioner.
#[derive(Debug)]
pub(crate) struct Issue {
    pub(crate) credential: CredentialKey,
    pub(crate) job: JobKey,
    pub(crate) lease: Arc<Lease>,
    /// What is left to spend of each limited currency.
    pub(crate) budget: Vec<(Currency, Amount)>,
    pub(crate) purpose: Purpose,
}

/// Every credential that is not forgotten, and the questions about them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<CredentialKey, Entry>,
    pub(crate) issues: BTreeMap<IssueId, Issue>,
    pub(crate) revocations: BTreeMap<RevocationId, CredentialKey>,
    values: BTreeSet<TokenHash>,
}

impl Ledger {
    pub(crate) fn enter(&mut self, record: CredentialRecord) {
        let key = record.key;
        let entry = Entry {
            record,
            asked: false,
            attempt: None,
            due: None,
            wait: FIRST_WAIT,
            retry_after: FIRST_WAIT,
            value: None,
        };
        self.entries.insert(key, entry);
    }

    pub(crate) fn find(&self, key: CredentialKey) -> Option<&Entry> {
        self.entries.get(&key)
    }

    pub(crate) fn find_mut(&mut self, key: CredentialKey) -> Option<&mut Entry> {
        self.entries.get_mut(&key)
    }

    pub(crate) fn remove(&mut self, key: CredentialKey) {
        self.drop_value(key);
        self.entries.remove(&key);
    }

    /// The credentials of which something remains to be done.
    pub(crate) fn open(&self) -> Vec<CredentialKey> {
        let open = self.entries.iter().filter(|(_, entry)| !entry.record.state.is_final());
        open.map(|(key, _)| *key).collect()
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &CredentialRecord> {
        self.entries.values().map(|entry| &entry.record)
    }

    /// Whether no credential in memory has this value.
    pub(crate) fn is_fresh(&self, value: &TokenHash) -> bool {
        !self.values.contains(value)
    }

    pub(crate) fn hold_value(&mut self, key: CredentialKey, value: TokenHash) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.value = Some(value);
            self.values.insert(value);
        }
    }

    pub(crate) fn drop_value(&mut self, key: CredentialKey) {
        if let Some(value) = self.entries.get_mut(&key).and_then(|entry| entry.value.take()) {
            self.values.remove(&value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transition::Step;
    use std::fmt::Write;
    use std::string::String;

    #[test]
    fn the_lifecycle_is_the_published_one() {
        let mut table = String::new();
        for state in CredentialState::ALL {
            for edge in CredentialEdge::ALL {
                let step = match state.on(*edge) {
                    Step::To(next) => next.as_str(),
                    Step::NoOp => "-",
                    Step::Illegal => "illegal",
                };
                writeln!(table, "{:<14} {edge:?} → {step}", state.as_str()).unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }
}
