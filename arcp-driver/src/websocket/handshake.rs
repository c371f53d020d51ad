//! Both sides of the opening handshake (RFC 6455 §4), without extensions.

use std::{future::poll_fn, io, pin::Pin};

use futures_io::{AsyncRead, AsyncWrite};
use tungstenite::{
    handshake::{client::generate_key, derive_accept_key},
    protocol::Role,
};

use super::{CloseTimer, WebSocketLimits, WebSocketTransport};
use crate::{
    upgrade::{Accepted, Refused, SUBPROTOCOL, UpgradePolicy, tokens},
    url::{Endpoint, EndpointError},
};

/// The longest request or answer read, in bytes. Pages of the same site may carry cookies of a few KiB.
const MAX_HEAD: usize = 16 * 1024;

/// The most headers a request or answer may have.
const MAX_HEADERS: usize = 100;

/// Why a connection did not become a WebSocket on the runtime's side.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The operating system reported a fault.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer closed before its request was complete.
    #[error("closed before the upgrade request was complete")]
    Closed,
    /// The request was answered with an HTTP error.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Why a client got no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be connected to.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The operating system reported a fault.
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    /// The server answered the upgrade with another HTTP status than 101.
    #[error("the server refused the connection with HTTP status {status}")]
    Refused {
        /// The status.
        status: u16,
    },
    /// The server's answer is not that of a WebSocket server; the text is ours.
    #[error("the server does not answer as a WebSocket server: {0}")]
    Handshake(&'static str),
}

/// Answers an upgrade request on a fresh connection and returns the transport, or answers with an HTTP error.
///
/// The request is read up to 16 KiB. There is no time limit here: whoever calls puts one around it (protocol §9
/// gives 5 s from the accepted connection to the hello).
///
/// # Errors
/// [`AcceptError`]; a refusal was sent to the peer already.
pub async fn accept<S>(
    mut stream: S,
    policy: &UpgradePolicy,
    limits: &WebSocketLimits,
    close_timer: CloseTimer,
) -> Result<WebSocketTransport<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let judged = match read_head(&mut stream).await? {
        Head::Complete { head, rest } if rest.is_empty() => judge(&head, policy),
        Head::Complete { .. } => Err(Refused { status: 400, reason: "nothing may follow the request yet" }),
        Head::TooLong => Err(Refused { status: 431, reason: "the request is longer than 16 KiB" }),
        Head::Ended => return Err(AcceptError::Closed),
    };
    match judged {
        Ok(accepted) => {
            write_all(&mut stream, answer(&accepted).as_bytes()).await?;
            Ok(WebSocketTransport::new(stream, Role::Server, Vec::new(), limits, close_timer))
        }
        Err(refused) => {
            write_all(&mut stream, refusal(&refused).as_bytes()).await?;
            poll_fn(|cx| Pin::new(&mut stream).poll_close(cx)).await?;
            Err(refused.into())
        }
    }
}

/// Asks for an upgrade on a fresh connection to `endpoint` and returns the transport. No subprotocol is offered
/// (D-92). There is no time limit here.
///
/// # Errors
/// [`ConnectError::Io`], [`ConnectError::Refused`] or [`ConnectError::Handshake`].
pub async fn connect<S>(
    mut stream: S,
    endpoint: &Endpoint,
    limits: &WebSocketLimits,
    close_timer: CloseTimer,
) -> Result<WebSocketTransport<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let key = generate_key();
    write_all(&mut stream, request(endpoint, &key).as_bytes()).await?;
    match read_head(&mut stream).await? {
        Head::Complete { head, rest } => {
            check_answer(&head, &key)?;
            Ok(WebSocketTransport::new(stream, Role::Client, rest, limits, close_timer))
        }
        Head::TooLong => Err(ConnectError::Handshake("its answer is longer than 16 KiB")),
        Head::Ended => Err(ConnectError::Handshake("it closed the connection without an answer")),
    }
}

