//! Credentials go with their job, however long the upstream resists (CRD-1, CRD-4, D-52, D-53).

use super::*;
use crate::runtime::AgentInput;
use crate::wire::RawJson;
use crate::wire::event::{Content, Delegation};

/// The records of the append that holds a job's terminal.
fn append_with_end(world: &World) -> &[Record] {
    let mut appends = world.journal.iter().filter_map(|(_, command)| match command {
        Command::Append(records) => Some(&records[..]),
        _ => None,
    });
    let is_end = |record: &Record| matches!(record, Record::Event(event) if matches!(event.event.content, Content::End(_)));
    appends.rfind(|records| records.iter().any(is_end)).expect("a job has ended")
}

#[test]
fn a_credential_goes_with_its_job() {
    let (mut world, a, _) = world();
    let (job, _) = world.provisioned(a, "m1", "s3cr3t");
    let key = CredentialKey::parse(&world.started[0].credentials[0].id).unwrap();
    world.instant_store = false;
    world.finish(job, "1");
    assert!(world.take(a).is_empty() && world.revocations.is_empty(), "D-53: neither before the commit");
    world.store_one();
    assert_eq!(world.one(a)["type"], "job.result");
    let pending = |record: &Record| matches!(record, Record::Credential(record) if record.state == CredentialState::RevokePending);
    let records = append_with_end(&world);
    assert!(pending(&records[0]), "D-53: one commit: {records:?}");
    let (_, revocation) = &world.revocations[0];
    assert_eq!((revocation.credential, revocation.endpoint.as_deref()), (key, Some("https://gw.example/v1")));
    assert_eq!(world.revoke_all(Revoked::Done), [key]);
    world.store_all();
    assert_eq!(world.state(key), Some(CredentialState::Revoked));
    assert!(
        world
            .events
            .contains(&RuntimeEvent::CredentialRevoked { credential: key, job: world.started[0].key })
    );
    world.wait(3 * 3_600 * SECOND);
    assert!(world.revocations.is_empty(), "once done it is done");
}

#[test]
fn a_second_answer_changes_nothing() {
    let (mut world, a, _) = world();
    let (job, _) = world.provisioned(a, "m1", "s3cr3t");
    world.finish(job, "1");
    let (id, _) = world.revocations.remove(0);
    for answer in [Revoked::Done, Revoked::Done, Revoked::GiveUp, Revoked::Retry] {
        world.runtime.handle_revoked(world.now, id, answer);
        world.settle();
    }
    let last: Vec<_> = world.ledger().into_iter().map(|(_, state)| state).collect();
    assert_eq!(
        last,
        [
            CredentialState::Intent,
            CredentialState::Issued,
            CredentialState::RevokePending,
            CredentialState::Revoked
        ]
    );
}

#[test]
fn it_is_tried_again_ever_more_rarely() {
    let (mut world, a, _) = world();
    let (job, _) = world.provisioned(a, "m1", "s3cr3t");
    world.finish(job, "1");
    let mut waits = Vec::new();
    for _ in 0..15 {
        assert_eq!(world.revoke_all(Revoked::Retry).len(), 1);
        let before = world.now;
        while world.revocations.is_empty() {
            world.wait(SECOND);
        }
        waits.push(world.now.mono.since(before.mono).as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 3_600, 3_600, 3_600], "D-52");
    world.revoke_all(Revoked::Done);
    world.wait(24 * 3_600 * SECOND);
    assert!(world.revocations.is_empty());
}

#[test]
fn an_upstream_that_never_answers_is_asked_again() {
    let (mut world, a, _) = world();
    let (job, _) = world.provisioned(a, "m1", "s3cr3t");
    world.finish(job, "1");
    let (first, _) = world.revocations.remove(0);
    world.wait(9 * SECOND);
    assert!(world.revocations.is_empty());
    world.wait(SECOND);
    let (second, revocation) = world.revocations.remove(0);
    world.runtime.handle_revoked(world.now, first, Revoked::Done);
    world.settle();
    assert_eq!(
        world.state(revocation.credential),
        Some(CredentialState::RevokePending),
        "only the newest counts"
    );
    world.runtime.handle_revoked(world.now, second, Revoked::Done);
    world.settle();
    assert_eq!(world.state(revocation.credential), Some(CredentialState::Revoked));
}

#[test]
fn past_the_end_of_the_upstream_nothing_needs_to_be_revoked() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", lease());
    let (id, request) = world.only_issue();
    let expires = Some(world.now.unix.after(60 * SECOND));
    world.answer(id, Issued::Credential(IssuedCredential { expires, ..credential("s3cr3t") }.into()));
    world.finish(world.started[0].job, "1");
    for _ in 0..200 {
        world.revoke_all(Revoked::Retry);
        world.wait(SECOND);
    }
    assert_eq!(world.state(request.credential), Some(CredentialState::Revoked), "D-52");
    assert!(world.revocations.is_empty());
}

#[test]
fn what_can_never_be_revoked_is_an_operators() {
    let (mut world, a, _) = world();
    let (job, _) = world.provisioned(a, "m1", "s3cr3t");
    world.finish(job, "1");
    let key = world.revoke_all(Revoked::GiveUp)[0];
    assert_eq!(world.state(key), Some(CredentialState::GaveUp));
    let job = world.started[0].key;
    assert!(world.events.contains(&RuntimeEvent::CredentialGivenUp { credential: key, job }));
    world.wait(2 * 3_600 * SECOND);
    assert!(world.revocations.is_empty());
}

