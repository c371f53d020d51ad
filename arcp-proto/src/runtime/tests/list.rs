//! `session.list_jobs` (protocol §2.7): every rule, what is committed, cursors, and paging while jobs come and go.

use core::time::Duration;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use serde_json::{Value, json};

use super::harness::{ALL, World, code, config, types};
use crate::feature::Feature;
use crate::runtime::ConnectionId;
use crate::runtime::rows::{JobRow, Row};
use crate::runtime::store::{Command, Record, StoreDone};
use crate::wire::job::FinalStatus;
use crate::wire::peer::TransportKind;
use crate::wire::testing::Random;

const LIST: &str = "session.list_jobs";
const SECOND: Duration = Duration::from_secs(1);

impl World {
    /// The page that answers this list.
    fn list(&mut self, connection: ConnectionId, payload: Value) -> Value {
        let answer = self.ask(connection, "m-list", LIST, payload);
        assert_eq!(answer["type"], "session.jobs", "{answer}");
        assert!(answer["event_seq"].is_null() && answer["job_id"].is_null(), "{answer}");
        let mut page = answer["payload"].clone();
        assert_eq!((&page["request_id"], &page["reply_to"]), (&json!("m-list"), &json!("m-list")));
        page.take()
    }

    fn refused(&mut self, connection: ConnectionId, payload: Value) -> String {
        let answer = self.ask(connection, "m-list", LIST, payload);
        assert_eq!((&answer["type"], code(&answer)), (&json!("session.error"), "INVALID_REQUEST"));
        assert_eq!(answer["payload"]["request_id"], "m-list", "{answer}");
        answer["payload"]["message"].as_str().unwrap().to_string()
    }

    /// All pages, each with `between` after it.
    fn pages(
        &mut self,
        connection: ConnectionId,
        mut payload: Value,
        mut between: impl FnMut(&mut Self),
    ) -> Vec<Value> {
        let mut pages = Vec::new();
        loop {
            let page = self.list(connection, payload.clone());
            payload["cursor"] = page["next_cursor"].clone();
            pages.push(page);
            if payload["cursor"].is_null() {
                return pages;
            }
            assert!(pages.len() < 1_000, "paging never ends");
            between(self);
        }
    }

    /// Submits to this agent and gives the job's id.
    fn submit_to(&mut self, connection: ConnectionId, id: &str, agent: &str) -> String {
        let accepted = self.ask(connection, id, "job.submit", json!({"agent": agent}));
        accepted["job_id"].as_str().unwrap_or_else(|| panic!("{accepted}")).to_string()
    }
}

fn ids(page: &Value) -> Vec<&str> {
    page["jobs"].as_array().unwrap().iter().map(|job| job["job_id"].as_str().unwrap()).collect()
}

fn all_ids(pages: &[Value]) -> Vec<&str> {
    pages.iter().flat_map(ids).collect()
}

#[test]
fn a_job_is_shown_with_everything_and_nothing_else() {
    let mut world = World::new();
    let (a, welcome) = world.session(ALL);
    assert!(welcome["payload"]["capabilities"]["features"].as_array().unwrap().contains(&json!("list_jobs")));
    assert_eq!(
        world.list(a, json!({})),
        json!({"request_id": "m-list", "reply_to": "m-list", "jobs": [], "next_cursor": null})
    );
    let accepted = world.ask(a, "m1", "job.submit", json!({"agent": "refactor"}));
    let page = world.list(a, json!({}));
    assert_eq!(
        page["jobs"],
        json!([{
            "job_id": accepted["job_id"], "agent": "refactor@2.0.0", "status": "running", "lease": {},
            "created_at": "2026-08-14T09:30:00.000Z", "submitted_at": "2026-08-14T09:30:00.000Z",
            "trace_id": accepted["trace_id"], "last_event_seq": 0,
        }])
    );
    assert_eq!(page["next_cursor"], Value::Null);
}

