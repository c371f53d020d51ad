//! docs
mod cable;
mod clock;
mod executor;
mod link;
mod random;
mod render;
mod seeds;
mod simulation;
mod store;
mod trace;
mod world;

pub use clock::{Sleep, WallClock};
pub use link::Link;
pub use seeds::for_seeds;
pub use simulation::{Failure, Outcome, Simulation};
pub use trace::{Direction, Entry, Fate, Frame, Trace};
pub use world::{Elapsed, Spawned, StartError, World};
