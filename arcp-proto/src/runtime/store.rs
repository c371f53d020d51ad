//! Storage as an effect: records, commands and answers (design: the log is one).
//!
//! The endpoint never waits for storage; it gives commands and goes on. What must not be seen before it is stored is
//! gated inside the endpoint on the contiguous prefix of completed appends.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::agent::AgentRef;
use crate::feature::Features;
use crate::id::{CredentialKey, DelegationKey, JobKey, SessionKey};
use crate::lease::{Counter, Lease};
use crate::runtime::agent::StopReason;
use crate::runtime::ledger::CredentialState;
use crate::runtime::rows::Row;
use crate::secret::TokenHash;
use crate::time::UnixTime;
use crate::trace::TraceId;
use crate::wire::RawJson;
use crate::wire::event::{Content, LoggedEvent, Outcome};
use crate::wire::peer::{PeerProfile, TransportKind};

/// Names a command given to the store. Rises from command to command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub(crate) u64);

impl StoreId {
    /// A name for a command of one's own, for whoever uses a store without an endpoint.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// What the store is to do.
///
/// # Contract
/// Commands take effect in the order in which they are given; answers may come in any order. An `Append` is stored
/// whole or not at all. After a crash the store holds a prefix of the appends it was given, which includes every one it
/// answered with [`StoreDone::Appended`] provided all before it were answered so too.
#[derive(Debug, Clone)]
pub enum Command {
    /// Store these records, all or none. Answer: `Appended`, `Full` or `Failed`.
    Append(Vec<Record>),
    /// Read what was delivered to a session behind number `after`, oldest first. Answer: `Session`.
    ReadSession {
        /// The session.
        session: SessionKey,
        /// Numbers above this one.
        after: u64,
        /// How much.
        limit: PageLimit,
    },
    /// Read a job's log behind a place, oldest first. Answer: `Job`.
    ReadJob {
        /// The job.
        job: JobKey,
        /// Where to begin.
        after: Place,
        /// How much.
        limit: PageLimit,
    },
    /// Read state rows, never events, behind `after` in row order. Answer: `Rows`; an empty page is the end.
    Load {
        /// The last row of the page before.
        after: Option<RowKey>,
        /// At most so many.
        limit: usize,
    },
    /// Forget what is named. Nothing waits for it. Answer: `Trimmed`, `Full` or `Failed`.
    Trim(Trim),
}

/// How much a page holds: it ends with the event that reaches either limit, and has at least one event if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Events.
    pub events: usize,
    /// Bytes, as [`LoggedEvent::cost`] counts them.
    pub bytes: u64,
}

impl PageLimit {
    /// The page at the beginning of `items`.
    pub fn page<T>(mut self, items: impl Iterator<Item = T>, event: impl Fn(&T) -> &LoggedEvent) -> Vec<T> {
        let mut page = Vec::new();
        if self.events == 0 {
            return page;
        }
        for item in items {
            let has_room = self.take(event(&item));
            page.push(item);
            if !has_room {
                break;
            }
        }
        page
    }

    /// Counts an event in. Says whether there is room for another.
    pub fn take(&mut self, event: &LoggedEvent) -> bool {
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(event.cost().total());
        self.events > 0 && self.bytes > 0
    }
}

/// Where in a job's log to begin reading; both exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Behind this position.
    Position(u64),
    /// Behind this origin number.
    Origin(u64),
}

/// What may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trim {
    /// A session's deliveries up to and including this number.
    Session {
        /// The session.
        session: SessionKey,
        /// Its new floor.
        to: u64,
    },
    /// A job's log up to and including this position, as far as no session still needs it; the terminal never.
    Job {
        /// The job.
        job: JobKey,
        /// Its new floor.
        to: u64,
    },
    /// A session and all its deliveries.
    WholeSession(SessionKey),
    /// A job, its log and its idempotency key. The rows of its credentials are named apart.
    WholeJob(JobKey),
    /// A credential of which nothing is good any more, and whose job is not remembered.
    Credential(CredentialKey),
}

/// Names a row; rows are read in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// A session's row.
    Session(SessionKey),
    /// A job's row.
    Job(JobKey),
    /// A credential's row.
    Credential(CredentialKey),
}

