//! A client: one session with a runtime, kept up over any number of connections.

mod connector;
mod driver;
mod follow;
mod line;
mod list;
mod request;
mod view;

use std::fmt;
use std::sync::Arc;

use arcp_proto::agent::Versions;
use arcp_proto::client::{ClosedReason, Connected, RequestError};
use arcp_proto::config::ClientConfig;
use arcp_proto::entropy::Entropy;
use arcp_proto::error::ApiMisuse;
use arcp_proto::id::{JobId, SessionId};

use crate::entropy::{NoEntropy, OsEntropy};
use crate::queue::{Sender, bounded};
use crate::timer::Timer;

pub use connector::Connector;
pub use driver::Driver;
pub use list::JobList;
pub use request::{Cancel, Pending, Submit, Subscribe};
pub use view::{SessionEvent, SessionEvents, SessionState};

pub(crate) use follow::{Feed, News, Taken};
pub(crate) use request::Command;
pub(crate) use view::View;

/// A client of one runtime. Cheap to clone; all clones share the session.
///
/// Connecting, resuming and submitting again happen by themselves, in the [`Driver`] that comes with it. When the last
/// client and the last of its jobs are dropped the session is closed.
///
/// ```no_run
/// # use arcp_driver::{Client, ClientError, JobError};
/// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut job = client.submit("summarise").input(&"a long text").await?;
/// while let Some(event) = job.next().await {
///     println!("{:?}", event?);
/// }
/// let summary: String = job.result().await?;
/// client.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    link: Link,
}

/// How handles reach the driver.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) commands: Sender<Command>,
    pub(crate) view: Arc<View>,
}

impl Link {
    /// Why nothing reaches the driver.
    pub(crate) fn why_closed(&self) -> ClientError {
        match self.view.state() {
            SessionState::Closed(reason) => ClientError::Closed(reason),
            _ => ClientError::DriverDropped,
        }
    }
}

impl Client {
    /// A client, and the driver that does its work: a future to be run until it ends, which it does when the session is
    /// over. Nothing is spawned here, and nothing happens before the driver is polled.
    ///
    /// `connector` and `timer` are the executor's.
    ///
    /// # Errors
    /// [`NoEntropy`] where the operating system gives no random numbers.
    pub fn with<C: Connector, T: Timer>(
        connector: C,
        config: ClientConfig,
        timer: T,
    ) -> Result<(Self, Driver<C, T>), NoEntropy> {
        Ok(Self::with_entropy(connector, config, timer, Box::new(OsEntropy::new()?)))
    }

    /// As [`Client::with`], with ids and back-off drawn from `entropy`; for tests that must repeat.
    pub fn with_entropy<C: Connector, T: Timer>(
        connector: C,
        config: ClientConfig,
        timer: T,
        entropy: Box<dyn Entropy + Send>,
    ) -> (Self, Driver<C, T>) {
        // What waits here is bounded by who sends it: one command for each request that is awaited, and one for each batch
        // of events that was taken.
        let (commands, receiver) = bounded(usize::MAX);
        let view = Arc::new(View::new());
        let driver = Driver::new(connector, config, timer, entropy, receiver, view.clone());
        (Self { link: Link { commands, view } }, driver)
    }

