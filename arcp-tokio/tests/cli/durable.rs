//! A runtime whose state is in a file, and the file itself.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::process::Command;

use super::program::{CANARY, Running, Runtime, arcp, closed_port, ran, submit};

/// A directory that is removed with everything in it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("arcp-cli-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn serve(db: &str, port: u16) -> Command {
    let address = format!("127.0.0.1:{port}");
    let mut command = arcp(&["serve", "--listen", &address, "--db", db]);
    command.env("ARCP_TOKENS", format!("{CANARY}=alice"));
    command
}

async fn at(arguments: &[&str], db: &str) -> super::program::Ran {
    let mut arguments = arguments.to_vec();
    arguments.push(db);
    ran(arcp(&arguments)).await
}

#[tokio::test]
async fn a_client_goes_on_after_the_runtime_was_killed() {
    let place = Place::new("killed");
    let (db, port) = (place.file("a.db"), closed_port());
    let mut first = Runtime::of(serve(&db, port)).await;
    let url = first.url.clone();
    // One that has ended, one that can go on, and one that cannot.
    let ended = submit(&url, &["count", "--json", "--key", "k", "--input", r#"{"to":3}"#]);
    let ended = ran(ended).await.of_type("accepted")[0]["job_id"].clone();
    let input = r#"{"to":100,"delay_ms":5}"#;
    let mut steady = Running::start(submit(&url, &["count", "--json", "--input", input]));
    let mut fragile = Running::start(submit(&url, &["sleep", "--json", "--input", r#"{"seconds":600}"#]));
    fragile.until("sleeping").await;
    steady.until(r#""pos":20,"#).await;
    first.running.child.kill().await.unwrap();
    steady.until("disconnected").await;

    let _second = Runtime::of(serve(&db, port)).await;
    let (steady, fragile) = (steady.end().await, fragile.end().await);
    let resumed = |told: &super::program::Ran| -> Vec<Value> {
        told.of_type("connected").iter().map(|told| told["resumed"].clone()).collect()
    };
    assert_eq!(resumed(&steady), [json!(false), json!(true)]);
    let events = steady.of_type("event");
    let positions: Vec<_> = events.iter().map(|event| event["pos"].as_u64().unwrap()).collect();
    let numbers: Vec<_> = events.iter().map(|event| event["body"]["current"].as_u64().unwrap()).collect();
    let all: Vec<u64> = (1..=100).collect();
    assert_eq!((steady.code, positions, numbers), (0, all.clone(), all), "{steady:?}");
    assert_eq!(steady.of_type("result")[0]["result"], 100);

    assert_eq!((fragile.code, resumed(&fragile)), (1, vec![json!(false), json!(true)]), "{fragile:?}");
    let end = &fragile.of_type("error")[0];
    assert_eq!((&end["code"], &end["retryable"]), (&json!("INTERNAL_ERROR"), &json!(true)));
    assert_eq!(end["details"], json!({"reason": "runtime_restarted"}));

    let again = submit(&url, &["count", "--json", "--key", "k", "--input", r#"{"to":3}"#]);
    let again = ran(again).await;
    assert_eq!((again.code, &again.of_type("accepted")[0]["job_id"]), (0, &ended));

    // The file, while the runtime works on it.
    let jobs = ran(arcp(&["jobs", "--json", "--db", &db])).await.of_type("job");
    let seen: Vec<_> = jobs.iter().map(|job| job["status"].as_str().unwrap()).collect();
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    assert_eq!((sorted, &jobs[0]["job_id"]), (vec!["error", "success", "success"], &ended), "{seen:?}");
    let stats = at(&["db", "stats", "--json"], &db).await.of_type("stats").remove(0);
    assert_eq!((&stats["jobs"], &stats["schema"]), (&json!(3), &json!(1)));
    let checked = at(&["db", "check"], &db).await;
    assert!(checked.code == 0 && checked.out.starts_with("whole: "), "{checked:?}");
    for (arguments, why) in [
        (&["db", "compact"][..], "in use by another process"),
        (&["serve", "--listen", "127.0.0.1:0", "--token", "a=b", "--db"][..], "in use by another process"),
    ] {
        let refused = at(arguments, &db).await;
        assert!(refused.code == 5 && refused.complaint().contains(why), "{refused:?}");
    }
}

#[tokio::test]
async fn what_a_session_can_be_given_again_is_in_the_file() {
    let place = Place::new("replay");
    let db = place.file("a.db");
    let mut runtime = Runtime::of(serve(&db, closed_port())).await;
    let input = r#"{"to":1000,"delay_ms":5}"#;
    let mut client = Running::start(runtime.submit(&["count", "--json", "--input", input]));
    client.until(r#""pos":30,"#).await;
    runtime.running.child.kill().await.unwrap();
    client.signal("KILL").await;
    let jobs = ran(arcp(&["jobs", "--json", "--db", &db])).await.of_type("job");
    let session = {
        // The session's id is in what the client was told, which ends before it was killed.
        let told = client.seen().lines().next().unwrap().to_owned();
        serde_json::from_str::<Value>(&told).unwrap()["session_id"].as_str().unwrap().to_owned()
    };
    let replay = async |after: &str, json: bool| {
        let mut arguments = vec!["replay", "--db", &db, "--session", &session, "--after-seq", after];
        arguments.extend(json.then_some("--json"));
        ran(arcp(&arguments)).await
    };
    let frames = replay("0", true).await;
    assert_eq!(frames.code, 0, "{frames:?}");
    let numbers: Vec<u64> =
        frames.objects().iter().map(|frame| frame["event_seq"].as_u64().unwrap()).collect();
    let first = numbers[0];
    assert_eq!(numbers, (first..first + numbers.len() as u64).collect::<Vec<_>>());
    let frame = &frames.objects()[0];
    assert_eq!((&frame["type"], &frame["job_id"]), (&json!("job.event"), &jobs[0]["job_id"]));
    assert_eq!(frame["payload"]["body"]["current"], first);
    let last = numbers.last().unwrap();
    let rest = replay(&(last - 1).to_string(), true).await;
    assert_eq!(rest.out.trim_end(), frames.out.lines().last().unwrap());
    let words = replay(&(last - 1).to_string(), false).await;
    assert!(words.out.contains(&format!("progress  {last} of 1000 numbers")), "{words:?}");
    let nobody = ["replay", "--db", &db, "--session", "sess_01KZZSPQFWRQJ5E577ZYXMHSQ1"];
    let nobody = ran(arcp(&nobody)).await;
    assert!(nobody.code == 1 && nobody.complaint().contains("is not in"), "{nobody:?}");

    // The file, without a runtime.
    let compacted = at(&["db", "compact"], &db).await;
    assert!(compacted.code == 0 && compacted.out.contains(" bytes of "), "{compacted:?}");
    let into = place.file("b.db");
    let rescued = ran(arcp(&["db", "rescue", "--json", &db, &into])).await;
    assert_eq!((rescued.code, rescued.of_type("left_behind").len()), (0, 0), "{rescued:?}");
    assert_eq!(ran(arcp(&["jobs", "--json", "--db", &into])).await.of_type("job"), jobs);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_with_their_reason() {
    let place = Place::new("refused");
    let text = place.file("text");
    std::fs::write(&text, "some text, which is no database of anything\n".repeat(99)).unwrap();
    let serve: &[&str] = &["serve", "--listen", "127.0.0.1:0", "--token", "a=b", "--db"];
    for (arguments, file, why) in [
        (serve, text.clone(), "so others can get at it"),
        (serve, place.file("no/such"), "No such file"),
        (&["db", "stats"], place.file("none"), "No such file"),
        (&["db", "check"], text.clone(), "so others can get at it"),
        (&["jobs", "--db"], place.file("none"), "No such file"),
    ] {
        let refused = at(arguments, &file).await;
        assert!(refused.code == 5 && refused.complaint().contains(why), "{arguments:?}: {refused:?}");
    }
    std::fs::set_permissions(&text, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let refused = at(serve, &text).await;
    assert!(refused.code == 5 && refused.complaint().contains("is not a store"), "{refused:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_ends_the_runtime() {
    let place = Place::new("failed");
    let db = place.file("a.db");
    let runtime = Runtime::of(serve(&db, closed_port())).await;
    let mut client = Running::start(runtime.submit(&["sleep", "--json", "--input", r#"{"seconds":600}"#]));
    client.until("sleeping").await;
    // Somebody who ignores the lock.
    let intruder = rusqlite::Connection::open(&db).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let ran = runtime.running.end().await;
    assert_eq!(ran.code, 5, "{ran:?}");
    let said = ran.err.lines().last().unwrap();
    assert!(said.contains("it cannot be written: ") && said.contains("Nothing that is not stored"), "{said}");
    client.until("disconnected").await;
}
