//! What a client does differently towards this runtime (protocol §12.3, second table).

use super::{FRAME, PeerProfile, SHORT_FRAME, TransportKind};
use crate::error::ErrorCode;

/// How a session is ended in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseStyle {
    /// `session.close`, and its answer awaited.
    Close,
    /// The same; on an error or silence `session.bye` too.
    CloseThenBye,
    /// `session.bye`, which has no answer.
    Bye,
    /// `session.close`, unless jobs live: it would end them, so that the transport is just dropped.
    CloseUnlessJobsLive,
}

/// What numbers that do not follow each other mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeqCheck {
    /// A gap is a loss, which a resume repairs.
    Strict,
    /// The same, but frames of subscribed jobs have numbers of another stream.
    StrictForOwnJobs,
    /// A gap is told to the application, without a resume; what was passed over may still come.
    Report,
    /// Nothing about the stream: every job counts on its own, and its end has no number. A resume therefore asks for
    /// everything, of which nothing is handed on twice.
    Off,
}

impl PeerProfile {
    /// How a session with it is ended.
    #[must_use]
    pub const fn close_style(self) -> CloseStyle {
        match self {
            Self::Core | Self::PythonNewer | Self::Go => CloseStyle::Close,
            Self::Unknown => CloseStyle::CloseThenBye,
            Self::Python113 | Self::TypeScript | Self::Ruby => CloseStyle::Bye,
            Self::Java => CloseStyle::CloseUnlessJobsLive,
        }
    }

    /// Submits that may be on their way at once.
    #[must_use]
    pub const fn max_submits(self) -> usize {
        match self {
            Self::Core | Self::Ruby => usize::MAX,
            _ => 1,
        }
    }

    /// Whether a resume it refuses with this code may succeed later, when it has noticed the loss of the connection
    /// itself (protocol §2.4).
    #[must_use]
    pub const fn may_resume_later(self, code: ErrorCode) -> bool {
        use ErrorCode::{PermissionDenied, ResumeWindowExpired};
        match self {
            Self::Python113 | Self::PythonNewer => matches!(code, PermissionDenied),
            Self::Go => matches!(code, PermissionDenied | ResumeWindowExpired),
            Self::Java => !matches!(code, ErrorCode::Unauthenticated),
            Self::Core | Self::Unknown | Self::TypeScript | Self::Ruby => false,
        }
    }

    /// What its numbers are held to (protocol §4.2).
    #[must_use]
    pub const fn seq_check(self) -> SeqCheck {
        match self {
            Self::Core | Self::Unknown | Self::TypeScript | Self::Java => SeqCheck::Strict,
            Self::Python113 | Self::PythonNewer => SeqCheck::StrictForOwnJobs,
            Self::Go => SeqCheck::Report,
            Self::Ruby => SeqCheck::Off,
        }
    }

    /// Whether it names the request in everything that answers one, so that nothing else is taken for an answer.
    #[must_use]
    pub const fn names_what_it_answers(self) -> bool {
        matches!(self, Self::Core)
    }

    /// Whether it refuses requests by `job.error` like the end of a job: with a number, on a fresh id, even on the id of
    /// a live job.
    #[must_use]
    pub const fn rejects_like_an_end(self) -> bool {
        matches!(self, Self::TypeScript)
    }

    /// Whether its jobs go on speaking to the connection they were submitted or subscribed on, also when the session has
    /// another.
    #[must_use]
    pub const fn leaves_jobs_behind(self) -> bool {
        matches!(self, Self::Python113)
    }

    /// Whether its frames of a job may name the session they were first made for: answers to a submit made again, and
    /// what followers get.
    #[must_use]
    pub const fn keeps_session_of_job(self) -> bool {
        matches!(self, Self::Python113 | Self::PythonNewer | Self::Ruby)
    }

    /// Whether it answers a submit whose earlier copy is still being accepted with `INTERNAL_ERROR`.
    #[must_use]
    pub const fn refuses_copies_in_progress(self) -> bool {
        matches!(self, Self::Go)
    }

