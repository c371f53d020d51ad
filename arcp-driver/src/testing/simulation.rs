//! From a seed to an outcome.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use arcp_proto::time::{Instant, UnixTime};

use super::clock::{NodeClock, Time};
use super::executor::{Executor, Panicked, SCENARIO, caught};
use super::log::Log;
use super::random::{Random, Stream};
use super::store::Disk;
use super::trace::{Entry, Frame, Trace};
use super::world::{Shared, StartError, World};
use crate::queue::lock;
use crate::runtime::RuntimeBuilder;
use crate::store::{MemoryStore, Store};

/// Entries of a trace that a failure shows.
const SHOWN: usize = 60;
/// Tasks that are named as the busiest.
const BUSIEST: usize = 3;

/// A world before it begins.
///
/// See [the module](super) for what it is for.
#[must_use = "nothing happens unless a scenario is run"]
pub struct Simulation {
    seed: u64,
    blueprint: Option<super::world::Blueprint>,
    store: Option<Box<dyn Store>>,
    store_delay: Option<Range<Duration>>,
    latency: Range<Duration>,
    start: UnixTime,
    time_limit: Duration,
    step_limit: u64,
    /// Where the trace goes beside the outcome.
    pub(super) report: Option<Arc<Mutex<Trace>>>,
}

