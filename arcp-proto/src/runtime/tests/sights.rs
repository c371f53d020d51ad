//! Whatever is asked in whatever order while sight changes: everybody sees what they may, all of it, and no more
//! (VIS-1, VIS-2, VIS-7).

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, Ordering};
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, types};
use crate::observe::{ObservePolicy, ObservedJob, Sight, Visibility};
use crate::runtime::{ConnectionId, JobHandle};
use crate::wire::testing::Random;

const PRINCIPALS: [(&str, &str); 2] = [("demo", "good"), ("other", "other")];
const AGENTS: [&str; 3] = ["a", "mailer", "refactor"];
const SIGHTS: [Sight; 3] = [Sight::Nothing, Sight::List, Sight::Follow];

/// What each principal sees of the other's jobs, agent by agent.
#[derive(Clone, Default)]
struct Table(Arc<[AtomicU8; 6]>);

impl Table {
    fn cell(&self, viewer: usize, agent: usize) -> &AtomicU8 {
        &self.0[viewer * AGENTS.len() + agent]
    }

    fn get(&self, viewer: usize, agent: usize) -> Sight {
        SIGHTS[usize::from(self.cell(viewer, agent).load(Ordering::Relaxed))]
    }
}

impl ObservePolicy for Table {
    fn job(&self, viewer: &str, job: &ObservedJob<'_>) -> Sight {
        let viewer = PRINCIPALS.iter().position(|(name, _)| *name == viewer).unwrap();
        let agent = AGENTS.iter().position(|name| *name == job.agent.name()).unwrap();
        self.get(viewer, agent)
    }
}

struct Job {
    id: String,
    handle: JobHandle,
    principal: usize,
    agent: usize,
    owner: usize,
    ended: bool,
    origin: u64,
    pos: u64,
}

struct Session {
    connection: ConnectionId,
    id: String,
    principal: usize,
    /// The jobs whose next event it gets.
    follows: BTreeSet<usize>,
    last_seq: u64,
}

/// The runtime, and what is expected of it.
struct Model {
    world: World,
    table: Table,
    sessions: Vec<Session>,
    jobs: Vec<Job>,
    requests: u64,
}

impl Model {
    fn new() -> Self {
        let table = Table::default();
        let mut config = config();
        config.visibility = Visibility::new(table.clone());
        let mut world = World::with(config);
        let sessions = [0, 1, 0, 1].map(|principal| {
            let (connection, welcome) = world.session_of(PRINCIPALS[principal].1, ALL);
            let id = welcome["session_id"].as_str().unwrap().to_string();
            Session { connection, id, principal, follows: BTreeSet::new(), last_seq: 0 }
        });
        Self { world, table, sessions: sessions.into(), jobs: Vec::new(), requests: 0 }
    }

    fn sight(&self, session: usize, job: usize) -> Sight {
        let (viewer, job) = (self.sessions[session].principal, &self.jobs[job]);
        if viewer == job.principal { Sight::Follow } else { self.table.get(viewer, job.agent) }
    }

    fn ask(&mut self, session: usize, message_type: &str, payload: Value) -> Vec<Value> {
        self.requests += 1;
        let connection = self.sessions[session].connection;
        self.world.send(connection, &format!("m{}", self.requests), message_type, payload);
        let frames = self.world.take(connection);
        let numbers: Vec<u64> = frames.iter().filter_map(|frame| frame["event_seq"].as_u64()).collect();
        self.sessions[session].last_seq += numbers.len() as u64;
        if let Some(last) = numbers.last() {
            assert_eq!(*last, self.sessions[session].last_seq, "no number is left out");
        }
        self.nothing_else();
        frames
    }

    fn nothing_else(&mut self) {
        for session in &self.sessions {
            assert!(self.world.take(session.connection).is_empty(), "nobody else hears of it");
        }
    }

    fn submit(&mut self, session: usize, agent: usize) {
        let accepted = self.ask(session, "job.submit", json!({"agent": AGENTS[agent]})).remove(0);
        let principal = self.sessions[session].principal;
        let id = accepted["job_id"].as_str().unwrap().to_string();
        let handle = self.world.started.last().unwrap().job;
        self.sessions[session].follows.insert(self.jobs.len());
        self.jobs.push(Job { id, handle, principal, agent, owner: session, ended: false, origin: 0, pos: 0 });
    }

    /// One more event, or the end: every follower gets it once, nobody else at all.
    fn emit(&mut self, job: usize, ends: bool) {
        let state = &self.jobs[job];
        if state.ended {
            return;
        }
        let handle = state.handle;
        if ends {
            self.world.finish(handle, "1")
        } else {
            self.world.logs(handle, 1)
        }
        self.heard(job, ends);
    }

    fn heard(&mut self, job: usize, ends: bool) {
        let owner = self.jobs[job].owner;
        let state = &mut self.jobs[job];
        (state.pos, state.ended) = (state.pos + 1, ends);
        for session in &mut self.sessions {
            let frames = self.world.take(session.connection);
            let expected = usize::from(session.follows.contains(&job));
            assert_eq!(frames.len(), expected, "{frames:#?}");
            for frame in frames {
                session.last_seq += 1;
                assert_eq!(frame["event_seq"], session.last_seq);
                assert_eq!(
                    (frame["job_id"].as_str(), &frame["payload"]["pos"]),
                    (Some(&*state.id), &json!(state.pos))
                );
            }
            if ends {
                session.follows.remove(&job);
            }
        }
        state.origin = self.sessions[owner].last_seq.max(state.origin + 1);
    }

