//! Random histories, against rows folded one by one and events kept in plain maps.

use super::*;
use crate::wire::testing::Random;
use alloc::collections::BTreeMap;

/// What a store does that keeps rows by the public fold only, and events in tables of its own.
#[derive(Default)]
struct Naive {
    sessions: BTreeMap<SessionKey, SessionRow>,
    jobs: BTreeMap<JobKey, JobRow>,
    credentials: BTreeMap<CredentialKey, CredentialRecord>,
    logs: BTreeMap<(JobKey, u64), Logged>,
    deliveries: BTreeMap<(SessionKey, u64), (JobKey, Arc<LoggedEvent>)>,
    /// Of every event there was, the forgotten ones included.
    origins: BTreeMap<(JobKey, u64), u64>,
}

impl Naive {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Session(session) => {
                self.sessions.entry(session.key).or_insert_with(|| SessionRow::new(session.clone()));
                if session.dead_since.is_some() {
                    self.deliveries.retain(|(key, _), _| *key != session.key);
                    for row in self.jobs.values_mut().filter(|row| row.concerns(session.key)) {
                        row.apply(record);
                    }
                }
            }
            Record::Job(job) => {
                self.jobs.insert(job.key, JobRow::new(job.clone()));
            }
            Record::Credential(record) => {
                self.credentials.insert(record.key, record.clone());
            }
            Record::Event(event) => {
                let position = event.event.pos.expect("an event of a log");
                let logged = Logged { origin: event.origin, event: Arc::clone(&event.event) };
                self.logs.insert((event.job, position), logged);
                self.origins.insert((event.job, position), event.origin);
                for (session, seq) in &event.deliveries {
                    self.deliveries.insert((*session, *seq), (event.job, Arc::clone(&event.event)));
                }
            }
            Record::Deliver { session, job, first_seq, positions, .. } => {
                for (seq, position) in (*first_seq..).zip(positions) {
                    let event = Arc::clone(&self.logs[&(*job, *position)].event);
                    self.deliveries.insert((*session, seq), (*job, event));
                }
            }
            Record::Notice { session, seq, job, event, .. } => {
                self.deliveries.insert((*session, *seq), (*job, Arc::clone(event)));
            }
            _ => {}
        }
        for session in record.sessions() {
            if let Some(row) = self.sessions.get_mut(&session) {
                row.apply(record);
            }
        }
        if let Some(row) = record.job().and_then(|job| self.jobs.get_mut(&job)) {
            row.apply(record);
        }
    }

    fn trim(&mut self, trim: Trim) {
        match trim {
            Trim::Session { session, to } => {
                if let Some(row) = self.sessions.get_mut(&session) {
                    row.trim(to);
                }
                self.deliveries.retain(|(key, seq), _| *key != session || *seq > to);
            }
            Trim::Job { job, to } => {
                let Some(row) = self.jobs.get_mut(&job) else { return };
                let target = row.trim_target(to);
                let origin = self.logs.get(&(job, target)).map_or(0, |logged| logged.origin);
                row.trim(target, origin);
                self.logs.retain(|(key, position), _| *key != job || *position > target);
            }
            Trim::WholeSession(session) => {
                self.sessions.remove(&session);
                self.deliveries.retain(|(key, _), _| *key != session);
                for row in self.jobs.values_mut() {
                    row.forget_session(session);
                }
            }
            Trim::Credential(key) => drop(self.credentials.remove(&key)),
            Trim::WholeJob(job) => {
                self.jobs.remove(&job);
                self.logs.retain(|(key, _), _| *key != job);
                self.origins.retain(|(key, _), _| *key != job);
            }
        }
    }

    fn rows(&self) -> Vec<Row> {
        let sessions = self.sessions.values().cloned().map(Row::Session);
        let jobs = self.jobs.values().cloned().map(|row| Row::Job(Box::new(row)));
        sessions.chain(jobs).chain(self.credentials.values().cloned().map(Row::Credential)).collect()
    }

    fn delivered(&self, session: SessionKey, after: u64, limit: usize) -> Vec<Delivered> {
        let found = self.deliveries.iter().filter(|((key, seq), _)| *key == session && *seq > after);
        found
            .take(limit)
            .map(|((_, seq), (job, event))| Delivered { seq: *seq, job: *job, event: Arc::clone(event) })
            .collect()
    }

    fn logged(&self, job: JobKey, after: Place, limit: usize) -> (Vec<Logged>, u64) {
        let is_behind = |position: u64, origin: u64| match after {
            Place::Position(place) => position > place,
            Place::Origin(place) => origin > place,
        };
        let found = self.logs.iter().filter(|((key, pos), log)| *key == job && is_behind(*pos, log.origin));
        let events: Vec<Logged> = found.take(limit).map(|(_, logged)| logged.clone()).collect();
        let first = events.first().map_or(u64::MAX, |logged| logged.origin);
        let origins = self.origins.range((job, 0)..=(job, u64::MAX)).map(|(_, origin)| *origin);
        let before = origins.take_while(|origin| *origin < first).last().unwrap_or(0);
        (events, before)
    }
}

