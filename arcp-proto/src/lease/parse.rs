//! Reading leases from the wire (protocol §5.1, §5.5, §5.6).

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::budget::parse_budget;
use super::request::needed_features;
use super::{
    Budgeted, COST_BUDGET, Capability, Currency, EXPIRES_AT, Grant, Lease, MAX_CURRENCIES, MAX_LEASE_BYTES,
    MAX_NAMESPACES, MAX_PATTERNS, Pattern,
};
use crate::error::{Details, WireError};
use crate::feature::{Feature, Features};
use crate::time::UnixTime;
use crate::wire::{Fields, RawJson, elements_of, string_of};

/// How late a lease may come whose end has just passed: skew between two clocks (D-38).
const GRACE: Duration = Duration::from_secs(1);

/// Refuses a lease that uses what was not negotiated, before anything else of it is looked at (D-42).
///
/// # Errors
/// `INVALID_REQUEST` with `details.feature`.
pub(crate) fn check_features(
    lease_request: Option<&RawJson>,
    lease_constraints: Option<&RawJson>,
    features: Features,
) -> Result<(), WireError> {
    let needed = needed_features(lease_request, lease_constraints);
    needed.iter().try_for_each(|feature| negotiated(Some(features), feature))
}

impl Lease {
    /// Reads `lease_request` and `lease_constraints` as submitted at `now`; absent ones, and `null`, ask for nothing.
    /// `features` are those negotiated (D-42).
    ///
    /// # Errors
    /// `INVALID_REQUEST` that names the member and what is allowed.
    pub fn parse(
        lease_request: Option<&RawJson>,
        lease_constraints: Option<&RawJson>,
        features: Features,
        now: UnixTime,
    ) -> Result<Self, WireError> {
        let mut lease = Self::default();
        if let Some(request) = members("lease_request", lease_request)? {
            lease.read_request(&request, Some(features))?;
        }
        lease.expires_at = read_constraints(lease_constraints, features, now)?;
        Ok(lease)
    }

    /// Reads an effective lease as a store kept it: what [`Lease::to_json`] wrote, its end, and the currencies that
    /// were shared with a parent. Neither features nor the clock are asked.
    ///
    /// # Errors
    /// The text is no lease.
    pub fn restore(
        lease: &RawJson,
        expires_at: Option<UnixTime>,
        is_shared: impl Fn(&Currency) -> bool,
    ) -> Result<Self, WireError> {
        let mut restored = Self { expires_at, ..Self::default() };
        if let Some(request) = members("lease", Some(lease))? {
            restored.read_request(&request, None)?;
        }
        for budgeted in &mut restored.budget {
            budgeted.shared = is_shared(&budgeted.currency);
        }
        Ok(restored)
    }

    fn read_request(&mut self, request: &Fields<'_>, features: Option<Features>) -> Result<(), WireError> {
        if request.len() > MAX_NAMESPACES {
            return Err(TOO_MANY_NAMESPACES.into());
        }
        for (name, value) in request.iter() {
            if name == COST_BUDGET {
                negotiated(features, Feature::CostBudget)?;
                self.budget = read_budget(value)?;
                continue;
            }
            let Some(capability) = Capability::parse(&name) else {
                return Err(WireError::invalid(
                    "`lease_request` has a namespace other than fs.read, fs.write, net.fetch, tool.call, agent.delegate, \
                     model.use, cost.budget and x-vendor.<vendor>.<name>",
                ));
            };
            if capability == Capability::ModelUse {
                negotiated(features, Feature::ModelUse)?;
            }
            let texts = texts(capability.as_str(), value, MAX_PATTERNS)?;
            let patterns = texts.iter().enumerate().map(|(index, text)| {
                Pattern::parse(&capability, text).map_err(|refusal| at(capability.as_str(), index, &refusal))
            });
            let patterns = patterns.collect::<Result<_, _>>()?;
            self.grants.push(Grant { capability, patterns });
        }
        Ok(())
    }

    /// What reading cannot have checked of a lease that was put together from two.
    pub(super) fn check_limits(&self) -> Result<(), WireError> {
        if self.namespaces().count() > MAX_NAMESPACES {
            return Err(TOO_MANY_NAMESPACES.into());
        }
        if self.budget.len() > MAX_CURRENCIES {
            return Err(WireError::invalid("a lease with what it inherits has at most 16 currencies"));
        }
        if self.to_json().len() > MAX_LEASE_BYTES {
            return Err(TOO_LONG.into());
        }
        Ok(())
    }
}

