//! Why a text is not a frame we read.

use alloc::string::String;
use core::fmt;

/// What a scan found wrong: the text is not JSON, or is JSON beyond the limits (protocol §1.3).
///
/// Offsets are bytes from the start of the scanned text. Of the peer's text at most one member name appears in a
/// message, cut and escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The text is longer than a frame may be.
    #[error("{bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Length of the text.
        bytes: usize,
        /// Longest text allowed.
        limit: usize,
    },
    /// The text is not UTF-8.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// First byte that is not part of a character.
        at: usize,
    },
    /// The text begins with a byte order mark.
    #[error("begins with a byte order mark; plain UTF-8 is required")]
    ByteOrderMark,
    /// The text ends where JSON must go on; an empty text counts as this.
    #[error("ends in the middle of the JSON text")]
    Truncated,
    /// Something else stands where JSON allows only certain things.
    #[error("not JSON at byte {at}: expected {allowed}")]
    Syntax {
        /// Where.
        at: usize,
        /// What may stand there.
        allowed: &'static str,
    },
    /// Text follows the value.
    #[error("text after the JSON value at byte {at}; one value is allowed")]
    Trailing {
        /// First byte that is not white space.
        at: usize,
    },
    /// A control character stands unescaped in a string.
    #[error("unescaped control character in a string at byte {at}; it must be escaped")]
    ControlCharacter {
        /// Where.
        at: usize,
    },
    /// A backslash begins none of JSON's escapes.
    #[error(
        "unknown escape at byte {at}; allowed are \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hex digits"
    )]
    Escape {
        /// The backslash.
        at: usize,
    },
    /// An escaped surrogate has no partner.
    #[error("lone surrogate escape at byte {at}; surrogates must come in pairs, high before low")]
    LoneSurrogate {
        /// The backslash.
        at: usize,
    },
    /// Objects and arrays are nested too deeply.
    #[error("nested deeper than {limit}")]
    TooDeep {
        /// Deepest nesting allowed; the outermost container is 1.
        limit: usize,
    },
    /// Too many values and member names.
    #[error("more than {limit} values and member names")]
    TooManyTokens {
        /// Most tokens allowed.
        limit: usize,
    },
    /// An object has too many members.
    #[error("more than {limit} members in one object")]
    TooManyMembers {
        /// Most members allowed.
        limit: usize,
    },
    /// A member name is too long.
    #[error("member name of {bytes} bytes, at most {limit} are allowed")]
    NameTooLong {
        /// Length of the name, unescaped.
        bytes: usize,
        /// Longest name allowed.
        limit: usize,
    },
    /// The text of a number is too long.
    #[error("number of {bytes} bytes, at most {limit} are allowed")]
    NumberTooLong {
        /// Length of the number's text.
        bytes: usize,
        /// Longest number allowed.
        limit: usize,
    },
    /// An object has two members of the same name.
    #[error("member `{name}` twice in one object; names must differ")]
    DuplicateMember {
        /// The name.
        name: Excerpt,
    },
    /// The text is JSON, but a frame must be an object.
    #[error("the frame must be a JSON object")]
    NotAnObject,
}

/// Peer text made fit for a message: at most 64 bytes of it, control and invisible characters escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// Longest part of the original that is kept, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The beginning of `text`, escaped; an ellipsis marks what was cut.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let kept = super::text::truncated(text, Self::MAX_BYTES);
        let mut excerpt: String = kept.escape_debug().collect();
        if kept.len() < text.len() {
            excerpt.push('…');
        }
        Self(excerpt)
    }

    /// The escaped text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn peer_text_is_cut_and_escaped() {
        assert_eq!(Excerpt::of("plain").as_str(), "plain");
        assert_eq!(Excerpt::of("a\n\u{202e}\"").as_str(), "a\\n\\u{202e}\\\"");
        let long = "é".repeat(100);
        assert_eq!(Excerpt::of(&long).as_str(), alloc::format!("{}…", "é".repeat(32)));
    }

    #[test]
    fn messages_name_what_is_allowed() {
        assert_eq!(Malformed::TooDeep { limit: 64 }.to_string(), "nested deeper than 64");
        let duplicate = Malformed::DuplicateMember { name: Excerpt::of("x") };
        assert_eq!(duplicate.to_string(), "member `x` twice in one object; names must differ");
    }
}
