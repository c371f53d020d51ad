//! `arcp tail`: a job that was submitted elsewhere, followed to its end.

use std::process::ExitCode;

use arcp_driver::{JobError, JobId, Watch};

use crate::failure::Failure;
use crate::session::{Next, Session, Target};
use crate::show::Show;
use crate::{args, describe};

/// A job about to be followed.
pub(crate) struct Plan {
    target: Target,
    job: JobId,
    history: bool,
}

impl Plan {
    pub(crate) fn new(arguments: args::Tail) -> Result<Self, Failure> {
        let target = Target::new(arguments.target)?;
        Ok(Self { target, job: arguments.job, history: arguments.history })
    }

    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let show = Show::of(self.target.json);
        let mut session = self.target.open("arcp-tail", show).await?;
        let client = session.client.clone();
        let outcome = follow(&mut session, &self.job, self.history).await;
        client.close().await;
        outcome
    }
}

async fn follow(session: &mut Session, job: &JobId, history: bool) -> Result<ExitCode, Failure> {
    let client = session.client.clone();
    let subscribe = client.watch(job);
    let subscribe = if history { subscribe.history() } else { subscribe };
    let mut watch = session
        .wait(subscribe.into_future())
        .await?
        .map_err(|error| Failure::error(describe::client_error(&error)))?;
    session.show.subscribed(&watch)?;
    loop {
        match session.next(watch.next()).await? {
            Next::Signal => return Err(Failure::error("interrupted; the job goes on")),
            Next::Wanted(Some(Ok(event))) => session.show.event(watch.id(), &event)?,
            Next::Wanted(Some(Err(error))) => {
                if matches!(error, JobError::Unreadable | JobError::Lost { .. } | JobError::Missing { .. }) {
                    session.show.missing(watch.id(), &error)?;
                }
            }
            Next::Wanted(None) => return end(session, &mut watch).await,
        }
    }
}

async fn end(session: &Session, watch: &mut Watch) -> Result<ExitCode, Failure> {
    match watch.output().await {
        // Whoever comes late to a streamed result has not seen its beginning. The job is well all the same.
        Err(JobError::Result(fault)) => {
            session.show.success(watch.id(), &format!("its result cannot be put together here: {fault}"))?;
            Ok(ExitCode::SUCCESS)
        }
        output => session.show.end(watch.id(), output, None),
    }
}