    /// Submits a job to `name` or `name@version`. Resolves to the [`Job`](crate::Job) once the runtime has accepted it.
    ///
    /// Every submit carries an idempotency key, so a lost connection never runs a job twice.
    pub fn submit(&self, agent: impl Into<String>) -> Submit<'_> {
        Submit::new(self, agent.into())
    }

    /// Follows a job that was submitted elsewhere: in another session, or by another principal, if the runtime shows it to
    /// this one. Resolves to a [`Watch`](crate::Watch).
    ///
    /// A job that a job of this session delegated is in this session's stream already: what came of it before cannot be
    /// asked for here, only in another session. [`Submit::children`] has it from its first event.
    ///
    /// ```no_run
    /// # async fn example(client: arcp_driver::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut running = client.jobs().status("running").agent("summarise");
    /// if let Some(newest) = running.next().await {
    ///     let mut watch = client.watch(&newest?.job_id).history().await?;
    ///     while let Some(event) = watch.next().await {
    ///         println!("{:?}", event?);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, job: &JobId) -> Subscribe<'_> {
        self.subscribe(job)
    }

    /// The same as [`Client::watch`], by the protocol's name.
    pub fn subscribe(&self, job: &JobId) -> Subscribe<'_> {
        Subscribe::new(self, job.clone())
    }

    /// Asks the runtime to cancel a job of this client's principal that no living session owns: one that another session
    /// submitted can be cancelled here once that session is over (D-21). See [`Job::cancel`](crate::Job::cancel) for one
    /// that was submitted here.
    pub fn cancel(&self, job: &JobId) -> Cancel<'_> {
        Cancel::new(&self.link, job.clone())
    }

    /// Lists the jobs that this client's principal may see, newest first, whichever session they were submitted in: its own,
    /// and those of others that the runtime shows it.
    pub fn jobs(&self) -> JobList {
        JobList::new(self.link.clone())
    }

    /// Waits until the session is open.
    ///
    /// # Errors
    /// The session is over.
    pub async fn connected(&self) -> Result<Arc<Connected>, ClientError> {
        let wanted = |state: &SessionState| match state {
            SessionState::Connecting | SessionState::Disconnected => None,
            SessionState::Connected(connected) => Some(Ok(connected.clone())),
            SessionState::Closed(reason) => Some(Err(ClientError::Closed(reason.clone()))),
            SessionState::DriverDropped => Some(Err(ClientError::DriverDropped)),
        };
        std::future::poll_fn(|cx| self.link.view.poll_until(cx, wanted)).await
    }

    /// The agents that the runtime offers to this client's principal, by name, each with its versions and which of them a
    /// bare name means. They are what the runtime said when the connection was opened; waits until it is.
    ///
    /// ```no_run
    /// # async fn example(client: arcp_driver::Client) -> Result<(), arcp_driver::ClientError> {
    /// for (name, versions) in client.agents().await?.iter() {
    ///     println!("{name} {:?}, by default {:?}", versions.versions, versions.default);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The session is over.
    pub async fn agents(&self) -> Result<Arc<Vec<(String, Versions)>>, ClientError> {
        Ok(Arc::clone(&self.connected().await?.agents))
    }

    /// Where the session stands.
    #[must_use]
    pub fn state(&self) -> SessionState {
        self.link.view.state()
    }

    /// What happens to the session from here on.
    pub fn events(&self) -> SessionEvents {
        self.link.view.listen()
    }

    /// The session's id; `None` before the first connection. Another session takes its place if it cannot be resumed.
    #[must_use]
    pub fn session_id(&self) -> Option<SessionId> {
        self.link.view.session_id()
    }

    /// Connects at once, if the client is waiting to try again: the network is back, the machine has woken up.
    pub fn reconnect_now(&self) {
        let _ = self.link.commands.force(Command::ReconnectNow);
    }

    /// Closes the session and waits until that is done, at most about a second. Jobs go on in the runtime.
    pub async fn close(&self) {
        let _ = self.link.commands.force(Command::Close);
        let over = |state: &SessionState| match state {
            SessionState::Closed(_) | SessionState::DriverDropped => Some(()),
            _ => None,
        };
        std::future::poll_fn(|cx| self.link.view.poll_until(cx, over)).await;
    }
}

#[cfg(feature = "testing")]
impl Client {
    /// What all clones share, and no other client.
    pub(crate) const fn view(&self) -> &Arc<View> {
        &self.link.view
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &self.state()).finish()
    }
}

/// Why a client's request failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The request cannot be made like this.
    #[error(transparent)]
    Misuse(#[from] ApiMisuse),
    /// The runtime refused it, or did not answer in time.
    #[error("{0}")]
    Request(RequestError),
    /// The session is over.
    #[error("the session is over: {0}")]
    Closed(Arc<ClosedReason>),
    /// The client's driver was dropped.
    #[error("the client's driver was dropped")]
    DriverDropped,
}

impl From<RequestError> for ClientError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}
