//! Bugs planted by hand, one at a time, into a copy of the core: each must be caught by the property that names it, within
//! so many simulated sessions, or the oracle proves nothing.
//!
//! The bugs are rows of the text files in `tests/planted`; the core knows nothing of them.

pub mod hunt;
mod table;
mod workshop;

pub use table::{Bug, Build, Catcher, Edit, read_table};
pub use workshop::{Caught, Error, Workshop, ends_within};

/// Sessions, or runs of a fuzz body, within which a bug has to be caught.
pub const MOST_SESSIONS: u64 = 20_000;
