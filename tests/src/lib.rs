//! What the tests share: a world in virtual time, wire traces, a relay that cuts real connections, and both drivers behind
//! one face.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

pub mod crash;
pub mod fuzz;
pub mod link;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod oracle;
pub mod planted;
pub mod random;
pub mod relay;
pub mod sim;
pub mod stack;
pub mod trace;

/// Says what is wrong with a program's arguments and which there are, and ends it with exit code 2.
pub fn refuse_arguments(error: &str, usage: &str) -> ! {
    eprintln!("{error}\n\n{usage}");
    std::process::exit(2)
}

/// The README's examples, which compile or run like any other.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The guide's examples.
#[cfg(doctest)]
#[doc = include_str!("../../docs/leases.md")]
pub struct Leases;

/// The same for credentials.
#[cfg(doctest)]
#[doc = include_str!("../../docs/credentials.md")]
pub struct Credentials;
