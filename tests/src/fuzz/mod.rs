//! What the fuzz targets do with their bytes, as plain functions: a fuzzer explores them, and `tests/corpus.rs` runs
//! them over known inputs on every build (WIR-1, WIR-4).
//!
//! Every function takes any bytes at all and panics where a promise is broken.

mod agent_ref;
mod agents;
mod amount;
mod books;
mod choices;
mod client_frames;
mod digest;
mod envelope;
mod explore;
mod host;
mod inclusion;
mod json;
mod lease;
mod lease_match;
mod lease_path;
mod lease_seeds;
mod lease_subset;
mod lease_text;
mod lease_url;
mod lines;
mod meaning;
mod payloads;
mod peer;
mod recovery;
mod rfc3339;
mod runtime_frames;
mod scan_value;
mod seeds;
mod two_peers;
mod world;

pub use agent_ref::agent_ref;
pub use amount::amount;
pub use client_frames::client_frames;
pub use digest::digest;
pub use envelope::envelope;
pub use explore::Exploration;
pub use lease::lease;
pub use lease_match::lease_match;
pub use lease_path::lease_path;
pub use lease_subset::lease_subset;
pub use lease_url::{is_read_alike, lease_url};
pub use lines::lines;
pub use payloads::payloads;
pub use recovery::recovery;
pub use rfc3339::rfc3339;
pub use runtime_frames::runtime_frames;
pub use scan_value::scan_value;
pub use seeds::seeds;
pub use two_peers::two_peers;
pub use world::world;

/// One fuzz target: takes any bytes, panics where a promise is broken.
pub type Body = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Body); 18] = [
    ("envelope", envelope),
    ("lines", lines),
    ("scan_value", scan_value),
    ("rfc3339", rfc3339),
    ("agent_ref", agent_ref),
    ("lease_match", lease_match),
    ("lease_subset", lease_subset),
    ("lease_path", lease_path),
    ("lease_url", lease_url),
    ("amount", amount),
    ("lease", lease),
    ("payloads", payloads),
    ("digest", digest),
    ("runtime_frames", runtime_frames),
    ("client_frames", client_frames),
    ("two_peers", two_peers),
    ("recovery", recovery),
    ("world", world),
];
