//! What one session was sent, judged frame by frame.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

/// What a session counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) jobs: u64,
    pub(super) interrupted: u64,
    pub(super) events: u64,
    pub(super) resubmits: u64,
}

/// Whether the job of this number is one that sleeps for so many milliseconds, and cannot be run again; the others count to it,
/// and go on after a kill.
pub(super) const fn sleeps(number: u64) -> bool {
    number % 5 == 4
}

/// How long a job sleeps.
#[expect(clippy::cast_precision_loss, reason = "small")]
pub(super) fn seconds(number: u64) -> f64 {
    number as f64 / 1e3
}

/// A job of this session.
#[derive(Debug)]
struct Job {
    id: Option<String>,
    /// What its agent counts to, or how long it sleeps.
    to: u64,
    /// How often its key was sent again; each may begin its stream once more.
    again: u64,
    /// By position from 1: what was there.
    seen: Vec<u64>,
    /// The position that came last in the stream as it is now.
    last: u64,
    /// The stream as it is now has had its end.
    ended: bool,
    /// The job has had its end in some stream.
    is_over: bool,
}

/// The account of one session over all its connections.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// The last number.
    pub(super) last: u64,
    /// By key.
    jobs: HashMap<String, Job>,
    /// Key by job id.
    keys: HashMap<String, String>,
    pub(super) tally: Tally,
}

impl Account {
    /// A key is about to be sent, perhaps once more.
    pub(super) fn submits(&mut self, key: &str, to: u64) {
        match self.jobs.get_mut(key) {
            Some(job) => {
                job.again += 1;
                self.tally.resubmits += 1;
            }
            None => {
                let job =
                    Job { id: None, to, again: 0, seen: Vec::new(), last: 0, ended: false, is_over: false };
                self.jobs.insert(key.to_owned(), job);
            }
        }
    }

    /// Jobs that have not ended: their keys and what they count to.
    pub(super) fn open(&self) -> impl Iterator<Item = (&str, u64, bool)> {
        let open = self.jobs.iter().filter(|(_, job)| !job.is_over);
        open.map(|(key, job)| (key.as_str(), job.to, job.id.is_some()))
    }

    /// Any job that has ended.
    pub(super) fn ended(&self, choice: u64) -> Option<(&str, u64)> {
        let mut ended: Vec<_> = self.jobs.iter().filter(|(_, job)| job.is_over).collect();
        ended.sort_unstable_by_key(|(key, _)| key.as_str());
        let index = usize::try_from(choice % ended.len().max(1) as u64).unwrap_or(0);
        ended.get(index).map(|(key, job)| (key.as_str(), job.to))
    }

    /// Whether streams that were begun once more are still going on.
    pub(super) fn is_mid_stream(&self) -> bool {
        self.jobs.values().any(|job| !job.ended)
    }

    /// A key was answered with a job.
    pub(super) fn accepted(&mut self, key: &str, id: &str) -> Result<(), String> {
        let job =
            self.jobs.get_mut(key).ok_or_else(|| format!("an acceptance of {key}, which was not sent"))?;
        match &job.id {
            Some(known) if known != id => {
                return Err(format!("{key} was {known} and is answered with {id}"));
            }
            Some(_) => return Ok(()),
            None => job.id = Some(id.to_owned()),
        }
        self.tally.jobs += 1;
        match self.keys.insert(id.to_owned(), key.to_owned()) {
            Some(other) => Err(format!("{id} is the job of {other} and of {key}")),
            None => Ok(()),
        }
    }

    /// A numbered frame.
    pub(super) fn numbered(&mut self, seq: u64, frame: &Value) -> Result<(), String> {
        if seq != self.last + 1 {
            return Err(format!("number {seq} where {} is due", self.last + 1));
        }
        self.last = seq;
        self.tally.events += 1;
        let id = frame["job_id"].as_str().unwrap_or_default();
        let key =
            self.keys.get(id).ok_or_else(|| format!("number {seq} is of {id}, which was not accepted"))?;
        let job = self.jobs.get_mut(key).ok_or_else(|| format!("{key} is not known"))?;
        let payload = &frame["payload"];
        let Some(pos) = payload["pos"].as_u64() else {
            // A word to this session that is no event of the job: it lags, as one that acknowledges nothing must.
            let is_notice = frame["type"] == "job.event" && payload["kind"] == "status";
            return if is_notice { Ok(()) } else { Err(format!("number {seq} has no position: {payload}")) };
        };
        // Of a job that ended long ago only the newest part may be kept, its end always.
        if job.again > 0 && (job.ended || pos == 1 && job.last > 0) {
            job.again -= 1;
            (job.last, job.ended) = (pos.saturating_sub(1), false);
        }
        if job.ended {
            return Err(format!("position {pos} of {id} behind its end"));
        }
        if pos != job.last + 1 {
            return Err(format!("position {pos} of {id} where {} is due", job.last + 1));
        }
        job.last = pos;
        // What it is apart from the number it has in this attachment.
        let kind = frame["type"].as_str().unwrap_or_default();
        let content = digest(kind, payload);
        match job.seen.get(usize::try_from(pos - 1).unwrap_or(usize::MAX)) {
            Some(before) if *before != content => return Err(format!("position {pos} of {id} has changed")),
            Some(_) => {}
            None => job.seen.push(content),
        }
        let (to, first) = (job.to, !job.is_over);
        job.ended = kind != "job.event";
        job.is_over |= job.ended;
        match kind {
            "job.event" => progress(payload, pos, to),
            "job.result" => result(payload, pos, to),
            _ => {
                self.tally.interrupted += u64::from(first);
                interrupted(payload)
            }
        }
        .map_err(|what| format!("position {pos} of {id}: {what}"))
    }
}