#[test]
fn the_numbers_of_a_list_are_where_a_subscription_goes_on() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (other, _) = world.submit(a, "m0");
    world.logs(other, 3);
    let (job, id) = world.submit_after(a, "m1");
    world.logs(job, 2);
    let (b, _) = world.session(ALL);
    let page = world.list(b, json!({}));
    assert_eq!((ids(&page)[0], &page["jobs"][0]["last_event_seq"]), (id.as_str(), &json!(5)));
    world.log(job, "more");
    world.finish(job, "1");
    assert_eq!(world.list(b, json!({}))["jobs"][0]["last_event_seq"], 7);
    world.take(b);
    world.send(b, "m2", "job.subscribe", json!({"job_id": id, "history": true, "from_event_seq": 5}));
    let frames = world.take(b);
    assert_eq!(types(&frames), ["job.subscribed", "job.event", "job.result"]);
}

#[test]
fn what_was_not_negotiated_is_refused() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::ListJobs));
    let answer = world.ask(a, "m1", LIST, json!({}));
    assert_eq!(
        (code(&answer), &answer["payload"]["details"]["feature"]),
        ("INVALID_REQUEST", &json!("list_jobs"))
    );
}

#[test]
fn newest_come_first_and_limits_hold() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let mut submitted: Vec<String> = (0..120).map(|n| world.submit_to(a, &format!("m{n}"), "a")).collect();
    submitted.reverse();
    let page = world.list(a, json!({}));
    assert_eq!(ids(&page), submitted[..100], "100 unless said otherwise");
    assert!(page["next_cursor"].as_str().unwrap().len() <= 512);
    assert_eq!(ids(&world.list(a, json!({"limit": 1}))), submitted[..1]);
    assert_eq!(ids(&world.list(a, json!({"limit": 9_007_199_254_740_991_u64}))).len(), 120);
    // A page that ends with the last job is the last page.
    for (limit, pages) in [(120, 1), (60, 2), (40, 3), (119, 2), (7, 18)] {
        let pages_of = world.pages(a, json!({"limit": limit}), |_| {});
        assert_eq!(pages_of.len(), pages, "{limit}");
        assert_eq!(all_ids(&pages_of), submitted, "{limit}");
    }
    // The limit may change from page to page.
    let first = world.list(a, json!({"limit": 50}));
    let rest = world.list(a, json!({"limit": 500, "cursor": first["next_cursor"]}));
    assert_eq!(
        (ids(&rest), &rest["next_cursor"]),
        (submitted[50..].iter().map(String::as_str).collect(), &Value::Null)
    );
}

#[test]
fn a_page_has_at_most_500_jobs() {
    let mut config = config();
    config.limits.running_jobs = 1;
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    for n in 0..501 {
        world.submit_to(a, &format!("m{n}"), "a");
    }
    let page = world.list(a, json!({"limit": 501}));
    assert_eq!(ids(&page).len(), 500);
    assert_eq!(ids(&world.list(a, json!({"cursor": page["next_cursor"]}))).len(), 1);
}

