//! Leases as the oracle reads them, and what they permit (LEA-1, LEA-2, LEA-6, LEA-7, LEA-9).

use arcp_proto::error::ErrorCode;
use arcp_proto::id::JobKey;
use arcp_proto::lease::Lease;
use arcp_proto::runtime::StopReason;
use arcp_proto::time::{Now, UnixTime};
use arcp_proto::wire::credential::CredentialConstraints;

use super::Oracle;
use super::read::amount;

/// What a lease says, as far as the worlds use it.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    /// Namespace and pattern, as spelled.
    patterns: Vec<(String, String)>,
    /// Currency, amount in 10⁻⁹ units, whether the parent's counter is the one that counts.
    budget: Vec<(String, i128, bool)>,
    /// In Unix milliseconds.
    expires_at: Option<i64>,
}

impl Terms {
    pub(super) fn of(lease: &Lease) -> Self {
        let text = lease.to_json();
        let parsed: serde_json::Value = serde_json::from_str(text.as_str()).unwrap_or_default();
        let mut terms = Self::from_json(&parsed);
        for (currency, _, shared) in &mut terms.budget {
            let is_shared = |budgeted: &&arcp_proto::lease::Budgeted| budgeted.currency.as_str() == currency;
            *shared = lease.budget().iter().find(is_shared).is_some_and(|budgeted| budgeted.shared);
        }
        terms.expires_at = lease.expires_at().map(UnixTime::as_millis);
        terms
    }

    /// A lease as asked for.
    pub(super) fn asked(lease: Option<&str>, expires_at: Option<i64>) -> Self {
        let parsed = lease.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Self { expires_at, ..Self::from_json(&parsed) }
    }

    /// What an upstream enforces.
    pub(super) fn constraints(told: &CredentialConstraints) -> Self {
        let mut terms = Self { expires_at: told.expires_at.map(UnixTime::as_millis), ..Self::default() };
        for limit in &told.cost_budget {
            let (currency, text) = limit.split_once(':').unwrap_or((limit, "0"));
            terms.budget.push((currency.to_owned(), amount(text), false));
        }
        for model in told.model_use.iter().flatten() {
            terms.patterns.push(("model.use".to_owned(), model.clone()));
        }
        terms
    }

    /// What an upstream takes for permitted that this does not permit, if anything. What it does not enforce it does not
    /// say.
    pub(super) fn constrained_beyond(&self, told: &Self) -> Option<String> {
        let model = told.patterns.iter().find(|(namespace, pattern)| {
            let covers = |(own, other): &(String, String)| {
                own == namespace && (other == pattern || matches(other, pattern.trim_end_matches('*')))
            };
            !self.patterns.iter().any(covers)
        });
        if let Some((_, pattern)) = model {
            return Some(pattern.clone());
        }
        let is_beyond = |(currency, units, _): &&(String, i128, bool)| {
            let limit = self.budget.iter().find(|(own, ..)| own == currency);
            // What is shared with the job above may have grown there.
            limit.is_some_and(|(_, own, shared)| units > own && !shared)
        };
        if let Some((currency, units, _)) = told.budget.iter().find(is_beyond) {
            return Some(format!("{units} of {currency}"));
        }
        match (told.expires_at, self.expires_at) {
            (Some(told), Some(own)) if told > own => Some(format!("an end at {told} instead of {own}")),
            _ => None,
        }
    }

    fn from_json(lease: &serde_json::Value) -> Self {
        let mut terms = Self::default();
        for (namespace, patterns) in lease.as_object().into_iter().flatten() {
            for pattern in patterns.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str) {
                if namespace == "cost.budget" {
                    let (currency, text) = pattern.split_once(':').unwrap_or((pattern, "0"));
                    terms.budget.push((currency.to_owned(), amount(text), false));
                } else {
                    terms.patterns.push((namespace.clone(), pattern.to_owned()));
                }
            }
        }
        terms
    }

    pub(super) fn own_budget(&self) -> Vec<(String, i128)> {
        let own = self.budget.iter().filter(|(_, _, shared)| !shared);
        own.map(|(currency, units, _)| (currency.clone(), *units)).collect()
    }

    pub(super) fn currencies(&self) -> impl Iterator<Item = (&str, bool)> {
        self.budget.iter().map(|(currency, _, shared)| (currency.as_str(), *shared))
    }

    /// When it ends on the monotonic clock, if it was accepted at this moment.
    pub(super) fn deadline(&self, now: Now) -> Option<u64> {
        let left = self.expires_at?.saturating_sub(now.unix.as_millis()).max(0);
        Some(now.mono.as_micros().saturating_add(u64::try_from(left).unwrap_or(0).saturating_mul(1_000)))
    }

    fn names(&self, namespace: &str) -> bool {
        self.patterns.iter().any(|(own, _)| own == namespace)
    }

    fn permits(&self, namespace: &str, target: &str) -> bool {
        self.patterns.iter().any(|(own, pattern)| own == namespace && matches(pattern, target))
    }

    /// Why this grants more than `wider`, if it does.
    pub(super) fn exceeds(&self, wider: &Self) -> Option<String> {
        for (namespace, pattern) in &self.patterns {
            let is_covered = |(own, other): &(String, String)| {
                own == namespace && (other == pattern || matches(other, pattern.trim_end_matches('*')))
            };
            if !wider.patterns.iter().any(is_covered) {
                return Some(format!("{namespace} {pattern}"));
            }
        }
        for (currency, units, shared) in &wider.budget {
            match self.budget.iter().find(|(own, ..)| own == currency) {
                None => return Some(format!("no limit of {currency}")),
                Some((_, own, _)) if own > units && !shared => {
                    return Some(format!("{own} of {currency} instead of {units}"));
                }
                Some(_) => {}
            }
        }
        match (self.expires_at, wider.expires_at) {
            (None, Some(at)) => Some(format!("no end instead of {at}")),
            (Some(own), Some(at)) if own > at => Some(format!("an end at {own} instead of {at}")),
            _ => None,
        }
    }
}

