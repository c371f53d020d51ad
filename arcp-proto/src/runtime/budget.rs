//! Money: what metrics charge, what a delegation sets aside, what comes back (protocol §5.6).
//!
//! Counters move before the event that moves them is produced, so that both records are in one append.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::error::ApiMisuse;
use crate::feature::Feature;
use crate::lease::{
    Amount, ChargeError, Counter, CounterError, Counters, Currency, Lease, Moved, amounts_json,
};
use crate::runtime::store::Record;
use crate::runtime::{JobHandle, RuntimeEndpoint};
use crate::wire::event::{Content, Emission, EventKind};
use crate::wire::{Fields, RawJson, object_text, string_of};

const COST: &str = "cost.";
const OF_THE_RUNTIME: &str = "cost.budget.";

/// A `cost.budget.remaining` that is due behind the event that moved the counter.
#[derive(Debug)]
pub(super) struct Remaining {
    currency: Currency,
    value: Amount,
}

impl RuntimeEndpoint {
    /// The job whose counter limits this currency for `handle`: itself, or the ancestor it shares the currency with
    /// (D-31). An ancestor that has ended has given back what was left, so that its own ancestor is the one.
    fn purse(&self, handle: JobHandle, currency: &Currency) -> Option<JobHandle> {
        let mut at = handle;
        loop {
            let job = self.jobs.get(at)?;
            let budgeted = job.lease.budget().iter().find(|budgeted| budgeted.currency == *currency)?;
            if !budgeted.shared && (at == handle || !job.state.is_final()) {
                return Some(at);
            }
            at = job.parent?;
        }
    }

    /// What is left of a currency for this job; `None` if it is not limited.
    pub(super) fn remaining_of(&self, handle: JobHandle, currency: &Currency) -> Option<Amount> {
        let purse = self.purse(handle, currency)?;
        Some(self.jobs.get(purse)?.counters.find(currency.as_str())?.remaining)
    }

    /// What is left of each currency that limits a job, those it shares with its parent included; empty for a job without
    /// a budget, and for a handle that names nothing.
    #[must_use]
    pub fn budget_remaining(&self, handle: JobHandle) -> Vec<(Currency, Amount)> {
        let Some(job) = self.jobs.get(handle) else { return Vec::new() };
        let currencies = job.lease.budget().iter().map(|budgeted| &budgeted.currency);
        currencies
            .filter_map(|currency| Some((currency.clone(), self.remaining_of(handle, currency)?)))
            .collect()
    }

    /// The same as `budget` of `job.subscribed` shows it.
    pub(super) fn budget_json(&self, handle: JobHandle) -> Option<RawJson> {
        let left = self.budget_remaining(handle);
        amounts_json(left.iter().map(|(currency, amount)| (currency, *amount)))
    }

    /// The first currency of which nothing is left for this job (D-34).
    pub(super) fn exhausted(&self, handle: JobHandle) -> Option<Currency> {
        let job = self.jobs.get(handle)?;
        if job.lease.budget().iter().all(|budgeted| !budgeted.shared) {
            return job.counters.exhausted().cloned();
        }
        let left = self.budget_remaining(handle);
        left.into_iter().find(|(_, amount)| !amount.is_positive()).map(|(currency, _)| currency)
    }

    /// Charges what an emission costs, if it is a cost in a currency that limits its job.
    ///
    /// # Errors
    /// The value is no amount that can be charged; nothing was charged then.
    pub(super) fn charge(
        &mut self,
        handle: JobHandle,
        emission: &Emission,
    ) -> Result<Option<Remaining>, ApiMisuse> {
        let Some(job) = self.jobs.get(handle) else { return Err(ApiMisuse::UnknownHandle) };
        if emission.kind != EventKind::Metric || job.lease.budget().is_empty() {
            return Ok(None);
        }
        let body = Fields::of(emission.body.as_str());
        let text = |name| body.present(name).and_then(string_of);
        let is_cost =
            text("name").is_some_and(|name| name.starts_with(COST) && !name.starts_with(OF_THE_RUNTIME));
        let Some(unit) = text("unit").filter(|_| is_cost) else { return Ok(None) };
        let Some(currency) = currency_named(&job.lease, &unit) else { return Ok(None) };
        let amount = Amount::charge(body.present("value").unwrap_or_default()).map_err(|error| {
            ApiMisuse::OutOfRange(Cow::Borrowed(match error {
                ChargeError::NotANumber => "`value` of a cost must be a number",
                ChargeError::Negative => "`value` of a cost must be at least 0",
                ChargeError::OutOfRange => "`value` of a cost must be below 10^18",
            }))
        })?;
        self.shift(handle, &currency, |counters| counters.charge(currency.as_str(), amount)).map_err(|_| {
            ApiMisuse::OutOfRange(Cow::Borrowed("the cost would take the budget's counter out of its range"))
        })
    }

