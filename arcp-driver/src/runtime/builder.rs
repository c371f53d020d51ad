//! Building a runtime.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use arcp_proto::agent::{AgentRef, InvalidAgent};
use arcp_proto::config::RuntimeConfig;
use arcp_proto::entropy::Entropy;
use arcp_proto::observe::{ObservedJob, Sight};
use arcp_proto::runtime::{Recovery, RuntimeEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::endpoint::Endpoint;
use super::leases::LeasePolicy;
use super::observer::Observer;
use super::policy::Rules;
use super::provisioner::Provisioner;
use super::task::tasks;
use super::turn::Parts;
use super::verifier::{Verification, Verifier};
use super::{End, RuntimeHandle, Tasks};
use crate::agent::{Agent, AgentError};
use crate::context::JobContext;
use crate::entropy::{NoEntropy, OsEntropy};
use crate::queue::Inbox;
use crate::store::{MemoryStore, Store};
use crate::timer::Timer;

/// A runtime that is ready to start.
pub struct Runtime {
    config: RuntimeConfig,
    agents: HashMap<String, Agent>,
    verification: Verification,
    leases: Option<Arc<dyn LeasePolicy>>,
    provisioner: Option<Arc<dyn Provisioner>>,
    store: Box<dyn Store>,
    entropy: Box<dyn Entropy + Send>,
    observer: Observer,
}

impl Runtime {
    /// A runtime without agents that admits nobody, with everything else at its default.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder {
            config: RuntimeConfig::default(),
            agents: HashMap::new(),
            verification: Verification::default(),
            leases: None,
            provisioner: None,
            store: None,
            entropy: None,
            observer: Observer::default(),
            rules: Rules::default(),
            restartable: Vec::new(),
            error: None,
        }
    }

    /// Starts it, on whatever executor runs what comes out:
    ///
    /// * the handle accepts connections and shuts the runtime down;
    /// * the endpoint is a future that must be run until it ends; every session and job lives in it;
    /// * the tasks are a stream of futures, each to be spawned: agents at work.
    ///
    /// Nothing is spawned here. `timer` is the executor's.
    pub fn start<T: Timer>(self, timer: T) -> (RuntimeHandle, Endpoint<T>, Tasks) {
        let inbox = Inbox::new();
        let end = Arc::new(End::default());
        let (task_sender, tasks) = tasks();
        let handle = RuntimeHandle::new(inbox.clone(), end.clone());
        let Self { mut config, agents, verification, leases, provisioner, store, entropy, observer } = self;
        config.provisions = provisioner.is_some();
        config.durable = store.is_durable();
        let recovery = Recovery::new(config, entropy, timer.now());
        let parts = Parts {
            store,
            timer,
            agents,
            verification,
            leases,
            provisioner,
            inbox,
            tasks: task_sender,
            observer,
        };
        (handle, Endpoint::new(recovery, parts, end), tasks)
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("config", &self.config)
            .field("verification", &self.verification)
            .finish_non_exhaustive()
    }
}

/// Options of a [`Runtime`]. What is wrong with one is said by [`RuntimeBuilder::build`].
#[must_use = "a builder does nothing until `build`"]
pub struct RuntimeBuilder {
    config: RuntimeConfig,
    agents: HashMap<String, Agent>,
    verification: Verification,
    leases: Option<Arc<dyn LeasePolicy>>,
    provisioner: Option<Arc<dyn Provisioner>>,
    store: Option<Box<dyn Store>>,
    entropy: Option<Box<dyn Entropy + Send>>,
    observer: Observer,
    rules: Rules,
    restartable: Vec<AgentRef>,
    error: Option<BuildError>,
}

/// Why a runtime cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A name that is no agent's.
    #[error("`{name}` names no agent: {reason}")]
    Agent {
        /// The name.
        name: String,
        /// What is allowed.
        reason: InvalidAgent,
    },
    /// Two agents of one name and version.
    #[error("the agent `{0}` was added twice")]
    DuplicateAgent(String),
    /// An agent that was not added under this name is to be run again.
    #[error("no agent was added as `{0}`, so it cannot be run again")]
    UnknownAgent(String),
    /// One token for two principals. The token is not shown.
    #[error("the token of `{0}` belongs to another principal already")]
    DuplicateToken(String),
    /// Nobody could open a session.
    #[error("the runtime admits nobody: give it a bearer token or a verifier")]
    AdmitsNobody,
    /// Ids and tokens cannot be made.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

