//! What a runtime says a job may do (protocol §3.2, §12.4).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::lease::{Amount, Capability, Currency, parse_budget};
use crate::time::UnixTime;
use crate::wire::job::{Accepted, Subscribed};
use crate::wire::{Fields, RawJson, elements_of, string_of};

const COST_BUDGET: &str = "cost.budget";
const EXPIRES_AT: &str = "expires_at";

/// The effective lease of a job, read from `job.accepted` or `job.subscribed` in every spelling that runtimes use.
///
/// It may grant less than was asked for. What cannot be read is left out, so an empty one does not prove that nothing was
/// granted: some runtimes do not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrantedLease {
    namespaces: Vec<(String, Vec<String>)>,
    budget: Vec<(Currency, Amount)>,
    expires_at: Option<UnixTime>,
}

impl GrantedLease {
    fn read(lease: Option<&RawJson>, constraints: Option<&RawJson>, budget: Option<&RawJson>) -> Self {
        let lease = lease.map_or_else(|| Fields::of("{}"), |lease| Fields::of(lease.as_str()));
        let constraints = constraints.map(|constraints| Fields::of(constraints.as_str()));
        let end = |fields: &Fields<'_>| {
            fields.advisory_string(EXPIRES_AT).as_deref().and_then(UnixTime::parse_rfc3339)
        };
        let mut granted = Self {
            namespaces: Vec::new(),
            budget: budget.map(read_counters).unwrap_or_default(),
            expires_at: constraints.as_ref().and_then(end).or_else(|| end(&lease)),
        };
        for (name, value) in lease.iter() {
            let Some(texts) = elements_of(value) else { continue };
            let texts = texts.filter_map(string_of).map(Into::into);
            if name == "capabilities" {
                texts.for_each(|entry| granted.add_capability(entry));
            } else {
                granted.namespaces.push((name.into(), texts.collect()));
            }
        }
        if budget.is_none() {
            let amounts = granted.patterns(COST_BUDGET).iter().filter_map(|text| parse_budget(text).ok());
            granted.budget = amounts.collect();
        }
        granted
    }

    /// One entry of a list of capabilities: a namespace of which everything is granted, or `namespace:target`.
    fn add_capability(&mut self, entry: String) {
        let patterns = match entry.split_once(':') {
            Some((_, target)) => Vec::from([target.to_string()]),
            None => everything(&entry).iter().map(ToString::to_string).collect(),
        };
        let name = entry.split_once(':').map_or(entry.as_str(), |(name, _)| name);
        match self.namespaces.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.extend(patterns),
            None => self.namespaces.push((name.into(), patterns)),
        }
    }

    /// The patterns of a namespace, such as `tool.call`; empty if it is not granted.
    #[must_use]
    pub fn patterns(&self, namespace: &str) -> &[String] {
        let found = self.namespaces.iter().find(|(name, _)| name == namespace);
        found.map_or(&[], |(_, patterns)| patterns.as_slice())
    }

    /// All namespaces with their patterns, as the runtime wrote them. Those of `cost.budget` are amounts.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.namespaces.iter().map(|(name, patterns)| (name.as_str(), patterns.as_slice()))
    }

    /// How much may be spent in a currency: of a submitted job at its beginning, of a followed one what was left when the
    /// subscription began. `None` if it is not limited.
    #[must_use]
    pub fn budget(&self, currency: &str) -> Option<Amount> {
        self.budget.iter().find(|(known, _)| known.as_str() == currency).map(|(_, amount)| *amount)
    }

    /// All limited currencies, each with the amount that [`GrantedLease::budget`] gives.
    pub fn budgets(&self) -> impl Iterator<Item = (&Currency, Amount)> {
        self.budget.iter().map(|(currency, amount)| (currency, *amount))
    }

    /// When the lease ends, and the job with it; `None` if it does not.
    #[must_use]
    pub const fn expires_at(&self) -> Option<UnixTime> {
        self.expires_at
    }
}

impl From<&Accepted> for GrantedLease {
    fn from(accepted: &Accepted) -> Self {
        Self::read(accepted.lease.as_ref(), accepted.lease_constraints.as_ref(), accepted.budget.as_ref())
    }
}

impl From<&Subscribed> for GrantedLease {
    fn from(subscribed: &Subscribed) -> Self {
        Self::read(
            subscribed.lease.as_ref(),
            subscribed.lease_constraints.as_ref(),
            subscribed.budget.as_ref(),
        )
    }
}

/// Counters by currency, whose values are `5`, `"5.00"` or `"USD:5.00"`.
fn read_counters(budget: &RawJson) -> Vec<(Currency, Amount)> {
    let fields = Fields::of(budget.as_str());
    let counter = |(name, value): (alloc::borrow::Cow<'_, str>, &str)| {
        let text = string_of(value);
        let text = text.as_deref().unwrap_or(value);
        let text = match text.split_once(':') {
            Some((currency, amount)) if currency == name => amount,
            _ => text,
        };
        Some((Currency::parse(&name)?, signed(text)?))
    };
    fields.iter().filter_map(counter).collect()
}

