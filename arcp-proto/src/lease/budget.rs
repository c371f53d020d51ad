//! Money: exact decimals in units of 10⁻⁹ (protocol §5.6).

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::{self, Write as _};

use super::text::Refusal;
use crate::wire::number::NumberText;

/// Fraction digits of an amount.
const SCALE: i64 = 9;
/// Units of one.
const ONE: u128 = 1_000_000_000;
/// Integer and fraction digits of what may be granted or charged at once.
const DIGITS: i64 = 27;
/// What may be granted or charged at once lies below.
const LIMIT: i128 = 10_i128.pow(27);

/// A currency or unit: a letter, then up to 15 letters, digits, `_` and `-`; case-sensitive (D-88).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(Box<str>);

impl Currency {
    /// The currency of this name; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(|first: char| first.is_ascii_alphabetic())?;
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        (rest.len() <= 15 && rest.bytes().all(named)).then(|| Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An amount of some currency, in units of 10⁻⁹. Counters can be negative; what is granted or charged is not.
///
/// `Display` writes it as a JSON number: exact, without exponent and trailing zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i128);

/// Why a value is no charge. Nothing is emitted and no counter changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    /// Not a JSON number.
    #[error("a cost must be a JSON number")]
    NotANumber,
    /// Below zero (D-35).
    #[error("a cost must not be negative")]
    Negative,
    /// 10¹⁸ or more after rounding.
    #[error("a cost must be below 10^18")]
    OutOfRange,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `units` times 10⁻⁹.
    #[must_use]
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// The amount in units of 10⁻⁹.
    #[must_use]
    pub const fn units(self) -> i128 {
        self.0
    }

    /// Reads what a lease grants: 1 to 18 digits, optionally a dot and 1 to 9 more. `None` for any other text; nothing
    /// is rounded.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (integer, fraction) = match text.split_once('.') {
            Some((integer, fraction)) => (integer, Some(fraction)),
            None => (text, None),
        };
        let in_length = (1..=18).contains(&integer.len())
            && fraction.is_none_or(|fraction| (1..=9).contains(&fraction.len()));
        let digits = integer.bytes().chain(fraction.unwrap_or_default().bytes());
        if !in_length || !digits.clone().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = digits.map(|byte| i128::from(byte - b'0'));
        let missing = 9 - fraction.map_or(0, str::len);
        let zeros = core::iter::repeat_n(0, missing);
        // At most 27 digits, which 128 bits hold.
        Some(Self(digits.chain(zeros).fold(0, |units, digit| units * 10 + digit)))
    }

    /// Reads what a metric charges from the text of a JSON number, exponent included. Digits beyond the ninth after
    /// the point round up (D-36).
    ///
    /// # Errors
    /// The text is no number, negative, or too large.
    pub fn charge(text: &str) -> Result<Self, ChargeError> {
        let number = Lexeme::split(text).ok_or(ChargeError::NotANumber)?;
        let digits =
            || number.integer.bytes().chain(number.fraction.bytes()).map(|byte| i128::from(byte - b'0'));
        let Some(leading_zeros) = digits().position(|digit| digit != 0) else {
            return Ok(Self::ZERO);
        };
        if number.negative {
            return Err(ChargeError::Negative);
        }
        let length = |count: usize| i64::try_from(count).map_err(|_| ChargeError::OutOfRange);
        // How many digits there are before the point once it has been moved to the right of a unit.
        let whole = length(number.integer.len())?.saturating_add(number.exponent).saturating_add(SCALE);
        let significant = whole.saturating_sub(length(leading_zeros)?);
        if significant > DIGITS {
            return Err(ChargeError::OutOfRange);
        }
        let mut units = 0_i128;
        let mut rest = significant;
        let mut digits = digits().skip(leading_zeros);
        while rest > 0 {
            units = units * 10 + digits.next().unwrap_or(0);
            rest -= 1;
        }
        if digits.any(|digit| digit != 0) {
            units += 1;
        }
        if units < LIMIT { Ok(Self(units)) } else { Err(ChargeError::OutOfRange) }
    }

    /// The sum, unless 128 bits do not hold it.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// The difference, unless 128 bits do not hold it.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// The nearest amount that a lease can name.
    pub(super) fn to_grantable(self) -> Self {
        Self(self.0.clamp(0, LIMIT - 1))
    }

    /// Whether it is above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// The value of a metric.
    #[must_use]
    pub fn to_number(self) -> NumberText {
        let mut text = String::with_capacity(48);
        // A `String` takes whatever is written, and what `Display` writes is a JSON number of at most 41 bytes.
        let _ = write!(text, "{self}");
        NumberText::parse(&text).unwrap_or_else(|| NumberText::from(0_u32))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_char('-')?;
        }
        let units = self.0.unsigned_abs();
        write!(f, "{}", units / ONE)?;
        let mut fraction = units % ONE;
        if fraction == 0 {
            return Ok(());
        }
        let mut width = 9;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            width -= 1;
        }
        write!(f, ".{fraction:0width$}")
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads `currency:decimal`, the spelling of a `cost.budget` entry.
///
/// # Errors
/// The text is something else.
pub fn parse_budget(text: &str) -> Result<(Currency, Amount), Refusal> {
    text.split_once(':')
        .and_then(|(currency, amount)| Some((Currency::parse(currency)?, Amount::parse(amount)?)))
        .ok_or(Refusal::new(
            "an amount is `currency:decimal`: a letter and up to 15 letters, digits, `_` and `-`; then 1 to 18 digits, \
             optionally a dot and 1 to 9 digits",
        ))
}

