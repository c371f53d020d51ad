//! How the program ends, and the one line it says if that is not well.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use crate::text::escape;

/// The job failed, or something went wrong around it.
pub(crate) const ERROR: u8 = 1;
/// The arguments cannot be used.
pub(crate) const USAGE: u8 = 2;
/// The job was cancelled.
pub(crate) const CANCELLED: u8 = 3;
/// The job ran longer than it might.
pub(crate) const TIMED_OUT: u8 = 4;
/// The file in which a runtime keeps its state cannot be used, is damaged, or could not be written.
pub(crate) const STORE: u8 = 5;

/// Why the program ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: Option<String>,
}

impl Failure {
    /// The arguments cannot be used.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::with_code(USAGE, message)
    }

    /// Something went wrong.
    pub(crate) fn error(message: impl Display) -> Self {
        Self::with_code(ERROR, message)
    }

    /// Something is wrong with the file in which a runtime keeps its state.
    pub(crate) fn store(message: impl Display) -> Self {
        Self::with_code(STORE, message)
    }

    pub(crate) fn with_code(code: u8, message: impl Display) -> Self {
        Self { code, message: Some(message.to_string()) }
    }

    /// Output that cannot be written. A reader that has gone away, as `head` does, is told nothing: it knows.
    pub(crate) fn output(error: &io::Error) -> Self {
        let message = format!("cannot write to standard output: {error}");
        Self { code: ERROR, message: (error.kind() != io::ErrorKind::BrokenPipe).then_some(message) }
    }

    /// Says it in exactly one line on standard error.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(message) = &self.message {
            warn(message);
        }
        ExitCode::from(self.code)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::output(&error)
    }
}

/// Says something in one line on standard error. Written by hand, since `eprintln!` panics where nobody can listen.
pub(crate) fn warn(message: &str) {
    use io::Write;
    let _ = writeln!(io::stderr().lock(), "arcp: {}", escape(message));
}
