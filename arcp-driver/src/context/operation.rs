//! Guarded operations: judged by the lease before they are done, told on the job's stream (protocol §5.4).

use std::error::Error;
use std::fmt;
use std::future::Future;

use arcp_proto::error::{ApiMisuse, ErrorCode, WireError};
use arcp_proto::lease::{Canonical, Capability, Denial};
use arcp_proto::wire::RawJson;
use arcp_proto::wire::emission::ToolError;
use arcp_proto::wire::event::Emission;
use futures_channel::oneshot;
use serde::Serialize;

use super::{JobContext, encode};
use crate::runtime::Said;

/// Why an operation of an agent was not done, or failed.
///
/// Through `?` it ends the job with the code of the denial; an agent that can do without the operation goes on instead.
#[derive(Debug)]
#[non_exhaustive]
pub enum OperationError {
    /// The lease does not permit it, has ended, or its budget is used up. It names the capability, the target and the
    /// patterns that were tried.
    Denied(Denial),
    /// It was permitted, was done, and failed.
    Failed(Box<dyn Error + Send + Sync>),
    /// It could not be announced: its arguments are no JSON object, or the job has ended.
    Misuse(ApiMisuse),
}

/// What one fetch came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop<R> {
    /// This is it.
    Done(R),
    /// It is elsewhere.
    To(String),
}

/// Scheme, host and port of a canonical URL.
fn origin_of(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let path = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    &url[..path]
}

impl OperationError {
    /// The code that says it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Denied(denial) => denial.code(),
            Self::Failed(error) => {
                error.downcast_ref::<ToolError>().map_or(ErrorCode::InternalError, |error| error.code)
            }
            Self::Misuse(_) => ErrorCode::InternalError,
        }
    }

    /// The error of the `tool_result`.
    fn as_result(&self) -> ToolError {
        match self {
            Self::Denied(denial) => ToolError::from(&WireError::from(denial)),
            Self::Failed(error) => match error.downcast_ref::<ToolError>() {
                Some(error) => error.clone(),
                None => ToolError::from(&WireError::new(ErrorCode::InternalError, error.to_string())),
            },
            Self::Misuse(misuse) => {
                ToolError::from(&WireError::new(ErrorCode::InternalError, misuse.to_string()))
            }
        }
    }
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denial) => {
                write!(f, "{denial}")?;
                match denial {
                    Denial::NotCanonical { target, .. } => write!(f, ": `{target}`"),
                    Denial::NotGranted { target, patterns, .. } => {
                        write!(f, ": `{target}`")?;
                        match patterns.as_slice() {
                            [] => write!(f, ", for which it has no patterns"),
                            patterns => write!(f, " matches none of `{}`", patterns.join("`, `")),
                        }
                    }
                    Denial::Exhausted { currency } => write!(f, " in {currency}"),
                    Denial::Stopped | Denial::Expired => Ok(()),
                }
            }
            Self::Failed(error) => write!(f, "{error}"),
            Self::Misuse(misuse) => write!(f, "{misuse}"),
        }
    }
}

impl Error for OperationError {}

impl From<ApiMisuse> for OperationError {
    fn from(misuse: ApiMisuse) -> Self {
        Self::Misuse(misuse)
    }
}

impl JobContext {
    /// Asks whether the job may do something at this moment, and says nothing of it on its stream. What is opened,
    /// fetched or called then must be the canonical target that comes back (D-93).
    ///
    /// Everything said before counts: a cost that was reported has been charged.
    ///
    /// # Errors
    /// The first reason against it; [`Denial::Stopped`] once the job is being stopped or over.
    pub async fn authorize(
        &self,
        capability: Capability,
        target: impl Into<String>,
    ) -> Result<Canonical, Denial> {
        let (answer, answered) = oneshot::channel();
        let asked = Said::Authorize { capability, target: target.into(), answer };
        if self.job.queue.send(asked).await.is_err() {
            return Err(Denial::Stopped);
        }
        answered.await.unwrap_or(Err(Denial::Stopped))
    }

