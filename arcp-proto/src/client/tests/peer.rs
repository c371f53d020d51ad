//! The scripted runtime.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::client::{
    ClientEndpoint, ClientEvent, ClientState, Connected, Output, RequestError, RequestId, ResumeState,
    Submission,
};
use crate::close::CloseCode;
use crate::config::ClientConfig;
use crate::entropy::Entropy;
use crate::feature::{Feature, Features};
use crate::id::JobId;
use crate::time::{Instant, Now, UnixTime};
use crate::wire::RawJson;
use crate::wire::peer::TransportKind;

pub(super) const SESSION: &str = "sess_01KZZSPQHVT4QJ3M8Y6D0R5W2X";
pub(super) const JOB: &str = "job_01KZZSPRE8B7N2V5T9K4C3M6QZ";

/// Repeatable, and never the same twice.
pub(super) struct Counting(u64);

impl Entropy for Counting {
    fn fill_public(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = self.0.to_be_bytes()[0];
        }
    }

    fn fill_secret(&mut self, _: &mut [u8]) {
        unreachable!("a client has no secret of its own making")
    }
}

/// A client, what it asked of its driver, and a runtime that says what the test says.
pub(super) struct World {
    pub(super) client: ClientEndpoint,
    pub(super) now: Now,
    /// Frames of the client, in order.
    pub(super) sent: VecDeque<Value>,
    pub(super) events: Vec<ClientEvent>,
    pub(super) connects: usize,
    pub(super) closes: Vec<CloseCode>,
    pub(super) remembered: Vec<ResumeState>,
    /// Answer `Remember` at once.
    pub(super) remembers: bool,
    pub(super) transport: TransportKind,
    pub(super) features: Features,
}

impl World {
    /// Towards a runtime of ours.
    pub(super) fn core() -> Self {
        Self::with(ClientConfig::new("tk"), Features::SUPPORTED)
    }

    /// Towards any other.
    pub(super) fn stranger() -> Self {
        Self::with(ClientConfig::new("tk"), Features::SUPPORTED.without(Feature::Core))
    }

    pub(super) fn with(config: ClientConfig, features: Features) -> Self {
        let unix = UnixTime::parse_rfc3339("2026-08-14T09:30:00Z").unwrap();
        let now = Now { mono: Instant::from_micros(1_000_000), unix };
        let mut world = Self {
            client: ClientEndpoint::new(config, Box::new(Counting(7)), now),
            now,
            sent: VecDeque::new(),
            events: Vec::new(),
            connects: 0,
            closes: Vec::new(),
            remembered: Vec::new(),
            remembers: true,
            transport: TransportKind::Memory,
            features,
        };
        world.drain();
        world
    }

