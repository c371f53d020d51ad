//! What a deployment may make of a lease that is asked for: less, never more (protocol §3.1).

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use super::budget::{Amount, Currency};
use super::grant::{Capability, Pattern};
use super::text::Refusal;
use super::{Budgeted, Grant, Lease, MAX_PATTERNS, Policy};
use crate::time::UnixTime;

impl Lease {
    /// Keeps the patterns that `keep` says yes to. A namespace stays with none, and grants nothing then.
    pub fn retain(&mut self, mut keep: impl FnMut(&Capability, &Pattern) -> bool) {
        for grant in &mut self.grants {
            let kept: Vec<_> = grant
                .patterns
                .iter()
                .filter(|pattern| keep(&grant.capability, pattern))
                .map(Pattern::to_owned)
                .collect();
            grant.patterns = kept.into();
        }
    }

    /// Grants for `capability` these patterns in place of those it has; whether they lie within what was asked for is
    /// judged when the lease is granted.
    ///
    /// # Errors
    /// The first pattern that is none, or more than 64 of them.
    pub fn replace<'a>(
        &mut self,
        capability: &Capability,
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Refusal> {
        let patterns = patterns
            .into_iter()
            .take(MAX_PATTERNS + 1)
            .map(|text| Pattern::parse(capability, text))
            .collect::<Result<Box<[_]>, _>>()?;
        if patterns.len() > MAX_PATTERNS {
            return Err(Refusal::new("a namespace has at most 64 patterns"));
        }
        match self.grants.iter_mut().find(|grant| grant.capability == *capability) {
            Some(grant) => grant.patterns = patterns,
            None => self.grants.push(Grant { capability: capability.clone(), patterns }),
        }
        Ok(())
    }

    /// Limits what may be spent of a currency. An amount that is lower already stays. `most` counts as the nearest amount
    /// that a lease can name: at least 0, below 10¹⁸.
    pub fn limit_budget(&mut self, currency: &Currency, most: Amount) {
        let most = most.to_grantable();
        match self.budget.iter_mut().find(|budgeted| budgeted.currency == *currency) {
            Some(budgeted) if budgeted.amount <= most => {}
            Some(budgeted) => {
                budgeted.amount = most;
                budgeted.text = format!("{currency}:{most}").into();
            }
            None => self.budget.push(Budgeted {
                currency: currency.clone(),
                amount: most,
                shared: false,
                text: format!("{currency}:{most}").into(),
            }),
        }
    }

