//! Random runs with crashes against an upstream that fails in every way: in the end nothing is live that should not be.

use alloc::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::runtime::{AgentInput, Revocation, RevocationId};
use crate::wire::RawJson;
use crate::wire::event::Delegation;
use crate::wire::testing::Random;

struct Run {
    world: World,
    connection: ConnectionId,
    random: Random,
    /// What the upstream would accept.
    live: BTreeSet<CredentialKey>,
    asked: Vec<(IssueId, IssueRequest)>,
    revocations: Vec<(RevocationId, Revocation)>,
    /// How often each was recorded as gone.
    gone: BTreeMap<CredentialKey, usize>,
    submits: usize,
    values: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let (world, connection, _) = world();
        let random = Random::new(seed);
        let (live, gone) = (BTreeSet::new(), BTreeMap::new());
        let (asked, revocations) = (Vec::new(), Vec::new());
        Self { world, connection, random, live, asked, revocations, gone, submits: 0, values: 0 }
    }

    fn running(&self) -> Vec<JobHandle> {
        let runtime = &self.world.runtime;
        runtime.jobs.iter().filter(|(_, job)| job.agent_runs).map(|(handle, _)| handle).collect()
    }

    fn any_running(&mut self) -> Option<JobHandle> {
        let running = self.running();
        (!running.is_empty()).then(|| self.random.pick(&running))
    }

    /// Takes in what was asked, and holds it against the ledger and the jobs.
    fn look(&mut self, seed: u64) {
        for (id, request) in core::mem::take(&mut self.world.issues) {
            assert!(self.world.store.credential(request.credential).is_some(), "CRD-2, seed {seed}");
            self.asked.push((id, request));
        }
        for (id, revocation) in core::mem::take(&mut self.world.revocations) {
            let job = self.world.runtime.job(revocation.job).and_then(|job| self.world.runtime.jobs.get(job));
            let current = job.and_then(|job| job.credential.as_ref()).map(|held| held.key);
            assert_ne!(current, Some(revocation.credential), "CRD-1: never before its end, seed {seed}");
            self.revocations.push((id, revocation));
        }
    }

    fn answer_issue(&mut self, index: usize, way: usize) {
        let (id, request) = self.asked.remove(index);
        let issued = match way {
            0 => Issued::Nothing,
            1 => Issued::Failed,
            way => {
                self.live.insert(request.credential);
                self.values += 1;
                let mut issued = credential(&format!("s3cr3t-{}", self.values));
                issued.constraints = CredentialConstraints::default();
                match way {
                    2 => Issued::Failed,
                    3 => {
                        issued.endpoint = "http://gw.example/".into();
                        Issued::Credential(issued.into())
                    }
                    _ => Issued::Credential(issued.into()),
                }
            }
        };
        let _ = self.world.answer(id, issued);
    }

    fn answer_revocation(&mut self, index: usize, way: usize) {
        let (id, revocation) = self.revocations.remove(index);
        if way != 0 {
            self.live.remove(&revocation.credential);
        }
        let revoked = if way <= 1 { Revoked::Retry } else { Revoked::Done };
        self.world.runtime.handle_revoked(self.world.now, id, revoked);
        self.world.settle();
    }

    fn note_gone(&mut self) {
        assert!(!self.world.leaks("s3cr3t"), "SES-5");
        for (key, state) in self.world.ledger() {
            if state == CredentialState::Revoked {
                *self.gone.entry(key).or_default() += 1;
            }
        }
    }

    fn crash(mut self) -> Self {
        self.note_gone();
        for (_, request) in core::mem::take(&mut self.asked) {
            // The upstream may have done it without anybody hearing of it.
            if self.random.below(2) == 0 {
                self.live.insert(request.credential);
            }
        }
        self.revocations.clear();
        self.world = self.world.restart(provisioning());
        self.connection = private(&mut self.world, "good", QUIET).0;
        self
    }

    fn step(mut self) -> Self {
        let world = &mut self.world;
        match self.random.below(100) {
            0..20 => {
                self.submits += 1;
                let payload = json!({"agent": "a", "lease_request": {"agent.delegate": ["a"]}});
                let (connection, id) = (self.connection, format!("m{}", self.submits));
                world.send(connection, &id, "job.submit", payload);
            }
            20..50 if !self.asked.is_empty() => {
                let (index, way) = (self.random.below(self.asked.len()), self.random.below(12));
                self.answer_issue(index, way);
            }
            50..58 => {
                if let Some(job) = self.any_running() {
                    let _ = self.world.runtime.rotate_credential(self.world.now, job);
                }
            }
            58..66 => {
                if let Some(job) = self.any_running() {
                    self.world.finish(job, "1");
                }
            }
            66..72 => {
                if let Some(job) = self.any_running() {
                    let delegation = Delegation {
                        token: 1,
                        agent: "a".into(),
                        input: RawJson::null(),
                        lease_request: Some(RawJson::try_from(r#"{"agent.delegate":["a"]}"#).unwrap()),
                        lease_constraints: None,
                        max_runtime_sec: None,
                    };
                    let asked = AgentInput::Delegate(delegation.into());
                    let _ = self.world.runtime.handle_agent(self.world.now, job, asked);
                }
            }
            72..75 => {
                if let Some(job) = self.any_running() {
                    let _ = self.world.runtime.cancel_job(self.world.now, job, None);
                }
            }
            75..84 if !self.revocations.is_empty() => {
                let (index, way) = (self.random.below(self.revocations.len()), self.random.below(6));
                self.answer_revocation(index, way);
            }
            84..88 => {
                let seconds = self.random.pick(&[1, 3, 11, 60]);
                self.world.wait(SECOND * seconds);
            }
            88..91 => world.instant_store = false,
            91..95 => {
                world.store_all();
                world.instant_store = true;
            }
            95..97 => drop(world.store_one()),
            97 => return self.crash(),
            _ => {}
        }
        self.world.settle();
        self
    }

    /// Everybody answers, all jobs end, and time passes.
    fn calm_down(&mut self, seed: u64) {
        for _ in 0..200 {
            self.world.store_all();
            self.world.instant_store = true;
            self.look(seed);
            while !self.asked.is_empty() {
                self.answer_issue(0, 5);
                self.look(seed);
            }
            for job in self.running() {
                if self.world.runtime.jobs.get(job).is_some_and(|job| job.agent_runs) {
                    self.world.finish(job, "1");
                }
            }
            while !self.revocations.is_empty() {
                self.answer_revocation(0, 5);
            }
            self.world.wait(SECOND * 60);
            self.look(seed);
            if self.asked.is_empty() && self.revocations.is_empty() && self.running().is_empty() {
                self.world.wait(SECOND * 2 * 3_600);
                self.look(seed);
                if self.revocations.is_empty() {
                    return;
                }
            }
        }
        panic!("it never comes to rest, seed {seed}");
    }
}

#[test]
fn random_runs_leave_nothing_live() {
    let mut revoked = 0;
    for seed in 0..250 {
        let mut run = Run::new(seed);
        for _ in 0..120 {
            run = run.step();
            run.look(seed);
        }
        run.calm_down(seed);
        assert!(run.live.is_empty(), "CRD-1, CRD-3, CRD-4, seed {seed}: {:?}", run.live);
        let left: Vec<_> = run.world.runtime.live_credentials().collect();
        assert!(left.is_empty(), "seed {seed}: {left:?}");
        run.note_gone();
        assert!(run.gone.values().all(|times| *times == 1), "CRD-1: recorded once, seed {seed}");
        revoked += run.gone.len();
    }
    assert!(revoked > 2_000, "{revoked}");
}
