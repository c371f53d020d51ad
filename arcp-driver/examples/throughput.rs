//! How many events a second one job carries from its agent to its client, over the memory transport.
//!
//! `cargo run --release --example throughput [events] [threads] [FILE]`; with a file, and the feature `sqlite`, each of them is
//! on the disk before the client has it.

use std::collections::VecDeque;
use std::error::Error;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use arcp_driver::memory::Switchboard;
use arcp_driver::{
    AgentError, Client, ClientConfig, JobContext, Runtime, RuntimeBuilder, SystemClock, Timer,
};
use arcp_proto::time::Now;
use futures_executor::block_on;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let events: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let threads: usize = arguments.next().map_or(Ok(2), |text| text.parse())?;

    let pool = Pool::new(threads);
    let runtime = Runtime::builder()
        .bearer("token", "alice")
        .agent("talk", talk)
        .config(|config| config.limits.hellos_per_second = 1_000);
    let runtime = match arguments.next() {
        Some(file) => durable(runtime, &file)?,
        None => runtime,
    };
    let runtime = runtime.build()?;
    let (handle, endpoint, mut tasks) = runtime.start(ThreadTimer::new());
    pool.spawn(async move { endpoint.await.expect("the memory store does not fail") });
    let spawner = pool.clone();
    pool.spawn(async move {
        while let Some(task) = tasks.next().await {
            spawner.spawn(task);
        }
    });
    let spawner = pool.clone();
    let switchboard = Switchboard::new(handle, move |task| spawner.spawn(task));
    let (client, driver) = Client::with(switchboard, ClientConfig::new("token"), ThreadTimer::new())?;
    pool.spawn(async move {
        driver.await;
    });

    for round in 0..3 {
        let client = client.clone();
        let start = Instant::now();
        let (done, result) = std::sync::mpsc::channel();
        pool.spawn(async move {
            let counted = count(&client, events).await.map_err(|error| error.to_string());
            let _ = done.send(counted);
        });
        let heard = result.recv()??;
        let seconds = start.elapsed().as_secs_f64();
        println!("round {round}: {heard} events in {seconds:.2} s, {:.0} a second", heard as f64 / seconds);
    }
    let start = Instant::now();
    let trips = 20_000;
    let (done, result) = std::sync::mpsc::channel();
    let echo = client.clone();
    pool.spawn(async move {
        for _ in 0..trips {
            let mut job = echo.submit("talk").input(&0).await.expect("accepted");
            job.result_raw().await.expect("a result");
        }
        let _ = done.send(());
    });
    result.recv()?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{trips} submits one after the other: {:.1} µs each", seconds / f64::from(trips) * 1e6);
    block_on(client.close());
    Ok(())
}

#[cfg(feature = "sqlite")]
fn durable(runtime: RuntimeBuilder, file: &str) -> Result<RuntimeBuilder, Box<dyn Error>> {
    Ok(runtime.store(arcp_driver::sqlite::SqliteStore::open(file)?))
}

#[cfg(not(feature = "sqlite"))]
fn durable(_: RuntimeBuilder, _: &str) -> Result<RuntimeBuilder, Box<dyn Error>> {
    Err("a file needs the feature `sqlite`".into())
}

async fn talk(job: JobContext, lines: u64) -> Result<u64, AgentError> {
    for _ in 0..lines {
        job.info("a line of a log as agents write it").await?;
    }
    Ok(lines)
}

async fn count(client: &Client, events: u64) -> Result<u64, Box<dyn Error>> {
    let mut job = client.submit("talk").input(&events).await?;
    let mut heard = 0;
    while let Some(event) = job.next().await {
        heard += u64::from(event?.position().is_some());
    }
    assert_eq!(job.result::<u64>().await?, heard);
    Ok(heard)
}

/// Threads that share a queue of woken tasks, and look at it for a while before they sleep.
#[derive(Clone)]
struct Pool(Arc<Queue>);