    /// Ends the lease at `at` at the latest.
    pub fn end_by(&mut self, at: UnixTime) {
        self.expires_at = Some(self.expires_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Whether it may be granted where `asked` was asked for: within it, and with every restriction it has.
    #[must_use]
    pub(crate) fn may_stand_for(&self, asked: &Self, policy: Policy) -> bool {
        let amount = |currency: &Currency| asked.budgeted(currency).map(|budgeted| budgeted.amount);
        let keeps_budget = asked.budget.iter().all(|budgeted| self.budgeted(&budgeted.currency).is_some());
        let keeps_models =
            asked.patterns(&Capability::ModelUse).is_none() || self.patterns(&Capability::ModelUse).is_some();
        self.subset_of(asked, amount, policy).is_ok()
            && keeps_budget
            && keeps_models
            && (asked.expires_at.is_none() || self.expires_at.is_some())
            && self.check_limits().is_ok()
    }

    /// Whether it permits no operation at all.
    #[must_use]
    pub(crate) fn permits_nothing(&self) -> bool {
        self.grants.iter().all(|grant| grant.patterns.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Features;
    use crate::wire::RawJson;

    const NOW: UnixTime = UnixTime::from_millis(1_786_699_800_000);

    fn lease(request: &str, end: Option<&str>) -> Lease {
        let request = RawJson::try_from(request).unwrap();
        let constraints =
            end.map(|end| RawJson::try_from(format!(r#"{{"expires_at":"{end}"}}"#).as_str()).unwrap());
        Lease::parse(Some(&request), constraints.as_ref(), Features::SUPPORTED, NOW).unwrap()
    }

    fn asked() -> Lease {
        lease(
            r#"{"tool.call":["search.*","mail"],"model.use":["fast/*"],"cost.budget":["USD:5.00"]}"#,
            Some("2026-09-01T00:00:00Z"),
        )
    }

    fn usd() -> Currency {
        Currency::parse("USD").unwrap()
    }

    #[test]
    fn less_may_stand_for_more() {
        let policy = Policy::default();
        assert!(asked().may_stand_for(&asked(), policy));
        let mut less = asked();
        less.retain(|_, pattern| pattern.as_str() != "mail");
        less.replace(&Capability::ToolCall, ["search.web"]).unwrap();
        less.limit_budget(&usd(), Amount::parse("2").unwrap());
        less.limit_budget(&usd(), Amount::parse("3").unwrap());
        less.limit_budget(&Currency::parse("EUR").unwrap(), Amount::parse("1").unwrap());
        less.end_by(UnixTime::parse_rfc3339("2026-08-20T00:00:00Z").unwrap());
        less.end_by(UnixTime::parse_rfc3339("2026-08-30T00:00:00Z").unwrap());
        assert!(less.may_stand_for(&asked(), policy));
        assert_eq!(
            less.to_json().as_str(),
            r#"{"tool.call":["search.web"],"model.use":["fast/*"],"cost.budget":["USD:2","EUR:1"]}"#
        );
        assert_eq!(less.constraints_json().unwrap().as_str(), r#"{"expires_at":"2026-08-20T00:00:00.000Z"}"#);
    }

    #[test]
    fn more_and_dropped_restrictions_may_not() {
        let policy = Policy::default();
        let wider = |change: &dyn Fn(&mut Lease)| {
            let mut lease = asked();
            change(&mut lease);
            lease.may_stand_for(&asked(), policy)
        };
        assert!(!wider(&|lease| lease.replace(&Capability::ToolCall, ["**"]).unwrap()));
        assert!(!wider(&|lease| lease.replace(&Capability::FsRead, ["/a"]).unwrap()));
        assert!(!wider(&|lease| lease.budget.clear()));
        assert!(!wider(&|lease| lease.expires_at = None));
        assert!(!wider(&|lease| lease.expires_at = Some(UnixTime::MAX)));
        assert!(!wider(&|lease| lease.grants.retain(|grant| grant.capability != Capability::ModelUse)));
        assert!(!wider(&|lease| lease.budget[0].amount = Amount::parse("6").unwrap()));
        assert!(asked().replace(&Capability::FsRead, ["relative"]).is_err());
    }

    #[test]
    fn what_is_left_of_a_lease_can_be_stored() {
        let mut less = asked();
        for (currency, units) in [("USD", -1), ("EUR", i128::MIN), ("GBP", i128::MAX)] {
            less.limit_budget(&Currency::parse(currency).unwrap(), Amount::from_units(units));
        }
        let texts: Vec<_> = less.budget.iter().map(|budgeted| &*budgeted.text).collect();
        assert_eq!(texts, ["USD:0", "EUR:0", "GBP:999999999999999999.999999999"]);
        let names: Vec<_> = (0..65).map(|number| format!("t{number}")).collect();
        let names: Vec<_> = names.iter().map(|name| &**name).collect();
        assert!(less.replace(&Capability::ToolCall, names.iter().copied()).is_err());
        less.replace(&Capability::ToolCall, names[..64].iter().copied()).unwrap();
        assert_eq!(Lease::restore(&less.to_json(), less.expires_at, |_| false), Ok(less));
    }

    #[test]
    fn a_lease_without_patterns_permits_nothing() {
        let mut lease = asked();
        assert!(!lease.permits_nothing());
        lease.retain(|_, _| false);
        assert!(lease.permits_nothing());
    }
}
