//! A job and what is delegated for it, read side by side.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use arcp_driver::{Children, Job, JobError, JobEvent, JobId};
use futures_core::Stream;

/// The children of one job, those of theirs, and so on.
pub(crate) struct Family {
    /// Until no more come.
    children: Option<Children>,
    running: Vec<Child>,
    /// How far from the job at the beginning each of them is.
    depths: HashMap<JobId, usize>,
    own_is_over: bool,
}

/// A delegated job.
pub(crate) struct Child {
    pub(crate) job: Job,
    pub(crate) depth: usize,
}

/// What comes next.
pub(crate) enum News {
    /// Of the job itself.
    Own(Result<JobEvent, JobError>),
    /// A child has begun.
    Begun(JobId),
    /// Of a child.
    Of(JobId, Result<JobEvent, JobError>),
    /// A child has ended.
    Ended(Box<Child>),
    /// All have ended.
    Over,
}

impl Family {
    /// The children of this job, if its submit asked for them.
    pub(crate) fn of(job: &mut Job) -> Self {
        Self {
            children: Some(job.children()),
            running: Vec::new(),
            depths: HashMap::new(),
            own_is_over: false,
        }
    }

    /// A child that runs, by its id.
    pub(crate) fn child(&self, id: &JobId) -> Option<&Child> {
        self.running.iter().find(|child| child.job.id() == id)
    }

    /// What comes next of `job` or of any child; of what is there already, the job's own comes first.
    pub(crate) async fn next(&mut self, job: &mut Job) -> News {
        std::future::poll_fn(|cx| self.poll_next(job, cx)).await
    }

    fn poll_next(&mut self, job: &mut Job, cx: &mut Context<'_>) -> Poll<News> {
        if !self.own_is_over
            && let Poll::Ready(next) = Pin::new(job).poll_next(cx)
        {
            match next {
                Some(event) => return Poll::Ready(News::Own(event)),
                None => self.own_is_over = true,
            }
        }
        if let Some(children) = &mut self.children
            && let Poll::Ready(next) = Pin::new(children).poll_next(cx)
        {
            match next {
                Some(job) => return Poll::Ready(News::Begun(self.begin(job))),
                None => self.children = None,
            }
        }
        for at in 0..self.running.len() {
            let job = &mut self.running[at].job;
            if let Poll::Ready(next) = Pin::new(&mut *job).poll_next(cx) {
                return Poll::Ready(match next {
                    Some(event) => News::Of(job.id().clone(), event),
                    None => News::Ended(Box::new(self.running.remove(at))),
                });
            }
        }
        if self.own_is_over && self.children.is_none() && self.running.is_empty() {
            return Poll::Ready(News::Over);
        }
        Poll::Pending
    }

    fn begin(&mut self, job: Job) -> JobId {
        let id = job.id().clone();
        let parent = job.accepted().parent_job_id.as_ref();
        let depth = 1 + parent.and_then(|parent| self.depths.get(parent)).copied().unwrap_or_default();
        self.depths.insert(id.clone(), depth);
        self.running.push(Child { job, depth });
        id
    }
}
