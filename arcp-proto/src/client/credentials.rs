//! The credentials of a job as its submitter knows them (protocol §5.9).

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::id::CredentialKey;
use crate::secret::Secret;
use crate::wire::body::EventBody;
use crate::wire::credential::Credential;
use crate::wire::event::EventPayload;

/// What a runtime has issued for one job and told this client, as it is now. `Debug` shows no values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobCredentials {
    current: Vec<Credential>,
}

impl JobCredentials {
    /// Those of a `job.accepted` or `job.subscribed`.
    #[must_use]
    pub const fn new(current: Vec<Credential>) -> Self {
        Self { current }
    }

    /// Those that are good as far as is known.
    #[must_use]
    pub fn as_slice(&self) -> &[Credential] {
        &self.current
    }

    /// Takes in an event of the job: one that says that a credential was rotated replaces it, or takes it away if the
    /// new value is not told.
    pub fn hear(&mut self, event: &EventPayload) {
        if event.is_rotation()
            && let Ok(EventBody::CredentialRotated { id, value }) = EventBody::read(&event.kind, &event.body)
        {
            self.rotated(id.as_deref(), value);
        }
    }

    /// Runtimes name the credential that was rotated or the one in its place.
    fn rotated(&mut self, id: Option<&str>, value: Option<Secret>) {
        let named = self.current.iter().position(|known| Some(known.id.as_str()) == id);
        let only = (self.current.len() == 1).then_some(0);
        let Some((index, known)) =
            named.or(only).and_then(|index| Some((index, self.current.get_mut(index)?)))
        else {
            return;
        };
        match value {
            Some(value) => {
                known.value = value;
                if let Some(id) = id {
                    known.id = id.to_string();
                }
            }
            None if named.is_some() || is_newer(id, &known.id) => drop(self.current.remove(index)),
            // An old rotation, out of the job's history.
            None => {}
        }
    }

    /// Forgets all of them: the job has ended.
    pub fn forget(&mut self) {
        self.current = Vec::new();
    }
}

/// Whether both are ids of our own, which rise, and the first came later.
fn is_newer(id: Option<&str>, than: &str) -> bool {
    let key = id.and_then(CredentialKey::parse);
    key.zip(CredentialKey::parse(than)).is_some_and(|(id, than)| id > than)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Fields;
    use crate::wire::credential::{CredentialConstraints, CredentialScheme};
    use alloc::vec;
    use std::format;

    fn credential(id: &str) -> Credential {
        Credential {
            id: id.to_string(),
            scheme: CredentialScheme::Bearer,
            value: Secret::new(format!("value of {id}")),
            endpoint: "https://gw.example/v1".to_string(),
            profile: Some("openai".to_string()),
            constraints: CredentialConstraints::default(),
        }
    }

    fn event(body: &str) -> EventPayload {
        let payload = format!(r#"{{"kind":"status","body":{body}}}"#);
        EventPayload::read(&Fields::of(&payload)).unwrap()
    }

    fn told(credentials: &JobCredentials) -> Vec<(&str, &str)> {
        credentials.as_slice().iter().map(|known| (known.id.as_str(), known.value.expose())).collect()
    }

    #[test]
    fn a_rotation_replaces_what_it_names_or_the_only_one_there_is() {
        for (body, id) in [
            (r#"{"phase":"credential_rotated","id":"c1","value":"new"}"#, "c1"),
            (r#"{"phase":"credential_rotated","id":"c9","details":{"id":"c9","value":"new"}}"#, "c9"),
            (r#"{"phase":"credential_rotated","message":"c1","details":{"value":"new"}}"#, "c1"),
            (r#"{"phase":"credential_rotated","value":"new"}"#, "c1"),
        ] {
            let mut credentials = JobCredentials::new(vec![credential("c1")]);
            credentials.hear(&event(body));
            assert_eq!(told(&credentials), [(id, "new")], "{body}");
            assert_eq!(credentials.as_slice()[0].endpoint, "https://gw.example/v1");
        }
    }

    #[test]
    fn a_value_that_is_not_told_takes_the_old_one_away_unless_the_rotation_is_older() {
        const OURS: [&str; 3] = [
            "cred_01KZZSPS9C3RT88QNK42S3SERW",
            "cred_01KZZSPS9C3RT88QNK42S3SERX",
            "cred_01KZZSPS9C3RT88QNK42S3SERY",
        ];
        for (known, id, stays) in [
            ("c1", "c1", false),
            ("c1", "c2", true),
            (OURS[1], OURS[0], true),
            (OURS[1], OURS[1], false),
            (OURS[1], OURS[2], false),
        ] {
            let mut credentials = JobCredentials::new(vec![credential(known)]);
            let body = format!(r#"{{"phase":"credential_rotated","fields":{{"id":"{id}"}}}}"#);
            credentials.hear(&event(&body));
            assert_eq!(!credentials.as_slice().is_empty(), stays, "{known} {id}");
        }
    }

    #[test]
    fn of_several_only_the_named_one_changes() {
        let mut credentials = JobCredentials::new(vec![credential("c1"), credential("c2")]);
        credentials.hear(&event(r#"{"phase":"credential_rotated","id":"c3","value":"new"}"#));
        assert_eq!(told(&credentials), [("c1", "value of c1"), ("c2", "value of c2")]);
        credentials.hear(&event(r#"{"phase":"credential_rotated","id":"c2","value":"new"}"#));
        assert_eq!(told(&credentials), [("c1", "value of c1"), ("c2", "new")]);
        credentials.hear(&event(r#"{"phase":"credential_rotated_too","id":"c2","value":"newer"}"#));
        assert_eq!(told(&credentials)[1], ("c2", "new"));
        credentials.forget();
        assert!(told(&credentials).is_empty());
    }
}
