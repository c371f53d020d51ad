//! Pages of the store on their way into a stream: what the window no longer holds, and history (protocol §3.6, D-101).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::close::CloseCode;
use crate::error::{ErrorCode, Limit, WireError};
use crate::replay::Retention;
use crate::runtime::job::Hold;
use crate::runtime::log::Log;
use crate::runtime::session::{Following, Reading, ReadingWhat, Strain};
use crate::runtime::store::{
    Command, Cost, Delivered, JobPage, PageLimit, Place, Record, StoreDone, StoreId,
};
use crate::runtime::{JobHandle, RuntimeEndpoint, SessionHandle};
use crate::wire::delivery::Line;
use crate::wire::event::{Content, LoggedEvent};

/// One page: enough to keep a connection busy, little to hold in memory. Short in tests, where few events are to be
/// many pages.
const PAGE: PageLimit = PageLimit { events: if cfg!(test) { 16 } else { 256 }, bytes: 1 << 20 };

/// Pages without anything new that a reader is given in a row before the store is taken to have lost what the job's row
/// promises. One may come while a follow is taken back and begun again.
const FRUITLESS_PAGES: u8 = 3;

impl RuntimeEndpoint {
    /// Asks for the next page a session needs, if it needs one and has room for it. One is outstanding at a time.
    pub(super) fn read_on(&mut self, handle: SessionHandle) {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get(handle) else { return };
        let Some(connection) = session.attached else { return };
        let is_active = self
            .connections
            .get(connection)
            .is_some_and(|state| matches!(state.phase, super::connection::Phase::Active(_)));
        if !is_active || session.reading.is_some() {
            return;
        }
        let (key, epoch) = (session.key, session.epoch);
        if let Some(after) = session.window.missing_behind() {
            // What is in memory and unsent goes first; a page that finds no room would be read in vain.
            if !session.window.has_room(limits.window_events / 2, limits.window_bytes / 2) {
                return;
            }
            let id = self.command(Command::ReadSession { session: key, after, limit: PAGE });
            return self.now_reading(handle, Reading { id, epoch, what: ReadingWhat::Window });
        }
        // What a full store has not taken cannot be read from it; its recovery reads on.
        if self.log.is_full() {
            return;
        }
        // History is numbered while there is room to send it, not at once.
        let room = session.unsent() < (limits.window_events / 2) as u64;
        let Some(job) = session.catching.front().copied().filter(|_| room) else { return };
        let Some(follow) = session.follows.get(&job) else { return };
        let after = match &follow.state {
            Following::Opening { from, .. } => *from,
            Following::CatchingUp { through } => {
                let through = *through;
                if self.joins_live(handle, job, through) {
                    return self.read_on(handle);
                }
                Place::Position(through)
            }
            Following::Live => return,
        };
        let Some(key) = self.jobs.get(job).map(|job| job.key) else { return };
        let id = self.command(Command::ReadJob { job: key, after, limit: PAGE });
        self.now_reading(handle, Reading { id, epoch, what: ReadingWhat::History(job) });
    }

    fn now_reading(&mut self, handle: SessionHandle, reading: Reading) {
        self.reads.insert(reading.id, handle);
        if let Some(session) = self.sessions.get_mut(handle) {
            session.reading = Some(reading);
        }
    }

    /// Followers whose next events were not stored yet when they last looked.
    pub(super) fn read_on_after_commit(&mut self) {
        for session in self.catching_sessions.iter().copied().collect::<Vec<_>>() {
            self.read_on(session);
        }
    }

