//! What a runtime does differently towards this client (protocol §12.3, first table).

use super::{FRAME, PeerProfile, SHORT_FRAME, TransportKind};
use crate::wire::job::{Accepted, Subscribed};

/// Under which names a `job.result` shows its inline value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResultKeys {
    /// As `result`.
    Result,
    /// As `result` and, again, as `output`.
    Both,
}

/// Which message ends a job that was cancelled or ran too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoppedTerminal {
    /// `job.error`.
    JobError,
    /// `job.result`, with that `final_status` and the members of the error.
    JobResult,
}

/// How the end of a job is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndShape {
    /// Where the value is.
    pub result_keys: ResultKeys,
    /// How a stopped job ends.
    pub stopped: StoppedTerminal,
}

impl EndShape {
    /// The specification's.
    pub const PLAIN: Self = Self { result_keys: ResultKeys::Result, stopped: StoppedTerminal::JobError };
}

/// What is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejected {
    /// `session.hello`, before there is a session.
    Hello,
    /// `job.submit`.
    Submit,
    /// `session.list_jobs`.
    List,
    /// `job.subscribe`.
    Subscribe,
    /// `job.cancel`.
    Cancel,
    /// A frame that cannot be read, or that asks for nothing and is wrong all the same (D-97).
    Frame,
}

/// What a client is sent where something is refused (protocol §3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// `session.error` that names the request.
    Base,
    /// The same while nothing of the session could be taken for what it answers: no job submitted in it is unfinished,
    /// no other request is open. Otherwise nothing.
    BaseWhileIdle,
    /// The same, then a `job.error` whose envelope id is the request's.
    BaseAndEcho,
    /// `job.error` with a job id that is used nowhere else.
    FreshId,
    /// Nothing: any answer would do harm.
    Nothing,
}

impl PeerProfile {
    /// How the end of a job is written for it.
    #[must_use]
    pub const fn end_shape(self) -> EndShape {
        let result_keys = match self {
            Self::Unknown | Self::Go => ResultKeys::Both,
            Self::Core | Self::Python113 | Self::PythonNewer | Self::TypeScript | Self::Java | Self::Ruby => {
                ResultKeys::Result
            }
        };
        let stopped = match self {
            Self::Python113 => StoppedTerminal::JobResult,
            _ => StoppedTerminal::JobError,
        };
        EndShape { result_keys, stopped }
    }

    /// What it is sent where this is refused.
    #[must_use]
    pub const fn rejection(self, of: Rejected) -> Rejection {
        match (self, of) {
            (Self::Java, Rejected::Cancel) => Rejection::Nothing,
            (Self::Java, _) => Rejection::BaseAndEcho,
            (Self::TypeScript, Rejected::Submit) => Rejection::FreshId,
            (Self::TypeScript, Rejected::List | Rejected::Subscribe | Rejected::Cancel) => {
                Rejection::BaseWhileIdle
            }
            (Self::TypeScript, Rejected::Frame)
            | (Self::Python113 | Self::PythonNewer, Rejected::Cancel | Rejected::Frame) => Rejection::Nothing,
            _ => Rejection::Base,
        }
    }

    /// Whether `budget` is shown in `job.accepted` and `job.subscribed`. Some readers want something else there than
    /// numbers.
    const fn shows_budget(self) -> bool {
        !matches!(self, Self::Python113 | Self::PythonNewer)
    }

    /// Whether `lease` is shown in `job.accepted`.
    const fn shows_lease(self) -> bool {
        !matches!(self, Self::Ruby)
    }

    /// Whether `job.accepted` names the submit it answers.
    const fn names_submit(self) -> bool {
        !matches!(self, Self::TypeScript)
    }

    /// What it is shown of a `job.accepted`.
    #[must_use]
    pub(crate) fn accepted(self, mut accepted: Accepted) -> Accepted {
        if !self.shows_budget() {
            accepted.budget = None;
        }
        if !self.shows_lease() {
            accepted.lease = None;
        }
        if !self.names_submit() {
            (accepted.request_id, accepted.reply_to) = (None, None);
        }
        accepted
    }

    /// What it is shown of a `job.subscribed`.
    #[must_use]
    pub(crate) fn subscribed(self, mut subscribed: Subscribed) -> Subscribed {
        if !self.shows_budget() {
            subscribed.budget = None;
        }
        subscribed
    }

