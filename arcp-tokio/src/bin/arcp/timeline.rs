//! What happens, line by line, on standard output: when, which number, what.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How a part of a line looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
    Odd,
    Calm,
    Data,
    Progress,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Odd => "\x1b[33m",
            Self::Calm => "\x1b[34m",
            Self::Data => "\x1b[35m",
            Self::Progress => "\x1b[36m",
        }
    }
}

/// The lines, their clock, and a progress bar below them where there is a terminal for one.
pub(crate) struct Timeline {
    started: Instant,
    colour: bool,
    bar: Option<ProgressBar>,
}

impl Timeline {
    /// A timeline that begins at this moment.
    pub(crate) fn begin() -> Self {
        Self { started: Instant::now(), colour: wants_colour(&io::stdout()), bar: None }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Text in a tone; without colour, the text.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        if self.colour && tone != Tone::Plain {
            format!("{}{text}\x1b[0m", tone.code())
        } else {
            text.to_owned()
        }
    }

    /// A line of the timeline. The text must be harmless already.
    pub(crate) fn line(&self, number: Option<u64>, tone: Tone, label: &str, text: &str) -> io::Result<()> {
        self.line_behind("", number, tone, label, text)
    }

    /// A line of the timeline whose label begins behind `margin`, which must be harmless as well.
    pub(crate) fn line_behind(
        &self,
        margin: &str,
        number: Option<u64>,
        tone: Tone,
        label: &str,
        text: &str,
    ) -> io::Result<()> {
        let margin = self.paint(Tone::Dim, margin);
        let time = self.paint(Tone::Dim, &format!("{:>8.3}", self.elapsed().as_secs_f64()));
        let number = number.map_or(String::new(), |number| format!("#{number}"));
        let number = self.paint(Tone::Dim, &format!("{number:>5}"));
        let label = self.paint(tone, &format!("{label:<9}"));
        self.say(format!("{time} {number}  {margin}{label} {text}").trim_end())
    }

    /// Any text between the lines.
    pub(crate) fn say(&self, text: &str) -> io::Result<()> {
        let write = || {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Shows how far it is, below the lines, if both output streams are terminals.
    pub(crate) fn progress(&mut self, current: u64, total: u64, units: &str) {
        if !(io::stdout().is_terminal() && io::stderr().is_terminal()) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template = if self.colour {
                "                {bar:32.cyan/dim} {pos}/{len} {msg}"
            } else {
                "                {bar:32} {pos}/{len} {msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━━─"));
            }
            bar
        });
        bar.set_length(total);
        bar.set_message(units.to_owned());
        bar.set_position(current);
    }

    /// Takes the progress away.
    pub(crate) fn progress_done(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        self.progress_done();
    }
}

/// Colour belongs on a terminal, and nowhere if `NO_COLOR` says something.
fn wants_colour(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}
