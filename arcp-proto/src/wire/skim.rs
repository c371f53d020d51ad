//! Finding the parts of an object or array that a scan has validated, without looking inside them.
//!
//! Text that was not validated gives senseless parts, never a panic or an endless loop.

use super::read::Span;
use super::text;

/// The values of an array; see [`elements_of`](super::read::elements_of).
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    text: &'a str,
    position: usize,
}

pub(super) fn elements(array: &str) -> Elements<'_> {
    Elements { text: array, position: 1 }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        let start = next_part(bytes, self.position)?;
        self.position = value_end(bytes, start);
        self.text.get(start..self.position)
    }
}

pub(super) fn members(object: &str) -> impl Iterator<Item = Span> {
    let bytes = object.as_bytes();
    let mut position = 1;
    core::iter::from_fn(move || {
        let quote = next_part(bytes, position)?;
        let name_end = string_end(bytes, quote);
        let value_start = next_part(bytes, name_end)?;
        position = value_end(bytes, value_start);
        let name = bytes.get(quote + 1..name_end - 1)?;
        Some(Span {
            name_start: u32::try_from(quote + 1).ok()?,
            name_end: u32::try_from(name_end - 1).ok()?,
            value_start: u32::try_from(value_start).ok()?,
            value_end: u32::try_from(position).ok()?,
            name_escaped: name.contains(&b'\\'),
        })
    })
}

/// The first byte at or after `position` that is neither white space nor a separator; `None` at the container's end.
fn next_part(bytes: &[u8], position: usize) -> Option<usize> {
    let rest = bytes.get(position..)?;
    let skipped = rest.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':'))?;
    (!matches!(rest.get(skipped), Some(b']' | b'}'))).then_some(position + skipped)
}

/// The byte after the string whose opening quote is at `quote`.
fn string_end(bytes: &[u8], quote: usize) -> usize {
    let mut position = quote + 1;
    loop {
        position = text::plain_end(bytes, position);
        match bytes.get(position) {
            Some(b'\\') => position += 2,
            Some(b'"') | None => return position + 1,
            Some(_) => position += 1,
        }
    }
}

/// The byte after the value that begins at `start`.
fn value_end(bytes: &[u8], start: usize) -> usize {
    match bytes.get(start) {
        Some(b'"') => string_end(bytes, start),
        Some(b'{' | b'[') => container_end(bytes, start),
        _ => {
            let rest = bytes.get(start + 1..).unwrap_or_default();
            let length = rest
                .iter()
                .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t'))
                .unwrap_or(rest.len());
            start + 1 + length
        }
    }
}

fn container_end(bytes: &[u8], start: usize) -> usize {
    let mut position = start;
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(position) {
        match byte {
            b'"' => {
                position = string_end(bytes, position);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        position += 1;
        if depth == 0 {
            break;
        }
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::read::Fields;
    use crate::wire::testing::{Random, json};
    use alloc::string::String;
    use alloc::vec::Vec;

    #[test]
    fn parts_of_any_valid_value_are_those_serde_json_sees() {
        let mut random = Random::new(11);
        let mut objects = 0;
        for _ in 0..3_000 {
            let text = json(&mut random, 4);
            match serde_json::from_str(&text).expect("generated text is JSON") {
                serde_json::Value::Object(expected) => {
                    objects += 1;
                    let fields = Fields::of(text.trim());
                    assert_eq!(fields.len(), expected.len(), "{text}");
                    for (name, raw) in fields.iter() {
                        let value: serde_json::Value = serde_json::from_str(raw).expect("a member's value");
                        assert_eq!(Some(&value), expected.get(name.as_ref()), "{text}");
                    }
                }
                serde_json::Value::Array(expected) => {
                    let found: Vec<serde_json::Value> = elements(text.trim())
                        .map(|raw| serde_json::from_str(raw).expect("an element"))
                        .collect();
                    assert_eq!(found, expected, "{text}");
                }
                _ => {}
            }
        }
        assert!(objects > 500);
    }

    #[test]
    fn what_is_in_strings_ends_nothing() {
        let fields = Fields::of(r#"{"a":["]}","\"]"],"b":{"}]":"{["},"c":"}","d":[[],{"x":"]"}]}"#);
        let parts: Vec<_> = fields.iter().map(|(name, raw)| (String::from(name), raw)).collect();
        let parts: Vec<_> = parts.iter().map(|(name, raw)| (name.as_str(), *raw)).collect();
        let expected =
            [("a", r#"["]}","\"]"]"#), ("b", r#"{"}]":"{["}"#), ("c", r#""}""#), ("d", r#"[[],{"x":"]"}]"#)];
        assert_eq!(parts, expected);
    }

    #[test]
    fn text_that_was_not_validated_does_no_harm() {
        let mut random = Random::new(12);
        for _ in 0..20_000 {
            let text: String = (0..random.below(20))
                .map(|_| random.pick(&['"', '{', '[', ']', '}', ',', ':', '\\', 'é', '1']))
                .collect();
            let _ = Fields::of(&text).iter().count();
            assert!(elements(&text).count() <= text.len());
        }
    }
}
