//! The one pass over a text before anything is decoded (protocol §1.3, D-60).

use alloc::vec::Vec;
use core::fmt;

use smallvec::SmallVec;

use super::lexical::{byte_at, literal, number_end, skip_white_space, string_end, unexpected};
use super::malformed::{Excerpt, Malformed};
use super::read::{Fields, Span};
use super::text;

/// What a text may contain (protocol §1.3, §9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanLimits {
    /// Longest text, in bytes. Texts beyond 4 GiB are refused whatever this says.
    pub bytes: usize,
    /// Deepest nesting of objects and arrays; the outermost is 1.
    pub depth: usize,
    /// Most values and member names together. An object or array counts once beside what it contains.
    pub tokens: usize,
    /// Most members of one object.
    pub members: usize,
    /// Longest member name, in bytes, unescaped.
    pub name_bytes: usize,
    /// Longest text of a number, in bytes.
    pub number_bytes: usize,
}

impl ScanLimits {
    /// What a runtime accepts.
    pub const RUNTIME: Self = Self {
        bytes: 1 << 20,
        depth: 64,
        tokens: 100_000,
        members: 1_000,
        name_bytes: 256,
        number_bytes: 64,
    };

    /// What a client accepts: larger frames, which alone bound tokens, members and names.
    pub const CLIENT: Self = Self {
        bytes: 2 << 20,
        depth: 64,
        tokens: usize::MAX,
        members: usize::MAX,
        name_bytes: usize::MAX,
        number_bytes: 64,
    };
}

/// What a scan noted on its way. Its `Debug` shows names and no values.
pub struct Scanned<'a> {
    /// The whole text.
    pub text: &'a str,
    /// Members of the outermost object; `None` when the text is another kind of value.
    pub members: Option<Fields<'a>>,
    /// Members of the object that is the outermost object's member `payload`, if there is one.
    pub payload: Option<Fields<'a>>,
}

impl fmt::Debug for Scanned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanned")
            .field("bytes", &self.text.len())
            .field("members", &self.members)
            .field("payload", &self.payload)
            .finish()
    }
}

/// Proves that `text` is one JSON value (RFC 8259) within `limits`, in one pass without recursion.
///
/// Member names must differ within each object, compared after unescaping; escaped surrogates must come in pairs.
///
/// # Errors
/// The first thing found wrong.
pub fn scan<'a>(text: &'a [u8], limits: &ScanLimits) -> Result<Scanned<'a>, Malformed> {
    let text = decoded(text, limits)?;
    let mut captured = Captured::of(text);
    scan_into(text, limits, &mut captured)?;
    Ok(Scanned {
        text,
        members: captured.is_object.then_some(captured.members),
        payload: captured.payload_is_object.then_some(captured.payload),
    })
}

/// Proves that `text` is one JSON value within `limits`, as if it stood inside `depth_offset` objects and arrays.
///
/// # Errors
/// The first thing found wrong.
pub fn check_value(text: &str, limits: &ScanLimits, depth_offset: usize) -> Result<(), Malformed> {
    within_size(text.len(), limits)?;
    let mut captured = Captured::of(text);
    let mut scanner = Scanner::new(text, limits, &mut captured);
    scanner.value(depth_offset)?;
    scanner.end()
}

/// The text as UTF-8 of bearable size.
pub(super) fn decoded<'a>(text: &'a [u8], limits: &ScanLimits) -> Result<&'a str, Malformed> {
    within_size(text.len(), limits)?;
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(Malformed::ByteOrderMark);
    }
    core::str::from_utf8(text).map_err(|error| Malformed::NotUtf8 { at: error.valid_up_to() })
}

fn within_size(bytes: usize, limits: &ScanLimits) -> Result<(), Malformed> {
    // Spans are noted in 32 bits.
    let limit = limits.bytes.min(usize::try_from(u32::MAX).unwrap_or(usize::MAX));
    if bytes > limit { Err(Malformed::TooLarge { bytes, limit }) } else { Ok(()) }
}

/// Scans a whole frame. After an error `captured` holds the members that were complete before it.
pub(super) fn scan_into<'a>(
    text: &'a str,
    limits: &ScanLimits,
    captured: &mut Captured<'a>,
) -> Result<(), Malformed> {
    let mut scanner = Scanner::new(text, limits, captured);
    scanner.capture_depth = 1;
    scanner.value(0)?;
    scanner.end()
}

