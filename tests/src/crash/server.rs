//! The process that is killed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Options, PATIENCE};

/// Principals, several sessions of each.
const PRINCIPALS: usize = 10;

/// Who may connect, and the file that says so.
pub(super) struct Tokens {
    file: PathBuf,
    tokens: Vec<String>,
}

impl Tokens {
    /// The token of a session.
    pub(super) fn of(&self, session: usize) -> &str {
        &self.tokens[session % self.tokens.len()]
    }
}

/// Writes the file of tokens.
pub(super) fn tokens(options: &Options) -> Result<Tokens, String> {
    let file = options.directory.join("tokens");
    let tokens: Vec<String> = (0..PRINCIPALS).map(|index| format!("token-{index}-of-a-test")).collect();
    let lines: String =
        tokens.iter().enumerate().map(|(index, token)| format!("{token}=principal-{index}\n")).collect();
    std::fs::write(&file, lines).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    Ok(Tokens { file, tokens })
}

/// The program `arcp` next to this one; where cargo runs this one, built before.
///
/// # Errors
/// It is not there, or cannot be built.
pub fn program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let folder = own.parent().ok_or("this program is in no folder")?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = std::process::Command::new(cargo);
        build.args(["build", "--quiet", "-p", "arcp-tokio", "--bin", "arcp"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        let status = build.status().map_err(|error| format!("cannot run cargo: {error}"))?;
        if !status.success() {
            return Err("the program `arcp` cannot be built".to_owned());
        }
    }
    let program = folder.join(format!("arcp{}", std::env::consts::EXE_SUFFIX));
    let found = program.is_file().then_some(program);
    found.ok_or_else(|| "the program `arcp` is not built: `cargo build --release -p arcp-tokio`".to_owned())
}

/// A running `arcp serve --db`.
pub(super) struct Server {
    child: Child,
    url: String,
    /// Hears all that the process says, which would wait for that; its last words.
    said: JoinHandle<String>,
}

/// How the process ended by itself.
pub(super) struct Exit {
    pub(super) status: ExitStatus,
    /// Its last words.
    pub(super) said: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, saying: {}", self.status, self.said)
    }
}

impl Server {
    /// Starts it by a command that takes the program's arguments.
    pub(super) async fn start_as(
        mut command: Command,
        database: &Path,
        tokens: &Tokens,
    ) -> Result<Self, String> {
        command.args(["serve", "--listen", "127.0.0.1:0", "--token-file"]).arg(&tokens.file);
        command.arg("--db").arg(database);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn();
        let mut child = child.map_err(|error| format!("cannot run {:?}: {error}", command.as_std()))?;
        let said = child.stderr.take().ok_or("the process has no standard error")?;
        let mut said = BufReader::new(said).lines();
        let mut heard = Vec::new();
        let url = async {
            while let Ok(Some(line)) = said.next_line().await {
                if let Some((_, url)) = line.split_once("listening on ") {
                    return Some(url.trim().to_owned());
                }
                heard.push(line);
            }
            None
        };
        let url = timeout(PATIENCE, url).await.ok().flatten();
        let url = url.ok_or_else(|| format!("the runtime does not listen: {}", heard.join("; ")))?;
        let said = tokio::spawn(async move {
            let mut last = String::new();
            while let Ok(Some(line)) = said.next_line().await {
                last = line;
            }
            last
        });
        Ok(Self { child, url, said })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Hears out a process that has ended.
    pub(super) async fn exit(self, status: ExitStatus) -> Exit {
        let said = timeout(PATIENCE, self.said).await;
        Exit { status, said: said.map_or_else(|_| String::new(), Result::unwrap_or_default) }
    }

    /// Kills it as nothing can prepare for, and waits until it is gone.
    pub(super) async fn kill(mut self) -> Result<(), String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(format!("the runtime ended by itself: {status}"));
        }
        self.child.kill().await.map_err(|error| format!("cannot kill the runtime: {error}"))
    }
}
