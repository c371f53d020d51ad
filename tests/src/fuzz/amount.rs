//! Money of budgets.

use std::cmp::Ordering;

use arcp_proto::lease::{Amount, ChargeError, CounterError, Counters, Currency, parse_budget};
use serde::de::IgnoredAny;

use super::choices::Choices;

/// What may be granted or charged lies below, in units of 10⁻⁹.
const LIMIT: i128 = 10_i128.pow(27);

/// Reads the bytes as an amount, as a cost and as a budget: an amount is exact, a cost the least amount that is not below
/// it, and nothing else is refused than what protocol §5.6 refuses. Then they are charges, escrows and refunds, which add
/// up (BUD-1, BUD-3).
pub fn amount(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        granted(text);
        charged(text);
        budgeted(text);
    }
    moved(&mut Choices::new(data));
}

fn granted(text: &str) {
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_amount = match text.split_once('.') {
        None => digits(text, 18),
        Some((integer, fraction)) => digits(integer, 18) && digits(fraction, 9),
    };
    let amount = Amount::parse(text);
    assert_eq!(amount.is_some(), is_amount, "{text:?}");
    let Some(amount) = amount else { return };
    assert_eq!(Decimal::of(text), Decimal::units(amount.units()), "{text:?}");
    assert!((0..LIMIT).contains(&amount.units()));
    is_written(amount);
}

/// What is written of an amount is exact and short, and is read as the same again.
fn is_written(amount: Amount) {
    let text = amount.to_string();
    assert_eq!(Decimal::of(&text), Decimal::units(amount.units()), "{text}");
    assert_eq!(amount.to_number().as_str(), text);
    let is_short = !text.contains(['e', 'E', '+']) && (!text.contains('.') || !text.ends_with('0'));
    assert!(is_short, "{text}");
    if (0..LIMIT).contains(&amount.units()) {
        assert_eq!(Amount::parse(&text), Some(amount));
        assert_eq!(Amount::charge(&text), Ok(amount));
    } else {
        assert_eq!(Amount::parse(&text), None);
        assert!(Amount::charge(&text).is_err());
    }
}

fn charged(text: &str) {
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-');
    let bytes = text.as_bytes();
    let is_number =
        ends(bytes.first()) && ends(bytes.last()) && serde_json::from_str::<IgnoredAny>(text).is_ok();
    let charge = Amount::charge(text);
    assert_eq!(charge != Err(ChargeError::NotANumber), is_number, "{text:?}: {charge:?}");
    if !is_number {
        return;
    }
    let value = Decimal::of(text);
    match charge {
        Ok(amount) => {
            assert!(amount.units() < LIMIT);
            let least = value <= Decimal::units(amount.units());
            let next = amount.units() == 0 || Decimal::units(amount.units() - 1) < value;
            assert!(least && next, "{text:?}: {amount}");
            is_written(amount);
        }
        Err(ChargeError::Negative) => assert!(value < Decimal::units(0), "{text:?}"),
        Err(ChargeError::OutOfRange) => assert!(Decimal::units(LIMIT - 1) < value, "{text:?}"),
        Err(ChargeError::NotANumber) => {}
    }
}

fn budgeted(text: &str) {
    let read = parse_budget(text);
    let parts = text.split_once(':');
    let expected = parts.and_then(|(name, amount)| Some((Currency::parse(name)?, Amount::parse(amount)?)));
    assert_eq!(read.ok(), expected, "{text:?}");
    for name in [text, parts.map_or("", |(name, _)| name)] {
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let is_currency =
            (1..=16).contains(&name.len()) && letters && name.as_bytes()[0].is_ascii_alphabetic();
        let currency = Currency::parse(name);
        assert_eq!(currency.is_some(), is_currency, "{name:?}");
        assert!(currency.is_none_or(|currency| currency.as_str() == name));
    }
}

