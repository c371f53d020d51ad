//! One source text that holds many mutants, each behind its number.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::list::{Genre, Mutant};
use super::places::{Place, Places};

/// What tells the copy which mutant is alive: a file of the copy's core. Without a number in the environment none is. Number 0
/// is none too, and each switch that is passed then writes its number into a file.
pub(super) const SOURCE: &str = r#"//! Which mutant is alive.

extern crate std;

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use self::std::{env, fs::OpenOptions, io::Write as _};

const UNKNOWN: usize = usize::MAX;
const NONE: usize = usize::MAX - 1;
static ALIVE: AtomicUsize = AtomicUsize::new(UNKNOWN);
static PASSED: [AtomicBool; 1 << 16] = [const { AtomicBool::new(false) }; 1 << 16];

#[inline]
pub(crate) fn is(number: usize) -> bool {
    match ALIVE.load(Relaxed) {
        UNKNOWN => {
            let alive = env::var("MUTANT").map_or(NONE, |number| number.parse().unwrap());
            ALIVE.store(alive, Relaxed);
            is(number)
        }
        0 => {
            if !PASSED[number].swap(true, Relaxed) {
                let path = env::var_os("MUTANT_PASSED").unwrap();
                let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
                file.write_all(&u16::try_from(number).unwrap().to_le_bytes()).unwrap();
            }
            false
        }
        alive => alive == number,
    }
}
"#;

/// A piece of what stands in the place of some source.
enum Piece {
    Text(String),
    /// What this mutant does.
    Mutation(usize, String),
    /// The source, with the mutants that are in it.
    Source(Range<usize>),
}

struct Edit {
    range: Range<usize>,
    is_match: bool,
    mutants: Vec<usize>,
    pieces: Vec<Piece>,
}

/// A text, and which mutants have changed which part of it.
#[derive(Debug, Default)]
pub(super) struct Switched {
    pub(super) text: String,
    spots: Vec<Spot>,
}

#[derive(Debug)]
struct Spot {
    range: Range<usize>,
    is_match: bool,
    mutants: Vec<usize>,
}

impl Switched {
    /// Writes a part of the source. The edits are in order, and those that are not in this part are passed over.
    fn write(&mut self, source: &str, edits: &[Edit], part: Range<usize>) {
        let mut at = part.start;
        for (index, edit) in edits.iter().enumerate() {
            if edit.range.end > part.end || edit.range.start < at {
                continue;
            }
            self.text.push_str(&source[at..edit.range.start]);
            let start = self.text.len();
            for piece in &edit.pieces {
                match piece {
                    Piece::Text(text) => self.text.push_str(text),
                    Piece::Source(part) => self.write(source, &edits[index + 1..], part.clone()),
                    Piece::Mutation(number, text) => {
                        let start = self.text.len();
                        self.text.push_str(text);
                        let range = start..self.text.len();
                        self.spots.push(Spot { range, is_match: false, mutants: vec![*number] });
                    }
                }
            }
            let (range, mutants) = (start..self.text.len(), edit.mutants.clone());
            self.spots.push(Spot { range, is_match: edit.is_match, mutants });
            at = edit.range.end;
        }
        self.text.push_str(&source[at..part.end]);
    }

    /// The mutants whose own text or, where it is nobody's, whose switches an error at this byte is in. If it is that a `match`
    /// does not say everything, those that delete an arm of it.
    pub(super) fn blame(&self, at: usize, is_match: bool) -> &[usize] {
        let around = self.spots.iter().filter(|spot| spot.is_match == is_match && spot.range.contains(&at));
        around.min_by_key(|spot| spot.range.len()).map_or(&[], |spot| &spot.mutants)
    }
}

/// Puts the mutants of one file into its source. Functions are no longer `const`, except those that are named: what may run at
/// compile time cannot ask which mutant is alive.
pub(super) fn switch(
    source: &str,
    places: &Places,
    mutants: &[(usize, &Mutant)],
    constant: &BTreeSet<String>,
) -> Switched {
    let mut changed: BTreeMap<_, (Place, Vec<(usize, &Mutant)>)> = BTreeMap::new();
    // The outer place first. What a guard, a field or a `match` holds may reach as far as it does.
    let order = |place: &Place| {
        let Range { start, end } = place.reach();
        let holds = matches!(place, Place::Guard { .. } | Place::Field { .. });
        (start, Reverse(end), !holds, !matches!(place, Place::Match { .. }))
    };
    for (name, place) in places.constants() {
        if !constant.contains(name) {
            changed.insert(order(&place), (place, Vec::new()));
        }
    }
    for &(number, mutant) in mutants {
        let Some(place) = places.at(mutant.genre, mutant.span.start.offset(source)) else { continue };
        let around = places.match_around(&place).filter(|_| mutant.genre == Genre::MatchArm);
        for place in around.into_iter().chain([place]) {
            changed.entry(order(&place)).or_insert_with(|| (place, Vec::new())).1.push((number, mutant));
        }
    }
    let edits: Vec<Edit> = changed.values().map(|(place, mutants)| edit(source, place, mutants)).collect();
    let mut switched = Switched::default();
    switched.write(source, &edits, 0..source.len());
    switched
}

