//! Records: what is given to the store, what of it is stored, what is committed (JOB-1, IDEM-1, VIS-1).

use arcp_proto::runtime::StopReason;
use arcp_proto::runtime::store::{Command, JobRecord, Record, SessionRecord, StoreDone, StoreId, Trim};
use arcp_proto::time::Now;
use arcp_proto::wire::event::{Content, EventKind};
use std::fmt::Write as _;

use super::{Append, Happened, Job, Kind, Oracle, Session, Stream, Tokens, lease};

impl Oracle {
    /// The runtime gives the store a command.
    pub fn given(&mut self, id: StoreId, command: &Command, now: Now) {
        self.now = now;
        if let Command::Trim(Trim::Session { session, to }) = command
            && let Some(session) = self.session(session.ulid().bits())
        {
            self.sessions[session].let_go = self.sessions[session].let_go.max(*to);
        }
        if let Command::Trim(Trim::Job { job, to }) = command
            && let Some(job) = self.job(job.ulid().bits())
        {
            self.jobs[job].let_go = self.jobs[job].let_go.max(*to);
        }
        if let Command::Trim(Trim::WholeJob(job)) = command
            && let Some(job) = self.job(job.ulid().bits())
        {
            self.jobs[job].is_forgotten = true;
        }
        if let Command::Trim(Trim::Credential(key)) = command {
            self.credential_forgotten(*key);
        }
        if let Command::ReadSession { session, .. } = command
            && let Some(session) = self.session(session.ulid().bits())
        {
            self.reads.push((id, session));
        }
        let Command::Append(records) = command else { return };
        if self.appends.iter().rev().any(|append| append.id == id && !append.stored) {
            // Tried again.
            return;
        }
        self.judge_stored(command);
        self.appends.push(Append { id, stored: false, answered: false });
        self.judge_order(records);
        for record in records {
            self.numbers_given(record);
            match record {
                Record::Session(record) => self.session_given(record),
                Record::Job(record) => self.job_given(record),
                Record::Event(record) if matches!(record.event.content, Content::End(_)) => {
                    if let Some(job) = self.job(record.job.ulid().bits()) {
                        self.end_given(job);
                    }
                }
                Record::Stopping { job, reason, .. } => self.stop_given(job.ulid().bits(), reason),
                Record::Credential(record) => self.judge_timely(record),
                Record::Event(record) => {
                    if let Content::Event { kind: EventKind::Metric, body } = &record.event.content
                        && body.as_str().contains("cost.budget.")
                        && let Some(job) = self.job(record.job.ulid().bits())
                    {
                        self.remaining_told(job, body.as_str());
                    }
                }
                _ => {}
            }
        }
        self.counters_given(records);
        self.credentials_given(records);
    }

    /// The store has carried out an append.
    pub fn stored(&mut self, id: StoreId, records: &[Record]) {
        let Some(position) = self.appends.iter().rposition(|append| append.id == id) else { return };
        self.appends[position].stored = true;
        let append = position as u64 + 1;
        for record in records {
            self.take(append, record);
        }
    }

    /// The store has answered.
    pub fn answered(&mut self, id: StoreId, is_append: bool, done: &StoreDone) {
        if !is_append {
            let read = self.reads.iter().position(|(read, _)| *read == id);
            let session = read.map(|read| self.reads.swap_remove(read).1);
            if let Some(link) = session.and_then(|session| self.sessions[session].link) {
                self.connections[link].read_failed |= matches!(done, StoreDone::Failed);
            }
            return;
        }
        self.has_failed |= matches!(done, StoreDone::Failed);
        match done {
            StoreDone::Appended => {
                self.refused.retain(|refused| *refused != id);
                if let Some(append) = self.appends.iter_mut().rev().find(|append| append.id == id) {
                    append.answered = true;
                }
                while self.appends.get(self.committed).is_some_and(|append| append.stored && append.answered)
                {
                    self.committed += 1;
                }
            }
            StoreDone::Full(_) => {
                self.was_full = true;
                if !self.refused.contains(&id) {
                    self.refused.push(id);
                }
            }
            _ => {}
        }
    }

    /// The store has let go of something.
    pub fn trimmed(&mut self, trim: Trim) {
        match trim {
            Trim::Session { session, to } => {
                if let Some(session) = self.session(session.ulid().bits()) {
                    self.judge_eviction(session, to);
                }
            }
            Trim::Job { job, to } => {
                if let Some(job) = self.job(job.ulid().bits()) {
                    let most = self.jobs[job].events.len() as u64;
                    let to = if self.jobs[job].end.is_some() {
                        to.min(most.saturating_sub(1))
                    } else {
                        to.min(most)
                    };
                    self.jobs[job].floor = self.jobs[job].floor.max(to);
                }
            }
            Trim::WholeSession(_) | Trim::Credential(_) => {}
            Trim::WholeJob(job) => {
                if let Some(job) = self.job(job.ulid().bits()) {
                    self.jobs[job].is_forgotten = true;
                }
            }
        }
    }

