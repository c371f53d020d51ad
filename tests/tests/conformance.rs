//! `CONFORMANCE.md` names a test for each rule of the protocol: every named test exists, every decision is there, and
//! every row is whole.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "conformance/sources.rs"]
mod sources;
#[path = "conformance/table.rs"]
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sources::Tests;
use table::{DECISIONS, Known};

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The names of the published vectors.
fn vectors() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in ["envelopes.jsonl", "hostile.jsonl"] {
        let text = std::fs::read_to_string(workspace().join("tests/vectors").join(file)).unwrap();
        for line in text.lines() {
            let vector: serde_json::Value = serde_json::from_str(line).unwrap();
            names.insert(vector["name"].as_str().unwrap().to_owned());
        }
    }
    names
}

#[test]
fn every_rule_names_tests_that_exist() {
    let text = std::fs::read_to_string(workspace().join("CONFORMANCE.md")).unwrap();
    let known = Known { tests: Tests::of_workspace(workspace()), vectors: vectors() };
    assert!(known.tests.len() > 700, "only {} tests were found", known.tests.len());
    let faults = table::faults(&text, &known);
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// The tests of a module, and whether they are ignored. Its lines begin behind a bar, so that they are not found in this file.
fn tests_of(source: &str) -> BTreeMap<String, bool> {
    let lines: Vec<&str> =
        source.lines().filter_map(|line| line.split_once('|')).map(|(_, line)| line).collect();
    sources::parse(&lines.join("\n"), "c").tests
}

#[test]
fn tests_are_found_wherever_they_are_and_nothing_else_is() {
    let found = tests_of(
        r#"
        |fn helper() {}
        |
        |#[test]
        |fn plain() {}
        |
        |#[tokio::test(flavor = "current_thread")]
        |#[ignore = "takes long"]
        |async fn ignored() {}
        |
        |// #[test]
        |fn commented_out() {}
        |
        |#[cfg(test)]
        |mod tests {
        |    #[test]
        |    #[should_panic(expected = "x")]
        |    pub(super) fn nested() {
        |        if true {
        |        }
        |    }
        |}
        |
        |#[test]
        |fn after_the_module() {}
        |
        |over_both_drivers!(
        |    one,
        |    two,
        |);
        |
        |over_both_drivers!(three);
"#,
    );
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "c::after_the_module",
            "c::async_std_driver::one",
            "c::async_std_driver::three",
            "c::async_std_driver::two",
            "c::ignored",
            "c::plain",
            "c::tests::nested",
            "c::tokio_driver::one",
            "c::tokio_driver::three",
            "c::tokio_driver::two",
        ]
    );
    assert_eq!(found.values().filter(|ignored| **ignored).count(), 1);
    assert!(found["c::ignored"]);
}

#[test]
fn modules_are_followed_with_their_paths() {
    let parsed =
        sources::parse("pub(crate) mod a;\n#[cfg(unix)]\n#[path = \"x/b.rs\"]\nmod b;\nmod c {\n}\n", "c");
    let modules: Vec<_> =
        parsed.modules.iter().map(|(name, path)| (name.as_str(), path.as_deref())).collect();
    assert_eq!(modules, [("a", None), ("b", Some("x/b.rs"))]);
}

/// A table without faults over two tests and a vector.
fn sound() -> (String, Known) {
    let tests = [("c::tests::one", false), ("c::tests::slow", true)];
    let tests = tests.into_iter().map(|(name, ignored)| (name.to_owned(), ignored)).collect();
    let known = Known { tests: Tests::new(tests), vectors: BTreeSet::from(["head-ok".to_owned()]) };
    let decisions: Vec<String> = (1..DECISIONS).map(|number| format!("D-{number}")).collect();
    let mut text = format!(
        "# Title\n\n| at | decision | rule | level | tests |\n|---|---|---|---|---|\n\
         | §1.1 | {} | the first rule | MUST | `c::tests::one` (head-ok) |\n\
         | §1.2 | – | the second rule | SHOULD | `c::tests::one`, `c::tests::slow` (ignored) |\n\
         \n## Not built\n\nRows: 1\n\n| at | decision | rule | level |\n|---|---|---|---|\n\
         | §6 | D-{DECISIONS} | the third rule | MUST |\n",
        decisions.join(", ")
    );
    for section in table::SECTIONS {
        if !["§1.1", "§1.2", "§6"].contains(&section) {
            let before = text.find("\n## Not built").unwrap();
            text.insert_str(
                before,
                &format!("| {section} | – | rule of {section} | MUST | `c::tests::one` |\n"),
            );
        }
    }
    (text, known)
}

