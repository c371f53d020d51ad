//! Numbered frames: order, content, and whose they are (SEQ-2, SEQ-3, SEQ-6, SEQ-8, JOB-3, JOB-4, VIS-4, VIS-5).

use super::read::{Body, Envelope, EventPayload, hash};
use super::secrets::redacted;
use super::{Kind, Oracle, read};

impl Oracle {
    /// Number `seq` of a session is handed to a transport; the job and position behind it if this is the first time, and
    /// whether nobody has claimed to have it before.
    pub(super) fn deliver(
        &mut self,
        link: usize,
        session: usize,
        seq: u64,
        job: u128,
        frame: &[u8],
    ) -> Option<(usize, u64, bool)> {
        if self.sessions[session].link != Some(link) {
            self.fail("SES-4", format_args!("number {seq} on a connection that was replaced"));
            return None;
        }
        let connection = &mut self.connections[link];
        // What somebody else acknowledged is let go of, and not sent again.
        let is_cut_short = connection.is_tainted
            && seq > connection.last + 1
            && self.sessions[session].let_go >= seq.saturating_sub(1);
        if std::mem::take(&mut connection.is_unsure) || is_cut_short {
            // What was claimed shows in the first number that comes.
            let sent = self.sessions[session].sent;
            self.skip(session, sent, seq.saturating_sub(1));
            self.connections[link].last = seq.saturating_sub(1);
        }
        let due = self.connections[link].last + 1;
        if seq != due {
            let property = if self.connections[link].read_failed { "SEQ-8" } else { "SEQ-2" };
            self.fail(property, format_args!("number {seq} where {due} is due"));
            return None;
        }
        self.connections[link].last = seq;
        let index = usize::try_from(seq - 1).unwrap_or(usize::MAX);
        let Some(entry) = self.sessions[session].log.get(index).copied() else {
            self.fail("SEQ-6", format_args!("number {seq} is sent and not stored"));
            return None;
        };
        if !self.is_committed(entry.append) {
            self.fail("SEQ-6", format_args!("number {seq} is sent and not committed"));
            return None;
        }
        let is_next = seq > self.sessions[session].sent;
        if is_next {
            self.sessions[session].sent = seq;
        }
        if self.jobs[entry.job].key != job {
            self.fail("SEQ-7", format_args!("number {seq} is of another job than the one stored"));
            return None;
        }
        self.judge_announced(link, session, entry.job, seq);
        let is_rotation = entry.pos > 0 && self.happened(entry.job, entry.pos).kind == Kind::Rotated;
        let digest = if is_rotation { redacted(frame) } else { hash(frame) };
        if entry.digest > 0 {
            if entry.digest != digest {
                self.fail("SEQ-3", format_args!("number {seq} is sent again with another content"));
            }
            return None;
        }
        self.sessions[session].log[index].digest = digest;
        Some((entry.job, entry.pos, is_next))
    }

    /// The acceptance of a job, or the answer to a subscribe, comes before its first event.
    fn judge_announced(&mut self, link: usize, session: usize, job: usize, seq: u64) {
        let is_owner = self.jobs[job].first_owner == Some(self.sessions[session].key);
        let is_tainted = self.sessions[session].is_tainted;
        let Some(stream) = self.sessions[session].streams.iter().find(|stream| stream.job == job) else {
            self.fail(
                "VIS-1",
                format_args!("number {seq} is of a job that nobody asked for in this session"),
            );
            return;
        };
        let owner = &self.sessions[session];
        let is_named = owner.knows_jobs || owner.named.contains(&self.jobs[job].key);
        let is_announced = stream.accepted || stream.announced == Some(link) || is_named;
        if is_owner && !is_announced && !is_tainted && self.sessions[session].features & 1 << 11 != 0 {
            self.fail("JOB-4", format_args!("number {seq} comes before its job's acceptance"));
        }
    }

    /// The first sight of a numbered frame: what it says against what is stored, and its place in its stream.
    pub(super) fn judge_content(
        &mut self,
        (session, job, pos, is_next): (usize, usize, u64, bool),
        envelope: &Envelope<'_>,
        payload: &EventPayload<'_>,
    ) {
        if envelope.trace_id.as_ref().map(read::Text::as_str) != Some(self.jobs[job].trace.as_str()) {
            self.fail("JOB-7", format_args!("an event of another trace than its job"));
            return;
        }
        if payload.pos.unwrap_or(0) != pos {
            self.fail("VIS-4", format_args!("position {:?} is sent for {pos}", payload.pos));
            return;
        }
        if pos == 0 {
            return;
        }
        let stored = self.happened(job, pos);
        let kind = payload.kind.as_ref().map(read::Text::as_str);
        match envelope.kind.as_str() {
            "job.event" => {
                let text = payload.body.map_or("", |body| body.get());
                let body = if matches!(kind, Some("result_chunk" | "tool_result")) {
                    serde_json::from_str::<Body<'_>>(text).ok()
                } else {
                    None
                };
                if let Some(error) = body.as_ref().and_then(|body| body.error.as_ref()) {
                    self.judge_code(error.code.as_ref().map(read::Text::as_str), error.retryable);
                }
                let is_same = match (&body, stored.kind) {
                    (Some(body), Kind::Chunk) => self.judge_chunk(job, body),
                    (_, Kind::Rotated) => is_rotation(text, stored.body),
                    (_, Kind::Chunk | Kind::End) => false,
                    (_, Kind::Progress | Kind::Other) => stored.body == hash(text.as_bytes()),
                };
                if !is_same {
                    self.fail(
                        "SEQ-7",
                        format_args!("the event at position {pos} is another than the one stored"),
                    );
                }
            }
            "job.result" | "job.error" => self.judge_terminal(job, envelope, payload),
            _ => {}
        }
        if is_next {
            let seq = envelope.event_seq.unwrap_or(0);
            self.follow(session, job, seq, pos);
        }
    }

