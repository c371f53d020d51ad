//! `arcp serve`: a runtime with the demo agents.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arcp_driver::jwt::Jwt;
use arcp_driver::listen::{ListenOptions, ServeError};
use arcp_driver::sqlite::{Durability, Health, SqliteOptions, SqliteStore};
use arcp_driver::{JobContext, Runtime, Sight};
use arcp_tokio::Server;

use crate::agents::{self, Observer, Stage};
use crate::args::{self, Survives};
use crate::certificates::identity;
use crate::failure::{Failure, warn};
use crate::issuer;
use crate::signals::Signals;
use crate::tokens::{Grant, grants};

/// A server about to start.
pub(crate) struct Plan {
    place: Place,
    grants: Vec<Grant>,
    jwt: Option<Jwt>,
    observers: Vec<String>,
    store: Option<(PathBuf, Survives)>,
    quiet: bool,
}

/// How often it is looked whether the store has room. What has none is tried again every second.
const ROOM_INTERVAL: Duration = Duration::from_secs(2);

enum Place {
    Listen { address: String, options: Box<ListenOptions> },
    Stdio,
}

impl Plan {
    pub(crate) fn new(arguments: args::Serve) -> Result<Self, Failure> {
        let environment = match std::env::var("ARCP_TOKENS") {
            Ok(text) => Some(text),
            Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Failure::usage("ARCP_TOKENS must be UTF-8"));
            }
        };
        let grants = grants(&arguments.token, arguments.token_file.as_deref(), environment.as_deref())?;
        let jwt = issuer::verifier(&arguments)?;
        if grants.is_empty() && jwt.is_none() {
            return Err(Failure::usage(
                "nobody could connect: give at least one TOKEN=PRINCIPAL with --token, --token-file or ARCP_TOKENS, \
                 or --jwt-key-file",
            ));
        }
        let place = if arguments.stdio {
            Place::Stdio
        } else {
            let mut options = arguments
                .allow_host
                .into_iter()
                .fold(ListenOptions::default(), ListenOptions::host)
                .allow_plaintext_beyond_loopback(arguments.unsafe_plaintext_beyond_loopback);
            if let (Some(certificate), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) {
                options = options.tls(identity(certificate, key)?);
            }
            Place::Listen { address: arguments.listen, options: Box::new(options) }
        };
        let store = arguments.db.map(|path| (path, arguments.db_survives));
        Ok(Self { place, grants, jwt, observers: arguments.observer, store, quiet: arguments.quiet })
    }

    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let signals =
            Signals::new().map_err(|error| Failure::error(format!("cannot hear signals: {error}")))?;
        let mut builder = Runtime::builder();
        for Grant { token, principal } in &self.grants {
            builder = builder.bearer(token, principal.as_str());
        }
        if let Some(jwt) = self.jwt {
            builder = builder.verifier(jwt);
        }
        if !self.observers.is_empty() {
            let observers = self.observers;
            let sees = move |viewer: &str| observers.iter().any(|observer| observer == viewer);
            builder =
                builder.observe(move |viewer, _| if sees(viewer) { Sight::Follow } else { Sight::Nothing });
        }
        let mut health = None;
        if let Some((path, survives)) = self.store {
            let store = open(&path, survives)?;
            tokio::spawn(watch_room(store.health(), path.clone()));
            health = Some((store.health(), path));
            builder = builder.store(store);
        }
        let builder = agents::add(builder, &observer(self.quiet));
        let runtime = builder.build().map_err(Failure::usage)?;
        let ended = match self.place {
            Place::Listen { address, options } => {
                listen(runtime, &address, *options, self.quiet, signals).await
            }
            Place::Stdio => stdio(runtime, signals).await,
        };
        match health {
            Some((health, path)) if health.has_failed() => Err(failed(&health, &path)),
            _ => ended,
        }
    }
}

