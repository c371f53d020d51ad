//! Lists of jobs: what is asked, and what counts as the answer.

use core::time::Duration;
use std::format;

use serde_json::{Value, json};

use super::peer::{JOB, World};
use crate::client::{ClientEvent, ClientState, ListQuery};
use crate::config::ClientConfig;
use crate::error::ApiMisuse;
use crate::feature::{Feature, Features};
use crate::time::UnixTime;

impl World {
    /// Asks, and gives the frame that went out.
    fn list(&mut self, query: ListQuery) -> Value {
        self.client.list_jobs(self.now, query).unwrap();
        self.drain();
        self.next("session.list_jobs")
    }

    /// Connected, and nothing told so far.
    fn ready(mut self) -> Self {
        self.connect();
        self.told();
        self
    }
}

fn page(request: &Value) -> Value {
    json!({"request_id": request["id"], "jobs": [{"job_id": JOB, "status": "running"}], "next_cursor": "c-1"})
}

#[test]
fn a_list_says_all_that_was_asked_and_nothing_else() {
    let mut world = World::core().ready();
    let frame = world.list(ListQuery::default());
    assert_eq!(frame["payload"], json!({}));
    assert_eq!((&frame["session_id"], &frame["job_id"]), (&json!(super::peer::SESSION), &Value::Null));
    let time = |text| UnixTime::parse_rfc3339(text).unwrap();
    let query = ListQuery::default()
        .status("running")
        .status("pending")
        .agent("a@1")
        .created_after(time("2026-08-13T00:00:00Z"))
        .created_before(time("2026-08-14T00:00:00Z"))
        .page_size(20)
        .cursor("c-0");
    assert_eq!(
        world.list(query)["payload"],
        json!({
            "filter": {
                "status": ["running", "pending"], "agent": "a@1",
                "created_after": "2026-08-13T00:00:00.000Z", "created_before": "2026-08-14T00:00:00.000Z",
            },
            "limit": 20, "cursor": "c-0",
        })
    );
}

