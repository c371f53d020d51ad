//! What a runtime endpoint asks of its driver, and what drivers and agents tell it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::agent::AgentRef;
use crate::close::CloseCode;
use crate::error::{ErrorCode, WireError};
use crate::id::{CredentialKey, JobKey, SessionKey};
use crate::lease::{Capability, Lease};
use crate::runtime::provisioner::{IssueRequest, Revocation};
use crate::runtime::store::{Command, StoreId};
use crate::secret::Secret;
use crate::time::UnixTime;
use crate::trace::TraceId;
use crate::wire::RawJson;
use crate::wire::credential::Credential;
use crate::wire::event::{ChunkEmission, Delegation, Emission};
use crate::wire::job::FinalStatus;

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

/// What an agent is told.
#[derive(Debug, Clone, PartialEq)]
pub enum JobNews {
    /// A delegation it asked for was accepted or refused. The refusal is on its job's stream already.
    Delegated {
        /// The token of [`Delegation`].
        token: u64,
        /// The child, or why there is none.
        answer: Result<Child, WireError>,
    },
    /// A job it delegated has ended.
    ChildEnded {
        /// The child.
        child: JobHandle,
        /// How.
        end: ChildEnd,
    },
    /// Its job has another credential; the one before is being revoked.
    CredentialRotated {
        /// The new one.
        credential: Arc<Credential>,
    },
}

/// A delegated job, as its parent's agent knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Names it in [`JobNews::ChildEnded`].
    pub job: JobHandle,
    /// Its id on the wire.
    pub key: JobKey,
    /// Its resolved agent.
    pub agent: AgentRef,
    /// Its effective lease.
    pub lease: Arc<Lease>,
}

/// How a delegated job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum ChildEnd {
    /// It returned this value.
    Value(RawJson),
    /// It streamed this text.
    Text(String),
    /// It streamed these bytes.
    Bytes(Vec<u8>),
    /// It has no result.
    Failed(WireError),
}

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct StartJob {
    /// Names the job from here on.
    pub job: JobHandle,
    /// The job's id on the wire.
    pub key: JobKey,
    /// The resolved agent.
    pub agent: AgentRef,
    /// The input as submitted.
    pub input: RawJson,
    /// The job's trace.
    pub trace_id: TraceId,
    /// Who submitted it, or the job at the root of its delegations.
    pub principal: Arc<str>,
    /// The session that owns it.
    pub session: Option<SessionKey>,
    /// Its effective lease.
    pub lease: Arc<Lease>,
    /// The job that delegated it.
    pub parent: Option<JobKey>,
    /// The credentials issued for it. Each is to be presented to its endpoint and to nobody else.
    pub credentials: Vec<Arc<Credential>>,
    /// The largest frame the owner's connection takes, in bytes; an event must fit.
    pub frame_limit: usize,
}

/// Why a job is being stopped (D-110).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// A cancel was honoured, with the words that came with it.
    Cancelled(Option<String>),
    /// `max_runtime_sec` has passed; the limit in seconds.
    TimedOut(u64),
    /// Its lease has ended, at this time as the lease names it.
    LeaseExpired(UnixTime),
    /// The job that delegated it has ended or is being stopped.
    ParentEnded,
}

/// What an agent says of its job.
#[derive(Debug, Clone)]
pub enum AgentInput {
    /// An event.
    Emit(Emission),
    /// A piece of a streamed result.
    Chunk(ChunkEmission),
    /// It asks for a job of its own. Answered with [`JobNews::Delegated`].
    Delegate(Box<Delegation>),
    /// The end.
    Finish(AgentEnd),
}

/// How an agent ended.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentEnd {
    /// It returned a value. After chunks the value must be `null`: the chunks are the result.
    Value {
        /// The value.
        value: RawJson,
        /// A line for people, at most 1 024 bytes.
        summary: Option<String>,
    },
    /// It failed.
    Failure(AgentFailure),
}

/// How an agent failed.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentFailure {
    /// One of the codes an agent may end with (protocol §3.4); any other becomes `INTERNAL_ERROR`.
    pub code: ErrorCode,
    /// Its words, cut at 1 024 bytes.
    pub message: String,
    /// Its own, finer code, which goes to `details.agent_code` (D-87).
    pub agent_code: Option<String>,
}

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
