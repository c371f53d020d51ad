//! Start-up as its own machine: from the rows of a store to a runtime in which every session waits for a resume.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use crate::config::{MAX_SEQ, RuntimeConfig};
use crate::entropy::Entropy;
use crate::error::{Details, ErrorCode, WireError};
use crate::feature::Feature;
use crate::id::{IdSource, Ulid};
use crate::lease::Expiry;
use crate::runtime::agent::StopReason;
use crate::runtime::cancel::terminal_of;
use crate::runtime::job::{Job, JobState, LiveFollower, Standing};
use crate::runtime::principal::KeyEntry;
use crate::runtime::rows::{JobRow, Row, SessionRow};
use crate::runtime::session::{Follow, Following, Session};
use crate::runtime::store::{Command, CredentialRecord, RowKey, StoreDone, StoreId};
use crate::runtime::{JobHandle, RuntimeEndpoint, Timer};
use crate::time::{Now, UnixTime};
use crate::wire::event::{Outcome, Terminal};
use crate::wire::job::FinalStatus;

const PAGE: usize = 256;

/// Reads a store's rows and becomes a [`RuntimeEndpoint`].
///
/// ```
/// # use arcp_proto::{config::RuntimeConfig, entropy::Entropy, time::Now};
/// # use arcp_proto::runtime::{Recovery, Step, rows::Tables};
/// # struct Zeros;
/// # impl Entropy for Zeros {
/// #     fn fill_public(&mut self, bytes: &mut [u8]) { bytes.fill(0) }
/// #     fn fill_secret(&mut self, bytes: &mut [u8]) { bytes.fill(0) }
/// # }
/// let mut store = Tables::default();
/// let mut recovery = Recovery::new(RuntimeConfig::default(), Box::new(Zeros), Now::default());
/// let runtime = loop {
///     match recovery.step() {
///         Step::NeedsStore { id, command } => {
///             let done = store.execute(command);
///             recovery.handle_store(id, done).expect("the store answers");
///         }
///         Step::Ready(runtime) => break runtime,
///     }
/// };
/// assert_eq!(runtime.population().sessions, 0);
/// ```
///
/// Sessions come back detached, with their tokens good and their resume window beginning anew. Jobs that were running
/// have lost their agents and end: by the reason they were being stopped for, else with `INTERNAL_ERROR`, unless their agent
/// may be run again, which it is then. Jobs that had not started do so.
#[expect(missing_debug_implementations, reason = "the entropy source shows nothing")]
pub struct Recovery {
    endpoint: Option<Box<RuntimeEndpoint>>,
    next: Option<RowKey>,
    asked: Option<StoreId>,
    ids: u64,
    sessions: Vec<SessionRow>,
    jobs: Vec<JobRow>,
    credentials: Vec<CredentialRecord>,
    complete: bool,
}

/// What a [`Recovery`] needs next.
#[expect(missing_debug_implementations, reason = "a runtime is not shown")]
pub enum Step {
    /// Carry this out and answer with [`Recovery::handle_store`].
    NeedsStore {
        /// Names the command.
        id: StoreId,
        /// What to do.
        command: Command,
    },
    /// The runtime; its first outputs wait already.
    Ready(Box<RuntimeEndpoint>),
}

/// Why a store's content cannot be recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The store could not be read.
    #[error("the store's rows could not be read")]
    Unreadable,
    /// The answer belongs to no question.
    #[error("the answer belongs to no question of this recovery")]
    Unexpected,
}

impl Recovery {
    /// A recovery that has read nothing yet.
    #[must_use]
    pub fn new(config: RuntimeConfig, entropy: Box<dyn Entropy + Send>, now: Now) -> Self {
        Self {
            endpoint: Some(Box::new(RuntimeEndpoint::new(config, entropy, now))),
            next: None,
            asked: None,
            ids: 0,
            sessions: Vec::new(),
            jobs: Vec::new(),
            credentials: Vec::new(),
            complete: false,
        }
    }