fn judge(head: &[u8], policy: &UpgradePolicy) -> Result<Accepted, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(head);
    let (Ok(httparse::Status::Complete(_)), Some(method), Some(target), Some(version)) =
        (parsed, request.method, request.path, request.version)
    else {
        return Err(Refused { status: 400, reason: "not an HTTP request" });
    };
    if version < 1 {
        return Err(Refused { status: 505, reason: "a WebSocket upgrade needs HTTP/1.1" });
    }
    policy.check(method, target, request.headers.iter().map(|header| (header.name, header.value)))
}

fn answer(accepted: &Accepted) -> String {
    let subprotocol = match accepted.subprotocol {
        true => format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"),
        false => String::new(),
    };
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{subprotocol}\r\n",
        derive_accept_key(accepted.key.as_bytes()),
    )
}

fn refusal(refused: &Refused) -> String {
    let (phrase, extra) = match refused.status {
        403 => ("Forbidden", ""),
        404 => ("Not Found", ""),
        405 => ("Method Not Allowed", "Allow: GET\r\n"),
        421 => ("Misdirected Request", ""),
        426 => ("Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        431 => ("Request Header Fields Too Large", ""),
        505 => ("HTTP Version Not Supported", ""),
        _ => ("Bad Request", ""),
    };
    let Refused { status, reason } = refused;
    format!(
        "HTTP/1.1 {status} {phrase}\r\n{extra}Connection: close\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{reason}\n",
        reason.len() + 1,
    )
}

fn request(endpoint: &Endpoint, key: &str) -> String {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n",
        endpoint.path(),
        endpoint.authority(),
    )
}

fn check_answer(head: &[u8], key: &str) -> Result<(), ConnectError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(head);
    let (Ok(httparse::Status::Complete(_)), Some(status)) = (parsed, response.code) else {
        return Err(ConnectError::Handshake("its answer is not HTTP"));
    };
    if status != 101 {
        return Err(ConnectError::Refused { status });
    }
    let has = |name: &str, token: &[u8]| {
        let named = response.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.flat_map(|header| tokens(header.value)).any(|member| member.eq_ignore_ascii_case(token))
    };
    let named = |name: &str| response.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    let expected = derive_accept_key(key.as_bytes());
    let mut proofs =
        response.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("sec-websocket-accept"));
    if !has("upgrade", b"websocket") || !has("connection", b"upgrade") {
        Err(ConnectError::Handshake("its answer lacks the upgrade"))
    } else if proofs.next().is_none_or(|proof| proof.value != expected.as_bytes()) || proofs.next().is_some()
    {
        Err(ConnectError::Handshake("its answer does not belong to our request"))
    } else if named("sec-websocket-extensions") {
        Err(ConnectError::Handshake("it chose an extension that was not offered"))
    } else if named("sec-websocket-protocol") {
        Err(ConnectError::Handshake("it chose a subprotocol that was not offered"))
    } else {
        Ok(())
    }
}

enum Head {
    /// Everything up to and including the empty line, and what was read after it.
    Complete {
        head: Vec<u8>,
        rest: Vec<u8>,
    },
    TooLong,
    Ended,
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Head> {
    const END: &[u8] = b"\r\n\r\n";
    let mut head = Vec::with_capacity(512);
    let mut chunk = [0; 512];
    loop {
        let read = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut chunk)).await?;
        if read == 0 {
            return Ok(Head::Ended);
        }
        // Only the new bytes are searched, so that a head sent byte by byte costs no more than any other.
        let from = head.len().saturating_sub(END.len() - 1);
        head.extend_from_slice(&chunk[..read]);
        if let Some(at) = head[from..].windows(END.len()).position(|window| window == END) {
            let rest = head.split_off(from + at + END.len());
            return Ok(Head::Complete { head, rest });
        }
        if head.len() > MAX_HEAD {
            return Ok(Head::TooLong);
        }
    }
}

async fn write_all<S: AsyncWrite + Unpin>(stream: &mut S, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, bytes)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await
}
