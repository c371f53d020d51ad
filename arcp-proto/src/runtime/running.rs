//! Agents: their start, what they say, their end (protocol §3.4, §4.4).

use alloc::string::String;
use alloc::sync::Arc;

use crate::chunk::{ChunkRefused, ChunkWriter};
use crate::config::MAX_SEQ;
use crate::error::{ApiMisuse, Details, ErrorCode, Limit, WireError};
use crate::feature::Feature;
use crate::id::{ResultKey, SessionKey};
use crate::runtime::agent::{AgentEnd, AgentFailure, JobNews, StartJob};
use crate::runtime::collected::Collected;
use crate::runtime::job::{JobEdge, Standing};
use crate::runtime::output::Output;
use crate::runtime::store::{Command, Record, Trim};
use crate::runtime::{Effect, JobHandle, RuntimeEndpoint, RuntimeEvent, STORE_RETRY, Timer};
use crate::transition::Step;
use crate::wire::RawJson;
use crate::wire::delivery::Line;
use crate::wire::event::{ChunkEmission, Content, Emission, LoggedEvent, Outcome, Terminal};
use crate::wire::job::FinalStatus;
use crate::wire::peer::EndShape;

/// A result collected for a submitter without `result_chunk` may not be larger than a frame holds.
const INLINE_LIMIT: usize = 960 * 1_024;
const NOT_INLINE: &str = "the result does not fit into one frame, and the submitter takes no chunks";

impl RuntimeEndpoint {
    /// The acceptance is stored: the agent may run, unless the job was stopped meanwhile.
    pub(super) fn start(&mut self, handle: JobHandle) {
        let frame_limit = self.owner_frame_limit(handle);
        let owner = self.jobs.get(handle).and_then(|job| job.owner);
        let session = owner.and_then(|owner| self.sessions.get(owner)).map(|session| session.key);
        let Some(job) = self.jobs.get_mut(handle) else { return };
        let restart = job.restart.take();
        match job.state.on(JobEdge::Start) {
            Step::To(running) => job.state = running,
            Step::NoOp if restart.is_some() => {}
            Step::NoOp | Step::Illegal => return,
        }
        job.agent_runs = true;
        let input = job.input.take().unwrap_or_else(RawJson::null);
        let held = job.is_held();
        job.frame_limit = frame_limit;
        let start = StartJob {
            job: handle,
            key: job.key,
            agent: job.agent.clone(),
            input,
            trace_id: job.trace_id,
            principal: Arc::clone(&job.principal_name),
            session,
            lease: Arc::clone(&job.lease),
            parent: job.parentage.map(|parentage| parentage.job),
            credentials: job.credential.iter().map(|held| Arc::clone(&held.credential)).collect(),
            frame_limit,
            restart,
        };
        self.outputs.push_back(Output::StartJob(alloc::boxed::Box::new(start)));
        if held {
            self.outputs.push_back(Output::HoldJob(handle));
        }
    }

    /// Bytes an event of this job may take: what its owner's connection takes, 1 MiB without one.
    fn owner_frame_limit(&self, handle: JobHandle) -> usize {
        let owner =
            self.jobs.get(handle).and_then(|job| job.owner).and_then(|owner| self.sessions.get(owner));
        owner.map_or(1_048_576, |owner| owner.profile.frame_limit(owner.transport))
    }

    pub(super) fn emit(&mut self, handle: JobHandle, emission: Emission) -> Result<(), ApiMisuse> {
        let job = self.jobs.get(handle).ok_or(ApiMisuse::UnknownHandle)?;
        if !job.agent_runs {
            return Err(ApiMisuse::JobEnded);
        }
        let (bytes, limit) = (emission.encoded_len(), job.frame_limit);
        if bytes > limit {
            return Err(ApiMisuse::TooLarge { bytes, limit });
        }
        let due = self.charge(handle, &emission)?;
        self.produce(handle, Content::Event { kind: emission.kind, body: emission.body });
        self.tell_remaining(handle, due);
        Ok(())
    }

