//! The one log: gathers records, gates what depends on them, and knows what is committed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::runtime::job::Standing;
use crate::runtime::store::{Command, Record, StoreDone, StoreId};
use crate::runtime::{JobHandle, SessionHandle};

/// Names an append; rises from append to append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position(u64);

/// The jobs an append changes, each with where it stands then. Most appends are about one job.
type Standings = SmallVec<[(JobHandle, Standing); 1]>;

/// Where a session or a job stands in the append that is being gathered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mark {
    at: Position,
    slot: usize,
}

/// What a committed append set free.
#[derive(Debug)]
pub(crate) struct Committed<E> {
    /// The sessions that got numbers in it, each with its highest.
    pub(crate) sessions: Vec<(SessionHandle, u64)>,
    /// The jobs that went on in it, each with where it stands after it.
    pub(crate) jobs: Standings,
    /// What waited for it, in order.
    pub(crate) effects: Vec<E>,
}

#[derive(Debug)]
struct Append<E> {
    records: Vec<Record>,
    bytes: u64,
    sessions: Vec<(SessionHandle, u64)>,
    jobs: Standings,
    effects: Vec<E>,
}

impl<E> Append<E> {
    fn new() -> Self {
        Self {
            records: Vec::new(),
            bytes: 0,
            sessions: Vec::new(),
            jobs: SmallVec::new(),
            effects: Vec::new(),
        }
    }
}

#[derive(Debug)]
struct Issued<E> {
    id: StoreId,
    append: Append<E>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Stored,
    Refused,
}

/// What an answer of the store means.
#[derive(Debug)]
pub(crate) enum Answer<E> {
    /// These appends are committed, in order; possibly none, while an earlier one is missing.
    Committed(Vec<Committed<E>>),
    /// There is no room.
    Full,
    /// The store failed.
    Failed,
    /// The answer belongs to no append.
    Unknown,
}

/// The log. `E` is what may wait for a commit.
///
/// Records gather in an open append until the driver takes it, so that whatever happens in one turn of the driver's
/// loop is one append. An append is *committed* when it and all before it are stored, in whatever order the answers
/// come.
#[derive(Debug)]
pub(crate) struct Log<E> {
    next_id: u64,
    open: Append<E>,
    /// Position of the open append; the ones before it are issued, and committed up to `issued.front()`.
    open_at: Position,
    issued: VecDeque<Issued<E>>,
    pending_bytes: u64,
    retry: bool,
    full: bool,
}

impl<E> Log<E> {
    pub(crate) fn new() -> Self {
        Self {
            next_id: 1,
            open: Append::new(),
            open_at: Position(1),
            issued: VecDeque::new(),
            pending_bytes: 0,
            retry: false,
            full: false,
        }
    }

    /// A fresh id for a command that is no append.
    pub(crate) const fn id(&mut self) -> StoreId {
        let id = StoreId(self.next_id);
        self.next_id += 1;
        id
    }

    /// Adds a record to the open append, which weighs `bytes` while it waits.
    pub(crate) fn append(&mut self, record: Record, bytes: u64) -> Position {
        self.open.records.push(record);
        self.open.bytes += bytes;
        self.pending_bytes += bytes;
        self.open_at
    }

    /// Notes that `session` got the number `seq` in the open append.
    pub(crate) fn numbered(&mut self, session: SessionHandle, mark: &mut Mark, seq: u64) {
        if mark.at == self.open_at {
            self.open.sessions[mark.slot].1 = seq;
        } else {
            *mark = Mark { at: self.open_at, slot: self.open.sessions.len() };
            self.open.sessions.push((session, seq));
        }
    }

    /// Notes where `job` stands once the open append is committed.
    pub(crate) fn stands(&mut self, job: JobHandle, mark: &mut Mark, standing: Standing) {
        if mark.at == self.open_at {
            self.open.jobs[mark.slot].1 = standing;
        } else {
            *mark = Mark { at: self.open_at, slot: self.open.jobs.len() };
            self.open.jobs.push((job, standing));
        }
    }

