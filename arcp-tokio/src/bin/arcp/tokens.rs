//! Who may use a runtime: `TOKEN=PRINCIPAL`, from the command line, a file or the environment.

use std::path::Path;

use crate::failure::Failure;

/// A bearer token and whose it is. Has no `Debug`, so that it is never printed.
pub(crate) struct Grant {
    pub(crate) token: String,
    pub(crate) principal: String,
}

/// The longest bearer token a hello can carry (protocol §9).
const MAX_TOKEN_BYTES: usize = 8_192;

/// All grants from the three places they may come from. What is wrong with one is said without showing it.
pub(crate) fn grants(
    arguments: &[String],
    file: Option<&Path>,
    environment: Option<&str>,
) -> Result<Vec<Grant>, Failure> {
    let mut grants = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        let place = || format!("--token number {}", index + 1);
        grants.push(grant(argument).map_err(|why| Failure::usage(format!("{}: {why}", place())))?);
    }
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::error(format!("cannot read {}: {error}", path.display())))?;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = || format!("{}, line {}", path.display(), index + 1);
            grants.push(grant(line).map_err(|why| Failure::usage(format!("{}: {why}", place())))?);
        }
    }
    for (index, word) in environment.unwrap_or_default().split_whitespace().enumerate() {
        let place = || format!("ARCP_TOKENS, number {}", index + 1);
        grants.push(grant(word).map_err(|why| Failure::usage(format!("{}: {why}", place())))?);
    }
    Ok(grants)
}

/// Split at the last `=`: tokens in base64 end with some.
fn grant(text: &str) -> Result<Grant, &'static str> {
    let (token, principal) =
        text.rsplit_once('=').ok_or("it must be TOKEN=PRINCIPAL (split at the last `=`)")?;
    check_token(token)?;
    if principal.is_empty() || principal.chars().any(char::is_control) {
        return Err("the principal behind the last `=` must be a name without control characters");
    }
    Ok(Grant { token: token.to_owned(), principal: principal.to_owned() })
}

/// Whether this can be a bearer token.
pub(crate) fn check_token(token: &str) -> Result<(), &'static str> {
    if token.is_empty() {
        return Err("the token is empty");
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err("the token is longer than 8192 bytes");
    }
    if token.chars().any(char::is_control) {
        return Err("the token contains control characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_equals_sign_divides() {
        let grant = grant("c2VjcmV0==alice").ok().unwrap();
        assert_eq!((grant.token.as_str(), grant.principal.as_str()), ("c2VjcmV0=", "alice"));
    }

    #[test]
    fn grants_come_from_arguments_and_environment() {
        let all = grants(&["a=alice".into()], None, Some(" b=bob\nc=carol ")).unwrap();
        let principals: Vec<_> = all.iter().map(|grant| grant.principal.as_str()).collect();
        assert_eq!(principals, ["alice", "bob", "carol"]);
        assert!(grants(&[], None, Some("  ")).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_token() {
        for text in ["canary", "canary=", "=canary", "can\x07ary=alice"] {
            let failure = grants(&[text.into()], None, None).map(|_| ()).unwrap_err();
            assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
        }
    }
}
