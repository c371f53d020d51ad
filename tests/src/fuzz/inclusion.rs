//! Whether one pattern of segments stands for everything another does, decided exactly: both as automata over bytes.

use std::collections::BTreeSet;

/// What stands for every character that neither pattern has.
const FRESH: u8 = 1;
/// Larger patterns are not decided.
const MAX_STATES: usize = 120;
const MAX_PAIRS: usize = 20_000;

/// An automaton over words in which a separator follows every segment.
struct Automaton {
    separator: u8,
    steps: Vec<(On, Moves)>,
    /// Steps on nothing, forward only.
    skips: Vec<(usize, usize)>,
    /// The one state in which a word may end.
    end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Byte(u8),
    /// Anything but the separator.
    Plain,
    Separator,
}

/// States of an automaton, one bit each.
type States = u128;

/// The states from which something leads to the next state, back to themselves, and to the one before.
#[derive(Clone, Copy, Default)]
struct Moves {
    ahead: States,
    stay: States,
    back: States,
}

impl Automaton {
    /// The pattern of these segments; `None` if it is too large.
    fn new(segments: &[&str], separator: u8) -> Option<Self> {
        let mut made = Self { separator, steps: Vec::new(), skips: Vec::new(), end: 0 };
        for segment in segments {
            match *segment {
                "**" => made.many(),
                "*" => {
                    made.step(On::Plain);
                    made.stay();
                    made.step(On::Separator);
                }
                text => {
                    for byte in text.bytes() {
                        if byte == b'*' { made.stay() } else { made.step(On::Byte(byte)) }
                    }
                    made.step(On::Separator);
                }
            }
            if made.end >= MAX_STATES {
                return None;
            }
        }
        Some(made)
    }

    fn on(&mut self, on: On) -> &mut Moves {
        let known = self.steps.iter().position(|(known, _)| *known == on);
        let index = known.unwrap_or_else(|| {
            self.steps.push((on, Moves::default()));
            self.steps.len() - 1
        });
        &mut self.steps[index].1
    }

    fn step(&mut self, on: On) {
        let from = bit(self.end);
        self.on(on).ahead |= from;
        self.end += 1;
    }

    fn stay(&mut self) {
        let from = bit(self.end);
        self.on(On::Plain).stay |= from;
    }

    /// Any number of segments: of the empty ones a word has only a last one.
    fn many(&mut self) {
        let (outside, inside, behind) = (self.end, self.end + 1, self.end + 2);
        self.on(On::Plain).ahead |= bit(outside);
        self.on(On::Plain).stay |= bit(inside);
        self.on(On::Separator).back |= bit(inside);
        self.on(On::Separator).stay |= bit(outside);
        self.skips.push((outside, behind));
        self.end = behind;
    }

    fn closure(&self, mut states: States) -> States {
        for (from, to) in &self.skips {
            states |= (states >> from & 1) << to;
        }
        states
    }

    /// Where this byte leads.
    fn moves(&self, byte: u8) -> Moves {
        let taken = self.steps.iter().filter(|(on, _)| match on {
            On::Byte(known) => *known == byte,
            On::Plain => byte != self.separator,
            On::Separator => byte == self.separator,
        });
        taken.fold(Moves::default(), |all, (_, more)| Moves {
            ahead: all.ahead | more.ahead,
            stay: all.stay | more.stay,
            back: all.back | more.back,
        })
    }

    fn after(&self, states: States, moves: &Moves) -> States {
        self.closure((states & moves.ahead) << 1 | states & moves.stay | (states & moves.back) >> 1)
    }

    const fn accepts(&self, states: States) -> bool {
        states >> self.end & 1 == 1
    }
}

/// The set of this one state; none if that is one too many.
const fn bit(state: usize) -> States {
    if state < MAX_STATES { 1 << state } else { 0 }
}

/// Whether every sequence of segments that `child` stands for is one that `parent` stands for: segments are not empty,
/// but for the last one of several where `may_end_empty`. `None` if that is too much to decide.
pub(super) fn includes(parent: &[&str], child: &[&str], separator: u8, may_end_empty: bool) -> Option<bool> {
    let (parent_made, child_made) = (Automaton::new(parent, separator)?, Automaton::new(child, separator)?);
    let mut bytes: BTreeSet<u8> = parent.iter().chain(child).flat_map(|text| text.bytes()).collect();
    bytes.remove(&b'*');
    bytes.extend([FRESH, separator]);
    let bytes: Vec<_> =
        bytes.into_iter().map(|byte| (byte, child_made.moves(byte), parent_made.moves(byte))).collect();
    let begin = (child_made.closure(1), parent_made.closure(1), Place::Begin);
    let mut seen = BTreeSet::from([begin]);
    let mut left = vec![begin];
    while let Some((in_child, in_parent, place)) = left.pop() {
        if place != Place::Inside && child_made.accepts(in_child) && !parent_made.accepts(in_parent) {
            return Some(false);
        }
        for (byte, by_child, by_parent) in &bytes {
            let next = match place {
                Place::Over => continue,
                Place::Inside if *byte == separator => Place::Between,
                Place::Between if *byte == separator && may_end_empty => Place::Over,
                Place::Begin | Place::Between if *byte == separator => continue,
                _ => Place::Inside,
            };
            let in_child = child_made.after(in_child, by_child);
            let pair = (in_child, parent_made.after(in_parent, by_parent), next);
            if in_child != 0 && seen.insert(pair) {
                left.push(pair);
            }
        }
        if seen.len() > MAX_PAIRS {
            return None;
        }
    }
    Some(true)
}

/// Where in a word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Begin,
    Inside,
    Between,
    /// Behind an empty segment.
    Over,
}
