//! The WebSocket transport over real sockets, against peers that are not ours.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake},
    time::Duration,
};

use arcp_driver::listen::ListenOptions;
use arcp_driver::{
    transport::{Incoming, Outgoing, TransportError},
    upgrade::UpgradePolicy,
    url::EndpointError,
};
use arcp_proto::CloseCode;
use arcp_tokio::websocket::{
    AcceptError, ConnectError, ConnectOptions, WebSocketLimits, WebSocketTransport, accept, connect,
};
use futures_util::{Sink, SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_tungstenite::tungstenite::Message;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("took too long")
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn listening(limits: WebSocketLimits) -> ListenOptions {
    let mut options = ListenOptions::default();
    options.limits = limits;
    options
}

async fn accept_one(
    listener: &TcpListener,
    limits: WebSocketLimits,
) -> Result<WebSocketTransport, AcceptError> {
    let port = listener.local_addr().unwrap().port();
    let (stream, _) = listener.accept().await.unwrap();
    accept(stream, &UpgradePolicy::new(port), &listening(limits)).await
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

/// A peer that writes bytes.
struct Raw(TcpStream);

impl Raw {
    /// A frame of a client; its mask is all zeros.
    async fn send(&mut self, first: u8, payload: &[u8]) {
        let bytes = client_frame(first, payload);
        self.0.write_all(&bytes).await.unwrap();
    }

    async fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).await.unwrap();
        assert_eq!(head[1] & 0x80, 0, "a server must not mask");
        let length = match head[1] {
            126 => usize::from(self.0.read_u16().await.unwrap()),
            127 => usize::try_from(self.0.read_u64().await.unwrap()).unwrap(),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.unwrap();
        (head[0], payload)
    }

    /// The close code that comes next, after which nothing may come.
    async fn receive_close(&mut self) -> u16 {
        let (first, payload) = self.receive().await;
        assert_eq!(first, CLOSE);
        u16::from_be_bytes(payload[..2].try_into().unwrap())
    }

    async fn ends(&mut self) {
        assert_eq!(self.0.read(&mut [0; 16]).await.unwrap_or(0), 0, "expected the end of the stream");
    }
}

fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ ..=125 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        medium @ ..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend(u64::try_from(long).unwrap().to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn upgrade_request(port: u16) -> String {
    format!(
        "GET /arcp HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Our server's transport and the raw client at its other end.
async fn raw_client(limits: WebSocketLimits) -> (WebSocketTransport, Raw) {
    let (listener, port) = listen().await;
    let client = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(upgrade_request(port).as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        Raw(stream)
    };
    let (server, client) = soon(async { tokio::join!(accept_one(&listener, limits), client) }).await;
    (server.unwrap(), client)
}

/// Limits with one bound from the first message on.
fn limits(message: usize) -> WebSocketLimits {
    WebSocketLimits { message, first_message: message, ..WebSocketLimits::runtime() }
}

#[tokio::test]
async fn http_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/hostile.jsonl");
    let lines = std::fs::read_to_string(path).unwrap();
    let vectors = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut seen = 0;
    for vector in vectors.filter(|vector| vector["at"] == "http") {
        seen += 1;
        let name = vector["name"].as_str().unwrap();
        let expect = vector["expect"].as_str().unwrap();
        let (listener, port) = listen().await;
        // The vectors speak of port 7777, whatever the one of this test is.
        let policy = UpgradePolicy::new(7777);
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            accept(stream, &policy, &ListenOptions::default()).await
        };
        let client = async {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(vector["input"].as_str().unwrap().as_bytes()).await.unwrap();
            let head = read_head(&mut stream).await;
            (head, stream)
        };
        let (accepted, (head, mut stream)) = soon(async { tokio::join!(server, client) }).await;
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        if expect.starts_with("accept") {
            assert_eq!(status, 101, "{name}");
            let mut server = accepted.unwrap();
            server.send(frame("{}")).await.unwrap();
            assert_eq!(soon(Raw(stream).receive()).await, (TEXT, b"{}".to_vec()), "{name}");
        } else {
            match expect.strip_prefix("reject with ") {
                Some(code) => assert_eq!(status.to_string(), code, "{name}"),
                None => assert!(matches!(status, 405 | 426), "{name}: {status}"),
            }
            let mut body = String::new();
            soon(stream.read_to_string(&mut body)).await.unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{name}");
            assert!(
                matches!(accepted, Err(AcceptError::Refused(refused)) if refused.status == status),
                "{name}"
            );
        }
        let lower = head.to_ascii_lowercase();
        let confirms = expect.contains("Sec-WebSocket-Protocol: arcp.v1");
        assert_eq!(lower.contains("sec-websocket-protocol: arcp.v1\r\n"), confirms, "{name}");
        assert_eq!(lower.contains("sec-websocket-protocol"), confirms, "{name}");
        assert!(!lower.contains("sec-websocket-extensions"), "{name}");
    }
    assert_eq!(seen, 18);
}

#[tokio::test]
async fn requests_that_are_no_request() {
    let too_long = format!("GET /arcp HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(17 * 1024));
    let many = format!("GET /arcp HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101));
    let early = format!("{}\u{81}", upgrade_request(7777));
    let table = [
        ("hello\r\n\r\n", 400),
        ("GET /arcp HTTP/1.0\r\nHost: localhost:7777\r\n\r\n", 505),
        ("GET /arcp HTTP/2.0\r\n\r\n", 400),
        ("GET /arcp HTTP/1.1\r\nHost : localhost:7777\r\n\r\n", 400),
        (&too_long, 431),
        (&many, 400),
        (&early, 400),
    ];
    for (request, expected) in table {
        let (listener, port) = listen().await;
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            accept(stream, &UpgradePolicy::new(7777), &ListenOptions::default()).await
        };
        let client = async {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            read_head(&mut stream).await
        };
        let (accepted, head) = soon(async { tokio::join!(server, client) }).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {expected} ")), "{request:.40} {head}");
        assert!(matches!(accepted, Err(AcceptError::Refused(refused)) if refused.status == expected));
    }
}

#[tokio::test]
async fn a_request_may_come_in_bytes_and_may_not_come_at_all() {
    let (listener, port) = listen().await;
    let client = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in upgrade_request(port).bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        read_head(&mut stream).await
    };
    let (server, head) =
        soon(async { tokio::join!(accept_one(&listener, WebSocketLimits::runtime()), client) }).await;
    server.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "));

    let silent = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"GET /arcp HTTP/1.1\r\n").await.unwrap();
    };
    let (server, ()) =
        soon(async { tokio::join!(accept_one(&listener, WebSocketLimits::runtime()), silent) }).await;
    assert!(matches!(server, Err(AcceptError::Closed)));
}

