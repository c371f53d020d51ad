//! A real `arcp serve --db` under everything that ends processes and spoils disks, with live sessions on it.
//!
//! The clients are not ours: they speak JSON over a WebSocket, resume with what they have, and keep their own account of
//! all they were sent. Nothing may be missing, come twice or out of order, be renumbered or change; every job ends once, and
//! a key names the same job before and after.

mod account;
mod faults;
mod harness;
mod image;
mod images;
mod promises;
mod recording;
mod server;
mod session;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::Harness;

pub use faults::{DiskFault, FaultCounts, faults};
pub use images::{ImagesReport, images};
pub use server::program;

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Sessions at a time.
    pub sessions: usize,
    /// What decides when, and what is asked for.
    pub seed: u64,
    /// The program.
    pub program: PathBuf,
    /// Where its files are kept.
    pub directory: PathBuf,
}

/// What happened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Kills, each followed by a start on the same file.
    pub cycles: u64,
    /// Jobs that were accepted.
    pub jobs: u64,
    /// Of these, jobs that died with a process.
    pub interrupted: u64,
    /// Numbered frames, each received once.
    pub events: u64,
    /// Submits of a key that had been used.
    pub resubmits: u64,
    /// Submits that were refused because there was no room.
    pub refused: u64,
    /// Sessions that were resumed.
    pub resumes: u64,
    /// The longest time from a start of the process until it listened.
    pub slowest_start: Duration,
    /// The longest time from a kill until every session was resumed and every interrupted job had ended.
    pub slowest_recovery: Duration,
}

/// What every session is told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Orders {
    /// Where the runtime listens, and which start of it that is.
    url: Option<(u64, String)>,
    /// No more jobs are wanted.
    finish: bool,
}

/// Kills the runtime so many times.
///
/// # Errors
/// What was broken, and in which session; or why the runtime could not be run.
pub async fn kills(
    options: &Options,
    cycles: u64,
    mut progress: impl FnMut(&Report),
) -> Result<Report, String> {
    let mut harness = Harness::new(options, options.directory.join("arcp.db"))?;
    harness.start().await?;
    for _ in 0..cycles {
        // Long enough to be in the middle of something, short enough to be so often.
        let span = Duration::from_micros(2_000 + harness.random.below(250_000));
        if let Some(exit) = harness.watch_for_end(span).await? {
            return Err(format!("the runtime ended by itself: {exit}"));
        }
        let killed = Instant::now();
        harness.kill().await?;
        harness.start().await?;
        harness.report.slowest_recovery = harness.report.slowest_recovery.max(killed.elapsed());
        harness.report.cycles += 1;
        progress(&harness.report);
    }
    harness.finish().await?;
    Ok(harness.report)
}
