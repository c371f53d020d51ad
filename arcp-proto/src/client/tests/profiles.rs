//! What differs towards each known runtime (protocol §12.3, second table).

mod leases;
mod left_behind;
mod numbers;
mod rejections;

use core::time::Duration;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::{Value, json};

use super::peer::{JOB, SESSION, World, job};
use crate::client::{ClientEvent, RequestError};
use crate::client::{ClientState, Submission, Subscription};
use crate::config::ClientConfig;
use crate::feature::{Feature, Features};
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

/// Why the first refused request was.
fn rejected(world: &World) -> Option<&RequestError> {
    world.events.iter().find_map(|event| match event {
        ClientEvent::Rejected { error, .. } => Some(error),
        _ => None,
    })
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
fn jobs_that_were_not_submitted_here_may_be_ended_by_a_goodbye_too() {
    let mut config = ClientConfig::new("tk");
    config.other_jobs = true;
    let mut world = configured(PeerProfile::Java, config);
    world.log(OTHER, 1, 1);
    world.client.close(world.now, None);
    world.drain();
    assert!(sent(&mut world).is_empty());
    assert_eq!(world.client.state(), ClientState::Closed);
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
fn a_resume_that_comes_too_early_is_no_attempt_in_vain() {
    let mut config = ClientConfig::new("tk");
    config.max_attempts = Some(2);
    let mut world = configured(PeerProfile::Go, config);
    world.submit();
    world.accept(JOB);
    world.reopen();
    for _ in 0..5 {
        world.feed(&bad_resume(PeerProfile::Go));
        world.pass(2 * SECOND);
        world.open();
    }
    world.client.handle_closed(world.now);
    assert_eq!(world.client.state(), ClientState::Waiting);
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

#[test]
fn features_are_the_intersection_whoever_announces_them() {
    let world = with(PeerProfile::Java);
    let session = world.client.session.as_ref().expect("open");
    assert!(session.features.has(Feature::Subscribe) && !session.features.has(Feature::Core));
}
