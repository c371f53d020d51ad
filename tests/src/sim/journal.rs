//! What happened, as lines that can be read. Costs nothing while nobody reads.

use bytes::Bytes;

use crate::oracle::describe;

/// Collects lines, or nothing.
#[derive(Debug, Default)]
pub(super) struct Journal(Option<Vec<String>>);

impl Journal {
    pub(super) const fn silent() -> Self {
        Self(None)
    }

    pub(super) const fn written() -> Self {
        Self(Some(Vec::new()))
    }

    pub(super) fn note(&mut self, at: u64, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(format!("{}    {}", seconds(at), text()));
        }
    }

    pub(super) fn frame(&mut self, at: u64, link: usize, who: &str, way: &str, frame: &Bytes) {
        if let Some(lines) = &mut self.0 {
            lines.push(format!("{} {who}{way} ({link}) {}", seconds(at), describe(frame)));
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.0.unwrap_or_default()
    }
}

fn seconds(at: u64) -> String {
    format!("{:>6}.{:06}", at / 1_000_000, at % 1_000_000)
}
