//! Records as an endpoint makes them.

use std::sync::Arc;

use arcp_proto::agent::AgentRef;
use arcp_proto::error::{Details, ErrorCode, WireError};
use arcp_proto::feature::Features;
use arcp_proto::id::{CredentialKey, DelegationKey, JobKey, ResultKey, SessionKey, Ulid};
use arcp_proto::lease::Lease;
use arcp_proto::runtime::CredentialState;
use arcp_proto::runtime::rows::SessionRow;
use arcp_proto::runtime::store::{
    Cost, CredentialRecord, EventRecord, JobRecord, PageLimit, ParentRecord, Record, SessionRecord,
};
use arcp_proto::secret::TokenHash;
use arcp_proto::time::UnixTime;
use arcp_proto::trace::TraceId;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::event::{ChunkEncoding, Content, EventKind, LoggedEvent, Outcome, Terminal};
use arcp_proto::wire::peer::{PeerProfile, TransportKind};

pub(crate) const ALL: PageLimit = PageLimit { events: usize::MAX, bytes: u64::MAX };

pub(crate) fn session_key(number: u64) -> SessionKey {
    SessionKey::from_ulid(Ulid::from_bits(u128::from(number)))
}

pub(crate) fn job_key(number: u64) -> JobKey {
    JobKey::from_ulid(Ulid::from_bits(u128::from(number)))
}

pub(crate) fn at(millis: i64) -> UnixTime {
    UnixTime::from_millis(1_786_699_800_000 + millis)
}

pub(crate) fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned()).unwrap()
}

pub(crate) fn opened(number: u64) -> SessionRecord {
    SessionRecord {
        key: session_key(number),
        principal: "alice".into(),
        features: Features::from_bits(u16::MAX >> (number % 4)),
        profile: PeerProfile::ALL[usize::try_from(number % 8).unwrap()],
        transport: [TransportKind::WebSocket, TransportKind::Lines, TransportKind::Memory]
            [usize::try_from(number % 3).unwrap()],
        epoch: 1,
        current: TokenHash::of(&number.to_string()),
        confirmed: number.is_multiple_of(2),
        previous: (number.is_multiple_of(3)).then(|| TokenHash::of("before")),
        dead_since: None,
    }
}

pub(crate) fn accepted(number: u64, owner: Option<SessionKey>) -> JobRecord {
    let lease = raw(r#"{"tool.call":["search.*"],"cost.budget":["USD:1.00","EUR:0.5"]}"#);
    let expires = number.is_multiple_of(2).then(|| at(1_000_000));
    JobRecord {
        key: job_key(number),
        principal: "alice".into(),
        owner,
        request_id: owner.map(|_| "msg_1".into()),
        idempotency_key: (!number.is_multiple_of(3)).then(|| format!("key {number}")),
        digest: [7; 32],
        agent: AgentRef::parse("worker@1.0.0").unwrap(),
        trace_id: TraceId::from_bytes([1; 16]).unwrap(),
        input: raw(r#"{"depth": 3, "of": ["x", 1.50]}"#),
        accepted_at: at(0),
        max_runtime_sec: number.is_multiple_of(5).then_some(60),
        lease: Arc::new(Lease::restore(&lease, expires, |currency| currency.as_str() == "EUR").unwrap()),
        parent: number.is_multiple_of(4).then(|| ParentRecord {
            job: job_key(number / 2),
            delegation: DelegationKey::from_ulid(Ulid::from_bits(5)),
            depth: 1,
        }),
        started: number.is_multiple_of(2),
        restartable: number.is_multiple_of(5),
    }
}

pub(crate) fn credential(number: u64, state: CredentialState) -> CredentialRecord {
    CredentialRecord {
        key: CredentialKey::from_ulid(Ulid::from_bits(u128::from(number))),
        job: job_key(number),
        endpoint: number.is_multiple_of(2).then(|| "https://models.example".into()),
        state,
        expires: number.is_multiple_of(3).then(|| at(9)),
    }
}

pub(crate) fn line(number: u64) -> Content {
    let body = raw(&format!(r#"{{"level":"info","message":"line {number}"}}"#));
    Content::Event { kind: EventKind::Log, body }
}

pub(crate) fn chunk(chunk_seq: u64, more: bool) -> Content {
    Content::Chunk {
        result: ResultKey::from_ulid(Ulid::from_bits(3)),
        chunk_seq,
        encoding: ChunkEncoding::Utf8,
        data: raw(r#""some text""#),
        decoded_bytes: 9,
        more,
    }
}

pub(crate) fn succeeded() -> Content {
    Content::End(Terminal { outcome: Outcome::Inline(raw("[1]")), summary: Some("well".into()) })
}

pub(crate) fn failed() -> Content {
    let error = WireError::new(ErrorCode::InternalError, "the runtime restarted");
    let outcome = Outcome::Failed(error.with(Details::Reason("runtime_restarted".into())));
    Content::End(Terminal { outcome, summary: None })
}

pub(crate) fn event(position: u64, content: Content) -> Arc<LoggedEvent> {
    Arc::new(LoggedEvent { ts: at(2), pos: Some(position), content })
}

/// A log line at a position, delivered under the same number to each of these sessions.
pub(crate) fn logged(job: u64, position: u64, sessions: &[u64]) -> Record {
    let event = event(position, line(position));
    let cost = event.cost();
    let deliveries = sessions.iter().map(|session| (session_key(*session), position)).collect();
    Record::Event(EventRecord { job: job_key(job), origin: position, event, cost, deliveries })
}

pub(crate) fn bytes(bytes: u64) -> Cost {
    Cost { chunk_bytes: 0, bytes }
}

/// What a session's death is recorded as.
pub(crate) fn died(row: &SessionRow) -> Record {
    Record::Session(SessionRecord { dead_since: Some(at(7)), ..row.record.clone() })
}
