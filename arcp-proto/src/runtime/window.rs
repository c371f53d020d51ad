//! A session's send window: the part of its stream that is in memory, and a cursor in it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use crate::id::JobKey;
use crate::runtime::store::Cost;
use crate::wire::delivery::{Frame, Line};
use crate::wire::event::LoggedEvent;

#[derive(Debug)]
struct Entry {
    line: Arc<Line>,
    event: Arc<LoggedEvent>,
    cost: Cost,
}

/// A contiguous run of numbered events in memory.
///
/// Sending moves the cursor, a resume sets it back, an acknowledgement frees what lies behind it. What does not fit
/// stays in the store only and is read back when the cursor comes near.
#[derive(Debug)]
pub(crate) struct SendWindow {
    entries: VecDeque<Entry>,
    /// The number of the first entry, or of the next one if there is none.
    first: u64,
    /// The next number to send.
    cursor: u64,
    /// The highest number that may leave.
    committed: u64,
    bytes: u64,
}

impl SendWindow {
    /// An empty window behind number `last`, all of it committed and sent.
    pub(crate) const fn new(last: u64) -> Self {
        Self { entries: VecDeque::new(), first: last + 1, cursor: last + 1, committed: last, bytes: 0 }
    }

    /// Takes the event with the number behind the last one in memory, if it fits or what is sent can make room.
    pub(crate) fn push(
        &mut self,
        seq: u64,
        line: Arc<Line>,
        event: Arc<LoggedEvent>,
        cost: Cost,
        most: (usize, u64),
    ) -> bool {
        if seq != self.end() {
            return false;
        }
        while self.entries.len() >= most.0 || (self.bytes + cost.total() > most.1 && !self.entries.is_empty())
        {
            if self.first >= self.cursor {
                return false;
            }
            self.pop_front();
        }
        self.bytes += cost.total();
        self.entries.push_back(Entry { line, event, cost });
        true
    }

    /// The next frame, if it is in memory and may leave, with what it counted for.
    pub(crate) fn pull(&mut self) -> Option<(Frame, Cost)> {
        if self.cursor > self.committed {
            return None;
        }
        let index = usize::try_from(self.cursor.checked_sub(self.first)?).ok()?;
        let entry = self.entries.get(index)?;
        let frame = Frame::Numbered {
            line: Arc::clone(&entry.line),
            seq: self.cursor,
            event: Arc::clone(&entry.event),
        };
        self.cursor += 1;
        Some((frame, entry.cost))
    }

    /// The job of the next frame, if that is in memory.
    pub(crate) fn next_job(&self) -> Option<JobKey> {
        let index = usize::try_from(self.cursor.checked_sub(self.first)?).ok()?;
        Some(self.entries.get(index)?.line.job())
    }

    /// Whether [`SendWindow::pull`] has something.
    pub(crate) fn can_pull(&self) -> bool {
        self.cursor <= self.committed && self.cursor >= self.first && self.cursor < self.end()
    }

    /// The number behind which a page must be read so that sending can go on; `None` if memory has what comes next.
    pub(crate) fn missing_behind(&self) -> Option<u64> {
        let next = if self.cursor < self.first { self.cursor } else { self.end().max(self.cursor) };
        (next <= self.committed).then(|| next - 1)
    }

    /// Whether what is unsent in memory is at most so many events and about so many bytes.
    pub(crate) fn has_room(&self, events: usize, bytes: u64) -> bool {
        let unsent = self.end().saturating_sub(self.cursor);
        unsent == 0 || (unsent <= events as u64 && self.bytes <= bytes)
    }

    /// Sends from the number behind `last` on. What memory no longer holds has to be read back.
    pub(crate) fn rewind(&mut self, last: u64) {
        self.cursor = last + 1;
        if self.cursor < self.first || self.cursor > self.end() {
            self.entries.clear();
            self.bytes = 0;
            self.first = self.cursor;
        }
    }

