//! The protocol's walk-throughs, one test for each figure: the frames that matter are checked, and all of them are shown.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use arcp_proto::client::{ClientEvent, ListQuery, ResumeState, Submission, Subscription};
use arcp_proto::id::{JobKey, SessionId};
use arcp_proto::lease::LeaseRequest;
use arcp_proto::runtime::RuntimeEvent;
use arcp_proto::time::UnixTime;
use arcp_proto::wire::RawJson;
use arcp_proto::wire::event::Emission;
use arcp_tests::link::{Break, Cut, Moment, Script, World};
use arcp_tests::trace::{Direction, Fate};
use insta::assert_snapshot;
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
/// Long enough for acknowledgements, too short for anything else.
const A_WHILE: Duration = Duration::from_millis(400);

/// The frames of a type that went in one direction, in the order of their writing, and what became of them.
fn frames(world: &World, direction: Direction, message_type: &str) -> Vec<(Value, Fate)> {
    let frames = world.trace.frames().filter(|(way, _, _)| *way == direction);
    let frames = frames.map(|(_, text, fate)| (serde_json::from_str::<Value>(text).unwrap(), fate));
    frames.filter(|(frame, _)| frame["type"] == message_type).collect()
}

fn sent(world: &World, message_type: &str) -> Vec<Value> {
    frames(world, Direction::Up, message_type).into_iter().map(|(frame, _)| frame).collect()
}

fn received(world: &World, message_type: &str) -> Vec<Value> {
    frames(world, Direction::Down, message_type).into_iter().map(|(frame, _)| frame).collect()
}

/// Whether one of the last frames is of this type; cheaper than looking at all of them again and again.
fn just_received(message_type: &'static str) -> impl Fn(&World) -> bool {
    let named = format!("\"type\":\"{message_type}\"");
    move |world| {
        world
            .trace
            .frames()
            .rev()
            .take(8)
            .any(|(way, text, _)| way == Direction::Down && text.contains(&named))
    }
}

/// The numbers of the events with this fate.
fn numbers(world: &World, fate: Fate) -> Vec<u64> {
    let events =
        frames(world, Direction::Down, "job.event").into_iter().filter(|(_, became)| *became == fate);
    events.map(|(frame, _)| frame["event_seq"].as_u64().unwrap()).collect()
}

fn acks(world: &World) -> Vec<u64> {
    let acks = sent(world, "session.ack");
    acks.iter().map(|ack| ack["payload"]["last_processed_seq"].as_u64().unwrap()).collect()
}

fn events(count: usize) -> impl Fn(&World) -> bool {
    move |world| world.application(0).events() == count
}

/// Whoever presents a token that was replaced is told no more than that it cannot resume with it.
fn expect_dead(world: &mut World, token: &Value) {
    world.note("the first token again");
    let session_id = SessionId::new(received(world, "session.welcome")[0]["session_id"].as_str().unwrap());
    let resume = ResumeState {
        session_id: session_id.unwrap(),
        resume_token: token.as_str().unwrap().into(),
        last_event_seq: 0,
    };
    world.client_with(|config| config.resume = Some(resume));
    world.run_until("an answer", just_received("session.error"));
    world.peers.last_mut().unwrap().asleep = true;
    let error = received(world, "session.error").pop().unwrap();
    assert_eq!(error["payload"]["code"], "UNAUTHENTICATED");
    assert_eq!(error["payload"]["details"], json!({"reason": "resume"}));
}

