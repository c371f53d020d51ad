//! Delegated jobs that come with the job they were delegated for (protocol §6).
//!
//! A submit may ask for the jobs that its own delegates, and for theirs in turn: its tree. The application is told of a
//! child before anything else of it. Not every runtime accepts a child in so many words, and a `job.accepted` has no
//! number, so that it can be lost; the `delegate` event of the parent names the child as well. It also names children
//! that are refused, which the parent's next event says.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::client::ClientEndpoint;
use crate::client::output::{ClientEvent, RequestId};
use crate::client::requests::{Ask, Subscription};
use crate::feature::Feature;
use crate::id::JobId;
use crate::time::Now;
use crate::wire::body::EventBody;
use crate::wire::event::{EventKind, EventPayload};
use crate::wire::job::{Accepted, Subscribed};

/// Children that are named and not told, and such that have ended.
const MAX_NAMED: usize = 1_024;

/// What a `delegate` event says of a child of which nothing has come.
#[derive(Debug)]
struct Named {
    tree: RequestId,
    parent: JobId,
    delegation: Option<String>,
    agent: String,
    /// It was subscribed to.
    is_asked: bool,
}

/// What is known of trees beside their jobs.
#[derive(Debug, Default)]
pub(super) struct Trees {
    /// Submits that ask for children and have no answer.
    asked: BTreeSet<RequestId>,
    named: BTreeMap<Box<str>, Named>,
    /// Children that have ended, while their tree goes on: the event that names one may come behind its end, and after a
    /// restart of the runtime its acceptance comes again (D-66).
    ended: BTreeMap<Box<str>, RequestId>,
    /// Trees that may have ended.
    changed: BTreeSet<RequestId>,
}

/// What an event says of the children of its job.
pub(super) enum Said {
    Delegated { child: JobId, delegation: Option<String>, agent: String },
    Refused(String),
    Nothing,
}

impl Trees {
    /// The submit asks for children.
    pub(super) fn ask(&mut self, request: RequestId) {
        self.asked.insert(request);
    }

    /// The submit has its answer. Says whether it asked for children.
    pub(super) fn answered(&mut self, request: RequestId) -> bool {
        self.asked.remove(&request)
    }

    /// A job of this tree is no more.
    pub(super) fn left(&mut self, tree: RequestId) {
        self.changed.insert(tree);
    }

    /// A child of this tree has ended.
    pub(super) fn ended(&mut self, tree: RequestId, child: &JobId) {
        if self.ended.len() >= MAX_NAMED {
            // Ids of one runtime rise, so that this is the oldest.
            self.ended.pop_first();
        }
        self.ended.insert(child.as_str().into(), tree);
    }

    /// What an event of any job says. Outcomes of tools are read only where one can be the refusal of a child.
    pub(super) fn read(&self, event: &EventPayload) -> Said {
        let may_refuse = event.kind == EventKind::ToolResult && !self.named.is_empty();
        if event.kind != EventKind::Delegate && !may_refuse {
            return Said::Nothing;
        }
        match EventBody::read(&event.kind, &event.body) {
            Ok(EventBody::Delegate { delegate_id, child_job_id: Some(child), agent, .. }) => {
                Said::Delegated { child, delegation: delegate_id, agent }
            }
            Ok(EventBody::ToolResult { call_id: Some(call), result: Err(_) }) => Said::Refused(call),
            _ => Said::Nothing,
        }
    }
}

impl ClientEndpoint {
    /// Wants no more children of this submit. Those that [`ClientEvent::ChildAccepted`] told of go on, each until it ends
    /// or is [abandoned](Self::abandon); [`ClientEvent::ChildrenEnded`] follows. To abandon the submitted job does the
    /// same.
    pub fn abandon_children(&mut self, now: Now, request: RequestId) {
        if !self.trees.answered(request) && self.jobs.has_tree(request) {
            self.close_tree(request);
        }
        self.settle(now);
    }

