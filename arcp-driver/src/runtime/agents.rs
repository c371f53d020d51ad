//! Agents as the endpoint's loop serves them: their start, what they say and ask, what they are told.

use arcp_proto::error::ApiMisuse;
use arcp_proto::lease::Operation;
use arcp_proto::runtime::{AgentInput, JobHandle, JobNews, StartJob};
use arcp_proto::time::Now;
use arcp_proto::wire::event::Delegation;

use super::Source;
use super::connection::BATCH;
use super::said::{Asked, Delegated, Said, Undelegated};
use super::task::failure;
use super::turn::Loop;
use crate::timer::Timer;

impl<T: Timer> Loop<T> {
    pub(super) fn start(&mut self, now: Now, start: StartJob) {
        let Some(agent) = self.agents.get(start.agent.as_str()) else {
            // An agent that only the configuration's inventory knows.
            self.say(now, start.job, AgentInput::Finish(failure("the runtime has no code for this agent")));
            return;
        };
        // Heard once, so that it can signal from then on.
        self.to_hear.push_back(Source::Job(start.job));
        let task = self.jobs.start(agent.clone(), start, &self.inbox);
        // A task that nobody takes says in its own drop how its job ended.
        let _ = self.tasks.unbounded_send(task);
    }

    pub(super) fn hear_job(&mut self, job: JobHandle, now: Now) {
        for _ in 0..BATCH {
            match self.jobs.next(job) {
                None => return,
                Some(Said::Input(input)) => self.say(now, job, input),
                Some(Said::Authorize { capability, target, answer }) => {
                    let operation = Operation { capability, target: &target };
                    // An agent that no longer waits needs no answer.
                    let _ = answer.send(self.core.authorize(now, job, &operation));
                }
                Some(Said::Remaining(answer)) => {
                    let _ = answer.send(self.core.budget_remaining(job));
                }
                Some(Said::Delegate { asked, answer }) => self.delegate(now, job, *asked, answer),
                Some(Said::CancelChild { child, reason }) => {
                    if self.jobs.is_child(job, child) {
                        // One that has ended meanwhile needs no second end.
                        let _ = self.core.cancel_job(now, child, Some(reason));
                    }
                }
            }
        }
        self.to_hear.push_back(Source::Job(job));
    }

    /// Passes on what an agent is told.
    pub(super) fn tell(&mut self, job: JobHandle, news: JobNews) {
        match news {
            JobNews::Delegated { token, answer } => self.jobs.delegated(job, token, answer),
            JobNews::CredentialRotated { credential } => self.jobs.give(job, credential),
            JobNews::ChildEnded { child, end } => self.jobs.child_ended(job, child, end),
        }
    }

    fn delegate(
        &mut self,
        now: Now,
        job: JobHandle,
        asked: Asked,
        answer: futures_channel::oneshot::Sender<Delegated>,
    ) {
        let Asked { agent, input, lease, max_runtime_sec } = asked;
        let (lease_request, lease_constraints) = match lease.to_json(now.unix) {
            Ok(members) => members,
            Err(error) => {
                let misuse = ApiMisuse::OutOfRange(error.message);
                let _ = answer.send(Err(Undelegated::Misuse(misuse)));
                return;
            }
        };
        let Some(token) = self.jobs.asks(job, answer) else { return };
        let delegation =
            Delegation { token, agent, input, lease_request, lease_constraints, max_runtime_sec };
        let said = self.core.handle_agent(now, job, AgentInput::Delegate(Box::new(delegation)));
        if let Err(misuse) = said {
            self.jobs.never_asked(job, token, misuse);
        }
    }

    fn say(&mut self, now: Now, job: JobHandle, input: AgentInput) {
        let ends = matches!(input, AgentInput::Finish(_));
        match self.core.handle_agent(now, job, input) {
            Ok(()) if !ends => {}
            Ok(()) | Err(ApiMisuse::JobEnded | ApiMisuse::UnknownHandle) => self.jobs.end(job),
            Err(misuse) => {
                // Only the core can judge the order of events. By the time it has, the agent is further on, so it cannot
                // be told; and a job that goes on without what it said would be wrong in silence.
                let failed = AgentInput::Finish(failure(&misuse.to_string()));
                // A job that has ended meanwhile needs no second end.
                let _ = self.core.handle_agent(now, job, failed);
                self.jobs.end(job);
            }
        }
    }
}
