//! What the endpoints ask for is done.

use std::sync::Arc;

use arcp_proto::client::Output as ClientOutput;
use arcp_proto::runtime::{Credentials, LeaseDecision, Output, Verdict};
use bytes::Bytes;

use super::World;
use super::count::Fault;
use super::link::What;
use super::plan::BEARER;
use super::provisioner::Answer;
use super::transport::format_client;

impl World<'_> {
    pub(super) fn obey_runtime(&mut self, output: Output) {
        let now = self.clock.now(self.at);
        match output {
            Output::FramesReady(connection) => {
                if let Some(link) = self.link_of(connection) {
                    self.links[link].ready = true;
                }
            }
            Output::Probe(connection) => {
                let is_open = self.link_of(connection).is_some_and(|link| self.links[link].client_end);
                if let Some(runtime) = self.runtime.as_mut().filter(|_| is_open) {
                    runtime.handle_proof(now, connection);
                }
            }
            Output::Close { connection, .. } => {
                if let Some(link) = self.link_of(connection) {
                    self.pull(link, true);
                    let arrives = self.arrival(link);
                    self.links[link].down.push(arrives, What::Close);
                    self.links[link].connection = None;
                    self.links[link].runtime_notices = None;
                    self.links[link].up.queue.clear();
                    self.oracle.closed(link);
                    self.journal.note(self.at, || format!("the runtime closes ({link})"));
                }
                if let Some(runtime) = &mut self.runtime {
                    runtime.handle_closed(now, connection);
                }
            }
            Output::Authenticate { id, credentials } => self.authenticate(id, &credentials),
            Output::Decide { id, question } => {
                let mut at = self.at + self.choices.below(2_000);
                let mut lease = question.lease;
                let mut decision = None;
                if !self.is_calm {
                    match self.choices.below(8) {
                        1 => {
                            self.counts.note(Fault::LateDecision);
                            at += 11_000_000;
                        }
                        2 if !lease.is_empty() => {
                            self.counts.note(Fault::Denied);
                            decision = Some(LeaseDecision::Refuse);
                        }
                        3 => {
                            self.counts.note(Fault::Narrowed);
                            let mut first = true;
                            lease.retain(|_, _| std::mem::replace(&mut first, false));
                        }
                        _ => {}
                    }
                }
                self.decisions.push((at, id, decision.unwrap_or(LeaseDecision::Grant(lease))));
            }
            Output::Store { id, command } => {
                self.journal.note(self.at, || {
                    let told: String = format!("{command:?}").chars().take(1_500).collect();
                    format!("store {id:?}: {told}")
                });
                let Self { store, choices, counts, oracle, .. } = self;
                oracle.given(id, &command, now);
                store.submit(self.at, id, command, choices, counts);
            }
            Output::StartJob(start) => {
                self.oracle.started(&start);
                let Self { agents, clock, choices, counts, .. } = self;
                agents.start(self.at, &start, clock, choices, counts);
            }
            Output::IssueCredential { id, request } => {
                self.journal.note(self.at, || format!("the runtime asks for {}", request.credential));
                self.oracle.issue_asked(&request);
                self.provisioner.issue(self.at, (id, request), &mut self.choices, &mut self.counts);
            }
            Output::RevokeCredential { id, revocation } => {
                self.journal.note(self.at, || format!("the runtime revokes {}", revocation.credential));
                self.oracle.revocation_asked(&revocation);
                self.provisioner.revoke(self.at, (id, &revocation), &mut self.choices, &mut self.counts);
            }
            Output::TellJob { job, news } => self.agents.tell(job, &news, self.at, &mut self.oracle),
            Output::CancelJob { job, .. } => {
                self.agents.stop(self.at, job, &mut self.choices, &mut self.counts);
            }
            Output::KillJob(job) => self.agents.kill(self.at, job),
            Output::HoldJob(job) => {
                if let Some(key) = self.agents.hold(job, true) {
                    self.oracle.held(key, true);
                }
            }
            Output::ReleaseJob(job) => {
                if let Some(key) = self.agents.hold(job, false) {
                    self.oracle.held(key, false);
                }
            }
            Output::Halt => {
                self.oracle.halts();
                self.halted = true;
            }
            Output::Event(event) => self.oracle.event(&event),
        }
    }

    /// Something happens at the upstream, or it answers.
    pub(super) fn hear_provisioner(&mut self) {
        let now = self.clock.now(self.at);
        let Self { provisioner, counts, oracle, .. } = self;
        let Some(answer) = provisioner.step(self.at, counts, oracle) else { return };
        let Some(runtime) = &mut self.runtime else { return };
        match answer {
            Answer::Issued(id, key, issued) => {
                self.journal.note(self.at, || format!("for {key} the provisioner says {issued:?}"));
                oracle.issue_answered(key, &issued);
                // What is wrong with a credential is said, and it is not used.
                let _ = runtime.handle_credentials(now, id, issued);
            }
            Answer::Revoked(id, key, revoked) => {
                self.journal.note(self.at, || format!("of {key} the provisioner says {revoked:?}"));
                oracle.revocation_answered(key, revoked);
                runtime.handle_revoked(now, id, revoked);
            }
        }
    }

    fn authenticate(&mut self, id: arcp_proto::runtime::AuthId, credentials: &Credentials) {
        let mut verdict = match credentials {
            Credentials::Bearer(token) => match token.expose().strip_suffix(BEARER) {
                Some(principal) => Verdict::Accept { principal: Arc::from(principal), until: None },
                None => Verdict::Refuse,
            },
            Credentials::Anonymous => Verdict::Refuse,
        };
        let mut at = self.at + self.choices.below(1_000);
        if !self.is_calm && self.troubles.decisions {
            match self.choices.below(24) {
                1 => {
                    self.counts.note(Fault::LateVerdict);
                    at += 12_000_000;
                }
                2 => {
                    self.counts.note(Fault::Refused);
                    verdict = Verdict::Refuse;
                }
                _ => {}
            }
        }
        self.verdicts.push((at, id, verdict));
    }

    pub(super) fn obey_client(&mut self, index: usize, output: ClientOutput) {
        let now = self.clients[index].clock.now(self.at);
        match output {
            ClientOutput::Connect => {
                let delay = self.latency + self.choices.below(self.latency);
                self.clients[index].dial_at = Some(self.at + delay);
            }
            ClientOutput::FramesReady => self.pull_client(index),
            ClientOutput::Close(_) => {
                self.pull_client(index);
                let client = &mut self.clients[index];
                client.dial_at = None;
                if let Some(link) = client.link.take() {
                    let arrives = self.arrival(link);
                    self.links[link].up.push(arrives, What::Close);
                    self.links[link].client_end = false;
                    self.links[link].down.queue.clear();
                    self.links[link].client_notices = None;
                }
                if let Some(endpoint) = &mut self.clients[index].endpoint {
                    endpoint.handle_closed(now);
                }
            }
            ClientOutput::Remember(state) => {
                let client = &mut self.clients[index];
                client.persisted = Some(state);
                let delay = self.choices.below(2_000);
                let at = client.remembered_at.back().copied().unwrap_or(0).max(self.at + delay);
                client.remembered_at.push_back(at);
            }
            ClientOutput::Event(event) => {
                self.journal.note(self.at, || {
                    let told: String = format!("{event:?}").chars().take(160).collect();
                    format!("{} is told {told}", format_client(index))
                });
                self.clients[index].told(now, &event, &mut self.oracle);
                // What the application has, it has written down, and now and then how far it is.
                if self.choices.one_in(8) {
                    let client = &mut self.clients[index];
                    if let Some(state) = client.endpoint.as_ref().and_then(|client| client.resume_state()) {
                        client.persisted = Some(state);
                    }
                }
            }
        }
    }

    fn pull_client(&mut self, index: usize) {
        while let Some(text) = self.clients[index].endpoint.as_mut().and_then(|client| client.poll_frame()) {
            let Some(link) = self.clients[index].link else { continue };
            let bytes = Bytes::from(text);
            let note = self.oracle.client_wrote(link, &bytes);
            self.journal.frame(self.at, link, &format_client(index), "→R", &bytes);
            self.write_up(link, bytes, note);
        }
    }
}
