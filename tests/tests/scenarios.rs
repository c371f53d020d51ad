//! What an application can rely on, over real WebSockets, on both drivers.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use arcp_driver::memory::Switchboard;
use arcp_driver::{
    AgentError, Client, ClientConfig, ClientError, ClosedReason, ErrorCode, EventBody, FinalStatus, Job,
    JobContext, JobError, JobOutput, RequestError, Runtime, RuntimeBuilder, SessionEvent, SessionState,
    StopReason, Watch,
};
use arcp_tests::over_both_drivers;
use arcp_tests::relay::Relay;
use arcp_tests::stack::{Stack, url};
use async_std::channel::{Receiver, Sender, unbounded};
use serde_json::{Value, json};

async fn echo(_: JobContext, input: Value) -> Result<Value, AgentError> {
    Ok(input)
}

async fn count(job: JobContext, to: u64) -> Result<u64, AgentError> {
    for number in 1..=to {
        job.progress(number).of(to).await?;
    }
    Ok(to)
}

/// Says each number that comes through the channel, and returns how many there were when it closes.
fn relayed(numbers: Receiver<u64>) -> impl Fn(JobContext, Value) -> Numbers + Send + Sync + 'static {
    move |job, _| {
        let numbers = numbers.clone();
        Box::pin(async move {
            let mut count = 0;
            while let Ok(number) = numbers.recv().await {
                job.progress(number).await?;
                count += 1;
            }
            Ok(count)
        })
    }
}

type Numbers = std::pin::Pin<Box<dyn Future<Output = Result<u64, AgentError>> + Send>>;

fn builder() -> RuntimeBuilder {
    Runtime::builder()
        .bearer("token", "alice")
        .bearer("other", "bob")
        .agent("echo@1.0.0", echo)
        .agent("count", count)
}

async fn serve<S: Stack>(builder: RuntimeBuilder) -> (S::Serving, String) {
    let (serving, address) = S::serve(builder.build().unwrap()).await;
    (serving, url(address))
}

async fn connect<S: Stack>(url: &str) -> Client {
    S::connect(url.to_owned()).token("token").await.unwrap()
}

