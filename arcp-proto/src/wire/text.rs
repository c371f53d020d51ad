//! Strings as JSON writes them: where a plain run ends, unescaping, escaping.

use alloc::borrow::Cow;
use alloc::string::String;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// High bit set in the lowest byte of `word` that equals `byte`; bytes above that one may be marked wrongly, because
/// the subtraction borrows across them.
const fn marks(word: u64, byte: u8) -> u64 {
    // Widening a byte to a word is lossless.
    let difference = word ^ (ONES * byte as u64);
    difference.wrapping_sub(ONES) & !difference & HIGHS
}

/// As [`marks`], for bytes below 0x20.
const fn control_marks(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGHS
}

/// Index of the first byte at or after `position` for which `marks_of` (eight bytes at once) or `is_special` (one)
/// says so; the length of `bytes` if there is none.
#[inline(always)]
fn find(
    bytes: &[u8],
    mut position: usize,
    marks_of: impl Fn(u64) -> u64,
    is_special: impl Fn(u8) -> bool,
) -> usize {
    let mut rest = bytes.get(position..).unwrap_or_default();
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let found = marks_of(u64::from_le_bytes(*chunk));
        if found != 0 {
            return position + (found.trailing_zeros() / 8) as usize;
        }
        position += 8;
        rest = tail;
    }
    position + rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len())
}

/// Index of the first byte at or after `position` that ends a run of plain string bytes: a quote, a backslash or a
/// control character below U+0020; the length of `bytes` if there is none.
#[inline]
pub(super) fn plain_end(bytes: &[u8], position: usize) -> usize {
    find(
        bytes,
        position,
        |word| marks(word, b'"') | marks(word, b'\\') | control_marks(word),
        |byte| byte == b'"' || byte == b'\\' || byte < 0x20,
    )
}

/// As [`plain_end`], ending also at U+007F.
#[inline]
pub(super) fn identifier_end(bytes: &[u8], position: usize) -> usize {
    find(
        bytes,
        position,
        |word| marks(word, b'"') | marks(word, b'\\') | marks(word, 0x7f) | control_marks(word),
        |byte| byte == b'"' || byte == b'\\' || byte == 0x7f || byte < 0x20,
    )
}

/// Index of the first line feed at or after `position`; the length of `bytes` if there is none.
#[inline]
pub(super) fn line_feed(bytes: &[u8], position: usize) -> usize {
    find(bytes, position, |word| marks(word, b'\n'), |byte| byte == b'\n')
}

/// Whether `text` has a control character, U+0000–U+001F or U+007F.
#[inline]
pub(super) fn has_control(text: &str) -> bool {
    let bytes = text.as_bytes();
    let end =
        find(bytes, 0, |word| marks(word, 0x7f) | control_marks(word), |byte| byte == 0x7f || byte < 0x20);
    end < bytes.len()
}

