//! The running jobs as the endpoint's task knows them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arcp_proto::error::{ApiMisuse, WireError};
use arcp_proto::runtime::{Child, ChildEnd, JobHandle, StartJob, StopReason};
use arcp_proto::wire::credential::Credential;
use futures_channel::oneshot;

use super::said::{Delegated, Said, Undelegated};
use super::sleep::Alarm;
use super::task::{Control, Task, agent_task};
use super::{Signal, Source};
use crate::agent::Agent;
use crate::queue::{Inbox, Receiver, bounded};

/// What an agent may say ahead of the endpoint.
const QUEUED: usize = 256;

/// One job whose agent runs.
struct Job {
    queue: Receiver<Said>,
    /// Taken out of the queue and not yet given to the core.
    taken: VecDeque<Said>,
    /// Notes in the endpoint's inbox that the queue has something.
    readable: Waker,
    control: Arc<Control>,
    /// The core takes nothing of it at the moment.
    held: bool,
    /// It had its turn while it was held.
    missed: bool,
    /// Delegations that are not answered yet.
    asked: HashMap<u64, oneshot::Sender<Delegated>>,
    delegations: u64,
    /// Those who wait for its children.
    children: HashMap<JobHandle, oneshot::Sender<ChildEnd>>,
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
            asked: HashMap::new(),
            delegations: 0,
            children: HashMap::new(),
        };
        self.running.insert(handle, job);
        agent_task(agent, start, sender, control, Alarm::new(inbox.clone()))
    }

    pub(super) fn stop(&self, handle: JobHandle, reason: StopReason) {
        if let Some(job) = self.running.get(&handle) {
            job.control.stop(reason);
        }
    }

    /// Its agent has another credential.
    pub(super) fn give(&self, handle: JobHandle, credential: Arc<Credential>) {
        if let Some(job) = self.running.get(&handle) {
            job.control.give(vec![credential]);
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

    /// The token under which a delegation is answered; `None` if the job is over.
    pub(super) fn asks(&mut self, handle: JobHandle, answer: oneshot::Sender<Delegated>) -> Option<u64> {
        let job = self.running.get_mut(&handle)?;
        job.delegations += 1;
        job.asked.insert(job.delegations, answer);
        Some(job.delegations)
    }

    /// The runtime has answered a delegation.
    pub(super) fn delegated(&mut self, handle: JobHandle, token: u64, answer: Result<Child, WireError>) {
        let Some(job) = self.running.get_mut(&handle) else { return };
        let Some(asked) = job.asked.remove(&token) else { return };
        let answer = answer.map_err(Undelegated::Refused).map(|child| {
            let (sender, end) = oneshot::channel();
            job.children.insert(child.job, sender);
            (child, end)
        });
        // An agent that no longer waits needs no answer.
        let _ = asked.send(answer);
    }

    /// A delegation did not get as far as the runtime.
    pub(super) fn never_asked(&mut self, handle: JobHandle, token: u64, misuse: ApiMisuse) {
        let asked = self.running.get_mut(&handle).and_then(|job| job.asked.remove(&token));
        if let Some(asked) = asked {
            let _ = asked.send(Err(Undelegated::Misuse(misuse)));
        }
    }

    pub(super) fn child_ended(&mut self, handle: JobHandle, child: JobHandle, end: ChildEnd) {
        let waiting = self.running.get_mut(&handle).and_then(|job| job.children.remove(&child));
        if let Some(waiting) = waiting {
            let _ = waiting.send(end);
        }
    }

    pub(super) fn is_child(&self, handle: JobHandle, child: JobHandle) -> bool {
        self.running.get(&handle).is_some_and(|job| job.children.contains_key(&child))
    }

    /// What the agent says next; `None` when it says nothing more for this turn.
    pub(super) fn next(&mut self, handle: JobHandle) -> Option<Said> {
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
