//! The official Python SDK against our runtime, and our client against its runtime, case by case; `docs/interop.md` says
//! what was seen. The Python side is in `tests/interop`; facts are judged here.
//!
//! `ARCP_PYTHON` names a Python that has the package. Without it every test is skipped, and says so; with
//! `ARCP_INTEROP=required`, as `.ci/run` sets it, that is a failure.
#![cfg(all(feature = "cli", unix))]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "interop_python/client.rs"]
mod client;
#[path = "cli/program.rs"]
#[expect(dead_code, reason = "the tests of the program use the rest")]
mod program;
#[path = "interop_python/python.rs"]
mod python;
#[path = "interop_python/relay.rs"]
mod relay;
#[path = "interop_python/runtime.rs"]
mod runtime;

/// Makes two tests of each case, an `async fn case(&Python, Way)`: one over WebSockets, one over standard streams.
macro_rules! both_ways {
    ($($case:ident: $websocket:ident, $stdio:ident;)*) => {$(
        #[tokio::test]
        async fn $websocket() {
            if let Some(python) = $crate::python::Python::find() {
                $case(&python, $crate::python::Way::WebSocket).await;
            }
        }

        #[tokio::test]
        async fn $stdio() {
            if let Some(python) = $crate::python::Python::find() {
                $case(&python, $crate::python::Way::Stdio).await;
            }
        }
    )*};
}
use both_ways;
