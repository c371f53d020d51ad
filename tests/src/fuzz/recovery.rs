//! A start from a store whose content is not what was written.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arcp_proto::agent::AgentRef;
use arcp_proto::feature::Features;
use arcp_proto::id::{DelegationKey, JobKey, ResultKey, Ulid};
use arcp_proto::lease::{Amount, Counter, Counters, Currency, Lease};
use arcp_proto::replay::{Block, Retention};
use arcp_proto::runtime::rows::{CheckpointRow, ChunkRow, FollowerRow, JobRow, Row, SessionRow, Tables};
use arcp_proto::runtime::store::{Command, Cost, CredentialRecord, ParentRecord, StoreDone};
use arcp_proto::runtime::{ConnectionId, CredentialState, Recovery, RecoveryError, Step, StopReason};
use arcp_proto::secret::TokenHash;
use arcp_proto::time::UnixTime;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::event::ChunkEncoding;
use serde_json::{Value, json};

use super::agents::GENEROUS;
use super::books::Books;
use super::choices::Choices;
use super::host::{Host, config, entropy};

/// Damages the rows of a store as the bytes say and starts a runtime from them. Either they are refused, or the runtime
/// works: old sessions can be tried, time passes, and a new principal is served. An answer that is no rows is refused.
pub fn recovery(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (host, tokens) = world();
    let mut store = host.0.clone();
    let StoreDone::Rows(mut rows) = store.execute(Command::Load { after: None, limit: usize::MAX }) else {
        panic!("rows are read")
    };
    let (page, fails) = (choices.below(4) + 1, choices.below(16));
    let is_damaged = choices.below(8) > 0;
    while is_damaged && !choices.is_empty() && !rows.is_empty() {
        damage(&mut rows, &mut choices);
    }
    let mut config = config();
    if choices.below(2) == 0 {
        config.agents.set_restartable(&agent()).expect("an agent that was added");
    }
    let policy = config.lease_policy;
    let mut recovery = Recovery::new(config, entropy(9), host.1);
    let mut pages = rows.chunks(page);
    let runtime = loop {
        match recovery.step() {
            Step::NeedsStore { id, .. } if fails == 1 => {
                let answer = choices.pick(&[&StoreDone::Failed, &StoreDone::Appended]).clone();
                assert_eq!(recovery.handle_store(id, answer), Err(RecoveryError::Unreadable));
                return;
            }
            Step::NeedsStore { id, .. } => {
                let rows = pages.next().map(<[Row]>::to_vec).unwrap_or_default();
                if recovery.handle_store(id, StoreDone::Rows(rows)).is_err() {
                    return;
                }
            }
            Step::Ready(runtime) => break *runtime,
        }
    };
    let mut host = Host::around(runtime, host.1, store, policy);
    if !is_damaged {
        host.books = Books::of_rows(&rows, policy);
    }
    // What is appended to damaged rows has no place among the others.
    host.forgets = is_damaged;
    host.settle();
    let jobs: Vec<_> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Job(job) => Some(job.record.key),
            Row::Session(_) | Row::Credential(_) => None,
        })
        .collect();
    for token in tokens {
        let resume = json!({"resume_token": token, "last_event_seq": choices.below(4)});
        let connection = host.greet("alpha", Features::SUPPORTED, Some(resume));
        for job in &jobs {
            host.say(connection, "job.subscribe", &format!(r#"{{"job_id":"{job}","history":true}}"#));
            host.say(connection, "job.cancel", &format!(r#"{{"job_id":"{job}"}}"#));
        }
        host.say(connection, "job.submit", &json!({"agent": "a", "idempotency_key": "k", "input": {}}));
        for job in host.started.iter().map(|start| start.job).collect::<Vec<_>>() {
            host.log(job, "x");
        }
    }
    for back in 0..choices.below(8) {
        host.act(back, &mut choices);
    }
    for job in host.started.iter().map(|start| start.job).collect::<Vec<_>>() {
        host.finish(job);
    }
    host.pass(Duration::from_secs(25 * 3_600));
    host.serves("newcomer");
}

/// A store with sessions and jobs in every state, when it was left, and the tokens of its sessions.
fn world() -> &'static ((Tables, arcp_proto::time::Now), Vec<Value>) {
    static WORLD: OnceLock<((Tables, arcp_proto::time::Now), Vec<Value>)> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut few = config();
        few.limits.running_jobs = 6;
        few.agents.set_restartable(&agent()).expect("an agent that was added");
        let mut host = Host::with(few);
        let mut tokens = Vec::new();
        let owner = host.greet("alpha", Features::SUPPORTED, None);
        for key in ["k", "l", "m", "n"] {
            let submit = json!({"agent": "a", "idempotency_key": key, "input": {}, "max_runtime_sec": 3_600});
            host.say(owner, "job.submit", &submit);
        }
        let jobs: Vec<_> = host.started.iter().map(|start| (start.job, start.key.to_string())).collect();
        let watcher = host.greet("alpha", Features::NONE.with(arcp_proto::feature::Feature::Subscribe), None);
        for (handle, key) in &jobs {
            host.log(*handle, "one");
            host.say(watcher, "job.subscribe", &json!({"job_id": key, "history": true}));
            host.log(*handle, "two");
        }
        under_leases(&mut host, owner);
        host.finish(jobs[0].0);
        host.say(owner, "job.cancel", &json!({"job_id": jobs[1].1}));
        let gone = host.greet("beta", Features::SUPPORTED, None);
        for connection in [owner, watcher, gone] {
            let welcome = host.newest(connection, "session.welcome").expect("a session");
            tokens.push(welcome["payload"]["resume_token"].clone());
        }
        host.runtime.handle_closed(host.now, gone);
        host.settle();
        host.pass(Duration::from_secs(5));
        ((host.store, host.now), tokens)
    })
}

