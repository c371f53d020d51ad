//! A streamed result put together again, for those who cannot read it in pieces (D-43, protocol §6).

use alloc::string::String;
use alloc::vec::Vec;

use crate::runtime::agent::ChildEnd;
use crate::wire::event::{ChunkEmission, ChunkEncoding};
use crate::wire::{RawJson, base64, push_string};

/// The chunks of one result so far.
#[derive(Debug)]
pub(crate) struct Collected {
    encoding: ChunkEncoding,
    /// Text, or decoded bytes.
    bytes: Vec<u8>,
}

impl Collected {
    pub(crate) const fn new(encoding: ChunkEncoding) -> Self {
        Self { encoding, bytes: Vec::new() }
    }

    /// Takes one more chunk; `false` if it has another encoding than those before.
    pub(crate) fn push(&mut self, chunk: &ChunkEmission) -> bool {
        if self.encoding != chunk.encoding {
            return false;
        }
        let text = chunk.data.decode::<String>().unwrap_or_default();
        match chunk.encoding {
            ChunkEncoding::Utf8 => self.bytes.extend_from_slice(text.as_bytes()),
            ChunkEncoding::Base64 => {
                // Our own encoder wrote it.
                let _ = base64::decode_into(&mut self.bytes, &text);
            }
        }
        true
    }

    /// Bytes so far, decoded.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The value of an inline result: the text, or base64 of the bytes.
    pub(crate) fn into_value(self) -> RawJson {
        let text = match self.encoding {
            ChunkEncoding::Utf8 => String::from_utf8(self.bytes).unwrap_or_default(),
            ChunkEncoding::Base64 => {
                let mut text = String::with_capacity(base64::encoded_len(self.bytes.len()));
                base64::encode_into(&mut text, &self.bytes);
                text
            }
        };
        let mut json = String::with_capacity(text.len() + 2);
        push_string(&mut json, &text);
        RawJson::from_validated(json.into_bytes().into())
    }

    /// The result as the agent of the parent gets it.
    pub(crate) fn into_end(self) -> ChildEnd {
        match self.encoding {
            ChunkEncoding::Utf8 => ChildEnd::Text(String::from_utf8(self.bytes).unwrap_or_default()),
            ChunkEncoding::Base64 => ChildEnd::Bytes(self.bytes),
        }
    }
}
