//! The durable store: one SQLite file.
//!
//! What a [`Runtime`](crate::Runtime) answered with this store survives the end of its process: sessions with the hashes of
//! their tokens, jobs, events, idempotency keys, subscriptions and the ledger of credentials. Another runtime opened on the
//! same file goes on from there.
//!
//! ```no_run
//! use arcp_driver::sqlite::SqliteStore;
//! use arcp_driver::Runtime;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = SqliteStore::open("arcp.db")?;
//! let runtime = Runtime::builder().bearer("a token", "alice").store(store).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! * The store has threads of its own: one that writes, two that read. They belong to it and end with it; nothing is spawned
//!   on an executor, and no executor's thread ever waits for a disk.
//! * The writer gathers what has queued up into one transaction, synchronises it, and answers. While it does so the next
//!   transaction queues up, so the more there is to store, the less each event costs.
//! * An event is stored once, in its job's log; a session's stream says which positions of which jobs its numbers stand for,
//!   in runs of neighbours. State rows are kept by the core's own fold.
//! * Every event and every row has a CRC-32C over its place and content, and each session's stream a chain of them, so that
//!   what is damaged or missing is found when it is read, and never served.
//! * The file is readable by its owner only, and locked as long as the store is open.
//!
//! # When it fails
//!
//! Without room on the disk nothing is lost: the runtime refuses new work with `INTERNAL_ERROR`, `details.limit:"storage"`, holds
//! its agents, and tries again every second. Any other failure to write ends the runtime
//! ([`EndpointError::Halted`](crate::EndpointError::Halted)): what was not acknowledged by the disk is never shown to a peer.
//! [`Health`] has the words for the operator.

mod archive;
mod check;
mod codec;
mod error;
mod fold;
mod lock;
mod pages;
mod readers;
mod rescue;
mod rows;
mod schema;
mod sums;
mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use arcp_proto::runtime::store::{Command, StoreDone, StoreId};
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_core::Stream;

pub use archive::{Archive, Stats, compact};
pub use check::Report;
pub use error::{Damage, OpenError};
pub use rescue::rescue;

use crate::queue::lock;
use crate::store::Store;
use lock::Lock;
use readers::Readers;
use writer::Desk;

/// How much of what was answered survives what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Everything answered survives also a loss of power: each transaction is synchronised (`synchronous=FULL`).
    #[default]
    Full,
    /// Everything answered survives the end of the process. A loss of power or a crash of the operating system may take the
    /// last of it; what is left is still a prefix (`synchronous=NORMAL`).
    Process,
}

impl Durability {
    const fn pragma(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Process => "NORMAL",
        }
    }
}

/// When a transaction that still has more to take is ended all the same.
#[derive(Debug, Clone, Copy)]
struct Group {
    records: usize,
    bytes: usize,
    time: Duration,
}

impl Default for Group {
    fn default() -> Self {
        Self { records: 4_096, bytes: 1 << 20, time: Duration::from_millis(2) }
    }
}

/// How a store is opened.
#[derive(Debug, Clone, Default)]
pub struct SqliteOptions {
    durability: Durability,
    group: Group,
    max_bytes: Option<u64>,
}

impl SqliteOptions {
    /// What is to survive what.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Ends a transaction once it has this many records, 4 096 if nothing is said. It ends sooner when nothing is left to take.
    #[must_use]
    pub const fn group_records(mut self, records: usize) -> Self {
        self.group.records = records;
        self
    }

    /// Ends a transaction once it has this many bytes, 1 MiB if nothing is said.
    #[must_use]
    pub const fn group_bytes(mut self, bytes: usize) -> Self {
        self.group.bytes = bytes;
        self
    }

    /// Ends a transaction once it took this long, 2 ms if nothing is said. Nothing ever waits for that time to pass.
    #[must_use]
    pub const fn group_time(mut self, time: Duration) -> Self {
        self.group.time = time;
        self
    }

    /// Lets the database grow to this size and no further: beyond it the store has no room, as on a full disk. The log beside
    /// it is not counted.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Opens the store in this file, which is made if it is not there. Reads every state row, so that damage is found here.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<SqliteStore, OpenError> {
        SqliteStore::with(path.as_ref(), self)
    }
}

