//! Events that come before the word on what job they are of (protocol §3.2, §6).

use crate::client::ClientEndpoint;
use crate::client::children::Said;
use crate::client::deliver::News;
use crate::client::jobs::HeldEvent;
use crate::client::output::ClientEvent;
use crate::id::JobId;
use crate::time::Now;

impl ClientEndpoint {
    /// News of a job nobody knows. It may be one whose `job.accepted` is still to come, or a child that is still to be
    /// named.
    pub(super) fn hold(&mut self, id: JobId, is_numbered: bool, bytes: usize, news: News) -> bool {
        let is_unwanted = self.jobs.is_unwanted(id.as_str(), matches!(news, News::End(_)));
        let has_submit = self.requests.has_submit();
        let may_be_child = || self.jobs.has_trees() && !self.jobs.is_foreign(id.as_str());
        let may_be_ours = !is_unwanted && (has_submit || may_be_child());
        let Some(index) = may_be_ours.then(|| self.jobs.hold(&id, bytes)).flatten() else {
            self.ignored += 1;
            return false;
        };
        let seq = self.numbers.hand_on(index, bytes, is_numbered);
        if !has_submit {
            // Whether anybody will ever claim it is not certain, and nothing may wait for that.
            self.numbers.taken(seq);
        }
        let seq = Some(seq);
        let event = HeldEvent { pos: news.pos(), event: news.into_event(id.clone(), seq) };
        self.jobs.keep(&id, bytes, event);
        is_numbered
    }

    /// Hands on what waited for the `job.accepted` of `id`.
    pub(super) fn release(&mut self, now: Now, id: &JobId) {
        let sees_all = self.sees_all();
        let (events, is_cut) = self.jobs.release(id);
        for HeldEvent { pos, event } in events {
            // Behind its end, which may have waited as well, a job says nothing more.
            let job = self.jobs.find_mut(id.as_str());
            let (jump, is_new) = job.map_or((None, false), |job| (job.jump(pos, sees_all), job.is_new(pos)));
            let (ClientEvent::JobEvent { seq, .. } | ClientEvent::JobEnded { seq, .. }) = &event else {
                continue;
            };
            if !is_new {
                if let Some(seq) = seq {
                    self.numbers.taken(*seq);
                }
                continue;
            }
            if let Some((from, to)) = jump {
                self.event(ClientEvent::JobGap { job: id.clone(), from, to });
            }
            let said = match &event {
                ClientEvent::JobEvent { event: Some(event), .. } => Some(self.trees.read(event)),
                ClientEvent::JobEnded { ended, .. } => {
                    let status = ended.status;
                    self.job_ended(id, Some(status));
                    Some(Said::Nothing)
                }
                _ => None,
            };
            self.event(event);
            self.note_children(now, id, said);
        }
        if is_cut && let Some(job) = self.jobs.find_mut(id.as_str()) {
            job.owe_after(job.pos);
        }
    }

    /// Once no submit is open and no children are wanted, nothing can claim what waits for a `job.accepted`.
    pub(super) fn drop_unclaimed(&mut self) {
        if !self.jobs.holds_any() || self.requests.has_submit() {
            return;
        }
        if self.jobs.has_trees() {
            for index in self.jobs.held_indexes() {
                self.numbers.abandon(index);
            }
        } else {
            for index in self.jobs.drop_held() {
                self.ignored += 1;
                self.numbers.abandon(index);
            }
        }
    }
}
