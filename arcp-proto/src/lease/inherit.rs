//! Whether a child's lease lies within its parent's, and what it inherits (protocol §5.7, D-29, D-31).

use alloc::string::{String, ToString};

use super::budget::{Amount, Currency};
use super::grant::Capability;
use super::operation::object;
use super::{Budgeted, Grant, Lease, Policy};
use crate::error::{ErrorCode, WireError};
use crate::wire::object_text;

/// A child asks for more than can be proved to lie within its parent's lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the lease asked for is not provably within the parent's")]
pub struct SubsetViolation {
    /// The namespace, or `expires_at`.
    pub capability: String,
    /// The first pattern, amount or time that goes beyond.
    pub pattern: String,
}

impl From<SubsetViolation> for WireError {
    fn from(violation: SubsetViolation) -> Self {
        let details = object_text(|details| {
            details.str("capability", &violation.capability).str("pattern", &violation.pattern);
        });
        Self::new(ErrorCode::LeaseSubsetViolation, violation.to_string()).with(object(details))
    }
}

impl Lease {
    /// Proves that this lease, as a child asks for it, lies within `parent`: every pattern within one of the parent's,
    /// no later end, and no amount above what `remaining` says is left of a currency the parent budgets. Equality is
    /// within.
    ///
    /// `remaining` answers for the currencies in the parent's effective lease, those it shares with its own parent
    /// included; of one it knows nothing about, nothing is left.
    ///
    /// # Errors
    /// What cannot be proved.
    pub fn subset_of(
        &self,
        parent: &Self,
        remaining: impl Fn(&Currency) -> Option<Amount>,
        policy: Policy,
    ) -> Result<(), SubsetViolation> {
        let beyond = |capability: &str, pattern: &str| SubsetViolation {
            capability: capability.to_string(),
            pattern: pattern.to_string(),
        };
        for grant in &self.grants {
            let held = parent.patterns(&grant.capability);
            if held.is_none() && grant.capability == Capability::ModelUse && policy.unlisted_models {
                continue;
            }
            let held = held.unwrap_or_default();
            let uncovered =
                grant.patterns.iter().find(|pattern| !held.iter().any(|parent| parent.covers(pattern)));
            if let Some(pattern) = uncovered {
                return Err(beyond(grant.capability.as_str(), pattern.as_str()));
            }
        }
        for asked in &self.budget {
            let limited = parent.budgeted(&asked.currency).is_some();
            if limited && asked.amount > remaining(&asked.currency).unwrap_or_default() {
                return Err(beyond(super::COST_BUDGET, &asked.text));
            }
        }
        match (self.expires_at, parent.expires_at) {
            (Some(child), Some(parent)) if child > parent => {
                Err(beyond(super::EXPIRES_AT, &child.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// The effective lease of a child that asks for this one: the request, and of the parent's the restrictions it left
    /// out — the end, the models, and the currencies, which stay shared with the parent and show what is left of them.
    ///
    /// # Errors
    /// `LEASE_SUBSET_VIOLATION` as [`Lease::subset_of`], or `INVALID_REQUEST` if both together are beyond the limits of
    /// a lease.
    pub fn inherit(
        &self,
        parent: &Self,
        remaining: impl Fn(&Currency) -> Option<Amount>,
        policy: Policy,
    ) -> Result<Self, WireError> {
        self.subset_of(parent, &remaining, policy)?;
        let mut child = self.clone();
        if let (None, Some(models)) =
            (self.patterns(&Capability::ModelUse), parent.patterns(&Capability::ModelUse))
        {
            child.grants.push(Grant { capability: Capability::ModelUse, patterns: models.into() });
        }
        for held in &parent.budget {
            if self.budgeted(&held.currency).is_none() {
                // The grammar of a lease has no amounts below zero.
                let left = remaining(&held.currency).unwrap_or_default().max(Amount::ZERO);
                child.budget.push(Budgeted::shared(held.currency.clone(), left));
            }
        }
        child.expires_at = match (self.expires_at, parent.expires_at) {
            (Some(child), Some(parent)) => Some(child.min(parent)),
            (own, inherited) => own.or(inherited),
        };
        child.check_limits()?;
        Ok(child)
    }
}
