//! Listing jobs, page by page.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arcp_proto::client::ListQuery;
use arcp_proto::time::UnixTime;
use arcp_proto::wire::list::{JobEntry, Jobs};
use futures_core::Stream;

use super::request::{Command, Pending};
use super::{ClientError, Link};

/// The jobs this client's principal may see, newest first: made by [`Client::jobs`](crate::Client::jobs), asked for page by
/// page while it is read.
///
/// Every job that exists from the first page to the last comes exactly once. Choosing other jobs once some were read
/// begins anew.
///
/// ```no_run
/// # async fn example(client: arcp_driver::Client) -> Result<(), arcp_driver::ClientError> {
/// let mut jobs = client.jobs().status("running").status("pending").agent("summarise");
/// while let Some(job) = jobs.next().await {
///     let job = job?;
///     println!("{} {}", job.job_id, job.status.as_deref().unwrap_or("?"));
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is asked for unless it is read"]
pub struct JobList {
    link: Link,
    query: ListQuery,
    step: Step,
    /// Of the newest page, not yet with the application.
    page: VecDeque<JobEntry>,
}

enum Step {
    /// The page that `query` names is to be asked for.
    Ask,
    Waiting(Pending<Box<Jobs>>),
    Done,
}

impl JobList {
    pub(super) fn new(link: Link) -> Self {
        Self { link, query: ListQuery::default(), step: Step::Ask, page: VecDeque::new() }
    }

    /// Only jobs in this state: `pending`, `running`, `success`, `error`, `cancelled` or `timed_out`. Several calls add up.
    pub fn status(self, name: impl Into<String>) -> Self {
        self.change(|query| query.status(name))
    }

    /// Only jobs of this agent: `name` for all versions, `name@version` for one.
    pub fn agent(self, agent: impl Into<String>) -> Self {
        self.change(|query| query.agent(agent))
    }

    /// Only jobs created later than this.
    pub fn created_after(self, time: UnixTime) -> Self {
        self.change(|query| query.created_after(time))
    }

    /// Only jobs created earlier than this.
    pub fn created_before(self, time: UnixTime) -> Self {
        self.change(|query| query.created_before(time))
    }

    /// How many jobs to ask for at once, 1 to 500; 100 unless given. The runtime may give fewer at once, and all in the end.
    pub fn page_size(self, jobs: u64) -> Self {
        self.change(|query| query.page_size(jobs))
    }

    fn change(mut self, change: impl FnOnce(ListQuery) -> ListQuery) -> Self {
        self.query.cursor = None;
        self.query = change(self.query);
        self.step = Step::Ask;
        self.page.clear();
        self
    }

    /// The next job; `None` behind the last one.
    ///
    /// # Errors
    /// [`ClientError`] if a page cannot be had; nothing follows then.
    pub async fn next(&mut self) -> Option<Result<JobEntry, ClientError>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// All that are left.
    ///
    /// # Errors
    /// [`ClientError`] if a page cannot be had.
    pub async fn all(mut self) -> Result<Vec<JobEntry>, ClientError> {
        let mut jobs = Vec::new();
        while let Some(job) = self.next().await {
            jobs.push(job?);
        }
        Ok(jobs)
    }
}

impl Stream for JobList {
    type Item = Result<JobEntry, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(job) = this.page.pop_front() {
                return Poll::Ready(Some(Ok(job)));
            }
            match &mut this.step {
                Step::Ask => {
                    let query = Box::new(this.query.clone());
                    this.step = Step::Waiting(Pending::ask(&this.link, |reply| Command::List(query, reply)));
                }
                Step::Waiting(pending) => match ready!(Pin::new(pending).poll(cx)) {
                    Ok(page) => {
                        let Jobs { jobs, next_cursor, .. } = *page;
                        this.page = jobs.into();
                        this.step = if next_cursor.is_some() { Step::Ask } else { Step::Done };
                        this.query.cursor = next_cursor;
                    }
                    Err(error) => {
                        this.step = Step::Done;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Step::Done => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for JobList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobList").field("query", &self.query).finish_non_exhaustive()
    }
}
