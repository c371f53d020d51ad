//! The endpoint against scripted peers, in virtual time, over the in-memory store.

mod flow;
mod gating;
mod harness;
mod jobs;
mod limits;
mod recovery;
mod resume;
mod sessions;
mod vectors;
