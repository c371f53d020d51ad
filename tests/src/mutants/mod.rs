//! Every small change that `cargo mutants` would make to the core, built together and tried one at a time.
//!
//! One build for each of some thousands of changes takes days. Here a copy of the core holds all of them behind a number
//! that the environment chooses, so that a change costs the tests that reach it and no build. The changes and their names
//! are `cargo mutants`' own.

mod build;
mod explained;
mod list;
mod own_tests;
mod places;
mod switches;
mod trial;

pub use explained::Explained;
pub use list::{Mutant, list};
pub use trial::{Outcome, Trial};
