//! One session: a client that speaks JSON and resumes with what it has.

use std::time::Duration;

use arcp_driver::transport::{Incoming, Outgoing};
use arcp_driver::websocket::ConnectOptions;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::account::{Account, Tally, seconds, sleeps};
use super::{Orders, PATIENCE};
use crate::random::Random;

/// Jobs a session has at a time.
const AT_A_TIME: usize = 2;
/// After so long without a frame it is quiet.
const QUIET: Duration = Duration::from_millis(250);
/// What it negotiates.
pub(super) const FEATURES: [&str; 5] = ["ack", "list_jobs", "progress", "subscribe", "x-vendor.arcp-rs.1"];

/// What a session says of itself.
#[derive(Debug)]
pub(super) enum News {
    /// It was resumed.
    Resumed,
    /// A key was answered with a job.
    Accepted { session: usize },
    /// A submit was refused because there is no room to store it.
    Refused,
    /// It is on this start of the runtime, and every job that an earlier one was running has ended.
    Settled { session: usize, start: u64 },
    /// All its jobs have ended.
    Finished(Tally),
    /// A promise was broken.
    Broken { session: usize, what: String },
}

pub(super) struct Session {
    index: usize,
    token: String,
    random: Random,
    news: mpsc::UnboundedSender<News>,
    account: Account,
    /// Id and resume token, once there is a session.
    known: Option<(String, String)>,
    /// Requests that wait for their answer, with the key.
    asked: Vec<(String, String)>,
    next: u64,
    /// Jobs that ran when the runtime was lost, by key.
    interrupted: Vec<String>,
    acknowledges: bool,
    /// The runtime has no room, as far as is known.
    is_refused: bool,
}

/// Why a connection ended.
enum End {
    Lost,
    Finished,
}

impl Session {
    pub(super) fn new(index: usize, token: String, seed: u64, news: mpsc::UnboundedSender<News>) -> Self {
        Self {
            index,
            token,
            random: Random::new(seed),
            news,
            account: Account::default(),
            known: None,
            asked: Vec::new(),
            next: 0,
            interrupted: Vec::new(),
            acknowledges: true,
            is_refused: false,
        }
    }

    /// Keeps everything replayable from its beginning.
    pub(super) fn without_acknowledgements(mut self) -> Self {
        self.acknowledges = false;
        self
    }

    /// Lives until all is done or something is broken.
    pub(super) async fn run(mut self, mut orders: watch::Receiver<Orders>) {
        let session = self.index;
        let last = match self.live(&mut orders).await {
            Ok(()) => News::Finished(self.account.tally),
            Err(what) => News::Broken { session, what },
        };
        let _ = self.news.send(last);
    }