    fn judge_chunk(&mut self, job: usize, body: &Body<'_>) -> bool {
        let Some(chunks) = self.jobs[job].chunks else { return false };
        let data = body.data.as_ref().map(read::Text::as_str).unwrap_or_default();
        let is_whole = match body.encoding.as_ref().map(read::Text::as_str) {
            // The worlds' pieces are whole words in guillemets: one that was cut inside a character, or lost its end, shows.
            Some("utf8") => data.is_empty() || data.starts_with('«') && data.ends_with('»'),
            Some("base64") => data.len().is_multiple_of(4),
            _ => false,
        };
        if !is_whole {
            self.fail("CHK-3", format_args!("a chunk that is no text of its own: {data:?}"));
        }
        body.result_id.as_ref().map(|id| read::ulid(id.as_str())) == Some(chunks.result)
            && body.chunk_seq.is_some_and(|number| number < chunks.next)
            && body.more.is_some()
    }

    fn judge_terminal(&mut self, job: usize, envelope: &Envelope<'_>, payload: &EventPayload<'_>) {
        let Some(end) = self.jobs[job].end.clone() else {
            self.fail("JOB-6", format_args!("the end of a job that goes on"));
            return;
        };
        let status = payload.final_status.as_ref().map(read::Text::as_str);
        let is_result = envelope.kind.as_str() == "job.result";
        if status != Some(end.status) || is_result != (end.status == "success") {
            self.fail(
                "JOB-5",
                format_args!("{} says {status:?}, stored is {}", envelope.kind.as_str(), end.status),
            );
            return;
        }
        if is_result {
            let is_streamed = payload.result_id.is_some();
            if is_streamed == payload.result.is_some() || is_streamed != self.jobs[job].chunks.is_some() {
                self.fail("CHK-2", format_args!("a result that is inline and streamed, or neither"));
            } else if let Some(chunks) = self.jobs[job].chunks
                && payload.result_size != Some(chunks.bytes)
            {
                self.fail(
                    "CHK-2",
                    format_args!("a result of {:?} bytes, not {}", payload.result_size, chunks.bytes),
                );
            }
            return;
        }
        let code = payload.code.as_ref().map(read::Text::as_str);
        if code != end.code {
            self.fail("JOB-2", format_args!("a job ends with {code:?}, stored is {:?}", end.code));
        }
        self.judge_code(code, payload.retryable);
    }

    /// An event is the next one of its job in this stream.
    pub(super) fn follow(&mut self, session: usize, job: usize, seq: u64, pos: u64) {
        let index = usize::try_from(seq).unwrap_or(usize::MAX).saturating_sub(1);
        let is_live = self.sessions[session].log.get(index).is_some_and(|entry| entry.is_live);
        let Some(index) = self.sessions[session].streams.iter().position(|stream| stream.job == job) else {
            return;
        };
        let stream = &self.sessions[session].streams[index];
        let (last, ended) = (stream.last, stream.ended);
        let is_next = last > 0 && !ended && self.next_of(session, job, last) == pos;
        let mut begun = None;
        if !is_next {
            // One that was given up before anything came of it has no beginning.
            let floor = self.jobs[job].floor;
            let begins = |after: u64| after < floor || self.next_of(session, job, after) == pos;
            begun = stream.granted.iter().position(|after| begins(*after));
            if begun.is_none() {
                let is_owner = self.jobs[job].owner == Some(self.sessions[session].key);
                let property = match stream.granted.front() {
                    Some(_) => "VIS-5",
                    None if ended => "JOB-3",
                    // Between history and what happens, or within history.
                    None if !(stream.is_live && is_live) => "VIS-5",
                    None if is_owner => "JOB-9",
                    None => "VIS-4",
                };
                self.fail(property, format_args!("position {pos} of a job behind {last}"));
                return;
            }
        }
        let is_end = self.happened(job, pos).kind == Kind::End;
        let stream = &mut self.sessions[session].streams[index];
        if let Some(begun) = begun {
            stream.granted.drain(..=begun);
        }
        stream.last = pos;
        stream.is_live = is_live;
        stream.ended = is_end;
    }

    /// The next position behind one that this session is given.
    pub(super) fn next_of(&self, session: usize, job: usize, after: u64) -> u64 {
        let mut pos = after + 1;
        while let Some(event) = self.jobs[job].events.get(usize::try_from(pos - 1).unwrap_or(usize::MAX)) {
            if self.is_negotiated(session, event.kind) {
                break;
            }
            pos += 1;
        }
        pos
    }
}

/// Whether a body says that the credential is there of which this is the hash.
fn is_rotation(body: &str, credential: u64) -> bool {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let names = |id: &serde_json::Value| {
        id.as_str().is_some_and(|id| hash(&read::ulid(id).to_be_bytes()) == credential)
    };
    body["phase"] == "credential_rotated" && names(&body["id"]) && names(&body["details"]["id"])
}
