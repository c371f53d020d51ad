//! Cutting a byte stream into frames, one per line (protocol §10.2).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::text;

/// What a line turned out to be. Its `Debug` shows no text, which may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub enum Line {
    /// The line without its end.
    Frame(Bytes),
    /// The line was longer than allowed. Said once, as soon as it is certain; the rest of the line is discarded.
    TooLong,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(frame) => write!(f, "Frame({} bytes)", frame.len()),
            Self::TooLong => f.write_str("TooLong"),
        }
    }
}

/// Cuts what a byte stream delivers into lines.
///
/// A line ends with LF; a CR before it is dropped, any other CR belongs to the line. Lines of only spaces, tabs and CR
/// are skipped. Of an unfinished line at most the allowed length is kept. Lines that are complete wait in memory until
/// [`LineSplitter::next_line`] takes them, so take them all before pushing more. Its `Debug` shows how much there is.
pub struct LineSplitter {
    max_line: usize,
    /// The unfinished line.
    partial: Vec<u8>,
    /// Bytes of the unfinished line, those that were discarded or stand for nothing included.
    unfinished: u64,
    /// The unfinished line was reported as too long.
    discarding: bool,
    ready: VecDeque<Line>,
}

impl fmt::Debug for LineSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineSplitter")
            .field("max_line", &self.max_line)
            .field("unfinished", &self.unfinished)
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

impl LineSplitter {
    /// Accepts lines of up to `max_line` bytes without their end.
    #[must_use]
    pub const fn new(max_line: usize) -> Self {
        Self { max_line, partial: Vec::new(), unfinished: 0, discarding: false, ready: VecDeque::new() }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = text::line_feed(bytes, 0);
            let (piece, rest) = bytes.split_at(end);
            match rest.split_first() {
                Some((_line_feed, rest)) => {
                    self.unfinished = 0;
                    self.end_line(piece);
                    bytes = rest;
                }
                None => {
                    self.unfinished = self.unfinished.saturating_add(piece.len() as u64);
                    self.keep(piece);
                    return;
                }
            }
        }
    }

    /// The next line, if one is complete.
    pub fn next_line(&mut self) -> Option<Line> {
        self.ready.pop_front()
    }

    /// How many bytes of the line that is not finished have arrived, kept or not; 0 between two lines.
    #[must_use]
    pub const fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// Whether the stream, should it end here, ends inside a line. That rest is not a frame.
    #[must_use]
    pub fn is_inside_line(&self) -> bool {
        self.discarding || !is_blank(&self.partial)
    }

    /// The stream has ended: drops the rest of an unfinished line and says whether there was one.
    pub fn finish(&mut self) -> bool {
        let inside = self.is_inside_line();
        self.unfinished = 0;
        self.partial = Vec::new();
        self.discarding = false;
        inside
    }

    fn end_line(&mut self, piece: &[u8]) {
        if self.discarding {
            self.discarding = false;
        } else if self.partial.is_empty() {
            self.deliver(piece);
        } else if !self.overflows(piece) {
            let mut line = core::mem::take(&mut self.partial);
            line.extend_from_slice(piece);
            self.deliver(&line);
            // Keeps the buffer for the next line that arrives in pieces, unless it has grown out of proportion.
            if line.capacity() <= KEPT_CAPACITY {
                line.clear();
                self.partial = line;
            }
        } else {
            self.partial = Vec::new();
            self.ready.push_back(Line::TooLong);
        }
    }

    fn deliver(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.max_line {
            self.ready.push_back(Line::TooLong);
        } else if !is_blank(line) {
            // A copy of its own, so that a frame kept for long does not keep its neighbours' memory.
            self.ready.push_back(Line::Frame(Bytes::copy_from_slice(line)));
        }
    }

    /// Keeps the beginning of a line.
    fn keep(&mut self, piece: &[u8]) {
        if self.discarding {
            return;
        }
        if self.overflows(piece) {
            self.partial = Vec::new();
            self.discarding = true;
            self.ready.push_back(Line::TooLong);
        } else {
            self.partial.extend_from_slice(piece);
        }
    }

    /// Whether the unfinished line with `piece` added is certainly too long. A last CR may belong to its end.
    fn overflows(&self, piece: &[u8]) -> bool {
        let length = self.partial.len().saturating_add(piece.len());
        let last = piece.last().or_else(|| self.partial.last());
        let content = if last == Some(&b'\r') { length - 1 } else { length };
        content > self.max_line
    }
}

