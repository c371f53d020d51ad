//! What is worth a log line, a counter or an audit entry.

use alloc::string::String;
use alloc::sync::Arc;

use crate::error::{ApiMisuse, ErrorCode};
use crate::id::{CredentialKey, JobKey, SessionKey};
use crate::lease::Capability;
use crate::runtime::ConnectionId;
use crate::wire::job::FinalStatus;

/// What a principal wants with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// To begin to follow it.
    Subscribe,
    /// To go on following it, after [`policy_changed`](crate::runtime::RuntimeEndpoint::policy_changed) or a recovery. Told
    /// only where it may not.
    Follow,
    /// To cancel it.
    Cancel,
}

/// What came of a question of sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It may.
    Allowed,
    /// It may not, and was told so (`PERMISSION_DENIED`).
    Refused,
    /// It was told that there is no such job (`JOB_NOT_FOUND`), whether or not there is one.
    Hidden,
}

/// Something worth a log line or a counter. Never holds a secret or peer text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimeEvent {
    /// A session was opened or resumed.
    SessionAttached {
        /// The session.
        session: SessionKey,
        /// Its principal.
        principal: Arc<str>,
        /// Whether it continues an earlier connection.
        resumed: bool,
    },
    /// A session lost its connection.
    SessionDetached {
        /// The session.
        session: SessionKey,
    },
    /// A session can no longer be resumed.
    SessionDead {
        /// The session.
        session: SessionKey,
    },
    /// A hello was refused with this code.
    HelloRefused {
        /// The code sent.
        code: ErrorCode,
    },
    /// A job was accepted.
    JobAccepted {
        /// The job.
        job: JobKey,
        /// Its principal.
        principal: Arc<str>,
    },
    /// A job ended.
    JobEnded {
        /// The job.
        job: JobKey,
        /// How.
        status: FinalStatus,
    },
    /// An operation of an agent was judged (protocol §5.4).
    Operation {
        /// The job.
        job: JobKey,
        /// What was asked for.
        capability: Capability,
        /// On what, in its one spelling if it has one; without the query of a URL.
        target: String,
        /// Why not, if it was denied.
        denied: Option<ErrorCode>,
    },
    /// A decision granted more than was asked for, or dropped a restriction; the submit was refused.
    LeaseTooWide {
        /// Who submitted.
        principal: Arc<str>,
    },
    /// A credential was issued for a job.
    CredentialIssued {
        /// The credential.
        credential: CredentialKey,
        /// The job.
        job: JobKey,
    },
    /// No credential could be issued for a job, which is not accepted then, or goes on with the one it has.
    CredentialFailed {
        /// The credential that was asked for.
        credential: CredentialKey,
        /// The job.
        job: JobKey,
        /// What is wrong with the one that the provisioner made, if that is why. Never its value.
        misuse: Option<ApiMisuse>,
    },
    /// A credential is not good any more.
    CredentialRevoked {
        /// The credential.
        credential: CredentialKey,
        /// The job it was for.
        job: JobKey,
    },
    /// The provisioner will never revoke a credential: an operator has to see to it.
    CredentialGivenUp {
        /// The credential.
        credential: CredentialKey,
        /// The job it was for.
        job: JobKey,
    },
    /// A job's lease has ended; the job is being stopped.
    LeaseExpired {
        /// The job.
        job: JobKey,
    },
    /// What a principal asked of one job, or still had of it, was judged: the audit entry of subscribe and cancel
    /// (protocol §3.6).
    Access {
        /// Who asked.
        principal: Arc<str>,
        /// For what.
        access: Access,
        /// The job; `None` if there is none of that id.
        job: Option<JobKey>,
        /// Who submitted it.
        submitter: Option<Arc<str>>,
        /// What came of it.
        decision: Decision,
    },
    /// A page of jobs was listed.
    Listed {
        /// Who asked.
        principal: Arc<str>,
        /// How many jobs are on the page.
        jobs: usize,
        /// How many of them other principals submitted.
        others: usize,
    },
    /// A frame could not be read.
    Malformed {
        /// Its connection.
        connection: ConnectionId,
    },
    /// A request was refused without an answer, which its client would have taken for more than it is (protocol §12.3).
    RefusedSilently {
        /// The session.
        session: SessionKey,
        /// Why.
        code: ErrorCode,
    },
    /// The store has no room; nothing new is accepted until it has.
    StoreFull,
    /// The store took the append that it had no room for.
    StoreRecovered,
}
