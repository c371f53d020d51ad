//! The endpoint against scripted peers, in virtual time, over the in-memory store.

mod cancel;
mod chunks;
mod flow;
mod gating;
mod harness;
mod idempotency;
mod jobs;
mod limits;
mod properties;
mod recovery;
mod resume;
mod sessions;
mod subscribe;
mod vectors;
