//! The simulated world, with a fuzzer's bytes as its decisions.

use crate::sim;

/// What the randomness of the endpoints comes from: a world is repeated by its bytes alone.
const SEED: u64 = 1;

/// The bytes decide what happens in the world of [`sim`], which the oracle judges: every property it knows holds
/// whatever goes wrong, and when nothing does any more everything comes to its end (`docs/testing.md`).
pub fn world(data: &[u8]) {
    if let Err(failure) = sim::run(SEED, data) {
        panic!("seed {SEED}: {}", failure.violation);
    }
}
