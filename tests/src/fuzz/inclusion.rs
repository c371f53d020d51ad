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
    /// From, on what, to.
    steps: Vec<(usize, On, usize)>,
    /// Steps on nothing, forward only.
    skips: Vec<(usize, usize)>,
    /// The one state in which a word may end.
    end: usize,
}

#[derive(Clone, Copy)]
enum On {
    Byte(u8),
    /// Anything but the separator.
    Plain,
    Separator,
}

/// States of an automaton, one bit each.
type States = u128;

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
        }
        (made.end < MAX_STATES).then_some(made)
    }

    fn step(&mut self, on: On) {
        self.steps.push((self.end, on, self.end + 1));
        self.end += 1;
    }

    fn stay(&mut self) {
        self.steps.push((self.end, On::Plain, self.end));
    }

    /// Any number of segments: of the empty ones a word has only a last one.
    fn many(&mut self) {
        let (outside, inside, behind) = (self.end, self.end + 1, self.end + 2);
        self.steps.extend([
            (outside, On::Plain, inside),
            (inside, On::Plain, inside),
            (inside, On::Separator, outside),
            (outside, On::Separator, outside),
        ]);
        self.skips.push((outside, behind));
        self.end = behind;
    }

    fn closure(&self, mut states: States) -> States {
        for (from, to) in &self.skips {
            states |= (states >> from & 1) << to;
        }
        states
    }

    fn after(&self, states: States, byte: u8) -> States {
        let mut next = 0;
        for (from, on, to) in &self.steps {
            let goes = match on {
                On::Byte(known) => *known == byte,
                On::Plain => byte != self.separator,
                On::Separator => byte == self.separator,
            };
            next |= (states >> from & u128::from(goes)) << to;
        }
        self.closure(next)
    }

    const fn accepts(&self, states: States) -> bool {
        states >> self.end & 1 == 1
    }
}

/// Whether every sequence of segments that `child` stands for is one that `parent` stands for: segments are not empty,
/// but for the last one of several where `may_end_empty`. `None` if that is too much to decide.
pub(super) fn includes(parent: &[&str], child: &[&str], separator: u8, may_end_empty: bool) -> Option<bool> {
    let (parent_made, child_made) = (Automaton::new(parent, separator)?, Automaton::new(child, separator)?);
    let mut bytes: BTreeSet<u8> = parent.iter().chain(child).flat_map(|text| text.bytes()).collect();
    bytes.remove(&b'*');
    bytes.extend([FRESH, separator]);
    let begin = (child_made.closure(1), parent_made.closure(1), Place::Begin);
    let mut seen = BTreeSet::from([begin]);
    let mut left = vec![begin];
    while let Some((in_child, in_parent, place)) = left.pop() {
        if place != Place::Inside && child_made.accepts(in_child) && !parent_made.accepts(in_parent) {
            return Some(false);
        }
        for byte in &bytes {
            let next = match place {
                Place::Over => continue,
                Place::Inside if *byte == separator => Place::Between,
                Place::Between if *byte == separator && may_end_empty => Place::Over,
                Place::Begin | Place::Between if *byte == separator => continue,
                _ => Place::Inside,
            };
            let in_child = child_made.after(in_child, *byte);
            let pair = (in_child, parent_made.after(in_parent, *byte), next);
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
