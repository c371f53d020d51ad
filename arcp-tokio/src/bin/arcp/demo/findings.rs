//! What the demo has seen, and what it should have seen and has not.

use std::collections::BTreeSet;
use std::time::Duration;

use arcp_driver::SessionId;

use super::cable::Cut;
use super::tap::Numbers;
use crate::text::{count, grouped};

/// What was observed.
#[derive(Debug, Default)]
pub(super) struct Findings {
    missed: Vec<String>,
    /// Events and ends that the client handed on to the application.
    pub(super) handed_on: u64,
    /// Events and ends of delegated jobs, which were shown as they came over the wire.
    pub(super) of_delegated: u64,
    pub(super) sessions: BTreeSet<SessionId>,
    pub(super) losses: u64,
    pub(super) resumes: u64,
    /// Gaps the client told of.
    pub(super) gaps_told: u64,
    pub(super) cuts: Vec<Cut>,
}

impl Findings {
    /// Notes whether something that must be seen was seen.
    pub(super) fn expect(&mut self, what: impl Into<String>, seen: bool) {
        if !seen {
            self.missed.push(what.into());
        }
    }

    /// How many events and ends were shown.
    const fn shown(&self) -> u64 {
        self.handed_on + self.of_delegated
    }

    /// What was not seen.
    pub(super) fn missed(&self) -> &[String] {
        &self.missed
    }

    /// Judges the connection as a whole.
    pub(super) fn judge(&mut self, numbers: Option<Numbers>) {
        let cut_inside = matches!(self.cuts.as_slice(), [cut] if cut.delivered < cut.of);
        self.expect("one cut, with bytes on their way", cut_inside);
        self.expect("a lost connection", self.losses >= 1);
        self.expect("a resume by the client itself", self.resumes >= 1);
        self.expect("one session all the way", self.sessions.len() == 1);
        let Some(numbers) = numbers else {
            self.expect("numbered events", false);
            return;
        };
        let Numbers { received, first, missing, of_delegated, .. } = numbers;
        self.expect("numbers from 1 on", first == 1);
        self.expect("no gap in the numbers", missing == 0 && self.gaps_told == 0);
        self.expect(
            format!("each of the {received} events shown once (there are {})", self.shown()),
            received == self.shown() && self.of_delegated == of_delegated,
        );
    }

    /// The line at the end.
    pub(super) fn facts(&self, numbers: Option<Numbers>, wall: Duration) -> String {
        let Numbers { received, first, last, missing, .. } = numbers.unwrap_or_default();
        let gaps = missing.max(self.gaps_told);
        format!(
            "{} received, event_seq {} to {}, {}, {}, {:.2} s",
            count(received, "event"),
            grouped(first),
            grouped(last),
            count(gaps, "gap"),
            count(self.resumes, "resume"),
            wall.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> (Findings, Numbers) {
        let numbers = Numbers { received: 40, first: 1, last: 40, missing: 0, repeats: 0, of_delegated: 3 };
        let mut findings =
            Findings { handed_on: 37, of_delegated: 3, losses: 1, resumes: 1, ..Findings::default() };
        findings.sessions.extend(SessionId::new("sess_1"));
        findings.cuts.push(Cut { delivered: 10, of: 20 });
        (findings, numbers)
    }

    #[test]
    fn a_good_run_misses_nothing() {
        let (mut findings, numbers) = good();
        findings.judge(Some(numbers));
        assert_eq!(findings.missed(), [] as [String; 0]);
        let facts = findings.facts(Some(numbers), Duration::from_millis(2_350));
        assert_eq!(facts, "40 events received, event_seq 1 to 40, 0 gaps, 1 resume, 2.35 s");
    }

    #[test]
    fn everything_that_is_wrong_is_noticed() {
        type Spoil = fn(&mut Findings, &mut Numbers);
        let table: [(&str, Spoil); 10] = [
            ("one cut", |findings, _| findings.cuts.clear()),
            ("one cut", |findings, _| findings.cuts[0].delivered = 20),
            ("lost connection", |findings, _| findings.losses = 0),
            ("resume", |findings, _| findings.resumes = 0),
            ("one session", |findings, _| findings.sessions.extend(SessionId::new("sess_2"))),
            ("from 1", |_, numbers| numbers.first = 2),
            ("no gap", |_, numbers| numbers.missing = 1),
            ("no gap", |findings, _| findings.gaps_told = 1),
            ("there are 41", |findings, _| findings.handed_on = 38),
            ("there are 40", |_, numbers| numbers.of_delegated = 2),
        ];
        for (named, spoil) in table {
            let (mut findings, mut numbers) = good();
            spoil(&mut findings, &mut numbers);
            findings.judge(Some(numbers));
            assert!(
                matches!(findings.missed(), [one] if one.contains(named)),
                "{named}: {:?}",
                findings.missed()
            );
        }
        let (mut findings, _) = good();
        findings.judge(None);
        assert_eq!(findings.missed(), ["numbered events"]);
    }
}
