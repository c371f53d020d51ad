//! Frames at both ends of a link: what was written, what was read.

use arcp_proto::time::Now;

use super::read::{self, Ask, Envelope, EventPayload, Reply, hash};
use super::{Connection, Hello, Note, Noted, Oracle, Session};
use crate::oracle::requests::{Asked, Request};

const CODES: [&str; 15] = [
    "PERMISSION_DENIED",
    "LEASE_SUBSET_VIOLATION",
    "JOB_NOT_FOUND",
    "DUPLICATE_KEY",
    "AGENT_NOT_AVAILABLE",
    "AGENT_VERSION_NOT_AVAILABLE",
    "CANCELLED",
    "TIMEOUT",
    "RESUME_WINDOW_EXPIRED",
    "HEARTBEAT_LOST",
    "LEASE_EXPIRED",
    "BUDGET_EXHAUSTED",
    "INVALID_REQUEST",
    "UNAUTHENTICATED",
    "INTERNAL_ERROR",
];

impl Oracle {
    /// A link was opened, by a client or by an intruder.
    pub fn opened(&mut self, link: usize, client: Option<usize>, is_private: bool, now: Now) {
        self.now = now;
        let at = now.mono.as_micros();
        debug_assert_eq!(link, self.connections.len());
        self.connections.push(Connection {
            client,
            is_private,
            opened_at: at,
            heard_at: at,
            ..Connection::default()
        });
    }

    /// The runtime has closed a link, or knows it to be gone.
    pub fn closed(&mut self, link: usize) {
        let connection = &self.connections[link];
        let waited = self.now.mono.as_micros().saturating_sub(connection.opened_at);
        if !connection.closed && connection.session.is_none() && waited > 2 * self.config.welcome_timeout {
            self.fail("SES-6", format_args!("connection {link} was not welcomed for {waited} µs"));
        }
        self.connections[link].closed = true;
        if let Some(session) = self.connections[link].session
            && self.sessions[session].link == Some(link)
        {
            self.sessions[session].link = None;
            self.sessions[session].detached_at = Some(self.now.mono.as_micros());
        }
        for request in self.requests.iter_mut().filter(|request| request.link == link) {
            request.is_over |= !matches!(request.asked, Asked::Submit { .. });
        }
    }

    /// A client has handed a frame to its transport.
    pub fn client_wrote(&mut self, link: usize, frame: &[u8]) -> Note {
        let Ok(text) = std::str::from_utf8(frame) else { return Note::OTHER };
        let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else { return Note::OTHER };
        let kind = envelope.kind.as_str();
        if kind == "session.ping" {
            return Note { what: Noted::Ping, value: 0 };
        }
        if matches!(kind, "session.pong" | "session.close" | "session.bye") {
            return Note::OTHER;
        }
        let Ok(ask) = serde_json::from_str::<Ask<'_>>(envelope.payload.get()) else { return Note::OTHER };
        let job = || {
            let id = envelope.job_id.as_ref().or(ask.job_id.as_ref());
            id.map_or(0, |id| read::ulid(id.as_str()))
        };
        let asked = match kind {
            "session.hello" => {
                self.connections[link].hello = Some(hello(&ask));
                return Note { what: Noted::Hello, value: 0 };
            }
            "session.ack" => {
                return Note { what: Noted::Ack, value: ask.last_processed_seq.unwrap_or(0) };
            }
            "job.submit" => self.submit(&ask),
            "job.cancel" => Asked::Cancel { job: job() },
            "job.subscribe" => Asked::Subscribe {
                job: job(),
                history: ask.history.unwrap_or(false),
                from_seq: ask.from_event_seq,
                from_pos: ask.from_pos,
            },
            "session.list_jobs" => Asked::List,
            "x-vendor.nobody.knows" => Asked::Unknown,
            _ => return Note::OTHER,
        };
        self.requests.push(Request {
            id: hash(envelope.id.as_str().as_bytes()),
            link,
            session: None,
            asked,
            is_read: false,
            is_over: false,
            was_fenced: false,
            appends: 0,
            sights: 0,
        });
        Note { what: Noted::Request, value: self.requests.len() as u64 - 1 }
    }

