//! Agents that work under a lease, and how what they may and may not do is told.

use serde_json::{Value, json};

use super::program::{Ran, Runtime, arcp, ran};

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
async fn every_agent_is_in_the_help() {
    let help = ran(arcp(&["serve", "--help"])).await.out;
    let runtime = Runtime::start().await;
    let mut agents = arcp(&["agents", "--json", "--url", &runtime.url]);
    agents.env("ARCP_TOKEN", super::CANARY);
    let agents = ran(agents).await.objects();
    assert!(agents.len() >= 10, "{agents:?}");
    for agent in agents {
        let name = agent["name"].as_str().unwrap();
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))),
            "{name}: {help}"
        );
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
