//! The digest by which two submits are found to ask for the same (protocol §3.3, D-23, D-62).

use alloc::borrow::Cow;

use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::wire::RawJson;
use crate::wire::string_of;

/// Sets this digest apart from any other use of SHA-256, and one version of the canonical form from the next.
const DOMAIN: &[u8] = b"arcp job.submit 1";

/// SHA-256 over the canonical form of a submit's parameters.
///
/// Two submits have the same digest exactly if they mean the same (protocol §3.3): the order of members, white space,
/// escapes and the spelling of numbers do not matter; `null`, order in arrays and every digit of a number do. A lease
/// or its constraints may be absent, `null`, or an object without a member that is not `null`: all three are one.
///
/// The values must be within the depth that a scan of a frame allows. Time and memory are linear in their size, but
/// for sorting the members of an object.
#[must_use]
pub fn digest(
    agent: &str,
    input: &RawJson,
    lease_request: Option<&RawJson>,
    lease_constraints: Option<&RawJson>,
    max_runtime_sec: Option<u64>,
) -> [u8; 32] {
    let mut form = Form(Sha256::new());
    form.text(DOMAIN);
    form.text(agent.as_bytes());
    form.json(input.as_str(), Nulls::Kept);
    for lease in [lease_request, lease_constraints] {
        form.json(lease.map_or("null", RawJson::as_str), Nulls::Absent);
    }
    match max_runtime_sec {
        Some(seconds) => {
            form.tag(b'u');
            form.0.update(seconds.to_be_bytes());
        }
        None => form.tag(b'n'),
    }
    form.0.finalize().into()
}

/// What a member of the outermost object means that is `null`.
#[derive(Clone, Copy, PartialEq)]
enum Nulls {
    /// A value.
    Kept,
    /// No member; an object without any is `null` itself.
    Absent,
}

/// Takes in the canonical form. Every value begins with a tag that says where it ends, so no two sequences of values
/// are the same bytes.
struct Form(Sha256);

impl Form {
    fn tag(&mut self, tag: u8) {
        self.0.update([tag]);
    }

    fn text(&mut self, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut head = [b's'; 9];
        head[1..].copy_from_slice(&length.to_be_bytes());
        self.0.update(head);
        self.0.update(bytes);
    }

    fn json(&mut self, text: &str, nulls: Nulls) {
        let layout = Layout::of(text);
        self.value(&layout, layout.part_at(0), 0, nulls);
    }

    /// The value that begins at `start`; `container` is its index if it is an object or array.
    fn value(&mut self, layout: &Layout<'_>, start: usize, container: usize, nulls: Nulls) {
        match layout.byte(start) {
            b'{' => self.object(layout, start, container, nulls),
            b'[' => {
                self.tag(b'[');
                let (mut next, mut inner) = (layout.part_at(start + 1), container + 1);
                while !matches!(layout.byte(next), b']' | 0) {
                    self.value(layout, next, inner, Nulls::Kept);
                    (next, inner) = layout.behind(next, inner);
                }
                self.tag(b']');
            }
            b'"' => self.text(layout.string(start).as_bytes()),
            b't' => self.tag(b't'),
            b'f' => self.tag(b'f'),
            b'n' => self.tag(b'n'),
            _ => self.number(layout.scalar(start)),
        }
    }

