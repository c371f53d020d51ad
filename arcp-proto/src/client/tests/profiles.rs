//! What differs towards each known runtime (protocol §12.3, second table).

use core::time::Duration;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::{Value, json};

use super::peer::{JOB, SESSION, World, job};
use crate::client::{ClientEvent, RequestError};
use crate::client::{ClientState, GrantedLease, Submission, Subscription};
use crate::config::ClientConfig;
use crate::feature::{Feature, Features};
use crate::lease::LeaseRequest;
use crate::wire::RawJson;
use crate::wire::peer::{PeerProfile, TransportKind};

const SECOND: Duration = Duration::from_secs(1);
const OTHER: &str = "job_01KZZSPRE8B7N2V5T9K4C3M6QY";
const FRESH: &str = "job_01KZZSPRE8B7N2V5T9K4C3M6QX";
const PROFILES: [PeerProfile; 8] = PeerProfile::ALL;

/// A published frame.
fn vector(name: &str) -> Value {
    include_str!("../../../../tests/vectors/envelopes.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("each line is a vector"))
        .find(|vector| vector["name"] == name)
        .unwrap_or_else(|| panic!("no {name}"))["envelope"]
        .clone()
}

/// The welcome of a runtime of this profile, into our session.
fn welcome(profile: PeerProfile) -> Value {
    let mut frame = vector(match profile {
        PeerProfile::Core => "welcome-all-features",
        PeerProfile::Python113 | PeerProfile::PythonNewer => "welcome-python113",
        PeerProfile::TypeScript => "welcome-typescript",
        PeerProfile::Go => "welcome-go-bare-agent",
        PeerProfile::Java => "welcome-java",
        PeerProfile::Ruby => "welcome-ruby",
        _ => "welcome-spec-only",
    });
    frame["session_id"] = SESSION.into();
    if !frame["payload"]["session_id"].is_null() {
        frame["payload"]["session_id"] = SESSION.into();
    }
    if profile == PeerProfile::PythonNewer {
        let features = frame["payload"]["capabilities"]["features"].as_array_mut().expect("a list");
        features.insert(6, "model.use".into());
    }
    frame
}

/// An open session with a runtime of this profile.
fn with(profile: PeerProfile) -> World {
    configured(profile, ClientConfig::new("tk"))
}

fn configured(profile: PeerProfile, config: ClientConfig) -> World {
    let mut world = World::with(config, Features::SUPPORTED);
    world.open();
    world.feed(&welcome(profile));
    assert_eq!(world.client.profile(), profile);
    world.told();
    world
}

/// The same with a job that was accepted.
fn with_job(profile: PeerProfile) -> World {
    let mut world = with(profile);
    world.submit();
    world.accept(JOB);
    world.told();
    world
}

/// The types of the frames that were sent.
fn sent(world: &mut World) -> Vec<String> {
    let types = world.sent.iter().map(|frame| frame["type"].as_str().unwrap_or_default().to_string());
    let types = types.collect();
    world.sent.clear();
    types
}

#[test]
fn every_runtime_is_left_as_it_knows() {
    for profile in PROFILES {
        let mut world = with(profile);
        world.client.close(world.now, Some("operator quit".into()));
        world.drain();
        let byes = matches!(profile, PeerProfile::Python113 | PeerProfile::TypeScript | PeerProfile::Ruby);
        let goodbye = world.sent.front().expect("a goodbye").clone();
        assert_eq!(goodbye["payload"], json!({"reason": "operator quit"}), "{profile:?}");
        assert_eq!(sent(&mut world), [if byes { "session.bye" } else { "session.close" }], "{profile:?}");
        assert_eq!(world.client.state() == ClientState::Closed, byes, "{profile:?}: a bye has no answer");
        world.pass(SECOND);
        let is_unknown = profile == PeerProfile::Unknown;
        assert_eq!(sent(&mut world), ["session.bye"].repeat(usize::from(is_unknown)), "{profile:?}");
        assert_eq!(world.client.state(), ClientState::Closed);
    }
}

#[test]
fn a_goodbye_that_would_end_jobs_is_not_said() {
    let mut world = with_job(PeerProfile::Java);
    world.client.close(world.now, None);
    world.drain();
    assert!(sent(&mut world).is_empty());
    assert_eq!((world.client.state(), world.closes.len()), (ClientState::Closed, 1));

    // Not even while it is only submitted.
    let mut world = with(PeerProfile::Java);
    world.submit();
    world.client.close(world.now, None);
    world.drain();
    assert_eq!(sent(&mut world), ["job.submit"]);

    let mut world = with_job(PeerProfile::Java);
    world.end(JOB, 1, 1);
    world.taken(1);
    world.client.close(world.now, None);
    world.drain();
    assert_eq!(sent(&mut world).last().map(String::as_str), Some("session.close"));

    let mut world = with(PeerProfile::Java);
    world.client.subscribe(world.now, &job(OTHER), Subscription::Live).unwrap();
    world.client.close(world.now, None);
    world.drain();
    assert_eq!(sent(&mut world), ["job.subscribe", "session.close"], "it is another session's job");
}

#[test]
fn submits_wait_for_each_other_where_answers_name_nothing() {
    for profile in PROFILES {
        let mut world = with(profile);
        for key in ["k-1", "k-2", "k-3"] {
            world.submit_with(key);
        }
        let expected = if matches!(profile, PeerProfile::Core | PeerProfile::Ruby) { 3 } else { 1 };
        assert_eq!(sent(&mut world).len(), expected, "{profile:?}");
    }
}

/// The error with which this runtime refuses a resume.
fn bad_resume(profile: PeerProfile) -> Value {
    match profile {
        PeerProfile::Python113 | PeerProfile::PythonNewer => vector("error-python-bad-resume"),
        PeerProfile::Java => vector("job-error-java-bad-resume"),
        _ => {
            let payload = json!({"code": "RESUME_WINDOW_EXPIRED", "message": "m", "retryable": false});
            json!({"arcp": "1.1", "id": "msg_r", "type": "session.error", "payload": payload})
        }
    }
}

#[test]
fn a_resume_that_comes_too_early_is_tried_again() {
    for profile in PROFILES {
        let mut world = with_job(profile);
        let again = matches!(
            profile,
            PeerProfile::Python113 | PeerProfile::PythonNewer | PeerProfile::Go | PeerProfile::Java
        );
        let mut hello = world.reopen();
        let start = world.now.mono;
        let mut tries = 0;
        while !hello["payload"]["resume_token"].is_null() {
            tries += 1;
            let before = world.now.mono;
            world.feed(&bad_resume(profile));
            if world.client.state() == ClientState::Waiting {
                world.pass(2 * SECOND);
                assert_eq!(world.now.mono.since(before), 2 * SECOND, "{profile:?}");
            }
            assert_eq!(world.client.state(), ClientState::Connecting, "{profile:?}");
            hello = world.open();
        }
        // Two intervals of 30 s and five seconds.
        assert_eq!(tries, if again { 33 } else { 1 }, "{profile:?}");
        assert!(world.now.mono.since(start) <= 65 * SECOND, "{profile:?}");
        assert!(world.told().iter().all(|told| told == "disconnected"), "{profile:?}");
    }
}

#[test]
fn a_resume_that_is_accepted_at_last_keeps_the_profile() {
    let mut world = with_job(PeerProfile::Go);
    world.reopen();
    world.feed(&bad_resume(PeerProfile::Go));
    world.pass(2 * SECOND);
    world.open();
    let mut again = welcome(PeerProfile::Go);
    again["payload"]["resume_token"] = Value::Null;
    world.feed(&again);
    assert_eq!(world.client.profile(), PeerProfile::Go, "its token alone would have shown it");
    let told = world.told();
    assert_eq!(told.last(), Some(&format!("connected {SESSION} resumed=true")));
}

#[test]
fn a_bearer_that_ended_is_no_reason_to_wait() {
    for profile in [PeerProfile::Python113, PeerProfile::Go, PeerProfile::Java] {
        let mut world = with_job(profile);
        world.reopen();
        let mut refusal = bad_resume(profile);
        refusal["payload"]["code"] = "UNAUTHENTICATED".into();
        world.feed(&refusal);
        let hello = world.open();
        assert!(hello["payload"]["resume_token"].is_null(), "{profile:?}");
    }
}

#[test]
fn a_runtime_of_an_earlier_process_is_recognised_by_its_refusal() {
    let state = with_job(PeerProfile::Python113).client.resume_state();
    let mut config = ClientConfig::new("tk");
    config.resume = state;
    let mut world = World::with(config, Features::SUPPORTED);
    world.open();
    world.feed(&bad_resume(PeerProfile::Python113));
    assert_eq!(world.client.state(), ClientState::Waiting);
    world.pass(2 * SECOND);
    assert!(world.open()["payload"]["resume_token"].is_string());
}

#[test]
fn a_token_that_stays_the_same_is_used_again() {
    let mut world = with_job(PeerProfile::Java);
    let token = welcome(PeerProfile::Java)["payload"]["resume_token"].clone();
    for _ in 0..3 {
        assert_eq!(world.reopen()["payload"]["resume_token"], token);
        world.feed(&welcome(PeerProfile::Java));
        assert_eq!(world.told().last(), Some(&format!("connected {SESSION} resumed=true")));
    }
}

#[test]
fn what_a_gap_leads_to() {
    for profile in PROFILES {
        let mut world = with_job(profile);
        world.log(JOB, 1, 1);
        world.log(JOB, 4, 2);
        let told = world.told();
        let event = |number: u64| format!("event {JOB} {number} log");
        match profile {
            PeerProfile::Go => assert_eq!(told, [event(1), "gap 2..=3".to_string(), event(4)]),
            PeerProfile::Ruby => assert_eq!(told, [event(1), event(4)]),
            _ => assert_eq!(told, [event(1), "disconnected".to_string()], "{profile:?}"),
        }
    }
}

#[test]
fn numbers_that_mean_nothing_drop_nothing() {
    let mut world = with_job(PeerProfile::Ruby);
    let event = |world: &mut World, seq: u64| {
        world.say_of(JOB, "job.event", Some(seq), json!({"kind": "log", "body": {"message": "x"}}));
    };
    event(&mut world, 3);
    event(&mut world, 1);
    world.say_of(JOB, "job.result", None, json!({"job_id": JOB, "final_status": "success", "result": 1}));
    let told = world.told();
    assert_eq!(
        told,
        [format!("event {JOB} 3 log"), format!("event {JOB} - log"), format!("ended {JOB} - success")]
    );
    assert_eq!(world.reopen()["payload"]["last_event_seq"], 3);
}

#[test]
fn followed_jobs_of_a_python_runtime_have_numbers_of_another_stream() {
    for profile in [PeerProfile::Python113, PeerProfile::PythonNewer] {
        let mut world = with_job(profile);
        world.log(JOB, 1, 1);
        world.client.subscribe(world.now, &job(OTHER), Subscription::History).unwrap();
        world.drain();
        let subscribe = world.sent.pop_back().expect("a subscribe");
        // History before the answer.
        world.log(OTHER, 1, 1);
        world.log(OTHER, 40, 2);
        let payload = json!({"request_id": subscribe["id"], "job_id": OTHER, "replayed": 2, "current_status": "running"});
        world.say_of(OTHER, "job.subscribed", None, payload);
        world.log(OTHER, 41, 3);
        world.log(JOB, 2, 2);
        assert_eq!(
            world.told(),
            [
                format!("event {JOB} 1 log"),
                format!("event {OTHER} - log"),
                format!("event {OTHER} - log"),
                format!("subscribed 1 {OTHER}"),
                format!("event {OTHER} - log"),
                format!("event {JOB} 2 log"),
            ],
            "{profile:?}"
        );
        // What was under way when the subscription ended is no gap either.
        world.client.unsubscribe(world.now, &job(OTHER));
        world.log(OTHER, 42, 4);
        world.log(JOB, 3, 3);
        assert_eq!(world.told(), [format!("event {JOB} 3 log")], "{profile:?}");
        world.log(JOB, 5, 5);
        assert_eq!(world.told(), ["disconnected"], "{profile:?}: its own jobs are tracked");
    }
}

#[test]
fn a_terminal_kept_from_the_session_before_ends_its_job() {
    for number in [1, 900] {
        let mut world = with_job(PeerProfile::Python113);
        world.log(JOB, 1, 1);
        world.reopen();
        world.feed(&json!({
            "arcp": "1.1", "id": "m", "type": "session.error", "payload": {"code": "INVALID_REQUEST"},
        }));
        world.open();
        world.feed(&welcome(PeerProfile::Python113));
        world.told();
        let submit = world.sent.pop_back().expect("it is submitted again");
        world.say_of(JOB, "job.accepted", None, json!({"job_id": JOB, "request_id": submit["id"]}));
        let payload = json!({"final_status": "success", "result": 1, "completed_at": "2026-08-14T09:41:00Z"});
        world.say_of(JOB, "job.result", Some(number), payload);
        let seq = if number == 1 { "2" } else { "-" };
        assert_eq!(world.told(), [format!("ended {JOB} {seq} success")]);
    }
}

#[test]
fn a_numbered_cancelled_counts() {
    for profile in [PeerProfile::Java, PeerProfile::Go] {
        let mut world = with_job(profile);
        world.client.cancel(world.now, &job(JOB), None).unwrap();
        world.drain();
        world.say_of(JOB, "job.cancelled", Some(1), json!({}));
        world.say_of(
            JOB,
            "job.error",
            Some(2),
            json!({"code": "CANCELLED", "final_status": "cancelled", "retryable": false}),
        );
        assert_eq!(
            world.told(),
            ["cancelled 1 -".to_string(), format!("ended {JOB} 2 cancelled")],
            "{profile:?}"
        );
    }
}

/// A `job.error` of this code, as TypeScript writes it: with a number.
fn rejects(world: &mut World, job: &str, seq: u64, code: &str) {
    let payload = json!({"final_status": "error", "code": code, "message": "m", "retryable": false});
    world.say_of(job, "job.error", Some(seq), payload);
}

#[test]
fn a_rejection_on_a_fresh_id_answers_the_submit() {
    let mut world = with(PeerProfile::TypeScript);
    world.submit();
    rejects(&mut world, FRESH, 1, "AGENT_NOT_AVAILABLE");
    assert_eq!(world.told(), ["rejected 0 AGENT_NOT_AVAILABLE"]);
    // Its number counted.
    world.submit_with("k-2");
    world.sent.clear();
    rejects(&mut world, FRESH, 2, "INVALID_REQUEST");
    assert_eq!(world.told(), ["rejected 1 INVALID_REQUEST"]);
}

#[test]
fn a_rejection_on_a_live_id_ends_no_job() {
    let mut world = with_job(PeerProfile::TypeScript);
    world.submit_with("k-1");
    rejects(&mut world, JOB, 1, "DUPLICATE_KEY");
    assert_eq!(world.told(), ["rejected 1 DUPLICATE_KEY"]);
    let mut seq = 1;
    for code in ["JOB_NOT_FOUND", "PERMISSION_DENIED"] {
        for id in [JOB, OTHER] {
            seq += 1;
            let request = if id == JOB {
                world.client.cancel(world.now, &job(JOB), None).unwrap()
            } else {
                world.client.subscribe(world.now, &job(OTHER), Subscription::Live).unwrap()
            };
            world.drain();
            rejects(&mut world, id, seq, code);
            assert_eq!(world.told(), [format!("rejected {} {code}", request.0)]);
        }
    }
    rejects(&mut world, FRESH, seq + 1, "JOB_NOT_FOUND");
    assert!(world.told().is_empty(), "nobody asked about that");
    world.end(JOB, seq + 2, 1);
    assert_eq!(world.told(), [format!("ended {JOB} {} success", seq + 2)]);
}

#[test]
fn with_nothing_pending_that_it_could_answer_a_job_error_is_an_end() {
    for code in ["DUPLICATE_KEY", "JOB_NOT_FOUND", "PERMISSION_DENIED", "INTERNAL_ERROR"] {
        let mut world = with_job(PeerProfile::TypeScript);
        rejects(&mut world, JOB, 1, code);
        assert_eq!(world.told(), [format!("ended {JOB} 1 error")], "{code}");
    }
    // A cancel may cross with a failure that has nothing to do with it.
    let mut world = with_job(PeerProfile::TypeScript);
    world.client.cancel(world.now, &job(JOB), None).unwrap();
    world.drain();
    rejects(&mut world, JOB, 1, "INTERNAL_ERROR");
    assert_eq!(world.told().last(), Some(&format!("ended {JOB} 1 error")));
}

#[test]
fn elsewhere_a_number_makes_a_job_error_an_end() {
    for profile in [PeerProfile::Unknown, PeerProfile::Go, PeerProfile::PythonNewer] {
        let mut world = with_job(profile);
        world.submit_with("k-2");
        rejects(&mut world, JOB, 1, "DUPLICATE_KEY");
        assert_eq!(world.told(), [format!("ended {JOB} 1 error")], "{profile:?}");
    }
}

#[test]
fn an_error_that_names_nothing_answers_the_only_request() {
    let mut world = with(PeerProfile::Python113);
    world.submit();
    let mut error = vector("error-python-null-details-uncorrelated");
    error["session_id"] = SESSION.into();
    world.feed(&error);
    assert_eq!(world.told(), ["rejected 0 AGENT_NOT_AVAILABLE"]);
}

#[test]
fn an_echo_answers_the_request_whose_id_it_bears() {
    let mut world = with_job(PeerProfile::Java);
    world.client.cancel(world.now, &job(JOB), None).unwrap();
    world.submit_with("k-2");
    let payload =
        json!({"final_status": "error", "code": "JOB_NOT_FOUND", "message": "no job", "retryable": false});
    for (message_type, job) in [("job.cancel", json!(JOB)), ("job.submit", Value::Null)] {
        let request =
            world.sent.iter().find(|frame| frame["type"] == message_type).expect("it was sent").clone();
        world.feed(&json!({
            "arcp": "1.1", "id": request["id"], "type": "job.error", "session_id": SESSION, "job_id": job,
            "payload": payload,
        }));
    }
    assert_eq!(world.told(), ["rejected 1 JOB_NOT_FOUND", "rejected 2 JOB_NOT_FOUND"]);
}

#[test]
fn a_job_error_that_names_its_request_answers_it() {
    let mut world = with_job(PeerProfile::Ruby);
    world.client.cancel(world.now, &job(JOB), None).unwrap();
    world.drain();
    let cancel = world.sent.pop_back().expect("a cancel");
    let payload =
        json!({"job_id": JOB, "final_status": "error", "code": "JOB_NOT_FOUND", "reply_to": cancel["id"]});
    world.say_of(JOB, "job.error", None, payload);
    assert_eq!(world.told(), ["rejected 1 JOB_NOT_FOUND"]);
}

#[test]
fn a_go_runtime_that_still_accepts_the_first_copy_is_asked_again() {
    let fail = |world: &mut World| {
        let mut submits = world.sent.drain(..).filter(|frame| frame["type"] == "job.submit");
        let submit = submits.next_back().expect("a submit");
        drop(submits);
        let payload = json!({"code": "INTERNAL_ERROR", "request_id": submit["id"], "retryable": true});
        world.say("session.error", payload);
    };
    let mut world = with(PeerProfile::Go);
    world.submit();
    world.pass(30 * SECOND);
    fail(&mut world);
    assert!(world.told().is_empty(), "the copy may be accepted yet");
    world.pass(30 * SECOND);
    world.sent.retain(|frame| frame["type"] == "job.submit");
    world.accept(JOB);
    assert_eq!(world.told(), [format!("accepted 0 {JOB}")]);

    let mut world = with(PeerProfile::Go);
    world.submit();
    fail(&mut world);
    assert_eq!(world.told(), ["rejected 0 INTERNAL_ERROR"], "there was no other copy");

    let mut world = with(PeerProfile::Go);
    world.submit();
    for _ in 2..=8 {
        world.pass(30 * SECOND);
        assert!(world.told().is_empty());
        fail(&mut world);
    }
    assert_eq!(world.told(), ["rejected 0 INTERNAL_ERROR"], "not for ever");
}

fn rejected(world: &World) -> Option<&RequestError> {
    world.events.iter().find_map(|event| match event {
        ClientEvent::Rejected { error, .. } => Some(error),
        _ => None,
    })
}

#[test]
fn names_a_runtime_cannot_read_are_not_sent() {
    for profile in PROFILES {
        let mut world = with(profile);
        world.client.submit(world.now, Submission::new("7zip@1.0+build", RawJson::null())).unwrap();
        world.drain();
        if profile == PeerProfile::Python113 {
            assert_eq!(rejected(&world), Some(&RequestError::Unsupported("this agent's name")));
            world.nothing_sent();
        } else {
            assert_eq!(sent(&mut world), ["job.submit"], "{profile:?}");
        }
    }
}

#[test]
fn requests_fit_what_the_runtime_reads() {
    for transport in [TransportKind::WebSocket, TransportKind::Lines] {
        for profile in PROFILES {
            let mut world = World::with(ClientConfig::new("tk"), Features::SUPPORTED);
            world.transport = transport;
            world.open();
            world.feed(&welcome(profile));
            let input = RawJson::encode(&"x".repeat(70_000)).unwrap();
            world.client.submit(world.now, Submission::new("a", input)).unwrap();
            world.drain();
            let fits = profile.request_limit(transport) > 70_000;
            assert_eq!(sent(&mut world).len(), usize::from(fits), "{profile:?} {transport:?}");
            assert_eq!(matches!(rejected(&world), Some(RequestError::TooLarge { limit: 65_536, .. })), !fits);
        }
    }
}

fn asking(lease: LeaseRequest) -> Submission {
    Submission::new("mailer", RawJson::empty_object()).idempotency_key("k-ruby").lease(lease)
}

#[test]
fn whole_namespaces_are_named_to_a_ruby_runtime() {
    let lease = LeaseRequest::default().grant("tool.call", ["**"]).budget("USD:1.00");
    for profile in PROFILES {
        let mut world = with(profile);
        world.client.submit(world.now, asking(lease.clone())).unwrap();
        world.drain();
        let payload = world.next("job.submit")["payload"].clone();
        let published = vector("ruby-runtime-submit")["payload"].clone();
        if profile == PeerProfile::Ruby {
            assert_eq!(payload, published);
        } else {
            let map = json!({"tool.call": ["**"], "cost.budget": ["USD:1.00"]});
            assert_eq!(payload["lease_request"], map, "{profile:?}");
        }
    }
}

#[test]
fn a_part_of_a_namespace_is_asked_of_a_ruby_runtime_only_on_demand() {
    let lease = || LeaseRequest::default().grant("tool.call", ["mail.*"]).grant("fs.read", ["/**"]);
    let mut world = with(PeerProfile::Ruby);
    world.client.submit(world.now, asking(lease())).unwrap();
    world.drain();
    assert_eq!(rejected(&world), Some(&RequestError::Unsupported("patterns in a lease")));
    world.nothing_sent();

    let mut config = ClientConfig::new("tk");
    config.coarse_leases = true;
    let mut world = configured(PeerProfile::Ruby, config);
    world.client.submit(world.now, asking(lease())).unwrap();
    world.drain();
    let asked = world.next("job.submit")["payload"]["lease_request"].clone();
    assert_eq!(asked, json!({"tool.call": ["mail.*"], "fs.read": ["/**"], "capabilities": ["fs.read"]}));
}

#[test]
fn what_a_ruby_runtime_grants_is_shown_as_patterns() {
    let mut world = with(PeerProfile::Ruby);
    world.submit();
    let submit = world.next("job.submit");
    let mut accepted = vector("accepted-ruby-lease");
    accepted["session_id"] = SESSION.into();
    accepted["payload"]["reply_to"] = submit["id"].clone();
    world.feed(&accepted);
    let granted = world.events.iter().find_map(|event| match event {
        ClientEvent::Accepted { accepted, .. } => Some(GrantedLease::from(&**accepted)),
        _ => None,
    });
    assert_eq!(granted.expect("it was accepted").patterns("fs.read"), ["/**"]);
}

#[test]
fn features_are_the_intersection_whoever_announces_them() {
    let world = with(PeerProfile::Java);
    let session = world.client.session.as_ref().expect("open");
    assert!(session.features.has(Feature::Subscribe) && !session.features.has(Feature::Core));
}