#[tokio::test]
async fn our_client_and_our_server() {
    let (listener, port) = listen().await;
    let url = format!("ws://localhost:{port}");
    let options = ConnectOptions::default();
    let (server, client) = soon(async {
        tokio::join!(accept_one(&listener, WebSocketLimits::runtime()), connect(&url, &options))
    })
    .await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    let echo = async {
        while let Some(incoming) = server.next().await {
            server.send(frame(text(Some(incoming)))).await.unwrap();
        }
        server.close().await.unwrap();
    };
    let talk = async {
        for number in 0..1000 {
            client.feed(frame(format!("{{\"n\":{number}}}"))).await.unwrap();
        }
        client.flush().await.unwrap();
        for number in 0..1000 {
            assert_eq!(text(client.next().await), format!("{{\"n\":{number}}}"));
        }
        // The largest in both directions; 64 KiB was the bound only before the first answer.
        let large = "x".repeat(1 << 20);
        client.send(frame(large.clone())).await.unwrap();
        assert!(text(client.next().await) == large);
        client.close().await.unwrap();
        assert!(client.next().await.is_none());
    };
    soon(async { tokio::join!(echo, talk) }).await;
}

#[tokio::test]
async fn probes_between_our_own() {
    let (listener, port) = listen().await;
    let url = format!("ws://127.0.0.1:{port}/arcp");
    let options = ConnectOptions::default();
    let (server, client) = soon(async {
        tokio::join!(accept_one(&listener, WebSocketLimits::runtime()), connect(&url, &options))
    })
    .await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    server.send(Outgoing::Probe).await.unwrap();
    // Polling for the next frame is what answers.
    let proof = soon(async {
        tokio::select! {
            proof = server.next() => proof,
            frame = client.next() => panic!("{frame:?}"),
        }
    });
    assert_eq!(proof.await.unwrap().unwrap(), Incoming::Proof);
}

