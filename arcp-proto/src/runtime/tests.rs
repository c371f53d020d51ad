//! The endpoint against scripted peers, in virtual time, over the in-memory store.

mod acceptances;
mod cancel;
mod chunks;
mod flow;
mod followers;
mod frames;
mod gating;
mod harness;
mod idempotency;
mod jobs;
mod limits;
mod list;
mod oracle;
mod peers;
mod policy;
mod properties;
mod recovery;
mod resume;
mod retention;
mod sessions;
mod subscribe;
mod vectors;
