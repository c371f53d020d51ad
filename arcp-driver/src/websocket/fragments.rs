//! Counts the fragments of a message on the raw bytes, which the WebSocket engine does not do: it bounds the bytes
//! of a message, and a message of a million empty fragments has none. And it does not tell how much it has of a message
//! that is not whole.

/// Follows the frame headers of a byte stream that starts at a frame.
#[derive(Debug)]
pub(super) struct FragmentCount {
    limit: u32,
    /// Data frames of the message that is not finished yet.
    count: u32,
    stage: Stage,
    exceeded: bool,
    /// Bytes since no frame and no message was unfinished.
    unfinished: u64,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// At the first byte of a header.
    First,
    /// At the second byte: mask bit and short length.
    Second,
    /// Inside the long length; `left` bytes of it are missing.
    Length { left: u8, value: u64, mask: u64 },
    /// Inside mask and payload; `left` bytes are missing.
    Rest { left: u64 },
}

const fn rest(left: u64) -> Stage {
    if left == 0 { Stage::First } else { Stage::Rest { left } }
}

impl FragmentCount {
    /// Allows `limit` data frames per message.
    pub(super) const fn new(limit: u32) -> Self {
        Self { limit, count: 0, stage: Stage::First, exceeded: false, unfinished: 0 }
    }

    /// Whether a frame over the limit has begun.
    pub(super) const fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// How many bytes have arrived of a message, or of a frame beside one, that is not finished; 0 between two.
    pub(super) const fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// Takes the next bytes and returns how many of them come before the frame that is over the limit: all, unless
    /// there is one.
    pub(super) fn observe(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        // The first byte behind the last message that ended.
        let mut begin = 0;
        while let Some(&byte) = bytes.get(at) {
            self.stage = match self.stage {
                Stage::First => {
                    if !self.admit(byte) {
                        return at;
                    }
                    Stage::Second
                }
                Stage::Second => {
                    let mask = if byte & 0x80 == 0 { 0 } else { 4 };
                    match byte & 0x7f {
                        126 => Stage::Length { left: 2, value: 0, mask },
                        127 => Stage::Length { left: 8, value: 0, mask },
                        short => rest(u64::from(short) + mask),
                    }
                }
                Stage::Length { left, value, mask } => {
                    let value = value << 8 | u64::from(byte);
                    match left - 1 {
                        0 => rest(value.saturating_add(mask)),
                        left => Stage::Length { left, value, mask },
                    }
                }
                Stage::Rest { left } => {
                    let here = bytes.len() - at;
                    let step = usize::try_from(left).unwrap_or(usize::MAX).min(here);
                    at += step - 1;
                    rest(left - u64::try_from(step).unwrap_or(left))
                }
            };
            at += 1;
            if matches!(self.stage, Stage::First) && self.count == 0 {
                self.unfinished = 0;
                begin = at;
            }
        }
        self.unfinished = self.unfinished.saturating_add((at - begin) as u64);
        at
    }

    fn admit(&mut self, first: u8) -> bool {
        let control = first & 0x08 != 0;
        if control {
            return true;
        }
        self.count += 1;
        self.exceeded = self.count > self.limit;
        let last = first & 0x80 != 0;
        if last {
            self.count = 0;
        }
        !self.exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text frame parts: `more` unfinished ones of `len` payload bytes each, then a last one.
    fn message(more: usize, len: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        for index in 0..=more {
            let opcode = u8::from(index == 0);
            let fin = if index == more { 0x80 } else { 0 };
            bytes.extend([fin | opcode, 0x80 | len, 9, 9, 9, 9]);
            bytes.extend(std::iter::repeat_n(0xff, len.into()));
        }
        bytes
    }

    #[test]
    fn messages_up_to_the_limit_pass_however_they_are_cut() {
        let ping = [0x89, 0x00];
        let mut bytes = Vec::new();
        bytes.extend(message(0, 125));
        bytes.extend(message(3, 0));
        bytes.extend(ping);
        bytes.extend(message(3, 7));
        // A frame with a 16-bit length and one with a 64-bit length, unmasked.
        bytes.extend([0x81, 126, 1, 0]);
        bytes.extend([0xff; 256]);
        bytes.extend([0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        bytes.extend([0x00; 65_536]);
        bytes.extend(message(3, 1));
        for size in [1, 2, 3, 5, 7, 1000, bytes.len()] {
            let mut count = FragmentCount::new(4);
            for piece in bytes.chunks(size) {
                assert_eq!(count.observe(piece), piece.len());
            }
            assert!(!count.exceeded());
        }
    }

    #[test]
    fn the_frame_over_the_limit_is_found() {
        let good = message(3, 2);
        let mut bytes = good.clone();
        bytes.extend(message(4, 2));
        let over = good.len() + 4 * 8;
        for size in [1, 2, 3, 5, 7, bytes.len()] {
            let mut count = FragmentCount::new(4);
            let mut passed = 0;
            for piece in bytes.chunks(size) {
                let taken = count.observe(piece);
                passed += taken;
                if taken < piece.len() {
                    break;
                }
            }
            assert!(count.exceeded());
            assert_eq!(passed, over, "cut every {size} bytes");
        }
    }

    #[test]
    fn what_is_unfinished_is_known() {
        let mut count = FragmentCount::new(4);
        let mut unfinished = |bytes: &[u8]| {
            count.observe(bytes);
            count.unfinished()
        };
        let whole = message(1, 3);
        assert_eq!(whole.len(), 18);
        assert_eq!(unfinished(&whole), 0);
        assert_eq!(unfinished(&whole[..1]), 1);
        assert_eq!(unfinished(&whole[1..10]), 10, "a fragment and a byte of the next");
        assert_eq!(unfinished(&whole[10..17]), 17);
        assert_eq!(unfinished(&whole[17..]), 0);
        assert_eq!(unfinished(&[&whole[..], &whole[..9]].concat()), 9);
        assert_eq!(unfinished(&[0x89, 0x80, 1, 2, 3, 4]), 15, "a ping between two fragments ends no message");
        assert_eq!(unfinished(&whole[9..]), 0);
        assert_eq!(unfinished(&[0x89, 0x80, 1, 2, 3]), 5, "a ping can be slow as well");
        assert_eq!(unfinished(&[4]), 0);
    }

    #[test]
    fn control_frames_do_not_count() {
        let mut count = FragmentCount::new(2);
        let mut bytes = vec![0x01, 0x00];
        for _ in 0..10 {
            bytes.extend([0x89, 0x01, 0x00]);
        }
        bytes.extend([0x80, 0x00]);
        assert_eq!(count.observe(&bytes), bytes.len());
    }

    #[test]
    fn a_huge_length_does_not_overflow() {
        let mut count = FragmentCount::new(1);
        let mut bytes = vec![0x81, 0xff];
        bytes.extend([0xff; 8]);
        bytes.extend([0x00; 100]);
        assert_eq!(count.observe(&bytes), bytes.len());
        assert!(!count.exceeded());
    }
}
