//! The executor's clock.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use arcp_driver::{SystemClock, Timer};
use arcp_proto::time::{Instant, Now};

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// async-std's timer, for every driver future that runs on async-std.
#[derive(Default)]
pub struct AsyncStdTimer {
    clock: SystemClock,
    sleep: Option<(Instant, Sleep)>,
}

impl AsyncStdTimer {
    /// A timer whose epoch is this moment.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Timer for AsyncStdTimer {
    fn now(&self) -> Now {
        self.clock.now()
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            let now = self.clock.now().mono;
            if now >= deadline {
                return Poll::Ready(());
            }
            let mut sleep: Sleep = match self.sleep.take() {
                Some((set, sleep)) if set == deadline => sleep,
                _ => Box::pin(async_std::task::sleep(deadline.since(now))),
            };
            if sleep.as_mut().poll(cx).is_pending() {
                self.sleep = Some((deadline, sleep));
                return Poll::Pending;
            }
        }
    }
}

impl fmt::Debug for AsyncStdTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncStdTimer").field("clock", &self.clock).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn waits_for_the_clock_and_follows_a_moved_deadline() {
        async_std::task::block_on(async {
            let mut timer = AsyncStdTimer::new();
            let start = timer.now().mono;
            let far = start.after(Duration::from_secs(3_600));
            let near = start.after(Duration::from_millis(5));
            std::future::poll_fn(|cx| {
                let _ = timer.poll_until(cx, far).is_ready();
                timer.poll_until(cx, near)
            })
            .await;
            assert!(timer.now().mono >= near);
        });
    }
}
