//! JSON Web Tokens as bearer tokens: a [`Verifier`] for HS256 (RFC 7515, RFC 7519, RFC 8725).
//!
//! ```
//! use arcp_driver::Runtime;
//! use arcp_driver::jwt::Jwt;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = [7; 32]; // from a file or the environment, never from the program's text
//! let builder = Runtime::builder().verifier(Jwt::hs256("https://issuer.example", "arcp", &key)?);
//! # Ok(())
//! # }
//! ```

mod claims;
mod compact;

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arcp_proto::runtime::{Credentials, Verdict};
use arcp_proto::time::UnixTime;
use arcp_proto::wire::FieldError;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use self::claims::Claims;
use self::compact::{Compact, Header};
use crate::runtime::Verifier;
use crate::timer::SystemClock;

/// The longest token that is looked at, in bytes (protocol §9).
pub const MAX_TOKEN_BYTES: usize = 8_192;

/// The shortest key, in bytes: as long as the hash (RFC 7518 §3.2).
pub const MIN_KEY_BYTES: usize = 32;

/// The most that the issuer's clock may differ from ours.
pub const MAX_LEEWAY: Duration = Duration::from_secs(60);

/// The one algorithm. A token's header must name exactly it and chooses nothing.
const ALGORITHM: &str = "HS256";

/// Admits whoever presents a JSON Web Token that one issuer signed with HS256 for this runtime.
///
/// * A key has one algorithm; a header that names another, `none` included, is refused. Keys come from here only: whatever
///   a header says about where to find one is ignored, and a header with `crit` is refused.
/// * `iss` must equal the issuer, `aud` be or contain the audience, `sub` be a name, `exp` lie in the future and `nbf`, if
///   it is there, not. One that is absent or of another type refuses the token, as does a member that is named twice.
/// * The session's connection is closed once `exp` has passed.
/// * The principal is `issuer|subject`, with `%` and `|` of the issuer written as `%25` and `%7C`: two pairs never make
///   the same name.
///
/// Other algorithms, key sets from a URL and other ideas of a principal are the business of a [`Verifier`] of one's own;
/// [`Jwt::check`] says to it, or to a log, what was wrong.
#[derive(Clone)]
pub struct Jwt {
    issuer: String,
    audience: String,
    leeway: Duration,
    /// At most one of them without an id.
    keys: Vec<Key>,
    clock: Arc<dyn Fn() -> UnixTime + Send + Sync>,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    mac: Hmac<Sha256>,
}

/// Why a [`Jwt`] cannot be made. Shows nothing of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtSetupError {
    /// A key that could be guessed.
    #[error("a key for HS256 has at least {MIN_KEY_BYTES} bytes; this one has {0}")]
    KeyTooShort(usize),
    /// Two keys of one id.
    #[error("there are two keys with the id `{0}`")]
    DuplicateKey(String),
    /// An issuer or audience that every careless token would have.
    #[error("the {0} must not be empty")]
    Empty(&'static str),
    /// More leeway than clocks need.
    #[error("the leeway is at most 60 s")]
    LeewayTooLong,
}

/// What a token says that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// Whose it is: `issuer|subject`, see [`Jwt`].
    pub principal: Arc<str>,
    /// When it stops being good, the leeway included.
    pub until: UnixTime,
}

