//! The jobs this session follows.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::client::missing::Owed;
use crate::client::output::{ClientEvent, RequestId};
use crate::client::requests::Subscription;
use crate::id::JobId;
use crate::trace::TraceId;
use crate::wire::job::Submit;

/// Jobs that were neither submitted nor subscribed to here, and are followed all the same.
const MAX_OTHERS: usize = 1_024;
/// Delegated jobs that are handed on.
const MAX_CHILDREN: usize = 4_096;
/// Events that may wait for the `job.accepted` of their job.
const MAX_HELD_EVENTS: usize = 4_096;
/// Bytes of them.
const MAX_HELD_BYTES: usize = 4 << 20;

/// Names a job among all this endpoint ever followed; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobIndex(u64);

impl JobIndex {
    #[cfg(test)]
    pub(super) const fn new(index: u64) -> Self {
        Self(index)
    }
}

/// A job that has not ended.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) index: JobIndex,
    /// The last position handed on since the application attached (D-105).
    pub(super) pos: u64,
    /// For the envelopes of what we say of it.
    pub(super) trace: Option<String>,
    /// How it was submitted, if it was submitted here.
    pub(super) submitted: Option<Submitted>,
    /// Where it was subscribed from, if it was.
    pub(super) subscribed: Option<Subscribed>,
    /// The submit that asked for the children of which this is one, or whose own job it is.
    pub(super) tree: Option<RequestId>,
    /// It was delegated, and its frames come in this session.
    pub(super) is_child: bool,
    /// The application did not ask for it.
    is_other: bool,
    /// The application dropped its handle.
    pub(super) abandoned: bool,
    /// It was submitted again to a new session, which has not answered yet.
    pub(super) resubmitting: bool,
    /// Another session took the place of the one it was followed in, and no new event of it has come since.
    pub(super) reattached: bool,
    /// What is to come next, where a hole must be told.
    pub(super) owed: Owed,
    /// It speaks to a connection that is lost, until a subscription is answered.
    pub(super) is_lost: bool,
    /// It was submitted here and speaks to a subscription.
    pub(super) is_behind: bool,
    /// The last number of its subscription, where subscriptions have their own.
    pub(super) heard: u64,
}

/// What it takes to submit a job again.
#[derive(Debug, Clone)]
pub(super) struct Submitted {
    /// The submits that were answered with the job, oldest first; several if the application used one key again.
    pub(super) requests: SmallVec<[RequestId; 1]>,
    pub(super) submit: Arc<Submit>,
    pub(super) trace: TraceId,
}

/// What it takes to subscribe to a job again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subscribed {
    pub(super) start: Subscription,
    /// Origin number of the seam, once known.
    pub(super) seam: Option<u64>,
    /// The session has acknowledged it.
    pub(super) is_confirmed: bool,
}

/// Events of one job that wait for its `job.accepted`.
#[derive(Debug)]
struct Held {
    index: JobIndex,
    bytes: usize,
    /// There was no room for those that came behind these.
    is_cut: bool,
    events: Vec<HeldEvent>,
}

/// One of them, with its position.
#[derive(Debug)]
pub(super) struct HeldEvent {
    pub(super) pos: Option<u64>,
    pub(super) event: ClientEvent,
}

/// All jobs that have not ended, by id.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    live: BTreeMap<Box<str>, Job>,
    /// Jobs whose events came before their `job.accepted`.
    held: BTreeMap<Box<str>, Held>,
    held_events: usize,
    held_bytes: usize,
    others: usize,
    /// Delegated jobs that are not handed on, so that nothing of theirs is held back.
    unwanted: BTreeSet<Box<str>>,
    /// Jobs that were followed and are no more; what still comes of them has numbers of another stream where followers get
    /// such.
    foreign: BTreeSet<Box<str>>,
    /// Jobs of this session whose end is known: what still comes of them comes once more.
    ended: BTreeSet<Box<str>>,
    /// The last number of each job, where every job has its own.
    numbers: BTreeMap<Box<str>, u64>,
    next: u64,
}

