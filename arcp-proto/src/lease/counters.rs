//! What is left of a job's budget, by currency (protocol §5.6).

use alloc::vec::Vec;

use super::budget::{Amount, Currency};

/// The counters of one job: remaining = initial − charges − escrow + refunds, exactly.
///
/// A currency without a counter here is not limited here: it is free, or shared with the parent, whose counters then
/// take the charge (D-31). The same moves in the same order give the same counters, so they can be rebuilt from a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters(Vec<Counter>);

/// The state of one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// What it counts.
    pub currency: Currency,
    /// What the lease granted.
    pub initial: Amount,
    /// What is left; below zero by what was already under way when it reached zero.
    pub remaining: Amount,
    /// What the last `cost.budget.remaining` said, or `initial`.
    pub reported: Amount,
}

/// A counter has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// What is left now.
    pub remaining: Amount,
    /// Whether `cost.budget.remaining` is due (D-81).
    pub report: bool,
}

/// Why a counter cannot move. It keeps its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CounterError {
    /// Less is left than a child asks for.
    #[error("the remaining budget is smaller than the amount asked for")]
    Insufficient,
    /// The counter would leave its range.
    #[error("the counter would leave its range")]
    Overflow,
}

impl Counters {
    /// Counters that begin with these amounts, none of whose currencies occurs twice.
    #[must_use]
    pub fn new(amounts: impl IntoIterator<Item = (Currency, Amount)>) -> Self {
        Self::restore(amounts.into_iter().map(|(currency, initial)| Counter {
            currency,
            initial,
            remaining: initial,
            reported: initial,
        }))
    }

    /// Counters as a store kept them.
    #[must_use]
    pub fn restore(counters: impl IntoIterator<Item = Counter>) -> Self {
        Self(counters.into_iter().collect())
    }

    /// The counters, in the order of the lease.
    #[must_use]
    pub fn as_slice(&self) -> &[Counter] {
        &self.0
    }

    /// The counter of `currency`.
    #[must_use]
    pub fn find(&self, currency: &str) -> Option<&Counter> {
        self.0.iter().find(|counter| counter.currency.as_str() == currency)
    }

    /// The first currency of which nothing is left: no operation is allowed (D-34).
    #[must_use]
    pub fn exhausted(&self) -> Option<&Currency> {
        self.0.iter().find(|counter| !counter.remaining.is_positive()).map(|counter| &counter.currency)
    }

    /// Sets a counter to what a store kept of it; one that is not there is added.
    pub fn set(&mut self, counter: Counter) {
        match self.0.iter_mut().find(|known| known.currency == counter.currency) {
            Some(known) => *known = counter,
            None => self.0.push(counter),
        }
    }

    /// Takes what a metric charged. `None` if the currency has no counter here. May leave the counter below zero.
    ///
    /// # Errors
    /// [`CounterError::Overflow`].
    pub fn charge(&mut self, currency: &str, amount: Amount) -> Result<Option<Moved>, CounterError> {
        self.shift(currency, |remaining| remaining.checked_sub(amount))
    }

    /// Sets aside what a child was granted. `None` if the currency has no counter here, so that the child's amount
    /// only restricts the child (D-111).
    ///
    /// # Errors
    /// [`CounterError::Insufficient`] if less is left.
    pub fn escrow(&mut self, currency: &str, amount: Amount) -> Result<Option<Moved>, CounterError> {
        if self.find(currency).is_some_and(|counter| counter.remaining < amount) {
            return Err(CounterError::Insufficient);
        }
        self.shift(currency, |remaining| remaining.checked_sub(amount))
    }

    /// Adds what an ended child's counter showed, negative included. Once per child and currency.
    ///
    /// # Errors
    /// [`CounterError::Overflow`].
    pub fn refund(&mut self, currency: &str, amount: Amount) -> Result<Option<Moved>, CounterError> {
        self.shift(currency, |remaining| remaining.checked_add(amount))
    }

    fn shift(
        &mut self,
        currency: &str,
        moved: impl FnOnce(Amount) -> Option<Amount>,
    ) -> Result<Option<Moved>, CounterError> {
        let Some(counter) = self.0.iter_mut().find(|counter| counter.currency.as_str() == currency) else {
            return Ok(None);
        };
        let remaining = moved(counter.remaining).ok_or(CounterError::Overflow)?;
        let report = remaining != counter.remaining && counter.is_worth_reporting(remaining);
        counter.remaining = remaining;
        if report {
            counter.reported = remaining;
        }
        Ok(Some(Moved { remaining, report }))
    }
}

