//! JSON values made of decisions, and the many spellings of each.

use super::choices::Choices;

/// A value, each in one way only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// `± digits × 10^exponent`; the digits neither begin nor end with a zero, and zero has none and no sign.
    Number {
        negative: bool,
        digits: String,
        exponent: i64,
    },
    Text(String),
    Array(Vec<Self>),
    /// Sorted by name.
    Object(Vec<(String, Self)>),
}

impl Json {
    /// A value that nests up to `depth`.
    pub(super) fn read(choices: &mut Choices<'_>, depth: usize) -> Self {
        match choices.below(if depth == 0 { 8 } else { 14 }) {
            0 => Self::Null,
            1 => Self::Bool(choices.below(2) == 1),
            2..=4 => Self::number(choices),
            5..=7 => Self::Text(text(choices)),
            8..=10 => Self::Array((0..choices.below(5)).map(|_| Self::read(choices, depth - 1)).collect()),
            _ => {
                let mut members: Vec<(String, Self)> =
                    (0..choices.below(6)).map(|_| (text(choices), Self::read(choices, depth - 1))).collect();
                members.sort();
                members.dedup_by(|one, other| one.0 == other.0);
                Self::Object(members)
            }
        }
    }

    fn number(choices: &mut Choices<'_>) -> Self {
        let digits = (choices.number() >> choices.below(64)).to_string();
        let trimmed = digits.trim_matches('0');
        let zeros = i64::try_from(digits.len() - digits.trim_end_matches('0').len()).unwrap_or(0);
        if trimmed.is_empty() {
            return Self::Number { negative: false, digits: String::new(), exponent: 0 };
        }
        let power = i64::from(choices.byte()) - 128;
        Self::Number {
            negative: choices.below(2) == 1,
            digits: trimmed.to_owned(),
            exponent: zeros + if choices.below(4) == 0 { power } else { 0 },
        }
    }

    /// One of the texts that mean this value.
    pub(super) fn spell(&self, choices: &mut Choices<'_>, out: &mut String) {
        out.push_str(space(choices));
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number { negative, digits, exponent } => {
                spell_number(choices, out, *negative, digits, *exponent);
            }
            Self::Text(text) => spell_text(choices, out, text),
            Self::Array(values) => {
                out.push('[');
                for (index, value) in values.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    value.spell(choices, out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                let mut left: Vec<_> = members.iter().collect();
                while !left.is_empty() {
                    let (name, value) = left.swap_remove(choices.below(left.len()));
                    spell_text(choices, out, name);
                    out.push_str(space(choices));
                    out.push(':');
                    value.spell(choices, out);
                    out.push_str(if left.is_empty() { "" } else { "," });
                    out.push_str(space(choices));
                }
                out.push('}');
            }
        }
        out.push_str(space(choices));
    }
}

fn space(choices: &mut Choices<'_>) -> &'static str {
    choices.pick(&["", "", "", " ", "\n", "\t\r "])
}

fn text(choices: &mut Choices<'_>) -> String {
    let parts =
        ["a", "b", "input", "null", "é", "\u{e9}", "e\u{301}", "😀", "\"", "\\", "/", "\n", "\0", "\u{7f}"];
    (0..choices.below(4)).map(|_| choices.pick(&parts)).collect()
}

fn spell_text(choices: &mut Choices<'_>, out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        let mut units = [0; 2];
        match (choices.below(3), character) {
            (0, '"' | '\\' | '/') => out.extend(['\\', character]),
            (0, '\n') => out.push_str("\\n"),
            (1, '\u{20}'..) if !matches!(character, '"' | '\\') => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

fn spell_number(choices: &mut Choices<'_>, out: &mut String, negative: bool, digits: &str, exponent: i64) {
    let is_zero = digits.is_empty();
    if negative || (is_zero && choices.below(2) == 1) {
        out.push('-');
    }
    // Zeros before and behind the digits, a point somewhere in them, and the exponent that makes up for both.
    let zeros = if is_zero { 0 } else { choices.below(4) };
    let mut written = format!("{digits}{}", "0".repeat(zeros));
    let places = choices.below(written.len() + 3);
    if written.len() <= places {
        written.insert_str(0, &"0".repeat(places + 1 - written.len()));
    }
    let point = written.len() - places;
    out.push_str(&written[..point]);
    if places > 0 {
        out.push('.');
        out.push_str(&written[point..]);
    }
    let moved = i64::try_from(places).unwrap_or(0) - i64::try_from(zeros).unwrap_or(0);
    let power = if is_zero { i64::from(choices.byte()) } else { exponent + moved };
    if power != 0 || choices.below(3) == 0 {
        let sign = if power < 0 { "-" } else { choices.pick(&["", "+"]) };
        let padding = choices.pick(&["", "", "0", "000"]);
        out.push_str(&format!("{}{sign}{padding}{}", choices.pick(&["e", "E"]), power.abs()));
    }
}
