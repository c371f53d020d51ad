//! Targets and patterns of `tool.call`, `model.use` and `x-vendor.*` (protocol §5.3).

use alloc::string::{String, ToString};

use super::pattern::{Glob, MAX_PATTERN_BYTES, Wildcards};
use super::text::{self, Refusal};

const MAX_NAME_BYTES: usize = 256;

/// A name has one spelling: `text`, if it is a name.
///
/// # Errors
/// What is wrong with it.
pub fn canonical_name(text: &str) -> Result<String, Refusal> {
    text::check(text, MAX_NAME_BYTES, "a name has at most 256 bytes")?;
    if text.contains('*') {
        return Err(Refusal::new("`*` is not allowed in a name"));
    }
    check_segments(text)?;
    Ok(text.to_string())
}

/// Compiles a pattern of names.
pub(super) fn pattern(text: &str) -> Result<Glob, Refusal> {
    text::check(text, MAX_PATTERN_BYTES, "a pattern has at most 512 bytes")?;
    check_segments(text)?;
    Glob::compile(text.split('/'), &mut Wildcards::default())
}

fn check_segments(text: &str) -> Result<(), Refusal> {
    if text.contains(char::is_whitespace) {
        return Err(Refusal::new("white space is not allowed in a name"));
    }
    if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(Refusal::new(
            "a name is segments between `/`; empty, `.` and `..` segments are not allowed",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        for name in ["search", "mcp:github/issues", "a.b.c", "...", "a\\b", "tier-fast/a"] {
            assert_eq!(canonical_name(name).as_deref(), Ok(name));
        }
        let long = "a".repeat(257);
        for name in ["", "/a", "a/", "a//b", "a/./b", "..", "a b", "a*", "a\u{3000}b", "a\n", &long] {
            assert!(canonical_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn star_stays_in_its_segment() {
        let matches = |text: &str, name: &str| pattern(text).unwrap().matches(name.split('/'), &mut ());
        assert!(matches("search.*", "search.web.deep") && !matches("*", "mcp/x") && matches("**", "mcp/x"));
        assert!(pattern("a/").is_err() && pattern("a b").is_err() && pattern("a**").is_err());
    }
}
