//! `arcp demo`: five jobs over a real WebSocket, with the cable pulled in the middle of the first, and the runtime stopped and
//! started again in the middle of the last.

mod cable;
mod findings;
mod lease;
mod restart;
mod scenes;
mod stage;
mod tap;

use std::process::ExitCode;
use std::time::Duration;

use self::findings::Findings;
use self::stage::Stage;
use crate::failure::{ERROR, Failure, warn};

/// However slow the machine, it ends.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs it. Exit code 0 only if everything was observed.
pub(crate) async fn run() -> Result<ExitCode, Failure> {
    let findings = tokio::time::timeout(LIMIT, play()).await.unwrap_or_else(|_| {
        Err(Failure::error(format!("the demo took longer than {} s", LIMIT.as_secs())))
    })?;
    let missed = findings.missed();
    for what in missed {
        warn(&format!("not observed: {what}"));
    }
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(ERROR) })
}

async fn play() -> Result<Findings, Failure> {
    let mut stage = Stage::set().await?;
    stage.open().await?;
    scenes::report(&mut stage).await?;
    scenes::cancel(&mut stage).await?;
    scenes::retry(&mut stage).await?;
    lease::research(&mut stage).await?;
    restart::count(&mut stage).await?;
    stage.close().await
}
