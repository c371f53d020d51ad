//! One job: lifecycle, log, followers (protocol §3.4).

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::agent::AgentRef;
use crate::chunk::ChunkWriter;
use crate::config::Limits;
use crate::id::{CredentialKey, JobKey};
use crate::lease::{Counters, Expiry, Lease};
use crate::replay::{Retention, RetentionLimit};
use crate::runtime::agent::{Restart, StopReason};
use crate::runtime::collected::Collected;
use crate::runtime::ledger::Held;
use crate::runtime::log::{Mark, Position};
use crate::runtime::principal::PrincipalHandle;
use crate::runtime::requests::Tail;
use crate::runtime::store::{JobRecord, ParentRecord};
use crate::runtime::{JobHandle, SessionHandle};
use crate::time::{Instant, Now, UnixTime};
use crate::trace::TraceId;
use crate::transition::lifecycle;
use crate::wire::RawJson;
use crate::wire::delivery::Line;
use crate::wire::job::FinalStatus;

lifecycle! {
    /// The state of a job.
    ///
    /// ```text
    ///   (accepted) → pending → running → success
    ///                   │         ├────→ error
    ///                   │         ├────→ cancelled
    ///                   └─────────┴────→ timed_out
    /// ```
    /// `pending` goes to every end but `success` without running (D-27).
    pub enum JobState {
        /// Accepted, waits for a place.
        Pending = "pending",
        /// The agent runs.
        Running = "running",
        /// The agent returned a value.
        Success = "success",
        /// The agent failed, or the runtime did.
        Error = "error",
        /// A cancel was honoured.
        Cancelled = "cancelled",
        /// `max_runtime_sec` was reached.
        TimedOut = "timed_out",
    }
    /// What happens to a job.
    pub(crate) enum JobEdge {
        /// The agent starts.
        Start: Pending => Running,
        /// The agent returns.
        Succeed: Running => Success,
        /// It ends with an error.
        Fail: Pending | Running => Error,
        /// It ends because of a cancel.
        Cancel: Pending | Running => Cancelled,
        /// It ends because of its run-time limit.
        TimeOut: Pending | Running => TimedOut,
    }
}

impl JobState {
    /// Whether this is one of the four ends.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

impl JobEdge {
    pub(crate) const fn to(status: FinalStatus) -> Self {
        match status {
            FinalStatus::Success => Self::Succeed,
            FinalStatus::Error => Self::Fail,
            FinalStatus::Cancelled => Self::Cancel,
            FinalStatus::TimedOut => Self::TimeOut,
        }
    }
}

/// A follower that gets each event as it happens.
#[derive(Debug)]
pub(crate) struct LiveFollower {
    pub(crate) session: SessionHandle,
    pub(crate) line: Arc<Line>,
    /// Whether it has a number of this job yet.
    pub(crate) numbered: bool,
}

/// Why nothing is taken from a job's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Hold {
    /// Its owner's stream is full.
    Owner = 1,
    /// The store is full or far behind.
    Store = 2,
    /// Its owner still reads history that would otherwise be evicted.
    History = 4,
}

/// How far a job is, as lists show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: JobState,
    /// Origin number of its newest event; 0 before the first.
    pub(crate) last_origin: u64,
    /// Position of its newest event; 0 before the first.
    pub(crate) last_pos: u64,
}

/// One job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) key: JobKey,
    pub(crate) principal: PrincipalHandle,
    pub(crate) principal_name: Arc<str>,
    pub(crate) owner: Option<SessionHandle>,
    /// The submit it answers; `None` for a child.
    pub(crate) request_id: Option<Arc<str>>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) agent: AgentRef,
    pub(crate) trace_id: TraceId,
    /// Until the agent has it.
    pub(crate) input: Option<RawJson>,
    pub(crate) accepted_at: UnixTime,
    /// Where its acceptance stands in the log.
    pub(crate) accepted: Position,
    /// Whether `job.accepted` may be sent, that is, its acceptance is stored.
    pub(crate) acceptance_known: bool,
    pub(crate) max_runtime_sec: Option<u64>,
    /// The effective lease.
    pub(crate) lease: Arc<Lease>,
    pub(crate) expiry: Option<Expiry>,
    /// What is left of the currencies that are its own.
    pub(crate) counters: Counters,
    /// The delegation it comes from.
    pub(crate) parentage: Option<ParentRecord>,
    /// The job that delegated it, while that is remembered.
    pub(crate) parent: Option<JobHandle>,
    /// Unfinished jobs it delegated.
    pub(crate) children: BTreeSet<JobHandle>,
    pub(crate) state: JobState,
    /// Bytes an event may take, as its agent was told at its start.
    pub(crate) frame_limit: usize,
    /// Whether the driver was told to start it and not yet to kill it.
    pub(crate) agent_runs: bool,
    pub(crate) stopping: Option<StopReason>,
    pub(crate) grace_ends: Option<Instant>,
    pub(crate) last_origin: u64,
    /// How far it is in the store; `None` until its acceptance is there.
    pub(crate) committed: Option<Standing>,
    pub(crate) mark: Mark,
    /// The append in which its history was numbered last. The store lets go of nothing of it before it has that.
    pub(crate) delivered: Position,
    pub(crate) retention: Retention,
    pub(crate) live: SmallVec<[LiveFollower; 2]>,
    pub(crate) catching: Vec<SessionHandle>,
    pub(crate) tail: Tail,
    pub(crate) chunks: Option<ChunkWriter>,
    /// A streamed result for a submitter that reads no chunks (D-43).
    pub(crate) collected: Option<Collected>,
    /// A streamed result for the agent of the parent.
    pub(crate) for_parent: Option<Collected>,
    pub(crate) streams_chunks: bool,
    /// Every credential it ever had, oldest first.
    pub(crate) credential_keys: Vec<CredentialKey>,
    /// The current one, while its value is in memory.
    pub(crate) credential: Option<Held>,
    /// Children whose credential has been asked for.
    pub(crate) expected_children: usize,
    /// A new one has been asked for.
    pub(crate) renews_credential: bool,
    /// It was accepted with one whose value a restart has lost, and starts, or is run again, when it has another.
    pub(crate) lost_credential: bool,
    /// Whether it may be run again after the process has ended.
    pub(crate) restartable: bool,
    /// What it has done before it is run again, until it is.
    pub(crate) restart: Option<Box<Restart>>,
    held: u8,
}

