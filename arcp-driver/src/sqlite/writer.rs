//! The thread that writes: it gathers commands into transactions, answers them once these are committed, and moves the
//! write-ahead log into the database.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use arcp_proto::runtime::store::{Command, Record, StoreDone, StoreId};
use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::error::Fault;
use super::fold::Fold;
use super::readers::Readers;
use super::{Answers, Group, Health};

/// Pages of the write-ahead log from which on it is moved into the database.
const CHECKPOINT_PAGES: i32 = 2_000;
/// How long a transaction that nobody waits for may gather.
const UNHURRIED: Duration = Duration::from_millis(50);

/// Where the thread gets its work and leaves its answers.
pub(super) struct Desk {
    pub(super) commands: Receiver<(StoreId, Command)>,
    pub(super) answers: Answers,
    pub(super) readers: Readers,
    pub(super) group: Group,
    pub(super) health: Health,
}

/// Reads every state row, says on `ready` whether that went well, and works until the store is dropped.
pub(super) fn work(mut connection: Connection, desk: Desk, ready: &Sender<Result<(), Fault>>) {
    let log_pages = Arc::new(AtomicI32::new(0));
    let seen = log_pages.clone();
    let hooked = connection.wal_hook(Some(move |_: &mut Wal, pages| {
        seen.store(pages, Ordering::Relaxed);
        Ok(())
    }));
    let connection = &connection;
    let fold = match hooked.map_err(Fault::from).and_then(|()| Fold::new(connection)) {
        Ok(fold) => fold,
        Err(fault) => {
            // Whoever opens the store waits for this.
            let _ = ready.send(Err(fault));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let Desk { commands, answers, readers, group, health } = desk;
    let (open, refused) = (Open::default(), VecDeque::new());
    Writer { connection, fold, answers, readers, group, health, open, refused, log_pages }.serve(&commands);
}

struct Writer<'c> {
    connection: &'c Connection,
    fold: Fold<'c>,
    answers: Answers,
    readers: Readers,
    group: Group,
    health: Health,
    open: Open,
    /// Appends there was no room for, the oldest first. No other is taken before it.
    refused: VecDeque<StoreId>,
    log_pages: Arc<AtomicI32>,
}

/// A transaction that is being gathered.
#[derive(Default)]
struct Open {
    /// Since when; `None` if there is no transaction.
    since: Option<Instant>,
    appends: Vec<(StoreId, Vec<Record>)>,
    trims: Vec<StoreId>,
    records: usize,
}

impl Writer<'_> {
    fn serve(mut self, commands: &Receiver<(StoreId, Command)>) {
        loop {
            let next = match commands.try_recv() {
                Ok(next) => Some(next),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => match self.open.since {
                    None => match commands.recv() {
                        Ok(next) => Some(next),
                        Err(_) => break,
                    },
                    Some(since) if self.open.appends.is_empty() => {
                        match commands.recv_timeout(UNHURRIED.saturating_sub(since.elapsed())) {
                            Ok(next) => Some(next),
                            Err(RecvTimeoutError::Timeout) => None,
                            Err(RecvTimeoutError::Disconnected) => break,
                        }
                    }
                    Some(_) => None,
                },
            };
            match next {
                Some((id, command)) => self.carry_out(id, command),
                None => self.commit(),
            }
        }
        self.commit();
        self.readers.stop();
        if !self.health.has_failed() {
            // The file is all there is, then. Where that fails, the log beside it is read back at the next start.
            let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        }
    }

    fn carry_out(&mut self, id: StoreId, command: Command) {
        if self.health.has_failed() {
            return self.answers.give(id, StoreDone::Failed);
        }
        match command {
            Command::Append(records) => self.append(id, records),
            Command::Trim(trim) => {
                let done = self.begin().and_then(|()| self.fold.trim(trim));
                self.open.trims.push(id);
                self.gathered(done);
            }
            read @ (Command::ReadSession { .. } | Command::ReadJob { .. } | Command::Load { .. }) => {
                // It is to see everything before it, and nothing behind it.
                self.commit();
                if self.health.has_failed() {
                    return self.answers.give(id, StoreDone::Failed);
                }
                if let Err(fault) = self.readers.read(id, read) {
                    self.health.fail(format!("it cannot be read: {fault}"));
                    self.answers.give(id, StoreDone::Failed);
                }
            }
        }
    }

    fn append(&mut self, id: StoreId, records: Vec<Record>) {
        if self.refused.front().is_some_and(|oldest| *oldest != id) {
            return self.refuse(id, records);
        }
        let done = self.begin().and_then(|()| self.fold.append(&records));
        self.open.records += records.len();
        self.open.appends.push((id, records));
        self.gathered(done);
    }

    fn refuse(&mut self, id: StoreId, records: Vec<Record>) {
        if !self.refused.contains(&id) {
            self.refused.push_back(id);
        }
        self.health.set_full(true);
        self.answers.give(id, StoreDone::Full(records));
    }

    fn begin(&mut self) -> Result<(), Fault> {
        if self.open.since.is_none() {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
            self.open.since = Some(Instant::now());
        }
        Ok(())
    }

    /// A command is in the transaction, or failed to get there.
    fn gathered(&mut self, done: Result<(), Fault>) {
        match done {
            Ok(()) => {
                let is_over = self.open.records >= self.group.records
                    || self.fold.bytes() >= self.group.bytes
                    || !self.open.appends.is_empty()
                        && self.open.since.is_some_and(|since| since.elapsed() >= self.group.time);
                if is_over {
                    self.commit();
                }
            }
            Err(fault) => self.give_back(&fault),
        }
    }

    fn commit(&mut self) {
        if self.open.since.is_none() {
            return;
        }
        let done = self.fold.finish().and_then(|()| {
            self.connection.prepare_cached("COMMIT")?.execute(())?;
            Ok(())
        });
        if let Err(fault) = done {
            return self.give_back(&fault);
        }
        self.fold.committed();
        let Open { appends, trims, .. } = std::mem::take(&mut self.open);
        if !appends.is_empty() {
            let is_full = self.refused.len() > usize::from(self.refused.front() == Some(&appends[0].0));
            self.refused.retain(|refused| appends.iter().all(|(id, _)| id != refused));
            self.health.set_full(is_full);
        }
        for (id, _) in appends {
            self.answers.give(id, StoreDone::Appended);
        }
        for id in trims {
            self.answers.give(id, StoreDone::Trimmed);
        }
        self.checkpoint();
    }

    /// Nothing of the transaction is stored, or it is not known whether.
    fn give_back(&mut self, fault: &Fault) {
        let Open { appends, trims, .. } = std::mem::take(&mut self.open);
        // SQLite may have done so itself already.
        let undone = self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok();
        self.fold.rolled_back();
        if fault.is_full() && undone {
            for (id, records) in appends {
                self.refuse(id, records);
            }
            for id in trims {
                self.answers.give(id, StoreDone::Full(Vec::new()));
            }
        } else {
            self.health.fail(format!("it cannot be written: {fault}"));
            for id in appends.into_iter().map(|(id, _)| id).chain(trims) {
                self.answers.give(id, StoreDone::Failed);
            }
        }
    }

    /// Moves the log into the database once it is long, as far as no reader still needs it.
    fn checkpoint(&self) {
        if self.log_pages.load(Ordering::Relaxed) < CHECKPOINT_PAGES {
            return;
        }
        let done = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
        match done.map_err(Fault::from) {
            // Without room the log goes on growing, while there is room for that; what is in it is safe.
            Err(fault) if !fault.is_full() => {
                self.health.fail(format!("its log cannot be moved into it: {fault}"));
            }
            _ => {}
        }
    }
}
