//! A crash at any moment leaves no credential outside the ledger (CRD-2).

use super::*;

impl World {
    fn again(self) -> Self {
        let mut world = self.restart(provisioning());
        world.settle();
        world
    }
}

/// What is asked to be revoked after a restart.
fn swept(world: &mut World) -> Vec<CredentialKey> {
    let mut swept = world.revoke_all(Revoked::Done);
    swept.sort();
    swept
}

#[test]
fn what_was_asked_for_and_not_answered_is_revoked() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", lease());
    let (_, request) = world.only_issue();
    let mut world = world.again();
    assert!(world.stored_jobs() == 0 && world.issues.is_empty());
    assert_eq!(swept(&mut world), [request.credential]);
    assert_eq!(world.state(request.credential), None);
    assert!(world.again().revocations.is_empty());
}

#[test]
fn what_was_issued_and_not_stored_is_revoked() {
    let (mut world, a, _) = world();
    world.send(a, "m1", "job.submit", lease());
    let (id, request) = world.only_issue();
    world.instant_store = false;
    world.make(id, "s3cr3t");
    let mut world = world.again();
    assert_eq!(swept(&mut world), [request.credential]);
}

#[test]
fn an_interrupted_job_ends_and_its_credential_goes() {
    let (mut world, a, _) = world();
    let (_, id) = world.provisioned(a, "m1", "s3cr3t");
    let key = CredentialKey::parse(&world.started[0].credentials[0].id).unwrap();
    let mut world = world.again();
    assert_eq!(swept(&mut world), [key]);
    assert_eq!(world.state(key), Some(CredentialState::Revoked));
    let (b, _) = private(&mut world, "good", QUIET);
    world.send(b, "s1", "job.subscribe", json!({"job_id": id, "history": true}));
    assert_eq!(code(world.take(b).last().unwrap()), "INTERNAL_ERROR");
}

#[test]
fn a_revocation_that_was_pending_goes_on() {
    let (mut world, a, _) = world();
    let (job, _) = world.provisioned(a, "m1", "s3cr3t");
    world.finish(job, "1");
    let key = world.revoke_all(Revoked::Retry)[0];
    let mut world = world.again();
    assert_eq!(world.revoke_all(Revoked::Retry), [key], "asked once");
    let mut world = world.again();
    assert_eq!(swept(&mut world), [key]);
    assert!(world.again().revocations.is_empty());
}

#[test]
fn a_runtime_without_a_provisioner_leaves_the_ledger_alone() {
    let (mut world, a, _) = world();
    world.provisioned(a, "m1", "s3cr3t");
    let key = CredentialKey::parse(&world.started[0].credentials[0].id).unwrap();
    let mut world = world.restart(config());
    assert!(world.revocations.is_empty());
    assert_eq!(world.state(key), Some(CredentialState::RevokePending), "its job has ended");
    world.wait(3_600 * SECOND);
    let mut world = world.again();
    assert_eq!(swept(&mut world), [key]);
}

/// A job that waits for a running one to end, when the runtime restarts.
fn queued() -> (World, Value, CredentialKey, CredentialKey) {
    let mut narrow = provisioning();
    narrow.limits.running_jobs = 1;
    let mut world = World::with(narrow);
    let (a, welcome) = private(&mut world, "good", QUIET);
    let mut keys = Vec::new();
    for (id, value) in [("m1", "one"), ("m2", "two")] {
        let mut submit = lease();
        submit["idempotency_key"] = json!(id);
        world.send(a, id, "job.submit", submit);
        let (issue, request) = world.only_issue();
        keys.push(request.credential);
        world.make(issue, value);
    }
    assert_eq!(world.started.len(), 1);
    (world, welcome, keys[0], keys[1])
}

#[test]
fn a_job_that_had_not_started_starts_with_another_credential() {
    let (world, welcome, running, waiting) = queued();
    let mut world = world.again();
    let (issue, request) = world.only_issue();
    assert!(world.started.is_empty(), "it waits for its credential");
    assert_eq!(swept(&mut world), [running, waiting]);
    world.make(issue, "three");
    assert_eq!(world.started.len(), 1);
    assert!(world.started[0].credentials[0].value.matches("three"));
    let (_, frames) = resume_privately(&mut world, &welcome, 0);
    let rotated: Vec<_> = frames.iter().filter(|frame| frame["payload"]["kind"] == "status").collect();
    assert_eq!(rotated.len(), 1);
    assert_eq!(rotated[0]["payload"]["body"]["value"], "three");
    world.finish(world.started[0].job, "1");
    assert_eq!(swept(&mut world), [request.credential]);
}

