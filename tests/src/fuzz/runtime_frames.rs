//! A runtime against a client that sends anything.

use std::time::Duration;

use arcp_proto::config::RuntimeConfig;
use arcp_proto::error::ErrorCode;
use arcp_proto::feature::{Feature, Features};
use arcp_proto::runtime::store::{Command, StoreDone};
use arcp_proto::runtime::{AgentEnd, AgentFailure, AgentInput, ConnectionId};
use arcp_proto::time::UnixTime;
use arcp_proto::wire::event::ChunkEmission;
use serde_json::{Value, json};

use super::agents::GENEROUS;
use super::choices::Choices;
use super::host::{Host, config};

const INNOCENT: &str = "innocent";

/// Gives the lines of the input to a runtime as frames of one client; a line that begins with a byte below 32 does
/// something else instead: cuts, resumes, agents, time, the store. Whatever it was, another principal's session still
/// gets its next event, and a new one can be opened (WIR-1, WIR-4).
pub fn runtime_frames(data: &[u8]) {
    let mut host = Host::with(deployment(data));
    let innocent = host.greet(INNOCENT, Features::SUPPORTED.without(Feature::Heartbeat), None);
    host.say(innocent, "job.submit", &json!({"agent": "a", "input": {}}));
    let job = host.started.first().expect("the job starts").job;
    host.log(job, "before");
    host.refused = Some(INNOCENT);
    let mut attack = Attack::begin(host);
    for line in data.split(|byte| *byte == b'\n').take(256) {
        match line.split_first() {
            None => {}
            Some((operation @ 0..32, rest)) => attack.operate(*operation, &mut Choices::new(rest)),
            Some(_) => attack.send(line),
        }
    }
    let mut host = attack.host;
    host.stalled = None;
    host.is_slow = false;
    host.hesitates = false;
    host.settle();
    while host.answer_one() {}
    while !host.questions.is_empty() {
        host.answer(0);
    }
    host.pass(Duration::from_secs(2));
    assert!(!host.is_halted);
    let before = host.lines[&innocent].last;
    host.log(job, "after");
    let line = &host.lines[&innocent];
    assert!(!line.is_closed, "an innocent connection was closed: {:?}", line.received.last());
    assert_eq!(line.last, before.map(|last| last + 1), "an innocent session lost an event");
    host.serves("newcomer");
}

/// The runtime's configuration, which a first line of byte 31 and another one varies.
fn deployment(data: &[u8]) -> RuntimeConfig {
    let mut config = config();
    let flags = data.strip_prefix(&[31]).and_then(|rest| rest.first()).copied().unwrap_or(0);
    config.decides_leases = flags & 1 != 0;
    config.fatal_budget = flags & 2 != 0;
    config.lease_policy.unlisted_models = flags & 4 != 0;
    config.provisions = flags & 8 == 0;
    if flags & 16 != 0 {
        config.limits.children = 2;
        config.limits.delegation_depth = 2;
        config.limits.jobs = 6;
    }
    config
}

struct Attack {
    host: Host,
    connection: ConnectionId,
    /// The connection that is not in use.
    other: Option<ConnectionId>,
}

impl Attack {
    fn begin(mut host: Host) -> Self {
        let connection = host.greet("mallory", Features::SUPPORTED, None);
        host.say(connection, "job.submit", &json!({"agent": "a", "input": {}, "idempotency_key": "k"}));
        let lease: Value = serde_json::from_str(GENEROUS).expect("a good text");
        host.say(connection, "job.submit", &json!({"agent": "a", "input": {}, "lease_request": lease}));
        Self { host, connection, other: None }
    }

    /// Sends a frame, in which `$JOB` stands for the client's newest job, and so on.
    fn send(&mut self, frame: &[u8]) {
        let text = String::from_utf8_lossy(frame);
        if !text.contains('$') {
            return self.host.send(self.connection, frame);
        }
        let asks = text.contains("$SESSION") || text.contains("$TOKEN");
        let welcome = asks.then(|| self.host.newest(self.connection, "session.welcome")).flatten();
        let welcome = welcome.unwrap_or_default();
        let mut jobs = self.host.started.iter().rev().map(|start| start.key.to_string());
        let soon = self.host.now.unix.after(Duration::from_secs(20));
        let names = [
            ("$SOON", soon.to_string()),
            ("$JOB", jobs.next().unwrap_or_default()),
            ("$OTHER", jobs.next_back().unwrap_or_default()),
            ("$SESSION", welcome["session_id"].as_str().unwrap_or_default().to_owned()),
            ("$TOKEN", welcome["payload"]["resume_token"].as_str().unwrap_or_default().to_owned()),
        ];
        let text = names.iter().fold(text.into_owned(), |text, (name, value)| text.replace(name, value));
        self.host.send(self.connection, text.as_bytes());
    }

