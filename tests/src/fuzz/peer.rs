//! A client with its driver and its application, in a time of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use arcp_proto::client::{ClientEndpoint, ClientEvent, ClientState, Output, RequestId, Submission};
use arcp_proto::config::ClientConfig;
use arcp_proto::lease::LeaseRequest;
use arcp_proto::time::Now;
use arcp_proto::wire::peer::TransportKind;
use arcp_proto::wire::{Envelope, RawJson, ScanLimits};

use super::host::{beginning, entropy};

pub(super) struct Peer {
    pub(super) client: ClientEndpoint,
    pub(super) now: Now,
    /// Frames of the client that are not delivered.
    pub(super) sent: VecDeque<String>,
    /// Whether a transport is asked for.
    pub(super) wants_transport: bool,
    /// Set when the client closes its transport, for whoever holds the other end.
    pub(super) has_closed: bool,
    /// Positions of what was handed on, by job.
    pub(super) had: BTreeMap<String, Vec<Option<u64>>>,
    pub(super) ended: BTreeMap<String, u32>,
    /// Jobs that were accepted or are followed.
    pub(super) jobs: Vec<String>,
    /// Numbers that the application has not taken.
    pub(super) untaken: Vec<u64>,
    pub(super) gaps: usize,
    /// Requests that were refused, or not answered in time.
    pub(super) rejected: Vec<RequestId>,
    pub(super) submits: Vec<RequestId>,
    /// How often a job was told to be a child.
    pub(super) children: BTreeMap<String, u32>,
    ended_trees: BTreeSet<RequestId>,
    numbers: BTreeSet<u64>,
    highest: BTreeMap<String, u64>,
}

impl Peer {
    pub(super) fn new(token: &str, seed: u64) -> Self {
        let now = beginning();
        let mut peer = Self {
            client: ClientEndpoint::new(ClientConfig::new(token), entropy(seed), now),
            now,
            sent: VecDeque::new(),
            wants_transport: false,
            has_closed: false,
            had: BTreeMap::new(),
            ended: BTreeMap::new(),
            jobs: Vec::new(),
            untaken: Vec::new(),
            gaps: 0,
            rejected: Vec::new(),
            submits: Vec::new(),
            children: BTreeMap::new(),
            ended_trees: BTreeSet::new(),
            numbers: BTreeSet::new(),
            highest: BTreeMap::new(),
        };
        peer.drain();
        peer
    }

    /// Carries out what the client asks for. A transport it closes is closed.
    pub(super) fn drain(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Connect => self.wants_transport = true,
                Output::FramesReady => self.pull(),
                Output::Close(_) => {
                    self.pull();
                    self.has_closed = true;
                    self.client.handle_closed(self.now);
                }
                Output::Remember(_) => self.client.handle_remembered(self.now),
                Output::Event(event) => self.hear(event),
            }
        }
    }

    fn pull(&mut self) {
        while let Some(frame) = self.client.poll_frame() {
            let decoded = Envelope::decode(frame.as_bytes(), &ScanLimits::RUNTIME);
            assert!(decoded.is_ok(), "{decoded:?}: {frame}");
            self.sent.push_back(frame);
        }
    }

    fn hear(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::JobEvent { job, seq, event } => {
                self.number(job.as_str(), seq);
                self.had.entry(job.to_string()).or_default().push(event.and_then(|event| event.pos));
            }
            ClientEvent::JobEnded { job, seq, ended } => {
                self.number(job.as_str(), seq);
                self.had.entry(job.to_string()).or_default().push(ended.pos);
                *self.ended.entry(job.to_string()).or_default() += 1;
            }
            ClientEvent::Accepted { job, .. } | ClientEvent::Subscribed { job, .. } => {
                self.jobs.retain(|known| *known != job.as_str());
                self.jobs.push(job.to_string());
            }
            ClientEvent::Gap { from, to } => {
                assert!(
                    from <= to && self.numbers.range(from..=to).next().is_none(),
                    "no gap: {from} to {to}"
                );
                self.gaps += 1;
            }
            ClientEvent::ChildAccepted { job, submit, .. } => {
                let submit = submit.expect("children come only of who asked for them");
                assert!(self.submits.contains(&submit) && !self.ended_trees.contains(&submit));
                *self.children.entry(job.to_string()).or_default() += 1;
                self.jobs.push(job.to_string());
            }
            ClientEvent::ChildrenEnded { request } => {
                assert!(self.ended_trees.insert(request), "the end of all children again");
            }
            ClientEvent::Rejected { request, .. } => self.rejected.push(request),
            _ => {}
        }
    }

    /// A number is given once, and the numbers of a job rise for as long as the client lives, whatever is sent to it.
    fn number(&mut self, job: &str, seq: Option<u64>) {
        let Some(seq) = seq else { return };
        assert!(self.numbers.insert(seq), "number {seq} again");
        self.untaken.push(seq);
        // Of an event without a number, or with one that does not count, it says nothing.
        if seq > 1 << 63 {
            return;
        }
        let highest = self.highest.entry(job.to_owned()).or_default();
        assert!(seq > *highest, "number {seq} behind {highest} of {job}");
        *highest = seq;
    }

    pub(super) fn open(&mut self) {
        self.wants_transport = false;
        self.has_closed = false;
        self.sent.clear();
        self.client.handle_open(self.now, TransportKind::Memory);
        self.drain();
    }

    pub(super) fn cut(&mut self) {
        self.sent.clear();
        self.wants_transport = false;
        self.client.handle_closed(self.now);
        self.drain();
    }

    /// Gives a frame, if it may be read.
    pub(super) fn receive(&mut self, frame: &[u8]) {
        if self.client.may_read() {
            self.client.handle_frame(self.now, bytes::Bytes::copy_from_slice(frame));
            self.drain();
        }
    }

    pub(super) fn submit(&mut self, key: &str, lease: LeaseRequest) {
        self.submit_with(key, lease, false);
    }

    /// Submits, and asks for children or does not.
    pub(super) fn submit_with(&mut self, key: &str, lease: LeaseRequest, children: bool) {
        let input = RawJson::empty_object();
        let mut submission = Submission::new("a", input).idempotency_key(key).lease(lease);
        submission.children = children;
        self.submits.extend(self.client.submit(self.now, submission));
        self.drain();
    }

    pub(super) fn take(&mut self, index: usize) {
        if !self.untaken.is_empty() {
            let seq = self.untaken.swap_remove(index % self.untaken.len());
            self.client.taken(self.now, seq);
            self.drain();
        }
    }

    /// Time passes, timer by timer.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now.mono.after(span);
        while let Some(at) = self.client.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.after(at.since(self.now.mono));
            self.client.handle_timeout(self.now);
            self.drain();
            let next = self.client.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now.mono), "a timer stays due");
        }
        self.now = self.now.after(end.since(self.now.mono));
        self.client.handle_timeout(self.now);
        self.drain();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.state() == ClientState::Closed
    }
}