impl Counter {
    /// Whether `remaining` is nothing, or at least 1 % of the initial amount away from what was last reported.
    fn is_worth_reporting(&self, remaining: Amount) -> bool {
        let moved = remaining.units().abs_diff(self.reported.units());
        !remaining.is_positive() || moved.saturating_mul(100) >= self.initial.units().unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Random;

    fn counters(amounts: &[(&str, &str)]) -> Counters {
        Counters::new(
            amounts
                .iter()
                .map(|(name, amount)| (Currency::parse(name).unwrap(), Amount::parse(amount).unwrap())),
        )
    }

    fn amount(text: &str) -> Amount {
        Amount::charge(text).unwrap()
    }

    #[test]
    fn ten_tenths_are_one() {
        let mut counters = counters(&[("USD", "1.00")]);
        for _ in 0..10 {
            assert_eq!(counters.exhausted(), None);
            counters.charge("USD", amount("0.1")).unwrap();
        }
        assert_eq!(counters.exhausted().unwrap().as_str(), "USD");
        assert_eq!(counters.find("USD").unwrap().remaining, Amount::ZERO);
    }

    #[test]
    fn a_million_tiny_charges_add_up() {
        let mut counters = counters(&[("USD", "1")]);
        let tiny = amount("0.0000004");
        for _ in 0..1_000_000 {
            counters.charge("USD", tiny).unwrap();
        }
        assert_eq!(counters.find("USD").unwrap().remaining, Amount::parse("0.6").unwrap());
    }

    #[test]
    fn currencies_do_not_touch_each_other() {
        let mut counters = counters(&[("USD", "1"), ("usd", "2"), ("EUR", "0")]);
        assert_eq!(counters.charge("GBP", amount("9")), Ok(None));
        assert_eq!(counters.escrow("GBP", amount("9")), Ok(None));
        counters.charge("usd", amount("2")).unwrap();
        let left: Vec<_> = counters.as_slice().iter().map(|counter| counter.remaining.units()).collect();
        assert_eq!(left, [1_000_000_000, 0, 0]);
        assert_eq!(counters.exhausted().unwrap().as_str(), "usd");
    }

    #[test]
    fn remaining_is_reported_after_one_percent_and_at_zero() {
        let mut counters = counters(&[("USD", "1.00"), ("NIL", "0")]);
        let mut charge =
            |currency: &str, value: &str| counters.charge(currency, amount(value)).unwrap().unwrap().report;
        assert!(!charge("USD", "0.009999999"));
        assert!(charge("USD", "0.000000001"), "1 % altogether");
        assert!(!charge("USD", "0.005"), "counted from the last report");
        assert!(!charge("USD", "0"));
        assert!(charge("USD", "0.98"));
        assert!(!charge("USD", "0.004999999"));
        assert!(charge("USD", "0.000000001"), "nothing is left");
        assert!(charge("USD", "0.000000001"), "each further charge");
        assert!(!charge("USD", "0"));
        assert!(charge("NIL", "0.000000001") && !charge("NIL", "0"));
    }

    #[test]
    fn escrow_needs_what_it_takes_and_returns_what_is_left() {
        let mut parent = counters(&[("USD", "1.00")]);
        let mut child = counters(&[("USD", "0.60")]);
        assert!(parent.escrow("USD", amount("0.6")).unwrap().unwrap().report);
        assert_eq!(parent.escrow("USD", amount("0.6")), Err(CounterError::Insufficient));
        assert_eq!(parent.find("USD").unwrap().remaining, amount("0.4"), "refused without effect");
        assert!(parent.escrow("USD", amount("0.4")).is_ok(), "all of the rest");
        child.charge("USD", amount("0.75")).unwrap();
        let left = child.find("USD").unwrap().remaining;
        assert_eq!(left.units(), -150_000_000);
        assert_eq!(parent.refund("USD", left).unwrap().unwrap().remaining, left);
    }

    #[test]
    fn what_a_store_kept_takes_the_place_of_its_currency_alone() {
        let mut counters = counters(&[("USD", "1"), ("EUR", "2")]);
        let kept = |currency: &str, remaining: &str| Counter {
            currency: Currency::parse(currency).unwrap(),
            initial: amount("9"),
            remaining: amount(remaining),
            reported: amount("8"),
        };
        counters.set(kept("EUR", "0.5"));
        counters.set(kept("credits", "7"));
        let left: Vec<_> = counters
            .as_slice()
            .iter()
            .map(|counter| (counter.currency.as_str(), counter.remaining))
            .collect();
        assert_eq!(left, [("USD", amount("1")), ("EUR", amount("0.5")), ("credits", amount("7"))]);
        assert_eq!(counters.find("EUR"), Some(&kept("EUR", "0.5")));
    }

    #[test]
    fn overflow_changes_nothing() {
        let mut counters = counters(&[("USD", "1")]);
        let before = counters.clone();
        let most = Amount::from_units(i128::MAX);
        assert_eq!(counters.refund("USD", most), Err(CounterError::Overflow));
        assert_eq!(counters, before);
    }

    /// Own spending and that of all descendants, which charge their own counters, against one grant.
    #[test]
    fn nothing_is_lost_or_made_in_a_tree_of_jobs() {
        let mut random = Random::new(46);
        for _ in 0..300 {
            let mut units = |bound: u64| i128::from(random.next() % bound);
            let grant = units(5_000_000) + 1;
            let root = Counters::new([(Currency::parse("USD").unwrap(), Amount::from_units(grant))]);
            // Each job with its parent; ended ones are taken out.
            let mut jobs = Vec::from([Some((0_usize, root))]);
            let mut spent = 0_i128;
            for _ in 0..60 {
                let at = usize::try_from(units(60)).unwrap() % jobs.len();
                let Some((parent, mut counters)) = jobs[at].take() else { continue };
                let is_parent = jobs.iter().flatten().any(|(parent, _)| *parent == at);
                match units(4) {
                    0 => {
                        let amount = Amount::from_units(units(1_000_000));
                        if counters.escrow("USD", amount).is_ok() {
                            let child = Counters::new([(Currency::parse("USD").unwrap(), amount)]);
                            jobs.push(Some((at, child)));
                        }
                    }
                    1 if at != 0 && !is_parent => {
                        let left = counters.find("USD").unwrap().remaining;
                        let (_, parent) = jobs[parent].as_mut().unwrap();
                        parent.refund("USD", left).unwrap();
                        continue;
                    }
                    _ => {
                        let amount = units(200_000);
                        counters.charge("USD", Amount::from_units(amount)).unwrap();
                        spent += amount;
                    }
                }
                jobs[at] = Some((parent, counters));
                let left: i128 = jobs
                    .iter()
                    .flatten()
                    .map(|(_, counters)| counters.find("USD").unwrap().remaining.units())
                    .sum();
                assert_eq!(left + spent, grant);
            }
        }
    }
}
