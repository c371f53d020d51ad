//! Events an agent may emit: checked and encoded when they are made (protocol §4.3, §4.4, D-73).

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};

use bytes::Bytes;

use crate::error::{ApiMisuse, ErrorCode, WireError};
use crate::wire::RawJson;
use crate::wire::base64;
use crate::wire::event::{ChunkEmission, ChunkEncoding, Delegation, Emission, EventKind, LogLevel};
use crate::wire::number::NumberText;
use crate::wire::sink::{escape_len, escaped_len};
use crate::wire::text;
use crate::wire::write::{ObjectWriter, object_text, push_string};

/// Bytes a chunk may decode to (protocol §4.4).
pub const MAX_CHUNK_BYTES: usize = 512 * 1024;
/// Bytes that a frame with an event takes besides kind and body, its numbers as long as they can be.
const AROUND_EVENT: usize = 320;
/// Bytes that a frame with a chunk takes besides the characters of its data, likewise.
const AROUND_CHUNK: usize = 450;
/// 2⁵³−1.
const MAX_INTEGER: u64 = (1 << 53) - 1;
const PHASES_OF_THE_RUNTIME: [&str; 2] = ["back_pressure", "credential_rotated"];
const METRICS_OF_THE_RUNTIME: &str = "cost.budget.";

/// Why a tool failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ToolError {
    /// One of the fifteen codes; anything finer goes into `details`.
    pub code: ErrorCode,
    /// Not empty.
    pub message: String,
    /// Anything more, as a JSON object.
    pub details: Option<RawJson>,
}

impl From<&WireError> for ToolError {
    fn from(error: &WireError) -> Self {
        let message = if error.message.is_empty() { error.code.as_str() } else { &error.message };
        Self { code: error.code, message: message.to_string(), details: error.details.to_json() }
    }
}

impl Emission {
    /// A log line. `attributes` is a JSON object.
    ///
    /// # Errors
    /// `message` is empty, or `attributes` no object.
    pub fn log(level: LogLevel, message: &str, attributes: Option<&RawJson>) -> Result<Self, ApiMisuse> {
        required("message", message)?;
        optional_object("attributes", attributes)?;
        if attributes.is_none() {
            return Ok(Self::flat(EventKind::Log, |body| {
                body.str("level", level.as_str()).str("message", message);
            }));
        }
        Self::of(EventKind::Log, |body| {
            body.str("level", level.as_str()).str("message", message);
            optional_raw(body, "attributes", attributes);
        })
    }

    /// What the agent thinks.
    ///
    /// # Errors
    /// `text` is empty.
    pub fn thought(text: &str) -> Result<Self, ApiMisuse> {
        required("text", text)?;
        Ok(Self::flat(EventKind::Thought, |body| {
            body.str("text", text);
        }))
    }

    /// A tool is called. `args` is a JSON object.
    ///
    /// # Errors
    /// `tool` or `call_id` is empty, or `args` no object.
    pub fn tool_call(tool: &str, args: &RawJson, call_id: &str) -> Result<Self, ApiMisuse> {
        required("tool", tool)?;
        required("call_id", call_id)?;
        optional_object("args", Some(args))?;
        Self::of(EventKind::ToolCall, |body| {
            body.str("tool", tool).raw("args", args.as_str()).str("call_id", call_id);
        })
    }

    /// A tool returned, or failed. The job goes on either way.
    ///
    /// # Errors
    /// `call_id` or the error's message is empty, or its `details` no object.
    pub fn tool_result(call_id: &str, result: Result<&RawJson, &ToolError>) -> Result<Self, ApiMisuse> {
        required("call_id", call_id)?;
        if let Err(error) = result {
            required("error.message", &error.message)?;
            optional_object("error.details", error.details.as_ref())?;
        }
        Self::of(EventKind::ToolResult, |body| {
            body.str("call_id", call_id);
            match result {
                Ok(result) => {
                    body.raw("result", result.as_str());
                }
                Err(error) => {
                    body.object("error", |out| {
                        out.str("code", error.code.as_str())
                            .str("message", &error.message)
                            .bool("retryable", error.code.is_retryable());
                        optional_raw(out, "details", error.details.as_ref());
                    });
                }
            }
        })
    }

