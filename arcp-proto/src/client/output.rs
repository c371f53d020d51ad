//! What a client endpoint asks of its driver, and what it tells the application.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::agent::Versions;
use crate::close::CloseCode;
use crate::feature::Features;
use crate::id::{JobId, SessionId};
use crate::secret::Secret;
use crate::wire::event::EventPayload;
use crate::wire::job::{Accepted, Cancelled, Ended, Subscribed};
use crate::wire::list::Jobs;
use crate::wire::session::ErrorPayload;

/// Names a request of the application: a submit, cancel, subscribe or list. Rises from request to request; survives
/// reconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

/// Everything a client endpoint can ask of its driver. Exhaustive on purpose: a driver that forgets one does not
/// compile.
#[derive(Debug)]
#[must_use = "an output that is not carried out is lost"]
pub enum Output {
    /// Open a transport to the runtime, then call [`handle_open`](crate::client::ClientEndpoint::handle_open), or
    /// [`handle_closed`](crate::client::ClientEndpoint::handle_closed) if that fails. The back-off is over already.
    Connect,
    /// Frames wait. Pull them with [`poll_frame`](crate::client::ClientEndpoint::poll_frame) while the socket takes
    /// more. An edge: given again only after `poll_frame` returned `None`.
    FramesReady,
    /// Pull what is left, send it, close with this code, then call
    /// [`handle_closed`](crate::client::ClientEndpoint::handle_closed).
    Close(CloseCode),
    /// Keep this for a resume by a later process, then call
    /// [`handle_remembered`](crate::client::ClientEndpoint::handle_remembered); nothing is sent before. A driver
    /// without such a place answers at once.
    Remember(ResumeState),
    /// Something the application wants to know.
    Event(ClientEvent),
}

/// What a client needs to continue a session after its process died.
#[derive(Debug, Clone)]
pub struct ResumeState {
    /// The session.
    pub session_id: SessionId,
    /// The token, good for one resume.
    pub resume_token: Secret,
    /// The highest number such that the application has it and all below. A later process asks for what follows; what
    /// had arrived but was not [taken](crate::client::ClientEndpoint::taken) comes again.
    pub last_event_seq: u64,
}

/// What the application is told. Frames of one job come in the order in which the job produced them.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The session is open.
    Connected(Box<Connected>),
    /// The transport is gone; the endpoint reconnects by itself unless [`ClientEvent::Closed`] follows.
    Disconnected,
    /// A submit was accepted. Its events carry the same `job` and follow.
    ///
    /// Comes a second time for the same `request` if, in a new session, the runtime had forgotten the job and runs it
    /// again under another id: the work goes on as this `job`. Where several submits had the same key and so the same
    /// job, it comes for each of them.
    Accepted {
        /// The submit.
        request: RequestId,
        /// The job.
        job: JobId,
        /// What the runtime said of it.
        accepted: Box<Accepted>,
    },
    /// A submit, cancel, subscribe or list was refused, or not answered in time.
    Rejected {
        /// The request.
        request: RequestId,
        /// Why.
        error: RequestError,
    },
    /// The runtime started a job on behalf of a job (delegation). Its events carry the same `job` and follow, from the
    /// first one. Only told if a submit asked for its [`children`](crate::client::Submission::children), or
    /// [`other_jobs`](crate::config::ClientConfig::other_jobs) is set.
    ChildAccepted {
        /// The child.
        job: JobId,
        /// The submit that asked for its children: of the parent, or of the job at the beginning of a line of parents.
        submit: Option<RequestId>,
        /// What the runtime said of it; `parent_job_id` names the parent. Of runtimes that do not accept children in so
        /// many words it holds what the parent's `delegate` event says.
        accepted: Box<Accepted>,
    },
    /// No more children come of a submit that asked for them: its job and all its children have ended, or it wants no
    /// more.
    ChildrenEnded {
        /// The submit.
        request: RequestId,
    },
    /// A job produced an event.
    JobEvent {
        /// The job.
        job: JobId,
        /// What to give to [`taken`](crate::client::ClientEndpoint::taken) once the application has the event. It is the
        /// session's number; where sessions before it could not be continued, plus the numbers of those, so that none
        /// comes twice in the endpoint's life. It rises within a job; events that waited for their `job.accepted` may
        /// come behind higher ones of other jobs. Of an event without a number, or with one that does not count, it is
        /// above 2⁶³ and says nothing.
        seq: Option<u64>,
        /// The event, or `None` if it could not be read (its number counts all the same).
        event: Option<EventPayload>,
    },
    /// A job ended.
    JobEnded {
        /// The job.
        job: JobId,
        /// As in [`ClientEvent::JobEvent`]; `None` if the end was not received but concluded.
        seq: Option<u64>,
        /// How it ended.
        ended: Box<Ended>,
    },
    /// A cancel was acknowledged; the job's end follows.
    CancelAcknowledged {
        /// The cancel.
        request: RequestId,
        /// What the runtime said.
        cancelled: Box<Cancelled>,
    },
    /// A subscribe was acknowledged; the job's events follow. Some runtimes send old events first. If the job had ended
    /// (`current_status` is a final status) and nothing is `replayed`, nothing follows; `replayed` is also set where
    /// only its end is still to come.
    Subscribed {
        /// The subscribe.
        request: RequestId,
        /// The job.
        job: JobId,
        /// What the runtime said of it.
        subscribed: Box<Subscribed>,
    },
    /// A page of jobs.
    Jobs {
        /// The list.
        request: RequestId,
        /// The jobs, newest first, and where the next page begins; `None` on the last one. A page may be short, even
        /// empty, and have a next one.
        page: Box<Jobs>,
    },
    /// Numbers are missing and stayed missing after a resume; the stream goes on behind them (protocol §4.2).
    Gap {
        /// The first missing number, as in [`ClientEvent::JobEvent`].
        from: u64,
        /// The last missing number.
        to: u64,
    },
    /// Events of a job are missing before the next one: the runtime's history of the job no longer reaches back to where
    /// a subscription was to begin, or to the last event that was handed on when the session could not be continued.
    /// So it is with a subscription that asks for the past of a job whose frames come in this session already (D-14).
    JobGap {
        /// The job.
        job: JobId,
        /// The first missing position; of a subscription that began behind an origin number, the lowest that it can be.
        from: u64,
        /// The last missing position.
        to: u64,
    },
    /// An error that answers no request and ends nothing.
    RuntimeError(Box<ErrorPayload>),
    /// The session is over; nothing follows.
    Closed(ClosedReason),
}