fn digest(kind: &str, payload: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, payload.to_string()).hash(&mut hasher);
    hasher.finish()
}

/// The agent counts one further with each event, or says once that it sleeps.
fn progress(payload: &Value, pos: u64, to: u64) -> Result<(), String> {
    let body = &payload["body"];
    if sleeps(to) {
        let is_word = payload["kind"] == "status" && body["phase"] == "sleeping" && pos == 1;
        return if is_word { Ok(()) } else { Err(format!("not the word of a sleeper: {payload}")) };
    }
    if payload["kind"] != "progress"
        || body["current"].as_u64() != Some(pos)
        || body["total"].as_u64() != Some(to)
    {
        return Err(format!("not the count {pos} of {to}: {payload}"));
    }
    Ok(())
}

fn result(payload: &Value, pos: u64, to: u64) -> Result<(), String> {
    let (is_right, due) = if sleeps(to) {
        (payload["result"].as_f64() == Some(seconds(to)), 2)
    } else {
        (payload["result"].as_u64() == Some(to), to + 1)
    };
    if !is_right || pos != due || payload["final_status"] != "success" {
        return Err(format!("not the result of job {to}: {payload}"));
    }
    Ok(())
}

/// The only way a job here can fail.
fn interrupted(payload: &Value) -> Result<(), String> {
    if payload["code"] != "INTERNAL_ERROR" || payload["retryable"] != true {
        return Err(format!("not the end of an interrupted job: {payload}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(seq: u64, pos: u64) -> (u64, Value) {
        let body = json!({"current": pos, "total": 2, "units": "numbers"});
        (
            seq,
            json!({"type": "job.event", "job_id": "j", "payload": {"kind": "progress", "pos": pos, "body": body}}),
        )
    }

    fn end(seq: u64) -> (u64, Value) {
        (
            seq,
            json!({"type": "job.result", "job_id": "j",
            "payload": {"pos": 3, "final_status": "success", "result": 2}}),
        )
    }

    fn account(frames: &[(u64, Value)]) -> (Account, Result<(), String>) {
        let mut account = Account::default();
        account.submits("k", 2);
        account.accepted("k", "j").unwrap();
        let judged = frames.iter().try_for_each(|(seq, frame)| account.numbered(*seq, frame));
        (account, judged)
    }

    #[test]
    fn a_whole_stream_is_sound() {
        let (account, judged) = account(&[event(1, 1), event(2, 2), end(3)]);
        assert_eq!(judged, Ok(()));
        assert_eq!((account.open().count(), account.tally.events, account.tally.interrupted), (0, 3, 0));
    }

    #[test]
    fn what_is_lost_doubled_or_changed_is_told() {
        for (frames, what) in [
            (vec![event(2, 1)], "number 2 where 1 is due"),
            (vec![event(1, 1), event(1, 1)], "number 1 where 2 is due"),
            (vec![event(1, 2)], "position 2 of j where 1 is due"),
            (vec![event(1, 1), event(2, 1)], "position 1 of j where 2 is due"),
            (vec![event(1, 1), event(2, 2), end(3), end(4)], "position 3 of j behind its end"),
        ] {
            assert_eq!(account(&frames).1, Err(what.to_owned()));
        }
    }

    #[test]
    fn a_key_sent_again_may_begin_its_stream_once_more_with_the_same_content() {
        let (mut account, judged) = account(&[event(1, 1), event(2, 2), end(3)]);
        assert_eq!(judged, Ok(()));
        account.submits("k", 2);
        assert!(account.accepted("k", "other").is_err());
        assert_eq!(account.accepted("k", "j"), Ok(()));
        for (seq, frame) in [event(4, 1), event(5, 2), end(6)] {
            assert_eq!(account.numbered(seq, &frame), Ok(()));
        }
        let (seq, frame) = event(7, 1);
        assert_eq!(account.numbered(seq, &frame), Err("position 1 of j behind its end".to_owned()));
    }

    #[test]
    fn of_what_is_forgotten_the_end_comes_again() {
        let (mut account, _) = account(&[event(1, 1), event(2, 2), end(3)]);
        account.submits("k", 2);
        let (seq, frame) = end(4);
        assert_eq!(account.numbered(seq, &frame), Ok(()));
        let (seq, frame) = end(5);
        assert_eq!(account.numbered(seq, &frame), Err("position 3 of j behind its end".to_owned()));
    }

    #[test]
    fn a_sleeper_says_one_thing_and_returns_how_long_it_slept() {
        let word = json!({"type": "job.event", "job_id": "j",
            "payload": {"kind": "status", "pos": 1, "body": {"phase": "sleeping"}}});
        let end = |result: f64| {
            json!({"type": "job.result", "job_id": "j",
                "payload": {"pos": 2, "final_status": "success", "result": result}})
        };
        for (result, is_right) in [(0.014, true), (14.0, false)] {
            let mut account = Account::default();
            account.submits("k", 14);
            account.accepted("k", "j").unwrap();
            assert_eq!(account.numbered(1, &word), Ok(()));
            assert_eq!(account.numbered(2, &end(result)).is_ok(), is_right);
        }
    }

    #[test]
    fn only_interrupted_jobs_fail() {
        let fail = |code: &str| json!({"type": "job.error", "job_id": "j", "payload": {"pos": 1, "code": code, "retryable": true}});
        let (interrupted, judged) = account(&[(1, fail("INTERNAL_ERROR"))]);
        assert_eq!((judged, interrupted.tally.interrupted), (Ok(()), 1));
        assert!(account(&[(1, fail("TIMEOUT"))]).1.is_err());
    }
}
