//! A store that takes its time, answers in any order, has no room, cannot read, fails, and forgets what it has not
//! answered when it crashes.

use std::collections::VecDeque;

use arcp_proto::runtime::rows::Tables;
use arcp_proto::runtime::store::{Command, StoreDone, StoreId};

use super::choices::Choices;
use super::count::{Counts, Fault};
use crate::oracle::Oracle;

/// Commands take effect in their order; their answers come when they come.
#[derive(Default)]
pub(super) struct Store {
    pub(super) tables: Tables,
    /// Given, without effect so far.
    waiting: VecDeque<Waiting>,
    /// Carried out, not answered.
    answers: Vec<Answer>,
    /// Appends that were refused and not taken since, oldest first.
    refused: VecDeque<StoreId>,
    /// Until when there is no room.
    pub(super) full_until: u64,
    /// Reads that will fail.
    pub(super) failing_reads: u32,
    /// Whether the next append fails.
    pub(super) fails_next: bool,
    /// It has failed, and does nothing more for this process.
    is_dead: bool,
    /// Longest delay in µs.
    pub(super) delay: u64,
    last_effect: u64,
    /// Appends that are stored.
    stored: u64,
    /// The one behind which the process dies, if it is to.
    pub(super) last: Option<u64>,
}

struct Waiting {
    at: u64,
    id: StoreId,
    command: Command,
}

struct Answer {
    at: u64,
    id: StoreId,
    done: StoreDone,
    is_append: bool,
}

/// An answer that has come.
pub(super) struct Done {
    pub(super) id: StoreId,
    pub(super) done: StoreDone,
    pub(super) is_append: bool,
}

impl Store {
    pub(super) fn with_delay(delay: u64) -> Self {
        Self { delay, ..Self::default() }
    }

    pub(super) fn submit(
        &mut self,
        at: u64,
        id: StoreId,
        command: Command,
        choices: &mut Choices<'_>,
        counts: &mut Counts,
    ) {
        if self.is_dead {
            return;
        }
        let mut effect = at;
        if self.delay > 0 {
            effect += choices.below(self.delay);
            if choices.one_in(32) {
                effect += self.delay * 40;
                counts.note(Fault::SlowStore);
            }
        }
        self.last_effect = self.last_effect.max(effect);
        self.waiting.push_back(Waiting { at: self.last_effect, id, command });
    }

    pub(super) fn next(&self) -> Option<u64> {
        let waiting = self.waiting.front().map(|waiting| waiting.at);
        let answer = self.answers.iter().map(|answer| answer.at).min();
        match (waiting, answer) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Carries out or answers one command that is due.
    pub(super) fn step(
        &mut self,
        at: u64,
        choices: &mut Choices<'_>,
        counts: &mut Counts,
        oracle: &mut Oracle,
    ) -> Option<Done> {
        while !self.is_at_last() && self.waiting.front().is_some_and(|waiting| waiting.at <= at) {
            let Some(Waiting { id, command, .. }) = self.waiting.pop_front() else { break };
            let is_append = matches!(command, Command::Append(_));
            let done = self.carry_out(at, id, command, counts, oracle);
            let failed = is_append && matches!(done, StoreDone::Failed);
            let mut answer_at = at;
            if self.delay > 0 && choices.one_in(3) {
                answer_at += choices.below(self.delay * 2);
            }
            self.answers.push(Answer { at: answer_at, id, done, is_append });
            if failed {
                // What would have come behind it is not written any more.
                self.is_dead = true;
                self.waiting.clear();
            }
        }
        let (index, _) = self
            .answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| answer.at <= at)
            .min_by_key(|(_, a)| a.at)?;
        if index > 0 {
            counts.note(Fault::Reordered);
        }
        let Answer { id, done, is_append, .. } = self.answers.remove(index);
        Some(Done { id, done, is_append })
    }

    fn carry_out(
        &mut self,
        at: u64,
        id: StoreId,
        command: Command,
        counts: &mut Counts,
        oracle: &mut Oracle,
    ) -> StoreDone {
        match command {
            Command::Append(records) => {
                let blocked = self.refused.front().is_some_and(|first| *first != id);
                if at < self.full_until || blocked {
                    if !self.refused.contains(&id) {
                        self.refused.push_back(id);
                    }
                    counts.note(Fault::Full);
                    return StoreDone::Full(records);
                }
                self.refused.retain(|refused| *refused != id);
                if std::mem::take(&mut self.fails_next) {
                    counts.note(Fault::StoreFails);
                    return StoreDone::Failed;
                }
                self.stored += 1;
                oracle.stored(id, &records);
                self.tables.execute(Command::Append(records))
            }
            Command::ReadSession { .. } | Command::ReadJob { .. } if self.failing_reads > 0 => {
                self.failing_reads -= 1;
                counts.note(Fault::ReadFails);
                StoreDone::Failed
            }
            Command::Trim(trim) => {
                oracle.trimmed(trim);
                self.tables.execute(Command::Trim(trim))
            }
            command => self.tables.execute(command),
        }
    }

    /// The process is gone: of what waits, the first `kept` commands still take effect, the others never.
    pub(super) fn crash(&mut self, kept: usize, counts: &mut Counts, oracle: &mut Oracle) {
        self.full_until = 0;
        let blocked = !self.refused.is_empty();
        for (index, Waiting { id, command, .. }) in std::mem::take(&mut self.waiting).into_iter().enumerate()
        {
            if index < kept && !blocked {
                // What fails in the crash is as good as not given, and so is all behind it.
                self.fails_next = false;
                self.carry_out(0, id, command, counts, oracle);
            } else if matches!(command, Command::Append(_)) {
                counts.note(Fault::LostAppend);
            }
        }
        self.answers.clear();
        self.refused.clear();
        self.is_dead = false;
        self.fails_next = false;
        self.failing_reads = 0;
    }

    /// Whether the append is stored behind which the process dies.
    pub(super) fn is_at_last(&self) -> bool {
        self.last == Some(self.stored)
    }

    /// Commands that have not taken effect.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_blocked(&self) -> bool {
        !self.refused.is_empty()
    }

    /// From here on it is quick and always works.
    pub(super) const fn heal(&mut self) {
        self.delay = 0;
        self.full_until = 0;
        self.failing_reads = 0;
        self.fails_next = false;
    }
}
