//! What is done to a world while it works: requests of applications, and everything that can go wrong.

use arcp_proto::client::Subscription;
use arcp_proto::id::JobId;

use super::World;
use super::client::SPECS;
use super::count::Fault;
use super::transport::format_client;

impl World<'_> {
    /// Until the bytes are used up.
    pub(super) fn rage(&mut self) {
        while !self.choices.is_empty()
            && self.counts.steps < super::MOST_STEPS
            && self.oracle.verdict().is_none()
        {
            if self.choices.below(7) == 1 {
                self.disturb();
                self.drain();
            } else if !self.step() {
                break;
            }
        }
    }

    /// Does something that nothing in the world waited for.
    fn disturb(&mut self) {
        let troubles = self.troubles;
        match self.choices.below(40) {
            0..=11 => self.submit(),
            12..=14 => self.subscribe(),
            15 | 16 => self.cancel(),
            17 | 18 => self.ask(),
            19..=23 if troubles.cuts => self.cut_any(),
            24 | 25 if troubles.stalls => self.stall(),
            26 | 27 if troubles.clocks => self.jump(),
            28 | 29 if troubles.client_crashes => self.crash_client(),
            30 if troubles.runtime_crashes => {
                let kept = self.choices.index(self.store.waiting() + 1);
                let again_at = self.at + 1_000 + self.choices.below(self.choices_span());
                self.crash_runtime(kept, again_at);
            }
            31..=33 if troubles.store_faults => self.spoil_store(),
            34 if troubles.policy => self.flip(),
            35 | 36 if troubles.idle => self.idle(),
            37 | 38 if troubles.intruders => self.intrude(),
            39 if troubles.provisioner => self.provisioner_fails(),
            _ => {}
        }
    }

    const fn choices_span(&self) -> u64 {
        // Short enough for most resume windows, now and then too long for the shortest.
        if self.starts.is_multiple_of(3) { 8_000_000 } else { 200_000 }
    }

    fn any_client(&mut self) -> usize {
        self.choices.index(self.clients.len())
    }

    fn submit(&mut self) {
        if self.submitted >= self.most_jobs {
            return;
        }
        self.submitted += 1;
        let index = self.any_client();
        let spec = self.choices.below(SPECS);
        // Keys that several clients of a principal use, so that the same job, or another of the same name, comes twice.
        let key = if self.choices.one_in(3) {
            let number = self.choices.below(3);
            // If one were joined to its principal's name, those of the third principal would be those of the first.
            if self.clients[index].principal == 2 { number.to_string() } else { format!("shared-{number}") }
        } else {
            format!("own-{index}-{}", self.clients[index].work.len())
        };
        let now = self.clients[index].clock.now(self.at);
        self.journal.note(self.at, || format!("{} submits job {spec} as {key}", format_client(index)));
        self.clients[index].submit(now, key, spec);
    }

    /// A job of anybody.
    pub(super) fn any_job(&mut self) -> Option<JobId> {
        let count = self.oracle.jobs();
        if count == 0 {
            return None;
        }
        let index = self.choices.index(count);
        JobId::new(&self.oracle.job_id(index))
    }

    fn subscribe(&mut self) {
        let index = self.any_client();
        let Some(job) = self.any_job() else { return };
        let start = match self.choices.below(6) {
            1 => Subscription::Live,
            2 => Subscription::HistoryFromPos(self.choices.below(8)),
            3 => Subscription::HistoryFromSeq(self.choices.below(8)),
            _ => Subscription::History,
        };
        let now = self.clients[index].clock.now(self.at);
        self.journal.note(self.at, || format!("{} subscribes to {job}: {start:?}", format_client(index)));
        self.clients[index].subscribe(now, &job, start, &mut self.oracle);
    }

    fn cancel(&mut self) {
        let index = self.any_client();
        let Some(job) = self.any_job() else { return };
        let now = self.clients[index].clock.now(self.at);
        self.journal.note(self.at, || format!("{} cancels {job}", format_client(index)));
        self.clients[index].cancel(now, &job);
    }

    /// Lists, unsubscribes, says goodbye.
    fn ask(&mut self) {
        let index = self.any_client();
        let now = self.clients[index].clock.now(self.at);
        match self.choices.below(8) {
            1 => {
                let Self { clients, choices, oracle, .. } = self;
                clients[index].unsubscribe(now, choices, oracle);
            }
            2 => {
                let client = &mut self.clients[index];
                if let Some(endpoint) = &mut client.endpoint {
                    endpoint.close(now, None);
                    client.left = true;
                    // The same application goes on later, in the same session if that lives.
                    client.persisted = endpoint.resume_state();
                    client.restart_at = Some(self.at + 2_000_000);
                }
            }
            3 => {
                if let Some(endpoint) = &mut self.clients[index].endpoint {
                    endpoint.reconnect_now(now);
                }
            }
            _ => {
                let page = 1 + self.choices.below(4);
                let Self { clients, oracle, .. } = self;
                clients[index].list(now, page, oracle);
            }
        }
    }

    fn cut_any(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let position = self.choices.index(self.live.len());
        self.cut(self.live[position]);
    }

    /// Breaks a link: of what is on the way, a prefix of whole frames arrives in each direction, perhaps part of another.
    fn cut(&mut self, index: usize) {
        if self.links[index].is_broken {
            return;
        }
        self.counts.note(Fault::Cut);
        let (up, down) = (self.choices.index(4), self.choices.index(4));
        let is_half_open = self.choices.one_in(3);
        let (at, late) = (self.at, self.choices.below(3) == 1);
        let client_notices = at + self.choices.below(50_000);
        let runtime_notices = at + self.choices.of(&[0, 20_000, 400_000, 5_000_000]);
        let inside = self.choices.index(300);
        let link = &mut self.links[index];
        self.journal.note(at, || format!("the link ({index}) breaks, half open: {is_half_open}"));
        link.is_broken = true;
        for (pipe, kept) in [(&mut link.up, up), (&mut link.down, down)] {
            let count = pipe.queue.len();
            self.counts.notes(Fault::Lost, count.saturating_sub(kept));
            pipe.queue.truncate(kept);
        }
        if let (Some(connection), Some(runtime)) = (link.connection, &mut self.runtime)
            && !link.up.queue.is_empty()
            && let Some(begun) = link.up.read_piece(inside, at)
        {
            // The rest of that frame never comes.
            self.counts.note(Fault::CutInside);
            runtime.handle_partial(self.clock.now(at), connection, begun);
            link.up.queue.clear();
        }
        if late && !link.up.queue.is_empty() {
            self.counts.notes(Fault::Late, link.up.queue.len());
            for parcel in &mut link.up.queue {
                parcel.at += 60_000;
            }
        }
        // Nothing more gets through.
        link.up.is_cut = true;
        link.down.is_cut = true;
        if link.connection.is_some() {
            if is_half_open {
                self.counts.note(Fault::HalfOpen);
            } else {
                link.runtime_notices = Some(runtime_notices);
            }
        }
        if link.client_end {
            link.client_notices = Some(client_notices);
        }
    }

    fn stall(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let position = self.choices.index(self.live.len());
        let span = self.choices.of(&[300_000, 3_000_000, 70_000_000]);
        let until = self.at + span;
        let link = &mut self.links[self.live[position]];
        match self.choices.below(3) {
            0 => link.down.stalled_until = until,
            1 => link.up.stalled_until = until,
            _ => {
                link.down.stalled_until = until;
                link.up.stalled_until = until;
            }
        }
        self.counts.note(Fault::Stall);
        self.journal.note(self.at, || format!("a link stalls for {} ms", span / 1_000));
    }

    fn jump(&mut self) {
        let millis = self.choices.of(&[1_000, -1_000, 3_600_000, -3_600_000, 86_400_000]);
        self.counts.note(Fault::Jump);
        self.journal.note(self.at, || format!("a wall clock jumps by {millis} ms"));
        let which = self.choices.index(self.clients.len() + 1);
        match self.clients.get_mut(which) {
            Some(client) => client.clock.jump(millis),
            None => {
                self.clock.jump(millis);
                self.oracle.wall_jumps();
            }
        }
    }

    fn crash_client(&mut self) {
        let index = self.any_client();
        let span = self.choices.of(&[20_000, 400_000, 4_000_000]);
        if self.clients[index].endpoint.is_none() {
            return;
        }
        if self.choices.one_in(3) {
            self.counts.note(Fault::Asleep);
            self.clients[index].asleep_until = self.at + span * 10;
            self.journal.note(self.at, || format!("{} sleeps", format_client(index)));
            return;
        }
        self.counts.note(Fault::ClientCrash);
        self.journal.note(self.at, || format!("{} crashes", format_client(index)));
        let client = &mut self.clients[index];
        client.die();
        client.restart_at = Some(self.at + span);
        if let Some(link) = client.link.take() {
            let is_noticed = !self.choices.one_in(3);
            let link = &mut self.links[link];
            link.client_end = false;
            link.is_broken = true;
            link.client_notices = None;
            link.down.queue.clear();
            if is_noticed {
                link.runtime_notices = Some(self.at + 1_000);
            } else {
                self.counts.note(Fault::HalfOpen);
            }
        }
    }

    fn spoil_store(&mut self) {
        match self.choices.below(6) {
            1 => self.store.failing_reads += 1,
            2 if self.choices.one_in(2) => self.store.fails_next = true,
            _ => self.store.full_until = self.at + 10_000 + self.choices.below(1_500_000),
        }
    }

    fn provisioner_fails(&mut self) {
        let span = self.choices.of(&[100_000, 2_000_000, 15_000_000]);
        self.counts.note(Fault::Outage);
        self.journal.note(self.at, || format!("the provisioner is down for {} ms", span / 1_000));
        self.provisioner.go_down(self.at + span);
    }

    fn flip(&mut self) {
        let bits = u32::try_from(self.choices.below(64)).unwrap_or(0);
        self.sights.store(bits, std::sync::atomic::Ordering::Relaxed);
        self.counts.note(Fault::PolicyFlip);
        self.oracle.sees(bits);
        let now = self.clock.now(self.at);
        self.journal.note(self.at, || format!("who sees what changes: {bits:06b}"));
        if let Some(runtime) = &mut self.runtime {
            runtime.policy_changed(now);
        }
    }

    fn idle(&mut self) {
        let index = self.any_client();
        let now = self.clients[index].clock.now(self.at);
        if self.clients[index].is_idle {
            self.clients[index].wake(now);
        } else {
            self.counts.note(Fault::Idle);
            self.clients[index].is_idle = true;
        }
    }
}
