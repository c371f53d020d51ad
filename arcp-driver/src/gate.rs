//! How many connections may wait for authentication (T-2).

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use arcp_proto::runtime::Source;
use futures_core::Stream;
use futures_sink::Sink;

use crate::queue::lock;
use crate::transport::{Incoming, Outgoing, Transport, TransportError};

/// Counts connections from their acceptance to the first frame they are sent, which is the welcome or a refusal.
///
/// Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Gate {
    waiting: Arc<Mutex<HashMap<Source, usize>>>,
    most: usize,
    most_per_address: usize,
}

impl Gate {
    /// A gate that lets `most` connections wait in all, and `most_per_address` from one address, or one /64 network of IPv6.
    #[must_use]
    pub fn new(most: usize, most_per_address: usize) -> Self {
        Self { waiting: Arc::default(), most, most_per_address }
    }

    /// Lets a connection from this address in, or not.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> Option<Permit> {
        let source = Source::of(address);
        let mut waiting = lock(&self.waiting);
        let in_all: usize = waiting.values().sum();
        let from_here = waiting.get(&source).copied().unwrap_or(0);
        if in_all >= self.most || from_here >= self.most_per_address {
            return None;
        }
        waiting.insert(source, from_here + 1);
        Some(Permit { gate: self.clone(), source })
    }
}

impl Default for Gate {
    /// 1 024 in all, 128 from one address.
    fn default() -> Self {
        Self::new(1_024, 128)
    }
}

/// One connection's place among those that wait; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Gate,
    source: Source,
}

impl Permit {
    /// The transport of this connection; it gives the permit back with the first frame it sends.
    #[must_use]
    pub fn guard<T: Transport>(self, transport: T) -> Guarded<T> {
        Guarded { transport, permit: Some(self) }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut waiting = lock(&self.gate.waiting);
        if let Some(count) = waiting.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.source);
            }
        }
    }
}

/// A transport that was let in by a [`Gate`].
#[derive(Debug)]
pub struct Guarded<T> {
    transport: T,
    permit: Option<Permit>,
}

impl<T: Transport> Stream for Guarded<T> {
    type Item = Result<Incoming, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.transport).poll_next(cx)
    }
}

impl<T: Transport> Sink<Outgoing> for Guarded<T> {
    type Error = TransportError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Pin::new(&mut self.transport).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Outgoing) -> Result<(), TransportError> {
        self.permit = None;
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
    use std::net::Ipv4Addr;

    fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    #[test]
    fn counts_by_address_and_in_all() {
        let gate = Gate::new(3, 2);
        let first = gate.admit(address(1));
        let second = gate.admit(address(1));
        assert!(first.is_some() && second.is_some());
        assert!(gate.admit(address(1)).is_none());
        let third = gate.admit(address(2));
        assert!(third.is_some());
        assert!(gate.admit(address(3)).is_none());
        drop(first);
        assert!(gate.admit(address(1)).is_some());
        drop((second, third));
        assert!(lock(&gate.waiting).is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let gate = Gate::new(3, 1);
        let admit = |address: &str| gate.admit(address.parse().unwrap());
        let first = admit("2001:db8::1");
        assert!(first.is_some() && admit("2001:db8::2").is_none() && admit("2001:db8:0:1::1").is_some());
        drop(first);
        assert!(admit("2001:db8::2").is_some());
    }

    #[test]
    fn the_first_frame_gives_the_permit_back() {
        let gate = Gate::new(1, 1);
        let (near, _far) = crate::memory::pair();
        let permit = gate.admit(address(1)).unwrap();
        let mut guarded = permit.guard(near);
        assert!(gate.admit(address(1)).is_none());
        Pin::new(&mut guarded).start_send(Outgoing::Frame(String::from("{}"))).unwrap();
        assert!(gate.admit(address(1)).is_some());
    }
}
