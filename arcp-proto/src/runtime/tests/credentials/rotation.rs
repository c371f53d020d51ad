//! Another credential for a job that has one (D-18).

use super::*;
use crate::runtime::AgentInput;
use crate::runtime::store::StoreDone;
use crate::wire::event::{Emission, LogLevel};

impl World {
    fn rotate(&mut self, job: JobHandle) -> (IssueId, IssueRequest) {
        self.runtime.rotate_credential(self.now, job).unwrap();
        self.settle();
        self.only_issue()
    }
}

fn body(frame: &Value) -> &Value {
    &frame["payload"]["body"]
}

#[test]
fn a_rotation_replaces_the_value_everywhere() {
    let (mut world, a, welcome) = world();
    let (job, id) = world.provisioned(a, "m1", "s3cr3t-one");
    let (other, _) = private(&mut world, "good", QUIET.without(Feature::ProvisionedCredentials));
    world.ask(other, "s1", "job.subscribe", json!({"job_id": id}));
    world.metric(job, "cost.search", "0.5", "USD");
    world.take(a);
    let (issue, request) = world.rotate(job);
    assert_eq!((request.job.to_string(), request.budget[0].1.to_string()), (id.clone(), "1.5".to_string()));
    assert!(world.revocations.is_empty(), "CRD-1: the old one is good until the new one is there");
    world.instant_store = false;
    let narrower =
        CredentialConstraints { cost_budget: Vec::from(["USD:1.50".into()]), ..Default::default() };
    let issued = IssuedCredential { constraints: narrower, ..credential("s3cr3t-two") };
    assert_eq!(world.answer(issue, Issued::Credential(issued.into())), None);
    assert!(world.take(a).is_empty() && world.news.is_empty() && world.revocations.is_empty());
    world.store_one();
    let Some((_, Command::Append(records))) = world.journal.last() else { panic!("an append") };
    let states: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Credential(record) => Some(record.state),
            _ => None,
        })
        .collect();
    assert_eq!(states, [CredentialState::Issued, CredentialState::RevokePending], "one commit");
    let rotated = world.one(a);
    let new = request.credential.to_string();
    assert_eq!(
        *body(&rotated),
        json!({"phase": "credential_rotated", "id": new, "value": "s3cr3t-two",
            "details": {"id": new, "value": "s3cr3t-two"}}),
        "D-18"
    );
    let kinds: Vec<_> = world.take(other).iter().map(|frame| body(frame)["phase"].clone()).collect();
    assert!(!kinds.contains(&json!("credential_rotated")), "D-71: it has not negotiated that");
    let (_, news) = world.news.pop().unwrap();
    assert!(
        matches!(&news, JobNews::CredentialRotated { credential } if credential.value.matches("s3cr3t-two"))
    );
    world.instant_store = true;
    world.store_all();
    let old = CredentialKey::parse(&world.started[0].credentials[0].id).unwrap();
    assert_eq!(world.revoke_all(Revoked::Done), [old]);
    // Replayed, the frame has the value as long as that is the current one.
    world.cut(a);
    let (b, frames) = resume_privately(&mut world, &welcome, 0);
    let replayed = frames.iter().find(|frame| body(frame)["phase"] == "credential_rotated").unwrap();
    assert_eq!(replayed, &rotated, "byte for byte the same");
    assert_eq!(values(&frames[1]), ["s3cr3t-two"], "D-19: the acceptance has the current one");
    let welcome = frames[0].clone();
    let (issue, _) = world.rotate(job);
    world.answer(
        issue,
        Issued::Credential(
            IssuedCredential { constraints: CredentialConstraints::default(), ..credential("s3cr3t-three") }
                .into(),
        ),
    );
    world.take(b);
    world.cut(b);
    let (_, frames) = resume_privately(&mut world, &welcome, 0);
    let shown: Vec<_> = frames
        .iter()
        .filter(|frame| body(frame)["phase"] == "credential_rotated")
        .map(|frame| body(frame)["value"].as_str().unwrap_or("none"))
        .collect();
    assert_eq!(shown, ["none", "s3cr3t-three"], "the one before is not current any more");
    world.finish(job, "1");
    assert_eq!(world.revoke_all(Revoked::Done).len(), 2);
    for secret in ["s3cr3t-one", "s3cr3t-two", "s3cr3t-three"] {
        assert!(!world.leaks(secret), "{secret}");
        assert!(!world.texts[&other].iter().any(|text| text.contains(secret)), "{secret}");
    }
}

#[test]
fn history_tells_of_rotations_without_stale_values() {
    let (mut world, a, _) = world();
    let (job, id) = world.provisioned(a, "m1", "s3cr3t-one");
    let (issue, _) = world.rotate(job);
    world.make(issue, "s3cr3t-two");
    world.finish(job, "1");
    let (b, _) = private(&mut world, "good", QUIET);
    world.send(b, "s1", "job.subscribe", json!({"job_id": id, "history": true}));
    let frames = world.take(b);
    assert_eq!(types(&frames), ["job.subscribed", "job.event", "job.result"]);
    assert_eq!(body(&frames[1])["value"], Value::Null);
    assert!(!world.texts[&b].iter().any(|text| text.contains("s3cr3t")));
}

