//! From transport to session and back: hello, welcome, loss, goodbye (protocol §2).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::client::ClientEndpoint;
use crate::client::jobs::Job;
use crate::client::outgoing::About;
use crate::client::output::{ClientEvent, ClosedReason, Connected, Output, RequestError, ResumeState};
use crate::client::reconnect::Refusal;
use crate::client::requests::{Ask, Subscription};
use crate::close::CloseCode;
use crate::error::ErrorCode;
use crate::feature::{Feature, Features};
use crate::heartbeat::Heartbeat;
use crate::id::SessionId;
use crate::secret::Secret;
use crate::time::{Instant, Now};
use crate::wire::peer::{CloseStyle, PeerProfile, TransportKind};
use crate::wire::session::{Auth, ErrorPayload, Goodbye, Hello, ResumeRequest, Welcome};
use crate::wire::{Envelope, truncated};

/// Bytes of our name and version that are sent (protocol §9).
const MAX_NAME_BYTES: usize = 256;
/// Bytes of a reason that are sent.
const MAX_REASON_BYTES: usize = 1_024;
/// Seconds between heartbeats where the runtime names none, and the most that is believed.
const HEARTBEAT_SECONDS: u64 = 30;
const MAX_HEARTBEAT_SECONDS: u64 = 3_600;

/// Between two tries of a resume that a runtime refuses until it notices the loss itself.
const RESUME_SPACING: Duration = Duration::from_secs(2);
/// What it may need for that beside two heartbeat intervals.
const NOTICE: Duration = Duration::from_secs(5);

/// Where the endpoint stands between transport and session.
#[derive(Debug)]
pub(super) enum Phase {
    /// There is no transport; the back-off runs.
    Waiting { until: Instant },
    /// The driver was asked for a transport.
    Connecting,
    /// The hello is out.
    Greeting(Greeting),
    /// The session is open.
    Active(Active),
    /// The driver was asked to close the transport, after which another is wanted.
    Closing(Next),
    /// The session is over.
    Closed,
}

/// When the next transport is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// At once.
    Now,
    /// After the back-off.
    AfterBackoff,
    /// Then.
    At(Instant),
}

/// A hello without an answer.
#[derive(Debug, Clone)]
pub(super) struct Greeting {
    transport: TransportKind,
    is_resume: bool,
    session_id: SessionId,
    pub(super) deadline: Instant,
}

/// An open session's connection.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) transport: TransportKind,
    pub(super) beat: Option<Heartbeat>,
    /// When the current second of pings began, and how many were answered in it.
    pub(super) pings: (Instant, u32),
    /// Our goodbye is out; until when its answer is waited for.
    pub(super) leaving: Option<Instant>,
}

/// What outlives a connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) token: Option<Secret>,
    pub(super) features: Features,
    pub(super) profile: PeerProfile,
    /// The envelope id of the connection's welcome.
    pub(super) welcome_id: Box<str>,
    /// Seconds between heartbeats.
    beat_seconds: u64,
    /// Until when a refused resume is tried again, once one was refused.
    resume_until: Option<Instant>,
}

impl Session {
    /// A session of an earlier process.
    pub(super) fn of(state: &ResumeState) -> Self {
        Self {
            id: state.session_id.clone(),
            token: Some(state.resume_token.clone()),
            features: Features::NONE,
            profile: PeerProfile::Unknown,
            welcome_id: Box::default(),
            beat_seconds: HEARTBEAT_SECONDS,
            resume_until: None,
        }
    }

    /// When to try a refused resume again, if this runtime may accept it later (protocol §2.4).
    fn resume_again(&mut self, now: Now, code: ErrorCode) -> Option<Instant> {
        if !self.profile.may_resume_later(code) {
            return None;
        }
        let patience = Duration::from_secs(2 * self.beat_seconds) + NOTICE;
        let until = *self.resume_until.get_or_insert_with(|| now.mono.after(patience));
        Some(now.mono.after(RESUME_SPACING)).filter(|at| *at <= until)
    }
}

