//! Agents that do anything an agent can do: report, stream, spend, ask for permission, delegate, fail, hang, and go on
//! when told to stop.

use arcp_proto::error::{ApiMisuse, ErrorCode, WireError};
use arcp_proto::id::JobKey;
use arcp_proto::lease::{Capability, Operation};
use arcp_proto::runtime::{
    AgentEnd, AgentFailure, AgentInput, JobHandle, JobNews, RuntimeEndpoint, StartJob,
};
use arcp_proto::time::Now;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::emission::ToolError;
use arcp_proto::wire::event::{ChunkEmission, Delegation, Emission, LogLevel};
use arcp_proto::wire::number::NumberText;

use super::choices::Choices;
use super::clock::Clock;
use super::count::{Counts, Fault};
use super::plan::RESTARTABLE;
use crate::oracle::Oracle;

/// Targets of operations; the leases of this world permit some of them.
const TOOLS: [&str; 4] = ["search.web", "search.images.small", "mail.send", "searching"];
const COSTS: [&str; 6] = ["0.10", "0.01", "0", "0.333333333", "1", "0.0000000004"];
const CURRENCIES: [Option<&str>; 4] = [Some("USD"), Some("EUR"), None, Some("GBP")];
/// What a delegated job asks for.
const CHILD_LEASES: [&str; 5] = [
    r#"{"tool.call":["search.web"]}"#,
    r#"{"tool.call":["search.*"],"cost.budget":["USD:0.25"]}"#,
    r#"{"cost.budget":["USD:0.5","EUR:1"]}"#,
    r#"{"tool.call":["mail.*"]}"#,
    r#"{"agent.delegate":["a"],"tool.call":["search.*"]}"#,
];

/// Those that may be run again keep every so many things they say.
const CHECKPOINT_EVERY: u64 = 3;

/// An end later than that of most jobs that delegate.
const FAR_END: &str = r#"{"expires_at":"2036-01-01T00:00:00Z"}"#;

/// One agent at work.
pub(super) struct Working {
    job: JobHandle,
    key: JobKey,
    /// Steps until it ends by itself.
    left: u64,
    /// Marks what it emits, so that order and completeness can be judged: 1, 2, 3, ….
    marker: u64,
    due: Option<u64>,
    /// Things it says before anything else happens.
    burst: u64,
    has_credential: bool,
    is_held: bool,
    is_stopped: bool,
    pub(super) hangs: bool,
    ignores_stop: bool,
    /// It was killed, and has one thing to do and to say before it is gone.
    is_late: bool,
    /// When its lease ends, to try an operation at that moment.
    expires: Option<u64>,
    streams: bool,
    chunks: u64,
    is_base64: bool,
    /// The last of its chunks is there.
    is_streamed: bool,
    /// It keeps what it has said, to be run again.
    keeps: bool,
}

#[derive(Default)]
pub(super) struct Agents {
    working: Vec<Working>,
    /// Longest time between two steps, in µs.
    pub(super) pace: u64,
    pub(super) most_events: u64,
    most_burst: u64,
    /// Whether they misbehave.
    pub(super) misbehave: bool,
}

impl Agents {
    pub(super) const fn new(pace: u64, (most_events, most_burst): (u64, u64), misbehave: bool) -> Self {
        Self { working: Vec::new(), pace, most_events, most_burst, misbehave }
    }

    pub(super) fn start(
        &mut self,
        at: u64,
        start: &StartJob,
        clock: &Clock,
        choices: &mut Choices<'_>,
        counts: &mut Counts,
    ) {
        let hangs = self.misbehave && choices.one_in(10);
        let ignores_stop = self.misbehave && choices.one_in(6);
        if hangs {
            counts.note(Fault::AgentHangs);
        }
        let keeps = RESTARTABLE.contains(&start.agent.as_str());
        let restart = start.restart.as_deref();
        let kept = restart.and_then(|restart| restart.checkpoint.as_ref());
        let streamed = restart.and_then(|restart| restart.streamed);
        if restart.is_some() {
            counts.note(Fault::RunAgain);
        }
        let left = choices.below(self.most_events);
        let due = Some(at + choices.below(self.pace));
        let streams = choices.one_in(4) || streamed.is_some();
        let is_base64 = choices.one_in(2);
        self.working.push(Working {
            job: start.job,
            key: start.key,
            left,
            // What was said behind the last checkpoint is said again.
            marker: kept.and_then(|kept| kept.state.as_str().parse().ok()).unwrap_or(0),
            due,
            burst: 0,
            has_credential: !start.credentials.is_empty(),
            is_held: false,
            is_stopped: false,
            hangs,
            ignores_stop,
            is_late: false,
            expires: start.lease.expires_at().map(|at| clock.when_unix(at)),
            streams,
            chunks: streamed.map_or(0, |streamed| streamed.chunks),
            // One that may be run again goes on in the encoding in which it began.
            is_base64: if keeps { start.key.ulid().bits() & 1 == 0 } else { is_base64 },
            is_streamed: streamed.is_some_and(|streamed| streamed.is_complete),
            keeps,
        });
    }

