//! `arcp db` and `arcp jobs`: the file in which a runtime keeps its state, seen from outside.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use arcp_driver::sqlite::{Archive, Damage, Stats, compact, rescue};
use arcp_driver::{JobEntry, JobId};
use arcp_proto::id::{JobKey, SessionKey, Ulid};
use arcp_proto::runtime::rows::{JobRow, Row};
use arcp_proto::runtime::store::RowKey;
use serde_json::json;

use crate::args::{Db, DbFile, Jobs};
use crate::failure::{Failure, STORE};
use crate::text::{count, escape};
use crate::{json, ls};

/// Rows that are read at once.
const PAGE: usize = 256;

pub(crate) fn run(command: Db) -> Result<ExitCode, Failure> {
    match command {
        Db::Stats(DbFile { file, json }) => stats(&file, json),
        Db::Check(DbFile { file, json }) => check(&file, json),
        Db::Compact(DbFile { file, json }) => {
            let before = open(&file)?.stats().map_err(Failure::store)?;
            compact(&file).map_err(Failure::store)?;
            let after = open(&file)?.stats().map_err(Failure::store)?;
            if json {
                json::say_as("compacted", json!({ "bytes_before": before.bytes, "bytes": after.bytes }))?;
            } else {
                line(&format!("{} of {}", count(after.bytes, "byte"), count(before.bytes, "byte")))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Db::Rescue { from: DbFile { file, json }, into } => {
            let left_behind = rescue(&file, &into).map_err(Failure::store)?;
            findings(&left_behind, json, "left_behind")?;
            stats(&into, json)
        }
    }
}

fn open(file: &Path) -> Result<Archive, Failure> {
    Archive::open(file).map_err(Failure::store)
}

fn stats(file: &Path, json: bool) -> Result<ExitCode, Failure> {
    let stats = open(file)?.stats().map_err(Failure::store)?;
    let Stats {
        bytes,
        free,
        log,
        sessions,
        jobs,
        credentials,
        events,
        event_bytes,
        deliveries,
        runs,
        schema,
    } = stats;
    if json {
        json::say_as(
            "stats",
            json!({
                "bytes": bytes, "free_bytes": free, "log_bytes": log, "sessions": sessions, "jobs": jobs,
                "credentials": credentials, "events": events, "event_bytes": event_bytes,
                "deliveries": deliveries, "delivery_rows": runs, "schema": schema,
            }),
        )?;
    } else {
        line(&format!(
            "{} in the file, {free} of them free; {log} in the log beside it",
            count(bytes, "byte")
        ))?;
        line(&format!(
            "{}, {}, {}",
            count(sessions, "session"),
            count(jobs, "job"),
            count(credentials, "credential")
        ))?;
        line(&format!("{} of {}", count(events, "event"), count(event_bytes, "byte")))?;
        line(&format!("{} of sessions in {}", count(deliveries, "number"), count(runs, "row")))?;
        line(&format!("schema {schema}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(file: &Path, json: bool) -> Result<ExitCode, Failure> {
    let report = open(file)?.check().map_err(Failure::store)?;
    findings(&report.damage, json, "damage")?;
    let is_whole = report.damage.is_empty();
    if json {
        json::say_as(
            "checked",
            json!({
                "whole": is_whole, "sessions": report.sessions, "jobs": report.jobs,
                "credentials": report.credentials, "events": report.events, "deliveries": report.deliveries,
            }),
        )?;
    } else {
        line(&format!(
            "{}: {}, {}, {}, {}",
            if is_whole { "whole" } else { "damaged" },
            count(report.sessions, "session"),
            count(report.jobs, "job"),
            count(report.credentials, "credential"),
            count(report.events, "event"),
        ))?;
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(STORE) })
}

fn findings(damage: &[Damage], json: bool, name: &str) -> io::Result<()> {
    for Damage { part, what } in damage {
        if json {
            json::say_as(name, json!({ "part": part, "what": what }))?;
        } else {
            line(&format!("{}: {}", name.replace('_', " "), escape(&format!("{part}: {what}"))))?;
        }
    }
    Ok(())
}

/// `arcp jobs`.
pub(crate) fn jobs(arguments: &Jobs) -> Result<ExitCode, Failure> {
    let archive = open(&arguments.db)?;
    let show = if arguments.json { json::job } else { ls::line };
    // Jobs come behind all sessions.
    let mut after = Some(RowKey::Session(SessionKey::from_ulid(Ulid::from_bits(u128::MAX))));
    loop {
        let rows = archive.rows(after, PAGE).map_err(Failure::store)?;
        let Some(last) = rows.last() else { return Ok(ExitCode::SUCCESS) };
        after = Some(last.key());
        for row in rows {
            match row {
                Row::Job(row) => show(&entry(&row).ok_or_else(|| Failure::store("a job without an id"))?)?,
                Row::Session(_) => {}
                Row::Credential(_) => return Ok(ExitCode::SUCCESS),
            }
        }
    }
}

fn entry(row: &JobRow) -> Option<JobEntry> {
    let record = &row.record;
    let id = |key: JobKey| JobId::new(&key.to_string());
    let status = match &row.end {
        Some(end) => end.status.as_str(),
        None if record.started => "running",
        None => "pending",
    };
    Some(JobEntry {
        job_id: id(record.key)?,
        agent: Some(record.agent.as_str().to_owned()),
        status: Some(status.to_owned()),
        lease: Some(record.lease.to_json()),
        lease_constraints: record.lease.constraints_json(),
        parent_job_id: record.parent.and_then(|parent| id(parent.job)),
        created_at: Some(record.accepted_at),
        trace_id: Some(record.trace_id.to_string()),
        last_event_seq: Some(row.last_origin),
    })
}

fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
