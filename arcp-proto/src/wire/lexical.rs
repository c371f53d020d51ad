//! JSON's lexemes in raw bytes: where each ends, or what is wrong with it.

use super::malformed::Malformed;
use super::text;

/// The byte at `position`; NUL, which JSON allows nowhere, past the end.
#[inline(always)]
pub(super) fn byte_at(bytes: &[u8], position: usize) -> u8 {
    bytes.get(position).copied().unwrap_or(0)
}

/// The first byte at or after `position` that is not white space.
#[inline(always)]
pub(super) fn skip_white_space(bytes: &[u8], mut position: usize) -> usize {
    while matches!(byte_at(bytes, position), b' ' | b'\n' | b'\r' | b'\t') {
        position += 1;
    }
    position
}

/// What is wrong at `at`, where only `allowed` may stand.
#[cold]
pub(super) fn unexpected(bytes: &[u8], at: usize, allowed: &'static str) -> Malformed {
    if at >= bytes.len() { Malformed::Truncated } else { Malformed::Syntax { at, allowed } }
}

/// Where `word`, which begins at `position`, ends.
pub(super) fn literal(bytes: &[u8], position: usize, word: &'static [u8]) -> Result<usize, Malformed> {
    let rest = bytes.get(position..).unwrap_or_default();
    if rest.starts_with(word) {
        return Ok(position + word.len());
    }
    if word.starts_with(rest) {
        return Err(Malformed::Truncated);
    }
    Err(Malformed::Syntax { at: position, allowed: "a value" })
}

/// Where the number that begins at `start` ends.
#[inline]
pub(super) fn number_end(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut position = start + usize::from(byte_at(bytes, start) == b'-');
    position = match byte_at(bytes, position) {
        b'0' => position + 1,
        b'1'..=b'9' => digits_end(bytes, position + 1),
        _ => return Err(unexpected(bytes, position, "a digit")),
    };
    if byte_at(bytes, position) == b'.' {
        position = required_digits(bytes, position + 1)?;
    }
    if matches!(byte_at(bytes, position), b'e' | b'E') {
        position += 1;
        position += usize::from(matches!(byte_at(bytes, position), b'+' | b'-'));
        position = required_digits(bytes, position)?;
    }
    Ok(position)
}

fn digits_end(bytes: &[u8], mut position: usize) -> usize {
    while byte_at(bytes, position).is_ascii_digit() {
        position += 1;
    }
    position
}

fn required_digits(bytes: &[u8], position: usize) -> Result<usize, Malformed> {
    let end = digits_end(bytes, position);
    if end == position { Err(unexpected(bytes, position, "a digit")) } else { Ok(end) }
}

/// The closing quote of the string whose first byte after the opening quote is at `position`, and whether there is an
/// escape before it.
#[inline]
pub(super) fn string_end(bytes: &[u8], mut position: usize) -> Result<(usize, bool), Malformed> {
    let mut escaped = false;
    loop {
        position = text::plain_end(bytes, position);
        match bytes.get(position) {
            Some(b'"') => return Ok((position, escaped)),
            Some(b'\\') => {
                escaped = true;
                position = escape_end(bytes, position)?;
            }
            Some(_) => return Err(Malformed::ControlCharacter { at: position }),
            None => return Err(Malformed::Truncated),
        }
    }
}

/// Where the escape at `at` ends.
fn escape_end(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match text::hex4(bytes, at + 2) {
            Some(0xd800..=0xdbff) => {
                let low = bytes.get(at + 6..at + 8) == Some(b"\\u");
                match text::hex4(bytes, at + 8) {
                    Some(0xdc00..=0xdfff) if low => Ok(at + 12),
                    _ => Err(Malformed::LoneSurrogate { at }),
                }
            }
            Some(0xdc00..=0xdfff) => Err(Malformed::LoneSurrogate { at }),
            Some(_) => Ok(at + 6),
            None if bytes.len() < at + 6 => Err(Malformed::Truncated),
            None => Err(Malformed::Escape { at }),
        },
        Some(_) => Err(Malformed::Escape { at }),
        None => Err(Malformed::Truncated),
    }
}
