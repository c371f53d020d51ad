//! The program `arcp`, as its users meet it.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "cli/asking.rs"]
mod asking;
#[cfg(unix)]
#[path = "cli/durable.rs"]
mod durable;
#[path = "cli/listing.rs"]
mod listing;
#[path = "cli/permitted.rs"]
mod permitted;
#[path = "cli/program.rs"]
mod program;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "cli/secured.rs"]
mod secured;
#[cfg(unix)]
#[path = "cli/stopping.rs"]
mod stopping;

use std::net::TcpListener;

use program::{CANARY, Runtime, arcp, closed_port, ran, ran_with_input, submit};
use serde_json::json;

#[tokio::test]
async fn the_demo_shows_what_it_promises() {
    let ran = ran(arcp(&[])).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let facts = ran.out.lines().last().unwrap();
    let words: Vec<&str> = facts.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let [
        "✔",
        events,
        "events",
        "received",
        "event_seq",
        "1",
        "to",
        last,
        gaps,
        "gaps",
        resumes,
        "resume" | "resumes",
        wall,
        "s",
    ] = words.as_slice()
    else {
        panic!("not the line of facts: {facts}");
    };
    assert!(events.parse::<u64>().unwrap() >= 60 && events == last, "{facts}");
    assert!(*gaps == "0" && resumes.parse::<u64>().unwrap() >= 1, "{facts}");
    assert!(wall.parse::<f64>().unwrap() < 60.0, "{facts}");
    for told in [
        "pulled!",
        "lost the connection",
        "resumed sess_",
        "exactly what the agent wrote",
        "cancelled",
        "ran once",
        "denied    PERMISSION_DENIED: ",
        "└ metric  cost.model = 0.03 USD",
        "denied    BUDGET_EXHAUSTED: ",
        "0.15 of 0.15 USD spent, 0.03 of it by 1 helper; refused: 1 call outside the lease, 1 delegation",
    ] {
        assert!(ran.out.contains(told), "nothing of `{told}`: {}", ran.out);
    }
}

