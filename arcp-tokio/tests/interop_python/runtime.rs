//! Our client against the runtime of the Python SDK.

use std::future::IntoFuture;
use std::process::Stdio;
use std::time::Duration;

use arcp_driver::connect::ClientStartError;
use arcp_driver::{
    Client, ClientConfig, ClientError, ClosedReason, ErrorPayload, EventBody, FinalStatus, Job, JobError,
    JobEvent, JobId, JobOutput, LogLevel, RequestError, SessionEvent, SessionState, TraceId,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::both_ways;
use crate::program::CANARY;
use crate::python::{Python, Way};
use crate::relay::Relay;

both_ways! {
    connect: our_client_python_runtime_ws_connect, our_client_python_runtime_stdio_connect;
    submit: our_client_python_runtime_ws_submit, our_client_python_runtime_stdio_submit;
    events: our_client_python_runtime_ws_events, our_client_python_runtime_stdio_events;
    result: our_client_python_runtime_ws_result, our_client_python_runtime_stdio_result;
    cancel: our_client_python_runtime_ws_cancel, our_client_python_runtime_stdio_cancel;
    list: our_client_python_runtime_ws_list, our_client_python_runtime_stdio_list;
    subscribe: our_client_python_runtime_ws_subscribe, our_client_python_runtime_stdio_subscribe;
    resume: our_client_python_runtime_ws_resume, our_client_python_runtime_stdio_resume;
    chunked_result: our_client_python_runtime_ws_chunked_result, our_client_python_runtime_stdio_chunked_result;
    progress: our_client_python_runtime_ws_progress, our_client_python_runtime_stdio_progress;
    lease_violation: our_client_python_runtime_ws_lease_violation, our_client_python_runtime_stdio_lease_violation;
    budget: our_client_python_runtime_ws_budget, our_client_python_runtime_stdio_budget;
    idempotent_retry: our_client_python_runtime_ws_idempotent_retry, our_client_python_runtime_stdio_idempotent_retry;
    unknown_agent: our_client_python_runtime_ws_unknown_agent, our_client_python_runtime_stdio_unknown_agent;
}

/// The runtime, which ends with this.
struct Served<'a> {
    python: &'a Python,
    /// Its process and its URL; over stdio each client starts its own.
    listening: Option<(Child, String)>,
}

