//! `arcp submit`: a job from the command line, followed to its end.

use std::future::IntoFuture;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use arcp_driver::websocket::ConnectOptions;
use arcp_driver::{
    Client, ClientConfig, Connected, FinalStatus, Job, JobError, JobEvent, JobOutput, Pending, RawJson,
    Secret, SessionEvent, SessionEvents,
};
use arcp_tokio::connector;

use crate::failure::{CANCELLED, ERROR, Failure, TIMED_OUT};
use crate::signals::Signals;
use crate::text::{count, escape, escape_lines};
use crate::timeline::{Timeline, Tone};
use crate::tokens::check_token;
use crate::{args, describe, json, session};

/// Attempts in vain after which a session that stood once is given up: with the back-off, about a minute.
const RECONNECT_ATTEMPTS: u32 = 12;

/// A job about to be submitted.
pub(crate) struct Plan {
    url: String,
    options: ConnectOptions,
    authority: String,
    token: Secret,
    agent: String,
    input: RawJson,
    key: Option<String>,
    max_runtime: Option<Duration>,
    attempts: u32,
    json: bool,
}

impl Plan {
    pub(crate) fn new(arguments: args::Submit) -> Result<Self, Failure> {
        let token = arguments.token.unwrap_or_default();
        if token.is_empty() {
            return Err(Failure::usage("no token: give one with --token or in ARCP_TOKEN"));
        }
        check_token(&token).map_err(|why| Failure::usage(format!("--token: {why}")))?;
        let options = ConnectOptions {
            allow_plaintext_beyond_loopback: arguments.unsafe_plaintext_beyond_loopback,
            ..ConnectOptions::default()
        };
        arguments
            .url
            .check(options.allow_plaintext_beyond_loopback)
            .map_err(|error| Failure::usage(format!("--url: {error}")))?;
        let input = read_input(&arguments.input)?;
        Ok(Self {
            url: arguments.url.to_string(),
            options,
            authority: arguments.url.authority(),
            token: Secret::new(token),
            agent: arguments.agent,
            input,
            key: arguments.key,
            max_runtime: arguments.max_runtime,
            attempts: arguments.attempts,
            json: arguments.json,
        })
    }

    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let connector =
            connector(&self.url, self.options).map_err(|error| Failure::usage(format!("--url: {error}")))?;
        let mut signals =
            Signals::new().map_err(|error| Failure::error(format!("cannot hear signals: {error}")))?;
        let mut config = ClientConfig::new(self.token.clone());
        config.name = "arcp-submit".into();
        config.max_attempts = Some(RECONNECT_ATTEMPTS.max(self.attempts));
        let (client, mut events) = session::start(connector, config)?;
        let show = if self.json { Show::Json } else { Show::People(Timeline::begin()) };

        tokio::select! {
            opened = self.open(&mut events, &show) => opened?,
            () = signals.next() => return Err(Failure::error("interrupted before the runtime was reached")),
        }
        let outcome =
            Following { show: &show, events, signals, cancel_asked: false }.submit(&client, &self).await;
        client.close().await;
        outcome
    }

    /// Waits for the session, as many attempts as there may be.
    async fn open(&self, events: &mut SessionEvents, show: &Show) -> Result<(), Failure> {
        let mut attempts = 0;
        let mut why = String::from("the connection ended before the runtime answered");
        while attempts < self.attempts {
            match events.next().await {
                Some(SessionEvent::Connected(connected)) => return Ok(show.connected(&connected)?),
                Some(SessionEvent::ConnectFailed(reason)) => {
                    attempts += 1;
                    why = reason.to_string();
                }
                Some(SessionEvent::Disconnected) => attempts += 1,
                Some(SessionEvent::Closed(reason)) => {
                    return Err(Failure::error(format!("{}: {}", self.authority, describe::closed(&reason))));
                }
                Some(_) => {}
                None => break,
            }
        }
        let attempts = count(attempts.into(), "attempt");
        Err(Failure::error(format!("cannot connect to {} after {attempts}: {why}", self.authority)))
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

/// For whom the events are.
enum Show {
    People(Timeline),
    Json,
}

impl Show {
    fn connected(&self, connected: &Connected) -> std::io::Result<()> {
        match self {
            Self::Json => json::connected(connected),
            Self::People(timeline) => {
                timeline.line(None, Tone::Good, "session", &describe::connected(connected))
            }
        }
    }

    fn session(&self, event: &SessionEvent) -> std::io::Result<()> {
        match (self, event) {
            (_, SessionEvent::Connected(connected)) => self.connected(connected),
            (Self::Json, SessionEvent::Disconnected) => json::disconnected(),
            (Self::People(timeline), SessionEvent::Disconnected) => {
                timeline.line(None, Tone::Odd, "session", "the connection is lost; connecting again")
            }
            (Self::Json, SessionEvent::ConnectFailed(why)) => json::connect_failed(why),
            (Self::People(timeline), SessionEvent::ConnectFailed(why)) => {
                timeline.line(None, Tone::Odd, "session", &escape(why))
            }
            (_, SessionEvent::RuntimeError(error)) => self.notice(&describe::error(error)),
            // Gaps are told by the job, an end of the session by the job's end.
            _ => Ok(()),
        }
    }

    fn notice(&self, message: &str) -> std::io::Result<()> {
        match self {
            Self::Json => json::notice(message),
            Self::People(timeline) => timeline.line(None, Tone::Odd, "note", &escape(message)),
        }
    }

    fn accepted(&self, job: &Job) -> std::io::Result<()> {
        match self {
            Self::Json => json::accepted(job),
            Self::People(timeline) => {
                let agent = job.accepted().agent.as_deref().unwrap_or("an agent without a name");
                let text = format!("{} accepted for {}", job.id().as_str(), agent);
                timeline.line(None, Tone::Bold, "job", &escape(&text))
            }
        }
    }

    fn event(&self, job: &Job, event: &JobEvent) -> std::io::Result<()> {
        match self {
            Self::Json => json::event(job, event),
            Self::People(timeline) => {
                let described = describe::event(event);
                timeline.line(event.position(), described.tone, &described.label, &described.text)
            }
        }
    }

    fn missing(&self, job: &Job, error: &JobError) -> std::io::Result<()> {
        match self {
            Self::Json => json::missing(job, error),
            Self::People(timeline) => timeline.line(None, Tone::Bad, "missing", &escape(&error.to_string())),
        }
    }

    fn result(&self, job: &Job, output: &JobOutput) -> std::io::Result<()> {
        let Self::People(timeline) = self else { return json::result(job, output) };
        timeline.line(None, Tone::Good, "success", "")?;
        match output {
            JobOutput::Value(value) => timeline.say(&escape_lines(value.as_str())),
            JobOutput::Text(text) => timeline.say(escape_lines(text).trim_end_matches('\n')),
            JobOutput::Bytes(bytes) => {
                let size = count(u64::try_from(bytes.len()).unwrap_or(u64::MAX), "byte");
                timeline.say(&format!("({size} that are no text; --json shows them in base64)"))
            }
        }
    }
}

/// A job on its way, and what may happen meanwhile.
struct Following<'a> {
    show: &'a Show,
    events: SessionEvents,
    signals: Signals,
    cancel_asked: bool,
}

