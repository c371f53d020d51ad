//! The second half of a run: nothing goes wrong any more, and everything has to come to its end.

use arcp_proto::runtime::Timer;

use super::World;

/// Virtual time in which a calm world has to come to rest, in µs.
const PATIENCE: u64 = 4 * 3_600_000_000;

impl World<'_> {
    /// Ends all faults and waits until everything is done; then everybody leaves, and nothing may be left behind.
    pub(super) fn settle(&mut self) {
        self.calm();
        let until = self.at + PATIENCE;
        // After what an adversary has done nobody need get anywhere.
        let last_step = self.counts.steps + if self.troubles.adversary { 2_000 } else { super::MOST_STEPS };
        while self.oracle.verdict().is_none() {
            if self.is_settled() {
                break;
            }
            if self.counts.steps > last_step || self.next_at().is_none_or(|at| at > until) {
                if self.troubles.adversary {
                    break;
                }
                if let Some((property, left)) = self.oracle.live_credential() {
                    self.oracle.fail(property, format_args!("it does not come to that: {left}"));
                }
                let why = self.unfinished();
                let property = self.oracle.unrest();
                self.oracle.fail(property, format_args!("the world does not come to rest: {why}"));
                return;
            }
            self.step();
            self.renew();
        }
        if self.oracle.verdict().is_some() {
            return;
        }
        if !self.troubles.adversary {
            self.judge_end();
        }
        self.leave();
    }

    fn calm(&mut self) {
        self.is_calm = true;
        self.store.heal();
        self.agents.heal(self.at);
        self.provisioner.heal(self.at);
        self.journal.note(self.at, || "from here on nothing goes wrong".to_owned());
        for index in self.live.clone() {
            let link = &mut self.links[index];
            link.up.stalled_until = 0;
            link.down.stalled_until = 0;
            if link.is_broken || link.client.is_none() || self.troubles.adversary {
                link.runtime_notices = link.connection.map(|_| self.at);
                link.client_notices = link.client_end.then_some(self.at);
            }
        }
        for client in &mut self.clients {
            client.asleep_until = 0;
            if client.restart_at.is_some() {
                client.restart_at = Some(self.at);
            }
            let now = client.clock.now(self.at);
            client.wake(now);
        }
        if self.restart_at.is_some() {
            self.restart_at = Some(self.at);
        }
        self.drain();
    }

    /// Agents end soon, and applications whose session was ended by somebody else begin another.
    fn renew(&mut self) {
        self.agents.heal(self.at);
        for client in &mut self.clients {
            if client.is_over && client.restart_at.is_none() && !client.is_done() {
                client.die();
                client.persisted = None;
                client.restart_at = Some(self.at + 1_000);
            }
        }
    }

    fn is_settled(&self) -> bool {
        let Some(runtime) = &self.runtime else { return false };
        let links_rest = self.live.iter().all(|index| {
            let link = &self.links[*index];
            link.up.queue.is_empty() && link.down.queue.is_empty() && !link.ready
        });
        links_rest
            && runtime.population().unfinished_jobs == 0
            && self.store.next().is_none()
            // What it has refused comes again.
            && !self.store.is_blocked()
            && self.verdicts.is_empty()
            && self.decisions.is_empty()
            && self.provisioner.next().is_none()
            && self.oracle.live_credential().is_none()
            && self.clients.iter().all(|client| {
                client.restart_at.is_none()
                    && client.endpoint.as_ref().is_some_and(|endpoint| {
                        client.is_over
                            || endpoint.is_connected() && client.is_done() && {
                                let last = endpoint.resume_state().map(|state| state.last_event_seq);
                                let session = endpoint.session_id().map(|id| id.as_str());
                                last == session.and_then(|id| self.oracle.last_number(id))
                            }
                    })
            })
    }

    fn unfinished(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        if let Some(runtime) = &self.runtime {
            let _ = write!(text, "{:?}, next {:?}; ", runtime.population(), runtime.next_timer());
        }
        for client in &self.clients {
            let open: Vec<_> = client.work.iter().filter(|work| !work.is_over).collect();
            let endpoint = client.endpoint.as_ref();
            let state = endpoint.map(|endpoint| endpoint.state());
            let had = endpoint.and_then(|endpoint| endpoint.resume_state()).map(|state| state.last_event_seq);
            let max = endpoint
                .and_then(|endpoint| endpoint.session_id())
                .and_then(|session| self.oracle.last_number(session.as_str()));
            let _ = write!(
                text,
                "C{}: {state:?}, open {open:?}, has {had:?} of {max:?}, reads: {:?}, waiting for it: {}; ",
                client.index + 1,
                endpoint.map(|endpoint| endpoint.may_read()),
                client.link.map_or(0, |link| self.links[link].down.queue.len()),
            );
        }
        text
    }

    /// Every promise that is due at the end.
    fn judge_end(&mut self) {
        for client in &self.clients {
            let works = client.work.iter().filter_map(|work| work.job.as_ref().map(|job| job.as_str()));
            let sound = !client.is_over;
            self.oracle.client_rests(works, sound);
        }
        self.oracle.rests();
    }

    /// Everybody goes; when all that is remembered has been forgotten, nothing is left.
    fn leave(&mut self) {
        for client in &mut self.clients {
            let now = client.clock.now(self.at);
            if let Some(endpoint) = &mut client.endpoint {
                endpoint.close(now, None);
            }
            client.restart_at = None;
            client.left = true;
        }
        self.drain();
        let window = u64::try_from(self.config.resume_window.as_micros()).unwrap_or(0);
        let retention = u64::try_from(self.config.retention.as_micros()).unwrap_or(0);
        // Twice, since clocks may be slow, and what ends at the end of a window is remembered from then on.
        let until = self.at + 2 * (window + retention) + 5 * 86_400_000_000;
        while self.oracle.verdict().is_none() && self.next_at().is_some_and(|at| at <= until) {
            if self.counts.steps > super::MOST_STEPS {
                self.oracle.fail("LIVE", format_args!("the world does not come to rest after all have left"));
                return;
            }
            self.step();
        }
        let Some(runtime) = &self.runtime else { return };
        let population = runtime.population();
        let timer = runtime.next_timer().filter(|(_, timer)| !matches!(timer, Timer::Tombstone(_)));
        if population.sessions + population.unfinished_jobs + population.connections > 0 || timer.is_some() {
            self.oracle.fail("LIVE", format_args!("left behind: {population:?}, next {timer:?}"));
        } else if self.store.tables != arcp_proto::runtime::rows::Tables::default() {
            self.oracle.fail("LIVE", format_args!("rows are left in the store: {:?}", self.store.tables));
        }
    }
}
