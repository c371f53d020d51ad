//! A whole runtime in one blocking loop: envelopes as lines over TCP, one client at a time, one agent, everything in
//! memory. `cargo run -p arcp-proto --example serve_lines`, then say hello with any client that speaks lines.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use arcp_proto::agent::AgentRef;
use arcp_proto::config::RuntimeConfig;
use arcp_proto::entropy::Entropy;
use arcp_proto::runtime::rows::Tables;
use arcp_proto::runtime::{
    AgentEnd, AgentInput, ConnectionId, Credentials, LeaseDecision, Output, RuntimeEndpoint, Verdict,
};
use arcp_proto::time::{Instant, Now, UnixTime};
use arcp_proto::wire::event::{Emission, LogLevel};
use arcp_proto::wire::peer::TransportKind;
use arcp_proto::wire::{Line, LineSplitter};

struct SystemEntropy(std::fs::File);

impl Entropy for SystemEntropy {
    fn fill_public(&mut self, bytes: &mut [u8]) {
        self.0.read_exact(bytes).expect("the system has random bytes");
    }

    fn fill_secret(&mut self, bytes: &mut [u8]) {
        self.fill_public(bytes);
    }
}

struct Clock(StdInstant);

#[expect(clippy::disallowed_methods, reason = "whoever drives the core reads the clocks for it")]
impl Clock {
    fn start() -> Self {
        Self(StdInstant::now())
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: Instant::ZERO.after(self.0.elapsed()), unix: UnixTime::from_millis(0).after(unix) }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = Clock::start();
    let mut config = RuntimeConfig::default();
    config.agents.add(&AgentRef::parse("echo")?);
    let entropy = Box::new(SystemEntropy(std::fs::File::open("/dev/urandom")?));
    let mut runtime = RuntimeEndpoint::new(config, entropy, clock.now());
    let mut store = Tables::default();
    let listener = TcpListener::bind("127.0.0.1:7778")?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let connection = runtime.handle_open(clock.now(), TransportKind::Lines);
        serve(&mut runtime, &mut store, &clock, connection, &mut stream)?;
        runtime.handle_closed(clock.now(), connection);
    }
    Ok(())
}

fn serve(
    runtime: &mut RuntimeEndpoint,
    store: &mut Tables,
    clock: &Clock,
    connection: ConnectionId,
    stream: &mut TcpStream,
) -> std::io::Result<()> {
    let mut lines = LineSplitter::new(1 << 20);
    loop {
        // 1. Carry out everything the runtime asks for.
        let mut close = false;
        while let Some(output) = runtime.poll_output() {
            let now = clock.now();
            match output {
                Output::FramesReady(ready) if ready == connection => {
                    write_frames(runtime, connection, stream)?
                }
                Output::Close { connection: closing, .. } if closing == connection => {
                    write_frames(runtime, connection, stream)?;
                    close = true;
                }
                Output::Authenticate { id, credentials } => {
                    let verdict = match credentials {
                        Credentials::Bearer(token) if token.matches("demo") => {
                            Verdict::Accept { principal: Arc::from("alice"), until: None }
                        }
                        _ => Verdict::Refuse,
                    };
                    runtime.handle_auth(now, id, verdict);
                }
                Output::Store { id, command } => runtime.handle_store(now, id, store.execute(command)),
                Output::StartJob(start) => {
                    // An agent that is done at once. One that takes its time runs elsewhere and speaks when it likes.
                    let hello =
                        Emission::log(LogLevel::Info, "echoing", None).expect("a message that is not empty");
                    let end = AgentEnd::Value { value: start.input, summary: None };
                    for said in [AgentInput::Emit(hello), AgentInput::Finish(end)] {
                        runtime.handle_agent(now, start.job, said).expect("the job has just started");
                    }
                }
                // Asked only where the configuration says so; what is asked for is never too much.
                Output::Decide { id, question } => {
                    let _ = runtime.handle_decision(now, id, LeaseDecision::Grant(question.lease));
                }
                // Not asked: the configuration names no provisioner.
                Output::IssueCredential { .. } | Output::RevokeCredential { .. } => {}
                // This agent is over before anybody could stop or hold it, and lines carry no probes.
                Output::CancelJob { .. }
                | Output::KillJob(_)
                | Output::TellJob { .. }
                | Output::HoldJob(_)
                | Output::ReleaseJob(_) => {}
                Output::Probe(_) | Output::FramesReady(_) | Output::Close { .. } => {}
                Output::Halt => return Err(ErrorKind::Other.into()),
                Output::Event(event) => eprintln!("{event:?}"),
            }
        }
        if close {
            return stream.shutdown(Shutdown::Both);
        }
        // 2. Take what has arrived, one frame at a time, while the runtime wants frames.
        if runtime.may_read(connection)
            && let Some(line) = lines.next_line()
        {
            match line {
                Line::Frame(frame) => runtime.handle_frame(clock.now(), connection, frame),
                Line::TooLong => runtime.handle_oversized(clock.now(), connection),
            }
            continue;
        }
        // 3. Wait for bytes, at most until the next deadline.
        let now = clock.now();
        let deadline = runtime.poll_timeout().map(|at| at.since(now.mono).max(Duration::from_millis(1)));
        stream.set_read_timeout(deadline)?;
        let mut buffer = [0; 4_096];
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => lines.push(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                runtime.handle_timeout(clock.now());
            }
            Err(_) => return Ok(()),
        }
    }
}

fn write_frames(
    runtime: &mut RuntimeEndpoint,
    connection: ConnectionId,
    stream: &mut TcpStream,
) -> std::io::Result<()> {
    while let Some(frame) = runtime.poll_frame(connection) {
        let mut line = frame.encode();
        line.push('\n');
        stream.write_all(line.as_bytes())?;
    }
    Ok(())
}
