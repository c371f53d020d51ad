use super::*;
use crate::agent::AgentRef;
use crate::error::WireError;
use crate::feature::Features;
use crate::id::{CredentialKey, Ulid};
use crate::runtime::CredentialState;
use crate::runtime::store::{Command, Delivered, JobPage, Logged, PageLimit, Place, StoreDone, Trim};
use crate::runtime::tests::job_record;
use crate::secret::TokenHash;
use crate::wire::event::{EventKind, Terminal};
use crate::wire::peer::{PeerProfile, TransportKind};
use alloc::string::{String, ToString};
use smallvec::SmallVec;

mod folds;
mod model;
mod reads;

pub(super) fn session_key(number: u64) -> SessionKey {
    SessionKey::from_ulid(Ulid::from_bits(u128::from(number) + 1_000))
}

pub(super) fn job_key(number: u64) -> JobKey {
    JobKey::from_ulid(Ulid::from_bits(u128::from(number)))
}

pub(super) fn at(millis: i64) -> UnixTime {
    UnixTime::from_millis(millis)
}

pub(super) const fn bytes(bytes: u64) -> Cost {
    Cost { chunk_bytes: 0, bytes }
}

pub(super) fn session_record(number: u64) -> SessionRecord {
    SessionRecord {
        key: session_key(number),
        principal: "alice".into(),
        features: Features::SUPPORTED,
        profile: PeerProfile::Core,
        transport: TransportKind::Memory,
        epoch: 1,
        current: TokenHash::of("token"),
        confirmed: false,
        previous: None,
        dead_since: None,
    }
}

pub(super) fn opened(number: u64) -> Record {
    Record::Session(session_record(number))
}

pub(super) fn died(number: u64) -> Record {
    Record::Session(SessionRecord { dead_since: Some(at(99)), ..session_record(number) })
}

pub(super) fn accepted(job: u64, owner: u64) -> Record {
    Record::Job(JobRecord {
        owner: Some(session_key(owner)),
        idempotency_key: Some(String::from("k")),
        agent: AgentRef::parse("echo@1").expect("a reference"),
        input: RawJson::try_from("{\"n\":1}").expect("JSON"),
        accepted_at: at(1),
        ..job_record(job_key(job))
    })
}

pub(super) fn credential(number: u64, state: CredentialState) -> CredentialRecord {
    CredentialRecord {
        key: CredentialKey::from_ulid(Ulid::from_bits(u128::from(number))),
        job: job_key(1),
        endpoint: None,
        state,
        expires: None,
    }
}

pub(super) fn log_line(position: u64) -> Content {
    Content::Event { kind: EventKind::Log, body: RawJson::parse(position.to_string()).expect("a number") }
}

pub(super) fn chunk(chunk_seq: u64, decoded_bytes: u64, more: bool) -> Content {
    Content::Chunk {
        result: ResultKey::from_ulid(Ulid::from_bits(5)),
        chunk_seq,
        encoding: ChunkEncoding::Base64,
        data: RawJson::try_from("\"\"").expect("a string"),
        decoded_bytes,
        more,
    }
}

pub(super) fn succeeded() -> Content {
    Content::End(Terminal { outcome: Outcome::Inline(RawJson::null()), summary: None })
}

pub(super) fn failed() -> Content {
    let error = WireError::new(ErrorCode::Timeout, "too long");
    Content::End(Terminal { outcome: Outcome::Failed(error), summary: None })
}

pub(super) fn produced(job: u64, position: u64, origin: u64, content: Content, to: &[(u64, u64)]) -> Record {
    Record::Event(EventRecord {
        job: job_key(job),
        origin,
        event: Arc::new(LoggedEvent { ts: at(10), pos: Some(position), content }),
        cost: bytes(100),
        deliveries: to.iter().map(|(session, seq)| (session_key(*session), *seq)).collect::<SmallVec<_>>(),
    })
}

pub(super) fn delivered(session: u64, job: u64, first_seq: u64, positions: &[u64], through: u64) -> Record {
    Record::Deliver {
        session: session_key(session),
        job: job_key(job),
        first_seq,
        positions: positions.to_vec(),
        through,
        cost: bytes(100 * u64::try_from(positions.len()).expect("few")),
    }
}

pub(super) fn follows(session: u64, job: u64, after: u64) -> Record {
    Record::Follow { session: session_key(session), job: job_key(job), after }
}

pub(super) fn owns(session: u64, job: u64, after: Option<u64>) -> Record {
    Record::Owner { session: session_key(session), job: job_key(job), after }
}

pub(super) fn tables(records: &[Record]) -> Tables {
    let mut tables = Tables::default();
    assert!(matches!(tables.execute(Command::Append(records.to_vec())), StoreDone::Appended));
    tables
}

/// A page limited by its events only.
pub(super) const fn events(most: usize) -> PageLimit {
    PageLimit { events: most, bytes: u64::MAX }
}

pub(super) fn read_session(tables: &mut Tables, session: u64, after: u64, limit: usize) -> Vec<Delivered> {
    match tables.execute(Command::ReadSession { session: session_key(session), after, limit: events(limit) })
    {
        StoreDone::Session(found) => found,
        other => panic!("{other:?}"),
    }
}

pub(super) fn read_job(tables: &mut Tables, job: u64, after: Place, limit: usize) -> Vec<Logged> {
    match tables.execute(Command::ReadJob { job: job_key(job), after, limit: events(limit) }) {
        StoreDone::Job(found) => found.events,
        other => panic!("{other:?}"),
    }
}

pub(super) fn origin_before(tables: &mut Tables, job: u64, after: Place) -> u64 {
    match tables.execute(Command::ReadJob { job: job_key(job), after, limit: events(1) }) {
        StoreDone::Job(found) => found.before,
        other => panic!("{other:?}"),
    }
}

/// The positions of what is found behind a place.
pub(super) fn positions(tables: &mut Tables, job: u64, after: Place) -> Vec<u64> {
    read_job(tables, job, after, usize::MAX).iter().filter_map(|logged| logged.event.pos).collect()
}

/// Number and position of what is found behind a number.
pub(super) fn numbers(tables: &mut Tables, session: u64, after: u64) -> Vec<(u64, Option<u64>)> {
    read_session(tables, session, after, usize::MAX).iter().map(|d| (d.seq, d.event.pos)).collect()
}

pub(super) fn trim(tables: &mut Tables, trim: Trim) {
    assert!(matches!(tables.execute(Command::Trim(trim)), StoreDone::Trimmed));
}

pub(super) fn job(tables: &Tables, number: u64) -> &JobRow {
    tables.job(job_key(number)).expect("the job is there")
}

pub(super) fn session(tables: &Tables, number: u64) -> &SessionRow {
    tables.session(session_key(number)).expect("the session is there")
}

pub(super) fn places(row: &JobRow) -> Vec<(SessionKey, u64, Option<u64>)> {
    row.followers.iter().map(|f| (f.session, f.through, f.first_seq)).collect()
}
