//! Requests and their answers: who may have what (IDEM, CAN, VIS-1, VIS-2, LEA-2, JOB-7, SEQ-6).

use super::read::{Ask, Envelope, Reply, hash};
use super::{Oracle, lease, read};

/// What a client asked for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Submit {
        key: String,
        params: u64,
        lease: Option<String>,
        expires_at: Option<i64>,
        agent: String,
    },
    Cancel {
        job: u128,
    },
    Subscribe {
        job: u128,
        history: bool,
        from_seq: Option<u64>,
        from_pos: Option<u64>,
    },
    List,
    /// Of a type that there is not.
    Unknown,
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) link: usize,
    pub(super) session: Option<usize>,
    pub(super) asked: Asked,
    pub(super) is_read: bool,
    pub(super) is_over: bool,
    /// It came on a connection that had been replaced.
    pub(super) was_fenced: bool,
    /// Appends that had been given when it was read.
    pub(super) appends: u64,
    /// Who saw what when it was read.
    pub(super) sights: usize,
}

impl Oracle {
    pub(super) fn submit(&self, ask: &Ask<'_>) -> Asked {
        let raw =
            |value: Option<&serde_json::value::RawValue>| value.map_or("", |value| value.get()).to_owned();
        let agent = ask.agent.as_ref().map_or("", read::Text::as_str).to_owned();
        let (lease, constraints) = (raw(ask.lease_request), raw(ask.lease_constraints));
        let params =
            format!("{agent}\n{}\n{lease}\n{constraints}\n{:?}", raw(ask.input), ask.max_runtime_sec);
        Asked::Submit {
            key: ask.idempotency_key.as_ref().map_or("", read::Text::as_str).to_owned(),
            params: hash(params.as_bytes()),
            lease: (!lease.is_empty()).then_some(lease),
            expires_at: expiry(&constraints),
            agent,
        }
    }

    pub(super) fn request_read(&mut self, link: usize, index: u64) {
        let Some(request) = usize::try_from(index).ok().and_then(|index| self.requests.get_mut(index)) else {
            return;
        };
        let session = self.connections[link].session;
        request.is_read = true;
        request.session = session;
        request.was_fenced = session.is_none_or(|session| self.sessions[session].link != Some(link));
        request.sights = self.sights.len() - 1;
        request.appends = self.appends.len() as u64;
        if matches!(request.asked, Asked::List) {
            self.connections[link].unanswered += 1;
        }
        if let (Asked::Cancel { job } | Asked::Subscribe { job, .. }, Some(session)) =
            (&request.asked, session)
        {
            // Who names a job knows it.
            self.sessions[session].named.push(*job);
        }
        if let Asked::Cancel { job } = request.asked
            && let Some(job) = self.jobs.iter_mut().rev().find(|known| known.key == job)
        {
            job.cancel_asked = true;
        }
        self.judge_outbox(link);
    }

    pub(super) fn request(&self, link: usize, id: u64) -> Option<usize> {
        self.requests.iter().rposition(|request| request.id == id && request.link == link)
    }

    /// A job is given to the store: it was asked for, and by somebody who may.
    pub(super) fn judge_acceptance(&mut self, job: usize, request_id: Option<&str>) {
        let Some(id) = request_id.map(|id| hash(id.as_bytes())) else { return };
        let Some(request) = self.requests.iter().rev().find(|request| request.id == id).cloned() else {
            if !self.is_meddled {
                self.fail("SES-6", format_args!("a job that nobody asked for"));
            }
            return;
        };
        if request.was_fenced && request.session.is_some() {
            self.fail("SES-4", format_args!("a submit of a connection that was replaced is carried out"));
        }
        if request.session.is_none() && !self.is_meddled {
            self.fail("SES-6", format_args!("a submit before any welcome is carried out"));
        }
        let Asked::Submit { params, lease, expires_at, agent, .. } = request.asked else { return };
        self.jobs[job].params = params;
        let asked = lease::Terms::asked(lease.as_deref(), expires_at);
        // A changed frame may have asked for something else than was seen to be asked.
        let exceeds = self.jobs[job].lease.exceeds(&asked).filter(|_| !self.is_meddled);
        if let Some(what) = exceeds {
            self.fail("LEA-2", format_args!("a lease is granted wider than it was asked for: {what}"));
        }
        let resolved = self.jobs[job].agent.clone();
        let name = resolved.split('@').next().unwrap_or_default();
        if agent != name && agent != resolved && !self.is_meddled {
            self.fail("JOB-7", format_args!("{agent} was asked for, {resolved} runs"));
        }
    }

