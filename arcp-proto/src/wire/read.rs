//! Reading the members of an object that a scan has validated (protocol §1.3).
//!
//! A member that is `null` counts as absent, except through [`Fields::opaque`]. A member of the wrong type is an
//! error that names the member and what is allowed; advisory members (D-61) count as absent instead.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use smallvec::SmallVec;

use super::skim::{self, Elements};
use super::text;

/// Longest id, in bytes (protocol §1.2).
pub const MAX_ID_BYTES: usize = 128;

/// A member that is not what it must be.
///
/// The message has the form "`nonce` must be a string of 1..=128 bytes" and contains nothing the peer wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{member}` {}must be {allowed}", if *.missing { "is required and " } else { "" })]
pub struct FieldError {
    member: Cow<'static, str>,
    allowed: Cow<'static, str>,
    missing: bool,
}

impl FieldError {
    /// The member is present but not `allowed`, which completes "must be …".
    #[must_use]
    pub fn wrong(member: impl Into<Cow<'static, str>>, allowed: impl Into<Cow<'static, str>>) -> Self {
        Self { member: member.into(), allowed: allowed.into(), missing: false }
    }

    /// The member is absent but required to be `allowed`.
    #[must_use]
    pub fn missing(member: impl Into<Cow<'static, str>>, allowed: impl Into<Cow<'static, str>>) -> Self {
        Self { member: member.into(), allowed: allowed.into(), missing: true }
    }

    /// The same error seen from outside the object `outer`: `name` becomes `outer.name`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.member = Cow::Owned(format!("{outer}.{}", self.member));
        self
    }

    /// The member, with the objects it is in as far as they were named.
    #[must_use]
    pub fn member(&self) -> &str {
        &self.member
    }

    /// Whether the member was absent rather than wrong.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        self.missing
    }
}

/// Where one member lies in the text: the inside of its name's literal, and its value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) name_start: u32,
    pub(super) name_end: u32,
    pub(super) value_start: u32,
    pub(super) value_end: u32,
    pub(super) name_escaped: bool,
}

