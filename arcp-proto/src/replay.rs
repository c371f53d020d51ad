//! The retained range of a numbered log, with what it costs (protocol §2.6).
//!
//! Used for the numbers of a session and for the positions of a job. Costs are kept in blocks rather than per number,
//! so that 65 536 retained numbers are a few hundred blocks, in memory as in a stored row.

use alloc::collections::VecDeque;

use crate::runtime::store::Cost;

/// Numbers a block holds at most.
const BLOCK_NUMBERS: u64 = 256;
/// Bytes a block holds at most, unless what was pushed at once is larger.
const BLOCK_BYTES: u64 = 64 * 1_024;

/// The range of numbers of a log that are retained: those above [`floor`](Self::floor) up to [`last`](Self::last).
///
/// The retained range is exact. Costs are exact but for a block released in part, and depend on where blocks begin, so
/// two ranges with the same numbers are equal only if they were filled in the same steps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    floor: u64,
    last: u64,
    total: Cost,
    blocks: VecDeque<Block>,
}

/// Neighbouring numbers and what they cost together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Its first number. In the oldest block it may lie at or below the floor: the block was released in part.
    pub first: u64,
    /// Its last number, never below the first.
    pub last: u64,
    /// What all its numbers cost, the released ones included.
    pub cost: Cost,
}

/// How much of a log is retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionLimit {
    /// Most events.
    pub events: u64,
    /// Most bytes of events other than result chunks.
    pub bytes: u64,
    /// Most bytes of result chunks.
    pub chunk_bytes: u64,
}

impl Retention {
    /// An empty range whose next number is `floor` + 1.
    #[must_use]
    pub const fn new(floor: u64) -> Self {
        Self { floor, last: floor, total: Cost { chunk_bytes: 0, bytes: 0 }, blocks: VecDeque::new() }
    }

    /// The range that a store kept as its floor and its [`blocks`](Self::blocks).
    ///
    /// `None` if the blocks do not follow each other without a gap, or do not begin at the floor.
    #[must_use]
    pub fn from_blocks(floor: u64, blocks: impl IntoIterator<Item = Block>) -> Option<Self> {
        let mut range = Self::new(floor);
        for block in blocks {
            let contiguous = match range.blocks.back() {
                Some(before) => before.last.checked_add(1) == Some(block.first),
                None => block.first.checked_sub(1)? <= floor && block.last > floor,
            };
            if !contiguous || block.first > block.last {
                return None;
            }
            range.last = block.last;
            range.total.add(block.cost);
            range.blocks.push_back(block);
        }
        Some(range)
    }

    /// Adds the next number, which is `last` + 1.
    #[inline]
    pub fn push(&mut self, number: u64, cost: Cost) {
        debug_assert_eq!(Some(number), self.last.checked_add(1), "numbers have no gaps");
        self.extend(number, cost);
    }

    /// Adds the next number in a block of its own, so that everything before it can be given up without it.
    pub fn push_apart(&mut self, number: u64, cost: Cost) {
        debug_assert_eq!(Some(number), self.last.checked_add(1), "numbers have no gaps");
        self.total.add(cost);
        self.blocks.push_back(Block { first: number, last: number, cost });
        self.last = number;
    }

    /// Adds every number above `last` up to and including `through`, which cost so much together. Without such a
    /// number nothing changes.
    #[inline]
    pub fn extend(&mut self, through: u64, cost: Cost) {
        if through <= self.last {
            return;
        }
        self.total.add(cost);
        match self.blocks.back_mut() {
            Some(block) if !Self::fills_block(through - block.first, block.cost, cost) => {
                block.last = through;
                block.cost.add(cost);
            }
            _ => self.blocks.push_back(Block { first: self.last + 1, last: through, cost }),
        }
        self.last = through;
    }

    /// Whether what `numbers` numbers cost together leaves no room in their block for one that costs `next`.
    #[must_use]
    pub(crate) fn fills_block(numbers: u64, cost: Cost, next: Cost) -> bool {
        numbers >= BLOCK_NUMBERS || cost.total().saturating_add(next.total()) > BLOCK_BYTES
    }

