//! Seeded randomness and generated JSON for the tests of this layer.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::Value;

/// xorshift64*: repeatable, good enough for tests.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("bounds are small").max(1);
        usize::try_from((self.next() >> 11) % bound).expect("below a usize")
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A valid JSON text with white space and escapes in many places and nesting up to `depth`.
pub(crate) fn json(random: &mut Random, depth: usize) -> String {
    let space = random.pick(&["", "", "", " ", "\n", "\t\r "]);
    let value = match random.below(if depth == 0 { 6 } else { 10 }) {
        0 => random.pick(&["null", "true", "false"]).to_string(),
        1 | 2 => number(random),
        3..=5 => string(random),
        6 | 7 => {
            let items: Vec<String> = (0..random.below(5)).map(|_| json(random, depth - 1)).collect();
            format!("[{space}{}]", items.join(","))
        }
        _ => {
            let members: Vec<String> = (0..random.below(6))
                .map(|index| {
                    let name = string(random);
                    let name = format!("{}{index}\"", &name[..name.len() - 1]);
                    format!("{space}{name}{space}:{}", json(random, depth - 1))
                })
                .collect();
            format!("{{{}{space}}}", members.join(","))
        }
    };
    format!("{space}{value}{space}")
}

fn number(random: &mut Random) -> String {
    let integer = random.pick(&["0", "-0", "7", "-12", "9007199254740993", "1234567890"]);
    let fraction = random.pick(&["", "", ".5", ".000"]);
    let exponent = random.pick(&["", "", "", "e3", "E-7", "e+0"]);
    format!("{integer}{fraction}{exponent}")
}

fn string(random: &mut Random) -> String {
    let parts = [
        "a",
        "payload",
        "id",
        "é",
        "😀",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\\u00e9",
        "\\ud83d\\ude00",
        "longer plain text",
        "\\u0000",
    ];
    let text: String = (0..random.below(5)).map(|_| random.pick(&parts)).collect();
    format!("\"{text}\"")
}

/// One line of the hostile vectors.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) at: String,
    pub(crate) expect: String,
    pub(crate) input: Vec<u8>,
}

/// The hostile vectors that carry one input.
pub(crate) fn hostile_vectors() -> Vec<Vector> {
    include_str!("../../../tests/vectors/hostile.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"))
        .filter_map(|line| {
            let text = |name: &str| line[name].as_str().map(ToString::to_string);
            let input = input_of(&line)?;
            Some(Vector { name: text("name")?, at: text("at")?, expect: text("expect")?, input })
        })
        .collect()
}

pub(crate) fn input_of(line: &Value) -> Option<Vec<u8>> {
    if let Some(parts) = line["input_gen"].as_array() {
        let mut input = Vec::new();
        for part in parts {
            match part {
                Value::String(text) => input.extend_from_slice(text.as_bytes()),
                repeated => {
                    let text = repeated["repeat"].as_str()?;
                    let times = usize::try_from(repeated["n"].as_u64()?).ok()?;
                    input.extend_from_slice(text.repeat(times).as_bytes());
                }
            }
        }
        return Some(input);
    }
    if let Some(text) = line["input_base64"].as_str() {
        return Some(base64(text));
    }
    line["input"].as_str().map(|text| text.as_bytes().to_vec())
}

fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.bytes().filter(|&byte| byte != b'=') {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digit = alphabet.iter().position(|&letter| letter == byte).expect("base64");
        bits = bits << 6 | u32::try_from(digit).expect("below 64");
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).expect("a byte"));
        }
    }
    bytes
}

/// Whether this is the prefix and a ULID.
pub(crate) fn is_minted(value: &Value, prefix: &str) -> bool {
    let ulid = value.as_str().and_then(|text| text.strip_prefix(prefix));
    ulid.is_some_and(|text| crate::id::Ulid::parse(text).is_some())
}

/// Whether this is a trace id as we write it.
pub(crate) fn is_trace_id(value: &Value) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    value.as_str().is_some_and(|text| {
        text.len() == 32 && text.bytes().all(is_digit) && text.bytes().any(|digit| digit != b'0')
    })
}

/// Where a `null` is that we would not send, by its path: outside opaque slots and the last page's cursor.
pub(crate) fn stray_null(value: &Value, path: &str) -> Option<String> {
    const MAY_BE_NULL: [&str; 4] = ["input", "next_cursor", "output", "result"];
    match value {
        Value::Null => Some(path.to_string()),
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !MAY_BE_NULL.contains(&name.as_str()))
            .find_map(|(name, member)| stray_null(member, &format!("{path}.{name}"))),
        Value::Array(items) => items.iter().find_map(|item| stray_null(item, path)),
        _ => None,
    }
}
