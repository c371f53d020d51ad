//! Transports and stores that are listened to.

use std::pin::Pin;
use std::task::{Context, Poll};

use arcp_driver::transport::{Incoming, Outgoing, Transport, TransportError};
use arcp_driver::{Connector, MemoryStore, Store, TransportKind};
use arcp_proto::runtime::store::{Command, StoreDone, StoreId};
use futures_util::{FutureExt, Sink, Stream};

use super::overheard::Overheard;

/// A transport whose frames are overheard in both directions.
pub(crate) struct Tap<T> {
    transport: T,
    overheard: Overheard,
}

impl<T> Tap<T> {
    pub(crate) fn new(transport: T, overheard: &Overheard) -> Self {
        Self { transport, overheard: overheard.clone() }
    }
}

impl<T: Transport> Stream for Tap<T> {
    type Item = Result<Incoming, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = Pin::new(&mut self.transport).poll_next(cx);
        match &item {
            Poll::Ready(Some(Ok(Incoming::Frame(frame)))) => {
                self.overheard.frame(str::from_utf8(frame).unwrap());
            }
            Poll::Ready(Some(Err(error))) => self.overheard.error("errors", error),
            _ => {}
        }
        item
    }
}

impl<T: Transport> Sink<Outgoing> for Tap<T> {
    type Error = TransportError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Pin::new(&mut self.transport).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Outgoing) -> Result<(), TransportError> {
        if let Outgoing::Frame(text) = &item {
            self.overheard.frame(text);
        }
        Pin::new(&mut self.transport).start_send(item)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Pin::new(&mut self.transport).poll_close(cx)
    }
}

/// A connector of tapped transports.
pub(crate) struct Tapped<C> {
    pub(crate) connector: C,
    pub(crate) overheard: Overheard,
}

impl<C: Connector<Connecting: 'static> + 'static> Connector for Tapped<C> {
    type Transport = Tap<C::Transport>;
    type Error = C::Error;
    type Connecting = Pin<Box<dyn Future<Output = Result<Self::Transport, C::Error>> + Send>>;

    fn kind(&self) -> TransportKind {
        self.connector.kind()
    }

    fn connect(&mut self) -> Self::Connecting {
        let overheard = self.overheard.clone();
        let tap = move |opened: Result<_, _>| opened.map(|transport| Tap::new(transport, &overheard));
        Box::pin(self.connector.connect().map(tap))
    }
}

/// A store whose records are overheard.
pub(crate) struct Ledger {
    store: MemoryStore,
    overheard: Overheard,
}

impl Ledger {
    pub(crate) fn new(overheard: &Overheard) -> Self {
        Self { store: MemoryStore::new(), overheard: overheard.clone() }
    }
}

impl Store for Ledger {
    fn is_durable(&self) -> bool {
        // Without that there would be no credentials to overhear.
        true
    }

    fn submit(&mut self, id: StoreId, command: Command) -> Option<StoreDone> {
        self.overheard.show("records", &command);
        let done = self.store.submit(id, command);
        self.overheard.show("records", &done);
        done
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
        self.store.poll_done(cx)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.overheard.show("records", &self.store);
    }
}
