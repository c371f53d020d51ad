//! Frames that come a byte at a time, over both kinds of byte stream.
#![cfg(feature = "websocket")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arcp_driver::lines::{LinesTransport, RUNTIME_LINE_LIMIT};
use arcp_driver::upgrade::UpgradePolicy;
use arcp_driver::websocket::{self, WebSocketLimits};
use arcp_driver::{Runtime, RuntimeHandle, TransportKind};
use common::World;
use futures_io::{AsyncRead, AsyncWrite};

/// The runtime's end of a byte stream whose other end is the test.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Bytes>>);

#[derive(Default)]
struct Bytes {
    input: VecDeque<u8>,
    reader: Option<Waker>,
    output: Vec<u8>,
    closed: bool,
}

impl Wire {
    fn feed(&self, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap();
        state.input.extend(bytes);
        if let Some(waker) = state.reader.take() {
            waker.wake();
        }
    }

    fn has_said(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().unwrap().output).contains(text)
    }

    fn is_closed(&self) -> bool {
        self.0.lock().unwrap().closed
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock().unwrap();
        if state.input.is_empty() {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = state.input.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(state.input.drain(..taken)) {
            *to = from;
        }
        Poll::Ready(Ok(taken))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().output.extend(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().closed = true;
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Lines,
    WebSocket,
}

impl Kind {
    /// The text as this transport carries it to the runtime.
    fn framed(self, text: &str) -> Vec<u8> {
        match self {
            Self::Lines => format!("{text}\n").into_bytes(),
            Self::WebSocket => {
                let mut bytes = vec![0x81, 0xff];
                bytes.extend((text.len() as u64).to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(text.as_bytes());
                bytes
            }
        }
    }

    async fn serve(self, runtime: RuntimeHandle, wire: Wire) {
        match self {
            Self::Lines => {
                let transport = LinesTransport::new(wire.clone(), wire, RUNTIME_LINE_LIMIT).report_partial();
                runtime.accept(transport, TransportKind::Lines).await;
            }
            Self::WebSocket => {
                let (policy, limits) = (UpgradePolicy::new(7777), WebSocketLimits::runtime());
                let transport =
                    websocket::accept(wire, &policy, &limits, || Box::pin(std::future::ready(())));
                let transport = transport.await.unwrap().report_partial();
                runtime.accept(transport, TransportKind::WebSocket).await;
            }
        }
    }
}

const UPGRADE: &str = "GET /arcp HTTP/1.1\r\nHost: localhost:7777\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Without heartbeats, which would notice the silence as well.
const HELLO: &str = r#"{"arcp":"1.1","id":"m1","type":"session.hello","payload":{"client":{"name":"t","version":"1"},
    "auth":{"scheme":"bearer","token":"token"},"capabilities":{"encodings":["json"],"features":[]}}}"#;

/// What becomes of a session that then sends these pieces, with a second between any two of them.
fn after(kind: Kind, pieces: impl FnOnce(Vec<u8>) -> Vec<Vec<u8>>) -> (Wire, Duration) {
    let world = World::new();
    let runtime = world.runtime(Runtime::builder());
    let wire = Wire::default();
    world.spawn(kind.serve(runtime.clone(), wire.clone()));
    let inner = world.clone();
    let ping = r#"{"arcp":"1.1","id":"m2","type":"session.ping","payload":{"nonce":"slowly"}}"#;
    let pieces = pieces(kind.framed(ping));
    world.run(async move {
        if let Kind::WebSocket = kind {
            wire.feed(UPGRADE.as_bytes());
            inner.settle().await;
        }
        wire.feed(&kind.framed(&HELLO.replace('\n', " ")));
        inner.settle().await;
        assert!(wire.has_said("session.welcome"), "{kind:?}");
        let begin = inner.now().mono;
        for piece in pieces {
            wire.feed(&piece);
            inner.settle().await;
            if wire.is_closed() {
                break;
            }
            inner.sleep(Duration::from_secs(1)).await;
        }
        let taken = inner.now().mono.since(begin);
        drop(runtime);
        (wire, taken)
    })
}

const KINDS: [Kind; 2] = [Kind::Lines, Kind::WebSocket];

#[test]
fn a_byte_a_second_is_no_progress() {
    for kind in KINDS {
        let (wire, taken) = after(kind, |ping| ping.chunks(1).map(<[u8]>::to_vec).collect());
        assert!(wire.is_closed() && wire.has_said(r#""limit":"frame""#), "{kind:?}");
        assert!(taken >= Duration::from_secs(30) && taken < Duration::from_secs(32), "{kind:?}: {taken:?}");
    }
}

#[test]
fn a_frame_that_takes_less_than_its_time_is_taken() {
    for kind in KINDS {
        let in_time = |ping: Vec<u8>| {
            let (slow, rest) = ping.split_at(28);
            let mut pieces: Vec<_> = slow.chunks(1).map(<[u8]>::to_vec).collect();
            pieces.push(rest.to_vec());
            pieces.extend(std::iter::repeat_n(Vec::new(), 60));
            pieces
        };
        let (wire, _) = after(kind, in_time);
        assert!(!wire.is_closed() && wire.has_said("slowly"), "{kind:?}");
    }
}

#[test]
fn many_frames_in_pieces_are_each_in_time() {
    for kind in KINDS {
        let halves = |ping: Vec<u8>| {
            let (begin, end) = ping.split_at(20);
            let end_and_begin = [end, begin].concat();
            let mut pieces = vec![begin.to_vec()];
            pieces.extend(std::iter::repeat_n(end_and_begin, 90));
            pieces
        };
        let (wire, _) = after(kind, halves);
        assert!(!wire.is_closed() && wire.has_said("slowly"), "{kind:?}");
    }
}
