//! Web tokens, and that no command shows a token whatever it is asked to do.

use std::path::PathBuf;

use super::program::{CANARY, Running, Runtime, arcp, ran, secret_in, soon, submit};

/// A token of `carol`, from `https://issuer.example` for `arcp`, signed with the key in [`key_file`], until the end of the
/// year 9999.
fn carol() -> String {
    let parts = [
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoiY2Fyb2wiLCJhdWQiOiJhcmNwIiwiZXhwIjoyNTM0MDIzMDA3OTl9",
        "UFDzj-xO0qI7yXndhso-CivIBM1n2RT5wvOudX32KWU",
    ];
    parts.join(".")
}

fn key_file(name: &str) -> PathBuf {
    let file = std::env::temp_dir().join(format!("arcp-key-{name}-{}", std::process::id()));
    std::fs::write(&file, "canary-3f9c-of-32-bytes-at-least\n").unwrap();
    file
}

#[tokio::test]
async fn web_tokens_are_judged_by_the_key_in_a_file() {
    let file = key_file("judged");
    let key = file.to_str().unwrap();
    let serve = |audience| {
        let issuer = ["--jwt-issuer", "https://issuer.example", "--jwt-audience", audience];
        arcp(&[&["serve", "--listen", "127.0.0.1:0", "--jwt-key-file", key], &issuer[..]].concat())
    };
    let mut runtime = Runtime::of(serve("arcp")).await;
    let other = Runtime::of(serve("another")).await;
    std::fs::write(&file, "too short").unwrap();
    let short = ran(serve("arcp")).await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(short.code, 2);
    assert!(short.complaint().contains("at least 32 bytes; this one has 9"), "{short:?}");
    let submit = async |runtime: &Runtime, token: &str| {
        let mut command = runtime.submit(&["echo"]);
        command.env("ARCP_TOKEN", token);
        ran(command).await
    };
    assert_eq!(submit(&runtime, &carol()).await.code, 0);
    let line = soon(runtime.running.err.next_line()).await.unwrap().unwrap();
    assert!(line.ends_with("started for https://issuer.example|carol"), "{line}");
    for (runtime, token) in [(&other, &*carol()), (&runtime, &carol()[1..]), (&runtime, CANARY)] {
        let refused = submit(runtime, token).await;
        assert_eq!(refused.code, 1);
        assert!(refused.complaint().contains("does not accept the token"), "{refused:?}");
    }
}

#[test]
fn whatever_is_shown_is_noticed() {
    let resume = "rt_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    for (text, begin) in [
        (format!("token={CANARY}!"), Some(CANARY)),
        (format!("{{\"resume_token\":\"{resume}\"}}"), Some("rt_")),
        (format!("rt_ and {}…", &resume[..19]), Some("rt_")),
        (carol(), Some("eyJ")),
        (String::from("sess_01MCC5RM00S3902AVGEM3NQRE9 start_of_a_very_long_word eyJ rt_0123"), None),
    ] {
        assert_eq!(secret_in(&text), begin, "{text}");
    }
}

/// Every run is looked through by itself, and so is what the runtime said in the end.
#[cfg(unix)]
#[tokio::test]
async fn no_command_shows_a_token() {
    let file = key_file("shown");
    let mut serve = arcp(&["serve", "--listen", "127.0.0.1:0", "--jwt-key-file", file.to_str().unwrap()]);
    serve.args(["--jwt-issuer", "https://issuer.example", "--jwt-audience", "arcp"]);
    serve.env("ARCP_TOKENS", format!("{CANARY}=alice"));
    let runtime = Runtime::of(serve).await;
    std::fs::remove_file(&file).unwrap();
    let mut waiting = Running::start(runtime.submit(&["sleep", "--json", "--input", r#"{"seconds":600}"#]));
    waiting.until("sleeping").await;
    let job = ran(command(&runtime, &["ls", "--json"])).await.of_type("job")[0]["job_id"].clone();
    let job = job.as_str().unwrap();
    let table: &[(&[&str], i32)] = &[
        (&["submit", "report"], 0),
        (&["submit", "fail"], 1),
        (&["submit", "nobody"], 1),
        (&["submit", "echo", "--max-runtime", CANARY], 2),
        (&["ls"], 0),
        (&["ls", "--status", CANARY], 2),
        (&["agents"], 0),
        (&["tail", CANARY], 1),
        (&["cancel", job], 1),
        (&["cancel", CANARY], 1),
    ];
    for (arguments, code) in table {
        for form in [&[][..], &["--json"]] {
            let shown = ran(command(&runtime, &[*arguments, form].concat())).await;
            assert_eq!(shown.code, *code, "{arguments:?}: {shown:?}");
        }
    }
    for (token, code) in [(carol(), 0), (carol().replace("eyJ", "eyK"), 1), (format!("{CANARY}{CANARY}"), 1)]
    {
        let mut command = submit(&runtime.url, &["echo", "--json"]);
        command.env("ARCP_TOKEN", token);
        assert_eq!(ran(command).await.code, code);
    }
    waiting.signal("INT").await;
    assert_eq!(waiting.end().await.code, 3);
    runtime.running.signal("TERM").await;
    let served = runtime.running.end().await;
    assert!(served.err.contains("started for https://issuer.example|carol"), "{served:?}");
}

/// A command of a client, as `alice`.
#[cfg(unix)]
fn command(runtime: &Runtime, arguments: &[&str]) -> tokio::process::Command {
    let mut command = arcp(arguments);
    command.env("ARCP_URL", &runtime.url).env("ARCP_TOKEN", CANARY);
    command
}