    /// Carries out what the client asks for. A transport it closes is closed.
    pub(super) fn drain(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Connect => self.connects += 1,
                Output::FramesReady => self.pull(),
                Output::Close(code) => {
                    self.pull();
                    self.closes.push(code);
                    self.client.handle_closed(self.now);
                }
                Output::Remember(state) => {
                    self.remembered.push(state);
                    if self.remembers {
                        self.client.handle_remembered(self.now);
                    }
                }
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn pull(&mut self) {
        while let Some(frame) = self.client.poll_frame() {
            self.sent.push_back(serde_json::from_str(&frame).expect("frames are JSON"));
        }
    }

    /// Opens the transport; the hello is returned.
    pub(super) fn open(&mut self) -> Value {
        self.client.handle_open(self.now, self.transport);
        self.drain();
        self.next("session.hello")
    }

    /// Says welcome to a hello, in a session of this id.
    pub(super) fn welcome(&mut self, hello: &Value, session: &str) {
        let features: Vec<&str> = self.features.iter().map(Feature::as_str).collect();
        self.feed(&json!({
            "arcp": "1.1", "id": "msg_w", "type": "session.welcome", "session_id": session,
            "payload": {
                "runtime": {"name": "quarry", "version": "2.3.0"}, "session_id": session,
                "resume_token": self.token(), "resume_window_sec": 600, "heartbeat_interval_sec": 30,
                "request_id": hello["id"], "reply_to": hello["id"],
                "capabilities": {"encodings": ["json"], "features": features, "agents": [{"name": "a", "versions": []}]},
            },
        }));
    }

    fn token(&self) -> String {
        std::format!("rt_{}", self.remembered.len() + 1)
    }

    /// Opens the transport and the session.
    pub(super) fn connect(&mut self) -> Value {
        let hello = self.open();
        let session = match hello["payload"]["resume"]["session_id"].as_str() {
            Some(session) => session.to_string(),
            None => SESSION.to_string(),
        };
        self.welcome(&hello, &session);
        hello
    }

    /// The transport breaks, the back-off passes, the next transport opens; the hello is returned.
    pub(super) fn reopen(&mut self) -> Value {
        self.client.handle_closed(self.now);
        self.reopen_after_close()
    }

    /// The same after the client closed the transport.
    pub(super) fn reopen_after_close(&mut self) -> Value {
        self.sent.clear();
        self.drain();
        let before = self.connects;
        if self.client.state() == ClientState::Waiting {
            self.pass(Duration::from_secs(30));
            assert_eq!(self.connects, before + 1, "the back-off never ends");
        }
        self.open()
    }

    /// A frame of the runtime.
    pub(super) fn feed(&mut self, frame: &Value) {
        self.feed_text(frame.to_string());
    }

    pub(super) fn feed_text(&mut self, frame: impl Into<Vec<u8>>) {
        self.client.handle_frame(self.now, Bytes::from(frame.into()));
        self.drain();
    }

    /// A frame of this session.
    pub(super) fn say(&mut self, message_type: &str, payload: Value) {
        self.feed(&json!({"arcp": "1.1", "id": "msg_r", "type": message_type, "session_id": SESSION, "payload": payload}));
    }

    /// A frame of a job.
    pub(super) fn say_of(&mut self, job: &str, message_type: &str, seq: Option<u64>, payload: Value) {
        self.feed(&json!({
            "arcp": "1.1", "id": "msg_r", "type": message_type, "session_id": SESSION,
            "job_id": job, "event_seq": seq, "payload": payload,
        }));
    }

    /// A log line of a job, with number and position.
    pub(super) fn log(&mut self, job: &str, seq: u64, pos: u64) {
        let body = json!({"level": "info", "message": "x"});
        self.say_of(
            job,
            "job.event",
            Some(seq),
            json!({"kind": "log", "ts": "2026-08-14T09:30:05Z", "pos": pos, "body": body}),
        );
    }

    /// The end of a job.
    pub(super) fn end(&mut self, job: &str, seq: u64, pos: u64) {
        self.say_of(
            job,
            "job.result",
            Some(seq),
            json!({"pos": pos, "final_status": "success", "result": 1}),
        );
    }

    /// Time passes, timer by timer.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now.mono.after(span);
        while let Some(at) = self.client.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.after(at.since(self.now.mono));
            self.client.handle_timeout(self.now);
            self.drain();
            assert!(self.client.poll_timeout().is_none_or(|next| next > self.now.mono), "a timer stays due");
        }
        self.now = self.now.after(end.since(self.now.mono));
        self.client.handle_timeout(self.now);
        self.drain();
    }

    /// The next frame the client sent, of this type.
    pub(super) fn next(&mut self, message_type: &str) -> Value {
        let frame =
            self.sent.pop_front().unwrap_or_else(|| panic!("nothing was sent, {message_type} was expected"));
        assert_eq!(frame["type"], message_type, "{frame}");
        frame
    }

    pub(super) fn nothing_sent(&self) {
        assert!(self.sent.is_empty(), "{:?}", self.sent);
    }

    pub(super) fn submit(&mut self) -> RequestId {
        self.submit_with("k-1")
    }

    pub(super) fn submit_with(&mut self, key: &str) -> RequestId {
        let submission = Submission::new("a", RawJson::empty_object()).idempotency_key(key);
        let request = self.client.submit(self.now, submission).expect("a good submission");
        self.drain();
        request
    }

    /// Accepts the next submit.
    pub(super) fn accept(&mut self, job: &str) -> Value {
        let submit = self.next("job.submit");
        self.say_of(
            job,
            "job.accepted",
            None,
            json!({"job_id": job, "request_id": submit["id"], "lease": {}}),
        );
        submit
    }

    /// A session with one accepted job; what was told so far is forgotten.
    pub(super) fn with_job(mut self) -> Self {
        self.connect();
        self.submit();
        self.accept(JOB);
        self.told();
        self
    }

    pub(super) fn taken(&mut self, seq: u64) {
        self.client.taken(self.now, seq);
        self.drain();
    }

    /// What the application was told since the last call, in short.
    pub(super) fn told(&mut self) -> Vec<String> {
        core::mem::take(&mut self.events).iter().map(in_short).collect()
    }
}

pub(super) fn job(id: &str) -> JobId {
    JobId::new(id).unwrap()
}

fn in_short(event: &ClientEvent) -> String {
    use std::format;
    let seq = |seq: &Option<u64>| {
        seq.filter(|seq| *seq < 1 << 63).map_or_else(|| "-".to_string(), |seq| seq.to_string())
    };
    match event {
        ClientEvent::Connected(connected) => {
            let Connected { session_id, resumed, .. } = &**connected;
            format!("connected {session_id} resumed={resumed}")
        }
        ClientEvent::Disconnected => "disconnected".into(),
        ClientEvent::Accepted { request, job, .. } => format!("accepted {} {job}", request.0),
        ClientEvent::ChildAccepted { job, .. } => format!("child {job}"),
        ClientEvent::ChildrenEnded { request } => format!("no more children {}", request.0),
        ClientEvent::Rejected { request, error } => {
            let error = match error {
                RequestError::Refused(error) => error.code.clone(),
                other => format!("{other:?}"),
            };
            format!("rejected {} {error}", request.0)
        }
        ClientEvent::JobEvent { job, seq: number, event } => {
            let kind = event.as_ref().map_or("unreadable", |event| event.kind.as_str());
            format!("event {job} {} {kind}", seq(number))
        }
        ClientEvent::JobEnded { job, seq: number, ended } => {
            format!("ended {job} {} {}", seq(number), ended.status.as_str())
        }
        ClientEvent::CancelAcknowledged { request, cancelled } => {
            format!("cancelled {} {}", request.0, cancelled.current_status.as_deref().unwrap_or("-"))
        }
        ClientEvent::Subscribed { request, job, .. } => format!("subscribed {} {job}", request.0),
        ClientEvent::Jobs { request, page } => {
            let jobs: Vec<&str> = page.jobs.iter().map(|entry| entry.job_id.as_str()).collect();
            format!("jobs {} {jobs:?} {}", request.0, page.next_cursor.as_deref().unwrap_or("-"))
        }
        ClientEvent::Gap { from, to } => format!("gap {from}..={to}"),
        ClientEvent::JobGap { job, from, to } => format!("gap {job} {from}..={to}"),
        ClientEvent::RuntimeError(error) => format!("error {}", error.code),
        ClientEvent::Closed(reason) => {
            let reason = format!("{reason:?}");
            format!("closed {}", reason.split('(').next().unwrap_or_default())
        }
    }
}
