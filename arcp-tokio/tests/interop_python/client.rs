//! The client of the Python SDK against `arcp serve`.

use serde_json::{Value, json};

use crate::both_ways;
use crate::program::{CANARY, Runtime, soon};
use crate::python::{Python, Way};

both_ways! {
    connect: python_client_ws_connect, python_client_stdio_connect;
    submit: python_client_ws_submit, python_client_stdio_submit;
    events: python_client_ws_events, python_client_stdio_events;
    result: python_client_ws_result, python_client_stdio_result;
    cancel: python_client_ws_cancel, python_client_stdio_cancel;
    list: python_client_ws_list, python_client_stdio_list;
    subscribe: python_client_ws_subscribe, python_client_stdio_subscribe;
    resume: python_client_ws_resume, python_client_stdio_resume;
    chunked_result: python_client_ws_chunked_result, python_client_stdio_chunked_result;
    progress: python_client_ws_progress, python_client_stdio_progress;
    lease_violation: python_client_ws_lease_violation, python_client_stdio_lease_violation;
    budget: python_client_ws_budget, python_client_stdio_budget;
    delegation: python_client_ws_delegation, python_client_stdio_delegation;
    idempotent_retry: python_client_ws_idempotent_retry, python_client_stdio_idempotent_retry;
    unknown_agent: python_client_ws_unknown_agent, python_client_stdio_unknown_agent;
}

