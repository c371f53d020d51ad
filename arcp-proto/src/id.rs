//! Identifiers: opaque text from a peer, ULIDs from us (protocol §1.2).

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use crate::entropy::Entropy;
use crate::time::UnixTime;

/// Longest identifier either side accepts, in bytes.
pub const MAX_ID_BYTES: usize = 128;

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Opaque: 1 to 128 bytes without control characters, compared byte by byte. Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a peer's spelling; `None` if it is empty, longer than 128 bytes or holds a control character.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                is_valid_id(text).then(|| Self(text.into()))
            }

            /// The text on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

opaque_id! {
    /// The id of one envelope.
    MessageId
}
opaque_id! {
    /// The id of a session as its client knows it.
    SessionId
}
opaque_id! {
    /// The id of a job as its client knows it.
    JobId
}

/// Whether `text` may be an identifier.
#[must_use]
pub fn is_valid_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len()) && !text.bytes().any(|b| b < 0x20 || b == 0x7f)
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const RANDOM_BITS: u32 = 80;
/// Numbers take the low 53 bits of a numbered frame's id.
const NUMBER_BITS: u32 = 53;

/// 128 bits: 48 of Unix milliseconds, 80 random. `Display` writes 26 upper-case Crockford characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ulid(u128);

impl Ulid {
    /// The ULID with these bits.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Its 128 bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The 26 characters of the text form.
    #[must_use]
    pub fn to_text(self) -> [u8; 26] {
        let mut text = [b'0'; 26];
        let mut rest = self.0;
        for character in text.iter_mut().rev() {
            *character = CROCKFORD[(rest & 31) as usize];
            rest >>= 5;
        }
        text
    }

    /// Reads 26 upper-case Crockford characters of which the first is `0` to `7`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 26 || text.as_bytes()[0] > b'7' {
            return None;
        }
        text.bytes()
            .try_fold(0_u128, |bits, byte| {
                let digit = CROCKFORD.iter().position(|c| *c == byte)?;
                Some(bits << 5 | digit as u128)
            })
            .map(Self)
    }

    fn millis(self) -> u128 {
        self.0 >> RANDOM_BITS
    }

    /// The id of the numbered frame `number` of the session with this ULID: the session's time, the first 27 of its
    /// random bits, the number (D-58).
    #[must_use]
    pub const fn numbered(self, number: u64) -> Self {
        let keep = !0 << NUMBER_BITS;
        Self((self.0 & keep) | number as u128 & !keep)
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.to_text()).unwrap_or_default())
    }
}

impl fmt::Debug for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! minted_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        ///
        /// Minted by the runtime only; `Display` writes the text on the wire.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// The key with this ULID.
            #[must_use]
            pub const fn from_ulid(ulid: Ulid) -> Self {
                Self(ulid)
            }

            /// Its ULID.
            #[must_use]
            pub const fn ulid(self) -> Ulid {
                self.0
            }

            /// Reads the text on the wire; `None` for anything a runtime of ours did not mint.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                text.strip_prefix($prefix).and_then(Ulid::parse).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

minted_id! {
    /// A session as the runtime and its store know it.
    SessionKey, "sess_"
}
minted_id! {
    /// A job as the runtime and its store know it.
    JobKey, "job_"
}
minted_id! {
    /// A streamed result as the runtime and its store know it.
    ResultKey, "res_"
}

minted_id! {
    /// A delegation as the runtime and its store know it.
    DelegationKey, "dlg_"
}
minted_id! {
    /// A provisioned credential as the runtime and its store know it; never its value.
    CredentialKey, "cred_"
}

/// Mints ids that only rise: within a millisecond, the last one plus a random step.
#[derive(Debug, Default)]
pub(crate) struct IdSource {
    last: Ulid,
    last_session_millis: u128,
}

impl IdSource {
    /// A source whose ids come after everything a recovered store holds.
    pub(crate) fn after(newest: Ulid, newest_session: Ulid) -> Self {
        Self { last: newest, last_session_millis: newest_session.millis() }
    }

    /// The next ULID.
    pub(crate) fn ulid(&mut self, now: UnixTime, entropy: &mut dyn Entropy) -> Ulid {
        let millis = millis(now);
        let random = random80(entropy);
        self.last = if millis > self.last.millis() {
            Ulid(millis << RANDOM_BITS | random)
        } else {
            // A step of up to 2⁶⁴ keeps the next id hard to guess; running out of a millisecond's random bits
            // carries into the time, which stays increasing.
            Ulid(self.last.0.saturating_add(1 + (random & u128::from(u64::MAX))))
        };
        self.last
    }

    /// The next session's ULID: fresh random bits in a millisecond that no other session has (D-109).
    pub(crate) fn session(&mut self, now: UnixTime, entropy: &mut dyn Entropy) -> Ulid {
        let millis = millis(now).max(self.last_session_millis + 1);
        self.last_session_millis = millis;
        Ulid(millis << RANDOM_BITS | random80(entropy))
    }

    /// A fresh id of the form `<prefix><ULID>`.
    pub(crate) fn text(&mut self, prefix: &str, now: UnixTime, entropy: &mut dyn Entropy) -> String {
        let mut text = String::with_capacity(prefix.len() + 26);
        text.push_str(prefix);
        push_ulid(&mut text, self.ulid(now, entropy));
        text
    }
}

