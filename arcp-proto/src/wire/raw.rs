//! JSON values that pass through as text.

use alloc::string::String;
use core::fmt;

use bytes::Bytes;
use serde::de::Error as _;

use super::malformed::Malformed;
use super::scan::{ScanLimits, check_value, decoded};

/// How deep an opaque value stands at least in a frame: inside the envelope and its payload.
const DEPTH_IN_FRAME: usize = 2;

/// One valid JSON value as text, within what a client accepts inside a payload ([`ScanLimits::CLIENT`], nesting up
/// to 62). Cloning shares the text.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Text that a scan has accepted, alone or as part of a frame.
    pub(crate) fn from_validated(text: Bytes) -> Self {
        debug_assert!(
            core::str::from_utf8(&text).is_ok_and(|text| check_value(text, &ScanLimits::CLIENT, 0).is_ok())
        );
        Self(text)
    }

    /// A text of unknown origin.
    ///
    /// # Errors
    /// It is not one JSON value, or beyond the limits.
    pub fn parse(text: impl Into<Bytes>) -> Result<Self, Malformed> {
        let text = text.into();
        check_value(decoded(&text, &ScanLimits::CLIENT)?, &ScanLimits::CLIENT, DEPTH_IN_FRAME)?;
        Ok(Self(text))
    }

    /// Serializes a value.
    ///
    /// # Errors
    /// The value cannot be serialized, or its text is beyond the limits.
    pub fn encode<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_string(value)?;
        check_value(&text, &ScanLimits::CLIENT, DEPTH_IN_FRAME).map_err(serde_json::Error::custom)?;
        Ok(Self(Bytes::from(text)))
    }

    /// Deserializes the value, which may borrow from the text.
    ///
    /// # Errors
    /// The value is not a `T`.
    pub fn decode<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// `null`.
    #[must_use]
    pub const fn null() -> Self {
        Self(Bytes::from_static(b"null"))
    }

    /// `{}`.
    #[must_use]
    pub const fn empty_object() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// The text. Costs a pass over it, cheap beside what reads it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Every constructor has proved the text to be UTF-8.
        core::str::from_utf8(&self.0).unwrap_or("null")
    }

    /// The text as bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Length of the text in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a JSON text is never empty")]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the value is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.trim_ascii() == b"null"
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.as_str();
        let mut cut = String::new();
        for character in text.chars().take(200) {
            cut.push(character);
        }
        formatter.write_str(&cut)?;
        if cut.len() < text.len() { formatter.write_str("…") } else { Ok(()) }
    }
}

impl TryFrom<&str> for RawJson {
    type Error = Malformed;

    fn try_from(text: &str) -> Result<Self, Malformed> {
        Self::parse(Bytes::copy_from_slice(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    #[test]
    fn parse_counts_the_depth_the_value_will_have() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(RawJson::parse(nested(62)).is_ok());
        assert_eq!(RawJson::parse("[1]").unwrap().as_bytes().as_ref(), b"[1]");
        assert_eq!(RawJson::parse(nested(63)), Err(Malformed::TooDeep { limit: 64 }));
        assert_eq!(RawJson::parse("1 2"), Err(Malformed::Trailing { at: 2 }));
        assert_eq!(RawJson::parse(&b"\"\xff\""[..]), Err(Malformed::NotUtf8 { at: 1 }));
    }

    #[test]
    fn values_go_in_and_come_out() {
        let raw = RawJson::encode(&("é", 1_u8)).expect("serializable");
        assert_eq!(raw.as_str(), "[\"é\",1]");
        assert_eq!(raw.decode::<(&str, u8)>().expect("the same type"), ("é", 1));
        assert!(raw.decode::<bool>().is_err());
        assert!(RawJson::null().is_null() && !RawJson::empty_object().is_null());
        assert!(RawJson::try_from(" null ").expect("JSON").is_null());
        assert_eq!(RawJson::empty_object().len(), 2);
    }

    #[test]
    fn what_no_peer_would_read_is_not_encoded() {
        let mut deep = serde_json::Value::Null;
        for _ in 0..63 {
            deep = serde_json::Value::Array(Vec::from([deep]));
        }
        let error = RawJson::encode(&deep).expect_err("too deep");
        assert!(format!("{error}").contains("nested deeper than 64"), "{error}");
    }

    #[test]
    fn debug_is_cut() {
        let long = RawJson::encode(&"x".repeat(500)).expect("a string");
        assert_eq!(format!("{long:?}"), format!("\"{}…", "x".repeat(199)));
        assert_eq!(format!("{:?}", RawJson::null()), "null");
    }
}
