//! What a runtime endpoint asks of its driver, and what the driver decides.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::agent::AgentRef;
use crate::close::CloseCode;
use crate::lease::Lease;
use crate::runtime::agent::{JobNews, StartJob, StopReason};
use crate::runtime::event::RuntimeEvent;
use crate::runtime::provisioner::{IssueRequest, Revocation};
use crate::runtime::store::{Command, StoreId};
use crate::secret::Secret;
use crate::time::UnixTime;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            ///
            /// Opaque, never reused by one endpoint, without meaning outside it.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(pub(crate) u64);
        )*
    };
}

handles! {
    /// One transport connection, from [`handle_open`](crate::runtime::RuntimeEndpoint::handle_open) to
    /// [`handle_closed`](crate::runtime::RuntimeEndpoint::handle_closed).
    ConnectionId;
    /// One job in this process.
    JobHandle;
    /// One session in this process.
    SessionHandle;
    /// One question about credentials.
    AuthId;
    /// One question about a lease.
    DecisionId;
    /// One credential that was asked for.
    IssueId;
    /// One time that a credential is revoked.
    RevocationId;
}

/// Everything a runtime endpoint can ask of its driver. Exhaustive on purpose: a driver that forgets one does not
/// compile.
#[derive(Debug)]
#[must_use = "an output that is not carried out is lost"]
pub enum Output {
    /// Frames wait for this connection. Pull them with
    /// [`poll_frame`](crate::runtime::RuntimeEndpoint::poll_frame) while the socket takes more. An edge: given again
    /// only after `poll_frame` returned `None`.
    FramesReady(ConnectionId),
    /// Write a transport ping behind the frames pulled so far, and report the answer with
    /// [`handle_proof`](crate::runtime::RuntimeEndpoint::handle_proof) (D-96). A transport that cannot does nothing.
    Probe(ConnectionId),
    /// Pull what is left for this connection, send it, close with this code, then report
    /// [`handle_closed`](crate::runtime::RuntimeEndpoint::handle_closed). Nothing it still receives matters.
    Close {
        /// The connection to close.
        connection: ConnectionId,
        /// The code for transports that have one.
        code: CloseCode,
    },
    /// Decide whether these credentials are good, and answer with
    /// [`handle_auth`](crate::runtime::RuntimeEndpoint::handle_auth) within ten seconds.
    Authenticate {
        /// Names the question.
        id: AuthId,
        /// What the client presented.
        credentials: Credentials,
    },
    /// Decide what of this lease to grant, and answer with
    /// [`handle_decision`](crate::runtime::RuntimeEndpoint::handle_decision) within ten seconds. Asked only where
    /// [`RuntimeConfig::decides_leases`](crate::config::RuntimeConfig::decides_leases) is set.
    Decide {
        /// Names the question.
        id: DecisionId,
        /// What is asked for, by whom and for what.
        question: Box<LeaseQuestion>,
    },
    /// Make a credential for this job, or say that it needs none, and answer with
    /// [`handle_credentials`](crate::runtime::RuntimeEndpoint::handle_credentials) within ten seconds. A later answer must
    /// be given all the same, so that what was made can be revoked. Asked only where
    /// [`RuntimeConfig::provisions`](crate::config::RuntimeConfig::provisions) and
    /// [`RuntimeConfig::durable`](crate::config::RuntimeConfig::durable) are set.
    IssueCredential {
        /// Names the question.
        id: IssueId,
        /// What it is for.
        request: Box<IssueRequest>,
    },
    /// Revoke this credential, which may be gone already or never have been made, and answer with
    /// [`handle_revoked`](crate::runtime::RuntimeEndpoint::handle_revoked). It is asked for again until it is done.
    RevokeCredential {
        /// Names the question.
        id: RevocationId,
        /// What is to go.
        revocation: Box<Revocation>,
    },
    /// Carry this out and answer with [`handle_store`](crate::runtime::RuntimeEndpoint::handle_store). Commands
    /// must take effect in the order in which they are given; their answers may come in any order.
    Store {
        /// Names the command.
        id: StoreId,
        /// What to do.
        command: Command,
    },
    /// Start an agent; it speaks through [`handle_agent`](crate::runtime::RuntimeEndpoint::handle_agent).
    StartJob(Box<StartJob>),
    /// Tell an agent what became of something it asked for.
    TellJob {
        /// The job.
        job: JobHandle,
        /// What there is to tell.
        news: JobNews,
    },
    /// Tell the agent that its job is being stopped. It has the cancel grace to return.
    CancelJob {
        /// The job.
        job: JobHandle,
        /// Why.
        reason: StopReason,
    },
    /// The job is over. Drop the agent if it still runs; nothing more is taken from it.
    KillJob(JobHandle),
    /// Take nothing from this job's agent until [`Output::ReleaseJob`]; what it emits waits with it.
    HoldJob(JobHandle),
    /// Take from this job's agent again.
    ReleaseJob(JobHandle),
    /// The store failed: nothing may leave any more. Close every connection at once and stop the process; a new one
    /// recovers from the store.
    Halt,
    /// Something to log or count.
    Event(RuntimeEvent),
}

/// What a client presented to prove who it is.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A bearer token.
    Bearer(Secret),
    /// The scheme `anonymous`; refuse unless the deployment named an anonymous principal.
    Anonymous,
}

/// The answer to [`Output::Authenticate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The credentials are good.
    Accept {
        /// Who presents them. Everything a session may see or do follows from this name.
        principal: Arc<str>,
        /// When they stop being good; the session's connection is closed then.
        until: Option<UnixTime>,
    },
    /// They are not.
    Refuse,
}

/// A lease that is asked for.
#[derive(Debug, Clone)]
pub struct LeaseQuestion {
    /// Who submits.
    pub principal: Arc<str>,
    /// The resolved agent.
    pub agent: AgentRef,
    /// What is asked for.
    pub lease: Lease,
}

/// The answer to [`Output::Decide`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseDecision {
    /// This is granted: what was asked for, or a part of it made with [`Lease::retain`], [`Lease::limit_budget`] and
    /// [`Lease::end_by`]. A part that permits nothing, of a lease that asked for something, refuses.
    Grant(Lease),
    /// Nothing is granted: the submit is refused with `PERMISSION_DENIED`.
    Refuse,
}