#[test]
fn a_second_restart_before_the_other_credential_is_there_changes_nothing() {
    let (world, _, running, waiting) = queued();
    let mut world = world.again();
    let (_, first) = world.only_issue();
    assert_eq!(swept(&mut world), [running, waiting]);
    let mut world = world.again();
    assert_eq!(swept(&mut world), [first.credential]);
    assert!(world.started.is_empty(), "it still waits");
    let (issue, _) = world.only_issue();
    world.make(issue, "three");
    assert!(world.started[0].credentials[0].value.matches("three"));
}

#[test]
fn a_job_that_gets_no_other_credential_fails() {
    for provisions in [true, false] {
        let (world, welcome, ..) = queued();
        let mut config = provisioning();
        config.provisions = provisions;
        let mut world = world.restart(config);
        if provisions {
            let (issue, _) = world.only_issue();
            world.answer(issue, Issued::Failed);
        }
        assert!(world.started.is_empty());
        let (_, frames) = resume_privately(&mut world, &welcome, 0);
        let codes: Vec<_> = frames.iter().filter(|frame| frame["type"] == "job.error").map(code).collect();
        assert_eq!(codes, ["INTERNAL_ERROR", "INTERNAL_ERROR"]);
    }
}

#[test]
fn a_crash_after_each_append_leaves_nothing_live() {
    for appends in 0..12 {
        let (mut world, a, _) = world();
        world.instant_store = false;
        world.send(a, "m1", "job.submit", lease());
        let mut issued = Vec::new();
        let mut rotated = false;
        let mut finished = false;
        for _ in 0..appends {
            if !world.store_one() {
                let running = world.started.first().map(|start| start.job);
                match running {
                    Some(job) if !rotated => {
                        world.runtime.rotate_credential(world.now, job).unwrap();
                        rotated = true;
                    }
                    Some(job) if !finished => {
                        world.finish(job, "1");
                        finished = true;
                    }
                    _ => {}
                }
                world.settle();
            }
            for (id, request) in core::mem::take(&mut world.issues) {
                issued.push(request.credential);
                world.make(id, &format!("value-{}", issued.len()));
            }
            for key in world.revoke_all(Revoked::Done) {
                issued.retain(|issued| *issued != key);
            }
        }
        let mut world = world.again();
        let gone = swept(&mut world);
        for key in issued {
            assert!(gone.contains(&key), "CRD-2, after {appends} steps: {key}");
        }
        let mut world = world.again();
        assert!(swept(&mut world).is_empty() && world.issues.is_empty(), "after {appends} steps");
    }
}

#[test]
fn a_job_that_is_run_again_has_another_credential_first() {
    let restartable = || {
        let mut config = provisioning();
        config.agents.set_restartable(&crate::agent::AgentRef::parse("a").unwrap()).unwrap();
        config
    };
    let mut world = World::with(restartable());
    let (a, welcome) = private(&mut world, "good", QUIET);
    world.provisioned(a, "m1", "one");
    let old = CredentialKey::parse(&world.started[0].credentials[0].id).unwrap();
    let mut world = world.restart(restartable());
    world.settle();
    let (issue, request) = world.only_issue();
    assert!(world.started.is_empty(), "it waits for its credential");
    assert_eq!(swept(&mut world), [old]);
    world.make(issue, "two");
    assert!(world.started[0].credentials[0].value.matches("two"));
    assert_eq!(world.started[0].restart.as_ref().unwrap().position, 0);
    let (_, frames) = resume_privately(&mut world, &welcome, 0);
    assert_eq!(frames.last().unwrap()["payload"]["body"]["value"], "two");
    world.finish(world.started[0].job, "1");
    assert_eq!(swept(&mut world), [request.credential]);

    // Without one it does not run, and does not hang either.
    let mut world = World::with(restartable());
    let (a, _) = private(&mut world, "good", QUIET);
    world.provisioned(a, "m1", "one");
    let mut world = world.restart(restartable());
    world.settle();
    let (issue, _) = world.only_issue();
    world.runtime.handle_credentials(world.now, issue, Issued::Failed).unwrap();
    world.settle();
    assert!(world.started.is_empty() && world.runtime.population().unfinished_jobs == 0);
    assert!(world.events.iter().any(|event| matches!(event, RuntimeEvent::JobEnded { .. })));
}
