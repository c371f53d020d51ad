//! The running jobs as the endpoint's task knows them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arcp_proto::runtime::{AgentInput, JobHandle, StartJob, StopReason};

use super::task::{Control, Task, agent_task};
use super::{Signal, Source};
use crate::agent::Agent;
use crate::queue::{Inbox, Receiver, bounded};

/// What an agent may say ahead of the endpoint.
const QUEUED: usize = 256;

/// One job whose agent runs.
struct Job {
    queue: Receiver<AgentInput>,
    /// Taken out of the queue and not yet given to the core.
    taken: VecDeque<AgentInput>,
    /// Notes in the endpoint's inbox that the queue has something.
    readable: Waker,
    control: Arc<Control>,
    /// The core takes nothing of it at the moment.
    held: bool,
    /// It had its turn while it was held.
    missed: bool,
}

/// All of them. Dropping a job has its agent dropped.
#[derive(Default)]
pub(super) struct Jobs {
    running: HashMap<JobHandle, Job>,
}

impl Jobs {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Takes a job on. The task must be run.
    pub(super) fn start(&mut self, agent: Agent, start: StartJob, inbox: &Arc<Inbox<Signal>>) -> Task {
        let (sender, queue) = bounded(QUEUED);
        let control = Arc::new(Control::default());
        let handle = start.job;
        let job = Job {
            queue,
            taken: VecDeque::new(),
            readable: inbox.waker(Source::Job(handle)),
            control: control.clone(),
            held: false,
            missed: false,
        };
        self.running.insert(handle, job);
        agent_task(agent, start, sender, control)
    }

    pub(super) fn stop(&self, handle: JobHandle, reason: StopReason) {
        if let Some(job) = self.running.get(&handle) {
            job.control.stop(reason);
        }
    }

    /// Has its agent dropped, if it still runs.
    pub(super) fn end(&mut self, handle: JobHandle) {
        self.running.remove(&handle);
    }

    pub(super) fn hold(&mut self, handle: JobHandle) {
        if let Some(job) = self.running.get_mut(&handle) {
            job.held = true;
        }
    }

    /// Whether the job is to have a turn, having missed one.
    pub(super) fn release(&mut self, handle: JobHandle) -> bool {
        let Some(job) = self.running.get_mut(&handle) else { return false };
        job.held = false;
        std::mem::take(&mut job.missed)
    }

    /// What the agent says next; `None` when it says nothing more for this turn.
    pub(super) fn next(&mut self, handle: JobHandle) -> Option<AgentInput> {
        let job = self.running.get_mut(&handle)?;
        if job.held {
            job.missed = true;
            return None;
        }
        if job.taken.is_empty() {
            let cx = Context::from_waker(&job.readable);
            // An agent's task says how it ended before it lets go of the queue, so the end of the queue brings no news.
            let Poll::Ready(true) = job.queue.poll_take(&cx, &mut job.taken) else { return None };
        }
        job.taken.pop_front()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.control.kill();
    }
}
