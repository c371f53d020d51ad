//! Logs: what jobs produce, position by position, and the numbers that sessions are given (SEQ-1, SEQ-7, JOB-3, JOB-9, CHK-1).

use arcp_proto::id::SessionKey;
use arcp_proto::runtime::store::{EventRecord, Record};
use arcp_proto::wire::event::{Content, EventKind, LoggedEvent, Outcome};
use arcp_proto::wire::job::FinalStatus;

use super::read::hash;
use super::{Chunks, End, Entry, Happened, Kind, Oracle};

impl Oracle {
    pub(super) fn event_stored(&mut self, append: u64, record: &EventRecord) {
        let Some(job) = self.job(record.job.ulid().bits()) else {
            self.fail("JOB-1", format_args!("an event of a job that is not there"));
            return;
        };
        self.log_event(append, job, record.origin, &record.event);
        let pos = self.jobs[job].events.len() as u64;
        for (session, seq) in &record.deliveries {
            if let Some(session) = self.session(session.ulid().bits()) {
                self.number(append, session, *seq, (job, pos), true);
            }
        }
    }

    fn log_event(&mut self, append: u64, job: usize, origin: u64, event: &LoggedEvent) {
        let state = &mut self.jobs[job];
        let pos = state.events.len() as u64 + 1;
        if event.pos != Some(pos) {
            self.fail("JOB-9", format_args!("position {:?} of a job comes as its {pos}th event", event.pos));
            return;
        }
        if state.end.is_some() {
            self.fail("JOB-3", format_args!("an event behind the end of a job, at position {pos}"));
            return;
        }
        if state.events.last().is_some_and(|before| before.origin >= origin) {
            self.fail("JOB-9", format_args!("origin number {origin} at position {pos} does not rise"));
            return;
        }
        let (kind, body) = match &event.content {
            Content::Event { kind, body } => {
                let is_progress = *kind == EventKind::Progress;
                (if is_progress { Kind::Progress } else { Kind::Other }, hash(body.as_str().as_bytes()))
            }
            Content::Chunk { data, .. } => (Kind::Chunk, hash(data.as_str().as_bytes())),
            Content::Rotated { credential } => (Kind::Rotated, hash(&credential.ulid().bits().to_be_bytes())),
            Content::End(_) => (Kind::End, 1),
        };
        state.events.push(Happened { kind, origin, body });
        match &event.content {
            Content::Event { kind, body } => {
                if let Some(marker) = marker(kind, body.as_str()) {
                    let expected = self.jobs[job].last_marker + 1;
                    self.jobs[job].last_marker = marker;
                    if marker != expected {
                        let what = "the agent's events come in another order than it said them";
                        self.fail("JOB-9", format_args!("{what}: {marker} where {expected} is due"));
                    }
                }
            }
            Content::Chunk { result, chunk_seq, decoded_bytes, more, .. } => {
                let before = self.jobs[job].chunks;
                let expected = before.map_or(0, |chunks| chunks.next);
                let result = result.ulid().bits();
                let is_sound = before.is_none_or(|before| before.result == result && !before.complete);
                if *chunk_seq != expected || !is_sound {
                    self.fail("CHK-1", format_args!("chunk {chunk_seq} where {expected} is due"));
                }
                let bytes = before.map_or(0, |chunks| chunks.bytes) + decoded_bytes;
                self.jobs[job].chunks = Some(Chunks { result, next: expected + 1, bytes, complete: !more });
            }
            Content::Rotated { .. } => {}
            Content::End(terminal) => {
                let status = match terminal.status() {
                    FinalStatus::Success => "success",
                    FinalStatus::Error => "error",
                    FinalStatus::Cancelled => "cancelled",
                    FinalStatus::TimedOut => "timed_out",
                };
                let code = match &terminal.outcome {
                    Outcome::Failed(error) => Some(error.code.as_str()),
                    Outcome::Inline(_) | Outcome::Streamed { .. } => None,
                };
                self.judge_chunks(job, &terminal.outcome);
                self.jobs[job].end = Some(End { status, code });
                self.jobs[job].end_append = append;
                self.judge_end(job);
                if matches!(&terminal.outcome, Outcome::Failed(error)
                    if error.details.member() == Some(("reason", "runtime_restarted")))
                {
                    self.judge_interrupted(job);
                }
            }
        }
    }