impl RuntimeBuilder {
    /// Admits whoever presents this bearer token, as this principal. May be given many times.
    pub fn bearer(mut self, token: &str, principal: impl Into<Arc<str>>) -> Self {
        let principal = principal.into();
        if !self.verification.add(token, principal.clone()) {
            self.fail(BuildError::DuplicateToken(principal.to_string()));
        }
        self
    }

    /// Has this verifier judge all credentials that no [`RuntimeBuilder::bearer`] named.
    pub fn verifier(mut self, verifier: impl Verifier) -> Self {
        self.verification.set_verifier(Arc::new(verifier));
        self
    }

    /// Has this policy decide what of a lease is granted. Without one what is asked for in due form is granted.
    pub fn leases(mut self, policy: impl LeasePolicy) -> Self {
        self.leases = Some(Arc::new(policy));
        self.config.decides_leases = true;
        self
    }

    /// Adds an agent under `name` or `name@version`: any async function of a [`JobContext`] and an input. The version
    /// added last is what the bare name means.
    pub fn agent<F, Fut, In, Out>(mut self, name: &str, function: F) -> Self
    where
        F: Fn(JobContext, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, AgentError>> + Send + 'static,
        In: DeserializeOwned,
        Out: Serialize,
    {
        self.add(name, Agent::new(function));
        self
    }

    /// Adds many agents, as a table of them may come from elsewhere.
    pub fn agents<N: AsRef<str>>(mut self, agents: impl IntoIterator<Item = (N, Agent)>) -> Self {
        for (name, agent) in agents {
            self.add(name.as_ref(), agent);
        }
        self
    }

    /// Has jobs of this agent, added under this name, run again after the process that ran them has ended, instead of ending
    /// with `INTERNAL_ERROR`: under the same job id, with the same input, with what the agent last gave to
    /// [`JobContext::checkpoint`], and with another credential if they had one. What they say continues their stream. It takes
    /// a [durable](Store::is_durable) store. Jobs that were delegated end all the same, since nobody waits for them any
    /// more; a job that is run again three times without a new checkpoint is not run again.
    pub fn restartable(mut self, name: &str) -> Self {
        match AgentRef::parse(name) {
            Err(reason) => self.fail(BuildError::Agent { name: name.to_owned(), reason }),
            Ok(reference) => self.restartable.push(reference),
        }
        self
    }

    /// Has jobs given credentials that this provisioner makes, and revokes when the job ends. It is asked for every job, before
    /// that is accepted. Without a store that is [durable](Store::is_durable) nobody could say after a crash what must be
    /// revoked, so nothing is asked for and nothing offered to clients then (D-52).
    pub fn provisioner(mut self, provisioner: impl Provisioner) -> Self {
        self.provisioner = Some(Arc::new(provisioner));
        self
    }

    /// Keeps everything in this store; otherwise in memory.
    pub fn store(mut self, store: impl Store + 'static) -> Self {
        self.store = Some(Box::new(store));
        self
    }

    /// The name clients are shown.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Changes the configuration of the core: intervals, windows and limits.
    ///
    /// ```
    /// # use arcp_driver::Runtime;
    /// # use std::time::Duration;
    /// let builder = Runtime::builder().config(|config| {
    ///     config.heartbeat_interval = Duration::from_secs(10);
    ///     config.limits.running_jobs = 8;
    /// });
    /// ```
    pub fn config(mut self, change: impl FnOnce(&mut RuntimeConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Has `observer` see everything worth a log line, a counter or an audit entry. It runs in the endpoint's task, so it
    /// must not take its time: it hands over what it wants to keep. One that panics is not asked again.
    pub fn observer(mut self, observer: impl FnMut(&RuntimeEvent) + Send + 'static) -> Self {
        self.observer = Observer::new(observer);
        self
    }

    /// Lets principals see jobs of others: `rule` is told who looks and at which job, and says whether that principal may
    /// see [`Nothing`](Sight::Nothing) of it, [`List`](Sight::List) it, or [`Follow`](Sight::Follow) its events. Everybody
    /// follows their own jobs and cancels them, and nobody else does; without a rule nobody sees those of others.
    ///
    /// The rule is asked often, in the endpoint's task, so it must answer at once from what it knows. When that changes, say
    /// [`RuntimeHandle::policy_changed`]. A rule that panics has said [`Nothing`](Sight::Nothing).
    ///
    /// ```
    /// # use arcp_driver::{Runtime, Sight};
    /// let builder = Runtime::builder().observe(|viewer, job| match viewer {
    ///     "operator" => Sight::Follow,
    ///     "auditor" if job.agent.name() == "payout" => Sight::List,
    ///     _ => Sight::Nothing,
    /// });
    /// ```
    pub fn observe(mut self, rule: impl Fn(&str, &ObservedJob<'_>) -> Sight + Send + Sync + 'static) -> Self {
        self.rules.job = Some(Box::new(rule));
        self
    }

    /// Offers agents to some principals only: `rule` is told a principal and an agent's name. Where it says no, the agent
    /// does not exist for that principal. Jobs that were accepted go on. A rule that panics has said no.
    ///
    /// ```
    /// # use arcp_driver::Runtime;
    /// let builder = Runtime::builder().offer(|principal, agent| agent != "deploy" || principal == "ci");
    /// ```
    pub fn offer(mut self, rule: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        self.rules.agent = Some(Box::new(rule));
        self
    }

    /// Takes ids and tokens from here and not from the operating system; for tests that must repeat.
    pub fn entropy(mut self, entropy: impl Entropy + Send + 'static) -> Self {
        self.entropy = Some(Box::new(entropy));
        self
    }

    /// Uses this store and this entropy where none were given.
    #[cfg(feature = "testing")]
    pub(crate) fn or_with<S: Store + 'static>(
        mut self,
        store: impl FnOnce() -> S,
        entropy: impl Entropy + Send + 'static,
    ) -> Self {
        self.store.get_or_insert_with(|| Box::new(store()));
        self.entropy.get_or_insert_with(|| Box::new(entropy));
        self
    }

    /// The runtime.
    ///
    /// # Errors
    /// [`BuildError`] for the first option that cannot be used.
    pub fn build(mut self) -> Result<Runtime, BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.verification.is_empty() {
            return Err(BuildError::AdmitsNobody);
        }
        for agent in &self.restartable {
            if !self.agents.contains_key(agent.as_str()) || self.config.agents.set_restartable(agent).is_err()
            {
                return Err(BuildError::UnknownAgent(agent.to_string()));
            }
        }
        if let Some(visibility) = self.rules.into_visibility() {
            self.config.visibility = visibility;
        }
        let entropy = match self.entropy {
            Some(entropy) => entropy,
            None => Box::new(OsEntropy::new()?),
        };
        Ok(Runtime {
            config: self.config,
            agents: self.agents,
            verification: self.verification,
            leases: self.leases,
            provisioner: self.provisioner,
            store: self.store.unwrap_or_else(|| Box::new(MemoryStore::new())),
            entropy,
            observer: self.observer,
        })
    }

    fn add(&mut self, name: &str, agent: Agent) {
        match AgentRef::parse(name) {
            Err(reason) => self.fail(BuildError::Agent { name: name.to_owned(), reason }),
            Ok(reference) => {
                self.config.agents.add(&reference);
                if self.agents.insert(name.to_owned(), agent).is_some() {
                    self.fail(BuildError::DuplicateAgent(name.to_owned()));
                }
            }
        }
    }

    fn fail(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }
}

impl fmt::Debug for RuntimeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeBuilder")
            .field("config", &self.config)
            .field("verification", &self.verification)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    async fn echo(_: JobContext, input: Value) -> Result<Value, AgentError> {
        Ok(input)
    }

    #[test]
    fn the_first_fault_is_named() {
        let fault = |builder: RuntimeBuilder| builder.build().map(|_| ()).unwrap_err();
        assert_eq!(fault(Runtime::builder()), BuildError::AdmitsNobody);
        let open = || Runtime::builder().bearer("t", "alice");
        assert_eq!(fault(open().bearer("t", "bob")), BuildError::DuplicateToken("bob".into()));
        assert_eq!(
            fault(open().agent("a@1", echo).agent("a@1", echo)),
            BuildError::DuplicateAgent("a@1".into())
        );
        assert!(
            matches!(fault(open().agent("A", echo).bearer("t", "bob")), BuildError::Agent { name, .. } if name == "A")
        );
        assert!(open().agent("a@1", echo).agent("a@2", echo).agent("b", echo).build().is_ok());
    }
}
