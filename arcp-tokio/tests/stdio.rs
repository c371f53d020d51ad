//! Lines over pipes: in memory, to child processes, and a process's own streams.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    future::Future,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use arcp_driver::{
    lines::LinesTransport,
    transport::{Incoming, Outgoing, TransportError},
};
use arcp_proto::CloseCode;
use arcp_tokio::{
    compat::Compat,
    stdio::{ChildGuard, ChildTransport, own_stdio, spawn},
};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    process::Command,
};

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("took too long")
}

type InMemory = LinesTransport<Compat<DuplexStream>, Compat<DuplexStream>>;

/// A transport, what writes its input and what reads its output.
fn in_memory(limit: usize) -> (InMemory, DuplexStream, DuplexStream) {
    let (input, far_input) = duplex(64);
    let (output, far_output) = duplex(64);
    (LinesTransport::new(Compat::new(input), Compat::new(output), limit), far_input, far_output)
}

fn frame(text: impl Into<String>) -> Outgoing {
    Outgoing::Frame(text.into())
}

fn line(text: &str) -> Incoming {
    Incoming::Frame(text.as_bytes().to_vec().into())
}

/// Everything that comes out of this input, cut into pieces of `size`.
async fn incoming(limit: usize, input: &[u8], size: usize) -> Vec<Incoming> {
    let (transport, mut far_input, _far_output) = in_memory(limit);
    let feed = async {
        for piece in input.chunks(size) {
            far_input.write_all(piece).await.unwrap();
        }
        drop(far_input);
    };
    let collect = transport.map(Result::unwrap).collect();
    soon(async { tokio::join!(feed, collect) }).await.1
}

#[tokio::test]
async fn lines_in() {
    let table: &[(&str, &[u8], Vec<Incoming>)] = &[
        ("LF", b"{}\n{\"a\":1}\n", vec![line("{}"), line("{\"a\":1}")]),
        ("CRLF", b"{}\r\n", vec![line("{}")]),
        ("blank lines", b"\n \t\r\n\r\n{}\n\n", vec![line("{}")]),
        ("nothing", b"", vec![]),
        ("end inside a line", b"{}\n{\"a\":", vec![line("{}")]),
        ("no line end", b"{}", vec![]),
        ("U+2028", "\"\u{2028}\"\n".as_bytes(), vec![line("\"\u{2028}\"")]),
        ("not UTF-8", b"\xff\n", vec![Incoming::Frame(b"\xff".to_vec().into())]),
        ("exactly the limit", b"0123456789\n0123456789\r\n", vec![line("0123456789"), line("0123456789")]),
        ("over the limit", b"01234567890\n{}\n", vec![Incoming::Oversized, line("{}")]),
        ("far over the limit", &[b'x'; 5000], vec![Incoming::Oversized]),
    ];
    for (name, input, expected) in table {
        for size in [1, 2, 7, 5000] {
            assert_eq!(incoming(10, input, size).await, *expected, "{name} in pieces of {size}");
        }
    }
}

#[tokio::test]
async fn lines_out() {
    let (mut transport, _far_input, mut far_output) = in_memory(100);
    let write = async {
        transport.feed(frame("{\"n\":1}")).await.unwrap();
        // There is no such thing on a line.
        transport.feed(Outgoing::Probe).await.unwrap();
        transport.feed(frame("{\n  \"n\": 2\n}")).await.unwrap();
        transport.feed(frame("x".repeat(10_000))).await.unwrap();
        transport.feed(Outgoing::Close(CloseCode::GoingAway)).await.unwrap();
        transport.close().await.unwrap();
        assert!(matches!(transport.send(frame("late")).await, Err(TransportError::Closed)));
        transport.close().await.unwrap();
    };
    let mut text = String::new();
    let (_, read) = soon(async { tokio::join!(write, far_output.read_to_string(&mut text)) }).await;
    read.unwrap();
    assert_eq!(text, format!("{{\"n\":1}}\n{{   \"n\": 2 }}\n{}\n", "x".repeat(10_000)));
}