/// A buffer up to this size is kept between lines.
const KEPT_CAPACITY: usize = 64 * 1024;

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::Envelope;
    use crate::wire::scan::ScanLimits;
    use crate::wire::testing::{Random, hostile_vectors};

    fn frame(text: &'static str) -> Line {
        Line::Frame(Bytes::from_static(text.as_bytes()))
    }

    fn split(max_line: usize, input: &[u8], chunk: usize) -> (Vec<Line>, bool) {
        let mut splitter = LineSplitter::new(max_line);
        let mut lines = Vec::new();
        for bytes in input.chunks(chunk) {
            splitter.push(bytes);
            assert!(splitter.partial.len() <= max_line + 1);
            lines.extend(core::iter::from_fn(|| splitter.next_line()));
        }
        (lines, splitter.finish())
    }

    #[test]
    fn line_ends_and_blank_lines() {
        for chunk in 1..20 {
            let input = "a\r\n\n \t\r\n b\rc \n\u{2028}\n\rd";
            let (lines, inside) = split(10, input.as_bytes(), chunk);
            assert_eq!(lines, [frame("a"), frame(" b\rc "), frame("\u{2028}")]);
            assert!(inside);
            assert!(!split(10, b"a\n \t", chunk).1);
        }
    }

    #[test]
    fn what_is_unfinished_is_counted_and_not_shown() {
        let mut splitter = LineSplitter::new(4);
        for (bytes, unfinished) in [("ab", 2), ("cdef", 6), ("\n", 0), ("\nxy", 2), ("z\nca", 2)] {
            splitter.push(bytes.as_bytes());
            assert_eq!(splitter.unfinished(), unfinished, "{bytes:?}");
        }
        assert_eq!(
            std::format!("{splitter:?}"),
            "LineSplitter { max_line: 4, unfinished: 2, ready: [TooLong, Frame(3 bytes)], .. }"
        );
        assert!(splitter.finish());
        assert_eq!(splitter.unfinished(), 0);
    }

    #[test]
    fn the_limit_counts_the_line_without_its_end() {
        for chunk in 1..8 {
            assert_eq!(
                split(3, b"abc\nabc\r\nab\r\r\n", chunk).0,
                [frame("abc"), frame("abc"), frame("ab\r")]
            );
            assert_eq!(split(3, b"abcd\nx\n", chunk).0, [Line::TooLong, frame("x")]);
            assert_eq!(split(3, b"abcd\r\nx\n", chunk).0, [Line::TooLong, frame("x")]);
            assert_eq!(split(3, b"abc\r\r\nx\n", chunk).0, [Line::TooLong, frame("x")]);
            assert_eq!(split(3, b"abc\rd\nx\n", chunk).0, [Line::TooLong, frame("x")]);
            assert_eq!(split(3, b"abcdefghij", chunk), (Vec::from([Line::TooLong]), true));
        }
    }

    #[test]
    fn how_the_stream_is_chunked_does_not_matter() {
        let mut random = Random::new(5);
        for _ in 0..5_000 {
            let length = random.below(60);
            let input: Vec<u8> = (0..length).map(|_| random.pick(b"\n\n\r \tabc")).collect();
            let whole = split(6, &input, usize::MAX);
            let mut expected = Vec::new();
            let mut lines: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
            let rest = lines.pop().unwrap_or_default();
            for line in lines {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if line.len() > 6 {
                    expected.push(Line::TooLong);
                } else if !is_blank(line) {
                    expected.push(Line::Frame(Bytes::copy_from_slice(line)));
                }
            }
            let rest_length = rest.strip_suffix(b"\r").unwrap_or(rest).len();
            if rest_length > 6 {
                expected.push(Line::TooLong);
            }
            assert_eq!(whole, (expected, rest_length > 6 || !is_blank(rest)));
            for chunk in [1, 2, 3, 7] {
                assert_eq!(split(6, &input, chunk), whole, "{input:?} in pieces of {chunk}");
            }
        }
    }

    #[test]
    fn line_vectors_come_out_as_expected() {
        let mut seen = 0;
        for vector in hostile_vectors().iter().filter(|vector| vector.at == "line") {
            seen += 1;
            for chunk in [1 << 16, 7] {
                if chunk == 7 && vector.input.len() > 1 << 20 {
                    continue;
                }
                let (lines, inside) = split(ScanLimits::RUNTIME.bytes, &vector.input, chunk);
                let verdicts: Vec<bool> = lines
                    .iter()
                    .map(|line| match line {
                        Line::Frame(text) => Envelope::decode(text, &ScanLimits::RUNTIME).is_ok(),
                        Line::TooLong => false,
                    })
                    .collect();
                let (expected, ends_inside): (&[bool], bool) = match vector.expect.as_str() {
                    "accept 1 frame" => (&[true], false),
                    "accept 1 frame then close" => (&[true], true),
                    "close" => (&[], true),
                    "reject with INVALID_REQUEST" => (&[false], false),
                    "reject with INVALID_REQUEST twice" => (&[false, false], false),
                    "reject with INVALID_REQUEST then accept 1 frame" => (&[false, true], false),
                    "reject with INVALID_REQUEST once; memory stays bounded" => (&[false], true),
                    other => panic!("{}: an expectation this test does not know: {other}", vector.name),
                };
                assert_eq!(verdicts, expected, "{}", vector.name);
                assert_eq!(inside, ends_inside, "{}", vector.name);
            }
        }
        assert!(seen >= 14, "only {seen} line vectors");
    }
}
