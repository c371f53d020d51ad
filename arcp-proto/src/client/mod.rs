//! The client endpoint.

mod output;

pub use output::{ClientEvent, ClosedReason, Connected, Output, RequestError, RequestId, ResumeState};
