//! The runtime endpoint: all sessions and jobs of one process.
//!
//! ```text
//!   frames ─→ connection ─→ greeting ─→ session ─┐            ┌─→ agents (StartJob, CancelJob, …)
//!                 ↑                              ├─→ job ─────┤
//!   frames ←── send window ←── fan-out ←─────────┘            └─→ log (Store) ─→ commit ─→ what waited
//! ```

mod acceptance;
mod agent;
mod arena;
mod authority;
mod budget;
mod cancel;
mod collected;
mod connection;
mod credential;
mod cursor;
mod delegation;
mod effect;
mod event;
mod fanout;
mod greeting;
mod history;
pub mod idempotency;
mod inbound;
mod job;
mod ledger;
mod list;
mod log;
mod output;
mod partial;
mod policy;
mod pressure;
mod principal;
mod provisioner;
mod rate;
mod recovery;
mod refusal;
mod repeat;
mod reply;
mod requests;
mod restart;
mod resume;
mod revocation;
pub mod rows;
mod running;
mod session;
mod source;
pub mod store;
mod submit;
mod subscribe;
#[cfg(test)]
mod tests;
mod window;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::net::IpAddr;
use core::time::Duration;

use bytes::Bytes;

use crate::close::CloseCode;
use crate::config::RuntimeConfig;
use crate::entropy::Entropy;
use crate::error::{ApiMisuse, Limit, WireError};
use crate::id::{CredentialKey, IdSource, JobKey, SessionKey};
use crate::secret::TokenHash;
use crate::time::{Instant, Now};
use crate::timer::Timers;
use crate::wire::delivery::Frame;
use crate::wire::peer::TransportKind;
use arena::Arena;
use connection::{Connection, Phase};
use cursor::CursorKey;
use effect::Effect;
use job::Job;
use ledger::Ledger;
use log::{Answer, Log};
use principal::Principals;
use session::Session;
use source::Sources;
use store::{Command, StoreDone, StoreId};
use submit::Submission;

pub use agent::{
    AgentEnd, AgentFailure, AgentInput, Checkpoint, Child, ChildEnd, JobNews, MAX_CHECKPOINT_BYTES, Restart,
    StartJob, StopReason, Streamed,
};
pub use event::{Access, Decision, RuntimeEvent};
pub use job::JobState;
pub use ledger::CredentialState;
pub use output::{
    AuthId, ConnectionId, Credentials, DecisionId, IssueId, JobHandle, LeaseDecision, LeaseQuestion, Output,
    RevocationId, SessionHandle, Verdict,
};
pub use provisioner::{IssueRequest, Issued, IssuedCredential, Revocation, Revoked};
pub use recovery::{Recovery, RecoveryError, Step};
pub use source::Source;

const STORE_RETRY: Duration = Duration::from_secs(1);
/// Bytes of replies that may wait before no further request is read: few requests make as much as a list does.
const PAGES_AHEAD: usize = 1 << 20;

/// Everything time can do to a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Timer {
    /// A connection has sent no hello.
    Hello(ConnectionId),
    /// A verdict was kept back for long enough.
    HeldVerdict(ConnectionId),
    /// A connection has had no welcome.
    Welcome(ConnectionId),
    /// A connection is due to be pinged, or has been silent for two intervals.
    Heartbeat(ConnectionId),
    /// A connection may have taken nothing for too long.
    WriteStall(ConnectionId),
    /// A frame that a connection has begun may not have gone on for too long.
    PartialFrame(ConnectionId),
    /// A connection's credentials stop being good.
    CredentialsEnd(ConnectionId),
    /// What is decided outside has not been.
    Decision(DecisionId),
    /// A credential that was asked for has not come.
    Issue(IssueId),
    /// A credential is to be revoked again.
    Revoke(CredentialKey),
    /// A detached session can be resumed no longer.
    ResumeWindow(SessionHandle),
    /// A session that does not acknowledge lets go of what it was sent long ago.
    Unacknowledged(SessionHandle),
    /// A dead session is no longer remembered.
    Tombstone(SessionHandle),
    /// A job has run as long as it may.
    MaxRuntime(JobHandle),
    /// A job's lease may have ended.
    LeaseEnd(JobHandle),
    /// A stopped job's agent has had its grace.
    CancelGrace(JobHandle),
    /// A finished job is no longer remembered.
    Retention(JobHandle),
    /// The store had no room; it is asked again.
    StoreRetry,
}

