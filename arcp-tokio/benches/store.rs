//! Events of 1, 10 and 100 jobs through a runtime that keeps nothing but memory, and through one that keeps a file and
//! synchronises it, in turns within one run; what one commit for each event would give; and how fast a client that comes
//! back with nothing is given all that is stored.
//!
//! `cargo bench -p arcp-tokio --features sqlite --bench store -- [EVENTS] [ROUNDS] [FOLDER]`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arcp_driver::memory::Switchboard;
use arcp_driver::sqlite::SqliteStore;
use arcp_driver::{Client, ClientConfig, JobContext, Runtime, RuntimeBuilder, RuntimeHandle};
use tokio::sync::Semaphore;

const MESSAGE: &str = "loaded 250 rows of the supplier's feed";
/// Events that are committed one by one.
const ONE_BY_ONE: u64 = 500;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn builder(turns: &Arc<Semaphore>) -> RuntimeBuilder {
    let turns = Arc::clone(turns);
    Runtime::builder()
        .bearer("bench", "bench")
        // So that nothing but the store and the path to it is measured.
        .config(|config| {
            config.limits.running_jobs = 1_000;
            config.limits.jobs = 10_000;
            config.limits.buffered_bytes = u64::MAX;
            config.limits.log_events = 10_000_000;
            config.limits.log_bytes = u64::MAX;
        })
        .agent("talk", |job: JobContext, events: u64| async move {
            for _ in 0..events {
                job.info(MESSAGE).await?;
            }
            Ok(())
        })
        // Says the next thing when the last one has arrived.
        .agent("answer", move |job: JobContext, events: u64| {
            let turns = Arc::clone(&turns);
            async move {
                for _ in 0..events {
                    job.info(MESSAGE).await?;
                    turns.acquire().await.map_err(std::io::Error::other)?.forget();
                }
                Ok(())
            }
        })
}

/// A runtime in this process and a client of it.
fn start(runtime: Runtime) -> Result<(RuntimeHandle, Client), Error> {
    let handle = arcp_tokio::start(runtime);
    Ok((handle.clone(), client(&handle)?))
}

fn client(handle: &RuntimeHandle) -> Result<Client, Error> {
    let board = Switchboard::new(handle.clone(), |task| drop(tokio::spawn(task)));
    Ok(arcp_tokio::spawn_client(board, ClientConfig::new("bench"))?)
}

/// So many jobs share `events`; how long until the client has all of them.
async fn burst(runtime: Runtime, jobs: u64, events: u64) -> Result<Duration, Error> {
    let (handle, client) = start(runtime)?;
    let each = events / jobs;
    let begin = Instant::now();
    let mut followed = Vec::new();
    for _ in 0..jobs {
        let mut job = client.submit("talk").input(&each).await?;
        followed.push(tokio::spawn(async move {
            let mut count = 0;
            while let Some(event) = job.next().await {
                count += u64::from(event?.position().is_some());
            }
            Ok::<_, Error>(count)
        }));
    }
    let mut count = 0;
    for followed in followed {
        count += followed.await??;
    }
    let elapsed = begin.elapsed();
    assert_eq!(count, each * jobs, "every event arrives");
    client.close().await;
    handle.shut_down().await;
    Ok(elapsed)
}

/// Each event is stored and shown before the next one is said.
async fn one_by_one(runtime: Runtime, turns: &Semaphore) -> Result<Duration, Error> {
    let (handle, client) = start(runtime)?;
    let mut job = client.submit("answer").input(&ONE_BY_ONE).await?;
    let begin = Instant::now();
    while let Some(event) = job.next().await {
        if event?.position().is_some() {
            turns.add_permits(1);
        }
    }
    let elapsed = begin.elapsed();
    client.close().await;
    handle.shut_down().await;
    Ok(elapsed)
}

/// A job's stored events for a client that has none of them; the runtime starts from the file.
async fn replay(
    runtime: impl Fn() -> Result<Runtime, Error>,
    events: u64,
) -> Result<(Duration, Duration), Error> {
    let (handle, client) = start(runtime()?)?;
    let mut job = client.submit("talk").input(&events).await?;
    let id = job.id().clone();
    while let Some(event) = job.next().await {
        event?;
    }
    client.close().await;
    handle.shut_down().await;
    let begin = Instant::now();
    let (handle, client) = start(runtime()?)?;
    let mut watch = client.subscribe(&id).history().await?;
    let opened = begin.elapsed();
    let mut count = 0;
    while let Some(event) = watch.next().await {
        count += u64::from(event?.position().is_some());
    }
    let elapsed = begin.elapsed();
    assert_eq!(count, events, "every stored event arrives");
    client.close().await;
    handle.shut_down().await;
    Ok((opened, elapsed - opened))
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// A file that is not there yet.
fn fresh(folder: &Path) -> Result<PathBuf, Error> {
    let path = folder.join("bench.db");
    for end in ["", "-wal", "-shm", "-lock"] {
        let mut name = path.clone().into_os_string();
        name.push(end);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(path)
}

fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let number = |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok());
    let (events, rounds) = (number(0).unwrap_or(100_000), number(1).unwrap_or(5));
    let folder = match words.get(2) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::temp_dir().join(format!("arcp-bench-{}", std::process::id())),
    };
    std::fs::create_dir_all(&folder)?;
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let turns = Arc::new(Semaphore::new(0));
    let sqlite = |path: &Path| -> Result<Runtime, Error> {
        Ok(builder(&turns).store(SqliteStore::open(path)?).build()?)
    };
    println!("{events} events, medians of {rounds} rounds; the file is synchronised at every commit");
    let mut durable_rate = 0.0_f64;
    for jobs in [1, 10, 100] {
        let (mut memory, mut file) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let path = fresh(&folder)?;
            let (a, b) = executor.block_on(async {
                let a = burst(builder(&turns).build()?, jobs, events).await?;
                Ok::<_, Error>((a, burst(sqlite(&path)?, jobs, events).await?))
            })?;
            // The first round warms up.
            if round > 0 {
                memory.push(events as f64 / a.as_secs_f64());
                file.push(events as f64 / b.as_secs_f64());
            }
        }
        let (memory, file) = (median(memory), median(file));
        durable_rate = durable_rate.max(file);
        println!(
            "  {jobs:>3} jobs: memory {:>6.0} k/s, file {:>6.0} k/s, which is {:.2} of it",
            memory / 1e3,
            file / 1e3,
            file / memory
        );
    }
    let path = fresh(&folder)?;
    let elapsed = executor.block_on(async { one_by_one(sqlite(&path)?, &turns).await })?;
    let single = ONE_BY_ONE as f64 / elapsed.as_secs_f64();
    println!(
        "  one commit for each event: {single:.0}/s; in groups {:.0} times as many",
        durable_rate / single
    );
    let path = fresh(&folder)?;
    let (opened, replayed) = executor.block_on(replay(|| sqlite(&path), events))?;
    println!(
        "  {events} stored events after a restart: the first answer in {:.1} ms, then {:.0} k/s",
        opened.as_secs_f64() * 1e3,
        events as f64 / replayed.as_secs_f64() / 1e3
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