#[tokio::test]
async fn other_client() {
    let (listener, port) = listen().await;
    let url = format!("ws://localhost:{port}/arcp");
    let client = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tokio_tungstenite::client_async(url, stream).await.unwrap().0
    };
    let (server, mut client) =
        soon(async { tokio::join!(accept_one(&listener, WebSocketLimits::runtime()), client) }).await;
    let mut server = server.unwrap();
    client.send(Message::text("hello")).await.unwrap();
    assert_eq!(text(soon(server.next()).await), "hello");
    server.send(frame("welcome")).await.unwrap();
    assert_eq!(soon(client.next()).await.unwrap().unwrap(), Message::text("welcome"));
    server.send(Outgoing::Close(CloseCode::GoingAway)).await.unwrap();
    let peer = async {
        let close = client.next().await.unwrap().unwrap();
        assert!(matches!(&close, Message::Close(Some(frame)) if u16::from(frame.code) == 1001), "{close:?}");
        assert!(client.next().await.is_none(), "the close was orderly");
    };
    soon(async { tokio::join!(server.close(), peer) }).await.0.unwrap();
}

#[tokio::test]
async fn other_server() {
    let (listener, port) = listen().await;
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut server = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(message) = server.next().await {
            let message = message.unwrap();
            if message.is_close() {
                break;
            }
            server.send(message).await.unwrap();
        }
        assert!(server.next().await.is_none());
    };
    let client = async {
        let mut client =
            connect(&format!("ws://127.0.0.1:{port}/any?q"), &ConnectOptions::default()).await.unwrap();
        for number in 0..100 {
            client.send(frame(number.to_string())).await.unwrap();
            assert_eq!(text(client.next().await), number.to_string());
        }
        client.close().await.unwrap();
    };
    soon(async { tokio::join!(server, client) }).await;
}

#[tokio::test]
async fn connecting_to_what_must_not_be_connected_to() {
    let options = ConnectOptions::default();
    let run = async |url: &str| soon(connect(url, &options)).await.unwrap_err();
    assert!(matches!(
        run("ws://192.0.2.1").await,
        ConnectError::Endpoint(EndpointError::PlaintextBeyondLoopback)
    ));
    assert!(matches!(
        run("ws://a.example").await,
        ConnectError::Endpoint(EndpointError::PlaintextBeyondLoopback)
    ));
    assert!(matches!(run("localhost:7777").await, ConnectError::Endpoint(EndpointError::Scheme)));
    let (listener, port) = listen().await;
    drop(listener);
    assert!(matches!(run(&format!("ws://127.0.0.1:{port}")).await, ConnectError::Io(_)));
}

#[tokio::test]
async fn answers_that_are_no_answer() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let wrong = format!("{head}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    let none = format!("{head}\r\n");
    let endless = "x".repeat(20 * 1024);
    for answer in [&wrong, &none, "HTTP/1.1 101 x\r\n\r\n", "SSH-2.0\r\n\r\n", "", &endless] {
        let (result, _) = connect_to(answer.as_bytes()).await;
        assert!(matches!(result, Err(ConnectError::Handshake(_))), "{answer:.40} {result:?}");
    }
    let (result, _) = connect_to(b"HTTP/1.1 421 Misdirected Request\r\n\r\n").await;
    assert!(matches!(result, Err(ConnectError::Refused { status: 421 })));
}

/// Connects to a server that answers with these bytes and closes its side; also returns the request.
async fn connect_to(answer: &[u8]) -> (Result<WebSocketTransport, ConnectError>, String) {
    let (listener, port) = listen().await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_head(&mut stream).await;
        // The client may be gone before all of it is written.
        drop(stream.write_all(answer).await);
        drop(stream.shutdown().await);
        request
    };
    let url = format!("ws://127.0.0.1:{port}");
    let options = ConnectOptions::default();
    soon(async { tokio::join!(connect(&url, &options), server) }).await
}

