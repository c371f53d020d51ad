//! Whole leases: read, kept, inherited, narrowed.

use arcp_proto::feature::Features;
use arcp_proto::lease::{
    Amount, Capability, Currency, Lease, LeaseRequest, MAX_LEASE_BYTES, Pattern, Policy,
};
use arcp_proto::time::UnixTime;
use arcp_proto::wire::RawJson;

use super::choices::Choices;
use super::host::beginning;
use super::lease_text::{capability, decide, lines, narrower, pattern, target_of};

/// If the first byte is even, a line each with `lease_request` and `lease_constraints` follows, else decisions that make a
/// lease, what a child asks for and what a deployment leaves of it. A lease is the same after it was written and read
/// again, in a store too; what a child gets and what is left of a lease permits nothing more than what it comes from
/// (protocol §5.1, §5.7, LEA-4, LEA-6).
pub fn lease(data: &[u8]) {
    let (kind, rest) = data.split_first().unwrap_or((&0, data));
    if kind % 2 == 0 {
        let raw = |text: &[u8]| RawJson::parse(bytes::Bytes::copy_from_slice(text)).ok();
        let [request, constraints] = lines(rest);
        let (Some(request), constraints) = (raw(request), raw(constraints)) else { return };
        return read(&request, constraints.as_ref());
    }
    let mut choices = Choices::new(rest);
    let policy = Policy { windows_paths: false, unlisted_models: choices.below(4) == 0 };
    let Some(parent) = asked(&mut choices, None) else { return };
    let left = remaining(&mut choices, &parent);
    let Some(request) = asked(&mut choices, Some(&parent)) else { return };
    inherit(&mut choices, &parent, &request, &left, policy);
    narrow(&mut choices, &parent, policy);
}

fn read(request: &RawJson, constraints: Option<&RawJson>) {
    let now = beginning().unix;
    let with = |features, now| Lease::parse(Some(request), constraints, features, now);
    let judged = with(Features::EVERY, now);
    let Ok(lease) = with(Features::EVERY, UnixTime::MIN) else {
        assert!(judged.is_err(), "no clock makes a bad lease a good one");
        return;
    };
    let has_ended = lease.expires_at().is_some_and(|at| at.after(std::time::Duration::from_secs(1)) <= now);
    assert_eq!(judged.is_ok(), !has_ended, "{judged:?}");
    assert_eq!(with(Features::SUPPORTED, UnixTime::MIN).as_ref(), Ok(&lease));
    let models = lease.patterns(&Capability::ModelUse).is_some();
    let is_plain = !models && lease.budget().is_empty() && lease.expires_at().is_none();
    assert_eq!(with(Features::NONE, UnixTime::MIN).is_ok(), is_plain);
    is_kept(&lease);
}

/// A lease is the same after a store kept it, and, if nothing of it is shared, after it was asked for once more.
fn is_kept(lease: &Lease) {
    let text = lease.to_json();
    assert!(text.len() <= MAX_LEASE_BYTES);
    let is_shared = |currency: &Currency| {
        lease.budget().iter().any(|budgeted| budgeted.shared && budgeted.currency == *currency)
    };
    let restored = Lease::restore(&text, lease.expires_at(), is_shared);
    assert_eq!(restored.as_ref(), Ok(lease), "{}", text.as_str());
    if lease.budget().iter().all(|budgeted| !budgeted.shared) {
        let constraints = lease.constraints_json();
        let again = Lease::parse(Some(&text), constraints.as_ref(), Features::EVERY, UnixTime::MIN);
        assert_eq!(again.as_ref(), Ok(lease), "{}", text.as_str());
    }
    assert_eq!(lease.is_empty(), text.as_str() == "{}" && lease.expires_at().is_none());
    let initial: Vec<_> = lease.counters().as_slice().iter().map(|counter| counter.initial).collect();
    let own: Vec<_> = lease.budget().iter().filter(|b| !b.shared).map(|b| b.amount).collect();
    assert_eq!(initial, own);
}