/// The members of one validated JSON object, in the order of the text. Its `Debug` shows their names only.
#[derive(Clone, Default)]
pub struct Fields<'a> {
    text: &'a str,
    spans: SmallVec<[Span; 8]>,
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// A number, by its text, or a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lexeme<'a> {
    /// The number exactly as it stood.
    Number(&'a str),
    /// The string, unescaped.
    String(Cow<'a, str>),
}

impl<'a> Fields<'a> {
    /// No members yet, to be found in `text`.
    pub(super) fn spanning(text: &'a str) -> Self {
        Self { text, spans: SmallVec::new() }
    }

    #[inline]
    pub(super) fn push(&mut self, span: Span) {
        self.spans.push(span);
    }

    /// The members of `object`, a JSON object that has been validated. Of any other text, no members or senseless ones.
    #[must_use]
    pub fn of(object: &'a str) -> Self {
        let mut fields = Self::spanning(object);
        for span in skim::members(object) {
            fields.push(span);
        }
        fields
    }

    /// Number of members, those with `null` included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no member at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All members: name, and value as JSON text.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a str)> {
        self.spans.iter().map(|span| {
            let name = self.slice(span.name_start, span.name_end);
            let name = if span.name_escaped { text::unescape(name) } else { Cow::Borrowed(name) };
            (name, self.slice(span.value_start, span.value_end))
        })
    }

    /// The first member whose name is none of `known`.
    #[must_use]
    pub fn unknown(&self, known: &[&str]) -> Option<Cow<'a, str>> {
        self.iter().map(|(name, _)| name).find(|name| !known.contains(&name.as_ref()))
    }

    /// The value of an opaque slot as JSON text: `null` is a value there (D-59), `None` means absent.
    #[must_use]
    pub fn opaque(&self, name: &str) -> Option<&'a str> {
        let span = self.spans.iter().find(|span| {
            let literal = self.slice(span.name_start, span.name_end);
            if span.name_escaped { text::unescape(literal) == name } else { literal == name }
        })?;
        Some(self.slice(span.value_start, span.value_end))
    }

    /// The value as JSON text; `None` if it is absent or `null`.
    #[must_use]
    pub fn present(&self, name: &str) -> Option<&'a str> {
        self.opaque(name).filter(|&raw| raw != "null")
    }

    /// A string whose length in bytes, unescaped, lies in `bytes`.
    ///
    /// # Errors
    /// The member is another kind of value or of another length.
    pub fn string(
        &self,
        name: &'static str,
        bytes: RangeInclusive<usize>,
    ) -> Result<Option<Cow<'a, str>>, FieldError> {
        self.optional(
            name,
            || allowed_string(&bytes),
            |raw| string_of(raw).filter(|text| bytes.contains(&text.len())),
        )
    }

    /// As [`Fields::string`], required.
    ///
    /// # Errors
    /// The member is absent, another kind of value or of another length.
    pub fn required_string(
        &self,
        name: &'static str,
        bytes: RangeInclusive<usize>,
    ) -> Result<Cow<'a, str>, FieldError> {
        required(name, self.string(name, bytes.clone()), || allowed_string(&bytes))
    }

    /// An id: a string of 1..=128 bytes without control characters (protocol §1.2).
    ///
    /// # Errors
    /// The member is something else.
    pub fn id(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, FieldError> {
        self.optional(name, allowed_id, |raw| string_of(raw).filter(|text| is_id(text)))
    }

    /// As [`Fields::id`], required.
    ///
    /// # Errors
    /// The member is absent or no id.
    pub fn required_id(&self, name: &'static str) -> Result<Cow<'a, str>, FieldError> {
        required(name, self.id(name), allowed_id)
    }

    /// An integer, `-?(0|[1-9][0-9]*)`, in `range`.
    ///
    /// # Errors
    /// The member is anything else, a number with fraction or exponent and a string included.
    pub fn u64(&self, name: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, FieldError> {
        self.optional(
            name,
            || format!("an integer of {}..={}", range.start(), range.end()).into(),
            |raw| u64_of(raw).filter(|value| range.contains(value)),
        )
    }

    /// As [`Fields::u64`], required.
    ///
    /// # Errors
    /// The member is absent or not such an integer.
    pub fn required_u64(&self, name: &'static str, range: RangeInclusive<u64>) -> Result<u64, FieldError> {
        required(name, self.u64(name, range.clone()), || {
            format!("an integer of {}..={}", range.start(), range.end()).into()
        })
    }

    /// An integer, `-?(0|[1-9][0-9]*)`, in `range`.
    ///
    /// # Errors
    /// As [`Fields::u64`].
    pub fn i64(&self, name: &'static str, range: RangeInclusive<i64>) -> Result<Option<i64>, FieldError> {
        self.optional(
            name,
            || format!("an integer of {}..={}", range.start(), range.end()).into(),
            |raw| i64_of(raw).filter(|value| range.contains(value)),
        )
    }

    /// As [`Fields::i64`], required.
    ///
    /// # Errors
    /// The member is absent or not such an integer.
    pub fn required_i64(&self, name: &'static str, range: RangeInclusive<i64>) -> Result<i64, FieldError> {
        required(name, self.i64(name, range.clone()), || {
            format!("an integer of {}..={}", range.start(), range.end()).into()
        })
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// The member is something else.
    pub fn boolean(&self, name: &'static str) -> Result<Option<bool>, FieldError> {
        self.optional(name, || "true or false".into(), boolean_of)
    }

    /// An object, as its members.
    ///
    /// # Errors
    /// The member is another kind of value.
    pub fn object(&self, name: &'static str) -> Result<Option<Self>, FieldError> {
        self.optional(name, || "an object".into(), |raw| raw.starts_with('{').then(|| Fields::of(raw)))
    }

    /// As [`Fields::object`], required.
    ///
    /// # Errors
    /// The member is absent or another kind of value.
    pub fn required_object(&self, name: &'static str) -> Result<Self, FieldError> {
        required(name, self.object(name), || "an object".into())
    }

    /// An array of at most `most` values, each as JSON text.
    ///
    /// # Errors
    /// The member is another kind of value or longer.
    pub fn array(&self, name: &'static str, most: usize) -> Result<Option<Vec<&'a str>>, FieldError> {
        self.optional(
            name,
            || format!("an array of at most {most} values").into(),
            |raw| {
                let elements: Vec<&'a str> = elements_of(raw)?.take(most.saturating_add(1)).collect();
                (elements.len() <= most).then_some(elements)
            },
        )
    }

    /// An array of at most `most` strings, each of a length in bytes that lies in `bytes`.
    ///
    /// # Errors
    /// The member is another kind of value or longer, or one of its values is no such string.
    pub fn strings(
        &self,
        name: &'static str,
        most: usize,
        bytes: RangeInclusive<usize>,
    ) -> Result<Option<Vec<Cow<'a, str>>>, FieldError> {
        self.optional(
            name,
            || {
                format!("an array of at most {most} strings of {}..={} bytes", bytes.start(), bytes.end())
                    .into()
            },
            |raw| {
                let strings: Option<Vec<Cow<'a, str>>> = elements_of(raw)?
                    .take(most.saturating_add(1))
                    .map(|element| string_of(element).filter(|text| bytes.contains(&text.len())))
                    .collect();
                strings.filter(|strings| strings.len() <= most)
            },
        )
    }

    /// A number, by its text, or a string: money is written both ways (protocol §5.6).
    ///
    /// # Errors
    /// The member is another kind of value.
    pub fn number_or_string(&self, name: &'static str) -> Result<Option<Lexeme<'a>>, FieldError> {
        self.optional(name, || "a number or a string".into(), lexeme_of)
    }

    /// An advisory string (D-61): absent if it is anything else.
    #[must_use]
    pub fn advisory_string(&self, name: &str) -> Option<Cow<'a, str>> {
        self.present(name).and_then(string_of)
    }

    /// An advisory object (D-61): absent if it is anything else.
    #[must_use]
    pub fn advisory_object(&self, name: &str) -> Option<Self> {
        self.present(name).filter(|raw| raw.starts_with('{')).map(Fields::of)
    }

    fn optional<T>(
        &self,
        name: &'static str,
        allowed: impl FnOnce() -> Cow<'static, str>,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, FieldError> {
        match self.present(name) {
            None => Ok(None),
            Some(raw) => match read(raw) {
                Some(value) => Ok(Some(value)),
                None => Err(FieldError::wrong(name, allowed())),
            },
        }
    }

    #[inline]
    fn slice(&self, start: u32, end: u32) -> &'a str {
        let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else { return "" };
        self.text.get(start..end).unwrap_or_default()
    }
}

impl PartialEq for Fields<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Fields<'_> {}

fn required<T>(
    name: &'static str,
    value: Result<Option<T>, FieldError>,
    allowed: impl FnOnce() -> Cow<'static, str>,
) -> Result<T, FieldError> {
    value?.ok_or_else(|| FieldError::missing(name, allowed()))
}

fn allowed_string(bytes: &RangeInclusive<usize>) -> Cow<'static, str> {
    match (*bytes.start(), *bytes.end()) {
        (0, usize::MAX) => "a string".into(),
        (1, usize::MAX) => "a string that is not empty".into(),
        (start, end) => format!("a string of {start}..={end} bytes").into(),
    }
}

fn allowed_id() -> Cow<'static, str> {
    "a string of 1..=128 bytes without control characters".into()
}

