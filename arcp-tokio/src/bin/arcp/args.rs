//! What the program is asked to do.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use arcp_driver::url::Endpoint;
use arcp_driver::{JobId, TraceId, UnixTime};
use arcp_proto::id::SessionKey;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::Failure;
use crate::text::shortened;
use crate::{agents, cancel, db, demo, ls, offer, parse, replay, serve, submit, tail};

/// ARCP, the Agent Runtime Control Protocol: jobs for agents, with event streams that survive a lost connection.
///
/// Without a command the demonstration runs.
#[derive(Parser)]
#[command(name = "arcp", version, subcommand_required = false)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show a job travel through everything, with the cable pulled in the middle.
    ///
    /// Starts a runtime on a free port of this machine and a client on a real WebSocket to it. A job reports progress,
    /// logs, metrics and a result in pieces; the connection is cut in the middle and the client resumes by itself; a
    /// second job is cancelled; a third is submitted twice with one key and runs once; a fourth works under a lease,
    /// delegates, and goes on when its budget is used up; in the middle of a fifth the runtime stops, and another one goes
    /// on with its file. Ends with exit code 0 only if all that was observed.
    Demo,
    /// Offer the demo agents to clients.
    #[command(after_help = agents::HELP)]
    Serve(Serve),
    /// Submit a job and follow it to its end.
    ///
    /// Exit codes: 0 success, 1 error, 2 arguments that cannot be used, 3 cancelled, 4 timed out. Ctrl-C cancels the job
    /// and waits for its end; a second one leaves at once.
    Submit(Box<Submit>),
    /// List jobs, newest first: when they were created, their status, id and agent.
    ///
    /// Shows all jobs that the token's principal may see and the runtime remembers, whichever session submitted them.
    Ls(Ls),
    /// List the agents that jobs can be submitted to: their names and versions.
    Agents(Agents),
    /// Follow a job that was submitted elsewhere to its end.
    ///
    /// Exit codes are those of submit, for the end of the job. Ctrl-C leaves; the job goes on.
    Tail(Tail),
    /// Ask for a job to be cancelled.
    ///
    /// The session that submitted the job must be over: while it lives, only it may cancel. Ends with exit code 0 once the
    /// runtime has agreed, or if the job had ended before; the job itself may take a while to stop.
    Cancel(Cancel),
    /// Look after the file in which a runtime keeps its state: count, check, compact, rescue.
    #[command(subcommand)]
    Db(Db),
    /// List the jobs in a runtime's file, without a runtime, oldest first.
    Jobs(Jobs),
    /// Show what a session can be given again from a runtime's file, without a runtime.
    ///
    /// For programs, with --json, these are the frames as the runtime sends them, byte for byte.
    Replay(Replay),
}

