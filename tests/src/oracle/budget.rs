//! Money, counted a second time (BUD-1, BUD-2, BUD-4 to BUD-7).

use arcp_proto::id::JobKey;
use arcp_proto::runtime::store::Record;

use super::Oracle;
use super::read::amount;

/// What moved the counters of a job.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// The last cost, and the last of another currency or none.
    charged: i128,
    uncharged: i128,
    /// What all its children were given, and what the last of them gave back.
    granted: i128,
    returned: i128,
    /// What the runtime last told to be left.
    told: i128,
}

impl Moved {
    /// The property that a counter breaks which is `units` in the oracle's account.
    fn broken_by(&self, units: i128, theirs: i128) -> &'static str {
        let (missing, extra) = (units - theirs, theirs - units);
        let is = |amount: i128, by: i128| amount > 0 && by == amount;
        if is(self.granted, extra) || is(self.returned, extra) {
            "BUD-5"
        } else if is(self.uncharged, missing) {
            "BUD-7"
        } else if is(self.told, missing) {
            "BUD-4"
        } else if self.charged > 1_000 && missing > 0 && missing % self.charged == 0 {
            "BUD-6"
        } else {
            "BUD-1"
        }
    }
}

impl Oracle {
    /// An agent has reported a cost, and was not refused.
    pub fn charged(&mut self, job: JobKey, unit: Option<&str>, cost: &str) {
        let Some(job) = self.job(job.ulid().bits()) else { return };
        match unit.and_then(|unit| self.purse(job, unit).map(|purse| (unit, purse))) {
            Some((unit, purse)) => {
                self.jobs[purse].moved.charged = amount(cost);
                self.shift(purse, unit, -amount(cost));
            }
            None => {
                let currencies: Vec<String> =
                    self.jobs[job].lease.currencies().map(|(currency, _)| currency.to_owned()).collect();
                for purse in
                    currencies.iter().filter_map(|currency| self.purse(job, currency)).collect::<Vec<_>>()
                {
                    self.jobs[purse].moved.uncharged = amount(cost);
                }
            }
        }
    }

    /// The runtime tells on a job's stream what is left.
    pub(super) fn remaining_told(&mut self, job: usize, body: &str) {
        let metric: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let left = metric["value"].to_string();
        if metric["name"] != "cost.budget.remaining" || left.starts_with('-') {
            return;
        }
        if let Some(purse) = metric["unit"].as_str().and_then(|unit| self.purse(job, unit)) {
            self.jobs[purse].moved.told = amount(&left);
        }
    }

    /// The job whose counter a charge of `job` moves: its own, or that of the nearest unfinished job above it that has one.
    fn purse(&self, job: usize, currency: &str) -> Option<usize> {
        let mut at = job;
        loop {
            let state = &self.jobs[at];
            let (_, shared) = state.lease.currencies().find(|(own, _)| *own == currency)?;
            if !shared && (at == job || !state.live_end) {
                return Some(at);
            }
            at = state.parent?;
        }
    }

    fn shift(&mut self, job: usize, currency: &str, by: i128) {
        if let Some((_, units)) = self.jobs[job].counters.iter_mut().find(|(own, _)| own == currency) {
            *units += by;
        }
    }

    pub(super) fn is_exhausted(&self, job: usize) -> bool {
        self.jobs[job].lease.currencies().any(|(currency, _)| {
            let purse = self.purse(job, currency);
            let counter =
                purse.and_then(|purse| self.jobs[purse].counters.iter().find(|(own, _)| own == currency));
            counter.is_some_and(|(_, units)| *units <= 0)
        })
    }

    /// A child was accepted: what it is granted of its own is taken from above.
    pub(super) fn set_aside(&mut self, child: usize, parent: usize) {
        for (currency, units) in self.jobs[child].counters.clone() {
            if let Some(purse) = self.purse(parent, &currency) {
                let left = self.jobs[purse].counters.iter().find(|(own, _)| *own == currency);
                if left.is_some_and(|(_, left)| *left < units) {
                    self.fail(
                        "BUD-5",
                        format_args!("a child is given {units} of {currency}, more than is left"),
                    );
                }
                self.jobs[purse].moved.granted += units;
                self.shift(purse, &currency, -units);
            }
        }
    }

    /// A job's end is given to the store: what it has left goes back, once.
    pub(super) fn end_given(&mut self, job: usize) {
        if std::mem::replace(&mut self.jobs[job].live_end, true) {
            self.fail("JOB-2", format_args!("a job ends twice"));
            return;
        }
        let Some(parent) = self.jobs[job].parent else { return };
        let mut above = Some(parent);
        while let Some(at) = above.filter(|at| self.jobs[*at].live_end) {
            above = self.jobs[at].parent;
        }
        let Some(above) = above else { return };
        for (currency, units) in self.jobs[job].counters.clone() {
            if let Some(purse) = self.purse(above, &currency) {
                self.jobs[purse].moved.returned = units;
                self.shift(purse, &currency, units);
            }
        }
    }

    /// Counters that the runtime gives to the store against those kept here.
    pub(super) fn counters_given(&mut self, records: &[Record]) {
        // Within an append the newest value of a counter counts.
        for (index, record) in records.iter().enumerate() {
            let Record::Counters { job: key, counters } = record else { continue };
            let Some(job) = self.job(key.ulid().bits()) else { continue };
            for counter in counters {
                let is_newest = !records[index + 1..].iter().any(|later| {
                    matches!(later, Record::Counters { job, counters }
                        if job == key && counters.iter().any(|other| other.currency == counter.currency))
                });
                let own = self.jobs[job].counters.iter().find(|(own, _)| own == counter.currency.as_str());
                let Some((currency, units)) = own.cloned().filter(|_| is_newest) else { continue };
                let theirs = counter.remaining.units();
                if units != theirs {
                    let property = self.jobs[job].moved.broken_by(units, theirs);
                    let what = format_args!("the counter of {currency} is {theirs}, due is {units}");
                    self.fail(property, what);
                    return;
                }
            }
        }
    }
}
