//! Events of one job over a loopback WebSocket to a counting client, beside a bare tokio-tungstenite pair that moves the
//! same bytes, in turns within one run. Prints medians and their ratio.
//!
//! `cargo bench -p arcp-tokio --bench websocket -- [EVENTS] [ROUNDS]`

use std::time::{Duration, Instant};

use arcp_driver::{JobContext, Runtime};
use arcp_proto::wire::{Envelope, ScanLimits};
use arcp_tokio::Server;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

const MESSAGE: &str = "loaded 250 rows of the supplier's feed";
/// A frame of the job as the runtime sends it, to weigh the same on the bare pair.
const FRAME: &str = r#"{"arcp":"1.1","id":"msg_01KZZSPQFWRQJ5E00000000001","type":"job.event","session_id":"sess_01KZZSPQFWRQJ5E577ZYXMHSQ1","trace_id":"7c9f1e2a5b3d4806a1f2c3d4e5f60718","job_id":"job_01KZZSPSCGTYZ5S2V2CG4ASNXD","event_seq":50000,"payload":{"kind":"log","ts":"2026-08-14T09:30:03.750Z","pos":50000,"body":{"level":"info","message":"loaded 250 rows of the supplier's feed"}}}"#;
const FLUSH_EVERY: usize = 64;

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn talk(job: JobContext, events: u64) -> Result<(), Error> {
    for _ in 0..events {
        job.info(MESSAGE).await?;
    }
    Ok(())
}

/// One job's events from the agent's call to the application's hand.
async fn arcp(events: u64) -> Result<Duration, Error> {
    let runtime = Runtime::builder()
        .bearer("bench", "bench")
        .agent("talk", |job: JobContext, events: u64| async move {
            talk(job, events).await.map_err(|error| std::io::Error::other(error.to_string()).into())
        })
        .build()?;
    let server = Server::bind("127.0.0.1:0").await?;
    let url = server.url();
    let serving = server.start(runtime);
    let client = arcp_tokio::connect(url).token("bench").await?;
    let start = Instant::now();
    let mut job = client.submit("talk").input(&events).await?;
    let mut count = 0;
    while let Some(event) = job.next().await {
        // What has no position is a notice to this session, not an event of the job.
        count += u64::from(event?.position().is_some());
    }
    let elapsed = start.elapsed();
    assert_eq!(count, events, "every event arrives");
    client.close().await;
    serving.shut_down().await;
    Ok(elapsed)
}

/// The same bytes from a loop that sends one prepared text to a loop that counts, with or without reading the envelope.
async fn bare(events: u64, parse: bool) -> Result<Duration, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let config = WebSocketConfig::default();
    let sender = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        let text = Utf8Bytes::from_static(FRAME);
        for n in 1..=events {
            socket.feed(Message::Text(text.clone())).await?;
            if n % FLUSH_EVERY as u64 == 0 {
                socket.flush().await?;
            }
        }
        socket.flush().await?;
        Ok::<_, Error>(socket)
    });
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
    let start = Instant::now();
    let mut count = 0;
    while count < events {
        let message = socket.next().await.ok_or("the sender is gone")??;
        if parse {
            Envelope::decode(message.into_data().as_ref(), &ScanLimits::CLIENT)
                .map_err(|error| format!("{error:?}"))?;
        }
        count += 1;
    }
    let elapsed = start.elapsed();
    drop(sender.await??);
    Ok(elapsed)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() -> Result<(), Error> {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let events = numbers.first().copied().unwrap_or(100_000);
    let rounds = numbers.get(1).copied().unwrap_or(7);
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut ours, mut plain, mut parsed) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let rate = |elapsed: Duration| events as f64 / elapsed.as_secs_f64();
        let (a, b, c) = executor.block_on(async {
            Ok::<_, Error>((arcp(events).await?, bare(events, false).await?, bare(events, true).await?))
        })?;
        // The first round warms up.
        if round > 0 {
            ours.push(rate(a));
            plain.push(rate(b));
            parsed.push(rate(c));
        }
    }
    let (ours, plain, parsed) = (median(ours), median(plain), median(parsed));
    println!("{events} events of {} bytes, median of {rounds} rounds", FRAME.len());
    println!("  arcp, agent to application        {:>7.0} k/s", ours / 1_000.0);
    println!(
        "  bare WebSocket pair               {:>7.0} k/s   arcp reaches {:.2} of it",
        plain / 1_000.0,
        ours / plain
    );
    println!(
        "  the same, reading each envelope   {:>7.0} k/s   arcp reaches {:.2} of it",
        parsed / 1_000.0,
        ours / parsed
    );
    Ok(())
}