#[test]
fn every_filter_has_its_rule() {
    let mut config = config();
    config.limits.running_jobs = 3;
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    let mut jobs = vec![];
    for (n, agent) in ["refactor@1.0.0", "refactor", "a", "mailer"].into_iter().enumerate() {
        jobs.push(world.submit_to(a, &format!("m{n}"), agent));
        world.wait(SECOND);
    }
    let [first, second, third, fourth] = &jobs[..] else { panic!("four jobs") };
    // Their states: success, cancelled, running, and pending, since the agent of the second still runs.
    world.finish(world.started[0].job, "1");
    let fifth = world.submit_to(a, "m4", "a");
    world.send(a, "m5", "job.cancel", json!({"job_id": second}));
    let cancelled = world.started[1].job;
    world.finish(cancelled, "1");
    world.take(a);
    let mut shows = |filter: Value, expected: &[&String]| {
        let page = world.list(a, json!({"filter": filter}));
        let mut found = ids(&page);
        found.reverse();
        assert_eq!(found, expected, "{filter}");
    };
    shows(json!({}), &[first, second, third, fourth, &fifth]);
    shows(json!({"status": []}), &[first, second, third, fourth, &fifth]);
    shows(json!({"status": null, "agent": null}), &[first, second, third, fourth, &fifth]);
    shows(json!({"status": "success"}), &[first]);
    shows(json!({"status": ["cancelled"]}), &[second]);
    shows(json!({"status": ["running", "success"]}), &[first, third, fourth, &fifth]);
    shows(json!({"status": ["pending"]}), &[]);
    shows(json!({"status": ["exploded"]}), &[]);
    shows(json!({"status": ["exploded", "success"]}), &[first]);
    shows(json!({"agent": "refactor"}), &[first, second]);
    shows(json!({"agent": "refactor@1.0.0"}), &[first]);
    shows(json!({"agent": "refactor@2.0.0"}), &[second]);
    shows(json!({"agent": "refactor@3"}), &[]);
    shows(json!({"agent": "refac"}), &[]);
    shows(json!({"agent": "A B"}), &[]);
    shows(json!({"agent": "a@"}), &[]);
    shows(json!({"created_after": "2026-08-14T09:30:01Z"}), &[third, fourth, &fifth]);
    shows(json!({"created_after": "2026-08-14T11:30:00.999+02:00"}), &[second, third, fourth, &fifth]);
    shows(json!({"created_before": "2026-08-14T09:30:01Z"}), &[first]);
    shows(
        json!({"created_after": "2026-08-14T09:30:00Z", "created_before": "2026-08-14T09:30:02.000Z"}),
        &[second],
    );
    shows(json!({"agent": "refactor", "status": "running"}), &[]);
    shows(json!({"colour": "blue"}), &[first, second, third, fourth, &fifth]);
}

#[test]
fn jobs_that_wait_are_pending() {
    let mut config = config();
    config.limits.running_jobs = 1;
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    let first = world.submit_to(a, "m1", "a");
    let second = world.submit_to(a, "m2", "a");
    assert_eq!(ids(&world.list(a, json!({"filter": {"status": "pending"}}))), [&second]);
    world.finish(world.started[0].job, "1");
    assert_eq!(ids(&world.list(a, json!({"filter": {"status": "running"}}))), [&second]);
    assert_eq!(ids(&world.list(a, json!({"filter": {"status": "success"}}))), [&first]);
}

#[test]
fn members_that_are_wrong_are_named() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    for (payload, named) in [
        (json!({"limit": 0}), "limit"),
        (json!({"cursor": ""}), "cursor"),
        (json!({"cursor": "x".repeat(513)}), "cursor"),
        (json!({"filter": {"created_before": "soon"}}), "created_before"),
        (json!({"filter": {"status": {}}}), "status"),
    ] {
        assert!(world.refused(a, payload).contains(named));
    }
    assert_eq!(world.list(a, json!({}))["jobs"], json!([]), "the session goes on");
}

#[test]
fn a_list_that_comes_again_is_run_again() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    assert!(ids(&world.list(a, json!({}))).is_empty());
    let job = world.submit_to(a, "m1", "a");
    assert_eq!(ids(&world.list(a, json!({}))), [&job], "the same envelope id, a newer list");
    let refused = world.ask(a, "m-list", "job.submit", json!({"agent": "a"}));
    assert_eq!((code(&refused), &refused["payload"]["request_id"]), ("INVALID_REQUEST", &json!("m-list")));
    let refused = world.ask(a, "m1", LIST, json!({}));
    assert_eq!(code(&refused), "INVALID_REQUEST");
    assert_eq!(world.started.len(), 1, "nothing ran");
}

