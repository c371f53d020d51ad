//! The agents of the world at work.

use std::collections::{BTreeMap, VecDeque};

use arcp_proto::error::{ApiMisuse, WireError};
use arcp_proto::lease::{Capability, Operation};
use arcp_proto::runtime::{AgentEnd, AgentInput, JobHandle, JobNews, RuntimeEndpoint, StartJob};
use arcp_proto::time::{Instant, Now};
use arcp_proto::wire::RawJson;
use arcp_proto::wire::emission::ToolError;
use arcp_proto::wire::event::Emission;

use super::script::{Script, Step};

/// The agents that can be submitted to. One with two versions, for those who ask.
pub(super) const NAMES: [&str; 4] = ["a@1.0.0", "b@1.0.0", "c@1.0.0", "c@2.0.0"];

#[derive(Default)]
pub(super) struct Agents {
    scripts: BTreeMap<String, Script>,
    working: BTreeMap<JobHandle, Working>,
    pub(super) started: usize,
}

struct Working {
    script: Script,
    /// When the next step is due; `None` while it idles.
    due: Option<Instant>,
    is_held: bool,
    /// Children that have ended and were not waited for yet.
    ended_children: usize,
}

impl Agents {
    pub(super) fn set(&mut self, name: &str, script: Script) {
        self.scripts.insert(name.to_owned(), script);
    }

    pub(super) fn start(&mut self, start: StartJob, now: Instant) {
        let script = self.scripts.get(start.agent.name()).cloned().unwrap_or_default();
        let due = Some(now.after(script.pace));
        self.started += 1;
        self.working.insert(start.job, Working { script, due, is_held: false, ended_children: 0 });
    }

    pub(super) fn stop(&mut self, job: JobHandle, now: Instant) {
        let Some(working) = self.working.get_mut(&job) else { return };
        if working.script.heeds_stop {
            let end = AgentEnd::Value { value: RawJson::null(), summary: None };
            working.script.steps = VecDeque::from([Step::Say(AgentInput::Finish(end))]);
            working.due = Some(now.after(working.script.pace));
            // One that is told to stop is not held any more by what it does.
            working.is_held = false;
        }
    }

    pub(super) fn tell(&mut self, job: JobHandle, news: &JobNews, now: Instant) {
        let Some(working) = self.working.get_mut(&job) else { return };
        if matches!(news, JobNews::ChildEnded { .. }) {
            working.ended_children += 1;
            if matches!(working.script.steps.front(), Some(Step::AwaitChild)) {
                working.due = Some(now.after(working.script.pace));
            }
        }
    }

    pub(super) fn kill(&mut self, job: JobHandle) {
        self.working.remove(&job);
    }

    pub(super) fn hold(&mut self, job: JobHandle, on: bool) {
        if let Some(working) = self.working.get_mut(&job) {
            working.is_held = on;
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.working.values().filter(|working| !working.is_held).filter_map(|working| working.due).min()
    }

    /// Takes one step of one agent that is due.
    pub(super) fn act(&mut self, runtime: &mut RuntimeEndpoint, now: Now) -> bool {
        let due = |working: &Working| !working.is_held && working.due.is_some_and(|at| at <= now.mono);
        let Some((job, working)) = self.working.iter_mut().find(|(_, working)| due(working)) else {
            return false;
        };
        let job = *job;
        working.due = Some(now.mono.after(working.script.pace));
        match working.script.steps.pop_front() {
            Some(Step::Say(input)) => {
                let ends = matches!(input, AgentInput::Finish(_));
                match runtime.handle_agent(now, job, input) {
                    Ok(()) | Err(ApiMisuse::JobEnded) => {}
                    Err(misuse) => panic!("the script is wrong: {misuse}"),
                }
                if ends {
                    self.working.remove(&job);
                }
            }
            Some(Step::Operate { capability, target, call_id }) => {
                operate(runtime, now, job, capability, &target, call_id);
            }
            Some(Step::AwaitChild) if working.ended_children > 0 => working.ended_children -= 1,
            Some(Step::AwaitChild) => {
                working.script.steps.push_front(Step::AwaitChild);
                working.due = None;
            }
            Some(Step::Pause(span)) => working.due = Some(now.mono.after(span)),
            Some(Step::Idle) | None => working.due = None,
        }
        true
    }
}

/// As the helpers of a driver do it: the call, the verdict, and what came of it.
fn operate(
    runtime: &mut RuntimeEndpoint,
    now: Now,
    job: JobHandle,
    capability: &str,
    target: &str,
    call_id: &str,
) {
    let say = |runtime: &mut RuntimeEndpoint, emission: Emission| {
        runtime.handle_agent(now, job, AgentInput::Emit(emission)).expect("a job that has not ended");
    };
    let name = if capability == "tool.call" { target } else { capability };
    say(runtime, Emission::tool_call(name, &RawJson::empty_object(), call_id).expect("a call"));
    let capability = Capability::parse(capability).expect("a capability");
    let judged = runtime.authorize(now, job, &Operation { capability, target });
    let result = match judged {
        Ok(_) => Emission::tool_result(call_id, Ok(&RawJson::empty_object())),
        Err(denial) => Emission::tool_result(call_id, Err(&ToolError::from(&WireError::from(denial)))),
    };
    say(runtime, result.expect("a result"));
}
