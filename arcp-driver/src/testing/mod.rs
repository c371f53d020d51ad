//! Your agents and clients under virtual time, from a seed: in one thread, without an executor, the same every time.
//!
//! A [`Simulation`] is a runtime built by your own [`RuntimeBuilder`](crate::RuntimeBuilder), ordinary [`Client`](crate::Client)s of
//! it, and the links between them. A scenario does with them what your programs do, and what networks, machines and operators do to
//! them: it cuts and stalls links, crashes the runtime and starts it again on the same store, kills clients, sets clocks. An hour
//! takes no longer than what happens in it, because time passes only when nobody has anything left to do.
//!
//! Which task runs next, how long each frame takes, what a crash leaves behind, every id and every token follow from the seed. The
//! same seed gives the same [`Trace`], to the byte, on every machine; another seed gives another order of things. [`for_seeds`] runs a
//! test in many worlds and says which one failed.
//!
//! ```toml
//! [dev-dependencies]
//! arcp-driver = { version = "0.1", features = ["testing"] }
//! ```
//!
//! # An example
//!
//! An agent that takes a minute for each step, a link that is cut, and a runtime that crashes:
//!
//! ```
//! use std::time::Duration;
//! use arcp_driver::testing::Simulation;
//! use arcp_driver::{AgentError, JobContext, Runtime};
//!
//! async fn steps(job: JobContext, to: u64) -> Result<u64, AgentError> {
//!     for step in 1..=to {
//!         job.sleep(Duration::from_secs(60)).await?;
//!         job.progress(step).of(to).await?;
//!     }
//!     Ok(to)
//! }
//!
//! let simulation = Simulation::seeded(7)
//!     .runtime(|_| Runtime::builder().bearer("alice's token", "alice").agent("steps", steps));
//! let outcome = simulation.run(async |world| {
//!     let client = world.connect("alice's token");
//!     let mut job = client.submit("steps").input(&10).await?;
//!     world.link(&client).cut_after_events(3);
//!     assert_eq!(job.result::<u64>().await?, 10); // the client came back by itself, and missed nothing
//!
//!     let mut job = client.submit("steps").input(&10).await?;
//!     world.sleep(Duration::from_secs(90)).await;
//!     world.crash_runtime();
//!     world.restart_runtime();
//!     assert!(job.result::<u64>().await.is_err()); // this agent cannot go on in another process, and the client is told
//!     Ok(())
//! });
//! let trace = outcome.trace();
//! assert!(trace.says("client1#1 is cut") && trace.says("the runtime crashes"));
//! assert_eq!(trace.arrived("job.error").count(), 1);
//! assert!(outcome.elapsed() > Duration::from_secs(11 * 60));
//! outcome.unwrap();
//! ```
//!
//! # What it takes
//!
//! Everything that is to be simulated must take its time, its randomness and its turns from the world. Agents wait with
//! [`JobContext::sleep`](crate::JobContext::sleep) and scenarios with [`World::sleep`]; timers, sockets and tasks of an executor do not
//! work here, because there is none, and threads, clocks and random numbers of the operating system make runs differ, as does the order
//! of a `HashMap`. What an agent needs from outside is best given to it by the closure that makes the [runtime](Simulation::runtime),
//! where a test can put something else in its place.
//!
//! What is simulated is what the drivers promise to run on: transports that deliver whole frames in order until they are cut, a store
//! that keeps what it has answered. Frames cross the links as text, and the drivers are those of production; only sockets and TLS have
//! no part in it.
mod cable;
mod clock;
mod dialer;
mod end;
mod executor;
mod link;
mod log;
mod random;
mod render;
mod seeds;
mod simulation;
mod store;
mod trace;
mod world;

pub use clock::{Elapsed, Sleep, WallClock};
pub use link::Link;
pub use seeds::for_seeds;
pub use simulation::{Failure, Outcome, Simulation};
pub use trace::{Direction, Entry, Fate, Frame, Trace};
pub use world::{Spawned, StartError, World};
