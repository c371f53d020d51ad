//! A few hundred simulated worlds on every build; `simulate` runs more.

use arcp_tests::sim::{Counts, Fault, dying, seeded};

/// The first seeds of all.
const SEEDS: u64 = 250;
/// Worlds that are tried with a crash at each boundary.
const BOUNDARY_SEEDS: std::ops::RangeInclusive<u64> = 1..=10;

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

/// Every append of these worlds is once the last that the runtime's process stored.
#[test]
fn no_promise_is_broken_by_a_crash_at_any_boundary() {
    let mut boundaries = 0;
    for seed in BOUNDARY_SEEDS {
        for appends in 1.. {
            match dying(seed, appends) {
                Ok(Some(counts)) => boundaries += u64::from(counts.of(Fault::RuntimeCrash) > 0),
                Ok(None) => break,
                Err(failure) => panic!("seed {seed}, dead behind append {appends}: {}", failure.violation),
            }
        }
    }
    assert!(boundaries > 500, "{boundaries} boundaries");
}

#[test]
fn the_same_seed_is_the_same_world() {
    let lines = |seed| arcp_tests::sim::replay(seed, None).0;
    assert_eq!(lines(7), lines(7));
    assert_ne!(lines(7), lines(8));
}
