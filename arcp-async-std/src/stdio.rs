//! The process's own standard streams and child runtimes as transports (protocol §10.2). Both are served by plain
//! threads, which need no executor.

pub use arcp_driver::stdio::{BlockingReader, BlockingWriter, ChildGuard, own_stdio, spawn};
