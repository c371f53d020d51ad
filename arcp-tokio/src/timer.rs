//! The executor's clock.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use arcp_driver::{SystemClock, Timer};
use arcp_proto::time::{Instant, Now};
use tokio::time::Sleep;

/// Tokio's timer, for every driver future that runs on tokio.
#[derive(Debug, Default)]
pub struct TokioTimer {
    clock: SystemClock,
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl TokioTimer {
    /// A timer whose epoch is this moment.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Timer for TokioTimer {
    fn now(&self) -> Now {
        self.clock.now()
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        // The clock decides, not the sleep: tokio rounds to milliseconds.
        while self.clock.now().mono < deadline {
            let Some(at) = self.clock.std_instant(deadline).map(tokio::time::Instant::from_std) else {
                return Poll::Pending;
            };
            let sleep = match &mut self.sleep {
                Some((set, sleep)) => {
                    if *set != deadline || sleep.is_elapsed() {
                        *set = deadline;
                        sleep.as_mut().reset(at);
                    }
                    sleep
                }
                none => &mut none.insert((deadline, Box::pin(tokio::time::sleep_until(at)))).1,
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn waits_for_the_clock_and_follows_a_moved_deadline() {
        let mut timer = TokioTimer::new();
        let start = timer.now().mono;
        let far = start.after(Duration::from_secs(3_600));
        let near = start.after(Duration::from_millis(5));
        std::future::poll_fn(|cx| {
            let _ = timer.poll_until(cx, far).is_ready();
            timer.poll_until(cx, near)
        })
        .await;
        assert!(timer.now().mono >= near);
    }
}
