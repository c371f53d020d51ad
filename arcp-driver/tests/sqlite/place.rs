//! A directory of a test's own, and a store that is asked and answered in turn.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use arcp_driver::Store;
use arcp_driver::sqlite::{Durability, SqliteOptions, SqliteStore};
use arcp_proto::runtime::rows::Row;
use arcp_proto::runtime::store::{Command, Record, StoreDone, StoreId};

/// Removed with everything in it.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("arcp-sqlite-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Options of tests: nobody pulls the plug.
pub(crate) fn quick() -> SqliteOptions {
    SqliteOptions::default().durability(Durability::Process)
}

/// A store asked one command at a time.
pub(crate) struct Asked {
    pub(crate) store: SqliteStore,
    next: u64,
}

impl Asked {
    pub(crate) fn open(path: &Path) -> Self {
        Self::around(quick().open(path).unwrap())
    }

    pub(crate) fn around(store: SqliteStore) -> Self {
        Self { store, next: 0 }
    }

    pub(crate) fn ask(&mut self, command: Command) -> StoreDone {
        let is_trim = matches!(command, Command::Trim(_));
        let id = self.give(command);
        // Nobody waits for a trim, so the store takes its time, unless somebody reads.
        let reading = is_trim.then(|| self.give(Command::Load { after: None, limit: 0 }));
        let (answered, done) = self.answer();
        assert_eq!(answered, id);
        assert_eq!(reading, reading.map(|_| self.answer().0));
        done
    }

    pub(crate) fn give(&mut self, command: Command) -> StoreId {
        self.next += 1;
        let id = StoreId::new(self.next);
        self.give_again(id, command);
        id
    }

    pub(crate) fn give_again(&mut self, id: StoreId, command: Command) {
        assert!(self.store.submit(id, command).is_none());
    }

    pub(crate) fn answer(&mut self) -> (StoreId, StoreDone) {
        futures_executor::block_on(poll_fn(|cx| self.store.poll_done(cx)))
    }

    pub(crate) fn append(&mut self, records: impl Into<Vec<Record>>) -> StoreDone {
        self.ask(Command::Append(records.into()))
    }

    pub(crate) fn rows(&mut self) -> Vec<Row> {
        match self.ask(Command::Load { after: None, limit: usize::MAX }) {
            StoreDone::Rows(rows) => rows,
            other => panic!("{other:?}"),
        }
    }
}