    fn operate(&mut self, operation: u8, choices: &mut Choices<'_>) {
        let host = &mut self.host;
        if operation == 18 {
            // The innocent's job is the first.
            let own = host.started.len() - 1;
            if own > 0 {
                host.act(choices.below(own.min(8)), choices);
            }
            return;
        }
        let argument = choices.byte();
        match operation {
            0 => self.replace(|host| host.open()),
            1 => self.resume(argument),
            2 => self.replace(|host| host.greet("mallory", Features::SUPPORTED, None)),
            3 => {
                let next = host.runtime.poll_timeout().map(|at| at.since(host.now.mono));
                host.pass(next.unwrap_or_default());
            }
            4 => host.pass(Duration::from_millis(250) * u32::from(argument)),
            5 => host.runtime.handle_oversized(host.now, self.connection),
            6 => host.runtime.handle_proof(host.now, self.connection),
            7..=9 => self.agents(operation, argument),
            10 => host.is_slow = !host.is_slow,
            11 => drop(host.answer_one()),
            12 => self.refuse_append(),
            13 => {
                if let Some(job) = host.started.iter().skip(1).map(|start| start.job).next_back() {
                    let _ = host.runtime.cancel_job(host.now, job, None);
                }
            }
            14 => {
                let other = self.other.take().unwrap_or_else(|| host.open());
                self.other = Some(std::mem::replace(&mut self.connection, other));
            }
            15 => host.stalled = host.stalled.xor(Some(self.connection)).filter(|_| host.stalled.is_none()),
            16 => host
                .greet("mallory", Features::from_bits(u16::from(argument) << 3), None)
                .clone_into(&mut self.connection),
            17 => host.runtime.handle_partial(host.now, self.connection, u64::from(argument) * 1_000),
            19 => host.answer(argument),
            20 => host.hesitates = !host.hesitates,
            // The wall clock steps, by up to a quarter of an hour either way.
            21 => {
                let step = (i64::from(argument) - 128) * 7_000;
                host.now.unix = UnixTime::from_millis(host.now.unix.as_millis() + step);
            }
            22 => {
                if let Some(job) = host.started.iter().skip(1).map(|start| start.job).next_back() {
                    let _ = host.runtime.rotate_credential(host.now, job);
                }
            }
            _ => {}
        }
        self.host.settle();
    }

    /// The transport breaks, another opens.
    fn replace(&mut self, open: impl FnOnce(&mut Host) -> ConnectionId) {
        self.host.runtime.handle_closed(self.host.now, self.connection);
        self.host.settle();
        self.connection = open(&mut self.host);
    }

    /// Resumes the session of this connection, which may still be open, from a number at or before its last.
    fn resume(&mut self, back: u8) {
        let Some(welcome) = self.host.newest(self.connection, "session.welcome") else { return };
        let last = self.host.lines[&self.connection].last.unwrap_or(0).saturating_sub(u64::from(back));
        let token = &welcome["payload"]["resume_token"];
        let resume = json!({"resume_token": token, "last_event_seq": last});
        self.connection = self.host.greet("mallory", Features::SUPPORTED, Some(resume));
    }

    /// The agents of this client's jobs speak.
    fn agents(&mut self, operation: u8, argument: u8) {
        let jobs: Vec<_> = self.host.started.iter().skip(1).map(|start| start.job).collect();
        for job in jobs.into_iter().rev().take(4) {
            let input = match operation {
                7 => {
                    for _ in 0..argument {
                        self.host.log(job, "x");
                    }
                    continue;
                }
                8 => AgentInput::Chunk(ChunkEmission::utf8("é", argument > 0).expect("a chunk")),
                _ if argument == 0 => {
                    self.host.finish(job);
                    continue;
                }
                _ => AgentInput::Finish(AgentEnd::Failure(AgentFailure {
                    code: ErrorCode::ALL[usize::from(argument) % ErrorCode::ALL.len()],
                    message: "x".repeat(usize::from(argument) * 16),
                    agent_code: Some("E".to_owned()),
                })),
            };
            let _ = self.host.runtime.handle_agent(self.host.now, job, input);
        }
    }

    /// The store has no room for the append that waits longest, if nothing that came before it waits too.
    fn refuse_append(&mut self) {
        if let Some((id, Command::Append(records))) =
            self.host.waiting.pop_front_if(|(_, command)| matches!(command, Command::Append(_)))
        {
            // Appends behind it find no room either.
            let behind: Vec<_> = self.host.waiting.drain(..).collect();
            self.host.runtime.handle_store(self.host.now, id, StoreDone::Full(records));
            for (id, command) in behind {
                match command {
                    Command::Append(records) => {
                        self.host.runtime.handle_store(self.host.now, id, StoreDone::Full(records));
                    }
                    command => self.host.waiting.push_back((id, command)),
                }
            }
        }
    }
}
