//! Child processes that speak the protocol on their standard streams.

use std::{
    future::poll_fn,
    io,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};

/// How long a child may take to end after each step, unless chosen otherwise.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// Starts a child with its standard input and output piped to us and its standard error shared with ours.
///
/// # Errors
/// The operating system's.
pub fn spawn_pipes(command: &mut Command) -> io::Result<(ChildStdin, ChildStdout, ChildGuard)> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    let pipes = (child.stdin.take(), child.stdout.take());
    let guard = ChildGuard::new(child)?;
    match pipes {
        (Some(stdin), Some(stdout)) => Ok((stdin, stdout, guard)),
        _ => Err(io::Error::other("the child has no pipes")),
    }
}

/// A running child process; ends it when dropped.
///
/// The order is: close its standard input (by closing or dropping the transport), wait, `SIGTERM`, wait, `SIGKILL`.
/// Dropping the guard starts this in the background, [`ChildGuard::shutdown`] also waits for it.
#[derive(Debug)]
pub struct ChildGuard {
    shared: Arc<Shared>,
    pid: Pid,
    grace: Duration,
    stopping: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    exited: Condvar,
}

#[derive(Debug, Default)]
struct State {
    exit: Option<Result<ExitStatus, io::ErrorKind>>,
    waker: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the signal unless the child is gone. Its id stays its own until it is reaped, which needs the lock.
    fn signal(&self, pid: Pid, signal: Signal) {
        if self.lock().exit.is_none() {
            // Fails only for a process that is no longer ours, for which there is nothing left to do.
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether the child ends within `grace`.
    fn ends_within(&self, grace: Duration) -> bool {
        let waited = self.exited.wait_timeout_while(self.lock(), grace, |state| state.exit.is_none());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.exit.is_some()
    }
}

impl ChildGuard {
    fn new(mut child: Child) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
            return Err(io::Error::other("the child has no process id"));
        };
        let reaper = Arc::clone(&shared);
        thread::Builder::new().name("arcp-child".to_owned()).spawn(move || {
            // Waits without reaping, so that nobody signals the id of another process.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
            let mut state = reaper.lock();
            state.exit = Some(child.wait().map_err(|error| error.kind()));
            reaper.exited.notify_all();
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        })?;
        Ok(Self { shared, pid, grace: DEFAULT_GRACE, stopping: false })
    }

    /// Sets how long to wait before `SIGTERM` and again before `SIGKILL`, 5 s by default.
    #[must_use]
    pub const fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The child's process id.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits until the child has ended by itself.
    ///
    /// # Errors
    /// When the system cannot tell how it ended.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        poll_fn(|cx| self.poll_exit(cx)).await
    }

    /// Ends the child in the order above and waits for it. Close or drop the transport first, or the child is not
    /// told until `SIGTERM`.
    ///
    /// # Errors
    /// When the system gives no thread or cannot tell how the child ended.
    pub async fn shutdown(mut self) -> io::Result<ExitStatus> {
        self.stop()?;
        self.wait().await
    }

    fn poll_exit(&self, cx: &Context<'_>) -> Poll<io::Result<ExitStatus>> {
        let mut state = self.shared.lock();
        match state.exit {
            Some(exit) => Poll::Ready(exit.map_err(io::Error::from)),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn stop(&mut self) -> io::Result<()> {
        if self.stopping || self.shared.lock().exit.is_some() {
            return Ok(());
        }
        let (shared, pid, grace) = (Arc::clone(&self.shared), self.pid, self.grace);
        thread::Builder::new().name("arcp-child-stop".to_owned()).spawn(move || {
            if shared.ends_within(grace) {
                return;
            }
            shared.signal(pid, Signal::TERM);
            if !shared.ends_within(grace) {
                shared.signal(pid, Signal::KILL);
            }
        })?;
        self.stopping = true;
        Ok(())
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        if self.stop().is_err() {
            self.shared.signal(self.pid, Signal::KILL);
        }
    }
}