    fn object(&mut self, layout: &Layout<'_>, start: usize, container: usize, nulls: Nulls) {
        let mut members: SmallVec<[(Cow<'_, str>, usize, usize); 8]> = SmallVec::new();
        let (mut name, mut inner) = (layout.part_at(start + 1), container + 1);
        while !matches!(layout.byte(name), b'}' | 0) {
            let value = layout.part_at(string_end(layout.text.as_bytes(), name));
            if nulls == Nulls::Kept || layout.byte(value) != b'n' {
                members.push((layout.string(name), value, inner));
            }
            (name, inner) = layout.behind(value, inner);
        }
        if nulls == Nulls::Absent && members.is_empty() {
            return self.tag(b'n');
        }
        // Names differ, so what follows them never decides. Texts compare by their UTF-8 bytes.
        members.sort_unstable();
        self.tag(b'{');
        for (name, value, inner) in &members {
            self.text(name.as_bytes());
            self.value(layout, *value, *inner, Nulls::Kept);
        }
        self.tag(b'}');
    }

    /// A number as sign, digits without zeros at either end, and a power of ten. Zero has no digits and no sign.
    fn number(&mut self, spelled: &str) {
        let Some(decimal) = Decimal::read(spelled) else {
            self.tag(b'x');
            return self.text(spelled.as_bytes());
        };
        self.tag(if decimal.negative { b'-' } else { b'+' });
        self.text(&decimal.digits);
        self.0.update(decimal.exponent.to_be_bytes());
    }
}

/// `± digits × 10^exponent`, each value in one way only.
#[derive(Debug, PartialEq)]
struct Decimal {
    negative: bool,
    digits: SmallVec<[u8; 64]>,
    exponent: i64,
}

impl Decimal {
    /// `None` for an exponent of more than 18 digits, unless the number is zero.
    fn read(spelled: &str) -> Option<Self> {
        let (mantissa, exponent) = spelled.split_once(['e', 'E']).unwrap_or((spelled, "0"));
        let (negative, magnitude) = match mantissa.strip_prefix('-') {
            Some(magnitude) => (true, magnitude),
            None => (false, mantissa),
        };
        let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
        let mut digits: SmallVec<[u8; 64]> = whole.bytes().chain(fraction.bytes()).collect();
        let mut trailing: i64 = 0;
        while digits.last() == Some(&b'0') {
            digits.pop();
            trailing += 1;
        }
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..leading);
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        let (minus, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => (true, exponent),
            None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
        };
        let exponent = exponent.trim_start_matches('0');
        if exponent.len() > 18 {
            return None;
        }
        let exponent: i64 = if exponent.is_empty() { 0 } else { exponent.parse().ok()? };
        let exponent = if minus { -exponent } else { exponent };
        let places = i64::try_from(fraction.len()).ok()?;
        // Below 10¹⁸ in size, and no text is long enough to move that out of the range.
        Some(Self { negative, digits, exponent: exponent + trailing - places })
    }
}

/// Where the containers of a validated text end, so that the members of an object are found without reading what is in
/// them: one pass, however deep the nesting.
struct Layout<'a> {
    text: &'a str,
    /// By order of their beginning.
    containers: SmallVec<[Container; 16]>,
}

#[derive(Clone, Copy, Default)]
struct Container {
    /// The byte after it.
    end: u32,
    /// The index of the first container that begins after it.
    next: u32,
}

impl<'a> Layout<'a> {
    fn of(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut containers: SmallVec<[Container; 16]> = SmallVec::new();
        let mut open: SmallVec<[usize; 64]> = SmallVec::new();
        let mut position = 0;
        while let Some(byte) = bytes.get(position) {
            match byte {
                b'"' => {
                    position = string_end(bytes, position);
                    continue;
                }
                b'{' | b'[' => {
                    open.push(containers.len());
                    containers.push(Container::default());
                }
                b'}' | b']' => {
                    let next = narrowed(containers.len());
                    if let Some(container) = open.pop().and_then(|index| containers.get_mut(index)) {
                        *container = Container { end: narrowed(position + 1), next };
                    }
                }
                _ => {}
            }
            position += 1;
        }
        Self { text, containers }
    }

    /// The byte at `position`; NUL, which is no part of JSON, past the end.
    fn byte(&self, position: usize) -> u8 {
        self.text.as_bytes().get(position).copied().unwrap_or(0)
    }

    /// The first value, name or closing bracket at or after `position`.
    fn part_at(&self, position: usize) -> usize {
        let rest = self.text.as_bytes().get(position..).unwrap_or_default();
        let is_between = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':');
        position + rest.iter().take_while(is_between).count()
    }

    /// What comes behind the value that begins at `start`, with the index of the next container, if `container` is the
    /// first that begins at or after `start`.
    fn behind(&self, start: usize, container: usize) -> (usize, usize) {
        match self.byte(start) {
            b'{' | b'[' => {
                let skipped = self.containers.get(container).copied().unwrap_or_default();
                // In validated text a container ends behind its beginning; `max` keeps any other from going in circles.
                (self.part_at(widened(skipped.end).max(start + 1)), widened(skipped.next))
            }
            b'"' => (self.part_at(string_end(self.text.as_bytes(), start)), container),
            _ => (self.part_at(start + self.scalar(start).len().max(1)), container),
        }
    }

    /// The string whose opening quote is at `start`, unescaped.
    fn string(&self, start: usize) -> Cow<'a, str> {
        let end = string_end(self.text.as_bytes(), start);
        self.text.get(start..end).and_then(string_of).unwrap_or_default()
    }

    /// The number, or word, that begins at `start`.
    fn scalar(&self, start: usize) -> &'a str {
        let rest = self.text.get(start..).unwrap_or_default();
        let ends = |byte: u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
        rest.get(..rest.bytes().position(ends).unwrap_or(rest.len())).unwrap_or_default()
    }
}

/// The byte after the string whose opening quote is at `quote`.
fn string_end(bytes: &[u8], quote: usize) -> usize {
    let mut position = quote + 1;
    loop {
        match bytes.get(position) {
            Some(b'\\') => position += 2,
            Some(b'"') | None => return position + 1,
            Some(_) => position += 1,
        }
    }
}

/// A scan refuses texts beyond 4 GiB.
fn narrowed(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn widened(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
