//! Who sees what: sight of jobs and agents, what it decides, and what follows when it changes.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, Ordering};
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, hello, positions, seqs, types};
use crate::agent::AgentRef;
use crate::config::RuntimeConfig;
use crate::id::JobKey;
use crate::observe::{ObservePolicy, ObservedJob, Sight, Visibility};
use crate::runtime::{ConnectionId, Decision, JobHandle, RuntimeEvent};

/// What everybody but `demo` sees of the jobs of `demo`; jobs of the agent `mailer` nobody sees.
#[derive(Clone, Default)]
struct Rules(Arc<AtomicU8>);

impl Rules {
    fn of(sight: Sight) -> Self {
        let rules = Self::default();
        rules.set(sight);
        rules
    }

    fn set(&self, sight: Sight) {
        self.0.store(sight as u8, Ordering::Relaxed);
    }

    fn config(&self) -> RuntimeConfig {
        let mut config = config();
        config.visibility = Visibility::new(self.clone());
        config
    }
}

impl ObservePolicy for Rules {
    fn job(&self, viewer: &str, job: &ObservedJob<'_>) -> Sight {
        assert_ne!(viewer, job.submitter, "nobody is asked about what is their own");
        let sight = [Sight::Nothing, Sight::List, Sight::Follow][usize::from(self.0.load(Ordering::Relaxed))];
        if job.submitter != "demo" || job.agent.name() == "mailer" { Sight::Nothing } else { sight }
    }
}

/// A session of `demo` with a job, and one of `other`.
fn watched(rules: &Rules) -> (World, ConnectionId, ConnectionId, JobHandle, String) {
    let mut world = World::with(rules.config());
    let (a, _) = world.session(ALL);
    let (b, _) = world.session_of("other", ALL);
    let (job, id) = world.submit(a, "m1");
    (world, a, b, job, id)
}

fn subscribe(world: &mut World, connection: ConnectionId, id: &str, job: &str, history: bool) -> Vec<Value> {
    world.take(connection);
    world.send(connection, id, "job.subscribe", json!({"job_id": job, "history": history}));
    world.take(connection)
}

fn list(world: &mut World, connection: ConnectionId, payload: Value) -> Value {
    world.ask(connection, "m-list", "session.list_jobs", payload)["payload"].take()
}

fn ids(page: &Value) -> Vec<String> {
    let jobs = page["jobs"].as_array().unwrap_or_else(|| panic!("{page}"));
    jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_string()).collect()
}

/// The audit since the last call, in short.
fn audit(world: &mut World) -> Vec<String> {
    let events = core::mem::take(&mut world.events);
    let short = |event: RuntimeEvent| match event {
        RuntimeEvent::Access { principal, access, job, submitter, decision } => {
            let job = if job.is_some() { "a job" } else { "no job" };
            let of = submitter.map_or(String::new(), |submitter| format!(" of {submitter}"));
            Some(format!("{principal} {access:?} {job}{of}: {decision:?}"))
        }
        RuntimeEvent::Listed { principal, jobs, others } => {
            Some(format!("{principal} lists {jobs}, {others} of others"))
        }
        _ => None,
    };
    events.into_iter().filter_map(short).collect()
}

