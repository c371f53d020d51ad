//! A client and a runtime over a link with faults.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use arcp_proto::client::ClientState;
use arcp_proto::id::JobId;
use arcp_proto::lease::LeaseRequest;
use arcp_proto::runtime::ConnectionId;
use arcp_proto::time::Instant;

use super::choices::Choices;
use super::host::{Host, config};
use super::peer::Peer;

/// How long a link that carries everything has to bring both ends to rest.
const PATIENCE: Duration = Duration::from_secs(200);
/// Both ends are at rest that have had nothing but heartbeats for each other for so long: two of them and more.
const QUIET: Duration = Duration::from_secs(70);

/// The first byte says whether the link only breaks, or also spoils, repeats, drops and cuts short what it carries; the
/// others say what happens. When that is over a fresh session works. Where the link only broke, every event of every
/// job, and of every job that it delegated, has arrived once and in order, and its end once (SEQ-2, SEQ-4, JOB-2).
pub fn two_peers(data: &[u8]) {
    let mut choices = Choices::new(data);
    let only_breaks = choices.below(2) == 0;
    let mut deployment = config();
    // A deployment that does not answer in time refuses a submit.
    deployment.decides_leases = !only_breaks && choices.below(2) == 0;
    deployment.fatal_budget = choices.below(4) == 0;
    let mut link = Link::new(Peer::new("alpha", 3), Host::with(deployment));
    for _ in 0..512 {
        if choices.is_empty() {
            break;
        }
        link.step(&mut choices, only_breaks);
    }
    if only_breaks {
        link.settle();
        // A job that ends may let another begin.
        let mut finished = 0;
        while let Some(job) = link.host.started.get(finished).map(|start| start.job) {
            link.host.log(job, "late");
            link.host.finish(job);
            finished += 1;
        }
        link.settle();
        link.is_whole();
        let delegated = link.host.started.iter().filter(|start| start.parent.is_some());
        let delegated: BTreeSet<_> = delegated.map(|start| start.key.to_string()).collect();
        let told: BTreeSet<_> = link.peer.children.keys().cloned().collect();
        assert_eq!(told, delegated);
    }
    let mut host = link.host;
    host.hesitates = false;
    while !host.questions.is_empty() {
        host.answer(0);
    }
    host.pass(Duration::from_secs(1));
    let mut fresh = Peer::new("beta", 5);
    fresh.now = host.now;
    fresh.submit("fresh", LeaseRequest::default());
    let mut link = Link::new(fresh, host);
    let before = link.host.started.len();
    link.settle_until(|link| link.host.started.len() > before && link.peer.jobs.len() == 1);
    let job = link.host.started.last().expect("a fresh session's job starts").job;
    link.host.log(job, "x");
    link.host.finish(job);
    link.settle_until(|link| !link.peer.ended.is_empty());
    assert_eq!(link.peer.ended.values().sum::<u32>(), 1, "a fresh session's job ends");
    link.is_whole();
}

/// What a submit asks for; no end comes before the last job has ended.
fn lease(choices: &mut Choices<'_>) -> LeaseRequest {
    let spender = LeaseRequest::default().grant("agent.delegate", ["*"]).grant("tool.call", ["search.*"]);
    match choices.below(4) {
        0 => LeaseRequest::default(),
        1 => LeaseRequest::default().budget("USD:1"),
        2 => spender.budget("USD:5").budget("credits:100"),
        _ => spender.expires_in(Duration::from_secs(86_400)),
    }
}

struct Link {
    peer: Peer,
    host: Host,
    connection: Option<ConnectionId>,
    to_peer: VecDeque<Vec<u8>>,
    submitted: u32,
    /// When something other than a heartbeat was carried last, or there was no connection.
    busy: Instant,
}

impl Link {
    fn new(peer: Peer, host: Host) -> Self {
        let busy = host.now.mono;
        Self { peer, host, connection: None, to_peer: VecDeque::new(), submitted: 0, busy }
    }

    fn step(&mut self, choices: &mut Choices<'_>, only_breaks: bool) {
        let operation = choices.below(if only_breaks { 11 } else { 18 });
        match operation {
            0..=2 => self.deliver_to_host(None),
            3 | 4 => self.deliver_to_peer(None),
            5 => self.connect(),
            6 => {
                let lease = lease(choices);
                self.peer.submit_with(&format!("k-{}", self.submitted), lease, true);
                self.submitted += 1;
            }
            7 | 8 => {
                let index = choices.below(8);
                if operation == 7 {
                    self.host.act(index, choices);
                } else if let Some(job) = self.host.started.iter().rev().nth(index).map(|start| start.job) {
                    if choices.below(2) == 0 { self.host.log(job, "x") } else { self.host.finish(job) }
                }
            }
            // A hello that is late is refused, and with it the client: that is no break of the link.
            9 if only_breaks && self.peer.client.state() == ClientState::Greeting => {}
            9 => self.pass(Duration::from_millis(100) * u32::from(choices.byte())),
            10 => match choices.below(4) {
                0 => self.cut(),
                1 => {
                    let job = self.peer.jobs.last().and_then(|job| JobId::new(job));
                    let _ = job.map(|job| self.peer.client.cancel(self.peer.now, &job, None));
                }
                _ => self.peer.take(choices.below(256)),
            },
            11 | 12 => self.deliver_to_host(Some(choices)),
            13 | 14 => self.deliver_to_peer(Some(choices)),
            15 => self.host.answer(choices.byte()),
            16 => self.host.hesitates = !self.host.hesitates,
            _ => self.peer.client.reconnect_now(self.peer.now),
        }
        self.carry();
    }

