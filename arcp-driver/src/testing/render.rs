//! Frames as lines, without their secrets.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

/// What stands where a secret stood.
const SECRET: &str = "[secret]";
/// Shorter ones are taken out where they belong, and not looked for elsewhere: they could be any word.
const SEARCHED: usize = 8;

/// Members of a payload that say nothing about the run, or repeat what the line says already.
const LEFT_OUT: [&str; 14] = [
    "accepted_at",
    "capabilities",
    "client",
    "client_name",
    "client_version",
    "completed_at",
    "created_at",
    "reply_to",
    "runtime",
    "runtime_name",
    "runtime_version",
    "submitted_at",
    "trace_id",
    "ts",
];

/// Beginnings of ids, which get names.
const PREFIXES: [&str; 8] = ["cred_", "dlg_", "idk_", "job_", "msg_", "res_", "sess_", "p_"];

/// Characters of a payload that a line shows.
const SHOWN: usize = 240;

/// Writes frames down.
#[derive(Default)]
pub(super) struct Scribe {
    secrets: Vec<String>,
    names: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Scribe {
    /// Takes what is known as a secret out of every text of an envelope, and returns its line.
    pub(super) fn read(&mut self, envelope: &mut Value) -> String {
        self.scrub(envelope);
        let mut line = envelope["type"].as_str().unwrap_or_default().to_owned();
        if let Some(seq) = envelope["event_seq"].as_u64() {
            let _ = write!(line, " #{seq}");
        }
        for member in ["session_id", "job_id"] {
            if let Some(id) = envelope[member].as_str() {
                line.push(' ');
                line.push_str(&self.name(id));
            }
        }
        let mut payload = String::new();
        if let Some(members) = envelope["payload"].as_object() {
            let shown = members.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
            self.write_members(shown, &mut payload);
        }
        if payload.len() > "{}".len() {
            line.push(' ');
            match payload.char_indices().nth(SHOWN) {
                Some((end, _)) => {
                    let _ = write!(line, "{}… ({} bytes)", &payload[..end], payload.len());
                }
                None => line.push_str(&payload),
            }
        }
        line
    }

    pub(super) fn hide(&mut self, secret: &str) {
        if secret.len() >= SEARCHED && !self.secrets.iter().any(|known| known == secret) {
            self.secrets.push(secret.to_owned());
            // One that contains another goes first, or its rest would be left.
            self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    pub(super) fn without_secrets(&self, text: &str) -> String {
        let hidden = |text: String, secret: &String| text.replace(secret.as_str(), SECRET);
        self.secrets.iter().fold(text.to_owned(), hidden)
    }

    fn is_telling(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret.as_str()))
    }

    /// Takes the secrets out of the places where the protocol has them, and knows them from then on.
    pub(super) fn take_out(&mut self, envelope: &mut Value) {
        let is_session = envelope["type"].as_str().is_some_and(|kind| kind.starts_with("session."));
        let Some(payload) = envelope.get_mut("payload") else { return };
        if is_session {
            self.take_members(payload, &["token", "resume_token"]);
        }
        if let Some(credentials) = payload.get_mut("credentials") {
            self.take_members(credentials, &["value"]);
        }
        if let Some(body) = payload.get_mut("body")
            && body["phase"].as_str().is_some_and(|phase| phase.starts_with("credential_rotated"))
        {
            self.take_members(body, &["value"]);
        }
    }

    /// Takes these members out wherever they are.
    fn take_members(&mut self, value: &mut Value, names: &[&str]) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    if names.contains(&name.as_str()) {
                        if let Some(secret) = member.as_str() {
                            self.hide(secret);
                        }
                        *member = Value::from(SECRET);
                    } else {
                        self.take_members(member, names);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.take_members(item, names)),
            _ => {}
        }
    }

    /// Takes known secrets out of every text.
    fn scrub(&self, value: &mut Value) {
        match value {
            Value::String(text) if self.is_telling(text) => *text = self.without_secrets(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.scrub(item)),
            Value::Object(members) => {
                let telling = members.keys().filter(|name| self.is_telling(name));
                let telling: Vec<String> = telling.cloned().collect();
                for name in telling {
                    if let Some(member) = members.remove(&name) {
                        members.insert(self.without_secrets(&name), member);
                    }
                }
                members.iter_mut().for_each(|(_, member)| self.scrub(member));
            }
            _ => {}
        }
    }

    /// A short name for an id, the same whenever it appears; any other text as it is.
    fn name(&mut self, text: &str) -> String {
        let is_id = |prefix: &&str| text.starts_with(prefix) && text.len() >= prefix.len() + 16;
        let Some(prefix) = PREFIXES.into_iter().find(|prefix| is_id(prefix)) else {
            return text.to_owned();
        };
        if let Some(name) = self.names.get(text) {
            return name.clone();
        }
        let count = self.counts.entry(prefix).or_default();
        *count += 1;
        let name = format!("{prefix}{count}");
        self.names.insert(text.to_owned(), name.clone());
        name
    }

    fn write_members<'a>(
        &mut self,
        members: impl Iterator<Item = (&'a String, &'a Value)>,
        out: &mut String,
    ) {
        out.push('{');
        for (index, (name, member)) in members.enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            out.push_str(name);
            out.push_str(": ");
            self.write(member, out);
        }
        out.push('}');
    }

    fn write(&mut self, value: &Value, out: &mut String) {
        match value {
            Value::Object(members) => self.write_members(members.iter(), out),
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    self.write(item, out);
                }
                out.push(']');
            }
            Value::String(text) => {
                let name = self.name(text);
                let _ = if name == *text { write!(out, "{value}") } else { write!(out, "{name}") };
            }
            _ => {
                let _ = write!(out, "{value}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_taken_out_and_looked_for_elsewhere() {
        let mut scribe = Scribe::default();
        let read = |scribe: &mut Scribe, envelope: &mut Value| {
            scribe.take_out(envelope);
            scribe.read(envelope)
        };
        let mut hello = json!({"type": "session.hello", "payload": {
            "auth": {"scheme": "bearer", "token": "of the day"},
            "resume": {"token": "rt_1234567", "resume_token": "rt_1234567", "last_event_seq": 7},
        }});
        let line = read(&mut scribe, &mut hello);
        assert!(!hello.to_string().contains("of the day") && !hello.to_string().contains("rt_1"), "{hello}");
        assert!(line.contains("last_event_seq: 7") && line.contains(SECRET), "{line}");
        let mut accepted = json!({"type": "job.accepted", "payload": {
            "credentials": [{"id": "c", "value": "a key of mine"}],
        }});
        read(&mut scribe, &mut accepted);
        assert_eq!(accepted["payload"]["credentials"][0], json!({"id": "c", "value": SECRET}));
        let mut event = json!({"type": "job.event", "payload": {"kind": "log", "body": {
            "message": "used a key of mine and of the day", "a key of mine": 1,
        }}});
        read(&mut scribe, &mut event);
        let body = &event["payload"]["body"];
        assert_eq!(body["message"], format!("used {SECRET} and {SECRET}"));
        assert_eq!(body[SECRET], 1);
        let mut rotated = json!({"type": "job.event", "payload": {"kind": "status", "body": {
            "phase": "credential_rotated", "value": "short", "details": {"value": "short"},
        }}});
        read(&mut scribe, &mut rotated);
        assert!(!rotated.to_string().contains("short"), "{rotated}");
    }

    #[test]
    fn ids_have_names_in_the_order_of_their_appearance() {
        let mut scribe = Scribe::default();
        let id = |letter: &str| format!("job_{}", letter.repeat(26));
        let mut line = |job: &str| {
            scribe.read(
                &mut json!({"type": "job.event", "event_seq": 3, "job_id": job, "payload": {"of": job}}),
            )
        };
        assert_eq!(line(&id("Z")), "job.event #3 job_1 {of: job_1}");
        assert_eq!(line(&id("A")), "job.event #3 job_2 {of: job_2}");
        assert_eq!(line(&id("Z")), "job.event #3 job_1 {of: job_1}");
        assert_eq!(line("job_short"), "job.event #3 job_short {of: \"job_short\"}");
    }
}