#[test]
fn sight_decides_what_is_listed_followed_and_cancelled() {
    for (sight, listed, follow, cancel, decisions) in [
        (Sight::Nothing, 0, "JOB_NOT_FOUND", "JOB_NOT_FOUND", [Decision::Hidden, Decision::Hidden]),
        (Sight::List, 1, "PERMISSION_DENIED", "PERMISSION_DENIED", [Decision::Refused, Decision::Refused]),
        (Sight::Follow, 1, "", "PERMISSION_DENIED", [Decision::Allowed, Decision::Refused]),
    ] {
        let (mut world, a, b, job, id) = watched(&Rules::of(sight));
        world.events.clear();
        let page = list(&mut world, b, json!({}));
        assert_eq!(ids(&page).len(), listed, "{sight:?}");
        let answer = subscribe(&mut world, b, "m2", &id, false).remove(0);
        match follow {
            "" => assert_eq!(answer["type"], "job.subscribed"),
            refused => assert_eq!(code(&answer), refused, "{sight:?}"),
        }
        let answer = world.ask(b, "m3", "job.cancel", json!({"job_id": id, "reason": "x"}));
        assert_eq!(code(&answer), cancel, "{sight:?}");
        assert_eq!(
            audit(&mut world),
            [
                format!("other lists {listed}, {listed} of others"),
                format!("other Subscribe a job of demo: {:?}", decisions[0]),
                format!("other Cancel a job of demo: {:?}", decisions[1]),
            ]
        );
        world.logs(job, 1);
        assert_eq!(world.take(b).len(), usize::from(sight == Sight::Follow), "{sight:?}");
        let own = world.ask(a, "m4", "job.cancel", json!({"job_id": id, "reason": "x"}));
        assert_eq!(own["type"], "job.cancelled");
        assert_eq!(audit(&mut world), ["demo Cancel a job of demo: Allowed"]);
    }
}

#[test]
fn a_cancel_by_a_session_that_does_not_own_the_job_is_audited_as_refused() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let (_, id) = world.submit(a, "m1");
    world.events.clear();
    assert_eq!(code(&world.ask(b, "m2", "job.cancel", json!({"job_id": id}))), "PERMISSION_DENIED");
    assert_eq!(code(&world.ask(b, "m3", "job.cancel", json!({"job_id": "job_none"}))), "JOB_NOT_FOUND");
    assert_eq!(audit(&mut world), ["demo Cancel a job of demo: Refused", "demo Cancel no job: Hidden"]);
}

/// Everything a connection was sent, without the ids that every frame has of its own.
fn told(world: &mut World, connection: ConnectionId) -> Vec<String> {
    world.take(connection);
    let texts = world.texts.remove(&connection).unwrap_or_default();
    let without_id = |text: String| {
        let (head, rest) = text.split_once("\"id\":\"").expect("a frame has an id");
        format!("{head}{}", rest.split_once('"').expect("a string ends").1)
    };
    texts.into_iter().map(without_id).collect()
}

#[test]
fn whether_a_job_one_may_not_see_exists_shows_in_no_reply() {
    let own_only = config();
    let rules = Rules::of(Sight::Follow);
    // By default, and where the policy says no of this job alone.
    for (config, agent) in [(own_only, "a"), (rules.config(), "mailer")] {
        let probe = |exists: Option<&str>, job: &str| {
            let mut world = World::with(config.clone());
            let (a, _) = world.session(ALL);
            let (b, _) = world.session_of("other", ALL);
            let mut id = job.to_string();
            if let Some(agent) = exists {
                let accepted = world.ask(a, "m1", "job.submit", json!({"agent": agent}));
                id = accepted["job_id"].as_str().unwrap().to_string();
                let job = world.started[0].job;
                world.logs(job, 3);
            }
            told(&mut world, b);
            for history in [false, true] {
                subscribe(&mut world, b, &format!("s-{history}"), &id, history);
            }
            world.send(
                b,
                "s-pos",
                "job.subscribe",
                json!({"job_id": id, "history": true, "from_event_seq": 1}),
            );
            world.send(b, "c", "job.cancel", json!({"job_id": id, "reason": "x"}));
            world.send(b, "u", "job.unsubscribe", json!({"job_id": id}));
            for payload in [
                json!({}),
                json!({"limit": 1}),
                json!({"filter": {"status": "running"}}),
                json!({"filter": {"agent": agent}}),
            ] {
                world.send(b, "l", "session.list_jobs", payload);
            }
            (id, told(&mut world, b))
        };
        let (id, hidden) = probe(Some(agent), "");
        let (_, missing) = probe(None, &id);
        assert_eq!(hidden.len(), 8, "{hidden:#?}");
        assert_eq!(hidden, missing, "VIS-2");
    }
}

