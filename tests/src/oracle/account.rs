//! The account that the oracle keeps of sessions, jobs, streams and connections.

use std::collections::VecDeque;

use arcp_proto::runtime::StopReason;
use arcp_proto::runtime::store::StoreId;
use arcp_proto::wire::RawJson;

use super::{budget, lease};

/// Tokens and owner of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tokens {
    pub(super) current: [u8; 32],
    pub(super) previous: Option<[u8; 32]>,
    pub(super) confirmed: bool,
    pub(super) epoch: u64,
    pub(super) is_dead: bool,
}

#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) key: u128,
    pub(super) principal: String,
    pub(super) features: u16,
    /// What the runtime goes by at this moment, and what its store has.
    pub(super) live: Tokens,
    pub(super) stored: Option<Tokens>,
    /// The append that brought the newest epoch.
    pub(super) append: u64,
    /// What was stored, by number from 1.
    pub(super) log: Vec<Entry>,
    pub(super) floor: u64,
    pub(super) acked: u64,
    /// The same without what resumes have shown.
    pub(super) acked_by_frame: u64,
    pub(super) sent: u64,
    /// Numbers that were given to the store.
    pub(super) given: u64,
    /// Up to where the store was told to forget.
    pub(super) let_go: u64,
    /// The connection that owns it.
    pub(super) link: Option<usize>,
    /// Since when it has none, on the runtime's monotonic clock, in µs.
    pub(super) detached_at: Option<u64>,
    pub(super) streams: Vec<Stream>,
    /// An acknowledgement or a hello of it may have been changed on the way.
    pub(super) is_tainted: bool,
    /// It was told that history it still needed is gone.
    pub(super) lost_history: bool,
    pub(super) welcomed: bool,
    /// Jobs that its client has named in a request.
    pub(super) named: Vec<u128>,
    /// Somebody may have named any.
    pub(super) knows_jobs: bool,
    pub(super) token_text: String,
    /// The process of the runtime that gave its last number.
    pub(super) numbered_in: u64,
    /// It was told that it lags, and has not caught up since.
    pub(super) lag_told: bool,
}

/// One number of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) append: u64,
    pub(super) job: usize,
    /// 0 for what is no part of the job's log.
    pub(super) pos: u64,
    /// Of the frame; 0 before it was seen.
    pub(super) digest: u64,
    /// It was numbered as it happened, not as a part of history.
    pub(super) is_live: bool,
}

/// A job in the stream of a session.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) job: usize,
    /// The position that was delivered last.
    pub(super) last: u64,
    /// What was delivered last was numbered as it happened.
    pub(super) is_live: bool,
    pub(super) ended: bool,
    /// Attachments that were granted and have not begun, each with the position behind which it must begin.
    pub(super) granted: VecDeque<u64>,
    /// Its acceptance arrived at the client.
    pub(super) accepted: bool,
    /// The connection on which its acceptance or its subscription was confirmed last.
    pub(super) announced: Option<usize>,
    /// The append in which it was last followed by a request.
    pub(super) followed: u64,
    pub(super) followed_after: u64,
}

#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) key: u128,
    pub(super) principal: String,
    pub(super) owner: Option<u128>,
    /// The session it was accepted in.
    pub(super) first_owner: Option<u128>,
    /// Principal and key.
    pub(super) idempotency: Option<(String, String)>,
    pub(super) agent: String,
    pub(super) trace: String,
    pub(super) parent: Option<usize>,
    /// The append that accepted it.
    pub(super) append: u64,
    pub(super) is_stored: bool,
    pub(super) is_forgotten: bool,
    pub(super) started: bool,
    pub(super) started_append: u64,
    /// By position from 1.
    pub(super) events: Vec<Happened>,
    pub(super) floor: u64,
    /// Up to where the store was asked to let go of its events.
    pub(super) let_go: u64,
    pub(super) last_marker: u64,
    /// What its agent was told it had said.
    pub(super) emitted: u64,
    pub(super) end: Option<End>,
    pub(super) end_append: u64,
    pub(super) stopping: Option<StopReason>,
    pub(super) stopping_append: u64,
    pub(super) chunks: Option<Chunks>,
    /// The effective lease as JSON text, and its end in Unix milliseconds.
    pub(super) lease: lease::Terms,
    /// Own counters in 10⁻⁹ units: as the runtime goes by them, and as stored.
    pub(super) counters: Vec<(String, i128)>,
    pub(super) stored_counters: Vec<(String, i128)>,
    /// What moved the counters, to tell what is wrong with one.
    pub(super) moved: budget::Moved,
    pub(super) accepted_digest: u64,
    pub(super) params: u64,
    pub(super) live_end: bool,
    pub(super) live_stopping: Option<StopReason>,
    pub(super) deadline: Option<u64>,
    pub(super) is_expired: bool,
    pub(super) agent_returned: Option<bool>,
    pub(super) cancel_asked: bool,
    pub(super) stop_began: Option<u64>,
    pub(super) incarnation: u64,
    /// Its agent was started.
    pub(super) has_begun: bool,
    /// What its agent kept last, as it is stored, and how many events there were then.
    pub(super) checkpoint: Option<(RawJson, u64)>,
    /// How often it was run again since then.
    pub(super) restarts: u32,
    /// How many events there were when this process began.
    pub(super) found: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Happened {
    pub(super) kind: Kind,
    pub(super) origin: u64,
    /// Of kind and body as stored.
    pub(super) body: u64,
}

/// Kinds that a session may not have negotiated, and the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Progress,
    Chunk,
    Rotated,
    End,
    Other,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct End {
    pub(super) status: &'static str,
    pub(super) code: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Chunks {
    pub(super) result: u128,
    pub(super) next: u64,
    pub(super) bytes: u64,
    pub(super) complete: bool,
}

/// A connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) client: Option<usize>,
    /// What its hello claims to have may have been changed on the way.
    pub(super) is_unsure: bool,
    /// Nobody in between can read it.
    pub(super) is_private: bool,
    pub(super) opened_at: u64,
    pub(super) hello: Option<Hello>,
    pub(super) hello_read: bool,
    pub(super) session: Option<usize>,
    pub(super) last: u64,
    /// The runtime's monotonic clock at the last frame it read.
    pub(super) heard_at: u64,
    pub(super) goodbye: bool,
    /// What its session is to be sent could not be read back.
    pub(super) read_failed: bool,
    /// Pings that were read and not answered.
    pub(super) pings: u64,
    /// Requests that were read and not answered.
    pub(super) unanswered: u64,
    pub(super) closed: bool,
    pub(super) is_tainted: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Hello {
    pub(super) principal: String,
    pub(super) features: u16,
    pub(super) session: u128,
    pub(super) token: Option<[u8; 32]>,
    pub(super) last: Option<u64>,
}

/// An append as it was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Append {
    pub(super) id: StoreId,
    pub(super) stored: bool,
    pub(super) answered: bool,
}
