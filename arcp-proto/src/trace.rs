//! Trace ids (protocol §7).

use alloc::format;
use alloc::string::String;
use core::fmt;

use crate::entropy::Entropy;

/// The W3C trace id of a job: 16 bytes, not all zero. `Display` writes 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// The trace id with these bytes; `None` if all are zero.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads 32 hex digits of either case, or takes the trace id out of a `traceparent`
    /// (`version-traceid-parentid-flags`, D-1). `None` for anything else, which then counts as absent (D-61).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() == 32 {
            return Self::from_bytes(hex(text)?);
        }
        let mut fields = text.split('-');
        let version = hex::<1>(fields.next()?)?;
        let trace: [u8; 16] = hex(fields.next()?)?;
        let parent: [u8; 8] = hex(fields.next()?)?;
        hex::<1>(fields.next()?)?;
        // Version 00 ends after the flags; later versions may append fields.
        let well_formed =
            version != [0xff] && parent != [0; 8] && (version != [0] || fields.next().is_none());
        if well_formed { Self::from_bytes(trace) } else { None }
    }

    /// A fresh random trace id.
    #[must_use]
    pub fn mint(entropy: &mut dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill_public(&mut bytes);
        if bytes == [0; 16] {
            bytes[15] = 1;
        }
        Self(bytes)
    }

    /// The `traceparent` to give a tool or another system: this trace, with `span` as the parent there (protocol §7). A
    /// span of 0 means none in that format, and is written as 1.
    #[must_use]
    pub fn traceparent(self, span: u64) -> String {
        format!("00-{self}-{:016x}-01", span.max(1))
    }

    /// The 32 characters `Display` writes.
    #[must_use]
    pub fn to_text(self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        let (pairs, _) = text.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        text
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = [0; N];
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hex digits are ASCII, so this cannot fail.
        f.write_str(core::str::from_utf8(&self.to_text()).unwrap_or_default())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    const ID: &str = "7c9f1e2a5b3d4806a1f2c3d4e5f60718";

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill_public(&mut self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }

        fn fill_secret(&mut self, _: &mut [u8]) {
            unreachable!("trace ids are public")
        }
    }

    #[test]
    fn a_later_traceparent_version_may_be_longer() {
        let parse = |text: &str| TraceId::parse(text).map(|id| id.to_string());
        assert_eq!(parse("01-7c9f1e2a5b3d4806a1f2c3d4e5f60718-a1b2c3d4e5f60718-01-x").as_deref(), Some(ID));
        assert_eq!(parse("00-7c9f1e2a5b3d4806a1f2c3d4e5f60718-a1b2c3d4e5f60718-01-x"), None);
        assert_eq!(parse("00-7c9f1e2a5b3d4806a1f2c3d4e5f60718-a1b2c3d4e5f60718"), None);
        assert_eq!(parse("00-7c9f1e2a5b3d4806a1f2c3d4e5f60718-a1b2c3d4e5f6071-01"), None);
    }

    #[test]
    fn a_trace_is_given_to_others_with_a_parent() {
        let bytes =
            [0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c];
        let trace = TraceId::from_bytes(bytes).unwrap();
        assert_eq!(trace.as_bytes(), &bytes);
        assert_eq!(trace.traceparent(0xb7ad), "00-0af7651916cd43dd8448eb211c80319c-000000000000b7ad-01");
        assert_eq!(trace.traceparent(0), "00-0af7651916cd43dd8448eb211c80319c-0000000000000001-01");
        assert_eq!(TraceId::parse(&trace.traceparent(7)), Some(trace));
        assert_eq!(format!("{trace:?}"), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn minted_ids_are_never_zero() {
        assert_eq!(TraceId::mint(&mut Fixed(0xab)).to_string(), "ab".repeat(16));
        let id = TraceId::mint(&mut Fixed(0));
        assert_eq!(TraceId::parse(&id.to_string()), Some(id));
    }
}
