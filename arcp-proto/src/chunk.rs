//! Results that travel in pieces: numbered by the runtime, put together by the client (protocol §4.4).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::error::{ApiMisuse, Limit, WireError};
use crate::id::ResultKey;
use crate::wire::RawJson;
use crate::wire::base64;
use crate::wire::body::ResultChunk;
use crate::wire::event::{ChunkEmission, ChunkEncoding, Content, Outcome};

/// Bytes a streamed result may decode to at a client, and at a runtime unless it is configured to take fewer.
pub const MAX_RESULT_BYTES: u64 = 256 * 1024 * 1024;

/// Why a chunk is not taken from an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkRefused {
    /// The agent broke a rule; nothing has happened.
    #[error(transparent)]
    Misuse(#[from] ApiMisuse),
    /// The result is larger than a result may be; the job ends with `INTERNAL_ERROR` (`details.limit`).
    #[error("the streamed result is larger than this runtime takes")]
    TooLarge,
}

impl ChunkRefused {
    /// The error with which the job ends, where it does.
    #[must_use]
    pub fn terminal(&self) -> Option<WireError> {
        match self {
            Self::Misuse(_) => None,
            Self::TooLarge => Some(WireError::limit(Limit::ResultBytes, "the result is too large")),
        }
    }
}

/// Numbers the chunks of one job's result and keeps its rules: one encoding, one last chunk, at most 256 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkWriter {
    result: ResultKey,
    next: u64,
    bytes: u64,
    most: u64,
    encoding: Option<ChunkEncoding>,
    finished: bool,
}

impl ChunkWriter {
    /// A writer for the result `result`, of which nothing is written, and which takes at most `most` decoded bytes.
    #[must_use]
    pub const fn new(result: ResultKey, most: u64) -> Self {
        Self { result, next: 0, bytes: 0, most, encoding: None, finished: false }
    }

    /// A writer that goes on where one of an earlier process ended.
    #[must_use]
    pub const fn resume(
        result: ResultKey,
        most: u64,
        encoding: ChunkEncoding,
        (chunks, bytes): (u64, u64),
        is_finished: bool,
    ) -> Self {
        Self { result, next: chunks, bytes, most, encoding: Some(encoding), finished: is_finished }
    }

    /// The result's id.
    #[must_use]
    pub const fn result(&self) -> ResultKey {
        self.result
    }

    /// Decoded bytes written so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a chunk was written. From then on an inline result is no longer possible.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.next > 0
    }

    /// Whether the last chunk was written.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Numbers the next chunk.
    ///
    /// # Errors
    /// The last chunk was written already, the encoding is not that of the first, or the result would become too
    /// large.
    pub fn push(&mut self, chunk: ChunkEmission) -> Result<Content, ChunkRefused> {
        if self.finished {
            return Err(misuse("the last chunk of the result was written already"));
        }
        if self.encoding.is_some_and(|encoding| encoding != chunk.encoding) {
            return Err(misuse("all chunks of a result must have the encoding of the first"));
        }
        let bytes = self.bytes.saturating_add(chunk.decoded_bytes);
        if bytes > self.most {
            return Err(ChunkRefused::TooLarge);
        }
        self.encoding = Some(chunk.encoding);
        self.bytes = bytes;
        self.finished = !chunk.more;
        let chunk_seq = self.next;
        self.next += 1;
        Ok(Content::Chunk {
            result: self.result,
            chunk_seq,
            encoding: chunk.encoding,
            data: chunk.data,
            decoded_bytes: chunk.decoded_bytes,
            more: chunk.more,
        })
    }

    /// The empty last chunk, if the last one is still to be written.
    pub fn finish(&mut self) -> Option<Content> {
        let encoding = self.encoding.unwrap_or(ChunkEncoding::Utf8);
        let data = RawJson::from_validated(Bytes::from_static(b"\"\""));
        self.push(ChunkEmission { encoding, data, decoded_bytes: 0, more: false }).ok()
    }

    /// What the `job.result` says, once the last chunk was written.
    #[must_use]
    pub const fn outcome(&self) -> Option<Outcome> {
        if self.finished { Some(Outcome::Streamed { result: self.result, size: self.bytes }) } else { None }
    }
}

fn misuse(text: &'static str) -> ChunkRefused {
    ChunkRefused::Misuse(ApiMisuse::Chunk(Cow::Borrowed(text)))
}

