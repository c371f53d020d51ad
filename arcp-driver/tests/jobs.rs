//! One job, the whole way: submitted, accepted, run, told about, ended.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::time::Duration;

use arcp_driver::{
    AgentError, ClientError, ErrorCode, EventBody, EventKind, FinalStatus, JobContext, JobError, JobOutput,
    Runtime, StopReason, ToolError,
};
use common::World;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

async fn echo(_: JobContext, input: Value) -> Result<Value, AgentError> {
    Ok(input)
}

#[test]
fn a_result_comes_back() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("echo@1.0.0", echo));
    let output: Value = world.run(async move {
        let mut job = client.submit("echo").input(&json!({"a": [1, "ü"]})).await.unwrap();
        assert_eq!(job.accepted().agent.as_deref(), Some("echo@1.0.0"));
        job.result().await.unwrap()
    });
    assert_eq!(output, json!({"a": [1, "ü"]}));
}

#[derive(Serialize, Deserialize)]
struct Ask {
    words: Vec<String>,
}

async fn count(job: JobContext, ask: Ask) -> Result<usize, AgentError> {
    let total = ask.words.len();
    for (at, word) in ask.words.iter().enumerate() {
        job.progress(at + 1).of(total).units("words").message(word).await?;
    }
    Ok(total)
}

#[test]
fn typed_agents_read_their_input_or_refuse_it() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("count", count));
    world.run(async move {
        let ask = Ask { words: vec!["a".into(), "b".into()] };
        assert_eq!(client.submit("count").input(&ask).await.unwrap().result::<usize>().await.unwrap(), 2);
        let error =
            client.submit("count").input(&json!({"words": 7})).await.unwrap().result_raw().await.unwrap_err();
        let JobError::Failed { status: FinalStatus::Error, error: Some(error) } = error else {
            panic!("{error:?}")
        };
        assert_eq!(error.code, "INVALID_REQUEST");
        assert!(
            error.message.starts_with("the input does not fit the agent: invalid type: integer `7`"),
            "{}",
            error.message
        );
    });
}

#[test]
fn an_input_is_always_sent() {
    let world = World::new();
    let builder = Runtime::builder()
        .agent("echo", echo)
        .agent("none", |_: JobContext, (): ()| async move { Ok("nothing was asked") })
        .agent(
            "maybe",
            |_: JobContext, input: Option<u64>| async move { Ok(input.map_or(0, |input| input + 1)) },
        );
    let (_runtime, client, _) = world.pair(builder);
    world.run(async move {
        let result =
            async |submit: arcp_driver::Submit<'_>| submit.await.unwrap().result::<Value>().await.unwrap();
        assert_eq!(result(client.submit("echo")).await, json!({}), "what is left out is an empty object");
        assert_eq!(result(client.submit("echo").input(&Value::Null)).await, Value::Null);
        assert_eq!(result(client.submit("none")).await, "nothing was asked");
        assert_eq!(result(client.submit("none").input(&Value::Null)).await, "nothing was asked");
        assert_eq!(result(client.submit("maybe")).await, 0);
        assert_eq!(result(client.submit("maybe").input(&3)).await, 4);
        let mut job = client.submit("none").input(&json!({"a": 1})).await.unwrap();
        assert!(matches!(job.result::<Value>().await, Err(JobError::Failed { .. })));
    });
}

#[test]
fn events_come_in_the_order_in_which_they_were_said() {
    let world = World::new();
    let agent = |job: JobContext, _: ()| async move {
        job.status("searching").message("looking around").details(&json!({"depth": 1})).await?;
        job.info("a line").attributes(&json!({"k": "v"})).await?;
        job.thought("maybe").await?;
        job.tool_call("c1", "search.web", &json!({"q": "x"})).await?;
        job.tool_result("c1", &["hit"]).await?;
        let error = ToolError { code: ErrorCode::InternalError, message: "down".into(), details: None };
        job.tool_error("c2", &error).await?;
        job.metric("tokens", 17_u64).unit("tokens").dimension("model", "m").await?;
        job.metric("heat", -1.5).await?;
        job.artifact("s3://a/b", "text/plain").byte_size(3).await?;
        job.vendor("x-vendor.acme.thing", &json!({"n": 1})).await?;
        job.progress(0.5).of(1.0).await?;
        Ok(())
    };
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("speaks", agent));
    let events = world.run(async move {
        let mut job = client.submit("speaks").await.unwrap();
        let mut events = Vec::new();
        while let Some(event) = job.next().await {
            events.push(event.unwrap());
        }
        job.result::<()>().await.unwrap();
        events
    });
    let kinds: Vec<&str> = events.iter().map(|event| event.kind().as_str()).collect();
    assert_eq!(
        kinds,
        [
            "status",
            "log",
            "thought",
            "tool_call",
            "tool_result",
            "tool_result",
            "metric",
            "metric",
            "artifact_ref",
            "x-vendor.acme.thing",
            "progress",
        ]
    );
    let positions: Vec<_> = events.iter().map(|event| event.position().unwrap()).collect();
    assert_eq!(positions, (1..=11).collect::<Vec<u64>>());
    assert!(matches!(events[7].body().unwrap(), EventBody::Metric { value, .. } if value.as_str() == "-1.5"));
    assert!(matches!(events[10].body().unwrap(), EventBody::Progress { .. }));
}

