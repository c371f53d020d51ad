//! Configuration of both endpoints, with the defaults of protocol §9.

use alloc::string::String;
use core::time::Duration;

use crate::agent::Inventory;
use crate::client::ResumeState;
use crate::feature::Features;
use crate::lease::Policy;
use crate::observe::Visibility;
use crate::secret::Secret;

/// Largest integer on the wire: 2⁵³−1 (D-55).
pub const MAX_SEQ: u64 = (1 << 53) - 1;

const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;

/// Configuration of a [`RuntimeEndpoint`](crate::runtime::RuntimeEndpoint).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RuntimeConfig {
    /// Display name in the welcome; not empty.
    pub name: String,
    /// Display version in the welcome; not empty.
    pub version: String,
    /// What is offered to clients.
    pub features: Features,
    /// The agents that can be submitted to.
    pub agents: Inventory,
    /// Who may see which job, and who may use which agent. By default everybody sees their own jobs and uses every agent.
    pub visibility: Visibility,
    /// Heartbeat interval, whole seconds, 1 s to 1 h; an endpoint takes the nearest. Default 30 s.
    pub heartbeat_interval: Duration,
    /// How long a detached session lives, whole seconds, 1 s to 24 h; an endpoint takes the nearest. Default 600 s.
    pub resume_window: Duration,
    /// How long an agent that is told to stop may take. Default 30 s.
    pub cancel_grace: Duration,
    /// How long finished jobs, their history and their idempotency keys, and the tokens of dead sessions are
    /// remembered. Default 24 h.
    pub retention: Duration,
    /// How operations are judged where the lease leaves it to the deployment.
    pub lease_policy: Policy,
    /// Whether what a submit asks for is put to the driver with
    /// [`Output::Decide`](crate::runtime::Output::Decide). Default `false`: what is asked for in due form is granted.
    pub decides_leases: bool,
    /// Whether somebody makes credentials for jobs, which are asked for with
    /// [`Output::IssueCredential`](crate::runtime::Output::IssueCredential). Default `false`. Without `durable` it means
    /// nothing.
    pub provisions: bool,
    /// Whether what the store has answered survives the end of the process, without which no credential is issued (D-52).
    /// Default `false`.
    pub durable: bool,
    /// Whether a job whose budget is exhausted ends with `BUDGET_EXHAUSTED` at its next operation, instead of deciding
    /// for itself what to do without it. Default `false`.
    pub fatal_budget: bool,
    /// All limits.
    pub limits: Limits,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            name: String::from("arcp"),
            version: String::from(env!("CARGO_PKG_VERSION")),
            features: Features::SUPPORTED,
            agents: Inventory::default(),
            visibility: Visibility::default(),
            heartbeat_interval: Duration::from_secs(30),
            resume_window: Duration::from_secs(600),
            cancel_grace: Duration::from_secs(30),
            retention: Duration::from_secs(24 * 3_600),
            lease_policy: Policy::default(),
            decides_leases: false,
            provisions: false,
            durable: false,
            fatal_budget: false,
            limits: Limits::default(),
        }
    }
}

impl RuntimeConfig {
    /// With interval and window in their ranges: an interval of nothing would be over at once.
    pub(crate) fn in_range(mut self) -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        self.heartbeat_interval = self.heartbeat_interval.clamp(SECOND, 3_600 * SECOND);
        self.resume_window = self.resume_window.clamp(SECOND, 24 * 3_600 * SECOND);
        self
    }
}