    /// Gives the content back if its frame fits the job's owner whole. Followers that take less get it shortened
    /// (D-99), the owner never does.
    fn fitting(&self, handle: JobHandle, content: Content) -> Result<Content, ApiMisuse> {
        let Some(job) = self.jobs.get(handle) else { return Err(ApiMisuse::UnknownHandle) };
        let owner = job.owner.and_then(|owner| self.sessions.get(owner));
        let line = match owner.and_then(|owner| owner.follows.get(&handle)) {
            Some(follow) => Arc::clone(&follow.line),
            None => {
                let session = SessionKey::from_ulid(job.key.ulid());
                let shape = owner.map_or(EndShape::PLAIN, |owner| owner.profile.end_shape());
                let limit = self.owner_frame_limit(handle);
                Arc::new(Line::new(session, job.trace_id, job.key, shape, limit))
            }
        };
        let event = LoggedEvent { ts: self.now.unix, pos: Some(MAX_SEQ), content };
        let (bytes, limit) = (line.whole_len(MAX_SEQ, &event), line.frame_limit());
        if bytes > limit { Err(ApiMisuse::TooLarge { bytes, limit }) } else { Ok(event.content) }
    }

    pub(super) fn emit_chunk(&mut self, handle: JobHandle, chunk: ChunkEmission) -> Result<(), ApiMisuse> {
        let collects = {
            let job = self.jobs.get(handle).ok_or(ApiMisuse::UnknownHandle)?;
            if !job.agent_runs {
                return Err(ApiMisuse::JobEnded);
            }
            let (bytes, limit) = (chunk.encoded_len(), job.frame_limit);
            if bytes > limit {
                return Err(ApiMisuse::TooLarge { bytes, limit });
            }
            job.collected.is_some() || (job.chunks.is_none() && !self.submitter_takes_chunks(handle))
        };
        if collects {
            return self.collect(handle, &chunk);
        }
        let Self { jobs, ids, entropy, now, config, .. } = self;
        let Some(job) = jobs.get_mut(handle) else { return Err(ApiMisuse::UnknownHandle) };
        let writer = job.chunks.get_or_insert_with(|| {
            let result = ResultKey::from_ulid(ids.ulid(now.unix, entropy));
            ChunkWriter::new(result, config.limits.result_bytes)
        });
        let encoding = chunk.encoding;
        let copy = job.parent.is_some().then(|| chunk.clone());
        match writer.push(chunk) {
            Ok(content) => {
                if let Some(copy) = &copy {
                    job.for_parent.get_or_insert_with(|| Collected::new(encoding)).push(copy);
                }
                let begins = !core::mem::replace(&mut job.streams_chunks, true);
                let owner = job.owner;
                self.produce(handle, content);
                if let Some(owner) = owner.filter(|_| begins) {
                    self.hold_new_job(handle, owner);
                }
                Ok(())
            }
            Err(ChunkRefused::Misuse(misuse)) => Err(misuse),
            Err(ChunkRefused::TooLarge) => {
                self.fail_job(handle, WireError::limit(Limit::ResultBytes, "the result is too large"));
                Err(ApiMisuse::JobEnded)
            }
        }
    }

    /// Ends a job that cannot go on; one that is being stopped ends by that reason all the same.
    pub(super) fn fail_job(&mut self, handle: JobHandle, error: WireError) {
        if self.jobs.get(handle).is_some_and(|job| job.stopping.is_some()) {
            self.end_stopped(handle);
        } else {
            self.end_job(handle, failed(error));
        }
    }

    /// Whether the owner of the job reads chunks; without an owner they are logged for whoever comes.
    fn submitter_takes_chunks(&self, handle: JobHandle) -> bool {
        let owner =
            self.jobs.get(handle).and_then(|job| job.owner).and_then(|owner| self.sessions.get(owner));
        owner.is_none_or(|owner| owner.features.has(Feature::ResultChunk))
    }

    /// Keeps a chunk for an inline result (D-43).
    fn collect(&mut self, handle: JobHandle, chunk: &ChunkEmission) -> Result<(), ApiMisuse> {
        let Some(job) = self.jobs.get_mut(handle) else { return Err(ApiMisuse::UnknownHandle) };
        let collected = job.collected.get_or_insert_with(|| Collected::new(chunk.encoding));
        if !collected.push(chunk) {
            return Err(ApiMisuse::Chunk("all chunks of a result have one encoding".into()));
        }
        if collected.len() > INLINE_LIMIT {
            let error = WireError::limit(Limit::ResultBytes, NOT_INLINE);
            self.fail_job(handle, error);
            return Err(ApiMisuse::JobEnded);
        }
        if job.parent.is_some() {
            job.for_parent.get_or_insert_with(|| Collected::new(chunk.encoding)).push(chunk);
        }
        Ok(())
    }