    /// What to do next.
    ///
    /// # Panics
    /// If it is called again after it returned [`Step::Ready`].
    pub fn step(&mut self) -> Step {
        if self.complete {
            #[expect(clippy::expect_used, reason = "documented: a recovery ends once")]
            let mut endpoint = self.endpoint.take().expect("a recovery is over once it is ready");
            let credentials = core::mem::take(&mut self.credentials);
            endpoint.recover(
                core::mem::take(&mut self.sessions),
                core::mem::take(&mut self.jobs),
                credentials,
            );
            return Step::Ready(endpoint);
        }
        let id = *self.asked.get_or_insert_with(|| {
            self.ids += 1;
            StoreId(self.ids)
        });
        Step::NeedsStore { id, command: Command::Load { after: self.next, limit: PAGE } }
    }

    /// The store's answer to [`Step::NeedsStore`].
    ///
    /// # Errors
    /// [`RecoveryError`] if the rows could not be read; the recovery must then be given up, not continued without them.
    pub fn handle_store(&mut self, id: StoreId, done: StoreDone) -> Result<(), RecoveryError> {
        if self.asked != Some(id) {
            return Err(RecoveryError::Unexpected);
        }
        let StoreDone::Rows(rows) = done else { return Err(RecoveryError::Unreadable) };
        self.asked = None;
        self.complete = rows.is_empty();
        for row in rows {
            // Rows that do not rise are no answer to what was asked, and could go on for ever.
            if self.next.is_some_and(|before| row.key() <= before) || !is_sound(&row) {
                return Err(RecoveryError::Unreadable);
            }
            self.next = Some(row.key());
            match row {
                Row::Session(row) => self.sessions.push(row),
                Row::Job(row) => self.jobs.push(*row),
                Row::Credential(record) => self.credentials.push(record),
            }
        }
        Ok(())
    }
}

impl RuntimeEndpoint {
    fn recover(&mut self, sessions: Vec<SessionRow>, jobs: Vec<JobRow>, credentials: Vec<CredentialRecord>) {
        let newest_session = sessions.iter().map(|row| row.record.key.ulid()).max().unwrap_or_default();
        let newest_job = jobs.iter().map(|row| row.record.key.ulid()).max().unwrap_or_default();
        let newest_credential = credentials.iter().map(|record| record.key.ulid()).max().unwrap_or_default();
        let newest: Ulid = newest_session.max(newest_job).max(newest_credential);
        self.ids = IdSource::after(newest, newest_session);
        for row in sessions {
            self.recover_session(row);
        }
        let mut unfinished = Vec::new();
        let mut finished = BTreeMap::new();
        for row in jobs {
            let (end, key, stopping) = (row.end, row.record.key, row.stopping.clone());
            let handle = self.recover_job(row);
            match end {
                Some(end) => {
                    finished.insert((end.at, key), handle);
                }
                None => unfinished.push((handle, stopping)),
            }
        }
        for handle in finished.into_values() {
            if let Some(job) = self.jobs.get(handle) {
                self.principals.at(job.principal).finished.push_back(handle);
            }
        }
        self.recover_credentials(credentials);
        // Another process may have another policy.
        self.judge_follows();
        // Children first, so that each ends for its own reason and gives back what it has before its parent ends.
        unfinished.sort_by_key(|(handle, _)| Reverse(self.jobs.get(*handle).map(Job::depth)));
        for (handle, stopping) in unfinished {
            let Some(job) = self.jobs.get(handle) else { continue };
            let (state, principal) = (job.state, job.principal);
            match stopping {
                Some((reason, _)) => self.end_job(handle, terminal_of(&reason)),
                None if state == JobState::Running && job.restart.is_none() => {
                    self.end_job(handle, interrupted());
                }
                None if job.lost_credential && !self.provisions() => {
                    self.fail_job(handle, Self::no_credential());
                }
                None if state == JobState::Running => self.run_again(handle),
                None => self.start_queued(principal),
            }
        }
        self.sweep_credentials();
    }