    /// Sets aside what a child is granted of its own, of the currencies that limit its parent too (D-30).
    pub(super) fn set_aside(&mut self, parent: JobHandle, child: &Lease) -> Vec<Remaining> {
        let mut due = Vec::new();
        for own in child.budget().iter().filter(|budgeted| !budgeted.shared) {
            let currency = &own.currency;
            // That enough is left was proved with the child's lease.
            if let Ok(report) =
                self.shift(parent, currency, |counters| counters.escrow(currency.as_str(), own.amount))
            {
                due.extend(report);
            }
        }
        due
    }

    /// Gives back what an ended child's own counters show, negative included. Called once, with its terminal.
    pub(super) fn give_back(&mut self, child: JobHandle) -> Option<(JobHandle, Vec<Remaining>)> {
        let job = self.jobs.get(child)?;
        let parent = job.parent?;
        let left = job.counters.as_slice().to_vec();
        let mut due = Vec::new();
        for Counter { currency, remaining, .. } in left {
            // Both were bounded when they were granted and charged, so their sum is in range.
            if let Ok(report) = self
                .shift_of_living(parent, &currency, |counters| counters.refund(currency.as_str(), remaining))
            {
                due.extend(report);
            }
        }
        Some((parent, due))
    }

    fn shift(
        &mut self,
        handle: JobHandle,
        currency: &Currency,
        change: impl FnOnce(&mut Counters) -> Result<Option<Moved>, CounterError>,
    ) -> Result<Option<Remaining>, CounterError> {
        let Some(purse) = self.purse(handle, currency) else { return Ok(None) };
        let Some(job) = self.jobs.get_mut(purse) else { return Ok(None) };
        let moved = change(&mut job.counters)?;
        let key = job.key;
        let Some(counter) = job.counters.find(currency.as_str()).cloned() else { return Ok(None) };
        self.log.append(Record::Counters { job: key, counters: Vec::from([counter]) }, 96);
        let due = moved.filter(|moved| moved.report);
        Ok(due.map(|moved| Remaining { currency: currency.clone(), value: moved.remaining }))
    }

    /// As [`Self::shift`], from the nearest of `handle` and its ancestors that has not ended.
    fn shift_of_living(
        &mut self,
        handle: JobHandle,
        currency: &Currency,
        change: impl FnOnce(&mut Counters) -> Result<Option<Moved>, CounterError>,
    ) -> Result<Option<Remaining>, CounterError> {
        let mut at = handle;
        while let Some(job) = self.jobs.get(at).filter(|job| job.state.is_final()) {
            match job.parent {
                Some(parent) => at = parent,
                None => return Ok(None),
            }
        }
        self.shift(at, currency, change)
    }

    /// Tells what is left, on the job that charged, set aside or got something back (D-81).
    pub(super) fn tell_remaining(&mut self, handle: JobHandle, due: impl IntoIterator<Item = Remaining>) {
        for Remaining { currency, value } in due {
            let told = self.jobs.get(handle).is_some_and(|job| {
                let owner = job.owner.and_then(|owner| self.sessions.get(owner));
                !job.state.is_final() && owner.is_none_or(|owner| owner.features.has(Feature::CostBudget))
            });
            if told {
                let body = object_text(|out| {
                    out.str("name", "cost.budget.remaining")
                        .raw("value", value.to_number().as_str())
                        .str("unit", currency.as_str());
                });
                let body = RawJson::from_validated(body.into_bytes().into());
                self.produce(handle, Content::Event { kind: EventKind::Metric, body });
            }
        }
    }
}

/// The currency of a lease that is spelled like this.
fn currency_named(lease: &Lease, unit: &str) -> Option<Currency> {
    let mut currencies = lease.budget().iter().map(|budgeted| &budgeted.currency);
    currencies.find(|currency| currency.as_str() == unit).cloned()
}
