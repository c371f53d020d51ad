//! The disk fails under a running runtime: writes and synchronisations that end with an error, writes that write nothing, no
//! room left.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::server::Exit;
use super::{Harness, Options, PATIENCE};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// A write ends with `EIO`.
    Write,
    /// A synchronisation ends with `EIO`.
    Sync,
    /// A write writes nothing and says so.
    Short,
    /// There is no room, and later there is again.
    Full,
}

impl DiskFault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Write, Self::Sync, Self::Short, Self::Full];

    /// What `strace` is to do, to the call after so many.
    fn injection(self, call: u64) -> Option<String> {
        match self {
            Self::Write => Some(format!("inject=pwrite64:error=EIO:when={call}")),
            Self::Sync => Some(format!("inject=fsync,fdatasync:error=EIO:when={call}")),
            Self::Short => Some(format!("inject=pwrite64:retval=0:when={call}")),
            Self::Full => None,
        }
    }
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "failed writes",
            Self::Sync => "failed synchronisations",
            Self::Short => "short writes",
            Self::Full => "full disks",
        })
    }
}

/// How often each fault happened, in the order of [`DiskFault::ALL`].
pub type FaultCounts = [u64; 4];

/// Lets each fault happen `times` times under the sessions of a harness.
///
/// # Errors
/// What was lost, or a fault that could not be made.
pub async fn faults(
    options: &Options,
    times: u64,
    mut progress: impl FnMut(&FaultCounts),
) -> Result<FaultCounts, String> {
    let mut counts = FaultCounts::default();
    for (index, fault) in DiskFault::ALL.into_iter().enumerate() {
        let folder = options.directory.join(format!("fault-{index}"));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let disk = if fault == DiskFault::Full { Some(SmallDisk::mount(&folder)?) } else { None };
        let mut harness = Harness::new(options, folder.join("arcp.db"))?;
        harness.start().await?;
        while counts[index] < times {
            match &disk {
                Some(disk) => {
                    fill(&mut harness, disk).await?;
                    counts[index] += 1;
                }
                None => counts[index] += inject(&mut harness, fault).await?,
            }
            progress(&counts);
        }
        harness.finish().await?;
    }
    Ok(counts)
}

/// One process in which one call fails; how many really did.
async fn inject(harness: &mut Harness<'_>, fault: DiskFault) -> Result<u64, String> {
    harness.kill().await?;
    let call = 20 + harness.random.below(if fault == DiskFault::Sync { 300 } else { 2_000 });
    let log = harness.options.directory.join("injected");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-e", "trace=pwrite64,fsync,fdatasync", "-e"]);
    command.arg(fault.injection(call).ok_or("this fault is not injected")?).arg("-o").arg(&log);
    command.arg(&harness.options.program);
    harness.start_as(command).await?;
    let mut exit = harness.watch_for_end(Duration::from_secs(4)).await?;
    let text = fs::read_to_string(&log).unwrap_or_default();
    let fired = text.lines().filter(|line| line.contains("(INJECTED)")).count() as u64;
    if exit.is_none() && fired > 0 && fault != DiskFault::Short {
        exit = harness.watch_for_end(PATIENCE / 2).await?;
    }
    match exit {
        Some(exit) if matches!(fault, DiskFault::Write | DiskFault::Sync) => stopped(&exit)?,
        Some(exit) => return Err(format!("{fault}: the runtime ended: {exit}")),
        None if fired > 0 && fault != DiskFault::Short => {
            return Err(format!("{fault}: the runtime went on"));
        }
        None => harness.kill().await?,
    }
    harness.start().await?;
    Ok(fired.min(1))
}

/// A runtime that cannot store says so and ends with a code of its own.
fn stopped(exit: &Exit) -> Result<(), String> {
    if exit.status.success() || exit.status.code().is_none() || exit.said.is_empty() {
        return Err(format!("the runtime did not end as it should: {exit}"));
    }
    Ok(())
}

/// Takes all room until submits are refused for it, and gives it back.
async fn fill(harness: &mut Harness<'_>, disk: &SmallDisk) -> Result<(), String> {
    disk.fill()?;
    let before = harness.report.refused;
    let began = Instant::now();
    while harness.report.refused == before {
        if began.elapsed() > PATIENCE {
            return Err("a full disk refuses nothing".to_owned());
        }
        if let Some(exit) = harness.watch_for_end(Duration::from_millis(50)).await? {
            return Err(format!("a full disk ended the runtime: {exit}"));
        }
    }
    disk.empty()?;
    // Everybody's keys are accepted again.
    harness.await_progress().await
}

/// A file system of a few MiB.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    const SIZE: &str = "size=24m";

    fn mount(folder: &Path) -> Result<Self, String> {
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", Self::SIZE, "tmpfs"])
            .arg(folder)
            .status()
            .map_err(|error| format!("cannot run mount: {error}"))?;
        if !status.success() {
            return Err("a small file system cannot be mounted here, which takes root".to_owned());
        }
        Ok(Self { folder: folder.to_owned() })
    }

    fn fill(&self) -> Result<(), String> {
        let mut file = fs::File::create(self.folder.join("filler")).map_err(|error| error.to_string())?;
        while file.write_all(&[0; 4_096]).is_ok() {}
        Ok(())
    }

    fn empty(&self) -> Result<(), String> {
        fs::remove_file(self.folder.join("filler")).map_err(|error| error.to_string())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
