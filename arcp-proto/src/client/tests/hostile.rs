//! The hostile vectors for a client, all of them.

use std::format;

use serde_json::{Value, json};

use super::peer::{JOB, SESSION, World};
use crate::client::ClientState;
use crate::config::ClientConfig;
use crate::feature::{Feature, Features};

const VECTORS: &str = include_str!("../../../../tests/vectors/hostile.jsonl");

fn all_of_the_spec() -> Features {
    Feature::ALL.iter().copied().filter(|feature| *feature != Feature::Core).collect()
}

fn world() -> World {
    let mut config = ClientConfig::new("good");
    config.features = all_of_the_spec();
    World::with(config, all_of_the_spec())
}

/// The state that the first line of the vectors describes.
fn active(fixture: &Value) -> World {
    assert_eq!(
        (fixture["session_id"].as_str(), fixture["own_live_job"].as_str()),
        (Some(SESSION), Some(JOB))
    );
    let done = fixture["client_finished_job"].as_str().unwrap();
    let last = fixture["client_last_contiguous"].as_u64().unwrap();
    let mut world = world();
    world.connect();
    world.submit_with("k-1");
    world.accept(JOB);
    world.submit_with("k-2");
    world.accept(done);
    for seq in 1..last {
        world.log(JOB, seq, seq);
    }
    world.end(done, last, 1);
    for seq in 1..=last {
        world.taken(seq);
    }
    world.told();
    world.sent.clear();
    assert_eq!(world.client.numbers.last(), last);
    world
}

#[test]
fn every_line_for_a_client_is_judged_as_published() {
    let mut lines = VECTORS.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let fixture: Value = serde_json::from_str(lines.next().unwrap()["input"].as_str().unwrap()).unwrap();
    let last = fixture["client_last_contiguous"].as_u64().unwrap();
    let mut judged = 0;
    for line in lines.filter(|line| line["at"] == "client") {
        judged += 1;
        let name = line["name"].as_str().unwrap();
        let input = line["input"].as_str().unwrap();
        let number = serde_json::from_str::<Value>(input).ok().and_then(|frame| frame["event_seq"].as_u64());
        if line["state"] == "await_welcome" {
            let mut world = world();
            let hello = world.open();
            world.feed_text(input);
            match line["expect"].as_str().unwrap() {
                "accept" => {
                    let proposed = hello["session_id"].as_str().unwrap();
                    let session = if input.contains(SESSION) { SESSION } else { proposed };
                    assert_eq!(world.told(), [format!("connected {session} resumed=false")], "{name}");
                    let timer = world.client.next_timer();
                    assert_eq!(timer.is_some(), input.contains("heartbeat"), "{name}");
                }
                "close" => {
                    assert_eq!(world.closes.len(), 1, "{name}");
                    assert_eq!(world.client.state(), ClientState::Waiting, "{name}: a failed attempt");
                    assert!(world.told().is_empty(), "{name}");
                }
                other => panic!("{name}: {other}"),
            }
            continue;
        }
        let mut world = active(&fixture);
        let ignored = world.client.ignored_frames();
        world.feed_text(input);
        let told = world.told();
        match line["expect"].as_str().unwrap() {
            "accept" => {
                assert_eq!(world.client.state(), ClientState::Connected, "{name}");
                assert_eq!(world.client.numbers.last(), number.unwrap_or(last), "{name}");
            }
            "ignore" => {
                assert_eq!(world.client.state(), ClientState::Connected, "{name}");
                assert!(told.is_empty(), "{name}: {told:?}");
                assert_eq!(world.client.numbers.last(), last, "{name}");
                assert_eq!(world.client.ignored_frames(), ignored + 1, "{name}");
                world.nothing_sent();
            }
            "resume" => {
                assert_eq!(told, ["disconnected"], "{name}");
                let hello = world.reopen_after_close();
                assert_eq!(hello["payload"]["resume"]["last_event_seq"], json!(last), "{name}");
                assert_eq!(hello["session_id"], SESSION, "{name}");
            }
            "close" => {
                assert_eq!(told, ["closed TakenOver"], "{name}");
                assert_eq!((world.client.state(), world.closes.len()), (ClientState::Closed, 1), "{name}");
                assert_eq!(world.client.poll_timeout(), None, "{name}: it does not reconnect");
            }
            other => panic!("{name}: {other}"),
        }
        let expected = match name {
            "client-next-number" => format!("event {JOB} 11 log"),
            "client-unnumbered-event" => format!("event {JOB} - log"),
            "client-unknown-kind" => format!("event {JOB} 11 telepathy"),
            "client-kind-missing" => format!("event {JOB} 11 unreadable"),
            "client-chunk-hole" | "client-chunk-bad-base64" | "client-chunk-negative-seq" => {
                format!("event {JOB} 11 result_chunk")
            }
            "client-error-null-details" => "error INVALID_REQUEST".into(),
            "client-error-unknown-code" => "error RATE_LIMITED".into(),
            "client-result-unknown-status" => format!("ended {JOB} 11 error"),
            "client-event-unknown-job" | "client-second-terminal" | "client-budget-nan-string" => {
                assert!(told.is_empty(), "{name}: {told:?}");
                continue;
            }
            _ => continue,
        };
        assert_eq!(told, [expected], "{name}");
    }
    assert_eq!(judged, 35);
}