    pub(super) fn page_read(&mut self, handle: SessionHandle, id: StoreId, done: StoreDone) {
        let Some(session) = self.sessions.get_mut(handle) else { return };
        // A page asked for before a resume answers a question nobody asks any more.
        let Some(reading) =
            session.reading.filter(|reading| reading.id == id && reading.epoch == session.epoch)
        else {
            return;
        };
        session.reading = None;
        match (reading.what, done) {
            (ReadingWhat::Window, StoreDone::Session(events)) if !events.is_empty() => {
                self.refill(handle, events)
            }
            (ReadingWhat::History(job), StoreDone::Job(page)) => {
                let stood = self.standing(handle, job);
                self.history_read(handle, job, page);
                let stands_still = stood.is_some() && stood == self.standing(handle, job);
                let Some(session) = self.sessions.get_mut(handle) else { return };
                session.fruitless_pages = if stands_still { session.fruitless_pages + 1 } else { 0 };
                if session.fruitless_pages >= FRUITLESS_PAGES {
                    return self.fail_unreadable(handle);
                }
            }
            // An empty page here would be a hole, and a failed one must not look like an empty one.
            _ => return self.fail_unreadable(handle),
        }
        self.read_on(handle);
    }

    /// Where a follower stands in a job's history.
    fn standing(&self, handle: SessionHandle, job: JobHandle) -> Option<Following> {
        self.sessions.get(handle)?.follows.get(&job).map(|follow| follow.state.clone())
    }

    fn fail_unreadable(&mut self, handle: SessionHandle) {
        let Some(session) = self.sessions.get_mut(handle) else { return };
        session.fruitless_pages = 0;
        if let Some(connection) = session.attached {
            let error = WireError::new(ErrorCode::InternalError, "stored events could not be read");
            self.fail(connection, &error, CloseCode::Fault);
        }
    }

    fn refill(&mut self, handle: SessionHandle, events: Vec<Delivered>) {
        let Self { sessions, jobs, job_keys, config, .. } = self;
        let Some(session) = sessions.get_mut(handle) else { return };
        let most = (config.limits.window_events, config.limits.window_bytes);
        for Delivered { seq, job, event } in events {
            let trace = job_keys.get(&job).and_then(|job| jobs.get(*job)).map(|job| job.trace_id);
            let line = match (session.lines.get(&job), trace) {
                (Some(line), _) => Arc::clone(line),
                (None, Some(trace)) => session.line(job, trace),
                // The trace that its frames carry went with the job, so they cannot be sent again.
                (None, None) => {
                    let message = "a job of this stream is no longer remembered";
                    return self.kill_session(handle, Limit::History, message);
                }
            };
            let cost = event.cost();
            if !session.window.push(seq, line, event, cost, most) {
                break;
            }
        }
        if let Some(connection) = session.attached
            && session.window.can_pull()
        {
            self.announce_if_active(connection);
        }
    }

    fn history_read(&mut self, handle: SessionHandle, job: JobHandle, page: JobPage) {
        let is_own = self.is_own(handle, job);
        let Some(session) = self.sessions.get_mut(handle) else { return };
        let Some(follow) = session.follows.get_mut(&job) else { return };
        let state = follow.state.clone();
        match state {
            Following::Opening { request_id, from, mut seam, seam_pos } => {
                let first = page.events.first().and_then(|logged| logged.event.pos);
                let floor = self.jobs.get(job).map_or(0, |job| job.retention.floor());
                let after = match (first, from) {
                    (Some(first), _) => first - 1,
                    (None, Place::Position(pos)) => pos.max(floor),
                    (None, Place::Origin(_)) => floor,
                };
                if after < floor {
                    // The log gave up the page's beginning while it was on its way.
                    let from = Place::Position(floor);
                    follow.state = Following::Opening { request_id, from, seam, seam_pos };
                    return;
                }
                if after < seam_pos && first.is_some() {
                    seam.replayed = true;
                    seam.history_from = Some(if is_own { page.before } else { after });
                }
                self.history_opens(handle, job, request_id, seam, after);
                self.deliver_page(
                    handle,
                    job,
                    after,
                    page.events.into_iter().map(|logged| logged.event).collect(),
                );
            }
            Following::CatchingUp { through } => {
                let events = page.events.into_iter().map(|logged| logged.event).collect();
                self.deliver_page(handle, job, through, events);
            }
            Following::Live => {}
        }
    }

