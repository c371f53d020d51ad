//! The bodies of the targets. They are those of the tests, taken as source so that a fuzzer instruments neither the
//! drivers nor their dependencies.

#[path = "../tests/src/fuzz/mod.rs"]
pub mod fuzz;
