//! Runs simulated worlds and says what was broken, if anything was.
//!
//! `simulate --sessions N [--seed S] [--jobs 2] [--all] [--boundaries]` runs the worlds of `N` seeds; `simulate --replay SEED`
//! shows one.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arcp_tests::refuse_arguments;
use arcp_tests::sim::{Counts, Failure, dying, minimise, replay, seeded};

/// What was broken, and behind which append the runtime died; 0 if it was left alone.
type Found = (Box<Failure>, u64);

struct Arguments {
    sessions: u64,
    seed: u64,
    jobs: u64,
    replay: Option<u64>,
    whole: bool,
    all: bool,
    boundaries: bool,
}

const USAGE: &str =
    "simulate --sessions N [--seed S] [--jobs J] [--all] [--boundaries] | --replay SEED [--whole]

  --sessions N   run the worlds of N seeds
  --seed S       the first of them, 1 unless given
  --jobs J       threads, 1 unless given
  --all          go on behind what is broken, to the last of them
  --boundaries   run each of them instead once for each append to its store, with a runtime whose process
                 dies as soon as that is stored
  --replay SEED  show what happens in the world of a seed; if a promise is broken there, in the smallest
                 world that still breaks it
  --whole        with --replay: do not look for a smaller one";

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments {
        sessions: 0,
        seed: 1,
        jobs: 1,
        replay: None,
        whole: false,
        all: false,
        boundaries: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--whole" {
            found.whole = true;
            continue;
        }
        if word == "--all" {
            found.all = true;
            continue;
        }
        if word == "--boundaries" {
            found.boundaries = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
        let number = value.parse().map_err(|_| format!("`{word}` takes a whole number, not `{value}`"))?;
        match word.as_str() {
            "--sessions" => found.sessions = number,
            "--seed" => found.seed = number,
            "--jobs" => found.jobs = number.max(1),
            "--replay" => found.replay = Some(number),
            _ => return Err(format!("`{word}` is not known")),
        }
    }
    if found.sessions == 0 && found.replay.is_none() {
        return Err("`--sessions` or `--replay` is needed".to_owned());
    }
    Ok(found)
}

fn main() -> ExitCode {
    let arguments = arguments().unwrap_or_else(|error| refuse_arguments(&error, USAGE));
    match arguments.replay {
        Some(seed) => show(seed, arguments.whole),
        None => simulate(&arguments),
    }
}

fn show(seed: u64, whole: bool) -> ExitCode {
    let bytes = match seeded(seed) {
        Err(failure) if !whole => Some(minimise(&failure)),
        _ => None,
    };
    let (lines, violation) = replay(seed, bytes.as_deref());
    for line in lines {
        println!("{line}");
    }
    match violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let done = AtomicU64::new(0);
    let worlds = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let totals = Mutex::new((Counts::default(), Vec::<Found>::new()));
    std::thread::scope(|scope| {
        for worker in 0..arguments.jobs {
            let (done, worlds, stop, totals) = (&done, &worlds, &stop, &totals);
            scope.spawn(move || {
                let mut counts = Counts::default();
                let mut found = Vec::new();
                let mut index = worker;
                while index < arguments.sessions && !stop.load(Ordering::Relaxed) {
                    let seed = arguments.seed.wrapping_add(index);
                    // Append by append, to the first that this world does not have.
                    let mut appends = u64::from(arguments.boundaries);
                    loop {
                        let outcome = if appends > 0 { dying(seed, appends) } else { seeded(seed).map(Some) };
                        let is_over = match outcome {
                            Ok(None) => break,
                            Ok(Some(more)) => {
                                counts.add(&more);
                                appends == 0
                            }
                            Err(failure) => {
                                counts.add(&failure.counts);
                                found.push((failure, appends));
                                stop.store(!arguments.all, Ordering::Relaxed);
                                true
                            }
                        };
                        worlds.fetch_add(1, Ordering::Relaxed);
                        if is_over {
                            break;
                        }
                        appends += 1;
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    index += arguments.jobs;
                }
                if let Ok(mut totals) = totals.lock() {
                    totals.0.add(&counts);
                    totals.1.append(&mut found);
                }
            });
        }
        progress(arguments.sessions, &done, &stop, began);
    });
    let sessions = worlds.load(Ordering::Relaxed);
    let took = began.elapsed();
    let (counts, mut failures) = totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failures.sort_by_key(|(failure, appends)| (failure.seed, *appends));
    report(sessions, took, &counts, &failures)
}

/// A bar, where somebody watches.
fn progress(sessions: u64, done: &AtomicU64, stop: &AtomicBool, began: Instant) {
    const WIDTH: u64 = 40;
    let is_watched = std::io::stderr().is_terminal();
    loop {
        let count = done.load(Ordering::Relaxed);
        if is_watched {
            let filled = usize::try_from(count * WIDTH / sessions.max(1)).unwrap_or(0);
            let empty = usize::try_from(WIDTH).unwrap_or(0).saturating_sub(filled);
            let rate = count as f64 / began.elapsed().as_secs_f64().max(0.001);
            eprint!("\r[{}{}] {count}/{sessions}  {rate:.0}/s ", "#".repeat(filled), " ".repeat(empty));
            let _ = std::io::stderr().flush();
        }
        if count >= sessions || stop.load(Ordering::Relaxed) {
            if is_watched {
                eprintln!();
            }
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn report(sessions: u64, took: Duration, counts: &Counts, failures: &[Found]) -> ExitCode {
    println!("{counts}");
    for (failure, appends) in failures {
        let when = if *appends > 0 { format!(", dead behind append {appends}") } else { String::new() };
        println!("seed {}{when}: {}", failure.seed, failure.violation);
    }
    if let Some((failure, 0)) = failures.first() {
        let bytes = minimise(failure);
        let decisions: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("the smallest world found that still shows it, of these decisions: {decisions}");
        let (lines, violation) = replay(failure.seed, Some(&bytes));
        for line in lines {
            println!("{line}");
        }
        if let Some(violation) = violation {
            println!("{violation}");
        }
    }
    println!(
        "{sessions} simulated sessions in {:.1} s ({:.0} µs each), {} events, {} frames, {} faults, {} sessions opened and \
         {} resumed on the wire, {} jobs, {} credentials ({} rotated, {} frames with values), {} steps, {} violations",
        took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / sessions.max(1) as f64,
        counts.events,
        counts.frames,
        counts.faults(),
        counts.opened,
        counts.resumed,
        counts.jobs,
        counts.credentials,
        counts.rotations,
        counts.values,
        counts.steps,
        failures.len(),
    );
    let missing = counts.missing();
    if !missing.is_empty() && sessions >= 10_000 {
        println!("never happened: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