/// Moves of one counter against plain arithmetic.
fn moved(choices: &mut Choices<'_>) {
    let usd = Currency::parse("USD").expect("a currency");
    let initial = some(choices);
    let mut counters = Counters::new([(usd.clone(), Amount::from_units(initial))]);
    let (mut left, mut reported) = (initial, initial);
    for _ in 0..64 {
        if choices.is_empty() {
            break;
        }
        let (kind, units) = (choices.below(4), some(choices));
        let amount = Amount::from_units(units);
        let (moved, expected) = match kind {
            0 | 1 => (counters.charge("USD", amount), left.checked_sub(units).ok_or(CounterError::Overflow)),
            2 if left < units => (counters.escrow("USD", amount), Err(CounterError::Insufficient)),
            2 => (counters.escrow("USD", amount), left.checked_sub(units).ok_or(CounterError::Overflow)),
            _ => (counters.refund("USD", amount), left.checked_add(units).ok_or(CounterError::Overflow)),
        };
        match moved {
            Ok(moved) => {
                let moved = moved.expect("it has a counter");
                let before = std::mem::replace(&mut left, expected.expect("in range"));
                let far = left.abs_diff(reported).saturating_mul(100) >= initial.unsigned_abs();
                assert_eq!(moved.remaining.units(), left);
                assert_eq!(moved.report, left != before && (left <= 0 || far));
                reported = if moved.report { left } else { reported };
            }
            Err(error) => assert_eq!(expected, Err(error)),
        }
        let counter = counters.find("USD").expect("it stays");
        assert_eq!((counter.remaining.units(), counter.reported.units()), (left, reported));
        assert_eq!(counters.exhausted(), (left <= 0).then_some(&usd));
        assert_eq!(Counters::restore(counters.as_slice().to_vec()), counters);
        assert_eq!(counters.charge("EUR", amount), Ok(None));
        is_written(Amount::from_units(left));
    }
}

/// An amount that may be granted or charged.
fn some(choices: &mut Choices<'_>) -> i128 {
    match choices.below(6) {
        0 => i128::from(choices.byte() % 4),
        1 => LIMIT - 1 - i128::from(choices.byte()),
        2 => i128::from(choices.number()),
        // What only very many of them would add up to.
        3 => i128::MAX >> choices.below(3),
        _ => i128::from(choices.byte()) * 1_000_000_000,
    }
}

/// A number by its sign, its digits without zeros at either end, and how many of them stand before the point.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    before: i128,
}

impl Decimal {
    /// The value of a JSON number, or of digits with a point.
    fn of(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let sign = exponent.starts_with('-');
        let exponent = exponent.trim_start_matches(['-', '+']).trim_start_matches('0');
        // Beyond all that counts here are exponents that no number can have digits for.
        let exponent = if exponent.len() > 20 { 1 << 80 } else { exponent.parse().unwrap_or(0) };
        let exponent: i128 = if sign { -exponent } else { exponent };
        let (integer, fraction) = mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa, ""));
        let integer = integer.trim_start_matches('-');
        let all = format!("{integer}{fraction}");
        let leading = all.len() - all.trim_start_matches('0').len();
        let digits = all.trim_matches('0').to_owned();
        if digits.is_empty() {
            return Self { negative: false, digits, before: 0 };
        }
        let before = i128::try_from(integer.len()).expect("a length") + exponent
            - i128::try_from(leading).expect("a length");
        Self { negative: mantissa.starts_with('-'), digits, before }
    }

    fn units(units: i128) -> Self {
        Self::of(&format!("{units}e-9"))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |it: &Self| match (it.digits.is_empty(), it.negative) {
            (true, _) => 0,
            (false, negative) => {
                if negative {
                    -1
                } else {
                    1
                }
            }
        };
        let size = || self.before.cmp(&other.before).then_with(|| self.digits.cmp(&other.digits));
        rank(self).cmp(&rank(other)).then_with(|| match rank(self) {
            0 => Ordering::Equal,
            1 => size(),
            _ => size().reverse(),
        })
    }
}
