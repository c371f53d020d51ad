//! What a provisioner is asked, and what it answers (protocol §5.9).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::agent::AgentRef;
use crate::id::{CredentialKey, JobKey};
use crate::lease::{Amount, Currency, Lease};
use crate::secret::Secret;
use crate::time::UnixTime;
use crate::wire::credential::CredentialConstraints;

/// A credential that is asked for.
#[derive(Debug, Clone)]
pub struct IssueRequest {
    /// Names it from here on, in its revocation too. Stored before the provisioner is asked.
    pub credential: CredentialKey,
    /// The job it is for. It does not exist yet, unless its credential is being rotated.
    pub job: JobKey,
    /// Who submitted the job, or the one at the root of its delegations.
    pub principal: Arc<str>,
    /// The resolved agent.
    pub agent: AgentRef,
    /// The job's effective lease: its models and its end are to be enforced.
    pub lease: Arc<Lease>,
    /// What is left to spend of each limited currency.
    pub budget: Vec<(Currency, Amount)>,
}

/// The answer to [`Output::IssueCredential`](crate::runtime::Output::IssueCredential).
#[derive(Debug, Clone)]
pub enum Issued {
    /// Such a job needs none, and none was issued.
    Nothing,
    /// It was issued.
    Credential(Box<IssuedCredential>),
    /// It was not, as far as is known. What was issued all the same is revoked.
    Failed,
}

/// A credential as the provisioner made it.
#[derive(Debug, Clone)]
pub struct IssuedCredential {
    /// The bearer token: 1 to 8 192 bytes of visible ASCII, not that of another job.
    pub value: Secret,
    /// Where it is good: an https URL, or an http URL of this machine.
    pub endpoint: String,
    /// Which interface the endpoint speaks, such as `openai`: 1 to 128 bytes.
    pub profile: Option<String>,
    /// What the upstream itself enforces; within the job's lease.
    pub constraints: CredentialConstraints,
    /// When the upstream itself stops taking it, after which it need not be revoked; `None` if it does not, or that is not
    /// known.
    pub expires: Option<UnixTime>,
}

impl IssuedCredential {
    /// A bearer token that is good at this endpoint, of which nothing more is known.
    #[must_use]
    pub fn bearer(value: impl Into<Secret>, endpoint: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            endpoint: endpoint.into(),
            profile: None,
            constraints: CredentialConstraints::default(),
            expires: None,
        }
    }
}

/// A credential that must go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The credential, as [`IssueRequest`] named it.
    pub credential: CredentialKey,
    /// The job it was for.
    pub job: JobKey,
    /// Where it is good; `None` if it is not known to have been issued.
    pub endpoint: Option<Arc<str>>,
}

/// The answer to [`Output::RevokeCredential`](crate::runtime::Output::RevokeCredential).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It is not good any more, or never was.
    Done,
    /// It could not be revoked now; it is tried again.
    Retry,
    /// It can never be revoked; an operator is told.
    GiveUp,
}
