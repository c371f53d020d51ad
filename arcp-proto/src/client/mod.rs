//! The client endpoint: one session with a runtime, kept through lost connections.

mod children;
mod commands;
mod credentials;
mod deliver;
mod granted;
mod hold;
mod jobs;
mod left_behind;
mod list;
mod missing;
mod numbers;
mod outgoing;
mod output;
mod receive;
mod reconnect;
mod requests;
mod send;
mod sequence;
mod session;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::client::children::Trees;
use crate::client::jobs::Jobs;
use crate::client::numbers::Numbers;
use crate::client::outgoing::{Mint, Outgoing};
use crate::client::reconnect::Backoff;
use crate::client::requests::Requests;
use crate::client::session::{Next, Phase, Session};
use crate::close::CloseCode;
use crate::config::ClientConfig;
use crate::entropy::Entropy;
use crate::heartbeat::Beat;
use crate::id::{JobId, SessionId};
use crate::time::{Instant, Now};
use crate::wire::peer::{PeerProfile, TransportKind};
use crate::wire::session::Goodbye;
use crate::wire::{Envelope, ScanLimits};

pub use credentials::JobCredentials;
pub use granted::GrantedLease;
pub use list::ListQuery;
pub use output::{ClientEvent, ClosedReason, Connected, Output, RequestError, RequestId, ResumeState};
pub use requests::{Submission, Subscription};

/// Keeps a resend from happening in the very instant it was asked for.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// What can happen by time alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The back-off is over: another transport is asked for.
    Reconnect,
    /// No welcome came: the transport is given up.
    Welcome,
    /// Nothing was sent for three quarters of the interval: a ping is; nothing was heard for two: the transport is
    /// given up.
    Heartbeat,
    /// A request has no answer: a submit is sent again, another one fails.
    Answer,
    /// The spacing of acknowledgements is over: one is sent.
    Ack,
    /// The runtime does not answer our goodbye: the transport is closed.
    Goodbye,
}

/// Where a client endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientState {
    /// There is no transport; the back-off before the next runs.
    Waiting,
    /// The driver was asked for a transport.
    Connecting,
    /// The hello is out, its answer is not here.
    Greeting,
    /// The session is open.
    Connected,
    /// The driver was asked to close a transport, after which another follows.
    Reconnecting,
    /// The goodbye is out.
    Closing,
    /// The session is over.
    Closed,
}

