//! Agents that work under a lease, and how what they may and may not do is told.

use serde_json::{Value, json};
use tokio::process::Command;

use super::program::{CANARY, Ran, Runtime, arcp, ran, soon};

/// The arguments that give `research` what it needs.
const RESEARCH: [&str; 9] = [
    "research",
    "--input",
    r#"{"topics":["tea","coffee","cocoa"]}"#,
    "--lease",
    "tool.call=search.*",
    "--lease",
    "agent.delegate=summarise",
    "--budget",
    "USD:0.15",
];

/// A command of a client, as `alice`.
fn client(url: &str, command: &str, arguments: &[&str]) -> Command {
    let mut command = arcp(&[command, "--url", url]);
    command.args(arguments).env("ARCP_TOKEN", CANARY);
    command
}

/// The lines of a timeline, without time and number, their words one space apart.
fn lines(ran: &Ran) -> Vec<String> {
    let told = |line: &str| {
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        let words = if words.first()?.starts_with('#') { words.get(1..)? } else { &words };
        Some(words.join(" "))
    };
    ran.out.lines().filter_map(told).collect()
}

/// The bodies of all events of a kind.
fn bodies(ran: &Ran, kind: &str) -> Vec<Value> {
    let of_kind = ran.of_type("event").into_iter().filter(|event| event["kind"] == kind);
    of_kind.map(|event| event["body"].clone()).collect()
}

fn result(ran: &Ran) -> Value {
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    ran.of_type("result")[0]["result"].clone()
}

#[tokio::test]
async fn every_agent_is_in_the_help_and_the_readme() {
    let readme = include_str!("../../../README.md");
    let help = ran(arcp(&["serve", "--help"])).await.out;
    let runtime = Runtime::start().await;
    let agents = ran(client(&runtime.url, "agents", &["--json"])).await.objects();
    assert!(agents.len() >= 10, "{agents:?}");
    for agent in agents {
        let name = agent["name"].as_str().unwrap();
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))),
            "{name}: {help}"
        );
        assert!(readme.contains(&format!("\n| `{name}` | ")), "{name}");
    }
}

#[tokio::test]
async fn bytes_come_in_pieces_and_are_put_together() {
    let runtime = Runtime::start().await;
    let arguments = ["bytes", "--json", "--input", r#"{"bytes":7,"piece":3}"#];
    let ran = ran(runtime.submit(&arguments)).await;
    assert_eq!(result(&ran), "AAECAwQFBg==");
    assert_eq!(ran.of_type("result")[0]["encoding"], "base64");
    let chunks: Vec<_> = bodies(&ran, "result_chunk").iter().map(|chunk| chunk["data"].clone()).collect();
    assert_eq!(chunks, ["AAEC", "AwQF", "Bg==", ""]);
    let artifact = &bodies(&ran, "artifact_ref")[0];
    assert_eq!((&artifact["uri"], &artifact["byte_size"]), (&json!("urn:arcp:demo:bytes:7"), &json!(7)));
}

#[tokio::test]
async fn the_lease_is_asked_for_each_target() {
    let runtime = Runtime::start().await;
    let input =
        r#"{"fs.read":["/data/a/","/data/../etc","/etc/passwd"],"net.fetch":["HTTPS://Example.com:443"]}"#;
    let lease = ["--lease", "fs.read=/data/**", "--lease", "net.fetch=https://example.com/**"];
    let ran = ran(runtime.submit(&[&["check", "--json", "--input", input], &lease[..]].concat())).await;
    let answers: Vec<_> = result(&ran)
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| {
            (answer["permitted"] == json!(true), answer["canonical"].clone(), answer["code"].clone())
        })
        .collect();
    let refused = (false, json!(null), json!("PERMISSION_DENIED"));
    assert_eq!(
        answers,
        [
            (true, json!("/data/a"), json!(null)),
            refused.clone(),
            refused,
            (true, json!("https://example.com/"), json!(null)),
        ]
    );
    let unknown = r#"{"coffee.make":["*"]}"#;
    let unknown = super::ran(runtime.submit(&["check", "--input", unknown])).await;
    assert!(unknown.complaint().contains("INVALID_REQUEST: a capability is fs.read"), "{unknown:?}");
}

