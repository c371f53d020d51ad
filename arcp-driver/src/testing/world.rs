//! The world as a scenario sees it.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use arcp_proto::config::ClientConfig;
use futures_channel::oneshot;

use super::cable::Cable;
use super::clock::{Elapsed, NodeClock, Sleep, Time, WallClock, within};
use super::dialer::{Dialer, Standing};
use super::executor::{Executor, Owner};
use super::link::Link;
use super::log::Log;
use super::random::{Random, SeededEntropy, Stream};
use super::store::Disk;
use super::trace::Trace;
use crate::client::{Client, View};
use crate::queue::lock;
use crate::runtime::{BuildError, RuntimeBuilder, RuntimeHandle};

/// Makes the runtime, each time it starts.
pub(super) type Blueprint = Box<dyn FnMut(&World) -> RuntimeBuilder + Send>;

/// The world of a [`Simulation`](super::Simulation): one runtime, its clients, the links between them, and the time. Cheap to
/// clone; agents and tasks of the scenario can hold one, too.
///
/// It lasts as long as the scenario runs. What is done to it afterwards has no effect.
#[derive(Clone)]
pub struct World {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) seed: u64,
    pub(super) executor: Arc<Executor>,
    pub(super) time: Arc<Time>,
    pub(super) log: Arc<Log>,
    pub(super) latency: Range<Duration>,
    pub(super) disk: Disk,
    pub(super) random: Mutex<Random>,
    pub(super) crashes: Mutex<Random>,
    pub(super) clients: Mutex<Vec<Node>>,
    pub(super) blueprint: Mutex<Option<Blueprint>>,
    pub(super) runtime_clock: NodeClock,
    pub(super) runtime: Arc<Standing>,
}

/// A client, and its cable.
pub(super) struct Node {
    view: Arc<View>,
    name: Arc<str>,
    cable: Arc<Cable>,
    clock: NodeClock,
}

impl World {
    /// A client with this bearer token and everything else at its default, named `client1`, `client2` and so on. It connects by
    /// itself.
    #[must_use = "a client that is dropped closes its session"]
    pub fn connect(&self, token: &str) -> Client {
        let name = format!("client{}", lock(&self.shared.clients).len() + 1);
        self.connect_as(name, ClientConfig::new(token))
    }

    /// A client with this name, by which the trace knows it, and this configuration.
    #[must_use = "a client that is dropped closes its session"]
    pub fn connect_as(&self, name: impl Into<Arc<str>>, config: ClientConfig) -> Client {
        let shared = &self.shared;
        let name = name.into();
        shared.log.hide(config.token.expose());
        let mut clients = lock(&shared.clients);
        let number = u32::try_from(clients.len()).unwrap_or(u32::MAX);
        let random = Random::new(shared.seed, Stream::Link(number));
        let cable = Cable::new(name.clone(), shared.latency.clone(), &shared.time, &shared.log, random);
        let clock = NodeClock::new(&shared.time);
        let connector = Dialer::new(&shared.executor, &shared.time, &shared.runtime, &cable);
        let entropy = SeededEntropy::new(shared.seed, Stream::Client(number));
        let (client, driver) = Client::with_entropy(connector, config, clock.timer(), Box::new(entropy));
        clients.push(Node { view: client.view().clone(), name: name.clone(), cable, clock });
        drop(clients);
        shared.executor.spawn(format!("client {name}"), Owner::Client(number), async move {
            driver.await;
        });
        client
    }

    /// The link of a client.
    ///
    /// # Panics
    /// If the client is not of this world.
    #[must_use]
    pub fn link(&self, client: &Client) -> Link {
        self.of(client, |_, node| Link::new(&node.cable, &self.shared.log))
    }