fn open(path: &Path, survives: Survives) -> Result<SqliteStore, Failure> {
    let durability = match survives {
        Survives::Power => Durability::Full,
        Survives::Process => Durability::Process,
    };
    SqliteOptions::default().durability(durability).open(path).map_err(Failure::store)
}

/// Says when there is no room for anything new, and when there is again.
async fn watch_room(health: Health, path: PathBuf) {
    let mut ticks = tokio::time::interval(ROOM_INTERVAL);
    let mut was_full = false;
    loop {
        ticks.tick().await;
        let is_full = health.is_full();
        if is_full != was_full {
            let path = path.display();
            warn(&if is_full {
                format!("the store {path} has no room; all work waits until it has")
            } else {
                format!("the store {path} has room again")
            });
        }
        was_full = is_full;
    }
}

fn failed(health: &Health, path: &Path) -> Failure {
    let fault = health.fault().unwrap_or_default();
    Failure::store(format!(
        "the store {} failed: {fault}. Nothing that is not stored was shown to anybody; clients go on where they were \
         once a runtime is started again on it",
        path.display()
    ))
}

async fn listen(
    runtime: Runtime,
    address: &str,
    options: ListenOptions,
    quiet: bool,
    mut signals: Signals,
) -> Result<ExitCode, Failure> {
    let server = Server::bind_with(address, options).await.map_err(|error| match error {
        ServeError::BeyondLoopback(_) => Failure::usage(format!(
            "{error}; give --tls-cert and --tls-key, or override that with --unsafe-plaintext-beyond-loopback"
        )),
        error => Failure::error(error),
    })?;
    if !quiet {
        warn(&format!("listening on {}", server.url()));
    }
    let mut serving = server.start(runtime);
    tokio::select! {
        end = serving.wait() => {
            end.map_err(Failure::error)?;
            return Ok(ExitCode::SUCCESS);
        }
        () = signals.next() => {}
    }
    if !quiet {
        warn("shutting down; once more to end at once");
    }
    tokio::select! {
        () = serving.shut_down() => Ok(ExitCode::SUCCESS),
        () = signals.next() => Err(Failure::error("ended at once, without waiting for the clients")),
    }
}

#[cfg(unix)]
async fn stdio(runtime: Runtime, mut signals: Signals) -> Result<ExitCode, Failure> {
    use arcp_driver::TransportKind;
    use arcp_driver::lines::RUNTIME_LINE_LIMIT;

    let transport = arcp_tokio::stdio::own_stdio(RUNTIME_LINE_LIMIT)
        .map_err(|error| Failure::error(format!("cannot take over standard input and output: {error}")))?;
    let handle = arcp_tokio::start(runtime);
    // A task of its own: it still has the goodbye to write when the shutdown below has begun.
    let connection = tokio::spawn(handle.accept(transport.report_partial(), TransportKind::Lines));
    let asked = async {
        tokio::select! {
            _ = connection => {}
            () = signals.next() => {}
        }
    };
    asked.await;
    tokio::select! {
        () = handle.shut_down() => Ok(ExitCode::SUCCESS),
        () = signals.next() => Err(Failure::error("ended at once, without waiting for the client")),
    }
}

#[cfg(not(unix))]
async fn stdio(_: Runtime, _: Signals) -> Result<ExitCode, Failure> {
    Err(Failure::error("--stdio works on Unix only"))
}

/// Says on standard error what becomes of each job.
fn observer(quiet: bool) -> Observer {
    Arc::new(move |job: &JobContext, stage: Stage<'_>| {
        if quiet {
            return;
        }
        let what = match stage {
            Stage::Started => match job.parent() {
                Some(parent) => format!("started for {}, delegated by {parent}", job.principal()),
                None => format!("started for {}", job.principal()),
            },
            Stage::Succeeded => "succeeded".to_owned(),
            Stage::Failed(error) => format!("failed: {error}"),
            Stage::Stopped => "stopped".to_owned(),
        };
        warn(&format!("{} {} {what}", job.job_id(), job.agent().as_str()));
    })
}