/// All sessions and jobs of one process, as a pure state machine.
///
/// # Calling contract
///
/// It does nothing by itself: no IO, no clock, no threads. Every method is one of four kinds.
///
/// * **Inputs** (`handle_*`) tell what happened. They take [`Now`]; its monotonic part never goes backwards. What only a
///   peer can get wrong is never an `Err`: a bad peer becomes outputs. An input with nothing to do changes nothing.
/// * **Commands** ([`cancel_job`](Self::cancel_job), [`policy_changed`](Self::policy_changed),
///   [`shut_down`](Self::shut_down)) ask for something.
/// * **Outputs** ([`poll_output`](Self::poll_output), [`poll_frame`](Self::poll_frame),
///   [`poll_timeout`](Self::poll_timeout)) say what is to be done. All are O(1), and queued by inputs and commands only,
///   so the order in which they are polled changes nothing but their own order.
/// * **Getters** ([`may_read`](Self::may_read), [`job_state`](Self::job_state), …) look.
///
/// After any inputs: poll outputs until `None`, carrying each out; then read sockets whose
/// [`may_read`](Self::may_read) says so; sleep until [`poll_timeout`](Self::poll_timeout), then call
/// [`handle_timeout`](Self::handle_timeout). A second frame of a connection must not be given while `may_read` is
/// false.
///
/// After [`Output::Halt`] nothing leaves any more; every call is a no-op.
#[expect(missing_debug_implementations, reason = "the entropy source shows nothing")]
pub struct RuntimeEndpoint {
    config: RuntimeConfig,
    entropy: Box<dyn Entropy + Send>,
    cursors: CursorKey,
    now: Now,
    ids: IdSource,
    outputs: VecDeque<Output>,
    timers: Timers<Timer>,
    log: Log<Effect>,
    connections: Arena<ConnectionId, Connection>,
    sessions: Arena<SessionHandle, Session>,
    jobs: Arena<JobHandle, Job>,
    principals: Principals,
    sources: Sources,
    session_keys: BTreeMap<SessionKey, SessionHandle>,
    job_keys: BTreeMap<JobKey, JobHandle>,
    /// Hashes of every token that could still be presented, those of dead sessions included.
    tokens: BTreeMap<TokenHash, SessionHandle>,
    /// Connections whose credentials are being judged.
    questions: BTreeMap<AuthId, ConnectionId>,
    /// Submits whose lease is being decided on, or whose credential is being made.
    submissions: BTreeMap<DecisionId, Submission>,
    ledger: Ledger,
    /// Sessions by the page they wait for.
    reads: BTreeMap<StoreId, SessionHandle>,
    next_question: u64,
    before_welcome: usize,
    /// Sessions that read history.
    catching_sessions: BTreeSet<SessionHandle>,
    /// Whether all jobs are held because of the store, and whether because it was full.
    store_holds: bool,
    was_full: bool,
    shutting_down: bool,
    halted: bool,
}

impl RuntimeEndpoint {
    /// A runtime with an empty store. To continue from a store, use [`Recovery`].
    #[must_use]
    pub fn new(config: RuntimeConfig, mut entropy: Box<dyn Entropy + Send>, now: Now) -> Self {
        Self {
            config: config.in_range(),
            cursors: CursorKey::new(&mut entropy),
            entropy,
            now,
            ids: IdSource::default(),
            outputs: VecDeque::new(),
            timers: Timers::new(),
            log: Log::new(),
            connections: Arena::new(),
            sessions: Arena::new(),
            jobs: Arena::new(),
            principals: Principals::default(),
            sources: Sources::default(),
            session_keys: BTreeMap::new(),
            job_keys: BTreeMap::new(),
            tokens: BTreeMap::new(),
            questions: BTreeMap::new(),
            submissions: BTreeMap::new(),
            ledger: Ledger::default(),
            reads: BTreeMap::new(),
            next_question: 0,
            before_welcome: 0,
            catching_sessions: BTreeSet::new(),
            store_holds: false,
            was_full: false,
            shutting_down: false,
            halted: false,
        }
    }

