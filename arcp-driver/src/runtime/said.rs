//! What agents say and ask, in their order.

use arcp_proto::error::{ApiMisuse, WireError};
use arcp_proto::lease::{Amount, Canonical, Capability, Currency, Denial, LeaseRequest};
use arcp_proto::runtime::{AgentInput, Child, ChildEnd, JobHandle};
use arcp_proto::wire::RawJson;
use futures_channel::oneshot;

/// One item of a job's queue.
pub(crate) enum Said {
    /// Something for the core as it is.
    Input(AgentInput),
    /// Whether the job may do this.
    Authorize { capability: Capability, target: String, answer: oneshot::Sender<Result<Canonical, Denial>> },
    /// What is left of its budget.
    Remaining(oneshot::Sender<Vec<(Currency, Amount)>>),
    /// A job of its own.
    Delegate { asked: Box<Asked>, answer: oneshot::Sender<Delegated> },
    /// A child of it is to end.
    CancelChild { child: JobHandle, reason: String },
}

/// A delegation as the agent puts it together.
pub(crate) struct Asked {
    pub(crate) agent: String,
    pub(crate) input: RawJson,
    pub(crate) lease: LeaseRequest,
    pub(crate) max_runtime_sec: Option<u64>,
}

/// What becomes of it.
pub(crate) type Delegated = Result<(Child, oneshot::Receiver<ChildEnd>), Undelegated>;

/// Why there is no child.
pub(crate) enum Undelegated {
    /// The runtime said no, on the parent's stream too.
    Refused(WireError),
    /// It was not even asked.
    Misuse(ApiMisuse),
}
