//! What just fits, and what is one too large.

use alloc::string::ToString;

use super::peer::{JOB, World, job};
use crate::client::{ClientEvent, RequestError, Submission, Subscription};
use crate::error::ApiMisuse;
use crate::wire::RawJson;
use crate::wire::peer::TransportKind;

fn of_size(bytes: usize) -> Submission {
    Submission::new("a", RawJson::encode(&"x".repeat(bytes)).unwrap())
}

#[test]
fn a_submit_may_be_as_large_as_a_frame() {
    let mut world = World::core();
    let large = 1 << 20;
    let refused = world.client.submit(world.now, of_size(large));
    let Err(ApiMisuse::TooLarge { bytes, limit }) = refused else { panic!("{refused:?}") };
    let largest = large - (bytes - limit);
    assert!(world.client.submit(world.now, of_size(largest)).is_ok());
    let refused = world.client.submit(world.now, of_size(largest + 1));
    assert_eq!(refused, Err(ApiMisuse::TooLarge { bytes: limit + 1, limit }));
}

#[test]
fn a_frame_may_be_as_large_as_the_runtime_reads() {
    let mut world = World::stranger();
    world.transport = TransportKind::Lines;
    world.connect();
    world.told();
    let mut submit = |bytes: usize| {
        world.client.submit(world.now, of_size(bytes)).unwrap();
        world.drain();
        match world.events.pop() {
            Some(ClientEvent::Rejected { error: RequestError::TooLarge { bytes, limit }, .. }) => {
                Some((bytes, limit))
            }
            other => {
                assert!(other.is_none(), "{other:?}");
                None
            }
        }
    };
    let (bytes, limit) = submit(70_000).unwrap();
    let largest = 70_000 - (bytes - limit);
    assert_eq!(submit(largest + 1), Some((limit + 1, limit)));
    assert_eq!(submit(largest), None);
    assert_eq!(world.next("job.submit")["payload"]["input"].as_str().map(str::len), Some(largest));
}

#[test]
fn members_may_reach_their_bounds() {
    let mut world = World::core();
    let widest = Submission::new("a".repeat(193), RawJson::null())
        .idempotency_key(" ~".repeat(128))
        .max_runtime_sec(31_536_000);
    assert!(world.client.submit(world.now, widest).is_ok());
    let delete = Submission::new("a\u{7f}".to_string(), RawJson::null());
    assert!(world.client.submit(world.now, delete).is_err());
    let most = (1 << 53) - 1;
    for start in [Subscription::HistoryFromPos(most), Subscription::HistoryFromSeq(most)] {
        assert!(world.client.subscribe(world.now, &job(JOB), start).is_ok());
    }
    assert!(world.client.subscribe(world.now, &job(JOB), Subscription::HistoryFromSeq(1 << 53)).is_err());
}
