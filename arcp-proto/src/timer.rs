//! A heap of deadlines with lazy deletion.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::time::Instant;

/// Deadlines in order of time, then of arming.
///
/// Nothing is ever removed early: whoever owns a deadline compares it with what the heap hands out, and arms again if
/// it has moved. So moving a deadline costs nothing.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    heap: BinaryHeap<Reverse<(Instant, u64, T)>>,
    armed: u64,
}

impl<T: Ord + Copy> Timers<T> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), armed: 0 }
    }

    /// Arms `timer` for `at`.
    pub(crate) fn arm(&mut self, at: Instant, timer: T) {
        self.armed += 1;
        self.heap.push(Reverse((at, self.armed, timer)));
    }

    /// The next timer that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<T> {
        let Reverse((at, ..)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse((.., timer))| timer)
    }

    /// The earliest deadline, and what for.
    pub(crate) fn next(&self) -> Option<(Instant, T)> {
        self.heap.peek().map(|Reverse((at, _, timer))| (*at, *timer))
    }

    /// All that are armed, in no order.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.heap.iter().map(|Reverse((.., timer))| *timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_by_time_then_by_arming() {
        let mut timers = Timers::new();
        let at = Instant::from_micros;
        timers.arm(at(20), 'c');
        timers.arm(at(10), 'b');
        timers.arm(at(10), 'a');
        assert_eq!(timers.next(), Some((at(10), 'b')));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.pop(at(10)), Some('b'));
        assert_eq!(timers.pop(at(10)), Some('a'));
        assert_eq!(timers.pop(at(10)), None);
        assert_eq!(timers.pop(at(25)), Some('c'));
    }
}
