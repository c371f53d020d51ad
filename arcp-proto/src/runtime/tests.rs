//! The endpoint against scripted peers, in virtual time, over the in-memory store.

mod harness;
mod jobs;
mod sessions;
mod vectors;
