//! Agents that say what a test wrote down.

use std::collections::VecDeque;
use std::time::Duration;

use arcp_proto::error::ErrorCode;
use arcp_proto::runtime::{AgentEnd, AgentFailure, AgentInput};
use arcp_proto::wire::RawJson;
use arcp_proto::wire::event::{ChunkEmission, Delegation, Emission, LogLevel};
use arcp_proto::wire::number::NumberText;

/// One thing an agent does.
#[derive(Debug, Clone)]
pub enum Step {
    /// Says something of its job.
    Say(AgentInput),
    /// Waits before the next step.
    Pause(Duration),
    /// Does nothing more until its job is stopped.
    Idle,
    /// Announces a tool call with this id, asks whether it may do what the tool does, and says how that went.
    Operate {
        /// Where the operation belongs, as `fs.write`.
        capability: &'static str,
        /// What it is done to.
        target: String,
        /// The call's id.
        call_id: &'static str,
    },
    /// Waits for the end of a job it delegated.
    AwaitChild,
}

/// What an agent does, step by step, and how far apart.
#[derive(Debug, Clone)]
pub struct Script {
    pub(super) steps: VecDeque<Step>,
    pub(super) pace: Duration,
    pub(super) heeds_stop: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl Script {
    /// An agent that does nothing and does not end.
    #[must_use]
    pub const fn new() -> Self {
        Self { steps: VecDeque::new(), pace: Duration::from_millis(1), heeds_stop: true }
    }

    /// Time between two steps; a millisecond unless said otherwise.
    #[must_use]
    pub const fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Goes on when told to stop.
    #[must_use]
    pub const fn ignores_stop(mut self) -> Self {
        self.heeds_stop = false;
        self
    }

    /// Then this.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }

    /// Then this event.
    #[must_use]
    pub fn emit(self, emission: Emission) -> Self {
        self.then(Step::Say(AgentInput::Emit(emission)))
    }

    /// Then a log line.
    #[must_use]
    pub fn log(self, message: &str) -> Self {
        self.emit(Emission::log(LogLevel::Info, message, None).expect("a message that is not empty"))
    }

    /// Then as many log lines.
    #[must_use]
    pub fn logs(self, count: usize) -> Self {
        (1..=count).fold(self, |script, number| script.log(&format!("line {number}")))
    }

    /// Then a progress report.
    #[must_use]
    pub fn progress(self, current: u64, total: u64) -> Self {
        self.emit(Emission::progress_count(current, Some(total), None, None).expect("not beyond the total"))
    }

    /// Then a piece of a streamed text.
    #[must_use]
    pub fn chunk(self, text: &str, more: bool) -> Self {
        self.then(Step::Say(AgentInput::Chunk(ChunkEmission::utf8(text, more).expect("a small chunk"))))
    }

    /// Then an operation: `tool.call` on the tool of this name, announced as the call `call_id`.
    #[must_use]
    pub fn call(self, tool: &str, call_id: &'static str) -> Self {
        self.operate("tool.call", tool, call_id)
    }

    /// Then an operation, announced as the call `call_id`.
    #[must_use]
    pub fn operate(self, capability: &'static str, target: &str, call_id: &'static str) -> Self {
        self.then(Step::Operate { capability, target: target.to_owned(), call_id })
    }

    /// Then a cost.
    #[must_use]
    pub fn cost(self, name: &str, value: &str, currency: &str) -> Self {
        let value = NumberText::parse(value).expect("a number");
        self.emit(Emission::metric(name, &value, Some(currency), &[]).expect("a metric"))
    }

    /// Then a job of its own, with this lease as JSON.
    #[must_use]
    pub fn delegate(self, agent: &str, lease: &str) -> Self {
        let lease = RawJson::try_from(lease).expect("JSON");
        let delegation = Delegation {
            token: 0,
            agent: agent.to_owned(),
            input: RawJson::empty_object(),
            lease_request: Some(lease),
            lease_constraints: None,
            max_runtime_sec: None,
        };
        self.then(Step::Say(AgentInput::Delegate(Box::new(delegation))))
    }

    /// Then it waits for the end of the job it delegated.
    #[must_use]
    pub fn awaits_child(self) -> Self {
        self.then(Step::AwaitChild)
    }

    /// Then some rest.
    #[must_use]
    pub fn pause(self, span: Duration) -> Self {
        self.then(Step::Pause(span))
    }

    /// Then it waits to be stopped.
    #[must_use]
    pub fn idle(self) -> Self {
        self.then(Step::Idle)
    }

    /// Then it returns this JSON.
    #[must_use]
    pub fn returns(self, json: &str) -> Self {
        let value = RawJson::try_from(json).expect("JSON");
        self.then(Step::Say(AgentInput::Finish(AgentEnd::Value { value, summary: None })))
    }

    /// Then it fails.
    #[must_use]
    pub fn fails(self, code: ErrorCode, message: &str) -> Self {
        let failure = AgentFailure { code, message: message.to_owned(), agent_code: None };
        self.then(Step::Say(AgentInput::Finish(AgentEnd::Failure(failure))))
    }
}
