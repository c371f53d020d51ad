//! One handle's view of a job.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arcp_proto::chunk::Assembler;
use arcp_proto::client::ClosedReason;
use arcp_proto::id::JobId;
use arcp_proto::wire::body::EventBody;
use arcp_proto::wire::credential::Credential;
use arcp_proto::wire::event::{EventKind, EventPayload};
use arcp_proto::wire::job::{Ended, FinalStatus};

use super::{JobError, JobEvent, JobOutput};
use crate::client::{Command, Feed, Link, News, Taken};
use crate::queue::lock;

/// Events after which the driver is told that they were taken, at the latest.
const REPORT: usize = 256;

/// A handle on a job that is followed.
pub(crate) struct Follow {
    link: Link,
    id: JobId,
    feed: Feed,
    /// Out of the queue and not yet with the application.
    news: VecDeque<News>,
    /// With the application, and the driver does not know.
    taken: Taken,
    joined_late: bool,
    chunks: Assembler,
    end: Option<End>,
}

/// Why nothing more comes.
enum End {
    Output(Result<JobOutput, JobError>),
    WasOver(FinalStatus),
    Closed(Arc<ClosedReason>),
    DriverDropped,
}

impl Follow {
    pub(crate) fn new(link: Link, id: JobId, feed: Feed, joined_late: bool) -> Self {
        Self {
            link,
            id,
            feed,
            news: VecDeque::new(),
            taken: Taken::default(),
            joined_late,
            chunks: chunks(joined_late),
            end: None,
        }
    }

    pub(crate) const fn id(&self) -> &JobId {
        &self.id
    }

    /// The credentials that are good as far as is known.
    pub(crate) fn credentials(&self) -> Vec<Credential> {
        lock(&self.feed.credentials).as_slice().to_vec()
    }

    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Result<JobEvent, JobError>>> {
        loop {
            while let Some(news) = self.news.pop_front() {
                if let Some(item) = self.hear(news) {
                    return Poll::Ready(Some(item));
                }
            }
            self.report();
            if self.end.is_some() {
                return Poll::Ready(None);
            }
            if !ready!(self.feed.queue.poll_take(cx, &mut self.news)) {
                self.end = Some(End::DriverDropped);
                return Poll::Ready(Some(Err(JobError::DriverDropped)));
            }
        }
    }

    pub(crate) async fn output(&mut self) -> Result<JobOutput, JobError> {
        while self.end.is_none() {
            // What is wrong with an event on the way is not wrong with the result.
            let _ = std::future::poll_fn(|cx| self.poll_next(cx)).await;
        }
        match &self.end {
            Some(End::Output(output)) => output.clone(),
            Some(End::WasOver(status)) => Err(JobError::WasOver(*status)),
            Some(End::Closed(reason)) => Err(JobError::Closed(reason.clone())),
            Some(End::DriverDropped) | None => Err(JobError::DriverDropped),
        }
    }

    fn hear(&mut self, news: News) -> Option<Result<JobEvent, JobError>> {
        match news {
            News::Event(credit, event) => {
                self.taken.add(credit);
                if self.taken.len() >= REPORT {
                    self.report();
                }
                Some(event.map_or(Err(JobError::Unreadable), |event| {
                    if event.kind == EventKind::ResultChunk {
                        self.add_chunk(&event);
                    }
                    Ok(JobEvent::new(event))
                }))
            }
            News::Ended(credit, ended) => {
                self.taken.add(credit);
                self.end = Some(End::Output(self.output_of(*ended)));
                None
            }
            News::WasOver(status) => {
                self.end = Some(End::WasOver(status));
                None
            }
            News::Restarted(id) => {
                self.id = id;
                self.chunks = chunks(self.joined_late);
                None
            }
            News::Lost { from, to } => Some(Err(JobError::Lost { from, to })),
            News::Missing { from, to } => Some(Err(JobError::Missing { from, to })),
            News::Closed(reason) => {
                self.end = Some(End::Closed(reason.clone()));
                Some(Err(JobError::Closed(reason)))
            }
        }
    }

    fn add_chunk(&mut self, event: &EventPayload) {
        match EventBody::read(&event.kind, &event.body) {
            Ok(EventBody::ResultChunk(chunk)) => self.chunks.push(&chunk),
            _ => self.chunks.push_unreadable(),
        }
    }

    fn output_of(&mut self, ended: Ended) -> Result<JobOutput, JobError> {
        if ended.status != FinalStatus::Success {
            return Err(JobError::Failed { status: ended.status, error: ended.error.map(Box::new) });
        }
        if ended.result_id.is_none() {
            return Ok(JobOutput::Value(ended.result.unwrap_or_else(arcp_proto::wire::RawJson::null)));
        }
        let size = ended.result_size.filter(|_| self.link.view.is_core());
        let chunks = std::mem::take(&mut self.chunks);
        Ok(chunks.finish(ended.result_id.as_deref(), size)?.into())
    }

    fn report(&mut self) {
        if !self.taken.is_empty() {
            let _ = self.link.commands.force(Command::Taken(std::mem::take(&mut self.taken)));
        }
    }
}

fn chunks(joined_late: bool) -> Assembler {
    if joined_late { Assembler::joined_late() } else { Assembler::new() }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        taken.add_all(self.news.drain(..).chain(self.feed.queue.close()));
        self.taken = taken;
        self.report();
        let _ = self.link.commands.force(Command::Drop(self.id.clone(), self.feed.id));
    }
}
