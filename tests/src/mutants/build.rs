//! Puts mutants into the copy, and takes out those with which it does not compile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::list::Mutant;
use super::places::Places;
use super::switches::{self, Switched};
use super::trial::Outcome;
use crate::planted::{Error, Workshop};

/// The root of the core, in the workspace and in the copy.
const ROOT: &str = "arcp-proto/src/lib.rs";
/// Each time the compiler gets further, or all is well.
const MOST_ROUNDS: usize = 40;

/// A line of what cargo says in JSON.
#[derive(Deserialize)]
struct Line {
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    message: String,
    level: String,
    code: Option<Code>,
    spans: Vec<Span>,
    rendered: String,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    byte_start: usize,
    is_primary: bool,
    expansion: Option<Box<Expansion>>,
}

#[derive(Deserialize)]
struct Expansion {
    span: Span,
}

impl Span {
    /// Where it is in a text that somebody wrote, and not in what a macro made of it.
    fn written(&self) -> &Self {
        self.expansion.as_ref().map_or(self, |expansion| expansion.span.written())
    }
}

/// Mutants of one source file.
struct File<'a> {
    source: String,
    places: Places,
    mutants: Vec<(usize, &'a Mutant)>,
}

/// Writes the files of the copy with as many mutants as compile together; why the others are not in it.
pub(super) fn put_in(
    workshop: &Workshop,
    root: &Path,
    mutants: &[Mutant],
) -> Result<BTreeMap<usize, Outcome>, Error> {
    let mut files = read(root, mutants)?;
    let mut out = BTreeMap::new();
    for file in files.values() {
        for (number, mutant) in &file.mutants {
            let at = mutant.span.start.offset(&file.source);
            if file.places.is_chain(at) {
                out.insert(*number, Outcome::Unbuildable("`||` in a chain with `let`".to_owned()));
            } else if file.places.at(mutant.genre, at).is_none() {
                out.insert(*number, Outcome::Unswitchable);
            }
        }
    }
    let mut constant = BTreeSet::new();
    for _ in 0..MOST_ROUNDS {
        let mut switched = BTreeMap::new();
        for (name, file) in &mut files {
            file.mutants.retain(|(number, _)| !out.contains_key(number));
            let text = switches::switch(&file.source, &file.places, &file.mutants, &constant);
            workshop.write(name, &with_switches(name, &text.text))?;
            switched.insert(name.clone(), text);
        }
        workshop.write("arcp-proto/src/mutant.rs", switches::SOURCE)?;
        let errors = compile(workshop)?;
        if errors.is_empty() {
            return Ok(out);
        }
        let known = (out.len(), constant.len());
        for error in &errors {
            judge(error, &switched, &mut constant, &mut out);
        }
        if known == (out.len(), constant.len()) {
            let words: String = errors.iter().map(|error| error.rendered.as_str()).collect();
            return Err(Error::Failed(format!("nobody is to blame for:\n{words}")));
        }
    }
    Err(Error::Failed(format!("it does not compile after {MOST_ROUNDS} rounds")))
}

/// All files of the core: those without a mutant may have functions that are `const` and call others.
fn read<'a>(root: &Path, mutants: &'a [Mutant]) -> Result<BTreeMap<String, File<'a>>, Error> {
    let mut files = BTreeMap::new();
    let mut folders = vec!["arcp-proto/src".to_owned()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        for entry in fs::read_dir(&path).map_err(|error| Error::Io(path.clone(), error))? {
            let entry = entry.map_err(|error| Error::Io(path.clone(), error))?;
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(name);
            } else if name.ends_with(".rs") {
                let source =
                    fs::read_to_string(entry.path()).map_err(|error| Error::Io(entry.path(), error))?;
                let places = Places::of(&source).map_err(|error| Error::Text(format!("{name}: {error}")))?;
                files.insert(name, File { source, places, mutants: Vec::new() });
            }
        }
    }
    for (index, mutant) in mutants.iter().enumerate() {
        let file = files.get_mut(&mutant.file);
        let file = file.ok_or_else(|| Error::Text(format!("{}: there is no such file", mutant.name)))?;
        file.mutants.push((index + 1, mutant));
    }
    Ok(files)
}

/// The crate's root with the module that knows which mutant is alive, at its end.
fn with_switches(name: &str, text: &str) -> String {
    if name == ROOT {
        format!("{}\nmod mutant;\nextern crate std;\n", text.replace("#[cfg(test)]\nextern crate std;", ""))
    } else {
        text.to_owned()
    }
}

/// What the compiler has against the core of the copy, with its tests and without.
fn compile(workshop: &Workshop) -> Result<Vec<Message>, Error> {
    let mut errors = Vec::new();
    for profile in ["dev", "test"] {
        let words =
            ["check", "--package", "arcp-proto", "--lib", "--message-format=json", "--profile", profile];
        let done = workshop.cargo(&words)?;
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            let line: Line = serde_json::from_str(line).map_err(|error| Error::Failed(error.to_string()))?;
            errors
                .extend(line.message.filter(|message| message.level == "error" && !message.spans.is_empty()));
        }
    }
    Ok(errors)
}

/// Takes out who is to blame for an error.
fn judge(
    error: &Message,
    switched: &BTreeMap<String, Switched>,
    constant: &mut BTreeSet<String>,
    out: &mut BTreeMap<usize, Outcome>,
) {
    // `cannot call non-const associated function `Amount::new` in constants`
    let is_code = |code: &str| error.code.as_ref().is_some_and(|found| found.code == code);
    let is_call_in_const = is_code("E0015");
    let callee = error.message.split('`').nth(1).and_then(|path| path.rsplit("::").next());
    if is_call_in_const
        && let Some(callee) = callee
        && callee != "is"
    {
        constant.insert(callee.to_owned());
        return;
    }
    for span in error.spans.iter().filter(|span| span.is_primary).map(Span::written) {
        let blamed = switched
            .get(&span.file_name)
            .map_or(&[][..], |switched| switched.blame(span.byte_start, is_code("E0004")));
        for number in blamed {
            let outcome = if is_call_in_const {
                Outcome::Unswitchable
            } else {
                Outcome::Unbuildable(error.message.clone())
            };
            out.entry(*number).or_insert(outcome);
        }
    }
}
