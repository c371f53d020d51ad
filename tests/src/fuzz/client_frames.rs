//! A client against a runtime that sends anything.

use std::time::Duration;

use arcp_proto::client::Subscription;
use arcp_proto::feature::{Feature, Features};
use arcp_proto::id::JobId;
use arcp_proto::lease::LeaseRequest;
use arcp_proto::wire::{Envelope, EventSeq, ScanLimits};
use serde_json::{Value, json};

use super::choices::Choices;
use super::peer::Peer;

/// Gives the lines of the input to a client as frames of its runtime; a line that begins with a byte below 32 does
/// something else instead: cuts, time, the application. Whatever it was, no number is handed on twice, no job ends more
/// often than it was asked for, no timer stays due, and unless its session is over the client finds back into one
/// (WIR-1).
pub fn client_frames(data: &[u8]) {
    let (kind, frames) = data.split_first().unwrap_or((&0, data));
    let features = match kind % 4 {
        0 | 1 => Features::SUPPORTED,
        2 => Features::SUPPORTED.without(Feature::Core),
        _ => Features::NONE,
    };
    let mut world = World { peer: Peer::new("tk", 7), features, sessions: 0, attached: 1 };
    world.peer.submit_with("k-1", LeaseRequest::default(), kind & 16 != 0);
    world.peer.open();
    if kind % 8 < 4 {
        world.welcome(false);
        world.accept();
    }
    for line in frames.split(|byte| *byte == b'\n').take(256) {
        match line.split_first() {
            None => {}
            Some((operation @ 0..32, rest)) => world.operate(*operation, &mut Choices::new(rest)),
            Some(_) => world.receive(line),
        }
    }
    world.comes_back();
}

struct World {
    peer: Peer,
    features: Features,
    sessions: u32,
    /// How often a job was asked for.
    attached: u32,
}

impl World {
    /// Gives a frame, in which `$JOB` stands for the client's newest job, and so on.
    fn receive(&mut self, frame: &[u8]) {
        let text = String::from_utf8_lossy(frame);
        if !text.contains('$') {
            return self.receive_twice(frame);
        }
        let asked = self.peer.sent.back().and_then(|sent| serde_json::from_str::<Value>(sent).ok());
        let names = [
            ("$JOB", self.peer.jobs.last().cloned().unwrap_or_default()),
            ("$SESSION", self.peer.client.session_id().map(ToString::to_string).unwrap_or_default()),
            ("$REQUEST", asked.unwrap_or_default()["id"].as_str().unwrap_or_default().to_owned()),
        ];
        let text = names.iter().fold(text.into_owned(), |text, (name, value)| text.replace(name, value));
        self.receive_twice(text.as_bytes());
    }

    /// An event that comes again at once is nothing new.
    fn receive_twice(&mut self, frame: &[u8]) {
        self.peer.receive(frame);
        let is_event = Envelope::decode(frame, &ScanLimits::CLIENT).is_ok_and(|envelope| {
            envelope.message_type == "job.event" && matches!(envelope.event_seq, EventSeq::Number(_))
        });
        if is_event && self.peer.client.is_connected() && self.peer.client.may_read() {
            let ignored = self.peer.client.ignored_frames();
            self.peer.receive(frame);
            assert!(self.peer.client.is_connected(), "a repeated event broke the connection");
            assert_eq!(self.peer.client.ignored_frames(), ignored + 1);
        }
    }

    /// Says welcome: to a new session, or to the one the client asks to continue.
    fn welcome(&mut self, is_new: bool) {
        let known = self.peer.client.session_id().map(ToString::to_string).filter(|_| !is_new);
        self.sessions += 1;
        let session = known.unwrap_or_else(|| format!("sess_{}", self.sessions));
        let features: Vec<_> = self.features.iter().map(Feature::as_str).collect();
        let payload = json!({
            "session_id": session, "resume_token": format!("rt_{}", self.sessions), "heartbeat_interval_sec": 30,
            "capabilities": {"features": features},
        });
        self.say("session.welcome", None, &payload);
    }

    /// Accepts the newest submit.
    fn accept(&mut self) {
        let mut submits = self.peer.sent.iter().filter_map(|sent| serde_json::from_str::<Value>(sent).ok());
        if let Some(submit) = submits.rfind(|sent| sent["type"] == "job.submit") {
            let job = format!("job_{}", submit["payload"]["idempotency_key"].as_str().unwrap_or_default());
            self.say(
                "job.accepted",
                Some(&job),
                &json!({"job_id": job, "request_id": submit["id"], "lease": {}}),
            );
        }
    }