impl ClientEndpoint {
    pub(super) fn connect(&mut self) {
        self.backoff.attempt();
        self.phase = Phase::Connecting;
        self.outputs.push_back(Output::Connect);
    }

    /// Sends the hello, which continues the session if there is one that can be.
    pub(super) fn greet(&mut self, now: Now, transport: TransportKind) {
        let resume = self.session.as_ref().and_then(|session| {
            Some(ResumeRequest {
                session_id: Some(session.id.as_str().into()),
                token: session.token.clone()?,
                last_event_seq: Some(self.numbers.last()),
            })
        });
        let is_resume = resume.is_some();
        let session_id = match &self.session {
            Some(session) if is_resume => session.id.clone(),
            // `sess_` and a ULID are an identifier.
            _ => SessionId::new(&self.mint.id("sess_", now.unix)).expect("a ULID is an identifier"),
        };
        let hello = Hello {
            client_name: Some(truncated(&self.config.name, MAX_NAME_BYTES).into()),
            client_version: Some(truncated(&self.config.version, MAX_NAME_BYTES).into()),
            auth: Auth::Bearer(self.config.token.clone()),
            features: Some(self.config.features),
            resume,
        };
        let (_, frame) =
            self.mint.frame(now, "session.hello", session_id.as_str(), About::default(), |members| {
                hello.write(members);
            });
        self.outgoing.reset();
        self.outgoing.open();
        self.outgoing.push(frame);
        let deadline = now.mono.after(self.config.welcome_timeout);
        self.phase = Phase::Greeting(Greeting { transport, is_resume, session_id, deadline });
    }

    /// The first frame on a connection. Anything but a welcome or an error ends the attempt.
    pub(super) fn receive_answer(&mut self, now: Now, greeting: Greeting, envelope: Option<&Envelope<'_>>) {
        let Some(envelope) = envelope else { return self.lose(now, CloseCode::Policy) };
        match envelope.message_type.as_ref() {
            "session.welcome" => match Welcome::read(&envelope.payload) {
                Ok(welcome) => self.welcomed(now, &greeting, envelope, welcome),
                Err(_) => self.lose(now, CloseCode::Policy),
            },
            "session.error" | "job.error" => match ErrorPayload::read(&envelope.payload) {
                Ok(error) if envelope.message_type == "session.error" || error.job_id.is_none() => {
                    self.refused_hello(now, &greeting, envelope, error);
                }
                _ => self.lose(now, CloseCode::Policy),
            },
            _ => self.lose(now, CloseCode::Policy),
        }
    }

    fn refused_hello(&mut self, now: Now, greeting: &Greeting, envelope: &Envelope<'_>, error: ErrorPayload) {
        match Refusal::of(&error, greeting.is_resume) {
            Refusal::Retry => {
                self.event(ClientEvent::RuntimeError(Box::new(error)));
                self.lose(now, CloseCode::Normal);
            }
            Refusal::StartOver => {
                let again = self.session.as_mut().and_then(|session| {
                    if session.profile == PeerProfile::Unknown {
                        session.profile = PeerProfile::of_refusal(envelope);
                    }
                    session.resume_again(now, error.known_code())
                });
                self.lose(now, CloseCode::Normal);
                match again {
                    Some(at) => {
                        self.backoff.uncount();
                        self.phase = Phase::Closing(Next::At(at));
                    }
                    None => {
                        self.session = None;
                        self.phase = Phase::Closing(Next::Now);
                    }
                }
            }
            Refusal::Stop(reason) => {
                self.outputs.push_back(Output::Close(CloseCode::Normal));
                self.finish(reason);
            }
        }
    }