#[tokio::test]
async fn the_request_of_our_client() {
    let (_, request) = connect_to(b"").await;
    assert!(request.starts_with("GET /arcp HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    let lower = request.to_ascii_lowercase();
    for absent in ["sec-websocket-protocol", "sec-websocket-extensions", "origin", "authorization"] {
        assert!(!lower.contains(absent), "{request}");
    }
}

#[tokio::test]
async fn nothing_is_written_before_the_flush() {
    let (mut server, mut raw) = raw_client(WebSocketLimits::runtime()).await;
    server.feed(frame("one")).await.unwrap();
    server.feed(frame("two")).await.unwrap();
    // On loopback what is written can be read at once.
    let early = raw.0.try_read(&mut [0; 16]);
    assert!(matches!(&early, Err(error) if error.kind() == io::ErrorKind::WouldBlock), "{early:?}");
    server.flush().await.unwrap();
    assert_eq!(soon(raw.receive()).await, (TEXT, b"one".to_vec()));
    assert_eq!(soon(raw.receive()).await, (TEXT, b"two".to_vec()));
}

/// Sends bytes and expects the transport to end with this close code.
async fn faulty(limits: WebSocketLimits, bytes: &[u8], code: u16) -> TransportError {
    let (mut server, mut raw) = raw_client(limits).await;
    raw.send(TEXT, b"good").await;
    raw.0.write_all(bytes).await.unwrap();
    let peer_left = Cell::new(false);
    let serve = async {
        assert_eq!(text(server.next().await), "good");
        let error = server.next().await.unwrap().unwrap_err();
        assert!(server.next().await.is_none(), "nothing after an error");
        assert!(matches!(server.send(frame("late")).await, Err(TransportError::Closed)));
        server.close().await.unwrap();
        assert!(peer_left.get(), "closed over bytes that the peer still sends, which resets the connection");
        error
    };
    let peer = async {
        assert_eq!(raw.receive_close().await, code);
        raw.ends().await;
        peer_left.set(true);
        drop(raw);
    };
    soon(async { tokio::join!(serve, peer) }).await.0
}

#[tokio::test]
async fn breaches_close_with_their_code() {
    let usual = WebSocketLimits::runtime();
    let huge_length = [&[TEXT, 0xff][..], &(1u64 << 63).to_be_bytes(), &[0; 4]].concat();
    let big_ping = client_frame(PING, &[b'x'; 126]);
    let table: &[(&str, &[u8], u16)] = &[
        ("binary", &client_frame(0x82, b"{}"), 1003),
        ("not UTF-8", &client_frame(TEXT, b"{\xff}"), 1007),
        ("half a character", &client_frame(TEXT, b"\xe2\x82"), 1007),
        ("a surrogate", &client_frame(TEXT, b"\xed\xa0\x80"), 1007),
        ("RSV1", &client_frame(TEXT | 0x40, b"{}"), 1002),
        ("RSV2", &client_frame(TEXT | 0x20, b"{}"), 1002),
        ("unmasked", &[TEXT, 2, b'{', b'}'], 1002),
        ("reserved opcode", &client_frame(0x83, b"{}"), 1002),
        ("continuation of nothing", &client_frame(0x80, b"{}"), 1002),
        ("text inside a text", &[client_frame(0x01, b"{"), client_frame(TEXT, b"}")].concat(), 1002),
        ("fragmented ping", &client_frame(0x09, b""), 1002),
        ("long ping", &big_ping, 1002),
        ("a length of 2^63", &huge_length, 1009),
    ];
    for (name, bytes, code) in table {
        let error = faulty(usual, bytes, *code).await;
        match code {
            1009 => assert!(matches!(error, TransportError::TooLarge { limit: 65_536 }), "{name}: {error}"),
            _ => assert!(matches!(error, TransportError::Protocol(_)), "{name}: {error}"),
        }
    }
}

#[tokio::test]
async fn messages_over_the_limit() {
    let too_large = |error| assert!(matches!(error, TransportError::TooLarge { limit: 1000 }), "{error:?}");
    too_large(faulty(limits(1000), &client_frame(TEXT, &[b'x'; 1001]), 1009).await);
    // Far more than any socket buffer holds: the close frame arrives although not all of it is taken.
    too_large(faulty(limits(1000), &client_frame(TEXT, &vec![b'x'; 1 << 20]), 1009).await);
    let in_parts = [client_frame(0x01, &[b'x'; 500]), client_frame(0x80, &[b'x'; 501])].concat();
    too_large(faulty(limits(1000), &in_parts, 1009).await);

    let (mut server, mut raw) = raw_client(limits(1000)).await;
    raw.send(TEXT, &[b'x'; 1000]).await;
    assert_eq!(text(soon(server.next()).await).len(), 1000);
}

#[tokio::test]
async fn the_first_message_has_a_limit_of_its_own() {
    let first = WebSocketLimits { message: 1000, first_message: 10, ..WebSocketLimits::runtime() };
    let error = faulty(first, &client_frame(TEXT, &[b'x'; 11]), 1009).await;
    assert!(matches!(error, TransportError::TooLarge { limit: 10 }));
    let (mut server, mut raw) = raw_client(first).await;
    server.send(frame("welcome")).await.unwrap();
    raw.send(TEXT, &[b'x'; 1000]).await;
    assert_eq!(text(soon(server.next()).await).len(), 1000);
}

#[tokio::test]
async fn fragments_up_to_the_limit() {
    let message = |parts: usize, payload: &[u8]| -> Vec<u8> {
        (0..parts)
            .flat_map(|part| {
                let opcode = u8::from(part == 0);
                let fin = if part + 1 == parts { 0x80 } else { 0 };
                client_frame(fin | opcode, payload)
            })
            .collect()
    };
    let (mut server, mut raw) = raw_client(WebSocketLimits::runtime()).await;
    raw.0.write_all(&message(1024, b"x")).await.unwrap();
    assert_eq!(text(soon(server.next()).await), "x".repeat(1024));
    raw.0.write_all(&message(1024, b"")).await.unwrap();
    assert_eq!(text(soon(server.next()).await), "");
    let error = faulty(WebSocketLimits::runtime(), &message(1025, b"x"), 1009).await;
    assert!(matches!(error, TransportError::Protocol(_)));
    // No end in sight and no payload either.
    let endless = [client_frame(0x01, b""), client_frame(0x00, b"").repeat(5000)].concat();
    faulty(WebSocketLimits::runtime(), &endless, 1009).await;
}

#[tokio::test]
async fn pings_are_answered_and_probes_proven() {
    let (mut server, mut raw) = raw_client(WebSocketLimits::runtime()).await;
    raw.send(PING, b"are you there").await;
    raw.send(TEXT, b"1").await;
    assert_eq!(text(soon(server.next()).await), "1");
    assert_eq!(soon(raw.receive()).await, (PONG, b"are you there".to_vec()));

    // A pong nobody asked for.
    raw.send(PONG, b"").await;
    server.send(Outgoing::Probe).await.unwrap();
    let (first, lost) = soon(raw.receive()).await;
    assert_eq!((first, lost.len()), (PING, 8));
    server.send(Outgoing::Probe).await.unwrap();
    let (_, last) = soon(raw.receive()).await;
    assert_ne!(lost, last);
    raw.send(PONG, &lost).await;
    raw.send(PONG, &last[..7]).await;
    raw.send(TEXT, b"2").await;
    raw.send(PONG, &last).await;
    raw.send(PONG, &last).await;
    raw.send(TEXT, b"3").await;
    assert_eq!(text(soon(server.next()).await), "2");
    assert_eq!(soon(server.next()).await.unwrap().unwrap(), Incoming::Proof);
    assert_eq!(text(soon(server.next()).await), "3");
}

#[tokio::test]
async fn closing_ends_what_is_buffered_and_waits_for_the_peer() {
    let (mut server, mut raw) = raw_client(WebSocketLimits::runtime()).await;
    server.feed(frame("last")).await.unwrap();
    server.feed(Outgoing::Close(CloseCode::Policy)).await.unwrap();
    // What the peer had on the way does not disturb.
    raw.send(TEXT, b"crossing").await;
    let answered = Cell::new(false);
    let close = async {
        server.close().await.unwrap();
        assert!(answered.get(), "the peer's answer was not waited for");
    };
    let peer = async {
        assert_eq!(raw.receive().await, (TEXT, b"last".to_vec()));
        assert_eq!(raw.receive_close().await, 1008);
        // Lets the other half of the join do all that it wants to.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        answered.set(true);
        raw.send(CLOSE, &1008u16.to_be_bytes()).await;
        raw.ends().await;
    };
    let started = std::time::Instant::now();
    soon(async { tokio::join!(close, peer) }).await;
    assert!(started.elapsed() < Duration::from_millis(900), "the answer ends the wait");
    assert!(server.next().await.is_none());
    server.close().await.unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_answer_the_close_is_not_waited_for() {
    let (mut server, mut raw) = raw_client(WebSocketLimits::runtime()).await;
    soon(server.close()).await.unwrap();
    assert_eq!(soon(raw.receive_close()).await, 1000);
    soon(raw.ends()).await;
}

#[tokio::test]
async fn the_peer_closes() {
    let (mut server, mut raw) = raw_client(WebSocketLimits::runtime()).await;
    raw.send(TEXT, b"last").await;
    raw.send(CLOSE, &1000u16.to_be_bytes()).await;
    assert_eq!(text(soon(server.next()).await), "last");
    assert!(soon(server.next()).await.is_none());
    assert!(soon(server.next()).await.is_none());
    assert_eq!(soon(raw.receive_close()).await, 1000);
    assert!(matches!(server.send(frame("late")).await, Err(TransportError::Closed)));
    soon(server.close()).await.unwrap();
    soon(raw.ends()).await;
}

#[tokio::test]
async fn the_peer_vanishes() {
    let (mut server, mut raw) = raw_client(WebSocketLimits::runtime()).await;
    raw.send(TEXT, b"last").await;
    raw.0.write_all(&[TEXT, 0x80 | 5, 0]).await.unwrap();
    drop(raw);
    assert_eq!(text(soon(server.next()).await), "last");
    assert!(matches!(soon(server.next()).await, Some(Err(TransportError::Io(_)))));
    assert!(soon(server.next()).await.is_none());
    soon(server.close()).await.unwrap_or_default();
}

/// The same with socket buffers of fixed size, which the system otherwise grows as it likes.
async fn raw_client_with_small_buffers() -> (WebSocketTransport, Raw) {
    let (listening, connecting) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
    listening.set_send_buffer_size(16 << 10).unwrap();
    connecting.set_recv_buffer_size(16 << 10).unwrap();
    listening.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = listening.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let client = async {
        let mut stream = connecting.connect(address).await.unwrap();
        stream.write_all(upgrade_request(address.port()).as_bytes()).await.unwrap();
        read_head(&mut stream).await;
        Raw(stream)
    };
    let server = accept_one(&listener, WebSocketLimits::runtime());
    let (server, client) = soon(async { tokio::join!(server, client) }).await;
    (server.unwrap(), client)
}

/// Feeds frames until the sink is not ready, and says how many it took.
async fn fill(server: &mut WebSocketTransport, payload: usize) -> usize {
    let mut taken = 0;
    loop {
        let ready = poll_fn(|cx| Poll::Ready(Pin::new(&mut *server).poll_ready(cx))).await;
        match ready {
            Poll::Ready(result) => result.unwrap(),
            Poll::Pending => return taken,
        }
        let text = format!("{taken:0payload$}");
        Pin::new(&mut *server).start_send(frame(text)).unwrap();
        taken += 1;
        assert!(taken * payload < 256 << 10, "nothing holds the writer back");
    }
}

#[tokio::test]
async fn a_slow_reader_holds_the_writer_back() {
    let (mut server, mut raw) = raw_client_with_small_buffers().await;
    let taken = fill(&mut server, 1000).await;
    // Still not ready when asked again, so nothing more is buffered.
    assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut server).poll_ready(cx))).await.is_pending());
    let peer = async {
        for number in 0..taken {
            assert_eq!(raw.receive().await, (TEXT, format!("{number:01000}").into_bytes()));
        }
        raw.receive().await
    };
    let (sent, last) = soon(async { tokio::join!(server.send(frame("ready again")), peer) }).await;
    sent.unwrap();
    assert_eq!(last, (TEXT, b"ready again".to_vec()));
}