/// An amount in any spelling of a JSON number. What is left of a budget can be negative.
fn signed(text: &str) -> Option<Amount> {
    match text.strip_prefix('-') {
        Some(magnitude) => Amount::ZERO.checked_sub(Amount::charge(magnitude).ok()?),
        None => Amount::charge(text).ok(),
    }
}

/// The patterns that cover a whole namespace.
fn everything(namespace: &str) -> &'static [&'static str] {
    match Capability::parse(namespace) {
        Some(Capability::FsRead | Capability::FsWrite) => &["/**"],
        Some(Capability::NetFetch) => &["http://**/**", "https://**/**"],
        _ => &["**"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(payload: &str) -> GrantedLease {
        GrantedLease::from(&Accepted::read(&Fields::of(payload)).unwrap())
    }

    fn units(text: &str) -> Amount {
        Amount::parse(text).unwrap()
    }

    #[test]
    fn what_our_own_runtime_writes() {
        let lease = granted(
            r#"{"lease":{"tool.call":["search.*"],"cost.budget":["USD:1.00"]},"budget":{"USD":0.58},
                "lease_constraints":{"expires_at":"2026-08-14T09:30:00.000Z"}}"#,
        );
        assert_eq!(lease.patterns("tool.call"), ["search.*"]);
        assert_eq!(lease.patterns("cost.budget"), ["USD:1.00"]);
        assert!(lease.patterns("fs.read").is_empty());
        assert_eq!(lease.budget("USD"), Some(units("0.58")));
        assert_eq!(lease.budget("EUR"), None);
        assert_eq!(lease.expires_at().unwrap().to_string(), "2026-08-14T09:30:00.000Z");
        assert_eq!(lease.namespaces().count(), 2);
    }

    #[test]
    fn a_follower_is_told_the_same() {
        let payload = r#"{"lease":{"tool.call":["search.*"]},"budget":{"USD":0.58},
            "lease_constraints":{"expires_at":"2026-08-14T09:30:00.000Z"}}"#;
        let followed = GrantedLease::from(&Subscribed::read(&Fields::of(payload)).unwrap());
        assert_eq!(followed.budget("USD"), Some(units("0.58")));
        assert_eq!(followed, granted(payload));
    }

    #[test]
    fn money_in_every_spelling() {
        let lease = granted(
            r#"{"budget":{"A":5,"B":"5.00","C":"C:5.00","D":5e-1,"E":-0.12,"F":"X:5","G":null,"9":1,"H":"1e2"}}"#,
        );
        let amounts: Vec<_> = lease.budgets().map(|(currency, amount)| (currency.as_str(), amount)).collect();
        let owed = Amount::ZERO.checked_sub(units("0.12")).unwrap();
        assert_eq!(
            amounts,
            [
                ("A", units("5")),
                ("B", units("5")),
                ("C", units("5")),
                ("D", units("0.5")),
                ("E", owed),
                ("H", units("100")),
            ]
        );
    }

    #[test]
    fn a_lease_that_is_not_told_or_not_readable_is_empty() {
        for payload in ["{}", r#"{"lease":null}"#, r#"{"lease":{}}"#, r#"{"lease":{"tool.call":"search"}}"#] {
            assert_eq!(granted(payload), GrantedLease::default(), "{payload}");
        }
    }

    #[test]
    fn a_budget_only_the_lease_tells() {
        let lease = granted(r#"{"lease":{"cost.budget":["USD:1.50","what"]}}"#);
        assert_eq!(lease.budgets().count(), 1);
        assert_eq!(lease.budget("USD"), Some(units("1.5")));
    }

    #[test]
    fn an_end_with_an_offset() {
        let lease = granted(r#"{"lease_constraints":{"expires_at":"2026-08-14T11:30:00+02:00"}}"#);
        assert_eq!(lease.expires_at().unwrap().to_string(), "2026-08-14T09:30:00.000Z");
    }

    #[test]
    fn names_without_patterns_are_shown_as_patterns() {
        let lease = granted(
            r#"{"lease":{"id":"l","capabilities":["fs.read","net.fetch","tool.call:a","tool.call:b","model.use"],
                "issued_at":"2026-08-14T09:30:00Z","expires_at":"2026-08-15T09:30:00Z"}}"#,
        );
        assert_eq!(lease.patterns("fs.read"), ["/**"]);
        assert_eq!(lease.patterns("net.fetch"), ["http://**/**", "https://**/**"]);
        assert_eq!(lease.patterns("tool.call"), ["a", "b"]);
        assert_eq!(lease.patterns("model.use"), ["**"]);
        assert_eq!(lease.expires_at().unwrap().to_string(), "2026-08-15T09:30:00.000Z");
        assert_eq!(lease.namespaces().count(), 4);
    }
}
