//! Bytes as decisions: a seed makes the bytes, or a fuzzer does.

use arbitrary::Unstructured;

use crate::random::Random;

/// Hands out decisions until the bytes are used up, then always the first choice, which is the calm one everywhere.
pub(super) struct Choices<'a>(Unstructured<'a>);

impl<'a> Choices<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0.int_in_range(0..=bound.saturating_sub(1)).unwrap_or(0)
    }

    /// As [`Self::below`], for places in a list.
    pub(super) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }

    /// Holds once in `many` times, never without bytes.
    pub(super) fn one_in(&mut self, many: u64) -> bool {
        many > 1 && self.below(many) == 1
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }
}

/// The bytes of a seed.
#[must_use]
pub fn expand(seed: u64, length: usize) -> Vec<u8> {
    // Neighbouring seeds must not share their sequences.
    let mut random = Random::new(Random::new(seed ^ 0xa11c_e5ee_d000_0000).next_u64());
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