#[derive(Subcommand)]
pub(crate) enum Db {
    /// Count what is in the file and how much room it takes. A runtime may work on it meanwhile.
    Stats(DbFile),
    /// Read everything in the file and list what is damaged. A runtime may work on it meanwhile. Exit code 5 if anything is.
    Check(DbFile),
    /// Write the file anew without the room that lies free in it. No runtime may work on it meanwhile.
    Compact(DbFile),
    /// Copy what is whole from a damaged file to a new one, and say what is left behind.
    Rescue {
        #[command(flatten)]
        from: DbFile,
        /// Where to write; must not exist.
        #[arg(value_name = "NEW")]
        into: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct DbFile {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Write one JSON object per line, and nothing else, to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Jobs {
    /// The file.
    #[arg(long, value_name = "FILE")]
    pub(crate) db: PathBuf,

    /// Write one JSON object per line, and nothing else, to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Replay {
    /// The file.
    #[arg(long, value_name = "FILE")]
    pub(crate) db: PathBuf,

    /// The session's id.
    #[arg(long, value_name = "SESSION", value_parser = parse::session)]
    pub(crate) session: SessionKey,

    /// Begin behind this number.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) after_seq: u64,

    /// Write one frame per line, and nothing else, to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Serve {
    /// Where to listen for WebSocket connections; port 0 picks a free one.
    #[arg(long, value_name = "HOST:PORT", value_parser = parse::listen, default_value = "127.0.0.1:7777")]
    pub(crate) listen: String,

    /// Serve one client on standard input and output instead, one envelope per line.
    #[arg(long, conflicts_with = "listen")]
    pub(crate) stdio: bool,

    /// Admit whoever presents TOKEN, as PRINCIPAL; split at the last `=`. May be given many times. Other users of this
    /// machine can read it; --token-file and the environment variable ARCP_TOKENS (several with spaces between) keep it
    /// from them.
    #[arg(long, value_name = "TOKEN=PRINCIPAL")]
    pub(crate) token: Vec<String>,

    /// A file with one TOKEN=PRINCIPAL on each line. Blank lines and lines that begin with # are passed over.
    #[arg(long, value_name = "PATH")]
    pub(crate) token_file: Option<PathBuf>,

    /// Admit also bearers of JSON Web Tokens signed with HS256 and the key in this file: its bytes, without a line end
    /// behind the last, at least 32. The principal is ISSUER|SUBJECT; the connection closes when the token expires.
    #[arg(long, value_name = "PATH", requires_all = ["jwt_issuer", "jwt_audience"])]
    pub(crate) jwt_key_file: Option<PathBuf>,

    /// Who must have issued these tokens (their `iss`).
    #[arg(long, value_name = "ISSUER", requires = "jwt_key_file")]
    pub(crate) jwt_issuer: Option<String>,

    /// For whom they must be (their `aud`).
    #[arg(long, value_name = "AUDIENCE", requires = "jwt_key_file")]
    pub(crate) jwt_audience: Option<String>,

    /// How much the issuer's clock may differ from this one, up to 60s.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, requires = "jwt_key_file")]
    pub(crate) jwt_leeway: Option<Duration>,

    /// Let PRINCIPAL list and follow the jobs of everybody, not cancel them. May be given many times.
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) observer: Vec<String>,

    /// Keep sessions, jobs and events in this file, which is made if it is not there, so that they outlive this process:
    /// clients that were connected when it ended go on with the next one. Exit code 5 if the file cannot be used or written.
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,

    /// What has to survive: `power`, a loss of power, for which the disk is waited for; or `process`, the end of this process
    /// however it comes, which is faster.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t, requires = "db")]
    pub(crate) db_survives: Survives,

    /// Also answer to clients that call this machine by this name or address, besides localhost. May be given many times.
    #[arg(long, value_name = "HOST")]
    pub(crate) allow_host: Vec<String>,

    /// Serve with TLS, at wss://: the certificate to show, and those between it and its authority, as PEM. With it other
    /// machines may be listened to.
    #[arg(long, value_name = "PATH", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The private key of that certificate, as PEM.
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Listen beyond this machine although everything, tokens included, travels in plain text.
    #[arg(long)]
    pub(crate) unsafe_plaintext_beyond_loopback: bool,

    /// Say nothing but errors.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What a store's answers outlive.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Survives {
    #[default]
    Power,
    Process,
}

#[derive(Args)]
pub(crate) struct Submit {
    /// The agent: a name, or name@version.
    #[arg(value_name = "AGENT", value_parser = parse::agent)]
    pub(crate) agent: String,

    /// The input: JSON, or @FILE, or - for standard input.
    #[arg(long, value_name = "JSON", default_value = "{}", allow_hyphen_values = true)]
    pub(crate) input: String,

    /// Names the job: submitting it again with the same arguments finds it and starts no other.
    #[arg(long, value_parser = parse::key)]
    pub(crate) key: Option<String>,

    /// End the job if it takes longer, like 10s, 5m, 2h or 1d.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) max_runtime: Option<Duration>,

    /// What the job may do: a capability and a pattern, like `tool.call=search.*` or `net.fetch=https://example.com/**`. May be
    /// given many times; nothing else is allowed.
    #[arg(long, value_name = "CAPABILITY=PATTERN", value_parser = parse::lease)]
    pub(crate) lease: Vec<(String, String)>,

    /// How much the job may spend in a currency, like USD:1.00. May be given once for each currency.
    #[arg(long, value_name = "CURRENCY:AMOUNT", value_parser = parse::budget)]
    pub(crate) budget: Vec<String>,

    /// End the lease, and the job with it, after this time, like 10m. With --key it names another time, and so another job,
    /// whenever it is given again.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, conflicts_with = "expires_at")]
    pub(crate) expires_in: Option<Duration>,

    /// End the lease, and the job with it, at this time, like 2026-08-14T09:30:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    pub(crate) expires_at: Option<UnixTime>,

    /// The trace the job is part of: 32 hexadecimal digits, or a whole traceparent.
    #[arg(long, value_name = "TRACE", value_parser = parse::trace)]
    pub(crate) trace_id: Option<TraceId>,

    /// Follow the jobs that this one delegates, too, and those that they delegate, until all have ended.
    #[arg(long)]
    pub(crate) children: bool,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args)]
pub(crate) struct Ls {
    /// Only jobs in this state: pending, running, success, error, cancelled or timed_out. May be given many times.
    #[arg(long, value_name = "STATUS", value_parser = parse::status)]
    pub(crate) status: Vec<String>,

    /// Only jobs of this agent: a name for all its versions, or name@version.
    #[arg(long, value_name = "AGENT", value_parser = parse::agent)]
    pub(crate) agent: Option<String>,

    /// Only jobs created later: a time like 2026-08-14T09:30:00Z, or how long ago, like 10m.
    #[arg(long, value_name = "TIME", value_parser = parse::past)]
    pub(crate) created_after: Option<UnixTime>,

