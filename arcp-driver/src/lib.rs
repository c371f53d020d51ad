//! The executor-neutral layer of ARCP: clients, runtimes and agents as futures that any executor can run.
//!
//! The protocol itself is a state machine without IO, `arcp-proto`. This crate puts an async face on it and stops there: it
//! opens no sockets, reads no clock but the [`Timer`] it is given, and **never spawns**. What has to run comes out as futures.
//! `arcp-tokio` and `arcp-async-std` run them for you; a program written against this crate runs unchanged on both. (The store of
//! the feature `sqlite` has threads of its own, which no executor knows of.)
//!
//! ```text
//!            application                                      agents (Tasks)
//!      Client, Job │ ▲ events                     JobContext │   ▲ start, stop, hold
//!         commands ▼ │ a queue per job      a queue per job  ▼   │
//!            ┌──────────────┐                          ┌──────────────┐
//!            │    Driver    │                          │   Endpoint   │──── Store
//!            │ClientEndpoint│                          │RuntimeEndpoint
//!            └──────────────┘                          └──────────────┘
//!                   │                                   ▲ │  two bounded queues
//!                   │            Transport              │ ▼  per connection
//!                   └─────────────────────────── accept(transport): its I/O task
//! ```
//!
//! * A client is one task: the [`Driver`] owns the session and its transport, reconnects, resumes, and never waits for the
//!   application.
//! * A runtime is one task, the [`Endpoint`], in which all its sessions and jobs live, one I/O task per connection
//!   ([`RuntimeHandle::accept`]), which frames and encodes, and one task per running agent ([`Tasks`]).
//! * Every queue is bounded, by number, by bytes, or by the core's limits. Back-pressure reaches an agent as an `await`.
//!
//! # A runtime and a client
//!
//! ```
//! use arcp_driver::memory::Switchboard;
//! use arcp_driver::{AgentError, Client, ClientConfig, EventBody, JobContext, Runtime};
//! use futures_executor::{ThreadPool, block_on};
//!
//! async fn count(job: JobContext, to: u64) -> Result<String, AgentError> {
//!     for number in 1..=to {
//!         job.progress(number).of(to).await?;
//!     }
//!     Ok(format!("{to} numbers"))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = ThreadPool::builder().pool_size(2).create()?;
//!
//! let runtime = Runtime::builder().bearer("a token", "alice").agent("count@1.0.0", count).build()?;
//! let (handle, endpoint, mut tasks) = runtime.start(SleepingThreads::new());
//! pool.spawn_ok(async move { endpoint.await.expect("a store in memory does not fail") });
//! let agents = pool.clone();
//! pool.spawn_ok(async move {
//!     while let Some(task) = tasks.next().await {
//!         agents.spawn_ok(task);
//!     }
//! });
//!
//! let connections = pool.clone();
//! let switchboard = Switchboard::new(handle.clone(), move |connection| connections.spawn_ok(connection));
//! let (client, driver) = Client::with(switchboard, ClientConfig::new("a token"), SleepingThreads::new())?;
//! pool.spawn_ok(async move { drop(driver.await) });
//!
//! block_on(async {
//!     let mut job = client.submit("count").input(&3).await?;
//!     let mut last = None;
//!     while let Some(event) = job.next().await {
//!         if let EventBody::Progress { current, .. } = event?.body()? {
//!             last = current.to_u64();
//!         }
//!     }
//!     assert_eq!(last, Some(3));
//!     assert_eq!(job.result::<String>().await?, "3 numbers");
//!     client.close().await;
//!     handle.shut_down().await;
//!     Ok(())
//! })
//! # }
//!
//! /// The least a timer can be: a thread for each sleep. Executors have better ones.
//! struct SleepingThreads(arcp_driver::SystemClock);
//!
//! impl SleepingThreads {
//!     fn new() -> Self {
//!         Self(arcp_driver::SystemClock::new())
//!     }
//! }
//!
//! impl arcp_driver::Timer for SleepingThreads {
//!     fn now(&self) -> arcp_driver::Now {
//!         self.0.now()
//!     }
//!
//!     fn poll_until(
//!         &mut self,
//!         cx: &mut std::task::Context<'_>,
//!         deadline: arcp_driver::Instant,
//!     ) -> std::task::Poll<()> {
//!         let now = self.now().mono;
//!         if now >= deadline {
//!             return std::task::Poll::Ready(());
//!         }
//!         let waker = cx.waker().clone();
//!         std::thread::spawn(move || {
//!             std::thread::sleep(deadline.since(now));
//!             waker.wake();
//!         });
//!         std::task::Poll::Pending
//!     }
//! }
//! ```
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
pub use arcp_proto::client::{ClosedReason, Connected, GrantedLease, RequestError};
pub use arcp_proto::config::{ClientConfig, Limits, RuntimeConfig};
pub use arcp_proto::error::{ApiMisuse, ErrorCode};
pub use arcp_proto::id::{CredentialKey, JobId, JobKey, SessionId};
pub use arcp_proto::lease::{Amount, Canonical, Capability, Currency, Denial, Lease, LeaseRequest};
pub use arcp_proto::observe::{ObservePolicy, ObservedJob, Sight, Visibility};
pub use arcp_proto::runtime::{
    Access, Checkpoint, Credentials, Decision, IssueRequest, Issued, IssuedCredential, LeaseDecision,
    LeaseQuestion, Restart, Revocation, Revoked, RuntimeEvent, StopReason, Streamed, Verdict,
};
pub use arcp_proto::secret::Secret;
pub use arcp_proto::time::{Instant, Now, UnixTime};
pub use arcp_proto::trace::TraceId;
pub use arcp_proto::wire::RawJson;
pub use arcp_proto::wire::body::EventBody;
pub use arcp_proto::wire::credential::{Credential, CredentialConstraints, CredentialScheme};
pub use arcp_proto::wire::emission::ToolError;
pub use arcp_proto::wire::event::{Emission, EventKind, LogLevel};
pub use arcp_proto::wire::job::{Accepted, Cancelled, FinalStatus, Subscribed};
pub use arcp_proto::wire::list::JobEntry;
pub use arcp_proto::wire::number::NumberText;
pub use arcp_proto::wire::peer::TransportKind;
pub use arcp_proto::wire::session::ErrorPayload;
pub use client::{
    Cancel, Client, ClientError, Connector, Driver, JobList, Pending, SessionEvent, SessionEvents,
    SessionState, Submit, Subscribe,
};
pub use context::{
    Artifact, BytesStream, ChildJob, ChildOutput, Delegate, DelegationError, Emit, Hop, JobContext, Log,
    Metric, OperationError, Progress, Quantity, Status, Stopping, TextStream,
};
pub use entropy::{NoEntropy, OsEntropy};
pub use job::{Children, Job, JobError, JobEvent, JobOutput, Watch};
pub use runtime::{
    BuildError, Endpoint, EndpointError, LeasePolicy, Provisioner, Runtime, RuntimeBuilder, RuntimeHandle,
    ShutDown, Task, Tasks, Verifier,
};
pub use store::{MemoryStore, Store};
pub use timer::{SystemClock, Timer};

