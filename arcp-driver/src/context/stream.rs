//! Results too large, or too slow, for one message (protocol §4.4).

use arcp_proto::error::ApiMisuse;
use arcp_proto::wire::emission::{MAX_CHUNK_BYTES, chunk_room, split_utf8};
use arcp_proto::wire::event::ChunkEmission;

use super::JobContext;

/// A result that is written as text, piece by piece.
///
/// Each write goes out at once, in as many chunks as it needs. Write pieces worth a message; a character at a time costs
/// a frame each. The agent returns `()` afterwards.
///
/// ```
/// # use arcp_driver::{AgentError, JobContext};
/// async fn report(job: JobContext, lines: u32) -> Result<(), AgentError> {
///     let mut report = job.stream_text();
///     for line in 0..lines {
///         report.write(&format!("line {line}\n")).await?;
///     }
///     report.finish().await?;
///     Ok(())
/// }
/// ```
#[must_use = "a stream that is not finished is no result"]
#[derive(Debug)]
pub struct TextStream {
    job: JobContext,
}

impl TextStream {
    pub(super) const fn new(job: JobContext) -> Self {
        Self { job }
    }

    /// Appends text. A write that is dropped before it is done may have appended a part.
    ///
    /// # Errors
    /// The job has ended.
    pub async fn write(&mut self, text: &str) -> Result<(), ApiMisuse> {
        for piece in split_utf8(text, chunk_room(self.job.job.frame_limit)) {
            self.job.emit_chunk(ChunkEmission::utf8(piece, true)).await?;
        }
        Ok(())
    }

    /// Says that the result is complete.
    ///
    /// # Errors
    /// The job has ended.
    pub async fn finish(self) -> Result<(), ApiMisuse> {
        self.job.emit_chunk(ChunkEmission::utf8("", false)).await
    }
}

/// A result that is written as bytes, piece by piece.
///
/// Each write goes out at once, in as many chunks as it needs. The agent returns `()` afterwards.
#[must_use = "a stream that is not finished is no result"]
#[derive(Debug)]
pub struct BytesStream {
    job: JobContext,
}

impl BytesStream {
    pub(super) const fn new(job: JobContext) -> Self {
        Self { job }
    }

    /// Appends bytes. A write that is dropped before it is done may have appended a part.
    ///
    /// # Errors
    /// The job has ended.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ApiMisuse> {
        // Base64 makes four characters of three bytes.
        let room = chunk_room(self.job.job.frame_limit) / 4 * 3;
        for piece in bytes.chunks(room.clamp(1, MAX_CHUNK_BYTES)) {
            self.job.emit_chunk(ChunkEmission::base64(piece, true)).await?;
        }
        Ok(())
    }

    /// Says that the result is complete.
    ///
    /// # Errors
    /// The job has ended.
    pub async fn finish(self) -> Result<(), ApiMisuse> {
        self.job.emit_chunk(ChunkEmission::base64(&[], false)).await
    }
}
