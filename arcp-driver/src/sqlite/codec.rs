//! How records and rows become bytes: numbers of variable length, texts and JSON as they are.
//!
//! Every row begins with the version of its form, and the schema's version stands for the form of events. What is read is
//! trusted for nothing: each length is checked, and each text, id and JSON value is parsed like one of a peer.

mod event;
#[cfg(test)]
mod forms;
mod job;
mod session;

use arcp_proto::replay::{Block, Retention};
use arcp_proto::runtime::store::Cost;
use arcp_proto::time::UnixTime;
use arcp_proto::wire::RawJson;
use bytes::Bytes;

pub(super) use event::{decode_event, encode_event};
pub(super) use job::{decode_credential, decode_job, encode_credential, encode_job_record, encode_job_state};
pub(super) use session::{decode_session, encode_session};

/// What is wrong with bytes that should have been written by this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

type Result<T> = std::result::Result<T, Malformed>;

/// Appends values to a buffer.
pub(super) struct Encoder<'a>(&'a mut Vec<u8>);

impl Encoder<'_> {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn flag(&mut self, flag: bool) {
        self.byte(u8::from(flag));
    }

    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            #[expect(clippy::cast_possible_truncation, reason = "seven bits and a mark")]
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        #[expect(clippy::cast_possible_truncation, reason = "less than eight bits are left")]
        self.byte(number as u8);
    }

    fn time(&mut self, time: UnixTime) {
        let millis = time.as_millis();
        // Zigzag: small amounts of either sign are short.
        self.number(((millis << 1) ^ (millis >> 63)).cast_unsigned());
    }

    fn array(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn id(&mut self, bits: u128) {
        self.array(&bits.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.array(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn range(&mut self, range: &Retention) {
        self.number(range.floor());
        self.number(range.blocks().len() as u64);
        let mut next = None;
        for block in range.blocks() {
            // Blocks follow each other without a gap, so the first one says where all begin.
            if next.is_none() {
                self.number(range.floor().saturating_sub(block.first.saturating_sub(1)));
            }
            self.number(block.last - block.first);
            self.number(block.cost.bytes);
            self.number(block.cost.chunk_bytes);
            next = Some(block.last + 1);
        }
    }
}

/// Takes values off the front of a slice.
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(*array)
    }

    fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed("a number has more than 64 bits"))
    }

    fn time(&mut self) -> Result<UnixTime> {
        let coded = self.number()?;
        Ok(UnixTime::from_millis((coded >> 1).cast_signed() ^ -(coded & 1).cast_signed()))
    }

    fn id(&mut self) -> Result<u128> {
        self.array().map(u128::from_be_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.number()?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.0.len());
        let (bytes, rest) = self.0.split_at(length.ok_or(Malformed("a length goes beyond the end"))?);
        self.0 = rest;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// All that is left.
    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// How many items follow, each of at least one byte.
    fn count(&mut self) -> Result<usize> {
        let count = usize::try_from(self.number()?).ok();
        count.filter(|count| *count <= self.0.len()).ok_or(Malformed("it has fewer items than it says"))
    }

    fn range(&mut self) -> Result<Retention> {
        const WRONG: Malformed = Malformed("a range of numbers has a gap");
        let floor = self.number()?;
        let count = self.count()?;
        let mut blocks = Vec::with_capacity(count);
        let mut next = None;
        for _ in 0..count {
            let first = match next {
                Some(next) => next,
                None => {
                    floor.checked_sub(self.number()?).and_then(|below| below.checked_add(1)).ok_or(WRONG)?
                }
            };
            let last = self.number()?.checked_add(first).ok_or(WRONG)?;
            let cost = Cost { bytes: self.number()?, chunk_bytes: self.number()? };
            blocks.push(Block { first, last, cost });
            next = Some(last.checked_add(1).ok_or(WRONG)?);
        }
        Retention::from_blocks(floor, blocks).ok_or(WRONG)
    }

    fn version(&mut self, known: u8) -> Result<()> {
        if self.byte()? == known { Ok(()) } else { Err(Malformed("its form is of another version")) }
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("it has bytes too many")) }
    }
}

fn json(bytes: &[u8]) -> Result<RawJson> {
    RawJson::parse(Bytes::copy_from_slice(bytes)).map_err(|_| Malformed("a value is no JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_longer_ones_are_refused() {
        for number in [0, 1, 127, 128, 16_383, 16_384, (1 << 53) - 1, u64::MAX] {
            let mut bytes = Vec::new();
            Encoder(&mut bytes).number(number);
            assert_eq!(Decoder(&bytes).number(), Ok(number));
        }
        let mut over = vec![0xff; 9];
        over.push(2);
        assert!(Decoder(&over).number().is_err());
        assert!(Decoder(&[0x80; 11]).number().is_err());
        assert!(Decoder(&[0x80]).number().is_err());
    }

    #[test]
    fn times_of_either_side_come_back() {
        for millis in [0, -1, 1, UnixTime::MIN.as_millis(), UnixTime::MAX.as_millis()] {
            let mut bytes = Vec::new();
            Encoder(&mut bytes).time(UnixTime::from_millis(millis));
            assert_eq!(Decoder(&bytes).time().map(UnixTime::as_millis), Ok(millis));
        }
    }

    #[test]
    fn ranges_come_back_also_when_released_in_part() {
        let mut range = Retention::new(3);
        let cost = |bytes| Cost { bytes, chunk_bytes: bytes / 2 };
        for number in 4..=700 {
            range.push(number, cost(number));
        }
        range.push_apart(701, cost(9));
        for floor in [0, 3, 100, 260, 700, 701] {
            range.release(floor);
            let mut bytes = Vec::new();
            Encoder(&mut bytes).range(&range);
            let mut decoder = Decoder(&bytes);
            assert_eq!(decoder.range().as_ref(), Ok(&range));
            assert_eq!(decoder.end(), Ok(()));
        }
    }
}