/// A refusal in fixed words.
#[derive(Clone, Copy)]
pub(super) struct Fixed(&'static str);

impl From<Fixed> for WireError {
    fn from(fixed: Fixed) -> Self {
        Self::invalid(fixed.0)
    }
}

const TOO_MANY_NAMESPACES: Fixed = Fixed("a lease has at most 32 namespaces");
pub(super) const TOO_LONG: Fixed = Fixed("a lease has at most 32768 bytes of JSON text");

/// The members of an object; `None` if it is absent or `null`.
fn members<'a>(member: &'static str, value: Option<&'a RawJson>) -> Result<Option<Fields<'a>>, WireError> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    if value.len() > MAX_LEASE_BYTES {
        return Err(TOO_LONG.into());
    }
    let text = value.as_str().trim();
    if !text.starts_with('{') {
        return Err(WireError::invalid(format!("`{member}` must be an object")));
    }
    Ok(Some(Fields::of(text)))
}

fn negotiated(features: Option<Features>, feature: Feature) -> Result<(), WireError> {
    if features.is_none_or(|features| features.has(feature)) {
        return Ok(());
    }
    let name = feature.as_str();
    Err(WireError::invalid(format!("the lease needs the feature `{name}`, which is not negotiated"))
        .with(Details::Feature(name.into())))
}

/// The strings of a namespace, not null and at most `most`.
fn texts<'a>(namespace: &str, value: &'a str, most: usize) -> Result<Vec<Cow<'a, str>>, WireError> {
    let wrong = || {
        WireError::invalid(format!("`lease_request.{namespace}` must be an array of at most {most} strings"))
    };
    let elements = elements_of(value).ok_or_else(wrong)?;
    let texts: Option<Vec<_>> = elements.take(most + 1).map(string_of).collect();
    texts.filter(|texts| texts.len() <= most).ok_or_else(wrong)
}

fn at(namespace: &str, index: usize, refusal: &dyn fmt::Display) -> WireError {
    WireError::invalid(format!("`lease_request.{namespace}[{index}]`: {refusal}"))
}

fn read_budget(value: &str) -> Result<Vec<Budgeted>, WireError> {
    let texts = texts(COST_BUDGET, value, MAX_CURRENCIES)?;
    if texts.is_empty() {
        return Err(WireError::invalid(
            "`lease_request.cost.budget` must not be empty: leave it out, or name an amount",
        ));
    }
    let mut budget: Vec<Budgeted> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let (currency, amount) = parse_budget(text).map_err(|refusal| at(COST_BUDGET, index, &refusal))?;
        if budget.iter().any(|earlier| earlier.currency == currency) {
            return Err(at(COST_BUDGET, index, &"a currency may be named once only"));
        }
        budget.push(Budgeted { currency, amount, shared: false, text: text.as_ref().into() });
    }
    Ok(budget)
}

fn read_constraints(
    constraints: Option<&RawJson>,
    features: Features,
    now: UnixTime,
) -> Result<Option<UnixTime>, WireError> {
    let Some(fields) = members("lease_constraints", constraints)? else { return Ok(None) };
    if fields.iter().any(|(name, value)| name != EXPIRES_AT && value != "null") {
        return Err(WireError::invalid("`lease_constraints` may have no member but `expires_at`"));
    }
    let Some(value) = fields.present(EXPIRES_AT) else { return Ok(None) };
    negotiated(Some(features), Feature::LeaseExpiresAt)?;
    let expires_at = string_of(value)
        .filter(|text| text.ends_with('Z'))
        .and_then(|text| UnixTime::parse_rfc3339(&text))
        .ok_or_else(|| {
            WireError::invalid(
                "`lease_constraints.expires_at` must be an RFC 3339 date-time in UTC that ends in `Z`",
            )
        })?;
    if expires_at.after(GRACE) <= now {
        return Err(WireError::invalid("`lease_constraints.expires_at` must be in the future"));
    }
    Ok(Some(expires_at))
}
