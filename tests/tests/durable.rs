//! A runtime whose store is a file ends without a word, and another goes on, on both drivers.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arcp_driver::sqlite::{Archive, SqliteStore};
use arcp_driver::{
    AgentError, ErrorCode, EventBody, JobContext, JobError, Runtime, RuntimeBuilder, SessionEvent, Store,
};
use arcp_proto::runtime::store::{Command, StoreDone, StoreId};
use arcp_tests::over_both_drivers;
use arcp_tests::stack::{Stack, url};
use async_std::channel::{Receiver, Sender, unbounded};

over_both_drivers!(
    clients_go_on_with_the_next_runtime,
    a_file_is_let_go_with_its_runtime,
    what_is_no_longer_needed_is_forgotten,
);

/// A directory that is removed with everything in it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("arcp-durable-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(self.file()).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.join("arcp.db")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Fails when it is told to, and with it the runtime.
struct Failing {
    store: SqliteStore,
    fails: Arc<AtomicBool>,
}

impl Store for Failing {
    fn is_durable(&self) -> bool {
        self.store.is_durable()
    }

    fn submit(&mut self, id: StoreId, command: Command) -> Option<StoreDone> {
        if self.fails.load(Ordering::SeqCst) {
            return Some(StoreDone::Failed);
        }
        self.store.submit(id, command)
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
        self.store.poll_done(cx)
    }
}

type Said = std::pin::Pin<Box<dyn Future<Output = Result<u64, AgentError>> + Send>>;

/// Says each number that comes through the channel, and returns how many there were when it closes. It knows how many it
/// has said if it is run again.
fn relayed(numbers: &Receiver<u64>) -> impl Fn(JobContext, ()) -> Said + Send + Sync + 'static {
    let numbers = numbers.clone();
    move |job, ()| {
        let numbers = numbers.clone();
        Box::pin(async move {
            let mut count = job.last_checkpoint::<u64>()?.unwrap_or(0);
            if let Some(restart) = job.restart() {
                let kept = restart.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position);
                count += restart.position - kept;
            }
            while let Ok(number) = numbers.recv().await {
                job.progress(number).await?;
                count += 1;
                job.checkpoint(&count).await?;
            }
            Ok(count)
        })
    }
}

struct Agents {
    steady: (Sender<u64>, Receiver<u64>),
    fragile: (Sender<u64>, Receiver<u64>),
}

impl Agents {
    fn runtime(&self, store: impl Store + 'static) -> Runtime {
        let builder: RuntimeBuilder = Runtime::builder()
            .bearer("token", "alice")
            .agent("steady@1.0.0", relayed(&self.steady.1))
            .agent("fragile@1.0.0", relayed(&self.fragile.1))
            .agent("quick", |_: JobContext, ()| async { Ok(7) })
            .restartable("steady@1.0.0")
            .store(store);
        builder.build().unwrap()
    }

    async fn say(&self, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            self.steady.0.send(number).await.unwrap();
            self.fragile.0.send(number).await.unwrap();
        }
    }
}

async fn clients_go_on_with_the_next_runtime<S: Stack>() {
    let place = Place::new();
    let agents = Agents { steady: unbounded(), fragile: unbounded() };
    let fails = Arc::new(AtomicBool::new(false));
    let store = Failing { store: place.store(), fails: fails.clone() };
    let (first, address) = S::serve(agents.runtime(store)).await;
    let client = S::connect(url(address)).token("token").await.unwrap();
    let mut told = client.events();
    let quick = client.submit("quick").key("k").await.unwrap().id().clone();
    let mut steady = client.submit("steady").await.unwrap();
    let mut fragile = client.submit("fragile").await.unwrap();
    let watcher = S::connect(url(address)).token("token").await.unwrap();
    let mut watch = watcher.subscribe(steady.id()).await.unwrap();
    agents.say(1..=50).await;
    for number in 1..=50 {
        for job in [&mut steady, &mut fragile] {
            let event = job.next().await.unwrap().unwrap();
            assert_eq!(event.position(), Some(number));
            assert!(
                matches!(event.body().unwrap(), EventBody::Progress { current, .. } if current.to_u64() == Some(number))
            );
        }
        assert_eq!(watch.next().await.unwrap().unwrap().position(), Some(number));
    }

    // What is said from here on is not stored, and so not shown.
    fails.store(true, Ordering::SeqCst);
    agents.say(51..=51).await;
    while !matches!(told.next().await, Some(SessionEvent::Disconnected)) {}
    S::shut_down(first).await;

    let (second, _) = S::serve_on(agents.runtime(place.store()), address).await.unwrap();
    agents.say(51..=100).await;
    agents.steady.0.close();
    for number in 51..=100 {
        assert_eq!(steady.next().await.unwrap().unwrap().position(), Some(number));
        assert_eq!(watch.next().await.unwrap().unwrap().position(), Some(number));
    }
    assert_eq!(steady.result::<u64>().await.unwrap(), 100);
    match fragile.result::<u64>().await {
        Err(JobError::Failed { error: Some(error), .. }) => {
            assert_eq!(error.code.as_str(), ErrorCode::InternalError.as_str());
            assert!(error.is_retryable());
        }
        other => panic!("{other:?}"),
    }
    let mut again = client.submit("quick").key("k").await.unwrap();
    assert_eq!(*again.id(), quick);
    assert_eq!(again.result::<u64>().await.unwrap(), 7);
    client.close().await;
    watcher.close().await;
    let mut resumed = Vec::new();
    while let Some(event) = told.next().await {
        if let SessionEvent::Connected(connected) = event {
            resumed.push(connected.resumed);
        }
    }
    assert_eq!(resumed, [true]);
    S::shut_down(second).await;
    assert_eq!(Archive::open(place.file()).unwrap().check().unwrap().damage, []);
}

async fn a_file_is_let_go_with_its_runtime<S: Stack>() {
    let place = Place::new();
    for round in 1..=3 {
        let agents = Agents { steady: unbounded(), fragile: unbounded() };
        let (serving, address) = S::serve(agents.runtime(place.store())).await;
        assert!(SqliteStore::open(place.file()).is_err(), "it is in use");
        let client = S::connect(url(address)).token("token").await.unwrap();
        assert_eq!(client.submit("quick").await.unwrap().result::<u64>().await.unwrap(), 7);
        client.close().await;
        S::shut_down(serving).await;
        assert_eq!(Archive::open(place.file()).unwrap().stats().unwrap().jobs, round);
    }
}

async fn what_is_no_longer_needed_is_forgotten<S: Stack>() {
    let place = Place::new();
    let runtime = Runtime::builder()
        .bearer("token", "alice")
        .agent("talk", |job: JobContext, to: u64| async move {
            for number in 1..=to {
                job.progress(number).await?;
            }
            Ok(to)
        })
        .config(|config| {
            config.resume_window = Duration::from_millis(50);
            config.retention = Duration::from_millis(50);
        })
        .store(place.store());
    let (serving, address) = S::serve(runtime.build().unwrap()).await;
    let client = S::connect(url(address)).token("token").await.unwrap();
    for key in ["a", "b"] {
        let mut job = client.submit("talk").input(&300).key(key).await.unwrap();
        assert_eq!(job.result::<u64>().await.unwrap(), 300);
    }
    client.close().await;
    let archive = Archive::open(place.file()).unwrap();
    // As long as a scenario may take.
    loop {
        let stats = archive.stats().unwrap();
        if [stats.sessions, stats.jobs, stats.events, stats.deliveries] == [0; 4] {
            break;
        }
        async_std::task::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(archive.check().unwrap().damage, []);
    S::shut_down(serving).await;
}