#[tokio::test]
async fn nothing_is_written_before_the_flush_nor_kept_without_bound() {
    let (mut transport, _far_input, mut far_output) = in_memory(100);
    transport.feed(frame("{}")).await.unwrap();
    let mut buf = [0; 16];
    tokio::select! {
        biased;
        read = far_output.read(&mut buf) => panic!("{read:?}"),
        () = std::future::ready(()) => {}
    }
    let mut taken = 0;
    loop {
        let ready =
            std::future::poll_fn(|cx| std::task::Poll::Ready(transport.poll_ready_unpin(cx).is_ready()))
                .await;
        if !ready {
            break;
        }
        transport.start_send_unpin(frame("x".repeat(999))).unwrap();
        taken += 1;
        assert!(taken < 100, "nothing holds the writer back");
    }
    let mut received = Vec::new();
    let (closed, _) =
        soon(async { tokio::join!(transport.close(), far_output.read_to_end(&mut received)) }).await;
    closed.unwrap();
    assert_eq!(received.len(), 3 + taken * 1000);
}

#[tokio::test]
async fn a_reader_that_is_gone() {
    let (mut transport, _far_input, far_output) = in_memory(100);
    drop(far_output);
    assert!(matches!(transport.send(frame("{}")).await, Err(TransportError::Io(_))));
}

#[tokio::test]
async fn a_child_echoes_and_ends_with_its_input() {
    let (mut transport, guard) = spawn(Command::new("cat"), 1 << 20).unwrap();
    for number in 0..100 {
        transport.feed(frame(format!("{{\"n\":{number}}}"))).await.unwrap();
    }
    transport.flush().await.unwrap();
    for number in 0..100 {
        let echoed = soon(transport.next()).await.unwrap().unwrap();
        assert_eq!(echoed, line(&format!("{{\"n\":{number}}}")));
    }
    // More than the pipes hold: reading and writing go on together.
    let large = "x".repeat(1 << 20);
    let (mut sink, mut stream) = transport.split();
    let both = async { tokio::join!(sink.send(frame(large.clone())), stream.next()) };
    let (sent, echoed) = soon(both).await;
    sent.unwrap();
    assert!(echoed.unwrap().unwrap() == line(&large));
    let mut transport = sink.reunite(stream).unwrap();
    soon(transport.close()).await.unwrap();
    assert!(soon(transport.next()).await.is_none());
    assert!(soon(guard.shutdown()).await.unwrap().success());
}

#[tokio::test]
async fn children_that_do_not_end_are_ended() {
    let short = Duration::from_millis(50);
    let (transport, guard) = spawn(shell("while :; do sleep 1; done"), 100).unwrap();
    drop(transport);
    let status = soon(guard.with_grace(short).shutdown()).await.unwrap();
    assert_eq!(status.signal(), Some(15));

    let (mut transport, guard) =
        spawn(shell("trap '' TERM; echo ready; while :; do sleep 1; done"), 100).unwrap();
    assert_eq!(soon(transport.next()).await.unwrap().unwrap(), line("ready"));
    drop(transport);
    let status = soon(guard.with_grace(short).shutdown()).await.unwrap();
    assert_eq!(status.signal(), Some(9));
}

#[tokio::test]
async fn a_child_is_not_hurried() {
    let (mut transport, guard) = spawn(shell("read x; cat >/dev/null; sleep 0.2; exit 7"), 100).unwrap();
    transport.send(frame("{}")).await.unwrap();
    transport.close().await.unwrap();
    let started = Instant::now();
    assert_eq!(soon(guard.shutdown()).await.unwrap().code(), Some(7));
    assert!(started.elapsed() < Duration::from_secs(4), "its end is noticed at once");
}

#[tokio::test]
async fn a_dropped_guard_ends_the_child() {
    let (mut transport, guard) = spawn(shell("echo up; while :; do sleep 1; done"), 100).unwrap();
    assert_eq!(soon(transport.next()).await.unwrap().unwrap(), line("up"));
    drop(guard.with_grace(Duration::from_millis(50)));
    // `sleep` may hold the pipe a moment longer.
    assert!(soon(transport.next()).await.is_none());
}