    /// Only jobs created earlier: a time like 2026-08-14T09:30:00Z, or how long ago, like 10m.
    #[arg(long, value_name = "TIME", value_parser = parse::past)]
    pub(crate) created_before: Option<UnixTime>,

    /// At most this many jobs.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args)]
pub(crate) struct Agents {
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args)]
pub(crate) struct Tail {
    /// The job's id.
    #[arg(value_name = "JOB", value_parser = parse::job)]
    pub(crate) job: JobId,

    /// Begin with the oldest event the runtime remembers, not with the next one.
    #[arg(long)]
    pub(crate) history: bool,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args)]
pub(crate) struct Cancel {
    /// The job's id.
    #[arg(value_name = "JOB", value_parser = parse::job)]
    pub(crate) job: JobId,

    /// Why, for people and for the agent; cut at 1024 bytes.
    #[arg(long)]
    pub(crate) reason: Option<String>,

    #[command(flatten)]
    pub(crate) target: Target,
}

/// The runtime, who we are to it, and how to tell what it says.
#[derive(Args)]
pub(crate) struct Target {
    /// The runtime.
    #[arg(long, env = "ARCP_URL", hide_env_values = true, value_parser = parse::url,
          default_value = "ws://127.0.0.1:7777/arcp")]
    pub(crate) url: Endpoint,

    /// The bearer token. Other users of this machine can read it here; ARCP_TOKEN keeps it from them.
    #[arg(long, env = "ARCP_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,

    /// How often to try before the first connection stands.
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) attempts: u32,

    /// Write one JSON object per line, and nothing else, to standard output.
    #[arg(long)]
    pub(crate) json: bool,

    /// Trust the certificates of the authorities in this file, as PEM, and no others, when connecting to wss://. Without it,
    /// those of the operating system.
    #[arg(long, value_name = "PATH")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// Connect beyond this machine although everything, the token included, travels in plain text.
    #[arg(long)]
    pub(crate) unsafe_plaintext_beyond_loopback: bool,
}

/// What came of reading the arguments.
pub(crate) enum Invocation {
    Run(Box<Command>),
    Refused(Failure),
    /// The help, or the version; it is printed already.
    Said,
}

/// A command whose arguments are in order.
pub(crate) enum Work {
    Demo,
    Serve(serve::Plan),
    Submit(submit::Plan),
    Ls(ls::Plan),
    Agents(offer::Plan),
    Tail(tail::Plan),
    Cancel(cancel::Plan),
    Db(Db),
    Jobs(Jobs),
    Replay(Replay),
}

impl Command {
    pub(crate) fn check(self) -> Result<Work, Failure> {
        match self {
            Self::Demo => Ok(Work::Demo),
            Self::Serve(arguments) => serve::Plan::new(arguments).map(Work::Serve),
            Self::Submit(arguments) => submit::Plan::new(*arguments).map(Work::Submit),
            Self::Ls(arguments) => ls::Plan::new(arguments).map(Work::Ls),
            Self::Agents(arguments) => offer::Plan::new(arguments).map(Work::Agents),
            Self::Tail(arguments) => tail::Plan::new(arguments).map(Work::Tail),
            Self::Cancel(arguments) => cancel::Plan::new(arguments).map(Work::Cancel),
            Self::Db(command) => Ok(Work::Db(command)),
            Self::Jobs(arguments) => Ok(Work::Jobs(arguments)),
            Self::Replay(arguments) => Ok(Work::Replay(arguments)),
        }
    }
}

impl Work {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Demo => demo::run().await,
            Self::Serve(plan) => plan.run().await,
            Self::Submit(plan) => plan.run().await,
            Self::Ls(plan) => plan.run().await,
            Self::Agents(plan) => plan.run().await,
            Self::Tail(plan) => plan.run().await,
            Self::Cancel(plan) => plan.run().await,
            Self::Db(command) => db::run(command),
            Self::Jobs(arguments) => db::jobs(&arguments),
            Self::Replay(arguments) => replay::run(&arguments),
        }
    }
}

/// Reads the arguments of this process.
pub(crate) fn invocation() -> Invocation {
    read(std::env::args_os())
}

fn read(arguments: impl IntoIterator<Item = OsString>) -> Invocation {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => Invocation::Run(Box::new(cli.command.unwrap_or(Command::Demo))),
        Err(error) if !error.use_stderr() => match error.print() {
            Ok(()) => Invocation::Said,
            Err(error) => Invocation::Refused(Failure::output(&error)),
        },
        Err(error) => Invocation::Refused(Failure::usage(fault(&error))),
    }
}