/// Why a streamed result cannot be used. The session and the job are fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResultFault {
    /// The client joined too late to see all of it, or chunks were not negotiated.
    #[error("the beginning of the result was not received")]
    Incomplete,
    /// Chunks are missing in between.
    #[error("chunk {expected} of the result is missing, chunk {found} came instead")]
    Hole {
        /// The next number.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// Chunks of a second result came, or the job's end names another one.
    #[error("the job has chunks of more than one result")]
    SecondResult,
    /// A chunk came after the last one.
    #[error("a chunk came after the last one")]
    AfterLast,
    /// The encoding changed on a chunk that is not empty.
    #[error("the encoding changed between two chunks")]
    EncodingChanged,
    /// A chunk is no base64.
    #[error("chunk {0} of the result cannot be decoded")]
    Undecodable(u64),
    /// A chunk is not what a chunk must be, or was left out because it was too large for us.
    #[error("a chunk of the result could not be read")]
    Unreadable,
    /// It is over 256 MiB.
    #[error("the result is over {MAX_RESULT_BYTES} bytes")]
    TooLarge,
    /// The job's end names another size.
    #[error("the result has {received} bytes, the job's end says {announced}")]
    WrongSize {
        /// What was received.
        received: u64,
        /// What `result_size` says.
        announced: u64,
    },
}

/// Puts the chunks of one job's result together, at the client.
#[derive(Debug, Clone, Default)]
pub struct Assembler {
    result_id: Option<String>,
    encoding: Option<ChunkEncoding>,
    next: u64,
    data: Vec<u8>,
    last_seen: bool,
    joined_late: bool,
    fault: Option<ResultFault>,
}

/// A whole streamed result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// How it was spelled; [`ChunkEncoding::Utf8`] means `bytes` is text.
    pub encoding: ChunkEncoding,
    /// Its decoded bytes.
    pub bytes: Vec<u8>,
}

impl Assembled {
    /// The result as text, if it was sent as text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self.encoding {
            ChunkEncoding::Utf8 => core::str::from_utf8(&self.bytes).ok(),
            ChunkEncoding::Base64 => None,
        }
    }
}

impl Assembler {
    /// For a job whose every event this client gets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For a job whose earlier events this client may have missed: a first chunk other than 0 then makes the result
    /// incomplete, which is no fault of the peer.
    #[must_use]
    pub fn joined_late() -> Self {
        Self { joined_late: true, ..Self::default() }
    }

    /// What makes the result unusable, if it already is.
    #[must_use]
    pub const fn fault(&self) -> Option<ResultFault> {
        self.fault
    }

    /// Decoded bytes received so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.data.len()).unwrap_or(u64::MAX)
    }

    /// Takes the next chunk of the job.
    pub fn push(&mut self, chunk: &ResultChunk) {
        if self.fault.is_none()
            && let Err(fault) = self.take(chunk)
        {
            self.fail(fault);
        }
    }

    /// Takes note of a `result_chunk` event that could not be read.
    pub fn push_unreadable(&mut self) {
        if self.fault.is_none() {
            self.fail(ResultFault::Unreadable);
        }
    }

    /// The result, when the job has ended. `result_id` and `result_size` are those of the job's end; pass no size to
    /// trust what was received (only our own runtimes are held to it).
    ///
    /// # Errors
    /// [`ResultFault`] says why the result cannot be used.
    pub fn finish(self, result_id: Option<&str>, result_size: Option<u64>) -> Result<Assembled, ResultFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let received = self.bytes();
        match (self.result_id.as_deref(), result_id) {
            (Some(seen), Some(named)) if seen != named => return Err(ResultFault::SecondResult),
            (None, _) if result_size != Some(0) => return Err(ResultFault::Incomplete),
            _ => {}
        }
        match result_size {
            Some(announced) if announced != received => Err(ResultFault::WrongSize { received, announced }),
            _ => Ok(Assembled { encoding: self.encoding.unwrap_or(ChunkEncoding::Utf8), bytes: self.data }),
        }
    }

    fn take(&mut self, chunk: &ResultChunk) -> Result<(), ResultFault> {
        match &self.result_id {
            None => self.result_id = Some(chunk.result_id.clone()),
            Some(known) if *known != chunk.result_id => return Err(ResultFault::SecondResult),
            Some(_) => {}
        }
        if self.last_seen {
            return Err(ResultFault::AfterLast);
        }
        if chunk.chunk_seq != self.next {
            return Err(if self.joined_late && self.next == 0 {
                ResultFault::Incomplete
            } else {
                ResultFault::Hole { expected: self.next, found: chunk.chunk_seq }
            });
        }
        self.next += 1;
        self.last_seen = !chunk.more;
        if chunk.data.is_empty() {
            return Ok(());
        }
        if *self.encoding.get_or_insert(chunk.encoding) != chunk.encoding {
            return Err(ResultFault::EncodingChanged);
        }
        match chunk.encoding {
            ChunkEncoding::Utf8 => self.data.extend_from_slice(chunk.data.as_bytes()),
            ChunkEncoding::Base64 => {
                base64::decode_into(&mut self.data, &chunk.data)
                    .ok_or(ResultFault::Undecodable(chunk.chunk_seq))?;
            }
        }
        if self.bytes() > MAX_RESULT_BYTES { Err(ResultFault::TooLarge) } else { Ok(()) }
    }

    fn fail(&mut self, fault: ResultFault) {
        self.fault = Some(fault);
        self.data = Vec::new();
    }
}

#[cfg(test)]
mod tests;
