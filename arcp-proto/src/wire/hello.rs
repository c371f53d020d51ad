//! `session.hello` and `session.resume` (protocol §2.1, §2.4).

use alloc::string::{String, ToString};

use crate::feature::{Feature, Features};
use crate::secret::Secret;
use crate::wire::error::WireFault;
use crate::wire::members::NUMBERS;
use crate::wire::read::{FieldError, Fields, elements_of, string_of};
use crate::wire::session::{Auth, Hello, ResumeRequest};
use crate::wire::text::truncated;
use crate::wire::write::ObjectWriter;

/// Bytes of a client's name or version that are kept for display.
const NAME_BYTES: usize = 256;
const BEARER_BYTES: usize = 8_192;
const RESUME_TOKEN_BYTES: usize = 256;
const MAX_FEATURES: usize = 64;
/// What one client sends for "nothing yet"; it means 0 (D-69).
const NOTHING_YET: i64 = -1;

impl Hello {
    /// Reads the payload of a `session.hello` or `session.resume`; `message_type` says of which.
    ///
    /// Credentials that cannot be used are no error here but [`Auth::Unusable`], since they are refused with another
    /// code.
    ///
    /// # Errors
    /// `capabilities` or a resume breaks its rules, two spellings of a resume disagree, or there is no token where
    /// there must be one.
    pub fn read(fields: &Fields<'_>, message_type: &str) -> Result<Self, WireFault> {
        let is_resume = message_type == "session.resume";
        let client = fields.advisory_object("client").unwrap_or_default();
        let capabilities = fields.object("capabilities")?;
        Ok(Self {
            client_name: display(&client, "name").or_else(|| display(fields, "client_name")),
            client_version: display(&client, "version").or_else(|| display(fields, "client_version")),
            auth: Auth::read(fields),
            features: match capabilities {
                Some(capabilities) => Some(offered(&capabilities)?),
                // The specification's message has no such member; it offers what the session has (D-107).
                None if is_resume => None,
                None => Some(Features::NONE),
            },
            resume: ResumeRequest::read(fields, is_resume)?,
        })
    }

    /// Writes the members of a `session.hello`, doubled where peers look for them in different places.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        let (name, version) = (self.client_name.as_deref(), self.client_version.as_deref());
        if name.is_some() || version.is_some() {
            out.object("client", |client| {
                client.optional_str("name", name).optional_str("version", version);
            });
        }
        out.optional_str("client_name", name).optional_str("client_version", version);
        match &self.auth {
            Auth::Bearer(token) => {
                out.object("auth", |auth| {
                    auth.str("scheme", "bearer").str("token", token.expose());
                });
            }
            Auth::Anonymous => {
                out.object("auth", |auth| {
                    auth.str("scheme", "anonymous");
                });
            }
            Auth::Unusable(_) => {}
        }
        if let Some(features) = self.features {
            out.object("capabilities", |capabilities| {
                write_features(capabilities, features);
            });
        }
        if let Some(resume) = &self.resume {
            let token = resume.token.expose();
            out.object("resume", |block| {
                block
                    .optional_str("session_id", resume.session_id.as_deref())
                    .str("resume_token", token)
                    .str("token", token)
                    .optional_u64("last_event_seq", resume.last_event_seq);
            });
            out.str("resume_token", token).optional_u64("last_event_seq", resume.last_event_seq);
        }
    }
}

/// `encodings` and `features`.
pub(super) fn write_features(capabilities: &mut ObjectWriter<'_>, features: Features) {
    capabilities.strings("encodings", ["json"]).strings("features", features.iter().map(Feature::as_str));
}

/// A name for display: absent if unusable or empty (D-61).
pub(super) fn display(fields: &Fields<'_>, name: &str) -> Option<String> {
    let text = fields.advisory_string(name)?;
    let text = truncated(&text, NAME_BYTES);
    (!text.is_empty()).then(|| text.to_string())
}

/// The known ones among the features in `capabilities`.
fn offered(capabilities: &Fields<'_>) -> Result<Features, WireFault> {
    let encodings = capabilities.present("encodings");
    let speaks_json = match encodings.map(elements_of) {
        None => true,
        Some(None) => false,
        Some(Some(mut names)) => names.any(|name| string_of(name).as_deref() == Some("json")),
    };
    if !speaks_json {
        return Err(
            FieldError::wrong("capabilities.encodings", "an array of strings with \"json\" in it").into()
        );
    }
    let features = read_features(capabilities, MAX_FEATURES);
    features
        .ok_or_else(|| FieldError::wrong("capabilities.features", "an array of at most 64 strings").into())
}

