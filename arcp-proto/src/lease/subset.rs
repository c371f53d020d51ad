//! Whether everything one pattern stands for, another stands for too (protocol §5.7).
//!
//! Segment against segment by the fresh-symbol test: every `*` of the child is read as one symbol that occurs in no
//! pattern and that only a `*` of the parent may absorb. A parent's literals never contain the character `*`, so that
//! symbol is `*` itself, and the test is a match against the child's own spelling. Over segments the matcher's program
//! decides, where a child's `**` is a part that only `**` absorbs.
//!
//! Sound for all inputs. It refuses a few true inclusions, such as `**/x` under `*/**`.

use super::pattern::{Glob, Part, Run, Segment};

impl Run {
    /// Whether every text `child` stands for is one it stands for too.
    pub(super) fn covers(&self, child: &Self) -> bool {
        self.matches(child.as_str(), &mut ())
    }
}

impl Glob {
    /// Whether every target `child` stands for is provably one it stands for too.
    pub(super) fn covers(&self, child: &Self) -> bool {
        let parts = child.segments().iter().map(|segment| match segment {
            Segment::Many => Part::Many,
            Segment::One(run) => Part::One(run.as_str()),
        });
        self.absorbs(parts, &mut ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::pattern::Wildcards;
    use crate::wire::testing::Random;
    use alloc::string::String;
    use alloc::vec::Vec;
    use std::println;

    /// Pattern or string with what precedes its first segment told apart: the two kinds name different things.
    struct Split<'a> {
        rooted: bool,
        body: &'a str,
    }

    fn split(text: &str) -> Split<'_> {
        text.strip_prefix('/')
            .map_or(Split { rooted: false, body: text }, |body| Split { rooted: true, body })
    }

    /// All concatenations of 1 to `most` of `tokens` in which no segment is empty.
    fn concatenations(tokens: &[&str], most: usize) -> Vec<String> {
        let mut all = Vec::new();
        let mut last = Vec::from([String::new()]);
        for _ in 0..most {
            last =
                last.iter().flat_map(|text| tokens.iter().map(move |token| text.clone() + token)).collect();
            all.extend(
                last.iter().filter(|text| split(text).body.split('/').all(|s| !s.is_empty())).cloned(),
            );
        }
        all.sort();
        all.dedup();
        all
    }

    fn compile(body: &str) -> Option<Glob> {
        Glob::compile(body.split('/'), &mut Wildcards::default()).ok()
    }

    #[test]
    fn no_answer_over_small_alphabets_is_unsound() {
        let patterns: Vec<(String, bool, Glob)> = concatenations(&["a", "b", "/", "*", "**"], 5)
            .into_iter()
            .filter_map(|text| {
                let glob = compile(split(&text).body)?;
                Some((text.clone(), split(&text).rooted, glob))
            })
            .collect();
        let strings = concatenations(&["a", "b", "/"], 7);
        assert_eq!((patterns.len(), strings.len()), (816, 1_412));

        let words = strings.len().div_ceil(64);
        let languages: Vec<Vec<u64>> = patterns
            .iter()
            .map(|(_, rooted, glob)| {
                let mut language = std::vec![0_u64; words];
                for (index, string) in strings.iter().enumerate() {
                    let string = split(string);
                    if string.rooted == *rooted && glob.matches(string.body.split('/'), &mut ()) {
                        language[index / 64] |= 1 << (index % 64);
                    }
                }
                language
            })
            .collect();
        // Rooted patterns can also name the root, which has no segments.
        let names_root: Vec<bool> = patterns
            .iter()
            .map(|(_, rooted, glob)| *rooted && glob.matches(core::iter::empty(), &mut ()))
            .collect();

        let (mut included, mut proved, mut unsound) = (0_u32, 0_u32, 0_u32);
        for (parent, (parent_text, parent_rooted, parent_glob)) in patterns.iter().enumerate() {
            for (child, (child_text, child_rooted, child_glob)) in patterns.iter().enumerate() {
                let covers = parent_rooted == child_rooted && parent_glob.covers(child_glob);
                let holds = languages[child].iter().zip(&languages[parent]).all(|(c, p)| c & !p == 0);
                included += u32::from(holds);
                proved += u32::from(holds && covers);
                if covers && !(holds && (names_root[parent] || !names_root[child])) {
                    unsound += 1;
                    println!("unsound: {child_text} is not within {parent_text}");
                }
            }
        }
        let share = f64::from(proved) * 100.0 / f64::from(included);
        println!(
            "{} patterns, {} strings, {} pairs: {unsound} unsound; {proved} of {included} true inclusions proved, {share:.3} %",
            patterns.len(),
            strings.len(),
            patterns.len() * patterns.len(),
        );
        assert_eq!(unsound, 0);
        assert!(share >= 98.0, "{share}");
    }

    fn random_pattern(random: &mut Random) -> Option<(String, Glob)> {
        let text: String =
            (0..=random.below(6)).map(|_| random.pick(&["a", "b", "*", "/", "/**/", "ab", "**/"])).collect();
        let text = text.trim_matches('/').replace("//", "/");
        if text.is_empty() {
            return None;
        }
        let glob = compile(&text)?;
        Some((text, glob))
    }

    #[test]
    fn covering_is_reflexive_and_transitive() {
        let mut random = Random::new(42);
        let (mut chains, mut drawn) = (0, 0);
        while drawn < 60_000 {
            let (Some(a), Some(b), Some(c)) =
                (random_pattern(&mut random), random_pattern(&mut random), random_pattern(&mut random))
            else {
                continue;
            };
            drawn += 1;
            assert!(a.1.covers(&a.1), "{}", a.0);
            if a.1.covers(&b.1) && b.1.covers(&c.1) {
                chains += 1;
                assert!(a.1.covers(&c.1), "{} covers {} covers {}", a.0, b.0, c.0);
            }
        }
        assert!(chains > 500, "{chains}");
    }

    #[test]
    fn heads_and_tails_are_not_enough() {
        for (parent, child, expected) in [
            ("x/*", "x/*-y-*", true),
            ("x/*-y-*", "x/*", false),
            ("x/*-y-*", "x/*-y-*-*", true),
            ("x/*-y-*", "x/*-*-*", false),
            ("a/*", "a/**", false),
            ("a/**", "a/*", true),
            ("*", "a*", true),
            ("a*b", "ab", true),
            ("a*b", "a", false),
            ("**/x", "**/y/x", true),
            ("*/**", "**/x", false),
            ("**", "**", true),
        ] {
            assert_eq!(
                compile(parent).unwrap().covers(&compile(child).unwrap()),
                expected,
                "{parent} {child}"
            );
        }
    }
}