impl Simulation {
    /// A world in which everything that could go one way or another goes as this seed has it.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            blueprint: None,
            store: None,
            store_delay: None,
            latency: Duration::from_micros(200)..Duration::from_millis(2),
            // 2026-01-01T00:00:00Z
            start: UnixTime::from_millis(1_767_225_600_000),
            time_limit: Duration::from_secs(24 * 3_600),
            step_limit: 10_000_000,
            report: None,
        }
    }

    /// What the runtime is made of, each time it starts: agents, tokens, policies, configuration. It is given the world, for agents
    /// that want to act on it.
    ///
    /// Where the builder names no [`store`](RuntimeBuilder::store) it uses [that of the simulation](Simulation::store), and ids are
    /// drawn from the seed.
    pub fn runtime(mut self, blueprint: impl FnMut(&World) -> RuntimeBuilder + Send + 'static) -> Self {
        self.blueprint = Some(Box::new(blueprint));
        self
    }

    /// Keeps everything here, over all crashes of the runtime; in memory unless given. To the runtime it counts as
    /// [durable](Store::is_durable), because a simulated crash leaves it as it is.
    pub fn store(mut self, store: impl Store + 'static) -> Self {
        self.store = Some(Box::new(store));
        self
    }

    /// How long the store takes over each command, to the microsecond: drawn from this range. It answers at once unless this is
    /// given. Commands it has not answered when the runtime crashes are carried out up to one that the seed draws, and lost
    /// behind it.
    pub fn store_delay(mut self, range: Range<Duration>) -> Self {
        self.store_delay = Some(range);
        self
    }

    /// How long each frame takes from end to end, to the microsecond: drawn from this range, 0.2 ms to 2 ms unless given.
    /// [`Link::latency`](super::Link::latency) changes it for one client.
    pub fn latency(mut self, range: Range<Duration>) -> Self {
        self.latency = range;
        self
    }

    /// What all wall clocks show in the beginning; 2026-01-01T00:00:00Z unless given.
    pub fn starts_at(mut self, time: UnixTime) -> Self {
        self.start = time;
        self
    }

    /// How much time may pass in the world before the scenario counts as stuck; a day unless given.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// How often tasks may be polled before the scenario counts as one that never ends; 10 000 000 unless given.
    pub fn step_limit(mut self, limit: u64) -> Self {
        self.step_limit = limit;
        self
    }

    /// Runs a scenario in this world until it returns, and then ends everything else. The scenario runs on this thread and need not
    /// be `Send`; whatever it fails with, and a panic too, is in the outcome.
    pub fn run<T>(self, scenario: impl AsyncFnOnce(World) -> Result<T, Box<dyn Error>>) -> Outcome<T> {
        let Self { seed, blueprint, store, store_delay, latency, start, time_limit, step_limit, report } =
            self;
        let time = Time::new(start);
        let log = Log::new(&time);
        let store = store.unwrap_or_else(|| Box::new(MemoryStore::new()));
        let shared = Shared {
            seed,
            executor: Arc::new(Executor::new(Random::new(seed, Stream::Schedule))),
            disk: Disk::new(store, store_delay, &time, Random::new(seed, Stream::Store)),
            runtime_clock: NodeClock::new(&time),
            time,
            log,
            latency,
            random: Mutex::new(Random::new(seed, Stream::Scenario)),
            crashes: Mutex::new(Random::new(seed, Stream::Crash)),
            clients: Mutex::default(),
            blueprint: Mutex::new(blueprint),
            runtime: Arc::default(),
        };
        let world = World { shared: Arc::new(shared) };
        let mut run = Run { world: world.clone(), time_limit, step_limit, steps: 0 };
        let result = match world.start_runtime() {
            Ok(()) => run.scenario(scenario(world.clone())),
            Err(error) => Err(Failure::NotStarted(error)),
        };
        let trace = world.trace();
        let elapsed = world.elapsed();
        // Worlds and tasks hold each other.
        world.shared.executor.end(None);
        drop(world.shared.runtime.stop());
        let blueprint = lock(&world.shared.blueprint).take();
        drop(blueprint);
        if let Some(report) = &report {
            *lock(report) = trace.clone();
        }
        Outcome { seed, result, trace, elapsed, steps: run.steps, is_reported: report.is_some() }
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// A world that runs.
struct Run {
    world: World,
    time_limit: Duration,
    step_limit: u64,
    steps: u64,
}

impl Run {
    fn scenario<T>(
        &mut self,
        scenario: impl Future<Output = Result<T, Box<dyn Error>>>,
    ) -> Result<T, Failure> {
        let mut scenario = pin!(scenario);
        let shared = self.world.shared.clone();
        let waker = shared.executor.scenario();
        loop {
            let Some(task) = shared.executor.draw() else {
                self.pass_time()?;
                continue;
            };
            if self.steps >= self.step_limit {
                let busiest = shared.executor.busiest(BUSIEST);
                return Err(Failure::OutOfSteps { limit: self.step_limit, busiest });
            }
            self.steps += 1;
            if task != SCENARIO {
                shared
                    .executor
                    .poll(task)
                    .map_err(|Panicked(task, message)| Failure::Panicked { task, message })?;
                continue;
            }
            let polled = caught(|| scenario.as_mut().poll(&mut Context::from_waker(&waker)));
            let polled =
                polled.map_err(|message| Failure::Panicked { task: "the scenario".to_owned(), message })?;
            if let Poll::Ready(result) = polled {
                return result.map_err(Failure::Scenario);
            }
        }
    }

    fn pass_time(&self) -> Result<(), Failure> {
        let shared = &self.world.shared;
        let Some(next) = shared.time.next() else {
            return Err(Failure::Deadlock { at: shared.time.elapsed(), waiting: shared.executor.names() });
        };
        if next.since(Instant::ZERO) > self.time_limit {
            return Err(Failure::OutOfTime { limit: self.time_limit, waiting: shared.executor.names() });
        }
        shared.time.advance(next);
        Ok(())
    }
}

/// What a scenario came to.
#[must_use = "a scenario may have failed: `unwrap` says how"]
pub struct Outcome<T> {
    seed: u64,
    result: Result<T, Failure>,
    trace: Trace,
    elapsed: Duration,
    steps: u64,
    is_reported: bool,
}

impl<T> Outcome<T> {
    /// What the scenario returned.
    ///
    /// # Panics
    /// If it failed: with the seed, how it failed, and the end of the trace without its heartbeats.
    #[track_caller]
    #[expect(clippy::panic, reason = "documented: that is what it is for")]
    pub fn unwrap(self) -> T {
        match self.result {
            Ok(value) => value,
            // The trace comes with the report.
            Err(failure) if self.is_reported => panic!("{failure}"),
            Err(failure) => panic!("{}", described(self.seed, &failure.to_string(), &self.trace)),
        }
    }

    /// The same as a result.
    ///
    /// # Errors
    /// How the scenario failed.
    pub const fn result(&self) -> Result<&T, &Failure> {
        self.result.as_ref()
    }

    /// What happened.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The seed it was run with.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// How much time passed in the world.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// How often a task was polled.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }
}

impl<T> fmt::Debug for Outcome<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("seed", &self.seed)
            .field("failure", &self.result.as_ref().err())
            .field("elapsed", &self.elapsed)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

/// What a failure has to say. Heartbeats are left out: a world that is stuck has nothing else at its end.
pub(super) fn described(seed: u64, failure: &str, trace: &Trace) -> String {
    let is_heartbeat = |frame: &Frame| matches!(frame.kind(), "session.ping" | "session.pong");
    let mut told: Vec<&Entry> = trace.entries().iter().collect();
    told.retain(|entry| !entry.frame().is_some_and(is_heartbeat));
    let mut text = format!("seed {seed}: {failure}\n\n");
    let before = told.len().saturating_sub(SHOWN);
    if before > 0 {
        text.push_str(&format!("  … {before} entries before these\n"));
    }
    for entry in &told[before..] {
        text.push_str(&format!("{entry}\n"));
    }
    text
}

/// How a scenario failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// It returned an error.
    Scenario(Box<dyn Error>),
    /// It panicked, or one of the tasks beside it. Agents that panic end their jobs and nothing else.
    Panicked {
        /// Who.
        task: String,
        /// With what words.
        message: String,
    },
    /// Nothing can happen any more: nobody has anything to do, and nobody waits for time to pass.
    Deadlock {
        /// When.
        at: Duration,
        /// The tasks that wait beside the scenario.
        waiting: Vec<String>,
    },
    /// The world's [time limit](Simulation::time_limit) was reached.
    OutOfTime {
        /// The limit.
        limit: Duration,
        /// The tasks that wait beside the scenario.
        waiting: Vec<String>,
    },
    /// The world's [step limit](Simulation::step_limit) was reached.
    OutOfSteps {
        /// The limit.
        limit: u64,
        /// The tasks that were polled most, with how often.
        busiest: Vec<(String, u64)>,
    },
    /// The runtime was not started.
    NotStarted(StartError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scenario(error) => write!(f, "the scenario failed: {error}"),
            Self::Panicked { task, message } => write!(f, "{task} panicked: {message}"),
            Self::Deadlock { at, waiting } => {
                write!(f, "nothing can happen any more after {at:?}, and the scenario still waits")?;
                write_waiting(f, waiting)
            }
            Self::OutOfTime { limit, waiting } => {
                write!(f, "the scenario still waits after {limit:?}, the time limit of its world")?;
                write_waiting(f, waiting)
            }
            Self::OutOfSteps { limit, busiest } => {
                write!(
                    f,
                    "the scenario is not over after {limit} steps, the limit of its world; most went to "
                )?;
                let busiest = busiest.iter().map(|(task, polls)| format!("{task} ({polls})"));
                f.write_str(&busiest.collect::<Vec<_>>().join(", "))
            }
            Self::NotStarted(error) => write!(f, "{error}"),
        }
    }
}

fn write_waiting(f: &mut fmt::Formatter<'_>, waiting: &[String]) -> fmt::Result {
    match waiting {
        [] => f.write_str("; there is nobody else"),
        waiting => write!(f, "; so do: {}", waiting.join(", ")),
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Scenario(error) => Some(&**error),
            Self::NotStarted(error) => Some(error),
            _ => None,
        }
    }
}
