//! Listens on the wire, below the client: which numbers really arrived, and what of delegated jobs.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use arcp_driver::transport::{Incoming, Outgoing, Transport, TransportError};
use futures_core::Stream;
use futures_sink::Sink;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::cable::Cutter;

/// What was heard so far. Knows nothing of the client, so that the two can be compared.
pub(super) struct Tap {
    heard: Mutex<Heard>,
    cutter: Cutter,
    /// The cable is cut behind so many numbered frames.
    cut_after: u64,
}

#[derive(Debug, Default, Clone)]
struct Heard {
    numbers: BTreeSet<u64>,
    repeats: u64,
    /// The numbers of the events of each job, by their positions in it.
    by_position: HashMap<(String, u64), u64>,
    /// Jobs that were delegated. Their frames are in the stream of whoever submitted the first job, and its client does not
    /// hand them on.
    delegated: HashSet<String>,
    /// How many numbers are theirs.
    of_delegated: u64,
    /// Their frames that nobody has looked at.
    unseen: VecDeque<Delegated>,
}

/// A frame of a delegated job.
#[derive(Debug, Clone)]
pub(super) struct Delegated {
    pub(super) number: u64,
    pub(super) news: News,
}

/// What it says.
#[derive(Debug, Clone)]
pub(super) enum News {
    /// An event's kind and body.
    Event(String, String),
    /// The job's end: the type of the frame.
    End(String),
}

/// The numbers of a session's stream.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Different numbers.
    pub(super) received: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    /// Numbers between the first and the last that never came.
    pub(super) missing: u64,
    /// Numbers that came once more.
    pub(super) repeats: u64,
    /// Numbers of delegated jobs.
    pub(super) of_delegated: u64,
}

#[derive(Deserialize)]
struct Frame<'a> {
    r#type: String,
    event_seq: Option<u64>,
    job_id: Option<String>,
    #[serde(borrow)]
    payload: Option<Payload<'a>>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    pos: Option<u64>,
    parent_job_id: Option<String>,
    kind: Option<String>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl Payload<'_> {
    fn news(&self, r#type: String) -> News {
        match (&self.kind, self.body) {
            (Some(kind), Some(body)) => News::Event(kind.clone(), body.get().to_owned()),
            _ => News::End(r#type),
        }
    }
}

impl Tap {
    pub(super) fn new(cutter: Cutter, cut_after: u64) -> Self {
        Self { heard: Mutex::default(), cutter, cut_after }
    }

    /// The number under which an event of a job last came.
    pub(super) fn number(&self, job: &str, position: u64) -> Option<u64> {
        let key = (job.to_owned(), position);
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).by_position.get(&key).copied()
    }

    /// All numbers so far; `None` if there was none.
    pub(super) fn numbers(&self) -> Option<Numbers> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, last) = (*heard.numbers.first()?, *heard.numbers.last()?);
        let received = u64::try_from(heard.numbers.len()).unwrap_or(u64::MAX);
        let missing = last - first + 1 - received;
        let Heard { repeats, of_delegated, .. } = *heard;
        Some(Numbers { received, first, last, missing, repeats, of_delegated })
    }

    /// The next frame of a delegated job that nobody has looked at, if its number is below this one.
    pub(super) fn next_delegated(&self, below: u64) -> Option<Delegated> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.unseen.front()?.number < below { heard.unseen.pop_front() } else { None }
    }

    fn hear(&self, frame: &[u8]) {
        let Ok(Frame { r#type, event_seq, job_id, payload }) = serde_json::from_slice(frame) else { return };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = &mut *heard;
        let Some(number) = event_seq else {
            if payload.is_some_and(|payload| payload.parent_job_id.is_some()) {
                heard.delegated.extend(job_id);
            }
            return;
        };
        if !heard.numbers.insert(number) {
            heard.repeats += 1;
            return;
        }
        if let (Some(job), Some(payload)) = (job_id, payload) {
            if heard.delegated.contains(&job) {
                heard.of_delegated += 1;
                heard.unseen.push_back(Delegated { number, news: payload.news(r#type) });
            }
            if let Some(position) = payload.pos {
                heard.by_position.insert((job, position), number);
            }
        }
        if heard.numbers.len() == usize::try_from(self.cut_after).unwrap_or(usize::MAX) {
            self.cutter.cut();
        }
    }
}

/// A transport with a tap on it.
pub(super) struct Tapped<T> {
    transport: T,
    tap: Arc<Tap>,
}

impl<T> Tapped<T> {
    pub(super) const fn new(transport: T, tap: Arc<Tap>) -> Self {
        Self { transport, tap }
    }
}

impl<T: Transport> Stream for Tapped<T> {
    type Item = Result<Incoming, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(Pin::new(&mut self.transport).poll_next(cx));
        if let Some(Ok(Incoming::Frame(frame))) = &item {
            self.tap.hear(frame);
        }
        Poll::Ready(item)
    }
}

impl<T: Transport> Sink<Outgoing> for Tapped<T> {
    type Error = TransportError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Pin::new(&mut self.transport).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Outgoing) -> Result<(), TransportError> {
        Pin::new(&mut self.transport).start_send(item)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Pin::new(&mut self.transport).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64, position: u64) -> Vec<u8> {
        format!(r#"{{"type":"job.event","job_id":"j","event_seq":{number},"payload":{{"pos":{position}}}}}"#)
            .into()
    }

    #[test]
    fn holes_and_repeats_are_counted() {
        let tap = Tap::new(Cutter::default(), 1_000);
        assert_eq!(tap.numbers(), None);
        for number in [1, 2, 4, 4, 7] {
            tap.hear(&frame(number, number * 10));
        }
        tap.hear(br#"{"type":"session.welcome","payload":{}}"#);
        let numbers = Numbers { received: 4, first: 1, last: 7, missing: 3, repeats: 1, of_delegated: 0 };
        assert_eq!(tap.numbers(), Some(numbers));
        assert_eq!((tap.number("j", 40), tap.number("j", 30)), (Some(4), None));
    }

    #[test]
    fn frames_of_delegated_jobs_are_told_apart() {
        let tap = Tap::new(Cutter::default(), 1_000);
        tap.hear(br#"{"type":"job.accepted","job_id":"i","payload":{}}"#);
        tap.hear(br#"{"type":"job.accepted","job_id":"j","payload":{"parent_job_id":"i"}}"#);
        tap.hear(br#"{"type":"job.event","job_id":"j","event_seq":1,"payload":{"kind":"log","body":{"message":"x"}}}"#);
        tap.hear(br#"{"type":"job.event","job_id":"i","event_seq":2,"payload":{"kind":"log","body":{}}}"#);
        tap.hear(br#"{"type":"job.result","job_id":"j","event_seq":3,"payload":{"result":1}}"#);
        assert_eq!(tap.numbers().map(|numbers| (numbers.received, numbers.of_delegated)), Some((3, 2)));
        assert!(tap.next_delegated(1).is_none());
        let event = tap.next_delegated(2).unwrap();
        assert!(
            matches!(event.news, News::Event(kind, body) if kind == "log" && body == r#"{"message":"x"}"#)
        );
        let end = tap.next_delegated(u64::MAX).unwrap();
        assert!(matches!(end, Delegated { number: 3, news: News::End(name) } if name == "job.result"));
        assert!(tap.next_delegated(u64::MAX).is_none());
    }
}
