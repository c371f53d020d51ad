//! Lines out of a stream.

use arcp_proto::wire::{Line, LineSplitter};
use bytes::Bytes;

use super::choices::Choices;

/// Splits the bytes into lines. How the stream is cut into pieces changes nothing, and the lines are those found by
/// looking at all of it at once.
pub fn lines(data: &[u8]) {
    let mut choices = Choices::new(data);
    let max_line = choices.below(64);
    let sizes = choices.bytes(4);
    let stream = choices.rest();
    let mut splitter = LineSplitter::new(max_line);
    let mut found = Vec::new();
    let (mut rest, mut turn) = (stream, 0_usize);
    while !rest.is_empty() {
        let size = sizes.get(turn % sizes.len().max(1)).map_or(1, |size| usize::from(*size) % 48 + 1);
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        splitter.push(piece);
        found.extend(std::iter::from_fn(|| splitter.next_line()));
        (rest, turn) = (behind, turn + 1);
    }
    let (expected, inside) = at_once(stream, max_line);
    assert_eq!(found, expected);
    assert_eq!(splitter.is_inside_line(), inside);
    assert_eq!(splitter.finish(), inside);
    assert!(!splitter.finish() && splitter.next_line().is_none());
    splitter.push(b"\nx\n");
    let after = splitter.next_line();
    assert_eq!(
        after,
        (max_line > 0).then_some(Line::Frame(Bytes::from_static(b"x"))).or(Some(Line::TooLong))
    );
}

fn at_once(stream: &[u8], max_line: usize) -> (Vec<Line>, bool) {
    let is_blank = |line: &[u8]| line.iter().all(|byte| b" \t\r".contains(byte));
    let mut pieces: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let tail = pieces.pop().unwrap_or_default();
    let mut found: Vec<Line> = Vec::new();
    for line in pieces {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > max_line {
            found.push(Line::TooLong);
        } else if !is_blank(line) {
            found.push(Line::Frame(Bytes::copy_from_slice(line)));
        }
    }
    // Of a line without an end, that it is too long is certain once more than its CR is.
    let too_long = tail.strip_suffix(b"\r").unwrap_or(tail).len() > max_line;
    if too_long {
        found.push(Line::TooLong);
    }
    (found, too_long || !is_blank(tail))
}
