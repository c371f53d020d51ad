//! `arcp ls`: the jobs of a principal.

use std::io::{self, Write};
use std::process::ExitCode;

use arcp_driver::{JobEntry, JobList};

use crate::failure::Failure;
use crate::session::{Session, Target};
use crate::show::Show;
use crate::text::escape;
use crate::{args, describe, json};

/// A list about to be asked for.
pub(crate) struct Plan {
    target: Target,
    status: Vec<String>,
    agent: Option<String>,
}

impl Plan {
    pub(crate) fn new(arguments: args::Ls) -> Result<Self, Failure> {
        let target = Target::new(arguments.target)?;
        Ok(Self { target, status: arguments.status, agent: arguments.agent })
    }

    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let Self { target, status, agent } = self;
        let show: fn(&JobEntry) -> io::Result<()> = if target.json { json::job } else { line };
        let mut session = target.open("arcp-ls", Show::Answer).await?;
        let client = session.client.clone();
        let mut jobs = status.into_iter().fold(client.jobs(), JobList::status);
        if let Some(agent) = agent {
            jobs = jobs.agent(agent);
        }
        let outcome = list(&mut session, jobs, show).await;
        client.close().await;
        outcome
    }
}

async fn list(
    session: &mut Session,
    mut jobs: JobList,
    show: fn(&JobEntry) -> io::Result<()>,
) -> Result<ExitCode, Failure> {
    while let Some(job) = session.wait(jobs.next()).await? {
        show(&job.map_err(|error| Failure::error(describe::client_error(&error)))?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for people: when, how, what, which.
fn line(entry: &JobEntry) -> io::Result<()> {
    let created = entry.created_at.map_or_else(|| "?".into(), |time| time.to_string());
    let status = escape(entry.status.as_deref().unwrap_or("?"));
    let agent = escape(entry.agent.as_deref().unwrap_or("?"));
    let mut out = io::stdout().lock();
    writeln!(out, "{created:<24}  {status:<9}  {}  {agent}", escape(entry.job_id.as_str()))?;
    out.flush()
}
