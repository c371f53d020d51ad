//! A second account of what a runtime has stored, kept beside its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use arcp_proto::id::{CredentialKey, JobKey};
use arcp_proto::lease::{Amount, Counters, Currency, Lease, Policy};
use arcp_proto::runtime::CredentialState;
use arcp_proto::runtime::rows::Row;
use arcp_proto::runtime::store::{EventRecord, JobRecord, Record};
use arcp_proto::wire::RawJson;
use arcp_proto::wire::event::{Content, EventKind};
use serde_json::Value;

/// What every value of a credential begins with here.
pub(super) const VALUE: &str = "value-of-";

/// Jobs and credentials as the records tell of them. At the end of every append: positions have no gaps, nothing follows
/// a terminal, a child's lease lies within its parent's, a lease can be read again, and of every budget what is left in
/// the tree and what was spent there is what was granted; no credential outlives its job (SEQ-1, JOB-2, LEA-4, BUD-1,
/// BUD-5, BUD-6, CRD-4).
#[derive(Default)]
pub(super) struct Books {
    jobs: BTreeMap<JobKey, Account>,
    credentials: BTreeMap<CredentialKey, (JobKey, CredentialState)>,
    policy: Policy,
}

struct Account {
    parent: Option<JobKey>,
    lease: Arc<Lease>,
    counters: Counters,
    /// By currency, in units of 10⁻⁹; what its own children spent is not part of it.
    spent: BTreeMap<Currency, i128>,
    position: u64,
    has_ended: bool,
}

impl Books {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// The account of rows that nothing has damaged. What was spent before is what is missing.
    pub(super) fn of_rows(rows: &[Row], policy: Policy) -> Self {
        let mut books = Self::new(policy);
        for row in rows {
            match row {
                Row::Session(_) => {}
                Row::Credential(record) => {
                    books.credentials.insert(record.key, (record.job, record.state));
                }
                Row::Job(row) => {
                    let account = Account {
                        parent: row.record.parent.map(|parent| parent.job),
                        lease: Arc::clone(&row.record.lease),
                        counters: row.counters.clone(),
                        spent: BTreeMap::new(),
                        position: row.positions.last(),
                        has_ended: row.end.is_some(),
                    };
                    books.jobs.insert(row.record.key, account);
                }
            }
        }
        for (root, currency, missing) in books.budgets() {
            assert!(missing >= 0, "{root} has more {currency} than it was granted");
            if let Some(account) = books.jobs.get_mut(&root) {
                account.spent.insert(currency, missing);
            }
        }
        books
    }

    /// One append: all of it or nothing is stored.
    pub(super) fn take(&mut self, records: &[Record]) {
        let (mut moves_money, mut ends) = (false, false);
        for record in records {
            match record {
                Record::Job(record) => {
                    moves_money |= record.parent.is_some();
                    self.accept(record);
                }
                Record::Counters { job, counters } => {
                    moves_money = true;
                    let account = self.jobs.get_mut(job).expect("a counter is some job's");
                    counters.iter().for_each(|counter| account.counters.set(counter.clone()));
                }
                Record::Event(record) => {
                    // Children that live give nothing back to a root that has ended.
                    if matches!(record.event.content, Content::End(_)) {
                        ends = true;
                        self.balance(Some(record.job));
                    }
                    moves_money |= self.event(record);
                }
                Record::Credential(record) => {
                    self.credentials.insert(record.key, (record.job, record.state));
                }
                _ => {}
            }
        }
        if moves_money {
            self.balance(None);
        }
        if ends {
            let issued = self.credentials.iter().filter(|(_, (_, state))| *state == CredentialState::Issued);
            for (key, (job, _)) in issued {
                assert!(!self.is_over(*job), "{key} outlives its job or one above it");
            }
        }
    }

    /// Whether a job has ended, or one above it.
    fn is_over(&self, job: JobKey) -> bool {
        let account = self.jobs.get(&job);
        account.is_some_and(|it| it.has_ended || it.parent.is_some_and(|parent| self.is_over(parent)))
    }

    /// How far a credential is in the store.
    pub(super) fn credential(&self, key: CredentialKey) -> Option<CredentialState> {
        self.credentials.get(&key).map(|(_, state)| *state)
    }

