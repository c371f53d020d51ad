//! Results in pieces (protocol §4.4).

use std::string::String;
use std::vec::Vec;

use serde_json::{Value, json};

use super::harness::{ALL, World, code, limit, seqs, types};
use crate::error::ApiMisuse;
use crate::feature::{Feature, Features};
use crate::runtime::{AgentEnd, AgentInput, ConnectionId, JobHandle};
use crate::wire::RawJson;
use crate::wire::event::ChunkEmission;
use crate::wire::peer::TransportKind;

fn give(world: &mut World, job: JobHandle, chunk: ChunkEmission) -> Result<(), ApiMisuse> {
    let done = world.runtime.handle_agent(world.now, job, AgentInput::Chunk(chunk));
    world.settle();
    done
}

fn utf8(world: &mut World, job: JobHandle, text: &str, more: bool) {
    give(world, job, ChunkEmission::utf8(text, more).unwrap()).unwrap();
}

fn one_job(features: Features) -> (World, ConnectionId, JobHandle, String) {
    let mut world = World::new();
    let (a, _) = world.session(features);
    let (job, id) = world.submit(a, "m1");
    (world, a, job, id)
}

fn bodies(frames: &[Value]) -> Vec<Value> {
    frames
        .iter()
        .filter(|frame| frame["type"] == "job.event")
        .map(|frame| frame["payload"]["body"].clone())
        .collect()
}

#[test]
fn a_streamed_result_is_numbered_closed_and_sized() {
    let (mut world, a, job, _) = one_job(ALL);
    utf8(&mut world, job, "größe ", true);
    utf8(&mut world, job, "", true);
    utf8(&mut world, job, "☃", false);
    world.finish(job, "null");
    let frames = world.take(a);
    let chunks = bodies(&frames);
    let id = chunks[0]["result_id"].clone();
    assert!(id.as_str().unwrap().starts_with("res_"));
    for (n, (data, more)) in [("größe ", true), ("", true), ("☃", false)].into_iter().enumerate() {
        let expected =
            json!({"result_id": id, "chunk_seq": n, "data": data, "encoding": "utf8", "more": more});
        assert_eq!(chunks[n], expected, "CHK-1");
    }
    let end = &frames[3]["payload"];
    assert_eq!((&end["result_id"], &end["result_size"]), (&id, &json!("größe ☃".len())), "CHK-2, D-47");
    assert!(end.get("result").is_none());
}

#[test]
fn a_stream_left_open_is_closed_with_its_own_encoding() {
    let (mut world, a, job, _) = one_job(ALL);
    give(&mut world, job, ChunkEmission::base64(b"abc", true).unwrap()).unwrap();
    world.finish(job, "null");
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.event", "job.event", "job.result"]);
    let chunks = bodies(&frames);
    assert_eq!((&chunks[0]["data"], &chunks[0]["more"]), (&json!("YWJj"), &json!(true)));
    let last = (&chunks[1]["data"], &chunks[1]["more"], &chunks[1]["encoding"]);
    assert_eq!(last, (&json!(""), &json!(false), &json!("base64")));
    assert_eq!(frames[2]["payload"]["result_size"], 3, "decoded bytes");
}

#[test]
fn the_rules_of_a_stream_are_the_agents_to_keep() {
    let (mut world, a, job, _) = one_job(ALL);
    utf8(&mut world, job, "x", true);
    let other = give(&mut world, job, ChunkEmission::base64(b"y", true).unwrap());
    assert!(matches!(other, Err(ApiMisuse::Chunk(_))), "one encoding");
    utf8(&mut world, job, "z", false);
    let late = give(&mut world, job, ChunkEmission::utf8("!", true).unwrap());
    assert!(matches!(late, Err(ApiMisuse::Chunk(_))), "nothing follows the last chunk");
    world.finish(job, "null");
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.event", "job.event", "job.result"]);
    assert_eq!(frames[2]["payload"]["result_size"], 2);
}

#[test]
fn a_value_behind_a_stream_is_a_failure_and_a_failure_voids_the_stream() {
    let (mut world, a, job, _) = one_job(ALL);
    utf8(&mut world, job, "x", true);
    world.finish(job, "1");
    let frames = world.take(a);
    assert_eq!(types(&frames), ["job.event", "job.error"]);
    assert_eq!(code(&frames[1]), "INTERNAL_ERROR");
    assert!(frames[1]["payload"].get("result_id").is_none());
}

#[test]
fn a_submitter_without_chunks_gets_the_result_inline() {
    for (pieces, expected) in [
        (["größe", " ☃"].map(|text| ChunkEmission::utf8(text, true).unwrap()), "größe ☃"),
        ([&b"ab"[..], &b"cd\xff"[..]].map(|bytes| ChunkEmission::base64(bytes, true).unwrap()), "YWJjZP8="),
    ] {
        let (mut world, a, job, _) = one_job(ALL.without(Feature::ResultChunk));
        for piece in pieces {
            give(&mut world, job, piece).unwrap();
        }
        assert!(world.take(a).is_empty(), "collected silently (D-43)");
        world.finish(job, "null");
        let end = world.one(a);
        assert_eq!((end["event_seq"].as_u64(), &end["payload"]["result"]), (Some(1), &json!(expected)));
        assert!(end["payload"].get("result_id").is_none(), "SES-7");
    }
}

