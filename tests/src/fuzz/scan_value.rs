//! The scan against an independent reader of JSON.

use std::collections::BTreeSet;
use std::fmt;

use arcp_proto::wire::{Malformed, ScanLimits, check_value};
use serde_json::de::Deserializer;
use serde_json::value::RawValue;

/// Scans the bytes as a value. It is accepted exactly if an independent reader accepts it and finds no member twice;
/// beyond that only a limit refuses, and each limit does so exactly one step behind what the value has.
pub fn scan_value(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let unlimited =
        ScanLimits { bytes: usize::MAX, depth: 100, number_bytes: usize::MAX, ..ScanLimits::CLIENT };
    let checked = check_value(text, &unlimited, 0);
    if checked == Err(Malformed::TooDeep { limit: 100 }) {
        return;
    }
    let measured = Measures::of(text);
    let measures = match (&checked, measured) {
        (Ok(()), Ok(measures)) => measures,
        (Err(_), Err(_)) => return,
        (checked, measured) => panic!("{checked:?}, but {measured:?} to the other reader: {text:?}"),
    };
    let Measures { depth, tokens, members, name_bytes } = measures;
    let exact =
        ScanLimits { bytes: text.len(), depth, tokens, members, name_bytes, number_bytes: usize::MAX };
    assert_eq!(check_value(text, &exact, 0), Ok(()), "exactly at its limits: {text:?}");
    let refused = |limits: ScanLimits, offset| check_value(text, &limits, offset).expect_err("over a limit");
    let bytes = refused(ScanLimits { bytes: text.len() - 1, ..exact.clone() }, 0);
    assert!(matches!(bytes, Malformed::TooLarge { .. }), "{bytes:?}");
    let tokens = refused(ScanLimits { tokens: tokens - 1, ..exact.clone() }, 0);
    assert!(matches!(tokens, Malformed::TooManyTokens { .. }), "{tokens:?}");
    if depth > 0 {
        assert!(matches!(refused(exact.clone(), 1), Malformed::TooDeep { .. }), "{text:?}");
        let deeper = ScanLimits { depth: depth + 7, ..exact.clone() };
        assert_eq!(check_value(text, &deeper, 7), Ok(()), "{text:?}");
    }
    if members > 0 {
        let members = refused(ScanLimits { members: members - 1, ..exact.clone() }, 0);
        assert!(matches!(members, Malformed::TooManyMembers { .. }), "{members:?}");
    }
    if name_bytes > 0 {
        let name = refused(ScanLimits { name_bytes: name_bytes - 1, ..exact }, 0);
        assert!(matches!(name, Malformed::NameTooLong { .. }), "{name:?}");
    }
}

/// What an independent reader finds in a value.
#[derive(Debug, Default)]
struct Measures {
    depth: usize,
    tokens: usize,
    members: usize,
    name_bytes: usize,
}

impl Measures {
    /// Numbers are never decoded, so that their size is no matter.
    fn of(text: &str) -> Result<Self, serde_json::Error> {
        let mut measures = Self::default();
        let mut reader = Deserializer::from_str(text);
        let whole: &RawValue = serde::Deserialize::deserialize(&mut reader)?;
        reader.end()?;
        measures.value(whole.get(), 0)?;
        Ok(measures)
    }

    fn value(&mut self, text: &str, outer: usize) -> Result<(), serde_json::Error> {
        self.tokens += 1;
        match text.as_bytes().first() {
            Some(b'{') => {
                self.depth = self.depth.max(outer + 1);
                let Members(members) = serde_json::from_str(text)?;
                self.members = self.members.max(members.len());
                for (name, value) in members {
                    self.tokens += 1;
                    self.name_bytes = self.name_bytes.max(name.len());
                    self.value(value.get(), outer + 1)?;
                }
            }
            Some(b'[') => {
                self.depth = self.depth.max(outer + 1);
                for value in serde_json::from_str::<Vec<&RawValue>>(text)? {
                    self.value(value.get(), outer + 1)?;
                }
            }
            // A text is decoded, because only then are lone surrogates found.
            Some(b'"') => drop(serde_json::from_str::<String>(text)?),
            _ => {}
        }
        Ok(())
    }
}

/// The members of an object, whose names must differ.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut members, mut names) = (Vec::new(), BTreeSet::new());
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if !names.insert(name.clone()) {
                        return Err(serde::de::Error::custom("a member twice"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
