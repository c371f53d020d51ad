//! The table: a text file in which every bug is a heading and the lines below it.
//!
//! ```text
//! # 1 resume_inclusive
//! replay starts at last_event_seq instead of the one after
//! fires: SEQ-2
//! by: world
//! in: arcp-proto/src/runtime/resume.rs
//! - let first = last + 1;
//! + let first = last;
//! ```
//!
//! `by:` is `world` or `body` and the name of a fuzz body. A bug that can be made in two ways has a line `or:` between them,
//! and each is a build of its own. A bug that cannot be made has `not planted:` and the reason.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// One bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bug {
    /// Its number in the list of bugs.
    pub number: u16,
    /// Its short name.
    pub slug: String,
    /// What is wrong.
    pub what: String,
    /// The ways in which it is made; empty if it cannot be.
    pub builds: Vec<Build>,
    /// Why it cannot be.
    pub missing: Option<String>,
}

/// One way to make a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The slug, with a number behind it from the second way on.
    pub name: String,
    /// The properties of which one must be the first that is seen to be broken.
    pub fires: Vec<String>,
    /// Who has to see it.
    pub by: Catcher,
    /// What is changed.
    pub edits: Vec<Edit>,
}

/// Who catches a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Catcher {
    /// The oracle of simulated worlds.
    World,
    /// A fuzz body, whose promise is the property that the row names.
    Body(String),
}

impl fmt::Display for Catcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.write_str("world"),
            Self::Body(name) => write!(f, "body {name}"),
        }
    }
}

/// One change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The file, from the root of the workspace.
    pub file: String,
    /// What stands there, exactly once.
    pub text: String,
    /// What stands there afterwards.
    pub replacement: String,
}

impl Edit {
    /// The source with this change.
    ///
    /// # Errors
    /// The text is not there exactly once.
    pub fn apply(&self, source: &str) -> Result<String, String> {
        match source.matches(self.text.as_str()).count() {
            1 => Ok(source.replacen(self.text.as_str(), &self.replacement, 1)),
            count => Err(format!("{} has this text {count} times, not once:\n{}", self.file, self.text)),
        }
    }
}

/// All bugs of the table in this folder, by their numbers.
///
/// # Errors
/// A file cannot be read, or what it says is no table.
pub fn read_table(folder: &Path) -> io::Result<Vec<Bug>> {
    let mut bugs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let wrong = |error: String| io::Error::other(format!("{}: {error}", path.display()));
        bugs.extend(parse(&text).map_err(wrong)?);
    }
    bugs.sort_by_key(|bug| bug.number);
    Ok(bugs)
}

fn parse(text: &str) -> Result<Vec<Bug>, String> {
    let mut bugs: Vec<Bug> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let at = |error: &str| format!("line {}: {error}", index + 1);
        if let Some(heading) = line.strip_prefix("# ") {
            bugs.push(begin(heading).ok_or_else(|| at("a heading is `# number slug`"))?);
        } else if let Some(bug) = bugs.last_mut() {
            bug.read(line).map_err(|error| at(&error))?;
        }
    }
    for bug in &bugs {
        bug.check().map_err(|error| format!("{}: {error}", bug.slug))?;
    }
    Ok(bugs)
}

fn begin(heading: &str) -> Option<Bug> {
    let (number, slug) = heading.split_once(' ')?;
    let (number, slug) = (number.parse().ok()?, slug.to_owned());
    Some(Bug { number, slug, what: String::new(), builds: Vec::new(), missing: None })
}