#[test]
fn rows_are_forgotten_with_their_job_but_never_while_something_is_to_be_done() {
    let mut brief = provisioning();
    brief.retention = 60 * SECOND;
    let mut world = World::with(brief);
    let (a, _) = private(&mut world, "good", QUIET);
    let (done, _) = world.provisioned(a, "m1", "one");
    let (stuck, _) = world.provisioned(a, "m2", "two");
    world.finish(done, "1");
    let done = world.revoke_all(Revoked::Done)[0];
    world.finish(stuck, "1");
    let stuck = world.revocations[0].1.credential;
    world.wait(61 * SECOND);
    assert_eq!((world.state(done), world.state(stuck)), (None, Some(CredentialState::RevokePending)));
    assert_eq!(world.runtime.population().unfinished_jobs, 0);
    world.revoke_all(Revoked::Done);
    assert_eq!(world.state(stuck), None);
}

#[test]
fn a_row_that_is_forgotten_while_there_is_no_room_does_not_come_back() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", lease());
    let (issue, request) = world.only_issue();
    world.instant_store = false;
    // Something else waits, for which there is no room.
    world.send(a, "m2", "job.submit", json!({"agent": "a"}));
    assert_eq!(world.refuse_all(), 1);
    world.answer(issue, Issued::Nothing);
    assert_eq!(code(&world.one(a)), "INTERNAL_ERROR", "there is no room for the job");
    world.wait(SECOND);
    world.instant_store = true;
    world.store_all();
    assert_eq!(world.state(request.credential), None);
}

#[test]
fn a_late_answer_revokes_nothing_before_that_is_stored() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", lease());
    let (issue, request) = world.only_issue();
    world.instant_store = false;
    world.wait(10 * SECOND);
    world.answer(issue, Issued::Failed);
    assert!(world.revocations.is_empty(), "CRD-1: that it must go is not stored");
    world.store_all();
    assert_eq!(world.revoke_all(Revoked::Done), [request.credential]);
}

#[test]
fn what_was_revoked_before_it_was_made_is_revoked_again() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", lease());
    let (issue, request) = world.only_issue();
    world.wait(10 * SECOND);
    let (early, _) = world.revocations.remove(0);
    // Something else waits for the store, so that what follows from the late answer does too.
    world.instant_store = false;
    world.send(a, "m2", "job.submit", lease());
    assert_eq!(world.answer(issue, Issued::Credential(credential("s3cr3t").into())), None);
    world.runtime.handle_revoked(world.now, early, Revoked::Done);
    world.settle();
    world.store_all();
    assert_eq!(
        world.state(request.credential),
        Some(CredentialState::RevokePending),
        "CRD-1: that was asked before there was anything to revoke"
    );
    assert_eq!(world.revoke_all(Revoked::Done), [request.credential]);
    world.store_all();
    assert_eq!(world.state(request.credential), None);
}

#[test]
fn every_end_of_a_job_takes_it_along() {
    type End = fn(&mut World, ConnectionId, JobHandle, &str);
    let ends: [(&str, End); 3] = [
        ("a cancel", |world, a, _, id| {
            world.send(a, "c1", "job.cancel", json!({"job_id": id}));
            assert!(world.revocations.is_empty(), "CRD-1: never before the terminal");
            world.wait(30 * SECOND);
        }),
        ("its time", |world, _, _, _| {
            world.wait(100 * SECOND);
            assert!(world.revocations.is_empty());
            world.wait(30 * SECOND);
        }),
        ("its agent", |world, _, job, _| world.finish(job, "1")),
    ];
    for (what, end) in ends {
        let (mut world, a, _) = world();
        let mut submit = lease();
        submit["max_runtime_sec"] = json!(100);
        world.send(a, "m1", "job.submit", submit);
        let (issue, request) = world.only_issue();
        world.make(issue, "s3cr3t");
        let id = request.job.to_string();
        let job = world.started[0].job;
        end(&mut world, a, job, &id);
        assert!(world.runtime.job_state(job).is_some_and(JobState::is_final), "{what}");
        assert_eq!(world.revoke_all(Revoked::Done), [request.credential], "{what}");
    }
}

#[test]
fn a_parents_end_takes_the_credentials_of_its_children() {
    let (mut world, a, _) = world();
    let (parent, _) = world.provisioned(a, "m1", "one");
    let delegate = |world: &mut World, job, value: &str| {
        let delegation = Delegation {
            token: 1,
            agent: "a".into(),
            input: RawJson::null(),
            lease_request: Some(RawJson::try_from(r#"{"agent.delegate":["a"]}"#).unwrap()),
            lease_constraints: None,
            max_runtime_sec: None,
        };
        world.runtime.handle_agent(world.now, job, AgentInput::Delegate(delegation.into())).unwrap();
        world.settle();
        let (id, request) = world.only_issue();
        world.make(id, value);
        (world.started.last().unwrap().job, request.credential)
    };
    let (child, of_child) = delegate(&mut world, parent, "two");
    let (_, of_grandchild) = delegate(&mut world, child, "three");
    world.finish(parent, "1");
    let records = append_with_end(&world);
    let pending = records.iter().filter(|record| matches!(record, Record::Credential(_))).count();
    assert_eq!(pending, 3, "CRD-4: with the parent's terminal, not with their own");
    let revoked = world.revoke_all(Revoked::Done);
    assert!(revoked.contains(&of_child) && revoked.contains(&of_grandchild) && revoked.len() == 3);
    world.wait(60 * SECOND);
    assert!(world.revocations.is_empty(), "once each");
}