/// Limits of a runtime (protocol §9, threats T-2 to T-6).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// From the transport's opening to the hello. Default 5 s.
    pub hello_timeout: Duration,
    /// From the transport's opening to the welcome. Default 10 s.
    pub welcome_timeout: Duration,
    /// How long a connection may take nothing while something waits. Default 60 s.
    pub write_stall: Duration,
    /// How long a frame that has begun may take for its next `partial_frame_bytes`, or for its end. Default 30 s.
    pub partial_frame: Duration,
    /// How much of a frame must arrive in that time. Default 16 KiB, so that the largest frame takes half an hour at most.
    pub partial_frame_bytes: u64,
    /// Bytes read from a connection before its welcome. Default 64 KiB.
    pub bytes_before_welcome: usize,
    /// Connections that wait for authentication. Default 1 024.
    pub unauthenticated: usize,
    /// Malformed frames a connection may send in a minute. Default 32.
    pub malformed_per_minute: u32,
    /// Pings answered in a second. Default 10.
    pub pings_per_second: u32,
    /// Control frames that may wait on one connection. Default 256.
    pub control_queue: usize,
    /// Request ids remembered per session. Default 4 096.
    pub remembered_requests: usize,
    /// Events a session keeps in memory. Default 4 096.
    pub window_events: usize,
    /// Bytes a session keeps in memory. Default 2 MiB.
    pub window_bytes: u64,
    /// Unacknowledged events kept for a session in the store. Default 65 536.
    pub replay_events: u64,
    /// Bytes of them without chunks. Default 16 MiB.
    pub replay_bytes: u64,
    /// Bytes of their chunks. Default 32 MiB.
    pub replay_chunk_bytes: u64,
    /// Events of a job's log kept for history. Default 65 536.
    pub log_events: u64,
    /// Bytes of them without chunks. Default 16 MiB.
    pub log_bytes: u64,
    /// Bytes of their chunks. Default 32 MiB.
    pub log_chunk_bytes: u64,
    /// Unacknowledged events above which a session is told that it lags. Default 1 000; re-armed below half.
    pub lag: u64,
    /// Bytes that may wait for the store before jobs are held. Default 16 MiB.
    pub pending_bytes: u64,
    /// Decoded bytes of one streamed result. Default 256 MiB.
    pub result_bytes: u64,
    /// Hellos of one principal: a second's refill. Default 10.
    pub hellos_per_second: u32,
    /// Hellos of one principal in one burst. Default 100.
    pub hello_burst: u32,
    /// Hellos from one address, or one /64 network of IPv6: a second's refill. Default 50. All clients behind a proxy have
    /// the proxy's address.
    pub address_hellos_per_second: u32,
    /// Hellos from one address in one burst. Default 500.
    pub address_hello_burst: u32,
    /// Wrong tokens from one address, or wrong resume tokens of one principal, that are answered at once within a minute.
    /// Default 10.
    pub failed_tokens_per_minute: u32,
    /// How long every further answer to a hello from there, good or bad, waits. Default 2 s.
    pub failed_token_delay: Duration,
    /// Sessions of one principal. Default 100.
    pub sessions: usize,
    /// How long a connected session must have sent nothing but heartbeats, and have had no live job, before it gives way to
    /// a new one of its principal that would be too many. Default 1 h.
    pub idle_session: Duration,
    /// Unfinished jobs of one principal. Default 1 000.
    pub jobs: usize,
    /// Running jobs of one principal; more wait in `pending`. Default 50.
    pub running_jobs: usize,
    /// How often a job is run again without a new checkpoint: a job that brings its process down each time must not do so for
    /// ever. Default 3.
    pub restarts: u32,
    /// Subscriptions of one principal. Default 1 000.
    pub subscriptions: usize,
    /// Subscribers of one job. Default 256.
    pub subscribers: usize,
    /// Idempotency keys of one principal. Default 100 000.
    pub idempotency_keys: usize,
    /// Retained bytes of one principal's jobs. Default 64 MiB.
    pub buffered_bytes: u64,
    /// Dead sessions of one principal that are remembered. Default 10 000.
    pub tombstones: usize,
    /// How long what is decided outside may take while a submit waits for it. Default 10 s.
    pub decision_timeout: Duration,
    /// How many jobs may be above a delegated one. Default 8.
    pub delegation_depth: u8,
    /// Unfinished children of one job. Default 64.
    pub children: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hello_timeout: Duration::from_secs(5),
            welcome_timeout: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            partial_frame: Duration::from_secs(30),
            partial_frame_bytes: 16 * KIB,
            bytes_before_welcome: 64 * 1_024,
            unauthenticated: 1_024,
            malformed_per_minute: 32,
            pings_per_second: 10,
            control_queue: 256,
            remembered_requests: 4_096,
            window_events: 4_096,
            window_bytes: 2 * MIB,
            replay_events: 65_536,
            replay_bytes: 16 * MIB,
            replay_chunk_bytes: 32 * MIB,
            log_events: 65_536,
            log_bytes: 16 * MIB,
            log_chunk_bytes: 32 * MIB,
            lag: 1_000,
            pending_bytes: 16 * MIB,
            result_bytes: 256 * MIB,
            hellos_per_second: 10,
            hello_burst: 100,
            address_hellos_per_second: 50,
            address_hello_burst: 500,
            failed_tokens_per_minute: 10,
            failed_token_delay: Duration::from_secs(2),
            sessions: 100,
            idle_session: Duration::from_secs(3_600),
            jobs: 1_000,
            running_jobs: 50,
            restarts: 3,
            subscriptions: 1_000,
            subscribers: 256,
            idempotency_keys: 100_000,
            buffered_bytes: 64 * MIB,
            tombstones: 10_000,
            decision_timeout: Duration::from_secs(10),
            delegation_depth: 8,
            children: 64,
        }
    }
}