    pub(super) fn accepted(
        &mut self,
        link: usize,
        session: usize,
        reply: &Reply<'_>,
        envelope: &Envelope<'_>,
    ) {
        let key = reply.job_id.as_ref().or(envelope.job_id.as_ref()).map_or(0, |id| read::ulid(id.as_str()));
        let Some(job) = self.job(key) else {
            self.fail("SEQ-6", format_args!("the acceptance of a job that is not stored"));
            return;
        };
        if !self.is_committed(self.jobs[job].append) {
            self.fail("SEQ-6", format_args!("an acceptance before its job is committed"));
            return;
        }
        if self.jobs[job].principal != self.sessions[session].principal {
            let id = reply.request_id.as_ref().map_or(0, |id| hash(id.as_str().as_bytes()));
            let property = if self.request(link, id).is_some() { "IDEM-4" } else { "VIS-1" };
            self.fail(property, format_args!("the acceptance of another principal's job"));
            return;
        }
        let payload = format!(
            "{:?}{}{}{}{:?}{:?}",
            reply.agent,
            reply.lease.map_or("", |value| value.get()),
            reply.lease_constraints.map_or("", |value| value.get()),
            reply.budget.map_or("", |value| value.get()),
            reply.accepted_at,
            reply.trace_id
        );
        let digest = hash(payload.as_bytes());
        if reply.trace_id.as_ref().map(read::Text::as_str) != Some(self.jobs[job].trace.as_str())
            || reply.agent.as_ref().map(read::Text::as_str) != Some(self.jobs[job].agent.as_str())
        {
            self.fail("JOB-7", format_args!("an acceptance with another agent or trace than the job's"));
        }
        if let Some(id) = reply.request_id.as_ref() {
            self.judge_key(link, session, job, hash(id.as_str().as_bytes()));
        } else if reply.parent_job_id.is_none() {
            self.fail("JOB-4", format_args!("an acceptance that answers nothing"));
        }
        // What is not negotiated is not shown; sessions with other features may see less.
        if self.sessions[session].features | 1 << 7 == self.config.features | 1 << 7 {
            match self.jobs[job].accepted_digest {
                0 => self.jobs[job].accepted_digest = digest,
                before if before != digest => {
                    self.fail(
                        "IDEM-2",
                        format_args!("an acceptance says something else than before: {payload}"),
                    );
                }
                _ => {}
            }
        }
        let stream = self.sessions[session].streams.iter_mut().find(|stream| stream.job == job);
        if let Some(stream) = stream {
            stream.announced = Some(link);
        }
    }

    /// The same key is the same job, and other parameters are none.
    fn judge_key(&mut self, _link: usize, session: usize, job: usize, id: u64) {
        let own = |request: &&Request| request.id == id && request.session == Some(session);
        let Some(request) = self.requests.iter().rev().find(own).cloned() else { return };
        let Asked::Submit { key, params, .. } = request.asked else { return };
        let state = &self.jobs[job];
        if state.idempotency.as_ref().is_some_and(|(_, own)| *own != key) {
            self.fail("IDEM-4", format_args!("the key {key} leads to the job of another"));
        } else if state.params != 0 && state.params != params && !self.is_meddled {
            self.fail("IDEM-3", format_args!("the key {key} is accepted with other parameters"));
        }
    }

    pub(super) fn cancelled(&mut self, link: usize, session: usize, reply: &Reply<'_>) {
        let id = reply.request_id.as_ref().map_or(0, |id| hash(id.as_str().as_bytes()));
        let key = reply.job_id.as_ref().map_or(0, |id| read::ulid(id.as_str()));
        let Some(job) = self.job(key) else {
            self.fail("CAN-1", format_args!("a job is cancelled that is not there"));
            return;
        };
        if self.request(link, id).is_none() && !self.is_meddled {
            self.fail("CAN-1", format_args!("a cancel is answered that nobody asked for"));
            return;
        }
        let state = &self.jobs[job];
        if reply.current_status.is_some() {
            if state.end.is_none() || !self.is_committed(state.end_append) {
                self.fail("SEQ-6", format_args!("a cancel is told of an end that is not committed"));
            }
            return;
        }
        let is_stored = state.end.is_some() && self.is_committed(state.end_append)
            || state.stopping.is_some() && self.is_committed(state.stopping_append);
        if !is_stored {
            self.fail("SEQ-6", format_args!("a cancel is acknowledged before it is committed"));
        } else if state.principal != self.sessions[session].principal {
            self.fail("CAN-1", format_args!("a cancel of another principal's job is honoured"));
        }
    }