/// One session with a runtime: a state machine without IO.
///
/// It asks for a transport, says hello, resumes after a loss, keeps requests until they are answered, hands every
/// event on once and in order, and acknowledges what the application took (protocol §2 to §4).
///
/// # The four kinds of methods
///
/// * **Inputs**, `handle_*`, say what happened outside. They return nothing: a peer that misbehaves becomes outputs.
///   An input that does not fit the state is a no-op.
/// * **Commands** ([`submit`](Self::submit), [`cancel`](Self::cancel), [`subscribe`](Self::subscribe),
///   [`list_jobs`](Self::list_jobs), [`unsubscribe`](Self::unsubscribe), [`abandon`](Self::abandon),
///   [`abandon_children`](Self::abandon_children), [`taken`](Self::taken), [`close`](Self::close),
///   [`reconnect_now`](Self::reconnect_now)) are the application's. They are legal in every state; what cannot leave
///   yet waits for the session. Their errors are the caller's own mistakes.
/// * **Outputs**, `poll_*`, are what to do about it. They are queued by inputs and commands, never made by polling, so
///   two inputs in a row are fine. `poll_output` must be drained, and every output carried out in order, before waiting
///   for anything.
/// * **Getters** change nothing.
///
/// Every input and command takes the time. Its monotonic part must not go backwards. After any of them the deadline may
/// have changed: ask [`poll_timeout`](Self::poll_timeout) last, and call [`handle_timeout`](Self::handle_timeout) when
/// it has come. Calling it early is a no-op.
///
/// A driver reads its socket only while [`may_read`](Self::may_read) says so.
///
/// # A complete drive loop
///
/// Frames as lines over TCP, one job, its end printed:
///
/// ```no_run
/// use std::io::{ErrorKind, Read, Write};
/// use std::net::{Shutdown, TcpStream};
/// use std::time::{Duration, SystemTime, UNIX_EPOCH};
///
/// use arcp_proto::client::{ClientEndpoint, ClientEvent, Output, Submission};
/// use arcp_proto::config::ClientConfig;
/// use arcp_proto::entropy::Entropy;
/// use arcp_proto::time::{Instant, Now, UnixTime};
/// use arcp_proto::wire::peer::TransportKind;
/// use arcp_proto::wire::{Line, LineSplitter, RawJson};
///
/// struct Os(std::fs::File);
///
/// impl Entropy for Os {
///     fn fill_public(&mut self, bytes: &mut [u8]) {
///         self.0.read_exact(bytes).expect("the system has randomness");
///     }
///     fn fill_secret(&mut self, bytes: &mut [u8]) {
///         self.fill_public(bytes);
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let start = std::time::Instant::now();
///     let now = || Now {
///         mono: Instant::ZERO.after(start.elapsed()),
///         unix: UnixTime::from_millis(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
///     };
///     let entropy = Box::new(Os(std::fs::File::open("/dev/urandom")?));
///     let mut client = ClientEndpoint::new(ClientConfig::new("token"), entropy, now());
///     client.submit(now(), Submission::new("echo", RawJson::empty_object()))?;
///
///     let mut socket: Option<TcpStream> = None;
///     let mut lines = LineSplitter::new(2 << 20);
///     loop {
///         // Outputs first: they are what the last input or command led to.
///         while let Some(output) = client.poll_output() {
///             match output {
///                 Output::Connect => match TcpStream::connect("127.0.0.1:7777") {
///                     Ok(stream) => {
///                         socket = Some(stream);
///                         lines = LineSplitter::new(2 << 20);
///                         client.handle_open(now(), TransportKind::Lines);
///                     }
///                     Err(_) => client.handle_closed(now()),
///                 },
///                 Output::FramesReady => {
///                     while let Some(frame) = client.poll_frame() {
///                         if let Some(socket) = &mut socket {
///                             // A failed write shows when reading.
///                             let _ = socket.write_all(format!("{frame}\n").as_bytes());
///                         }
///                     }
///                 }
///                 Output::Close(_code) => {
///                     while let Some(frame) = client.poll_frame() {
///                         if let Some(socket) = &mut socket {
///                             let _ = socket.write_all(format!("{frame}\n").as_bytes());
///                         }
///                     }
///                     if let Some(socket) = socket.take() {
///                         let _ = socket.shutdown(Shutdown::Both);
///                     }
///                     client.handle_closed(now());
///                 }
///                 // Nothing is kept for a later process here.
///                 Output::Remember(_state) => client.handle_remembered(now()),
///                 Output::Event(ClientEvent::JobEvent { seq: Some(seq), .. }) => client.taken(now(), seq),
///                 Output::Event(ClientEvent::JobEnded { seq, ended, .. }) => {
///                     println!("{:?} {:?}", ended.status, ended.result);
///                     if let Some(seq) = seq {
///                         client.taken(now(), seq);
///                     }
///                     client.close(now(), None);
///                 }
///                 Output::Event(ClientEvent::Closed(reason)) => {
///                     println!("{reason}");
///                     return Ok(());
///                 }
///                 Output::Event(_) => {}
///             }
///         }
///
///         // Then wait: for bytes while there is a socket to read, but not beyond the deadline.
///         let wait = client.poll_timeout().map(|at| at.since(now().mono)).unwrap_or(Duration::from_secs(3_600));
///         match &mut socket {
///             Some(stream) if client.may_read() => {
///                 stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
///                 let mut buffer = [0; 16_384];
///                 match stream.read(&mut buffer) {
///                     Ok(0) => {
///                         socket = None;
///                         client.handle_closed(now());
///                     }
///                     Ok(count) => {
///                         lines.push(&buffer[..count]);
///                         while let Some(line) = lines.next_line() {
///                             match line {
///                                 Line::Frame(frame) => client.handle_frame(now(), frame),
///                                 _ => client.handle_oversized(now()),
///                             }
///                         }
///                     }
///                     Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
///                     Err(_) => {
///                         socket = None;
///                         client.handle_closed(now());
///                     }
///                 }
///             }
///             _ => std::thread::sleep(wait),
///         }
///         client.handle_timeout(now());
///     }
/// }
/// ```
pub struct ClientEndpoint {
    config: ClientConfig,
    mint: Mint,
    phase: Phase,
    session: Option<Session>,
    numbers: Numbers,
    jobs: Jobs,
    trees: Trees,
    requests: Requests,
    /// Subscriptions that ended while there was no connection.
    unsubscribes: BTreeSet<JobId>,
    backoff: Backoff,
    outgoing: Outgoing,
    outputs: VecDeque<Output>,
    /// When the last acknowledgement left on this connection.
    last_ack: Option<Instant>,
    ack_due: Option<Instant>,
    /// What was asked to be remembered and was not answered.
    remembering: u32,
    goodbye: Goodbye,
    hands_on_others: bool,
    ignored: u64,
}