/// What is written for one place.
fn edit(source: &str, place: &Place, mutants: &[(usize, &Mutant)]) -> Edit {
    let mut pieces = Vec::new();
    let text = Piece::Text;
    match place {
        Place::Const { .. } => {}
        Place::Match { whole } => pieces.push(Piece::Source(whole.clone())),
        Place::Body { block } => {
            pieces.push(text("{".to_owned()));
            for (number, mutant) in mutants {
                pieces.push(text(format!(" if crate::mutant::is({number}) {{ return ")));
                pieces.push(Piece::Mutation(*number, in_alloc(&mutant.replacement)));
                pieces.push(text("; }".to_owned()));
            }
            pieces.push(Piece::Source(block.start + 1..block.end));
        }
        Place::Binary { left, right, operator, .. } => {
            let (left_text, right_text) = (&source[left.clone()], &source[right.clone()]);
            instead(&mut pieces, mutants, |mutant| {
                format!("{left_text} {} {right_text}", mutant.replacement)
            });
            pieces.extend([Piece::Source(left.clone()), text(format!(" {} ", &source[operator.clone()]))]);
            pieces.extend([Piece::Source(right.clone()), text(" })".to_owned())]);
        }
        Place::Unary { whole, inner } => {
            instead(&mut pieces, mutants, |_| source[inner.clone()].to_owned());
            pieces.push(text(source[whole.start..inner.start].to_owned()));
            pieces.extend([Piece::Source(inner.clone()), text(" })".to_owned())]);
        }
        Place::Field { name, value, base } => {
            instead(&mut pieces, mutants, |_| format!("({}).{name}", &source[base.clone()]));
            pieces.extend([Piece::Source(value.clone()), text(" })".to_owned())]);
        }
        Place::Arm { .. } => {
            pieces
                .extend(mutants.iter().map(|(number, _)| text(format!(" if !crate::mutant::is({number}) "))));
        }
        Place::Guard { guard } => {
            for (number, mutant) in mutants {
                pieces.push(text(match (mutant.genre, mutant.replacement.as_str()) {
                    (Genre::MatchArmGuard, "true") => format!("(crate::mutant::is({number}) || "),
                    _ => format!("(!crate::mutant::is({number}) && "),
                }));
            }
            pieces.extend([text("(".to_owned()), Piece::Source(guard.clone()), text(")".to_owned())]);
            pieces.push(text(")".repeat(mutants.len())));
        }
    }
    let mutants = mutants.iter().map(|(number, _)| *number).collect();
    Edit { range: place.reach(), is_match: matches!(place, Place::Match { .. }), mutants, pieces }
}

/// `(if is(1) { … } else { if is(2) { … } else {`, the last of which is for the source.
fn instead(pieces: &mut Vec<Piece>, mutants: &[(usize, &Mutant)], other: impl Fn(&Mutant) -> String) {
    for (index, (number, mutant)) in mutants.iter().enumerate() {
        let open = if index == 0 { "(if" } else { " } else if" };
        pieces.push(Piece::Text(format!("{open} crate::mutant::is({number}) {{ ")));
        pieces.push(Piece::Mutation(*number, other(mutant)));
    }
    pieces.push(Piece::Text(" } else { ".to_owned()));
}