    /// A child job is asked for (protocol §6). Only the runtime emits it (D-73).
    ///
    /// # Errors
    /// Two of the texts together nest too deep.
    pub(crate) fn delegate(
        delegate_id: &str,
        child_job_id: &str,
        delegation: &Delegation,
    ) -> Result<Self, ApiMisuse> {
        Self::of(EventKind::Delegate, |body| {
            body.str("delegate_id", delegate_id)
                .str("child_job_id", child_job_id)
                .str("agent", &delegation.agent)
                .raw("input", delegation.input.as_str());
            optional_raw(body, "lease_request", delegation.lease_request.as_ref());
            optional_raw(body, "lease_constraints", delegation.lease_constraints.as_ref());
        })
    }

    /// The job's phase. An empty `message` counts as none.
    ///
    /// # Errors
    /// `phase` is empty or reserved to the runtime.
    pub fn status(phase: &str, message: Option<&str>, details: Option<&RawJson>) -> Result<Self, ApiMisuse> {
        required("phase", phase)?;
        if PHASES_OF_THE_RUNTIME.contains(&phase) {
            return Err(ApiMisuse::Reserved(phase.to_string()));
        }
        Self::of(EventKind::Status, |body| {
            body.str("phase", phase).optional_str("message", message.filter(|message| !message.is_empty()));
            optional_raw(body, "details", details);
        })
    }

