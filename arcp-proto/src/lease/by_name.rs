//! Leases that name capabilities instead of patterns, as one SDK has them (protocol §12.4, D-79).
//!
//! A request is `{capabilities[], "cost.budget"?, "model.use"?, expires_at?}`. Here it becomes the lease map of protocol
//! §5.1, and the map becomes such a request. What a lease may say is judged behind this, by the rules for everybody.
//! Grants are read with all other spellings by [`GrantedLease`](crate::client::GrantedLease).

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::{COST_BUDGET, EXPIRES_AT, parse_budget, written};
use crate::error::{ErrorCode, WireError};
use crate::time::UnixTime;
use crate::wire::error::WireFault;
use crate::wire::job::Submit;
use crate::wire::{Fields, RawJson, elements_of, object_text, string_of};

const CAPABILITIES: &str = "capabilities";
const MODEL_USE: &str = "model.use";
const MAX_BUDGET: &str = "max_budget";

/// The namespaces that a capability may be named by, each with the patterns that cover everything in it.
const UNIVERSAL: [(&str, &[&str]); 6] = [
    ("fs.read", &["/**"]),
    ("fs.write", &["/**"]),
    ("net.fetch", &["http://**/**", "https://**/**"]),
    ("tool.call", &["**"]),
    ("agent.delegate", &["**"]),
    (MODEL_USE, &["**"]),
];

/// Reads a `job.submit` that asks for its lease in this shape.
///
/// # Errors
/// `INVALID_REQUEST` if a member cannot be read, `LEASE_SUBSET_VIOLATION` if an amount is above `max_budget`.
pub(crate) fn read_submit(payload: &Fields<'_>) -> Result<Submit, WireError> {
    let (lease_request, lease_constraints) = lease_of_submit(payload)?;
    Ok(Submit::read_beside(payload, lease_request, lease_constraints)?)
}

/// `lease_request` and `lease_constraints` in our own shape.
fn lease_of_submit(payload: &Fields<'_>) -> Result<(Option<RawJson>, Option<RawJson>), WireError> {
    let object = |name| payload.object(name).map_err(WireFault::from).map(Option::unwrap_or_default);
    let (request, constraints) = (object("lease_request")?, object("lease_constraints")?);
    if constraints.iter().any(|(name, value)| value != "null" && !matches!(&*name, EXPIRES_AT | MAX_BUDGET)) {
        let message = "`lease_constraints` may have no member but `expires_at` and `max_budget`";
        return Err(WireError::invalid(message));
    }
    cap(&request, &constraints)?;
    let grants = read_capabilities(&request)
        .ok_or_else(|| WireError::invalid("`lease_request.capabilities` must be an array of strings"))?;
    let map = map_of(&request, &grants, |name, value| {
        let is_absent = value == "null" && matches!(name, COST_BUDGET | MODEL_USE);
        !is_absent && !matches!(name, CAPABILITIES | EXPIRES_AT)
    });
    let map = (map.as_str() != "{}").then_some(map);
    Ok((map, earlier(&request, &constraints)?))
}

/// A lease map with the names of what it holds universally added. A part of a namespace has no name: it is an error,
/// or, with `drop_parts`, not asked for.
pub(crate) fn request_of_lease(lease: Option<&RawJson>, drop_parts: bool) -> Result<RawJson, OnlyPart> {
    let fields = lease.map(|lease| Fields::of(lease.as_str())).unwrap_or_default();
    let mut names: Vec<Cow<'_, str>> = Vec::new();
    for (name, value) in fields.iter() {
        if name == COST_BUDGET {
            continue;
        }
        let patterns: Vec<Cow<'_, str>> =
            elements_of(value).into_iter().flatten().filter_map(string_of).collect();
        if patterns.is_empty() {
            continue;
        }
        let universal = universal(&name).unwrap_or(&["**"]);
        if universal.iter().all(|whole| patterns.iter().any(|pattern| pattern == whole)) {
            names.push(name);
        // Models are listed beside the capabilities there, so a part of them can be said.
        } else if name != MODEL_USE && !drop_parts {
            return Err(OnlyPart);
        }
    }
    Ok(written(object_text(|out| {
        for (name, value) in fields.iter() {
            out.raw(&name, value);
        }
        // Without a request there would be no lease, and an end of it would go unheard.
        if !names.is_empty() || lease.is_none() {
            out.strings(CAPABILITIES, names.iter().map(AsRef::as_ref));
        }
    })))
}