impl<'a> Served<'a> {
    async fn start(python: &'a Python, way: Way) -> Self {
        if way == Way::Stdio {
            return Self { python, listening: None };
        }
        let mut command = python.script("runtime.py", &["ws"]);
        command.env("ARCP_TOKENS", tokens()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = soon(lines.next_line()).await.unwrap().expect("it says where it listens");
        Self { python, listening: Some((child, url)) }
    }

    async fn client(&self) -> Client {
        self.client_with(CANARY).await.unwrap()
    }

    async fn client_with(&self, token: &str) -> Result<Client, ClientStartError> {
        match &self.listening {
            Some((_, url)) => soon(arcp_tokio::connect(url).token(token)).await,
            None => {
                let mut command = self.python.script("runtime.py", &["stdio"]);
                command.env("ARCP_TOKENS", tokens());
                soon(arcp_tokio::connect_child(command, ClientConfig::new(token))).await
            }
        }
    }
}

/// Far less than a case that hangs would take.
async fn soon<F: IntoFuture>(future: F) -> F::Output {
    crate::program::soon(future.into_future()).await
}

fn tokens() -> String {
    json!({ CANARY: "alice", "other": "bob" }).to_string()
}

async fn next(job: &mut Job) -> JobEvent {
    soon(job.next()).await.expect("not over").unwrap()
}

/// The rest of its events.
async fn rest(job: &mut Job) -> Vec<JobEvent> {
    let mut events = Vec::new();
    while let Some(event) = soon(job.next()).await {
        events.push(event.unwrap());
    }
    events
}

fn counted(event: &JobEvent) -> u64 {
    match event.body().unwrap() {
        EventBody::Progress { current, .. } => current.to_u64().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn kinds(events: &[JobEvent]) -> Vec<&str> {
    events.iter().map(|event| event.kind().as_str()).collect()
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Box<ErrorPayload> {
    match result {
        Err(ClientError::Request(RequestError::Refused(error))) => error,
        other => panic!("{other:?}"),
    }
}

fn failed<T: std::fmt::Debug>(result: Result<T, JobError>) -> (FinalStatus, Option<String>) {
    match result {
        Err(JobError::Failed { status, error }) => (status, error.map(|error| error.code)),
        other => panic!("{other:?}"),
    }
}

/// What makes the agent `count` go on until somebody stops it.
fn forever() -> Value {
    json!({ "to": 100_000, "delay_ms": 20 })
}

async fn count_for_ever(client: &Client) -> Job {
    soon(client.submit("count").input(&forever())).await.unwrap()
}

/// It takes another job and does it.
async fn still_works(client: &Client) {
    let mut job = soon(client.submit("echo").input("still there")).await.unwrap();
    assert_eq!(soon(job.result::<String>()).await.unwrap(), "still there");
}

async fn connect(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let connected = client.connected().await.unwrap();
    assert_eq!(connected.runtime_name.as_deref(), Some("python"));
    let features: Vec<_> = connected.features.iter().map(|feature| feature.as_str()).collect();
    assert_eq!(
        features,
        [
            "heartbeat",
            "ack",
            "list_jobs",
            "subscribe",
            "lease_expires_at",
            "cost.budget",
            "progress",
            "result_chunk",
            "agent_versions"
        ]
    );
    let (_, echo) = connected.agents.iter().find(|(name, _)| name == "echo").unwrap();
    assert_eq!(
        (echo.versions.as_slice(), echo.default.as_deref()),
        (["1.0.0".into(), "2.0.0".into()].as_slice(), Some("1.0.0"))
    );
    soon(client.close()).await;
    let SessionState::Closed(reason) = client.state() else { panic!("{client:?}") };
    assert_eq!(reason.to_string(), "the session was closed");
    match served.client_with("nobody's").await {
        Err(ClientStartError::Client(ClientError::Closed(reason))) => {
            assert!(matches!(&*reason, ClosedReason::Unauthenticated(_)), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

async fn submit(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let trace = TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
    let input = json!({ "n": 1, "text": "é", "nothing": null });
    let mut job = soon(client.submit("echo@2.0.0").input(&input).trace_id(trace)).await.unwrap();
    assert_eq!(job.accepted().agent.as_deref(), Some("echo@2.0.0"));
    assert_eq!(job.accepted().trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(soon(job.result::<Value>()).await.unwrap(), input);
    let several = futures_util::future::join_all((0..5).map(|number| {
        let client = client.clone();
        async move { client.submit("echo").input(&number).await.unwrap().result::<u64>().await.unwrap() }
    }));
    assert_eq!(soon(several).await, [0, 1, 2, 3, 4]);
}

async fn events(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let mut job = soon(client.submit("talk")).await.unwrap();
    let events = rest(&mut job).await;
    assert_eq!(
        kinds(&events),
        [
            "log",
            "thought",
            "tool_call",
            "tool_result",
            "tool_result",
            "status",
            "metric",
            "artifact_ref",
            "progress",
            "x-vendor.interop.note"
        ]
    );
    assert!(events.iter().all(|event| event.time().is_some() && event.position().is_none()));
    let bodies: Vec<_> = events.iter().map(|event| event.body().unwrap()).collect();
    assert!(
        matches!(&bodies[0], EventBody::Log { level: LogLevel::Warn, message, attributes: Some(_) } if message == "look")
    );
    assert!(matches!(&bodies[1], EventBody::Thought { text } if text == "hm"));
    assert!(
        matches!(&bodies[2], EventBody::ToolCall { tool, call_id: Some(id), args } if tool == "search.web" && id == "c1" && args.as_str() == r#"{"q":"arcp"}"#)
    );
    assert!(
        matches!(&bodies[3], EventBody::ToolResult { call_id: Some(id), result: Ok(result) } if id == "c1" && result.as_str() == r#"{"hits":3}"#)
    );
    assert!(
        matches!(&bodies[4], EventBody::ToolResult { call_id: Some(id), result: Err(failure) } if id == "c2" && failure.code == "TIMEOUT")
    );
    assert!(matches!(&bodies[5], EventBody::Status { phase, .. } if phase == "thinking"));
    assert!(
        matches!(&bodies[6], EventBody::Metric { name, value, unit: Some(unit), dimensions } if name == "words" && value.to_f64() == 12.0 && unit == "words" && dimensions.len() == 1)
    );
    assert!(
        matches!(&bodies[7], EventBody::ArtifactRef { content_type: Some(kind), byte_size: Some(5), .. } if kind == "text/plain")
    );
    assert!(matches!(&bodies[8], EventBody::Progress { total: None, .. }));
    assert!(matches!(&bodies[9], EventBody::Other(body) if body.as_str() == r#"{"n":1}"#));
    assert_eq!(soon(job.result::<Value>()).await.unwrap(), Value::Null);
}

async fn result(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let run = async |agent: &str, input: Value| {
        let mut job = client.submit(agent).input(&input).await.unwrap();
        job.result::<Value>().await
    };
    let value = json!({ "list": [1, 2.5, null] });
    assert_eq!(soon(run("echo", value.clone())).await.unwrap(), value);
    assert_eq!(soon(run("echo", Value::Null)).await.unwrap(), Value::Null);
    assert_eq!(
        failed(soon(run("fail", json!("denied"))).await),
        (FinalStatus::Error, Some("PERMISSION_DENIED".into()))
    );
    assert_eq!(
        failed(soon(run("fail", json!(""))).await),
        (FinalStatus::Error, Some("INTERNAL_ERROR".into()))
    );
    let submit = client.submit("count").input(&forever()).max_runtime(Duration::from_secs(1));
    let mut job = soon(submit).await.unwrap();
    assert_eq!(failed(soon(job.output()).await).0, FinalStatus::TimedOut);
}

async fn cancel(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let mut job = count_for_ever(&client).await;
    next(&mut job).await;
    let answer = soon(job.cancel().reason("enough")).await.unwrap();
    assert_eq!(answer.current_status.as_deref(), Some("cancelled"), "the end of the job is the answer");
    assert_eq!(failed(soon(job.output()).await).0, FinalStatus::Cancelled);
    let nobodys = JobId::new("job_00000000000000000000000000").unwrap();
    assert_eq!(refused(soon(client.cancel(&nobodys)).await).code, "JOB_NOT_FOUND");
    still_works(&client).await;
}

async fn list(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let mut finished = soon(client.submit("echo")).await.unwrap();
    soon(finished.output()).await.unwrap();
    let mut running = count_for_ever(&client).await;
    next(&mut running).await;
    let all = soon(client.jobs().page_size(1).all()).await.unwrap();
    let seen: Vec<_> =
        all.iter().map(|job| (&job.job_id, job.agent.as_deref(), job.status.as_deref())).collect();
    assert_eq!(
        seen,
        [
            (finished.id(), Some("echo@1.0.0"), Some("success")),
            (running.id(), Some("count@1.0.0"), Some("running"))
        ],
        "oldest first"
    );
    assert!(all.iter().all(|job| job.created_at.is_some()));
    let by_status = soon(client.jobs().status("running").all()).await.unwrap();
    assert_eq!(by_status.iter().map(|job| &job.job_id).collect::<Vec<_>>(), [running.id()]);
    assert_eq!(soon(client.jobs().agent("echo@1.0.0").all()).await.unwrap().len(), 1);
    assert_eq!(soon(client.jobs().agent("echo").all()).await.unwrap().len(), 0, "it compares the whole name");
}

/// Over stdio, where nobody else can connect, the session subscribes to its own job.
async fn subscribe(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let owner = served.client().await;
    let mut job = count_for_ever(&owner).await;
    next(&mut job).await;
    let watcher = if way == Way::Stdio { owner.clone() } else { served.client().await };
    let mut watch = soon(watcher.subscribe(job.id())).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(counted(&soon(watch.next()).await.unwrap().unwrap()));
    }
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
    soon(job.cancel()).await.unwrap();
    assert_eq!(failed(soon(watch.output()).await).0, FinalStatus::Cancelled);
    assert_eq!(failed(soon(job.output()).await).0, FinalStatus::Cancelled);
    let mut finished = soon(owner.submit("count").input(&json!({ "to": 3 }))).await.unwrap();
    soon(finished.output()).await.unwrap();
    let mut late = soon(watcher.subscribe(finished.id()).history()).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = soon(late.next()).await {
        seen.push(counted(&event.unwrap()));
    }
    assert_eq!((seen, soon(late.result::<u64>()).await.unwrap()), (vec![1, 2, 3], 3));
    let nobodys = JobId::new("job_00000000000000000000000000").unwrap();
    assert_eq!(refused(soon(watcher.subscribe(&nobodys)).await).code, "JOB_NOT_FOUND");
}

async fn resume(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let relay = match &served.listening {
        Some((_, url)) => Relay::start(url).await,
        None => return resume_without_runtime(&served.client().await).await,
    };
    let direct = served.client().await;
    let client = soon(arcp_tokio::connect(&relay.url).token(CANARY)).await.unwrap();
    let session = client.session_id();
    let mut finished = soon(client.submit("echo").input(&1)).await.unwrap();
    let mut running = count_for_ever(&client).await;
    let mut ends_meanwhile = count_for_ever(&client).await;
    let elsewhere = count_for_ever(&direct).await;
    let mut watch = soon(client.subscribe(elsewhere.id())).await.unwrap();
    let (mut seen, mut watched) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        seen.push(counted(&next(&mut running).await));
        watched.push(counted(&soon(watch.next()).await.unwrap().unwrap()));
    }
    next(&mut ends_meanwhile).await;
    // Only who hears of a job's end has an answer to its cancel.
    let _its_end = soon(direct.subscribe(ends_meanwhile.id())).await.unwrap();
    let mut news = client.events();
    relay.pull();
    soon(direct.cancel(ends_meanwhile.id())).await.unwrap();
    relay.plug();
    let connected = loop {
        match soon(news.next()).await.unwrap() {
            SessionEvent::Connected(connected) => break connected,
            SessionEvent::Disconnected | SessionEvent::ConnectFailed(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(connected.resumed && client.session_id() == session, "{connected:?}");
    assert_eq!(soon(finished.result::<u64>()).await.unwrap(), 1);
    assert_eq!(failed(soon(ends_meanwhile.output()).await).0, FinalStatus::Cancelled);
    still_works(&client).await;
    // Jobs go on towards the connection they began on. What they say until they are subscribed to again is lost, and what
    // was numbered and not written before the loss.
    while seen.len() < 50 || watched.len() < 50 {
        for (seen, event) in [
            (&mut seen, soon(running.next()).await.expect("not over")),
            (&mut watched, soon(watch.next()).await.expect("not over")),
        ] {
            match event {
                Ok(event) => seen.push(counted(&event)),
                Err(JobError::Lost { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    still_works(&client).await;
    for seen in [&seen, &watched] {
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    }
    soon(running.cancel()).await.unwrap();
    assert_eq!(failed(soon(running.output()).await).0, FinalStatus::Cancelled);
    soon(elsewhere.cancel()).await.unwrap();
    assert_eq!(failed(soon(watch.output()).await).0, FinalStatus::Cancelled);
}

/// Over stdio the runtime goes with its connection.
async fn resume_without_runtime(client: &Client) {
    let mut news = client.events();
    let _job = soon(client.submit("exit")).await.unwrap();
    loop {
        match soon(news.next()).await.unwrap() {
            SessionEvent::ConnectFailed(why) => return assert_eq!(&*why, "the child runtime is gone"),
            SessionEvent::Disconnected => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn chunked_result(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let mut text = soon(client.submit("text").input(&["one ", "zwölf ", "", "three"])).await.unwrap();
    let events = rest(&mut text).await;
    assert_eq!(kinds(&events), ["result_chunk"; 5], "the last one is empty");
    assert_eq!(soon(text.output()).await.unwrap(), JobOutput::Text("one zwölf three".into()));
    let mut bytes = soon(client.submit("binary").input(&[[0, 255], [1, 128]])).await.unwrap();
    assert_eq!(soon(bytes.result::<Vec<u8>>()).await.unwrap(), [0, 255, 1, 128]);
}

async fn progress(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let mut job = soon(client.submit("count").input(&json!({ "to": 4 }))).await.unwrap();
    let events = rest(&mut job).await;
    assert_eq!(events.iter().map(counted).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(
        events[0].raw().decode::<Value>().unwrap(),
        json!({ "current": 1, "total": 4, "units": "numbers" })
    );
    assert_eq!(soon(job.result::<u64>()).await.unwrap(), 4);
}

/// Which calls of the agent `call` failed, by their codes.
fn calls(events: &[JobEvent]) -> Vec<Option<String>> {
    let result = |event: &JobEvent| match event.body().unwrap() {
        EventBody::ToolResult { result, .. } => Some(result.err().map(|failure| failure.code)),
        _ => None,
    };
    events.iter().filter_map(result).collect()
}

async fn lease_violation(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let asked = async {
        let tools = ["search.web", "shell.run", "search.mail"];
        client.submit("call").input(&tools).lease("tool.call", ["search.*"]).await
    };
    let mut job = soon(asked).await.unwrap();
    assert_eq!(job.lease().patterns("tool.call"), ["search.*"]);
    let events = rest(&mut job).await;
    assert_eq!(calls(&events), [None, Some("PERMISSION_DENIED".into()), None]);
    assert_eq!(soon(job.result::<u64>()).await.unwrap(), 3);

    let submit = client.submit("count").input(&forever()).expires_in(Duration::from_secs(5));
    let mut job = soon(submit).await.unwrap();
    assert!(job.lease().expires_at().is_some());
    assert_eq!(failed(soon(job.output()).await), (FinalStatus::Error, Some("LEASE_EXPIRED".into())));
}

async fn budget(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let asked = async {
        let submit = client.submit("call").input(&["a", "a", "a", "a"]).lease("tool.call", ["a"]);
        submit.budget("USD:1.00").await
    };
    let mut job = soon(asked).await.unwrap();
    assert_eq!(job.lease().budget("USD").unwrap().to_string(), "1");
    let events = rest(&mut job).await;
    assert_eq!(calls(&events), [None, None, None, Some("BUDGET_EXHAUSTED".into())]);
    let remaining = |event: &JobEvent| match event.body().unwrap() {
        EventBody::Metric { name, value, .. } if name == "cost.budget.remaining" => {
            Some(value.as_str().to_owned())
        }
        _ => None,
    };
    assert_eq!(events.iter().filter_map(remaining).collect::<Vec<_>>(), ["0.6", "0.2", "-0.2"]);
}

async fn idempotent_retry(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let submit = async |to: u64| client.submit("count").key("interop").input(&json!({ "to": to })).await;
    let mut first = soon(submit(2)).await.unwrap();
    assert_eq!(rest(&mut first).await.len(), 2);
    let mut again = soon(submit(2)).await.unwrap();
    assert_eq!(again.id(), first.id());
    assert_eq!(rest(&mut again).await.len(), 0, "only its end comes again");
    assert_eq!(soon(again.result::<u64>()).await.unwrap(), 2);
    assert_eq!(refused(soon(submit(3)).await).code, "DUPLICATE_KEY");
    still_works(&client).await;
    if way == Way::WebSocket {
        let other = served.client().await;
        let submit = other.submit("count").key("interop").input(&json!({ "to": 2 }));
        let mut again = soon(submit).await.unwrap();
        assert_eq!(soon(again.result::<u64>()).await.unwrap(), 2);
        assert_eq!(again.id(), first.id());
        let mut running = soon(client.submit("count").key("long").input(&forever())).await.unwrap();
        next(&mut running).await;
        let mut again = soon(other.submit("count").key("long").input(&forever())).await.unwrap();
        assert_eq!(again.id(), running.id());
        next(&mut again).await;
        soon(again.cancel()).await.unwrap();
        for job in [&mut again, &mut running] {
            assert_eq!(failed(soon(job.output()).await).0, FinalStatus::Cancelled);
        }
        let mut news = other.events();
        still_works(&other).await;
        soon(other.close()).await;
        let closed = soon(news.next()).await;
        assert!(matches!(closed, Some(SessionEvent::Closed(_))), "not a number is missing: {closed:?}");
    }
}

async fn unknown_agent(python: &Python, way: Way) {
    let served = Served::start(python, way).await;
    let client = served.client().await;
    let submit = async |agent: &str| client.submit(agent).await;
    assert_eq!(refused(soon(submit("nobody")).await).code, "AGENT_NOT_AVAILABLE");
    assert_eq!(refused(soon(submit("echo@9.9.9")).await).code, "AGENT_VERSION_NOT_AVAILABLE");
    still_works(&client).await;
}
