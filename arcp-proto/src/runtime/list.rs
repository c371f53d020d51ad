//! `session.list_jobs`: what a principal may see, as it is in the store (protocol §2.7).

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use sha2::{Digest, Sha256};

use crate::error::WireError;
use crate::feature::Feature;
use crate::id::JobId;
use crate::observe::Sight;
use crate::runtime::inbound::Request;
use crate::runtime::job::{Job, JobState};
use crate::runtime::policy::{sight, visible_parent};
use crate::runtime::{Output, RuntimeEndpoint, RuntimeEvent};
use crate::time::UnixTime;
use crate::wire::list::{DEFAULT_PAGE, JobEntry, Jobs, LARGEST_PAGE, ListJobs};
use crate::wire::peer::Rejected;
use crate::wire::{Envelope, object_text, push_object};

const LIST_JOBS: &str = "session.list_jobs";
/// Bytes of a page's frame that are not entries: two request ids of 128 bytes, each of which escaping may double, the
/// cursor, our own ids and the names of members.
const FRAME_ROOM: usize = 1_024;
/// Jobs looked at for one page. A filter that matches little must not keep other sessions waiting; the page ends early
/// instead, with a cursor.
const LOOKED_AT: usize = 10_000;

impl RuntimeEndpoint {
    pub(super) fn receive_list_jobs(&mut self, request: &Request, envelope: &Envelope<'_>) {
        let Some(session) = self.sessions.get(request.session) else { return };
        if !session.features.has(Feature::ListJobs) {
            return self.refuse_feature(request, Rejected::List, Feature::ListJobs);
        }
        // A list that comes again is run again, so there is nothing to remember of it but its type (D-49).
        let runs_again =
            session.requests.find(&request.id).is_some_and(|seen| seen.message_type == LIST_JOBS);
        if !runs_again && self.is_repeated(request, LIST_JOBS, None) {
            return;
        }
        match ListJobs::read(&envelope.payload).map_err(WireError::from) {
            Ok(list) => match self.page_of_jobs(request, &list) {
                Ok(page) => {
                    let payload = object_text(|out| page.write(out));
                    self.send_to_session(request.connection, request.session, "session.jobs", &payload);
                }
                Err(error) => self.refuse(request, Rejected::List, error),
            },
            Err(error) => self.refuse(request, Rejected::List, error),
        }
    }

    fn page_of_jobs(&mut self, request: &Request, list: &ListJobs) -> Result<Jobs, WireError> {
        let Self { sessions, principals, jobs, job_keys, cursors, config, outputs, .. } = self;
        let Some(session) = sessions.get(request.session) else {
            return Err(WireError::invalid("the session is over"));
        };
        let filter = Filter::of(list);
        let digest = filter.digest();
        let below = match &list.cursor {
            None => Bound::Unbounded,
            Some(text) => match cursors.open(text, &session.principal_name, &digest) {
                Some(place) => Bound::Excluded(place),
                None => {
                    return Err(WireError::invalid(
                        "`cursor` must be the `next_cursor` of a page of this list, with the same filter",
                    ));
                }
            },
        };
        let mut page = Page {
            left: usize::try_from(list.limit.unwrap_or(DEFAULT_PAGE).min(LARGEST_PAGE)).unwrap_or(usize::MAX),
            room: session.profile.frame_limit(session.transport).saturating_sub(FRAME_ROOM),
            entries: Vec::new(),
            text: String::new(),
        };
        let mut behind = None;
        let mut has_more = false;
        let mut others = 0;
        let viewer = (session.principal, &*session.principal_name);
        let sees_others = config.visibility.sees_others(viewer.1);
        let table = if sees_others { &*job_keys } else { &principals.at(session.principal).jobs };
        let mut last = None;
        for (looked_at, (key, handle)) in table.range((Bound::Unbounded, below)).rev().enumerate() {
            if looked_at == LOOKED_AT {
                (has_more, behind) = (true, last);
                break;
            }
            last = Some(*key);
            // What is not seen leaves no trace, the cursor included.
            let Some(job) =
                jobs.get(*handle).filter(|job| sight(&config.visibility, viewer, job) > Sight::Nothing)
            else {
                continue;
            };
            let is_own = job.principal == session.principal;
            let parent = || visible_parent(&config.visibility, viewer, (jobs, job_keys), job);
            if let Some(entry) = filter.entry(job, is_own, parent) {
                if !page.take(entry) {
                    has_more = true;
                    break;
                }
                others += usize::from(!is_own);
            }
            behind = Some(*key);
        }
        let principal = Arc::clone(&session.principal_name);
        let listed = RuntimeEvent::Listed { principal, jobs: page.entries.len(), others };
        outputs.push_back(Output::Event(listed));
        let ids = Some(request.id.to_string());
        Ok(Jobs {
            request_id: ids.clone(),
            reply_to: ids,
            jobs: page.entries,
            next_cursor: behind
                .filter(|_| has_more)
                .map(|place| cursors.seal(place, &session.principal_name, &digest)),
        })
    }
}