    pub(super) fn subscribed(
        &mut self,
        link: usize,
        session: usize,
        reply: &Reply<'_>,
        envelope: &Envelope<'_>,
    ) {
        let key = reply.job_id.as_ref().or(envelope.job_id.as_ref()).map_or(0, |id| read::ulid(id.as_str()));
        let Some(job) = self.job(key).filter(|job| self.is_committed(self.jobs[*job].append)) else {
            self.fail("SEQ-6", format_args!("a subscription to a job that is not committed"));
            return;
        };
        let id = reply.request_id.as_ref().map_or(0, |id| hash(id.as_str().as_bytes()));
        let asked = self.request(link, id).map(|index| self.requests[index].clone());
        let before = asked.as_ref().map_or_else(|| self.policy(), |request| request.sights);
        let principal = self.sessions[session].principal.clone();
        if self.sights_since(before, &principal, job).1 < 2 {
            self.fail("VIS-1", format_args!("{principal} follows a job that it may not"));
            return;
        }
        let status = reply.current_status.as_ref().map(read::Text::as_str);
        let end = self.committed_end(job);
        if status.is_some_and(|status| !matches!(status, "pending" | "running")) && end != status {
            self.fail("SEQ-6", format_args!("a subscription shows {status:?}, committed is {end:?}"));
        }
        if reply.agent.as_ref().map(read::Text::as_str) != Some(self.jobs[job].agent.as_str()) {
            self.fail("JOB-7", format_args!("a subscription with another agent than the job's"));
        }
        if let Some(Request {
            asked: Asked::Subscribe { history, from_seq, from_pos, .. }, appends, ..
        }) = asked
            // Of what was changed on the way it is not known what was asked.
            && !self.is_meddled
        {
            self.judge_start((session, job), reply, (history, from_seq, from_pos), appends);
        }
        let stream = self.sessions[session].streams.iter_mut().find(|stream| stream.job == job);
        if let Some(stream) = stream {
            stream.announced = Some(link);
        }
    }

    fn committed_end(&self, job: usize) -> Option<&'static str> {
        let end = self.jobs[job].end.as_ref().filter(|_| self.is_committed(self.jobs[job].end_append));
        end.map(|end| end.status)
    }

    /// Where a new attachment has to begin.
    fn judge_start(
        &mut self,
        (session, job): (usize, usize),
        reply: &Reply<'_>,
        (history, from_seq, from_pos): (bool, Option<u64>, Option<u64>),
        appends: u64,
    ) {
        let own = self.jobs[job].principal == self.sessions[session].principal;
        let events = &self.jobs[job].events;
        let position = |number: u64| {
            if own { events.iter().take_while(|event| event.origin <= number).count() as u64 } else { number }
        };
        let seam = position(reply.subscribed_from.unwrap_or(0));
        let begins = if history {
            match (from_pos, from_seq) {
                (Some(pos), _) => pos.min(seam),
                (None, Some(number)) => position(number).min(seam),
                (None, None) => 0,
            }
        } else {
            seam
        };
        let Some(stream) = self.sessions[session].streams.iter().find(|stream| stream.job == job) else {
            return;
        };
        // One that followed before goes on.
        let (followed, after, floor) = (stream.followed, stream.followed_after, self.jobs[job].floor);
        let key = self.jobs[job].key;
        let is_such = |request: &&Request| {
            let is_same = matches!(&request.asked, Asked::Subscribe { job, .. } if *job == key);
            is_same && request.session == Some(session)
        };
        // Which of several it was that began the attachment is not known here.
        if self.requests.iter().filter(is_such).count() > 1 {
            return;
        }
        // Where the log no longer reaches back so far, the answer says where it begins.
        let begins = if history { reply.history_from.map_or(begins, position) } else { begins };
        if followed > appends
            && (!history || reply.replayed == Some(true))
            && after != begins
            && !(history && begins <= floor && after <= floor)
        {
            self.fail("VIS-5", format_args!("an attachment begins behind {after}, due is {begins}"));
        }
    }

    pub(super) fn listed(&mut self, link: usize, session: usize, reply: &Reply<'_>) {
        self.connections[link].unanswered = self.connections[link].unanswered.saturating_sub(1);
        let id = reply.request_id.as_ref().map_or(0, |id| hash(id.as_str().as_bytes()));
        // Of a request that somebody else put there it is not known when it was asked.
        let before = self.request(link, id).map_or(0, |index| self.requests[index].sights);
        let principal = self.sessions[session].principal.clone();
        for entry in reply.jobs.iter().flatten() {
            let Some(job) = self.job(read::ulid(entry.job_id.as_str())) else {
                self.fail("SEQ-6", format_args!("a list shows a job that is not stored"));
                return;
            };
            let (_, seen) = self.sights_since(before, &principal, job);
            if seen == 0 {
                self.fail("VIS-1", format_args!("{principal} is shown a job that it may not see"));
            } else if !self.is_committed(self.jobs[job].append) {
                self.fail("SEQ-6", format_args!("a list shows a job that is not committed"));
            }
            let status = entry.status.as_ref().map(read::Text::as_str).unwrap_or_default();
            let end = self.committed_end(job);
            if !matches!(status, "pending" | "running") && end != Some(status) {
                self.fail("JOB-1", format_args!("a list shows {status}, committed is {end:?}"));
            }
            if entry.agent.as_ref().map(read::Text::as_str) != Some(self.jobs[job].agent.as_str()) {
                self.fail("JOB-7", format_args!("a list shows another agent than the job's"));
            }
        }
    }
}

/// Of constraints as submitted, in Unix milliseconds.
fn expiry(constraints: &str) -> Option<i64> {
    let parsed: serde_json::Value = serde_json::from_str(constraints).ok()?;
    let at = arcp_proto::time::UnixTime::parse_rfc3339(parsed["expires_at"].as_str()?)?;
    Some(at.as_millis())
}
