//! Numbers: what has arrived, what the application has taken, what there is to acknowledge (protocol §2.6, §4.2).

use alloc::collections::{BTreeSet, VecDeque};

use crate::client::jobs::JobIndex;

/// Events towards an endpoint of ours after which an acknowledgement does not wait for its turn (D-98).
const EAGER_ACK_EVENTS: u64 = 1_000;
/// Bytes of them.
const EAGER_ACK_BYTES: u64 = 1 << 20;
/// Where the numbers begin that stand for frames without one; those of sessions never come here.
const ASIDE: u64 = 1 << 63;
/// Numbers passed over that are remembered.
const MOST_LATE: u64 = 1_024;
/// Taken entries that may stand between untaken ones before they are swept out.
const SWEEP_AT: usize = 1_024;

/// What a number means at this point of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The next one.
    Next,
    /// It was here before.
    Repeat,
    /// Numbers before it are missing; the session should be resumed from the last one.
    Gap,
    /// The same numbers were missing before the last resume: they will not come.
    Lost {
        /// The first missing number, as handed to the application.
        from: u64,
        /// The last missing number.
        to: u64,
    },
}

/// The numbers of a session, and behind them those of the sessions before it that could not be continued.
///
/// The application gets numbers that rise over the endpoint's whole life: the session's own plus `base`. So what it
/// takes late is never mistaken for a frame of a later session.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Added to the session's numbers.
    base: u64,
    /// Highest number of the session such that it and all below arrived.
    last: u64,
    /// Where a gap began that a resume was asked for.
    gap_after: Option<u64>,
    /// What was handed on, in order. A number that is not here counts as taken.
    handed: VecDeque<Handed>,
    /// The same of frames whose numbers do not count, or that have none.
    aside: VecDeque<Handed>,
    next_aside: u64,
    /// Numbers of the session that were passed over and may still come.
    late: BTreeSet<u64>,
    untaken_events: u64,
    untaken_bytes: u64,
    /// The last acknowledged number of the session.
    acknowledged: u64,
    /// Bytes taken since then.
    unacknowledged_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Handed {
    number: u64,
    bytes: u64,
    job: JobIndex,
    taken: bool,
}

impl Numbers {
    /// A session of an earlier process that had all up to `last`.
    pub(super) fn continuing(last: u64) -> Self {
        Self { last, ..Self::default() }
    }

    /// The highest number such that it and all below arrived.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// What `number` means; changes nothing but the memory of gaps.
    pub(super) fn judge(&mut self, number: u64, can_resume: bool) -> Arrival {
        if number <= self.last {
            Arrival::Repeat
        } else if number == self.last + 1 {
            Arrival::Next
        } else if can_resume && self.gap_after != Some(self.last) {
            self.gap_after = Some(self.last);
            Arrival::Gap
        } else {
            Arrival::Lost { from: self.handed_as(self.last + 1), to: self.handed_as(number - 1) }
        }
    }

    /// The numbers of a gap may still come; of many the last.
    pub(super) fn may_come_late(&mut self, from: u64, to: u64) {
        self.late.extend(from.max(to.saturating_sub(MOST_LATE))..=to);
        while self.late.len() as u64 > MOST_LATE {
            self.late.pop_first();
        }
    }

    /// Whether `number` was passed over and comes now.
    pub(super) fn comes_late(&mut self, number: u64) -> bool {
        self.late.remove(&number)
    }

    /// `number` arrived, next or behind a loss. Until it is handed on it counts as taken.
    pub(super) fn advance(&mut self, number: u64) {
        self.last = number;
        self.gap_after = None;
    }