/// The answer to a [`Command`].
#[derive(Debug, Clone)]
pub enum StoreDone {
    /// The append is stored at the configured level of durability.
    Appended,
    /// What was delivered to a session.
    Session(Vec<Delivered>),
    /// A job's log.
    Job(JobPage),
    /// State rows.
    Rows(Vec<Row>),
    /// Forgotten.
    Trimmed,
    /// There is no room; nothing was written. Gives back the records of an append, and the store takes no later append
    /// before it is given this one again. A command that is no append gives back nothing.
    Full(Vec<Record>),
    /// It failed in another way; whether anything was written is not known.
    Failed,
}

/// One delivery read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// The session's number.
    pub seq: u64,
    /// The job.
    pub job: JobKey,
    /// What was delivered.
    pub event: Arc<LoggedEvent>,
}

/// A piece of a job's log read back.
#[derive(Debug, Clone, Default)]
pub struct JobPage {
    /// The events, by position, without a gap between them.
    pub events: Vec<Logged>,
    /// Origin number of the event just before the first of them, also when that one is no longer kept; for an empty
    /// page, of the last event of the log. 0 if there was none.
    pub before: u64,
}

/// One event of a job's log read back. Its position is in the event.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// Its origin number.
    pub origin: u64,
    /// The event.
    pub event: Arc<LoggedEvent>,
}

/// One change of state. State is the fold of records by [`Tables`](crate::runtime::rows::Tables).
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A session at its opening, at each resume, at the first frame after it, and at its death.
    Session(SessionRecord),
    /// A job was accepted.
    Job(JobRecord),
    /// A queued job begins, or one whose agent went with its process begins again.
    Started {
        /// The job.
        job: JobKey,
    },
    /// An agent's own state, from which it goes on should it be run again.
    Checkpoint {
        /// The job.
        job: JobKey,
        /// The state.
        state: RawJson,
    },
    /// Counters of a job's budget moved, by what is recorded behind this in the same append: a charge, the escrow of a
    /// delegation, the refund of a child that ends (protocol §5.6).
    Counters {
        /// The job whose budget it is.
        job: JobKey,
        /// The counters that moved, as they are now.
        counters: Vec<Counter>,
    },
    /// A job produced an event.
    Event(EventRecord),
    /// A page of history was numbered for one session.
    Deliver {
        /// The session.
        session: SessionKey,
        /// The job.
        job: JobKey,
        /// The number of the first of them; the others follow without a gap.
        first_seq: u64,
        /// The positions delivered. Empty if every event of the page was of a kind the session did not negotiate.
        positions: Vec<u64>,
        /// The last position the page covered.
        through: u64,
        /// Bytes the delivered events count for, and how many of these bytes are chunks.
        cost: Cost,
    },
    /// An event of one session only.
    Notice {
        /// The session.
        session: SessionKey,
        /// Its number.
        seq: u64,
        /// The job it speaks of.
        job: JobKey,
        /// The event.
        event: Arc<LoggedEvent>,
        /// Bytes it counts for in the session's stream.
        cost: Cost,
    },
    /// A session follows a job.
    Follow {
        /// The session.
        session: SessionKey,
        /// The job.
        job: JobKey,
        /// Positions above this one are delivered.
        after: u64,
    },
    /// A session no longer follows a job.
    Unfollow {
        /// The session.
        session: SessionKey,
        /// The job.
        job: JobKey,
    },
    /// A session becomes the owner of a job, and follows it from `after` unless it does already.
    Owner {
        /// The session.
        session: SessionKey,
        /// The job.
        job: JobKey,
        /// Positions above this one are delivered; `None` if the session follows it already.
        after: Option<u64>,
    },
    /// A job is being stopped.
    Stopping {
        /// The job.
        job: JobKey,
        /// Why.
        reason: StopReason,
        /// When, for the grace.
        at: UnixTime,
    },
    /// A provisioned credential as it is from here on: asked for, issued, to be revoked, gone.
    Credential(CredentialRecord),
}

/// A session's own state.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRecord {
    /// The session.
    pub key: SessionKey,
    /// Who opened it.
    pub principal: Arc<str>,
    /// What was negotiated; never changes.
    pub features: Features,
    /// How its peer is spoken to; never changes (D-106).
    pub profile: PeerProfile,
    /// The transport of its first connection, which decides frame sizes; never changes.
    pub transport: TransportKind,
    /// Raised by every resume.
    pub epoch: u64,
    /// Hash of the newest resume token.
    pub current: TokenHash,
    /// Whether the client has shown that it holds the newest token.
    pub confirmed: bool,
    /// Hash of the token before, while the newest is unconfirmed.
    pub previous: Option<TokenHash>,
    /// Set at its death: since then it cannot be resumed, and is remembered for an honest answer only (D-68).
    pub dead_since: Option<UnixTime>,
}

