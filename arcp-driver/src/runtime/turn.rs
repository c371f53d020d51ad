//! The endpoint's loop around the core.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arcp_proto::error::ApiMisuse;
use arcp_proto::runtime::{
    AuthId, ConnectionId, Credentials, DecisionId, LeaseDecision, LeaseQuestion, Output, RuntimeEndpoint,
    Verdict,
};
use arcp_proto::time::{Instant, Now};
use futures_channel::mpsc::UnboundedSender;

use super::connection::{Accepted, BATCH, Connection, ToPeer, weight};
use super::jobs::Jobs;
use super::leases::LeasePolicy;
use super::observer::Observer;
use super::provisioner::Provisioner;
use super::sleep::Sleepers;
use super::task::{Task, Work, caught};
use super::verifier::{Judgement, Verification};
use super::{Signal, Source};
use crate::agent::Agent;
use crate::queue::{Inbox, Sender};
use crate::store::Store;
use crate::timer::Timer;
use crate::transport::Incoming;

/// How long a connection may take to write what it was left with and to close.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// Turns before other tasks of the executor get theirs.
const TURNS: usize = 16;

/// The loop around a core that works.
///
/// Each turn carries out what the core asks for, fills the queues of connections that have room, takes in answers of the
/// store, then what agents and connections have to say: a bounded batch of each, so that none of them keeps another
/// waiting for more than a turn.
pub(super) struct Loop<T> {
    pub(super) core: Box<RuntimeEndpoint>,
    store: Box<dyn Store>,
    timer: T,
    pub(super) agents: HashMap<String, Agent>,
    verification: Verification,
    leases: Option<Arc<dyn LeasePolicy>>,
    pub(super) provisioner: Option<Arc<dyn Provisioner>>,
    pub(super) inbox: Arc<Inbox<Signal>>,
    signals: Vec<Signal>,
    pub(super) tasks: UnboundedSender<Task>,
    observer: Observer,
    connections: HashMap<ConnectionId, Connection>,
    pub(super) jobs: Jobs,
    /// Connections to fill, and sources to hear.
    to_flush: VecDeque<ConnectionId>,
    pub(super) to_hear: VecDeque<Source>,
    /// Connections with frames that the core does not take at the moment.
    held: Vec<ConnectionId>,
    /// Connections that are to be gone by a time, in its order.
    leaving: VecDeque<(Instant, Leaving)>,
    /// Agents that wait for time to pass.
    sleepers: Sleepers,
    batch: VecDeque<ToPeer>,
    /// Commands the store has not answered.
    unanswered: usize,
    stopping: bool,
    alone: bool,
}

/// A connection on its way out.
enum Leaving {
    /// Told to close.
    Closing(ConnectionId),
    /// At its end; its task may still have something to send. Dropping this ends the task.
    Ended(Sender<ToPeer>),
}

/// What a connection's queue did with the frames for it.
enum Filled {
    /// It took all there are.
    All,
    /// It took a batch.
    Some,
    /// It has no room, and says when it has.
    Full,
    /// It is gone.
    Gone,
}

/// The store failed.
pub(super) struct Halt;

/// What the loop is made of, beside the core.
pub(super) struct Parts<T> {
    pub(super) store: Box<dyn Store>,
    pub(super) timer: T,
    pub(super) agents: HashMap<String, Agent>,
    pub(super) verification: Verification,
    pub(super) leases: Option<Arc<dyn LeasePolicy>>,
    pub(super) provisioner: Option<Arc<dyn Provisioner>>,
    pub(super) inbox: Arc<Inbox<Signal>>,
    pub(super) tasks: UnboundedSender<Task>,
    pub(super) observer: Observer,
}

impl<T: Timer> Loop<T> {
    pub(super) fn new(core: Box<RuntimeEndpoint>, parts: Parts<T>) -> Self {
        let Parts { store, timer, agents, verification, leases, provisioner, inbox, tasks, observer } = parts;
        Self {
            core,
            store,
            timer,
            agents,
            verification,
            leases,
            provisioner,
            inbox,
            signals: Vec::new(),
            tasks,
            observer,
            connections: HashMap::new(),
            jobs: Jobs::default(),
            to_flush: VecDeque::new(),
            to_hear: VecDeque::new(),
            held: Vec::new(),
            leaving: VecDeque::new(),
            sleepers: Sleepers::default(),
            batch: VecDeque::new(),
            unanswered: 0,
            stopping: false,
            alone: false,
        }
    }

