//! The forms of rows on disk: published, and refused where they are damaged.

use std::sync::Arc;

use arcp_proto::agent::AgentRef;
use arcp_proto::error::ErrorCode;
use arcp_proto::feature::Features;
use arcp_proto::id::{CredentialKey, DelegationKey, JobKey, ResultKey, SessionKey, Ulid};
use arcp_proto::lease::Lease;
use arcp_proto::runtime::rows::{CheckpointRow, ChunkRow, EndRow, FollowerRow, JobRow, SessionRow};
use arcp_proto::runtime::store::{Cost, CredentialRecord, JobRecord, ParentRecord, SessionRecord};
use arcp_proto::runtime::{CredentialState, StopReason};
use arcp_proto::secret::TokenHash;
use arcp_proto::time::UnixTime;
use arcp_proto::trace::TraceId;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::event::ChunkEncoding;
use arcp_proto::wire::job::FinalStatus;
use arcp_proto::wire::peer::{PeerProfile, TransportKind};

use super::*;

fn ulid(bits: u128) -> Ulid {
    Ulid::from_bits(bits)
}

fn at(millis: i64) -> UnixTime {
    UnixTime::from_millis(1_786_699_800_000 + millis)
}

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned()).unwrap()
}

fn session_row() -> SessionRow {
    let mut row = SessionRow::new(SessionRecord {
        key: SessionKey::from_ulid(ulid(1)),
        principal: "alice".into(),
        features: Features::EVERY,
        profile: PeerProfile::Go,
        transport: TransportKind::Lines,
        epoch: 300,
        current: TokenHash::from_bytes([1; 32]),
        confirmed: true,
        previous: Some(TokenHash::from_bytes([2; 32])),
        dead_since: None,
    });
    row.number(1, 4, Cost { bytes: 1_000, chunk_bytes: 0 });
    row.number(5, 5, Cost { bytes: 70_000, chunk_bytes: 1 });
    row.trim(2);
    row
}

fn job_row() -> JobRow {
    let lease = raw(r#"{"tool.call":["a.*"],"cost.budget":["USD:1.00","EUR:2"]}"#);
    let lease = Lease::restore(&lease, Some(at(9)), |currency| currency.as_str() == "EUR").unwrap();
    let mut row = JobRow::new(JobRecord {
        key: JobKey::from_ulid(ulid(2)),
        principal: "alice".into(),
        owner: Some(SessionKey::from_ulid(ulid(1))),
        request_id: Some("msg_1".into()),
        idempotency_key: Some("key".into()),
        digest: [3; 32],
        agent: AgentRef::parse("worker@1.0.0").unwrap(),
        trace_id: TraceId::from_bytes([4; 16]).unwrap(),
        input: raw(r#"{"n": 1.50}"#),
        accepted_at: at(0),
        max_runtime_sec: Some(60),
        lease: Arc::new(lease),
        parent: Some(ParentRecord {
            job: JobKey::from_ulid(ulid(5)),
            delegation: DelegationKey::from_ulid(ulid(6)),
            depth: 2,
        }),
        started: true,
        restartable: true,
    });
    row.positions.push(1, Cost { bytes: 10, chunk_bytes: 20 });
    (row.last_origin, row.floor_origin, row.restarts) = (9, 8, 1);
    let session = SessionKey::from_ulid(ulid(7));
    row.followers.push(FollowerRow { session, through: 1, first_seq: Some(200) });
    row.stopping = Some((StopReason::Cancelled(Some("enough".into())), at(1)));
    row.chunks = Some(ChunkRow {
        result: ResultKey::from_ulid(ulid(8)),
        next_seq: 3,
        encoding: ChunkEncoding::Base64,
        decoded_bytes: 400,
        is_complete: false,
    });
    row.checkpoint = Some(CheckpointRow { state: raw("[7]"), position: 1 });
    let (status, code) = (FinalStatus::Error, Some(ErrorCode::LeaseExpired));
    row.end = Some(EndRow { status, code, at: at(2), position: 1 });
    row
}

fn credential() -> CredentialRecord {
    CredentialRecord {
        key: CredentialKey::from_ulid(ulid(9)),
        job: JobKey::from_ulid(ulid(2)),
        endpoint: Some("https://models.example".into()),
        state: CredentialState::RevokePending,
        expires: Some(at(3)),
    }
}

/// Each form, in the order of the published text.
fn forms() -> [Vec<u8>; 4] {
    let mut forms: [Vec<u8>; 4] = Default::default();
    encode_session(&session_row(), &mut forms[0]);
    encode_job_record(&job_row(), &mut forms[1]);
    encode_job_state(&job_row(), &mut forms[2]);
    encode_credential(&credential(), &mut forms[3]);
    forms
}

/// Files that were written are read by every later version: a change here needs a new version of the form, and the old one
/// to be read all the same.
#[test]
fn the_forms_on_disk_are_the_published_ones() {
    let shown: Vec<String> = forms()
        .iter()
        .map(|form| form.iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect())
        .collect();
    assert_eq!(shown.join("\n") + "\n", include_str!("rows.txt"));
}

#[test]
fn rows_come_back() {
    let [session, record, state, kept] = forms();
    assert_eq!(decode_session(session_row().record.key, &session), Ok(session_row()));
    assert_eq!(decode_job(job_row().record.key, &record, &state), Ok(job_row()));
    assert_eq!(decode_credential(credential().key, &kept), Ok(credential()));
}

#[test]
fn whatever_becomes_of_the_bytes_nothing_panics() {
    let [session, record, state, kept] = forms();
    let mut refused = 0;
    let mut read = |which: usize, bytes: &[u8]| {
        let read = match which {
            0 => decode_session(session_row().record.key, bytes).is_ok(),
            1 => decode_job(job_row().record.key, bytes, &state).is_ok(),
            2 => decode_job(job_row().record.key, &record, bytes).is_ok(),
            _ => decode_credential(credential().key, bytes).is_ok(),
        };
        refused += u32::from(!read);
        read
    };
    for (which, form) in [&session, &record, &state, &kept].into_iter().enumerate() {
        for length in 0..form.len() {
            assert!(!read(which, &form[..length]), "{which} cut at {length}");
        }
        assert!(!read(which, &[form.as_slice(), b"x"].concat()), "{which} with a byte too many");
        for at in 0..form.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = form.clone();
                bytes[at] = value;
                read(which, &bytes);
            }
        }
    }
    assert!(refused > 500, "{refused}");
}
