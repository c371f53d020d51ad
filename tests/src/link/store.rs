//! A store in memory that takes its time.

use std::time::Duration;

use arcp_proto::runtime::rows::Tables;
use arcp_proto::runtime::store::{Command, StoreDone, StoreId};
use arcp_proto::time::Instant;

use crate::random::Random;

/// Carries out commands in order, and answers them whenever it likes.
pub(super) struct SlowStore {
    tables: Tables,
    /// The longest delay; `None` answers at once.
    delay: Option<(Duration, Random)>,
    answers: Vec<(Instant, StoreId, StoreDone)>,
}

impl SlowStore {
    pub(super) fn instant() -> Self {
        Self { tables: Tables::default(), delay: None, answers: Vec::new() }
    }

    pub(super) fn slow(up_to: Duration, seed: u64) -> Self {
        Self { delay: Some((up_to, Random::new(seed))), ..Self::instant() }
    }

    pub(super) fn submit(&mut self, now: Instant, id: StoreId, command: Command) -> Option<StoreDone> {
        let answer = self.tables.execute(command);
        let Some((up_to, random)) = &mut self.delay else { return Some(answer) };
        let micros = random.below(u64::try_from(up_to.as_micros()).unwrap_or(u64::MAX).max(1));
        self.answers.push((now.after(Duration::from_micros(micros)), id, answer));
        None
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.answers.iter().map(|(at, ..)| *at).min()
    }

    pub(super) fn poll(&mut self, now: Instant) -> Option<(StoreId, StoreDone)> {
        let index = self.answers.iter().position(|(at, ..)| *at <= now)?;
        let (_, id, answer) = self.answers.remove(index);
        Some((id, answer))
    }
}
