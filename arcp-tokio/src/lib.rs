//! ARCP on tokio: WebSocket and stdio transports, and helpers that spawn what `arcp-driver` leaves to its caller.
//!
//! ```no_run
//! use arcp_driver::{JobContext, Runtime};
//! use serde_json::Value;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder()
//!     .bearer("demo", "alice")
//!     .agent("echo@1.0.0", |_job: JobContext, input: Value| async move { Ok(input) })
//!     .build()?;
//! arcp_tokio::serve(runtime, "127.0.0.1:7777").await?;
//! # Ok(())
//! # }
//! ```
//!
//! A client of it is one line, see [`connect`](fn@connect). Everything that is not about tokio is in `arcp-driver`.

pub mod compat;
mod connect;
mod serve;
#[cfg(unix)]
pub mod stdio;
mod timer;
pub mod websocket;

#[cfg(unix)]
pub use connect::connect_child;
pub use connect::{ClientStartError, WebSocketConnector, connect, connector, spawn_client};
#[cfg(unix)]
pub use serve::serve_stdio;
pub use serve::{Server, Serving, serve, start};
pub use timer::TokioTimer;