    fn judge_chunks(&mut self, job: usize, outcome: &Outcome) {
        match (outcome, self.jobs[job].chunks) {
            (Outcome::Streamed { result, size }, Some(chunks)) => {
                if chunks.result != result.ulid().bits() || !chunks.complete {
                    self.fail(
                        "CHK-1",
                        format_args!("a streamed result without its last chunk, or of another id"),
                    );
                } else if *size != chunks.bytes {
                    self.fail(
                        "CHK-2",
                        format_args!("a result of {size} bytes from chunks of {}", chunks.bytes),
                    );
                }
            }
            (Outcome::Streamed { .. }, None) => {
                self.fail("CHK-2", format_args!("a streamed result without chunks"));
            }
            (Outcome::Inline(_), Some(_)) => {
                self.fail("CHK-2", format_args!("an inline result behind chunks"));
            }
            _ => {}
        }
    }

    /// Numbers are given to the store in their order, also those of one append.
    pub(super) fn judge_order(&mut self, records: &[Record]) {
        let mut newest: Vec<(SessionKey, u64)> = Vec::new();
        let mut note =
            |session: SessionKey, seq: u64| match newest.iter_mut().find(|(known, _)| *known == session) {
                Some((_, before)) => std::mem::replace(before, seq) < seq,
                None => {
                    newest.push((session, seq));
                    true
                }
            };
        let is_sorted = records.iter().all(|record| match record {
            Record::Event(record) => record.deliveries.iter().all(|(session, seq)| note(*session, *seq)),
            Record::Deliver { session, first_seq, positions, .. } if !positions.is_empty() => {
                note(*session, *first_seq)
            }
            Record::Notice { session, seq, .. } => note(*session, *seq),
            _ => true,
        });
        if !is_sorted {
            self.fail("SEQ-11", format_args!("numbers of one append are not in their order"));
        }
    }

    /// A session is given a number.
    pub(super) fn number(
        &mut self,
        append: u64,
        session: usize,
        seq: u64,
        (job, pos): (usize, u64),
        is_live: bool,
    ) {
        let due = self.sessions[session].log.len() as u64 + 1;
        let before = std::mem::replace(&mut self.sessions[session].numbered_in, self.incarnation);
        if seq != due {
            let is_first_since_restart = due > 1 && before != self.incarnation;
            let property = if is_first_since_restart { "SEQ-7" } else { "SEQ-1" };
            self.fail(property, format_args!("number {seq} is stored where {due} is due"));
            return;
        }
        if pos > 0 && !self.is_negotiated(session, self.happened(job, pos).kind) {
            self.fail("SES-7", format_args!("an event of a kind that was not negotiated is numbered, {seq}"));
        }
        self.sessions[session].log.push(Entry { append, job, pos, digest: 0, is_live });
    }
}

/// What an agent of this world put into an event to tell it from the others.
fn marker(kind: &EventKind, body: &str) -> Option<u64> {
    let before = match kind {
        EventKind::Log => "\"message\":\"",
        EventKind::Thought => "\"text\":\"",
        EventKind::Progress => "\"current\":",
        EventKind::Metric => "\"n\":\"",
        EventKind::ToolCall => "\"call_id\":\"c",
        EventKind::ToolResult => {
            // Answers to calls carry the number of the call, which they follow.
            let start = body.find("\"call_id\":\"c")? + "\"call_id\":\"c".len();
            return number(&body[start..]).map(|marker| marker + 1);
        }
        _ => return None,
    };
    let start = body.find(before)? + before.len();
    number(&body[start..])
}

fn number(text: &str) -> Option<u64> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}
