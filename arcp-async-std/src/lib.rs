//! ARCP on async-std.
#[cfg(unix)]
pub mod stdio;
pub mod websocket;