/// An accepted job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// The job.
    pub key: JobKey,
    /// Who submitted it.
    pub principal: Arc<str>,
    /// The session that owns the job and follows it from its start: the submitting one, or the owner of the parent;
    /// `None` for the child of a job that nobody owns.
    pub owner: Option<SessionKey>,
    /// The submit's envelope id, for acceptances that are sent again (D-66); `None` for a child.
    pub request_id: Option<Arc<str>>,
    /// The idempotency key, if one was given.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the canonical parameters (D-23).
    pub digest: [u8; 32],
    /// The resolved agent.
    pub agent: AgentRef,
    /// The job's trace.
    pub trace_id: TraceId,
    /// The input.
    pub input: RawJson,
    /// When it was accepted.
    pub accepted_at: UnixTime,
    /// The run-time limit in seconds, counted from acceptance.
    pub max_runtime_sec: Option<u64>,
    /// The effective lease.
    pub lease: Arc<Lease>,
    /// Who delegated it.
    pub parent: Option<ParentRecord>,
    /// Whether it started at once; otherwise it waits for a [`Record::Started`].
    pub started: bool,
    /// Whether it may be run again after the process that runs it has ended. Then the input is kept until its end.
    pub restartable: bool,
}

/// The delegation a child comes from (protocol §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParentRecord {
    /// The job whose agent delegated.
    pub job: JobKey,
    /// The `delegate_id` of its event.
    pub delegation: DelegationKey,
    /// How many jobs are above it: 1 for a child of a submitted job.
    pub depth: u8,
}

/// A provisioned credential, never its value (protocol §5.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRecord {
    /// The credential.
    pub key: CredentialKey,
    /// The job it is for, which need not have been accepted.
    pub job: JobKey,
    /// Where it is good; `None` before it was issued.
    pub endpoint: Option<Arc<str>>,
    /// How far it is.
    pub state: CredentialState,
    /// When the upstream itself stops taking it; `None` if that is not known.
    pub expires: Option<UnixTime>,
}

/// One event of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRecord {
    /// The job.
    pub job: JobKey,
    /// Its origin number (D-103). Its position is in the event.
    pub origin: u64,
    /// What was produced.
    pub event: Arc<LoggedEvent>,
    /// Bytes the event counts for in its job's log and in each stream.
    pub cost: Cost,
    /// The live followers and the number each of them has for it. A follower that did not negotiate the kind is
    /// absent.
    pub deliveries: SmallVec<[(SessionKey, u64); 2]>,
}

/// Bytes as limits count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Bytes of result chunks.
    pub chunk_bytes: u64,
    /// All other bytes.
    pub bytes: u64,
}

impl Cost {
    /// Adds another cost.
    pub fn add(&mut self, other: Self) {
        self.chunk_bytes = self.chunk_bytes.saturating_add(other.chunk_bytes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Takes another cost away.
    pub fn subtract(&mut self, other: Self) {
        self.chunk_bytes = self.chunk_bytes.saturating_sub(other.chunk_bytes);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    /// All bytes.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.chunk_bytes.saturating_add(self.bytes)
    }
}

impl LoggedEvent {
    /// What the event counts for: its text and a little for keeping it. The same whenever it is asked, so that what was
    /// added for an event can be taken away for it.
    #[must_use]
    pub fn cost(&self) -> Cost {
        const OVERHEAD: u64 = 64;
        /// What the body of a rotation takes.
        const ROTATION: u64 = 128;
        match &self.content {
            Content::Event { body, .. } => Cost { bytes: OVERHEAD + body.len() as u64, chunk_bytes: 0 },
            Content::Rotated { .. } => Cost { bytes: OVERHEAD + ROTATION, chunk_bytes: 0 },
            Content::Chunk { data, .. } => Cost { bytes: OVERHEAD, chunk_bytes: data.len() as u64 },
            Content::End(terminal) => {
                let value = match &terminal.outcome {
                    Outcome::Inline(value) => value.len(),
                    Outcome::Streamed { .. } => 0,
                    Outcome::Failed(error) => error.message.len() + error.details.weight(),
                };
                let summary = terminal.summary.as_ref().map_or(0, String::len);
                Cost { bytes: OVERHEAD + (value + summary) as u64, chunk_bytes: 0 }
            }
        }
    }
}
