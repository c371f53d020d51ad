//! The drivers of this world: what the endpoints ask for is done, and what is due happens.

use std::sync::Arc;

use arcp_proto::client::Output as ClientOutput;
use arcp_proto::runtime::{ConnectionId, Credentials, LeaseDecision, Output, Verdict};
use bytes::Bytes;

use super::World;
use super::count::Fault;
use super::link::{Link, What};
use super::plan::BEARER;
use crate::oracle::Note;

/// Something that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Up(usize),
    Down(usize),
    RuntimeNotices(usize),
    ClientNotices(usize),
    Store,
    Agent,
    RuntimeTimer,
    ClientTimer(usize),
    Dial(usize),
    Client(usize),
    Runtime,
    Verdict(usize),
    Decision(usize),
    Remembered(usize),
}

impl World<'_> {
    /// The next thing that happens if nobody does anything, and when.
    fn next(&self) -> Option<(u64, Due)> {
        let mut best: Option<(u64, Due)> = None;
        let mut consider = |at: Option<u64>, due: Due| {
            if let Some(at) = at
                && best.is_none_or(|(before, _)| at < before)
            {
                best = Some((at, due));
            }
        };
        for &index in &self.live {
            let link = &self.links[index];
            if self.can_read_up(link) {
                consider(link.up.next(), Due::Up(index));
            }
            if self.can_read_down(link) {
                consider(link.down.next(), Due::Down(index));
            }
            consider(link.runtime_notices, Due::RuntimeNotices(index));
            consider(link.client_notices, Due::ClientNotices(index));
        }
        consider(self.restart_at, Due::Runtime);
        if let Some(runtime) = &self.runtime {
            consider(self.store.next(), Due::Store);
            consider(self.agents.next(), Due::Agent);
            consider(runtime.poll_timeout().map(|at| self.clock.when(at)), Due::RuntimeTimer);
            for (index, (at, ..)) in self.verdicts.iter().enumerate() {
                consider(Some(*at), Due::Verdict(index));
            }
            for (index, (at, ..)) in self.decisions.iter().enumerate() {
                consider(Some(*at), Due::Decision(index));
            }
        }
        for client in &self.clients {
            consider(client.restart_at, Due::Client(client.index));
            let Some(endpoint) = &client.endpoint else { continue };
            let awake = |at: u64| at.max(client.asleep_until);
            consider(client.dial_at.map(awake), Due::Dial(client.index));
            consider(client.remembered_at.front().copied().map(awake), Due::Remembered(client.index));
            let timer = endpoint.poll_timeout().map(|at| awake(client.clock.when(at)));
            consider(timer, Due::ClientTimer(client.index));
        }
        best
    }

    fn can_read_up(&self, link: &Link) -> bool {
        match (link.connection, &self.runtime, link.up.queue.front()) {
            (Some(connection), Some(runtime), Some(parcel)) => {
                matches!(parcel.what, What::Close) || runtime.may_read(connection)
            }
            _ => false,
        }
    }

    fn can_read_down(&self, link: &Link) -> bool {
        let Some(parcel) = link.down.queue.front().filter(|_| link.client_end) else { return false };
        let Some(client) = link.client else { return true };
        let client = &self.clients[client];
        client.asleep_until <= self.at
            && client
                .endpoint
                .as_ref()
                .is_some_and(|client| matches!(parcel.what, What::Close) || client.may_read())
    }

    /// Lets one thing happen; `false` if nothing ever will.
    pub(super) fn step(&mut self) -> bool {
        let Some((at, due)) = self.next() else { return false };
        self.at = self.at.max(at);
        self.counts.steps += 1;
        self.oracle.step(self.counts.steps, self.clock.now(self.at));
        self.happen(due);
        self.drain();
        true
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.next().map(|(at, _)| at)
    }

    fn happen(&mut self, due: Due) {
        let now = self.clock.now(self.at);
        match due {
            Due::Up(link) => self.arrive_up(link),
            Due::Down(link) => self.arrive_down(link),
            Due::RuntimeNotices(link) => self.tell_runtime(link),
            Due::ClientNotices(link) => self.tell_client(link),
            Due::Store => {
                let Self { store, choices, counts, oracle, runtime, .. } = self;
                let Some(done) = store.step(self.at, choices, counts, oracle) else { return };
                if let Some(runtime) = runtime {
                    oracle.answered(done.id, done.is_append, &done.done);
                    runtime.handle_store(now, done.id, done.done);
                }
            }
            Due::Agent => {
                let Self { agents, choices, counts, oracle, runtime, store, .. } = self;
                if let Some(runtime) = runtime {
                    oracle.lags(store.is_blocked());
                    agents.step(self.at, (runtime, now), choices, counts, oracle);
                }
            }
            Due::RuntimeTimer => {
                if let Some(runtime) = &mut self.runtime {
                    runtime.handle_timeout(now);
                }
            }
            Due::ClientTimer(index) => {
                let client = &mut self.clients[index];
                let now = client.clock.now(self.at);
                if let Some(endpoint) = &mut client.endpoint {
                    endpoint.handle_timeout(now);
                }
            }
            Due::Dial(index) => self.dial(index),
            Due::Client(index) => {
                let seed = self.seed;
                // What an earlier process had open is closed with it.
                if let Some(link) = self.clients[index].link.take() {
                    let link = &mut self.links[link];
                    link.client_end = false;
                    link.down.queue.clear();
                    link.runtime_notices = Some(self.at + link.latency);
                }
                self.clients[index].die();
                self.clients[index].live(self.at, seed, &mut self.oracle);
                self.journal.note(self.at, || format!("C{} starts", index + 1));
            }
            Due::Runtime => self.recover_runtime(),
            Due::Verdict(index) => {
                let (_, id, verdict) = self.verdicts.swap_remove(index);
                if let Some(runtime) = &mut self.runtime {
                    runtime.handle_auth(now, id, verdict);
                }
            }
            Due::Decision(index) => {
                let (_, id, decision) = self.decisions.swap_remove(index);
                if let Some(runtime) = &mut self.runtime {
                    // A decision that is too wide is refused by the runtime, which is what some of them are for.
                    let _ = runtime.handle_decision(now, id, decision);
                }
            }
            Due::Remembered(index) => {
                let client = &mut self.clients[index];
                client.remembered_at.pop_front();
                let now = client.clock.now(self.at);
                if let Some(endpoint) = &mut client.endpoint {
                    endpoint.handle_remembered(now);
                }
            }
        }
    }

    /// Carries out everything the endpoints ask for.
    pub(super) fn drain(&mut self) {
        loop {
            let mut idle = true;
            while let Some(output) = self.runtime.as_mut().and_then(|runtime| runtime.poll_output()) {
                idle = false;
                self.obey_runtime(output);
            }
            for index in 0..self.clients.len() {
                while let Some(output) =
                    self.clients[index].endpoint.as_mut().and_then(|client| client.poll_output())
                {
                    idle = false;
                    self.obey_client(index, output);
                }
            }
            for position in 0..self.live.len() {
                let index = self.live[position];
                if self.links[index].ready && self.links[index].has_room() {
                    self.pull(index, false);
                }
            }
            if idle {
                break;
            }
        }
        let links = &self.links;
        self.live.retain(|index| !links[*index].is_gone());
        if self.halted {
            self.halted = false;
            let again_at = self.at + 1_000 + self.choices.below(100_000);
            self.crash_runtime(0, again_at);
        }
    }

    fn obey_runtime(&mut self, output: Output) {
        let now = self.clock.now(self.at);
        match output {
            Output::FramesReady(connection) => {
                if let Some(link) = self.link_of(connection) {
                    self.links[link].ready = true;
                }
            }
            Output::Probe(connection) => {
                let is_open = self.link_of(connection).is_some_and(|link| self.links[link].client_end);
                if let Some(runtime) = self.runtime.as_mut().filter(|_| is_open) {
                    runtime.handle_proof(now, connection);
                }
            }
            Output::Close { connection, .. } => {
                if let Some(link) = self.link_of(connection) {
                    self.pull(link, true);
                    let arrives = self.arrival(link);
                    self.links[link].down.push(arrives, What::Close);
                    self.links[link].connection = None;
                    self.links[link].runtime_notices = None;
                    self.links[link].up.queue.clear();
                    self.oracle.closed(link);
                    self.journal.note(self.at, || format!("the runtime closes ({link})"));
                }
                if let Some(runtime) = &mut self.runtime {
                    runtime.handle_closed(now, connection);
                }
            }
            Output::Authenticate { id, credentials } => self.authenticate(id, &credentials),
            Output::Decide { id, question } => {
                let mut at = self.at + self.choices.below(2_000);
                let mut lease = question.lease;
                let mut decision = None;
                if !self.is_calm {
                    match self.choices.below(8) {
                        1 => {
                            self.counts.note(Fault::LateDecision);
                            at += 11_000_000;
                        }
                        2 if !lease.is_empty() => {
                            self.counts.note(Fault::Denied);
                            decision = Some(LeaseDecision::Refuse);
                        }
                        3 => {
                            self.counts.note(Fault::Narrowed);
                            let mut first = true;
                            lease.retain(|_, _| std::mem::replace(&mut first, false));
                        }
                        _ => {}
                    }
                }
                self.decisions.push((at, id, decision.unwrap_or(LeaseDecision::Grant(lease))));
            }
            Output::Store { id, command } => {
                self.journal.note(self.at, || {
                    let told: String = format!("{command:?}").chars().take(1_500).collect();
                    format!("store {id:?}: {told}")
                });
                let Self { store, choices, counts, oracle, .. } = self;
                oracle.given(id, &command, now);
                store.submit(self.at, id, command, choices, counts);
            }
            Output::StartJob(start) => {
                self.oracle.started(&start);
                self.agents.start(self.at, &start, &mut self.choices, &mut self.counts);
            }
            Output::IssueCredential { .. } | Output::RevokeCredential { .. } => {
                unreachable!("this runtime has no provisioner")
            }
            Output::TellJob { job, news } => self.agents.tell(job, &news, self.at),
            Output::CancelJob { job, .. } => {
                self.agents.stop(self.at, job, &mut self.choices, &mut self.counts);
            }
            Output::KillJob(job) => self.agents.kill(job),
            Output::HoldJob(job) => self.agents.hold(job, true),
            Output::ReleaseJob(job) => self.agents.hold(job, false),
            Output::Halt => self.halted = true,
            Output::Event(event) => self.oracle.event(&event),
        }
    }

    fn authenticate(&mut self, id: arcp_proto::runtime::AuthId, credentials: &Credentials) {
        let mut verdict = match credentials {
            Credentials::Bearer(token) => match token.expose().strip_suffix(BEARER) {
                Some(principal) => Verdict::Accept { principal: Arc::from(principal), until: None },
                None => Verdict::Refuse,
            },
            Credentials::Anonymous => Verdict::Refuse,
        };
        let mut at = self.at + self.choices.below(1_000);
        if !self.is_calm && self.troubles.decisions {
            match self.choices.below(24) {
                1 => {
                    self.counts.note(Fault::LateVerdict);
                    at += 12_000_000;
                }
                2 => {
                    self.counts.note(Fault::Refused);
                    verdict = Verdict::Refuse;
                }
                _ => {}
            }
        }
        self.verdicts.push((at, id, verdict));
    }

    fn obey_client(&mut self, index: usize, output: ClientOutput) {
        let now = self.clients[index].clock.now(self.at);
        match output {
            ClientOutput::Connect => {
                let delay = self.latency + self.choices.below(self.latency);
                self.clients[index].dial_at = Some(self.at + delay);
            }
            ClientOutput::FramesReady => self.pull_client(index),
            ClientOutput::Close(_) => {
                self.pull_client(index);
                let client = &mut self.clients[index];
                client.dial_at = None;
                if let Some(link) = client.link.take() {
                    let arrives = self.arrival(link);
                    self.links[link].up.push(arrives, What::Close);
                    self.links[link].client_end = false;
                    self.links[link].down.queue.clear();
                    self.links[link].client_notices = None;
                }
                if let Some(endpoint) = &mut self.clients[index].endpoint {
                    endpoint.handle_closed(now);
                }
            }
            ClientOutput::Remember(state) => {
                let client = &mut self.clients[index];
                client.persisted = Some(state);
                let delay = self.choices.below(2_000);
                let at = client.remembered_at.back().copied().unwrap_or(0).max(self.at + delay);
                client.remembered_at.push_back(at);
            }
            ClientOutput::Event(event) => {
                self.journal.note(self.at, || {
                    let told: String = format!("{event:?}").chars().take(160).collect();
                    format!("{} is told {told}", format_client(index))
                });
                self.clients[index].told(now, &event, &mut self.oracle);
                // What the application has, it has written down, and now and then how far it is.
                if self.choices.one_in(8) {
                    let client = &mut self.clients[index];
                    if let Some(state) = client.endpoint.as_ref().and_then(|client| client.resume_state()) {
                        client.persisted = Some(state);
                    }
                }
            }
        }
    }

    fn pull_client(&mut self, index: usize) {
        while let Some(text) = self.clients[index].endpoint.as_mut().and_then(|client| client.poll_frame()) {
            let Some(link) = self.clients[index].link else { continue };
            let bytes = Bytes::from(text);
            let note = self.oracle.client_wrote(link, &bytes);
            self.journal.frame(self.at, link, &format_client(index), "→R", &bytes);
            self.write_up(link, bytes, note);
        }
    }

    /// Puts a client's frame on its way.
    pub(super) fn write_up(&mut self, link: usize, bytes: Bytes, note: Note) {
        self.counts.frames += 1;
        let arrives = self.arrival(link);
        let target = &mut self.links[link];
        if target.connection.is_some() && target.up.push(arrives, What::Frame { bytes, note }) {
            self.meddle(link, true);
        } else {
            self.counts.note(Fault::Lost);
        }
    }

    /// Pulls frames while the link has room, or all.
    fn pull(&mut self, index: usize, all: bool) {
        loop {
            let link = &mut self.links[index];
            let Some(connection) = link.connection else { return };
            if !all && !link.has_room() {
                return;
            }
            let Some(frame) = self.runtime.as_mut().and_then(|runtime| runtime.poll_frame(connection)) else {
                link.ready = false;
                return;
            };
            let bytes = Bytes::from(frame.encode());
            let note = self.oracle.runtime_wrote(index, &bytes);
            self.counts.frames += 1;
            self.counts.events += u64::from(note.is_event());
            if let Some(client) = self.links[index].client {
                self.journal.frame(self.at, index, &format_client(client), "←R", &bytes);
            } else {
                self.journal.frame(self.at, index, "X", "←R", &bytes);
            }
            let arrives = self.arrival(index);
            let link = &mut self.links[index];
            if link.down.push(arrives, What::Frame { bytes, note }) && link.client_end {
                self.meddle(index, false);
            } else {
                self.counts.note(Fault::Lost);
            }
        }
    }

    /// When what is written to a link at this moment arrives.
    fn arrival(&mut self, link: usize) -> u64 {
        let latency = self.links[link].latency;
        self.at + latency / 2 + self.choices.below(latency)
    }

    pub(super) fn link_of(&self, connection: ConnectionId) -> Option<usize> {
        self.live.iter().rev().copied().find(|index| self.links[*index].connection == Some(connection))
    }

    /// A transport opens, or does not.
    fn dial(&mut self, index: usize) {
        self.clients[index].dial_at = None;
        let fails = !self.is_calm && self.troubles.cuts && self.choices.one_in(16);
        if fails {
            self.counts.note(Fault::NoDial);
        }
        let now = self.clients[index].clock.now(self.at);
        let opened = if fails { None } else { self.open(Some(index), self.clients[index].transport) };
        let client = &mut self.clients[index];
        let Some(endpoint) = &mut client.endpoint else { return };
        match opened {
            Some(link) => {
                client.link = Some(link);
                endpoint.handle_open(now, client.transport);
            }
            None => endpoint.handle_closed(now),
        }
    }

    /// Opens a link to the runtime, unless it is dead.
    pub(super) fn open(
        &mut self,
        client: Option<usize>,
        kind: arcp_proto::wire::peer::TransportKind,
    ) -> Option<usize> {
        let now = self.clock.now(self.at);
        let runtime = self.runtime.as_mut()?;
        self.oracle.opened(self.links.len(), client, now);
        let connection = runtime.handle_open(now, kind);
        self.links.push(Link::new(client, kind, connection, self.latency, self.room));
        self.live.push(self.links.len() - 1);
        Some(self.links.len() - 1)
    }

    fn arrive_up(&mut self, index: usize) {
        let now = self.clock.now(self.at);
        let link = &mut self.links[index];
        let (Some(connection), Some(runtime)) = (link.connection, &mut self.runtime) else { return };
        if !self.is_calm && self.choices.one_in(24) {
            let (length, later) = (self.choices.index(400), 1 + self.choices.below(3_000));
            if let Some(begun) = link.up.read_piece(length, self.at + later) {
                self.counts.note(Fault::Pieces);
                runtime.handle_partial(now, connection, begun);
                return;
            }
        }
        match link.up.queue.pop_front().map(|parcel| parcel.what) {
            Some(What::Frame { bytes, note }) => {
                if let Some(frame) = link.up.read(bytes) {
                    self.oracle.runtime_reads(index, note, now);
                    runtime.handle_frame(now, connection, frame);
                }
            }
            Some(What::Close) => self.tell_runtime(index),
            None => {}
        }
    }

    fn arrive_down(&mut self, index: usize) {
        let link = &mut self.links[index];
        let parcel = link.down.queue.pop_front().map(|parcel| parcel.what);
        let Some(client) = link.client else {
            if let Some(What::Close) = parcel {
                link.client_end = false;
            } else if let Some(What::Frame { bytes, .. }) = parcel {
                self.intruder_reads(index, &bytes);
            }
            return;
        };
        let client = &mut self.clients[client];
        let now = client.clock.now(self.at);
        match parcel {
            Some(What::Frame { bytes, note }) => {
                if let (Some(frame), Some(endpoint)) = (link.down.read(bytes), &mut client.endpoint) {
                    self.oracle.client_reads(index, note);
                    endpoint.handle_frame(now, frame);
                }
            }
            Some(What::Close) => self.tell_client(index),
            None => {}
        }
    }

    /// The runtime finds out that a link is gone.
    pub(super) fn tell_runtime(&mut self, index: usize) {
        let now = self.clock.now(self.at);
        let link = &mut self.links[index];
        link.runtime_notices = None;
        link.up.queue.clear();
        if let (Some(connection), Some(runtime)) = (link.connection.take(), &mut self.runtime) {
            self.oracle.closed(index);
            runtime.handle_closed(now, connection);
        }
        if link.client_end && !link.is_broken && link.client_notices.is_none() {
            // Its end of the link is closed by the one that gave it up.
            link.client_notices = Some(self.at + link.latency);
        }
    }

    /// The client finds out that its link is gone.
    pub(super) fn tell_client(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.client_notices = None;
        link.client_end = false;
        link.down.queue.clear();
        let Some(client) = link.client else { return };
        let client = &mut self.clients[client];
        let now = client.clock.now(self.at);
        if client.link == Some(index) {
            client.link = None;
            if let Some(endpoint) = &mut client.endpoint {
                endpoint.handle_closed(now);
            }
        }
        let link = &mut self.links[index];
        if link.connection.is_some() && !link.is_broken && link.runtime_notices.is_none() {
            link.runtime_notices = Some(self.at + link.latency);
        }
    }
}

pub(super) fn format_client(index: usize) -> String {
    format!("C{}", index + 1)
}