impl Bug {
    fn read(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        // Lines of code keep their indentation.
        if let Some(code) = line.strip_prefix('-') {
            return self.edit(|edit| &mut edit.text, code, true);
        }
        if let Some(code) = line.strip_prefix('+') {
            return self.edit(|edit| &mut edit.replacement, code, false);
        }
        let (word, rest) = line.split_once(':').unwrap_or(("", line));
        let rest = rest.trim().to_owned();
        match word {
            "fires" => self.build().fires = rest.split_whitespace().map(str::to_owned).collect(),
            "by" => {
                self.build().by = match rest.strip_prefix("body ") {
                    Some(name) => Catcher::Body(name.to_owned()),
                    None if rest == "world" => Catcher::World,
                    None => return Err(format!("`{rest}` catches nothing; `world` or `body …` do")),
                }
            }
            "in" => {
                let edit = Edit { file: rest, text: String::new(), replacement: String::new() };
                self.build().edits.push(edit);
            }
            "or" => {
                let name = format!("{}-{}", self.slug, self.builds.len() + 1);
                let like = self.build().clone();
                self.builds.push(Build { name, edits: Vec::new(), ..like });
            }
            "not planted" => self.missing = Some(rest),
            _ => {
                if !self.what.is_empty() {
                    self.what.push(' ');
                }
                self.what.push_str(line.trim());
            }
        }
        Ok(())
    }

    /// The way that is being read.
    fn build(&mut self) -> &mut Build {
        if self.builds.is_empty() {
            let (name, by) = (self.slug.clone(), Catcher::World);
            self.builds.push(Build { name, fires: Vec::new(), by, edits: Vec::new() });
        }
        let last = self.builds.len() - 1;
        &mut self.builds[last]
    }

    fn edit(
        &mut self,
        side: impl Fn(&mut Edit) -> &mut String,
        code: &str,
        is_text: bool,
    ) -> Result<(), String> {
        let edits = &mut self.build().edits;
        let before = edits.last().cloned().ok_or("code without a line `in: file`")?;
        // What is taken out after something was put in is another change of the same file.
        if is_text && !before.replacement.is_empty() {
            edits.push(Edit { text: String::new(), replacement: String::new(), ..before });
        }
        let last = edits.len() - 1;
        let side = side(&mut edits[last]);
        if !side.is_empty() {
            side.push('\n');
        }
        side.push_str(code.strip_prefix(' ').unwrap_or(code));
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.missing.is_some() != self.builds.iter().all(|build| build.edits.is_empty()) {
            return Err("it is either planted, or not, with a reason".to_owned());
        }
        for build in self.builds.iter().filter(|_| self.missing.is_none()) {
            if build.fires.is_empty() {
                return Err(format!("{} names no property", build.name));
            }
            if build.edits.is_empty() || build.edits.iter().any(|edit| edit.text == edit.replacement) {
                return Err(format!("{} changes nothing", build.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "# 7 two_ways\nsomething is wrong\nhere\nfires: SEQ-1 SEQ-2\nin: a.rs\n-     let a = 1;\n\
                       -     b();\n+     let a = 2;\nor:\nby: body lease\nin: b.rs\n- x\n+\n";

    #[test]
    fn a_row_is_read() {
        let bugs = parse(ROW).unwrap();
        assert_eq!(bugs.len(), 1);
        let bug = &bugs[0];
        assert_eq!(
            (bug.number, bug.slug.as_str(), bug.what.as_str()),
            (7, "two_ways", "something is wrong here")
        );
        assert_eq!(bug.builds[0].edits[0].text, "    let a = 1;\n    b();");
        assert_eq!(bug.builds[0].edits[0].replacement, "    let a = 2;");
        assert_eq!(bug.builds[1].name, "two_ways-2");
        assert_eq!(bug.builds[1].fires, ["SEQ-1", "SEQ-2"]);
        assert_eq!(bug.builds[1].by, Catcher::Body("lease".to_owned()));
        assert_eq!(bug.builds[1].edits[0].apply("x y").unwrap(), " y");
        assert!(bug.builds[1].edits[0].apply("x x").is_err() && bug.builds[1].edits[0].apply("y").is_err());
    }

    #[test]
    fn what_is_no_row_is_refused() {
        for text in [
            "# x y\n",
            "# 1 a\nfires: SEQ-1\n",
            "# 1 a\n- x\n",
            "# 1 a\nin: a.rs\n- x\n+ y\n",
            "# 1 a\nfires: SEQ-1\nin: a.rs\n- x\n+ x\n",
            "# 1 a\nfires: SEQ-1\nby: nobody\nin: a.rs\n- x\n+ y\n",
            "# 1 a\nnot planted: why\nfires: SEQ-1\nin: a.rs\n- x\n+ y\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
