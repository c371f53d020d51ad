//! Every fuzz target over what is known and over a little that is not, without a fuzzer.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use arcp_tests::fuzz::{Body, TARGETS, seeds};

/// xorshift64*: repeatable.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).unwrap() % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The committed inputs of a target: what once went wrong, and some that a fuzzer found to be unlike the others.
fn committed(target: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(corpus(target)) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}

/// Runs a target; an input that breaks a promise is shown, so that it can be kept.
fn run(target: &str, body: Body, name: &str, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
        let file = std::env::temp_dir().join(format!("arcp-fuzz-{target}-{}", std::process::id()));
        fs::write(&file, input).unwrap();
        eprintln!("{target}, {name}: the input is in {}", file.display());
        resume_unwind(panic);
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

/// The seeds and the committed inputs, then mutations of them.
fn explore(target: &str, mutations: usize) {
    let (_, body) = *TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let mut inputs = seeds(target);
    inputs.extend(committed(target));
    inputs.push(("nothing".to_owned(), Vec::new()));
    for (name, input) in &inputs {
        run(target, body, name, input);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for number in 0..mutations {
        let (name, one) = &inputs[random.below(inputs.len())];
        let (_, other) = &inputs[random.below(inputs.len())];
        let input = mutated(&mut random, one, other);
        run(target, body, &format!("mutation {number} of {name}"), &input);
    }
}

macro_rules! targets {
    ($($target:ident: $mutations:expr,)*) => {
        $(
            #[test]
            fn $target() {
                explore(stringify!($target), $mutations);
            }
        )*

        #[test]
        fn every_target_is_explored() {
            let explored = [$(stringify!($target)),*];
            assert_eq!(TARGETS.map(|(name, _)| name), explored);
        }
    };
}

targets! {
    envelope: 40_000,
    lines: 60_000,
    scan_value: 20_000,
    rfc3339: 60_000,
    agent_ref: 60_000,
    lease_match: 20_000,
    lease_subset: 6_000,
    lease_path: 40_000,
    lease_url: 40_000,
    amount: 20_000,
    lease: 20_000,
    payloads: 60_000,
    digest: 15_000,
    runtime_frames: 2_000,
    client_frames: 8_000,
    two_peers: 1_000,
    recovery: 2_000,
    world: 300,
}

/// Writes the seeds where a fuzzer looks for them: `cargo test -p arcp-tests --test corpus -- --ignored`.
#[test]
#[ignore = "writes files for a fuzzer"]
fn write_seeds() {
    for (target, _) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, input) in seeds(target).into_iter().chain(committed(target)) {
            fs::write(folder.join(name), input).unwrap();
        }
    }
}
