//! What the application asks of the runtime, until it is answered (protocol §3.8).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::client::output::RequestId;
use crate::config::MAX_SEQ;
use crate::error::ApiMisuse;
use crate::id::JobId;
use crate::lease::LeaseRequest;
use crate::time::Instant;
use crate::trace::TraceId;
use crate::wire::RawJson;
use crate::wire::job::Submit;
use crate::wire::list::ListJobs;

/// Envelope ids under which one request is still recognised. A runtime may answer any of them after a reconnect.
const REMEMBERED_IDS: usize = 8;
/// `name@version` at its longest.
const MAX_AGENT_BYTES: usize = 193;
const MAX_KEY_BYTES: usize = 256;
const MAX_RUNTIME_SEC: u64 = 31_536_000;

/// A job to submit (protocol §3.1).
///
/// ```
/// use arcp_proto::client::Submission;
/// use arcp_proto::lease::LeaseRequest;
/// use arcp_proto::wire::RawJson;
///
/// let input = RawJson::encode(&["a", "b"])?;
/// let lease = LeaseRequest::default().grant("tool.call", ["sort.*"]).budget("USD:0.10");
/// let submission = Submission::new("sorter@1.2.0", input).max_runtime_sec(60).lease(lease);
/// # let _ = submission;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Submission {
    /// `name` or `name@version`, 1 to 193 bytes.
    pub agent: String,
    /// Any JSON.
    pub input: RawJson,
    /// 1 to 256 bytes without control characters; made up where absent, so that no retry runs a job twice (D-22).
    pub idempotency_key: Option<String>,
    /// 1 to 31 536 000 seconds from acceptance.
    pub max_runtime_sec: Option<u64>,
    /// The trace the job belongs to; made up where absent.
    pub trace_id: Option<TraceId>,
    /// What the job asks to be allowed, for how much, and until when. To a runtime that has not negotiated what it needs
    /// it is not sent: the submit fails with [`RequestError::Unsupported`](crate::client::RequestError::Unsupported)
    /// (D-42).
    pub lease: LeaseRequest,
    /// Whether the jobs that this one delegates are handed on, and those that they delegate, each from its first event:
    /// [`ClientEvent::ChildAccepted`](crate::client::ClientEvent::ChildAccepted). They have to be taken, or abandoned, like
    /// the job itself. Default `false`: what comes of them is dropped.
    pub children: bool,
}

impl Submission {
    /// A job for `agent` with this input.
    #[must_use]
    pub fn new(agent: impl Into<String>, input: RawJson) -> Self {
        Self {
            agent: agent.into(),
            input,
            idempotency_key: None,
            max_runtime_sec: None,
            trace_id: None,
            lease: LeaseRequest::default(),
            children: false,
        }
    }

    /// Names the job, so that submitting it again from anywhere finds the same one.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Ends the job if it runs longer.
    #[must_use]
    pub const fn max_runtime_sec(mut self, seconds: u64) -> Self {
        self.max_runtime_sec = Some(seconds);
        self
    }

    /// Makes the job part of a trace.
    #[must_use]
    pub const fn trace_id(mut self, trace: TraceId) -> Self {
        self.trace_id = Some(trace);
        self
    }

    /// Asks for this lease, in the place of any before.
    #[must_use]
    pub fn lease(mut self, lease: LeaseRequest) -> Self {
        self.lease = lease;
        self
    }

    /// Asks for the jobs that this one delegates, too.
    #[must_use]
    pub const fn children(mut self) -> Self {
        self.children = true;
        self
    }

