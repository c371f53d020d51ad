//! One job: lifecycle, log, followers (protocol §3.4).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::agent::AgentRef;
use crate::chunk::ChunkWriter;
use crate::config::Limits;
use crate::id::JobKey;
use crate::replay::{Retention, RetentionLimit};
use crate::runtime::SessionHandle;
use crate::runtime::log::{Mark, Position};
use crate::runtime::output::StopReason;
use crate::runtime::principal::PrincipalHandle;
use crate::runtime::requests::Tail;
use crate::time::{Instant, UnixTime};
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

/// How a streamed result is kept for a submitter that cannot read chunks (D-43).
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) encoding: crate::wire::event::ChunkEncoding,
    /// Text, or decoded bytes.
    pub(crate) bytes: Vec<u8>,
}

/// One job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) key: JobKey,
    pub(crate) principal: PrincipalHandle,
    pub(crate) principal_name: Arc<str>,
    pub(crate) owner: Option<SessionHandle>,
    pub(crate) request_id: Arc<str>,
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
    pub(crate) retention: Retention,
    pub(crate) live: SmallVec<[LiveFollower; 2]>,
    pub(crate) catching: Vec<SessionHandle>,
    pub(crate) tail: Tail,
    pub(crate) chunks: Option<ChunkWriter>,
    pub(crate) collected: Option<Collected>,
    pub(crate) streams_chunks: bool,
    held: u8,
}

/// What [`Job::new`] takes.
#[derive(Debug)]
pub(crate) struct NewJob {
    pub(crate) key: JobKey,
    pub(crate) principal: PrincipalHandle,
    pub(crate) principal_name: Arc<str>,
    pub(crate) owner: Option<SessionHandle>,
    pub(crate) request_id: Arc<str>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) agent: AgentRef,
    pub(crate) trace_id: TraceId,
    pub(crate) input: Option<RawJson>,
    pub(crate) accepted_at: UnixTime,
    pub(crate) max_runtime_sec: Option<u64>,
}

impl Job {
    pub(crate) fn new(new: NewJob) -> Self {
        Self {
            key: new.key,
            principal: new.principal,
            principal_name: new.principal_name,
            owner: new.owner,
            request_id: new.request_id,
            idempotency_key: new.idempotency_key,
            agent: new.agent,
            trace_id: new.trace_id,
            input: new.input,
            accepted_at: new.accepted_at,
            accepted: Position::default(),
            acceptance_known: false,
            max_runtime_sec: new.max_runtime_sec,
            state: JobState::Pending,
            frame_limit: 0,
            agent_runs: false,
            stopping: None,
            grace_ends: None,
            last_origin: 0,
            committed: None,
            mark: Mark::default(),
            retention: Retention::new(0),
            live: SmallVec::new(),
            catching: Vec::new(),
            tail: Tail::default(),
            chunks: None,
            collected: None,
            streams_chunks: false,
            held: 0,
        }
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
        let principal_name: Arc<str> = Arc::from("alice");
        Job::new(NewJob {
            key: JobKey::from_ulid(crate::id::Ulid::default()),
            principal: principals.enter(&principal_name, &Limits::default(), Instant::ZERO),
            principal_name,
            owner: None,
            request_id: Arc::from("m"),
            idempotency_key: None,
            agent: AgentRef::parse("a").unwrap(),
            trace_id: TraceId::from_bytes([1; 16]).unwrap(),
            input: None,
            accepted_at: UnixTime::default(),
            max_runtime_sec: None,
        })
    }
}
