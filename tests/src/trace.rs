//! Wire traces: what went over the links, as lines that can be read.
//!
//! `C→R type (id) {fields that matter}`, numbered frames with `#n`. Ids and tokens become `msg_1`, `job_1`, `sess_1`,
//! `rt_1` in the order of their appearance. With several clients they are `C1`, `C2`; a client's second connection is `(b)`,
//! its third `(c)`. Runs of like events become one line.

mod render;

use std::fmt::Write as _;
use std::time::Duration;

use arcp_proto::time::Instant;
use serde_json::Value;

use crate::link::{Break, Notice};
use render::{Names, render};

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the runtime.
    Up = 0,
    /// From the runtime to the client.
    Down = 1,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way, or was never read.
    UnderWay,
    /// It arrived.
    Delivered,
    /// It arrived after the client had given the link up.
    Late,
    /// It arrived nowhere.
    Lost,
}

/// Everything that went over the links of a world, in the order in which it was written.
#[derive(Debug, Default)]
pub struct Trace {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    peer: usize,
    link: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Frame { direction: Direction, text: String, fate: Fate },
    Close { who: &'static str, code: u16 },
    Cut(Break),
    Note(String),
}

/// Pauses shorter than this are not shown.
const PAUSE: Duration = Duration::from_secs(1);

/// Like events in a row from which on they are one line.
const RUN: usize = 4;

impl Trace {
    pub(crate) fn frame(
        &mut self,
        at: Instant,
        peer: usize,
        link: usize,
        direction: Direction,
        text: String,
    ) -> usize {
        let what = What::Frame { direction, text, fate: Fate::UnderWay };
        self.entries.push(Entry { at, peer, link, what });
        self.entries.len() - 1
    }

    pub(crate) fn fate(&mut self, entry: usize, became: Fate) {
        if let What::Frame { fate, .. } = &mut self.entries[entry].what {
            *fate = became;
        }
    }

    pub(crate) fn close(&mut self, at: Instant, peer: usize, link: usize, who: &'static str, code: u16) {
        self.entries.push(Entry { at, peer, link, what: What::Close { who, code } });
    }

    pub(crate) fn cut(&mut self, at: Instant, peer: usize, link: usize, how: Break) {
        self.entries.push(Entry { at, peer, link, what: What::Cut(how) });
    }

    pub(crate) fn note(&mut self, at: Instant, text: String) {
        self.entries.push(Entry { at, peer: 0, link: 0, what: What::Note(text) });
    }

    /// Every frame as it was written, and what became of it.
    pub fn frames(&self) -> impl DoubleEndedIterator<Item = (Direction, &str, Fate)> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            What::Frame { direction, text, fate } => Some((*direction, text.as_str(), *fate)),
            _ => None,
        })
    }

    /// The frames that were written to a client, and their places in the trace.
    pub fn frames_of(&self, peer: usize) -> impl Iterator<Item = (usize, &str)> {
        self.entries.iter().enumerate().filter_map(move |(index, entry)| match &entry.what {
            What::Frame { direction: Direction::Down, text, .. } if entry.peer == peer => {
                Some((index, text.as_str()))
            }
            _ => None,
        })
    }

    /// The trace as lines.
    #[must_use]
    pub fn lines(&self) -> String {
        let several = self.entries.iter().any(|entry| entry.peer > 0);
        let mut names = Names::default();
        let mut out = String::new();
        let mut last: Option<Instant> = None;
        let mut index = 0;
        while let Some(entry) = self.entries.get(index) {
            if let Some(pause) = last.map(|last| entry.at.since(last)).filter(|pause| *pause >= PAUSE) {
                writeln!(out, "    {}", seconds(pause)).unwrap();
            }
            let run = self.run(index);
            last = Some(self.entries[index + run - 1].at);
            self.line(index, run, several, &mut names, &mut out);
            index += run;
        }
        out
    }

    /// The last lines, for failures.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines();
        let all: Vec<&str> = lines.lines().collect();
        all[all.len().saturating_sub(count)..].join("\n")
    }

    /// How many entries from here are like this one: the same kind of event, one number after the other.
    fn run(&self, start: usize) -> usize {
        let Some(first) = self.like(start) else { return 1 };
        let mut count = 1;
        while let Some(next) = self.entries.get(start + count).and_then(|_| self.like(start + count)) {
            let is_next = next.key == first.key && next.seq == first.seq + count as u64;
            if !is_next {
                break;
            }
            count += 1;
        }
        if count < RUN { 1 } else { count }
    }

    fn like(&self, index: usize) -> Option<Like> {
        let entry = &self.entries[index];
        let What::Frame { direction: Direction::Down, text, fate } = &entry.what else { return None };
        let frame: Value = serde_json::from_str(text).ok()?;
        if frame["type"] != "job.event" {
            return None;
        }
        let has_pos = frame["payload"]["pos"].is_u64();
        let kind = frame["payload"]["kind"].as_str()?.to_owned();
        let key = (entry.peer, entry.link, *fate as u8, frame["job_id"].to_string(), kind, has_pos);
        Some(Like { key, seq: frame["event_seq"].as_u64()? })
    }

    fn line(&self, index: usize, run: usize, several: bool, names: &mut Names, out: &mut String) {
        let entry = &self.entries[index];
        let client = if several { format!("C{}", entry.peer + 1) } else { "C".to_owned() };
        let letter = char::from(b'a' + u8::try_from(entry.link.min(25)).unwrap());
        let link = if entry.link == 0 { String::new() } else { format!(" ({letter})") };
        match &entry.what {
            What::Frame { direction, text, fate } => {
                let frame: Value = serde_json::from_str(text).unwrap_or(Value::Null);
                let line = if run > 1 {
                    let last = match &self.entries[index + run - 1].what {
                        What::Frame { text, .. } => serde_json::from_str(text).unwrap_or(Value::Null),
                        _ => Value::Null,
                    };
                    render::run(names, &frame, &last)
                } else {
                    render(names, &frame)
                };
                let way = match direction {
                    Direction::Up => format!("{client}→R"),
                    Direction::Down => format!("R→{client}"),
                };
                let fate = match fate {
                    Fate::Delivered => "",
                    Fate::UnderWay => "   … not read",
                    Fate::Late => "   … arrives late",
                    Fate::Lost => "   … lost",
                };
                writeln!(out, "{way}{link} {line}{fate}").unwrap();
            }
            What::Close { who, code } => {
                let who = if *who == "C" { client } else { format!("R to {client}") };
                writeln!(out, "    {who}{link} closes: {code}").unwrap();
            }
            What::Cut(how) => {
                let notice = match how.notice {
                    Notice::AtOnce => String::new(),
                    Notice::After(span) => format!(", R notices after {}", seconds(span)),
                    Notice::Never => ", R does not notice".to_owned(),
                };
                writeln!(out, "    {client}{link} is cut{notice}").unwrap();
            }
            What::Note(text) => writeln!(out, "    {text}").unwrap(),
        }
    }
}

/// What makes events like each other.
struct Like {
    key: (usize, usize, u8, String, String, bool),
    seq: u64,
}

fn seconds(span: Duration) -> String {
    let tenths = (span.as_millis() + 50) / 100;
    match tenths % 10 {
        0 => format!("{} s", tenths / 10),
        tenth => format!("{}.{tenth} s", tenths / 10),
    }
}