    pub(super) fn check(&self) -> Result<(), ApiMisuse> {
        let has_control = |text: &str| text.bytes().any(|b| b < 0x20 || b == 0x7f);
        if !(1..=MAX_AGENT_BYTES).contains(&self.agent.len()) || has_control(&self.agent) {
            return Err(ApiMisuse::OutOfRange(
                "an agent takes 1..=193 bytes without control characters".into(),
            ));
        }
        let key_fits = |key: &String| (1..=MAX_KEY_BYTES).contains(&key.len()) && !has_control(key);
        if !self.idempotency_key.as_ref().is_none_or(key_fits) {
            let allowed = "an idempotency key takes 1..=256 bytes without control characters";
            return Err(ApiMisuse::OutOfRange(allowed.into()));
        }
        if !self.max_runtime_sec.is_none_or(|seconds| (1..=MAX_RUNTIME_SEC).contains(&seconds)) {
            return Err(ApiMisuse::OutOfRange("a run time takes 1..=31536000 seconds".into()));
        }
        Ok(())
    }
}

/// Where a subscription begins (protocol §3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subscription {
    /// With the next event.
    Live,
    /// With the oldest event the runtime still has.
    History,
    /// Behind this origin number, as in `subscribed_from` or a listed `last_event_seq`; 0 to 2⁵³−1.
    HistoryFromSeq(u64),
    /// Behind this position of the job, as in an event's `pos`; 0 to 2⁵³−1. Runtimes other than ours do not know
    /// positions and send everything.
    HistoryFromPos(u64),
}

impl Subscription {
    pub(super) fn check(self) -> Result<(), ApiMisuse> {
        match self {
            Self::HistoryFromSeq(number) | Self::HistoryFromPos(number) if number > MAX_SEQ => {
                Err(ApiMisuse::OutOfRange("a subscription starts at 0..=2^53-1".into()))
            }
            _ => Ok(()),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// A job to accept. `again` names the job that another session had accepted already.
    Submit { submit: Arc<Submit>, trace: TraceId, again: Option<JobId> },
    /// A job to stop.
    Cancel { job: JobId, reason: Option<String> },
    /// A job to follow. `again`: the application was told already. `asks_rest`: it is asked a second time because it
    /// was not certain whether anything follows, or it may be followed already; at least the end does follow.
    Subscribe { job: JobId, start: Subscription, again: bool, asks_rest: bool },
    /// A page of jobs.
    List(Box<ListJobs>),
}

impl Ask {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Submit { .. } => Kind::Submit,
            Self::Cancel { .. } => Kind::Cancel,
            Self::Subscribe { .. } => Kind::Subscribe,
            Self::List(_) => Kind::List,
        }
    }

    /// The job a request names.
    fn job(&self) -> Option<&JobId> {
        match self {
            Self::Submit { .. } | Self::List(_) => None,
            Self::Cancel { job, .. } | Self::Subscribe { job, .. } => Some(job),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Submit,
    Cancel,
    Subscribe,
    List,
}

/// A request without an answer.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) ask: Ask,
    /// The envelope ids it had, newest last.
    ids: Vec<Box<str>>,
    /// On this connection.
    is_sent: bool,
    deadline: Option<Instant>,
}

/// All requests without an answer.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: BTreeMap<RequestId, Request>,
    by_envelope: BTreeMap<Box<str>, RequestId>,
    deadlines: BTreeSet<(Instant, RequestId)>,
    /// Submits to be sent, apart from the rest because they may have to wait for each other.
    waiting_submits: BTreeSet<RequestId>,
    waiting: BTreeSet<RequestId>,
    submits_sent: usize,
    submits_open: usize,
    cancels_open: usize,
    subscribes_open: usize,
    next: u64,
}

impl Requests {
    /// A new request, to be sent.
    pub(super) fn add(&mut self, ask: Ask) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        match ask.kind() {
            Kind::Submit => self.submits_open += 1,
            Kind::Cancel => self.cancels_open += 1,
            Kind::Subscribe => self.subscribes_open += 1,
            Kind::List => {}
        }
        self.wait(id, ask.kind());
        self.open.insert(id, Request { ask, ids: Vec::new(), is_sent: false, deadline: None });
        id
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&Ask> {
        self.open.get(&id).map(|request| &request.ask)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &Ask)> {
        self.open.iter().map(|(id, request)| (*id, &request.ask))
    }

