//! The bodies of the targets. They are those of the tests, taken as source so that a fuzzer builds neither the drivers nor
//! their dependencies.

#[path = "../tests/src/fuzz/mod.rs"]
pub mod fuzz;
#[path = "../tests/src/oracle/mod.rs"]
pub mod oracle;
#[path = "../tests/src/random.rs"]
pub mod random;
#[path = "../tests/src/sim/mod.rs"]
pub mod sim;
