//! The oracle's own reader of frames: only what it judges, borrowed from the frame.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;

/// A string of a frame; a copy only where the frame escapes something in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Borrowing)
    }
}

#[derive(serde::Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) session_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) trace_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) job_id: Option<Text<'a>>,
    pub(super) event_seq: Option<u64>,
    #[serde(borrow)]
    pub(super) payload: &'a RawValue,
}

/// What the payload of a `job.event`, `job.result` or `job.error` is judged by.
#[derive(serde::Deserialize)]
pub(super) struct EventPayload<'a> {
    #[serde(borrow)]
    pub(super) kind: Option<Text<'a>>,
    pub(super) pos: Option<u64>,
    #[serde(borrow)]
    pub(super) body: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) final_status: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) code: Option<Text<'a>>,
    pub(super) retryable: Option<bool>,
    #[serde(borrow)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) result_id: Option<Text<'a>>,
    pub(super) result_size: Option<u64>,
}

/// What a body of an event is judged by.
#[derive(serde::Deserialize)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    pub(super) result_id: Option<Text<'a>>,
    pub(super) chunk_seq: Option<u64>,
    #[serde(borrow)]
    pub(super) data: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) encoding: Option<Text<'a>>,
    pub(super) more: Option<bool>,
    #[serde(borrow)]
    pub(super) error: Option<ErrorBody<'a>>,
}

#[derive(serde::Deserialize)]
pub(super) struct ErrorBody<'a> {
    #[serde(borrow)]
    pub(super) code: Option<Text<'a>>,
    pub(super) retryable: Option<bool>,
}

/// What any other payload of a runtime is judged by.
#[derive(serde::Deserialize)]
pub(super) struct Reply<'a> {
    #[serde(borrow)]
    pub(super) session_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) request_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) job_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) parent_job_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) resume_token: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) capabilities: Option<Capabilities<'a>>,
    #[serde(borrow)]
    pub(super) agent: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) lease: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) lease_constraints: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) budget: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) accepted_at: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) trace_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) current_status: Option<Text<'a>>,
    pub(super) subscribed_from: Option<u64>,
    pub(super) replayed: Option<bool>,
    pub(super) history_from: Option<u64>,
    #[serde(borrow)]
    pub(super) code: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    pub(super) retryable: Option<bool>,
    #[serde(borrow)]
    pub(super) details: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) jobs: Option<Vec<Listed<'a>>>,
}

#[derive(serde::Deserialize)]
pub(super) struct Capabilities<'a> {
    #[serde(borrow)]
    pub(super) features: Option<Vec<Text<'a>>>,
}

#[derive(serde::Deserialize)]
pub(super) struct Listed<'a> {
    #[serde(borrow)]
    pub(super) job_id: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) agent: Option<Text<'a>>,
}

/// What a frame of a client is judged by.
#[derive(serde::Deserialize)]
pub(super) struct Ask<'a> {
    #[serde(borrow)]
    pub(super) auth: Option<Auth<'a>>,
    #[serde(borrow)]
    pub(super) capabilities: Option<Capabilities<'a>>,
    #[serde(borrow)]
    pub(super) resume: Option<Resume<'a>>,
    pub(super) last_processed_seq: Option<u64>,
    #[serde(borrow)]
    pub(super) job_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) agent: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) lease_request: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) lease_constraints: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) idempotency_key: Option<Text<'a>>,
    pub(super) max_runtime_sec: Option<u64>,
    pub(super) history: Option<bool>,
    pub(super) from_event_seq: Option<u64>,
    pub(super) from_pos: Option<u64>,
}

#[derive(serde::Deserialize)]
pub(super) struct Auth<'a> {
    #[serde(borrow)]
    pub(super) token: Option<Text<'a>>,
}

#[derive(serde::Deserialize)]
pub(super) struct Resume<'a> {
    #[serde(borrow)]
    pub(super) session_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) resume_token: Option<Text<'a>>,
    pub(super) last_event_seq: Option<u64>,
}

/// The 128 bits of the ULID at the end of an id; 0 if there is none.
pub(super) fn ulid(id: &str) -> u128 {
    let Some(text) = id.len().checked_sub(26).and_then(|start| id.get(start..)) else { return 0 };
    let mut bits = 0_u128;
    for byte in text.bytes() {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'H' => byte - b'A' + 10,
            b'J' | b'K' => byte - b'J' + 18,
            b'M' | b'N' => byte - b'M' + 20,
            b'P'..=b'T' => byte - b'P' + 22,
            b'V'..=b'Z' => byte - b'V' + 27,
            _ => return 0,
        };
        bits = bits << 5 | u128::from(value);
    }
    bits
}

/// A hash that tells contents apart; nobody here looks for collisions.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = (state ^ u64::from_le_bytes(word)).wrapping_mul(0x9fb2_1c65_1e98_df25);
        state ^= state >> 32;
    }
    for byte in chunks.remainder() {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // 0 stands for what was not seen.
    (state ^ state >> 29).max(1)
}

/// A decimal in 10⁻⁹ units, finer digits rounded up.
pub(super) fn amount(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut units = whole.parse::<i128>().unwrap_or(0) * 1_000_000_000;
    let mut place = 100_000_000;
    let mut rest = false;
    for digit in fraction.bytes().map(|byte| i128::from(byte - b'0')) {
        if place == 0 {
            rest |= digit > 0;
        } else {
            units += digit * place;
            place /= 10;
        }
    }
    units + i128::from(rest)
}

/// One line about a frame, for people.
#[must_use]
pub fn describe(frame: &[u8]) -> String {
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(frame) else {
        let text = String::from_utf8_lossy(frame);
        let shown: String = text.chars().take(120).collect();
        return format!("not a frame: {shown}");
    };
    let mut line = envelope.kind.as_str().to_owned();
    if let Some(number) = envelope.event_seq {
        line.push_str(&format!(" #{number}"));
    }
    let short = |text: &Text<'_>| {
        text.as_str().chars().rev().take(6).collect::<Vec<_>>().into_iter().rev().collect::<String>()
    };
    if let Some(job) = &envelope.job_id {
        line.push_str(&format!(" job …{}", short(job)));
    }
    if let Some(session) = &envelope.session_id {
        line.push_str(&format!(" in …{}", short(session)));
    }
    let payload: String = envelope.payload.get().chars().take(260).collect();
    format!(
        "{line} [{}] {payload}",
        envelope.id.as_str().chars().rev().take(6).collect::<Vec<_>>().into_iter().rev().collect::<String>()
    )
}
