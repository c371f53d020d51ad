//! What `submit` asks to be allowed, `agents`, and the filters of `ls`.

use arcp_driver::{AgentError, JobContext, RuntimeBuilder};
use arcp_proto::feature::Feature;
use arcp_tokio::{Server, Serving};
use serde_json::{Value, json};
use tokio::process::Command;

use super::program::{CANARY, Runtime, arcp, ran, soon};

fn client(url: &str, command: &str, arguments: &[&str]) -> Command {
    let mut command = arcp(&[command, "--url", url]);
    command.args(arguments).env("ARCP_TOKEN", CANARY);
    command
}

/// A runtime in this process.
async fn local(build: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder) -> (String, Serving) {
    async fn echo(_: JobContext, input: Value) -> Result<Value, AgentError> {
        Ok(input)
    }
    let builder = arcp_driver::Runtime::builder()
        .bearer(CANARY, "alice")
        .bearer("other-token", "bob")
        .agent("echo@1.0.0", echo)
        .agent("echo@2.0.0-rc.1", echo)
        .agent("mailer", echo);
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let url = server.url();
    (url, server.start(build(builder).build().unwrap()))
}

#[tokio::test]
async fn agents_are_shown_with_their_versions() {
    let (url, _serving) = local(|builder| builder).await;
    let people = ran(client(&url, "agents", &[])).await;
    assert_eq!((people.code, people.err.as_str()), (0, ""), "{people:?}");
    assert_eq!(people.out, format!("{:<24}  1.0.0, 2.0.0-rc.1 (default)\nmailer\n", "echo"));
    let programs = ran(client(&url, "agents", &["--json"])).await;
    assert_eq!(
        programs.objects(),
        [
            json!({"type": "agent", "name": "echo", "versions": ["1.0.0", "2.0.0-rc.1"], "default": "2.0.0-rc.1"}),
            json!({"type": "agent", "name": "mailer", "versions": [], "default": null}),
        ]
    );
}

#[tokio::test]
async fn agents_are_those_of_the_principal() {
    let (url, _serving) =
        local(|builder| builder.offer(|principal, agent| principal == "alice" || agent == "mailer")).await;
    let mut bob = client(&url, "agents", &["--json"]);
    bob.env("ARCP_TOKEN", "other-token");
    let names: Vec<_> = ran(bob).await.objects().iter().map(|agent| agent["name"].clone()).collect();
    assert_eq!(names, ["mailer"]);
}

#[tokio::test]
async fn lists_are_cut_where_it_is_asked() {
    let runtime = Runtime::start().await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let accepted = ran(runtime.submit(&["echo", "--json"])).await.of_type("accepted").remove(0);
        jobs.insert(0, accepted["job_id"].clone());
    }
    let list = async |arguments: &[&str]| -> Vec<Value> {
        let listed = ran(client(&runtime.url, "ls", &[&["--json"], arguments].concat())).await;
        assert_eq!((listed.code, listed.err.as_str()), (0, ""), "{listed:?}");
        listed.objects().iter().map(|job| job["job_id"].clone()).collect()
    };
    assert_eq!(list(&["--limit", "2"]).await, jobs[..2]);
    assert_eq!(list(&["--limit", "9", "--created-after", "1h"]).await, jobs);
    assert!(list(&["--created-before", "1h"]).await.is_empty());
    assert!(list(&["--created-before", "2026-01-01T00:00:00Z"]).await.is_empty());
}

#[tokio::test]
async fn what_is_granted_is_shown() {
    let (url, _serving) = local(|builder| builder).await;
    let arguments = [
        "echo",
        "--lease",
        "tool.call=search.*",
        "--lease",
        "tool.call=mail",
        "--lease",
        "net.fetch=https://example.com/a?b=*",
        "--budget",
        "USD:1.50",
        "--expires-at",
        "2096-01-01T00:00:00Z",
    ];
    let programs = ran(client(&url, "submit", &[&arguments[..], &["--json"]].concat())).await;
    let accepted = &programs.of_type("accepted")[0];
    assert_eq!(
        accepted["lease"],
        json!({"tool.call": ["search.*", "mail"], "net.fetch": ["https://example.com/a?b=*"], "cost.budget": ["USD:1.50"]})
    );
    assert_eq!(
        (&accepted["budget"], &accepted["lease_constraints"]),
        (&json!({"USD": 1.5}), &json!({"expires_at": "2096-01-01T00:00:00.000Z"}))
    );
    let people = ran(client(&url, "submit", &arguments)).await;
    let said = "lease     tool.call search.* mail, net.fetch https://example.com/a?b=*, 1.5 USD, until 2096-01-01T00:00:00.000Z";
    let line = people.out.lines().find(|line| line.contains("lease")).unwrap_or_else(|| panic!("{people:?}"));
    assert_eq!(
        line.split_whitespace().skip(1).collect::<Vec<_>>(),
        said.split_whitespace().collect::<Vec<_>>()
    );
    let job = accepted["job_id"].as_str().unwrap();
    let told = ran(client(&url, "tail", &[job, "--history", "--json"])).await;
    assert_eq!(told.of_type("subscribed")[0]["lease"], accepted["lease"]);
    let soon = ran(client(&url, "submit", &["echo", "--expires-in", "1h", "--json"])).await;
    assert!(soon.of_type("accepted")[0]["lease_constraints"]["expires_at"].is_string(), "{soon:?}");
}