/// Whether `text` may be an id: 1..=128 bytes without U+0000–U+001F and U+007F (protocol §1.2).
#[must_use]
#[inline]
pub fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len()) && !text::has_control(text)
}

/// The string that the validated JSON value `raw` is, unescaped; `None` if it is another kind of value.
#[must_use]
pub fn string_of(raw: &str) -> Option<Cow<'_, str>> {
    raw.strip_prefix('"')?.strip_suffix('"').map(text::unescape)
}

/// The integer that the validated JSON value `raw` is, `-?(0|[1-9][0-9]*)`; `None` if it is anything else or out of
/// range.
#[must_use]
pub fn u64_of(raw: &str) -> Option<u64> {
    match raw.strip_prefix('-') {
        None => magnitude_of(raw),
        Some(digits) => magnitude_of(digits).filter(|&value| value == 0),
    }
}

/// As [`u64_of`], signed.
#[must_use]
pub fn i64_of(raw: &str) -> Option<i64> {
    match raw.strip_prefix('-') {
        None => magnitude_of(raw).and_then(|value| i64::try_from(value).ok()),
        Some(digits) => magnitude_of(digits).and_then(|value| 0_i64.checked_sub_unsigned(value)),
    }
}

fn magnitude_of(digits: &str) -> Option<u64> {
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    digits.bytes().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// The boolean that the JSON value `raw` is.
#[must_use]
pub fn boolean_of(raw: &str) -> Option<bool> {
    match raw {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The number or string that the validated JSON value `raw` is.
#[must_use]
pub fn lexeme_of(raw: &str) -> Option<Lexeme<'_>> {
    match raw.as_bytes().first() {
        Some(b'"') => string_of(raw).map(Lexeme::String),
        Some(b'-' | b'0'..=b'9') => Some(Lexeme::Number(raw)),
        _ => None,
    }
}

/// The values of the validated JSON array `raw`, each as JSON text; `None` if it is another kind of value.
#[must_use]
pub fn elements_of(raw: &str) -> Option<Elements<'_>> {
    raw.starts_with('[').then(|| skim::elements(raw))
}

#[cfg(test)]
mod tests;