/// The parts of a JSON number.
struct Lexeme<'a> {
    negative: bool,
    integer: &'a str,
    fraction: &'a str,
    /// At the end of its range if it is beyond.
    exponent: i64,
}

impl<'a> Lexeme<'a> {
    fn split(text: &'a str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, signed(exponent)?),
            None => (text, 0),
        };
        let (negative, magnitude) = match mantissa.strip_prefix('-') {
            Some(magnitude) => (true, magnitude),
            None => (false, mantissa),
        };
        let (integer, fraction) = match magnitude.split_once('.') {
            Some((integer, fraction)) => (integer, Some(fraction)),
            None => (magnitude, None),
        };
        let plain = is_digits(integer) && (integer.len() == 1 || !integer.starts_with('0'));
        (plain && fraction.is_none_or(is_digits)).then_some(Self {
            negative,
            integer,
            fraction: fraction.unwrap_or_default(),
            exponent,
        })
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn signed(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let value = is_digits(digits).then(|| {
        digits
            .bytes()
            .fold(0_i64, |value, byte| value.saturating_mul(10).saturating_add(i64::from(byte - b'0')))
    })?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Random;
    use alloc::format;
    use alloc::vec::Vec;

    #[test]
    fn amounts_are_written_exactly() {
        for (units, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (-1, "-0.000000001"),
            (580_000_000, "0.58"),
            (-120_000_000, "-0.12"),
            (5_000_000_000, "5"),
            (10_000_000_010, "10.00000001"),
            (LIMIT - 1, "999999999999999999.999999999"),
        ] {
            let amount = Amount::from_units(units);
            assert_eq!((format!("{amount}"), format!("{amount:?}")), (text.into(), text.into()));
            assert_eq!(amount.to_number().as_str(), text);
            if units >= 0 {
                assert_eq!(Amount::parse(text), Some(amount));
                assert_eq!(Amount::charge(text), Ok(amount));
            }
        }
        for units in [i128::MIN, i128::MAX] {
            assert_eq!(
                Amount::from_units(units).to_number().as_str(),
                format!("{}", Amount::from_units(units))
            );
        }
    }

    #[test]
    fn charges_that_are_none() {
        for text in [
            "", "-", "+1", "01", ".5", "5.", "1e", "1e+", "NaN", "inf", "0x1", " 1", "1 ", "1_0", "1e1.5",
            "--1",
        ] {
            assert_eq!(Amount::charge(text), Err(ChargeError::NotANumber), "{text}");
        }
        for text in ["1e18", "1e99999999999999999999999", "0.1e19", "1000000000000000000"] {
            assert_eq!(Amount::charge(text), Err(ChargeError::OutOfRange), "{text}");
        }
        for text in ["-1", "-0.1e-400", "-1e-99999999999999999999999", "-1e18"] {
            assert_eq!(Amount::charge(text), Err(ChargeError::Negative), "{text}");
        }
        for text in ["0e99999999999999999999", "-0", "-0.000e-5", "0.0"] {
            assert_eq!(Amount::charge(text), Ok(Amount::ZERO), "{text}");
        }
        assert_eq!(Amount::charge("1e-99999999999999999999999"), Ok(Amount::from_units(1)));
        assert_eq!(Amount::charge("1e+2"), Ok(Amount::from_units(100_000_000_000)));
    }

    /// The same by moving the point in the text, digit by digit.
    fn by_hand(integer: &str, fraction: &str, exponent: i32) -> Option<i128> {
        let (mut before, mut after): (Vec<u8>, Vec<u8>) =
            (integer.bytes().collect(), fraction.bytes().collect());
        for _ in 0..exponent + 9 {
            before.push(if after.is_empty() { b'0' } else { after.remove(0) });
        }
        for _ in exponent + 9..0 {
            after.insert(0, before.pop().unwrap_or(b'0'));
        }
        let before: String = before.into_iter().map(char::from).collect();
        let units = if before.is_empty() { 0 } else { before.parse::<i128>().ok()? };
        let units = units + i128::from(after.iter().any(|digit| *digit != b'0'));
        (units < LIMIT).then_some(units)
    }

    #[test]
    fn exponents_are_exact() {
        let mut random = Random::new(45);
        let (mut accepted, mut refused) = (0, 0);
        for _ in 0..100_000 {
            let mut digits = |most: usize| -> String {
                (0..random.below(most)).map(|_| random.pick(&['0', '0', '9', '1', '5'])).collect()
            };
            let (integer, fraction) = (digits(10), digits(16));
            let integer = if integer.starts_with('0') || integer.is_empty() { "0" } else { &integer };
            let exponent = i32::try_from(random.below(50)).unwrap() - 25;
            let dot = if fraction.is_empty() { "" } else { "." };
            let text = format!("{integer}{dot}{fraction}e{exponent}");
            let expected = by_hand(integer, &fraction, exponent);
            let found = Amount::charge(&text);
            assert_eq!(found.ok().map(Amount::units), expected, "{text}");
            *(if expected.is_some() { &mut accepted } else { &mut refused }) += 1;
        }
        assert!(accepted > 10_000 && refused > 10_000, "{accepted} {refused}");
    }

    #[test]
    fn currencies() {
        for text in ["USD", "credits", "a", "A-B_9", "AAAAAAAAAAAAAAAA"] {
            let currency = Currency::parse(text).unwrap();
            assert_eq!((currency.as_str(), format!("{currency:?}")), (text, text.into()));
        }
        for text in ["", "1A", "-A", "A B", "€", "AAAAAAAAAAAAAAAAA", "A:"] {
            assert_eq!(Currency::parse(text), None, "{text}");
        }
    }
}
