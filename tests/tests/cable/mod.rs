//! The same over real sockets: the connection is cut at pseudo-random bytes.

use std::net::SocketAddr;
use std::time::Duration;

use arcp_driver::{AgentError, Client, ClientConfig, EventKind, JobContext, Runtime, SessionEvent};
use arcp_tests::over_both_drivers;
use arcp_tests::random::Random;
use arcp_tests::relay::Relay;
use arcp_tests::stack::Stack;
use arcp_tests::trace::Direction;
use futures_util::{StreamExt, stream};

use super::{EVENTS, piece};

/// Offsets tried in each direction, on each driver.
const CUTS: u64 = 400;

/// Runs at a time.
const LANES: usize = 6;

async fn report(job: JobContext, (): ()) -> Result<(), AgentError> {
    let mut result = job.stream_text();
    for number in 1..EVENTS {
        match number % 4 {
            0 => result.write(&piece(number)).await?,
            1 => job.progress(number).of(EVENTS).await?,
            _ => job.info("a line").await?,
        }
    }
    Ok(result.finish().await?)
}

fn runtime() -> Runtime {
    let builder = Runtime::builder().bearer("token", "alice").agent("report", report);
    let builder = builder.config(|config| {
        config.limits.hello_burst = 10_000;
        config.limits.address_hello_burst = 10_000;
        config.limits.sessions = 10_000;
        config.limits.jobs = 10_000;
    });
    builder.build().unwrap()
}

/// What one run saw.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    positions: Vec<u64>,
    chunks: usize,
    result: String,
    faults: Vec<String>,
}

async fn watch(client: &Client) -> Seen {
    let mut events = client.events();
    let mut job = client.submit("report").await.unwrap();
    let (mut positions, mut chunks) = (Vec::new(), 0);
    while let Some(event) = job.next().await {
        let event = event.unwrap();
        positions.extend(event.position());
        chunks += usize::from(*event.kind() == EventKind::ResultChunk);
    }
    let result = job.result().await.unwrap();
    client.close().await;
    let (mut faults, mut sessions) = (Vec::new(), 0);
    while let Some(event) = events.next().await {
        match event {
            SessionEvent::Connected(connected) => sessions += usize::from(!connected.resumed),
            SessionEvent::Disconnected | SessionEvent::ConnectFailed(_) | SessionEvent::Closed(_) => {}
            other => faults.push(format!("{other:?}")),
        }
    }
    if sessions != 1 {
        faults.push(format!("{sessions} sessions were opened"));
    }
    Seen { positions, chunks, result, faults }
}

/// One client through a relay of its own; says whether the cable was cut, and how many bytes it carried.
async fn run<S: Stack>(server: SocketAddr, cut: Option<(Direction, u64)>) -> (bool, [u64; 2]) {
    let relay = Relay::start(server).unwrap();
    if let Some((direction, offset)) = cut {
        relay.cut_at(direction, offset);
    }
    let mut config = ClientConfig::new("token");
    config.ack_interval = Duration::from_millis(1);
    config.backoff_min = Duration::from_millis(1);
    config.backoff_max = Duration::from_millis(20);
    let client = S::spawn_client(S::cable(server, relay.address()), config);
    let seen = watch(&client).await;
    let expected = Seen {
        positions: (1..=EVENTS).collect(),
        chunks: usize::try_from(EVENTS / 4).unwrap(),
        result: (1..EVENTS).filter(|number| number % 4 == 0).map(piece).collect(),
        faults: Vec::new(),
    };
    assert_eq!(seen, expected, "cut {cut:?}");
    (relay.cuts() > 0, [relay.carried(Direction::Up), relay.carried(Direction::Down)])
}

async fn cut_at_bytes<S: Stack>(direction: Direction, seed: u64) {
    let (serving, server) = S::serve(runtime()).await;
    let (was_cut, carried) = run::<S>(server, None).await;
    assert!(!was_cut);
    let bytes = carried[direction as usize];
    assert!(bytes > 1_000, "{bytes} bytes");
    let mut random = Random::new(seed);
    let offsets: Vec<u64> = (0..CUTS).map(|_| random.below(bytes)).collect();
    println!("seed {seed}: {direction:?} {offsets:?}");
    let runs = stream::iter(offsets).map(|offset| run::<S>(server, Some((direction, offset))));
    let cuts = runs.buffer_unordered(LANES).filter(|(was_cut, _)| std::future::ready(*was_cut)).count().await;
    // How many acknowledgements there are differs from run to run, so a late byte may not come.
    assert!(cuts as u64 >= CUTS / 2, "only {cuts} of {CUTS} were cut");
    S::shut_down(serving).await;
}

async fn cut_at_bytes_of_the_runtime<S: Stack>() {
    cut_at_bytes::<S>(Direction::Down, 20_260_814).await;
}

async fn cut_at_bytes_of_the_client<S: Stack>() {
    cut_at_bytes::<S>(Direction::Up, 20_260_815).await;
}

over_both_drivers!(cut_at_bytes_of_the_runtime, cut_at_bytes_of_the_client);
