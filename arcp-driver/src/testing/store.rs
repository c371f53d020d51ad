//! A store that outlives the runtime.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use arcp_proto::runtime::store::{Command, StoreDone, StoreId};
use arcp_proto::time::Instant;

use super::clock::{NodeClock, Time, VirtualTimer};
use super::random::Random;
use crate::queue::lock;
use crate::store::Store;
use crate::timer::Timer;

/// The disk: what every start of the runtime finds again.
#[derive(Clone)]
pub(super) struct Disk {
    state: Arc<Mutex<State>>,
    time: Arc<Time>,
    /// How long it takes over a command; `None` if it answers at once.
    delay: Option<Range<Duration>>,
}

struct State {
    store: Box<dyn Store>,
    random: Random,
    /// Answers that the store still owes to a runtime that is gone.
    owed: usize,
    /// The same to the one that runs.
    expected: usize,
}

impl Disk {
    pub(super) fn new(
        store: Box<dyn Store>,
        delay: Option<Range<Duration>>,
        time: &Arc<Time>,
        random: Random,
    ) -> Self {
        let state = State { store, random, owed: 0, expected: 0 };
        Self { state: Arc::new(Mutex::new(state)), time: time.clone(), delay }
    }

    /// As a runtime that starts sees it.
    pub(super) fn open(&self) -> OpenDisk {
        let timer = NodeClock::new(&self.time).timer();
        OpenDisk { disk: self.clone(), timer, queue: VecDeque::new(), waker: None }
    }
}

/// The disk in the hands of one runtime. When that crashes, a part of what it had not answered is written, drawn from the seed,
/// and the rest is not.
pub(super) struct OpenDisk {
    disk: Disk,
    timer: VirtualTimer,
    /// Commands that are not carried out yet, with when they will be.
    queue: VecDeque<(Instant, StoreId, Command)>,
    waker: Option<Waker>,
}

impl Store for OpenDisk {
    fn is_durable(&self) -> bool {
        // Durable as far as the runtime can tell: it crashes, and finds everything again.
        true
    }

    fn submit(&mut self, id: StoreId, command: Command) -> Option<StoreDone> {
        let mut state = lock(&self.disk.state);
        let delay = self.disk.delay.as_ref().map(|range| state.random.span(range));
        if delay.is_none() && state.owed == 0 && self.queue.is_empty() {
            let done = state.store.submit(id, command);
            state.expected += usize::from(done.is_none());
            return done;
        }
        let at = self.disk.time.now().after(delay.unwrap_or_default());
        let after = self.queue.back().map_or(at, |(before, ..)| at.max(*before));
        self.queue.push_back((after, id, command));
        drop(state);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        None
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
        let mut state = lock(&self.disk.state);
        while state.owed > 0 {
            // Nobody is left who asked.
            let _ = ready!(state.store.poll_done(cx));
            state.owed -= 1;
        }
        self.waker = Some(cx.waker().clone());
        let now = self.disk.time.now();
        while let Some((_, id, command)) = self.queue.pop_front_if(|(at, ..)| *at <= now) {
            match state.store.submit(id, command) {
                Some(done) => return Poll::Ready((id, done)),
                None => state.expected += 1,
            }
        }
        if state.expected > 0
            && let Poll::Ready(done) = state.store.poll_done(cx)
        {
            state.expected -= 1;
            return Poll::Ready(done);
        }
        if let Some((at, ..)) = self.queue.front() {
            // The timer wakes this task; whether it already has is seen at the next turn.
            let _ = self.timer.poll_until(cx, *at);
        }
        Poll::Pending
    }
}

