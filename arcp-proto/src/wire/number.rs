//! Numbers that keep their text, so that no digit is lost on the way (protocol §1.3, §5.6).

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use crate::wire::scan::{ScanLimits, check_value};

/// Longest number, in bytes (protocol §1.3).
const MAX_BYTES: usize = 64;

/// A JSON number by its text: 1 to 64 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumberText(String);

impl NumberText {
    /// Takes a text that is exactly one JSON number; `None` for any other.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
            && text.ends_with(|last: char| last.is_ascii_digit());
        (bare && text.len() <= MAX_BYTES && check_value(text, &ScanLimits::CLIENT, 0).is_ok())
            .then(|| Self(text.to_string()))
    }

    /// The shortest text that reads back as `value`, without fraction where it has none; `None` for infinities and
    /// NaN, which JSON has not.
    #[must_use]
    pub fn from_f64(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        // Written out, the largest and smallest doubles have hundreds of digits.
        let plain = value == 0.0 || (1e-9..1e18).contains(&value.abs());
        Some(Self(if plain { format!("{value}") } else { format!("{value:e}") }))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest double, an infinity where there is none near.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        // JSON's numbers are a part of what Rust reads.
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// The value, if it is written as an integer and not too large.
    #[must_use]
    pub fn to_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// Whether it is below zero. `-0` is not.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        let mantissa = self.0.split(['e', 'E']).next().unwrap_or_default();
        mantissa.starts_with('-') && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
    }
}

impl From<u64> for NumberText {
    fn from(value: u64) -> Self {
        Self(value.to_string())
    }
}

impl From<u32> for NumberText {
    fn from(value: u32) -> Self {
        Self(value.to_string())
    }
}

impl From<i64> for NumberText {
    fn from(value: i64) -> Self {
        Self(value.to_string())
    }
}

impl fmt::Display for NumberText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NumberText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_numbers_are_numbers() {
        for text in ["0", "-0", "11.75", "9007199254740993", "1e400", "-1.5E+7", &"9".repeat(64)] {
            let number = NumberText::parse(text).expect(text);
            assert_eq!(
                (number.as_str(), std::format!("{number} {number:?}")),
                (text, std::format!("{text} {text}"))
            );
        }
        for (text, value) in [("0", Some(0)), ("42", Some(42)), ("4.0", None), ("-1", None), ("1e400", None)]
        {
            assert_eq!(NumberText::parse(text).expect(text).to_u64(), value, "{text}");
        }
        for text in
            ["", "-", "+1", "01", ".5", "5.", "1e", "NaN", "0x10", " 1", "1 ", "1 2", "1,2", &"9".repeat(65)]
        {
            assert_eq!(NumberText::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn doubles_become_numbers_that_read_back() {
        for (value, text) in
            [(0.0, "0"), (125.0, "125"), (0.0234, "0.0234"), (-0.12, "-0.12"), (1e300, "1e300")]
        {
            assert_eq!(NumberText::from_f64(value).expect(text).as_str(), text);
        }
        for value in [f64::MAX, f64::MIN_POSITIVE, 5e-324, 1e18, 1e-9, 0.1 + 0.2, 123_456_789_012_345_680.0] {
            let number = NumberText::from_f64(value).expect("finite");
            assert_eq!(NumberText::parse(number.as_str()), Some(number.clone()));
            assert_eq!(number.to_f64().to_bits(), value.to_bits());
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(NumberText::from_f64(value), None);
        }
    }

    #[test]
    fn signs() {
        let negative = |text: &str| NumberText::parse(text).expect(text).is_negative();
        assert!(negative("-0.001") && negative("-1e-9"));
        assert!(!negative("-0") && !negative("-0.0e5") && !negative("0") && !negative("1e-5"));
    }
}
