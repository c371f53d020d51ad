//! The built program, and what it says.

use std::future::Future;
use std::net::TcpListener;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// Must never be seen in anything the program says.
pub(crate) const CANARY: &str = "canary-3f9c";

/// Far more than anything here takes on a slow machine.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(100), future).await.expect("took too long")
}

/// The program with these arguments, without anything of our own environment that could change it.
pub(crate) fn arcp(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arcp"));
    command.args(arguments).kill_on_drop(true);
    for name in ["ARCP_URL", "ARCP_TOKEN", "ARCP_TOKENS", "NO_COLOR", "TERM"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The beginning of the first thing in a text that is a token: ours, a session's for its resume, or a web token.
pub(crate) fn secret_in(text: &str) -> Option<&'static str> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let words = text.as_bytes().split(|byte| !is_digit(byte));
    let begins =
        |begin: &str| words.clone().any(|word| word.len() >= 16 && word.starts_with(begin.as_bytes()));
    if text.contains(CANARY) { Some(CANARY) } else { ["rt_", "eyJ"].into_iter().find(|begin| begins(begin)) }
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn new(status: ExitStatus, out: String, err: String) -> Self {
        // A welcome on its way to a parent is the one place for a resume token.
        let is_welcome =
            |line: &&str| line.starts_with(r#"{"arcp":"1.1""#) && line.contains("session.welcome");
        let shown: Vec<&str> = out.lines().filter(|line| !is_welcome(line)).chain(err.lines()).collect();
        assert_eq!(secret_in(&shown.join("\n")), None, "a token was shown: {shown:?}");
        for text in [&out, &err] {
            assert!(!text.contains(CANARY), "a token was shown: {text}");
            assert!(!text.contains('\x1b'), "colour without a terminal: {text:?}");
        }
        Self { code: status.code().expect("ended by a signal"), out, err }
    }

    /// Standard output as JSON objects.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let objects: Vec<Value> = self
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        assert!(objects.iter().all(Value::is_object), "{}", self.out);
        objects
    }

    /// The objects of one type.
    pub(crate) fn of_type(&self, name: &str) -> Vec<Value> {
        self.objects().into_iter().filter(|object| object["type"] == name).collect()
    }

    /// The one line of standard error, without the program's name.
    pub(crate) fn complaint(&self) -> &str {
        let lines: Vec<&str> = self.err.lines().collect();
        match lines.as_slice() {
            [line] => line.strip_prefix("arcp: ").expect(line),
            _ => panic!("not exactly one line: {self:?}"),
        }
    }
}

/// Runs it to its end.
pub(crate) async fn ran(mut command: Command) -> Ran {
    let output = soon(command.output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran::new(output.status, text(output.stdout), text(output.stderr))
}

/// Runs it with this standard input.
pub(crate) async fn ran_with_input(mut command: Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
    let output = soon(child.wait_with_output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran::new(output.status, text(output.stdout), text(output.stderr))
}

/// The program while it runs, read line by line.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) out: Lines<BufReader<ChildStdout>>,
    pub(crate) err: Lines<BufReader<ChildStderr>>,
    seen: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let err = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, out, err, seen: String::new() }
    }

    /// Reads standard output up to a line that contains this.
    pub(crate) async fn until(&mut self, text: &str) {
        loop {
            let line = soon(self.out.next_line())
                .await
                .unwrap()
                .unwrap_or_else(|| panic!("no {text}: {}", self.seen));
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(text) {
                return;
            }
        }
    }

    /// What was read of standard output so far.
    #[cfg(unix)]
    pub(crate) fn seen(&self) -> &str {
        &self.seen
    }

    /// Sends a signal by its name.
    #[cfg(unix)]
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent =
            Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Waits for the end; what was said in all.
    pub(crate) async fn end(mut self) -> Ran {
        let (mut out, mut err) = (String::new(), String::new());
        let mut rest_out = self.out.into_inner();
        let mut rest_err = self.err.into_inner();
        let (out_read, err_read, status) = soon(async {
            tokio::join!(
                rest_out.read_to_string(&mut out),
                rest_err.read_to_string(&mut err),
                self.child.wait()
            )
        })
        .await;
        out_read.unwrap();
        err_read.unwrap();
        Ran::new(status.unwrap(), self.seen + &out, err)
    }
}

/// A runtime of the program on a free port.
pub(crate) struct Runtime {
    pub(crate) running: Running,
    pub(crate) url: String,
}

impl Runtime {
    /// With the canary as the token of `alice`.
    pub(crate) async fn start() -> Self {
        let mut command = arcp(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("ARCP_TOKENS", format!("{CANARY}=alice other-token=bob"));
        Self::of(command).await
    }

    pub(crate) async fn of(command: Command) -> Self {
        let mut running = Running::start(command);
        let line = soon(running.err.next_line()).await.unwrap().unwrap();
        let url = line.strip_prefix("arcp: listening on ").expect(&line).to_owned();
        Self { running, url }
    }

    /// `arcp submit` to it, with these arguments, as `alice`.
    pub(crate) fn submit(&self, arguments: &[&str]) -> Command {
        submit(&self.url, arguments)
    }
}

/// `arcp submit` to a URL, with these arguments, as `alice`.
pub(crate) fn submit(url: &str, arguments: &[&str]) -> Command {
    let mut command = arcp(&["submit", "--url", url]);
    command.args(arguments).env("ARCP_TOKEN", CANARY);
    command
}

/// A loopback port that nobody listens on.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
