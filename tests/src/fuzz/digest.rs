//! The digest of a submit's parameters.

use arcp_proto::runtime::idempotency::digest as digest_of;
use arcp_proto::wire::RawJson;

use super::choices::Choices;
use super::json::Json;

/// Makes two values of the bytes and spells each twice. The digests are equal exactly if the values are (protocol §3.3):
/// no order of members, white space, escape or spelling of a number tells them apart, and nothing else is overlooked.
pub fn digest(data: &[u8]) {
    let mut choices = Choices::new(data);
    let one = Json::read(&mut choices, 4);
    let other = if choices.below(2) == 0 { nearby(&one, &mut choices) } else { Json::read(&mut choices, 4) };
    let [first, again, second] = [&one, &one, &other].map(|value| {
        let mut text = String::new();
        value.spell(&mut choices, &mut text);
        RawJson::parse(text.clone()).unwrap_or_else(|error| panic!("{error}: {text}"))
    });
    let input = |value: &RawJson| digest_of("a", value, None, None, None);
    assert_eq!(input(&first), input(&again), "{first:?} and {again:?}");
    assert_eq!(input(&first) == input(&second), one == other, "{first:?} and {second:?}");
    if matches!(one, Json::Object(_)) {
        let lease = |value: &RawJson| digest_of("a", &RawJson::null(), Some(value), None, Some(1));
        let constraints = |value: &RawJson| digest_of("a", &RawJson::null(), None, Some(value), Some(1));
        assert_eq!(lease(&first), lease(&again), "{first:?} and {again:?}");
        let is_nothing = without_nulls(&one).is_empty();
        assert_eq!(lease(&first) == constraints(&first), is_nothing, "{first:?}");
        assert_eq!(lease(&first) == digest_of("a", &RawJson::null(), None, None, Some(1)), is_nothing);
        if matches!(other, Json::Object(_)) {
            let same = without_nulls(&one) == without_nulls(&other);
            assert_eq!(lease(&first) == lease(&second), same, "{first:?} and {second:?}");
        }
    }
    assert_ne!(input(&first), digest_of("a", &first, None, None, Some(choices.number())));
    assert_ne!(input(&first), digest_of("b", &first, None, None, None));
}

/// The members of an object that count in a lease.
fn without_nulls(value: &Json) -> Vec<&(String, Json)> {
    let Json::Object(members) = value else { return Vec::new() };
    members.iter().filter(|(_, value)| *value != Json::Null).collect()
}

/// A value that differs little from this one, or not at all.
fn nearby(value: &Json, choices: &mut Choices<'_>) -> Json {
    match value {
        Json::Null => choices.pick(&[&Json::Bool(false), &Json::Array(Vec::new())]).clone(),
        Json::Bool(value) => Json::Bool(!value),
        Json::Number { negative, digits, exponent } if digits.is_empty() => {
            Json::Number { negative: *negative, digits: "1".to_owned(), exponent: *exponent }
        }
        Json::Number { negative, digits, exponent } => match choices.below(3) {
            0 => Json::Number { negative: !negative, digits: digits.clone(), exponent: *exponent },
            1 => Json::Number { negative: *negative, digits: digits.clone(), exponent: exponent + 1 },
            _ => Json::Number { negative: *negative, digits: format!("{digits}1"), exponent: *exponent },
        },
        Json::Text(text) => choices
            .pick(&[&Json::Text(format!("{text}\0")), &Json::Array(vec![value.clone()]), &Json::Null])
            .clone(),
        Json::Array(values) if values.is_empty() => Json::Object(Vec::new()),
        Json::Array(values) => {
            let mut values = values.clone();
            let at = choices.below(values.len());
            match choices.below(3) {
                0 => values.rotate_left(at),
                1 => drop(values.remove(at)),
                _ => values[at] = nearby(&values[at], choices),
            }
            Json::Array(values)
        }
        Json::Object(members) if members.is_empty() => Json::Object(vec![(String::new(), Json::Null)]),
        Json::Object(members) => {
            let mut members = members.clone();
            let at = choices.below(members.len());
            match choices.below(2) {
                0 => drop(members.remove(at)),
                _ => members[at].1 = nearby(&members[at].1, choices),
            }
            Json::Object(members)
        }
    }
}