    async fn live(&mut self, orders: &mut watch::Receiver<Orders>) -> Result<(), String> {
        loop {
            let Some((start, url)) = orders.borrow_and_update().url.clone() else {
                orders.changed().await.map_err(|_| "the test ended")?;
                continue;
            };
            match self.connection(start, &url, orders).await? {
                End::Finished => return Ok(()),
                // The runtime is dead, or about to be started again.
                End::Lost => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn connection(
        &mut self,
        start: u64,
        url: &str,
        orders: &mut watch::Receiver<Orders>,
    ) -> Result<End, String> {
        let options = ConnectOptions::default();
        let Ok(mut transport) = arcp_tokio::websocket::connect(url, &options).await else {
            return Ok(End::Lost);
        };
        let hello = self.hello();
        if transport.send(Outgoing::Frame(hello)).await.is_err() {
            return Ok(End::Lost);
        }
        let mut is_open = false;
        let mut is_settled = false;
        let mut silence = 0;
        loop {
            let frame = match timeout(QUIET, transport.next()).await {
                Err(_) => {
                    silence += 1;
                    if silence * QUIET >= PATIENCE / 2 {
                        return Err(format!("nothing more comes: {}", self.waits_for()));
                    }
                    // Where agents are held it takes a question to learn why.
                    if is_open && silence == 2 && self.account.open().count() < 2 * AT_A_TIME {
                        let submit = self.submit_another();
                        if transport.send(Outgoing::Frame(submit)).await.is_err() {
                            return Ok(End::Lost);
                        }
                    }
                    continue;
                }
                Ok(Some(Ok(Incoming::Frame(frame)))) => frame,
                Ok(Some(Ok(_))) => continue,
                Ok(None | Some(Err(_))) => return Ok(End::Lost),
            };
            silence = 0;
            let frame: Value = serde_json::from_slice(&frame)
                .map_err(|error| format!("a frame that is not JSON: {error}"))?;
            self.hear(&frame)?;
            is_open |= frame["type"] == "session.welcome";
            if !is_open {
                continue;
            }
            let finish = orders.borrow_and_update().finish;
            if std::mem::take(&mut self.is_refused) {
                sleep(Duration::from_millis(50)).await;
            }
            for text in self.say(finish) {
                if transport.send(Outgoing::Frame(text)).await.is_err() {
                    return Ok(End::Lost);
                }
            }
            if !is_settled && self.is_settled() {
                is_settled = true;
                let _ = self.news.send(News::Settled { session: self.index, start });
            }
            if finish && self.asked.is_empty() && !self.account.is_mid_stream() {
                return Ok(End::Finished);
            }
        }
    }

    fn waits_for(&self) -> String {
        let open: Vec<_> = self.account.open().collect();
        format!("open are {open:?}, asked was {:?}, the last number is {}", self.asked, self.account.last)
    }

    fn hello(&mut self) -> String {
        let id = self.fresh_id();
        let resume = self.known.as_ref().map(|(session, token)| {
            json!({"session_id": session, "resume_token": token, "last_event_seq": self.account.last})
        });
        let mut payload = json!({
            "client": {"name": "crash", "version": "0"},
            "auth": {"scheme": "bearer", "token": self.token},
            "capabilities": {"encodings": ["json"], "features": FEATURES},
        });
        if let Some(resume) = resume {
            payload["resume"] = resume;
        }
        json!({"arcp": "1.1", "id": id, "type": "session.hello", "payload": payload}).to_string()
    }

    fn hear(&mut self, frame: &Value) -> Result<(), String> {
        let payload = &frame["payload"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().unwrap_or_default() {
            "session.welcome" => self.welcomed(payload),
            "job.accepted" => {
                let answered = text(&payload["request_id"]);
                let Some(at) = self.asked.iter().position(|(id, _)| *id == answered) else {
                    // One that was not confirmed comes again before what it announces.
                    return self.accepted_before(&answered, &text(&frame["job_id"]));
                };
                let (_, key) = self.asked.swap_remove(at);
                let _ = self.news.send(News::Accepted { session: self.index });
                self.account.accepted(&key, &text(&frame["job_id"]))
            }
            "job.event" | "job.result" | "job.error" => {
                let seq = frame["event_seq"].as_u64().ok_or("a numbered frame without a number")?;
                self.account.numbered(seq, frame)
            }
            "session.error" => self.refused(payload),
            "session.status" => Ok(()),
            other => Err(format!("nobody asked for {other}: {payload}")),
        }
    }

    /// Only a full disk refuses anything here, and what it refuses is asked again.
    fn refused(&mut self, payload: &Value) -> Result<(), String> {
        let asked = self.asked.iter().position(|(id, _)| payload["request_id"] == id.as_str());
        let Some(asked) = asked.filter(|_| payload["details"]["limit"] == "storage") else {
            return Err(format!("refused: {payload}"));
        };
        self.asked.swap_remove(asked);
        self.is_refused = true;
        let _ = self.news.send(News::Refused);
        Ok(())
    }

    /// The request's id names its key, so that answers of earlier connections are understood.
    fn accepted_before(&mut self, request: &str, job: &str) -> Result<(), String> {
        let key = request.split_once('.').map(|(_, key)| key.to_owned());
        let key = key.ok_or_else(|| format!("an acceptance for {request}, which was not asked"))?;
        self.account.accepted(&key, job)
    }

    fn welcomed(&mut self, payload: &Value) -> Result<(), String> {
        let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
        let session = text("session_id");
        if let Some((known, _)) = &self.known {
            if *known != session {
                return Err(format!("{known} is resumed as {session}"));
            }
            let _ = self.news.send(News::Resumed);
        }
        self.known = Some((session, text("resume_token")));
        // What was accepted and has not ended was running when the runtime died.
        let accepted = self.account.open().filter(|(.., accepted)| *accepted);
        self.interrupted = accepted.map(|(key, ..)| key.to_owned()).collect();
        self.asked.clear();
        Ok(())
    }

    fn is_settled(&self) -> bool {
        let open: Vec<&str> = self.account.open().map(|(key, ..)| key).collect();
        self.interrupted.iter().all(|key| !open.contains(&key.as_str()))
    }

    /// What there is to be sent now.
    fn say(&mut self, finish: bool) -> Vec<String> {
        let mut frames = Vec::new();
        // Keys without an answer are sent again.
        let unanswered: Vec<(String, u64)> = self
            .account
            .open()
            .filter(|(key, _, accepted)| !accepted && !self.asked.iter().any(|(_, asked)| asked == key))
            .map(|(key, to, _)| (key.to_owned(), to))
            .collect();
        for (key, to) in unanswered {
            frames.push(self.submit(key, to));
        }
        if finish {
            return frames;
        }
        while self.account.open().count() < AT_A_TIME {
            frames.push(self.submit_another());
        }
        if self.asked.is_empty()
            && self.random.below(200) == 0
            && let Some((key, to)) = self.account.ended(self.random.next_u64())
        {
            let key = key.to_owned();
            frames.push(self.submit(key, to));
        }
        if self.acknowledges && self.random.below(8) == 0 && self.account.last > 0 {
            let id = self.fresh_id();
            let payload = json!({"last_processed_seq": self.account.last});
            frames.push(self.envelope(&id, "session.ack", &payload));
        }
        frames
    }

    fn submit_another(&mut self) -> String {
        self.next += 1;
        let key = format!("key-{}-{}", self.index, self.next);
        let to = 1 + self.random.below(120);
        self.submit(key, to)
    }

    fn submit(&mut self, key: String, to: u64) -> String {
        self.account.submits(&key, to);
        let id = format!("{}.{key}", self.fresh_id());
        // The same parameters for the same key.
        let payload = if sleeps(to) {
            json!({"agent": "sleep", "input": {"seconds": seconds(to)}, "idempotency_key": key})
        } else {
            json!({"agent": "count", "input": {"to": to, "delay_ms": to % 4}, "idempotency_key": key})
        };
        let frame = self.envelope(&id, "job.submit", &payload);
        self.asked.push((id, key));
        frame
    }

    fn envelope(&self, id: &str, kind: &str, payload: &Value) -> String {
        let session = self.known.as_ref().map(|(session, _)| session.as_str());
        json!({"arcp": "1.1", "id": id, "type": kind, "session_id": session, "payload": payload}).to_string()
    }

    fn fresh_id(&mut self) -> String {
        format!("m{:016x}", self.random.next_u64())
    }
}