/// A tree of jobs that spend, one whose end is near, one that waits for a place.
fn under_leases(host: &mut Host, owner: ConnectionId) {
    let lease: Value = serde_json::from_str(GENEROUS).expect("a good text");
    let end = host.now.unix.after(Duration::from_secs(30)).to_string();
    let root = host.started.len();
    for (key, constraints) in [("o", json!({})), ("p", json!({"expires_at": end})), ("q", json!({}))] {
        let submit = json!({"agent": "a", "idempotency_key": key, "input": {}, "lease_request": lease,
            "lease_constraints": constraints});
        host.say(owner, "job.submit", &submit);
    }
    // Delegations and charges, of whichever job is the newest at the time.
    let acts: [&[u8]; 6] = [
        &[5, 2, 9, 1, 0, 0, 0],
        &[3, 0, 0, 0],
        &[5, 3, 9, 1, 0, 0, 0],
        &[3, 1, 0, 0],
        &[5, 4, 60, 0, 0, 0, 0],
        &[3, 2, 0, 2],
    ];
    for (step, act) in acts.into_iter().enumerate() {
        let back = host.started.len() - 1 - root;
        host.act(if step < 4 { back } else { back.saturating_sub(2) }, &mut Choices::new(act));
    }
    assert!(root + 3 < host.started.len(), "children have started");
}

fn damage(rows: &mut Vec<Row>, choices: &mut Choices<'_>) {
    let at = choices.below(rows.len());
    let other = choices.below(rows.len());
    let ancestor = match &rows[other] {
        Row::Job(job) => Some(job.record.key),
        Row::Session(_) | Row::Credential(_) => None,
    };
    match choices.below(8) {
        0 => drop(rows.remove(at)),
        1 => rows.push(rows[at].clone()),
        2 => rows.swap(at, other),
        _ => match &mut rows[at] {
            Row::Session(row) => damage_session(row, choices),
            Row::Job(row) => damage_job(row, ancestor, choices),
            Row::Credential(record) => damage_credential(record, choices),
        },
    }
}

/// The one that most jobs are of.
fn agent() -> AgentRef {
    AgentRef::parse("a").expect("a good name")
}

fn number(choices: &mut Choices<'_>) -> u64 {
    match choices.below(6) {
        0 => 0,
        1 => (1 << 53) - 1,
        2 => u64::MAX,
        3 => choices.number(),
        _ => u64::from(choices.byte()),
    }
}

fn retention(choices: &mut Choices<'_>) -> Retention {
    let cost = Cost { chunk_bytes: number(choices), bytes: number(choices) };
    let (floor, last) = (number(choices), number(choices));
    let first = floor.saturating_add(1);
    Retention::from_blocks(floor, [Block { first, last, cost }]).unwrap_or_else(|| Retention::new(floor))
}

fn time(choices: &mut Choices<'_>) -> UnixTime {
    choices.pick(&[UnixTime::MIN, UnixTime::MAX, UnixTime::from_millis(1_786_699_800_000)])
}