/// How a session was opened.
#[derive(Debug, Clone)]
pub struct Connected {
    /// The session.
    pub session_id: SessionId,
    /// Whether the stream continues where it was cut. `false` on the first connect, and when the old session could not
    /// be continued: then unfinished jobs have been submitted again with their keys.
    pub resumed: bool,
    /// What both sides know.
    pub features: Features,
    /// Display name of the runtime.
    pub runtime_name: Option<String>,
    /// Display version of the runtime.
    pub runtime_version: Option<String>,
    /// The agents by name.
    pub agents: Arc<Vec<(String, Versions)>>,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The runtime refused it.
    #[error("the runtime refused: {0}")]
    Refused(Box<ErrorPayload>),
    /// No answer came in time.
    #[error("the runtime did not answer in time")]
    TimedOut,
    /// The session ended first.
    #[error("the session ended before the runtime answered")]
    SessionClosed,
    /// The other side did not negotiate what the request needs; the name of the feature.
    #[error("the runtime does not know `{0}`")]
    Unsupported(&'static str),
    /// The frame is larger than this peer reads on this transport, in bytes.
    #[error("the request takes {bytes} bytes, a frame of this session holds {limit}")]
    TooLarge {
        /// What the frame takes.
        bytes: usize,
        /// What it may take.
        limit: usize,
    },
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq)]
pub enum ClosedReason {
    /// The application closed it.
    Requested,
    /// The runtime does not accept the credentials.
    Unauthenticated(Box<ErrorPayload>),
    /// Another connection resumed this session (D-67).
    TakenOver,
    /// The runtime refused the hello for another reason.
    Refused(Box<ErrorPayload>),
    /// The configured number of attempts without progress is used up.
    GaveUp,
}

impl fmt::Display for ClosedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("the session was closed"),
            Self::Unauthenticated(error) => write!(f, "the runtime does not accept the token ({error})"),
            Self::TakenOver => f.write_str("another connection has taken the session over"),
            Self::Refused(error) => write!(f, "the runtime refused the session ({error})"),
            Self::GaveUp => f.write_str("the connection was lost and could not be made again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Fields;
    use std::string::ToString;

    #[test]
    fn a_reason_says_whose_end_it_is_and_what_the_runtime_said() {
        let error =
            ErrorPayload::read(&Fields::of(r#"{"code":"UNAUTHENTICATED","message":"expired"}"#)).unwrap();
        let error = || Box::new(error.clone());
        for (reason, said) in [
            (ClosedReason::Requested, "the session was closed"),
            (
                ClosedReason::Unauthenticated(error()),
                "the runtime does not accept the token (UNAUTHENTICATED: expired)",
            ),
            (ClosedReason::TakenOver, "another connection has taken the session over"),
            (ClosedReason::Refused(error()), "the runtime refused the session (UNAUTHENTICATED: expired)"),
            (ClosedReason::GaveUp, "the connection was lost and could not be made again"),
        ] {
            assert_eq!(reason.to_string(), said);
        }
    }
}
