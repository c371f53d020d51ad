//! Signals, and standard input and output as a transport.

use std::process::Stdio;

use arcp_driver::{ClientConfig, JobEvent};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::program::{CANARY, Running, Runtime, arcp, soon, submit};

#[tokio::test]
async fn an_interrupt_cancels_the_job_and_waits_for_its_end() {
    let runtime = Runtime::start().await;
    let mut running = Running::start(runtime.submit(&["sleep", "--json", "--input", r#"{"seconds":600}"#]));
    running.until("sleeping").await;
    running.signal("INT").await;
    let ran = running.end().await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(ran.of_type("error")[0]["final_status"], "cancelled");
    assert!(ran.complaint().starts_with("the job ended as cancelled"), "{ran:?}");
}

#[tokio::test]
async fn a_second_interrupt_leaves_at_once() {
    let runtime = Runtime::start().await;
    let mut running = Running::start(runtime.submit(&["sleep", "--input", r#"{"seconds":600}"#]));
    running.until("sleeping").await;
    // A runtime that stands still cannot answer the cancel.
    runtime.running.signal("STOP").await;
    running.signal("INT").await;
    running.until("cancelling the job").await;
    running.signal("INT").await;
    let ran = running.end().await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.complaint().contains("the job may still run"), "{ran:?}");
}

#[tokio::test]
async fn a_server_says_goodbye_and_ends_well() {
    for signal in ["INT", "TERM"] {
        let mut runtime = Runtime::start().await;
        let url = runtime.url.clone();
        let mut client = Running::start(submit(&url, &["sleep", "--json", "--input", r#"{"seconds":600}"#]));
        client.until("sleeping").await;
        runtime.running.signal(signal).await;
        client.until("disconnected").await;
        let started = soon(runtime.running.err.next_line()).await.unwrap().unwrap();
        assert!(started.ends_with("sleep@1.0.0 started for alice"), "{started}");
        let ran = runtime.running.end().await;
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
        assert!(ran.err.starts_with("arcp: shutting down"), "{ran:?}");
    }
}

fn stdio() -> tokio::process::Command {
    let mut command = arcp(&["serve", "--stdio"]);
    command.env("ARCP_TOKENS", format!("{CANARY}=alice"));
    command
}

#[tokio::test]
async fn a_child_serves_its_parent() {
    let mut command = stdio();
    // What connects makes its own pipes.
    command.stderr(Stdio::null());
    let client = soon(arcp_tokio::connect_child(command, ClientConfig::new(CANARY))).await.unwrap();
    let mut job = soon(client.submit("report").input(&json!({ "sections": 2 })).into_future()).await.unwrap();
    let mut positions = Vec::new();
    while let Some(event) = soon(job.next()).await {
        positions.extend(event.as_ref().map(JobEvent::position).unwrap());
    }
    assert_eq!(positions, (1..=u64::try_from(positions.len()).unwrap()).collect::<Vec<_>>());
    let text: String = soon(job.result()).await.unwrap();
    assert!(text.starts_with("1. Envelopes\n") && text.contains("2. Sessions\n"), "{text}");
    soon(client.close()).await;
}

#[tokio::test]
async fn standard_output_carries_envelopes_and_nothing_else() {
    let mut command = stdio();
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.child.stdin.take().unwrap();
    let mut say = async |envelope: Value| stdin.write_all(format!("{envelope}\n").as_bytes()).await.unwrap();
    say(json!({ "arcp": "1.1", "id": "m1", "type": "session.hello", "payload": {
        "client": { "name": "test", "version": "1" },
        "auth": { "scheme": "bearer", "token": CANARY },
        "capabilities": { "encodings": ["json"], "features": ["progress", "result_chunk"] },
    } }))
    .await;
    let welcome = soon(running.out.next_line()).await.unwrap().unwrap();
    let welcome: Value = serde_json::from_str(&welcome).unwrap();
    assert_eq!(welcome["type"], "session.welcome");
    let session = &welcome["session_id"];
    for (id, agent, input) in [("m2", "count", json!({ "to": 2 })), ("m3", "fail", json!(null))] {
        let payload = json!({ "agent": agent, "input": input });
        say(json!({ "arcp": "1.1", "id": id, "type": "job.submit", "session_id": session, "payload": payload })).await;
        running.until(if agent == "fail" { "job.error" } else { "job.result" }).await;
    }
    say(json!("not an envelope")).await;
    drop(stdin);
    let ran = running.end().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for envelope in ran.objects() {
        assert_eq!((&envelope["arcp"], envelope["type"].is_string()), (&json!("1.1"), true), "{envelope}");
    }
    let log: Vec<&str> = ran.err.lines().collect();
    assert_eq!(log.len(), 4, "{log:?}");
    assert!(log[0].ends_with("count@1.0.0 started for alice"), "{log:?}");
    assert!(log[3].ends_with("fail@1.0.0 failed: INTERNAL_ERROR: the job was asked to fail"), "{log:?}");
}

#[tokio::test]
async fn a_terminated_child_says_goodbye() {
    let mut command = stdio();
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.child.stdin.take().unwrap();
    let hello = json!({ "arcp": "1.1", "id": "m1", "type": "session.hello", "payload": {
        "client": { "name": "test", "version": "1" }, "auth": { "scheme": "bearer", "token": CANARY },
        "capabilities": { "encodings": ["json"], "features": [] },
    } });
    stdin.write_all(format!("{hello}\n").as_bytes()).await.unwrap();
    running.until("session.welcome").await;
    running.signal("TERM").await;
    let ran = running.end().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let last = ran.objects().pop().unwrap();
    assert_eq!(last["type"], "session.bye", "{ran:?}");
    drop(stdin);
}
