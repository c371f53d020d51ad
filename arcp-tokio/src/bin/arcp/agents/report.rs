//! An agent of two versions: one returns its text whole, the other streams it in chunks.

use std::time::Duration;

use arcp_driver::{AgentError, ApiMisuse, JobContext, TextStream};
use serde::Deserialize;

use super::{limit, pace, pause};

/// How long a report is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Length {
    sections: u64,
    delay_ms: u64,
}

impl Default for Length {
    fn default() -> Self {
        Self { sections: 8, delay_ms: 0 }
    }
}

impl Length {
    fn of(length: Option<Self>) -> Result<(u64, Duration), AgentError> {
        let Self { sections, delay_ms } = length.unwrap_or_default();
        if sections == 0 {
            return Err(AgentError::invalid("`sections` must be at least 1"));
        }
        limit("sections", sections, 10_000)?;
        Ok((sections, pace(delay_ms)?))
    }
}

/// Streams its text, section by section.
pub(super) async fn streamed(job: JobContext, length: Option<Length>) -> Result<(), AgentError> {
    let mut text = Text::Streamed(job.stream_text());
    write_report(&job, length, &mut text).await?;
    match text {
        Text::Streamed(stream) => Ok(stream.finish().await?),
        Text::Whole(_) => Ok(()),
    }
}

/// The first version: the whole text in one result.
pub(super) async fn whole(job: JobContext, length: Option<Length>) -> Result<String, AgentError> {
    let mut text = Text::Whole(String::new());
    write_report(&job, length, &mut text).await?;
    match text {
        Text::Whole(text) => Ok(text),
        Text::Streamed(_) => Ok(String::new()),
    }
}

/// Where a report goes.
enum Text {
    Streamed(TextStream),
    Whole(String),
}

impl Text {
    async fn write(&mut self, section: &str) -> Result<(), ApiMisuse> {
        match self {
            Self::Streamed(stream) => stream.write(section).await,
            Self::Whole(text) => {
                text.push_str(section);
                Ok(())
            }
        }
    }
}

async fn write_report(job: &JobContext, length: Option<Length>, text: &mut Text) -> Result<(), AgentError> {
    let (sections, pace) = Length::of(length)?;
    job.status("writing").message("a short report on how this works").await?;
    let mut words = 0;
    for number in 1..=sections {
        let section = section(number);
        let written = section.split_whitespace().count();
        words += written;
        pause(job, pace).await?;
        job.info(&format!("section {number}: {}", title(number))).await?;
        pause(job, pace).await?;
        text.write(&section).await?;
        if number.is_multiple_of(3) {
            pause(job, pace).await?;
            let number = number.to_string();
            job.metric("section.words", written).unit("words").dimension("section", &number).await?;
        }
        pause(job, pace).await?;
        job.progress(number).of(sections).units("sections").await?;
    }
    job.metric("report.words", words).unit("words").await?;
    Ok(())
}

/// The text of a report, as the agent streams it.
pub(crate) fn report_text(sections: u64) -> String {
    (1..=sections).map(section).collect()
}

const SECTIONS: [(&str, &str); 8] = [
    ("Envelopes", "Every message is one JSON object: what it is, whose session, and a payload."),
    ("Sessions", "A client says hello with its token and gets a welcome: features, agents, a resume token."),
    ("Jobs", "A job is submitted with a key, so asking twice never runs it twice."),
    ("Events", "Logs, progress, metrics, tool calls: all go down one stream, in the order they happened."),
    ("Numbers", "Each frame of a stream has the next number, so whoever listens knows what is missing."),
    ("Resuming", "When the connection breaks, the client says which number it saw last and hears the rest."),
    ("Results", "A large result comes in pieces, is put together at the other end, and checked."),
    ("Ends", "Every job ends exactly once: with success, an error, a cancel or a timeout."),
];

fn entry(number: u64) -> (&'static str, &'static str) {
    let count = u64::try_from(SECTIONS.len()).unwrap_or(u64::MAX);
    let index = number.saturating_sub(1) % count;
    SECTIONS[usize::try_from(index).unwrap_or(0)]
}

fn title(number: u64) -> &'static str {
    entry(number).0
}

fn section(number: u64) -> String {
    let (title, text) = entry(number);
    format!("{number}. {title}\n{text}\n\n")
}
