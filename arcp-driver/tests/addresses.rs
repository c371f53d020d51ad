//! Limits that hold for where a connection comes from.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use arcp_driver::memory::{MemoryTransport, pair};
use arcp_driver::{Client, Connector, Runtime, RuntimeHandle, SessionEvent, TransportKind};
use common::World;

/// Connects as if from this address.
struct From {
    address: IpAddr,
    runtime: RuntimeHandle,
    world: World,
}

impl Connector for From {
    type Transport = MemoryTransport;
    type Error = Infallible;
    type Connecting = Ready<Result<MemoryTransport, Infallible>>;

    fn kind(&self) -> TransportKind {
        TransportKind::Memory
    }

    fn connect(&mut self) -> Self::Connecting {
        let (near, far) = pair();
        self.world.spawn(self.runtime.accept_from(far, TransportKind::Memory, self.address));
        ready(Ok(near))
    }
}

#[test]
fn clients_of_one_address_share_its_rate_and_come_back_when_it_allows() {
    let world = World::new();
    let runtime = world.runtime(Runtime::builder().config(|config| {
        config.limits.address_hello_burst = 2;
        config.limits.address_hellos_per_second = 1;
    }));
    let client = |host: u8| -> Client {
        let address = Ipv4Addr::new(192, 0, 2, host).into();
        world.client(From { address, runtime: runtime.clone(), world: world.clone() })
    };
    let (first, second, other) = (client(1), client(1), client(2));
    let inner = world.clone();
    let from_one = world.run(async move {
        first.connected().await.unwrap();
        second.connected().await.unwrap();
        other.connected().await.unwrap();
        inner.now().mono
    });
    let third = client(1);
    let mut events = third.events();
    let inner = world.clone();
    world.run(async move {
        let SessionEvent::RuntimeError(error) = events.next().await.unwrap() else { panic!("no error") };
        assert_eq!((error.code.as_str(), error.retryable), ("INTERNAL_ERROR", Some(true)));
        assert_eq!(error.details.as_ref().map(|details| details.as_str()), Some(r#"{"limit":"hellos"}"#));
        third.connected().await.unwrap();
        let waited = inner.now().mono.since(from_one);
        assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(60), "{waited:?}");
        drop(runtime);
    });
}
