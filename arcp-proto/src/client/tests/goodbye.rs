//! Between our goodbye and the end.

use core::time::Duration;

use serde_json::json;

use super::peer::{JOB, World};
use crate::client::ClientState;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

impl World {
    /// Says goodbye.
    fn leave(&mut self) {
        self.client.close(self.now, None);
        self.drain();
        self.next("session.close");
        assert_eq!(self.client.state(), ClientState::Closing);
    }

    /// The goodbye is out, and nothing told so far.
    fn leaving(mut self) -> Self {
        self.connect();
        self.leave();
        self.told();
        self
    }
}

#[test]
fn a_transport_that_breaks_behind_the_goodbye_ends_the_session() {
    let mut world = World::core().leaving();
    world.client.handle_closed(world.now);
    world.drain();
    assert_eq!(world.told(), ["closed Requested"]);
    assert_eq!((world.client.state(), world.connects), (ClientState::Closed, 1));
}

#[test]
fn silence_that_began_before_the_goodbye_ends_the_session_too() {
    let mut world = World::core();
    world.connect();
    world.pass(SECOND * 59 + MS * 500);
    world.told();
    world.sent.clear();
    world.leave();
    world.pass(MS * 499);
    assert_eq!(world.client.state(), ClientState::Closing);
    world.pass(MS);
    assert_eq!(world.told(), ["closed Requested"]);
}

#[test]
fn a_second_close_says_no_second_goodbye() {
    let mut world = World::core().leaving();
    world.client.close(world.now, None);
    world.drain();
    world.nothing_sent();
}

#[test]
fn pings_are_answered_behind_the_goodbye() {
    let mut world = World::core().leaving();
    world.say("session.ping", json!({"nonce": "n"}));
    world.next("session.pong");
    assert_eq!(world.client.state(), ClientState::Closing);
}

#[test]
fn an_error_that_answers_a_request_does_not_answer_the_goodbye() {
    let mut world = World::core();
    world.connect();
    world.submit();
    let submit = world.next("job.submit");
    world.leave();
    world.say("session.error", json!({"code": "INTERNAL_ERROR", "message": "m", "request_id": submit["id"]}));
    assert_eq!(world.client.state(), ClientState::Closing);
}

#[test]
fn an_acknowledgement_that_was_not_written_yet_leaves_before_the_goodbye() {
    let mut world = World::core().with_job();
    world.log(JOB, 1, 1);
    world.log(JOB, 2, 2);
    for late in [false, true] {
        // Nothing is written between these.
        world.client.taken(world.now, 1);
        if late {
            world.client.taken(world.now, 2);
        }
        world.client.close(world.now, None);
        world.drain();
        let last = if late { 2 } else { 1 };
        assert_eq!(world.next("session.ack")["payload"]["last_processed_seq"], last);
        world.next("session.close");
        world.nothing_sent();
        world = World::core().with_job();
        world.log(JOB, 1, 1);
        world.log(JOB, 2, 2);
    }
}