#[test]
fn heartbeat() {
    let mut world = World::new();
    world.agent("a", Script::new().log("working").pause(SECOND * 120).log("still working").idle());
    world.client();
    world.peers[0].application.takes = false;
    world.submit(0, "a", "k", "null");
    world.run_for(SECOND * 30);
    assert_eq!((sent(&world, "session.ping").len(), received(&world, "session.pong").len()), (1, 1));
    world.note("C says something that needs no answer, R goes on being idle");
    world.take(0, 1);
    world.run_for(SECOND * 16);
    let (ping, pong) = (received(&world, "session.ping").remove(0), sent(&world, "session.pong").remove(0));
    assert_eq!(pong["payload"]["ping_nonce"], ping["payload"]["nonce"]);
    world.note("C falls asleep");
    world.peers[0].asleep = true;
    world.run_for(SECOND * 61);
    let error = &received(&world, "session.error")[0]["payload"];
    assert_eq!((&error["code"], &error["retryable"]), (&json!("HEARTBEAT_LOST"), &json!(true)));
    world.run_for(SECOND * 30);
    world.note("C wakes up");
    world.peers[0].asleep = false;
    world.run_until("what the job said meanwhile", events(2));
    world.run_for(A_WHILE);
    assert_eq!(received(&world, "session.welcome").len(), 2, "the session was detached, not dead");
    assert_snapshot!(world.trace.lines());
}

#[test]
fn ack_and_slow_consumer() {
    let mut world = World::new();
    let script = Script::new().logs(400).pause(SECOND).logs(613).pause(SECOND).logs(1_500).idle();
    world.agent("a", script);
    world.client_with(|config| config.untaken_events = 1_010);
    world.peers[0].application.takes = false;
    world.submit(0, "a", "k", "null");
    world.run_until("400 events", events(400));
    world.take(0, 12);
    world.run_until("1013 events and a notice", events(1_014));
    world.run_for(A_WHILE);
    let notices = |world: &World| -> Vec<Value> {
        let events = received(world, "job.event").into_iter();
        events.filter(|event| event["payload"]["body"]["phase"] == "back_pressure").collect()
    };
    let notice = notices(&world).remove(0);
    assert_eq!(notice["event_seq"], 1_014);
    assert_eq!(notice["payload"]["body"]["details"], json!({"lag": 1_001, "threshold": 1_000}));
    assert!(notice["payload"]["pos"].is_null(), "not part of the job's log");
    world.take(0, 900);
    world.run_for(A_WHILE);
    assert_eq!(acks(&world), [12, 900]);
    world.note("nothing is taken any more, so C stops reading");
    world.run_until("the runtime's patience is over", just_received("session.error"));
    assert_eq!(notices(&world).len(), 2, "a lag of 114 had armed it again");
    let error = received(&world, "session.error").remove(0);
    assert_eq!(error["payload"]["code"], "INTERNAL_ERROR");
    assert_eq!(error["payload"]["details"], json!({"limit": "unsent"}));
    world.run_for(A_WHILE);
    world.note("everything is taken, C goes on");
    world.peers[0].application.takes = true;
    world.take(0, u64::MAX);
    // The job's events and two notices.
    world.run_until("everything", events(400 + 613 + 1_500 + 2));
    world.run_for(A_WHILE);
    let resume = &sent(&world, "session.hello")[1]["payload"]["resume"];
    let highest = numbers(&world, Fate::Delivered).into_iter().take_while(|number| *number < 2_515).max();
    assert!(resume["last_event_seq"].as_u64() < highest);
    let (story, job) = (world.application(0), world.first_job(0));
    assert_eq!(story.story(&job).positions, (1..=2_513).collect::<Vec<_>>(), "nothing lost, nothing doubled");
    assert_snapshot!(world.trace.lines());
}

