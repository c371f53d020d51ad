//! What happened: every frame, and everything that was done to the world.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::render::Scribe;

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the client to the runtime.
    ToRuntime,
    /// From the runtime to the client.
    ToClient,
}

impl Direction {
    pub(super) const fn opposite(self) -> Self {
        match self {
            Self::ToRuntime => Self::ToClient,
            Self::ToClient => Self::ToRuntime,
        }
    }
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was still on its way when the scenario ended.
    OnItsWay,
    /// It arrived, this long after the beginning of the world.
    Arrived(Duration),
    /// It was lost with its connection.
    Lost,
}

/// One frame, as it was written. Its secrets are not in it: where a token or the value of a credential stood it says
/// `[secret]`, and so does any other place that repeats one of at least eight bytes.
#[derive(Clone)]
pub struct Frame {
    client: Arc<str>,
    connection: u32,
    direction: Direction,
    fate: Fate,
    envelope: Value,
    line: String,
}

impl Frame {
    /// The name of the client at one end.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The number of the client's connection, from 1.
    #[must_use]
    pub const fn connection(&self) -> u32 {
        self.connection
    }

    /// Which way it went.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// What became of it.
    #[must_use]
    pub const fn fate(&self) -> Fate {
        self.fate
    }

    /// Its `type`, such as `job.event`; empty if it has none.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.envelope["type"].as_str().unwrap_or_default()
    }

    /// Its `session_id`.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.envelope["session_id"].as_str()
    }

    /// Its `job_id`.
    #[must_use]
    pub fn job_id(&self) -> Option<&str> {
        self.envelope["job_id"].as_str()
    }

    /// Its `event_seq`.
    #[must_use]
    pub fn event_seq(&self) -> Option<u64> {
        self.envelope["event_seq"].as_u64()
    }

    /// Its payload.
    #[must_use]
    pub fn payload(&self) -> &Value {
        &self.envelope["payload"]
    }
}

/// One line of a [`Trace`].
#[derive(Clone)]
pub struct Entry {
    at: Duration,
    what: What,
}

#[derive(Clone)]
enum What {
    Frame(Box<Frame>),
    Note(String),
}

impl Entry {
    /// How long after the beginning of the world: of a frame, when it was written.
    #[must_use]
    pub const fn at(&self) -> Duration {
        self.at
    }

    /// The frame, if it is one.
    #[must_use]
    pub fn frame(&self) -> Option<&Frame> {
        match &self.what {
            What::Frame(frame) => Some(frame),
            What::Note(_) => None,
        }
    }

    /// The words, if it is no frame: a fault, a connect, a crash, or what [`World::note`](super::World::note) was given.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        match &self.what {
            What::Frame(_) => None,
            What::Note(words) => Some(words),
        }
    }
}

/// Everything that went over links, and everything that was done to the world, in order. The same seed gives the same trace, to
/// the byte.
///
/// `Display` writes a line for each entry: the time in seconds; of a frame the client, its connection, the direction, the type,
/// `#` and the `event_seq`, the session and the payload. Ids are replaced by names in the order in which they appear (`job_1`), and
/// what says nothing about the run (versions, capabilities, timestamps) is left out. [`Frame::payload`] has all of it.
#[derive(Clone, Default)]
pub struct Trace {
    written: Arc<Written>,
    /// Entries before the first that is shown.
    from: usize,
}

/// What was written, read only if somebody asks: most worlds are never looked at.
#[derive(Default)]
struct Written {
    raw: Vec<Raw>,
    /// Secrets beside those that the protocol marks as such.
    secrets: Vec<String>,
    entries: OnceLock<Vec<Entry>>,
}

/// A line before it is read, its secrets still in it.
#[derive(Clone)]
pub(super) enum Raw {
    Frame { at: Duration, client: Arc<str>, connection: u32, direction: Direction, text: Bytes, fate: Fate },
    Note { at: Duration, words: String },
}

impl Trace {
    pub(super) fn new(raw: Vec<Raw>, secrets: Vec<String>) -> Self {
        Self { written: Arc::new(Written { raw, secrets, entries: OnceLock::new() }), from: 0 }
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.written.entries.get_or_init(|| self.written.read())[self.from..]
    }

    /// All frames, whatever became of them.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> + Clone {
        self.entries().iter().filter_map(Entry::frame)
    }

    /// The frames of a type that arrived.
    pub fn arrived(&self, kind: &str) -> impl Iterator<Item = &Frame> {
        self.frames().filter(move |frame| frame.kind() == kind && matches!(frame.fate, Fate::Arrived(_)))
    }

    /// Whether some line that is no frame contains these words.
    #[must_use]
    pub fn says(&self, words: &str) -> bool {
        self.entries().iter().filter_map(Entry::note).any(|note| note.contains(words))
    }

    /// The last so many entries.
    #[must_use]
    pub fn tail(&self, entries: usize) -> Self {
        Self { from: self.written.raw.len().saturating_sub(entries).max(self.from), ..self.clone() }
    }
}

impl Written {
    /// Twice over: what turns out to be a secret late is one from the beginning.
    fn read(&self) -> Vec<Entry> {
        let mut scribe = Scribe::default();
        self.secrets.iter().for_each(|secret| scribe.hide(secret));
        let mut envelopes = Vec::new();
        for raw in &self.raw {
            if let Raw::Frame { text, .. } = raw {
                // Both ends are ours and write nothing else than JSON.
                let mut envelope = serde_json::from_slice(text).unwrap_or_default();
                scribe.take_out(&mut envelope);
                envelopes.push(envelope);
            }
        }
        let mut envelopes = envelopes.into_iter();
        let read = |raw: &Raw| match raw {
            Raw::Note { at, words } => Entry { at: *at, what: What::Note(scribe.without_secrets(words)) },
            Raw::Frame { at, client, connection, direction, text: _, fate } => {
                let mut envelope = envelopes.next().unwrap_or_default();
                let line = scribe.read(&mut envelope);
                let (client, connection) = (client.clone(), *connection);
                let frame = Frame { client, connection, direction: *direction, fate: *fate, envelope, line };
                Entry { at: *at, what: What::Frame(Box::new(frame)) }
            }
        };
        self.raw.iter().map(read).collect()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.6}  ", self.at.as_secs_f64())?;
        match &self.what {
            What::Note(words) => write!(f, "-- {words}"),
            What::Frame(frame) => {
                let arrow = match frame.direction {
                    Direction::ToRuntime => "->",
                    Direction::ToClient => "<-",
                };
                write!(f, "{}#{} {arrow} {}", frame.client, frame.connection, frame.line)?;
                match frame.fate {
                    Fate::Arrived(_) => Ok(()),
                    Fate::OnItsWay => f.write_str(" (on its way)"),
                    Fate::Lost => f.write_str(" (lost)"),
                }
            }
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries().iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

/// As `Display`: a trace is read, not taken apart.
impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The line of the trace.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without the time.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}#{} {})", self.client, self.connection, self.line)
    }
}
