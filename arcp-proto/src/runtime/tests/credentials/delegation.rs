//! Children get credentials of their own, before their commit (D-108, protocol §6).

use super::*;
use crate::lease::Amount;
use crate::runtime::AgentInput;
use crate::wire::RawJson;
use crate::wire::event::Delegation;

fn ask(world: &mut World, parent: JobHandle, lease: &str) -> Result<(), ApiMisuse> {
    let delegation = Delegation {
        token: 7,
        agent: "a".into(),
        input: RawJson::null(),
        lease_request: Some(RawJson::try_from(lease).unwrap()),
        lease_constraints: None,
        max_runtime_sec: None,
    };
    let asked = world.runtime.handle_agent(world.now, parent, AgentInput::Delegate(delegation.into()));
    world.settle();
    asked
}

fn remaining(world: &World, job: JobHandle) -> Amount {
    world.runtime.budget_remaining(job)[0].1
}

const HALF: &str = r#"{"cost.budget":["USD:1.00"]}"#;

fn half(value: &str) -> Issued {
    let constraints =
        CredentialConstraints { cost_budget: Vec::from(["USD:1.00".to_string()]), ..Default::default() };
    Issued::Credential(IssuedCredential { constraints, ..credential(value) }.into())
}

#[test]
fn a_child_has_a_credential_within_its_own_lease() {
    let (mut world, a, _) = world();
    let (parent, id) = world.provisioned(a, "m1", "s3cr3t-one");
    ask(&mut world, parent, HALF).unwrap();
    let (issue, request) = world.only_issue();
    assert_eq!(request.budget[0].1, Amount::parse("1").unwrap());
    assert!(world.take(a).is_empty() && world.news.is_empty(), "nothing of it is there yet");
    assert_eq!(
        remaining(&world, parent),
        Amount::parse("2").unwrap(),
        "D-30: the escrow is taken at the commit"
    );
    world.answer(issue, half("s3cr3t-two"));
    let frames = world.take(a);
    let accepted = frames.iter().find(|frame| frame["type"] == "job.accepted").unwrap();
    assert_eq!(
        (values(accepted), &accepted["payload"]["parent_job_id"]),
        (Vec::from(["s3cr3t-two"]), &json!(id))
    );
    assert_eq!(remaining(&world, parent), Amount::parse("1").unwrap());
    let (_, news) = world.news.pop().unwrap();
    let JobNews::Delegated { token: 7, answer: Ok(child) } = news else { panic!("{news:?}") };
    assert_eq!(child.key, request.job);
    assert!(world.started.last().unwrap().credentials[0].value.matches("s3cr3t-two"));
    world.finish(child.job, "1");
    assert_eq!(world.revoke_all(Revoked::Done), [request.credential], "its own end takes only its own");
    assert!(!world.leaks("s3cr3t"));
}

#[test]
fn a_child_without_a_credential_is_refused_on_the_parents_stream() {
    let (mut world, a, _) = world();
    let (parent, id) = world.provisioned(a, "m1", "one");
    ask(&mut world, parent, HALF).unwrap();
    let (issue, request) = world.only_issue();
    world.wait(10 * SECOND);
    let frames = world.take(a);
    let kinds: Vec<_> =
        frames.iter().map(|frame| frame["payload"]["kind"].as_str().unwrap_or_default()).collect();
    assert_eq!(kinds, ["delegate", "tool_result"]);
    assert!(frames.iter().all(|frame| frame["job_id"] == json!(id)));
    assert_eq!(frames[1]["payload"]["body"]["error"]["code"], "INTERNAL_ERROR");
    let (_, news) = world.news.pop().unwrap();
    assert!(matches!(news, JobNews::Delegated { answer: Err(_), .. }));
    world.answer(issue, half("two"));
    assert_eq!(world.revoke_all(Revoked::Done)[0], request.credential);
    assert_eq!(remaining(&world, parent), Amount::parse("2").unwrap());
}

#[test]
fn children_that_are_expected_count() {
    let mut config = provisioning();
    config.limits.children = 1;
    let mut world = World::with(config);
    let (a, _) = private(&mut world, "good", QUIET);
    let (parent, _) = world.provisioned(a, "m1", "one");
    for _ in 0..2 {
        ask(&mut world, parent, HALF).unwrap();
    }
    let (issue, _) = world.only_issue();
    assert_eq!(world.take(a)[1]["payload"]["body"]["error"]["details"]["limit"], "children");
    world.answer(issue, half("two"));
    assert_eq!(world.started.len(), 2);
}

#[test]
fn what_permitted_the_delegation_is_judged_again() {
    let (mut world, a, _) = world();
    let (parent, _) = world.provisioned(a, "m1", "one");
    ask(&mut world, parent, HALF).unwrap();
    let (issue, request) = world.only_issue();
    world.metric(parent, "cost.search", "1.5", "USD");
    world.take(a);
    world.answer(issue, half("two"));
    let frames = world.take(a);
    let result = &frames.last().unwrap()["payload"];
    assert_eq!(
        (&result["kind"], &result["body"]["error"]["code"]),
        (&json!("tool_result"), &json!("LEASE_SUBSET_VIOLATION"))
    );
    assert_eq!(world.revoke_all(Revoked::Done), [request.credential]);
    assert_eq!(remaining(&world, parent), Amount::parse("0.5").unwrap());
}

#[test]
fn a_parent_that_ends_meanwhile_gets_no_child() {
    for is_late in [false, true] {
        let (mut world, a, _) = world();
        let (parent, _) = world.provisioned(a, "m1", "one");
        ask(&mut world, parent, HALF).unwrap();
        let (issue, request) = world.only_issue();
        world.finish(parent, "1");
        world.revoke_all(Revoked::Done);
        let end = world.take(a);
        assert_eq!(types(&end), ["job.result"]);
        if is_late {
            world.wait(10 * SECOND);
        }
        world.answer(issue, half("two"));
        assert!(world.take(a).is_empty(), "JOB-3: nothing behind the terminal");
        let revoked = world.revoke_all(Revoked::Done);
        assert!(revoked.iter().all(|key| *key == request.credential) && !revoked.is_empty());
        assert_eq!((world.stored_jobs(), world.state(request.credential)), (1, None));
    }
}