    /// The runtime is given a frame.
    pub fn runtime_reads(&mut self, link: usize, note: Note, now: Now) {
        self.now = now;
        let connection = &mut self.connections[link];
        connection.heard_at = now.mono.as_micros();
        if let Some(session) = connection.session
            && self.sessions[session].link == Some(link)
        {
            // Whatever comes shows that the newest token has arrived.
            self.sessions[session].live.confirmed = true;
            self.sessions[session].live.previous = None;
        }
        match note.what {
            Noted::Hello => {
                connection.hello_read = true;
                let hello = connection.hello.clone().unwrap_or_default();
                let is_intruder = connection.client.is_none();
                self.shown_up_to(hello.session, hello.last.unwrap_or(0), is_intruder);
            }
            Noted::Ack => self.ack_read(link, note.value),
            Noted::Request => self.request_read(link, note.value),
            Noted::Ping => self.ping_read(link),
            Noted::Meddled => connection.is_tainted = true,
            Noted::Other | Noted::Event | Noted::Accepted => {}
        }
    }

    /// Somebody shows that a session was received up to a number: then so were the acceptances of the jobs in it.
    fn shown_up_to(&mut self, session: u128, last: u64, is_intruder: bool) {
        let Some(session) = self.session(session) else { return };
        let Session { log, streams, knows_jobs, .. } = &mut self.sessions[session];
        let seen = usize::try_from(last).unwrap_or(0).min(log.len());
        for stream in
            streams.iter_mut().filter(|stream| log[..seen].iter().any(|entry| entry.job == stream.job))
        {
            stream.accepted = true;
        }
        // An intruder's requests name jobs, too, perhaps before it is known to whom they belong.
        *knows_jobs |= is_intruder;
    }

    /// A client is given a frame.
    pub fn client_reads(&mut self, link: usize, note: Note) {
        if note.what == Noted::Accepted
            && let Some(session) = self.connections[link].session
            && let Ok(job) = usize::try_from(note.value)
        {
            let stream = self.sessions[session].streams.iter_mut().find(|stream| stream.job == job);
            if let Some(stream) = stream {
                stream.accepted = true;
            }
        }
    }

