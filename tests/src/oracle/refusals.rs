//! Refusals: whom they may tell what (IDEM-2, IDEM-5, VIS-1, VIS-2).

use super::read::{Reply, hash};
use super::requests::Asked;
use super::{Oracle, read};

impl Oracle {
    /// A request was refused.
    pub(super) fn refused(&mut self, link: usize, id: u64, code: &str, reply: &Reply<'_>) {
        let Some(index) = self.request(link, id) else { return };
        let request = self.requests[index].clone();
        let Some(session) = request.session else { return };
        let principal = self.sessions[session].principal.clone();
        match request.asked {
            Asked::Submit { key, params, .. } => {
                let known = self.jobs.iter().position(|job| {
                    !job.is_forgotten
                        && job.idempotency.as_ref().is_some_and(|pair| pair.0 == principal && pair.1 == key)
                });
                match (code, known) {
                    ("DUPLICATE_KEY", None) if !self.was_full && !self.is_meddled => {
                        // The job it belongs to may be given to the store later in this turn.
                        self.taken_keys.push((principal, key));
                    }
                    // A job that came later may have been accepted in the place of one that made this refusal due.
                    ("DUPLICATE_KEY", Some(job))
                        if !self.is_meddled
                            && self.jobs[job].params == params
                            && (1..=request.appends).contains(&self.jobs[job].append) =>
                    {
                        self.fail("IDEM-2", format_args!("the same submit with {key} is refused"));
                    }
                    ("JOB_NOT_FOUND" | "CANCELLED" | "TIMEOUT" | "HEARTBEAT_LOST", _) => {
                        self.fail("WIR-5", format_args!("{code} answers a submit"));
                    }
                    _ => {}
                }
            }
            Asked::Cancel { job } => self.judge_refusal(0, &principal, job, code, reply, request.sights),
            Asked::Subscribe { job, .. } => {
                self.judge_refusal(1, &principal, job, code, reply, request.sights);
            }
            Asked::List => {
                self.connections[link].unanswered = self.connections[link].unanswered.saturating_sub(1);
            }
            Asked::Unknown => self.requests[index].is_over = true,
        }
    }

    /// Keys that were said to be taken when no job of theirs was known.
    pub(super) fn judge_taken_keys(&mut self) {
        for (principal, key) in std::mem::take(&mut self.taken_keys) {
            let mut pairs = self.jobs.iter().filter_map(|job| job.idempotency.as_ref());
            if pairs.any(|(owner, known)| *owner == principal && *known == key) {
                continue;
            }
            let mut others = self.jobs.iter().filter_map(|job| job.idempotency.as_ref());
            let is_others = others.any(|(_, known)| known.ends_with(&key) || key.ends_with(known.as_str()));
            let property = if is_others { "IDEM-4" } else { "IDEM-5" };
            self.fail(property, format_args!("the key {key} of {principal} is taken, by no job of it"));
        }
    }

    /// "No such job" and "not yours to see" are the same words.
    fn judge_refusal(
        &mut self,
        which: usize,
        principal: &str,
        job: u128,
        code: &str,
        reply: &Reply<'_>,
        before: usize,
    ) {
        if self.is_meddled {
            // A request that was doubled is answered a second time as it was the first time.
            return;
        }
        let known = self.job(job).filter(|job| !self.jobs[*job].is_forgotten);
        // It may have changed more than once before the answer left.
        let (least, seen) = known.map_or((0, 0), |job| self.sights_since(before, principal, job));
        let saw = self.job(job).is_some_and(|job| self.sight(self.sights[before], principal, job) > 0);
        match code {
            "JOB_NOT_FOUND" if saw && least > 0 => {
                self.fail("VIS-2", format_args!("{principal} is told that there is no job which it may see"));
            }
            // A job of one's own may be forgotten while the answer waits, which may be said.
            "JOB_NOT_FOUND" if saw => {}
            "JOB_NOT_FOUND" => {
                let words = format!(
                    "{:?}{}",
                    reply.message.as_ref().map(read::Text::as_str),
                    reply.details.map_or("", |details| details.get())
                );
                let words = hash(words.as_bytes());
                if self.hidden[which] == 0 {
                    self.hidden[which] = words;
                }
                if self.hidden[which] != words {
                    self.fail("VIS-2", format_args!("\"no such job\" is said in two ways"));
                } else if least > 0 {
                    self.fail(
                        "VIS-2",
                        format_args!("{principal} is told that there is no job which it may see"),
                    );
                }
            }
            // The same.
            "PERMISSION_DENIED" if known.is_none() && saw => {}
            "PERMISSION_DENIED" if seen == 0 => {
                self.fail("VIS-2", format_args!("{principal} is told of a job that it may not see"));
            }
            "PERMISSION_DENIED" if which == 1 && least == 2 => {
                self.fail("VIS-1", format_args!("{principal} may follow a job and is refused"));
            }
            _ => {}
        }
    }
}