    pub(super) fn stop(&mut self, at: u64, job: JobHandle, choices: &mut Choices<'_>, counts: &mut Counts) {
        let pace = self.pace;
        let Some(working) = self.find(job) else { return };
        if working.ignores_stop || working.hangs {
            counts.note(Fault::AgentIgnores);
            return;
        }
        working.is_stopped = true;
        working.is_held = false;
        working.due = Some(at + choices.below(pace));
    }

    /// Those that ignore what they are told notice it a little later than others.
    pub(super) fn kill(&mut self, at: u64, job: JobHandle) {
        let pace = self.pace;
        self.working.retain(|working| working.job != job || working.ignores_stop);
        if let Some(working) = self.find(job) {
            working.is_late = true;
            working.is_held = false;
            working.due = Some(at + pace);
        }
    }

    /// Holds an agent or lets it go on; says which job it works on.
    pub(super) fn hold(&mut self, job: JobHandle, on: bool) -> Option<JobKey> {
        let working = self.find(job)?;
        // One that is told to stop is not held any more by what it does.
        working.is_held = on && !working.is_stopped;
        Some(working.key)
    }

    pub(super) fn tell(&mut self, job: JobHandle, news: &JobNews, at: u64, oracle: &mut Oracle) {
        if let (JobNews::CredentialRotated { credential }, Some(working)) = (news, self.find(job)) {
            working.has_credential = true;
            oracle.agent_holds(working.key, credential);
        }
        if let Some(working) = self.find(job).filter(|working| working.due.is_none() && !working.hangs) {
            working.due = Some(at);
        }
    }

    pub(super) fn crash(&mut self) {
        self.working.clear();
    }

    /// Those that hang go on, and all end as soon as they can.
    pub(super) fn heal(&mut self, at: u64) {
        self.misbehave = false;
        for working in &mut self.working {
            working.hangs = false;
            working.left = 0;
            working.due = Some(at);
        }
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.working
            .iter()
            .filter(|working| !working.is_held && !working.hangs)
            .filter_map(|working| working.due)
            .min()
    }

    fn find(&mut self, job: JobHandle) -> Option<&mut Working> {
        self.working.iter_mut().find(|working| working.job == job)
    }

    /// Takes one step of one agent that is due.
    pub(super) fn step(
        &mut self,
        at: u64,
        (runtime, now): (&mut RuntimeEndpoint, Now),
        choices: &mut Choices<'_>,
        counts: &mut Counts,
        oracle: &mut Oracle,
    ) -> bool {
        let is_due = |working: &Working| {
            !working.is_held && !working.hangs && working.due.is_some_and(|due| due <= at)
        };
        let Some(index) = self.working.iter().position(is_due) else { return false };
        let (pace, misbehave, most_burst) = (self.pace, self.misbehave, self.most_burst);
        let working = &mut self.working[index];
        working.due = match working.expires.filter(|end| *end > at && choices.one_in(4)) {
            Some(end) => Some(end),
            None => Some(at + 1 + choices.below(pace)),
        };
        let is_over = if working.is_late {
            working.overrun(runtime, now, choices, oracle)
        } else if working.expires == Some(at) && !working.is_stopped {
            // Once: in a calm world it is asked to go on in this same instant.
            working.expires = None;
            working.operate(runtime, now, choices, counts, oracle)
        } else if working.is_stopped || working.left == 0 {
            working.end(runtime, now, choices, counts, oracle, misbehave)
        } else {
            working.left -= 1;
            working.act(runtime, now, choices, counts, oracle, most_burst)
        };
        if is_over {
            let job = self.working.get(index).map(|working| working.job);
            self.working.retain(|working| Some(working.job) != job);
        }
        true
    }

