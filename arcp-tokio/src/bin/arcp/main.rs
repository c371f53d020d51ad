//! The program `arcp`: a demonstration, a runtime with demo agents, and a client for scripts and people.

mod agents;
mod args;
mod cancel;
mod certificates;
mod db;
mod demo;
mod denial;
mod describe;
mod failure;
mod family;
mod issuer;
mod json;
mod ls;
mod offer;
mod parse;
mod replay;
mod serve;
mod session;
mod show;
mod signals;
mod submit;
mod tail;
mod text;
mod timeline;
mod tokens;

use std::process::ExitCode;

use args::{Command, Invocation};
use failure::Failure;

fn main() -> ExitCode {
    match args::invocation() {
        Invocation::Run(command) => run(*command).unwrap_or_else(|failure| failure.report()),
        Invocation::Refused(failure) => failure.report(),
        Invocation::Said => ExitCode::SUCCESS,
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    // Whatever is wrong with the arguments is found before anything starts.
    let work = command.check()?;
    let executor = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::error(format!("cannot start: {error}")))?;
    let code = executor.block_on(work.run());
    // An agent that does not yield must not keep the process from ending.
    executor.shutdown_background();
    code
}