/// What the client saw when it played this case.
async fn play(python: &Python, way: Way, case: &str) -> Value {
    let runtime;
    let mut command = python.script("client.py", &[case]);
    command.env("ARCP_TOKEN", CANARY);
    match way {
        Way::WebSocket => {
            runtime = Runtime::start().await;
            command.env("ARCP_URL", &runtime.url);
        }
        Way::Stdio => {
            let serve = json!([env!("CARGO_BIN_EXE_arcp"), "serve", "--stdio", "--quiet"]);
            command.env("ARCP_COMMAND", serve.to_string()).env("ARCP_TOKENS", format!("{CANARY}=alice"));
        }
    }
    let output = soon(command.output()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{case}: {}\n{out}\n{err}", output.status);
    let facts = out.lines().last().and_then(|line| serde_json::from_str(line).ok());
    facts.unwrap_or_else(|| panic!("{case}: no facts: {out}\n{err}"))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

fn kinds(events: &Value) -> Vec<&str> {
    events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

/// The numbers that a progress event of `count` says.
fn counted(events: &Value) -> Vec<u64> {
    let events = events.as_array().unwrap();
    events.iter().map(|event| event["body"]["current"].as_u64().unwrap()).collect()
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

fn ids(page: &Value) -> Vec<&str> {
    page["jobs"].as_array().unwrap().iter().map(|job| job["job_id"].as_str().unwrap()).collect()
}

async fn connect(python: &Python, way: Way) {
    let facts = play(python, way, "connect").await;
    let negotiated = texts(&facts["negotiated"]);
    for feature in
        ["heartbeat", "ack", "list_jobs", "subscribe", "progress", "result_chunk", "agent_versions"]
    {
        assert!(negotiated.contains(&feature), "{feature}: {facts}");
    }
    let welcome = &facts["welcome"];
    assert_eq!(welcome["runtime"]["name"], "arcp");
    assert_eq!(
        (&welcome["resume_token"], &welcome["resume_window_sec"], &welcome["heartbeat_interval_sec"]),
        (&json!(46), &json!(600), &json!(30))
    );
    let agents = welcome["capabilities"]["agents"].as_array().unwrap();
    let report = json!({ "name": "report", "versions": ["1.0.0", "2.0.0"], "default": "2.0.0" });
    assert!(agents.contains(&report), "{facts}");
    assert_eq!(facts["refused"]["error"], "UNAUTHENTICATED");
}

async fn submit(python: &Python, way: Way) {
    let facts = play(python, way, "submit").await;
    let accepted = &facts["accepted"];
    assert_eq!((&accepted["agent"], &accepted["lease"]), (&json!("echo@1.0.0"), &json!({})));
    assert_eq!(accepted["trace_id"], facts["trace"]);
    assert_eq!(facts["end"]["final_status"], "success");
    assert_eq!(facts["end"]["result"], json!({ "n": 1, "text": "é" }));
}

async fn events(python: &Python, way: Way) {
    let facts = play(python, way, "events").await;
    let report = &facts["report"]["events"];
    assert_eq!(
        kinds(report),
        ["status", "log", "progress", "log", "progress", "log", "metric", "progress", "metric"]
    );
    assert_eq!(report[0]["body"]["phase"], "writing");
    assert_eq!(report[1]["body"], json!({ "level": "info", "message": "section 1: Envelopes" }));
    assert_eq!(
        (&report[8]["body"]["name"], &report[8]["body"]["value"]),
        (&json!("report.words"), &json!(50))
    );
    assert_eq!(facts["echo"]["end"]["result"], json!([]));
    assert_eq!(numbers(&facts["numbers"]), (1..=11).collect::<Vec<_>>(), "both jobs in one stream");
}

async fn result(python: &Python, way: Way) {
    let facts = play(python, way, "result").await;
    assert_eq!(facts["value"]["result"], json!({ "list": [1, 2.5, null] }));
    assert_eq!((&facts["null"]["final_status"], facts["null"].get("result")), (&json!("success"), None));
    let failed = &facts["failed"];
    assert_eq!((&failed["error"], &failed["message"]), (&json!("PERMISSION_DENIED"), &json!("no")));
    assert_eq!(failed["retryable"], false);
    assert_eq!(facts["timed_out"]["final_status"], "timed_out");
}

async fn cancel(python: &Python, way: Way) {
    let facts = play(python, way, "cancel").await;
    assert_eq!(facts["end"]["final_status"], "cancelled");
    assert!(texts(&facts["types"]).contains(&"job.cancelled"), "{facts}");
    assert_eq!(facts["after"]["result"], "still there");
}

async fn list(python: &Python, way: Way) {
    let facts = play(python, way, "list_jobs").await;
    let (finished, running) = (facts["finished"].as_str().unwrap(), facts["running"].as_str().unwrap());
    assert_eq!(ids(&facts["all"]), [running, finished]);
    let first = &facts["all"]["jobs"][0];
    assert_eq!((&first["agent"], &first["status"]), (&json!("count@1.0.0"), &json!("running")));
    assert_eq!(ids(&facts["by_status"]), [running]);
    assert_eq!(ids(&facts["by_agent"]), [finished]);
    let pages = &facts["pages"];
    assert_eq!((ids(&pages[0]), ids(&pages[1])), (vec![running], vec![finished]));
    assert!(pages[0].get("next_cursor").is_some() && pages[1].get("next_cursor").is_none(), "{pages}");
}

async fn subscribe(python: &Python, way: Way) {
    let facts = play(python, way, "subscribe").await;
    let counted = counted(&facts["events"]);
    assert!(counted.len() == 5 && counted.windows(2).all(|pair| pair[1] == pair[0] + 1), "{facts}");
    assert_eq!((&facts["replayed"], &facts["end"]["final_status"]), (&json!(0), &json!("cancelled")));
    if way == Way::Stdio {
        return;
    }
    let seen = numbers(&facts["numbers"]);
    assert!(seen.iter().copied().eq(1..=seen.len() as u64), "{facts}");

    let facts = play(python, way, "history").await;
    assert_eq!(facts["watcher"], facts["owner"], "the same events and end, from the beginning");
    assert_eq!(numbers(&facts["numbers"]), [1, 2, 3, 4, 5, 6]);
    assert_eq!((&facts["replayed"], &facts["unknown"]["error"]), (&json!(1), &json!("JOB_NOT_FOUND")));
}

async fn resume(python: &Python, way: Way) {
    let facts = play(python, way, "resume").await;
    let first = numbers(&facts["first"]);
    assert!(first.len() >= 3 && first.iter().copied().eq(1..=first.len() as u64), "{facts}");
    if way == Way::Stdio {
        // The runtime ended with its only connection, and its sessions with it.
        assert_eq!(facts["refused"]["error"], "UNAUTHENTICATED");
        return;
    }
    let second = numbers(&facts["second"]);
    let next = first.len() as u64 + 1;
    assert!(second.len() > 5 && second.iter().copied().eq(next..next + second.len() as u64), "{facts}");
    assert_eq!((&facts["same_session"], &facts["new_token"]), (&json!(true), &json!(true)));
    assert_eq!((&facts["watched"], &facts["end"]["final_status"]), (&json!("progress"), &json!("cancelled")));
    assert_eq!(facts["used_twice"]["error"], "UNAUTHENTICATED");
}

async fn chunked_result(python: &Python, way: Way) {
    let facts = play(python, way, "chunked_result").await;
    let chunks = facts["chunks"].as_array().unwrap();
    for (index, chunk) in chunks.iter().enumerate() {
        assert_eq!((&chunk["chunk_seq"], &chunk["encoding"]), (&json!(index), &json!("utf8")));
        assert_eq!((&chunk["result_id"], &chunk["more"]), (&facts["end"]["result_id"], &json!(index < 20)));
    }
    assert_eq!(chunks.len(), 21);
    assert_eq!(facts["text"], facts["whole"], "in pieces as in one");
    let text = facts["text"].as_str().unwrap();
    assert!(text.len() > 1_000 && facts["end"]["result_size"] == text.len(), "{}", facts["end"]);
    assert_eq!(facts["end"].get("result"), None);
}

async fn progress(python: &Python, way: Way) {
    let facts = play(python, way, "progress").await;
    let body = |current| json!({ "current": current, "total": 4, "units": "numbers" });
    let bodies: Vec<_> =
        facts["events"].as_array().unwrap().iter().map(|event| event["body"].clone()).collect();
    assert_eq!(bodies, [body(1), body(2), body(3), body(4)]);
    assert_eq!(facts["end"]["result"], 4);
}

/// The codes with which calls of tools were refused, in order.
fn calls(events: &Value) -> Vec<Option<&str>> {
    let events = events.as_array().unwrap().iter();
    events
        .filter(|event| event["kind"] == "tool_result")
        .map(|event| event["body"]["error"]["code"].as_str())
        .collect()
}

async fn lease_violation(python: &Python, way: Way) {
    let facts = play(python, way, "lease_violation").await;
    assert_eq!(facts["lease"], json!({ "tool.call": ["search.*"] }));
    assert_eq!(calls(&facts["events"]), [None, Some("PERMISSION_DENIED"), None]);
    assert_eq!(facts["end"]["result"], 2, "the job goes on");
    assert_eq!(calls(&facts["none"]["events"]), [Some("PERMISSION_DENIED"); 3], "without a lease");
    assert_eq!(facts["unknown"]["error"], "INVALID_REQUEST");
    assert_eq!(facts["constraints"], facts["asked_constraints"]);
    assert_eq!(facts["expired"]["error"], "LEASE_EXPIRED");
}

async fn budget(python: &Python, way: Way) {
    let facts = play(python, way, "budget").await;
    let accepted = &facts["accepted"];
    assert_eq!(accepted["lease"]["cost.budget"], json!(["USD:1.00"]));
    assert_eq!(accepted.get("budget"), None, "it reads only texts there");
    assert_eq!(calls(&facts["events"]), [None, None, None, Some("BUDGET_EXHAUSTED")]);
    let events = facts["events"].as_array().unwrap().iter();
    let left = events.filter(|event| event["body"]["name"] == "cost.budget.remaining");
    let left: Vec<_> = left.map(|event| event["body"]["value"].clone()).collect();
    assert_eq!(left, [json!(0.6), json!(0.2), json!(-0.2)]);
    assert_eq!(facts["end"]["result"], 3);
}

async fn delegation(python: &Python, way: Way) {
    let facts = play(python, way, "delegation").await;
    assert_eq!(facts["meanwhile"]["result"], "meanwhile");
    let topics: Vec<_> =
        facts["end"]["result"].as_array().unwrap().iter().map(|found| &found["topic"]).collect();
    assert_eq!(topics, ["tea", "cocoa"]);
    let delegated = facts["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "delegate");
    let children: Vec<_> = delegated.map(|event| event["body"]["child_job_id"].as_str().unwrap()).collect();
    let jobs = facts["jobs"]["jobs"].as_array().unwrap();
    let listed = jobs.iter().filter(|job| job["parent_job_id"] == facts["parent"]);
    let mut listed: Vec<_> = listed.map(|job| job["job_id"].as_str().unwrap()).collect();
    listed.reverse();
    assert!(children.len() == 2 && children == listed, "{facts}");
    // It would take the acceptance of a child for the answer to a submit.
    let accepted = texts(&facts["accepted"]);
    assert!(accepted.len() == 2 && accepted.iter().all(|job| !children.contains(job)), "{facts}");
    let ended = texts(&facts["ended"]);
    assert!(children.iter().all(|child| ended.contains(child)), "{facts}");
    let seen = numbers(&facts["numbers"]);
    assert!(seen.iter().copied().eq(1..=seen.len() as u64), "{facts}");
}

async fn idempotent_retry(python: &Python, way: Way) {
    let facts = play(python, way, "idempotent_retry").await;
    assert_eq!(facts["again"], facts["first"], "one job, and its events and end again");
    assert_eq!(counted(&facts["first"]["events"]), [1, 2]);
    assert_eq!(facts["other"]["error"], "DUPLICATE_KEY");
    assert_eq!(facts["other"]["details"]["existing_job_id"], facts["first"]["job_id"]);
    assert_eq!(facts["after"]["result"], "still there");
}

async fn unknown_agent(python: &Python, way: Way) {
    let facts = play(python, way, "unknown_agent").await;
    assert_eq!(facts["agent"]["error"], "AGENT_NOT_AVAILABLE");
    assert_eq!(facts["version"]["error"], "AGENT_VERSION_NOT_AVAILABLE");
    assert_eq!(facts["after"]["result"], "still there");
}
