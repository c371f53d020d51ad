//! Clients with an application that means to have its jobs done: it writes down what it asks for before it asks, and
//! goes on with that after a crash.

use std::collections::VecDeque;

use arcp_proto::client::{
    ClientEndpoint, ClientEvent, ListQuery, RequestError, RequestId, ResumeState, Submission, Subscription,
};
use arcp_proto::config::ClientConfig;
use arcp_proto::id::JobId;
use arcp_proto::lease::LeaseRequest;
use arcp_proto::time::Now;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::peer::TransportKind;
use std::time::Duration;

use super::choices::Choices;
use super::clock::Clock;
use super::plan::{ClientPlan, PRINCIPALS};
use super::provisioner::MODELS;
use crate::oracle::Oracle;
use crate::random::Random;

/// What an application has written down.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) key: String,
    pub(super) spec: u64,
    request: Option<RequestId>,
    pub(super) job: Option<JobId>,
    pub(super) is_over: bool,
}

/// One client over all its lives.
pub(super) struct Client {
    pub(super) index: usize,
    pub(super) principal: usize,
    /// `None` while the process is dead.
    pub(super) endpoint: Option<ClientEndpoint>,
    pub(super) lives: u64,
    pub(super) config: ClientConfig,
    pub(super) transport: TransportKind,
    pub(super) clock: Clock,
    pub(super) link: Option<usize>,
    /// What a later process starts from.
    pub(super) persisted: Option<ResumeState>,
    pub(super) dial_at: Option<u64>,
    pub(super) restart_at: Option<u64>,
    pub(super) remembered_at: VecDeque<u64>,
    pub(super) asleep_until: u64,
    /// The application takes nothing.
    pub(super) is_idle: bool,
    untaken: Vec<u64>,
    pub(super) work: Vec<Work>,
    pub(super) watched: Vec<JobId>,
    listing: Option<RequestId>,
    /// Set once an endpoint ended by itself.
    pub(super) is_over: bool,
    pub(super) left: bool,
}

impl Client {
    pub(super) fn new(index: usize, plan: ClientPlan) -> Self {
        Self {
            index,
            principal: plan.principal,
            endpoint: None,
            lives: 0,
            config: plan.config,
            transport: plan.transport,
            clock: plan.clock,
            link: None,
            persisted: None,
            dial_at: None,
            restart_at: Some(0),
            remembered_at: VecDeque::new(),
            asleep_until: 0,
            is_idle: false,
            untaken: Vec::new(),
            work: Vec::new(),
            watched: Vec::new(),
            listing: None,
            is_over: false,
            left: false,
        }
    }

    /// A process starts.
    pub(super) fn live(&mut self, at: u64, seed: u64, oracle: &mut Oracle) {
        self.restart_at = None;
        if self.lives > 0 {
            // Another process, another monotonic clock.
            self.clock.restart(1_000_000 * self.lives);
        }
        let mut config = self.config.clone();
        config.resume = self.persisted.clone();
        let now = self.clock.now(at);
        self.lives += 1;
        oracle.client_lives(self.index, self.persisted.is_some());
        let entropy = Box::new(Random::new(seed ^ (self.lives << 32) ^ (self.index as u64) << 48));
        let mut endpoint = ClientEndpoint::new(config, entropy, now);
        for work in self.work.iter_mut().filter(|work| !work.is_over) {
            work.request = endpoint.submit(now, submission(&work.key, work.spec)).ok();
        }
        self.endpoint = Some(endpoint);
        self.is_over = false;
        self.untaken.clear();
        self.listing = None;
        self.watched.clear();
    }

    /// The process is gone, and all that was not persisted.
    pub(super) fn die(&mut self) {
        self.endpoint = None;
        self.dial_at = None;
        self.remembered_at.clear();
        self.untaken.clear();
        self.is_idle = false;
    }

    pub(super) fn submit(&mut self, now: Now, key: String, spec: u64) {
        let request =
            self.endpoint.as_mut().and_then(|client| client.submit(now, submission(&key, spec)).ok());
        self.work.push(Work { key, spec, request, job: None, is_over: false });
    }

    pub(super) fn cancel(&mut self, now: Now, job: &JobId) {
        if let Some(endpoint) = &mut self.endpoint {
            let _ = endpoint.cancel(now, job, None);
        }
    }

    pub(super) fn subscribe(&mut self, now: Now, job: &JobId, start: Subscription, oracle: &mut Oracle) {
        if let Some(endpoint) = &mut self.endpoint
            && endpoint.subscribe(now, job, start).is_ok()
        {
            oracle.attaches(self.index, job.as_str());
            self.watched.push(job.clone());
        }
    }

