//! Child runtimes over pipes.

use std::{future::Future, os::unix::process::ExitStatusExt, process::Command, time::Duration};

use arcp_async_std::stdio::spawn;
use arcp_driver::transport::{Incoming, Outgoing};
use async_std::task::block_on;
use futures_util::{SinkExt, StreamExt, future::join};

fn run<F: Future>(future: F) -> F::Output {
    block_on(async_std::future::timeout(Duration::from_secs(20), future)).expect("took too long")
}

fn frame(text: &str) -> Outgoing {
    Outgoing::Frame(text.to_owned())
}

fn line(text: &str) -> Incoming {
    Incoming::Frame(text.as_bytes().to_vec().into())
}

#[test]
fn a_child_echoes_and_ends_with_its_input() {
    run(async {
        let (transport, guard) = spawn(&mut Command::new("cat"), 1 << 20).unwrap();
        let (mut sink, mut stream) = transport.split();
        let large = "x".repeat(1 << 20);
        let write = async {
            for number in 0..100 {
                sink.feed(frame(&number.to_string())).await.unwrap();
            }
            sink.feed(frame(&large)).await.unwrap();
            sink.feed(frame(&format!("{large}x"))).await.unwrap();
            sink.close().await.unwrap();
        };
        let read = async {
            for number in 0..100 {
                assert_eq!(stream.next().await.unwrap().unwrap(), line(&number.to_string()));
            }
            assert!(stream.next().await.unwrap().unwrap() == line(&large));
            assert_eq!(stream.next().await.unwrap().unwrap(), Incoming::Oversized);
            assert!(stream.next().await.is_none());
        };
        join(write, read).await;
        assert!(guard.shutdown().await.unwrap().success());
    });
}

#[test]
fn a_child_that_does_not_end_is_ended() {
    run(async {
        let mut command = Command::new("sh");
        command.args(["-c", "echo up; while :; do sleep 1; done"]);
        let (mut transport, guard) = spawn(&mut command, 100).unwrap();
        assert_eq!(transport.next().await.unwrap().unwrap(), line("up"));
        drop(transport);
        let status = guard.with_grace(Duration::from_millis(50)).shutdown().await.unwrap();
        assert_eq!(status.signal(), Some(15));
    });
}