    /// Hands a frame of `job` on, with the last number if it `is_numbered`; the number the application gives back is
    /// returned.
    pub(super) fn hand_on(&mut self, job: JobIndex, bytes: usize, is_numbered: bool) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let (queue, number) = if is_numbered {
            (&mut self.handed, self.base.saturating_add(self.last))
        } else {
            self.next_aside += 1;
            (&mut self.aside, ASIDE | self.next_aside)
        };
        queue.push_back(Handed { number, bytes, job, taken: false });
        self.untaken_events += 1;
        self.untaken_bytes = self.untaken_bytes.saturating_add(bytes);
        number
    }

    /// The last number is not handed on.
    pub(super) fn pass(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.unacknowledged_bytes = self.unacknowledged_bytes.saturating_add(bytes);
    }

    /// The application has `number`. Anything it was not given, or gave back before, changes nothing.
    pub(super) fn taken(&mut self, number: u64) {
        let queue = if number & ASIDE == 0 { &mut self.handed } else { &mut self.aside };
        let Some(first) = queue.front().map(|entry| entry.number) else { return };
        let Some(distance) = number.checked_sub(first) else { return };
        // Without a hole, the distance is the index.
        let direct =
            usize::try_from(distance).ok().filter(|&at| queue.get(at).is_some_and(|e| e.number == number));
        let found = direct.or_else(|| queue.binary_search_by_key(&number, |entry| entry.number).ok());
        if let Some(entry) = found.and_then(|at| queue.get_mut(at)) {
            take(entry, &mut self.untaken_events, &mut self.untaken_bytes, &mut self.unacknowledged_bytes);
        }
        self.sweep();
    }

    /// The application wants nothing of `job` any more.
    pub(super) fn abandon(&mut self, job: JobIndex) {
        for entry in self.handed.iter_mut().chain(&mut self.aside).filter(|entry| entry.job == job) {
            take(entry, &mut self.untaken_events, &mut self.untaken_bytes, &mut self.unacknowledged_bytes);
        }
        self.sweep();
    }

    /// The application keeps up with these limits.
    pub(super) const fn is_within(&self, events: u64, bytes: u64) -> bool {
        self.untaken_events < events && self.untaken_bytes < bytes
    }

    /// The highest number of the session such that the application has it and all below.
    pub(super) fn taken_up_to(&self) -> u64 {
        self.handed.front().map_or(self.last, |entry| (entry.number - 1).saturating_sub(self.base))
    }

    /// Whether there is something to acknowledge.
    pub(super) fn has_ack(&self) -> bool {
        self.taken_up_to() > self.acknowledged
    }

    /// Whether what there is to acknowledge is worth more than the spacing (D-98).
    pub(super) fn is_ack_urgent(&self) -> bool {
        let events = self.taken_up_to().saturating_sub(self.acknowledged);
        events >= EAGER_ACK_EVENTS || self.unacknowledged_bytes >= EAGER_ACK_BYTES
    }

    /// The number to acknowledge, which is then considered sent.
    pub(super) fn acknowledge(&mut self) -> u64 {
        self.acknowledged = self.taken_up_to();
        self.unacknowledged_bytes = 0;
        self.acknowledged
    }

    /// A new connection: whether earlier acknowledgements arrived is not known.
    pub(super) const fn forget_acks(&mut self) {
        self.acknowledged = 0;
    }

    /// Another session begins, whose numbers start at 1.
    pub(super) fn start_over(&mut self) {
        self.base = self.handed_as(self.last);
        self.last = 0;
        self.late.clear();
        self.gap_after = None;
        self.acknowledged = 0;
    }

    const fn handed_as(&self, number: u64) -> u64 {
        self.base.saturating_add(number)
    }

    fn sweep(&mut self) {
        let untaken = usize::try_from(self.untaken_events).unwrap_or(usize::MAX);
        for queue in [&mut self.handed, &mut self.aside] {
            while queue.front().is_some_and(|entry| entry.taken) {
                queue.pop_front();
            }
            if queue.len() > untaken.saturating_mul(2).saturating_add(SWEEP_AT) {
                queue.retain(|entry| !entry.taken);
            }
        }
    }
}

