//! The executor-neutral layer of ARCP.
mod agent;
mod client;
mod context;
mod entropy;
mod job;
pub mod memory;
mod queue;
mod runtime;
mod store;
mod timer;

pub use agent::{Agent, AgentError};
pub use arcp_proto::agent::{AgentRef, Versions};
pub use arcp_proto::chunk::ResultFault;
pub use arcp_proto::client::{ClosedReason, Connected, RequestError};
pub use arcp_proto::config::{ClientConfig, Limits, RuntimeConfig};
pub use arcp_proto::error::{ApiMisuse, ErrorCode};
pub use arcp_proto::id::{JobId, JobKey, SessionId};
pub use arcp_proto::runtime::{Credentials, StopReason, Verdict};
pub use arcp_proto::secret::Secret;
pub use arcp_proto::time::UnixTime;
pub use arcp_proto::trace::TraceId;
pub use arcp_proto::wire::RawJson;
pub use arcp_proto::wire::body::EventBody;
pub use arcp_proto::wire::emission::ToolError;
pub use arcp_proto::wire::event::{Emission, EventKind, LogLevel};
pub use arcp_proto::wire::job::{Accepted, Cancelled, FinalStatus, Subscribed};
pub use arcp_proto::wire::number::NumberText;
pub use arcp_proto::wire::peer::TransportKind;
pub use arcp_proto::wire::session::ErrorPayload;
pub use client::{
    Cancel, Client, ClientError, Connector, Driver, Pending, SessionEvent, SessionEvents, SessionState, Submit, Subscribe,
};
pub use context::{Artifact, BytesStream, Emit, JobContext, Log, Metric, Progress, Quantity, Status, Stopping, TextStream};
pub use entropy::{NoEntropy, OsEntropy};
pub use job::{Job, JobError, JobEvent, JobOutput, Watch};
pub use runtime::{
    BuildError, Endpoint, EndpointError, Runtime, RuntimeBuilder, RuntimeHandle, ShutDown, Task, Tasks, Verifier,
};
pub use store::{MemoryStore, Store};
pub use timer::{SystemClock, Timer};

#[cfg(feature = "websocket")]
pub mod connect;
pub mod gate;
pub mod lines;
#[cfg(feature = "websocket")]
pub mod listen;
#[cfg(all(unix, feature = "stdio"))]
pub mod stdio;
pub mod transport;
pub mod upgrade;
pub mod url;
#[cfg(feature = "websocket")]
pub mod websocket;
