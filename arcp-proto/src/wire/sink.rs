//! Where JSON text goes while it is rendered: into a buffer, or into a count of its bytes.
//!
//! Lengths are asked for before anything is encoded. Both answers come from the same code, so they cannot differ.

use alloc::string::String;

use crate::id::{Ulid, push_ulid};
use crate::time::UnixTime;
use crate::wire::RawJson;
use crate::wire::text;
use crate::wire::write::push_u64;

/// Takes JSON text piece by piece.
pub(super) trait Sink {
    /// Text that stands in JSON as it is.
    fn raw(&mut self, text: &str);
    /// The inside of a string literal.
    fn escaped(&mut self, text: &str);
    /// An integer.
    fn integer(&mut self, value: u64);
    /// A value.
    fn json(&mut self, value: &RawJson);
    /// The 26 characters of a ULID.
    fn ulid(&mut self, ulid: Ulid);
    /// The 24 characters of a timestamp.
    fn time(&mut self, time: UnixTime);
}

impl Sink for String {
    #[inline]
    fn raw(&mut self, text: &str) {
        self.push_str(text);
    }

    #[inline]
    fn escaped(&mut self, text: &str) {
        text::push_escaped(self, text);
    }

    #[inline]
    fn integer(&mut self, value: u64) {
        push_u64(self, value);
    }

    #[inline]
    fn json(&mut self, value: &RawJson) {
        self.push_str(value.as_str());
    }

    #[inline]
    fn ulid(&mut self, ulid: Ulid) {
        push_ulid(self, ulid);
    }

    #[inline]
    fn time(&mut self, time: UnixTime) {
        // Digits and punctuation are ASCII, so this cannot fail.
        self.push_str(core::str::from_utf8(&time.to_rfc3339()).unwrap_or_default());
    }
}

/// Counts the bytes.
#[derive(Default)]
pub(super) struct Count(pub(super) usize);

impl Sink for Count {
    #[inline]
    fn raw(&mut self, text: &str) {
        self.0 += text.len();
    }

    #[inline]
    fn escaped(&mut self, text: &str) {
        self.0 += escaped_len(text);
    }

    #[inline]
    fn integer(&mut self, value: u64) {
        self.0 += digits(value);
    }

    #[inline]
    fn json(&mut self, value: &RawJson) {
        self.0 += value.len();
    }

    #[inline]
    fn ulid(&mut self, _: Ulid) {
        self.0 += 26;
    }

    #[inline]
    fn time(&mut self, _: UnixTime) {
        self.0 += 24;
    }
}

/// How many digits `value` has.
#[inline]
pub(super) fn digits(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Bytes that `byte`, which ends a plain run, takes when escaped.
pub(super) const fn escape_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | 0x08 | 0x0c | b'\n' | b'\r' | b'\t' => 2,
        _ => 6,
    }
}

/// Bytes the inside of a string literal takes.
pub(super) fn escaped_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut length = bytes.len();
    let mut position = text::plain_end(bytes, 0);
    while let Some(&byte) = bytes.get(position) {
        length += escape_len(byte) - 1;
        position = text::plain_end(bytes, position + 1);
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_and_writing_agree() {
        fn fill(sink: &mut impl Sink) {
            sink.raw("{}");
            sink.escaped("\"\\\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}é😀 plain and a long enough run");
            for value in [0, 9, 10, 99, 100, 9_007_199_254_740_991, u64::MAX] {
                sink.integer(value);
            }
            sink.ulid(Ulid::from_bits(u128::MAX));
            sink.time(UnixTime::MAX);
        }
        let (mut text, mut count) = (String::new(), Count::default());
        fill(&mut text);
        fill(&mut count);
        assert_eq!(text.len(), count.0);
    }
}