    pub(super) fn agent_ended(&mut self, handle: JobHandle, end: AgentEnd) -> Result<(), ApiMisuse> {
        let job = self.jobs.get_mut(handle).ok_or(ApiMisuse::UnknownHandle)?;
        if !job.agent_runs {
            return Err(ApiMisuse::JobEnded);
        }
        job.agent_runs = false;
        if job.stopping.is_some() {
            self.end_stopped(handle);
            return Ok(());
        }
        let terminal = match end {
            AgentEnd::Value { value, summary } => self.returned(handle, value, summary),
            AgentEnd::Failure(failure) => failed(failure.into_error()),
        };
        self.end_job(handle, terminal);
        Ok(())
    }

    fn returned(&mut self, handle: JobHandle, value: RawJson, summary: Option<String>) -> Terminal {
        let summary = summary.filter(|summary| !summary.is_empty());
        let Some(job) = self.jobs.get_mut(handle) else { return failed(internal("the job is gone")) };
        let streams = job.chunks.is_some() || job.collected.is_some();
        if streams && !value.is_null() {
            return failed(internal("the agent returned a value behind a streamed result"));
        }
        if let Some(collected) = job.collected.take() {
            let terminal = Terminal { outcome: Outcome::Inline(collected.into_value()), summary };
            let error = WireError::limit(Limit::ResultBytes, NOT_INLINE);
            return self.inline_or(handle, terminal, error);
        }
        let Some(writer) = &mut job.chunks else {
            let terminal = Terminal { outcome: Outcome::Inline(value), summary };
            let error = WireError::limit(Limit::Frame, "the result does not fit into one frame; stream it");
            return self.inline_or(handle, terminal, error);
        };
        // A stream the agent left open is closed, so that a successful one always has its last chunk.
        let closing = writer.finish();
        let outcome = writer.outcome();
        if let Some(closing) = closing {
            self.produce(handle, closing);
        }
        match outcome {
            Some(outcome) => Terminal { outcome, summary },
            None => failed(internal("the streamed result could not be closed")),
        }
    }

    /// The terminal if its frame fits the owner, else `error`.
    fn inline_or(&self, handle: JobHandle, terminal: Terminal, error: WireError) -> Terminal {
        match self.fitting(handle, Content::End(terminal)) {
            Ok(Content::End(terminal)) => terminal,
            _ => failed(error),
        }
    }

    /// Ends a job: its one terminal, last of its frames in every stream.
    pub(super) fn end_job(&mut self, handle: JobHandle, terminal: Terminal) {
        let status = terminal.status();
        let Some(job) = self.jobs.get_mut(handle) else { return };
        let was_started = job.state == super::JobState::Running;
        let Step::To(state) = job.state.on(JobEdge::to(status)) else { return };
        job.state = state;
        job.grace_ends = None;
        job.chunks = None;
        job.collected = None;
        let runs = core::mem::replace(&mut job.agent_runs, false);
        let (principal, owner, is_child) = (job.principal, job.owner, job.parentage.is_some());
        let news = job.parent.map(|parent| {
            (
                parent,
                JobNews::ChildEnded { child: handle, end: self.end_for_parent(handle, &terminal.outcome) },
            )
        });
        let refund = self.give_back(handle);
        self.revoke_with_job(handle);
        self.produce(handle, Content::End(terminal));
        self.leave_parent(handle);
        if let Some((parent, due)) = refund {
            self.tell_remaining(parent, due);
        }
        // Those who read it live have its end; those who read history find it there.
        let followers: alloc::vec::Vec<_> = self
            .jobs
            .get(handle)
            .map(|job| job.live.iter().map(|live| live.session).collect())
            .unwrap_or_default();
        for session in followers {
            self.end_follow(session, handle);
        }
        if let Some(owner) = owner.and_then(|owner| self.sessions.get_mut(owner)) {
            owner.owned.remove(&handle);
        }
        if runs {
            self.outputs.push_back(Output::KillJob(handle));
        }
        let holder = self.principals.at(principal);
        holder.unfinished_jobs = holder.unfinished_jobs.saturating_sub(1);
        holder.finished.push_back(handle);
        if !is_child && (was_started || !remove_queued(holder, handle)) {
            holder.running_jobs = holder.running_jobs.saturating_sub(1);
        }
        self.timers.arm(self.now.mono.after(self.config.retention), Timer::Retention(handle));
        self.run_after_all(Effect::Ended(handle));
        if let Some((parent, news)) = news {
            self.run_after_all(Effect::Tell(parent, alloc::boxed::Box::new(news)));
        }
        self.stop_children(handle);
        self.start_queued(principal);
    }

