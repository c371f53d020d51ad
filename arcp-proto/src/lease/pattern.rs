//! The pattern grammar and its matcher (protocol §5.2, D-40).
//!
//! ```text
//! pattern ::= segment ( separator segment )*
//! segment ::= "**" | ( literal-character | "*" )+
//! ```
//!
//! `*` stands for any run of characters inside one segment, a segment that is just `*` for at least one; `**` stands
//! for any number of whole segments. Matching keeps one row of reachable positions per segment of the target, and
//! places the literals between two `*` leftmost first: never more than |pattern| × |target| comparisons, and no
//! recursion.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::text::Refusal;

/// Longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 512;
/// Most wildcards in one pattern; `**` is one.
pub const MAX_WILDCARDS: usize = 16;
/// Most segments of one pattern, and most labels of its host.
pub const MAX_SEGMENTS: usize = 32;
/// Longest target, in bytes.
pub const MAX_TARGET_BYTES: usize = 4_096;

/// Where a matcher says how many comparisons it makes.
pub(super) trait Steps {
    fn add(&mut self, comparisons: usize);
}

/// Nobody wants to know.
impl Steps for () {
    #[inline]
    fn add(&mut self, _: usize) {}
}

#[cfg(test)]
impl Steps for usize {
    fn add(&mut self, comparisons: usize) {
        *self += comparisons;
    }
}

/// The wildcards one pattern has used so far, over all its parts.
#[derive(Debug, Default)]
pub(super) struct Wildcards(usize);

impl Wildcards {
    pub(super) fn take(&mut self, more: usize) -> Result<(), Refusal> {
        self.0 += more;
        if self.0 > MAX_WILDCARDS {
            return Err(Refusal::new("a pattern has at most 16 wildcards"));
        }
        Ok(())
    }
}

/// Text with `*`, where two `*` never touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run(Box<str>);

impl Run {
    /// `text` as one segment other than `**`.
    pub(super) fn segment(text: &str, wildcards: &mut Wildcards) -> Result<Self, Refusal> {
        if text.contains("**") {
            return Err(Refusal::new("`**` must be a whole segment"));
        }
        wildcards.take(stars(text))?;
        Ok(Self(text.into()))
    }

