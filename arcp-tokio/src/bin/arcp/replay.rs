//! `arcp replay`: what a session can be given again, from the file of its runtime.

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::ExitCode;

use arcp_driver::sqlite::Archive;
use arcp_driver::{EventBody, EventKind};
use arcp_proto::id::JobKey;
use arcp_proto::runtime::store::{Delivered, PageLimit};
use arcp_proto::wire::delivery::Line;
use arcp_proto::wire::event::{Content, LoggedEvent, Outcome};

use crate::args::Replay;
use crate::describe;
use crate::failure::{Failure, warn};
use crate::text::{count, escape};

const PAGE: PageLimit = PageLimit { events: 256, bytes: 1 << 20 };

pub(crate) fn run(arguments: &Replay) -> Result<ExitCode, Failure> {
    let archive = Archive::open(&arguments.db).map_err(Failure::store)?;
    let key = arguments.session;
    let row = archive.session_row(key).map_err(Failure::store)?;
    let row = row.ok_or_else(|| Failure::error(format!("{key} is not in {}", arguments.db.display())))?;
    if row.is_dead() {
        return Err(Failure::error(format!("{key} is dead; what it was given is forgotten")));
    }
    if arguments.after_seq < row.numbers.floor() {
        warn(&format!("numbers up to {} are no longer kept", row.numbers.floor()));
    }
    let mut lines: HashMap<JobKey, Option<Line>> = HashMap::new();
    let mut after = arguments.after_seq;
    let mut out = io::stdout().lock();
    loop {
        let page = archive.session(key, after, PAGE).map_err(Failure::store)?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for Delivered { seq, job, event } in &page {
            if !arguments.json {
                writeln!(out, "{}", words(*seq, *job, event))?;
                continue;
            }
            if !lines.contains_key(job) {
                let known = archive.job_row(*job).map_err(Failure::store)?;
                let (shape, limit) =
                    (row.record.profile.end_shape(), row.record.profile.frame_limit(row.record.transport));
                lines.insert(
                    *job,
                    known.map(|known| Line::new(key, known.record.trace_id, *job, shape, limit)),
                );
            }
            let Some(Some(line)) = lines.get(job) else {
                // Its frames carry the job's trace, which went with it.
                let message =
                    format!("{job} is no longer remembered, so the frame {seq} cannot be sent again");
                return Err(Failure::error(message));
            };
            let mut frame = String::new();
            line.encode_into(*seq, event, &mut frame);
            writeln!(out, "{frame}")?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A line for people: which number, when, of which job, what.
fn words(seq: u64, job: JobKey, event: &LoggedEvent) -> String {
    let (label, text) = match &event.content {
        Content::Event { kind, body } => {
            let described = describe::body(kind, EventBody::read(kind, body));
            (described.label, described.text)
        }
        Content::Chunk { chunk_seq, decoded_bytes, .. } => {
            let label = EventKind::ResultChunk.as_str().to_owned();
            (label, format!("{chunk_seq}: {}", count(*decoded_bytes, "byte")))
        }
        Content::Rotated { credential } => ("status".to_owned(), format!("credential_rotated {credential}")),
        Content::End(terminal) => {
            let text = match &terminal.outcome {
                Outcome::Inline(value) => escape(value.as_str()),
                Outcome::Streamed { size, .. } => format!("{} streamed", count(*size, "byte")),
                Outcome::Failed(error) => escape(&format!("{}: {}", error.code, error.message)),
            };
            (terminal.status().as_str().to_owned(), text)
        }
    };
    format!("#{seq:<6} {}  {job}  {label}  {text}", event.ts)
}
