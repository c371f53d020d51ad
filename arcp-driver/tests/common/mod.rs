//! A world of one thread in which time passes only when nothing else can happen.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use arcp_driver::memory::Switchboard;
use arcp_driver::{Client, ClientConfig, Connector, Runtime, RuntimeBuilder, RuntimeHandle, Timer, UnixTime};
use arcp_proto::entropy::Entropy;
use arcp_proto::time::{Instant, Now};

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs tasks in the order in which they were woken; moves the clock to the next deadline when all of them wait.
#[derive(Clone)]
pub(crate) struct World {
    shared: Arc<Shared>,
}

struct Shared {
    ready: Mutex<VecDeque<usize>>,
    tasks: Mutex<BTreeMap<usize, BoxFuture>>,
    next: Mutex<usize>,
    clock: Mutex<Clock>,
}

struct Clock {
    now: Now,
    sleepers: Vec<(Instant, usize, Waker)>,
}

/// Virtual time a test may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(3 * 3_600);

/// Polls a test may take without any time passing.
const MANY_POLLS: u32 = 1_000_000;

impl World {
    pub(crate) fn new() -> Self {
        let now = Now { mono: Instant::ZERO, unix: UnixTime::parse_rfc3339("2026-08-14T09:30:00Z").unwrap() };
        Self {
            shared: Arc::new(Shared {
                ready: Mutex::default(),
                tasks: Mutex::default(),
                next: Mutex::new(0),
                clock: Mutex::new(Clock { now, sleepers: Vec::new() }),
            }),
        }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut next = self.shared.next.lock().unwrap();
        *next += 1;
        self.shared.tasks.lock().unwrap().insert(*next, Box::pin(task));
        self.shared.ready.lock().unwrap().push_back(*next);
    }

    /// Runs the world until `main` is done.
    pub(crate) fn run<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> T {
        let result = Arc::new(Mutex::new(None));
        let into = result.clone();
        self.spawn(async move {
            let value = main.await;
            *into.lock().unwrap() = Some(value);
        });
        loop {
            self.run_until_stalled();
            if let Some(value) = result.lock().unwrap().take() {
                return value;
            }
            assert!(self.pass_time(), "nothing can happen any more");
        }
    }

    /// Runs until every task waits for time or for ever.
    pub(crate) fn run_until_stalled(&self) {
        let mut polls = 0;
        while let Some(id) = self.next_ready() {
            polls += 1;
            assert!(polls < MANY_POLLS, "the test never comes to rest");
            let Some(mut task) = self.shared.tasks.lock().unwrap().remove(&id) else { continue };
            let waker = Waker::from(Arc::new(TaskWaker { id, shared: self.shared.clone() }));
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                self.shared.tasks.lock().unwrap().insert(id, task);
            }
        }
    }

    fn next_ready(&self) -> Option<usize> {
        self.shared.ready.lock().unwrap().pop_front()
    }

    fn pass_time(&self) -> bool {
        let mut clock = self.shared.clock.lock().unwrap();
        let Some(at) = clock.sleepers.iter().map(|(at, ..)| *at).min() else { return false };
        assert!(at.since(Instant::ZERO) < PATIENCE, "the test is stuck");
        let step = at.since(clock.now.mono);
        clock.now = clock.now.after(step);
        let (due, later) =
            std::mem::take(&mut clock.sleepers).into_iter().partition(|(when, ..)| *when <= at);
        clock.sleepers = later;
        drop(clock);
        let due: Vec<(Instant, usize, Waker)> = due;
        due.into_iter().for_each(|(.., waker)| waker.wake());
        true
    }

    pub(crate) fn now(&self) -> Now {
        self.shared.clock.lock().unwrap().now
    }

    pub(crate) fn timer(&self) -> VirtualTimer {
        let mut next = self.shared.next.lock().unwrap();
        *next += 1;
        VirtualTimer { id: *next, shared: self.shared.clone() }
    }

    /// Waits for virtual time to pass.
    pub(crate) fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send + use<> {
        let mut timer = self.timer();
        let until = self.now().mono.after(span);
        std::future::poll_fn(move |cx| timer.poll_until(cx, until))
    }

    /// Lets every other task run until it waits.
    pub(crate) fn settle(&self) -> impl Future<Output = ()> + Send + use<> {
        self.sleep(Duration::from_micros(1))
    }

    pub(crate) fn runtime(&self, builder: RuntimeBuilder) -> RuntimeHandle {
        self.start(builder.bearer("token", "alice").entropy(Counting(1)).build().unwrap())
    }

    pub(crate) fn start(&self, runtime: Runtime) -> RuntimeHandle {
        let (handle, endpoint, mut tasks) = runtime.start(self.timer());
        self.spawn(async move { endpoint.await.unwrap() });
        let world = self.clone();
        self.spawn(async move {
            while let Some(task) = tasks.next().await {
                world.spawn(task);
            }
        });
        handle
    }

    pub(crate) fn switchboard(&self, runtime: &RuntimeHandle) -> Switchboard {
        let world = self.clone();
        Switchboard::new(runtime.clone(), move |task| world.spawn(task))
    }

    pub(crate) fn client(&self, connector: impl Connector + 'static) -> Client
where {
        self.client_with(connector, ClientConfig::new("token"))
    }

    pub(crate) fn client_with<C: Connector + 'static>(&self, connector: C, config: ClientConfig) -> Client {
        let (client, driver) = Client::with_entropy(connector, config, self.timer(), Box::new(Counting(100)));
        self.spawn(async move {
            driver.await;
        });
        client
    }

    /// A runtime, a client of it, and the link between them.
    pub(crate) fn pair(&self, builder: RuntimeBuilder) -> (RuntimeHandle, Client, Switchboard) {
        let runtime = self.runtime(builder);
        let switchboard = self.switchboard(&runtime);
        let client = self.client(switchboard.clone());
        (runtime, client, switchboard)
    }
}

struct TaskWaker {
    id: usize,
    shared: Arc<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.shared.ready.lock().unwrap();
        if !ready.contains(&self.id) {
            ready.push_back(self.id);
        }
    }
}

pub(crate) struct VirtualTimer {
    id: usize,
    shared: Arc<Shared>,
}

impl Timer for VirtualTimer {
    fn now(&self) -> Now {
        self.shared.clock.lock().unwrap().now
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let mut clock = self.shared.clock.lock().unwrap();
        clock.sleepers.retain(|(_, id, _)| *id != self.id);
        if clock.now.mono >= deadline {
            return Poll::Ready(());
        }
        clock.sleepers.push((deadline, self.id, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for VirtualTimer {
    fn drop(&mut self) {
        self.shared.clock.lock().unwrap().sleepers.retain(|(_, id, _)| *id != self.id);
    }
}

/// Different bytes each time, the same in every run.
pub(crate) struct Counting(pub(crate) u64);

impl Entropy for Counting {
    fn fill_public(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            // SplitMix64: short, and well mixed.
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = mixed.to_le_bytes()[7];
        }
    }

    fn fill_secret(&mut self, bytes: &mut [u8]) {
        self.fill_public(bytes);
    }
}