    /// A transport was opened. Its hello is awaited from here on.
    ///
    /// A WebSocket from nowhere is taken for one that others may read; see [`handle_secured`](Self::handle_secured).
    pub fn handle_open(&mut self, now: Now, transport: TransportKind) -> ConnectionId {
        self.open(now, transport, None)
    }

    /// The same for a transport from a network address, for which limits of their own hold: how often hellos may come from
    /// there, and how many of their tokens may be wrong.
    pub fn handle_open_from(&mut self, now: Now, transport: TransportKind, address: IpAddr) -> ConnectionId {
        self.open(now, transport, Some(address))
    }

    /// What this connection carries is encrypted on its way, or stays on this machine: told before its first frame, of
    /// transports of which that cannot be known. What comes from a loopback address, or is no WebSocket and comes from
    /// nowhere, is private anyway. Only over a private connection are clients given credentials (protocol §2.3).
    pub fn handle_secured(&mut self, now: Now, connection: ConnectionId) {
        if self.enter(now)
            && let Some(state) = self.connections.get_mut(connection)
            && matches!(state.phase, Phase::AwaitHello)
        {
            state.is_private = true;
        }
    }

    fn open(&mut self, now: Now, transport: TransportKind, address: Option<IpAddr>) -> ConnectionId {
        let live = self.enter(now);
        let connection = Connection::new(transport, address, self.now.mono);
        let connection = self.connections.insert(connection);
        if !live {
            return connection;
        }
        self.before_welcome += 1;
        let limits = &self.config.limits;
        self.timers.arm(self.now.mono.after(limits.hello_timeout), Timer::Hello(connection));
        self.timers.arm(self.now.mono.after(limits.welcome_timeout), Timer::Welcome(connection));
        if self.shutting_down {
            self.fail(
                connection,
                &WireError::new(crate::error::ErrorCode::InternalError, "the runtime is shutting down"),
                CloseCode::GoingAway,
            );
        } else if self.before_welcome > limits.unauthenticated {
            let error = WireError::limit(Limit::Connections, "too many connections wait for authentication");
            self.fail(connection, &error, CloseCode::TryAgainLater);
        }
        connection
    }

    /// A frame arrived. Bytes only: whether they are UTF-8, JSON, an envelope is judged here.
    pub fn handle_frame(&mut self, now: Now, connection: ConnectionId, frame: Bytes) {
        if self.enter(now) {
            self.receive(connection, &frame);
        }
    }

    /// A frame over the transport's limit arrived and was discarded (protocol §1.4).
    pub fn handle_oversized(&mut self, now: Now, connection: ConnectionId) {
        if self.enter(now) {
            self.receive_oversized(connection);
        }
    }

    /// Of a frame that is not complete so many bytes have arrived; 0 if what had begun was none after all. Told when a
    /// frame begins and now and then as it grows, after which [`handle_frame`](Self::handle_frame) or
    /// [`handle_oversized`](Self::handle_oversized) says that it is whole. A driver that does not tell leaves slow frames
    /// alone.
    pub fn handle_partial(&mut self, now: Now, connection: ConnectionId, bytes: u64) {
        if self.enter(now) {
            self.receive_partial(connection, bytes);
        }
    }

    /// The transport proved that the client received what was sent before the last [`Output::Probe`] (D-96).
    pub fn handle_proof(&mut self, now: Now, connection: ConnectionId) {
        if self.enter(now) {
            self.confirm_token(connection);
        }
    }

    /// The transport is gone, whoever closed it. The id names nothing afterwards.
    pub fn handle_closed(&mut self, now: Now, connection: ConnectionId) {
        if self.enter(now) {
            self.detach_connection(connection);
        }
        self.connections.remove(connection);
    }

