//! Whether a lease permits one operation, and how a refusal reads (protocol §5.4).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

use super::budget::Currency;
use super::expiry::Expiry;
use super::grant::{Capability, Target};
use super::pattern::MAX_TARGET_BYTES;
use super::text::Refusal;
use super::{Lease, Policy};
use crate::error::{Details, ErrorCode, WireError};
use crate::time::Now;
use crate::wire::{RawJson, object_text, truncated};

/// What an agent wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<'a> {
    /// The namespace that guards it.
    pub capability: Capability,
    /// The path, URL, name or resolved agent, in the agent's spelling.
    pub target: &'a str,
}

/// What an authorisation depends on beside the lease: one instant for all checks.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The job runs and is not being stopped, for another reason than its lease's end.
    pub running: bool,
    /// The lease's end, if it has one.
    pub expiry: Option<&'a Expiry>,
    /// The instant.
    pub now: Now,
    /// The first currency of which nothing is left, shared ones included.
    pub exhausted: Option<&'a Currency>,
}

/// A permitted target: what must be opened, fetched or called, not the agent's spelling (D-93).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    text: String,
    names_one_host: bool,
}

impl Canonical {
    /// The target's one spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The target's one spelling.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text
    }

    /// For a fetch: whether a pattern that permits it names the host literally. Only then may the address be a private,
    /// loopback or link-local one.
    #[must_use]
    pub const fn names_one_host(&self) -> bool {
        self.names_one_host
    }
}

/// Why an operation is refused. [`WireError`] is how the agent's `tool_result` says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The job has ended or is being stopped.
    #[error("the job is being stopped")]
    Stopped,
    /// The lease has ended.
    #[error("the lease has ended")]
    Expired,
    /// The target is in a spelling that is refused, or is no target of this kind.
    #[error("the target of `{capability}` is not canonical: {refusal}")]
    NotCanonical {
        /// What was asked for.
        capability: Capability,
        /// On what, cut to the longest target.
        target: String,
        /// The patterns the lease has for it.
        patterns: Vec<String>,
        /// What is wrong with the target.
        refusal: Refusal,
    },
    /// No pattern permits it.
    #[error("the lease does not permit this `{capability}`")]
    NotGranted {
        /// What was asked for.
        capability: Capability,
        /// On what, in its one spelling.
        target: String,
        /// The patterns that were tried.
        patterns: Vec<String>,
    },
    /// Nothing is left of a budget.
    #[error("nothing is left of the budget")]
    Exhausted {
        /// Of which.
        currency: Currency,
    },
}

impl Denial {
    /// The code that says it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Stopped => ErrorCode::Cancelled,
            Self::Expired => ErrorCode::LeaseExpired,
            Self::NotCanonical { .. } | Self::NotGranted { .. } => ErrorCode::PermissionDenied,
            Self::Exhausted { .. } => ErrorCode::BudgetExhausted,
        }
    }
}

impl From<&Denial> for WireError {
    fn from(denial: &Denial) -> Self {
        let details = match denial {
            Denial::Stopped | Denial::Expired => Details::None,
            Denial::NotCanonical { capability, target, patterns, .. } => {
                refused(capability, target, patterns, Some("not_canonical"))
            }
            Denial::NotGranted { capability, target, patterns } => {
                refused(capability, target, patterns, None)
            }
            Denial::Exhausted { currency } => object(object_text(|details| {
                details.str("currency", currency.as_str());
            })),
        };
        Self::new(denial.code(), denial.to_string()).with(details)
    }
}

impl From<Denial> for WireError {
    fn from(denial: Denial) -> Self {
        Self::from(&denial)
    }
}

fn refused(capability: &Capability, target: &str, patterns: &[String], reason: Option<&str>) -> Details {
    object(object_text(|details| {
        details
            .str("capability", capability.as_str())
            .str("target", target)
            .strings("patterns", patterns.iter().map(String::as_str))
            .optional_str("reason", reason);
    }))
}

/// Details from a text that [`object_text`] wrote.
pub(super) fn object(text: String) -> Details {
    Details::Raw(RawJson::from_validated(Bytes::from(text)))
}

impl Lease {
    /// Whether the job may do `operation` as things stand, in the order of D-80: the job's state, the lease's end, the
    /// target, the budget.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn authorize(
        &self,
        operation: &Operation<'_>,
        circumstances: &Circumstances<'_>,
        policy: Policy,
    ) -> Result<Canonical, Denial> {
        if !circumstances.running {
            return Err(Denial::Stopped);
        }
        if circumstances.expiry.is_some_and(|expiry| expiry.has_ended(circumstances.now)) {
            return Err(Denial::Expired);
        }
        let canonical = self.permitted(operation, policy)?;
        match circumstances.exhausted {
            Some(currency) => Err(Denial::Exhausted { currency: currency.clone() }),
            None => Ok(canonical),
        }
    }

    /// The target, if a pattern permits it.
    fn permitted(&self, operation: &Operation<'_>, policy: Policy) -> Result<Canonical, Denial> {
        let capability = &operation.capability;
        let granted = self.patterns(capability);
        let patterns = granted.unwrap_or_default();
        let spelled = || patterns.iter().map(|pattern| pattern.as_str().to_string()).collect();
        let target = Target::parse(capability, operation.target, policy.windows_paths);
        let (target, text) = match target.and_then(|target| target.written().map(|text| (target, text))) {
            Ok(read) => read,
            Err(refusal) => {
                return Err(Denial::NotCanonical {
                    capability: capability.clone(),
                    target: truncated(operation.target, MAX_TARGET_BYTES).to_string(),
                    patterns: spelled(),
                    refusal,
                });
            }
        };
        let mut permitting = patterns.iter().filter(|pattern| pattern.matches(&target)).peekable();
        let unlisted = granted.is_none() && *capability == Capability::ModelUse && policy.unlisted_models;
        if permitting.peek().is_none() && !unlisted {
            return Err(Denial::NotGranted {
                capability: capability.clone(),
                target: text,
                patterns: spelled(),
            });
        }
        let names_one_host = permitting.any(|pattern| pattern.names_one_host());
        Ok(Canonical { text, names_one_host })
    }
}
