//! The client's task: the loop around the core.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arcp_proto::client::{
    ClientEndpoint, ClientEvent, ClosedReason, Output, RequestError, RequestId, Subscription,
};
use arcp_proto::config::ClientConfig;
use arcp_proto::entropy::Entropy;
use arcp_proto::id::JobId;
use arcp_proto::time::{Instant, Now};
use arcp_proto::wire::job::{Accepted, Cancelled, FinalStatus, Subscribed};
use arcp_proto::wire::list as wire;

use super::connector::Connector;
use super::follow::{Feed, Jobs, News, Taken, Unfollowed};
use super::line::{Line, Progress};
use super::request::{Command, Reply};
use super::view::{SessionEvent, View};
use super::{ClientError, Link};
use crate::job::{Children, Follow, Job, Watch};
use crate::queue::{Receiver, Sender, bounded};
use crate::timer::Timer;

/// Turns before other tasks of the executor get theirs.
const TURNS: usize = 16;

/// A client's work: a future that owns the session and its transport, and ends when the session is over, with the reason.
///
/// It connects, reads, writes, resumes after a loss, and puts events into the queues of jobs; it never waits for the
/// application. Dropping it ends everything at once.
#[must_use = "a client does nothing unless its driver is polled"]
pub struct Driver<C: Connector, T> {
    core: ClientEndpoint,
    timer: T,
    connector: C,
    line: Line<C>,
    /// Something was written that may still lie in the transport.
    unflushed: bool,
    commands: Receiver<Command>,
    asked: VecDeque<Command>,
    /// All handles are gone, and the core was told to close.
    alone: bool,
    view: Arc<View>,
    submits: HashMap<RequestId, Submitting>,
    /// Where the children of a submit go that asked for them.
    trees: HashMap<RequestId, Sender<Job>>,
    subscribes: HashMap<RequestId, Subscribing>,
    cancels: HashMap<RequestId, Reply<Cancelled>>,
    lists: HashMap<RequestId, Reply<Box<wire::Jobs>>>,
    jobs: Jobs,
    over: Option<ClosedReason>,
}

/// A submit on its way.
struct Submitting {
    reply: Reply<Job>,
    children: Option<Receiver<Job>>,
}

/// A subscription on its way. Some runtimes send events before they answer, so the queue is there already.
struct Subscribing {
    job: JobId,
    feed: Feed,
    reply: Reply<Watch>,
}

// Nothing in it is pinned in place.
impl<C: Connector, T> Unpin for Driver<C, T> {}

impl<C: Connector, T: Timer> Driver<C, T> {
    pub(super) fn new(
        connector: C,
        config: ClientConfig,
        timer: T,
        entropy: Box<dyn Entropy + Send>,
        commands: Receiver<Command>,
        view: Arc<View>,
    ) -> Self {
        Self {
            core: ClientEndpoint::new(config, entropy, timer.now()),
            timer,
            connector,
            line: Line::Down,
            unflushed: false,
            commands,
            asked: VecDeque::new(),
            alone: false,
            view,
            submits: HashMap::new(),
            trees: HashMap::new(),
            subscribes: HashMap::new(),
            cancels: HashMap::new(),
            lists: HashMap::new(),
            jobs: Jobs::default(),
            over: None,
        }
    }

