//! Secrets: which frames may hold them, and that nothing else does (VIS-3, SES-5).

use std::fmt::{self, Write as _};

use arcp_proto::runtime::store::{Command, Record};
use arcp_proto::wire::event::{Content, Outcome};
use serde_json::Value;

use super::read::{Envelope, hash, ulid};
use super::{Oracle, read};

/// In every value of a credential, and in no other text of a world.
const VALUE: &str = "~key-";
/// In every bearer token.
const BEARER: &str = "-bearer-";
/// A resume token begins so, and goes on with 43 characters of base64url. Fewer are a part of one; a few may be any word, such
/// as the type of a frame that was meddled with, which an error repeats.
const RESUME: (&str, usize) = ("rt_", 16);
const PROVISIONED_CREDENTIALS: u16 = 1 << 7;

fn has_token(text: &str) -> bool {
    let (start, least) = RESUME;
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let length = |rest: &str| rest.bytes().take_while(|byte| is_of_token(*byte)).count();
    text.contains(BEARER)
        || text.match_indices(start).any(|(at, _)| length(&text[at + start.len()..]) >= least)
}

impl Oracle {
    /// A frame leaves: what secrets are in it?
    pub(super) fn judge_secrets(&mut self, link: usize, text: &str, envelope: &Envelope<'_>) {
        let kind = envelope.kind.as_str();
        // A welcome has its session's token, which is judged there.
        if kind != "session.welcome" && has_token(text) {
            self.fail("SES-5", format_args!("a {kind} has a token in it"));
        }
        if self.config.provisions && text.contains(VALUE) {
            self.judge_values(link, text, envelope);
        }
    }

    fn judge_values(&mut self, link: usize, text: &str, envelope: &Envelope<'_>) {
        let frame: Value = serde_json::from_str(text).unwrap_or_default();
        let kind = envelope.kind.as_str();
        let payload = &frame["payload"];
        let body = &payload["body"];
        let shown: Vec<(&Value, &Value)> = match kind {
            "job.accepted" | "job.subscribed" => payload["credentials"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|credential| (&credential["id"], &credential["value"]))
                .collect(),
            "job.event" if body["phase"] == "credential_rotated" => {
                vec![(&body["id"], &body["value"]), (&body["details"]["id"], &body["details"]["value"])]
            }
            _ => Vec::new(),
        };
        let expected: usize = shown
            .iter()
            .filter_map(|(_, value)| value.as_str())
            .map(|value| value.matches(VALUE).count())
            .sum();
        if text.matches(VALUE).count() != expected {
            self.fail("VIS-3", format_args!("a {kind} has the value of a credential where none belongs"));
            return;
        }
        let id = envelope.job_id.as_ref().map(read::Text::as_str).or_else(|| payload["job_id"].as_str());
        let job = self.job(id.map_or(0, ulid));
        let session = self.connections[link].session;
        let (Some(job), Some(session)) = (job, session) else {
            self.fail("VIS-3", format_args!("a {kind} has the value of a credential of no job or session"));
            return;
        };
        self.values_shown += 1;
        let (viewer, owner) = (&self.sessions[session], &self.jobs[job]);
        if viewer.principal != owner.principal {
            let principal = viewer.principal.clone();
            self.fail("VIS-3", format_args!("{principal} is shown a credential of another's job"));
        } else if viewer.features & PROVISIONED_CREDENTIALS == 0 {
            self.fail("SES-7", format_args!("a credential is shown to a session that did not ask for them"));
        } else if !self.connections[link].is_private {
            self.fail("VIS-3", format_args!("a credential is shown where others may read it"));
        }
        for (id, value) in shown {
            let credential = id.as_str().and_then(|id| self.credential(ulid(id)));
            let Some(credential) = credential.map(|index| &self.credentials[index]) else {
                self.fail("CRD-3", format_args!("a credential is shown that is not in the ledger"));
                return;
            };
            if !credential.is_of(self.jobs[job].key) || credential.value() != value.as_str() {
                self.fail("CRD-3", format_args!("what is shown was not made for this job"));
            } else if credential.issued == 0 || !self.is_committed(credential.issued) {
                self.fail("SEQ-6", format_args!("a credential is shown that is not committed"));
            }
        }
    }

    /// Something is stored: no secret is in it.
    pub(super) fn judge_stored(&mut self, command: &Command) {
        let Command::Append(records) = command else { return };
        for record in records {
            let is_clean = match record {
                Record::Event(record) => match &record.event.content {
                    Content::Event { body, .. } => is_clean(body.as_str()),
                    Content::Chunk { data, .. } => is_clean(data.as_str()),
                    Content::Rotated { .. } => shows_nothing(record),
                    Content::End(end) => match &end.outcome {
                        Outcome::Inline(value) => is_clean(value.as_str()),
                        Outcome::Streamed { .. } => true,
                        Outcome::Failed(error) => is_clean(&error.message),
                    },
                },
                Record::Session(_) | Record::Job(_) | Record::Credential(_) => shows_nothing(record),
                _ => true,
            };
            if !is_clean {
                let is_value = format!("{record:?}").contains(VALUE);
                self.fail(if is_value { "VIS-3" } else { "SES-5" }, format_args!("a secret is stored"));
            }
        }
    }

    /// Something that may be logged: no secret shows.
    pub fn logged(&mut self, what: &impl fmt::Debug) {
        if !shows_nothing(what) {
            self.fail("SES-5", format_args!("a secret shows in what may be logged"));
        }
    }
}

fn is_clean(text: &str) -> bool {
    !text.contains(VALUE) && !has_token(text)
}

/// Whether no secret shows in what is written of it.
fn shows_nothing(what: &impl fmt::Debug) -> bool {
    let mut text = String::new();
    write!(text, "{what:?}").is_ok() && is_clean(&text)
}

/// A rotation that is shown with its value, and one without, count as the same.
pub(super) fn redacted(frame: &[u8]) -> u64 {
    let mut frame: Value = serde_json::from_slice(frame).unwrap_or_default();
    if let Some(body) = frame["payload"]["body"].as_object_mut() {
        body.remove("value");
        if let Some(details) = body.get_mut("details").and_then(Value::as_object_mut) {
            details.remove("value");
        }
    }
    hash(frame.to_string().as_bytes())
}
