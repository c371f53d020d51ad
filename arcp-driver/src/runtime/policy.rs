//! Who sees what, as a builder is told with closures.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arcp_proto::observe::{ObservePolicy, ObservedJob, Sight, Visibility};

use super::task::forget_panic;

type SeeJob = dyn Fn(&str, &ObservedJob<'_>) -> Sight + Send + Sync;
type UseAgent = dyn Fn(&str, &str) -> bool + Send + Sync;

/// What was said about sight, if anything was.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) job: Option<Box<SeeJob>>,
    pub(super) agent: Option<Box<UseAgent>>,
}

impl Rules {
    /// The policy these amount to; `None` if nothing was said.
    pub(super) fn into_visibility(self) -> Option<Visibility> {
        (self.job.is_some() || self.agent.is_some()).then(|| Visibility::new(self))
    }
}

/// All sessions live in the task that asks, so a panic must not get past here: it is a no.
fn ask<T: Default>(question: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(question)).unwrap_or_else(|panic| {
        forget_panic(panic);
        T::default()
    })
}

impl ObservePolicy for Rules {
    fn job(&self, viewer: &str, job: &ObservedJob<'_>) -> Sight {
        self.job.as_ref().map_or(Sight::Nothing, |rule| ask(|| rule(viewer, job)))
    }

    fn sees_others(&self, _: &str) -> bool {
        self.job.is_some()
    }

    fn agent(&self, principal: &str, agent: &str) -> bool {
        self.agent.as_ref().is_none_or(|rule| ask(|| rule(principal, agent)))
    }
}