/// The known ones among `features`; `None` if that is no array of at most `most` strings.
pub(super) fn read_features(capabilities: &Fields<'_>, most: usize) -> Option<Features> {
    let Some(features) = capabilities.present("features") else { return Some(Features::NONE) };
    let mut known = Features::NONE;
    for (count, feature) in elements_of(features)?.enumerate() {
        let feature = string_of(feature).filter(|_| count < most)?;
        if let Some(feature) = Feature::parse(&feature) {
            known = known.with(feature);
        }
    }
    Some(known)
}

impl Auth {
    fn read(fields: &Fields<'_>) -> Self {
        let auth = match fields.present("auth") {
            None => return Self::Unusable("`auth` is required and must be an object with a `token`"),
            Some(auth) if auth.starts_with('{') => Fields::of(auth),
            Some(_) => return Self::Unusable("`auth` must be an object with a `token`"),
        };
        let scheme = auth.present("scheme").map(string_of);
        match scheme.as_ref().map(Option::as_deref) {
            None | Some(Some("bearer")) => {}
            Some(Some("anonymous")) => return Self::Anonymous,
            Some(_) => return Self::Unusable("`auth.scheme` must be \"bearer\""),
        }
        match auth.required_string("token", 1..=BEARER_BYTES) {
            Ok(token) => Self::Bearer(Secret::new(token)),
            Err(_) => Self::Unusable("`auth.token` must be a string of 1..=8192 bytes"),
        }
    }
}

impl ResumeRequest {
    /// Brings the spellings A to D together (protocol §2.4).
    fn read(fields: &Fields<'_>, is_resume: bool) -> Result<Option<Self>, WireFault> {
        let block = fields.object("resume")?;
        let within = |error: FieldError| error.within("resume");
        let inner = block.clone().unwrap_or_default();
        let mut token = Agreed::default();
        token.add(read_token(&inner, "resume_token").map_err(within)?, "resume_token")?;
        token.add(read_token(&inner, "token").map_err(within)?, "resume_token")?;
        token.add(read_token(fields, "resume_token")?, "resume_token")?;
        let Some(token) = token.value else {
            return if block.is_some() || is_resume {
                Err(WireFault::new("a resume needs `resume_token`, a string of 1..=256 bytes"))
            } else {
                Ok(None)
            };
        };
        let mut number = Agreed::default();
        number.add(read_number(&inner).map_err(within)?, "last_event_seq")?;
        number.add(read_number(fields)?, "last_event_seq")?;
        let mut session = Agreed::default();
        session.add(inner.id("session_id").map_err(within)?, "session_id")?;
        if is_resume {
            session.add(fields.id("session_id")?, "session_id")?;
        }
        Ok(Some(Self {
            session_id: session.value.map(Into::into),
            token: Secret::new(token),
            last_event_seq: number.value,
        }))
    }
}

fn read_token(fields: &Fields<'_>, name: &'static str) -> Result<Option<String>, FieldError> {
    Ok(fields.string(name, 1..=RESUME_TOKEN_BYTES)?.map(Into::into))
}

fn read_number(fields: &Fields<'_>) -> Result<Option<u64>, FieldError> {
    let highest = i64::try_from(*NUMBERS.end()).unwrap_or(i64::MAX);
    let number = fields.i64("last_event_seq", NOTHING_YET..=highest)?;
    Ok(number.map(|number| u64::try_from(number).unwrap_or(0)))
}

/// A value that may be given several times, each time the same.
struct Agreed<T> {
    value: Option<T>,
}

impl<T> Default for Agreed<T> {
    fn default() -> Self {
        Self { value: None }
    }
}

impl<T: PartialEq> Agreed<T> {
    fn add(&mut self, value: Option<T>, name: &'static str) -> Result<(), WireFault> {
        if let Some(value) = value {
            if self.value.as_ref().is_some_and(|known| *known != value) {
                return Err(WireFault::new(alloc::format!(
                    "`{name}` is given more than once and must be the same each time"
                )));
            }
            self.value = Some(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::object_text;

    fn hello(text: &str) -> Hello {
        Hello::read(&Fields::of(text), "session.hello").unwrap()
    }

    #[test]
    fn either_name_of_a_client_is_written() {
        for client in [r#"{"name":"n"}"#, r#"{"version":"1"}"#, r#"{"name":"n","version":"1"}"#, "{}"] {
            let text = alloc::format!(r#"{{"client":{client},"capabilities":{{"features":[]}}}}"#);
            let read = hello(&text);
            let written = object_text(|out| read.write(out));
            let shown = Fields::of(&written).present("client").unwrap_or("{}");
            assert_eq!(shown, client);
            assert_eq!(hello(&written).client_version, read.client_version);
        }
    }

    #[test]
    fn only_an_object_authenticates() {
        for auth in [r#""token""#, "[]", "7", "true"] {
            let text = alloc::format!(r#"{{"auth":{auth},"capabilities":{{}}}}"#);
            assert!(
                matches!(hello(&text).auth, Auth::Unusable("`auth` must be an object with a `token`")),
                "{auth}"
            );
        }
    }
}
