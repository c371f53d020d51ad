//! Which task runs next: drawn from the seed.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::random::Random;
use crate::queue::lock;

/// The scenario's place among the tasks.
pub(super) const SCENARIO: u64 = 0;

/// Whose task it is: it ends with its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Scenario,
    Client(u32),
    /// So often the runtime was started before.
    Runtime(u32),
}

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    name: String,
    owner: Owner,
    polls: u64,
    /// `None` while it is polled.
    run: Option<Boxed>,
    waker: Waker,
}

/// All tasks but the scenario, which need not be `Send` and stays with whoever runs the world.
pub(super) struct Executor {
    ready: Arc<Ready>,
    tasks: Mutex<Tasks>,
}

struct Tasks {
    all: BTreeMap<u64, Task>,
    next: u64,
    random: Random,
    /// Those whose tasks do not run at the moment, whatever they have to do.
    paused: BTreeSet<Owner>,
}

/// Tasks that have something to do. A set, so that the order in which they were woken does not matter.
struct Ready(Mutex<BTreeSet<u64>>);

struct TaskWaker {
    id: u64,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        lock(&self.ready.0).insert(self.id);
    }
}

/// A task panicked: its name, and what it said.
pub(super) struct Panicked(pub(super) String, pub(super) String);

impl Executor {
    pub(super) fn new(random: Random) -> Self {
        let tasks = Tasks { all: BTreeMap::new(), next: SCENARIO, random, paused: BTreeSet::new() };
        Self { ready: Arc::new(Ready(Mutex::default())), tasks: Mutex::new(tasks) }
    }

    /// The scenario's waker, which has it polled for the first time too.
    pub(super) fn scenario(&self) -> Waker {
        let waker = self.waker(SCENARIO);
        waker.wake_by_ref();
        waker
    }

    fn waker(&self, id: u64) -> Waker {
        Arc::new(TaskWaker { id, ready: self.ready.clone() }).into()
    }

    pub(super) fn spawn(
        &self,
        name: impl Into<String>,
        owner: Owner,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut tasks = lock(&self.tasks);
        tasks.next += 1;
        let id = tasks.next;
        let waker = self.waker(id);
        waker.wake_by_ref();
        let task = Task { name: name.into(), owner, polls: 0, run: Some(Box::pin(task)), waker };
        tasks.all.insert(id, task);
    }

    /// Which task is to run next; `None` if all of them wait.
    pub(super) fn draw(&self) -> Option<u64> {
        let mut ready = lock(&self.ready.0);
        let mut tasks = lock(&self.tasks);
        let Tasks { all, random, paused, .. } = &mut *tasks;
        let runs =
            |id: &&u64| paused.is_empty() || all.get(*id).is_none_or(|task| !paused.contains(&task.owner));
        let index = match ready.iter().filter(runs).count() {
            0 => return None,
            count => random.index(count),
        };
        let id = *ready.iter().filter(runs).nth(index)?;
        ready.remove(&id);
        Some(id)
    }

    /// Has the tasks of an owner stand still, or go on. Whether that is a change.
    pub(super) fn pause(&self, owner: Owner, pause: bool) -> bool {
        let paused = &mut lock(&self.tasks).paused;
        if pause { paused.insert(owner) } else { paused.remove(&owner) }
    }

    /// Runs a task until it waits.
    pub(super) fn poll(&self, id: u64) -> Result<(), Panicked> {
        let mut tasks = lock(&self.tasks);
        let Some(task) = tasks.all.get_mut(&id) else { return Ok(()) };
        let Some(mut run) = task.run.take() else { return Ok(()) };
        task.polls += 1;
        let waker = task.waker.clone();
        drop(tasks);
        let polled = caught(|| run.as_mut().poll(&mut Context::from_waker(&waker)));
        let mut tasks = lock(&self.tasks);
        match (polled, tasks.all.get_mut(&id)) {
            (Ok(Poll::Pending), Some(task)) => task.run = Some(run),
            // Over, or ended meanwhile with its owner.
            (Ok(_), _) => {
                let over = tasks.all.remove(&id);
                drop(tasks);
                drop((over, run));
            }
            (Err(message), task) => {
                let name = task.map(|task| task.name.clone()).unwrap_or_default();
                drop(tasks);
                return Err(Panicked(name, message));
            }
        }
        Ok(())
    }