/// Scans the payload object that starts at `position` of a frame whose head, `tokens` tokens, has been read
/// otherwise. Returns where the payload ends.
pub(super) fn scan_payload_into<'a>(
    text: &'a str,
    position: usize,
    tokens: usize,
    limits: &ScanLimits,
    captured: &mut Captured<'a>,
) -> Result<usize, Malformed> {
    let mut scanner = Scanner::new(text, limits, captured);
    scanner.position = position;
    scanner.tokens = tokens;
    scanner.capture_depth = 2;
    scanner.captured.payload_is_object = true;
    scanner.value(1)?;
    Ok(scanner.position)
}

/// Where the members of a frame and of its payload lie.
pub(super) struct Captured<'a> {
    pub(super) is_object: bool,
    pub(super) members: Fields<'a>,
    pub(super) payload_is_object: bool,
    pub(super) payload: Fields<'a>,
}

impl<'a> Captured<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self {
            is_object: false,
            members: Fields::spanning(text),
            payload_is_object: false,
            payload: Fields::spanning(text),
        }
    }
}

/// Objects with up to this many members compare each name with those before it; larger ones are sorted at their end,
/// so that the work stays near-linear whatever names a peer chooses.
const COMPARED_IN_PLACE: usize = 32;

/// Marks an array among the open containers; no object has so many names before it in a text that spans fit.
const ARRAY: u32 = u32::MAX;

/// An object or array that is open.
struct Container {
    /// Index of the object's first name, or [`ARRAY`].
    first_name: u32,
    /// Length of [`Scanner::unescaped`] when the object was opened.
    unescaped: u32,
}

/// A member name of an open object.
#[derive(Clone, Copy)]
struct Name {
    fingerprint: u64,
    start: u32,
    end: u32,
    /// The range is one of [`Scanner::unescaped`], not of the text.
    unescaped: bool,
}

struct Scanner<'s, 'a> {
    text: &'a str,
    limits: &'s ScanLimits,
    captured: &'s mut Captured<'a>,
    position: usize,
    tokens: usize,
    containers: SmallVec<[Container; 16]>,
    names: SmallVec<[Name; COMPARED_IN_PLACE]>,
    /// Names that had escapes, of the open objects.
    unescaped: Vec<u8>,
    /// Members of objects at this depth or above are noted: 0 none, 1 the frame's, 2 the payload's too.
    capture_depth: usize,
    /// The member being read at depths 1 and 2.
    pending: [Span; 3],
    /// The member being read at depth 1 is `payload`.
    in_payload: bool,
}

impl<'s, 'a> Scanner<'s, 'a> {
    fn new(text: &'a str, limits: &'s ScanLimits, captured: &'s mut Captured<'a>) -> Self {
        Self {
            text,
            limits,
            captured,
            position: 0,
            tokens: 0,
            containers: SmallVec::new(),
            names: SmallVec::new(),
            unescaped: Vec::new(),
            capture_depth: 0,
            pending: [Span::default(); 3],
            in_payload: false,
        }
    }

