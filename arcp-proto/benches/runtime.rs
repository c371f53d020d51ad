//! The event path of the core: emit, number, store, commit, pull, with 1, 10 and 100 followers.
//!
//! The store answers at once and keeps nothing, so what is measured is the core; `with tables` keeps everything.

use std::sync::Arc;
use std::time::Duration;

use arcp_proto::agent::AgentRef;
use arcp_proto::config::RuntimeConfig;
use arcp_proto::entropy::Entropy;
use arcp_proto::runtime::rows::Tables;
use arcp_proto::runtime::store::{Command, StoreDone};
use arcp_proto::runtime::{AgentInput, ConnectionId, JobHandle, Output, RuntimeEndpoint, Verdict};
use arcp_proto::time::{Instant, Now, UnixTime};
use arcp_proto::wire::event::{Emission, LogLevel};
use arcp_proto::wire::peer::TransportKind;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const BATCH: u64 = 256;

struct Counter(u64);

impl Entropy for Counter {
    fn fill_public(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = self.0.to_le_bytes()[7];
        }
    }

    fn fill_secret(&mut self, bytes: &mut [u8]) {
        self.fill_public(bytes);
    }
}

struct Bench {
    runtime: RuntimeEndpoint,
    tables: Option<Tables>,
    now: Now,
    connections: Vec<ConnectionId>,
    job: Option<(JobHandle, String)>,
    seq: u64,
}

impl Bench {
    fn new(followers: usize, tables: bool) -> Self {
        let mut config = RuntimeConfig::default();
        config.agents.add(&AgentRef::parse("a").expect("an agent"));
        config.limits.sessions = 10_000;
        config.limits.hello_burst = 10_000;
        config.limits.buffered_bytes = u64::MAX;
        let now = Now { mono: Instant::ZERO, unix: UnixTime::from_millis(1_786_699_800_000) };
        let runtime = RuntimeEndpoint::new(config, Box::new(Counter(7)), now);
        let tables = tables.then(Tables::default);
        let mut bench = Self { runtime, tables, now, connections: Vec::new(), job: None, seq: 0 };
        let owner = bench.open();
        bench.send(owner, r#"{"arcp":"1.1","id":"m1","type":"job.submit","payload":{"agent":"a"}}"#);
        let (_, id) = bench.job.clone().expect("the job started");
        for _ in 1..followers {
            let follower = bench.open();
            let payload = format!("{{\"job_id\":\"{id}\"}}");
            bench.send(
                follower,
                &format!(
                    "{{\"arcp\":\"1.1\",\"id\":\"m2\",\"type\":\"job.subscribe\",\"payload\":{payload}}}"
                ),
            );
        }
        bench
    }

    fn open(&mut self) -> ConnectionId {
        let connection = self.runtime.handle_open(self.now, TransportKind::Memory);
        self.connections.push(connection);
        self.send(
            connection,
            r#"{"arcp":"1.1","id":"m0","type":"session.hello","payload":{"auth":{"token":"t"},"capabilities":{"features":["ack","subscribe","x-vendor.arcp-rs.1"]}}}"#,
        );
        connection
    }

    fn send(&mut self, connection: ConnectionId, frame: &str) {
        self.runtime.handle_frame(self.now, connection, Bytes::copy_from_slice(frame.as_bytes()));
        self.settle();
    }

    /// Carries out everything and pulls every frame; gives how many there were.
    fn settle(&mut self) -> usize {
        let mut pulled = 0;
        while let Some(output) = self.runtime.poll_output() {
            match output {
                Output::FramesReady(connection) => {
                    while let Some(frame) = self.runtime.poll_frame(connection) {
                        std::hint::black_box(frame);
                        pulled += 1;
                    }
                }
                Output::Authenticate { id, .. } => {
                    let verdict = Verdict::Accept { principal: Arc::from("bench"), until: None };
                    self.runtime.handle_auth(self.now, id, verdict);
                }
                Output::Store { id, command } => {
                    let done = match &mut self.tables {
                        Some(tables) => tables.execute(command),
                        None if matches!(command, Command::Append(_)) => StoreDone::Appended,
                        None => StoreDone::Trimmed,
                    };
                    self.runtime.handle_store(self.now, id, done);
                }
                Output::StartJob(start) => self.job = Some((start.job, start.key.to_string())),
                _ => {}
            }
        }
        pulled
    }

    /// One batch of events, delivered to every follower and acknowledged by it.
    fn batch(&mut self, emission: &Emission) -> usize {
        self.now = self.now.after(Duration::from_micros(100));
        let job = self.job.as_ref().map(|(job, _)| *job).expect("the job runs");
        for _ in 0..BATCH {
            self.runtime
                .handle_agent(self.now, job, AgentInput::Emit(emission.clone()))
                .expect("the job runs");
        }
        let pulled = self.settle();
        self.seq += BATCH;
        let ack = format!(
            "{{\"arcp\":\"1.1\",\"id\":\"k\",\"type\":\"session.ack\",\"payload\":{{\"last_processed_seq\":{}}}}}",
            self.seq
        );
        for connection in self.connections.clone() {
            self.send(connection, &ack);
        }
        pulled
    }
}

fn events(criterion: &mut Criterion) {
    let emission =
        Emission::log(LogLevel::Info, "loaded 250 rows of the supplier's feed", None).expect("an event");
    let mut group = criterion.benchmark_group("emit to pulled frame");
    for followers in [1, 10, 100] {
        for tables in [false, true] {
            let name = if tables { "with tables" } else { "core alone" };
            let mut bench = Bench::new(followers, tables);
            assert_eq!(
                bench.batch(&emission) as u64,
                followers as u64 * BATCH,
                "every follower gets every event"
            );
            group.throughput(Throughput::Elements(BATCH));
            group.bench_function(BenchmarkId::new(name, followers), |bencher| {
                bencher.iter(|| bench.batch(&emission))
            });
        }
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
