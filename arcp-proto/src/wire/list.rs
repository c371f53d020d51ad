//! Payloads of `session.list_jobs` and `session.jobs` (protocol §2.7).

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::JobId;
use crate::time::UnixTime;
use crate::wire::RawJson;
use crate::wire::error::WireFault;
use crate::wire::job::{write_job, write_raw};
use crate::wire::members::{advisory_time, raw_object, tolerant_number, tolerant_string};
use crate::wire::read::{FieldError, Fields, elements_of, string_of};
use crate::wire::session::write_time;
use crate::wire::write::ObjectWriter;

/// Jobs on a page unless said otherwise.
pub const DEFAULT_PAGE: u64 = 100;
/// Most jobs on a page; a larger wish acts as this.
pub const LARGEST_PAGE: u64 = 500;

const CURSOR_BYTES: usize = 512;
const STATUS_NAMES: usize = 64;
const NAME_BYTES: usize = 256;

/// `session.list_jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListJobs {
    /// State names, of which a job must have one; empty asks for every state. Names of no state match nothing.
    pub status: Vec<String>,
    /// `name` for every version, `name@version` for one.
    pub agent: Option<String>,
    /// Only jobs created behind this time.
    pub created_after: Option<UnixTime>,
    /// Only jobs created before this time.
    pub created_before: Option<UnixTime>,
    /// How many, 1 to [`LARGEST_PAGE`]; `None` is [`DEFAULT_PAGE`].
    pub limit: Option<u64>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

impl ListJobs {
    /// Reads `session.list_jobs`.
    ///
    /// # Errors
    /// A member has the wrong type or is out of range, or a time cannot be read.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        let filter = fields.object("filter")?;
        let filter = filter.as_ref();
        let time = |name: &'static str| -> Result<Option<UnixTime>, WireFault> {
            let Some(text) = filter.and_then(|filter| filter.present(name)) else { return Ok(None) };
            match string_of(text).as_deref().and_then(UnixTime::parse_rfc3339) {
                Some(time) => Ok(Some(time)),
                None => Err(FieldError::wrong(name, "an RFC 3339 date-time").within("filter").into()),
            }
        };
        let agent = match filter.and_then(|filter| filter.present("agent")) {
            Some(text) => Some(string_of(text).filter(|text| text.len() <= NAME_BYTES).ok_or_else(|| {
                FieldError::wrong("agent", "a string of at most 256 bytes").within("filter")
            })?),
            None => None,
        };
        Ok(Self {
            status: filter.map(read_status).transpose()?.unwrap_or_default(),
            agent: agent.map(Into::into),
            created_after: time("created_after")?,
            created_before: time("created_before")?,
            limit: fields.u64("limit", 1..=u64::MAX)?.map(|limit| limit.min(LARGEST_PAGE)),
            cursor: fields.string("cursor", 1..=CURSOR_BYTES)?.map(Into::into),
        })
    }

    /// Writes the members.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        let has_filter = !self.status.is_empty()
            || self.agent.is_some()
            || self.created_after.is_some()
            || self.created_before.is_some();
        if has_filter {
            out.object("filter", |filter| {
                if !self.status.is_empty() {
                    filter.strings("status", self.status.iter().map(String::as_str));
                }
                filter.optional_str("agent", self.agent.as_deref());
                write_time(filter, "created_after", self.created_after);
                write_time(filter, "created_before", self.created_before);
            });
        }
        out.optional_u64("limit", self.limit).optional_str("cursor", self.cursor.as_deref());
    }
}

/// A list of names, or one name.
fn read_status(filter: &Fields<'_>) -> Result<Vec<String>, WireFault> {
    let wrong =
        || FieldError::wrong("status", "a state name or an array of at most 64 of them").within("filter");
    let Some(raw) = filter.present("status") else { return Ok(Vec::new()) };
    if let Some(one) = string_of(raw) {
        return Ok(Vec::from([one.into_owned()]));
    }
    let names: Option<Vec<String>> = elements_of(raw)
        .ok_or_else(wrong)?
        .take(STATUS_NAMES + 1)
        .map(|element| string_of(element).map(Into::into))
        .collect();
    Ok(names.filter(|names| names.len() <= STATUS_NAMES).ok_or_else(wrong)?)
}

/// `session.jobs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Jobs {
    /// The list this answers.
    pub request_id: Option<String>,
    /// The same by its other name.
    pub reply_to: Option<String>,
    /// The jobs, newest first.
    pub jobs: Vec<JobEntry>,
    /// Where the next page begins; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// One job of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct JobEntry {
    /// The job.
    pub job_id: JobId,
    /// The resolved agent.
    pub agent: Option<String>,
    /// Its state, as spelled by the peer.
    pub status: Option<String>,
    /// The effective lease; an object.
    pub lease: Option<RawJson>,
    /// Its constraints; an object.
    pub lease_constraints: Option<RawJson>,
    /// The parent, for a child.
    pub parent_job_id: Option<JobId>,
    /// When the job was accepted.
    pub created_at: Option<UnixTime>,
    /// The job's trace.
    pub trace_id: Option<String>,
    /// Origin number of its newest event; 0 before the first.
    pub last_event_seq: Option<u64>,
}

impl Jobs {
    /// Reads `session.jobs`. An entry without a job id is left out.
    ///
    /// # Errors
    /// `jobs` is no array.
    pub fn read(fields: &Fields<'_>) -> Result<Self, WireFault> {
        let entries = match fields.present("jobs") {
            Some(raw) => elements_of(raw).ok_or_else(|| FieldError::wrong("jobs", "an array"))?,
            None => elements_of("[]").ok_or_else(|| FieldError::wrong("jobs", "an array"))?,
        };
        Ok(Self {
            request_id: tolerant_string(fields, "request_id"),
            reply_to: tolerant_string(fields, "reply_to"),
            jobs: entries.filter(|raw| raw.starts_with('{')).filter_map(JobEntry::read).collect(),
            next_cursor: tolerant_string(fields, "next_cursor"),
        })
    }