    /// The next submit to send, if no more than `most` are on their way.
    pub(super) fn next_submit(&self, most: usize) -> Option<RequestId> {
        if self.submits_sent < most { self.waiting_submits.first().copied() } else { None }
    }

    /// The other requests to send.
    pub(super) fn waiting(&self) -> Vec<RequestId> {
        self.waiting.iter().copied().collect()
    }

    /// Whether a submit has no answer.
    pub(super) const fn has_submit(&self) -> bool {
        self.submits_open > 0
    }

    /// The cancels of this job.
    pub(super) fn cancels_of(&self, job: &str) -> Vec<RequestId> {
        if self.cancels_open == 0 {
            return Vec::new();
        }
        let of_job = |ask: &Ask| matches!(ask, Ask::Cancel { job: named, .. } if named.as_str() == job);
        self.iter().filter(|(_, ask)| of_job(ask)).map(|(id, _)| id).collect()
    }

    /// The subscribes of this job that go on with it after another session took the place of the one it was followed in.
    pub(super) fn resubscribes_of(&self, job: &str) -> Vec<RequestId> {
        if self.subscribes_open == 0 {
            return Vec::new();
        }
        let of_job = |ask: &Ask| matches!(ask, Ask::Subscribe { job: named, again: true, .. } if named.as_str() == job);
        self.iter().filter(|(_, ask)| of_job(ask)).map(|(id, _)| id).collect()
    }

    /// The request leaves under this envelope id and is answered until `deadline`.
    pub(super) fn sent(&mut self, id: RequestId, envelope: &str, deadline: Instant) {
        self.waiting.remove(&id);
        self.waiting_submits.remove(&id);
        let Some(request) = self.open.get_mut(&id) else { return };
        request.is_sent = true;
        if request.ask.kind() == Kind::Submit {
            self.submits_sent += 1;
        }
        request.ids.push(envelope.into());
        self.by_envelope.insert(envelope.into(), id);
        if request.ids.len() > REMEMBERED_IDS {
            self.by_envelope.remove(&request.ids.remove(0));
        }
        self.set_deadline(id, Some(deadline));
    }

    /// The request is to be sent again.
    pub(super) fn again(&mut self, id: RequestId) {
        self.set_deadline(id, None);
        self.unsend(id);
        if let Some(kind) = self.open.get(&id).map(|request| request.ask.kind()) {
            self.wait(id, kind);
        }
    }

    /// The request is to be sent again, but not before `at`.
    pub(super) fn later(&mut self, id: RequestId, at: Instant) {
        self.unsend(id);
        self.set_deadline(id, Some(at));
    }

    /// The connection is lost: nothing is on its way, and no time runs.
    pub(super) fn disconnected(&mut self) {
        let ids: Vec<RequestId> = self.open.keys().copied().collect();
        for id in ids {
            self.again(id);
        }
    }

    /// The request has its answer, or never will.
    pub(super) fn close(&mut self, id: RequestId) -> Option<Ask> {
        self.set_deadline(id, None);
        self.unsend(id);
        self.waiting.remove(&id);
        self.waiting_submits.remove(&id);
        let request = self.open.remove(&id)?;
        match request.ask.kind() {
            Kind::Submit => self.submits_open -= 1,
            Kind::Cancel => self.cancels_open -= 1,
            Kind::Subscribe => self.subscribes_open -= 1,
            Kind::List => {}
        }
        for envelope in &request.ids {
            self.by_envelope.remove(envelope);
        }
        Some(request.ask)
    }

    /// A job goes on under another id.
    pub(super) fn rename(&mut self, old: &JobId, new: &JobId) {
        for request in self.open.values_mut() {
            if let Ask::Cancel { job, .. } | Ask::Subscribe { job, .. } = &mut request.ask
                && job == old
            {
                *job = new.clone();
            }
        }
    }

