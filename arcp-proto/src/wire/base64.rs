//! Base64 with the standard alphabet, as result chunks carry it (protocol §4.4).

use alloc::string::String;
use alloc::vec::Vec;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What a byte outside the alphabet stands for in [`VALUES`]; its high bits are in no value.
const INVALID: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut values = [INVALID; 256];
    let mut value = 0_u8;
    while value < 64 {
        values[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// Characters that encoding `bytes` bytes takes, padding included.
pub(crate) const fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Appends the padded encoding of `bytes`.
pub(crate) fn encode_into(out: &mut String, bytes: &[u8]) {
    out.reserve(encoded_len(bytes.len()));
    for group in bytes.chunks(3) {
        let mut word = 0_u32;
        for at in 0..3 {
            word = word << 8 | u32::from(group.get(at).copied().unwrap_or(0));
        }
        for place in 0..4 {
            // Three bytes fill four characters, two fill three, one fills two.
            if place > group.len() {
                out.push('=');
            } else {
                // Masked to six bits, so it is an index of the alphabet.
                let index = (word >> (18 - 6 * place)) & 63;
                out.push(char::from(ALPHABET[index as usize]));
            }
        }
    }
}

/// The bytes `text` stands for, appended to `out`; `None`, with `out` as it was, if it is no base64.
///
/// Strict but for the padding, which may be left out: no white space, no other alphabet, no bits that would be lost.
#[must_use]
pub(crate) fn decode_into(out: &mut Vec<u8>, text: &str) -> Option<usize> {
    let digits = match text.as_bytes() {
        [rest @ .., b'=', b'='] if rest.len() % 4 == 2 => rest,
        [rest @ .., b'='] if rest.len() % 4 == 3 => rest,
        all => all,
    };
    let before = out.len();
    out.reserve(digits.len() / 4 * 3 + 2);
    let (groups, tail) = digits.as_chunks::<4>();
    let mut invalid = 0;
    for group in groups {
        let [a, b, c, d] = group.map(|digit| VALUES[usize::from(digit)]);
        invalid |= a | b | c | d;
        let word = (u32::from(a) << 18) | (u32::from(b) << 12) | (u32::from(c) << 6) | u32::from(d);
        let [_, bytes @ ..] = word.to_be_bytes();
        out.extend_from_slice(&bytes);
    }
    let mut word = 0_u32;
    for &digit in tail {
        let value = VALUES[usize::from(digit)];
        invalid |= value;
        word = word << 6 | u32::from(value);
    }
    let lost = match tail.len() {
        0 => 0,
        2 => {
            out.extend_from_slice(&(word >> 4).to_be_bytes()[3..]);
            word & 0xf
        }
        3 => {
            out.extend_from_slice(&(word >> 2).to_be_bytes()[2..]);
            word & 3
        }
        _ => 1,
    };
    if invalid & 0xc0 != 0 || lost != 0 {
        out.truncate(before);
        return None;
    }
    Some(out.len() - before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        decode_into(&mut bytes, text).map(|length| {
            assert_eq!(length, bytes.len());
            bytes
        })
    }

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = String::new();
            encode_into(&mut out, plain.as_bytes());
            assert_eq!(out, coded);
            assert_eq!(encoded_len(plain.len()), coded.len());
            assert_eq!(decode(coded).as_deref(), Some(plain.as_bytes()), "{coded}");
            let unpadded = coded.trim_end_matches('=');
            assert_eq!(decode(unpadded).as_deref(), Some(plain.as_bytes()), "{unpadded}");
        }
    }

    #[test]
    fn all_bytes_survive() {
        let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for length in 0..bytes.len() {
            let mut out = String::new();
            encode_into(&mut out, &bytes[..length]);
            assert_eq!(decode(&out).as_deref(), Some(&bytes[..length]));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "=", "==", "Z", "Zg=", "Zg===", "Z===", "Zm8==", "Zm9v=", "Zm9v==", "Zh==", "Zm9=", "Zm9",
            "Zm9\n", "Zm 9", "Zm-_", "@@@", "Zg==Zg==", "Zm=v", "é===", "Zm9v\n", "====",
        ] {
            // `Zm9` and `Zh==` end in bits that stand for nothing.
            assert_eq!(decode(text), None, "{text:?}");
        }
        // One that does not belong is found wherever it is in its group, and so are several.
        for wrong in 1..16_u8 {
            let group: String = (0..4).map(|at| if wrong >> at & 1 == 1 { '@' } else { 'A' }).collect();
            assert_eq!(decode(&group), None, "{group}");
            assert_eq!(decode(&std::format!("AAAA{group}AA==")), None, "{group}");
        }
        let mut kept = std::vec![7];
        assert_eq!(decode_into(&mut kept, "Zm9v@@@@"), None);
        assert_eq!(kept, [7]);
        assert_eq!(decode_into(&mut kept, "Zm9v"), Some(3), "how many are new");
    }
}
