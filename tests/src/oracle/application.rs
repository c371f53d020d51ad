//! What applications are told: every position once and in order, through lost connections and sessions (JOB-2, JOB-9, VIS-4,
//! VIS-7, SEQ-4).

use arcp_proto::client::ClientEvent;
use arcp_proto::runtime::StopReason;
use arcp_proto::wire::list::Jobs;

use super::{Kind, Oracle, read};

#[derive(Debug, Default)]
pub(super) struct Application {
    jobs: Vec<Told>,
    /// It began with what an earlier process had persisted.
    continues: bool,
    features: u16,
    listing: Option<Listing>,
}

/// A list that is read page by page.
#[derive(Debug)]
struct Listing {
    /// Jobs that were there when it began.
    had: Vec<u128>,
    seen: Vec<u128>,
}

#[derive(Debug, Default)]
struct Told {
    key: u128,
    last: u64,
    /// Attachments it asked for that may begin again.
    credits: u32,
}

impl Application {
    fn job(&mut self, key: u128) -> &mut Told {
        let index = self.jobs.iter().position(|job| job.key == key).unwrap_or_else(|| {
            self.jobs.push(Told { key, credits: 1, ..Told::default() });
            self.jobs.len() - 1
        });
        &mut self.jobs[index]
    }

    fn asks(&mut self, key: u128) {
        let job = self.job(key);
        job.credits += 1;
    }
}

impl Oracle {
    /// A process of a client begins.
    pub fn client_lives(&mut self, client: usize, continues: bool) {
        self.applications[client] = Application { continues, ..Application::default() };
    }

    /// An application asks for a job.
    pub fn attaches(&mut self, client: usize, job: &str) {
        self.applications[client].asks(read::ulid(job));
    }

    /// An application gives a job up.
    pub fn detaches(&mut self, client: usize, job: &str) {
        self.applications[client].asks(read::ulid(job));
    }

    /// An application is told something.
    pub fn told(&mut self, client: usize, event: &ClientEvent) {
        match event {
            ClientEvent::Connected(connected) => {
                self.applications[client].features = connected.features.bits();
            }
            ClientEvent::Accepted { job, .. } => {
                self.applications[client].asks(read::ulid(job.as_str()));
            }
            ClientEvent::JobEvent { job, event: Some(event), .. } => {
                if let Some(pos) = event.pos {
                    self.handed_on(client, read::ulid(job.as_str()), pos);
                }
            }
            ClientEvent::JobEvent { event: None, .. } if !self.is_meddled => {
                self.fail("WIR-4", format_args!("an application is told of an event that could not be read"));
            }
            ClientEvent::JobEnded { job, ended, .. } => {
                let key = read::ulid(job.as_str());
                if let Some(pos) = ended.pos {
                    self.handed_on(client, key, pos);
                }
            }
            ClientEvent::Gap { from, to } if !self.is_meddled => {
                self.fail("SEQ-4", format_args!("an application misses {from} to {to}"));
            }
            ClientEvent::JobGap { job, to, .. } => {
                let told = self.applications[client].job(read::ulid(job.as_str()));
                told.last = told.last.max(*to);
            }
            _ => {}
        }
    }

    fn handed_on(&mut self, client: usize, key: u128, pos: u64) {
        if self.is_meddled {
            return;
        }
        let features = self.applications[client].features;
        let continues = self.applications[client].continues;
        let told = self.applications[client].job(key);
        let last = told.last;
        if pos <= last || last == 0 && !continues {
            // It begins anew.
            if pos <= last && told.credits == 0 && !continues {
                self.fail("JOB-9", format_args!("an application is told of position {pos} behind {last}"));
                return;
            }
            if pos <= last {
                told.credits = told.credits.saturating_sub(1);
            }
            told.last = pos;
            return;
        }
        told.last = pos;
        if last == 0 {
            return;
        }
        let Some(job) = self.job(key) else { return };
        let missed = self.jobs[job].events.iter().zip(1..).find(|(event, at)| {
            let shown = match event.kind {
                Kind::Progress => features & 1 << 8 != 0,
                Kind::Chunk => features & 1 << 9 != 0,
                Kind::Rotated => features & 1 << 7 != 0,
                Kind::End | Kind::Other => true,
            };
            *at > last && *at < pos && shown
        });
        if let Some((_, missed)) = missed.filter(|_| self.applications[client].job(key).credits == 0) {
            self.fail("SEQ-4", format_args!("an application is told of position {pos} and not of {missed}"));
        }
    }

