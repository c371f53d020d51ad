//! What docs/leases.md says of patterns is so.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use arcp_driver::{Capability, Instant, Lease, LeaseRequest, Now, UnixTime};
use arcp_proto::feature::Features;
use arcp_proto::lease::{Circumstances, Operation, Pattern, Policy};

const GUIDE: &str = include_str!("../../docs/leases.md");

/// The texts in backticks of each cell, of the rows below a head that begins with this cell.
fn rows(head: &str) -> Vec<[Vec<&'static str>; 3]> {
    let mut lines = GUIDE.lines().skip_while(|line| !line.starts_with(&format!("| {head} |")));
    lines.next().expect("the table");
    let cell = |cell: &'static str| cell.split('`').skip(1).step_by(2).collect();
    let row = |line: &'static str| {
        let cells: Vec<Vec<&str>> = line.trim_matches('|').split(" | ").map(cell).collect();
        cells.try_into().expect(line)
    };
    lines.skip(1).take_while(|line| line.starts_with('|')).map(row).collect()
}

fn capability(text: &'static str) -> (Capability, &'static str) {
    let (name, pattern) = text.split_once('=').unwrap();
    (Capability::parse(name).unwrap(), pattern)
}

#[test]
fn patterns_permit_what_the_table_says() {
    let rows = rows("pattern");
    assert!(rows.len() >= 10);
    for [pattern, permitted, refused] in rows {
        let (capability, text) = capability(pattern[0]);
        let (request, _) = LeaseRequest::default()
            .grant(capability.as_str(), [text])
            .to_json(UnixTime::from_millis(0))
            .unwrap();
        let lease = Lease::parse(request.as_ref(), None, Features::EVERY, UnixTime::MIN).unwrap();
        let now = Now { mono: Instant::ZERO, unix: UnixTime::from_millis(0) };
        let circumstances = Circumstances { running: true, expiry: None, now, exhausted: None };
        let permits = |target: &&&str| {
            let operation = Operation { capability: capability.clone(), target };
            lease.authorize(&operation, &circumstances, Policy::default()).is_ok()
        };
        assert!(!permitted.is_empty() && !refused.is_empty(), "{text}");
        assert_eq!(permitted.iter().find(|target| !permits(target)), None, "{text} does not permit it");
        assert_eq!(refused.iter().find(permits), None, "{text} permits it");
    }
}

#[test]
fn children_lie_within_their_parents_as_the_table_says() {
    let rows = rows("parent");
    assert!(rows.len() >= 3);
    for [parent, within, beyond] in rows {
        let (capability, text) = capability(parent[0]);
        let parent = Pattern::parse(&capability, text).unwrap();
        let covers = |child: &&&str| parent.covers(&Pattern::parse(&capability, child).unwrap());
        assert!(!within.is_empty() && !beyond.is_empty(), "{text}");
        assert_eq!(within.iter().find(|child| !covers(child)), None, "{text} does not cover it");
        assert_eq!(beyond.iter().find(covers), None, "{text} covers it");
    }
}