    /// Lets `effect` wait for the append at `position`; gives it back if there is nothing to wait for.
    #[must_use]
    pub(crate) fn after(&mut self, position: Position, effect: E) -> Option<E> {
        if position == self.open_at {
            // Nothing at this position yet means: after everything before it. An append without records never comes.
            let append = if self.open.records.is_empty() {
                self.issued.back_mut().map(|issued| &mut issued.append)
            } else {
                Some(&mut self.open)
            };
            return match append {
                Some(append) => {
                    append.effects.push(effect);
                    None
                }
                None => Some(effect),
            };
        }
        let first = self.open_at.0 - self.issued.len() as u64;
        let index = position.0.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.issued.get_mut(index)) {
            Some(issued) => {
                issued.append.effects.push(effect);
                None
            }
            None => Some(effect),
        }
    }

    /// Whether nothing would have to wait at `position`.
    pub(crate) fn is_committed(&self, position: Position) -> bool {
        let first = self.open_at.0 - self.issued.len() as u64;
        position.0 < first
            || position == self.open_at && self.issued.is_empty() && self.open.records.is_empty()
    }

    /// Where a record appended at this moment would land.
    pub(crate) const fn position(&self) -> Position {
        self.open_at
    }

    /// The next append for the store: one that is to be tried again, else the open one.
    pub(crate) fn poll_command(&mut self) -> Option<(StoreId, Command)> {
        if self.retry {
            // Only the oldest refused append is tried; the store takes no later one before it.
            let refused = self.issued.iter_mut().find(|issued| issued.state == State::Refused);
            self.retry = false;
            if let Some(issued) = refused {
                issued.state = State::Pending;
                return Some((issued.id, Command::Append(core::mem::take(&mut issued.append.records))));
            }
        }
        if self.full || self.open.records.is_empty() {
            return None;
        }
        let id = self.id();
        let mut append = core::mem::replace(&mut self.open, Append::new());
        let records = core::mem::take(&mut append.records);
        self.issued.push_back(Issued { id, append, state: State::Pending });
        self.open_at.0 += 1;
        Some((id, Command::Append(records)))
    }

    /// Takes the store's answer to an append.
    pub(crate) fn handle(&mut self, id: StoreId, done: StoreDone) -> Answer<E> {
        let Some(issued) =
            self.issued.iter_mut().find(|issued| issued.id == id && issued.state == State::Pending)
        else {
            return Answer::Unknown;
        };
        match done {
            StoreDone::Appended => issued.state = State::Stored,
            StoreDone::Full(records) => {
                issued.append.records = records;
                issued.state = State::Refused;
                self.full = true;
                return Answer::Full;
            }
            StoreDone::Session(_)
            | StoreDone::Job(_)
            | StoreDone::Rows(_)
            | StoreDone::Trimmed
            | StoreDone::Failed => {
                return Answer::Failed;
            }
        }
        if self.full {
            self.full = self.issued.iter().any(|issued| issued.state == State::Refused);
            self.retry = self.full;
        }
        let mut committed = Vec::new();
        while let Some(issued) = self.issued.pop_front_if(|issued| issued.state == State::Stored) {
            self.pending_bytes = self.pending_bytes.saturating_sub(issued.append.bytes);
            let Append { sessions, jobs, effects, .. } = issued.append;
            committed.push(Committed { sessions, jobs, effects });
        }
        Answer::Committed(committed)
    }

    /// Tries the refused append again.
    pub(crate) const fn retry(&mut self) {
        self.retry = self.full;
    }

    /// Whether the store has no room.
    pub(crate) const fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes that wait for the store.
    pub(crate) const fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{JobKey, Ulid};
    use crate::runtime::JobState;
    use std::vec;

    fn record() -> Record {
        Record::Started { job: JobKey::from_ulid(Ulid::default()) }
    }

    fn effects(answer: Answer<u32>) -> Vec<u32> {
        match answer {
            Answer::Committed(committed) => committed.into_iter().flat_map(|append| append.effects).collect(),
            other => panic!("not committed: {other:?}"),
        }
    }

    #[test]
    fn only_the_contiguous_prefix_is_committed() {
        let mut log = Log::new();
        let mut ids = vec![];
        for effect in 0..3 {
            let position = log.append(record(), 10);
            assert_eq!(log.after(position, effect), None);
            ids.push(log.poll_command().unwrap().0);
        }
        assert_eq!(log.pending_bytes(), 30);
        assert!(effects(log.handle(ids[2], StoreDone::Appended)).is_empty());
        assert_eq!(effects(log.handle(ids[0], StoreDone::Appended)), [0]);
        assert_eq!(effects(log.handle(ids[1], StoreDone::Appended)), [1, 2]);
        assert_eq!(log.pending_bytes(), 0);
        assert!(matches!(log.handle(ids[1], StoreDone::Appended), Answer::Unknown));
    }

    #[test]
    fn what_is_committed_holds_nothing_back() {
        let mut log = Log::new();
        let position = log.append(record(), 1);
        let (id, _) = log.poll_command().unwrap();
        assert_eq!(log.after(position, 7), None);
        assert_eq!(effects(log.handle(id, StoreDone::Appended)), [7]);
        assert_eq!(log.after(position, 8), Some(8));
        assert_eq!(log.after(Position::default(), 9), Some(9));
    }

    #[test]
    fn what_is_open_or_under_way_is_not_committed() {
        let mut log: Log<u32> = Log::new();
        assert!(log.is_committed(log.position()), "nothing to wait for");
        let first = log.append(record(), 1);
        assert!(!log.is_committed(first), "open");
        let (id, _) = log.poll_command().unwrap();
        assert!(!log.is_committed(first), "under way");
        assert!(!log.is_committed(log.position()), "behind what is under way");
        let second = log.append(record(), 1);
        log.handle(id, StoreDone::Appended);
        assert!(log.is_committed(first));
        assert!(!log.is_committed(second), "open again");
    }

    #[test]
    fn what_waits_where_nothing_is_appended_waits_for_what_was_before() {
        let mut log = Log::new();
        assert_eq!(log.after(log.position(), 1), Some(1));
        log.append(record(), 1);
        let (id, _) = log.poll_command().unwrap();
        assert_eq!(log.after(log.position(), 2), None);
        assert_eq!(effects(log.handle(id, StoreDone::Appended)), [2]);
        assert_eq!(log.after(log.position(), 3), Some(3));
    }

    #[test]
    fn one_turn_is_one_append() {
        let mut log: Log<u32> = Log::new();
        log.append(record(), 1);
        log.append(record(), 1);
        let (_, Command::Append(records)) = log.poll_command().unwrap() else { panic!("an append") };
        assert_eq!(records.len(), 2);
        assert!(log.poll_command().is_none());
    }

    #[test]
    fn a_full_store_gets_the_same_append_again_before_any_other() {
        let mut log = Log::new();
        let position = log.append(record(), 1);
        assert_eq!(log.after(position, 1), None);
        let (first, Command::Append(records)) = log.poll_command().unwrap() else { panic!("an append") };
        assert!(matches!(log.handle(first, StoreDone::Full(records)), Answer::Full));
        log.append(record(), 1);
        assert!(log.poll_command().is_none());
        log.retry();
        let (again, Command::Append(records)) = log.poll_command().unwrap() else { panic!("an append") };
        assert_eq!((again, records.len()), (first, 1));
        assert!(log.poll_command().is_none());
        assert_eq!(effects(log.handle(again, StoreDone::Appended)), [1]);
        assert!(!log.is_full());
        assert!(log.poll_command().is_some());
    }

    #[test]
    fn each_session_is_named_once_with_its_highest_number() {
        let mut log: Log<u32> = Log::new();
        let (a, b) = (SessionHandle(1), SessionHandle(2));
        let (mut mark_a, mut mark_b) = (Mark::default(), Mark::default());
        log.append(record(), 1);
        log.numbered(a, &mut mark_a, 1);
        log.numbered(b, &mut mark_b, 1);
        log.numbered(a, &mut mark_a, 2);
        let (id, _) = log.poll_command().unwrap();
        log.append(record(), 1);
        log.numbered(a, &mut mark_a, 3);
        let Answer::Committed(committed) = log.handle(id, StoreDone::Appended) else { panic!("committed") };
        assert_eq!(committed[0].sessions, [(a, 2), (b, 1)]);
    }

    #[test]
    fn each_job_is_named_once_with_where_it_stands_last() {
        let mut log: Log<u32> = Log::new();
        let (a, b) = (JobHandle(1), JobHandle(2));
        let (mut mark_a, mut mark_b) = (Mark::default(), Mark::default());
        let at = |last_origin| Standing { state: JobState::Running, last_origin, last_pos: last_origin };
        log.append(record(), 1);
        log.stands(a, &mut mark_a, at(1));
        log.stands(b, &mut mark_b, at(1));
        log.stands(a, &mut mark_a, at(2));
        log.stands(b, &mut mark_b, at(4));
        let (first, _) = log.poll_command().unwrap();
        log.append(record(), 1);
        log.stands(a, &mut mark_a, at(3));
        let (second, _) = log.poll_command().unwrap();
        let Answer::Committed(committed) = log.handle(second, StoreDone::Appended) else {
            panic!("committed")
        };
        assert!(committed.is_empty());
        let Answer::Committed(committed) = log.handle(first, StoreDone::Appended) else {
            panic!("committed")
        };
        assert_eq!(committed[0].jobs.as_slice(), [(a, at(2)), (b, at(4))]);
        assert_eq!(committed[1].jobs.as_slice(), [(a, at(3))]);
    }
}
