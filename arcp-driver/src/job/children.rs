//! The jobs that a job delegates, as they come.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arcp_proto::client::RequestId;
use futures_core::Stream;

use super::Job;
use crate::client::{Command, Link};
use crate::queue::Receiver;

/// The jobs that were delegated for a job, and for these in turn, each from its first event; made by [`Job::children`].
///
/// [`Accepted::parent_job_id`](crate::Accepted::parent_job_id) says whose child each of them is. They end when the job and
/// all its children have, or the session. Dropping it drops those that were not taken, and no more come.
#[derive(Default)]
pub struct Children {
    source: Option<Source>,
    taken: VecDeque<Job>,
}

struct Source {
    link: Link,
    request: RequestId,
    queue: Receiver<Job>,
}

impl Children {
    pub(crate) const fn new(link: Link, request: RequestId, queue: Receiver<Job>) -> Self {
        Self { source: Some(Source { link, request, queue }), taken: VecDeque::new() }
    }

    /// The next child; `None` once there will be no more.
    pub async fn next(&mut self) -> Option<Job> {
        std::future::poll_fn(|cx| self.poll_child(cx)).await
    }

    fn poll_child(&mut self, cx: &Context<'_>) -> Poll<Option<Job>> {
        if self.taken.is_empty()
            && let Some(source) = &self.source
        {
            ready!(source.queue.poll_take(cx, &mut self.taken));
        }
        Poll::Ready(self.taken.pop_front())
    }
}

impl Stream for Children {
    type Item = Job;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Job>> {
        self.poll_child(cx)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.link.commands.force(Command::DropChildren(self.request));
        drop(self.queue.close());
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Children")
    }
}
