//! How many events a second the SQLite store takes, how long one alone waits, and how large the file becomes.
//!
//! `cargo run --release -p arcp-driver --features sqlite --example durable -- FILE [events]`

use std::error::Error;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arcp_driver::sqlite::{Archive, Durability, SqliteOptions, SqliteStore};
use arcp_driver::{AgentRef, EventKind, Lease, RawJson, Store, TraceId, TransportKind, UnixTime};
use arcp_proto::feature::Features;
use arcp_proto::id::{JobKey, SessionKey, Ulid};
use arcp_proto::runtime::store::{
    Command, EventRecord, JobRecord, PageLimit, Record, SessionRecord, StoreDone, StoreId,
};
use arcp_proto::secret::TokenHash;
use arcp_proto::wire::event::{Content, LoggedEvent};
use arcp_proto::wire::peer::PeerProfile;
use futures_executor::block_on;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path: PathBuf = arguments.next().ok_or("which file?")?.into();
    let events: u64 = arguments.next().map_or(Ok(500_000), |text| text.parse())?;
    for durability in [Durability::Full, Durability::Process] {
        println!("{durability:?}");
        for (batch, waiting) in [(1, 1), (8, 1), (32, 1), (128, 1), (128, 8)] {
            remove(&path)?;
            // Alone each takes as long as the disk does, so fewer of them tell as much.
            let events = (events / 500 * batch.min(50)).clamp(1_000, events);
            let mut bench = Bench::open(&path, durability)?;
            let (seconds, mut waits) = bench.append(events, batch, waiting);
            waits.sort_unstable();
            let at = |percent: usize| waits[(waits.len() - 1) * percent / 100].as_micros();
            println!(
                "  appends of {batch:>3}, {waiting} at a time: {:>9.0} events a second; each answered in {} µs (p50), {} µs (p99)",
                events as f64 / seconds,
                at(50),
                at(99)
            );
            if batch == 128 && waiting == 8 {
                bench.read(events);
                drop(bench);
                let stats = Archive::open(&path)?.stats()?;
                println!(
                    "  {} bytes of file for each event of {} bytes",
                    stats.bytes / events,
                    stats.event_bytes / events
                );
            }
        }
    }
    remove(&path)
}

struct Bench {
    store: SqliteStore,
    commands: u64,
    position: u64,
    session: SessionKey,
    job: JobKey,
    body: RawJson,
}

impl Bench {
    fn open(path: &Path, durability: Durability) -> Result<Self, Box<dyn Error>> {
        let store = SqliteOptions::default().durability(durability).open(path)?;
        let now = UnixTime::from_millis(1_786_699_800_000);
        let key = |bits: u128| Ulid::from_bits((1_786_699_800_000 << 80) | bits);
        let (session, job) = (SessionKey::from_ulid(key(1)), JobKey::from_ulid(key(2)));
        let opened = SessionRecord {
            key: session,
            principal: "alice".into(),
            features: Features::EVERY,
            profile: PeerProfile::Core,
            transport: TransportKind::WebSocket,
            epoch: 1,
            current: TokenHash::of("token"),
            confirmed: true,
            previous: None,
            dead_since: None,
        };
        let accepted = JobRecord {
            key: job,
            principal: "alice".into(),
            owner: Some(session),
            request_id: None,
            idempotency_key: None,
            digest: [0; 32],
            agent: AgentRef::parse("worker@1.0.0")?,
            trace_id: TraceId::from_bytes([1; 16]).ok_or("a trace")?,
            input: RawJson::empty_object(),
            accepted_at: now,
            max_runtime_sec: None,
            lease: Arc::new(Lease::default()),
            parent: None,
            started: true,
            restartable: false,
        };
        // As large as what the other figures are measured with.
        let body = format!(r#"{{"level":"info","message":"{}"}}"#, "x".repeat(180));
        let mut bench = Self { store, commands: 0, position: 0, session, job, body: RawJson::parse(body)? };
        bench.give(vec![Record::Session(opened), Record::Job(accepted)]);
        bench.answer();
        Ok(bench)
    }

    fn give(&mut self, records: Vec<Record>) {
        self.commands += 1;
        let none = self.store.submit(StoreId::new(self.commands), Command::Append(records));
        assert!(none.is_none());
    }

    fn answer(&mut self) -> StoreDone {
        let (_, done) = block_on(poll_fn(|cx| self.store.poll_done(cx)));
        assert!(!matches!(done, StoreDone::Failed | StoreDone::Full(_)), "{done:?}");
        done
    }

    fn event(&mut self) -> Record {
        self.position += 1;
        let content = Content::Event { kind: EventKind::Log, body: self.body.clone() };
        let ts = UnixTime::from_millis(1_786_699_800_000);
        let event = Arc::new(LoggedEvent { ts, pos: Some(self.position), content });
        let cost = event.cost();
        let deliveries = [(self.session, self.position)].into_iter().collect();
        Record::Event(EventRecord { job: self.job, origin: self.position, event, cost, deliveries })
    }

    /// Keeps so many appends waiting. Gives the seconds for all, and how long each waited.
    fn append(&mut self, events: u64, batch: u64, waiting: usize) -> (f64, Vec<Duration>) {
        let mut given = std::collections::VecDeque::new();
        let mut waits = Vec::new();
        let start = Instant::now();
        for _ in 0..events / batch {
            let records = (0..batch).map(|_| self.event()).collect();
            given.push_back(Instant::now());
            self.give(records);
            if given.len() >= waiting {
                self.answer();
                waits.extend(given.pop_front().map(|at| at.elapsed()));
            }
        }
        while let Some(at) = given.pop_front() {
            self.answer();
            waits.push(at.elapsed());
        }
        (start.elapsed().as_secs_f64(), waits)
    }

    fn read(&mut self, events: u64) {
        let (start, mut after) = (Instant::now(), 0);
        while after < events / 128 * 128 {
            self.commands += 1;
            let limit = PageLimit { events: 256, bytes: 1 << 20 };
            let command = Command::ReadSession { session: self.session, after, limit };
            assert!(self.store.submit(StoreId::new(self.commands), command).is_none());
            let StoreDone::Session(page) = self.answer() else { panic!("a page") };
            after = page.last().expect("events are left").seq;
        }
        println!("  read back for a resume: {:.0} a second", after as f64 / start.elapsed().as_secs_f64());
    }
}

fn remove(path: &Path) -> Result<(), Box<dyn Error>> {
    for end in ["", "-wal", "-shm", "-lock"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