    fn accept(&mut self, record: &JobRecord) {
        let lease = &record.lease;
        let is_shared =
            |currency: &Currency| lease.budget().iter().any(|b| b.shared && b.currency == *currency);
        let restored = Lease::restore(&lease.to_json(), lease.expires_at(), is_shared);
        assert_eq!(restored.as_ref(), Ok(&**lease), "a store cannot keep it");
        let parent = record.parent.map(|parent| parent.job);
        if let Some(parent) = parent.and_then(|parent| self.jobs.get(&parent)) {
            assert!(!parent.has_ended, "a job that has ended has a new child");
            let enough = |_: &Currency| Some(Amount::from_units(i128::MAX));
            assert_eq!(lease.subset_of(&parent.lease, enough, self.policy), Ok(()));
            assert!(parent.lease.budget().iter().all(|held| budgets(lease, &held.currency)));
            assert!(
                parent.lease.expires_at().is_none_or(|end| lease.expires_at().is_some_and(|at| at <= end))
            );
        } else {
            assert_eq!(parent, None, "a child has a parent");
        }
        let account = Account {
            parent,
            lease: Arc::clone(lease),
            counters: lease.counters(),
            spent: BTreeMap::new(),
            position: 0,
            has_ended: false,
        };
        assert!(self.jobs.insert(record.key, account).is_none(), "a job is accepted once");
    }

    /// Says whether the event spends something.
    fn event(&mut self, record: &EventRecord) -> bool {
        let account = self.jobs.get_mut(&record.job).expect("an event is some job's");
        assert!(!account.has_ended, "something follows the terminal of {}", record.job);
        account.position += 1;
        assert_eq!(record.event.pos, Some(account.position), "{}", record.job);
        match &record.event.content {
            Content::End(_) => account.has_ended = true,
            Content::Event { kind, body } => {
                assert!(!body.as_str().contains(VALUE), "a value is stored");
                if *kind == EventKind::Metric {
                    return account.spend(body);
                }
            }
            _ => {}
        }
        false
    }

    /// What is missing of each budget of a tree that has not ended, by its root.
    fn budgets(&self) -> Vec<(JobKey, Currency, i128)> {
        let mut budgets: BTreeMap<(JobKey, Currency), i128> = BTreeMap::new();
        for (key, account) in &self.jobs {
            for budgeted in account.lease.budget() {
                let root = self.root(*key, &budgeted.currency);
                let counter =
                    account.counters.find(budgeted.currency.as_str()).filter(|_| !account.has_ended);
                let held = counter.map_or(0, |counter| counter.remaining.units());
                let granted = if root == *key { budgeted.amount.units() } else { 0 };
                let spent = account.spent.get(&budgeted.currency).copied().unwrap_or(0);
                *budgets.entry((root, budgeted.currency.clone())).or_default() += granted - held - spent;
            }
        }
        let missing = budgets.into_iter().filter(|((root, _), _)| !self.jobs[root].has_ended);
        missing.map(|((root, currency), missing)| (root, currency, missing)).collect()
    }

    /// The job whose grant limits this currency for a job: the topmost ancestor that has it.
    fn root(&self, mut job: JobKey, currency: &Currency) -> JobKey {
        loop {
            let parent = self.jobs.get(&job).and_then(|account| account.parent);
            match parent.filter(|parent| self.jobs.get(parent).is_some_and(|it| budgets(&it.lease, currency)))
            {
                Some(parent) => job = parent,
                None => return job,
            }
        }
    }

    fn balance(&self, of: Option<JobKey>) {
        for (root, currency, missing) in self.budgets() {
            assert!(
                missing == 0 || of.is_some_and(|of| of != root),
                "of the {currency} of {root} {} are missing",
                Amount::from_units(missing)
            );
        }
    }
}

fn budgets(lease: &Lease, currency: &Currency) -> bool {
    lease.budget().iter().any(|budgeted| budgeted.currency == *currency)
}

impl Account {
    fn spend(&mut self, body: &RawJson) -> bool {
        let Ok(Value::Object(metric)) = serde_json::from_str(body.as_str()) else {
            panic!("a metric is an object: {}", body.as_str())
        };
        let name = metric["name"].as_str().unwrap_or_default();
        let currency = metric.get("unit").and_then(Value::as_str).and_then(Currency::parse);
        let Some(currency) = currency.filter(|currency| budgets(&self.lease, currency)) else { return false };
        if !name.starts_with("cost.") || name.starts_with("cost.budget.") {
            return false;
        }
        // As the text has it: a double would lose digits.
        let value = body.as_str().split_once("\"value\":").map_or("", |(_, rest)| rest);
        let value = &value[..value.find([',', '}']).unwrap_or(value.len())];
        let cost = Amount::charge(value).expect("what is emitted was charged");
        *self.spent.entry(currency).or_default() += cost.units();
        true
    }
}