/// Why a token is refused. Shows nothing of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidToken {
    /// Longer than any honest one.
    #[error("the token has more than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not `header.claims.signature`.
    #[error("the token must be three parts with a dot between them")]
    Parts,
    /// A part that is not base64url.
    #[error("the {0} must be base64url without padding")]
    Encoding(&'static str),
    /// A part that is not an object, or is an ambiguous or oversized one.
    #[error("the {0} must be a JSON object in which every name occurs once")]
    Json(&'static str),
    /// A header that asks for more than is understood.
    #[error("`crit` names extensions, and none is known")]
    Critical,
    /// Another algorithm than the key's.
    #[error("`alg` must be HS256, the algorithm of the key")]
    Algorithm,
    /// No key for this `kid`.
    #[error("there is no key with this `kid`")]
    UnknownKey,
    /// Signed by somebody else, or changed since.
    #[error("the signature is not that of the key")]
    Signature,
    /// A member of the header or a claim that is absent or of another type.
    #[error(transparent)]
    Member(#[from] FieldError),
    /// From another issuer.
    #[error("`iss` must be the issuer this runtime trusts")]
    Issuer,
    /// For somebody else.
    #[error("`aud` must name this runtime")]
    Audience,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not good yet")]
    NotYet,
}

impl Jwt {
    /// Admits tokens that `issuer` signed for `audience` with this key. It judges every token whose `kid` names no other
    /// key.
    ///
    /// # Errors
    /// [`JwtSetupError::KeyTooShort`] below [`MIN_KEY_BYTES`], [`JwtSetupError::Empty`] for an empty issuer or audience.
    pub fn hs256(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        key: &[u8],
    ) -> Result<Self, JwtSetupError> {
        let (issuer, audience) = (issuer.into(), audience.into());
        if issuer.is_empty() {
            return Err(JwtSetupError::Empty("issuer"));
        }
        if audience.is_empty() {
            return Err(JwtSetupError::Empty("audience"));
        }
        let clock = SystemClock::new();
        Ok(Self {
            issuer,
            audience,
            leeway: Duration::ZERO,
            keys: vec![Key::new(None, key)?],
            clock: Arc::new(move || clock.now().unix),
        })
    }

    /// Adds a key for tokens with this `kid`, as a change of keys needs it.
    ///
    /// # Errors
    /// [`JwtSetupError::KeyTooShort`], [`JwtSetupError::DuplicateKey`].
    pub fn key(mut self, id: impl Into<String>, key: &[u8]) -> Result<Self, JwtSetupError> {
        let id = id.into();
        if self.keys.iter().any(|key| key.id.as_ref() == Some(&id)) {
            return Err(JwtSetupError::DuplicateKey(id));
        }
        self.keys.push(Key::new(Some(id), key)?);
        Ok(self)
    }

    /// Lets the issuer's clock differ from ours by so much: `nbf` counts from earlier and `exp` to later. Default 0.
    ///
    /// # Errors
    /// [`JwtSetupError::LeewayTooLong`] above [`MAX_LEEWAY`].
    pub fn leeway(mut self, leeway: Duration) -> Result<Self, JwtSetupError> {
        if leeway > MAX_LEEWAY {
            return Err(JwtSetupError::LeewayTooLong);
        }
        self.leeway = leeway;
        Ok(self)
    }

    /// Asks this clock and not the operating system's; for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> UnixTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Whether a token is good at this moment, and whose it is.
    ///
    /// # Errors
    /// [`InvalidToken`], for the first thing found wrong. Nothing of it is for the peer, who is only told that the token
    /// was not accepted.
    pub fn check(&self, token: &str) -> Result<Accepted, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken::TooLong);
        }
        let compact = Compact::split(token)?;
        let header = Header::read(&compact.header()?)?;
        // Not a word of the claims is read before the signature is proven.
        self.key_for(&header)?.prove(compact.signed, &compact.signature()?)?;
        let claims = Claims::read(&compact.claims()?)?;
        claims.judge(&self.issuer, &self.audience, self.leeway, (self.clock)())
    }

    fn key_for(&self, header: &Header) -> Result<&Key, InvalidToken> {
        if header.algorithm != ALGORITHM {
            return Err(InvalidToken::Algorithm);
        }
        let named = self.keys.iter().find(|key| key.id.is_some() && key.id == header.key);
        named.or_else(|| self.keys.iter().find(|key| key.id.is_none())).ok_or(InvalidToken::UnknownKey)
    }
}

impl Verifier for Jwt {
    fn verify(&self, credentials: Credentials) -> Pin<Box<dyn Future<Output = Verdict> + Send>> {
        let accepted = match credentials {
            Credentials::Bearer(token) => self.check(token.expose()).ok(),
            Credentials::Anonymous => None,
        };
        let verdict = accepted.map_or(Verdict::Refuse, |Accepted { principal, until }| Verdict::Accept {
            principal,
            until: Some(until),
        });
        Box::pin(ready(verdict))
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("leeway", &self.leeway)
            .field("keys", &self.keys.iter().map(|key| key.id.as_deref()).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Key {
    fn new(id: Option<String>, key: &[u8]) -> Result<Self, JwtSetupError> {
        if key.len() < MIN_KEY_BYTES {
            return Err(JwtSetupError::KeyTooShort(key.len()));
        }
        match Hmac::new_from_slice(key) {
            Ok(mac) => Ok(Self { id, mac }),
            // HMAC takes keys of any length; were it otherwise, the length would be the reason.
            Err(_) => Err(JwtSetupError::KeyTooShort(key.len())),
        }
    }

    /// Compares in constant time.
    fn prove(&self, signed: &str, signature: &[u8]) -> Result<(), InvalidToken> {
        let mac = self.mac.clone().chain_update(signed);
        mac.verify_slice(signature).map_err(|_| InvalidToken::Signature)
    }
}

#[cfg(test)]
mod tests;