#[test]
fn list_and_subscribe() {
    let mut world = World::new();
    let script = Script::new().logs(84).pause(SECOND * 2).progress(1, 2).progress(2, 2).returns("true");
    world.agent("a", script);
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("84 events", events(84));
    let job = world.first_job(0);
    world.client();
    world.list(1, ListQuery::default().status("running"));
    world.run_until("the list", just_received("session.jobs"));
    let (asked, page) =
        (sent(&world, "session.list_jobs").remove(0), received(&world, "session.jobs").remove(0));
    assert_eq!(page["payload"]["request_id"], asked["id"]);
    assert_eq!(page["payload"]["jobs"][0]["last_event_seq"], 84);
    assert!(
        page["payload"].as_object().unwrap().contains_key("next_cursor")
            && page["payload"]["next_cursor"].is_null()
    );
    world.subscribe(1, &job, Subscription::HistoryFromSeq(0));
    world.run_until("the history", |world| world.application(1).events() == 84);
    let (asked, answer) =
        (sent(&world, "job.subscribe").remove(0), received(&world, "job.subscribed").remove(0));
    assert_eq!(answer["payload"]["request_id"], asked["id"]);
    let seam = ["current_status", "subscribed_from", "history_from", "replayed"]
        .map(|name| &answer["payload"][name]);
    assert_eq!(seam, [&json!("running"), &json!(84), &json!(0), &json!(true)]);
    world.cancel(1, &job, "not mine");
    world.run_until("both ends", |world| world.application(0).ended() + world.application(1).ended() == 2);
    world.run_for(A_WHILE);
    let (asked, error) = (sent(&world, "job.cancel").remove(0), received(&world, "session.error").remove(0));
    assert_eq!(
        (&error["payload"]["code"], &error["payload"]["request_id"]),
        (&json!("PERMISSION_DENIED"), &asked["id"])
    );
    for peer in [0, 1] {
        assert_eq!(world.application(peer).story(&job).positions, (1..=87).collect::<Vec<_>>());
    }
    assert_snapshot!(world.trace.lines());
}

/// Submits to agent `a` with a lease.
fn submit_leased(world: &mut World, lease: LeaseRequest) {
    let submission = Submission::new("a", RawJson::empty_object()).idempotency_key("k").lease(lease);
    world.client();
    world.submit_with(0, submission);
}

/// The frames with a number, each as its job's kind or its own type.
fn numbered(world: &World) -> Vec<(u64, String)> {
    let frames = world.trace.frames().filter(|(way, _, _)| *way == Direction::Down);
    let frames = frames.map(|(_, text, _)| serde_json::from_str::<Value>(text).unwrap());
    let named = frames.filter_map(|frame| {
        let kind = frame["payload"]["kind"].as_str().or_else(|| frame["type"].as_str()).unwrap();
        Some((frame["event_seq"].as_u64()?, kind.to_owned()))
    });
    named.collect()
}

/// What the kinds are, numbered from 1.
fn from_one(kinds: &[&str]) -> Vec<(u64, String)> {
    (1..).zip(kinds.iter().map(|kind| (*kind).to_owned())).collect()
}

/// The errors of operations, by their call.
fn denials(world: &World) -> Vec<(Value, Value)> {
    let events = received(world, "job.event").into_iter().map(|mut event| event["payload"]["body"].take());
    let results = events.filter(|body| body["error"].is_object());
    results.map(|mut body| (body["call_id"].take(), body["error"]["code"].take())).collect()
}

/// The amounts that were left, in the order in which they were told.
fn remaining(world: &World) -> Vec<String> {
    let events = received(world, "job.event").into_iter().map(|mut event| event["payload"]["body"].take());
    let metrics = events.filter(|body| body["name"] == "cost.budget.remaining");
    metrics.map(|body| body["value"].to_string()).collect()
}

