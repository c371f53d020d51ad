//! Runs: one world from its bytes to its end, and the smallest bytes that still show a failure.

use super::World;
use super::choices::expand;
use super::count::Counts;
use super::journal::Journal;
use crate::oracle::Violation;

/// A broken promise, and what leads to it.
#[derive(Debug)]
pub struct Failure {
    /// The seed, which the endpoints' randomness comes from too.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
    /// The bytes that decide.
    pub bytes: Vec<u8>,
    /// What happened until then.
    pub counts: Counts,
}

/// One world of these bytes, to its end.
///
/// # Errors
/// A promise was broken.
pub fn run(seed: u64, bytes: &[u8]) -> Result<Counts, Box<Failure>> {
    let mut world = World::new(bytes, seed, Journal::silent());
    world.play();
    let World { mut counts, oracle, .. } = world;
    oracle.tally(&mut counts);
    match oracle.into_verdict() {
        None => Ok(counts),
        Some(violation) => Err(Box::new(Failure { seed, violation, bytes: bytes.to_vec(), counts })),
    }
}

/// The world of a seed.
///
/// # Errors
/// A promise was broken.
pub fn seeded(seed: u64) -> Result<Counts, Box<Failure>> {
    run(seed, &bytes_of(seed))
}

/// The world of a seed in which the runtime's process dies as soon as so many appends are stored, and before it hears of the
/// last of them; `None` if there are not so many.
///
/// # Errors
/// A promise was broken.
pub fn dying(seed: u64, appends: u64) -> Result<Option<Counts>, Box<Failure>> {
    let bytes = bytes_of(seed);
    let mut world = World::new(&bytes, seed, Journal::silent());
    world.store.last = Some(appends);
    world.play();
    let World { mut counts, oracle, store, .. } = world;
    oracle.tally(&mut counts);
    match oracle.into_verdict() {
        None => Ok(store.last.is_none().then_some(counts)),
        Some(violation) => Err(Box::new(Failure { seed, violation, bytes, counts })),
    }
}

/// What happens in the world of these bytes, line by line; of the seed's own without any.
#[must_use]
pub fn replay(seed: u64, bytes: Option<&[u8]>) -> (Vec<String>, Option<Violation>) {
    let own = bytes_of(seed);
    let mut world = World::new(bytes.unwrap_or(&own), seed, Journal::written());
    world.play();
    let World { journal, oracle, .. } = world;
    (journal.into_lines(), oracle.into_verdict())
}

/// Fewer and smaller bytes with which the same promise is broken.
#[must_use]
pub fn minimise(failure: &Failure) -> Vec<u8> {
    let property = failure.violation.property;
    let fails =
        |bytes: &[u8]| run(failure.seed, bytes).is_err_and(|found| found.violation.property == property);
    let mut best = failure.bytes.clone();
    // What comes last first: the shortest prefix, to a byte.
    let (mut low, mut high) = (0, best.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if fails(&best[..middle]) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if fails(&best[..high]) {
        best.truncate(high);
    }
    // Then pieces are taken out or made calm.
    let mut size = best.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < best.len() {
            let end = (at + size).min(best.len());
            let mut without = best.clone();
            without.drain(at..end);
            if fails(&without) {
                best = without;
                continue;
            }
            if best[at..end].iter().any(|byte| *byte != 0) {
                let mut calm = best.clone();
                calm[at..end].fill(0);
                if fails(&calm) {
                    best = calm;
                }
            }
            at = end;
        }
        size /= 2;
    }
    best
}

/// Seeds differ in how long faults last, too.
fn bytes_of(seed: u64) -> Vec<u8> {
    let length = [300, 900, 1_800, 3_000][usize::try_from(seed % 4).unwrap_or(0)];
    expand(seed, length)
}

impl World<'_> {
    fn play(&mut self) {
        self.drain();
        self.rage();
        if self.oracle.verdict().is_none() {
            self.settle();
        }
    }
}