    /// The number below the oldest retained one.
    #[must_use]
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// The newest number; the floor if nothing is retained.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// How many numbers are retained.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.last - self.floor
    }

    /// Whether nothing is retained.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.last == self.floor
    }

    /// What the retained numbers cost; at most a block's part too much.
    #[must_use]
    pub const fn total(&self) -> Cost {
        self.total
    }

    /// What the retained numbers above `number` cost; at most a block's part too much.
    #[must_use]
    pub fn total_above(&self, number: u64) -> Cost {
        let mut total = Cost::default();
        for block in self.blocks.iter().rev().take_while(|block| block.last > number) {
            total.add(block.cost);
        }
        total
    }

    /// The blocks, oldest first, for a stored row.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = &Block> {
        self.blocks.iter()
    }

    /// Gives up everything up to and including `to`: the floor rises to exactly that number, at most to `last`, and
    /// never falls. A block released in part keeps its cost until it is released whole.
    pub fn release(&mut self, to: u64) {
        self.floor = self.floor.max(to.min(self.last));
        while let Some(block) = self.blocks.front().filter(|block| block.last <= self.floor) {
            self.total.subtract(block.cost);
            self.blocks.pop_front();
        }
    }

    /// Gives up whole blocks, oldest first, until the range is within `limit`, but no number above `up_to`. Returns
    /// whether the floor rose.
    ///
    /// The range can end up empty: a limit smaller than a block leaves room for no whole one.
    pub fn evict(&mut self, limit: &RetentionLimit, up_to: u64) -> bool {
        let before = self.floor;
        while self.is_over(limit) {
            match self.blocks.front() {
                Some(block) if block.last <= up_to => self.release(block.last),
                _ => break,
            }
        }
        self.floor != before
    }

    /// Gives up whole blocks, oldest first, until at least `bytes` of any kind are given up, but no number above `up_to`.
    /// Returns whether the floor rose.
    pub fn evict_bytes(&mut self, bytes: u64, up_to: u64) -> bool {
        let (before, keep) = (self.floor, self.total.total().saturating_sub(bytes));
        while self.total.total() > keep {
            match self.blocks.front() {
                Some(block) if block.last <= up_to => self.release(block.last),
                _ => break,
            }
        }
        self.floor != before
    }

    /// Whether any part of `limit` is exceeded.
    #[must_use]
    pub const fn is_over(&self, limit: &RetentionLimit) -> bool {
        self.len() > limit.events
            || self.total.bytes > limit.bytes
            || self.total.chunk_bytes > limit.chunk_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Random;
    use alloc::vec::Vec;

    const NONE: Cost = Cost { chunk_bytes: 0, bytes: 0 };
    const UNLIMITED: RetentionLimit =
        RetentionLimit { events: u64::MAX, bytes: u64::MAX, chunk_bytes: u64::MAX };

    const fn bytes(bytes: u64) -> Cost {
        Cost { chunk_bytes: 0, bytes }
    }

    fn filled(numbers: u64, cost: Cost) -> Retention {
        let mut range = Retention::new(0);
        for number in 1..=numbers {
            range.push(number, cost);
        }
        range
    }

    #[test]
    fn the_cost_above_a_number_is_that_of_its_blocks() {
        let mut range = Retention::new(10);
        let cost = |bytes| Cost { chunk_bytes: 1, bytes };
        range.push_apart(11, cost(100));
        range.push(12, cost(40_000));
        range.push(13, cost(40_000));
        range.push(14, cost(7));
        assert_eq!(range.total_above(0), range.total());
        // Its block is counted whole.
        assert_eq!(range.total_above(11), range.total());
        assert_eq!(range.total_above(12), Cost { chunk_bytes: 2, bytes: 40_007 });
        assert_eq!(range.total_above(13), Cost { chunk_bytes: 2, bytes: 40_007 });
        assert_eq!(range.total_above(14), Cost::default());
        range.release(12);
        assert_eq!(range.total_above(0), Cost { chunk_bytes: 2, bytes: 40_007 });
    }

    #[test]
    fn blocks_close_at_256_numbers_or_64_kib() {
        let by_count: Vec<u64> = filled(600, bytes(1)).blocks().map(|block| block.last).collect();
        assert_eq!(by_count, [256, 512, 600]);
        let by_size: Vec<u64> = filled(10, bytes(16 * 1_024)).blocks().map(|block| block.last).collect();
        assert_eq!(by_size, [4, 8, 10]);
        let large: Vec<u64> = filled(3, bytes(1 << 20)).blocks().map(|block| block.last).collect();
        assert_eq!(large, [1, 2, 3]);
        let mut pages = filled(200, bytes(1));
        pages.extend(300, bytes(1));
        assert_eq!(pages.blocks().map(|block| block.last).collect::<Vec<_>>(), [200, 300]);
    }

    #[test]
    fn a_block_released_in_part_keeps_its_cost() {
        let mut range = filled(300, bytes(10));
        range.release(100);
        assert_eq!((range.floor(), range.len(), range.total()), (100, 200, bytes(3_000)));
        range.release(256);
        assert_eq!((range.floor(), range.total()), (256, bytes(440)));
        range.release(10);
        assert_eq!(range.floor(), 256);
        range.release(1_000);
        assert_eq!((range.floor(), range.last(), range.total()), (300, 300, NONE));
        range.push(301, bytes(7));
        assert_eq!((range.floor(), range.last(), range.total()), (300, 301, bytes(7)));
    }

    #[test]
    fn what_is_pushed_apart_stays_when_all_before_it_goes() {
        let mut range = filled(5, bytes(10));
        range.push_apart(6, bytes(1));
        assert!(range.evict(&RetentionLimit { bytes: 0, ..UNLIMITED }, 5));
        assert_eq!((range.floor(), range.last(), range.total()), (5, 6, bytes(1)));
    }

    #[test]
    fn chunks_are_limited_apart() {
        let mut range = Retention::new(0);
        for number in 1..=64 {
            range.push(number, Cost { chunk_bytes: 64 * 1_024, bytes: 0 });
        }
        assert!(!range.is_over(&RetentionLimit { bytes: 0, ..UNLIMITED }));
        let limit = RetentionLimit { chunk_bytes: 1 << 20, ..UNLIMITED };
        assert!(range.evict(&limit, u64::MAX));
        assert_eq!((range.floor(), range.total().chunk_bytes), (48, 1 << 20));
        assert!(!range.evict(&limit, u64::MAX));
    }

    #[test]
    fn as_many_bytes_as_asked_for_are_given_up_and_no_block_more() {
        let mut range = filled(6, bytes(64 * 1_024));
        assert!(range.evict_bytes(128 * 1_024, u64::MAX));
        assert_eq!((range.floor(), range.is_empty()), (2, false));
        assert!(range.evict_bytes(128 * 1_024 + 1, u64::MAX));
        assert_eq!(range.floor(), 5);
        assert!(range.evict_bytes(u64::MAX, u64::MAX));
        assert_eq!((range.floor(), range.is_empty()), (6, true));
        assert!(!range.evict_bytes(1, u64::MAX));
    }

    #[test]
    fn nothing_above_the_bound_is_evicted() {
        let mut range = filled(1_000, bytes(1));
        let limit = RetentionLimit { events: 10, ..UNLIMITED };
        assert!(!range.evict(&limit, 255));
        assert!(range.evict(&limit, 511));
        assert_eq!(range.floor(), 256);
        assert!(range.is_over(&limit));
        assert!(range.evict(&limit, u64::MAX));
        assert_eq!((range.floor(), range.last(), range.total()), (1_000, 1_000, NONE));
    }

    #[test]
    fn stored_blocks_that_do_not_fit_together_are_refused() {
        let block = |first, last| Block { first, last, cost: NONE };
        assert!(Retention::from_blocks(5, [block(3, 7), block(8, 8)]).is_some());
        assert!(Retention::from_blocks(5, []).is_some());
        for (floor, blocks) in [
            (5, [block(7, 8), block(9, 9)]),
            (5, [block(1, 5), block(6, 9)]),
            (5, [block(6, 8), block(10, 11)]),
            (5, [block(6, 8), block(9, 8)]),
            (0, [block(0, 1), block(2, 3)]),
        ] {
            assert_eq!(Retention::from_blocks(floor, blocks), None, "{floor} {blocks:?}");
        }
    }

    /// The same rules with the cost of every number at hand, blocks found again from the beginning each time.
    struct Model {
        floor: u64,
        pushed: Vec<(u64, Cost)>,
        /// Where the floor once met the newest number.
        emptied_at: Vec<u64>,
    }

    impl Model {
        fn last(&self) -> u64 {
            self.pushed.last().map_or(0, |(through, _)| *through)
        }

        fn retained_blocks(&self) -> Vec<Block> {
            let mut blocks: Vec<Block> = Vec::new();
            let mut last = 0;
            for &(through, cost) in &self.pushed {
                let joined = blocks.last().copied().map(|mut block| {
                    block.last = through;
                    block.cost.add(cost);
                    block
                });
                match joined {
                    Some(joined)
                        if joined.last - joined.first < 256
                            && joined.cost.chunk_bytes + joined.cost.bytes <= 65_536
                            && !self.released_before_push(last) =>
                    {
                        *blocks.last_mut().expect("joined") = joined;
                    }
                    _ => blocks.push(Block { first: last + 1, last: through, cost }),
                }
                last = through;
            }
            blocks.retain(|block| block.last > self.floor);
            blocks
        }

        /// A block that was released whole is gone, so what comes next begins another.
        fn released_before_push(&self, last: u64) -> bool {
            self.emptied_at.contains(&last)
        }
    }

    #[test]
    fn agrees_with_a_model_that_keeps_every_number() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let mut model = Model { floor: 0, pushed: Vec::new(), emptied_at: Vec::new() };
            let mut range = Retention::new(0);
            for _ in 0..400 {
                let last = model.last();
                match random.below(20) {
                    0 => {
                        let to = random.next() % (last + 20);
                        range.release(to);
                        model.floor = model.floor.max(to.min(last));
                    }
                    1 => {
                        let limit = RetentionLimit {
                            events: random.next() % 600,
                            bytes: random.next() % 500_000,
                            chunk_bytes: random.next() % 500_000,
                        };
                        let up_to = random.next() % (last + 300);
                        let before = model.floor;
                        for block in model.retained_blocks() {
                            let mut total = Cost::default();
                            for kept in model.retained_blocks() {
                                total.add(kept.cost);
                            }
                            let is_over = last - model.floor > limit.events
                                || total.bytes > limit.bytes
                                || total.chunk_bytes > limit.chunk_bytes;
                            if !is_over || block.last > up_to {
                                break;
                            }
                            model.floor = block.last;
                        }
                        assert_eq!(range.evict(&limit, up_to), model.floor != before);
                    }
                    pushed => {
                        let through = last + if pushed < 4 { 1 + random.next() % 300 } else { 1 };
                        let scale = random.pick(&[100, 1_000, 40_000]);
                        let mut cost = Cost { chunk_bytes: 0, bytes: random.next() % scale };
                        if random.below(3) == 0 {
                            cost = Cost { chunk_bytes: cost.bytes, bytes: 0 };
                        }
                        range.extend(through, cost);
                        model.pushed.push((through, cost));
                    }
                }
                if model.floor == model.last() && model.emptied_at.last() != Some(&model.floor) {
                    model.emptied_at.push(model.floor);
                }
                let blocks = model.retained_blocks();
                let mut total = Cost::default();
                for block in &blocks {
                    total.add(block.cost);
                }
                assert_eq!(range.blocks().copied().collect::<Vec<_>>(), blocks, "seed {seed}");
                assert_eq!((range.floor(), range.last(), range.total()), (model.floor, model.last(), total));
                assert_eq!(range.len(), model.last() - model.floor);
                assert_eq!(Retention::from_blocks(range.floor(), blocks).as_ref(), Some(&range));
            }
        }
    }
}
