//! A judge of what clients receive, which knows nothing of the endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::string::{String, ToString};

use serde_json::Value;

use crate::runtime::ConnectionId;

/// What has been seen of everything.
#[derive(Default)]
pub(super) struct Oracle {
    /// Frames by session and number.
    pub(super) content: BTreeMap<(String, u64), String>,
    /// The next number expected on a connection; `None` before its welcome.
    pub(super) next: BTreeMap<ConnectionId, u64>,
    pub(super) accepted: BTreeSet<(String, String)>,
    /// Jobs of sessions that get unconfirmed acceptances again.
    pub(super) resends: BTreeSet<(String, String)>,
    /// Positions seen by (session, job) in the present attachment, and whether it is over.
    attachments: BTreeMap<(String, String), (u64, bool)>,
    submitted: BTreeMap<String, String>,
    ends: BTreeMap<String, String>,
    pub(super) said_goodbye: BTreeSet<ConnectionId>,
}

impl Oracle {
    pub(super) fn see(&mut self, connection: ConnectionId, text: &str, resumed_from: u64) {
        let frame: Value = serde_json::from_str(text).unwrap();
        let session = frame["session_id"].as_str().unwrap().to_string();
        let kind = frame["type"].as_str().unwrap();
        assert!(self.said_goodbye.insert(connection) || kind == "never", "{kind} after a goodbye (SES-9)");
        if kind != "session.closed" {
            self.said_goodbye.remove(&connection);
        }
        let is_numbered = matches!(kind, "job.event" | "job.result" | "job.error");
        assert_eq!(frame["event_seq"].is_u64(), is_numbered, "SEQ-5: {text}");
        match kind {
            "session.welcome" => {
                self.next.insert(connection, resumed_from + 1);
            }
            "session.error" => {
                assert!(frame["payload"]["retryable"].is_boolean(), "WIR-5");
            }
            "job.accepted" => {
                let job = frame["job_id"].as_str().unwrap().to_string();
                self.submitted.entry(job.clone()).or_insert_with(|| session.clone());
                self.accepted.insert((session.clone(), job.clone()));
                // An acceptance may begin a new attachment, whose history starts over (D-83).
                let over =
                    self.attachments.get(&(session.clone(), job.clone())).is_some_and(|(_, over)| *over);
                if over {
                    self.attachments.remove(&(session, job));
                }
            }
            "job.subscribed" => {
                let job = frame["job_id"].as_str().unwrap().to_string();
                self.accepted.insert((session.clone(), job.clone()));
                if frame["payload"]["replayed"] == true {
                    self.attachments.remove(&(session, job));
                }
            }
            _ if is_numbered => self.numbered(connection, &session, &frame, text),
            _ => {}
        }
    }

    fn numbered(&mut self, connection: ConnectionId, session: &str, frame: &Value, text: &str) {
        let seq = frame["event_seq"].as_u64().unwrap();
        let next = self.next.get_mut(&connection).expect("a welcome comes first");
        assert_eq!(seq, *next, "SEQ-2");
        *next += 1;
        let known =
            self.content.entry((session.to_string(), seq)).or_insert_with(|| text.to_string()).clone();
        assert_eq!(known, text, "SEQ-3");
        let job = frame["job_id"].as_str().unwrap().to_string();
        let place = (session.to_string(), job.clone());
        // Whose reply died with its connection sees events first, unless acceptances are sent to it again (D-66).
        assert!(self.accepted.contains(&place) || !self.resends.contains(&place), "JOB-4: {text}");
        let is_end = frame["type"] != "job.event";
        if let Some(pos) = frame["payload"]["pos"].as_u64() {
            let (last, over) = self.attachments.get(&place).copied().unwrap_or((0, false));
            // The same number may come again after a resume.
            if pos > last {
                assert!(!over, "JOB-3: {text}");
                self.attachments.insert(place, (pos, is_end));
            }
        }
        if is_end {
            let mut end = frame["payload"].clone();
            end["result"] = Value::Null;
            end["output"] = Value::Null;
            let known = self.ends.entry(job).or_insert_with(|| end.to_string()).clone();
            assert_eq!(known, end.to_string(), "JOB-2: one end, the same everywhere");
        }
    }
}