    /// One turn. Says whether another may find something to do.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        // Read once: a batch of frames shares its moment.
        let now = self.timer.now();
        let mut worked = self.core.poll_timeout().is_some_and(|at| at <= now.mono);
        if worked {
            self.core.handle_timeout(now);
        }
        worked |= self.obey(cx, now);
        self.carry_out(now);
        match self.line.turn(cx, now, &mut self.core, &mut self.unflushed) {
            Progress::Waits => {}
            Progress::Opened => {
                self.core.handle_open(now, self.connector.kind());
                worked = true;
            }
            Progress::Worked => worked = true,
            Progress::Failed(error) => {
                self.view.tell(SessionEvent::ConnectFailed(error.to_string().into()));
                self.core.handle_closed(now);
                worked = true;
            }
            Progress::Lost => {
                self.core.handle_closed(now);
                worked = true;
            }
        }
        self.carry_out(now);
        let orphans = self.jobs.hand_out();
        self.take(now, &orphans);
        worked
    }

    fn obey(&mut self, cx: &Context<'_>, now: Now) -> bool {
        let mut asked = std::mem::take(&mut self.asked);
        let heard = match self.commands.poll_take(cx, &mut asked) {
            Poll::Pending => false,
            Poll::Ready(true) => true,
            Poll::Ready(false) => !std::mem::replace(&mut self.alone, true),
        };
        if heard && self.alone {
            self.core.close(now, None);
        }
        for command in asked.drain(..) {
            self.command(now, command);
        }
        self.asked = asked;
        heard
    }

    fn command(&mut self, now: Now, command: Command) {
        match command {
            Command::Submit(submission, reply) => {
                // Given up before it left, it need not leave.
                if reply.is_canceled() {
                    return;
                }
                let tree = submission.children.then(|| bounded(usize::MAX));
                match self.core.submit(now, *submission) {
                    Ok(request) => {
                        let (sender, children) = tree.unzip();
                        self.trees.extend(sender.map(|sender| (request, sender)));
                        self.submits.insert(request, Submitting { reply, children });
                    }
                    Err(misuse) => answer(reply, Err(misuse.into())),
                }
            }
            Command::Subscribe(job, start, reply) => self.subscribe(now, job, start, reply),
            Command::Cancel(job, reason, reply) => match self.core.cancel(now, &job, reason) {
                Ok(request) => drop(self.cancels.insert(request, reply)),
                Err(misuse) => answer(reply, Err(misuse.into())),
            },
            Command::List(query, reply) => {
                // Whoever gave it up needs no answer.
                if reply.is_canceled() {
                    return;
                }
                match self.core.list_jobs(now, *query) {
                    Ok(request) => drop(self.lists.insert(request, reply)),
                    Err(misuse) => answer(reply, Err(misuse.into())),
                }
            }
            Command::Taken(taken) => self.take(now, &taken),
            Command::Drop(job, follower) => match self.jobs.unfollow(&job, follower) {
                Some((job, Unfollowed::Own)) => self.core.abandon(now, &job),
                Some((job, Unfollowed::Subscribed)) => self.core.unsubscribe(now, &job),
                None => {}
            },
            Command::DropChildren(request) => {
                self.trees.remove(&request);
                self.core.abandon_children(now, request);
            }
            Command::ReconnectNow => self.core.reconnect_now(now),
            Command::Close => self.core.close(now, None),
        }
    }

    fn subscribe(&mut self, now: Now, job: JobId, start: Subscription, reply: Reply<Watch>) {
        match self.core.subscribe(now, &job, start) {
            Ok(request) => {
                let feed = match start {
                    Subscription::History => self.jobs.follow_from(&job, 0),
                    Subscription::HistoryFromPos(pos) => self.jobs.follow_from(&job, pos),
                    // What lies behind an origin number is the runtime's to say.
                    _ => self.jobs.follow(&job, None),
                };
                self.subscribes.insert(request, Subscribing { job, feed, reply });
            }
            Err(misuse) => answer(reply, Err(misuse.into())),
        }
    }

    fn take(&mut self, now: Now, taken: &Taken) {
        for number in taken.numbers() {
            self.core.taken(now, number);
        }
    }

    fn carry_out(&mut self, now: Now) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Connect => self.line = Line::Connecting(Box::pin(self.connector.connect())),
                // Every turn writes what there is.
                Output::FramesReady => {}
                Output::Close(code) => self.line.close(now, code),
                // There is no such place.
                Output::Remember(_) => self.core.handle_remembered(now),
                Output::Event(event) => self.event(now, event),
            }
        }
    }

    fn event(&mut self, now: Now, event: ClientEvent) {
        match event {
            ClientEvent::JobEvent { job, seq, event } => {
                let heard = self.jobs.event(&job, seq, event);
                self.give_back_unless(heard, now, seq);
            }
            ClientEvent::JobEnded { job, seq, ended } => {
                let heard = self.jobs.ended(&job, seq, ended);
                self.give_back_unless(heard, now, seq);
            }
            ClientEvent::Connected(connected) => {
                self.view.tell(SessionEvent::Connected(Arc::from(connected)))
            }
            ClientEvent::Disconnected => self.view.tell(SessionEvent::Disconnected),
            ClientEvent::Accepted { request, job, accepted } => self.accepted(now, request, job, accepted),
            ClientEvent::ChildAccepted { job, submit: Some(submit), accepted } => {
                self.child_accepted(now, submit, job, accepted);
            }
            ClientEvent::ChildrenEnded { request } => drop(self.trees.remove(&request)),
            ClientEvent::Rejected { request, error } => self.rejected(now, request, error),
            ClientEvent::CancelAcknowledged { request, cancelled } => {
                if let Some(reply) = self.cancels.remove(&request) {
                    answer(reply, Ok(*cancelled));
                }
            }
            ClientEvent::Subscribed { request, job, subscribed } => self.subscribed(request, job, subscribed),
            ClientEvent::Jobs { request, page } => {
                if let Some(reply) = self.lists.remove(&request) {
                    answer(reply, Ok(page));
                }
            }
            ClientEvent::Gap { from, to } => {
                self.view.tell(SessionEvent::Gap { from, to });
                self.jobs.tell_all(&News::Lost { from, to });
            }
            ClientEvent::JobGap { job, from, to } => self.jobs.tell(&job, News::Missing { from, to }),
            ClientEvent::RuntimeError(error) => self.view.tell(SessionEvent::RuntimeError(Arc::from(error))),
            ClientEvent::Closed(reason) => self.over = Some(reason),
            // What this layer does not show has no number to give back.
            _ => {}
        }
    }

    /// What nobody hears no application will ever take.
    fn give_back_unless(&mut self, heard: bool, now: Now, number: Option<u64>) {
        if let Some(number) = number.filter(|_| !heard) {
            self.core.taken(now, number);
        }
    }

    fn accepted(&mut self, now: Now, request: RequestId, job: JobId, mut accepted: Box<Accepted>) {
        // They are kept where they are forgotten when the job ends.
        let credentials = std::mem::take(&mut accepted.credentials);
        if let Some(Submitting { reply, children }) = self.submits.remove(&request) {
            let feed = self.jobs.follow(&job, Some(request));
            self.jobs.give(&job, credentials);
            let children = children.map(|queue| Children::new(self.link(), request, queue));
            answer(reply, Ok(Job::new(Follow::new(self.link(), job, feed, false), accepted, children)));
        } else if self.jobs.restart(request, &job) {
            self.jobs.give(&job, credentials);
        } else {
            self.core.abandon(now, &job);
        }
    }

    fn child_accepted(&mut self, now: Now, submit: RequestId, job: JobId, mut accepted: Box<Accepted>) {
        let Some(tree) = self.trees.get(&submit) else { return self.core.abandon(now, &job) };
        let feed = self.jobs.follow_child(&job);
        self.jobs.give(&job, std::mem::take(&mut accepted.credentials));
        // One that cannot be handed out is dropped like any that nobody wants.
        let _ = tree.force(Job::new(Follow::new(self.link(), job, feed, false), accepted, None));
    }

    fn rejected(&mut self, now: Now, request: RequestId, error: RequestError) {
        if let Some(Submitting { reply, .. }) = self.submits.remove(&request) {
            self.trees.remove(&request);
            answer(reply, Err(error.into()));
        } else if let Some(reply) = self.cancels.remove(&request) {
            answer(reply, Err(error.into()));
        } else if let Some(reply) = self.lists.remove(&request) {
            answer(reply, Err(error.into()));
        } else if let Some(Subscribing { job, feed, reply }) = self.subscribes.remove(&request) {
            let mut early = Taken::default();
            early.add_all(feed.queue.close());
            self.take(now, &early);
            self.jobs.unfollow(&job, feed.id);
            answer(reply, Err(error.into()));
        }
    }

    fn subscribed(&mut self, request: RequestId, job: JobId, mut subscribed: Box<Subscribed>) {
        let Some(Subscribing { feed, reply, .. }) = self.subscribes.remove(&request) else { return };
        let credentials = std::mem::take(&mut subscribed.credentials);
        if !credentials.is_empty() {
            self.jobs.give(&job, credentials);
        }
        let status = subscribed.current_status.as_deref().and_then(FinalStatus::parse);
        let was_over = status.filter(|_| !subscribed.replayed);
        answer(reply, Ok(Watch::new(self.link(), job.clone(), feed, subscribed)));
        if let Some(status) = was_over {
            self.jobs.was_over(&job, status);
        }
    }

    fn link(&self) -> Link {
        Link { commands: self.commands.sender(), view: self.view.clone() }
    }

    /// The session is over and nothing is left to write.
    fn finish(&mut self, reason: ClosedReason) -> ClosedReason {
        let shared = Arc::new(reason.clone());
        self.jobs.tell_all(&News::Closed(shared.clone()));
        self.jobs.hand_out();
        self.trees.clear();
        self.view.tell(SessionEvent::Closed(shared));
        reason
    }
}

/// A request that was given up has nobody to hear the answer.
fn answer<V>(reply: Reply<V>, result: Result<V, ClientError>) {
    let _ = reply.send(result);
}

impl<C: Connector, T: Timer> Future for Driver<C, T> {
    type Output = ClosedReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ClosedReason> {
        let this = &mut *self;
        for _ in 0..TURNS {
            let worked = this.turn(cx);
            if this.line.is_closed()
                && let Some(reason) = this.over.take()
            {
                return Poll::Ready(this.finish(reason));
            }
            if worked {
                continue;
            }
            let deadlines = [this.core.poll_timeout(), this.line.deadline()];
            let deadline: Option<Instant> = deadlines.into_iter().flatten().min();
            match deadline {
                Some(at) if this.timer.poll_until(cx, at).is_ready() => {}
                _ => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<C: Connector, T> Drop for Driver<C, T> {
    fn drop(&mut self) {
        self.view.leave();
    }
}

impl<C: Connector, T> fmt::Debug for Driver<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("core", &self.core).finish_non_exhaustive()
    }
}