#[tokio::test]
async fn an_unknown_program() {
    let error = spawn(Command::new("/no/such/program"), 100).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    command
}

/// This test binary as a child: it runs the ignored test below, which takes over its standard streams. What reaches
/// its standard error goes to a file.
async fn own_stdio_child(stderr: &Path) -> (ChildTransport, ChildGuard) {
    let mut command = shell("exec \"$0\" --exact own_stdio_child_main --ignored --nocapture 2>\"$STDERR\"");
    command.arg(std::env::current_exe().unwrap());
    command.env("ARCP_TEST_OWN_STDIO", "1").env("STDERR", stderr);
    let (mut transport, guard) = spawn(command, 1 << 20).unwrap();
    // The test harness prints before the test takes over.
    loop {
        match soon(transport.next()).await.unwrap().unwrap() {
            Incoming::Frame(bytes) if bytes.ends_with(b"start") => return (transport, guard),
            _ => {}
        }
    }
}

fn stderr_file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("arcp-{name}-{}", std::process::id()))
}

#[test]
#[ignore = "the child of own_stdio_keeps_the_output_clean"]
fn own_stdio_child_main() {
    if std::env::var_os("ARCP_TEST_OWN_STDIO").is_none() {
        return;
    }
    let mut transport = own_stdio(1 << 20).unwrap();
    assert!(own_stdio(1 << 20).is_err(), "only once");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(transport.send(frame("start"))).unwrap();
    println!("printed");
    print!("printed without an end");
    std::process::Command::new("sh").args(["-c", "echo from a subprocess; cat"]).status().unwrap();
    drop(std::panic::catch_unwind(|| panic!("a panic")));
    runtime.block_on(async {
        while let Some(incoming) = transport.next().await {
            match incoming.unwrap() {
                Incoming::Frame(bytes) if &bytes[..] == b"exit" => {
                    transport.send(frame("bye")).await.unwrap();
                    // Input is still open and its thread blocked in a read.
                    std::process::exit(3);
                }
                Incoming::Frame(bytes) => {
                    let text = String::from_utf8(bytes.to_vec()).unwrap();
                    transport.send(frame(text)).await.unwrap();
                }
                other => transport.send(frame(format!("{other:?}"))).await.unwrap(),
            }
        }
        transport.close().await.unwrap();
    });
    std::process::exit(0);
}

#[tokio::test]
async fn own_stdio_keeps_the_output_clean() {
    let stderr = stderr_file("own-stdio");
    let (mut transport, guard) = own_stdio_child(&stderr).await;
    transport.send(frame("\"\u{2028} \\u0000\"")).await.unwrap();
    assert_eq!(soon(transport.next()).await.unwrap().unwrap(), line("\"\u{2028} \\u0000\""));
    transport.send(frame("x".repeat(1 << 20))).await.unwrap();
    assert_eq!(soon(transport.next()).await.unwrap().unwrap(), line(&"x".repeat(1 << 20)));
    transport.send(frame("x".repeat((1 << 20) + 1))).await.unwrap();
    assert_eq!(soon(transport.next()).await.unwrap().unwrap(), line("Oversized"));
    transport.close().await.unwrap();
    assert!(soon(transport.next()).await.is_none());
    assert!(soon(guard.shutdown()).await.unwrap().success());
    let printed = std::fs::read_to_string(&stderr).unwrap();
    std::fs::remove_file(&stderr).unwrap();
    for text in ["printed\n", "printed without an end", "from a subprocess\n", "a panic\n"] {
        assert!(printed.contains(text), "{text:?} is not in {printed:?}");
    }
}

#[tokio::test]
async fn a_blocked_read_does_not_keep_the_process() {
    let stderr = stderr_file("blocked-read");
    let (mut transport, guard) = own_stdio_child(&stderr).await;
    transport.send(frame("exit")).await.unwrap();
    assert_eq!(soon(transport.next()).await.unwrap().unwrap(), line("bye"));
    assert!(soon(transport.next()).await.is_none());
    // Its input is still open here.
    assert_eq!(soon(guard.shutdown()).await.unwrap().code(), Some(3));
    drop(transport);
    std::fs::remove_file(&stderr).unwrap();
}
