use super::*;
use crate::wire::testing::{Random, json};
use alloc::format;
use alloc::string::{String, ToString};
use serde_json::Value;

fn check(text: &str) -> Result<(), Malformed> {
    scan(text.as_bytes(), &ScanLimits::RUNTIME).map(|_| ())
}

#[test]
fn the_members_of_the_frame_and_its_payload_are_noted() {
    let text = r#" {"a" : [1, {"payload":{}}],"p\u0061yload":{"x":{"y":1},"z":""} , "t":true} "#;
    let scanned = scan(text.as_bytes(), &ScanLimits::RUNTIME).expect("valid");
    assert_eq!(scanned.text, text);
    let members = scanned.members.expect("an object");
    assert_eq!(members.opaque("a"), Some(r#"[1, {"payload":{}}]"#));
    assert_eq!(members.opaque("t"), Some("true"));
    assert_eq!(members.len(), 3);
    let payload = scanned.payload.expect("an object");
    assert_eq!(payload.opaque("x"), Some(r#"{"y":1}"#));
    assert_eq!(payload.opaque("z"), Some("\"\""));
    assert_eq!(payload.len(), 2);

    let scanned = scan(br#"[{"payload":{"a":1}}]"#, &ScanLimits::RUNTIME).expect("valid");
    assert!(scanned.members.is_none() && scanned.payload.is_none());
    let scanned = scan(br#"{"payload":[{"a":1}]}"#, &ScanLimits::RUNTIME).expect("valid");
    assert!(scanned.members.is_some_and(|members| members.len() == 1) && scanned.payload.is_none());
    let scanned = scan(br#"{"payload":{},"b":{"c":1}}"#, &ScanLimits::RUNTIME).expect("valid");
    assert!(scanned.payload.is_some_and(|payload| payload.is_empty()));
}

#[test]
fn noted_members_are_those_found_by_looking_again() {
    let mut random = Random::new(31);
    let mut seen = 0;
    for _ in 0..3_000 {
        let text =
            format!("{{\"before\":{},\"payload\":{},\"x\":1}}", json(&mut random, 2), json(&mut random, 4));
        let scanned = scan(text.as_bytes(), &ScanLimits::RUNTIME).expect("generated text is JSON");
        let members = scanned.members.expect("an object");
        assert_eq!(members, Fields::of(&text));
        let raw = members.opaque("payload").expect("present");
        assert_eq!(scanned.payload.is_some(), raw.starts_with('{'));
        if let Some(payload) = scanned.payload {
            seen += 1;
            assert_eq!(payload, Fields::of(raw));
        }
    }
    assert!(seen > 300);
}

#[test]
fn limits_are_exact() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(check(&nested(64)), Ok(()));
    assert_eq!(check(&nested(65)), Err(Malformed::TooDeep { limit: 64 }));
    assert_eq!(check_value(&nested(62), &ScanLimits::RUNTIME, 2), Ok(()));
    assert_eq!(check_value(&nested(63), &ScanLimits::RUNTIME, 2), Err(Malformed::TooDeep { limit: 64 }));

    let array = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
    assert_eq!(check(&array(99_999)), Ok(()));
    assert_eq!(check(&array(100_000)), Err(Malformed::TooManyTokens { limit: 100_000 }));
    assert!(scan(array(100_000).as_bytes(), &ScanLimits::CLIENT).is_ok());

    let named = |bytes: usize| format!("{{\"{}\":1}}", "k".repeat(bytes));
    assert_eq!(check(&named(256)), Ok(()));
    assert_eq!(check(&named(257)), Err(Malformed::NameTooLong { bytes: 257, limit: 256 }));
    assert_eq!(check(&format!("{{\"{}\":1}}", "\\u006b".repeat(256))), Ok(()));

    assert_eq!(check(&"9".repeat(64)), Ok(()));
    assert_eq!(check(&"9".repeat(65)), Err(Malformed::NumberTooLong { bytes: 65, limit: 64 }));

    let members = |count: usize| {
        let members: Vec<String> = (0..count).map(|index| format!("\"k{index}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert_eq!(check(&members(1_000)), Ok(()));
    assert_eq!(check(&members(1_001)), Err(Malformed::TooManyMembers { limit: 1_000 }));
    assert!(scan(members(1_001).as_bytes(), &ScanLimits::CLIENT).is_ok());

    let long = format!("\"{}\"", "x".repeat(ScanLimits::RUNTIME.bytes - 2));
    assert_eq!(check(&long), Ok(()));
    assert!(matches!(check(&(long + " ")), Err(Malformed::TooLarge { .. })));
}

#[test]
fn faults_are_told_apart() {
    for (text, fault) in [
        ("", Malformed::Truncated),
        ("  ", Malformed::Truncated),
        ("{\"a\"", Malformed::Truncated),
        ("tru", Malformed::Truncated),
        ("-", Malformed::Truncated),
        ("\"\\u12", Malformed::Truncated),
        ("{}{}", Malformed::Trailing { at: 2 }),
        ("01", Malformed::Trailing { at: 1 }),
        ("[1,]", Malformed::Syntax { at: 3, allowed: "a value" }),
        ("{\"a\":1,}", Malformed::Syntax { at: 7, allowed: "a member name in double quotes" }),
        ("{\"a\" 1}", Malformed::Syntax { at: 5, allowed: "`:`" }),
        ("[1}", Malformed::Syntax { at: 2, allowed: "`,` or `]`" }),
        ("1.x", Malformed::Syntax { at: 2, allowed: "a digit" }),
        ("\"a\u{1}\"", Malformed::ControlCharacter { at: 2 }),
        ("\"\\x41\"", Malformed::Escape { at: 1 }),
        ("\"\\u041\"zz", Malformed::Escape { at: 1 }),
        ("\"\\u041\"", Malformed::Escape { at: 1 }),
        ("\"\\u04\"", Malformed::Truncated),
        ("\"\\ud83d\"", Malformed::LoneSurrogate { at: 1 }),
        ("\"\\ud83dx\\ude00\"", Malformed::LoneSurrogate { at: 1 }),
        ("\"\\ude00\\ud83d\"", Malformed::LoneSurrogate { at: 1 }),
        ("\u{feff}{}", Malformed::ByteOrderMark),
        ("\0", Malformed::Syntax { at: 0, allowed: "a value" }),
    ] {
        assert_eq!(check(text), Err(fault), "{text:?}");
    }
    assert_eq!(scan(b"\"\xff\"", &ScanLimits::RUNTIME).map(|_| ()), Err(Malformed::NotUtf8 { at: 1 }));
    let text = check(r#"{"a\u0062c":1,"abc":2}"#).map_err(|fault| fault.to_string());
    assert_eq!(text, Err("member `abc` twice in one object; names must differ".to_string()));
}

#[test]
fn duplicates_are_found_in_objects_of_any_size_and_place() {
    let mut random = Random::new(41);
    for round in 0..600 {
        let count = 2 + random.below(120);
        // Names that share both ends exercise the comparison behind the fingerprint.
        let shared = random.below(2) == 0;
        let mut names: Vec<String> = (0..count)
            .map(|index| if shared { format!("beginning{index:03}endending") } else { format!("k{index}") })
            .collect();
        let object = |names: &[String]| {
            let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":{{\"k0\":[]}}")).collect();
            format!("[{{\"in\":{{{}}}}}]", members.join(","))
        };
        assert_eq!(check(&object(&names)), Ok(()), "round {round}");
        let (from, to) = (random.below(count), random.below(count));
        if from == to {
            continue;
        }
        let mut name = names[from].clone();
        if random.below(2) == 0 {
            let first = u32::from(name.remove(0));
            name.insert_str(0, &format!("\\u{first:04x}"));
        }
        names[to] = name;
        let verdict = check(&object(&names));
        assert!(matches!(verdict, Err(Malformed::DuplicateMember { .. })), "round {round}: {verdict:?}");
    }
    // The same name in different objects is none.
    assert_eq!(check(r#"{"a":{"a":1},"b":{"a":{"b":1}},"c":[{"a":1},{"a":2}]}"#), Ok(()));
}

#[test]
fn verdicts_agree_with_serde_json_on_mutated_texts() {
    let mut random = Random::new(51);
    let (mut both_accept, mut both_refuse) = (0, 0);
    for _ in 0..60_000 {
        let mut bytes = json(&mut random, 4).into_bytes();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = random.byte(),
                1 => bytes.insert(at, random.pick(b"{}[],:\"\\ \n0-19.eEtfnu\x01\x7f\xc3\xed")),
                2 => {
                    bytes.remove(at);
                }
                _ => {
                    let end = at + random.below(bytes.len() - at);
                    let piece = bytes[at..end].to_vec();
                    let to = random.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        let ours = scan(&bytes, &ScanLimits::RUNTIME).map(|_| ());
        let text = String::from_utf8_lossy(&bytes);
        match (ours, serde_json::from_slice::<Value>(&bytes).is_ok()) {
            (Ok(()), true) => both_accept += 1,
            (Err(_), false) => both_refuse += 1,
            // Stricter by intent; serde_json also keeps numbers as doubles and refuses what exceeds them.
            (Err(Malformed::DuplicateMember { name }), true) => {
                assert!(has_duplicate(&bytes), "{name}: {text}")
            }
            (Ok(()), false) => assert!(number_out_of_range(&bytes), "only serde_json refuses {text}"),
            (Err(fault), true) => panic!("only the scan refuses {text}: {fault}"),
        }
    }
    assert!(both_accept > 10_000 && both_refuse > 10_000, "{both_accept} accepted, {both_refuse} refused");
}

fn number_out_of_range(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_err_and(|error| error.to_string().contains("out of range"))
}

/// Reads the text as a tree that keeps repeated members.
fn has_duplicate(bytes: &[u8]) -> bool {
    struct Tree(bool);
    impl<'de> serde::Deserialize<'de> for Tree {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(TreeVisitor)
        }
    }
    struct TreeVisitor;
    impl<'de> serde::de::Visitor<'de> for TreeVisitor {
        type Value = Tree;
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("JSON")
        }
        fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
            Ok(Tree(false))
        }
        fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
            Ok(Tree(false))
        }
        fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
            Ok(Tree(false))
        }
        fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
            Ok(Tree(false))
        }
        fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
            Ok(Tree(false))
        }
        fn visit_unit<E>(self) -> Result<Tree, E> {
            Ok(Tree(false))
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
            let mut any = false;
            while let Some(Tree(found)) = seq.next_element()? {
                any |= found;
            }
            Ok(Tree(any))
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
            let mut any = false;
            let mut names = alloc::collections::BTreeSet::new();
            while let Some((name, Tree(found))) = map.next_entry::<String, Tree>()? {
                any |= found | !names.insert(name);
            }
            Ok(Tree(any))
        }
    }
    serde_json::from_slice::<Tree>(bytes).is_ok_and(|Tree(found)| found)
}