/// Which jobs are asked for.
struct Filter<'a> {
    /// The states, as bits.
    states: u8,
    agent: Option<&'a str>,
    created_after: Option<UnixTime>,
    created_before: Option<UnixTime>,
}

impl<'a> Filter<'a> {
    fn of(list: &'a ListJobs) -> Self {
        let named = list.status.iter().filter_map(|name| JobState::parse(name));
        Self {
            states: if list.status.is_empty() { !0 } else { named.fold(0, |bits, state| bits | bit(state)) },
            agent: list.agent.as_deref(),
            created_after: list.created_after,
            created_before: list.created_before,
        }
    }

    /// What the job's entry says, if its acceptance is stored and it is asked for. Of another principal's job, positions
    /// stand for origin numbers (D-65).
    fn entry(&self, job: &Job, is_own: bool, parent: impl FnOnce() -> Option<JobId>) -> Option<JobEntry> {
        let committed = job.committed?;
        let is_wanted = self.states & bit(committed.state) != 0
            && self.agent.is_none_or(|agent| {
                let known = if agent.contains('@') { job.agent.as_str() } else { job.agent.name() };
                agent == known
            })
            && self.created_after.is_none_or(|after| job.accepted_at > after)
            && self.created_before.is_none_or(|before| job.accepted_at < before);
        is_wanted.then_some(())?;
        Some(JobEntry {
            job_id: JobId::new(&job.key.to_string())?,
            agent: Some(job.agent.to_string()),
            status: Some(committed.state.as_str().to_string()),
            lease: Some(job.lease.to_json()),
            lease_constraints: job.lease.constraints_json(),
            parent_job_id: parent(),
            created_at: Some(job.accepted_at),
            trace_id: Some(job.trace_id.to_string()),
            last_event_seq: Some(if is_own { committed.last_origin } else { committed.last_pos }),
        })
    }

    /// Filters with the same digest ask for the same.
    fn digest(&self) -> [u8; 32] {
        let time = |time: Option<UnixTime>| match time {
            Some(time) => [&[1], time.as_millis().to_be_bytes().as_slice()].concat(),
            None => Vec::from([0]),
        };
        let agent = match self.agent {
            Some(agent) => [b"@", agent.as_bytes()].concat(),
            None => Vec::new(),
        };
        // Each part says where it ends, or is the last one.
        let parts = [Vec::from([self.states]), time(self.created_after), time(self.created_before), agent];
        Sha256::digest(parts.concat()).into()
    }
}

const fn bit(state: JobState) -> u8 {
    1 << state as u8
}

/// A page while it is filled.
struct Page {
    /// Jobs it may still take.
    left: usize,
    /// Bytes it may still take.
    room: usize,
    entries: Vec<JobEntry>,
    /// The newest entry as text, to know its length.
    text: String,
}

impl Page {
    /// Takes an entry if there is room for it (D-100).
    fn take(&mut self, entry: JobEntry) -> bool {
        self.text.clear();
        push_object(&mut self.text, |out| entry.write(out));
        let bytes = self.text.len() + 1;
        // A lease is far smaller than any frame, so an empty page takes every entry and paging always goes on.
        let is_first = self.entries.is_empty();
        if self.left == 0 || (bytes > self.room && !is_first) {
            return false;
        }
        self.left -= 1;
        self.room = self.room.saturating_sub(bytes);
        self.entries.push(entry);
        true
    }
}