/// A lease of whatever comes; of a child, mostly of what its parent has.
fn asked(choices: &mut Choices<'_>, parent: Option<&Lease>) -> Option<Lease> {
    let mut asked = LeaseRequest::default();
    for kind in 0..7 {
        let capability = capability(kind);
        let held = parent.and_then(|parent| parent.patterns(&capability)).unwrap_or_default();
        for _ in 0..choices.below(if held.is_empty() && parent.is_some() { 1 } else { 3 }) {
            let text = match held.is_empty() || choices.below(8) == 0 {
                true => pattern(choices, &capability),
                false => {
                    let from = choices.below(held.len());
                    narrower(choices, held[from].as_str())
                }
            };
            if Pattern::parse(&capability, &text).is_ok() {
                asked = asked.grant(capability.as_str(), [text]);
            }
        }
    }
    for currency in ["USD", "EUR", "credits"] {
        if choices.below(2) == 0 {
            asked = asked.budget(format!("{currency}:{}", amount(choices)));
        }
    }
    if choices.below(3) == 0 {
        asked = asked.expires_at(end(choices));
    }
    let (request, constraints) = asked.to_json(beginning().unix).expect("every part of it is good");
    let lease = Lease::parse(request.as_ref(), constraints.as_ref(), Features::EVERY, UnixTime::MIN)
        .expect("what is asked for in due form can be read");
    is_kept(&lease);
    Some(lease)
}

/// In the range of what may be granted.
fn amount(choices: &mut Choices<'_>) -> Amount {
    let units = match choices.below(4) {
        0 => 10_i128.pow(27) - 1 - i128::from(choices.byte()),
        1 => i128::from(choices.number()),
        _ => i128::from(choices.byte()) * 500_000_000,
    };
    Amount::from_units(units)
}

fn end(choices: &mut Choices<'_>) -> UnixTime {
    let later = beginning().unix.after(std::time::Duration::from_secs(u64::from(choices.byte())));
    choices.pick(&[later, later, later, UnixTime::MIN, UnixTime::MAX])
}

/// What is left of each currency of a lease: all of it, something, nothing, less.
fn remaining(choices: &mut Choices<'_>, lease: &Lease) -> Vec<(Currency, Amount)> {
    let left = |amount: i128, choices: &mut Choices<'_>| match choices.below(4) {
        0 => amount / 2,
        1 => -amount,
        _ => amount,
    };
    let budget = lease.budget().iter();
    budget.map(|b| (b.currency.clone(), Amount::from_units(left(b.amount.units(), choices)))).collect()
}

fn inherit(
    choices: &mut Choices<'_>,
    parent: &Lease,
    request: &Lease,
    left: &[(Currency, Amount)],
    policy: Policy,
) {
    let of =
        |currency: &Currency| left.iter().find(|(known, _)| known == currency).map(|(_, amount)| *amount);
    let within = request.subset_of(parent, of, policy);
    assert_eq!(within.is_ok(), is_within(request, parent, of, policy), "{request:?} of {parent:?}");
    let effective = request.inherit(parent, of, policy);
    // Both together are far from the limits of a lease.
    assert_eq!(effective.is_ok(), within.is_ok(), "{effective:?}");
    let Ok(effective) = effective else { return };
    is_kept(&effective);
    let at_least_nothing = |currency: &Currency| of(currency).map(|amount| amount.max(Amount::ZERO));
    assert_eq!(effective.subset_of(parent, at_least_nothing, policy), Ok(()));
    assert_eq!(
        effective.expires_at(),
        match (request.expires_at(), parent.expires_at()) {
            (Some(own), Some(parent)) => Some(own.min(parent)),
            (own, inherited) => own.or(inherited),
        }
    );
    for budgeted in effective.budget() {
        let own = request.budget().iter().find(|own| own.currency == budgeted.currency);
        assert_eq!(budgeted.shared, own.is_none());
        let amount = own.map_or_else(|| at_least_nothing(&budgeted.currency), |own| Some(own.amount));
        assert_eq!(Some(budgeted.amount), amount);
    }
    for budgeted in parent.budget() {
        assert!(effective.budget().iter().any(|child| child.currency == budgeted.currency));
    }
    permits_no_more(choices, &effective, parent, policy);
    // What it has it may pass on.
    assert_eq!(
        effective.subset_of(
            &effective,
            |currency| {
                effective.budget().iter().find(|own| own.currency == *currency).map(|own| own.amount)
            },
            policy
        ),
        Ok(())
    );
}