/// A lease grants a part of a namespace, for which this shape has no words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OnlyPart;

/// The patterns that cover everything in a namespace.
fn universal(namespace: &str) -> Option<&'static [&'static str]> {
    UNIVERSAL.iter().find(|(name, _)| *name == namespace).map(|(_, patterns)| *patterns)
}

/// Namespaces and patterns, in the order in which they are first named.
type Grants<'a> = Vec<(&'static str, Vec<Cow<'a, str>>)>;

/// What the capabilities grant; those of a name that is no namespace of ours grant nothing. `None` if they are no array
/// of strings.
fn read_capabilities<'a>(fields: &Fields<'a>) -> Option<Grants<'a>> {
    let mut grants: Grants<'a> = Vec::new();
    let Some(capabilities) = fields.present(CAPABILITIES) else { return Some(grants) };
    for capability in elements_of(capabilities)? {
        let capability = string_of(capability)?;
        let (name, target) = match capability.split_once(':') {
            Some((name, target)) => (name, Some(target)),
            None => (&*capability, None),
        };
        let Some((name, universal)) = UNIVERSAL.iter().find(|(known, _)| *known == name) else { continue };
        // What a member of its own says is narrower or the same.
        if fields.present(name).is_some() {
            continue;
        }
        let index = grants.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            grants.push((name, Vec::new()));
            grants.len() - 1
        });
        let Some((_, patterns)) = grants.get_mut(index) else { continue };
        match target {
            Some(target) => patterns.push(Cow::Owned(target.to_string())),
            None => patterns.extend(universal.iter().map(|pattern| Cow::Borrowed(*pattern))),
        }
    }
    Some(grants)
}

/// The map: what the capabilities grant, then the members to `keep`.
fn map_of(fields: &Fields<'_>, grants: &Grants<'_>, keep: impl Fn(&str, &str) -> bool) -> RawJson {
    written(object_text(|out| {
        for (name, patterns) in grants {
            out.strings(name, patterns.iter().map(AsRef::as_ref));
        }
        for (name, value) in fields.iter().filter(|(name, value)| keep(name, value)) {
            out.raw(&name, value);
        }
    }))
}

/// The earlier of the two ends a submit can name.
fn earlier(request: &Fields<'_>, constraints: &Fields<'_>) -> Result<Option<RawJson>, WireError> {
    let mut earliest: Option<(UnixTime, Cow<'_, str>)> = None;
    for (fields, member) in [(request, "lease_request"), (constraints, "lease_constraints")] {
        let Some(value) = fields.present(EXPIRES_AT) else { continue };
        let text = string_of(value).filter(|text| text.ends_with('Z'));
        let read = text.and_then(|text| UnixTime::parse_rfc3339(&text).map(|at| (at, text)));
        let Some((at, text)) = read else {
            return Err(WireError::invalid(format!(
                "`{member}.expires_at` must be an RFC 3339 date-time in UTC that ends in `Z`"
            )));
        };
        if earliest.as_ref().is_none_or(|(earliest, _)| at < *earliest) {
            earliest = Some((at, text));
        }
    }
    Ok(earliest.map(|(_, text)| {
        written(object_text(|out| {
            out.str(EXPIRES_AT, &text);
        }))
    }))
}

/// Refuses amounts above `max_budget`, currency by currency.
fn cap(request: &Fields<'_>, constraints: &Fields<'_>) -> Result<(), WireError> {
    let Some(most) = constraints.present(MAX_BUDGET) else { return Ok(()) };
    let unreadable = || {
        WireError::invalid("`lease_constraints.max_budget` must be an array of amounts such as \"USD:5.00\"")
    };
    let mut limits = Vec::new();
    for amount in elements_of(most).ok_or_else(unreadable)? {
        let text = string_of(amount).ok_or_else(unreadable)?;
        limits.push(parse_budget(&text).map_err(|_| unreadable())?);
    }
    // What cannot be read of the request is refused with the lease.
    let asked =
        request.present(COST_BUDGET).and_then(elements_of).into_iter().flatten().filter_map(string_of);
    for (currency, amount) in asked.filter_map(|text| parse_budget(&text).ok()) {
        // A currency without a limit of its own has none to spend.
        if !limits.iter().any(|(capped, limit)| *capped == currency && amount <= *limit) {
            let message = format!("`cost.budget` asks for more {currency} than `max_budget` allows");
            return Err(WireError::new(ErrorCode::LeaseSubsetViolation, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