#[test]
fn a_collected_result_that_fits_no_frame_fails_instead_of_being_cut() {
    // Raw bytes within the limit, but not once escaped; then over it as they come.
    let escapes = "\u{1}".repeat(100_000);
    let plain = "x".repeat(500_000);
    for (pieces, features) in [
        (std::vec![escapes.as_str(), escapes.as_str()], ALL),
        (std::vec![plain.as_str(), plain.as_str()], ALL),
        // To a stranger the value goes out twice.
        (std::vec![plain.as_str(), "y"], ALL.without(Feature::Core)),
    ] {
        let (mut world, a, job, _) = one_job(features.without(Feature::ResultChunk));
        let mut refused = false;
        for piece in pieces {
            refused |= give(&mut world, job, ChunkEmission::utf8(piece, true).unwrap()).is_err();
        }
        if !refused {
            world.finish(job, "null");
        }
        let end = world.one(a);
        if features.has(Feature::Core) || refused {
            assert_eq!((code(&end), limit(&end)), ("INTERNAL_ERROR", "result_bytes"));
        } else {
            assert_eq!(end["payload"]["result"].as_str().map(str::len), Some(500_001), "{}", code(&end));
            assert_eq!(end["payload"]["result"], end["payload"]["output"]);
        }
        assert!(world.texts[&a].iter().all(|text| text.len() <= 1_048_576));
    }
}

#[test]
fn an_inline_result_that_fits_no_frame_fails() {
    for (features, bytes, fits) in [
        (ALL, 1_040_000, true),
        (ALL, 1_048_576, false),
        (ALL.without(Feature::Core), 520_000, true),
        (ALL.without(Feature::Core), 530_000, false),
    ] {
        let (mut world, a, job, _) = one_job(features);
        let value = std::format!("\"{}\"", "x".repeat(bytes - 2));
        world.finish(job, &value);
        let end = world.one(a);
        assert_eq!(end["type"] == "job.result", fits, "{bytes}");
        if fits {
            assert_eq!(end["payload"]["result"].as_str().unwrap().len(), bytes - 2, "whole, not omitted");
        } else {
            assert_eq!(limit(&end), "frame");
        }
    }
}

#[test]
fn a_subscriber_without_chunks_gets_only_the_end() {
    let (mut world, a, job, id) = one_job(ALL);
    let (b, _) = world.session(ALL.without(Feature::ResultChunk));
    let (c, _) = world.session(ALL.without(Feature::ResultChunk));
    world.send(b, "m2", "job.subscribe", json!({"job_id": id}));
    world.take(b);
    utf8(&mut world, job, "x", true);
    utf8(&mut world, job, "y", false);
    world.finish(job, "null");
    assert_eq!(seqs(&world.take(a)), [1, 2, 3]);
    world.send(c, "m3", "job.subscribe", json!({"job_id": id, "history": true}));
    for frames in [world.take(b), world.take(c)[1..].to_vec()] {
        assert_eq!((types(&frames), seqs(&frames)), (std::vec!["job.result"], std::vec![1]), "D-71");
        assert_eq!(frames[0]["payload"]["pos"], 3);
    }
}

#[test]
fn a_chunk_larger_than_the_owners_frames_is_refused() {
    let mut world = World::new();
    let a = world.open_over(TransportKind::Lines);
    world.send(a, "h", "session.hello", super::harness::hello("good", ALL.without(Feature::Core)));
    world.take(a);
    let (job, _) = world.submit(a, "m1");
    let refused = give(&mut world, job, ChunkEmission::utf8(&"x".repeat(66_000), true).unwrap());
    let Err(ApiMisuse::TooLarge { bytes, limit: 65_536 }) = refused else { panic!("{refused:?}") };
    utf8(&mut world, job, &"x".repeat(66_000 - (bytes - 65_536)), true);
    utf8(&mut world, job, "fits", false);
    world.finish(job, "null");
    assert_eq!(types(&world.take(a)), ["job.event", "job.event", "job.result"]);
}

#[test]
fn a_stopped_job_ends_by_its_reason_even_where_the_stream_is_too_long() {
    let mut config = super::harness::config();
    config.limits.result_bytes = 10;
    let mut world = World::with(config);
    let (a, _) = world.session(ALL);
    let (job, id) = world.submit(a, "m1");
    world.ask(a, "m2", "job.cancel", json!({"job_id": id}));
    let refused = give(&mut world, job, ChunkEmission::utf8("more than ten bytes", true).unwrap());
    assert_eq!(refused, Err(ApiMisuse::JobEnded));
    assert_eq!(code(&world.one(a)), "CANCELLED", "job.cancelled was a promise (§3.5)");
}

#[test]
fn a_summary_travels_with_either_kind_of_result() {
    for streams in [false, true] {
        let (mut world, a, job, _) = one_job(ALL);
        if streams {
            utf8(&mut world, job, "x", false);
            world.take(a);
        }
        let end = AgentEnd::Value { value: RawJson::null(), summary: Some("done".into()) };
        world.runtime.handle_agent(world.now, job, AgentInput::Finish(end)).unwrap();
        world.settle();
        let end = world.one(a);
        assert_eq!(end["payload"]["summary"], "done");
        assert_eq!(end["payload"].get("result").is_some(), !streams, "null for unit, none for a stream");
    }
}
