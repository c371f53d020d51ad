//! How a simulated client connects, and to what.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use arcp_proto::wire::peer::TransportKind;

use super::cable::Cable;
use super::clock::{Sleep, Time, within};
use super::end::End;
use super::executor::{Executor, Owner};
use crate::client::Connector;
use crate::queue::lock;
use crate::runtime::RuntimeHandle;

/// How long a connect may take that hangs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the runtime runs, and as which of its starts.
#[derive(Default)]
pub(super) struct Standing(Mutex<Stand>);

#[derive(Clone, Default)]
pub(super) struct Stand {
    /// `None` while it is down.
    pub(super) handle: Option<RuntimeHandle>,
    /// How often it was started.
    pub(super) starts: u32,
}

impl Standing {
    pub(super) fn now(&self) -> Stand {
        lock(&self.0).clone()
    }

    pub(super) fn start(&self, starts: u32, handle: RuntimeHandle) {
        *lock(&self.0) = Stand { handle: Some(handle), starts };
    }

    /// Takes the handle away, if there is one.
    pub(super) fn stop(&self) -> Option<RuntimeHandle> {
        lock(&self.0).handle.take()
    }
}

impl Stand {
    /// Of the tasks of its last start.
    pub(super) const fn owner(&self) -> Owner {
        Owner::Runtime(self.starts)
    }
}

/// Connects one client to whatever runtime there is.
pub(super) struct Dialer {
    executor: Arc<Executor>,
    time: Arc<Time>,
    runtime: Arc<Standing>,
    cable: Arc<Cable>,
}

impl Dialer {
    pub(super) fn new(
        executor: &Arc<Executor>,
        time: &Arc<Time>,
        runtime: &Arc<Standing>,
        cable: &Arc<Cable>,
    ) -> Self {
        Self {
            executor: executor.clone(),
            time: time.clone(),
            runtime: runtime.clone(),
            cable: cable.clone(),
        }
    }
}

/// Why a connect of a simulated client fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotConnected {
    #[error("the link is down")]
    LinkDown,
    #[error("no runtime is there")]
    NoRuntime,
    #[error("the attempt timed out after {CONNECT_TIMEOUT:?}")]
    TimedOut,
}

impl Connector for Dialer {
    type Transport = End;
    type Error = NotConnected;
    type Connecting = Pin<Box<dyn Future<Output = Result<End, NotConnected>> + Send>>;

    fn kind(&self) -> TransportKind {
        TransportKind::Memory
    }

    fn connect(&mut self) -> Self::Connecting {
        let Self { executor, time, runtime, cable } = self;
        let (executor, time, runtime, cable) =
            (executor.clone(), time.clone(), runtime.clone(), cable.clone());
        Box::pin(async move {
            Sleep::new(&time, cable.draw_latency()).await;
            let gets_through = std::future::poll_fn(|cx| match cable.poll_stalled(cx) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            });
            within(&time, CONNECT_TIMEOUT, gets_through).await.map_err(|_| NotConnected::TimedOut)?;
            if cable.refuses() {
                return Err(NotConnected::LinkDown);
            }
            let runtime = runtime.now();
            let owner = runtime.owner();
            let handle = runtime.handle.ok_or(NotConnected::NoRuntime)?;
            let (number, client, served) = End::pair(&cable);
            let name = format!("connection {}#{number}", cable.name);
            executor.spawn(name, owner, handle.accept(served, TransportKind::Memory));
            Ok(client)
        })
    }
}
