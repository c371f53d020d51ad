//! A file that grows: the memory of the runtime meanwhile, how long a start from the whole of it takes, and how fast a job's
//! log is then given to a client that has nothing.
//!
//! `cargo bench -p arcp-tokio --features sqlite --bench large -- [MEGABYTES] [FOLDER]`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arcp_driver::memory::Switchboard;
use arcp_driver::sqlite::SqliteStore;
use arcp_driver::{Client, ClientConfig, JobContext, Runtime, RuntimeHandle};

/// Events of one job; a job's log keeps 65 536.
const EVENTS: u64 = 50_000;
/// How often the memory is looked at.
const LOOKS: u64 = 8;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn start(path: &Path) -> Result<(RuntimeHandle, Client), Error> {
    let runtime = Runtime::builder()
        .bearer("bench", "bench")
        .config(|config| {
            config.limits.jobs = 100_000;
            config.limits.buffered_bytes = u64::MAX;
        })
        .agent("talk", |job: JobContext, events: u64| async move {
            let message = "x".repeat(180);
            for _ in 0..events {
                job.info(&message).await?;
            }
            Ok(())
        })
        .store(SqliteStore::open(path)?)
        .build()?;
    let handle = arcp_tokio::start(runtime);
    let board = Switchboard::new(handle.clone(), |task| drop(tokio::spawn(task)));
    let client = arcp_tokio::spawn_client(board, ClientConfig::new("bench"))?;
    Ok((handle, client))
}

/// What this process has in memory, in bytes, where the system says so.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = resident.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}

fn length(path: &Path) -> Result<u64, Error> {
    Ok(std::fs::metadata(path)?.len())
}

async fn talk(client: &Client) -> Result<arcp_driver::JobId, Error> {
    let mut job = client.submit("talk").input(&EVENTS).await?;
    let id = job.id().clone();
    while let Some(event) = job.next().await {
        event?;
    }
    Ok(id)
}

async fn grow(path: &Path, goal: u64) -> Result<arcp_driver::JobId, Error> {
    let (handle, client) = start(path)?;
    let begin = Instant::now();
    let (mut jobs, mut looks) = (0, 0);
    let first = talk(&client).await?;
    loop {
        jobs += 1;
        let length = length(path)?;
        while length * LOOKS >= goal * (looks + 1) {
            looks += 1;
            println!(
                "  {:>5} MB of file, {:>9} events: {:>4} MB of memory",
                length >> 20,
                jobs * EVENTS,
                memory() >> 20
            );
        }
        if length >= goal {
            break;
        }
        talk(&client).await?;
    }
    let elapsed = begin.elapsed();
    println!("  written in {:.1} s, {:.0} k events/s", elapsed.as_secs_f64(), rate(jobs * EVENTS, elapsed));
    client.close().await;
    handle.shut_down().await;
    Ok(first)
}

/// In thousands a second.
fn rate(events: u64, elapsed: Duration) -> f64 {
    events as f64 / elapsed.as_secs_f64() / 1e3
}

async fn open(path: &Path, oldest: &arcp_driver::JobId) -> Result<(), Error> {
    let begin = Instant::now();
    let (handle, client) = start(path)?;
    let mut watch = client.subscribe(oldest).history().await?;
    let opened = begin.elapsed();
    let mut count = 0;
    while let Some(event) = watch.next().await {
        count += u64::from(event?.position().is_some());
    }
    let elapsed = begin.elapsed().saturating_sub(opened);
    assert_eq!(count, EVENTS, "every stored event arrives");
    println!(
        "  started on {} MB: the first answer in {:.1} ms; {count} events of the oldest job at {:.0} k/s; {} MB of memory",
        length(path)? >> 20,
        opened.as_secs_f64() * 1e3,
        rate(count, elapsed),
        memory() >> 20
    );
    client.close().await;
    handle.shut_down().await;
    Ok(())
}

fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let Some(path) = words.first().and_then(|word| word.strip_prefix("open:")) {
        let (path, job) = path.split_once('#').ok_or("open:FILE#JOB")?;
        let job = arcp_driver::JobId::new(job).ok_or("not a job's id")?;
        return executor()?.block_on(open(Path::new(path), &job));
    }
    let goal = words.first().map_or(Ok(1_024), |word| word.parse::<u64>())? << 20;
    let folder = match words.get(1) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::temp_dir().join(format!("arcp-large-{}", std::process::id())),
    };
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("large.db");
    println!("a file of {} MB, synchronised at every commit", goal >> 20);
    let oldest = executor()?.block_on(grow(&path, goal))?;
    // Another process, so that nothing is in memory yet.
    let again = format!("open:{}#{oldest}", path.display());
    let status = std::process::Command::new(std::env::current_exe()?).arg(again).status()?;
    std::fs::remove_dir_all(&folder)?;
    if status.success() { Ok(()) } else { Err("the start failed".into()) }
}

fn executor() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