#[derive(Default)]
struct Queue {
    tasks: Mutex<VecDeque<Arc<Task>>>,
    sleepers: AtomicUsize,
    bell: Condvar,
}

struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    queued: AtomicBool,
    pool: Pool,
}

impl Pool {
    fn new(threads: usize) -> Self {
        let pool = Self(Arc::default());
        for _ in 0..threads {
            let pool = pool.clone();
            thread::spawn(move || {
                loop {
                    pool.next().run();
                }
            });
        }
        pool
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let future = Mutex::new(Some(Box::pin(future) as Pin<Box<_>>));
        Arc::new(Task { future, queued: AtomicBool::new(false), pool: self.clone() }).wake();
    }

    fn next(&self) -> Arc<Task> {
        for _ in 0..200 {
            if let Some(task) = lock(&self.0.tasks).pop_front() {
                return task;
            }
            for _ in 0..20 {
                std::hint::spin_loop();
            }
        }
        let mut tasks = lock(&self.0.tasks);
        loop {
            if let Some(task) = tasks.pop_front() {
                return task;
            }
            self.0.sleepers.fetch_add(1, Ordering::SeqCst);
            tasks = self.0.bell.wait(tasks).unwrap_or_else(PoisonError::into_inner);
            self.0.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Task {
    fn run(self: Arc<Self>) {
        self.queued.store(false, Ordering::SeqCst);
        let waker = self.clone().into();
        let mut future = lock(&self.future);
        if future
            .as_mut()
            .is_some_and(|future| future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready())
        {
            *future = None;
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            let pool = self.pool.clone();
            lock(&pool.0.tasks).push_back(self);
            if pool.0.sleepers.load(Ordering::SeqCst) > 0 {
                pool.0.bell.notify_one();
            }
        }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A timer with a thread of its own.
struct ThreadTimer {
    clock: SystemClock,
    alarm: Arc<Alarm>,
}

#[derive(Default)]
struct Alarm {
    state: Mutex<(Option<(Instant, Waker)>, bool)>,
    changed: Condvar,
}

impl ThreadTimer {
    fn new() -> Self {
        let alarm = Arc::new(Alarm::default());
        let rings = alarm.clone();
        thread::spawn(move || rings.run());
        Self { clock: SystemClock::new(), alarm }
    }
}

impl Alarm {
    fn run(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        while !state.1 {
            let now = Instant::now();
            let wait = match &state.0 {
                Some((at, _)) if *at <= now => {
                    if let Some((_, waker)) = state.0.take() {
                        waker.wake();
                    }
                    continue;
                }
                Some((at, _)) => Some(*at - now),
                None => None,
            };
            let woken = match wait {
                Some(wait) => self.changed.wait_timeout(state, wait).map(|(state, _)| state).ok(),
                None => self.changed.wait(state).ok(),
            };
            let Some(next) = woken else { return };
            state = next;
        }
    }
}

impl Timer for ThreadTimer {
    fn now(&self) -> Now {
        self.clock.now()
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: arcp_proto::time::Instant) -> Poll<()> {
        if self.clock.now().mono >= deadline {
            return Poll::Ready(());
        }
        let Some(at) = self.clock.std_instant(deadline) else { return Poll::Pending };
        if let Ok(mut state) = self.alarm.state.lock() {
            let is_sooner = state.0.as_ref().is_none_or(|(known, _)| at < *known);
            match &mut state.0 {
                // A later deadline is found by the thread when the earlier one has rung: the task asks again.
                Some((known, waker)) if *known <= at => waker.clone_from(cx.waker()),
                slot => *slot = Some((at, cx.waker().clone())),
            }
            drop(state);
            if is_sooner {
                self.alarm.changed.notify_one();
            }
        }
        Poll::Pending
    }
}

impl Drop for ThreadTimer {
    fn drop(&mut self) {
        if let Ok(mut state) = self.alarm.state.lock() {
            state.1 = true;
        }
        self.alarm.changed.notify_one();
    }
}