    /// A number. A metric whose name begins with `cost.` charges the budget in the currency that `unit` names
    /// (protocol §5.6). An empty `unit` counts as none.
    ///
    /// # Errors
    /// `name` is empty or reserved to the runtime, a cost is negative, or a dimension is named twice.
    pub fn metric(
        name: &str,
        value: &NumberText,
        unit: Option<&str>,
        dimensions: &[(&str, &str)],
    ) -> Result<Self, ApiMisuse> {
        required("name", name)?;
        if name.starts_with(METRICS_OF_THE_RUNTIME) {
            return Err(ApiMisuse::Reserved(name.to_string()));
        }
        if name.starts_with("cost.") && value.is_negative() {
            return Err(out_of_range("`value` of a cost must be at least 0"));
        }
        let write_dimensions = |out: &mut ObjectWriter<'_>| {
            for (name, value) in dimensions {
                out.str(name, value);
            }
        };
        Self::of(EventKind::Metric, |body| {
            body.str("name", name)
                .raw("value", value.as_str())
                .optional_str("unit", unit.filter(|unit| !unit.is_empty()));
            if !dimensions.is_empty() {
                body.object("dimensions", write_dimensions).object("dims", write_dimensions);
            }
        })
    }

    /// Something stored elsewhere. `sha256` is 64 hex digits.
    ///
    /// # Errors
    /// `uri` or `content_type` is empty, `byte_size` above 2⁵³−1, or `sha256` not 64 hex digits.
    pub fn artifact_ref(
        uri: &str,
        content_type: &str,
        byte_size: Option<u64>,
        sha256: Option<&str>,
    ) -> Result<Self, ApiMisuse> {
        required("uri", uri)?;
        required("content_type", content_type)?;
        if byte_size.is_some_and(|size| size > MAX_INTEGER) {
            return Err(out_of_range("`byte_size` must be at most 9007199254740991"));
        }
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !sha256.is_none_or(is_hash) {
            return Err(out_of_range("`sha256` must be 64 hex digits"));
        }
        Self::of(EventKind::ArtifactRef, |body| {
            body.str("uri", uri)
                .str("content_type", content_type)
                .optional_u64("byte_size", byte_size)
                .optional_str("sha256", sha256.map(str::to_ascii_lowercase).as_deref());
        })
    }

    /// How far the job is. Without `total` the end is not known. Empty texts count as none.
    ///
    /// # Errors
    /// Not 0 ≤ `current` ≤ `total`, or one of them is not finite.
    pub fn progress(
        current: f64,
        total: Option<f64>,
        units: Option<&str>,
        message: Option<&str>,
    ) -> Result<Self, ApiMisuse> {
        // Comparisons with NaN are false.
        if !(current >= 0.0 && total.is_none_or(|total| current <= total)) {
            return Err(not_progress());
        }
        // A zero may be negative, and peers read these numbers as unsigned.
        let number = |value: f64| NumberText::from_f64(value + 0.0).ok_or_else(not_progress);
        let total = total.map(number).transpose()?;
        Self::progress_of(&number(current)?, total.as_ref(), units, message)
    }

    /// As [`Emission::progress`], for things that are counted.
    ///
    /// # Errors
    /// `current` is above `total`, or one of them above 2⁵³−1.
    pub fn progress_count(
        current: u64,
        total: Option<u64>,
        units: Option<&str>,
        message: Option<&str>,
    ) -> Result<Self, ApiMisuse> {
        if current > total.unwrap_or(MAX_INTEGER) || total.is_some_and(|total| total > MAX_INTEGER) {
            return Err(not_progress());
        }
        Self::progress_of(&current.into(), total.map(NumberText::from).as_ref(), units, message)
    }

    fn progress_of(
        current: &NumberText,
        total: Option<&NumberText>,
        units: Option<&str>,
        message: Option<&str>,
    ) -> Result<Self, ApiMisuse> {
        Self::of(EventKind::Progress, |body| {
            body.raw("current", current.as_str());
            if let Some(total) = total {
                body.raw("total", total.as_str());
            }
            body.optional_str("units", units.filter(|units| !units.is_empty()))
                .optional_str("message", message.filter(|message| !message.is_empty()));
        })
    }

    /// An event of a vendor's kind, `x-vendor.<vendor>.<name>`. `body` is a JSON object.
    ///
    /// # Errors
    /// `kind` is not in the vendors' name space or breaks its grammar, or `body` is no object.
    pub fn vendor(kind: &str, body: &RawJson) -> Result<Self, ApiMisuse> {
        let kind = EventKind::parse(kind);
        if !kind.is_vendor() {
            return Err(if kind.as_str().starts_with("x-vendor.") {
                out_of_range(
                    "`kind` must be `x-vendor.` and at least two segments of a-z 0-9 _ -, in all at most 128 bytes",
                )
            } else {
                ApiMisuse::Reserved(kind.as_str().to_string())
            });
        }
        optional_object("body", Some(body))?;
        Ok(Self { kind, body: body.clone() })
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> &EventKind {
        &self.kind
    }

    /// The body, a JSON object.
    #[must_use]
    pub const fn body(&self) -> &RawJson {
        &self.body
    }

    /// Bytes that the event's frame takes at most, whatever its numbers are.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        AROUND_EVENT + self.kind.as_str().len() + self.body.len()
    }

    /// An event whose body has only texts of ours and strings as members, each once: nothing in it needs checking.
    fn flat(kind: EventKind, members: impl FnOnce(&mut ObjectWriter<'_>)) -> Self {
        let mut text = object_text(members);
        text.shrink_to_fit();
        Self { kind, body: RawJson::from_validated(Bytes::from(text)) }
    }

    fn of(kind: EventKind, members: impl FnOnce(&mut ObjectWriter<'_>)) -> Result<Self, ApiMisuse> {
        // The parts are valid; put together they may nest too deep or name a member twice.
        match RawJson::parse(object_text(members)) {
            Ok(body) => Ok(Self { kind, body }),
            Err(malformed) => Err(out_of_range(format!("the event's body cannot be sent: {malformed}"))),
        }
    }
}

fn out_of_range(text: impl Into<Cow<'static, str>>) -> ApiMisuse {
    ApiMisuse::OutOfRange(text.into())
}

fn not_progress() -> ApiMisuse {
    out_of_range("progress must be 0 <= `current` <= `total`, both finite, counts at most 9007199254740991")
}

fn required(name: &str, text: &str) -> Result<(), ApiMisuse> {
    if text.is_empty() { Err(out_of_range(format!("`{name}` must not be empty"))) } else { Ok(()) }
}

fn optional_object(name: &str, value: Option<&RawJson>) -> Result<(), ApiMisuse> {
    match value {
        Some(value) if !value.as_str().trim_ascii_start().starts_with('{') => {
            Err(out_of_range(format!("`{name}` must be a JSON object")))
        }
        _ => Ok(()),
    }
}

fn optional_raw(out: &mut ObjectWriter<'_>, name: &str, value: Option<&RawJson>) {
    if let Some(value) = value {
        out.raw(name, value.as_str());
    }
}

impl ChunkEmission {
    /// A piece of text, cut at a character. The last piece says `more: false` and may be empty.
    ///
    /// # Errors
    /// The text is over 512 KiB.
    pub fn utf8(text: &str, more: bool) -> Result<Self, ApiMisuse> {
        check_size(text.len())?;
        let mut data = String::with_capacity(escaped_len(text) + 2);
        push_string(&mut data, text);
        Ok(Self::of(ChunkEncoding::Utf8, data, text.len(), more))
    }

    /// A piece of bytes. The last piece says `more: false` and may be empty.
    ///
    /// # Errors
    /// There are over 512 KiB.
    pub fn base64(bytes: &[u8], more: bool) -> Result<Self, ApiMisuse> {
        check_size(bytes.len())?;
        let mut data = String::with_capacity(base64::encoded_len(bytes.len()) + 2);
        data.push('"');
        base64::encode_into(&mut data, bytes);
        data.push('"');
        Ok(Self::of(ChunkEncoding::Base64, data, bytes.len(), more))
    }

    fn of(encoding: ChunkEncoding, data: String, decoded_bytes: usize, more: bool) -> Self {
        Self {
            encoding,
            data: RawJson::from_validated(Bytes::from(data)),
            decoded_bytes: u64::try_from(decoded_bytes).unwrap_or(u64::MAX),
            more,
        }
    }

    /// Bytes that the chunk's frame takes at most, whatever its numbers are.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        AROUND_CHUNK + self.data.len() - 2
    }
}