    fn say(&mut self, message_type: &str, job: Option<&str>, payload: &Value) {
        let session = match self.peer.client.session_id() {
            Some(session) if message_type != "session.welcome" => json!(session.as_str()),
            _ => payload["session_id"].clone(),
        };
        let job = job.map_or_else(String::new, |job| format!(r#","job_id":"{job}""#));
        let frame = format!(
            r#"{{"arcp":"1.1","id":"msg_r","type":"{message_type}","session_id":{session}{job},"payload":{payload}}}"#
        );
        self.peer.receive(frame.as_bytes());
    }

    fn operate(&mut self, operation: u8, choices: &mut Choices<'_>) {
        let peer = &mut self.peer;
        let job = peer.jobs.last().and_then(|job| JobId::new(job));
        match (operation, job) {
            (0, _) => peer.cut(),
            (1, _) => {
                if !peer.wants_transport {
                    peer.pass(Duration::from_secs(30));
                }
                if peer.wants_transport {
                    peer.open();
                    self.welcome(choices.below(4) == 3);
                }
            }
            (2, _) => {
                let next = peer.client.poll_timeout().map(|at| at.since(peer.now.mono));
                peer.pass(next.unwrap_or_default());
            }
            (3, _) => peer.pass(Duration::from_millis(50) * u32::from(choices.byte())),
            (4, _) => peer.take(choices.below(256)),
            (5, _) => {
                self.attached += 1;
                // A key always names the same submit.
                let (key, lease) = match choices.below(4) {
                    3 => ("k-3", LeaseRequest::default().grant("tool.call", ["*"]).budget("USD:1")),
                    number => (["k-0", "k-1", "k-2"][number], LeaseRequest::default()),
                };
                peer.submit(key, lease);
            }
            (6, _) => self.accept(),
            (7, Some(job)) => drop(peer.client.cancel(peer.now, &job, None)),
            (8, _) => {
                self.attached += 1;
                let starts = [Subscription::Live, Subscription::History];
                let (job, start) =
                    (JobId::new(&format!("job_k-{}", choices.below(4))), choices.pick(&starts));
                let _ = job.map(|job| peer.client.subscribe(peer.now, &job, start));
            }
            (9, Some(job)) => peer.client.unsubscribe(peer.now, &job),
            (10, Some(job)) => peer.client.abandon(peer.now, &job),
            (11, _) => peer.client.handle_oversized(peer.now),
            (12, _) => peer.client.close(peer.now, Some("enough".to_owned())),
            (13, _) => peer.client.reconnect_now(peer.now),
            (14, _) => peer.client.taken(peer.now, choices.number()),
            (15, _) => {
                if let Some(submit) = peer.submits.get(choices.below(4)) {
                    peer.client.abandon_children(peer.now, *submit);
                }
            }
            (16, Some(parent)) => self.say_of_child(choices, &parent),
            _ => {}
        }
        self.peer.drain();
    }

    /// Says something that matters for the children of a job: without a number, which nothing of a child needs.
    fn say_of_child(&mut self, choices: &mut Choices<'_>, parent: &JobId) {
        let number = choices.below(4);
        let (child, delegation) = (format!("job_c{number}"), format!("dlg_{number}"));
        let parent = match choices.below(3) {
            0 => format!("job_c{}", (number + 3) % 4),
            1 => "job_k-1".to_owned(),
            _ => parent.to_string(),
        };
        let error = json!({"code": "PERMISSION_DENIED", "message": "m", "retryable": false});
        let body = json!({"delegate_id": delegation, "child_job_id": child, "agent": "c"});
        let pos = choices.below(8) + 1;
        match choices.below(6) {
            0 => self.say(
                "job.accepted",
                Some(&child),
                &json!({"job_id": child, "parent_job_id": parent, "delegate_id": delegation}),
            ),
            1 => self.say("job.event", Some(&parent), &json!({"kind": "delegate", "pos": pos, "body": body})),
            2 => {
                let body = json!({"call_id": delegation, "error": error});
                self.say(
                    "job.event",
                    Some(&parent),
                    &json!({"kind": "tool_result", "pos": pos, "body": body}),
                );
            }
            3 => self.say("job.event", Some(&child), &json!({"kind": "log", "pos": pos, "body": {}})),
            4 => self.say("job.result", Some(&child), &json!({"pos": pos, "result": 1})),
            _ => {
                let asked = self.peer.sent.iter().rfind(|sent| sent.contains("job.subscribe"));
                let asked = asked.and_then(|sent| serde_json::from_str::<Value>(sent).ok());
                let answer = json!({
                    "request_id": asked.unwrap_or_default()["id"], "current_status": "running", "history_from": pos,
                });
                self.say("job.subscribed", Some(&child), &answer);
            }
        }
    }

    /// A runtime that behaves gets the client back, unless its session is over.
    fn comes_back(&mut self) {
        let peer = &mut self.peer;
        for (job, count) in &peer.ended {
            let told = peer.children.get(job).copied().unwrap_or_default();
            assert!(
                *count <= self.sessions + self.attached + told,
                "a job ended more often than it was asked for"
            );
        }
        peer.cut();
        if peer.is_closed() {
            assert_eq!(peer.client.poll_timeout(), None, "a session that is over waits for nothing");
            return;
        }
        if !peer.wants_transport {
            peer.pass(Duration::from_secs(30));
        }
        assert!(peer.wants_transport, "no transport is asked for: {:?}", peer.client);
        peer.open();
        assert_eq!(peer.sent.len(), 1, "a hello, and nothing before its answer");
        self.welcome(true);
        assert!(self.peer.client.is_connected(), "{:?}", self.peer.client);
    }
}
