//! The wire: how bytes become messages and messages become bytes (protocol §1, §10.2).
//!
//! Reading happens in two stages. [`Envelope::decode`] runs one pass over the raw text ([`scan()`]) that
//! proves it to be JSON within the limits and notes where the members of the envelope and of its payload lie;
//! nothing is decoded before that pass has succeeded. What a payload means depends on the envelope's `type`, so its
//! members are then read one by one, by name, through [`Fields`], straight from the text. Numbers are never
//! turned into binary floats on the way, and opaque values stay the text they were ([`RawJson`]).
//!
//! Writing is the same in reverse: [`ObjectWriter`] appends a payload to a `String`, and [`encode_into`]
//! puts the envelope's head before it. [`LineSplitter`] cuts a byte stream into frames.

pub(crate) mod base64;
pub mod body;
pub mod credential;
pub mod delivery;
pub mod emission;
mod ended;
pub mod error;
pub mod event;
mod frame;
mod hello;
pub mod job;
mod lexical;
mod lines;
pub mod list;
mod malformed;
mod members;
pub mod number;
pub mod peer;
mod raw;
mod read;
mod render;
mod scan;
pub mod session;
mod sink;
mod skim;
#[cfg(test)]
pub(crate) mod testing;
mod text;
#[cfg(test)]
mod vectors;
mod write;

pub use frame::{DecodeError, DecodeReason, Envelope, EventSeq, Head, MAX_EVENT_SEQ, encode, encode_into};
pub use lines::{Line, LineSplitter};
pub use malformed::{Excerpt, Malformed};
pub use raw::RawJson;
pub use read::{
    FieldError, Fields, Lexeme, MAX_ID_BYTES, boolean_of, elements_of, i64_of, is_id, lexeme_of, string_of,
    u64_of,
};
pub use scan::{ScanLimits, Scanned, check_value, scan};
pub use skim::Elements;
pub use text::truncated;
pub use write::{ArrayWriter, ObjectWriter, object_text, push_i64, push_object, push_string, push_u64};