impl ClientEndpoint {
    /// An endpoint that asks for its first transport at once. With
    /// [`ClientConfig::resume`] its first hello continues that session.
    #[must_use]
    pub fn new(config: ClientConfig, entropy: Box<dyn Entropy + Send>, now: Now) -> Self {
        let resume = config.resume.as_ref();
        let mut endpoint = Self {
            mint: Mint::new(entropy),
            phase: Phase::Waiting { until: now.mono },
            session: resume.map(Session::of),
            numbers: resume.map_or_else(Numbers::default, |state| Numbers::continuing(state.last_event_seq)),
            jobs: Jobs::default(),
            trees: Trees::default(),
            requests: Requests::default(),
            unsubscribes: BTreeSet::new(),
            backoff: Backoff::default(),
            outgoing: Outgoing::default(),
            outputs: VecDeque::new(),
            last_ack: None,
            ack_due: None,
            remembering: 0,
            goodbye: Goodbye::default(),
            hands_on_others: config.other_jobs || resume.is_some(),
            ignored: 0,
            config,
        };
        endpoint.connect();
        endpoint
    }

    /// The transport that [`Output::Connect`] asked for is open.
    pub fn handle_open(&mut self, now: Now, transport: TransportKind) {
        match self.phase {
            Phase::Connecting => self.greet(now, transport),
            Phase::Closed => self.outputs.push_back(Output::Close(CloseCode::Normal)),
            _ => {}
        }
        self.settle(now);
    }

    /// A frame came in. Whatever is in it, the worst that follows is that the transport is given up.
    pub fn handle_frame(&mut self, now: Now, frame: Bytes) {
        let envelope = Envelope::decode(&frame, &ScanLimits::CLIENT).ok();
        match &mut self.phase {
            Phase::Greeting(greeting) => {
                let greeting = greeting.clone();
                self.receive_answer(now, greeting, envelope.as_ref());
            }
            Phase::Active(active) => {
                if let Some(beat) = &mut active.beat {
                    beat.heard(now.mono);
                }
                match envelope {
                    Some(envelope) if active.leaving.is_some() => self.receive_goodbye(now, &envelope),
                    Some(envelope) => self.receive(now, &envelope, frame.len()),
                    None => self.ignored += 1,
                }
            }
            // Nothing that still comes from a transport that was given up matters.
            Phase::Waiting { .. } | Phase::Connecting | Phase::Closing(_) | Phase::Closed => {}
        }
        self.settle(now);
    }

