//! Money in trees of jobs: nothing is lost, nothing is made (BUD-1, BUD-5, BUD-6).

use std::format;
use std::vec::Vec;

use serde_json::json;

use super::harness::{ALL, World, config};
use crate::feature::Feature;
use crate::id::JobKey;
use crate::lease::Amount;
use crate::runtime::{AgentEnd, AgentInput, JobHandle};
use crate::wire::RawJson;
use crate::wire::testing::Random;

/// One grant, and the jobs that spend it.
struct Tree {
    world: World,
    random: Random,
    jobs: Vec<(JobHandle, JobKey)>,
    grant: i128,
    spent: i128,
}

impl Tree {
    fn new(seed: u64) -> Self {
        let mut generous = config();
        generous.limits.children = 8;
        generous.limits.delegation_depth = 5;
        let mut world = World::with(generous);
        let (a, _) = world.session(ALL.without(Feature::Heartbeat));
        let mut random = Random::new(seed);
        let grant = i128::from(random.next() % 9_000_000_000 + 1);
        let lease =
            json!({"agent.delegate": ["a"], "cost.budget": [format!("USD:{}", Amount::from_units(grant))]});
        let (job, accepted) = world.submit_with(a, "m1", json!({"agent": "a", "lease_request": lease}));
        let key = JobKey::parse(accepted["job_id"].as_str().unwrap()).unwrap();
        Self { world, random, jobs: Vec::from([(job, key)]), grant, spent: 0 }
    }

    fn amount(&mut self, most: i128) -> Amount {
        Amount::from_units(i128::from(self.random.next()) % (most + 1))
    }

    fn is_over(&self, job: JobHandle) -> bool {
        self.world.runtime.job_state(job).is_none_or(super::super::JobState::is_final)
    }

    fn step(&mut self) {
        let at = self.random.below(self.jobs.len());
        let (job, _) = self.jobs[at];
        match self.random.below(10) {
            0..4 => {
                let mut lease = json!({"agent.delegate": ["a"]});
                if self.random.below(3) > 0 {
                    lease["cost.budget"] = json!([format!("USD:{}", self.amount(self.grant / 2))]);
                }
                if self.is_over(job) {
                    return;
                }
                if let Ok(child) = self.world.delegate(job, lease) {
                    self.jobs.push((child.job, child.key));
                }
            }
            4..8 => {
                let cost = self.amount(self.grant / 5);
                let emission =
                    crate::wire::event::Emission::metric("cost.x", &cost.to_number(), Some("USD"), &[])
                        .unwrap();
                if self.world.runtime.handle_agent(self.world.now, job, AgentInput::Emit(emission)).is_ok() {
                    self.spent += cost.units();
                }
            }
            _ if at > 0 => {
                let end = AgentEnd::Value { value: RawJson::null(), summary: None };
                // One that has ended already takes no second end.
                let _ = self.world.runtime.handle_agent(self.world.now, job, AgentInput::Finish(end));
            }
            _ => {}
        }
        self.world.settle();
    }

    fn left(&self) -> i128 {
        let rows = self.jobs.iter().map(|(_, key)| self.world.store.job(*key).unwrap());
        let living = rows.filter(|row| row.end.is_none());
        living.filter_map(|row| row.counters.find("USD")).map(|counter| counter.remaining.units()).sum()
    }
}

#[test]
fn what_is_left_and_what_was_spent_is_what_was_granted() {
    let mut depth = 0;
    for seed in 1..=150 {
        let mut tree = Tree::new(seed);
        for step in 0..80 {
            tree.step();
            assert_eq!(tree.left() + tree.spent, tree.grant, "seed {seed}, step {step}");
        }
        depth = depth.max(
            tree.jobs
                .iter()
                .filter_map(|(_, key)| tree.world.store.job(*key)?.record.parent)
                .map(|p| p.depth)
                .max()
                .unwrap_or(0),
        );
        // A crash ends every job, each with what its own records say; what children had comes back before the root ends.
        let (_, root) = tree.jobs[0];
        let world = tree.world.restart(config());
        let row = world.store.job(root).unwrap();
        let left = row.counters.find("USD").unwrap().remaining.units();
        assert_eq!(left + tree.spent, tree.grant, "seed {seed}, after a restart");
    }
    assert_eq!(depth, 5, "the trees are as deep as they may be");
}
