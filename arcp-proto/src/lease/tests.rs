//! Leases as a whole: the published vectors, and the properties of deciding.

mod decisions;
mod parsing;
mod properties;
mod vectors;

use alloc::string::{String, ToString};

use super::*;
use crate::error::{Details, ErrorCode, WireError};
use crate::feature::{Feature, Features};
use crate::time::{Instant, Now};

/// Friday morning.
pub(super) const NOW: Now =
    Now { mono: Instant::from_micros(1_000), unix: UnixTime::from_millis(1_786_699_800_000) };

pub(super) fn every_feature() -> Features {
    Feature::ALL.iter().copied().collect()
}

pub(super) fn parse(request: &str, constraints: &str) -> Result<Lease, WireError> {
    let raw = |text: &str| RawJson::parse(text.to_string()).unwrap();
    Lease::parse(Some(&raw(request)), Some(&raw(constraints)), every_feature(), NOW.unix)
}

pub(super) fn lease(request: &str) -> Lease {
    parse(request, "null").unwrap_or_else(|error| panic!("{request}: {error:?}"))
}

/// The verdict on one operation of a running job with money left.
pub(super) fn decide(lease: &Lease, capability: &str, target: &str) -> Result<Canonical, Denial> {
    let circumstances = Circumstances { running: true, expiry: None, now: NOW, exhausted: None };
    let capability = Capability::parse(capability).unwrap();
    lease.authorize(&Operation { capability, target }, &circumstances, Policy::default())
}

pub(super) fn details(error: &WireError) -> String {
    match &error.details {
        Details::Raw(raw) => raw.as_str().to_string(),
        other => alloc::format!("{other:?}"),
    }
}

pub(super) fn code(result: Result<Lease, WireError>) -> Option<ErrorCode> {
    result.err().map(|error| error.code)
}
