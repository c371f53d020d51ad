//! `arcp submit`: a job from the command line, followed to its end.

use std::future::IntoFuture;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use arcp_driver::{Cancelled, Job, JobError, LeaseRequest, Pending, RawJson, TraceId, UnixTime};

use crate::denial::{self, Denial};
use crate::failure::Failure;
use crate::family::{Family, News};
use crate::session::{Next, Session, Target};
use crate::show::Show;
use crate::{args, describe};

/// A job about to be submitted.
pub(crate) struct Plan {
    target: Target,
    agent: String,
    input: RawJson,
    key: Option<String>,
    max_runtime: Option<Duration>,
    lease: LeaseRequest,
    trace_id: Option<TraceId>,
    children: bool,
}

impl Plan {
    pub(crate) fn new(arguments: args::Submit) -> Result<Self, Failure> {
        let lease = arguments
            .lease
            .into_iter()
            .fold(LeaseRequest::default(), |lease, (capability, pattern)| lease.grant(capability, [pattern]));
        let mut lease = arguments.budget.into_iter().fold(lease, LeaseRequest::budget);
        if let Some(span) = arguments.expires_in {
            lease = lease.expires_in(span);
        }
        if let Some(time) = arguments.expires_at {
            lease = lease.expires_at(time);
        }
        // Each part is in order; what is wrong with them together is found here.
        lease.to_json(UnixTime::from_millis(0)).map_err(|error| Failure::usage(error.message))?;
        Ok(Self {
            target: Target::new(arguments.target)?,
            agent: arguments.agent,
            input: read_input(&arguments.input)?,
            key: arguments.key,
            max_runtime: arguments.max_runtime,
            lease,
            trace_id: arguments.trace_id,
            children: arguments.children,
        })
    }

    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let Self { target, agent, input, key, max_runtime, lease, trace_id, children } = self;
        let show = Show::of(target.json);
        let session = target.open("arcp-submit", show).await?;
        let client = session.client.clone();
        let mut submit = client.submit(agent).input_raw(input).lease_request(lease);
        if let Some(key) = key {
            submit = submit.key(key);
        }
        if let Some(limit) = max_runtime {
            submit = submit.max_runtime(limit);
        }
        if let Some(trace) = trace_id {
            submit = submit.trace_id(trace);
        }
        if children {
            submit = submit.children();
        }
        let outcome =
            Following { session, cancel_asked: false, denied: None }.submit(submit.into_future()).await;
        client.close().await;
        outcome
    }
}

/// JSON, `@FILE`, or `-` for standard input.
fn read_input(argument: &str) -> Result<RawJson, Failure> {
    let text = if argument == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::error(format!("cannot read standard input: {error}")))?;
        bytes
    } else if let Some(path) = argument.strip_prefix('@') {
        std::fs::read(path).map_err(|error| Failure::error(format!("cannot read {path}: {error}")))?
    } else {
        argument.as_bytes().to_vec()
    };
    RawJson::parse(text)
        .map_err(|error| Failure::usage(format!("--input is no JSON that can be sent: {error}")))
}

/// A job on its way, and what may happen meanwhile.
struct Following {
    session: Session,
    cancel_asked: bool,
    /// What the job was refused last.
    denied: Option<Denial>,
}

impl Following {
    async fn submit(mut self, mut accepting: Pending<Job>) -> Result<ExitCode, Failure> {
        let job = loop {
            match self.session.next(&mut accepting).await? {
                Next::Wanted(accepted) => break accepted,
                // The job may have begun, so its name is awaited, to cancel it.
                Next::Signal => self.interrupted()?,
            }
        };
        let mut job = job.map_err(|error| Failure::error(describe::client_error(&error)))?;
        self.session.show.accepted(&job)?;
        self.follow(&mut job).await
    }

    async fn follow(mut self, job: &mut Job) -> Result<ExitCode, Failure> {
        let mut family = Family::of(job);
        let mut cancelling: Option<Pending<Cancelled>> = self.cancel_asked.then(|| cancel(job));
        loop {
            // Polled to its end, so that a refusal is heard.
            let next = match &mut cancelling {
                Some(pending) => {
                    let wanted = async {
                        tokio::select! {
                            answer = pending => Err(answer),
                            news = family.next(job) => Ok(news),
                        }
                    };
                    self.session.next(wanted).await?
                }
                None => self.session.next(async { Ok(family.next(job).await) }).await?,
            };
            let show = &self.session.show;
            match next {
                Next::Signal => {
                    self.interrupted()?;
                    cancelling = Some(cancel(job));
                }
                Next::Wanted(Err(answer)) => {
                    cancelling = None;
                    if let Err(error) = answer {
                        show.notice(&format!("cannot cancel: {}", describe::client_error(&error)))?;
                    }
                }
                Next::Wanted(Ok(News::Own(Ok(event)))) => {
                    show.event(job.id(), &event)?;
                    self.denied = Denial::in_event(&event).or(self.denied);
                }
                Next::Wanted(Ok(News::Own(Err(error)))) => {
                    if matches!(
                        error,
                        JobError::Unreadable | JobError::Lost { .. } | JobError::Missing { .. }
                    ) {
                        show.missing(job.id(), &error)?;
                    }
                }
                Next::Wanted(Ok(News::Begun(id))) => {
                    if let Some(child) = family.child(&id) {
                        show.child_accepted(child)?;
                    }
                }
                Next::Wanted(Ok(News::Of(id, event))) => {
                    if let Some(child) = family.child(&id) {
                        show.of_child(child, &event)?;
                    }
                }
                Next::Wanted(Ok(News::Ended(mut child))) => {
                    let output = child.job.output().await;
                    show.child_end(&child, &output)?;
                }
                Next::Wanted(Ok(News::Over)) => break,
            }
        }
        let output = job.output().await;
        let advice = match &output {
            Err(JobError::Failed { error: Some(error), .. }) => {
                denial::advice(&error.code, self.denied.as_ref())
            }
            _ => None,
        };
        self.session.show.end(job.id(), output, advice.as_deref())
    }

    fn interrupted(&mut self) -> Result<(), Failure> {
        if self.cancel_asked {
            return Err(Failure::error("interrupted again; the job may still run"));
        }
        self.cancel_asked = true;
        Ok(self.session.show.notice("cancelling the job; once more to leave at once")?)
    }
}

fn cancel(job: &Job) -> Pending<Cancelled> {
    job.cancel().reason("interrupted by the user").into_future()
}