    /// The runtime has handed a frame to a transport.
    pub fn runtime_wrote(&mut self, link: usize, frame: &[u8]) -> Note {
        let text = std::str::from_utf8(frame).unwrap_or_default();
        let envelope = match serde_json::from_str::<Envelope<'_>>(text) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.fail("WIR-4", format_args!("a frame that cannot be read: {error}"));
                return Note::OTHER;
            }
        };
        let kind = envelope.kind.as_str();
        if self.connections[link].goodbye || self.connections[link].closed {
            self.fail("SES-9", format_args!("{kind} behind a goodbye"));
            return Note::OTHER;
        }
        self.judge_secrets(link, text, &envelope);
        let is_numbered = matches!(kind, "job.event" | "job.result" | "job.error");
        if is_numbered != envelope.event_seq.is_some() {
            self.fail("SEQ-5", format_args!("{kind} with number {:?}", envelope.event_seq));
            return Note::OTHER;
        }
        if is_numbered {
            if self.connections[link].pings > 0 && !self.is_meddled {
                self.fail("ACK-4", format_args!("{kind} goes before a pong"));
            }
            return self.numbered(link, frame, &envelope);
        }
        match kind {
            "session.ping" => Note::OTHER,
            "session.pong" => {
                self.connections[link].pings = self.connections[link].pings.saturating_sub(1);
                Note::OTHER
            }
            "session.closed" | "session.bye" => {
                self.connections[link].goodbye = true;
                Note::OTHER
            }
            _ => match serde_json::from_str::<Reply<'_>>(envelope.payload.get()) {
                Ok(reply) => self.reply(link, kind, &reply, &envelope),
                Err(error) => {
                    self.fail("WIR-4", format_args!("a {kind} that cannot be read: {error}"));
                    Note::OTHER
                }
            },
        }
    }

    fn numbered(&mut self, link: usize, frame: &[u8], envelope: &Envelope<'_>) -> Note {
        let note = Note { what: Noted::Event, value: 0 };
        let key = envelope.session_id.as_ref().map_or(0, |id| read::ulid(id.as_str()));
        let job = envelope.job_id.as_ref().map_or(0, |id| read::ulid(id.as_str()));
        let seq = envelope.event_seq.unwrap_or(0);
        let Some(session) =
            self.session(key).filter(|session| self.connections[link].session == Some(*session))
        else {
            let is_others = self.connections[link].session.is_some() && self.session(key).is_some();
            let property = if is_others { "VIS-4" } else { "SEQ-8" };
            self.fail(property, format_args!("number {seq} on a connection without that session"));
            return note;
        };
        let Some((job, pos, is_next)) = self.deliver(link, session, seq, job, frame) else {
            return note;
        };
        match serde_json::from_str::<EventPayload<'_>>(envelope.payload.get()) {
            Ok(payload) => self.judge_content((session, job, pos, is_next), envelope, &payload),
            Err(error) => self.fail("WIR-4", format_args!("an event that cannot be read: {error}")),
        }
        note
    }

    fn reply(&mut self, link: usize, kind: &str, reply: &Reply<'_>, envelope: &Envelope<'_>) -> Note {
        if kind == "session.welcome" {
            self.welcome(link, reply, envelope);
            return Note::OTHER;
        }
        if kind == "session.error" {
            self.judge_code(reply.code.as_ref().map(read::Text::as_str), reply.retryable);
            self.session_error(link, reply);
            return Note::OTHER;
        }
        let Some(session) = self.connections[link].session else {
            self.fail("SES-6", format_args!("{kind} before a welcome"));
            return Note::OTHER;
        };
        if self.sessions[session].link != Some(link) {
            self.fail("SES-4", format_args!("{kind} on a connection that was replaced"));
            return Note::OTHER;
        }
        match kind {
            "job.accepted" => self.accepted(link, session, reply, envelope),
            "job.cancelled" => self.cancelled(link, session, reply),
            "job.subscribed" => self.subscribed(link, session, reply, envelope),
            "session.jobs" => self.listed(link, session, reply),
            _ => {
                self.fail("WIR-2", format_args!("{kind} is nothing a runtime sends"));
                return Note::OTHER;
            }
        }
        let job = reply.job_id.as_ref().and_then(|id| self.job(read::ulid(id.as_str())));
        match job.filter(|_| kind == "job.accepted") {
            Some(job) => Note { what: Noted::Accepted, value: job as u64 },
            None => Note::OTHER,
        }
    }

    /// Codes are those of the list, and say whether to try again.
    pub(super) fn judge_code(&mut self, code: Option<&str>, retryable: Option<bool>) {
        let is_retryable = matches!(code, Some("HEARTBEAT_LOST" | "INTERNAL_ERROR"));
        if !code.is_some_and(|code| CODES.contains(&code)) || retryable != Some(is_retryable) {
            self.fail("WIR-5", format_args!("code {code:?}, retryable {retryable:?}"));
        }
    }
}

fn hello(ask: &Ask<'_>) -> Hello {
    let bearer = ask.auth.as_ref().and_then(|auth| auth.token.as_ref());
    let bearer = bearer.map(read::Text::as_str).unwrap_or_default();
    let features = ask.capabilities.as_ref().and_then(|capabilities| capabilities.features.as_deref());
    let resume = ask.resume.as_ref();
    Hello {
        principal: bearer.strip_suffix(crate::sim::BEARER).unwrap_or(bearer).to_owned(),
        features: features_of(features.unwrap_or_default()),
        session: resume.and_then(|resume| resume.session_id.as_ref()).map_or(0, |id| read::ulid(id.as_str())),
        token: resume.map(|resume| token_hash(resume.resume_token.as_ref().map_or("", read::Text::as_str))),
        last: resume.and_then(|resume| resume.last_event_seq),
    }
}

pub(super) fn token_hash(token: &str) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(token.as_bytes()).into()
}

pub(super) fn features_of(names: &[read::Text<'_>]) -> u16 {
    const NAMES: [&str; 12] = [
        "heartbeat",
        "ack",
        "list_jobs",
        "subscribe",
        "lease_expires_at",
        "cost.budget",
        "model.use",
        "provisioned_credentials",
        "progress",
        "result_chunk",
        "agent_versions",
        "x-vendor.arcp-rs.1",
    ];
    let bit = |name: &read::Text<'_>| NAMES.iter().position(|known| *known == name.as_str());
    names.iter().filter_map(bit).fold(0, |bits, bit| bits | 1 << bit)
}
