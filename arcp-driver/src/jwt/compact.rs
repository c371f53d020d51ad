//! The three parts of a token, and what its header says (RFC 7515 §7.1, §4.1).

use arcp_proto::wire::{FieldError, Fields, ScanLimits, scan, string_of};
use data_encoding::BASE64URL_NOPAD;

use super::{InvalidToken, MAX_TOKEN_BYTES};

/// What a header or the claims may hold. Their size is that of the token.
const LIMITS: ScanLimits = ScanLimits {
    bytes: MAX_TOKEN_BYTES,
    depth: 16,
    tokens: MAX_TOKEN_BYTES,
    members: 256,
    name_bytes: 256,
    number_bytes: 64,
};

const HEADER: &str = "header";
const CLAIMS: &str = "claims";
const SIGNATURE: &str = "signature";

/// `header.claims.signature`, not decoded yet.
pub(super) struct Compact<'a> {
    /// What the signature is of.
    pub(super) signed: &'a str,
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, InvalidToken> {
        let (signed, signature) = token.rsplit_once('.').ok_or(InvalidToken::Parts)?;
        let (header, claims) = signed.split_once('.').ok_or(InvalidToken::Parts)?;
        if claims.contains('.') {
            return Err(InvalidToken::Parts);
        }
        Ok(Self { signed, header, claims, signature })
    }

    pub(super) fn header(&self) -> Result<Object, InvalidToken> {
        Object::decode(self.header, HEADER)
    }

    pub(super) fn claims(&self) -> Result<Object, InvalidToken> {
        Object::decode(self.claims, CLAIMS)
    }

    pub(super) fn signature(&self) -> Result<Vec<u8>, InvalidToken> {
        decode(self.signature, SIGNATURE)
    }
}

/// The text of one JSON object, each of whose names occurs once at every depth.
pub(super) struct Object(Box<str>);

impl Object {
    fn decode(part: &str, name: &'static str) -> Result<Self, InvalidToken> {
        let bytes = decode(part, name)?;
        match scan(&bytes, &LIMITS) {
            Ok(scanned) if scanned.members.is_some() => Ok(Self(scanned.text.into())),
            Ok(_) | Err(_) => Err(InvalidToken::Json(name)),
        }
    }

    pub(super) fn members(&self) -> Fields<'_> {
        Fields::of(self.0.trim_ascii())
    }
}

/// Takes one spelling of each value: no padding, no white space, no bits that stand for nothing.
fn decode(part: &str, name: &'static str) -> Result<Vec<u8>, InvalidToken> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| InvalidToken::Encoding(name))
}

/// What matters of a header.
pub(super) struct Header {
    pub(super) algorithm: String,
    /// `kid`.
    pub(super) key: Option<String>,
}

impl Header {
    pub(super) fn read(header: &Object) -> Result<Self, InvalidToken> {
        let members = header.members();
        if members.opaque("crit").is_some() {
            return Err(InvalidToken::Critical);
        }
        let algorithm = members.required_string("alg", 1..=64)?.into_owned();
        // Not `Fields::string`, for which `null` would be no `kid` at all.
        let key = match members.opaque("kid") {
            None => None,
            Some(raw) => {
                Some(string_of(raw).ok_or_else(|| FieldError::wrong("kid", "a string"))?.into_owned())
            }
        };
        Ok(Self { algorithm, key })
    }
}
