//! Kills a real runtime again and again, lets its disk fail, cuts its power, and says what its clients lost.
//!
//! `crash --cycles N`, `--images N`, `--faults N`, each alone or together. The runtime is the program `arcp`, which cargo builds first.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arcp_tests::crash::{DiskFault, Options, faults, images, kills, program};
use arcp_tests::refuse_arguments;

const USAGE: &str = "crash [--cycles N] [--images N] [--faults N] [--sessions 50] [--seed 1]

  --cycles N     kill the runtime N times and start it again on the same file
  --images N     record what a runtime writes, and open N images of what a disk may hold when the power fails
                 (needs strace)
  --faults N     let each of these happen N times: a failed write, a failed synchronisation, a short write, a
                 full disk (needs strace, and root for a small file system)
  --sessions N   sessions at a time, 50 unless given
  --seed S       what decides when, and what is asked for";

/// What the recorded run takes.
const RECORDED: Duration = Duration::from_millis(1_500);

struct Arguments {
    options: Options,
    cycles: u64,
    images: u64,
    faults: u64,
}

fn arguments() -> Result<Arguments, String> {
    let directory = std::env::temp_dir().join(format!("arcp-crash-{}", std::process::id()));
    let options = Options { sessions: 50, seed: 1, program: program()?, directory };
    let mut found = Arguments { options, cycles: 0, images: 0, faults: 0 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
        let number: u64 =
            value.parse().map_err(|_| format!("`{word}` takes a whole number, not `{value}`"))?;
        match word.as_str() {
            "--cycles" => found.cycles = number,
            "--images" => found.images = number,
            "--faults" => found.faults = number,
            "--sessions" => found.options.sessions = usize::try_from(number.clamp(1, 1_000)).unwrap_or(1),
            "--seed" => found.options.seed = number,
            _ => return Err(format!("`{word}` is not known")),
        }
    }
    if found.cycles + found.images + found.faults == 0 {
        return Err("one of `--cycles`, `--images`, `--faults` is needed".to_owned());
    }
    Ok(found)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = arguments().unwrap_or_else(|error| refuse_arguments(&error, USAGE));
    let directory = arguments.options.directory.clone();
    if let Err(error) = std::fs::create_dir_all(&directory) {
        eprintln!("cannot make {}: {error}", directory.display());
        return ExitCode::FAILURE;
    }
    match run(arguments).await {
        Ok(()) => {
            let _ = std::fs::remove_dir_all(&directory);
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("{what}");
            println!("the files are kept: {}", directory.display());
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let Arguments { options, cycles, images: count, faults: times } = arguments;
    if cycles > 0 {
        let began = Instant::now();
        let report = kills(&options, cycles, |report| show(report.cycles, cycles, "kills")).await?;
        println!(
            "{} kills of a runtime with {} sessions in {:.1} s: {} jobs, {} of them interrupted, {} numbered frames, \
             {} resumes, {} keys used again; slowest start {:.0} ms, slowest recovery {:.0} ms; 0 lost, 0 doubled, \
             0 out of order",
            report.cycles,
            options.sessions,
            began.elapsed().as_secs_f64(),
            report.jobs,
            report.interrupted,
            report.events,
            report.resumes,
            report.resubmits,
            report.slowest_start.as_secs_f64() * 1e3,
            report.slowest_recovery.as_secs_f64() * 1e3,
        );
    }
    if count > 0 {
        let began = Instant::now();
        let report = images(&options, RECORDED, count, |report| show(report.images, count, "images")).await?;
        println!(
            "{} images of a disk whose power failed somewhere in {} writes and sends, opened in {:.1} s: {} numbered \
             frames had been sent; 0 lost, 0 changed",
            report.images,
            report.steps,
            began.elapsed().as_secs_f64(),
            report.promised,
        );
    }
    if times > 0 {
        let began = Instant::now();
        let all = times * DiskFault::ALL.len() as u64;
        let counts = faults(&options, times, |counts| show(counts.iter().sum(), all, "faults")).await?;
        let told: Vec<String> =
            DiskFault::ALL.iter().zip(counts).map(|(fault, count)| format!("{count} {fault}")).collect();
        println!("{} in {:.1} s: 0 lost", told.join(", "), began.elapsed().as_secs_f64());
    }
    Ok(())
}

/// How far it is, where somebody watches.
fn show(done: u64, of: u64, what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{done}/{of} {what} {}", if done == of { "\n" } else { "" });
        let _ = std::io::stderr().flush();
    }
}