/// Appends the 26 characters of `ulid`.
pub(crate) fn push_ulid(text: &mut String, ulid: Ulid) {
    // The alphabet is ASCII, so this cannot fail.
    text.push_str(core::str::from_utf8(&ulid.to_text()).unwrap_or_default());
}

/// No more than 48 bits: [`UnixTime::MAX`] is below 2⁴⁸.
fn millis(now: UnixTime) -> u128 {
    u128::try_from(now.as_millis()).unwrap_or(0)
}

fn random80(entropy: &mut dyn Entropy) -> u128 {
    let mut bytes = [0_u8; 16];
    entropy.fill_public(&mut bytes[6..]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    /// Every byte of it is this one.
    struct Bytes(u8);

    impl Entropy for Bytes {
        fn fill_public(&mut self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }

        fn fill_secret(&mut self, _: &mut [u8]) {
            unreachable!("ids are public")
        }
    }

    #[test]
    fn numbered_frames_follow_the_published_example() {
        let session = SessionKey::parse("sess_01KZZSPQFWRQJ5E577ZYXMHSQ1").unwrap();
        assert_eq!(session.ulid().numbered(1).to_string(), "01KZZSPQFWRQJ5E00000000001");
        assert_eq!(session.ulid().numbered((1 << 53) - 1).to_string(), "01KZZSPQFWRQJ5E7ZZZZZZZZZZ");
    }

    #[test]
    fn ulids_round_trip_and_refuse_other_spellings() {
        let text = "01KZZSPQFWRQJ5E577ZYXMHSQ1";
        assert_eq!(Ulid::parse(text).unwrap().to_string(), text);
        for text in [
            "81KZZSPQFWRQJ5E577ZYXMHSQ1",
            "01kzzspqfwrqj5e577zyxmhsq1",
            "01KZZSPQFWRQJ5E577ZYXMHSQ",
            "01KZZSPQFWRQJ5E577ZYXMHSQI",
        ] {
            assert_eq!(Ulid::parse(text), None, "{text}");
        }
        assert_eq!(Ulid::parse("7ZZZZZZZZZZZZZZZZZZZZZZZZZ").map(Ulid::bits), Some(u128::MAX));
        assert_eq!(JobKey::parse("sess_01KZZSPQFWRQJ5E577ZYXMHSQ1"), None);
        assert_eq!(format!("{:?}", Ulid::parse(text).unwrap()), text);
    }

    #[test]
    fn an_id_is_its_millisecond_and_eighty_random_bits() {
        let random = u128::from_be_bytes([0x5a; 16]) >> 48;
        let mut source = IdSource::default();
        let at = UnixTime::from_millis(6);
        let first = source.ulid(at, &mut Bytes(0x5a));
        assert_eq!(first.bits(), 6 << 80 | random);
        assert_eq!(source.session(at, &mut Bytes(0x5a)).bits(), 6 << 80 | random);
        // In the same millisecond the next one is a step of up to 2⁶⁴ further.
        assert_eq!(
            source.ulid(at, &mut Bytes(0x5a)).bits(),
            first.bits() + 1 + (random & u128::from(u64::MAX))
        );
        // A later one does not depend on what was before.
        assert_eq!(source.ulid(UnixTime::from_millis(9), &mut Bytes(1)).millis(), 9);
        assert_eq!(source.ulid(UnixTime::MAX, &mut Bytes(0xff)).bits() >> 80, 253_402_300_799_999);
    }

    #[test]
    fn ids_go_on_behind_what_a_store_holds() {
        let newest = Ulid::from_bits(9 << 80 | 5);
        let mut source = IdSource::after(newest, Ulid::from_bits(12 << 80));
        let now = UnixTime::from_millis(3);
        assert!(source.ulid(now, &mut Bytes(0)) > newest);
        assert_eq!(source.session(now, &mut Bytes(0)).millis(), 13);
    }

    #[test]
    fn ids_rise_even_when_the_clock_does_not() {
        let mut source = IdSource::default();
        let mut last = Ulid::default();
        for millis in [5, 5, 5, 4, 6, 6] {
            let next = source.ulid(UnixTime::from_millis(millis), &mut Bytes(0));
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn sessions_never_share_a_millisecond() {
        let mut source = IdSource::default();
        let now = UnixTime::from_millis(7);
        let first = source.session(now, &mut Bytes(0));
        let second = source.session(now, &mut Bytes(0));
        assert!(second.millis() > first.millis());
        assert_ne!(first.numbered(1), second.numbered(1));
    }

    #[test]
    fn opaque_ids_have_bounds() {
        assert!(JobId::new(&"x".repeat(128)).is_some());
        assert!(JobId::new(&"x".repeat(129)).is_none());
        assert!(JobId::new("").is_none());
        assert!(JobId::new("a\u{7f}").is_none());
        assert!(JobId::new("a\u{1f}").is_none());
        assert!(JobId::new("a\n").is_none());
        assert!(JobId::new("a b").is_some());
        assert!(JobId::new("Grüße-☃").is_some());
    }
}
