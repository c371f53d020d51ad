//! Time that passes when nothing else can happen.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arcp_proto::time::{Instant, Now, UnixTime};

use super::log::Log;
use crate::queue::lock;
use crate::timer::Timer;

/// The one monotonic clock of a world, and who waits for it.
pub(super) struct Time {
    start: UnixTime,
    state: Mutex<State>,
}

struct State {
    now: Instant,
    waiting: BTreeMap<Place, Waker>,
    next: u64,
}

/// A place in the queue of those who wait.
type Place = (Instant, u64);

impl Time {
    pub(super) fn new(start: UnixTime) -> Arc<Self> {
        let state = State { now: Instant::ZERO, waiting: BTreeMap::new(), next: 0 };
        Arc::new(Self { start, state: Mutex::new(state) })
    }

    pub(super) fn now(&self) -> Instant {
        lock(&self.state).now
    }

    /// Since the beginning of the world.
    pub(super) fn elapsed(&self) -> Duration {
        self.now().since(Instant::ZERO)
    }

    /// When the next one is to be woken.
    pub(super) fn next(&self) -> Option<Instant> {
        lock(&self.state).waiting.keys().next().map(|(at, _)| *at)
    }

    /// Moves on to a moment and wakes everybody who waits for it.
    pub(super) fn advance(&self, to: Instant) {
        let mut state = lock(&self.state);
        state.now = state.now.max(to);
        let mut due = Vec::new();
        while let Some(first) = state.waiting.first_entry()
            && first.key().0 <= to
        {
            due.push(first.remove());
        }
        drop(state);
        due.into_iter().for_each(Waker::wake);
    }

    fn wait(&self, until: Instant, waker: &Waker) -> Place {
        let mut state = lock(&self.state);
        state.next += 1;
        let place = (until, state.next);
        state.waiting.insert(place, waker.clone());
        place
    }

    fn leave(&self, place: Place) {
        lock(&self.state).waiting.remove(&place);
    }
}

/// The clocks of a runtime or a client: the monotonic one is the world's, the wall clock its own.
#[derive(Clone)]
pub(super) struct NodeClock {
    time: Arc<Time>,
    /// By how much the wall clock is ahead, in milliseconds.
    ahead: Arc<AtomicI64>,
}

impl NodeClock {
    pub(super) fn new(time: &Arc<Time>) -> Self {
        Self { time: time.clone(), ahead: Arc::default() }
    }

    pub(super) fn now(&self) -> Now {
        let mono = self.time.now();
        let right = self.time.start.after(mono.since(Instant::ZERO));
        let unix = right.as_millis().saturating_add(self.ahead.load(Ordering::Relaxed));
        Now { mono, unix: UnixTime::from_millis(unix) }
    }

    pub(super) fn timer(&self) -> VirtualTimer {
        VirtualTimer { clock: self.clone(), place: None }
    }

    fn shift(&self, millis: i64) {
        let ahead = self.ahead.load(Ordering::Relaxed).saturating_add(millis);
        self.ahead.store(ahead, Ordering::Relaxed);
    }
}

/// What the drivers are given to tell the time by.
pub(super) struct VirtualTimer {
    clock: NodeClock,
    place: Option<Place>,
}

impl VirtualTimer {
    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            self.clock.time.leave(place);
        }
    }
}

impl Timer for VirtualTimer {
    fn now(&self) -> Now {
        self.clock.now()
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        self.leave();
        if self.clock.time.now() >= deadline {
            return Poll::Ready(());
        }
        self.place = Some(self.clock.time.wait(deadline, cx.waker()));
        Poll::Pending
    }
}

impl Drop for VirtualTimer {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Future of [`World::sleep`](super::World::sleep).
#[must_use = "no time passes unless this is awaited"]
pub struct Sleep {
    timer: VirtualTimer,
    until: Instant,
}

impl Sleep {
    pub(super) fn new(time: &Arc<Time>, span: Duration) -> Self {
        Self { timer: NodeClock::new(time).timer(), until: time.now().after(span) }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.until;
        self.timer.poll_until(cx, until)
    }
}

impl std::fmt::Debug for Sleep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleep").field("until", &self.until.since(Instant::ZERO)).finish()
    }
}

/// What `future` comes to, if it does within this time.
pub(super) async fn within<F: Future>(
    time: &Arc<Time>,
    span: Duration,
    future: F,
) -> Result<F::Output, Elapsed> {
    let mut sleep = Sleep::new(time, span);
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => Pin::new(&mut sleep).poll(cx).map(|()| Err(Elapsed(span))),
    })
    .await
}

/// What was waited for by [`World::within`](super::World::within) took longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it took longer than {0:?}")]
pub struct Elapsed(Duration);

/// The wall clock of the runtime or of a client, as an operator who sets it, or a machine that loses it.
///
/// Ends of leases and timestamps follow the wall clock. Heartbeats, windows and grace follow the monotonic one, which never
/// jumps: that is the world's, and [`World::sleep`](super::World::sleep) is how it passes.
#[derive(Clone)]
pub struct WallClock {
    clock: NodeClock,
    whose: Arc<str>,
    log: Arc<Log>,
}

impl WallClock {
    pub(super) fn new(clock: &NodeClock, whose: &Arc<str>, log: &Arc<Log>) -> Self {
        Self { clock: clock.clone(), whose: whose.clone(), log: log.clone() }
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.clock.now().unix
    }

    /// Puts it forward, rounded down to milliseconds.
    pub fn forward(&self, span: Duration) {
        self.clock.shift(millis(span));
        self.log.say(format!("the clock of {} jumps {span:?} ahead", self.whose));
    }

    /// Puts it back, rounded down to milliseconds.
    pub fn back(&self, span: Duration) {
        self.clock.shift(-millis(span));
        self.log.say(format!("the clock of {} jumps {span:?} back", self.whose));
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl std::fmt::Debug for WallClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WallClock({} of {})", self.now(), self.whose)
    }
}