    /// Writes the members; `next_cursor` always, as `null` on the last page.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        out.optional_str("request_id", self.request_id.as_deref())
            .optional_str("reply_to", self.reply_to.as_deref())
            .array("jobs", |jobs| {
                for job in &self.jobs {
                    jobs.object(|entry| job.write(entry));
                }
            });
        match &self.next_cursor {
            Some(cursor) => out.str("next_cursor", cursor),
            None => out.null("next_cursor"),
        };
    }
}

impl JobEntry {
    fn read(object: &str) -> Option<Self> {
        let fields = &Fields::of(object);
        Some(Self {
            job_id: fields.id("job_id").ok().flatten().as_deref().and_then(JobId::new)?,
            agent: tolerant_string(fields, "agent"),
            status: tolerant_string(fields, "status"),
            lease: raw_object(fields, "lease").ok().flatten(),
            lease_constraints: raw_object(fields, "lease_constraints").ok().flatten(),
            parent_job_id: fields.id("parent_job_id").ok().flatten().as_deref().and_then(JobId::new),
            created_at: advisory_time(fields, "created_at").or_else(|| advisory_time(fields, "submitted_at")),
            trace_id: tolerant_string(fields, "trace_id"),
            last_event_seq: tolerant_number(fields, "last_event_seq"),
        })
    }

    /// Writes the members; the creation under both its names.
    pub fn write(&self, out: &mut ObjectWriter<'_>) {
        write_job(out, "job_id", Some(&self.job_id));
        out.optional_str("agent", self.agent.as_deref()).optional_str("status", self.status.as_deref());
        write_raw(out, "lease", self.lease.as_ref());
        write_raw(out, "lease_constraints", self.lease_constraints.as_ref());
        write_job(out, "parent_job_id", self.parent_job_id.as_ref());
        write_time(out, "created_at", self.created_at);
        write_time(out, "submitted_at", self.created_at);
        out.optional_str("trace_id", self.trace_id.as_deref())
            .optional_u64("last_event_seq", self.last_event_seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::object_text;
    use alloc::string::ToString;

    fn list(payload: &str) -> Result<ListJobs, WireFault> {
        ListJobs::read(&Fields::of(payload))
    }

    #[test]
    fn every_filter_is_written_alone() {
        for filter in [
            r#"{"status":["running"]}"#,
            r#"{"agent":"a"}"#,
            r#"{"created_after":"2026-08-14T09:30:00.000Z"}"#,
            r#"{"created_before":"2026-08-14T09:30:00.000Z"}"#,
        ] {
            let text = std::format!("{{\"filter\":{filter}}}");
            assert_eq!(object_text(|out| list(&text).unwrap().write(out)), text);
        }
        assert_eq!(object_text(|out| ListJobs::default().write(out)), "{}");
    }

    #[test]
    fn every_member_has_its_rule() {
        assert_eq!(list("{}"), Ok(ListJobs::default()));
        assert_eq!(list(r#"{"filter":{"status":"running"}}"#).unwrap().status, ["running"]);
        assert!(list(r#"{"filter":{"status":[]}}"#).unwrap().status.is_empty());
        assert_eq!(list(r#"{"limit":9007199254740991}"#).unwrap().limit, Some(500));
        let states = |count: usize| {
            let names = std::vec!["\"running\""; count].join(",");
            list(&std::format!("{{\"filter\":{{\"status\":[{names}]}}}}")).map(|list| list.status.len())
        };
        assert_eq!(states(64), Ok(64));
        assert!(states(65).is_err());
        for payload in [
            r#"{"filter":"running"}"#,
            r#"{"filter":{"status":[1]}}"#,
            r#"{"filter":{"agent":5}}"#,
            r#"{"filter":{"created_after":"last week"}}"#,
            r#"{"filter":{"created_before":0}}"#,
            r#"{"limit":0}"#,
            r#"{"limit":-5}"#,
            r#"{"limit":"10"}"#,
            r#"{"cursor":3}"#,
            r#"{"cursor":""}"#,
        ] {
            assert!(list(payload).is_err(), "{payload}");
        }
    }

    #[test]
    fn lists_of_others_are_read() {
        let read = |payload: &str| Jobs::read(&Fields::of(payload)).unwrap();
        assert!(read(r#"{"jobs":null}"#).jobs.is_empty());
        let jobs = read(
            r#"{"jobs":[{"job_id":"j","submitted_at":"2026-08-14T09:30:02.004112Z"},7,{"status":"x"}]}"#,
        )
        .jobs;
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].created_at.unwrap().to_string(), "2026-08-14T09:30:02.004Z");
        assert!(Jobs::read(&Fields::of(r#"{"jobs":{}}"#)).is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let asked = ListJobs {
            status: Vec::from(["running".to_string()]),
            agent: Some("a@1".to_string()),
            created_after: UnixTime::parse_rfc3339("2026-08-13T09:30:00Z"),
            created_before: None,
            limit: Some(20),
            cursor: Some("c".to_string()),
        };
        assert_eq!(list(&object_text(|out| asked.write(out))), Ok(asked));
        let page = Jobs { request_id: None, reply_to: None, jobs: Vec::new(), next_cursor: None };
        assert_eq!(object_text(|out| page.write(out)), r#"{"jobs":[],"next_cursor":null}"#);
    }
}