#[test]
fn what_must_not_be_said_is_an_error_for_the_agent_only() {
    let world = World::new();
    let agent = |job: JobContext, _: ()| async move {
        let refused = [
            job.info("").await.unwrap_err().to_string(),
            job.status("back_pressure").await.unwrap_err().to_string(),
            job.metric("cost.budget.remaining", 1_u64).await.unwrap_err().to_string(),
            job.vendor("log", &json!({})).await.unwrap_err().to_string(),
            job.progress(2_u64).of(1_u64).await.unwrap_err().to_string(),
            job.metric("m", f64::NAN).await.unwrap_err().to_string(),
            job.thought(&"x".repeat(1 << 20)).await.unwrap_err().to_string(),
        ];
        job.info("still here").await?;
        Ok(refused.to_vec())
    };
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("clumsy", agent));
    let (events, refused) = world.run(async move {
        let mut job = client.submit("clumsy").await.unwrap();
        let mut events = 0;
        while let Some(event) = job.next().await {
            event.unwrap();
            events += 1;
        }
        (events, job.result::<Vec<String>>().await.unwrap())
    });
    assert_eq!(events, 1);
    assert_eq!(refused[0], "`message` must not be empty");
    assert_eq!(refused[1], "`back_pressure` is reserved to the runtime");
    assert!(refused[6].ends_with("bytes, a frame of this session holds 1048576"), "{}", refused[6]);
}

#[test]
fn a_panic_ends_its_own_job_only() {
    let world = World::new();
    let bomb = |job: JobContext, after: u32| async move {
        for _ in 0..after {
            job.info("tick").await?;
        }
        if after < 100 {
            panic!("as the test wants it");
        }
        Ok(())
    };
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("bomb", bomb).agent("echo", echo));
    world.run(async move {
        for after in [0, 3] {
            let mut job = client.submit("bomb").input(&after).await.unwrap();
            let JobError::Failed { error: Some(error), .. } = job.result::<()>().await.unwrap_err() else {
                panic!()
            };
            assert_eq!(
                (error.code.as_str(), error.message.as_str()),
                ("INTERNAL_ERROR", "the agent panicked")
            );
        }
        assert_eq!(client.submit("echo").input(&1).await.unwrap().result::<i32>().await.unwrap(), 1);
    });
}

#[test]
fn an_agents_own_error_arrives() {
    let world = World::new();
    let agent = |_: JobContext, text: String| async move {
        let number: i32 = text.parse()?;
        if number < 0 {
            return Err(AgentError::new("below zero")
                .code(ErrorCode::PermissionDenied)
                .agent_code("number.negative"));
        }
        Ok(number)
    };
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("parse", agent));
    world.run(async move {
        let fail = async |text: &str| match client
            .submit("parse")
            .input(text)
            .await
            .unwrap()
            .result::<i32>()
            .await
        {
            Err(JobError::Failed { error: Some(error), .. }) => *error,
            other => panic!("{other:?}"),
        };
        let error = fail("x").await;
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("INTERNAL_ERROR", "invalid digit found in string")
        );
        let error = fail("-3").await;
        assert_eq!(error.code, "PERMISSION_DENIED");
        assert_eq!(error.details.unwrap().as_str(), r#"{"agent_code":"number.negative"}"#);
    });
}

#[test]
fn a_cancel_reaches_the_agent_and_ends_the_job() {
    let world = World::new();
    let agent = |job: JobContext, _: ()| async move {
        job.info("waiting").await?;
        let reason = job.stopping().await;
        assert!(job.is_stopping());
        let StopReason::Cancelled(Some(words)) = reason else { panic!("{reason:?}") };
        job.info(&format!("stopped: {words}")).await?;
        Ok("too late to matter")
    };
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("patient", agent));
    world.run(async move {
        let mut job = client.submit("patient").await.unwrap();
        job.next().await.unwrap().unwrap();
        job.cancel().reason("enough").await.unwrap();
        let last = job.next().await.unwrap().unwrap();
        assert!(
            matches!(last.body().unwrap(), EventBody::Log { message, .. } if message == "stopped: enough")
        );
        let error = job.result::<Value>().await.unwrap_err();
        assert!(matches!(error, JobError::Failed { status: FinalStatus::Cancelled, .. }), "{error:?}");
    });
}