    /// The links of all clients, in the order in which these were connected.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        lock(&self.shared.clients).iter().map(|node| Link::new(&node.cable, &self.shared.log)).collect()
    }

    /// Ends a client like a process that is killed: without a word to anybody. Its handles say from here on that their driver was
    /// dropped.
    ///
    /// # Panics
    /// If the client is not of this world.
    pub fn crash_client(&self, client: &Client) {
        let (number, name) = self.of(client, |number, node| (number, node.name.clone()));
        self.shared.log.say(format!("{name} crashes"));
        self.shared.executor.end(Some(Owner::Client(number)));
    }

    /// Has a client stand still, as a process that is suspended or a laptop that sleeps: it does nothing until
    /// [`World::resume_client`], however much time passes, and does not know of it. Its connection stays open.
    ///
    /// # Panics
    /// If the client is not of this world.
    pub fn pause_client(&self, client: &Client) {
        let (number, name) = self.of(client, |number, node| (number, node.name.clone()));
        if self.shared.executor.pause(Owner::Client(number), true) {
            self.shared.log.say(format!("{name} stands still"));
        }
    }

    /// Has a client go on that was paused.
    ///
    /// # Panics
    /// If the client is not of this world.
    pub fn resume_client(&self, client: &Client) {
        let (number, name) = self.of(client, |number, node| (number, node.name.clone()));
        if self.shared.executor.pause(Owner::Client(number), false) {
            self.shared.log.say(format!("{name} goes on"));
        }
    }

    /// The wall clock of a client.
    ///
    /// # Panics
    /// If the client is not of this world.
    #[must_use]
    pub fn client_clock(&self, client: &Client) -> WallClock {
        self.of(client, |_, node| WallClock::new(&node.clock, &node.name, &self.shared.log))
    }

    #[expect(clippy::panic, reason = "documented: the client of another world is a fault of the test")]
    fn of<T>(&self, client: &Client, take: impl FnOnce(u32, &Node) -> T) -> T {
        let clients = lock(&self.shared.clients);
        let mut numbered = (0..).zip(clients.iter());
        match numbered.find(|(_, node)| Arc::ptr_eq(&node.view, client.view())) {
            Some((number, node)) => take(number, node),
            None => {
                drop(clients);
                panic!("this client was not connected by this world: `World::connect` makes those that are")
            }
        }
    }

    /// The runtime's handle, to rotate credentials, to change who sees what, or to shut down in good order; `None` while it is
    /// down.
    #[must_use]
    pub fn runtime(&self) -> Option<RuntimeHandle> {
        self.shared.runtime.now().handle
    }

    /// The wall clock of the runtime, which it keeps when it crashes.
    #[must_use]
    pub fn runtime_clock(&self) -> WallClock {
        WallClock::new(&self.shared.runtime_clock, &Arc::from("the runtime"), &self.shared.log)
    }

    /// Ends the runtime like a process that is killed: agents are dropped where they stand, connections are gone, and only what the
    /// store was given is left of it. What was on its way to a client still arrives, or does not, as the seed has it. Connects are
    /// refused until [`World::restart_runtime`]. Does nothing while it is down.
    pub fn crash_runtime(&self) {
        let Some(handle) = self.shared.runtime.stop() else { return };
        self.shared.log.say("the runtime crashes");
        for node in lock(&self.shared.clients).iter() {
            if lock(&self.shared.crashes).coin() {
                node.cable.cut(" by the crash");
            }
        }
        self.shared.executor.end(Some(self.shared.runtime.now().owner()));
        drop(handle);
    }

    /// Has the runtime stand still with its agents, as a process that is suspended or a machine that hangs: nothing of it runs until
    /// [`World::resume_runtime`], however much time passes. Its connections stay open. One that crashes meanwhile starts anew.
    pub fn pause_runtime(&self) {
        let owner = self.shared.runtime.now().owner();
        if self.shared.executor.pause(owner, true) {
            self.shared.log.say("the runtime stands still");
        }
    }

    /// Has the runtime go on that was paused.
    pub fn resume_runtime(&self) {
        let owner = self.shared.runtime.now().owner();
        if self.shared.executor.pause(owner, false) {
            self.shared.log.say("the runtime goes on");
        }
    }

    /// Starts the runtime from what its store holds, after a crash if it still runs.
    ///
    /// # Panics
    /// If the runtime cannot be built, or the simulation was given none.
    #[expect(clippy::panic, reason = "documented: what cannot be built is a fault of the test")]
    pub fn restart_runtime(&self) {
        self.crash_runtime();
        if let Err(error) = self.start_runtime() {
            panic!("{error}");
        }
    }

    pub(super) fn start_runtime(&self) -> Result<(), StartError> {
        // Taken out to be called without a lock: it may look at the world.
        let mut blueprint = lock(&self.shared.blueprint).take().ok_or(StartError::NoRuntime)?;
        let builder = blueprint(self);
        *lock(&self.shared.blueprint) = Some(blueprint);
        let starts = self.shared.runtime.now().starts + 1;
        let entropy = SeededEntropy::new(self.shared.seed, Stream::Runtime(starts));
        let started = builder.or_with(|| self.shared.disk.open(), entropy).build()?;
        let (handle, endpoint, mut tasks) = started.start(self.shared.runtime_clock.timer());
        self.shared.log.say("the runtime starts");
        let owner = Owner::Runtime(starts);
        let world = self.clone();
        self.shared.executor.spawn("runtime", owner, async move {
            let words = match endpoint.await {
                Ok(()) => "the runtime has ended".to_owned(),
                Err(error) => format!("the runtime has ended: {error}"),
            };
            world.shared.log.say(words);
            // Whatever crashes takes this task with it, so it can only be the one that runs.
            drop(world.shared.runtime.stop());
        });
        let world = self.clone();
        self.shared.executor.spawn("runtime's spawner", owner, async move {
            while let Some(task) = tasks.next().await {
                world.shared.executor.spawn(task.name(), owner, task);
            }
        });
        self.shared.runtime.start(starts, handle);
        Ok(())
    }

    /// Waits until this much time has passed. Time passes when nothing else can happen.
    pub fn sleep(&self, span: Duration) -> Sleep {
        Sleep::new(&self.shared.time, span)
    }

    /// How much time has passed since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.time.elapsed()
    }

    /// What `future` comes to, if it does within this time.
    ///
    /// # Errors
    /// [`Elapsed`] if it takes longer; it is dropped then.
    pub async fn within<F: Future>(&self, span: Duration, future: F) -> Result<F::Output, Elapsed> {
        within(&self.shared.time, span, future).await
    }

    /// Runs a task beside the scenario, by a name that reports of what waits will use. It need not be awaited, and ends with the
    /// scenario at the latest.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Spawned<T> {
        let (done, output) = oneshot::channel();
        self.shared.executor.spawn(name, Owner::Scenario, async move {
            // Whoever started it need not wait for it.
            let _ = done.send(task.await);
        });
        Spawned(output)
    }

    /// A number of this range, drawn from the seed: for choices of the scenario's own. The start of the range if it is empty.
    #[must_use]
    pub fn draw(&self, range: Range<u64>) -> u64 {
        lock(&self.shared.random).of(&range)
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// Leaves a line in the trace.
    pub fn note(&self, words: impl Into<String>) {
        self.shared.log.say(words);
    }

    /// What has happened so far.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.shared.log.trace()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("seed", &self.seed()).field("elapsed", &self.elapsed()).finish()
    }
}

/// Why the runtime was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The simulation was given none.
    #[error("the simulation has no runtime: `Simulation::runtime` gives it one")]
    NoRuntime,
    /// It cannot be built.
    #[error("the runtime cannot be built: {0}")]
    Build(#[from] BuildError),
}

/// A task that [`World::spawn`] runs. Awaited, it resolves to what the task returned. Dropped, the task goes on.
#[derive(Debug)]
pub struct Spawned<T>(oneshot::Receiver<T>);

impl<T> Future for Spawned<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.0).poll(cx) {
            Poll::Ready(Ok(output)) => Poll::Ready(output),
            // A task of the scenario ends without an output only if it panics, and the whole world with it.
            Poll::Ready(Err(oneshot::Canceled)) | Poll::Pending => Poll::Pending,
        }
    }
}
