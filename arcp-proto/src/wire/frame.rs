//! The envelope: reading and writing what every message has (protocol §1.1).

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use super::malformed::Malformed;
use super::read::{self, FieldError, Fields, MAX_ID_BYTES};
use super::scan::{Captured, ScanLimits, decoded, scan_into, scan_payload_into};
use super::text;
use super::write::push_u64;

/// Largest `event_seq`, 2^53 − 1: what every peer's numbers hold exactly.
pub const MAX_EVENT_SEQ: u64 = (1 << 53) - 1;

/// A message, its payload not interpreted yet. Borrows from the frame's text. Its `Debug` shows the names of the
/// payload's members and not their values, which may be tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `id`: 1..=128 bytes without control characters.
    pub id: Cow<'a, str>,
    /// `type`: 1..=128 bytes without control characters.
    pub message_type: Cow<'a, str>,
    /// `session_id`: 1..=128 bytes without control characters.
    pub session_id: Option<Cow<'a, str>>,
    /// `trace_id` as it stands, of any length; advisory, so anything but a string is absent.
    pub trace_id: Option<Cow<'a, str>>,
    /// `job_id`: 1..=128 bytes without control characters.
    pub job_id: Option<Cow<'a, str>>,
    /// `event_seq`.
    pub event_seq: EventSeq,
    /// The members of `payload`; none if it is absent or `null`.
    pub payload: Fields<'a>,
    /// `payload` as JSON text; `{}` if it is absent or `null`.
    pub payload_raw: &'a str,
    /// Whether `extensions.optional` is `true`: a reader that does not know the type may ignore the message.
    pub optional: bool,
    /// Whether there is a `timestamp`, which some peers put into every envelope and others into none (protocol §12.1).
    pub has_timestamp: bool,
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("id", &self.id)
            .field("message_type", &self.message_type)
            .field("session_id", &self.session_id)
            .field("job_id", &self.job_id)
            .field("event_seq", &self.event_seq)
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

/// What stands in `event_seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventSeq {
    /// Nothing, or `null`.
    Absent,
    /// A number of 1..=2^53 − 1.
    Number(u64),
    /// Anything else. Whether that matters is for the receiver to say.
    Unusable,
}

/// A frame that is no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DecodeError<'a> {
    /// The envelope's `id`, if one could be read: an answer names it as `request_id`. Of a frame that is not valid as
    /// a whole, the `id` that stood before the fault.
    pub id: Option<Cow<'a, str>>,
    /// The envelope's `session_id`, likewise.
    pub session_id: Option<Cow<'a, str>>,
    /// What is wrong.
    #[source]
    pub reason: DecodeReason,
}

/// Why a frame is no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeReason {
    /// It is not JSON within the limits.
    #[error("the frame is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// A member of the envelope is not what it must be.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl<'a> Envelope<'a> {
    /// Reads one frame.
    ///
    /// # Errors
    /// The frame is not a JSON object within `limits`, or a member of the envelope is missing or not what it must be.
    pub fn decode(frame: &'a [u8], limits: &ScanLimits) -> Result<Self, DecodeError<'a>> {
        let text = decoded(frame, limits).map_err(|malformed| DecodeError {
            id: None,
            session_id: None,
            reason: malformed.into(),
        })?;
        match Self::decode_own_order(text, limits) {
            Some(envelope) => Ok(envelope),
            None => Self::decode_any_order(text, limits),
        }
    }

    fn decode_any_order(text: &'a str, limits: &ScanLimits) -> Result<Self, DecodeError<'a>> {
        let mut captured = Captured::of(text);
        let scanned = scan_into(text, limits, &mut captured);
        let Captured { is_object, members, payload_is_object, payload } = captured;
        let id = members.required_id("id");
        let session_id = members.id("session_id");
        let read = || {
            scanned?;
            if !is_object {
                return Err(DecodeReason::Malformed(Malformed::NotAnObject));
            }
            let allowed = "\"1\", \"1.0\" or \"1.1\"";
            match members.advisory_string("arcp").as_deref() {
                Some("1" | "1.0" | "1.1") => {}
                None if members.present("arcp").is_none() => {
                    return Err(FieldError::missing("arcp", allowed).into());
                }
                _ => return Err(FieldError::wrong("arcp", allowed).into()),
            }
            let payload_raw = match members.present("payload") {
                None => "{}",
                Some(raw) if payload_is_object => raw,
                Some(_) => return Err(FieldError::wrong("payload", "an object").into()),
            };
            Ok(Self {
                id: id.clone()?,
                message_type: members.required_id("type")?,
                session_id: session_id.clone()?,
                trace_id: members.advisory_string("trace_id"),
                job_id: members.id("job_id")?,
                event_seq: EventSeq::of(members.present("event_seq")),
                payload,
                payload_raw,
                optional: members
                    .advisory_object("extensions")
                    .is_some_and(|extensions| extensions.opaque("optional") == Some("true")),
                has_timestamp: members.present("timestamp").is_some(),
            })
        };
        read().map_err(|reason| DecodeError { id: id.ok(), session_id: session_id.ok().flatten(), reason })
    }

    /// Reads a frame written exactly as [`encode_into`] writes it, whose head then needs no general scan. `None` for
    /// every other frame, valid or not: reading it in general gives the verdict.
    fn decode_own_order(text: &'a str, limits: &ScanLimits) -> Option<Self> {
        if limits.depth < 1
            || limits.members < OWN_MEMBERS
            || limits.name_bytes < LONGEST_OWN_NAME
            || limits.number_bytes < EVENT_SEQ_DIGITS
        {
            return None;
        }
        let mut head = HeadReader { text, position: 0, tokens: 1 };
        if !head.literal("{\"arcp\":\"1.1\",\"id\":\"") {
            return None;
        }
        head.tokens += 2;
        let id = head.id()?;
        if !head.literal(",\"type\":\"") {
            return None;
        }
        let message_type = head.id()?;
        let session_id = if head.literal(",\"session_id\":\"") { Some(head.id()?) } else { None };
        let trace_id =
            if head.literal(",\"trace_id\":\"") { Some(head.string(text::plain_end)?) } else { None };
        let job_id = if head.literal(",\"job_id\":\"") { Some(head.id()?) } else { None };
        let event_seq = if head.literal(",\"event_seq\":") {
            EventSeq::Number(head.event_seq()?)
        } else {
            EventSeq::Absent
        };
        if !head.literal(",\"payload\":") || !head.rest().starts_with('{') {
            return None;
        }
        let mut captured = Captured::of(text);
        let start = head.position;
        let end = scan_payload_into(text, start, head.tokens + 1, limits, &mut captured).ok()?;
        if text.get(end..) != Some("}") {
            return None;
        }
        Some(Self {
            id: Cow::Borrowed(id),
            message_type: Cow::Borrowed(message_type),
            session_id: session_id.map(Cow::Borrowed),
            trace_id: trace_id.map(Cow::Borrowed),
            job_id: job_id.map(Cow::Borrowed),
            event_seq,
            payload: captured.payload,
            payload_raw: text.get(start..end)?,
            optional: false,
            has_timestamp: false,
        })
    }
}

impl EventSeq {
    fn of(raw: Option<&str>) -> Self {
        match raw {
            None => Self::Absent,
            Some(raw) => match read::u64_of(raw) {
                Some(number @ 1..=MAX_EVENT_SEQ) => Self::Number(number),
                _ => Self::Unusable,
            },
        }
    }
}

/// Members of an envelope as we write it, names of at most this length, `event_seq` of at most this many digits.
const OWN_MEMBERS: usize = 8;
const LONGEST_OWN_NAME: usize = "session_id".len();
const EVENT_SEQ_DIGITS: usize = 16;

/// Walks over a head in our own order.
struct HeadReader<'a> {
    text: &'a str,
    position: usize,
    /// Tokens passed, as a general scan would count them.
    tokens: usize,
}