    fn recover_session(&mut self, row: SessionRow) {
        let SessionRow { record, numbers } = row;
        let principal = self.principals.enter(&record.principal, &self.config.limits, self.now.mono);
        let handle = self.sessions.insert(Session::new(&record, principal, numbers, self.now.mono));
        self.session_keys.insert(record.key, handle);
        self.tokens.insert(record.current, handle);
        if let Some(previous) = record.previous {
            self.tokens.insert(previous, handle);
        }
        match record.dead_since {
            Some(since) => {
                let at = self.now.mono.after(self.remaining(since, self.config.retention));
                self.timers.arm(at, Timer::Tombstone(handle));
                self.principals.at(principal).tombstones.push_back(handle);
            }
            None => {
                self.timers.arm(self.now.mono.after(self.config.resume_window), Timer::ResumeWindow(handle));
                self.principals.at(principal).sessions.push(handle);
                if !record.features.has(Feature::Ack) {
                    self.arm_letting_go(handle);
                }
            }
        }
    }

    fn recover_job(&mut self, row: JobRow) -> JobHandle {
        let restart = self.restart_of(&row);
        let chunks = row.chunks;
        let JobRow { record, owner, positions, last_origin, followers, counters, stopping, end, .. } = row;
        let principal = self.principals.enter(&record.principal, &self.config.limits, self.now.mono);
        let owner = owner.and_then(|owner| self.session_keys.get(&owner).copied());
        let mut job = Job::new(&record, principal, owner, self.now);
        job.counters = counters;
        job.parent = record.parent.and_then(|parent| self.job_keys.get(&parent.job).copied());
        if let Some((StopReason::LeaseExpired(at), _)) = &stopping {
            job.expiry = Some(Expiry::ended(*at));
        }
        job.acceptance_known = true;
        job.last_origin = last_origin;
        job.stopping = stopping.map(|(reason, _)| reason);
        if restart.is_some() {
            job.resume_chunks(chunks, self.config.limits.result_bytes);
        }
        job.restart = restart;
        job.state = match end.map(|end| end.status) {
            Some(FinalStatus::Success) => JobState::Success,
            Some(FinalStatus::Error) => JobState::Error,
            Some(FinalStatus::Cancelled) => JobState::Cancelled,
            Some(FinalStatus::TimedOut) => JobState::TimedOut,
            // A child waits for no place: it starts with its acceptance, whatever a damaged row says.
            None if record.started || record.parent.is_some() => JobState::Running,
            None => JobState::Pending,
        };
        let state = job.state;
        job.committed = Some(Standing { state, last_origin, last_pos: positions.last() });
        let (floor, last) = (positions.floor(), positions.last());
        let holder = self.principals.at(principal);
        holder.buffered = holder.buffered.saturating_add(positions.total().total());
        job.retention = positions;
        let handle = self.jobs.insert(job);
        self.job_keys.insert(record.key, handle);
        let holder = self.principals.at(principal);
        holder.jobs.insert(record.key, handle);
        if let Some(key) = record.idempotency_key {
            holder.keys.insert(key, KeyEntry { digest: record.digest, job: handle });
        }
        match state {
            JobState::Running if record.parent.is_none() => holder.running_jobs += 1,
            JobState::Running => {}
            JobState::Pending => holder.queued.push_back(handle),
            JobState::Success | JobState::Error | JobState::Cancelled | JobState::TimedOut => {}
        }
        match end {
            Some(end) => {
                let at = self.now.mono.after(self.remaining(end.at, self.config.retention));
                self.timers.arm(at, Timer::Retention(handle));
            }
            None => {
                holder.unfinished_jobs += 1;
                if let Some(seconds) = record.max_runtime_sec {
                    let left = self.remaining(record.accepted_at, Duration::from_secs(seconds));
                    self.timers.arm(self.now.mono.after(left), Timer::MaxRuntime(handle));
                }
                self.watch_lease(handle);
                let parent = self.jobs.get(handle).and_then(|job| job.parent);
                if let Some(parent) = parent.and_then(|parent| self.jobs.get_mut(parent)) {
                    parent.children.insert(handle);
                }
            }
        }
        if let Some(owner) = owner.filter(|_| !state.is_final())
            && let Some(session) = self.sessions.get_mut(owner)
        {
            session.owned.insert(handle);
        }
        // An end takes the first number out of the row; what is known then is that it was one of those up to here.
        let first = followers.iter().find(|follower| Some(follower.session) == record.owner);
        if let Some(session) = record.owner.and_then(|owner| self.session_keys.get(&owner))
            && let Some(session) = self.sessions.get_mut(*session)
            && (first.is_some() || !session.retention.is_empty())
        {
            let first = first.map_or_else(|| Some(session.last()), |follower| follower.first_seq);
            session.await_confirmation(handle, first);
        }
        for follower in followers {
            let Some(session) = self.session_keys.get(&follower.session).copied() else { continue };
            // What is gone it had, or could not take.
            let through = follower.through.max(floor);
            self.recover_follower(handle, session, through, follower.first_seq, last);
        }
        handle
    }

