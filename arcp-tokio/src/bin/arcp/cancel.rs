//! `arcp cancel`: a job is asked to stop.

use std::io::{self, Write};
use std::process::ExitCode;

use arcp_driver::{Cancelled, JobId};

use crate::failure::Failure;
use crate::session::Target;
use crate::show::Show;
use crate::text::escape;
use crate::{args, describe, json};

/// A cancel about to be sent.
pub(crate) struct Plan {
    target: Target,
    job: JobId,
    reason: Option<String>,
}

impl Plan {
    pub(crate) fn new(arguments: args::Cancel) -> Result<Self, Failure> {
        let target = Target::new(arguments.target)?;
        Ok(Self { target, job: arguments.job, reason: arguments.reason })
    }

    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let Self { target, job, reason } = self;
        let show: fn(&JobId, &Cancelled) -> io::Result<()> = if target.json { json::cancelled } else { line };
        let mut session = target.open("arcp-cancel", Show::Answer).await?;
        let client = session.client.clone();
        let cancel = client.cancel(&job);
        let cancel = match reason {
            Some(reason) => cancel.reason(reason),
            None => cancel,
        };
        let answer = session.wait(cancel.into_future()).await;
        client.close().await;
        let cancelled = answer?.map_err(|error| Failure::error(describe::client_error(&error)))?;
        show(&job, &cancelled)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn line(job: &JobId, cancelled: &Cancelled) -> io::Result<()> {
    let job = escape(job.as_str());
    let mut out = io::stdout().lock();
    match &cancelled.current_status {
        Some(status) => writeln!(out, "{job} had ended before: {}", escape(status))?,
        None => writeln!(out, "{job} is being cancelled")?,
    }
    out.flush()
}
