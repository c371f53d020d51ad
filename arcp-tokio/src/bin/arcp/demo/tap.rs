//! Listens on the wire, below the client: which numbers really arrived.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use arcp_driver::transport::{Incoming, Outgoing, Transport, TransportError};
use futures_core::Stream;
use futures_sink::Sink;
use serde::Deserialize;

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
}

#[derive(Deserialize)]
struct Frame {
    event_seq: Option<u64>,
    job_id: Option<String>,
    payload: Option<Payload>,
}

#[derive(Deserialize)]
struct Payload {
    pos: Option<u64>,
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
        Some(Numbers { received, first, last, missing: last - first + 1 - received, repeats: heard.repeats })
    }

    fn hear(&self, frame: &[u8]) {
        let Ok(Frame { event_seq: Some(number), job_id, payload }) = serde_json::from_slice(frame) else {
            return;
        };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if !heard.numbers.insert(number) {
            heard.repeats += 1;
            return;
        }
        if let (Some(job), Some(Payload { pos: Some(position) })) = (job_id, payload) {
            heard.by_position.insert((job, position), number);
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
        let numbers = Numbers { received: 4, first: 1, last: 7, missing: 3, repeats: 1 };
        assert_eq!(tap.numbers(), Some(numbers));
        assert_eq!((tap.number("j", 40), tap.number("j", 30)), (Some(4), None));
    }
}
