//! The same test in many worlds.

use std::sync::{Arc, Mutex};

use super::executor::caught;
use super::simulation::{Simulation, described};
use super::trace::Trace;
use crate::queue::lock;

/// The environment variable that names the one seed to run.
const SEED: &str = "ARCP_SEED";

/// Runs a test once for each seed, and stops at the first that fails.
///
/// With the environment variable `ARCP_SEED` it runs for that seed only: this is how a failure is looked into.
///
/// ```
/// use arcp_driver::testing::for_seeds;
/// use arcp_driver::{AgentError, JobContext, Runtime};
///
/// async fn double(_: JobContext, number: u64) -> Result<u64, AgentError> {
///     Ok(2 * number)
/// }
///
/// for_seeds(0..20, |simulation| {
///     let outcome = simulation
///         .runtime(|_| Runtime::builder().bearer("alice's token", "alice").agent("double", double))
///         .run(async |world| {
///             let client = world.connect("alice's token");
///             world.link(&client).cut_after_frames(world.draw(3..10));
///             Ok(client.submit("double").input(&21).await?.result::<u64>().await?)
///         });
///     assert_eq!(outcome.unwrap(), 42);
/// });
/// ```
///
/// # Panics
/// If the test does: with the seed, what the test said, and the end of the trace of the world it ran last. Also if `ARCP_SEED` is no
/// number.
#[track_caller]
#[expect(clippy::panic, reason = "documented: that is how a test fails")]
pub fn for_seeds(seeds: impl IntoIterator<Item = u64>, test: impl Fn(Simulation)) {
    let run = |seed: u64| {
        let report = Arc::new(Mutex::new(Trace::default()));
        let mut simulation = Simulation::seeded(seed);
        simulation.report = Some(report.clone());
        let trace = || lock(&report).clone();
        caught(|| test(simulation)).err().map(|words| described(seed, &words, &trace()))
    };
    let failed = match std::env::var(SEED) {
        Ok(seed) => match seed.parse() {
            Ok(seed) => run(seed),
            Err(_) => panic!("{SEED} must be a number of 0 to {}", u64::MAX),
        },
        Err(_) => seeds.into_iter().find_map(run),
    };
    if let Some(description) = failed {
        panic!("{description}\nthe environment variable {SEED} set to this seed runs it alone");
    }
}
