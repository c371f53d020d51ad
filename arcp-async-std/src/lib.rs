//! ARCP on async-std: WebSocket and stdio transports over futures-io, and helpers that spawn what `arcp-driver` leaves to
//! its caller.
//!
//! ```no_run
//! use arcp_driver::{JobContext, Runtime};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder()
//!     .bearer("demo", "alice")
//!     .agent("echo@1.0.0", |_job: JobContext, input: String| async move { Ok(input) })
//!     .build()?;
//! arcp_async_std::serve(runtime, "127.0.0.1:7777").await?;
//! # Ok(())
//! # }
//! ```
//!
//! async-std is no longer developed. Everything here but three small files is written over futures-io, so moving to another
//! executor of that family means writing those three again.

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
pub use timer::AsyncStdTimer;
