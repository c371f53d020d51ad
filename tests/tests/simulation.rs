//! A few hundred simulated worlds on every build; `simulate` runs more.

use arcp_tests::sim::{Counts, seeded};

/// The first seeds of all.
const SEEDS: u64 = 250;

#[test]
fn no_promise_is_broken_in_the_first_worlds() {
    let mut counts = Counts::default();
    for seed in 1..=SEEDS {
        match seeded(seed) {
            Ok(more) => counts.add(&more),
            Err(failure) => panic!("seed {seed}: {}", failure.violation),
        }
    }
    // A world in which little happens shows little.
    assert!(counts.events > 40 * SEEDS, "{} events", counts.events);
    assert!(counts.faults() > 20 * SEEDS, "{} faults", counts.faults());
    assert!(counts.resumed > SEEDS, "{} resumes", counts.resumed);
    assert!(counts.credentials > SEEDS / 2, "{} credentials", counts.credentials);
    assert!(counts.rotations > SEEDS / 50, "{} rotations", counts.rotations);
    assert!(counts.values > SEEDS / 2, "{} frames with values", counts.values);
}

#[test]
fn the_same_seed_is_the_same_world() {
    let lines = |seed| arcp_tests::sim::replay(seed, None).0;
    assert_eq!(lines(7), lines(7));
    assert_ne!(lines(7), lines(8));
}