    /// Numbers a page of history in a session; ends the follow at the terminal.
    fn deliver_page(
        &mut self,
        handle: SessionHandle,
        job: JobHandle,
        through: u64,
        events: Vec<Arc<LoggedEvent>>,
    ) {
        let Self { sessions, jobs, log, config, .. } = self;
        let (Some(session), Some(state)) = (sessions.get_mut(handle), jobs.get_mut(job)) else { return };
        let Some(follow) = session.follows.get(&job) else { return };
        state.delivered = log.position();
        let line: Arc<Line> = Arc::clone(&follow.line);
        let (session_key, job_key) = (session.key, state.key);
        let before = session.last();
        let mut first_seq = before + 1;
        let mut positions = Vec::new();
        let mut total = Cost::default();
        let deliver = |log: &mut Log<_>, first_seq, positions: Vec<u64>, through, cost| {
            let bytes = 64 + positions.len() as u64 * 8;
            let record =
                Record::Deliver { session: session_key, job: job_key, first_seq, positions, through, cost };
            log.append(record, bytes);
        };
        let mut reached = through;
        let mut ended = false;
        let mut strain = Strain::default();
        for event in events {
            let Some(pos) = event.pos.filter(|pos| *pos == reached + 1) else { continue };
            reached = pos;
            ended = matches!(event.content, Content::End(_));
            if !session.takes(&event.content) {
                continue;
            }
            if !session.has_numbers() {
                return self.kill_session(handle, Limit::EventSeq, "the session's numbers are used up");
            }
            let cost = event.cost();
            // A row knows only what a record costs in all, and must be able to give up as little as the session does.
            if !positions.is_empty() && Retention::fills_block(positions.len() as u64, total, cost) {
                deliver(
                    log,
                    first_seq,
                    core::mem::take(&mut positions),
                    pos - 1,
                    core::mem::take(&mut total),
                );
                first_seq = session.last() + 1;
            }
            let (seq, one) = session.number(&line, &event, cost, &config.limits);
            log.numbered(handle, &mut session.mark, seq);
            strain.lags |= one.lags;
            strain.over |= one.over;
            positions.push(pos);
            total.add(cost);
        }
        if reached == through {
            return;
        }
        if session.last() > before {
            session.first_number(job, before + 1);
        }
        deliver(log, first_seq, positions, reached, total);
        if let Some(follow) = session.follows.get_mut(&job) {
            follow.state = Following::CatchingUp { through: reached };
        }
        if strain.any() {
            self.relieve(handle, strain, job, ended);
        }
        let Some(session) = self.sessions.get_mut(handle) else { return };
        // Readers take turns, page by page.
        if session.catching.front() == Some(&job) {
            session.catching.rotate_left(1);
        }
        if ended {
            self.end_follow(handle, job);
        } else {
            self.joins_live(handle, job, reached);
        }
        self.weigh(handle);
    }

    /// Joins the live stream if everything behind `through` is still in memory, or nothing is there.
    fn joins_live(&mut self, handle: SessionHandle, job: JobHandle, through: u64) -> bool {
        let Some(state) = self.jobs.get(job) else { return false };
        if state.last_pos() == through {
            if state.state.is_final() {
                self.end_follow(handle, job);
            } else {
                self.goes_live(job, handle);
            }
            return true;
        }
        let Some(tail) = state.tail.behind(through) else { return false };
        let events: Vec<_> = tail.map(Arc::clone).collect();
        if events.is_empty() {
            return false;
        }
        self.deliver_page(handle, job, through, events);
        true
    }

    /// Holds a job whose owner still reads history that the log is about to give up.
    pub(super) fn hold_for_history(&mut self, job: JobHandle) {
        let Some(state) = self.jobs.get(job) else { return };
        let limits = &self.config.limits;
        let total = state.retention.total();
        let near = |value: u64, limit: u64| value.saturating_mul(10) >= limit.saturating_mul(8);
        let is_near = near(state.retention.len(), limits.log_events)
            || near(total.bytes, limits.log_bytes)
            || near(total.chunk_bytes, limits.log_chunk_bytes);
        let owner_reads = state.owner.is_some_and(|owner| {
            state.catching.contains(&owner)
                && self.sessions.get(owner).is_some_and(|session| session.attached.is_some())
        });
        self.hold(job, Hold::History, is_near && owner_reads);
    }
}
