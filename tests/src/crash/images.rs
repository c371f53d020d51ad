//! The power fails: what a disk may hold at any moment of a recorded run is opened again, and must keep what was promised.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arcp_driver::memory::MemoryTransport;
use arcp_driver::sqlite::SqliteStore;
use arcp_driver::transport::{Incoming, Outgoing};
use arcp_driver::{AgentError, JobContext, Runtime, TransportKind};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::image::{Luck, image};
use super::promises::{Promises, Seen};
use super::recording::{CALLS, Recording};
use super::server::Server;
use super::session::{FEATURES, News, Session};
use super::{Options, Orders, PATIENCE, server};
use crate::random::Random;

/// Sessions of the recorded run.
const SESSIONS: usize = 4;

/// What was opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImagesReport {
    /// Images that were opened again.
    pub images: u64,
    /// Writes of the recorded run.
    pub steps: u64,
    /// Numbered frames that had been sent before the power failed, over all images.
    pub promised: u64,
}

/// Records a run of `span` and opens `count` images of it.
///
/// # Errors
/// A promise that an image does not keep, or why nothing could be recorded.
pub async fn images(
    options: &Options,
    span: Duration,
    count: u64,
    mut progress: impl FnMut(&ImagesReport),
) -> Result<ImagesReport, String> {
    let database = options.directory.join("recorded");
    fs::create_dir_all(&database).map_err(|error| error.to_string())?;
    let tokens = server::tokens(options)?;
    let log = record(options, &database, &tokens, span).await?;
    let recording = Recording::read(&log, &database)?;
    let promises = Promises::read(&recording)?;
    if promises.sessions.values().all(|seen| seen.frames.is_empty()) {
        return Err("nothing was sent in the recorded run".to_owned());
    }
    let mut report = ImagesReport { steps: recording.steps.len() as u64, ..ImagesReport::default() };
    let mut random = Random::new(options.seed);
    for number in 0..count {
        // Every step comes in turn, with every kind of luck.
        let steps = usize::try_from(number * recording.steps.len() as u64 / count.max(1)).unwrap_or(0);
        let luck = *random.of(&[Luck::None, Luck::All, Luck::Some, Luck::Some]);
        let files = image(&recording, steps, luck, &mut random);
        let folder = options.directory.join("image");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        for (path, content) in recording.files.iter().zip(&files) {
            if let (Some(name), Some(content)) = (path.file_name(), content) {
                write_private(&folder.join(name), content).map_err(|error| error.to_string())?;
            }
        }
        report.promised += judge(&folder, &promises, steps, tokens.of(0))
            .await
            .map_err(|what| format!("after {steps} steps, of what was not synchronised {luck:?}: {what}"))?;
        report.images += 1;
        progress(&report);
    }
    Ok(report)
}