/// Whether each part of a request lies within its part of the parent's lease.
fn is_within(
    request: &Lease,
    parent: &Lease,
    left: impl Fn(&Currency) -> Option<Amount>,
    policy: Policy,
) -> bool {
    let mut every = (0..7).map(capability);
    let patterns = every.all(|capability| {
        let held = parent.patterns(&capability);
        let is_free = held.is_none() && capability == Capability::ModelUse && policy.unlisted_models;
        let is_held =
            |pattern: &Pattern| held.unwrap_or_default().iter().any(|parent| parent.covers(pattern));
        is_free || request.patterns(&capability).unwrap_or_default().iter().all(is_held)
    });
    let money = request.budget().iter().all(|asked| {
        let is_limited = parent.budget().iter().any(|held| held.currency == asked.currency);
        !is_limited || left(&asked.currency).is_some_and(|left| asked.amount <= left)
    });
    let end = request.expires_at().zip(parent.expires_at()).is_none_or(|(own, parent)| own <= parent);
    patterns && money && end
}

/// No target is permitted by `less` that `more` does not permit.
fn permits_no_more(choices: &mut Choices<'_>, less: &Lease, more: &Lease, policy: Policy) {
    for _ in 0..4 {
        let capability = capability(choices.byte());
        let held = less.patterns(&capability).unwrap_or_default();
        let text = match held.is_empty() {
            true => "a".to_owned(),
            false => {
                let of = choices.below(held.len());
                target_of(choices, held[of].as_str())
            }
        };
        if decide(less, &capability, &text, policy).is_ok() {
            assert!(
                decide(more, &capability, &text, policy).is_ok(),
                "{capability} {text:?}: {less:?} of {more:?}"
            );
        }
    }
}

/// What a deployment may do to a lease before it grants it.
fn narrow(choices: &mut Choices<'_>, asked: &Lease, policy: Policy) {
    let mut less = asked.clone();
    let mut is_replaced = false;
    for _ in 0..choices.below(5) {
        match choices.below(5) {
            0 => {
                let (modulus, kept) = (choices.below(3) + 1, choices.below(3));
                less.retain(|_, pattern| pattern.as_str().len() % modulus == kept);
            }
            1 | 2 => {
                let currency = choices.pick(&["USD", "EUR", "credits", "GBP"]);
                let most = match choices.below(4) {
                    0 => Amount::from_units(choices.pick(&[-1, i128::MIN, i128::MAX, 10_i128.pow(27)])),
                    _ => amount(choices),
                };
                less.limit_budget(&Currency::parse(currency).expect("a currency"), most);
            }
            3 => less.end_by(end(choices)),
            _ => {
                let capability = capability(choices.byte());
                let count = choices.pick(&[0, 1, 2, 64, 65]);
                let texts: Vec<_> = (0..count).map(|_| pattern(choices, &capability)).collect();
                let before = less.clone();
                match less.replace(&capability, texts.iter().map(String::as_str)) {
                    Ok(()) => is_replaced = true,
                    Err(_) => assert_eq!(less, before, "a refusal changes nothing"),
                }
            }
        }
    }
    let amount =
        |currency: &Currency| asked.budget().iter().find(|b| b.currency == *currency).map(|b| b.amount);
    let within = less.subset_of(asked, amount, policy);
    assert!(is_replaced || within == Ok(()), "{within:?}: {less:?} of {asked:?}");
    is_kept(&less);
    if within.is_ok() {
        permits_no_more(choices, &less, asked, policy);
    }
}
