//! Reading members whose rules are the same in several payloads (protocol §1.3).

use alloc::string::{String, ToString};
use core::ops::RangeInclusive;

use bytes::Bytes;

use crate::id::JobId;
use crate::time::UnixTime;
use crate::wire::RawJson;
use crate::wire::error::WireFault;
use crate::wire::read::{FieldError, Fields};
use crate::wire::text::truncated;

/// Numbers of events and positions: 0 to 2⁵³−1.
pub(super) const NUMBERS: RangeInclusive<u64> = 0..=(1 << 53) - 1;
/// Bytes of a reason or an error's message that are kept for display (protocol §9).
const DISPLAY_BYTES: usize = 1_024;
/// Sent where a reason must be and none was given.
pub(super) const NO_REASON: &str = "unspecified";

/// A time nobody enforces: absent if unusable (D-61).
pub(super) fn advisory_time(fields: &Fields<'_>, name: &str) -> Option<UnixTime> {
    fields.advisory_string(name).as_deref().and_then(UnixTime::parse_rfc3339)
}

/// A text for people, cut to what is shown: absent if unusable (D-61).
pub(super) fn advisory_text(fields: &Fields<'_>, name: &str) -> Option<String> {
    fields.advisory_string(name).map(|text| truncated(&text, DISPLAY_BYTES).to_string())
}

/// A string of any length: absent if unusable.
pub(super) fn tolerant_string(fields: &Fields<'_>, name: &str) -> Option<String> {
    fields.advisory_string(name).map(Into::into)
}

/// A number of an event or a position: absent if unusable.
pub(super) fn tolerant_number(fields: &Fields<'_>, name: &'static str) -> Option<u64> {
    fields.u64(name, NUMBERS).ok().flatten()
}

/// A job's id.
pub(super) fn job_id(fields: &Fields<'_>, name: &'static str) -> Result<Option<JobId>, FieldError> {
    Ok(fields.id(name)?.as_deref().and_then(JobId::new))
}

/// The value `part` of a scanned frame, on its own.
pub(super) fn raw(part: &str) -> RawJson {
    RawJson::from_validated(Bytes::copy_from_slice(part.as_bytes()))
}

/// An opaque slot, in which `null` is a value (D-59).
pub(super) fn opaque(fields: &Fields<'_>, name: &str) -> Option<RawJson> {
    fields.opaque(name).map(raw)
}

/// Any value but `null`.
pub(super) fn any(fields: &Fields<'_>, name: &str) -> Option<RawJson> {
    fields.present(name).map(raw)
}

/// An object, kept as text.
pub(super) fn raw_object(fields: &Fields<'_>, name: &'static str) -> Result<Option<RawJson>, WireFault> {
    match fields.present(name) {
        None => Ok(None),
        Some(part) if part.starts_with('{') => Ok(Some(raw(part))),
        Some(_) => Err(FieldError::wrong(name, "an object").into()),
    }
}