#[tokio::test]
async fn an_agent_does_what_lease_and_budget_permit() {
    let runtime = Runtime::start().await;
    let calls =
        r#"{"calls":["search.web","shell.run","search.mail","search.web","search.web"],"cost":"USD:0.4"}"#;
    let lease = ["--lease", "tool.call=search.*", "--budget", "USD:1.00"];
    let ran = ran(runtime.submit(&[&["tools", "--json", "--input", calls], &lease[..]].concat())).await;
    assert_eq!((ran.code, &ran.of_type("result")[0]["result"]), (0, &json!(3)), "{ran:?}");
    let events = ran.of_type("event");
    let results = events.iter().filter(|event| event["kind"] == "tool_result");
    let codes: Vec<_> = results.map(|event| event["body"]["error"]["code"].as_str()).collect();
    assert_eq!(codes, [None, Some("PERMISSION_DENIED"), None, None, Some("BUDGET_EXHAUSTED")]);
    let left = events.iter().filter(|event| event["body"]["name"] == "cost.budget.remaining");
    let left: Vec<_> = left.map(|event| event["body"]["value"].as_f64().unwrap()).collect();
    assert_eq!(left, [0.6, 0.2, -0.2]);
}

#[tokio::test]
async fn what_the_runtime_does_not_know_is_not_submitted() {
    let (url, _serving) = local(|builder| {
        builder.config(|config| {
            for feature in [Feature::CostBudget, Feature::LeaseExpiresAt] {
                config.features = config.features.without(feature);
            }
        })
    })
    .await;
    for (arguments, feature) in
        [(["--budget", "USD:1.00"], "cost.budget"), (["--expires-in", "10m"], "lease_expires_at")]
    {
        let refused = ran(client(&url, "submit", &[&["echo"], &arguments as &[&str]].concat())).await;
        assert_eq!(
            (refused.code, refused.complaint()),
            (1, format!("the runtime does not know `{feature}`").as_str())
        );
    }
    assert!(ran(client(&url, "ls", &[])).await.out.is_empty(), "nothing ran");
}

#[tokio::test]
async fn a_lease_that_none_would_take_is_an_argument_that_cannot_be_used() {
    let table: &[(&[&str], &str)] = &[
        (&["--lease", "tool.call"], "`--lease <CAPABILITY=PATTERN>`: what a job may do is a capability"),
        (&["--lease", "fs.read=relative"], "absolute"),
        (&["--budget", "1 USD"], "`--budget <CURRENCY:AMOUNT>`: an amount is"),
        (&["--budget", "USD:1", "--budget", "USD:2"], "once only"),
        (&["--expires-in", "soon"], "a duration is a number"),
        (&["--expires-at", "tomorrow"], "a time is a date"),
        (&["--trace-id", "mine"], "a trace is 32"),
    ];
    for (arguments, said) in table {
        let ran = ran(client("ws://127.0.0.1:9", "submit", &[&["echo"], *arguments].concat())).await;
        assert!(ran.code == 2 && ran.complaint().contains(said), "{arguments:?}: {ran:?}");
    }
}

#[tokio::test]
async fn a_job_is_part_of_the_trace_it_is_given() {
    let runtime = Runtime::start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let ran =
        soon(ran(runtime.submit(&["echo", "--json", "--trace-id", trace, "--max-runtime", "1m"]))).await;
    let accepted = &ran.of_type("accepted")[0];
    assert_eq!((&accepted["trace_id"], &accepted["lease"]), (&json!(trace), &json!({})));
    assert_eq!((&accepted["budget"], &accepted["lease_constraints"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn an_observer_sees_everybodys_jobs_and_cancels_none() {
    let mut serve = arcp(&["serve", "--listen", "127.0.0.1:0", "--observer", "bob"]);
    serve.env("ARCP_TOKENS", format!("{CANARY}=alice other-token=bob third-token=carol"));
    let runtime = Runtime::of(serve).await;
    let submitted = ran(runtime.submit(&["count", "--json", "--input", r#"{"to":3}"#])).await;
    let job = submitted.of_type("accepted")[0]["job_id"].as_str().unwrap().to_owned();
    let run_as = |token: &str, command: &str, arguments: &[&str]| {
        let mut command = client(&runtime.url, command, arguments);
        command.env("ARCP_TOKEN", token);
        ran(command)
    };
    let listed = run_as("other-token", "ls", &["--json"]).await.objects();
    assert_eq!(
        (listed.len(), &listed[0]["job_id"], &listed[0]["last_event_seq"]),
        (1, &json!(job), &json!(4))
    );
    let told = run_as("other-token", "tail", &[&job, "--history", "--json"]).await;
    assert_eq!((told.code, &told.of_type("result")[0]["result"]), (0, &json!(3)), "{told:?}");
    let refused = run_as("other-token", "cancel", &[&job]).await;
    assert!(refused.complaint().starts_with("PERMISSION_DENIED: "), "{refused:?}");
    assert!(run_as("third-token", "ls", &["--json"]).await.out.is_empty());
    let refused = run_as("third-token", "tail", &[&job]).await;
    assert!(refused.complaint().starts_with("JOB_NOT_FOUND: "), "{refused:?}");
}