    pub(super) fn unsubscribe(&mut self, now: Now, choices: &mut Choices<'_>, oracle: &mut Oracle) {
        if self.watched.is_empty() {
            return;
        }
        let job = self.watched.swap_remove(choices.index(self.watched.len()));
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.unsubscribe(now, &job);
            oracle.detaches(self.index, job.as_str());
        }
    }

    pub(super) fn list(&mut self, now: Now, page: u64, oracle: &mut Oracle) {
        if let Some(endpoint) = &mut self.endpoint
            && self.listing.is_none()
        {
            self.listing = endpoint.list_jobs(now, ListQuery::default().page_size(page)).ok();
            oracle.lists(self.index, PRINCIPALS[self.principal]);
        }
    }

    /// The application is told something.
    pub(super) fn told(&mut self, now: Now, event: &ClientEvent, oracle: &mut Oracle) {
        oracle.told(self.index, event);
        match event {
            ClientEvent::JobEvent { seq, .. } => self.take(now, *seq),
            ClientEvent::JobEnded { job, seq, .. } => {
                for work in self.work.iter_mut().filter(|work| work.job.as_ref() == Some(job)) {
                    work.is_over = true;
                }
                self.watched.retain(|watched| watched != job);
                self.take(now, *seq);
            }
            ClientEvent::Accepted { request, job, .. } => {
                for work in self.work.iter_mut().filter(|work| work.request == Some(*request)) {
                    work.job = Some(job.clone());
                }
            }
            ClientEvent::Rejected { request, error } => {
                self.rejected(*request, error);
            }
            ClientEvent::Jobs { request, page } if self.listing == Some(*request) => {
                let next = page.next_cursor.clone();
                self.listing = None;
                oracle.page_read(self.index, page);
                if let (Some(cursor), Some(endpoint)) = (next, &mut self.endpoint) {
                    let query = ListQuery::default().page_size(2).cursor(cursor);
                    self.listing = endpoint.list_jobs(now, query).ok();
                }
            }
            ClientEvent::Closed(_) => self.is_over = true,
            _ => {}
        }
    }

    fn rejected(&mut self, request: RequestId, error: &RequestError) {
        if self.listing == Some(request) {
            self.listing = None;
        }
        if matches!(error, RequestError::SessionClosed) {
            return;
        }
        for work in self.work.iter_mut().filter(|work| work.request == Some(request)) {
            work.is_over = true;
        }
    }

    fn take(&mut self, now: Now, seq: Option<u64>) {
        let Some(seq) = seq else { return };
        if self.is_idle {
            self.untaken.push(seq);
        } else if let Some(endpoint) = &mut self.endpoint {
            endpoint.taken(now, seq);
        }
    }

    /// The application takes what has come meanwhile.
    pub(super) fn wake(&mut self, now: Now) {
        self.is_idle = false;
        for seq in std::mem::take(&mut self.untaken) {
            if let Some(endpoint) = &mut self.endpoint {
                endpoint.taken(now, seq);
            }
        }
    }

    /// Whether everything it asked for is answered and over.
    pub(super) fn is_done(&self) -> bool {
        self.work.iter().all(|work| work.is_over)
    }
}

/// The jobs of this world. The same number is always the same job.
pub(super) const SPECS: u64 = 10;

fn submission(key: &str, spec: u64) -> Submission {
    let lease = LeaseRequest::default();
    let (agent, lease) = match spec {
        1 => ("b", lease.grant("tool.call", ["search.*"]).grant("model.use", [MODELS]).budget("USD:1.00")),
        2 => (
            "c",
            lease
                .grant("tool.call", ["search.*", "mail.send"])
                .grant("agent.delegate", ["a", "b"])
                .budget("USD:1")
                .budget("EUR:2.5"),
        ),
        3 => ("c@1.0.0", lease.grant("tool.call", ["search.web"]).expires_in(Duration::from_millis(1_500))),
        4 => ("a", lease.grant("tool.call", ["mail.send"])),
        5 => ("nobody", lease),
        6 => (
            "b",
            lease
                .grant("agent.delegate", ["a", "b"])
                .grant("tool.call", ["search.*"])
                .grant("model.use", [MODELS])
                .budget("USD:0.30"),
        ),
        9 => (
            "c",
            lease
                .grant("tool.call", ["search.*"])
                .grant("agent.delegate", ["a", "b"])
                .budget("USD:2")
                .expires_in(Duration::from_secs(5)),
        ),
        7 => ("c", lease.grant("tool.call", ["search.web"]).expires_in(Duration::from_secs(315_360_000))),
        _ => ("a", lease),
    };
    let input = RawJson::parse(format!(r#"{{"spec":{spec}}}"#)).expect("JSON");
    let submission = Submission::new(agent, input).idempotency_key(key).lease(lease);
    if spec == 8 { submission.max_runtime_sec(1) } else { submission }
}
