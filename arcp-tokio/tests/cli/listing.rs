//! `ls`, `tail` and `cancel`: jobs of other sessions.

use std::time::Duration;

use arcp_driver::{AgentError, Job, JobContext, RuntimeEvent};
use arcp_tokio::Server;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::program::{CANARY, Ran, Running, Runtime, arcp, closed_port, ran, soon};

/// A command of a client, with these arguments, as `alice`.
fn client(url: &str, command: &str, arguments: &[&str]) -> Command {
    let mut command = arcp(&[command, "--url", url]);
    command.args(arguments).env("ARCP_TOKEN", CANARY);
    command
}

/// The ids of the jobs it listed.
fn listed(ran: &Ran) -> Vec<String> {
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let jobs = ran.objects();
    assert!(jobs.iter().all(|job| job["type"] == "job"), "{ran:?}");
    jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
}

fn job_of(ran: &Ran) -> String {
    ran.of_type("accepted")[0]["job_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn jobs_are_listed_for_people_and_programs() {
    let runtime = Runtime::start().await;
    let url = &runtime.url;
    let nothing = ran(client(url, "ls", &[])).await;
    assert_eq!((nothing.code, nothing.out.as_str(), nothing.err.as_str()), (0, "", ""));

    let count = job_of(&ran(runtime.submit(&["count", "--json", "--input", r#"{"to":3}"#])).await);
    let echo = job_of(&ran(runtime.submit(&["echo", "--json"])).await);
    let fail = job_of(&ran(runtime.submit(&["fail", "--json"])).await);

    assert_eq!(listed(&ran(client(url, "ls", &["--json"])).await), [&*fail, &*echo, &*count]);
    let failed = ran(client(url, "ls", &["--json", "--status", "error"])).await;
    assert_eq!(listed(&failed), [&*fail]);
    let both = ran(client(url, "ls", &["--json", "--status", "success", "--status", "error"])).await;
    assert_eq!(listed(&both), [&*fail, &*echo, &*count]);
    assert!(listed(&ran(client(url, "ls", &["--json", "--status", "running"])).await).is_empty());
    let counted = ran(client(url, "ls", &["--json", "--agent", "count"])).await;
    assert_eq!(listed(&counted), [&*count]);
    assert!(listed(&ran(client(url, "ls", &["--json", "--agent", "count@9.0.0"])).await).is_empty());
    let entry = &counted.objects()[0];
    assert_eq!(
        (&entry["agent"], &entry["status"], &entry["last_event_seq"], &entry["lease"]),
        (&json!("count@1.0.0"), &json!("success"), &json!(4), &json!({}))
    );
    assert!(entry["created_at"].as_str().unwrap().ends_with('Z') && entry["trace_id"].is_string(), "{entry}");

    let people = ran(client(url, "ls", &[])).await;
    let lines: Vec<&str> = people.out.lines().collect();
    assert_eq!((people.code, lines.len()), (0, 3), "{people:?}");
    let words: Vec<&str> = lines[2].split_whitespace().skip(1).collect();
    assert_eq!(words, ["success", &count, "count@1.0.0"], "{people:?}");

    let mut bob = client(url, "ls", &["--json"]);
    bob.env("ARCP_TOKEN", "other-token");
    assert!(listed(&ran(bob).await).is_empty());
}

#[tokio::test]
async fn lists_of_any_length_come_whole() {
    let (server, mut observed) = Local::start().await;
    let client_of = arcp_tokio::connect(&server.url).token(CANARY).await.unwrap();
    let mut expected = Vec::new();
    for _ in 0..250 {
        let job = soon(client_of.submit("echo").into_future()).await.unwrap();
        expected.insert(0, job.id().as_str().to_owned());
    }
    for _ in 0..250 {
        while !matches!(soon(observed.recv()).await.unwrap(), RuntimeEvent::JobEnded { .. }) {}
    }
    assert_eq!(listed(&ran(client(&server.url, "ls", &["--json"])).await), expected);
}

#[tokio::test]
async fn a_finished_job_is_told_again() {
    let runtime = Runtime::start().await;
    let job = job_of(&ran(runtime.submit(&["count", "--json", "--input", r#"{"to":3}"#])).await);
    let told = ran(client(&runtime.url, "tail", &[&job, "--history", "--json"])).await;
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    let types: Vec<String> =
        told.objects().iter().map(|object| object["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["connected", "subscribed", "event", "event", "event", "result"]);
    assert_eq!(told.of_type("subscribed")[0]["status"], "success");
    let result = &told.of_type("result")[0];
    assert_eq!((&result["result"], result["job_id"].as_str()), (&json!(3), Some(&*job)));

    let people = ran(client(&runtime.url, "tail", &[&job, "--history"])).await;
    assert!(people.out.contains("#3  progress  3 of 3"), "{people:?}");
    assert_eq!((people.code, people.out.lines().last()), (0, Some("3")));

    // Without its history there is only its status.
    let late = ran(client(&runtime.url, "tail", &[&job, "--json"])).await;
    assert_eq!((late.code, late.err.as_str()), (0, ""), "{late:?}");
    assert_eq!(late.of_type("success")[0]["final_status"], "success");
    let failed = job_of(&ran(runtime.submit(&["fail", "--json"])).await);
    let late = ran(client(&runtime.url, "tail", &[&failed])).await;
    assert!(late.code == 1 && late.complaint().contains("ended before with status `error`"), "{late:?}");
    let told = ran(client(&runtime.url, "tail", &[&failed, "--history"])).await;
    assert_eq!(
        (told.code, told.complaint()),
        (1, "the job ended as error: INTERNAL_ERROR: the job was asked to fail")
    );
}

#[tokio::test]
async fn a_streamed_result_is_put_together_from_history() {
    let runtime = Runtime::start().await;
    let submitted = ran(runtime.submit(&["report", "--json", "--input", r#"{"sections":3}"#])).await;
    let job = job_of(&submitted);
    let told = ran(client(&runtime.url, "tail", &[&job, "--history", "--json"])).await;
    assert_eq!(told.of_type("result")[0]["result"], submitted.of_type("result")[0]["result"]);
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_followed_or_cancelled() {
    let runtime = Runtime::start().await;
    for command in ["tail", "cancel"] {
        let refused = ran(client(&runtime.url, command, &["job_01KZZSPRE8B7N2V5T9K4C3M6QZ"])).await;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.complaint().starts_with("JOB_NOT_FOUND: "), "{refused:?}");
    }
}

#[tokio::test]
async fn every_command_of_a_client_fails_in_one_line() {
    let table: &[(&[&str], i32, &str)] = &[
        (&["ls"], 2, "no token"),
        (&["ls", "--token", CANARY, "--status", "done"], 2, "a status is pending, running"),
        (&["ls", "--token", CANARY, "--agent", "No Name"], 2, "an agent is `name` or `name@version`"),
        (&["ls", "--token", CANARY, "--url", "http://canary-3f9c"], 2, "ws://"),
        (&["tail"], 2, "missing: <JOB>"),
        (&["tail", "job_1"], 2, "no token"),
        (&["tail", "", "--token", CANARY], 2, "a job id has 1 to 128 bytes"),
        (&["cancel", "job_1", "--token", "canary-3f9c\n"], 2, "control characters"),
        (&["cancel", "job_1", "job_2", "--token", CANARY], 2, "an argument too many"),
        (
            &["kill"],
            2,
            "no command `kill`; the commands are demo, serve, submit, ls, agents, tail, cancel, db, jobs and replay",
        ),
    ];
    for (arguments, code, said) in table {
        let ran = ran(arcp(arguments)).await;
        assert_eq!((ran.code, ran.out.as_str()), (*code, ""), "{arguments:?}: {ran:?}");
        assert!(ran.complaint().contains(said), "{arguments:?}: {ran:?}");
    }
    let url = format!("ws://127.0.0.1:{}", closed_port());
    for arguments in [&["ls"] as &[&str], &["tail", "job_1"], &["cancel", "job_1"]] {
        let ran = ran(client(&url, arguments[0], &[&arguments[1..], &["--attempts", "1"]].concat())).await;
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.complaint().starts_with("cannot connect to 127.0.0.1:"), "{ran:?}");
    }
    for (command, told) in [
        ("ls", "newest first"),
        ("tail", "the job goes on"),
        ("cancel", "The session that submitted the job must be over"),
    ] {
        let ran = ran(arcp(&[command, "--help"])).await;
        assert!(ran.code == 0 && ran.out.contains(told) && ran.out.contains("ARCP_TOKEN"), "{ran:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_running_job_is_followed_to_its_end() {
    let runtime = Runtime::start().await;
    let sleep = ["sleep", "--json", "--input", r#"{"seconds":600}"#];
    let mut submitted = Running::start(runtime.submit(&sleep));
    submitted.until("sleeping").await;
    let job = listed(&ran(client(&runtime.url, "ls", &["--json", "--status", "running"])).await).remove(0);

    let mut tail = Running::start(client(&runtime.url, "tail", &[&job, "--json"]));
    tail.until("subscribed").await;
    let mut left = Running::start(client(&runtime.url, "tail", &[&job]));
    left.until("sleep@1.0.0, running").await;
    left.signal("INT").await;
    let left = left.end().await;
    assert_eq!((left.code, left.complaint()), (1, "interrupted; the job goes on"), "{left:?}");

    // While the session that submitted it lives, only that may cancel it.
    let refused = ran(client(&runtime.url, "cancel", &[&job, "--reason", "no"])).await;
    assert!(refused.code == 1 && refused.complaint().starts_with("PERMISSION_DENIED: "), "{refused:?}");

    submitted.signal("INT").await;
    assert_eq!(submitted.end().await.code, 3);
    let tail = tail.end().await;
    assert_eq!(tail.code, 3, "{tail:?}");
    assert_eq!(tail.of_type("error")[0]["final_status"], "cancelled");
    let over = ran(client(&runtime.url, "tail", &[&job])).await;
    assert_eq!(over.code, 3, "{over:?}");
}

/// A runtime in this process whose sessions die a second after their connection.
struct Local {
    url: String,
    _serving: arcp_tokio::Serving,
}

impl Local {
    async fn start() -> (Self, mpsc::UnboundedReceiver<RuntimeEvent>) {
        async fn echo(_: JobContext, input: Value) -> Result<Value, AgentError> {
            Ok(input)
        }
        async fn wait(job: JobContext, _: Value) -> Result<(), AgentError> {
            job.status("waiting").await?;
            job.stopping().await;
            Ok(())
        }
        let (tell, observed) = mpsc::unbounded_channel();
        let runtime = arcp_driver::Runtime::builder()
            .bearer(CANARY, "alice")
            .agent("echo", echo)
            .agent("wait", wait)
            .config(|config| config.resume_window = Duration::from_secs(1))
            .observer(move |event| drop(tell.send(event.clone())))
            .build()
            .unwrap();
        let server = Server::bind("127.0.0.1:0").await.unwrap();
        let url = server.url();
        (Self { url, _serving: server.start(runtime) }, observed)
    }
}

#[tokio::test]
async fn a_job_whose_session_is_over_can_be_cancelled() {
    let (server, mut observed) = Local::start().await;
    let submitter = arcp_tokio::connect(&server.url).token(CANARY).await.unwrap();
    let job = soon(submitter.submit("wait").into_future()).await.unwrap();
    let id = Job::id(&job).as_str().to_owned();
    drop(job);
    soon(submitter.close()).await;
    while !matches!(soon(observed.recv()).await.unwrap(), RuntimeEvent::SessionDead { .. }) {}

    let cancelled = ran(client(&server.url, "cancel", &[&id, "--reason", "nobody waits", "--json"])).await;
    assert_eq!((cancelled.code, cancelled.err.as_str()), (0, ""), "{cancelled:?}");
    assert_eq!(cancelled.objects(), [json!({"type": "cancelled", "job_id": id, "ended_before": null})]);
    while !matches!(soon(observed.recv()).await.unwrap(), RuntimeEvent::JobEnded { .. }) {}
    let told = ran(client(&server.url, "tail", &[&id, "--history"])).await;
    assert_eq!((told.code, told.complaint()), (3, "the job ended as cancelled: CANCELLED: nobody waits"));
    let again = ran(client(&server.url, "cancel", &[&id])).await;
    assert_eq!((again.code, again.out.trim_end()), (0, &*format!("{id} had ended before: cancelled")));
}