#[test]
fn lease_expiry() {
    let mut world = World::new();
    let script = Script::new()
        .ignores_stop()
        .emit(Emission::progress_count(42_000, Some(100_000), Some("files"), None).unwrap())
        .pause(SECOND * 20)
        .operate("fs.write", "/index/part-7", "c9")
        .returns("null");
    world.agent("a", script);
    let end = "2026-08-14T09:30:20.000Z";
    let lease = LeaseRequest::default().grant("fs.read", ["/data/**"]).grant("fs.write", ["/index/**"]);
    submit_leased(&mut world, lease.expires_at(UnixTime::parse_rfc3339(end).unwrap()));
    world.run_until("the end", |world| world.application(0).ended() == 1);
    world.run_for(A_WHILE);
    let submit = &sent(&world, "job.submit")[0]["payload"];
    assert_eq!(submit["lease_request"], json!({"fs.read": ["/data/**"], "fs.write": ["/index/**"]}));
    let accepted = &received(&world, "job.accepted")[0]["payload"];
    assert_eq!(
        (&submit["lease_constraints"], &accepted["lease_constraints"]),
        (&json!({"expires_at": end}), &json!({"expires_at": end}))
    );
    assert_eq!(numbered(&world), from_one(&["progress", "tool_call", "tool_result", "job.error"]));
    assert_eq!(denials(&world), [(json!("c9"), json!("LEASE_EXPIRED"))]);
    let error = &received(&world, "job.error")[0]["payload"];
    let essence = ["final_status", "code", "retryable"].map(|name| &error[name]);
    assert_eq!(essence, [&json!("error"), &json!("LEASE_EXPIRED"), &json!(false)]);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn budget() {
    let mut world = World::new();
    let script = Script::new()
        .call("search", "c1")
        .cost("cost.search", "0.42", "USD")
        .call("fetch", "c2")
        .cost("cost.fetch", "0.7", "USD")
        .call("search", "c3")
        .returns("\"what two calls found\"");
    world.agent("a", script);
    submit_leased(&mut world, LeaseRequest::default().grant("tool.call", ["*"]).budget("USD:1.00"));
    world.run_until("the end", |world| world.application(0).ended() == 1);
    world.run_for(A_WHILE);
    assert_eq!(received(&world, "job.accepted")[0]["payload"]["budget"].to_string(), r#"{"USD":1}"#);
    let once = ["tool_call", "tool_result", "metric", "metric"];
    let expected = [&once[..], &once[..], &["tool_call", "tool_result", "job.result"]].concat();
    assert_eq!(numbered(&world), from_one(&expected));
    assert_eq!(remaining(&world), ["0.58", "-0.12"]);
    assert_eq!(denials(&world), [(json!("c3"), json!("BUDGET_EXHAUSTED"))]);
    let retryable = &received(&world, "job.event")[9]["payload"]["body"]["error"]["retryable"];
    assert_eq!(retryable, false);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn provisioned_credential() {
    let mut world = World::with(|config| {
        config.provisions = true;
        config.durable = true;
    });
    let script = Script::new().cost("cost.inference", "0.83", "USD").pause(SECOND).returns("null");
    world.agent("a", script);
    let lease = LeaseRequest::default().budget("USD:2.00").grant("model.use", ["tier-fast/*"]);
    submit_leased(&mut world, lease);
    world.run_until("what is left", |world| world.application(0).events() == 2);
    let accepted = received(&world, "job.accepted")[0]["payload"].clone();
    assert_eq!(accepted["budget"], json!({"USD": 2}));
    let first = &accepted["credentials"][0];
    assert_eq!(
        (&first["scheme"], &first["constraints"]),
        (&json!("bearer"), &json!({"cost.budget": ["USD:2"]}))
    );
    let key = JobKey::parse(accepted["job_id"].as_str().unwrap()).unwrap();
    let job = world.runtime.job(key).unwrap();
    world.runtime.rotate_credential(world.now, job).unwrap();
    world.run_until("the end", |world| world.application(0).ended() == 1);
    world.run_for(A_WHILE);
    let rotated = &received(&world, "job.event")[2]["payload"]["body"];
    assert_eq!(rotated["phase"], "credential_rotated");
    assert_ne!(rotated["id"], first["id"]);
    assert_eq!(rotated["details"], json!({"id": rotated["id"], "value": rotated["value"]}));
    assert_eq!(rotated["value"], format!("value-of-{}", rotated["id"].as_str().unwrap()));
    let is_revoked = |event: &&RuntimeEvent| matches!(event, RuntimeEvent::CredentialRevoked { .. });
    assert_eq!(world.events.iter().filter(is_revoked).count(), 2);
    assert_snapshot!(world.trace.lines());
}

/// A parent that may delegate to `b`, after twelve events of its own.
fn parent() -> (Script, LeaseRequest) {
    let lease = LeaseRequest::default().grant("agent.delegate", ["b"]).grant("tool.call", ["test.*"]);
    (Script::new().logs(12), lease.budget("USD:2.00"))
}

#[test]
fn delegation() {
    let mut world = World::new();
    let (script, lease) = parent();
    let child = r#"{"tool.call":["test.run"],"cost.budget":["USD:0.50"]}"#;
    world.agent("a", script.delegate("b", child).awaits_child().returns("\"done\""));
    world.agent("b", Script::new().log("testing").returns("\"passed\""));
    submit_leased(&mut world, lease);
    world.run_until("the end", |world| {
        !received(world, "job.result").is_empty() && world.application(0).ended() > 0
    });
    world.run_for(A_WHILE);
    let (parent, child) = (&received(&world, "job.accepted")[0], &received(&world, "job.accepted")[1]);
    let delegate = received(&world, "job.event")
        .into_iter()
        .find(|event| event["payload"]["kind"] == "delegate")
        .unwrap();
    let body = &delegate["payload"]["body"];
    assert_eq!((&delegate["event_seq"], &delegate["job_id"]), (&json!(13), &parent["job_id"]));
    assert_eq!((&body["child_job_id"], &body["agent"]), (&child["job_id"], &json!("b")));
    let acceptance = &child["payload"];
    assert_eq!(
        (&acceptance["parent_job_id"], &acceptance["delegate_id"]),
        (&parent["job_id"], &body["delegate_id"])
    );
    assert_eq!((&acceptance["agent"], acceptance["request_id"].is_null()), (&json!("b@1.0.0"), true));
    assert_eq!(child["trace_id"], parent["trace_id"]);
    let kinds: Vec<_> = numbered(&world).into_iter().skip(12).map(|(_, kind)| kind).collect();
    // The escrow, what the child says, its end, the refund, the parent's end.
    assert_eq!(kinds, ["delegate", "metric", "log", "job.result", "metric", "job.result"]);
    assert_eq!(remaining(&world), ["1.5", "2"]);
    let ends: Vec<Value> =
        received(&world, "job.result").into_iter().map(|end| end["job_id"].clone()).collect();
    assert_eq!(ends, [child["job_id"].clone(), parent["job_id"].clone()]);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn delegation_refused() {
    let mut world = World::new();
    let (script, lease) = parent();
    world.agent(
        "a",
        script.delegate("b", r#"{"tool.call":["**"]}"#).log("doing it myself").returns("\"done\""),
    );
    submit_leased(&mut world, lease);
    world.run_until("the end", |world| world.application(0).ended() == 1);
    world.run_for(A_WHILE);
    let kinds: Vec<_> = numbered(&world).into_iter().skip(12).map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["delegate", "tool_result", "log", "job.result"], "the parent goes on");
    let events = received(&world, "job.event");
    let (delegate, result) = (&events[12]["payload"]["body"], &events[13]["payload"]["body"]);
    assert_eq!(result["call_id"], delegate["delegate_id"]);
    assert_eq!(result["error"]["code"], "LEASE_SUBSET_VIOLATION");
    assert_eq!((received(&world, "job.accepted").len(), world.started_jobs()), (1, 1), "there is no child");
    assert!(received(&world, "session.error").is_empty());
    assert_snapshot!(world.trace.lines());
}

#[test]
fn streamed_result() {
    const CHUNK: usize = 512 << 10;
    let piece = "x".repeat(CHUNK);
    let mut script = Script::new().pace(Duration::from_millis(30)).logs(40);
    for _ in 0..60 {
        script = script.chunk(&piece, true);
    }
    let mut world = World::new();
    world.agent("a", script.chunk("", false).returns("null"));
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("the end", |world| world.application(0).ended() == 1);
    world.run_for(A_WHILE);
    let all = received(&world, "job.event");
    let chunks: Vec<&Value> = all.iter().filter(|event| event["payload"]["kind"] == "result_chunk").collect();
    let of =
        |name: &str| -> Vec<&Value> { chunks.iter().map(|chunk| &chunk["payload"]["body"][name]).collect() };
    assert_eq!(
        chunks.iter().map(|chunk| chunk["event_seq"].as_u64().unwrap()).collect::<Vec<_>>(),
        (41..=101).collect::<Vec<_>>()
    );
    assert_eq!(of("chunk_seq"), (0..=60).map(Value::from).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    assert_eq!(of("more").iter().filter(|more| ***more == json!(false)).count(), 1);
    assert_eq!((of("data")[60], of("more")[60]), (&json!(""), &json!(false)));
    let result = received(&world, "job.result").remove(0);
    assert_eq!(result["event_seq"], 102);
    assert_eq!(
        (&result["payload"]["result_id"], &result["payload"]["result_size"]),
        (of("result_id")[0], &json!(31_457_280))
    );
    assert!(result["payload"]["result"].is_null());
    let story = world.application(0).story(&world.first_job(0));
    assert!(story.result.is_ok_and(|text| text.len() == 31_457_280));
    assert_eq!(acks(&world).last(), Some(&102));
    assert_snapshot!(world.trace.lines());
}

#[test]
fn agent_versions() {
    let mut world = World::new();
    world.client();
    for (agent, name) in [("c@1.0.0", "c@1.0.0"), ("c", "c@2.0.0")] {
        world.submit(0, agent, agent, "null");
        world.run_for(A_WHILE);
        assert_eq!(received(&world, "job.accepted").pop().unwrap()["payload"]["agent"], name);
    }
    let welcome = received(&world, "session.welcome").remove(0);
    let inventory = welcome["payload"]["capabilities"]["agents"].as_array().unwrap();
    let listed = json!({"name": "c", "versions": ["1.0.0", "2.0.0"], "default": "2.0.0"});
    assert!(inventory.contains(&listed), "{inventory:?}");
    for (agent, code) in [("c@3.0.0", "AGENT_VERSION_NOT_AVAILABLE"), ("nobody-knows", "AGENT_NOT_AVAILABLE")]
    {
        world.submit(0, agent, agent, "null");
        world.run_for(A_WHILE);
        let (asked, error) =
            (sent(&world, "job.submit").pop().unwrap(), received(&world, "session.error").pop().unwrap());
        assert_eq!(
            (&error["payload"]["code"], &error["payload"]["request_id"]),
            (&json!(code), &asked["id"])
        );
    }
    assert_snapshot!(world.trace.lines());
}

#[test]
fn idempotent_retry() {
    let mut world = World::new();
    world.agent("a", Script::new().logs(2).pause(SECOND).log("line 3").returns("3"));
    world.client();
    world.submit(0, "a", "k", "[1]");
    world.note("the answer to the submit will be lost");
    world.cuts.push_back(Cut {
        direction: Direction::Down,
        frame: 2,
        moment: Moment::Written,
        how: Break::CLEAN,
    });
    world.run_until("the end", |world| world.application(0).ended() == 1);
    world.run_for(A_WHILE);
    let (submits, answers) = (sent(&world, "job.submit"), received(&world, "job.accepted"));
    let answered: Vec<&Value> = answers.iter().map(|answer| &answer["payload"]["request_id"]).collect();
    // The lost one, the one that was sent again by itself, and the answer to the retry.
    assert_eq!(answered, [&submits[0]["id"], &submits[0]["id"], &submits[1]["id"]]);
    assert!(answers.iter().all(|answer| answer["job_id"] == answers[0]["job_id"]));
    assert_ne!(submits[0]["id"], submits[1]["id"]);
    assert_eq!(submits[0]["payload"], submits[1]["payload"]);
    assert_eq!(world.started_jobs(), 1, "no second run");
    assert_snapshot!(world.trace.lines());
}

#[test]
fn idempotent_retry_with_another_input() {
    let mut world = World::new();
    world.agent("a", Script::new().idle());
    world.client();
    world.submit(0, "a", "k", r#"{"x":1,"y":2}"#);
    world.run_for(A_WHILE);
    world.note("the same, spelled otherwise");
    world.submit(0, "a", "k", r#"{ "y": 2.0, "x": 1 }"#);
    world.run_for(A_WHILE);
    let answers = received(&world, "job.accepted");
    assert_eq!((answers.len(), &answers[1]["job_id"]), (2, &answers[0]["job_id"]));
    world.note("something else");
    world.submit(0, "a", "k", r#"{"x":1,"y":3}"#);
    world.run_for(A_WHILE);
    let (asked, error) =
        (sent(&world, "job.submit").pop().unwrap(), received(&world, "session.error").remove(0));
    assert_eq!(
        (&error["payload"]["code"], &error["payload"]["request_id"]),
        (&json!("DUPLICATE_KEY"), &asked["id"])
    );
    assert_eq!(error["payload"]["details"], json!({"existing_job_id": answers[0]["job_id"]}));
    assert_eq!(world.started_jobs(), 1);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn idempotent_retry_from_a_new_session() {
    let mut world = World::new();
    world.agent("a", Script::new().logs(3).pause(SECOND * 700).log("line 4").idle());
    world.client();
    world.submit(0, "a", "k", "[1]");
    world.run_until("three events", events(3));
    world.note("C1 is gone for good, and its session after a while");
    world.peers[0].asleep = true;
    world.cut(0, Break::CLEAN);
    world.run_for(SECOND * 650);
    world.client();
    world.submit(1, "a", "k", "[1]");
    world.run_until("the whole history, then live", |world| world.application(1).events() == 4);
    let job = world.first_job(0);
    assert_eq!((world.first_job(1), world.started_jobs()), (job.clone(), 1));
    assert_eq!(world.application(1).story(&job).positions, [1, 2, 3, 4]);
    world.cancel(1, &job, "it is C2's now");
    world.run_until("the end", |world| world.application(1).ended() == 1);
    world.run_for(A_WHILE);
    assert_eq!(received(&world, "job.cancelled").len(), 1);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn half_open_takeover() {
    let mut world = World::new();
    world.agent("a", Script::new().logs(47).pause(SECOND).log("live").idle());
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("forty events", events(40));
    world.cut(0, Break::HALF_OPEN);
    world.run_until("all events", events(48));
    world.run_for(A_WHILE);
    let welcomes = received(&world, "session.welcome");
    assert_eq!(welcomes[0]["session_id"], welcomes[1]["session_id"]);
    assert_ne!(welcomes[0]["payload"]["resume_token"], welcomes[1]["payload"]["resume_token"]);
    let resume = &sent(&world, "session.hello")[1]["payload"]["resume"];
    assert_eq!(resume["resume_token"], welcomes[0]["payload"]["resume_token"]);
    assert_eq!(resume["last_event_seq"], 40);
    let error = &received(&world, "session.error")[0]["payload"];
    assert_eq!(
        (&error["code"], &error["details"]),
        (&json!("UNAUTHENTICATED"), &json!({"reason": "taken_over"}))
    );
    assert_eq!(numbers(&world, Fate::Delivered), (1..=48).collect::<Vec<_>>());
    expect_dead(&mut world, &welcomes[0]["payload"]["resume_token"]);
    assert_snapshot!(world.trace.lines());
}

#[test]
fn lost_welcome() {
    let mut world = World::new();
    world.agent("a", Script::new().logs(42).idle());
    world.client();
    world.submit(0, "a", "k", "null");
    world.run_until("forty events", events(40));
    world.cut(0, Break::CLEAN);
    let frame = world.written(Direction::Down) + 1;
    world.cuts.push_back(Cut {
        direction: Direction::Down,
        frame,
        moment: Moment::Written,
        how: Break::CLEAN,
    });
    world.run_until("all events", events(42));
    world.run_for(A_WHILE);
    assert!(world.cuts.is_empty());
    let welcomes = frames(&world, Direction::Down, "session.welcome");
    assert_eq!(
        welcomes.iter().map(|(_, fate)| *fate).collect::<Vec<_>>(),
        [Fate::Delivered, Fate::Lost, Fate::Delivered]
    );
    let first = &welcomes[0].0["payload"]["resume_token"];
    let hellos = sent(&world, "session.hello");
    for hello in &hellos[1..] {
        let resume = &hello["payload"]["resume"];
        assert_eq!((&resume["resume_token"], &resume["last_event_seq"]), (first, &json!(40)));
    }
    assert_eq!(hellos.len(), 3);
    assert_eq!(numbers(&world, Fate::Delivered), (1..=42).collect::<Vec<_>>());
    assert!(world.application(0).told.iter().all(|event| !matches!(event, ClientEvent::Gap { .. })));
    expect_dead(&mut world, first);
    assert_snapshot!(world.trace.lines());
}