/// A replacement that is written for a crate with `std`, in one without.
fn in_alloc(replacement: &str) -> String {
    let mut text = replacement.to_owned();
    for (name, path) in [
        ("vec![", "::alloc::vec!["),
        ("Vec::", "::alloc::vec::Vec::"),
        ("String::", "::alloc::string::String::"),
        ("Box::", "::alloc::boxed::Box::"),
        ("Cow::", "::alloc::borrow::Cow::"),
        (".to_owned()", ".into()"),
    ] {
        text = text.replace(name, path);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The text with these mutants in it: what kind, where it begins, and what is put there.
    fn switched(source: &str, changes: &[(&str, &str, &str)], constant: &[&str]) -> Switched {
        let mutants: Vec<Mutant> = changes
            .iter()
            .map(|(genre, at, replacement)| {
                let start = json!({ "line": 1, "column": source.find(at).unwrap() + 1 });
                let span = json!({ "start": start });
                let mutant = json!({ "file": "", "genre": genre, "name": "", "replacement": replacement, "span": span });
                serde_json::from_value(mutant).unwrap()
            })
            .collect();
        let mutants: Vec<(usize, &Mutant)> = (1..).zip(&mutants).collect();
        let constant = constant.iter().map(|name| (*name).to_owned()).collect();
        switch(source, &Places::of(source).unwrap(), &mutants, &constant)
    }

    fn text(source: &str, changes: &[(&str, &str, &str)]) -> String {
        switched(source, changes, &[]).text
    }

    #[test]
    fn operators_stand_beside_their_mutants_and_hold_others() {
        assert_eq!(
            text(
                "fn f() -> bool { a < !b }",
                &[("BinaryOperator", "<", ">"), ("BinaryOperator", "<", "<="), ("UnaryOperator", "!", "")]
            ),
            "fn f() -> bool { (if crate::mutant::is(1) { a > !b } else if crate::mutant::is(2) { a <= !b } \
             else { a < (if crate::mutant::is(3) { b } else { !b }) }) }"
        );
    }

    #[test]
    fn a_body_ends_early() {
        assert_eq!(
            text("fn f() -> Vec<u8> { g() }", &[("FnValue", "g()", "vec![]"), ("FnValue", "g()", "vec![1]")]),
            "fn f() -> Vec<u8> { if crate::mutant::is(1) { return ::alloc::vec![]; } \
             if crate::mutant::is(2) { return ::alloc::vec![1]; } g() }"
        );
    }

    #[test]
    fn arms_and_guards_are_passed_by() {
        let source = "fn f() { match a { 1 if b == c => d, 2 => e, _ => g } }";
        assert_eq!(
            text(
                source,
                &[
                    ("MatchArmGuard", "b ==", "true"),
                    ("MatchArmGuard", "b ==", "false"),
                    ("MatchArm", "1 if", ""),
                    ("BinaryOperator", "==", "!="),
                    ("MatchArm", "2 =>", ""),
                ]
            ),
            "fn f() { match a { 1 if (crate::mutant::is(1) || (!crate::mutant::is(2) && (!crate::mutant::is(3) && \
             ((if crate::mutant::is(4) { b != c } else { b == c }))))) => d, \
             2  if !crate::mutant::is(5) => e, _ => g } }"
        );
    }

    #[test]
    fn a_field_is_that_of_the_base() {
        assert_eq!(
            text(
                "fn f() -> S { S { a: 1 + 2, ..g() } }",
                &[("StructField", "a: 1", ""), ("BinaryOperator", "+", "-")]
            ),
            "fn f() -> S { S { a: (if crate::mutant::is(1) { (g()).a } else { \
             (if crate::mutant::is(2) { 1 - 2 } else { 1 + 2 }) }), ..g() } }"
        );
    }

    #[test]
    fn functions_are_const_no_longer_unless_they_have_to_be() {
        let source = "const fn f() -> u8 { 1 } const fn g() -> u8 { 2 }";
        assert_eq!(switched(source, &[], &["g"]).text, " fn f() -> u8 { 1 } const fn g() -> u8 { 2 }");
    }

    #[test]
    fn chains_with_let_are_left_alone() {
        let source = "fn f() { if a && let Some(b) = c && d { e() } }";
        assert_eq!(
            text(source, &[("BinaryOperator", "&& let", "||"), ("BinaryOperator", "&& d", "||")]),
            source
        );
    }

    #[test]
    fn the_innermost_is_to_blame() {
        let source = "fn f() -> bool { match a { 1 => b < !c, _ => d } }";
        let switched = switched(
            source,
            &[
                ("FnValue", "match", "true"),
                ("MatchArm", "1 =>", ""),
                ("BinaryOperator", "<", ">"),
                ("UnaryOperator", "!", ""),
            ],
            &[],
        );
        let blame = |text: &str| switched.blame(switched.text.find(text).unwrap(), false);
        assert_eq!(blame("b > !c"), [3]);
        assert_eq!(blame("c } else { !c"), [4]);
        assert_eq!(blame("b < (if"), [3]);
        assert_eq!(blame("d }"), [1]);
        assert_eq!(switched.blame(switched.text.find("match a").unwrap(), true), [2]);
        assert!(switched.blame(0, false).is_empty());
    }
}
