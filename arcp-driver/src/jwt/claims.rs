//! The claims of a token whose signature is proven (RFC 7519 §4.1).

use std::sync::Arc;
use std::time::Duration;

use arcp_proto::time::UnixTime;
use arcp_proto::wire::{FieldError, Lexeme, elements_of, lexeme_of, string_of};

use super::compact::Object;
use super::{Accepted, InvalidToken};

const A_TIME: &str = "a number of seconds since 1970, without exponent";
const AN_AUDIENCE: &str = "a string or an array of strings";
const A_SUBJECT: &str = "a string that is not empty and has no control characters";

/// The five claims that decide, each of the type it must be of.
pub(super) struct Claims {
    issuer: String,
    subject: String,
    audience: Vec<String>,
    expires: UnixTime,
    not_before: Option<UnixTime>,
}

impl Claims {
    pub(super) fn read(claims: &Object) -> Result<Self, InvalidToken> {
        let members = claims.members();
        // `null` is a claim of the wrong type and not an absent one, so members are taken as they stand.
        let claim = |name| members.opaque(name);
        Ok(Self {
            issuer: required(claim("iss"), "iss", "a string", text)?,
            subject: required(claim("sub"), "sub", A_SUBJECT, subject)?,
            audience: required(claim("aud"), "aud", AN_AUDIENCE, audience)?,
            expires: required(claim("exp"), "exp", A_TIME, moment)?,
            not_before: claim("nbf").map(|raw| required(Some(raw), "nbf", A_TIME, moment)).transpose()?,
        })
    }

    pub(super) fn judge(
        self,
        issuer: &str,
        audience: &str,
        leeway: Duration,
        now: UnixTime,
    ) -> Result<Accepted, InvalidToken> {
        if self.issuer != issuer {
            return Err(InvalidToken::Issuer);
        }
        if !self.audience.iter().any(|named| named == audience) {
            return Err(InvalidToken::Audience);
        }
        let until = self.expires.after(leeway);
        if until <= now {
            return Err(InvalidToken::Expired);
        }
        if self.not_before.is_some_and(|begins| begins > now.after(leeway)) {
            return Err(InvalidToken::NotYet);
        }
        Ok(Accepted { principal: principal(&self.issuer, &self.subject), until })
    }
}

/// The first `|` ends the issuer, whatever either holds.
fn principal(issuer: &str, subject: &str) -> Arc<str> {
    let issuer = issuer.replace('%', "%25").replace('|', "%7C");
    format!("{issuer}|{subject}").into()
}

fn required<T>(
    raw: Option<&str>,
    name: &'static str,
    allowed: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, FieldError> {
    let raw = raw.ok_or_else(|| FieldError::missing(name, allowed))?;
    read(raw).ok_or_else(|| FieldError::wrong(name, allowed))
}

fn text(raw: &str) -> Option<String> {
    string_of(raw).map(Into::into)
}

fn subject(raw: &str) -> Option<String> {
    text(raw).filter(|subject| !subject.is_empty() && !subject.chars().any(char::is_control))
}

fn audience(raw: &str) -> Option<Vec<String>> {
    match elements_of(raw) {
        Some(mut elements) => elements.try_fold(Vec::new(), |mut all, element| {
            all.push(text(element)?);
            Some(all)
        }),
        None => text(raw).map(|only| vec![only]),
    }
}

/// To the millisecond, what is finer cut off.
fn moment(raw: &str) -> Option<UnixTime> {
    let Some(Lexeme::Number(number)) = lexeme_of(raw) else { return None };
    let (seconds, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) {
        return None;
    }
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let millis = format!("{seconds}{thousandths}").parse().ok()?;
    let latest = UnixTime::MAX.as_millis();
    (0..=latest).contains(&millis).then(|| UnixTime::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn moments_are_read_from_their_digits() {
        let table = [
            ("0", 0),
            ("1755163800", 1_755_163_800_000),
            ("1755163800.5", 1_755_163_800_500),
            ("1755163800.0019", 1_755_163_800_001),
            ("253402300799", 253_402_300_799_000),
        ];
        for (text, millis) in table {
            assert_eq!(moment(text).map(UnixTime::as_millis), Some(millis), "{text}");
        }
        let huge = "9".repeat(60);
        for text in ["-1", "1e9", "1.5e9", "253402300800", &huge, "\"1\"", "null", "true", "[1]", "{}"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn no_two_pairs_make_one_principal() {
        let parts = ["", "a", "b", "|", "%", "a|", "|a", "%7C", "%25", "a%7Cb", "a|b", "a%b"];
        let mut seen = HashMap::new();
        for issuer in parts {
            for subject in parts {
                let before = seen.insert(principal(issuer, subject), (issuer, subject));
                assert_eq!(before, None, "{issuer:?} {subject:?}");
            }
        }
    }
}
