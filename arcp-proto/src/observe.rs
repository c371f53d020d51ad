//! Who may see which job, and who may use which agent: what a deployment decides (protocol §2.2, §2.7, §3.5 to §3.7).

use alloc::sync::Arc;
use core::fmt;

use crate::agent::AgentRef;
use crate::id::JobKey;
use crate::time::UnixTime;

/// What a principal may see of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Sight {
    /// Not that it exists: every request about it is answered as if there were no such job.
    #[default]
    Nothing,
    /// That it exists, and how far it is. Following and cancelling it are refused with `PERMISSION_DENIED`.
    List,
    /// All of that, and its events. Cancelling it is refused: that is the submitter's alone.
    Follow,
}

/// A job of another principal, as an [`ObservePolicy`] is told of it. None of this changes while the job is remembered.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ObservedJob<'a> {
    /// Its id.
    pub job: JobKey,
    /// The principal that submitted it.
    pub submitter: &'a str,
    /// The resolved agent.
    pub agent: &'a AgentRef,
    /// When it was accepted.
    pub accepted_at: UnixTime,
}

/// What a deployment decides about sight. By default a principal sees its own jobs, no others, and may use every agent.
///
/// The answers must follow from the arguments and from what [`policy_changed`] has been told of: they are asked again and
/// again, between any two frames, and must come at once. A principal always follows its own jobs, the children of its jobs
/// included, so the policy is asked of other principals' jobs alone.
///
/// [`policy_changed`]: crate::runtime::RuntimeEndpoint::policy_changed
///
/// ```
/// use arcp_proto::config::RuntimeConfig;
/// use arcp_proto::observe::{ObservePolicy, ObservedJob, Sight, Visibility};
///
/// /// Operators follow everything; everybody may know of the jobs of `ci`.
/// struct Operators;
///
/// impl ObservePolicy for Operators {
///     fn job(&self, viewer: &str, job: &ObservedJob<'_>) -> Sight {
///         match (viewer, job.submitter) {
///             ("operator", _) => Sight::Follow,
///             (_, "ci") => Sight::List,
///             _ => Sight::Nothing,
///         }
///     }
///
///     fn agent(&self, principal: &str, agent: &str) -> bool {
///         agent != "deploy" || principal == "ci"
///     }
/// }
///
/// let mut config = RuntimeConfig::default();
/// config.visibility = Visibility::new(Operators);
/// ```
pub trait ObservePolicy: Send + Sync {
    /// What `viewer` may see of a job that another principal submitted.
    fn job(&self, viewer: &str, job: &ObservedJob<'_>) -> Sight {
        let _ = (viewer, job);
        Sight::Nothing
    }

    /// Whether `viewer` may see any job of another principal at all. Where this says no, [`job`](Self::job) is not asked,
    /// and a list looks at the viewer's own jobs only; otherwise at everybody's, at most 10 000 for one page. So a viewer
    /// may learn from an empty page with a next one that there are many jobs it may not see, though nothing of them.
    fn sees_others(&self, viewer: &str) -> bool {
        let _ = viewer;
        true
    }

    /// Whether `principal` may submit to the agent of this name, in any version. It is told of no others, and a submit to
    /// one is refused as if the agent did not exist. A job that was accepted goes on.
    fn agent(&self, principal: &str, agent: &str) -> bool {
        let _ = (principal, agent);
        true
    }
}

/// The default: everybody sees what is their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnJobs;

impl ObservePolicy for OwnJobs {
    fn sees_others(&self, _: &str) -> bool {
        false
    }
}

/// An [`ObservePolicy`] as a configuration holds it. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Visibility(Arc<dyn ObservePolicy>);

impl Visibility {
    /// Decides by this policy.
    #[must_use]
    pub fn new(policy: impl ObservePolicy + 'static) -> Self {
        Self(Arc::new(policy))
    }

    pub(crate) fn job(&self, viewer: &str, job: &ObservedJob<'_>) -> Sight {
        if self.sees_others(viewer) { self.0.job(viewer, job) } else { Sight::Nothing }
    }

    pub(crate) fn sees_others(&self, viewer: &str) -> bool {
        self.0.sees_others(viewer)
    }

    pub(crate) fn agent(&self, principal: &str, agent: &str) -> bool {
        self.0.agent(principal, agent)
    }
}

impl Default for Visibility {
    fn default() -> Self {
        Self::new(OwnJobs)
    }
}

impl fmt::Debug for Visibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Visibility")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ulid;

    struct Undecided;

    impl ObservePolicy for Undecided {}

    #[test]
    fn a_policy_that_decides_nothing_shows_nothing_and_lets_all_agents_be_used() {
        let agent = AgentRef::parse("mailer").unwrap();
        let job = JobKey::from_ulid(Ulid::default());
        let job = ObservedJob { job, submitter: "bob", agent: &agent, accepted_at: UnixTime::from_millis(0) };
        assert_eq!(Undecided.job("alice", &job), Sight::Nothing);
        assert!(Undecided.sees_others("alice"));
        assert!(Undecided.agent("alice", "mailer"));
        let own = Visibility::default();
        assert!(!own.sees_others("alice"));
        assert_eq!(own.job("alice", &job), Sight::Nothing);
    }
}
