//! Cursors of lists: only this endpoint can make them, each for one principal and one filter (D-54).

use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::entropy::Entropy;
use crate::id::{JobKey, Ulid};
use crate::wire::base64;

/// What is authenticated begins with this, so that nothing else the key might ever be used for is a cursor.
const PURPOSE: &[u8] = b"arcp session.jobs next_cursor 1";
/// What masks the place begins with this, which is no beginning of the other.
const MASK: &[u8] = b"arcp session.jobs next_cursor mask 1";
/// A block of SHA-256, to which HMAC pads its key.
const BLOCK: usize = 64;
const PLACE: usize = 16;
const TAG: usize = 32;

/// The secret of this endpoint's cursors. It lives as long as the endpoint, and so do they.
pub(super) struct CursorKey([u8; 32]);

impl CursorKey {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill_secret(&mut key);
        Self(key)
    }

    /// The text that stands for "below `place`" in a list of `principal` whose filter has this digest.
    pub(super) fn seal(&self, place: JobKey, principal: &str, filter: &[u8; 32]) -> String {
        let place = place.ulid().bits().to_be_bytes();
        let tag = self.tag(&place, principal, filter);
        let mut text = String::new();
        base64::encode_into(&mut text, &[self.masked(place, &tag).as_slice(), tag.as_slice()].concat());
        text
    }

    /// The place made unreadable, or readable again: it may be that of a job the principal does not see.
    fn masked(&self, mut place: [u8; PLACE], tag: &[u8; TAG]) -> [u8; PLACE] {
        for (byte, mask) in place.iter_mut().zip(self.hmac(&[MASK, tag])) {
            *byte ^= mask;
        }
        place
    }

    /// The place a cursor stands for; `None` if this key did not seal it for this principal and this filter.
    pub(super) fn open(&self, text: &str, principal: &str, filter: &[u8; 32]) -> Option<JobKey> {
        let mut bytes = Vec::new();
        base64::decode_into(&mut bytes, text)?;
        let (masked, tag) = bytes.split_first_chunk::<PLACE>()?;
        let place = self.masked(*masked, tag.try_into().ok()?);
        let is_ours: bool = self.tag(&place, principal, filter).ct_eq(tag).into();
        is_ours.then(|| JobKey::from_ulid(Ulid::from_bits(u128::from_be_bytes(place))))
    }

    fn tag(&self, place: &[u8; PLACE], principal: &str, filter: &[u8; 32]) -> [u8; TAG] {
        // All parts but the last have a fixed length, so no two lists give the same bytes.
        self.hmac(&[PURPOSE, place, filter, principal.as_bytes()])
    }

    /// HMAC-SHA-256 (RFC 2104) of the parts in a row.
    fn hmac(&self, parts: &[&[u8]]) -> [u8; TAG] {
        let pad = |byte: u8| {
            let mut block = [byte; BLOCK];
            for (byte, key) in block.iter_mut().zip(self.0) {
                *byte ^= key;
            }
            Sha256::new_with_prefix(block)
        };
        let inner = parts.iter().fold(pad(0x36), Digest::chain_update);
        pad(0x5c).chain_update(inner.finalize()).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill_public(&mut self, _: &mut [u8]) {
            unreachable!("whoever sees ids must learn nothing about cursors")
        }

        fn fill_secret(&mut self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// HMAC pads a short key with zeros, so the 20 and 4 byte keys of the vectors fit into 32 bytes.
    fn key(bytes: &[u8]) -> CursorKey {
        let mut key = [0; 32];
        key[..bytes.len()].copy_from_slice(bytes);
        CursorKey(key)
    }

    #[test]
    fn the_vectors_of_rfc_4231() {
        assert_eq!(
            hex(&key(&[0x0b; 20]).hmac(&[b"Hi ", b"There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(&key(b"Jefe").hmac(&[b"what do ya want for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_cursor_opens_for_its_principal_its_filter_and_its_endpoint_alone() {
        let ours = CursorKey::new(&mut Fixed(1));
        let place = JobKey::parse("job_01KZZSPRE8B7N2V5T9K4C3M6QZ").unwrap();
        let text = ours.seal(place, "alice", &[7; 32]);
        assert_eq!(text.len(), 64);
        assert_eq!(ours.open(&text, "alice", &[7; 32]), Some(place));
        assert_eq!(ours.open(&text, "alic", &[7; 32]), None);
        assert_eq!(ours.open(&text, "alice", &[8; 32]), None);
        assert_eq!(CursorKey::new(&mut Fixed(2)).open(&text, "alice", &[7; 32]), None);
    }

    #[test]
    fn the_place_cannot_be_read_from_a_cursor() {
        let ours = CursorKey::new(&mut Fixed(1));
        let bytes = |bits: u128, filter: u8| {
            let mut bytes = Vec::new();
            let text = ours.seal(JobKey::from_ulid(Ulid::from_bits(bits)), "alice", &[filter; 32]);
            base64::decode_into(&mut bytes, &text).unwrap();
            bytes[..PLACE].to_vec()
        };
        assert_ne!(bytes(5, 7), 5_u128.to_be_bytes());
        let differing = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| a != b).count();
        assert!(differing(&bytes(5, 7), &bytes(6, 7)) > 8, "neighbours look unlike");
        assert!(differing(&bytes(5, 7), &bytes(5, 8)) > 8, "each list has its own mask");
    }

    #[test]
    fn no_changed_text_opens() {
        let ours = CursorKey::new(&mut Fixed(1));
        let text = ours.seal(JobKey::from_ulid(Ulid::from_bits(5)), "alice", &[7; 32]);
        for at in 0..text.len() {
            for other in ["A", "B", "-", "=", " ", ""] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, other);
                if changed != text {
                    assert_eq!(ours.open(&changed, "alice", &[7; 32]), None, "{changed}");
                }
            }
        }
        for longer in [format!("{text}AAAA"), format!("{text}{text}"), format!("{text}=")] {
            assert_eq!(ours.open(&longer, "alice", &[7; 32]), None, "{longer}");
        }
        assert_eq!(ours.open("", "alice", &[7; 32]), None);
    }
}