/// Pings until more pongs wait than the bound on what is unsent, 1 MiB, has room for.
async fn flood_with_pings(server: &mut WebSocketTransport, raw: &mut Raw) {
    let pings = client_frame(PING, &[b'p'; 125]).repeat(1000);
    let last_gaps = client_frame(PING, b"").repeat(1000);
    for batch in [&pings; 11].into_iter().chain([&last_gaps]) {
        let flood = async {
            raw.0.write_all(batch).await.unwrap();
            raw.send(TEXT, b"done").await;
        };
        let (_, next) = soon(async { tokio::join!(flood, server.next()) }).await;
        assert_eq!(text(next), "done");
    }
}

#[tokio::test]
async fn a_frame_that_finds_the_buffer_full_of_pongs_waits() {
    let (mut server, mut raw) = raw_client_with_small_buffers().await;
    fill(&mut server, 1000).await;
    flood_with_pings(&mut server, &mut raw).await;
    // `start_send` without readiness: the readiness seen before the pongs came would be no better.
    Pin::new(&mut server).start_send(frame("kept")).unwrap();
    let peer = async {
        let mut pongs = 0;
        loop {
            match raw.receive().await {
                (TEXT, payload) if payload == b"kept" => break pongs,
                (PONG, _) => pongs += 1,
                _ => {}
            }
        }
    };
    let (flushed, pongs) = soon(async { tokio::join!(server.flush(), peer) }).await;
    flushed.unwrap();
    // The bound and what the sockets hold; the rest of the 12 000 was superseded.
    let most = ((1 << 20) + (256 << 10)) / 127;
    assert!((1000..most).contains(&pongs), "{pongs} pongs were buffered");
}

