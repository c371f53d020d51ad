//! The agents of the world at work.

use std::collections::{BTreeMap, VecDeque};

use arcp_proto::error::ApiMisuse;
use arcp_proto::runtime::{AgentEnd, AgentInput, JobHandle, RuntimeEndpoint, StartJob};
use arcp_proto::time::{Instant, Now};
use arcp_proto::wire::RawJson;

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
}

impl Agents {
    pub(super) fn set(&mut self, name: &str, script: Script) {
        self.scripts.insert(name.to_owned(), script);
    }

    pub(super) fn start(&mut self, start: StartJob, now: Instant) {
        let script = self.scripts.get(start.agent.name()).cloned().unwrap_or_default();
        let due = Some(now.after(script.pace));
        self.started += 1;
        self.working.insert(start.job, Working { script, due, is_held: false });
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
            Some(Step::Pause(span)) => working.due = Some(now.mono.after(span)),
            Some(Step::Idle) | None => working.due = None,
        }
        true
    }
}