/// The progress that the next event reports.
fn progress(event: Option<Result<arcp_driver::JobEvent, JobError>>) -> u64 {
    match event.unwrap().unwrap().body().unwrap() {
        EventBody::Progress { current, .. } => current.to_u64().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The code with which a job failed.
fn failure<T: std::fmt::Debug>(result: Result<T, JobError>) -> (FinalStatus, String, String) {
    match result {
        Err(JobError::Failed { status, error: Some(error) }) => (status, error.code, error.message),
        other => panic!("{other:?}"),
    }
}

/// The code with which a request was refused.
fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result {
        Err(ClientError::Request(RequestError::Refused(error))) => error.code,
        other => panic!("{other:?}"),
    }
}

async fn echoes<S: Stack>() {
    let (serving, url) = serve::<S>(builder()).await;
    let client = connect::<S>(&url).await;
    let input = json!({"text": "größer", "list": [1, 2.5, null], "deep": {"a": {"b": true}}});
    let mut job = client.submit("echo").input(&input).await.unwrap();
    assert_eq!(job.accepted().agent.as_deref(), Some("echo@1.0.0"));
    assert_eq!(job.result::<Value>().await.unwrap(), input);
    let connected = client.connected().await.unwrap();
    assert_eq!(connected.agents.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["count", "echo"]);
    client.close().await;
    S::shut_down(serving).await;
}

async fn events_come_in_the_order_in_which_they_were_emitted<S: Stack>() {
    async fn talk(job: JobContext, (): ()) -> Result<(), AgentError> {
        for number in 0..100_u64 {
            job.progress(number).of(100_u64).units("steps").await?;
            job.info(&format!("step {number}")).attributes(&json!({ "number": number })).await?;
            job.metric("pages", number).unit("1").dimension("kind", "even").await?;
        }
        Ok(())
    }
    let (serving, url) = serve::<S>(builder().agent("talk", talk)).await;
    let client = connect::<S>(&url).await;
    let mut job = client.submit("talk").await.unwrap();
    for number in 0..100 {
        let mut next = async || job.next().await.unwrap().unwrap();
        let (first, second, third) = (next().await, next().await, next().await);
        assert_eq!(first.position(), Some(3 * number + 1));
        assert!(matches!(first.body(), Ok(EventBody::Progress { current, units, .. })
            if current.to_u64() == Some(number) && units.as_deref() == Some("steps")));
        assert!(matches!(second.body(), Ok(EventBody::Log { message, attributes: Some(attributes), .. })
            if message == format!("step {number}") && attributes.as_str() == format!("{{\"number\":{number}}}")));
        assert!(matches!(third.body(), Ok(EventBody::Metric { name, value, dimensions, .. })
            if name == "pages" && value.to_u64() == Some(number) && dimensions.len() == 1));
    }
    assert!(job.next().await.is_none());
    assert_eq!(job.result::<Value>().await.unwrap(), Value::Null);
    S::shut_down(serving).await;
}

async fn results_are_streamed<S: Stack>() {
    async fn text(job: JobContext, pieces: u64) -> Result<(), AgentError> {
        let mut stream = job.stream_text();
        for number in 0..pieces {
            stream.write(&format!("{number} ∞\n")).await?;
        }
        Ok(stream.finish().await?)
    }
    async fn bytes(job: JobContext, count: usize) -> Result<(), AgentError> {
        let mut stream = job.stream_bytes();
        let all: Vec<u8> = (0..count).map(|index| u8::try_from(index % 251).unwrap()).collect();
        stream.write(&all).await?;
        Ok(stream.finish().await?)
    }
    let (serving, url) = serve::<S>(builder().agent("text", text).agent("bytes", bytes)).await;
    let client = connect::<S>(&url).await;
    let mut job = client.submit("text").input(&300).await.unwrap();
    let expected: String = (0..300).map(|number| format!("{number} ∞\n")).collect();
    assert_eq!(job.result::<String>().await.unwrap(), expected);
    // More than a frame holds.
    let mut job = client.submit("bytes").input(&3_000_000).await.unwrap();
    let JobOutput::Bytes(result) = job.output().await.unwrap() else { panic!("bytes were streamed") };
    assert_eq!(result.len(), 3_000_000);
    assert!(result.iter().enumerate().all(|(index, byte)| usize::from(*byte) == index % 251));
    S::shut_down(serving).await;
}

async fn a_job_is_cancelled<S: Stack>() {
    let (heard, reasons) = unbounded();
    let wait = move |job: JobContext, (): ()| {
        let heard = heard.clone();
        async move {
            job.status("waiting").await?;
            let reason = job.stopping().await;
            let _ = heard.send(reason).await;
            Ok("a value that comes too late")
        }
    };
    let (serving, url) = serve::<S>(builder().agent("wait", wait)).await;
    let client = connect::<S>(&url).await;
    let mut job = client.submit("wait").await.unwrap();
    assert!(job.next().await.unwrap().is_ok());
    let cancelled = job.cancel().reason("no longer needed").await.unwrap();
    assert_eq!(cancelled.reason.as_deref(), Some("no longer needed"));
    let (status, code, message) = failure(job.result::<String>().await);
    assert_eq!(
        (status, code.as_str(), message.as_str()),
        (FinalStatus::Cancelled, "CANCELLED", "no longer needed")
    );
    assert_eq!(reasons.recv().await.unwrap(), StopReason::Cancelled(Some("no longer needed".into())));
    S::shut_down(serving).await;
}

async fn a_job_takes_too_long<S: Stack>() {
    let wait = |job: JobContext, (): ()| async move {
        assert!(matches!(job.stopping().await, StopReason::TimedOut(1)));
        Ok(())
    };
    let (serving, url) = serve::<S>(builder().agent("wait", wait)).await;
    let client = connect::<S>(&url).await;
    let mut job = client.submit("wait").max_runtime(Duration::from_millis(400)).await.unwrap();
    let (status, code, _) = failure(job.result::<()>().await);
    assert_eq!((status, code.as_str()), (FinalStatus::TimedOut, "TIMEOUT"));
    S::shut_down(serving).await;
}

async fn agents_fail_with_their_own_codes<S: Stack>() {
    async fn fail(_: JobContext, code: String) -> Result<(), AgentError> {
        let error = AgentError::new("as asked");
        Err(match code.as_str() {
            "denied" => error.code(ErrorCode::PermissionDenied).agent_code("door.closed"),
            "budget" => error.code(ErrorCode::BudgetExhausted),
            // Not for an agent to say.
            "duplicate" => error.code(ErrorCode::DuplicateKey),
            number => {
                number.parse::<u8>()?;
                error
            }
        })
    }
    let (serving, url) = serve::<S>(builder().agent("fail", fail)).await;
    let client = connect::<S>(&url).await;
    let mut ends = Vec::new();
    for code in ["denied", "budget", "duplicate", "seven", "7"] {
        let mut job = client.submit("fail").input(code).await.unwrap();
        let (status, code, message) = failure(job.result::<()>().await);
        assert_eq!(status, FinalStatus::Error);
        ends.push((code, message));
    }
    let expected = [
        ("PERMISSION_DENIED", "as asked"),
        ("BUDGET_EXHAUSTED", "as asked"),
        ("INTERNAL_ERROR", "as asked"),
        ("INTERNAL_ERROR", "invalid digit found in string"),
        ("INTERNAL_ERROR", "as asked"),
    ];
    assert_eq!(ends, expected.map(|(code, message)| (code.to_owned(), message.to_owned())));
    // An input that is none.
    let mut job = client.submit("fail").input(&17).await.unwrap();
    assert_eq!(failure(job.result::<()>().await).1, "INVALID_REQUEST");
    S::shut_down(serving).await;
}

async fn a_panic_ends_its_own_job_only<S: Stack>() {
    let panics = |job: JobContext, at_once: bool| {
        assert!(!at_once, "as asked, at once");
        async move {
            job.info("about to panic").await?;
            assert!(job.is_stopping(), "as asked");
            Ok(())
        }
    };
    let (to_agent, numbers) = unbounded();
    let (serving, url) =
        serve::<S>(builder().agent("panics", panics).agent("relayed", relayed(numbers))).await;
    let client = connect::<S>(&url).await;
    let mut other = client.submit("relayed").await.unwrap();
    to_agent.send(1).await.unwrap();
    assert_eq!(progress(other.next().await), 1);
    for at_once in [true, false] {
        let mut job = client.submit("panics").input(&at_once).await.unwrap();
        let (status, code, message) = failure(job.result::<()>().await);
        assert_eq!((status, code.as_str()), (FinalStatus::Error, "INTERNAL_ERROR"));
        assert!(!message.contains("as asked"), "what a panic says is not for clients: {message}");
    }
    to_agent.send(2).await.unwrap();
    assert_eq!(progress(other.next().await), 2);
    drop(to_agent);
    assert_eq!(other.result::<u64>().await.unwrap(), 2);
    S::shut_down(serving).await;
}

async fn a_retry_from_another_client_finds_the_job<S: Stack>() {
    let (to_agent, numbers) = unbounded();
    let (serving, url) = serve::<S>(builder().agent("relayed", relayed(numbers))).await;
    let first = connect::<S>(&url).await;
    let mut job = first.submit("relayed").input(&json!({"a": 1, "b": 2})).key("the key").await.unwrap();
    for number in 1..=3 {
        to_agent.send(number).await.unwrap();
        assert_eq!(progress(job.next().await), number);
    }
    let second = connect::<S>(&url).await;
    let mut again = second.submit("relayed").input(&json!({"b": 2, "a": 1})).key("the key").await.unwrap();
    assert_eq!(again.id(), job.id());
    for number in 1..=3 {
        assert_eq!(progress(again.next().await), number);
    }
    let other = second.submit("relayed").input(&json!({"a": 2})).key("the key").await;
    assert_eq!(refusal(other), "DUPLICATE_KEY");
    // The second owns it now, and the first goes on following it.
    assert_eq!(refusal(job.cancel().await), "PERMISSION_DENIED");
    to_agent.send(4).await.unwrap();
    assert_eq!((progress(job.next().await), progress(again.next().await)), (4, 4));
    again.cancel().await.unwrap();
    drop(to_agent);
    assert_eq!(failure(again.result::<u64>().await).0, FinalStatus::Cancelled);
    assert_eq!(failure(job.result::<u64>().await).0, FinalStatus::Cancelled);
    // A stranger with the same key has a job of its own.
    let stranger = S::connect(url).token("other").await.unwrap();
    let mut own = stranger.submit("relayed").input(&json!({"a": 1, "b": 2})).key("the key").await.unwrap();
    assert_ne!(own.id(), job.id());
    assert_eq!(own.result::<u64>().await.unwrap(), 0);
    S::shut_down(serving).await;
}

async fn a_job_is_watched_from_another_session<S: Stack>() {
    let (to_agent, numbers) = unbounded();
    let (serving, url) = serve::<S>(builder().agent("relayed", relayed(numbers))).await;
    let owner = connect::<S>(&url).await;
    let mut job = owner.submit("relayed").await.unwrap();
    for number in 1..=50 {
        to_agent.send(number).await.unwrap();
        assert_eq!(progress(job.next().await), number);
    }
    let watcher = connect::<S>(&url).await;
    let mut from_start: Watch = watcher.subscribe(job.id()).history().await.unwrap();
    assert_eq!(from_start.subscribed().current_status.as_deref(), Some("running"));
    assert_eq!(progress(from_start.next().await), 1);
    let third = connect::<S>(&url).await;
    let mut from_40: Watch = third.subscribe(job.id()).history().after(40).await.unwrap();
    let fourth = connect::<S>(&url).await;
    let mut live: Watch = fourth.subscribe(job.id()).await.unwrap();
    for number in 51..=60 {
        to_agent.send(number).await.unwrap();
    }
    drop(to_agent);
    for (watch, first) in [(&mut from_start, 2), (&mut from_40, 41), (&mut live, 51)] {
        for number in first..=60 {
            assert_eq!(progress(watch.next().await), number);
        }
        assert!(watch.next().await.is_none());
        assert_eq!(watch.result::<u64>().await.unwrap(), 60);
    }
    assert_eq!(job.result::<u64>().await.unwrap(), 60);
    // Whose job it is decides who may see it.
    let stranger = S::connect(url).token("other").await.unwrap();
    assert_eq!(refusal(stranger.subscribe(job.id()).history().await), "JOB_NOT_FOUND");
    S::shut_down(serving).await;
}

async fn agents_that_do_not_exist<S: Stack>() {
    let (serving, url) = serve::<S>(builder()).await;
    let client = connect::<S>(&url).await;
    assert_eq!(refusal(client.submit("nobody").await), "AGENT_NOT_AVAILABLE");
    assert_eq!(refusal(client.submit("echo@9.9.9").await), "AGENT_VERSION_NOT_AVAILABLE");
    // The session goes on.
    let mut job = client.submit("echo@1.0.0").input(&1).await.unwrap();
    assert_eq!(job.result::<u64>().await.unwrap(), 1);
    S::shut_down(serving).await;
}

async fn a_wrong_token<S: Stack>() {
    let (serving, url) = serve::<S>(builder()).await;
    let refused = S::connect(url).token("tokem").await.unwrap_err();
    let arcp_driver::connect::ClientStartError::Client(ClientError::Closed(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(&*reason, ClosedReason::Unauthenticated(error) if error.code == "UNAUTHENTICATED"));
    S::shut_down(serving).await;
}

async fn handles_survive_a_cut<S: Stack>() {
    let (to_agent, numbers) = unbounded();
    let runtime = builder().agent("relayed", relayed(numbers)).build().unwrap();
    let (serving, server) = S::serve(runtime).await;
    let relay = Relay::start(server).unwrap();
    let mut config = ClientConfig::new("token");
    config.backoff_min = Duration::from_millis(1);
    config.backoff_max = Duration::from_millis(10);
    let client = S::spawn_client(S::cable(server, relay.address()), config);
    let mut events = client.events();
    let mut job = client.submit("relayed").await.unwrap();
    let mut expected = 1;
    for round in 0..5 {
        for _ in 0..10 {
            to_agent.send(expected).await.unwrap();
            // Half of them are on their way when the cable is cut.
            if expected % 2 == 0 {
                assert_eq!(
                    (progress(job.next().await), progress(job.next().await)),
                    (expected - 1, expected)
                );
            }
            expected += 1;
        }
        to_agent.send(expected).await.unwrap();
        to_agent.send(expected + 1).await.unwrap();
        relay.cut();
        assert_eq!((progress(job.next().await), progress(job.next().await)), (expected, expected + 1));
        expected += 2;
        // What is asked for while the cable is cut waits for the next one.
        let mut echo = client.submit("echo").input(&round).await.unwrap();
        assert_eq!(echo.result::<u64>().await.unwrap(), round);
    }
    drop(to_agent);
    assert_eq!(job.result::<u64>().await.unwrap(), expected - 1);
    client.close().await;
    let (mut lost, mut resumed) = (0, 0);
    while let Some(event) = events.next().await {
        match event {
            SessionEvent::Disconnected => lost += 1,
            SessionEvent::Connected(connected) => resumed += usize::from(connected.resumed),
            SessionEvent::ConnectFailed(_) | SessionEvent::Closed(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(lost >= 5 && resumed >= 5, "{lost} lost, {resumed} resumed");
    S::shut_down(serving).await;
}

async fn the_runtime_is_restarted_on_its_port<S: Stack>() {
    let (to_agent, numbers) = unbounded();
    let runtime =
        |numbers: &Receiver<u64>| builder().agent("relayed", relayed(numbers.clone())).build().unwrap();
    let (serving, server) = S::serve(runtime(&numbers)).await;
    let client = S::connect(url(server)).token("token").config(|config| {
        config.backoff_min = Duration::from_millis(1);
        config.backoff_max = Duration::from_millis(20);
    });
    let client = client.await.unwrap();
    let mut events = client.events();
    let mut job: Job = client.submit("relayed").await.unwrap();
    to_agent.send(1).await.unwrap();
    assert_eq!(progress(job.next().await), 1);
    let first_id = job.id().clone();
    S::shut_down(serving).await;
    // What shut down answers nobody, and its port is free.
    let (serving, again) = S::serve_on(runtime(&numbers), server).await.unwrap();
    assert_eq!(again, server);
    // Its memory is gone: the job is submitted again with its key, and runs from its start under the same handle.
    to_agent.send(10).await.unwrap();
    assert_eq!(progress(job.next().await), 10);
    assert_ne!(*job.id(), first_id);
    drop(to_agent);
    assert_eq!(job.result::<u64>().await.unwrap(), 1);
    let connected = loop {
        match events.next().await.unwrap() {
            SessionEvent::Connected(connected) => break connected,
            SessionEvent::Disconnected | SessionEvent::ConnectFailed(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(!connected.resumed);
    S::shut_down(serving).await;
}

async fn dropping_a_job_cancels_nothing<S: Stack>() {
    let (to_agent, numbers): (Sender<u64>, _) = unbounded();
    let (serving, url) = serve::<S>(builder().agent("relayed", relayed(numbers))).await;
    let client = connect::<S>(&url).await;
    let job = client.submit("relayed").key("k").await.unwrap();
    let id = job.id().clone();
    drop(job);
    // The agent listens still.
    for number in 1..=3 {
        to_agent.send(number).await.unwrap();
    }
    drop(to_agent);
    let other = connect::<S>(&url).await;
    let mut watch = other.subscribe(&id).history().await.unwrap();
    assert_eq!(watch.result::<u64>().await.unwrap(), 3);
    // The session of the dropped handle is as good as before.
    let mut echo = client.submit("echo").input(&"still here").await.unwrap();
    assert_eq!(echo.result::<String>().await.unwrap(), "still here");
    S::shut_down(serving).await;
}

async fn a_closed_client_is_over_and_its_jobs_are_not<S: Stack>() {
    let (to_agent, numbers) = unbounded();
    let (serving, url) = serve::<S>(builder().agent("relayed", relayed(numbers))).await;
    let client = connect::<S>(&url).await;
    let mut job = client.submit("relayed").await.unwrap();
    to_agent.send(1).await.unwrap();
    assert_eq!(progress(job.next().await), 1);
    client.close().await;
    assert!(matches!(client.state(), SessionState::Closed(reason) if *reason == ClosedReason::Requested));
    assert!(matches!(job.result::<u64>().await, Err(JobError::Closed(_))));
    assert!(matches!(client.submit("echo").await, Err(ClientError::Closed(_))));
    to_agent.send(2).await.unwrap();
    drop(to_agent);
    let other = connect::<S>(&url).await;
    let mut watch = other.subscribe(job.id()).history().await.unwrap();
    assert_eq!(watch.result::<u64>().await.unwrap(), 2);
    S::shut_down(serving).await;
}

async fn shutting_down_says_goodbye<S: Stack>() {
    let (serving, url) = serve::<S>(builder()).await;
    let client = connect::<S>(&url).await;
    let mut events = client.events();
    S::shut_down(serving).await;
    assert!(matches!(events.next().await, Some(SessionEvent::Disconnected)));
    // It goes on trying, until it is told that there is no point.
    assert!(matches!(events.next().await, Some(SessionEvent::ConnectFailed(_))));
    client.close().await;
    assert!(matches!(client.state(), SessionState::Closed(_)));
}

async fn a_runtime_in_the_same_process<S: Stack>() {
    let runtime = S::start(builder().build().unwrap());
    let switchboard = Switchboard::new(runtime.clone(), |connection| S::spawn(connection));
    let mut config = ClientConfig::new("token");
    config.backoff_min = Duration::from_millis(1);
    config.backoff_max = Duration::from_millis(10);
    let client = S::spawn_client(switchboard.clone(), config);
    let mut job = client.submit("count").input(&900).await.unwrap();
    for number in 1..=900 {
        assert_eq!(progress(job.next().await), number);
        if number % 200 == 0 {
            switchboard.cut();
        }
    }
    assert_eq!(job.result::<u64>().await.unwrap(), 900);
    client.close().await;
    runtime.shut_down().await;
}

over_both_drivers!(
    echoes,
    events_come_in_the_order_in_which_they_were_emitted,
    results_are_streamed,
    a_job_is_cancelled,
    a_job_takes_too_long,
    agents_fail_with_their_own_codes,
    a_panic_ends_its_own_job_only,
    a_retry_from_another_client_finds_the_job,
    a_job_is_watched_from_another_session,
    agents_that_do_not_exist,
    a_wrong_token,
    handles_survive_a_cut,
    the_runtime_is_restarted_on_its_port,
    dropping_a_job_cancels_nothing,
    a_closed_client_is_over_and_its_jobs_are_not,
    shutting_down_says_goodbye,
    a_runtime_in_the_same_process,
);