    /// Reads one value that stands inside `outer_depth` containers.
    fn value(&mut self, outer_depth: usize) -> Result<(), Malformed> {
        let bytes = self.text.as_bytes();
        let mut position = self.position;
        let mut depth = outer_depth;
        'value: loop {
            position = skip_white_space(bytes, position);
            self.count_token()?;
            if depth <= self.capture_depth {
                self.pending[depth].value_start = offset(position);
            }
            match byte_at(bytes, position) {
                b'"' => position = string_end(bytes, position + 1)?.0 + 1,
                b'{' => {
                    self.begin_object(depth)?;
                    depth += 1;
                    position = skip_white_space(bytes, position + 1);
                    if byte_at(bytes, position) != b'}' {
                        position = self.name(position, depth)?;
                        continue 'value;
                    }
                    position += 1;
                    self.end_object()?;
                    depth -= 1;
                    self.left(depth);
                }
                b'[' => {
                    self.begin_array(depth)?;
                    depth += 1;
                    position = skip_white_space(bytes, position + 1);
                    if byte_at(bytes, position) != b']' {
                        continue 'value;
                    }
                    position += 1;
                    self.containers.pop();
                    depth -= 1;
                }
                b'-' | b'0'..=b'9' => position = self.number(position)?,
                b't' => position = literal(bytes, position, b"true")?,
                b'f' => position = literal(bytes, position, b"false")?,
                b'n' => position = literal(bytes, position, b"null")?,
                _ => return Err(unexpected(bytes, position, "a value")),
            }
            // A value is complete; what follows it may complete the containers around it too.
            loop {
                if depth == outer_depth {
                    self.position = position;
                    return Ok(());
                }
                if depth <= self.capture_depth {
                    self.capture(depth, position);
                }
                position = skip_white_space(bytes, position);
                let in_object = self.containers.last().is_some_and(|open| open.first_name != ARRAY);
                match (byte_at(bytes, position), in_object) {
                    (b',', true) => {
                        position = skip_white_space(bytes, position + 1);
                        position = self.name(position, depth)?;
                        continue 'value;
                    }
                    (b',', false) => {
                        position += 1;
                        continue 'value;
                    }
                    (b'}', true) => {
                        self.end_object()?;
                        depth -= 1;
                        self.left(depth);
                    }
                    (b']', false) => {
                        self.containers.pop();
                        depth -= 1;
                    }
                    (_, true) => return Err(unexpected(bytes, position, "`,` or `}`")),
                    (_, false) => return Err(unexpected(bytes, position, "`,` or `]`")),
                }
                position += 1;
            }
        }
    }

    /// Nothing but white space may follow.
    fn end(&self) -> Result<(), Malformed> {
        let bytes = self.text.as_bytes();
        let at = skip_white_space(bytes, self.position);
        if at < bytes.len() { Err(Malformed::Trailing { at }) } else { Ok(()) }
    }

    #[inline]
    fn count_token(&mut self) -> Result<(), Malformed> {
        self.tokens += 1;
        if self.tokens > self.limits.tokens {
            return Err(Malformed::TooManyTokens { limit: self.limits.tokens });
        }
        Ok(())
    }

    fn begin_object(&mut self, depth: usize) -> Result<(), Malformed> {
        self.deeper(depth)?;
        let first_name = offset(self.names.len());
        self.containers.push(Container { first_name, unescaped: offset(self.unescaped.len()) });
        if self.capture_depth == 1 {
            if depth == 0 {
                self.captured.is_object = true;
            } else if depth == 1 && self.in_payload {
                self.captured.payload_is_object = true;
                self.capture_depth = 2;
            }
        }
        Ok(())
    }

    fn begin_array(&mut self, depth: usize) -> Result<(), Malformed> {
        self.deeper(depth)?;
        self.containers.push(Container { first_name: ARRAY, unescaped: 0 });
        if depth == 0 {
            self.capture_depth = 0;
        }
        Ok(())
    }

    fn deeper(&self, depth: usize) -> Result<(), Malformed> {
        if depth >= self.limits.depth {
            return Err(Malformed::TooDeep { limit: self.limits.depth });
        }
        Ok(())
    }

    fn end_object(&mut self) -> Result<(), Malformed> {
        let Some(open) = self.containers.pop() else { return Ok(()) };
        let first = index(open.first_name);
        if self.names.len() - first > COMPARED_IN_PLACE {
            self.check_by_sorting(first)?;
        }
        self.names.truncate(first);
        self.unescaped.truncate(index(open.unescaped));
        Ok(())
    }

    /// An object at `depth + 1` was closed: the payload, once the frame's level is reached again.
    #[inline]
    fn left(&mut self, depth: usize) {
        if depth == 1 && self.capture_depth == 2 {
            self.capture_depth = 1;
        }
    }

    #[inline]
    fn capture(&mut self, depth: usize, value_end: usize) {
        let span = Span { value_end: offset(value_end), ..self.pending[depth] };
        let fields = if depth == 1 { &mut self.captured.members } else { &mut self.captured.payload };
        fields.push(span);
    }

    /// Reads a member name and the colon after it.
    fn name(&mut self, position: usize, depth: usize) -> Result<usize, Malformed> {
        let bytes = self.text.as_bytes();
        if byte_at(bytes, position) != b'"' {
            return Err(unexpected(bytes, position, "a member name in double quotes"));
        }
        self.count_token()?;
        let start = position + 1;
        let (end, escaped) = string_end(bytes, start)?;
        let name = if escaped {
            let unescaped_start = self.unescaped.len();
            let name = text::unescape(self.text.get(start..end).unwrap_or_default());
            self.unescaped.extend_from_slice(name.as_bytes());
            Name {
                fingerprint: fingerprint(name.as_bytes()),
                start: offset(unescaped_start),
                end: offset(self.unescaped.len()),
                unescaped: true,
            }
        } else {
            let fingerprint = fingerprint(bytes.get(start..end).unwrap_or_default());
            Name { fingerprint, start: offset(start), end: offset(end), unescaped: false }
        };
        let length = index(name.end - name.start);
        if length > self.limits.name_bytes {
            return Err(Malformed::NameTooLong { bytes: length, limit: self.limits.name_bytes });
        }
        let first = self.containers.last().map_or(0, |open| index(open.first_name));
        let before = self.names.get(first..).unwrap_or_default();
        if before.len() >= self.limits.members {
            return Err(Malformed::TooManyMembers { limit: self.limits.members });
        }
        if before.len() < COMPARED_IN_PLACE
            && before.iter().any(|other| {
                other.fingerprint == name.fingerprint && self.spelled(other) == self.spelled(&name)
            })
        {
            return Err(self.duplicate(&name));
        }
        self.names.push(name);
        if depth <= self.capture_depth {
            self.pending[depth] = Span {
                name_start: offset(start),
                name_end: offset(end),
                name_escaped: escaped,
                ..Span::default()
            };
            if depth == 1 {
                self.in_payload = self.spelled(&name) == b"payload";
            }
        }
        let colon = skip_white_space(bytes, end + 1);
        if byte_at(bytes, colon) != b':' {
            return Err(unexpected(bytes, colon, "`:`"));
        }
        Ok(colon + 1)
    }

    /// The bytes of a name, unescaped.
    fn spelled(&self, name: &Name) -> &[u8] {
        let source = if name.unescaped { self.unescaped.as_slice() } else { self.text.as_bytes() };
        source.get(index(name.start)..index(name.end)).unwrap_or_default()
    }

    #[cold]
    fn duplicate(&self, name: &Name) -> Malformed {
        let name = core::str::from_utf8(self.spelled(name)).unwrap_or_default();
        Malformed::DuplicateMember { name: Excerpt::of(name) }
    }

    #[cold]
    fn check_by_sorting(&mut self, first: usize) -> Result<(), Malformed> {
        // Taken out while it is sorted, because the order is that of texts `self` holds.
        let mut names = core::mem::take(&mut self.names);
        let of_object = names.get_mut(first..).unwrap_or_default();
        of_object.sort_unstable_by(|left, right| {
            left.fingerprint.cmp(&right.fingerprint).then_with(|| self.spelled(left).cmp(self.spelled(right)))
        });
        let twice = of_object.windows(2).find_map(|pair| match pair {
            [left, right] if left.fingerprint == right.fingerprint => {
                (self.spelled(left) == self.spelled(right)).then_some(left)
            }
            _ => None,
        });
        let outcome = twice.map_or(Ok(()), |name| Err(self.duplicate(name)));
        self.names = names;
        outcome
    }

    #[inline]
    fn number(&self, start: usize) -> Result<usize, Malformed> {
        let end = number_end(self.text.as_bytes(), start)?;
        let bytes = end - start;
        if bytes > self.limits.number_bytes {
            return Err(Malformed::NumberTooLong { bytes, limit: self.limits.number_bytes });
        }
        Ok(end)
    }
}

/// A number that tells names of one object apart without reading them: made of their first and last
/// bytes and, where those do not overlap, their length. Equal numbers need a look at the names.
#[inline]
fn fingerprint(name: &[u8]) -> u64 {
    let length = u64::try_from(name.len()).unwrap_or(u64::MAX).rotate_right(8);
    if let (Some(head), Some(tail)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        u64::from_le_bytes(*head) ^ u64::from_le_bytes(*tail).rotate_left(29) ^ length
    } else if let (Some(head), Some(tail)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << 32
    } else {
        name.iter().fold(length, |sum, &byte| sum << 8 | u64::from(byte))
    }
}

/// An index into a text whose length was checked to fit.
#[inline]
fn offset(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[inline]
fn index(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