    /// Time has passed. Spurious calls are harmless.
    pub fn handle_timeout(&mut self, now: Now) {
        if !self.enter(now) {
            return;
        }
        while let Some(timer) = self.timers.pop(self.now.mono) {
            match timer {
                Timer::Hello(connection) => self.hello_is_late(connection),
                Timer::HeldVerdict(connection) => self.release_verdict(connection),
                Timer::Welcome(connection) => self.welcome_is_late(connection),
                Timer::Heartbeat(connection) => self.beat(connection),
                Timer::WriteStall(connection) => self.check_stall(connection),
                Timer::PartialFrame(connection) => self.check_partial(connection),
                Timer::CredentialsEnd(connection) => self.check_credentials(connection),
                Timer::ResumeWindow(session) => self.check_resume_window(session),
                Timer::Unacknowledged(session) => self.let_go_of_sent(session),
                Timer::Tombstone(session) => self.forget_session(session),
                Timer::Decision(id) => self.decision_is_late(id),
                Timer::Issue(id) => self.issue_is_late(id),
                Timer::Revoke(credential) => self.revocation_is_due(credential),
                Timer::MaxRuntime(job) => self.run_time_is_over(job),
                Timer::LeaseEnd(job) => self.look_at_lease(job),
                Timer::CancelGrace(job) => self.grace_is_over(job),
                Timer::Retention(job) => self.forget_job(job),
                Timer::StoreRetry => self.log.retry(),
            }
        }
    }

    /// The answer to [`Output::Authenticate`]. One that comes too late, or for a connection that is gone, is ignored.
    pub fn handle_auth(&mut self, now: Now, id: AuthId, verdict: Verdict) {
        if self.enter(now)
            && let Some(connection) = self.questions.remove(&id)
        {
            self.judge(connection, verdict);
        }
    }

    /// The answer to [`Output::Store`].
    pub fn handle_store(&mut self, now: Now, id: StoreId, done: StoreDone) {
        if !self.enter(now) {
            return;
        }
        if let Some(session) = self.reads.remove(&id) {
            self.page_read(session, id, done);
            return;
        }
        match self.log.handle(id, done) {
            Answer::Committed(appends) => {
                for append in appends {
                    for (job, standing) in append.jobs {
                        if let Some(job) = self.jobs.get_mut(job) {
                            job.committed = Some(standing);
                        }
                    }
                    for (session, seq) in append.sessions {
                        self.numbers_committed(session, seq);
                    }
                    for effect in append.effects {
                        self.run(effect);
                    }
                }
                self.read_on_after_commit();
                self.hold_for_store();
            }
            Answer::Full => {
                self.timers.arm(self.now.mono.after(STORE_RETRY), Timer::StoreRetry);
                if !self.store_holds {
                    self.event(RuntimeEvent::StoreFull);
                }
                self.hold_for_store();
            }
            Answer::Failed => self.halt(),
            Answer::Unknown => {}
        }
    }

    /// An agent says something about its job.
    ///
    /// # Errors
    /// [`ApiMisuse`] if the job is over or what it says breaks a rule; nothing was emitted then, and the job goes on.
    pub fn handle_agent(&mut self, now: Now, job: JobHandle, input: AgentInput) -> Result<(), ApiMisuse> {
        if !self.enter(now) {
            return Ok(());
        }
        match input {
            AgentInput::Emit(emission) => self.emit(job, emission),
            AgentInput::Chunk(chunk) => self.emit_chunk(job, chunk),
            AgentInput::Checkpoint(state) => self.checkpoint(job, state),
            AgentInput::Delegate(delegation) => self.delegate(job, *delegation),
            AgentInput::Finish(end) => self.agent_ended(job, end),
        }
    }

    /// Cancels a job on the operator's behalf: in the same way as a client's cancel, without a reply to anybody.
    ///
    /// # Errors
    /// [`ApiMisuse::UnknownHandle`] if there is no such job, [`ApiMisuse::JobEnded`] if it has ended.
    pub fn cancel_job(
        &mut self,
        now: Now,
        job: JobHandle,
        reason: Option<alloc::string::String>,
    ) -> Result<(), ApiMisuse> {
        if !self.enter(now) {
            return Ok(());
        }
        let state = self.jobs.get(job).ok_or(ApiMisuse::UnknownHandle)?.state;
        if state.is_final() {
            return Err(ApiMisuse::JobEnded);
        }
        self.stop(job, StopReason::Cancelled(reason));
        Ok(())
    }

