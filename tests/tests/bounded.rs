//! What a runtime holds for clients that do not keep up is bounded, and nobody else notices them.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arcp_driver::memory;
use arcp_driver::transport::{Incoming, Outgoing, Transport};
use arcp_driver::{
    AgentError, Client, Connector, Credentials, JobContext, Runtime, Store, TransportKind, Verdict,
};
use arcp_proto::client::Subscription;
use arcp_proto::id::{JobKey, SessionKey};
use arcp_proto::runtime::rows::Tables;
use arcp_proto::runtime::store::{Command, Record, StoreDone, StoreId};
use arcp_tests::link::{Script, World};
use arcp_tests::stack::{AsyncStd, Stack, Tokio, url};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};

const EVENTS: u64 = 200_000;

/// What a session may keep from being forgotten, by default (protocol §2.6).
const REPLAY_EVENTS: u64 = 65_536;
const REPLAY_BYTES: u64 = 16 << 20;

/// Two floods without any bound take more than twice this.
const FLOOD_BYTES: u64 = 160 << 20;

/// Set in the processes that run one test each.
const APART: &str = "ARCP_TEST_APART";

/// Memory of a whole process is measured, so each of these tests has one, and they take turns.
fn apart(name: &str, test: impl FnOnce()) {
    static TURNS: Mutex<()> = Mutex::new(());
    if std::env::var_os(APART).is_some() {
        return test();
    }
    let _turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name, "--nocapture"]).env(APART, "1").output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}");
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "no test is called {name}");
}

/// Bytes of memory this process has; `None` where the system does not say.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}

/// A store in memory that remembers the most it ever held for a session.
#[derive(Clone, Default)]
struct Watched(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    tables: Tables,
    /// Events and bytes.
    most: BTreeMap<SessionKey, (u64, u64)>,
}

impl Watched {
    fn has_ended(&self, job: JobKey) -> bool {
        self.0.lock().unwrap().tables.job(job).is_some_and(|row| row.end.is_some())
    }

    fn most(&self) -> Vec<(u64, u64)> {
        self.0.lock().unwrap().most.values().copied().collect()
    }
}

impl Store for Watched {
    fn is_durable(&self) -> bool {
        false
    }

    fn submit(&mut self, _: StoreId, command: Command) -> Option<StoreDone> {
        let Shared { tables, most } = &mut *self.0.lock().unwrap();
        if let Command::Append(records) = &command {
            for record in records {
                if let Record::Session(session) = record {
                    most.entry(session.key).or_default();
                }
            }
        }
        let done = tables.execute(command);
        for (key, most) in most {
            if let Some(row) = tables.session(*key) {
                *most = (most.0.max(row.numbers.len()), most.1.max(row.numbers.total().total()));
            }
        }
        Some(done)
    }

    fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
        Poll::Pending
    }
}

/// A client that is no more than a connection.
struct Bare<T>(T);

impl<T: Transport> Bare<T> {
    /// Says hello and waits for the welcome.
    async fn open(transport: T, token: &str) -> Self {
        let mut bare = Self(transport);
        let features = ["heartbeat", "ack", "subscribe", "progress", "result_chunk", "agent_versions"];
        let hello = json!({
            "client": {"name": "bare", "version": "1"},
            "auth": {"scheme": "bearer", "token": token},
            "capabilities": {"encodings": ["json"], "features": features},
        });
        bare.send("session.hello", &hello).await;
        assert_eq!(bare.receive().await.unwrap()["type"], "session.welcome");
        bare
    }

    async fn send(&mut self, message_type: &str, payload: &Value) {
        let frame = json!({"arcp": "1.1", "id": format!("m-{message_type}"), "type": message_type, "payload": payload});
        self.0.send(Outgoing::Frame(frame.to_string())).await.unwrap();
    }

