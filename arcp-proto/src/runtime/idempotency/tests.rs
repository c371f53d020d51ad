use super::*;
use crate::wire::testing::Random;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::value::RawValue;

fn raw(text: &str) -> RawJson {
    RawJson::try_from(text).expect("JSON")
}

fn of_input(input: &str) -> [u8; 32] {
    digest("a", &raw(input), None, None, None)
}

#[test]
fn spelling_is_not_meaning() {
    for group in [
        &["1", "1.0", "10e-1", "1E0", "0.1e+1", "100e-2", "1e-0", "1e000000000000000000000000", " 1\n"][..],
        &["0", "-0", "0.0", "-0.000", "0e7", "-0E-99999999999999999999999"],
        &["-120", "-1.2e2", "-12e1", "-0.012e4"],
        &["1e400", "10e399", "0.1e401", "1e0000000000000000000400"],
        &["1e999999999999999999", "10e999999999999999998", "1000E+000999999999999999996"],
        &[r#"{"x":1,"y":[10e-1]}"#, r#"{ "y" : [ 1.0 ] , "x" : 1e0 }"#, r#"{"\u0079":[1],"\u0078":1}"#],
        &[r#""é/😀""#, r#""\u00e9\/\ud83d\ude00""#, r#""\u00E9/\uD83D\uDE00""#],
        &[r#"{"a":{"c":[{}],"b":{}},"d":[[]]}"#, r#"{"d":[[ ]],"a":{"b":{ },"c":[{}]}}"#],
        &[r#"{"é":1,"z":2,"😀":3,"\uffff":4}"#, "{\"\u{ffff}\":4,\"😀\":3,\"z\":2,\"é\":1}"],
    ] {
        for text in group {
            assert_eq!(of_input(text), of_input(group[0]), "{text} is {}", group[0]);
        }
    }
}

#[test]
fn meaning_is_kept() {
    let texts = [
        "null",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "10",
        "100",
        "0.1",
        "9007199254740992",
        "9007199254740993",
        "1e400",
        "1e401",
        "-1e400",
        "1e1000000000000000000",
        "1e1000000000000000001",
        "1E1000000000000000000",
        "0.30000000000000004",
        "0.3",
        r#""""#,
        r#""1""#,
        r#""null""#,
        r#""\u0000""#,
        r#""a""#,
        r#""A""#,
        "[]",
        "{}",
        "[null]",
        "[[]]",
        "[{}]",
        "[1,2]",
        "[2,1]",
        "[12]",
        "[1,[2]]",
        "[[1],2]",
        "[[1,2]]",
        r#"["a","b"]"#,
        r#"["ab"]"#,
        r#"["a,b"]"#,
        r#"{"x":null}"#,
        r#"{"x":1}"#,
        r#"{"x":1,"y":null}"#,
        r#"{"x":{"y":1}}"#,
        r#"{"x":{},"y":1}"#,
        r#"{"y":{},"x":1}"#,
        r#"{"x":"y"}"#,
        r#"["x","y"]"#,
        "{\"\u{e9}\":1}",
        "{\"e\u{301}\":1}",
    ];
    let mut seen: BTreeMap<[u8; 32], &str> = BTreeMap::new();
    for text in texts {
        if let Some(other) = seen.insert(of_input(text), text) {
            panic!("{text} and {other} have one digest");
        }
    }
}

#[test]
fn each_parameter_counts_in_its_own_place() {
    let lease = raw(r#"{"net.fetch":["https://a/**"]}"#);
    let expires = raw(r#"{"expires_at":"2026-08-14T09:30:00Z"}"#);
    let (null, empty) = (RawJson::null(), RawJson::empty_object());
    let digests = [
        digest("a", &null, None, None, None),
        digest("a@1", &null, None, None, None),
        digest("a", &empty, None, None, None),
        digest("a", &lease, None, None, None),
        digest("a", &null, Some(&lease), None, None),
        digest("a", &null, None, Some(&lease), None),
        digest("a", &null, None, Some(&expires), None),
        digest("a", &null, Some(&lease), Some(&expires), None),
        digest("a", &null, Some(&expires), Some(&lease), None),
        digest("a", &null, None, None, Some(1)),
        digest("a", &null, None, None, Some(2)),
    ];
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[..index].contains(digest), "{index}");
    }
}

#[test]
fn an_empty_lease_is_no_lease() {
    let none = digest("a", &RawJson::null(), None, None, None);
    for text in ["null", "{}", "{ }", r#"{"net.fetch":null}"#, r#"{"a":null,"b":null}"#] {
        let lease = raw(text);
        assert_eq!(digest("a", &RawJson::null(), Some(&lease), None, None), none, "{text}");
        assert_eq!(digest("a", &RawJson::null(), None, Some(&lease), None), none, "{text}");
    }
    let of = |text| digest("a", &RawJson::null(), Some(&raw(text)), None, None);
    assert_eq!(of(r#"{"a":["x"],"b":null}"#), of(r#"{"a":["x"]}"#));
    assert_ne!(of(r#"{"a":["x"]}"#), of(r#"{"a":["x"],"b":[]}"#));
    assert_ne!(of(r#"{"a":["x","y"]}"#), of(r#"{"a":["y","x"]}"#));
}

#[test]
fn the_hostile_vectors_are_judged_as_published() {
    let lines = include_str!("../../../../tests/vectors/hostile.jsonl").lines();
    let mut judged = 0;
    for line in lines {
        let vector: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        let name = vector["name"].as_str().unwrap_or_default();
        if !name.starts_with("same-key-") {
            continue;
        }
        let digests: Vec<[u8; 32]> = vector["input"]
            .as_str()
            .expect("frames")
            .split(vector["split"].as_str().expect("several frames"))
            .map(digest_of_frame)
            .collect();
        let differ = vector["expect"].as_str().expect("an expectation").contains("DUPLICATE_KEY");
        assert_eq!(digests.len(), 2, "{name}");
        assert_eq!(digests[0] != digests[1], differ, "{name}");
        judged += 1;
    }
    assert!(judged >= 3, "{judged}");
}

fn digest_of_frame(frame: &str) -> [u8; 32] {
    let frame: BTreeMap<String, Box<RawValue>> = serde_json::from_str(frame).expect("a frame");
    let payload: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(frame["payload"].get()).expect("a payload");
    let member = |name: &str| payload.get(name).map(|value| raw(value.get()));
    let agent: String = member("agent").expect("an agent").decode().expect("a string");
    digest(
        &agent,
        &member("input").unwrap_or(RawJson::null()),
        member("lease_request").as_ref(),
        member("lease_constraints").as_ref(),
        member("max_runtime_sec").and_then(|value| value.decode().expect("an integer")),
    )
}

/// A value with one form per meaning.
#[derive(Debug, Clone, PartialEq)]
enum Meaning {
    Null,
    Boolean(bool),
    /// Without zeros at either end of the digits; zero is none of this kind.
    Number {
        negative: bool,
        digits: u64,
        exponent: i64,
    },
    Zero,
    Text(String),
    Array(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

fn meaning(random: &mut Random, depth: usize) -> Meaning {
    match random.below(if depth == 0 { 8 } else { 12 }) {
        0 => Meaning::Null,
        1 => Meaning::Boolean(random.below(2) == 0),
        2 => Meaning::Zero,
        3..=5 => {
            let mut digits = 1 + random.next() % random.pick(&[9, 1_000, 1 << 60]);
            while digits.is_multiple_of(10) {
                digits /= 10;
            }
            let exponent = i64::try_from(random.below(40)).expect("small") - 20;
            Meaning::Number { negative: random.below(2) == 0, digits, exponent }
        }
        6 | 7 => Meaning::Text(text(random)),
        8 | 9 => Meaning::Array((0..random.below(5)).map(|_| meaning(random, depth - 1)).collect()),
        _ => Meaning::Object(
            (0..random.below(12)).map(|_| (text(random), meaning(random, depth - 1))).collect(),
        ),
    }
}

fn text(random: &mut Random) -> String {
    (0..random.below(4))
        .map(|_| {
            random
                .pick(&['a', 'b', 'Z', 'é', '\u{fffd}', '😀', '"', '\\', '/', '\n', '\0', '{', '}', ']', ','])
        })
        .collect()
}

fn spelled(value: &Meaning, random: &mut Random) -> String {
    let space = random.pick(&["", "", " ", "\n", "\t\r "]);
    let value = match value {
        Meaning::Null => "null".to_string(),
        Meaning::Boolean(value) => value.to_string(),
        Meaning::Zero => random.pick(&["0", "-0", "0.00", "-0e5", "0E-12345678901234567890"]).to_string(),
        Meaning::Number { negative, digits, exponent } => {
            spelled_number(*negative, *digits, *exponent, random)
        }
        Meaning::Text(value) => spelled_text(value, random),
        Meaning::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| spelled(item, random)).collect();
            format!("[{space}{}]", items.join(","))
        }
        Meaning::Object(members) => {
            let mut left: Vec<(&String, &Meaning)> = members.iter().collect();
            let mut members = Vec::new();
            while !left.is_empty() {
                let (name, value) = left.swap_remove(random.below(left.len()));
                members.push(format!(
                    "{space}{}{space}:{}",
                    spelled_text(name, random),
                    spelled(value, random)
                ));
            }
            format!("{{{}{space}}}", members.join(","))
        }
    };
    format!("{space}{value}{space}")
}

fn spelled_number(negative: bool, digits: u64, exponent: i64, random: &mut Random) -> String {
    let sign = if negative { "-" } else { "" };
    let zeros = random.below(4);
    let mut all = format!("{digits}{}", "0".repeat(zeros));
    let mut exponent = exponent - i64::try_from(zeros).expect("small");
    let point = random.below(all.len() + 3);
    if point > 0 && point < all.len() {
        exponent += i64::try_from(all.len() - point).expect("short");
        all.insert(point, '.');
    } else if point == 0 {
        exponent += i64::try_from(all.len() + 1).expect("short");
        all = format!("0.0{all}");
    } else if point > all.len() {
        all.push_str(".0");
    }
    if exponent == 0 && random.below(2) == 0 {
        return format!("{sign}{all}");
    }
    let letter = random.pick(&["e", "E"]);
    let pad = random.pick(&["", "", "0", "00000"]);
    let exponent_sign = if exponent < 0 { "-" } else { random.pick(&["", "+"]) };
    format!("{sign}{all}{letter}{exponent_sign}{pad}{}", exponent.unsigned_abs())
}

fn spelled_text(value: &str, random: &mut Random) -> String {
    let mut out = String::from("\"");
    for character in value.chars() {
        let must = matches!(character, '"' | '\\' | '\n' | '\0');
        if must || random.below(3) == 0 {
            if character == '/' || character == '"' || character == '\\' {
                out.push('\\');
                out.push(character);
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&if random.below(2) == 0 {
                        format!("\\u{unit:04x}")
                    } else {
                        format!("\\u{unit:04X}")
                    });
                }
            }
        } else {
            out.push(character);
        }
    }
    out.push('"');
    out
}

/// Changes one thing somewhere inside.
fn changed(value: &mut Meaning, random: &mut Random) {
    match value {
        Meaning::Array(items) if !items.is_empty() && random.below(4) > 0 => {
            let index = random.below(items.len());
            changed(&mut items[index], random);
        }
        Meaning::Array(items) => items.push(Meaning::Null),
        Meaning::Object(members) if !members.is_empty() && random.below(4) > 0 => {
            let name = members.keys().nth(random.below(members.len())).expect("not empty").clone();
            let mut member = members.remove(&name).expect("a member");
            if random.below(4) == 0 && !members.contains_key(&format!("{name}x")) {
                members.insert(format!("{name}x"), member);
            } else {
                changed(&mut member, random);
                members.insert(name, member);
            }
        }
        Meaning::Object(members) => {
            members.insert(String::from("a name of its own"), Meaning::Null);
        }
        Meaning::Text(value) => value.push(' '),
        Meaning::Number { negative, exponent, .. } => {
            if random.below(2) == 0 {
                *negative = !*negative;
            } else {
                *exponent += 1;
            }
        }
        Meaning::Null => *value = Meaning::Zero,
        Meaning::Zero => *value = Meaning::Boolean(false),
        Meaning::Boolean(value) => *value = !*value,
    }
}

#[test]
fn any_spelling_of_any_value_and_nothing_else_has_its_digest() {
    let mut random = Random::new(23);
    for _ in 0..3_000 {
        let value = meaning(&mut random, 4);
        let first = spelled(&value, &mut random);
        let second = spelled(&value, &mut random);
        assert_eq!(of_input(&first), of_input(&second), "\n{first}\n{second}");
        let mut other = value.clone();
        changed(&mut other, &mut random);
        let third = spelled(&other, &mut random);
        assert_ne!(of_input(&first), of_input(&third), "\n{first}\n{third}");
    }
}

#[test]
fn depth_costs_no_more_than_size() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert_ne!(of_input(&nested(62)), of_input(&nested(61)));
    // One container of the layout for each bracket: every level is skipped, none is read again.
    assert_eq!(Layout::of(&nested(62)).containers.len(), 62);
    assert_eq!(
        Layout::of("[{},[[]],{}]").containers.iter().map(|c| (c.end, c.next)).collect::<Vec<_>>(),
        [(12, 5), (3, 2), (8, 4), (7, 4), (11, 5)]
    );
}

#[test]
fn the_digest_is_stable_across_versions() {
    let lease = raw(r#"{"net.fetch":["https://a/**"]}"#);
    let hex: String =
        digest("a@1", &raw(r#"{"n":-12.50,"s":["é",null,true,false]}"#), Some(&lease), None, Some(60))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
    // Computed apart from this code, from the description of the form.
    assert_eq!(hex, "fdcd813f0ccf2fb8b796157fcb4c01cf27222d95cf76714d148ca84456b099ee");
}

#[test]
fn text_that_was_not_validated_does_no_harm() {
    let mut random = Random::new(29);
    for _ in 0..20_000 {
        let text: String = (0..random.below(20))
            .map(|_| random.pick(&['"', '{', '[', ']', '}', ',', ':', '\\', 'é', '1', 'n']))
            .collect();
        Form(Sha256::new()).json(&text, Nulls::Kept);
    }
}