#[test]
fn observers_are_shown_positions_and_nothing_of_the_submitters_session() {
    let mut world = World::with(Rules::of(Sight::Follow).config());
    let (a, welcome) = world.session(ALL);
    let session = welcome["session_id"].as_str().unwrap().to_string();
    let (noise, _) = world.submit(a, "m0");
    let (job, id) = world.submit(a, "m1");
    // Origin numbers of `job`: 2, 4, 6, 8, 10.
    for _ in 0..5 {
        world.logs(noise, 1);
        world.logs(job, 1);
    }
    let (b, _) = world.session_of("other", ALL);
    let page = list(&mut world, b, json!({}));
    assert_eq!(
        (ids(&page)[0].as_str(), &page["jobs"][0]["last_event_seq"]),
        (id.as_str(), &json!(5)),
        "D-65"
    );
    for (request, start, history_from, seen) in [
        ("s1", json!({}), 0, vec![1, 2, 3, 4, 5]),
        ("s2", json!({"from_event_seq": 3}), 3, vec![4, 5]),
        ("s3", json!({"from_pos": 4, "from_event_seq": 0}), 4, vec![5]),
        ("s4", json!({"from_event_seq": 5}), 5, vec![]),
        ("s5", json!({"from_event_seq": 9}), 5, vec![]),
    ] {
        let mut payload = json!({"job_id": id, "history": true});
        payload.as_object_mut().unwrap().extend(start.as_object().unwrap().clone());
        world.take(b);
        world.send(b, request, "job.subscribe", payload);
        let frames = world.take(b);
        let payload = &frames[0]["payload"];
        assert_eq!(
            (&payload["subscribed_from"], &payload["history_from"]),
            (&json!(5), &json!(history_from)),
            "{request}"
        );
        assert_eq!(payload["replayed"], !seen.is_empty());
        assert_eq!(positions(&frames), seen, "{request}");
        world.send(b, "u", "job.unsubscribe", json!({"job_id": id}));
    }
    let live = subscribe(&mut world, b, "s6", &id, false);
    assert_eq!((&live[0]["payload"]["subscribed_from"], live.len()), (&json!(5), 1));
    world.finish(job, "1");
    assert_eq!(list(&mut world, b, json!({}))["jobs"][0]["last_event_seq"], 6);
    assert!(world.texts[&b].iter().all(|text| !text.contains(&session)), "another's session");
    // The submitter still reads its own numbers.
    assert_eq!(list(&mut world, a, json!({}))["jobs"][0]["last_event_seq"], 11);
}

#[test]
fn a_parent_that_one_may_not_see_is_not_named() {
    for (agent, shown) in [("a", true), ("mailer", false)] {
        let mut world = World::with(Rules::of(Sight::Follow).config());
        let (a, _) = world.session(ALL);
        let (b, _) = world.session_of("other", ALL);
        let lease = json!({"agent.delegate": ["*"]});
        let (parent, accepted) = world.submit_with(a, "m1", json!({"agent": agent, "lease_request": lease}));
        let child = world.delegate(parent, json!({})).unwrap();
        let child = child.key.to_string();
        let parent = accepted["job_id"].clone();
        let named = |shown: bool| if shown { parent.clone() } else { Value::Null };
        for (connection, shown) in [(a, true), (b, shown)] {
            let page = list(&mut world, connection, json!({}));
            let entry = page["jobs"].as_array().unwrap().iter().find(|job| job["job_id"] == child.as_str());
            assert_eq!(entry.unwrap()["parent_job_id"], named(shown), "{agent}");
            world.send(connection, "u", "job.unsubscribe", json!({"job_id": child}));
            let subscribed = subscribe(&mut world, connection, "m2", &child, true);
            assert_eq!(subscribed[0]["payload"]["parent_job_id"], named(shown), "{agent}");
        }
        let told = world.texts[&b].iter().any(|text| text.contains(parent.as_str().unwrap()));
        assert_eq!(told, shown, "{agent}");
    }
}

