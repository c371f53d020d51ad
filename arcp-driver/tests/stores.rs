//! Runtimes over stores that take their time, fail, and outlive them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::collections::VecDeque;
use std::future::{IntoFuture, Ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use arcp_driver::memory::{LinkDown, MemoryTransport, Switchboard};
use arcp_driver::{
    AgentError, Connector, EndpointError, JobContext, MemoryStore, Runtime, RuntimeEvent, SessionEvent,
    Store, TransportKind,
};
use arcp_proto::runtime::store::{Command, StoreDone, StoreId};
use common::{Counting, World};

async fn count(job: JobContext, to: u64) -> Result<u64, AgentError> {
    for number in 1..=to {
        job.progress(number).of(to).await?;
    }
    Ok(to)
}

/// Carries commands out at once and answers when it is asked the time after next, the last one first.
#[derive(Default)]
struct Late {
    tables: MemoryStore,
    answers: VecDeque<(StoreId, StoreDone)>,
    asked: bool,
    waiting: Option<Waker>,
}

impl Store for Late {
    fn is_durable(&self) -> bool {
        false
    }

    fn submit(&mut self, id: StoreId, command: Command) -> Option<StoreDone> {
        let done = self.tables.submit(id, command)?;
        self.answers.push_front((id, done));
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
        None
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
        self.asked = !self.asked;
        match self.answers.pop_front() {
            Some(answer) if !self.asked => Poll::Ready(answer),
            Some(answer) => {
                self.answers.push_front(answer);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                self.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[test]
fn a_store_may_answer_later_and_in_any_order() {
    let world = World::new();
    let (_runtime, client, switchboard) =
        world.pair(Runtime::builder().agent("count", count).store(Late::default()));
    world.run(async move {
        for _ in 0..3 {
            let mut job = client.submit("count").input(&2_000).await.unwrap();
            let mut expected = 1;
            while let Some(event) = job.next().await {
                if let Some(position) = event.unwrap().position() {
                    assert_eq!(position, expected);
                    expected += 1;
                }
                if expected == 1_000 {
                    switchboard.cut();
                }
            }
            assert_eq!(job.result::<u64>().await.unwrap(), 2_000);
        }
    });
}

/// A store that is shared with the test, and fails on demand.
#[derive(Clone, Default)]
struct Shared {
    tables: Arc<Mutex<MemoryStore>>,
    fails: Arc<AtomicBool>,
}

impl Store for Shared {
    fn is_durable(&self) -> bool {
        false
    }

    fn submit(&mut self, id: StoreId, command: Command) -> Option<StoreDone> {
        if self.fails.load(Ordering::SeqCst) {
            return Some(StoreDone::Failed);
        }
        self.tables.lock().unwrap().submit(id, command)
    }

    fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
        Poll::Pending
    }
}

#[test]
fn a_failed_store_cuts_everything() {
    let world = World::new();
    let store = Shared::default();
    let runtime = Runtime::builder()
        .bearer("token", "alice")
        .agent("count", count)
        .store(store.clone())
        .entropy(Counting(1))
        .build()
        .unwrap();
    let (handle, endpoint, mut tasks) = runtime.start(world.timer());
    let ended = Arc::new(Mutex::new(None));
    let end = ended.clone();
    world.spawn(async move { *end.lock().unwrap() = Some(endpoint.await) });
    let spawner = world.clone();
    world.spawn(async move {
        while let Some(task) = tasks.next().await {
            spawner.spawn(task);
        }
    });
    let switchboard = world.switchboard(&handle);
    let client = world.client(switchboard.clone());
    world.run(async move {
        client.connected().await.unwrap();
        let mut events = client.events();
        store.fails.store(true, Ordering::SeqCst);
        let submit = client.submit("count").input(&1).into_future();
        switchboard.set_down(true);
        assert!(matches!(events.next().await, Some(SessionEvent::Disconnected)));
        assert!(matches!(events.next().await, Some(SessionEvent::ConnectFailed(words)) if &*words == "the link is down"));
        drop((submit, handle));
    });
    assert_eq!(*ended.lock().unwrap(), Some(Err(EndpointError::Halted)));
}

/// Connects to whichever runtime is there.
#[derive(Clone)]
struct Current(Arc<Mutex<Switchboard>>);

impl Connector for Current {
    type Transport = MemoryTransport;
    type Error = LinkDown;
    type Connecting = Ready<Result<MemoryTransport, LinkDown>>;

    fn kind(&self) -> TransportKind {
        TransportKind::Memory
    }

    fn connect(&mut self) -> Self::Connecting {
        self.0.lock().unwrap().connect()
    }
}

#[test]
fn a_runtime_continues_from_its_store() {
    let world = World::new();
    let store = Shared::default();
    let start = |seed| {
        let runtime = Runtime::builder()
            .bearer("token", "alice")
            .agent("count", count)
            .store(store.clone())
            .entropy(Counting(seed))
            .build()
            .unwrap();
        let handle = world.start(runtime);
        let switchboard = world.switchboard(&handle);
        (handle, switchboard)
    };
    let (first, switchboard) = start(1);
    let current = Current(Arc::new(Mutex::new(switchboard)));
    let client = world.client(current.clone());
    let mut events = client.events();
    let asking = client.clone();
    let job = world.run(async move {
        let mut job = asking.submit("count").input(&500).key("k").await.unwrap();
        for position in 1..=200 {
            assert_eq!(job.next().await.unwrap().unwrap().position(), Some(position));
        }
        first.shut_down().await;
        job
    });
    let (_second, switchboard) = start(2);
    *current.0.lock().unwrap() = switchboard;
    let id = job.id().clone();
    let mut job = job;
    world.run(async move {
        for position in 201..=500 {
            assert_eq!(job.next().await.unwrap().unwrap().position(), Some(position));
        }
        assert_eq!(job.result::<u64>().await.unwrap(), 500);
        let mut again = client.submit("count").input(&500).key("k").await.unwrap();
        assert_eq!(*again.id(), id);
        assert_eq!(again.result::<u64>().await.unwrap(), 500);
        let mut connects = Vec::new();
        client.close().await;
        while let Some(event) = events.next().await {
            if let SessionEvent::Connected(connected) = event {
                connects.push(connected.resumed);
            }
        }
        assert_eq!(connects, [false, true]);
    });
}

#[test]
fn observers_see_what_happens_and_cannot_harm() {
    let world = World::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("count", count).observer(move |event| {
        log.lock().unwrap().push(event.clone());
        assert!(!matches!(event, RuntimeEvent::JobEnded { .. }), "as the test wants it");
    }));
    world.run(async move {
        for _ in 0..2 {
            assert_eq!(client.submit("count").input(&1).await.unwrap().result::<u64>().await.unwrap(), 1);
        }
    });
    let seen = seen.lock().unwrap();
    assert!(
        matches!(&seen[0], RuntimeEvent::SessionAttached { principal, resumed: false, .. } if &**principal == "alice")
    );
    assert!(matches!(seen[1], RuntimeEvent::JobAccepted { .. }));
    assert!(matches!(seen[2], RuntimeEvent::JobEnded { .. }));
    assert_eq!(seen.len(), 3, "one that panicked is not asked again");
}