    fn recover_follower(
        &mut self,
        handle: JobHandle,
        session: crate::runtime::SessionHandle,
        through: u64,
        first_seq: Option<u64>,
        last: u64,
    ) {
        let (Some(job), Some(follower)) = (self.jobs.get_mut(handle), self.sessions.get_mut(session)) else {
            return;
        };
        let owns = job.owner == Some(session);
        let line = follower.line(job.key, job.trace_id);
        let state = if through == last { Following::Live } else { Following::CatchingUp { through } };
        if state == Following::Live {
            job.live.push(LiveFollower { session, line: Arc::clone(&line), numbered: first_seq.is_some() });
        } else {
            job.catching.push(session);
            follower.catching.push_back(handle);
            self.catching_sessions.insert(session);
        }
        follower.follows.insert(handle, Follow { line, state, subscription: !owns });
        if !owns {
            self.principals.at(follower.principal).subscriptions += 1;
        }
    }

    /// What is left of a span that began at a wall-clock time, as the wall clock has it.
    fn remaining(&self, since: UnixTime, span: Duration) -> Duration {
        since.after(span).since(self.now.unix)
    }
}

/// Whether a runtime can have written the row: no number beyond the last one there is (D-55), no size that numbers
/// cannot count, and an end that is where its log ends.
fn is_sound(row: &Row) -> bool {
    match row {
        Row::Session(row) => {
            let numbers = [row.numbers.last(), row.numbers.total().total(), row.record.epoch];
            numbers.into_iter().all(|number| number <= MAX_SEQ)
        }
        Row::Credential(_) => true,
        Row::Job(row) => {
            let followers = row.followers.iter();
            let followed = followers.map(|follower| follower.through.max(follower.first_seq.unwrap_or(0)));
            let positions = &row.positions;
            let numbers = [positions.last(), positions.total().total(), row.last_origin, row.floor_origin];
            let chunks = row.chunks.map(|chunks| chunks.next_seq.max(chunks.decoded_bytes));
            numbers.into_iter().chain(followed).chain(chunks).all(|number| number <= MAX_SEQ)
                && row.checkpoint.as_ref().is_none_or(|kept| kept.position <= positions.last())
                && row.end.is_none_or(|end| end.position == positions.last() && !positions.is_empty())
        }
    }
}

fn interrupted() -> Terminal {
    let error = WireError::new(ErrorCode::InternalError, "the runtime restarted")
        .with(Details::Reason("runtime_restarted".into()));
    Terminal { outcome: Outcome::Failed(error), summary: None }
}
