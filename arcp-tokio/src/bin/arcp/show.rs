//! What happens, shown to people or written for programs.

use std::io;
use std::process::ExitCode;

use arcp_driver::{
    Connected, FinalStatus, GrantedLease, Job, JobError, JobEvent, JobId, JobOutput, SessionEvent, Watch,
};

use crate::failure::{CANCELLED, ERROR, Failure, TIMED_OUT};
use crate::family::Child;
use crate::text::{count, escape, escape_lines};
use crate::timeline::{Timeline, Tone};
use crate::{describe, json};

/// Characters of an id that tell it from others nearby.
const ID_END: usize = 4;

/// For whom it is.
pub(crate) enum Show {
    /// Lines with time, number and label.
    People(Timeline),
    /// One JSON object per line.
    Json,
    /// What was asked for and nothing else, for commands whose answer is all there is to say.
    Answer,
}

impl Show {
    pub(crate) fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::People(Timeline::begin()) }
    }

    pub(crate) fn connected(&self, connected: &Connected) -> io::Result<()> {
        match self {
            Self::Json => json::connected(connected),
            Self::People(timeline) => {
                timeline.line(None, Tone::Good, "session", &describe::connected(connected))
            }
            Self::Answer => Ok(()),
        }
    }

    pub(crate) fn session(&self, event: &SessionEvent) -> io::Result<()> {
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
            (_, SessionEvent::RuntimeError(error)) => self.notice(&error.to_string()),
            // Gaps are told by the job, an end of the session by the job's end.
            _ => Ok(()),
        }
    }

    pub(crate) fn notice(&self, message: &str) -> io::Result<()> {
        match self {
            Self::Json => json::notice(message),
            Self::People(timeline) => timeline.line(None, Tone::Odd, "note", &escape(message)),
            Self::Answer => Ok(()),
        }
    }

    pub(crate) fn accepted(&self, job: &Job) -> io::Result<()> {
        match self {
            Self::Json => json::accepted(job),
            Self::People(timeline) => {
                let agent = job.accepted().agent.as_deref().unwrap_or("an agent without a name");
                let text = format!("{} accepted for {}", job.id().as_str(), agent);
                timeline.line(None, Tone::Bold, "job", &escape(&text))?;
                lease(timeline, job.lease())
            }
            Self::Answer => Ok(()),
        }
    }

    pub(crate) fn subscribed(&self, watch: &Watch) -> io::Result<()> {
        let (job, subscribed, granted) = (watch.id(), watch.subscribed(), watch.lease());
        match self {
            Self::Json => json::subscribed(job, subscribed),
            Self::People(timeline) => {
                let agent = subscribed.agent.as_deref().unwrap_or("an agent without a name");
                let status = subscribed.current_status.as_deref().unwrap_or("in an unknown state");
                let mut text = format!("{} of {agent}, {status}", job.as_str());
                if let Some(parent) = &subscribed.parent_job_id {
                    text = format!("{text}, delegated by {}", parent.as_str());
                }
                timeline.line(None, Tone::Bold, "job", &escape(&text))?;
                lease(timeline, granted)
            }
            Self::Answer => Ok(()),
        }
    }

    pub(crate) fn event(&self, job: &JobId, event: &JobEvent) -> io::Result<()> {
        match self {
            Self::Json => json::event(job, event),
            Self::People(timeline) => {
                let described = describe::event(event);
                timeline.line(event.position(), described.tone, &described.label, &described.text)
            }
            Self::Answer => Ok(()),
        }
    }

    pub(crate) fn missing(&self, job: &JobId, error: &JobError) -> io::Result<()> {
        match self {
            Self::Json => json::missing(job, error),
            Self::People(timeline) => timeline.line(None, Tone::Bad, "missing", &escape(&error.to_string())),
            Self::Answer => Ok(()),
        }
    }

    /// A child has begun.
    pub(crate) fn child_accepted(&self, child: &Child) -> io::Result<()> {
        let (job, accepted) = (&child.job, child.job.accepted());
        match self {
            Self::Json => json::accepted(job),
            Self::People(timeline) => {
                let agent = accepted.agent.as_deref().unwrap_or("an agent without a name");
                let mut text = format!("{} accepted for {agent}", job.id().as_str());
                if let Some(parent) = &accepted.parent_job_id {
                    text = format!("{text}, delegated by {}", parent.as_str());
                }
                let margin = margin(child);
                timeline.line_behind(&margin, None, Tone::Bold, "job", &escape(&text))?;
                match describe::lease(job.lease()) {
                    Some(text) => timeline.line_behind(&margin, None, Tone::Dim, "lease", &text),
                    None => Ok(()),
                }
            }
            Self::Answer => Ok(()),
        }
    }

    /// Something of a child.
    pub(crate) fn of_child(&self, child: &Child, event: &Result<JobEvent, JobError>) -> io::Result<()> {
        match (self, event) {
            (Self::People(timeline), Ok(event)) => {
                let described = describe::event(event);
                let (tone, label, text) = (described.tone, &described.label, &described.text);
                timeline.line_behind(&margin(child), event.position(), tone, label, text)
            }
            (_, Ok(event)) => self.event(child.job.id(), event),
            (_, Err(JobError::Closed(_) | JobError::DriverDropped)) | (Self::Answer, _) => Ok(()),
            (Self::People(timeline), Err(error)) => {
                let text = escape(&error.to_string());
                timeline.line_behind(&margin(child), None, Tone::Bad, "missing", &text)
            }
            (Self::Json, Err(error)) => json::missing(child.job.id(), error),
        }
    }

    /// How a child ended.
    pub(crate) fn child_end(&self, child: &Child, output: &Result<JobOutput, JobError>) -> io::Result<()> {
        match (self, output) {
            (Self::Json, Ok(output)) => json::result(child.job.id(), output),
            (Self::Json, Err(error)) => json::failure(child.job.id(), error),
            (Self::People(timeline), Ok(output)) => {
                let text = describe::output(output);
                timeline.line_behind(&margin(child), None, Tone::Good, "success", &text)
            }
            (Self::People(timeline), Err(error)) => {
                let text = escape(&describe::job_error(error));
                timeline.line_behind(&margin(child), None, Tone::Bad, "failed", &text)
            }
            (Self::Answer, _) => Ok(()),
        }
    }

    /// Shows how the job ended; the exit code that goes with it.
    ///
    /// `advice` is what the user can do about a failure.
    pub(crate) fn end(
        &self,
        job: &JobId,
        output: Result<JobOutput, JobError>,
        advice: Option<&str>,
    ) -> Result<ExitCode, Failure> {
        let error = match output {
            Ok(output) => {
                self.result(job, &output)?;
                return Ok(ExitCode::SUCCESS);
            }
            Err(JobError::WasOver(FinalStatus::Success)) => {
                self.success(job, "it had ended before; --history shows its events and its result")?;
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => error,
        };
        if let Self::Json = self {
            json::failure(job, &error)?;
        }
        let code = match &error {
            JobError::Failed { status, .. } | JobError::WasOver(status) => match status {
                FinalStatus::Cancelled => CANCELLED,
                FinalStatus::TimedOut => TIMED_OUT,
                FinalStatus::Success | FinalStatus::Error => ERROR,
            },
            _ => ERROR,
        };
        let mut message = describe::job_error(&error);
        if let Some(advice) = advice {
            message = format!("{message}; {advice}");
        }
        Err(Failure::with_code(code, message))
    }

    fn result(&self, job: &JobId, output: &JobOutput) -> io::Result<()> {
        match self {
            Self::Json => json::result(job, output),
            Self::People(timeline) => {
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
            Self::Answer => Ok(()),
        }
    }

    /// The job succeeded, and its result cannot be had here.
    pub(crate) fn success(&self, job: &JobId, why: &str) -> io::Result<()> {
        match self {
            Self::Json => json::success(job, why),
            Self::People(timeline) => timeline.line(None, Tone::Good, "success", &escape(why)),
            Self::Answer => Ok(()),
        }
    }
}

/// What stands before the lines of a child: how deep it is, and the end of its id, since several may run at a time.
fn margin(child: &Child) -> String {
    let id = child.job.id().as_str();
    let from = id.char_indices().rev().nth(ID_END - 1).map_or(0, |(at, _)| at);
    format!("{}{} ", "  ".repeat(child.depth), escape(&id[from..]))
}

/// What a job may do, if it may do anything.
pub(crate) fn lease(timeline: &Timeline, lease: &GrantedLease) -> io::Result<()> {
    match describe::lease(lease) {
        Some(text) => timeline.line(None, Tone::Dim, "lease", &text),
        None => Ok(()),
    }
}