    /// A frame was larger than 2 MiB and was not read. On a line transport it counts as malformed; elsewhere the
    /// transport cannot go on (protocol §1.4).
    pub fn handle_oversized(&mut self, now: Now) {
        match &mut self.phase {
            Phase::Greeting(_) => self.lose(now, CloseCode::TooLarge),
            Phase::Active(active) => {
                if let Some(beat) = &mut active.beat {
                    beat.heard(now.mono);
                }
                if active.transport == TransportKind::Lines {
                    self.ignored += 1;
                } else if active.leaving.is_none() {
                    self.lose(now, CloseCode::TooLarge);
                }
            }
            _ => {}
        }
        self.settle(now);
    }

    /// What the oldest unanswered [`Output::Remember`] asked for is kept, or there is no place to keep it.
    pub fn handle_remembered(&mut self, now: Now) {
        self.remembering = self.remembering.saturating_sub(1);
        if self.remembering == 0 && matches!(self.phase, Phase::Active(_)) {
            self.outgoing.open();
        }
        self.settle(now);
    }

    /// The transport is closed, by whomever, or could not be opened.
    pub fn handle_closed(&mut self, now: Now) {
        match &self.phase {
            Phase::Connecting | Phase::Greeting(_) => {
                self.disconnected(now);
                self.retry(now);
            }
            Phase::Active(active) if active.leaving.is_some() => self.finish(ClosedReason::Requested),
            Phase::Active(_) => {
                self.disconnected(now);
                self.retry(now);
            }
            Phase::Closing(Next::Now) => self.connect(),
            Phase::Closing(Next::AfterBackoff) => self.retry(now),
            Phase::Closing(Next::At(until)) => self.phase = Phase::Waiting { until: *until },
            Phase::Waiting { .. } | Phase::Closed => {}
        }
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((_, timer)) = self.next_timer().filter(|(at, _)| *at <= now.mono) {
            match timer {
                Timer::Reconnect => self.connect(),
                Timer::Welcome => self.lose(now, CloseCode::Normal),
                Timer::Heartbeat => self.beat(now),
                Timer::Answer => {
                    if let Some(request) = self.requests.expired(now.mono) {
                        self.expire(now, request);
                    }
                }
                Timer::Ack => self.pace_ack(now),
                Timer::Goodbye => self.leave_rudely(now),
            }
            self.settle(now);
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next frame to write, as text without a line end.
    pub fn poll_frame(&mut self) -> Option<String> {
        self.outgoing.poll()
    }

    /// When to call [`Self::handle_timeout`] at the latest; `None` while time changes nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_timer().map(|(at, _)| at)
    }

    /// The next deadline and what it is for.
    #[must_use]
    pub fn next_timer(&self) -> Option<(Instant, Timer)> {
        let [phase, heartbeat] = match &self.phase {
            Phase::Waiting { until } => [Some((*until, Timer::Reconnect)), None],
            Phase::Greeting(greeting) => [Some((greeting.deadline, Timer::Welcome)), None],
            Phase::Active(active) => [
                active.leaving.map(|at| (at, Timer::Goodbye)),
                active.beat.map(|beat| (beat.deadline(), Timer::Heartbeat)),
            ],
            Phase::Connecting | Phase::Closing(_) | Phase::Closed => [None, None],
        };
        let answer = self.requests.next_deadline().map(|at| (at, Timer::Answer));
        let ack = self.ack_due.map(|at| (at, Timer::Ack));
        [phase, heartbeat, answer, ack].into_iter().flatten().min()
    }

    /// Whether the driver may read its transport. Not while too much waits to be
    /// [taken](Self::taken): [`ClientConfig::untaken_events`], [`ClientConfig::untaken_bytes`].
    #[must_use]
    pub fn may_read(&self) -> bool {
        match &self.phase {
            Phase::Greeting(_) => true,
            Phase::Active(active) => {
                // What waits for its `job.accepted` is not the application's yet, and only reading brings that.
                let (events, bytes) = self.jobs.held();
                let most_events = self.config.untaken_events.saturating_add(events);
                let most_bytes = self.config.untaken_bytes.saturating_add(bytes);
                active.leaving.is_some() || self.numbers.is_within(most_events, most_bytes)
            }
            Phase::Waiting { .. } | Phase::Connecting | Phase::Closing(_) | Phase::Closed => false,
        }
    }

    /// The session, once there is one.
    #[must_use]
    pub fn session_id(&self) -> Option<&SessionId> {
        self.session.as_ref().map(|session| &session.id)
    }

    /// What a later process needs to continue this session; `None` while there is nothing to continue. Good also after
    /// [`Self::close`], as long as the runtime's resume window lasts.
    #[must_use]
    pub fn resume_state(&self) -> Option<ResumeState> {
        let session = self.session.as_ref()?;
        Some(ResumeState {
            session_id: session.id.clone(),
            resume_token: session.token.clone()?,
            last_event_seq: self.numbers.taken_up_to(),
        })
    }

    /// Whether the session is open: what is asked leaves at once.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(&self.phase, Phase::Active(active) if active.leaving.is_none())
    }

