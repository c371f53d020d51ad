//! Leases: what a job may do, until when, and for how much (protocol §5).
//!
//! A [`Lease`] is read once from a submit or a delegation, every refusal of the wire rules included, and never changes.
//! [`Lease::authorize`] judges one operation; [`Lease::subset_of`] and [`Lease::inherit`] judge and complete what a child
//! asks for, and a deployment narrows a lease before it is granted ([`Lease::retain`], [`Lease::limit_budget`],
//! [`Lease::end_by`]). What does change stands beside it: [`Expiry`], which keeps an end that has come, and [`Counters`], which
//! keep what is left of a budget.

mod address;
mod budget;
pub(crate) mod by_name;
mod counters;
mod delegate;
mod expiry;
mod grant;
mod host;
mod inherit;
mod name;
mod narrow;
mod operation;
mod parse;
mod path;
mod pattern;
mod request;
mod subset;
#[cfg(test)]
mod tests;
mod text;
mod url;

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;

pub use budget::{Amount, ChargeError, Currency, parse_budget};
pub use counters::{Counter, CounterError, Counters, Moved};
pub use expiry::Expiry;
pub use grant::{Capability, Pattern, VendorName};
pub use inherit::SubsetViolation;
pub use name::canonical_name;
pub use operation::{Canonical, Circumstances, Denial, Operation};
pub use path::canonical_path;
pub use pattern::{MAX_PATTERN_BYTES, MAX_SEGMENTS, MAX_TARGET_BYTES, MAX_WILDCARDS};
pub use request::LeaseRequest;
pub use text::Refusal;
pub use url::canonical_url;

pub(crate) use parse::check_features;
pub(crate) use request::needed_features;
pub(crate) use url::check_endpoint;

use crate::time::UnixTime;
use crate::wire::{RawJson, object_text};

/// Longest lease, in bytes of JSON text (D-100).
pub const MAX_LEASE_BYTES: usize = 32 * 1_024;
/// Most namespaces of one lease.
pub const MAX_NAMESPACES: usize = 32;
/// Most patterns of one namespace.
pub const MAX_PATTERNS: usize = 64;
/// Most currencies of one budget.
pub const MAX_CURRENCIES: usize = 16;

const COST_BUDGET: &str = "cost.budget";
const EXPIRES_AT: &str = "expires_at";

/// What a deployment decides about operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Paths are opened on a system with Windows' rules, where more spellings are refused (protocol §5.3).
    pub windows_paths: bool,
    /// A lease without `model.use` permits every model, instead of none (D-90).
    pub unlisted_models: bool,
}

/// A lease as requested or as effective. Namespaces, patterns and amounts keep their spelling.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease {
    grants: Vec<Grant>,
    budget: Vec<Budgeted>,
    expires_at: Option<UnixTime>,
}

/// The patterns of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    capability: Capability,
    patterns: Box<[Pattern]>,
}

/// One currency of a lease's `cost.budget`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgeted {
    /// Which currency.
    pub currency: Currency,
    /// How much of it was granted; of a shared one, what was left at the time.
    pub amount: Amount,
    /// The job did not name it: it charges its parent's counter (D-31).
    pub shared: bool,
    /// The entry as submitted.
    text: Box<str>,
}

impl Budgeted {
    fn shared(currency: Currency, amount: Amount) -> Self {
        let text = alloc::format!("{currency}:{amount}").into();
        Self { currency, amount, shared: true, text }
    }
}

impl Lease {
    /// The patterns of a namespace; `None` if the lease does not name it.
    #[must_use]
    pub fn patterns(&self, capability: &Capability) -> Option<&[Pattern]> {
        self.grants.iter().find(|grant| grant.capability == *capability).map(|grant| &*grant.patterns)
    }

    /// The names of all namespaces, `cost.budget` last.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        let budget = (!self.budget.is_empty()).then_some(COST_BUDGET);
        self.grants.iter().map(|grant| grant.capability.as_str()).chain(budget)
    }

    /// The currencies, in the order of the lease; empty if nothing is limited.
    #[must_use]
    pub fn budget(&self) -> &[Budgeted] {
        &self.budget
    }

    /// Counters for the currencies that are not shared with a parent.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let own = self.budget.iter().filter(|budgeted| !budgeted.shared);
        Counters::new(own.map(|budgeted| (budgeted.currency.clone(), budgeted.amount)))
    }

    /// When it ends, if it does.
    #[must_use]
    pub const fn expires_at(&self) -> Option<UnixTime> {
        self.expires_at
    }

    /// Whether it grants and limits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty() && self.budget.is_empty() && self.expires_at.is_none()
    }

    /// The object of namespaces, as `lease` of `job.accepted`; `{}` if there are none.
    #[must_use]
    pub fn to_json(&self) -> RawJson {
        written(object_text(|object| {
            for grant in &self.grants {
                object.strings(grant.capability.as_str(), grant.patterns.iter().map(Pattern::as_str));
            }
            if !self.budget.is_empty() {
                object.strings(COST_BUDGET, self.budget.iter().map(|budgeted| &*budgeted.text));
            }
        }))
    }

    /// The object `lease_constraints`; `None` if there are none.
    #[must_use]
    pub fn constraints_json(&self) -> Option<RawJson> {
        self.expires_at.map(|at| {
            written(object_text(|object| {
                object.str(EXPIRES_AT, &at.to_string());
            }))
        })
    }

    /// The object `budget` of `job.accepted`: initial amounts by currency; `None` without a budget.
    #[must_use]
    pub fn budget_json(&self) -> Option<RawJson> {
        amounts_json(self.budget.iter().map(|budgeted| (&budgeted.currency, budgeted.amount)))
    }

    fn budgeted(&self, currency: &Currency) -> Option<&Budgeted> {
        self.budget.iter().find(|budgeted| budgeted.currency == *currency)
    }
}

/// Amounts by currency as a JSON object of exact numbers; `None` if there are none.
#[must_use]
pub fn amounts_json<'a>(amounts: impl IntoIterator<Item = (&'a Currency, Amount)>) -> Option<RawJson> {
    let mut amounts = amounts.into_iter().peekable();
    amounts.peek()?;
    Some(written(object_text(|object| {
        for (currency, amount) in amounts {
            object.raw(currency.as_str(), amount.to_number().as_str());
        }
    })))
}

/// A text that [`object_text`] wrote.
fn written(text: alloc::string::String) -> RawJson {
    RawJson::from_validated(Bytes::from(text))
}
