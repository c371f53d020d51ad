//! An agent whose result is no text.

use arcp_driver::{AgentError, JobContext};
use serde::Deserialize;

use super::{limit, pace, pause};

/// How much, and in which pieces.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Size {
    bytes: usize,
    piece: usize,
    delay_ms: u64,
}

impl Default for Size {
    fn default() -> Self {
        Self { bytes: 1_000, piece: 256, delay_ms: 0 }
    }
}

/// Names what it makes and streams it: every byte follows from its place.
pub(super) async fn bytes(job: JobContext, size: Option<Size>) -> Result<(), AgentError> {
    let Size { bytes, piece, delay_ms } = size.unwrap_or_default();
    limit("bytes", u64::try_from(bytes).unwrap_or(u64::MAX), 10_000_000)?;
    if piece == 0 {
        return Err(AgentError::invalid("`piece` must be at least 1"));
    }
    let pieces = bytes.div_ceil(piece);
    limit("bytes", u64::try_from(pieces).unwrap_or(u64::MAX), 10_000)
        .map_err(|_| AgentError::invalid("`bytes` must be at most 10000 pieces"))?;
    let pace = pace(delay_ms)?;
    let uri = format!("urn:arcp:demo:bytes:{bytes}");
    job.artifact(&uri, "application/octet-stream")
        .byte_size(u64::try_from(bytes).unwrap_or(u64::MAX))
        .await?;
    // 251 is prime, so no piece of a usual size looks like another.
    let content: Vec<u8> = (0..=250).cycle().take(bytes).collect();
    let mut stream = job.stream_bytes();
    for piece in content.chunks(piece) {
        pause(&job, pace).await?;
        stream.write(piece).await?;
    }
    Ok(stream.finish().await?)
}