    /// The next frame; `None` when the connection has ended, in whatever way.
    async fn receive(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await? {
                Ok(Incoming::Frame(frame)) => return Some(serde_json::from_slice(&frame).unwrap()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// How many frames there still are, and the code of the error among them.
    async fn rest(&mut self) -> (u64, Option<String>) {
        let (mut count, mut code) = (0, None);
        while let Some(frame) = self.receive().await {
            count += 1;
            if frame["type"] == "session.error" {
                code = frame["payload"]["code"].as_str().map(str::to_owned);
            }
        }
        (count, code)
    }
}

async fn bare<S: Stack>(server: SocketAddr) -> Bare<impl Transport> {
    let transport = S::cable(server, server).connect().await.unwrap();
    Bare::open(transport, "token").await
}

async fn flood(job: JobContext, events: u64) -> Result<u64, AgentError> {
    let line = "x".repeat(400);
    for _ in 0..events {
        job.info(&line).await?;
    }
    Ok(events)
}

async fn echo(_: JobContext, input: u64) -> Result<u64, AgentError> {
    Ok(input)
}

/// The longest it takes for a small job to come and go.
async fn echoes(client: &Client, count: u64) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 0..count {
        let start = Instant::now();
        let mut job = client.submit("echo").input(&number).await.unwrap();
        assert_eq!(job.result::<u64>().await.unwrap(), number);
        longest = longest.max(start.elapsed());
    }
    longest
}

async fn clients_that_never_read_again<S: Stack>() {
    let store = Watched::default();
    let runtime = Runtime::builder()
        .bearer("token", "alice")
        .agent("flood", flood)
        .agent("echo", echo)
        .store(store.clone())
        .config(|config| config.limits.write_stall = Duration::from_secs(1));
    let (serving, server) = S::serve(runtime.build().unwrap()).await;
    let owner = S::connect(url(server)).token("token").await.unwrap();
    let other = S::connect(url(server)).token("token").await.unwrap();
    let before = resident();

    let mut job = owner.submit("flood").input(&EVENTS).await.unwrap();
    // One that follows the job and never reads an event, and one that submits its own and does not either.
    let mut follower = bare::<S>(server).await;
    follower.send("job.subscribe", &json!({"job_id": job.id().as_str(), "history": true})).await;
    assert_eq!(follower.receive().await.unwrap()["type"], "job.subscribed");
    let mut submitter = bare::<S>(server).await;
    submitter.send("job.submit", &json!({"agent": "flood", "input": EVENTS})).await;
    let accepted = submitter.receive().await.unwrap();
    let unheard = JobKey::parse(accepted["job_id"].as_str().unwrap()).unwrap();

    let (mut count, mut most, mut longest) = (0, 0, Duration::ZERO);
    while let Some(event) = job.next().await {
        count += u64::from(event.unwrap().position().is_some());
        if count % 20_000 == 0 {
            longest = longest.max(echoes(&other, 3).await);
            most = most.max(resident().unwrap_or(0));
        }
    }
    assert_eq!(count, EVENTS);
    assert_eq!(job.result::<u64>().await.unwrap(), EVENTS);
    // As long as its owner's connection was there, the other flood waited for it. It is closed, so the flood goes on.
    while !store.has_ended(unheard) {
        longest = longest.max(echoes(&other, 10).await);
        most = most.max(resident().unwrap_or(0));
    }

    let (events, code) = follower.rest().await;
    assert!(events < REPLAY_EVENTS, "the follower was sent {events} events");
    assert!(code.is_none_or(|code| code == "INTERNAL_ERROR"));
    let (events, code) = submitter.rest().await;
    assert!(events < REPLAY_EVENTS, "the submitter was sent {events} events");
    assert!(code.is_none_or(|code| code == "INTERNAL_ERROR"));

    let held = store.most();
    println!("{}: {held:?} events and bytes held, echoes took up to {longest:?}", std::any::type_name::<S>());
    assert_eq!(held.len(), 4);
    // Room is made in blocks.
    assert!(
        held.iter()
            .all(|(events, bytes)| *events <= REPLAY_EVENTS + 256 && *bytes <= REPLAY_BYTES + (128 << 10))
    );
    // Otherwise nothing of this was tested.
    assert!(held.iter().any(|(_, bytes)| *bytes > REPLAY_BYTES - 1_024));
    assert!(longest < Duration::from_secs(5), "an echo took {longest:?}");
    if let Some(before) = before {
        let more = most.saturating_sub(before);
        println!("{} MiB more", more >> 20);
        assert!(more < FLOOD_BYTES, "{} MiB more", more >> 20);
    }
    S::shut_down(serving).await;
}

#[test]
fn clients_that_never_read_again_on_tokio() {
    apart("clients_that_never_read_again_on_tokio", || Tokio::run(clients_that_never_read_again::<Tokio>()));
}

#[test]
fn clients_that_never_read_again_on_async_std() {
    apart("clients_that_never_read_again_on_async_std", || {
        AsyncStd::run(clients_that_never_read_again::<AsyncStd>())
    });
}

/// In virtual time: a subscriber that hangs is given up as soon as what waits for it reaches the limit (D-10), long before
/// its connection counts as stalled.
#[test]
fn a_subscriber_that_hangs_is_given_up_at_the_limit() {
    let mut world = World::new();
    let line = "x".repeat(1_000);
    let script =
        (0..20_000).fold(Script::new().pace(Duration::from_micros(500)), |script, _| script.log(&line));
    world.agent("a", script.returns("null"));
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("the first event", |world| world.application(0).events() > 0);
    let job = world.first_job(0);
    world.client();
    world.subscribe(1, &job, Subscription::Live);
    world.run_until("the subscription", |world| world.application(1).events() > 0);
    world.peers[1].asleep = true;
    world.run_until("the end", |world| world.application(0).ended() == 1);
    let (before, error) = error_to(&world, 1).expect("the subscriber is told");
    assert!(error.contains("\"limit\":\"unsent\""), "{error}");
    // An event takes a little more than its line.
    assert!((15_000..17_000).contains(&before), "it came behind {before} events of the job");
    assert!(error_to(&world, 0).is_none());
    world.peers[1].asleep = false;
    // What it missed is gone, so it begins again with what the job's log still has.
    world.run_until("the subscriber's end", |world| world.application(1).ended() == 1);
    let positions = world.application(1).story(&job).positions;
    let missed = positions.windows(2).position(|pair| pair[1] != pair[0] + 1).expect("it missed something");
    let rest = &positions[missed + 1..];
    assert!(rest.len() > 10_000 && rest.is_sorted_by(|a, b| a + 1 == *b) && rest.last() == Some(&20_001));
    assert_eq!(world.application(1).connects(), (2, 0));
    assert_eq!(world.application(0).story(&job).positions, (1..=20_001).collect::<Vec<_>>());
}

/// The error that was written to a client, and how many events the first client had been sent before.
fn error_to(world: &World, peer: usize) -> Option<(usize, String)> {
    let frames: Vec<_> = world.trace.frames_of(peer).collect();
    let index = frames.iter().find(|(_, text)| text.contains("session.error"))?;
    let before =
        world.trace.frames_of(0).filter(|(at, text)| *at < index.0 && text.contains("job.event")).count();
    Some((before, index.1.to_owned()))
}

const IDLE: u64 = 2_000;

/// Bytes an idle session may take, with its connection and the test's end of it, in a build without optimization.
const IDLE_BYTES: u64 = 12 << 10;

async fn idle_sessions<S: Stack>() {
    let judge = |credentials: Credentials| async move {
        match credentials {
            // A principal has a hundred sessions at most.
            Credentials::Bearer(token) => Verdict::Accept { principal: token.expose().into(), until: None },
            Credentials::Anonymous => Verdict::Refuse,
        }
    };
    let runtime = S::start(Runtime::builder().verifier(judge).agent("echo", echo).build().unwrap());
    let mut sessions = Vec::new();
    let before = resident();
    for number in 0..IDLE {
        let (near, far) = memory::pair();
        S::spawn(runtime.accept(far, TransportKind::Memory));
        sessions.push(Bare::open(near, &format!("principal {}", number / 50)).await);
    }
    let after = resident();
    // Every one of them is there, and quick.
    let start = Instant::now();
    for session in &mut sessions {
        session.send("session.ping", &json!({"nonce": "n", "sent_at": "2026-08-14T09:30:00Z"})).await;
        let pong = session.receive().await.unwrap();
        assert_eq!((&pong["type"], &pong["payload"]["ping_nonce"]), (&json!("session.pong"), &json!("n")));
    }
    println!("{IDLE} pings took {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10));
    let last = sessions.last_mut().unwrap();
    last.send("job.submit", &json!({"agent": "echo", "input": 7})).await;
    assert_eq!(last.receive().await.unwrap()["type"], "job.accepted");
    assert_eq!(last.receive().await.unwrap()["payload"]["result"], 7);
    if let (Some(before), Some(after)) = (before, after) {
        let each = after.saturating_sub(before) / IDLE;
        println!("{each} bytes each");
        assert!(each < IDLE_BYTES, "{each} bytes each");
    }
    runtime.shut_down().await;
    for mut session in sessions {
        assert_eq!(session.receive().await.unwrap()["type"], "session.bye");
    }
}

#[test]
fn two_thousand_idle_sessions() {
    apart("two_thousand_idle_sessions", || Tokio::run(idle_sessions::<Tokio>()));
}
