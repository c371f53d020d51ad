//! Whoever watches a runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arcp_proto::runtime::RuntimeEvent;

use super::task::forget_panic;

/// The deployment's observer, if it has one.
#[derive(Default)]
pub(super) struct Observer(Option<Box<See>>);

type See = dyn FnMut(&RuntimeEvent) + Send;

impl Observer {
    pub(super) fn new(observer: impl FnMut(&RuntimeEvent) + Send + 'static) -> Self {
        Self(Some(Box::new(observer)))
    }

    /// Shows it an event. All sessions live in the task that does this, so a panic must not get past here.
    pub(super) fn see(&mut self, event: &RuntimeEvent) {
        let Some(observer) = &mut self.0 else { return };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| observer(event))) {
            forget_panic(panic);
            let broken = self.0.take();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(broken))) {
                forget_panic(panic);
            }
        }
    }
}