#[tokio::test]
async fn a_close_that_finds_the_buffer_full_of_pongs_is_sent() {
    let (mut server, mut raw) = raw_client_with_small_buffers().await;
    fill(&mut server, 1000).await;
    flood_with_pings(&mut server, &mut raw).await;
    Pin::new(&mut server).start_send(Outgoing::Close(CloseCode::GoingAway)).unwrap();
    let peer = async {
        loop {
            let (first, payload) = raw.receive().await;
            if first == CLOSE {
                raw.send(CLOSE, &payload).await;
                break payload;
            }
        }
    };
    let (closed, code) = soon(async { tokio::join!(server.close(), peer) }).await;
    closed.unwrap();
    assert_eq!(code, 1001u16.to_be_bytes());
}

#[tokio::test]
async fn a_frame_larger_than_the_write_bound_goes_through() {
    let (mut server, mut raw) = raw_client(WebSocketLimits::runtime()).await;
    let large = "x".repeat(3 << 20);
    let (sent, received) =
        soon(async { tokio::join!(server.send(frame(large.clone())), raw.receive()) }).await;
    sent.unwrap();
    assert!(received == (TEXT, large.into_bytes()));
}

/// Notes that it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_flood_of_pongs_does_not_hold_the_task() {
    let (mut server, mut raw) = raw_client(WebSocketLimits::runtime()).await;
    // All of it fits the read buffer, so that only the transport itself can pause.
    raw.0.write_all(&client_frame(PONG, b"").repeat(500)).await.unwrap();
    raw.send(TEXT, b"after").await;
    let flag = Arc::new(Flag::default());
    let waker = flag.clone().into();
    let mut turns = 0;
    let incoming = soon(async {
        loop {
            flag.0.store(false, Ordering::SeqCst);
            let polled = server.poll_next_unpin(&mut Context::from_waker(&waker));
            // Woken during the poll: there is more, but others come first.
            turns += u32::from(polled.is_pending() && flag.0.load(Ordering::SeqCst));
            match polled {
                Poll::Ready(incoming) => break incoming,
                Poll::Pending => tokio::task::yield_now().await,
            }
        }
    });
    assert_eq!(text(incoming.await), "after");
    assert!(turns > 10, "{turns} turns");
}
