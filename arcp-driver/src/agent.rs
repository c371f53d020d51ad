//! Agents: plain async functions, and the error they end with.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arcp_proto::error::ErrorCode;
use arcp_proto::lease::Denial;
use arcp_proto::runtime::{AgentEnd, AgentFailure};
use arcp_proto::wire::RawJson;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::{DelegationError, JobContext, OperationError};

pub(crate) type Run = Pin<Box<dyn Future<Output = AgentEnd> + Send>>;

/// An agent: an async function of a [`JobContext`] and an input.
///
/// The input is anything serde can deserialize, the output anything it can serialize; `serde_json::Value` takes and
/// returns any JSON. An input that does not fit ends the job with `INVALID_REQUEST` before the function is called.
///
/// ```
/// use arcp_driver::{Agent, AgentError, JobContext};
/// use serde_json::Value;
///
/// async fn double(_job: JobContext, number: i64) -> Result<i64, AgentError> {
///     number.checked_mul(2).ok_or_else(|| AgentError::invalid("the number is too large"))
/// }
///
/// let typed = Agent::new(double);
/// let closure = Agent::new(|_job: JobContext, input: Value| async move { Ok(input) });
/// ```
#[derive(Clone)]
pub struct Agent(Arc<dyn Fn(JobContext, RawJson) -> Run + Send + Sync>);

impl Agent {
    /// The agent that runs this function.
    pub fn new<F, Fut, In, Out>(function: F) -> Self
    where
        F: Fn(JobContext, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, AgentError>> + Send + 'static,
        In: DeserializeOwned,
        Out: Serialize,
    {
        Self(Arc::new(move |job, input| {
            // Decoded here and not inside the future, so that `In` need not be `Send`.
            match decode::<In>(&input) {
                Ok(input) => {
                    let running = function(job, input);
                    Box::pin(async move {
                        match running.await.and_then(|out| Ok(RawJson::encode(&out)?)) {
                            Ok(value) => AgentEnd::Value { value, summary: None },
                            Err(error) => AgentEnd::Failure(error.0),
                        }
                    })
                }
                Err(error) => {
                    let failure = AgentError::invalid(format!("the input does not fit the agent: {error}"));
                    Box::pin(std::future::ready(AgentEnd::Failure(failure.0)))
                }
            }
        }))
    }

    /// Starts it. May panic like the function itself.
    pub(crate) fn start(&self, job: JobContext, input: RawJson) -> Run {
        (self.0)(job, input)
    }
}

/// A client that has no input to give sends `{}` (protocol §3.1), which therefore also fits an agent that wants none.
fn decode<In: DeserializeOwned>(input: &RawJson) -> Result<In, serde_json::Error> {
    input.decode().or_else(|error| {
        let is_left_out = input.as_str().chars().filter(|c| !c.is_ascii_whitespace()).eq(['{', '}']);
        if is_left_out { RawJson::null().decode().map_err(|_| error) } else { Err(error) }
    })
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Agent")
    }
}

/// Why an agent failed: words for the submitter, and a code.
///
/// Any error becomes one through `?`, with the error's words followed by those of its sources, and with the code
/// `INTERNAL_ERROR`; a denied operation or a failed delegation keeps its own code. Words over 1 024 bytes are cut.
///
/// The words reach the submitter: an agent that must not show what failed inside it replaces them.
///
/// ```
/// use arcp_driver::{AgentError, ErrorCode};
///
/// fn port(text: &str) -> Result<u16, AgentError> {
///     let port = text.parse()?;
///     if port < 1024 {
///         return Err(AgentError::new("the port is reserved")
///             .code(ErrorCode::PermissionDenied)
///             .agent_code("port.reserved"));
///     }
///     Ok(port)
/// }
///
/// assert_eq!(port("x").unwrap_err().to_string(), "INTERNAL_ERROR: invalid digit found in string");
/// assert_eq!(port("80").unwrap_err().to_string(), "PERMISSION_DENIED (port.reserved): the port is reserved");
/// ```
pub struct AgentError(AgentFailure);

impl AgentError {
    /// An `INTERNAL_ERROR` with these words.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(AgentFailure { code: ErrorCode::InternalError, message: message.into(), agent_code: None })
    }

    /// An `INVALID_REQUEST` with these words: the input cannot be used.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(message).code(ErrorCode::InvalidRequest)
    }

    /// With another code. An agent may end with `PERMISSION_DENIED`, `BUDGET_EXHAUSTED`, `LEASE_EXPIRED`,
    /// `LEASE_SUBSET_VIOLATION`, `INVALID_REQUEST`, `AGENT_NOT_AVAILABLE` and `AGENT_VERSION_NOT_AVAILABLE`; any other code
    /// reaches the submitter as `INTERNAL_ERROR` (protocol §3.4).
    #[must_use]
    pub fn code(mut self, code: ErrorCode) -> Self {
        self.0.code = code;
        self
    }

    /// With a finer code of the agent's own, which the submitter finds in `details.agent_code` (D-87).
    #[must_use]
    pub fn agent_code(mut self, code: impl Into<String>) -> Self {
        self.0.agent_code = Some(code.into());
        self
    }
}

impl<E: std::error::Error + 'static> From<E> for AgentError {
    fn from(error: E) -> Self {
        let code = code_of(&error);
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let words = cause.to_string();
            // Many errors repeat their source's words in their own.
            if !message.ends_with(&words) {
                message.push_str(": ");
                message.push_str(&words);
            }
            source = cause.source();
        }
        Self::new(message).code(code)
    }
}

/// What a lease denied, or a delegation came to, keeps its code on the way out of an agent.
fn code_of(error: &dyn Any) -> ErrorCode {
    let operation = error.downcast_ref::<OperationError>().map(OperationError::code);
    let delegation = error.downcast_ref::<DelegationError>().map(DelegationError::code);
    let denial = error.downcast_ref::<Denial>().map(Denial::code);
    operation.or(delegation).or(denial).unwrap_or(ErrorCode::InternalError)
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.code)?;
        if let Some(code) = &self.0.agent_code {
            write!(f, " ({code})")?;
        }
        write!(f, ": {}", self.0.message)
    }
}

impl fmt::Debug for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentError")
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("agent_code", &self.0.agent_code)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the page did not load")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn an_error_brings_its_sources() {
        let error = AgentError::from(Outer("x".parse::<u8>().unwrap_err()));
        assert_eq!(error.0.message, "the page did not load: invalid digit found in string");
        assert_eq!(error.0.code, ErrorCode::InternalError);
        assert_eq!(error.0.agent_code, None);
    }
}
