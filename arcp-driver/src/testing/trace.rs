//! What happened: every frame, and everything that was done to the world.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::clock::Time;
use super::render::Scribe;
use crate::queue::lock;

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
    entries: Vec<Entry>,
}

impl Trace {
    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All frames, whatever became of them.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> + Clone {
        self.entries.iter().filter_map(Entry::frame)
    }

    /// The frames of a type that arrived.
    pub fn arrived(&self, kind: &str) -> impl Iterator<Item = &Frame> {
        self.frames().filter(move |frame| frame.kind() == kind && matches!(frame.fate, Fate::Arrived(_)))
    }

    /// Whether some line that is no frame contains these words.
    #[must_use]
    pub fn says(&self, words: &str) -> bool {
        self.entries.iter().filter_map(Entry::note).any(|note| note.contains(words))
    }

    /// The last so many entries.
    #[must_use]
    pub fn tail(&self, entries: usize) -> Self {
        Self { entries: self.entries[self.entries.len().saturating_sub(entries)..].to_vec() }
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
        self.entries.iter().try_for_each(|entry| writeln!(f, "{entry}"))
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

/// Where a world writes its trace.
pub(super) struct Log {
    time: Arc<Time>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    trace: Trace,
    scribe: Scribe,
}

/// A frame whose fate is still to be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    entry: usize,
    /// It has an `event_seq`.
    pub(super) is_event: bool,
}

impl Log {
    pub(super) fn new(time: &Arc<Time>) -> Arc<Self> {
        Arc::new(Self { time: time.clone(), state: Mutex::default() })
    }

    pub(super) fn say(&self, words: impl Into<String>) {
        let at = self.time.elapsed();
        let mut state = lock(&self.state);
        let words = state.scribe.without_secrets(&words.into());
        state.trace.entries.push(Entry { at, what: What::Note(words) });
    }

    pub(super) fn frame(
        &self,
        client: &Arc<str>,
        connection: u32,
        direction: Direction,
        text: &[u8],
    ) -> Ticket {
        let at = self.time.elapsed();
        let mut state = lock(&self.state);
        // Both ends are ours and write nothing else.
        let mut envelope = serde_json::from_slice(text).unwrap_or_default();
        let line = state.scribe.read(&mut envelope);
        let frame =
            Frame { client: client.clone(), connection, direction, fate: Fate::OnItsWay, envelope, line };
        let ticket = Ticket { entry: state.trace.entries.len(), is_event: frame.event_seq().is_some() };
        state.trace.entries.push(Entry { at, what: What::Frame(Box::new(frame)) });
        ticket
    }

    pub(super) fn settle(&self, ticket: Ticket, fate: Fate) {
        let mut state = lock(&self.state);
        if let Some(Entry { what: What::Frame(frame), .. }) = state.trace.entries.get_mut(ticket.entry) {
            frame.fate = fate;
        }
    }

    /// Keeps a secret out of what is written from here on.
    pub(super) fn hide(&self, secret: &str) {
        lock(&self.state).scribe.hide(secret);
    }

    /// What was written so far.
    pub(super) fn trace(&self) -> Trace {
        lock(&self.state).trace.clone()
    }
}
