//! What one principal holds, counted against its limits (protocol §9, T-6).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::Limits;
use crate::id::JobKey;
use crate::runtime::rate::Bucket;
use crate::runtime::source::FailedTokens;
use crate::runtime::{DecisionId, JobHandle, SessionHandle};
use crate::time::Instant;

/// Names a principal inside one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PrincipalHandle(usize);

/// What an idempotency key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    pub(crate) digest: [u8; 32],
    pub(crate) job: JobHandle,
}

/// One principal's share of everything.
#[derive(Debug)]
pub(crate) struct Principal {
    pub(crate) name: Arc<str>,
    /// Sessions that can still be resumed, in order of opening.
    pub(crate) sessions: Vec<SessionHandle>,
    /// Dead sessions whose tokens are remembered, oldest first.
    pub(crate) tombstones: VecDeque<SessionHandle>,
    /// Every job that is remembered, oldest first.
    pub(crate) jobs: BTreeMap<JobKey, JobHandle>,
    pub(crate) unfinished_jobs: usize,
    pub(crate) running_jobs: usize,
    /// Accepted jobs that wait for a running one to end, first come first served.
    pub(crate) queued: VecDeque<JobHandle>,
    /// Finished jobs, oldest first.
    pub(crate) finished: VecDeque<JobHandle>,
    pub(crate) subscriptions: usize,
    pub(crate) keys: BTreeMap<String, KeyEntry>,
    /// Keys of submits that are being decided on.
    pub(crate) in_flight: BTreeMap<String, DecisionId>,
    /// Submits that are being decided on.
    pub(crate) undecided: usize,
    /// Bytes in the logs of its jobs.
    pub(crate) buffered: u64,
    /// What `buffered` must reach before histories are looked through again, after that freed too little.
    pub(crate) evict_at: u64,
    hellos: Bucket,
    /// Resumes with tokens that were not its own.
    pub(crate) failed: FailedTokens,
}

impl Principal {
    /// Whether one more hello is within the rate.
    pub(crate) fn admit_hello(&mut self, limits: &Limits, now: Instant) -> bool {
        self.hellos.take(limits.hellos_per_second, limits.hello_burst, now)
    }

    fn is_idle(&self) -> bool {
        self.sessions.is_empty()
            && self.tombstones.is_empty()
            && self.unfinished_jobs == 0
            && self.finished.is_empty()
            && self.keys.is_empty()
            && self.undecided == 0
    }
}

/// All principals by name and by handle.
#[derive(Debug, Default)]
pub(crate) struct Principals {
    by_name: BTreeMap<Arc<str>, PrincipalHandle>,
    slots: Vec<Option<Principal>>,
    free: Vec<usize>,
}

impl Principals {
    /// The principal of this name, known or new.
    pub(crate) fn enter(&mut self, name: &Arc<str>, limits: &Limits, now: Instant) -> PrincipalHandle {
        if let Some(handle) = self.by_name.get(name) {
            return *handle;
        }
        let principal = Principal {
            name: Arc::clone(name),
            sessions: Vec::new(),
            tombstones: VecDeque::new(),
            jobs: BTreeMap::new(),
            unfinished_jobs: 0,
            running_jobs: 0,
            queued: VecDeque::new(),
            finished: VecDeque::new(),
            subscriptions: 0,
            keys: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            undecided: 0,
            buffered: 0,
            evict_at: 0,
            hellos: Bucket::full(limits.hello_burst, now),
            failed: FailedTokens::default(),
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index] = Some(principal);
                index
            }
            None => {
                self.slots.push(Some(principal));
                self.slots.len() - 1
            }
        };
        self.by_name.insert(Arc::clone(name), PrincipalHandle(index));
        PrincipalHandle(index)
    }

    /// Whether this principal, if it is known, presented so many wrong resume tokens that answers come slower.
    pub(crate) fn is_doubted(&self, name: &Arc<str>, limits: &Limits, now: Instant) -> bool {
        let principal = self.by_name.get(name).and_then(|handle| self.slots[handle.0].as_ref());
        principal.is_some_and(|principal| principal.failed.are_too_many(limits, now))
    }

    /// The principal behind a handle.
    ///
    /// # Panics
    /// Never: a session or job holds the handle, and a principal is forgotten only when it has neither.
    pub(crate) fn at(&mut self, handle: PrincipalHandle) -> &mut Principal {
        #[expect(clippy::expect_used, reason = "whoever holds a handle keeps its principal")]
        self.slots[handle.0].as_mut().expect("a principal lives as long as its sessions and jobs")
    }

    /// Forgets a principal that holds nothing any more. Its hello rate begins anew then, which is why this waits
    /// until the bucket would be full again anyway.
    pub(crate) fn leave(&mut self, handle: PrincipalHandle, limits: &Limits, now: Instant) {
        let principal = self.at(handle);
        if principal.is_idle()
            && principal.failed.are_none(now)
            && principal.hellos.is_full(limits.hellos_per_second, limits.hello_burst, now)
        {
            let name = Arc::clone(&principal.name);
            self.by_name.remove(&name);
            self.slots[handle.0] = None;
            self.free.push(handle.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn hellos_are_limited_in_rate_and_burst() {
        let limits = Limits { hellos_per_second: 10, hello_burst: 3, ..Limits::default() };
        let mut principals = Principals::default();
        let alice = principals.enter(&Arc::from("alice"), &limits, at(0));
        for granted in [true, true, true, false] {
            assert_eq!(principals.at(alice).admit_hello(&limits, at(0)), granted);
        }
        assert!(!principals.at(alice).admit_hello(&limits, at(99)));
        assert!(principals.at(alice).admit_hello(&limits, at(100)));
        assert!(!principals.at(alice).admit_hello(&limits, at(100)));
    }

    #[test]
    fn a_principal_without_anything_is_forgotten_once_its_rate_allows() {
        let limits = Limits { hellos_per_second: 10, hello_burst: 3, ..Limits::default() };
        let mut principals = Principals::default();
        let name: Arc<str> = Arc::from("alice");
        let alice = principals.enter(&name, &limits, at(0));
        assert!(principals.at(alice).admit_hello(&limits, at(0)));
        principals.leave(alice, &limits, at(0));
        assert_eq!(principals.by_name.len(), 1);
        principals.leave(alice, &limits, at(100));
        assert!(principals.by_name.is_empty());
    }
}