    /// Says goodbye to every client and takes no new ones (D-91). Jobs go on until the process ends.
    pub fn shut_down(&mut self, now: Now) {
        if self.enter(now) && !self.shutting_down {
            self.shutting_down = true;
            for connection in self.connections.handles() {
                self.say_bye(connection);
            }
        }
    }

    /// The next thing to do; `None` once everything is said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| {
            if self.halted {
                return None;
            }
            self.log.poll_command().map(|(id, command)| Output::Store { id, command })
        })
    }

    /// The next frame for a connection; `None` once there is none, after which [`Output::FramesReady`] tells of more.
    pub fn poll_frame(&mut self, connection: ConnectionId) -> Option<Frame> {
        if self.halted {
            return None;
        }
        self.pull(connection)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due at the latest; may be earlier than needed, never later.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_timer().map(|(at, _)| at)
    }

    /// The same with what it is for, for logs and traces. A deadline that has moved shows its old time.
    #[must_use]
    pub fn next_timer(&self) -> Option<(Instant, Timer)> {
        if self.halted { None } else { self.timers.next() }
    }

    /// Whether the driver may give this connection's next frame.
    #[must_use]
    pub fn may_read(&self, connection: ConnectionId) -> bool {
        self.connections.get(connection).is_some_and(|connection| match connection.phase {
            Phase::AwaitHello => true,
            Phase::Authenticating(_) | Phase::Committing { .. } => false,
            // What a client asks for faster than it reads the answers waits in its own socket.
            Phase::Active(_) => {
                connection.control.len() + connection.replies.len() < self.config.limits.control_queue / 2
                    && connection.control_bytes() < PAGES_AHEAD
            }
            Phase::Closing => false,
        })
    }

    /// The state of a job; `None` once it is forgotten.
    #[must_use]
    pub fn job_state(&self, job: JobHandle) -> Option<JobState> {
        self.jobs.get(job).map(|job| job.state)
    }

    /// The job with this id.
    #[must_use]
    pub fn job(&self, key: JobKey) -> Option<JobHandle> {
        self.job_keys.get(&key).copied()
    }

    /// Sessions that can still be resumed or are connected, and connections.
    #[must_use]
    pub fn population(&self) -> Population {
        Population {
            connections: self.connections.len(),
            sessions: self.sessions.iter().filter(|(_, session)| session.dead_since.is_none()).count(),
            unfinished_jobs: self.jobs.iter().filter(|(_, job)| !job.state.is_final()).count(),
        }
    }

    /// Takes the clock; says whether the endpoint still works.
    fn enter(&mut self, now: Now) -> bool {
        debug_assert!(now.mono >= self.now.mono, "the monotonic clock went backwards");
        // Released programs go on with the latest time seen.
        self.now = Now { mono: self.now.mono.max(now.mono), unix: now.unix };
        !self.halted
    }

    /// Gives the store a command that is no append, behind everything that was appended before it.
    fn command(&mut self, command: Command) -> StoreId {
        if let Some((id, append)) = self.log.poll_command() {
            self.outputs.push_back(Output::Store { id, command: append });
        }
        let id = self.log.id();
        self.outputs.push_back(Output::Store { id, command });
        id
    }

    /// A number for a question to the driver.
    const fn question(&mut self) -> u64 {
        self.next_question += 1;
        self.next_question
    }

    fn event(&mut self, event: RuntimeEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn halt(&mut self) {
        self.halted = true;
        self.outputs.clear();
        self.outputs.push_back(Output::Halt);
    }
}

/// How much a runtime holds at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Population {
    /// Open connections.
    pub connections: usize,
    /// Sessions that are connected or can be resumed.
    pub sessions: usize,
    /// Jobs that are pending or running.
    pub unfinished_jobs: usize,
}