    /// Whether it can read this agent's name, `name` or `name@version`. What it cannot read would harm more than the one
    /// request.
    #[must_use]
    pub fn can_name(self, agent: &str) -> bool {
        if self != Self::Python113 {
            return true;
        }
        let (name, version) = match agent.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (agent, None),
        };
        let reads_version = |version: &str| {
            version.starts_with(|c: char| c.is_ascii_alphanumeric()) && !version.contains('+')
        };
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && version.is_none_or(reads_version)
    }

    /// Whether a lease is asked of it in the shape of protocol §12.4 (D-79), and its grants come in it.
    #[must_use]
    pub const fn grants_by_name(self) -> bool {
        matches!(self, Self::Ruby)
    }

    /// Bytes a frame towards this runtime may take.
    #[must_use]
    pub const fn request_limit(self, transport: TransportKind) -> usize {
        match (self, transport) {
            (Self::Java, _) | (Self::Unknown | Self::Python113 | Self::PythonNewer, TransportKind::Lines) => {
                SHORT_FRAME
            }
            _ => FRAME,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PeerProfile::{Core, Go, Java, Python113, PythonNewer, Ruby, TypeScript};
    use super::*;
    use crate::wire::peer::table::{only, row};

    #[test]
    fn goodbyes() {
        use CloseStyle::{Bye, Close, CloseThenBye, CloseUnlessJobsLive};
        let expected = [Close, CloseThenBye, Bye, Close, Bye, Close, CloseUnlessJobsLive, Bye];
        row(PeerProfile::close_style, expected);
    }

    #[test]
    fn requests() {
        let many = usize::MAX;
        row(PeerProfile::max_submits, [many, 1, 1, 1, 1, 1, 1, many]);
        only(&[Core], PeerProfile::names_what_it_answers);
        only(&[TypeScript], PeerProfile::rejects_like_an_end);
        only(&[Go], PeerProfile::refuses_copies_in_progress);
        only(&[Ruby], PeerProfile::grants_by_name);
        only(&[Python113, PythonNewer, Ruby], PeerProfile::keeps_session_of_job);
        only(&[Python113], PeerProfile::leaves_jobs_behind);
        use TransportKind::{Lines, Memory, WebSocket};
        let (short, long) = (65_536, 1_048_576);
        for transport in [WebSocket, Memory] {
            let expected = [long, long, long, long, long, long, short, long];
            row(|profile| profile.request_limit(transport), expected);
        }
        let expected = [long, short, short, short, long, long, short, long];
        row(|profile| profile.request_limit(Lines), expected);
    }

    #[test]
    fn resumes() {
        use ErrorCode::{InvalidRequest, PermissionDenied, ResumeWindowExpired, Unauthenticated};
        only(&[Python113, PythonNewer, Go, Java], |profile| profile.may_resume_later(PermissionDenied));
        only(&[Go, Java], |profile| profile.may_resume_later(ResumeWindowExpired));
        only(&[Java], |profile| profile.may_resume_later(InvalidRequest));
        only(&[], |profile| profile.may_resume_later(Unauthenticated));
    }

    #[test]
    fn numbers() {
        use SeqCheck::{Off, Report, Strict, StrictForOwnJobs};
        let expected = [Strict, Strict, StrictForOwnJobs, StrictForOwnJobs, Strict, Report, Strict, Off];
        row(PeerProfile::seq_check, expected);
    }

    #[test]
    fn names() {
        for (agent, older_python) in [
            ("mailer", true),
            ("mailer@1.0.0", true),
            ("mailer@v1_2-rc", true),
            ("7zip", false),
            ("mailer@.1", false),
            ("mailer@1.0+build", false),
        ] {
            let expected: &[PeerProfile] = if older_python { &[] } else { &[Python113] };
            only(expected, |profile| !profile.can_name(agent));
        }
    }
}
