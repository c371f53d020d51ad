//! What agents may do: guarded operations, budgets, delegation, and who decides on leases.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arcp_driver::{
    AgentError, Amount, Capability, ChildOutput, Client, ClientError, Currency, DelegationError, Denial,
    ErrorCode, EventBody, Hop, Job, JobContext, JobError, LeaseDecision, LeaseQuestion, OperationError,
    RequestError, Runtime, RuntimeBuilder, RuntimeEvent, StopReason, ToolError, TraceId,
};
use common::World;
use serde_json::{Value, json};

async fn never() -> Result<Value, io::Error> {
    panic!("a denied operation is not dispatched");
}

/// The events of a job as short lines, and how it ended.
async fn story(job: &mut Job) -> (Vec<String>, Result<Value, JobError>) {
    let mut lines = Vec::new();
    while let Some(event) = job.next().await {
        lines.push(match event.unwrap().body().unwrap() {
            EventBody::ToolCall { tool, call_id, .. } => format!("{} calls {tool}", call_id.unwrap()),
            EventBody::ToolResult { call_id, result: Ok(result) } => {
                format!("{} gives {}", call_id.unwrap(), result.as_str())
            }
            EventBody::ToolResult { call_id, result: Err(error) } => {
                format!("{} fails {}", call_id.unwrap(), error.code)
            }
            EventBody::Metric { name, value, .. } => format!("{name} {}", value.as_str()),
            other => format!("{other:?}"),
        });
    }
    (lines, job.result().await)
}

