//! What the number of a frame means (protocol §4.2), which depends on who gave it (§12.3, `seq_check`).

use alloc::borrow::Cow;

use crate::client::ClientEndpoint;
use crate::client::numbers::Arrival;
use crate::client::output::ClientEvent;
use crate::close::CloseCode;
use crate::time::Now;
use crate::wire::peer::SeqCheck;
use crate::wire::{Envelope, EventSeq};

impl ClientEndpoint {
    /// Judges a frame by its number. `Some` if it is to be handed on, and whether its number counts; `None` if it is
    /// dropped, or the connection given up because of it.
    pub(super) fn track(&mut self, now: Now, envelope: &Envelope<'_>) -> Option<bool> {
        let number = match envelope.event_seq {
            EventSeq::Absent => return Some(false),
            EventSeq::Unusable => {
                self.ignored += 1;
                return None;
            }
            EventSeq::Number(number) => number,
        };
        let check = self.profile().seq_check();
        let can_resume = self.session.as_ref().is_some_and(|session| session.token.is_some());
        match check {
            SeqCheck::StrictForOwnJobs if self.is_of_another_stream(envelope, number) => {
                return self.is_heard_first(envelope, number).then_some(false);
            }
            SeqCheck::Off => {
                let is_new = named_job(envelope).is_none_or(|job| self.jobs.is_new_number(&job, number));
                self.ignored += u64::from(!is_new);
                return is_new.then_some(false);
            }
            SeqCheck::Strict | SeqCheck::StrictForOwnJobs | SeqCheck::Report => {
                let before = self.numbers.last();
                match self.numbers.judge(number, can_resume && check != SeqCheck::Report) {
                    // Such a runtime may send what it numbered first behind what it numbered next.
                    Arrival::Repeat if check == SeqCheck::Report && self.numbers.comes_late(number) => {
                        return Some(false);
                    }
                    Arrival::Repeat => {
                        self.ignored += 1;
                        return None;
                    }
                    Arrival::Gap => {
                        self.lose(now, CloseCode::Normal);
                        return None;
                    }
                    Arrival::Lost { from, to } => {
                        if check == SeqCheck::Report {
                            self.numbers.may_come_late(before + 1, number - 1);
                        }
                        self.event(ClientEvent::Gap { from, to });
                    }
                    Arrival::Next => {}
                }
            }
        }
        self.numbers.advance(number);
        self.backoff.progress();
        Some(true)
    }

    /// Whether the number belongs to another stream: the frame's job is followed only, or it is a terminal that was kept
    /// and is sent again for a job that was submitted again, perhaps by another session, with the number it had. The next
    /// number is always this stream's: version 1.1.3 numbers what it kept afresh.
    fn is_of_another_stream(&self, envelope: &Envelope<'_>, number: u64) -> bool {
        let last = self.numbers.last();
        let session = self.session.as_ref().map(|session| session.id.as_str());
        if envelope.session_id.is_some() && envelope.session_id.as_deref() != session {
            return number != last + 1;
        }
        let Some(job) = named_job(envelope) else { return false };
        let is_end = matches!(envelope.message_type.as_ref(), "job.result" | "job.error");
        // A job that has not ended has had no terminal, whatever its number says.
        self.jobs.is_foreign(&job)
            || is_end && number <= last && self.jobs.is_own(&job)
            || is_end && number != last + 1 && self.jobs.is_reattached(&job)
    }

    /// Whether a number of another stream is no repeat, as far as that stream can be told.
    fn is_heard_first(&mut self, envelope: &Envelope<'_>, number: u64) -> bool {
        let Some(job) = named_job(envelope) else { return true };
        let is_first = !self.jobs.is_foreign(&job) || self.jobs.hear(&job, number);
        self.ignored += u64::from(!is_first);
        is_first
    }
}

/// The job that a frame names in its envelope or its payload.
fn named_job<'a>(envelope: &Envelope<'a>) -> Option<Cow<'a, str>> {
    let in_payload = || envelope.payload.id("job_id").ok().flatten();
    envelope.job_id.clone().or_else(in_payload)
}