    /// Whether it is sent the `job.accepted` of a delegated job. Clients that pair by order would take it for the answer
    /// to a submit (D-77).
    #[must_use]
    pub const fn takes_child_accepted(self) -> bool {
        matches!(self, Self::Core | Self::Unknown | Self::Ruby)
    }

    /// Whether it is sent credentials of this scheme.
    #[must_use]
    pub fn takes_credential(self, scheme: &str) -> bool {
        scheme == "bearer" || matches!(self, Self::Core | Self::Go | Self::Java | Self::Ruby)
    }

    /// Bytes a frame towards this client may take.
    #[must_use]
    pub const fn frame_limit(self, transport: TransportKind) -> usize {
        match (self, transport) {
            (Self::Unknown | Self::Python113 | Self::PythonNewer, TransportKind::Lines) => SHORT_FRAME,
            _ => FRAME,
        }
    }

    /// Whether unconfirmed `job.accepted` frames are sent to it again on a resume (D-66).
    #[must_use]
    pub const fn resends_accepted(self) -> bool {
        matches!(self, Self::Core)
    }

    /// Whether a pong of its WebSocket, to a ping written right behind the welcome, confirms the new resume token
    /// (D-96). Our own endpoints store the token before they answer anything, so for them only a frame counts.
    #[must_use]
    pub const fn needs_proof(self) -> bool {
        !matches!(self, Self::Core)
    }

    /// Whether events it has not acknowledged hold the agent, as unsent ones do (D-98).
    #[must_use]
    pub const fn holds_on_unacknowledged(self) -> bool {
        matches!(self, Self::Core)
    }

    /// Whether its submits ask for a lease in the shape of protocol §12.4 (D-79).
    #[must_use]
    pub const fn asks_by_name(self) -> bool {
        matches!(self, Self::Ruby)
    }
}

#[cfg(test)]
mod tests {
    use super::PeerProfile::{Core, Go, Java, Python113, PythonNewer, Ruby, TypeScript, Unknown};
    use super::Rejection::{Base, BaseAndEcho, BaseWhileIdle, FreshId, Nothing};
    use super::*;
    use crate::wire::peer::table::{only, row};

    #[test]
    fn terminals() {
        use ResultKeys::{Both, Result};
        row(
            |profile| profile.end_shape().result_keys,
            [Result, Both, Result, Result, Result, Both, Result, Result],
        );
        only(&[Python113], |profile| profile.end_shape().stopped == StoppedTerminal::JobResult);
    }

    #[test]
    fn refusals() {
        let of = |what| move |profile: PeerProfile| profile.rejection(what);
        row(of(Rejected::Hello), [Base, Base, Base, Base, Base, Base, BaseAndEcho, Base]);
        row(of(Rejected::Submit), [Base, Base, Base, Base, FreshId, Base, BaseAndEcho, Base]);
        for what in [Rejected::List, Rejected::Subscribe] {
            row(of(what), [Base, Base, Base, Base, BaseWhileIdle, Base, BaseAndEcho, Base]);
        }
        row(of(Rejected::Cancel), [Base, Base, Nothing, Nothing, BaseWhileIdle, Base, Nothing, Base]);
        row(of(Rejected::Frame), [Base, Base, Nothing, Nothing, Nothing, Base, BaseAndEcho, Base]);
    }

    #[test]
    fn what_an_acceptance_shows() {
        only(&[Python113, PythonNewer], |profile| !profile.shows_budget());
        only(&[Ruby], |profile| !profile.shows_lease());
        only(&[TypeScript], |profile| !profile.names_submit());
        only(&[Core, Unknown, Ruby], PeerProfile::takes_child_accepted);
        only(&[Core], PeerProfile::resends_accepted);
        only(&PeerProfile::ALL, |profile| profile.takes_credential("bearer"));
        only(&[Core, Go, Java, Ruby], |profile| profile.takes_credential("signed_url"));
    }

    #[test]
    fn only_some_lines_are_short() {
        use TransportKind::{Lines, Memory, WebSocket};
        for transport in [WebSocket, Memory] {
            row(|profile| profile.frame_limit(transport), [1_048_576; 8]);
        }
        let (short, long) = (65_536, 1_048_576);
        row(|profile| profile.frame_limit(Lines), [long, short, short, short, long, long, long, long]);
    }

    #[test]
    fn what_only_our_own_endpoints_do() {
        only(&[Core], |profile| !profile.needs_proof());
        only(&[Core], PeerProfile::holds_on_unacknowledged);
        only(&[Ruby], PeerProfile::asks_by_name);
    }
}