fn check_size(bytes: usize) -> Result<(), ApiMisuse> {
    if bytes > MAX_CHUNK_BYTES {
        return Err(ApiMisuse::Chunk(
            format!("a chunk must be at most {MAX_CHUNK_BYTES} bytes, this has {bytes}").into(),
        ));
    }
    Ok(())
}

/// Bytes of escaped text, or characters of base64, that fit into one chunk of a frame of `frame_limit` bytes.
#[must_use]
pub const fn chunk_room(frame_limit: usize) -> usize {
    frame_limit.saturating_sub(AROUND_CHUNK)
}

/// Cuts `text` at characters into the fewest pieces of which each takes at most `max` bytes once escaped and at most
/// 512 KiB as it is. `max` is usually [`chunk_room`]; less than 6, the longest escape, counts as 6. An empty text has
/// no pieces.
pub fn split_utf8(text: &str, max: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    core::iter::from_fn(move || {
        let (piece, left) = rest.split_at_checked(piece_end(rest, max.max(6)))?;
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Where the first piece of `text` ends.
fn piece_end(text: &str, max: usize) -> usize {
    let bytes = text::truncated(text, MAX_CHUNK_BYTES).as_bytes();
    let (mut end, mut used) = (0, 0);
    loop {
        let plain_end = text::plain_end(bytes, end);
        if used + (plain_end - end) > max {
            return (end..=end + (max - used)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(end);
        }
        used += plain_end - end;
        let Some(&byte) = bytes.get(plain_end) else { return plain_end };
        used += escape_len(byte);
        if used > max {
            return plain_end;
        }
        end = plain_end + 1;
    }
}

#[cfg(test)]
mod tests;