#[test]
fn pages_across_principals_show_each_visible_job_once_newest_first() {
    let rules = Rules::of(Sight::List);
    let mut world = World::with(rules.config());
    let (a, _) = world.session(ALL);
    let (b, _) = world.session_of("other", ALL);
    let mut visible = Vec::new();
    for n in 0..30 {
        let (connection, agent) = [(a, "a"), (b, "refactor"), (a, "mailer")][n % 3];
        let accepted = world.ask(connection, &format!("m{n}"), "job.submit", json!({"agent": agent}));
        if agent != "mailer" {
            visible.insert(0, accepted["job_id"].as_str().unwrap().to_string());
        }
    }
    for limit in [1, 3, 7, 20, 100] {
        let mut seen = Vec::new();
        let mut payload = json!({"limit": limit});
        loop {
            let page = list(&mut world, b, payload.clone());
            seen.extend(ids(&page));
            assert_eq!(
                page["next_cursor"].is_null(),
                seen.len() == visible.len(),
                "no empty page at the end"
            );
            payload["cursor"] = page["next_cursor"].clone();
            if payload["cursor"].is_null() {
                break;
            }
            // A cursor is of its principal alone.
            let stolen = world.ask(a, "m-stolen", "session.list_jobs", payload.clone());
            assert_eq!(code(&stolen), "INVALID_REQUEST");
        }
        assert_eq!(seen, visible, "{limit}");
    }
    let page = list(&mut world, b, json!({"filter": {"agent": "a"}}));
    assert_eq!(ids(&page).len(), 10);
    // What the submitter sees is its own, whatever others may see.
    assert_eq!(ids(&list(&mut world, a, json!({}))).len(), 20);
}

#[test]
fn many_jobs_out_of_sight_do_not_keep_others_waiting() {
    let mut config = Rules::of(Sight::List).config();
    (config.limits.jobs, config.limits.running_jobs) = (20_000, 1);
    config.limits.buffered_bytes = u64::MAX;
    config.limits.remembered_requests = 16;
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    let (b, _) = world.session_of("other", ALL);
    let (_, oldest) = world.submit(a, "m-oldest");
    for n in 0..10_100 {
        world.ask(a, &format!("m{n}"), "job.submit", json!({"agent": "mailer"}));
    }
    let page = list(&mut world, b, json!({}));
    assert!(ids(&page).is_empty() && page["next_cursor"].is_string(), "{page}");
    let page = list(&mut world, b, json!({"cursor": page["next_cursor"]}));
    assert_eq!((ids(&page), &page["next_cursor"]), (vec![oldest], &Value::Null));
}

#[test]
fn every_page_is_judged_when_it_is_asked_for() {
    let rules = Rules::of(Sight::List);
    let (mut world, a, b, _, _) = watched(&rules);
    world.submit_after(a, "m2");
    let page = list(&mut world, b, json!({"limit": 1}));
    assert_eq!(ids(&page).len(), 1);
    rules.set(Sight::Nothing);
    let rest = list(&mut world, b, json!({"limit": 1, "cursor": page["next_cursor"]}));
    assert_eq!((ids(&rest).len(), &rest["next_cursor"]), (0, &Value::Null));
}

