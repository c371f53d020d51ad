//! The Python that has the package, and the scripts it runs.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;

use tokio::process::Command;

/// What is tested, as `.ci/run` installs it.
const PACKAGE: &str = "agentruntimecontrolprotocol";
const VERSION: &str = "1.1.3";

/// How the two sides are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    WebSocket,
    Stdio,
}

/// A Python with the package.
pub(crate) struct Python(PathBuf);

impl Python {
    /// The one that `ARCP_PYTHON` names. `None`, said aloud once, if it names none.
    ///
    /// # Panics
    /// It names one without the package in this version; or none, and `ARCP_INTEROP` requires one.
    pub(crate) fn find() -> Option<Self> {
        static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
        let found = FOUND.get_or_init(|| match std::env::var_os("ARCP_PYTHON") {
            Some(path) => {
                check(&path);
                Some(path.into())
            }
            None => {
                // Past the test harness, which would show it only for tests that fail.
                let _ = writeln!(std::io::stderr(), "skipped: ARCP_PYTHON names no Python with {PACKAGE}");
                None
            }
        });
        let required = std::env::var_os("ARCP_INTEROP").is_some_and(|value| value == "required");
        assert!(found.is_some() || !required, "ARCP_INTEROP requires ARCP_PYTHON");
        found.clone().map(Self)
    }

    /// A script of `tests/interop` with these arguments.
    pub(crate) fn script(&self, name: &str, arguments: &[&str]) -> Command {
        let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/interop");
        let mut command = Command::new(&self.0);
        command.arg("-B").arg(scripts.join(name)).args(arguments);
        command.kill_on_drop(true).stdin(Stdio::null());
        for name in ["ARCP_URL", "ARCP_COMMAND", "ARCP_TOKEN", "ARCP_TOKENS", "PYTHONPATH", "PYTHONHOME"] {
            command.env_remove(name);
        }
        command
    }
}

fn check(python: &std::ffi::OsStr) {
    let code = format!("import importlib.metadata as m; print(m.version('{PACKAGE}'))");
    let output = std::process::Command::new(python).args(["-c", &code]).output();
    let output = output.unwrap_or_else(|error| panic!("ARCP_PYTHON {}: {error}", python.display()));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        VERSION,
        "{} needs {PACKAGE}=={VERSION}: {}",
        python.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}