    fn welcomed(&mut self, now: Now, greeting: &Greeting, envelope: &Envelope<'_>, welcome: Welcome) {
        let named = envelope.session_id.as_deref().and_then(SessionId::new);
        let id = named.or(welcome.session_id).unwrap_or_else(|| greeting.session_id.clone());
        let previous = self.session.take().filter(|session| greeting.is_resume && session.id == id);
        let resumed = previous.is_some();
        let features = welcome.features.intersection(self.config.features);
        let profile = match (PeerProfile::of_welcome(envelope), &previous) {
            (PeerProfile::Unknown, Some(session)) => session.profile,
            (profile, _) => profile,
        };
        // A runtime that continues a session without a new token goes on accepting the one it has just accepted.
        let token = welcome.resume_token.or_else(|| previous.and_then(|session| session.token));
        let beat_seconds =
            welcome.heartbeat_interval_sec.unwrap_or(HEARTBEAT_SECONDS).min(MAX_HEARTBEAT_SECONDS);
        let beat = features
            .has(Feature::Heartbeat)
            .then(|| Heartbeat::new(Duration::from_secs(beat_seconds), now.mono));
        self.session = Some(Session {
            id: id.clone(),
            token,
            features,
            profile,
            welcome_id: envelope.id.as_ref().into(),
            beat_seconds,
            resume_until: None,
        });
        self.phase = Phase::Active(Active {
            transport: greeting.transport,
            beat,
            pings: (now.mono, 0),
            leaving: None,
        });
        self.last_ack = None;
        if resumed {
            self.numbers.forget_acks();
            self.follow_left_behind(now);
        } else {
            self.start_over();
        }
        if let Some(state) = self.resume_state() {
            self.outgoing.shut();
            self.remembering += 1;
            self.outputs.push_back(Output::Remember(state));
        }
        self.event(ClientEvent::Connected(Box::new(Connected {
            session_id: id,
            resumed,
            features,
            runtime_name: welcome.runtime_name,
            runtime_version: welcome.runtime_version,
            agents: Arc::new(welcome.agents),
        })));
        for job in core::mem::take(&mut self.unsubscribes) {
            self.send_unsubscribe(now, &job);
        }
        self.send_waiting(now);
    }

    /// Another session takes the place of the one that cannot be continued: every unfinished job is submitted again
    /// with its key, every subscription made again from where it stood.
    fn start_over(&mut self) {
        self.numbers.start_over();
        self.unsubscribes.clear();
        for index in self.jobs.drop_held() {
            self.numbers.abandon(index);
        }
        self.jobs.start_over();
        let is_core = self.is_core();
        let named = self.named_before();
        let wanted = |job: &Job| {
            if let Some(submitted) = &job.submitted {
                return (!job.resubmitting).then(|| Ask::Submit {
                    submit: Arc::clone(&submitted.submit),
                    trace: submitted.trace,
                    again: Some(job.id.clone()),
                });
            }
            let subscribed = job.subscribed?;
            let start = match (job.pos, subscribed.start, subscribed.seam) {
                (1.., _, _) if is_core => Subscription::HistoryFromPos(job.pos),
                // It is told from its first event, whatever else the application asked for.
                (0, _, _) if is_core && job.is_child => Subscription::History,
                (_, Subscription::Live, Some(seam)) => Subscription::HistoryFromSeq(seam),
                (_, start, _) => start,
            };
            // A child may come with its parent first, and then the subscription brings nothing (D-102).
            let asks_rest = is_core && job.is_child;
            Some(Ask::Subscribe { job: job.id.clone(), start, again: true, asks_rest })
        };
        let asks: Vec<Ask> = self.jobs.iter().filter_map(wanted).collect();
        for ask in asks.into_iter().chain(named) {
            match &ask {
                Ask::Submit { again: Some(job), .. } => {
                    if let Some(job) = self.jobs.find_mut(job.as_str()) {
                        job.resubmitting = true;
                    }
                }
                // One that still waits for its answer goes on waiting.
                Ask::Subscribe { job, start, .. } => {
                    if self.requests.restart_subscribe(job.as_str(), *start) {
                        continue;
                    }
                }
                Ask::Submit { .. } | Ask::Cancel { .. } | Ask::List(_) => {}
            }
            self.requests.add(ask);
        }
    }

    /// Gives the transport up; another follows after the back-off.
    pub(super) fn lose(&mut self, now: Now, code: CloseCode) {
        self.outputs.push_back(Output::Close(code));
        self.disconnected(now);
        self.phase = Phase::Closing(Next::AfterBackoff);
    }

