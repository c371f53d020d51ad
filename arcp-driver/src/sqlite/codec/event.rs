//! Events: a byte that names the content, the time, and the payload once, as the JSON it is.

use std::borrow::Cow;

use arcp_proto::error::{Details, ErrorCode, WireError};
use arcp_proto::id::{CredentialKey, ResultKey, Ulid};
use arcp_proto::wire::event::{ChunkEncoding, Content, EventKind, LoggedEvent, Outcome, Terminal};

use super::{Decoder, Encoder, Malformed, Result, json};

/// The kinds an agent's event can have, by the byte that stands for them. Only ever appended to.
const KINDS: [EventKind; 9] = [
    EventKind::Log,
    EventKind::Thought,
    EventKind::ToolCall,
    EventKind::ToolResult,
    EventKind::Status,
    EventKind::Metric,
    EventKind::ArtifactRef,
    EventKind::Delegate,
    EventKind::Progress,
];
const OTHER: u8 = 32;
const CHUNK: u8 = 33;
const ROTATED: u8 = 34;
const VALUE: u8 = 35;
const STREAMED: u8 = 36;
const FAILED: u8 = 37;

const BASE64: u8 = 1;
const MORE: u8 = 2;

const NO_DETAILS: u8 = 0;
const MEMBER: u8 = 1;
const OBJECT: u8 = 2;

/// Appends an event without its position, which is its key.
pub(crate) fn encode_event(event: &LoggedEvent, into: &mut Vec<u8>) {
    let mut out = Encoder(into);
    let mut head = |tag| {
        out.byte(tag);
        out.time(event.ts);
    };
    match &event.content {
        Content::Event { kind, body } => {
            match KINDS.iter().position(|known| known == kind).and_then(|index| u8::try_from(index).ok()) {
                Some(tag) => head(tag),
                None => {
                    head(OTHER);
                    out.text(kind.as_str());
                }
            }
            out.array(body.as_bytes());
        }
        Content::Chunk { result, chunk_seq, encoding, data, decoded_bytes, more } => {
            head(CHUNK);
            out.id(result.ulid().bits());
            out.number(*chunk_seq);
            let encoding = match encoding {
                ChunkEncoding::Utf8 => 0,
                ChunkEncoding::Base64 => BASE64,
            };
            out.byte(encoding | if *more { MORE } else { 0 });
            out.number(*decoded_bytes);
            out.array(data.as_bytes());
        }
        Content::Rotated { credential } => {
            head(ROTATED);
            out.id(credential.ulid().bits());
        }
        Content::End(Terminal { outcome, summary }) => {
            head(match outcome {
                Outcome::Inline(_) => VALUE,
                Outcome::Streamed { .. } => STREAMED,
                Outcome::Failed(_) => FAILED,
            });
            out.option(summary.as_deref(), Encoder::text);
            match outcome {
                Outcome::Inline(value) => out.array(value.as_bytes()),
                Outcome::Streamed { result, size } => {
                    out.id(result.ulid().bits());
                    out.number(*size);
                }
                Outcome::Failed(error) => encode_error(error, &mut out),
            }
        }
    }
}

fn encode_error(error: &WireError, out: &mut Encoder<'_>) {
    out.text(error.code.as_str());
    out.text(&error.message);
    match (&error.details, error.details.member()) {
        (_, Some((name, text))) => {
            out.byte(MEMBER);
            out.text(name);
            out.text(text);
        }
        (Details::Raw(object), None) => {
            out.byte(OBJECT);
            out.bytes(object.as_bytes());
        }
        (_, None) => out.byte(NO_DETAILS),
    }
}

/// The event that [`encode_event`] wrote, at its position; `None` for a notice.
pub(crate) fn decode_event(bytes: &[u8], pos: Option<u64>) -> Result<LoggedEvent> {
    let mut from = Decoder(bytes);
    let tag = from.byte()?;
    let ts = from.time()?;
    let content = match tag {
        OTHER => {
            let kind = EventKind::parse(from.text()?);
            Content::Event { kind, body: json(from.rest())? }
        }
        CHUNK => {
            let result = ResultKey::from_ulid(Ulid::from_bits(from.id()?));
            let chunk_seq = from.number()?;
            let flags = from.byte()?;
            let encoding = if flags & BASE64 == 0 { ChunkEncoding::Utf8 } else { ChunkEncoding::Base64 };
            let decoded_bytes = from.number()?;
            let (data, more) = (json(from.rest())?, flags & MORE != 0);
            Content::Chunk { result, chunk_seq, encoding, data, decoded_bytes, more }
        }
        ROTATED => Content::Rotated { credential: CredentialKey::from_ulid(Ulid::from_bits(from.id()?)) },
        VALUE | STREAMED | FAILED => {
            let summary = from.option(|from| from.text().map(str::to_owned))?;
            let outcome = match tag {
                VALUE => Outcome::Inline(json(from.rest())?),
                STREAMED => {
                    let result = ResultKey::from_ulid(Ulid::from_bits(from.id()?));
                    Outcome::Streamed { result, size: from.number()? }
                }
                _ => Outcome::Failed(decode_error(&mut from)?),
            };
            Content::End(Terminal { outcome, summary })
        }
        tag => {
            let kind = KINDS.get(usize::from(tag)).cloned().ok_or(Malformed("it is of an unknown kind"))?;
            Content::Event { kind, body: json(from.rest())? }
        }
    };
    from.end()?;
    Ok(LoggedEvent { ts, pos, content })
}