    /// Turns until there is nothing to do. Ready once it is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Halt>> {
        for _ in 0..TURNS {
            if self.turn(cx)? {
                continue;
            }
            if self.is_done() {
                return Poll::Ready(Ok(()));
            }
            match self.deadline() {
                Some(at) if self.timer.poll_until(cx, at).is_ready() => {}
                _ => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One turn. Says whether another may find something to do.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<bool, Halt> {
        // Read once: a batch of events shares its moment.
        let now = self.timer.now();
        let mut worked = self.pass_time(now);
        self.carry_out(now)?;
        self.flush(now);
        worked |= self.hear_store(cx, now);
        worked |= self.hear(cx, now);
        if self.stopping && self.connections.is_empty() {
            // Their agents would otherwise go on for nobody, and the end would wait for them.
            self.jobs = Jobs::default();
        }
        Ok(worked || !self.to_flush.is_empty())
    }

    fn is_done(&self) -> bool {
        self.connections.is_empty()
            && self.unanswered == 0
            && (self.stopping || self.alone && self.jobs.is_empty())
    }

    fn pass_time(&mut self, now: Now) -> bool {
        let due = self.core.poll_timeout().is_some_and(|at| at <= now.mono);
        if due {
            self.core.handle_timeout(now);
        }
        let mut cut = false;
        while let Some((at, leaving)) = self.leaving.front() {
            let has_left = match leaving {
                Leaving::Closing(id) => !self.connections.contains_key(id),
                Leaving::Ended(outbound) => outbound.is_gone(),
            };
            if !has_left && *at > now.mono {
                break;
            }
            // Dropping our half of the queues ends the connection's task.
            if let Some((_, Leaving::Closing(id))) = self.leaving.pop_front()
                && self.connections.remove(&id).is_some()
            {
                self.core.handle_closed(now, id);
                cut = true;
            }
        }
        due | cut | self.sleepers.wake(now.mono)
    }

    fn deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.front().map(|(at, _)| *at);
        [self.core.poll_timeout(), leaving, self.sleepers.deadline()].into_iter().flatten().min()
    }

    fn carry_out(&mut self, now: Now) -> Result<(), Halt> {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::FramesReady(id) => self.frames_ready(id),
                Output::Probe(id) => self.probe(id, now),
                Output::Close { connection: id, code } => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.closing = Some(code);
                        connection.received.clear();
                        self.leaving.push_back((now.mono.after(CLOSE_TIME), Leaving::Closing(id)));
                        self.frames_ready(id);
                    }
                }
                Output::Authenticate { id, credentials } => self.authenticate(now, id, credentials),
                Output::Store { id, command } => match self.store.submit(id, command) {
                    Some(done) => self.core.handle_store(now, id, done),
                    None => self.unanswered += 1,
                },
                Output::Decide { id, question } => self.decide(now, id, *question),
                Output::IssueCredential { id, request } => self.issue(now, id, *request),
                Output::RevokeCredential { id, revocation } => self.revoke(now, id, *revocation),
                Output::TellJob { job, news } => self.tell(job, news),
                Output::StartJob(start) => self.start(now, *start),
                Output::CancelJob { job, reason } => self.jobs.stop(job, reason),
                Output::KillJob(job) => self.jobs.end(job),
                Output::HoldJob(job) => self.jobs.hold(job),
                Output::ReleaseJob(job) => {
                    if self.jobs.release(job) {
                        self.to_hear.push_back(Source::Job(job));
                    }
                }
                Output::Halt => return Err(Halt),
                Output::Event(event) => self.observer.see(&event),
            }
        }
        Ok(())
    }

    fn authenticate(&mut self, now: Now, id: AuthId, credentials: Credentials) {
        match self.verification.judge(credentials) {
            Judgement::Now(verdict) => self.core.handle_auth(now, id, verdict),
            Judgement::Later(verdict) => {
                let inbox = self.inbox.clone();
                let verdict = async move { inbox.post(Signal::Verdict(id, verdict.await)) };
                let task = Task::new(Work::Verifier, verdict);
                if self.tasks.unbounded_send(task).is_err() {
                    self.core.handle_auth(now, id, Verdict::Refuse);
                }
            }
        }
    }

    fn decide(&mut self, now: Now, id: DecisionId, question: LeaseQuestion) {
        let decision = match &self.leases {
            // Without a policy what is asked for is granted.
            None => LeaseDecision::Grant(question.lease),
            Some(policy) => {
                let (inbox, policy) = (self.inbox.clone(), policy.clone());
                let decision = caught(async move { policy.decide(question).await }, || LeaseDecision::Refuse);
                let decision = async move { inbox.post(Signal::Decision(id, decision.await)) };
                let task = Task::new(Work::LeasePolicy, decision);
                if self.tasks.unbounded_send(task).is_ok() {
                    return;
                }
                LeaseDecision::Refuse
            }
        };
        self.decided(now, id, decision);
    }

    fn decided(&mut self, now: Now, id: DecisionId, decision: LeaseDecision) {
        // What is wrong with a decision refuses its submit, and the observer is told of it.
        let _ = self.core.handle_decision(now, id, decision);
    }

    fn frames_ready(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.flushing
        {
            connection.flushing = true;
            self.to_flush.push_back(id);
        }
    }

    /// Asks behind what was pulled so far, for which the queue must have it.
    fn probe(&mut self, id: ConnectionId, now: Now) {
        self.fill(id, now);
        if let Some(connection) = self.connections.get(&id) {
            // A connection that is gone says so by itself.
            let _ = connection.outbound.force(ToPeer::Probe);
        }
    }

    fn flush(&mut self, now: Now) {
        for _ in 0..self.to_flush.len() {
            let Some(id) = self.to_flush.pop_front() else { break };
            match self.fill(id, now) {
                Filled::Some => self.to_flush.push_back(id),
                Filled::All => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.flushing = false;
                    }
                }
                Filled::Full | Filled::Gone => {}
            }
        }
    }

    /// Moves a batch of frames to a connection's task.
    fn fill(&mut self, id: ConnectionId, now: Now) -> Filled {
        let Some(connection) = self.connections.get_mut(&id) else { return Filled::Gone };
        let room = match connection.outbound.poll_room(&Context::from_waker(&connection.writable)) {
            Poll::Ready(Ok(room)) => room,
            Poll::Ready(Err(_)) => {
                self.closed(id, now);
                return Filled::Gone;
            }
            Poll::Pending => return Filled::Full,
        };
        let mut filled = Filled::Some;
        let mut taken = 0;
        while taken < room && self.batch.len() < BATCH {
            match self.core.poll_frame(id) {
                Some(frame) => {
                    taken += weight(&frame);
                    self.batch.push_back(ToPeer::Frame(frame));
                }
                None => {
                    if let Some(code) = connection.closing {
                        self.batch.push_back(ToPeer::Close(code));
                    }
                    filled = Filled::All;
                    break;
                }
            }
        }
        if !self.batch.is_empty() && connection.outbound.send_all(&mut self.batch, taken).is_err() {
            self.batch.clear();
            self.closed(id, now);
            return Filled::Gone;
        }
        filled
    }

    /// The connection's task is at its end, or will be as soon as it has sent what the transport has to say.
    fn closed(&mut self, id: ConnectionId, now: Now) {
        if let Some(connection) = self.connections.remove(&id) {
            self.leaving.push_back((now.mono.after(CLOSE_TIME), Leaving::Ended(connection.outbound)));
            self.core.handle_closed(now, id);
        }
    }

    fn hear_store(&mut self, cx: &mut Context<'_>, now: Now) -> bool {
        let mut heard = 0;
        while heard < BATCH
            && let Poll::Ready((id, done)) = self.store.poll_done(cx)
        {
            self.core.handle_store(now, id, done);
            self.unanswered = self.unanswered.saturating_sub(1);
            heard += 1;
        }
        heard > 0
    }

    fn hear(&mut self, cx: &Context<'_>, now: Now) -> bool {
        let mut signals = std::mem::take(&mut self.signals);
        let signalled = self.inbox.poll_take(cx, &mut signals).is_ready();
        for signal in signals.drain(..) {
            self.signal(now, signal);
        }
        self.signals = signals;
        let Self { held, connections, core, to_hear, .. } = self;
        held.retain(|id| match connections.get_mut(id) {
            Some(connection) if !core.may_read(*id) => connection.held,
            Some(connection) => {
                connection.held = false;
                to_hear.push_back(Source::Readable(*id));
                false
            }
            None => false,
        });
        let sources = self.to_hear.len();
        for _ in 0..sources {
            match self.to_hear.pop_front() {
                Some(Source::Readable(id)) => self.hear_connection(id, now),
                Some(Source::Writable(id)) => {
                    if self.connections.get(&id).is_some_and(|connection| connection.flushing) {
                        self.to_flush.push_back(id);
                    }
                }
                Some(Source::Job(job)) => self.hear_job(job, now),
                None => break,
            }
        }
        signalled || sources > 0
    }

    fn signal(&mut self, now: Now, signal: Signal) {
        match signal {
            Signal::Source(source) => self.to_hear.push_back(source),
            Signal::Accepted(accepted) => self.accept(now, *accepted),
            Signal::Verdict(id, verdict) => self.core.handle_auth(now, id, verdict),
            Signal::Decision(id, decision) => self.decided(now, id, decision),
            Signal::Issued(id, issued) => self.issued(now, id, issued),
            Signal::Revoked(id, revoked) => self.core.handle_revoked(now, id, revoked),
            Signal::Rotate(job, answer) => {
                let rotated = match self.core.job(job) {
                    Some(job) => self.core.rotate_credential(now, job),
                    None => Err(ApiMisuse::UnknownHandle),
                };
                // Whoever asked need not wait for the answer.
                let _ = answer.send(rotated);
            }
            Signal::Sleep(span, wake) => self.sleepers.add(now.mono.after(span), wake),
            Signal::PolicyChanged => self.core.policy_changed(now),
            Signal::ShutDown => {
                self.stopping = true;
                self.core.shut_down(now);
            }
            Signal::Alone => self.alone = true,
        }
    }

    fn accept(&mut self, now: Now, accepted: Accepted) {
        let id = match accepted.address {
            Some(address) => self.core.handle_open_from(now, accepted.kind, address),
            None => self.core.handle_open(now, accepted.kind),
        };
        if accepted.secured {
            self.core.handle_secured(now, id);
        }
        self.connections.insert(id, Connection::new(id, accepted, &self.inbox));
        self.to_hear.push_back(Source::Readable(id));
    }

    fn hear_connection(&mut self, id: ConnectionId, now: Now) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        for _ in 0..BATCH {
            let cx = Context::from_waker(&connection.readable);
            if connection.closing.is_none() && !self.core.may_read(id) {
                // It is heard again once the core takes frames, and at once when it ends.
                if connection.inbound.poll_abandoned(&cx) {
                    self.closed(id, now);
                } else if !connection.held {
                    connection.held = true;
                    self.held.push(id);
                }
                return;
            }
            if connection.received.is_empty() {
                match connection.inbound.poll_take(&cx, &mut connection.received) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => {
                        self.closed(id, now);
                        return;
                    }
                    Poll::Pending => return,
                }
            }
            if connection.closing.is_some() {
                // Nothing it still says matters.
                connection.received.clear();
                continue;
            }
            match connection.received.pop_front() {
                Some(Incoming::Frame(frame)) => self.core.handle_frame(now, id, frame),
                Some(Incoming::Oversized) => self.core.handle_oversized(now, id),
                Some(Incoming::Partial(bytes)) => self.core.handle_partial(now, id, bytes),
                Some(Incoming::Proof) => self.core.handle_proof(now, id),
                None => {}
            }
        }
        self.to_hear.push_back(Source::Readable(id));
    }
}
