//! `arcp ls`: the jobs of a principal.

use std::io::{self, Write};
use std::process::ExitCode;

use arcp_driver::{JobEntry, JobList, UnixTime};
use arcp_proto::wire::list::LARGEST_PAGE;

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
    created_after: Option<UnixTime>,
    created_before: Option<UnixTime>,
    limit: Option<u64>,
}

impl Plan {
    pub(crate) fn new(arguments: args::Ls) -> Result<Self, Failure> {
        let args::Ls { status, agent, created_after, created_before, limit, target } = arguments;
        Ok(Self { target: Target::new(target)?, status, agent, created_after, created_before, limit })
    }

    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let Self { target, status, agent, created_after, created_before, limit } = self;
        let show: fn(&JobEntry) -> io::Result<()> = if target.json { json::job } else { line };
        let mut session = target.open("arcp-ls", Show::Answer).await?;
        let client = session.client.clone();
        let mut jobs = status.into_iter().fold(client.jobs(), JobList::status);
        if let Some(agent) = agent {
            jobs = jobs.agent(agent);
        }
        if let Some(time) = created_after {
            jobs = jobs.created_after(time);
        }
        if let Some(time) = created_before {
            jobs = jobs.created_before(time);
        }
        if let Some(limit) = limit {
            jobs = jobs.page_size(limit.min(LARGEST_PAGE));
        }
        let outcome = list(&mut session, jobs, limit.unwrap_or(u64::MAX), show).await;
        client.close().await;
        outcome
    }
}

async fn list(
    session: &mut Session,
    mut jobs: JobList,
    mut left: u64,
    show: fn(&JobEntry) -> io::Result<()>,
) -> Result<ExitCode, Failure> {
    while left > 0
        && let Some(job) = session.wait(jobs.next()).await?
    {
        left -= 1;
        show(&job.map_err(|error| Failure::error(describe::client_error(&error)))?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for people: when, how, what, which.
pub(crate) fn line(entry: &JobEntry) -> io::Result<()> {
    let created = entry.created_at.map_or_else(|| "?".into(), |time| time.to_string());
    let status = escape(entry.status.as_deref().unwrap_or("?"));
    let agent = escape(entry.agent.as_deref().unwrap_or("?"));
    let parent = entry
        .parent_job_id
        .as_ref()
        .map_or_else(String::new, |parent| format!("  delegated by {}", escape(parent.as_str())));
    let mut out = io::stdout().lock();
    writeln!(out, "{created:<24}  {status:<9}  {}  {agent}{parent}", escape(entry.job_id.as_str()))?;
    out.flush()
}