impl Job {
    /// The job of this record, as it is at its acceptance, but for the budget it has spent since.
    pub(crate) fn new(
        record: &JobRecord,
        principal: PrincipalHandle,
        owner: Option<SessionHandle>,
        now: Now,
    ) -> Self {
        Self {
            key: record.key,
            principal,
            principal_name: Arc::clone(&record.principal),
            owner,
            request_id: record.request_id.clone(),
            idempotency_key: record.idempotency_key.clone(),
            agent: record.agent.clone(),
            trace_id: record.trace_id,
            input: Some(record.input.clone()),
            accepted_at: record.accepted_at,
            accepted: Position::default(),
            acceptance_known: false,
            max_runtime_sec: record.max_runtime_sec,
            expiry: record.lease.expires_at().map(|at| Expiry::new(at, now)),
            counters: record.lease.counters(),
            lease: Arc::clone(&record.lease),
            parentage: record.parent,
            parent: None,
            children: BTreeSet::new(),
            state: JobState::Pending,
            frame_limit: 0,
            agent_runs: false,
            stopping: None,
            grace_ends: None,
            last_origin: 0,
            committed: None,
            mark: Mark::default(),
            delivered: Position::default(),
            retention: Retention::new(0),
            live: SmallVec::new(),
            catching: Vec::new(),
            tail: Tail::default(),
            chunks: None,
            collected: None,
            for_parent: None,
            streams_chunks: false,
            credential_keys: Vec::new(),
            credential: None,
            expected_children: 0,
            renews_credential: false,
            lost_credential: false,
            restartable: record.restartable,
            restart: None,
            held: 0,
        }
    }

    /// How many jobs are above it.
    pub(crate) fn depth(&self) -> u8 {
        self.parentage.map_or(0, |parentage| parentage.depth)
    }

    /// The position of the newest event; 0 before the first.
    pub(crate) const fn last_pos(&self) -> u64 {
        self.retention.last()
    }

    /// Takes a reason to hold the agent in or out; says whether that starts or ends the hold.
    pub(crate) const fn hold(&mut self, reason: Hold, on: bool) -> bool {
        let before = self.held;
        self.held = if on { before | reason as u8 } else { before & !(reason as u8) };
        (before == 0) != (self.held == 0)
    }

    pub(crate) const fn is_held(&self) -> bool {
        self.held != 0
    }

    /// What a job's log may take.
    pub(crate) const fn retention_limit(limits: &Limits) -> RetentionLimit {
        RetentionLimit {
            events: limits.log_events,
            bytes: limits.log_bytes,
            chunk_bytes: limits.log_chunk_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transition::Step;
    use std::fmt::Write;

    #[test]
    fn the_lifecycle_is_the_published_one() {
        let mut table = String::new();
        for state in JobState::ALL {
            for edge in JobEdge::ALL {
                let step = match state.on(*edge) {
                    Step::To(next) => next.as_str(),
                    Step::NoOp => "-",
                    Step::Illegal => "illegal",
                };
                writeln!(table, "{:<9} {edge:?} → {step}", state.as_str()).unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn holds_add_up() {
        let job = &mut held_job();
        assert!(job.hold(Hold::Owner, true));
        assert!(!job.hold(Hold::Store, true));
        assert!(!job.hold(Hold::Owner, false));
        assert!(job.is_held());
        assert!(job.hold(Hold::Store, false));
        assert!(!job.hold(Hold::History, false));
    }

    fn held_job() -> Job {
        let mut principals = crate::runtime::principal::Principals::default();
        let record = crate::runtime::tests::job_record(JobKey::from_ulid(crate::id::Ulid::default()));
        let principal = principals.enter(&record.principal, &Limits::default(), Instant::ZERO);
        Job::new(&record, principal, None, Now::default())
    }
}