    fn subscribe(&mut self, session: usize, job: usize, from: Option<u64>) {
        let payload = match from {
            Some(from) => json!({"job_id": self.jobs[job].id, "history": true, "from_event_seq": from}),
            None => json!({"job_id": self.jobs[job].id}),
        };
        let frames = self.ask(session, "job.subscribe", payload);
        let state = &self.jobs[job];
        let expected = match self.sight(session, job) {
            Sight::Nothing => "JOB_NOT_FOUND",
            Sight::List => "PERMISSION_DENIED",
            Sight::Follow => {
                let is_own = self.sessions[session].principal == state.principal;
                let follows = self.sessions[session].follows.contains(&job);
                assert_eq!(frames[0]["type"], "job.subscribed");
                let seam = if is_own { state.origin } else { state.pos };
                assert_eq!(frames[0]["payload"]["subscribed_from"], seam, "D-65");
                // For others, numbers and positions are the same range.
                if !is_own && !follows {
                    let replayed = from.map_or(0, |from| state.pos.saturating_sub(from));
                    assert_eq!(frames.len() as u64, 1 + replayed);
                }
                assert!(frames[1..].iter().all(|frame| frame["job_id"] == *state.id));
                if !state.ended {
                    self.sessions[session].follows.insert(job);
                }
                return;
            }
        };
        assert_eq!((frames.len(), code(&frames[0])), (1, expected));
    }

    fn unsubscribe(&mut self, session: usize, job: usize) {
        let frames = self.ask(session, "job.unsubscribe", json!({"job_id": self.jobs[job].id}));
        assert!(frames.is_empty(), "D-15");
        if self.jobs[job].owner != session {
            self.sessions[session].follows.remove(&job);
        }
    }

    fn cancel(&mut self, session: usize, job: usize) {
        let state = &self.jobs[job];
        let expected = match self.sight(session, job) {
            Sight::Nothing => "JOB_NOT_FOUND",
            _ if state.owner != session => "PERMISSION_DENIED",
            // Its end is another story.
            _ => return,
        };
        let frames = self.ask(session, "job.cancel", json!({"job_id": self.jobs[job].id, "reason": "x"}));
        assert_eq!((frames.len(), code(&frames[0])), (1, expected));
    }

    fn list(&mut self, session: usize, limit: u64) {
        let is_own = |job: &Job| self.sessions[session].principal == job.principal;
        let visible = (0..self.jobs.len()).rev().filter(|job| self.sight(session, *job) > Sight::Nothing);
        let expected: Vec<(String, u64)> = visible
            .map(|job| &self.jobs[job])
            .map(|job| (job.id.clone(), if is_own(job) { job.origin } else { job.pos }))
            .collect();
        let mut seen = Vec::new();
        let mut cursor = Value::Null;
        loop {
            let mut asked = json!({"limit": limit});
            if !cursor.is_null() {
                asked["cursor"] = cursor;
            }
            let frames = self.ask(session, "session.list_jobs", asked);
            assert_eq!(types(&frames), ["session.jobs"]);
            let page = &frames[0]["payload"];
            for job in page["jobs"].as_array().unwrap() {
                seen.push((
                    job["job_id"].as_str().unwrap().to_string(),
                    job["last_event_seq"].as_u64().unwrap(),
                ));
            }
            cursor = page["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        assert_eq!(seen, expected);
    }

    fn change(&mut self, viewer: usize, agent: usize, sight: u8) {
        self.table.cell(viewer, agent).store(sight, Ordering::Relaxed);
        self.world.runtime.policy_changed(self.world.now);
        self.world.settle();
        self.nothing_else();
        for session in 0..self.sessions.len() {
            let mut follows = core::mem::take(&mut self.sessions[session].follows);
            follows.retain(|job| self.sight(session, *job) == Sight::Follow);
            self.sessions[session].follows = follows;
        }
    }

    /// No session was ever sent the id of another.
    fn sessions_are_apart(&self) {
        for session in &self.sessions {
            for other in self.sessions.iter().filter(|other| other.id != session.id) {
                assert!(self.world.texts[&session.connection].iter().all(|text| !text.contains(&other.id)));
            }
        }
    }
}

#[test]
fn everybody_sees_what_they_may_and_no_more_whatever_happens() {
    let mut answered = BTreeMap::new();
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut model = Model::new();
        for session in 0..4 {
            model.submit(session, random.below(3));
        }
        for _ in 0..120 {
            let session = random.below(4);
            let job = random.below(model.jobs.len());
            let operation = random.below(10);
            *answered.entry((operation, model.sight(session, job))).or_insert(0) += 1;
            match operation {
                0 => model.submit(session, random.below(3)),
                1..=3 => model.emit(job, false),
                4 if random.below(4) == 0 => model.emit(job, true),
                4 | 5 => {
                    let from = (random.below(3) > 0).then(|| random.below(8) as u64);
                    model.subscribe(session, job, from);
                }
                6 => model.unsubscribe(session, job),
                7 => model.cancel(session, job),
                8 => model.list(session, 1 + random.below(9) as u64),
                _ => model.change(random.below(2), random.below(3), random.pick(&[0, 1, 2, 2])),
            }
        }
        model.sessions_are_apart();
    }
    // Every operation met every degree of sight.
    assert_eq!(answered.len(), 30, "{answered:?}");
}
