//! The WebSocket transport over async-std sockets. The engine itself is tested in depth with tokio's.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use arcp_async_std::websocket::{
    AcceptError, ConnectError, ConnectOptions, WebSocketTransport, accept, connect,
};
use arcp_driver::listen::ListenOptions;
use arcp_driver::{
    transport::{Incoming, Outgoing, TransportError},
    upgrade::UpgradePolicy,
    url::EndpointError,
};
use arcp_proto::CloseCode;
use async_std::{
    io::{ReadExt, WriteExt},
    net::{TcpListener, TcpStream},
    task::block_on,
};
use futures_util::{Sink, SinkExt, StreamExt, future::join};

fn run<F: Future>(future: F) -> F::Output {
    block_on(async_std::future::timeout(Duration::from_secs(20), future)).expect("took too long")
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn accept_one(listener: &TcpListener, port: u16) -> Result<WebSocketTransport, AcceptError> {
    let (stream, _) = listener.accept().await.unwrap();
    accept(stream, &UpgradePolicy::new(port), &ListenOptions::default()).await
}

/// Our server and our client.
async fn pair() -> (WebSocketTransport, WebSocketTransport) {
    let (listener, port) = listen().await;
    let url = format!("ws://localhost:{port}");
    let options = ConnectOptions::default();
    let (server, client) = join(accept_one(&listener, port), connect(&url, &options)).await;
    (server.unwrap(), client.unwrap())
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn frame(text: impl Into<String>) -> Outgoing {
    Outgoing::Frame(text.into())
}

fn text(incoming: Option<Result<Incoming, TransportError>>) -> String {
    match incoming {
        Some(Ok(Incoming::Frame(bytes))) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("expected a frame, got {other:?}"),
    }
}

#[test]
fn http_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/hostile.jsonl");
    let lines = std::fs::read_to_string(path).unwrap();
    let vectors = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut seen = 0;
    for vector in vectors.filter(|vector| vector["at"] == "http") {
        seen += 1;
        let name = vector["name"].as_str().unwrap();
        let expect = vector["expect"].as_str().unwrap();
        let (accepted, head) = run(async {
            let (listener, port) = listen().await;
            let client = async {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                stream.write_all(vector["input"].as_str().unwrap().as_bytes()).await.unwrap();
                read_head(&mut stream).await
            };
            join(accept_one(&listener, 7777), client).await
        });
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        match (expect.starts_with("accept"), expect.strip_prefix("reject with ")) {
            (true, _) => assert_eq!((status, accepted.is_ok()), (101, true), "{name}"),
            (false, Some(code)) => assert_eq!(status.to_string(), code, "{name}"),
            (false, None) => assert!(matches!(status, 405 | 426), "{name}: {status}"),
        }
        let confirms = expect.contains("Sec-WebSocket-Protocol: arcp.v1");
        assert_eq!(head.contains("Sec-WebSocket-Protocol: arcp.v1\r\n"), confirms, "{name}");
        assert!(!head.to_ascii_lowercase().contains("sec-websocket-extensions"), "{name}");
    }
    assert_eq!(seen, 18);
}

#[test]
fn frames_go_both_ways_in_order() {
    run(async {
        let (mut server, mut client) = pair().await;
        let echo = async {
            while let Some(incoming) = server.next().await {
                server.send(frame(text(Some(incoming)))).await.unwrap();
            }
            server.close().await.unwrap();
        };
        let talk = async {
            for number in 0..1000 {
                client.feed(frame(number.to_string())).await.unwrap();
            }
            client.flush().await.unwrap();
            for number in 0..1000 {
                assert_eq!(text(client.next().await), number.to_string());
            }
            let large = "x".repeat(1 << 20);
            client.send(frame(large.clone())).await.unwrap();
            assert!(text(client.next().await) == large);
            client.close().await.unwrap();
            assert!(client.next().await.is_none());
        };
        join(echo, talk).await;
    });
}

#[test]
fn a_probe_is_proven() {
    run(async {
        let (mut server, mut client) = pair().await;
        server.send(Outgoing::Probe).await.unwrap();
        let answer = async { assert!(client.next().await.is_none()) };
        let proof = async {
            assert_eq!(server.next().await.unwrap().unwrap(), Incoming::Proof);
            server.send(Outgoing::Close(CloseCode::GoingAway)).await.unwrap();
            server.close().await.unwrap();
        };
        join(proof, answer).await;
    });
}

#[test]
fn a_message_over_the_limit_closes_with_1009() {
    run(async {
        let (listener, port) = listen().await;
        let client = async {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let request = format!(
                "GET /arcp HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            read_head(&mut stream).await;
            let length = u64::from(u32::MAX).to_be_bytes();
            stream.write_all(&[&[0x81, 0xff][..], &length, &[0; 4], &[b'x'; 10_000]].concat()).await.unwrap();
            let mut close = Vec::new();
            stream.read_to_end(&mut close).await.unwrap();
            assert_eq!(close, [0x88, 2, 0x03, 0xf1]);
        };
        let server = async {
            let mut server = accept_one(&listener, port).await.unwrap();
            let error = server.next().await.unwrap().unwrap_err();
            assert!(matches!(error, TransportError::TooLarge { limit: 65_536 }), "{error}");
            assert!(server.next().await.is_none());
            server.close().await.unwrap();
        };
        join(server, client).await;
    });
}

#[test]
fn a_slow_reader_holds_the_writer_back() {
    run(async {
        let (mut server, mut client) = pair().await;
        let mut taken = 0;
        while let Poll::Ready(ready) = poll_fn(|cx| Poll::Ready(Pin::new(&mut server).poll_ready(cx))).await {
            ready.unwrap();
            Pin::new(&mut server).start_send(frame(format!("{taken:01000}"))).unwrap();
            taken += 1;
            assert!(taken < 100_000, "nothing holds the writer back");
        }
        let read = async {
            for number in 0..taken {
                assert_eq!(text(client.next().await), format!("{number:01000}"));
            }
        };
        join(async { server.flush().await.unwrap() }, read).await;
    });
}

#[test]
fn connecting_to_what_must_not_be_connected_to() {
    let refused = |url: &str| run(connect(url, &ConnectOptions::default())).unwrap_err();
    assert!(matches!(
        refused("ws://192.0.2.1"),
        ConnectError::Endpoint(EndpointError::PlaintextBeyondLoopback)
    ));
}