fn take(entry: &mut Handed, events: &mut u64, bytes: &mut u64, unacknowledged: &mut u64) {
    if !entry.taken {
        entry.taken = true;
        *events -= 1;
        *bytes -= entry.bytes;
        *unacknowledged = unacknowledged.saturating_add(entry.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const JOB: JobIndex = JobIndex::new(1);
    const OTHER: JobIndex = JobIndex::new(2);

    fn arrive(numbers: &mut Numbers, job: JobIndex, number: u64) -> u64 {
        assert_eq!(numbers.judge(number, true), Arrival::Next);
        numbers.advance(number);
        numbers.hand_on(job, 100, true)
    }

    #[test]
    fn the_highest_contiguous_taken_number_is_acknowledged() {
        let mut numbers = Numbers::default();
        for number in 1..=4 {
            assert_eq!(arrive(&mut numbers, JOB, number), number);
        }
        numbers.taken(3);
        assert!(!numbers.has_ack());
        numbers.taken(1);
        assert_eq!(numbers.taken_up_to(), 1);
        numbers.taken(2);
        assert_eq!(numbers.acknowledge(), 3);
        assert!(!numbers.has_ack());
        numbers.taken(2);
        numbers.taken(99);
        assert_eq!(numbers.taken_up_to(), 3);
        assert!(numbers.is_within(2, 101) && !numbers.is_within(1, 101) && !numbers.is_within(2, 100));
    }

    #[test]
    fn numbers_that_are_not_handed_on_count_as_taken() {
        let mut numbers = Numbers::default();
        arrive(&mut numbers, JOB, 1);
        numbers.advance(2);
        numbers.pass(10);
        assert_eq!(numbers.taken_up_to(), 0);
        arrive(&mut numbers, OTHER, 3);
        numbers.abandon(JOB);
        assert_eq!(numbers.taken_up_to(), 2);
        numbers.taken(3);
        assert_eq!(numbers.taken_up_to(), 3);
    }

    #[test]
    fn frames_without_a_number_count_until_they_are_taken_and_are_not_acknowledged() {
        let mut numbers = Numbers::default();
        arrive(&mut numbers, JOB, 1);
        let aside: Vec<u64> = (0..3).map(|_| numbers.hand_on(OTHER, 100, false)).collect();
        assert!(!numbers.is_within(4, 1_000) && !numbers.is_within(10, 400));
        numbers.taken(aside[1]);
        numbers.taken(aside[1]);
        assert!(numbers.is_within(4, 400) && !numbers.is_within(3, 400));
        assert_eq!((numbers.last(), numbers.taken_up_to()), (1, 0));
        numbers.taken(1);
        assert_eq!(numbers.acknowledge(), 1);
        numbers.abandon(OTHER);
        assert!(numbers.is_within(1, 1));
        assert!(numbers.aside.is_empty());
        assert!(aside[0] < numbers.hand_on(OTHER, 100, false), "none comes twice");
    }

    #[test]
    fn numbers_passed_over_come_once_and_only_so_many_are_remembered() {
        let mut numbers = Numbers::default();
        numbers.may_come_late(2, 3);
        assert!(numbers.comes_late(3) && !numbers.comes_late(3) && !numbers.comes_late(4));
        numbers.may_come_late(5, u64::MAX - 1);
        assert!(!numbers.comes_late(2) && numbers.comes_late(u64::MAX - MOST_LATE));
        assert!(numbers.comes_late(u64::MAX - 1));
        numbers.start_over();
        assert!(!numbers.comes_late(u64::MAX - 2));
    }

    #[test]
    fn a_gap_is_reported_after_one_resume_or_at_once_without_one() {
        let mut numbers = Numbers::continuing(10);
        assert_eq!(numbers.judge(13, true), Arrival::Gap);
        assert_eq!(numbers.judge(10, true), Arrival::Repeat);
        assert_eq!(numbers.judge(13, true), Arrival::Lost { from: 11, to: 12 });
        numbers.advance(13);
        assert_eq!(numbers.judge(15, true), Arrival::Gap);
        let mut numbers = Numbers::default();
        assert_eq!(numbers.judge(2, false), Arrival::Lost { from: 1, to: 1 });
    }

    #[test]
    fn late_takes_of_an_earlier_session_acknowledge_nothing_of_the_next() {
        let mut numbers = Numbers::default();
        arrive(&mut numbers, JOB, 1);
        arrive(&mut numbers, JOB, 2);
        numbers.start_over();
        assert_eq!(arrive(&mut numbers, JOB, 1), 3);
        numbers.taken(3);
        assert!(!numbers.has_ack(), "1 and 2 of the first session are untaken");
        numbers.taken(1);
        assert!(!numbers.has_ack());
        numbers.taken(2);
        assert_eq!(numbers.acknowledge(), 1);
    }

    #[test]
    fn one_reader_that_lags_costs_no_memory_for_the_others() {
        for batch in 1..=3 {
            let mut numbers = Numbers::default();
            arrive(&mut numbers, OTHER, 1);
            for _ in 0..6_000 {
                let next = numbers.last() + 1;
                let handed: Vec<u64> =
                    (next..next + batch).map(|number| arrive(&mut numbers, JOB, number)).collect();
                handed.into_iter().for_each(|number| numbers.taken(number));
            }
            assert!(numbers.handed.len() <= SWEEP_AT + 3, "{batch}: {}", numbers.handed.len());
            assert_eq!(numbers.taken_up_to(), 0, "the first one is not taken");
            numbers.taken(1);
            assert_eq!(numbers.taken_up_to(), 1 + 6_000 * batch);
            assert!(numbers.is_ack_urgent());
        }
    }

    #[test]
    fn bytes_that_are_not_handed_on_make_an_acknowledgement_urgent_as_well() {
        let mut numbers = Numbers::default();
        numbers.advance(1);
        numbers.pass((1 << 20) - 1);
        assert!(numbers.has_ack() && !numbers.is_ack_urgent());
        numbers.pass(1);
        assert!(numbers.is_ack_urgent());
        numbers.acknowledge();
        assert!(!numbers.is_ack_urgent());
    }
}
