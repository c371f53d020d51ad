//! What can go wrong between a client and the runtime.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::cable::Cable;
use super::log::Log;
use super::trace::Direction;

/// The way between one client and the runtime, over all connections the client makes. Cheap to clone.
///
/// Frames arrive whole and in order, each after a time drawn from the [latency](Link::latency). What goes wrong is said in the
/// trace where it happens.
///
/// ```
/// use std::time::Duration;
/// use arcp_driver::testing::Simulation;
/// use arcp_driver::{AgentError, JobContext, Runtime};
///
/// async fn count(job: JobContext, to: u64) -> Result<u64, AgentError> {
///     for number in 1..=to {
///         job.progress(number).of(to).await?;
///     }
///     Ok(to)
/// }
///
/// let simulation = Simulation::seeded(7)
///     .runtime(|_| Runtime::builder().bearer("alice's token", "alice").agent("count", count));
/// let outcome = simulation.run(async |world| {
///     let client = world.connect("alice's token");
///     let link = world.link(&client);
///     let mut job = client.submit("count").input(&100).await?;
///     link.cut_after_events(40); // the client reconnects and resumes by itself …
///     assert_eq!(job.result::<u64>().await?, 100);
///     assert_eq!(link.connections(), 2);
///     Ok(())
/// });
/// outcome.unwrap();
/// ```
#[derive(Clone)]
pub struct Link {
    cable: Arc<Cable>,
    log: Arc<Log>,
}

impl Link {
    pub(super) fn new(cable: &Arc<Cable>, log: &Arc<Log>) -> Self {
        Self { cable: cable.clone(), log: log.clone() }
    }

    /// Cuts it: both ends find their connection closed, and what was on its way is lost. The client may connect again at once.
    pub fn cut(&self) {
        self.cable.cut("");
    }

    /// Cuts it so that only the client finds out. The runtime goes on writing to nobody until its heartbeats tell it, or the
    /// session turns up on another connection.
    pub fn cut_unnoticed(&self) {
        self.cable.cut_unnoticed();
    }

    /// Cuts it as soon as so many more events have arrived at the client: frames with an `event_seq`, which are the events and
    /// ends of jobs. At once for 0. Takes the place of what was asked for before.
    pub fn cut_after_events(&self, events: u64) {
        if events == 0 {
            return self.cut();
        }
        self.cable.change(|state| state.events_left = Some(events));
    }

    /// Cuts it as soon as so many more frames of any kind have arrived, in both directions together. At once for 0. Takes the
    /// place of what was asked for before.
    pub fn cut_after_frames(&self, frames: u64) {
        if frames == 0 {
            return self.cut();
        }
        self.cable.change(|state| state.frames_left = Some(frames));
    }

    /// Cuts it again and again until it is [healed](Link::heal), each time after a number of frames drawn from this range. A
    /// connection spends its first two frames on hello and welcome: with fewer than three nothing ever gets through.
    pub fn cut_every(&self, frames: Range<u64>) {
        self.cable.change(|state| {
            state.again = Some(frames);
            Cable::arm(state);
        });
    }

    /// Nothing arrives any more, in either direction, and nothing is lost: a network that hangs. Both ends find out by their
    /// heartbeats; connects hang, too.
    pub fn stall(&self) {
        self.cable.change(|state| state.stalled = [true; 2]);
        self.say("stalls");
    }

    /// The same in one direction.
    pub fn stall_towards(&self, direction: Direction) {
        self.cable.change(|state| state.stalled[direction as usize] = true);
        self.say(match direction {
            Direction::ToRuntime => "stalls towards the runtime",
            Direction::ToClient => "stalls towards the client",
        });
    }

    /// Cuts it and refuses connects until it is healed.
    pub fn take_down(&self) {
        self.cable.change(|state| state.refuses = true);
        self.say("is taken down");
        self.cut();
    }

    /// Ends whatever was wrong: stalls, refusals, cuts that were still to come. What was stalled goes on its way.
    pub fn heal(&self) {
        self.cable.change(|state| {
            state.refuses = false;
            state.stalled = [false; 2];
            (state.events_left, state.frames_left, state.again) = (None, None, None);
        });
        self.say("is healed");
    }

    /// How long each frame takes from here on, to the microsecond: drawn from this range.
    pub fn latency(&self, range: Range<Duration>) {
        self.cable.change(|state| state.latency = range);
    }

    /// How many connections were made so far.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.cable.made()
    }

    fn say(&self, what: &str) {
        self.log.say(format!("the link of {} {what}", self.cable.name));
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({})", self.cable.name)
    }
}
