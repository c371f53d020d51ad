//! Targets and patterns of `fs.read` and `fs.write` (protocol §5.3).
//!
//! Odd spellings are refused, not repaired; the one repair is a trailing `/`. This judges strings only: whoever opens
//! the file must do so below a directory handle, so that links cannot lead out.

use alloc::string::String;

use super::pattern::{Glob, MAX_PATTERN_BYTES, MAX_TARGET_BYTES, Wildcards};
use super::text::{self, Refusal};

const MAX_SEGMENT_BYTES: usize = 255;
const MAX_SEGMENTS: usize = 256;

/// The one spelling of the absolute path `text` that is matched and opened.
///
/// With `windows_rules` also refused: `:`, device names with or without extension, and a dot or a space at the end of
/// a segment.
///
/// # Errors
/// What is wrong with it.
pub fn canonical_path(text: &str, windows_rules: bool) -> Result<String, Refusal> {
    text::check(text, MAX_TARGET_BYTES, "a target has at most 4096 bytes")?;
    let body = body(text)?;
    if segments(body).count() > MAX_SEGMENTS {
        return Err(Refusal::new("a path has at most 256 segments"));
    }
    if windows_rules {
        segments(body).try_for_each(check_windows)?;
    }
    let mut canonical = String::with_capacity(body.len() + 1);
    canonical.push('/');
    canonical.push_str(body);
    Ok(canonical)
}

/// The segments of a canonical path; none of the root.
pub(super) fn segments_of(canonical: &str) -> impl Iterator<Item = &str> {
    segments(canonical.strip_prefix('/').unwrap_or(canonical))
}

/// Compiles a pattern; it keeps the rules of a target.
pub(super) fn pattern(text: &str) -> Result<Glob, Refusal> {
    text::check(text, MAX_PATTERN_BYTES, "a pattern has at most 512 bytes")?;
    Glob::compile(segments(body(text)?), &mut Wildcards::default())
}

fn segments(body: &str) -> impl Iterator<Item = &str> {
    // The root has no segments, where splitting the empty text would give one.
    body.split('/').take(if body.is_empty() { 0 } else { usize::MAX })
}

/// The path without its first and, if there is one, its last `/`; empty for the root.
fn body(text: &str) -> Result<&str, Refusal> {
    let Some(body) = text.strip_prefix('/') else {
        return Err(Refusal::new("a path is absolute: it begins with `/`"));
    };
    if body.is_empty() {
        return Ok(body);
    }
    if body.contains('\\') {
        return Err(Refusal::new("`\\` is not allowed in a path"));
    }
    if body.as_bytes().windows(3).any(is_encoded_separator) {
        return Err(Refusal::new("`%2e`, `%2f` and `%5c` are not allowed in a path"));
    }
    let body = body.strip_suffix('/').unwrap_or(body);
    for segment in body.split('/') {
        if matches!(segment, "" | "." | "..") {
            return Err(Refusal::new("empty, `.` and `..` segments are not allowed"));
        }
        if segment.len() > MAX_SEGMENT_BYTES {
            return Err(Refusal::new("a segment of a path has at most 255 bytes"));
        }
    }
    Ok(body)
}

fn is_encoded_separator(window: &[u8]) -> bool {
    matches!(window, [b'%', b'2', b'e' | b'E' | b'f' | b'F'] | [b'%', b'5', b'c' | b'C'])
}

fn check_windows(segment: &str) -> Result<(), Refusal> {
    if segment.contains(':') {
        return Err(Refusal::new("`:` is not allowed in a path"));
    }
    if segment.ends_with(['.', ' ']) {
        return Err(Refusal::new("a segment of a path does not end in a dot or a space"));
    }
    let stem = segment.split('.').next().unwrap_or_default().trim_end_matches(' ');
    if is_device(stem) {
        return Err(Refusal::new("device names are not allowed in a path"));
    }
    Ok(())
}

fn is_device(stem: &str) -> bool {
    const NAMES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
    if NAMES.iter().any(|name| stem.eq_ignore_ascii_case(name)) {
        return true;
    }
    // Ports are numbered by digits, among which Windows counts superscripts.
    let mut characters = stem.chars();
    let number = characters.next_back();
    let port = characters.as_str();
    (port.eq_ignore_ascii_case("com") || port.eq_ignore_ascii_case("lpt"))
        && number.is_some_and(|number| matches!(number, '0'..='9' | '¹' | '²' | '³'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Random;

    #[test]
    fn only_a_trailing_slash_is_repaired() {
        for (text, expected) in [
            ("/", Some("/")),
            ("/a/", Some("/a")),
            ("/a/b", Some("/a/b")),
            ("/...", Some("/...")),
            ("/%252e", Some("/%252e")),
            ("/a:b", Some("/a:b")),
            ("//", None),
            ("/a//", None),
            ("//a", None),
            ("/a/../b", None),
            ("/a/.", None),
            ("/%2E", None),
            ("/a%5Cb", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(canonical_path(text, false).ok().as_deref(), expected, "{text}");
        }
        let deep = |segments: usize| "/a".repeat(segments);
        assert!(canonical_path(&deep(256), false).is_ok() && canonical_path(&deep(257), false).is_err());
        let wide = |bytes: usize| alloc::format!("/{}", "a".repeat(bytes));
        assert!(canonical_path(&wide(255), false).is_ok() && canonical_path(&wide(256), false).is_err());
    }

    #[test]
    fn windows_has_more_spellings() {
        for text in [
            "/c:/x",
            "/a/x:stream",
            "/con",
            "/NUL.txt",
            "/a/Com1",
            "/lpt9.tar.gz",
            "/aux .c",
            "/x.",
            "/x ",
            "/CONIN$",
        ] {
            assert!(canonical_path(text, false).is_ok(), "{text}");
            assert!(canonical_path(text, true).is_err(), "{text}");
        }
        for text in ["/console", "/com", "/com10", "/a/nulls", "/x.y", "/lpt"] {
            assert!(canonical_path(text, true).is_ok(), "{text}");
        }
        #[cfg(feature = "unicode")]
        assert!(canonical_path("/com¹.txt", true).is_err() && canonical_path("/com¹.txt", false).is_ok());
    }

    #[test]
    fn canonical_paths_stay_as_they_are() {
        let mut random = Random::new(43);
        let mut accepted = 0;
        for _ in 0..40_000 {
            let text: String = (0..random.below(10))
                .map(|_| {
                    random.pick(&["/", "/", "a", "b.", ".", "%2", "e", "\\", "*", " ", "con", ":", "\u{7f}"])
                })
                .collect();
            for windows_rules in [false, true] {
                if let Ok(canonical) = canonical_path(&text, windows_rules) {
                    accepted += 1;
                    assert_eq!(canonical_path(&canonical, windows_rules).as_ref(), Ok(&canonical), "{text}");
                    assert_eq!(
                        canonical,
                        alloc::format!(
                            "/{}",
                            segments_of(&canonical).collect::<alloc::vec::Vec<_>>().join("/")
                        )
                    );
                }
            }
        }
        assert!(accepted > 2_000, "{accepted}");
    }
}
