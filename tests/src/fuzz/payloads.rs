//! The payload of every type.

use arcp_proto::wire::body::EventBody;
use arcp_proto::wire::event::EventPayload;
use arcp_proto::wire::job::{Accepted, Cancel, Cancelled, Ended, Submit, Subscribe, Subscribed, Unsubscribe};
use arcp_proto::wire::session::{Ack, Auth, ErrorPayload, Goodbye, Hello, Ping, Pong, Welcome};
use arcp_proto::wire::{Fields, ScanLimits, object_text, scan};

/// The types of the messages, by which the first byte of an input chooses.
pub(super) const TYPES: [&str; 20] = [
    "session.hello",
    "session.resume",
    "session.welcome",
    "session.error",
    "session.ping",
    "session.pong",
    "session.ack",
    "session.close",
    "session.closed",
    "session.bye",
    "job.submit",
    "job.accepted",
    "job.cancel",
    "job.cancelled",
    "job.subscribe",
    "job.subscribed",
    "job.unsubscribe",
    "job.event",
    "job.result",
    "job.error",
];

/// What [`Goodbye`] and cancels say where no reason was given.
const NO_REASON: &str = "unspecified";

/// Reads a payload of the type that the first byte names. Whatever can be read is the same after it was written and
/// read again, but for what is never left open: a reason, and an error's words and flag (WIR-4).
pub fn payloads(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let kind = TYPES[usize::from(*kind) % TYPES.len()];
    let Ok(scanned) = scan(text, &ScanLimits::CLIENT) else { return };
    let Some(fields) = &scanned.members else { return };
    macro_rules! identity {
        ($read:expr, $write:path, $known:expr) => {{
            let read = $read;
            let Ok(first) = read(fields) else { return };
            let written = object_text(|out| $write(&first, out));
            let scanned = scan(written.as_bytes(), &ScanLimits::CLIENT);
            let scanned = scanned.unwrap_or_else(|error| panic!("{error}: {written}"));
            let again = scanned.members.expect("an object is written");
            let second = read(&again).unwrap_or_else(|fault| panic!("{fault}: {written}"));
            // Secrets are not shown, so they are compared as they are written.
            assert_eq!(object_text(|out| $write(&second, out)), written);
            assert_eq!(format!("{second:?}"), format!("{:?}", $known(first)), "{written}");
        }};
    }
    match kind {
        "session.hello" | "session.resume" => {
            identity!(|fields: &Fields<'_>| Hello::read(fields, kind), Hello::write, hello);
        }
        "session.welcome" => identity!(Welcome::read, Welcome::write, same),
        "session.error" => identity!(ErrorPayload::read, ErrorPayload::write, error),
        "session.ping" => identity!(Ping::read, Ping::write, same),
        "session.pong" => identity!(Pong::read, Pong::write, same),
        "session.ack" => identity!(Ack::read, Ack::write, same),
        "session.close" | "session.closed" | "session.bye" => {
            identity!(Goodbye::read, Goodbye::write, |said: Goodbye| Goodbye { reason: reason(said.reason) });
        }
        "job.submit" => identity!(Submit::read, Submit::write, same),
        "job.accepted" => identity!(Accepted::read, Accepted::write, same),
        "job.cancel" => {
            identity!(Cancel::read, Cancel::write, |said: Cancel| Cancel {
                reason: reason(said.reason),
                ..said
            });
        }
        "job.cancelled" => identity!(Cancelled::read, Cancelled::write, |said: Cancelled| Cancelled {
            reason: reason(said.reason),
            ..said
        }),
        "job.subscribe" => identity!(Subscribe::read, Subscribe::write, same),
        "job.subscribed" => identity!(Subscribed::read, Subscribed::write, same),
        "job.unsubscribe" => identity!(Unsubscribe::read, Unsubscribe::write, same),
        "job.event" => {
            if let Ok(event) = EventPayload::read(fields) {
                let _ = EventBody::read(&event.kind, &event.body);
            }
            identity!(EventPayload::read, EventPayload::write, same);
        }
        _ => identity!(|fields: &Fields<'_>| Ended::read(fields, kind), Ended::write, ended),
    }
}

fn same<T>(payload: T) -> T {
    payload
}

fn reason(reason: Option<String>) -> Option<String> {
    reason.or_else(|| Some(NO_REASON.to_owned()))
}

/// Credentials that cannot be used are not sent, and then there are none.
fn hello(hello: Hello) -> Hello {
    match hello.auth {
        Auth::Unusable(_) => {
            Hello { auth: Auth::Unusable("`auth` is required and must be an object with a `token`"), ..hello }
        }
        _ => hello,
    }
}

fn error(error: ErrorPayload) -> ErrorPayload {
    let retryable = Some(error.is_retryable());
    // The words are cut for display; a code that stands for them is cut with them.
    let message = if error.message.is_empty() { &error.code } else { &error.message };
    let message = arcp_proto::wire::truncated(message, 1_024).to_owned();
    ErrorPayload { message, retryable, ..error }
}

/// The end of a job answers no request.
fn ended(ended: Ended) -> Ended {
    let known = |end: ErrorPayload| error(ErrorPayload { request_id: None, reply_to: None, ..end });
    Ended { error: ended.error.map(known), ..ended }
}