fn damage_session(row: &mut SessionRow, choices: &mut Choices<'_>) {
    match choices.below(7) {
        0 => row.record.principal = Arc::from(choices.pick(&["", "beta", "newcomer"])),
        1 => row.record.features = Features::from_bits(u16::from(choices.byte()) << choices.below(8)),
        2 => row.record.epoch = number(choices),
        3 => row.record.current = TokenHash::from_bytes([choices.byte(); 32]),
        4 => row.record.previous = Some(row.record.current),
        5 => row.record.dead_since = Some(time(choices)),
        _ => row.numbers = retention(choices),
    }
}

fn damage_credential(record: &mut CredentialRecord, choices: &mut Choices<'_>) {
    use CredentialState::{GaveUp, Intent, Issued, RevokePending, Revoked};
    match choices.below(4) {
        0 => record.state = choices.pick(&[Intent, Issued, RevokePending, Revoked, GaveUp]),
        1 => record.job = JobKey::from_ulid(Ulid::from_bits(u128::from(number(choices)))),
        2 => record.expires = Some(time(choices)),
        _ => record.endpoint = None,
    }
}

fn damage_lease(row: &mut JobRow, choices: &mut Choices<'_>) {
    let units = choices.pick(&[0, 1, -1, i128::MAX, i128::MIN, 10_i128.pow(27)]);
    let amount = Amount::from_units(units);
    let currency = Currency::parse(choices.pick(&["USD", "EUR", "credits"])).expect("a currency");
    match choices.below(5) {
        0 => row.counters = Counters::default(),
        1 => {
            let reported = Amount::from_units(choices.pick(&[0, i128::MAX, i128::MIN]));
            row.counters.set(Counter { currency, initial: amount, remaining: amount, reported });
        }
        2 => {
            let text =
                RawJson::parse(choices.pick(&[GENEROUS, "{}", r#"{"cost.budget":["USD:1","EUR:0"]}"#]));
            let shared = choices.below(2) == 0;
            let lease = Lease::restore(&text.expect("a good text"), None, |_| shared).expect("a good lease");
            row.record.lease = Arc::new(lease);
        }
        3 => {
            let mut lease = Lease::clone(&row.record.lease);
            lease.end_by(time(choices));
            row.record.lease = Arc::new(lease);
        }
        _ => row.counters = row.record.lease.counters(),
    }
}

fn damage_job(row: &mut JobRow, ancestor: Option<JobKey>, choices: &mut Choices<'_>) {
    let owner = row.record.owner;
    match choices.below(20) {
        16 => row.record.restartable = choices.below(2) == 0,
        17 => {
            let position = number(choices);
            row.checkpoint = Some(CheckpointRow { state: RawJson::null(), position });
        }
        18 => row.restarts = u32::from(choices.byte()),
        19 => {
            row.chunks = Some(ChunkRow {
                result: ResultKey::from_ulid(Ulid::default()),
                next_seq: number(choices),
                encoding: choices.pick(&[ChunkEncoding::Utf8, ChunkEncoding::Base64]),
                decoded_bytes: number(choices),
                is_complete: choices.below(2) == 0,
            });
        }
        13 | 14 => damage_lease(row, choices),
        15 => {
            let parent = row.record.parent.map(|parent| parent.job);
            row.record.parent = ancestor.or(parent).map(|job| ParentRecord {
                job,
                delegation: DelegationKey::from_ulid(Ulid::default()),
                depth: choices.byte(),
            });
        }
        0 => row.record.principal = Arc::from(choices.pick(&["", "beta", "newcomer"])),
        1 => row.owner = choices.pick(&[None, owner]),
        2 => row.positions = retention(choices),
        3 => row.last_origin = number(choices),
        4 => row.floor_origin = number(choices),
        5 => {
            let (through, first_seq) = (number(choices), Some(number(choices)));
            row.followers.extend(owner.map(|session| FollowerRow { session, through, first_seq }));
        }
        6 => row.followers.clear(),
        7 => row.stopping = Some((StopReason::TimedOut(number(choices)), time(choices))),
        8 => row.end = None,
        9 => row.record.started = choices.below(2) == 0,
        10 => {
            row.record.parent = Some(ParentRecord {
                job: JobKey::from_ulid(Ulid::from_bits(
                    row.record.key.ulid().bits() ^ u128::from(number(choices)),
                )),
                delegation: DelegationKey::from_ulid(Ulid::default()),
                depth: choices.byte(),
            })
        }
        11 => row.record.max_runtime_sec = Some(number(choices)),
        _ => row.record.accepted_at = time(choices),
    }
}