#[test]
fn a_rotation_that_fails_leaves_the_old_one() {
    let (mut world, a, welcome) = world();
    let (job, _) = world.provisioned(a, "m1", "s3cr3t-one");
    for answer in [Some(Issued::Failed), None, Some(Issued::Nothing)] {
        let (issue, request) = world.rotate(job);
        world.runtime.rotate_credential(world.now, job).unwrap();
        world.settle();
        assert!(world.issues.is_empty(), "one at a time");
        let is_nothing = matches!(answer, Some(Issued::Nothing));
        match answer {
            Some(answer) => drop(world.answer(issue, answer)),
            None => {
                world.wait(10 * SECOND);
                world.make(issue, "s3cr3t-late");
            }
        }
        let revoked = world.revoke_all(Revoked::Done);
        assert!(revoked.iter().all(|key| *key == request.credential));
        assert_eq!(revoked.is_empty(), is_nothing);
    }
    assert!(world.take(a).is_empty() && world.news.is_empty());
    world.cut(a);
    let (_, frames) = resume_privately(&mut world, &welcome, 0);
    assert_eq!(values(&frames[1]), ["s3cr3t-one"]);
}

#[test]
fn a_job_that_ends_meanwhile_keeps_nothing() {
    let (mut world, a, _) = world();
    let (job, _) = world.provisioned(a, "m1", "s3cr3t-one");
    let (issue, request) = world.rotate(job);
    world.finish(job, "1");
    assert_eq!(world.runtime.rotate_credential(world.now, job), Err(ApiMisuse::JobEnded));
    world.take(a);
    world.revoke_all(Revoked::Done);
    world.make(issue, "s3cr3t-two");
    assert!(world.take(a).is_empty(), "JOB-3");
    assert_eq!(world.revoke_all(Revoked::Done), [request.credential]);
}

#[test]
fn a_rotation_of_which_nothing_came_is_forgotten_with_its_job() {
    let answers: [fn(&mut World, IssueId); 3] = [
        |world, issue| drop(world.answer(issue, Issued::Failed)),
        |world, issue| drop(world.answer(issue, Issued::Nothing)),
        |world, issue| world.make(issue, "s3cr3t-two"),
    ];
    for (answer, ends_first) in answers.into_iter().zip([false, false, true]) {
        let (mut world, a, _) = world();
        let (job, _) = world.provisioned(a, "m1", "s3cr3t-one");
        let (issue, request) = world.rotate(job);
        if ends_first {
            world.finish(job, "1");
        }
        answer(&mut world, issue);
        if !ends_first {
            world.finish(job, "1");
        }
        world.revoke_all(Revoked::Done);
        assert_eq!(world.state(request.credential), Some(CredentialState::Revoked));
        world.wait(86_401 * SECOND);
        assert_eq!(world.state(request.credential), None);
    }
}

#[test]
fn nobody_is_shown_a_rotation_that_is_not_stored() {
    let (mut world, a, _) = world();
    let (job, id) = world.provisioned(a, "m1", "s3cr3t-one");
    let (issue, _) = world.rotate(job);
    let (b, _) = private(&mut world, "good", QUIET);
    world.instant_store = false;
    world.send(b, "s1", "job.subscribe", json!({"job_id": id}));
    world.make(issue, "s3cr3t-two");
    world.store_one();
    let subscribed = world.one(b);
    assert_eq!(
        (&subscribed["type"], values(&subscribed)),
        (&json!("job.subscribed"), Vec::from(["s3cr3t-one"]))
    );
    world.store_all();
    assert_eq!(body(&world.one(b))["value"], "s3cr3t-two");
}

#[test]
fn a_job_that_is_being_stopped_gets_no_other() {
    let (mut world, a, _) = world();
    let (job, id) = world.provisioned(a, "m1", "s3cr3t-one");
    let (issue, request) = world.rotate(job);
    world.send(a, "c1", "job.cancel", json!({"job_id": id}));
    world.make(issue, "s3cr3t-two");
    assert_eq!(world.revoke_all(Revoked::Done), [request.credential]);
}

#[test]
fn a_plain_status_of_an_agent_is_no_rotation() {
    let misuse = Emission::status("credential_rotated", None, None);
    assert!(misuse.is_err(), "D-73");
    let (mut world, a, _) = world();
    let (job, _) = world.provisioned(a, "m1", "s3cr3t-one");
    let log = Emission::log(LogLevel::Info, "credential_rotated", None).unwrap();
    world.runtime.handle_agent(world.now, job, AgentInput::Emit(log)).unwrap();
    world.settle();
    assert!(!world.one(a).to_string().contains("s3cr3t"));
    assert!(matches!(
        world.store.execute(Command::Load { after: None, limit: 9 }),
        StoreDone::Rows(rows) if !format!("{rows:?}").contains("s3cr3t")
    ));
}

#[test]
fn a_log_that_lets_go_of_events_meanwhile_hurries_nothing() {
    let mut config = provisioning();
    config.limits.log_events = 300;
    let mut world = World::with(config);
    let (a, _) = private(&mut world, "good", QUIET);
    let (job, _) = world.provisioned(a, "m1", "s3cr3t-one");
    // With the event of the rotation the log is over its limit.
    world.logs(job, 300);
    let (issue, _) = world.rotate(job);
    world.instant_store = false;
    assert_eq!(world.answer(issue, Issued::Credential(credential("s3cr3t-two").into())), None);
    world.settle();
    assert!(world.news.is_empty(), "SEQ-6: it is not stored");
    world.store_all();
    assert!(matches!(&world.news[..], [(_, JobNews::CredentialRotated { .. })]));
}
