//! Sans-IO core of ARCP.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod agent;
pub mod chunk;
pub mod client;
mod close;
pub mod config;
pub mod entropy;
pub mod error;
pub mod feature;
mod heartbeat;
pub mod id;
pub mod replay;
pub mod runtime;
pub mod secret;
pub mod time;
mod timer;
pub mod trace;
mod transition;
pub mod wire;

pub use close::CloseCode;
