//! What agents are given and told, and what they say (protocol §3.4, §6).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::agent::AgentRef;
use crate::error::{ErrorCode, WireError};
use crate::id::{JobKey, SessionKey};
use crate::lease::Lease;
use crate::runtime::JobHandle;
use crate::time::UnixTime;
use crate::trace::TraceId;
use crate::wire::RawJson;
use crate::wire::credential::Credential;
use crate::wire::event::{ChunkEmission, Delegation, Emission};

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
    /// What there is already if it is run again; `None` at its first start.
    pub restart: Option<Box<Restart>>,
}

/// What a job that is run again has done before.
#[derive(Debug, Clone, PartialEq)]
pub struct Restart {
    /// What its agent kept last.
    pub checkpoint: Option<Checkpoint>,
    /// How many events its log had when its process ended: those after the checkpoint's position were said after it, and are
    /// there all the same.
    pub position: u64,
    /// The result it had begun to stream, which goes on behind that.
    pub streamed: Option<Streamed>,
}

/// An agent's own state at some moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The state.
    pub state: RawJson,
    /// How many events its log had then.
    pub position: u64,
}

/// How far a streamed result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streamed {
    /// Chunks so far.
    pub chunks: u64,
    /// Bytes so far, after decoding.
    pub bytes: u64,
    /// Whether the last chunk is there.
    pub is_complete: bool,
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

/// Bytes of JSON text that an agent's own state may take.
pub const MAX_CHECKPOINT_BYTES: usize = 256 * 1_024;

/// What an agent says of its job.
#[derive(Debug, Clone)]
pub enum AgentInput {
    /// An event.
    Emit(Emission),
    /// A piece of a streamed result.
    Chunk(ChunkEmission),
    /// What it wants to know should it be run again, at most [`MAX_CHECKPOINT_BYTES`].
    Checkpoint(RawJson),
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
