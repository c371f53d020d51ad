//! What a lease, a budget or an end of a lease stood in the way of, and what to do about it.

use std::fmt::Write;

use arcp_driver::{Capability, ErrorCode, EventBody, JobEvent};
use arcp_proto::wire::body::ToolFailure;
use serde::Deserialize;

/// How many patterns are shown.
const SHOWN: usize = 8;

/// What a refusal says of itself (protocol §5.4, §5.7). Other runtimes may leave out any of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    capability: Option<String>,
    target: Option<String>,
    patterns: Option<Vec<String>>,
    pattern: Option<String>,
    currency: Option<String>,
    reason: Option<String>,
}

/// An operation or a delegation that was refused.
#[derive(Debug)]
pub(crate) struct Denial {
    code: ErrorCode,
    message: String,
    details: Details,
}

impl Denial {
    /// The refusal in the failure of a tool; `None` if the tool failed for reasons of its own.
    pub(crate) fn of(failure: &ToolFailure) -> Option<Self> {
        let code = [
            ErrorCode::PermissionDenied,
            ErrorCode::BudgetExhausted,
            ErrorCode::LeaseExpired,
            ErrorCode::LeaseSubsetViolation,
        ]
        .into_iter()
        .find(|code| code.as_str() == failure.code)?;
        let details = failure.details.as_ref().and_then(|details| details.decode().ok()).unwrap_or_default();
        Some(Self { code, message: failure.message.clone(), details })
    }

    /// The refusal that an event tells of.
    pub(crate) fn in_event(event: &JobEvent) -> Option<Self> {
        match event.body() {
            Ok(EventBody::ToolResult { result: Err(failure), .. }) => Self::of(&failure),
            _ => None,
        }
    }

    /// It in words: the code, the message, and on what it was tried. Not yet escaped.
    pub(crate) fn words(&self) -> String {
        let Details { capability, target, patterns, pattern, currency, reason } = &self.details;
        let mut text = self.code.as_str().to_owned();
        if !self.message.is_empty() {
            text = format!("{text}: {}", self.message);
        }
        // Writing to a string cannot fail.
        let _ = match (target, pattern, currency) {
            (Some(target), _, _) if reason.is_some() => write!(text, ": `{target}`"),
            (Some(target), _, _) => {
                let _ = write!(text, ": `{target}`");
                match patterns.as_deref() {
                    None => Ok(()),
                    Some([]) => write!(text, ", for which it has no patterns"),
                    Some(patterns) => {
                        let shown = &patterns[..patterns.len().min(SHOWN)];
                        let _ = write!(text, " matches none of `{}`", shown.join("`, `"));
                        match patterns.len() - shown.len() {
                            0 => Ok(()),
                            more => write!(text, " and {more} more"),
                        }
                    }
                }
            }
            (None, Some(pattern), _) => {
                write!(text, ": {} `{pattern}`", capability.as_deref().unwrap_or("it asks for"))
            }
            (None, None, Some(currency)) => write!(text, " in {currency}"),
            (None, None, None) => Ok(()),
        };
        text
    }
}

/// What whoever submitted a job can do about its failure with this code, given what was refused last.
pub(crate) fn advice(code: &str, last: Option<&Denial>) -> Option<String> {
    if code == ErrorCode::LeaseExpired.as_str() {
        return Some("--expires-in gives it longer".into());
    }
    let last = last.filter(|last| last.code.as_str() == code)?;
    match last.code {
        ErrorCode::PermissionDenied => {
            // Only a name we know ends up in something that may be typed.
            let capability = Capability::parse(last.details.capability.as_deref()?)?;
            Some(format!("--lease {}=PATTERN can permit it", capability.as_str()))
        }
        ErrorCode::BudgetExhausted => Some("--budget can give it more".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arcp_driver::RawJson;

    fn denial(code: &str, details: &str) -> Option<Denial> {
        Denial::of(&ToolFailure {
            code: code.into(),
            message: "no".into(),
            retryable: false,
            details: Some(RawJson::parse(details.to_owned()).unwrap()),
        })
    }

    #[test]
    fn a_denial_says_on_what() {
        let many = serde_json::json!({ "target": "x", "patterns": vec!["a"; 10] }).to_string();
        let table = [
            (
                "PERMISSION_DENIED",
                r#"{"capability":"tool.call","target":"x","patterns":["a","b"]}"#,
                ": `x` matches none of `a`, `b`",
            ),
            ("PERMISSION_DENIED", r#"{"target":"x","patterns":[]}"#, ": `x`, for which it has no patterns"),
            ("PERMISSION_DENIED", r#"{"target":"x"}"#, ": `x`"),
            ("PERMISSION_DENIED", r#"{"target":"/..","patterns":[],"reason":"not_canonical"}"#, ": `/..`"),
            (
                "PERMISSION_DENIED",
                &many,
                ": `x` matches none of `a`, `a`, `a`, `a`, `a`, `a`, `a`, `a` and 2 more",
            ),
            ("LEASE_SUBSET_VIOLATION", r#"{"capability":"tool.call","pattern":"**"}"#, ": tool.call `**`"),
            ("BUDGET_EXHAUSTED", r#"{"currency":"USD"}"#, " in USD"),
            // Of another runtime.
            ("BUDGET_EXHAUSTED", r#"{"currency":7}"#, ""),
            ("LEASE_EXPIRED", "null", ""),
        ];
        for (code, details, said) in table {
            assert_eq!(denial(code, details).unwrap().words(), format!("{code}: no{said}"), "{details}");
        }
        assert!(denial("INTERNAL_ERROR", "{}").is_none());
    }

    #[test]
    fn advice_is_given_where_it_helps() {
        let denied = denial("PERMISSION_DENIED", r#"{"capability":"fs.read","target":"'; x"}"#);
        let say = |code, last: &Option<Denial>| advice(code, last.as_ref());
        assert_eq!(say("PERMISSION_DENIED", &denied).unwrap(), "--lease fs.read=PATTERN can permit it");
        assert_eq!(say("INTERNAL_ERROR", &denied), None);
        assert_eq!(say("PERMISSION_DENIED", &None), None);
        let strange = denial("PERMISSION_DENIED", r#"{"capability":"'; x"}"#);
        assert_eq!(say("PERMISSION_DENIED", &strange), None);
        let broke = denial("BUDGET_EXHAUSTED", "{}");
        assert_eq!(say("BUDGET_EXHAUSTED", &broke).unwrap(), "--budget can give it more");
        assert_eq!(say("LEASE_EXPIRED", &None).unwrap(), "--expires-in gives it longer");
    }
}