    /// Whether an earlier copy of this submit may still be on its way, and not too many were sent.
    pub(super) fn may_be_in_progress(&self, id: RequestId) -> bool {
        self.open.get(&id).is_some_and(|request| {
            request.ask.kind() == Kind::Submit && (2..REMEMBERED_IDS).contains(&request.ids.len())
        })
    }

    /// Whether the request was sent more than once, so that an earlier copy may have taken effect.
    pub(super) fn was_repeated(&self, id: RequestId) -> bool {
        self.open.get(&id).is_some_and(|request| request.ids.len() > 1)
    }

    /// Sends a subscribe again, for what lies behind `from`.
    pub(super) fn ask_rest(&mut self, id: RequestId, from: Subscription) {
        if let Some(Request { ask: Ask::Subscribe { start, asks_rest, .. }, .. }) = self.open.get_mut(&id) {
            (*start, *asks_rest) = (from, true);
        }
        self.again(id);
    }

    /// Lets the open subscribe of this job start elsewhere; whether there is one is returned.
    pub(super) fn restart_subscribe(&mut self, wanted: &str, from: Subscription) -> bool {
        for request in self.open.values_mut() {
            if let Ask::Subscribe { job, start, .. } = &mut request.ask
                && job.as_str() == wanted
            {
                *start = from;
                return true;
            }
        }
        false
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// A request whose time is up.
    pub(super) fn expired(&self, now: Instant) -> Option<RequestId> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// The request that was sent in an envelope with this id.
    pub(super) fn by_envelope(&self, envelope: &str) -> Option<RequestId> {
        self.by_envelope.get(envelope).copied()
    }

    /// The oldest sent request of one of these kinds that names this job.
    pub(super) fn by_job(&self, job: &str, kinds: &[Kind]) -> Option<RequestId> {
        self.sent_of(kinds)
            .find(|(_, ask)| ask.job().is_some_and(|named| named.as_str() == job))
            .map(|(id, _)| id)
    }

    /// The only sent submit with this trace.
    pub(super) fn by_trace(&self, trace: TraceId) -> Option<RequestId> {
        only(
            self.sent_of(&[Kind::Submit])
                .filter(|(_, ask)| matches!(ask, Ask::Submit { trace: t, .. } if *t == trace)),
        )
    }

    /// The only sent request of these kinds.
    pub(super) fn only_one(&self, kinds: &[Kind]) -> Option<RequestId> {
        only(self.sent_of(kinds))
    }

    fn sent_of(&self, kinds: &[Kind]) -> impl Iterator<Item = (RequestId, &Ask)> {
        self.open
            .iter()
            .filter(move |(_, request)| request.is_sent && kinds.contains(&request.ask.kind()))
            .map(|(id, request)| (*id, &request.ask))
    }

    fn wait(&mut self, id: RequestId, kind: Kind) {
        match kind {
            Kind::Submit => self.waiting_submits.insert(id),
            Kind::Cancel | Kind::Subscribe | Kind::List => self.waiting.insert(id),
        };
    }

    fn unsend(&mut self, id: RequestId) {
        if let Some(request) = self.open.get_mut(&id)
            && core::mem::take(&mut request.is_sent)
            && request.ask.kind() == Kind::Submit
        {
            self.submits_sent -= 1;
        }
    }

    fn set_deadline(&mut self, id: RequestId, deadline: Option<Instant>) {
        let Some(request) = self.open.get_mut(&id) else { return };
        if let Some(old) = core::mem::replace(&mut request.deadline, deadline) {
            self.deadlines.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, id));
        }
    }
}

fn only<'a>(mut found: impl Iterator<Item = (RequestId, &'a Ask)>) -> Option<RequestId> {
    let (first, _) = found.next()?;
    if found.next().is_none() { Some(first) } else { None }
}