#[tokio::test]
async fn tools_are_called_as_far_as_lease_and_budget_go() {
    let runtime = Runtime::start().await;
    let tools = |cost: &str| {
        let input = format!(r#"{{"calls":["a","b","a","a"],"cost":"{cost}"}}"#);
        ran(runtime.submit(&[
            "tools",
            "--json",
            "--input",
            &input,
            "--lease",
            "tool.call=a",
            "--budget",
            "USD:0.5",
        ]))
    };
    let paid = tools("USD:0.4").await;
    assert_eq!(result(&paid), json!(2));
    let told: Vec<_> = bodies(&paid, "tool_result")
        .iter()
        .map(|body| body["error"]["code"].as_str().unwrap_or("done").to_owned())
        .collect();
    assert_eq!(told, ["done", "PERMISSION_DENIED", "done", "BUDGET_EXHAUSTED"]);
    let unread = tools("0.4").await;
    assert!(unread.complaint().contains("INVALID_REQUEST: `cost`: an amount is"), "{unread:?}");
    assert!(unread.of_type("event").is_empty(), "{unread:?}");
}

#[tokio::test]
async fn a_research_ends_with_its_budget() {
    let runtime = Runtime::start().await;
    let ran = ran(runtime.submit(&[&RESEARCH[..], &["--json"]].concat())).await;
    assert_eq!(
        result(&ran),
        json!([
            { "topic": "tea", "summary": "tea is grown, traded, prepared" },
            { "topic": "coffee", "summary": null },
        ])
    );
    let codes: Vec<_> = bodies(&ran, "tool_result")
        .iter()
        .filter_map(|body| Some(body.get("error")?["code"].as_str()?.to_owned()))
        .collect();
    assert_eq!(codes, ["PERMISSION_DENIED", "BUDGET_EXHAUSTED"]);
    assert_eq!(bodies(&ran, "delegate").len(), 2);
    let left: Vec<_> = bodies(&ran, "metric")
        .iter()
        .filter(|body| body["name"] == "cost.budget.remaining")
        .map(|body| body["value"].to_string())
        .collect();
    assert_eq!(left, ["0.09", "0.04", "0.06", "0"]);

    let free = &RESEARCH[..7];
    let unlimited = super::ran(runtime.submit(&[free, &["--json"]].concat())).await;
    let found = result(&unlimited);
    assert_eq!(found.as_array().unwrap().len(), 3, "{found}");
    assert!(found.as_array().unwrap().iter().all(|found| found["summary"].is_string()), "{found}");
}

#[tokio::test]
async fn people_see_what_was_denied_and_what_is_left() {
    let runtime = Runtime::start().await;
    let ran = ran(runtime.submit(&RESEARCH)).await;
    let told = lines(&ran);
    let delegate = |line: &&String| line.starts_with("delegate summarise@1.0.0 job_");
    assert_eq!(told.iter().filter(delegate).count(), 2, "{told:?}");
    assert!(told.iter().filter(delegate).all(|line| line.ends_with(" cost.budget=USD:0.05")), "{told:?}");
    let expected = [
        "lease tool.call search.*, agent.delegate summarise, 0.15 USD",
        r#"tool library.read {"topic":"tea"}"#,
        "denied PERMISSION_DENIED: the lease does not permit this `tool.call`: `library.read` matches none of `search.*`",
        r#"tool search.web {"query":"tea"}"#,
        "metric cost.search = 0.06 USD",
        "budget 0.09 USD left",
        "budget 0.04 USD left",
        "budget 0.06 USD left",
        "budget 0 USD left",
        "denied BUDGET_EXHAUSTED: nothing is left of the budget in USD",
        "success",
    ];
    let mut rest = told.iter();
    for line in expected {
        assert!(rest.any(|told| told == line), "no `{line}` where it belongs: {told:#?}");
    }
}

#[tokio::test]
async fn whoever_submitted_is_told_what_to_do() {
    let runtime = Runtime::start().await;
    let table: &[(&[&str], &str)] = &[
        (
            &RESEARCH[..3],
            "`search.web`, for which it has no patterns; --lease tool.call=PATTERN can permit it",
        ),
        (&RESEARCH[..5], "--lease agent.delegate=PATTERN can permit it"),
        (
            &["sleep", "--input", r#"{"seconds":600}"#, "--expires-in", "1s"],
            "LEASE_EXPIRED: the lease ended at ",
        ),
        (&["sleep", "--input", r#"{"seconds":600}"#, "--expires-in", "1s"], "; --expires-in gives it longer"),
    ];
    for (arguments, said) in table {
        let ran = ran(runtime.submit(arguments)).await;
        assert!(ran.code == 1 && ran.complaint().contains(said), "{said}: {ran:?}");
    }
    // What the agent says of itself is not about the lease.
    let own = ran(runtime.submit(&["fail", "--input", r#"{"code":"PERMISSION_DENIED"}"#])).await;
    assert!(own.complaint().ends_with("the job was asked to fail"), "{own:?}");
}

#[tokio::test]
async fn a_delegated_job_names_its_parent() {
    let mut runtime = Runtime::start().await;
    let submitted = ran(runtime.submit(&[&RESEARCH[..], &["--json"]].concat())).await;
    let parent = submitted.of_type("accepted")[0]["job_id"].as_str().unwrap().to_owned();
    let child = bodies(&submitted, "delegate")[0]["child_job_id"].as_str().unwrap().to_owned();

    let listed = ran(client(&runtime.url, "ls", &[])).await;
    let of_child = listed.out.lines().find(|line| line.contains(&child)).unwrap();
    assert!(of_child.ends_with(&format!("summarise@1.0.0  delegated by {parent}")), "{listed:?}");
    let listed = ran(client(&runtime.url, "ls", &["--json", "--agent", "summarise"])).await.objects();
    assert_eq!((listed.len(), &listed[0]["parent_job_id"]), (1, &json!(parent)));

    let told = ran(client(&runtime.url, "tail", &[&child, "--history"])).await;
    assert!(told.out.contains(&format!("success, delegated by {parent}")), "{told:?}");
    assert!(lines(&told).contains(&"budget 0.02 USD left".to_owned()), "{told:?}");
    let told = ran(client(&runtime.url, "tail", &[&child, "--history", "--json"])).await;
    assert_eq!(told.of_type("subscribed")[0]["parent_job_id"], json!(parent));
    let started = format!("{child} summarise@1.0.0 started for alice, delegated by {parent}");
    while !soon(runtime.running.err.next_line()).await.unwrap().unwrap().ends_with(&started) {}
    assert_eq!(result(&told), json!("tea is grown, traded, prepared"));
}

#[tokio::test]
async fn delegated_jobs_are_followed_below_the_one_that_was_submitted() {
    let runtime = Runtime::start().await;
    let ran = ran(runtime.submit(&[&RESEARCH[..], &["--children", "--json"]].concat())).await;
    let accepted = ran.of_type("accepted");
    let [parent, child] = &accepted[..] else { panic!("{ran:?}") };
    assert!(parent.get("parent_job_id").is_none(), "{parent}");
    assert_eq!(child["parent_job_id"], parent["job_id"]);
    assert_eq!(child["job_id"], bodies(&ran, "delegate")[0]["child_job_id"]);
    let of_child: Vec<_> =
        ran.objects().into_iter().filter(|object| object["job_id"] == child["job_id"]).collect();
    let said: Vec<_> = of_child.iter().map(|object| object["type"].as_str().unwrap()).collect();
    assert_eq!(said, ["accepted", "event", "event", "event", "result"]);
    let positions: Vec<_> = of_child.iter().filter_map(|object| object["pos"].as_u64()).collect();
    assert_eq!(positions, [1, 2, 3], "from its first event on");
    let last = ran.objects().pop().unwrap();
    assert_eq!((&last["type"], &last["job_id"]), (&json!("result"), &parent["job_id"]));

    let people = super::ran(runtime.submit(&[&RESEARCH[..], &["--children"]].concat())).await;
    let told = lines(&people);
    let begun =
        told.iter().find(|line| line.contains(" job job_") && line.contains(", delegated by ")).unwrap();
    let (margin, _) = begun.split_once(' ').unwrap();
    for line in [
        "lease 0.05 USD".to_owned(),
        "metric cost.model = 0.03 USD".to_owned(),
        "budget 0.02 USD left".to_owned(),
        r#"success "tea is grown, traded, prepared""#.to_owned(),
    ] {
        let line = format!("{margin} {line}");
        assert!(told.contains(&line), "no `{line}`: {told:#?}");
    }
    assert!(people.out.contains(&format!("  {margin} job ")), "{people:?}");
}