    /// `text` without any structure, where `**` says the same as `*`.
    pub(super) fn unstructured(text: &str, wildcards: &mut Wildcards) -> Result<Self, Refusal> {
        wildcards.take(stars(text))?;
        let mut single = alloc::string::String::with_capacity(text.len());
        for character in text.chars() {
            if character != '*' || !single.ends_with('*') {
                single.push(character);
            }
        }
        Ok(Self(single.into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether it is just `*`.
    pub(super) fn is_star(&self) -> bool {
        &*self.0 == "*"
    }

    /// Whether `text` is one of the texts it stands for. As bytes: a literal begins with a character's first byte,
    /// which never equals a later one.
    pub(super) fn matches(&self, text: &str, steps: &mut impl Steps) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let Some(first) = pattern.iter().position(|&byte| byte == b'*') else {
            steps.add(pattern.len().min(text.len()));
            return pattern == text;
        };
        if pattern.len() == 1 {
            return !text.is_empty();
        }
        let (head, rest) = (&pattern[..first], &pattern[first + 1..]);
        steps.add(head.len().min(text.len()));
        let Some(mut text) = text.strip_prefix(head) else { return false };
        let (middle, tail) = match rest.iter().rposition(|&byte| byte == b'*') {
            Some(last) => (&rest[..last], &rest[last + 1..]),
            None => (&[][..], rest),
        };
        steps.add(tail.len().min(text.len()));
        let Some(within) = text.strip_suffix(tail) else { return false };
        text = within;
        if middle.is_empty() {
            return true;
        }
        // The earliest place for each literal leaves the most room for those after it.
        middle.split(|&byte| byte == b'*').all(|literal| match find(text, literal, steps) {
            Some(at) => {
                text = &text[at + literal.len()..];
                true
            }
            None => false,
        })
    }
}

fn stars(text: &str) -> usize {
    text.bytes().filter(|&byte| byte == b'*').count()
}

fn find(text: &[u8], literal: &[u8], steps: &mut impl Steps) -> Option<usize> {
    if literal.is_empty() {
        return Some(0);
    }
    text.windows(literal.len()).position(|window| {
        steps.add(literal.len());
        window == literal
    })
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// `**`.
    Many,
    /// Anything else.
    One(Run),
}

/// One segment of what is matched.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'t> {
    /// The `**` of another pattern, which only `**` absorbs.
    Many,
    /// The text of a target's segment, or of another pattern's.
    One(&'t str),
}

/// A compiled pattern over segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    /// At most [`MAX_SEGMENTS`], without two [`Segment::Many`] in a row.
    segments: Box<[Segment]>,
}

/// Positions between the segments of a pattern, one bit each; [`MAX_SEGMENTS`] + 1 of them.
type Row = u64;

impl Glob {
    /// Compiles the segments of one pattern.
    pub(super) fn compile<'a>(
        segments: impl Iterator<Item = &'a str>,
        wildcards: &mut Wildcards,
    ) -> Result<Self, Refusal> {
        let mut compiled = Vec::new();
        for (index, text) in segments.enumerate() {
            if index == MAX_SEGMENTS {
                return Err(Refusal::new("a pattern has at most 32 segments"));
            }
            if text == "**" {
                wildcards.take(1)?;
                if compiled.last() != Some(&Segment::Many) {
                    compiled.push(Segment::Many);
                }
            } else {
                compiled.push(Segment::One(Run::segment(text, wildcards)?));
            }
        }
        Ok(Self { segments: compiled.into() })
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether it stands for one target only.
    pub(super) fn is_literal(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::One(run) if run.is_literal()))
    }

    /// Whether a target of these segments is one of those it stands for.
    pub(super) fn matches<'t>(&self, target: impl Iterator<Item = &'t str>, steps: &mut impl Steps) -> bool {
        self.absorbs(target.map(Part::One), steps)
    }

    /// The program over segments. A row says which beginnings of the pattern absorb all parts so far.
    pub(super) fn absorbs<'t>(&self, parts: impl Iterator<Item = Part<'t>>, steps: &mut impl Steps) -> bool {
        let mut row = self.past_many(1);
        for part in parts {
            let mut next: Row = 0;
            for (index, segment) in self.segments.iter().enumerate() {
                if row >> index & 1 == 0 {
                    continue;
                }
                steps.add(1);
                match (segment, part) {
                    (Segment::Many, _) => next |= 1 << index,
                    (Segment::One(run), Part::One(text)) if run.matches(text, steps) => next |= 2 << index,
                    (Segment::One(_), _) => {}
                }
            }
            row = self.past_many(next);
            if row == 0 {
                return false;
            }
        }
        row >> self.segments.len() & 1 == 1
    }

    /// `row` with the positions that are reached because `**` may also stand for nothing.
    fn past_many(&self, mut row: Row) -> Row {
        for (index, segment) in self.segments.iter().enumerate() {
            if *segment == Segment::Many {
                row |= (row >> index & 1) << (index + 1);
            }
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Random;
    use alloc::string::String;

    fn glob(pattern: &str) -> Glob {
        Glob::compile(pattern.split('/'), &mut Wildcards::default()).unwrap()
    }

    fn matches(pattern: &str, target: &str) -> bool {
        glob(pattern).matches(target.split('/'), &mut ())
    }

    /// The definition, by trying everything.
    fn run_by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| run_by_definition(rest, &text[taken..])),
            Some((byte, rest)) => {
                text.split_first().is_some_and(|(first, text)| first == byte && run_by_definition(rest, text))
            }
        }
    }

    fn by_definition(pattern: &[&str], target: &[&str]) -> bool {
        match pattern.split_first() {
            None => target.is_empty(),
            Some((&"**", rest)) => (0..=target.len()).any(|taken| by_definition(rest, &target[taken..])),
            Some((segment, rest)) => target.split_first().is_some_and(|(first, target)| {
                (*segment != "*" || !first.is_empty())
                    && run_by_definition(segment.as_bytes(), first.as_bytes())
                    && by_definition(rest, target)
            }),
        }
    }

    #[test]
    fn figures_of_the_grammar() {
        for (pattern, target, expected) in [
            ("w/**", "w", true),
            ("w/**", "w/a/b", true),
            ("w/*", "w", false),
            ("w/*", "w/a/b", false),
            ("w/**/x", "w/x", true),
            ("w/**/x", "w/a/xy", false),
            ("**", "", true),
            ("*", "", false),
            ("a*", "a", true),
            ("*aba*", "xababx", true),
            ("a*a", "a", false),
            ("é*ü", "éaü", true),
            ("[a]?{b}", "[a]?{b}", true),
        ] {
            assert_eq!(matches(pattern, target), expected, "{pattern} {target}");
        }
    }

    #[test]
    fn the_matcher_agrees_with_the_definition() {
        let mut random = Random::new(40);
        let mut matched = 0;
        for _ in 0..60_000 {
            let pattern: String =
                (0..=random.below(7)).map(|_| random.pick(&["a", "b", "*", "/", "**", "ab"])).collect();
            let Ok(glob) = Glob::compile(pattern.split('/'), &mut Wildcards::default()) else { continue };
            let target: String = (0..random.below(9)).map(|_| random.pick(&['a', 'b', '/'])).collect();
            let parts: (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), target.split('/').collect());
            let expected = by_definition(&parts.0, &parts.1);
            assert_eq!(glob.matches(target.split('/'), &mut ()), expected, "{pattern} {target}");
            matched += usize::from(expected);
        }
        assert!(matched > 1_000, "{matched}");
    }

    #[test]
    fn text_without_structure_agrees_with_the_definition() {
        let mut random = Random::new(42);
        for _ in 0..20_000 {
            let pattern: String = (0..random.below(6)).map(|_| random.pick(&["a", "b", "*", "**"])).collect();
            let text: String = (0..random.below(6)).map(|_| random.pick(&['a', 'b'])).collect();
            let run = Run::unstructured(&pattern, &mut Wildcards::default()).unwrap();
            // Of one wildcard alone something is asked.
            let expected = run_by_definition(pattern.as_bytes(), text.as_bytes())
                && (!text.is_empty() || !pattern.contains('*') || !pattern.trim_matches('*').is_empty());
            assert_eq!(run.matches(&text, &mut ()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn limits() {
        let compile = |pattern: &str| Glob::compile(pattern.split('/'), &mut Wildcards::default());
        assert!(compile(&["*"; 16].join("/")).is_ok() && compile(&["*"; 17].join("/")).is_err());
        assert!(compile(&["**"; 16].join("/")).is_ok() && compile(&["**"; 17].join("/")).is_err());
        assert!(compile(&["a"; 32].join("/")).is_ok() && compile(&["a"; 33].join("/")).is_err());
        assert!(compile("a**").is_err() && compile("***").is_err());
        assert_eq!(glob("a/**/**/b"), glob("a/**/b"));
    }

    #[test]
    fn the_worst_pairs_take_no_more_than_the_product() {
        let many_a = "a".repeat(MAX_TARGET_BYTES);
        let many_segments = ["a"; MAX_TARGET_BYTES / 2].join("/");
        let long_literal = alloc::format!("*{}b*", "a".repeat(MAX_PATTERN_BYTES / 2));
        let halves = alloc::format!("*{}b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa*".repeat(15));
        let between = ["**"; 16].join("/a/");
        let alternating = alloc::format!("{}/b", ["**/*a*"; 5].join("/"));
        for (pattern, target) in [
            ("*a*a*a*ab", &many_a),
            ("*a*a*a*a*a*a*a*ab", &many_a),
            (&long_literal, &many_a),
            (&halves, &many_a),
            (&between, &many_segments),
            (&alternating, &many_segments),
            ("**/a/b/**/a/b/**/a/b", &many_segments),
        ] {
            let mut steps = 0_usize;
            glob(pattern).matches(target.split('/'), &mut steps);
            let product = pattern.len() * target.len();
            assert!(steps <= product, "{pattern}: {steps} steps, |pattern| x |target| is {product}");
        }
        let mut random = Random::new(41);
        for _ in 0..5_000 {
            let pattern: String =
                (0..=random.below(40)).map(|_| random.pick(&["a", "b", "*", "/", "/**/"])).collect();
            let Ok(glob) = Glob::compile(pattern.split('/'), &mut Wildcards::default()) else { continue };
            let target: String = (0..random.below(200)).map(|_| random.pick(&['a', 'a', 'b', '/'])).collect();
            let mut steps = 0_usize;
            glob.matches(target.split('/'), &mut steps);
            assert!(steps <= (pattern.len() + 1) * (target.len() + 1), "{pattern} {target}: {steps}");
        }
    }
}