impl Drop for OpenDisk {
    fn drop(&mut self) {
        let mut state = lock(&self.disk.state);
        let written = state.random.of(&(0..self.queue.len() as u64 + 1));
        for _ in 0..written {
            if let Some((_, id, command)) = self.queue.pop_front() {
                let done = state.store.submit(id, command);
                state.expected += usize::from(done.is_none());
            }
        }
        state.owed += std::mem::take(&mut state.expected);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arcp_proto::config::RuntimeConfig;
    use arcp_proto::runtime::{Recovery, Step};
    use arcp_proto::time::{Now, UnixTime};

    use super::super::random::{SeededEntropy, Stream};
    use super::*;

    /// Counts what it is given; answers the first command with no rows and all others with failure, when it is asked.
    #[derive(Clone, Default)]
    struct Slow(Arc<Mutex<Given>>);

    #[derive(Default)]
    struct Given {
        count: u64,
        answers: VecDeque<(StoreId, StoreDone)>,
    }

    impl Store for Slow {
        fn is_durable(&self) -> bool {
            true
        }

        fn submit(&mut self, id: StoreId, _: Command) -> Option<StoreDone> {
            let mut given = lock(&self.0);
            given.count += 1;
            let done = if given.count == 1 { StoreDone::Rows(Vec::new()) } else { StoreDone::Failed };
            given.answers.push_back((id, done));
            None
        }

        fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
            lock(&self.0).answers.pop_front().map_or(Poll::Pending, Poll::Ready)
        }
    }

    fn disk(slow: &Slow, seed: u64, delay: Option<Range<Duration>>) -> (Disk, Arc<Time>) {
        let time = Time::new(UnixTime::MIN);
        (Disk::new(Box::new(slow.clone()), delay, &time, Random::new(seed, Stream::Store)), time)
    }

    /// What every runtime asks first, by the same id.
    fn question() -> (StoreId, Command) {
        let entropy = Box::new(SeededEntropy::new(0, Stream::Runtime(0)));
        match Recovery::new(RuntimeConfig::default(), entropy, Now::default()).step() {
            Step::NeedsStore { id, command } => (id, command),
            Step::Ready(_) => panic!("nothing was read"),
        }
    }

    fn ask(disk: &mut OpenDisk) -> Option<StoreDone> {
        let (id, command) = question();
        disk.submit(id, command)
    }

    fn poll(disk: &mut OpenDisk) -> Poll<StoreDone> {
        disk.poll_done(&mut Context::from_waker(Waker::noop())).map(|(_, done)| done)
    }

    #[test]
    fn an_answer_is_for_whoever_asked() {
        let (disk, _) = disk(&Slow::default(), 1, None);
        let mut first = disk.open();
        assert!(ask(&mut first).is_none());
        drop(first);
        let mut second = disk.open();
        assert!(ask(&mut second).is_none());
        assert!(matches!(poll(&mut second), Poll::Ready(StoreDone::Failed)));
        assert!(poll(&mut second).is_pending());
    }

    #[test]
    fn a_crash_leaves_a_part_of_what_was_not_answered() {
        let written = |seed| {
            let slow = Slow::default();
            let (disk, _) = disk(&slow, seed, Some(Duration::from_secs(1)..Duration::from_secs(2)));
            let mut open = disk.open();
            for _ in 0..5 {
                assert!(ask(&mut open).is_none());
            }
            assert!(poll(&mut open).is_pending());
            drop(open);
            lock(&slow.0).count
        };
        assert_eq!((0..100).map(written).collect::<BTreeSet<_>>(), (0..=5).collect());
    }

    #[test]
    fn commands_wait_for_their_time_and_keep_their_order() {
        let slow = Slow::default();
        let (disk, time) = disk(&slow, 3, Some(Duration::from_secs(1)..Duration::from_secs(9)));
        let mut open = disk.open();
        for _ in 0..5 {
            assert!(ask(&mut open).is_none());
        }
        let mut counts = Vec::new();
        while counts.last() != Some(&5) {
            while poll(&mut open).is_ready() {}
            counts.push(lock(&slow.0).count);
            if let Some(next) = time.next() {
                time.advance(next);
            }
        }
        assert!(counts.is_sorted() && counts[0] == 0 && counts.len() > 2, "{counts:?}");
        assert!(time.elapsed() >= Duration::from_secs(1) && time.elapsed() < Duration::from_secs(9));
    }
}
