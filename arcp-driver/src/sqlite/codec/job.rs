//! Rows of jobs, in two parts, so that what never changes is not written again with every event; rows of credentials.

use std::sync::Arc;

use arcp_proto::agent::AgentRef;
use arcp_proto::error::ErrorCode;
use arcp_proto::id::{CredentialKey, DelegationKey, JobKey, ResultKey, SessionKey, Ulid};
use arcp_proto::lease::{Amount, Counter, Counters, Currency, Lease};
use arcp_proto::runtime::rows::{CheckpointRow, ChunkRow, EndRow, FollowerRow, JobRow};
use arcp_proto::runtime::store::{CredentialRecord, JobRecord, ParentRecord};
use arcp_proto::runtime::{CredentialState, StopReason};
use arcp_proto::trace::TraceId;
use arcp_proto::wire::event::ChunkEncoding;
use arcp_proto::wire::job::FinalStatus;

use super::{Decoder, Encoder, Malformed, Result, json};

const RECORD_VERSION: u8 = 1;
const STATE_VERSION: u8 = 1;
const CREDENTIAL_VERSION: u8 = 1;

/// Appends how a job was accepted and what its agent keeps, without its key.
pub(crate) fn encode_job_record(row: &JobRow, into: &mut Vec<u8>) {
    let record = &row.record;
    let mut out = Encoder(into);
    out.byte(RECORD_VERSION);
    out.text(&record.principal);
    out.option(record.owner, |out, owner| out.id(owner.ulid().bits()));
    out.option(record.request_id.as_deref(), Encoder::text);
    out.option(record.idempotency_key.as_deref(), Encoder::text);
    out.array(&record.digest);
    out.text(record.agent.as_str());
    out.array(record.trace_id.as_bytes());
    out.bytes(record.input.as_bytes());
    out.time(record.accepted_at);
    out.option(record.max_runtime_sec, Encoder::number);
    lease(&record.lease, &mut out);
    out.option(record.parent, |out, parent| {
        out.id(parent.job.ulid().bits());
        out.id(parent.delegation.ulid().bits());
        out.byte(parent.depth);
    });
    out.flag(record.started);
    out.flag(record.restartable);
    out.option(row.checkpoint.as_ref(), |out, checkpoint| {
        out.bytes(checkpoint.state.as_bytes());
        out.number(checkpoint.position);
    });
    out.number(u64::from(row.restarts));
}

fn lease(lease: &Lease, out: &mut Encoder<'_>) {
    out.text(lease.to_json().as_str());
    out.option(lease.expires_at(), Encoder::time);
    let shared: Vec<&str> =
        lease.budget().iter().filter(|entry| entry.shared).map(|entry| entry.currency.as_str()).collect();
    out.number(shared.len() as u64);
    for currency in shared {
        out.text(currency);
    }
}

/// Appends what becomes of a job.
pub(crate) fn encode_job_state(row: &JobRow, into: &mut Vec<u8>) {
    let mut out = Encoder(into);
    out.byte(STATE_VERSION);
    out.option(row.owner, |out, owner| out.id(owner.ulid().bits()));
    out.range(&row.positions);
    out.number(row.last_origin);
    out.number(row.floor_origin);
    out.number(row.followers.len() as u64);
    for follower in &row.followers {
        out.id(follower.session.ulid().bits());
        out.number(follower.through);
        out.option(follower.first_seq, Encoder::number);
    }
    let counters = row.counters.as_slice();
    out.number(counters.len() as u64);
    for Counter { currency, initial, remaining, reported } in counters {
        out.text(currency.as_str());
        for amount in [initial, remaining, reported] {
            out.array(&amount.units().to_le_bytes());
        }
    }
    out.option(row.stopping.as_ref(), |out, (reason, at)| {
        stop_reason(reason, out);
        out.time(*at);
    });
    out.option(row.chunks, |out, chunks| {
        out.id(chunks.result.ulid().bits());
        out.number(chunks.next_seq);
        out.flag(chunks.encoding == ChunkEncoding::Base64);
        out.number(chunks.decoded_bytes);
        out.flag(chunks.is_complete);
    });
    out.option(row.end, |out, end| {
        out.text(end.status.as_str());
        out.option(end.code, |out, code| out.text(code.as_str()));
        out.time(end.at);
        out.number(end.position);
    });
}

fn stop_reason(reason: &StopReason, out: &mut Encoder<'_>) {
    match reason {
        StopReason::Cancelled(words) => {
            out.byte(0);
            out.option(words.as_deref(), Encoder::text);
        }
        StopReason::TimedOut(seconds) => {
            out.byte(1);
            out.number(*seconds);
        }
        StopReason::LeaseExpired(at) => {
            out.byte(2);
            out.time(*at);
        }
        StopReason::ParentEnded => out.byte(3),
    }
}

