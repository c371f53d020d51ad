//! Where a runtime keeps its sessions, jobs and events.

use std::task::{Context, Poll};

use arcp_proto::runtime::rows::Tables;
use arcp_proto::runtime::store::{Command, StoreDone, StoreId};

/// A place for records.
///
/// The endpoint's task owns the store, gives it commands and never waits for it. A store that answers at once does so from
/// [`Store::submit`]; one with a thread of its own queues the command there, carries out all that has gathered in one
/// transaction, and answers through [`Store::poll_done`].
///
/// The contract is that of [`Command`]: commands take effect in the order in which they are submitted, answers may come
/// in any order, and what was answered is not lost.
pub trait Store: Send {
    /// Whether what was answered survives the end of the process (D-52).
    fn is_durable(&self) -> bool;

    /// Takes a command. Returns the answer if it is there already; else it comes out of [`Store::poll_done`], once. Never
    /// blocks the thread on a disk.
    fn submit(&mut self, id: StoreId, command: Command) -> Option<StoreDone>;

    /// The next answer that has come in. Pending, and the task of `cx` is woken later, while there is none.
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(StoreId, StoreDone)>;
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn is_durable(&self) -> bool {
        (**self).is_durable()
    }

    fn submit(&mut self, id: StoreId, command: Command) -> Option<StoreDone> {
        (**self).submit(id, command)
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
        (**self).poll_done(cx)
    }
}

/// Keeps everything in this process's memory, and loses it with the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Tables,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn is_durable(&self) -> bool {
        false
    }

    fn submit(&mut self, _: StoreId, command: Command) -> Option<StoreDone> {
        Some(self.tables.execute(command))
    }

    fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
        Poll::Pending
    }
}
