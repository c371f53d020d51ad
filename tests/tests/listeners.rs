//! What a listener lets in before anybody has said who they are.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use arcp_driver::Runtime;
use arcp_driver::gate::Gate;
use arcp_driver::listen::ListenOptions;
use arcp_tests::over_both_drivers;
use arcp_tests::stack::{PATIENCE, Stack};

async fn serve<S: Stack>(change: impl FnOnce(&mut ListenOptions)) -> (S::Serving, SocketAddr) {
    let runtime = Runtime::builder().bearer("token", "alice").build().unwrap();
    let mut options = ListenOptions::default();
    change(&mut options);
    S::serve_with(runtime, SocketAddr::from(([127, 0, 0, 1], 0)), options).await.unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Asks for a WebSocket; whether there is one, or the connection was cut.
fn upgrade(mut stream: &TcpStream, address: SocketAddr) -> bool {
    let request = format!(
        "GET /arcp HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    let mut answer = [0; 12];
    let answered = stream.write_all(request.as_bytes()).and_then(|()| stream.read_exact(&mut answer));
    assert!(answered.is_err() || &answer == b"HTTP/1.1 101", "{:?}", String::from_utf8_lossy(&answer));
    answered.is_ok()
}

/// Asks until somebody is let in.
fn upgrade_soon(address: SocketAddr) {
    let begin = Instant::now();
    while !upgrade(&connect(address), address) {
        assert!(begin.elapsed() < PATIENCE, "nobody is let in");
    }
}

async fn whoever_finds_the_gate_full_is_cut_off<S: Stack>() {
    let (serving, address) = serve::<S>(|options| options.gate = Gate::new(10, 2)).await;
    let (first, second) = (connect(address), connect(address));
    let third = connect(address);
    assert!(!upgrade(&third, address), "the newest");
    assert!(upgrade(&first, address) && upgrade(&second, address), "the others are served");
    assert!(!upgrade(&connect(address), address), "a WebSocket alone opens no gate");
    drop(first);
    // When the listener notices is its own business.
    upgrade_soon(address);
    S::shut_down(serving).await;
}

async fn whoever_asks_for_nothing_is_cut_off<S: Stack>() {
    let (serving, address) = serve::<S>(|options| options.upgrade_timeout = Duration::from_millis(300)).await;
    let mut silent = connect(address);
    silent.write_all(b"GET /arcp").unwrap();
    match silent.read(&mut [0; 1]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{other:?}"),
    }
    upgrade_soon(address);
    S::shut_down(serving).await;
}

over_both_drivers!(whoever_finds_the_gate_full_is_cut_off, whoever_asks_for_nothing_is_cut_off);