/// A [`Store`] in one SQLite file. See the [module](self).
///
/// Dropping it waits until what was submitted is stored, and lets go of the file.
#[derive(Debug)]
pub struct SqliteStore {
    commands: Option<Sender<(StoreId, Command)>>,
    answers: UnboundedReceiver<(StoreId, StoreDone)>,
    /// What has not been answered, in case the writer is no more.
    outstanding: BTreeSet<StoreId>,
    writer: Option<JoinHandle<()>>,
    health: Health,
    path: PathBuf,
    /// The last to be dropped.
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the store in this file with the default options.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        SqliteOptions::default().open(path)
    }

    fn with(path: &Path, options: SqliteOptions) -> Result<Self, OpenError> {
        let SqliteOptions { durability, group, max_bytes } = options;
        let lock = Lock::acquire(path)?;
        lock::create_private(path)?;
        let connection = schema::open_writer(path, durability, max_bytes)?;
        lock::sync_folder(path)?;
        let (commands, inbox) = channel();
        let (outbox, answers) = unbounded();
        let (health, answers_to) = (Health::default(), Answers(outbox));
        let readers = Readers::start(path, &answers_to, &health)?;
        let desk = Desk { commands: inbox, answers: answers_to, readers, group, health: health.clone() };
        let thread = Builder::new().name("arcp-store".into());
        let (ready, opened) = channel();
        let writer = thread.spawn(move || writer::work(connection, desk, &ready));
        let writer = writer.map_err(|source| OpenError::io(path, source))?;
        opened.recv().unwrap_or(Ok(())).map_err(|fault| OpenError::reading(path, fault))?;
        Ok(Self {
            commands: Some(commands),
            answers,
            outstanding: BTreeSet::new(),
            writer: Some(writer),
            health,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// How the store is, also when it is somewhere inside a runtime.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store for SqliteStore {
    fn is_durable(&self) -> bool {
        true
    }

    fn submit(&mut self, id: StoreId, command: Command) -> Option<StoreDone> {
        let taken = self.commands.as_ref().is_some_and(|commands| commands.send((id, command)).is_ok());
        if taken {
            self.outstanding.insert(id);
            return None;
        }
        self.health.fail("its thread has ended".into());
        Some(StoreDone::Failed)
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(StoreId, StoreDone)> {
        match Pin::new(&mut self.answers).poll_next(cx) {
            Poll::Ready(Some((id, done))) => {
                self.outstanding.remove(&id);
                Poll::Ready((id, done))
            }
            Poll::Ready(None) => match self.outstanding.pop_first() {
                Some(id) => {
                    self.health.fail("its thread has ended".into());
                    Poll::Ready((id, StoreDone::Failed))
                }
                None => Poll::Pending,
            },
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(writer) = self.writer.take() {
            // One that panicked has nothing more to write.
            let _ = writer.join();
        }
    }
}

/// Where answers go.
#[derive(Debug, Clone)]
struct Answers(UnboundedSender<(StoreId, StoreDone)>);

impl Answers {
    fn give(&self, id: StoreId, done: StoreDone) {
        // A store that is being dropped hears no answers.
        let _ = self.0.unbounded_send((id, done));
    }
}

/// How a store is: whether it has room, and what it failed with.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<State>);

#[derive(Debug, Default)]
struct State {
    has_failed: AtomicBool,
    is_full: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Health {
    /// What went wrong first, in words for the operator. After a failure to write the store takes nothing any more; a failure
    /// to read is told here too, and concerns only those who asked.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        lock(&self.0.fault).clone()
    }

    /// Whether there is no room at the moment.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.is_full.load(Ordering::Relaxed)
    }

    /// Whether it failed to write, so that it takes nothing any more.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.has_failed.load(Ordering::Relaxed)
    }

    fn set_full(&self, is_full: bool) {
        self.0.is_full.store(is_full, Ordering::Relaxed);
    }

    fn note(&self, words: String) {
        lock(&self.0.fault).get_or_insert(words);
    }

    fn fail(&self, words: String) {
        if !self.0.has_failed.swap(true, Ordering::Relaxed) {
            *lock(&self.0.fault) = Some(words);
        }
    }
}
