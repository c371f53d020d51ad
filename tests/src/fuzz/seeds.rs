//! Inputs to begin with, made of the published vectors.

use serde_json::Value;

use super::lease_seeds;
use super::payloads::TYPES;
use crate::sim::expand;

const ENVELOPES: &str = include_str!("../../vectors/envelopes.jsonl");
const HOSTILE: &str = include_str!("../../vectors/hostile.jsonl");
/// Longer inputs make a fuzzer slow and show nothing that a limit's unit test does not.
const MAX_SEED: usize = 16 * 1_024;

/// Inputs for the target of this name, each with a name of its own.
#[must_use]
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<(String, Vec<u8>)> = match target {
        "envelope" => {
            frames(ENVELOPES).chain(frames(HOSTILE)).map(|(name, _, input)| (name, input)).collect()
        }
        "lines" => texts(&[
            "\u{28}\0\u{7}\u{17}\u{2}{\"a\":1}\r\n\n \t\r\n{}\rx\n\u{2028}\n{\"cut",
            "\u{3}abc\nabcd\r\nab\r\r\nabc\r",
        ]),
        "scan_value" => frames(ENVELOPES).chain(frames(HOSTILE)).filter_map(payload).collect(),
        "payloads" => frames(ENVELOPES).filter_map(typed_payload).collect(),
        "rfc3339" => texts(&[
            "2026-08-14T09:30:00.120Z",
            "2026-08-14t11:30:60.999999999+02:00",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999-23:59",
        ]),
        "agent_ref" => texts(&["mailer", "code-refactor@1.0.0+b7", "a@", "@1", "a@1@2", "7.z_-"]),
        "lease_match" => lease_seeds::matches(HOSTILE),
        "lease_subset" => lease_seeds::subsets(HOSTILE),
        "lease_path" => lease_seeds::targets(HOSTILE, "fs."),
        "lease_url" => lease_seeds::targets(HOSTILE, "net."),
        "amount" => lease_seeds::amounts(HOSTILE),
        "lease" => lease_seeds::leases(ENVELOPES, HOSTILE),
        "runtime_frames" => {
            let mut talks = conversations("c2r", "runtime", b"");
            talks.extend(lease_seeds::conversations());
            talks
        }
        "two_peers" => lease_seeds::links(),
        "world" => (1..=8).map(|seed| (format!("seed-{seed}"), expand(seed, 400))).collect(),
        "client_frames" => conversations("r2c", "client", b"\x00"),
        _ => Vec::new(),
    };
    seeds.retain(|(_, input)| input.len() <= MAX_SEED);
    // The targets that take decisions rather than texts begin with these, and the others lose nothing by them.
    seeds.extend((0..8_u8).map(|seed| (format!("counting-{seed}"), counting(seed))));
    seeds
}

fn counting(seed: u8) -> Vec<u8> {
    (0..200_u8)
        .map(|index| index.wrapping_mul(37).wrapping_add(seed.wrapping_mul(101)) ^ (index >> 3))
        .collect()
}

fn texts(texts: &[&str]) -> Vec<(String, Vec<u8>)> {
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| (format!("text-{index}"), text.as_bytes().to_vec()))
        .collect()
}

/// Name, direction or place, and the frame of every line that has one as text.
fn frames(lines: &'static str) -> impl Iterator<Item = (String, String, Vec<u8>)> {
    lines.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let side = line["direction"].as_str().or_else(|| line["at"].as_str())?.to_owned();
        let input = match &line["envelope"] {
            Value::Null => line["input"].as_str()?.to_owned(),
            envelope => envelope.to_string(),
        };
        Some((line["name"].as_str()?.to_owned(), side, input.into_bytes()))
    })
}

fn hostile_at(place: &'static str) -> impl Iterator<Item = (String, Vec<u8>)> {
    frames(HOSTILE).filter(move |(_, side, _)| side == place).map(|(name, _, input)| (name, input))
}

fn payload((name, _, input): (String, String, Vec<u8>)) -> Option<(String, Vec<u8>)> {
    let frame: Value = serde_json::from_slice(&input).ok()?;
    Some((name, frame.get("payload")?.to_string().into_bytes()))
}

fn typed_payload((name, side, input): (String, String, Vec<u8>)) -> Option<(String, Vec<u8>)> {
    let frame: Value = serde_json::from_slice(&input).ok()?;
    let kind = TYPES.iter().position(|kind| frame["type"] == **kind)?;
    let (name, mut payload) = payload((name, side, input))?;
    payload.insert(0, u8::try_from(kind).ok()?);
    Some((name, payload))
}

/// Frames of one direction in groups, with a little of everything else between them, and the hostile ones of one side.
fn conversations(direction: &str, place: &'static str, begin: &[u8]) -> Vec<(String, Vec<u8>)> {
    let good: Vec<_> = frames(ENVELOPES).filter(|(_, side, _)| side == direction).collect();
    let groups = good.chunks(6).enumerate().map(|(index, group)| {
        let mut input = begin.to_vec();
        for (position, (_, _, frame)) in group.iter().enumerate() {
            input.extend_from_slice(String::from_utf8_lossy(&addressed(frame)).as_bytes());
            let operation = u8::try_from((index * 5 + position * 3) % 18).unwrap_or(0);
            input.extend_from_slice(&[b'\n', if operation == 10 { 7 } else { operation }, 3, b'\n']);
        }
        (format!("talk-{index}"), input)
    });
    let hostile = hostile_at(place).map(|(name, input)| (name, [begin, &input, b"\n\x07\x02"].concat()));
    groups.chain(hostile).collect()
}

/// The frame, speaking of the job and session of whoever is addressed.
fn addressed(frame: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(frame) else { return frame.to_vec() };
    for (name, placeholder) in [("session_id", "$SESSION"), ("job_id", "$JOB")] {
        if value[name].is_string() {
            value[name] = placeholder.into();
        }
        if value["payload"][name].is_string() {
            value["payload"][name] = placeholder.into();
        }
    }
    for name in ["request_id", "reply_to"] {
        if value["payload"][name].is_string() {
            value["payload"][name] = "$REQUEST".into();
        }
    }
    value.to_string().into_bytes()
}
