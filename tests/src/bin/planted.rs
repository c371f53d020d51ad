//! Plants bugs into a copy of the core, one at a time, and says which property caught each, and after how many sessions.
//!
//! `planted` plants all of them; `planted --only SLUG` some, `planted --none` none; `planted --list` shows the table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use arcp_tests::planted::{Bug, Build, Catcher, Caught, Error, MOST_SESSIONS, Workshop, read_table};
use arcp_tests::refuse_arguments;

const USAGE: &str = "planted [--only SLUG]... | --none | --list

  --only SLUG  plant this bug; may be given several times, and a slug that ends in `*` names many
  --none       plant nothing: in as many sessions nothing may be found
  --list       show all bugs, what must catch them, and why some are not planted";
/// Properties that a program which never ends breaks.
const LIVENESS: [&str; 8] = ["SEQ-4", "JOB-2", "JOB-8", "CAN-2", "CRD-1", "CRD-4", "ACK-4", "LIVE"];

struct Arguments {
    only: Vec<String>,
    none: bool,
    list: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments { only: Vec::new(), none: false, list: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => found.list = true,
            "--none" => found.none = true,
            "--only" => found.only.push(words.next().ok_or("`--only` needs a slug")?),
            _ => return Err(format!("`{word}` is not known")),
        }
    }
    Ok(found)
}

fn main() -> ExitCode {
    let arguments = arguments().unwrap_or_else(|error| refuse_arguments(&error, USAGE));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bugs = match read_table(&root.join("tests/planted")) {
        Ok(bugs) => bugs,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if arguments.list {
        bugs.iter().for_each(show);
        return ExitCode::SUCCESS;
    }
    if arguments.none {
        return match plant_none(&root) {
            Ok(sound) => ExitCode::from(u8::from(!sound)),
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(2)
            }
        };
    }
    let is_named = |bug: &Bug| {
        arguments.only.is_empty()
            || arguments.only.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => bug.slug.starts_with(start),
                None => bug.slug == *name,
            })
    };
    let chosen: Vec<&Bug> = bugs.iter().filter(|bug| is_named(bug)).collect();
    if chosen.is_empty() {
        eprintln!("no bug is called `{}`; `--list` shows all", arguments.only.join("` or `"));
        return ExitCode::from(2);
    }
    match plant_all(&root, &chosen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn show(bug: &Bug) {
    println!("{:>3} {}: {}", bug.number, bug.slug, bug.what);
    if let Some(reason) = &bug.missing {
        println!("      not planted: {reason}");
        return;
    }
    for build in &bug.builds {
        let files: Vec<&str> = build.edits.iter().map(|edit| edit.file.as_str()).collect();
        println!("      {} by {}, in {}", build.fires.join(" or "), build.by, files.join(", "));
    }
}

/// The copy of a workspace, in its folder for what is built.
fn workshop(root: &Path) -> Result<Workshop, Error> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Workshop::open(root, &target.join("planted"))
}

/// Hunts where nothing was planted; whether nothing is found.
fn plant_none(root: &Path) -> Result<bool, Error> {
    let workshop = workshop(root)?;
    workshop.build()?;
    let found = workshop.hunt(&Catcher::World, MOST_SESSIONS)?;
    match &found {
        None => println!("nothing is found in {MOST_SESSIONS} sessions"),
        Some(found) => println!("{} after {}: {}", found.property, found.after, found.what),
    }
    Ok(found.is_none())
}

/// Plants and hunts; whether every bug was caught as it should be, and nothing is wrong without one.
fn plant_all(root: &Path, bugs: &[&Bug]) -> Result<bool, Error> {
    let began = Instant::now();
    let mut workshop = workshop(root)?;
    let builds: Vec<&Build> =
        bugs.iter().filter(|bug| bug.missing.is_none()).flat_map(|bug| &bug.builds).collect();
    let mut failures = Vec::new();
    // By who catches: the most sessions or runs that any bug needed.
    let mut needed: BTreeMap<String, (Catcher, u64)> = BTreeMap::new();
    let mut slowest = (0, "");
    for (index, build) in builds.iter().enumerate() {
        let planted = Instant::now();
        let caught = workshop
            .plant(Some(build))
            .and_then(|()| workshop.build())
            .and_then(|()| workshop.hunt(&build.by, MOST_SESSIONS));
        let verdict = match caught {
            Ok(caught) => judge(build, caught),
            Err(error @ Error::Io(..)) => return Err(error),
            Err(error) => Err(error.to_string()),
        };
        let (is_sound, words) = match &verdict {
            Ok(caught) => {
                let most = needed.entry(build.by.to_string()).or_insert_with(|| (build.by.clone(), 0));
                most.1 = most.1.max(caught.after);
                slowest = slowest.max((caught.after, &build.name));
                (true, format!("{} after {}: {}", caught.property, caught.after, caught.what))
            }
            Err(words) => {
                failures.push(format!("{}: {words}", build.name));
                (false, words.clone())
            }
        };
        println!(
            "[{:>3}/{}] {} {} ({:.1} s) {}",
            index + 1,
            builds.len(),
            if is_sound { "caught" } else { "NOT CAUGHT" },
            build.name,
            planted.elapsed().as_secs_f64(),
            words.chars().take(200).collect::<String>(),
        );
    }
    workshop.plant(None)?;
    workshop.build()?;
    for (by, most) in needed.values() {
        match workshop.hunt(by, *most)? {
            None => println!("without any bug, {by} finds nothing in {most}"),
            Some(found) => failures.push(format!(
                "without any bug, {by} finds {} after {}: {}",
                found.property, found.after, found.what
            )),
        }
    }
    let missing = bugs.iter().filter(|bug| bug.missing.is_some()).count();
    println!(
        "{} bugs planted in {} builds, {missing} not planted; {} failures; most sessions needed: {} ({}); {:.0} s",
        bugs.len() - missing,
        builds.len(),
        failures.len(),
        slowest.0,
        slowest.1,
        began.elapsed().as_secs_f64(),
    );
    for failure in &failures {
        println!("  {failure}");
    }
    Ok(failures.is_empty())
}

/// What was caught, if it is what should be.
fn judge(build: &Build, caught: Option<Caught>) -> Result<Caught, String> {
    let fires = build.fires.join(" or ");
    let Some(caught) = caught else {
        return Err(format!("{} finds nothing in {MOST_SESSIONS}, due is {fires}", build.by));
    };
    let is_due = match caught.property.as_str() {
        // A body's promise is the property that the row names.
        "promise" => matches!(build.by, Catcher::Body(_)),
        "hang" => build.fires.iter().any(|property| LIVENESS.contains(&property.as_str())),
        "panic" => build.fires.iter().any(|property| property == "WIR-1"),
        property => build.fires.iter().any(|due| due == property),
    };
    if is_due {
        let property = if caught.property == "promise" { fires } else { caught.property };
        Ok(Caught { property, ..caught })
    } else {
        Err(format!("{} after {}, due is {fires}: {}", caught.property, caught.after, caught.what))
    }
}
