//! Provisioned credentials on the wire (protocol §5.9).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::id::CredentialKey;
use crate::secret::Secret;
use crate::time::UnixTime;
use crate::wire::RawJson;
use crate::wire::body::ROTATION;
use crate::wire::members::{advisory_time, tolerant_string};
use crate::wire::read::{Fields, elements_of, string_of};
use crate::wire::session::write_time;
use crate::wire::write::{ArrayWriter, ObjectWriter, object_text};

/// Credentials of one job that are read at most; more are dropped.
const MOST: usize = 16;

/// How a credential is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CredentialScheme {
    /// As bearer token: `Authorization: Bearer …`.
    Bearer,
}

impl CredentialScheme {
    /// The string on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
        }
    }

    /// The scheme with this string; `None` for one we do not know.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text == "bearer").then_some(Self::Bearer)
    }
}

impl fmt::Display for CredentialScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A credential that was issued for one job. `Debug` does not show its value.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its id, by which a rotation names it.
    pub id: String,
    /// How it is presented.
    pub scheme: CredentialScheme,
    /// The secret itself. Present it to `endpoint` and to nobody else.
    pub value: Secret,
    /// Where it is good: an https URL, or an http URL of this machine.
    pub endpoint: String,
    /// Which interface the endpoint speaks, such as `openai`.
    pub profile: Option<String>,
    /// What the endpoint enforces.
    pub constraints: CredentialConstraints,
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.scheme == other.scheme
            && self.value.matches(other.value.expose())
            && self.endpoint == other.endpoint
            && self.profile == other.profile
            && self.constraints == other.constraints
    }
}

/// What the upstream behind a credential itself enforces; what is not named it does not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CredentialConstraints {
    /// Amounts that may be spent with it, such as `USD:5.00`.
    pub cost_budget: Vec<String>,
    /// Patterns of models it is good for; `None` is any.
    pub model_use: Option<Vec<String>>,
    /// When it stops being good.
    pub expires_at: Option<UnixTime>,
}

impl CredentialConstraints {
    /// Whether nothing is enforced.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cost_budget.is_empty() && self.model_use.is_none() && self.expires_at.is_none()
    }

    /// Either spelling of each name is read (protocol §3.2).
    fn read(fields: &Fields<'_>) -> Self {
        let texts = |names: [&str; 2]| {
            let value = names.iter().find_map(|name| fields.present(name));
            let texts = value.and_then(elements_of)?.filter_map(string_of).map(Into::into);
            Some(texts.collect::<Vec<String>>())
        };
        Self {
            cost_budget: texts(["cost.budget", "cost_budget"]).unwrap_or_default(),
            model_use: texts(["model.use", "model_use"]),
            expires_at: advisory_time(fields, "expires_at"),
        }
    }

    /// Writes the members.
    pub(crate) fn write(&self, out: &mut ObjectWriter<'_>) {
        if !self.cost_budget.is_empty() {
            out.strings("cost.budget", self.cost_budget.iter().map(String::as_str));
        }
        if let Some(models) = &self.model_use {
            out.strings("model.use", models.iter().map(String::as_str));
        }
        write_time(out, "expires_at", self.expires_at);
    }
}

impl Credential {
    fn read(fields: &Fields<'_>) -> Option<Self> {
        let text = |name| tolerant_string(fields, name).filter(|text| !text.is_empty());
        Some(Self {
            id: text("id")?,
            scheme: CredentialScheme::parse(&text("scheme")?)?,
            value: Secret::new(text("value")?),
            endpoint: text("endpoint")?,
            profile: text("profile"),
            constraints: fields
                .advisory_object("constraints")
                .map(|constraints| CredentialConstraints::read(&constraints))
                .unwrap_or_default(),
        })
    }

    /// Writes the members, the secret value among them.
    fn write(&self, out: &mut ObjectWriter<'_>) {
        out.str("id", &self.id)
            .str("scheme", self.scheme.as_str())
            .str("value", self.value.expose())
            .str("endpoint", &self.endpoint)
            .optional_str("profile", self.profile.as_deref());
        if !self.constraints.is_empty() {
            out.object("constraints", |constraints| self.constraints.write(constraints));
        }
    }
}