fn decode_error(from: &mut Decoder<'_>) -> Result<WireError> {
    let code = ErrorCode::parse(from.text()?).ok_or(Malformed("its error code is unknown"))?;
    let message = Cow::Owned(from.text()?.to_owned());
    let details = match from.byte()? {
        NO_DETAILS => Details::None,
        MEMBER => {
            let (name, text) = (from.text()?, from.text()?);
            Details::from_member(name, text).ok_or(Malformed("its details are unknown"))?
        }
        OBJECT => Details::Raw(json(from.bytes()?)?),
        _ => return Err(Malformed("its details are unknown")),
    };
    Ok(WireError { code, message, details })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arcp_proto::error::Limit;
    use arcp_proto::time::UnixTime;
    use arcp_proto::wire::RawJson;

    use super::*;

    fn raw(text: &str) -> RawJson {
        RawJson::parse(text.to_owned()).unwrap()
    }

    fn result() -> ResultKey {
        ResultKey::from_ulid(Ulid::from_bits(7))
    }

    fn failed(details: Details) -> Content {
        let outcome = Outcome::Failed(WireError::new(ErrorCode::InternalError, "no").with(details));
        Content::End(Terminal { outcome, summary: None })
    }

    fn contents() -> Vec<Content> {
        let mut contents: Vec<Content> =
            KINDS.into_iter().map(|kind| Content::Event { kind, body: raw(r#"{"a": 1}"#) }).collect();
        contents.extend([
            Content::Event { kind: EventKind::Other(Arc::from("x-vendor.a.b")), body: raw("{}") },
            Content::Chunk {
                result: result(),
                chunk_seq: 300,
                encoding: ChunkEncoding::Base64,
                data: raw(r#""AAAA""#),
                decoded_bytes: 3,
                more: true,
            },
            Content::Chunk {
                result: result(),
                chunk_seq: 0,
                encoding: ChunkEncoding::Utf8,
                data: raw(r#""""#),
                decoded_bytes: 0,
                more: false,
            },
            Content::Rotated { credential: CredentialKey::from_ulid(Ulid::from_bits(9)) },
            Content::End(Terminal { outcome: Outcome::Inline(raw("null")), summary: Some("ä".into()) }),
            Content::End(Terminal {
                outcome: Outcome::Streamed { result: result(), size: 1 << 20 },
                summary: None,
            }),
            failed(Details::None),
            failed(Details::Raw(raw(r#"{"x":[1]}"#))),
            failed(Details::Limit(Limit::ResultBytes)),
            failed(Details::Reason("runtime_restarted".into())),
            failed(Details::AgentCode("EMPTY".into())),
        ]);
        contents
    }

    #[test]
    fn events_come_back_and_cut_ones_are_refused() {
        for content in contents() {
            let event = LoggedEvent { ts: UnixTime::from_millis(1_786_699_800_120), pos: Some(3), content };
            let mut bytes = Vec::new();
            encode_event(&event, &mut bytes);
            assert_eq!(decode_event(&bytes, Some(3)).as_ref(), Ok(&event));
            for length in 0..bytes.len() {
                // JSON that is cut may be JSON still: a number, or a text that ends with a blank.
                if let Ok(cut) = decode_event(&bytes[..length], Some(3)) {
                    assert_ne!(cut, event);
                }
            }
        }
    }

    #[test]
    fn the_form_on_disk_is_the_published_one() {
        let mut forms = String::new();
        for content in contents() {
            let event = LoggedEvent { ts: UnixTime::from_millis(1_786_699_800_120), pos: None, content };
            let mut bytes = Vec::new();
            encode_event(&event, &mut bytes);
            let form: Vec<u8> = bytes.into_iter().flat_map(std::ascii::escape_default).collect();
            forms.push_str(std::str::from_utf8(&form).unwrap());
            forms.push('\n');
        }
        assert_eq!(forms, include_str!("events.txt"));
    }
}
