//! Histories of commands such as an endpoint gives them, drawn from bytes: numbers without gaps, events to live followers,
//! pages to the others.

use std::collections::BTreeSet;

use arbitrary::Unstructured;
use arcp_proto::id::{JobKey, SessionKey};
use arcp_proto::lease::{Amount, Counter, Currency};
use arcp_proto::runtime::rows::{FollowerRow, JobRow, Row, SessionRow, Tables};
use arcp_proto::runtime::store::{
    Command, EventRecord, JobRecord, Logged, Place, Record, SessionRecord, StoreDone, Trim,
};
use arcp_proto::runtime::{CredentialState, StopReason};
use arcp_proto::wire::event::{Content, LoggedEvent};

use super::records::{
    ALL, accepted, at, bytes, chunk, credential, died, event, failed, job_key, line, opened, raw,
    session_key, succeeded,
};

pub(crate) struct History<'a> {
    bytes: Unstructured<'a>,
    /// What the store is to hold.
    pub(crate) tables: Tables,
    /// Sessions and jobs had numbers up to this one.
    pub(crate) names: u64,
    /// What happened, to see that everything did.
    pub(crate) kinds: BTreeSet<&'static str>,
}

/// Sessions with an odd name did not negotiate chunks.
fn takes(session: SessionKey, content: &Content) -> bool {
    session.ulid().bits().is_multiple_of(2) || !matches!(content, Content::Chunk { .. })
}