#[tokio::test]
async fn people_see_events_and_the_result() {
    let runtime = Runtime::start().await;
    let ran = ran(runtime.submit(&["count", "--input", r#"{"to":3}"#])).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    for told in [
        "connected to arcp",
        "accepted for count@1.0.0",
        "#1  progress  1 of 3 numbers",
        "#3  progress  3 of 3",
    ] {
        assert!(ran.out.contains(told), "nothing of `{told}`: {}", ran.out);
    }
    assert_eq!(ran.out.lines().last(), Some("3"));
}

#[tokio::test]
async fn programs_read_one_object_per_line() {
    let runtime = Runtime::start().await;
    let ran = ran(runtime.submit(&["count", "--input", r#"{"to":3}"#, "--json"])).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let types: Vec<_> =
        ran.objects().iter().map(|object| object["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["connected", "accepted", "event", "event", "event", "result"]);
    let events = ran.of_type("event");
    assert_eq!(events[1]["body"], json!({ "current": 2, "total": 3, "units": "numbers" }));
    assert_eq!((&events[2]["pos"], &events[2]["kind"]), (&json!(3), &json!("progress")));
    let result = &ran.of_type("result")[0];
    assert_eq!((&result["final_status"], &result["result"]), (&json!("success"), &json!(3)));
    assert_eq!(result["job_id"], ran.of_type("accepted")[0]["job_id"]);
}

#[tokio::test]
async fn a_result_is_the_same_whole_or_in_pieces() {
    let runtime = Runtime::start().await;
    let report = async |agent: &str| {
        let ran = ran(runtime.submit(&[agent, "--json", "--input", r#"{"sections":3}"#])).await;
        let pieces = ran.of_type("event").iter().filter(|event| event["kind"] == "result_chunk").count();
        let result = ran.of_type("result").remove(0);
        (pieces, result["encoding"].clone(), result["result"].as_str().unwrap().to_owned())
    };
    let (pieces, encoding, text) = report("report").await;
    assert_eq!((pieces, encoding), (4, json!("text")));
    let (none, encoding, whole) = report("report@1.0.0").await;
    assert_eq!((none, encoding), (0, json!("json")));
    assert_eq!(text, whole);
    assert!(text.starts_with("1. Envelopes\n"), "{text}");
}

#[tokio::test]
async fn input_comes_from_anywhere_and_keeps_its_digits() {
    let runtime = Runtime::start().await;
    let json = "{\n  \"pi\": 3.14159265358979323846264338327950288\n}";
    let file = std::env::temp_dir().join(format!("arcp-input-{}.json", std::process::id()));
    std::fs::write(&file, json).unwrap();
    let from_file =
        ran(runtime.submit(&["echo", "--json", "--input", &format!("@{}", file.display())])).await;
    std::fs::remove_file(&file).unwrap();
    let from_stdin = ran_with_input(runtime.submit(&["echo", "--json", "--input", "-"]), json).await;
    let from_argument = ran(runtime.submit(&["echo", "--json", "--input", json])).await;
    let negative = ran(runtime.submit(&["echo", "--json", "--input", "-17"])).await;
    let nothing = ran(runtime.submit(&["echo", "--json"])).await;
    for ran in [from_file, from_stdin, from_argument] {
        assert!(
            ran.objects().len() == 3 && ran.out.contains("3.14159265358979323846264338327950288"),
            "{ran:?}"
        );
    }
    assert_eq!(negative.of_type("result")[0]["result"], json!(-17));
    assert_eq!(nothing.of_type("result")[0]["result"], json!({}));
}

#[tokio::test]
async fn a_key_finds_its_job_again() {
    let runtime = Runtime::start().await;
    let count = async |to: &str| ran(runtime.submit(&["count", "--json", "--key", "k", "--input", to])).await;
    let (first, again) = (count(r#"{"to":2}"#).await, count(r#"{"to":2.0}"#).await);
    assert_eq!((first.code, again.code), (0, 0), "{again:?}");
    assert_eq!(first.of_type("accepted")[0]["job_id"], again.of_type("accepted")[0]["job_id"]);
    assert_eq!(first.of_type("result")[0]["result"], again.of_type("result")[0]["result"]);
    assert_eq!(again.of_type("event").len(), 2);
    let other = count(r#"{"to":3}"#).await;
    assert_eq!(other.code, 1);
    assert!(other.complaint().starts_with("DUPLICATE_KEY: "), "{other:?}");
}

#[tokio::test]
async fn the_environment_names_runtime_and_token() {
    let runtime = Runtime::start().await;
    let mut command = arcp(&["submit", "echo", "--input", "\"hello\""]);
    command.env("ARCP_URL", &runtime.url).env("ARCP_TOKEN", CANARY);
    let ran = ran(command).await;
    assert_eq!((ran.code, ran.out.lines().last()), (0, Some("\"hello\"")), "{ran:?}");
}

#[tokio::test]
async fn failures_have_exit_code_1_and_one_line() {
    let runtime = Runtime::start().await;
    let table = [
        (r#"["fail"]"#, "the job ended as error: INTERNAL_ERROR: the job was asked to fail"),
        (
            r#"["fail", "--input", "{\"message\":\"a\\nb\\u001b[31m\",\"code\":\"PERMISSION_DENIED\"}"]"#,
            "the job ended as error: PERMISSION_DENIED: a\\nb\\u{1b}[31m",
        ),
        (r#"["fail", "--input", "{\"code\":\"TIMEOUT\"}"]"#, "INVALID_REQUEST"),
        (r#"["count", "--input", "{\"to\":-1}"]"#, "INVALID_REQUEST"),
        (r#"["count"]"#, "INVALID_REQUEST"),
        (r#"["nobody"]"#, "AGENT_NOT_AVAILABLE"),
        (r#"["echo@9.9.9"]"#, "AGENT_VERSION_NOT_AVAILABLE"),
    ];
    for (arguments, said) in table {
        let arguments: Vec<&str> = serde_json::from_str::<Vec<String>>(arguments)
            .map(|arguments| arguments.into_iter().map(|argument| &*argument.leak()).collect())
            .unwrap();
        let people = ran(runtime.submit(&arguments)).await;
        assert_eq!(people.code, 1, "{people:?}");
        assert!(people.complaint().contains(said), "{said}: {people:?}");
        let mut arguments = arguments;
        arguments.push("--json");
        let programs = ran(runtime.submit(&arguments)).await;
        assert_eq!(programs.code, 1, "{programs:?}");
        assert!(
            programs.complaint().contains(said) && !programs.objects().is_empty(),
            "{said}: {programs:?}"
        );
    }
    let failed = ran(runtime.submit(&["fail", "--json"])).await;
    let end = &failed.of_type("error")[0];
    assert_eq!(
        (&end["final_status"], &end["code"], &end["retryable"]),
        (&json!("error"), &json!("INTERNAL_ERROR"), &json!(true))
    );
}

#[tokio::test]
async fn an_input_over_the_limit_is_an_error() {
    let runtime = Runtime::start().await;
    let input = format!("\"{}\"", "x".repeat(1_100_000));
    let ran = ran_with_input(runtime.submit(&["echo", "--input", "-"]), &input).await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.complaint().starts_with("the input is too large: "), "{}", ran.err);
}

#[tokio::test]
async fn a_job_that_takes_too_long_has_exit_code_4() {
    let runtime = Runtime::start().await;
    let arguments = ["sleep", "--input", r#"{"seconds":600}"#, "--max-runtime", "1s", "--json"];
    let ran = ran(runtime.submit(&arguments)).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.complaint().starts_with("the job ended as timed_out: TIMEOUT"), "{ran:?}");
    assert_eq!(ran.of_type("error")[0]["final_status"], "timed_out");
}

#[tokio::test]
async fn a_refused_token_is_an_error_that_does_not_show_it() {
    let runtime = Runtime::start().await;
    let wrong = format!("not-{CANARY}");
    let mut command = runtime.submit(&["echo"]);
    command.env("ARCP_TOKEN", &wrong);
    let by_environment = ran(command).await;
    let by_argument = ran(runtime.submit(&["echo", "--token", &wrong, "--json"])).await;
    for ran in [by_environment, by_argument] {
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.complaint().contains("does not accept the token"), "{ran:?}");
    }
}

#[tokio::test]
async fn an_unreachable_runtime_is_given_up() {
    let url = format!("ws://127.0.0.1:{}", closed_port());
    let ran = ran(submit(&url, &["echo", "--attempts", "3"])).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.complaint().starts_with("cannot connect to 127.0.0.1:"), "{ran:?}");
    assert!(ran.complaint().contains("after 3 attempts: "), "{ran:?}");
}

#[tokio::test]
async fn a_server_of_something_else_is_given_up() {
    let runtime = Runtime::start().await;
    let elsewhere = runtime.url.replace("/arcp", "/elsewhere");
    let ran = ran(submit(&elsewhere, &["echo", "--attempts", "2"])).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.complaint().contains("404"), "{ran:?}");
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = ran(arcp(&["serve", "--listen", &address, "--token", "t=alice"])).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.complaint().starts_with(&format!("cannot listen on {address}: ")), "{ran:?}");
}

#[tokio::test]
async fn plain_text_stays_on_this_machine_unless_told_otherwise() {
    let refused = ran(arcp(&["serve", "--listen", "0.0.0.0:0", "--token", "t=alice"])).await;
    assert_eq!(refused.code, 2);
    assert!(refused.complaint().contains("--unsafe-plaintext-beyond-loopback"), "{refused:?}");
    let allowed =
        arcp(&["serve", "--listen", "0.0.0.0:0", "--token", "t=alice", "--unsafe-plaintext-beyond-loopback"]);
    assert!(Runtime::of(allowed).await.url.starts_with("ws://0.0.0.0:"));
    let refused = ran(submit("ws://192.0.2.1", &["echo"])).await;
    assert_eq!(refused.code, 2);
    assert!(refused.complaint().contains("this machine only"), "{refused:?}");
}

#[tokio::test]
async fn arguments_that_cannot_be_used_have_exit_code_2_and_one_line() {
    let table: &[(&[&str], i32, &str)] = &[
        (&["nonsense"], 2, "no command `nonsense`"),
        (&["demo", CANARY], 2, "an argument too many"),
        (&["--nonsense"], 2, "no argument `--nonsense`"),
        (&["serve"], 2, "at least one TOKEN=PRINCIPAL"),
        (&["serve", "--token", CANARY], 2, "--token number 1: it must be TOKEN=PRINCIPAL"),
        (&["serve", "--token", "a=b", "canary-3f9c=c"], 2, "an argument too many"),
        (
            &["serve", "--token", "canary-3f9c=a", "--token", "canary-3f9c=b"],
            2,
            "belongs to another principal",
        ),
        (&["serve", "--listen", "nowhere", "--token", "a=b"], 2, "HOST:PORT"),
        (&["serve", "--listen", "127.0.0.1:0", "--stdio", "--token", "a=b"], 2, "exclude each other"),
        (&["serve", "--token-file", "/nonexistent/tokens"], 1, "cannot read /nonexistent/tokens"),
        (&["submit"], 2, "missing: <AGENT>"),
        (&["submit", "echo"], 2, "no token"),
        (&["submit", "echo", "--token", ""], 2, "no token"),
        (&["submit", "echo", "--token", "canary-3f9c\n"], 2, "control characters"),
        (&["submit", "Bad Name", "--token", CANARY], 2, "an agent is `name` or `name@version`"),
        (&["submit", "echo", "--token", CANARY, "--url", "http://canary-3f9c"], 2, "ws://"),
        (&["submit", "echo", "--token", CANARY, "--url", "ws://me:canary-3f9c@localhost"], 2, "password"),
        (&["submit", "echo", "--token", CANARY, "--tls-ca", "/nonexistent"], 2, "--tls-ca /nonexistent: "),
        (&["serve", "--token", "a=b", "--tls-cert", "/nonexistent"], 2, "--tls-key"),
        (&["submit", "echo", "--token", CANARY, "--input", "{canary-3f9c"], 2, "--input is no JSON"),
        (&["submit", "echo", "--token", CANARY, "--input", "{} {}"], 2, "--input is no JSON"),
        (&["submit", "echo", "--token", CANARY, "--input", "@/nonexistent"], 1, "cannot read /nonexistent"),
        (&["submit", "echo", "--token", CANARY, "--max-runtime", "soon"], 2, "a duration is"),
        (&["submit", "echo", "--token", CANARY, "--key", ""], 2, "a key has 1 to 256 bytes"),
        (&["submit", "echo", "--tokn=canary-3f9c"], 2, "no argument `--tokn`; is `--token` meant?"),
    ];
    for (arguments, code, said) in table {
        let ran = ran(arcp(arguments)).await;
        assert_eq!((ran.code, ran.out.as_str()), (*code, ""), "{arguments:?}: {ran:?}");
        assert!(ran.complaint().contains(said), "{arguments:?}: {ran:?}");
    }
}

#[tokio::test]
async fn tokens_come_from_a_file() {
    let file = std::env::temp_dir().join(format!("arcp-tokens-{}", std::process::id()));
    std::fs::write(&file, format!("# who may\n\n{CANARY}==alice\n")).unwrap();
    let serve = arcp(&["serve", "--listen", "127.0.0.1:0", "--token-file", file.to_str().unwrap()]);
    let runtime = Runtime::of(serve).await;
    std::fs::remove_file(&file).unwrap();
    let mut command = runtime.submit(&["echo"]);
    command.env("ARCP_TOKEN", format!("{CANARY}="));
    let ran = ran(command).await;
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test]
async fn help_says_what_there_is_and_no_secret() {
    for (arguments, told) in [
        (["--help", "", ""], "Without a command the demonstration runs"),
        (["serve", "--help", ""], "1.0.0 returns it whole"),
        (["submit", "--help", ""], "4 timed out"),
        (["--version", "", ""], env!("CARGO_PKG_VERSION")),
    ] {
        let arguments: Vec<&str> = arguments.into_iter().filter(|argument| !argument.is_empty()).collect();
        let mut command = arcp(&arguments);
        command.env("ARCP_TOKEN", CANARY).env("ARCP_TOKENS", CANARY).env("ARCP_URL", CANARY);
        let ran = ran(command).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        assert!(ran.out.contains(told), "{ran:?}");
    }
}