#[test]
fn principals_see_their_own_jobs_only() {
    let mut world = World::new();
    let (alice, _) = world.session(ALL);
    let (bob, _) = world.session_of("other", ALL);
    let mut of_alice = vec![];
    let mut of_bob = vec![];
    for n in 0..4 {
        of_alice.insert(0, world.submit_to(alice, &format!("a{n}"), "a"));
        of_bob.insert(0, world.submit_to(bob, &format!("b{n}"), "a"));
    }
    assert_eq!(ids(&world.list(alice, json!({}))), of_alice);
    assert_eq!(ids(&world.list(bob, json!({}))), of_bob);
    // Any session of a principal sees all of them.
    let (again, _) = world.session(ALL);
    assert_eq!(all_ids(&world.pages(again, json!({"limit": 1}), |_| {})), of_alice);
    // A cursor is worth nothing in other hands, and being refused does not say whether it is genuine.
    let cursor = world.list(alice, json!({"limit": 2}))["next_cursor"].clone();
    let foreign = world.refused(bob, json!({"cursor": cursor}));
    let forged = world.refused(bob, json!({"cursor": "eyJvZmZzZXQiOjB9"}));
    assert_eq!(foreign, forged);
}

#[test]
fn a_cursor_belongs_to_its_filter() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    for n in 0..4 {
        world.submit_to(a, &format!("m{n}"), "a");
    }
    let filter =
        json!({"agent": "a", "status": ["running", "pending"], "created_before": "2026-08-15T00:00:00Z"});
    let cursor = world.list(a, json!({"limit": 2, "filter": filter}))["next_cursor"].clone();
    for other in [
        json!({}),
        json!({"agent": "a"}),
        json!({"agent": "a", "status": ["running"], "created_before": "2026-08-15T00:00:00Z"}),
        json!({"agent": "a", "status": ["running", "pending"], "created_after": "2026-08-15T00:00:00Z"}),
        json!({"agent": "a", "status": ["running", "pending"], "created_before": "2026-08-15T00:00:01Z"}),
        json!({"agent": "mailer", "status": ["running", "pending"], "created_before": "2026-08-15T00:00:00Z"}),
    ] {
        world.refused(a, json!({"filter": other, "cursor": cursor}));
    }
    // The same filter in other words is the same filter.
    let same = json!({"agent": "a", "status": ["pending", "running", "pending"], "created_before": "2026-08-14T23:00:00-01:00"});
    let rest = world.list(a, json!({"filter": same, "cursor": cursor}));
    assert_eq!((ids(&rest).len(), &rest["next_cursor"]), (2, &Value::Null));
    // It can be used as often as one likes, and is of no use after its job is gone but to go on below.
    assert_eq!(ids(&world.list(a, json!({"filter": same, "cursor": cursor}))).len(), 2);
}

#[test]
fn changed_cursors_are_refused() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    for n in 0..2 {
        world.submit_to(a, &format!("m{n}"), "a");
    }
    let cursor = world.list(a, json!({"limit": 1}))["next_cursor"].as_str().unwrap().to_string();
    for at in 0..cursor.len() {
        let mut changed = cursor.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        world.refused(a, json!({"cursor": String::from_utf8(changed).unwrap()}));
    }
    world.refused(a, json!({"cursor": cursor[..32]}));
    assert_eq!(ids(&world.list(a, json!({"cursor": cursor}))).len(), 1);
    // Another endpoint has another secret.
    let mut world = world.restart(config());
    let (a, _) = world.session(ALL);
    world.refused(a, json!({"cursor": cursor}));
}

#[test]
fn pages_end_early_when_a_frame_is_full() {
    let mut config = config();
    (config.limits.jobs, config.limits.running_jobs) = (2_000, 1);
    let mut world = World::with(config);
    // Lines to strangers take 64 KiB.
    let a = world.open_over(TransportKind::Lines);
    let features = ALL.without(Feature::Core);
    world.send(a, "m-hello", "session.hello", super::harness::hello("good", features));
    world.take(a);
    let mut submitted: Vec<String> = (0..400).map(|n| world.submit_to(a, &format!("m{n}"), "a")).collect();
    submitted.reverse();
    // The longest ids, all of whose characters are escaped.
    let id = "\"".repeat(128);
    let mut seen = Vec::new();
    let mut cursor = Value::Null;
    let mut pages = 0;
    loop {
        let before = world.texts[&a].len();
        let page = world.ask(a, &id, LIST, json!({"limit": 500, "cursor": cursor}))["payload"].take();
        let bytes = world.texts[&a][before].len();
        cursor = page["next_cursor"].clone();
        pages += 1;
        assert!(bytes <= 65_536, "{bytes}");
        assert!(cursor.is_null() || bytes > 63_000, "the frame is used: {bytes}");
        seen.extend(ids(&page).into_iter().map(ToString::to_string));
        if cursor.is_null() {
            break;
        }
    }
    assert!(pages > 1);
    assert_eq!(seen, submitted);
}