    /// The store does not take what the runtime gives it: what the runtime knows and what it has given differ.
    pub(super) fn is_behind(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Whether the store is blocked; the runtime hears of it by its answers.
    pub const fn lags(&mut self, _blocked: bool) {}

    fn take(&mut self, append: u64, record: &Record) {
        match record {
            Record::Session(record) => self.session_stored(append, record),
            Record::Job(record) => {
                if let Some(job) = self.job(record.key.ulid().bits()) {
                    self.jobs[job].is_stored = true;
                    self.jobs[job].append = append;
                    self.jobs[job].started = record.started;
                    self.jobs[job].started_append = append;
                    let owner = record.owner.map(|owner| owner.ulid().bits());
                    self.jobs[job].owner = owner;
                    self.jobs[job].first_owner = owner;
                    if let Some(session) = owner.and_then(|owner| self.session(owner)) {
                        self.attach(session, job, 0);
                    }
                }
            }
            Record::Started { job } => {
                if let Some(job) = self.job(job.ulid().bits()) {
                    self.jobs[job].restarts += u32::from(self.jobs[job].started);
                    self.jobs[job].started = true;
                    self.jobs[job].started_append = append;
                }
            }
            Record::Checkpoint { job, state } => {
                if let Some(job) = self.job(job.ulid().bits()) {
                    self.jobs[job].checkpoint = Some((state.clone(), self.jobs[job].events.len() as u64));
                    self.jobs[job].restarts = 0;
                }
            }
            Record::Counters { job, counters } => {
                if let Some(job) = self.job(job.ulid().bits()) {
                    for counter in counters {
                        let units = counter.remaining.units();
                        let kept = &mut self.jobs[job].stored_counters;
                        if let Some(own) = kept.iter_mut().find(|(name, _)| name == counter.currency.as_str())
                        {
                            own.1 = units;
                        }
                    }
                }
            }
            Record::Event(record) => self.event_stored(append, record),
            Record::Deliver { session, job, first_seq, positions, .. } => {
                let (Some(session), Some(job)) =
                    (self.session(session.ulid().bits()), self.job(job.ulid().bits()))
                else {
                    return;
                };
                for (seq, pos) in (*first_seq..).zip(positions) {
                    self.number(append, session, seq, (job, *pos), false);
                }
            }
            Record::Notice { session, seq, job, .. } => {
                let (Some(session), Some(job)) =
                    (self.session(session.ulid().bits()), self.job(job.ulid().bits()))
                else {
                    return;
                };
                self.number(append, session, *seq, (job, 0), true);
            }
            Record::Follow { session, job, after } => {
                let (Some(session), Some(job)) =
                    (self.session(session.ulid().bits()), self.job(job.ulid().bits()))
                else {
                    return;
                };
                self.attach(session, job, *after);
                let stream = self.sessions[session].streams.iter_mut().find(|stream| stream.job == job);
                if let Some(stream) = stream {
                    stream.followed = append;
                    stream.followed_after = *after;
                }
            }
            Record::Unfollow { .. } => {}
            Record::Owner { session, job, after } => {
                let key = session.ulid().bits();
                let (Some(session), Some(job)) = (self.session(key), self.job(job.ulid().bits())) else {
                    return;
                };
                self.jobs[job].owner = Some(key);
                if let Some(after) = after {
                    self.attach(session, job, *after);
                }
            }
            Record::Stopping { job, reason, .. } => {
                if let Some(job) = self.job(job.ulid().bits()) {
                    self.jobs[job].stopping = Some(reason.clone());
                    self.jobs[job].stopping_append = append;
                }
            }
            Record::Credential(record) => self.credential_stored(append, record),
        }
    }

    /// A session begins, or goes on, to be given the events of a job.
    fn attach(&mut self, session: usize, job: usize, after: u64) {
        let streams = &mut self.sessions[session].streams;
        let index = streams.iter().position(|stream| stream.job == job).unwrap_or_else(|| {
            streams.push(Stream { job, ..Stream::default() });
            streams.len() - 1
        });
        streams[index].granted.push_back(after);
    }

    fn job_given(&mut self, record: &JobRecord) {
        let key = record.key.ulid().bits();
        if self.job(key).is_some() {
            self.fail("JOB-1", format_args!("a second record of job {}", record.key));
            return;
        }
        let idempotency = record.idempotency_key.clone().map(|key| (record.principal.to_string(), key));
        if let Some(pair) = &idempotency
            && self.jobs.iter().any(|job| job.idempotency.as_ref() == Some(pair) && !job.is_forgotten)
        {
            self.fail("IDEM-1", format_args!("a second job for the key {pair:?}"));
        }
        let parent = record.parent.and_then(|parent| self.job(parent.job.ulid().bits()));
        let mut trace = String::with_capacity(32);
        for byte in record.trace_id.as_bytes() {
            let _ = write!(trace, "{byte:02x}");
        }
        let lease = lease::Terms::of(&record.lease);
        let counters = lease.own_budget();
        let deadline = if self.is_behind() { None } else { lease.deadline(self.now) };
        let index = self.jobs.len();
        self.jobs.push(Job {
            key,
            principal: record.principal.to_string(),
            idempotency,
            agent: record.agent.to_string(),
            trace,
            parent,
            counters: counters.clone(),
            stored_counters: counters,
            lease,
            deadline,
            incarnation: self.incarnation,
            ..Job::default()
        });
        self.judge_acceptance(index, record.request_id.as_deref());
        if let Some(parent) = parent {
            self.judge_child(index, parent);
            self.set_aside(index, parent);
        }
    }

    /// What a job did at a position, which it has.
    pub(super) fn happened(&self, job: usize, pos: u64) -> Happened {
        let index = usize::try_from(pos).unwrap_or(0).saturating_sub(1);
        self.jobs[job].events[index]
    }

    pub(super) fn is_negotiated(&self, session: usize, kind: Kind) -> bool {
        const PROGRESS: u16 = 1 << 8;
        const RESULT_CHUNK: u16 = 1 << 9;
        const PROVISIONED_CREDENTIALS: u16 = 1 << 7;
        match kind {
            Kind::Progress => self.sessions[session].features & PROGRESS != 0,
            Kind::Chunk => self.sessions[session].features & RESULT_CHUNK != 0,
            Kind::Rotated => self.sessions[session].features & PROVISIONED_CREDENTIALS != 0,
            Kind::End | Kind::Other => true,
        }
    }

    /// Numbers are given when something is produced: who is given them has to see the job at that moment.
    fn numbers_given(&mut self, record: &Record) {
        match record {
            Record::Event(record) => {
                for (session, seq) in &record.deliveries {
                    self.number_given(session.ulid().bits(), record.job.ulid().bits(), *seq);
                }
            }
            Record::Deliver { session, job, first_seq, positions, .. } if !positions.is_empty() => {
                let last = first_seq + positions.len() as u64 - 1;
                self.number_given(session.ulid().bits(), job.ulid().bits(), last);
            }
            Record::Notice { session, seq, job, event, .. } => {
                self.number_given(session.ulid().bits(), job.ulid().bits(), *seq);
                self.notice_given(session.ulid().bits(), job.ulid().bits(), *seq, event);
            }
            _ => {}
        }
    }

    fn number_given(&mut self, session: u128, job: u128, seq: u64) {
        let (Some(session), Some(job)) = (self.session(session), self.job(job)) else { return };
        self.sessions[session].given = self.sessions[session].given.max(seq);
        // While the store has no room, records wait, and who sees what may change meanwhile.
        if self.sights_since(self.policy(), &self.sessions[session].principal, job).1 < 2 && !self.was_full {
            let principal = self.sessions[session].principal.clone();
            self.fail(
                "VIS-1",
                format_args!("{principal} is given number {seq} of a job that it may not follow"),
            );
        }
    }

    fn session_given(&mut self, record: &SessionRecord) {
        let key = record.key.ulid().bits();
        let tokens = Tokens {
            current: *record.current.as_bytes(),
            previous: record.previous.map(|token| *token.as_bytes()),
            confirmed: record.confirmed,
            epoch: record.epoch,
            is_dead: record.dead_since.is_some(),
        };
        match self.session(key) {
            None => self.sessions.push(Session {
                key,
                principal: record.principal.to_string(),
                features: record.features.bits(),
                live: tokens,
                detached_at: Some(self.now.mono.as_micros()),
                ..Session::default()
            }),
            Some(session) => self.session_changes(session, tokens),
        }
    }

    fn session_stored(&mut self, append: u64, record: &SessionRecord) {
        let Some(session) = self.session(record.key.ulid().bits()) else { return };
        let tokens = Tokens {
            current: *record.current.as_bytes(),
            previous: record.previous.map(|token| *token.as_bytes()),
            confirmed: record.confirmed,
            epoch: record.epoch,
            is_dead: record.dead_since.is_some(),
        };
        let session = &mut self.sessions[session];
        if session.stored.is_none_or(|before| before.epoch < tokens.epoch) {
            session.append = append;
        }
        session.stored = Some(tokens);
    }

    fn stop_given(&mut self, key: u128, reason: &StopReason) {
        let Some(job) = self.job(key) else { return };
        if matches!(reason, StopReason::LeaseExpired(_)) {
            self.jobs[job].is_expired |= self.is_past_lease(job, self.now);
        }
        self.judge_stop(job, reason);
        self.jobs[job].live_stopping = Some(reason.clone());
        self.jobs[job].stop_began.get_or_insert(self.now.mono.as_micros());
    }
}
