//! Where a world writes its trace.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::clock::Time;
use super::trace::{Direction, Fate, Raw, Trace};
use crate::queue::lock;

/// Everything that happened so far, as it was: read only when somebody looks at the trace.
pub(super) struct Log {
    time: Arc<Time>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    raw: Vec<Raw>,
    secrets: Vec<String>,
}

/// A frame whose fate is still to be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(usize);

impl Log {
    pub(super) fn new(time: &Arc<Time>) -> Arc<Self> {
        Arc::new(Self { time: time.clone(), state: Mutex::default() })
    }

    pub(super) fn say(&self, words: impl Into<String>) {
        let at = self.at();
        lock(&self.state).raw.push(Raw::Note { at, words: words.into() });
    }

    pub(super) fn frame(
        &self,
        client: &Arc<str>,
        connection: u32,
        direction: Direction,
        text: Bytes,
    ) -> Ticket {
        let (at, client, fate) = (self.at(), client.clone(), Fate::OnItsWay);
        let raw = &mut lock(&self.state).raw;
        raw.push(Raw::Frame { at, client, connection, direction, text, fate });
        Ticket(raw.len() - 1)
    }

    pub(super) fn settle(&self, Ticket(index): Ticket, settled: Fate) {
        if let Some(Raw::Frame { fate, .. }) = lock(&self.state).raw.get_mut(index) {
            *fate = settled;
        }
    }

    /// A frame arrived.
    pub(super) fn arrived(&self, ticket: Ticket) {
        self.settle(ticket, Fate::Arrived(self.at()));
    }

    /// Keeps a secret out of the trace.
    pub(super) fn hide(&self, secret: &str) {
        lock(&self.state).secrets.push(secret.to_owned());
    }

    /// What was written so far.
    pub(super) fn trace(&self) -> Trace {
        let state = lock(&self.state);
        Trace::new(state.raw.clone(), state.secrets.clone())
    }

    fn at(&self) -> Duration {
        self.time.elapsed()
    }
}
