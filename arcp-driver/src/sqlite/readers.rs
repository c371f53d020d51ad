//! The threads that read, each answer from the tables as they were when it was asked for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use arcp_proto::runtime::store::{Command, StoreDone, StoreId};
use rusqlite::Connection;

use super::error::{Fault, OpenError};
use super::{Answers, Health, pages, rows, schema};

/// Pages that are read at the same time.
const READERS: usize = 2;

/// The reading threads. The writer begins each reading, so that it sees everything before it and nothing behind it.
pub(super) struct Readers {
    idle: Vec<Connection>,
    returned: Receiver<Connection>,
    work: Sender<Reading>,
    threads: Vec<JoinHandle<()>>,
}

struct Reading {
    id: StoreId,
    command: Command,
    /// In a transaction.
    connection: Connection,
}

impl Readers {
    pub(super) fn start(path: &Path, answers: &Answers, health: &Health) -> Result<Self, OpenError> {
        let (work, queue) = channel::<Reading>();
        let (give_back, returned) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let (mut idle, mut threads) = (Vec::new(), Vec::new());
        for number in 1..=READERS {
            idle.push(schema::open_reader(path)?);
            let (queue, give_back) = (queue.clone(), give_back.clone());
            let (answers, health) = (answers.clone(), health.clone());
            let thread = Builder::new().name(format!("arcp-store-reader-{number}"));
            let spawned = thread.spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Reading { id, command, connection }) = next else { break };
                    let done = catch_unwind(AssertUnwindSafe(|| read(&connection, command)));
                    let done = match done {
                        Ok(Ok(done)) => done,
                        Ok(Err(fault)) => {
                            health.note(format!("it cannot be read: {fault}"));
                            StoreDone::Failed
                        }
                        Err(_) => StoreDone::Failed,
                    };
                    // A reading changes nothing, so this fails only where the next one will say so.
                    let _ = connection.execute_batch("COMMIT");
                    answers.give(id, done);
                    if give_back.send(connection).is_err() {
                        break;
                    }
                }
            });
            threads.push(spawned.map_err(|source| OpenError::io(path, source))?);
        }
        Ok(Self { idle, returned, work, threads })
    }

    /// Waits for what is being read, and lets go of the file.
    pub(super) fn stop(self) {
        drop(self.work);
        for thread in self.threads {
            // One that panicked reads no more.
            let _ = thread.join();
        }
    }

    /// Begins a reading; its answer comes later.
    pub(super) fn read(&mut self, id: StoreId, command: Command) -> Result<(), Fault> {
        self.idle.extend(self.returned.try_iter());
        let connection = match self.idle.pop() {
            Some(connection) => connection,
            // Readers hold each connection for one page.
            None => self.returned.recv().map_err(|_| rusqlite::Error::InvalidQuery)?,
        };
        connection.prepare_cached("BEGIN")?.execute(())?;
        // A transaction sees the tables as they are at its first look.
        connection.prepare_cached("SELECT 1 FROM sessions LIMIT 1")?.exists(())?;
        self.work.send(Reading { id, command, connection }).map_err(|_| rusqlite::Error::InvalidQuery)?;
        Ok(())
    }
}

fn read(connection: &Connection, command: Command) -> Result<StoreDone, Fault> {
    Ok(match command {
        Command::ReadSession { session, after, limit } => {
            StoreDone::Session(pages::session(connection, session, after, limit)?)
        }
        Command::ReadJob { job, after, limit } => StoreDone::Job(pages::job(connection, job, after, limit)?),
        Command::Load { after, limit } => StoreDone::Rows(rows::page(connection, after, limit)?),
        // The writer's business.
        Command::Append(_) | Command::Trim(_) => StoreDone::Failed,
    })
}