    /// Drops what is acknowledged.
    pub(crate) fn release(&mut self, to: u64) {
        while self.first <= to && !self.entries.is_empty() {
            self.pop_front();
        }
        if self.entries.is_empty() && self.first <= to {
            self.first = to + 1;
        }
        self.cursor = self.cursor.max(to + 1);
        self.first = if self.entries.is_empty() { self.first.max(self.cursor) } else { self.first };
    }

    /// Everything up to `seq` may leave.
    pub(crate) fn commit(&mut self, seq: u64) {
        self.committed = self.committed.max(seq);
    }

    /// The next number to send.
    pub(crate) const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The number behind the last one in memory.
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.cost.total();
            self.first += 1;
        }
    }

    /// Events and bytes in memory.
    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, u64) {
        (self.entries.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{JobKey, SessionKey, Ulid};
    use crate::time::UnixTime;
    use crate::trace::TraceId;
    use crate::wire::RawJson;
    use crate::wire::event::{Content, EventKind};
    use crate::wire::peer::EndShape;

    const MOST: (usize, u64) = (4, 1_000);

    fn push(window: &mut SendWindow, seq: u64) -> bool {
        let session = SessionKey::from_ulid(Ulid::default());
        let job = JobKey::from_ulid(Ulid::default());
        let trace = TraceId::from_bytes([1; 16]).unwrap();
        let line = Arc::new(Line::new(session, trace, job, EndShape::PLAIN, 1_000));
        let content = Content::Event { kind: EventKind::Status, body: RawJson::empty_object() };
        let event = Arc::new(LoggedEvent { ts: UnixTime::default(), pos: Some(seq), content });
        window.push(seq, line, event, Cost { bytes: 10, chunk_bytes: 0 }, MOST)
    }

    fn pull(window: &mut SendWindow) -> Option<u64> {
        window.pull().map(|(frame, _)| match frame {
            Frame::Numbered { seq, .. } => seq,
            Frame::Text(_) => unreachable!("windows hold numbered frames"),
        })
    }

    #[test]
    fn nothing_leaves_before_its_commit() {
        let mut window = SendWindow::new(0);
        assert!(push(&mut window, 1) && push(&mut window, 2));
        assert_eq!(pull(&mut window), None);
        window.commit(1);
        assert!(window.can_pull());
        assert_eq!(pull(&mut window), Some(1));
        assert_eq!(pull(&mut window), None);
        window.commit(2);
        assert_eq!(pull(&mut window), Some(2));
    }

    #[test]
    fn a_full_window_gives_up_what_is_sent_and_nothing_else() {
        let mut window = SendWindow::new(0);
        for seq in 1..=4 {
            assert!(push(&mut window, seq));
        }
        assert!(!push(&mut window, 5));
        window.commit(5);
        assert_eq!(window.missing_behind(), Some(4));
        assert_eq!(pull(&mut window), Some(1));
        assert!(push(&mut window, 5));
        assert_eq!(window.missing_behind(), None);
        assert_eq!(window.held(), (4, 40));
    }

    #[test]
    fn a_rewind_within_memory_sends_again_and_beyond_it_asks_for_a_page() {
        let mut window = SendWindow::new(0);
        for seq in 1..=4 {
            push(&mut window, seq);
        }
        window.commit(4);
        while pull(&mut window).is_some() {}
        window.release(2);
        window.rewind(2);
        assert_eq!(pull(&mut window), Some(3));
        let mut window = SendWindow::new(10);
        window.rewind(3);
        assert_eq!(window.missing_behind(), Some(3));
        assert!(push(&mut window, 4));
        assert_eq!(pull(&mut window), Some(4));
        assert_eq!(window.missing_behind(), Some(4));
    }

    #[test]
    fn an_acknowledgement_moves_everything_forward() {
        let mut window = SendWindow::new(0);
        for seq in 1..=3 {
            push(&mut window, seq);
        }
        window.commit(3);
        pull(&mut window);
        window.release(3);
        assert_eq!(window.held(), (0, 0));
        assert_eq!(window.cursor(), 4);
        assert!(push(&mut window, 4));
        window.commit(4);
        assert_eq!(pull(&mut window), Some(4));
    }
}
