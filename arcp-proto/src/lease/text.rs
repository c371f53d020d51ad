//! What no target and no pattern may contain (protocol §5.3, "common refusals").

/// Why a target or a pattern is refused: what is wrong with it and what is allowed, in our own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(&'static str);

impl Refusal {
    pub(super) const fn new(why: &'static str) -> Self {
        Self(why)
    }

    /// The words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// Refuses what is empty, longer than `most` bytes, or contains a character that is invisible, reorders text, or has
/// more than one spelling.
pub(super) fn check(text: &str, most: usize, too_long: &'static str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(Refusal::new("it is empty"));
    }
    if text.len() > most {
        return Err(Refusal::new(too_long));
    }
    if text.is_ascii() {
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Refusal::new("control characters are not allowed"));
        }
        return Ok(());
    }
    if text.chars().any(is_forbidden) {
        return Err(Refusal::new(
            "control, bidi and zero-width characters and non-characters are not allowed",
        ));
    }
    composed(text)
}

fn is_forbidden(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
            | '\u{fdd0}'..='\u{fdef}'
    ) || u32::from(character) & 0xfffe == 0xfffe
}

#[cfg(feature = "unicode")]
fn composed(text: &str) -> Result<(), Refusal> {
    if unicode_normalization::is_nfc(text) {
        Ok(())
    } else {
        Err(Refusal::new("it must be in Unicode form NFC"))
    }
}

#[cfg(not(feature = "unicode"))]
fn composed(_: &str) -> Result<(), Refusal> {
    Err(Refusal::new("this runtime takes ASCII only: it was built without the Unicode tables"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> bool {
        check(text, 16, "too long").is_ok()
    }

    #[test]
    fn every_forbidden_range_ends_where_it_should() {
        for (first, last) in [
            (0x0, 0x1f),
            (0x7f, 0x9f),
            (0x61c, 0x61c),
            (0x200b, 0x200f),
            (0x202a, 0x202e),
            (0x2060, 0x2064),
            (0x2066, 0x2069),
            (0xfeff, 0xfeff),
            (0xfdd0, 0xfdef),
            (0xfffe, 0xffff),
            (0x1_fffe, 0x1_ffff),
            (0x10_fffe, 0x10_ffff),
        ] {
            for code in first..=last {
                let character = char::from_u32(code).unwrap();
                assert!(is_forbidden(character), "U+{code:04X}");
                assert!(!checked(&alloc::format!("a{character}")), "U+{code:04X}");
            }
            for code in [u32::wrapping_sub(first, 1), last + 1] {
                if let Some(character) = char::from_u32(code) {
                    assert!(!is_forbidden(character), "U+{code:04X}");
                }
            }
        }
    }

    #[test]
    fn lengths_and_forms() {
        assert!(checked("0123456789abcdef") && !checked("0123456789abcdefg") && !checked(""));
        assert_eq!(checked("caf\u{e9}"), cfg!(feature = "unicode"));
        assert!(!checked("cafe\u{301}"));
    }
}
