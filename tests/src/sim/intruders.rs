//! Intruders who connect and play by no rules, and an adversary inside connections.

use bytes::Bytes;

use super::World;
use super::count::Fault;
use super::link::What;
use super::plan::{BEARER, PRINCIPALS};
use crate::oracle::Note;

impl World<'_> {
    /// Somebody connects who plays by no rules, with what was overheard.
    pub(super) fn intrude(&mut self) {
        let kind = self.choices.of(&[
            arcp_proto::wire::peer::TransportKind::Memory,
            arcp_proto::wire::peer::TransportKind::WebSocket,
        ]);
        let Some(link) = self.open(None, kind) else { return };
        self.counts.note(Fault::Intruder);
        let principal = self.choices.of(&PRINCIPALS);
        let bearer = if self.choices.one_in(8) { "wrong".to_owned() } else { format!("{principal}{BEARER}") };
        let overheard = self.oracle.overheard(self.choices.below(64));
        let past = self.choices.of(&[0, 1, 3, 1_000]);
        let id = self.links.len();
        let resume = |token: &str, session: &str, last: u64, features: &str| {
            format!(
                r#"{{"arcp":"1.1","id":"x{id}","type":"session.hello","session_id":"{session}","payload":{{"auth":{{"scheme":"bearer","token":"{bearer}"}},"capabilities":{{"encodings":["json"],"features":[{features}]}},"resume":{{"session_id":"{session}","resume_token":"{token}","last_event_seq":{last}}}}}}}"#
            )
        };
        let hello = |session: &str| {
            format!(
                r#"{{"arcp":"1.1","id":"x{id}","type":"session.hello","session_id":"{session}","payload":{{"auth":{{"scheme":"bearer","token":"{bearer}"}},"capabilities":{{"encodings":["json"],"features":["subscribe","list_jobs","x-vendor.arcp-rs.1"]}}}}}}"#
            )
        };
        let all = r#""heartbeat","ack","list_jobs","subscribe","lease_expires_at","cost.budget","model.use","provisioned_credentials","progress","result_chunk","agent_versions","x-vendor.arcp-rs.1""#;
        let job = self.any_job().map_or_else(|| "job_none".to_owned(), |job| job.as_str().to_owned());
        let request = |number: u64, what: &str, payload: &str| {
            format!(r#"{{"arcp":"1.1","id":"x{id}-{number}","type":"{what}","payload":{payload}}}"#)
        };
        let probes = [
            request(1, "job.subscribe", &format!(r#"{{"job_id":"{job}","history":true}}"#)),
            request(2, "job.subscribe", r#"{"job_id":"job_01KZZSPQFWRQJ5E577ZYXMHSQ1","history":true}"#),
            request(3, "job.cancel", &format!(r#"{{"job_id":"{job}","reason":"x"}}"#)),
            request(4, "job.cancel", r#"{"job_id":"job_01KZZSPQFWRQJ5E577ZYXMHSQ1","reason":"x"}"#),
            request(5, "session.list_jobs", r#"{"limit":50}"#),
            request(6, "session.ack", r#"{"last_processed_seq":9000}"#),
            request(7, "session.list_jobs", r#"{"limit":50}"#),
            request(8, "x-vendor.nobody.knows", "{}"),
        ];
        let (token, session, last) = overheard
            .unwrap_or_else(|| ("rt_none".to_owned(), "sess_01KZZSPQFWRQJ5E577ZYXMHSQ1".to_owned(), 0));
        let mut frames = match self.choices.below(8) {
            1 => vec![resume(&token, &session, last, all)],
            2 => vec![resume(&token, &session, last + past, all)],
            3 => vec![resume(&token, &session, last, r#""subscribe""#)],
            4 => vec![resume("rt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &session, last, all)],
            5 => Vec::new(),
            6 => vec![request(1, "job.submit", r#"{"agent":"a","input":{},"idempotency_key":"early"}"#)],
            _ => vec![hello(&session)],
        };
        if frames.len() == 1 && !self.choices.one_in(3) {
            frames.extend(probes);
            // An acknowledgement that comes behind a newer one, and requests whose answers nobody reads.
            frames.push(request(9, "session.ack", &format!(r#"{{"last_processed_seq":{}}}"#, last / 2)));
            if self.choices.one_in(4) {
                self.links[link].down.stalled_until = self.at + 10_000_000;
                frames.extend((10..50).map(|number| request(number, "session.list_jobs", "{}")));
            }
        }
        for frame in frames {
            self.journal.frame(self.at, link, "X", "→R", &Bytes::copy_from_slice(frame.as_bytes()));
            let bytes = Bytes::from(frame);
            let note = self.oracle.client_wrote(link, &bytes);
            self.write_up(link, bytes, note);
        }
    }

    /// An intruder reads on and says nothing more; now and then it goes.
    pub(super) fn intruder_reads(&mut self, index: usize, _frame: &Bytes) {
        if self.choices.one_in(4) {
            self.links[index].client_end = false;
            self.links[index].runtime_notices = Some(self.at);
        }
    }

    /// An adversary inside the link does something to the frame that was written last.
    pub(super) fn meddle(&mut self, index: usize, is_up: bool) {
        if !self.troubles.adversary || self.is_calm || !self.choices.one_in(12) {
            return;
        }
        let what = self.choices.below(6);
        let place = self.choices.below(1 << 16);
        let byte = u8::try_from(self.choices.below(256)).unwrap_or(0);
        self.oracle.meddled(index);
        let at = self.at;
        self.journal.note(at, || format!("somebody meddles with ({index}): {what}"));
        let link = &mut self.links[index];
        let pipe = if is_up { &mut link.up } else { &mut link.down };
        let Some(last) = pipe.queue.back_mut() else { return };
        let (arrives, What::Frame { bytes, note }) = (last.at, &mut last.what) else { return };
        let position = usize::try_from(place).unwrap_or(0) % bytes.len().max(1);
        match what {
            0 => {
                self.counts.note(Fault::Dropped);
                pipe.queue.pop_back();
            }
            1 => {
                self.counts.note(Fault::Doubled);
                let again = What::Frame { bytes: bytes.clone(), note: *note };
                pipe.push(arrives, again);
            }
            2 => {
                let count = pipe.queue.len();
                if count > 1 {
                    self.counts.note(Fault::Overtaken);
                    pipe.queue.swap(count - 1, count - 2);
                }
            }
            3 => {
                self.counts.note(Fault::Mutated);
                let mut changed = bytes.to_vec();
                changed[position] ^= byte | 1;
                *bytes = Bytes::from(changed);
                *note = Note::MEDDLED;
            }
            4 => {
                self.counts.note(Fault::Truncated);
                *bytes = bytes.slice(..position);
                *note = Note::MEDDLED;
            }
            _ => {
                self.counts.note(Fault::Hostile);
                let hostile = super::hostile::frame(place);
                pipe.push(arrives, What::Frame { bytes: hostile, note: Note::MEDDLED });
            }
        }
    }
}
