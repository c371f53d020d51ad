//! `arcp agents`: what a principal may submit to.

use std::io::{self, Write};
use std::process::ExitCode;

use arcp_driver::Versions;

use crate::failure::Failure;
use crate::session::Target;
use crate::show::Show;
use crate::text::escape;
use crate::{args, describe, json};

/// A question about to be asked.
pub(crate) struct Plan {
    target: Target,
}

impl Plan {
    pub(crate) fn new(arguments: args::Agents) -> Result<Self, Failure> {
        Ok(Self { target: Target::new(arguments.target)? })
    }

    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let show: fn(&str, &Versions) -> io::Result<()> = if self.target.json { json::agent } else { line };
        let mut session = self.target.open("arcp-agents", Show::Answer).await?;
        let client = session.client.clone();
        let agents = session.wait(client.agents()).await;
        client.close().await;
        let agents = agents?.map_err(|error| Failure::error(describe::client_error(&error)))?;
        for (name, versions) in agents.iter() {
            show(name, versions)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A line for people: the name, then its versions, the default one marked.
fn line(name: &str, Versions { versions, default }: &Versions) -> io::Result<()> {
    let marked = |version: &String| {
        let mark = if Some(version) == default.as_ref() { " (default)" } else { "" };
        format!("{}{mark}", escape(version))
    };
    let versions = versions.iter().map(marked).collect::<Vec<_>>().join(", ");
    let mut out = io::stdout().lock();
    writeln!(out, "{}", format!("{:<24}  {versions}", escape(name)).trim_end())?;
    out.flush()
}