/// What came first.
enum Next<T> {
    Session(Option<SessionEvent>),
    Signal,
    Wanted(T),
}

impl Following<'_> {
    async fn submit(mut self, client: &Client, plan: &Plan) -> Result<ExitCode, Failure> {
        let mut submit = client.submit(plan.agent.clone()).input_raw(plan.input.clone());
        if let Some(key) = &plan.key {
            submit = submit.key(key.clone());
        }
        if let Some(limit) = plan.max_runtime {
            submit = submit.max_runtime(limit);
        }
        let mut accepting = submit.into_future();
        let mut session_is_open = true;
        let job = loop {
            let next = self.either(&mut accepting, session_is_open).await;
            match next {
                Next::Wanted(accepted) => break accepted,
                Next::Session(event) => session_is_open = self.hear(event)?,
                // The job may have begun, so its name is awaited, to cancel it.
                Next::Signal => self.interrupted()?,
            }
        };
        let mut job = job.map_err(|error| Failure::error(describe::client_error(&error)))?;
        self.show.accepted(&job)?;
        self.follow(&mut job, session_is_open).await
    }

    async fn follow(mut self, job: &mut Job, mut session_is_open: bool) -> Result<ExitCode, Failure> {
        let mut cancelling: Option<Pending<_>> = self.cancel_asked.then(|| cancel(job));
        loop {
            // Polled to its end, so that a refusal is heard.
            let next = match &mut cancelling {
                Some(pending) => {
                    let wanted = async {
                        tokio::select! {
                            answer = pending => Err(answer),
                            event = job.next() => Ok(event),
                        }
                    };
                    self.either(wanted, session_is_open).await
                }
                None => self.either(async { Ok(job.next().await) }, session_is_open).await,
            };
            match next {
                Next::Session(event) => session_is_open = self.hear(event)?,
                Next::Signal => {
                    self.interrupted()?;
                    cancelling = Some(cancel(job));
                }
                Next::Wanted(Err(answer)) => {
                    cancelling = None;
                    if let Err(error) = answer {
                        self.show.notice(&format!("cannot cancel: {}", describe::client_error(&error)))?;
                    }
                }
                Next::Wanted(Ok(Some(Ok(event)))) => self.show.event(job, &event)?,
                Next::Wanted(Ok(Some(Err(error)))) => {
                    if matches!(error, JobError::Unreadable | JobError::Lost { .. }) {
                        self.show.missing(job, &error)?;
                    }
                }
                Next::Wanted(Ok(None)) => break,
            }
        }
        self.end(job).await
    }

    async fn end(self, job: &mut Job) -> Result<ExitCode, Failure> {
        match job.output().await {
            Ok(output) => {
                self.show.result(job, &output)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                if let Show::Json = self.show {
                    json::failure(job, &error)?;
                }
                let code = match &error {
                    JobError::Failed { status: FinalStatus::Cancelled, .. } => CANCELLED,
                    JobError::Failed { status: FinalStatus::TimedOut, .. } => TIMED_OUT,
                    _ => ERROR,
                };
                Err(Failure::with_code(code, describe::job_error(&error)))
            }
        }
    }

    /// Waits for what is wanted, a signal, or news of the session, which come first where several are there.
    async fn either<T>(&mut self, wanted: impl Future<Output = T>, session_is_open: bool) -> Next<T> {
        tokio::select! {
            biased;
            () = self.signals.next() => Next::Signal,
            event = self.events.next(), if session_is_open => Next::Session(event),
            value = wanted => Next::Wanted(value),
        }
    }

    /// Shows it; whether more may come.
    fn hear(&self, event: Option<SessionEvent>) -> std::io::Result<bool> {
        match event {
            Some(event) => self.show.session(&event).map(|()| true),
            None => Ok(false),
        }
    }

    fn interrupted(&mut self) -> Result<(), Failure> {
        if self.cancel_asked {
            return Err(Failure::error("interrupted again; the job may still run"));
        }
        self.cancel_asked = true;
        Ok(self.show.notice("cancelling the job; once more to leave at once")?)
    }
}

fn cancel(job: &Job) -> Pending<arcp_driver::Cancelled> {
    job.cancel().reason("interrupted by the user").into_future()
}