    /// Lets an agent say the next of what it says at once; `false` if none has anything left, or may not.
    pub(super) fn go_on(&mut self, (runtime, now): (&mut RuntimeEndpoint, Now), oracle: &mut Oracle) -> bool {
        let may = |working: &&mut Working| {
            working.burst > 0 && !working.is_held && !working.is_stopped && !working.hangs
        };
        let Some(working) = self.working.iter_mut().find(may) else { return false };
        working.burst -= 1;
        let job = working.job;
        if working.log(runtime, now, oracle) {
            self.working.retain(|working| working.job != job);
        }
        true
    }
}

impl Working {
    /// Says something; whether the job is over.
    fn say(
        &mut self,
        runtime: &mut RuntimeEndpoint,
        now: Now,
        emission: Emission,
        oracle: &mut Oracle,
    ) -> bool {
        match runtime.handle_agent(now, self.job, AgentInput::Emit(emission)) {
            Ok(()) => {
                oracle.emitted(self.key, self.marker);
                if self.keeps && self.marker.is_multiple_of(CHECKPOINT_EVERY) {
                    self.keep(runtime, now);
                }
                false
            }
            Err(ApiMisuse::JobEnded | ApiMisuse::UnknownHandle) => {
                self.marker -= 1;
                true
            }
            Err(misuse) => panic!("the agent is wrong: {misuse}"),
        }
    }

    fn keep(&self, runtime: &mut RuntimeEndpoint, now: Now) {
        let state = RawJson::parse(self.marker.to_string()).expect("a number");
        match runtime.handle_agent(now, self.job, AgentInput::Checkpoint(state)) {
            Ok(()) | Err(ApiMisuse::JobEnded | ApiMisuse::UnknownHandle) => {}
            Err(misuse) => panic!("the agent is wrong: {misuse}"),
        }
    }

    const fn mark(&mut self) -> u64 {
        self.marker += 1;
        self.marker
    }

    fn act(
        &mut self,
        runtime: &mut RuntimeEndpoint,
        now: Now,
        choices: &mut Choices<'_>,
        counts: &mut Counts,
        oracle: &mut Oracle,
        most_burst: u64,
    ) -> bool {
        match choices.below(12) {
            1 | 2 if self.streams && !self.is_streamed => self.chunk(runtime, now, true),
            3 | 4 => {
                let marker = self.mark();
                let report = Emission::progress_count(marker, None, None, None).expect("a report");
                self.say(runtime, now, report, oracle)
            }
            5 | 6 => {
                let marker = self.mark();
                let cost = choices.of(&COSTS);
                let unit = choices.of(&CURRENCIES);
                let value = NumberText::parse(cost).expect("a number");
                let text = marker.to_string();
                let metric =
                    Emission::metric("cost.search", &value, unit, &[("n", text.as_str())]).expect("a metric");
                let over = self.say(runtime, now, metric, oracle);
                if !over {
                    oracle.charged(self.key, unit, cost);
                }
                over
            }
            7 | 8 => self.operate(runtime, now, choices, counts, oracle),
            9 => self.delegate(runtime, now, choices),
            10 => {
                let marker = self.mark();
                let text = marker.to_string();
                self.say(runtime, now, Emission::thought(&text).expect("a thought"), oracle)
            }
            11 if self.has_credential => match runtime.rotate_credential(now, self.job) {
                Ok(()) => false,
                Err(ApiMisuse::JobEnded | ApiMisuse::UnknownHandle) => true,
                Err(misuse) => panic!("the agent is wrong: {misuse}"),
            },
            _ => {
                self.burst = most_burst - 1;
                self.log(runtime, now, oracle)
            }
        }
    }

    fn log(&mut self, runtime: &mut RuntimeEndpoint, now: Now, oracle: &mut Oracle) -> bool {
        let marker = self.mark();
        let text = marker.to_string();
        let log = Emission::log(LogLevel::Info, &text, None).expect("a line");
        self.say(runtime, now, log, oracle)
    }

    fn chunk(&mut self, runtime: &mut RuntimeEndpoint, now: Now, more: bool) -> bool {
        // Characters of several bytes, so that a cut at a byte would show.
        let text = format!("«{}»", self.chunks);
        let chunk = if self.is_base64 {
            ChunkEmission::base64(text.as_bytes(), more)
        } else {
            ChunkEmission::utf8(&text, more)
        };
        self.chunks += 1;
        match runtime.handle_agent(now, self.job, AgentInput::Chunk(chunk.expect("a small chunk"))) {
            Ok(()) => false,
            Err(ApiMisuse::JobEnded | ApiMisuse::UnknownHandle) => true,
            Err(misuse) => panic!("the agent is wrong: {misuse}"),
        }
    }