#[test]
fn lists_show_what_is_committed_and_never_wait() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    world.instant_store = false;
    world.send(a, "m1", "job.submit", json!({"agent": "a"}));
    assert!(world.take(a).is_empty(), "its acceptance is on the way to the store");
    assert!(ids(&world.list(b, json!({}))).is_empty());
    world.store_all();
    let id = world.one(a)["job_id"].as_str().unwrap().to_string();
    let job = world.started[0].job;
    let shows = |world: &mut World, status: &str, last: u64| {
        let page = world.list(b, json!({}));
        assert_eq!(
            (ids(&page)[0], &page["jobs"][0]["status"], &page["jobs"][0]["last_event_seq"]),
            (id.as_str(), &json!(status), &json!(last))
        );
        let of_status = world.list(b, json!({"filter": {"status": status}}));
        assert_eq!(ids(&of_status).len(), 1, "filters see what is committed, too");
    };
    shows(&mut world, "running", 0);
    world.logs(job, 3);
    world.log(job, "in an append of its own");
    world.settle();
    shows(&mut world, "running", 0);
    world.store_one();
    shows(&mut world, "running", 3);
    world.finish(job, "1");
    shows(&mut world, "running", 3);
    world.store_one();
    shows(&mut world, "running", 4);
    world.store_all();
    shows(&mut world, "success", 5);
}

#[test]
fn an_answer_that_comes_out_of_order_commits_nothing() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (job, _) = world.submit(a, "m1");
    world.instant_store = false;
    world.logs(job, 1);
    world.logs(job, 1);
    let (first, append) = world.commands.pop_front().unwrap();
    let early = world.execute(append);
    world.store_one();
    assert_eq!(world.list(a, json!({}))["jobs"][0]["last_event_seq"], 0);
    world.answer_store(first, early);
    world.take(a);
    assert_eq!(world.list(a, json!({}))["jobs"][0]["last_event_seq"], 2);
}

#[test]
fn a_job_stopped_before_its_acceptance_is_stored_is_listed_as_the_store_has_it() {
    let mut world = World::new();
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    world.instant_store = false;
    world.send(a, "m1", "job.submit", json!({"agent": "a"}));
    let Some((_, Command::Append(records))) = world.commands.back() else { panic!("an append") };
    let key = records.iter().find_map(Record::job).unwrap();
    let job = world.runtime.job(key).unwrap();
    world.runtime.cancel_job(world.now, job, None).unwrap();
    world.settle();
    assert!(ids(&world.list(b, json!({}))).is_empty());
    world.store_one();
    assert_eq!(world.list(b, json!({}))["jobs"][0]["status"], "running");
    world.store_all();
    assert_eq!(world.list(b, json!({}))["jobs"][0]["status"], "cancelled");
    assert!(world.started.is_empty(), "its agent never ran");
}

#[test]
fn finished_jobs_are_listed_until_they_are_forgotten() {
    let mut world = World::new();
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let (job, id) = world.submit(a, "m1");
    let principal = world.runtime.jobs.get(job).unwrap().principal;
    world.finish(job, "1");
    world.wait(Duration::from_secs(24 * 3_600 - 1));
    world.take(a);
    assert_eq!(ids(&world.list(a, json!({}))), [&id]);
    world.wait(SECOND);
    assert!(ids(&world.list(a, json!({}))).is_empty());
    assert!(world.runtime.principals.at(principal).jobs.is_empty(), "nothing of it is kept");
}