/// Says on drop that it is gone.
struct Canary(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Drop for Canary {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn an_agent_that_does_not_hear_is_dropped_after_its_grace() {
    let world = World::new();
    let dropped = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = dropped.clone();
    let agent = move |job: JobContext, _: ()| {
        let canary = Canary(flag.clone());
        async move {
            job.info("waiting").await?;
            std::future::pending::<()>().await;
            drop(canary);
            Ok(())
        }
    };
    let (_runtime, client, _) = world.pair(
        Runtime::builder().agent("deaf", agent).config(|config| config.cancel_grace = Duration::from_secs(5)),
    );
    let start = world.now();
    world.run(async move {
        let mut job = client.submit("deaf").await.unwrap();
        job.next().await.unwrap().unwrap();
        job.cancel().await.unwrap();
        let error = job.result::<()>().await.unwrap_err();
        assert!(matches!(error, JobError::Failed { status: FinalStatus::Cancelled, .. }), "{error:?}");
    });
    let passed = world.now().mono.since(start.mono);
    assert!((Duration::from_secs(5)..Duration::from_secs(6)).contains(&passed), "{passed:?}");
    world.run_until_stalled();
    assert!(dropped.load(std::sync::atomic::Ordering::SeqCst));
}

#[test]
fn a_job_that_takes_too_long_is_timed_out() {
    let world = World::new();
    let agent = |job: JobContext, _: ()| async move {
        let reason = job.stopping().await;
        assert_eq!(reason, StopReason::TimedOut(2));
        Ok(())
    };
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("slow", agent));
    world.run(async move {
        let mut job = client.submit("slow").max_runtime(Duration::from_millis(1_500)).await.unwrap();
        let error = job.result::<()>().await.unwrap_err();
        assert!(matches!(error, JobError::Failed { status: FinalStatus::TimedOut, .. }), "{error:?}");
    });
}

#[test]
fn a_key_finds_the_same_job_again() {
    let world = World::new();
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = runs.clone();
    let agent = move |_: JobContext, input: Value| {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move { Ok(input) }
    };
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("once", agent));
    world.run(async move {
        let mut first = client.submit("once").input(&1).key("k").await.unwrap();
        assert_eq!(first.result::<i32>().await.unwrap(), 1);
        let mut again = client.submit("once").input(&1).key("k").await.unwrap();
        assert_eq!(again.id(), first.id());
        assert_eq!(again.result::<i32>().await.unwrap(), 1);
        let error = client.submit("once").input(&2).key("k").await.unwrap_err();
        assert!(
            matches!(&error, ClientError::Request(_)) && error.to_string().contains("DUPLICATE_KEY"),
            "{error}"
        );
    });
    assert_eq!(runs.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn unknown_agents_are_refused() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("echo@1", echo));
    world.run(async move {
        for (name, code) in [("nobody", "AGENT_NOT_AVAILABLE"), ("echo@2", "AGENT_VERSION_NOT_AVAILABLE")] {
            let error = client.submit(name).await.unwrap_err().to_string();
            assert!(error.contains(code), "{error}");
        }
        assert!(matches!(client.submit("echo").key("").await.unwrap_err(), ClientError::Misuse(_)));
    });
}

#[test]
fn results_can_be_streamed_as_text_and_as_bytes() {
    let world = World::new();
    let text = |job: JobContext, _: ()| async move {
        let mut out = job.stream_text();
        out.write("Grüße, \"Welt\"\n").await?;
        out.write(&"☃".repeat(600_000)).await?;
        Ok(out.finish().await?)
    };
    let bytes = |job: JobContext, _: ()| async move {
        let mut out = job.stream_bytes();
        out.write(&vec![255; 900_000]).await?;
        out.write(&[]).await?;
        out.write(&[1]).await?;
        Ok(out.finish().await?)
    };
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("text", text).agent("bytes", bytes));
    world.run(async move {
        let mut job = client.submit("text").await.unwrap();
        let mut chunks = 0;
        while let Some(event) = job.next().await {
            assert_eq!(*event.unwrap().kind(), EventKind::ResultChunk);
            chunks += 1;
        }
        assert!(chunks > 4, "{chunks}");
        let text: String = job.result().await.unwrap();
        assert_eq!(text.len(), "Grüße, \"Welt\"\n".len() + 3 * 600_000);
        assert!(text.starts_with("Grüße, \"Welt\"\n☃☃"));
        let mut job = client.submit("bytes").await.unwrap();
        let JobOutput::Bytes(bytes) = job.output().await.unwrap() else { panic!() };
        assert_eq!((bytes.len(), bytes[0], bytes[900_000]), (900_001, 255, 1));
    });
}