    /// Drops the tasks of an owner; all, if none is named.
    pub(super) fn end(&self, owner: Option<Owner>) {
        let mut tasks = lock(&self.tasks);
        let is_of = |task: &Task| owner.is_none_or(|owner| task.owner == owner);
        let ids: Vec<u64> = tasks.all.iter().filter(|(_, task)| is_of(task)).map(|(id, _)| *id).collect();
        let ended: Vec<Task> = ids.into_iter().filter_map(|id| tasks.all.remove(&id)).collect();
        drop(tasks);
        // Outside the lock, because what a task drops may wake and start others.
        drop(ended);
    }

    /// The names of all tasks, in the order in which they began.
    pub(super) fn names(&self) -> Vec<String> {
        lock(&self.tasks).all.values().map(|task| task.name.clone()).collect()
    }

    /// The tasks that were polled most, with how often.
    pub(super) fn busiest(&self, most: usize) -> Vec<(String, u64)> {
        let tasks = lock(&self.tasks);
        let mut all: Vec<_> = tasks.all.values().map(|task| (task.name.clone(), task.polls)).collect();
        all.sort_by_key(|(_, polls)| std::cmp::Reverse(*polls));
        all.truncate(most);
        all
    }
}

/// The words of a panic, if there is one.
pub(super) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // What panicked is not looked at again: the world ends with it.
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| words_of(&*panic))
}

pub(super) fn words_of(panic: &(dyn Any + Send)) -> String {
    if let Some(words) = panic.downcast_ref::<String>() {
        words.clone()
    } else if let Some(words) = panic.downcast_ref::<&str>() {
        (*words).to_owned()
    } else {
        "a panic without words".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Stream;
    use super::*;

    /// The order in which four tasks come to each of their three turns.
    fn order(seed: u64, spawn: [usize; 4]) -> Vec<usize> {
        let executor = Executor::new(Random::new(seed, Stream::Schedule));
        let seen = Arc::new(Mutex::new(Vec::new()));
        for name in spawn {
            let seen = seen.clone();
            let mut turns = 0;
            let task = std::future::poll_fn(move |cx| {
                lock(&seen).push(name);
                turns += 1;
                cx.waker().wake_by_ref();
                if turns < 3 { Poll::Pending } else { Poll::Ready(()) }
            });
            executor.spawn(name.to_string(), Owner::Scenario, task);
        }
        while let Some(id) = executor.draw() {
            assert!(executor.poll(id).is_ok());
        }
        assert!(executor.names().is_empty());
        std::mem::take(&mut lock(&seen))
    }

    #[test]
    fn whose_turn_it_is_follows_from_the_seed_alone() {
        let orders: BTreeSet<_> = (0..100).map(|seed| order(seed, [0, 1, 2, 3])).collect();
        assert!(orders.len() > 95, "{}", orders.len());
        assert!((0..100).all(|seed| order(seed, [0, 1, 2, 3]) == order(seed, [0, 1, 2, 3])));
    }

    #[test]
    fn who_stands_still_or_has_ended_gets_no_turn() {
        let executor = Executor::new(Random::new(1, Stream::Schedule));
        let held = Arc::new(());
        for owner in [Owner::Client(1), Owner::Runtime(1)] {
            let held = held.clone();
            executor.spawn("task", owner, async move {
                std::future::pending::<()>().await;
                drop(held);
            });
        }
        assert!(executor.pause(Owner::Client(1), true) && !executor.pause(Owner::Client(1), true));
        let drawn = executor.draw().unwrap();
        assert!(executor.poll(drawn).is_ok() && executor.draw().is_none());
        executor.end(Some(Owner::Runtime(1)));
        assert_eq!(Arc::strong_count(&held), 2);
        assert!(executor.pause(Owner::Client(1), false));
        let resumed = executor.draw().unwrap();
        assert_ne!(resumed, drawn);
        assert!(executor.poll(resumed).is_ok());
        executor.end(None);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