#[test]
fn the_page_is_handed_on() {
    let mut world = World::core().ready();
    let frame = world.list(ListQuery::default());
    let again = page(&frame);
    world.say(
        "session.jobs",
        json!({
            "request_id": frame["id"], "reply_to": frame["id"], "next_cursor": null,
            "jobs": [{
                "job_id": JOB, "agent": "a@1", "status": "success", "lease": {"fs.read": ["/srv/**"]},
                "created_at": "2026-08-14T09:30:00.000Z", "submitted_at": "2026-08-14T09:30:00.000Z",
                "trace_id": "0af7651916cd43dd8448eb211c80319c", "last_event_seq": 7,
            }],
        }),
    );
    let [ClientEvent::Jobs { page, .. }] = &world.events[..] else { panic!("{:?}", world.events) };
    let entry = &page.jobs[0];
    assert_eq!((entry.job_id.as_str(), entry.agent.as_deref()), (JOB, Some("a@1")));
    assert_eq!((entry.status.as_deref(), entry.last_event_seq), (Some("success"), Some(7)));
    assert_eq!(entry.lease.as_ref().unwrap().as_str(), r#"{"fs.read":["/srv/**"]}"#);
    assert_eq!(page.next_cursor, None);
    // The same page again answers nothing.
    world.events.clear();
    world.say("session.jobs", again);
    assert!(world.events.is_empty());
    assert_eq!(world.client.ignored_frames(), 1);
}

#[test]
fn a_page_finds_its_list_by_every_id_a_runtime_may_use() {
    for name in ["envelope", "request_id", "reply_to", "correlation_id", "nothing"] {
        let mut world = World::stranger().ready();
        let asked = world.list(ListQuery::default());
        let mut frame =
            json!({"arcp": "1.1", "id": "msg_r", "type": "session.jobs", "payload": {"jobs": null}});
        match name {
            "envelope" => frame["id"] = asked["id"].clone(),
            "nothing" => {}
            member => frame["payload"][member] = asked["id"].clone(),
        }
        world.feed(&frame);
        assert_eq!(world.told(), ["jobs 0 [] -"], "{name}");
    }
}

#[test]
fn what_cannot_be_the_answer_is_ignored() {
    // Our own runtime names what it answers.
    let mut world = World::core().ready();
    world.list(ListQuery::default());
    world.say("session.jobs", json!({"jobs": []}));
    assert!(world.told().is_empty());
    // Of two lists, a page without ids answers neither.
    let mut world = World::stranger().ready();
    world.list(ListQuery::default());
    let second = world.list(ListQuery::default());
    world.say("session.jobs", json!({"jobs": []}));
    assert!(world.told().is_empty());
    world.say("session.jobs", page(&second));
    assert_eq!(world.told(), [format!("jobs 1 [{JOB:?}] c-1")]);
    // Nor is a page the answer to a submit, or a job's end that to a list.
    let mut world = World::stranger().ready();
    world.submit();
    let submit = world.next("job.submit");
    world.say("session.jobs", page(&submit));
    world.list(ListQuery::default());
    world.say_of("job_X", "job.error", None, json!({"code": "INTERNAL_ERROR", "final_status": "error"}));
    assert!(world.told().iter().all(|told| !told.starts_with("jobs") && !told.starts_with("rejected 1")));
}

#[test]
fn a_page_that_cannot_be_read_leaves_the_list_open() {
    let mut world = World::core().ready();
    let asked = world.list(ListQuery::default());
    world.say("session.jobs", json!({"request_id": asked["id"], "jobs": {}}));
    assert!(world.told().is_empty());
    world.pass(Duration::from_secs(10));
    assert_eq!(world.told(), ["rejected 0 TimedOut"]);
}

#[test]
fn lists_are_answered_within_ten_seconds_or_not_at_all() {
    let mut world = World::core().ready();
    let asked = world.list(ListQuery::default());
    world.pass(Duration::from_millis(9_999));
    assert!(world.told().is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.told(), ["rejected 0 TimedOut"]);
    world.say("session.jobs", page(&asked));
    assert!(world.told().is_empty(), "too late");
}

#[test]
fn a_list_outlives_its_connection() {
    let mut world = World::core();
    world.client.list_jobs(world.now, ListQuery::default().agent("a")).unwrap();
    world.nothing_sent();
    world.connect();
    let first = world.next("session.list_jobs");
    world.pass(Duration::from_secs(9));
    let hello = world.reopen();
    world.welcome(&hello, super::peer::SESSION);
    let again = world.next("session.list_jobs");
    assert_eq!(first["payload"], again["payload"]);
    assert_ne!(first["id"], again["id"]);
    world.told();
    // The time without a connection does not count.
    world.pass(Duration::from_secs(9));
    world.say("session.jobs", page(&again));
    assert_eq!(world.told(), [format!("jobs 0 [{JOB:?}] c-1")]);
    world.say("session.jobs", page(&first));
    assert!(world.told().is_empty());
}

#[test]
fn refusals_in_every_shape_a_list_may_get() {
    type Shape = fn(&Value) -> Value;
    let shapes: [(&str, Shape); 3] = [
        (
            "base",
            |asked| json!({"type": "session.error", "payload": {"code": "INVALID_REQUEST", "message": "m", "request_id": asked["id"]}}),
        ),
        (
            "uncorrelated",
            |_| json!({"type": "session.error", "payload": {"code": "INVALID_REQUEST", "details": null}}),
        ),
        (
            "echo",
            |asked| json!({"id": asked["id"], "type": "job.error", "payload": {"code": "INVALID_REQUEST"}}),
        ),
    ];
    for (name, shape) in shapes {
        let mut world = World::stranger().ready();
        let asked = world.list(ListQuery::default());
        let mut frame = shape(&asked);
        frame["arcp"] = json!("1.1");
        if frame["id"].is_null() {
            frame["id"] = json!("msg_r");
        }
        world.feed(&frame);
        assert_eq!(world.told(), ["rejected 0 INVALID_REQUEST"], "{name}");
        assert_eq!(world.client.state(), ClientState::Connected, "{name}");
    }
}

#[test]
fn a_cursor_that_leads_nowhere_ends_the_list() {
    for (next, told) in [(json!("c-0"), "-"), (json!(""), "-"), (json!("c-1"), "c-1"), (json!(7), "-")] {
        let mut world = World::stranger().ready();
        let asked = world.list(ListQuery::default().cursor("c-0"));
        world.say("session.jobs", json!({"request_id": asked["id"], "jobs": [], "next_cursor": next}));
        assert_eq!(world.told(), [format!("jobs 0 [] {told}")], "{next}");
    }
}

#[test]
fn what_was_not_negotiated_is_not_listed() {
    let mut world = World::with(ClientConfig::new("tk"), Features::SUPPORTED.without(Feature::ListJobs));
    world.client.list_jobs(world.now, ListQuery::default()).unwrap();
    assert!(world.told().is_empty(), "nothing is known before the welcome");
    world.connect();
    assert_eq!(world.told()[1..], ["rejected 0 Unsupported(\"list_jobs\")"]);
    world.nothing_sent();
}

#[test]
fn queries_out_of_range_are_told_at_once() {
    let mut world = World::core();
    let query = ListQuery::default;
    for wrong in [
        query().page_size(0),
        query().page_size(501),
        query().agent(""),
        query().agent("x".repeat(194)),
        query().status(""),
        query().cursor(""),
        (0..65).fold(query(), |query, _| query.status("running")),
    ] {
        let refused = world.client.list_jobs(world.now, wrong.clone());
        assert!(matches!(refused, Err(ApiMisuse::OutOfRange(_))), "{wrong:?}");
    }
    let widest = query().page_size(500).agent("x".repeat(193));
    let widest = (0..64).fold(widest, |query, _| query.status("running"));
    world.client.list_jobs(world.now, widest).unwrap();
    world.client.close(world.now, None);
    world.drain();
    assert_eq!(world.client.list_jobs(world.now, query()), Err(ApiMisuse::SessionClosed));
    assert_eq!(world.told()[0], "rejected 0 SessionClosed");
}
