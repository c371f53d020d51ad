//! What the fuzz targets do with their bytes, as plain functions: a fuzzer explores them, and `tests/corpus.rs` runs
//! them over known inputs on every build (WIR-1, WIR-4).
//!
//! Every function takes any bytes at all and panics where a promise is broken.

mod agent_ref;
mod choices;
mod client_frames;
mod digest;
mod envelope;
mod host;
mod json;
mod lines;
mod payloads;
mod peer;
mod recovery;
mod rfc3339;
mod runtime_frames;
mod scan_value;
mod seeds;
mod two_peers;

pub use agent_ref::agent_ref;
pub use client_frames::client_frames;
pub use digest::digest;
pub use envelope::envelope;
pub use lines::lines;
pub use payloads::payloads;
pub use recovery::recovery;
pub use rfc3339::rfc3339;
pub use runtime_frames::runtime_frames;
pub use scan_value::scan_value;
pub use seeds::seeds;
pub use two_peers::two_peers;

/// One fuzz target: takes any bytes, panics where a promise is broken.
pub type Body = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Body); 11] = [
    ("envelope", envelope),
    ("lines", lines),
    ("scan_value", scan_value),
    ("rfc3339", rfc3339),
    ("agent_ref", agent_ref),
    ("payloads", payloads),
    ("digest", digest),
    ("runtime_frames", runtime_frames),
    ("client_frames", client_frames),
    ("two_peers", two_peers),
    ("recovery", recovery),
];
