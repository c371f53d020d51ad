//! Frames on their way to a connection (protocol §1.1, §4.1).

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use crate::id::{JobKey, SessionKey, push_ulid};
use crate::trace::TraceId;
use crate::wire::event::LoggedEvent;
use crate::wire::peer::EndShape;
use crate::wire::render;
use crate::wire::sink::{Sink, digits};

/// What all numbered frames of one job in one session's stream share, rendered once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The frame's beginning, up to the part of the id that depends on the number.
    start: String,
    /// The bits of the session's ULID that share the rest of the id with the number.
    id_bits: u64,
    /// `,"session_id":…,"trace_id":…,"job_id":…,"event_seq":`, beginning with the quote that ends the type.
    middle: String,
    job: JobKey,
    shape: EndShape,
    frame_limit: usize,
}

const BEFORE_ID: &str = "{\"arcp\":\"1.1\",\"id\":\"msg_";
const BEFORE_TYPE: &str = "\",\"type\":\"";
const BEFORE_PAYLOAD: &str = ",\"payload\":";
/// A number fills 53 bits of an id (D-58), and so the last eleven of its characters, two bits of which are left.
const ID_CHARACTERS: usize = 11;
const ID_MASK: u64 = (1 << (5 * ID_CHARACTERS)) - 1;
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl Line {
    /// The line of `job` in the stream of `session`, whose frames take at most `frame_limit` bytes.
    #[must_use]
    pub fn new(
        session: SessionKey,
        trace: TraceId,
        job: JobKey,
        shape: EndShape,
        frame_limit: usize,
    ) -> Self {
        let mut middle = String::with_capacity(160);
        middle.push_str("\",\"session_id\":\"sess_");
        push_ulid(&mut middle, session.ulid());
        middle.push_str("\",\"trace_id\":\"");
        // Hex digits are ASCII, so this cannot fail.
        middle.push_str(core::str::from_utf8(&trace.to_text()).unwrap_or_default());
        middle.push_str("\",\"job_id\":\"job_");
        push_ulid(&mut middle, job.ulid());
        middle.push_str("\",\"event_seq\":");
        let first = session.ulid().numbered(0);
        let mut start = String::with_capacity(BEFORE_ID.len() + 26);
        start.push_str(BEFORE_ID);
        push_ulid(&mut start, first);
        start.truncate(start.len() - ID_CHARACTERS);
        // The mask keeps 55 bits.
        let id_bits = u64::try_from(first.bits() & u128::from(ID_MASK)).unwrap_or(0);
        Self { start, id_bits, middle, job, shape, frame_limit }
    }

    /// The job.
    #[must_use]
    pub const fn job(&self) -> JobKey {
        self.job
    }

    /// Bytes a frame of this line may take.
    #[must_use]
    pub const fn frame_limit(&self) -> usize {
        self.frame_limit
    }

    /// Bytes the frame `seq` with `event` takes if nothing of it is left out. What exceeds the frame limit here
    /// reaches this follower with its large member omitted (D-99).
    #[must_use]
    pub fn whole_len(&self, seq: u64, event: &LoggedEvent) -> usize {
        self.around(seq, event) + render::payload_len(event, self.job, self.shape)
    }

    /// Bytes the frame `seq` with `event` takes.
    #[must_use]
    pub fn encoded_len(&self, seq: u64, event: &LoggedEvent) -> usize {
        let around = self.around(seq, event);
        around
            + render::payload_len_within(event, self.job, self.shape, self.frame_limit.saturating_sub(around))
    }

    /// Appends the frame `seq` with `event`. The id follows from the session and the number (D-58), so the frame is
    /// the same bytes whenever it is sent.
    pub fn encode_into(&self, seq: u64, event: &LoggedEvent, out: &mut String) {
        out.push_str(&self.start);
        self.push_id_end(seq, out);
        out.push_str(BEFORE_TYPE);
        out.push_str(render::message_type(event, self.shape));
        out.push_str(&self.middle);
        out.integer(seq);
        out.push_str(BEFORE_PAYLOAD);
        let limit = self.frame_limit.saturating_sub(self.around(seq, event));
        render::render_within(out, event, self.job, self.shape, limit);
        out.push('}');
    }

    /// Appends the last eleven characters of `session.ulid().numbered(seq)`.
    fn push_id_end(&self, seq: u64, out: &mut String) {
        let mut rest = (self.id_bits | seq) & ID_MASK;
        let mut text = [b'0'; ID_CHARACTERS];
        for character in text.iter_mut().rev() {
            *character = CROCKFORD[(rest & 31) as usize];
            rest >>= 5;
        }
        // The alphabet is ASCII, so this cannot fail.
        out.push_str(core::str::from_utf8(&text).unwrap_or_default());
    }

    /// Bytes of the frame that are not payload.
    fn around(&self, seq: u64, event: &LoggedEvent) -> usize {
        self.start.len()
            + ID_CHARACTERS
            + BEFORE_TYPE.len()
            + render::message_type(event, self.shape).len()
            + self.middle.len()
            + digits(seq)
            + BEFORE_PAYLOAD.len()
            + 1
    }
}

/// A frame that waits to be written, encoded as late as possible. Its `Debug` shows no text, which may hold a token.
#[derive(Clone, PartialEq)]
pub enum Frame {
    /// A complete frame.
    Text(String),
    /// A numbered frame of a job.
    Numbered {
        /// What it shares with the job's other frames in this stream.
        line: Arc<Line>,
        /// Its number in the stream, 1 to 2⁵³−1.
        seq: u64,
        /// What it carries.
        event: Arc<LoggedEvent>,
    },
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Numbered { line, seq, event } => f
                .debug_struct("Numbered")
                .field("line", line)
                .field("seq", seq)
                .field("event", event)
                .finish(),
        }
    }
}

impl Frame {
    /// The frame's text.
    #[must_use]
    pub fn encode(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Numbered { .. } => {
                let mut text = String::with_capacity(self.room());
                self.encode_into(&mut text);
                text
            }
        }
    }

    /// Enough for the frame's text, found without counting it where that can be.
    fn room(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Numbered { line, event, .. } => match render::rough_len(event) {
                usize::MAX => self.encoded_len(),
                payload => line.middle.len() + payload + 128,
            },
        }
    }

    /// Appends the frame's text.
    pub fn encode_into(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Numbered { line, seq, event } => line.encode_into(*seq, event, out),
        }
    }

    /// Bytes of the frame's text, exactly.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Numbered { line, seq, event } => line.encoded_len(*seq, event),
        }
    }
}

#[cfg(test)]
mod tests;