    /// Where the endpoint stands.
    #[must_use]
    pub const fn state(&self) -> ClientState {
        match &self.phase {
            Phase::Waiting { .. } => ClientState::Waiting,
            Phase::Connecting => ClientState::Connecting,
            Phase::Greeting(_) => ClientState::Greeting,
            Phase::Active(active) if active.leaving.is_some() => ClientState::Closing,
            Phase::Active(_) => ClientState::Connected,
            Phase::Closing(_) => ClientState::Reconnecting,
            Phase::Closed => ClientState::Closed,
        }
    }

    /// Frames that were dropped: malformed, repeated, of unknown type, or about nothing that was asked for.
    #[must_use]
    pub const fn ignored_frames(&self) -> u64 {
        self.ignored
    }

    /// The runtime of the session.
    fn profile(&self) -> PeerProfile {
        self.session.as_ref().map_or(PeerProfile::Unknown, |session| session.profile)
    }

    fn is_core(&self) -> bool {
        self.profile() == PeerProfile::Core
    }

    fn submit_timeout(&self) -> Duration {
        self.config.submit_timeout.max(SHORTEST_WAIT)
    }

    fn beat(&mut self, now: Now) {
        let may_read = self.may_read();
        let Phase::Active(active) = &mut self.phase else { return };
        let Some(beat) = &mut active.beat else { return };
        match beat.check(now.mono) {
            // A silence that we make by not reading is no silence of the runtime.
            Beat::Lost if !may_read => beat.heard(now.mono),
            Beat::Lost if active.leaving.is_some() => self.leave_rudely(now),
            Beat::Lost => self.lose(now, CloseCode::Normal),
            Beat::Ping => {
                beat.spoke(now.mono);
                self.send_ping(now);
            }
            Beat::Idle => {}
        }
    }

    /// The application gave something back, so that reading may go on; the silence until then does not count.
    fn resume_reading(&mut self, now: Now, give_back: impl FnOnce(&mut Self)) {
        let could_read = self.may_read();
        give_back(self);
        if !could_read
            && self.may_read()
            && let Phase::Active(active) = &mut self.phase
            && let Some(beat) = &mut active.beat
        {
            beat.heard(now.mono);
        }
        self.settle(now);
    }

    /// What every input and command ends with.
    fn settle(&mut self, now: Now) {
        self.end_trees();
        self.pace_ack(now);
        if self.outgoing.take_spoken()
            && let Phase::Active(active) = &mut self.phase
            && let Some(beat) = &mut active.beat
        {
            beat.spoke(now.mono);
        }
        if self.outgoing.announce() {
            self.outputs.push_back(Output::FramesReady);
        }
    }
}

impl fmt::Debug for ClientEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEndpoint")
            .field("state", &self.state())
            .field("session", &self.session_id())
            .field("timer", &self.next_timer())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl ClientEndpoint {
    /// The longest wait, in milliseconds, that a loss at this moment could lead to.
    fn backoff_of_next_loss(&self) -> u128 {
        self.backoff.bound(&self.config).as_millis()
    }
}
