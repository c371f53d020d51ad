//! A runtime in a process of its own, and the sessions that live on it through all its deaths.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::server::{Exit, Server, Tokens, tokens};
use super::session::{News, Session};
use super::{Options, Orders, PATIENCE, Report};
use crate::random::Random;

/// See the [module](self).
pub(super) struct Harness<'a> {
    pub(super) options: &'a Options,
    pub(super) random: Random,
    pub(super) report: Report,
    database: PathBuf,
    tokens: Tokens,
    orders: watch::Sender<Orders>,
    news: mpsc::UnboundedReceiver<News>,
    server: Option<Server>,
    starts: u64,
    /// How many keys of each session were answered.
    accepted: Vec<u64>,
    /// On which start of the runtime each session has found everything in order.
    settled: Vec<u64>,
    finished: usize,
}

impl<'a> Harness<'a> {
    /// Sessions that wait for a runtime on this file.
    pub(super) fn new(options: &'a Options, database: PathBuf) -> Result<Self, String> {
        let tokens = tokens(options)?;
        let (orders, hear) = watch::channel(Orders { url: None, finish: false });
        let (tell, news) = mpsc::unbounded_channel();
        for index in 0..options.sessions {
            let seed = options.seed ^ (index as u64 + 1) << 32;
            let session = Session::new(index, tokens.of(index).to_owned(), seed, tell.clone());
            tokio::spawn(session.run(hear.clone()));
        }
        Ok(Self {
            options,
            random: Random::new(options.seed),
            report: Report::default(),
            database,
            tokens,
            orders,
            news,
            server: None,
            starts: 0,
            accepted: vec![0; options.sessions],
            settled: vec![0; options.sessions],
            finished: 0,
        })
    }

    /// Starts the runtime, and waits until every session is on it and all that was interrupted has ended.
    pub(super) async fn start(&mut self) -> Result<(), String> {
        self.start_as(Command::new(&self.options.program)).await?;
        let start = self.starts;
        self.await_all("have not come back, or not all of their jobs have ended", move |harness, index| {
            harness.settled[index] == start
        })
        .await
    }

    /// Starts the runtime by a command that takes the program's arguments, and waits until it listens.
    pub(super) async fn start_as(&mut self, command: Command) -> Result<(), String> {
        let began = Instant::now();
        let server = Server::start_as(command, &self.database, &self.tokens).await?;
        self.report.slowest_start = self.report.slowest_start.max(began.elapsed());
        self.starts += 1;
        let url = Some((self.starts, server.url().to_owned()));
        self.server = Some(server);
        self.orders.send_modify(|orders| orders.url = url);
        Ok(())
    }

    /// Kills the runtime, if it runs.
    pub(super) async fn kill(&mut self) -> Result<(), String> {
        match self.server.take() {
            Some(server) => server.kill().await,
            None => Ok(()),
        }
    }

    /// Hears what sessions say for a while; how the runtime ended, if it does meanwhile.
    pub(super) async fn watch_for_end(&mut self, span: Duration) -> Result<Option<Exit>, String> {
        let until = tokio::time::Instant::now() + span;
        loop {
            let next = tokio::time::Instant::now() + Duration::from_millis(5);
            while let Ok(heard) = tokio::time::timeout_at(next.min(until), self.news.recv()).await {
                self.note(heard)?;
            }
            if let Some(status) = self.server.as_mut().and_then(Server::ended)
                && let Some(server) = self.server.take()
            {
                return Ok(Some(server.exit(status).await));
            }
            if tokio::time::Instant::now() >= until {
                return Ok(None);
            }
        }
    }

    /// Until a key of every session has been answered once more.
    pub(super) async fn await_progress(&mut self) -> Result<(), String> {
        let before = self.accepted.clone();
        self.await_all("get nothing accepted", move |harness, index| harness.accepted[index] > before[index])
            .await
    }

    /// Until every session has come to the end of its jobs; then the runtime is killed for the last time.
    pub(super) async fn finish(&mut self) -> Result<(), String> {
        self.orders.send_modify(|orders| orders.finish = true);
        let all = async {
            while self.finished < self.options.sessions {
                let heard = self.news.recv().await;
                self.note(heard)?;
            }
            Ok(())
        };
        let done = timeout(PATIENCE, all).await;
        done.unwrap_or_else(|_| Err("not every session came to the end of its jobs".to_owned()))?;
        self.kill().await
    }

    async fn await_all(&mut self, what: &str, is: impl Fn(&Self, usize) -> bool) -> Result<(), String> {
        let all = async {
            while !(0..self.options.sessions).all(|index| is(self, index)) {
                let heard = self.news.recv().await;
                self.note(heard)?;
            }
            Ok(())
        };
        match timeout(PATIENCE, all).await {
            Ok(result) => result,
            Err(_) => {
                let missing: Vec<_> = (0..self.options.sessions).filter(|index| !is(self, *index)).collect();
                Err(format!("sessions {missing:?} {what}"))
            }
        }
    }

    fn note(&mut self, news: Option<News>) -> Result<(), String> {
        match news {
            None => return Err("every session is gone".to_owned()),
            Some(News::Broken { session, what }) => return Err(format!("session {session}: {what}")),
            Some(News::Resumed) => self.report.resumes += 1,
            Some(News::Accepted { session }) => self.accepted[session] += 1,
            Some(News::Refused) => self.report.refused += 1,
            Some(News::Settled { session, start }) => self.settled[session] = start,
            Some(News::Finished(tally)) => {
                self.finished += 1;
                self.report.jobs += tally.jobs;
                self.report.interrupted += tally.interrupted;
                self.report.events += tally.events;
                self.report.resubmits += tally.resubmits;
            }
        }
        Ok(())
    }
}
