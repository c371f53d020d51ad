//! ARCP on tokio.
pub mod compat;
#[cfg(unix)]
pub mod stdio;
pub mod websocket;