/// What is wrong with the arguments, in one line and without their values: any of them may be a token in the wrong place.
fn fault(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg);
    let said = match (error.kind(), argument) {
        (ErrorKind::UnknownArgument, Some(argument)) => match flag(&argument) {
            Some(flag) => {
                let better = context(ContextKind::SuggestedArg);
                let hint = better.map_or(String::new(), |better| format!("; is `{better}` meant?"));
                format!("there is no argument `{flag}`{hint}")
            }
            None => "there is an argument too many (a flag before it may be missing)".into(),
        },
        (ErrorKind::MissingRequiredArgument, Some(arguments)) => format!("missing: {arguments}"),
        (ErrorKind::InvalidSubcommand, _) => {
            let given = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!(
                "there is no command `{}`; the commands are demo, serve, submit, ls, agents, tail, cancel, db, jobs and replay",
                shortened(&given, 32)
            )
        }
        // Only one command has commands of its own and does nothing without.
        (ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) => {
            "`db` needs one of its commands: stats, check, compact, rescue".into()
        }
        (ErrorKind::ArgumentConflict, Some(argument)) => {
            let other = context(ContextKind::PriorArg).filter(|other| *other != argument);
            match other {
                Some(other) => format!("`{argument}` and `{other}` exclude each other"),
                None => format!("`{argument}` may be given only once"),
            }
        }
        (ErrorKind::InvalidUtf8, _) => "the arguments and the environment must be UTF-8".into(),
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(argument)) => {
            let why = match std::error::Error::source(error) {
                Some(why) => why.to_string(),
                None => "a value is missing".into(),
            };
            format!("`{argument}`: {why}")
        }
        (ErrorKind::TooManyValues, Some(argument)) => format!("`{argument}` takes no value"),
        (kind, _) => kind.to_string(),
    };
    format!("{said} (see `arcp --help`)")
}

/// The name of a flag, without a value that hangs on it.
fn flag(argument: &str) -> Option<String> {
    if argument.starts_with("--") {
        argument.split('=').next().map(|name| shortened(name, 40))
    } else if argument.starts_with('-') {
        Some(argument.chars().take(2).collect())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn refusal(line: &str) -> String {
        match read(line.split(' ').map(OsString::from)) {
            Invocation::Refused(failure) => format!("{failure:?}"),
            Invocation::Run(_) | Invocation::Said => panic!("{line} was accepted"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_the_demo() {
        assert!(
            matches!(read(["arcp".into()]), Invocation::Run(command) if matches!(*command, Command::Demo))
        );
    }

    #[test]
    fn faults_are_named_and_values_are_not() {
        for (line, named) in [
            ("arcp serve --tokn=canary", "--tokn"),
            ("arcp serve --tokn canary", "--tokn"),
            ("arcp serve --token a=b canary=bob", "too many"),
            ("arcp serve -xcanary", "-x"),
            ("arcp submit", "AGENT"),
            ("arcp submit --url http://canary a", "--url"),
            ("arcp submit --max-runtime canary a", "--max-runtime"),
            ("arcp submit --lease canary a", "--lease"),
            ("arcp submit --lease fs.read=canary a", "--lease"),
            ("arcp submit --lease canary=x a", "--lease"),
            ("arcp submit --budget canary a", "--budget"),
            ("arcp submit --expires-at canary a", "--expires-at"),
            ("arcp submit --expires-in 1m --expires-at 2026-08-14T09:30:00Z a", "exclude"),
            ("arcp submit --trace-id canary a", "--trace-id"),
            ("arcp submit a --token", "--token"),
            ("arcp submit a --json=canary", "--json"),
            ("arcp submit a --token canary --token canary", "--token"),
            ("arcp submit a --attempts 0", "--attempts"),
            ("arcp serve --stdio --listen canary:1", "exclude"),
            ("arcp serve --jwt-key-file canary", "--jwt-issuer"),
            ("arcp serve --jwt-audience canary --token a=b", "--jwt-key-file"),
            ("arcp ls --status canary", "--status"),
            ("arcp ls canary", "too many"),
            ("arcp ls --created-after canary", "--created-after"),
            ("arcp ls --limit 0", "--limit"),
            ("arcp agents canary", "too many"),
            ("arcp tail", "JOB"),
            ("arcp tail job_1 canary", "too many"),
            ("arcp cancel --reason canary", "JOB"),
            ("arcp serve --db-survives process --token a=b", "--db"),
            ("arcp serve --db a --db-survives canary", "--db-survives"),
            ("arcp db", "stats"),
            ("arcp db stats", "FILE"),
            ("arcp db rescue canary", "NEW"),
            ("arcp jobs", "--db"),
            ("arcp replay --db canary", "--session"),
            ("arcp replay --db canary --session canary", "--session"),
            ("arcp nonsense", "nonsense"),
        ] {
            let said = refusal(line);
            assert!(said.contains(named) && !said.contains("canary"), "{line}: {said}");
            assert!(!said.contains("\\n"), "{line}: {said}");
        }
    }
}