    pub(super) fn job_ended(&mut self, handle: JobHandle) {
        let Some(job) = self.jobs.get(handle) else { return };
        let status = match job.state {
            super::JobState::Success => FinalStatus::Success,
            super::JobState::Cancelled => FinalStatus::Cancelled,
            super::JobState::TimedOut => FinalStatus::TimedOut,
            super::JobState::Error | super::JobState::Pending | super::JobState::Running => {
                FinalStatus::Error
            }
        };
        let key = job.key;
        self.event(RuntimeEvent::JobEnded { job: key, status });
    }

    /// Starts jobs that waited for a place, first come first served.
    pub(super) fn start_queued(&mut self, principal: super::principal::PrincipalHandle) {
        loop {
            let holder = self.principals.at(principal);
            if holder.running_jobs >= self.config.limits.running_jobs {
                return;
            }
            // One that waits for its credential lets others go before it.
            let may_start = |job: &JobHandle| self.jobs.get(*job).is_none_or(|job| !job.lost_credential);
            let Some(next) = holder.queued.iter().position(may_start) else { return };
            let Some(next) = holder.queued.remove(next) else { return };
            holder.running_jobs += 1;
            let Some(job) = self.jobs.get_mut(next) else { continue };
            let position = self.log.append(Record::Started { job: job.key }, 64);
            let standing = Standing {
                state: super::JobState::Running,
                last_origin: job.last_origin,
                last_pos: job.last_pos(),
            };
            self.log.stands(next, &mut job.mark, standing);
            self.run_after(position, Effect::Start(next));
        }
    }

    /// A finished job and its key are remembered for a day.
    pub(super) fn forget_job(&mut self, handle: JobHandle) {
        let Some(job) = self.jobs.get(handle).filter(|job| job.state.is_final()) else { return };
        if self.log.is_full() || !self.log.is_committed(job.delivered) {
            // What sessions were numbered of it is not stored, and must not be without it; nor must ends of sessions be late.
            return self.timers.arm(self.now.mono.after(STORE_RETRY), Timer::Retention(handle));
        }
        let readers = job.catching.clone();
        for session in readers {
            self.kill_session(session, Limit::History, "the job is no longer remembered");
        }
        let Some(job) = self.jobs.remove(handle) else { return };
        self.job_keys.remove(&job.key);
        let holder = self.principals.at(job.principal);
        holder.finished.retain(|finished| *finished != handle);
        holder.jobs.remove(&job.key);
        holder.buffered = holder.buffered.saturating_sub(job.retention.total().total());
        if let Some(key) = &job.idempotency_key {
            holder.keys.remove(key);
        }
        self.command(Command::Trim(Trim::WholeJob(job.key)));
        self.forget_credentials(&job.credential_keys);
        self.principals.leave(job.principal, &self.config.limits, self.now.mono);
    }
}

fn remove_queued(holder: &mut super::principal::Principal, handle: JobHandle) -> bool {
    let before = holder.queued.len();
    holder.queued.retain(|queued| *queued != handle);
    holder.queued.len() != before
}

fn failed(error: WireError) -> Terminal {
    Terminal { outcome: Outcome::Failed(error), summary: None }
}

fn internal(message: &'static str) -> WireError {
    WireError::new(ErrorCode::InternalError, message)
}

impl AgentFailure {
    /// The error of the job's terminal. An agent may end with some codes only (protocol §3.4); the rest are the
    /// runtime's to give.
    fn into_error(self) -> WireError {
        let code = match self.code {
            ErrorCode::PermissionDenied
            | ErrorCode::BudgetExhausted
            | ErrorCode::LeaseExpired
            | ErrorCode::LeaseSubsetViolation
            | ErrorCode::InvalidRequest
            | ErrorCode::AgentNotAvailable
            | ErrorCode::AgentVersionNotAvailable => self.code,
            ErrorCode::JobNotFound
            | ErrorCode::DuplicateKey
            | ErrorCode::Cancelled
            | ErrorCode::Timeout
            | ErrorCode::ResumeWindowExpired
            | ErrorCode::HeartbeatLost
            | ErrorCode::Unauthenticated
            | ErrorCode::InternalError => ErrorCode::InternalError,
        };
        let message = if self.message.is_empty() { String::from("the agent failed") } else { self.message };
        let error = WireError::new(code, message);
        match self.agent_code.filter(|code| !code.is_empty()) {
            Some(code) => error.with(Details::AgentCode(crate::wire::truncated(&code, 128).into())),
            None => error,
        }
    }
}