#[test]
fn lists_are_right_after_a_restart() {
    let mut config = config();
    config.limits.running_jobs = 2;
    let mut world = World::with(config.clone());
    let (a, _) = world.session(ALL);
    let (bob, _) = world.session_of("other", ALL);
    let of_bob = world.submit_to(bob, "b", "mailer");
    let done = world.submit_to(a, "m1", "refactor@1.0.0");
    let job = world.started.last().unwrap().job;
    world.logs(job, 4);
    world.finish(job, "1");
    let broken = world.submit_to(a, "m2", "a");
    let job = world.started.last().unwrap().job;
    world.logs(job, 2);
    world.submit_to(a, "m3", "a");
    let waits = world.submit_to(a, "m4", "a");
    world.take(a);
    let before = world.list(a, json!({}));
    let mut world = world.restart(config);
    let (a, _) = world.session(ALL);
    let after = world.list(a, json!({}));
    assert_eq!(ids(&after), ids(&before));
    let of = |page: &Value, id: &str| {
        let jobs = page["jobs"].as_array().unwrap();
        jobs.iter().find(|job| job["job_id"] == id).unwrap().clone()
    };
    assert_eq!(of(&after, &done), of(&before, &done), "what had ended is as it was");
    let number = |page: &Value, id: &str| of(page, id)["last_event_seq"].as_u64().unwrap();
    assert_eq!(
        (of(&after, &broken)["status"].as_str(), number(&after, &broken)),
        (Some("error"), number(&before, &broken) + 1),
        "its agent is gone"
    );
    assert_eq!(of(&after, &waits)["status"], "running");
    assert_eq!(of(&after, &waits)["created_at"], of(&before, &waits)["created_at"]);
    let (bob, _) = world.session_of("other", ALL);
    assert_eq!(ids(&world.list(bob, json!({}))), [&of_bob]);
    let newer = world.submit_to(a, "m5", "a");
    assert_eq!(ids(&world.list(a, json!({"limit": 1}))), [&newer]);
}

#[test]
fn paging_is_stable_while_jobs_start_and_end() {
    let mut config = config();
    config.limits.running_jobs = 10;
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    let (b, _) = world.session(ALL);
    let throughout: Vec<String> = (0..30).map(|n| world.submit_to(a, &format!("m{n}"), "a")).collect();
    let mut next = 0;
    let pages = world.pages(b, json!({"limit": 4}), |world| {
        let job = world.started[next].job;
        world.finish(job, "1");
        next += 1;
        world.submit_to(a, &format!("n{next}"), "a");
    });
    let seen = all_ids(&pages);
    let expected: Vec<&str> = throughout.iter().rev().map(String::as_str).collect();
    assert_eq!(seen, expected, "each once, in order, and none that came later");
}

#[test]
fn paging_goes_on_below_a_job_that_was_forgotten_meanwhile() {
    let mut config = config();
    config.retention = Duration::from_secs(60);
    let mut world = World::with(config);
    let (a, _) = world.session(ALL.without(Feature::Heartbeat));
    let mut jobs = vec![];
    for n in 0..6 {
        jobs.insert(0, world.submit_to(a, &format!("m{n}"), "a"));
    }
    // The job the first cursor names, and one on the page behind.
    for n in [3, 2] {
        world.finish(world.started[n].job, "1");
    }
    let first = world.list(a, json!({"limit": 3}));
    assert_eq!(ids(&first), jobs[..3]);
    world.wait(Duration::from_secs(60));
    let second = world.list(a, json!({"limit": 3, "cursor": first["next_cursor"]}));
    assert_eq!(ids(&second), jobs[4..]);
}

#[test]
fn a_client_that_does_not_read_its_pages_is_not_read_either() {
    let mut config = config();
    (config.limits.jobs, config.limits.running_jobs) = (2_000, 1);
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    for n in 0..600 {
        world.submit_to(a, &format!("m{n}"), "a");
    }
    world.stalled.push(a);
    let mut asked = 0;
    while world.runtime.may_read(a) {
        world.send(a, &format!("l{asked}"), LIST, json!({"limit": 500}));
        asked += 1;
        assert!(asked < 100, "pages pile up");
    }
    assert!(asked > 1);
    world.stalled.clear();
    world.settle();
    assert_eq!(world.take(a).len(), asked);
    assert!(world.runtime.may_read(a));
}