#[cfg(feature = "websocket")]
pub mod connect;
#[cfg(feature = "files")]
pub mod files;
pub mod gate;
#[cfg(feature = "jwt")]
pub mod jwt;
pub mod lines;
#[cfg(feature = "websocket")]
pub mod listen;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(all(unix, feature = "stdio"))]
pub mod stdio;
#[cfg(feature = "websocket")]
pub mod stream;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;
pub mod transport;
pub mod upgrade;
pub mod url;
#[cfg(feature = "websocket")]
pub mod websocket;

#[cfg(test)]
mod tests {
    use std::future::IntoFuture;

    use super::*;
    use crate::memory::{MemoryTransport, Switchboard};

    fn is_send<T: Send>(_: impl Fn() -> T) {}
    fn is_shared<T: Send + Sync + 'static>() {}

    /// Never called; that it compiles is the assertion.
    #[expect(dead_code, reason = "the compiler is what checks it")]
    fn every_public_future_can_move_to_another_thread(
        client: &Client,
        runtime: &RuntimeHandle,
        context: &JobContext,
        id: &JobId,
    ) {
        is_send(|| client.submit("agent").into_future());
        is_send(|| client.subscribe(id).into_future());
        is_send(|| client.watch(id).into_future());
        is_send(|| client.cancel(id).into_future());
        is_send(|| client.jobs());
        is_send(|| async { client.jobs().next().await });
        is_send(|| client.jobs().all());
        is_send(|| client.connected());
        is_send(|| client.agents());
        is_send(|| client.close());
        is_send(|| runtime.shut_down());
        is_send(|| runtime.rotate(context.job_id()));
        is_send(|| runtime.accept(memory::pair().1, TransportKind::Memory));
        is_send(|| context.emit(Emission::thought("?").unwrap()));
        is_send(|| context.info("?").into_future());
        is_send(|| context.progress(1).into_future());
        is_send(|| context.stopping());
        is_send(|| async { context.stream_text().write("").await });
        is_send(|| async { context.stream_bytes().finish().await });
        is_send(|| async { client.events().next().await });
        is_send(|| async {
            let mut job = client.submit("agent").await?;
            let _ = job.next().await;
            job.cancel().await?;
            let _ = job.result::<String>().await;
            let _ = client.subscribe(id).await?.output().await;
            Ok::<_, ClientError>(())
        });
    }

    #[test]
    fn handles_can_be_shared() {
        is_shared::<Client>();
        is_shared::<RuntimeHandle>();
        is_shared::<JobContext>();
        is_shared::<Switchboard>();
        is_shared::<AgentError>();
        is_shared::<ClientError>();
        is_shared::<JobError>();
        is_shared::<Agent>();
        fn moves<T: Send + 'static>() {}
        moves::<Job>();
        moves::<Watch>();
        moves::<Children>();
        moves::<JobList>();
        moves::<Tasks>();
        moves::<Task>();
        moves::<MemoryTransport>();
        moves::<Runtime>();
        moves::<Endpoint<Box<dyn Timer>>>();
        moves::<Driver<Switchboard, Box<dyn Timer>>>();
    }
}