#[test]
fn a_stream_that_breaks_the_rules_ends_its_job() {
    let world = World::new();
    let agent = |job: JobContext, _: ()| async move {
        job.stream_text().write("text").await?;
        job.stream_bytes().write(b"bytes").await?;
        std::future::pending::<()>().await;
        Ok(())
    };
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("mixed", agent));
    world.run(async move {
        let error = client.submit("mixed").await.unwrap().result::<()>().await.unwrap_err().to_string();
        assert!(error.contains("all chunks of a result must have the encoding of the first"), "{error}");
    });
}

#[test]
fn others_can_watch_from_the_beginning() {
    let world = World::new();
    let agent = |job: JobContext, _: ()| async move {
        for number in 1..=5_u64 {
            job.progress(number).of(5_u64).await?;
        }
        Ok("done")
    };
    let (runtime, client, switchboard) = world.pair(Runtime::builder().agent("five", agent));
    let other = world.client(switchboard);
    world.run(async move {
        let mut job = client.submit("five").await.unwrap();
        assert_eq!(job.result::<String>().await.unwrap(), "done");
        let mut watch = other.subscribe(job.id()).history().await.unwrap();
        assert_eq!(watch.subscribed().current_status.as_deref(), Some("success"));
        for number in 1..=5 {
            assert_eq!(watch.next().await.unwrap().unwrap().position(), Some(number));
        }
        assert!(watch.next().await.is_none());
        assert_eq!(watch.result::<String>().await.unwrap(), "done");
        let mut late = other.subscribe(job.id()).after(3).await.unwrap();
        assert_eq!(late.next().await.unwrap().unwrap().position(), Some(4));
        drop((late, watch, runtime));
    });
}

#[test]
fn others_can_watch_from_now_on() {
    let world = World::new();
    let agent = |job: JobContext, _: ()| async move {
        for number in 1..=3_u64 {
            job.progress(number).await?;
        }
        job.stopping().await;
        job.info("stopping").await?;
        Ok(())
    };
    let (_runtime, client, switchboard) = world.pair(Runtime::builder().agent("waits", agent));
    let other = world.client(switchboard);
    world.run(async move {
        let mut job = client.submit("waits").await.unwrap();
        for _ in 0..3 {
            job.next().await.unwrap().unwrap();
        }
        let mut watch = other.subscribe(job.id()).await.unwrap();
        assert!(!watch.subscribed().replayed);
        job.cancel().await.unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap().position(), Some(4));
        assert!(watch.next().await.is_none());
        assert!(matches!(
            watch.result::<()>().await,
            Err(JobError::Failed { status: FinalStatus::Cancelled, .. })
        ));
    });
}

#[test]
fn a_job_that_is_over_says_so() {
    let world = World::new();
    let (_runtime, client, switchboard) = world.pair(Runtime::builder().agent("echo", echo));
    let other = world.client(switchboard);
    world.run(async move {
        let mut job = client.submit("echo").await.unwrap();
        job.result_raw().await.unwrap();
        let mut watch = other.subscribe(job.id()).await.unwrap();
        assert!(watch.next().await.is_none());
        assert!(matches!(watch.result::<()>().await, Err(JobError::WasOver(FinalStatus::Success))));
    });
}

#[test]
fn dropping_a_job_cancels_nothing() {
    let world = World::new();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = done.clone();
    let agent = move |job: JobContext, _: ()| {
        let flag = flag.clone();
        async move {
            for _ in 0..10_000 {
                job.info("tick").await?;
            }
            flag.store(true, std::sync::atomic::Ordering::SeqCst);
            Ok(())
        }
    };
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("long", agent));
    let inner = world.clone();
    world.run(async move {
        drop(client.submit("long").await.unwrap());
        inner.sleep(Duration::from_secs(60)).await;
        drop(client);
    });
    assert!(done.load(std::sync::atomic::Ordering::SeqCst));
}

#[test]
fn agents_sleep_by_the_clock_of_their_runtime() {
    async fn nap(job: JobContext, hours: u64) -> Result<String, AgentError> {
        job.sleep(Duration::from_secs(hours * 3_600)).await?;
        Ok(format!("{hours} h"))
    }
    let world = World::new();
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("nap", nap));
    let clock = world.clone();
    world.run(async move {
        let mut long = client.submit("nap").input(&2).await.unwrap();
        let mut short = client.submit("nap").input(&1).await.unwrap();
        assert_eq!(short.result::<String>().await.unwrap(), "1 h");
        let after =
            |hours: u64| clock.now().mono.since(arcp_driver::Instant::from_micros(hours * 3_600_000_000));
        assert!(after(1) < Duration::from_secs(1), "{:?}", after(1));
        assert_eq!(long.result::<String>().await.unwrap(), "2 h");
        assert!(after(2) < Duration::from_secs(1), "{:?}", after(2));
    });
}
