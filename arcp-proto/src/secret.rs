//! Secrets that cannot be printed, and their hashes.

use alloc::string::String;
use core::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::entropy::Entropy;

/// A bearer token, resume token or credential value.
///
/// It has no `Display`, no `Serialize`, no `PartialEq`, and its `Debug` shows nothing. Reading it takes a call whose
/// name says so.
///
/// ```
/// use arcp_proto::secret::Secret;
///
/// let token = Secret::new("of the day");
/// assert!(token.matches("of the day"));
/// assert_eq!(format!("{token:?}"), "Secret(…)");
/// ```
///
/// ```compile_fail,E0277
/// # use arcp_proto::secret::Secret;
/// serde_json::to_string(&Secret::new("of the day"));
/// ```
///
/// ```compile_fail,E0277
/// # use arcp_proto::secret::Secret;
/// format!("{}", Secret::new("of the day"));
/// ```
///
/// ```compile_fail,E0369
/// # use arcp_proto::secret::Secret;
/// assert!(Secret::new("of the day") == Secret::new("of the day"));
/// ```
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends or verifies it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether both are the same text, in a time that depends on the lengths only.
    #[must_use]
    pub fn matches(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }

    /// The hash under which the secret may be stored.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// A fresh resume token: `rt_` and 256 secret bits as base64url (protocol §1.2).
    pub(crate) fn resume_token(entropy: &mut dyn Entropy) -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut bytes = [0_u8; 32];
        entropy.fill_secret(&mut bytes);
        let mut text = String::with_capacity(46);
        text.push_str("rt_");
        for group in bytes.chunks(3) {
            let word = group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
                << (8 * (3 - group.len()));
            for sextet in 0..=group.len() {
                let index = (word >> (18 - 6 * sextet)) & 63;
                text.push(char::from(ALPHABET[index as usize]));
            }
        }
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// SHA-256 of a token: what is stored and looked up instead of the token (T-7, T-8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token's text.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The hash a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes a store keeps.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Equality in constant time.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    struct Counting(u8);

    impl Entropy for Counting {
        fn fill_public(&mut self, _: &mut [u8]) {
            unreachable!("tokens are drawn from the secret stream")
        }

        fn fill_secret(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.0;
                self.0 = self.0.wrapping_add(1);
            }
        }
    }

    #[test]
    fn resume_tokens_are_base64url_of_32_secret_bytes() {
        let token = Secret::resume_token(&mut Counting(0));
        assert_eq!(token.expose(), "rt_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    }

    #[test]
    fn a_stored_hash_is_the_hash() {
        let hash = TokenHash::of("abc");
        // The digest that FIPS 180-2 publishes for this text.
        assert_eq!(hash.as_bytes()[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(TokenHash::from_bytes(*hash.as_bytes()), hash);
        assert_eq!(format!("{hash:?}"), "TokenHash(ba78…)");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "Secret(…)");
        assert!(!format!("{:?}", Secret::new("canary").hash()).contains("canary"));
    }

    #[test]
    fn comparison_is_by_content() {
        assert!(Secret::new("abc").matches("abc"));
        assert!(!Secret::new("abc").matches("abd"));
        assert!(!Secret::new("abc").matches("ab"));
        assert!(TokenHash::of("abc").matches(&Secret::new("abc").hash()));
    }
}