/// The row that [`encode_job_record`] and [`encode_job_state`] wrote.
pub(crate) fn decode_job(key: JobKey, record: &[u8], state: &[u8]) -> Result<JobRow> {
    let (record, checkpoint, restarts) = decode_record(key, record)?;
    let mut from = Decoder(state);
    from.version(STATE_VERSION)?;
    let row = JobRow {
        record,
        owner: from.option(session)?,
        positions: from.range()?,
        last_origin: from.number()?,
        floor_origin: from.number()?,
        followers: list(&mut from, |from| {
            Ok(FollowerRow {
                session: session(from)?,
                through: from.number()?,
                first_seq: from.option(Decoder::number)?,
            })
        })?,
        counters: Counters::restore(list(&mut from, counter)?),
        stopping: from.option(|from| Ok((decode_stop_reason(from)?, from.time()?)))?,
        chunks: from.option(|from| {
            Ok(ChunkRow {
                result: ResultKey::from_ulid(ulid(from)?),
                next_seq: from.number()?,
                encoding: if from.flag()? { ChunkEncoding::Base64 } else { ChunkEncoding::Utf8 },
                decoded_bytes: from.number()?,
                is_complete: from.flag()?,
            })
        })?,
        checkpoint,
        restarts,
        end: from.option(|from| {
            Ok(EndRow {
                status: FinalStatus::parse(from.text()?).ok_or(Malformed("its final status is unknown"))?,
                code: from.option(|from| {
                    ErrorCode::parse(from.text()?).ok_or(Malformed("its error code is unknown"))
                })?,
                at: from.time()?,
                position: from.number()?,
            })
        })?,
    };
    from.end()?;
    Ok(row)
}

fn decode_record(key: JobKey, bytes: &[u8]) -> Result<(JobRecord, Option<CheckpointRow>, u32)> {
    let mut from = Decoder(bytes);
    from.version(RECORD_VERSION)?;
    let record = JobRecord {
        key,
        principal: from.text()?.into(),
        owner: from.option(session)?,
        request_id: from.option(|from| from.text().map(Arc::from))?,
        idempotency_key: from.option(|from| from.text().map(str::to_owned))?,
        digest: from.array()?,
        agent: AgentRef::parse(from.text()?).map_err(|_| Malformed("its agent has an impossible name"))?,
        trace_id: TraceId::from_bytes(from.array()?).ok_or(Malformed("its trace is zero"))?,
        input: json(from.bytes()?)?,
        accepted_at: from.time()?,
        max_runtime_sec: from.option(Decoder::number)?,
        lease: Arc::new(decode_lease(&mut from)?),
        parent: from.option(|from| {
            Ok(ParentRecord {
                job: JobKey::from_ulid(ulid(from)?),
                delegation: DelegationKey::from_ulid(ulid(from)?),
                depth: from.byte()?,
            })
        })?,
        started: from.flag()?,
        restartable: from.flag()?,
    };
    let checkpoint = from.option(|from| {
        let state = json(from.bytes()?)?;
        Ok(CheckpointRow { state, position: from.number()? })
    })?;
    let restarts = u32::try_from(from.number()?).map_err(|_| Malformed("it was run again too often"))?;
    from.end()?;
    Ok((record, checkpoint, restarts))
}

fn decode_lease(from: &mut Decoder<'_>) -> Result<Lease> {
    let grants = json(from.bytes()?)?;
    let expires_at = from.option(Decoder::time)?;
    let shared = list(from, Decoder::text)?;
    Lease::restore(&grants, expires_at, |currency| shared.contains(&currency.as_str()))
        .map_err(|_| Malformed("its lease is none"))
}

fn counter(from: &mut Decoder<'_>) -> Result<Counter> {
    let amount = |from: &mut Decoder<'_>| from.array().map(i128::from_le_bytes).map(Amount::from_units);
    Ok(Counter {
        currency: Currency::parse(from.text()?).ok_or(Malformed("a currency has an impossible name"))?,
        initial: amount(from)?,
        remaining: amount(from)?,
        reported: amount(from)?,
    })
}

fn decode_stop_reason(from: &mut Decoder<'_>) -> Result<StopReason> {
    Ok(match from.byte()? {
        0 => StopReason::Cancelled(from.option(|from| from.text().map(str::to_owned))?),
        1 => StopReason::TimedOut(from.number()?),
        2 => StopReason::LeaseExpired(from.time()?),
        3 => StopReason::ParentEnded,
        _ => return Err(Malformed("why it is stopped is unknown")),
    })
}

/// Appends a credential's newest record without its key.
pub(crate) fn encode_credential(record: &CredentialRecord, into: &mut Vec<u8>) {
    let mut out = Encoder(into);
    out.byte(CREDENTIAL_VERSION);
    out.id(record.job.ulid().bits());
    out.option(record.endpoint.as_deref(), Encoder::text);
    out.text(record.state.as_str());
    out.option(record.expires, Encoder::time);
}

/// The record that [`encode_credential`] wrote.
pub(crate) fn decode_credential(key: CredentialKey, bytes: &[u8]) -> Result<CredentialRecord> {
    let mut from = Decoder(bytes);
    from.version(CREDENTIAL_VERSION)?;
    let record = CredentialRecord {
        key,
        job: JobKey::from_ulid(ulid(&mut from)?),
        endpoint: from.option(|from| from.text().map(Arc::from))?,
        state: CredentialState::parse(from.text()?).ok_or(Malformed("its state is unknown"))?,
        expires: from.option(Decoder::time)?,
    };
    from.end()?;
    Ok(record)
}

fn list<'a, T>(
    from: &mut Decoder<'a>,
    mut item: impl FnMut(&mut Decoder<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = from.count()?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(item(from)?);
    }
    Ok(items)
}

fn ulid(from: &mut Decoder<'_>) -> Result<Ulid> {
    from.id().map(Ulid::from_bits)
}

fn session(from: &mut Decoder<'_>) -> Result<SessionKey> {
    ulid(from).map(SessionKey::from_ulid)
}
