//! What was shown to anybody, and the secrets that must not be in it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::error::Error;
use std::fmt::{Debug, Display, Write as _};
use std::sync::{Arc, Mutex};

use arcp_driver::transport::{Incoming, Outgoing};
use arcp_proto::wire::delivery::Frame;
use arcp_proto::wire::session::{Hello, Welcome};
use arcp_proto::wire::{Envelope, LineSplitter, ScanLimits, scan};
use serde_json::Value;

/// Where a frame's payload says secrets to whom they are meant for; `*` stands for every element. Nowhere else may one be.
const SECRET_PLACES: [(&str, &str); 7] = [
    ("auth/token", "bearer"),
    ("resume/resume_token", "resume token"),
    ("resume/token", "resume token"),
    ("resume_token", "resume token"),
    ("credentials/*/value", "credential"),
    ("body/value", "credential"),
    ("body/details/value", "credential"),
];

/// How much of a secret counts as the secret.
const PIECE: usize = 16;

/// Collects both. Cheap to clone; all clones collect together.
#[derive(Clone, Default)]
pub(crate) struct Overheard {
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    secrets: BTreeMap<&'static str, BTreeSet<String>>,
    shown: BTreeMap<&'static str, HashSet<String>>,
}

impl Overheard {
    /// From here on this is a secret, whatever was shown before included.
    pub(crate) fn secret(&self, kind: &'static str, text: &str) {
        assert!(text.len() >= PIECE, "a secret that short would be found everywhere");
        self.heard.lock().unwrap().secrets.entry(kind).or_default().insert(text.to_owned());
    }

    /// A line of a log.
    pub(crate) fn say(&self, place: &'static str, text: impl Display) {
        self.heard.lock().unwrap().shown.entry(place).or_default().insert(text.to_string());
    }

    /// A value that somebody prints.
    pub(crate) fn show(&self, place: &'static str, value: &impl Debug) {
        self.say(place, format!("{value:?}"));
        self.say(place, format!("{value:#?}"));
    }

    /// An error that somebody reports, with what caused it.
    pub(crate) fn error(&self, place: &'static str, error: &dyn Error) {
        self.say(place, format!("{error} {error:?}"));
        if let Some(source) = error.source() {
            self.error(place, source);
        }
    }

    /// A frame on its way: the secrets in their places are noted, the rest of it is looked at, and so is all that can hold
    /// a frame.
    pub(crate) fn frame(&self, text: &str) {
        let mut frame: Value = serde_json::from_str(text).unwrap();
        for (place, kind) in SECRET_PLACES {
            let path: Vec<&str> = place.split('/').collect();
            take_out(&mut frame["payload"], &path, &mut |secret| self.secret(kind, secret));
        }
        self.say("frames", frame);
        self.show("transports", &Incoming::Frame(text.as_bytes().to_vec().into()));
        self.show("transports", &Outgoing::Frame(text.to_owned()));
        self.show("transports", &Frame::Text(text.to_owned()));
        let mut lines = LineSplitter::new(1 << 20);
        lines.push(text.as_bytes());
        self.show("transports", &lines);
        lines.push(b"\n");
        self.show("transports", &lines);
        self.show("transports", &lines.next_line());
        self.show("messages", &scan(text.as_bytes(), &ScanLimits::RUNTIME));
        let envelope = Envelope::decode(text.as_bytes(), &ScanLimits::RUNTIME).unwrap();
        self.show("messages", &envelope);
        match &*envelope.message_type {
            "session.hello" => self.show("messages", &Hello::read(&envelope.payload, "session.hello")),
            "session.welcome" => self.show("messages", &Welcome::read(&envelope.payload)),
            _ => return,
        }
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            if let Err(error) = Envelope::decode(&text.as_bytes()[..end], &ScanLimits::RUNTIME) {
                self.error("messages", &error);
            }
        }
    }

    /// How many secrets of each kind there were.
    pub(crate) fn secrets(&self) -> BTreeMap<&'static str, usize> {
        self.heard.lock().unwrap().secrets.iter().map(|(kind, secrets)| (*kind, secrets.len())).collect()
    }

    /// Where something was shown.
    pub(crate) fn places(&self) -> Vec<&'static str> {
        self.heard.lock().unwrap().shown.keys().copied().collect()
    }

    /// Which kind of secret was shown where, and the first text it was shown in.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let mut forms_of = HashMap::new();
        for (kind, secrets) in &heard.secrets {
            for form in secrets.iter().flat_map(|secret| forms(secret)) {
                forms_of.insert(form, *kind);
            }
        }
        let mut leaks = BTreeMap::new();
        for (place, texts) in &heard.shown {
            for text in texts {
                for kind in text.as_bytes().windows(PIECE).filter_map(|piece| forms_of.get(piece)) {
                    leaks.entry((kind, place)).or_insert(text);
                }
            }
        }
        leaks.into_iter().map(|((kind, place), text)| format!("{kind} in {place}: {text}")).collect()
    }
}