    /// A `job.accepted` that answers no submit.
    pub(super) fn on_child_accepted(&mut self, now: Now, job: JobId, accepted: Accepted) {
        let parent = accepted.parent_job_id.as_ref().and_then(|parent| self.jobs.find(parent.as_str()));
        let named = self.trees.named.get(job.as_str());
        let tree = named.map(|named| named.tree).or_else(|| parent?.tree);
        if self.is_told(&job) {
            self.ignored += 1;
        } else if let Some(tree) = tree {
            self.begin_child(now, job, tree, Box::new(accepted));
        } else if accepted.parent_job_id.is_none() {
            self.ignored += 1;
        } else if self.hands_on_others && self.jobs.adopt(&job).is_some() {
            self.event(ClientEvent::ChildAccepted { job, submit: None, accepted: Box::new(accepted) });
        } else {
            self.ignored += 1;
            self.jobs.disregard(&job);
        }
    }

    /// Whether the application knows of the job, or did until it ended.
    fn is_told(&self, job: &JobId) -> bool {
        self.jobs.find(job.as_str()).is_some_and(|job| !job.is_other())
            || self.trees.ended.contains_key(job.as_str())
    }

    /// Something came of a job nobody knows. Begins it if it is a child that its parent named, and says whether it is.
    pub(super) fn begin_named(&mut self, now: Now, job: &JobId) -> bool {
        let Some(named) = self.trees.named.get(job.as_str()) else { return false };
        let (tree, accepted) = (named.tree, named.as_accepted(job));
        self.begin_child(now, job.clone(), tree, Box::new(accepted))
    }

    /// A subscription to a child that its parent named was answered.
    pub(super) fn begin_subscribed(&mut self, now: Now, job: &JobId, subscribed: &Subscribed) {
        let Some(named) = self.trees.named.get(job.as_str()) else { return };
        let accepted = Accepted {
            agent: subscribed.agent.clone(),
            lease: subscribed.lease.clone(),
            lease_constraints: subscribed.lease_constraints.clone(),
            budget: subscribed.budget.clone(),
            credentials: subscribed.credentials.clone(),
            trace_id: subscribed.trace_id.clone(),
            ..named.as_accepted(job)
        };
        let tree = named.tree;
        if self.begin_child(now, job.clone(), tree, Box::new(accepted))
            && let Some(entry) = self.jobs.find_mut(job.as_str())
        {
            entry.subscribe_from(Subscription::History);
        }
    }

    fn begin_child(&mut self, now: Now, job: JobId, tree: RequestId, accepted: Box<Accepted>) -> bool {
        self.trees.named.remove(job.as_str());
        let Some(entry) = self.jobs.add_child(&job) else {
            self.ignored += 1;
            self.trees.left(tree);
            self.jobs.disregard(&job);
            return false;
        };
        entry.tree = Some(tree);
        entry.trace = accepted.trace_id.clone();
        entry.owe_after(0);
        self.event(ClientEvent::ChildAccepted { job: job.clone(), submit: Some(tree), accepted });
        self.release(now, &job);
        true
    }

    /// An event of `parent`, or its end, has been handed on; what it says of its children, unless it came before.
    pub(super) fn note_children(&mut self, now: Now, parent: &JobId, said: Option<Said>) {
        match said {
            None => {}
            Some(Said::Delegated { child, delegation, agent }) => {
                self.ask_for_named(now, parent);
                self.on_delegated(now, parent, child, delegation, agent);
            }
            Some(Said::Refused(call)) => {
                let Trees { named, changed, .. } = &mut self.trees;
                named.retain(|_, named| {
                    let is_refused = named.parent == *parent && named.delegation.as_ref() == Some(&call);
                    if is_refused {
                        changed.insert(named.tree);
                    }
                    !is_refused
                });
                self.ask_for_named(now, parent);
            }
            Some(Said::Nothing) => self.ask_for_named(now, parent),
        }
    }