impl<'a> History<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: Unstructured::new(bytes), tables: Tables::default(), names: 0, kinds: BTreeSet::new() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.bytes.int_in_range(0..=bound.max(1) - 1).unwrap_or(0)
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        let index = self.below(items.len() as u64);
        items.get(usize::try_from(index).unwrap()).cloned()
    }

    fn rows(&mut self) -> (Vec<SessionRow>, Vec<JobRow>) {
        let (mut sessions, mut jobs) = (Vec::new(), Vec::new());
        let StoreDone::Rows(rows) = self.tables.execute(Command::Load { after: None, limit: usize::MAX })
        else {
            panic!("rows are read")
        };
        for row in rows {
            match row {
                Row::Session(row) => sessions.push(row),
                Row::Job(row) => jobs.push(*row),
                Row::Credential(_) => {}
            }
        }
        (sessions, jobs)
    }

    fn next_number(&self, session: SessionKey) -> u64 {
        self.tables.session(session).map_or(0, |row| row.numbers.last()) + 1
    }

    fn behind(&mut self, job: JobKey, position: u64) -> Vec<Logged> {
        let after = Place::Position(position);
        match self.tables.execute(Command::ReadJob { job, after, limit: ALL }) {
            StoreDone::Job(page) => page.events,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the follower has been given everything it negotiated.
    fn is_live(&mut self, follower: &FollowerRow, job: &JobRow) -> bool {
        let events = self.behind(job.record.key, follower.through);
        !events.iter().any(|logged| takes(follower.session, &logged.event.content))
    }

    /// The next command, which the tables have carried out already, and their answer.
    pub(crate) fn step(&mut self) -> (Command, StoreDone) {
        let command = loop {
            if let Some(command) = self.draw() {
                break command;
            }
        };
        let done = self.tables.execute(command.clone());
        (command, done)
    }

    fn draw(&mut self) -> Option<Command> {
        let (sessions, jobs) = self.rows();
        let living: Vec<SessionRow> = sessions.iter().filter(|row| !row.is_dead()).cloned().collect();
        let (session, job) = (self.pick(&living), self.pick(&jobs));
        let (Some(session), Some(job)) = (session, job) else { return Some(self.open_or_accept(&living)) };
        let (session, key) = (session.record, job.record.key);
        let session_key = session.key;
        let kind;
        let record = match self.below(100) {
            0..8 => return Some(self.open_or_accept(&living)),
            8..10 => {
                kind = "started";
                Record::Started { job: key }
            }
            10..12 => {
                kind = "checkpoint";
                let state = raw(&format!("[{}]", self.below(1_000)));
                Record::Checkpoint { job: key, state }
            }
            12..60 => return self.events(&job),
            60..70 => return self.page(&job),
            70..74 => {
                kind = "notice";
                let seq = self.next_number(session_key);
                let notice = LoggedEvent { ts: at(1), pos: None, content: line(0) };
                Record::Notice { session: session_key, seq, job: key, event: notice.into(), cost: bytes(30) }
            }
            74..80 if job.follower(session_key).is_none() => {
                kind = "follow";
                let after = job.positions.floor() + self.below(job.positions.len() + 1);
                Record::Follow { session: session_key, job: key, after }
            }
            80..82 => {
                kind = "unfollow";
                Record::Unfollow { session: session_key, job: key }
            }
            82..85 => {
                kind = "owner";
                let after = job.follower(session_key).is_none().then_some(job.positions.floor());
                Record::Owner { session: session_key, job: key, after }
            }
            85 => {
                kind = "credential";
                use CredentialState::{GaveUp, Intent, Issued, RevokePending, Revoked};
                let state = self.pick(&[GaveUp, Intent, Issued, RevokePending, Revoked])?;
                Record::Credential(credential(self.below(5), state))
            }
            86 => {
                kind = "stopping";
                let reasons = [
                    StopReason::Cancelled(Some("enough".into())),
                    StopReason::TimedOut(9),
                    StopReason::LeaseExpired(at(8)),
                    StopReason::ParentEnded,
                ];
                Record::Stopping { job: key, reason: self.pick(&reasons)?, at: at(5) }
            }
            87 => {
                kind = "death";
                died(&SessionRow::new(session))
            }
            88 => {
                kind = "resume";
                Record::Session(SessionRecord { epoch: session.epoch + 1, confirmed: false, ..session })
            }
            89 => {
                kind = "counters";
                let amount = Amount::from_units(i128::from(self.below(1 << 40)) - 1_000);
                let currency = Currency::parse("USD").unwrap();
                let counter = Counter { currency, initial: amount, remaining: amount, reported: amount };
                Record::Counters { job: key, counters: vec![counter] }
            }
            choice => return self.forget(choice, &sessions, &job),
        };
        self.kinds.insert(kind);
        Some(Command::Append(vec![record]))
    }

    fn open_or_accept(&mut self, living: &[SessionRow]) -> Command {
        self.names += 1;
        let record = match self.pick(living) {
            Some(_) if self.names.is_multiple_of(7) => Record::Job(accepted(self.names, None)),
            Some(owner) if !self.names.is_multiple_of(3) => {
                let record = accepted(self.names, Some(owner.record.key));
                Record::Job(JobRecord { owner: Some(owner.record.key), ..record })
            }
            _ => Record::Session(opened(self.names)),
        };
        Command::Append(vec![record])
    }

    /// A few events of a job in one append.
    fn events(&mut self, job: &JobRow) -> Option<Command> {
        if job.end.is_some() {
            return None;
        }
        let mut next = job.clone();
        let mut live: Vec<SessionKey> = Vec::new();
        for follower in &job.followers {
            if self.is_live(follower, job) {
                live.push(follower.session);
            }
        }
        let mut numbers: Vec<u64> = live.iter().map(|session| self.next_number(*session)).collect();
        let mut records = Vec::new();
        for _ in 0..=self.below(90) {
            let position = next.positions.last() + 1;
            let content = match self.below(150) {
                0 => failed(),
                1 => succeeded(),
                2..=30 => chunk(next.chunks.map_or(0, |chunks| chunks.next_seq), true),
                _ => line(position),
            };
            let ends = matches!(content, Content::End(_));
            let mut deliveries = Vec::new();
            for (session, number) in live.iter().zip(&mut numbers) {
                if takes(*session, &content) {
                    deliveries.push((*session, *number));
                    *number += 1;
                }
            }
            if self.below(8) == 0 {
                deliveries.reverse();
            }
            let cost = bytes(self.below(3_000));
            let origin = next.last_origin + 1 + self.below(3);
            let (job, event) = (next.record.key, event(position, content));
            let record =
                Record::Event(EventRecord { job, origin, event, cost, deliveries: deliveries.into() });
            next.apply(&record);
            records.push(record);
            if ends {
                self.kinds.insert("end");
                break;
            }
        }
        Some(Command::Append(records))
    }

    fn page(&mut self, job: &JobRow) -> Option<Command> {
        let mut behind = None;
        for follower in &job.followers {
            if behind.is_none() && !self.is_live(follower, job) {
                behind = Some(*follower);
            }
        }
        let follower = behind?;
        let (session, key) = (follower.session, job.record.key);
        let size = 1 + self.below(if self.names.is_multiple_of(2) { 2 } else { 100 });
        let through = job.positions.last().min(follower.through + size);
        let positions: Vec<u64> = self
            .behind(key, follower.through)
            .iter()
            .filter(|logged| takes(session, &logged.event.content))
            .filter_map(|logged| logged.event.pos.filter(|pos| *pos <= through))
            .collect();
        self.kinds.insert(if positions.is_empty() { "empty page" } else { "page" });
        let first_seq = self.next_number(session);
        let cost = bytes(50 * positions.len() as u64);
        Some(Command::Append(vec![Record::Deliver {
            session,
            job: key,
            first_seq,
            positions,
            through,
            cost,
        }]))
    }

    fn forget(&mut self, choice: u64, sessions: &[SessionRow], job: &JobRow) -> Option<Command> {
        let key = job.record.key;
        let session = self.pick(sessions)?;
        let (kind, trim) = match choice {
            90..94 => {
                let to = self.below(session.numbers.last() + 2);
                ("trimmed session", Trim::Session { session: session.record.key, to })
            }
            94..96 => {
                // As far as no follower still needs it.
                let needed = job.followers.iter().map(|follower| follower.through).min();
                let to = needed.unwrap_or_else(|| job.positions.last());
                ("trimmed job", Trim::Job { job: key, to: to - self.below(to.min(5) + 1) })
            }
            96 | 97 if job.end.is_some() && job.followers.is_empty() => {
                ("forgotten job", Trim::WholeJob(key))
            }
            98 if session.is_dead() || self.below(4) == 0 => {
                ("forgotten session", Trim::WholeSession(session.record.key))
            }
            99 => {
                let number = self.below(5);
                ("forgotten credential", Trim::Credential(credential(number, CredentialState::Revoked).key))
            }
            _ => return None,
        };
        self.kinds.insert(kind);
        Some(Command::Trim(trim))
    }

    /// Questions about everything there is, and some that there is not.
    pub(crate) fn questions(&mut self) -> Vec<Command> {
        let mut questions = vec![Command::Load { after: None, limit: usize::MAX }];
        for number in 0..=self.names + 1 {
            let (session, job) = (session_key(number), job_key(number));
            let mut limit = ALL;
            match self.below(3) {
                0 => limit.events = usize::try_from(self.below(70)).unwrap(),
                1 => limit.bytes = self.below(5_000),
                _ => {}
            }
            let after = self.below(200);
            for after in [0, after] {
                questions.push(Command::ReadSession { session, after, limit });
                for after in [Place::Position(after), Place::Origin(after)] {
                    questions.push(Command::ReadJob { job, after, limit });
                }
            }
        }
        questions
    }
}