/// The worlds' own patterns are names with at most one `*`, at the end; whoever meddles with a request may put others there.
fn matches(pattern: &str, target: &str) -> bool {
    let (pattern, target): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), target.split('/').collect());
    segments_match(&pattern, &target)
}

fn segments_match(pattern: &[&str], target: &[&str]) -> bool {
    match (pattern, target) {
        ([], []) => true,
        (["**", rest @ ..], _) => {
            segments_match(rest, target) || !target.is_empty() && segments_match(pattern, &target[1..])
        }
        ([first, rest @ ..], [segment, others @ ..]) => {
            (*first != "*" || !segment.is_empty())
                && segment_matches(first.as_bytes(), segment.as_bytes())
                && segments_match(rest, others)
        }
        _ => false,
    }
}

fn segment_matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            segment_matches(rest, text) || !text.is_empty() && segment_matches(pattern, &text[1..])
        }
        ([first, rest @ ..], [byte, others @ ..]) => first == byte && segment_matches(rest, others),
        _ => false,
    }
}

impl Oracle {
    /// The runtime has judged an operation of a job at this instant.
    pub fn decided(&mut self, job: JobKey, target: &str, now: Now, denied: Option<ErrorCode>) {
        self.now = now;
        let Some(job) = self.job(job.ulid().bits()) else {
            if denied.is_none() {
                self.fail("LEA-1", format_args!("an operation of a job that is not there is permitted"));
            }
            return;
        };
        let is_expired = self.is_past_lease(job, now);
        let was_expired = self.jobs[job].is_expired;
        self.jobs[job].is_expired |= is_expired;
        if denied.is_none() {
            if self.jobs[job].end.is_some() || self.jobs[job].live_end {
                self.fail("JOB-3", format_args!("an operation is permitted after the job's end"));
            } else if was_expired || is_expired {
                self.fail("LEA-6", format_args!("an operation is permitted after the lease's end"));
            }
        }
        if self.is_behind() {
            return;
        }
        let state = &self.jobs[job];
        let is_stopped = state.live_end
            || matches!(&state.live_stopping, Some(reason) if !matches!(reason, StopReason::LeaseExpired(_)));
        let expected = if is_stopped {
            Some(ErrorCode::Cancelled)
        } else if state.is_expired {
            Some(ErrorCode::LeaseExpired)
        } else if !state.lease.permits("tool.call", target) {
            Some(ErrorCode::PermissionDenied)
        } else if self.is_exhausted(job) {
            Some(ErrorCode::BudgetExhausted)
        } else {
            None
        };
        let is_unsure = state.deadline.is_none() && state.lease.expires_at.is_some();
        if expected != denied && !(is_unsure && denied == Some(ErrorCode::LeaseExpired)) {
            let property = match (expected, denied) {
                (Some(ErrorCode::BudgetExhausted), None) => "BUD-2",
                (Some(ErrorCode::LeaseExpired), _) => "LEA-6",
                (Some(ErrorCode::PermissionDenied), None) if !self.jobs[job].lease.names("tool.call") => {
                    "LEA-8"
                }
                _ => "LEA-1",
            };
            self.fail(property, format_args!("{target} is judged {denied:?}, due is {expected:?}"));
        }
    }

    /// Whether a lease has ended by either clock.
    pub(super) fn is_past_lease(&self, job: usize, now: Now) -> bool {
        let job = &self.jobs[job];
        let by_deadline = job.deadline.is_some_and(|deadline| now.mono.as_micros() >= deadline);
        job.lease.expires_at.is_some_and(|at| now.unix.as_millis() >= at || by_deadline)
    }

    /// A child's lease against its parent's.
    pub(super) fn judge_child(&mut self, child: usize, parent: usize) {
        let (lease, above) = (&self.jobs[child].lease, &self.jobs[parent].lease);
        let outlives = above.expires_at.is_some_and(|at| lease.expires_at.is_none_or(|own| own > at));
        if outlives {
            self.fail("LEA-7", format_args!("a child's lease ends after its parent's"));
            return;
        }
        let dropped =
            above.currencies().find(|(currency, _)| !lease.currencies().any(|(own, _)| own == *currency));
        if let Some((currency, _)) = dropped {
            let currency = currency.to_owned();
            self.fail("LEA-9", format_args!("a child's {currency} is not limited, its parent's is"));
            return;
        }
        let mut widest = above.clone();
        widest.budget.clear();
        if let Some(what) = lease.exceeds(&widest) {
            self.fail("LEA-3", format_args!("a child's lease grants more than its parent's: {what}"));
        }
    }
}