    /// There is no connection any more.
    pub(super) fn disconnected(&mut self, now: Now) {
        self.outgoing.reset();
        self.requests.disconnected();
        self.ack_due = None;
        if matches!(self.phase, Phase::Active(_)) {
            self.event(ClientEvent::Disconnected);
        }
        self.phase = Phase::Waiting { until: now.mono };
    }

    /// Waits for the next attempt, or gives up.
    pub(super) fn retry(&mut self, now: Now) {
        match self.backoff.delay(&self.config, &mut self.mint.entropy) {
            Some(delay) => self.phase = Phase::Waiting { until: now.mono.after(delay) },
            None => self.finish(ClosedReason::GaveUp),
        }
    }

    /// Says goodbye: what was taken, then that this is the end.
    pub(super) fn leave(&mut self, now: Now, reason: Option<String>) {
        let waiting = self.outgoing.take_ack();
        let ack = if self.has_ack() { Some(self.ack_frame(now)) } else { waiting };
        if let Some(frame) = ack {
            self.outgoing.push(frame);
        }
        self.ack_due = None;
        self.goodbye = Goodbye { reason: reason.map(|reason| truncated(&reason, MAX_REASON_BYTES).into()) };
        match self.profile().close_style() {
            CloseStyle::Bye => {
                self.push_goodbye(now, "session.bye");
                return self.left();
            }
            CloseStyle::CloseUnlessJobsLive if self.may_own_jobs() => return self.left(),
            CloseStyle::Close | CloseStyle::CloseThenBye | CloseStyle::CloseUnlessJobsLive => {}
        }
        self.push_goodbye(now, "session.close");
        let until = now.mono.after(self.config.close_timeout);
        if let Phase::Active(active) = &mut self.phase {
            active.leaving = Some(until);
        }
    }

    /// A frame while the runtime's goodbye is waited for.
    pub(super) fn receive_goodbye(&mut self, now: Now, envelope: &Envelope<'_>) {
        match envelope.message_type.as_ref() {
            "session.closed" | "session.bye" => self.left(),
            // An error that answers something else is not about the goodbye.
            "session.error" if self.answered_request(envelope).is_none() => self.leave_rudely(now),
            "session.ping" => self.answer_ping(now, envelope),
            _ => {}
        }
    }

    /// No `session.closed` came. Runtimes that do not know `session.close` may know `session.bye`.
    pub(super) fn leave_rudely(&mut self, now: Now) {
        if self.profile().close_style() == CloseStyle::CloseThenBye {
            self.push_goodbye(now, "session.bye");
        }
        self.left();
    }

    /// Whether jobs of this session may be unfinished. Of those of an earlier process nothing is known.
    fn may_own_jobs(&self) -> bool {
        self.config.resume.is_some()
            || self.requests.has_submit()
            || self.jobs.iter().any(|job| job.submitted.is_some() || job.is_child || job.is_other())
    }

    fn left(&mut self) {
        self.outputs.push_back(Output::Close(CloseCode::Normal));
        let last_words = core::mem::take(&mut self.outgoing);
        self.finish(ClosedReason::Requested);
        self.outgoing = last_words;
    }

    fn push_goodbye(&mut self, now: Now, message_type: &str) {
        let Some(session) = &self.session else { return };
        let (_, frame) =
            self.mint.frame(now, message_type, session.id.as_str(), About::default(), |members| {
                self.goodbye.write(members);
            });
        self.outgoing.push(frame);
    }

    /// The session is over for the application.
    pub(super) fn finish(&mut self, reason: ClosedReason) {
        self.outgoing.reset();
        self.ack_due = None;
        let open: Vec<_> = self.requests.iter().map(|(id, _)| id).collect();
        for request in open {
            match self.requests.close(request) {
                Some(Ask::Submit { again: Some(_), .. } | Ask::Subscribe { again: true, .. }) | None => {}
                Some(_) => self.event(ClientEvent::Rejected { request, error: RequestError::SessionClosed }),
            }
        }
        self.jobs = Default::default();
        self.trees = Default::default();
        self.unsubscribes.clear();
        self.phase = Phase::Closed;
        self.event(ClientEvent::Closed(reason));
    }
}