    /// An application begins to read a list of its jobs.
    pub fn lists(&mut self, client: usize, principal: &str) {
        let own = |job: &&super::Job| {
            job.principal == principal && !job.is_forgotten && self.is_committed(job.append)
        };
        let had = self.jobs.iter().filter(own).map(|job| job.key).collect();
        self.applications[client].listing = Some(Listing { had, seen: Vec::new() });
    }

    /// An application has read a page of jobs: none comes twice, and with the last page all have come that were there.
    pub fn page_read(&mut self, client: usize, page: &Jobs) {
        if self.is_meddled {
            return;
        }
        let Some(mut listing) = self.applications[client].listing.take() else { return };
        for entry in &page.jobs {
            let key = read::ulid(entry.job_id.as_str());
            if listing.seen.contains(&key) {
                self.fail("VIS-7", format_args!("{} is on two pages of a list", entry.job_id));
                return;
            }
            listing.seen.push(key);
        }
        if page.next_cursor.is_some() {
            self.applications[client].listing = Some(listing);
            return;
        }
        let is_missing = |key: &&u128| {
            !listing.seen.contains(key) && self.job(**key).is_some_and(|job| !self.jobs[job].is_forgotten)
        };
        if let Some(job) = listing.had.iter().find(is_missing).and_then(|key| self.job(*key)) {
            let id = self.job_id(job);
            self.fail("VIS-7", format_args!("{id} is on no page of a list"));
        }
    }

    /// What is wrong with a world that does not come to rest.
    #[must_use]
    pub fn unrest(&self) -> &'static str {
        let open = self.jobs.iter().find(|job| job.is_stored && !job.is_forgotten && job.end.is_none());
        if let Some(job) = open {
            let is_cancelled = matches!(job.live_stopping, Some(StopReason::Cancelled(_)));
            return if is_cancelled { "CAN-2" } else { "JOB-8" };
        }
        let waits =
            |session: &&super::Session| session.link.is_some() && session.sent < session.log.len() as u64;
        // The end of a job is in the stream of the session that owns it.
        let is_left_out = |job: usize| {
            let owner =
                self.jobs[job].owner.and_then(|owner| self.session(owner)).map(|owner| &self.sessions[owner]);
            let end = self.jobs[job].events.len() as u64;
            self.jobs[job].end.is_some()
                && owner.is_some_and(|owner| {
                    !owner.live.is_dead && !owner.log.iter().any(|entry| entry.job == job && entry.pos == end)
                })
        };
        if (0..self.jobs.len()).any(is_left_out) {
            return "JOB-9";
        }
        match self.sessions.iter().find(waits).and_then(|session| session.link) {
            Some(link) if self.connections[link].read_failed => "SEQ-8",
            Some(_) => "SEQ-4",
            None => "LIVE",
        }
    }

    /// The world is at rest: what a client asked for is over, and it knows how.
    pub fn client_rests<'a>(&mut self, works: impl Iterator<Item = &'a str>, is_connected: bool) {
        if !is_connected {
            return;
        }
        for work in works {
            let key = read::ulid(work);
            let Some(job) = self.job(key).filter(|job| !self.jobs[*job].is_forgotten) else { continue };
            if self.jobs[job].end.is_none() {
                self.fail("JOB-8", format_args!("an accepted job has no end"));
            }
        }
    }

    /// The world is at rest.
    pub fn rests(&mut self) {
        let open = self.jobs.iter().position(|job| job.is_stored && job.end.is_none());
        if let Some(job) = open {
            let id = self.job_id(job);
            self.fail("JOB-8", format_args!("{id} was accepted and has no end"));
        }
        let lost = self.jobs.iter().find(|job| {
            job.incarnation == self.incarnation && job.emitted > job.last_marker && !job.is_forgotten
        });
        if let Some(job) = lost {
            let (said, kept) = (job.emitted, job.last_marker);
            self.fail("JOB-9", format_args!("an agent said {said} things, {kept} are in the log"));
        }
        let limit = 2 * self.config.welcome_timeout;
        let now = self.now.mono.as_micros();
        let silent = self.connections.iter().position(|connection| {
            !connection.closed
                && connection.session.is_none()
                && now.saturating_sub(connection.opened_at) > limit
        });
        if let Some(link) = silent {
            self.fail("SES-6", format_args!("connection {link} was never welcomed and never closed"));
        }
    }
}
