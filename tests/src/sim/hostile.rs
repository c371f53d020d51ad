//! The published list of hostile frames.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::Value;

/// Frames longer than this would only cost time here; tests of their own have them.
const LONGEST: usize = 8_192;

/// One of the list.
pub(super) fn frame(number: u64) -> Bytes {
    static FRAMES: OnceLock<Vec<Bytes>> = OnceLock::new();
    let frames = FRAMES.get_or_init(read);
    let index = usize::try_from(number).unwrap_or(0) % frames.len();
    frames[index].clone()
}

fn read() -> Vec<Bytes> {
    let list = include_str!("../../vectors/hostile.jsonl");
    let lines = list.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| matches!(line["at"].as_str(), Some("runtime" | "client")))
        .filter_map(|line| line["input"].as_str().map(str::to_owned))
        .filter(|input| input.len() <= LONGEST && !input.contains('\n'))
        .map(Bytes::from)
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_there() {
        assert!(super::read().len() > 50, "{}", super::read().len());
    }
}