    /// Takes what both sides have for each other.
    fn carry(&mut self) {
        self.peer.drain();
        self.host.settle();
        if self.peer.has_closed {
            self.peer.has_closed = false;
            self.lose();
        }
        let Some(line) = self.connection.and_then(|connection| self.host.lines.get_mut(&connection)) else {
            return;
        };
        self.to_peer.extend(line.received.drain(..).map(String::into_bytes));
    }

    fn connect(&mut self) {
        if self.peer.wants_transport {
            self.lose();
            self.connection = Some(self.host.open());
            self.peer.open();
        }
    }

    /// The runtime's end of the link is gone.
    fn lose(&mut self) {
        self.to_peer.clear();
        if let Some(connection) = self.connection.take() {
            self.host.runtime.handle_closed(self.host.now, connection);
            self.host.settle();
        }
    }

    /// The link breaks; what was on the way is lost.
    fn cut(&mut self) {
        self.lose();
        self.peer.cut();
        self.carry();
    }

    fn deliver_to_host(&mut self, fault: Option<&mut Choices<'_>>) {
        let Some(connection) = self.connection else { return };
        if let Some(frame) = self.peer.sent.pop_front() {
            self.note(frame.as_bytes());
            for frame in carried(frame.into_bytes(), fault) {
                self.host.send(connection, &frame);
            }
        }
    }

    fn deliver_to_peer(&mut self, fault: Option<&mut Choices<'_>>) {
        if let Some(frame) = self.to_peer.pop_front() {
            self.note(&frame);
            for frame in carried(frame, fault) {
                self.peer.receive(&frame);
            }
        } else if self.connection.is_some_and(|connection| self.host.lines[&connection].is_closed) {
            self.cut();
        }
    }

    fn note(&mut self, frame: &[u8]) {
        let names: [&[u8]; 2] = [b"\"session.ping\"", b"\"session.pong\""];
        let is_heartbeat =
            names.iter().any(|name| frame.windows(name.len()).take(120).any(|part| part == *name));
        if !is_heartbeat {
            self.busy = self.host.now.mono;
        }
    }

    fn pass(&mut self, span: Duration) {
        self.peer.pass(span);
        self.host.pass(span);
        self.carry();
    }

    /// Nothing is lost any more, until nothing happens any more: from timer to timer, for a few minutes.
    fn settle(&mut self) {
        self.settle_until(|_| false);
    }

    /// As [`Self::settle`], or until this holds.
    fn settle_until(&mut self, holds: impl Fn(&Self) -> bool) {
        let end = self.host.now.mono.after(PATIENCE);
        self.busy = self.host.now.mono;
        loop {
            self.carry();
            self.connect();
            while !self.peer.sent.is_empty() || !self.to_peer.is_empty() {
                self.deliver_to_host(None);
                self.carry();
                self.deliver_to_peer(None);
                while !self.peer.untaken.is_empty() {
                    self.peer.take(0);
                }
                self.carry();
                if self.connection.is_none() {
                    break;
                }
            }
            self.deliver_to_peer(None);
            let now = self.host.now.mono;
            if self.connection.is_none() {
                self.busy = now;
            }
            if now >= end || now.since(self.busy) >= QUIET || holds(self) {
                return;
            }
            let timers = [self.peer.client.poll_timeout(), self.host.runtime.poll_timeout()];
            let next = timers.into_iter().flatten().min().map_or(end, |at| at.min(end));
            self.pass(next.since(now));
        }
    }

    /// What was accepted has ended once, with every position before its end.
    fn is_whole(&self) {
        assert_eq!(self.peer.gaps, 0);
        // A cancel may come too late to be answered; a submit never does.
        let refused = self.peer.submits.iter().find(|submit| self.peer.rejected.contains(submit));
        assert_eq!(refused, None);
        let jobs = self.peer.submits.len() + self.peer.children.len();
        assert_eq!(self.peer.jobs.len(), jobs, "{:?}", self.peer.client);
        for job in &self.peer.jobs {
            let had = self.peer.had.get(job).map(Vec::as_slice).unwrap_or_default();
            let every: Vec<_> = (1..=had.len()).map(|position| u64::try_from(position).ok()).collect();
            assert_eq!(had, every, "{job}");
            assert_eq!(self.peer.ended.get(job), Some(&1), "{job}");
        }
    }
}

/// What becomes of a frame on the way.
fn carried(mut frame: Vec<u8>, fault: Option<&mut Choices<'_>>) -> Vec<Vec<u8>> {
    let Some(choices) = fault else { return vec![frame] };
    let at = usize::from(choices.byte()) * frame.len() / 256;
    match choices.below(5) {
        0 => return Vec::new(),
        1 => return vec![frame.clone(), frame],
        2 => frame.truncate(at),
        3 => frame[at] ^= choices.byte() | 1,
        _ => frame[at] = choices.pick(b"0129{}[]\",:-e\\ "),
    }
    vec![frame]
}