/// What `strace` prints of a runtime with a few sessions.
async fn record(
    options: &Options,
    folder: &Path,
    tokens: &server::Tokens,
    span: Duration,
) -> Result<String, String> {
    let output = options.directory.join("strace");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-y", "-xx", "-s", "4194304", "-e"]).arg(format!("trace={CALLS}")).arg("-o");
    command.arg(&output).arg(&options.program);
    let server = Server::start_as(command, &folder.join("arcp.db"), tokens).await?;
    let url = Some((1, server.url().to_owned()));
    let (orders, hear) = watch::channel(Orders { url, finish: false });
    let (tell, mut news) = mpsc::unbounded_channel();
    for index in 0..SESSIONS {
        let session = Session::new(index, tokens.of(0).to_owned(), options.seed + index as u64, tell.clone());
        tokio::spawn(session.without_acknowledgements().run(hear.clone()));
    }
    tokio::time::sleep(span).await;
    server.kill().await?;
    drop(orders);
    while let Ok(heard) = news.try_recv() {
        if let News::Broken { session, what } = heard {
            return Err(format!("session {session} of the recorded run: {what}"));
        }
    }
    // The tracer writes the last of it when the traced process is gone.
    for _ in 0..600 {
        let text = fs::read_to_string(&output).map_err(|error| error.to_string())?;
        if text.lines().rev().take(40).any(|line| line.ends_with("+++ killed by SIGKILL +++")) {
            return Ok(text);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("the recording does not end".to_owned())
}

/// As the runtime makes its files.
fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

async fn nothing(_job: JobContext, _input: Value) -> Result<Value, AgentError> {
    Ok(Value::Null)
}

/// Whether the files keep what had been sent when so many steps were done. The numbered frames there were.
async fn judge(folder: &Path, promises: &Promises, steps: usize, token: &str) -> Result<u64, String> {
    let path: PathBuf = folder.join("arcp.db");
    let store = SqliteStore::open(&path).map_err(|error| format!("it cannot be opened: {error}"))?;
    let runtime = Runtime::builder().bearer(token, "principal-0").store(store);
    let runtime = runtime.agent("count@1.0.0", nothing).agent("sleep@1.0.0", nothing);
    let runtime = arcp_tokio::start(runtime.build().map_err(|error| error.to_string())?);
    let runtime = Arc::new(runtime);
    let mut kept = 0;
    for (session, seen) in &promises.sessions {
        let Some((_, resume_token)) = seen.welcome.as_ref().filter(|(at, _)| *at < steps) else { continue };
        let (client, end) = arcp_driver::memory::pair();
        let serving = runtime.accept(end, TransportKind::Memory);
        let serving = tokio::spawn(serving);
        let asked = resume(client, session, resume_token, token, seen, steps);
        let result = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("no more comes".to_owned()));
        kept += result.map_err(|what| format!("{session}: {what}"))?;
        serving.abort();
    }
    runtime.shut_down().await;
    Ok(kept)
}

/// Resumes a session from its beginning and reads all that was promised.
async fn resume(
    mut client: MemoryTransport,
    session: &str,
    resume_token: &str,
    token: &str,
    seen: &Seen,
    steps: usize,
) -> Result<u64, String> {
    let hello = json!({
        "arcp": "1.1", "id": "again", "type": "session.hello",
        "payload": {
            "auth": {"scheme": "bearer", "token": token},
            "capabilities": {"encodings": ["json"], "features": FEATURES},
            "resume": {"session_id": session, "resume_token": resume_token, "last_event_seq": 0},
        },
    });
    let lost = || "the connection ended".to_owned();
    client.send(Outgoing::Frame(hello.to_string())).await.map_err(|_| lost())?;
    let mut promised: std::collections::BTreeMap<u64, &str> = seen
        .frames
        .iter()
        .filter(|(_, (at, _))| *at < steps)
        .map(|(seq, (_, text))| (*seq, text.as_str()))
        .collect();
    let mut open: Vec<&str> =
        seen.accepted.iter().filter(|(at, _)| *at < steps).map(|(_, job)| job.as_str()).collect();
    let (kept, mut last) = (promised.len() as u64, 0);
    loop {
        let Some(Ok(Incoming::Frame(bytes))) = client.next().await else {
            return Err(lost());
        };
        let frame: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        match frame["type"].as_str().unwrap_or_default() {
            "session.error" => return Err(format!("refused: {}", frame["payload"])),
            "job.event" | "job.result" | "job.error" => {
                let seq = frame["event_seq"].as_u64().unwrap_or_default();
                if seq != last + 1 {
                    return Err(format!("number {seq} where {} is due", last + 1));
                }
                last = seq;
                if promised.remove(&seq).is_some_and(|text| text.as_bytes() != bytes) {
                    return Err(format!("number {seq} was another frame"));
                }
                if frame["type"] != "job.event" {
                    open.retain(|job| frame["job_id"] != *job);
                }
            }
            _ => {}
        }
        if frame["type"] != "session.ping" && promised.is_empty() && open.is_empty() {
            return Ok(kept);
        }
    }
}