/// Makes records such as an endpoint makes: numbers without gaps, events to live followers, pages to the others.
struct History {
    random: Random,
    naive: Naive,
    tables: Tables,
    commands: Vec<Command>,
    names: u64,
}

/// Sessions with an odd name did not negotiate chunks.
fn takes(session: SessionKey, content: &Content) -> bool {
    session.ulid().bits().is_multiple_of(2) || !matches!(content, Content::Chunk { .. })
}

impl History {
    fn append(&mut self, record: Record) {
        self.naive.apply(&record);
        self.execute(Command::Append(Vec::from([record])));
    }

    fn execute(&mut self, command: Command) {
        self.commands.push(command.clone());
        self.tables.execute(command);
    }

    fn any_session(&mut self) -> Option<SessionKey> {
        let living: Vec<SessionKey> =
            self.naive.sessions.values().filter(|row| !row.is_dead()).map(|row| row.record.key).collect();
        (!living.is_empty()).then(|| self.random.pick(&living))
    }

    fn any_job(&mut self) -> Option<JobKey> {
        let jobs: Vec<JobKey> = self.naive.jobs.keys().copied().collect();
        (!jobs.is_empty()).then(|| self.random.pick(&jobs))
    }

    fn next_number(&self, session: SessionKey) -> u64 {
        self.naive.sessions[&session].numbers.last() + 1
    }

    /// Whether the follower has been given everything it negotiated.
    fn is_live(&self, follower: &FollowerRow, job: &JobRow) -> bool {
        (follower.through + 1..=job.positions.last()).all(|position| {
            let logged = self.naive.logs.get(&(job.record.key, position));
            logged.is_some_and(|logged| !takes(follower.session, &logged.event.content))
        })
    }

    fn step(&mut self) {
        let Some(job) = self.any_job() else { return self.open_or_accept(0) };
        let row = self.naive.jobs[&job].clone();
        let Some(session) = self.any_session() else { return self.open_or_accept(0) };
        match self.random.below(100) {
            choice @ 0..8 => self.open_or_accept(choice),
            8..10 => self.append(Record::Started { job }),
            10..70 => self.emit(&row),
            70..78 => self.page(&row),
            78..82 => {
                let seq = self.next_number(session);
                let event = Arc::new(LoggedEvent { ts: at(1), pos: None, content: log_line(0) });
                self.append(Record::Notice { session, seq, job, event, cost: bytes(30) });
            }
            82..86 if row.follower(session).is_none() => {
                let floor = row.positions.floor();
                let after = floor + self.random.next() % (row.positions.len() + 1);
                self.append(Record::Follow { session, job, after });
            }
            86..88 => self.append(Record::Unfollow { session, job }),
            88..90 => {
                let after = row.follower(session).is_none().then_some(row.positions.floor());
                self.append(Record::Owner { session, job, after });
            }
            90 => {
                let record = credential(self.random.next() % 5, self.random.pick(CredentialState::ALL));
                self.append(Record::Credential(CredentialRecord { job, ..record }));
            }
            91 => {
                let reason = StopReason::Cancelled(None);
                self.append(Record::Stopping { job, reason, at: at(5) });
            }
            92 => {
                let record = self.naive.sessions[&session].record.clone();
                self.append(Record::Session(SessionRecord { dead_since: Some(at(7)), ..record }));
            }
            93 => {
                let record = self.naive.sessions[&session].record.clone();
                self.append(Record::Session(SessionRecord { epoch: record.epoch + 1, ..record }));
            }
            94..97 => {
                let to = self.random.next() % (self.naive.sessions[&session].numbers.last() + 1);
                self.forget(Trim::Session { session, to });
            }
            97 | 98 => {
                // As far as no follower still needs it.
                let needed = row.followers.iter().map(|follower| follower.through).min();
                self.forget(Trim::Job { job, to: needed.unwrap_or_else(|| row.positions.last()) });
            }
            _ => {
                let dead = self.naive.sessions.values().find(|row| row.is_dead()).map(|row| row.record.key);
                if row.end.is_some() && row.followers.is_empty() {
                    self.forget(Trim::WholeJob(job));
                } else if let Some(dead) = dead {
                    self.forget(Trim::WholeSession(dead));
                } else if self.random.below(4) == 0 {
                    self.forget(Trim::WholeSession(session));
                } else {
                    let record = credential(self.random.next() % 5, CredentialState::Revoked);
                    self.forget(Trim::Credential(record.key));
                }
            }
        }
    }

