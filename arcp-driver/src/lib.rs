//! The executor-neutral layer of ARCP.
pub mod lines;
#[cfg(all(unix, feature = "stdio"))]
pub mod stdio;
pub mod transport;
pub mod upgrade;
pub mod url;
#[cfg(feature = "websocket")]
pub mod websocket;