#[test]
fn what_is_no_longer_allowed_is_no_longer_followed() {
    let rules = Rules::of(Sight::Follow);
    let (mut world, a, b, job, id) = watched(&rules);
    world.logs(job, 2);
    subscribe(&mut world, b, "m2", &id, true);
    world.logs(job, 1);
    assert_eq!(seqs(&world.take(b)), [3]);
    let (own, _) = world.submit_after(b, "m3");
    // Numbered while it was allowed: it still arrives, and no number is missing.
    world.stalled.push(b);
    world.logs(job, 1);
    rules.set(Sight::List);
    world.events.clear();
    world.runtime.policy_changed(world.now);
    world.settle();
    assert_eq!(audit(&mut world), ["other Follow a job of demo: Refused"]);
    world.logs(job, 1);
    world.logs(own, 1);
    world.stalled.clear();
    world.settle();
    let frames = world.take(b);
    assert_eq!((seqs(&frames), positions(&frames)), (vec![4, 5], vec![4, 1]));
    world.finish(job, "1");
    assert!(world.take(b).is_empty(), "not even the end");
    assert_eq!(positions(&world.take(a)), [1, 2, 3, 4, 5, 6], "the submitter misses nothing");
    // Nothing is left to judge, and what is one's own never was.
    world.runtime.policy_changed(world.now);
    world.settle();
    assert!(audit(&mut world).is_empty());
}

#[test]
fn a_subscription_counts_no_more_once_it_was_ended() {
    let rules = Rules::of(Sight::Follow);
    let mut config = rules.config();
    config.limits.subscriptions = 1;
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    let (b, _) = world.session_of("other", ALL);
    let (_, first) = world.submit(a, "m1");
    let (_, second) = world.submit(a, "m2");
    subscribe(&mut world, b, "m3", &first, false);
    assert_eq!(code(&subscribe(&mut world, b, "m4", &second, false)[0]), "INTERNAL_ERROR");
    rules.set(Sight::Nothing);
    world.runtime.policy_changed(world.now);
    rules.set(Sight::Follow);
    assert_eq!(types(&subscribe(&mut world, b, "m5", &second, false)), ["job.subscribed"]);
}

#[test]
fn a_subscribe_on_its_way_is_refused_when_sight_is_lost() {
    // While its first page is read, and while its record is stored.
    for history in [true, false] {
        for (lost, expected) in [(Sight::Nothing, "JOB_NOT_FOUND"), (Sight::List, "PERMISSION_DENIED")] {
            let rules = Rules::of(Sight::Follow);
            let (mut world, _, b, job, id) = watched(&rules);
            world.logs(job, 2);
            world.instant_store = false;
            assert!(subscribe(&mut world, b, "m2", &id, history).is_empty());
            rules.set(lost);
            world.runtime.policy_changed(world.now);
            world.settle();
            world.store_all();
            let answer = world.one(b);
            assert_eq!((code(&answer), &answer["payload"]["request_id"]), (expected, &json!("m2")));
            world.logs(job, 1);
            world.store_all();
            assert!(world.take(b).is_empty());
            // The same request again gets the same answer.
            let again = subscribe(&mut world, b, "m2", &id, history);
            assert_eq!(code(&again[0]), expected, "D-49");
        }
    }
}

#[test]
fn a_repeated_request_shows_nothing_of_a_job_that_went_out_of_sight() {
    let rules = Rules::of(Sight::Follow);
    let (mut world, _, b, _, id) = watched(&rules);
    assert_eq!(types(&subscribe(&mut world, b, "m2", &id, false)), ["job.subscribed"]);
    assert_eq!(types(&subscribe(&mut world, b, "m2", &id, false)), ["job.subscribed"], "D-49");
    rules.set(Sight::Nothing);
    world.runtime.policy_changed(world.now);
    world.settle();
    assert_eq!(code(&subscribe(&mut world, b, "m2", &id, false)[0]), "JOB_NOT_FOUND");
}

