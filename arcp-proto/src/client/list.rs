//! Listing jobs (protocol §2.7).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::client::ClientEndpoint;
use crate::client::output::{ClientEvent, RequestId};
use crate::client::requests::{Ask, Kind};
use crate::error::ApiMisuse;
use crate::time::{Now, UnixTime};
use crate::wire::Envelope;
use crate::wire::list::{Jobs, LARGEST_PAGE, ListJobs};

/// State names a filter may have.
const MAX_STATUS_NAMES: usize = 64;
const MAX_STATUS_BYTES: usize = 128;
/// `name@version` at its longest.
const MAX_AGENT_BYTES: usize = 193;
/// The longest cursor any runtime's page may have, far below what a frame takes.
const MAX_CURSOR_BYTES: usize = 64 * 1_024;

/// Which jobs to list, and which page of them (protocol §2.7). The default is the newest jobs of all kinds.
///
/// ```
/// use arcp_proto::client::ListQuery;
///
/// let query = ListQuery::default().status("running").status("pending").agent("sorter").page_size(20);
/// # let _ = query;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ListQuery {
    /// State names, of which a job must have one; empty for every state. At most 64 of 1 to 128 bytes.
    pub status: Vec<String>,
    /// `name` for all versions of an agent, `name@version` for one; 1 to 193 bytes.
    pub agent: Option<String>,
    /// Only jobs created later than this.
    pub created_after: Option<UnixTime>,
    /// Only jobs created earlier than this.
    pub created_before: Option<UnixTime>,
    /// Jobs on a page, 1 to 500; the runtime may give fewer. `None` leaves it to the runtime.
    pub page_size: Option<u64>,
    /// The `next_cursor` of the page before; `None` for the first page. Everything but `page_size` must be as it was.
    pub cursor: Option<String>,
}

impl ListQuery {
    /// Lists jobs in this state, too.
    #[must_use]
    pub fn status(mut self, name: impl Into<String>) -> Self {
        self.status.push(name.into());
        self
    }

    /// Lists only jobs of this agent: `name`, or `name@version`.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// Lists only jobs created later than `time`.
    #[must_use]
    pub const fn created_after(mut self, time: UnixTime) -> Self {
        self.created_after = Some(time);
        self
    }

    /// Lists only jobs created earlier than `time`.
    #[must_use]
    pub const fn created_before(mut self, time: UnixTime) -> Self {
        self.created_before = Some(time);
        self
    }

    /// Asks for at most this many jobs, 1 to 500.
    #[must_use]
    pub const fn page_size(mut self, jobs: u64) -> Self {
        self.page_size = Some(jobs);
        self
    }

    /// Goes on behind the page that named this cursor.
    #[must_use]
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    fn check(&self) -> Result<(), ApiMisuse> {
        let refuse = |allowed: &'static str| Err(ApiMisuse::OutOfRange(allowed.into()));
        let is_name = |text: &String, most: usize| (1..=most).contains(&text.len());
        if self.status.len() > MAX_STATUS_NAMES
            || !self.status.iter().all(|name| is_name(name, MAX_STATUS_BYTES))
        {
            return refuse("a list takes at most 64 state names of 1..=128 bytes");
        }
        if !self.agent.as_ref().is_none_or(|agent| is_name(agent, MAX_AGENT_BYTES)) {
            return refuse("an agent takes 1..=193 bytes");
        }
        if !self.page_size.is_none_or(|jobs| (1..=LARGEST_PAGE).contains(&jobs)) {
            return refuse("a page takes 1..=500 jobs");
        }
        if !self.cursor.as_ref().is_none_or(|cursor| is_name(cursor, MAX_CURSOR_BYTES)) {
            return refuse("a cursor is what the page before named as the next one");
        }
        Ok(())
    }
}

impl From<ListQuery> for ListJobs {
    fn from(query: ListQuery) -> Self {
        Self {
            status: query.status,
            agent: query.agent,
            created_after: query.created_after,
            created_before: query.created_before,
            limit: query.page_size,
            cursor: query.cursor,
        }
    }
}

impl ClientEndpoint {
    /// Asks for a page of the jobs this principal may see, newest first. Answered by [`ClientEvent::Jobs`] or
    /// [`ClientEvent::Rejected`] (protocol §2.7). It is asked again after every loss until it is answered.
    ///
    /// # Errors
    /// The query is out of range, or the session is closed.
    pub fn list_jobs(&mut self, now: Now, query: ListQuery) -> Result<RequestId, ApiMisuse> {
        self.refuse_after_end()?;
        query.check()?;
        let request = self.requests.add(Ask::List(Box::new(query.into())));
        self.send_waiting(now);
        self.settle(now);
        Ok(request)
    }

    /// `session.jobs`.
    pub(super) fn on_jobs(&mut self, envelope: &Envelope<'_>) {
        let request = self
            .answered_request(envelope)
            .or_else(|| self.guessed_request(envelope, &[Kind::List], &[], None, None))
            .filter(|request| matches!(self.requests.get(*request), Some(Ask::List(_))));
        let (Some(request), Ok(mut page)) = (request, Jobs::read(&envelope.payload)) else {
            self.ignored += 1;
            return;
        };
        self.backoff.progress();
        // A cursor that is empty, or leads back to the page it came with, leads nowhere.
        if let Some(Ask::List(list)) = self.requests.close(request) {
            page.next_cursor =
                page.next_cursor.filter(|next| !next.is_empty() && list.cursor.as_ref() != Some(next));
        }
        self.event(ClientEvent::Jobs { request, page: Box::new(page) });
    }
}