/// Configuration of a [`ClientEndpoint`](crate::client::ClientEndpoint).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Display name, cut at 256 bytes.
    pub name: String,
    /// Display version, cut at 256 bytes.
    pub version: String,
    /// The bearer token.
    pub token: Secret,
    /// What is offered to the runtime.
    pub features: Features,
    /// A session of an earlier process to continue.
    pub resume: Option<ResumeState>,
    /// Whether events of jobs are handed on that were neither submitted nor subscribed to through this endpoint:
    /// children of its jobs. With `resume` they are handed on in any case, since the jobs of the earlier process are
    /// such jobs. Who gets them must take them or abandon their job. Otherwise they are dropped. A submit can ask for its
    /// own [`children`](crate::client::Submission::children), and those come whole. Default `false`.
    pub other_jobs: bool,
    /// Whether a submit whose lease grants a part of a namespace is sent to a runtime that knows whole namespaces only,
    /// of which there is one (protocol §12.4). The part is then not asked for; otherwise the submit fails with
    /// [`RequestError::Unsupported`](crate::client::RequestError::Unsupported). Default `false`.
    pub coarse_leases: bool,
    /// How long to wait for the welcome. Default 10 s.
    pub welcome_timeout: Duration,
    /// How long to wait for the answer to a submit before it is sent again with its key. Default 30 s.
    pub submit_timeout: Duration,
    /// How long to wait for the answer to a subscribe or list. Default 10 s.
    pub request_timeout: Duration,
    /// How long a cancel may stay without an answer and without the job's end: some runtimes do not acknowledge it. The
    /// default is 60 s, which is 30 s and the grace that agents have.
    pub cancel_timeout: Duration,
    /// How long to wait for the runtime's part of a goodbye. Default 1 s.
    pub close_timeout: Duration,
    /// The first upper bound of the random wait before a reconnect; doubles up to `backoff_max`. Default 200 ms.
    pub backoff_min: Duration,
    /// Its largest value. Default 30 s.
    pub backoff_max: Duration,
    /// Attempts without progress after which the session is given up; `None` tries for ever. The default is `None`.
    pub max_attempts: Option<u32>,
    /// Least time between two acknowledgements. Default 250 ms.
    pub ack_interval: Duration,
    /// Events handed out but not taken by the application, above which nothing more is read. Default 65 536.
    pub untaken_events: u64,
    /// Bytes of them. Default 16 MiB.
    pub untaken_bytes: u64,
}

impl ClientConfig {
    /// The defaults with this bearer token.
    #[must_use]
    pub fn new(token: impl Into<Secret>) -> Self {
        Self {
            name: String::from("arcp-rs"),
            version: String::from(env!("CARGO_PKG_VERSION")),
            token: token.into(),
            features: Features::SUPPORTED,
            resume: None,
            other_jobs: false,
            coarse_leases: false,
            welcome_timeout: Duration::from_secs(10),
            submit_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
            cancel_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            max_attempts: None,
            ack_interval: Duration::from_millis(250),
            untaken_events: 65_536,
            untaken_bytes: 16 * MIB,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_published_ones() {
        let seconds = Duration::from_secs;
        let RuntimeConfig { heartbeat_interval, resume_window, cancel_grace, retention, limits, .. } =
            RuntimeConfig::default();
        assert_eq!([heartbeat_interval, resume_window, cancel_grace], [30, 600, 30].map(seconds));
        assert_eq!(retention, seconds(24 * 60 * 60));
        assert_eq!([limits.hello_timeout, limits.welcome_timeout], [5, 10].map(seconds));
        assert_eq!([limits.partial_frame, limits.write_stall], [30, 60].map(seconds));
        assert_eq!([limits.failed_token_delay, limits.idle_session], [2, 3_600].map(seconds));
        assert_eq!([limits.bytes_before_welcome, limits.unauthenticated], [64 << 10, 1_024]);
        assert_eq!([limits.malformed_per_minute, limits.pings_per_second], [32, 10]);
        assert_eq!([limits.control_queue, limits.remembered_requests], [256, 4_096]);
        assert_eq!((limits.window_events, limits.window_bytes), (4_096, 2 << 20));
        let kept = [limits.replay_events, limits.replay_bytes, limits.replay_chunk_bytes];
        assert_eq!(kept, [65_536, 16 << 20, 32 << 20]);
        assert_eq!(kept, [limits.log_events, limits.log_bytes, limits.log_chunk_bytes]);
        assert_eq!([limits.lag, limits.pending_bytes], [1_000, 16 << 20]);
        assert_eq!([limits.result_bytes, crate::chunk::MAX_RESULT_BYTES], [256 << 20; 2]);
        assert_eq!([limits.hellos_per_second, limits.hello_burst], [10, 100]);
        assert_eq!([limits.address_hellos_per_second, limits.address_hello_burst], [50, 500]);
        assert_eq!(limits.failed_tokens_per_minute, 10);
        assert_eq!([limits.sessions, limits.jobs, limits.running_jobs], [100, 1_000, 50]);
        assert_eq!([limits.subscriptions, limits.subscribers], [1_000, 256]);
        assert_eq!([limits.idempotency_keys, limits.tombstones], [100_000, 10_000]);
        assert_eq!(limits.buffered_bytes, 64 << 20);
        assert_eq!((limits.delegation_depth, limits.children), (8, 64));
    }

    #[test]
    fn a_clients_defaults_are_the_published_ones() {
        let config = ClientConfig::new("token");
        assert_eq!(config.welcome_timeout, Duration::from_secs(10));
        assert_eq!(config.request_timeout, Duration::from_secs(10));
        assert_eq!(config.submit_timeout, Duration::from_secs(30));
        assert_eq!(config.cancel_timeout, Duration::from_secs(60));
        assert_eq!(config.close_timeout, Duration::from_secs(1));
        assert_eq!(
            (config.backoff_min, config.backoff_max),
            (Duration::from_millis(200), Duration::from_secs(30))
        );
        assert_eq!(config.ack_interval, Duration::from_millis(250));
    }
}
