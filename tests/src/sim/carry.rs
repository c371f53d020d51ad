//! The drivers of this world: what is due happens, one thing after another.

use super::World;
use super::link::{Link, What};

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
    Provisioner,
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
            consider(self.provisioner.next(), Due::Provisioner);
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
                let done = store.step(self.at, choices, counts, oracle);
                if store.is_at_last() {
                    store.last = None;
                    self.crash_runtime(0, self.at + 1_000);
                    return;
                }
                let Some(done) = done else { return };
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
                while let Some(runtime) = &mut self.runtime
                    && self.agents.go_on((runtime, now), &mut self.oracle)
                {
                    self.drain();
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
            Due::Provisioner => self.hear_provisioner(),
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
        self.oracle.turn_over();
        let links = &self.links;
        self.live.retain(|index| !links[*index].is_gone());
        if self.halted {
            self.halted = false;
            let again_at = self.at + 1_000 + self.choices.below(100_000);
            self.crash_runtime(0, again_at);
        }
    }
}