    fn on_delegated(
        &mut self,
        now: Now,
        parent: &JobId,
        child: JobId,
        delegation: Option<String>,
        agent: String,
    ) {
        if self.is_told(&child) {
            return;
        }
        let Some(entry) = self.jobs.find(parent.as_str()) else { return };
        match entry.tree {
            Some(tree) if self.trees.named.len() < MAX_NAMED => {
                let named = Named { tree, parent: parent.clone(), delegation, agent, is_asked: false };
                self.trees.named.insert(child.as_str().into(), named);
                if self.jobs.is_held(child.as_str()) {
                    self.begin_named(now, &child);
                }
            }
            // Nothing comes here of the children of a job that is only followed.
            None if entry.submitted.is_none() && !entry.is_child => {}
            _ => self.jobs.disregard(&child),
        }
    }

    /// Subscribes to children of this job that were neither refused nor accepted. With a runtime of ours either comes next:
    /// what does not has got lost, or they ended before this session was there.
    fn ask_for_named(&mut self, now: Now, parent: &JobId) {
        if self.trees.named.is_empty() || !self.finds_children() {
            return;
        }
        let is_lost = |named: &&mut Named| !named.is_asked && named.parent == *parent;
        let mut asks = Vec::new();
        for (child, named) in self.trees.named.iter_mut().filter(|(_, named)| is_lost(named)) {
            asks.extend(named.ask(child));
        }
        for ask in asks {
            self.requests.add(ask);
        }
        self.send_waiting(now);
    }

    /// Another session took the place of the one in which these children were named.
    pub(super) fn named_before(&mut self) -> Vec<Ask> {
        self.trees.ended.clear();
        if !self.finds_children() {
            let named = core::mem::take(&mut self.trees.named);
            self.trees.changed.extend(named.values().map(|named| named.tree));
            return Vec::new();
        }
        self.trees.named.iter_mut().filter_map(|(child, named)| named.ask(child)).collect()
    }

    fn finds_children(&self) -> bool {
        self.is_core()
            && self.session.as_ref().is_some_and(|session| session.features.has(Feature::Subscribe))
    }

    /// A subscription to a child that its parent named was refused: it never became a job. Says whether it was one.
    pub(super) fn forget_named(&mut self, job: &JobId) -> bool {
        let Some(named) = self.trees.named.remove(job.as_str()) else { return false };
        self.trees.changed.insert(named.tree);
        true
    }

    /// Ends the trees of which nothing more comes.
    pub(super) fn end_trees(&mut self) {
        if self.trees.changed.is_empty() {
            return;
        }
        let finds_children = self.finds_children();
        while let Some(tree) = self.trees.changed.pop_first() {
            // Of children that cannot be asked for it is not certain that anything comes.
            let is_expected = finds_children && self.trees.named.values().any(|named| named.tree == tree);
            if !is_expected && !self.jobs.has_tree(tree) {
                self.close_tree(tree);
            }
        }
    }

    pub(super) fn close_tree(&mut self, tree: RequestId) {
        self.trees.changed.remove(&tree);
        self.trees.ended.retain(|_, known| *known != tree);
        self.jobs.leave_tree(tree);
        let jobs = &mut self.jobs;
        self.trees.named.retain(|child, named| {
            let stays = named.tree != tree;
            if !stays && let Some(child) = JobId::new(child) {
                jobs.disregard(&child);
            }
            stays
        });
        self.event(ClientEvent::ChildrenEnded { request: tree });
        self.drop_unclaimed();
    }
}

impl Named {
    /// Asks for all that there is of it.
    fn ask(&mut self, child: &str) -> Option<Ask> {
        self.is_asked = true;
        let (job, start) = (JobId::new(child)?, Subscription::History);
        Some(Ask::Subscribe { job, start, again: true, asks_rest: true })
    }

    fn as_accepted(&self, job: &JobId) -> Accepted {
        Accepted {
            job_id: Some(job.clone()),
            agent: (!self.agent.is_empty()).then(|| self.agent.clone()),
            lease: None,
            lease_constraints: None,
            budget: None,
            credentials: Vec::new(),
            accepted_at: None,
            trace_id: None,
            request_id: None,
            reply_to: None,
            parent_job_id: Some(self.parent.clone()),
            delegate_id: self.delegation.clone(),
        }
    }
}