#[test]
fn a_filter_that_matches_little_does_not_look_at_everything_at_once() {
    let mut config = config();
    (config.limits.jobs, config.limits.running_jobs) = (20_000, 1);
    config.limits.buffered_bytes = u64::MAX;
    config.limits.remembered_requests = 16;
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    let first = world.submit_to(a, "m-first", "mailer");
    for n in 0..10_500 {
        world.submit_to(a, &format!("m{n}"), "a");
    }
    let filter = json!({"agent": "mailer"});
    let page = world.list(a, json!({"filter": filter}));
    assert!(ids(&page).is_empty() && page["next_cursor"].is_string(), "{page}");
    let page = world.list(a, json!({"filter": filter, "cursor": page["next_cursor"]}));
    assert_eq!((ids(&page), &page["next_cursor"]), (vec![first.as_str()], &Value::Null));
}

/// What an entry must say, by the rows of the store.
fn entry_of(row: &JobRow) -> (String, String, u64) {
    let status = match row.end.map(|end| end.status) {
        Some(FinalStatus::Success) => "success",
        Some(FinalStatus::Error) => "error",
        Some(FinalStatus::Cancelled) => "cancelled",
        Some(FinalStatus::TimedOut) => "timed_out",
        None if row.record.started => "running",
        None => "pending",
    };
    (row.record.key.to_string(), status.to_string(), row.last_origin)
}

/// Whatever happens, lists show the rows of a store that answers late and in order, no more and no less.
#[test]
fn lists_are_the_rows_of_the_store() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut small = config();
        small.limits.running_jobs = 2;
        small.retention = Duration::from_secs(40);
        let mut world = World::with(small.clone());
        let open = |world: &mut World| {
            world.instant_store = true;
            world.store_all();
            let connections = [("good", "demo"), ("other", "other")].map(|(token, principal)| {
                (world.session_of(token, ALL.without(Feature::Heartbeat)).0, principal)
            });
            world.instant_store = false;
            connections
        };
        let mut connections = open(&mut world);
        for step in 0..80 {
            let (connection, _) = connections[random.below(2)];
            match random.below(9) {
                0 | 1 => world.send(connection, &format!("m{step}"), "job.submit", json!({"agent": "a"})),
                2..=4 if !world.started.is_empty() => {
                    let job = world.started[random.below(world.started.len())].job;
                    if world.runtime.job_state(job).is_some_and(|state| !state.is_final()) {
                        match random.below(4) {
                            0 => world.finish(job, "1"),
                            1 => world.runtime.cancel_job(world.now, job, None).unwrap(),
                            _ => world.logs(job, 2),
                        }
                        world.settle();
                    }
                }
                5 => world.wait(Duration::from_secs(random.pick(&[1, 15, 31]))),
                6 if random.below(8) == 0 => {
                    world = world.restart(small.clone());
                    connections = open(&mut world);
                }
                _ => drop(world.store_one()),
            }
            // The runtime forgets a job when its time has come, the store when it is told: that must have happened.
            if world.commands.iter().any(|(_, command)| format!("{command:?}").contains("WholeJob")) {
                world.store_all();
            }
            let load = Command::Load { after: None, limit: usize::MAX };
            let StoreDone::Rows(mut rows) = world.store.execute(load) else { panic!("rows") };
            rows.reverse();
            for (connection, principal) in connections {
                world.take(connection);
                let page = world.list(connection, json!({}));
                let shown: Vec<_> = page["jobs"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|job| {
                        let text = |name: &str| job[name].as_str().unwrap().to_string();
                        (text("job_id"), text("status"), job["last_event_seq"].as_u64().unwrap())
                    })
                    .collect();
                let stored: Vec<_> = rows
                    .iter()
                    .filter_map(|row| match row {
                        Row::Job(row) if &*row.record.principal == principal => Some(entry_of(row)),
                        Row::Job(_) | Row::Session(_) | Row::Credential(_) => None,
                    })
                    .collect();
                assert_eq!(shown, stored, "seed {seed}, step {step}");
            }
        }
    }
}