/// Gives what lies at the end of the path, and leaves nothing there.
fn take_out(value: &mut Value, path: &[&str], found: &mut impl FnMut(&str)) {
    match (path, value) {
        ([], Value::String(secret)) => {
            found(secret);
            secret.clear();
        }
        (["*", rest @ ..], Value::Array(elements)) => {
            elements.iter_mut().for_each(|element| take_out(element, rest, found));
        }
        ([name, rest @ ..], Value::Object(members)) => {
            if let Some(member) = members.get_mut(*name) {
                take_out(member, rest, found);
            }
        }
        _ => {}
    }
}

/// How a secret begins in each of the ways in which it can be seen: any piece of it as it is, or the whole as bytes in
/// hexadecimal, decimal or base64.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let mut hex = String::new();
    for byte in bytes {
        write!(hex, "{byte:02x}").unwrap();
    }
    let decimal = format!("{bytes:?}").trim_start_matches('[').to_owned();
    let coded =
        [hex.to_uppercase(), hex, decimal, base64(bytes)].map(|form| form.into_bytes()[..PIECE].to_vec());
    bytes.windows(PIECE).map(<[u8]>::to_vec).chain(coded).collect()
}

/// Of whole groups of three bytes, with the standard alphabet.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.as_chunks::<3>().0.iter();
    let words = groups.map(|[a, b, c]| u32::from_be_bytes([0, *a, *b, *c]));
    words
        .flat_map(|word| [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(word >> shift) as usize & 63])))
        .collect()
}

#[test]
fn whatever_is_shown_is_found() {
    const SECRET: &str = "canary-of-this-test-0815";
    let leaks = |text: &str| {
        let overheard = Overheard::default();
        overheard.say("a log", text);
        overheard.secret("bearer", SECRET);
        overheard.leaks()
    };
    assert_eq!(leaks("nothing, canary, [99, 97], 63616e617279, Y2FuYXJ5"), [""; 0]);
    assert!(!leaks(&format!("token={SECRET}")).is_empty());
    assert!(!leaks(&format!("cut: {}…", &SECRET[4..20])).is_empty());
    assert!(!leaks(&format!("{:?}", SECRET.as_bytes())).is_empty(), "decimal");
    assert!(!leaks("0x63616e6172792d6f662d7468690a").is_empty(), "hexadecimal");
    assert!(!leaks("Basic Y2FuYXJ5LW9mLXRoaXMtdGVzdC0wODE1").is_empty(), "base64");
    assert!(leaks(&format!("x{SECRET}"))[0].starts_with("bearer in a log: xcanary"));
}

#[test]
fn frames_may_hold_secrets_in_their_places_only() {
    let leaks = |payload: &str| {
        let overheard = Overheard::default();
        overheard.secret("bearer", "canary-of-this-test-0815");
        overheard.frame(&format!(r#"{{"arcp":"1.1","id":"m","type":"session.hello","payload":{payload}}}"#));
        (overheard.leaks().len(), overheard.secrets().into_values().sum::<usize>())
    };
    assert_eq!(leaks(r#"{"auth":{"scheme":"bearer","token":"canary-of-this-test-0815"}}"#), (0, 1));
    assert_eq!(leaks(r#"{"credentials":[{"id":"cred_1","value":"a-credential-of-this-test"}]}"#), (0, 2));
    assert!(leaks(r#"{"client":{"name":"canary-of-this-test-0815"}}"#).0 > 0);
    assert!(
        leaks(r#"{"auth":{"token":"canary-of-this-test-0815"},"token":"canary-of-this-test-0815"}"#).0 > 0
    );
}