/// The longest beginning of `text` of at most `max_bytes` bytes that ends between two characters.
#[must_use]
pub fn truncated(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    let end = (0..=max_bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// The value of the four hex digits at `position`.
pub(super) fn hex4(bytes: &[u8], position: usize) -> Option<u16> {
    let digits = bytes.get(position..)?.first_chunk::<4>()?;
    let mut value = 0;
    for &digit in digits {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        value = value << 4 | u16::from(digit);
    }
    Some(value)
}

/// The text that the inside of a JSON string literal, quotes taken off, stands for. Borrowed when there is no escape.
///
/// The literal must have been validated; in one that was not, whatever is no escape stands for itself or U+FFFD.
pub(super) fn unescape(literal: &str) -> Cow<'_, str> {
    let mut rest = literal;
    let Some(mut backslash) = rest.find('\\') else {
        return Cow::Borrowed(literal);
    };
    let mut text = String::with_capacity(literal.len());
    loop {
        let (plain, escape) = rest.split_at(backslash);
        text.push_str(plain);
        let (character, length) = escaped_character(escape);
        text.push(character);
        rest = escape.get(length..).unwrap_or_default();
        match rest.find('\\') {
            Some(next) => backslash = next,
            None => break,
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character the escape at the beginning of `escape` stands for, and the escape's length.
fn escaped_character(escape: &str) -> (char, usize) {
    let bytes = escape.as_bytes();
    match bytes.get(1) {
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(&plain @ (b'"' | b'\\' | b'/')) => (char::from(plain), 2),
        Some(b'u') => {
            let Some(first) = hex4(bytes, 2) else { return (char::REPLACEMENT_CHARACTER, 2) };
            let second = bytes.get(6..8).filter(|&start| start == b"\\u").and_then(|_| hex4(bytes, 8));
            let units = [first, second.unwrap_or_default()];
            match char::decode_utf16(units).next() {
                Some(Ok(character)) => (character, if character.len_utf16() == 2 { 12 } else { 6 }),
                _ => (char::REPLACEMENT_CHARACTER, 6),
            }
        }
        _ => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// Appends `text` to `out` as the inside of a JSON string literal.
#[inline]
pub(super) fn push_escaped(out: &mut String, text: &str) {
    let bytes = text.as_bytes();
    let mut start = 0;
    loop {
        let end = plain_end(bytes, start);
        // `end` is the length or the index of an ASCII byte, and `start` is 0 or follows one: both are boundaries.
        out.push_str(text.get(start..end).unwrap_or_default());
        let Some(&byte) = bytes.get(end) else { return };
        push_escape(out, byte);
        start = end + 1;
    }
}

#[cold]
fn push_escape(out: &mut String, byte: u8) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.push('\\');
    match byte {
        b'"' | b'\\' => out.push(char::from(byte)),
        0x08 => out.push('b'),
        0x0c => out.push('f'),
        b'\n' => out.push('n'),
        b'\r' => out.push('r'),
        b'\t' => out.push('t'),
        _ => {
            out.push_str("u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Random;
    use alloc::vec::Vec;

    #[test]
    fn runs_end_at_the_first_special_byte() {
        let mut random = Random::new(7);
        for _ in 0..20_000 {
            let length = random.below(40);
            let bytes: Vec<u8> = (0..length)
                .map(|_| if random.below(12) == 0 { random.byte() } else { b' ' + random.byte() % 0x5f })
                .collect();
            let start = random.below(length + 1);
            let naive = |special: fn(u8) -> bool| {
                bytes[start..].iter().position(|&byte| special(byte)).map_or(length, |at| start + at)
            };
            assert_eq!(plain_end(&bytes, start), naive(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)));
            assert_eq!(
                identifier_end(&bytes, start),
                naive(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x7f))
            );
            assert_eq!(line_feed(&bytes, start), naive(|byte| byte == b'\n'));
        }
    }

    #[test]
    fn escaping_and_unescaping_are_inverse_and_agree_with_serde_json() {
        let mut random = Random::new(8);
        for _ in 0..5_000 {
            let text: String = (0..random.below(30))
                .map(|_| match random.below(6) {
                    0 => char::from(random.byte() % 0x20),
                    1 => ['"', '\\', '/', '\u{7f}', '😀', 'é', '\u{2028}'][random.below(7)],
                    _ => char::from(b' ' + random.byte() % 0x5f),
                })
                .collect();
            let mut literal = String::new();
            push_escaped(&mut literal, &text);
            assert_eq!(unescape(&literal), text);
            assert_eq!(alloc::format!("\"{literal}\""), serde_json::to_string(&text).expect("a string"));
        }
    }

    #[test]
    fn every_escape_is_read() {
        assert_eq!(unescape(r#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z"#), "a\"\\/\u{8}\u{c}\n\r\té😀z");
        assert_eq!(unescape(r"\u0041\u0042"), "AB");
        assert!(matches!(unescape("plain é"), Cow::Borrowed("plain é")));
    }

    #[test]
    fn truncation_keeps_characters_whole() {
        assert_eq!(truncated("aé", 2), "a");
        assert_eq!(truncated("aé", 3), "aé");
        assert_eq!(truncated("😀", 3), "");
    }
}
