//! A body over inputs that are known, and over mutations of them, without a fuzzer.

use std::fs;
use std::io;
use std::path::Path;

use super::{Body, TARGETS, seeds};

/// The inputs of a target and what it does with them.
#[derive(Debug)]
pub struct Exploration {
    /// What the target does.
    pub body: Body,
    inputs: Vec<(String, Vec<u8>)>,
    random: Random,
    done: usize,
}

impl Exploration {
    /// Of the target of this name: its seeds, and what is committed in the folder of its name in `corpus`.
    ///
    /// # Errors
    /// There is no such target, or the folder cannot be read.
    pub fn of(target: &str, corpus: &Path) -> io::Result<Self> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("there is no target `{target}`"));
        let (_, body) = *TARGETS.iter().find(|(name, _)| *name == target).ok_or_else(unknown)?;
        let mut inputs = seeds(target);
        inputs.extend(committed(&corpus.join(target))?);
        inputs.push(("nothing".to_owned(), Vec::new()));
        Ok(Self { body, inputs, random: Random(0x9e37_79b9_7f4a_7c15), done: 0 })
    }

    /// The next input and its name: first those that are known, then mutations of them, without end.
    pub fn next_input(&mut self) -> (String, Vec<u8>) {
        self.done += 1;
        if let Some(known) = self.inputs.get(self.done - 1) {
            return known.clone();
        }
        let random = &mut self.random;
        let (name, one) = &self.inputs[random.below(self.inputs.len())];
        let (_, other) = &self.inputs[random.below(self.inputs.len())];
        (format!("mutation {} of {name}", self.done - self.inputs.len() - 1), mutated(random, one, other))
    }

    /// How many inputs are known.
    #[must_use]
    pub const fn known(&self) -> usize {
        self.inputs.len()
    }
}

/// What once went wrong, and some that a fuzzer found to be unlike the others; none without a folder.
fn committed(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    found.sort();
    Ok(found)
}

/// xorshift64*: repeatable.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).unwrap_or(0) % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }
}

/// One input made of two: cut, joined, and changed in a few places.
fn mutated(random: &mut Random, one: &[u8], other: &[u8]) -> Vec<u8> {
    let mut input = one.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let till = at + random.below((input.len() - at).min(16) + 1);
        match random.below(6) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..till)),
            2 => {
                let piece = input[at..till].to_vec();
                input.splice(at..at, piece);
            }
            3 => {
                let from = random.below(other.len() + 1);
                let size = random.below((other.len() - from).min(64) + 1);
                input.splice(at..at, other[from..from + size].iter().copied());
            }
            4 if at < input.len() => input[at] = random.byte(),
            _ => {
                let bytes = b"0123456789{}[]\",:\\-+.eE@T \n\r\0\x01\x07\x0a\xff";
                let byte = bytes[random.below(bytes.len())];
                input.insert(at, byte);
            }
        }
    }
    input
}