impl<'a> HeadReader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    #[inline(always)]
    fn literal(&mut self, literal: &str) -> bool {
        let rest = self.text.as_bytes().get(self.position..).unwrap_or_default();
        let found = rest.starts_with(literal.as_bytes());
        if found {
            self.position += literal.len();
        }
        found
    }

    /// The rest of a string without escapes, and its closing quote.
    #[inline]
    fn string(&mut self, end_of: impl FnOnce(&[u8], usize) -> usize) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let end = end_of(bytes, self.position);
        if bytes.get(end) != Some(&b'"') {
            return None;
        }
        let string = self.text.get(self.position..end)?;
        self.position = end + 1;
        self.tokens += 2;
        Some(string)
    }

    #[inline]
    fn id(&mut self) -> Option<&'a str> {
        self.string(text::identifier_end).filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()))
    }

    fn event_seq(&mut self) -> Option<u64> {
        let rest = self.rest();
        let digits = rest.bytes().take(EVENT_SEQ_DIGITS + 1).take_while(u8::is_ascii_digit).count();
        let number = rest.get(..digits).filter(|_| digits <= EVENT_SEQ_DIGITS).and_then(read::u64_of)?;
        self.position += digits;
        self.tokens += 2;
        (1..=MAX_EVENT_SEQ).contains(&number).then_some(number)
    }
}

/// What is written before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// `id`.
    pub id: &'a str,
    /// `type`.
    pub message_type: &'a str,
    /// `session_id`, which every frame we send has.
    pub session_id: &'a str,
    /// `trace_id`.
    pub trace_id: Option<&'a str>,
    /// `job_id`.
    pub job_id: Option<&'a str>,
    /// `event_seq`, on numbered frames.
    pub event_seq: Option<u64>,
}

/// A whole frame; see [`encode_into`].
#[must_use]
pub fn encode(head: &Head<'_>, payload: &str) -> String {
    let mut frame = String::new();
    encode_into(&mut frame, head, payload);
    frame
}

/// Appends a frame to `out`. `payload` must be the JSON text of an object.
pub fn encode_into(out: &mut String, head: &Head<'_>, payload: &str) {
    // The names and punctuation of a complete head take 113 bytes, a number up to 20; escapes may take more.
    let optional = |value: Option<&str>| value.map_or(0, str::len);
    out.reserve(
        136 + head.id.len()
            + head.message_type.len()
            + head.session_id.len()
            + optional(head.trace_id)
            + optional(head.job_id)
            + payload.len(),
    );
    out.push_str("{\"arcp\":\"1.1\",\"id\":\"");
    text::push_escaped(out, head.id);
    out.push_str("\",\"type\":\"");
    text::push_escaped(out, head.message_type);
    out.push_str("\",\"session_id\":\"");
    text::push_escaped(out, head.session_id);
    if let Some(trace_id) = head.trace_id {
        out.push_str("\",\"trace_id\":\"");
        text::push_escaped(out, trace_id);
    }
    if let Some(job_id) = head.job_id {
        out.push_str("\",\"job_id\":\"");
        text::push_escaped(out, job_id);
    }
    out.push('"');
    if let Some(event_seq) = head.event_seq {
        out.push_str(",\"event_seq\":");
        push_u64(out, event_seq);
    }
    out.push_str(",\"payload\":");
    out.push_str(payload);
    out.push('}');
}

#[cfg(test)]
mod tests;