    /// Calls a tool: says so, asks the lease for `tool.call`, runs `call`, and says what came of it.
    ///
    /// `args` must serialize to a JSON object. What `call` returns goes into the `tool_result`; a result that no frame holds
    /// is replaced there by its size. A tool that fails with a [`ToolError`] decides what the result says; an upstream that
    /// refuses for money should do so with `BUDGET_EXHAUSTED`.
    ///
    /// ```
    /// # use arcp_driver::{AgentError, JobContext};
    /// # use serde_json::{Value, json};
    /// # async fn fetch(_: &str) -> Result<String, std::io::Error> { Ok(String::new()) }
    /// async fn research(job: JobContext, topic: String) -> Result<Value, AgentError> {
    ///     let page = job.tool("search.web", &json!({"query": topic}), || fetch(&topic)).await?;
    ///     job.cost("cost.search", "USD:0.01").await?;
    ///     Ok(json!({"page": page}))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`OperationError`]; the job goes on either way.
    pub async fn tool<A, F, Fut, R, E>(&self, tool: &str, args: &A, call: F) -> Result<R, OperationError>
    where
        A: Serialize + ?Sized,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<R, E>>,
        R: Serialize,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let call_id = self.call_id();
        let announced = Emission::tool_call(tool, &encode("args", args)?, &call_id)?;
        let shown = |value: &R| RawJson::encode(value).unwrap_or_else(|_| RawJson::null());
        self.guarded(&call_id, announced, Capability::ToolCall, tool, |_| call(), shown).await
    }

    /// Does a guarded operation of any kind: says so with a `tool_call` of the capability's name, asks the lease, runs
    /// `act` on the canonical target, and says whether it worked. The outcome itself stays here.
    ///
    /// # Errors
    /// [`OperationError`]; the job goes on either way.
    pub async fn perform<F, Fut, R, E>(
        &self,
        capability: Capability,
        target: &str,
        act: F,
    ) -> Result<R, OperationError>
    where
        F: FnOnce(Canonical) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let call_id = self.call_id();
        let args = encode("args", &std::collections::BTreeMap::from([("target", target)]))?;
        let announced = Emission::tool_call(capability.as_str(), &args, &call_id)?;
        self.guarded(&call_id, announced, capability, target, act, |_| RawJson::null()).await
    }

    /// Reads below a path: `act` gets the canonical one. [`perform`](Self::perform) with `fs.read`.
    ///
    /// The lease judges names. Links on the disk are beyond it: open the path below a directory handle of the lease's root.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn read_path<F, Fut, R, E>(&self, path: &str, act: F) -> Result<R, OperationError>
    where
        F: FnOnce(Canonical) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.perform(Capability::FsRead, path, act).await
    }

    /// Writes below a path, as [`read_path`](Self::read_path) reads, with `fs.write`.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn write_path<F, Fut, R, E>(&self, path: &str, act: F) -> Result<R, OperationError>
    where
        F: FnOnce(Canonical) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.perform(Capability::FsWrite, path, act).await
    }

    /// Fetches a URL: `act` gets the canonical one. [`perform`](Self::perform) with `net.fetch`. `act` must not follow
    /// redirects, which [`fetch_following`](Self::fetch_following) is for, and must connect to no address that
    /// [`Canonical::permits_address`] refuses: only a pattern that [names the host](Canonical::names_one_host) permits
    /// addresses that are private, loopback or link-local.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn fetch<F, Fut, R, E>(&self, url: &str, act: F) -> Result<R, OperationError>
    where
        F: FnOnce(Canonical) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.perform(Capability::NetFetch, url, act).await
    }

    /// Fetches a URL and follows redirects, each of which is a fetch of its own: announced, judged and told (D-41). `act`
    /// fetches one canonical URL without following anything and says whether that was all. A place it is sent on to is an
    /// absolute URL, or a path on the same host.
    ///
    /// ```
    /// # use arcp_driver::{AgentError, Hop, JobContext};
    /// # async fn get(_: &str) -> Result<(u16, String), std::io::Error> { Ok((200, String::new())) }
    /// async fn page(job: JobContext, url: String) -> Result<String, AgentError> {
    ///     let page = job.fetch_following(&url, 5, |url| async move {
    ///         Ok::<_, std::io::Error>(match get(url.as_str()).await? {
    ///             (301 | 302 | 307 | 308, location) => Hop::To(location),
    ///             (_, page) => Hop::Done(page),
    ///         })
    ///     });
    ///     Ok(page.await?)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`OperationError`] of the first hop that is denied or fails; [`OperationError::Failed`] after more than `redirects`.
    pub async fn fetch_following<F, Fut, R, E>(
        &self,
        url: &str,
        redirects: usize,
        mut act: F,
    ) -> Result<R, OperationError>
    where
        F: FnMut(Canonical) -> Fut,
        Fut: Future<Output = Result<Hop<R>, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut url = url.to_owned();
        for _ in 0..=redirects {
            let mut origin = String::new();
            let hop = self.fetch(&url, |canonical| {
                origin.push_str(origin_of(canonical.as_str()));
                act(canonical)
            });
            match hop.await? {
                Hop::Done(result) => return Ok(result),
                Hop::To(place) if place.starts_with('/') && !place.starts_with("//") => {
                    url = format!("{origin}{place}");
                }
                Hop::To(place) => url = place,
            }
        }
        Err(OperationError::Failed(format!("more redirects than the {redirects} allowed").into()))
    }

    /// Invokes a model. [`perform`](Self::perform) with `model.use`.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn use_model<F, Fut, R, E>(&self, model: &str, act: F) -> Result<R, OperationError>
    where
        F: FnOnce(Canonical) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.perform(Capability::ModelUse, model, act).await
    }

    /// What every guarded operation is: announced, then judged, then done, then told. `shown` is what the stream gets of
    /// the outcome.
    async fn guarded<F, Fut, R, E>(
        &self,
        call_id: &str,
        announced: Emission,
        capability: Capability,
        target: &str,
        act: F,
        shown: impl FnOnce(&R) -> RawJson,
    ) -> Result<R, OperationError>
    where
        F: FnOnce(Canonical) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.emit(announced).await?;
        let done = match self.authorize(capability, target).await {
            Ok(canonical) => act(canonical).await.map_err(|error| OperationError::Failed(error.into())),
            Err(denial) => Err(OperationError::Denied(denial)),
        };
        self.conclude(call_id, done.as_ref().map(shown)).await?;
        done
    }

    async fn conclude(
        &self,
        call_id: &str,
        result: Result<RawJson, &OperationError>,
    ) -> Result<(), ApiMisuse> {
        let emission = match result {
            Ok(value) => {
                let whole = Emission::tool_result(call_id, Ok(&value))?;
                if whole.encoded_len() <= self.job.frame_limit {
                    whole
                } else {
                    let omitted = std::collections::BTreeMap::from([("omitted_bytes", value.len())]);
                    Emission::tool_result(call_id, Ok(&encode("result", &omitted)?))?
                }
            }
            Err(error) => Emission::tool_result(call_id, Err(&error.as_result()))?,
        };
        match self.emit(emission).await {
            // A job that has ended is told by the operation's own outcome.
            Ok(()) | Err(ApiMisuse::JobEnded) => Ok(()),
            Err(misuse) => Err(misuse),
        }
    }
}