impl Jobs {
    pub(super) fn find(&self, id: &str) -> Option<&Job> {
        self.live.get(id)
    }

    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut Job> {
        self.live.get_mut(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.live.values()
    }

    /// The job the application attaches to. One that it had dropped is attached to afresh.
    pub(super) fn attach(&mut self, id: &JobId) -> &mut Job {
        self.ended.remove(id.as_str());
        let index = self.index_of(id);
        let job = self.live.entry(id.as_str().into()).or_insert_with(|| Job::new(id, index));
        if core::mem::take(&mut job.is_other) {
            self.others -= 1;
        }
        if job.abandoned {
            job.abandoned = false;
            job.pos = 0;
        }
        job
    }

    /// A job the application did not ask for; `None` when there are too many of them.
    pub(super) fn adopt(&mut self, id: &JobId) -> Option<&mut Job> {
        if !self.live.contains_key(id.as_str()) {
            if self.others >= MAX_OTHERS {
                return None;
            }
            self.others += 1;
            let index = self.index_of(id);
            self.live.insert(id.as_str().into(), Job { is_other: true, ..Job::new(id, index) });
        }
        self.live.get_mut(id.as_str())
    }

    /// A delegated job that comes with the one it was delegated for; `None` when there are too many of them.
    pub(super) fn add_child(&mut self, id: &JobId) -> Option<&mut Job> {
        if self.live.values().filter(|job| job.is_child).count() >= MAX_CHILDREN {
            return None;
        }
        let job = self.attach(id);
        job.is_child = true;
        Some(job)
    }

    /// Whether jobs of this tree have not ended.
    pub(super) fn has_tree(&self, tree: RequestId) -> bool {
        self.live.values().any(|job| job.tree == Some(tree))
    }

    /// Whether children of any job are wanted.
    pub(super) fn has_trees(&self) -> bool {
        self.live.values().any(|job| job.tree.is_some())
    }

    /// Each job of this tree is on its own.
    pub(super) fn leave_tree(&mut self, tree: RequestId) {
        for job in self.live.values_mut().filter(|job| job.tree == Some(tree)) {
            job.tree = None;
        }
    }

    /// A delegated job the application does not want to hear of.
    pub(super) fn disregard(&mut self, id: &JobId) {
        if self.unwanted.len() < MAX_OTHERS {
            self.unwanted.insert(id.as_str().into());
        }
    }

    /// A subscription ended on this side.
    pub(super) fn was_foreign(&mut self, id: &JobId) {
        if self.foreign.len() < MAX_OTHERS {
            self.foreign.insert(id.as_str().into());
        }
    }

    /// Whether a job is, or was, followed and not this session's own.
    pub(super) fn is_foreign(&self, id: &str) -> bool {
        match self.live.get(id) {
            Some(job) => job.is_behind || job.submitted.is_none() && job.subscribed.is_some(),
            None => self.foreign.contains(id),
        }
    }

    /// Whether a job, which counts on its own, has not had this number before.
    pub(super) fn is_new_number(&mut self, id: &str, number: u64) -> bool {
        if let Some(last) = self.numbers.get_mut(id) {
            let is_new = number > *last;
            *last = number.max(*last);
            return is_new;
        }
        if self.numbers.len() >= MAX_OTHERS {
            let Self { numbers, live, held, .. } = self;
            numbers.retain(|job, _| live.contains_key(job) || held.contains_key(job));
        }
        if self.numbers.len() < MAX_OTHERS {
            self.numbers.insert(id.into(), number);
        }
        true
    }

    /// Whether a number of a job's own subscription is one that was not heard yet, which it then is.
    pub(super) fn hear(&mut self, id: &str, number: u64) -> bool {
        match self.live.get_mut(id) {
            Some(job) if number <= job.heard => false,
            Some(job) => {
                job.heard = number;
                true
            }
            None => true,
        }
    }

    /// Whether a job was submitted here and has not ended.
    pub(super) fn is_own(&self, id: &str) -> bool {
        self.live.get(id).is_some_and(|job| job.submitted.is_some())
    }

    /// Whether a job waits for its end since another session took the place of the one it was submitted in.
    pub(super) fn is_reattached(&self, id: &str) -> bool {
        self.live.get(id).is_some_and(|job| job.reattached && job.submitted.is_some())
    }

    /// Whether the application does not want to hear of this job, which may have `ended`.
    pub(super) fn is_unwanted(&mut self, id: &str, ended: bool) -> bool {
        if ended { self.unwanted.remove(id) } else { self.unwanted.contains(id) }
    }

    /// Forgets a job whose end is known, but for its name.
    pub(super) fn end(&mut self, id: &JobId) -> Option<Job> {
        if self.ended.len() >= MAX_OTHERS {
            // Ids rise with time.
            self.ended.pop_first();
        }
        self.ended.insert(id.as_str().into());
        self.remove(id.as_str())
    }

    /// Whether the end of this job is known, and nobody has asked for it since.
    pub(super) fn has_ended(&self, id: &str) -> bool {
        self.ended.contains(id)
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Job> {
        self.numbers.remove(id);
        let job = self.live.remove(id)?;
        if job.is_other {
            self.others -= 1;
        }
        Some(job)
    }

    /// The index under which an event of a job nobody knows yet may wait; `None` when too much waits already.
    pub(super) fn hold(&mut self, id: &JobId, bytes: usize) -> Option<JobIndex> {
        let is_full =
            self.held_events >= MAX_HELD_EVENTS || self.held_bytes.saturating_add(bytes) > MAX_HELD_BYTES;
        if let Some(held) = self.held.get_mut(id.as_str()) {
            held.is_cut |= is_full;
            return (!held.is_cut).then_some(held.index);
        }
        if is_full {
            return None;
        }
        let index = self.index_of(id);
        let held = Held { index, bytes: 0, is_cut: false, events: Vec::new() };
        self.held.insert(id.as_str().into(), held);
        Some(index)
    }

    /// Keeps an event for which [`Jobs::hold`] gave an index.
    pub(super) fn keep(&mut self, id: &JobId, bytes: usize, event: HeldEvent) {
        if let Some(held) = self.held.get_mut(id.as_str()) {
            held.events.push(event);
            held.bytes += bytes;
            self.held_events += 1;
            self.held_bytes += bytes;
        }
    }

    /// What waited for the `job.accepted` of this job, and whether there was more.
    pub(super) fn release(&mut self, id: &JobId) -> (Vec<HeldEvent>, bool) {
        let Some(held) = self.held.remove(id.as_str()) else { return (Vec::new(), false) };
        self.held_events -= held.events.len();
        self.held_bytes -= held.bytes;
        (held.events, held.is_cut)
    }

    /// The indexes that what waits was numbered under.
    pub(super) fn held_indexes(&self) -> Vec<JobIndex> {
        self.held.values().map(|held| held.index).collect()
    }

    /// Whether events of this job wait for its `job.accepted`.
    pub(super) fn is_held(&self, id: &str) -> bool {
        self.held.contains_key(id)
    }

    /// How many events wait for their `job.accepted`, and their bytes.
    pub(super) const fn held(&self) -> (u64, u64) {
        (self.held_events as u64, self.held_bytes as u64)
    }

    /// Whether anything waits for a `job.accepted`.
    pub(super) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Gives up what waits: no submit can claim it any more. The indexes it was numbered under are returned.
    pub(super) fn drop_held(&mut self) -> Vec<JobIndex> {
        self.held_events = 0;
        self.held_bytes = 0;
        core::mem::take(&mut self.held).into_values().map(|held| held.index).collect()
    }

    /// Keeps only what another session is asked for again.
    pub(super) fn start_over(&mut self) {
        // Of a child that nobody hears its own children may be heard.
        self.live.retain(|_, job| !job.is_other && (!job.abandoned || job.tree.is_some()));
        self.unwanted.clear();
        self.foreign.clear();
        self.ended.clear();
        self.numbers.clear();
        for job in self.live.values_mut() {
            job.reattached = true;
            if job.pos > 0 {
                job.owe_after(job.pos);
            }
            if job.is_child && job.subscribed.is_none() {
                job.subscribe_from(Subscription::History);
            }
            (job.is_lost, job.is_behind, job.heard) = (false, false, 0);
        }
        for subscribed in self.live.values_mut().filter_map(|job| job.subscribed.as_mut()) {
            subscribed.is_confirmed = false;
        }
        self.others = 0;
    }

    /// The index under which events of this job wait, else a fresh one.
    fn index_of(&mut self, id: &JobId) -> JobIndex {
        if let Some(held) = self.held.get(id.as_str()) {
            return held.index;
        }
        self.next += 1;
        JobIndex(self.next)
    }
}

impl Job {
    fn new(id: &JobId, index: JobIndex) -> Self {
        Self {
            id: id.clone(),
            index,
            pos: 0,
            trace: None,
            submitted: None,
            subscribed: None,
            tree: None,
            is_child: false,
            is_other: false,
            abandoned: false,
            resubmitting: false,
            reattached: false,
            owed: Owed::default(),
            is_lost: false,
            is_behind: false,
            heard: 0,
        }
    }

    /// A subscription that begins there takes the place of what brought its frames.
    pub(super) const fn subscribe_from(&mut self, start: Subscription) {
        self.subscribed = Some(Subscribed { start, seam: None, is_confirmed: false });
    }

    /// Neither submitted, nor subscribed to, nor a child that was asked for.
    pub(super) const fn is_other(&self) -> bool {
        self.is_other
    }

    /// Whether an event at this position is one the application has not had (D-105), which it then has.
    pub(super) const fn is_new(&mut self, pos: Option<u64>) -> bool {
        match pos {
            Some(pos) if pos <= self.pos => false,
            Some(pos) => {
                self.pos = pos;
                true
            }
            None => true,
        }
    }
}