#[test]
fn a_sound_table_has_no_faults_and_every_fault_is_named() {
    let (sound, known) = sound();
    assert_eq!(table::faults(&sound, &known), [""; 0]);
    let row = "| §1.2 | – | the second rule | SHOULD | `c::tests::one`, `c::tests::slow` (ignored) |";
    assert!(sound.contains(row));
    for (bad, word) in [
        ("| §1.2 | – | the second rule | SHOULD | `c::tests::two` |", "no test `c::tests::two`"),
        ("| §1.2 | – | the second rule | SHOULD |  |", "an empty cell"),
        ("| §1.2 |  | the second rule | SHOULD | `c::tests::one` |", "an empty cell"),
        ("| §1.2 | – | | SHOULD | `c::tests::one` |", "an empty cell"),
        ("| §1.2 | – | the second rule | SHOULD |", "5 cells"),
        ("| §1.2 | – | the second rule | SHOULD | one of them |", "names no test"),
        ("| §1.2 | – | the second rule | MAY | `c::tests::one` |", "MUST or SHOULD"),
        ("| §1.99 | – | the second rule | MUST | `c::tests::one` |", "no section §1.99"),
        ("| 1.2 | – | the second rule | MUST | `c::tests::one` |", "no section 1.2"),
        ("| §1.2 | D-0 | the second rule | MUST | `c::tests::one` |", "no decision D-0"),
        ("| §1.2 | D-112 | the second rule | MUST | `c::tests::one` |", "no decision D-112"),
        ("| §1.2 | later | the second rule | MUST | `c::tests::one` |", "no decision later"),
        ("| §1.2 | – | the second rule, partial | MUST | `c::tests::one` |", "partial"),
        ("| §1.2 | – | the second rule | MUST | `c::tests::slow` |", "is ignored"),
        ("| §1.2 | – | the second rule | MUST | `c::tests::one` (ignored) |", "is not ignored"),
        ("| §1.2 | – | the second rule | MUST | `c::tests::one` (head-bad) |", "no vector head-bad"),
        ("| §1.1 | – | the first rule | MUST | `c::tests::one` |", "twice"),
        ("| §1.2 | – | the second rule | MUST | `c::tests::one`, `c::tests::one` |", "twice"),
        ("", "nothing about §1.2"),
    ] {
        let faults = table::faults(&sound.replace(row, bad), &known);
        assert!(faults.iter().any(|fault| fault.contains(word)), "{bad}: {faults:?}");
    }
    for (from, to, word) in [
        ("D-17, ", "", "D-17 is nowhere"),
        ("Rows: 1", "Rows: 2", "says 2 rows"),
        ("Rows: 1", "", "does not say how many"),
        ("| §6 | D-111 | the third rule | MUST |", "| §6 | D-111 | | MUST |", "an empty cell"),
        ("| §6 | D-111 | the third rule | MUST |", "", "D-111 is nowhere"),
        ("| §6 | D-111 | the third rule | MUST |", "| §6 | D-111 | the third rule | MUST | x |", "4 cells"),
    ] {
        let faults = table::faults(&sound.replace(from, to), &known);
        assert!(faults.iter().any(|fault| fault.contains(word)), "{from} -> {to}: {faults:?}");
    }
}