#[test]
fn a_restart_under_a_stricter_policy_ends_subscriptions() {
    let rules = Rules::of(Sight::Follow);
    let mut world = World::with(rules.config());
    let (a, _) = world.session(ALL);
    let (b, welcome) = world.session_of("other", ALL);
    let (job, id) = world.submit(a, "m1");
    subscribe(&mut world, b, "m2", &id, false);
    world.logs(job, 1);
    rules.set(Sight::Nothing);
    let mut world = world.restart(rules.config());
    assert_eq!(audit(&mut world), ["other Follow a job of demo: Hidden"]);
    // What the restart said of the job went to its submitter alone.
    let connection = world.open();
    let mut payload = hello("other", ALL);
    payload["resume"] = json!({"resume_token": welcome["payload"]["resume_token"], "last_event_seq": 0});
    world.send(connection, "m-resume", "session.hello", payload);
    let frames = world.take(connection);
    assert_eq!(types(&frames), ["session.welcome", "job.event"]);
    // It stays ended.
    rules.set(Sight::Follow);
    let key = JobKey::parse(&id).unwrap();
    assert!(
        world
            .store
            .job(key)
            .unwrap()
            .followers
            .iter()
            .all(|follower| follower.session.to_string() != welcome["session_id"])
    );
}

#[derive(Clone)]
struct OnlyMailers;

impl ObservePolicy for OnlyMailers {
    fn agent(&self, principal: &str, agent: &str) -> bool {
        principal == "demo" || agent == "mailer"
    }
}

#[test]
fn an_agent_one_may_not_use_does_not_exist() {
    let mut config = config();
    config.visibility = Visibility::new(OnlyMailers);
    let mut world = World::with(config.clone());
    let (a, welcome) = world.session(ALL);
    let names = |welcome: &Value| {
        let agents = welcome["payload"]["capabilities"]["agents"].as_array().unwrap();
        agents.iter().map(|agent| agent["name"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&welcome), ["a", "mailer", "refactor"]);
    let (b, welcome) = world.session_of("other", ALL);
    assert_eq!(names(&welcome), ["mailer"]);
    for agent in ["a", "refactor", "refactor@1.0.0", "refactor@9"] {
        let hidden = world.ask(b, agent, "job.submit", json!({"agent": agent}));
        assert_eq!(code(&hidden), "AGENT_NOT_AVAILABLE", "{agent}");
    }
    assert_eq!(world.ask(b, "m2", "job.submit", json!({"agent": "mailer"}))["type"], "job.accepted");
    assert_eq!(world.ask(a, "m2", "job.submit", json!({"agent": "refactor"}))["type"], "job.accepted");

    // To the byte as where there is no such agent.
    let probe = |agents: &[&str]| {
        let mut config = config.clone();
        config.agents = Default::default();
        for agent in agents {
            config.agents.add(&AgentRef::parse(agent).unwrap());
        }
        let mut world = World::with(config);
        let (b, _) = world.session_of("other", ALL);
        for (n, agent) in ["a", "a@1", "refactor", "refactor@1.0.0", "refactor@9"].into_iter().enumerate() {
            world.send(b, &format!("m{n}"), "job.submit", json!({"agent": agent}));
        }
        told(&mut world, b)
    };
    let (hidden, missing) = (probe(&["a", "mailer", "refactor@1.0.0"]), probe(&["mailer"]));
    assert_eq!(hidden.len(), 6);
    assert_eq!(hidden, missing);
}

#[test]
fn a_job_that_was_accepted_answers_to_its_key_though_its_agent_went_out_of_sight() {
    struct Closing(AtomicU8);
    impl ObservePolicy for Closing {
        fn agent(&self, _: &str, _: &str) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) < 4
        }
    }
    let mut config = config();
    // Asked three times for the welcome and once for the first submit.
    config.visibility = Visibility::new(Closing(AtomicU8::new(0)));
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    let submit = json!({"agent": "a", "idempotency_key": "k"});
    let first = world.ask(a, "m1", "job.submit", submit.clone());
    let again = world.ask(a, "m2", "job.submit", submit);
    assert_eq!((&again["type"], &again["job_id"]), (&json!("job.accepted"), &first["job_id"]));
    assert_eq!(code(&world.ask(a, "m3", "job.submit", json!({"agent": "a"}))), "AGENT_NOT_AVAILABLE");
}

#[test]
fn a_policy_shows_nothing_of_itself() {
    let shown = format!("{:?}", Rules::default().config());
    assert!(shown.contains("visibility: Visibility,"), "{shown}");
}
