//! The endpoint against scripted peers, in virtual time, over the in-memory store.

mod acceptances;
mod answers;
mod budget;
mod cancel;
mod children;
mod chunks;
mod conservation;
mod credentials;
mod decisions;
mod delegation;
mod envelopes;
mod flow;
mod followers;
mod frames;
mod gating;
mod greeting;
mod harness;
mod idempotency;
mod jobs;
mod leases;
mod limits;
mod list;
mod oracle;
mod peers;
mod policy;
mod properties;
mod recovery;
mod restart;
mod resume;
mod retention;
mod sessions;
mod sights;
mod streams;
mod subscribe;
mod vectors;

use crate::agent::AgentRef;
use crate::id::JobKey;
use crate::runtime::store::JobRecord;
use crate::time::UnixTime;
use crate::trace::TraceId;
use crate::wire::RawJson;

/// A job nobody owns, with nothing special about it.
pub(super) fn job_record(key: JobKey) -> JobRecord {
    JobRecord {
        key,
        principal: "demo".into(),
        owner: None,
        request_id: Some("msg_submit".into()),
        idempotency_key: None,
        digest: [0; 32],
        agent: AgentRef::parse("a").expect("a name"),
        trace_id: TraceId::from_bytes([7; 16]).expect("not zero"),
        input: RawJson::null(),
        accepted_at: UnixTime::default(),
        max_runtime_sec: None,
        lease: alloc::sync::Arc::default(),
        parent: None,
        started: false,
        restartable: false,
    }
}