    fn operate(
        &mut self,
        runtime: &mut RuntimeEndpoint,
        now: Now,
        choices: &mut Choices<'_>,
        counts: &mut Counts,
        oracle: &mut Oracle,
    ) -> bool {
        let target = choices.of(&TOOLS);
        let marker = self.mark();
        let call = format!("c{marker}");
        let emission = Emission::tool_call(target, &RawJson::empty_object(), &call).expect("a call");
        if self.say(runtime, now, emission, oracle) {
            return true;
        }
        let operation = Operation { capability: Capability::ToolCall, target };
        let judged = runtime.authorize(now, self.job, &operation);
        oracle.decided(self.key, target, now, judged.as_ref().err().map(arcp_proto::lease::Denial::code));
        let result = match &judged {
            Ok(_) => Emission::tool_result(&call, Ok(&RawJson::empty_object())),
            Err(denial) => {
                counts.note(Fault::Forbidden);
                Emission::tool_result(&call, Err(&ToolError::from(&WireError::from(denial))))
            }
        };
        self.mark();
        self.say(runtime, now, result.expect("a result"), oracle)
    }

    /// Tries one more operation, and to say something, after the end of its job.
    fn overrun(
        &mut self,
        runtime: &mut RuntimeEndpoint,
        now: Now,
        choices: &mut Choices<'_>,
        oracle: &mut Oracle,
    ) -> bool {
        let target = choices.of(&TOOLS);
        let operation = Operation { capability: Capability::ToolCall, target };
        let judged = runtime.authorize(now, self.job, &operation);
        oracle.decided(self.key, target, now, judged.as_ref().err().map(arcp_proto::lease::Denial::code));
        let text = self.mark().to_string();
        self.say(runtime, now, Emission::thought(&text).expect("a thought"), oracle);
        true
    }

    fn delegate(&self, runtime: &mut RuntimeEndpoint, now: Now, choices: &mut Choices<'_>) -> bool {
        let lease = RawJson::parse(choices.of(&CHILD_LEASES)).expect("JSON");
        let delegation = Delegation {
            token: self.marker,
            agent: choices.of(&["a", "b", "nobody"]).to_owned(),
            input: RawJson::empty_object(),
            lease_request: Some(lease),
            lease_constraints: choices.one_in(3).then(|| RawJson::parse(FAR_END).expect("JSON")),
            max_runtime_sec: None,
        };
        match runtime.handle_agent(now, self.job, AgentInput::Delegate(Box::new(delegation))) {
            Ok(()) => false,
            Err(ApiMisuse::JobEnded | ApiMisuse::UnknownHandle) => true,
            Err(misuse) => panic!("the agent is wrong: {misuse}"),
        }
    }

    fn end(
        &mut self,
        runtime: &mut RuntimeEndpoint,
        now: Now,
        choices: &mut Choices<'_>,
        counts: &mut Counts,
        oracle: &mut Oracle,
        misbehave: bool,
    ) -> bool {
        let fails = misbehave && choices.one_in(4);
        // One stream in four is left without its last piece, which the runtime has to supply.
        if self.chunks > 0 && !self.is_streamed && !fails && !choices.one_in(4) {
            self.chunk(runtime, now, false);
        }
        let end = if fails {
            counts.note(Fault::AgentFails);
            let code = choices.of(&[ErrorCode::InternalError, ErrorCode::PermissionDenied]);
            AgentEnd::Failure(AgentFailure { code, message: "it broke".to_owned(), agent_code: None })
        } else {
            let value = if self.chunks > 0 { RawJson::null() } else { RawJson::empty_object() };
            AgentEnd::Value { value, summary: None }
        };
        oracle.agent_ended(self.key, matches!(end, AgentEnd::Value { .. }));
        match runtime.handle_agent(now, self.job, AgentInput::Finish(end)) {
            Ok(()) | Err(ApiMisuse::JobEnded | ApiMisuse::UnknownHandle) => true,
            Err(misuse) => panic!("the agent is wrong: {misuse}"),
        }
    }
}
