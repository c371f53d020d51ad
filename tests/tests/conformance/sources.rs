//! The tests of the workspace, found in its sources by following their modules.
//!
//! A test's name is `package::module::name`, with the package's hyphens as underscores. What lies in a package's
//! `tests` directory is below `tests`, what belongs to a program below `bin`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The directories of the workspace's packages.
const PACKAGES: [&str; 5] = ["arcp-proto", "arcp-driver", "arcp-tokio", "arcp-async-std", "tests"];

/// Every test, and whether it is ignored.
pub(crate) struct Tests(BTreeMap<String, bool>);

impl Tests {
    pub(crate) const fn new(tests: BTreeMap<String, bool>) -> Self {
        Self(tests)
    }

    pub(crate) fn of_workspace(root: &Path) -> Self {
        let mut tests = BTreeMap::new();
        for package in PACKAGES {
            let directory = root.join(package);
            let name = if package == "tests" { "arcp_tests".to_owned() } else { package.replace('-', "_") };
            walk(&directory.join("src/lib.rs"), &name, true, &mut tests);
            for program in entries(&directory.join("src/bin")) {
                let module = format!("{name}::bin::{}", stem(&program));
                walk(&program.join("main.rs"), &module, true, &mut tests);
            }
            for file in entries(&directory.join("tests")).iter().filter(|path| path.is_file()) {
                walk(file, &format!("{name}::tests::{}", stem(file)), true, &mut tests);
            }
        }
        Self(tests)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this test is ignored; `None` if there is none.
    pub(crate) fn is_ignored(&self, name: &str) -> Option<bool> {
        self.0.get(name).copied()
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// Collects the tests of a file and of its modules; `is_root` if these lie beside it instead of below it.
fn walk(file: &Path, name: &str, is_root: bool, tests: &mut BTreeMap<String, bool>) {
    let Ok(text) = std::fs::read_to_string(file) else { return };
    let parsed = parse(&text, name);
    for (test, ignored) in parsed.tests {
        assert!(tests.insert(test.clone(), ignored).is_none(), "{test} is there twice");
    }
    let beside = file.parent().unwrap();
    let below = if is_root || stem(file) == "mod" { beside.to_owned() } else { beside.join(stem(file)) };
    for (module, path) in parsed.modules {
        let inner = format!("{name}::{module}");
        match path {
            Some(path) => walk(&beside.join(path), &inner, false, tests),
            None => {
                walk(&below.join(format!("{module}.rs")), &inner, false, tests);
                walk(&below.join(&module).join("mod.rs"), &inner, false, tests);
            }
        }
    }
}

/// What one file holds.
#[derive(Default)]
pub(crate) struct Parsed {
    pub(crate) tests: BTreeMap<String, bool>,
    /// Modules in files of their own, with the path where they say one.
    pub(crate) modules: Vec<(String, Option<String>)>,
}

/// Reads formatted source text: an item begins its line, and an inline module ends where it began.
pub(crate) fn parse(text: &str, name: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut inside: Vec<(usize, String)> = Vec::new();
    let mut attributes: Vec<&str> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let item = line.trim_start();
        let indent = line.len() - item.len();
        if item.starts_with("#[") {
            attributes.push(item);
            continue;
        }
        let declared = declaration(item);
        if let Some(module) = declared.strip_prefix("mod ") {
            if let Some(module) = module.strip_suffix(" {") {
                inside.push((indent, module.to_owned()));
            } else if let Some(module) = module.strip_suffix(';') {
                let path = attributes.iter().find_map(|attribute| attribute.strip_prefix("#[path = \""));
                let path = path.and_then(|path| path.strip_suffix("\"]"));
                parsed.modules.push((module.to_owned(), path.map(str::to_owned)));
            }
        } else if let Some(function) = declared.strip_prefix("fn ") {
            let is_test = |attribute: &&str| {
                let path =
                    attribute.trim_start_matches("#[").split([']', '(', ' ']).next().unwrap_or_default();
                path == "test" || path.ends_with("::test")
            };
            // What a macro names is not known here.
            if attributes.iter().any(is_test) && !function.starts_with('$') {
                let ignored = attributes.iter().any(|attribute| attribute.starts_with("#[ignore"));
                let end = function.find(['(', '<']).unwrap_or(function.len());
                let modules = inside.iter().map(|(_, module)| module.as_str());
                let path: Vec<&str> = [name].into_iter().chain(modules).chain([&function[..end]]).collect();
                parsed.tests.insert(path.join("::"), ignored);
            }
        } else if let Some(scenarios) = item.strip_prefix("over_both_drivers!(") {
            let mut all = scenarios.to_owned();
            while !all.contains(')') {
                let Some(line) = lines.next() else { break };
                all.push_str(line);
            }
            let all = all.split(')').next().unwrap_or_default();
            for scenario in all.split(',').map(str::trim).filter(|scenario| !scenario.is_empty()) {
                for driver in ["tokio_driver", "async_std_driver"] {
                    parsed.tests.insert(format!("{name}::{driver}::{scenario}"), false);
                }
            }
        } else if item == "}" && inside.last().is_some_and(|(begin, _)| *begin == indent) {
            inside.pop();
        }
        attributes.clear();
    }
    parsed
}

/// An item without what may precede its keyword.
fn declaration(item: &str) -> &str {
    let mut rest = item;
    if let Some(public) = rest.strip_prefix("pub") {
        rest = match public.strip_prefix('(') {
            Some(restricted) => restricted.split_once(") ").map_or(item, |(_, rest)| rest),
            None => public.trim_start(),
        };
    }
    for word in ["const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    rest
}