    fn open_or_accept(&mut self, choice: usize) {
        self.names += 1;
        match self.any_session() {
            Some(owner) if choice.is_multiple_of(2) => {
                let Record::Job(record) = accepted(self.names, 0) else { unreachable!() };
                self.append(Record::Job(JobRecord { owner: Some(owner), ..record }));
            }
            _ => self.append(opened(self.names)),
        }
    }

    fn emit(&mut self, row: &JobRow) {
        if row.end.is_some() {
            return;
        }
        let position = row.positions.last() + 1;
        let content = match self.random.below(40) {
            0 => failed(),
            1 => succeeded(),
            2..=12 => chunk(row.chunks.map_or(0, |chunks| chunks.next_seq), 10, true),
            _ => log_line(position),
        };
        let mut deliveries: SmallVec<[(SessionKey, u64); 2]> = row
            .followers
            .iter()
            .filter(|follower| self.is_live(follower, row) && takes(follower.session, &content))
            .map(|follower| (follower.session, self.next_number(follower.session)))
            .collect();
        if self.random.below(8) == 0 {
            deliveries.reverse();
        }
        let cost = Cost { bytes: self.random.next() % 3_000, chunk_bytes: 0 };
        let event = Arc::new(LoggedEvent { ts: at(2), pos: Some(position), content });
        let origin = row.last_origin + 1 + self.random.next() % 3;
        self.append(Record::Event(EventRecord { job: row.record.key, origin, event, cost, deliveries }));
    }

    fn page(&mut self, row: &JobRow) {
        let Some(follower) = row.followers.iter().find(|follower| !self.is_live(follower, row)) else {
            return;
        };
        let (session, job) = (follower.session, row.record.key);
        let size = 1 + self.random.next() % 20;
        let through = row.positions.last().min(follower.through + size);
        let positions: Vec<u64> = (follower.through + 1..=through)
            .filter(|position| takes(session, &self.naive.logs[&(job, *position)].event.content))
            .collect();
        let first_seq = self.next_number(session);
        let cost = bytes(50 * u64::try_from(positions.len()).expect("few"));
        self.append(Record::Deliver { session, job, first_seq, positions, through, cost });
    }

    fn forget(&mut self, trim: Trim) {
        self.naive.trim(trim);
        self.execute(Command::Trim(trim));
    }

    fn check(&mut self) {
        assert_eq!(self.rows(), self.naive.rows());
        for number in 0..=self.names {
            let (session, job) = (session_key(number), job_key(number));
            let after = self.random.next() % 60;
            let limit = self.random.pick(&[1, 7, usize::MAX]);
            for after in [0, after] {
                let found =
                    self.tables.execute(Command::ReadSession { session, after, limit: events(limit) });
                let StoreDone::Session(found) = found else { panic!("{found:?}") };
                assert_eq!(found, self.naive.delivered(session, after, limit));
                for after in [Place::Position(after), Place::Origin(after)] {
                    let found = self.tables.execute(Command::ReadJob { job, after, limit: events(limit) });
                    let StoreDone::Job(JobPage { events, before }) = found else { panic!("{found:?}") };
                    assert_eq!((events, before), self.naive.logged(job, after, limit));
                }
            }
        }
    }

    fn rows(&mut self) -> Vec<Row> {
        match self.tables.execute(Command::Load { after: None, limit: usize::MAX }) {
            StoreDone::Rows(rows) => rows,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn tables_agree_with_rows_folded_alone_and_with_plain_maps() {
    let (mut ends, mut deaths) = (0, 0);
    for seed in 0..40 {
        let mut history = History {
            random: Random::new(seed),
            naive: Naive::default(),
            tables: Tables::default(),
            commands: Vec::new(),
            names: 0,
        };
        for step in 0..600 {
            history.step();
            if step % 20 == 0 {
                history.check();
            }
        }
        history.check();
        ends += history.naive.jobs.values().filter(|row| row.end.is_some()).count();
        deaths += history.naive.sessions.values().filter(|row| row.is_dead()).count();
        let mut recovered = Tables::default();
        for command in &history.commands {
            recovered.execute(command.clone());
        }
        assert_eq!(recovered, history.tables, "seed {seed}");
    }
    assert!(ends > 40 && deaths > 20, "{ends} ends and {deaths} deaths are too few to say much");
}

#[test]
fn however_records_are_cut_into_appends_they_come_to_the_same() {
    let records: Vec<Record> = (0..30)
        .flat_map(|number| {
            [opened(number), accepted(number, number), produced(number, 1, 1, log_line(1), &[(number, 1)])]
        })
        .collect();
    let whole = tables(&records);
    for size in [1, 2, 7] {
        let mut parts = Tables::default();
        for part in records.chunks(size) {
            parts.execute(Command::Append(part.to_vec()));
        }
        assert_eq!(parts, whole);
    }
}