fn code(ended: Result<Value, JobError>) -> String {
    match ended.unwrap_err() {
        JobError::Failed { error: Some(error), .. } => error.code.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tool_is_announced_judged_called_and_told() {
    let world = World::new();
    let (_runtime, client, _) =
        world.pair(Runtime::builder().agent("a", |job: JobContext, (): ()| async move {
            assert_eq!(job.lease().namespaces().collect::<Vec<_>>(), ["tool.call"]);
            let page: Value = job
                .tool("search.web", &json!({"query": "x"}), || async {
                    Ok::<_, io::Error>(json!({"hits": 3}))
                })
                .await?;
            let denied = job.tool("mail", &json!({}), never).await.unwrap_err();
            assert!(matches!(denied, OperationError::Denied(Denial::NotGranted { .. })));
            assert_eq!(
                denied.to_string(),
                "the lease does not permit this `tool.call`: `mail` matches none of `search.*`"
            );
            let failed = job
                .tool("search.x", &json!({}), || async { Err::<Value, _>(io::Error::other("no route")) })
                .await;
            assert_eq!(failed.unwrap_err().to_string(), "no route");
            let money =
                ToolError { code: ErrorCode::BudgetExhausted, message: "upstream".into(), details: None };
            let failed =
                job.tool("search.y", &json!({}), || async move { Err::<Value, _>(money) }).await.unwrap_err();
            assert_eq!(failed.code(), ErrorCode::BudgetExhausted);
            Ok::<_, AgentError>(page)
        }));
    world.run(async move {
        let mut job = client.submit("a").lease("tool.call", ["search.*"]).await.unwrap();
        let (lines, ended) = story(&mut job).await;
        assert_eq!(
            lines,
            [
                "call_1 calls search.web",
                r#"call_1 gives {"hits":3}"#,
                "call_2 calls mail",
                "call_2 fails PERMISSION_DENIED",
                "call_3 calls search.x",
                "call_3 fails INTERNAL_ERROR",
                "call_4 calls search.y",
                "call_4 fails BUDGET_EXHAUSTED",
            ]
        );
        assert_eq!(ended.unwrap(), json!({"hits": 3}));
    });
}

#[test]
fn an_operation_gets_the_canonical_target() {
    let world = World::new();
    let (_runtime, client, _) =
        world.pair(Runtime::builder().agent("a", |job: JobContext, (): ()| async move {
            let url = job
                .fetch("HTTPS://Example.COM:443/a", |url| async move {
                    assert!(url.names_one_host());
                    Ok::<_, io::Error>(url.into_string())
                })
                .await?;
            let path = job
                .read_path("/data/x/", |path| async move { Ok::<_, io::Error>(path.into_string()) })
                .await?;
            let model = job
                .use_model("fast/m", |model| async move { Ok::<_, io::Error>(model.into_string()) })
                .await?;
            let write =
                job.write_path("/data/x", |path| async move { Ok::<_, io::Error>(path.into_string()) }).await;
            assert_eq!(write.unwrap_err().code(), ErrorCode::PermissionDenied);
            assert!(job.authorize(Capability::FsRead, "/data/../etc").await.is_err());
            Ok::<_, AgentError>(json!([url, path, model]))
        }));
    world.run(async move {
        let mut job = client
            .submit("a")
            .lease("net.fetch", ["https://example.com/**"])
            .lease("fs.read", ["/data/**"])
            .lease("model.use", ["fast/*"])
            .await
            .unwrap();
        let (lines, ended) = story(&mut job).await;
        assert_eq!(ended.unwrap(), json!(["https://example.com/a", "/data/x", "fast/m"]));
        assert_eq!(lines[0], "call_1 calls net.fetch");
        assert_eq!(lines[1], "call_1 gives null");
        assert_eq!(lines.last().unwrap(), "call_4 fails PERMISSION_DENIED");
    });
}

#[test]
fn costs_reported_before_an_operation_count_for_it() {
    let world = World::new();
    let (_runtime, client, _) =
        world.pair(Runtime::builder().agent("a", |job: JobContext, (): ()| async move {
            assert!(job.cost("search", "USD:1").await.is_err(), "a cost is named cost.*");
            assert!(job.cost("cost.search", "1 USD").await.is_err());
            job.cost("cost.search", "USD:0.99").await?;
            job.tool("x", &json!({}), || async { Ok::<_, io::Error>(1) }).await?;
            job.cost("cost.search", "USD:0.01").await?;
            // The agent does not look: the code of the denial ends the job.
            job.tool("x", &json!({}), never).await?;
            Ok::<_, AgentError>(())
        }));
    world.run(async move {
        let mut job = client.submit("a").lease("tool.call", ["x"]).budget("USD:1.00").await.unwrap();
        let (lines, ended) = story(&mut job).await;
        assert_eq!(
            lines,
            [
                "cost.search 0.99",
                "cost.budget.remaining 0.01",
                "call_1 calls x",
                "call_1 gives 1",
                "cost.search 0.01",
                "cost.budget.remaining 0",
                "call_2 calls x",
                "call_2 fails BUDGET_EXHAUSTED",
            ]
        );
        assert_eq!(code(ended), "BUDGET_EXHAUSTED");
    });
}

#[test]
fn a_lease_that_ends_stops_the_agent() {
    let world = World::new();
    let time = world.clone();
    let (_runtime, client, _) = world.pair(Runtime::builder().agent("a", move |job: JobContext, (): ()| {
        let time = time.clone();
        async move {
            assert!(job.authorize(Capability::ToolCall, "x").await.is_ok());
            assert!(matches!(job.stopping().await, StopReason::LeaseExpired(_)));
            assert_eq!(job.authorize(Capability::ToolCall, "x").await, Err(Denial::Expired));
            time.sleep(Duration::from_secs(1)).await;
            Ok::<_, AgentError>(())
        }
    }));
    world.run(async move {
        let submit = client.submit("a").lease("tool.call", ["x"]).expires_in(Duration::from_secs(30));
        let mut job = submit.await.unwrap();
        let (_, ended) = story(&mut job).await;
        assert_eq!(code(ended), "LEASE_EXPIRED");
    });
}

async fn research(job: JobContext, words: Vec<String>) -> Result<Value, AgentError> {
    let mut found = Vec::new();
    for word in words {
        let child = job
            .delegate("summarise@1.0.0")
            .input(&word)
            .lease("tool.call", ["search.web"])
            .budget("USD:0.10")
            .max_runtime(Duration::from_secs(60))
            .await?;
        assert_eq!(child.agent().as_str(), "summarise@1.0.0");
        assert_eq!(child.lease().budget()[0].amount.to_string(), "0.1");
        let summary: String = child.result().await?;
        found.push(summary);
    }
    Ok(json!(found))
}

fn delegating() -> RuntimeBuilder {
    Runtime::builder()
        .agent("research", research)
        .agent("summarise@1.0.0", |job: JobContext, word: String| async move {
            assert!(job.parent().is_some());
            if word == "fail" {
                return Err(AgentError::new("no such word").code(ErrorCode::InvalidRequest));
            }
            job.cost("cost.model", "USD:0.04").await?;
            Ok(format!("about {word}"))
        })
        .agent("text", |job: JobContext, (): ()| async move {
            let mut text = job.stream_text();
            text.write("streamed ").await?;
            text.write("text").await?;
            text.finish().await?;
            Ok::<_, AgentError>(())
        })
        .agent("bytes", |job: JobContext, (): ()| async move {
            let mut bytes = job.stream_bytes();
            bytes.write(&[0, 1, 255]).await?;
            bytes.finish().await?;
            Ok::<_, AgentError>(())
        })
        .agent("sleeper", |job: JobContext, (): ()| async move {
            job.stopping().await;
            Ok::<_, AgentError>(())
        })
}

#[test]
fn a_childs_result_is_awaited_with_its_own_handle() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(delegating());
    world.run(async move {
        let submit = |words: Value| {
            client
                .submit("research")
                .input(&words)
                .lease("tool.call", ["search.*"])
                .lease("agent.delegate", ["summarise"])
                .budget("USD:0.20")
        };
        let mut job = submit(json!(["moss", "fern"])).await.unwrap();
        let (lines, ended) = story(&mut job).await;
        assert_eq!(ended.unwrap(), json!(["about moss", "about fern"]));
        let left: Vec<_> = lines.iter().filter(|line| line.starts_with("cost.budget")).collect();
        assert_eq!(
            left,
            [
                "cost.budget.remaining 0.1",
                "cost.budget.remaining 0.16",
                "cost.budget.remaining 0.06",
                "cost.budget.remaining 0.12"
            ]
        );
        let mut job = submit(json!(["fail"])).await.unwrap();
        assert_eq!(
            code(story(&mut job).await.1),
            "INVALID_REQUEST",
            "the code of the child's failure, through `?`"
        );
        let mut job = submit(json!(["a", "b", "c", "d", "e"])).await.unwrap();
        assert_eq!(code(story(&mut job).await.1), "LEASE_SUBSET_VIOLATION", "0.04 is left for the fifth");
    });
}

#[test]
fn refusals_streams_and_cancels_of_children() {
    let world = World::new();
    let (_runtime, client, _) = world.pair(delegating().agent("a", |job: JobContext, (): ()| async move {
        let refused = job.delegate("research").await.unwrap_err();
        assert!(
            matches!(&refused, DelegationError::Refused(error) if error.code == ErrorCode::PermissionDenied)
        );
        assert!(
            refused.to_string().starts_with("the delegation was refused: PERMISSION_DENIED: "),
            "{refused}"
        );
        let misuse = job.delegate("text").lease("tool.cal", ["x"]).await.unwrap_err();
        assert!(matches!(misuse, DelegationError::Misuse(_)), "{misuse}");
        let misuse = job.delegate("text").max_runtime(Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(misuse, DelegationError::Misuse(_)), "{misuse}");
        let text: String = job.delegate("text").await?.result().await?;
        let bytes = job.delegate("bytes").await?.output().await?;
        assert_eq!(bytes, ChildOutput::Bytes(vec![0, 1, 255]));
        let unfit = job.delegate("text").await?.result::<u64>().await.unwrap_err();
        assert!(matches!(unfit, DelegationError::Unfit(_)), "{unfit}");
        let sleeper = job.delegate("sleeper").await?;
        sleeper.cancel("enough").await?;
        let cancelled = sleeper.output().await.unwrap_err();
        assert!(matches!(&cancelled, DelegationError::Failed(error) if error.code == ErrorCode::Cancelled));
        Ok::<_, AgentError>(text)
    }));
    world.run(async move {
        let mut job = client.submit("a").lease("agent.delegate", ["text", "bytes", "sleeper"]).await.unwrap();
        assert_eq!(story(&mut job).await.1.unwrap(), json!("streamed text"));
    });
}

#[test]
fn a_parents_end_ends_a_child_nobody_awaits() {
    let world = World::new();
    let stopped = Arc::new(AtomicBool::new(false));
    let seen = stopped.clone();
    let (_runtime, client, _) = world.pair(
        Runtime::builder()
            .agent("a", |job: JobContext, (): ()| async move {
                drop(job.delegate("child").await?);
                Ok::<_, AgentError>(1)
            })
            .agent("child", move |job: JobContext, (): ()| {
                let seen = seen.clone();
                async move {
                    assert_eq!(job.stopping().await, StopReason::ParentEnded);
                    seen.store(true, Ordering::Relaxed);
                    Ok::<_, AgentError>(())
                }
            }),
    );
    let time = world.clone();
    world.run(async move {
        let mut job = client.submit("a").lease("agent.delegate", ["child"]).await.unwrap();
        assert_eq!(story(&mut job).await.1.unwrap(), json!(1));
        time.sleep(Duration::from_secs(1)).await;
    });
    assert!(stopped.load(Ordering::Relaxed));
}

async fn ask(client: &Client) -> Result<Job, ClientError> {
    client.submit("a").lease("tool.call", ["x", "y"]).budget("USD:5").await
}

#[test]
fn a_policy_decides_what_is_granted() {
    let world = World::new();
    let wide = Arc::new(Mutex::new(0));
    let counted = wide.clone();
    let builder = Runtime::builder()
        .agent("a", |job: JobContext, (): ()| async move {
            Ok::<_, AgentError>(job.authorize(Capability::ToolCall, "y").await.is_ok())
        })
        .observer(move |event| {
            if matches!(event, RuntimeEvent::LeaseTooWide { .. }) {
                *counted.lock().unwrap() += 1;
            }
        });
    let asked = Arc::new(AtomicBool::new(false));
    let first = asked.clone();
    let (_runtime, client, _) = world.pair(builder.leases(move |question: LeaseQuestion| {
        let again = first.swap(true, Ordering::Relaxed);
        async move {
            assert_eq!((&*question.principal, question.agent.as_str()), ("alice", "a"));
            let mut lease = question.lease;
            if again {
                lease.replace(&Capability::FsRead, ["/**"]).unwrap();
            } else {
                lease.retain(|_, pattern| pattern.as_str() == "x");
                lease.limit_budget(&Currency::parse("USD").unwrap(), Amount::parse("2").unwrap());
            }
            LeaseDecision::Grant(lease)
        }
    }));
    world.run(async move {
        let mut job = ask(&client).await.unwrap();
        assert_eq!(job.lease().budgets().next().unwrap().1.to_string(), "2");
        assert_eq!(story(&mut job).await.1.unwrap(), json!(false));
        let ClientError::Request(RequestError::Refused(error)) = ask(&client).await.unwrap_err() else {
            panic!("a wider lease is refused")
        };
        assert_eq!(error.code, "INTERNAL_ERROR");
    });
    assert_eq!(*wide.lock().unwrap(), 1);
}

#[test]
fn a_policy_that_panics_refuses() {
    let world = World::new();
    let builder =
        Runtime::builder().agent("a", |_: JobContext, (): ()| async move { Ok::<_, AgentError>(()) });
    let (_runtime, client, _) = world.pair(builder.leases(|question: LeaseQuestion| async move {
        assert!(question.lease.is_empty(), "as the test wants it");
        LeaseDecision::Grant(question.lease)
    }));
    world.run(async move {
        let ClientError::Request(RequestError::Refused(error)) = ask(&client).await.unwrap_err() else {
            panic!("it is refused")
        };
        assert_eq!(error.code, "PERMISSION_DENIED");
        assert!(client.submit("a").await.is_ok(), "and nobody else feels it");
    });
}

#[test]
fn an_agent_knows_what_is_left_and_what_tracing_wants_to_know() {
    let world = World::new();
    let (_runtime, client, _) =
        world.pair(Runtime::builder().agent("a@1.0.0", |job: JobContext, (): ()| async move {
            job.cost("cost.x", "USD:0.25").await?;
            let left = job.remaining().await?;
            assert_eq!(
                left.iter().map(|(currency, amount)| format!("{currency}:{amount}")).collect::<Vec<_>>(),
                ["USD:0.75"]
            );
            let trace = job.trace_id().to_string();
            let parents = [job.traceparent(), job.traceparent()];
            assert_ne!(parents[0], parents[1], "each with a span of its own");
            for parent in &parents {
                assert_eq!(TraceId::parse(parent).unwrap().to_string(), trace);
            }
            let attributes = job.span_attributes().await?;
            let names: Vec<_> = attributes.iter().map(|(name, _)| *name).collect();
            assert_eq!(
                names,
                [
                    "arcp.session_id",
                    "arcp.job_id",
                    "arcp.agent",
                    "arcp.lease.capabilities",
                    "arcp.budget.remaining"
                ]
            );
            Ok::<_, AgentError>(json!(
                attributes.into_iter().skip(2).map(|(_, value)| value).collect::<Vec<_>>()
            ))
        }));
    world.run(async move {
        let mut job = client.submit("a").lease("tool.call", ["secret.*"]).budget("USD:1").await.unwrap();
        let said: Value = story(&mut job).await.1.unwrap();
        assert_eq!(
            said,
            json!(["a@1.0.0", "tool.call,cost.budget", "USD:0.75"]),
            "namespaces only, no patterns"
        );
    });
}

#[test]
fn a_gateways_refusal_keeps_its_code() {
    let world = World::new();
    let (_runtime, client, _) =
        world.pair(Runtime::builder().agent("a", |job: JobContext, (): ()| async move {
            let refusal = ToolError {
                code: ErrorCode::PermissionDenied,
                message: "no such model".into(),
                details: None,
            };
            job.use_model("fast/m", |_| async move { Err::<(), _>(refusal) }).await?;
            Ok::<_, AgentError>(())
        }));
    world.run(async move {
        let mut job = client.submit("a").lease("model.use", ["fast/*"]).await.unwrap();
        let (lines, ended) = story(&mut job).await;
        assert_eq!(lines, ["call_1 calls model.use", "call_1 fails PERMISSION_DENIED"]);
        assert_eq!(code(ended), "PERMISSION_DENIED");
    });
}

#[test]
fn a_child_is_watched_from_the_session_of_its_parent() {
    let world = World::new();
    let time = world.clone();
    let builder = Runtime::builder()
        .agent("a", |job: JobContext, (): ()| async move {
            Ok::<_, AgentError>(job.delegate("child").await?.result::<u64>().await?)
        })
        .agent("child", move |job: JobContext, (): ()| {
            let time = time.clone();
            async move {
                for number in 1..=3_u64 {
                    // Time enough to be watched.
                    time.sleep(Duration::from_secs(5)).await;
                    job.metric("number", number).await?;
                }
                Ok::<_, AgentError>(7_u64)
            }
        });
    let (_runtime, client, switchboard) = world.pair(builder);
    let other = world.client(switchboard);
    world.run(async move {
        let mut job = client.submit("a").lease("agent.delegate", ["child"]).await.unwrap();
        let EventBody::Delegate { child_job_id: Some(child), .. } =
            job.next().await.unwrap().unwrap().body().unwrap()
        else {
            panic!("the delegation comes first")
        };
        let mut watch = client.watch(&child).await.unwrap();
        let mut seen = Vec::new();
        while let Some(event) = watch.next().await {
            seen.push(event.unwrap().position());
        }
        assert_eq!(seen, [Some(1), Some(2), Some(3)]);
        assert_eq!(watch.result::<u64>().await.unwrap(), 7);
        assert_eq!(job.result::<u64>().await.unwrap(), 7);
        // Whoever comes later has the history in another session.
        let mut late = other.watch(&child).history().await.unwrap();
        let mut seen = 0;
        while let Some(event) = late.next().await {
            assert!(event.is_ok());
            seen += 1;
        }
        assert_eq!((seen, late.result::<u64>().await.unwrap()), (3, 7));
    });
}

#[test]
fn every_hop_of_a_redirect_is_judged() {
    let world = World::new();
    let (_runtime, client, _) =
        world.pair(Runtime::builder().agent("a", |job: JobContext, (): ()| async move {
            let follow = async |url: &str, redirects| {
                job.fetch_following(url, redirects, |url| async move {
                    Ok::<_, io::Error>(match url.as_str() {
                        "https://a.example/start" => Hop::To("/next?q=1".into()),
                        "https://a.example/next?q=1" => Hop::To("https://b.example/end".into()),
                        "https://a.example/away" => Hop::To("https://evil.example/".into()),
                        "https://a.example/odd" => Hop::To("//evil.example/".into()),
                        "https://a.example/loop" => Hop::To("/loop".into()),
                        "https://evil.example/" => panic!("a denied hop is not fetched"),
                        end => Hop::Done(end.to_owned()),
                    })
                })
                .await
            };
            let end = follow("https://A.example/start", 2).await?;
            for (url, code) in [("away", ErrorCode::PermissionDenied), ("odd", ErrorCode::PermissionDenied)] {
                assert_eq!(
                    follow(&format!("https://a.example/{url}"), 2).await.unwrap_err().code(),
                    code,
                    "D-41"
                );
            }
            assert_eq!(
                follow("https://a.example/loop", 2).await.unwrap_err().to_string(),
                "more redirects than the 2 allowed"
            );
            assert_eq!(
                follow("https://a.example/start", 1).await.unwrap_err().to_string(),
                "more redirects than the 1 allowed"
            );
            Ok::<_, AgentError>(json!(end))
        }));
    world.run(async move {
        let lease = ["https://a.example/**", "https://b.example/**"];
        let mut job = client.submit("a").lease("net.fetch", lease).await.unwrap();
        let (lines, ended) = story(&mut job).await;
        assert_eq!(ended.unwrap(), json!("https://b.example/end"));
        assert_eq!(lines.iter().filter(|line| line.contains("calls net.fetch")).count(), 3 + 2 + 2 + 3 + 2);
    });
}