/// The member `credentials`. Those of schemes we do not know, and what is none, are left out.
pub(super) fn read_credentials(fields: &Fields<'_>) -> Vec<Credential> {
    let Some(elements) = fields.present("credentials").and_then(elements_of) else { return Vec::new() };
    let objects = elements.filter(|element| element.starts_with('{'));
    objects.filter_map(|element| Credential::read(&Fields::of(element))).take(MOST).collect()
}

pub(super) fn write_credentials(out: &mut ObjectWriter<'_>, credentials: &[Credential]) {
    if !credentials.is_empty() {
        out.array("credentials", |array: &mut ArrayWriter<'_>| {
            for credential in credentials {
                array.object(|object| credential.write(object));
            }
        });
    }
}

/// The body of a rotation as those are told it who may have the new value (D-18).
pub(crate) fn rotation_with_value(credential: CredentialKey, value: &Secret) -> RawJson {
    let (id, value) = (credential.to_string(), value.expose());
    let body = object_text(|out| {
        out.str("phase", ROTATION).str("id", &id).str("value", value).object("details", |details| {
            details.str("id", &id).str("value", value);
        });
    });
    RawJson::from_validated(body.into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    fn read(text: &str) -> Vec<Credential> {
        read_credentials(&Fields::of(text))
    }

    #[test]
    fn what_is_no_credential_is_left_out() {
        for text in [
            "{}",
            r#"{"credentials":null}"#,
            r#"{"credentials":{}}"#,
            r#"{"credentials":[null,1,"x",{}]}"#,
            r#"{"credentials":[{"id":"c","scheme":"mtls","value":"v","endpoint":"https://e/"}]}"#,
            r#"{"credentials":[{"id":"c","scheme":"bearer","value":"","endpoint":"https://e/"}]}"#,
            r#"{"credentials":[{"id":"c","scheme":"bearer","value":"v"}]}"#,
        ] {
            assert!(read(text).is_empty(), "{text}");
        }
        let one = r#"{"id":"c","scheme":"bearer","value":"v","endpoint":"https://e/"}"#;
        let many = std::vec![one; MOST + 1].join(",");
        assert_eq!(read(&format!("{{\"credentials\":[{many}]}}")).len(), MOST);
    }

    #[test]
    fn two_are_the_same_if_all_of_them_is() {
        let text = r#"{"credentials":[{"id":"c","scheme":"bearer","value":"v","endpoint":"https://e/"}]}"#;
        let one = read(text).remove(0);
        assert_eq!(one, read(text)[0]);
        let no_constraints = CredentialConstraints::default();
        for other in [
            Credential { id: "d".into(), ..one.clone() },
            Credential { value: "w".into(), ..one.clone() },
            Credential { endpoint: "https://f/".into(), ..one.clone() },
            Credential { profile: Some("p".into()), ..one.clone() },
            Credential {
                constraints: CredentialConstraints { model_use: Some(Vec::new()), ..no_constraints.clone() },
                ..one.clone()
            },
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(format!("{}", one.scheme), "bearer");
        assert!(no_constraints.is_empty());
        for constraints in [
            CredentialConstraints { cost_budget: std::vec!["USD:1".into()], ..no_constraints.clone() },
            CredentialConstraints { model_use: Some(Vec::new()), ..no_constraints.clone() },
            CredentialConstraints { expires_at: Some(UnixTime::MAX), ..no_constraints.clone() },
        ] {
            assert!(!constraints.is_empty());
        }
    }

    #[test]
    fn values_are_not_shown() {
        let found = read(
            r#"{"credentials":[{"id":"c","scheme":"bearer","value":"canary","endpoint":"https://e/"}]}"#,
        );
        assert!(found[0].value.matches("canary"));
        assert!(!format!("{found:?}").contains("canary"));
        assert!(found[0].constraints.is_empty());
    }
}
