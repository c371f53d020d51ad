//! The Agent Runtime Control Protocol as pure state machines: no IO, no clock, no threads, no async, no randomness of
//! its own. Embed it in any executor, simulator or fuzzer.
//!
//! ```text
//!                 frames, time, answers                     frames, time
//!                 handle_*  │                               │  handle_*
//!                           ▼                               ▼
//!  agents ─handle_agent─▶ RuntimeEndpoint               ClientEndpoint ◀─submit, cancel, subscribe, taken─ application
//!                           │  all sessions and jobs        │  one session
//!                 poll_*    ▼                               ▼  poll_*
//!                 Output, frames, deadline                  Output, frames, deadline
//!                           └──────────── wire ─────────────┘
//! ```
//!
//! Both endpoints have the same four kinds of methods: **inputs** (`handle_*`), **commands** (plain verbs), **outputs**
//! (`poll_*`) and **getters**; see [`runtime::RuntimeEndpoint`] and [`client::ClientEndpoint`]. What an endpoint wants done is one
//! exhaustive enum, so a driver that forgets an effect does not compile. Same inputs give the same outputs, byte for byte.
//!
//! Most programs want `arcp-tokio`, which drives this crate for them. A complete loop of one's own:
//!
//! ```no_run
#![doc = include_str!("../examples/serve_lines.rs")]
//! ```
//!
//! The crate is `no_std` with `alloc`.
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
pub mod lease;
pub mod observe;
pub mod replay;
pub mod runtime;
pub mod secret;
pub mod time;
mod timer;
pub mod trace;
mod transition;
pub mod wire;

pub use close::CloseCode;
